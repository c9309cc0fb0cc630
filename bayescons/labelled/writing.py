"""Datasets and trees into files, NetCDF or Zarr by suffix, whole or not at all, and in full
precision however the input was packed.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayescons.extras import require
from bayescons.labelled.files import is_store
from bayescons.labelled.refusing import holding, reading, require_memory, said
from bayescons.refusals import RefusedFile, RefusedValue
from bayescons.results.files import require_room, whole_file

if TYPE_CHECKING:
    import xarray

LONGEST = 200  # bytes of a name: most systems take 255, and the file is first written beside it
KEPT = ("units", "calendar")  # of how dates are written; how numbers were packed is not kept


def written(
    data: xarray.Dataset | xarray.DataTree,
    path: Path,
    *,
    source: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a dataset or a tree as NetCDF (.nc) or Zarr (.zarr): the earlier file, or folder, stays
    until the new one is complete.

    Numbers are written as they are in memory: scale, offset and type of a packed input are not
    used again, since an exact total does not survive whole numbers of 16 bits. The fill value of
    floats is.

    Args:
        data: what is written.
        path: where to.
        source: the file that it was made of, which is not replaced.
        overwrite: it may be, all the same.

    Returns:
        The path.

    Raises:
        RefusedValue: for a name that cannot be written to, or data that the format cannot hold.
        RefusedFile: there is no room, no such folder, or no permission.
    """
    suffix = placed(path, source=source, overwrite=overwrite)
    require("files" if suffix == ".nc" else "zarr", by=f"writing {path}")
    plain = _plain(data)
    return _netcdf(plain, path) if suffix == ".nc" else _zarr(plain, path)


def placed(path: Path, *, source: Path | None = None, overwrite: bool = False) -> str:
    """The suffix of a path that `written` can write to, found out before the work is done.

    Raises:
        RefusedValue: as `written`; and for a folder that is not there.
    """
    suffix = _checked(path)
    if source is not None and not overwrite and _is_same(source, path):
        raise RefusedValue(
            f"{path} is the input, which would be replaced. Choose another name, or say that it "
            "may be: --overwrite"
        )
    if not path.parent.is_dir():
        raise RefusedValue(
            f"cannot write {path}: there is no folder {path.parent}. Make it first, or choose "
            "another name"
        )
    return suffix


def _checked(path: Path) -> str:
    """The suffix of a path that can be written to."""
    size = len(os.fsencode(path.name))
    if not path.name or size > LONGEST:
        raise RefusedValue(
            f"a file must have a name of 1 to {LONGEST} bytes; got {size}. Write OUT.nc or OUT.zarr"
        )
    if path.suffix not in (".nc", ".zarr"):
        raise RefusedValue(
            f"{path} must end in .nc (NetCDF) or .zarr (Zarr); it ends in {path.suffix!r}. Write "
            f"{path.with_suffix('.nc').name}"
        )
    if path.suffix == ".nc" and path.is_dir():
        raise RefusedValue(f"{path} is a folder; expected the name of a file. Choose another name")
    if path.suffix == ".zarr" and path.exists() and not (path.is_dir() and is_store(path)):
        raise RefusedValue(
            f"{path} is there and is no Zarr store; it is not replaced. Choose another name, or "
            "remove it"
        )
    return path.suffix


def _is_same(source: Path, path: Path) -> bool:
    return source.exists() and path.exists() and os.path.samefile(source, path)


def _plain(data: xarray.Dataset | xarray.DataTree) -> xarray.Dataset | xarray.DataTree:
    import xarray

    if isinstance(data, xarray.Dataset):
        return _in_memory(data)
    nodes = {node.path: node.to_dataset(inherit=False) for node in data.subtree}
    return xarray.DataTree.from_dict({path: _in_memory(node) for path, node in nodes.items()})


def _in_memory(data: xarray.Dataset) -> xarray.Dataset:
    """A dataset read, with attributes that a file can hold, and without how it was packed."""
    path = data.encoding.get("source", "the dataset")
    for name in (*data.variables, *data.dims):
        if "/" in str(name) or not str(name):
            raise RefusedValue(
                f"an array or axis must have a name without '/', which parts groups; got {name!r}. "
                "Rename it: dataset.rename({'a/b': 'a_b'})"
            )
    require_memory(data.nbytes, f"{path}")
    with reading(path):
        found = data.copy().load()
    found.encoding = {}
    found.attrs = _attributes(found.attrs)
    for variable in found.variables.values():
        variable.encoding = _encoding(variable)
        variable.attrs = _attributes(variable.attrs)
    return found


def _encoding(variable: xarray.Variable) -> dict[str, object]:
    """How dates are written, and the fill value of what was and is a float."""
    old = variable.encoding
    kept = {name: old[name] for name in KEPT if name in old}
    was_float = np.issubdtype(np.dtype(old.get("dtype", variable.dtype)), np.floating)
    packed = "scale_factor" in old or "add_offset" in old
    if variable.dtype.kind == "f" and was_float and not packed and "_FillValue" in old:
        kept["_FillValue"] = variable.dtype.type(old["_FillValue"])
    return kept


def _attributes(attrs: Mapping) -> dict[str, object]:
    """Attributes as both formats hold them: text, numbers, lists of them; JSON text for the rest,
    1 and 0 for truth values.
    """
    from bayescons.labelled.lazy import BY_POSITION  # which brings xarray

    return {str(k): _attribute(v) for k, v in attrs.items() if k != BY_POSITION and v is not None}


def _attribute(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        return value.astype(np.int8) if value.dtype.kind == "b" else value
    if isinstance(value, bool):
        return int(value)
    numbers = isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value)
    texts = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
    simple = isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 2**63)
    return value if numbers or texts or simple else json.dumps(value, default=str)


def _netcdf(data: xarray.Dataset | xarray.DataTree, path: Path) -> Path:
    from bayescons.results.trees import write

    with whole_file(path) as temporary, holding(path):
        write(data, temporary)
    return path


def _zarr(data: xarray.Dataset | xarray.DataTree, path: Path) -> Path:
    """Write a folder beside `path` and put it in its place."""
    new, old = (path.with_name(f".{path.name}.{uuid.uuid4().hex}.{end}") for end in ("part", "old"))
    try:
        require_room(path, data.nbytes)
        new.mkdir()  # Zarr would make the folders above as well
        with holding(path):
            data.to_zarr(new, mode="w", zarr_format=2)
        if path.exists():
            path.rename(old)
        new.rename(path)
    except OSError as error:
        if isinstance(error, RefusedFile):
            raise
        raise RefusedFile(
            error.errno,
            f"cannot write '{path}': {said(error)}. Expected a name in a folder that exists, is "
            "writable and has room; make the folder first, or choose another path",
        ) from error
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return path
