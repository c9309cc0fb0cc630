"""Problems: partial differential equations with known solutions, conserved totals and boundary values; and readings of them."""

from bayescons.problems.advection import Advection
from bayescons.problems.burgers import Burgers
from bayescons.problems.diffusion import Diffusion
from bayescons.problems.porous_medium import PorousMedium
from bayescons.problems.problem import Problem
from bayescons.problems.readings import Readings, contexts, targets
from bayescons.problems.residuals import residual
from bayescons.problems.stefan import Stefan

__all__ = ["Advection", "Burgers", "Diffusion", "PorousMedium", "Problem", "Readings", "Stefan", "contexts", "residual", "targets"]
