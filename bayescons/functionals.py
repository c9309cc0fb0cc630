"""Linear functionals of a field that keep their structure: G as products along axes, as any JAX function, and as stacks of these.

A functional maps a field u of shape `shape` to values G u + c of shape `value_shape`; the constant c, its `offset`, is zero but for a
function with one. What is stated of a field and what is computed of one is its value, `functional(u)`; the solve takes the constant to the
other side and reads G, `linear`, alone, and that *by rows*: given a set of axes on which it acts as the identity, `rows(u, axes)` returns
G u with those axes in front and everything else flattened into one last axis of `count(axes)` rows, and `transpose(v, axes)` is the
adjoint of that map. A conserved integral over x on a (t, x) grid has one row per time when read over axis t, so conditioning on it costs
one number per time, not a matrix.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

# An array of a pytree. While JAX takes a pytree apart and rebuilds it, anything may stand in its place, so constructors check nothing.
Leaf = Any


def static(**kwargs):
    """A dataclass field that shapes a program: part of a pytree's structure, not one of its leaves."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


class Rowwise:
    """Value and reading by rows, for every functional that provides `shape`, `value_shape`, `linear` and `adjoint`.

    Attributes:
        offset: c, a number or an array of the value's shape; zero unless stated.
        kept: axes of the field on which G is the identity, and for each the axis of the value that it becomes; none unless stated.
    """

    offset: ArrayLike = 0.0
    kept: Mapping[int, int] = MappingProxyType({})

    def __call__(self, field) -> jax.Array:
        """G u + c for one field of shape `shape`."""
        return self.linear(field) + self.offset

    @property
    def members(self) -> tuple:
        """Itself alone; a `Stack` has several."""
        return (self,)

    @property
    def pointwise(self) -> frozenset[int]:
        """Axes of the field on which G is the identity."""
        return frozenset(self.kept)

    def count(self, axes: tuple[int, ...]) -> int:
        """Rows per point of `axes`."""
        return math.prod(self.value_shape) // math.prod(self.shape[a] for a in axes)

    def rows(self, field, axes: tuple[int, ...]) -> jax.Array:
        """G u by rows: shape (*axes, count)."""
        return self.pack(self.linear(field), axes)

    def transpose(self, rows, axes: tuple[int, ...]) -> jax.Array:
        """Adjoint of `rows`: from (*axes, count) to a field."""
        return self.adjoint(self.unpack(rows, axes))

    def pack(self, value, axes: tuple[int, ...]) -> jax.Array:
        """Values of shape `value_shape` by rows."""
        front = [self.kept[a] for a in axes]
        lead = tuple(self.shape[a] for a in axes)
        return jnp.moveaxis(value, front, range(len(axes))).reshape(*lead, self.count(axes))

    def unpack(self, rows, axes: tuple[int, ...]) -> jax.Array:
        """Inverse of `pack`."""
        front = [self.kept[a] for a in axes]
        rest = tuple(n for i, n in enumerate(self.value_shape) if i not in front)
        lead = tuple(self.shape[a] for a in axes)
        return jnp.moveaxis(rows.reshape(lead + rest), range(len(axes)), front)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Product(Rowwise):
    """G = ⊗_a W_a: along axis a the identity (None), one row of weights (n_a,), or a matrix of rows (r_a, n_a).

    Attributes:
        weights: one entry per axis of the field.
        shape: shape of the field.
        names: names of the axes of the values, for row labels.
        coordinates: coordinates along the axes of the values, for row labels.
        bridges: for an integral, widths of the intervals along each integrated axis (see `quadrature.bridge_widths`), one row of them, or a
            row for each row of weights, zero for intervals that it does not integrate over; None for the other axes.
    """

    weights: tuple
    coordinates: tuple = ()
    bridges: tuple = ()
    shape: tuple[int, ...] = static(default=())
    names: tuple[str, ...] = static(default=())

    @property
    def kept(self) -> dict[int, int]:
        """Axes without weights; axes before them become as many axes of the value as their weights have rows."""
        axes = [1 if w is None else w.ndim - 1 for w in self.weights]
        return {a: sum(axes[:a]) for a, w in enumerate(self.weights) if w is None}

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Shape of G u."""
        kept = ((n,) if w is None else w.shape[:-1] for n, w in zip(self.shape, self.weights, strict=True))
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
        if not self.value_shape:
            return [""]
        if len(self.names) != len(self.value_shape):
            return [str(list(map(int, i))) for i in np.ndindex(self.value_shape)]
        return [
            "[" + ", ".join(f"{n}={float(c[j]):.6g}" for n, c, j in zip(self.names, self.coordinates, index, strict=True)) + "]"
            for index in np.ndindex(self.value_shape)
        ]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Linear(Rowwise):
    """Any JAX function that is affine in the field, f(u) = G u + c; its rows come from its derivative at zero.

    Attributes:
        function: field, *parameters -> values (an array). Must be affine in the field: `is_affine` checks it, nothing assumes it.
        shape: shape of the field.
        parameters: arrays that the function needs beside the field, such as random variables of a program.
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
        return [""] if not self.value_shape else ["[" + ",".join(map(str, i)) + "]" for i in np.ndindex(self.value_shape)]

    def _affine(self, field):
        return self.function(field, *self.parameters)

    def _zeros(self):
        return jnp.zeros(self.shape, jnp.result_type(float))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Points(Rowwise):
    """(G u)_j = u[i_j]: the field read at r of its points, such as scattered readings at points of a tensor grid.

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
            "[" + ", ".join(f"{n}={float(c):.6g}" for n, c in zip(self.names, point, strict=True)) + "]"
            for point in zip(*self.coordinates, strict=True)
        ]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Embedded(Rowwise):
    """A functional of some of several fields that are laid end to end in one vector, G v + c = Σ_k (G_k u_k + c_k): of one field, or a law
    that adds up one functional of each.

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
    def value_shape(self) -> tuple:
        """That of the parts."""
        return self.parts[0].value_shape

    @property
    def offset(self) -> ArrayLike:
        """Σ_k c_k."""
        return sum(part.offset for part in self.parts)

    def linear(self, vector) -> jax.Array:
        """Σ_k G_k u_k."""
        fields = split_fields(vector, self.shapes)
        return sum(part.linear(fields[index]) for part, index in zip(self.parts, self.indices, strict=True))

    def adjoint(self, value) -> jax.Array:
        """G_k' v for the fields looked at, zero for the others."""
        fields = [jnp.zeros(s, value.dtype) for s in self.shapes]
        for part, index in zip(self.parts, self.indices, strict=True):
            fields[index] = fields[index] + part.adjoint(value)
        return jnp.concatenate([f.reshape(-1) for f in fields])

    def labels(self) -> list[str]:
        """Those of the first part."""
        return self.parts[0].labels()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stack:
    """Several functionals of one field, one under the other. Its value is the tuple of theirs."""

    members: tuple

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the field."""
        return self.members[0].shape

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
        return sum(m.transpose(part, axes) for m, part in zip(self.members, self._split(rows, axes), strict=True))

    def pack(self, value: tuple, axes: tuple[int, ...]) -> jax.Array:
        """The members' values by rows."""
        return jnp.concatenate([m.pack(v, axes) for m, v in zip(self.members, value, strict=True)], axis=-1)

    def unpack(self, rows, axes: tuple[int, ...]) -> tuple:
        """Inverse of `pack`."""
        return tuple(m.unpack(part, axes) for m, part in zip(self.members, self._split(rows, axes), strict=True))

    def _split(self, rows, axes: tuple[int, ...]) -> list:
        ends = np.cumsum([m.count(axes) for m in self.members])[:-1]
        return jnp.split(rows, ends, axis=-1)


type Functional = Product | Linear | Points | Embedded | Stack


def split_fields(vector, shapes) -> list[jax.Array]:
    """The fields of given shapes that a vector holds end to end, any number of axes in front."""
    ends = np.cumsum([math.prod(s) for s in shapes])[:-1]
    return [part.reshape(*vector.shape[:-1], *s) for part, s in zip(jnp.split(vector, ends, axis=-1), shapes, strict=True)]


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
        return jnp.expand_dims(value, axis) * jnp.expand_dims(w, [i for i in range(value.ndim + 1) if i != axis])
    return jnp.moveaxis(jnp.tensordot(value, jnp.asarray(w), axes=((axis,), (0,))), -1, axis)
