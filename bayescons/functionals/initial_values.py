"""Initial conditions: the field at the first time."""

from __future__ import annotations

import dataclasses

from bayescons.functionals.boundary_values import dirichlet
from bayescons.functionals.products import TensorProduct
from bayescons.grids import Grid


def initial(grid: Grid, axis: str = "t") -> TensorProduct:
    """(G u)(x) = u(t_0, x): the first slice along the time axis, one row for every point of space.

    Beside an exact total, the first row of the total is implied by these rows and must equal their
    quadrature.

    Example:
        >>> grid = bc.Grid(t=[0.0, 1.0], x=[0.0, 0.5, 1.0])
        >>> print(bc.initial(grid)(jnp.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])))
        [0. 1. 2.]
    """
    first = f"u at the first {axis}, {axis} = {grid.along(axis).end('lower'):g}"
    return dataclasses.replace(dirichlet(grid, axis, "lower"), about=first)
