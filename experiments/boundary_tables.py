"""Fourier operators and their boundaries: every family in six ways, by the error inside, at the
boundary and next to it.

A Fourier neural operator learns to turn an initial state into the field. What is known at the
boundary enters in six ways:

* `FNO`: not at all, as in the published comparison.
* `FNO + values`: as further inputs. All those below have these inputs too, so that they know as
  much as it.
* `overwrite`: the end nodes of the output are overwritten, so that value or slope is right.
* `reference`: the published elimination in every layer, then overwriting, with the quirks of the
  public code.
* `kernel`: the output is conditioned on the boundary under a learned stationary covariance.
* `features`: the same under the covariance of the network's own last layer and of a smooth rest.

All are trained through their correction, with the same functions, batches, first weights, steps and
learning rates. Their weights are those of the lowest error on functions held out, and `best` is the
corrected way with the lowest error there; everything tabled is of functions that are in neither
set. Numbers are means over trainings from several seeds, which draw other functions too; in
brackets stands the standard deviation between the trainings, not an error of the mean. A family
counts as one with half the error by the median of its trainings: on the ring, where values at the
ends say nothing new, one training of `FNO + values` in three went wrong, and the mean with it.

The boundary error is that of a value or of a slope as the stencil of third order finds it, the
largest over sides and times, averaged over functions. `next to it` is the mean |error| on the five
nodes next to each end. Seconds a step include validation, and are those of whatever else the
machine was doing; `operator_speed` measures them.

Sizes are those of a processor: 128 points, 32 channels and 200 functions over a line; fields over a
plane are smaller still. At published sizes (500 points, 64 channels, 500 functions, 12,500 steps:
what `bayescons train operator --problem NAME --mode MODE` takes unless told otherwise) one family
has been trained, once. How far the ways differ depends on the budget: after short trainings they
differ less.

In square brackets stand published numbers: of heat, the slope error of one function at the heated
end. Published without a counterpart here: relative L2 .0123 (Stokes, space and time), .0215 (heat,
space and time, 1,024 points), .00089 (Burgers on a ring, space and time, ν = .01), all by the
reference; "2 to 20 times" less than a Fourier operator without boundary values, whose last layer
had no effect. The aim is half the error of one that has them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from bayescons.plots.fields import COLOURS, FONT, MARKERS, TITLE
from experiments import panels
from experiments.operators import (
    CORRECTED,
    EQUAL,
    LABELS,
    METHODS,
    PLACES,
    Case,
    errors_by_metric,
    fields,
    new_functions,
    over_seeds,
    train_once,
)
from experiments.rows import Row
from experiments.tables import Table, against_targets, pivot

METRICS = {
    "relative L2": "relative L2",
    "boundary error": "boundary error",
    "near the boundary": "next to it",
    "relative L2, held out": "held out",
    "seconds a step": "s a step",
}
GAIN, LOSS = "error of FNO + values / that of the best", "error of the best / that of FNO + values"
PUBLISHED = {("forced_heat", "FNO", "boundary error"): 11.09}
HEADLINE = {
    "burgers_wave": (
        "≤ 8.4e-5",
        "published for Burgers with held ends; of which viscosity is not said",
    )
}
FIGURES = {
    "": (
        "Relative error in L2 on new functions, by the way in which boundary values enter: mean "
        "over trainings, and the standard deviation between them. Last, Burgers' wave at its "
        "published size, trained once in two of the ways."
    )
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        cases: families and the sizes of their trainings.
        seeds: trainings of each.
        functions: new ones, on which all are judged.
        methods: names of `METHODS`.
        published: families at their published sizes, trained once, by `SHORT` alone.
    """

    cases: tuple[Case, ...]
    seeds: int
    functions: int = 100
    methods: tuple[str, ...] = tuple(METHODS)
    published: tuple[Case, ...] = ()


