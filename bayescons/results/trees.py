"""Results: draws with their names, coordinates, constraints and provenance, kept in one ArviZ tree
and one NetCDF file.

The only module that knows ArviZ's containers. ArviZ and xarray are imported inside the functions,
because they take two seconds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.typing import ArrayLike

from bayescons.extras import require
from bayescons.grids import Grid
from bayescons.provenance import versions
from bayescons.refusals import MissingFile, RefusedFile, RefusedValue
from bayescons.results.files import require_room, whole_file

if TYPE_CHECKING:
    import pandas
    import xarray

HEAD = 8192  # bytes at most of what NetCDF says of a variable beside its numbers
PACKAGES = ("bayescons", "jax", "numpyro", "blackjax", "arviz")
Axes = Mapping[str, np.ndarray]
Constraints = Mapping[str, Mapping[str, ArrayLike]]
Dims = Mapping[str, Sequence[str]]


def datatree(
    draws: Mapping[str, ArrayLike],
    grid: Grid | None = None,
    *,
    sample_stats: Mapping[str, ArrayLike] | None = None,
    observed: Mapping[str, ArrayLike] | None = None,
    constraints: Constraints | None = None,
    truth: Mapping[str, ArrayLike] | None = None,
    attributes: Mapping[str, object] | None = None,
    dims: Dims | None = None,
) -> xarray.DataTree:
    """Gather draws and what they were made from into one labelled tree.

    Groups, each present when given: `posterior` (draws), `sample_stats`, `constraints`
    (`<name>_value`, `<name>_residual`), `observed_data` (observed) and `constant_data` (truth). A
    variable whose trailing shape is the grid's is labelled by the grid's axes and coordinates, so
    `tree.posterior["u"].sel(t=0.05)` works; any other is labelled by `dims`, or else by number.

    Args:
        draws: name -> array of shape (chain, draw, ...). Independent exact draws are one chain:
            `draws[None]`. A name with "/", as scopes and networks give them, has "." in the tree.
        grid: the grid of the fields.
        sample_stats: name -> array of shape (chain, draw, ...), as `diverging` or `n_steps`.
        observed: name -> data the program was given, context points for example; no chain or draw
            axes.
        constraints: name -> {"value": shape (...) or (chain, draw, ...), "residual": shape (chain,
            draw, ...)}: the value b and `G u - b` of each draw.
        truth: name -> the true field, no chain or draw axes.
        attributes: seed, reading, sampler and the like, kept at the root beside the versions of
            Python and of the packages used. Numbers and text are kept as they are, anything else
            becomes JSON text.
        dims: name of a variable (or of a constraint) -> names of its axes after (chain, draw).
            Names of grid axes bring its coordinates.

    Returns:
        An `xarray.DataTree` that every ArviZ function reads.

    Raises:
        ValueError: where draws lack their two leading axes or disagree on them, or where an axis of
            `dims` does not fit the grid.
    """
    import xarray

    draws, sample_stats, observed, constraints, truth, dims = (
        {plain(name): value for name, value in (named or {}).items()}
        for named in (draws, sample_stats, observed, constraints, truth, dims)
    )
    dims = {name: [plain(axis) for axis in axes] for name, axes in dims.items()}
    axes = grid or {}
    residuals = {name: parts["residual"] for name, parts in _whole(constraints).items()}
    sampled = {"posterior": _arrays(draws), "sample_stats": _arrays(sample_stats)}
    fixed = {"observed_data": _arrays(observed), "constant_data": _arrays(truth)}
    _check_draws({**sampled["posterior"], **sampled["sample_stats"], **_arrays(residuals)})
    groups = {
        name: _dataset(arrays, ("chain", "draw"), axes, dims)
        for name, arrays in sampled.items()
        if arrays
    }
    groups |= {name: _dataset(arrays, (), axes, dims) for name, arrays in fixed.items() if arrays}
    if constraints:
        groups["constraints"] = _constraint_dataset(constraints, axes, dims)
    tree = xarray.DataTree.from_dict(groups)
    tree.attrs = _attributes(attributes)
    return tree


def plain(name: Hashable) -> str:
    """A site's name as a tree can hold it: "net.w" for "net/w", since "/" parts a path."""
    return str(name).replace("/", ".")


