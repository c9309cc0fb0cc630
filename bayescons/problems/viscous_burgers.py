"""Viscous Burgers between held ends: the travelling front, and the front that a step becomes. They
are not the same solution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr
from jax.typing import ArrayLike

from bayescons.functionals.boundary_conditions import BoundaryCondition
from bayescons.problems.operators import OperatorProblem, aligned, checked_interval
from bayescons.problems.problem import checked_parameter
from bayescons.refusals import RefusedValue

_MIDDLE = 0.5  # where the front, or the step, is at t = 0


@dataclass(frozen=True)
class _Front:
    """What both families share: their numbers, and ends held at the values of the formula."""

    viscosity: float | int = 0.1
    lefts: tuple[float | int, float | int] = (0.5, 1.0)
    rights: tuple[float | int, float | int] = (0.0, 0.5)
    time_range: tuple[float | int, float | int] = (0.048, 1.2)

    axes: ClassVar[tuple[str, ...]] = ("x",)
    space_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self):
        instead = f"Write {type(self).__name__}(viscosity=0.1)"
        checked_parameter(
            self.viscosity, name="viscosity", above=0.0, below=math.inf, instead=instead
        )
        left, right = (
            checked_interval(getattr(self, name), name=name) for name in ("lefts", "rights")
        )
        checked_interval(self.time_range, name="time_range", least=0.0)
        if right[1] > left[0]:
            raise RefusedValue(
                "states ahead must not exceed those behind, or there is no front; got "
                f"rights={right} and lefts={left}"
            )

    def sides(self, order: int = 3) -> tuple[BoundaryCondition, ...]:
        """The values at both ends."""
        return tuple(
            BoundaryCondition("x", end, order=order, at=at)
            for end, at in zip(("lower", "upper"), self.space_range, strict=True)
        )

    def draw(self, key: jax.Array, n: int) -> dict[str, jax.Array]:
        """States `left` and `right`, uniform and independent."""
        keys, intervals = jax.random.split(key), {"left": self.lefts, "right": self.rights}
        return {
            name: jax.random.uniform(k, (n,), minval=low, maxval=high)
            for k, (name, (low, high)) in zip(keys, intervals.items(), strict=True)
        }

    def wall(
        self, parameter: Mapping[str, Any], side: BoundaryCondition, t: ArrayLike
    ) -> jax.Array:
        """The formula's own values at x = 0 and x = 1."""
        return self.solution(parameter, t, self.space_range[side.end == "upper"])


@dataclass(frozen=True)
class BurgersWave(_Front, OperatorProblem):
    """A front of fixed shape that viscosity and steepening hold in balance.

        ∂u/∂t + ∂/∂x(u²/2) = ν ∂²u/∂x²   on x ∈ [0, 1],   u given at both ends

        u(t, x) = (u_L + u_R)/2 - (u_L - u_R)/2 tanh((u_L - u_R)(x - 1/2 - s t)/4ν),   s = (u_L +
        u_R)/2

    Members draw the state u_L behind the front and u_R ahead of it. Both ends are held at the
    values of this formula: at ν = 0.1 the front is as wide as the domain, and u_L and u_R are
    reached nowhere in it.

    This is the solution published as "Riemann problem", but its initial state is the smooth front,
    not a step; the solution from a step is `BurgersStep`. At t = 0.32, for states 0.9 and 0.2, the
    two differ by 14 % at ν = 0.1, 2.8 % at 0.02, 0.9 % at 0.01.

    Attributes:
        viscosity: ν > 0; a file of published data is named after 0.1.
        lefts: interval of u_L, [0.5, 1] by our choice.
        rights: interval of u_R, [0, 0.5] by our choice, not above u_L.
        time_range: first and last snapshot; the last, 1.2, is published.

    Raises:
        TypeError, ValueError: for numbers that are not so, or intervals that let u_R exceed u_L (a
            rarefaction has no such front).

    Source: Saad, Gupta, Alizadeh and Maddix, "Guiding continuous operator learning through
        physics-based boundary constraints", ICLR 2023
        (arXiv 2212.07477). The wave: Whitham, "Linear and Nonlinear Waves", Wiley 1974, § 4.3.
    """

    name: ClassVar[str] = "burgers_wave"
    equation: ClassVar[str] = "∂u/∂t + ∂/∂x(u²/2) = ν ∂²u/∂x², u given at both ends"

    def initial(self, parameter: Mapping[str, Any], x: ArrayLike) -> jax.Array:
        """The front at x = 1/2."""
        return self.solution(parameter, 0.0, x)

    def solution(self, parameter: Mapping[str, Any], t: ArrayLike, x: ArrayLike) -> jax.Array:
        """The travelling front; `left`, `right`, t and x broadcast."""
        left, right, t, x = aligned(parameter["left"], parameter["right"], t, x)
        ahead = x - _MIDDLE - (left + right) / 2 * t
        return (left + right) / 2 - (left - right) / 2 * jnp.tanh(
            (left - right) * ahead / (4 * self.viscosity)
        )


