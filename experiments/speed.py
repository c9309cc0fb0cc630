"""Speed: what one exact update costs, and what vanishing noise does to a sampler.

A belief of independent points (or of low rank, or separable) is conditioned on its integral over x
at every time, in float64, by `bc.update` under one `jax.jit`, and once compiled. Beside it stand

* `numpy`: the same formula written out for this one case in plain NumPy, O(n);
* `dense`: the textbook formula with an n × n covariance P for every function and time, P - k (g P),
  in NumPy, O(n²);
* `dense product`: its other textbook form, (I - k g) P, with a product of two n × n matrices,
  O(n³). It is what the ProbConserv reference computes; here compiled by JAX as well, which is
  faster than NumPy's and steadier on a shared machine.

Both dense ones take one function and time after another, which is smaller than the reference's all
at once. Times are the least of all runs, medians beside them; ratios are of the least, growth is of
the medians (one lucky run would tilt a fit to three points). A size is functions × times × points.

Memory is what the compiler has planned (arguments, results and temporaries), and for large sizes
the peak of resident memory of a process of its own above what it held before; both count the input,
and are multiples of it. Growth is measured over the sizes with most
functions: with small ones the processor's cache and the allocator's reuse of pages would be
    measured as well.

NUTS has 100 independent unknowns and one total (models/one_total.py), 4 chains, and runs as one
compiled call; processor time is that of its second run. Effective draws are the smallest bulk ESS
over an orthonormal basis of the 99 directions that the total leaves free: a frozen sampler still
satisfies the total. Chains whose largest R-hat is above 1.05 did not mix, and no ratio is formed
with them; `exact leads by` is the ratio of effective draws per second.

Calls (models/measured_rod.py, 101 points): a first `bc.conjugate` against another with other
numbers; `bc.update` as it is called, which looks at the numbers, against the same under `jit`,
which cannot; a first `bc.sample` against the same posterior written by hand for NumPyro's NUTS
(experiments/calls.py), each in a process of its own; and what another `bc.sample` takes beside its
run.
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
from numpyro.infer import MCMC, NUTS

import bayescons as bc
from bayescons.plots.fields import COLOURS, DPI, FONT, MARKERS
from bayescons.results.trees import datatree, summarise
from bayescons.surrogates import separable
from experiments.calls import call_rows
from experiments.mass_update import (
    Size,
    compiled_update,
    conservation,
    dense_product_update,
    dense_update,
    field,
    numpy_update,
    planned_memory,
    unit_grid,
)
from experiments.measurement import elsewhere, growth_exponent, timings
from experiments.rows import Row, averaged
from experiments.tables import Table, against_targets, compact, pivot
from models import one_total

FORMULAS = ("bayescons", "numpy", "dense", "dense product")
CACHE = (
    2**25
)  # bytes, the largest cache of usual processors: growth is judged where a single array is larger
MIXED = 1.05  # largest R-hat of chains that are said to have mixed
FIGURES = {
    "": (
        "Seconds for one mass update against the number of points. Grey: the size of the published "
        "benchmark, 201 × 201."
    ),
    "_nuts": (
        "NUTS on 100 unknowns with one total: leapfrog steps a draw, and effective draws per "
        "second of processor time."
    ),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Sizes of a run.

    Attributes:
        sizes: (functions, times, points) of the mass updates.
        dense_points: most points for which the dense formulas are run, and then for one function
            only.
        repeats: runs in a row of each formula, three times over.
        draws: drawn from the posterior of a field of `draws_size` for the conservation error.
        draws_size: (functions, times, points) of that field.
        low_rank: (times, points, rank, rows).
        kronecker: (times, points).
        chain: warm-up and draws of each of 4 chains.
        scales: noise of the soft readings.
        calls: (times, points) of the update that is called by itself and under `jit`.
    """

    sizes: tuple[Size, ...]
    dense_points: int
    repeats: int
    draws: int
    draws_size: Size
    low_rank: tuple[int, int, int, int]
    kronecker: tuple[int, int]
    chain: int
    scales: tuple[float, ...] = (1e-2, 1e-4)
    calls: tuple[int, int] = (1000, 1000)


