"""Importance: draws of the latents weighed by how well they foresee what was observed, and whether
the weights can be trusted.
"""

from __future__ import annotations

import math

import numpy as np


class UnreliableWeightsWarning(UserWarning):
    """Importance weights of the latents that rest on too few draws: averages over them are not
    those of the posterior.

    Example:
        >>> import warnings
        >>> warnings.simplefilter("error", bc.UnreliableWeightsWarning)  # go no further
    """


def trusted(draws: int) -> float:
    """The largest Pareto k at which so many draws can be trusted, min(1 - 1 / log10 S, 0.7)
    (Vehtari et al., JMLR 2024).
    """
    return min(1 - 1 / math.log10(max(draws, 11)), 0.7)


def untrusted(pareto_k: float, weights: np.ndarray) -> str:
    """A sentence about weights that are not to be trusted."""
    effective = 1 / np.sum(weights**2)
    return (
        f"the weights of the latents rest on few draws: Pareto k is {pareto_k:.2f}, above "
        f"{trusted(len(weights)):.2f}, and {effective:.1f} of {len(weights)} draws count. Neither "
        "averages nor the evidence are to be trusted. Use bc.sample(program, ..., key=key), which "
        "integrates the fields out and moves the latents; or more latent_draws; or a prior that "
        "foresees the data"
    )


def importance_weights(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Normalised, Pareto-smoothed importance weights and the shape k of their tail (Vehtari et al.,
    JMLR 2024), by ArviZ.

    Fewer than 25 weights, weights that are all equal, and weights whose largest is shared (discrete
    latents) have no tail to smooth: they stay, and k is NaN. A tail that has no fit, since one draw
    or two foresaw the values and the others not at all, is the worst there is: the weights stay,
    and k is infinite.
    """
    raw = np.exp(log_weights - np.max(log_weights))
    raw = raw / raw.sum()
    if len(log_weights) < 25 or np.sum(log_weights > np.max(log_weights) - 1e-12) >= 5:
        return raw, float("nan")
    from arviz_stats.base import array_stats

    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        smoothed, pareto_k = array_stats.psislw(-log_weights)
    if np.isnan(smoothed).any() or np.isnan(pareto_k):
        return raw, float("inf")
    weights = np.exp(smoothed - np.max(smoothed))
    return weights / weights.sum(), float(pareto_k)
