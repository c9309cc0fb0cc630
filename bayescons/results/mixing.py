"""Mixing: whether chains have found the same posterior, judged by the unknowns that are free to
move.

A chain that stands still satisfies every constraint, and several of them, standing in different
places, even have the right pooled variance. R-hat and the effective sample size of the free
directions are what shows it; they are part of every result.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from bayescons.descriptions import tabulated
from bayescons.results.trees import worst_mixing

# Vehtari, Gelman, Simpson, Carpenter & Bürkner (Bayesian Anal. 16, 2021) ask for 1.01, and for 100
# a chain.
R_HAT, ESS = 1.01, 100
MOVED = 0.2  # of the last moves; they are tuned to 0.8
FEWEST = 8  # draws a chain, so that each half of a chain has four
FALSE_ALARM = 0.01  # share of good runs of independent draws that are called bad
POINTS = 500  # of one unknown that are looked at
DIVERGED = 0.01  # of the transitions; fewer are told, and nothing more
SATURATED = 0.05  # of the trajectories
LONGEST = (
    "end at the limit of 1,023 steps: steps are short for the way there is to go. Read exactly "
    "what a soft reading makes stiff, sample correlated unknowns from white noise "
    "(numpyro.infer.reparam), or give unknowns units in which they are near 1"
)
FAR = 1.5  # R-hat of chains that are in different places


class NotMixedWarning(UserWarning):
    """Chains that do not agree, or too few effective draws: their averages are not those of the
    posterior.

    Example:
        >>> import warnings
        >>> warnings.simplefilter("error", bc.NotMixedWarning)  # go no further
    """


@tabulated("Mixing of chains, the worst over all unknowns")
class Mixing(NamedTuple):
    """The worst over all unknowns, and what else speaks against the draws.

    Attributes:
        r_hat: the largest rank-normalised split R-hat; that of the two halves where there is one
            chain. NaN where nothing varies, or there are too few draws.
        ess: the smallest bulk effective sample size.
        unknown: where the worst of them is.
        chains: how many.
        draws: of each.
        unknowns: numbers that were looked at.
        sites: to which they belong.
        moved: share of their last moves that the particles of the poorest population took; None for
            chains.
        divergences: share of the transitions that diverged.
        saturated: share of the trajectories that ended at the limit of their length.
    """

    r_hat: float
    ess: float
    unknown: str
    chains: int
    draws: int
    unknowns: int
    sites: int
    moved: float | None = None
    divergences: float = 0.0
    saturated: float = 0.0

    @property
    def limit(self) -> float:
        """What the largest R-hat of so many unknowns may be: 1.01, or what one in a hundred runs of
        independent draws exceeds, if that is more.

        With m half chains of n independent draws, R-hat² - 1 is (χ² / (m - 1) - 1) / n with m - 1
        degrees of freedom, twice for each unknown (ranks of the values, and of their distances from
        the median). Draws count as far as they are effective, a tenth of them at least: chains in
        different places have few effective draws because of that.
        """
        from scipy.stats import chi2

        halves = 4 if self.chains == 1 else 2 * self.chains
        spread = chi2.isf(FALSE_ALARM / (2 * max(self.unknowns, 1)), halves - 1) / (halves - 1)
        drawn = self.chains * self.draws
        effective = min(drawn, max(self.ess, drawn / 10))
        return max(R_HAT, math.sqrt(1 + (spread - 1) * halves / max(effective, 1)))

    @property
    def fault(self) -> str:
        """What is wrong, as a sentence; empty where nothing is."""
        wrong = []
        if self.unknown and self.draws < FEWEST:
            wrong.append(f"there are {self.draws} draws a chain, too few to tell")
        elif self.r_hat > self.limit:
            of = f", the largest of {self.unknowns}" if self.unknowns > 1 else ""
            wrong.append(f"R-hat is {self.r_hat:.3f}{of}, above {self.limit:.3g}")
        elif self.unknown and math.isnan(self.r_hat) and self.moved is None:
            wrong.append("R-hat cannot be computed")
        if self.ess < ESS:
            wrong.append(f"there are {self.ess:.0f} effective draws, fewer than {ESS}")
        if self.moved is not None and self.moved < MOVED:
            wrong.append(
                f"particles took {self.moved:.2g} of their last moves and are copies of each other"
            )
        if self.divergences > DIVERGED:
            wrong.append(
                f"{self.divergences:.2g} of the transitions diverged, so that regions of strong "
                "curvature are left out"
            )
        if not wrong:
            return ""
        where = f" (worst at {self.unknown!r})" if self.unknown else ""
        return (
            f"the chains have not mixed{where}: {' and '.join(wrong)}. "
            "Averages over these draws are not to be trusted, however well the constraints hold"
        )

    @property
    def verdict(self) -> str:
        """What is wrong, and what to do about it with `bc.sample`; empty where nothing is."""
        if not self.fault:
            return ""
        first, *more = self._ways()
        if not more:
            return f"{self.fault}. {first[0].upper()}{first[1:]}"
        ways = zip("abcdef", (first, *more), strict=False)
        return f"{self.fault}. Either {'; '.join(f'({letter}) {way}' for letter, way in ways)}"

    def _ways(self) -> list[str]:
        """What to do, by what was seen."""
        ways = []
        apart = not math.isnan(self.r_hat) and self.r_hat > FAR
        if self.moved is not None and self.moved < MOVED:
            ways.append("take more particles, or sampler='nuts'")
        if self.divergences > DIVERGED:
            ways.append(
                "raise target_acceptance, to 0.95 or 0.99, or sample what hides behind a funnel "
                "from white noise (numpyro.infer.reparam)"
            )
        if self.saturated > SATURATED:
            ways.append(f"see to the trajectories, of which {self.saturated:.2g} {LONGEST}")
        if apart:
            ways.append(
                "the posterior has several modes, or the chains have not found it yet: look at "
                "them one by one, and start from start='pathfinder'"
            )
        if self.moved is None or not ways:
            ways.append(f"run longer, draws={self.enough}, and a longer warm-up")
        if self.sites > 1:
            ways.append(
                "say with focus= which unknowns matter, where the others have symmetries, as the "
                "weights of a network"
            )
        return ways

    @property
    def enough(self) -> int:
        """Draws a chain with which there would be enough, a round number up to 20,000."""
        missing = ESS / self.ess if self.ess > 0 else math.inf
        wanted = self.draws * min(max(2.0, 1.5 * missing), 20.0)
        digit = 10 ** math.floor(math.log10(max(wanted, 1.0)))
        return min(max(math.ceil(wanted / digit) * digit, 100), 20_000)

    @property
    def mixed(self) -> str:
        """For the record of a run: "yes", the verdict, or that one chain cannot tell."""
        if not self.verdict and self.chains == 1 and self.unknown and self.moved is None:
            return "one chain, whose halves agree: nothing says that another start would"
        return self.verdict or "yes"


def mixing(
    draws: Mapping[str, np.ndarray], unknowns, acceptance=None, diverging=None, saturated=None
) -> Mixing:
    """The worst R-hat and the smallest bulk ESS over the unknowns named; over at most 500 points of
    each.

    Points that never vary, as those that are known exactly, are left out.

    Args:
        draws: name -> array of shape (chain, draw, ...).
        unknowns: names of those that were moved.
        acceptance: of particles, the share of moves taken, by population.
        diverging: which transitions diverged; None where the sampler knows no such thing.
        saturated: which trajectories ended at the limit of their length; None as above.
    """
    moved = None if acceptance is None else float(np.min(acceptance))
    told = [
        0.0 if which is None or not np.size(which) else float(np.mean(which))
        for which in (diverging, saturated)
    ]
    shape = next((np.shape(draws[name])[:2] for name in unknowns), (0, 0))
    found = {
        name: seen
        for name in unknowns
        if (seen := _worst(np.asarray(draws[name], float), particles=acceptance is not None))
        is not None
    }
    if not found:
        return Mixing(math.nan, math.nan, "", *shape, 0, 0, moved, *told)
    worst = max(found, key=lambda name: (np.nan_to_num(found[name][1], nan=0.0), -found[name][0]))
    r_hats = [r_hat for _, r_hat in found.values() if not math.isnan(r_hat)]
    return Mixing(
        max(r_hats, default=math.nan),
        min(ess for ess, _ in found.values()),
        worst,
        *shape,
        sum(min(np.size(draws[name]) // math.prod(shape), POINTS) for name in found),
        len(found),
        moved,
        *told,
    )


def _worst(values: np.ndarray, *, particles: bool) -> tuple[float, float] | None:
    """ESS and R-hat of one unknown, or None where it does not vary. Chains that each stand still
    have an R-hat without bound. One chain is looked at by its halves; one population of particles
    has no order, and no R-hat.
    """
    chains, number = values.shape[:2]
    if not np.isfinite(values).all():
        return 0.0, math.inf
    if np.ptp(values, axis=(0, 1)).max(initial=0.0) <= 1e-9 * np.abs(values).max(initial=0.0):
        return None
    if number < FEWEST:
        return float(chains * number), math.nan
    if chains == 1 and not particles:
        half = number // 2
        values = values[:, : 2 * half].reshape(2, half, *values.shape[2:])
    with np.errstate(divide="ignore", invalid="ignore"):
        ess, r_hat = worst_mixing(values, POINTS)
    still = math.isnan(r_hat) and not (particles and chains == 1)
    return (0.0 if math.isnan(ess) else ess), math.inf if still else r_hat


def warn(verdict: str) -> None:
    """A `NotMixedWarning`, where there is reason."""
    if verdict:
        warnings.warn(verdict, NotMixedWarning, stacklevel=3)