SETTINGS = {
    "quick": Settings(
        sizes=((1, 201, 201), (1, 201, 401), (10, 201, 401), (10, 201, 801), (10, 201, 1601)),
        dense_points=201,
        repeats=5,
        draws=200,
        draws_size=(1, 21, 201),
        low_rank=(100, 400, 50, 20),
        kronecker=(50, 200),
        chain=250,
    ),
    "paper": Settings(
        sizes=(
            (1, 201, 201),
            (1, 201, 401),
            (1, 201, 801),
            (50, 201, 801),
            (50, 201, 1601),
            (50, 201, 3201),
        ),
        dense_points=801,
        repeats=100,
        draws=1000,
        draws_size=(1, 21, 201),
        low_rank=(500, 800, 200, 20),
        kronecker=(200, 400),
        chain=1000,
    ),
}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """Everything measured: mass updates, their memory and exactness, other beliefs, NUTS."""
    updates = [row for size in settings.sizes for row in _mass_rows(size, settings)]
    return [
        *updates,
        *_growth_rows(updates, settings),
        *_memory_rows(settings),
        *_conservation_rows(settings),
        *_low_rank_rows(settings, key),
        *_kronecker_rows(settings),
        *_nuts_rows(settings, key),
        *call_rows(settings.calls, settings.chain, settings.repeats),
    ]


def tables(rows: Sequence[Row]) -> list[Table]:
    """Against the targets; seconds; NUTS."""
    nuts = {
        "leapfrog steps a draw": "steps",
        "least bulk ESS": "ESS",
        "largest R-hat": "R-hat",
        "divergences": "divergences",
        "ESS per CPU second": "ESS / CPU s",
        "lead of exact": "exact leads by",
    }
    return [
        against_targets("Against the targets", rows),
        pivot(
            "One mass update on independent points",
            [row for row in rows if row.problem == "mass update"],
            {
                "seconds": "s, least",
                "seconds, median": "s, median",
                "time / bayescons's": "× bayescons",
            },
        ),
        pivot(
            "One update of other beliefs",
            [row for row in rows if row.problem in ("low rank", "Kronecker")],
            {"seconds": "s, least", "seconds, median": "s, median"},
            methods="computed",
        ),
        pivot(
            "First and other calls",
            [row for row in rows if row.problem == "calls"],
            {
                "seconds, first call": "s, first",
                "seconds, again": "s, again",
                "seconds, eager": "s, eager",
                "seconds, jitted": "s, jitted",
                "seconds beside the run, again": "s beside the run",
            },
            methods="door",
        ),
        pivot(
            "NUTS on 100 unknowns with one total",
            [row for row in rows if row.problem == "NUTS"],
            nuts,
            methods="program",
        ),
    ]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del settings, key
    return {"": _time_figure(rows), "_nuts": _nuts_figure(rows)}


# --- Mass updates on independent points
# -----------------------------------------------------------------------------------------------


def _mass_rows(size: Size, settings: Settings) -> list[Row]:
    grid = unit_grid(*size[1:])
    weights = np.asarray(bc.integral(grid, over="x").weights[1])
    on_device = jax.block_until_ready(field(size))
    arrays = tuple(map(np.array, on_device))
    update = compiled_update(grid)
    thunks = {
        "bayescons": lambda: update(*on_device),
        "numpy": lambda: numpy_update(*arrays, weights),
    }
    if size[0] == 1 and size[2] <= settings.dense_points:
        thunks |= {"dense": lambda: dense_update(*arrays, weights)}
        thunks |= {"dense product": lambda: dense_product_update(*on_device, jnp.asarray(weights))}
    runs = timings(thunks, repeats=settings.repeats)
    row = functools.partial(Row, "mass update", _words(size))
    ratios = {method: taken.min() / runs["bayescons"].min() for method, taken in runs.items()}
    gigabytes = math.prod(size) * size[2] * 8 / 1e9
    absent = [method for method in FORMULAS if method not in runs]
    ours, by_hand = update(*on_device)[:2], numpy_update(*arrays, weights)
    difference = max(
        np.abs(a - b).max() / np.abs(b).max() for a, b in zip(ours, by_hand, strict=True)
    )
    target = {"dense product": "≥ 300"} if size[2] == 201 and size[0] == 1 else {}
    return [
        *(row(method, "seconds", taken.min(), n=len(taken)) for method, taken in runs.items()),
        *(
            row(method, "seconds, median", float(np.median(taken)), n=len(taken))
            for method, taken in runs.items()
        ),
        *(
            row(m, "time / bayescons's", r, reference=target.get(m))
            for m, r in ratios.items()
            if m != "bayescons"
        ),
        *(
            row(m, "seconds", math.nan, n=0, note=f"not run: {gigabytes:.3g} GB of covariances")
            for m in absent
        ),
        row("bayescons", "time / numpy's", 1 / ratios["numpy"], reference="≤ 2"),
        row("bayescons", "difference from numpy", float(difference), reference="≤ 1e-12"),
    ]


