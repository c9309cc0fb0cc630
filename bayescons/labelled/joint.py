"""Predictions of several variables as one belief."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.descriptions import Description, described
from bayescons.functionals import Bundle
from bayescons.gaussians.bundled import BlockDiagonal, Merged, correlation_root
from bayescons.gaussians.composites import Scaled
from bayescons.gaussians.covariances import Kronecker
from bayescons.gaussians.ensembles import ensemble as ensemble_belief
from bayescons.gaussians.gaussian import Gaussian
from bayescons.labelled.dimensions import Dimension
from bayescons.labelled.expressions import Name
from bayescons.labelled.labels import found
from bayescons.labelled.laws import Equation, Law
from bayescons.labelled.predictions import NUGGET, Predictions, predictions
from bayescons.labelled.terms import Setting
from bayescons.refusals import RefusedType, RefusedValue


@described
@dataclasses.dataclass(frozen=True, eq=False)
class JointPredictions:
    """A belief about several variables of a dataset, and how it was understood.

    Attributes:
        dataset: where they are from.
        each: what is believed about each.
        bundle: how all are one array: axes that all have and no law names stand in front, so that
            laws hold for each point of them by itself.
        belief: about that array.
        draws: of ensembles, the members as such arrays; otherwise None.
        form: what the belief was made of, in words.
        notes: what else was decided.
        where: how the mask was named, if it was.
        rings: as they were given, and
        cells: likewise.
    """

    dataset: Any
    each: tuple[Predictions, ...]
    bundle: Bundle
    belief: Gaussian
    draws: jax.Array | None
    form: str
    notes: tuple[str, ...]
    where: str | None
    rings: Mapping[str, Any]
    cells: Mapping[str, Any]

    batch = ()

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The axes of all variables."""
        return tuple({d.name: d for known in self.each for d in known.dimensions}.values())

    @property
    def units(self) -> str:
        """Of each variable."""
        return ", ".join(f"{k.template.name} in {k.units or 'no unit'}" for k in self.each)

    def split(self, array) -> list[jax.Array]:
        """The variables that an array holds, any number of axes in front."""
        return self.bundle.split(jnp.asarray(array))

    def told(self) -> list[str]:
        """What was understood, line by line."""
        lines = [f"belief: {self.form}"]
        lines += [f"grid axis {d.told()}" for d in self.dimensions]
        for known in self.each:
            over = ", ".join(known.axes) or "no axis"
            lines.append(f"{known.template.name}: over {over}, in {known.units or 'no unit'}")
            if known.mask is not None:
                out = int(known.mask.size - known.mask.sum())
                lines.append(f"mask: {out} of {known.mask.size} values of it are outside")
        lead = [self.each[0].grid.names[places[0]] for places in self.bundle.shared]
        if lead:
            lines.append(f"each point of {', '.join(lead)} by itself, as no law names these axes")
        return [*lines, *(f"note: {note}" for note in self.notes)]

    def description(self) -> Description:
        """What was understood."""
        rows = (line.partition(": ")[::2] for line in self.told())
        return Description("Predictions of several variables", tuple(rows))

    @property
    def setting(self) -> Setting:
        """The arrays that laws are about."""
        unknowns = {
            known.names.get("mean", known.names.get("ensemble")): known for known in self.each
        }
        axes = dict.fromkeys(name for known in self.each for name in known.axes)
        beyond = [d for d in map(str, self.dataset.dims) if d not in axes]
        return Setting(self.dataset, unknowns, (*axes, *beyond), self.rings, self.cells)


