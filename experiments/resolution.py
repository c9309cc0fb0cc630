"""One network on finer grids: what it predicts where it was not trained, and whether that settles
down.

The networks of `boundary_tables`, trained on 128 points, are asked for the same new functions on
grids of twice, four and eight times as many intervals, which hold the coarser nodes. Two numbers
tell how they fare: the relative error in L2 on each grid, and by how much the solution at the
common nodes changes from one grid to the next, relative to its size.

A solution operator does not know of a grid. A network that approximates one should therefore change
less and less: like 1/N, or faster, which makes the exponent of the change at least 1. The published
elimination works on the nodes of the discrete transform, where the last node is a neighbour of the
first; its correction grows with the number of nodes instead.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
from matplotlib.figure import Figure

from bayescons.plots.fields import COLOURS, MARKERS
from experiments import boundary_tables, panels
from experiments.measurement import growth_exponent
from experiments.operators import (
    LABELS,
    METHODS,
    PLACES,
    Case,
    errors_by_metric,
    fields,
    new_functions,
    scale_logarithmically,
    train_once,
)
from experiments.rows import Row, averaged
from experiments.tables import Table, against_targets, pivot

ERROR, CHANGE, ORDER = "relative L2", "change to the next grid", "exponent of the change"
SETTLING = (
    "FNO",
    "FNO + values",
    "kernel",
    "features",
)  # of which it is expected; overwriting and the reference are shown beside
FIGURES = {
    "": (
        "Above, the relative error in L2 on grids of N points; below, the change from each grid to "
        "the next, with 1/N in grey. Trained on the coarsest."
    )
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        cases: families and the sizes of their trainings.
        functions: new ones, on which all are judged.
        doublings: of the number of intervals.
        methods: names of `METHODS`.
    """

    cases: tuple[Case, ...]
    functions: int = 20
    doublings: int = 3
    methods: tuple[str, ...] = tuple(METHODS)


SETTINGS = {
    name: Settings(
        cases=tuple(
            case
            for case in tables.cases
            if case.problem in ("stokes_second", "forced_heat", "burgers_wave")
        )
    )
    for name, tables in boundary_tables.SETTINGS.items()
}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """Errors and changes, a row for each case, method and grid; and how the changes fall."""
    out = []
    for case in settings.cases:
        for method in settings.methods:
            out += _rows(case, method, settings, key)
    return out


def tables(rows: Sequence[Row]) -> list[Table]:
    """Errors by grid, changes by grid, and what was aimed at."""
    shown = []
    for name in dict.fromkeys(row.problem for row in rows):
        chosen = [row for row in rows if row.problem == name]
        shown.append(pivot(LABELS[name][0], chosen, {ERROR: ERROR, CHANGE: CHANGE}))
    return [against_targets("Change of the output, as a power of 1/N", rows), *shown]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del settings, key
    rows = [row for row in rows if row.metric != ORDER]
    problems = list(dict.fromkeys(row.problem for row in rows))
    figure = panels.sheet(6.0)
    grid = figure.subplots(2, len(problems), sharex=True, squeeze=False)
    for column, problem in enumerate(problems):
        for panel, metric in zip(grid[:, column], (ERROR, CHANGE), strict=True):
            for method in PLACES:
                chosen = [
                    (_points(r), r.mean)
                    for r in rows
                    if (r.problem, r.method, r.metric) == (problem, method, metric)
                ]
                if chosen:
                    look = {
                        "color": COLOURS[PLACES[method]],
                        "marker": MARKERS[PLACES[method]],
                        "linewidth": 1.6,
                    }
                    panel.plot(*zip(*chosen, strict=True), markersize=6, label=method, **look)
            points = sorted({_points(r) for r in rows if r.problem == problem})
            if metric == CHANGE:
                least = min(
                    (r.mean for r in rows if (r.problem, r.metric) == (problem, CHANGE)),
                    default=1.0,
                )
                panel.plot(
                    points[:-1],
                    least * points[-2] / np.array(points[:-1]),
                    color="0.6",
                    linewidth=1.4,
                    linestyle=":",
                )
            panel.set(xscale="log")
            scale_logarithmically(panel)
            first = column == 0
            title = LABELS[problem][0] if metric == ERROR else ""
            panels.finish(
                panel,
                title=title,
                ylabel=metric if first else "",
                xlabel="points N" if metric == CHANGE else "",
            )
            panel.set_xticks(points, map(str, points))
            panel.set_xticks([], minor=True)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    for handle, label in zip(handles, labels, strict=True):
        handle.set_label(label)
    panels.legend_below(figure, handles, columns=3)
    return {"": figure}


def _points(row: Row) -> int:
    return int(row.parameter.removeprefix("N = "))


def _rows(case: Case, method: str, settings: Settings, key: jax.Array) -> list[Row]:
    network, predictions, out = train_once(case.recipe(method, 0)).network, [], []
    sizes = [(case.points - 1) * 2**doubling + 1 for doubling in range(settings.doublings + 1)]
    for points in sizes:
        samples = new_functions(case, key, settings.functions, points=points)
        moved = network.on(
            network.boundary.grid
            if points == case.points
            else case.recipe(method, 0).family.grid(points, case.times)
        )
        predictions.append(fields(moved, samples))
        error = errors_by_metric(moved.boundary, predictions[-1], samples)["relative L2"]
        out.append(Row(case.problem, f"N = {points}", method, ERROR, **averaged(error)))
    changes = []
    for points, coarse, fine in zip(sizes, predictions, predictions[1:], strict=False):
        axes = tuple(range(1, coarse.ndim))
        common = fine[..., ::2]
        change = np.sqrt(np.sum((common - coarse) ** 2, axis=axes) / np.sum(coarse**2, axis=axes))
        changes.append(change.mean())
        out.append(Row(case.problem, f"N = {points}", method, CHANGE, **averaged(change)))
    if len(changes) > 1:
        aim = functools.partial(Row, case.problem, case.label, method, ORDER)
        order = -growth_exponent(sizes[:-1], changes)
        out.append(
            aim(
                order, reference="≥ 1" if method in SETTLING else None, note="trained with one seed"
            )
        )
    return out
