"""Laws of many rows over labelled axes: a matrix of one's own, or regions, brought from the order
of the file into that of the grid, and their values beside them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bayescons.functionals import SingleFunctional, regional, rows
from bayescons.functionals.regions import entries_of
from bayescons.gaussians import row_covariance
from bayescons.labelled.conventions import text_of
from bayescons.labelled.field_values import fills_of
from bayescons.labelled.labels import require_same_places, weights_of
from bayescons.labelled.laws import Law
from bayescons.labelled.lazy import BY_POSITION
from bayescons.labelled.predictions import Predictions
from bayescons.labelled.refusing import require_memory
from bayescons.refusals import RefusedValue

ROWS = "the rows"  # axis of values that counts rows; no axis of a grid is called so
SHOWN = 12
COPIES = 3  # of the rows' covariance that are held while it is factored


class Rows(NamedTuple):
    """What a law of many rows is made of.

    Attributes:
        matrix: `scipy.sparse.coo_array`, (rows, points), points as the file has them.
        over: axes of these points, in the order of the file and of the grid.
        called: names of the rows.
        marks: what counts the rows in the file: numbers of regions, coordinates; None for nothing.
        told: how they were understood.
    """

    matrix: Any
    over: tuple[str, ...]
    called: tuple[str, ...]
    marks: np.ndarray | None
    told: str


def rows_of(law: Law, predictions: Predictions) -> Rows:
    """The rows of a law of many.

    Raises:
        ValueError: a matrix of another shape, or whose columns are in an order that is not clear;
            regions that are none; values for others.
    """
    build = _own_rows if law.kind == "rows" else _regions
    return build(law, predictions)


def functional_of(
    law: Law, made: Rows, predictions: Predictions, measure: Mapping, *, average: bool
) -> SingleFunctional:
    """The rows as a functional of the grid, whose axes ascend.

    Raises:
        ValueError: rows whose covariance does not fit into memory; what `regional` refuses.
    """
    grid = predictions.grid
    numbered = _ascending(np.arange(made.matrix.shape[1]), made.over, predictions)
    columns = np.argsort(numbered)  # of a point of the file, where it lies on the grid
    matrix = made.matrix.copy()
    matrix.coords = (matrix.coords[0], columns[matrix.coords[1]])
    if law.kind == "rows":
        found = rows(grid, made.over, matrix, names=made.called)
    else:
        measure = measure or None
        found = regional(grid, made.over, matrix, rule=law.rule, measure=measure, average=average)
        found = dataclasses.replace(found, called=made.called)
    size = 8 * COPIES * row_covariance.entries(predictions.belief.covariance, found)
    what = f"the covariance of the {len(found.called)} rows of {law.name!r}, which hang together,"
    require_memory(size, what, "State fewer rows, or first some and then the rest")
    return found


def _ascending(points: np.ndarray, over: Sequence[str], predictions: Predictions) -> np.ndarray:
    """Numbers of the file's points in the order of the grid."""
    turned = {d.name for d in predictions.dimensions if d.descending}
    shape = [predictions.template.sizes[n] for n in over]
    flips = tuple(slice(None, None, -1 if n in turned else 1) for n in over)
    return points.reshape(shape)[flips].ravel()


def _stored(law: Law, predictions: Predictions) -> tuple[str, ...]:
    """The axes of a law in the order of the file."""
    return tuple(n for n in predictions.template.dims if n in law.axes)


# --- rows of one's own


def _own_rows(law: Law, predictions: Predictions) -> Rows:
    import xarray

    over, given, marks = _stored(law, predictions), law.made_of, None
    named = isinstance(given, xarray.DataArray) and not given.attrs.get(BY_POSITION)
    if named and (given.ndim > 2 or {*given.dims} & {*predictions.axes}):
        matrix, marks = _over_names(law, given, over, predictions)
    elif law.axes != over:
        raise RefusedValue(
            f"columns of a matrix are the points as the file has them, and {law.name!r} names the "
            f"axes in another order: {predictions.template.name!r} is over ({', '.join(over)}). "
            f"Write {','.join(over)}. If the columns are in the order {','.join(law.axes)}, bring "
            "them into the file's: matrix[:, np.arange(points).reshape(shape).T.ravel()]; or give "
            "an xarray.DataArray, whose axes have names"
        )
    else:
        matrix = _by_position(law, given, over, predictions)
    matrix = entries_of(f"the rows of {law.name!r}", matrix, _points(over, predictions))
    marks = _coordinate_of(law.value, predictions)[0] if marks is None else marks
    count = matrix.shape[0]
    marks = marks if marks is not None and len(marks) == count else None
    names = law.called or (
        tuple(f"row {i}" for i in range(count)) if marks is None else tuple(map(str, marks))
    )
    marks = np.asarray(law.called) if law.called and len(law.called) == count else marks
    told = (
        f"{law.source and f'{law.source}: '}{count} row{'s' * (count != 1)} over "
        f"{', '.join(over)}, {matrix.nnz} entries; read as they are, no measure applied"
    )
    return Rows(matrix, over, names, marks, told)


