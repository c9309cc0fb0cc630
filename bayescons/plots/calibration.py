"""Plots of calibration: how far PITs are from uniform, with simultaneous bands, and how often
central intervals hold the truth.

In the looks of `bayescons.plots`, and like it without pyplot. What is plotted is made from one PIT
for each independent case (`bayescons.diagnostics.calibration`); of the points of one field it would
show nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bayescons.diagnostics.calibration import coverage_curve
from bayescons.diagnostics.ecdf import ecdf_difference
from bayescons.plots.fields import (
    COLOURS,
    FONT,
    TITLE,
    TRUTH,
    arranged,
    finish,
    legend_below,
    look,
    sheet,
)

BAND = "0.85"  # grey, lighter than any line


def plot_ecdf_difference(
    methods: Mapping[str, ArrayLike],
    *,
    level: float = 0.95,
    columns: int = 3,
    size: tuple[float, float] | None = None,
) -> Figure:
    """The ECDF of the PITs less the uniform law, a panel for each method, and the band that all of
    it keeps to with probability `level`.

    A curve that leaves its band is drawn in orange, others in blue, and marked in its title. Rising
    first, the belief is too narrow; falling first, too wide; all above zero, the truth is too often
    below what was believed.

    Args:
        methods: label -> one PIT for each independent case.
        level: probability of the band, of each panel by itself.
        columns: most panels in a row.
        size: width and height in inches; 7 x 3 for a row of up to three.

    Raises:
        ValueError: where there is no method.
    """
    rows, columns = arranged(len(methods), columns)
    figure = sheet(size or (7.0, 0.5 + 2.5 * rows))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for number, panel in enumerate(grid.flat):
        panel.set_visible(number < len(methods))
    for panel, (label, values) in zip(grid.flat, methods.items(), strict=False):
        outside = _draw_difference(panel, values, level)
        panel.set_title(f"{label}{' ✗' if outside else ''}", fontsize=TITLE)
        finish(panel)
    for number, panel in enumerate(grid.flat[: len(methods)]):
        if number + columns >= len(methods):
            panel.tick_params(labelbottom=True)
            panel.set_xlabel("PIT", fontsize=FONT)
        if number % columns == 0:
            panel.set_ylabel("ECDF - PIT", fontsize=FONT)
    key = [
        Patch(color=BAND, label=f"simultaneous {100 * level:.4g} % band"),
        Line2D([], [], color=COLOURS[0], linewidth=1.8, label="within"),
        Line2D([], [], color=COLOURS[1], linewidth=1.8, label="outside ✗"),
    ]
    legend_below(figure, grid.flat[0], key)
    return figure


def plot_coverage(
    methods: Mapping[str, ArrayLike], *, size: tuple[float, float] = (7.0, 4.4)
) -> Figure:
    """Share of the cases whose truth lies in the central interval, against its probability; above
    the diagonal, intervals are too wide.

    The grey band is two standard errors about the diagonal, for the method with the fewest cases;
    it holds at each level by itself.

    Args:
        methods: label -> one PIT for each independent case.
        size: width and height in inches.

    Raises:
        ValueError: where there is no method.
    """
    arranged(len(methods), 1)
    figure = sheet(size)
    panel = figure.subplots()
    curves = {label: coverage_curve(values) for label, values in methods.items()}
    levels, se = (
        np.concatenate([[0.0], part, [end]])
        for part, end in zip(_widest(curves), (1.0, 0.0), strict=True)
    )
    panel.fill_between(
        levels,
        levels - 2 * se,
        levels + 2 * se,
        color=BAND,
        linewidth=0,
        label="± 2 standard errors",
    )
    panel.plot([0, 1], [0, 1], label="calibrated", **TRUTH)
    for number, (label, curve) in enumerate(curves.items()):
        panel.plot(curve.levels, curve.coverage, label=label, **look(number, (number % 3, 3)))
    panel.set(xlim=(0, 1), ylim=(0, 1))
    finish(panel, xlabel="probability of the interval", ylabel="share of cases inside")
    legend_below(figure, panel, columns=3)
    return figure


def _draw_difference(panel: Axes, values: ArrayLike, level: float) -> bool:
    """Draw one curve and its band; whether it leaves it."""
    found = ecdf_difference(values, level=level)
    panel.fill_between(found.points, found.lower, found.upper, color=BAND, linewidth=0)
    panel.axhline(0.0, zorder=1, **TRUTH)
    panel.plot(
        found.points, found.difference, color=COLOURS[0 if found.inside else 1], linewidth=1.8
    )
    return not found.inside


def _widest(curves: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """Levels and standard errors of the curve with the fewest cases."""
    widest = max(curves.values(), key=lambda curve: float(curve.se.max()))
    return widest.levels, widest.se
