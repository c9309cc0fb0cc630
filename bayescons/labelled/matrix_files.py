"""Matrices of rows from files: sparse ones of SciPy (.npz) and Matrix Market (.mtx), single arrays
of NumPy (.npy), and arrays of every file that `files` opens, as FILE:NAME. Nothing pickled is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bayescons.labelled.files import opened, values
from bayescons.labelled.refusing import reading, require_memory
from bayescons.refusals import RefusedValue

MARKET, NUMPY, ZIP = b"%%MatrixMarket", b"\x93NUMPY", b"PK\x03\x04"
HELD = 16  # bytes of an entry of a sparse matrix, with its row and column, at least


def parted(text: str) -> tuple[Path, str | None]:
    """FILE or FILE:NAME; a file whose own name has a colon is taken as it is."""
    path, colon, name = text.rpartition(":")
    if not colon or not path or Path(text).exists():
        return Path(text), None
    return Path(path), name


def matrix_of(text: str) -> Any:
    """A matrix: sparse, an array without names for its axes, or an xarray.DataArray.

    Args:
        text: FILE of one matrix, or FILE:NAME of an array among others.

    Raises:
        RefusedValue: for a file that cannot be read, of several arrays, or without that one.
    """
    path, name = parted(text)
    if name is not None:
        return _array(path, name)
    start = _start(path)
    with reading(path):
        if start.startswith(MARKET):
            return _market(path)
        if start.startswith(NUMPY):
            require_memory(path.stat().st_size, f"the matrix of {path}")
            return np.load(path, allow_pickle=False)
        if start.startswith(ZIP) and _is_sparse(path):
            return _sparse(path)
    with opened(path) as file:
        held = ", ".join(map(repr, file.data_vars)) or "none"
        raise RefusedValue(
            f"{path} is no single matrix: neither of scipy.sparse.save_npz nor Matrix Market. "
            f"Name the array of it, {path}:NAME; there is {held}"
        )


def _start(path: Path) -> bytes:
    if not path.is_file():
        return b""  # which `opened` says what to do about
    with reading(path), open(path, "rb") as file:
        return file.read(len(MARKET))


def _array(path: Path, name: str) -> Any:
    with opened(path) as file:
        if name not in file.variables:
            raise RefusedValue(
                f"{path} has no array {name!r}; it has {', '.join(map(repr, file.variables))}"
            )
        values(file, name)
        return file[name].load()


def _is_sparse(path: Path) -> bool:
    """Whether an archive is what `scipy.sparse.save_npz` writes."""
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        return {"format", "shape", "data"} <= {*archive.files}


def _sparse(path: Path) -> Any:
    """A sparse matrix whose indices lie within it: SciPy does not look when it reads them, and
    compiled code that believes them reads memory that is not its own.
    """
    from scipy import sparse

    from bayescons.labelled.archives import members

    require_memory(4 * sum(members(path).values()), f"the matrix of {path}")
    with open(path, "rb") as file:  # which NumPy leaves open where it cannot read it
        found = sparse.load_npz(file)
    if found.format in ("csr", "csc", "bsr"):
        found.check_format(full_check=True)
    return found.tocoo()


def _market(path: Path) -> Any:
    from scipy import io

    rows, columns, entries, layout, _, symmetry = io.mminfo(path)
    size = HELD * entries * (1 if symmetry == "general" else 2)
    room = 8 * rows * columns if layout == "array" else size
    require_memory(max(room, 0), f"the matrix of {path}")
    if layout == "coordinate" and entries > path.stat().st_size:  # an entry takes some letters
        raise RefusedValue(
            f"{path} ends too early: its head says that there are {entries} entries. Copy or write "
            "it again"
        )
    return io.mmread(path, spmatrix=False)
