"""Faces of a domain: where it ends, as points with outward normals; the field's value there, its
slope outwards, and both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.arrays import concrete, constant, finite, numbers
from bayescons.descriptions import Description, counted, described, words
from bayescons.functionals.regions import RegionalSum, sum_of_entries
from bayescons.grids import Grid
from bayescons.refusals import RefusedValue

HIGHEST = 4  # order of a slope: beyond, one-sided weights grow faster than their error falls
FACINGS = ((1, "up"), (-1, "down"))


@described
@dataclasses.dataclass(frozen=True, eq=False)
class Faces:
    """Faces at which a domain ends, one for each pair of a point inside and a neighbour outside.

    Functionals of them read points inside alone, those that lie in a row behind the face, and have
    one row for each face, and for each point of the axes that the domain is not over.

    Attributes:
        grid: where the field lives.
        over: names of the domain's axes, in the order of the grid.
        axis: which of these each face ends, shape (faces,).
        step: 1 where it faces up its axis, -1 where down.
        numbers: of the point inside next to each, along each of the domain's axes, shape (axes,
            faces): `u[*faces.numbers]` are the values there.
        at: coordinate of each along its own axis.
        depth: number of points inside that lie in a row behind each, counted to five.

    Example:
        >>> grid = bc.Grid(x=bc.axes.Cells(np.linspace(0, 1, 6)))
        >>> walls = bc.functionals.Domain(grid, [1, 1, 1, 1, 0]).faces()
        >>> print(walls.dirichlet(order=2)(2 * grid["x"]).round(6))
        [0.  1.6]
        >>> right = walls[walls.normal["x"] > 0]
        >>> print(right.position["x"].round(6))
        [0.8]
    """

    grid: Grid
    over: tuple[str, ...]
    axis: np.ndarray
    step: np.ndarray
    numbers: np.ndarray
    at: np.ndarray
    depth: np.ndarray

    def description(self) -> Description:
        """How many along which axis."""
        rows = []
        for i, name in enumerate(self.over):
            sides = ((told, np.sum((self.axis == i) & (self.step == s))) for s, told in FACINGS)
            told = ", ".join(f"{number} facing {side}" for side, number in sides if number)
            rows += [(name, told)] if told else []
        return Description(f"{counted(len(self), 'face')} of a domain", tuple(rows))

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, which) -> Faces:
        """Some of them, by truth values or numbers: `walls[walls.position["x"] > 0.5]`."""
        chosen = np.atleast_1d(np.arange(len(self))[which])
        if not chosen.size:
            raise RefusedValue(f"none of {counted(len(self), 'face')} is chosen")
        names = ("axis", "step", "numbers", "at", "depth")
        return dataclasses.replace(self, **{n: getattr(self, n)[..., chosen] for n in names})

    @property
    def position(self) -> dict[str, np.ndarray]:
        """Coordinates of the faces along each axis: `value(**faces.position)` is one number for
        each.
        """
        return {
            name: np.where(self.axis == i, self.at, self.grid[name][self.numbers[i]])
            for i, name in enumerate(self.over)
        }

    @property
    def normal(self) -> dict[str, np.ndarray]:
        """Components of the outward unit normals along each axis."""
        return {n: np.where(self.axis == i, self.step, 0) * 1.0 for i, n in enumerate(self.over)}

    def moved(self, at: ArrayLike | Sequence[float]) -> Faces:
        """The faces elsewhere between the points on both of their sides, as where a curved wall
        crosses the line between them: values and slopes are those of the polynomial inside, carried
        on to there.

        Args:
            at: coordinate of each along its own axis, shape (faces,).

        Raises:
            ValueError: one that does not lie between the point inside and its neighbour outside.

        Example:
            >>> grid = bc.Grid(x=[0.0, 1.0, 2.0, 3.0])
            >>> wall = bc.functionals.Domain(grid, [1, 1, 1, 0]).faces(ends=False)
            >>> wall.moved([2.5]).dirichlet(order=2)(grid["x"]).tolist()
            [2.5]
        """
        at = np.asarray(finite("the faces' coordinates", numbers("the faces' coordinates", at)))
        at = at.astype(float)
        if at.shape != self.at.shape:
            raise RefusedValue(
                f"expected one coordinate for each face, shape {self.at.shape}; got {at.shape}"
            )
        for j, (i, step) in enumerate(zip(self.axis, self.step, strict=True)):
            along, number = self.grid.along(self.over[i]), int(self.numbers[i, j])
            ends = sorted((float(along.points[number]), along.beyond(number, int(step))))
            slack = 1e-9 * max(ends[1] - ends[0], abs(ends[1]), abs(ends[0]))
            if not ends[0] - slack <= at[j] <= ends[1] + slack:
                raise RefusedValue(
                    f"the face {self.labels()[j]} cannot be moved to {at[j]:g}: it lies between "
                    f"the points at {ends[0]:g} and {ends[1]:g}"
                )
        return dataclasses.replace(self, at=constant(at))

    def dirichlet(self, order: int = 2, *, lowered: bool = False) -> RegionalSum:
        """u at each face. At a node it is the node's value. Elsewhere it is that of the polynomial
        with the values, or the averages over cells, of `order` points behind the face: exact for
        polynomials of degree below `order`, O(h^order) for a smooth field.

        Args:
            order: 1 to 4.
            lowered: take as many points as there are, and a lower order with them, where fewer lie
                behind a face; otherwise such a face is refused.
        """
        return self._functional("u", order, lowered, (1.0, 0.0))

    def neumann(self, order: int = 2, *, lowered: bool = False) -> RegionalSum:
        """∂u/∂n at each face, outwards, from `order` + 1 points behind it: exact for polynomials of
        degree up to `order`. Arguments as of `dirichlet`; a slope needs two points at least.

        (`bayescons.neumann`, at an end of an axis, is the slope in the direction of increasing x.)
        """
        return self._functional("∂u/∂n", order, lowered, (0.0, 1.0))

    def robin(
        self, value: ArrayLike, slope: ArrayLike, order: int = 2, *, lowered: bool = False
    ) -> RegionalSum:
        """Value · u + slope · ∂u/∂n at each face; coefficients are numbers, or one for each face,
        and in a program may be random. Orders as of `dirichlet` and `neumann`.
        """
        told = f"{words(value)} u + {words(slope)} ∂u/∂n"
        given = {"value": value, "slope": slope}
        both = tuple(self._coefficient(name, number) for name, number in given.items())
        if all(map(concrete, both)) and not np.all(np.abs(both[0]) + np.abs(both[1])):
            raise RefusedValue("a Robin condition needs coefficients other than zero at every face")
        return self._functional(told, order, lowered, both)

    def labels(self) -> list[str]:
        """What tells one face from another, e.g. "x=0.5, y=0.25, facing x up"."""
        position = self.position
        return [
            ", ".join(f"{name}={at[j]:.6g}" for name, at in position.items())
            + f", facing {self.over[self.axis[j]]} {dict(FACINGS)[int(self.step[j])]}"
            for j in range(len(self))
        ]

    def _coefficient(self, name: str, number):
        what = f"the coefficient {name!r} of a Robin condition"
        number = finite(what, numbers(what, number))
        if np.shape(number) not in ((), (len(self),)):
            raise RefusedValue(
                f"{what} must be a number or one for each of {len(self)} faces; it has shape "
                f"{np.shape(number)}"
            )
        return np.asarray(number, float) if concrete(number) else number

    def _functional(self, told: str, order: int, lowered: bool, coefficients) -> RegionalSum:
        if isinstance(order, bool) or order not in range(1, HIGHEST + 1):
            raise RefusedValue(f"the order at a face is 1 to {HIGHEST}; got {order!r}")
        shape = tuple(len(self.grid[name]) for name in self.over)
        entries = [[], [], []]
        for derivative, factor in enumerate(coefficients):
            if concrete(factor) and not np.any(factor):
                continue
            rows, places, weights = self._stencils(order, derivative, lowered)
            spread = factor if np.ndim(factor) == 0 else factor[rows]
            entries[0].append(rows)
            entries[1].append(np.ravel_multi_index(tuple(places), shape))
            entries[2].append(spread * weights)
        rows, columns = map(np.concatenate, entries[:2])
        shares = entries[2]
        shares = np.concatenate(shares) if all(map(concrete, shares)) else jnp.concatenate(shares)
        about = f"{told} at {counted(len(self), 'face')} of a domain, order {order}"
        called = tuple(self.labels())
        return sum_of_entries(self.grid, self.over, (rows, columns, shares), called, "face", about)

    def _stencils(self, order: int, derivative: int, lowered: bool):
        """Faces, numbers of points along the domain's axes, and weights of all entries."""
        rows, places, weights = [], [], []
        found: dict[tuple, tuple] = {}
        for j, (i, step) in enumerate(zip(self.axis, self.step, strict=True)):
            along, number = self.grid.along(self.over[i]), int(self.numbers[i, j])
            count = self._count(j, order, derivative, lowered)
            key = (i, number, step, count, self.at[j])
            if key not in found:
                row = np.sort(number - step * np.arange(count))
                own = along.stencil(row, float(self.at[j]), derivative)
                found[key] = row % len(along), own if derivative == 0 else step * own
            row, own = found[key]
            place = np.repeat(self.numbers[:, j : j + 1], count, axis=1)
            place[i] = row
            rows.append(np.full(count, j))
            places.append(place)
            weights.append(own)
        return np.concatenate(rows), np.concatenate(places, axis=1), np.concatenate(weights)

    def _count(self, j: int, order: int, derivative: int, lowered: bool) -> int:
        """How many points a stencil takes, or why it cannot."""
        along, depth = self.grid.along(self.over[self.axis[j]]), int(self.depth[j])
        needed, least = order + derivative, 1 + derivative
        number = int(self.numbers[self.axis[j], j])
        if derivative == 0 and along.bridges is not None and self.at[j] == along.points[number]:
            return 1  # the wall is the node
        if depth < (least if lowered else needed):
            what = "the value" if derivative == 0 else "a slope"
            way = "" if depth < least else ", take as many as there are with lowered=True"
            raise RefusedValue(
                f"behind the face {self.labels()[j]} lie {counted(depth, 'point')} inside, and "
                f"{what} of order {order} needs {needed}. Lower the order{way}, or leave such "
                f"faces out: faces[faces.depth >= {needed}]"
            )
        return min(needed, depth)


