"""Weighted sums over axes of a field, with weights that are no product of one row for each axis."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from bayescons.descriptions import described
from bayescons.functionals.abstract import Leaf, SingleFunctional, static
from bayescons.functionals.products import axis_labels


@described
@functools.partial(jax.tree_util.register_dataclass, drop_fields=("about",))
@dataclasses.dataclass(frozen=True)
class WeightedSum(SingleFunctional):
    """(G u)_k = Σ_i W_ki u_ki, the sum over some axes (i), one row for each point of the others
    (k): on these G is pointwise, however W varies along them.

    Attributes:
        weights: W, of the field's number of axes, of length one along axes that it does not vary
            along.
        bridges: for each axis None, or weights of its increments between neighbours in the error of
            a quadrature rule, like `weights` but for the length along that axis.
        coordinates: along the axes of the values.
        grid_points: along the axes of the field.
        shape: of the field.
        over: positions of the axes summed over.
        names: of the axes of the values.
        grid_names: of the axes of the field.
        about: what it is in the field's words.
    """

    weights: Leaf
    bridges: tuple = ()
    coordinates: tuple = ()
    grid_points: tuple = ()
    shape: tuple[int, ...] = static(default=())
    over: tuple[int, ...] = static(default=())
    names: tuple[str, ...] = static(default=())
    grid_names: tuple[str, ...] = static(default=())
    about: str = dataclasses.field(default="a weighted sum over axes", compare=False)

    @property
    def identity_axes(self) -> dict[int, int]:
        """Those that are not summed over."""
        return {axis: i for i, axis in enumerate(self._kept)}

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Lengths of the axes that are not summed over."""
        return tuple(self.shape[axis] for axis in self._kept)

    def linear(self, field) -> jax.Array:
        """Σ_i W_ki u_ki."""
        return jnp.sum(jnp.asarray(self.weights) * jnp.asarray(field), axis=self.over)

    def adjoint(self, value) -> jax.Array:
        """W_ki v_k."""
        spread = jnp.expand_dims(jnp.asarray(value), self.over)
        return jnp.broadcast_to(jnp.asarray(self.weights) * spread, self.shape)

    def labels(self) -> list[str]:
        """What tells one row from another, e.g. "[t=0.05]"."""
        return axis_labels(self.names, self.coordinates, self.value_shape)

    @property
    def _kept(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(len(self.shape)) if axis not in self.over)
