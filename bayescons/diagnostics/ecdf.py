"""The empirical distribution function of PITs, less the uniform one, with a band that all of it
keeps to if the PITs are uniform.

Where a test says that something is wrong, the difference shows what. The band is simultaneous: its
probability is that of the whole curve, computed exactly, and not that of a point.

Source: Säilynoja, Bürkner and Vehtari, Graphical test for discrete uniformity, Statistics and
    Computing 32 (2022).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import scipy.stats
from jax.typing import ArrayLike

from bayescons.descriptions import tabulated
from bayescons.refusals import RefusedValue

POINTS = 100  # most evaluation points of an ECDF


@tabulated("Empirical distribution of PITs less the uniform one")
class EcdfDifference(NamedTuple):
    """The empirical distribution function of PITs less the uniform one, and where it stays for
    uniform PITs.

    Attributes:
        points: z from 0 to 1, shape (k,).
        difference: share of the PITs up to z, less z, shape (k,). An S that goes up first: the
            belief is too narrow; down first: too wide. All above zero: the truth is too often below
            what was believed.
        lower: of the simultaneous band.
        upper: of the simultaneous band.
        level: probability that all of the difference lies within the band if the PITs are
            independent and uniform; exact.
    """

    points: np.ndarray
    difference: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    level: float

    @property
    def inside(self) -> bool:
        """Whether all of it lies within the band."""
        return bool(
            (
                (self.difference >= self.lower - 1e-12) & (self.difference <= self.upper + 1e-12)
            ).all()
        )


def ecdf_difference(values: ArrayLike, *, level: float = 0.95) -> EcdfDifference:
    """The ECDF of PITs less the uniform law at up to 100 equally spaced points, and its
    simultaneous band.

    The band is of equal pointwise probability, as in Säilynoja et al. (2022). The probability of
    staying within it is computed exactly, by a recursion over the points (`band`); as counts are
    whole numbers, it is at least the level.
    """
    values = np.sort(one_each(values, least=2))
    cells = min(values.size, POINTS)
    points = np.arange(cells + 1) / cells
    lower, upper, attained = band(values.size, cells, level)
    share = np.searchsorted(values, points, side="right") / values.size
    return EcdfDifference(
        points, share - points, lower / values.size - points, upper / values.size - points, attained
    )


def one_each(values: ArrayLike, *, least: int) -> np.ndarray:
    """PITs, refused unless there is one between 0 and 1 for each of at least so many cases, shape
    (n,).
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or values.size < least or not ((values >= 0) & (values <= 1)).all():
        raise RefusedValue(
            f"expected one PIT between 0 and 1 for each of at least {least} independent cases, "
            f"shape (n,); got shape {values.shape}"
            + (f" with values from {np.min(values):g} to {np.max(values):g}" if values.size else "")
        )
    return values


@functools.cache
def band(count: int, cells: int, level: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Least and greatest number of `count` uniform values up to k / cells that hold for all k = 0
    ... cells with at least this probability.

    Returns:
        Lower and upper counts, shape (cells + 1,), of equal pointwise probability; and the
        probability that all hold, exactly.
    """
    if not 0 < level < 1:
        raise RefusedValue(f"level must be a probability strictly between 0 and 1; got {level}")
    points = np.arange(cells + 1) / cells

    def limits(tail: float):
        return (
            scipy.stats.binom.ppf(q, count, points[1:-1]).astype(int)
            for q in (tail / 2, 1 - tail / 2)
        )

    def within(tail: float) -> float:
        lower, upper = limits(tail)
        return _stays(count, cells, np.append(lower, count), np.append(upper, count))

    low, high = (
        np.log((1 - level) / cells),
        np.log(1 - level),
    )  # by Bonferroni's inequality the lower does
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if within(np.exp(middle)) >= level else (low, middle)
    lower, upper = (np.concatenate([[0], edge, [count]]) for edge in limits(np.exp(low)))
    return lower, upper, within(np.exp(low))


def _stays(count: int, cells: int, lower: np.ndarray, upper: np.ndarray) -> float:
    """P(lower_k <= N_k <= upper_k for all k), N_k the number of `count` uniform values in the first
    k of equal cells.

    They are a Poisson process's given its total, whose increments are independent: one convolution
    a cell. Source: Moscovich and Nadler, Fast calculation of boundary crossing probabilities for
    Poisson processes, Statistics and Probability Letters 123 (2017).
    """
    step = scipy.stats.poisson.pmf(np.arange(count + 1), count / cells)
    first, chance = 0, np.ones(1)  # of the counts first, first + 1, ...
    for least, most in zip(lower, upper, strict=True):
        grown = np.convolve(chance, step[: most - first + 1])[: most - first + 1]
        chance, first = grown[max(least - first, 0) :], max(least, first)
    return float(chance[-1] / scipy.stats.poisson.pmf(count, count))
