"""Averages over the points that count: the shapes, the mask and the mean that all metrics share."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from bayescons.refusals import RefusedValue

Axis = int | Sequence[int] | None


def average(values: Array, axis: Axis, where: ArrayLike | None) -> Array:
    """Mean over axes (`None` for all, `()` for none) of the points of a mask; NaN where none
    counts.
    """
    axis = tuple(axis) if isinstance(axis, Sequence) else axis
    return jnp.mean(values, axis=axis, where=mask(where, values.shape))


def mask(where: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """A mask of full shape, true where a point counts; all of them for `None`."""
    if where is None:
        return jnp.ones(shape, dtype=bool)
    where = jnp.asarray(where)
    if where.dtype != bool:
        raise RefusedValue(
            f"where must be boolean, true where a point counts; got {where.dtype}. Write "
            "where=variance > 0, for example"
        )
    return fitted(where, shape, "where", "the mean's shape")


def fitted(array: Array, shape: tuple[int, ...], name: str, meaning: str) -> Array:
    """An array broadcast to a shape, or an error that says which it is."""
    try:
        return jnp.broadcast_to(array, shape)
    except ValueError as error:
        raise RefusedValue(
            f"{name} must broadcast to {shape}, {meaning}; got shape {array.shape}. Give it a "
            "matching shape"
        ) from error


def alike(**given: ArrayLike) -> list[Array]:
    """Arrays of floating numbers of one precision, which must have one shape."""
    arrays = {name: jnp.asarray(array) for name, array in given.items()}
    if len({array.shape for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise RefusedValue(
            f"{', '.join(arrays)} must have one shape; got {shapes}. Broadcast them first with "
            "jnp.broadcast_to"
        )
    return [
        jnp.asarray(array, jnp.result_type(float, *arrays.values())) for array in arrays.values()
    ]


def refuse_dead(dead: Array) -> None:
    """Raise where points that count have no density; under `jit` nothing can be raised."""
    if isinstance(dead, Tracer) or not dead.any():
        return
    raise RefusedValue(
        f"{int(dead.sum())} of {dead.size} points have a variance of zero or less, so no log "
        "density: (a) exactly known points: exclude them with where=variance > 0; (b) rounding: "
        "set floor=...; (c) something else given as the variance"
    )