def several(
    dataset: Any,
    *,
    mean: Any = None,
    scale: Any = None,
    variance: Any = None,
    ensemble: Any = None,
    laws: Sequence[Equation | Law] = (),
    members: str | None = None,
    where: str | None = None,
    rings: Mapping[str, float | None] = {},
    cells: Mapping[str, Any] = {},
    nugget: float = NUGGET,
    correlation: Any = None,
) -> JointPredictions:
    """Understand arrays of a dataset as one belief about several variables, independent of each
    other, with a given correlation at each point, or of one ensemble of all.

    Args:
        dataset: an xarray.Dataset.
        mean: names of the means, one for each variable; or one name, by default "mean".
        scale: names of the standard deviations, or numbers; or
        variance: of the variances.
        ensemble: names of ensembles, in place of these.
        laws: what will be stated: axes that none of them names stay apart.
        members: axis that counts the members of all ensembles.
        where: as of `predictions`, and so are
        rings: and
        cells: and
        nugget.
        correlation: of the variables' errors at one point, (k, k), or the name of an array; the
            variables must have the same axes. Points are independent of each other.

    Raises:
        ValueError: for what is missing, does not fit, or is not clear; with the remedy.
    """
    if mean is None and ensemble is None:
        mean = "mean"
    names = _names("ensemble" if ensemble is not None else "mean", ensemble or mean)
    if ensemble is not None and (mean is not None or scale is not None or variance is not None):
        raise RefusedValue(
            "an ensemble stands in place of mean and scale; give one of them, and not both"
        )
    if members is not None and ensemble is None:
        raise RefusedValue(
            f"members={members!r} is of ensembles, and means with their spread are given. Name the "
            "ensembles, --ensemble q,p or ensemble=('q', 'p'), or leave --members out"
        )
    _refuse_unused(names, dataset, rings=rings, cells=cells)
    dataset, spreads = _spreads(dataset, names, scale, variance, ensemble is not None)
    each = []
    for name, spread in zip(names, spreads, strict=True):
        dims = [d for d in found(dataset, name, "field").dims if d != members]
        own = {} if ensemble is None else {"members": members}
        if ensemble is not None and members is None:
            raise RefusedValue(
                "which axis counts the members of the ensembles is not said: --members NAME, or "
                "members=NAME"
            )
        each.append(
            predictions(
                dataset,
                **({"ensemble": name} if ensemble is not None else {"mean": name}),
                **spread,
                **own,
                axes=dims,
                where=_mask_of(dataset, where, dims),
                rings={axis: period for axis, period in rings.items() if axis in dims},
                cells={axis: given for axis, given in cells.items() if axis in dims},
                nugget=nugget,
            )
        )
    known = _joined(dataset, tuple(each), laws, where, rings, cells, nugget)
    return known if correlation is None else _tied(known, correlation)


