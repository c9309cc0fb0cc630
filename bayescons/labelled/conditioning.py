"""Labelled predictions given laws: each law as a functional of the grid with its value, the update,
and what it leaves as a dataset.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayescons.arrays import over_batch
from bayescons.gaussians.conditioning import stack, update
from bayescons.gaussians.gaussian import Gaussian
from bayescons.gaussians.scales import functional_scale
from bayescons.labelled.earlier import require_same_reading, restored
from bayescons.labelled.equations import StatedEquation, stated_jointly
from bayescons.labelled.joint import JointPredictions, several
from bayescons.labelled.laws import Equation, Law
from bayescons.labelled.outcome import Conditioned, as_dataset
from bayescons.labelled.predictions import LARGEST, Predictions, predictions
from bayescons.labelled.stating import Stated, stated
from bayescons.refusals import RefusedType, RefusedValue
from bayescons.tracing import in_double

CURVED = 0.1  # share of its error that a linearised law may leave
SURPRISING, ABSURD = 5.0, 1000.0  # prior standard deviations between a value and the belief


class SurprisingLawWarning(UserWarning):
    """A law states a value many prior standard deviations away from what is believed."""


class LinearisedLawWarning(UserWarning):
    """A law with a product of unknowns is far from linear between the belief and what it says."""


@in_double
def solved(
    predictions: Predictions | JointPredictions,
    laws: Sequence[Law | Equation],
    *,
    anyway: bool = False,
) -> Conditioned:
    """Carry out the update.

    Raises:
        ValueError: laws that cannot be meant, contradict each other or are more than 1,000 prior
            standard deviations away from the belief, unless `anyway`.

    Warns:
        SurprisingLawWarning: more than 5.
        LinearisedLawWarning: a tenth or more of a law's error is left, as it is not linear.
    """
    if not laws:
        raise RefusedValue(
            "nothing to condition on; state at least one law: labelled.integral('x', total)"
        )
    state = stated_jointly if isinstance(predictions, JointPredictions) else stated
    facts = tuple(state(law, predictions) for law in laws)
    surprise = tuple(_surprise(fact, predictions.belief) for fact in facts)
    for fact, distance in zip(facts, surprise, strict=True):
        _judge(fact, distance, predictions, anyway)
    _refuse_overflow(predictions, facts)
    names = _told_apart([law.name for law in laws])
    stated_facts = [
        dataclasses.replace(fact.constraint, name=name)
        for fact, name in zip(facts, names, strict=True)
    ]
    result = update(predictions.belief, stack(stated_facts))
    _warn_of_curvature(facts, predictions.belief, result.posterior)
    return Conditioned(predictions, facts, result, surprise)


def _warn_of_curvature(facts: Sequence[Stated], before: Gaussian, after: Gaussian) -> None:
    """Warn of exact laws that hold only where they were linearised."""
    for fact in facts:
        if not isinstance(fact, StatedEquation) or fact.itself is None or fact.scale is not None:
            continue
        missed, left = (
            np.nanmax(np.abs(fact.values(b) - fact.stated_values()), initial=0.0)
            for b in (before, after)
        )
        if left > CURVED * missed:
            warnings.warn(
                f"{fact.law.name!r} multiplies unknowns and is linearised at the belief's mean; "
                f"{left / missed:.2g} of what it was off is left. Give it a scale, or state it "
                "exactly in a program (bc.restrictions.constrained)",
                LinearisedLawWarning,
                stacklevel=4,
            )


def _told_apart(names: Sequence[str]) -> list[str]:
    """Names of laws, in messages about several of them: those of one name are counted."""
    seen: Counter[str] = Counter()
    several = Counter(names)
    told = []
    for name in names:
        seen[name] += 1
        told.append(f"{name} (law {seen[name]} of this name)" if several[name] > 1 else name)
    return told


def _refuse_overflow(predictions: Predictions | JointPredictions, facts: Sequence[Stated]) -> None:
    """Refuse numbers whose squares double precision does not hold."""
    belief = predictions.belief
    given = {"the mean": belief.mean, "the variance": belief.variance}
    given |= {f"the value of {fact.law.name!r}": fact.value for fact in facts}
    for what, array in given.items():
        values = np.asarray(array)
        ends = np.abs([values.min(initial=0.0), values.max(initial=0.0)])
        if not ends.max() < LARGEST:
            raise RefusedValue(
                f"the numbers overflow: {what} is beyond {LARGEST:g}, and its square beyond double "
                "precision. Give it in other units"
            )


def _surprise(fact: Stated, belief: Gaussian) -> float | None:
    """The largest |b - G m| / sqrt(G K G') of an exact law."""
    if fact.scale is not None:
        return None
    found = over_batch(fact.functional, len(belief.batch_shape))(belief.mean)
    spread = np.asarray(functional_scale(belief, fact.functional))
    if not np.isfinite(spread).all():
        raise RefusedValue(
            f"the numbers overflow: the variance of {fact.law.name!r} is beyond double precision. "
            "Give the field or its weights in other units"
        )
    missed = np.abs(fact.value - np.asarray(found))
    known = ~fact.void & (spread > 0)
    return float(np.max(missed / np.where(known, spread, np.inf), initial=0.0))


def _judge(
    fact: Stated,
    distance: float | None,
    predictions: Predictions | JointPredictions,
    anyway: bool,
) -> None:
    if distance is None or distance <= SURPRISING:
        return
    causes = (
        f"how it was summed ({fact.told or 'as stated'}), units (of the field: "
        f"{predictions.units or 'not stated'}), a fill value among the data, or an axis that is a "
        "ring or holds averages over cells and is not known to"
    )
    told = (
        f"{fact.law.name!r} is {distance:.3g} prior standard deviations away from what is believed"
    )
    if distance > ABSURD and not anyway:
        raise RefusedValue(
            f"{told}. Likely causes: {causes}. If it is meant, say --anyway, or anyway=True"
        )
    warnings.warn(f"{told}. Look at {causes}", SurprisingLawWarning, stacklevel=4)


@in_double
def condition(
    dataset: Any,
    laws: Sequence[Law | Equation],
    *,
    anyway: bool = False,
    seed: int = 0,
    **reading: Any,
) -> Any:
    """The predictions of a dataset, given laws.

    What the dataset holds is understood by the conventions of its field (`predictions`): which axes
    are grid, batch and members; averages over cells and points; rings; areas; masks; units and
    dates. `print(bc.labelled.predictions(ds, ...))` shows how, and nothing is guessed silently.

    Args:
        dataset: an xarray.Dataset.
        laws: `integral`, `average`, `regions`, `rows`, `dirichlet`, `neumann`, `robin`, `periodic`
            of this package; and `law`, equations across several variables, which are named as
            mean=("q", "p") with scale=("q_sd", "p_sd"), arrays or numbers.
        anyway: carry out laws that are more than 1,000 prior standard deviations away.
        seed: of the noise that members of an ensemble are given by laws with a scale.
        reading: mean, scale, variance, ensemble, axes, members, where, rings, cells, nugget, as of
            `predictions`; of several variables as of `several`, with their correlation.

    Returns:
        The dataset with the conditioned arrays under the names of the given ones, which are kept as
        `<name>_prior`; members of an ensemble are conditioned one by one, and its mean and variance
        are added. Beside them the log evidence, and for each law its value, and what the mean says
        of it before and after. NaN outside of the mask. Names, order of axes, coordinates,
        attributes and precision are those of the input.

    Raises:
        ValueError: for what is not clear or cannot be meant, with the remedy.

    Warns:
        SurprisingLawWarning: a law more than 5 prior standard deviations away.
        LinearisedLawWarning: a law with a product of unknowns that is far from linear.

    Example:
        >>> import xarray
        >>> ds = xarray.Dataset(
        ...     {"u": ("x", [1.0, 1.0, 1.0]), "u_sd": ("x", [0.5, 0.5, 0.5])},
        ...     coords={"x": [0.0, 0.5, 1.0]},
        ... )
        >>> law = bc.labelled.integral("x", 1.5)
        >>> post = bc.labelled.condition(ds, [law], mean="u", scale="u_sd")
        >>> print(post["u"].values.round(3), float(post["integral_x_after"]))
        [1.333 1.667 1.333] 1.5
    """
    if isinstance(laws, Law | Equation) or not all(isinstance(law, Law | Equation) for law in laws):
        raise RefusedType(
            f"expected a list of laws, [labelled.integral('x', total), ...]; got {laws!r:.100}"
        )
    before, laws, earlier = restored(dataset, laws)
    read = several if is_joint(laws, reading) else predictions
    understood = read(before, laws=laws, **_reading(reading, earlier))
    require_same_reading(understood, earlier)
    return as_dataset(solved(understood, laws, anyway=anyway), seed=seed)


def is_joint(laws: Sequence[Law | Equation], reading: Mapping[str, Any]) -> bool:
    """Whether several variables are meant, or laws that are equations."""
    named = (reading.get("mean"), reading.get("ensemble"))
    listed = any(name is not None and not isinstance(name, str) for name in named)
    listed |= reading.get("correlation") is not None
    return listed or any(isinstance(law, Equation) or law.variable for law in laws)


def _reading(reading: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """How a dataset is to be read, with the mask by which it was read earlier."""
    return {"where": earlier.get("where"), **reading}
