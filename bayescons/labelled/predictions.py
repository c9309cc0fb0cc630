"""Predictions in a labelled dataset: how they are understood as a Gaussian belief over a grid, or a
batch of them. Every decision is told in a line, and what is not clear is refused with the remedy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from bayescons.descriptions import Description, described
from bayescons.gaussians.covariances import Diagonal, LowRank
from bayescons.gaussians.ensembles import ensemble as ensemble_belief
from bayescons.gaussians.gaussian import Gaussian
from bayescons.labelled.conventions import looks_like_fill
from bayescons.labelled.labels import Labels, found, labels, listed
from bayescons.labelled.laws import Law
from bayescons.labelled.units import compared
from bayescons.refusals import RefusedType, RefusedValue
from bayescons.tracing import in_double

NUGGET = 1e-3


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
    """

    belief: Gaussian
    mask: np.ndarray | None
    draws: np.ndarray | None
    form: str
    notes: tuple[str, ...]

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
        ensemble: name of an ensemble in place of these; by default "draws" where there is no mean.
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
    names = _names(dataset, mean, scale, variance, ensemble)
    about = labels(dataset, names, laws, axes, members, rings, cells)
    build = _ensemble if "ensemble" in names else _pointwise
    return build(about, _where(about, where), nugget)


def _names(dataset, mean, scale, variance, ensemble) -> dict[str, str]:
    """Which arrays the belief is made of."""
    if scale is not None and variance is not None:
        raise RefusedValue("both --scale and --variance are given; write one of them")
    if ensemble is not None and (mean is not None or scale is not None or variance is not None):
        raise RefusedValue(
            "an ensemble stands in place of mean and scale; give one of them, and not both"
        )
    if mean is None and ensemble is None:
        ensemble = "draws" if "draws" in dataset and "mean" not in dataset else None
    if ensemble is not None:
        return {"ensemble": ensemble}
    mean = mean if mean is not None else "mean"
    if mean not in dataset:
        raise RefusedValue(
            f"there is no {mean!r}, the means of a belief, and no 'draws', an ensemble; there is "
            f"{listed(dataset)}. Name the arrays: --mean NAME and --scale NAME, or --ensemble NAME"
        )
    if scale is None and variance is None:
        scale = "scale" if "scale" in dataset else None
        variance = "variance" if scale is None and "variance" in dataset else None
    if scale is None and variance is None:
        raise RefusedValue(
            "there is no 'scale' (standard deviations) and no 'variance'; there is "
            f"{listed(dataset)}. Name the array: --scale NAME or --variance NAME"
        )
    spread = {"scale": scale} if scale is not None else {"variance": variance}
    return {"mean": mean, **spread}


def _where(about: Labels, where: str | None) -> np.ndarray | None:
    """A stated mask, over some of the axes of batch and grid."""
    if where is None:
        return None
    if where == "nan":
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
    return np.broadcast_to(values.reshape(sizes) > 0, shape)


def _known(about: Labels) -> np.ndarray:
    """Where no array of the belief is NaN."""
    arrays = [np.isfinite(found(about.dataset, n, "field")) for n in about.names.values()]
    known = arrays[0]
    for array in arrays[1:]:
        known = known & array
    known = known.all(dim=about.members) if about.members else known
    return np.asarray(about.ascending(known.transpose(*about.axes)))


def _values(about: Labels, name: str, what: str, lead: tuple[str, ...] = ()) -> np.ndarray:
    """Values over (*lead, *batch, *grid), in float64, NaN where nothing is known."""
    array = found(about.dataset, name, what)
    wanted = (*lead, *about.axes)
    missing = [axis for axis in lead if axis not in array.dims]
    beyond = [str(axis) for axis in array.dims if axis not in wanted]
    if beyond or missing:
        raise RefusedValue(
            f"the {what} {name!r} is over ({', '.join(map(str, array.dims))}), and the field over "
            f"({', '.join(wanted)}); expected are these axes, or some of them, or one number"
        )
    ordered = about.ascending(array.transpose(*(n for n in wanted if n in array.dims)))
    sizes = {n: about.template.sizes[n] for n in wanted}
    values = np.asarray(ordered).astype(np.float64)
    values = values.reshape([sizes[n] if n in array.dims else 1 for n in wanted])
    values = np.broadcast_to(values, tuple(sizes.values()))
    low, high = _valid(array)
    values = np.where((values < low) | (values > high), np.nan, values)
    if np.isinf(values).any():
        raise RefusedValue(
            f"the {what} {name!r} holds {int(np.isinf(values).sum())} infinite values"
        )
    fill = looks_like_fill(values)
    if fill is not None:
        count = int((values == fill).sum())
        raise RefusedValue(
            f"the {what} {name!r} holds {fill:g} {count} times, which looks like a fill value "
            "that the file does not declare. Declare it, ds[name].where(ds[name] != "
            f"{fill:g}), or name a mask: --where NAME"
        )
    return values


def _valid(array) -> tuple[float, float]:
    """The range that the file calls valid."""
    attrs = {**array.encoding, **array.attrs}
    low, high = attrs.get("valid_range", (attrs.get("valid_min"), attrs.get("valid_max")))
    return (-np.inf if low is None else float(low)), (np.inf if high is None else float(high))


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
    mean = _values(about, about.names["mean"], "mean")
    spread = np.broadcast_to(_values(about, name, what), mean.shape)
    known = np.isfinite(mean) & np.isfinite(spread)
    mask = _inside(about, (about.names["mean"], name), stated, known)
    inside = np.ones(mean.shape, bool) if mask is None else mask
    if not (spread[inside] > 0).all():
        raise RefusedValue(
            f"the {what} {name!r} must be above zero everywhere; the smallest is "
            f"{spread[inside].min():g}. State what is known exactly as a law instead, as in "
            "--dirichlet x:lower=1"
        )
    units, squared = about.units, (2 if word == "variance" else 1)
    told = compared(f"{name!r}", about.dataset[name].attrs.get("units"), [units] * squared)
    variance = np.where(inside, spread**2 if word == "scale" else spread, 0.0)
    belief = Gaussian(
        jnp.asarray(np.where(inside, mean, 0.0)),
        Diagonal(jnp.asarray(variance), len(about.dimensions)),
    )
    form = f"independent points, mean {about.names['mean']!r} and {what} {name!r}"
    notes = tuple(filter(None, [told]))
    return Predictions(**vars(about), belief=belief, mask=mask, draws=None, form=form, notes=notes)


def _ensemble(about: Labels, stated: np.ndarray | None, nugget: float) -> Predictions:
    name, batch = about.names["ensemble"], len(about.batch)
    draws = _values(about, name, "ensemble", about.members)
    draws = draws.reshape(-1, *draws.shape[len(about.members) :])
    known = np.isfinite(draws)
    if (known.any(axis=0) != known.all(axis=0)).any():
        raise RefusedValue(
            f"the members of {name!r} are NaN at different places; a point is outside of the field "
            "for all of them or for none"
        )
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


def _outside(belief: Gaussian, mask: np.ndarray) -> Gaussian:
    """Without the independent part where there is no field."""
    covariance: LowRank = belief.covariance
    diagonal = jnp.where(jnp.asarray(mask), covariance.diagonal, 0.0)
    return Gaussian(belief.mean, dataclasses.replace(covariance, diagonal=diagonal))