SHORT = (EQUAL, "features")
LINE = ("forced_heat", "burgers_wave", "burgers_step", "burgers_ring")
PLANE: dict[str, Any] = {
    "points": 17,
    "times": 5,
    "samples": 100,
    "held_out": 20,
    "modes": 4,
    "width": 12,
    "size": 5,
    "steps": 1000,
}
SETTINGS = {
    "quick": Settings(
        cases=tuple(
            Case(name, steps=300) for name in ("stokes_second", "forced_heat", "burgers_wave")
        ),
        seeds=1,
        functions=50,
    ),
    "paper": Settings(
        cases=(
            Case("stokes_second", steps=30_000),
            *(Case(name, steps=10_000) for name in LINE),
            *(Case(name, **PLANE) for name in ("cavity", "standing_wave")),
        ),
        seeds=3,
        published=(
            Case(
                "burgers_wave", points=500, samples=500, modes=16, width=64, steps=12_500, rate=1e-3
            ),
        ),
    ),
}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """A row for each case, method and metric; and how far the best is ahead."""
    out, gains = [], []
    for case in settings.cases:
        measurements = {
            m: [_measure(case, m, seed, settings, key) for seed in range(settings.seeds)]
            for m in settings.methods
        }
        out += _comparison_rows(case, case.label, measurements)
        if EQUAL in measurements and _best(measurements):
            gains.append(np.median(_gain(measurements)))
    for case in settings.published:
        measurements = {method: [_measure(case, method, 0, settings, key)] for method in SHORT}
        out += _comparison_rows(case, f"{case.label}, published size", measurements)
    if gains:
        halved = float(np.sum(np.array(gains) >= 2))
        out.append(
            Row(
                "gain",
                "all families",
                "best",
                "families with half the error",
                halved,
                n=len(gains),
                reference="≥ 3",
            )
        )
    return out


def tables(rows: Sequence[Row]) -> list[Table]:
    """One table a family, the targets, and the gains."""
    families = dict.fromkeys(row.problem for row in rows if row.problem in LABELS)
    shown = [
        pivot(LABELS[name][0], [r for r in rows if r.problem == name], METRICS, beside=True)
        for name in families
    ]
    gain = pivot(
        "The best corrected way against the same information as inputs",
        rows,
        {GAIN: GAIN},
        methods="way",
    )
    return [against_targets("Aimed at", rows), *([gain] if gain.cells else []), *shown]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del settings, key
    chosen = [row for row in rows if row.problem in LABELS and row.metric == "relative L2"]
    shown = dict.fromkeys((row.problem, row.parameter) for row in chosen)
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    figure = panels.sheet(0.9 + 2.2 * lines)
    grid, titles = figure.subplots(lines, columns, squeeze=False), set[str]()
    for panel in grid.ravel()[len(shown) :]:
        panel.set_visible(False)
    for panel, (problem, parameter) in zip(grid.ravel(), shown, strict=False):
        for row in chosen:
            if (row.problem, row.parameter) == (problem, parameter):
                _point(panel, row)
        panel.set(
            xlim=(-0.6, len(METHODS) - 0.4), ylim=(0, None)
        )  # from zero: half the height is half the error
        panel.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
        title = (
            LABELS[problem][0]
            if problem not in titles
            else f"{LABELS[problem][0].split()[-1]}, {parameter.split(', ')[1]}"
        )
        titles.add(problem)
        panels.finish(panel, ylabel="relative L2" if panel in grid[:, 0] else "")
        panel.set_title(title, fontsize=TITLE, pad=20)  # above the power of ten
        panel.set_xticks([])
    entries = [
        panels.Line2D(
            [], [], color=COLOURS[i], marker=MARKERS[i], linestyle="none", markersize=7, label=name
        )
        for name, i in PLACES.items()
        if any(row.method == name for row in chosen)
    ]
    panels.legend_below(figure, entries, columns=3)
    return {"": figure}


