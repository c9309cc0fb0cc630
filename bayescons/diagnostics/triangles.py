"""Triangles: the piecewise linear field that contours are found in, cut at a threshold.

A cell of two axes is cut by its diagonals into four triangles that meet in its centre, where the
value is the mean of the four corners', and the field is linear in each: continuous, affine fields
exactly, and second order in the spacing for smooth ones. The line of a threshold parts a triangle
into a corner that is alone on its side and the rest; area, moment and length of each follow from
the shares of two sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bayescons import tracing

AROUND = ((-1, -1), (-1, 1), (1, 1), (1, -1))  # corners about a cell's centre, in half widths
AT_ONCE = 2**18  # points of the planes that are looked at side by side


@tracing.compiled
def area(above: Array, heights, widths) -> Array:
    """Of what is above zero in planes (..., ny, nx), between points `heights` and `widths`."""
    return _each_plane(lambda plane: _summed(_shares(plane), heights, widths), above)


@tracing.compiled
def length(above: Array, heights, widths) -> Array:
    """Of the line at zero."""

    def one(plane: Array) -> Array:
        halves = [size / 2 for size in _sizes(plane, heights, widths)]
        pieces = jnp.zeros((), plane.dtype)
        for cut, at_a, at_b in _triangles(plane):
            across = [
                half * (cut.s * one - cut.t * other)
                for half, a, b in zip(halves, at_a, at_b, strict=True)
                for _, one, other in [cut.sides(a, b)]
            ]
            square = sum(side**2 for side in across)
            # a root has no slope at zero, where the line only touches a corner
            pieces += jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
        return pieces.sum(-1).sum(-1)

    return _each_plane(one, above)


@tracing.compiled
def centroid(above: Array, heights, widths) -> Array:
    """Of what is above zero, shape (..., 2); NaN where that is nothing."""

    def one(plane: Array) -> Array:
        shares, whole = _shares(plane), _summed(_shares(plane), heights, widths)
        moments = []
        for axis, size in enumerate(_sizes(plane, heights, widths)):
            points = jnp.asarray((heights, widths)[axis], plane.dtype)
            middles = jnp.expand_dims((points[1:] + points[:-1]) / 2, 1 - axis)
            inside = sum(_moment(cut, a[axis], b[axis]) for cut, a, b in _triangles(plane)) / 4
            moments.append(_summed(shares * middles + inside * size / 2, heights, widths))
        empty = whole <= 0
        return jnp.where(empty, jnp.nan, jnp.stack(moments) / jnp.where(empty, 1.0, whole))

    return _each_plane(one, above)


class Cut(NamedTuple):
    """How the threshold cuts a triangle: shares `s`, `t` of two sides, from the corner that is
    alone on its side of the threshold (which: `first`, `second`, or neither) to its neighbours;
    `most`, whether most corners are above.
    """

    s: Array
    t: Array
    most: Array
    first: Array
    second: Array

    @property
    def share(self) -> Array:
        """Of the triangle, above."""
        return jnp.where(self.most, 1 - self.s * self.t, self.s * self.t)

    def sides(self, a: int, b: int) -> tuple[Array, Array, Array]:
        """One coordinate of the corner that is alone, and of the sides to the neighbours, for
        corners at a, b and 0.
        """
        corner = jnp.where(self.first, a, jnp.where(self.second, b, 0.0))
        one = jnp.where(self.first, b, a)
        other = jnp.where(self.first | self.second, 0.0, b)
        corner, one, other = (x.astype(self.s.dtype) for x in (corner, one, other))
        return corner, one - corner, other - corner


def _each_plane(function: Callable, above: Array) -> Array:
    """A function of one plane, of a few at a time: memory does not grow with their number, in
    gradients neither. NaN where a plane holds a number that is none or not finite.
    """

    @jax.checkpoint
    def known(plane: Array) -> Array:
        return jnp.where(jnp.isfinite(plane).all(), function(plane), jnp.nan)

    planes = above.reshape(-1, *above.shape[-2:])
    some = min(max(AT_ONCE // (above.shape[-2] * above.shape[-1]), 1), max(len(planes), 1))
    found = jax.lax.map(known, planes, batch_size=some)
    return found.reshape(*above.shape[:-2], *found.shape[1:])


def _sizes(plane: Array, heights, widths) -> list[Array]:
    """Heights (ny - 1, 1) and widths (1, nx - 1) of the cells."""
    points = [jnp.asarray(points, plane.dtype) for points in (heights, widths)]
    return [jnp.expand_dims(jnp.diff(p), 1 - axis) for axis, p in enumerate(points)]


def _summed(cells: Array, heights, widths) -> Array:
    """Σ_ji h_j w_i cells_ji, one axis after the other: sums of few numbers round less."""
    height, width = _sizes(cells, heights, widths)
    return ((cells * width).sum(-1) * height[:, 0]).sum(-1)


def _shares(plane: Array) -> Array:
    """Of each cell, above zero."""
    shares = [cut.share for cut, *_ in _triangles(plane)]
    return (shares[0] + shares[1] + shares[2] + shares[3]) / 4


def _cut(a: Array, b: Array, c: Array) -> Cut:
    """A triangle with these values at its corners, the threshold taken away."""
    above_a, above_b, above_c = a > 0, b > 0, c > 0
    first = (above_b == above_c) & (above_a != above_b)
    second = (above_a == above_c) & (above_a != above_b)
    cut = first | second | ((above_a == above_b) & (above_a != above_c))
    alone = jnp.where(first, a, jnp.where(second, b, c))
    one = jnp.where(first, b, a)
    other = jnp.where(first | second, c, b)
    # on different sides of zero, or not used: never divided by nothing
    s, t = (
        jnp.where(cut, alone / jnp.where(cut, alone - value, 1.0), 0.0) for value in (one, other)
    )
    most = (above_a & above_b) | (above_c & (above_a | above_b))
    return Cut(s, t, most, first, second)


def _triangles(above: Array) -> list[tuple[Cut, tuple, tuple]]:
    """The four triangles of each cell, with the places of their two outer corners; the third is
    the centre.
    """
    corners = [above[..., :-1, :-1], above[..., :-1, 1:], above[..., 1:, 1:], above[..., 1:, :-1]]
    centre = (corners[0] + corners[1] + corners[2] + corners[3]) / 4
    sides = zip(corners, corners[1:] + corners[:1], AROUND, AROUND[1:] + AROUND[:1], strict=True)
    return [(_cut(a, b, centre), at_a, at_b) for a, b, at_a, at_b in sides]


def _moment(cut: Cut, a: int, b: int) -> Array:
    """One coordinate from the centre of the cell, integrated over what is above of a triangle, in
    half widths and shares of the triangle.
    """
    corner, one, other = cut.sides(a, b)
    small = cut.s * cut.t * (corner + (cut.s * one + cut.t * other) / 3)
    return jnp.where(cut.most, (a + b) / 3 - small, small)
