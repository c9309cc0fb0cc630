"""Calls: what a first call costs, what another one costs, and what is left beside the work itself.

Each ratio is formed within one run. A first `bc.sample`, and the same posterior written by hand for
NumPyro's NUTS, run in processes of their own, since what a first call costs is what it compiles.
"""

from __future__ import annotations

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import MCMC, NUTS

import bayescons as bc
from experiments.measurement import elsewhere, timings
from experiments.rows import Row
from models import measured_rod


def call_rows(points: tuple[int, int], draws: int, repeats: int) -> list[Row]:
    """Rows about `bc.conjugate`, `bc.update` and `bc.sample`.

    Args:
        points: times and points of the belief that is updated.
        draws: of each of four chains, and its warm-up.
        repeats: of what is short.
    """
    return [
        *_conjugate_rows(repeats),
        *_update_rows(points, repeats),
        *_sample_rows(draws),
    ]


def _conjugate_rows(repeats: int) -> list[Row]:
    """A program with a Normal likelihood: again with other numbers, against the first call."""
    one, two = (measured_rod.inputs(jax.random.key(seed)) for seed in (0, 1))
    began = time.perf_counter()
    jax.block_until_ready(_solved(one))
    first = time.perf_counter() - began
    again = timings({"again": lambda: _solved(two)}, repeats=repeats)["again"].min()
    row = functools.partial(Row, "calls", "101 points, likelihood", "bc.conjugate")
    return [
        row("seconds, first call", first),
        row("seconds, again", again),
        row("first call / again", first / again),
    ]


def _solved(inputs: dict) -> jax.Array:
    return bc.conjugate(measured_rod.program)(**inputs, amplitude=1.0).mean["u"]


def _update_rows(points: tuple[int, int], repeats: int) -> list[Row]:
    """`bc.update` as it is called, against the same under `jax.jit`, which checks nothing."""
    grid = bc.Grid(t=np.linspace(0.0, 1.0, points[0]), x=np.linspace(0.0, 1.0, points[1]))
    mass, belief = bc.integral(grid, over="x"), bc.diagonal(jnp.zeros(points), 1.0)
    totals = jnp.ones(mass.value_shape)

    def update(belief, totals):
        return bc.update(belief, bc.Constraint(mass, totals, name="mass"))

    jitted = jax.jit(update)
    runs = timings(
        {
            "eager": lambda: jax.tree.leaves(update(belief, totals)),
            "jitted": lambda: jax.tree.leaves(jitted(belief, totals)),
        },
        repeats=repeats,
    )
    ratio = runs["eager"].min() / runs["jitted"].min()
    row = functools.partial(Row, "calls", f"{points[0]} × {points[1]}", "bc.update")
    return [
        *(row(f"seconds, {how}", taken.min(), n=len(taken)) for how, taken in runs.items()),
        row("eager / jitted", ratio, reference="≤ 1.3"),
    ]


def _sample_rows(draws: int) -> list[Row]:
    """A program with one latent above its field, by `bc.sample` and by hand."""
    ours = elsewhere("experiments.calls:first_sample", draws)
    by_hand = elsewhere("experiments.calls:first_by_hand", draws)
    row = functools.partial(Row, "calls", f"one latent, 4 × {draws} draws")
    difference = abs(ours["amplitude"] - by_hand["amplitude"]) / by_hand["sd"]
    return [
        row("bc.sample", "seconds, first call", ours["first"]),
        row("NUTS by hand", "seconds, first call", by_hand["first"]),
        row(
            "bc.sample", "first call / by hand", ours["first"] / by_hand["first"], reference="≤ 0.8"
        ),
        row("bc.sample", "seconds beside the run, again", ours["beside"], reference="≤ 0.05"),
        row("bc.sample", "mean of the latent, differs by sd", difference, reference="≤ 0.2"),
    ]


def first_sample(draws: int) -> dict[str, float]:
    """Seconds of a first `bc.sample` in this process, and beside the run of another one."""
    seconds, beside = [], []
    for seed in range(4):
        inputs = measured_rod.inputs(jax.random.key(0))
        began = time.perf_counter()
        tree = bc.sample(measured_rod.program, **inputs, key=seed, warmup=draws, draws=draws)
        seconds.append(time.perf_counter() - began)
        beside.append(seconds[-1] - tree.attrs["seconds"])
    mean = float(tree.posterior["amplitude"].mean())
    return {"first": seconds[0], "beside": min(beside[1:]), "amplitude": mean}


def first_by_hand(draws: int) -> dict[str, float]:
    """Seconds of a first run of NumPyro's NUTS, four chains side by side, in this process."""
    inputs = measured_rod.inputs(jax.random.key(0))
    began = time.perf_counter()
    chains = MCMC(
        NUTS(measured_rod.by_hand),
        num_warmup=draws,
        num_samples=draws,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    chains.run(jax.random.key(0), **inputs)
    amplitude = np.asarray(jax.block_until_ready(chains.get_samples())["amplitude"])
    first = time.perf_counter() - began
    return {"first": first, "amplitude": float(amplitude.mean()), "sd": float(amplitude.std())}
