"""Stokes' second problem: the wave that an oscillating wall sends into a fluid, as operators
predict it, over the depth and over time.

The profile at the last time is predicted by the networks of `boundary_tables`. Over time, operators
of space and time predict all snapshots at once, from the same initial state: at the wall the
velocity U cos ωt is known, and it is the wall that drives the fluid. Errors over depth are |error|
averaged over new functions; errors over time are relative to the size of each snapshot, in L2.

The published error over space and time, for ν = 0.1 and 500 points, is 0.0123 with the reference,
after 25,000 steps of a larger network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from matplotlib.figure import Figure

from bayescons.plots.fields import TRUTH
from experiments import boundary_tables, panels
from experiments.operators import (
    METHODS,
    PLACES,
    Case,
    errors_by_metric,
    errors_by_time,
    fields,
    new_functions,
    scale_logarithmically,
    train_once,
)
from experiments.rows import Row, averaged
from experiments.tables import Table, pivot

METRICS = {
    "relative L2": "relative L2",
    "boundary error": "boundary error",
    "near the boundary": "next to it",
}
OVER_TIME = {
    "first snapshot": "first snapshot",
    "worst snapshot": "worst snapshot",
    "last snapshot": "last snapshot",
}
FIGURES = {
    "": (
        "One new function at the last time: the wave and what each network makes of it, and the "
        "mean |error| over depth."
    ),
    "_over_time": "Relative error in L2 of each snapshot, mean over new functions.",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        last: the training at the last time alone.
        all_times: the training on all snapshots.
        functions: new ones.
        methods: names of `METHODS` at the last time.
        over_time: those with all snapshots.
    """

    last: Case
    all_times: Case
    functions: int = 50
    methods: tuple[str, ...] = tuple(METHODS)
    over_time: tuple[str, ...] = ("FNO", "FNO + values", "kernel", "features")


_LAST = {
    name: next(c for c in tables.cases if c.problem == "stokes_second")
    for name, tables in boundary_tables.SETTINGS.items()
}
_ALL = Case(
    "stokes_second", points=48, times=25, samples=100, held_out=20, modes=8, width=16, size=10
)
SETTINGS = {
    "quick": Settings(
        _LAST["quick"], dataclasses.replace(_ALL, steps=100), over_time=("FNO + values", "features")
    ),
    "paper": Settings(_LAST["paper"], dataclasses.replace(_ALL, steps=1500)),
}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """Errors at the last time, and over all times."""
    out = []
    for case, methods in (
        (settings.last, settings.methods),
        (settings.all_times, settings.over_time),
    ):
        samples = new_functions(case, key, settings.functions)
        for method in methods:
            network = train_once(case.recipe(method, 0)).network
            predicted = fields(network, samples, together=case.size)
            measured = errors_by_metric(network.boundary, predicted, samples)
            if case.times > 1:
                errors = errors_by_time(predicted, samples)
                measured |= dict(
                    zip(OVER_TIME, (errors[:, 0], errors.max(axis=1), errors[:, -1]), strict=True)
                )
            name = f"{case.number}, {case.steps} steps"
            out += [
                Row("stokes_second", name, method, metric, **averaged(values))
                for metric, values in measured.items()
            ]
    return out


def tables(rows: Sequence[Row]) -> list[Table]:
    """At the last time, and over all."""
    return [
        pivot("The wave", rows, METRICS),
        pivot(
            "Over time, relative L2", [row for row in rows if row.metric in OVER_TIME], OVER_TIME
        ),
    ]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del rows
    return {"": _profile(settings, key), "_over_time": _over_time(settings, key)}


def _profile(settings: Settings, key: jax.Array) -> Figure:
    case = settings.last
    samples = new_functions(case, key, settings.functions)
    x, truth = case.recipe("FNO", 0).boundary.grid["x"], np.asarray(samples.outputs, float)
    figure = panels.sheet(4.2)
    left, right = figure.subplots(1, 2)
    for method in settings.methods:
        predicted = fields(train_once(case.recipe(method, 0)).network, samples)
        left.plot(x, predicted[0], **panels.look(PLACES[method]))
        error = np.abs(predicted - truth).mean(axis=0)
        right.plot(
            x, np.where(error > 1e-7, error, np.nan), **panels.look(PLACES[method])
        )  # what is exact has no logarithm
    left.plot(x, truth[0], **TRUTH)
    scale_logarithmically(right)
    panels.finish(
        left, title="velocity along the wall", xlabel="distance from the wall x", ylabel="u"
    )
    panels.finish(right, title="mean |error|", xlabel="distance from the wall x")
    panels.legend_below(
        figure,
        [*(panels.line(PLACES[m], m) for m in settings.methods), panels.truth("exact")],
        columns=4,
    )
    return figure


def _over_time(settings: Settings, key: jax.Array) -> Figure:
    case = settings.all_times
    samples = new_functions(case, key, settings.functions)
    figure = panels.sheet(3.8)
    panel = figure.subplots()
    for method in settings.over_time:
        network = train_once(case.recipe(method, 0)).network
        errors = errors_by_time(fields(network, samples, together=case.size), samples).mean(axis=0)
        panel.plot(network.boundary.grid["t"], errors, **panels.look(PLACES[method]))
    scale_logarithmically(panel)
    panels.finish(panel, xlabel="time t (dimensionless)", ylabel="relative L2 of a snapshot")
    panels.legend_below(figure, [panels.line(PLACES[m], m) for m in settings.over_time])
    return figure
