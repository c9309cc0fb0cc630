"""Stored numbers into what they stand for: scale and offset, fill values, dates, by the CF
conventions as xarray reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import xarray


def decoded(raw: xarray.Dataset) -> xarray.Dataset:
    """A dataset with values in place of stored numbers; still read when they are asked for.

    Times that cannot be read as dates stay the numbers they are, with their units. What is
    understood is in `encoding`, everything else in `attrs`.
    """
    times = dict.fromkeys(_undecodable(raw), False)
    found = xarray.decode_cf(raw, decode_times=times)
    found.encoding = dict(raw.encoding)
    return found


def without_guessed_masks(raw: xarray.Dataset, attributes: Mapping[str, Mapping]) -> xarray.Dataset:
    """A Zarr 2 dataset in which 0 is a number.

    Zarr fills chunks that were never written, mostly with 0; xarray takes that for the mark of
    missing values and makes NaN of every 0. Only where the file says so itself is that meant: by an
    attribute `_FillValue`, or by packed numbers.

    Args:
        raw: the dataset, not decoded.
        attributes: name -> the attributes that the file itself has.
    """
    for name, variable in raw.variables.items():
        said = "_FillValue" in attributes.get(str(name), {}) or "scale_factor" in variable.attrs
        fill = variable.attrs.get("_FillValue")
        if not said and variable.dtype.kind in "iuf" and fill is not None and not fill:
            del variable.attrs["_FillValue"]
    return raw


def _undecodable(raw: xarray.Dataset) -> Iterator[str]:
    """Names of times that are no dates to xarray, and of their bounds."""
    for name, variable in raw.variables.items():
        units = variable.attrs.get("units")
        if not isinstance(units, str) or "since" not in units:
            continue
        try:
            xarray.decode_cf(xarray.Dataset({name: variable}))
        except (ValueError, OverflowError, TypeError, ImportError):
            yield str(name)
            yield from (b for b in [variable.attrs.get("bounds")] if isinstance(b, str))
