"""Vanishing noise: the same program with its fact read softly, ever more sharply, and exactly.

A hundred independent unknowns, u_i ~ N(0, 1), and one fact: their sum is 30, up to noise of
standard deviation `scale` (models/one_total.py, which states the total, a hundredth of the sum).
The posterior is known: along the 99 directions that leave the sum alone it is the unit normal
whatever the scale. It is sampled

* `exact, NUTS`: from the program that `bc.exact` makes, where the noise is part of the closed form,
  down to none at all;
* `conjugate`: independent draws of the closed form;
* `soft, NUTS`: from `bc.soft`, plain NumPyro with a Normal of that scale;
* `soft, SMC`: from the same, with particles tempered from the prior, and the evidence on the way.

Four chains (or populations) of each, as one compiled call. Effective draws are the smallest bulk
ESS over an orthonormal basis of the 99 free directions, R-hat the largest. Processor time is that
of the whole run, warm-up included, once compiled. A gradient is a leapfrog step after the warm-up;
of SMC, all there are. What is quick is repeated with other keys: means and their standard errors
are shown, the largest R-hat, and all effective draws over all time. Chains whose R-hat is above
1.05 did not mix, and no ratio is formed with them.

What a frozen sampler shows, and does not: every draw satisfies the fact; no divergence need be
counted; and chains that stand still in different places have the right variance when they are
pooled, though none has any of its own.

The guard is `StiffnessWarning`. It must come before the failure: at every scale at which soft NUTS
does not mix.
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
from matplotlib.patches import Patch
from numpyro import handlers

import bayescons as bc
from bayescons.plots.fields import FONT, MARKERS
from bayescons.sampling import Method, Run, chains, mixing
from experiments import panels
from experiments.rows import Row, averaged
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
WARNED = "0.92"  # grey of the scales that are warned of
FIGURES = {
    "": (
        "What a sampler needs and what it gives as the noise of the sum goes to zero (right end: "
        "none). Crosses: did not mix; the effective draws of such chains mean nothing and are left "
        "out. Grey: scales of which StiffnessWarning warns."
    ),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        exponents: k of the scales 10^-k of the sum.
        chain: warm-up steps, and draws, of each of four chains.
        particles: of each of four populations.
        repeats: of a run with other keys, at most; what has taken `budget` seconds is not repeated.
        budget: in seconds of processor time.
    """

    exponents: tuple[int, ...]
    chain: int
    particles: int
    repeats: int = 3
    budget: float = 10.0


SETTINGS = {
    "quick": Settings(exponents=(0, 2, 4), chain=300, particles=400),
    "paper": Settings(
        exponents=tuple(range(9)), chain=1000, particles=1000, repeats=30, budget=12.0
    ),
}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """Every method at every scale, the guard, and the targets."""
    found: dict[tuple[str, int | None], list[dict[str, float]]] = {}
    for method, (sampler, reading) in METHODS.items():
        size = settings.particles if sampler == "smc" else settings.chain
        run = chains(
            one_total.program,
            Method(sampler, chains=4, warmup=settings.chain, draws=size),
            reading=reading,
        )
        found |= _swept(method, run, settings, key)
    out = [row for (method, k), runs in found.items() for row in _rows(method, k, runs)]
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
        panel.set_yscale(
            "log" if metric in ("gradients a draw", "ESS per CPU second") else "linear"
        )
        for name, place in places.items():
            if at.get(("soft, NUTS", name, "guard warns"), 0.0):
                panel.axvspan(place - 0.5, place + 0.5, color=WARNED, zorder=0, linewidth=0)
        for number, method in enumerate(METHODS):
            _line(panel, number, method, metric, places, at)
        if panel.get_yscale() == "log":
            panel.set_ylim(bottom=10 ** math.floor(math.log10(panel.get_ylim()[0])))
        panels.finish(panel, ylabel=label)
        panel.set_xticks(list(places.values()), [_tick(k) for k in (*settings.exponents, None)])
        panel.tick_params(axis="x", labelsize=FONT - 2)
    for panel in grid[-1]:
        panel.set_xlabel("scale of the sum", fontsize=FONT)
    entries = [panels.line(number, method) for number, method in enumerate(METHODS)]
    guard = Patch(color=WARNED, label="warned of")
    panels.legend_below(figure, [*entries, panels.cross("did not mix"), guard], columns=3)
    return {"": figure}


