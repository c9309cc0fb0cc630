"""The functional of every member of a plate of fields."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.arrays import over_batch
from bayescons.descriptions import described
from bayescons.functionals.abstract import SingleFunctional, static


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mapped(SingleFunctional):
    """One functional of every member along some axes of a field, G u_i + c for all i: those axes
    become the first ones of the value.

    Attributes:
        part: G, of one member.
        axes: along which members are counted, in the order that they have in the value.
        shape: of the whole field.
        plates: names of these axes, for row labels.
    """

    part: SingleFunctional
    axes: tuple[int, ...] = static()
    shape: tuple[int, ...] = static()
    plates: tuple[str, ...] = static()

    @property
    def about(self) -> str:
        """That of one member, and what counts them."""
        return f"{self.part.told}, for each of {' and '.join(self.plates) or 'the members'}"

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Members, then the value of one."""
        return (*(self.shape[a] for a in self.axes), *self.part.value_shape)

    @property
    def offset(self):
        """That of one member, the same for all."""
        return self.part.offset

    @property
    def grid_names(self) -> tuple[str, ...]:
        """Those of one member."""
        return self.part.grid_names

    @property
    def grid_points(self) -> tuple:
        """Those of one member."""
        return self.part.grid_points

    @property
    def identity_axes(self) -> dict[int, int]:
        """The axes of the members, and those of each."""
        rest = [a for a in range(len(self.shape)) if a not in self.axes]
        own = {rest[a]: len(self.axes) + i for a, i in self.part.identity_axes.items()}
        return {axis: i for i, axis in enumerate(self.axes)} | own

    def __call__(self, field) -> jax.Array:
        """The part's value of every member."""
        return over_batch(self.part, len(self.axes))(self.members_first(field))

    def linear(self, field) -> jax.Array:
        """G u_i."""
        return over_batch(self.part.linear, len(self.axes))(self.members_first(field))

    def adjoint(self, value) -> jax.Array:
        """G' v_i."""
        lead = range(len(self.axes))
        return jnp.moveaxis(over_batch(self.part.adjoint, len(self.axes))(value), lead, self.axes)

    def members_first(self, field) -> jax.Array:
        """A field, any number of axes in front of it, with the axes of the members before its
        others.
        """
        front = jnp.ndim(field) - len(self.shape)
        places = range(front, front + len(self.axes))
        return jnp.moveaxis(field, [front + a for a in self.axes], places)

    def labels(self) -> list[str]:
        """Which member, then which of its rows: "[fields=2, t=0.05]"."""
        sizes = [self.shape[a] for a in self.axes]
        which = (
            ", ".join(f"{n}={i}" for n, i in zip(self.plates, index, strict=True))
            for index in np.ndindex(*sizes)
        )
        own = [label.removeprefix("[").removesuffix("]") for label in self.part.labels()]
        return [f"[{', '.join(filter(None, (member, row)))}]" for member in which for row in own]


def mapped(
    part: SingleFunctional, axes: tuple[int, ...], shape: tuple[int, ...], plates: tuple[str, ...]
) -> SingleFunctional:
    """`Mapped`; the functional itself where there are no axes."""
    return Mapped(part, axes, shape, plates) if axes else part
