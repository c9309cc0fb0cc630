"""CDF-5, the NetCDF 3 format with lengths of 64 bits, which large models write.

Neither SciPy nor h5netcdf reads it, and the library that does, netCDF-C, hangs on some damaged
files. The format is a list of names, lengths and places, so it is read here, by its specification
(PnetCDF, "CDF-5 file format"): every length is compared with the size of the file before it is
believed. Numbers are read from the file when they are asked for.
"""

from __future__ import annotations

import dataclasses
import math
import mmap
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import xarray

from bayescons.labelled.lazy import Stored, dataset, variable

# The format's numbers of types: byte, char, short, int, float, double, and from 7 on those that
# CDF-5 has added.
TYPES = dict(enumerate(("i1", "S1", ">i2", ">i4", ">f4", ">f8"), 1))
TYPES |= dict(enumerate(("u1", ">u2", ">u4", ">i8", ">u8"), 7))
DIMENSIONS, VARIABLES, ATTRIBUTES = 10, 11, 12
STREAMING = 2**64 - 1  # in place of the number of records: as many as the file is long


@dataclasses.dataclass
class Head:
    """Reads one entry of the head of a file after the other.

    Attributes:
        data: the file.
        at: place of the next entry.
    """

    data: mmap.mmap
    at: int = 4

    def raw(self, count: int) -> bytes:
        """So many bytes, and what fills them up to a multiple of four."""
        if count > len(self.data) - self.at:
            raise ValueError(f"its head ends within an entry at byte {self.at}")
        found = self.data[self.at : self.at + count]
        self.at += -(-count // 4) * 4
        return found

    def number(self, size: int = 8) -> int:
        """A whole number."""
        return int.from_bytes(self.raw(size))

    def name(self) -> str:
        """A name."""
        return self.raw(self.number()).decode("utf-8")

    def count(self, tag: int) -> int:
        """How many entries of a kind follow."""
        found, count = self.number(4), self.number()
        if found not in (0, tag) or (count and not found) or count > len(self.data):
            raise ValueError(f"its head must have a list of kind {tag} before byte {self.at}")
        return count

    def attributes(self) -> dict[str, object]:
        """Attributes: text, numbers, or arrays of numbers."""
        return {self.name(): self._attribute() for _ in range(self.count(ATTRIBUTES))}

    def _attribute(self) -> object:
        dtype = _dtype(self.number(4))
        values = np.frombuffer(self.raw(self.number() * dtype.itemsize), dtype)
        if dtype.kind == "S":
            return values.tobytes().rstrip(b"\0").decode("utf-8", "replace")
        native = values.astype(dtype.newbyteorder("="))
        return native[0] if len(native) == 1 else native


def open_cdf5(path: Path, stack: ExitStack) -> xarray.Dataset:
    """The arrays of a CDF-5 file.

    Args:
        path: the file.
        stack: closes the file in the end.

    Raises:
        ValueError: for a file that contradicts itself, or ends too early.
    """
    with open(path, "rb") as file:
        data = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    head = Head(data)
    records = head.number()
    lengths = [(head.name(), head.number()) for _ in range(head.count(DIMENSIONS))]
    attrs = head.attributes()
    entries = [_entry(head, lengths) for _ in range(head.count(VARIABLES))]
    stride = _stride(entries)
    if records == STREAMING:
        first = min((e.begin for e in entries if e.varies), default=len(data))
        records = max(len(data) - first, 0) // stride if stride else 0
    variables = {e.name: e.variable(data, records, stride) for e in entries}
    found = dataset(variables, attrs)
    found.encoding["understood"] = "NetCDF 3, 64-bit data (CDF-5)"
    return found


@dataclasses.dataclass(frozen=True)
class Entry:
    """A variable, as the head of a file describes it.

    Attributes:
        name: its name.
        dims: names of its axes.
        shape: their lengths; 0 for that of the records.
        varies: whether its first axis is that of the records.
        attrs: its attributes.
        dtype: of its numbers.
        begin: its place in the file.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    varies: bool
    attrs: Mapping[str, object]
    dtype: np.dtype
    begin: int

    @property
    def inner(self) -> tuple[int, ...]:
        """Lengths within a record."""
        return self.shape[1:] if self.varies else self.shape

    @property
    def nbytes(self) -> int:
        """Bytes of a record, or of all."""
        return math.prod(self.inner) * self.dtype.itemsize

    def variable(self, data: mmap.mmap, records: int, stride: int) -> xarray.Variable:
        """The variable, read when it is asked for.

        Args:
            data: the file.
            records: how many there are.
            stride: bytes from one record to the next.
        """
        count = records if self.varies else 1
        end = self.begin + (count - 1) * stride + self.nbytes if count and self.nbytes else 0
        if end > len(data):
            raise ValueError(f"{self.name!r} must end at byte {end}, and the file at {len(data)}")
        shape = (records, *self.inner) if self.varies else self.shape

        def read(key: tuple) -> np.ndarray:
            if 0 in shape:
                return np.asarray(np.empty(shape, self.dtype)[key])
            strides = _strides(self.inner, self.dtype.itemsize)
            strides = (stride, *strides) if self.varies else strides
            return np.array(np.ndarray(shape, self.dtype, data, self.begin, strides)[key])

        return variable(self.name, self.dims, Stored(shape, self.dtype, read), self.attrs)


def _entry(head: Head, lengths: list[tuple[str, int]]) -> Entry:
    name = head.name()
    count = head.number()
    if count > len(head.data):
        raise ValueError(f"{name!r} has {count} axes")
    axes = [lengths[head.number()] for _ in range(count)]
    attrs, dtype = head.attributes(), _dtype(head.number(4))
    head.number()  # its size, which follows from the rest
    dims, shape = tuple(axis for axis, _ in axes), tuple(length for _, length in axes)
    return Entry(name, dims, shape, bool(shape) and not shape[0], attrs, dtype, head.number())


def _stride(entries: list[Entry]) -> int:
    """Bytes from one record to the next: those of all variables, each filled up to a multiple of
    four, but for a single one.
    """
    sizes = [entry.nbytes for entry in entries if entry.varies]
    return sizes[0] if len(sizes) == 1 else sum(-(-size // 4) * 4 for size in sizes)


def _strides(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    return tuple(size * math.prod(shape[i + 1 :]) for i in range(len(shape)))


def _dtype(number: int) -> np.dtype:
    if number not in TYPES:
        raise ValueError(f"a type must have a number from 1 to 11; it is {number}")
    return np.dtype(TYPES[number])