def faces_of(
    grid: Grid, over: Sequence[str], inside: np.ndarray, *, share: float, ends: bool
) -> Faces:
    """The faces of an inside over some axes of a grid; `share` of the way to the neighbour outside
    is where walls between nodes are.
    """
    parts = []
    for axis, name in enumerate(over):
        along = grid.along(name)
        if along.counted:
            continue
        for step in (-1, 1):
            beside = _shifted(inside, axis, -step, closes=along.closes, beyond=not ends)
            places = np.argwhere(inside & ~beside).T
            depth = _depth(inside, axis, step, closes=along.closes)[tuple(places)]
            at = {int(n): along.wall(int(n), step, share) for n in np.unique(places[axis])}
            at = np.array([at[int(n)] for n in places[axis]])
            whole = np.ones(places.shape[1], int)
            parts.append((axis * whole, step * whole, places, at, depth))
    if not sum(part[1].size for part in parts):
        raise RefusedValue(
            "this domain has no wall: no point inside has a neighbour outside along "
            f"{' or '.join(over)}{'' if ends else ', and the ends of the grid are left out'}"
        )
    axis, step, places, at, depth = (np.concatenate(p, axis=-1) for p in zip(*parts, strict=True))
    return Faces(grid, tuple(over), *map(constant, (axis, step, places, at, depth)))


def _shifted(inside: np.ndarray, axis: int, by: int, *, closes: bool, beyond: bool) -> np.ndarray:
    """What stands `by` places below each point; `beyond` the ends of the grid, but for a ring."""
    shifted = np.roll(inside, by, axis)
    if not closes:
        ends = slice(0, by) if by > 0 else slice(by, None)
        shifted[(slice(None),) * axis + (ends,)] = beyond
    return shifted


def _depth(inside: np.ndarray, axis: int, step: int, *, closes: bool) -> np.ndarray:
    """Number of points inside that lie in a row from each point against a step, to five."""
    depth, row = inside.astype(int), inside
    for back in range(1, min(HIGHEST + 1, inside.shape[axis])):
        row = row & _shifted(inside, axis, back * step, closes=closes, beyond=False)
        depth = depth + row
    return depth
