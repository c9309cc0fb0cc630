"""Laws about labelled arrays as functionals of their grid: with which measure a total is summed,
over which axes a value is given, in which units.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from bayescons.arrays import numbers, over_batch
from bayescons.functionals import (
    RegionalSum,
    SingleFunctional,
    average,
    dirichlet,
    integral,
    neumann,
    periodic,
    robin,
)
from bayescons.gaussians.conditioning import Constraint
from bayescons.gaussians.gaussian import Gaussian
from bayescons.labelled.conventions import units_of
from bayescons.labelled.labels import require_same_places
from bayescons.labelled.laws import AVERAGES, OF_ROWS, TOTALS, Equation, Law
from bayescons.labelled.lazy import BY_POSITION
from bayescons.labelled.matrices import ROWS, Rows, functional_of, rows_of, with_rows
from bayescons.labelled.predictions import LARGEST, Predictions
from bayescons.labelled.summing import measure_of
from bayescons.labelled.units import compared
from bayescons.refusals import Refusal, RefusedValue


@dataclasses.dataclass(frozen=True, eq=False)
class Stated:
    """A law as it is stated of the grid.

    Attributes:
        law: what was written.
        functional: of one field of the grid.
        value: over (*batch, *axes left) or the axes left; times `total`.
        scale: likewise, None, or "quadrature".
        total: what an average's sum is divided by; 1 for all others.
        void: rows that lie wholly outside of the mask, of which nothing is stated.
        told: how it was understood.
        units: of the value.
        rows: of a law of many, what they are made of; otherwise None.
        names: of the axes of its values, where these have names.
        about: what it is, in words.
    """

    law: Law | Equation
    functional: SingleFunctional
    value: np.ndarray
    scale: Any
    total: Any
    void: np.ndarray
    told: str
    units: str | None
    rows: Rows | None = None
    names: tuple[str, ...] = ()
    about: str = ""

    @property
    def constraint(self) -> Constraint:
        """For the update."""
        return Constraint(self.functional, self.value, self.scale, self.law.name)

    def values(self, belief: Gaussian) -> np.ndarray:
        """What the belief's mean says of it, for each of the batch; NaN where nothing is stated."""
        found = over_batch(self.functional, len(belief.batch_shape))(belief.mean)
        return np.where(self.void, np.nan, np.asarray(found) / self.total)

    def stated_values(self) -> np.ndarray:
        """The value, NaN where nothing is stated."""
        return np.where(self.void, np.nan, self.value / self.total)


def stated(law: Law, predictions: Predictions) -> Stated:
    """A law about labelled axes as a functional of the grid, with its values in order.

    Raises:
        ValueError: units that do not fit, values over other axes, walls in a mask, and whatever the
            functional refuses.
    """
    total = law.kind in TOTALS
    measure, told, units = measure_of(law, predictions, predictions.mask) if total else ({}, "", [])
    units = units if total else _slope_units(law, predictions)
    made = rows_of(law, predictions) if law.kind in OF_ROWS else None
    functional = _functional(law, predictions, measure, made)
    kept = (*predictions.batch, *functional.names)
    kept = kept if made is None else (*kept[:-1], ROWS)
    expected = [predictions.units, *units] if law.kind not in AVERAGES else [predictions.units]
    value, given = _value(law.value, predictions, kept, f"value of {law.name!r}", made)
    if law.kind == "rows":  # in what a matrix is, nobody says; but value and scale are alike
        expected = [law.units or given]
    slope = law.kind == "neumann"
    told_of = f"the value of {law.name!r}"
    told = told if made is None else "; ".join(filter(None, [made.told, told]))
    notes = [told, compared(told_of, law.units or given, expected, differences=slope)]
    scale = law.scale
    if scale is not None and not (isinstance(scale, str) and scale == "quadrature"):
        scale, given = _value(scale, predictions, kept, f"scale of {law.name!r}", made)
        told_of = f"the scale of {law.name!r}"
        notes.append(compared(told_of, law.units or given, expected, differences=True))
    total = 1.0
    if law.kind in AVERAGES and predictions.mask is not None:
        functional = (
            integral(predictions.grid, law.axes, law.rule, measure=measure or None)
            if made is None
            else functional_of(law, made, predictions, measure, average=False)
        )
        total = _over(functional, predictions.mask.astype(float), len(predictions.batch))
        total = np.where(total == 0, 1.0, total)
    void = _void(law, functional, predictions)
    _check_scale(scale, void, law)
    if made is not None and void.any():
        notes.append(f"{int(void.sum())} rows lie outside of the mask, and nothing is stated there")
    value = np.where(void, 0.0, np.where(np.isnan(value) & void, 0.0, value) * total)
    if np.isnan(value).any():
        raise RefusedValue(
            f"the value of {law.name!r} is NaN for {int(np.isnan(value).sum())} rows of which "
            "something is known of the field. Leave the law out, or give these rows a value"
        )
    scale = scale * total if isinstance(scale, np.ndarray) else scale
    unit = law.units or " ".join(u for u in expected if u) or None
    words = "; ".join(filter(None, notes))
    return Stated(
        law,
        functional,
        value,
        scale,
        total,
        void,
        words,
        unit,
        made,
        functional.names,
        functional.about,
    )


def _check_scale(scale: Any, void: np.ndarray, law: Law) -> None:
    """Refuse standard deviations that are none, of rows of which something is stated."""
    if not isinstance(scale, np.ndarray):
        return
    bad = ~void & ~((scale >= 0) & (scale < LARGEST))
    if bad.any():
        raise RefusedValue(
            f"the scale of {law.name!r} must be standard deviations, zero or more and below "
            f"{LARGEST:g}; got {scale[bad].flat[0]:g}. Leave it out for an exact law"
        )


