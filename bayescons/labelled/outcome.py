"""What conditioned predictions leave: a dataset like the one given, with what it was conditioned
on, so that it can be conditioned further.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.gaussians.conditioning import Constraint, Update, stack, update
from bayescons.gaussians.gaussian import Gaussian
from bayescons.gaussians.scales import quadrature_scale
from bayescons.labelled.earlier import (
    ENTRY,
    RECORD,
    ROW,
    entries_names,
    reading_of,
    size_and_sum,
)
from bayescons.labelled.joint import JointPredictions
from bayescons.labelled.laws import Equation
from bayescons.labelled.predictions import Predictions
from bayescons.labelled.stating import Stated
from bayescons.refusals import RefusedValue
from bayescons.tracing import in_double

Known = Predictions | JointPredictions
PACKED = ("scale_factor", "add_offset", "valid_range", "valid_min", "valid_max")


@dataclasses.dataclass(frozen=True, eq=False)
class Conditioned:
    """Predictions given laws.

    Attributes:
        predictions: before.
        laws: as stated of the grid.
        result: the update.
        surprise: of each law, the largest distance of an exact value from the belief in prior
            standard deviations; None for laws with a scale.
    """

    predictions: Known
    laws: tuple[Stated, ...]
    result: Update
    surprise: tuple[float | None, ...]


@in_double
def as_dataset(done: Conditioned, *, seed: int = 0) -> Any:
    """The dataset of `condition`."""
    known, posterior = done.predictions, done.result.posterior
    dataset = known.dataset.copy()
    _refuse_taken(done)
    drawn = known.draws is not None
    members = known.split(_members(done, seed)) if drawn else [None] * len(known.each)
    each = zip(
        known.each,
        known.split(posterior.mean),
        known.split(posterior.variance),
        members,
        strict=True,
    )
    replaced = {}
    for one, mean, variance, own in each:
        field = one.template
        if drawn:
            replaced[one.names["ensemble"]] = _labelled(one, own, field, one.members)
            dataset[f"{field.name}_mean"] = _labelled(one, mean, field)
            dataset[f"{field.name}_variance"] = _labelled(one, variance, field)
        else:
            word, name = next((w, n) for w, n in one.names.items() if w != "mean")
            spread = variance if word == "variance" else jnp.sqrt(variance)
            replaced[one.names["mean"]] = _labelled(one, mean, field)
            replaced[name] = _labelled(one, spread, known.dataset[name], like=field)
    for name, array in replaced.items():
        dataset[f"{name}_prior"] = known.dataset[name]
        dataset[name] = array
    batch = known.batch
    dataset["log_evidence"] = (batch, np.asarray(done.result.log_evidence), {"units": "nat"})
    dataset["independent_rows"] = (batch, np.asarray(done.result.rank, int))
    for name, fact in zip(variable_names(done.laws), done.laws, strict=True):
        _add_law(dataset, known, name, fact, posterior)
    sums = {name: size_and_sum(dataset[name]) for name in _arrays(done)}
    dataset.attrs[RECORD] = json.dumps({**_record(done), "sums": sums})
    return dataset


def _arrays(done: Conditioned) -> list[str]:
    """Names of the arrays that the belief was made of."""
    return [name for one in done.predictions.each for name in one.names.values()]


def _add_law(dataset, known: Known, name: str, fact: Stated, posterior: Gaussian) -> None:
    """A law's value, and what the mean says of it before and after."""
    axes = (*known.batch, *fact.names)
    if fact.rows is not None:
        axes = (*axes[:-1], f"{name}_{ROW}")
        _add_rows(dataset, name, fact)
    attrs = {"long_name": fact.about} | ({"units": fact.units} if fact.units else {})
    for suffix, values in (
        ("", fact.stated_values()),
        ("_before", fact.values(known.belief)),
        ("_after", fact.values(posterior)),
    ):
        array = _unturned(known, axes, np.broadcast_to(values, fact.void.shape))
        dataset[f"{name}{suffix}"] = (axes, array, attrs)


def _add_rows(dataset, name: str, fact: Stated) -> None:
    """What counts the rows of a law of many; and the entries of a matrix, as the file has its
    points.
    """
    row, made = f"{name}_{ROW}", fact.rows
    if made.marks is not None:
        dataset.coords[row] = (row, made.marks)
    if fact.law.kind == "rows":
        parts = (made.matrix.data, *made.matrix.coords)
        for part, values in zip(entries_names(name), parts, strict=True):
            dataset[part] = (f"{name}_{ENTRY}", np.array(values))


def _unturned(known: Known, axes: tuple[str, ...], values: np.ndarray) -> np.ndarray:
    """Values in the order of the file again."""
    turned = {d.name for d in known.dimensions if d.descending}
    return np.asarray(values[tuple(slice(None, None, -1 if n in turned else 1) for n in axes)])


def _labelled(
    known: Predictions, values, original, members: tuple[str, ...] = (), like=None
) -> Any:
    """Values as an array like one of the file: order of axes, names, attributes, precision."""
    import xarray

    like = original if like is None else like
    values = np.asarray(values)
    if known.mask is not None:
        values = np.where(known.mask, values, np.nan)
    lead = [like.sizes[name] for name in members]
    values = values.reshape(*lead, *values.shape[1:]) if members else values
    axes = (*members, *known.axes)
    dtype = like.dtype if like.dtype.kind == "f" else np.dtype(float)
    array = xarray.DataArray(_unturned(known, axes, values).astype(dtype), dims=axes)
    array = array.transpose(*(name for name in like.dims if name in axes))
    array.attrs = {k: v for k, v in original.attrs.items() if k not in PACKED}
    return array