def save(datatree: xarray.DataTree, path: str | os.PathLike) -> Path:
    """Write a tree to a NetCDF file, whole or not at all: an earlier file at `path` stays until the
    new one is complete.

    Returns:
        The path written.

    Raises:
        OSError: where the file cannot be written (a missing folder, no permission, a full disk);
            nothing is left behind.
    """
    require("files", by="saving results")
    with whole_file(path) as temporary:
        write(datatree, temporary)
    return Path(path)


def write(data: xarray.DataTree | xarray.Dataset, path: Path) -> None:
    """Write a tree or a dataset as NetCDF, once it is known that there is room for it.

    Raises:
        OSError: there is none.
    """
    import xarray

    nodes = data.subtree if isinstance(data, xarray.DataTree) else [data]
    parts = [node.variables.values() for node in nodes]
    heads = HEAD * (1 + sum(len(variables) for variables in parts))
    require_room(path, heads + sum(v.nbytes for variables in parts for v in variables))
    data.to_netcdf(path, engine="h5netcdf")


def load(path: str | os.PathLike) -> xarray.DataTree:
    """Read a tree written by `save` into memory; the file is closed again.

    Raises:
        FileNotFoundError: where there is no such file.
        OSError: where the file is not NetCDF.
    """
    import xarray

    require("files", by="loading results")
    if not Path(path).exists():
        raise MissingFile(
            f"no results at {os.fspath(path)!r}; expected a NetCDF file written by "
            "bayescons.results.trees.save"
        )
    try:
        with xarray.open_datatree(path, engine="h5netcdf") as tree:
            return tree.load()
    except OSError as error:
        raise RefusedFile(
            f"cannot read {os.fspath(path)!r} as NetCDF ({error}); expected a file written by "
            "results.save"
        ) from error


def summarise(
    datatree: xarray.DataTree, var_names: str | Sequence[str] | None = None, *, level: float = 0.95
) -> pandas.DataFrame:
    """One row for each unknown of the posterior: `arviz.summary` with highest-density intervals and
    unrounded numbers.

    Columns: mean, sd, hdi_lower, hdi_upper, ess_bulk, ess_tail, r_hat, mcse_mean, mcse_sd. A field
    has a row a point, so name the variables of a large program. Where a column is NaN: R-hat for
    one chain (exact draws are one chain, and have nothing to converge); R-hat and the Monte Carlo
    errors for an exactly known unknown, whose draws are all equal; every diagnostic below four
    draws.

    Args:
        datatree: a tree with a `posterior` group.
        var_names: variables wanted; all by default.
        level: probability of the interval.
    """
    import arviz

    with np.errstate(invalid="ignore", divide="ignore"):
        table = arviz.summary(
            datatree, var_names=var_names, ci_kind="hdi", ci_prob=level, round_to="none"
        )
    bounds = [column for column in table.columns if column.startswith("hdi")]
    return table.rename(columns=dict(zip(bounds, ("hdi_lower", "hdi_upper"), strict=True)))


def worst_mixing(draws: np.ndarray, points: int = 500) -> tuple[float, float]:
    """Smallest bulk ESS and largest R-hat (rank-normalised, by ArviZ) over the points of a field.

    Points that never vary, such as those known exactly, have neither and are left out.

    Args:
        draws: shape (chain, draw, *field).
        points: how many points, spread evenly over the field, are looked at; each costs about a
            millisecond.

    Returns:
        ESS and R-hat; NaN with fewer than four draws a chain or no point that varies, R-hat also
        for one chain.
    """
    from arviz_stats.base import array_stats

    flat = draws.reshape(*draws.shape[:2], -1)
    varying = np.flatnonzero(flat.std(axis=(0, 1)) > 1e-9 * np.abs(flat).max(initial=0.0))
    if draws.shape[1] < 4 or not varying.size:
        return float("nan"), float("nan")
    chosen = flat[..., varying[np.unique(np.linspace(0, varying.size - 1, points).astype(int))]]
    smallest = np.min(array_stats.ess(chosen, chain_axis=0, draw_axis=1))
    largest = (
        np.max(array_stats.rhat(chosen, chain_axis=0, draw_axis=1)) if len(draws) > 1 else np.nan
    )
    return float(smallest), float(largest)


def _arrays(arrays: Mapping[str, ArrayLike] | None) -> dict[str, np.ndarray]:
    return {name: np.asarray(array) for name, array in (arrays or {}).items()}


