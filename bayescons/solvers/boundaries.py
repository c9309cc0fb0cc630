"""Boundaries of a finite-volume solver: what a row of cells meets beyond its first and last face.

Each answers three questions, and the solver is written once in these terms: the value met there,
how far from the centre of the last cell it lies, and how much the field rises on the way from there
to the wall. Fluxes are formed from the answers as between any two cells, so that whatever leaves a
cell through a wall is counted as having passed the wall.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from bayescons.descriptions import tabulated
from bayescons.functionals.abstract import Leaf


@tabulated("Dirichlet boundary of a solver")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dirichlet:
    """A given value at the wall, u(t, wall) = g(t): a temperature that is held, or a state that
    flows in.

    In a purely hyperbolic law it is used where characteristics enter and has no effect where they
    leave.

    Attributes:
        value: g, a number or a function of the scalar time. One with a parameter that changes from
            call to call is best given as `jax.tree_util.Partial(function, parameter)`: the
            parameter may then be traced, and the solver is compiled once.
    """

    value: Leaf

    def imposed(self, times: jax.Array) -> jax.Array:
        """The wall's values at these times."""
        return jax.vmap(lambda t: self.outside(t, t, t))(times)

    def outside(self, t: jax.Array, own: jax.Array, other: jax.Array) -> jax.Array:
        """The wall's value, whatever the first cell holds and the cell at the other end."""
        del other
        return jnp.broadcast_to(
            jnp.asarray(self.value(t) if callable(self.value) else self.value, own.dtype), own.shape
        )

    def distance(self, own: jax.Array, other: jax.Array) -> jax.Array:
        """From the centre of the cell to the wall: half its width."""
        del other
        return own / 2

    def rise(self, other: jax.Array) -> jax.Array:
        """None: the value is that of the wall itself."""
        return jnp.zeros_like(other)


@tabulated("Outflow boundary of a solver")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Outflow:
    """An open end, ∂u/∂x = 0: what arrives is carried out, nothing diffuses through, nothing comes
    back.
    """

    def imposed(self, times: jax.Array) -> jax.Array:
        """No values."""
        return times[:0]

    def outside(self, t: jax.Array, own: jax.Array, other: jax.Array) -> jax.Array:
        """More of the same."""
        del t, other
        return own

    def distance(self, own: jax.Array, other: jax.Array) -> jax.Array:
        """To the centre of an equal cell; nothing hangs on it, for nothing changes on the way."""
        del other
        return own

    def rise(self, other: jax.Array) -> jax.Array:
        """None."""
        return jnp.zeros_like(other)


@tabulated("Periodic boundary of a solver")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Periodic:
    """A ring: beyond the one end comes the other. Both boundaries of a law are periodic, or neither
    is.
    """

    def imposed(self, times: jax.Array) -> jax.Array:
        """No values."""
        return times[:0]

    def outside(self, t: jax.Array, own: jax.Array, other: jax.Array) -> jax.Array:
        """The cell at the other end."""
        del t, own
        return other

    def distance(self, own: jax.Array, other: jax.Array) -> jax.Array:
        """From centre to centre."""
        return (own + other) / 2

    def rise(self, other: jax.Array) -> jax.Array:
        """That of the cell at the other end."""
        return other
