"""The energy score: how far draws of a whole profile are from the true one, correlations
included.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import scoringrules
from jax import Array
from jax.typing import ArrayLike

from bayescons.diagnostics.averages import Axis, mask
from bayescons.refusals import RefusedValue


def energy_score(
    draws: ArrayLike,
    truth: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    per_point: bool = True,
) -> Array:
    """`ES = E|X - y| - 1/2 E|X - X'|` for independent draws X, X' of a profile whose true values
    are y; lower is better.

    The norm is Euclidean over all n points of the profile together, so that the score is that of
    the joint law, where all other metrics here are averages over points. By default it is divided
    by `sqrt(n)`: then it is in the unit of the field, does not grow with the grid, and is the CRPS
    for n = 1 and the root mean squared error for a certain prediction. `per_point=False` leaves it
    undivided, as most of the literature has it; compare with published numbers only where their
    convention is known.

    The estimate from S draws is unbiased ("fair"): the second term is the average over the S (S -
    1) pairs of different draws. The score tells means apart far better than correlations (Pinson
    and Tastu 2013), so take a few hundred draws of each prediction compared.

    Args:
        draws: shape (draws, *shape of the truth), at least two; `belief.sample(key, (500,))` has
            it.
        truth: the true field, any shape, in the unit of the field.
        axis: axes of the truth that make up a profile, the last by default; `(-2, -1)` for whole
            fields, `None` for all.
        where: mask broadcastable to the truth's shape, true where a point counts.
        per_point: divide by the square root of the number of points that count.

    Returns:
        Array with `axis` taken away, in the unit of the field. Profiles are scored one at a time
        and pairs are not stored; the time is of order draws² n, 0.1 s for 500 draws on 201 points.
        Its gradient is NaN: that of a draw's distance to itself.

    Raises:
        ValueError: where the shapes do not match, or there are fewer than two draws.

    References:
        Gneiting and Raftery, Strictly proper scoring rules, prediction, and estimation, JASA 102
        (2007), section 4.3. Computed by `scoringrules.es_ensemble`. Pinson and Tastu,
        Discrimination ability of the energy score, DTU (2013).
    """
    draws, truth = jnp.asarray(draws), jnp.asarray(truth)
    if draws.ndim != truth.ndim + 1 or draws.shape[1:] != truth.shape or len(draws) < 2:
        raise RefusedValue(
            f"draws must have shape (draws, {', '.join(map(str, truth.shape))}) with at least two "
            f"draws; got {draws.shape}. Draw them with belief.sample(key, (500,)), draws first"
        )
    counted = mask(where, truth.shape)
    draws, truth = jnp.where(counted[None], draws, 0.0), jnp.where(counted, truth, 0.0)
    given = range(truth.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = sorted(a % truth.ndim for a in given)
    kept = [a for a in range(truth.ndim) if a not in axes]
    shape = tuple(truth.shape[a] for a in kept)
    truth, counted = (
        jnp.transpose(a, [*kept, *axes]).reshape(-1, math.prod(truth.shape[a] for a in axes))
        for a in (truth, counted)
    )
    draws = jnp.transpose(draws, [*(a + 1 for a in kept), 0, *(a + 1 for a in axes)]).reshape(
        len(truth), len(draws), -1
    )
    points = jnp.sum(counted, axis=-1)
    score = jnp.where(points > 0, _scores(draws, truth), jnp.nan)
    return (score / jnp.sqrt(jnp.maximum(points, 1)) if per_point else score).reshape(shape)


@jax.jit
def _scores(draws, truths) -> Array:
    """Of each profile, shapes (profiles, draws, n) and (profiles, n). Compiled, so that distances
    are summed and never stored.
    """

    def one(pair):
        return scoringrules.es_ensemble(pair[1], pair[0], estimator="fair", backend="jax")

    return jax.lax.map(one, (draws, truths))
