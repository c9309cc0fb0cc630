"""The interface every problem shares: an equation on an interval, its exact solution, and what is
known of it without solving.

A problem answers what a physicist knows before any data are seen - the conserved total, the
boundary values, the fluxes through the walls - and, because its solution is known in closed form,
what the truth was. It holds one parameter and no arrays.
"""

from __future__ import annotations

import abc
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from bayescons.grids import Grid
from bayescons.refusals import RefusedType, RefusedValue

Real = float | int | np.floating | np.integer | jax.Array
"""One real number, perhaps traced."""


class Problem(abc.ABC):
    """One conservation law ∂u/∂t + ∂F/∂x = 0 on an interval of x, with its exact solution.

    An implementation is a frozen dataclass with one field, the parameter named by `parameter_name`;
    inheriting from `Problem` supplies `grid` and `sample`. All quantities are dimensionless. Every
    function of t (and x) accepts scalars, NumPy and JAX arrays, works element by element, may be
    jitted, vmapped and differentiated, and answers in the float type of its arguments (JAX's
    default one for integers). `total`, the boundary values and the fluxes are those of the solution
    *restricted to the domain*, also after a front has left it.

    The parameter is held as a Python float. It may also be traced, so that `jax.grad`, `jax.vmap`
    and NumPyro reach through it:
    `jax.vmap(lambda key: contexts(Stefan.sample(key), key))(keys)`. Only a concrete parameter can
    be checked; a traced one outside its range gives NaN or a field that means nothing.
    """

    name: ClassVar[str]
    """Identifier, equal to the module's name."""
    equation: ClassVar[str]
    """The equation, in Unicode."""
    time_range: ClassVar[tuple[float, float]]
    """First and last time of the benchmark."""
    space_range: ClassVar[tuple[float, float]]
    """Lower and upper wall."""
    parameter_name: ClassVar[str]
    """The dataclass's one field."""
    train_range: ClassVar[tuple[float, float]]
    """Interval from which training parameters are drawn."""
    test_values: ClassVar[tuple[float, ...]]
    """Parameters of the published tables; some may lie outside `train_range`, on purpose."""
    time_of_interest: ClassVar[float]
    """The time at which the published tables are evaluated."""

    @abc.abstractmethod
    def solution(self, t: ArrayLike, x: ArrayLike) -> jax.Array:
        """The exact field u(t, x).

        t and x broadcast against each other (explicitly, so also where JAX's rank promotion is
        "raise"): `solution(**grid.mesh())` has shape `grid.shape`.
        """

    @abc.abstractmethod
    def initial(self, x: ArrayLike) -> jax.Array:
        """The field at the first time, u(0, x)."""

    @abc.abstractmethod
    def lower(self, t: ArrayLike) -> jax.Array:
        """Boundary value at the lower wall."""

    @abc.abstractmethod
    def upper(self, t: ArrayLike) -> jax.Array:
        """Boundary value at the upper wall."""

    @abc.abstractmethod
    def total(self, t: ArrayLike) -> jax.Array:
        """The conserved amount, ∫ u(t, x) dx over the domain, in closed form."""

    @abc.abstractmethod
    def flux(self, u: ArrayLike, slope: ArrayLike) -> jax.Array:
        """The flux F in the direction of +x, where the field is u and its slope ∂u/∂x; u and slope
        broadcast.
        """

    @abc.abstractmethod
    def flux_lower(self, t: ArrayLike) -> jax.Array:
        """Flux F in the direction of +x through the lower wall: d total/dt = flux_lower -
        flux_upper.
        """

    @abc.abstractmethod
    def flux_upper(self, t: ArrayLike) -> jax.Array:
        """Flux F in the direction of +x through the upper wall."""

    @abc.abstractmethod
    def front(self, t: ArrayLike) -> jax.Array:
        """Position of the front, also where that lies beyond the upper wall; NaN for a problem that
        has none.
        """

    def grid(self, times: int = 201, points: int = 201) -> Grid:
        """The evaluation grid: axes t and x, equally spaced, both end points included.

        Raises:
            ValueError: for fewer than two times or points.
        """
        times, points = (
            checked_count(times, name="times", least=2),
            checked_count(points, name="points", least=2),
        )
        return Grid(
            t=np.linspace(*self.time_range, times), x=np.linspace(*self.space_range, points)
        )

    @classmethod
    def sample[P: Problem](
        cls: type[P], key: jax.Array, *, between: tuple[float, float] | None = None
    ) -> P:
        """A problem whose parameter is drawn uniformly.

        Args:
            key: a key of `jax.random.key`.
            between: the interval to draw from; `train_range` unless told.
        """
        low, high = cls.train_range if between is None else between
        return cls(**{cls.parameter_name: jax.random.uniform(key, minval=low, maxval=high)})


def coordinates(t: ArrayLike, x: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Times and positions broadcast against each other, in one float type."""
    t, x = jnp.broadcast_arrays(t, x)
    dtype = jnp.result_type(t, x, 0.0)
    return t.astype(dtype), x.astype(dtype)


def floating(t: ArrayLike) -> jax.Array:
    """Times or positions as an array of their own float type, or of JAX's default one for
    integers.
    """
    return jnp.asarray(t, jnp.result_type(t, 0.0))


def checked_parameter(value, *, name: str, above: float, below: float, instead: str):
    """The parameter as a Python float, if it is one number strictly between `above` and `below`; a
    tracer passes unchecked.

    Raises:
        TypeError: if it is not one real number.
        ValueError: if it is not finite, or outside the interval.
    """
    if isinstance(value, (str, bool, type(None), complex)) or np.shape(value) != ():
        got = repr(value) if np.shape(value) == () else f"an array of shape {np.shape(value)}"
        raise RefusedType(
            f"{name} must be one real number; got {got}. {instead}; for many parameters, jax.vmap "
            "over problems"
        )
    if isinstance(value, Tracer):
        return value
    number = float(value)
    if not (math.isfinite(number) and above < number < below):
        bounds = (
            f"above {above:g}" if math.isinf(below) else f"strictly between {above:g} and {below:g}"
        )
        raise RefusedValue(f"{name} must be a finite number {bounds}; got {number:g}. {instead}")
    return number


def checked_count(count: int, *, name: str, least: int) -> int:
    """The count as an int, if it is a whole number not below `least`.

    Raises:
        ValueError: otherwise.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < least:
        raise RefusedValue(
            f"{name} must be a whole number, {least} or more; got {count!r}. Write "
            f"{name}={max(least, 10)}"
        )
    return int(count)
