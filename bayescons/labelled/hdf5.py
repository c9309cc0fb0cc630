"""HDF5: NetCDF 4, whose axes have names, and files of h5py, MATLAB or solvers, whose axes mostly
have none. Nothing outside the file is ever followed: external links, external storage and virtual
datasets are refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import xarray

from bayescons.labelled import groups, pde
from bayescons.labelled.hdf5_arrays import attributes, numbers
from bayescons.labelled.hdf5_heaps import CheckedFile
from bayescons.labelled.lazy import Stored, dataset, variable
from bayescons.labelled.refusing import require_memory
from bayescons.refusals import RefusedValue

NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"
MATLAB = "MATLAB_class"
MATLAB_NUMBERS = [
    "double",
    "single",
    "logical",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        groups: names of all groups, the root's "" first.
        arrays: path within the file -> dataset.
    """

    groups: tuple[str, ...]
    arrays: Mapping[str, h5py.Dataset]

    def directly_in(self, group: str) -> dict[str, h5py.Dataset]:
        """Name -> dataset of those that lie in a group itself."""
        return {
            name.rpartition("/")[2]: one
            for name, one in self.arrays.items()
            if name.rpartition("/")[0] == group
        }


def open_hdf5(path: Path, group: str | None, stack: ExitStack) -> xarray.Dataset:
    """The arrays of a group of an HDF5 file.

    Args:
        path: the file.
        group: the group; by default the root, or the only one that holds arrays.
        stack: closes the file in the end.

    Raises:
        RefusedValue: for what points out of the file, and where the group is in doubt.
    """
    file = stack.enter_context(h5py.File(CheckedFile(path), "r"))
    contents = _contents(path, file)
    layout = None if group else pde.layout(file)
    if layout:
        return layout(path, file)
    inside = {
        name: [n for n, one in contents.directly_in(name).items() if not _is_coordinate(one)]
        for name in contents.groups
        if not _is_grid_of_pdebench(name, contents)
    }
    wanted, how = groups.chosen(
        path, inside, group, lambda where, name: _axes(contents.directly_in(where)[name])
    )
    found = contents.directly_in(wanted)
    arrays = (
        _netcdf(path, wanted, contents, stack)
        if found and all(map(_is_named, found.values()))
        else _by_hand(file, wanted, contents)
    )
    if how:
        arrays.encoding["understood"] += f"; {how}"
    return arrays


def _contents(path: Path, file: h5py.File) -> Contents:
    links: dict[str, object] = {}
    file.visititems_links(lambda name, link: links.update({name: link}))  # None: goes on
    for name, link in links.items():
        if isinstance(link, h5py.ExternalLink):
            raise RefusedValue(
                f"{path} names another file for {name!r}: {link.filename!r}, which is not "
                "followed. Copy what it holds into this one, as with h5copy"
            )
    soft = {name for name, link in links.items() if isinstance(link, h5py.SoftLink)}
    things = {name: file[name] for name in links if name not in soft}
    things |= {name: one for name in soft if isinstance(one := file.get(name), h5py.Dataset)}
    arrays = {name: one for name, one in things.items() if isinstance(one, h5py.Dataset)}
    for name, one in arrays.items():
        if one.external or one.is_virtual:
            raise RefusedValue(
                f"{path} keeps the numbers of {name!r} in another file, which is not followed. "
                "Write them into one file first, as h5repack does"
            )
    inner = [name for name, one in things.items() if isinstance(one, h5py.Group)]
    return Contents(("", *inner), arrays)


def _is_named(one: h5py.Dataset) -> bool:
    """Whether all axes have scales, by which NetCDF 4 names them."""
    return h5py.h5ds.is_scale(one.id) or (
        one.shape is not None and all(h5py.h5ds.get_num_scales(one.id, i) for i in range(one.ndim))
    )


def _is_coordinate(one: h5py.Dataset) -> bool:
    return bool(h5py.h5ds.is_scale(one.id))


