"""Files of solvers that nobody here wrote: is their total read as the solver means it, and does
stating it help?

Five solvers run as they are, in an environment of their own: the ocean model veros (its shipped
circumpolar setup, 30 days), FiPy (finite volumes, each cell 15 % wider than the one before),
py-pde (shells of a hollow sphere), exponax (Burgers on a ring, spectral) and the generator of
PDEBench (advection on a ring; its configuration is written here, as the package leaves it out).
Each says its total in its own way: veros by the sum of its tracer monitor, FiPy by its cell average
times its volumes, py-pde by `integral`, exponax by the zeroth Fourier coefficient, PDEBench by its
cells of width (xR - xL) / nx. veros, py-pde and PDEBench write their files themselves; FiPy and
exponax have no format for them, so that their arrays are written with xarray, those of FiPy with
the faces of its mesh as `x_bnds`.

A belief has the solver's field for its mean and, everywhere, 5 % of the standard deviation of that
field over all its values for its own. It is conditioned on the solver's totals by
`bc.labelled.condition`.

* `off`: by how much the total that is read differs from the solver's, at most, as a share of the
  largest total.
* `mean moves`: by how much the solver's own field is changed, at most, as a share of its largest
  value. It knows its total already, so that nothing may change. (PDEBench's is single precision, to
  which the result is rounded again.)
* `RMSE`: of the mean with noise of the belief's standard deviation added, before and after.
  With equal standard deviations a right total never raises it, and lowers it by a share of about
  1 / (2 n), n points to a total: little where one number is stated of an ocean.

`As it comes` is the same without any option, and without the guard that stops at laws that cannot
be meant: "refused" and "warned" say what it does otherwise, "silent" that it says nothing.
What options are for: a snapshot of veros holds areas and thicknesses, but nothing in it says that
temperature is measured by them, and its `zt` are not the middle of their cells (a note points at
`dzt`); py-pde says that its grid is a sphere, so that `--weights` with its own `cell_volumes` is a
check; nothing in arrays of exponax says that their axis closes on itself.

The solvers are fetched from the package index, which needs the network: this is no experiment of
`python -m experiments` and runs in no test. The page is made again from its rows as all others are.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import tyro
import xarray
from matplotlib.figure import Figure
from tyro.conf import arg

import bayescons as bc
from bayescons.cli.terminal import say, working
from bayescons.labelled.files import opened
from bayescons.labelled.positions import named
from bayescons.results.files import whole_file
from experiments.results_page import page
from experiments.rows import Row, provenance, to_json
from experiments.tables import LEFT_OUT, Table, against_targets, compact, left_out

NAME = "real_files"
SHARE = 0.05  # standard deviation of the belief, as a share of that of the field
EXACT, LOWER = "≤ 1e-12", "≥ 1e-12"
OFF, MOVES, BEFORE, AFTER = "off", "mean moves", "RMSE before", "RMSE after"
METRICS = OFF, MOVES, BEFORE, AFTER
OPTIONS, PLAIN = "with options", "as it comes"
SOLVERS = {
    "veros": "1.7.0",
    "fipy": "4.0.3",
    "py-pde": "0.60.0",
    "exponax": "0.2.0",
    "pdebench": "0.1.0",
}
# What they run on. pdebench asks for Python below 3.11 and PyTorch 1.13, of which its generators of
# advection need neither: it is installed without what it asks for.
BESIDE = {
    "numpy": "2.5.3",
    "jax": "0.12.0.1",
    "h5py": "3.16.0",
    "h5netcdf": "1.8.1",
    "xarray": "2026.9.0",
    "hydra-core": "1.3.8",
}
ALONE = ("pdebench",)
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
FIGURES: dict[str, str] = {}

# Each writes its file and `totals.json` into the folder in which it runs.
PROGRAMS = {
    "veros": """
import json
from veros import runtime_settings, veros_routine
runtime_settings.backend, runtime_settings.float_type = "numpy", "float64"
from veros.setups.acc.acc import ACCSetup
totals, columns = [], []

