"""Several fields as one array, and functionals of it: laws across fields keep the structure that
the fields share.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.descriptions import Description, described
from bayescons.functionals.abstract import SingleFunctional, static


@described
@dataclasses.dataclass(frozen=True)
class Bundle:
    """How several fields are one array: the axes that all share in front, and in one last axis what
    is left of each, end to end.

    Water q(t, z, y), precipitation p(t, y) and run-off r(t, y) that share t and y are an array
    v(t, y, z + 1 + 1), in which a law at every t and y is a row of its own.

    Attributes:
        shapes: of the fields.
        shared: for every shared axis its place in each of them; none for fields that lie end to end
            as they are.
    """

    shapes: tuple[tuple[int, ...], ...]
    shared: tuple[tuple[int, ...], ...] = ()

    def description(self) -> Description:
        """The shapes, and what they share."""
        shapes = ", ".join(map(_shaped, self.shapes))
        rows = [("fields", shapes), ("array", _shaped(self.shape))]
        if self.shared:
            rows.append(("shared axes", f"the first {len(self.shared)} of the array"))
        return Description(f"{len(self.shapes)} fields as one array", tuple(rows))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return (*self._lead, sum(map(math.prod, map(self.left, range(len(self.shapes))))))

    def left(self, number: int) -> tuple[int, ...]:
        """Shape of what the shared axes leave of a field."""
        gone = {axes[number] for axes in self.shared}
        return tuple(n for a, n in enumerate(self.shapes[number]) if a not in gone)

    def join(self, fields: Sequence) -> jax.Array:
        """The array of some fields, any number of axes in front of each."""
        lead = range(len(self.shared))
        front = [jnp.ndim(u) - len(shape) for u, shape in zip(fields, self.shapes, strict=True)]
        first = [
            jnp.moveaxis(u, self._places(i, f), [f + a for a in lead])
            for i, (u, f) in enumerate(zip(fields, front, strict=True))
        ]
        flat = [u.reshape(*u.shape[: f + len(lead)], -1) for u, f in zip(first, front, strict=True)]
        return jnp.concatenate(flat, axis=-1)

    def split(self, array) -> list[jax.Array]:
        """The fields that an array holds, any number of axes in front."""
        left = [self.left(i) for i in range(len(self.shapes))]
        ends = np.cumsum([math.prod(shape) for shape in left])[:-1]
        front = jnp.ndim(array) - len(self.shape)
        lead = [front + a for a in range(len(self.shared))]
        flat = jnp.split(array, ends, axis=-1)
        whole = (u.reshape(*u.shape[:-1], *shape) for u, shape in zip(flat, left, strict=True))
        return [jnp.moveaxis(u, lead, self._places(i, front)) for i, u in enumerate(whole)]

    @property
    def _lead(self) -> tuple[int, ...]:
        return tuple(self.shapes[0][axes[0]] for axes in self.shared)

    def _places(self, number: int, front: int) -> list[int]:
        return [front + axes[number] for axes in self.shared]


def _shaped(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "scalar"


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OnBundle(SingleFunctional):
    """A functional of some of several fields, G v + c = Σ_k (G_k u_k + c_k): of one field, or a law
    that adds up one functional of each.

    Attributes:
        parts: G_k, one for each field that is looked at, all with one shape of values.
        indices: which field each of them looks at.
        bundle: how all fields are one array.
    """

    parts: tuple
    indices: tuple[int, ...] = static()
    bundle: Bundle = static()  # noqa: RUF009

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array."""
        return self.bundle.shape

    @property
    def about(self) -> str:
        """That of each part, and which field it looks at."""
        parts = zip(self.parts, self.indices, strict=True)
        told = " + ".join(f"({part.told}) of field {i + 1}" for part, i in parts)
        return f"{told}, of {len(self.bundle.shapes)} fields"

    @property
    def value_shape(self) -> tuple:
        """That of the parts."""
        return self.parts[0].value_shape

    @property
    def offset(self) -> ArrayLike:
        """Σ_k c_k."""
        return sum(part.offset for part in self.parts)

    @property
    def identity_axes(self) -> Mapping[int, int]:
        """Shared axes on which every part is the identity, all to one axis of the value."""
        found = {}
        for axis, places in enumerate(self.bundle.shared):
            pairs = zip(self.parts, self.indices, strict=True)
            to = {part.identity_axes.get(places[i]) for part, i in pairs}
            if len(to) == 1 and None not in to:
                (found[axis],) = to
        return found

    def __call__(self, array) -> jax.Array:
        """Σ_k (G_k u_k + c_k), by the parts themselves."""
        return self._sum(lambda part, field: part(field), array)

    def linear(self, array) -> jax.Array:
        """Σ_k G_k u_k."""
        return self._sum(lambda part, field: part.linear(field), array)

    def _sum(self, value, array) -> jax.Array:
        fields = self.bundle.split(array)
        return sum(value(p, fields[i]) for p, i in zip(self.parts, self.indices, strict=True))

    def adjoint(self, value) -> jax.Array:
        """G_k' v for the fields looked at, zero for the others."""
        fields = [jnp.zeros(shape, value.dtype) for shape in self.bundle.shapes]
        for part, index in zip(self.parts, self.indices, strict=True):
            fields[index] = fields[index] + part.adjoint(value)
        return self.bundle.join(fields)

    def labels(self) -> list[str]:
        """Those of the first part."""
        return self.parts[0].labels()