def _slope_units(law: Law, predictions: Predictions) -> list[str | None]:
    """Of what multiplies the field's own unit: one over the axis's, for a slope."""
    if law.kind != "neumann":
        return [None] if law.kind == "robin" else []
    unit = next(d.units for d in predictions.dimensions if d.name == law.axes[0])
    return [None if not unit else f"1/({unit})"]


def _functional(
    law: Law, predictions: Predictions, measure: Mapping, made: Rows | None
) -> SingleFunctional:
    grid, (axis, *_) = predictions.grid, law.axes
    if made is not None:
        average_of = law.kind in AVERAGES and predictions.mask is None
        return functional_of(law, made, predictions, measure, average=average_of)
    if law.kind in TOTALS:
        build = integral if law.kind == "integral" else average
        return build(grid, law.axes, law.rule, measure=measure or None)
    if law.kind == "dirichlet":
        return dirichlet(grid, axis, law.side, law.order)
    if law.kind == "neumann":
        return neumann(grid, axis, law.side, law.order)
    if law.kind == "robin":
        return robin(grid, axis, law.side, *law.coefficients, law.order)
    return periodic(grid, axis)


def _over(functional: SingleFunctional, fields: np.ndarray, batch: int) -> np.ndarray:
    return np.asarray(over_batch(functional.linear, batch)(jnp.asarray(fields)))


def _absolute(functional: SingleFunctional) -> SingleFunctional:
    """With the sizes of its weights."""
    weights = functional.weights
    sizes = (
        tuple(None if w is None else np.abs(w) for w in weights)
        if isinstance(weights, tuple)
        else np.abs(weights)
    )
    if isinstance(functional, RegionalSum):
        shares, scale = (np.abs(np.asarray(a)) for a in (functional.shares, functional.scale))
        return dataclasses.replace(functional, weights=sizes, shares=shares, scale=scale)
    return dataclasses.replace(functional, weights=sizes)


def _void(law: Law, functional: SingleFunctional, predictions: Predictions) -> np.ndarray:
    """Rows that rest on nothing but points outside of the mask."""
    batch = len(predictions.batch)
    shape = (*predictions.belief.batch_shape, *functional.value_shape)
    if predictions.mask is None:
        return np.zeros(shape, bool)
    sizes, mask = _absolute(functional), predictions.mask
    inside, outside = (_over(sizes, m.astype(float), batch) for m in (mask, ~mask))
    void = np.asarray(inside == 0)
    partly = int((~void & (outside > 0)).sum())
    if law.kind == "rows" and partly:
        raise RefusedValue(
            f"{law.name!r} takes {partly} of its rows partly from points outside of the mask, "
            "where there is no field. Set these entries of the matrix to zero if they shall not "
            "count, or leave these rows out"
        )
    if law.kind not in TOTALS and partly:
        raise RefusedValue(
            f"{law.name!r} takes {partly} of its rows partly from points "
            "outside of the mask. Where a masked domain ends inside of the grid its "
            "boundary is no side of it: state values there as readings, or lower the order"
        )
    return void


def _value(
    given: Any,
    predictions: Predictions,
    kept: tuple[str, ...],
    what: str,
    made: Rows | None = None,
) -> tuple[np.ndarray, str | None]:
    """A value over the axes `kept`, and its units: a number, an array's name or a DataArray."""
    import xarray

    dataset = predictions.dataset
    if isinstance(given, str):
        if given not in dataset.variables:
            known = ", ".join(map(repr, dataset.variables))
            raise RefusedValue(
                f"the {what} is neither a number nor the name of an array: {given!r}; there is "
                f"{known}"
            )
        given = dataset[given]
    given = given if made is None else with_rows(given, made, predictions, what)
    if not isinstance(given, xarray.DataArray):
        given = _as_numbers(given, what)
    elif given.dtype.kind not in "fiub":
        raise RefusedValue(f"the {what} must hold real numbers; it holds {given.dtype}")
    count = {} if made is None else {ROWS: len(made.called)}
    sizes = {name: {**predictions.template.sizes, **count}[name] for name in kept}
    shape = tuple(sizes.values())
    if not isinstance(given, xarray.DataArray) or given.attrs.get(BY_POSITION):
        array = np.asarray(given, float)
        grid = tuple(name for name in kept if name not in predictions.batch)
        several = ((), kept[-1:] if made else (), grid, kept)
        shapes = {axes: tuple(sizes[n] for n in axes) for axes in several}
        fitting = [axes for axes, size in shapes.items() if array.shape == size]
        if not fitting:
            front = f", or {shapes[kept]} with the batch in front" if kept != grid else ""
            raise RefusedValue(
                f"the {what} must be a number or have shape {shapes[grid]} over "
                f"({', '.join(grid)}){front}; got {array.shape}"
            )
        given = xarray.DataArray(array, dims=fitting[0])
    beyond = [name for name in given.dims if name not in sizes]
    if beyond and given.ndim:
        raise RefusedValue(
            f"the {what} is over {beyond[0]!r}; expected are axes among ({', '.join(kept)})"
        )
    require_same_places(f"the {what}", given, dataset)
    values = predictions.arranged(given.astype(float))
    lengths = [sizes[name] if name in given.dims else 1 for name in kept]
    return np.broadcast_to(values.reshape(lengths), shape), units_of(given)


def _as_numbers(given: Any, what: str) -> np.ndarray:
    """Real numbers without names, in float64."""
    try:
        array = np.asarray(numbers(f"the {what}", given))
        if array.dtype.kind not in "fiub":
            raise TypeError
        return array.astype(float)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, Refusal):
            raise
        raise RefusedValue(
            f"the {what} must be a number, the name of an array or an xarray.DataArray; got "
            f"{type(given).__name__}"
        ) from error
