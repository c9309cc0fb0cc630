"""Fronts: where a profile falls through a threshold, for each draw, and what the draws say
together.

A shock or a moving interface is a functional of the field that is not linear: its law is found by
drawing fields and locating the front in each. A draw without a front is a fact about the belief,
not an error: its position is NaN, and absent fronts are counted.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bayescons import tracing
from bayescons.descriptions import tabulated
from bayescons.refusals import RefusedValue
from bayescons.results import trees as results


@tabulated("Position of a front")
class FrontSummary(NamedTuple):
    """What the draws say of one front; positions in the unit of x.

    `mean`, `sd`, `lower`, `upper` (highest-density interval), `ess_bulk` and `r_hat` are of the
    draws that have a front; `absent` counts those that have none, out of `draws`.
    """

    mean: float
    sd: float
    lower: float
    upper: float
    ess_bulk: float
    r_hat: float
    absent: int
    draws: int


def front_position(
    fields: ArrayLike,
    coordinates: ArrayLike,
    threshold: ArrayLike,
    *,
    direction: Literal["falling", "rising"] = "falling",
    rearranged: bool = False,
) -> Array:
    """Position of the first crossing of a threshold, going from lower to upper x.

    With u* the threshold, the crossing lies in the first cell with `u_i > u* >= u_{i+1}` and is
    placed by linear interpolation, `x_i + (x_{i+1} - x_i) (u_i - u*) / (u_i - u_{i+1})`: exact for
    a profile linear in the cell. A jump within a cell is found to within that cell, and to within
    half of it where the threshold is midway between the two values. A threshold at the value behind
    a jump (0 for a Stefan front) places the front on the upper node. A noisy profile has many
    crossings; the first is taken, so noise of the size of `u - u*` ahead of the front moves it
    down: draw fields with their correlations, not from the marginals. Where the belief has none, as
    that of a neural process given its latent, and the exact profile is monotone, take the
    profile *rearranged*, its values sorted: the front is then where the field's values above the
    threshold would end if they came first, each point on the wrong side counting for itself alone.
    The rearranged estimate of a monotone function is never further from it than the estimate was.
    The spread of rearranged fronts is small, as errors of independent points average out, and no
    measure of how well the front is known.

    Args:
        fields: profiles, shape (..., nx), x last.
        coordinates: the points x, shape (nx,), strictly increasing, at least two.
        threshold: u*, a number in the unit of the field.
        direction: "falling" from above the threshold to at or below it; "rising" from below it to
            at or above it.
        rearranged: sort each profile first, to fall or to rise; for equally spaced coordinates.

    Returns:
        Positions, shape (...), in the unit of x; NaN where a profile does not cross (always above,
        never above) or holds a NaN.

    Raises:
        ValueError: where the coordinates do not match the profiles, or the direction is neither of
            the two.

    Source: for the rearrangement, Chernozhukov, Fernández-Val and Galichon, Econometrica 78 (2010).
    """
    fields, x = jnp.asarray(fields), jnp.asarray(coordinates)
    if x.ndim != 1 or x.size < 2 or fields.shape[-1:] != x.shape:
        raise RefusedValue(
            "fields must have shape (..., nx) and coordinates (nx,) with nx >= 2; got "
            f"{fields.shape} and {x.shape}. Put x last, as in fields[:, time, :] with grid['x']"
        )
    return _crossing(_signed(direction) * (fields - threshold), x, tracing.Static(rearranged))


@tracing.compiled
def _crossing(above, x, rearranged: tracing.Static) -> Array:
    """Where what is above zero first falls to it or below."""
    missing = jnp.isnan(above).any(axis=-1)
    above = jnp.flip(jnp.sort(above, axis=-1), axis=-1) if rearranged.value else above
    falls = (above[..., :-1] > 0) & (above[..., 1:] <= 0)
    cell = jnp.argmax(falls, axis=-1, keepdims=True)
    left = jnp.take_along_axis(above, cell, axis=-1)[..., 0]
    right = jnp.take_along_axis(above, cell + 1, axis=-1)[..., 0]
    present = falls.any(axis=-1) & ~missing
    share = left / jnp.where(present, left - right, 1.0)
    lower = x[cell[..., 0]]
    return jnp.where(present, lower + share * (x[cell[..., 0] + 1] - lower), jnp.nan)


def front_summary(positions: ArrayLike, *, level: float = 0.95) -> FrontSummary:
    """Summarise the positions of one front over the draws, absent fronts counted and not averaged.

    Mean, standard deviation and highest-density interval are those of *position given that there is
    a front*; read them with the number of absent ones. Effective sample size and R-hat use each
    chain's present positions in order, cut to the length of the shortest chain. They are NaN below
    four such draws, and R-hat for a single chain.

    Args:
        positions: shape (chain, draw), NaN for an absent front; independent draws may have shape
            (draw,).
        level: probability of the interval.

    Raises:
        ValueError: for an array of any other shape.
    """
    positions = np.asarray(positions, dtype=float)
    if positions.ndim not in (1, 2):
        raise RefusedValue(
            "positions must have shape (chain, draw), or (draw,) for independent draws; got "
            f"{positions.shape}. For fronts at many times summarise positions[..., time] one time "
            "after another"
        )
    chains = [chain[~np.isnan(chain)] for chain in np.atleast_2d(positions)]
    present = np.concatenate(chains)
    absent = positions.size - present.size
    if present.size == 0:
        return FrontSummary(*[float("nan")] * 6, absent=absent, draws=positions.size)
    mean, sd, lower, upper = _statistics(present[None], level)[
        ["mean", "sd", "hdi_lower", "hdi_upper"]
    ]
    shortest = min(map(len, chains))
    ess_bulk, r_hat = (float("nan"),) * 2
    if shortest >= 4:
        ess_bulk, r_hat = _statistics(np.stack([chain[:shortest] for chain in chains]), level)[
            ["ess_bulk", "r_hat"]
        ]
    return FrontSummary(
        *map(float, (mean, sd, lower, upper, ess_bulk, r_hat)), absent=absent, draws=positions.size
    )


def _statistics(positions: np.ndarray, level: float):
    table = results.summarise(results.datatree({"front": positions}), level=level)
    return table.loc["front"]


def _signed(direction: str) -> float:
    signs = {"falling": 1.0, "rising": -1.0}
    if direction not in signs:
        raise RefusedValue(
            f"direction must be 'falling' or 'rising', as x goes up; got {direction!r}"
        )
    return signs[direction]
