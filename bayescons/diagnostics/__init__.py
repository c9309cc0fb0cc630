"""Diagnostics: how good a prediction is, how to recalibrate it, and where its fronts are."""

from bayescons.diagnostics.energy import energy_score
from bayescons.diagnostics.front import FrontSummary, front_position, front_summary
from bayescons.diagnostics.metrics import (
    conservation_error,
    coverage,
    crps,
    log_likelihood,
    mean_squared_error,
    normal_quantile,
    scores,
)
from bayescons.diagnostics.mixtures import mixture_coverage, mixture_crps, mixture_log_likelihood
from bayescons.diagnostics.recalibration import recalibrated, scale_factor

__all__ = [
    "FrontSummary",
    "conservation_error",
    "coverage",
    "crps",
    "energy_score",
    "front_position",
    "front_summary",
    "log_likelihood",
    "mean_squared_error",
    "mixture_coverage",
    "mixture_crps",
    "mixture_log_likelihood",
    "normal_quantile",
    "recalibrated",
    "scale_factor",
    "scores",
]
