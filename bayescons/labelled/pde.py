"""Layouts of data sets and solvers of partial differential equations, which lay down in their own
way what NetCDF says with names: The Well, and the storage of py-pde.

Grids come out alike: coordinates with the attribute `periodic` (1 or 0), `grid_type` ("cartesian",
"polar", "spherical", "cylindrical") in the attributes of the dataset, and, where the values are
averages of cells, the cells' edges as `bounds` and `cell_methods = "x: mean"`.
"""

from __future__ import annotations

import json
import math
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import xarray

from bayescons.labelled.hdf5_arrays import attributes, numbers
from bayescons.labelled.lazy import Stored, dataset, variable
from bayescons.refusals import RefusedValue

THE_WELL = "dimensions", "boundary_conditions", "t0_fields"
COMPONENTS = "component", "component_2"
RANKS = {"ScalarField": 0, "VectorField": 1, "Tensor2Field": 2}
Layout = Callable[[Path, h5py.File], xarray.Dataset]


class PdeGrid(NamedTuple):
    """A grid of py-pde: cells of equal width along each axis.

    Attributes:
        kind: "cartesian", "polar", "spherical" or "cylindrical".
        dimension: of the space it lies in; so many components has a vector.
        axes: name -> edges of the cells, one more than there are cells.
        periodic: name -> whether the axis is a ring.
    """

    kind: str
    dimension: int
    axes: Mapping[str, np.ndarray]
    periodic: Mapping[str, bool]

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of cells."""
        return tuple(len(edges) - 1 for edges in self.axes.values())


def layout(file: h5py.File) -> Layout | None:
    """What reads a file that keeps to one of these layouts; None for any other."""
    if all(isinstance(file.get(name), h5py.Group) for name in THE_WELL):
        return the_well
    if {"data", "times"} <= set(file) and "field_attributes" in file.attrs:
        return pde_storage
    if any(_is_field(one) for one in file.values()):
        return pde_fields
    return None


def the_well(path: Path, file: h5py.File) -> xarray.Dataset:
    """A file of The Well: fields over (trajectory, time, *space, *components), without the axes
    along which their attributes say that they do not vary.

    The masks of the boundary conditions are `boundary_conditions.<name>`; an axis with a periodic
    one has the attribute `periodic`. Coordinates that differ between trajectories or times are
    `<axis>_points`.
    """
    del path
    dimensions, conditions = file["dimensions"], file["boundary_conditions"]
    space = _words(dimensions.attrs["spatial_dims"])
    found: dict[str, tuple[h5py.Dataset, list[str]]] = {}
    for name, one in _arrays(dimensions).items():
        dims = [*_leading(one), name]
        found[name if len(dims) == 1 else f"{name}_points"] = one, dims
    for name, one in _arrays(file.get("scalars", {})).items():
        found[name] = one, _leading(one)
    for order in range(3):
        for name, one in _arrays(file.get(f"t{order}_fields", {})).items():
            varying = one.attrs.get("dim_varying", np.ones(len(space), bool))
            along = [axis for axis, varies in zip(space, varying, strict=True) if varies]
            found[name] = one, [*_leading(one), *along, *COMPONENTS[:order]]
    for name, condition in conditions.items():
        mask = condition.get("mask")
        if isinstance(mask, h5py.Dataset):
            dims = [*_leading(condition), *_words(condition.attrs["associated_dims"])]
            found[f"boundary_conditions.{name}"] = mask, dims
    arrays = _dataset(found, file)
    rings = {
        axis
        for condition in conditions.values()
        if condition.attrs["bc_type"] == "PERIODIC"
        for axis in _words(condition.attrs["associated_dims"])
    }
    for axis in set(space) & set(arrays.coords):
        arrays[axis].attrs["periodic"] = int(axis in rings)
    for name, condition in conditions.items():
        if f"boundary_conditions.{name}" in arrays:
            arrays[f"boundary_conditions.{name}"].attrs |= attributes(condition)
    arrays.encoding["understood"] = "The Well"
    return arrays


def pde_storage(path: Path, file: h5py.File) -> xarray.Dataset:
    """A storage of py-pde: `data` over (t, *components, *axes of the grid), averages of cells; the
    fields of a collection each under its label.

    Places that were set aside for more times than there are, which hold zeros, are left out.
    """
    stored, times = file["data"], file["times"]
    info = json.loads(file.attrs["field_attributes"])
    length = min(len(times), int(json.loads(file.attrs.get("data_length", str(len(times))))))
    collection = "fields" in info
    fields = json.loads(info["fields"]) if collection else [info]
    grid = _grid(path, fields[0]["grid"])
    inner = [(grid.dimension,) * _rank(path, field) for field in fields]
    sizes = [math.prod(components) for components in inner]
    cells = (*([sum(sizes)] if collection else inner[0]), *grid.shape)
    _require_shape(path, "data", stored.shape, (len(times), *cells))
    variables = {"t": variable("t", ["t"], _part(times, (length,), slice(None)))}
    ends = np.cumsum(sizes)
    for name, components, end in zip(_labels(fields, grid), inner, ends, strict=True):
        shape = (length, *components, *grid.shape)
        taken = slice(end - math.prod(components), end) if collection else slice(None)
        variables[name] = _over(grid, name, ("t",), _part(stored, shape, taken), {})
    return _on_grid(grid, variables, attributes(file))


def pde_fields(path: Path, file: h5py.File) -> xarray.Dataset:
    """Fields that py-pde has written without times, each with its grid in an attribute."""
    fields = {name: one for name, one in _arrays(file).items() if _is_field(one)}
    grids = [_grid(path, one.attrs["grid"]) for one in fields.values()]
    grid, variables = grids[0], {}
    if any(repr(other) != repr(grid) for other in grids):
        raise RefusedValue(
            f"{path} is of py-pde, with fields on different grids. Write each into its own file"
        )
    for name, one in fields.items():
        field = dict(one.attrs)
        components = (grid.dimension,) * _rank(path, field)
        _require_shape(path, name, one.shape, (*components, *grid.shape))
        label = _labels([field], grid, name)[0]
        variables[label] = _over(grid, label, (), numbers(one), attributes(one))
    return _on_grid(grid, variables, attributes(file))


def _is_field(one: object) -> bool:
    return isinstance(one, h5py.Dataset) and {"class", "grid", "dtype"} <= set(one.attrs)


def _arrays(group: Mapping[str, Any]) -> dict[str, h5py.Dataset]:
    return {name: one for name, one in group.items() if isinstance(one, h5py.Dataset)}


def _leading(thing: h5py.Dataset | h5py.Group) -> list[str]:
    """The axes in front of space that a thing of The Well has."""
    names = {"trajectory": "sample_varying", "time": "time_varying"}
    return [axis for axis, attribute in names.items() if thing.attrs.get(attribute, False)]


def _words(value: Any) -> list[str]:
    """Text of an attribute that may hold one or several."""
    return [v.decode() if isinstance(v, bytes) else str(v) for v in np.atleast_1d(value)]


def _dataset(
    found: Mapping[str, tuple[h5py.Dataset, list[str]]], file: h5py.File
) -> xarray.Dataset:
    """Arrays whose axes have names; by position where there are not as many."""
    stored = {name: numbers(one) for name, (one, _) in found.items()}
    variables = {
        name: variable(name, dims if len(dims) == one.ndim else None, s, attributes(one))
        for name, (one, dims) in found.items()
        if isinstance(s := stored[name], Stored)
    }
    arrays = dataset(variables, attributes(file))
    arrays.encoding["left_out"] = {n: s for n, s in stored.items() if isinstance(s, str)}
    return arrays


def _grid(path: Path, text: str) -> PdeGrid:
    """The grid that py-pde has put into an attribute as JSON."""
    state = json.loads(text)
    kind = state.get("class")
    shape = [int(n) for n in np.atleast_1d(state["shape"])]
    if kind in ("CartesianGrid", "UnitGrid"):
        names = list("xyz" if len(shape) <= 3 else string.ascii_lowercase)[: len(shape)]
        bounds = state.get("bounds", [[0, n] for n in shape])
        rings = np.broadcast_to(state["periodic"], len(shape)).tolist()
        return _cells(path, "cartesian", len(shape), names, bounds, shape, rings)
    radii = np.atleast_1d(state.get("radius", 1.0)).tolist()
    reach = [0.0, *radii] if len(radii) == 1 else radii
    if kind in ("PolarSymGrid", "SphericalSymGrid"):
        word, dimension = ("polar", 2) if kind == "PolarSymGrid" else ("spherical", 3)
        return _cells(path, word, dimension, ["r"], [reach], shape, [False])
    if kind == "CylindricalSymGrid":
        bounds, rings = [reach, state["bounds_z"]], [False, bool(state["periodic_z"])]
        return _cells(path, "cylindrical", 3, ["r", "z"], bounds, shape, rings)
    raise RefusedValue(
        f"{path} is of py-pde, on a grid of class {kind!r}; known are CartesianGrid, UnitGrid, "
        "PolarSymGrid, SphericalSymGrid and CylindricalSymGrid. Write its arrays as NetCDF, with "
        "their coordinates"
    )


def _cells(
    path: Path,
    kind: str,
    dimension: int,
    names: Sequence[str],
    bounds: Sequence[Sequence[int | float]],
    shape: Sequence[int],
    rings: Sequence[bool],
) -> PdeGrid:
    bounds = np.asarray(bounds, float)
    fits = bounds.shape == (len(names), 2) and len(shape) == len(names)
    if not fits or not np.isfinite(bounds).all() or (bounds[:, 0] >= bounds[:, 1]).any():
        raise RefusedValue(
            f"{path} is of py-pde, and its grid must have bounds lower < upper for each of "
            f"{names}; it has {bounds.tolist()} for shape {list(shape)}. Write the file again"
        )
    edges = [np.linspace(low, high, n + 1) for (low, high), n in zip(bounds, shape, strict=True)]
    axes, periodic = (dict(zip(names, values, strict=True)) for values in (edges, rings))
    return PdeGrid(kind, dimension, axes, periodic)


def _rank(path: Path, field: Mapping[str, str]) -> int:
    kind = json.loads(field["class"])
    if kind not in RANKS:
        raise RefusedValue(
            f"{path} is of py-pde, with a field of class {kind!r}; known are {', '.join(RANKS)}. "
            "Write its arrays as NetCDF, with their coordinates"
        )
    return RANKS[kind]


def _require_shape(path: Path, name: str, shape: tuple, wanted: tuple) -> None:
    if shape != wanted:
        raise RefusedValue(
            f"{path} is of py-pde, and {name!r} must have the shape {wanted} of its grid; it has "
            f"{shape}. Write the file again, or its arrays as NetCDF with their coordinates"
        )


def _labels(fields: Sequence[Mapping[str, str]], grid: PdeGrid, name: str = "data") -> list[str]:
    """Names of fields: their labels where all have different ones, otherwise numbers; a single
    field keeps the name that the file has.
    """
    if len(fields) == 1:
        return [name]
    labels = [str(json.loads(field["label"]) or "").replace("/", ".") for field in fields]
    taken = {"t", *grid.axes, *(f"{axis}_bnds" for axis in grid.axes)}
    distinct = all(labels) and len(set(labels) - taken) == len(labels)
    return labels if distinct else [f"field_{i}" for i in range(len(fields))]


def _part(one: h5py.Dataset, shape: tuple[int, ...], taken: slice) -> Stored:
    """The first times of an array, and the components that belong to one field."""

    def read(key: tuple) -> np.ndarray:
        return np.asarray(one[: shape[0]])[(slice(None), taken)[: one.ndim]].reshape(shape)[key]

    return Stored(shape, one.dtype, read)


def _over(
    grid: PdeGrid, name: str, leading: Sequence[str], stored: Any, attrs: Mapping[str, object]
) -> xarray.Variable:
    count = len(stored.shape) - len(leading) - len(grid.axes)
    means = " ".join(f"{axis}: mean" for axis in grid.axes)
    dims = [*leading, *COMPONENTS[:count], *grid.axes]
    return variable(name, dims, stored, {**attrs, "cell_methods": means})


def _on_grid(
    grid: PdeGrid, variables: dict[str, xarray.Variable], attrs: Mapping[str, object]
) -> xarray.Dataset:
    """Fields with the centres and the edges of their cells."""
    for axis, edges in grid.axes.items():
        said = {"bounds": f"{axis}_bnds", "periodic": int(grid.periodic[axis])}
        pairs = np.stack([edges[:-1], edges[1:]], axis=1)
        variables[axis] = xarray.Variable([axis], (edges[:-1] + edges[1:]) / 2, said)
        variables[f"{axis}_bnds"] = xarray.Variable([axis, "bnds"], pairs)
    arrays = dataset(variables, {**attrs, "grid_type": grid.kind})
    arrays.encoding["understood"] = f"py-pde, averages of the cells of a {grid.kind} grid"
    return arrays
