"""Programs: one NumPyro program, read softly, exactly or in closed form; and its results."""

from bayescons.programs.posteriors import Posterior, conjugate, importance_weights
from bayescons.programs.readings import StiffnessWarning, exact, soft
from bayescons.programs.statements import VanishingNoiseError, impose, observe

__all__ = [
    "Posterior",
    "StiffnessWarning",
    "VanishingNoiseError",
    "conjugate",
    "exact",
    "importance_weights",
    "impose",
    "observe",
    "soft",
]
