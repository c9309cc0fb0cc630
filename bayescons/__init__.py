"""Probabilistic programs for physics: NumPyro fields conditioned exactly on conservation laws and
boundary conditions.
"""

from bayescons.diagnostics.sbc import sbc
from bayescons.functionals.balances import balance, cell_balance
from bayescons.functionals.boundary_conditions import BoundaryCondition, BoundaryConditions
from bayescons.functionals.boundary_values import dirichlet, neumann, periodic, robin
from bayescons.functionals.conservation import integral
from bayescons.functionals.functions import functional
from bayescons.functionals.initial_values import initial
from bayescons.functionals.regularity import second_difference
from bayescons.functionals.residuals import residuals
from bayescons.gaussians.composites import BlockDiagonal, Conditioned, Marginal, Scaled
from bayescons.gaussians.conditioning import (
    Constraint,
    Update,
    condition,
    functional_scale,
    log_evidence,
    quadrature_scale,
    update,
)
from bayescons.gaussians.consistency import InconsistentConstraintsError
from bayescons.gaussians.covariances import Dense, Diagonal, Kronecker, LowRank
from bayescons.gaussians.gaussian import Gaussian, dense, diagonal, kronecker, low_rank
from bayescons.grids import Grid
from bayescons.linting.report import check
from bayescons.programs.comparison import LawComparison, compare_laws
from bayescons.programs.conjugate import conjugate
from bayescons.programs.exact import exact
from bayescons.programs.posterior import Posterior
from bayescons.programs.soft import StiffnessWarning, soft
from bayescons.programs.statements import VanishingNoiseError, impose, observe
from bayescons.sampling.mixing import NotMixedWarning
from bayescons.sampling.sample import sample
