"""Tables: rows laid out for reading, the same on a terminal and on a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bayescons.cli.terminal import show_table
from experiments.rows import Row

LEFT_OUT = "left out"


class Table(NamedTuple):
    """A table of text.

    Attributes:
        title: what it shows.
        columns: headings.
        cells: rows of text.
        text: how many of the first columns are text; the others are numbers.
    """

    title: str
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    text: int

    def show(self) -> None:
        """Print it on the terminal."""
        show_table(self.columns, self.cells, title=self.title, text=self.text)

    def markdown(self) -> str:
        """As a Markdown table under its title."""
        rule = [":--"] * self.text + ["--:"] * (len(self.columns) - self.text)
        rows = [self.columns, rule, *self.cells]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        return "\n".join([f"**{self.title}**", "", *lines])


def pivot(
    title: str,
    rows: Sequence[Row],
    metrics: Mapping[str, str],
    *,
    methods: str = "method",
    beside: bool = False,
) -> Table:
    """A line for each parameter and method, a column for each metric.

    Args:
        title: of the table.
        rows: at most one for each parameter, method and metric; those of other metrics are left
            out.
        metrics: metric -> heading, in order.
        methods: heading of the methods.
        beside: show the published number behind ours, in square brackets.
    """
    chosen = [row for row in rows if row.metric in metrics]
    at = {(row.parameter, row.method, row.metric): row for row in chosen}
    lines = dict.fromkeys((row.parameter, row.method) for row in chosen)
    told = number_and_published if beside else number
    cells = [(*line, *(told(at.get((*line, metric))) for metric in metrics)) for line in lines]
    return Table(title, ("parameter", methods, *metrics.values()), tuple(cells), 2)


def against_targets(title: str, rows: Sequence[Row]) -> Table:
    """A line for each row that has a target: what was measured, the target, and whether it is met.
    Of several problems each is named.
    """
    chosen = [row for row in rows if isinstance(row.reference, str)]
    several = len({row.problem for row in chosen}) > 1
    verdict = {True: "yes", False: "no", None: "–"}
    names = [
        f"{row.problem.replace('_', ' ')}, {row.parameter}" if several else row.parameter
        for row in chosen
    ]
    cells = [
        (name, row.method, row.metric, number(row), row.reference, verdict[row.met])
        for name, row in zip(names, chosen, strict=True)
    ]
    return Table(
        title, ("parameter", "method", "metric", "measured", "target", "met"), tuple(cells), 3
    )


def left_out(rows: Sequence[Row]) -> list[Table]:
    """A table of what was not run, and why; no table where all was. Such a row has the metric
    `LEFT_OUT` and the reason as its note.
    """
    reasons = [
        (row.problem.replace("_", " "), row.parameter, row.note)
        for row in rows
        if row.metric == LEFT_OUT
    ]
    return (
        [Table("Left out", ("problem", "parameter", "because"), tuple(reasons), 3)]
        if reasons
        else []
    )


def number(row: Row | None) -> str:
    """Three digits, the standard error in brackets behind them; the note where there is no
    number.
    """
    if row is None:
        return ""
    if math.isnan(row.mean):
        return row.note or "–"
    return compact(row.mean) + ("" if math.isnan(row.se) else f" ({compact(row.se, 1)})")


def number_and_published(row: Row | None) -> str:
    """The number, and behind it in square brackets the published one, if there is one."""
    theirs = row.reference if row is not None and isinstance(row.reference, float) else None
    return number(row) + ("" if theirs is None else f" [{compact(theirs)}]")


def compact(value: float, digits: int = 3) -> str:
    """A number to some significant digits; written out between 0.001 and 100,000, with a power of
    ten otherwise.
    """
    if value == 0 or not 1e-3 <= abs(value) < 1e5:
        return f"{value:.{digits}g}" if value == 0 else f"{value:.{digits - 1}e}"
    return np.format_float_positional(value, digits, unique=False, fractional=False, trim="-")
