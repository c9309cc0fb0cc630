"""Boundary conditions: value, slope or their combination at an end of an axis, and equality of the
two ends.
"""

from __future__ import annotations

import jax
import numpy as np
from jax.typing import ArrayLike

from bayescons.arrays import concrete, finite, numbers
from bayescons.descriptions import words
from bayescons.functionals.products import TensorProduct
from bayescons.grids import Grid
from bayescons.refusals import RefusedValue

SUPERSCRIPTS = {2: "²", 3: "³", 4: "⁴"}  # of derivatives, as they are told


def dirichlet(grid: Grid, axis: str, side: str, order: int = 2) -> TensorProduct:
    """(G u)(t) = u(t, x_end): the value at an end of an axis. On nodes it is the field's value at
    the end point; on `Cells` the wall is half a cell outside of the first centre, and the value
    there is that of the polynomial with the averages of the `order` cells next to it.

    Args:
        grid: where the field lives.
        axis: name of the axis that ends there, e.g. "x".
        side: "lower" (first point) or "upper" (last point).
        order: of the reconstruction from averages over cells: O(h^order) for a smooth field. At a
            front between these cells it overshoots; 1 is the average of the first cell.

    Returns:
        A functional with one row for every point of the other axes.

    Example:
        >>> grid = bc.Grid(t=[0.0, 1.0], x=[0.0, 0.5, 1.0])
        >>> print(bc.dirichlet(grid, "x", "upper")(jnp.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])))
        [2. 5.]
    """
    weights = grid.along(axis).end_weights(side, 0, order)
    return _along(grid, axis, weights, f"u {_at(grid, axis, side)}")


def neumann(grid: Grid, axis: str, side: str, order: int = 2) -> TensorProduct:
    """(G u)(t) = ∂u/∂x (t, x_end), by a one-sided stencil of `order` + 1 points, or of as many
    cells of which the averages are known.

    The derivative is taken in the direction of increasing x on both sides; an outward normal
    derivative at the lower end is its negative.

    Args:
        grid: where the field lives.
        axis: name of the axis.
        side: "lower" or "upper".
        order: order of accuracy, 1 to 7; the row is exact for polynomials up to that degree.

    Example:
        >>> grid = bc.Grid(x=jnp.linspace(0.0, 1.0, 5))
        >>> round(float(bc.neumann(grid, "x", "upper")(grid["x"] ** 2)), 6)
        2.0
    """
    weights = grid.along(axis).end_weights(side, 1, order)
    return _along(grid, axis, weights, f"∂u/∂{axis} {_at(grid, axis, side)}, order {order}")


def robin(
    grid: Grid, axis: str, side: str, value: ArrayLike, slope: ArrayLike, order: int = 2
) -> TensorProduct:
    """(G u)(t) = value · u + slope · ∂u/∂x at an end: convection, radiation linearized, impedance.

    Each coefficient is one number, which in a program may be random: a conductivity that is not
    known, say.

    Args:
        grid: where the field lives.
        axis: name of the axis.
        side: "lower" or "upper".
        value: coefficient of u.
        slope: coefficient of ∂u/∂x (in the direction of increasing x).
        order: order of accuracy of the one-sided derivative.

    Raises:
        ValueError: for a coefficient that is an array or is not finite, or for two of zero.

    Example:
        >>> grid = bc.Grid(x=jnp.linspace(0.0, 1.0, 5))
        >>> round(float(bc.robin(grid, "x", "upper", value=1.0, slope=0.5)(grid["x"] ** 2)), 6)
        2.0
    """
    coefficients = (_coefficient("value", value), _coefficient("slope", slope))
    if all(concrete(c) and c == 0 for c in coefficients):
        raise RefusedValue(
            "a Robin condition needs a coefficient other than zero; got value=0 and slope=0"
        )
    ends = (grid.along(axis).end_weights(side, derivative, order) for derivative in (0, 1))
    weights = sum(c * w for c, w in zip(coefficients, ends, strict=True))
    told = " + ".join(
        f"{words(c)} {what}" for c, what in zip(coefficients, ("u", f"∂u/∂{axis}"), strict=True)
    )
    return _along(grid, axis, weights, f"{told} {_at(grid, axis, side)}, order {order}")


def periodic(grid: Grid, axis: str, derivative: int = 0, order: int = 2) -> TensorProduct:
    """(G u)(t) = ∂^k u (t, x_upper) - ∂^k u (t, x_lower), to be observed at 0: both ends are the
    same point.

    For a grid that holds both end points; one that is stored without the last is a
    `bayescons.axes.Ring`, which closes as it is. `derivative=0` matches values, 1 slopes; state
    both for a smooth periodic field.

    Example:
        >>> grid = bc.Grid(x=jnp.linspace(0.0, 1.0, 5))
        >>> round(float(bc.periodic(grid, "x")(grid["x"])), 6)
        1.0
    """
    along = grid.along(axis)
    upper, lower = (along.end_weights(side, derivative, order) for side in ("upper", "lower"))
    power = SUPERSCRIPTS.get(derivative, "")
    what = f"∂{power}u/∂{axis}{power}" if derivative else "u"
    return _along(grid, axis, upper - lower, f"{what} at the upper end of {axis} less at the lower")


def _coefficient(name: str, number):
    """A coefficient of a Robin condition; a number that is known stays on the host."""
    what = f"the coefficient {name!r} of a Robin condition"
    number = finite(what, numbers(what, number))
    if np.ndim(number):
        raise RefusedValue(
            f"{what} must be one number; it has shape {np.shape(number)}. Where it changes along "
            "the wall, observe a function of the field in its place"
        )
    return float(number) if concrete(number) else number


def _at(grid: Grid, axis: str, side: str) -> str:
    """Which end of an axis, and where it is."""
    return f"at {axis} = {grid.along(axis).end(side):g}, the {side} end"


def _along(grid: Grid, axis: str, weights: np.ndarray | jax.Array, about: str) -> TensorProduct:
    """One row of weights along an axis, at every point of the others."""
    at = grid.axis(axis)
    kept = {name: grid[name] for name in grid.names if name != axis}
    rows = tuple(weights if a == at else None for a in range(len(grid.shape)))
    return TensorProduct.on(grid, rows, kept, about)