class Acc(ACCSetup):
    @veros_routine
    def set_diagnostics(self, state):
        for name in [*state.diagnostics]:
            if name not in ("snapshot", "tracer_monitor"):
                del state.diagnostics[name]
        for one in state.diagnostics.values():
            one.output_frequency = 10 * 86400.0
        monitor = state.diagnostics["tracer_monitor"]
        tell = monitor.output
        def output(state):
            tell(state)
            v, inner = state.variables, slice(2, -2)
            totals.append(float(monitor.variables.tempm1))
            heat = v.temp[inner, inner, :, v.tau] * v.maskT[inner, inner] * v.dzt
            columns.append(heat.sum(axis=-1).T.tolist())
        monitor.output = output

acc = Acc(override={"runlen": 30 * 86400.0})
acc.setup()
acc.run(show_progress_bar=False)
json.dump({"total": totals, "columns": columns}, open("totals.json", "w"))
""",
    "fipy": """
import json
import numpy, xarray
from fipy import CellVariable, DiffusionTerm, Grid1D, TransientTerm
mesh = Grid1D(dx=0.05 * 1.15 ** numpy.arange(24))
x, faces = mesh.cellCenters.value[0], mesh.faceCenters.value[0]
phi = CellVariable(mesh=mesh, value=numpy.exp(-0.5 * ((x - 1) / 0.4) ** 2))
def total():
    return float(phi.cellVolumeAverage.value) * float(mesh.cellVolumes.sum())
times, fields, totals = [0.0], [phi.value.copy()], [total()]
for _ in range(20):
    (TransientTerm() == DiffusionTerm(coeff=0.5)).solve(var=phi, dt=0.05)
    times.append(times[-1] + 0.05)
    fields.append(phi.value.copy())
    totals.append(total())
bounds = numpy.stack([faces[:-1], faces[1:]], axis=1)
arrays = {"phi": (("t", "x"), fields), "x_bnds": (("x", "nv"), bounds)}
xarray.Dataset(arrays, {"t": times, "x": x}).to_netcdf("fipy.nc", engine="h5netcdf")
json.dump({"total": totals}, open("totals.json", "w"))
""",
    "py-pde": """
import json
import pde, xarray
grid = pde.SphericalSymGrid((0.5, 2), 24)
field = pde.ScalarField.from_expression(grid, "1 + exp(-(r - 1)**2 / 0.1)")
storage = pde.FileStorage("spheres.h5", write_mode="truncate")
pde.DiffusionPDE(0.3).solve(field, t_range=1, dt=1e-3, tracker=[storage.tracker(0.25)])
storage.close()
stored = pde.FileStorage("spheres.h5", write_mode="readonly")
json.dump({"total": [float(one.integral) for one in stored]}, open("totals.json", "w"))
volume = xarray.Dataset({"volume": ("r", grid.cell_volumes)}, {"r": grid.axes_coords[0]})
volume.to_netcdf("volumes.nc", engine="h5netcdf")
""",
    "exponax": """
import json
import jax
jax.config.update("jax_enable_x64", True)
import exponax, numpy, xarray
length, points, step = 2 * numpy.pi, 128, 0.01
x = exponax.make_grid(1, length, points)
start = 1 + jax.numpy.sin(x) + 0.5 * jax.numpy.cos(2 * x)
burgers = exponax.stepper.Burgers(1, length, points, step, diffusivity=0.05)
fields = exponax.rollout(burgers, 100, include_init=True)(start)[::10]
zeroth = [exponax.fft(one)[0, 0] for one in fields]
json.dump({"total": [float(c.real) * length / points for c in zeroth]}, open("totals.json", "w"))
arrays = {"u": (("t", "x"), numpy.asarray(fields[:, 0]))}
coordinates = {"t": 10 * step * numpy.arange(len(fields)), "x": numpy.asarray(x[0])}
xarray.Dataset(arrays, coordinates).to_netcdf("ring.nc", engine="h5netcdf")
""",
    "pdebench": """
import json, pathlib, shutil, subprocess, sys
import h5py, pdebench
source = pathlib.Path(pdebench.__path__[0]) / "data_gen" / "data_gen_NLE"
here = pathlib.Path("data_gen_NLE")
shutil.copytree(source, here)
equation, nx = here / "AdvectionEq", 128
for folder in (equation / "config", here / "config", here / "save"):
    folder.mkdir()
