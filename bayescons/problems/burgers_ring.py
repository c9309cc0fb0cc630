"""Viscous Burgers on a ring, from random initial states: the one family here whose members are not
told apart by a number or two.
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
from bayescons.refusals import RefusedValue
from bayescons.solvers.spectral import burgers_ring, series

_STRENGTH, _STIFFNESS = 25.0, 25.0  # σ = 25 and τ² = 25 of the covariance σ²(-∂²/∂x² + τ²)⁻²


@dataclass(frozen=True)
class BurgersRing(OperatorProblem):
    """Smooth random waves that steepen, merge and fade on a ring.

        ∂u/∂t + ∂/∂x(u²/2) = ν ∂²u/∂x²   on x ∈ [0, 1], periodic,   u(0, ·) ~ N(0, 625 (-∂²/∂x² +
        25)⁻²), its mean left out

        u(0, x) = Σₖ √2 · 25/((2πk)² + 25) (ξₖ cos 2πkx + ζₖ sin 2πkx),   ξₖ, ζₖ ~ N(0, 1),   k = 1
        ... modes

    There is no closed form: the field is a Fourier series advanced by exponential Runge-Kutta
    steps, right to 6e-10 at ν = 0.1 and to 3e-8 at ν = 0.01 with the values below.
    `Samples.parameter` holds ξ and ζ, shape (n, 2, modes).

    The grid has both ends of [0, 1], which are one point of the ring: the field is the same there,
    to the last bit. (The published single-step data drop the end point while thinning the grid, and
    then set the last node to the first one's value, which changes the data; do not copy that.)

    Expect: an initial state with a root mean square of 0.56; at ν = 0.1 little but the longest wave
    is left at t = 1, at ν = 0.01 one or two fronts, 4ν/Δu wide.

    Hard spots: what is known at the boundary, that both ends are equal, holds for every member and
    tells none from another.

    Attributes:
        viscosity: ν > 0; published sets are named after 1/10 and, by another group, use 1/100.
        time_range: first and last snapshot.
        modes: k up to which the initial state is drawn, our choice; the amplitudes fall as k⁻².
        resolution: points at which products are formed. A third of it is kept; below ν = 0.005 take
            more than 1024.
        step: the longest time step.

    Raises:
        TypeError, ValueError: for numbers that are not so.

    Source: the random field: Li et al., "Fourier neural operator for parametric partial
    differential equations", ICLR 2021 (arXiv 2010.08895); used by Saad, Gupta, Alizadeh and Maddix,
    ICLR 2023 (arXiv 2212.07477).
    """

    viscosity: float | int = 0.1
    time_range: tuple[float | int, float | int] = (0.04, 1.0)
    modes: int = 128
    resolution: int = 1024
    step: float = 5e-4

    name: ClassVar[str] = "burgers_ring"
    equation: ClassVar[str] = "∂u/∂t + ∂/∂x(u²/2) = ν ∂²u/∂x², periodic"
    axes: ClassVar[tuple[str, ...]] = ("x",)
    space_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self):
        instead = "Write BurgersRing(viscosity=0.1, step=5e-4)"
        for name in ("viscosity", "step"):
            checked_parameter(
                getattr(self, name), name=name, above=0.0, below=math.inf, instead=instead
            )
        checked_interval(self.time_range, name="time_range", least=0.0)
        checked_count(self.modes, name="modes", least=1)
        checked_count(self.resolution, name="resolution", least=3 * (self.modes + 1))

    def sides(self, order: int = 3) -> tuple[BoundaryCondition, ...]:
        """Equality of both ends."""
        return (BoundaryCondition("x", "both", "periodic", order, at=self.space_range),)

    def draw(self, key: jax.Array, n: int) -> jax.Array:
        """Coefficients ξ and ζ, normal, shape (n, 2, modes)."""
        return jax.random.normal(key, (n, 2, self.modes))

    def initial(self, parameter: ArrayLike, x: ArrayLike) -> jax.Array:
        """The random state."""
        x = jnp.asarray(x, jnp.result_type(x, 0.0))
        return series(self.coefficients(parameter), x.ravel()).reshape(x.shape)

    def coefficients(self, parameter: ArrayLike) -> jax.Array:
        """Fourier coefficients c of the random state, u = c₀ + 2 Re Σₖ cₖ e^(2πikx), shape (modes +
        1,).
        """
        parameter = jnp.asarray(parameter)
        k = np.arange(1, self.modes + 1)
        sizes = jnp.asarray(
            math.sqrt(2) * _STRENGTH / ((2 * np.pi * k) ** 2 + _STIFFNESS), parameter.dtype
        )
        return jnp.pad(sizes / 2 * (parameter[0] - 1j * parameter[1]), (1, 0))

    def solution(self, parameter: ArrayLike, t: ArrayLike, x: ArrayLike) -> jax.Array:
        """The field at times t, which do not fall, and positions x: scalars, or the open mesh of a
        grid.
        """
        t, x = aligned(t, x)
        shape = jnp.broadcast_shapes(t.shape, x.shape)
        if math.prod(shape) != t.size * x.size:
            raise RefusedValue(
                "expected times and positions of an open mesh, as of grid.mesh(); got shapes "
                f"{t.shape} and {x.shape}"
            )
        start = self.coefficients(parameter)
        states = burgers_ring(
            start,
            viscosity=self.viscosity,
            resolution=self.resolution,
            times=t.ravel(),
            step=self.step,
        )
        return series(states, x.ravel()).reshape(shape)

    def wall(self, parameter: ArrayLike, side: BoundaryCondition, t: ArrayLike) -> jax.Array:
        """Zero: u(t, 1) - u(t, 0)."""
        del parameter, side
        return jnp.zeros_like(t, jnp.result_type(t, 0.0))