def _point(panel, row: Row) -> None:
    place = PLACES[row.method]
    spread = 0.0 if math.isnan(row.se) else row.se
    panel.errorbar(
        place,
        row.mean,
        spread,
        color=COLOURS[place],
        marker=MARKERS[place],
        markersize=7,
        capsize=3,
        linewidth=1.4,
    )
    panel.tick_params(labelsize=FONT)


def _measure(
    case: Case, method: str, seed: int, settings: Settings, key: jax.Array
) -> dict[str, float]:
    """One training: what is tabled, averaged over the new functions, and the largest boundary error
    of any.
    """
    network, held_out, step = train_once(case.recipe(method, seed))
    samples = new_functions(case, key, settings.functions)
    errors = errors_by_metric(
        network.boundary, fields(network, samples, together=case.size), samples
    )
    means = {metric: float(values.mean()) for metric, values in errors.items()}
    return means | {
        "largest": float(errors["boundary error"].max()),
        "relative L2, held out": held_out,
        "seconds a step": step,
    }


def _comparison_rows(
    case: Case, label: str, measurements: Mapping[str, Sequence[Mapping[str, float]]]
) -> list[Row]:
    """What is tabled of each method, and last of all how the best corrected one compares with the
    same information as inputs.
    """
    out = [
        row for method, measured in measurements.items() for row in _rows(case, method, measured)
    ]
    best = _best(measurements)
    if best is None:
        return out
    out.append(
        _largest_boundary_error(
            case,
            label,
            {method: measurements[method] for method in CORRECTED if method in measurements},
        )
    )
    row = functools.partial(Row, "gain", label, f"best: {best}")
    if case.problem in HEADLINE:
        target, note = HEADLINE[case.problem]
        out.append(
            row(
                "relative L2",
                **over_seeds(_errors(measurements[best])),
                reference=target,
                note=note,
            )
        )
    if EQUAL in measurements:
        gain = _gain(measurements)
        out += [
            row(GAIN, **over_seeds(gain)),
            row(LOSS, **over_seeds(1 / gain), reference="≤ 1.05"),
        ]
    return out


def _best(measurements: Mapping[str, Sequence[Mapping[str, float]]]) -> str | None:
    """The corrected way with the lowest error on functions held out; None where there is none."""
    corrected = [method for method in CORRECTED if method in measurements]
    return (
        min(
            corrected,
            key=lambda method: _errors(measurements[method], "relative L2, held out").mean(),
        )
        if corrected
        else None
    )


def _gain(measurements: Mapping[str, Sequence[Mapping[str, float]]]) -> np.ndarray:
    """Error of the same information as inputs over that of the best corrected way, a ratio for each
    seed.
    """
    return _errors(measurements[EQUAL]) / _errors(measurements[_best(measurements)])


def _errors(measured: Sequence[Mapping[str, float]], metric: str = "relative L2") -> np.ndarray:
    return np.array([m[metric] for m in measured])


def _rows(case: Case, method: str, measured: Sequence[Mapping[str, float]]) -> list[Row]:
    row = functools.partial(Row, case.problem, f"{case.number}, {case.steps} steps", method)
    out = []
    for metric in METRICS:
        values = over_seeds([m[metric] for m in measured])
        note = "one round of training" if math.isnan(values["mean"]) else ""
        out.append(
            row(
                metric, **values, reference=PUBLISHED.get((case.problem, method, metric)), note=note
            )
        )
    return out


def _largest_boundary_error(
    case: Case, label: str, corrected: Mapping[str, Sequence[Mapping[str, float]]]
) -> Row:
    """The largest boundary error of any corrected way, training and function."""
    slopes = any(side.kind == "neumann" for side in case.recipe("FNO", 0).boundary.sides)
    largest = max(m["largest"] for measured in corrected.values() for m in measured)
    what, target = ("slope", "≤ 1e-4") if slopes else ("value", "≤ 1e-6")
    return Row(
        "held",
        label,
        "every corrected way",
        f"largest error of a {what} at the boundary",
        largest,
        reference=target,
    )
