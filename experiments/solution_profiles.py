"""Profiles of one test function: what a neural process believes at the time of interest, and what
the total makes of it.

For each problem and parameter one test function, the first of those in the tables: mean, central 95
% band of a normal with the mixture's mean and variance, the exact solution dashed, and as crosses
the readings at the time nearest to the one shown (they are of that time, not of this one, and need
not lie on the dashed line).

* `ANP`: nothing added.
* `HardC-ANP`: the mean moved evenly to the exact total, the spread left as it was.
* `ProbConserv-ANP`: each draw of the latent conditioned on the total, the draws averaged as they
  come.
* `mass observed, unknown stretch`: the field may be dilated about the lower wall by a factor that
  is not known to within 5 %, and the total is evidence about it. There is none for diffusion: a
  ring cannot be dilated.

MSE and LL are those of this one function; what holds on average stands in `gpme_tables` and
`hyperbolic_tables`. u* = 0.5 lies outside the range of the training functions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayescons.diagnostics import normal_quantile
from bayescons.plots.fields import FONT, TITLE, TRUTH
from experiments import fields, panels
from experiments.cases import FAMILIES, Slice
from experiments.fields import PLACES, Case
from experiments.neural_tables import STRETCH, unavailable, without_weights
from experiments.predictions import Prediction, judged
from experiments.rows import Row
from experiments.tables import Table, left_out, pivot

HEADINGS = {
    "ANP": "ANP",
    "HardC-ANP": "HardC-ANP",
    "ProbConserv-ANP": "ProbConserv-\nANP",
    STRETCH: "observed,\nunknown stretch",
}
METRICS = {
    "mean squared error": "MSE",
    "log likelihood": "LL",
    "log likelihood of the mixture": "LL, mixture",
}
WINDOWS = {
    "stefan": (0.1, 0.4),
    "porous_medium": (0.35, 0.6),
    "advection": (0.4, 1.0),
    "burgers": (-0.7, 0.7),
}  # about the fronts
SHOWN = {
    "stefan": (0.6, 0.5),
    "porous_medium": (1.0, 3.0, 6.0),
    "diffusion": (1.0,),
    "advection": (1.0, 3.0),
    "burgers": (1.0, 3.0),
}
FIGURES = {
    f"_{family}": (
        f"{fields.NAMES[family].capitalize()} at t = {kind.time_of_interest:g}, one test function "
        "a row; all quantities dimensionless"
        f"{', only the surroundings of the front shown' if family in WINDOWS else ''}. "
        "Crosses: readings at the nearest time."
    )
    for family, kind in FAMILIES.items()
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        families: problems; the figures of the others say that they were left out.
        latents: draws of the latent.
        few: draws of the latent for each stretch.
        points: of the grid.
    """

    families: tuple[str, ...] = tuple(FAMILIES)
    latents: int = 100
    few: int = 20
    points: int = 201


SETTINGS = {"quick": Settings(latents=30, few=4), "paper": Settings()}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """A row for each parameter, method and metric."""
    out = []
    for case in _cases(settings.families):
        family, value = case
        if why := unavailable(family):
            out.append(without_weights(family, value, why))
            continue
        where = Slice(family, settings.points)
        for method, prediction in profiles(case, settings, key).items():
            scores = judged(where, [value], prediction)
            out += [
                Row(family, where.label(value), method, metric, float(scores[metric][0]))
                for metric in METRICS
            ]
    return out


def tables(rows: Sequence[Row]) -> list[Table]:
    """The scores of the functions that are shown."""
    return [pivot("The functions shown", rows, METRICS), *left_out(rows)]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """One a family, see `FIGURES`."""
    del rows
    return {f"_{family}": _figure(family, settings, key) for family in FAMILIES}


@fields.once
def profiles(case: Case, settings: Settings, key: jax.Array) -> dict[str, Prediction]:
    """What each method says of the first test function."""
    where = Slice(case[0], settings.points)
    return fields.predictions(
        where,
        case[1],
        fields.function_keys(key, case, 1),
        latents=settings.latents,
        few=settings.few,
    )


def _cases(families: Sequence[str]) -> list[Case]:
    return [(family, value) for family in families for value in SHOWN[family]]


def _figure(family: str, settings: Settings, key: jax.Array) -> Figure:
    """A row for each parameter, a column for each method."""
    if why := "left out of this run" if family not in settings.families else unavailable(family):
        return panels.notice(f"{fields.NAMES[family]}: {why}")
    found = {case: profiles(case, settings, key) for case in _cases([family])}
    methods = [name for name in PLACES if name in next(iter(found.values()))]
    figure = panels.sheet(0.9 + 2.2 * len(found))
    grid = figure.subplots(len(found), len(methods), sharex=True, sharey="row", squeeze=False)
    for row, (case, by_method) in enumerate(found.items()):
        for panel, method in zip(grid[row], methods, strict=True):
            _draw(panel, case, by_method[method], PLACES[method], settings, key)
            panels.finish(panel, ticks=3)
        grid[row, 0].set_ylabel(f"field u, {Slice(family).label(case[1])}", fontsize=FONT)
    for top, bottom, method in zip(grid[0], grid[-1], methods, strict=True):
        top.set_title(HEADINGS[method], fontsize=TITLE)
        bottom.set_xlabel("position x", fontsize=FONT)
    panels.legend_below(
        figure, [panels.truth("exact"), panels.cross("readings"), panels.shade("95 % band")]
    )
    return figure


def _draw(
    panel: Axes, case: Case, prediction: Prediction, place: int, settings: Settings, key: jax.Array
) -> None:
    """Mean, band, exact solution and readings of one function, in the window of its family."""
    family, value = case
    where = Slice(family, settings.points)
    x, low_high = where.grid["x"], WINDOWS.get(family, where.kind.space_range)
    inside = (x >= low_high[0]) & (x <= low_high[1])
    sd = np.sqrt(np.maximum(prediction.variance[0], 0.0))
    panels.band(
        panel,
        x[inside],
        prediction.mean[0][inside],
        sd[inside],
        place,
        deviations=normal_quantile(0.95),
        dash=0,
    )
    panel.plot(x[inside], np.asarray(where.truth(value))[0][inside], **TRUTH)
    read = fields.nearest(
        fields.readings(where, value, fields.function_keys(key, case, 1)[0]),
        where.kind.time_of_interest,
    )
    near = (read[0] >= low_high[0]) & (read[0] <= low_high[1])
    panel.plot(read[0][near], read[1][near], **panels.CROSS)
