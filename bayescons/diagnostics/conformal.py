"""Conformal recalibration: bands that hold a whole function with a stated probability, and draws
that obey every law as before.

With r_i = max_x |u_i(x) - m_i(x)| / sd_i(x) for calibration functions i = 1 ... n, w_i the
half-width at which a belief's own draws stay within m ± w sd everywhere with probability 1 - α, and
s the ⌈(n + 1)(1 - α)⌉-th smallest of r_i / w_i, the band

    m(x) ± s w sd(x)    holds a new function at all points at once with probability between 1 - α
    and 1 - α + 1/(n + 1),

whatever the belief is worth, if the new function and those n are exchangeable. s is also a factor
for the belief itself: its draws m + s (u - m) (`recalibrated`) have this band as their own, and G u
= G m = b still holds in every one of them, as s is one number.

A belief that is too sure in some places only is better made wider there: a factor s(x) multiplies
the belief *before* the law, which is then imposed again (`reconditioned`), so that it holds exactly
whatever s(x) is. Find s(x) on other functions than s.

Where it fails: parameters outside the range of the calibration functions are not exchangeable with
them, and nothing is promised. Given one set of calibration functions the coverage is a draw from
Beta(k, n + 1 - k), k the rank: for n = 200 and 0.95, within ± 0.03.

Sources: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005); Lei et al., JASA
113 (2018), for splitting; Diquigiovanni, Fontana and Vantini, J. Multivariate Analysis 189 (2022),
for bands of functions by the largest normalised residual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bayescons import tracing
from bayescons.arrays import finite
from bayescons.diagnostics.averages import Axis, alike, mask
from bayescons.diagnostics.recalibration import recalibrated
from bayescons.diagnostics.scoring import normal_quantile
from bayescons.gaussians.conditioning import Constraint, condition
from bayescons.gaussians.gaussian import Gaussian
from bayescons.refusals import RefusedValue


def largest_residual(
    mean: ArrayLike,
    variance: ArrayLike,
    truth: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    tolerance: float = 1e-9,
) -> Array:
    """max |truth - mean| / sd over the points of a function: the least half-width, in standard
    deviations, of a band that holds it.

    Args:
        mean: predicted mean, any shape, for instance (functions, nx).
        variance: predicted marginal variance, same shape. A point of variance zero does not count
            if it is met to within the tolerance; missed, it makes the residual infinite.
        truth: the true functions, same shape.
        axis: axes that make up a function, the last by default; `(-2, -1)` for whole fields, `None`
            for all.
        where: mask broadcastable to the mean's shape, true where a point counts.
        tolerance: in the unit of the field.

    Returns:
        Array with `axis` taken away, dimensionless.
    """
    mean, variance, truth = alike(mean=mean, variance=variance, truth=truth)
    known, off = variance <= 0, jnp.abs(truth - mean)
    residual = jnp.where(
        known,
        jnp.where(off <= tolerance, 0.0, jnp.inf),
        off / jnp.sqrt(jnp.where(known, 1.0, variance)),
    )
    return jnp.max(residual, axis=axis, initial=0.0, where=mask(where, mean.shape))


def simultaneous_width(
    draws: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    *,
    level: float = 0.95,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> Array:
    """The half-width w, in standard deviations, of the band m ± w sd within which a share `level`
    of a belief's draws stays everywhere.

    From 1.96 for one point up: 3.7 for 201 independent ones at 0.95.

    Args:
        draws: of the belief, shape (S, *shape of the mean); a few hundred.
        mean: shape of the field or fields.
        variance: the same shape.
        level: probability that all of a function lies in the band.
        axis: as in `largest_residual`.
        where: as in `largest_residual`.

    Returns:
        Array with `axis` taken away. The smallest that holds ⌈level S⌉ of the draws.
    """
    normal_quantile(level)  # refuses what is no level
    draws, mean, variance = jnp.asarray(draws), jnp.asarray(mean), jnp.asarray(variance)
    if draws.ndim != mean.ndim + 1 or draws.shape[1:] != mean.shape or not len(draws):
        raise RefusedValue(
            f"draws must have shape (draws, {', '.join(map(str, mean.shape))}); got {draws.shape}. "
            "Put the draws first"
        )
    where = None if where is None else jnp.asarray(where)
    axes = tuple(axis) if isinstance(axis, Sequence) else axis
    sizes = _largest_residuals(mean, variance, draws, where, tracing.Static(axes))
    return jnp.sort(sizes, axis=0)[math.ceil(level * len(draws) - 1e-9) - 1]


@tracing.compiled
def _largest_residuals(mean, variance, draws, where, axis: tracing.Static) -> Array:
    return jax.lax.map(
        lambda draw: largest_residual(mean, variance, draw, axis=axis.value, where=where), draws
    )


def conformal_factor(scores: ArrayLike, *, level: float = 0.95) -> float:
    """The ⌈(n + 1) level⌉-th smallest of the scores of n calibration functions: a new one's is at
    most that with at least this probability.

    Args:
        scores: one for each function, shape (n,): `largest_residual(...) /
            simultaneous_width(...)`, or `largest_residual(...)` alone for the half-width of a band
            in standard deviations. Any score will do that is computed in the same way for a new
            function.
        level: probability, strictly between 0 and 1.

    Raises:
        ValueError: for fewer than level / (1 - level) functions, 19 for 0.95, which cannot give the
            guarantee; and for NaN.
    """
    normal_quantile(level)
    scores = np.asarray(_checked(scores))
    rank = math.ceil((scores.size + 1) * level - 1e-9)
    if rank > scores.size:
        least = math.ceil(level / (1 - level) - 1e-9)
        raise RefusedValue(
            f"{scores.size} calibration functions cannot promise {level:g}: at least {least} are "
            "needed. Take more, or a lower level"
        )
    factor = float(np.partition(scores, rank - 1)[rank - 1])
    if math.isinf(factor):
        raise RefusedValue(
            f"no finite factor covers: {int(np.isinf(scores).sum())} of {scores.size} functions "
            "miss a point that is known exactly. Drop that fact, give it a scale, or leave the "
            "point out by where"
        )
    return factor


def simultaneous_coverage(
    mean: ArrayLike,
    variance: ArrayLike,
    truth: ArrayLike,
    width: ArrayLike,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> Array:
    """Whether the band mean ± width sd holds each function at all of its points; boolean, with
    `axis` taken away.

    `width` is a number or one for each function, in standard deviations. Other arguments as
    `largest_residual`.
    """
    size = largest_residual(mean, variance, truth, axis=axis, where=where)
    return size <= jnp.broadcast_to(jnp.asarray(width), size.shape)


def reconditioned(belief: Gaussian, constraint: Constraint, factor: ArrayLike) -> Gaussian:
    """The belief made wider or narrower by s(x) and then given the law: N(m, D K D) | G u = b, D =
    diag(s).

    The law holds in the mean and in every draw to rounding, whatever s(x) is. The mean moves too:
    most where s(x) is large, as what the law has to correct is put where the belief is unsure. For
    one number s it is `recalibrated` of the conditioned belief.

    Args:
        belief: before the law. Laws that it holds already and that are not in the constraint are
            lost where s varies.
        constraint: what is known.
        factor: s > 0, as in `recalibrated`, and free to vary along every axis; `scale_factor(...,
            method="likelihood", axis=0)` of the conditioned belief on functions of their own is one
            way to find it.

    Raises:
        ValueError, TypeError: as `recalibrated` and `condition`.
    """
    return condition(recalibrated(belief, factor), constraint)


def _checked(scores: ArrayLike) -> Array:
    """One score for each function, none of them NaN; infinite ones (a point known exactly was
    missed) are kept.
    """
    scores = jnp.asarray(scores)
    if scores.ndim != 1:
        raise RefusedValue(
            f"scores must have shape (n,), one for each calibration function; got {scores.shape}"
        )
    finite("scores", jnp.where(jnp.isinf(scores), 0.0, scores))
    return scores
