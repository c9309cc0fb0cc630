"""Laws about several variables, or one of them, as functionals of the array of all: what an
equation says, with its value, its scale and where it is stated.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.functionals import FunctionFunctional, OnBundle
from bayescons.gaussians.gaussian import Gaussian
from bayescons.labelled.expressions import Number
from bayescons.labelled.joint import JointPredictions, arrays_of
from bayescons.labelled.labels import listed
from bayescons.labelled.laws import Equation, Law
from bayescons.labelled.predictions import LARGEST
from bayescons.labelled.stating import Stated, stated
from bayescons.labelled.terms import STEPS, Setting, Term, combined, term
from bayescons.labelled.units import added
from bayescons.refusals import RefusedValue


@dataclasses.dataclass(frozen=True, eq=False)
class StatedEquation(Stated):
    """A law across variables as it is stated of their array.

    Attributes:
        itself: the law where `functional` is its linearisation; otherwise None.
    """

    itself: Any = None

    def values(self, belief: Gaussian) -> np.ndarray:
        """What the belief's mean says of the law itself."""
        found = (self.itself or self.functional)(belief.mean)
        return np.where(self.void, np.nan, np.asarray(found))


def stated_jointly(law: Equation | Law, known: JointPredictions) -> Stated:
    """A law about one variable or several as a functional of the array of all."""
    return _of_one(law, known) if isinstance(law, Law) else _equation(law, known)


def _of_one(law: Law, known: JointPredictions) -> Stated:
    """A law about one variable."""
    names = [k.template.name for k in known.each]
    if law.variable is None and len(names) > 1:
        raise RefusedValue(
            f"{law.name!r} does not say which of {', '.join(names)} it is about. Write "
            f"labelled.{law.kind}(...).of({names[0]!r}), or an equation: labelled.law('NAME: ...')"
        )
    if law.variable not in (None, *names):
        raise RefusedValue(
            f"{law.name!r} is about {law.variable!r}, which is none of the variables "
            f"{', '.join(names)}"
        )
    number = 0 if law.variable is None else names.index(law.variable)
    fact = stated(law, known.each[number])
    functional = OnBundle((fact.functional,), (number,), known.bundle)
    return dataclasses.replace(fact, functional=functional)


def _equation(law: Equation, known: JointPredictions) -> StatedEquation:
    """A law across variables as a functional of their array.

    Raises:
        ValueError: names that are no arrays, axes and units that do not fit, a law without
            unknowns, or values that vary along more axes than what they are the value of.
    """
    setting = known.setting
    _require_names(law, setting)
    left, right = (term(side, setting) for side in (law.parsed.left, law.parsed.right))
    if left.degree == 0 and right.degree > 0:
        left, right = right, left
    unit = left.units
    if any(_bare(side) for side in (law.parsed.left, law.parsed.right)):
        right = dataclasses.replace(right, units=unit)
    if left.degree == 0:
        names = ", ".join(setting.unknowns)
        raise RefusedValue(
            f"{law.name!r} is about no unknown variable; these are {names}, by mean=(...)"
        )
    both = combined("-", left, right, dataclasses.replace(law.parsed.left, text=law.text))
    names = tuple(axis for axis in setting.axes if axis in both.places)
    shape = tuple(_length(axis, both, setting) for axis in names)
    if right.degree == 0:
        beyond = [axis for axis in right.places if axis not in left.places]
        if beyond:
            raise RefusedValue(
                f"the value of {law.name!r} varies along {beyond[0]!r}, and what it is the value "
                f"of does not. Sum or average it, as in average(E, {beyond[0]})"
            )
    of, value = (left, right) if right.degree == 0 else (both, None)
    void = np.asarray(~_spread_out(both.domain, shape, setting, names))
    inside = jnp.asarray(~void)

    def function(array):
        fields = known.bundle.split(array)
        return jnp.where(inside, jnp.reshape(of.value(fields), shape), 0.0)

    notes = list(dict.fromkeys(both.notes))
    functional = FunctionFunctional.of(function, known.bundle.shape)
    itself = None
    if of.degree > 1:
        itself, functional = functional, _linearised(functional, known)
        notes.append(
            'linearised at the belief\'s mean, as unknowns are multiplied in it; "after" is of '
            "the law itself"
        )
    if void.any():
        notes.append(
            f"{int(void.sum())} rows rest on what is masked or not known, and nothing is "
            "stated there"
        )
    value = (
        np.zeros(shape)
        if value is None
        else _spread_out(np.asarray(value.value(())), shape, setting, names)
    )
    scale, note = _scale(law, both, setting, shape, names)
    notes += [note] if note else []
    _refuse_large(law, value)
    names = tuple(f"{axis}_step" if both.places[axis] == STEPS else axis for axis in names)
    return StatedEquation(
        law=law,
        functional=functional,
        value=np.where(void, 0.0, value),
        scale=scale,
        total=1.0,
        void=void,
        told="; ".join(notes),
        units=unit,
        names=names,
        about=f"{law.parsed.left.text} = {law.parsed.right.text}",
        itself=itself,
    )


