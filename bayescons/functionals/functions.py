"""Any JAX function of a field as a functional, with its linearity checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.ops.provenance import eval_provenance

from bayescons.functionals.abstract import AbstractFunctional, SingleFunctional, static
from bayescons.grids import Grid


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FunctionFunctional(SingleFunctional):
    """Any JAX function that is affine in the field, f(u) = G u + c; its rows come from its
    derivative at zero.

    Attributes:
        function: field, *parameters -> values (an array). Must be affine in the field: `is_affine`
            checks it, nothing assumes it.
        shape: shape of the field.
        parameters: arrays that the function needs beside the field, such as random variables of a
            program.
    """

    function: Callable = dataclasses.field(metadata={"static": True})
    shape: tuple[int, ...] = static(default=())
    parameters: tuple = ()

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Shape of f(u)."""
        return jax.eval_shape(self.function, self._zeros(), *self.parameters).shape

    @property
    def offset(self) -> jax.Array:
        """The constant c = f(0)."""
        return self._affine(self._zeros())

    def linear(self, field) -> jax.Array:
        """G u = f(u) - f(0), as the derivative of f at zero in the direction u."""
        zeros = self._zeros()
        return jax.jvp(self._affine, (zeros,), (jnp.asarray(field, zeros.dtype),))[1]

    def adjoint(self, value) -> jax.Array:
        """G' v."""
        return jax.vjp(self._affine, self._zeros())[1](value)[0]

    def labels(self) -> list[str]:
        """Index of each row."""
        return (
            [""]
            if not self.value_shape
            else ["[" + ",".join(map(str, i)) + "]" for i in np.ndindex(self.value_shape)]
        )

    def _affine(self, field):
        return self.function(field, *self.parameters)

    def _zeros(self):
        return jnp.zeros(self.shape, jnp.result_type(float))


def functional(
    function: Callable | AbstractFunctional, on: Grid | tuple[int, ...]
) -> AbstractFunctional:
    """A functional from a JAX function f(u) = G u + c of one field; a built-in functional is
    returned as it is.

    Args:
        function: takes a field (an array of the grid's shape), returns an array of any shape. Its
            rows come from `jax.jvp` and `jax.vjp`.
        on: the grid, or the shape of a field.

    Raises:
        ValueError: if the function is not affine in the field.
    """
    if not callable(function):
        raise TypeError(
            f"expected a functional or a function of the field; got {type(function).__name__}"
        )
    if isinstance(function, AbstractFunctional):
        return function
    shape = tuple(on.shape if isinstance(on, Grid) else on)
    wrapped = FunctionFunctional(lambda u: jnp.asarray(function(u)), shape)
    if not is_affine(wrapped.function, shape):
        name = getattr(function, "__name__", "function")
        raise ValueError(
            f"the functional {name!r} is not affine in the field, so a Gaussian given its value is "
            "not Gaussian. Observe it below the field as a likelihood, numpyro.sample(name, "
            "dist.Normal(f(u), scale), obs=value), or observe a linear functional"
        )
    return wrapped


def is_affine(function: Callable, shape: tuple[int, ...]) -> bool:
    """Whether f(a) - f(b) = f'(b) (a - b) for random fields a and their mirror images b = -a,
    small, moderate and large, to 1e4 eps.

    The line from a to -a crosses zero at every point, so that a kink there (`relu`, `abs`) shows;
    the sizes show kinks elsewhere (`clip`).

    Where f cannot be evaluated (it closes over random variables of a program being traced) the
    structure decides: f is affine if its tangent does not depend on the point. That test is
    stricter: it may refuse loops and branches, even affine ones.
    """
    with jax.ensure_compile_time_eval():
        field = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.result_type(float))
        try:
            return all(
                _matches_tangent(function, size * field, -size * field) for size in (1e-2, 1.0, 1e3)
            )
        except jax.errors.TracerBoolConversionError:
            pass
    return _tangent_is_constant(function, field)


def _matches_tangent(function: Callable, a, b) -> bool:
    value, tangent = jax.jvp(function, (b,), (a - b,))
    other = function(a)
    size = jnp.max(jnp.abs(value), initial=1.0) + jnp.max(jnp.abs(tangent), initial=0.0)
    return bool(
        jnp.all(jnp.abs(other - value - tangent) <= 1e4 * jnp.finfo(value.dtype).eps * size)
    )


def _tangent_is_constant(function: Callable, at) -> bool:
    depends = eval_provenance(
        lambda point, direction: jax.jvp(function, (point,), (direction,))[1],
        point=at,
        direction=at,
    )
    return all(
        "point" not in names
        for names in jax.tree.leaves(depends, is_leaf=lambda x: isinstance(x, frozenset))
    )
