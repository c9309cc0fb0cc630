"""Vanishing noise: the same program with its fact read softly, ever more sharply, and exactly.

A hundred independent unknowns, u_i ~ N(0, 1), and one fact: their sum is 30, up to noise of standard deviation `scale`
(models/one_total.py, which states the total, a hundredth of the sum). The posterior is known: along the 99 directions that leave the sum
alone it is the unit normal whatever the scale. It is sampled

* `exact, NUTS`: from the program that `bc.exact` makes, where the noise is part of the closed form, down to none at all;
* `conjugate`: independent draws of the closed form;
* `soft, NUTS`: from `bc.soft`, plain NumPyro with a Normal of that scale;
* `soft, SMC`: from the same, with particles tempered from the prior, and the evidence on the way.

Four chains (or populations) of each, as one compiled call. Effective draws are the smallest bulk ESS over an orthonormal basis of the 99
free directions, R-hat the largest. Processor time is that of the whole run, warm-up included, once compiled, the least of the repeats. A
gradient is a leapfrog step after the warm-up; of SMC, all there are. Chains whose R-hat is above 1.05 did not mix, and no ratio is formed
with them.

What a frozen sampler shows, and does not: every draw satisfies the fact; no divergence need be counted; and chains that stand still in
different places have the right variance when they are pooled, though none has any of its own.

The guard is `StiffnessWarning`. It must come before the failure: at every scale at which soft NUTS does not mix.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
import warnings
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from numpyro import handlers

import bayescons as bc
from bayescons.plots import FONT, MARKERS
from bayescons.sampling import Chains, Method, chains, mixing
from experiments import panels
from experiments.rows import Row
from experiments.tables import Table, against_targets, pivot
from models import one_total

PROBLEM, TOTAL = "one total", 0.3
UNKNOWNS = one_total.grid.size
MIXED = 1.05  # largest R-hat of chains that are said to have mixed
METHODS = {"exact, NUTS": ("nuts", "exact"), "conjugate": ("conjugate", "exact")}
METHODS |= {"soft, NUTS": ("nuts", "soft"), "soft, SMC": ("smc", "soft")}
COST = {
    "gradients a draw": "gradients",
    "least bulk ESS": "ESS",
    "largest R-hat": "R-hat",
    "divergences": "divergences",
    "ESS per gradient": "ESS / gradient",
    "ESS per CPU second": "ESS / CPU s",
}
MOMENTS = {
    "mean of free directions, rms": "mean, rms",
    "variance of free directions, pooled": "variance",
    "variance of free directions, within chains": "within chains",
    "sd of the sum / true": "sd of the sum / true",
    "largest |sum - 30|": "largest |sum - 30|",
    "log evidence - true": "log evidence - true",
}
PANELS = {
    "gradients a draw": "leapfrog steps a draw",
    "largest R-hat": "largest R-hat",
    "variance of free directions, within chains": "variance within chains (true 1)",
    "ESS per CPU second": "effective draws per CPU second",
}
FIGURES = {
    "": "What a sampler needs and what it gives as the noise of the sum goes to zero (right end: none). Crosses: did not mix; the "
    "effective draws of such chains mean nothing and are left out. Grey: scales of which StiffnessWarning warns."
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        exponents: k of the scales 10^-k of the sum.
        chain: warm-up steps, and draws, of each of four chains.
        particles: of each of four populations.
        repeats: of a run, at most; what has taken `budget` seconds is not repeated.
        budget: in seconds of processor time.
    """

    exponents: tuple[int, ...]
    chain: int
    particles: int
    repeats: int = 3
    budget: float = 10.0


SETTINGS = {
    "quick": Settings(exponents=(0, 2, 4), chain=300, particles=400),
    "paper": Settings(exponents=tuple(range(9)), chain=1000, particles=1000, repeats=5),
}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """Every method at every scale, the guard, and the targets."""
    found = {}
    for method, (sampler, reading) in METHODS.items():
        size = settings.particles if sampler == "smc" else settings.chain
        run = chains(one_total.program, Method(sampler, chains=4, warmup=settings.chain, draws=size), reading=reading)
        found |= _swept(method, run, settings, key)
    out = [row for (method, k), told in found.items() for row in _rows(method, k, told)]
    return [*out, *_guard(settings, found), *_targets(found)]


