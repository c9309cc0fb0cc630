"""What to say when exact rows contradict each other: which rows, by how much, and what to do about
it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayescons import tracing
from bayescons.arrays import over_batch
from bayescons.refusals import Refusal, RefusedNumbers, RefusedValue

WAYS_OUT = (
    "Either (a) two statements disagree: correct one, or give one a scale > 0 - a total computed "
    "analytically and boundary or initial rows on a grid differ by the quadrature error, which "
    "scale='quadrature' covers; or (b) the belief rules the value out: it is too smooth, or was "
    "conditioned on something else before"
)


class InconsistentConstraintsError(Refusal, ValueError):
    """Exact rows that no field the belief allows can satisfy together.

    Example:
        >>> grid = bc.Grid(x=[0.0, 0.5, 1.0])
        >>> one, two = (bc.Constraint(bc.integral(grid, over="x"), b) for b in (1.0, 2.0))
        >>> try:
        ...     bc.condition(bc.diagonal(jnp.zeros(3), 1.0), one & two)
        ... except bc.InconsistentConstraintsError:
        ...     print("the integral cannot be 1 and 2")
        the integral cannot be 1 and 2
    """


FINE, NOT_FINITE, CONTRADICTING, NOTHING_FREE, NOT_AFFINE, NEARLY_DEPENDENT = range(6)


def status(violation, departure, size, rank, *, dtype, unknowns: int, exact: bool) -> jax.Array:
    """What is wrong with an update, as a number that compiled code can give; `raise_for` makes it a
    sentence.

    Args:
        violation: what exact rows are off by, in prior standard deviations, shape (*axes, r).
        departure: what functionals are off their linear part by at the mean, in the same unit.
        size: |value| of each row in the same unit.
        rank: number of independent rows.
        dtype: of the field.
        unknowns: number of its points.
        exact: whether all rows are exact.
    """
    full = exact & (rank >= unknowns)
    wrong = jnp.any(excess(violation, size, dtype) > 0)
    found = jnp.where(full, NOTHING_FREE, FINE)
    found = jnp.where(wrong, CONTRADICTING, found)
    found = jnp.where(jnp.any(excess(departure, size, dtype) > 0), NOT_AFFINE, found)
    return jnp.where(jnp.all(jnp.isfinite(violation)), found, NOT_FINITE)


def excess(violation, size, dtype):
    """How far violations exceed what rounding explains: sqrt(eps) of the row and of its value."""
    return abs(violation) - math.sqrt(float(jnp.finfo(dtype).eps)) * (1 + size)


def raise_for(prior, constraint, result) -> None:
    """Turn the status of an update into an error that names the rows; nothing where all is well."""
    worst = np.asarray(result.status)
    if not worst.any():
        return
    if (worst == NOT_FINITE).any():
        raise RefusedNumbers(
            f"conditioning on {_names(constraint)} gave NaN: (a) the belief's variances over- or "
            "underflow, (b) rows of wildly different size; rescale the field"
        )
    if (worst == NOT_AFFINE).any():
        raise RefusedValue(
            f"{_not_affine(prior, constraint, result)} is not affine in the field: at the mean "
            "that its linear part gives it has another value. Observe it below the field as a "
            "likelihood, numpyro.sample(name, dist.Normal(f(u), scale), obs=value), or observe a "
            "linear functional"
        )
    if (worst == CONTRADICTING).any():
        row_std = np.asarray(result.posterior.covariance.row_covariance.row_std)
        size = np.abs(_packed_values(constraint, result)) / row_std
        bad = excess(np.asarray(result.violation), size, prior.loc.dtype) > 0
        names = row_names(constraint, result.posterior.covariance.axes)
        raise InconsistentConstraintsError(f"{contradiction(names, result, bad)}. {WAYS_OUT}")
    raise RefusedValue(
        f"no free direction left: {int(np.max(result.rank))} independent exact rows fix all "
        f"{math.prod(prior.event_shape)} points. Solve the linear system instead, or give some "
        f"rows a scale > 0; they are those of {_names(constraint)}"
    )


def refuse_too_many(constraint, unknowns: int) -> None:
    """Refuse more exact rows than a field has points."""
    exact = sum(math.prod(m.functional.value_shape) for m in constraint.members if m.scale is None)
    if exact > unknowns:
        raise RefusedValue(
            f"{exact} exact rows for {unknowns} points: more facts than unknowns. Drop rows, or "
            "give some a scale > 0 to treat them as readings; they are those of "
            f"{_names(constraint)}"
        )


def _names(constraint) -> str:
    """Of all that is stated, for messages about all of it."""
    return ", ".join(dict.fromkeys(repr(member.name) for member in constraint.members))


def _not_affine(prior, constraint, result) -> str:
    """Name of the functional that departs most from its linear part."""
    lead, mean = len(prior.batch_shape), result.posterior.mean
    sizes = {
        m.name: float(jnp.max(jnp.abs(over_batch(m.functional.departure, lead)(mean))))
        for m in constraint.members
    }
    return repr(max(sizes, key=sizes.get))


def _packed_values(constraint, result) -> np.ndarray:
    """Values by rows, in the layout of `Update.violation`."""
    axes, lead = result.posterior.covariance.axes, len(result.posterior.batch_shape)
    pieces = [
        over_batch(lambda v, m=m: m.functional.pack(v, axes), lead)(m.value)
        for m in constraint.members
    ]
    return np.concatenate(pieces, axis=-1)


class Contradiction(NamedTuple):
    """A row, what implies it, and by how much they disagree.

    Attributes:
        row: name of the row.
        others: the rows that imply it, or what of the belief itself.
        size: how far apart they are, in the unit of the row.
        deviations: the same in prior standard deviations of the row.
        more: number of further rows that are violated.
    """

    row: str
    others: str
    size: float
    deviations: float
    more: int

    def __str__(self) -> str:
        """As a sentence without its end."""
        more = (
            f" ({self.more} more row{'s are' if self.more > 1 else ' is'} violated as well)"
            if self.more
            else ""
        )
        return f"{self.row} contradicts {self.others} by {self.size:.1e}{more}"


def contradiction(names: np.ndarray, result, bad: np.ndarray) -> Contradiction:
    """The worst of the rows that are violated.

    Args:
        names: of the rows, as `row_names` gives them.
        result: the update by them.
        bad: which of them are violated, in the layout of `Update.violation`.
    """
    violation, row_std = (
        np.asarray(result.violation),
        np.asarray(result.posterior.covariance.row_covariance.row_std),
    )
    worst = np.unravel_index(
        np.argmax(np.abs(np.where(bad, violation * row_std, 0.0))), violation.shape
    )
    own = np.broadcast_to(names, violation.shape)[worst[:-1]]
    relation, weight = relation_of(result, worst)
    involved = np.flatnonzero(weight > 0.01 * weight.max())
    subject = min(
        involved,
        key=lambda i: (sum(_head(own[j]) == _head(own[i]) for j in involved), i != worst[-1]),
    )
    size = float(abs((violation * row_std)[worst] / relation[subject]))
    others = joined([own[i] for i in involved if i != subject]) or _certain(result, worst)
    return Contradiction(
        own[subject],
        others,
        size,
        size / float(row_std[(*worst[:-1], subject)]),
        int(bad.sum()) - 1,
    )


def _certain(result, worst: tuple) -> str:
    """What a belief holds for certain of a row by itself."""
    covariance, row = _row_of(result, worst)
    mean = result.posterior.mean[worst[: len(result.posterior.batch_shape)]]
    touched = np.asarray(row) != 0
    still = (np.asarray(covariance.unconditioned.variance) == 0) & (np.asarray(mean) == 0)
    if still[touched].all():
        return (
            "what is certain: the field is zero without variance at all points of this row, as it "
            "is outside of a mask"
        )
    return "what the belief already holds for certain"


def _row_of(result, worst: tuple):
    """The covariance given a row, of one of a batch, and the row as a field of weights."""
    lead = len(result.posterior.batch_shape)
    covariance = result.posterior.covariance
    covariance = jax.tree.map(lambda x: x[worst[:lead]], covariance) if lead else covariance
    axes, functional = covariance.axes, covariance.functional
    unit = np.zeros((*(functional.shape[a] for a in axes), functional.count(axes)))
    unit[worst[lead:]] = 1.0
    return covariance, functional.transpose(jnp.asarray(unit), axes)


def relation_of(result, worst: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients a of the relation Σ a_i (row i) = 0, a_worst = 1, between a row (by its place in
    `Update.violation`) and the independent rows of its block; and their weight, |a_i| times the
    row_std of the row.
    """
    covariance, row = _row_of(result, worst)
    at = worst[len(result.posterior.batch_shape) :]
    cross = covariance.functional.rows(covariance.prior.mv(row), covariance.axes)
    relation = -np.asarray(covariance.row_covariance.solve(cross))[at[:-1]]
    relation[at[-1]] = 1.0
    return relation, np.abs(relation) * np.asarray(covariance.row_covariance.row_std)[at[:-1]]


def joined(rows: list[str]) -> str:
    """Row names for a message: a few one by one, many rows of one constraint by its name."""
    groups = {head: [name for name in rows if _head(name) == head] for head in map(_head, rows)}
    return " and ".join(group[0] if len(group) == 1 else head for head, group in groups.items())


def _head(row: str) -> str:
    return row.split("[")[0]


def row_names(constraint, axes: tuple[int, ...]) -> np.ndarray:
    """Names of all rows, in the layout of `Functional.rows`."""
    blocks = []
    for member in constraint.members:
        functional = member.functional
        labels = [f"{member.name}{label}" for label in functional.labels()]
        positions = np.asarray(_positions(functional, tracing.Static(axes)))
        blocks.append(np.array(labels, dtype=object)[positions])
    return np.concatenate(blocks, axis=-1)


@tracing.compiled
def _positions(functional, axes: tracing.Static) -> jax.Array:
    """Number of each row in the order of the raveled values, in the layout of `rows`."""
    number = jnp.arange(math.prod(functional.value_shape))
    return functional.pack(number.reshape(functional.value_shape), axes.value)
