"""Programs: one NumPyro program, read softly, exactly or in closed form; and its results."""

from bayescons.programs.posteriors import Posterior, conjugate
from bayescons.programs.readings import StiffnessWarning, exact, soft
from bayescons.programs.statements import VanishingNoiseError, impose, observe

__all__ = ["Posterior", "StiffnessWarning", "VanishingNoiseError", "conjugate", "exact", "impose", "observe", "soft"]
