"""Metrics of a mixture of normals as it is, and not of one normal with its mean and variance.

At each point the prediction is F = Σ_s w_s N(m_s, v_s): the draws s of a network's latent, or the
members of an ensemble. Two components that disagree leave a density of two humps, which one normal
fills in; of a truth under one of them the mixture thinks far more.

All metrics are marginal, as those of `bayescons.diagnostics.metrics` are, which they equal for one
component, and take the same `axis` and `where`. Weights need not sum to one. A point is exactly
known to a component of variance zero: a value, not a density.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import scoringrules
from jax import Array
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from bayescons.arrays import concrete
from bayescons.diagnostics.averages import Axis, alike, average, mask, refuse_dead
from bayescons.diagnostics.scoring import normal_quantile
from bayescons.refusals import RefusedValue


def mixture_log_likelihood(
    means: ArrayLike,
    variances: ArrayLike,
    weights: ArrayLike | None,
    truth: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    floor: ArrayLike | None = None,
) -> Array:
    """Average over the points of the log density of the mixture, `log Σ_s w_s N(truth; m_s, v_s)`,
    in nats.

    At least the weighted average of the components' own log densities (Jensen). Where it fails: as
    `log_likelihood` does, for a point that any component of weight above zero knows exactly; write
    `where=(variances > 0).all(0)` or `floor=...`.

    Args:
        means: m_s, shape (components, *shape of the truth).
        variances: v_s, the same shape, in the squared unit of the field.
        weights: w_s >= 0, one for each component, shape (components,), or an array that broadcasts
            to the shape of the means, such as (components, functions, 1, 1); None for equal ones.
        truth: the true field, any shape.
        axis: axes of the truth averaged over; `None` for all, `()` for none.
        where: mask broadcastable to the truth's shape, true where a point counts.
        floor: variances below this are raised to it; none by default.

    Returns:
        Array with `axis` averaged away, in nats per point.

    Raises:
        ValueError: where the shapes differ, weights are negative or all zero, or (outside jit) a
            point that counts has no density.
    """
    means, variances, weights, truth = _components(means, variances, weights, truth)
    counted = mask(where, means.shape[1:])
    variances = variances if floor is None else jnp.maximum(variances, floor)
    dead = counted & ((variances <= 0) & (weights > 0)).any(0)
    refuse_dead(dead)
    safe = jnp.where((counted & ~dead)[None] & (variances > 0), variances, 1.0)
    density = logsumexp(norm.logpdf(truth, means, jnp.sqrt(safe)), axis=0, b=weights)
    return average(jnp.where(dead, -jnp.inf, density), axis, counted)


def mixture_crps(
    means: ArrayLike,
    variances: ArrayLike,
    weights: ArrayLike | None,
    truth: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> Array:
    """Average continuous ranked probability score of the mixture, in closed form; lower is better.

    `CRPS(F, y) = Σ_s w_s A(y - m_s, v_s) - 1/2 Σ_st w_s w_t A(m_s - m_t, v_s + v_t)` with `A(d, v)
    = E|d + sqrt(v) Z|` for a standard normal Z. A component that knows the point exactly has `A(d,
    0) = |d|`, so the score is finite for every variance. The pairs are not
    stored: 100 components on 201 points take 0.04 s, of order components².

    Args:
        means: m_s, shape (components, *shape of the truth).
        variances: v_s >= 0, the same shape.
        weights: w_s, as in `mixture_log_likelihood`.
        truth: the true field, any shape.
        axis: axes of the truth averaged over; `None` for all, `()` for none.
        where: mask broadcastable to the truth's shape, true where a point counts.

    Returns:
        Array with `axis` averaged away, in the unit of the field. NaN where a variance is negative.

    References:
        Grimit, Gneiting, Berrocal and Johnson, The continuous ranked probability score for circular
        variables and its application to mesoscale forecast ensemble verification, QJRMS 132 (2006),
        eq. 5. Computed by `scoringrules.crps_mixnorm`.
    """
    means, variances, weights, truth = _components(means, variances, weights, truth)
    least = jnp.sqrt(
        jnp.finfo(means.dtype).tiny
    )  # a standard deviation that adds nothing, and whose square is not zero
    scales = jnp.where(variances == 0, least, jnp.sqrt(jnp.where(variances == 0, 1.0, variances)))
    return average(_mixnorm(truth[0], means, scales, weights), axis, where)


def mixture_coverage(
    means: ArrayLike,
    variances: ArrayLike,
    weights: ArrayLike | None,
    truth: ArrayLike,
    *,
    level: float = 0.95,
    tolerance: float = 1e-9,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> Array:
    """Share of the points whose truth lies in the central interval of probability `level` of the
    mixture.

    A point is inside when `F(truth + tolerance) >= (1 - level) / 2` and `F(truth - tolerance) <= (1
    + level) / 2`, with F the mixture's cumulative distribution: when the truth is within the
    tolerance of the interval between the two quantiles. The tolerance is for points that are
    exactly known; for float32 fields write 1e-5. The interval leaves equal probability on both
    sides and may hold a gap between components in which there is hardly any.

    Args:
        means: m_s, shape (components, *shape of the truth).
        variances: v_s >= 0, the same shape.
        weights: w_s, as in `mixture_log_likelihood`.
        truth: the true field, any shape.
        level: probability of the interval, strictly between 0 and 1.
        tolerance: by how much the interval is widened at both ends, in the unit of the field.
        axis: axes of the truth averaged over; `None` for all, `()` for none.
        where: mask broadcastable to the truth's shape, true where a point counts.

    Returns:
        Array with `axis` averaged away, between 0 and 1; a NaN counts as outside.
    """
    normal_quantile(level)  # refuses what is no level
    means, variances, weights, truth = _components(means, variances, weights, truth)
    below, above = (
        _cdf(means, variances, weights, truth + step) for step in (tolerance, -tolerance)
    )
    inside = (below >= (1 - level) / 2) & (above <= (1 + level) / 2)
    return average(inside.astype(means.dtype), axis, where)


def mixture_cdf(
    means: ArrayLike, variances: ArrayLike, weights: ArrayLike | None, truth: ArrayLike
) -> Array:
    """F(truth) = Σ_s w_s Φ((truth - m_s) / √v_s), of the truth's shape; a variance of zero is a
    step. Args as `mixture_crps`.
    """
    return _cdf(*_components(means, variances, weights, truth))


def _cdf(means, variances, weights, value) -> Array:
    known = variances == 0
    steps = jnp.where(
        known,
        jnp.where(value >= means, 1.0, 0.0),
        norm.cdf(value, means, jnp.sqrt(jnp.where(known, 1.0, variances))),
    )
    return jnp.sum(weights * jnp.where(jnp.isnan(value), jnp.nan, steps), axis=0)


@jax.jit
def _mixnorm(truth, means, scales, weights) -> Array:
    """The score at each point. Compiled, so that the array of all pairs of components is summed and
    never stored.
    """
    last = (jnp.moveaxis(a, 0, -1) for a in (means, scales, weights))
    return scoringrules.crps_mixnorm(truth, *last, backend="jax")


def _components(means, variances, weights, truth) -> tuple[Array, Array, Array, Array]:
    """All four of the shape of the means, in one precision, weights summing to one over the
    components.
    """
    means, variances, truth = (jnp.asarray(a) for a in (means, variances, truth))
    if means.ndim == 0 or means.shape[1:] != truth.shape:
        raise RefusedValue(
            f"means must have shape (components, {', '.join(map(str, truth.shape))}), one field "
            f"like the truth for each component; got {means.shape}. For one component write "
            "means[None]"
        )
    dtype = jnp.result_type(float, means, variances, truth)
    weights = jnp.ones(len(means), dtype) if weights is None else jnp.asarray(weights, dtype)
    if weights.ndim == 1:
        weights = weights.reshape(-1, *(1,) * truth.ndim)
    if weights.ndim != means.ndim or any(
        n not in (1, m) for n, m in zip(weights.shape, means.shape, strict=True)
    ):
        raise RefusedValue(
            f"weights must have shape ({len(means)},) or broadcast to {means.shape}; got "
            f"{weights.shape}"
        )
    sums = weights.sum(0, keepdims=True)
    if concrete(weights) and not (
        bool((np.asarray(weights) >= 0).all()) and bool((np.asarray(sums) > 0).all())
    ):
        raise RefusedValue(
            "weights must not be negative, and not all be zero; log weights become weights by "
            "jnp.exp(log_weights - log_weights.max())"
        )
    truth, weights = (jnp.broadcast_to(a, means.shape) for a in (truth[None], weights / sums))
    means, variances, weights, truth = alike(
        means=means, variances=variances, weights=weights, truth=truth
    )
    return means, variances, weights, truth
