"""Stencils: weights of a derivative at a point, from the values at neighbouring points."""

from __future__ import annotations

import math

import numpy as np

from bayescons.refusals import RefusedValue

SIDES = ("lower", "upper")


def derivative_weights(points: np.ndarray, at: float, derivative: int = 1) -> np.ndarray:
    """Weights c with c'u ≈ d^k u / dx^k at `at`, exact for polynomials of degree below the number
    of points.

    The weights solve the moment equations Σ_j c_j (x_j - at)^p / p! = 1{p = k}, p = 0 ... n-1, in
    coordinates scaled to the span of the stencil, which keeps the Vandermonde matrix of up to eight
    points well conditioned.

    Args:
        points: the coordinates of the stencil, distinct, shape (n,), n > derivative.
        at: where the derivative is taken.
        derivative: its order k >= 0 (0 interpolates).

    Returns:
        Weights, shape (n,), in units of x^-k. The truncation error is O(h^(n-k)), one order better
        at points of symmetry.

    Source: Fornberg, Generation of finite difference formulas on arbitrarily spaced grids, Math.
        Comp. 51 (1988).
    """
    if derivative >= len(points):
        raise RefusedValue(
            f"a derivative of order {derivative} needs at least {derivative + 1} points; the axis "
            f"gives {len(points)}"
        )
    span = float(np.max(np.abs(points - at)))
    if span == 0.0:
        return np.ones(1)
    powers = np.vander((points - at) / span, increasing=True).T
    moments = np.zeros(len(points))
    moments[derivative] = math.factorial(derivative) / span**derivative
    return np.linalg.solve(powers, moments)


def end_stencil(points: np.ndarray, side: str, derivative: int, order: int) -> np.ndarray:
    """One-sided weights over a whole axis for a derivative at its lower or upper end, zero away
    from that end.

    Args:
        points: strictly increasing coordinates, shape (n,).
        side: "lower" (first point) or "upper" (last point).
        derivative: order k of the derivative, taken in the direction of increasing x (not along the
            outward normal).
        order: order of accuracy p >= 1; the stencil has k + p points (for k = 0 the end point
            alone).

    Returns:
        Weights, shape (n,).
    """
    if side not in SIDES:
        raise RefusedValue(
            f"unknown side {side!r}; write 'lower' (first point) or 'upper' (last point)"
        )
    if order < 1:
        raise RefusedValue(f"the order of accuracy must be at least 1; got {order}")
    width = 1 if derivative == 0 else derivative + order
    if width > len(points):
        raise RefusedValue(
            f"derivative {derivative} at order {order} needs {width} points; the axis has "
            f"{len(points)}"
        )
    chosen = slice(0, width) if side == "lower" else slice(len(points) - width, None)
    weights = np.zeros(len(points))
    weights[chosen] = derivative_weights(
        points[chosen], points[0 if side == "lower" else -1], derivative
    )
    return weights


def interior_stencils(points: np.ndarray, derivative: int = 2) -> np.ndarray:
    """Rows of the three-point derivative at every interior point, shape (n - 2, n)."""
    if len(points) < 3:
        raise RefusedValue(
            f"a second difference needs at least three points; the axis has {len(points)}"
        )
    rows = np.zeros((len(points) - 2, len(points)))
    for i in range(len(points) - 2):
        rows[i, i : i + 3] = derivative_weights(points[i : i + 3], points[i + 1], derivative)
    return rows


def cell_end_stencil(edges: np.ndarray, side: str, derivative: int, order: int) -> np.ndarray:
    """Weights over the averages of cells for a derivative at the outermost edge.

    With U(x) = ∫ u dx from the wall, known at the edges as sums of averages times widths, ∂^k u is
    the derivative k + 1 of the polynomial through U at the k + p + 1 edges nearest to the wall: of
    the polynomial of degree below k + p that has the averages of k + p cells.

    Args:
        edges: of the cells, strictly increasing, shape (n + 1,).
        side: "lower" or "upper".
        derivative: its order k; 0 is the value.
        order: of accuracy, p >= 1.

    Returns:
        Weights, shape (n,).
    """
    width, cells = derivative + order, len(edges) - 1
    if side not in SIDES:
        raise RefusedValue(
            f"unknown side {side!r}; write 'lower' (first cell) or 'upper' (last cell)"
        )
    if order < 1:
        raise RefusedValue(f"the order of accuracy must be at least 1; got {order}")
    if width > cells:
        raise RefusedValue(
            f"derivative {derivative} at order {order} needs {width} cells; the axis has {cells}"
        )
    lower = side == "lower"
    near = edges[: width + 1] if lower else edges[cells - width :]
    weights = np.zeros(cells)
    chosen = slice(0, width) if lower else slice(cells - width, None)
    weights[chosen] = cell_weights(near, near[0 if lower else -1], derivative)
    return weights


def cell_weights(edges: np.ndarray, at: float, derivative: int) -> np.ndarray:
    """Weights over the averages of cells for a derivative at a coordinate: that of the polynomial
    of degree below their number which has these averages.

    Args:
        edges: of the cells, strictly increasing, shape (n + 1,).
        at: where the derivative is taken, in the cells or beyond.
        derivative: its order; 0 is the value.

    Returns:
        Weights, shape (n,).
    """
    of_primitive = derivative_weights(edges, at, derivative + 1)
    # U at edge j is the sum of the cells before it, so a cell counts in all edges behind it.
    behind = np.cumsum(of_primitive[::-1])[::-1][1:]
    return behind * np.diff(edges)


def cell_stencils(edges: np.ndarray) -> np.ndarray:
    """Rows of the second derivative of the parabola with the averages of three neighbouring cells,
    shape (n - 2, n).
    """
    cells = len(edges) - 1
    if cells < 3:
        raise RefusedValue(f"a second difference needs at least three cells; the axis has {cells}")
    rows = np.zeros((cells - 2, cells))
    for i in range(cells - 2):
        # of a parabola it is the same everywhere: at the outermost edge too
        rows[i, i : i + 3] = cell_end_stencil(edges[i : i + 4], "lower", 2, 1)
    return rows


def ring_stencils(points: np.ndarray, period: float, derivative: int = 2) -> np.ndarray:
    """Rows of the three-point derivative at every point of a ring, shape (n, n)."""
    count = len(points)
    if count < 3:
        raise RefusedValue(f"a second difference needs at least three points; the ring has {count}")
    around = np.concatenate([[points[-1] - period], points, [points[0] + period]])
    rows = np.zeros((count, count))
    for i in range(count):
        three = around[i : i + 3]
        rows[i, [(i - 1) % count, i, (i + 1) % count]] = derivative_weights(
            three, three[1], derivative
        )
    return rows
