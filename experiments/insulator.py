"""The insulated end: what Fourier operators say of the flux of heat where it is known.

A rod is insulated at x = 0 and heated at x = 1, so that both slopes are known: zero, and U sin πt.
The networks of `boundary_tables` predict the temperature of new functions, and slopes are read off
it: at the ends as the stencil of third order finds them, inside by central differences. A network
that does not know the condition is right about the temperature and wrong about the flux; one whose
output is conditioned on it is right about both.

In square brackets stand the slope errors published for one function of a Fourier operator without
boundary values, read off a figure: 1.99 at the insulated end and 11.09 at the heated one, where the
exact slope is 5. The figure is of the new function on which `FNO` has its median error in the first
training.
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
    CORRECTED,
    METHODS,
    PLACES,
    Case,
    boundary_errors,
    fields,
    new_functions,
    over_seeds,
    train_once,
)
from experiments.rows import Row
from experiments.tables import Table, against_targets, pivot

LOWER, UPPER, INSIDE = "slope error at x = 0", "slope error at x = 1", "rms slope error inside"
METRICS = {
    LOWER: "at the insulated end",
    UPPER: "at the heated end",
    INSIDE: "inside, root mean square",
}
PUBLISHED = {("FNO", LOWER): 1.99, ("FNO", UPPER): 11.09}
NODES = 12  # from each end, in the figure
FIGURES = {
    "": (
        "By how much the slope ∂u/∂x of one predicted temperature differs from the exact one, node "
        "by node near both ends. The corrected ones are exact at the end itself. All quantities "
        "are dimensionless."
    )
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        case: sizes of the training on heat.
        seeds: trainings.
        functions: new ones.
        methods: names of `METHODS`.
    """

    case: Case
    seeds: int
    functions: int = 100
    methods: tuple[str, ...] = tuple(METHODS)


SETTINGS = {
    name: Settings(
        next(case for case in tables.cases if case.problem == "forced_heat"),
        tables.seeds,
        tables.functions,
    )
    for name, tables in boundary_tables.SETTINGS.items()
}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """A row for each method and place; and the largest error of any corrected network."""
    case = settings.case
    samples = new_functions(case, key, settings.functions)
    out, largest = [], 0.0
    for method in settings.methods:
        errors: dict[str, list[float]] = {metric: [] for metric in METRICS}
        for seed in range(settings.seeds):
            network = train_once(case.recipe(method, seed)).network
            u = fields(network, samples)
            at_ends = boundary_errors(network.boundary, u, samples)
            error = _slopes(u, case) - _slopes(np.asarray(samples.outputs, float), case)
            inside = np.sqrt(np.mean(error[:, 1:-1] ** 2, axis=1))
            for metric, values in zip(METRICS, (*at_ends, inside), strict=True):
                errors[metric].append(float(values.mean()))
            if method in CORRECTED:
                largest = max(largest, *(float(values.max()) for values in at_ends))
        for metric, values in errors.items():
            beside = PUBLISHED.get((method, metric))
            out.append(
                Row(
                    case.problem,
                    f"{case.number}, {case.steps} steps",
                    method,
                    metric,
                    **over_seeds(values),
                    reference=beside,
                )
            )
    return [
        *out,
        Row(
            "held",
            case.label,
            "every corrected way",
            "largest slope error",
            largest,
            reference="≤ 1e-4",
        ),
    ]


def tables(rows: Sequence[Row]) -> list[Table]:
    """Slope errors, and that a known slope is kept."""
    return [
        pivot("Slopes", rows, METRICS, beside=True),
        against_targets("A slope that is known", rows),
    ]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del rows
    case = settings.case
    samples = new_functions(case, key, settings.functions)
    x, exact = (
        case.recipe("FNO", 0).boundary.grid["x"],
        _slopes(np.asarray(samples.outputs, float), case),
    )
    slopes_by_method = {
        m: _slopes(fields(train_once(case.recipe(m, 0)).network, samples), case)
        for m in settings.methods
    }
    error = np.abs(next(iter(slopes_by_method.values())) - exact)[:, [0, -1]].max(axis=1)
    one = int(np.argsort(error)[len(error) // 2])
    figure = panels.sheet(4.2)
    nodes = min(NODES, len(x) // 2)
    for panel, part, end in zip(
        figure.subplots(1, 2),
        (slice(nodes), slice(-nodes, None)),
        ("insulated", "heated"),
        strict=True,
    ):
        for method, slopes in slopes_by_method.items():
            panel.plot(x[part], slopes[one, part] - exact[one, part], **panels.look(PLACES[method]))
        panel.axhline(0, **TRUTH)
        panels.finish(
            panel,
            title=f"the {end} end",
            xlabel="position x",
            ylabel="error of the slope ∂u/∂x" if end == "insulated" else "",
        )
    panels.legend_below(
        figure,
        [*(panels.line(PLACES[m], m) for m in slopes_by_method), panels.truth("exact")],
        columns=4,
    )
    return {"": figure}


def _slopes(u: np.ndarray, case: Case) -> np.ndarray:
    """Slopes at all nodes, (functions, points): at the ends by the stencils of the sides, inside by
    central differences.
    """
    boundary = case.recipe("FNO", 0).boundary
    slopes = np.gradient(u, boundary.grid["x"], axis=1)
    slopes[:, 0], slopes[:, -1] = (u @ row for row in boundary.rows("x"))
    return slopes
