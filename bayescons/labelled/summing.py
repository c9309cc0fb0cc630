"""With which measure a total over labelled axes is summed: weights that are stated, what the file
names, areas on a sphere, or what the axes are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bayescons.axes import Index, Ring
from bayescons.functionals import shell_volume, spherical_area
from bayescons.grids import Grid
from bayescons.labelled.conventions import angle, cell_measures, is_latitude, is_longitude, units_of
from bayescons.labelled.dimensions import EARTH, is_sphere
from bayescons.labelled.labels import Labels, file_measure, weights_of
from bayescons.labelled.laws import AVERAGES, Law
from bayescons.labelled.lazy import BY_POSITION
from bayescons.labelled.predictions import LARGEST
from bayescons.refusals import RefusedValue

ROUND = {"spherical": 3, "polar": 2, "cylindrical": 2}
# What the attribute `grid_type` calls a grid on which a shell of radius r counts more than dr ->
# dimensions of the shell; an axis along the cylinder multiplies it.
RADIUS = "r"


def measure_of(
    law: Law, predictions: Labels, mask: np.ndarray | None
) -> tuple[dict, str, list[str | None]]:
    """Measures by axes for a total, how they were found, and the units of what is summed over.

    Args:
        law: a total.
        predictions: what is summed up.
        mask: where it is, over its axes; None for everywhere.
    """
    measure, words, units = {}, [], []
    for array, name in _weights(law, predictions):
        if array.attrs.get(BY_POSITION):
            raise RefusedValue(
                f"the weights {name} have no names for their axes. Write them with names: "
                "xarray.Dataset({'area': (('y', 'x'), array)}).to_netcdf('area.nc')"
            )
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
        values = _without_land(values, known, axes, name, predictions, mask)
        key = tuple(n for n in predictions.grid.names if n in axes)
        measure[key] = measure[key] * values if key in measure else values
        words.append(f"weights {name} over {', '.join(key)}")
        units.append(units_of(array))
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
    if degrees and law.kind not in AVERAGES:
        unit = _unit_of_angle(degrees[0], predictions)
        raise RefusedValue(
            f"an integral over {degrees[0]!r} alone would be in {unit}. State the average over it, "
            "or an integral over latitude and longitude, or give weights: --weights NAME"
        )
    for name in degrees:
        measure |= _along_sphere(name, predictions)
        words.append(f"as on a sphere along {name}")
    free = [n for n in free if n not in degrees]
    counted = [n for n in free if isinstance(predictions.grid.along(n), Index)]
    if counted:
        raise RefusedValue(
            f"the cells along {counted[0]!r} are only counted, without coordinates, so that their "
            "sizes are not known: give their volumes, areas or widths, --weights NAME"
        )
    _refuse_curvilinear(free, predictions)
    words += [f"{predictions.grid.along(n).integration(law.rule)} along {n}" for n in free]
    by_name = {d.name: d.units for d in predictions.dimensions}
    return measure, ", ".join(words), [*units, *(by_name[n] for n in free)]


def _not_there(law: Law, predictions: Labels) -> list[str]:
    """A word about measures that the file names and does not hold."""
    if law.weights is not None:
        return []
    named = cell_measures(predictions.template).values()
    missing = [name for name in named if name not in predictions.dataset.variables]
    return [
        f"{name!r} of cell_measures is not in the dataset (--weights FILE:{name})"
        for name in missing
    ]


def _refuse_curvilinear(free: Sequence[str], predictions: Labels) -> None:
    """Refuse to sum by numbers of rows and columns where latitudes and longitudes are in 2-D."""
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
        if curved and numbered and not units_of(dataset[name]):
            raise RefusedValue(
                f"{name!r} only numbers rows or columns of a curvilinear grid, whose places are in "
                f"{curved[0]!r}; areas of cells are not computed from these. Name them: --weights "
                f"NAME. If {name!r} is a length, say so: ds[{name!r}].attrs['units'] = 'm'"
            )


def _weights(law: Law, predictions: Labels) -> list[tuple[Any, str]]:
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


def _without_land(values, known, axes, name, predictions: Labels, mask) -> np.ndarray:
    """Weights with zero where the field is not; NaN elsewhere is refused."""
    if known.all():
        return values
    inside = True if mask is None else mask
    over = tuple(i for i, n in enumerate(predictions.axes) if n not in axes)
    sizes = tuple(predictions.template.sizes[n] for n in predictions.axes)
    needed = np.broadcast_to(inside, sizes).any(axis=over)
    if (needed & ~known).any():
        raise RefusedValue(
            f"the weights {name} hold NaN at {int((needed & ~known).sum())} places where the field "
            "is. Fill them, or mask the field there: --where NAME"
        )
    return np.where(known, values, 0.0)


def _on_sphere(sphere: tuple[str, str], predictions: Labels) -> dict:
    units = [_unit_of_angle(name, predictions) for name in sphere]
    if units[0] != units[1]:
        raise RefusedValue(
            f"{sphere[0]!r} is in {units[0]} and {sphere[1]!r} in {units[1]}. Give both in degrees"
        )
    area = spherical_area(predictions.grid, *sphere, EARTH, degrees=units[0] == "degrees")
    return {(name,): values for name, values in area.items()}


def _is_angle(name: str, predictions: Labels) -> bool:
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


def _unit_of_angle(name: str, predictions: Labels) -> str:
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


def _along_sphere(name: str, predictions: Labels) -> dict:
    """Weights of an average along a latitude or a longitude alone."""
    along, degrees = predictions.grid.along(name), _unit_of_angle(name, predictions) == "degrees"
    if is_longitude(predictions.dataset[name]):
        return {(name,): along.weights()}
    grid = Grid(lat=along, lon=Ring([0.0], 360.0 if degrees else 2 * np.pi))
    return {(name,): spherical_area(grid, degrees=degrees)["lat"]}


def _shells(free: list[str], predictions: Labels) -> dict:
    """Volumes of the shells of a radius, where the file says that its grid is round."""
    dimensions = ROUND.get(str(predictions.dataset.attrs.get("grid_type")))
    if dimensions is None or RADIUS not in free:
        return {}
    return shell_volume(predictions.grid, RADIUS, dimensions)
