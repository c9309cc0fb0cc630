"""Stokes' second problem: a fluid above a wall that swings to and fro in its own plane."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bayescons.functionals.boundary_conditions import BoundaryCondition
from bayescons.problems.operators import OperatorProblem, aligned, checked_interval
from bayescons.problems.problem import checked_parameter


@dataclass(frozen=True)
class StokesSecond(OperatorProblem):
    """The shear wave that an oscillating wall sends into a viscous fluid.

        ∂u/∂t = ν ∂²u/∂x²   on x ∈ [0, 1],   u(t, 0) = U cos ωt,        u(t, x) = U e^(-kx) cos(kx -
        ωt),   k = √(ω/2ν)

    x is the distance from the wall, u the velocity along it. The state at t = 0 is that of a wall
    which has always been swinging.
    Values are known at both ends: at the wall by its motion, at x = 1 by the same closed form.

    Expect: a wave that dies out over the depth 1/k = √(2ν/ω), 0.24 for ν = 0.1 and ω = 3.5, 0.024
        for ν = 0.001.

    Hard spots: the initial state does not tell how the wall has moved since, other than through ω:
    the boundary value is worth much. At ν ≤ 0.005 the value at x = 1 is below 1e-7, a boundary
    condition that says nothing.

    Attributes:
        amplitude: U > 0. The value 2 is that of the published data.
        viscosity: ν > 0. Files of published data are named after 0.1 and 0.001.
        frequencies: interval of ω, from which each member draws its own; [3, 4] is our choice, near
            that of later data of the same group.
        time_range: first and last snapshot. The last, 2, is our choice; the published space-time
            data end at 1.2.

    Raises:
        TypeError, ValueError: for numbers that are not so.

    Source: Saad, Gupta, Alizadeh and Maddix, "Guiding continuous operator learning through
    physics-based boundary constraints", ICLR 2023 (arXiv 2212.07477). The solution is Stokes' of
    1851: Landau and Lifshitz, "Fluid Mechanics", 1987, § 24.
    """

    amplitude: float | int = 2.0
    viscosity: float | int = 0.1
    frequencies: tuple[float | int, float | int] = (3.0, 4.0)
    time_range: tuple[float | int, float | int] = (0.08, 2.0)

    name: ClassVar[str] = "stokes_second"
    equation: ClassVar[str] = "∂u/∂t = ν ∂²u/∂x², u(t, 0) = U cos ωt"
    axes: ClassVar[tuple[str, ...]] = ("x",)
    space_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self):
        for name in ("amplitude", "viscosity"):
            checked_parameter(
                getattr(self, name),
                name=name,
                above=0.0,
                below=math.inf,
                instead="Write StokesSecond(viscosity=0.1)",
            )
        checked_interval(self.frequencies, name="frequencies", least=0.0)
        checked_interval(self.time_range, name="time_range", least=0.0)

    def sides(self, order: int = 3) -> tuple[BoundaryCondition, ...]:
        """The values at the wall and at x = 1."""
        return tuple(
            BoundaryCondition("x", end, order=order, at=at)
            for end, at in zip(("lower", "upper"), self.space_range, strict=True)
        )

    def draw(self, key: jax.Array, n: int) -> jax.Array:
        """Frequencies ω, uniform."""
        return jax.random.uniform(key, (n,), minval=self.frequencies[0], maxval=self.frequencies[1])

    def initial(self, parameter: ArrayLike, x: ArrayLike) -> jax.Array:
        """The wave as the wall passes through its largest displacement, U e^(-kx) cos kx."""
        return self.solution(parameter, 0.0, x)

    def solution(self, parameter: ArrayLike, t: ArrayLike, x: ArrayLike) -> jax.Array:
        """The wave u = U e^(-kx) cos(kx - ωt); ω, t and x broadcast."""
        frequency, t, x = aligned(parameter, t, x)
        phase = jnp.sqrt(frequency / (2 * self.viscosity)) * x
        return self.amplitude * jnp.exp(-phase) * jnp.cos(phase - frequency * t)

    def wall(self, parameter: ArrayLike, side: BoundaryCondition, t: ArrayLike) -> jax.Array:
        """U cos ωt at the wall, and the wave at x = 1."""
        return self.solution(parameter, t, self.space_range[side.end == "upper"])