def _check_draws(arrays: dict[str, np.ndarray]) -> None:
    if not arrays:
        raise RefusedValue(
            "draws is empty; expected name -> array of shape (chain, draw, ...), as "
            "mcmc.get_samples(group_by_chain=True)"
        )
    for name, array in arrays.items():
        first, leading = next(iter(arrays.items()))
        if array.ndim < 2 or array.shape[:2] != leading.shape[:2]:
            raise RefusedValue(
                f"draws must lead with (chain, draw), the same for all; got {name} {array.shape} "
                f"beside {first} {leading.shape}. Independent draws are one chain: write "
                "draws[None]. Reshape several chains in one array to (chain, draw, ...)"
            )


def _dataset(
    arrays: dict[str, np.ndarray], leading: tuple[str, ...], grid: Axes, dims: Dims
) -> xarray.Dataset:
    import arviz

    labels: dict[Hashable, Sequence[Hashable]] = {
        name: _axes(name, array.shape[len(leading) :], grid, dims.get(name))
        for name, array in arrays.items()
    }
    return arviz.dict_to_dataset(arrays, coords=dict(grid), dims=labels, sample_dims=list(leading))


def _axes(name: str, shape: tuple[int, ...], grid: Axes, given: Sequence[str] | None) -> list[str]:
    """Axis names: the caller's, or the grid's for the trailing axes of a field, or numbered."""
    if given is not None:
        return _checked_axes(name, shape, grid, list(given))
    numbered = [f"{name}_dim_{i}" for i in range(len(shape))]
    batch = len(shape) - len(grid)
    is_field = batch >= 0 and shape[batch:] == tuple(map(len, grid.values()))
    return numbered[:batch] + list(grid) if is_field else numbered


def _checked_axes(name: str, shape: tuple[int, ...], grid: Axes, given: list[str]) -> list[str]:
    fits = all(
        len(grid[axis]) == size for axis, size in zip(given, shape, strict=False) if axis in grid
    )
    if len(given) != len(shape) or not fits:
        lengths = {axis: len(points) for axis, points in grid.items()}
        raise RefusedValue(
            f"dims of {name!r} must name its axes after (chain, draw), of shape {shape}; got "
            f"{given} on a grid of {lengths}. Give one name an axis, and the name of a grid axis "
            "only to an axis of that length"
        )
    return given


def _whole(constraints: Constraints | None) -> Constraints:
    for name, parts in (constraints or {}).items():
        if set(parts) != {"value", "residual"}:
            raise RefusedValue(
                f"constraint {name!r} needs exactly a 'value' and a 'residual'; got {sorted(parts)}"
            )
    return constraints or {}


def _constraint_dataset(constraints: Constraints, grid: Axes, dims: Dims) -> xarray.Dataset:
    """Values and residuals of one constraint share their axes, numbered `<name>_dim_<i>` where
    `dims` does not name them; chain and draw among them, so that ArviZ reads the group.
    """
    residuals = _arrays({name: parts["residual"] for name, parts in constraints.items()})
    shapes = {name: residual.shape[2:] for name, residual in residuals.items()}
    axes = {name: _axes(name, shape, grid, dims.get(name)) for name, shape in shapes.items()}
    values = {
        f"{name}_value": np.broadcast_to(np.asarray(parts["value"]), residuals[name].shape)
        for name, parts in constraints.items()
    }
    drawn = {f"{name}_residual": residual for name, residual in residuals.items()}
    names = {f"{name}_{part}": axes[name] for name in axes for part in ("value", "residual")}
    return _dataset(values | drawn, ("chain", "draw"), grid, names)


def _attributes(attributes: Mapping[str, object] | None) -> dict[str, object]:
    made_with = {f"{name}_version": version for name, version in versions(PACKAGES).items()}
    return made_with | {name: _attribute(value) for name, value in (attributes or {}).items()}


def _attribute(value: Any) -> Any:
    """Numbers and text as they are, anything else as JSON text: NetCDF attributes hold no bool,
    None, mapping or 65-bit integer.
    """
    value = value.tolist() if isinstance(value, np.ndarray | np.generic | jax.Array) else value
    number = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (isinstance(value, float) or abs(value) < 2**63)
    )
    return value if number or isinstance(value, str) else json.dumps(value, default=str)
