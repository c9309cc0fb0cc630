"""Zarr stores, versions 2 and 3, as folders and as zips of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import xarray
import zarr
from zarr.abc.store import Store

from bayescons.labelled import groups
from bayescons.labelled.decoding import without_guessed_masks
from bayescons.labelled.lazy import NUMBERS, Stored, dataset, variable
from bayescons.labelled.refusing import require_memory
from bayescons.refusals import RefusedValue

OLD_DIMENSIONS = "_ARRAY_DIMENSIONS"  # xarray's attribute in version 2
PACKING = ("filters", "compressor", "codecs")  # where the metadata of an array names its codecs


def open_store(path: Path, group: str | None, stack: ExitStack) -> xarray.Dataset:
    """The arrays of a group of a Zarr store; by position where their axes have no names.

    Args:
        path: a folder or a zip.
        group: the group; by default the root, or the only one that holds arrays.
        stack: closes the store in the end.

    Raises:
        RefusedValue: for arrays that are pickled, and where the group is in doubt.
    """
    logging.getLogger("asyncio").addFilter(_is_news)
    store = (
        zarr.storage.ZipStore(path, mode="r", read_only=True)
        if path.is_file()
        else zarr.storage.LocalStore(path, read_only=True)
    )
    stack.callback(store.close)
    root = zarr.open(store, mode="r")
    if isinstance(root, zarr.Array):
        raise RefusedValue(
            f"{path} is a single array of Zarr, without coordinates. Put it into a group beside "
            "them: xarray.Dataset(...).to_zarr(path)"
        )
    arrays, inner = _contents(path, root)
    inside = {
        name: [n for n, one in _directly_in(name, arrays).items() if _axes(one) != [n]]
        for name in ("", *inner)
    }
    wanted, how = groups.chosen(
        path, inside, group, lambda where, name: _axes(_directly_in(where, arrays)[name])
    )
    found = _directly_in(wanted, arrays)
    opened = (
        _of_xarray(path, store, wanted, found, stack)
        if all(_axes(one) is not None for one in found.values())
        else _by_position(root[wanted] if wanted else root, found)
    )
    opened.encoding["understood"] = "; ".join(
        filter(None, [f"Zarr {root.metadata.zarr_format}", how])
    )
    return opened


def _is_news(record: logging.LogRecord) -> bool:
    """Whether what asyncio logs is worth reading. Zarr reads the members of a group at once; where
    several fail, the first is raised, and asyncio prints a traceback for each of the others.
    """
    said = record.getMessage()
    return not ("never retrieved" in said and "zarr" in said)


def _contents(path: Path, root: zarr.Group) -> tuple[dict[str, zarr.Array], list[str]]:
    """All arrays, and the names of all groups."""
    members = dict(root.members(max_depth=None))
    arrays = {name: one for name, one in members.items() if isinstance(one, zarr.Array)}
    for name, one in arrays.items():
        said = one.metadata.to_dict()
        if "pickle" in repr([said.get(part) for part in PACKING]):
            raise RefusedValue(
                f"{path} holds Python objects in {name!r}, which are pickled, and nothing pickled "
                "is read, as reading it runs its code. Write them as text or numbers"
            )
    return arrays, sorted(set(members) - set(arrays))


def _directly_in(group: str, arrays: Mapping[str, zarr.Array]) -> dict[str, zarr.Array]:
    return {
        name.rpartition("/")[2]: one
        for name, one in arrays.items()
        if name.rpartition("/")[0] == group
    }


def _axes(one: zarr.Array) -> list[str] | None:
    """Names of the axes, where the store has them all."""
    names = one.attrs.get(OLD_DIMENSIONS)
    names = one.metadata.dimension_names if one.metadata.zarr_format == 3 else names
    if one.ndim == 0:
        return []
    fits = isinstance(names, list | tuple) and len(names) == one.ndim and all(names)
    return [str(name) for name in names] if fits else None


def _of_xarray(
    path: Path,
    store: Store,
    group: str,
    found: Mapping[str, zarr.Array],
    stack: ExitStack,
) -> xarray.Dataset:
    for name, one in found.items():
        if _axes(one) == [name]:
            require_memory(one.nbytes, f"the coordinate {name!r} of {path}")
    raw = stack.enter_context(
        xarray.open_dataset(store, engine="zarr", group=group or None, decode_cf=False, cache=False)
    )
    own = {name: dict(one.attrs) for name, one in found.items()}
    old = any(one.metadata.zarr_format == 2 for one in found.values())
    return without_guessed_masks(raw, own) if old else raw


def _by_position(group: zarr.Group, found: Mapping[str, zarr.Array]) -> xarray.Dataset:
    left = {
        name: f"it holds {one.dtype}, neither numbers nor text"
        for name, one in found.items()
        if one.dtype.kind not in NUMBERS + "T"
    }
    variables = {
        name: variable(
            name,
            _axes(one),
            Stored(one.shape, one.dtype, lambda key, one=one: np.asarray(one[key])),
            {k: v for k, v in one.attrs.items() if k != OLD_DIMENSIONS},
        )
        for name, one in found.items()
        if name not in left
    }
    arrays = dataset(variables, {k: _plain(v) for k, v in group.attrs.items()})
    arrays.encoding["left_out"] = left
    return arrays


def _plain(value: object) -> object:
    """An attribute as NetCDF can hold it."""
    return value if isinstance(value, str | int | float | list) else json.dumps(value)
