"""Members of plates: which part of a field's value a statement is about.

NumPyro puts the axes of plates in front of a site's value, one for each member. A statement outside
a plate sees that value as it is, and may couple members; inside the plate it is about each member.
A functional that carries a shape says by it which of the two it means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayescons.functionals.abstract import AbstractFunctional, JointFunctional
from bayescons.grids import Grid
from bayescons.refusals import RefusedValue


class FieldAxes(NamedTuple):
    """The axes of a field's value.

    Attributes:
        name: of its site.
        shape: of its value.
        event_dims: axes of one event, the last ones.
        plates: name of each plate around it -> its axis.
    """

    name: str
    shape: tuple[int, ...]
    event_dims: int
    plates: tuple[tuple[str, int], ...]

    def without(self, axes) -> tuple[int, ...]:
        """Its shape without some axes."""
        return tuple(n for a, n in enumerate(self.shape) if a not in axes)

    def member(self, axes) -> FieldAxes:
        """One member of it along some axes."""
        left = [a for a in range(len(self.shape)) if a not in axes]
        plates = tuple((plate, left.index(a)) for plate, a in self.plates if a in left)
        return FieldAxes(self.name, self.without(axes), self.event_dims, plates)

    def dims(self, grid: Grid | None = None) -> list[str]:
        """Names of the axes in a tree: those of the plates, then those of a grid whose shape the
        last ones have, or numbers.
        """
        names = [f"{self.name}_dim_{i}" for i in range(len(self.shape))]
        if grid is not None and self.shape[len(self.shape) - len(grid) :] == grid.shape:
            names[len(names) - len(grid) :] = list(grid)
        for plate, axis in self.plates:
            names[axis] = plate
        return names


class Member(NamedTuple):
    """An axis over which a statement is repeated, once for each member.

    Attributes:
        plate: name of the plate.
        axes: of each of the statement's fields, the axis that counts members; None for a field that
            is the same for all of them.
    """

    plate: str
    axes: tuple[int | None, ...]


def plate_axes(fn, frames: Sequence) -> tuple[tuple[str, int], ...]:
    """Names of the plates around a site and the axes of its value that they count, in order of the
    axes.
    """
    axes = ((frame.name, int(len(fn.batch_shape) + frame.dim)) for frame in frames)
    return tuple(sorted(axes, key=lambda pair: pair[1]))


def members(
    name: str, functional, fields: Sequence[FieldAxes], frames: Sequence
) -> tuple[Member, ...]:
    """Over which axes a statement is repeated.

    Args:
        name: of the statement.
        functional: what it states; a function sees what stands outside the plates around the
            statement, a functional that carries a shape finds it among the axes.
        fields: that it is given.
        frames: plates around it, as NumPyro keeps them.

    Raises:
        ValueError: its fields do not stand in these plates, or have no part of its shape.
    """
    inside: tuple[Member, ...] = ()
    for frame in sorted(frames, key=lambda frame: frame.dim):
        axes = tuple(dict(field.plates).get(frame.name) for field in fields)
        inside += (Member(frame.name, axes),)
        if all(axis is None for axis in axes):
            raise RefusedValue(
                f"{name!r} stands in the plate {frame.name!r}, in which its field does not: it "
                f"would be stated {frame.size} times of one field. Take it out of the plate, and "
                "let its function return a value for each member"
            )
    parts = _parts(functional)
    if parts is None or len(parts) != len(fields):
        return inside
    further = [
        _further(name, part.shape, field, [member.axes[i] for member in inside])
        for i, (part, field) in enumerate(zip(parts, fields, strict=True))
    ]
    sizes = {tuple(f.shape[a] for a in axes) for f, axes in zip(fields, further, strict=True)}
    if len(sizes) > 1:
        raise RefusedValue(
            f"{name!r} is a law of one member each of {', '.join(f.name for f in fields)}, which "
            f"have as many as {' and '.join(map(str, sorted(sizes)))}; state it inside the plate "
            "that they share"
        )
    names = {axis: plate for plate, axis in fields[0].plates}
    return inside + tuple(
        Member(names.get(axes[0], f"axis {axes[0]}"), axes) for axes in zip(*further, strict=True)
    )


def seen(fields: Sequence[FieldAxes], counted: Sequence[Member]) -> list[tuple[int, ...]]:
    """Shapes of what a function is given of each field."""
    return [f.without({m.axes[i] for m in counted}) for i, f in enumerate(fields)]


def outside(name: str, fields: Sequence[FieldAxes], counted: Sequence[Member]) -> str:
    """What a function is given of fields whose plates are not around the statement; nothing where
    all are.
    """
    for i, field in enumerate(fields):
        axes = {member.axes[i] for member in counted}
        left = [(plate, axis) for plate, axis in field.plates if axis not in axes]
        if left:
            plates = " and ".join(repr(plate) for plate, _ in left)
            one = field.without(axes | {axis for _, axis in left})
            return (
                f"{name!r} stands outside the plate {plates}, so its function is given "
                f"{field.name!r} as an array of shape {field.without(axes)}, members included; "
                f"inside it is given one member, of shape {one}"
            )
    return ""


def over_members(function: Callable, axes: Sequence[tuple[int | None, ...]]) -> Callable:
    """A function of one member of each field as a function of the whole fields; the axes of the
    members come first in its value.
    """
    if not axes:
        return function
    first, *rest = axes
    shifted = [
        tuple(
            None if a is None else a - (b is not None and b < a)
            for a, b in zip(each, first, strict=True)
        )
        for each in rest
    ]
    return jax.vmap(over_members(function, shifted), in_axes=first)


def members_of_values(
    name: str, functional, fields: Sequence, sizes: tuple[int, ...]
) -> tuple[Member, ...]:
    """`members` where nothing is known but the fields' values and the sizes of the plates around
    the statement, counted from the last axis of the batch: under plain NumPyro.

    Raises:
        ValueError: several axes could be meant.
    """
    shapes = [jnp.shape(field) for field in fields]
    # NumPyro writes a 1 where no plate stands, and where one of size 1 does; the first is a plate.
    counted = [axis for axis, size in enumerate(sizes) if axis == 0 or size != 1]
    unclear = [
        axis
        for axis, size in enumerate(sizes)
        if axis and size == 1 and any(shape[axis : axis + 1] == (1,) for shape in shapes)
    ]
    if unclear or any(_places(shape, sizes) != [0] for shape in shapes if counted):
        raise RefusedValue(
            f"{name!r} stands in plates of sizes {sizes}, and which axes of its field of shape "
            f"{shapes[0]} they count cannot be told under plain NumPyro. Read the program with "
            "bc.exact(program), or with bc.soft(program, scale)"
        )
    plates = tuple((f"axis {axis}", axis) for axis in counted)
    known = [FieldAxes(name, shape, 0, plates) for shape in shapes]
    parts = _parts(functional)
    if parts is not None:
        known = [
            field._replace(event_dims=len(part.shape))
            for field, part in zip(known, parts, strict=True)
        ]
    frames = [_Frame(plate, axis - len(sizes), sizes[axis]) for plate, axis in plates]
    return members(name, functional, known, frames)


class _Frame(NamedTuple):
    name: str
    dim: int
    size: int


def _places(shape: tuple, sizes: tuple) -> list[int]:
    """Where in a shape the sizes of plates fit; a 1 behind the first fits everywhere."""
    return [
        k
        for k in range(len(shape) - len(sizes) + 1)
        if sizes[0] == shape[k]
        and all(size in (1, n) for size, n in zip(sizes, shape[k:], strict=False))
    ]


def _parts(functional) -> tuple | None:
    """The functionals of each field, where they carry shapes."""
    if isinstance(functional, JointFunctional):
        return tuple(functional.parts)
    return (functional,) if isinstance(functional, AbstractFunctional) else None


def _further(name: str, shape: tuple, field: FieldAxes, counted: list) -> tuple[int, ...]:
    """Axes over which a functional of this shape is repeated, beside those already counted."""
    visible = [a for a in range(len(field.shape)) if a not in counted]
    plates = {axis for _, axis in field.plates}
    event = len(field.shape) - field.event_dims
    for own in (
        visible,
        [a for a in visible if a not in plates],
        [a for a in visible if a >= event],
    ):
        if tuple(field.shape[a] for a in own) == tuple(shape):
            return tuple(a for a in visible if a not in own)
    whole = tuple(field.shape[a] for a in visible)
    one = tuple(field.shape[a] for a in visible if a not in plates)
    raise RefusedValue(
        f"the functional of {name!r} acts on fields of shape {tuple(shape)}; its field has shape "
        f"{one}{f', or {whole} with its plates' if whole != one else ''}. Build the functional on "
        "the field's grid"
    )
