"""Several fields laid out as one array: how a statement about some of them becomes a functional of
all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from bayescons.functionals.abstract import AbstractFunctional, JointFunctional, SingleFunctional
from bayescons.functionals.functions import (
    FunctionFunctional,
    NotProvenAffineError,
    TracedFunction,
    affine,
)
from bayescons.functionals.joint import OnJointVector, split_fields
from bayescons.functionals.mapped import mapped
from bayescons.programs.members import FieldAxes, Member, members, over_members
from bayescons.programs.statements import (
    FunctionalObservation,
    functional_of,
    refuse_no_functional,
)
from bayescons.refusals import RefusedValue


class Layout(NamedTuple):
    """How fields that are tied together are laid out: one field as it is; several as a vector that
    holds them end to end, one for each point of the plates that they share.

    Attributes:
        axes: of the values of the fields, plates included.
        plates: whether fields lie end to end for each point of the plates that they share, or as a
            whole.
    """

    axes: tuple[FieldAxes, ...]
    plates: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Of the fields."""
        return tuple(axes.name for axes in self.axes)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of their values."""
        return tuple(axes.shape for axes in self.axes)

    @property
    def lead(self) -> int:
        """Number of plates that several fields share, the first axes of all of them."""
        if len(self.axes) == 1 or not self.plates:
            return 0
        shared = 0
        for axis in range(min(map(len, self.shapes))):
            plates = {dict((a, n) for n, a in axes.plates).get(axis) for axes in self.axes}
            if len(plates) > 1 or None in plates:
                break
            shared += 1
        return shared

    @property
    def name(self) -> str:
        """The fields' names, joined."""
        return "_".join(self.names)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the one array."""
        if len(self.axes) == 1:
            return self.shapes[0]
        lead = self.lead
        return (*self.shapes[0][:lead], sum(math.prod(s[lead:]) for s in self.shapes))

    def split(self, joint) -> tuple:
        """The fields in the one array, any number of axes in front."""
        if len(self.axes) == 1:
            return (joint,)
        return tuple(split_fields(joint, [shape[self.lead :] for shape in self.shapes]))

    def fields(self, joint) -> dict:
        """The fields in the one array, by name."""
        return dict(zip(self.names, self.split(joint), strict=True))

    def functional(self, known: FunctionalObservation, fields: tuple[str, ...]) -> SingleFunctional:
        """What a statement about some of the fields says of the one array.

        Raises:
            ValueError: it is not affine, or of another shape.
        """
        places = tuple(self.names.index(field) for field in fields)
        counted = [member.axes for member in known.members]
        common = len(self.shape) if len(self.axes) == 1 else self.lead
        if any(len(set(axes)) > 1 or axes[0] is None or axes[0] >= common for axes in counted):
            # Members are counted along other axes in each field: one function of all fields.
            return self._traced(known, places, known.members)
        along = tuple(axes[0] for axes in counted)
        one = Layout(tuple(axes.member(along) for axes in self.axes))
        part = one._joint(known, places)
        return mapped(part, along, self.shape, tuple(m.plate for m in known.members))

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
        if self.lead or not isinstance(functional, JointFunctional | AbstractFunctional):
            return self._traced(known, places, ())
        parts = functional.parts if isinstance(functional, JointFunctional) else (functional,)
        whole = tuple(
            functional_of(known.name, part, self.shapes[i])
            for part, i in zip(parts, places, strict=True)
        )
        return OnJointVector(whole, places, self.shapes)

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