def _members(done: Conditioned, seed: int) -> jax.Array:
    """Every member given the laws, u_j + K G' S⁺ (b + ε_j - G u_j)."""
    known, belief = done.predictions, done.predictions.belief
    facts = [fact.constraint for fact in done.laws]
    keys = jax.random.split(jax.random.key(seed), len(facts))
    values = [_perturbed(done, *each, len(known.draws)) for each in zip(keys, facts, strict=True)]

    def one(member, *value):
        given = [dataclasses.replace(f, value=v) for f, v in zip(facts, value, strict=True)]
        return update(Gaussian(member, belief.covariance), stack(given)).posterior.mean

    return jax.vmap(one)(jnp.asarray(known.draws), *values)


def _perturbed(done: Conditioned, key, fact: Constraint, members: int) -> jax.Array:
    """b + ε_j, for each member."""
    value, belief = jnp.asarray(fact.value), done.predictions.belief
    shape = (members, *value.shape)
    value = jnp.broadcast_to(value[None], shape)
    if fact.scale is None:
        return value
    quadrature = isinstance(fact.scale, str)
    scale = quadrature_scale(belief, fact.functional) if quadrature else jnp.asarray(fact.scale)
    return value + jnp.broadcast_to(scale[None], shape) * jax.random.normal(key, shape)


def variable_names(laws: Sequence[Stated]) -> list[str]:
    """Names of the laws' arrays: integral_x, dirichlet_x_lower; a repeated one is numbered."""
    names: list[str] = []
    for fact in laws:
        plain = re.sub(r"[^\w.-]+", "_", fact.law.name).strip("_") or "law"
        numbered = (f"{plain}_{i}" for i in itertools.count(2))
        names.append(
            next(n for n in (plain, *itertools.islice(numbered, len(laws))) if n not in names)
        )
    return names


def _added(done: Conditioned) -> dict[str, Any]:
    """Names of what is added to the dataset -> the law's value that it holds, or None."""
    known, added = done.predictions, {"log_evidence": None, "independent_rows": None}
    added |= dict.fromkeys(f"{name}_prior" for name in _arrays(done))
    if known.draws is not None:
        fields = [one.template.name for one in known.each]
        added |= {f"{field}_{what}": None for field in fields for what in ("mean", "variance")}
    for name, fact in zip(variable_names(done.laws), done.laws, strict=True):
        added |= {name: fact.law.value, f"{name}_before": None, f"{name}_after": None}
        if fact.rows is not None:
            added |= dict.fromkeys((f"{name}_{ROW}", *entries_names(name)))
    return added


def _refuse_taken(done: Conditioned) -> None:
    """Refuse to replace arrays of the dataset that are none of the belief."""
    dataset = done.predictions.dataset
    for name, value in _added(done).items():
        taken = name in dataset.variables or name in dataset.dims
        if taken and not (isinstance(value, str) and value == name):
            raise RefusedValue(
                f"the dataset has an array or axis {name!r}, and one of the result would replace "
                f"it. Rename it: ds.rename({{{name!r}: 'my_{name}'}})"
            )


def _record(done: Conditioned) -> dict:
    """What a dataset was conditioned on, for conditioning it further."""
    laws = []
    for name, fact in zip(variable_names(done.laws), done.laws, strict=True):
        law = fact.law
        if isinstance(law, Equation):
            laws.append({"kind": law.kind, "axes": law.axes, "value": name, "text": law.text})
            continue
        by_name = law.weights is None or all(isinstance(w, str) for w in law.weights)
        kept = law.scale is None or isinstance(law.scale, int | float | str)
        laws.append(
            {
                "kind": law.kind,
                "axes": law.axes,
                "value": name,
                "scale": law.scale if kept else "not kept",
                "side": law.side,
                "weights": law.weights if by_name else "not kept",
                "coefficients": law.coefficients,
                "order": law.order,
                "rule": law.rule,
                "variable": law.variable,
                **({} if fact.rows is None else _made_of(fact)),
            }
        )
    names = _arrays(done)
    added = [name for name in _added(done) if not name.endswith("_prior")]
    return {"arrays": names, "added": added, "laws": laws, **reading_of(done.predictions)}


def _made_of(fact: Stated) -> dict:
    """What the record says of a law of many rows."""
    if fact.law.kind == "rows":
        return {"points": fact.rows.matrix.shape[1], "source": fact.law.source}
    return {"regions": fact.law.made_of if isinstance(fact.law.made_of, str) else "not kept"}


def spreads_of(done: Conditioned) -> dict[str, float]:
    """By variable, root mean square standard deviation after, as a share of that before."""
    known = done.predictions
    before, after = (known.split(b.variance) for b in (known.belief, done.result.posterior))
    names = [one.template.name for one in known.each]
    return {
        name: math.sqrt(np.mean(np.asarray(new)) / np.mean(np.asarray(old)))
        for name, old, new in zip(names, before, after, strict=True)
    }