def _growth_rows(updates: Sequence[Row], settings: Settings) -> list[Row]:
    """The exponent of the time in the number of points, at the largest number of functions."""
    most = max(size[0] for size in settings.sizes)
    sizes = {_words(size): math.prod(size) for size in settings.sizes if size[0] == most}
    if len(sizes) < 2:
        return []
    seconds = {
        (row.method, row.parameter): row.mean for row in updates if row.metric == "seconds, median"
    }
    name, small = f"{most} functions", min(sizes.values()) * 8 < CACHE
    return [
        Row(
            "mass update",
            name,
            method,
            "growth exponent in points",
            growth_exponent(list(sizes.values()), [seconds[method, size] for size in sizes]),
            n=len(sizes),
            reference="≤ 1.1" if method == "bayescons" and not small else None,
            note="the smaller sizes fit into a cache" if small else "",
        )
        for method in FORMULAS[:2]
    ]


def _memory_rows(settings: Settings) -> list[Row]:
    row = {
        size: functools.partial(Row, "mass update", _words(size), "bayescons", reference="≤ 6")
        for size in settings.sizes
    }
    large = [size for size in settings.sizes if math.prod(size) * 8 >= CACHE] or [
        max(settings.sizes, key=math.prod)
    ]
    peaks = {size: elsewhere("experiments.mass_update:peak_memory", size) for size in large}
    return [
        *(row[size]("planned memory / input", planned_memory(size)) for size in settings.sizes),
        *(row[size]("peak memory / input", peak) for size, peak in peaks.items()),
    ]


def _conservation_rows(settings: Settings) -> list[Row]:
    """Largest |G u - b| / |b| over rows, for the mean and over draws. Fields of float32 are summed
    in float64 to be judged.
    """
    size, least, in_mean, in_draws = (
        settings.draws_size,
        {"float64": "≤ 1e-12"},
        "mean",
        f"{settings.draws} draws",
    )
    cases = {
        "float64": conservation(size, settings.draws, "float64"),
        "float32 fields, x64 on": conservation(size, settings.draws, "float32"),
        "float32 throughout": elsewhere(
            "experiments.mass_update:conservation", size, settings.draws, "float32", x64=False
        ),
    }
    return [
        Row(
            "conservation",
            _words(size),
            f"{case}: {of}",
            "largest error / total",
            error,
            reference=least.get(case, "≤ 1e-6"),
        )
        for case, errors in cases.items()
        for of, error in zip((in_mean, in_draws), errors, strict=True)
    ]


# --- Other beliefs
# -----------------------------------------------------------------------------


