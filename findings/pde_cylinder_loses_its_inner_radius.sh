#!/usr/bin/env bash
# py-pde 0.60.0: CylindricalSymGrid takes an inner and an outer radius, but its `state` keeps the outer
# one alone. The JSON of a hollow cylinder is that of a full one, so the grid that FileStorage, or
# FieldBase.from_file, makes of what they wrote is another: other cell centres, another volume, another
# integral of the same numbers (between radii 1 and 2, 37.7 for 28.3), without a word. grid.copy() gives
# the full cylinder too; pickling keeps the hole, and so do PolarSymGrid and SphericalSymGrid.
# What helps: keep grid.axes_bounds beside the file (the `info` of a storage takes it) and make the grid of that.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'py-pde==0.60.0' 'h5py==3.16.0' 'numpy==2.5.5'
cat > "$work/cylinder.py" <<'PY'
import math
import pickle
import sys
from pathlib import Path

import pde
from pde.fields.base import FieldBase
from pde.grids.base import GridBase

here = Path(sys.argv[1])
grid = pde.CylindricalSymGrid((1, 2), (0, 3), (4, 6))
ones = pde.ScalarField(grid, 1.0)
print(f"py-pde {pde.__version__}: the state of a cylinder between radii 1 and 2: {grid.state_serialized}")

with pde.FileStorage(here / "run.h5", info={"bounds": grid.axes_bounds}) as storage:
    storage.start_writing(ones)
    storage.append(ones, 0.0)
    storage.end_writing()
ones.to_file(here / "field.h5")
stored = pde.FileStorage(here / "run.h5", write_mode="readonly")
integrals = {
    "as it was made": ones.integral,
    "out of a storage": stored[0].integral,
    "out of a file of one field": FieldBase.from_file(here / "field.h5").integral,
}
for where, integral in integrals.items():
    print(f"integral of 1, {where}: {integral:.4f}")
radii = {
    "made": grid.axes_coords[0].tolist(),
    "stored": stored.grid.axes_coords[0].tolist(),
}
print("radii of the cells:", radii)
grids = {
    "from its state": GridBase.from_state(grid.state_serialized),
    "grid.copy()": grid.copy(),
    "pickled": pickle.loads(pickle.dumps(grid)),
}
bounds = {name: tuple(other.axes_bounds[0]) for name, other in grids.items()}
print("radii it lies between:", bounds)

hollow, full = math.pi * (4 - 1) * 3, math.pi * 4 * 3
assert math.isclose(integrals["as it was made"], hollow)
assert math.isclose(integrals["out of a storage"], full)
assert math.isclose(integrals["out of a file of one field"], full)
assert radii == {"made": [1.125, 1.375, 1.625, 1.875], "stored": [0.25, 0.75, 1.25, 1.75]}
assert bounds == {"from its state": (0, 2), "grid.copy()": (0, 2), "pickled": (1, 2)}
for other in pde.PolarSymGrid((1, 2), 4), pde.SphericalSymGrid((1, 2), 4):
    assert GridBase.from_state(other.state_serialized) == other
remade = pde.CylindricalSymGrid(*stored.info["bounds"], stored.grid.shape)
assert math.isclose(pde.ScalarField(remade, stored.data[0]).integral, hollow)
PY
"$work/venv/bin/python" "$work/cylinder.py" "$work"
# Seen on 2026-11-30:
# py-pde 0.60.0: the state of a cylinder between radii 1 and 2: {"radius": 2, "bounds_z": [0, 3], "shape": [4, 6], "periodic_z": false, "class": "CylindricalSymGrid"}
# integral of 1, as it was made: 28.2743
# integral of 1, out of a storage: 37.6991
# integral of 1, out of a file of one field: 37.6991
# radii of the cells: {'made': [1.125, 1.375, 1.625, 1.875], 'stored': [0.25, 0.75, 1.25, 1.75]}
# radii it lies between: {'from its state': (0, 2.0), 'grid.copy()': (0, 2.0), 'pickled': (1, 2)}
