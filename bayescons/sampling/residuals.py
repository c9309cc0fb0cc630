"""Structure of a program as a sampler needs it: the names of its sites and statements, and what
draws make of each statement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.infer.initialization import init_to_uniform

from bayescons.functionals.abstract import JointFunctional, SingleFunctional
from bayescons.programs.statements import FunctionalObservation, statement
from bayescons.programs.structure import program_structure
from bayescons.refusals import Refusal


class Stated(NamedTuple):
    """What draws make of a statement.

    Attributes:
        residual: f(u) - b, shape (chain, draw, *value's shape).
        value: b, of the same shape.
        size: of the terms that f adds up, and a share of what they would be everywhere at the
            field's largest value, by which rounding is judged, shape (chain, draw); infinite where
            the statement is not exact.
    """

    residual: jax.Array
    value: jax.Array
    size: jax.Array


class Structure(NamedTuple):
    """What a program consists of.

    Attributes:
        latents: name -> distribution of every latent site.
        deterministic: names of the deterministic sites.
        statements: name of a statement -> names of the axes of its value, where its functional
            knows them, otherwise ().
        axes: name of a field -> names of its last axes, where a functional built on a grid says
            something about it.
    """

    latents: dict[str, dist.Distribution]
    deterministic: tuple[str, ...]
    statements: dict[str, tuple[str, ...]]
    axes: dict[str, tuple[str, ...]]

    @property
    def names(self) -> frozenset[str]:
        """Sites of which a draw holds a value."""
        return frozenset((*self.latents, *self.deterministic))


def structure_of(program: Callable) -> Structure:
    """Run a program abstractly, as plain NumPyro, and say what it consists of."""
    found: dict = {}

    def run() -> None:
        drawn = handlers.substitute(handlers.seed(program, 0), substitute_fn=init_to_uniform)
        with handlers.block():
            found.update(handlers.trace(drawn).get_trace())

    jax.eval_shape(run)
    samples = {name: site for name, site in found.items() if site["type"] == "sample"}
    stated = {name: statement(site["fn"]) for name, site in samples.items()}
    return Structure(
        latents={name: site["fn"] for name, site in samples.items() if not site["is_observed"]},
        deterministic=tuple(
            name for name, site in found.items() if site["type"] == "deterministic"
        ),
        statements={name: _axes(k) for name, k in stated.items() if k is not None},
        axes={name: tuple(on[0]) for name, on in _grids(found).items()},
    )


def _axes(known: FunctionalObservation) -> tuple[str, ...]:
    """Names of the axes of a statement's value: the plates over which it is repeated, then those
    of the functional.
    """
    if not isinstance(known.functional, SingleFunctional):
        return ()
    return (*(member.plate for member in known.members or ()), *known.functional.names)


def coordinates(program: Callable) -> dict[str, list[dict[str, jax.Array]]]:
    """Of every field the grids on which functionals about it were built, coordinates by name of the
    axis; may be traced.
    """
    drawn = handlers.substitute(handlers.seed(program, 0), substitute_fn=init_to_uniform)
    with handlers.block():
        return _grids(handlers.trace(drawn).get_trace())


def _grids(sites: Mapping) -> dict[str, list[dict[str, jax.Array]]]:
    """Of a trace, the fields whose functionals agree on the names of their axes."""
    found: dict[str, list] = {}
    for site in sites.values():
        known = statement(site["fn"]) if site["type"] == "sample" else None
        parts = (known.functional,) if known is not None else ()
        if parts and isinstance(parts[0], JointFunctional):
            parts = parts[0].parts
        for part, field in zip(parts, known.fields if known is not None else (), strict=False):
            names = [n for n, other in sites.items() if other["value"] is field]
            if isinstance(part, SingleFunctional) and part.grid_names and names:
                points = (jnp.asarray(p, float) for p in part.grid_points)
                on = dict(zip(part.grid_names, points, strict=True))
                found.setdefault(names[0], []).append(on)
    return {name: on for name, on in found.items() if len({tuple(g) for g in on}) == 1}


def resolved(program: Callable) -> Callable:
    """The program as its structure, whose statements know which axes are members; as it is, where
    that is refused, which the soft reading does not mind.
    """
    try:
        return program_structure(program)
    except Refusal:
        return program


def residuals(program: Callable, draws: Mapping) -> dict[str, Stated]:
    """Of every statement the residual and the value, for each draw; may be traced.

    Args:
        program: the program itself, not a reading of it.
        draws: name -> (chain, draw, ...), all that is random in it.

    Returns:
        name of the statement -> `Stated`.
    """

    def stated(draw: dict) -> dict:
        seeded = handlers.seed(handlers.substitute(program, data=draw), rng_seed=0)
        with handlers.block():
            sites = handlers.trace(seeded).get_trace()
        known = {
            name: statement(site["fn"]) for name, site in sites.items() if site["type"] == "sample"
        }
        return {
            name: _stated(k, sites[name]["value"]) for name, k in known.items() if k is not None
        }

    return jax.lax.map(jax.vmap(stated), dict(draws))


def _stated(known: FunctionalObservation, value) -> Stated:
    """What one draw makes of a statement."""
    random = np.random.default_rng(0)
    signs = [random.choice([-1.0, 1.0], jnp.shape(u)) for u in known.fields]
    mixed = tuple(u * sign for u, sign in zip(known.fields, signs, strict=True))
    size = _largest(known.computed(mixed)) + _largest(value)
    # What a fact makes small, such as a wall at zero, was computed from numbers of the field's
    # size, and carries their rounding: of that, eps^(3/4) is let pass (refuse_residuals).
    whole = tuple(_largest(u) * sign for u, sign in zip(known.fields, signs, strict=True))
    rounding = jnp.finfo(jnp.result_type(float)).eps ** 0.25 * _largest(known.computed(whole))
    return Stated(
        known.computed() - value,
        value,
        size + rounding if known.scale is None else jnp.asarray(jnp.inf),
    )


def _largest(array) -> jax.Array:
    return jnp.max(jnp.abs(array), initial=0.0)


def refuse_residuals(found: Mapping[str, Stated], draws: Mapping) -> None:
    """The last guard: an exact statement that draws do not obey is not returned as if they did.

    Raises:
        ResidualError: names the statement; the draws are in it.
    """
    for name, stated in found.items():
        eps = float(np.finfo(stated.residual.dtype).eps)
        missed = np.abs(stated.residual).reshape(*stated.size.shape, -1).max(-1, initial=0.0)
        worst = np.max(missed / np.maximum(stated.size, np.finfo(float).tiny))
        if not worst <= math.sqrt(eps):
            raise ResidualError(name, float(missed.max()), draws)


class ResidualError(Refusal, RuntimeError):
    """Draws miss an exact statement by more than rounding.

    Attributes:
        draws: name -> array of shape (chain, draw, ...), for whoever looks for the reason.
    """

    def __init__(self, name: str, missed: float, draws: Mapping):
        self.draws = draws
        super().__init__(
            f"the draws miss {name!r} by up to {missed:.2g}, though it is stated exactly; its "
            "functional is not affine where they are. Observe it below the field as a likelihood, "
            "numpyro.sample(name, dist.Normal(f(u), scale), obs=value), or observe a linear "
            "functional. The draws are in the attribute .draws of this error"
        )


def labelled(found: Mapping[str, Stated]) -> dict[str, dict[str, np.ndarray]]:
    """Residuals and values as `results.datatree` takes them, a value for each row."""
    told = {}
    for name, (residual, value, _) in found.items():
        short = residual.ndim - value.ndim
        own = np.reshape(value, (*value.shape[:2], *(1,) * short, *value.shape[2:]))
        told[name] = {"value": np.broadcast_to(own, residual.shape), "residual": residual}
    return told
