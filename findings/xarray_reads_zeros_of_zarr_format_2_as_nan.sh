#!/usr/bin/env bash
# xarray 2026.9.0 with zarr 3.4.2: an array that zarr itself wrote in format 2, with nothing said about a
# fill value, carries `fill_value: 0`, and xarray takes that for `_FillValue`: every 0 in it is read as NaN,
# and integers become floats. Nothing warns. So it is with open_zarr, and with open_dataset(engine="zarr").
# The switch that the docstring of open_zarr names for it, use_zarr_fill_value_as_mask=False ("the fill_value
# is ignored and the data are not masked"), is dropped on the way to the store: it changes nothing, nor does
# True for format 3 (pydata/xarray issue 10269).
# Unharmed: format 3; format 2 made with fill_value=None; and what xarray wrote, which is NaN or null there.
# What helps: fill_value=None in zarr when the array is made; or, on reading, mask_and_scale=False, or a store
# opened by xarray.backends.ZarrStore.open_group with that same switch.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'xarray==2026.9.0' 'zarr==3.4.2' 'numcodecs==0.17.1' 'numpy==2.5.5'
cat > "$work/zeros.py" <<'PY'
import sys
import warnings
from pathlib import Path

import numpy as np
import xarray
import zarr
from xarray.backends import ZarrStore

warnings.simplefilter("error")
here = Path(sys.argv[1])
values = np.array([0.0, 1.0, 2.0, 0.0])


def by_zarr(name, form, dtype="f8", **said):
    """An array along x, written by zarr alone."""
    axis = {"attributes": {"_ARRAY_DIMENSIONS": ["x"]}} if form == 2 else {"dimension_names": ["x"]}
    group = zarr.open_group(here / name, mode="w", zarr_format=form)
    group.create_array("u", shape=values.shape, dtype=dtype, **axis, **said)[:] = values.astype(dtype)
    assert np.array_equal(zarr.open_array(here / name / "u", mode="r")[:], values)


def by_xarray(name, form, dtype="f8"):
    data = xarray.Dataset({"u": ("x", values.astype(dtype))})
    data.to_zarr(here / name, zarr_format=form, consolidated=False)


by_zarr("two", 2)
by_zarr("two, integers", 2, "i4")
by_zarr("two, fill_value=None", 2, fill_value=None)
by_zarr("three", 3)
by_xarray("two, by xarray", 2)
by_xarray("two, integers, by xarray", 2, "i4")


def read(name, **said):
    return xarray.open_zarr(here / name, consolidated=False, **said)


switch = {"use_zarr_fill_value_as_mask": False}
by_xarrays_hand = "two, by xarray", "two, integers, by xarray"
seen = {
    name: read(name)
    for name in ("two", "two, integers", "two, fill_value=None", "three", *by_xarrays_hand)
}
seen["two, open_dataset"] = xarray.open_dataset(here / "two", engine="zarr", consolidated=False)
seen["two, the switch off"] = read("two", **switch)
seen["two, open_dataset, the switch off"] = xarray.open_dataset(
    here / "two", engine="zarr", consolidated=False, **switch
)
seen["three, the switch on"] = read("three", use_zarr_fill_value_as_mask=True)
seen["two, mask_and_scale=False"] = read("two", mask_and_scale=False)
store = ZarrStore.open_group(here / "two", mode="r", consolidated=False, **switch)
seen["two, the switch off in the store"] = xarray.open_dataset(store)
for name, data in seen.items():
    print(f"xarray {xarray.__version__}, zarr {zarr.__version__}: format {name}: {data.u.dtype} {data.u.values}")
lost = {name for name, data in seen.items() if np.array_equal(np.isnan(data.u.values), values == 0)}
kept = {name for name, data in seen.items() if np.array_equal(data.u.values, values)}
assert lost | kept == set(seen), (lost, kept)
assert lost == {
    "two",
    "two, integers",
    "two, open_dataset",
    "two, the switch off",
    "two, open_dataset, the switch off",
}, lost
assert seen["two, integers"].u.dtype == float
PY
"$work/venv/bin/python" "$work/zeros.py" "$work"
# Seen on 2026-11-30:
# xarray 2026.9.0, zarr 3.4.2: format two: float64 [nan  1.  2. nan]
# xarray 2026.9.0, zarr 3.4.2: format two, integers: float64 [nan  1.  2. nan]
# xarray 2026.9.0, zarr 3.4.2: format two, fill_value=None: float64 [0. 1. 2. 0.]
# xarray 2026.9.0, zarr 3.4.2: format three: float64 [0. 1. 2. 0.]
# xarray 2026.9.0, zarr 3.4.2: format two, by xarray: float64 [0. 1. 2. 0.]
# xarray 2026.9.0, zarr 3.4.2: format two, integers, by xarray: int32 [0 1 2 0]
# xarray 2026.9.0, zarr 3.4.2: format two, open_dataset: float64 [nan  1.  2. nan]
# xarray 2026.9.0, zarr 3.4.2: format two, the switch off: float64 [nan  1.  2. nan]
# xarray 2026.9.0, zarr 3.4.2: format two, open_dataset, the switch off: float64 [nan  1.  2. nan]
# xarray 2026.9.0, zarr 3.4.2: format three, the switch on: float64 [0. 1. 2. 0.]
# xarray 2026.9.0, zarr 3.4.2: format two, mask_and_scale=False: float64 [0. 1. 2. 0.]
# xarray 2026.9.0, zarr 3.4.2: format two, the switch off in the store: float64 [0. 1. 2. 0.]
