"""Axes of a labelled array as axes of a grid: how the coordinates of a file are understood."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bayescons.axes import Axis, Cells, Index, Nodes, Ring
from bayescons.labelled.conventions import (
    bounds_name,
    cell_method,
    is_latitude,
    is_longitude,
)
from bayescons.refusals import RefusedValue

UNITS = {"days": "D", "hours": "h", "minutes": "m", "seconds": "s"}
EQUAL = 1e-4  # of a spacing, by which equal spacings in single precision differ
EARTH = 6.371e6  # metres


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One axis of the grid, as a file has it.

    Attributes:
        name: of the dimension.
        axis: what it is.
        descending: whether the file has it in descending order.
        units: of its coordinate; None where nobody has said.
        how: in words, what told.
    """

    name: str
    axis: Axis
    descending: bool
    units: str | None
    how: str

    def told(self) -> str:
        """One line about it."""
        order = ", in descending order in the file" if self.descending else ""
        unit = f" {self.units}" if self.units else ""
        return f"{self.name}: {self.axis.told}{unit}{order}{f' ({self.how})' if self.how else ''}"


def dimension(
    dataset: Any,
    variable: Any,
    name: str,
    *,
    rings: Mapping[str, float | None] = {},
    cells: Mapping[str, Any] = {},
) -> Dimension:
    """What an axis of a variable is.

    Args:
        dataset: with its coordinate and bounds.
        variable: whose `cell_methods` tell averages from values at points.
        name: of the axis.
        rings: axes that close on themselves, with their period, or None for as many equal steps as
            there are points.
        cells: bounds of cells, or their edges, by axis.

    Raises:
        ValueError: for what is not clear; says how to state it.
    """
    size = variable.sizes[name]
    if not _numbered(dataset, name):
        if name in cells or name in rings:
            raise RefusedValue(
                f"the axis {name!r} has no numbers as coordinates to be a ring or cells"
            )
        return Dimension(name, Index(size), False, None, "no coordinate")
    coordinate = dataset[name]
    points, units, how = _numbers(name, coordinate)
    descending = size > 1 and bool(points[0] > points[-1])
    order = slice(None, None, -1) if descending else slice(None)
    axis, told = _axis(dataset, variable, name, points[order], order, rings, cells)
    return Dimension(name, axis, descending, units, "; ".join(filter(None, (how, told))))


def _axis(dataset, variable, name, points, order, rings, cells) -> tuple[Axis, str]:
    method = cell_method(variable, name)
    bounds = bounds_name(dataset, name)
    if name in rings and name in cells:
        raise RefusedValue(f"the axis {name!r} is said to be a ring and to have cells; say one")
    if name in cells:
        edges = np.asarray(cells[name], float)
        edges = edges[order] if edges.ndim == 2 or edges[0] > edges[-1] else edges
        return Cells(edges, points=_middle(points, edges)), "cells as stated"
    if name in rings:
        period = rings[name] if rings[name] is not None else _period(name, points)
        return Ring(points, period), "as stated"
    if is_longitude(dataset[name]) and len(points) > 1:
        return _longitudes(name, points, dataset, bounds, order)
    if bounds is not None and method != "point":
        edges = _numbers(bounds, dataset[bounds], dataset[name])[0][order]
        return Cells(edges, points=_middle(points, edges)), f"bounds {bounds!r}"
    if method in ("mean", "sum") and len(points) > 1:
        if not _equal(points):
            raise RefusedValue(
                f"{variable.name!r} holds averages over cells along {name!r} (cell_methods), "
                "spaced unequally and without bounds, so that their widths are not known. State "
                f"their bounds: --cells {name}=NAME, or cells={{{name!r}: bounds}}"
            )
        return _around(points), f"cell_methods, {method}; equal spacings"
    return Nodes(points, name), "" if bounds is None else "cell_methods, point"


def _longitudes(name, points, dataset, bounds, order) -> tuple[Axis, str]:
    """All around, or a part."""
    period = 2 * np.pi if "rad" in str(dataset[name].attrs.get("units", "")) else 360.0
    step = np.diff(points).mean()
    around = abs(step * len(points) - period) < EQUAL * len(points) * step
    if around and _equal(points):
        return Ring(points, period), "longitudes all around"
    if np.ptp(points) >= period * (1 - 1e-6):
        raise RefusedValue(
            f"the longitudes {name!r} reach all around and hold one meridian twice, {points[0]:g} "
            f"and {points[-1]:g}: it would count twice. Leave the last out, "
            f"ds.isel({name}=slice(0, -1))"
        )
    if bounds is not None:
        edges = np.asarray(dataset[bounds], float)[order]
        return Cells(edges, points=_middle(points, edges)), f"bounds {bounds!r}"
    return _around(points), "longitudes of a part, cells halfway between points"


