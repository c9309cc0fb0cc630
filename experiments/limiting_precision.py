"""From a soft total to an exact one: the same belief conditioned on the total with less and less
noise.

Each draw of a neural process's latent is conditioned on the exact total read with noise of standard
deviation s, and the draws are averaged as they come. The precision p = 1/s² runs from 1e-2, which
changes nothing, to 1e12; `exact` is the limit, noise zero, which is ProbConserv. For one draw, with
g the weights of the quadrature rule, σ² its variances and A = Σ g²σ² that of its total, what is
left of its error is

    total - exact = (total before - exact) / (1 + p A),

so that the soft correction is the exact one times p A / (1 + p A): it falls in step with the
precision once p A is large, as does the distance of the mean from the limit. A mean over draws of
different A need not fall at every step before that.

CE² is the square of the total's error, averaged over the test functions; MSE and LL are as in
`gpme_tables`. `distance` is the largest difference from the mean in the limit, over all points and
functions. The MSE may be least before the limit: the trapezoid rule does not see the exact total at
a front, and the noise it would need there is not zero (`scale="quadrature"`).

In square brackets the reference implementation with its own weights and test functions, run for
this project (dropout on). Its belief has other variances, so its transition lies elsewhere: no
effect up to 1e3, and the change between 1e4 and 1e7.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import bayescons as bc
from bayescons.plots.fields import COLOURS, FONT, MARKERS
from experiments import fields, panels
from experiments.black_boxes import neural_process, trained
from experiments.cases import Slice
from experiments.corrections import Components, Correction
from experiments.fields import Case
from experiments.measurement import growth_exponent
from experiments.neural_tables import unavailable, without_weights
from experiments.predictions import BATCH, judged, predictor
from experiments.rows import Row, averaged
from experiments.tables import Table, against_targets, left_out, pivot

EXACT = "exact"
METRICS = {
    "squared conservation error": "CE²",
    "conservation error": "CE",
    "mean squared error": "MSE",
    "log likelihood": "LL",
    "largest |mean - limit|": "distance",
}
PANELS = {
    "squared conservation error": "CE²",
    "mean squared error": "MSE",
    "log likelihood": "LL, nats a point",
}
# The reference's own checkpoints on its own 50 test functions, dropout on:
# github.com/amazon-science/probconserv, run for this project.
PUBLISHED = {
    ("porous_medium", 1.0): {
        "1e5": {"conservation error": 5.97e-3, "mean squared error": 7.65e-5},
        "1e6": {"conservation error": 3.06e-3, "mean squared error": 2.72e-5},
        "1e7": {"conservation error": 5.2e-4, "mean squared error": 1.60e-5},
        "1e8": {"conservation error": 5.6e-5, "mean squared error": 1.71e-5},
        EXACT: {"conservation error": 0.0, "mean squared error": 1.73e-5},
    },
    ("porous_medium", 3.0): {
        "1e5": {"mean squared error": 1.86e-4},
        EXACT: {"mean squared error": 2.09e-4},
    },
    ("porous_medium", 6.0): {EXACT: {"mean squared error": 1.04e-3}},
    ("stefan", 0.6): {
        "1e4": {"mean squared error": 4.27e-3},
        "1e5": {"mean squared error": 2.38e-3},
        "1e6": {"mean squared error": 1.93e-3},
        EXACT: {"mean squared error": 1.879e-3},
    },
}
FIGURES = {
    "": (
        "The squared error of the total, the mean squared error and the log likelihood against the "
        "precision of the total, averaged over the test functions. Dashed: the exact limit, which "
        "for the first is zero. All but the log likelihood are dimensionless."
    ),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        functions: test functions of each case.
        exponents: of ten, in the precisions.
        latents: draws of the latent.
        cases: problems and their parameters.
        points: of the grid.
    """

    functions: int
    exponents: tuple[int, ...]
    latents: int = 100
    cases: tuple[Case, ...] = (("stefan", 0.6), *fields.cases(["porous_medium"]))
    points: int = 201


SETTINGS = {
    "quick": Settings(functions=4, exponents=tuple(range(-2, 13, 2)), latents=30),
    "paper": Settings(functions=50, exponents=tuple(range(-2, 13))),
}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """A row for each case, precision and metric, and the law."""
    out = []
    for case in settings.cases:
        family, value = case
        if why := unavailable(family):
            out.append(without_weights(family, value, why))
            continue
        swept = sweep(case, settings, key)
        for precision, columns in swept.items():
            published = PUBLISHED.get(case, {}).get(precision, {})
            row = functools.partial(Row, family, Slice(family).label(value), precision)
            out += [
                row(m, **_summary(m, found), reference=published.get(m))
                for m, found in columns.items()
            ]
        out += _law(case, settings, swept)
    return out