def _netcdf(path: Path, group: str, contents: Contents, stack: ExitStack) -> xarray.Dataset:
    """The arrays of a group of a NetCDF 4 file, with the coordinates of the groups above it."""
    for name, one in contents.arrays.items():
        if _is_coordinate(one) and not _is_bare(one):
            require_memory(one.nbytes, f"the coordinate {name!r} of {path}")
    opened = [_group_of(path, name, stack) for name in (group, *groups.above(group))]
    found = opened[0]
    for outer in opened[1:]:
        inherited = {
            name: one
            for name, one in outer.coords.items()
            if name not in found.variables
            and all(found.sizes.get(axis) == size for axis, size in one.sizes.items())
        }
        found = found.assign_coords(inherited)
    found.encoding["understood"] = "NetCDF 4"
    return found


def _group_of(path: Path, group: str, stack: ExitStack) -> xarray.Dataset:
    return stack.enter_context(
        xarray.open_dataset(
            CheckedFile(path),
            engine="h5netcdf",
            group=group or None,
            decode_cf=False,
            cache=False,
        )
    )


def _is_bare(one: h5py.Dataset) -> bool:
    """Whether it stands for the length of an axis, without numbers."""
    return NO_VARIABLE in np.bytes_(one.attrs.get("NAME", b""))


def _by_hand(file: h5py.File, group: str, contents: Contents) -> xarray.Dataset:
    """The arrays of a group, their axes named by scales or labels where there are any."""
    found = contents.directly_in(group)
    grid = f"{group}/grid" if group else "grid"
    if _is_grid_of_pdebench(grid, contents):
        found = contents.directly_in(grid) | found
    matlab = any(MATLAB in one.attrs for one in found.values())
    look: Callable = _of_matlab if matlab else numbers
    stored = {name: look(one) for name, one in found.items() if not _is_bare(one)}
    variables = {
        name: variable(name, None if matlab else _axes(found[name]), s, attributes(found[name]))
        for name, s in stored.items()
        if isinstance(s, Stored)
    }
    arrays = dataset(variables, attributes(file[group or "/"]))
    arrays.encoding["left_out"] = {n: s for n, s in stored.items() if isinstance(s, str)}
    arrays.encoding["understood"] = (
        "MATLAB 7.3, axes in MATLAB's order, vectors with one axis" if matlab else "HDF5"
    )
    return arrays


def _axes(one: h5py.Dataset) -> list[str] | None:
    """Names of all axes, by their scales or labels; None where one has neither."""
    if h5py.h5ds.is_scale(one.id):
        return [one.name.rpartition("/")[2]] if one.ndim == 1 else None
    names = [
        str(dim[0].name).rpartition("/")[2] if len(dim) else str(dim.label)
        for dim in (one.dims[i] for i in range(one.ndim))
    ]
    return names if all(names) and len(set(names)) == len(names) else None


def _of_matlab(one: h5py.Dataset) -> Stored | str:
    """An array as MATLAB has it: HDF5 holds its axes in the opposite order, and a vector with a
    second axis of length one.
    """
    kind = np.bytes_(one.attrs.get(MATLAB, b"double")).decode("ascii", "replace")
    if kind not in MATLAB_NUMBERS:
        return f"it is a {kind} of MATLAB, not an array of numbers"
    if one.attrs.get("MATLAB_empty", 0):
        return "it is empty"
    held = numbers(one)
    if isinstance(held, str):
        return held
    turned = held.shape[::-1]
    shape = tuple(n for n in turned if n != 1) if len(turned) == 2 else turned
    dtype = np.dtype(bool) if kind == "logical" else held.dtype
    return Stored(shape, dtype, lambda key: held.read(()).T.reshape(shape).astype(dtype)[key])


def _is_grid_of_pdebench(group: str, contents: Contents) -> bool:
    """Whether a group holds the coordinates of the array beside it: `0000/data`, `0000/grid/x`."""
    outer, _, name = group.rpartition("/")
    return name == "grid" and group in contents.groups and "data" in contents.directly_in(outer)
