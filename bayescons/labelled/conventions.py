"""Conventions by which files of this field say what their arrays are: names of ensemble axes,
latitudes and longitudes, bounds and cell methods, cell measures, units.

Sources: CF Conventions 1.11 (sections 4.1, 4.2, 7.1, 7.2, 7.3), ECMWF and CMIP names of ensemble
axes, ArviZ's chain and draw.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

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
# Greatest values that measurements do not reach and that files have where nothing is known.
FILLS = (9.969209968386869e36, 1e20, 1e30, 1e36, 1e37, 1e18)
ODD_FILLS = (999.0, 9999.0, 99999.0, 32767.0, 32768.0)


def is_latitude(coordinate: Any) -> bool:
    """Whether a coordinate says that it is a latitude: by units or standard name."""
    units = str(coordinate.attrs.get("units", "")).lower().replace("_", "")
    return units in ("degreesnorth", "degreenorth", "degreen", "degreesn") or (
        coordinate.attrs.get("standard_name") == "latitude"
    )


def is_longitude(coordinate: Any) -> bool:
    """Whether a coordinate says that it is a longitude: by units or standard name."""
    units = str(coordinate.attrs.get("units", "")).lower().replace("_", "")
    return units in ("degreeseast", "degreeeast", "degreee", "degreese") or (
        coordinate.attrs.get("standard_name") == "longitude"
    )


def is_space(name: str, coordinate: Any) -> bool:
    """Whether an axis is one of space, or of the model's own time t."""
    known = name in SPACE or coordinate.attrs.get("axis") in ("X", "Y", "Z")
    return known or is_latitude(coordinate) or is_longitude(coordinate)


def bounds_name(dataset: Any, name: str) -> str | None:
    """Name of the bounds of the cells along an axis, where the file has them."""
    stated = [dataset[name].attrs.get("bounds"), dataset[name].encoding.get("bounds")]
    usual = [f"{name}_bnds", f"{name}_bounds"]
    return next((b for b in (*stated, *usual) if b is not None and b in dataset.variables), None)


def cell_method(variable: Any, name: str) -> str | None:
    """What `cell_methods` say of an axis: "mean", "point", ...; of the horizontal ones also under
    "area".
    """
    found: dict[str, str] = {}
    text = str(variable.attrs.get("cell_methods", ""))
    for names, method in re.findall(r"((?:\w+:\s*)+)(\w+)", text):
        found |= dict.fromkeys(re.findall(r"(\w+):", names), method)
    return found.get(name, found.get("area") if _horizontal(name) else None)


def _horizontal(name: str) -> bool:
    return name in ("x", "y", "lat", "lon", "latitude", "longitude", "i", "j", "nlat", "nlon")


def cell_measures(variable: Any) -> dict[str, str]:
    """What `cell_measures` name: {"area": "areacella"}."""
    text = variable.attrs.get("cell_measures", variable.encoding.get("cell_measures", ""))
    return dict(re.findall(r"(\w+):\s*(\w+)", str(text)))


def looks_like_fill(values: np.ndarray) -> float | None:
    """A number that stands for nothing known and was not declared so, or None.

    Such numbers are beyond what is measured, or one of the usual negative ones far below all other
    values.
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    low, high = float(known.min()), float(known.max())
    for extreme in (low, high):
        if any(np.isclose(abs(extreme), fill, rtol=1e-6) for fill in FILLS):
            return extreme
    others = known[known != low]
    odd = any(low == -fill for fill in ODD_FILLS)
    if odd and others.size and low < others.min() - 3 * max(np.ptp(others), 1e-300):
        return low
    return None
