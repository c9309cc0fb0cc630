"""Files of named arrays as people have them, each as one dataset of xarray that is read when it is
asked for: NetCDF 3, 4 and 64-bit, HDF5 with or without names for its axes, .npz, Zarr.

A file is told apart by its first bytes, never by its name. Nothing pickled is ever read, and
nothing outside the file is followed. Whatever is wrong with it, at opening or later, is one
`RefusedValue` that says what, and what to do.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayescons.extras import require
from bayescons.labelled.refusing import reading, require_memory, said
from bayescons.refusals import RefusedValue

if TYPE_CHECKING:
    import xarray

READ = (
    "Read are NetCDF 3 and 4 (CDF-5 too), HDF5 (of h5py, PDEBench, The Well, py-pde, MATLAB 7.3), "
    ".npz, and Zarr as a folder or a zip"
)
STORES = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")  # one of them lies in every Zarr store
# How files begin that are not read -> what they are, and how to make one that is.
OTHERS = {
    rb"\x93NUMPY": (
        "holds a single array (.npy) without coordinates",
        "Write all into one file: np.savez(path, t=t, x=x, mean=mean, scale=scale)",
    ),
    rb"\x80": (
        "looks like a pickle, which is never read, as reading one runs its code",
        "Write np.savez(path, t=t, x=x, mean=mean, scale=scale), or a NetCDF file",
    ),
    rb"GRIB": ("is GRIB", "Convert it: cdo -f nc4 copy in.grib out.nc"),
    rb"\x1f\x8b": ("is packed by gzip", "Unpack it: gunzip FILE"),
    rb"BZh": ("is packed by bzip2", "Unpack it: bunzip2 FILE"),
    rb"\xfd7zXZ": ("is packed by xz", "Unpack it: unxz FILE"),
    rb"\x28\xb5\x2f\xfd": ("is packed by zstd", "Unpack it: unzstd FILE"),
    rb"\x0e\x03\x13\x01": ("is HDF 4", "Convert it: h4toh5convert in.hdf out.h5"),
    rb"MATLAB 5": ("is a file of MATLAB 5 to 7", "Save it in MATLAB as save('out.mat', '-v7.3')"),
}


@contextmanager
def opened(path: Path, *, group: str | None = None) -> Generator[xarray.Dataset]:
    """The arrays of a file, read when they are asked for; values by the CF conventions.

    Scale, offset and fill values are applied and dates are dates where xarray can read them; what
    the file said of them is in the `encoding` of a variable, the rest in its `attrs`. An array
    whose axes have no names has axes `<name>_axis0`, ..., and `attrs["_by_position"]`. In
    `encoding` of the dataset are `source`, `understood` (what the file was taken for, in words) and
    `left_out` (name -> why an array is not among them).

    Args:
        path: the file, or the folder of a Zarr store.
        group: the group of its arrays; by default the root, or the only group that has some.

    Raises:
        RefusedValue: for a file that is missing, of another kind, damaged, or points out of itself,
            and for a group in doubt.
        MissingExtraError: the package that reads it is not installed.
    """
    with ExitStack() as stack:
        with reading(path):
            found = _opened(path, group, stack)
        stack.callback(_closed, found)
        yield found


def values(dataset: xarray.Dataset, name: str) -> np.ndarray:
    """All values of an array, read now.

    Args:
        dataset: as from `opened`.
        name: of the array.

    Raises:
        RefusedValue: there is no such array, it cannot be read, or memory has no room for it.
    """
    path = dataset.encoding.get("source", "the dataset")
    if name not in dataset.variables:
        left = dataset.encoding.get("left_out", {})
        why = f": {left[name]}" if name in left else ""
        raise RefusedValue(
            f"{path} has no array {name!r} that can be read{why}; expected one of "
            f"{', '.join(map(repr, dataset.variables)) or 'none'}"
        )
    variable = dataset.variables[name]
    require_memory(variable.nbytes, f"the array {name!r} of {path}")
    with reading(path, f"the array {name!r} of"):
        return np.asarray(variable.values)


def is_store(path: Path) -> bool:
    """Whether a folder is a Zarr store."""
    return any((path / name).is_file() for name in STORES)


def _opened(path: Path, group: str | None, stack: ExitStack) -> xarray.Dataset:
    kind = _kind(path)
    understood, opener, extra = OPENERS[kind]
    if extra:
        require(extra, by=f"reading {path}")
    if group is not None and extra not in ("files", "zarr"):
        raise RefusedValue(f"{path} is {understood}, which has no groups; leave --group out")
    from bayescons.labelled.decoding import decoded

    found = opener(path, group, stack)
    known = {"understood": understood, "left_out": {}, **found.encoding, "source": str(path)}
    kept = {name: known[name] for name in ("understood", "left_out", "source")}
    found = decoded(found)
    found.encoding = kept | ({"group": group} if group else {})
    return found


def _closed(dataset: xarray.Dataset) -> None:
    with reading(dataset.encoding["source"]):
        dataset.close()


def _kind(path: Path) -> str:
    """What a file is: a key of `OPENERS`."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise RefusedValue(
            f"cannot read {path}: {said(error)}. Look at the name and the folder. {READ}"
        ) from error
    if stat.S_ISDIR(mode):
        if is_store(path):
            return "zarr"
        raise RefusedValue(
            f"{path} is a folder, and no Zarr store, which has a file {' or '.join(STORES[:2])} at "
            f"its top. Name a file in it. {READ}"
        )
    if not stat.S_ISREG(mode):
        raise RefusedValue(f"{path} is neither a file nor a folder; write it to a file. {READ}")
    with open(path, "rb") as file:
        start = file.read(2048 + 8)
    if not start:
        raise RefusedValue(f"{path} is empty; is it complete? {READ}")
    return _of_bytes(path, start)