(equation / "config" / "config.yaml").write_text(
    "multi: {save: ../save/, dt_save: 0.05, ini_time: 0.0, fin_time: 2.0, nx: %d, xL: 0.0, "
    "xR: 1.0, beta: 0.4, if_rand_param: false, numbers: 4, CFL: 0.4, if_second_order: 1.0, "
    "show_steps: 100, init_key: 2022, if_show: 1}" % nx
)
(here / "config" / "config.yaml").write_text(
    "args: {type: advection, dim: 1, savedir: ./save, bd: periodic, nbatch: 4}"
)
quiet = ["hydra.run.dir=.", "hydra.output_subdir=null"]
run = [sys.executable, "advection_multi_solution_Hydra.py", "--config-name", "config", *quiet]
subprocess.run(run, cwd=equation, check=True)
subprocess.run([sys.executable, "Data_Merge.py", *quiet], cwd=here, check=True)
shutil.copy(next((here / "save").glob("*.hdf5")), "advection.hdf5")
with h5py.File("advection.hdf5") as file:
    totals = file["tensor"][:].astype(float).sum(axis=-1) * (1.0 - 0.0) / nx
json.dump({"total": totals.tolist()}, open("totals.json", "w"))
""",
}


class Case(NamedTuple):
    """A total of a solver's file, and what must be said for it to be read as the solver means it.

    Attributes:
        solver: a key of `PROGRAMS`.
        law: what is stated, in words.
        file: that holds the field.
        field: name of the array.
        over: axes of the total.
        left: axes of its values.
        total: its name in `totals.json`.
        weights: measures, as after --weights.
        rings: axes, as after --ring.
    """

    solver: str
    law: str
    file: str
    field: str
    over: str
    left: tuple[str, ...]
    total: str = "total"
    weights: tuple[str, ...] = ()
    rings: tuple[str, ...] = ()

    @property
    def options(self) -> str:
        """As they are typed."""
        given = [("--weights", name) for name in self.weights]
        return " ".join(f"{o} {name}" for o, name in [*given, *(("--ring", n) for n in self.rings)])


CASES = (
    Case(
        "veros",
        "heat of the ocean at each time",
        "acc.snapshot.nc",
        "temp",
        "zt,yt,xt",
        ("Time",),
        weights=("area_t", "dzt"),
    ),
    Case(
        "veros",
        "heat of each column at each time",
        "acc.snapshot.nc",
        "temp",
        "zt",
        ("Time", "yt", "xt"),
        "columns",
        weights=("dzt",),
    ),
    Case("fipy", "total at each time", "fipy.nc", "phi", "x", ("t",)),
    Case(
        "py-pde",
        "total of the shells at each time",
        "spheres.h5",
        "data",
        "r",
        ("t",),
        weights=("volumes.nc:volume",),
    ),
    Case("exponax", "total at each time", "ring.nc", "u", "x", ("t",), rings=("x",)),
    Case(
        "pdebench",
        "total of each sample at each time",
        "advection.hdf5",
        "tensor",
        "x",
        ("batch_0", "batch_1", "t"),
    ),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is run.

    Attributes:
        cases: totals.
        environment: folder of the virtual environment of the solvers, made there if it is missing;
            None for a temporary one.
    """

    cases: tuple[Case, ...] = CASES
    environment: Path | None = None


SETTINGS = {"paper": Settings()}


class Outcome(NamedTuple):
    """What conditioning made of a file: by how much its total was off, how far the right mean was
    moved, errors of a noisy one before and after, and what was said.
    """

    off: float
    moved: float
    before: float
    after: float
    said: str


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """A row for each case and number, and one for each solver that could not be run."""
    found = []
    with _folder(settings.environment) as place, tempfile.TemporaryDirectory() as work:
        reasons = _installed(place)
        for solver in dict.fromkeys(case.solver for case in settings.cases):
            folder = Path(work) / solver
            reason = reasons.get(solver) or _run(place, solver, folder)
            for i, case in enumerate(settings.cases):
                if case.solver == solver and not reason:
                    found += _measured(case, folder, jax.random.fold_in(key, i))
                elif case.solver == solver:
                    found.append(
                        Row(_problem(case), case.law, "", LEFT_OUT, math.nan, n=0, note=reason)
                    )
    return [*found, *_worst(found)]


