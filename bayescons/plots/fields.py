"""Plots: profiles with their bands, the conserved total over time, and the position of a front.

Every function takes plain arrays, one entry of `methods` for each method compared, and returns a
`matplotlib.figure.Figure` of its
own: no pyplot, no global state. The order of `methods` gives the colours, so keep it from figure to
figure. The truth is black and dashed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bayescons.diagnostics.scoring import normal_quantile
from bayescons.refusals import RefusedValue
from bayescons.results.files import whole_file

# Okabe and Ito, Color Universal Design (2008): told apart with any of the common colour-vision
# deficiencies. Their yellow is left out: too faint for a line on white. Black is kept for the
# truth.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", (0, (5, 1.5)), "-.", (0, (1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")
TRUTH: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2.5)), "linewidth": 1.4}
FONT = 11  # points: still read when a figure seven inches wide is shown at half its size
TITLE = 12  # points
DPI = 150  # dots an inch


def plot_profile(
    x: ArrayLike,
    methods: Mapping[str, tuple[ArrayLike, ArrayLike]],
    truth: ArrayLike | None = None,
    contexts: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    time: ArrayLike | None = None,
    level: float = 0.95,
    columns: int = 3,
    size: tuple[float, float] | None = None,
) -> Figure:
    """One panel for each method: mean and central band of probability `level` against x, on shared
    axes.

    Args:
        x: points, shape (nx,).
        methods: label -> (mean, sd), each of shape (nx,); the sd is a standard deviation.
        truth: the true profile, shape (nx,).
        contexts: (positions, values) of the data the prediction has seen at this time, drawn as
            crosses.
        time: for the figure's title.
        level: probability of the band, `mean +- z sd` for a normal.
        columns: most panels in a row.
        size: width and height in inches; 7 x 3.5 for a row of up to three.

    Raises:
        ValueError: where there is no method, or an array does not have the shape of x.
    """
    rows, columns = arranged(len(methods), columns)
    figure = sheet(size or (7.0, 0.4 + 3.1 * rows))
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel, colour, (label, (mean, sd)) in zip(
        panels.flat, _colours(methods), methods.items(), strict=False
    ):
        _draw_band(panel, x, mean, sd, colour, normal_quantile(level))
        _draw_truth(panel, x, truth)
        _draw_contexts(panel, contexts)
        panel.set_title(label, fontsize=TITLE)
        finish(panel)
    _label_outer(panels, len(methods), "position x", "field u")
    key = [
        Patch(color="0.5", alpha=0.35, linewidth=0, label=f"{100 * level:.4g} % band"),
        Line2D([], [], color="0.3", label="mean"),
    ]
    legend_below(figure, panels.flat[0], key)
    if time is not None:
        figure.suptitle(f"t = {float(np.asarray(time)):.4g}", fontsize=TITLE)
    return figure


def plot_total(
    t: ArrayLike,
    methods: Mapping[str, ArrayLike],
    exact: ArrayLike,
    *,
    size: tuple[float, float] = (7.0, 4.6),
) -> Figure:
    """The conserved total of each method over time, and beneath it the signed conservation error
    `total - exact`.

    Args:
        t: times, shape (nt,).
        methods: label -> totals of the mean field, `G u`, shape (nt,).
        exact: the conserved total b, shape (nt,).
        size: width and height in inches.

    Raises:
        ValueError: where there is no method, or an array does not have the shape of t.
    """
    arranged(len(methods), 1)
    figure = sheet(size)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    exact = _profile(exact, t, "exact")
    every = max(1, len(exact) // 6)
    for i, (label, totals) in enumerate(methods.items()):
        totals, line = _profile(totals, t, label), look(i, (i * every // len(methods), every))
        upper.plot(t, totals, label=label, **line)
        lower.plot(t, totals - exact, **line)
    upper.plot(t, exact, label="exact", zorder=5, **TRUTH)
    lower.axhline(0.0, zorder=1, **TRUTH)
    lower.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    finish(upper, ylabel="total")
    finish(lower, xlabel="time t", ylabel="error of total")
    upper.legend(fontsize=FONT, frameon=False)
    figure.align_ylabels()
    return figure


def plot_front(
    methods: Mapping[str, ArrayLike],
    true_front: ArrayLike | None = None,
    *,
    bins: int = 25,
    size: tuple[float, float] = (7.0, 3.5),
) -> Figure:
    """Histogram of the front's position over the draws of each method, before and after
    conditioning for example.

    Heights are shares of *all* the draws, so absent fronts are missing from a histogram; the legend
    counts them. All share the same bins.

    Args:
        methods: label -> positions of any shape, NaN for a draw without a front.
        true_front: the true position.
        bins: number of bins across the positions of all methods.
        size: width and height in inches.

    Raises:
        ValueError: where there is no method.
    """
    arranged(len(methods), 1)
    figure = sheet(size)
    panel = figure.subplots()
    positions = {label: np.ravel(np.asarray(p, dtype=float)) for label, p in methods.items()}
    edges = _edges(positions, true_front, bins)
    for colour, (label, values) in zip(_colours(methods), positions.items(), strict=True):
        present = values[np.isfinite(values)]
        shares = np.histogram(present, edges)[0] / max(values.size, 1)
        panel.stairs(shares, edges, fill=True, color=colour, alpha=0.3)
        panel.stairs(
            shares,
            edges,
            color=colour,
            linewidth=1.8,
            label=f"{label} ({values.size - present.size} of {values.size} absent)",
        )
    if true_front is not None:
        panel.axvline(float(np.asarray(true_front)), label="true front", **TRUTH)
    finish(panel, xlabel="front position x", ylabel="share of draws")
    panel.set_ylim(bottom=0.0)
    legend_below(figure, panel, columns=2)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike, *, dpi: float = DPI) -> Path:
    """Write a figure, whole or not at all, in the format of the path's ending (.png, .pdf, .svg).

    Raises:
        ValueError: for an ending that is no format of matplotlib's.
        OSError: where the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    formats = figure.canvas.get_supported_filetypes()
    ending = path.suffix.lstrip(".").lower()
    if ending not in formats:
        raise RefusedValue(
            f"the path of a figure must end in one of {', '.join(sorted(formats))}; got "
            f"{os.fspath(path)!r}. Write .png or .pdf"
        )
    with whole_file(path) as temporary:
        figure.savefig(temporary, format=ending, dpi=dpi)
    return path


