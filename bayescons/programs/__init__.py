"""Programs: one NumPyro program, read softly, exactly or in closed form; and its results."""

from bayescons.programs.comparison import LawComparison, compare_laws
from bayescons.programs.conjugate import Posterior, conjugate, importance_weights
from bayescons.programs.interpretations import StiffnessWarning, exact, soft
from bayescons.programs.statements import VanishingNoiseError, impose, observe

__all__ = [
    "LawComparison",
    "Posterior",
    "StiffnessWarning",
    "VanishingNoiseError",
    "compare_laws",
    "conjugate",
    "exact",
    "importance_weights",
    "impose",
    "observe",
    "soft",
]
