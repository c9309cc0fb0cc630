"""A standing wave on a square membrane whose rim slides freely: every slope at the boundary is
zero.
"""

from __future__ import annotations

import itertools
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
class StandingWave(OperatorProblem):
    """One mode of a square drum with free edges.

        ∂²u/∂t² = c² (∂²u/∂x² + ∂²u/∂y²)   on [0, 1]²,   ∂u/∂n = 0 on all sides,   ∂u/∂t(0, x, y) =
        0

        u(t, x, y) = A cos(πx) cos(πy) cos(√2 π c t)

    Expect: the same shape at all times, with a height that swings with the period √2/c. Members
    differ by their height alone, so the true operator is a number times the initial state.

    Hard spots: the field vanishes everywhere at t = √2/4c, 0.35 for c = 1, and each half period
    later: a relative error then divides by zero. The last time should not be one of these.

    Attributes:
        speed: c > 0, 1 by our choice.
        amplitudes: interval of A; [3, 4] is our choice (the published data are named after the
            equation alone).
        time_range: first and last snapshot, our choice.

    Raises:
        TypeError, ValueError: for numbers that are not so.

    Source: Saad, Gupta, Alizadeh and Maddix, "Guiding continuous operator learning through
    physics-based boundary constraints", ICLR 2023 (arXiv 2212.07477), names a 2-D wave equation
    with Neumann conditions. The mode is the first of the square's.
    """

    speed: float | int = 1.0
    amplitudes: tuple[float | int, float | int] = (3.0, 4.0)
    time_range: tuple[float | int, float | int] = (0.08, 2.0)

    name: ClassVar[str] = "standing_wave"
    equation: ClassVar[str] = "∂²u/∂t² = c² (∂²u/∂x² + ∂²u/∂y²), ∂u/∂n = 0"
    axes: ClassVar[tuple[str, ...]] = ("x", "y")
    space_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self):
        checked_parameter(
            self.speed,
            name="speed",
            above=0.0,
            below=math.inf,
            instead="Write StandingWave(speed=1.0)",
        )
        checked_interval(self.amplitudes, name="amplitudes")
        checked_interval(self.time_range, name="time_range", least=0.0)

    def sides(self, order: int = 3) -> tuple[BoundaryCondition, ...]:
        """The slopes across all four sides."""
        ends = zip(("lower", "upper"), self.space_range, strict=True)
        return tuple(
            BoundaryCondition(axis, end, "neumann", order, at=at)
            for axis, (end, at) in itertools.product(self.axes, ends)
        )

    def draw(self, key: jax.Array, n: int) -> jax.Array:
        """Amplitudes A, uniform."""
        return jax.random.uniform(key, (n,), minval=self.amplitudes[0], maxval=self.amplitudes[1])

    def initial(self, parameter: ArrayLike, x: ArrayLike, y: ArrayLike) -> jax.Array:
        """The mode at its full height, A cos πx cos πy, at rest."""
        return self.solution(parameter, 0.0, x, y)

    def solution(self, parameter: ArrayLike, t: ArrayLike, x: ArrayLike, y: ArrayLike) -> jax.Array:
        """The mode u = A cos πx cos πy cos(√2 π c t); A, t, x and y broadcast."""
        amplitude, t, x, y = aligned(parameter, t, x, y)
        return (
            amplitude
            * jnp.cos(jnp.pi * x)
            * jnp.cos(jnp.pi * y)
            * jnp.cos(math.sqrt(2) * jnp.pi * self.speed * t)
        )

    def wall(
        self, parameter: ArrayLike, side: BoundaryCondition, t: ArrayLike, along: ArrayLike
    ) -> jax.Array:
        """Zero."""
        del parameter, side
        return jnp.zeros(
            jnp.broadcast_shapes(jnp.shape(t), jnp.shape(along)), jnp.result_type(t, along, 0.0)
        )
