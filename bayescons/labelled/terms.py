"""What the parts of a law mean, of the arrays of a dataset: over which axes they are, where they
are known, in which unit, and their value for given fields.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from bayescons.axes import Index, Ring
from bayescons.functionals.conservation import weights_of
from bayescons.labelled.dimensions import FINE, UNITS, Dimension
from bayescons.labelled.expressions import (
    Along,
    Binary,
    Converted,
    Expression,
    Name,
    Negative,
    Number,
    Power,
)
from bayescons.labelled.field_values import field_values
from bayescons.labelled.labels import Labels, found, labels, listed
from bayescons.labelled.laws import Law
from bayescons.labelled.predictions import Predictions
from bayescons.labelled.summing import measure_of
from bayescons.labelled.units import added, as_differences, conversion, multiplied, raised
from bayescons.refusals import RefusedValue

POINTS, STEPS = "points", "steps"
SECONDS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}
FINER = {"milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}


@dataclasses.dataclass(frozen=True, eq=False)
class Term:
    """What a part of a law means.

    Attributes:
        value: of the unknown fields, in their order: an array with all axes of the setting, of
            length one along those that it has not.
        places: the axes that it has, and whether it is at their points or at the steps between
            them.
        domain: where all that it is made of is known, as `value` is laid out.
        touched: where some of it is.
        degree: in the unknowns; 2 for all that is not affine.
        units: None where they are not known, "" for a pure number.
        notes: what was decided, or could not be compared.
    """

    value: Callable[[Sequence[Any]], Any]
    places: Mapping[str, str]
    domain: np.ndarray
    touched: np.ndarray
    degree: int
    units: str | None
    notes: tuple[str, ...] = ()

    def constant(self) -> np.ndarray:
        """The value of what holds no unknown, NaN where it is not known."""
        return np.where(self.domain, np.asarray(self.value(())), np.nan)


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """The arrays that laws are about.

    Attributes:
        dataset: all arrays.
        unknowns: what is believed about some of them, by their names.
        axes: all axes of all arrays that the laws name, in one order for all.
        rings: and
        cells: as of `predictions`, of axes that only coefficients have.
    """

    dataset: Any
    unknowns: Mapping[str, Predictions]
    axes: tuple[str, ...]
    rings: Mapping[str, Any]
    cells: Mapping[str, Any]

    def about(self, name: str) -> Labels:
        """What the axes of an array are."""
        if name in self.unknowns:
            return self.unknowns[name]
        array = found(self.dataset, name, "law")
        rings, cells = (
            {axis: given for axis, given in each.items() if axis in array.dims}
            for each in (self.rings, self.cells)
        )
        return labels(self.dataset, {"mean": name}, (), array.dims, None, rings, cells)

    def laid_out(self, array, names: Sequence[str]):
        """An array over some axes, with all."""
        order = [names.index(name) for name in self.axes if name in names]
        lengths = dict(zip(names, array.shape, strict=True))
        return array.transpose(order).reshape([lengths.get(name, 1) for name in self.axes])

    def place(self, axis: str) -> int:
        """Of an axis among all."""
        return self.axes.index(axis)

    @property
    def anywhere(self) -> np.ndarray:
        """A domain without bounds."""
        return np.ones((1,) * len(self.axes), bool)


@functools.singledispatch
def term(expression: Expression, setting: Setting) -> Term:
    """What a part of a law means.

    Raises:
        ValueError: arrays that are not there, axes and units that do not fit, and whatever cannot
            be summed over.
    """
    raise NotImplementedError(type(expression).__name__)


@term.register
def _(expression: Number, setting: Setting) -> Term:
    value = np.full((1,) * len(setting.axes), expression.value)
    units = expression.units or ""
    return Term(lambda _: value, {}, setting.anywhere, setting.anywhere, 0, units)


@term.register
def _(expression: Name, setting: Setting) -> Term:
    name = expression.name
    if name not in setting.dataset.variables:
        raise RefusedValue(
            f"a law names {name!r}, which is no array; there is {listed(setting.dataset)}"
        )
    about = setting.about(name)
    names = about.grid.names if about.dimensions else ()
    places = dict.fromkeys(names, POINTS)
    if name in setting.unknowns:
        number = [*setting.unknowns].index(name)
        mask = setting.unknowns[name].mask
        domain = setting.anywhere if mask is None else setting.laid_out(mask, names)
        return Term(
            lambda fields: setting.laid_out(fields[number], names),
            places,
            domain,
            domain,
            1,
            about.units,
        )
    values = setting.laid_out(field_values(about, name, "coefficients", None), names)
    known = np.isfinite(values)
    domain = setting.anywhere if known.all() else known
    values = np.where(known, values, 0.0)
    return Term(lambda _: values, places, domain, domain, 0, about.units)


@term.register
def _(expression: Negative, setting: Setting) -> Term:
    inner = term(expression.of, setting)
    return dataclasses.replace(inner, value=lambda fields: -inner.value(fields))


@term.register
def _(expression: Power, setting: Setting) -> Term:
    inner, exponent = term(expression.of, setting), expression.exponent
    _refuse_zeros(inner, expression.of, exponent < 0)
    degree = 0 if inner.degree == 0 else (1 if exponent == 1 else 2)
    value = _within(inner, lambda base: base**exponent)
    return dataclasses.replace(
        inner, value=value, degree=degree, units=raised(inner.units, exponent)
    )


@term.register
def _(expression: Converted, setting: Setting) -> Term:
    inner = term(expression.of, setting)
    factor = conversion(f"{expression.of.text!r}", inner.units, expression.units)
    return dataclasses.replace(
        inner, value=lambda fields: factor * inner.value(fields), units=expression.units
    )


@term.register
def _(expression: Binary, setting: Setting) -> Term:
    left, right = term(expression.left, setting), term(expression.right, setting)
    return combined(expression.sign, left, right, expression)


def combined(sign: str, left: Term, right: Term, expression: Expression) -> Term:
    """Two terms with + - * or / between them.

    Raises:
        ValueError: one is at the points of an axis and the other at its steps; sums of what is in
            other units; a divisor of zero.
    """
    for axis in left.places.keys() & right.places.keys():
        if left.places[axis] != right.places[axis]:
            raise RefusedValue(
                f"in {expression.text!r} one part is at the points of {axis!r} and the other at "
                f"the steps between them, one fewer. Write later(E, {axis}), earlier(E, {axis}) or "
                f"middle(E, {axis}) of what is at points"
            )
    note = None
    if sign in "+-":
        degree = max(left.degree, right.degree)
        note = added(f"the parts of {expression.text!r}", left.units, right.units)
        units = right.units if left.units is None else left.units
    elif sign == "*":
        degree, units = min(left.degree + right.degree, 2), multiplied(left.units, right.units)
    else:
        _refuse_zeros(right, expression, divides=True)
        degree = 2 if right.degree else left.degree
        units = multiplied(left.units, raised(right.units, -1))
        right = dataclasses.replace(right, value=_within(right, lambda divisor: divisor))
    act = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
    }[sign]
    return Term(
        lambda fields: act(left.value(fields), right.value(fields)),
        {**left.places, **right.places},
        left.domain & right.domain,
        left.touched | right.touched,
        degree,
        units,
        (*left.notes, *right.notes, *filter(None, [note])),
    )


def _within(inner: Term, function: Callable) -> Callable:
    """A function of a term, taken of one where there is none of it."""
    if inner.domain.all():
        return lambda fields: function(inner.value(fields))
    around = np if not inner.degree else jnp
    return lambda fields: function(around.where(inner.domain, inner.value(fields), 1.0))


def _refuse_zeros(inner: Term, expression: Expression, divides: bool) -> None:
    if divides and not inner.degree and (inner.constant() == 0).any():
        raise RefusedValue(
            f"{expression.text!r} divides by zero at {int((inner.constant() == 0).sum())} points. "
            "Mask these, ds.where(...), or multiply by the inverse with zeros there"
        )


@term.register
def _(expression: Along, setting: Setting) -> Term:
    inner = term(expression.of, setting)
    for axis in expression.axes:
        if axis not in inner.places:
            has = ", ".join(inner.places) or "no axis"
            raise RefusedValue(
                f"{expression.text!r} is along {axis!r}, and {expression.of.text!r} is over {has}"
            )
    if expression.word in ("integral", "average", "sum"):
        return _summed(expression, inner, setting)
    return _stepped(expression, inner, setting)


def _summed(expression: Along, inner: Term, setting: Setting) -> Term:
    apart = int((inner.touched & ~inner.domain).sum())
    if apart:
        raise RefusedValue(
            f"the parts of {expression.of.text!r} are not known at the same places: at {apart} "
            "points there are some of them and others are masked or NaN, so that what is summed "
            f"there is not clear. Write {expression.word}(E, ...) of each, or mask all alike"
        )
    weights, told, units = _weights(expression, inner, setting)
    over = tuple(setting.place(axis) for axis in expression.axes)
    if not inner.domain.all():
        weights = weights * inner.domain
    domain = inner.domain.any(axis=over, keepdims=True)
    if expression.word == "average":
        whole = np.broadcast_to(weights, np.broadcast_shapes(weights.shape, _shape(inner, setting)))
        size = whole.sum(axis=over, keepdims=True)
        domain = domain & (size > 0)
        weights = weights / np.where(size > 0, size, 1.0)
        units = inner.units
    else:
        units = multiplied(inner.units, *units)
    return Term(
        lambda fields: (inner.value(fields) * weights).sum(axis=over, keepdims=True),
        {axis: place for axis, place in inner.places.items() if axis not in expression.axes},
        domain,
        domain,
        inner.degree,
        units,
        (*inner.notes, *filter(None, [told and f"{expression.text}: {told}"])),
    )


def _shape(inner: Term, setting: Setting) -> tuple[int, ...]:
    """Of a term, that of the arrays it is made of."""
    sizes = setting.dataset.sizes
    return tuple(
        1 if n not in inner.places else sizes[n] - (inner.places[n] == STEPS) for n in setting.axes
    )


def _weights(expression: Along, inner: Term, setting: Setting):
    """With which weights a part is summed up, how they were found, and their units."""
    if expression.word == "sum":
        return np.ones((1,) * len(setting.axes)), "", []
    stepped = [axis for axis in expression.axes if inner.places[axis] == STEPS]
    if stepped:
        raise RefusedValue(
            f"{expression.text!r} is along {stepped[0]!r}, and {expression.of.text!r} is at the "
            "steps between its points, which have no measure. Write sum(E, axis), or sum first"
        )
    arrays = [e.name for e in expression.of.every() if isinstance(e, Name)]
    covering = [n for n in arrays if {*expression.axes} <= {*setting.dataset[n].dims}]
    covering.sort(key=lambda name: name not in setting.unknowns)
    if not covering:
        raise RefusedValue(
            f"{expression.text!r} is over {', '.join(expression.axes)}, which no array within it "
            f"has all of. Sum along one after another: {expression.word}("
            f"{expression.word}(E, {expression.axes[0]}), {expression.axes[-1]})"
        )
    about = setting.about(covering[0])
    mask = inner.domain.any(
        axis=tuple(i for i, n in enumerate(setting.axes) if n not in about.axes), keepdims=True
    )
    inside = None if mask.all() else _over(mask, about, setting)
    total = Law(expression.word, expression.axes)
    measure, told, units = measure_of(total, about, inside)
    weights, _ = weights_of(about.grid, expression.axes, None, measure or None, None)
    weights = np.asarray(weights)
    return setting.laid_out(weights, about.grid.names), told, units


def _over(mask: np.ndarray, about: Labels, setting: Setting) -> np.ndarray:
    """A domain over the axes of an array."""
    names = [name for name in setting.axes if name in about.axes]
    sizes = [about.template.sizes[name] for name in names]
    lengths = [
        length for length, name in zip(mask.shape, setting.axes, strict=True) if name in names
    ]
    whole = np.broadcast_to(mask.reshape(lengths), sizes)
    return whole.transpose([names.index(name) for name in about.axes])


def _stepped(expression: Along, inner: Term, setting: Setting) -> Term:
    (axis,) = expression.axes
    place, along = setting.place(axis), _dimension(axis, expression, setting)
    if inner.places[axis] == STEPS:
        raise RefusedValue(
            f"{expression.text!r} is of steps along {axis!r}, and {expression.of.text!r} is at "
            "steps already; a second one is not known. Compute it as an array of the dataset"
        )
    if setting.dataset.sizes[axis] < 2:
        raise RefusedValue(f"{expression.text!r}: {axis!r} has one point, and no step")
    if isinstance(along.axis, Ring):
        raise RefusedValue(
            f"{expression.text!r}: {axis!r} closes on itself, so that it has as many steps as "
            "points, and which is first is not clear. Write the difference as an array"
        )

    def ends(array):
        cut = [slice(None)] * len(setting.axes)
        if array.shape[place] == 1:
            return array, array
        return tuple(
            array[(*cut[:place], part, *cut[place + 1 :])]
            for part in (slice(None, -1), slice(1, None))
        )

    units, scale = inner.units, 1.0
    if expression.word in ("step", "rate"):
        units = as_differences(units)
    if expression.word == "rate":
        scale, unit = _per_step(axis, along, setting)
        units = multiplied(units, raised(unit, -1))
    act = {
        "step": lambda a, b: b - a,
        "rate": lambda a, b: (b - a) / scale,
        "earlier": lambda a, b: a,  # noqa: ARG005
        "later": lambda a, b: b,  # noqa: ARG005
        "middle": lambda a, b: (a + b) / 2,
    }[expression.word]
    (before, after), (some, others) = ends(inner.domain), ends(inner.touched)
    return Term(
        lambda fields: act(*ends(inner.value(fields))),
        {**inner.places, axis: STEPS},
        before & after,
        some | others,
        inner.degree,
        units,
        inner.notes,
    )


def _dimension(axis: str, expression: Along, setting: Setting) -> Dimension:
    arrays = [e.name for e in expression.of.every() if isinstance(e, Name)]
    name = next(n for n in arrays if axis in setting.dataset[n].dims)
    return next(d for d in setting.about(name).dimensions if d.name == axis)


def _per_step(axis: str, along: Dimension, setting: Setting) -> tuple[np.ndarray, str | None]:
    """Lengths of the steps along an axis, and their unit: seconds along a time."""
    if isinstance(along.axis, Index):
        raise RefusedValue(
            f"the points of {axis!r} are only counted, without coordinates, so that a rate along "
            "it is not known. Write step(E, axis), or give it coordinates"
        )
    points = np.asarray(along.axis.points)
    if along.units in UNITS | FINE:
        steps, unit = np.diff(points) * (SECONDS | FINER)[along.units], "s"
    else:
        steps, unit = np.diff(points), along.units
    return setting.laid_out(steps, (axis,)), unit
