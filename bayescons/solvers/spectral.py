"""Fourier series in time: exponential Runge-Kutta steps, and Burgers' equation on a ring advanced
by them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.refusals import RefusedValue

_CONTOUR = 32  # points of the half circle over which the weights are averaged; 16 leave 1e-13


def exponential_steps(
    linear: ArrayLike,
    nonlinear: Callable[[jax.Array], jax.Array],
    initial: ArrayLike,
    *,
    times: ArrayLike,
    step: float,
) -> jax.Array:
    """Advance dv/dt = λ v + N(v) with the linear part exact: exponential time differencing with
    fourth-order Runge-Kutta steps.

    Between two of the times all steps are equal, and none is longer than `step`. The error is
    O(step⁴) where N is smooth; stiffness in λ costs nothing. May be jitted, mapped and
    differentiated forwards (`jax.jvp`).

    Args:
        linear: λ, real and not positive, one for each mode, shape (modes,).
        nonlinear: N, of complex modes, shape (modes,) → (modes,).
        initial: v at time 0, complex, shape (modes,).
        times: wanted, none before 0 and none before the one in front of it, shape (times,).
        step: the longest step.

    Returns:
        v at the times, shape (times, modes).

    Source: Cox and Matthews, J. Comput. Phys. 176 (2002) 430; the weights as means over a circle,
    which has no cancellation near λ = 0: Kassam and Trefethen, SIAM J. Sci. Comput. 26 (2005) 1214.
    """
    linear, initial = jnp.asarray(linear), jnp.asarray(initial)
    times = jnp.asarray(times, linear.dtype)
    gaps = jnp.diff(times, prepend=jnp.zeros_like(times, shape=(1,)))
    counts = jnp.maximum(
        jnp.ceil(gaps / step * (1 - 1e-6)), 1.0
    )  # a gap of a whole number of steps takes that many

    def interval(v, span):
        gap, count = span
        whole, half, stage, first, middle, last = _weights(linear * (gap / count), gap / count)

        def advance(_, v):
            n_v = nonlinear(v)
            a = half * v + stage * n_v
            n_a = nonlinear(a)
            n_b = nonlinear(half * v + stage * n_a)
            n_c = nonlinear(half * a + stage * (2 * n_b - n_v))
            return whole * v + first * n_v + 2 * middle * (n_a + n_b) + last * n_c

        v = jax.lax.fori_loop(0, count.astype(int), advance, v)
        return v, v

    return jax.lax.scan(interval, initial, (gaps, counts))[1]


def burgers_ring(
    initial: ArrayLike, *, viscosity: ArrayLike, resolution: int, times: ArrayLike, step: float
) -> jax.Array:
    """Burgers' equation with viscosity, ∂u/∂t + ∂/∂x(u²/2) = ν ∂²u/∂x², on a ring of length 1.

    A Fourier series of the modes below a third of `resolution`, with products formed at
    `resolution` points (the 2/3 rule: no aliasing). A front of height Δ is resolved where its width
    4ν/Δ spans a few points.

    Args:
        initial: coefficients c of u(0, x) = c₀ + 2 Re Σₖ cₖ e^(2πikx), k = 0, 1, ..., at most a
            third of `resolution` of them.
        viscosity: ν > 0.
        resolution: number of points.
        times: as of `exponential_steps`.
        step: the longest step.

    Returns:
        Coefficients at the times, shape (times, modes), modes = (resolution + 2) // 3; `series`
        evaluates them.

    Raises:
        ValueError: for more coefficients than are kept.
    """
    initial = jnp.asarray(initial)
    modes = (resolution + 2) // 3
    if len(initial) > modes:
        raise RefusedValue(
            f"{resolution} points resolve {modes} modes (the 2/3 rule); got {len(initial)}. Write "
            f"resolution={3 * len(initial)}"
        )
    wavenumbers = 2 * np.pi * jnp.arange(modes, dtype=initial.real.dtype)

    def steepening(v):
        u = jnp.fft.irfft(v, resolution, norm="forward")
        return -0.5j * wavenumbers * jnp.fft.rfft(u * u, norm="forward")[:modes]

    start = jnp.pad(initial, (0, modes - len(initial)))
    return exponential_steps(
        -jnp.asarray(viscosity) * wavenumbers**2, steepening, start, times=times, step=step
    )


def series(coefficients: ArrayLike, x: ArrayLike) -> jax.Array:
    """The real Fourier series c₀ + 2 Re Σₖ cₖ e^(2πikx) at positions x of a ring of length 1: x = 0
    and x = 1 are the same point.

    Args:
        coefficients: shape (*batch, modes).
        x: shape (points,).

    Returns:
        Shape (*batch, points).
    """
    coefficients, x = jnp.asarray(coefficients), jnp.asarray(x)
    k = jnp.arange(coefficients.shape[-1], dtype=x.dtype)
    angle = 2 * np.pi * jnp.outer(k, x - jnp.floor(x))
    weights = jnp.where(k > 0, 2.0, 1.0).astype(x.dtype)[:, None]
    product = functools.partial(jnp.matmul, precision="highest")
    return product(coefficients.real, weights * jnp.cos(angle)) - product(
        coefficients.imag, weights * jnp.sin(angle)
    )


def _weights(z, step):
    """e^z, e^(z/2) and the four weights of a step, for real z."""
    circle = jnp.asarray(
        np.exp(1j * np.pi * (np.arange(_CONTOUR) + 0.5) / _CONTOUR), jnp.result_type(z.dtype, 1j)
    )
    r = z[:, None] + circle[None]

    def mean(values):
        return step * jnp.mean(values.real, axis=1)

    e = jnp.exp(r)
    stage = mean((jnp.exp(r / 2) - 1) / r)
    first = mean((-4 - r + e * (4 - 3 * r + r**2)) / r**3)
    middle = mean((2 + r + e * (-2 + r)) / r**3)
    last = mean((-4 - 3 * r - r**2 + e * (4 - r)) / r**3)
    return jnp.exp(z), jnp.exp(z / 2), stage, first, middle, last
