"""`python -m experiments NAME`: run an experiment, print its tables, and write its rows, page and
figures.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import jax
import tyro
from tyro.conf import Positional, arg

from bayescons.cli.errors import InputError
from bayescons.cli.terminal import say, working
from bayescons.plots.fields import DPI
from bayescons.results.files import whole_file
from experiments.results_page import page, write_pages
from experiments.rows import provenance, to_json

EXPERIMENTS = {
    "speed": "time, memory and exactness of one update; effective draws of NUTS",
    "stefan_gp": "Stefan fronts from 100 readings, conditioned on mass and boundary",
    "network_speed": (
        "a training step against PyTorch; the posterior of 50 functions from 100 draws of a latent"
    ),
    "gpme_tables": "diffusion, porous medium and Stefan: a neural process and every correction",
    "hyperbolic_tables": "advection and Burgers: the same",
    "mass_over_time": "the total of a prediction over time, and its error",
    "solution_profiles": "one test function of each problem, by four methods",
    "shock_position": "the posterior of a front, located in three ways",
    "limiting_precision": "from a soft total to an exact one",
    "heteroskedastic": "where the correction goes",
    "vanishing_noise": (
        "one program at noise 1 to 1e-8 and 0, by NUTS, by particles and in closed form"
    ),
    "default_settings": "every shipped program at the default settings of `bc.sample`",
    "sbc": "simulation-based calibration of right programs and of wrong ones",
    "conformal": "bands that hold whole functions, before and after conformal recalibration",
    "right_measure": "a nonlinear law: projection against the density that vanishing noise leaves",
    "unknown_flux": "a wall flux that nobody measured, from readings inside",
    "boundary_tables": (
        "seven families, boundary values in six ways: errors inside, at the boundary, next to it"
    ),
    "insulator": "the flux of heat where it is known",
    "stokes_profile": "a wave from an oscillating wall, over depth and over time",
    "cavity": "vorticity of the lid-driven cavity over 25 snapshots",
    "resolution": "one network on finer grids than it was trained on",
    "operator_speed": "what a correction costs, forward and in a training step",
    "boundary_uq": "intervals next to a boundary, before and after it is known",
    "land_closure": "energy and water of the land closed cell by cell, and the term at fault",
}
Name = Literal[
    "speed",
    "stefan_gp",
    "network_speed",
    "gpme_tables",
    "hyperbolic_tables",
    "mass_over_time",
    "solution_profiles",
    "shock_position",
    "limiting_precision",
    "heteroskedastic",
    "vanishing_noise",
    "default_settings",
    "sbc",
    "conformal",
    "right_measure",
    "unknown_flux",
    "boundary_tables",
    "insulator",
    "stokes_profile",
    "cavity",
    "resolution",
    "operator_speed",
    "boundary_uq",
    "land_closure",
    "page",
]
PUBLISHED = Path(__file__).resolve().parent.parent / "docs" / "results"


@dataclasses.dataclass(frozen=True)
class Options:
    """Run an experiment: print its tables; write NAME.json (the rows), NAME.md (the page) and its
    figures into a folder.

    `page` runs nothing: it makes the pages and the index of docs/results again, from the rows that
    lie there.

    Example:
      python -m experiments speed --preset quick
    """

    name: Annotated[Positional[Name], arg(metavar="NAME")]
    """Which of those above; or page."""
    preset: Literal["quick", "paper"] = "quick"
    """How large: quick takes a minute or two, paper is what is published."""
    out: Annotated[
        Path | None,
        arg(metavar="DIR", help_behavior_hint="(default: results; docs/results for page)"),
    ] = None
    """Folder to write into, made if it is missing. The files appear together, when all is done."""
    seed: int = 0
    """Seed of all that is random."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of the process. Turns on 64-bit floats in JAX.

    Returns:
        Exit status: 0, or 2 for input that cannot be used, which is said in one line on stderr.
    """
    jax.config.update("jax_enable_x64", True)
    listed = "\n".join(f"  {name}: {what}" for name, what in EXPERIMENTS.items())
    options = tyro.cli(
        Options, prog="python -m experiments", args=arguments, description=f"Experiments:\n{listed}"
    )
    try:
        if options.name == "page":
            written = write_pages(options.out or PUBLISHED)
        else:
            settings = import_module(f"experiments.{options.name}").SETTINGS[options.preset]
            written = run(
                options.name,
                settings,
                options.out or Path("results"),
                preset=options.preset,
                seed=options.seed,
            )
    except (OSError, InputError) as error:
        print("error:", getattr(error, "strerror", None) or error, file=sys.stderr)
        return 2
    say("Written: " + ", ".join(map(str, written)))
    return 0


def run(name: str, settings, out: Path, *, preset: str, seed: int = 0) -> list[Path]:
    """Run an experiment with these settings, print its tables and write its files: all of them once
    all is done, or none.

    Returns:
        The files written.

    Raises:
        OSError: where the folder cannot be written to; found out before the work begins.
    """
    experiment, key = import_module(f"experiments.{name}"), jax.random.key(seed)
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        paths = [
            out / f"{name}.json",
            out / f"{name}.md",
            *(out / f"{name}{ending}.png" for ending in experiment.FIGURES),
        ]
        places = [files.enter_context(whole_file(path)) for path in paths]
        with working(f"running {name}"):
            rows = experiment.rows(settings, key)
            figures = experiment.figures(settings, key, rows)
        origin = provenance(name, preset, seed)
        places[0].write_text(to_json(rows, origin), encoding="utf-8")
        places[1].write_text(page(name, rows, origin), encoding="utf-8")
        for ending, place in zip(experiment.FIGURES, places[2:], strict=True):
            figures[ending].savefig(place, format="png", dpi=DPI)
    for table in experiment.tables(rows):
        table.show()
    return paths


if __name__ == "__main__":
    sys.exit(main())