def _of_bytes(path: Path, start: bytes) -> str:
    hdf5 = b"\x89HDF\r\n\x1a\n"
    if any(start[at : at + 8] == hdf5 for at in (0, 512, 1024, 2048)):
        return "hdf5"
    if start.startswith((b"CDF\x01", b"CDF\x02")):
        return "netcdf3"
    if start.startswith(b"CDF\x05"):
        return "cdf5"
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _of_zip(path)
    for signature, (what, instead) in OTHERS.items():
        if re.match(signature, start):
            raise RefusedValue(f"{path} {what}. {instead}")
    raise RefusedValue(
        f"{path} is of a kind that is not read: it begins with {start[:8]!r}. {READ}"
    )


def _of_zip(path: Path) -> str:
    from bayescons.labelled.archives import members

    names = [*members(path)]
    if any(name in STORES for name in names):
        return "zarr"
    if any(name.rpartition("/")[2] in STORES for name in names):
        raise RefusedValue(
            f"{path} is a zip in which a Zarr store lies in a folder; it must lie at the top. Zip "
            "it from within: cd STORE.zarr && zip -r0 ../STORE.zip ."
        )
    if any(name.endswith(".npy") for name in names):
        return "npz"
    if any(name.endswith(".pkl") for name in names):
        raise RefusedValue(
            f"{path} is a pickle in a zip, as of PyTorch, which is never read, as reading one runs "
            "its code. Write np.savez(path, t=t, x=x, mean=mean, scale=scale)"
        )
    raise RefusedValue(
        f"{path} is a zip without arrays of NumPy (.npy) or a Zarr store. Unpack it, or write "
        "np.savez(path, t=t, x=x, mean=mean, scale=scale)"
    )


def _netcdf3(path: Path, _: str | None, stack: ExitStack) -> xarray.Dataset:
    import xarray

    return stack.enter_context(
        xarray.open_dataset(path, engine="scipy", decode_cf=False, cache=False)
    )


def _cdf5(path: Path, _: str | None, stack: ExitStack) -> xarray.Dataset:
    from bayescons.labelled.cdf5 import open_cdf5

    return open_cdf5(path, stack)


def _npz(path: Path, _: str | None, stack: ExitStack) -> xarray.Dataset:
    from bayescons.labelled.archives import open_archive

    return open_archive(path, stack)


def _hdf5(path: Path, group: str | None, stack: ExitStack) -> xarray.Dataset:
    from bayescons.labelled.hdf5 import open_hdf5

    return open_hdf5(path, group, stack)


def _zarr(path: Path, group: str | None, stack: ExitStack) -> xarray.Dataset:
    from bayescons.labelled.stores import open_store

    return open_store(path, group, stack)


# Kind -> what it is in words, what opens it, and the extra that this needs.
OPENERS: dict[str, tuple[str, Callable[..., xarray.Dataset], str | None]] = {
    "netcdf3": ("NetCDF 3", _netcdf3, None),
    "cdf5": ("NetCDF 3, 64-bit data (CDF-5)", _cdf5, None),
    "npz": (".npz", _npz, None),
    "hdf5": ("HDF5", _hdf5, "files"),
    "zarr": ("Zarr", _zarr, "zarr"),
}
