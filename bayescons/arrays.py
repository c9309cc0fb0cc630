"""What an array, a number or a name must be, said once: checks at the doors, and how a function of
one field is mapped over a batch.
"""

from __future__ import annotations

import difflib

import jax
import jax.numpy as jnp
import numpy as np

from bayescons import tracing
from bayescons.refusals import RefusedType, RefusedValue


def concrete(array) -> bool:
    """Whether an array's numbers are known now: it is not being traced."""
    return not isinstance(array, jax.core.Tracer)


def sample_shape(shape) -> tuple[int, ...]:
    """The axes of draws: whole numbers, or one of them alone, as NumPy takes its sizes."""
    axes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if not all(
        isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 0 for n in axes
    ):
        raise RefusedType(
            f"the shape of draws is a whole number or a tuple of them; got {shape!r}. Write (100,)"
        )
    return tuple(map(int, axes))


def constant(array: np.ndarray) -> np.ndarray:
    """An array of the host that cannot change from here on, so that a device may keep its copy."""
    array.setflags(write=False)
    return array


def real(array) -> jax.Array:
    """An array of floating numbers; whole numbers become so."""
    array = jnp.asarray(array)
    return (
        array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(jnp.result_type(float))
    )


def finite(what: str, array):
    """The array, or an error that counts its NaN and infinite entries."""
    if not concrete(array):
        tracing.ask(~jnp.isfinite(array))
    elif not np.isfinite(np.asarray(array)).all():
        bad = int(np.size(array) - np.isfinite(np.asarray(array)).sum())
        raise RefusedValue(
            f"{what} holds {bad} NaN or infinite entries; remove or replace them first"
        )
    return array


def positive(what: str, array, shape: tuple, *, zero: bool = False) -> jax.Array | np.ndarray:
    """Standard deviations, broadcast to a shape, or an error that names the smallest; `zero` lets
    zero pass. Known numbers stay on the host.
    """
    if not concrete(array):
        array = real(array)
        tracing.ask(array < 0 if zero else array <= 0)
        least = 1.0
    else:
        array = np.asarray(array)
        inexact = jnp.issubdtype(array.dtype, jnp.inexact)
        array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype if inexact else float))
        least = float(np.min(array, initial=np.inf))
    if array.shape not in ((), shape):
        raise RefusedValue(f"{what} must be a number or have shape {shape}; got {array.shape}")
    finite(what, array)
    if least < 0 or (least == 0 and not zero):
        raise RefusedValue(
            f"{what} must be {'at least' if zero else 'above'} zero everywhere; its smallest entry "
            f"is {least:g}. It is a standard deviation; state what is known exactly as a "
            "constraint instead"
        )
    return (np if concrete(array) else jnp).broadcast_to(array, shape)


def over_batch(function, lead: int, shared: bool = False):
    """Map over `lead` batch axes; `shared` holds the first argument (a covariance) fixed."""
    for _ in range(lead):
        function = jax.vmap(function, in_axes=(None, 0)) if shared else jax.vmap(function)
    return function


def rank_tolerance(rows: int, dtype) -> float:
    """64 max(r, 8) eps: an entry of the scaled S carries a few tens of eps from the products that
    made it, and an r x r perturbation of entries that size moves an eigenvalue by at most r times
    as much (Weyl).
    """
    return 64 * max(rows, 8) * float(jnp.finfo(dtype).eps)


def one_of(what: str, name, names: tuple) -> None:
    """An error that offers the nearest, unless the name is one of the names."""
    if name in names:
        return
    known = [n for n in names if n is not None]
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise RefusedValue(
        f"there is no {what} {name!r}; {hint}There are {', '.join(map(repr, known))}"
    )


def check_counts(**given: int) -> None:
    """Refuse numbers of draws, chains or warm-up steps that give nothing: `n` and `chains` from 1,
    `warmup` from 0.
    """
    for name, number in given.items():
        least = 0 if name == "warmup" else 1
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < least:
            raise RefusedValue(f"{name} must be a whole number, {least} or more; got {number!r}")
