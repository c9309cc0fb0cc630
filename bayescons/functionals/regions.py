"""Totals of regions: zones, basins, countries, any number of them at once, overlapping or not."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.arrays import KINDS, concrete, constant, finite, numbers
from bayescons.descriptions import described
from bayescons.functionals.abstract import Leaf, SingleFunctional, static
from bayescons.functionals.clusters import Clusters, clusters_of
from bayescons.functionals.conservation import weights_of
from bayescons.functionals.measures import Given
from bayescons.functionals.products import axis_labels
from bayescons.grids import Grid
from bayescons.refusals import RefusedType, RefusedValue


@described
@functools.partial(jax.tree_util.register_dataclass, drop_fields=("about",))
@dataclasses.dataclass(frozen=True)
class RegionalSum(SingleFunctional):
    """(G u)_kr = c_kr Σ_i M_ri W_ki u_ki: the sum over some axes (i) in each region r, one row for
    each region and each point of the other axes (k), on which G is pointwise. M is kept as its
    entries.

    Attributes:
        weights: W, of the field's number of axes, of length one along axes that it does not vary
            along.
        shares: entries of M other than zero, shape (entries,).
        regions: their rows.
        points: their columns, of the axes summed over, raveled in order.
        scale: c, a number or an array of the value's shape.
        clusters: of regions that share no point, or None where all hang together.
        coordinates: along the axes of the values but the last.
        grid_points: along the axes of the field.
        shape: of the field.
        over: positions of the axes summed over.
        called: names of the regions.
        names: of the axes of the values.
        grid_names: of the axes of the field.
        about: what it is in the field's words.
    """

    weights: Leaf
    shares: Leaf
    regions: Leaf
    points: Leaf
    scale: Leaf = 1.0
    clusters: Clusters | None = None
    coordinates: tuple = ()
    grid_points: tuple = ()
    shape: tuple[int, ...] = static(default=())
    over: tuple[int, ...] = static(default=())
    called: tuple[str, ...] = static(default=())
    names: tuple[str, ...] = static(default=())
    grid_names: tuple[str, ...] = static(default=())
    about: str = dataclasses.field(default="totals of regions", compare=False)

    @property
    def identity_axes(self) -> dict[int, int]:
        """Those that are not summed over."""
        return {axis: i for i, axis in enumerate(self._kept)}

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Lengths of the axes that are not summed over, then the number of regions."""
        return (*(self.shape[axis] for axis in self._kept), len(self.called))

    def linear(self, field) -> jax.Array:
        """c_kr Σ_i M_ri W_ki u_ki."""
        flat = self._flat(jnp.asarray(self.weights) * jnp.asarray(field))
        entries = flat[..., self.points] * self._along(self.shares, flat)
        sums = jnp.zeros((*flat.shape[:-1], len(self.called)), entries.dtype)
        return sums.at[..., self.regions].add(entries) * self.scale

    def adjoint(self, value) -> jax.Array:
        """W_ki Σ_r M_ri c_kr v_kr."""
        value = jnp.asarray(value) * self.scale
        entries = value[..., self.regions] * self._along(self.shares, value)
        count = math.prod(self.shape[axis] for axis in self.over)
        flat = jnp.zeros((*value.shape[:-1], count), entries.dtype)
        flat = flat.at[..., self.points].add(entries)
        moved = flat.reshape([self.shape[a] for a in (*self._kept, *self.over)])
        back = np.argsort((*self._kept, *self.over))
        return jnp.broadcast_to(jnp.asarray(self.weights) * moved.transpose(back), self.shape)

    def labels(self) -> list[str]:
        """Which point of the axes left and which region, e.g. "[t=0.05, europe]"."""
        kept = axis_labels(self.names[:-1], self.coordinates[:-1], self.value_shape[:-1])
        return [
            f"[{', '.join(filter(None, (where.strip('[]'), name)))}]"
            for where in kept
            for name in self.called
        ]

    def _flat(self, field) -> jax.Array:
        """The axes summed over raveled into one, the last."""
        moved = jnp.transpose(field, (*self._kept, *self.over))
        return moved.reshape(*(self.shape[axis] for axis in self._kept), -1)

    @staticmethod
    def _along(entries, array) -> jax.Array:
        """One number for each entry, with the axes of an array in front."""
        entries = jnp.asarray(entries)
        return jnp.broadcast_to(entries, (*array.shape[:-1], *entries.shape))

    @property
    def _kept(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(len(self.shape)) if axis not in self.over)