def _bare(side) -> bool:
    """Whether a side is one number without a unit, which has the other side's."""
    inner = side.parts[0] if len(side.parts) == 1 and isinstance(side.parts[0], Number) else side
    return isinstance(inner, Number) and inner.units is None


def _require_names(law: Equation, setting: Setting) -> None:
    for name in arrays_of(law):
        if name not in setting.dataset.variables:
            raise RefusedValue(
                f"{law.name!r} names {name!r}, which is no array; there is "
                f"{listed(setting.dataset)}"
            )
    beyond = [axis for axis in law.axes if axis not in setting.dataset.dims]
    if beyond:
        raise RefusedValue(
            f"{law.name!r} is along {beyond[0]!r}, which is no axis; these are "
            f"{', '.join(map(str, setting.dataset.dims))}"
        )


def _length(axis: str, both: Term, setting: Setting) -> int:
    return setting.dataset.sizes[axis] - (both.places[axis] == STEPS)


def _spread_out(array, shape, setting: Setting, names) -> np.ndarray:
    """An array with all axes, over those of the law's values."""
    lengths = [array.shape[setting.place(axis)] for axis in names]
    return np.broadcast_to(np.reshape(array, lengths), shape)


def _linearised(law: FunctionFunctional, known: JointPredictions) -> FunctionFunctional:
    """f(m) + f'(m)(v - m)."""
    mean = known.belief.mean

    def function(array):
        value, tangent = jax.jvp(law, (mean,), (array - mean,))
        return value + tangent

    return FunctionFunctional.of(function, known.bundle.shape)


def _scale(law: Equation, both: Term, setting: Setting, shape, names):
    """Standard deviations of the values, None for an exact law; and a sentence on their units."""
    if law.parsed.scale is None:
        return None, None
    told = f"the scale of {law.name!r}"
    scale = term(law.parsed.scale, setting)
    if scale.degree:
        raise RefusedValue(f"{told} holds an unknown variable; give what is known")
    beyond = [a for a in scale.places if both.places.get(a) != scale.places[a]]
    if beyond:
        raise RefusedValue(f"{told} varies along {beyond[0]!r}, and the law's values do not")
    note = (
        None if _bare(law.parsed.scale) else added(f"{told} and its value", both.units, scale.units)
    )
    values = _spread_out(scale.constant(), shape, setting, names)
    inside = _spread_out(both.domain, shape, setting, names)
    if not ((values[inside] >= 0) & (values[inside] < LARGEST)).all():
        raise RefusedValue(
            f"{told} must be standard deviations, zero or more and below {LARGEST:g}, wherever the "
            f"law is stated; the smallest is {np.nanmin(values):g}"
        )
    return np.where(inside, values, 1.0), note


def _refuse_large(law: Equation, value: np.ndarray) -> None:
    if np.abs(value).max(initial=0.0) > LARGEST:
        raise RefusedValue(
            f"the numbers overflow: the value of {law.name!r} is beyond {LARGEST:g}. Give it in "
            "other units"
        )