def _points(over: Sequence[str], predictions: Predictions) -> int:
    return math.prod(predictions.template.sizes[n] for n in over)


def _by_position(law: Law, given: Any, over: tuple[str, ...], predictions: Predictions):
    """A matrix (rows, points); an array may have the axes themselves in place of points."""
    from scipy import sparse

    if sparse.issparse(given):
        return given
    try:
        array = np.asarray(given)
    except (TypeError, ValueError) as error:
        raise RefusedValue(
            f"the rows of {law.name!r} must be a sparse matrix of SciPy, an array or an "
            f"xarray.DataArray; got {type(given).__name__}"
        ) from error
    shape = tuple(predictions.template.sizes[n] for n in over)
    fits = array.ndim <= len(shape) + 1 and array.shape[-len(shape) :] == shape
    return array.reshape(-1, math.prod(shape)) if fits else array


def _over_names(law: Law, given, over: tuple[str, ...], predictions: Predictions):
    """A matrix over named axes, as the file has its points, and coordinates of its rows."""
    what = f"the matrix {given.name!r} of {law.name!r}"
    missing = [n for n in over if n not in given.dims]
    further = [n for n in given.dims if n not in over]
    if missing or len(further) > 1 or (further and further[0] in predictions.axes):
        raise RefusedValue(
            f"{what} is over ({', '.join(map(str, given.dims))}); expected are "
            f"({', '.join(over)}) and at most one further axis, which counts the rows and is none "
            "of the field"
        )
    require_same_places(what, given, predictions.dataset)
    ordered = given.transpose(*further, *over)
    marks = _marks(given, further[0]) if further else None
    return np.asarray(ordered).reshape(-1, _points(over, predictions)), marks


# --- regions


def _regions(law: Law, predictions: Predictions) -> Rows:
    over, dataset = _stored(law, predictions), predictions.dataset
    array = weights_of(dataset, law.made_of, "regions")
    what = f"the regions {array.name!r}"
    if array.attrs.get(BY_POSITION):
        raise RefusedValue(
            f"{what} have no names for their axes. Write them with names: "
            "xarray.Dataset({'basin': (('y', 'x'), array)}).to_netcdf('basin.nc')"
        )
    along = [n for n in over if n in array.dims]
    further = [n for n in array.dims if n not in over]
    if not along or len(further) > 1 or (further and further[0] in predictions.axes):
        raise RefusedValue(
            f"{what} are over ({', '.join(map(str, array.dims))}); expected are axes among "
            f"({', '.join(over)}), and for shares one further axis, which counts the regions"
        )
    values = np.asarray(array.transpose(*further, *along))
    size = [predictions.template.sizes[n] if n in along else 1 for n in over]
    shape = [predictions.template.sizes[n] for n in over]
    wanted, of = _coordinate_of(law.value, predictions)
    if further or array.dtype.kind == "b":
        lead = values.shape[0] if further else 1
        shares = np.broadcast_to(values.reshape(lead, *size), (lead, *shape))
        matrix = np.nan_to_num(shares.astype(float), nan=0.0).reshape(lead, -1)
        marks = _marks(array, further[0]) if further else None
        names = tuple(map(str, range(lead) if marks is None else marks))
        told = f"{lead} region{'s' * (lead != 1)}, shares {array.name!r}"
        if marks is not None and wanted is not None:
            kept = _positions(wanted, marks, names, what, of)
            matrix, marks = matrix[kept], marks[kept]
            part = "" if len(kept) == lead else f"{len(kept)} of "
            names, told = tuple(names[i] for i in kept), f"{part}{told}"
    else:
        numbers = _whole(np.broadcast_to(values.reshape(size), shape).ravel(), array, what)
        marks = np.unique(numbers[numbers >= 0])
        by_number = _meanings(array)
        if not marks.size:
            raise RefusedValue(f"{what} hold no number of zero or more, and so no region")
        names = tuple(by_number.get(int(n), str(n)) for n in marks)
        told = f"{len(marks)} regions of {array.name!r}, {_listed(names)}"
        if wanted is not None:
            kept = _positions(wanted, marks, names, what, of)
            names = tuple(names[i] for i in kept)
            part = "" if len(kept) == len(marks) else f"{len(kept)} of "
            told = f"{part}{len(marks)} regions of {array.name!r}, {_listed(names)}"
            marks = marks[kept]
        matrix = _membership(numbers, marks)
    matrix = entries_of(what, matrix, _points(over, predictions))
    return Rows(matrix, over, names, marks, told)


