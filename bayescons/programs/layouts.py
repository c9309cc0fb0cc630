"""Several fields laid out as one array: how a statement about some of them becomes a functional of
all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from bayescons.functionals.abstract import AbstractFunctional, JointFunctional, SingleFunctional
from bayescons.functionals.bundles import Bundle, OnBundle
from bayescons.functionals.functions import (
    FunctionFunctional,
    NotProvenAffineError,
    TracedFunction,
    affine,
)
from bayescons.functionals.mapped import mapped
from bayescons.programs.members import FieldAxes, Member, members, over_members
from bayescons.programs.statements import (
    FunctionalObservation,
    functional_of,
    refuse_no_functional,
)
from bayescons.refusals import RefusedValue


class Layout(NamedTuple):
    """How fields that are tied together are laid out: one field as it is; several as a `Bundle`.

    Attributes:
        axes: of the values of the fields, plates included.
        shared: axes that all of several fields share, each by its place in every field.
    """

    axes: tuple[FieldAxes, ...]
    shared: tuple[tuple[int, ...], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the fields."""
        return tuple(axes.name for axes in self.axes)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of their values."""
        return tuple(axes.shape for axes in self.axes)

    @property
    def bundle(self) -> Bundle:
        """How several fields are one array."""
        return Bundle(self.shapes, self.shared)

    @property
    def name(self) -> str:
        """The fields' names, joined."""
        return "_".join(self.names)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the one array."""
        return self.shapes[0] if len(self.axes) == 1 else self.bundle.shape

    def split(self, joint) -> tuple:
        """The fields in the one array, any number of axes in front."""
        return (joint,) if len(self.axes) == 1 else tuple(self.bundle.split(joint))

    def fields(self, joint) -> dict:
        """The fields in the one array, by name."""
        return dict(zip(self.names, self.split(joint), strict=True))

    @property
    def end_to_end(self) -> Layout:
        """The same fields sharing no axes but those of plates."""
        places = [{axis for _, axis in field.plates} for field in self.axes]
        kept = (
            axes
            for axes in self.shared
            if all(axis in own for axis, own in zip(axes, places, strict=True))
        )
        return Layout(self.axes, tuple(kept))

    def member(self, along: tuple[int, ...]) -> Layout:
        """One member of all fields along some of the axes of the one array."""
        if len(self.axes) == 1:
            return Layout((self.axes[0].member(along),))
        gone = [{self.shared[a][i] for a in along} for i in range(len(self.axes))]
        left = [axes for a, axes in enumerate(self.shared) if a not in along]
        shared = (
            tuple(
                place - sum(g < place for g in own) for place, own in zip(axes, gone, strict=True)
            )
            for axes in left
        )
        pairs = zip(self.axes, gone, strict=True)
        return Layout(tuple(field.member(own) for field, own in pairs), tuple(shared))

    def functional(self, known: FunctionalObservation, fields: tuple[str, ...]) -> SingleFunctional:
        """What a statement about some of the fields says of the one array.

        Raises:
            ValueError: it is not affine, or of another shape.
        """
        places = tuple(self.names.index(field) for field in fields)
        along = tuple(self._counting(places, member.axes) for member in known.members)
        if None in along:  # members are counted along axes that not all fields share
            return self._traced(known, places, known.members)
        part = self.member(along)._joint(known, places)
        return mapped(part, along, self.shape, tuple(m.plate for m in known.members))

    def _counting(self, places: tuple[int, ...], axes: tuple[int | None, ...]) -> int | None:
        """The axis of the one array that counts members of some fields."""
        if len(self.axes) == 1:
            return axes[0]
        alike = (tuple(shared[i] for i in places) == axes for shared in self.shared)
        return next((a for a, same in enumerate(alike) if same), None)

    def about(self, name: str, functional, fields: tuple[str, ...]) -> SingleFunctional:
        """What a functional of some of the fields, stated outside all plates, says of the one
        array. Raises what `functional` raises.
        """
        refuse_no_functional(name, functional)
        known = FunctionalObservation(name, functional, (), (), None, True)
        axes = [self.axes[self.names.index(field)] for field in fields]
        known.members = members(name, functional, axes, ())
        try:
            return self.functional(known, fields)
        except Exception as error:
            shapes = [field.shape for field in axes]
            error.add_note(f"the function of {name!r} was given arrays of shapes {shapes}")
            raise

    def _joint(self, known: FunctionalObservation, places: tuple[int, ...]) -> SingleFunctional:
        """The functional of fields that no plate of the statement counts any more."""
        functional = known.functional
        if len(self.axes) == 1:
            return functional_of(known.name, functional, self.shape)
        if not isinstance(functional, JointFunctional | AbstractFunctional):
            return self._traced(known, places, ())
        parts = functional.parts if isinstance(functional, JointFunctional) else (functional,)
        whole = tuple(
            functional_of(known.name, part, self.shapes[i])
            for part, i in zip(parts, places, strict=True)
        )
        return OnBundle(whole, places, self.bundle)

    def _traced(
        self, known: FunctionalObservation, places: tuple[int, ...], counted: Sequence[Member]
    ) -> FunctionFunctional:
        function = over_members(
            lambda *u: jnp.asarray(known.functional(*u)), [member.axes for member in counted]
        )

        def of_joint(joint):
            fields = self.split(joint)
            return function(*(fields[i] for i in places))

        try:
            traced = TracedFunction.of(of_joint, [self.shape])
            found = FunctionFunctional(traced.equations, self.shape, traced.parameters)
            return affine(found, known.name)
        except (RefusedValue, NotProvenAffineError) as error:
            raise type(error)(f"{known.name!r}: {error}") from None
