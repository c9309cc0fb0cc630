"""Recalibration: a belief made wider or narrower by a factor found on held-out functions, such that
its laws still hold.

A network's belief is rarely as sure as it should be. The draw u becomes u' = m + s (u - m), so that

    mean m,    covariance s² K,    and    G u' = G m + s (G u - G m) = b    wherever    G u = G m =
    b:

what the belief holds for certain it still holds, in the mean and in every draw, and what has no
variance gets none. The factor may differ from time to time: a total at one time is a functional of
that time alone. It may not differ along an axis that a functional sums over. One factor for all
commutes with conditioning on exact facts, for which only ratios of variances count; with noisy ones
it does not.

Source: one factor for all variances is the temperature of Guo et al., On calibration of modern
neural networks, ICML 2017, for a Gaussian; the quantile is that of normalised residuals in split
conformal prediction (Lei et al., JASA 113, 2018).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.typing import ArrayLike

from bayescons.arrays import concrete, finite, over_batch, real
from bayescons.diagnostics.averages import Axis, mask
from bayescons.diagnostics.scoring import normal_quantile
from bayescons.gaussians.composites import Scaled
from bayescons.gaussians.gaussian import Gaussian
from bayescons.refusals import RefusedType, RefusedValue

METHODS = ("coverage", "likelihood", "crps")


def scale_factor(
    mean: ArrayLike,
    variance: ArrayLike,
    truth: ArrayLike,
    *,
    method: str = "coverage",
    level: float = 0.95,
    axis: Axis = None,
    where: ArrayLike | None = None,
) -> np.ndarray:
    """The factor s by which the standard deviations of a belief should be multiplied, from
    functions whose truth is known.

    With residuals r = |truth - mean| / sqrt(variance) of the points of a group,

    - `"coverage"`: s = (`level`-quantile of r) / z, with z the normal quantile, so that the central
      intervals of that level hold at least that share of the points, and no smaller s does. It
      answers for this level alone.
    - `"likelihood"`: s² = mean of r², of greatest likelihood. Outliers decide it.
    - `"crps"`: of least average CRPS, a convex function of s. Points of large variance decide it.

    All three are 1 for a calibrated belief, up to sampling error. Points of one function are
    correlated, and so are times: the number of functions says how well s is known, not the number
    of points, and no guarantee of conformal prediction is claimed.

    Args:
        mean: predicted mean, any shape, for instance (functions, nt, nx).
        variance: predicted marginal variance, same shape. Points of variance zero are known exactly
            and do not count.
        truth: the true field, same shape.
        method: what s should achieve, one of `METHODS`.
        level: probability of the intervals, strictly between 0 and 1; for `"coverage"`.
        axis: axes pooled to one group: `None` for all, one number; `(0, 2)` of (functions, nt, nx)
            for a factor for each time.
        where: mask broadcastable to the mean's shape, true where a point counts.

    Returns:
        Factors, with length one along `axis`, so that they broadcast to the mean's shape; a number,
        shape (), for `axis=None`.

    Raises:
        ValueError: where shapes differ, entries are not finite, a variance is negative, a group has
            no points, or its truth is met so exactly that the factor would be zero.
    """
    if method not in METHODS:
        raise RefusedValue(f"method must be one of {', '.join(map(repr, METHODS))}; got {method!r}")
    z = normal_quantile(level)
    mean, variance, truth = (
        np.asarray(finite(name, a), float)
        for name, a in (("mean", mean), ("variance", variance), ("truth", truth))
    )
    if not mean.shape == variance.shape == truth.shape or (variance < 0).any():
        raise RefusedValue(
            "mean, variance and truth must have one shape, and no variance be negative; got shapes "
            f"{mean.shape}, {variance.shape}, {truth.shape} and a smallest variance of "
            f"{variance.min(initial=np.inf):g}"
        )
    counted = (variance > 0) & np.asarray(mask(where, mean.shape))
    deviation = np.sqrt(np.where(counted, variance, 1.0))
    residual = np.abs(truth - mean) / deviation

    given = range(mean.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    pooled = [a % mean.ndim for a in given]
    kept = [a for a in range(mean.ndim) if a not in pooled]
    shape = (
        tuple(mean.shape[a] if a in kept else 1 for a in range(mean.ndim))
        if axis is not None
        else ()
    )
    groups = [
        np.moveaxis(a, kept, range(len(kept))).reshape(math.prod(shape), -1)
        for a in (residual, deviation, counted)
    ]
    find = {
        "coverage": functools.partial(_of_coverage, z=z, level=level),
        "likelihood": _of_likelihood,
        "crps": _of_crps,
    }[method]
    return np.array(
        [_of_group(find, r[use], d[use]) for r, d, use in zip(*groups, strict=True)]
    ).reshape(shape)


def recalibrated(belief: Gaussian, factor: ArrayLike) -> Gaussian:
    """The belief with the standard deviations of its draws about the mean multiplied by a factor:
    N(m, K) becomes N(m, D K D).

    Args:
        belief: any Gaussian belief, usually conditioned already.
        factor: s > 0: a number, or an array with as many axes as the mean, (*batch, *field), of
            length one along those on which it does not depend, as `scale_factor(..., axis=...)`
            returns it. Along an axis that a functional sums over it must not change.

    Returns:
        A belief of the same shape. Of a factor 1 it is the same belief.

    Raises:
        ValueError: for factors that are not above zero, or do not broadcast to the mean.
    """
    if not isinstance(belief, Gaussian):
        raise RefusedType(f"expected a bc.Gaussian belief; got {type(belief).__name__}")
    factor, full = finite("factor", real("factor", factor)), belief.batch_shape + belief.event_shape
    if factor.ndim not in (0, len(full)) or any(
        n not in (1, m) for n, m in zip(factor.shape, full, strict=False)
    ):
        raise RefusedValue(
            f"factor must be a number or have {len(full)} axes, each of length one or as in the "
            f"mean's shape {full}; got {factor.shape}. For one factor for each time write "
            "factor[:, None], for each field of a batch factor[:, None, None]"
        )
    if concrete(factor) and (least := float(np.min(np.asarray(factor)))) <= 0:
        raise RefusedValue(f"factor must be above zero; its smallest entry is {least:g}")
    lead, whole = len(belief.batch_shape), belief.covariance
    factor = factor.reshape(factor.shape or (1,) * len(full)).astype(jnp.result_type(belief.loc))
    if whole.batch_dims == 0 and math.prod(factor.shape[:lead]) == 1:
        return Gaussian(belief.loc, Scaled(whole, factor.reshape(factor.shape[lead:])))
    factor = jnp.broadcast_to(factor, belief.batch_shape + factor.shape[lead:])
    return Gaussian(
        belief.loc,
        over_batch(lambda k, s: Scaled(k, s), lead, whole.batch_dims == 0)(whole, factor),
    )


def _of_group(find: Callable, residual: np.ndarray, deviation: np.ndarray) -> float:
    if residual.size == 0:
        raise RefusedValue(
            "a group has no point that counts and has a variance above zero; pool more axes, or "
            "change where"
        )
    factor = find(residual, deviation)
    if factor > 0:
        return factor
    raise RefusedValue(
        f"the factor would be zero: {(residual == 0).sum()} of {residual.size} points of a group "
        "are met exactly. Either (a) the truth was taken from the prediction, or (b) these points "
        "are known: give them the variance zero, or leave them out by where"
    )


def _of_coverage(residual: np.ndarray, _, *, z: float, level: float) -> float:
    """The smallest s that covers: by the residual of rank ceil(level n), which stays inside by a
    rounding.
    """
    rank = max(math.ceil(level * residual.size - 1e-9), 1)
    return float(np.partition(residual, rank - 1)[rank - 1]) / z * (1 + 8 * np.finfo(float).eps)


def _of_likelihood(residual: np.ndarray, _) -> float:
    return float(np.sqrt(np.mean(residual**2)))


def _of_crps(residual: np.ndarray, deviation: np.ndarray) -> float:
    """The root of d/ds Σ d_i CRPS(N(0, s²), r_i) = Σ d_i (2 φ(r_i / s) - 1/√π), which lies among
    the roots r_i / √ln 2 of the terms.
    """
    high = residual.max() / math.sqrt(math.log(2)) * (1 + 1e-9)
    low = max(residual.min() / math.sqrt(math.log(2)) * (1 - 1e-9), 1e-9 * high)

    def slope(scale: float) -> float:
        density = np.exp(-0.5 * (residual / scale) ** 2) / math.sqrt(2 * math.pi)
        return float(np.sum(deviation * (2 * density - 1 / math.sqrt(math.pi))))

    if high == 0 or slope(low) >= 0:
        return 0.0
    return float(scipy.optimize.brentq(slope, low, high, xtol=1e-12 * high))
