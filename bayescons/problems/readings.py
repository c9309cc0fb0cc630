"""Readings: the values of a problem's field at scattered points, as a network or a Gaussian process
is given them.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from bayescons.descriptions import tabulated
from bayescons.problems.problem import Problem, Real, checked_count
from bayescons.refusals import RefusedValue


@tabulated("Readings of fields")
class Readings(NamedTuple):
    """Values of a field at n points of a times-by-points tensor grid, flattened with t slow and x
    fast.

    `u.reshape(*u.shape[:-1], times, points)` restores the tensor grid. The arrays may carry leading
    batch axes, one for each `jax.vmap` they were drawn under; the number of times is left to the
    caller so that the tuple holds arrays alone and stacks.

    Attributes:
        t: times, shape (..., n), dimensionless.
        x: positions, shape (..., n), dimensionless.
        u: values, shape (..., n), dimensionless.
    """

    t: jax.Array
    x: jax.Array
    u: jax.Array

    @property
    def inputs(self) -> jax.Array:
        """The points as rows (t, x), unscaled, shape (..., n, 2)."""
        return jnp.stack([self.t, self.x], axis=-1)


def contexts(
    problem: Problem, key: jax.Array, *, times: int = 10, points: int = 10, noise: Real = 0.0
) -> Readings:
    """What a surrogate is shown: readings at stratified times and random positions.

        tᵢ = t₀ + (i + Uᵢ)/times · (t₁ - t₀),  Uᵢ ~ U(0, 1);      xⱼ ~ U(x₀, x₁), sorted, the same
        for all times

        u = solution(t, x) + noise · ε,  ε ~ N(0, 1)

    Args:
        problem: the problem whose exact solution is read.
        key: a key of `jax.random.key`.
        times: number of times, one in each of as many equal intervals of the time range; so they
            are sorted.
        points: number of positions.
        noise: standard deviation of the readings' error, in the unit of u; the benchmark has none.

    Returns:
        times · points readings, in JAX's default float type.

    Raises:
        ValueError: for fewer than one time or point, or a negative or non-finite noise.

    Source: the context sets of Hansen et al., ICML 2023 (arXiv 2302.11002).
    """
    times, points = (
        checked_count(times, name="times", least=1),
        checked_count(points, name="points", least=1),
    )
    noise = _checked_noise(noise)
    key_t, key_x, key_noise = jax.random.split(key, 3)
    start, stop = problem.time_range
    t = start + (jnp.arange(times) + jax.random.uniform(key_t, (times,))) * ((stop - start) / times)
    readings = _read(problem, t, _sorted_uniform(key_x, points, problem.space_range))
    return readings._replace(u=readings.u + noise * jax.random.normal(key_noise, readings.u.shape))


def targets(problem: Problem, key: jax.Array, *, times: int = 10, points: int = 10) -> Readings:
    """What a surrogate is asked for in training: readings at uniformly random times and positions,
    both sorted, without error.

    Args:
        problem: the problem whose exact solution is read.
        key: a key of `jax.random.key`; not the one the contexts were drawn with.
        times: number of times.
        points: number of positions, the same for all times.

    Returns:
        times · points readings, in JAX's default float type.

    Raises:
        ValueError: for fewer than one time or point.

    Source: the target sets of Hansen et al., ICML 2023 (arXiv 2302.11002).
    """
    times, points = (
        checked_count(times, name="times", least=1),
        checked_count(points, name="points", least=1),
    )
    key_t, key_x = jax.random.split(key)
    t = _sorted_uniform(key_t, times, problem.time_range)
    return _read(problem, t, _sorted_uniform(key_x, points, problem.space_range))


def _read(problem: Problem, t: jax.Array, x: jax.Array) -> Readings:
    t, x = (a.ravel() for a in jnp.meshgrid(t, x, indexing="ij"))
    return Readings(t, x, problem.solution(t, x))


def _sorted_uniform(key: jax.Array, count: int, interval: tuple[float, float]) -> jax.Array:
    return jnp.sort(jax.random.uniform(key, (count,), minval=interval[0], maxval=interval[1]))


def _checked_noise(noise):
    if isinstance(noise, Tracer):
        return noise
    if not (np.shape(noise) == () and np.isfinite(noise) and noise >= 0):
        raise RefusedValue(
            f"noise is a standard deviation: one finite number, zero or more; got {noise!r}. Write "
            "noise=0.0 for none"
        )
    return noise
