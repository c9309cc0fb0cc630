"""Unknown boundary fluxes: what the balance of a conserved quantity says of them when nothing but
readings of the field is given.

A belief from 100 readings of the exact solution - a Gaussian process, or a neural process as one
Gaussian - is tied to fluxes of which little is believed (a Gaussian process in time, with the size
and rate of change that the problem has) by

    ∫ u(t) dx - ∫ u(t₀) dx = ∫_{t₀}^t (F_lower - F_upper) dt'

Fluxes are averages over each step, so that the rule in time has no error; time begins at a tenth of
the benchmark's, where Stefan's flux is finite. The upper wall is insulated (F_upper = 0, exact
until the front arrives). On the ring of the diffusion problem what flows in flows out at the same
point; both fluxes are left unknown there, and what is asked is whether their difference is found to
be zero.

* `differences`: no law and no prior: the belief's totals at neighbouring times, divided by the
  step.
* `unknown flux`: the balance stated exactly. `unknown, rule's error`: stated with
  `scale="quadrature"`.
* `known flux`: the exact fluxes given; what the field could gain from them at most.

Judged are the net flux F_lower - F_upper, averaged over each step, against the exact one (the
difference of exact totals): root mean square error, the standard deviation believed, the share of
steps whose 95 % interval holds it; the share of functions for which that of the whole inflow does;
and the field's squared error and its total's. A function whose 100 readings are all equal (ahead of
the front) has no Gaussian process and is left out there; n in the rows tells.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import bayescons as bc
from bayescons.plots.fields import FONT, TRUTH
from bayescons.surrogates import gaussian_process, latent_draws, moment_matched, separable
from experiments import fields, panels
from experiments.black_boxes import trained
from experiments.cases import Slice
from experiments.fields import Case
from experiments.rows import Row, averaged
from experiments.tables import Table, pivot
from models import unknown_flux

METRICS = {
    "flux error": "flux RMSE",
    "flux sd": "flux sd",
    "coverage of 95 %": "coverage",
    "coverage of the inflow": "inflow coverage",
    "mean squared error": "MSE",
    "total error": "total RMSE",
}
OF_THE_FIELD = ("mean squared error", "total error")
METHODS = ("differences", "unknown flux", "unknown, rule's error", "known flux")
# What is believed of a flux before any reading: mean, standard deviation and correlation length in
# time.
PRIORS = {
    "stefan": (2.0, 2.0, 0.05),
    "porous_medium": (1.0, 1.0, 0.5),
    "diffusion": (0.0, 1.0, 0.5),
}
DEVIATIONS = 1.96  # of the 95 % interval
FIGURES = {
    "": (
        "Net flux into the domain, averaged over each step, for the first test function of the "
        "first case of each problem: what is believed, with 95 % bands that may leave the panel, "
        "and black, dashed, the exact one. Left from a Gaussian process, right from a neural "
        "process. All quantities are dimensionless."
    ),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        functions: test functions of each case.
        cases: problems and their parameters.
        times: of the grid.
        points: of the grid.
        latents: draws of the neural process's latent.
    """

    functions: int
    cases: tuple[Case, ...] = fields.cases(["stefan", "porous_medium", "diffusion"])
    times: int = 21
    points: int = 101
    latents: int = 100


SETTINGS = {
    "quick": Settings(
        functions=2, cases=(("stefan", 0.6), ("porous_medium", 3.0), ("diffusion", 1.0))
    ),
    "paper": Settings(functions=50),
}


class Estimate(NamedTuple):
    """What a method says of one function.

    Attributes:
        net: mean of the net flux in each step, shape (times - 1,).
        spread: its standard deviation.
        inflow: mean and standard deviation of what came in altogether.
        mean: of the field, shape of the grid.
    """

    net: jax.Array
    spread: jax.Array
    inflow: tuple[jax.Array, jax.Array]
    mean: jax.Array


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """A row for each case, belief, method and metric."""
    out = []
    for case in settings.cases:
        for belief, estimates in _estimates(case, settings, key).items():
            for method, found in estimates.items():
                row = functools.partial(
                    Row, case[0], f"{Slice(case[0]).label(case[1])}, {belief}", method
                )
                columns = _judged(case, settings, found)
                known = method == "known flux"  # and there is nothing to find out about it
                out += [
                    row(m, **averaged(values))
                    for m, values in columns.items()
                    if m in OF_THE_FIELD or not known
                ]
    return out


def tables(rows: Sequence[Row]) -> list[Table]:
    """One for each problem."""
    problems = dict.fromkeys(row.problem for row in rows)
    return [
        pivot(fields.NAMES[name].capitalize(), [r for r in rows if r.problem == name], METRICS)
        for name in problems
    ]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del rows
    shown = METHODS[:2]
    cases = list({case[0]: case for case in reversed(settings.cases)}.values())[::-1]
    figure = panels.sheet(1.0 + 2.2 * len(cases))
    grid = figure.subplots(len(cases), 2, sharex="row", squeeze=False)
    for line, case in zip(grid, cases, strict=True):
        found = _estimates(case, settings, key)
        times = where(case, settings)["t"]
        middle = (times[1:] + times[:-1]) / 2
        for panel, belief in zip(line, ("GP", "ANP"), strict=True):
            if belief not in found:
                panel.text(
                    0.5, 0.5, "no weights", transform=panel.transAxes, ha="center", fontsize=FONT
                )
                continue
            for place, method in enumerate(shown):
                estimate = found[belief][method]
                panels.band(
                    panel, middle, estimate.net[0], estimate.spread[0], place, deviations=DEVIATIONS
                )
            exact, half = exact_net(case, settings), DEVIATIONS * estimate.spread[0]
            panel.plot(middle, exact, **TRUTH)
            low, high = (
                np.min([exact, estimate.net[0] - half]),
                np.max([exact, estimate.net[0] + half]),
            )
            panel.set_ylim(low - (high - low) / 2, high + (high - low) / 2)
            panels.finish(panel, title=f"{belief}: {fields.title(case)}", xlabel="time t")
        line[0].set_ylabel("net flux", fontsize=FONT)
    entries = [panels.line(place, method) for place, method in enumerate(shown)]
    panels.legend_below(figure, [*entries, panels.truth("exact")], columns=3)
    return {"": figure}


