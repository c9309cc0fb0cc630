"""Measures: how much a cell counts in a total - its area on a sphere or a curvilinear mesh, its
thickness, the share of it that is wet - as arrays over any of the axes of a grid.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from bayescons.arrays import concrete, constant, finite, numbers
from bayescons.axes import Cells, Ring
from bayescons.grids import Grid
from bayescons.refusals import RefusedValue

# What a person may give: an array, a list, an xarray.DataArray, or a mapping from names of axes to
# these; `factors` says what it understands.
Given = Any


class Factor(NamedTuple):
    """One factor of a measure.

    Attributes:
        names: of its axes, in the order of the grid.
        values: over these.
        what: in words.
        edges: by axis, values between neighbours along it, where they are no means of the
            neighbours'.
    """

    names: tuple[str, ...]
    values: np.ndarray
    what: str = "a weight"
    edges: Mapping[str, np.ndarray] = MappingProxyType({})

    def between(self, name: str, count: int):
        """Between neighbours along an axis; as many as there are on a ring."""
        if name in self.edges:
            return self.edges[name]
        axis, values = self.names.index(name), self.values
        around = np if isinstance(values, np.ndarray) else jnp
        means = (values + around.roll(values, -1, axis)) / 2
        whole = count == values.shape[axis]
        return means if whole else around.take(means, np.arange(count), axis)


def factors(what: str, given: Given, grid: Grid, over: Sequence[str]) -> list[Factor]:
    """The factors of a measure or a weight, each over axes of a grid in the grid's order.

    Args:
        what: "measure" or "weight", for messages.
        given: an array over the axes of `over`, in their order, or over all axes of the grid; an
            xarray.DataArray, whose axes are told by their names; or a mapping from names of axes,
            "lat,lon" or ("lat", "lon"), to arrays over these, whose product counts. Factors are
            taken as they are.
        grid: where the field lives.
        over: axes that are integrated over.

    Raises:
        ValueError: an array whose axes cannot be told, or of another shape; NaN; negative measures.
    """
    if given is None:
        return []
    if isinstance(given, tuple) and given and isinstance(given[0], Factor):
        return list(given)
    items = given.items() if isinstance(given, Mapping) else [(None, given)]
    return [_factor(what, names, array, grid, over) for names, array in items]


def _factor(what: str, names, array, grid: Grid, over: Sequence[str]) -> Factor:
    labelled = getattr(sys.modules.get("xarray"), "DataArray", None)
    if names is None and labelled is not None and isinstance(array, labelled):
        names = array.dims
    if isinstance(names, str):
        names = tuple(name.strip() for name in names.split(","))
    shape = np.shape(array)
    sizes = dict(zip(grid.names, grid.shape, strict=True))
    if names is None:
        fitting = [axes for axes in (tuple(over), grid.names) if _shape(axes, sizes) == shape]
        if not fitting:
            raise RefusedValue(
                f"the {what} has shape {shape}; expected one number for each point of "
                f"{', '.join(map(repr, over))}, {_shape(over, sizes)}, or of the grid, "
                f"{grid.shape}. Over other axes give their names: {what}={{'lat,lon': areas}}"
            )
        names = fitting[0]
    unknown = [name for name in names if name not in sizes]
    if unknown:
        raise RefusedValue(
            f"the {what} is over the axis {unknown[0]!r}; the grid has "
            f"{', '.join(map(repr, grid.names))}"
        )
    told = f"the {what} over {', '.join(names)}"
    if shape != _shape(names, sizes):
        raise RefusedValue(f"{told} must have shape {_shape(names, sizes)}; got {shape}")
    values = finite(told, numbers(told, array, names, tuple(grid[n] for n in names)))
    values = np.array(values, np.float64) if concrete(values) else jnp.asarray(values)
    if concrete(values) and what == "measure" and (values < 0).any():
        raise RefusedValue(
            f"{told} has negative entries, the smallest {values.min():g}; areas, volumes and "
            "masses are zero or more"
        )
    ordered = tuple(name for name in grid.names if name in names)
    values = values.transpose([names.index(name) for name in ordered])
    values = constant(values) if concrete(values) else values
    return Factor(ordered, values, f"a {what} over {' and '.join(ordered)}")


def _shape(names: Sequence[str], sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sizes[name] for name in names)


def broadcast(factor: Factor, names: Sequence[str]):
    """The values of a factor, with axes of length one for those that it is not over."""
    shape = iter(factor.values.shape)
    return factor.values.reshape([next(shape) if n in factor.names else 1 for n in names])


def spherical_area(
    grid: Grid, lat: str = "lat", lon: str = "lon", radius: float = 1.0, *, degrees: bool = True
) -> dict[str, np.ndarray]:
    """Areas of the cells of a latitude-longitude grid, R² Δλ Δ(sin φ), as a measure for `integral`
    and `average`: exact for averages over cells.

    Where the axes hold `Cells`, these are the cells. Where they hold points, a latitude's cell
    reaches half the way to its neighbours and at the ends to as far beyond, but not across a pole,
    which is an edge; and longitudes must be a `Ring`, or there is no telling whether the last cell
    reaches back to the first.

    Args:
        grid: with both axes.
        lat: name of the latitudes.
        lon: name of the longitudes.
        radius: R, in the unit of length that areas shall have; 6.371e6 for metres on the Earth.
        degrees: whether coordinates are in degrees; otherwise in radians.

    Returns:
        {lat: R² Δ(sin φ), lon: Δλ}, whose product is the area.

    Raises:
        ValueError: latitudes beyond the poles, or longitudes that are nodes or span more than once
            around.

    Example:
        >>> lat, lon = (
        ...     bc.axes.Cells(np.linspace(-90, 90, 5)),
        ...     bc.axes.Ring([0.0, 120.0, 240.0], 360.0),
        ... )
        >>> grid = bc.Grid(lat=lat, lon=lon)
        >>> area = bc.functionals.spherical_area(grid)
        >>> total = bc.integral(grid, ("lat", "lon"), measure=area)
        >>> round(float(total(jnp.ones(grid.shape))) / np.pi, 12)
        4.0
    """
    unit, pole = (math.pi / 180, 90.0) if degrees else (1.0, math.pi / 2)
    along = grid.along(lat)
    edges = along.edges if isinstance(along, Cells) else _halfway(along.points, pole)
    reach = np.abs(along.points if edges is None else [*along.points, *edges]).max()
    if edges is None or reach > pole * (1 + 1e-9):
        raise RefusedValue(
            f"latitudes {lat!r} must lie within [-{pole:g}, {pole:g}], and their cells be known by "
            f"edges; got {along.told}. Say degrees=False for radians"
        )
    around = grid.along(lon)
    if not isinstance(around, Ring | Cells):
        raise RefusedValue(
            f"longitudes {lon!r} are nodes from {around.points[0]:g} to {around.points[-1]:g}, "
            "and whether the last cell reaches back to the first is not known. Build the grid with "
            f"{lon}=bc.axes.Ring(points, {4 * pole:g}), or bc.axes.Cells(edges) for a part"
        )
    widths = around.weights() * unit
    if widths.sum() > 2 * math.pi * (1 + 1e-9):
        raise RefusedValue(
            f"longitudes {lon!r} span {widths.sum() / unit:g}, more than once around. Say "
            "degrees=False for radians, or give the right period"
        )
    sines = np.sin(np.clip(edges, -pole, pole) * unit)
    return {lat: constant(radius**2 * np.diff(sines)), lon: constant(widths)}


def _halfway(points: np.ndarray, pole: float) -> np.ndarray:
    """Edges halfway between points, at the ends as far beyond, but at most at the pole."""
    if len(points) < 2:
        raise RefusedValue(
            "one latitude has no neighbours to tell its cell from; give it edges: bc.axes.Cells"
        )
    inner = (points[1:] + points[:-1]) / 2
    ends = 2 * points[0] - inner[0], 2 * points[-1] - inner[-1]
    return np.concatenate([[max(ends[0], -pole)], inner, [min(ends[1], pole)]])


def shell_volume(grid: Grid, r: str = "r", dimensions: int = 3) -> dict[str, np.ndarray]:
    """Volumes of the shells of a radial grid, (4 π / 3) (r_outer³ - r_inner³) of a sphere, π
    (r_outer² - r_inner²) of a disc or per length of a cylinder, as a measure for `integral` and
    `average`: exact for averages over shells.

    Args:
        grid: with the axis, which holds `Cells`.
        r: name of the axis of radii.
        dimensions: 3 for spheres, 2 for discs and cylinders.

    Raises:
        ValueError: radii that are no cells, or below zero.

    Example:
        >>> grid = bc.Grid(r=bc.axes.Cells([0.0, 0.5, 1.0]))
        >>> total = bc.integral(grid, "r", measure=bc.functionals.shell_volume(grid))
        >>> round(float(total(jnp.ones(2))) * 3 / np.pi, 12)
        4.0
    """
    along = grid.along(r)
    if dimensions not in (2, 3):
        raise RefusedValue(f"shells are those of 2 or 3 dimensions; got {dimensions!r}")
    if not isinstance(along, Cells) or along.edges is None or along.edges[0] < 0:
        raise RefusedValue(
            f"radii {r!r} must be cells from zero or more outwards; got {along.told}. Write "
            f"{r}=bc.axes.Cells(edges). For values at nodes integrate with weight=2 * np.pi * r or "
            "4 * np.pi * r**2"
        )
    ball = math.pi if dimensions == 2 else 4 * math.pi / 3
    return {r: constant(ball * np.diff(along.edges**dimensions))}
