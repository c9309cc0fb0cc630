"""Calibration: whether what is believed with probability p comes true in a share p of independent
cases.

The PIT of a case is the probability that the belief gave to values below the true one; if the
belief is calibrated it is uniform on (0, 1).
Everything here is made from it: one number for each independent case, from one scalar functional of
the field.

**One PIT for each case, not one for each point.** Points of one field are wrong together: where a
smooth field is overestimated at one point it is overestimated nearby, its PITs heap up somewhere,
and a test of uniformity, which counts points as independent, rejects. Of 30 calibrated fields with
a correlation length of a tenth of the domain the test used here rejects 30, over 200 points at
0.05. Take from each case one functional - a total, a flux, the position of a front, a random
projection, or the field at one point - and have many cases.

**Randomised ranks, not rank fractions.** Among S draws the truth has a rank from 0 to S. rank / S
holds exact zeros and ones, which no sample of a uniform law does, and a test says so: 19 of 20
calibrated sets are rejected. (rank + U) / (S + 1) with U uniform is exactly uniform if truth and
draws are exchangeable, whatever S. Where draws equal the truth, its rank among them is drawn too.

Sources: Dawid, JRSS A 147 (1984), for the PIT; Czado, Gneiting and Held, Biometrics 65 (2009), for
randomising; Tesso and Vehtari, arXiv 2603.02928 (2026), for the test, by ArviZ. The difference of
the ECDF and its band are in `bayescons.diagnostics.ecdf`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from bayescons.arrays import concrete, over_batch
from bayescons.descriptions import Description, described, tabulated, words
from bayescons.diagnostics.averages import alike
from bayescons.diagnostics.ecdf import EcdfDifference, ecdf_difference, one_each
from bayescons.diagnostics.mixtures import mixture_cdf
from bayescons.diagnostics.scoring import normal_quantile
from bayescons.functionals.abstract import AbstractFunctional
from bayescons.gaussians.gaussian import Gaussian
from bayescons.gaussians.scales import functional_scale
from bayescons.refusals import RefusedValue

# share of a functional's prior standard deviation below which it counts as known exactly: the
# rounding of a variance
KNOWN = 1e-6


@tabulated("How often central intervals hold the truth")
class CoverageCurve(NamedTuple):
    """How often central intervals hold the truth.

    Attributes:
        levels: probabilities of the intervals, shape (k,).
        coverage: share of the cases whose truth they hold, shape (k,).
        se: standard error of that share for a calibrated belief, √(p (1 - p) / n), shape (k,).
    """

    levels: np.ndarray
    coverage: np.ndarray
    se: np.ndarray


@described
class Calibration(NamedTuple):
    """What the PITs of independent cases say.

    Attributes:
        pit: one for each case, shape (n,).
        p_value: of the test that they are uniform.
        level: false-alarm rate: a p-value below it is taken to say that the belief is not
            calibrated.
        ecdf: difference from the uniform law, with a band of probability 1 - level.
        coverage: of central intervals.
    """

    pit: np.ndarray
    p_value: float
    level: float
    ecdf: EcdfDifference
    coverage: CoverageCurve

    @property
    def calibrated(self) -> bool:
        """Whether there is nothing against it. That is no proof: few cases show only large
        faults.
        """
        return self.p_value >= self.level

    @property
    def verdict(self) -> str:
        """In words."""
        said = "nothing against calibration" if self.calibrated else "not calibrated"
        return (
            f"{said}: p = {self.p_value:.2g} over {len(self.pit)} cases (false-alarm rate "
            f"{self.level:g})"
        )

    def description(self) -> Description:
        """The verdict, and what it rests on."""
        told = (
            ("verdict", self.verdict),
            ("ECDF", f"{'inside' if self.ecdf.inside else 'outside'} its band"),
            ("PITs", words(self.pit)),
        )
        return Description("Calibration of a belief", told)


def pit(
    draws: ArrayLike,
    truth: ArrayLike,
    key: jax.Array,
    *,
    where: ArrayLike | None = None,
    absent: str | None = None,
) -> jax.Array:
    """Randomised PIT of a scalar functional among draws, one for each case: (rank + U) / (S + 1).

    The rank is the number of draws below the truth; where some equal it, a uniformly drawn share of
    those counts as below.

    Args:
        draws: of the functional, shape (S, *cases).
        truth: its true values, shape (*cases). Cases must be independent: different fields, not
            points of one.
        key: for U.
        where: which draws count, broadcastable to their shape; at least one for each case. A chain
            is thinned this way.
        absent: what is made of NaN, a front that a draw or the truth does not have. "above": it has
            left the domain and lies above every position, "below": likewise; all that are absent
            are equal. So presence is judged too: a belief that never has a front where there is
            none is found out. By default NaN is refused.

    Returns:
        PITs in (0, 1), shape (*cases).

    Raises:
        ValueError: where shapes differ, or (outside jit) for NaN.
    """
    draws, truth = jnp.asarray(draws), jnp.asarray(truth)
    if draws.ndim != truth.ndim + 1 or draws.shape[1:] != truth.shape or not len(draws):
        raise RefusedValue(
            f"draws must have shape (draws, {', '.join(map(str, truth.shape))}), one value of the "
            f"functional a draw and case; got {draws.shape}. Apply the functional to the draws "
            "first"
        )
    if absent not in ("above", "below", None):
        raise RefusedValue(f"absent must be 'above', 'below' or None; got {absent!r}")
    if absent is not None:
        beyond = jnp.inf if absent == "above" else -jnp.inf
        draws, truth = (jnp.where(jnp.isnan(a), beyond, a) for a in (draws, truth))
    counted = jnp.broadcast_to(True if where is None else jnp.asarray(where, bool), draws.shape)
    missing = jnp.isnan(truth) | (jnp.isnan(draws) & counted).any(0)
    if concrete(missing) and bool(missing.any()):
        raise RefusedValue(
            f"the functional is NaN in {int(missing.sum())} of {missing.size} cases. If it is a "
            "front that may be absent, say what absence means: absent='above' (it has left the "
            "domain) or 'below'"
        )
    below = jnp.sum(counted & (draws < truth[None]), axis=0)
    equal = jnp.sum(counted & (draws == truth[None]), axis=0)
    values = (below + jax.random.uniform(key, truth.shape) * (equal + 1)) / (
        jnp.sum(counted, axis=0) + 1
    )
    precision = jnp.finfo(
        values.dtype
    )  # an exact zero or one, by rounding, would be taken for a rank fraction by the test
    return jnp.clip(values, precision.tiny, 1 - precision.epsneg)


def gaussian_pit(mean: ArrayLike, variance: ArrayLike, truth: ArrayLike) -> jax.Array:
    """PIT of a scalar that is believed to be N(mean, variance): Φ((truth - mean) / sd),
    elementwise.

    Args:
        mean: of each case, any shape.
        variance: above zero, the same shape.
        truth: the same shape.

    Raises:
        ValueError: for a variance of zero, of what is known exactly and has no PIT; and where
            shapes differ.
    """
    mean, variance, truth = alike(mean=mean, variance=variance, truth=truth)
    known = 0 if not concrete(variance) else int(np.sum(~(np.asarray(variance) > 0)))
    if known:
        raise RefusedValue(
            f"{known} of {variance.size} variances are not above zero: what is known has no PIT. "
            "Leave them out"
        )
    return norm.cdf(truth, mean, jnp.sqrt(variance))


def mixture_pit(
    means: ArrayLike, variances: ArrayLike, weights: ArrayLike | None, truth: ArrayLike
) -> jax.Array:
    """PIT of a scalar that is believed to be Σ_s w_s N(m_s, v_s): the mixture's distribution
    function at the truth.

    Args and errors: as `mixture_crps` and `gaussian_pit`; of a total, `means` holds the totals of
    the components' means.
    """
    if concrete(variances) and not (np.asarray(variances) > 0).all():
        raise RefusedValue(
            "variances must be above zero: a component that knows the value exactly makes a step, "
            "on which the PIT is any number"
        )
    return mixture_cdf(means, variances, weights, truth)


def functional_pit(belief: Gaussian, functional: AbstractFunctional, truth: ArrayLike) -> jax.Array:
    """PIT of a linear functional of Gaussian fields, without draws: Φ(G (u - m) / √(G K G')), for
    each of its rows.

    Args:
        belief: a batch of fields, one for each case, `batch_shape` the cases.
        functional: one of `bayescons.functionals`: `integral` for totals, `neumann` for slopes
            (fluxes), `dirichlet` for values.
        truth: the true fields, of the mean's shape.

    Returns:
        Shape (*cases, *rows). Rows of one field are not independent cases: test one row at a time,
        or one sum of them.

    Raises:
        ValueError: for rows that the belief knows exactly, such as a total that was observed.
    """
    if not isinstance(belief, Gaussian) or jnp.shape(truth) != belief.mean.shape:
        raise RefusedValue(
            "expected a bc.Gaussian and true fields of its mean's shape; got "
            f"{type(belief).__name__} and {jnp.shape(truth)}"
        )
    off = over_batch(functional.linear, len(belief.batch_shape))(jnp.asarray(truth) - belief.mean)
    prior = Gaussian(belief.loc, belief.covariance.unconditioned)
    spread, before = (
        jnp.broadcast_to(functional_scale(b, functional), off.shape) for b in (belief, prior)
    )
    known = ~(spread > KNOWN * before)
    if concrete(known) and bool(known.any()):
        raise RefusedValue(
            f"{int(known.sum())} of {known.size} rows are known exactly (no variance) and have no "
            "PIT. Test another functional"
        )
    return norm.cdf(off / spread)


def uniformity(values: ArrayLike) -> float:
    """The p-value of the test that PITs are uniform: pointwise order statistics, combined by
    Cauchy's rule (`pot_c` of ArviZ).

    Its own error rate, measured on 4,000 sets of 30 to 200 uniform values and 1,500 sets of 1,000:
    0.0002 to 0.0012 at level 0.001, 0.008 to 0.014 at 0.01, 0.055 to 0.073 at 0.05. Use it at 0.01
    or below. There, with 100 cases, it finds standard deviations too small by a factor of 0.67 in
    93 sets of a hundred, too large by 1.5 in 65 and by 2 in all.
    """
    from arviz_stats.base import array_stats

    return float(array_stats.uniformity_test(one_each(values, least=10))[0])


def calibration_of(values: ArrayLike, *, level: float = 0.01) -> Calibration:
    """What the PITs of independent cases say of a belief, with a stated false-alarm rate.

    Args:
        values: one PIT for each independent case, shape (n,), as `pit` makes them. Not the points
            of one field: see the module.
        level: false-alarm rate of the verdict, at most 0.05; how nearly it is kept is said at
            `uniformity`.
    """
    if not 0 < level <= 0.05:
        raise RefusedValue(
            f"level must be a false-alarm rate above 0 and up to 0.05; got {level:g}. Write "
            "level=0.01"
        )
    p_value = uniformity(values)
    return Calibration(
        np.asarray(values, float),
        p_value,
        level,
        ecdf_difference(values, level=1 - level),
        coverage_curve(values),
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values: that any true hypothesis has one below α has a probability of at
    most α, however they depend on each other.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    raw = np.asarray(p_values, float)
    order = np.argsort(raw)
    stepped = np.maximum.accumulate((raw.size - np.arange(raw.size)) * raw[order])
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def coverage_curve(values: ArrayLike, levels: ArrayLike | None = None) -> CoverageCurve:
    """Share of the cases whose truth lies in the central interval of each level: |2 PIT - 1| <=
    level.

    Args:
        values: one PIT for each independent case, shape (n,).
        levels: by default 0.05, 0.10, ..., 0.95.
    """
    levels = (
        np.linspace(0.05, 0.95, 19) if levels is None else np.atleast_1d(np.asarray(levels, float))
    )
    values = one_each(values, least=1)
    inside = np.abs(2 * values[:, None] - 1) <= levels[None]
    return CoverageCurve(levels, inside.mean(axis=0), np.sqrt(levels * (1 - levels) / len(values)))


def sharpness(draws: ArrayLike, *, level: float = 0.95) -> np.ndarray:
    """Width of the central interval of a scalar functional's draws; of two calibrated beliefs the
    sharper is the better.

    Args:
        draws: shape (S, *cases). Of a Gaussian belief the width is 2 z sd and needs no draws.
        level: probability of the interval.

    Returns:
        Widths, shape (*cases), in the unit of the functional; NaN where a draw is NaN.
    """
    normal_quantile(level)  # refuses what is no level
    low, high = np.quantile(np.asarray(draws, float), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.asarray(high - low)
