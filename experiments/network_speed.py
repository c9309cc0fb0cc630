"""Speed of networks: a training step against PyTorch, and the posterior of many functions from many
draws of a latent.

A training step is the evidence bound of the published network (989,826 parameters) for a batch of
250 functions with 100 contexts and 100 targets each, its gradient, and Adam; float32, both sides on
the same processor with the same number of threads. Both take the same fixed batch in turns, several
steps each time; the ratio is the median over turns of PyTorch's time over ours. Ours is timed as it
runs in training, several steps as one compiled call; PyTorch's as it is usually written (modules,
`scaled_dot_product_attention`, `optim.Adam`, eager), in experiments/torch_anp.py. From the same
weights both predict the same.

The posterior is that of 50 functions on 201 times and 201 positions. Each draw of the latent is
conditioned on the exact total at every time, and mean and variance of the mixture are kept.
`conditioning` is that alone, with the draws given; `network and conditioning` begins from the
readings. Memory is the peak of a process of its own above what it held before. The published
implementation, run by itself elsewhere, takes 35 processor seconds and 12.5 GB to condition a
single draw of these 50 functions.

Draws in pairs, z = μ ± σ ε, cancel from the mean what is odd in ε. How few of them are enough is
measured against very many draws: errors of the mean in units of the posterior's standard deviation,
and relative errors of the latter, root mean squares over a grid.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import numpy as np
from matplotlib.figure import Figure

from bayescons.networks import parameter_count
from bayescons.plots.fields import COLOURS, DPI, FONT, MARKERS
from experiments.mass_update import Size
from experiments.measurement import elsewhere
from experiments.rows import Row
from experiments.tables import Table, against_targets, pivot
from experiments.training_step import (
    ABSENT,
    differences,
    threads,
    timed,
    torch_interpreter,
    trainee,
)

FIGURES = {
    "": (
        "Error of a posterior from few draws of the latent: of its mean, in posterior standard "
        "deviations, and of those, relative."
    ),
}
ERRORS = ("error of the mean / sd", "relative error of the sd")
HOW = ("independent", "in pairs")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Sizes of a run.

    Attributes:
        width: of the network.
        dropouts: of training.
        functions: in a batch.
        points: times, and positions, of the contexts and of the targets.
        steps: of training in a row.
        turns: how often each side takes them.
        posterior: (functions, times, points) of the posterior whose conditioning is timed.
        predicted: functions of it for which the network is timed as well.
        draws: of the latent.
        pairs: of the draws that are taken in pairs, how many.
        grid: (times, points) on which errors are found.
        counts: numbers of draws whose errors are found, all even.
        many: draws that stand for infinitely many.
        repeats: sets of draws over which errors are averaged.
    """

    width: int
    dropouts: tuple[float, ...]
    functions: int
    points: int
    steps: int
    turns: int
    posterior: Size
    predicted: int
    draws: int
    pairs: int
    grid: tuple[int, int]
    counts: tuple[int, ...]
    many: int
    repeats: int


SETTINGS = {
    "quick": Settings(
        width=128,
        dropouts=(0.1, 0.0),
        functions=50,
        points=10,
        steps=4,
        turns=3,
        posterior=(50, 201, 201),
        predicted=1,
        draws=100,
        pairs=20,
        grid=(6, 101),
        counts=(10, 20, 100),
        many=1000,
        repeats=3,
    ),
    "paper": Settings(
        width=128,
        dropouts=(0.1, 0.0),
        functions=250,
        points=10,
        steps=5,
        turns=4,
        posterior=(50, 201, 201),
        predicted=5,
        draws=100,
        pairs=20,
        grid=(21, 201),
        counts=(4, 10, 20, 32, 50, 100),
        many=2000,
        repeats=5,
    ),
}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """Everything measured: training steps, the same prediction on both sides, the posterior, and
    how many draws it needs.
    """
    return [*_training_rows(settings, key), *_posterior_rows(settings), *_error_rows(settings)]


def tables(rows: Sequence[Row]) -> list[Table]:
    """Against the targets; training steps; the posterior; its errors."""
    of = {
        problem: [row for row in rows if row.problem == problem]
        for problem in ("training step", "posterior", "draws")
    }
    return [
        against_targets("Against the targets", rows),
        pivot(
            "One training step",
            of["training step"],
            {
                "seconds": "s, median",
                "seconds, least": "s, least",
                "PyTorch's time / ours": "PyTorch / ours",
            },
        ),
        pivot(
            "The posterior of many functions",
            of["posterior"],
            {"seconds": "s", "seconds a function": "s a function", "peak GB": "GB"},
        ),
        pivot(
            "How many draws a posterior needs",
            of["draws"],
            {error: error for error in ERRORS},
            methods="draws",
        ),
    ]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del settings, key
    figure = Figure(figsize=(7.0, 3.6), dpi=DPI, layout="constrained")
    for panel, error in zip(figure.subplots(1, 2), ERRORS, strict=True):
        for i, how in enumerate(HOW):
            chosen = [
                (int(r.method.split()[0]), r.mean)
                for r in rows
                if r.metric == error and r.method.endswith(how)
            ]
            panel.plot(
                *zip(*chosen, strict=True),
                color=COLOURS[i],
                marker=MARKERS[i],
                markersize=7,
                linewidth=1.8,
                label=how,
            )
        panel.set(xscale="log", yscale="log")
        panel.set_xlabel("draws of the latent", fontsize=FONT)
        panel.set_ylabel(error, fontsize=FONT)
        panel.tick_params(labelsize=FONT)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25, linewidth=0.6, axis="y")
        panel.legend(fontsize=FONT, frameon=False)
    return {"": figure}


