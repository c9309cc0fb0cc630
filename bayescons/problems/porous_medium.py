"""The porous medium equation: degenerate diffusion, whose front advances at finite speed and
steepens with the exponent.
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
class PorousMedium(Problem):
    """Gas seeping into an empty porous medium through a wall of growing pressure.

        ∂u/∂t = ∂/∂x(uᵐ ∂u/∂x)   on x ∈ [0, 1],   u(0, x) = 0,   u(t, 0) = (m t)¹ᐟᵐ

        u(t, x) = [m max(t - x, 0)]¹ᐟᵐ,   front x = t,   F = -uᵐ ∂u/∂x = u

        ∫ u dx = m^(1+1/m)/(m+1) · [t^(1+1/m) - max(t - 1, 0)^(1+1/m)]

    Expect: a profile that travels to the right at speed one without changing shape (the flux equals
    the field, so on this solution the diffusion acts as transport), higher at the wall as time goes
    on; ahead of the front the field is exactly zero. The front reaches the upper wall at t = 1, the
    end of the benchmark. Later times are those of the same wave on the half-line seen through
    the window [0, 1]: mass then leaves through the upper wall, the second term of the total.

    Hard spots: the front. For m = 1 the field has a kink there, for m > 1 an infinite slope, ∂u/∂x
    = -[m (t - x)]^(1/m - 1), and Gaussian draws around it go negative. At the front and ahead of it
    the derivatives returned are zero, their value on the empty side. A quadrature rule does not see
    the exact total: at t = 0.5 the trapezoid rule on 201 points errs by -3.4e-4 for m = 3 and
    -1.0e-3 for m = 6; for m = 1, where a grid point lies on the kink, not at all.

    Good values: m from 1 to 6 (training range); m = 1, 3 and 6 are the published easy, middle and
    hard tables.

    Attributes:
        exponent: m > 0, dimensionless.

    Raises:
        TypeError: if the exponent is not one real number.
        ValueError: if it is not finite and positive.

    Source: Hansen, Maddix, Alizadeh, Gupta and Mahoney, "Learning physical models that can respect
    conservation laws", ICML 2023 (arXiv 2302.11002), "generalized porous medium equation". The
    solution is the classical linear-pressure travelling wave: the pressure uᵐ/m = max(t - x, 0)
    moves at minus its own slope (Darcy's law); see Vázquez, "The Porous Medium Equation:
    Mathematical Theory", Oxford 2007, chapter 4, whose exponent is m + 1 in the letters used here.
    """

    exponent: Real = 1.0

    name: ClassVar[str] = "porous_medium"
    equation: ClassVar[str] = "∂u/∂t = ∂/∂x(uᵐ ∂u/∂x)"
    time_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    space_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    parameter_name: ClassVar[str] = "exponent"
    train_range: ClassVar[tuple[float, float]] = (1.0, 6.0)
    test_values: ClassVar[tuple[float, ...]] = (1.0, 3.0, 6.0)
    time_of_interest: ClassVar[float] = 0.5

    def __post_init__(self):
        instead = "Write PorousMedium(exponent=1.0), or a value of the training range, 1 to 6"
        checked = checked_parameter(
            self.exponent, name="exponent", above=0.0, below=math.inf, instead=instead
        )
        object.__setattr__(self, "exponent", checked)

    def solution(self, t: ArrayLike, x: ArrayLike) -> jax.Array:
        """The wave u = [m max(t - x, 0)]¹ᐟᵐ; t and x broadcast."""
        t, x = coordinates(t, x)
        return _power(self.exponent * (t - x), 1 / self.exponent)

    def initial(self, x: ArrayLike) -> jax.Array:
        """Zero: an empty medium."""
        return jnp.zeros_like(floating(x))

    def lower(self, t: ArrayLike) -> jax.Array:
        """The growing wall value (m t)¹ᐟᵐ."""
        return self.solution(t, self.space_range[0])

    def upper(self, t: ArrayLike) -> jax.Array:
        """Zero until the front arrives at t = 1, then [m (t - 1)]¹ᐟᵐ."""
        return self.solution(t, self.space_range[1])

    def total(self, t: ArrayLike) -> jax.Array:
        """m^(1+1/m)/(m+1) · [t^(1+1/m) - max(t - 1, 0)^(1+1/m)]: what has come in, less what has
        gone out.
        """
        m, t = self.exponent, floating(t)
        return m ** (1 + 1 / m) / (m + 1) * (_power(t, 1 + 1 / m) - _power(t - 1, 1 + 1 / m))

    def flux(self, u: ArrayLike, slope: ArrayLike) -> jax.Array:
        """F = -u^m ∂u/∂x; nothing flows where the field is zero, or below."""
        u, slope = coordinates(u, slope)
        return -_power(u, self.exponent) * slope

    def flux_lower(self, t: ArrayLike) -> jax.Array:
        """-uᵐ ∂u/∂x at x = 0, which on this solution is u(t, 0)."""
        return self.lower(t)

    def flux_upper(self, t: ArrayLike) -> jax.Array:
        """-uᵐ ∂u/∂x at x = 1, which on this solution is u(t, 1): zero until t = 1."""
        return self.upper(t)

    def front(self, t: ArrayLike) -> jax.Array:
        """The edge of the gas, x = t."""
        return floating(t)


def _power(base: jax.Array, exponent) -> jax.Array:
    """max(base, 0)^exponent with value and derivatives zero where base <= 0 (the inner `where`
    keeps NaN out of the gradient).
    """
    return jnp.where(base > 0, jnp.where(base > 0, base, 1.0) ** exponent, 0.0)
