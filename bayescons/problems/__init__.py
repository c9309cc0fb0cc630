"""Problems: partial differential equations with known solutions, conserved totals and boundary values; and readings of them."""

from bayescons.problems.diffusion import Diffusion
from bayescons.problems.porous_medium import PorousMedium
from bayescons.problems.problem import Problem
from bayescons.problems.readings import Readings, contexts, targets
from bayescons.problems.stefan import Stefan

__all__ = ["Diffusion", "PorousMedium", "Problem", "Readings", "Stefan", "contexts", "targets"]
