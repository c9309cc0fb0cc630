"""Programs: one NumPyro program, read softly, exactly or in closed form; and its results."""

from bayescons.programs.comparison import LawComparison, compare_laws
from bayescons.programs.conjugate import conjugate
from bayescons.programs.exact import exact
from bayescons.programs.importance import importance_weights
from bayescons.programs.posterior import Posterior
from bayescons.programs.soft import StiffnessWarning, soft
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
