"""The mass update whose speed is measured: the belief it starts from, the update, the same by hand,
its memory and its exactness.

Arrays have the shape (functions, times, points), a `Size`. Some of it runs in processes of its own,
see `measurement.elsewhere`.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

import bayescons as bc
from experiments.measurement import memory

Size = tuple[int, int, int]


def unit_grid(times: int, points: int) -> bc.Grid:
    """Equally spaced times in [0, 0.1] and points in [0, 1]."""
    return bc.Grid(t=np.linspace(0.0, 0.1, times), x=np.linspace(0.0, 1.0, points))


def field(size: Size):
    """Mean, scale and totals of a belief about fields of a size (functions, times, points), smooth
    and of order one.
    """
    shape = tuple(size)
    i, j, k = (
        jax.lax.broadcasted_iota(jnp.result_type(float), shape, axis) / shape[axis]
        for axis in range(3)
    )
    mean, scale = (
        1 + jnp.sin(3 * i + 5 * j + 7 * k) / 2,
        0.1 + jnp.cos(2 * i + 3 * j - 9 * k) ** 2 / 20,
    )
    return mean, scale, 1 + jnp.sin(i[..., 0] + 4 * j[..., 0]) / 4


def compiled_update(grid: bc.Grid):
    """The update under test, of mean, scale and totals, to be compiled whole; it gives what the
    others give, mean and variance.
    """
    integral = bc.integral(grid, over="x")

    def update(mean, scale, total):
        posterior = bc.condition(
            bc.diagonal(mean, scale, batch_dims=1), bc.Constraint(integral, total)
        )
        return posterior.mean, posterior.variance

    return jax.jit(update)


def numpy_update(mean, scale, total, weights):
    """The same mean and variance for this one case by hand: with s² the variances, k = s² g / Σ g²
    s².
    """
    variance = scale**2
    covariance = variance * weights
    gain = covariance / (covariance @ weights)[..., None]
    return mean + gain * (total - mean @ weights)[..., None], variance - gain * covariance


def dense_update(mean, scale, total, weights):
    """The textbook formula with a dense covariance P, one function and time after another: P - k (g
    P), k = P g' / (g P g').
    """
    means, variances = np.empty_like(mean), np.empty_like(mean)
    for at in np.ndindex(total.shape):
        prior = np.diag(scale[at] ** 2)
        row = weights @ prior
        gain = row / (row @ weights)
        posterior = prior - np.outer(gain, row)
        means[at], variances[at] = (
            mean[at] + gain * (total[at] - weights @ mean[at]),
            np.diag(posterior),
        )
    return means, variances


@jax.jit
def dense_product_update(mean, scale, total, weights):
    """The same as (I - k g) P, with the product of two matrices carried out."""

    def one(case):
        mean, scale, total = case
        prior = jnp.diag(scale**2)
        row = weights @ prior
        gain = row / (row @ weights)
        posterior = (jnp.eye(len(mean)) - jnp.outer(gain, weights)) @ prior
        return mean + gain * (total - weights @ mean), jnp.diagonal(posterior)

    cases = mean.reshape(-1, mean.shape[-1]), scale.reshape(-1, mean.shape[-1]), total.reshape(-1)
    return jax.lax.map(one, cases)


def planned_memory(size: Size) -> float:
    """Arguments, results and temporaries of the compiled update, over the bytes of mean and
    scale.
    """
    belief = jax.eval_shape(lambda: field(size))
    plan = compiled_update(unit_grid(*size[1:])).lower(*belief).compile().memory_analysis()
    held = (
        plan.argument_size_in_bytes
        + plan.output_size_in_bytes
        + plan.temp_size_in_bytes
        - plan.alias_size_in_bytes
    )
    return held / _bytes(*belief[:2])


def peak_memory(size: Size) -> float:
    """In a fresh process: the peak of resident memory above what was held before the arrays
    existed, over the bytes of mean and scale.
    """
    make = jax.jit(field, static_argnums=0).lower(tuple(size)).compile()
    update = (
        compiled_update(unit_grid(*size[1:])).lower(*jax.eval_shape(lambda: field(size))).compile()
    )
    before = memory("VmRSS")
    belief = make()
    jax.block_until_ready(update(*belief))
    return (memory("VmHWM") - before) / _bytes(*belief[:2])


def conservation(size: Size, draws: int, dtype: str) -> tuple[float, float]:
    """Largest relative error of the total in the posterior's mean and in its draws, for a belief
    stored in a type.
    """
    grid = unit_grid(*size[1:])
    integral = bc.integral(grid, over="x")
    mean, scale, total = (array.astype(dtype) for array in field(size))
    posterior = bc.condition(bc.diagonal(mean, scale, batch_dims=1), bc.Constraint(integral, total))
    sampled = posterior.sample(jax.random.key(0), (draws,))
    weights, stated = np.asarray(integral.weights[1], np.float64), np.asarray(total, np.float64)
    mean, sampled = (np.asarray(u, np.float64) @ weights for u in (posterior.mean, sampled))
    return tuple(float(np.max(np.abs(u - stated) / np.abs(stated))) for u in (mean, sampled))


def _bytes(*arrays) -> int:
    return sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)