def regional(
    grid: Grid,
    over: str | tuple[str, ...],
    regions: Any,
    *,
    rule: str | None = None,
    measure: Given = None,
    weight: Given = None,
    average: bool = False,
) -> RegionalSum:
    """(G u)_r = ∫ 1_r w u dμ, for every region r and every point of the axes left; or its average
    over the region. Regions may overlap, lie within each other, or hold points by shares.

    Args:
        grid: where the field lives.
        over: axes that regions are made of.
        regions: numbers of the regions over these axes, whole and from 0, below 0 for none; or a
            mapping from names to masks or shares over these axes; or an array (r, *axes) of them,
            each an array or an xarray.DataArray, which is read by the names of its axes; or a
            sparse matrix of SciPy, (r, points), points in row-major order of `over`.
        rule: as of `integral`, and so are
        measure: and
        weight.
        average: divide by ∫ 1_r w dμ.

    Returns:
        A functional of value shape (*axes left, r).

    Raises:
        ValueError: as `integral`; regions of another shape, or that hold no point.

    Where it fails: regions that overlap, or lie within one that others lie in, hang together, and
        r of them cost r² numbers, r³ work and r products with the belief's covariance for each
        point of the axes left; 2,000 are the limit. Of a belief that is independent along `over`
        only those that hang together count: any number of zones that are apart, basins and then
        continents where each set is conditioned on by itself,
        `bc.condition(bc.condition(belief, basins), continents)`.

    Example:
        >>> grid = bc.Grid(x=bc.axes.Cells([0.0, 1.0, 2.0, 3.0]))
        >>> zones = {"left": [1, 1, 0], "all": [1, 1, 1]}
        >>> bc.functionals.regional(grid, "x", zones)(jnp.array([1.0, 2.0, 4.0])).tolist()
        [3.0, 7.0]
    """
    names = (over,) if isinstance(over, str) else tuple(over)
    weights, told = weights_of(grid, names, rule, measure, weight)
    points = tuple(grid[n] for n in names)
    called, rows, columns, shares = _entries(regions, names, points)
    about = f"{'averages' if average else 'totals'} of {len(called)} regions by {told}"
    found = sum_of_entries(
        grid, names, (rows, columns, shares), called, "region", about, weights=weights
    )
    if not average:
        return found
    total = found.linear(jnp.ones(grid.shape, jnp.result_type(float)))
    if not (np.abs(np.asarray(total)) > 0).all():
        raise RefusedValue(
            "measure and weight add up to zero in a region, so it has no average. Leave it out"
        )
    return dataclasses.replace(found, scale=1 / total)


def sum_of_entries(
    grid: Grid,
    over: tuple[str, ...],
    entries: tuple,
    called: tuple[str, ...],
    row: str,
    about: str,
    *,
    weights: Leaf | None = None,
) -> RegionalSum:
    """The functional of a sparse matrix over some axes of a grid.

    Args:
        grid: where the field lives.
        over: names of the axes summed over.
        entries: row, column and share of each, shape (entries,); columns in row-major order of
            `over`. Shares may be traced, places may not.
        called: names of the rows.
        row: name of the axis of the values that counts them.
        about: what it is, in words.
        weights: W of `RegionalSum`, one unless given.
    """
    rows, columns, shares = entries
    count = math.prod(len(grid[name]) for name in over)
    kept = {name: grid[name] for name in grid.names if name not in over}
    return RegionalSum(
        constant(np.ones((1,) * len(grid.shape))) if weights is None else weights,
        constant(shares) if isinstance(shares, np.ndarray) else shares,
        constant(rows.astype(np.int32)),
        constant(columns.astype(np.int32)),
        clusters=clusters_of(rows, columns, len(called), count),
        coordinates=(*kept.values(), np.arange(float(len(called)))),
        grid_points=tuple(grid.values()),
        shape=grid.shape,
        over=tuple(map(grid.axis, over)),
        called=called,
        names=(*kept, row),
        grid_names=grid.names,
        about=about,
    )


