"""Diagnostics: how good a prediction is, whether it is calibrated and how to make it so, and where
its fronts and contours are.
"""

from bayescons.diagnostics.calibration import (
    Calibration,
    CoverageCurve,
    calibration_of,
    coverage_curve,
    functional_pit,
    gaussian_pit,
    mixture_pit,
    pit,
    sharpness,
    uniformity,
)
from bayescons.diagnostics.choosing import Candidate, Choice, choose
from bayescons.diagnostics.conformal import (
    conformal_factor,
    largest_residual,
    reconditioned,
    simultaneous_coverage,
    simultaneous_width,
)
from bayescons.diagnostics.contour_summaries import ContourSummary, contour_summary
from bayescons.diagnostics.contours import (
    contour_length,
    contour_position,
    contour_radius,
    enclosed_area,
    enclosed_centroid,
)
from bayescons.diagnostics.crossings import ContourPosition
from bayescons.diagnostics.ecdf import EcdfDifference, ecdf_difference
from bayescons.diagnostics.energy import energy_score
from bayescons.diagnostics.front_position import FrontSummary, front_position, front_summary
from bayescons.diagnostics.mixtures import mixture_coverage, mixture_crps, mixture_log_likelihood
from bayescons.diagnostics.recalibration import recalibrated, scale_factor
from bayescons.diagnostics.refits import closed_form, sampled
from bayescons.diagnostics.scoring import (
    conservation_error,
    coverage,
    crps,
    log_likelihood,
    mean_squared_error,
    normal_quantile,
    scores,
)
from bayescons.diagnostics.simulation_based import SBC, sbc
from bayescons.diagnostics.suspicion import Suspects, TermEvidence, suspects

__all__ = [
    "SBC",
    "Calibration",
    "Candidate",
    "Choice",
    "ContourPosition",
    "ContourSummary",
    "CoverageCurve",
    "EcdfDifference",
    "FrontSummary",
    "Suspects",
    "TermEvidence",
    "calibration_of",
    "choose",
    "closed_form",
    "conformal_factor",
    "conservation_error",
    "contour_length",
    "contour_position",
    "contour_radius",
    "contour_summary",
    "coverage",
    "coverage_curve",
    "crps",
    "ecdf_difference",
    "enclosed_area",
    "enclosed_centroid",
    "energy_score",
    "front_position",
    "front_summary",
    "functional_pit",
    "gaussian_pit",
    "largest_residual",
    "log_likelihood",
    "mean_squared_error",
    "mixture_coverage",
    "mixture_crps",
    "mixture_log_likelihood",
    "mixture_pit",
    "normal_quantile",
    "pit",
    "recalibrated",
    "reconditioned",
    "sampled",
    "sbc",
    "scale_factor",
    "scores",
    "sharpness",
    "simultaneous_coverage",
    "simultaneous_width",
    "suspects",
    "uniformity",
]
