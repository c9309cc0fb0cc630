"""Linear advection: a jump carried along at constant speed, the hyperbolic problem that nothing
sharpens and nothing smears.
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
class Advection(Problem):
    """A step carried to the right at speed b, with more of the same flowing in behind it.

        ∂u/∂t + b ∂u/∂x = 0   on x ∈ [0, 1],   u(0, x) = 1 for x ≤ 1/2, else 0,   u(t, 0) = 1

        u(t, x) = 1  for x ≤ x*(t) = 1/2 + b t,  else 0,        F = b u

        ∫ u dx = 1/2 + min(b t, 1/2)

    Expect: the jump keeps its shape and its speed. At t = 0.1 it is at 0.6 for b = 1 and at 0.8 for
    b = 3. It reaches the upper wall at t = 1/(2b); from then on the domain is full, the field is 1
    everywhere and the total stays at 1.

    Hard spots: the jump, of height 1, in a field that is constant on both sides. Nothing in the
    equation holds it together as in a shock, so whoever solves for it smears it more and more, a
    surrogate too. A quadrature rule does not see where in its interval the jump is: the trapezoid
    rule errs by up to half a spacing. All derivatives of the field are zero; that the jump moves
    shows in `front`, `total` and the fluxes alone.

    Good values: b from 1 to 5 (training range); the published tests are 1 and 3.

    Attributes:
        speed: b > 0, dimensionless. A wave to the left would enter at the other wall: mirror x
            instead.

    Raises:
        TypeError: if the speed is not one real number.
        ValueError: if it is not finite and positive.

    Source: Hansen, Maddix, Alizadeh, Gupta and Mahoney, "Learning physical models that can respect
    conservation laws", ICML 2023 (arXiv 2302.11002), "linear advection", where the speed is β. The
    solution is constant along the characteristics x - b t; as a weak solution it obeys Rankine and
    Hugoniot, b · 1 = F(1) - F(0); see LeVeque, "Finite Volume Methods for Hyperbolic Problems",
    Cambridge 2002, chapter 2.
    """

    speed: Real = 1.0

    name: ClassVar[str] = "advection"
    equation: ClassVar[str] = "∂u/∂t + b ∂u/∂x = 0"
    time_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    space_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    parameter_name: ClassVar[str] = "speed"
    train_range: ClassVar[tuple[float, float]] = (1.0, 5.0)
    test_values: ClassVar[tuple[float, ...]] = (1.0, 3.0)
    time_of_interest: ClassVar[float] = 0.1

    def __post_init__(self):
        instead = "Write Advection(speed=1.0), or a value of the training range, 1 to 5"
        checked = checked_parameter(
            self.speed, name="speed", above=0.0, below=math.inf, instead=instead
        )
        object.__setattr__(self, "speed", checked)

    def solution(self, t: ArrayLike, x: ArrayLike) -> jax.Array:
        """The step: 1 up to and at the front, 0 ahead of it; t and x broadcast."""
        t, x = coordinates(t, x)
        return (x <= self.front(t)).astype(x.dtype)

    def initial(self, x: ArrayLike) -> jax.Array:
        """The step at 1/2."""
        return self.solution(0.0, x)

    def lower(self, t: ArrayLike) -> jax.Array:
        """The inflow, u = 1."""
        return jnp.ones_like(floating(t))

    def upper(self, t: ArrayLike) -> jax.Array:
        """Zero until the front arrives at t = 1/(2b), then 1."""
        return self.solution(t, self.space_range[1])

    def total(self, t: ArrayLike) -> jax.Array:
        """1/2 + min(b t, 1/2): as much as the front has passed, until the domain is full."""
        return 0.5 + jnp.minimum(self.speed * floating(t), 0.5)

    def flux(self, u: ArrayLike, slope: ArrayLike) -> jax.Array:
        """F = b u."""
        return self.speed * coordinates(u, slope)[0]

    def flux_lower(self, t: ArrayLike) -> jax.Array:
        """The inflow b u = b."""
        return self.speed * self.lower(t)

    def flux_upper(self, t: ArrayLike) -> jax.Array:
        """Zero until the front arrives at t = 1/(2b), then b."""
        return self.speed * self.upper(t)

    def front(self, t: ArrayLike) -> jax.Array:
        """The jump, x*(t) = 1/2 + b t."""
        return 0.5 + self.speed * floating(t)
