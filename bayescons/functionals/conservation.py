"""Conservation: the integral of a field over some of its axes, or its average, one row for every
point of the others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayescons.arrays import concrete, constant
from bayescons.functionals.abstract import SingleFunctional
from bayescons.functionals.measures import Factor, Given, broadcast, factors
from bayescons.functionals.products import TensorProduct
from bayescons.functionals.weighted import WeightedSum
from bayescons.grids import Grid
from bayescons.refusals import RefusedValue


def integral(
    grid: Grid,
    over: str | tuple[str, ...] = "x",
    rule: str | None = None,
    *,
    measure: Given = None,
    weight: Given = None,
) -> SingleFunctional:
    """(G u)(t) = ∫ w u dμ ≈ Σ_i w_i μ_i u(t, x_i): the total amount, for every point of the axes
    not integrated over.

    A conservation law u_t + F_x = 0 fixes it: d/dt ∫ u dx = F(lower) - F(upper), so the total is
    known at every time once the initial total and the boundary fluxes are.

    What an axis contributes follows from what it is (`bayescons.axes`): on nodes the weights of a
    quadrature rule; on `Cells` their widths, and the sum of averages is exact; on a `Ring` equal
    weights; an `Index` has none and needs a measure. A `measure` takes the place of these along the
    axes that it is over: areas over ("lat", "lon"), thickness over "depth". A `weight` multiplies
    them: porosity, the share of a cell that is wet, 2 π r.

    Args:
        grid: where the field lives.
        over: axis, or axes, to integrate over.
        rule: on nodes "trapezoid" (by default), "midpoint" or "simpson"; see `quadrature_weights`.
            The total of an exact solution differs from the rule's by O(h) at a jump;
            `scale="quadrature"` allows for that.
        measure: an array over the axes `over`, or over all of the grid; an xarray.DataArray; or a
            mapping from names of axes to arrays, whose product counts, {"lat,lon": area, "z": h}.
            It may vary along axes that are not integrated over, as a thickness does in time.
        weight: as `measure`, of any sign.

    Returns:
        A functional whose value has the shape of the axes left, in units of u times those of the
        measure, or of the axes integrated over.

    Raises:
        ValueError: axes that the grid has not or that are named twice; a measure or weight of
            another shape, or that is not finite; an axis without weights and without a measure.

    Source: Hansen et al., Learning physical models that can respect conservation laws, ICML 2023,
        eq. 7 (G for one time).

    Example:
        >>> grid = bc.Grid(t=[0.0, 1.0], x=[0.0, 0.5, 1.0])
        >>> print(bc.integral(grid, over="x")(jnp.array([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])))
        [0.5 1. ]
        >>> rod = bc.Grid(x=bc.axes.Cells([0.0, 1.0, 3.0]))  # averages over two cells
        >>> print(bc.integral(rod, weight=[0.5, 1.0])(jnp.array([2.0, 1.0])))  # porosity
        3.0
    """
    over = _over(grid, over, "integral")
    sum_of = _sum_of(grid, over, rule, measure, weight)
    about = f"{'∫' * len(over)} u {' '.join(f'd{n}' for n in over)}"
    return _functional(grid, over, sum_of, f"{about} by {_told(grid, sum_of, rule)}")


def average(
    grid: Grid,
    over: str | tuple[str, ...] = "x",
    rule: str | None = None,
    *,
    measure: Given = None,
    weight: Given = None,
) -> SingleFunctional:
    """(G u)(t) = ∫ w u dμ / ∫ w dμ: the mean over some axes, for every point of the others; in
    units of u.

    Args and errors: as `integral`; beside them ValueError where w and μ add up to zero, so that
    there is nothing to take the mean of.

    Example:
        >>> grid = bc.Grid(x=bc.axes.Cells([0.0, 1.0, 3.0]))
        >>> round(float(bc.average(grid)(jnp.array([3.0, 0.0]))), 12)
        1.0
    """
    over = _over(grid, over, "average")
    sum_of = _sum_of(grid, over, rule, measure, weight)
    about = f"the average of u over {' and '.join(over)}"
    return _functional(grid, over, _normalised(grid, over, sum_of), about)


def weights_of(
    grid: Grid, over: tuple[str, ...], rule: str | None, measure: Given, weight: Given
) -> tuple[np.ndarray, str]:
    """All weights of a total over some axes in one array, of length one along axes that they do not
    vary along, and how they were made, in words. Arguments and errors as of `integral`.
    """
    over = _over(grid, over, "a total")
    sum_of = _sum_of(grid, over, rule, measure, weight)
    return _product(grid, over, sum_of, sum_of.along), _told(grid, sum_of, rule)


class _SumOf(NamedTuple):
    """What is summed up over axes: a row of weights along each of `along`, and further factors.

    Attributes:
        along: weights by axis; axes that a measure covers have ones.
        bridges: widths between neighbours by axis, or None.
        factors: measures and weights.
        free: axes that no measure covers.
    """

    along: dict[str, np.ndarray]
    bridges: dict[str, np.ndarray | None]
    factors: list[Factor]
    free: list[str]


def _over(grid: Grid, over, what: str) -> tuple[str, ...]:
    names = (over,) if isinstance(over, str) else tuple(over)
    axes = {grid.axis(name) for name in names}
    if len(axes) < len(names):
        raise RefusedValue(
            f"{what} over {', '.join(names)} names an axis twice; each is integrated over once"
        )
    if not axes:
        raise RefusedValue(f"{what} needs at least one axis to integrate over; write over='x'")
    return names


def _sum_of(grid: Grid, over, rule, measure, weight) -> _SumOf:
    measures = factors("measure", measure, grid, over)
    covered = {name for factor in measures for name in factor.names if name in over}
    if measure is not None and not covered:
        raise RefusedValue(
            f"the measure is over none of the axes integrated over, {', '.join(map(repr, over))}; "
            "what only multiplies them is a weight=..."
        )
    free = [name for name in over if name not in covered]
    if rule is not None and not free:
        raise RefusedValue(
            f"a measure stands in place of the weights of {', '.join(map(repr, over))}, and "
            f"rule={rule!r} would not be used. Leave one of them out"
        )
    along = {n: grid.along(n).weights(rule) if n in free else np.ones(len(grid[n])) for n in over}
    bridges = {n: grid.along(n).bridges if n in free else None for n in over}
    return _SumOf(along, bridges, [*measures, *factors("weight", weight, grid, over)], free)


def _told(grid: Grid, sum_of: _SumOf, rule: str | None) -> str:
    """How it is summed, in words: by which rule along which axes, and with what."""
    free = [grid.along(name).integration(rule) for name in sum_of.free]
    return " and ".join(dict.fromkeys([*free, *(factor.what for factor in sum_of.factors)]))


def _normalised(grid: Grid, over: tuple[str, ...], sum_of: _SumOf) -> _SumOf:
    """The sum of weights that add up to one for each point of the axes left."""
    total, kept = _total(grid, over, sum_of), [name for name in grid.names if name not in over]
    if concrete(total) and not (np.abs(total) > 0).all():
        where = f" at {int((total == 0).sum())} points of {', '.join(kept)}" if total.ndim else ""
        raise RefusedValue(
            f"measure and weight add up to zero over {', '.join(over)}{where}, so there is no "
            "average. Leave these points out"
        )
    varying = tuple(n for n in kept if any(n in f.names for f in sum_of.factors))
    first = over[:1]
    share = (
        Factor(varying, 1 / total)
        if varying
        else Factor(first, np.ones(len(grid[first[0]])) / total)
    )
    return sum_of._replace(factors=[*sum_of.factors, share])


def _total(grid: Grid, over: tuple[str, ...], sum_of: _SumOf):
    """∫ w dμ, over the axes left that it varies along."""
    weights = _product(grid, over, sum_of, sum_of.along)
    return weights.sum(axis=tuple(map(grid.axis, over))).squeeze()


def _functional(grid: Grid, over, sum_of: _SumOf, about: str) -> SingleFunctional:
    """A product of rows where every factor is along one axis integrated over."""
    kept = {name: grid[name] for name in grid.names if name not in over}
    if all(len(f.names) == 1 and f.names[0] in over for f in sum_of.factors):
        rows = {n: _times(w, sum_of.factors, n) for n, w in sum_of.along.items()}
        bridges = {
            n: None if w is None else _times(w, sum_of.factors, n, between=True)
            for n, w in sum_of.bridges.items()
        }
        weights = [rows.get(name) for name in grid.names]
        return TensorProduct.on(grid, weights, kept, about, [bridges.get(n) for n in grid.names])
    return WeightedSum(
        _product(grid, over, sum_of, sum_of.along),
        tuple(_bridge(grid, over, sum_of, name) for name in grid.names),
        tuple(kept.values()),
        tuple(grid.values()),
        shape=grid.shape,
        over=tuple(sorted(map(grid.axis, over))),
        names=tuple(kept),
        grid_names=grid.names,
        about=about,
    )


def _times(row, several: list[Factor], name: str, *, between: bool = False):
    """A row of weights along an axis, times the factors along it; between neighbours with their
    means.
    """
    for factor in several:
        if factor.names == (name,):
            row = row * (factor.between(name, len(row)) if between else factor.values)
    return constant(row) if isinstance(row, np.ndarray) else row


def _product(grid: Grid, over, sum_of: _SumOf, along, between: str | None = None):
    """All weights in one array; with `between`, those of the increments along that axis."""
    product = np.ones((1,) * len(grid.names))
    for name in over:
        product = product * broadcast(Factor((name,), along[name]), grid.names)
    for factor in sum_of.factors:
        values = factor.values
        if between in factor.names:
            values = factor.between(between, len(along[between]))
        product = product * broadcast(Factor(factor.names, values), grid.names)
    return constant(product) if isinstance(product, np.ndarray) else product


def _bridge(grid: Grid, over, sum_of: _SumOf, name: str):
    """Weights of the increments along an axis in the error of the rule, or None."""
    widths = sum_of.bridges.get(name)
    if widths is None:
        return None
    return _product(grid, over, sum_of, {**sum_of.along, name: widths}, name)