def tables(rows: Sequence[Row]) -> list[Table]:
    """The sweep, and the law."""
    return [
        pivot("Precision of the total", rows, METRICS, methods="precision", beside=True),
        against_targets("The way to the limit", rows),
        *left_out(rows),
    ]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del key
    shown = [(family, value) for family, value in settings.cases if not unavailable(family)]
    if not shown:
        return {"": panels.notice(unavailable(settings.cases[0][0]))}
    at = {(r.problem, r.parameter, r.metric, r.method): r.mean for r in rows}
    figure = panels.sheet(7.0)
    grid = figure.subplots(len(PANELS), 1, sharex=True)
    for panel, (metric, label) in zip(grid, PANELS.items(), strict=True):
        panel.set(xscale="log", yscale="linear" if metric == "log likelihood" else "log")
        for place, (family, value) in enumerate(shown):
            found = {
                e: at[family, Slice(family).label(value), metric, _name(e)]
                for e in settings.exponents
            }
            look = {
                "color": COLOURS[place],
                "marker": MARKERS[place],
                "markersize": 5,
                "linewidth": 1.8,
            }
            panel.plot(
                [10.0**e for e in found],
                list(found.values()),
                **look,
                label=fields.title((family, value)),
            )
            if metric != "squared conservation error":
                limit = at[family, Slice(family).label(value), metric, EXACT]
                panel.axhline(limit, color=COLOURS[place], linestyle="--", linewidth=1.2)
        panels.finish(panel, ylabel=label)
    grid[-1].set_xlabel("precision 1/s² of the total (dimensionless)", fontsize=FONT)
    figure.align_ylabels()
    panels.legend_below(figure, grid[0].get_legend_handles_labels()[0], columns=2)
    return {"": figure}


def stated(where: Slice, scale: float | None) -> Correction:
    """Each draw of the latent conditioned on the total with this noise, None for none; the draws
    averaged as they come.
    """
    mass = bc.integral(where.grid, over="x")

    def correct(members, value, key) -> Components:
        belief = bc.diagonal(members.mean, members.scale, batch_dims=1)
        posterior = bc.condition(
            belief, bc.Constraint(mass, where.total(value), scale=scale, name="mass")
        )
        profiles = posterior.sample(key)
        return Components(
            posterior.mean[:, 0], posterior.variance[:, 0], jnp.zeros(len(profiles)), profiles
        )

    return correct


def sweep(case: Case, settings: Settings, key: jax.Array) -> dict[str, dict[str, np.ndarray]]:
    """By precision and metric, numbers of shape (functions,). A few functions at a time, as all
    precisions are held at once.
    """
    where = Slice(case[0], settings.points)
    scales = {_name(e): 10.0 ** (-e / 2) for e in settings.exponents} | {EXACT: None}
    box = neural_process(trained(f"anp_{where.family}"), where, draws=settings.latents)
    predict = predictor(box, {name: stated(where, scale) for name, scale in scales.items()})
    parts: dict[str, list] = {name: [] for name in scales}
    keys = fields.function_keys(key, case, settings.functions)
    for some in (keys[start : start + BATCH] for start in range(0, len(keys), BATCH)):
        values = np.full(len(some), case[1])
        found = predict(values, some)
        for name, prediction in found.items():
            scores = judged(where, values, prediction)
            scores["squared conservation error"] = scores["conservation error"] ** 2
            scores["largest |mean - limit|"] = np.abs(prediction.mean - found[EXACT].mean).max(
                axis=-1
            )
            parts[name].append(scores)
    return {
        name: {m: np.concatenate([p[m] for p in some]) for m in METRICS}
        for name, some in parts.items()
    }


def _law(case: Case, settings: Settings, swept: dict[str, dict[str, np.ndarray]]) -> list[Row]:
    """How the error of the total falls at the highest precisions, and how much of the correction is
    missing at the highest.
    """
    family, value = case
    first, last = settings.exponents[0], settings.exponents[-3:]
    squares = [float(swept[_name(e)]["squared conservation error"].mean()) for e in last]
    farthest, nearest = (
        float(swept[_name(e)]["largest |mean - limit|"].max()) for e in (first, last[-1])
    )
    exponent, rises = (
        growth_exponent([10.0**e for e in last], squares),
        float(np.sum(np.diff(squares) > 0)),
    )
    row, span = (
        functools.partial(Row, family, Slice(family).label(value)),
        f"{_name(last[0])} to {_name(last[-1])}",
    )
    return [
        row(span, "exponent of CE²", exponent, reference="≤ -1.9"),
        row(span, "steps at which CE² rises", rises, reference="≤ 0"),
        row(
            _name(last[-1]),
            "missing share of the correction",
            nearest / farthest,
            reference="≤ 1e-4",
        ),
    ]


def _summary(metric: str, values: np.ndarray) -> dict:
    """The largest of distances, the mean of all else."""
    return (
        {"mean": float(values.max()), "n": len(values)} if "largest" in metric else averaged(values)
    )


def _name(exponent: int) -> str:
    return f"1e{exponent}"
