"""What a person sees: tables on stdout, progress on stderr where someone is watching."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from bayescons.cli.interrupts import check

WIDEST = 1000  # characters: more than any table has


def show_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str | None = None,
    text: int = 1,
) -> None:
    """Print a table; the first `text` columns are text (left), the others numbers (right).

    Text is wrapped at words, numbers never: a table that does not fit a terminal even so is wider
    than the terminal.
    """
    check()
    table = Table(
        title=title and escape(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD
    )
    table.pad_edge, table.collapse_padding = False, True
    for i, column in enumerate(zip(columns, *rows, strict=True)):
        whole = i == 0 or i >= text
        least = max(
            len(part)
            for cell in column
            for part in (cell.split("\n") if whole else cell.split()) or [""]
        )
        table.add_column(
            escape(column[0]),
            justify="left" if i < text else "right",
            no_wrap=whole,
            min_width=least,
        )
    for row in rows:
        table.add_row(*map(escape, row))
    console = _stdout()
    least = Measurement.get(console, console.options.update(width=WIDEST), table).minimum
    console.width = max(console.width, least)
    console.print(table)


def say(line: str, *, error: bool = False) -> None:
    """Print a line, wrapped at words; to stderr if it is about an error. A word longer than the
    terminal is wide, as paths are, stays in one piece, to be found and copied.
    """
    console = Console(stderr=True) if error else _stdout()
    wrapped = (
        textwrap.fill(
            part,
            console.width,
            expand_tabs=False,
            replace_whitespace=False,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for part in line.split("\n")
    )
    console.print(escape("\n".join(wrapped)), highlight=False, overflow="ignore", crop=False)


def watched() -> bool:
    """Whether someone sees stderr as it is written: a terminal, and not a continuous-integration
    job.
    """
    return sys.stderr.isatty() and not os.environ.get("CI")


@contextmanager
def working(on: str) -> Generator[None]:
    """A spinner on stderr while the block runs; nothing where nobody watches."""
    if not watched():
        yield
        return
    with Console(stderr=True).status(on):
        yield


@contextmanager
def stages(number: int) -> Generator[Callable[[str], object]]:
    """A bar on stderr for work in stages; yields a function that is told the name of each when it
    begins. Silent if not watched.
    """
    if not watched():
        yield lambda name: name
        return
    columns = (BarColumn(20), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=number, completed=-1)
        yield lambda name: progress.update(task, advance=1, description=name)


@contextmanager
def steps(number: int, *, done: int = 0) -> Generator[Callable[[int, str], object]]:
    """A bar on stderr for work in many steps, with the time it takes and has left; yields a
    function that is told the steps taken so far and what to say of them. Silent if not watched.
    """
    if not watched():
        yield lambda taken, text: (taken, text)
        return
    columns = (
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(
        BarColumn(20),
        *columns,
        console=Console(stderr=True),
        transient=True,
        speed_estimate_period=600,
    ) as progress:
        task = progress.add_task("compiling", total=number, completed=done)
        yield lambda taken, text: progress.update(task, completed=taken, description=escape(text))


def _stdout() -> Console:
    return Console(file=sys.stdout, soft_wrap=False)
