"""The lid-driven cavity: velocities from operators that know the walls, their vorticity, and its
error over 25 snapshots.

A lid slides over a square box of fluid at rest. What is known is velocity: zero on three walls, the
lid's on the fourth. One operator predicts u and one v, for all snapshots at once, from the lid's
speed; vorticity is the curl of the two. (The published experiment predicts vorticity, and takes its
values on the walls, which nobody knows, from the test set.) Errors are relative, in L2 over all
nodes of a snapshot: of both velocities together, and of vorticity against the curl of the true
velocities on the same nodes.

In square brackets stand the published errors of vorticity in the first and the last of 25 snapshots
on 50 × 50 nodes, read off a film, of an operator without boundary values; those with them, .0014
and .0031, are aimed at. The grid here is coarser, the network smaller and the training ten times
shorter, being sized for a processor. At the two ends of the lid vorticity is infinite: its values
there are those of the grid, not of the flow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from bayescons.solvers import curl
from experiments import panels
from experiments.operators import (
    CORRECTED,
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

FIELDS = ("velocity_x", "velocity_y")
METRICS = {
    f"{what}, {when} snapshot": f"{what}, {when}"
    for what in ("vorticity", "velocity")
    for when in ("first", "worst", "last")
}
PUBLISHED = {
    ("FNO", "vorticity, first snapshot"): 0.00285,
    ("FNO", "vorticity, last snapshot"): 0.0045,
}
TARGETS = {"vorticity, first snapshot": "≤ 0.0014", "vorticity, last snapshot": "≤ 0.0031"}
FIGURES = {
    "": (
        "Vorticity of one new flow in the last snapshot: the curl of the true velocities, and for "
        "each method its error, these on one scale. The wall that moves is above."
    ),
    "_over_time": "Relative error of velocities and of vorticity over time, mean over new flows.",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        case: sizes of the trainings.
        functions: new flows.
        methods: names of `METHODS`.
    """

    case: Case
    functions: int = 20
    methods: tuple[str, ...] = ("FNO", "FNO + values", "reference", "features")


_SIZES: dict[str, Any] = {
    "numbers": (("intervals", 50),),
    "held_out": 20,
    "modes": 5,
    "width": 16,
    "size": 4,
}
SETTINGS = {
    "quick": Settings(
        Case("cavity", points=17, times=5, samples=40, steps=100, **_SIZES),
        functions=10,
        methods=("FNO + values", "features"),
    ),
    "paper": Settings(Case("cavity", points=26, times=25, samples=100, steps=3000, **_SIZES)),
}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """Errors of each method, and the largest error at a wall."""
    case, out = settings.case, []
    truth, largest = _true_velocities(settings, key), 0.0
    for method in settings.methods:
        predicted, walls = _predict(method, settings, key)
        errors = _errors(predicted, truth, case)
        for what, values in errors.items():
            for when, one in zip(
                ("first", "worst", "last"),
                (values[:, 0], values.max(axis=1), values[:, -1]),
                strict=True,
            ):
                metric = f"{what}, {when} snapshot"
                beside = PUBLISHED.get(
                    (method, metric), TARGETS.get(metric) if method in CORRECTED else None
                )
                out.append(
                    Row(
                        "cavity",
                        f"{case.number}, {case.steps} steps",
                        method,
                        metric,
                        **averaged(one),
                        reference=beside,
                    )
                )
        largest = max(largest, walls) if method in CORRECTED else largest
    return [
        *out,
        Row(
            "cavity",
            case.number,
            "every corrected way",
            "largest error of a wall's velocity",
            largest,
            reference="≤ 1e-6",
        ),
    ]


