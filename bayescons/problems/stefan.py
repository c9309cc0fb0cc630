"""The Stefan problem: diffusion that switches off below a threshold, so that the field ends in a
moving jump.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.special import erf
from jax.typing import ArrayLike
from scipy.optimize import brentq

from bayescons.problems.problem import Problem, Real, checked_parameter, coordinates, floating

# Bracket of z₁. At 1e-9 the threshold is 1 - 2e-18, which rounds to one; at 30 it is 1e-393, which
# underflows to zero.
_SMALLEST_ROOT, _LARGEST_ROOT = 1e-9, 30.0


@dataclass(frozen=True)
class Stefan(Problem):
    """Melting from a hot wall, one phase: heat spreads only where the field has reached the
    threshold u*.

        ∂u/∂t = ∂/∂x(k(u) ∂u/∂x),  k = 1 for u ≥ u*, else 0,   on x ∈ [0, 1],   u(0, x) = 0,   u(t,
        0) = 1

        u(t, x) = 1 - c₁ erf(x / 2√t)  for x ≤ x*(t) = 2 z₁ √t,  else 0,        c₁ = (1 - u*)/erf z₁

        u* √π z₁ exp(z₁²) erf z₁ = 1 - u*     (the flux into the front is what filling the jump u*
        takes: u* dx*/dt = F)

        ∫ u dx = 2 c₁ √(t/π)                  until the front reaches the upper wall

    Expect: a front that starts infinitely fast and slows as 1/√t, and behind it an almost straight
    profile from 1 down to u*, where the field *jumps* to 0. At t = 0.05 the front is at 0.2351 for
    u* = 0.6. It reaches the upper wall at t = 1/(4 z₁²), 0.90 for u* = 0.6, long after the
    benchmark's last time 0.1. Later times are those of the same solution on the half-line seen
    through the window [0, 1]; `total`, `upper` and `flux_upper` account for what has left.

    Hard spots: the jump - a surrogate smears it, a Gaussian draw overshoots on both sides of it,
    and a quadrature rule does not see the exact total (the trapezoid rule on 201 points is off by
    1.5e-3 at t = 0.05, u* = 0.6). The corner t = x = 0: there u is 1, at t = 0 everywhere else 0,
    and `flux_lower` ~ 1/√t is infinite, though integrable. Derivatives of `solution` at t = 0 are
    returned finite; those with respect to the threshold leave out the jump, which moves and has
    none.

    Good values: u* from 0.55 to 0.7 (training range); the published tests are 0.6 and, outside that
    range on purpose, 0.5.

    Attributes:
        threshold: u*, strictly between 0 and 1, dimensionless.

    Raises:
        TypeError: if the threshold is not one real number.
        ValueError: if it is not strictly between 0 and 1.

    Source: Hansen, Maddix, Alizadeh, Gupta and Mahoney, "Learning physical models that can respect
    conservation laws", ICML 2023 (arXiv 2302.11002), "Stefan problem". The solution is Neumann's
    similarity solution: everything depends on x/√t alone, which turns the moving boundary into one
    number z₁; see Crank, "Free and Moving Boundary Problems", Oxford 1984.
    """

    threshold: Real = 0.6

    name: ClassVar[str] = "stefan"
    equation: ClassVar[str] = "∂u/∂t = ∂/∂x(k(u) ∂u/∂x), k = 1 for u ≥ u*, else 0"
    time_range: ClassVar[tuple[float, float]] = (0.0, 0.1)
    space_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    parameter_name: ClassVar[str] = "threshold"
    train_range: ClassVar[tuple[float, float]] = (0.55, 0.7)
    test_values: ClassVar[tuple[float, ...]] = (0.6, 0.5)
    time_of_interest: ClassVar[float] = 0.05

    def __post_init__(self):
        instead = "Write Stefan(threshold=0.6), or a value of the training range, 0.55 to 0.7"
        checked = checked_parameter(
            self.threshold, name="threshold", above=0.0, below=1.0, instead=instead
        )
        object.__setattr__(self, "threshold", checked)

    @property
    def root(self):
        """z₁, half the front's coefficient: x* = 2 z₁ √t. A Python float, or a traced array for a
        traced threshold.
        """
        traced = isinstance(self.threshold, Tracer)
        return _traced_root(self.threshold) if traced else _root(float(self.threshold))

    @property
    def amplitude(self):
        """c₁ = (1 - u*)/erf z₁. A Python float, or a traced array for a traced threshold."""
        traced = isinstance(self.threshold, Tracer)
        return (1 - self.threshold) / (erf if traced else math.erf)(self.root)

    def solution(self, t: ArrayLike, x: ArrayLike) -> jax.Array:
        """The profile u = 1 - c₁ erf(x / 2√t) behind the front, 0 ahead of it; t and x
        broadcast.
        """
        t, x = coordinates(t, x)
        similarity = x / (2 * jnp.sqrt(_positive(t)))
        melted = jnp.where(t > 0, similarity <= self.root, x <= 0)
        return jnp.where(melted, 1 - self.amplitude * erf(similarity), 0.0)

    def initial(self, x: ArrayLike) -> jax.Array:
        """Zero, but for the wall itself, where u(0, 0) = 1."""
        return self.solution(0.0, x)

    def lower(self, t: ArrayLike) -> jax.Array:
        """The hot wall, u = 1."""
        return jnp.ones_like(floating(t))

    def upper(self, t: ArrayLike) -> jax.Array:
        """Zero until the front arrives, then 1 - c₁ erf(1 / 2√t)."""
        return self.solution(t, self.space_range[1])

    def total(self, t: ArrayLike) -> jax.Array:
        """What has come in, 2 c₁ √(t/π), less what has gone out.

        The latter is zero until the front arrives, then c₁ erf(1/2√t) + 2 c₁ √(t/π) exp(-1/4t) - 1.
        Both follow from the antiderivative of erf(x/2√t), which is x erf(x/2√t) + 2 √(t/π)
        exp(-x²/4t), and from the equation of z₁.
        """
        t = floating(t)
        since = _positive(t)
        entered = 2 * self.amplitude * jnp.sqrt(since / math.pi)
        left = (
            self.amplitude * erf(1 / (2 * jnp.sqrt(since)))
            + entered * jnp.exp(-1 / (4 * since))
            - 1
        )
        return jnp.where(t > 0, entered - jnp.where(self._has_left(t), left, 0.0), 0.0)

    def flux(self, u: ArrayLike, slope: ArrayLike) -> jax.Array:
        """F = -k(u) ∂u/∂x: the slope's where the field has reached the threshold, zero
        elsewhere.
        """
        u, slope = coordinates(u, slope)
        return jnp.where(u >= self.threshold, -slope, jnp.zeros_like(slope))

    def flux_lower(self, t: ArrayLike) -> jax.Array:
        """-∂u/∂x = c₁ / √(π t) at x = 0; infinite at t = 0."""
        return self.amplitude / jnp.sqrt(math.pi * floating(t))

    def flux_upper(self, t: ArrayLike) -> jax.Array:
        """Zero until the front arrives, then -∂u/∂x = c₁ / √(π t) · exp(-1/4t) at x = 1."""
        t = floating(t)
        since = _positive(t)
        return jnp.where(
            self._has_left(t),
            self.amplitude / jnp.sqrt(math.pi * since) * jnp.exp(-1 / (4 * since)),
            0.0,
        )

    def front(self, t: ArrayLike) -> jax.Array:
        """The jump, x*(t) = 2 z₁ √t."""
        return 2 * self.root * jnp.sqrt(floating(t))

    def _has_left(self, t: jax.Array) -> jax.Array:
        return (t > 0) & (1 / (2 * jnp.sqrt(_positive(t))) <= self.root)


def _positive(t: jax.Array) -> jax.Array:
    """The time, with an arbitrary one in place of t <= 0: the branch not taken there then has no
    NaN in its gradient.
    """
    return jnp.where(t > 0, t, 1.0)


@lru_cache(maxsize=4096)
def _root(threshold: float) -> float:
    """z₁ in float64, on the host: the logarithm of the front's equation is increasing, and tame
    over the whole bracket.
    """

    def excess(z):
        return (
            math.log(math.sqrt(math.pi) * z * math.erf(z))
            + z * z
            - math.log1p(-threshold)
            + math.log(threshold)
        )

    return brentq(
        excess, _SMALLEST_ROOT, _LARGEST_ROOT, xtol=1e-24, rtol=4 * np.finfo(np.float64).eps
    )


def _threshold_at(root: jax.Array) -> jax.Array:
    """The front's equation the other way round, where it is explicit: u* = 1/(1 + √π z₁ exp(z₁²)
    erf z₁).
    """
    return 1 / (1 + math.sqrt(math.pi) * root * jnp.exp(root**2) * erf(root))


@jax.custom_jvp
def _traced_root(threshold: Real) -> jax.Array:
    """z₁ of a traced threshold by bisection, to rounding; NaN outside (0, 1)."""

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        beyond = _threshold_at(middle) > threshold  # u* falls as z₁ grows
        return jnp.where(beyond, middle, low), jnp.where(beyond, high, middle)

    bracket = jnp.full_like(threshold, _SMALLEST_ROOT), jnp.full_like(threshold, _LARGEST_ROOT)
    low, high = jax.lax.fori_loop(0, 64, halve, bracket)
    return jnp.where((threshold > 0) & (threshold < 1), (low + high) / 2, jnp.nan)


@_traced_root.defjvp
def _traced_root_jvp(primals, tangents):
    root = _traced_root(*primals)
    return root, tangents[0] / jax.grad(_threshold_at)(root)