def _entries(
    regions, over: tuple[str, ...], points: tuple
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
    """Names of the regions, and rows, columns and shares of the points in them."""
    from scipy import sparse

    names, shape = None, tuple(map(len, points))
    if sparse.issparse(regions):
        matrix = entries_of("the regions", regions, math.prod(shape))
        rows, columns, shares = matrix.row, matrix.col, matrix.data
        count = matrix.shape[0]
    elif (numbered := _numbered(regions, over, points)) is not None:
        (columns,) = np.nonzero(numbered >= 0)
        rows, shares = numbered[columns], np.ones(columns.size)
        count = int(numbered.max(initial=-1)) + 1
    else:
        masks, names = _masks(regions, over, points)
        count = len(masks)
        flat = masks.reshape(count, math.prod(shape))
        rows, columns = np.nonzero(flat)
        shares = flat[rows, columns]
    finite("the shares of regions", shares)
    if not count:
        raise RefusedValue("there is no region; expected are one or more, each with a point")
    present = np.unique(rows)  # numbers may be codes, so nothing as long as the largest is formed
    if present.size < count:
        first = np.flatnonzero(np.append(present, count) != np.arange(present.size + 1))[0]
        which = first if names is None else repr(names[first])
        raise RefusedValue(
            f"region {which} holds no point; leave it out, or give it some. Codes become "
            "numbers by np.unique(codes, return_inverse=True)[1]"
        )
    names = tuple(map(str, range(count))) if names is None else names
    return names, rows, columns, shares.astype(np.float64)


def _numbered(regions, names: tuple[str, ...], points: tuple) -> np.ndarray | None:
    """Numbers of the regions by points, raveled; None where regions are given otherwise."""
    if isinstance(regions, Mapping):
        return None
    array = over_points("the array of regions", regions, names, points)
    shape = tuple(map(len, points))
    return array.ravel() if array.shape == shape and array.dtype.kind in "iu" else None


def entries_of(what: str, matrix, points: int):
    """A matrix (rows, points), sparse or not, as a `scipy.sparse.coo_array` in float64, with each
    entry once and none that is zero.

    Args:
        what: it is, for messages.
        matrix: of SciPy or NumPy; one row may go without its axis.
        points: how many columns are expected.

    Raises:
        ValueError: another number of columns; NaN; whole numbers beyond 2**53, which float64 does
            not hold.
        TypeError: complex numbers, or none at all.
    """
    from scipy import sparse

    given = matrix if sparse.issparse(matrix) else np.atleast_1d(matrix)
    kind = given.dtype.kind
    if kind not in "fiub":
        raise RefusedType(
            f"{what} hold {KINDS.get(kind, f'{given.dtype}. Give real numbers')}, as expected are "
            "real numbers"
        )
    if given.ndim == 1:
        given = given.reshape(1, -1)
    if given.ndim != 2 or given.shape[1] != points:
        shape = "a matrix of {1} columns".format(*given.shape) if given.ndim == 2 else None
        raise RefusedValue(
            f"{what} are {shape or f'an array of shape {given.shape}'}; expected is one column for "
            f"each of {points} points, in row-major order"
        )
    found = sparse.coo_array(given)
    if kind in "iu" and found.data.size and not np.all(np.abs(found.data.astype(float)) <= 2**53):
        raise RefusedValue(
            f"{what} hold whole numbers beyond 2**53, which double precision does not hold. Give "
            "them in other units"
        )
    finite(what, found.data)
    found = sparse.coo_array((found.data.astype(float), (found.row, found.col)), found.shape)
    found.sum_duplicates()
    found.eliminate_zeros()
    return found


def over_points(what: str, array, names: tuple[str, ...], points: tuple) -> np.ndarray:
    """Known numbers over the points of some axes, with one axis in front or none; of a DataArray by
    the names of its axes.

    Args:
        what: it is, for messages.
        array: of numbers.
        names: of the axes.
        points: coordinates along these.

    Raises:
        ValueError, TypeError: as `arrays.numbers`; numbers that are being traced.
    """
    front = tuple(name for name in getattr(array, "dims", ()) if name not in names)
    found = numbers(what, array, (*front, *names), (*(None for _ in front), *points))
    if not concrete(found):
        raise RefusedType(
            f"{what} shapes a program and cannot be traced: make the functional outside of jit and "
            "of the program"
        )
    return np.asarray(found)


def _masks(
    regions, names: tuple[str, ...], points: tuple
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Shares (r, *points) of points in regions, and their names where they have any."""
    shape = tuple(map(len, points))
    if isinstance(regions, Mapping):
        arrays = [
            over_points(f"region {n!r}", m, names, points).astype(float) for n, m in regions.items()
        ]
        for name, array in zip(regions, arrays, strict=True):
            if array.shape != shape:
                raise RefusedValue(
                    f"region {name!r} has shape {array.shape}; expected {shape}, one number for "
                    "each point"
                )
        return np.stack(arrays) if arrays else np.zeros((0, *shape)), tuple(map(str, regions))
    array = over_points("the array of regions", regions, names, points)
    if array.shape[1:] == shape and array.ndim == len(shape) + 1:
        return array.astype(float), None
    raise RefusedValue(
        f"the regions have shape {array.shape} and hold {array.dtype}; expected whole numbers of "
        f"shape {shape}, or shares of shape (regions, {', '.join(map(str, shape))})"
    )
