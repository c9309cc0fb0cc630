"""Programs: one NumPyro program, read softly, exactly or in closed form; and its results."""

from bayescons.programs.findings import Finding
from bayescons.programs.laws import LawComparison, compare_laws
from bayescons.programs.linter import Report, check
from bayescons.programs.posteriors import Posterior, conjugate, importance_weights
from bayescons.programs.readings import StiffnessWarning, exact, soft
from bayescons.programs.statements import VanishingNoiseError, impose, observe

__all__ = [
    "Finding",
    "LawComparison",
    "Posterior",
    "Report",
    "StiffnessWarning",
    "VanishingNoiseError",
    "check",
    "compare_laws",
    "conjugate",
    "exact",
    "importance_weights",
    "impose",
    "observe",
    "soft",
]