def tables(rows: Sequence[Row]) -> list[Table]:
    """What it costs, what comes of it, and the targets."""
    return [
        pivot("What it costs", rows, COST, methods="sampler"),
        pivot("What comes of it", rows, MOMENTS, methods="sampler"),
        against_targets("Against the targets", rows),
    ]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del key
    at = {(row.method, row.parameter, row.metric): row.mean for row in rows}
    places = {_label(k): place for place, k in enumerate((*settings.exponents, None))}
    figure = panels.sheet(6.4)
    grid = figure.subplots(2, 2, sharex=True)
    for panel, (metric, label) in zip(grid.flat, PANELS.items(), strict=True):
        panel.set_yscale("linear" if "variance" in metric else "log")
        for name, place in places.items():
            if at.get(("soft, NUTS", name, "guard warns"), 0.0):
                panel.axvspan(place - 0.5, place + 0.5, color="0.93", zorder=0, linewidth=0)
        for number, method in enumerate(METHODS):
            _line(panel, number, method, metric, places, at)
        panels.finish(panel, ylabel=label)
        panel.set_xticks(list(places.values()), [name.removeprefix("scale ") for name in places])
        panel.tick_params(axis="x", labelsize=FONT - 2)
    for panel in grid[-1]:
        panel.set_xlabel("scale of the sum", fontsize=FONT)
    entries = [panels.line(number, method) for number, method in enumerate(METHODS)]
    panels.legend_below(figure, [*entries, panels.cross("did not mix")], columns=3)
    return {"": figure}


def _line(panel, number: int, method: str, metric: str, places: dict, at: dict) -> None:
    """One sampler over the scales; crosses where it did not mix."""
    found = {place: at.get((method, name, metric), math.nan) for name, place in places.items()}
    mixed = {place: at.get((method, name, "largest R-hat"), math.nan) <= MIXED for name, place in places.items()}
    shown = {place: value for place, value in found.items() if math.isfinite(value)}
    good = {place: value for place, value in shown.items() if mixed[place]}
    bad = {place: value for place, value in shown.items() if not mixed[place]}
    panel.plot(list(shown), list(shown.values()), **panels.look(number))
    mark = {"linestyle": "none", "color": panels.look(number)["color"]}
    panel.plot(list(good), list(good.values()), marker=MARKERS[number], markersize=5, **mark)
    panel.plot(list(bad), list(bad.values()), marker="x", markersize=8, markeredgewidth=2.0, **mark)


# --- Runs -----------------------------------------------------------------------------------------------------------------------------


def _swept(method: str, run, settings: Settings, key: jax.Array) -> dict[tuple[str, int | None], dict[str, float]]:
    """What a sampler gives at every scale; compiled once for all of them, and once more for no noise."""

    def at(key, scale):
        return run(key, (TOTAL,), {"scale": scale})

    noisy = jax.jit(at).lower(key, 1.0).compile()
    calls = {k: functools.partial(noisy, key, 10.0**-k / UNKNOWNS) for k in settings.exponents}
    if METHODS[method][1] == "exact":
        calls[None] = functools.partial(jax.jit(lambda key: run(key, (TOTAL,))).lower(key).compile(), key)
    return {(method, k): _judged(k, *_timed(call, settings)) for k, call in calls.items()}


def _timed(call, settings: Settings) -> tuple[Chains, float]:
    """A run, and the least processor time of its repeats."""
    taken: list[float] = []
    while len(taken) < settings.repeats and sum(taken) < settings.budget:
        start = time.process_time()
        found = jax.block_until_ready(call())
        taken.append(time.process_time() - start)
    return jax.tree.map(np.asarray, found), min(taken)


def _judged(k: int | None, found: Chains, seconds: float) -> dict[str, float]:
    """The metrics of one run."""
    u, scale = found.draws["u"], 0.0 if k is None else 10.0**-k
    free, total = u @ _basis(), u.sum(axis=-1)
    mixed = mixing({"free": free}, ["free"])
    evaluated = {name: float(found.summary[name].sum()) for name in ("gradients", "warmup_gradients")}
    gradients = evaluated["gradients"] or evaluated["warmup_gradients"]  # of particles, all are on the way
    lost = found.summary.get("divergences", found.statistics.get("diverging", np.zeros(1)))
    true = math.sqrt(UNKNOWNS * scale**2 / (UNKNOWNS + scale**2))
    told = {
        "gradients a draw": gradients / total.size,
        "least bulk ESS": mixed.ess,
        "largest R-hat": mixed.r_hat,
        "divergences": float(np.sum(lost)),
        "ESS per gradient": mixed.ess / gradients if gradients else math.nan,
        "CPU seconds": seconds,
        "ESS per CPU second": mixed.ess / seconds,
        "mean of free directions, rms": float(np.sqrt(np.mean(free.mean(axis=(0, 1)) ** 2))),
        "variance of free directions, pooled": float(free.var(axis=(0, 1)).mean()),
        "variance of free directions, within chains": float(free.var(axis=1).mean()),
        "sd of the sum / true": float(total.std() / true) if true else math.nan,
        "largest |sum - 30|": float(np.abs(total - TOTAL * UNKNOWNS).max()),
    }
    return told | _evidence(found, scale)


