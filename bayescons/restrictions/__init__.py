"""Restrictions of Gaussian beliefs that leave them no Gaussians: inequalities, nonlinear laws, and
shapes of profiles.
"""

from bayescons.restrictions.approximate import Approximation, gauss_newton, laplace
from bayescons.restrictions.constrained import Constrained, constrained
from bayescons.restrictions.inequalities import (
    Inequalities,
    Inequality,
    at_least,
    at_most,
    decreasing,
    increasing,
    nonnegative,
)
from bayescons.restrictions.nonlinear import NonlinearConstraint, nonlinear_constraint
from bayescons.restrictions.rattle import RattleInfo, RattleState, constrained_hmc
from bayescons.restrictions.truncated import Truncated, share_negative, truncated
