"""Linear functionals of a field that keep their structure: G as products along axes, as any JAX
function, and as stacks of these.

A functional maps a field u of shape `shape` to values G u + c of shape `value_shape`; the constant
c, its `offset`, is zero but for a function with one. What is stated of a field and what is computed
of one is its value, `functional(u)`; the solve takes the constant to the other side and reads G,
`linear`, alone, and that *by rows*: given a set of axes on which it acts as the identity, `rows(u,
axes)` returns G u with those axes in front and everything else flattened into one last axis of
`count(axes)` rows, and `transpose(v, axes)` is the adjoint of that map. A conserved integral over x
on a (t, x) grid has one row per time when read over axis t, so conditioning on it costs one number
per time, not a matrix.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bayescons.arrays import numbers
from bayescons.descriptions import Description, described, kind, known, span

# An array of a pytree. While JAX takes a pytree apart and rebuilds it, anything may stand in its
# place, so constructors check nothing.
Leaf = Any


def static(**kwargs):
    """A dataclass field that shapes a program: part of a pytree's structure, not one of its
    leaves.
    """
    return dataclasses.field(metadata={"static": True}, **kwargs)


@described
class AbstractFunctional(abc.ABC):
    """What the conjugate update asks of a functional: shapes, its value, and G read by rows.

    Concrete functionals are final: of one array of values (`SingleFunctional`), or a `Stack`.

    Attributes:
        shape: shape of the field.
        value_shape: shape of G u; of a stack, the tuple of its members'.
        members: the functionals with one array of values that it is made of.
        pointwise: axes of the field on which G is the identity.
        about: what it is in the field's words, for a person to read. No part of what is compiled:
            where JAX has taken a functional apart and put it together, its kind is all that is
            known.
        over: axes of the field that G sums over in a way that its rows are told apart by, and
        clusters: of rows that share no point along these; None where nothing is known of it.
    """

    shape: tuple[int, ...]
    value_shape: tuple
    members: tuple[SingleFunctional, ...]
    pointwise: frozenset[int]
    about: str = ""
    over: tuple[int, ...] = ()
    clusters: Any = None

    def description(self) -> Description:
        """What it is, of which field, and which values it has; of a stack a row for each member."""
        field = ("field", f"shape {tuple(self.shape)}")
        if len(self.members) == 1:
            (single,) = self.members
            return Description(single.told, (field, ("value", single.values_told)))
        members = ((str(i), f"{m.told}: {m.values_told}") for i, m in enumerate(self.members, 1))
        return Description(self.about, (field, *members))

    @abc.abstractmethod
    def __call__(self, field):
        """G u + c for one field of shape `shape`."""

    @abc.abstractmethod
    def count(self, axes: tuple[int, ...]) -> int:
        """Rows per point of `axes`."""

    @abc.abstractmethod
    def rows(self, field, axes: tuple[int, ...]) -> jax.Array:
        """G u by rows: shape (*axes, count)."""

    @abc.abstractmethod
    def transpose(self, rows, axes: tuple[int, ...]) -> jax.Array:
        """Adjoint of `rows`: from (*axes, count) to a field."""

    @abc.abstractmethod
    def pack(self, value, axes: tuple[int, ...]) -> jax.Array:
        """Values of shape `value_shape` by rows."""

    @abc.abstractmethod
    def unpack(self, rows, axes: tuple[int, ...]):
        """Inverse of `pack`."""


class SingleFunctional(AbstractFunctional):
    """A functional with one array of values: all that is asked of one, from `linear` and `adjoint`.

    Attributes:
        offset: c, a number or an array of the value's shape; zero unless stated.
        identity_axes: axes of the field on which G is the identity, and for each the axis of the
            value that it becomes; none unless stated.
        names: names of the axes of the value, where they are known, otherwise ().
        coordinates: along these axes, where they are known, otherwise ().
        grid_names: names of the axes of the field, where it was built on a grid, otherwise ().
        grid_points: coordinates along these.
    """

    offset: ArrayLike = 0.0
    identity_axes: Mapping[int, int] = MappingProxyType({})
    names: tuple[str, ...] = ()
    coordinates: tuple = ()
    grid_names: tuple[str, ...] = ()
    grid_points: tuple = ()

    @property
    def value_axes(self) -> tuple[tuple[str, ...], tuple]:
        """Names of the axes of the value and coordinates along them, where both are known."""
        named = len(self.names) == len(self.value_shape)
        return (self.names, self.coordinates) if named else ((), ())

    @property
    def told(self) -> str:
        """What it is about, or of which kind it is where nobody has said."""
        return self.about or kind(self)

    @property
    def values_told(self) -> str:
        """Shape of the value, and its axes with their range where these are known."""
        shape = tuple(self.value_shape)
        if len(self.names) != len(shape) or not shape:
            return f"shape {shape}" if shape else "one number"
        places = (*self.coordinates, *[None] * len(shape))
        axes = (
            f"{name} = {span(at)}" if known(at) else name
            for name, at in zip(self.names, places, strict=False)
        )
        return f"shape {shape}, along {' and '.join(axes)}"

    @abc.abstractmethod
    def linear(self, field) -> jax.Array:
        """G u, of shape `value_shape`."""

    @abc.abstractmethod
    def adjoint(self, value) -> jax.Array:
        """G' v for one array of values of shape `value_shape`: a field."""

    @abc.abstractmethod
    def labels(self) -> list[str]:
        """What tells one row from another, in the order of the raveled values."""

    def __call__(self, field) -> jax.Array:
        """G u + c for one field of shape `shape`."""
        return self.linear(numbers("the field", field)) + self.offset

    def departure(self, field) -> jax.Array:
        """f(u) - G u - c, of shape `value_shape`: zero, but for a function that is not affine."""
        missed = self(field) - self.linear(field)
        return missed - jnp.broadcast_to(self.offset, self.value_shape)

    @property
    def members(self) -> tuple[SingleFunctional, ...]:
        """Itself alone; a `Stack` has several."""
        return (self,)

    @property
    def pointwise(self) -> frozenset[int]:
        """Axes of the field on which G is the identity."""
        return frozenset(self.identity_axes)

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
        front = [self.identity_axes[a] for a in axes]
        lead = tuple(self.shape[a] for a in axes)
        return jnp.moveaxis(value, front, range(len(axes))).reshape(*lead, self.count(axes))

    def unpack(self, rows, axes: tuple[int, ...]) -> jax.Array:
        """Inverse of `pack`."""
        front = [self.identity_axes[a] for a in axes]
        rest = tuple(n for i, n in enumerate(self.value_shape) if i not in front)
        lead = tuple(self.shape[a] for a in axes)
        return jnp.moveaxis(rows.reshape(lead + rest), range(len(axes)), front)


@described
class JointFunctional(abc.ABC):
    """A law of several fields that adds up one functional of each, Σ_k (G_k u_k + c_k).

    Attributes:
        parts: G_k, one for each field, in order, all with one shape of values.
        about: what it is in the field's words.
    """

    parts: tuple[SingleFunctional, ...]
    about: str = ""

    def description(self) -> Description:
        """What it is, and what of each field it adds up."""
        fields = (
            (f"field {i}", f"{part.told}, of shape {tuple(part.shape)}")
            for i, part in enumerate(self.parts, 1)
        )
        return Description(
            self.about or kind(self), (*fields, ("value", self.parts[0].values_told))
        )

    @abc.abstractmethod
    def __call__(self, *fields) -> jax.Array:
        """Σ_k (G_k u_k + c_k)."""

    @abc.abstractmethod
    def labels(self) -> list[str]:
        """What tells one row from another."""