def _evidence(found: Chains, scale: float) -> dict[str, float]:
    """Of particles, how far the evidence is off, and its standard error by the spread of the populations."""
    if "log_evidence" not in found.summary:
        return {}
    logs = found.summary["log_evidence"]
    spread = math.sqrt(UNKNOWNS + scale**2) / UNKNOWNS  # of the total, which is what the program states
    true = -0.5 * (TOTAL / spread) ** 2 - math.log(spread) - 0.5 * math.log(2 * math.pi)
    mean = float(np.logaddexp.reduce(logs) - math.log(logs.size))
    return {"log evidence - true": mean - true, "error": float(np.exp(logs - mean).std(ddof=1) / math.sqrt(logs.size))}


def _basis() -> np.ndarray:
    """Orthonormal directions that leave the sum alone, (100, 99)."""
    first = np.column_stack([np.ones(UNKNOWNS), np.eye(UNKNOWNS)[:, 1:]])
    return np.linalg.qr(first)[0][:, 1:]


# --- Rows -----------------------------------------------------------------------------------------------------------------------------


def _rows(method: str, k: int | None, told: dict[str, float]) -> list[Row]:
    """The metrics; what chains that did not mix cannot give is left out, and so is what there is none of."""
    row = functools.partial(Row, PROBLEM, _label(k), method)
    mixed, error = told["largest R-hat"] <= MIXED, told.get("error", math.nan)
    absent = {
        "ESS per gradient": "no gradients",
        "sd of the sum / true": "known exactly",
        "log evidence - true": "no particle got there",
    }
    out = []
    for metric, value in told.items():
        if metric == "error":
            continue
        if metric.startswith("ESS per") and not mixed:
            out.append(row(metric, math.nan, n=0, note="did not mix"))
        else:
            se = error if metric.startswith("log evidence") else math.nan
            out.append(row(metric, value, se=se, note=absent.get(metric, "no number") if math.isnan(value) else ""))
    return out


def _guard(settings: Settings, found: dict) -> list[Row]:
    """At which scales the soft reading warns, and at how many it fails to mix and does not."""
    warned = {k: warns(10.0**-k / UNKNOWNS) for k in settings.exponents}
    silent = [k for k in settings.exponents if found["soft, NUTS", k]["largest R-hat"] > MIXED and not warned[k]]
    told = [Row(PROBLEM, _label(k), "soft, NUTS", "guard warns", float(warns_here)) for k, warns_here in warned.items()]
    return [
        *told,
        Row(PROBLEM, "all scales", "soft, NUTS", "scales not mixed and not warned of", float(len(silent)), reference="≤ 0"),
    ]


def warns(scale: float) -> bool:
    """Whether the soft reading warns of stiffness, with this scale of the total."""
    read = handlers.seed(bc.soft(one_total.program, scale), 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        jax.eval_shape(lambda total: jnp.sum(read(total)), TOTAL)
    return any(issubclass(warning.category, bc.StiffnessWarning) for warning in caught)


def _targets(found: dict) -> list[Row]:
    """Exact is flat in the scale; it leads soft at 1e-2; soft at 1e-4 is not mixed."""
    exact = {k: told for (method, k), told in found.items() if method == "exact, NUTS"}
    out = []
    for metric in ("gradients a draw", "ESS per CPU second"):
        off = max(abs(told[metric] / exact[None][metric] - 1) for told in exact.values())
        out.append(Row(PROBLEM, "all scales", "exact, NUTS", f"{metric}: departure from no noise", off, reference="≤ 0.2"))
    soft = {k: told for (method, k), told in found.items() if method == "soft, NUTS"}
    if 2 in soft:
        row = functools.partial(Row, PROBLEM, _label(2), "exact, NUTS", "lead over soft in ESS per CPU second", reference="≥ 500")
        mixed = max(soft[2]["largest R-hat"], exact[2]["largest R-hat"]) <= MIXED
        lead = exact[2]["ESS per CPU second"] / soft[2]["ESS per CPU second"] if mixed else math.nan
        out.append(row(lead) if mixed else row(lead, n=0, note="did not mix"))
    if 4 in soft:
        out.append(Row(PROBLEM, _label(4), "soft, NUTS", "R-hat, not mixed", soft[4]["largest R-hat"], reference=f"≥ {MIXED}"))
    return out


def _label(k: int | None) -> str:
    return "scale 0" if k is None else f"scale {10.0**-k:g}"
