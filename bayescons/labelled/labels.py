"""Which arrays of a labelled dataset make a belief, and what their axes are: of the grid, of the
batch, or counting members.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayescons.grids import Grid
from bayescons.labelled.conventions import MEMBERS, TIMES, cell_measures, is_space, units_of
from bayescons.labelled.dimensions import Dimension, dimension
from bayescons.labelled.laws import AVERAGES, TOTALS, Law
from bayescons.refusals import RefusedType, RefusedValue


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """What the arrays of a dataset are called, and their axes.

    Attributes:
        dataset: where they are from.
        names: of the arrays of the belief: "mean" and "scale" or "variance", or "ensemble".
        dimensions: axes of the grid, as the file has them.
        batch: names of the axes of the batch, in front of the grid's.
        members: names of the axes that count members of an ensemble.
    """

    dataset: Any
    names: Mapping[str, str]
    dimensions: tuple[Dimension, ...]
    batch: tuple[str, ...]
    members: tuple[str, ...]

    @property
    def grid(self) -> Grid:
        """The axes of the field."""
        return Grid(**{d.name: d.axis for d in self.dimensions})

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of the batch and of the grid."""
        return (*self.batch, *(d.name for d in self.dimensions))

    @property
    def template(self) -> Any:
        """The array that says what the field is: the mean, or the ensemble."""
        return self.dataset[self.names.get("mean", self.names.get("ensemble"))]

    @property
    def units(self) -> str | None:
        """Of the field, where the file says."""
        return units_of(self.template)

    def arranged(self, array) -> np.ndarray:
        """Values over the axes of batch and grid, or some of them in this order, ascending; axes of
        other names come last.
        """
        order = [name for name in self.axes if name in array.dims]
        return np.asarray(self.ascending(array.transpose(*order, ...)))

    def ascending(self, array):
        """A labelled array, or one laid out like it, with its descending axes reversed."""
        turned = {d.name: slice(None, None, -1) for d in self.dimensions if d.descending}
        return array.isel({name: s for name, s in turned.items() if name in array.dims})


def labels(
    dataset: Any,
    names: Mapping[str, str],
    laws: Sequence[Law],
    axes: Sequence[str] | None,
    members: str | None,
    rings: Mapping[str, float | None],
    cells: Mapping[str, Any],
) -> Labels:
    """The axes of the arrays of a belief; arguments as of `predictions.predictions`."""
    of_ensemble = "ensemble" in names
    field = found(dataset, names.get("mean", names.get("ensemble")), "field")
    _refuse_unnamed(field)
    if members is not None and not of_ensemble:
        raise RefusedValue(
            f"members={members!r} is of an ensemble, and a mean with its spread is given. Name the "
            "ensemble, --ensemble NAME, or leave --members out"
        )
    counted = _members(field, members) if of_ensemble else ()
    named = _grid_names(dataset, field, counted, axes, laws, of_ensemble=of_ensemble)
    _refuse_unused("rings", rings, named)
    _refuse_unused("cells", cells, named)
    dimensions = tuple(
        dimension(dataset, field, name, rings=rings, cells=cells)
        for name in field.dims
        if name in named
    )
    batch = tuple(n for n in field.dims if n not in named and n not in counted)
    return Labels(dataset, names, dimensions, batch, counted)


def _refuse_unnamed(field) -> None:
    """Refuse axes that no grid can be built with."""
    for name in field.dims:
        if not isinstance(name, str) or name == "self":
            raise RefusedValue(
                f"an axis of {field.name!r} is called {name!r}, which cannot name an axis of a "
                f"grid. Rename it: ds.rename({{{name!r}: 'x'}})"
            )
    empty = [name for name, size in field.sizes.items() if not size]
    if empty:
        raise RefusedValue(f"{field.name!r} is empty: its axis {empty[0]!r} has length 0")


def listed(dataset) -> str:
    """Names of the arrays that there are, for a message."""
    return ", ".join(map(repr, dataset.variables)) or "no array at all"


def found(dataset, name: str, what: str):
    """An array of real numbers; refused where there is none of that name."""
    if name not in dataset.variables:
        raise RefusedValue(f"there is no array {name!r} for the {what}; there is {listed(dataset)}")
    if dataset[name].dtype.kind not in "fiub":
        raise RefusedValue(
            f"the {what} {name!r} must hold real numbers; it holds {dataset[name].dtype}"
        )
    return dataset[name]


def _members(field, members: str | None) -> tuple[str, ...]:
    """Axes that count the members of an ensemble."""
    if members is not None:
        if members not in field.dims:
            raise RefusedValue(
                f"the ensemble {field.name!r} has no axis {members!r}; it is over "
                f"({', '.join(map(str, field.dims))})"
            )
        return (members,)
    known = tuple(name for name in field.dims if name in MEMBERS)
    if not known or (len(known) > 1 and set(known) != {"chain", "draw"}):
        raise RefusedValue(
            f"which axis of the ensemble {field.name!r} counts its members is not clear; it is "
            f"over ({', '.join(map(str, field.dims))}). Name it: --members NAME, or members=NAME"
        )
    return known


