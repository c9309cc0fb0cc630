"""Several functionals of one field, one under the other."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.descriptions import described
from bayescons.functionals.abstract import AbstractFunctional


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stack(AbstractFunctional):
    """Several functionals of one field, one under the other. Its value is the tuple of theirs."""

    members: tuple

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the field."""
        return self.members[0].shape

    @property
    def about(self) -> str:
        """How many they are."""
        return f"{len(self.members)} functionals of one field"

    @property
    def pointwise(self) -> frozenset[int]:
        """Axes that every member leaves alone."""
        return frozenset.intersection(*(m.pointwise for m in self.members))

    @property
    def value_shape(self) -> tuple:
        """Shapes of the members' values."""
        return tuple(m.value_shape for m in self.members)

    def __call__(self, field) -> tuple:
        """The members' values."""
        return tuple(m(field) for m in self.members)

    def count(self, axes: tuple[int, ...]) -> int:
        """Rows per point of `axes`."""
        return sum(m.count(axes) for m in self.members)

    def rows(self, field, axes: tuple[int, ...]) -> jax.Array:
        """The members' rows, one after another."""
        return jnp.concatenate([m.rows(field, axes) for m in self.members], axis=-1)

    def transpose(self, rows, axes: tuple[int, ...]) -> jax.Array:
        """Adjoint of `rows`: the sum of the members' adjoints."""
        return sum(
            m.transpose(part, axes)
            for m, part in zip(self.members, self._split(rows, axes), strict=True)
        )

    def pack(self, value: tuple, axes: tuple[int, ...]) -> jax.Array:
        """The members' values by rows."""
        return jnp.concatenate(
            [m.pack(v, axes) for m, v in zip(self.members, value, strict=True)], axis=-1
        )

    def unpack(self, rows, axes: tuple[int, ...]) -> tuple:
        """Inverse of `pack`."""
        return tuple(
            m.unpack(part, axes)
            for m, part in zip(self.members, self._split(rows, axes), strict=True)
        )

    def _split(self, rows, axes: tuple[int, ...]) -> list:
        ends = np.cumsum([m.count(axes) for m in self.members])[:-1]
        return jnp.split(rows, ends, axis=-1)
