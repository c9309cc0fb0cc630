"""Arrays of a file that are read when they are asked for, as variables of xarray: with the names
of their axes, or, where a file has none, with names that nobody can mistake for any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray
from xarray.backends import BackendArray
from xarray.core import indexing

BY_POSITION = "_by_position"
NUMBERS = "biufcSU"  # NumPy's letters of what is read: numbers, truth values, text
Read = Callable[[tuple], np.ndarray]


class Stored(BackendArray):
    """An array that lies in a file: its shape and type, and how a part of it is read.

    xarray asks for a class of its own kind here, with these names.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, read: Read):
        self.shape, self.dtype, self.read = shape, dtype, read

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self.read
        )


def variable(
    name: str,
    dims: Sequence[str] | None,
    stored: Stored,
    attrs: Mapping[str, object] | None = None,
) -> xarray.Variable:
    """A variable that is read when it is asked for.

    Args:
        name: its name.
        dims: names of its axes; None where the file has none: then they are `<name>_axis0`, ...,
            and the variable is marked `_by_position`.
        stored: where its numbers lie.
        attrs: its attributes.
    """
    marked = dict(attrs or {})
    if dims is None:
        dims = [f"{name}_axis{i}" for i in range(len(stored.shape))]
        marked[BY_POSITION] = True
    return xarray.Variable(list(dims), indexing.LazilyIndexedArray(stored), marked)


def dataset(
    variables: Mapping[str, xarray.Variable], attrs: Mapping[str, object] | None = None
) -> xarray.Dataset:
    """Variables in one dataset. Whichever names its axes in lengths that contradict those of a
    variable before it, or has a name twice, goes by position instead.
    """
    lengths: dict[str, int] = {}
    fitting = {}
    for name in sorted(variables, key=lambda name: variables[name].dims != (name,)):
        one = variables[name]
        if any(lengths.get(str(axis), size) != size for axis, size in one.sizes.items()):
            one = one.copy(deep=False)
            one.dims = [f"{name}_axis{i}" for i in range(one.ndim)]
            one.attrs[BY_POSITION] = True
        lengths |= {str(axis): size for axis, size in one.sizes.items()}
        fitting[name] = one
    coordinates = {name for name, one in fitting.items() if one.dims == (name,)}
    ordered = {name: fitting[name] for name in variables}
    return xarray.Dataset(ordered, attrs=dict(attrs or {})).set_coords(coordinates)
