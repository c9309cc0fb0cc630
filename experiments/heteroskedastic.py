"""Where the correction goes: to where the belief is unsure, to everywhere alike, or along what its
draws disagree about.

A total that is missing has to be put somewhere. With g the weights of the quadrature rule, K the
covariance of the belief and e = g'm - b the error of its total, each correction moves the mean by

* `ProbConserv-ANP`: -K g e / g'K g with K = diag σ² of each draw of the latent: in proportion to
  the variance at a point;
* `HardC-ANP`: -g e / g'g, the same at every point but for the two at the ends, whose weight is
  half;
* `mass, low rank`: -K g e / g'K g with the K of moment-matched draws, diag σ² + F F': also along
  what the draws of the latent differ in.

Over the test functions, tabled are the share of the correction, Σ |u' - u|, that falls within 0.05
of the front, of which an even one has a tenth; the correlation over the points of |u' - u| with the
|error| there was, not for HardC, where the two ends alone would make it; and the squared error that
is left, as a share of the squared error before: below 1 the correction went to the right places.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayescons.plots.fields import FONT, TRUTH
from experiments import fields, panels
from experiments.cases import Slice
from experiments.fields import PLACES, Case
from experiments.neural_tables import unavailable, without_weights
from experiments.predictions import Prediction
from experiments.rows import Row, averaged
from experiments.tables import Table, left_out, pivot

BEFORE = "ANP"
CORRECTIONS = ("ProbConserv-ANP", "HardC-ANP", "mass, low rank")
DOTTED = 3  # among `bayescons.plots.STYLES`
NEAR = 0.05  # distance from the front, in the unit of x
METRICS = {
    "share of the correction near the front": "share near the front",
    "correlation with |error|": "correlation with |error|",
    "squared error / before": "squared error / before",
}
FIGURES = {
    "": (
        "One test function of each problem, about its front (dotted). Above, the standard "
        "deviation of the prediction, and the part of it in which draws of the latent differ; "
        "below, what each correction adds to the mean, and what was missing. All quantities are "
        "dimensionless."
    ),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        functions: test functions of each case.
        latents: draws of the latent.
        cases: problems and their parameters.
        points: of the grid.
    """

    functions: int
    latents: int = 100
    cases: tuple[Case, ...] = (("stefan", 0.6), ("porous_medium", 3.0))
    points: int = 201


SETTINGS = {"quick": Settings(functions=4, latents=30), "paper": Settings(functions=50)}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """A row for each case, correction and metric."""
    out = []
    for case in settings.cases:
        family, value = case
        if why := unavailable(family):
            out.append(without_weights(family, value, why))
            continue
        where, found = Slice(family, settings.points), predictions(case, settings, key)
        error = np.asarray(where.truth(value)) - found[BEFORE].mean
        front = float(where.problem(value).front(where.kind.time_of_interest))
        near = np.abs(where.grid["x"] - front) <= NEAR
        for method in CORRECTIONS:
            change = found[method].mean - found[BEFORE].mean
            size = np.abs(change)
            row = functools.partial(Row, family, where.label(value), method)
            share, together, left = METRICS
            correlation = [
                np.corrcoef(a, b)[0, 1] for a, b in zip(size, np.abs(error), strict=True)
            ]
            out += [
                row(share, **averaged(size[:, near].sum(axis=-1) / size.sum(axis=-1))),
                row(together, math.nan, n=0, note="even")
                if method == "HardC-ANP"
                else row(together, **averaged(correlation)),
                row(
                    left, **averaged(((error - change) ** 2).sum(axis=-1) / (error**2).sum(axis=-1))
                ),
            ]
    return out


def tables(rows: Sequence[Row]) -> list[Table]:
    """Where the correction went."""
    return [pivot("The correction", rows, METRICS), *left_out(rows)]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del rows
    shown = [case for case in settings.cases if not unavailable(case[0])]
    if not shown:
        return {"": panels.notice(unavailable(settings.cases[0][0]))}
    figure = panels.sheet(5.6)
    grid = figure.subplots(2, len(shown), sharex="col", squeeze=False)
    for column, case in zip(grid.T, shown, strict=True):
        _draw(column, case, predictions(case, settings, key), settings)
    grid[0, 0].set_ylabel("standard deviation", fontsize=FONT)
    grid[1, 0].set_ylabel("correction u' - u", fontsize=FONT)
    figure.align_ylabels()
    entries = [
        panels.line(PLACES[BEFORE], "standard deviation"),
        panels.line(PLACES[BEFORE], "between draws", dash=DOTTED),
    ]
    entries += [panels.line(PLACES[method], method) for method in CORRECTIONS]
    panels.legend_below(figure, [*entries, panels.truth("exact - before")], columns=3)
    return {"": figure}


@fields.once
def predictions(case: Case, settings: Settings, key: jax.Array) -> dict[str, Prediction]:
    """Of the test functions, by correction, all from the same draws."""
    predict = fields.corrected(
        Slice(case[0], settings.points), settings.latents, (BEFORE, *CORRECTIONS)
    )
    return predict(
        np.full(settings.functions, case[1]), fields.function_keys(key, case, settings.functions)
    )


def _draw(
    column: Sequence[Axes], case: Case, found: dict[str, Prediction], settings: Settings
) -> None:
    """Standard deviations above, corrections below, within a few times `NEAR` of the front."""
    (family, value), (upper, lower) = case, column
    where = Slice(family, settings.points)
    x, front = where.grid["x"], float(where.problem(value).front(where.kind.time_of_interest))
    shown = np.abs(x - front) <= 3 * NEAR
    means = found[BEFORE].components[0][0]
    upper.plot(x[shown], np.sqrt(found[BEFORE].variance[0])[shown], **panels.look(PLACES[BEFORE]))
    upper.plot(x[shown], means.std(axis=0)[shown], **panels.look(PLACES[BEFORE], dash=DOTTED))
    before = found[BEFORE].mean[0]
    for method in CORRECTIONS:
        lower.plot(x[shown], (found[method].mean[0] - before)[shown], **panels.look(PLACES[method]))
    lower.plot(x[shown], (np.asarray(where.truth(value))[0] - before)[shown], **TRUTH)
    for panel in column:
        panel.axvline(front, color="0.5", linestyle=":", linewidth=1.0, zorder=0)
    panels.finish(upper, title=fields.title(case))
    panels.finish(lower, xlabel="position x")