def _names(what: str, given) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given or ())
    if not names or not all(isinstance(name, str) for name in names):
        raise RefusedType(
            f"expected the names of the variables, {what}=('q', 'p'); got {given!r:.60}"
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise RefusedValue(f"{what} names {twice[0]!r} twice")
    return names


def _refuse_unused(names, dataset, **given: Mapping[str, Any]) -> None:
    """Refuse rings and cells of axes that there are not."""
    for what, each in given.items():
        unused = [axis for axis in each if axis not in dataset.dims]
        if unused:
            raise RefusedValue(
                f"{what} names {unused[0]!r}, which is no axis of {', '.join(names)}; there are "
                f"{', '.join(map(str, dataset.dims))}"
            )


def _spreads(dataset, names, scale, variance, of_ensemble: bool):
    """Which array says how uncertain each variable is; a number becomes an array."""
    if of_ensemble or (len(names) == 1 and scale is None and variance is None):
        return dataset, [{} for _ in names]  # of one variable it is found by its usual names
    if (scale is None) == (variance is None):
        raise RefusedValue(
            "how uncertain the variables are is said by standard deviations, scale=(...), or by "
            "variances, variance=(...), one for each of "
            f"{', '.join(names)}: names of arrays or numbers"
        )
    word, given = ("scale", scale) if variance is None else ("variance", variance)
    given = (given,) if isinstance(given, str | int | float) else tuple(given)
    if len(given) != len(names):
        raise RefusedValue(
            f"{word} has {len(given)} entries for the {len(names)} variables {', '.join(names)}; "
            "give one for each, the name of an array or a number"
        )
    named = [one for one in given if isinstance(one, str)]
    twice = [one for one in named if named.count(one) > 1]
    if twice:
        raise RefusedValue(
            f"{word} names {twice[0]!r} for two variables, and each gets its own after the laws. "
            f"Copy it: ds['other_sd'] = ds[{twice[0]!r}]"
        )
    dataset, spreads = dataset.copy(), []
    for name, one in zip(names, given, strict=True):
        if not isinstance(one, str):
            if isinstance(one, bool) or not isinstance(one, int | float | np.number):
                raise RefusedType(
                    f"{word} of {name!r} is the name of an array or a number; got "
                    f"{type(one).__name__}"
                )
            if f"{name}_{word}" in dataset.variables:
                raise RefusedValue(
                    f"the dataset has an array {name}_{word}; the {word} {one:g} of {name!r} "
                    f"would replace it. Name it: {word}='{name}_{word}'"
                )
            like = found(dataset, name, "mean")
            dataset[f"{name}_{word}"] = (like.dims, np.full(like.shape, float(one)))
            one = f"{name}_{word}"
        spreads.append({word: one})
    return dataset, spreads


def _mask_of(dataset, where: str | None, dims) -> str | None:
    """The mask, where a variable has its axes."""
    if where is None or where == "nan":
        return where
    return where if {*found(dataset, where, "mask").dims} <= {*dims} else None


def _joined(dataset, each, laws, where, rings, cells, nugget: float) -> JointPredictions:
    named = {axis for law in laws for axis in law.axes}
    lead = [a for a in each[0].axes if a not in named and all(a in k.axes for k in each)]
    shared = tuple(tuple(known.axes.index(axis) for known in each) for axis in lead)
    shapes = tuple(tuple(known.belief.mean.shape) for known in each)
    bundle = Bundle(shapes, shared)
    forms = "; ".join(k.form.removeprefix("independent points, mean ") for k in each)
    notes = [note for known in each for note in known.notes]
    about = {name for law in laws for name in arrays_of(law)}
    idle = [k.template.name for k in each if k.template.name not in about]
    if about and idle:
        notes.append(
            f"no law names {', '.join(idle)}, which stays as it is; left out of the variables it "
            "costs nothing"
        )
    draws = None
    if each[0].draws is None:
        mean = bundle.join([known.belief.mean for known in each])
        members = tuple(known.belief.covariance for known in each)
        belief = Gaussian(mean, BlockDiagonal(members, shared))
        form = f"{len(each)} variables, independent of each other at independent points: {forms}"
    else:
        draws = bundle.join([jnp.asarray(known.draws) for known in each])
        belief = _of_members(draws, each, bundle, nugget)
        form = f"{len(each)} variables of one ensemble: {forms}"
    return JointPredictions(
        dataset, each, bundle, belief, draws, form, tuple(notes), where, dict(rings), dict(cells)
    )


def _tied(known: JointPredictions, correlation) -> JointPredictions:
    """With errors that are correlated at each point."""
    names = [k.template.name for k in known.each]
    if known.draws is not None:
        raise RefusedValue(
            "an ensemble has the correlation of its members; leave correlation=... out, or give "
            "means and standard deviations"
        )
    axes = [k.axes for k in known.each]
    odd = [name for name, own in zip(names, axes, strict=True) if own != axes[0]]
    if odd:
        raise RefusedValue(
            f"correlated variables have the same axes, in the same order, and {odd[0]!r} is over "
            f"({', '.join(axes[names.index(odd[0])])}), {names[0]!r} over ({', '.join(axes[0])}). "
            "Transpose it, or bring it to the same points"
        )
    if isinstance(correlation, str):
        correlation = found(known.dataset, correlation, "correlation")
    root = correlation_root(np.asarray(correlation), len(names))
    *lead, size = known.bundle.shape
    shape = (*lead, len(names), size // len(names))
    whole = Kronecker((*[None] * len(lead), root, None), jnp.ones(()), shape)
    spread = jnp.sqrt(known.belief.variance).reshape(shape)
    belief = Gaussian(known.belief.mean, Merged(Scaled(whole, spread)))
    form = known.form.replace(
        "independent of each other at independent points", "correlated at each point"
    )
    return dataclasses.replace(known, belief=belief, form=form)


def _of_members(draws, each, bundle: Bundle, nugget: float) -> Gaussian:
    """The members' covariance, across variables too, with an independent part where there are
    fields.
    """
    belief = ensemble_belief(draws, nugget=nugget)
    masks = [np.ones(k.belief.mean.shape) if k.mask is None else k.mask * 1.0 for k in each]
    diagonal = belief.covariance.diagonal * bundle.join([jnp.asarray(m) for m in masks])
    return Gaussian(belief.mean, dataclasses.replace(belief.covariance, diagonal=diagonal))


def arrays_of(law: Equation | Law) -> list[str]:
    """Names of the arrays that a law is made of, and of the variable that it is about."""
    if isinstance(law, Law):
        return [law.variable] if law.variable else []
    sides = (law.parsed.left, law.parsed.right)
    return [e.name for side in sides for e in side.every() if isinstance(e, Name)]
