#!/usr/bin/env bash
# py-pde 0.60.0: FileStorage(name, max_length=n) makes arrays of n frames at once and counts those written
# in the attribute `data_length` (a JSON text); the rest are zeros, at time 0. len(storage), indexing and
# items() stop at the count. What goes by `times` and `data` does not: those two themselves,
# extract_field and extract_time_range, which give frames of zeros that no run ever had, the last of
# them "at time 0"; extract_time_range() of everything gives nothing, because the last time is 0; and
# append(field) without a time counts on from that 0, so that two frames stand at time 1.
# A reader by h5py sees five frames where three were written. Without max_length all is as written.
# What helps: take the first len(storage) frames, or by h5py the first json.loads(attrs["data_length"]).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'py-pde==0.60.0' 'h5py==3.16.0' 'numpy==2.5.5'
cat > "$work/frames.py" <<'PY'
import json
import sys
from pathlib import Path

import h5py
import pde

here = Path(sys.argv[1])
grid = pde.UnitGrid([2])
pair = pde.FieldCollection([pde.ScalarField(grid, 1.0, label="a"), pde.ScalarField(grid, 1.0, label="b")])


def numbers(values):
    return [float(value) for value in values]


def looked_at(length):
    """What three frames, 1, 2 and 3 at times 1, 2 and 3, look like afterwards."""
    path = here / f"{length}.h5"
    with pde.FileStorage(path, max_length=length) as storage:
        storage.start_writing(pair)
        for time in 1.0, 2.0, 3.0:
            storage.append(pair * time, time)
        storage.end_writing()
    stored = pde.FileStorage(path, write_mode="readonly")
    seen = {
        "len": len(stored),
        "items()": [float(time) for time, _ in stored.items()],
        "times": numbers(stored.times),
        "extract_field": numbers(field.data[0] for field in stored.extract_field("a")),
        "extract_time_range((2, 9))": numbers(stored.extract_time_range((2, 9)).times),
        "extract_time_range()": numbers(stored.extract_time_range().times),
    }
    stored.close()
    with h5py.File(path) as file:
        count = json.loads(file.attrs["data_length"])
        seen["h5py"] = numbers(file["data"][:, 0, 0])
        seen["h5py, the first data_length"] = numbers(file["data"][:count, 0, 0])
    with pde.FileStorage(here / f"{length}, no times.h5", max_length=length) as storage:
        storage.start_writing(pair)
        for _ in range(3):
            storage.append(pair)
        seen["append(field) thrice"] = numbers(storage.times)[:3]
        storage.end_writing()
    return seen


grown, made = looked_at(None), looked_at(5)
for name in grown:
    print(f"py-pde {pde.__version__}: {name}: {grown[name]}; with max_length=5: {made[name]}")
three = [1.0, 2.0, 3.0]
assert grown == {
    "len": 3,
    "items()": three,
    "times": three,
    "extract_field": three,
    "extract_time_range((2, 9))": three[1:],
    "extract_time_range()": three,
    "h5py": three,
    "h5py, the first data_length": three,
    "append(field) thrice": [0.0, 1.0, 2.0],
}, grown
assert made == grown | {
    "times": [*three, 0.0, 0.0],
    "extract_field": [*three, 0.0, 0.0],
    "extract_time_range((2, 9))": [2.0, 3.0, 0.0, 0.0],
    "extract_time_range()": [],
    "h5py": [*three, 0.0, 0.0],
    "append(field) thrice": [0.0, 1.0, 1.0],
}, made
PY
"$work/venv/bin/python" "$work/frames.py" "$work"
# Seen on 2026-11-30:
# py-pde 0.60.0: len: 3; with max_length=5: 3
# py-pde 0.60.0: items(): [1.0, 2.0, 3.0]; with max_length=5: [1.0, 2.0, 3.0]
# py-pde 0.60.0: times: [1.0, 2.0, 3.0]; with max_length=5: [1.0, 2.0, 3.0, 0.0, 0.0]
# py-pde 0.60.0: extract_field: [1.0, 2.0, 3.0]; with max_length=5: [1.0, 2.0, 3.0, 0.0, 0.0]
# py-pde 0.60.0: extract_time_range((2, 9)): [2.0, 3.0]; with max_length=5: [2.0, 3.0, 0.0, 0.0]
# py-pde 0.60.0: extract_time_range(): [1.0, 2.0, 3.0]; with max_length=5: []
# py-pde 0.60.0: h5py: [1.0, 2.0, 3.0]; with max_length=5: [1.0, 2.0, 3.0, 0.0, 0.0]
# py-pde 0.60.0: h5py, the first data_length: [1.0, 2.0, 3.0]; with max_length=5: [1.0, 2.0, 3.0]
# py-pde 0.60.0: append(field) thrice: [0.0, 1.0, 2.0]; with max_length=5: [0.0, 1.0, 1.0]
