"""Axes of values: at nodes, around a ring, of cells that are only counted."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from bayescons.arrays import constant, numbers
from bayescons.axes.abstract import Axis, increasing, side_of
from bayescons.axes.cells import Cells
from bayescons.axes.quadrature import bridge_widths, quadrature_weights
from bayescons.axes.stencils import (
    derivative_weights,
    end_stencil,
    interior_stencils,
    ring_stencils,
)
from bayescons.descriptions import counted
from bayescons.refusals import RefusedValue


class Nodes(Axis):
    """Values at points; the first and the last are the walls.

    Args:
        points: strictly increasing coordinates, shape (n,).

    Example:
        >>> bc.axes.Nodes([0.0, 0.5, 1.0]).weights()
        array([0.25, 0.5 , 0.25])
    """

    def __init__(self, points, name: str | None = None):
        self.points = increasing("the axis" if name is None else f"axis {name!r}", points)

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
        return float(self.points[side_of(side)])

    def end_weights(self, side: str, derivative: int, order: int) -> np.ndarray:
        """One-sided differences of `derivative` + `order` points; for the value the point alone."""
        return end_stencil(self.points, side, derivative, order)

    def second_differences(self) -> tuple[np.ndarray, np.ndarray]:
        """At every point inside."""
        return interior_stencils(self.points), self.points[1:-1]

    def beyond(self, number: int, step: int) -> float:
        """The next point; at an end the point itself, which is the wall."""
        return float(self.points[min(max(number + step, 0), len(self) - 1)])

    def stencil(self, numbers: np.ndarray, at: float, derivative: int) -> np.ndarray:
        """Of the polynomial through these points."""
        return derivative_weights(self.points[numbers], at, derivative)


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

    closes = True
    no_ends = (
        "this axis is a ring and has no ends: nothing can be stated there, and that it closes is "
        "known already. State the field at a point of it instead, or build the grid on nodes with "
        "both ends"
    )

    def __init__(self, points, period: float):
        self.points, self.period = increasing("a ring", points), float(numbers("period", period))
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

    def beyond(self, number: int, step: int) -> float:
        """The next point, across the seam too."""
        return float(self._around(np.array([number + step]))[0])

    def stencil(self, numbers: np.ndarray, at: float, derivative: int) -> np.ndarray:
        """Of the polynomial through these points, across the seam too."""
        return derivative_weights(self._around(numbers), at, derivative)

    def _around(self, numbers: np.ndarray) -> np.ndarray:
        """Coordinates of points that are counted on beyond the seam."""
        turns, places = np.divmod(numbers, len(self))
        return self.points[places] + turns * self.period

    @property
    def identity(self) -> tuple:
        """What makes it equal to another of its kind."""
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

    counted = True
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