def tables(rows: Sequence[Row]) -> list[Table]:
    """What is read with the options and without, and the targets."""
    at = {(row.problem, row.parameter, row.method, row.metric): row for row in rows}
    cells = []
    for problem, law in dict.fromkeys((r.problem, r.parameter) for r in rows if r.method == PLAIN):
        known = [at[problem, law, OPTIONS, metric] for metric in (OFF, MOVES, BEFORE, AFTER)]
        plain = [at[problem, law, PLAIN, metric] for metric in (OFF, AFTER)]
        options = f"`{known[0].note}`" if known[0].note else "none"
        numbers = [_digits(row) for row in (*known, *plain)]
        cells.append((problem, law, options, *numbers, plain[0].note))
    plainly = (f"{OFF}, {PLAIN}", f"{AFTER}, {PLAIN}", "which is")
    columns = ("solver", "stated", "options", OFF, MOVES, BEFORE, AFTER, *plainly)
    return [
        Table("Totals of solvers", columns, tuple(cells), 3),
        against_targets("Against the targets", rows),
        *left_out(rows),
    ]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """None."""
    del settings, key, rows
    return {}


def _digits(row: Row) -> str:
    """A number; an error of the mean with as many digits as tell it from that before."""
    return compact(row.mean, 6 if row.metric in (BEFORE, AFTER) else 3)


def _problem(case: Case) -> str:
    return f"{case.solver} {SOLVERS[case.solver]}"


def _measured(case: Case, folder: Path, key: jax.Array) -> list[Row]:
    """A case with its options, and as it comes."""
    totals = np.asarray(json.loads((folder / "totals.json").read_text())[case.total], float)
    found = []
    for how in (OPTIONS, PLAIN):
        one = _conditioned(case, folder, totals, key, options=how == OPTIONS)
        note = case.options if how == OPTIONS else one.said
        metrics = {OFF: one.off, MOVES: one.moved, BEFORE: one.before, AFTER: one.after}
        found += [
            Row(_problem(case), case.law, how, metric, value, note=note)
            for metric, value in metrics.items()
        ]
    return found


def _worst(found: Sequence[Row]) -> list[Row]:
    """The worst of all cases with their options, against the targets."""
    at = {m: [r.mean for r in found if (r.method, r.metric) == (OPTIONS, m)] for m in METRICS}
    if not at[OFF]:
        return []
    falls = [1 - after / before for before, after in zip(at[BEFORE], at[AFTER], strict=True)]
    row = functools.partial(Row, "all", f"all {len(falls)} cases", OPTIONS)
    return [
        row(f"largest {OFF}", max(at[OFF]), reference=EXACT),
        row(f"largest {MOVES}", max(at[MOVES]), reference=EXACT),
        row("least share by which RMSE falls", min(falls), reference=LOWER),
    ]


def _conditioned(
    case: Case, folder: Path, totals: np.ndarray, key: jax.Array, *, options: bool
) -> Outcome:
    """The file's field, and the field with noise, conditioned on the solver's totals."""
    with opened(folder / case.file) as file:
        dataset, axes = named(file.load(), None, (case.field,), None)
    field = dataset[case.field]
    scale = SHARE * float(field.astype(float).std())
    noise = scale * np.asarray(jax.random.normal(key, field.shape))
    noisy = field.copy(data=(field + noise).values.astype(field.dtype))
    weights = [_weights(name, folder, dataset) for name in case.weights] if options else None
    law = bc.labelled.integral(
        case.over, xarray.DataArray(totals, dims=case.left), weights=weights or None
    )
    reading = {"axes": axes, "rings": dict.fromkeys(case.rings if options else ())}
    given = dataset.assign(scale=((), scale))
    said, right = _told(given, law, case.field, reading)
    post = _quiet(given.assign({case.field: noisy}), law, case.field, reading)
    read = right[f"integral_{case.over.replace(',', '_')}_before"].transpose(*case.left)
    return Outcome(
        float(np.nanmax(np.abs(read - totals)) / np.nanmax(np.abs(totals))),
        float(np.abs(right[case.field] - field).max() / np.abs(field).max()),
        _error(noisy, field),
        _error(post[case.field], field),
        said,
    )


