"""Functionals that read a field at scattered points."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from bayescons.descriptions import described
from bayescons.functionals.abstract import SingleFunctional, static


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PointEvaluation(SingleFunctional):
    """(G u)_j = u[i_j]: the field read at r of its points, such as scattered readings at points of
    a tensor grid.

    Attributes:
        indices: one integer array (r,) per axis of the field.
        coordinates: one array (r,) per axis, for row labels, or empty.
        shape: shape of the field.
        names: names of the axes, for row labels, or empty.
    """

    indices: tuple
    coordinates: tuple = ()
    shape: tuple[int, ...] = static(default=())
    names: tuple[str, ...] = static(default=())

    @property
    def about(self) -> str:
        """How many points."""
        return f"u at {self.value_shape[-1]} points"

    @property
    def value_shape(self) -> tuple[int, ...]:
        """(r,)."""
        return jnp.shape(self.indices[0])

    def linear(self, field) -> jax.Array:
        """Gather."""
        return jnp.asarray(field)[self.indices]

    def adjoint(self, value) -> jax.Array:
        """Scatter; values read at the same point add up."""
        return jnp.zeros(self.shape, jnp.result_type(value)).at[self.indices].add(value)

    def labels(self) -> list[str]:
        """What tells one row from another, e.g. "[t=0.05, x=0.2]"."""
        if len(self.names) != len(self.coordinates) or not self.names:
            return [f"[{j}]" for j in range(self.value_shape[0])]
        return [
            "["
            + ", ".join(f"{n}={float(c):.6g}" for n, c in zip(self.names, point, strict=True))
            + "]"
            for point in zip(*self.coordinates, strict=True)
        ]
