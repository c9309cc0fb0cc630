"""Speed of operators: what a correction at the boundary costs, forward and in a training step.

The same Fourier operator is run with each correction and without, boundary values among its inputs
in both, float32, in one process and in turns: each is compiled, then all are timed one after
another, several times round. Forward is one compiled call for a batch. A training step is loss,
gradient and Adam on a fixed batch, several of them as one compiled call, as they run in training.
Ratios are those of the medians to `FNO + values`.

The public code takes 7.1 times as long forward and 6.2 times as long a step at the same size of one
axis (processor, one thread; 24 and 75 ms without its correction), and 5.7 and 4.8 times with space
and time.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure

from bayescons.plots.fields import COLOURS
from bayescons.training import Schedule, relative_error
from experiments import panels
from experiments.measurement import timings
from experiments.operators import CORRECTED, EQUAL, PLACES, Case, new_functions
from experiments.rows import Row
from experiments.tables import Table, against_targets, pivot

KINDS = ("forward", "training step")
TARGETS = {"forward": "≤ 1.10", "training step": "≤ 1.25", "training step, with time": "≤ 1.4"}
METRICS = {name: name for kind in KINDS for name in (f"{kind}, ms", f"{kind}, ratio")}
FIGURES = {"": "Time with each correction over time without, forward and in a training step."}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Sizes of a run.

    Attributes:
        cases: families and sizes.
        steps: of training in one call.
        rounds: how often all are timed.
        methods: corrected ones of `METHODS`.
    """

    cases: tuple[Case, ...]
    steps: int = 5
    rounds: int = 5
    methods: tuple[str, ...] = CORRECTED


LINE = Case("stokes_second", points=500, modes=16, width=64)
SETTINGS = {
    "quick": Settings(cases=(LINE,), steps=2, rounds=5),
    "paper": Settings(
        cases=(
            LINE,
            dataclasses.replace(LINE, problem="forced_heat"),
            Case("stokes_second", points=128, times=25, modes=12, width=32, size=4),
        ),
        rounds=41,
    ),
}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """Milliseconds and ratios of each case and method."""
    out = []
    for case in settings.cases:
        thunks = {}
        for method in (EQUAL, *settings.methods):
            for kind, thunk in zip(KINDS, _thunks(case, method, key, settings.steps), strict=True):
                thunks[f"{method}, {kind}"] = thunk
        with jax.enable_x64(False):
            seconds = timings(thunks, repeats=1, rounds=settings.rounds, budget=math.inf)
        row = functools.partial(
            Row, case.problem, f"{case.number}, width {case.width}, batch {case.size}"
        )
        for method in (EQUAL, *settings.methods):
            for kind in KINDS:
                corrected, plain = seconds[f"{method}, {kind}"], seconds[f"{EQUAL}, {kind}"]
                count = settings.steps if kind == "training step" else 1
                out.append(
                    row(
                        method,
                        f"{kind}, ms",
                        float(1e3 * np.median(corrected)) / count,
                        n=corrected.size,
                    )
                )
                if method != EQUAL:
                    ratio = float(np.median(corrected) / np.median(plain))
                    target = (
                        TARGETS.get(f"{kind}, with time" if case.times > 1 else kind)
                        if method == "features"
                        else None
                    )
                    out.append(
                        row(method, f"{kind}, ratio", ratio, n=corrected.size, reference=target)
                    )
    return out


def tables(rows: Sequence[Row]) -> list[Table]:
    """Times and ratios; and what was aimed at."""
    return [pivot("Forward, and a training step", rows, METRICS), against_targets("Aimed at", rows)]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del settings, key
    sizes = list(dict.fromkeys((row.problem, row.parameter) for row in rows))
    figure = panels.sheet(3.8)
    for panel, kind in zip(figure.subplots(1, 2, sharey=True), KINDS, strict=True):
        methods = [
            m
            for m in PLACES
            if any(row.method == m and row.metric.endswith("ratio") for row in rows)
        ]
        for offset, method in enumerate(methods):
            ratios = {
                (r.problem, r.parameter): r.mean
                for r in rows
                if (r.method, r.metric) == (method, f"{kind}, ratio")
            }
            places = np.arange(len(sizes)) + (offset - (len(methods) - 1) / 2) * 0.8 / len(methods)
            panel.bar(
                places,
                [ratios[size] for size in sizes],
                0.75 / len(methods),
                color=COLOURS[PLACES[method]],
            )
        panel.axhline(1.0, color="black", linewidth=1.0)
        panels.finish(panel, title=kind, ylabel="time / time without" if kind == "forward" else "")
        panel.set_xticks(range(len(sizes)), [_short(*size) for size in sizes])
    panels.legend_below(figure, [panels.Patch(color=COLOURS[PLACES[m]], label=m) for m in methods])
    return {"": figure}


def _short(problem: str, parameter: str) -> str:
    kind = "slopes" if problem == "forced_heat" else "values"
    return f"space, time\n{kind}" if "times" in parameter else f"space\n{kind}"


def _thunks(
    case: Case, method: str, key: jax.Array, steps: int
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Forward for a batch, and some steps of training on it."""
    batch = new_functions(case, key, case.size)
    with jax.enable_x64(False):
        definition, weights, rest = nnx.split(case.recipe(method, 0).network(), nnx.Param, ...)
        optimiser = Schedule(case.steps, case.rate).optimiser()
        memory = optimiser.init(weights)

    @jax.jit
    def forward(weights, batch):
        network = nnx.merge(definition, weights, rest)
        return jax.vmap(lambda inputs, values: network(inputs, values))(
            batch.inputs, batch.boundary
        )

    @jax.jit
    def train(state, batch):
        def step(state, _):
            weights, memory = state
            loss, slope = jax.value_and_grad(
                lambda w: relative_error(nnx.merge(definition, w, rest), batch)
            )(weights)
            change, memory = optimiser.update(slope, memory, weights)
            return (optax.apply_updates(weights, change), memory), loss

        return jax.lax.scan(step, state, jnp.arange(steps))

    return lambda: forward(weights, batch), lambda: train((weights, memory), batch)
