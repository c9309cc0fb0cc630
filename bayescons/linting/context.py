"""A program looked at before anything is sampled: each statement alone at the library's own doors,
then all of them together, as rows.

What stands above the fields is drawn from its prior a few times, since rows may repeat or
contradict each other for some values of it only. Nothing here judges; that is
`bayescons.linting.rules`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers

from bayescons import tracing
from bayescons.functionals.functions import NotProvenAffineError
from bayescons.gaussians.conditioning import Constraint, Update, stack, update
from bayescons.gaussians.consistency import row_names
from bayescons.gaussians.gaussian import Gaussian
from bayescons.gaussians.scales import functional_scale, quadrature_scale
from bayescons.programs.fields import improper, innermost
from bayescons.programs.groups import Group, groups
from bayescons.programs.handlers import CollectStatements, ReplayFields, feasible
from bayescons.programs.statements import FunctionalObservation
from bayescons.programs.structure import ProgramStructure, program_structure, unfitted
from bayescons.refusals import Refusal, RefusedValue

# draws of the fields' priors, for what is expected of their increments and of what is read of them
# below
FIELDS = 16


class Fault(NamedTuple):
    """A statement, or the whole program, that the library refuses.

    Attributes:
        where: its name.
        case: what is the case.
        remedy: what to write instead.
    """

    where: str
    case: str
    remedy: str

    @classmethod
    def of(cls, where: str, refusal: Refusal) -> Fault:
        """What the library said."""
        return cls(where, refusal.case.removeprefix(f"{where!r}: "), refusal.remedy)


class Rows(NamedTuple):
    """Everything stated of one group of fields, row by row: arrays of shape (draws, *axes, r).

    Attributes:
        names: of the rows, shape (*axes, r).
        owners: number of the statement that each belongs to, shape (*axes, r).
        statements: their names.
        fields: names of the fields.
        update: the belief given all of it, imposed or observed, consistent or not.
        value: b.
        mean: G m.
        own: standard deviation of G u under the belief.
        noise: standard deviation of the noise, zero for exact rows.
        rule: a-priori error of the quadrature rule under the belief, zero where there is none.
        unknowns: number of points of the fields.
        single: names of fields held in less than double precision.
    """

    names: np.ndarray
    owners: np.ndarray
    statements: tuple[str, ...]
    fields: tuple[str, ...]
    update: Update
    value: np.ndarray
    mean: np.ndarray
    own: np.ndarray
    noise: np.ndarray
    rule: np.ndarray
    unknowns: int
    single: tuple[str, ...]


class Examination(NamedTuple):
    """What was seen of a program.

    Attributes:
        statements: names, in order.
        faults: what the library refuses.
        latents: random sites above the fields, by name what is odd about them: "improper",
            "discrete" or "".
        rows: for every group of fields.
        stiffness: of likelihoods below the fields, smallest scale over the standard deviation of
            its location; shape (draws,).
        draws: how often what stands above was drawn; 1 where nothing does.
    """

    statements: tuple[str, ...]
    faults: tuple[Fault, ...]
    latents: dict[str, str]
    rows: tuple[Rows, ...]
    stiffness: dict[str, np.ndarray]
    draws: int


def examine(
    program: Callable, args: tuple, kwargs: dict, *, given: Mapping, draws: int, key: jax.Array
) -> Examination:
    """Look at a program with these arguments.

    Args:
        program: as for `exact`.
        args: its arguments.
        kwargs: its keyword arguments.
        given: values of sites that are not to be drawn.
        draws: of what stands above the fields.
        key: of `jax.random.key`.
    """
    try:
        seen = _look(program, args, kwargs)
    except Refusal as error:
        return Examination((), (Fault.of("program", error),), {}, (), {}, 1)
    unknown = sorted(set(given) - set(seen.sites))
    if unknown:
        raise RefusedValue(
            f"given names no random site of the program: {', '.join(unknown)}; it has "
            f"{', '.join(seen.sites) or 'none'}"
        )
    fixed = {
        name: feasible(site)
        for name, site in seen.sites.items()
        if name not in given and _oddity(site) == "improper"
    }
    program = handlers.substitute(
        program, data=fixed | {name: jnp.asarray(value) for name, value in given.items()}
    )
    alone = {
        name: handlers.block(program, hide=[n for n in seen.statements if n != name])
        for name in seen.statements
    }
    refused = {name: _refusal(one, args, kwargs) for name, one in alone.items()}
    faults = [Fault.of(name, refusal) for name, refusal in refused.items() if refusal]
    good = handlers.block(program, hide=[fault.where for fault in faults])
    try:
        structure = program_structure(good, args, kwargs)
        faults += [Fault.of(name, unfitted(name)) for name in structure.parameters]
        # A field of refused statements only is no latent.
        above = tuple(name for name in structure.latents if name not in seen.fields)
        rows, stiffness, drawn = _together(structure, draws if above else 1, key)
    except Refusal as error:
        return Examination(seen.statements, (*faults, Fault.of("program", error)), {}, (), {}, 1)
    latents = {name: _oddity(seen.sites[name]) for name in (*above, *fixed)}
    return Examination(seen.statements, tuple(faults), latents, rows, stiffness, drawn)


class _Seen(NamedTuple):
    statements: tuple[str, ...]
    sites: dict[str, dist.Distribution]
    fields: set[str]


class _Sites(numpyro.primitives.Messenger):
    """Record statements, their fields and all random sites, on a run with feasible values."""

    def __enter__(self):
        self.statements, self.sites, self.values, self.fields = [], {}, {}, set()
        return super().__enter__()

    def process_message(self, msg):
        if msg["type"] != "sample":
            return
        known = innermost(msg["fn"])  # also one under a mask, which is refused under its name
        if isinstance(known, FunctionalObservation):
            self.statements.append(msg["name"])
            self.fields |= {
                name
                for name, value in self.values.items()
                for field in known.fields
                if value is field
            }
        elif msg["value"] is None:
            self.sites[msg["name"]] = msg["fn"]
            msg["value"] = self.values[msg["name"]] = (
                feasible(msg["fn"]) + 0
            )  # a fresh array: fields are told apart by identity


def _look(program: Callable, args: tuple, kwargs: dict) -> _Seen:
    sites = _Sites(program)

    def run():
        sites(*args, **kwargs)

    with handlers.block(), handlers.seed(rng_seed=0):
        jax.eval_shape(run)
    return _Seen(tuple(sites.statements), sites.sites, sites.fields)


def _oddity(site: dist.Distribution) -> str:
    if improper(site):
        return "improper"
    return "discrete" if site.support is not None and site.is_discrete else ""


def _refusal(program: Callable, args: tuple, kwargs: dict) -> Refusal | None:
    """Why the library refuses a program with this one statement, or nothing."""

    def carried_out(key):
        above = _above(structure, key)
        return [update(group.prior, _all(group)).rank for group in groups(above)]

    try:
        structure = program_structure(program, args, kwargs)
        try:
            jax.eval_shape(carried_out, jax.random.key(0))
        except NotProvenAffineError:
            carried_out(jax.random.key(0))
    except Refusal as error:
        return error
    return None


def _above(structure: ProgramStructure, key) -> CollectStatements:
    with handlers.block(), handlers.seed(rng_seed=key):
        return CollectStatements(structure).run()


def _all(group: Group) -> Constraint:
    """What is imposed, then what is observed."""
    return stack([c for c in (group.imposed, group.observed) if c is not None])


def _together(
    structure: ProgramStructure, draws: int, key
) -> tuple[tuple[Rows, ...], dict[str, np.ndarray], int]:
    """All statements at once, for as many draws of what stands above."""
    keys = jax.random.split(key, draws)
    try:
        stated = _stated(structure, keys)
        numbers, stiffness = _all_numbers(structure, keys)
    except NotProvenAffineError:
        stated = _statements(structure, keys)
        each = [_one(structure, key) for key in keys]
        numbers, stiffness = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    rows = []
    for layout, (prior, constraint), found in zip(structure.groups, stated, numbers, strict=True):
        labels = _labels(layout.names, prior, constraint, found["update"].posterior.covariance.axes)
        arrays = {n: v if n == "update" else np.asarray(v) for n, v in found.items()}
        rows.append(Rows(**labels, **arrays))
    return tuple(rows), {name: np.asarray(ratio) for name, ratio in stiffness.items()}, draws


def _statements(structure: ProgramStructure, keys) -> list[tuple[Gaussian, Constraint]]:
    """Of every group its prior and what is stated of it, for one draw of what stands above; scales,
    which may be words, are left out.
    """
    return [
        (group.prior, stack([dataclasses.replace(m, scale=None) for m in _all(group).members]))
        for group in groups(_above(structure, keys[0]))
    ]


_stated = tracing.compiled(_statements, quickly=True)


def _one(structure: ProgramStructure, key) -> tuple[list[dict], dict]:
    """The numbers of `Rows` of every group, and how stiff likelihoods are, for one draw."""
    key_above, key_fields = jax.random.split(key)
    above = _above(structure, key_above)
    numbers, fields = [], {}
    for group in groups(above):
        some = group.prior.sample(key_fields, (FIELDS,))
        numbers.append(_numbers(group.prior, _all(group), some))
        fields |= group.layout.fields(some)
    return numbers, _stiffness(above, fields)


@functools.partial(tracing.compiled, quickly=True)
def _all_numbers(structure: ProgramStructure, keys) -> tuple[list[dict], dict]:
    return jax.vmap(_one, in_axes=(None, 0))(structure, keys)


def _labels(
    fields: tuple[str, ...], prior: Gaussian, constraint: Constraint, axes: tuple[int, ...]
) -> dict:
    """What does not change from draw to draw."""
    names = row_names(constraint, axes)
    counts = [m.functional.count(axes) for m in constraint.members]
    narrow = jnp.finfo(prior.loc.dtype).bits < 64
    return {
        "names": names,
        "owners": np.broadcast_to(np.repeat(np.arange(len(counts)), counts), names.shape),
        "statements": tuple(m.name for m in constraint.members),
        "fields": fields,
        "unknowns": math.prod(prior.event_shape),
        "single": fields if narrow else (),
    }


# Traced, so that a contradiction is a number and not an error.
_update = tracing.compiled(update)


def _numbers(prior: Gaussian, constraint: Constraint, fields) -> dict:
    """The update by everything stated, and what the rows say, by the names of `Rows`."""
    members, numbers = [], []
    for m in constraint.members:
        shape = m.functional.value_shape
        mean = jnp.broadcast_to(m.functional(prior.mean), shape)
        value = jnp.broadcast_to(_fitted(m.value, shape), shape)
        scale = (
            quadrature_scale(prior, m.functional)
            if isinstance(m.scale, str)
            else 0.0
            if m.scale is None
            else m.scale
        )
        noise, own = (
            jnp.broadcast_to(_fitted(a, shape), shape)
            for a in (scale, functional_scale(prior, m.functional))
        )
        known = jnp.isfinite(
            value
        )  # what is not, is stated with so much noise that it says nothing
        members.append(
            Constraint(
                m.functional,
                jnp.where(known, value, mean),
                jnp.where(known, noise, 1e6 * (1 + own)),
                m.name,
            )
        )
        numbers.append(
            {
                "value": value,
                "mean": mean,
                "own": own,
                "noise": noise,
                "rule": _rule(prior, m.functional, fields),
            }
        )
    result = _update(prior, stack(members))
    axes = result.posterior.covariance.axes
    packed = {
        name: jnp.concatenate(
            [m.functional.pack(n[name], axes) for m, n in zip(members, numbers, strict=True)],
            -1,
        )
        for name in numbers[0]
    }
    return {"update": result, **packed}


def _rule(prior, functional, fields):
    """The error of its rule, from the increments of these fields; zero for what has none."""
    try:
        return quadrature_scale(prior, functional, draws=fields)
    except Refusal:
        return jnp.zeros(functional.value_shape)


def _fitted(array, shape: tuple) -> jax.Array:
    """An array with axes of length one in front, so that it broadcasts."""
    array = jnp.asarray(array, jnp.result_type(float))
    return array.reshape((1,) * (len(shape) - array.ndim) + array.shape)


def _stiffness(above: CollectStatements, fields: dict) -> dict:
    """Smallest scale of each likelihood below, as a share of what its location varies by under the
    fields' prior.
    """

    def located(some: dict) -> dict:
        with handlers.block(), handlers.seed(rng_seed=0):
            sites = handlers.trace(ReplayFields(structure, above.sites, some)).get_trace()
        found = {}
        for name in structure.likelihoods:
            base = innermost(sites[name]["fn"])
            if {"loc", "scale"} <= set(type(base).arg_constraints):
                found[name] = jnp.broadcast_arrays(
                    jnp.asarray(base.loc, float), jnp.asarray(base.scale, float)
                )
        return found

    ratios, structure = {}, above.structure
    for name, (loc, scale) in (jax.vmap(located)(fields) if structure.likelihoods else {}).items():
        spread = jnp.std(loc, axis=0)
        ratios[name] = jnp.min(
            jnp.where(
                spread > 0, jnp.min(scale, axis=0) / jnp.where(spread > 0, spread, 1.0), jnp.inf
            )
        )
    return ratios
