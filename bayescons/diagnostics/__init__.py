"""Diagnostics: how good a prediction is, and where its fronts are."""

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

__all__ = [
    "FrontSummary",
    "conservation_error",
    "coverage",
    "crps",
    "front_position",
    "front_summary",
    "log_likelihood",
    "mean_squared_error",
    "normal_quantile",
    "scores",
]
