"""Panels: how the figures of several experiments are laid out and finished, in the looks of
`bayescons.plots`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bayescons.plots.fields import COLOURS, DPI, FONT, STYLES, TITLE, TRUTH

WIDTH = 7.0  # inches
CROSS: dict[str, Any] = {
    "linestyle": "none",
    "marker": "x",
    "markersize": 6,
    "markeredgewidth": 1.6,
    "color": "black",
}


def sheet(height: float) -> Figure:
    """An empty figure as wide as a page, to be divided into panels."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")


def notice(text: str) -> Figure:
    """A figure that says why there is nothing to be seen."""
    figure = sheet(1.2)
    figure.text(0.5, 0.5, textwrap.fill(text, 70), fontsize=FONT, ha="center", va="center")
    return figure


def finish(
    panel: Axes, *, title: str = "", xlabel: str = "", ylabel: str = "", ticks: int = 5
) -> None:
    """Labels large enough for half size, a faint grid, no box; at most so many intervals between
    the ticks of a linear axis.
    """
    panel.tick_params(labelsize=FONT)
    for name, axis in (("x", panel.xaxis), ("y", panel.yaxis)):
        axis.get_offset_text().set_fontsize(FONT)
        if axis.get_scale() == "linear":
            panel.locator_params(axis=name, nbins=ticks)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25, linewidth=0.6)
    panel.set_axisbelow(True)
    if title:
        panel.set_title(title, fontsize=TITLE)
    if xlabel:
        panel.set_xlabel(xlabel, fontsize=FONT)
    if ylabel:
        panel.set_ylabel(ylabel, fontsize=FONT)


def band(
    panel: Axes, x, mean, sd, place: int, *, deviations: float, dash: int | None = None
) -> None:
    """The mean with so many standard deviations on both sides, in the look of the method at this
    place.
    """
    half = deviations * np.asarray(sd)
    panel.fill_between(x, mean - half, mean + half, color=COLOURS[place], alpha=0.28, linewidth=0)
    panel.plot(x, mean, **look(place, dash=dash))


def outline(panel: Axes, shares, edges, place: int) -> None:
    """A histogram that others may lie over."""
    panel.stairs(shares, edges, fill=True, color=COLOURS[place], alpha=0.16)
    panel.stairs(shares, edges, **look(place))


def look(place: int, *, dash: int | None = None) -> dict[str, Any]:
    """Colour and dash of the method at this place, the same in every figure; or its colour with
    another dash, 0 for none.
    """
    return {
        "color": COLOURS[place],
        "linestyle": STYLES[place if dash is None else dash],
        "linewidth": 1.8,
    }


def line(place: int, label: str, *, dash: int | None = None) -> Line2D:
    """A method's entry in a legend."""
    return Line2D([], [], label=label, **look(place, dash=dash))


def truth(label: str) -> Line2D:
    """The truth's entry in a legend."""
    return Line2D([], [], label=label, **TRUTH)


def cross(label: str) -> Line2D:
    """The readings' entry in a legend."""
    return Line2D([], [], label=label, **CROSS)


def shade(label: str) -> Patch:
    """A band's entry in a legend."""
    return Patch(color="0.5", alpha=0.35, linewidth=0, label=label)


def legend_below(figure: Figure, entries: Sequence[Artist], *, columns: int = 4) -> None:
    """One legend for all panels, under them."""
    figure.legend(
        handles=list(entries),
        loc="outside lower center",
        ncols=columns,
        fontsize=FONT,
        frameon=False,
    )
