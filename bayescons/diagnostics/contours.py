"""Contours: where a field over two axes crosses a threshold, and what the contour encloses.

A shock or a front in the plane is a curve, and neither its place nor the area that it encloses is
linear in the field: they are found draw by draw, all draws and all other axes (times) in one call.

All functions look at one interpolant, linear in the four triangles that the diagonals cut a cell
into (`bayescons.diagnostics.triangles`). A saddle cell, its diagonals on different sides of the
threshold, is joined across its centre by the side on which the mean of its corners lies. *Above* is
strictly above, so that a plateau at the threshold lies outside. This is what contourpy draws with
`quad_as_tri=True`; along a grid line it is `front_position`.

Values stand at the points of an axis. Around a `Ring` the last is joined to the first; averages
over `Cells` are taken for values in their middles, second order too, and hold as far as the walls
in the outer half of the outermost. An `Index` has no contours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bayescons import tracing
from bayescons.arrays import finite, numbers, one_of, real
from bayescons.axes import Cells, Index, Ring
from bayescons.diagnostics import crossings, triangles
from bayescons.diagnostics.crossings import ContourPosition
from bayescons.grids import Grid
from bayescons.refusals import RefusedValue

SIGNS = {"falling": 1.0, "rising": -1.0}
WHICH = ("first", "last", "only")


def enclosed_area(
    fields, grid: Grid, threshold: ArrayLike, *, axes: tuple[str, str] = ("y", "x")
) -> Array:
    """A = ∫∫ 1{u > u*} dy dx: the area where a field is above a threshold.

    Exact for the interpolant of this module: in a triangle whose corner P alone is above, with
    neighbours Q and R, the share above is `s t`, where `s = (u_P - u*) / (u_P - u_Q)` and t alike
    for R; where P alone is below it is `1 - s t`. So a straight front is exact, a smooth one is
    found to O(h²), and a jump to within the cells that it crosses. The domain ends the area where
    the contour leaves it. Differentiable in field and threshold where no node is at the threshold,
    by what `δA = ∮ δu / |∇u| ds` is for the interpolant, and of no use where it is flat there: a
    jump moves the area only as far as its cell.

    Args:
        fields: shape (*lead, *grid.shape), draws and chains leading; or a DataArray over the axes
            of the grid and any others, which then lead.
        grid: where the fields live.
        threshold: u*, a number in the unit of the field.
        axes: the two axes of the plane.

    Returns:
        Shape (*lead, *shape of the other axes), in units of one axis times the other, in the
        precision of the fields: 0 where nothing is above, the whole plane where all is, NaN where
        a field holds a NaN or an infinite value.

    Raises:
        ValueError: where fields do not match the grid, or axes are not two axes of it with two
            points each at least.

    Source: the areas that contourpy fills with `quad_as_tri=True`, which is tested.

    Example:
        >>> from bayescons.diagnostics import enclosed_area
        >>> grid = bc.Grid(t=[0.0, 1.0], y=[0.0, 1.0, 3.0], x=[0.0, 0.5, 2.0])
        >>> front = grid.mesh()["x"] + 0.25 * grid.mesh()["y"] - grid.mesh()["t"]
        >>> print(enclosed_area(jnp.asarray(front), grid, 0.5))
        [5.5   2.625]
    """
    above, heights, widths = _plane(fields, grid, threshold, axes)
    return triangles.area(above, heights, widths)


def contour_length(
    fields, grid: Grid, threshold: ArrayLike, *, axes: tuple[str, str] = ("y", "x")
) -> Array:
    """L = ∮ ds: the length of the contour u = u* inside the plane, all its pieces together.

    The sum of the straight pieces in the triangles of this module's interpolant: exact for a
    straight front, O(h²) for a smooth one. Edges of the domain do not count. Noise of the size of
    a cell makes a contour longer without end as the grid is refined: a rough field has an area and
    no length.

    Args:
        fields: as in `enclosed_area`.
        grid: where the fields live.
        threshold: u*, a number in the unit of the field.
        axes: the two axes of the plane, in one unit.

    Returns:
        Shape (*lead, *shape of the other axes), in the unit of the axes; 0 where there is no
        contour, NaN where a field holds a NaN or an infinite value.

    Raises:
        ValueError: as `enclosed_area`.

    Example:
        >>> from bayescons.diagnostics import contour_length
        >>> grid = bc.Grid(y=[0.0, 1.0, 3.0], x=[0.0, 2.0, 4.0])
        >>> slope = 3.0 * grid.mesh()["x"] - 4.0 * grid.mesh()["y"]
        >>> float(contour_length(jnp.asarray(slope), grid, 0.0))
        5.0
    """
    above, heights, widths = _plane(fields, grid, threshold, axes)
    return triangles.length(above, heights, widths)


def enclosed_centroid(
    fields, grid: Grid, threshold: ArrayLike, *, axes: tuple[str, str] = ("y", "x")
) -> Array:
    """(1/A) ∫∫ (y, x) 1{u > u*} dy dx: the centroid of the region above a threshold.

    Exact for the interpolant of this module, and O(h²) for a smooth field. Of several regions it is
    the centroid of all together, which may lie in none.

    Args:
        fields: as in `enclosed_area`.
        grid: where the fields live.
        threshold: u*, a number in the unit of the field.
        axes: the two axes of the plane.

    Returns:
        Shape (*lead, *shape of the other axes, 2), the last in the order of `axes` and each in the
        unit of its own; NaN where nothing is above, or a field holds a NaN or an infinite value.

    Raises:
        ValueError: as `enclosed_area`.

    Example:
        >>> from bayescons.diagnostics import enclosed_centroid
        >>> grid = bc.Grid(y=[0.0, 1.0, 4.0], x=[0.0, 1.0, 2.0])
        >>> left = 1.0 - grid.mesh()["x"] + 0.0 * grid.mesh()["y"]
        >>> print(enclosed_centroid(jnp.asarray(left), grid, 0.0))
        [2.  0.5]
    """
    above, heights, widths = _plane(fields, grid, threshold, axes)
    _refuse_rings(grid, axes, "a centroid")
    middle = np.array(
        [heights[[0, -1]].mean(), widths[[0, -1]].mean()]
    )  # small numbers cancel less
    offset = triangles.centroid(above, heights - middle[0], widths - middle[1])
    return offset + jnp.broadcast_to(jnp.asarray(middle, offset.dtype), offset.shape)


def contour_position(
    fields,
    grid: Grid,
    threshold: ArrayLike,
    *,
    along: str,
    which: Literal["first", "last", "only"] = "first",
    direction: Literal["falling", "rising"] = "falling",
) -> ContourPosition:
    """Where a contour crosses each grid line along one axis: the front as a graph over the others.

    `front_position` on every line, by the same formula, with the number of crossings beside it:
    where that is more than one, the contour is folded and no graph. `which` then says which of
    them is meant, or, "only", that none is.

    Args:
        fields: as in `enclosed_area`.
        grid: where the fields live.
        threshold: u*, a number in the unit of the field.
        along: the axis along which the contour is looked for; it is taken away.
        which: "first" or "last" as that axis goes up, or "only", NaN where there are several.
        direction: "falling" from above the threshold to at or below it; "rising" from below it to
            at or above it.

    Returns:
        Positions in the unit of the axis, NaN where there is none (or a line holds a NaN or an
        infinite value), and the number of crossings in that direction, 0 there. Both have shape
        (*lead, *shape of the other axes). Around a ring positions may lie up to one period above
        its first point.

    Raises:
        ValueError: where fields do not match the grid, `along` is no axis of it with two points at
            least, or for other words.

    Example:
        >>> from bayescons.diagnostics import contour_position
        >>> grid = bc.Grid(y=[0.0, 1.0], x=[0.0, 1.0, 2.0, 3.0])
        >>> fields = jnp.array([[1.0, -1.0, 1.0, -1.0], [3.0, 1.0, -1.0, -3.0]])
        >>> found = contour_position(fields, grid, 0.0, along="x")
        >>> print(found.position, found.crossings)
        [0.5 1.5] [2 1]
        >>> print(contour_position(fields, grid, 0.0, along="x", which="only").position)
        [nan 1.5]
    """
    above = _sign(direction, which) * _above(fields, grid, threshold)
    above, points = _noded(above, grid, along)
    lines = jnp.moveaxis(above, grid.axis(along) - len(grid), -1)
    return crossings.on_lines(lines, points.astype(above.dtype), tracing.Static(which))


def contour_radius(
    fields,
    grid: Grid,
    threshold: ArrayLike,
    *,
    centre: Mapping[str, ArrayLike],
    angles: ArrayLike | Sequence[ArrayLike],
    axes: tuple[str, str] = ("y", "x"),
    which: Literal["first", "last", "only"] = "first",
    direction: Literal["falling", "rising"] = "falling",
) -> ContourPosition:
    """How far a contour is from a centre along rays: the front around a spot, r(θ).

    A ray is the half-line `x = x_c + r cos θ`, `y = y_c + r sin θ` up to the edge of the domain.
    The interpolant of this module is linear between the places where the ray meets a grid line or
    a diagonal of a cell, and is looked at in all of these: the radius is exact for it. By default
    it is that of a spot that is above the threshold and falls below it.

    Args:
        fields: as in `enclosed_area`.
        grid: where the fields live.
        threshold: u*, a number in the unit of the field.
        centre: the coordinate of the centre for each of the two axes, known numbers inside the
            domain.
        angles: θ in radians, shape (n,), known numbers, from the second of `axes` towards the
            first.
        axes: the two axes of the plane, in one unit.
        which: as in `contour_position`, going outwards.
        direction: as in `contour_position`, going outwards.

    Returns:
        Radii in the unit of the axes and crossings as those of `contour_position`, of shape (*lead,
        *shape of the other axes, n). The rays are followed one after another: memory does not grow
        with their number.

    Raises:
        ValueError: as `enclosed_area`; for a centre that does not lie in the domain, and angles
            that are not finite or not one-dimensional.

    Example:
        >>> from bayescons.diagnostics import contour_radius
        >>> grid = bc.Grid(y=jnp.linspace(-1, 1, 5), x=jnp.linspace(-1, 1, 5))
        >>> cone = 1.0 - abs(grid.mesh()["x"]) - abs(grid.mesh()["y"])
        >>> at = {"y": 0.0, "x": 0.0}
        >>> found = contour_radius(cone, grid, 0.25, centre=at, angles=[0.0, jnp.pi / 4])
        >>> print(found.position.round(3))
        [0.75 0.53]
    """
    sign = _sign(direction, which)
    above, *lines = _plane(fields, grid, threshold, axes)
    _refuse_rings(grid, axes, "a radius")
    rounding = float(jnp.finfo(above.dtype).eps)
    places, radii = crossings.ray_points(
        _centre(centre, axes, lines), _angles(angles), lines, rounding
    )
    corners, weights = crossings.interpolation(places, lines)
    flat = sign * above.reshape(*above.shape[:-2], -1)
    weights, radii = weights.astype(above.dtype), radii.astype(above.dtype)
    return crossings.on_rays(flat, corners, weights, radii, tracing.Static(which))


def shaped(fields, grid: Grid) -> Array:
    """Fields whose trailing axes are those of the grid."""
    lead = tuple(name for name in getattr(fields, "dims", ()) if name not in grid)
    points = (*(None for _ in lead), *grid.values())
    fields = real("fields", numbers("fields", fields, (*lead, *grid.names), points))
    if fields.ndim < len(grid) or fields.shape[fields.ndim - len(grid) :] != grid.shape:
        raise RefusedValue(
            f"fields must have shape (*lead, {', '.join(map(str, grid.shape))}), draws first and "
            f"then the axes {grid.names}; got {fields.shape}. Reorder them, "
            "jnp.moveaxis(fields, ...), or build the grid of the axes that they have"
        )
    return fields


def _above(fields, grid: Grid, threshold: ArrayLike) -> Array:
    """The field minus u*."""
    if jnp.shape(threshold) != ():
        raise RefusedValue(
            f"threshold must be a number; got shape {jnp.shape(threshold)}. For a threshold that "
            "varies take it from the field, fields - thresholds, and write 0.0"
        )
    fields = shaped(fields, grid)
    return fields - jnp.asarray(threshold, fields.dtype)


def _plane(fields, grid: Grid, threshold: ArrayLike, axes) -> tuple[Array, np.ndarray, np.ndarray]:
    """The field minus u*, with the axes of the plane last, and their coordinates."""
    if isinstance(axes, str) or len(axes) != 2 or axes[0] == axes[1]:
        raise RefusedValue(f"axes must name two axes of the grid, as in ('y', 'x'); got {axes!r}")
    above = _above(fields, grid, threshold)
    above, heights = _noded(above, grid, axes[0])
    above, widths = _noded(above, grid, axes[1])
    places = [grid.axis(name) - len(grid) for name in axes]
    return jnp.moveaxis(above, places, (-2, -1)), heights, widths


def _noded(above: Array, grid: Grid, name: str) -> tuple[Array, np.ndarray]:
    """Values at nodes from one end of an axis to the other. Around a ring the first comes again as
    the last; an average stands in the middle of its cell, the outermost at their outer edges too.
    """
    axis, place = grid.along(name), grid.axis(name) - len(grid)
    order, points = np.arange(len(axis)), axis.points
    if isinstance(axis, Ring):
        order, points = np.append(order, 0), np.append(points, points[0] + axis.period)
    elif isinstance(axis, Cells):
        walls = [axis.end(side) for side in ("lower", "upper")]  # refused where they are not known
        middles = np.convolve(np.asarray(axis.edges), [0.5, 0.5], mode="valid")
        order, points = np.pad(order, 1, "edge"), np.array([walls[0], *middles, walls[1]])
    if isinstance(axis, Index) or len(points) < 2:
        raise RefusedValue(
            f"a contour is looked for along axes with two places or more; {name!r} has "
            f"{axis.told}. Name others: axes=('y', 'x')"
        )
    return (above if len(order) == len(axis) else jnp.take(above, order, axis=place)), points


def _refuse_rings(grid: Grid, axes: tuple[str, str], what: str) -> None:
    rings = [name for name in axes if isinstance(grid.along(name), Ring)]
    if rings:
        raise RefusedValue(
            f"{what} is that of a plane, and {rings[0]!r} is a ring. Cut it open where there is no "
            "contour: a grid of nodes, the field rolled to begin there"
        )


def _sign(direction: str, which: str) -> float:
    """What turns a crossing in that direction into one that falls."""
    one_of("direction", direction, tuple(SIGNS))
    one_of("crossing", which, WHICH)
    return SIGNS[direction]


def _angles(angles: ArrayLike | Sequence[ArrayLike]) -> np.ndarray:
    angles = np.asarray(finite("angles", numbers("angles", angles)), dtype=float)
    if angles.ndim != 1 or not angles.size:
        raise RefusedValue(
            f"angles must be one-dimensional, in radians; got shape {angles.shape}. Write "
            "np.linspace(0, 2 * np.pi, 16, endpoint=False)"
        )
    return angles


def _centre(centre: Mapping[str, ArrayLike], axes: tuple[str, str], lines) -> list[float]:
    if set(centre) != set(axes):
        raise RefusedValue(
            f"centre must have a coordinate for each of {tuple(axes)}, as in "
            f"{dict.fromkeys(axes, 0.5)}; got {dict(centre)}"
        )
    for name, points in zip(axes, lines, strict=True):
        if not points[0] <= centre[name] <= points[-1]:
            raise RefusedValue(
                f"the centre of the rays must lie in the domain, {name!r} in "
                f"[{points[0]:g}, {points[-1]:g}]; got {centre[name]:g}. Take a point of the grid"
            )
    return [float(np.asarray(centre[name])) for name in axes]
