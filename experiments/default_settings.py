"""Default settings: every shipped program, sampled as it comes by `bc.sample(program, key=0,
**inputs(key))`.

Nothing is chosen by hand: the sampler is "auto", four chains take 1,000 steps of warm-up and 1,000
draws. What is asked of each program is that the chains agree, R-hat below 1.01, and are worth more
than 400 independent draws, both at the worst of all its unknowns (of a field, at the worst of at
most 500 points, other than those that are known exactly).

Independent draws have an R-hat too, which is 1 but for chance: the largest of 500 of them, from 4 x
1,000 draws each, is about 1.003.

A program that is left out is named below the tables, with the reason.

The residual is the largest |G u - b| of any exact statement in any draw, in the unit of its value.
Seconds are those of the compiled run, and those of compiling it, by the clock.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from numpyro import handlers

import bayescons as bc
from bayescons.programs.statements import statement
from bayescons.results.mixing import R_HAT
from experiments.rows import Row
from experiments.tables import LEFT_OUT, Table, against_targets, left_out, pivot

MODELS = tuple(
    sorted(path.stem for path in (Path(__file__).resolve().parent.parent / "models").glob("*.py"))
)
PROBLEM, WHY, ESS = "shipped programs", "why", 400
COLUMNS = {
    "largest R-hat - 1": "R-hat - 1",
    "least bulk ESS": "ESS",
    "divergences": "divergences",
    "largest |G u - b|": "|G u - b|",
    "seconds": "s",
    "seconds to compile": "s to compile",
}
SLOW = "every gradient asks the network at other points: half an hour"
FIGURES: dict[str, str] = {}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        steps: of warm-up, and draws, of each chain; None for the defaults.
        models: names of the programs.
    """

    steps: int | None = None
    models: tuple[str, ...] = tuple(name for name in MODELS if name != "stretched_neural_process")


SETTINGS = {"quick": Settings(steps=200), "paper": Settings()}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """A row for each program and column; and one for each program that was not run."""
    missing = [
        Row(PROBLEM, name, "bc.sample", LEFT_OUT, math.nan, n=0, note=SLOW)
        for name in MODELS
        if name not in settings.models
    ]
    return [row for name in settings.models for row in _judged(name, settings, key)] + missing


def tables(rows: Sequence[Row]) -> list[Table]:
    """All programs, the two targets of each, and why each has its sampler."""
    why = tuple((row.parameter, row.method, row.note) for row in rows if row.metric == WHY)
    return [
        pivot("Every shipped program", rows, COLUMNS, methods="sampler"),
        against_targets("Against the targets", rows),
        Table("Why this sampler", ("program", "sampler", "why"), why, 3),
        *left_out(rows),
    ]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """None."""
    del settings, key, rows
    return {}


def _judged(name: str, settings: Settings, key: jax.Array) -> list[Row]:
    """A program, sampled; what came of it."""
    model = import_module(f"models.{name}")
    inputs = model.inputs(key)
    size = {} if settings.steps is None else {"warmup": settings.steps, "draws": settings.steps}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.NotMixedWarning)  # it stands in the table
        tree = bc.sample(model.program, key=0, **inputs, **size)
    told = tree.attrs
    missed = [
        np.abs(tree["constraints"][f"{exact}_residual"]).max()
        for exact in _exact(model.program, inputs)
    ]
    row = functools.partial(Row, PROBLEM, name, told["chosen"])
    return [
        row("largest R-hat - 1", told["r_hat"] - 1, reference=f"≤ {R_HAT - 1:.2g}"),
        row("least bulk ESS", told["ess_bulk"], reference=f"≥ {ESS}"),
        row("divergences", float(told["divergences"])),
        row(
            "largest |G u - b|",
            float(max(missed, default=math.nan)),
            note="" if missed else "none is exact",
        ),
        row("seconds", told["seconds"]),
        row("seconds to compile", told["compile_seconds"]),
        row(WHY, math.nan, n=0, note=told["why"]),
    ]


def _exact(program, inputs: dict) -> list[str]:
    """Names of the statements that have no noise."""
    with handlers.block():
        sites = handlers.trace(handlers.seed(program, 0)).get_trace(**inputs)
    stated = {
        name: statement(site["fn"]) for name, site in sites.items() if site["type"] == "sample"
    }
    return [name for name, known in stated.items() if known is not None and known.scale is None]
