"""The total over time: how much of it a neural process loses, and what is left of that once the
total is stated.

For each of N test functions an attentive neural process, given 10 × 10 readings, predicts the whole
field, times by positions, as a mixture over draws of its latent; its total at a time is the
trapezoid rule on the mean. The error is that total less the exact one, with its sign; what is
tabled is its absolute value, the largest over the times and the mean over them, averaged over the
functions, with standard errors in brackets. The largest is often that of the very first times, when
a field that starts with a jump has hardly moved.

* `ANP`: nothing added.
* `HardC-ANP`: each mean moved to the nearest with the exact total at every time.
* `ProbConserv-ANP`: each draw conditioned on the total at every time (imposed).
* `trapezoid rule`: the rule on the exact solution itself, which is what the quadrature cannot know.
  Where the ANP's error is of this size, the network is not to blame, and to state the exact total
  is to ask the mean for more than the truth has. Zero for the sine wave.

HardC and ProbConserv have the same total by construction, up to rounding; in which shape they pay
for it is shown in `heteroskedastic`.
For orientation: in the published figure for diffusion with k = 5 (Hansen et al., ICML 2023) the
ANP's error lies between 3e-3 and 6e-3, and that of an ANP trained with a penalty on the equation
between 1e-3 and 3.5e-3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import bayescons as bc
from bayescons.plots.fields import TRUTH
from bayescons.surrogates import latent_draws
from experiments import fields, panels
from experiments.black_boxes import trained
from experiments.cases import Slice
from experiments.fields import BASIC, PLACES, Case
from experiments.neural_tables import unavailable, without_weights
from experiments.rows import Row, averaged
from experiments.tables import Table, against_targets, left_out, pivot

RULE = "trapezoid rule"
GREY = "0.55"
METRICS = {"largest |error|": "largest |error|", "mean |error|": "mean |error|"}
FIGURES = {
    "": (
        "The total of the predicted mean over time and, below each, its error: the mean over the "
        "test functions, the band two standard deviations between them. Grey: what the trapezoid "
        "rule makes of the exact solution. All quantities are dimensionless."
    ),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        cases: problems and their parameters.
        functions: test functions of each.
        latents: draws of the latent.
        times: of the grid.
        points: of the grid.
    """

    cases: tuple[Case, ...]
    functions: int
    latents: int
    times: int = 51
    points: int = 101


_PUBLISHED = (
    ("diffusion", 5.0),
    ("diffusion", 1.0),
    ("stefan", 0.6),
    *fields.cases(["porous_medium"]),
)
SETTINGS = {
    "quick": Settings(cases=(("stefan", 0.6),), functions=4, latents=20),
    "paper": Settings(cases=_PUBLISHED, functions=50, latents=50),
}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """A row for each case, method and metric."""
    out = []
    for family, value in settings.cases:
        if why := unavailable(family):
            out.append(without_weights(family, value, why))
            continue
        exact, found = totals((family, value), settings, key)
        for method, total in found.items():
            error = np.abs(total - exact)
            sizes = {"largest |error|": error.max(axis=-1), "mean |error|": error.mean(axis=-1)}
            aim = (
                {"largest |error|": "≤ 1e-12"} if method in ("HardC-ANP", "ProbConserv-ANP") else {}
            )
            label = Slice(family).label(value)
            out += [
                Row(family, label, method, m, **averaged(size), reference=aim.get(m))
                for m, size in sizes.items()
            ]
    return out


def tables(rows: Sequence[Row]) -> list[Table]:
    """Errors; and that a stated total is kept."""
    return [
        pivot("Error of the total", rows, METRICS),
        against_targets("A total that was stated", rows),
        *left_out(rows),
    ]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del rows
    shown = [case for case in settings.cases if not unavailable(case[0])]
    if not shown:
        return {"": panels.notice(unavailable(settings.cases[0][0]))}
    columns = min(3, len(shown))
    height = -(-len(shown) // columns)
    figure = panels.sheet(0.6 + 3.6 * height)
    grid = figure.subplots(2 * height, columns, height_ratios=(3, 2) * height, squeeze=False)
    for place, case in enumerate(shown):
        row, column = divmod(place, columns)
        _draw(
            grid[2 * row : 2 * row + 2, column],
            case,
            settings,
            totals(case, settings, key),
            first=column == 0,
        )
    for place in range(len(shown), height * columns):
        for panel in grid[-2:, place % columns]:
            panel.set_visible(False)
    figure.align_ylabels(grid[:, 0])
    entries = [panels.line(PLACES[name], name) for name in BASIC]
    panels.legend_below(
        figure, [*entries, panels.truth("exact"), Line2D([], [], color=GREY, label=RULE)], columns=3
    )
    return {"": figure}


@fields.once
def totals(
    case: Case, settings: Settings, key: jax.Array
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Exact totals, shape (times,), and by method those of the predicted mean, shape (functions,
    times); one function at a time.
    """
    family, value = case
    where, network = Slice(family), trained(f"anp_{family}")
    grid = where.problem(value).grid(settings.times, settings.points)
    mass = bc.integral(grid, over="x")
    exact = where.problem(value).total(grid["t"])

    def one(key):
        key_readings, key_latent = jax.random.split(jax.random.split(key)[0])
        drawn = latent_draws(
            network, where.readings(value, key_readings), grid, key_latent, draws=settings.latents
        )
        mean, scale = (jnp.asarray(a, exact.dtype) for a in drawn[:2])
        stated = bc.Constraint(mass, exact, name="mass")
        projected = bc.condition(bc.diagonal(mean.mean(axis=0), 1.0), stated).mean
        conditioned = bc.condition(bc.diagonal(mean, scale, batch_dims=1), stated).mean.mean(axis=0)
        return {
            name: mass(u)
            for name, u in zip(BASIC, (mean.mean(axis=0), projected, conditioned), strict=True)
        }

    found = jax.jit(lambda keys: jax.lax.map(one, keys))(
        fields.function_keys(key, case, settings.functions)
    )
    ruled = mass(where.problem(value).solution(**grid.mesh()))
    return np.asarray(exact), {name: np.asarray(total) for name, total in found.items()} | {
        RULE: np.asarray(ruled)[None]
    }


def _draw(
    pair,
    case: Case,
    settings: Settings,
    found: tuple[np.ndarray, dict[str, np.ndarray]],
    *,
    first: bool,
) -> None:
    """Totals above, errors below."""
    upper, lower = pair
    (family, value), (exact, by_method) = case, found
    t = Slice(family).problem(value).grid(settings.times, 2)["t"]
    lower.plot(t, by_method[RULE][0] - exact, color=GREY, linewidth=1.0)
    for name in BASIC:
        total, place = by_method[name], PLACES[name]
        spread = total.std(axis=0, ddof=1) if len(total) > 1 else 0 * exact
        panels.band(upper, t, total.mean(axis=0), spread, place, deviations=2.0)
        panels.band(lower, t, total.mean(axis=0) - exact, spread, place, deviations=2.0)
    upper.plot(t, exact, **TRUTH)
    lower.axhline(0.0, **TRUTH)
    lower.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    upper.tick_params(labelbottom=False)
    panels.finish(upper, title=fields.title(case), ylabel="total ∫ u dx" if first else "", ticks=3)
    panels.finish(lower, xlabel="time t (dimensionless)", ylabel="error" if first else "", ticks=3)