def _membership(numbers: np.ndarray, marks: np.ndarray):
    """1 where a point is in a region, (regions, points)."""
    from scipy import sparse

    order = np.argsort(marks)
    at = np.minimum(np.searchsorted(marks, numbers, sorter=order), len(marks) - 1)
    row = order[at]
    inside = np.flatnonzero(marks[row] == numbers)
    entries = np.ones(inside.size), (row[inside], inside)
    return sparse.coo_array(entries, (len(marks), numbers.size))


def _whole(values: np.ndarray, array, what: str) -> np.ndarray:
    """Numbers of regions; -1 for none."""
    values = values.astype(float)
    known = np.isfinite(values) & ~np.isin(values, fills_of(array))
    odd = values[known][values[known] != np.round(values[known])]
    if odd.size:
        raise RefusedValue(
            f"{what} hold {odd[0]:g}; expected are whole numbers, one region a point. Shares of "
            "regions have one further axis, (region, "
            f"{', '.join(map(str, array.dims))})"
        )
    return np.where(known & (values >= 0), np.where(known, values, -1), -1).astype(np.int64)


def _meanings(array) -> dict[int, str]:
    """What numbers stand for, by `flag_values` and `flag_meanings`."""
    names = (text_of(array.attrs, "flag_meanings") or "").split()
    values = np.asarray(array.attrs.get("flag_values", [])).ravel()
    if values.dtype.kind not in "iuf" or len(values) != len(names):
        return {}
    return {int(n): name for n, name in zip(values, names, strict=True)}


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(str, names[:SHOWN])) + more


# --- what counts rows in named arrays


def _marks(array, name: str) -> np.ndarray | None:
    """Coordinates along an axis, where it has some."""
    return np.asarray(array[name]) if name in array.coords else None


def _further(array, predictions: Predictions) -> list[str]:
    return [n for n in array.dims if n not in predictions.axes]


def _coordinate_of(given: Any, predictions: Predictions) -> tuple[np.ndarray | None, str]:
    """Coordinates of the axis of a named value that counts rows, and what it is called."""
    import xarray

    if isinstance(given, str) and given in predictions.dataset.variables:
        given = predictions.dataset[given]
    if not isinstance(given, xarray.DataArray) or given.attrs.get(BY_POSITION):
        return None, ""
    further = _further(given, predictions)
    return (_marks(given, further[0]) if len(further) == 1 else None), repr(given.name)


def _positions(
    wanted: np.ndarray, marks: np.ndarray, names: Sequence[str], what: str, of: str
) -> list[int]:
    """Where the rows that are wanted stand among those there are."""
    numeric = wanted.dtype.kind in "iuf" and marks.dtype.kind in "iuf"
    held = {float(m): i for i, m in enumerate(marks)} if numeric else {}
    held = held or {str(n): i for i, n in enumerate(names)}
    keys = [float(w) if numeric else str(w) for w in wanted]
    strange = [w for w, key in zip(wanted, keys, strict=True) if key not in held]
    if strange or len({*keys}) < len(keys):
        which = f"for {strange[0]!s}" if strange else "twice for one"
        raise RefusedValue(
            f"the value {of} has an entry {which}, and {what} are {_listed(names)}. Leave it out: "
            "value.sel(...), or drop_duplicates"
        )
    return [held[key] for key in keys]


def with_rows(given: Any, made: Rows, predictions: Predictions, what: str) -> Any:
    """A named value whose axis of rows is called `ROWS`, in the order of the rows."""
    import xarray

    if not isinstance(given, xarray.DataArray) or given.attrs.get(BY_POSITION):
        return given
    further, count = _further(given, predictions), made.matrix.shape[0]
    if not further:
        return given
    if len(further) > 1 or given.sizes[further[0]] != count:
        raise RefusedValue(
            f"the {what} is over ({', '.join(map(str, given.dims))}) of sizes "
            f"({', '.join(map(str, given.shape))}); expected is one axis beside those of the field,"
            f" of {count} entries: {_listed(made.called)}. Give each of these a value, or an array "
            "whose axis has their numbers as coordinates"
        )
    mine = _marks(given, further[0])
    if mine is not None and made.marks is not None:
        places = _positions(mine, made.marks, made.called, "the rows", f"of the {what}")
        given = given.isel({further[0]: np.argsort(places)})
    return given.drop_vars(further[0], errors="ignore").rename({further[0]: ROWS})