def _around(points: np.ndarray) -> Cells:
    inner = (points[1:] + points[:-1]) / 2
    ends = [2 * points[0] - inner[0]], [2 * points[-1] - inner[-1]]
    return Cells(np.concatenate([ends[0], inner, ends[1]]), points=points)


def _middle(points: np.ndarray, edges: np.ndarray) -> np.ndarray | None:
    """The coordinates, where they lie in their cells."""
    if edges.ndim == 2:
        edges = np.sort(edges, axis=1)
        return points if (points >= edges[:, 0]).all() and (points <= edges[:, 1]).all() else None
    inside = len(edges) == len(points) + 1
    inside = inside and (points >= edges[:-1]).all() and (points <= edges[1:]).all()
    return points if inside else None


def _equal(points: np.ndarray) -> bool:
    gaps = np.diff(points)
    return bool(np.ptp(gaps) <= EQUAL * np.abs(gaps).max())


def _period(name: str, points: np.ndarray) -> float:
    if len(points) < 2 or not _equal(points):
        raise RefusedValue(
            f"the ring {name!r} is spaced unequally, so its period is not known. State it: --ring "
            f"{name}=PERIOD, or rings={{{name!r}: period}}"
        )
    return float(np.diff(points).mean() * len(points))


def _dated(coordinate) -> bool:
    """Whether a coordinate holds dates of a calendar (cftime)."""
    values = np.asarray(coordinate).ravel()
    some = values.dtype == object and values.size > 0
    return some and type(values[0]).__module__.startswith("cftime")


def _numbered(dataset, name: str) -> bool:
    """Whether an axis has coordinates that are numbers, or dates."""
    known = name in dataset.coords
    return known and (dataset[name].dtype.kind not in "USO" or _dated(dataset[name]))


def _numbers(name: str, coordinate, like=None) -> tuple[np.ndarray, str | None, str]:
    """Coordinates as numbers, their unit, and how dates became so."""
    values = np.asarray(coordinate)
    origin = coordinate if like is None else like
    if values.dtype.kind == "m":
        unit = _unit(origin, values)
        return values / np.timedelta64(1, UNITS[unit]), unit, f"spans of time in {unit}"
    if values.dtype.kind == "M":
        unit, first = _unit(origin, values), np.asarray(origin).ravel().min()
        told = f"{unit} since {np.datetime_as_string(first, unit='s')}"
        return (values - first) / np.timedelta64(1, UNITS[unit]), unit, told
    if values.dtype.kind == "O" and _dated(coordinate):
        import cftime

        first = np.asarray(origin).ravel().min()
        told = f"days since {first.isoformat()}"
        numbers = cftime.date2num(values, told.replace("T", " "), calendar=first.calendar)
        return np.asarray(numbers, float), "days", f"{told}, calendar {first.calendar}"
    if values.dtype.kind not in "iuf":
        raise RefusedValue(f"the coordinate {name!r} holds {values.dtype} and no numbers")
    return values.astype(float), coordinate.attrs.get("units"), ""


def _unit(coordinate, values: np.ndarray) -> str:
    """The unit that the file has for a time; otherwise the greatest of which all steps are one or
    more.
    """
    stated = str(coordinate.encoding.get("units", "")).split(" ")[0]
    if stated in UNITS:
        return stated
    steps = np.abs(np.diff(np.sort(values.ravel())))
    steps = steps[steps > np.timedelta64(0, "ns")]
    least = steps.min() if steps.size else np.timedelta64(1, "D")
    fitting = (u for u, code in UNITS.items() if least >= np.timedelta64(1, code))
    return next(fitting, "seconds")


def is_sphere(dataset: Any, names: tuple[str, ...]) -> tuple[str, str] | None:
    """The latitude and the longitude among some axes, where both are there."""
    known = [name for name in names if name in dataset.coords]
    lat = [name for name in known if is_latitude(dataset[name])]
    lon = [name for name in known if is_longitude(dataset[name])]
    return (lat[0], lon[0]) if lat and lon else None
