"""Any JAX function of a field as a functional, with its linearity checked."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.ops.provenance import eval_provenance

from bayescons.functionals import Functional, Linear
from bayescons.grids import Grid


def functional(function: Callable | Functional, on: Grid | tuple[int, ...]) -> Functional:
    """A functional from a JAX function f(u) = G u + c of one field; a built-in functional is returned as it is.

    Args:
        function: takes a field (an array of the grid's shape), returns an array of any shape. Its rows come from `jax.jvp` and `jax.vjp`.
        on: the grid, or the shape of a field.

    Raises:
        ValueError: if the function is not affine in the field.
    """
    if not callable(function):
        raise TypeError(f"expected a functional or a function of the field; got {type(function).__name__}")
    if hasattr(function, "rows"):
        return function
    shape = tuple(on.shape if isinstance(on, Grid) else on)
    wrapped = Linear(lambda u: jnp.asarray(function(u)), shape)
    if not is_affine(wrapped.function, shape):
        name = getattr(function, "__name__", "function")
        raise ValueError(
            f"the functional {name!r} is not affine in the field, so a Gaussian given its value is not Gaussian. Observe it below the "
            "field as a likelihood, numpyro.sample(name, dist.Normal(f(u), scale), obs=value), or observe a linear functional"
        )
    return wrapped


def is_affine(function: Callable, shape: tuple[int, ...]) -> bool:
    """Whether f(a) - f(b) = f'(b) (a - b) for random fields a and their mirror images b = -a, small, moderate and large, to 1e4 eps.

    The line from a to -a crosses zero at every point, so that a kink there (`relu`, `abs`) shows; the sizes show kinks elsewhere (`clip`).

    Where f cannot be evaluated (it closes over random variables of a program being traced) the structure decides: f is affine if its
    tangent does not depend on the point. That test is stricter: it may refuse loops and branches, even affine ones.
    """
    with jax.ensure_compile_time_eval():
        field = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.result_type(float))
        try:
            return all(_matches_tangent(function, size * field, -size * field) for size in (1e-2, 1.0, 1e3))
        except jax.errors.TracerBoolConversionError:
            pass
    return _tangent_is_constant(function, field)


def _matches_tangent(function: Callable, a, b) -> bool:
    value, tangent = jax.jvp(function, (b,), (a - b,))
    other = function(a)
    size = jnp.max(jnp.abs(value), initial=1.0) + jnp.max(jnp.abs(tangent), initial=0.0)
    return bool(jnp.all(jnp.abs(other - value - tangent) <= 1e4 * jnp.finfo(value.dtype).eps * size))


def _tangent_is_constant(function: Callable, at) -> bool:
    depends = eval_provenance(lambda point, direction: jax.jvp(function, (point,), (direction,))[1], point=at, direction=at)
    return all("point" not in names for names in jax.tree.leaves(depends, is_leaf=lambda x: isinstance(x, frozenset)))
