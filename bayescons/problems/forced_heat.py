"""Heat in a rod with one end insulated and the other heated at a rate that swells: two slopes are
known, no value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.functionals.boundary_conditions import BoundaryCondition
from bayescons.problems.operators import OperatorProblem, aligned, checked_interval
from bayescons.problems.problem import checked_count, checked_parameter


@dataclass(frozen=True)
class ForcedHeat(OperatorProblem):
    """Forced diffusion between an insulated and a heated end.

        ∂u/∂t = k ∂²u/∂x² + f   on x ∈ [0, 1],   ∂u/∂x(t, 0) = 0,  ∂u/∂x(t, 1) = U sin πt,   u(0, x)
        = cos ωπx,   f = πU x²/2 cos πt

        u(t, x) = U x²/2 sin πt + (Uk/π)(1 - cos πt) + sin(ωπ)/(ωπ) + Σₙ aₙ cos(nπx) e^(-k(nπ)²t),
        n = 1, 2, ...

        aₙ = (-1)ⁿ 2ω sin(ωπ)/(π(ω² - n²)) = 2ω/(ω + n) sinc(ω - n),    sinc z = sin(πz)/(πz)

    The first two terms carry the slope at x = 1 and what it and the source bring in; the rest is
    the initial state, diffusing between insulated ends. The sum is cut after N = `terms` terms,
    which leaves u exact to rounding from the time on at which diffusion has removed the others,
    k(Nπ)²t > 37: t > 2.4e-3 for the values below.

    Expect: by t = 0.5 the slope at x = 1 is 5, and a boundary layer of width √(kt) = 0.07 has
        rounded the wave off at that end.

    Hard spots: the initial state has the slope -ωπ sin ωπ at x = 1 (8.4 for ω = 3.3), where the
    condition asks for 0. So the first moment
    is incompatible: the slope jumps at t = 0, and near t = 0 the series converges slowly (a Gibbs
    layer). `solution` returns the initial state at t = 0 itself. The layer at x = 1 is √(kt) wide,
    0.014 in the first snapshot: on 128 points a stencil of third order finds the true field's slope
    0.08 off there, and 0.002 off at t = 0.5; one of first order 1.7 and 0.26.

    Attributes:
        amplitude: U, 5 in the published data.
        diffusivity: k > 0, 0.01 in the published data.
        frequencies: interval of ω, published as [2.01, 3.99]. Whole numbers need no care.
        time_range: first and last snapshot. The published single step ends at 0.5; snapshots from
            0.02 on are our choice.
        terms: of the series.

    Raises:
        TypeError, ValueError: for numbers that are not so.

    Source: Saad, Gupta, Alizadeh and Maddix, "Guiding continuous operator learning through
        physics-based boundary constraints", ICLR 2023
        (arXiv 2212.07477): equation, U, k and the initial states. The series is Fourier's.
    """

    amplitude: float | int = 5.0
    diffusivity: float | int = 0.01
    frequencies: tuple[float | int, float | int] = (2.01, 3.99)
    time_range: tuple[float | int, float | int] = (0.02, 0.5)
    terms: int = 400

    name: ClassVar[str] = "forced_heat"
    equation: ClassVar[str] = (
        "∂u/∂t = k ∂²u/∂x² + πU x²/2 cos πt, ∂u/∂x(t, 0) = 0, ∂u/∂x(t, 1) = U sin πt"
    )
    axes: ClassVar[tuple[str, ...]] = ("x",)
    space_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self):
        instead = "Write ForcedHeat(amplitude=5.0, diffusivity=0.01)"
        checked_parameter(
            self.amplitude, name="amplitude", above=-math.inf, below=math.inf, instead=instead
        )
        checked_parameter(
            self.diffusivity, name="diffusivity", above=0.0, below=math.inf, instead=instead
        )
        checked_interval(self.frequencies, name="frequencies", least=0.0)
        checked_interval(self.time_range, name="time_range", least=0.0)
        checked_count(self.terms, name="terms", least=1)

    def sides(self, order: int = 3) -> tuple[BoundaryCondition, ...]:
        """The slopes at both ends."""
        lower, upper = self.space_range
        return BoundaryCondition("x", "lower", "neumann", order, at=lower), BoundaryCondition(
            "x", "upper", "neumann", order, at=upper
        )

    def draw(self, key: jax.Array, n: int) -> jax.Array:
        """Frequencies ω, uniform."""
        return jax.random.uniform(key, (n,), minval=self.frequencies[0], maxval=self.frequencies[1])

    def initial(self, parameter: ArrayLike, x: ArrayLike) -> jax.Array:
        """The wave cos ωπx."""
        frequency, x = aligned(parameter, x)
        return jnp.cos(frequency * jnp.pi * x)

    def source(self, t: ArrayLike, x: ArrayLike) -> jax.Array:
        """The heat brought in along the rod, f = πU x²/2 cos πt."""
        t, x = aligned(t, x)
        return self.amplitude * jnp.pi * x**2 / 2 * jnp.cos(jnp.pi * t)

    def solution(self, parameter: ArrayLike, t: ArrayLike, x: ArrayLike) -> jax.Array:
        """The series above, for one number ω; t and x broadcast. At t = 0, the initial state."""
        frequency = jnp.asarray(parameter, jnp.result_type(parameter, 0.0))
        t, x = aligned(t, x)
        n = jnp.arange(1, self.terms + 1, dtype=t.dtype).reshape((1,) * t.ndim + (-1,))
        weights = 2 * frequency / (frequency + n) * jnp.sinc(frequency - n)
        decays = weights * jnp.exp(-self.diffusivity * (n * np.pi) ** 2 * t[..., None])
        series = jnp.einsum(
            "...n,...n->...", decays, jnp.cos(n * np.pi * x[..., None]), precision="highest"
        )
        carried = self.amplitude * x**2 / 2 * jnp.sin(jnp.pi * t)
        brought = self.amplitude * self.diffusivity / np.pi * (1 - jnp.cos(np.pi * t))
        return jnp.where(
            t == 0, self.initial(frequency, x), carried + brought + jnp.sinc(frequency) + series
        )

    def wall(self, parameter: ArrayLike, side: BoundaryCondition, t: ArrayLike) -> jax.Array:
        """Zero at the insulated end, U sin πt at the heated one, whatever ω."""
        del parameter
        t = jnp.asarray(t, jnp.result_type(t, 0.0))
        return self.amplitude * jnp.sin(jnp.pi * t) if side.end == "upper" else jnp.zeros_like(t)
