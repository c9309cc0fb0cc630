"""Laws about labelled arrays as functionals of their grid: with which measure a total is summed,
over which axes a value is given, in which units.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from bayescons.arrays import numbers, over_batch
from bayescons.axes import Index, Ring
from bayescons.functionals import (
    SingleFunctional,
    average,
    dirichlet,
    integral,
    neumann,
    periodic,
    robin,
    shell_volume,
    spherical_area,
)
from bayescons.gaussians.conditioning import Constraint
from bayescons.gaussians.gaussian import Gaussian
from bayescons.grids import Grid
from bayescons.labelled.conventions import angle, cell_measures, is_latitude, is_longitude, text_of
from bayescons.labelled.dimensions import EARTH, is_sphere
from bayescons.labelled.labels import file_measure, require_same_places, weights_of
from bayescons.labelled.laws import TOTALS, Law
from bayescons.labelled.lazy import BY_POSITION
from bayescons.labelled.predictions import Predictions
from bayescons.labelled.units import compared
from bayescons.refusals import Refusal, RefusedValue

# What the attribute `grid_type` calls a grid on which a shell of radius r counts more than dr ->
# dimensions of the shell; an axis along the cylinder multiplies it.
ROUND = {"spherical": 3, "polar": 2, "cylindrical": 2}
RADIUS = "r"


LARGEST = 1e150  # of which the square, summed over a field, is a number


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
    """

    law: Law
    functional: SingleFunctional
    value: np.ndarray
    scale: Any
    total: Any
    void: np.ndarray
    told: str
    units: str | None

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
    measure, told, units = _measure(law, predictions)
    functional = _functional(law, predictions, measure)
    kept = (*predictions.batch, *functional.names)
    expected = [predictions.units, *units] if law.kind != "average" else [predictions.units]
    value, given = _value(law.value, predictions, kept, f"value of {law.name!r}")
    notes = [told, compared(f"the value of {law.name!r}", law.units or given, expected)]
    scale = law.scale
    if scale is not None and not (isinstance(scale, str) and scale == "quadrature"):
        scale, given = _value(scale, predictions, kept, f"scale of {law.name!r}")
        notes.append(compared(f"the scale of {law.name!r}", law.units or given, expected))
    total = 1.0
    if law.kind == "average" and predictions.mask is not None:
        functional = integral(predictions.grid, law.axes, law.rule, measure=measure or None)
        total = _over(functional, predictions.mask.astype(float), len(predictions.batch))
        total = np.where(total == 0, 1.0, total)
    void = _void(law, functional, predictions)
    _check_scale(scale, void, law)
    value = np.where(void, 0.0, np.where(np.isnan(value) & void, 0.0, value) * total)
    if np.isnan(value).any():
        raise RefusedValue(
            f"the value of {law.name!r} is NaN for {int(np.isnan(value).sum())} rows of which "
            "something is known of the field. Leave the law out, or give these rows a value"
        )
    scale = scale * total if isinstance(scale, np.ndarray) else scale
    unit = law.units or " ".join(u for u in expected if u) or None
    return Stated(law, functional, value, scale, total, void, "; ".join(filter(None, notes)), unit)


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


