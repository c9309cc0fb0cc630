"""Inequalities: what a linear functional of a field is at least, or at most, as values that can be
stated together with `&`.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.arrays import finite
from bayescons.descriptions import Description, counted, described, span, words
from bayescons.functionals.abstract import Leaf, SingleFunctional, static
from bayescons.functionals.products import TensorProduct
from bayescons.functionals.stack import Stack
from bayescons.grids import Grid
from bayescons.refusals import RefusedType, RefusedValue


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Inequality:
    """What is known: sign * (functional(field) - bound) >= 0, in every row.

    Attributes:
        functional: linear functional of a field.
        bound: of the shape of the functional's value, in its unit.
        sign: +1 where the bound is a lower one, -1 where it is an upper one.
        name: what error messages call it.

    `a & b` states both.
    """

    functional: SingleFunctional
    bound: Leaf
    sign: int = static()
    name: str = static()

    @property
    def members(self) -> tuple[Inequality, ...]:
        """Itself alone."""
        return (self,)

    def __and__(self, other: Inequality | Inequalities) -> Inequalities:
        """Both together."""
        return Inequalities((*self.members, *other.members))

    def description(self) -> Description:
        """What is at least, or at most, what."""
        return Description(f"Inequality {self.name!r}", (("states", self.told),))

    @property
    def told(self) -> str:
        """The inequality."""
        relation = "at least" if self.sign > 0 else "at most"
        return f"{words(self.functional)}: {relation} {span(self.bound)}"

    def labels(self) -> list[str]:
        """Names of its rows."""
        return [f"{self.name}{label}" for label in self.functional.labels()]


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Inequalities:
    """Several inequalities on one field."""

    members: tuple[Inequality, ...]

    def __and__(self, other: Inequality | Inequalities) -> Inequalities:
        """All together."""
        return Inequalities((*self.members, *other.members))

    def description(self) -> Description:
        """A row for each."""
        told = tuple((member.name, member.told) for member in self.members)
        return Description(f"{counted(len(told), 'inequality statement')} on one field", told)

    @property
    def functional(self) -> Stack:
        """Their functionals, one under the other."""
        return Stack(tuple(m.functional for m in self.members))


def at_least(functional, bound: ArrayLike, *, name: str = "at least") -> Inequality:
    """F u >= bound.

    Args:
        functional: from `bayescons.functionals`; a function of the field through
            `bayescons.functionals.functional(f, grid)`.
        bound: a number, or one for each row, in the shape of the functional's value.
        name: what error messages call it.

    Raises:
        TypeError: for what is no functional.
        ValueError: for a bound of the wrong shape or with NaN.
    """
    return _inequality(functional, bound, 1, name)


def at_most(functional, bound: ArrayLike, *, name: str = "at most") -> Inequality:
    """F u <= bound. Arguments and errors as for `at_least`."""
    return _inequality(functional, bound, -1, name)


def nonnegative(grid: Grid, *, name: str = "nonnegative") -> Inequality:
    """The field is nowhere negative: u >= 0 at every point of the grid."""
    return at_least(_everywhere(grid), 0.0, name=name)


def increasing(grid: Grid, axis: str = "x", *, name: str = "increasing") -> Inequality:
    """u_{i+1} - u_i >= 0 between all neighbours along an axis."""
    return at_least(_differences(grid, axis), 0.0, name=name)


def decreasing(grid: Grid, axis: str = "x", *, name: str = "decreasing") -> Inequality:
    """u_{i+1} - u_i <= 0 between all neighbours along an axis."""
    return at_most(_differences(grid, axis), 0.0, name=name)


def _inequality(functional, bound, sign: int, name: str) -> Inequality:
    if not isinstance(functional, SingleFunctional):
        raise RefusedType(
            f"{name!r} needs one functional of the field; got {type(functional).__name__}. Wrap a "
            "function with bc.functional(function, grid), and state several inequalities one by "
            "one, joined by &"
        )
    shape = functional.value_shape
    bound = finite(f"the bound of {name!r}", jnp.asarray(bound, jnp.result_type(float)))
    if bound.shape not in ((), shape):
        raise RefusedValue(
            f"the bound of {name!r} must be a number or have the shape {shape} of its functional's "
            f"value; got {bound.shape}"
        )
    bound = jnp.broadcast_to(bound, shape) - functional.offset
    if not math.prod(shape):
        raise RefusedValue(f"{name!r} has no rows: its functional's value has the shape {shape}")
    return Inequality(functional, bound, sign, name)


def _everywhere(grid: Grid) -> TensorProduct:
    return TensorProduct.on(grid, (None,) * len(grid), dict(grid), "u")


def _differences(grid: Grid, axis: str) -> TensorProduct:
    """u_{i+1} - u_i; a row is named after the point halfway."""
    at = grid.axis(axis)
    grid.require_line(axis, "an order", "Observe a function of the points that are meant instead")
    if len(grid[axis]) < 2:
        raise RefusedValue(
            f"an order along {axis!r} needs two points or more; the grid has one there"
        )
    rows = tuple(
        np.diff(np.eye(len(grid[axis])), axis=0) if a == at else None for a in range(len(grid))
    )
    halfway = (grid[axis][1:] + grid[axis][:-1]) / 2
    about = f"difference of neighbours along {axis}"
    return TensorProduct.on(grid, rows, {**grid, axis: halfway}, about)
