"""Metrics: how far a Gaussian prediction is from the truth, and from the conserved total.

Every metric takes plain arrays of the pointwise mean and *variance* (never the standard deviation)
and averages over `axis`; `where`, a boolean mask shared by all of them, picks the points that
count. An exactly known point (a boundary value, say) has variance zero. Its squared error, CRPS and
coverage are well defined and are counted; its log density is not, so it is excluded by
`where=variance > 0`.
"""

from __future__ import annotations

import operator
from statistics import NormalDist
from typing import Any, SupportsIndex

import jax.numpy as jnp
import scoringrules
from jax import Array
from jax.typing import ArrayLike

from bayescons.diagnostics.averages import Axis, alike, average, fitted, mask, refuse_dead
from bayescons.refusals import RefusedValue


def conservation_error(field: ArrayLike, total: ArrayLike, weights: ArrayLike) -> Array:
    """Signed excess of the conserved amount at each time: `G u - b`, with `(G u)(t) = sum_x w(x)
    u(t, x)`.

    Positive where the field holds more than it should. Averaged over times or over functions,
    errors of opposite sign cancel.

    Args:
        field: mean or draws, shape (..., nt, nx); one profile, shape (nx,), is fine too.
        total: the conserved amount b, broadcastable to the shape (..., nt); unit of the field times
            the unit of x.
        weights: quadrature weights w, shape (nx,), in the unit of x.

    Returns:
        Array of shape (..., nt), in the unit of the total.

    Raises:
        ValueError: where the weights do not match the field's last axis, or the total does not
            broadcast to (..., nt).
    """
    field, total, weights = jnp.asarray(field), jnp.asarray(total), jnp.asarray(weights)
    if field.ndim == 0 or weights.shape != field.shape[-1:]:
        raise RefusedValue(
            f"weights must have shape (nx,) = {field.shape[-1:]}, one for each point of the "
            f"field's last axis; got {weights.shape} for a field of shape {field.shape}. Write the "
            "weights over x alone, and put x last in the field"
        )
    amount = field @ weights
    return amount - fitted(total, amount.shape, "total", "the field's shape without its last axis")


def mean_squared_error(
    mean: ArrayLike, truth: ArrayLike, *, axis: Axis = -1, where: ArrayLike | None = None
) -> Array:
    """Average of `(mean - truth)^2` over the points.

    Args:
        mean: predicted mean, any shape.
        truth: the true field, same shape as the mean.
        axis: axes averaged over; `None` for all, `()` for none.
        where: mask broadcastable to the mean's shape, true where a point counts; an average over no
            points is NaN.

    Returns:
        Array with `axis` averaged away, in the squared unit of the field.

    Raises:
        ValueError: where the shapes differ.
    """
    mean, truth = alike(mean=mean, truth=truth)
    return average((mean - truth) ** 2, axis, where)


def log_likelihood(
    mean: ArrayLike,
    variance: ArrayLike,
    truth: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    floor: ArrayLike | None = None,
) -> Array:
    """Average over the points of the pointwise normal log density `log N(truth; mean, variance)`,
    in nats.

    `-(log(2 pi v) + (truth - mean)^2 / v) / 2` at each point: marginal, so it ignores every
    correlation, and an average, so it does not grow with the grid. It depends on the unit of the
    field: in units c times larger it rises by log c.

    Where it fails: an exactly known point has variance zero and no density. There is no honest
    default, so the caller says what to do, `where=variance > 0` (exclude these points) or
    `floor=...` (replace smaller variances by this one). Left in, such a point raises an error;
    under `jax.jit`, where no error can be raised, it makes the average -inf.

    Args:
        mean: predicted mean, any shape.
        variance: predicted marginal variance, same shape, in the squared unit of the field.
        truth: the true field, same shape.
        axis: axes averaged over; `None` for all, `()` for none.
        where: mask broadcastable to the mean's shape, true where a point counts; an average over no
            points is NaN.
        floor: variances below this are raised to it; none by default.

    Returns:
        Array with `axis` averaged away, in nats per point.

    Raises:
        ValueError: where the shapes differ, or (outside jit) where a point that counts has a
            variance of zero or less.
    """
    mean, variance, truth = alike(mean=mean, variance=variance, truth=truth)
    counted = mask(where, mean.shape)
    variance = variance if floor is None else jnp.maximum(variance, floor)
    dead = counted & (variance <= 0)
    refuse_dead(dead)
    safe = jnp.where(counted & ~dead, variance, 1.0)
    density = -0.5 * (jnp.log(2 * jnp.pi * safe) + (truth - mean) ** 2 / safe)
    return average(jnp.where(dead, -jnp.inf, density), axis, counted)


