"""Sides and boundaries: which condition holds at which end of which axis, in one description for
functionals, problems and networks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.arrays import concrete, rank_tolerance, real
from bayescons.axes import SIDES, Cells
from bayescons.descriptions import Description, counted, described, words
from bayescons.functionals.boundary_values import dirichlet, neumann, periodic, robin
from bayescons.functionals.products import TensorProduct
from bayescons.functionals.stack import Stack
from bayescons.grids import Grid
from bayescons.refusals import RefusedValue

KINDS = ("dirichlet", "neumann", "robin", "periodic")
ORDERS = (
    1,
    2,
    3,
    4,
)  # of one-sided slopes: beyond, their weights grow faster than their error falls
CORNER_TOLERANCE = (
    1e-4  # of the largest number in the comparison: single precision through a one-sided slope
)


@described
@dataclass(frozen=True)
class BoundaryCondition:
    """One boundary condition: α u + β ∂u/∂x at an end of an axis, or u(upper end) - u(lower end) =
    0.

    Attributes:
        axis: name of the axis that ends there, e.g. "x".
        end: "lower" (first point), "upper" (last point), or "both" for a periodic axis, and for
            that alone.
        kind: "dirichlet" (the value), "neumann" (the slope), "robin" (α times the value plus β
            times the slope) or "periodic".
        order: order of accuracy of the one-sided slope, 1 to 4: `order` + 1 points; and of the
            value, where it is reconstructed from averages over cells.
        coefficients: (α, β) of a Robin condition; slopes are in the direction of increasing x at
            both ends.
        at: coordinate of the wall, or of both ends for a periodic axis, where the grid is to be
            checked for it; None trusts the grid.

    Example:
        >>> print(bc.BoundaryCondition("x", "lower", "neumann"))
        neumann at the lower end of 'x'
    """

    axis: str
    end: Literal["lower", "upper", "both"]
    kind: Literal["dirichlet", "neumann", "robin", "periodic"] = "dirichlet"
    order: int = 3
    coefficients: tuple[float | int, float | int] = (1.0, 1.0)
    at: float | int | tuple[float | int, float | int] | None = None

    def __str__(self) -> str:
        return (
            f"{self.kind} at both ends of {self.axis!r}"
            if self.end == "both"
            else f"{self.kind} at the {self.end} end of {self.axis!r}"
        )

    def description(self) -> Description:
        """Where and what it is, and where its wall is."""
        rows = [("states", self.equation)]
        if self.kind in ("neumann", "robin"):
            rows += [("slope", f"one-sided, of order {self.order}")]
        if self.at is not None:
            rows += [("wall", f"{self.axis} = {words(self.at)}")]
        return Description(f"Boundary condition, {self}", tuple(rows))

    @property
    def equation(self) -> str:
        """What is given, as a formula."""
        value, slope = map(words, self.coefficients)
        return {
            "dirichlet": "u",
            "neumann": f"∂u/∂{self.axis}",
            "robin": f"{value} u + {slope} ∂u/∂{self.axis}",
        }.get(self.kind, "u at the upper end less u at the lower, 0")

    def functional(self, grid: Grid) -> TensorProduct:
        """What is observed: one row of weights along the axis, at every point of the other axes.

        Raises:
            ValueError: for an axis that the grid has not, an end or a kind that there is not, an
                order outside 1 to 4, a stencil longer than the axis, or an axis without a point at
                the wall.
        """
        self._check(grid)
        if self.kind == "periodic":
            return periodic(grid, self.axis)
        if self.kind == "dirichlet":
            return dirichlet(grid, self.axis, self.end, self.order)
        if self.kind == "neumann":
            return neumann(grid, self.axis, self.end, self.order)
        value, slope = self.coefficients
        return robin(grid, self.axis, self.end, value, slope, self.order)

    def _check(self, grid: Grid) -> None:
        if self.kind not in KINDS:
            raise RefusedValue(
                f"unknown kind of side {self.kind!r}; there are {', '.join(map(repr, KINDS))}"
            )
        if (self.kind == "periodic") != (self.end == "both"):
            right = (
                "end='both': it ties the two ends to each other"
                if self.kind == "periodic"
                else "one side for 'lower' and one for 'upper'"
            )
            raise RefusedValue(
                f"a {self.kind} condition cannot have end={self.end!r}; write {right}"
            )
        if self.end not in (*SIDES, "both"):
            raise RefusedValue(
                f"unknown end {self.end!r}; write 'lower' (first point), 'upper' (last point) or, "
                "for periodic, 'both'"
            )
        if self.order not in ORDERS:
            raise RefusedValue(f"the order of a one-sided slope is 1, 2, 3 or 4; got {self.order}")
        along = grid.along(self.axis)
        points, cells = along.points, isinstance(along, Cells)
        needed = {"dirichlet": self.order if cells else 1, "periodic": 2}.get(
            self.kind, self.order + 1
        )
        if needed > len(points):
            what = "cells" if cells else "points"
            raise RefusedValue(
                f"{self} needs {needed} {what}; the axis has {len(points)}. Lower the order, or "
                f"take more {what}"
                if self.kind in ("neumann", "robin") or cells
                else f"{self} needs {needed} points; the axis has {len(points)}"
            )
        walls = (
            {}
            if self.at is None
            else dict(zip(SIDES, self.at, strict=True))
            if self.end == "both"
            else {self.end: self.at}
        )
        for end, wall in walls.items():
            point, spacing = along.end(end), np.ptp(points) / max(len(points) - 1, 1)
            if abs(point - wall) > 1e-6 * (spacing or 1.0):
                raise RefusedValue(
                    f"{self} holds at {self.axis} = {wall:g}, but the {end} point of the axis is "
                    f"{point:g}: the condition would be imposed inside. Keep both end points: "
                    "np.linspace(lower, upper, n), and no subsampling that drops the last one"
                )


@described
@dataclass(frozen=True, eq=False)
class BoundaryConditions:
    """Conditions on some sides of a grid, as one functional.

    Values are given one array a side, in the order of `sides`. Where two axes have sides, they meet
    at corners, and what is known there is said twice: with rows g_x and g_y of the sides along x
    and y, g_y b_x = g_x b_y (for two values, that both name the same corner value). `value` refuses
    values that disagree; `reconciled` lets the later side decide.

    Attributes:
        grid: where the field lives; both end points of every axis with a side are on it.
        sides: at least one. A side may be stated once for each kind: value and slope at one end are
            two facts.

    Example:
        >>> grid = bc.Grid(x=jnp.linspace(0.0, 1.0, 5))
        >>> ends = (bc.BoundaryCondition("x", "lower"), bc.BoundaryCondition("x", "upper"))
        >>> boundary = bc.BoundaryConditions(grid, ends)
        >>> [float(value) for value in boundary.functional(grid["x"] ** 2)]
        [0.0, 1.0]
    """

    grid: Grid
    sides: tuple[BoundaryCondition, ...]

    def __post_init__(self):
        if not self.sides:
            raise RefusedValue(
                "a boundary needs at least one side; write BoundaryConditions(grid, "
                "(BoundaryCondition('x', 'lower'), BoundaryCondition('x', 'upper')))"
            )
        _ = self.functional  # what a side cannot be on this grid, its functional says
        for one, other in itertools.combinations(self.sides, 2):
            if (one.axis, one.end, one.kind) == (other.axis, other.end, other.kind):
                raise RefusedValue(f"a side is given twice: {one}. State every condition once")
        for axis in self.axes:
            rows = self.rows(axis)
            unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            if np.linalg.svd(unit, compute_uv=False)[-1] < math.sqrt(
                rank_tolerance(len(rows), np.float64)
            ):
                stated = ", ".join(str(s) for s in self.sides if s.axis == axis)
                raise RefusedValue(
                    f"one of the sides on {axis!r} is implied by the others ({stated}): a side is "
                    "given twice. Drop one"
                )

    def description(self) -> Description:
        """Each side, what is given there and how many rows that is."""
        told = (
            (
                f"{side.axis}, {side.end}",
                f"{side.kind}: {side.equation}, {counted(math.prod(shape), 'row')}",
            )
            for side, shape in zip(self.sides, self.shapes, strict=True)
        )
        sizes = " × ".join(map(str, self.grid.shape))
        title = (
            f"Boundary conditions, {counted(len(self.sides), 'side')} of a grid of {sizes} points"
        )
        return Description(title, tuple(told))

    def __eq__(self, other) -> bool:
        return isinstance(other, BoundaryConditions) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple:
        return self.sides, self.grid

    @property
    def functional(self) -> Stack:
        """All sides, one under the other."""
        return Stack(tuple(side.functional(self.grid) for side in self.sides))

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes that have sides, in the order of the grid."""
        return tuple(
            name for name in self.grid.names if any(side.axis == name for side in self.sides)
        )

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each side's value: that of the other axes."""
        return tuple(
            tuple(len(c) for name, c in self.grid.items() if name != side.axis)
            for side in self.sides
        )

    @property
    def count(self) -> int:
        """Number of rows of all sides together."""
        return sum(map(math.prod, self.shapes))

    def on(self, axis: str) -> tuple[int, ...]:
        """Which of the sides lie on an axis."""
        return tuple(i for i, side in enumerate(self.sides) if side.axis == axis)

    def rows(self, axis: str) -> np.ndarray:
        """Weights along an axis, one row for each of its sides, shape (sides, points)."""
        at = self.grid.axis(axis)
        return np.stack([self.sides[i].functional(self.grid).weights[at] for i in self.on(axis)])

    def value(self, values: Sequence[ArrayLike | None]) -> jax.Array:
        """All rows in one vector, shape (*batch, count), side after side.

        Args:
            values: for each side a number, or an array of its `shapes`, with batch axes in front or
                not. None for a periodic side is 0.

        Raises:
            ValueError: for the wrong number of values, values of the wrong length, or sides that
                disagree at a corner.
        """
        full = self.arrays(values)
        self._check_corners(full)
        lead = full[0].shape[: full[0].ndim - len(self.shapes[0])]
        return jnp.concatenate([v.reshape(*lead, -1) for v in full], axis=-1)

    def split(self, rows: ArrayLike) -> tuple[jax.Array, ...]:
        """The values that `value` laid end to end, (*batch, count) → one array (*batch, *shape) a
        side.
        """
        rows = jnp.asarray(rows)
        ends = np.cumsum([math.prod(s) for s in self.shapes])[:-1]
        parts = jnp.split(rows, ends, axis=-1)
        return tuple(
            part.reshape(*rows.shape[:-1], *shape)
            for part, shape in zip(parts, self.shapes, strict=True)
        )

    def arrays(self, values: Sequence[ArrayLike | None]) -> tuple[jax.Array, ...]:
        """One array (*batch, *shape) a side, numbers spread out; corners are not compared."""
        if len(values) != len(self.sides):
            raise RefusedValue(
                f"the boundary has {len(self.sides)} sides ({', '.join(map(str, self.sides))}); "
                f"got values for {len(values)}. Give one array or number for each, in this order"
            )
        given = [self._array(side, v) for side, v in zip(self.sides, values, strict=True)]
        batches = []
        for side, array, shape in zip(self.sides, given, self.shapes, strict=True):
            lead = array.ndim - len(shape)
            if array.ndim and (lead < 0 or array.shape[lead:] != shape):
                others = (
                    ", ".join(f"{n}: {len(c)}" for n, c in self.grid.items() if n != side.axis)
                    or "no other axis"
                )
                raise RefusedValue(
                    f"values of {side} must have shape {shape or '()'} ({others}), with batch axes "
                    f"in front or not, or be one number; got shape {array.shape}"
                )
            if array.ndim and lead:
                batches.append(array.shape[:lead])
        if len(set(batches)) > 1:
            found = " and ".join(map(str, sorted(set(batches))))
            raise RefusedValue(
                f"the sides' values have different batch axes, {found}; give them the same"
            )
        batch = batches[0] if batches else ()
        return tuple(_spread(v, batch, shape) for v, shape in zip(given, self.shapes, strict=True))

    def reconciled(self, values: Sequence[ArrayLike | None]) -> tuple[jax.Array, ...]:
        """The values, changed at corners so that sides agree: of two that disagree, the one stated
        later decides.

        A lid that moves at 1 over walls that rest is such a pair; so is, by the error of its
        stencil, an exact slope beside exact values. Values that agree are left as they are.
        """
        full = list(self.arrays(values))
        for one in reversed(range(len(self.sides))):
            later = [
                i
                for i in range(one + 1, len(self.sides))
                if self.sides[i].axis != self.sides[one].axis
            ]
            for name in dict.fromkeys(self.sides[i].axis for i in later):
                full[one] = self._yielding(
                    full, one, [i for i in later if self.sides[i].axis == name]
                )
        return tuple(full)

    def _yielding(self, values, one: int, others: list[int]) -> jax.Array:
        """Values of one side, changed as little as makes them agree with those of sides along one
        other axis.
        """
        axis = self._crossing(one, others[0])[0]
        weights = np.stack([self._crossing(one, other)[1] for other in others])
        missed = jnp.stack(
            [
                self._across(values, one, other) - self._across(values, other, one)
                for other in others
            ],
            axis=-1,
        )
        change = jnp.tensordot(
            missed,
            jnp.asarray(np.linalg.pinv(weights).T, missed.dtype),
            axes=1,
            precision="highest",
        )
        return values[one] + jnp.moveaxis(change, -1, axis)

    def _crossing(self, one: int, other: int) -> tuple[int, np.ndarray]:
        """Axis of the values of `one` (counted from the last) along which `other` acts, and its
        weights.
        """
        kept = [name for name in self.grid.names if name != self.sides[one].axis]
        name = self.sides[other].axis
        return kept.index(name) - len(kept), np.asarray(
            self.sides[other].functional(self.grid).weights[self.grid.axis(name)]
        )

    def _across(self, values, one: int, other: int) -> jax.Array:
        """The row of `one` applied to the values of `other`, at their common corner."""
        axis, weights = self._crossing(other, one)
        return jnp.tensordot(
            values[other],
            jnp.asarray(weights, values[other].dtype),
            ((values[other].ndim + axis,), (0,)),
            precision="highest",
        )

    def _check_corners(self, values) -> None:
        if not all(concrete(v) for v in values):
            return
        for one, other in itertools.combinations(range(len(self.sides)), 2):
            if self.sides[one].axis == self.sides[other].axis:
                continue
            first, second = (
                np.asarray(self._across(values, *pair)) for pair in ((one, other), (other, one))
            )
            sizes = (
                np.abs(self._crossing(a, b)[1]).sum() * np.max(np.abs(values[a]), initial=0)
                for a, b in ((one, other), (other, one))
            )
            if np.max(np.abs(first - second), initial=0) > CORNER_TOLERANCE * max(*sizes, 1e-30):
                worst = np.unravel_index(np.argmax(np.abs(first - second)), first.shape)
                raise RefusedValue(
                    f"{self.sides[one]} and {self.sides[other]} disagree at their corner: "
                    f"{float(second[worst]):.6g} by the one, {float(first[worst]):.6g} by the "
                    "other. Give values that meet, or let the side stated later decide: "
                    "boundary.reconciled(values)"
                )

    @staticmethod
    def _array(side: BoundaryCondition, value) -> jax.Array:
        if value is None and side.kind != "periodic":
            raise RefusedValue(
                f"{side} needs a value; only a periodic side may leave it out (None is 0)"
            )
        return real("a boundary value", 0.0 if value is None else value)


def _spread(value, batch: tuple[int, ...], shape: tuple[int, ...]) -> jax.Array:
    """A number, or an array with or without its batch axes, to full shape."""
    lead = len(batch) + len(shape) - value.ndim
    return jnp.broadcast_to(value.reshape((1,) * lead + value.shape), batch + shape)
