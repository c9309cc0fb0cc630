"""Refits: ways to draw from the posterior of a program inside a compiled loop, as simulation-based
calibration does a thousand times.

A refit is a function (program, key, draws) → `Refitted` that JAX can trace, of a program without
arguments: `closed_form` for programs that have one, `sampled` by any sampler of
`bayescons.sampling`, or one's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayescons.programs.conjugate import mixture
from bayescons.programs.groups import CONTRADICTION
from bayescons.refusals import RefusedValue
from bayescons.sampling.methods import Method
from bayescons.sampling.registry import checked
from bayescons.sampling.run import chains


class Refitted(NamedTuple):
    """Draws from a posterior, and what they are worth.

    Attributes:
        draws: by name of the field or latent, the draw in front. More than were asked for where
            they are correlated.
        effective: number of independent draws they are worth; NaN where it is to be found from
            their autocorrelation.
        trouble: how many divergences a sampler met, or how many draws of latents left rows that
            contradict each other.
    """

    draws: dict
    effective: jax.Array
    trouble: jax.Array


Refit = Callable[[Callable, jax.Array, int], Refitted]
"""(program, key, draws) → `Refitted`; traceable."""


def closed_form(latents: int = 1000) -> Refit:
    """`bayescons.conjugate`: independent draws; with latents above the fields, resampled from so
    many draws of their prior by evidence.

    The weights are not smoothed. What they are worth, 1 / Σ w², is at most what is ranked; where it
    is a handful, use `sampled("collapsed")`.
    """

    def refit(program, key, draws):
        of_latents, of_fields = jax.random.split(key)
        found = mixture(program, latent_draws=latents, key=of_latents)
        weights = jnp.asarray(found.posterior.weights)
        effective = jnp.asarray(jnp.inf) if found.log_weights is None else 1 / jnp.sum(weights**2)
        return Refitted(
            found.posterior.sample(of_fields, (draws,)),
            effective,
            jnp.sum(~(found.violations < CONTRADICTION)),
        )

    return refit


def sampled(method: Method | str = "nuts", *, warmup: int = 500, thinning: int = 4) -> Refit:
    """One chain of a sampler, on the exact reading.

    Args:
        method: the name of a sampler, with the warm-up given here; or a `Method`, whose numbers of
            chains and draws are not used.
        warmup: steps before the first draw.
        thinning: how many steps of the chain are kept for each draw that is to be ranked; as many
            of them are ranked as they are worth.

    Raises:
        ValueError: for names that are none, and numbers that make no chain.
    """
    given = checked(Method(method, warmup=warmup) if isinstance(method, str) else method)
    if thinning < 1:
        raise RefusedValue(f"thinning must be a whole number, 1 or more; got {thinning}")

    def refit(program, key, draws):
        found = chains(
            program, dataclasses.replace(given, chains=1, draws=thinning * draws, progress=False)
        )(key)
        effective = (
            jnp.nan if found.statistics else jnp.inf
        )  # a sampler without statistics draws independently
        diverging = found.statistics.get("diverging", jnp.zeros(1, int))
        return Refitted(
            {name: values[0] for name, values in found.draws.items()},
            jnp.asarray(effective),
            jnp.sum(diverging),
        )

    return refit
