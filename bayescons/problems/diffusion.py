"""Diffusion on a ring: the smooth problem, where nothing enters, nothing leaves and the conserved
total is zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bayescons.problems.problem import Problem, Real, checked_parameter, coordinates, floating


@dataclass(frozen=True)
class Diffusion(Problem):
    """Periodic diffusion (the heat equation) of one sine wave.

        ∂u/∂t = k ∂²u/∂x²   on x ∈ [0, 2π], periodic,   u(0, x) = sin x

        u(t, x) = exp(-k t) sin x,        ∫ u dx = 0

    Expect: the wave keeps its shape and dies out. By t = 0.5 its height is 0.61 for k = 1 and 0.08
        for k = 5.

    Hard spots: none in the equation. For a surrogate, large k: the field soon falls below any fixed
    error. Because it integrates to zero, a relative conservation error does not exist; state the
    absolute one. A trapezoid rule on equally spaced points over the whole period is exact here, so
    this problem says nothing about quadrature.

    Good values: k from 1 to 5 (training range); the published table has k = 1, its figure of the
    total k = 5. No front.

    Attributes:
        diffusivity: k > 0, dimensionless.

    Raises:
        TypeError: if the diffusivity is not one real number.
        ValueError: if it is not finite and positive.

    Source: Hansen, Maddix, Alizadeh, Gupta and Mahoney, "Learning physical models that can respect
    conservation laws", ICML 2023 (arXiv 2302.11002), "diffusion equation". The solution is
    Fourier's: sin x is an eigenfunction of ∂²/∂x² with eigenvalue -1. The values are this formula
    at the times asked for, never interpolated from a table.
    """

    diffusivity: Real = 1.0

    name: ClassVar[str] = "diffusion"
    equation: ClassVar[str] = "∂u/∂t = k ∂²u/∂x²"
    time_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    space_range: ClassVar[tuple[float, float]] = (0.0, 2.0 * math.pi)
    parameter_name: ClassVar[str] = "diffusivity"
    train_range: ClassVar[tuple[float, float]] = (1.0, 5.0)
    test_values: ClassVar[tuple[float, ...]] = (1.0, 5.0)
    time_of_interest: ClassVar[float] = 0.5

    def __post_init__(self):
        instead = "Write Diffusion(diffusivity=1.0), or a value of the training range, 1 to 5"
        checked = checked_parameter(
            self.diffusivity, name="diffusivity", above=0.0, below=math.inf, instead=instead
        )
        object.__setattr__(self, "diffusivity", checked)

    def solution(self, t: ArrayLike, x: ArrayLike) -> jax.Array:
        """The wave u = exp(-k t) sin x; t and x broadcast."""
        t, x = coordinates(t, x)
        return jnp.exp(-self.diffusivity * t) * jnp.sin(x)

    def initial(self, x: ArrayLike) -> jax.Array:
        """The wave at its full height, u(0, x) = sin x."""
        return jnp.sin(floating(x))

    def lower(self, t: ArrayLike) -> jax.Array:
        """Zero: the ring is cut at a node of the wave. As on any ring, equal to `upper`."""
        return jnp.zeros_like(floating(t))

    def upper(self, t: ArrayLike) -> jax.Array:
        """Zero: the same point of the ring as `lower`."""
        return self.lower(t)

    def total(self, t: ArrayLike) -> jax.Array:
        """Zero at all times: the two halves of the wave cancel."""
        return jnp.zeros_like(floating(t))

    def flux(self, u: ArrayLike, slope: ArrayLike) -> jax.Array:
        """F = -k ∂u/∂x."""
        return -self.diffusivity * coordinates(u, slope)[1]

    def flux_lower(self, t: ArrayLike) -> jax.Array:
        """-k ∂u/∂x = -k exp(-k t) at x = 0: the flux through the point where the ring is cut, from
        the crest into the trough.
        """
        return -self.diffusivity * jnp.exp(-self.diffusivity * floating(t))

    def flux_upper(self, t: ArrayLike) -> jax.Array:
        """What leaves at 2π enters at 0: equal to `flux_lower`."""
        return self.flux_lower(t)

    def front(self, t: ArrayLike) -> jax.Array:
        """NaN: a smooth field has no front."""
        return jnp.full_like(floating(t), jnp.nan)