def tables(rows: Sequence[Row]) -> list[Table]:
    """Errors, and what was aimed at."""
    return [
        pivot("Relative errors in L2", rows, METRICS, beside=True),
        against_targets("Aimed at", rows),
    ]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del rows
    case = settings.case
    truth = _true_velocities(settings, key)
    predicted = {method: _predict(method, settings, key)[0] for method in settings.methods}
    exact = _vorticity(truth, case)[0, -1]
    errors = {method: _vorticity(both, case)[0, -1] - exact for method, both in predicted.items()}
    lines = -(-(1 + len(errors)) // 2)
    figure = panels.sheet(3.0 * lines)
    places = figure.subplots(lines, 2, squeeze=False).ravel()
    for panel in places[1 + len(errors) :]:
        panel.set_visible(False)
    inside = (slice(1, -1), slice(1, -1))
    scale, largest = (
        np.abs(exact[inside]).max(),
        max(np.abs(error[inside]).max() for error in errors.values()),
    )
    shown = [
        ("exact", exact, scale),
        *((f"error, {method}", error, largest) for method, error in errors.items()),
    ]
    for panel, (title, field, limit) in zip(places, shown, strict=False):
        image = panel.imshow(
            field.T, origin="lower", extent=(0, 1, 0, 1), cmap="RdBu_r", vmin=-limit, vmax=limit
        )
        panels.finish(panel, title=title, xlabel="x", ylabel="y", ticks=2)
        panel.grid(False)
        figure.colorbar(image, ax=panel, shrink=0.8)
    return {"": figure, "_over_time": _over_time(predicted, truth, case)}


def _over_time(
    predicted: dict[str, tuple[np.ndarray, np.ndarray]],
    truth: tuple[np.ndarray, np.ndarray],
    case: Case,
) -> Figure:
    figure = panels.sheet(3.8)
    times = case.recipe("FNO", 0).boundary.grid["t"]
    row = figure.subplots(1, 2, sharey=True)
    for method, both in predicted.items():
        for panel, (what, values) in zip(row, _errors(both, truth, case).items(), strict=True):
            panel.plot(times, values.mean(axis=0), **panels.look(PLACES[method]))
            scale_logarithmically(panel)
            panels.finish(
                panel,
                title=what,
                xlabel="time t (dimensionless)",
                ylabel="relative L2" if panel is row[0] else "",
            )
    scale_logarithmically(row[0])
    panels.legend_below(figure, [panels.line(PLACES[m], m) for m in predicted])
    return figure


def _of(field: str, case: Case) -> Case:
    return dataclasses.replace(case, numbers=(*case.numbers, ("field", field)))


def _true_velocities(settings: Settings, key: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Velocities u and v of the new flows, each (flows, times, x, y)."""
    samples = (
        new_functions(_of(field, settings.case), key, settings.functions) for field in FIELDS
    )
    u, v = (np.asarray(s.outputs, float) for s in samples)
    return u, v


def _predict(
    method: str, settings: Settings, key: jax.Array
) -> tuple[tuple[np.ndarray, np.ndarray], float]:
    """Predicted velocities, and their largest error at a wall."""
    out, walls = [], 0.0
    for field in FIELDS:
        case = _of(field, settings.case)
        network, samples = (
            train_once(case.recipe(method, 0)).network,
            new_functions(case, key, settings.functions),
        )
        out.append(fields(network, samples, together=case.size))
        walls = max(
            walls,
            float(errors_by_metric(network.boundary, out[-1], samples)["boundary error"].max()),
        )
    return (out[0], out[1]), walls


def _vorticity(both: tuple[np.ndarray, np.ndarray], case: Case) -> np.ndarray:
    return np.asarray(curl(*both, 1 / (case.points - 1)))


def _errors(
    predicted: tuple[np.ndarray, np.ndarray], truth: tuple[np.ndarray, np.ndarray], case: Case
) -> dict[str, np.ndarray]:
    """Relative errors by snapshot, (flows, times), of velocities and of vorticity."""
    velocity = (np.stack(predicted), np.stack(truth))
    vorticity = (_vorticity(predicted, case)[None], _vorticity(truth, case)[None])
    return {
        name: np.sqrt(np.sum((one - other) ** 2, axis=(0, 3, 4)) / np.sum(other**2, axis=(0, 3, 4)))
        for name, (one, other) in {"velocity": velocity, "vorticity": vorticity}.items()
    }
