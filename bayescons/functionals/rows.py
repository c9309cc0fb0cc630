"""Rows that somebody has made himself: a matrix over the points of some axes, read as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bayescons.functionals.regions import RegionalSum, entries_of, over_points, sum_of_entries
from bayescons.grids import Grid
from bayescons.refusals import RefusedValue


def rows(
    grid: Grid, over: str | tuple[str, ...], matrix: Any, *, names: Sequence[str] | None = None
) -> RegionalSum:
    """(G u)_kr = Σ_i G_ri u_ki: the rows r of one's own matrix over the points i of some axes, the
    same for every point k of the axes left. No measure is applied: weights of a quadrature, areas
    and units are in G, or nowhere.

    Args:
        grid: where the field lives.
        over: axes whose points the columns are, in row-major order, the last named fastest.
        matrix: G, of shape (rows, points), a sparse matrix of SciPy or an array; of an array also
            (rows, *axes), and one row without its axis; an xarray.DataArray (rows, *axes) is read
            by the names of its axes.
        names: of the rows, for messages; by default "row 0", "row 1", ...

    Returns:
        A functional of value shape (*axes left, rows).

    Raises:
        ValueError: another number of columns or names; NaN; a row that is zero everywhere.
        TypeError: complex numbers.

    Where it fails: as `regional`: 2,000 rows that hang together are the limit.

    Example:
        >>> grid = bc.Grid(x=[0.0, 1.0, 3.0])
        >>> bc.functionals.rows(grid, "x", [[1.0, -1.0, 0.0], [0.0, 2.0, 0.5]])(
        ...     jnp.array([1.0, 2.0, 4.0])
        ... ).tolist()
        [-1.0, 6.0]
    """
    from scipy import sparse

    over = (over,) if isinstance(over, str) else tuple(over)
    at = tuple(map(grid.axis, over))
    if not at or len(set(at)) < len(at):
        raise RefusedValue(f"rows are over one axis or several, each named once; got {over!r}")
    shape = tuple(grid.shape[i] for i in at)
    if not sparse.issparse(matrix):
        matrix = over_points("the matrix of rows", matrix, over, tuple(grid[name] for name in over))
        if matrix.shape[-len(shape) :] == shape and matrix.ndim <= len(shape) + 1:
            matrix = matrix.reshape(-1, math.prod(shape))
    entries = entries_of("the rows", matrix, math.prod(shape))
    count = entries.shape[0]
    called = (
        tuple(map(str, names)) if names is not None else tuple(f"row {i}" for i in range(count))
    )
    if len(called) != count:
        raise RefusedValue(f"there are {count} rows and {len(called)} names; give one for each row")
    if len(set(called)) < count:
        twice = next(name for name in called if called.count(name) > 1)
        raise RefusedValue(f"two rows are called {twice!r}; names tell rows apart, so change one")
    empty = np.setdiff1d(np.arange(count), entries.row)
    if empty.size or not count:
        which = f"{called[empty[0]]!r} is zero at every point" if count else "there is no row"
        raise RefusedValue(f"{which}, and says nothing of the field; leave it out, or mend it")
    about = f"{count} rows of a matrix over {', '.join(over)}"
    return sum_of_entries(
        grid, over, (entries.row, entries.col, entries.data), called, "row", about
    )
