"""Domains that are no box: a grid and which of its points are inside; totals and averages over the
inside, and the faces at which the domain ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Num

from bayescons.arrays import concrete, constant, numbers, one_of
from bayescons.descriptions import Description, described
from bayescons.functionals.abstract import SingleFunctional
from bayescons.functionals.conservation import average, integral
from bayescons.functionals.faces import Faces, faces_of
from bayescons.functionals.measures import Factor, Given, factors
from bayescons.grids import Grid
from bayescons.refusals import RefusedType, RefusedValue

WALLS = {"nodes": 0.0, "halfway": 0.5}  # share of the way to the neighbour outside


@described
class Domain:
    """A grid and its inside, Ω: points outside of it are no part of the field.

    A belief over the domain is `bayescons.gaussians.masked(belief, domain)`: zero and certain
    outside. A functional of such a field counts what is outside as zero; `integral`, `average` and
    `faces` read points inside alone.

    Where the domain ends: on `Cells` at the faces of cells; between nodes either at the last node
    inside (`wall="nodes"`), so that Ω is made of the boxes between nodes all of whose corners are
    inside; or halfway to the first node outside (`wall="halfway"`), so that every node inside
    counts with its whole cell, as plain `integral` counts it.

    Args:
        grid: where the field lives.
        inside: true, or one, for points of the domain, zero for others: over the axes `over`, in
            their order; or an xarray.DataArray over these. Axes in front hold a batch of domains,
            one for each member of a batch of fields.
        over: names of the axes that the inside is given over, all of them unless stated. Along the
            others it is the same.
        wall: "nodes" or "halfway".

    Raises:
        ValueError: another shape; numbers other than zero and one; a domain without a point.

    Where it fails: totals and faces are those of one domain. For domains that differ between
        members make the members an axis of the grid, `bayescons.axes.Index`.

    Example:
        >>> grid = bc.Grid(x=bc.axes.Cells(np.linspace(0, 1, 3)), y=bc.axes.Cells([0.0, 0.5, 1.0]))
        >>> room = bc.functionals.Domain(grid, [[1, 1], [1, 0]])  # an L
        >>> float(room.integral(("x", "y"))(jnp.ones((2, 2))))
        0.75
        >>> room.faces(ends=False)
        2 faces of a domain
          x  1 facing up
          y  1 facing up
    """

    def __init__(
        self,
        grid: Grid,
        inside: Any,
        over: str | Sequence[str] | None = None,
        *,
        wall: str = "nodes",
    ):
        one_of("wall", wall, tuple(WALLS))
        given = grid.names if over is None else (over,) if isinstance(over, str) else tuple(over)
        positions = [grid.axis(name) for name in given]
        if len(set(positions)) < len(given) or not given:
            raise RefusedValue(
                f"the inside is over {given}; expected is each of its axes once, of those of the "
                f"grid, {grid.names}"
            )
        flags = _flags(inside, given, grid)
        lead = flags.ndim - len(given)
        order = [*range(lead), *(lead + i for i in np.argsort(positions))]
        self.grid, self.wall = grid, wall
        self.over = tuple(name for name in grid.names if name in given)
        self.inside = constant(flags.transpose(order))

    def description(self) -> Description:
        """How many points are inside, and where it ends."""
        count = f"{int(self.inside.sum())} of {self.inside.size} points inside"
        along = tuple((name, self.grid.along(name).told) for name in self.grid.names)
        walls = (("walls", f"between nodes: {self.wall}"),) if self._between(self.over) else ()
        batch = (("batch", f"shape {self.batch_shape}"),) if self.batch_shape else ()
        title = f"Domain over {' and '.join(self.over)}, {count}"
        return Description(title, (*along, *walls, *batch))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Of the axes in front, which count domains."""
        return self.inside.shape[: self.inside.ndim - len(self.over)]

    @property
    def mask(self) -> np.ndarray:
        """The inside with axes of length one for those of the grid that it is not over, shape
        (*batch, *grid).
        """
        lengths = [len(self.grid[n]) if n in self.over else 1 for n in self.grid.names]
        return self.inside.reshape(*self.batch_shape, *lengths)

    def filled(self, array: Num[ArrayLike, "*draws_grid"]) -> Num[ArrayLike, "*draws_grid"]:
        """A mean, standard deviations or draws with NaN outside of the domain, for a person to look
        at; axes of draws and of a batch in front.

        Example:
            >>> rod = bc.functionals.Domain(bc.Grid(x=[0.0, 0.5, 1.0]), [True, True, False])
            >>> print(rod.filled(jnp.zeros((2, 3))))
            [[ 0.  0. nan]
             [ 0.  0. nan]]
        """
        array = numbers("an array of the domain", array)
        array = jnp.asarray(array) if isinstance(array, jax.Array) else np.asarray(array)
        shape = (*self.batch_shape, *self.grid.shape)
        lead = array.ndim - len(shape)
        if lead < 0 or array.shape[lead:] != shape:
            raise RefusedValue(
                f"expected an array of shape {shape} of the domain, with axes of draws in front or "
                f"not; got {array.shape}"
            )
        mask = np.broadcast_to(self.mask, shape).reshape((1,) * lead + shape)
        return (jnp if isinstance(array, jax.Array) else np).where(mask, array, np.nan)

    def integral(
        self, over: str | tuple[str, ...], *, measure: Given = None, weight: Given = None
    ) -> SingleFunctional:
        """∫_Ω w u dμ, for every point of the axes left: `bayescons.integral` over the inside.

        Sums over cells are exact. With walls at nodes it is the trapezoid rule on each box between
        nodes inside, exact for fields linear along each axis; with walls halfway every node counts
        with its whole cell. A measure is that of whole cells, which are in or out.

        Args:
            over: axis, or axes, to integrate over.
            measure: as of `bayescons.integral`.
            weight: likewise.

        Raises:
            ValueError: what `integral` refuses; a batch of domains; with walls at nodes, a node
                inside that is in no box, and would be left out of the total unseen.

        Example:
            >>> grid = bc.Grid(x=[0.0, 1.0, 2.0, 3.0])
            >>> rod = bc.functionals.Domain(grid, grid["x"] < 2.5)
            >>> float(rod.integral("x")(grid["x"]))  # from 0 to 2
            2.0
        """
        weights = self._weights(over, measure, weight)
        return integral(self.grid, over, measure=measure, weight=weights)

    def average(
        self, over: str | tuple[str, ...], *, measure: Given = None, weight: Given = None
    ) -> SingleFunctional:
        """∫_Ω w u dμ / ∫_Ω w dμ, for every point of the axes left; arguments and errors as of
        `integral`, and ValueError for a line that lies outside of the domain and has no average.

        Example:
            >>> grid = bc.Grid(x=[0.0, 1.0, 2.0, 3.0])
            >>> rod = bc.functionals.Domain(grid, grid["x"] < 2.5)
            >>> float(rod.average("x")(grid["x"]))
            1.0
        """
        weights = self._weights(over, measure, weight)
        return average(self.grid, over, measure=measure, weight=weights)

    def faces(self, *, ends: bool = True) -> Faces:
        """Where the domain ends, as a set of points: every face between a point inside and a
        neighbour outside, along every axis that it is over, across the seam of a ring too.

        Args:
            ends: whether the ends of the grid that the domain reaches count, too.

        Raises:
            ValueError: a batch of domains, a domain without a wall, cells without edges.

        Example:
            >>> rod = bc.functionals.Domain(bc.Grid(x=[0.0, 1.0, 2.0]), [True, True, False])
            >>> walls = rod.faces()
            >>> print(walls.position["x"], walls.normal["x"])
            [0. 1.] [-1.  1.]
            >>> walls.neumann(order=1)(jnp.array([3.0, 5.0, 0.0])).tolist()  # outwards
            [-2.0, 2.0]
        """
        self._one()
        return faces_of(self.grid, self.over, self.inside, share=WALLS[self.wall], ends=ends)

    def _one(self) -> None:
        if self.batch_shape:
            raise RefusedValue(
                f"this is a batch of domains, of shape {self.batch_shape}, and a functional is of "
                "one. Make the members an axis of the grid, Grid(member=bc.axes.Index(n), ...), "
                "and of the inside; or state the plain integral of the masked field with a value "
                "for each member"
            )

    def _between(self, names: Sequence[str]) -> list[str]:
        """Those of the domain's axes along which values are at points with a rule between them."""
        bridges = {name: self.grid.along(name).bridges for name in self.over if name in names}
        return [name for name, widths in bridges.items() if widths is not None]

    def _weights(self, over, measure: Given, weight: Given) -> tuple[Factor, ...]:
        """What is given as a weight, and the share of each point that is inside."""
        self._one()
        names = (over,) if isinstance(over, str) else tuple(over)
        for name in names:
            self.grid.axis(name)
        measured = {n for f in factors("measure", measure, self.grid, names) for n in f.names}
        nodes = [n for n in self._between(names) if n not in measured and self.wall == "nodes"]
        share = _share(self, nodes)
        if (lost := self.inside & (share == 0)).any():
            raise RefusedValue(
                f"{int(lost.sum())} points inside, the first at {self._named(np.argwhere(lost)[0])}"
                f", are corners of no box whose nodes along {' and '.join(nodes)} are all inside, "
                "and with walls at nodes they would have no share in the total. Write "
                "Domain(..., wall='halfway'), or leave these points out of the inside"
            )
        edges = {name: _edge_share(self, nodes, name) for name in self._between(names)}
        own = Factor(self.over, constant(share), "the inside", edges)
        return (*factors("weight", weight, self.grid, names), own)

    def _named(self, place: np.ndarray) -> str:
        """Coordinates of a point, by its numbers along the domain's axes."""
        at = zip(self.over, place, strict=True)
        return f"({', '.join(f'{name}={self.grid[name][i]:.6g}' for name, i in at)})"


