"""Operators: networks in the ways that boundary values enter them, trained once and kept, and what
their fields are judged by.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from bayescons.functionals.boundary_conditions import BoundaryConditions
from bayescons.networks import BoundaryCorrected, load_weights
from bayescons.problems import Samples, stored
from bayescons.training import OperatorRecipe, run
from bayescons.training.runs import weight_file
from experiments.tables import compact

# a folder for each trained network, one for the functions; remove it to train anew
FOLDER = Path("results") / "operators"
WORTH_KEEPING = 100  # steps; what has fewer is trained again where it is asked for
ROUNDS = 12  # validations in a training
CORRECTED = ("overwrite", "reference", "kernel", "features")  # of `networks.CORRECTIONS`
METHODS = {  # name of the correction, and whether boundary values are among the inputs
    "FNO": ("none", "withheld"),
    "FNO + values": ("none", "given"),
    **{name: (name, "given") for name in CORRECTED},
}
EQUAL = "FNO + values"  # has the same information as the corrected ones
PLACES = {name: place for place, name in enumerate(METHODS)}  # which look a method has
TESTED = 1_000_003  # sets the keys of test functions apart from those of trainings
LABELS = {
    "stokes_second": ("Stokes", "ν", "viscosity"),
    "forced_heat": ("heat", "k", "diffusivity"),
    "burgers_wave": ("Burgers wave", "ν", "viscosity"),
    "burgers_step": ("Burgers step", "ν", "viscosity"),
    "burgers_ring": ("Burgers ring", "ν", "viscosity"),
    "standing_wave": ("standing wave", "c", "speed"),
    "cavity": ("cavity", "Re", "reynolds"),
}
VELOCITIES = {"velocity_x": "u", "velocity_y": "v"}


@dataclasses.dataclass(frozen=True)
class Case:
    """A family, and the sizes of what is trained on it.

    Attributes:
        problem: name of the family.
        numbers: of the family, where not its own, as (("viscosity", 0.02),).
        points, times, samples, held_out, modes, width, depth, size, steps, rate: of the training,
            see `OperatorRecipe`.
    """

    problem: str
    numbers: tuple[tuple[str, Any], ...] = ()
    points: int = 128
    times: int = 1
    samples: int = 200
    held_out: int = 100
    modes: int = 12
    width: int = 32
    depth: int = 4
    size: int = 20
    steps: int = 3000
    rate: float = 2e-3

    def recipe(self, method: str, seed: int) -> OperatorRecipe:
        """The training of a method, one of `METHODS`."""
        mode, values = METHODS[method]
        sizes = dataclasses.asdict(self)
        sizes |= {"numbers": dict(self.numbers), "mode": mode, "values": values, "seed": seed}
        return OperatorRecipe(**sizes, round_steps=-(-self.steps // ROUNDS)).checked()

    @property
    def label(self) -> str:
        """Name of the family, and of the field where it has several."""
        name = LABELS[self.problem][0]
        return (
            f"{name}, {VELOCITIES[self.recipe('FNO', 0).family.field]}"
            if self.problem == "cavity"
            else name
        )

    @property
    def number(self) -> str:
        """The number that tells families of one name apart, and the grid: "ν = 0.1, N = 128"."""
        _, letter, name = LABELS[self.problem]
        times = f" × {self.times} times" if self.times > 1 else ""
        value = dataclasses.asdict(self.recipe("FNO", 0).family)[name]
        return f"{letter} = {value:g}, N = {self.points}{times}"


class Trained(NamedTuple):
    """A network and how its training went.

    Attributes:
        network: with the weights of the lowest error on functions held out.
        held_out: that error.
        step: seconds a step, the median over rounds, validation included; NaN for a training of one
            round.
    """

    network: BoundaryCorrected
    held_out: float
    step: float


_trainings: dict[str, Trained] = {}


def train_once(recipe: OperatorRecipe) -> Trained:
    """The network of a recipe: from this process, from `FOLDER`, or trained now; an interrupted
    training goes on.
    """
    settings = recipe.settings | {"jax": jax.__version__}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    if digest not in _trainings:
        if recipe.steps >= WORTH_KEEPING:
            _trainings[digest] = _run(recipe, FOLDER / f"{recipe.name}-{digest}", FOLDER / "data")
        else:
            with tempfile.TemporaryDirectory() as folder:
                _trainings[digest] = _run(recipe, Path(folder), Path(folder))
    return _trainings[digest]


def _run(recipe: OperatorRecipe, folder: Path, data: Path) -> Trained:
    network = run(recipe, folder, data=data)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    paces = np.diff([line["seconds"] for line in lines]) / np.diff([line["step"] for line in lines])
    card = load_weights(weight_file(recipe, folder)).card
    return Trained(
        network,
        card["training"]["lowest_validation"],
        float(np.median(paces)) if paces.size else math.nan,
    )


def new_functions(case: Case, key: jax.Array, count: int, *, points: int | None = None) -> Samples:
    """New functions of a case, neither learned nor held out, in float32; the same ones for every
    method, seed and grid.

    Args:
        case: of them.
        key: of the experiment.
        count: how many.
        points: along each axis of space; None for those of the training.
    """
    recipe = case.recipe("FNO", 0)
    key = jax.random.fold_in(jax.random.fold_in(key, TESTED), list(LABELS).index(case.problem))
    grid = recipe.family.grid(case.points if points is None else points, case.times)
    with jax.enable_x64(False):
        if case.problem == "cavity" and case.steps >= WORTH_KEEPING:  # has no closed form
            return stored(recipe.family, key, count, grid, folder=FOLDER / "data")
        return recipe.family.sample(key, count, grid)


def fields(network: BoundaryCorrected, samples: Samples, *, together: int = 20) -> np.ndarray:
    """The network's solutions for samples, computed in float32, so many at a time; as float64, to
    be judged without further rounding.
    """
    arrays = (samples.inputs, samples.boundary)
    with jax.enable_x64(False):
        predicted = jax.jit(
            lambda arrays: jax.lax.map(lambda one: network(*one), arrays, batch_size=together)
        )(arrays)
    return np.asarray(predicted, np.float64)


def errors_by_metric(
    boundary: BoundaryConditions, predicted: np.ndarray, samples: Samples
) -> dict[str, np.ndarray]:
    """By metric, one number for each function.

    "relative L2" over all points and times; "boundary error", the largest difference from what is
    known on any side (of a value, or of a slope as the stencil finds it); "near the boundary", mean
    |error| on the five nodes next to each end of the axes that have sides.
    """
    truth = np.asarray(samples.outputs, np.float64)
    axes, error, near = tuple(range(1, truth.ndim)), predicted - truth, []
    for name in boundary.axes:
        along = np.moveaxis(np.abs(error), 1 + boundary.grid.axis(name), 1)
        nodes = min(5, along.shape[1] // 2 - 1)
        near.append(
            np.concatenate([along[:, 1 : 1 + nodes], along[:, -1 - nodes : -1]], axis=1)
            .reshape(len(truth), -1)
            .mean(axis=1)
        )
    return {
        "relative L2": np.sqrt(np.sum(error**2, axis=axes) / np.sum(truth**2, axis=axes)),
        "boundary error": np.max(boundary_errors(boundary, predicted, samples), axis=0),
        "near the boundary": np.mean(near, axis=0),
    }


def errors_by_time(predicted: np.ndarray, samples: Samples) -> np.ndarray:
    """Relative error in L2 of each function at each time, (n, times), for fields with time."""
    truth = np.asarray(samples.outputs, np.float64)
    space = tuple(range(2, truth.ndim))
    return np.sqrt(np.sum((predicted - truth) ** 2, axis=space) / np.sum(truth**2, axis=space))


def boundary_errors(
    boundary: BoundaryConditions, predicted: np.ndarray, samples: Samples
) -> list[np.ndarray]:
    """For each side, the largest difference of each function from what is known there, (n,)."""
    out = []
    for side, values in zip(boundary.sides, samples.boundary, strict=True):
        axis = boundary.grid.axis(side.axis)
        read = np.tensordot(
            predicted, side.functional(boundary.grid).weights[axis], ((1 + axis,), (0,))
        )
        out.append(
            np.abs(read - np.asarray(values, np.float64)).reshape(len(predicted), -1).max(axis=1)
        )
    return out


def scale_logarithmically(panel: Axes) -> None:
    """A logarithmic axis of heights that has numbers even where it spans less than a decade; to be
    called once all is drawn.
    """
    panel.set_yscale("log")
    low, high = panel.get_ylim()
    if short := high < 8 * low:  # in equal steps, as on any other axis
        panel.yaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10)))
    else:
        panel.yaxis.set_major_locator(
            LogLocator(subs=(1.0, 2.0, 5.0) if high < 300 * low else (1.0,))
        )
    panel.yaxis.set_major_formatter(lambda value, _: compact(value, 2 if short else 1))
    panel.yaxis.set_minor_locator(NullLocator())


def over_seeds(values: Sequence[float]) -> dict[str, float | int]:
    """`mean`, `se` and `n` of a row over trainings: here the spread is that of one training, the
    sample's standard deviation.
    """
    values = np.asarray(values, float)
    spread = float(values.std(ddof=1)) if values.size > 1 else math.nan
    return {"mean": float(values.mean()), "se": spread, "n": values.size}