@dataclass(frozen=True)
class BurgersStep(_Front, OperatorProblem):
    """A true step that viscosity smooths and steepening keeps narrow: the viscous Riemann problem
    on the line, seen through a window.

        ∂u/∂t + ∂/∂x(u²/2) = ν ∂²u/∂x²,   u(0, x) = u_L for x < 1/2, u_R for x > 1/2

        u(t, x) = u_R + (u_L - u_R)/(1 + e^q),   ξ = x - 1/2,   s = (u_L + u_R)/2

        q = (u_L - u_R)(ξ - s t)/2ν + log Φ((ξ - u_R t)/√(2νt)) - log Φ(-(ξ - u_L t)/√(2νt))

    Φ is the normal distribution function; its logarithm is what keeps the ratio of two vanishing
    numbers right. After t ~ 4ν/(u_L - u_R)² the front travels as `BurgersWave`. Both ends are held
    at the values of this formula.

    Hard spots: the step itself, at t = 0, where `solution` is the step with the mean at x = 1/2.
    For x far from the front q is large, and u is u_L or u_R to rounding.

    Attributes:
        viscosity: ν > 0.
        lefts: interval of u_L, [0.5, 1] by our choice.
        rights: interval of u_R, [0, 0.5] by our choice, not above u_L.
        time_range: first and last snapshot; the last, 1.2, as in the published data of the
            travelling front.

    Raises:
        TypeError, ValueError: for numbers that are not so, or intervals that let u_R exceed u_L.

    Source: Hopf, Comm. Pure Appl. Math. 3 (1950) 201; Cole, Quart. Appl. Math. 9 (1951) 225: u =
        -2ν ∂θ/∂x / θ where θ diffuses.
    """

    name: ClassVar[str] = "burgers_step"
    equation: ClassVar[str] = "∂u/∂t + ∂/∂x(u²/2) = ν ∂²u/∂x², from a step, u given at both ends"

    def initial(self, parameter: Mapping[str, Any], x: ArrayLike) -> jax.Array:
        """The step, with the mean at x = 1/2."""
        left, right, x = aligned(parameter["left"], parameter["right"], x)
        return (left + right) / 2 - (left - right) / 2 * jnp.sign(x - _MIDDLE)

    def solution(self, parameter: Mapping[str, Any], t: ArrayLike, x: ArrayLike) -> jax.Array:
        """The smoothed step; `left`, `right`, t and x broadcast."""
        left, right, t, x = aligned(parameter["left"], parameter["right"], t, x)
        begun = jnp.where(
            t > 0, t, 1.0
        )  # keeps the division by zero at t = 0 out of values and gradients
        distance, spread = x - _MIDDLE, jnp.sqrt(2 * self.viscosity * begun)
        ratio = log_ndtr((distance - right * begun) / spread) - log_ndtr(
            (left * begun - distance) / spread
        )
        exponent = (left - right) * (distance - (left + right) / 2 * begun) / (
            2 * self.viscosity
        ) + ratio
        return jnp.where(
            t > 0, right + (left - right) * jax.nn.sigmoid(-exponent), self.initial(parameter, x)
        )
