"""Simulation-based calibration: five kinds of programs that are right, and five that are wrong,
refitted to what they themselves simulate.

For each simulation the program draws its own unknowns and what would be observed of them, a program
is refitted to that, and the truth is ranked among its posterior draws, by each of a few
functionals: latents, averages, random projections and mean squares of fields, and the log
likelihood. If program, reading and sampler are right the ranks are uniform. All tests of one refit
are judged together (Holm's rule) with a false-alarm rate of 0.01: of a hundred right programs one
is called wrong.

* `linear`: a hundred independent unknowns and their exact total (models/one_total.py);
* `hierarchical scale`: an unknown amplitude, learnt from an exact total
  (models/rod_unknown_amplitude.py);
* `unknown total`: a latent total whose law is imposed, and noisy readings
  (models/unknown_total.py);
* `neural process`: the latent of the trained network and a field on a coarse grid, given its total
  (models/neural_process.py); the truth is what the network believes, so that it is the program that
  is judged and not the network;
* `heavy tails`: readings with Student's t errors below a field of exact total, by NUTS
  (models/outliers.py).

The wrong ones are refitted to what the right ones simulate: a total doubted that is exact; one
imposed that should be observed, which leaves the amplitude its prior, whose ranks are uniform, so
that the likelihood alone tells; readings taken to be better than they are; a network twice as sure
of itself; and normal errors where they are Student's.

The closed form weights draws of the latents by evidence; the truth is ranked among no more draws
than these are worth, and how many that were, in the median and at least, is tabled.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

import bayescons as bc
from bayescons.diagnostics.refits import closed_form, sampled
from bayescons.diagnostics.simulation_based import SBC, sbc
from bayescons.networks import Normal
from bayescons.plots.calibration import plot_ecdf_difference
from experiments import fields
from experiments.rows import Row
from experiments.tables import Table, compact
from models import neural_process, one_total, outliers, rod_unknown_amplitude, unknown_total

LEVEL = 0.01
ITSELF = "itself"
FUNCTIONALS = 5  # of most programs; the band of the figure is that of the worst of so many
SMALLEST, MEDIAN, LEAST = (
    "smallest adjusted p-value",
    "median draws ranked among",
    "least draws ranked among",
)
FIGURES = {
    "": (
        "Ranks of the truth, as the difference of their empirical distribution function from the "
        "uniform one, for the functional of each refit with the smallest p-value. Left, programs "
        "refitted as they are; right, wrong ones in their place. Grey: the band that a uniform law "
        "keeps to with a probability of 99.8 %, so that the worst of five leaves it in one case of "
        "a hundred."
    ),
}


class Pair(NamedTuple):
    """A program and what is refitted to what it simulates.

    Attributes:
        program: that simulates.
        given: its arguments.
        refit: the program refitted, or None for the same.
        chains: whether there is no closed form.
    """

    program: Callable
    given: dict
    refit: Callable | None = None
    chains: bool = False


class Surer(NamedTuple):
    """A neural process whose predictions have half the standard deviation."""

    network: Any

    def latent(self, *readings):
        """As the network's."""
        return self.network.latent(*readings)

    def represent(self, *places):
        """As the network's."""
        return self.network.represent(*places)

    def decode(self, *latent):
        """Half as wide as the network's."""
        mean, scale = self.network.decode(*latent)
        return Normal(mean, scale / 2)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        simulations: of each program.
        latents: draws of the latents, weighted by evidence.
        network: simulations and draws of the latent of the neural process.
        points: times and places of its grid.
        draws: posterior draws the truth is ranked among, at most.
        warmup: of NUTS.
        pairs: which program and refit; all by default.
    """

    simulations: int
    latents: int = 4000
    network: tuple[int, int] = (200, 1000)
    points: tuple[int, int] = (3, 21)
    draws: int = 99
    warmup: int = 300
    pairs: tuple[tuple[str, str], ...] = (
        ("linear", ITSELF),
        ("linear", "noise 0.05 for none"),
        ("hierarchical scale", ITSELF),
        ("hierarchical scale", "imposed, not observed"),
        ("unknown total", ITSELF),
        ("unknown total", "noise 0.07 for 0.1"),
        ("neural process", ITSELF),
        ("neural process", "spread halved"),
        ("heavy tails", ITSELF),
        ("heavy tails", "normal for Student's t"),
    )


SETTINGS = {
    "quick": Settings(simulations=100, latents=1000, network=(50, 300)),
    "paper": Settings(simulations=1000),
}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """For each program and refit: a row for each functional's p-value, the smallest adjusted one,
    and the draws ranked among.
    """
    out = []
    for pair in settings.pairs:
        found = calibrated(pair, settings, key)
        row = functools.partial(Row, pair[0], n=len(found.effective))
        out += [row(name, pair[1], "p-value", p) for name, p in found.p_values.items()]
        out += [row(name, pair[1], "adjusted p-value", p) for name, p in found.adjusted.items()]
        target = f"≥ {LEVEL:g}" if pair[1] == ITSELF else f"≤ {LEVEL:g}"
        note = "; ".join(
            [
                found.reading.partition(" (")[0],
                *[f"known exactly: {', '.join(found.left_out)}"] * bool(found.left_out),
            ]
        )
        out.append(
            row("all", pair[1], SMALLEST, min(found.adjusted.values()), reference=target, note=note)
        )
        out.append(row("all", pair[1], MEDIAN, float(np.median(found.effective))))
        out.append(row("all", pair[1], LEAST, float(found.effective.min())))
    return out


def tables(rows: Sequence[Row]) -> list[Table]:
    """The verdicts; and the p-value of every functional."""
    at = {(r.problem, r.method, r.metric): r for r in rows if r.parameter == "all"}
    verdicts = [_verdict(*pair, at) for pair in dict.fromkeys((r.problem, r.method) for r in rows)]
    shown = [r for r in rows if r.metric == "p-value"]
    adjusted = {
        (r.problem, r.method, r.parameter): r.mean for r in rows if r.metric == "adjusted p-value"
    }
    cells = [
        (
            r.problem,
            r.method,
            r.parameter,
            compact(r.mean),
            compact(adjusted[r.problem, r.method, r.parameter]),
        )
        for r in shown
    ]
    headings = (
        "program",
        "refitted",
        "reading",
        "verdict",
        "wanted",
        "simulations",
        "draws",
        "adjusted p",
    )
    return [
        Table(f"Verdicts, with a false-alarm rate of {LEVEL:g}", headings, tuple(verdicts), 5),
        Table(
            "Functionals", ("program", "refitted", "functional", "p", "adjusted p"), tuple(cells), 3
        ),
    ]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del rows
    curves = {}
    for pair in settings.pairs:
        found = calibrated(pair, settings, key)
        worst = min(found.p_values, key=lambda name: found.p_values[name])
        title = pair[0] if pair[1] == ITSELF else pair[1]
        curves[f"{title}\n{worst.replace('_', ' ')}"] = found.pit[worst]
    return {
        "": plot_ecdf_difference(curves, level=1 - LEVEL / FUNCTIONALS, columns=2, size=(7.0, 11.0))
    }


@fields.once
def calibrated(pair: tuple[str, str], settings: Settings, key: jax.Array) -> SBC:
    """One program, refitted as it is or as another."""
    program, given, refit, chains = _pairs(settings)[pair]
    network = pair[0] == "neural process"
    simulations, latents = settings.network if network else (settings.simulations, settings.latents)
    sampler = sampled(warmup=settings.warmup) if chains else closed_form(latents)
    found = sbc(
        program,
        key=jax.random.fold_in(key, sum(map(ord, "".join(pair)))),
        simulations=simulations,
        draws=settings.draws,
        sampler=sampler,
        **given,
        refit=refit,
        level=LEVEL,
        batch=2 if network else 10,
    )
    return found._replace(reading="NUTS" if chains else "closed form")


def _pairs(settings: Settings) -> dict[tuple[str, str], Pair]:
    """All programs and refits by name. Of what the arguments say is observed only the shapes
    matter.
    """
    key, rod, total, heavy = (
        jax.random.key(0),
        rod_unknown_amplitude.program,
        unknown_total.program,
        outliers.program,
    )
    times, points = settings.points
    grid = neural_process.problem.grid(times=times, points=points)
    inputs = neural_process.inputs(key) | {"total": neural_process.problem.total(grid["t"])}
    process = functools.partial(neural_process.program, on=grid, learn=True)
    surer = Surer(inputs["network"])
    scale, readings, doubtful = {"content": 0.2}, unknown_total.inputs(key), outliers.inputs(key)
    return {
        ("linear", ITSELF): Pair(one_total.program, {"total": 0.3}),
        ("linear", "noise 0.05 for none"): Pair(
            one_total.program, {"total": 0.3}, functools.partial(one_total.program, scale=0.05)
        ),
        ("hierarchical scale", ITSELF): Pair(rod, scale),
        ("unknown total", ITSELF): Pair(total, readings),
        ("neural process", ITSELF): Pair(process, inputs),
        ("heavy tails", ITSELF): Pair(heavy, doubtful, chains=True),
        ("hierarchical scale", "imposed, not observed"): Pair(
            rod, scale, functools.partial(rod, state=bc.impose)
        ),
        ("unknown total", "noise 0.07 for 0.1"): Pair(
            total, readings, functools.partial(total, noise=0.07)
        ),
        ("neural process", "spread halved"): Pair(
            process, inputs, lambda **own: process(**{**own, "network": surer})
        ),
        ("heavy tails", "normal for Student's t"): Pair(
            heavy, doubtful, functools.partial(heavy, degrees=1e6), chains=True
        ),
    }


def _verdict(program: str, refit: str, at: dict) -> tuple[str, ...]:
    smallest = at[program, refit, SMALLEST]
    draws = "{:.0f} ({:.0f})".format(
        *(at[program, refit, metric].mean for metric in (MEDIAN, LEAST))
    )
    said = "passed" if smallest.mean >= LEVEL else "failed"
    wanted = "yes" if smallest.met else "no"
    return (
        program,
        refit,
        smallest.note,
        said,
        wanted,
        str(smallest.n),
        draws,
        compact(smallest.mean),
    )
