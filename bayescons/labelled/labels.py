"""Which arrays of a labelled dataset make a belief, and what their axes are: of the grid, of the
batch, or counting members.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayescons.grids import Grid
from bayescons.labelled.conventions import MEMBERS, TIMES, cell_measures, is_space
from bayescons.labelled.dimensions import Dimension, dimension
from bayescons.labelled.laws import TOTALS, Law
from bayescons.refusals import RefusedValue


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
        return self.template.attrs.get("units")

    def arranged(self, array) -> np.ndarray:
        """Values over the axes of batch and grid, or some of them in this order, ascending."""
        order = [name for name in self.axes if name in array.dims]
        return np.asarray(self.ascending(array.transpose(*order)))

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
        named = [n for n in cell_measures(field).values() if n in dataset.variables]
        return [dataset[n] for n in named if set(dataset[n].dims) & set(law.axes)]
    return [
        found(dataset, array, "weights") if isinstance(array, str) else array
        for array in law.weights
    ]


def _refuse_unused(what: str, given: Mapping, named: set[str]) -> None:
    unused = [name for name in given if name not in named]
    if unused:
        raise RefusedValue(
            f"{what} names {unused[0]!r}, which is no axis of the grid; these are "
            f"{', '.join(sorted(named))}"
        )
