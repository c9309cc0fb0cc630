"""Burgers' equation without viscosity: a ramp that steepens into a shock, the hyperbolic problem
that makes its own jump.
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
class Burgers(Problem):
    """A ramp whose top moves faster than its foot, until it breaks into a shock.

        ∂u/∂t + ∂/∂x(u²/2) = 0   on x ∈ [-1, 1],   u(0, x) = a for x ≤ -1,  -a x for -1 < x ≤ 0,  0
        for x > 0

        u(t, x) = a · clip(x / (a t - 1), 0, 1)             for t < 1/a:  the ramp from x = a t - 1
        to 0 u(t, x) = a  for x ≤ x*(t) = (a t - 1)/2,  else 0   for t ≥ 1/a:  the shock

        ∫ u dx = a/2 (1 + min(a t, 3))

    Expect: the foot of the ramp stays at 0 while its top, at height a, comes nearer at speed a.
    They meet at t = 1/a; from then on a jump of height a travels at speed a/2, the mean of the
    speeds on its two sides. It reaches the upper wall at t = 3/a, before the last time of the
    benchmark if a > 3; the domain is then full, u = a everywhere, and the total stays at 2a. At t =
    0.5 there is a ramp from -0.5 to 0 for a = 1, a shock at 0.25 for a = 3.

    Hard spots: the same parameter range holds smooth and broken fields, and at a = 2 the time of
    interest is the very moment of breaking. There the slope of the ramp, -a/(1 - a t), passes all
    bounds; the solution returned at t = 1/a is the shock at x = 0, and its derivatives, like all
    those of the shock, are zero. Derivatives of `solution` with respect to a leave out the jump,
    which moves and has none. A quadrature rule does not see where in its interval the jump is: the
    trapezoid rule errs by up to a/2 spacings.

    Good values: a from 1 to 4 (training range); the published tests are 1 and 3.

    Attributes:
        amplitude: a > 0, dimensionless: height of the ramp and speed of its top. With a < 0 the
            ramp would flatten and never break.

    Raises:
        TypeError: if the amplitude is not one real number.
        ValueError: if it is not finite and positive.

    Source: Hansen, Maddix, Alizadeh, Gupta and Mahoney, "Learning physical models that can respect
    conservation laws", ICML 2023 (arXiv 2302.11002), "Burgers' equation"; the published total a/2
    (1 + a t) holds until the shock leaves. The solution is constant along the characteristics x + u
    t until they cross, then the entropy solution: its jump obeys Rankine and Hugoniot, a/2 · a =
    F(a) - F(0), and characteristics run into it from both sides; see LeVeque, "Finite Volume
    Methods for Hyperbolic Problems", Cambridge 2002, chapter 11.
    """

    amplitude: Real = 1.0

    name: ClassVar[str] = "burgers"
    equation: ClassVar[str] = "∂u/∂t + ∂/∂x(u²/2) = 0"
    time_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    space_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    parameter_name: ClassVar[str] = "amplitude"
    train_range: ClassVar[tuple[float, float]] = (1.0, 4.0)
    test_values: ClassVar[tuple[float, ...]] = (1.0, 3.0)
    time_of_interest: ClassVar[float] = 0.5

    def __post_init__(self):
        instead = "Write Burgers(amplitude=1.0), or a value of the training range, 1 to 4"
        checked = checked_parameter(
            self.amplitude, name="amplitude", above=0.0, below=math.inf, instead=instead
        )
        object.__setattr__(self, "amplitude", checked)

    @property
    def breaking_time(self):
        """1/a, when the ramp has become a shock. A Python float, or a traced array for a traced
        amplitude.
        """
        return 1 / self.amplitude

    def solution(self, t: ArrayLike, x: ArrayLike) -> jax.Array:
        """The ramp a · clip(x / (a t - 1), 0, 1) until t = 1/a, then the shock; t and x
        broadcast.
        """
        t, x = coordinates(t, x)
        width = 1 - self.amplitude * t
        ramp = jnp.clip(
            -x / jnp.where(width > 0, width, 1.0), 0.0, 1.0
        )  # the inner `where` keeps 0/0 and NaN gradients out
        return self.amplitude * jnp.where(width > 0, ramp, x <= self.front(t))

    def initial(self, x: ArrayLike) -> jax.Array:
        """The ramp from a at x = -1 down to 0 at x = 0."""
        return self.solution(0.0, x)

    def lower(self, t: ArrayLike) -> jax.Array:
        """The inflow, u = a."""
        return self.amplitude * jnp.ones_like(floating(t))

    def upper(self, t: ArrayLike) -> jax.Array:
        """Zero until the shock arrives at t = 3/a, then a."""
        return self.solution(t, self.space_range[1])

    def total(self, t: ArrayLike) -> jax.Array:
        """a/2 (1 + min(a t, 3)): the ramp's own a/2 and the inflow a²/2, until the domain is
        full.
        """
        return self.amplitude / 2 * (1 + jnp.minimum(self.amplitude * floating(t), 3.0))

    def flux(self, u: ArrayLike, slope: ArrayLike) -> jax.Array:
        """F = u²/2."""
        return coordinates(u, slope)[0] ** 2 / 2

    def flux_lower(self, t: ArrayLike) -> jax.Array:
        """The inflow u²/2 = a²/2."""
        return self.lower(t) ** 2 / 2

    def flux_upper(self, t: ArrayLike) -> jax.Array:
        """Zero until the shock arrives at t = 3/a, then a²/2."""
        return self.upper(t) ** 2 / 2

    def front(self, t: ArrayLike) -> jax.Array:
        """Where the field falls through a/2, x*(t) = (a t - 1)/2: the middle of the ramp, and from
        t = 1/a on the shock.

        This one level moves at the speed of the shock at all times, so the front is defined, smooth
        and comparable at all of them: `front_position(fields, x, threshold=amplitude / 2)` finds
        it, ramp or shock. Whether it is a jump yet, `breaking_time` tells.
        """
        return (self.amplitude * floating(t) - 1) / 2