def crps(
    mean: ArrayLike,
    variance: ArrayLike,
    truth: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> Array:
    """Average continuous ranked probability score of the normal marginals; lower is better.

    `CRPS(F, y) = integral of (F(z) - 1{z >= y})^2 dz`; for a normal F of standard deviation s, with
    `r = (y - mean) / s`, it is `s (r (2 Phi(r) - 1) + 2 phi(r) - 1 / sqrt(pi))`. As s -> 0 it
    becomes `|y - mean|`, which is what an exactly known point (variance zero) is given: so the
    score is finite for every variance, where the log density is not.

    Args:
        mean: predicted mean, any shape.
        variance: predicted marginal variance, same shape, in the squared unit of the field.
        truth: the true field, same shape.
        axis: axes averaged over; `None` for all, `()` for none.
        where: mask broadcastable to the mean's shape, true where a point counts; an average over no
            points is NaN.

    Returns:
        Array with `axis` averaged away, in the unit of the field. NaN where a variance is negative.

    Raises:
        ValueError: where the shapes differ.

    References:
        Gneiting and Raftery, Strictly proper scoring rules, prediction, and estimation, JASA 102
        (2007), section 4.2: a proper score in the unit of the observation, which generalises the
        absolute error. Computed by `scoringrules.crps_normal`.
    """
    mean, variance, truth = alike(mean=mean, variance=variance, truth=truth)
    known = variance == 0
    scale = jnp.sqrt(jnp.where(known, 1.0, variance))
    score = scoringrules.crps_normal(truth, mean, scale, backend="jax")
    return average(jnp.where(known, jnp.abs(truth - mean), score), axis, where)


def coverage(
    mean: ArrayLike,
    variance: ArrayLike,
    truth: ArrayLike,
    *,
    level: float = 0.95,
    tolerance: float = 1e-9,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> Array:
    """Share of the points whose truth lies in the central interval of probability `level`.

    A point is inside when `|truth - mean| <= max(z s, tolerance)`, with z the normal quantile of
    `(1 + level) / 2`. The tolerance decides for exactly known points (s = 0, or s left at rounding
    by a subtraction): they count as inside when they are right to within it. The default is a
    thousand times the 1e-12 to which an exact functional holds in float64; for float32 fields write
    1e-5.

    Args:
        mean: predicted mean, any shape.
        variance: predicted marginal variance, same shape, in the squared unit of the field.
        truth: the true field, same shape.
        level: probability of the interval, strictly between 0 and 1.
        tolerance: least half-width of an interval, in the unit of the field.
        axis: axes averaged over; `None` for all, `()` for none.
        where: mask broadcastable to the mean's shape, true where a point counts; an average over no
            points is NaN.

    Returns:
        Array with `axis` averaged away, between 0 and 1; a NaN in a mean, variance or truth counts
        as outside.

    Raises:
        ValueError: where the shapes differ, or the level is not strictly between 0 and 1.
    """
    mean, variance, truth = alike(mean=mean, variance=variance, truth=truth)
    halfwidth = jnp.maximum(normal_quantile(level) * jnp.sqrt(variance), tolerance)
    inside = jnp.abs(truth - mean) <= halfwidth
    return average(inside.astype(mean.dtype), axis, where)


def normal_quantile(level: float) -> float:
    """Half-width z of the central interval of a standard normal: `P(|Z| <= z) = level`; 1.96 at
    level 0.95.
    """
    if not 0 < level < 1:
        raise RefusedValue(
            f"level must be a probability strictly between 0 and 1; got {level}. Write level=0.95 "
            "for 95 %"
        )
    return NormalDist().inv_cdf(0.5 * (1 + level))


def scores(
    mean: ArrayLike,
    variance: ArrayLike,
    truth: ArrayLike,
    total: ArrayLike,
    weights: ArrayLike,
    *,
    time: SupportsIndex | None = None,
    level: float = 0.95,
    where: ArrayLike | None = None,
    known_below: float = 0.0,
) -> dict[str, Array]:
    """All metrics of one prediction, at one time slice or over all times: a row of a table for each
    leading index.

    The log likelihood leaves out the exactly known points, `0 <= variance <= known_below`; `known`
    is the share of points that are, so that a table can say what its log likelihoods compare. Every
    other metric counts all points of `where`, and the conservation error all points.

    Args:
        mean: predicted mean, shape (..., nt, nx).
        variance: predicted marginal variance, same shape.
        truth: the true field, same shape.
        total: the conserved amount, broadcastable to (..., nt).
        weights: quadrature weights over x, shape (nx,).
        time: index of the slice; `None` averages over all times.
        level: probability of the interval of the coverage.
        where: mask broadcastable to (..., nt, nx), true where a point counts.
        known_below: variances at or below this, in the squared unit of the field, are taken as
            exactly known.

    Returns:
        Arrays of shape (...): `conservation_error` (signed; over all times their signed mean, in
        which errors of opposite sign cancel), `largest_conservation_error` (largest absolute value
        over the times), `mean_squared_error`, `log_likelihood` (nats a point; NaN where every point
        is known), `crps`, `coverage`, `known`.

    Raises:
        ValueError: where the arrays have no time axis, their shapes do not match, there is no such
            slice, or a variance is negative.
    """
    mean, variance, truth = alike(mean=mean, variance=variance, truth=truth)
    times = _times(mean.shape, time)
    error = conservation_error(mean, total, weights)[..., times]
    counted = mask(where, mean.shape)[..., times, :]
    mean, variance, truth = (a[..., times, :] for a in (mean, variance, truth))
    known = (variance >= 0) & (variance <= known_below)
    points: dict[str, Any] = {"axis": (-2, -1), "where": counted}
    return {
        "conservation_error": error.mean(-1),
        "largest_conservation_error": jnp.abs(error).max(-1),
        "mean_squared_error": mean_squared_error(mean, truth, **points),
        "log_likelihood": log_likelihood(
            mean, variance, truth, axis=(-2, -1), where=counted & ~known
        ),
        "crps": crps(mean, variance, truth, **points),
        "coverage": coverage(mean, variance, truth, level=level, **points),
        "known": average(known.astype(mean.dtype), **points),
    }


def _times(shape: tuple[int, ...], time: SupportsIndex | None) -> slice:
    if len(shape) < 2:
        raise RefusedValue(
            f"scores needs fields of shape (..., nt, nx); got {shape}. For one profile write "
            "mean[None], and time=0"
        )
    if time is None:
        return slice(None)
    time = operator.index(time)
    if not -shape[-2] <= time < shape[-2]:
        raise RefusedValue(
            f"time must be the index of one of {shape[-2]} slices; got {time}. Find it from a time "
            "with np.searchsorted"
        )
    return slice(time, time + 1 or None)
