"""Arrays of an .npz file. Their axes have no names; each is read from the archive when it is asked
for, and nothing pickled ever is.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import xarray

from bayescons.labelled.lazy import NUMBERS, Stored, dataset, variable

HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
PICKLED = "it holds Python objects, which are pickled, and nothing pickled is read"


def open_archive(path: Path, stack: ExitStack) -> xarray.Dataset:
    """The arrays of an .npz file, by position; text and numbers, but no Python objects.

    Args:
        path: the file.
        stack: closes the file in the end.
    """
    archive = stack.enter_context(zipfile.ZipFile(path))
    members = {n.removesuffix(".npy"): n for n in archive.namelist() if n.endswith(".npy")}
    found = {name: _stored(archive, member) for name, member in members.items()}
    left = {name: reason for name, reason in found.items() if isinstance(reason, str)}
    kept = {name: s for name, s in found.items() if isinstance(s, Stored)}
    arrays = dataset({name: variable(name, None, stored) for name, stored in kept.items()})
    arrays.encoding["left_out"] = left
    return arrays


def members(path: Path) -> Mapping[str, int]:
    """Names of what is in a zip, and their sizes."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename: info.file_size for info in archive.infolist()}


def _stored(archive: zipfile.ZipFile, member: str) -> Stored | str:
    """Where an array lies, or why it is not read."""
    with archive.open(member) as stream:
        shape, _, dtype = _header(stream)
    if dtype.hasobject:
        return PICKLED
    if dtype.kind not in NUMBERS + "Mm":
        return f"it holds {dtype}, neither numbers nor text"
    missing = math.prod(shape) * dtype.itemsize - archive.getinfo(member).file_size
    if missing > 0:
        return f"{missing} bytes of it are missing"

    def read(key: tuple) -> np.ndarray:
        with archive.open(member) as stream:
            whole = np.lib.format.read_array(stream, allow_pickle=False)
            # The checksum is compared once the last byte has been read.
            if stream.read(1):
                raise zipfile.BadZipFile(f"{member} is longer than its own header says")
        return np.asarray(whole[key])

    return Stored(shape, dtype, read)


def _header(stream) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    # NumPy has no public reader for version 3, which is version 2 with names in UTF-8: field names
    # of structured arrays, which are not read anyway.
    return HEADERS.get(version, HEADERS[2, 0])(stream)
