#!/usr/bin/env bash
# xarray 2026.9.0: a variable with units "hours" (a lead time, CF's forecast_period) is read as plain numbers
# by open_dataset: what only has such units is no longer decoded to timedelta64 (the end of a deprecation,
# pydata/xarray pull request 11173), and nothing warns any more. What then goes wrong in silence is the valid
# time: datetime64 plus integers counts them in the unit of the datetime64, so that initial time + lead is
# 6 nanoseconds later instead of 6 hours. Selecting by a timedelta64 is a KeyError.
# The docstrings still say otherwise: open_dataset's, that decode_timedelta=None is "the same value of
# decode_times", which is on, and CFTimedeltaCoder's, that decode_via_units "Defaults to True".
# What xarray wrote from timedelta64 has the attribute dtype = "timedelta64[..]" and comes back as such.
# What helps: decode_timedelta=True, or xarray.coders.CFTimedeltaCoder(decode_via_units=True); decode_times=True,
# or that coder as it is made by default, do not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'xarray==2026.9.0' 'h5netcdf==1.8.2' 'h5py==3.16.0' 'numpy==2.5.5' 'pandas==3.1.1'
cat > "$work/lead.py" <<'PY'
import sys
import warnings
from pathlib import Path

import h5netcdf
import numpy as np
import xarray

warnings.simplefilter("error")
here = Path(sys.argv[1])
hours = np.array([0, 6, 12])
with h5netcdf.File(here / "forecast.nc", "w") as file:
    file.dimensions = {"lead": 3}
    lead = file.create_variable("lead", ("lead",), data=hours)
    lead.attrs["units"] = "hours"
    lead.attrs["standard_name"] = "forecast_period"
    file.create_variable("u", ("lead",), data=np.array([1.0, 2.0, 3.0]))
durations = hours.astype("timedelta64[h]").astype("timedelta64[ns]")
own = xarray.Dataset({"u": ("lead", [1.0, 2.0, 3.0])}, {"lead": durations})
own.to_netcdf(here / "own.nc", engine="h5netcdf")
with h5netcdf.File(here / "own.nc") as file:
    attributes = {name: str(file["lead"].attrs[name]) for name in ("dtype", "units")}

coder = xarray.coders.CFTimedeltaCoder
ways = {
    "as it is": {},
    "decode_times=True": {"decode_times": True},
    "CFTimedeltaCoder()": {"decode_timedelta": coder()},
    "decode_timedelta=True": {"decode_timedelta": True},
    "CFTimedeltaCoder(decode_via_units=True)": {"decode_timedelta": coder(decode_via_units=True)},
}
read = {name: xarray.open_dataset(here / "forecast.nc", engine="h5netcdf", **said) for name, said in ways.items()}
read["written by xarray"] = xarray.open_dataset(here / "own.nc", engine="h5netcdf")
start = np.datetime64("2026-01-01", "ns")
seen = {}
for name, data in read.items():
    valid = (xarray.DataArray(start) + data.lead).values[1]
    try:
        chosen = float(data.u.sel(lead=np.timedelta64(6, "h")))
    except KeyError:
        chosen = "KeyError"
    seen[name] = str(data.lead.dtype), str(valid - start), chosen
    print(f"xarray {xarray.__version__}, {name}: {data.lead.dtype}; the second is {valid}; at 6 h: {chosen}")
print("the attributes that xarray writes:", attributes)

plain = "int64", "6 nanoseconds", "KeyError"
decoded = "timedelta64[ns]", "21600000000000 nanoseconds", 2.0
assert seen == {
    "as it is": plain,
    "decode_times=True": plain,
    "CFTimedeltaCoder()": plain,
    "decode_timedelta=True": decoded,
    "CFTimedeltaCoder(decode_via_units=True)": decoded,
    "written by xarray": decoded,
}, seen
assert attributes == {"dtype": "timedelta64[ns]", "units": "hours"}
said = " ".join(xarray.open_dataset.__doc__.split())
assert "If None (default), assume the same value of ``decode_times``" in said
assert 'units attribute, e.g. "seconds". Defaults to True' in " ".join(coder.__doc__.split())
PY
"$work/venv/bin/python" "$work/lead.py" "$work"
# Seen on 2026-11-30:
# xarray 2026.9.0, as it is: int64; the second is 2026-01-01T00:00:00.000000006; at 6 h: KeyError
# xarray 2026.9.0, decode_times=True: int64; the second is 2026-01-01T00:00:00.000000006; at 6 h: KeyError
# xarray 2026.9.0, CFTimedeltaCoder(): int64; the second is 2026-01-01T00:00:00.000000006; at 6 h: KeyError
# xarray 2026.9.0, decode_timedelta=True: timedelta64[ns]; the second is 2026-01-01T06:00:00.000000000; at 6 h: 2.0
# xarray 2026.9.0, CFTimedeltaCoder(decode_via_units=True): timedelta64[ns]; the second is 2026-01-01T06:00:00.000000000; at 6 h: 2.0
# xarray 2026.9.0, written by xarray: timedelta64[ns]; the second is 2026-01-01T06:00:00.000000000; at 6 h: 2.0
# the attributes that xarray writes: {'dtype': 'timedelta64[ns]', 'units': 'hours'}
