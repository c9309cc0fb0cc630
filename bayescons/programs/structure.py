"""What depends on what in a program: found by running it abstractly, without computing anything or
telling outer handlers.

Which sites are fields is known only when a statement names them, after they were sampled; and a
statement may rest only on what stands above its field. Both questions are answered by one
provenance trace of the program with its sites as inputs.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro
from numpyro import handlers
from numpyro.ops.provenance import eval_provenance

from bayescons.functionals.abstract import AbstractFunctional, JointFunctional
from bayescons.programs.statements import FunctionalObservation, statement


class ProgramStructure(NamedTuple):
    """The structure of a program.

    Attributes:
        fields: for every constrained field, how many of its axes are the field (the axes before are
            plates).
        statements: for every statement, the names of its fields.
        below: sites whose distribution depends on a constrained field.
        latents: random sites that do not, other than the fields.
        likelihoods: observed sites below.
        entangled: those of them that need more than their location to be affine in the field: their
            scale depends on it, or they rest on a latent below it.
    """

    fields: dict[str, int]
    statements: dict[str, tuple[str, ...]]
    below: frozenset[str]
    latents: tuple[str, ...]
    likelihoods: tuple[str, ...]
    entangled: frozenset[str]


class _Shapes(numpyro.primitives.Messenger):
    """Record the shape of every latent site (one that no handler inside the program gives a value),
    and the number of plates around it, on a run with zeros for values.
    """

    def __enter__(self):
        self.latents, self.plates, self.random = {}, {}, set()
        return super().__enter__()

    def process_message(self, msg):
        if msg["type"] == "sample" and msg["value"] is None:
            self.random.add(msg["name"])
            dtype = jnp.result_type(
                int if msg["fn"].support is not None and msg["fn"].is_discrete else float
            )
            msg["value"] = jnp.zeros(msg["fn"].shape(msg["kwargs"].get("sample_shape", ())), dtype)

    def postprocess_message(self, msg):
        if msg.get("name") in self.random:
            self.latents[msg["name"]] = jax.ShapeDtypeStruct(
                jnp.shape(msg["value"]), jnp.result_type(msg["value"])
            )
            self.plates[msg["name"]] = (msg["fn"], len(msg["cond_indep_stack"]))


class _Sources(numpyro.primitives.Messenger):
    """Put given tracers in for the latent sites; collect what each site's distribution, and each
    statement, is computed from.
    """

    def __init__(self, program, values, dims):
        self.values, self.dims = values, dims
        super().__init__(program)

    def __enter__(self):
        self.parameters, self.scales, self.statements, self.observed = {}, {}, {}, []
        return super().__enter__()

    def process_message(self, msg):
        if msg["type"] != "sample":
            return
        known = statement(msg["fn"])
        if known is not None:
            self.statements[msg["name"]] = self._fields(known)
            dims = [self.dims[field] for field in self.statements[msg["name"]]]
            self.parameters[msg["name"]] = _ingredients(known, msg["value"], dims)
        else:
            self.parameters[msg["name"]] = jax.tree.leaves(msg["fn"])
            if msg["is_observed"]:
                self.observed.append(msg["name"])
                self.scales[msg["name"]] = _scale(msg["fn"])
            if msg["name"] in self.values:
                msg["value"] = self.values[msg["name"]]

    def _fields(self, known: FunctionalObservation) -> tuple[str, ...]:
        names = tuple(
            next((n for n, v in self.values.items() if v is field), None) for field in known.fields
        )
        if None in names:
            raise ValueError(
                f"the field given to {known.name!r} is not the value of a latent sample site of "
                "this program. Pass exactly what numpyro.sample returned, and put any "
                "transformation into the functional: lambda u: G(transform(u))"
            )
        return names


def survey(program, args, kwargs) -> ProgramStructure:
    """Run a program abstractly and report its fields, its statements and what lies below the
    fields.

    Raises:
        ValueError: where a statement or a field's prior rests on something below a field.
    """
    shapes = _Shapes(program)
    with handlers.block(), handlers.seed(rng_seed=0):
        jax.eval_shape(lambda: _run(shapes, args, kwargs))
    dims = {name: event_dims(*site) for name, site in shapes.plates.items()}
    sources = {}

    def trace(**values):
        named = {name[1:]: value for name, value in values.items()}
        tracer = _Sources(program, named, dims)
        with handlers.block(), handlers.seed(rng_seed=0):
            _run(tracer, args, kwargs)
        sources.update(statements=tracer.statements, observed=tracer.observed)
        return tracer.parameters, tracer.scales

    zeros = {f":{name}": jnp.zeros(s.shape, s.dtype) for name, s in shapes.latents.items()}
    depends, scales = (_by_site(tree) for tree in eval_provenance(trace, **zeros))
    statements = sources["statements"]
    fields = {name: dims[name] for names in statements.values() for name in names}
    below = _below(depends, set(fields), set(statements))
    _check_order(depends, fields, statements, below)
    latents = tuple(name for name in shapes.latents if name not in fields and name not in below)
    likelihoods = tuple(name for name in sources["observed"] if name in below)
    entangled = frozenset(
        n for n in likelihoods if depends[n] & below or scales[n] & (set(fields) | below)
    )
    return ProgramStructure(fields, statements, below, latents, likelihoods, entangled)


def _by_site(provenance: dict) -> dict[str, set]:
    """Names of the sites that each list of arrays was computed from."""
    return {
        site: {name[1:] for leaf in leaves for name in leaf} for site, leaves in provenance.items()
    }


def _scale(site) -> list:
    """The scale of a site, where its distribution has one."""
    while hasattr(site, "base_dist"):
        site = site.base_dist
    return [jnp.asarray(site.scale)] if hasattr(site, "scale") else []


def _run(program, args, kwargs) -> None:
    program(*args, **kwargs)


def _ingredients(known: FunctionalObservation, value, dims: list[int]) -> list:
    """What a statement is computed from: its value, its scale, its functional's arrays and what its
    function closes over.
    """
    shapes = [jnp.shape(f)[jnp.ndim(f) - d :] for f, d in zip(known.fields, dims, strict=True)]
    fresh = [jnp.ones(s, jnp.result_type(float)) for s in shapes]
    own = (
        jax.tree.leaves(known.functional)
        if isinstance(known.functional, AbstractFunctional | JointFunctional)
        else [known.functional(*fresh)]
    )
    scale = [] if known.scale is None or isinstance(known.scale, str) else [known.scale]
    return [jnp.asarray(x) for x in [value, *scale, *jax.tree.leaves(own)]]


def event_dims(site, plates: int) -> int:
    """Axes of one field: the event axes, or, where a Normal was not given `.to_event`, those that
    no plate claims.
    """
    return site.event_dim or len(site.batch_shape) - plates


def _below(depends: dict, fields: set, statements: set) -> frozenset[str]:
    """Sites reached from the fields."""
    below: set[str] = set()
    grown = {site for site, names in depends.items() if names & fields} - fields - statements
    while grown - below:
        below |= grown
        grown = (
            {site for site, names in depends.items() if names & (fields | below)}
            - fields
            - statements
        )
    return frozenset(below)


def _check_order(depends: dict, fields, statements, below) -> None:
    for field in fields:
        wrong = depends[field] & (set(fields) | below)
        if wrong:
            raise ValueError(
                f"the prior of the field {field!r} depends on {_list(wrong)}, which is a "
                "constrained field or lies below one. Sample both as one Gaussian (a joint "
                "covariance), or constrain only the upper one"
            )
    for name in statements:
        wrong = depends[name] & (set(fields) | below)
        if wrong:
            raise ValueError(
                f"{name!r} depends on {_list(wrong)}, which lies below the field it constrains. A "
                "functional, its value and its scale may use only sites above the field; observe a "
                "functional of several fields by giving it their tuple"
            )


def _list(names) -> str:
    return ", ".join(sorted(map(repr, names)))
