"""Constraints: what is known of a field, as linear functionals with a structure the solve can use."""

from bayescons.constraints.balance import Balance, balance, cell_balance
from bayescons.constraints.boundary import dirichlet, neumann, periodic, robin
from bayescons.constraints.check import Residuals, check
from bayescons.constraints.conservation import integral
from bayescons.constraints.function import functional, is_affine
from bayescons.constraints.initial import initial
from bayescons.constraints.regularity import second_difference
from bayescons.constraints.sides import Boundary, Side

__all__ = [
    "Balance",
    "Boundary",
    "Residuals",
    "Side",
    "balance",
    "cell_balance",
    "check",
    "dirichlet",
    "functional",
    "initial",
    "integral",
    "is_affine",
    "neumann",
    "periodic",
    "robin",
    "second_difference",
]
