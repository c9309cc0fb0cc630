"""Axes of a grid: where numbers of a field stand along one of them, and what they are.

A number may be the value at a node, the average over a cell, one of a ring that closes on itself,
or that of a cell without a place (`Index`). What is true along an axis - the weights of an
integral, a value or a slope at a wall, a second difference - is asked of the axis, so that
functionals are the same for all of them.
"""

from __future__ import annotations

import abc

import numpy as np

from bayescons.arrays import constant, numbers
from bayescons.axes.stencils import SIDES
from bayescons.descriptions import Description, described
from bayescons.refusals import RefusedValue


@described
class Axis(abc.ABC):
    """One axis of a grid.

    Attributes:
        points: coordinates by which its places are called, shape (n,), strictly increasing.
        no_ends: why nothing can be stated at its ends, and what to write instead, where it has
            none.
        closes: whether the last is the neighbour of the first.
        counted: whether its places are only counted, so that they have no neighbours.
    """

    points: np.ndarray
    no_ends: str
    closes: bool = False
    counted: bool = False

    def __len__(self) -> int:
        return len(self.points)

    def __eq__(self, other) -> bool:
        return type(self) is type(other) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash((type(self), self.identity))

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
        side_of(side)
        raise RefusedValue(self.no_ends)

    def end_weights(self, side: str, derivative: int, order: int) -> np.ndarray:
        """Weights of a derivative at a wall, in the direction of increasing x, shape (n,).

        Args:
            side: "lower" or "upper".
            derivative: its order; 0 is the value.
            order: of accuracy.
        """
        del derivative, order
        side_of(side)
        raise RefusedValue(self.no_ends)

    @abc.abstractmethod
    def second_differences(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of ∂²/∂x² by three neighbours (r, n), and the coordinates where they are (r,)."""

    def beyond(self, number: int, step: int) -> float:
        """Coordinate of the neighbour of a point, counted on beyond the seam of a ring; at an end,
        of the wall.

        Args:
            number: of the point.
            step: 1 for the neighbour above it, -1 for the one below.
        """
        del number, step
        raise RefusedValue(self.no_ends)

    def wall(self, number: int, step: int, share: float) -> float:
        """Coordinate of the wall of a domain, inside of the grid, that has a point as its last.

        Args:
            number: of the point.
            step: 1 where the domain ends above it, -1 where it ends below.
            share: of the way from the point to its neighbour; the wall of a cell is its face.
        """
        point = float(self.points[number])
        return point + share * (self.beyond(number, step) - point)

    def stencil(self, numbers: np.ndarray, at: float, derivative: int) -> np.ndarray:
        """Weights over some neighbours of a derivative at a coordinate, shape (count,): of the
        polynomial that they determine.

        Args:
            numbers: of the points, one after the other; around a ring counted on beyond its seam.
            at: where the derivative is taken, in the direction of increasing x.
            derivative: its order; 0 is the value.
        """
        del numbers, at, derivative
        raise RefusedValue(self.no_ends)

    @property
    def identity(self) -> tuple:
        """What makes it equal to another of its kind."""
        return (self.points.tobytes(),)


def side_of(side: str) -> int:
    """Which entry of an axis is at an end."""
    if side not in SIDES:
        raise RefusedValue(
            f"unknown side {side!r}; write 'lower' (first point) or 'upper' (last point)"
        )
    return 0 if side == "lower" else -1


def increasing(what: str, given) -> np.ndarray:
    """Coordinates, one-dimensional, finite and strictly increasing, or an error."""
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