def _grid_names(dataset, field, counted, axes, laws, *, of_ensemble: bool) -> set[str]:
    """Names of the axes of the grid."""
    stated = {name for law in laws for name in law.axes}
    missing = [n for n in (*(axes or ()), *sorted(stated)) if n not in field.dims or n in counted]
    if missing:
        raise RefusedValue(
            f"{field.name!r} has no axis {missing[0]!r} of a grid; it is over "
            f"({', '.join(map(str, field.dims))})"
            + (f", of which {missing[0]!r} counts members" if missing[0] in counted else "")
        )
    if axes is not None:
        beyond = sorted(stated - set(axes))
        if beyond:
            raise RefusedValue(
                f"a law is about {beyond[0]!r}, which is not among the axes of the grid, "
                f"{', '.join(axes)}. Add it to --axes"
            )
        return set(axes)
    weighted = {
        name
        for law in laws
        for array in _law_weights(dataset, field, law)
        for name in array.dims
        if name in field.dims
    }
    left = [n for n in field.dims if n not in counted and n not in stated | weighted]
    space = {n for n in left if is_space(n, dataset[n])}
    unclear = [n for n in left if n not in space and n not in (*TIMES, *MEMBERS)]
    unclear += [n for n in field.dims if n in weighted - stated and n in TIMES]
    if of_ensemble and unclear:
        raise RefusedValue(
            f"whether the axis {unclear[0]!r} of the ensemble {field.name!r} is one of the field, "
            "along which members are correlated, or counts a batch of ensembles, is not clear. "
            f"Name all axes of the field: --axes {','.join([*sorted(stated | space), '...'])}"
        )
    if not stated | weighted | space:
        raise RefusedValue(
            f"none of the axes of {field.name!r}, ({', '.join(map(str, field.dims))}), is known as "
            "one of space. Name the axes of the grid: --axes NAMES"
        )
    return stated | weighted | space


def _law_weights(dataset, field, law: Law) -> list:
    """Arrays by which a total is weighted, stated or named by the field's `cell_measures`."""
    if law.kind not in TOTALS:
        return []
    if law.weights is None:
        measure = file_measure(dataset, field, law)
        return [] if measure is None else [dataset[measure[1]]]
    return [weights_of(dataset, array) for array in law.weights]


def file_measure(dataset, field, law: Law) -> tuple[str, str] | None:
    """What a file says that a total is summed by, ("area", "areacella"), where it holds it: of
    several the one over most of the axes. An integral over a part of the axes of an area or a
    volume is not summed by it.

    Raises:
        ValueError: the array is over other axes than the field.
    """
    fitting, over = [], set(law.axes)
    for what, name in cell_measures(field).items():
        if name not in dataset.variables:
            continue
        axes = set(found(dataset, name, f"cell_measures, {what}").dims)
        beyond = axes - over - (set(field.dims) if law.kind in AVERAGES else {*TIMES})
        if axes & over and not axes <= set(field.dims):
            raise RefusedValue(
                f"cell_measures of {field.name!r} name {name!r}, which is over "
                f"({', '.join(map(str, dataset[name].dims))}), and the field over "
                f"({', '.join(map(str, field.dims))}). State the measure: --weights NAME"
            )
        if axes & over and not beyond:
            fitting.append((len(axes & over), what, name))
    return max(fitting)[1:] if fitting else None


def weights_of(dataset, given, what: str = "weights"):
    """Weights, or regions, as a labelled array: one of the dataset, by name, or an xarray.DataArray
    at the same coordinates.
    """
    import xarray

    if isinstance(given, str):
        return found(dataset, given, what)
    if not isinstance(given, xarray.DataArray):
        raise RefusedType(
            f"{what} are the name of an array of the dataset or an xarray.DataArray, whose axes "
            f"have names; got {type(given).__name__}. Write {what}='area' after "
            "ds.assign(area=(('y', 'x'), array))"
        )
    if given.dtype.kind not in "fiub":
        raise RefusedValue(f"the {what} {given.name!r} hold {given.dtype} and no real numbers")
    require_same_places(f"the {what} {given.name!r}", given, dataset)
    return given


def require_same_places(what: str, given, dataset) -> None:
    """Refuse a labelled array of another length than the dataset's, or at other coordinates."""
    for name in given.dims:
        if name in dataset.sizes and given.sizes[name] != dataset.sizes[name]:
            raise RefusedValue(
                f"{what} has {given.sizes[name]} entries along {name!r}; expected are "
                f"{dataset.sizes[name]}"
            )
        both = name in given.coords and name in dataset.coords
        if both and not np.array_equal(given[name], dataset[name]):
            raise RefusedValue(
                f"{what} stands at other coordinates of {name!r} than the field. Bring it into the "
                f"field's order: array.reindex({name}=ds[{name!r}])"
            )


def _refuse_unused(what: str, given: Mapping, named: set[str]) -> None:
    unused = [name for name in given if name not in named]
    if unused:
        raise RefusedValue(
            f"{what} names {unused[0]!r}, which is no axis of the grid; these are "
            f"{', '.join(sorted(named))}"
        )
