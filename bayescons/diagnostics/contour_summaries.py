"""Summaries of contours: what draws of a field say together of the area that a contour encloses and
of where it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bayescons.arrays import finite
from bayescons.descriptions import Description, described, words
from bayescons.diagnostics.contours import (
    contour_position,
    contour_radius,
    enclosed_area,
    shaped,
)
from bayescons.diagnostics.front_position import FrontSummary
from bayescons.grids import Grid
from bayescons.refusals import RefusedValue
from bayescons.results import trees as results

if TYPE_CHECKING:
    import xarray

STATISTICS = FrontSummary._fields[:6]
COLUMNS = ("mean", "sd", "hdi_lower", "hdi_upper", "ess_bulk", "r_hat")  # of `results.summarise`


@described
class ContourSummary(NamedTuple):
    """What the draws say of a contour.

    `area`, `position` and `radius` (None where not asked for) are each an `xarray.Dataset` over the
    axes that are left, times among them: `mean`, `sd`, `lower`, `upper` (highest-density interval),
    `ess_bulk` and `r_hat` of the draws that have a value, as in `FrontSummary`, and `absent`, how
    many have none; position and radius also have `folded`, how many cross more than once.
    `without_contour` is the share of draws that are nowhere or everywhere above the threshold:
    they count in the area, as none or all of it. `tree` has every draw: `posterior` (NaN where
    there is no crossing) and `sample_stats` (`position_crossings`, `radius_crossings`).
    """

    area: xarray.Dataset
    position: xarray.Dataset | None
    radius: xarray.Dataset | None
    without_contour: xarray.DataArray
    draws: int
    tree: xarray.DataTree

    def description(self) -> Description:
        """Mean and spread of each, and how many draws have no contour."""
        asked = {n: getattr(self, n) for n in ("area", "position", "radius")}
        rows = [
            (name, f"mean {words(found['mean'].values)}; sd {words(found['sd'].values)}")
            for name, found in asked.items()
            if found is not None
        ]
        share = f"{words(self.without_contour.values)} (share of {self.draws} draws)"
        return Description("Contour", (*rows, ("without contour", share)))


def contour_summary(
    fields,
    grid: Grid,
    threshold: ArrayLike,
    *,
    axes: tuple[str, str] = ("y", "x"),
    along: str | None = None,
    centre: Mapping[str, ArrayLike] | None = None,
    angles: ArrayLike | Sequence[ArrayLike] | None = None,
    which: Literal["first", "last", "only"] = "first",
    direction: Literal["falling", "rising"] = "falling",
    level: float = 0.95,
) -> ContourSummary:
    """Summarise area and place of a contour over the draws, absent ones counted and not averaged.

    The area is that of `enclosed_area`. `along` asks for `contour_position`, `centre` and `angles`
    for `contour_radius`; their mean, spread and interval are those of *position given that there is
    one*, so read them with `absent`. `tree` is what ArviZ takes, as `az.summary(found.tree,
    var_names="area")`; ArviZ does not leave out NaN, so for a position that any draw lacks take the
    numbers from here. Takes a few milliseconds for each number, nearly all of it for R-hat and
    effective draws.

    Args:
        fields: shape (chain, draw, *grid.shape); independent draws may have shape (draw,
            *grid.shape). A DataArray as in `enclosed_area`.
        grid: where the fields live.
        threshold: u*, a number in the unit of the field.
        axes: the two axes of the plane.
        along: the axis along which to look for positions.
        centre: of the rays, as in `contour_radius`; with `angles`.
        angles: of the rays, strictly increasing: they become the coordinate `angle`.
        which: as in `contour_position`.
        direction: as in `contour_position`.
        level: probability of the intervals.

    Raises:
        ValueError: for other shapes, fields that hold a NaN or an infinite value, one of `centre`
            and `angles` without the other, angles that do not increase; and as the functions that
            it calls.

    Example:
        >>> from bayescons.diagnostics import contour_summary
        >>> grid = bc.Grid(t=[0.0, 1.0], y=[0.0, 1.0], x=[0.0, 1.0, 2.0])
        >>> front = jnp.array([0.6, 0.8, 1.0, 9.0])[:, None, None, None]
        >>> fields = front + grid.mesh()["t"] / 2 - grid.mesh()["x"] + 0 * grid.mesh()["y"]
        >>> found = contour_summary(fields, grid, 0.0, along="x")
        >>> print(found.area["mean"].values.round(3), found.without_contour.values)
        [1.1   1.475] [0.25 0.25]
        >>> print(found.position["mean"].sel(t=1.0).values, found.position["absent"].values[1])
        [1.3 1.3] [1 1]
    """
    if (centre is None) != (angles is None):
        raise RefusedValue(
            "centre and angles belong together, as in centre={'y': 0.5, 'x': 0.5}, "
            "angles=np.linspace(0, 2 * np.pi, 16, endpoint=False); got one of them"
        )
    if centre is not None and "angle" in grid:
        raise RefusedValue(
            "radii have an axis 'angle', and so has the grid. Rename that of the grid: "
            "Grid(polarisation=grid['angle'], ...)"
        )
    fields = _drawn(fields, grid)
    draws, stats, labels = {"area": enclosed_area(fields, grid, threshold, axes=axes)}, {}, {**grid}
    dims = {"area": [name for name in grid.names if name not in axes]}
    if along is not None:
        found = contour_position(
            fields, grid, threshold, along=along, which=which, direction=direction
        )
        draws["position"], stats["position_crossings"] = found
        dims["position"] = [name for name in grid.names if name != along]
    if centre is not None and angles is not None:
        found = contour_radius(
            fields,
            grid,
            threshold,
            centre=centre,
            angles=angles,
            axes=axes,
            which=which,
            direction=direction,
        )
        draws["radius"], stats["radius_crossings"] = found
        dims["radius"], labels["angle"] = [*dims["area"], "angle"], np.asarray(angles)
    tree = results.datatree(
        draws,
        Grid(**labels),
        sample_stats=stats,
        dims=dims | {name: dims[name.removesuffix("_crossings")] for name in stats},
        attributes={"threshold": float(np.asarray(threshold)), "axes": list(axes)},
    )
    posterior = tree["posterior"].to_dataset()
    told = {name: _statistics(posterior[name], level) for name in draws}
    for name in told.keys() - {"area"}:
        folded = np.asarray(stats[f"{name}_crossings"] > 1).sum(axis=(0, 1))
        told[name]["folded"] = (dims[name], folded)
    above = np.asarray(fields > jnp.asarray(threshold, fields.dtype))
    plane = tuple(grid.axis(name) + 2 for name in axes)
    flat = above.all(axis=plane) | ~above.any(axis=plane)
    return ContourSummary(
        area=told["area"],
        position=told.get("position"),
        radius=told.get("radius"),
        without_contour=posterior["area"].copy(data=flat).mean(("chain", "draw")),
        draws=above.shape[0] * above.shape[1],
        tree=tree,
    )


def _drawn(fields, grid: Grid) -> Array:
    """Finite fields of shape (chain, draw, *grid.shape)."""
    fields = finite("fields", shaped(fields, grid))
    lead = fields.ndim - len(grid)
    if lead not in (1, 2):
        raise RefusedValue(
            f"fields must have shape (chain, draw, *grid.shape), or (draw, *grid.shape) for "
            f"independent draws; got {fields.shape} on a grid of shape {grid.shape}. Times belong "
            "on the grid: Grid(t=..., y=..., x=...)"
        )
    return fields if lead == 2 else fields[None]


def _statistics(values: xarray.DataArray, level: float) -> xarray.Dataset:
    """`FrontSummary` of each number that is drawn, those with as many present ones at once."""
    import xarray

    shape, dims = values.shape[2:], values.dims[2:]
    columns = np.asarray(values, dtype=float).reshape(*values.shape[:2], -1)
    present = ~np.isnan(columns)
    counts = np.stack([present.sum(axis=(0, 1)), present.sum(axis=1).min(axis=0)])
    told = np.full((columns.shape[-1], len(COLUMNS)), np.nan)
    for total, shortest in np.unique(counts, axis=1).T.tolist():
        alike = (counts[0] == total) & (counts[1] == shortest)
        told[alike] = _of_present(columns[..., alike], total, shortest, level)
    found = {n: (dims, c.reshape(shape)) for n, c in zip(STATISTICS, told.T, strict=True)}
    found["absent"] = (dims, (~present).sum(axis=(0, 1)).reshape(shape))
    return xarray.Dataset(found, {name: values.coords[name] for name in dims})


def _of_present(columns: np.ndarray, total: int, shortest: int, level: float) -> np.ndarray:
    """The columns of `COLUMNS`, as in `front_summary`: the last two of each chain's present values,
    cut to the shortest, the others of all.
    """

    def table(draws: np.ndarray, n: int) -> np.ndarray:
        order = np.argsort(np.isnan(draws), axis=1, kind="stable")[:, :n]  # those present, in order
        tree = results.datatree({"front": np.take_along_axis(draws, order, axis=1)})
        return results.summarise(tree, level=level)[[*COLUMNS]].to_numpy()

    chains, _, n = columns.shape
    told = np.full((n, len(COLUMNS)), np.nan)
    if shortest >= 4:
        told[:] = table(columns, shortest)
    if total > 0 and (shortest < 4 or total > chains * shortest):
        told[:, :4] = table(columns.reshape(1, -1, n), total)[:, :4]
    return told
