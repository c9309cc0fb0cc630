"""Conventions by which files of this field say what their arrays are: names of ensemble axes,
latitudes and longitudes, bounds and cell methods, cell measures, units.

Sources: CF Conventions 1.11 (sections 4.1, 4.2, 7.1, 7.2, 7.3), ECMWF and CMIP names of ensemble
axes, ArviZ's chain and draw.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from bayescons.refusals import RefusedValue

MEMBERS = (
    "number",
    "realization",
    "member",
    "members",
    "ensemble",
    "ensemble_member",
    "ens",
    "sample",
    "draw",
    "chain",
)
# Axes along which predictions are told apart rather than tied together.
TIMES = ("time", "init_time", "prediction_timedelta", "lead_time", "step", "valid_time")
SPACE = (
    *(
        "x",
        "y",
        "z",
        "t",
        "r",
        "i",
        "j",
        "k",
        "lat",
        "lon",
        "latitude",
        "longitude",
        "rlat",
        "rlon",
    ),
    *("nlat", "nlon", "xt", "yt", "zt", "lev", "level", "levels", "depth", "height", "altitude"),
    *("cell", "cells", "ncells", "nCells"),
)
DEGREES, RADIANS = ("degrees", "degree", "deg", "degs", "°"), ("radians", "radian", "rad")
POLES = {"lat": ("latitude", ("n", "north")), "lon": ("longitude", ("e", "east"))}
NAMES = {"lat": ("lat", "latitude", "rlat"), "lon": ("lon", "longitude", "rlon")}


def text_of(attributes: Mapping, name: str) -> str | None:
    """An attribute as text; None where there is none. Files hold numbers, bytes and lists too."""
    found = attributes.get(name)
    if found is None:
        return None
    if isinstance(found, bytes):
        return _decoded(found)
    some = np.asarray(found)
    return str(some.ravel()[0]) if some.size == 1 and some.dtype.kind != "O" else str(found)


def units_of(array: Any) -> str | None:
    """The units of a labelled array: text, bytes, one of these in a list, or the number 1; None
    where there are none.

    Raises:
        RefusedValue: anything else, of which nobody can say what it means.
    """
    given = array.attrs.get("units")
    some = np.asarray([] if given is None else given, dtype=None).ravel()
    if not some.size:
        return None
    one = some[0] if some.size == 1 else None
    if isinstance(one, bytes):
        return _decoded(one)
    if isinstance(one, str):
        return _decoded(one.encode("utf-8", "surrogateescape"))
    if some.dtype.kind in "iuf" and one == 1:
        return "1"
    name = getattr(array, "name", None)
    raise RefusedValue(
        f"the units of {name!r} are {given!r:.100}, and no text. Write them, "
        f"ds[{name!r}].attrs['units'] = 'm', or leave them out: del ds[{name!r}].attrs['units']"
    )


def _decoded(text: bytes) -> str:
    """Text of a file: UTF-8, or Latin 1, in which older files have "°C"."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def is_latitude(coordinate: Any) -> bool:
    """Whether a coordinate says that it is a latitude, also of a rotated pole: by units, standard
    name, or its own name where its units are those of an angle or not stated.
    """
    return _is_angle_of("lat", coordinate)


def is_longitude(coordinate: Any) -> bool:
    """Whether a coordinate says that it is a longitude, as `is_latitude`."""
    return _is_angle_of("lon", coordinate)


def _is_angle_of(which: str, coordinate: Any) -> bool:
    word, ends = POLES[which]
    units = _plain(units_of(coordinate))
    if any(units == f"{degree}{end}" for degree in DEGREES for end in ends):
        return True
    names = (text_of(coordinate.attrs, name) for name in ("standard_name", "long_name"))
    said = {name.lower() for name in names if name}
    known = bool(said & {word, f"grid_{word}"}) or str(coordinate.name).lower() in NAMES[which]
    return known and units in (*DEGREES, *RADIANS, "", "1")


def angle(coordinate: Any) -> str | None:
    """In what a coordinate is by its units, "degrees" or "radians"; None where they say neither, as
    of a temperature.
    """
    units = _plain(units_of(coordinate))
    if units in RADIANS:
        return "radians"
    ends = ("", "true", *(end for _, several in POLES.values() for end in several))
    known = {f"{degree}{end}" for degree in DEGREES for end in ends}
    return "degrees" if units in known | {"angulardegree", "arcdegree"} else None


def _plain(units: str | None) -> str:
    return (units or "").lower().replace("_", "").replace(" ", "")


def is_space(name: str, coordinate: Any) -> bool:
    """Whether an axis is one of space, or of the model's own time t."""
    known = name in SPACE or text_of(coordinate.attrs, "axis") in ("X", "Y", "Z")
    return known or is_latitude(coordinate) or is_longitude(coordinate)


def bounds_name(dataset: Any, name: str) -> str | None:
    """Name of the bounds of the cells along an axis, where the file has them."""
    coordinate = dataset[name]
    stated = [text_of(said, "bounds") for said in (coordinate.attrs, coordinate.encoding)]
    usual = [f"{name}_bnds", f"{name}_bounds"]
    return next((b for b in (*stated, *usual) if b is not None and b in dataset.variables), None)


def cell_method(variable: Any, name: str) -> str | None:
    """What `cell_methods` say of an axis: "mean", "point", ...; of the horizontal ones also under
    "area".
    """
    found: dict[str, str] = {}
    text = text_of(variable.attrs, "cell_methods") or ""
    for names, method in re.findall(r"((?:\w+\s*:\s*)+)(\w+)", text):
        found |= dict.fromkeys(re.findall(r"(\w+)\s*:", names), method.lower())
    return found.get(name, found.get("area") if _horizontal(name) else None)


def _horizontal(name: str) -> bool:
    return name in ("x", "y", "lat", "lon", "latitude", "longitude", "i", "j", "nlat", "nlon")


def cell_measures(variable: Any) -> dict[str, str]:
    """What `cell_measures` name: {"area": "areacella"}."""
    text = text_of({**variable.encoding, **variable.attrs}, "cell_measures") or ""
    return dict(re.findall(r"(\w+)\s*:\s*(\w+)", text))
