"""Predictions in a labelled dataset: how they are understood as a Gaussian belief over a grid, or a
batch of them. Every decision is told in a line, and what is not clear is refused with the remedy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from bayescons.axes import Nodes
from bayescons.descriptions import Description, described
from bayescons.gaussians.covariances import Diagonal, LowRank
from bayescons.gaussians.ensembles import ensemble as ensemble_belief
from bayescons.gaussians.gaussian import Gaussian
from bayescons.labelled.conventions import text_of, units_of
from bayescons.labelled.field_values import field_values, over_field
from bayescons.labelled.groups import fields_of
from bayescons.labelled.labels import Labels, found, labels, listed
from bayescons.labelled.laws import Law
from bayescons.labelled.units import compared
from bayescons.refusals import RefusedType, RefusedValue
from bayescons.tracing import in_double

NUGGET = 1e-3
LARGEST = 1e150  # of which the square, summed over a field, is a number
SMALLEST = 1e-290  # of a variance: below it squares lose their digits


@described
@dataclasses.dataclass(frozen=True, eq=False)
class Predictions(Labels):
    """A belief over a grid, or a batch of them, and how it was understood.

    Attributes:
        belief: the Gaussian; zero, and certain, where the mask is false.
        mask: where the field is, (*batch, *grid), or None for everywhere.
        draws: of an ensemble, the members, (members, *batch, *grid); otherwise None.
        form: what the belief was made of, in words.
        notes: what else was decided, or could not be compared.
        where: how the mask was named, if it was.
    """

    belief: Gaussian
    mask: np.ndarray | None
    draws: np.ndarray | None
    form: str
    notes: tuple[str, ...]
    where: str | None = None

    @property
    def each(self) -> tuple[Predictions, ...]:
        """Itself: one variable."""
        return (self,)

    def split(self, array) -> list:
        """The variables that an array holds: one."""
        return [array]

    def told(self) -> list[str]:
        """What was understood, line by line."""
        sizes = ", ".join(f"{name} ({self.template.sizes[name]})" for name in self.batch)
        lines = [
            f"belief: {self.form}",
            *(f"grid axis {d.told()}" for d in self.dimensions),
            f"batch: {sizes or 'none'}",
            f"units: {self.units or 'not stated in the file'}",
        ]
        if self.mask is not None:
            out = int(self.mask.size - self.mask.sum())
            lines.append(f"mask: {out} of {self.mask.size} values are outside of the field")
        return [*lines, *(f"note: {note}" for note in self.notes)]

    def description(self) -> Description:
        """What was understood."""
        rows = (line.partition(": ")[::2] for line in self.told())
        return Description("Predictions", tuple(rows))


@in_double
def predictions(
    dataset: Any,
    *,
    mean: str | None = None,
    scale: str | None = None,
    variance: str | None = None,
    ensemble: str | None = None,
    laws: Sequence[Law] = (),
    axes: Sequence[str] | None = None,
    members: str | None = None,
    where: str | None = None,
    rings: Mapping[str, float | None] = {},
    cells: Mapping[str, Any] = {},
    nugget: float = NUGGET,
) -> Predictions:
    """Understand the arrays of a dataset as a belief.

    Axes of the grid are those named in `axes`; otherwise those that laws name, those of space (by
    name, units, standard name or the attribute `axis`), and t. All others count a batch. In an
    ensemble an axis that is neither known as one of time nor of space nor of members is asked for.

    Args:
        dataset: an xarray.Dataset.
        mean: name of the means; by default "mean".
        scale: name of the standard deviations; by default "scale", or
        variance: name of the variances; by default "variance".
        ensemble: name of an ensemble in place of these; by default "draws" where there is no mean,
            or the only array over chain, draw and more.
        laws: what will be stated.
        axes: of the grid.
        members: axis that counts the members of the ensemble.
        where: name of a mask, true or above zero where the field is.
        rings: axes that close on themselves, {name: period or None}.
        cells: bounds of cells by axis.
        nugget: independent part of an ensemble, `gaussians.ensemble`.

    Raises:
        ValueError: for what is missing, does not fit, or is not clear; with the remedy.
    """
    import xarray

    if not isinstance(dataset, xarray.Dataset):
        raise RefusedType(
            f"expected an xarray.Dataset; got {type(dataset).__name__}. Write array.to_dataset("
            "name='mean'), or tree['posterior'].to_dataset()"
        )
    for what, given in (("rings", rings), ("cells", cells)):
        if not isinstance(given, Mapping):
            raise RefusedType(
                f"{what} are given by axis, as in rings={{'x': None}} or cells={{'x': edges}}; got "
                f"{given!r}"
            )
    axes = [name.strip() for name in axes.split(",")] if isinstance(axes, str) else axes
    names = _names(dataset, mean, scale, variance, ensemble)
    about = labels(dataset, names, laws, axes, members, rings, cells)
    build = _ensemble if "ensemble" in names else _pointwise
    found = build(about, _where(about, where), nugget)
    notes = (*found.notes, *_possible_widths(about))
    return dataclasses.replace(found, notes=notes, where=where)


def _possible_widths(about: Labels) -> list[str]:
    """Arrays that may be the widths of an axis taken for points: a guess to be told, not used."""
    notes = []
    for axis in about.dimensions:
        if not isinstance(axis.axis, Nodes) or not axis.units:
            continue
        for name, array in about.dataset.data_vars.items():
            alike = array.dims == (axis.name,) and text_of(array.attrs, "units") == axis.units
            alike = alike and array.dtype.kind in "iuf"
            if alike and (array > 0).all() and array.sum() >= np.ptp(axis.axis.points):
                notes.append(
                    f"{axis.name!r} is taken for points, and {name!r} may be the widths of its "
                    f"cells: --weights {name}"
                )
    return notes


def _names(dataset, mean, scale, variance, ensemble) -> dict[str, str]:
    """Which arrays the belief is made of."""
    if not all(isinstance(name, str | None) for name in (mean, scale, variance, ensemble)):
        raise RefusedType(
            "the arrays of one belief are given by their names, mean='tas' and scale='sd'; several "
            "variables are read by labelled.several, and by labelled.condition"
        )
    if scale is not None and variance is not None:
        raise RefusedValue("both --scale and --variance are given; write one of them")
    if ensemble is not None and (mean is not None or scale is not None or variance is not None):
        raise RefusedValue(
            "an ensemble stands in place of mean and scale; give one of them, and not both"
        )
    if mean is None and ensemble is None:
        ensemble = drawn_field(dataset)
    if ensemble is not None:
        return {"ensemble": ensemble}
    mean = mean if mean is not None else "mean"
    if mean not in dataset:
        raise RefusedValue(
            f"there is no {mean!r}, the means of a belief, and no 'draws', an ensemble; there is "
            f"{listed(dataset)}. Name the arrays: --mean NAME and --scale NAME, or --ensemble NAME"
        )
    if scale is None and variance is None:
        scale = "scale" if "scale" in dataset.data_vars else None
        variance = "variance" if scale is None and "variance" in dataset.data_vars else None
    if scale is None and variance is None:
        raise RefusedValue(
            "there is no 'scale' (standard deviations) and no 'variance'; there is "
            f"{listed(dataset)}. Name the array: --scale NAME or --variance NAME"
        )
    spread = {"scale": scale} if scale is not None else {"variance": variance}
    return {"mean": mean, **spread}


def drawn_field(dataset: Any) -> str | None:
    """Name of the ensemble where nobody has named a mean or one: "draws", or the only array over
    chain, draw and more, as ArviZ has the draws of a field.

    Raises:
        ValueError: several of the latter.
    """
    if "mean" in dataset.variables:
        return None
    if "draws" in dataset.data_vars:
        return "draws"
    fields = fields_of([*map(str, dataset.data_vars)], lambda name: dataset[name].dims)
    if len(fields) > 1:
        raise RefusedValue(
            f"there is no 'mean' and there are draws of {len(fields)} fields over chain and draw, "
            f"{', '.join(map(repr, fields))}. Name the one that is meant: --ensemble {fields[0]}"
        )
    return fields[0] if fields else None


def _where(about: Labels, where: str | None) -> np.ndarray | None:
    """A stated mask, over some of the axes of batch and grid."""
    if where is None:
        return None
    if not isinstance(where, str):
        raise RefusedType(
            f"where is the name of a mask in the dataset, or 'nan'; got {type(where).__name__}. "
            "Write where='sea' after ds.assign(sea=mask)"
        )
    if where == "nan":
        if "nan" in about.dataset.variables:
            raise RefusedValue(
                "where='nan' means wherever the field is no NaN, and there is an array 'nan' too. "
                "Rename the array"
            )
        return _known(about)
    array = found(about.dataset, where, "mask")
    unknown = [name for name in array.dims if name not in about.axes]
    if unknown:
        raise RefusedValue(
            f"the mask {where!r} is over {unknown[0]!r}; the field is over "
            f"({', '.join(about.axes)})"
        )
    values = np.nan_to_num(about.arranged(array).astype(float), nan=0.0)
    sizes = [about.template.sizes[n] if n in array.dims else 1 for n in about.axes]
    shape = [about.template.sizes[n] for n in about.axes]
    if not (values > 0).any():
        raise RefusedValue(
            f"the mask {where!r} is nowhere above zero, so that all of the field lies outside of it"
        )
    return np.broadcast_to(values.reshape(sizes) > 0, shape)


def _known(about: Labels) -> np.ndarray:
    """Where no array of the belief is NaN."""
    arrays = [np.isfinite(over_field(about, n, "field")) for n in about.names.values()]
    known = arrays[0]
    for array in arrays[1:]:
        known = known & array
    if about.members:
        some, known = known.any(dim=about.members), known.all(dim=about.members)
        _refuse_uneven(about.names["ensemble"], np.asarray(some), np.asarray(known))
    return np.asarray(about.ascending(known.transpose(*about.axes)))


def _inside(
    about: Labels, names: tuple[str, ...], stated: np.ndarray | None, known: np.ndarray
) -> np.ndarray | None:
    """The mask: what is stated, or where the file declares that nothing is known; None where all of
    it is inside.
    """
    what = " or ".join(map(repr, names))
    if not known.any():
        raise RefusedValue(f"{what} holds nothing but NaN")
    if stated is not None:
        lost = int((stated & ~known).sum())
        if lost:
            raise RefusedValue(
                f"{what} holds NaN at {lost} places that lie inside of the mask. Leave them out of "
                "the mask, or fill them"
            )
        return None if stated.all() else stated
    if known.all():
        return None
    if not any(_declares_fill(about.dataset[name]) for name in names):
        raise RefusedValue(
            f"{what} holds NaN at {int((~known).sum())} places, and the file declares no fill "
            "value. If these lie outside of the field, say so: --where nan, or where='nan'; "
            "otherwise remove or replace them"
        )
    return known


def _declares_fill(array) -> bool:
    declared = {"_FillValue", "missing_value", "valid_range", "valid_min", "valid_max"}
    return bool(declared & {*array.encoding, *array.attrs})


def _pointwise(about: Labels, stated: np.ndarray | None, nugget: float) -> Predictions:
    del nugget
    word, name = next((w, n) for w, n in about.names.items() if w != "mean")
    what = {"scale": "standard deviations", "variance": "variances"}[word]
    mean = field_values(about, about.names["mean"], "mean", stated)
    spread = np.broadcast_to(field_values(about, name, what, stated), mean.shape)
    known = np.isfinite(mean) & np.isfinite(spread)
    mask = _inside(about, (about.names["mean"], name), stated, known)
    least = float(spread.min() if mask is None else spread[mask].min())
    if not least > 0:
        raise RefusedValue(
            f"the {what} {name!r} must be above zero everywhere; the smallest is "
            f"{least:g}. State what is known exactly as a law instead, as in "
            "--dirichlet x:lower=1"
        )
    units, squared = about.units, (2 if word == "variance" else 1)
    given = units_of(about.dataset[name])
    told = compared(f"{name!r}", given, [units] * squared, differences=True)
    variance = spread**2 if word == "scale" else spread
    if (least**2 if word == "scale" else least) < SMALLEST:
        raise RefusedValue(
            f"the numbers underflow: of the {what} {name!r} the smallest, "
            f"{least:g}, is a variance below {SMALLEST:g}. Give other units"
        )
    if mask is not None:
        mean, variance = np.where(mask, mean, 0.0), np.where(mask, variance, 0.0)
    belief = Gaussian(jnp.asarray(mean), Diagonal(jnp.asarray(variance), len(about.dimensions)))
    form = f"independent points, mean {about.names['mean']!r} and {what} {name!r}"
    notes = tuple(filter(None, [told]))
    return Predictions(**vars(about), belief=belief, mask=mask, draws=None, form=form, notes=notes)


def _ensemble(about: Labels, stated: np.ndarray | None, nugget: float) -> Predictions:
    name, batch = about.names["ensemble"], len(about.batch)
    if isinstance(nugget, bool) or not isinstance(nugget, int | float | np.number):
        raise RefusedValue(f"the nugget must be a number above zero; got {nugget!r}")
    draws = field_values(about, name, "ensemble", stated, about.members)
    if np.nanmax(np.abs(draws), initial=0.0) > LARGEST:
        raise RefusedValue(
            f"the numbers overflow: the ensemble {name!r} is beyond {LARGEST:g}, and its square "
            "beyond double precision. Give it in other units"
        )
    draws = draws.reshape(-1, *draws.shape[len(about.members) :])
    known = np.isfinite(draws)
    _refuse_uneven(name, known.any(axis=0), known.all(axis=0))
    mask = _inside(about, (name,), stated, known.all(axis=0))
    if mask is not None:
        draws = np.where(mask, draws, 0.0)
    belief = ensemble_belief(draws, nugget=nugget, batch_dims=batch)
    if mask is not None:
        belief = _outside(belief, mask)
    form = (
        f"{len(draws)} members {name!r} along {' and '.join(about.members)}, with an independent "
        f"part of {nugget:g} times their standard deviation"
    )
    return Predictions(**vars(about), belief=belief, mask=mask, draws=draws, form=form, notes=())


def _refuse_uneven(name: str, some: np.ndarray, known: np.ndarray) -> None:
    if (some != known).any():
        raise RefusedValue(
            f"the members of {name!r} are NaN at different places; a point is outside of the field "
            "for all of them or for none"
        )


def _outside(belief: Gaussian, mask: np.ndarray) -> Gaussian:
    """Without the independent part where there is no field."""
    covariance: LowRank = belief.covariance
    diagonal = jnp.where(jnp.asarray(mask), covariance.diagonal, 0.0)
    return Gaussian(belief.mean, dataclasses.replace(covariance, diagonal=diagonal))
