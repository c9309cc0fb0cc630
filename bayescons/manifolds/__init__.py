"""Manifolds: Gaussian beliefs given nonlinear laws (energy, entropy, u^p), approximated by Gaussians or sampled with the right density."""

from bayescons.manifolds.approximate import Approximation, gauss_newton, laplace
from bayescons.manifolds.constrained import Constrained, constrained
from bayescons.manifolds.laws import Law, law
from bayescons.manifolds.rattle import RattleInfo, RattleState, constrained_hmc

__all__ = [
    "Approximation",
    "Constrained",
    "Law",
    "RattleInfo",
    "RattleState",
    "constrained",
    "constrained_hmc",
    "gauss_newton",
    "laplace",
    "law",
]
