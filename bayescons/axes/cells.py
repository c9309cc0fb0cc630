"""Axes of averages over cells."""

from __future__ import annotations

import math

import numpy as np

from bayescons.arrays import constant, numbers
from bayescons.axes.abstract import Axis, increasing, side_of
from bayescons.axes.stencils import cell_end_stencil, cell_stencils, cell_weights
from bayescons.descriptions import counted
from bayescons.refusals import RefusedValue


class Cells(Axis):
    """Averages over cells that lie side by side, ū_i = ∫_i u dx / width_i, as finite volumes have
    them. Sums of them are exact integrals, and walls lie at the outer edges, half a cell beyond the
    first and the last centre.

    Values and slopes at a wall are those of the polynomial whose averages are the given ones,
    `order` of them for a value and `order` + 1 for a slope: exact for polynomials of as many
    coefficients.

    Args:
        edges: n + 1 strictly increasing coordinates, or the bounds of each cell, shape (n, 2), as
            climate files have them.
        points: by which the cells are called, where these are not their middles.
        widths: in place of edges, where only these are known: with `points`. Then it is not known
            where the walls are.

    Raises:
        ValueError: cells that overlap or leave gaps, points outside of their cells.

    Source: reconstruction from averages by the primitive function, Shu, Essentially non-oscillatory
        and weighted essentially non-oscillatory schemes (1998), section 2.1.

    Example:
        >>> grid = bc.Grid(x=bc.axes.Cells([0.0, 0.5, 1.0, 2.0]))
        >>> print(grid["x"], bc.integral(grid)(jnp.array([1.0, 1.0, 2.0])))
        [0.25 0.75 1.5 ] 3.0
    """

    def __init__(self, edges=None, *, points=None, widths=None):
        if (edges is None) == (widths is None):
            raise RefusedValue(
                "cells are given by their edges, or by widths where only these are known: "
                "Cells(edges), or Cells(points=centres, widths=widths)"
            )
        self.edges = None if edges is None else _edges(edges)
        if self.edges is None:
            if points is None:
                raise RefusedValue(
                    "cells that are given by widths need points to be called by: "
                    "Cells(points=centres, widths=widths)"
                )
            self.points, self.widths = increasing("centres", points), _widths(widths, points)
        else:
            self.widths = constant(np.diff(self.edges))
            middles = constant((self.edges[1:] + self.edges[:-1]) / 2)
            self.points = middles if points is None else _within(points, self.edges)

    @property
    def told(self) -> str:
        """How many, and where."""
        if self.edges is None:
            total = math.fsum(self.widths)
            return f"{counted(len(self), 'cell')} of {total:g} together, edges not known"
        return f"{counted(len(self), 'cell')} in [{self.edges[0]:g}, {self.edges[-1]:g}]"

    @property
    def settings(self) -> dict:
        """Edges or widths, and points."""
        if self.edges is None:
            return {"points": self.points.tolist(), "widths": self.widths.tolist()}
        return {"edges": self.edges.tolist(), "points": self.points.tolist()}

    def weights(self, rule: str | None = None) -> np.ndarray:
        """The widths of the cells: sums of averages are exact."""
        if rule not in (None, "midpoint"):
            raise RefusedValue(
                f"numbers along this axis are averages over cells, whose sum is exact; "
                f"rule={rule!r} is for values at nodes. Leave it out, or build the grid on nodes"
            )
        return self.widths

    def integration(self, rule: str | None = None) -> str:
        """A sum."""
        del rule
        return "sums over cells"

    def end(self, side: str) -> float:
        """The outermost edge."""
        return float(self._known_edges()[side_of(side)])

    def end_weights(self, side: str, derivative: int, order: int) -> np.ndarray:
        """Of the polynomial with these averages in `derivative` + `order` cells next to the
        wall.
        """
        return cell_end_stencil(self._known_edges(), side, derivative, order)

    def second_differences(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the parabola with the averages of three neighbours, at the middle of the inner
        cells.
        """
        return cell_stencils(self._known_edges()), self.points[1:-1]

    def beyond(self, number: int, step: int) -> float:
        """The point of the next cell, or the outermost edge."""
        if 0 <= number + step < len(self):
            return float(self.points[number + step])
        return self.wall(number, step, 1.0)

    def wall(self, number: int, step: int, share: float) -> float:
        """The face of the cell, whatever the share."""
        del share
        return float(self._known_edges()[number + (step > 0)])

    def stencil(self, numbers: np.ndarray, at: float, derivative: int) -> np.ndarray:
        """Of the polynomial with the averages of these cells."""
        edges = self._known_edges()[numbers[0] : numbers[-1] + 2]
        return cell_weights(edges, at, derivative)

    def _known_edges(self) -> np.ndarray:
        if self.edges is None:
            raise RefusedValue(
                "where the walls of this axis are is not known: its cells were given by their "
                "widths. Give their edges: Cells(edges)"
            )
        return self.edges

    @property
    def identity(self) -> tuple:
        """What makes it equal to another of its kind."""
        edges = None if self.edges is None else self.edges.tobytes()
        return (self.points.tobytes(), self.widths.tobytes(), edges)


def _edges(given) -> np.ndarray:
    """n + 1 edges, also from the bounds of n cells."""
    values = np.array(numbers("edges", given), dtype=np.float64)
    if values.ndim == 2 and values.shape[1] == 2 and len(values):
        lower, upper = np.sort(values, axis=1).T
        size = np.abs(values).max()
        worst = int(np.argmax(np.abs(lower[1:] - upper[:-1]))) if len(values) > 1 else 0
        if len(values) > 1 and abs(lower[worst + 1] - upper[worst]) > 1e-6 * size:
            raise RefusedValue(
                f"the cells do not lie side by side: cell {worst} ends at "
                f"{upper[worst]:g} and cell {worst + 1} begins at {lower[worst + 1]:g}. Bounds are "
                "those of each cell in order, and cells may neither overlap nor leave gaps"
            )
        values = np.append(lower, upper[-1])
    if values.ndim != 1 or values.size < 2:
        raise RefusedValue(
            f"edges must be one more than the cells, shape (n + 1,), or bounds of "
            f"shape (n, 2); got shape {values.shape}"
        )
    return increasing("edges", values)


def _widths(widths, points) -> np.ndarray:
    values = np.array(numbers("widths", widths), dtype=np.float64)
    if values.shape != np.shape(points) or not (np.isfinite(values).all() and (values > 0).all()):
        raise RefusedValue(
            f"widths must be one number above zero for each of {np.size(points)} cells; got shape "
            f"{values.shape}"
        )
    return constant(values)


def _within(points, edges: np.ndarray) -> np.ndarray:
    values = increasing("centres", points)
    if len(values) != len(edges) - 1:
        raise RefusedValue(
            f"{len(edges)} edges are those of {len(edges) - 1} cells; got {len(values)} points"
        )
    slack = 1e-6 * np.ptp(edges)
    outside = (values < edges[:-1] - slack) | (values > edges[1:] + slack)
    if outside.any():
        worst = int(np.argmax(outside))
        raise RefusedValue(
            f"point {worst}, {values[worst]:g}, does not lie in its cell, "
            f"[{edges[worst]:g}, {edges[worst + 1]:g}]"
        )
    return values
