"""Regularity: second differences, observed near zero to say that a field is smooth (with a scale)
or linear (without).
"""

from __future__ import annotations

from bayescons.functionals.products import TensorProduct
from bayescons.grids import Grid


def second_difference(grid: Grid, axis: str = "x") -> TensorProduct:
    """(G u)(t, x_i) = ∂²u/∂x² at every interior point, by the three-point stencil; in units of u /
    x². On a ring every point has two neighbours; averages over cells give the second derivative of
    the parabola that has those of three cells.

    Observed at 0 with a scale it smooths, an artificial diffusion; its rows couple neighbours, so a
    diagonal belief becomes a dense block per line along `axis` (r = n - 2 rows a block).

    Source: the "second derivative" variant of Hansen et al., ICML 2023, with the scale stated
        instead of derived.

    Example:
        >>> grid = bc.Grid(x=jnp.linspace(0.0, 1.0, 5))
        >>> print(bc.second_difference(grid)(grid["x"] ** 2))
        [2. 2. 2.]
    """
    stencils, places = grid.along(axis).second_differences()
    rows = tuple(stencils if name == axis else None for name in grid.names)
    coordinates = {name: places if name == axis else grid[name] for name in grid.names}
    where = "every" if len(places) == len(grid[axis]) else "every interior"
    return TensorProduct.on(grid, rows, coordinates, f"∂²u/∂{axis}² at {where} point of {axis}")