def _low_rank_rows(settings: Settings, key: jax.Array) -> list[Row]:
    """A belief of low rank on the totals at some of its times, stated by a function of the
    field.
    """
    times, points, rank, count = settings.low_rank
    grid = unit_grid(times, points)
    weights = jnp.asarray(bc.integral(grid, over="x").weights[1])
    some = bc.functional(lambda u: u[:: times // count][:count] @ weights, on=grid)
    mean, scale, _ = (array[0] for array in field((1, times, points)))
    belief = bc.low_rank(
        mean, scale, jax.random.normal(key, (times, points, rank)) / math.sqrt(rank)
    )
    size = f"{times} × {points}, rank {rank}, {count} rows"
    return _update_rows("low rank", size, belief, bc.Constraint(some, jnp.full(count, 1.0)))


def _kronecker_rows(settings: Settings) -> list[Row]:
    """A separable Gaussian process (Matérn 3/2, lengths 0.3) on its exact total at every time."""
    times, points = settings.kronecker
    grid = unit_grid(times, points)
    belief = separable(grid, {"t": 0.3, "x": 0.3})
    constraint = bc.Constraint(bc.integral(grid, over="x"), jnp.linspace(0.0, 1.0, times))
    return _update_rows("Kronecker", f"{times} × {points}, {times} rows", belief, constraint)


def _update_rows(problem: str, size: str, belief, constraint) -> list[Row]:
    """Seconds for mean and evidence, and with the variance, which costs a pass for every row, as
    well.
    """

    @jax.jit
    def mean(belief, value):
        result = bc.update(belief, dataclasses.replace(constraint, value=value))
        return result.posterior.mean, result.log_evidence

    @jax.jit
    def whole(belief, value):
        result = bc.update(belief, dataclasses.replace(constraint, value=value))
        return result.posterior.mean, result.log_evidence, result.posterior.variance

    value = jnp.asarray(constraint.value)
    thunks = {
        "mean, evidence": lambda: mean(belief, value),
        "mean, evidence, variance": lambda: whole(belief, value),
    }
    runs = timings(thunks, repeats=1, rounds=3)
    row = functools.partial(Row, problem, size)
    target = {"mean, evidence": "≤ 2"} if problem == "low rank" else {}
    return [
        *(
            row(of, "seconds", taken.min(), n=len(taken), reference=target.get(of))
            for of, taken in runs.items()
        ),
        *(
            row(of, "seconds, median", float(np.median(taken)), n=len(taken))
            for of, taken in runs.items()
        ),
    ]


# --- NUTS
# -----------------------------------------------------------------------------


def _nuts_rows(settings: Settings, key: jax.Array) -> list[Row]:
    """The four programs, and the ratios between those whose chains have mixed."""
    programs = {
        "nothing stated": (one_total.program, {"stated": False}),
        "exact": (bc.exact(one_total.program), {}),
    }
    programs |= {
        f"soft, scale {scale:g}": (bc.soft(one_total.program, scale), {})
        for scale in settings.scales
    }
    size = f"4 × {settings.chain} draws"
    out, runs = (
        [],
        {
            name: sampled(program, options, settings.chain, key)
            for name, (program, options) in programs.items()
        },
    )
    for name, run in runs.items():
        row = functools.partial(Row, "NUTS", size, name)
        mixed = run["r_hat"] <= MIXED
        note = "" if mixed else "did not mix"
        out += [
            row("leapfrog steps a draw", **averaged(run["steps"].mean(axis=1))),
            row("least bulk ESS", run["ess"], note=note),
            row("largest R-hat", run["r_hat"], note=note),
            row("divergences", run["divergences"]),
            row("CPU seconds", run["seconds"]),
            row(
                "ESS per CPU second", run["ess"] / run["seconds"] if mixed else math.nan, note=note
            ),
        ]
    free, exact = runs["nothing stated"], runs["exact"]
    out.append(
        Row(
            "NUTS",
            size,
            "exact",
            "steps / nothing stated",
            exact["steps"].mean() / free["steps"].mean(),
            reference="≤ 1.2",
        )
    )
    for name, run in runs.items():
        if name.startswith("soft"):
            row = functools.partial(Row, "NUTS", size, name, "lead of exact")
            lead = exact["ess"] / exact["seconds"] / (run["ess"] / run["seconds"])
            out.append(
                row(lead)
                if max(run["r_hat"], exact["r_hat"]) <= MIXED
                else row(math.nan, n=0, note="did not mix")
            )
    return out


def sampled(program, options: dict, draws: int, key: jax.Array) -> dict:
    """Four chains of as many warm-up steps as draws, as one compiled call; what its second run took
    and gave.

    Returns:
        `steps` (chain, draw), `ess` (smallest over the free directions), `r_hat` (largest),
        `divergences`, `seconds` of processor time.
    """

    def run(key):
        kernel = NUTS(program)
        chains = MCMC(
            kernel,
            num_warmup=draws,
            num_samples=draws,
            num_chains=4,
            chain_method="vectorized",
            progress_bar=False,
        )
        chains.run(key, **one_total.inputs(key), **options, extra_fields=("num_steps", "diverging"))
        return chains.get_samples(group_by_chain=True)["u"], chains.get_extra_fields(
            group_by_chain=True
        )

    compiled = jax.jit(run)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", bc.StiffnessWarning
        )  # shown, not used: this is the trap the warning is about
        jax.block_until_ready(compiled(key))
    start = time.process_time()
    u, stats = jax.block_until_ready(compiled(key))
    seconds = time.process_time() - start
    weights = np.asarray(bc.integral(one_total.grid, over="x", rule="midpoint").weights[0])
    basis = np.linalg.qr(np.column_stack([weights, np.eye(len(weights))[:, 1:]]))[0][:, 1:]
    table = summarise(datatree({"free": np.asarray(u) @ basis}))
    return {
        "steps": np.asarray(stats["num_steps"], float),
        "ess": float(table["ess_bulk"].min()),
        "r_hat": float(table["r_hat"].max()),
        "divergences": int(np.sum(stats["diverging"])),
        "seconds": seconds,
    }


# --- Figures
# -----------------------------------------------------------------------------


def _time_figure(rows: Sequence[Row]) -> Figure:
    figure = Figure(figsize=(7.0, 4.6), dpi=DPI, layout="constrained")
    panel = figure.subplots()
    for i, method in enumerate(FORMULAS):
        chosen = [
            r
            for r in rows
            if r.problem == "mass update" and r.metric == "seconds" and r.method == method
        ]
        points = sorted(
            (math.prod(map(int, r.parameter.split(" × "))), r.mean)
            for r in chosen
            if not math.isnan(r.mean)
        )
        if points:
            panel.plot(
                *zip(*points, strict=True),
                color=COLOURS[i],
                marker=MARKERS[i],
                markersize=7,
                linewidth=1.8,
                label=method,
            )
    panel.axvline(201 * 201, color="0.75", linewidth=1.0, zorder=0)
    panel.set(xscale="log", yscale="log")
    panel.set_xlabel("points in all (functions × times × points)", fontsize=FONT)
    panel.set_ylabel("seconds for one update", fontsize=FONT)
    _finish(panel)
    panel.legend(fontsize=FONT, frameon=False)
    return figure


def _nuts_figure(rows: Sequence[Row]) -> Figure:
    figure = Figure(figsize=(7.0, 3.6), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, 2)
    programs = list(dict.fromkeys(r.method for r in rows if r.problem == "NUTS"))
    for panel, metric in zip(panels, ("leapfrog steps a draw", "ESS per CPU second"), strict=True):
        for i, program in enumerate(programs):
            row = next(
                r for r in rows if (r.problem, r.method, r.metric) == ("NUTS", program, metric)
            )
            absent = math.isnan(row.mean)
            panel.bar(
                i,
                1.0 if absent else row.mean,
                color=COLOURS[i],
                width=0.7,
                alpha=0.0 if absent else 1.0,
            )
            panel.annotate(
                row.note if absent else compact(row.mean),
                (i, 1.0 if absent else row.mean),
                (0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=FONT - 1,
            )
        panel.set_yscale("log")
        panel.margins(x=0.08, y=0.15)
        panel.set_ylabel(metric, fontsize=FONT)
        panel.set_xticks(
            range(len(programs)),
            [program.replace(", scale", "").replace(" ", "\n") for program in programs],
        )
        _finish(panel)
        panel.tick_params(axis="x", labelsize=FONT - 2)
    return figure


def _finish(panel) -> None:
    panel.tick_params(labelsize=FONT)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25, linewidth=0.6, axis="y")
    panel.set_axisbelow(True)


def _words(size: Size) -> str:
    return " × ".join(map(str, size))
