"""Axes of a grid: where numbers of a field stand along one of them, and what they are.

A number may be the value at a node, the average over a cell, one of a ring that closes on itself,
or that of a cell without a place (`Index`). What is true along an axis - the weights of an
integral, a value or a slope at a wall, a second difference - is asked of the axis, so that
functionals are the same for all of them.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping

import numpy as np

from bayescons.arrays import constant, numbers
from bayescons.axes.quadrature import bridge_widths, quadrature_weights
from bayescons.axes.stencils import (
    SIDES,
    cell_end_stencil,
    cell_stencils,
    end_stencil,
    interior_stencils,
    ring_stencils,
)
from bayescons.descriptions import Description, counted, described
from bayescons.refusals import RefusedValue


@described
class Axis(abc.ABC):
    """One axis of a grid.

    Attributes:
        points: coordinates by which its places are called, shape (n,), strictly increasing.
        no_ends: why nothing can be stated at its ends, and what to write instead, where it has
            none.
    """

    points: np.ndarray
    no_ends: str

    def __len__(self) -> int:
        return len(self.points)

    def __eq__(self, other) -> bool:
        return type(self) is type(other) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash((type(self), self._identity))

    def description(self) -> Description:
        """What its numbers are, and where."""
        return Description(self.told)

    @property
    @abc.abstractmethod
    def told(self) -> str:
        """In words: how many, of which kind, where."""

    @property
    @abc.abstractmethod
    def settings(self) -> dict:
        """What JSON can hold of it: `axis_from` makes it again."""

    @abc.abstractmethod
    def weights(self, rule: str | None = None) -> np.ndarray:
        """Weights w of an integral along the axis, w'u ≈ ∫ u dx, shape (n,).

        Args:
            rule: of quadrature between nodes; None is the axis's own.
        """

    @abc.abstractmethod
    def integration(self, rule: str | None = None) -> str:
        """In words, how it is integrated over by `weights`."""

    @property
    def bridges(self) -> np.ndarray | None:
        """Widths between neighbours, where the integral is a rule between nodes and errs by what
        the field does there (`quadrature.bridge_widths`): n - 1 of them, or n on a ring. None where
        sums are exact.
        """
        return None

    def end(self, side: str) -> float:
        """Coordinate of the wall at an end."""
        _side(side)
        raise RefusedValue(self.no_ends)

    def end_weights(self, side: str, derivative: int, order: int) -> np.ndarray:
        """Weights of a derivative at a wall, in the direction of increasing x, shape (n,).

        Args:
            side: "lower" or "upper".
            derivative: its order; 0 is the value.
            order: of accuracy.
        """
        del derivative, order
        _side(side)
        raise RefusedValue(self.no_ends)

    @abc.abstractmethod
    def second_differences(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of ∂²/∂x² by three neighbours (r, n), and the coordinates where they are (r,)."""

    @property
    def _identity(self) -> tuple:
        return (self.points.tobytes(),)


class Nodes(Axis):
    """Values at points; the first and the last are the walls.

    Args:
        points: strictly increasing coordinates, shape (n,).

    Example:
        >>> bc.axes.Nodes([0.0, 0.5, 1.0]).weights()
        array([0.25, 0.5 , 0.25])
    """

    def __init__(self, points, name: str | None = None):
        self.points = _increasing("the axis" if name is None else f"axis {name!r}", points)

    @property
    def told(self) -> str:
        """How many, and where."""
        return f"{counted(len(self), 'point')} in [{self.points[0]:g}, {self.points[-1]:g}]"

    @property
    def settings(self) -> list:
        """Its points."""
        return self.points.tolist()

    def weights(self, rule: str | None = None) -> np.ndarray:
        """By the trapezoid rule, or another of `quadrature.RULES`."""
        return quadrature_weights(self.points, "trapezoid" if rule is None else rule)

    def integration(self, rule: str | None = None) -> str:
        """The rule."""
        return f"the {rule or 'trapezoid'} rule"

    @property
    def bridges(self) -> np.ndarray:
        """Between neighbouring points."""
        return bridge_widths(self.points)

    def end(self, side: str) -> float:
        """The first or the last point."""
        return float(self.points[_side(side)])

    def end_weights(self, side: str, derivative: int, order: int) -> np.ndarray:
        """One-sided differences of `derivative` + `order` points; for the value the point alone."""
        return end_stencil(self.points, side, derivative, order)

    def second_differences(self) -> tuple[np.ndarray, np.ndarray]:
        """At every point inside."""
        return interior_stencils(self.points), self.points[1:-1]


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
            self.points, self.widths = _increasing("centres", points), _widths(widths, points)
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
        return float(self._known_edges()[_side(side)])

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

    def _known_edges(self) -> np.ndarray:
        if self.edges is None:
            raise RefusedValue(
                "where the walls of this axis are is not known: its cells were given by their "
                "widths. Give their edges: Cells(edges)"
            )
        return self.edges

    @property
    def _identity(self) -> tuple:
        edges = None if self.edges is None else self.edges.tobytes()
        return (self.points.tobytes(), self.widths.tobytes(), edges)