def arranged(number: int, columns: int) -> tuple[int, int]:
    """Rows and columns of so many panels, no more than `columns` in a row; an error where there are
    none.
    """
    if number == 0:
        raise RefusedValue("methods is empty; expected label -> arrays for at least one method")
    rows = -(-number // columns)
    return rows, -(-number // rows)


def sheet(size: tuple[float, float]) -> Figure:
    """An empty figure of this width and height in inches."""
    return Figure(figsize=size, dpi=DPI, layout="constrained")


def _colours(methods: Mapping) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(methods))]


def look(i: int, markevery: tuple[int, int]) -> dict[str, Any]:
    """Colour, dash and marker all tell method i; staggered markers keep curves that coincide
    apart.
    """
    look = {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": STYLES[i % len(STYLES)],
        "marker": MARKERS[i % len(MARKERS)],
    }
    return {**look, "markevery": markevery, "markersize": 5.0, "linewidth": 1.8}


def _profile(values: ArrayLike, axis: ArrayLike, name: str) -> np.ndarray:
    values, axis = np.asarray(values), np.asarray(axis)
    if values.shape != axis.shape or axis.ndim != 1:
        raise RefusedValue(
            f"{name!r} must have the shape of the horizontal axis, {axis.shape}; got "
            f"{values.shape}. Plot one slice"
        )
    return values


def _draw_band(
    panel: Axes, x: ArrayLike, mean: ArrayLike, sd: ArrayLike, colour: str, z: float
) -> None:
    mean, halfwidth = _profile(mean, x, "mean"), z * _profile(sd, x, "sd")
    panel.fill_between(x, mean - halfwidth, mean + halfwidth, color=colour, alpha=0.28, linewidth=0)
    panel.plot(x, mean, color=colour, linewidth=1.8)


def _draw_truth(panel: Axes, x: ArrayLike, truth: ArrayLike | None) -> None:
    if truth is not None:
        panel.plot(x, _profile(truth, x, "truth"), label="truth", **TRUTH)


def _draw_contexts(panel: Axes, contexts: tuple[ArrayLike, ArrayLike] | None) -> None:
    if contexts is not None:
        panel.plot(
            *contexts,
            linestyle="none",
            marker="x",
            markersize=6,
            markeredgewidth=1.6,
            color="black",
            label="context",
        )


def finish(panel: Axes, xlabel: str | None = None, ylabel: str | None = None) -> None:
    """Labels large enough for half size, a faint grid, no box."""
    panel.tick_params(labelsize=FONT)
    panel.xaxis.get_offset_text().set_fontsize(FONT)
    panel.yaxis.get_offset_text().set_fontsize(FONT)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25, linewidth=0.6)
    panel.set_axisbelow(True)
    if xlabel:
        panel.set_xlabel(xlabel, fontsize=FONT)
    if ylabel:
        panel.set_ylabel(ylabel, fontsize=FONT)


def _label_outer(panels: np.ndarray, used: int, xlabel: str, ylabel: str) -> None:
    """Label the lowest panel of each column and the first of each row; hide the panels beyond the
    last one used.
    """
    columns = panels.shape[1]
    for i, panel in enumerate(panels.flat):
        panel.set_visible(i < used)
        if i + columns >= used:
            panel.tick_params(labelbottom=True)
            panel.set_xlabel(xlabel, fontsize=FONT)
        if i % columns == 0:
            panel.set_ylabel(ylabel, fontsize=FONT)


def legend_below(figure: Figure, panel: Axes, key: Sequence[Artist] = (), columns: int = 4) -> None:
    """One legend for all panels, under them: of `key`, and of what one of them labels."""
    handles = [*key, *panel.get_legend_handles_labels()[0]]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=FONT, frameon=False
    )


def _edges(positions: dict[str, np.ndarray], true_front: ArrayLike | None, bins: int) -> np.ndarray:
    present = np.concatenate([values[np.isfinite(values)] for values in positions.values()])
    if present.size == 0:
        present = np.array([0.0 if true_front is None else float(np.asarray(true_front))])
    return np.histogram_bin_edges(present, bins)
