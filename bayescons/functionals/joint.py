"""Functionals of several fields laid end to end in one vector."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.descriptions import described
from bayescons.functionals.abstract import SingleFunctional, static


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OnJointVector(SingleFunctional):
    """A functional of some of several fields that are laid end to end in one vector, G v + c = Σ_k
    (G_k u_k + c_k): of one field, or a law that adds up one functional of each.

    Attributes:
        parts: G_k, one for each field that is looked at, all with one shape of values.
        indices: which field each of them looks at.
        shapes: shapes of all fields.
    """

    parts: tuple
    indices: tuple[int, ...] = static()
    shapes: tuple[tuple[int, ...], ...] = static()

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_1 + n_2 + ...,)."""
        return (sum(map(math.prod, self.shapes)),)

    @property
    def about(self) -> str:
        """That of each part, and which field it looks at."""
        parts = zip(self.parts, self.indices, strict=True)
        told = " + ".join(f"({part.told}) of field {i + 1}" for part, i in parts)
        return f"{told}, {len(self.shapes)} fields end to end"

    @property
    def value_shape(self) -> tuple:
        """That of the parts."""
        return self.parts[0].value_shape

    @property
    def offset(self) -> ArrayLike:
        """Σ_k c_k."""
        return sum(part.offset for part in self.parts)

    def __call__(self, vector) -> jax.Array:
        """Σ_k (G_k u_k + c_k), by the parts themselves."""
        fields = split_fields(vector, self.shapes)
        return sum(part(fields[i]) for part, i in zip(self.parts, self.indices, strict=True))

    def linear(self, vector) -> jax.Array:
        """Σ_k G_k u_k."""
        fields = split_fields(vector, self.shapes)
        return sum(
            part.linear(fields[index]) for part, index in zip(self.parts, self.indices, strict=True)
        )

    def adjoint(self, value) -> jax.Array:
        """G_k' v for the fields looked at, zero for the others."""
        fields = [jnp.zeros(s, value.dtype) for s in self.shapes]
        for part, index in zip(self.parts, self.indices, strict=True):
            fields[index] = fields[index] + part.adjoint(value)
        return jnp.concatenate([f.reshape(-1) for f in fields])

    def labels(self) -> list[str]:
        """Those of the first part."""
        return self.parts[0].labels()


def split_fields(vector, shapes) -> list[jax.Array]:
    """The fields of given shapes that a vector holds end to end, any number of axes in front."""
    ends = np.cumsum([math.prod(s) for s in shapes])[:-1]
    return [
        part.reshape(*vector.shape[:-1], *s)
        for part, s in zip(jnp.split(vector, ends, axis=-1), shapes, strict=True)
    ]
