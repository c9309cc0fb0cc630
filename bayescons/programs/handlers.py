"""The two passes in which a program with exact statements is run.

Pass 1 (`Above`) runs what stands above the fields for real and only looks at the rest: it collects
every field's prior and every statement. Then the fields are drawn given the statements. Pass 2
(`Below`) runs the program again with these fields, everything above replayed and hidden, so that
what is left - likelihoods, latents below, deterministic sites - is seen once and sees the right
field.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from bayescons.functionals.joint import OnJointVector, split_fields
from bayescons.gaussians.conditioning import Constraint, stack, update
from bayescons.gaussians.gaussian import Gaussian
from bayescons.programs.fields import as_gaussian, join
from bayescons.programs.statements import FunctionalObservation, functional_of, statement
from bayescons.programs.structure import ProgramStructure


class Above(numpyro.primitives.Messenger):
    """Pass 1. Sites above the fields go through to outer handlers and are remembered; fields,
    statements and what is below are hidden.
    """

    def __init__(self, program, structure: ProgramStructure):
        self.structure = structure
        super().__init__(program)

    def __enter__(self):
        self.priors, self.known, self.sites, self.weights, self.hidden = {}, {}, {}, {}, set()
        return super().__enter__()

    def process_message(self, msg):
        """Collect and hide fields, statements and what is below."""
        name = msg.get("name")
        known = statement(msg["fn"]) if msg["type"] == "sample" else None
        if msg["type"] == "deterministic":
            pass
        elif known is not None:
            self.known[name] = (known, msg["value"])
        elif msg["type"] == "sample" and name in self.structure.fields:
            self.priors[name] = _prior(msg, self.structure.fields[name])
            msg["value"] = self.priors[name].mean
        elif msg["type"] == "sample" and name in self.structure.below:
            msg["value"] = msg["value"] if msg["is_observed"] else feasible(msg["fn"])
        else:
            return
        msg["stop"] = True
        self.hidden.add(name)

    def postprocess_message(self, msg):
        """Remember what stands above."""
        if "name" not in msg or msg["name"] in self.hidden:
            return
        self.sites[msg["name"]] = msg["value"]
        if msg["type"] == "sample" and msg["is_observed"]:
            scale = 1.0 if msg["scale"] is None else msg["scale"]
            self.weights[msg["name"]] = scale * jnp.sum(msg["fn"].log_prob(msg["value"]))


class Below(numpyro.primitives.Messenger):
    """Pass 2. The fields take given values; they, the sites above and the statements are hidden;
    the rest is real.
    """

    def __init__(self, program, sites: dict, fields: dict):
        self.given = {**sites, **fields}
        super().__init__(program)

    def process_message(self, msg):
        """Give what is known, and hide it."""
        if msg["type"] == "sample" and statement(msg["fn"]) is not None:
            msg["stop"] = True
        elif msg.get("name") in self.given and msg["type"] != "deterministic":
            msg["value"] = self.given[msg["name"]]
            msg["stop"] = True


class Group(NamedTuple):
    """Fields that statements tie together, as one Gaussian, and what is stated of them.

    Attributes:
        names: of the fields; several are laid end to end in one vector.
        shapes: of the fields.
        prior: their joint prior.
        imposed: what defines the prior, or None.
        observed: what is learnt from, or None.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    prior: Gaussian
    imposed: Constraint | None
    observed: Constraint | None

    def fields(self, joint) -> dict:
        """The values of the fields in a value of the joint vector, any number of axes in front."""
        parts = [joint] if len(self.names) == 1 else split_fields(joint, self.shapes)
        return dict(zip(self.names, parts, strict=True))


def groups(above: Above) -> list[Group]:
    """The fields of a program, grouped by the statements that tie them together."""
    ties = [set(names) for names in above.structure.statements.values()]
    return [
        _group(above, [n for n in above.priors if n in members]) for members in _connected(ties)
    ]


def given(group: Group) -> tuple[Gaussian, jax.Array | None, jax.Array]:
    """The group's belief given all that is stated; the log evidence of what was observed (None if
    nothing was); and the largest gap that a contradicting row leaves, in prior standard deviations
    (rounding, where all is well).
    """
    belief, log_evidence, gaps = group.prior, None, []
    for constraint in (group.imposed, group.observed):
        if constraint is not None:
            result = update(belief, constraint)
            belief = result.posterior
            log_evidence = result.log_evidence if constraint is group.observed else None
            gaps.append(jnp.max(jnp.abs(result.gap)))
    return belief, log_evidence, jnp.max(jnp.stack(gaps))


def _group(above: Above, names: list[str]) -> Group:
    priors = [above.priors[n] for n in names]
    shapes = tuple(p.event_shape for p in priors)
    if len({p.batch_shape for p in priors}) > 1:
        raise ValueError(
            f"fields {', '.join(names)} are tied together but stand in different plates: "
            f"{[p.batch_shape for p in priors]}"
        )
    stated = {True: [], False: []}
    for name, fields in above.structure.statements.items():
        if set(fields) <= set(names):
            known, value = above.known[name]
            functional = _on_group(known, [names.index(f) for f in fields], shapes)
            stated[known.learns].append(Constraint(functional, value, known.scale, name))
    imposed, observed = (
        stack(stated[learns]) if stated[learns] else None for learns in (False, True)
    )
    return Group(
        tuple(names), shapes, priors[0] if len(priors) == 1 else join(priors), imposed, observed
    )


def _on_group(known: FunctionalObservation, members: list[int], shapes: tuple):
    """The statement's functional, of the one field or of several fields end to end."""
    if len(shapes) == 1:
        return functional_of(known.name, known.functional, shapes[0])
    parts = getattr(
        known.functional, "parts", (known.functional,)
    )  # a law of several fields has one functional for each
    if len(parts) == len(members):
        whole = [
            functional_of(known.name, part, shapes[i])
            for part, i in zip(parts, members, strict=True)
        ]
        return OnJointVector(tuple(whole), tuple(members), shapes)

    def function(vector):
        fields = split_fields(vector, shapes)
        return known.functional(*(fields[i] for i in members))

    return functional_of(known.name, function, (sum(map(math.prod, shapes)),))


def _connected(ties: list[set]) -> list[set]:
    """Connected components of the fields, in order of appearance."""
    components: list[set] = []
    for tie in ties:
        touching = [c for c in components if c & tie]
        components = [c for c in components if not c & tie] + [tie.union(*touching)]
    return components


def _prior(msg, event_dims: int) -> Gaussian:
    if msg["is_observed"]:
        raise ValueError(
            f"the field {msg['name']!r} is itself observed; remove obs=, or observe a functional "
            "of it"
        )
    if msg["scale"] is not None:
        raise ValueError(
            f"the field {msg['name']!r} stands under a scale or a subsampled plate, which an exact "
            "fact cannot be; move it out"
        )
    return as_gaussian(msg["name"], msg["fn"], event_dims)


def feasible(site: dist.Distribution):
    """Some value in the support of a hidden site; nothing above can depend on it."""
    if site.support.is_discrete:
        return (
            jnp.broadcast_to(site.enumerate_support(expand=False).ravel()[0], site.shape())
            if site.has_enumerate_support
            else jnp.zeros(site.shape(), int)
        )
    transform = dist.biject_to(site.support)
    return transform(jnp.zeros(transform.inverse_shape(site.shape())))
