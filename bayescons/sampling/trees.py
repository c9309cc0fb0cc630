"""What a run leaves, as one labelled tree: groups, and the names of their axes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayescons.grids import Grid
from bayescons.results import trees as results
from bayescons.sampling.methods import Run
from bayescons.sampling.residuals import Stated, Structure, labelled

if TYPE_CHECKING:
    import xarray


class Labels(NamedTuple):
    """Names of axes.

    Attributes:
        grid: of coordinates; None where there is none.
        dims: name of a variable -> names of its axes after (chain, draw).
    """

    grid: Grid | None
    dims: dict

    def of(self, draws: Mapping) -> dict:
        """Those that fit draws of shape (chain, draw, ...)."""
        return {
            name: axes
            for name, axes in self.dims.items()
            if name in draws and len(axes) == draws[name].ndim - 2
        }


class Ran(NamedTuple):
    """What a compiled run gives.

    Attributes:
        run: chains of every site.
        missed: residuals of every statement.
        readings: what was observed, and its log likelihood number by number.
        points: of every field the grids on which functionals about it were built.
    """

    run: Run
    missed: dict[str, Stated]
    readings: tuple[dict, dict]
    points: dict[str, list[dict]]


def labels(ran: Ran, plates: Mapping, grid: Grid | None, given: Mapping | None) -> Labels:
    """Names of the axes of all that a run gave: as given; the plates; and those of the grid or,
    where none is given, of the grids on which functionals were built.
    """
    if grid is None:
        grid = _stated_grid(ran.points, {*ran.run.draws, *_names(plates), "chain", "draw"})
        plates = _numbered(ran) | _on_grid(ran, plates, grid) if grid is not None else plates
    return Labels(grid, {**plates, **(given or {})})


def _names(plates: Mapping) -> set[str]:
    """Of plates, which are the axes that are not numbered."""
    numbered = {f"{name}_dim_{i}" for name, axes in plates.items() for i in range(len(axes))}
    return {axis for axes in plates.values() for axis in axes} - numbered


def _stated_grid(points: Mapping, taken: set[str]) -> Grid | None:
    """The axes of all grids on which functionals were built, as one; None where two have other
    coordinates under one name, or a name is taken.
    """
    axes: dict[str, np.ndarray] = {}
    for grids in points.values():
        for grid in grids:
            for name, values in grid.items():
                if not np.array_equal(axes.setdefault(name, values), values):
                    return None
    return Grid(**axes) if axes and not set(axes) & taken else None


def _numbered(ran: Ran) -> dict[str, list[str]]:
    """Axes by number: nothing is labelled by a grid only because it has its shape."""
    shapes = {name: stated.residual.shape[2:] for name, stated in ran.missed.items()}
    shapes |= {name: values.shape for name, values in ran.readings[0].items()}
    shapes |= {name: values.shape[2:] for name, values in ran.run.draws.items()}
    return {name: [f"{name}_dim_{i}" for i in range(len(shapes[name]))] for name in shapes}


def _on_grid(ran: Ran, plates: Mapping, grid: Grid) -> dict[str, list[str]]:
    """Of the fields about which functionals say something, plates and the axes of these."""
    found = dict(plates)
    for name, grids in ran.points.items():
        values, on = ran.run.draws.get(name), list(grids[0])
        if values is not None:
            own = found.get(name, [f"{name}_dim_{i}" for i in range(values.ndim - 2)])
            if values.shape[values.ndim - len(on) :] == tuple(len(grid[a]) for a in on):
                found[name] = [*own[: len(own) - len(on)], *on]
    return found


def gathered(
    ran: Ran, structure: Structure, named: Labels, truth: Mapping | None, told: Mapping
) -> xarray.DataTree:
    """Draws, statistics, residuals and readings as one tree."""
    import xarray

    run, (observed, logs) = ran.run, ran.readings
    gaps = {name: v for name, v in run.draws.items() if name not in structure.names}
    rows = {
        name: axes
        for name, axes in structure.statements.items()
        if axes and _fits(ran.missed[name].residual, axes, named.grid)
    }
    tree = results.datatree(
        {name: v for name, v in run.draws.items() if name in structure.names},
        named.grid,
        sample_stats={**run.statistics, **gaps} or None,
        observed=observed or None,
        constraints=labelled(ran.missed) or None,
        truth=truth,
        attributes=told,
        dims={**named.dims, **rows},
    )
    if logs:
        tree["log_likelihood"] = group(logs, Labels(None, named.dims))
    if any(values.size for values in run.warmup.values()):
        warm = results.datatree({}, sample_stats=run.warmup)
        tree["warmup_sample_stats"] = xarray.DataTree(warm["sample_stats"].to_dataset())
    return tree


def axes_told(tree: xarray.DataTree) -> str:
    """Names of the axes of every unknown in the program's order, by which draws are put back into
    it, as JSON.
    """
    drawn = tree["posterior"].data_vars if "posterior" in tree else {}
    return json.dumps({name: list(values.dims[2:]) for name, values in drawn.items()})


def group(draws: Mapping, named: Labels) -> xarray.DataTree:
    """Draws of shape (chain, draw, ...) as a group of a tree."""
    return results.datatree(draws, named.grid, dims=named.of(draws))["posterior"]


def _fits(residual: np.ndarray, axes: tuple[str, ...], grid: Grid | None) -> bool:
    """Whether a statement's axes are plates, and axes of the grid with as many rows as these have
    points.
    """
    shape, known = residual.shape[2:], grid or {}
    return len(axes) == len(shape) and all(
        a not in known or len(known[a]) == n for a, n in zip(axes, shape, strict=True)
    )
