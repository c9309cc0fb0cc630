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
from bayescons.programs.members import FieldAxes, Member, over_members
from bayescons.programs.statements import FunctionalObservation, functional_of
from bayescons.refusals import RefusedValue


class Layout(NamedTuple):
    """How fields that are tied together are laid out: one field as it is; several as a vector that
    holds them end to end, one for each point of the plates that they share.

    Attributes:
        names: of the fields.
        shapes: of their values, plates included.
        plates: names of the plates that they share, the first axes of all of them.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    plates: tuple[str, ...]

    @classmethod
    def of(cls, fields: Sequence[FieldAxes]) -> Layout:
        """The layout of these fields."""
        shared = []
        if len(fields) > 1:
            for axis in range(min(len(field.shape) for field in fields)):
                names = {dict((a, n) for n, a in field.plates).get(axis) for field in fields}
                if len(names) > 1 or None in names:
                    break
                shared.append(names.pop())
        return cls(tuple(f.name for f in fields), tuple(f.shape for f in fields), tuple(shared))

    @property
    def name(self) -> str:
        """The fields' names, joined."""
        return "_".join(self.names)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the one array."""
        if len(self.shapes) == 1:
            return self.shapes[0]
        lead = len(self.plates)
        return (*self.shapes[0][:lead], sum(math.prod(s[lead:]) for s in self.shapes))

    def split(self, joint) -> tuple:
        """The fields in the one array, any number of axes in front."""
        if len(self.shapes) == 1:
            return (joint,)
        lead = len(self.plates)
        return tuple(split_fields(joint, [shape[lead:] for shape in self.shapes]))

    def fields(self, joint) -> dict:
        """The fields in the one array, by name."""
        return dict(zip(self.names, self.split(joint), strict=True))

    def functional(self, known: FunctionalObservation, fields: tuple[str, ...]) -> SingleFunctional:
        """What a statement about some of the fields says of the one array.

        Raises:
            ValueError: it is not affine, or of another shape.
        """
        places = tuple(self.names.index(field) for field in fields)
        if len(self.shapes) == 1:
            return self._of_one(known)
        lead = len(self.plates)
        counted = [member.axes for member in known.members]
        if any(len(set(axes)) > 1 or axes[0] is None or axes[0] >= lead for axes in counted):
            return self._of_whole(known, places)
        axes = tuple(axes[0] for axes in counted)
        inner = Layout(
            self.names,
            tuple(_without(shape, axes) for shape in self.shapes),
            tuple(p for i, p in enumerate(self.plates) if i not in axes),
        )
        part = inner._joint(known, places)
        return mapped(part, axes, self.shape, tuple(m.plate for m in known.members))

    def _of_one(self, known: FunctionalObservation) -> SingleFunctional:
        axes = tuple(member.axes[0] for member in known.members)
        part = functional_of(known.name, known.functional, _without(self.shapes[0], axes))
        return mapped(part, axes, self.shapes[0], tuple(m.plate for m in known.members))

    def _joint(self, known: FunctionalObservation, places: tuple[int, ...]) -> SingleFunctional:
        """The functional of fields that no plate of the statement counts any more."""
        functional = known.functional
        if self.plates or not isinstance(functional, JointFunctional | AbstractFunctional):
            return self._traced(known, places, ())
        parts = functional.parts if isinstance(functional, JointFunctional) else (functional,)
        whole = tuple(
            functional_of(known.name, part, self.shapes[i])
            for part, i in zip(parts, places, strict=True)
        )
        return OnJointVector(whole, places, self.shapes)

    def _of_whole(self, known: FunctionalObservation, places: tuple[int, ...]) -> SingleFunctional:
        """Members are counted along other axes in each field: one function of all fields."""
        return self._traced(known, places, known.members)

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


def _without(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for a, n in enumerate(shape) if a not in axes)
