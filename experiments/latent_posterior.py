"""The posterior whose cost is measured: mean and variance of many fields, each a mixture over draws
of a neural process's latent.

Every draw is conditioned on the exact total at every time, and the draws are averaged as they come.
What is timed runs in processes of its own, see `measurement.elsewhere`; a size is (functions,
times, points).
"""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import bayescons as bc
from bayescons.networks import AttentiveNeuralProcess, pretrained, pretrained_names
from bayescons.problems import Stefan, contexts
from bayescons.surrogates import Ensemble, Moments, latent_moments, moments
from experiments.mass_update import Size, field, numpy_update, unit_grid
from experiments.measurement import memory

NAME = "anp_stefan"
problem = Stefan(threshold=0.6)


def network(width: int) -> Any:
    """The Stefan network that comes with bayescons, or an untrained one where there is none of this
    width.
    """
    if (
        NAME in pretrained_names()
        and (found := pretrained(NAME).network).settings["width"] == width
    ):
        return found
    return AttentiveNeuralProcess(width=width, box=((0.0, 0.0), (0.1, 1.0)), rngs=nnx.Rngs(0))


def mass(grid: bc.Grid) -> bc.Constraint:
    """The exact total of the Stefan problem at every time."""
    return bc.Constraint(
        bc.integral(grid, over="x"), problem.total(jnp.asarray(grid["t"])), name="mass"
    )


def conditioning(size: Size, draws: int) -> dict[str, float]:
    """Given draws alone: seconds for the moments of all functions, peak memory in bytes above what
    was held before, and exactness.

    The draws are made as they are needed, by adding a number to those of one function. The
    difference is that to the formula by hand.
    """
    functions, *shape = size
    grid = unit_grid(*shape)
    integral = bc.integral(grid, over="x")

    @jax.jit
    def run(mean, scale, total):
        def one(shift):
            return moments(Ensemble(mean + shift, scale), bc.Constraint(integral, total))

        return jax.lax.map(one, jnp.arange(functions, dtype=mean.dtype) / functions)

    def given():
        mean, scale, total = field((draws, *shape))
        return mean.astype(jnp.float32), scale.astype(jnp.float32), total[0]

    compiled = run.lower(*jax.eval_shape(given)).compile()
    before = memory("VmRSS")
    arrays = jax.block_until_ready(given())
    start = time.perf_counter()
    found = jax.block_until_ready(compiled(*arrays))
    seconds = time.perf_counter() - start
    peak = memory("VmHWM") - before
    expected = by_hand(
        *(np.asarray(a, np.float64) for a in arrays), np.asarray(integral.weights[1])
    )
    off = max(
        float(np.abs(a[0] - b).max() / np.abs(b).max())
        for a, b in zip(found, expected, strict=True)
    )
    return {"seconds": seconds, "bytes": peak, "difference": off}


def by_hand(mean, scale, total, weights) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the mixture in plain NumPy, for all draws (draws, times, points) of one
    function.
    """
    means, variances = numpy_update(mean, scale, np.broadcast_to(total, mean.shape[:2]), weights)
    return means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0, ddof=1)


def whole(size: Size, draws: int, pairs: bool, width: int) -> dict[str, float]:
    """Network and conditioning: seconds for the moments of all functions from their readings, and
    peak memory in bytes above before.
    """
    functions, times, points = size
    run = compiled_moments(
        problem.grid(times=times, points=points), draws=draws, pairs=pairs, width=width
    )
    keys = jax.random.split(jax.random.key(0), functions)
    before = memory("VmRSS")
    start = time.perf_counter()
    _ = [jax.tree.map(np.asarray, run(key)) for key in keys]
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "bytes": memory("VmHWM") - before}


def errors(
    shape: tuple[int, int], draws: list[int], many: int, repeats: int, width: int
) -> dict[str, list[float]]:
    """How far moments from few draws are from those of very many, of one function.

    Returns:
        For "independent" and "in pairs", a list for each number of draws: root mean square over the
        points and the repeats of the error of the mean over the standard deviation, and of the
        relative error of the standard deviation.
    """
    grid = problem.grid(times=shape[0], points=shape[1])
    readings_key, truth_key, *keys = jax.random.split(jax.random.key(1), 2 + repeats)
    truth = compiled_moments(grid, draws=many, pairs=True, width=width, readings=readings_key)(
        truth_key
    )
    known = np.asarray(truth.variance) <= 1e-12  # u² of the field's unit: no more than rounding
    sd = np.where(known, 1.0, np.sqrt(np.maximum(truth.variance, 0.0)))

    def error(found: Moments) -> tuple[float, float]:
        off = np.where(known, 0.0, (np.asarray(found.mean) - truth.mean) / sd)
        wide = np.where(known, 0.0, np.sqrt(np.maximum(found.variance, 0.0)) / sd - 1)
        return float(np.mean(off**2)), float(np.mean(wide**2))

    out = {}
    for how, pairs in {"independent": False, "in pairs": True}.items():
        for count in draws:
            run = compiled_moments(
                grid, draws=count, pairs=pairs, width=width, readings=readings_key
            )
            out[f"{count} {how}"] = np.sqrt(
                np.mean([error(run(key)) for key in keys], axis=0)
            ).tolist()
    return out


def compiled_moments(
    grid: bc.Grid, *, draws: int, pairs: bool, width: int, readings: jax.Array | None = None
):
    """Key → moments of one function on a grid, compiled; from readings of its own, or always the
    same ones, of the key `readings`.
    """
    definition, weights = nnx.split(network(width))
    constraint = mass(grid)

    @jax.jit
    def run(weights, key):
        key_readings, key_draws = jax.random.split(key)
        seen = contexts(problem, key_readings if readings is None else readings)
        return latent_moments(
            nnx.merge(definition, weights),
            seen,
            grid,
            key_draws,
            constraint,
            draws=draws,
            pairs=pairs,
        )

    compiled = run.lower(weights, jax.random.key(0)).compile()
    return lambda key: compiled(weights, key)