def _measure(law: Law, predictions: Predictions) -> tuple[dict, str, list[str | None]]:
    """Measures by axes for a total, how they were found, and the units of what is summed over."""
    if law.kind not in TOTALS:
        return {}, "", _slope_units(law, predictions)
    measure, words, units = {}, [], []
    for array, name in _weights(law, predictions):
        axes = tuple(n for n in array.dims if n in predictions.grid.names)
        beyond = [n for n in array.dims if n not in axes]
        if beyond:
            raise RefusedValue(
                f"the weights {name} are over {beyond[0]!r}, which is no axis of the grid; these "
                f"are {', '.join(predictions.grid.names)}. Add it: --axes"
            )
        values = predictions.arranged(array)
        if np.abs(values[np.isfinite(values)]).max(initial=0.0) > LARGEST:
            raise RefusedValue(
                f"the numbers overflow: the weights {name} are beyond {LARGEST:g}. Give them in "
                "other units"
            )
        known = np.isfinite(values)
        values = _without_land(values, known, axes, name, predictions)
        key = tuple(n for n in predictions.grid.names if n in axes)
        measure[key] = measure[key] * values if key in measure else values
        words.append(f"weights {name} over {', '.join(key)}")
        units.append(text_of(array.attrs, "units"))
    words += _not_there(law, predictions)
    covered = {n for key in measure for n in key}
    free = [n for n in law.axes if n not in covered]
    sphere = is_sphere(predictions.dataset, tuple(free))
    if sphere is not None:
        measure |= _on_sphere(sphere, predictions)
        words.append(f"areas of a sphere from {sphere[0]!r} and {sphere[1]!r}, radius {EARTH:g} m")
        units.append("m2")
        free = [n for n in free if n not in sphere]
    shells = _shells(free, predictions)
    if shells:
        kind = predictions.dataset.attrs["grid_type"]
        measure |= {(RADIUS,): shells[RADIUS]}
        words.append(f"volumes of shells along {RADIUS!r}, as the grid is {kind}")
        units.append(None)
        free = [n for n in free if n != RADIUS]
    degrees = [n for n in free if _is_angle(n, predictions)]
    if degrees and law.kind == "integral":
        raise RefusedValue(
            f"an integral over {degrees[0]!r} alone would be in {_unit_of_angle(degrees[0], predictions)}"
            ". State the average over it, or an integral over latitude and longitude, or give "
            "weights: --weights NAME"
        )
    for name in degrees:
        measure |= _along_sphere(name, predictions)
        words.append(f"as on a sphere along {name}")
    free = [n for n in free if n not in degrees]
    counted = [n for n in free if isinstance(predictions.grid.along(n), Index)]
    if counted:
        raise RefusedValue(
            f"the cells along {counted[0]!r} are only counted, without coordinates, so that their "
            f"sizes are not known. Name their areas or volumes, --weights NAME; for equal ones "
            f"number them, ds.assign_coords({counted[0]}=range({len(predictions.grid[counted[0]])}))"
        )
    _refuse_curvilinear(free, predictions)
    words += [f"{predictions.grid.along(n).integration(law.rule)} along {n}" for n in free]
    by_name = {d.name: d.units for d in predictions.dimensions}
    return measure, ", ".join(words), [*units, *(by_name[n] for n in free)]


def _shells(free: list[str], predictions: Predictions) -> dict:
    """Volumes of the shells of a radius, where the file says that its grid is round."""
    dimensions = ROUND.get(str(predictions.dataset.attrs.get("grid_type")))
    if dimensions is None or RADIUS not in free:
        return {}
    return shell_volume(predictions.grid, RADIUS, dimensions)


def _not_there(law: Law, predictions: Predictions) -> list[str]:
    """A word about measures that the file names and does not hold."""
    if law.weights is not None:
        return []
    named = cell_measures(predictions.template).values()
    missing = [name for name in named if name not in predictions.dataset.variables]
    return [
        f"{name!r} of cell_measures is not in the dataset (--weights FILE:{name})"
        for name in missing
    ]


def _refuse_curvilinear(free: Sequence[str], predictions: Predictions) -> None:
    """Refuse to sum by the numbers of rows and columns where latitudes and longitudes are in 2-D."""
    dataset = predictions.dataset
    for name in free:
        points = predictions.grid[name]
        numbered = len(points) > 1 and np.array_equal(points, points[0] + np.arange(len(points)))
        curved = [
            str(other)
            for other, array in dataset.coords.items()
            if array.ndim == 2
            and name in array.dims
            and (is_latitude(array) or is_longitude(array))
        ]
        if curved and numbered and not text_of(dataset[name].attrs, "units"):
            raise RefusedValue(
                f"{name!r} only numbers the rows or columns of a curvilinear grid, whose places are "
                f"in {curved[0]!r}; sizes of cells are not computed from these. Name their areas: "
                f"--weights NAME. If {name!r} is a length, say so: ds[{name!r}].attrs['units'] = 'm'"
            )


def _slope_units(law: Law, predictions: Predictions) -> list[str | None]:
    """Of what multiplies the field's own unit: one over the axis's, for a slope."""
    if law.kind != "neumann":
        return [None] if law.kind == "robin" else []
    unit = next(d.units for d in predictions.dimensions if d.name == law.axes[0])
    return [None if not unit else f"1/({unit})"]


def _weights(law: Law, predictions: Predictions) -> list[tuple[Any, str]]:
    """Arrays that weigh a total, and what they are called: those stated, or the file's."""
    dataset = predictions.dataset
    if law.weights is not None:
        arrays = [weights_of(dataset, given) for given in law.weights]
        return [(array, repr(array.name)) for array in arrays]
    measure = file_measure(dataset, predictions.template, law)
    if measure is None:
        return []
    what, name = measure
    return [(dataset[name], f"{name!r} (cell_measures, {what})")]