def _told(dataset: Any, law: Any, field: str, reading: Mapping) -> tuple[str, Any]:
    """What is said of a law, and the result of carrying it out anyway."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", bc.labelled.SurprisingLawWarning)
        try:
            done = bc.labelled.condition(dataset, [law], mean=field, scale="scale", **reading)
        except ValueError:
            return "refused", _quiet(dataset, law, field, reading)
    return "warned" if caught else "silent", done


def _quiet(dataset: Any, law: Any, field: str, reading: Mapping) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.labelled.SurprisingLawWarning)
        return bc.labelled.condition(
            dataset, [law], mean=field, scale="scale", anyway=True, **reading
        )


def _weights(name: str, folder: Path, dataset: Any) -> Any:
    """An array of the file, or FILE:NAME."""
    path, colon, array = name.rpartition(":")
    if not colon:
        return dataset[name]
    with opened(folder / path) as file:
        return file[array].load()


def _error(found: Any, truth: Any) -> float:
    """Root mean square, where the field is."""
    return float(np.sqrt(((found.astype(float) - truth.astype(float)) ** 2).mean()))


@contextmanager
def _folder(environment: Path | None) -> Generator[Path]:
    if environment is not None:
        yield environment
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made) / "solvers"


def _installed(place: Path) -> dict[str, str]:
    """Make the environment of the solvers, unless it is there.

    Returns:
        Why a solver is not in it, by name.
    """
    python, reasons = place / "bin" / "python", {}
    if python.exists():
        return reasons
    _called([sys.executable, "-m", "venv", str(place)], place.parent)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    beside = [f"{name}=={version}" for name, version in BESIDE.items()]
    for name, version in SOLVERS.items():
        alone = ["--no-deps", "--ignore-requires-python"] if name in ALONE else beside
        failed = _called([*pip, *alone, f"{name}=={version}"], place)
        reasons |= {name: "it could not be installed"} if failed else {}
    return reasons


def _run(place: Path, solver: str, folder: Path) -> str:
    """Run a solver in a folder of its own; what it said last, if it failed."""
    folder.mkdir(parents=True)
    (folder / "program.py").write_text(PROGRAMS[solver], encoding="utf-8")
    return _called([str((place / "bin" / "python").absolute()), "program.py"], folder)


def _called(command: Sequence[str], folder: Path) -> str:
    """Call a program; empty, or the last line that it said if it failed."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {"JAX_PLATFORMS": "cpu", "FIPY_SOLVERS": "scipy"} | dict.fromkeys(THREADS, "1")
    done = subprocess.run(
        command, cwd=folder, env=os.environ | own, capture_output=True, text=True, check=False
    )
    if not done.returncode:
        return ""
    said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return said[-1].replace(str(folder), "its folder")


@dataclasses.dataclass(frozen=True)
class Options:
    """Run solvers nobody here wrote, condition their files on their totals, and write
    real_files.json (the rows) and real_files.md (the page) into a folder.
    """

    out: Path = Path("results")
    """Folder to write into, made if it is missing."""
    environment: Annotated[
        Path | None, arg(metavar="DIR", help_behavior_hint="(default: a temporary one)")
    ] = None
    """Virtual environment of the solvers; made there, from the package index, if it is missing."""
    seed: int = 0
    """Seed of the noise."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of the process. Turns on 64-bit floats in JAX.

    Returns:
        Exit status: 0, or 2 for a folder that cannot be written to.
    """
    jax.config.update("jax_enable_x64", True)
    options = tyro.cli(Options, prog=f"python -m experiments.{NAME}", args=arguments)
    settings = dataclasses.replace(SETTINGS["paper"], environment=options.environment)
    paths = [options.out / f"{NAME}.json", options.out / f"{NAME}.md"]
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as files:
            places = [files.enter_context(whole_file(path)) for path in paths]
            with working(f"running {NAME}"):
                found = rows(settings, jax.random.key(options.seed))
            origin = provenance(NAME, "paper", options.seed)
            origin["versions"] |= SOLVERS
            origin["command"] = f"python -m experiments.{NAME} --seed {options.seed}"
            places[0].write_text(to_json(found, origin), encoding="utf-8")
            places[1].write_text(page(NAME, found, origin), encoding="utf-8")
    except OSError as error:
        print("error:", error.strerror or error, file=sys.stderr)
        return 2
    for table in tables(found):
        table.show()
    say("Written: " + ", ".join(map(str, paths)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
