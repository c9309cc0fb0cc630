"""`bayescons demo`: the Stefan comparison as a table, three figures and a file of draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from bayescons import plots
from bayescons.cli.command import Demo
from bayescons.cli.comparison import STAGES, Comparison, Method, Size, compare
from bayescons.cli.errors import refusals
from bayescons.cli.output import attributes, output_folder
from bayescons.cli.terminal import say, show_table, stages
from bayescons.diagnostics import front_position
from bayescons.functionals import dirichlet, integral
from bayescons.results import trees as results

SIZES = {
    "quick": Size(times=41, points=101, draws=200),
    "full": Size(times=201, points=201, draws=500),
}


def run(options: Demo, command: Sequence[str]) -> None:
    """Compute the comparison, print its table, and write figures and draws.

    Raises:
        InputError: where the folder cannot be written to.
    """
    with output_folder(options.out) as folder, stages(STAGES + 1) as tell:
        comparison = compare(
            jax.random.key(options.seed), SIZES[options.preset], options.belief, tell=tell
        )
        tell("drawing figures, writing files")
        with refusals():
            figures = _figures(comparison, folder)
            _save(
                comparison,
                folder / "posterior.nc",
                attributes(
                    command, seed=options.seed, preset=options.preset, belief=options.belief
                ),
            )
    _report(comparison)
    say(f"Figures and draws are in {folder.absolute()}:")
    for name, shows in {
        **figures,
        "posterior.nc": "draws of the conditioned field, an ArviZ DataTree",
    }.items():
        say(f"  {name:<12}  {shows}")


def _report(comparison: Comparison) -> None:
    problem, methods = comparison.problem, comparison.methods
    time, front = (
        comparison.grid["t"][comparison.time],
        float(problem.front(comparison.grid["t"][comparison.time])),
    )
    say(
        f"Stefan problem, u* = {problem.threshold:g}: {len(comparison.readings.u)} readings, "
        f"{comparison.grid!r}"
    )
    say(
        "Known: the mass at every time, and u(t, 0) = 1. A projection moves the mean alone; "
        "bayescons conditions the belief."
    )
    columns = [
        "method",
        "mass\nerror",
        "at any\ntime",
        "MSE",
        "log\nlik.",
        "CRPS",
        "in 95 %\nband",
        "front\nmean",
        "front\nsd",
    ]
    show_table(
        columns,
        [(name, *_row(method)) for name, method in methods.items()],
        title=f"At t = {time:.4g}",
    )
    say(
        "Mass error: integral of the mean minus exact mass; beside it the largest over all times. "
        "Scores leave out the known wall."
    )
    absent = ", ".join(
        f"{m.front.absent} of {m.front.draws} {name}"
        for name, m in methods.items()
        if m.front.absent
    )
    say(
        f"Front: where a draw, its values sorted, falls through u*/2; truly at {front:.4f}."
        + (f" Draws without one: {absent}." if absent else "")
    )
    say(f"log evidence of what is known, under the belief: {comparison.log_evidence:.4g}")
    say("")


def _row(method: Method) -> list[str]:
    s, front = method.scores, method.front
    return [
        f"{s['conservation_error']:.1e}",
        f"{method.largest_error:.1e}",
        f"{s['mean_squared_error']:.5f}",
        f"{s['log_likelihood']:.2f}",
        f"{s['crps']:.4f}",
        f"{100 * s['coverage']:.0f} %",
        f"{front.mean:.3f}",
        f"{front.sd:.3f}",
    ]


def _figures(comparison: Comparison, folder: Path) -> dict[str, str]:
    """Draw and save the three figures; returns their names and what they show."""
    grid, time, methods = comparison.grid, comparison.time, comparison.methods
    profiles = {name: (m.mean[time], np.sqrt(m.variance[time])) for name, m in methods.items()}
    nearest = comparison.readings.t[np.argmin(np.abs(comparison.readings.t - grid["t"][time]))]
    seen = np.asarray(comparison.readings.t == nearest)
    contexts = (np.asarray(comparison.readings.x)[seen], np.asarray(comparison.readings.u)[seen])
    truth, front = comparison.truth[time], comparison.problem.front(grid["t"][time])
    drawn = {
        "profile.png": plots.plot_profile(
            grid["x"], profiles, truth, contexts, time=grid["t"][time]
        ),
        "total.png": plots.plot_total(
            grid["t"], {name: m.totals for name, m in methods.items()}, comparison.total
        ),
        "front.png": plots.plot_front(
            {name: m.fronts for name, m in methods.items()}, front, bins=40
        ),
    }
    shows = (
        f"the field and its 95 % band (crosses: readings at t = {nearest:.3g})",
        "the mass over time",
        "the front in each draw",
    )
    for name, figure in drawn.items():
        plots.save_figure(figure, folder / name)
    return dict(zip(drawn, shows, strict=True))


def _save(comparison: Comparison, path: Path, told: dict) -> None:
    """Draws of the conditioned field, their fronts and residuals, the readings and the truth."""
    grid, draws, readings = comparison.grid, comparison.draws, comparison.readings
    mass, wall = (
        np.asarray(jax.vmap(f)(draws)) for f in (integral(grid, "x"), dirichlet(grid, "x", "lower"))
    )
    total = comparison.total
    tree = results.datatree(
        {
            "u": draws[None],
            "front": np.asarray(
                front_position(draws, grid["x"], comparison.threshold, rearranged=True)
            )[None],
        },
        grid,
        observed={"reading_t": readings.t, "reading_x": readings.x, "reading": readings.u},
        constraints={
            "mass": {"value": total, "residual": (mass - total)[None]},
            "wall": {"value": 1.0, "residual": (wall - 1)[None]},
        },
        truth={"u": comparison.truth},
        attributes={
            **told,
            "log_evidence": comparison.log_evidence,
            "problem": repr(comparison.problem),
        },
        dims={name: ("t",) for name in ("front", "mass", "wall")},
    )
    results.save(tree, path)