def where(case: Case, settings: Settings) -> bc.Grid:
    """From a tenth of the benchmark's time on."""
    kind = Slice(case[0]).kind
    end = kind.time_range[1]
    return bc.Grid(
        t=np.linspace(0.1 * end, end, settings.times),
        x=np.linspace(*kind.space_range, settings.points),
    )


def exact_net(case: Case, settings: Settings) -> np.ndarray:
    """Net flux of the exact solution, averaged over each step."""
    times = where(case, settings)["t"]
    return np.diff(np.asarray(Slice(case[0]).problem(case[1]).total(times))) / np.diff(times)


def given(
    case: Case, settings: Settings, belief: bc.Gaussian, method: str, net: np.ndarray
) -> bc.Gaussian:
    """The field given known fluxes, `net` of them; field and fluxes end to end given the balance;
    or, for the differences, the field.
    """
    law = bc.balance(where(case, settings), fluxes="steps")
    if method == "differences":
        return belief
    if method == "known flux":
        fluxes = np.stack([net, np.zeros_like(net)], axis=-1)
        return bc.condition(belief, bc.Constraint(law.change, law.inflow(fluxes)))
    mean, amplitude, length = PRIORS[case[0]]
    fluxes = separable(law.faces, {"t": length, "x": None}, mean=mean, amplitude=amplitude)
    scale = "quadrature" if "rule" in method else None
    told = {"law": law, "insulated": case[0] != "diffusion", "scale": scale}
    return bc.conjugate(unknown_flux.program)(belief, fluxes, **told).components[0]


@functools.cache
def solver(case: Case, settings: Settings, method: str) -> Callable[[bc.Gaussian], Estimate]:
    """From a belief to an estimate, compiled once."""
    grid = where(case, settings)
    law, steps, exact = (
        bc.balance(grid, fluxes="steps"),
        np.diff(grid["t"]),
        exact_net(case, settings),
    )

    def of_field(vector):
        return jnp.diff(vector.reshape(grid.shape) @ jnp.asarray(law.change.weights[1])) / steps

    def of_fluxes(vector):
        return vector[grid.size :].reshape(law.faces.shape) @ jnp.array([1.0, -1.0])

    def solve(belief: bc.Gaussian) -> Estimate:
        posterior = given(case, settings, belief, method, exact)
        net = of_fluxes if method.startswith("unknown") else of_field
        field = posterior.mean.ravel()[: grid.size].reshape(grid.shape)
        functional, whole = (
            bc.functional(f, on=posterior.event_shape)
            for f in (net, lambda v: jnp.asarray(steps) @ net(v))
        )
        mean = functional(posterior.mean)
        inflow = jnp.asarray(steps) @ mean, bc.gaussians.functional_scale(posterior, whole)
        return Estimate(mean, bc.gaussians.functional_scale(posterior, functional), inflow, field)

    return jax.jit(solve)


@fields.once
def _estimates(case: Case, settings: Settings, key: jax.Array) -> dict[str, dict[str, Estimate]]:
    """By belief and method, arrays with the test functions in front."""
    family, value = case
    grid, network = where(case, settings), trained(f"anp_{family}")
    parts: dict[str, dict[str, list]] = {
        belief: {m: [] for m in METHODS} for belief in ("GP", *(["ANP"] if network else []))
    }
    for k in fields.function_keys(key, case, settings.functions):
        shown = fields.readings(Slice(family), value, k)
        beliefs = {}
        if (
            np.ptp(shown.u) > 0
        ):  # equal readings say nothing of how large a field is, and no process is fitted to them
            beliefs["GP"] = gaussian_process(grid, {"t": shown.t, "x": shown.x}, shown.u)
        if network:
            beliefs["ANP"] = moment_matched(
                latent_draws(network, shown, grid, jax.random.fold_in(k, 1), draws=settings.latents)
            )
        for name, belief in beliefs.items():
            for method in METHODS:
                parts[name][method].append(solver(case, settings, method)(belief))
    return {
        b: {m: jax.tree.map(lambda *a: np.stack(a), *found) for m, found in by.items()}
        for b, by in parts.items()
    }


def _judged(case: Case, settings: Settings, found: Estimate) -> dict[str, np.ndarray]:
    """Scores of each function."""
    grid, problem, exact = (
        where(case, settings),
        Slice(case[0]).problem(case[1]),
        exact_net(case, settings),
    )
    weights = np.asarray(bc.integral(grid).weights[1])
    inflow, spread = found.inflow
    return {
        "flux error": np.sqrt(np.mean((found.net - exact) ** 2, axis=1)),
        "flux sd": np.sqrt(np.mean(found.spread**2, axis=1)),
        "coverage of 95 %": np.mean(np.abs(found.net - exact) < DEVIATIONS * found.spread, axis=1),
        "coverage of the inflow": (
            np.abs(inflow - exact @ np.diff(grid["t"])) < DEVIATIONS * spread
        ).astype(float),
        "mean squared error": np.mean(
            (found.mean - np.asarray(problem.solution(**grid.mesh()))) ** 2, axis=(1, 2)
        ),
        "total error": np.sqrt(
            np.mean((found.mean @ weights - np.asarray(problem.total(grid["t"]))) ** 2, axis=1)
        ),
    }