def _line(panel, number: int, method: str, metric: str, places: dict, at: dict) -> None:
    """One sampler over the scales; crosses where it did not mix."""
    found = {place: at.get((method, name, metric), math.nan) for name, place in places.items()}
    worst = {
        place: at.get((method, name, "largest R-hat"), math.nan) for name, place in places.items()
    }
    mixed = {place: method == "conjugate" or r_hat <= MIXED for place, r_hat in worst.items()}
    shown = {place: value for place, value in found.items() if math.isfinite(value)}
    good = {place: value for place, value in shown.items() if mixed[place]}
    bad = {place: value for place, value in shown.items() if not mixed[place]}
    panel.plot(list(shown), list(shown.values()), **panels.look(number))
    mark = {"linestyle": "none", "color": panels.look(number)["color"]}
    panel.plot(list(good), list(good.values()), marker=MARKERS[number], markersize=5, **mark)
    panel.plot(list(bad), list(bad.values()), marker="x", markersize=8, markeredgewidth=2.0, **mark)


# --- Runs
# -----------------------------------------------------------------------------


def _swept(
    method: str, run, settings: Settings, key: jax.Array
) -> dict[tuple[str, int | None], list[dict[str, float]]]:
    """What a sampler gives at every scale, a run a key; compiled once for all of them, and once
    more for no noise.
    """

    def at(key, scale):
        return run(key, (TOTAL,), {"scale": scale})

    noisy = jax.jit(at).lower(key, 1.0).compile()
    calls = {
        k: (lambda key, scale=scale: noisy(key, scale)) for k, scale in _totals(settings).items()
    }
    if METHODS[method][1] == "exact":
        calls[None] = jax.jit(lambda key: run(key, (TOTAL,))).lower(key).compile()
    out: dict[tuple[str, int | None], list[dict[str, float]]] = {(method, k): [] for k in calls}
    for own in jax.random.split(
        key, settings.repeats
    ):  # scales by turns, so that a machine that slows down slows all of them
        for k, call in calls.items():
            if sum(told["CPU seconds"] for told in out[method, k]) < settings.budget:
                out[method, k].append(_timed(k, call, own))
    return out


def _totals(settings: Settings) -> dict[int, float]:
    """The scales of the total, by their exponent."""
    return {k: 10.0**-k / UNKNOWNS for k in settings.exponents}


def _timed(k: int | None, call, key: jax.Array) -> dict[str, float]:
    """One run, judged."""
    start = time.process_time()
    found = jax.block_until_ready(call(key))
    seconds = time.process_time() - start
    return _judged(k, jax.tree.map(np.asarray, found), seconds)


def _judged(k: int | None, found: Run, seconds: float) -> dict[str, float]:
    """The metrics of one run."""
    u, scale = found.draws["u"], 0.0 if k is None else 10.0**-k
    free, total = u @ _basis(), u.sum(axis=-1)
    mixed = mixing({"free": free}, ["free"])
    evaluated = {
        name: float(found.summary[name].sum()) for name in ("gradients", "warmup_gradients")
    }
    gradients = (
        evaluated["gradients"] or evaluated["warmup_gradients"]
    )  # of particles, all are on the way
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


def _evidence(found: Run, scale: float) -> dict[str, float]:
    """Of particles, how far the evidence is off, and its standard error by the spread of the
    populations.
    """
    if "log_evidence" not in found.summary:
        return {}
    logs = found.summary["log_evidence"]
    spread = (
        math.sqrt(UNKNOWNS + scale**2) / UNKNOWNS
    )  # of the total, which is what the program states
    true = -0.5 * (TOTAL / spread) ** 2 - math.log(spread) - 0.5 * math.log(2 * math.pi)
    mean = float(np.logaddexp.reduce(logs) - math.log(logs.size))
    return {
        "log evidence - true": mean - true,
        "error": float(np.exp(logs - mean).std(ddof=1) / math.sqrt(logs.size)),
    }


