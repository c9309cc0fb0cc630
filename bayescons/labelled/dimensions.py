"""Axes of a labelled array as axes of a grid: how the coordinates of a file are understood."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bayescons.axes import Axis, Cells, Index, Nodes, Ring
from bayescons.labelled.conventions import (
    angle,
    bounds_name,
    cell_method,
    is_latitude,
    is_longitude,
    text_of,
    units_of,
)
from bayescons.refusals import RefusedValue

UNITS = {"days": "D", "hours": "h", "minutes": "m", "seconds": "s"}
FINE = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}  # where a file has them
SHORT = {
    **{"d": "days", "h": "hours", "hr": "hours", "hrs": "hours", "min": "minutes"},
    **{"mins": "minutes", "s": "seconds", "sec": "seconds", "secs": "seconds"},
    **{"ms": "milliseconds", "msec": "milliseconds", "us": "microseconds", "ns": "nanoseconds"},
}
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
                f"the axis {name!r} has no numbers as coordinates to be a ring or cells; give it "
                f"some: ds.assign_coords({name}=centres)"
            )
        return Dimension(name, Index(size), False, None, "no coordinate")
    if not size:
        raise RefusedValue(f"the axis {name!r} of {variable.name!r} has no points at all")
    coordinate = dataset[name]
    points, units, how = _numbers(name, coordinate)
    descending = size > 1 and bool(points[0] > points[-1])
    order = slice(None, None, -1) if descending else slice(None)
    axis, told = _axis(dataset, variable, name, points[order], order, rings, cells)
    words = (how, _by_name(coordinate), told)
    return Dimension(name, axis, descending, units, "; ".join(filter(None, words)))


def _by_name(coordinate) -> str:
    """A word about latitudes and longitudes that do not say in which unit they are."""
    if angle(coordinate) is not None:
        return ""
    which = "latitude" if is_latitude(coordinate) else "longitude"
    known = is_latitude(coordinate) or is_longitude(coordinate)
    return f"taken for a {which} by its name" if known else ""


def _axis(dataset, variable, name, points, order, rings, cells) -> tuple[Axis, str]:
    method = cell_method(variable, name)
    bounds = bounds_name(dataset, name)
    if name in rings and name in cells:
        raise RefusedValue(f"the axis {name!r} is said to be a ring and to have cells; say one")
    if name in cells:
        return _cells(dataset, name, cells[name], points, order), "cells as stated"
    if name in rings:
        return _ring(name, points, rings[name]), "as stated"
    periodic = text_of(dataset[name].attrs, "periodic") in ("1", "true", "True")
    periodic = periodic and len(points) > 1
    if periodic and (bounds is None or _equal(points)):
        return Ring(points, _period(name, points)), "periodic, as the file says"
    if is_longitude(dataset[name]) and len(points) > 1:
        return _longitudes(name, points, dataset, bounds, order)
    if bounds is not None and method != "point":
        return _cells(dataset, name, dataset[bounds], points, order), f"bounds {bounds!r}"
    if method == "sum":
        raise RefusedValue(
            f"{variable.name!r} holds sums over cells along {name!r} (cell_methods), which are no "
            "averages to be multiplied by widths. Divide by the widths of the cells and say "
            f"'{name}: mean'"
        )
    if method == "mean" and len(points) > 1:
        if not _equal(points):
            raise RefusedValue(
                f"{variable.name!r} holds averages over cells along {name!r} (cell_methods), "
                "spaced unequally and without bounds, so that their widths are not known. State "
                f"their bounds: --cells {name}=NAME, or cells={{{name!r}: bounds}}"
            )
        return _around(points, _pole(dataset[name])), f"cell_methods, {method}; equal spacings"
    return Nodes(points, name), _half_a_step(
        name, points
    ) if method != "point" else "cell_methods, point"


def _half_a_step(name: str, points: np.ndarray) -> str:
    """A word where points of which the file says nothing lie as centres of cells from 0 would."""
    if len(points) < 3 or not _equal(points):
        return ""
    step = np.diff(points).mean()
    if abs(points[0] - step / 2) > EQUAL * step:
        return ""
    return (
        "taken for values at points, which lie as centres of cells from 0 would: where they are "
        f"averages, totals and walls are others, and --cells {name}=EDGES says so"
    )


def _longitudes(name, points, dataset, bounds, order) -> tuple[Axis, str]:
    """All around, or a part."""
    period = 2 * np.pi if angle(dataset[name]) == "radians" else 360.0
    step = np.diff(points).mean()
    around = abs(step * len(points) - period) < min(EQUAL * len(points), 0.5) * step
    if around and _equal(points):
        return Ring(points, period), "longitudes all around"
    if np.ptp(points) >= period * (1 - 1e-6):
        raise RefusedValue(
            f"the longitudes {name!r} reach all around and hold one meridian twice, {points[0]:g} "
            f"and {points[-1]:g}: it would count twice. Leave the last out, "
            f"ds.isel({name}=slice(0, -1))"
        )
    if bounds is not None:
        return _cells(dataset, name, dataset[bounds], points, order), f"bounds {bounds!r}"
    gaps = np.diff(points)
    if gaps.max() > min(period / 2, 5 * np.median(gaps)):
        before, after = points[np.argmax(gaps)], points[np.argmax(gaps) + 1]
        raise RefusedValue(
            f"the longitudes {name!r} leave a gap from {before:g} to {after:g}, as where a region "
            "reaches across the end of the range and was sorted. Let them go on across it, as in "
            f"178, 180, 182, or state their cells: --cells {name}=NAME"
        )
    return _around(points), "longitudes of a part, cells halfway between points"


def _around(points: np.ndarray, pole: float = np.inf) -> Cells:
    """Cells that reach halfway to the next points, at the ends as far beyond, not across a pole."""
    inner = (points[1:] + points[:-1]) / 2
    ends = [max(2 * points[0] - inner[0], -pole)], [min(2 * points[-1] - inner[-1], pole)]
    return Cells(np.concatenate([ends[0], inner, ends[1]]), points=points)


def _pole(coordinate) -> float:
    """The greatest latitude; infinity for all else."""
    if not is_latitude(coordinate):
        return np.inf
    return np.pi / 2 if angle(coordinate) == "radians" else 90.0


def _cells(dataset, name: str, given, points: np.ndarray, order: slice) -> Cells:
    """Cells by their bounds, a pair for each point, or by their edges, in the unit of the axis."""
    what = f"the cells of {name!r}"
    if getattr(given, "ndim", 0) == 2 and name in getattr(given, "dims", ()):
        given = given.transpose(name, ...)
    values = _plain_numbers(what, given, dataset[name])
    size = len(points)
    if values.shape not in ((size, 2), (size + 1,)):
        raise RefusedValue(
            f"{what} must be bounds of shape ({size}, 2) or edges of shape ({size + 1},); got shape"
            f" {values.shape}"
        )
    if not np.isfinite(values).all():
        raise RefusedValue(f"{what} hold NaN or infinite numbers; give all of them, or leave out")
    turned = values.ndim == 2 or values[0] > values[-1]
    return Cells(
        values[order if values.ndim == 2 else slice(None, None, -1 if turned else 1)], points=points
    )


def _plain_numbers(what: str, given, coordinate) -> np.ndarray:
    """Numbers on the scale of a coordinate: dates where that holds dates, numbers otherwise."""
    values = np.asarray(given)
    dates = [v.dtype.kind in "mM" or _dated(v) for v in (values, np.asarray(coordinate))]
    if dates[0] != dates[1]:
        words = ["dates or spans of time" if d else f"{values.dtype}" for d in dates]
        raise RefusedValue(
            f"{what} are given as {words[0]}, and its coordinate holds "
            f"{'dates' if dates[1] else 'numbers'}. Give both as the same"
        )
    if values.dtype.kind not in "iufmM" and not dates[0]:
        raise RefusedValue(f"{what} must be numbers; they are {values.dtype}")
    return _numbers(what, given if dates[0] else values, coordinate)[0]


def _ring(name: str, points: np.ndarray, period) -> Ring:
    if period is None:
        return Ring(points, _period(name, points))
    if isinstance(period, bool) or not isinstance(period, int | float | np.number):
        raise RefusedValue(
            f"the period of the ring {name!r} must be a number, or None for as many equal steps as "
            f"there are points; got {period!r}"
        )
    return Ring(points, period)


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
    known = UNITS | FINE
    if values.dtype.kind == "m":
        unit = _unit(origin)
        return values / np.timedelta64(1, known[unit]), unit, f"spans of time in {unit}"
    if values.dtype.kind == "M":
        unit, first = _unit(origin), np.asarray(origin).ravel().min()
        told = f"{unit} since {np.datetime_as_string(first, unit='s')}"
        return (values - first) / np.timedelta64(1, known[unit]), unit, told
    if values.dtype.kind == "O" and _dated(coordinate):
        import cftime

        first = np.asarray(origin).ravel().min()
        told = f"days since {first.isoformat()}"
        numbers = cftime.date2num(values, told.replace("T", " "), calendar=first.calendar)
        return np.asarray(numbers, float), "days", f"{told}, calendar {first.calendar}"
    if values.dtype.kind not in "iuf":
        raise RefusedValue(f"the coordinate {name!r} holds {values.dtype} and no numbers")
    units = units_of(coordinate) if hasattr(coordinate, "attrs") else None
    return values.astype(float), units and units.partition(" since ")[0], ""


def _unit(coordinate) -> str:
    """The unit that the file has for a time; otherwise the greatest of which all steps are one or
    more.
    """
    values = np.asarray(coordinate)
    stated = (text_of(coordinate.encoding, "units") or "").strip().lower().partition(" ")[0]
    stated = SHORT.get(stated, stated if stated.endswith("s") else f"{stated}s")
    if stated in UNITS | FINE:
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