def _flags(inside, given: tuple[str, ...], grid: Grid) -> np.ndarray:
    """The inside as truth values over the axes given, a batch in front."""
    what = "the inside of a domain"
    points = tuple(grid[name] for name in given)
    values = numbers(what, inside, given, points)
    if not concrete(values):
        raise RefusedType(
            f"{what} shapes a program and cannot be traced; make the domain outside of jit and of "
            "the program"
        )
    flags = np.asarray(values)
    shape = tuple(len(p) for p in points)
    lead = flags.ndim - len(shape)
    if lead < 0 or flags.shape[lead:] != shape:
        raise RefusedValue(
            f"{what} must have shape {shape}, over {', '.join(given)}, with a batch in front or "
            f"not; got {flags.shape}"
        )
    if not np.isin(flags, (0, 1)).all():
        raise RefusedValue(
            f"{what} is true or false at a point, one or zero; got other numbers. Where shares of "
            "cells are given, write share > 0.5 for the inside, and the shares as a weight"
        )
    flags = flags.astype(bool)
    empty = ~flags.any(axis=tuple(range(lead, flags.ndim)))
    if empty.any():
        member = f" of member {np.argwhere(empty)[0].tolist()}" if lead else ""
        raise RefusedValue(f"the domain{member} is empty: no point is inside")
    return flags