def _basis() -> np.ndarray:
    """Orthonormal directions that leave the sum alone, (100, 99)."""
    first = np.column_stack([np.ones(UNKNOWNS), np.eye(UNKNOWNS)[:, 1:]])
    return np.linalg.qr(first)[0][:, 1:]


# --- Rows
# -----------------------------------------------------------------------------


def _rows(method: str, k: int | None, runs: list[dict[str, float]]) -> list[Row]:
    """The metrics; what chains that did not mix cannot give is left out, and so is what there is
    none of.
    """
    row = functools.partial(Row, PROBLEM, _label(k), method)
    mixed = (
        method == "conjugate" or _over(runs, "largest R-hat") <= MIXED
    )  # independent draws need not mix
    absent = {
        "ESS per gradient": "no gradients",
        "sd of the sum / true": "known exactly",
        "log evidence - true": "no particle got there",
    }
    out = []
    for metric in runs[0]:
        values = averaged([told[metric] for told in runs])
        if metric.startswith("ESS per") and not mixed:
            out.append(row(metric, math.nan, n=0, note="did not mix"))
        elif not values["n"]:
            out.append(row(metric, **values, note=absent.get(metric, "no number")))
        elif metric.startswith("log evidence") and len(runs) == 1:
            out.append(row(metric, **values | {"se": runs[0]["error"]}))
        elif metric != "error":
            exceptional = metric == "largest R-hat" or "CPU" in metric
            out.append(
                row(metric, _over(runs, metric), n=len(runs))
                if exceptional
                else row(metric, **values)
            )
    return out


def _over(runs: list[dict[str, float]], metric: str) -> float:
    """Of several runs the largest R-hat, all effective draws over all time, the mean of all
    else.
    """
    if metric == "ESS per CPU second":
        return _over(runs, "least bulk ESS") / _over(runs, "CPU seconds")
    values = [told[metric] for told in runs]
    return max(values) if metric == "largest R-hat" else float(np.mean(values))


def _guard(settings: Settings, found: dict) -> list[Row]:
    """At which scales the soft reading warns, and at how many it fails to mix and does not."""
    warned = {k: warns(scale) for k, scale in _totals(settings).items()}
    silent = [
        k
        for k in warned
        if _over(found["soft, NUTS", k], "largest R-hat") > MIXED and not warned[k]
    ]
    told = [
        Row(PROBLEM, _label(k), "soft, NUTS", "guard warns", float(here))
        for k, here in warned.items()
    ]
    return [
        *told,
        Row(
            PROBLEM,
            "all scales",
            "soft, NUTS",
            "scales not mixed and not warned of",
            float(len(silent)),
            reference="≤ 0",
        ),
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
    exact = {k: runs for (method, k), runs in found.items() if method == "exact, NUTS"}
    out = []
    for metric in ("gradients a draw", "ESS per CPU second"):
        off = max(
            abs(_over(runs, metric) / _over(exact[None], metric) - 1) for runs in exact.values()
        )
        out.append(
            Row(
                PROBLEM,
                "all scales",
                "exact, NUTS",
                f"{metric}: departure from no noise",
                off,
                reference="≤ 0.2",
            )
        )
    soft = {k: runs for (method, k), runs in found.items() if method == "soft, NUTS"}
    if 2 in soft:
        row = functools.partial(
            Row,
            PROBLEM,
            _label(2),
            "exact, NUTS",
            "lead over soft in ESS per CPU second",
            reference="≥ 500",
        )
        mixed = max(_over(runs[2], "largest R-hat") for runs in (soft, exact)) <= MIXED
        lead = _over(exact[2], "ESS per CPU second") / _over(soft[2], "ESS per CPU second")
        out.append(row(lead) if mixed else row(math.nan, n=0, note="did not mix"))
    if 4 in soft:
        worst = _over(soft[4], "largest R-hat")
        out.append(
            Row(PROBLEM, _label(4), "soft, NUTS", "R-hat, not mixed", worst, reference=f"≥ {MIXED}")
        )
    return out


def _label(k: int | None) -> str:
    return "scale 0" if k is None else "scale 1" if k == 0 else f"scale 1e-{k}"


def _tick(k: int | None) -> str:
    """Every second scale has its label, or they would run into each other."""
    return "0" if k is None else "1" if k == 0 else f"$10^{{-{k}}}$" if k % 2 == 0 else ""
