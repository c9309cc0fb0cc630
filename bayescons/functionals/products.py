"""Functionals that are products along the axes of a grid, one row or matrix of weights for each
axis.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.descriptions import described
from bayescons.functionals.abstract import SingleFunctional, static
from bayescons.grids import Grid


@described
@functools.partial(jax.tree_util.register_dataclass, drop_fields=("about",))
@dataclasses.dataclass(frozen=True)
class TensorProduct(SingleFunctional):
    """G = ⊗_a W_a: along axis a the identity (None), one row of weights (n_a,), or a matrix of rows
    (r_a, n_a).

    Attributes:
        weights: one entry per axis of the field.
        shape: shape of the field.
        names: names of the axes of the values, for row labels.
        coordinates: coordinates along the axes of the values, for row labels.
        bridges: for an integral, widths of the intervals along each integrated axis (see
            `quadrature.bridge_widths`), one row of them, or a row for each row of weights, zero for
            intervals that it does not integrate over; None for the other axes.
        grid_names: names of the axes of the field, where it was built on a grid.
        grid_points: coordinates along these, by which results are labelled.
        about: what it is in the field's words.
    """

    weights: tuple
    coordinates: tuple = ()
    bridges: tuple = ()
    shape: tuple[int, ...] = static(default=())
    names: tuple[str, ...] = static(default=())
    grid_points: tuple = ()
    grid_names: tuple[str, ...] = static(default=())
    about: str = dataclasses.field(default="weights along the axes", compare=False)

    @classmethod
    def on(cls, grid: Grid, weights, coordinates: Mapping, about: str, bridges=()) -> TensorProduct:
        """On the fields of a grid; `coordinates` along the axes of the values, by name."""
        return cls(
            tuple(weights),
            tuple(coordinates.values()),
            tuple(bridges),
            shape=grid.shape,
            names=tuple(coordinates),
            grid_points=tuple(grid.values()),
            grid_names=grid.names,
            about=about,
        )

    @property
    def identity_axes(self) -> dict[int, int]:
        """Axes without weights; axes before them become as many axes of the value as their weights
        have rows.
        """
        axes = [1 if w is None else w.ndim - 1 for w in self.weights]
        return {a: sum(axes[:a]) for a, w in enumerate(self.weights) if w is None}

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Shape of G u."""
        kept = (
            (n,) if w is None else w.shape[:-1]
            for n, w in zip(self.shape, self.weights, strict=True)
        )
        return tuple(n for sizes in kept for n in sizes)

    def linear(self, field) -> jax.Array:
        """G u."""
        field = jnp.asarray(field)
        for axis in reversed(range(len(self.shape))):
            field = _contract(self.weights[axis], field, axis)
        return field

    def adjoint(self, value) -> jax.Array:
        """G' v for one array of values of shape `value_shape`."""
        for axis, w in enumerate(self.weights):
            value = _expand(w, value, axis)
        return value

    def labels(self) -> list[str]:
        """What tells one row from another, e.g. "[t=0.05]", in the order of the raveled values."""
        return axis_labels(self.names, self.coordinates, self.value_shape)


def axis_labels(names: tuple[str, ...], coordinates: tuple, shape: tuple[int, ...]) -> list[str]:
    """Where each value of an array is, in the order of its raveled values."""
    if not shape:
        return [""]
    if len(names) != len(shape):
        return [str(list(map(int, i))) for i in np.ndindex(shape)]
    return [
        "["
        + ", ".join(
            f"{n}={float(c[j]):.6g}" for n, c, j in zip(names, coordinates, index, strict=True)
        )
        + "]"
        for index in np.ndindex(shape)
    ]


def _contract(w, field, axis: int):
    """Apply a row (n,) or rows (r, n) along one axis; a row removes the axis."""
    if w is None:
        return field
    out = jnp.tensordot(field, jnp.asarray(w), axes=((axis,), (-1 % w.ndim,)))
    return out if w.ndim == 1 else jnp.moveaxis(out, -1, axis)


def _expand(w, value, axis: int):
    """Adjoint of `_contract`."""
    if w is None:
        return value
    if w.ndim == 1:
        return jnp.expand_dims(value, axis) * jnp.expand_dims(
            w, [i for i in range(value.ndim + 1) if i != axis]
        )
    return jnp.moveaxis(jnp.tensordot(value, jnp.asarray(w), axes=((axis,), (0,))), -1, axis)