class Ring(Axis):
    """Values around a ring, such as longitudes or a periodic box: the last is the neighbour of the
    first, which is not stored twice. It has no ends.

    Args:
        points: strictly increasing coordinates within one period, shape (n,).
        period: after which the ring closes: 360 for degrees.

    Raises:
        ValueError: points that span a period or more, as where the first is stored again as the
            last.

    Example:
        >>> ring = bc.axes.Ring([0.0, 90.0, 180.0, 270.0], 360.0)
        >>> ring.weights()
        array([90., 90., 90., 90.])
    """

    no_ends = (
        "this axis is a ring and has no ends: nothing can be stated there, and that it closes is "
        "known already. State the field at a point of it instead, or build the grid on nodes with "
        "both ends"
    )

    def __init__(self, points, period: float):
        self.points, self.period = _increasing("a ring", points), float(numbers("period", period))
        span = float(np.ptp(self.points))
        if not (math.isfinite(self.period) and span < self.period):
            raise RefusedValue(
                f"these points span {span:g} and are to be a ring of period {self.period:g}: they "
                "must lie within one period, and the first is not stored again as the last. Drop "
                "the last point, or give the right period"
            )

    @property
    def told(self) -> str:
        """How many, from where, and the period."""
        return (
            f"{counted(len(self), 'point')} of a ring, from {self.points[0]:g}, period "
            f"{self.period:g}"
        )

    @property
    def settings(self) -> dict:
        """Points and period."""
        return {"points": self.points.tolist(), "period": self.period}

    def weights(self, rule: str | None = None) -> np.ndarray:
        """Half the way to both neighbours: equal where the points are equally spaced, exact then
        for averages over cells, and of spectral accuracy for values of smooth fields.
        """
        if rule not in (None, "trapezoid", "midpoint"):
            raise RefusedValue(
                f"the integral around a ring has equal weights; rule={rule!r} is for an axis with "
                "ends. Leave it out"
            )
        gaps = self.bridges
        return constant((gaps + np.roll(gaps, 1)) / 2)

    def integration(self, rule: str | None = None) -> str:
        """Around it."""
        del rule
        return "a sum around the ring"

    @property
    def bridges(self) -> np.ndarray:
        """From each point to the next, the last of them back to the first."""
        return constant(np.diff(np.append(self.points, self.points[0] + self.period)))

    def second_differences(self) -> tuple[np.ndarray, np.ndarray]:
        """At every point, across the seam too."""
        return ring_stencils(self.points, self.period), self.points

    @property
    def _identity(self) -> tuple:
        return (self.points.tobytes(), self.period)


class Index(Axis):
    """Cells without a place, counted: those of an unstructured mesh, or members of a list. An
    integral over them needs a `measure`, their volumes.

    Args:
        size: how many.

    Example:
        >>> grid = bc.Grid(cell=bc.axes.Index(3))
        >>> total = bc.integral(grid, "cell", measure=[2.0, 1.0, 1.0])
        >>> print(total(jnp.array([1.0, 2.0, 3.0])))
        7.0
    """

    no_ends = (
        "cells that are only counted have no ends: state the field at cells by their numbers, "
        "bc.functional(lambda u: u[..., numbers], on=grid)"
    )

    def __init__(self, size: int):
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise RefusedValue(f"an index counts cells, 1 or more; got {size!r}. Write Index(1000)")
        self.points = constant(np.arange(float(size)))

    @property
    def told(self) -> str:
        """How many."""
        return f"{counted(len(self), 'cell')}, counted"

    @property
    def settings(self) -> dict:
        """How many."""
        return {"size": len(self)}

    def weights(self, rule: str | None = None) -> np.ndarray:
        """They are not known."""
        del rule
        raise RefusedValue(
            "cells that are only counted have no widths: give their volumes, measure=volumes"
        )

    def integration(self, rule: str | None = None) -> str:
        """By a measure alone."""
        del rule
        return "a measure"

    def second_differences(self) -> tuple[np.ndarray, np.ndarray]:
        """They have no neighbours."""
        raise RefusedValue(
            "cells that are only counted have no neighbours: state differences as a function of "
            "the field, bc.functional(lambda u: ..., on=grid)"
        )


def axis(name: str, given) -> Axis:
    """An axis as it is; coordinates become `Nodes`."""
    return given if isinstance(given, Axis) else Nodes(given, name)


def axis_from(settings) -> Axis:
    """The axis of `Axis.settings`."""
    if not isinstance(settings, Mapping):
        return Nodes(settings)
    keys = frozenset(settings)
    kinds = {
        frozenset({"points", "period"}): Ring,
        frozenset({"edges", "points"}): Cells,
        frozenset({"points", "widths"}): Cells,
        frozenset({"size"}): Index,
    }
    if keys not in kinds:
        raise RefusedValue(f"no axis is described by {', '.join(sorted(map(str, keys)))}")
    return kinds[keys](**settings)


def _side(side: str) -> int:
    if side not in SIDES:
        raise RefusedValue(
            f"unknown side {side!r}; write 'lower' (first point) or 'upper' (last point)"
        )
    return 0 if side == "lower" else -1


def _increasing(what: str, given) -> np.ndarray:
    values = np.array(numbers(what, given), dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise RefusedValue(
            f"{what} must be a one-dimensional array of coordinates; got shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise RefusedValue(f"{what} holds NaN or infinite coordinates")
    if not (np.diff(values) > 0).all():
        worst = int(np.argmin(np.diff(values)))
        raise RefusedValue(
            f"{what} must increase strictly; point {worst + 1} ({values[worst + 1]:g}) does "
            f"not lie above point {worst} ({values[worst]:g}). Sort the coordinates, and the field "
            "with them"
        )
    return constant(values)


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
    return _increasing("edges", values)


def _widths(widths, points) -> np.ndarray:
    values = np.array(numbers("widths", widths), dtype=np.float64)
    if values.shape != np.shape(points) or not (np.isfinite(values).all() and (values > 0).all()):
        raise RefusedValue(
            f"widths must be one number above zero for each of {np.size(points)} cells; got shape "
            f"{values.shape}"
        )
    return constant(values)


def _within(points, edges: np.ndarray) -> np.ndarray:
    values = _increasing("centres", points)
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