def _share(domain: Domain, nodes: Sequence[str]) -> np.ndarray:
    """Share of the cell of each point, its trapezoid weight along some axes, that is inside."""
    weights = _box_weights(domain, nodes, nodes)
    return weights / _product(domain, {n: domain.grid.along(n).weights() for n in nodes})


def _edge_share(domain: Domain, nodes: Sequence[str], along: str) -> np.ndarray:
    """The same for the way between neighbours along an axis."""
    others = [name for name in nodes if name != along]
    weights = _box_weights(domain, [*others, along], others)
    whole = {n: domain.grid.along(n).weights() for n in others}
    return weights / _product(domain, {**whole, along: domain.grid.along(along).bridges})


def _box_weights(domain: Domain, nodes: Sequence[str], to: Sequence[str]) -> np.ndarray:
    """Sizes of the boxes between neighbours along some axes whose corners are all inside, halved
    between their ends along those of `to`: what the trapezoid rule gives each point.
    """
    boxes = domain.inside
    for name in nodes:
        axis, count = domain.over.index(name), len(domain.grid.along(name).bridges)
        boxes = (boxes & np.roll(boxes, -1, axis)).take(np.arange(count), axis)
    weights = boxes * _product(domain, {n: domain.grid.along(n).bridges for n in nodes})
    for name in to:
        axis = domain.over.index(name)
        missing = len(domain.grid[name]) - weights.shape[axis]  # one, but for a ring
        weights = np.pad(weights, [(0, missing if a == axis else 0) for a in range(weights.ndim)])
        weights = (weights + np.roll(weights, 1, axis)) / 2
    return weights


def _product(domain: Domain, rows: dict[str, np.ndarray]) -> np.ndarray:
    """Products of numbers along axes, over the domain's axes."""
    product = np.ones((1,) * len(domain.over))
    for name, row in rows.items():
        product = product * row.reshape([-1 if n == name else 1 for n in domain.over])
    return product
