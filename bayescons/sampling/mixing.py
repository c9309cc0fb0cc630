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

from bayescons.results.trees import worst_mixing

# Vehtari, Gelman, Simpson, Carpenter & Bürkner (Bayesian Anal. 16, 2021) ask for 1.01, and for 100
# a chain.
R_HAT, ESS = 1.01, 100
MOVED = 0.2  # of the last moves; they are tuned to 0.8


class NotMixedWarning(UserWarning):
    """Chains that do not agree, or too few effective draws: their averages are not those of the
    posterior.

    Example:
        >>> import warnings
        >>> warnings.simplefilter("error", bc.NotMixedWarning)  # go no further
    """


class Mixing(NamedTuple):
    """The worst over all unknowns: rank-normalised split R-hat, and bulk effective sample size; NaN
    where there is neither. And the share of their last moves that the particles of the poorest
    population took (1 for chains).
    """

    r_hat: float
    ess: float
    unknown: str
    moved: float = 1.0

    @property
    def verdict(self) -> str:
        """What is wrong, as a sentence; empty where nothing is."""
        wrong = []
        if self.r_hat > R_HAT:
            wrong.append(f"R-hat is {self.r_hat:.3f}, above {R_HAT}")
        if self.ess < ESS:
            wrong.append(f"there are {self.ess:.0f} effective draws, fewer than {ESS}")
        if self.moved < MOVED:
            wrong.append(
                f"particles took {self.moved:.2g} of their last moves and are copies of each other"
            )
        if not wrong:
            return ""
        return (
            f"the chains have not mixed (worst at {self.unknown!r}): {' and '.join(wrong)}. "
            "Averages over these draws are not to be trusted, however well the constraints hold. "
            "Either (a) run longer, warmup=2000, draws=4000; (b) read exactly what a soft reading "
            "makes stiff; (c) sample what hides behind a funnel from white noise "
            "(numpyro.infer.reparam), or raise target_acceptance; or (d) the posterior has several "
            "modes: start from start='pathfinder' and look at the chains one by one"
        )


def mixing(draws: Mapping[str, np.ndarray], unknowns, acceptance=None) -> Mixing:
    """The worst R-hat and the smallest bulk ESS over the unknowns named; over at most 500 points of
    each.

    Points that never vary, as those that are known exactly, are left out. Below four draws a chain
    there is nothing to judge by, and the ESS is the number of draws; with one chain there is no
    R-hat. For particles, `acceptance` is the share of moves taken, by population.
    """
    moved = 1.0 if acceptance is None else float(np.min(acceptance))
    found = {
        name: told
        for name in unknowns
        if (told := _worst(np.asarray(draws[name], float))) is not None
    }
    if not found:
        return Mixing(math.nan, math.nan, "", moved)
    worst = max(found, key=lambda name: (np.nan_to_num(found[name][1], nan=0.0), -found[name][0]))
    r_hats = [r_hat for _, r_hat in found.values() if not math.isnan(r_hat)]
    return Mixing(
        max(r_hats, default=math.nan), min(ess for ess, _ in found.values()), worst, moved
    )


def _worst(values: np.ndarray) -> tuple[float, float] | None:
    """ESS and R-hat of one unknown, or None where it does not vary. Chains that each stand still
    have an R-hat without bound.
    """
    chains, number = values.shape[:2]
    if not np.isfinite(values).all():
        return 0.0, math.inf
    if np.ptp(values, axis=(0, 1)).max(initial=0.0) <= 1e-9 * np.abs(values).max(initial=0.0):
        return None
    if number < 4:
        return float(chains * number), math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        ess, r_hat = worst_mixing(values)
    still = chains > 1 and math.isnan(r_hat)
    return (0.0 if math.isnan(ess) else ess), math.inf if still else r_hat


def warn(found: Mixing) -> None:
    """A `NotMixedWarning`, where there is reason."""
    if found.verdict:
        warnings.warn(found.verdict, NotMixedWarning, stacklevel=3)
