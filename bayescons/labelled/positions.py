"""Arrays whose axes have no names, as in .npz files and HDF5 without dimension scales: told apart
by position and shape, which are checked.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayescons.labelled.conventions import bounds_name, text_of
from bayescons.labelled.files import values
from bayescons.labelled.lazy import BY_POSITION
from bayescons.refusals import RefusedValue

USUAL = ("t", "x", "y", "z")
PDEBENCH = "-coordinate"  # behind the names of its coordinates


def named(
    dataset: Any,
    axes: str | None,
    fields: Sequence[str],
    ensemble: str | None,
    further: Sequence[str] = (),
) -> tuple[Any, tuple[str, ...] | None]:
    """A dataset in which the arrays of a belief have names for all their axes.

    Arrays without names have the grid's axes last, in order, of the lengths of their coordinates;
    what stands before them counts a batch, "batch" or "batch_0", ...; in an ensemble, one axis
    before the grid's counts the members, "member".

    Args:
        dataset: of which some arrays may go by position.
        axes: as typed, "t,x" or "t=time,x=depth": of the grid, in the order of the arrays, with the
            names of their coordinates.
        fields: names of the arrays of the belief that are there.
        ensemble: name of the ensemble among them.
        further: names of a mask and of weights, over the grid's axes or those of them that are of
            their lengths.

    Returns:
        The dataset, axes renamed as typed; the grid's axes, or None where the file's own names are
        to tell.

    Raises:
        ValueError: shapes that do not fit, coordinates that are not there.
    """
    pairs = _pairs(axes)
    anonymous = any(dataset[name].attrs.get(BY_POSITION) for name in fields)
    if not anonymous:
        if pairs is None:
            return dataset, None
        return _renamed(dataset, pairs), tuple(name for name, _ in pairs)
    if pairs is None:
        sources = [(name, each) for name in USUAL for each in (name, name + PDEBENCH)]
        pairs = [(name, each) for name, each in sources if each in dataset.variables]
    if not pairs:
        raise RefusedValue(
            "the arrays have no names for their axes, and there are no coordinates t, x, y or z; "
            f"there is {', '.join(map(repr, dataset.variables))}. Name the axes of the grid, in "
            "the order of the arrays: --axes time,depth, or --axes t=time,x=depth"
        )
    coordinates = {name: _coordinate(dataset, source) for name, source in pairs}
    sources = dict(pairs)
    coordinates = {
        name: _as_many(dataset, fields, sources[name], points, i - len(pairs))
        for i, (name, points) in enumerate(coordinates.items())
    }
    averaged = [n for n, source in pairs if source.endswith(PDEBENCH) and n != "t"]
    found = _by_position(dataset, coordinates, fields, ensemble, further)
    for name in fields if averaged else ():  # it holds averages over cells about its coordinates
        found[name].attrs["cell_methods"] = " ".join(f"{axis}: mean" for axis in averaged)
    return found, tuple(coordinates)


def _pairs(axes: str | None) -> list[tuple[str, str]] | None:
    if axes is None:
        return None
    pairs = [tuple(part.strip() for part in pair.split("=")) for pair in axes.split(",")]
    names = {pair[0] for pair in pairs}
    if any(len(p) > 2 or not all(p) for p in pairs) or len(names) < len(pairs):
        raise RefusedValue(
            f"cannot read --axes {axes!r}; expected names of the axes of the grid, each once, as "
            "in t,x or t=time,x=depth"
        )
    return [(pair[0], pair[-1]) for pair in pairs]


def _renamed(dataset, pairs):
    missing = [source for _, source in pairs if source not in dataset.dims]
    if missing:
        raise RefusedValue(
            f"there is no axis {missing[0]!r}; there are {', '.join(map(repr, dataset.dims))}"
        )
    new = {source: name for name, source in pairs if source != name}
    taken = [n for n in new.values() if n not in new and n in {*dataset.variables, *dataset.dims}]
    if taken:
        raise RefusedValue(
            f"an axis cannot be called {taken[0]!r}, which is another array of the file. Leave its "
            "own name, or choose another one"
        )
    return _with_conventions(dataset, new).rename(new)


def _with_conventions(dataset, new: dict[str, str]):
    """A dataset that says of axes under their new names what it says of them."""
    found = dataset.copy()
    for source in new:
        bounds = bounds_name(dataset, source) if source in dataset.coords else None
        if bounds is not None:
            found[source].attrs["bounds"] = bounds
    for variable in found.variables.values():
        methods = text_of(variable.attrs, "cell_methods")
        if methods:
            words = re.split(r"(\w+)", methods)
            variable.attrs["cell_methods"] = "".join(new.get(word, word) for word in words)
    return found


def _coordinate(dataset, name: str) -> np.ndarray:
    if name not in dataset.variables:
        raise RefusedValue(
            f"there is no array {name!r} for the coordinates of an axis; there is "
            f"{', '.join(map(repr, dataset.variables))}"
        )
    found = values(dataset, name)
    if found.ndim != 1:
        raise RefusedValue(
            f"the coordinates {name!r} must be a one-dimensional array; got shape {found.shape}"
        )
    return found


def _as_many(dataset, fields, source: str, points: np.ndarray, axis: int) -> np.ndarray:
    """The coordinates of an axis. PDEBench writes one time more than it has data for; the last is
    left out, and said to be.
    """
    sizes = {dataset[n].shape[axis] for n in fields if dataset[n].ndim >= -axis}
    if not source.endswith(PDEBENCH) or sizes != {len(points) - 1}:
        return points
    told = f"the last of {len(points)} entries of {source!r}, for which there are no data, left out"
    dataset.encoding["understood"] = f"{dataset.encoding.get('understood', '')}; {told}"
    return points[:-1]


def _by_position(dataset, coordinates, fields, ensemble, further):
    import xarray

    shape = tuple(map(len, coordinates.values()))
    variables = {
        name: dataset[name].variable for name in dataset.variables if name not in coordinates
    }
    for name in fields:
        old = dataset[name]
        if old.ndim == 0:
            continue
        lead = _lead(name, old.shape, shape, coordinates, of_ensemble=name == ensemble)
        attrs = {k: v for k, v in old.attrs.items() if k != BY_POSITION}
        variables[name] = xarray.Variable(
            (*lead, *coordinates), old.variable._data, attrs, old.encoding
        )
    for name in further:
        if name in variables and variables[name].attrs.get(BY_POSITION):
            old = variables[name]
            along = _along(name, old.shape, coordinates)
            variables[name] = xarray.Variable(along, old._data, {}, old.encoding)
    found = xarray.Dataset(
        variables, coords={n: (n, c) for n, c in coordinates.items()}, attrs=dataset.attrs
    )
    found.encoding = dataset.encoding
    return found


def _along(name: str, size: tuple[int, ...], coordinates: Mapping[str, np.ndarray]) -> list[str]:
    """The axes of the grid that an array is over, told by their lengths."""
    fitting = [
        axes
        for axes in itertools.combinations(coordinates, len(size))
        if size == tuple(len(coordinates[n]) for n in axes)
    ]
    if len(fitting) != 1:
        lengths = ", ".join(f"{n}: {len(c)}" for n, c in coordinates.items())
        raise RefusedValue(
            f"which axes of the grid {name!r} of shape {size} is over is not clear ({lengths}). "
            "Write a file that names them: xarray.Dataset(...).to_netcdf('in.nc')"
        )
    return list(fitting[0])


def _lead(name, size, shape, coordinates, *, of_ensemble: bool) -> tuple[str, ...]:
    """Names of the axes before the grid's."""
    count = len(size) - len(shape)
    if count < 0 or size[count:] != shape:
        sizes = ", ".join(f"{n}: {len(c)}" for n, c in coordinates.items())
        behind = count > 0 and size[: len(shape)] == shape
        raise RefusedValue(
            f"{name!r} must have the shape of the grid {shape} ({sizes}), batch axes in front; got "
            f"{size}. "
            + (
                "What comes behind the grid's axes goes in front: np.moveaxis(array, -1, 0)"
                if behind
                else "If its axes are in another order, write it: --axes "
                + ",".join(reversed(coordinates))
            )
        )
    if of_ensemble and count == 0:
        raise RefusedValue(
            f"the ensemble {name!r} must have an axis of draws in front of the grid's {shape}; got "
            f"{size}"
        )
    if of_ensemble and count == 1:
        return ("member",)
    return ("batch",) if count == 1 else tuple(f"batch_{i}" for i in range(count))
