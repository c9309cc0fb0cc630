"""One array of an HDF5 file, read when it is asked for, and what its attributes say."""

from __future__ import annotations

import h5py
import numpy as np

from bayescons.labelled.lazy import NUMBERS, Stored

# Attributes by which HDF5 and NetCDF 4 keep the names of axes, which are no one else's.
OWN = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS"}
OWN |= {"_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties"}


def numbers(one: h5py.Dataset) -> Stored | str:
    """Where an array lies, or why it is not read."""
    text = h5py.check_string_dtype(one.dtype)
    if one.shape is None:
        return "it is empty"
    if text is not None:
        return Stored(one.shape, np.dtype(object), lambda key: np.asarray(one.asstr()[key], object))
    if one.dtype.kind not in NUMBERS or one.dtype.kind == "S":
        return f"it holds {one.dtype}, neither numbers nor text"
    return Stored(one.shape, one.dtype, lambda key: np.asarray(one[key]))


def attributes(thing: h5py.Dataset | h5py.Group) -> dict[str, object]:
    """Attributes as text, numbers and arrays of them; without those of the format's own."""
    found = {}
    for name in thing.attrs:
        value = None if name in OWN else _attribute(thing.attrs[name])
        if value is not None:
            found[name] = value
    return found


def _attribute(value: object) -> object:
    """An attribute as text, a number or an array of numbers; None for what is none of them."""
    if isinstance(value, bytes | np.bytes_):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        text = value.dtype.kind in "OSU" and all(isinstance(v, str | bytes) for v in value.flat)
        texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value.flat]
        return texts if text else (value if value.dtype.kind in "biuf" else None)
    return value if isinstance(value, str | int | float) else None
