"""Functionals G u + c of a field: products along axes, points, JAX functions; totals, boundaries,
balances; and their residuals.
"""

from bayescons.functionals.abstract import (
    AbstractFunctional,
    JointFunctional,
    Leaf,
    SingleFunctional,
    static,
)
from bayescons.functionals.balances import Balance, balance, cell_balance
from bayescons.functionals.boundary_conditions import BoundaryCondition, BoundaryConditions
from bayescons.functionals.boundary_values import dirichlet, neumann, periodic, robin
from bayescons.functionals.bundles import Bundle, OnBundle
from bayescons.functionals.conservation import average, integral
from bayescons.functionals.domains import Domain
from bayescons.functionals.faces import Faces
from bayescons.functionals.functions import FunctionFunctional, functional, is_affine
from bayescons.functionals.initial_values import initial
from bayescons.functionals.mapped import Mapped, mapped
from bayescons.functionals.measures import shell_volume, spherical_area
from bayescons.functionals.points import PointEvaluation
from bayescons.functionals.products import TensorProduct
from bayescons.functionals.regions import RegionalSum, regional
from bayescons.functionals.regularity import second_difference
from bayescons.functionals.residuals import Residuals, residuals
from bayescons.functionals.rows import rows
from bayescons.functionals.stack import Stack
from bayescons.functionals.weighted import WeightedSum
