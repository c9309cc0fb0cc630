"""Probabilistic programs for physics: NumPyro fields conditioned exactly on conservation laws and boundary conditions."""

from bayescons.composites import Blocks, Downdate, Restricted, Scaled
from bayescons.conditioning import (
    Constraint,
    Update,
    condition,
    functional_scale,
    log_evidence,
    quadrature_scale,
    update,
)
from bayescons.consistency import InconsistentConstraintsError
from bayescons.constraints import (
    Boundary,
    Side,
    balance,
    cell_balance,
    dirichlet,
    functional,
    initial,
    integral,
    neumann,
    periodic,
    robin,
    second_difference,
)
from bayescons.covariances import Dense, Diagonal, Kronecker, LowRank
from bayescons.diagnostics import sbc
from bayescons.gaussian import Gaussian, dense, diagonal, kronecker, low_rank
from bayescons.grids import Grid
from bayescons.programs import (
    LawComparison,
    Posterior,
    StiffnessWarning,
    VanishingNoiseError,
    check,
    compare_laws,
    conjugate,
    exact,
    impose,
    observe,
    soft,
)
from bayescons.sampling import NotMixedWarning, sample