def _without_land(values, known, axes, name, predictions: Predictions) -> np.ndarray:
    """Weights with zero where the field is not; NaN elsewhere is refused."""
    if known.all():
        return values
    inside = True if predictions.mask is None else predictions.mask
    over = tuple(i for i, n in enumerate(predictions.axes) if n not in axes)
    needed = np.broadcast_to(inside, predictions.belief.mean.shape).any(axis=over)
    if (needed & ~known).any():
        raise RefusedValue(
            f"the weights {name} hold NaN at {int((needed & ~known).sum())} places where the field "
            "is. Fill them, or mask the field there: --where NAME"
        )
    return np.where(known, values, 0.0)


def _on_sphere(sphere: tuple[str, str], predictions: Predictions) -> dict:
    units = [_unit_of_angle(name, predictions) for name in sphere]
    if units[0] != units[1]:
        raise RefusedValue(
            f"{sphere[0]!r} is in {units[0]} and {sphere[1]!r} in {units[1]}. Give both in degrees"
        )
    area = spherical_area(predictions.grid, *sphere, EARTH, degrees=units[0] == "degrees")
    return {(name,): values for name, values in area.items()}


def _is_angle(name: str, predictions: Predictions) -> bool:
    """Whether an axis is a latitude or a longitude; refused for another angle in degrees."""
    if name not in predictions.dataset.coords:
        return False
    coordinate = predictions.dataset[name]
    if is_latitude(coordinate) or is_longitude(coordinate):
        return True
    if angle(coordinate) == "degrees":
        raise RefusedValue(
            f"the axis {name!r} is in degrees, and whether it is a latitude or a longitude is not "
            f"said. Say so, ds[{name!r}].attrs['units'] = 'degrees_north' or 'degrees_east', or "
            "give weights: --weights NAME"
        )
    return False


def _unit_of_angle(name: str, predictions: Predictions) -> str:
    """Degrees or radians of a latitude or a longitude; refused where numbers may be either."""
    coordinate = predictions.dataset[name]
    said = angle(coordinate)
    if said is None and np.abs(predictions.grid[name]).max() <= 2 * np.pi:
        raise RefusedValue(
            f"whether {name!r} is in degrees or in radians is not said, and its numbers may be "
            f"either. Say so: ds[{name!r}].attrs['units'] = 'degrees_north', 'degrees_east' or "
            "'radians'"
        )
    return said or "degrees"


def _along_sphere(name: str, predictions: Predictions) -> dict:
    """Weights of an average along a latitude or a longitude alone."""
    along, degrees = predictions.grid.along(name), _unit_of_angle(name, predictions) == "degrees"
    if is_longitude(predictions.dataset[name]):
        return {(name,): along.weights()}
    grid = Grid(lat=along, lon=Ring([0.0], 360.0 if degrees else 2 * np.pi))
    return {(name,): spherical_area(grid, degrees=degrees)["lat"]}


def _functional(law: Law, predictions: Predictions, measure: Mapping) -> SingleFunctional:
    grid, (axis, *_) = predictions.grid, law.axes
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
    if law.kind not in TOTALS and (~void & (outside > 0)).any():
        raise RefusedValue(
            f"{law.name!r} takes {int((~void & (outside > 0)).sum())} of its rows partly from "
            "points outside of the mask. Where a masked domain ends inside of the grid its "
            "boundary is no side of it: state values there as readings, or lower the order"
        )
    return void


def _value(
    given: Any, predictions: Predictions, kept: tuple[str, ...], what: str
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
    if not isinstance(given, xarray.DataArray):
        given = _as_numbers(given, what)
    elif given.dtype.kind not in "fiub":
        raise RefusedValue(f"the {what} must hold real numbers; it holds {given.dtype}")
    sizes = {name: predictions.template.sizes[name] for name in kept}
    shape = tuple(sizes.values())
    if not isinstance(given, xarray.DataArray) or given.attrs.get(BY_POSITION):
        array = np.asarray(given, float)
        grid = tuple(name for name in kept if name not in predictions.batch)
        shapes = {axes: tuple(sizes[n] for n in axes) for axes in ((), grid, kept)}
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
    return np.broadcast_to(values.reshape(lengths), shape), text_of(given.attrs, "units")


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