def _training_rows(settings: Settings, key: jax.Array) -> list[Row]:
    out = []
    with jax.enable_x64(False):
        for dropout in settings.dropouts:
            given = trainee(
                width=settings.width,
                dropout=dropout,
                size=settings.functions,
                points=settings.points,
                key=key,
            )
            taken = timed(given, dropout=dropout, steps=settings.steps, turns=settings.turns)
            out += _step_rows(f"{settings.functions} functions, dropout {dropout:g}", taken)
        out += _agreement_rows(given)
    return out


def _step_rows(parameter: str, taken) -> list[Row]:
    row = functools.partial(Row, "training step", parameter)
    sides = {
        "bayescons, fixed batch": taken.fixed,
        "bayescons, new batch made": taken.fresh,
        "PyTorch, fixed batch": taken.torch,
    }
    present = {name: seconds for name, seconds in sides.items() if seconds.size}
    ratios = taken.torch / taken.fixed if taken.torch.size else np.array([math.nan])
    spread = float(ratios.std(ddof=1) / math.sqrt(ratios.size)) if ratios.size > 1 else math.nan
    same = f"{threads()} threads on both sides"
    return [
        *(
            row(name, "seconds", float(np.median(seconds)), n=seconds.size, note=same)
            for name, seconds in present.items()
        ),
        *(
            row(name, "seconds, least", float(seconds.min()), n=seconds.size, note=same)
            for name, seconds in present.items()
        ),
        row(
            "bayescons, fixed batch",
            "PyTorch's time / ours",
            float(np.median(ratios)),
            se=spread,
            n=ratios.size,
            reference="≥ 2",
            note=same if taken.torch.size else ABSENT,
        ),
    ]


def _agreement_rows(given) -> list[Row]:
    """Both sides' predictions from the same weights."""
    row = functools.partial(Row, "agreement", f"{parameter_count(given.network):,} parameters")
    metric, target = "largest difference from PyTorch", "≤ 1e-4"
    if torch_interpreter() is None:
        return [row("all", metric, math.nan, reference=target, note=ABSENT)]
    return [
        row(name.replace("_", " "), metric, value, reference=target)
        for name, value in differences(given).items()
    ]


def _posterior_rows(settings: Settings) -> list[Row]:
    functions, *shape = settings.posterior
    alone = elsewhere(
        "experiments.latent_posterior:conditioning", settings.posterior, settings.draws
    )
    row = functools.partial(
        Row, "posterior", _words(settings.posterior), f"conditioning, {settings.draws} draws"
    )
    out = [
        row("seconds", alone["seconds"], reference="≤ 30"),
        row("seconds a function", alone["seconds"] / functions),
        row("peak GB", alone["bytes"] / 1e9, reference="≤ 2", note=_unknown(alone["bytes"])),
        row("difference from numpy", alone["difference"], reference="≤ 1e-12"),
    ]
    seconds = {}
    for draws, how in ((settings.draws, ""), (settings.pairs, " in pairs")):
        size = (settings.predicted, *shape)
        found = elsewhere(
            "experiments.latent_posterior:whole", size, draws, bool(how), settings.width
        )
        row = functools.partial(
            Row, "posterior", _words(size), f"network and conditioning, {draws} draws{how}"
        )
        seconds[how] = found["seconds"]
        out += [
            row("seconds", found["seconds"]),
            row("seconds a function", found["seconds"] / settings.predicted),
            row("peak GB", found["bytes"] / 1e9, reference="≤ 2", note=_unknown(found["bytes"])),
        ]
    return [*out, row("gain of pairs", seconds[""] / seconds[" in pairs"])]


def _error_rows(settings: Settings) -> list[Row]:
    found = elsewhere(
        "experiments.latent_posterior:errors",
        settings.grid,
        settings.counts,
        settings.many,
        settings.repeats,
        settings.width,
    )
    row = functools.partial(Row, "draws", _words(settings.grid), n=settings.repeats)
    return [
        row(method, error, value)
        for method, values in found.items()
        for error, value in zip(ERRORS, values, strict=True)
    ]


def _unknown(number: float) -> str:
    return "the system does not tell" if math.isnan(number) else ""


def _words(size: Sequence[int]) -> str:
    return " × ".join(map(str, size))
