"""Which belief to condition: candidates for one law compared on cases whose truth is known, with
leaving the field alone among them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from bayescons.arrays import one_of
from bayescons.descriptions import Description, described, tabulated
from bayescons.diagnostics.scoring import crps
from bayescons.gaussians.conditioning import Constraint, condition
from bayescons.gaussians.gaussian import Gaussian
from bayescons.refusals import RefusedValue

ALONE = "none"
SCORES = ("crps", "squared error")


@tabulated("What a candidate scores")
@dataclasses.dataclass(frozen=True)
class Candidate:
    """What one belief scores.

    Attributes:
        score: mean over the cases, lower is better.
        se: its standard error.
        difference: mean of the score less that of leaving the field alone, case by case.
        difference_se: its standard error.
        picked: share of the folds in which the others would have picked it.
    """

    score: float
    se: float
    difference: float
    difference_se: float
    picked: float


@described
@dataclasses.dataclass(frozen=True)
class Choice:
    """The belief with the lowest score, and what choosing so is worth.

    Attributes:
        chosen: its name; "none" is to leave the field alone.
        candidates: by name.
        held_out: score of choosing: of each fold by what the other folds picked.
        held_out_se: its standard error.
        score: which one it is.
        folds: number of folds.
    """

    chosen: str
    candidates: Mapping[str, Candidate]
    held_out: float
    held_out_se: float
    score: str
    folds: int

    def description(self) -> Description:
        """A row for each candidate, the chosen one first."""
        ordered = sorted(self.candidates.items(), key=lambda item: item[1].score)
        rows = [
            (
                name,
                f"{c.score:.4g} ± {c.se:.2g}; less alone {c.difference:+.2g} ± "
                f"{c.difference_se:.1g}; picked in {c.picked:.0%} of folds",
            )
            for name, c in ordered
        ]
        held = f"{self.held_out:.4g} ± {self.held_out_se:.2g}, over {self.folds} folds"
        return Description(
            f"Choice of {self.chosen!r} by {self.score}", (*rows, ("choosing, held out", held))
        )


def choose(
    candidates: Mapping[str, Gaussian],
    law: Constraint,
    truth,
    *,
    alone: Gaussian,
    score: str = "crps",
    folds: int = 5,
) -> Choice:
    """Compare beliefs about one field under one law, on cases whose truth is known, with the field
    as it is without the law: what mends a total and makes the rest worse is not chosen.

    The score of the chosen one is no estimate of what it is worth, since it was chosen for it;
    `held_out` is: each fold is scored by what the others picked.

    Args:
        candidates: by name, each a batch of beliefs, one for each case; such as `gaussians.shift`
            and `ratio`, `bc.diagonal`, `gaussians.ensemble` and `localised_ensemble`.
        law: exact or not; its value with one entry for each case in front.
        truth: shape (cases, *field).
        alone: the belief that is left as it is, a batch; called "none".
        score: "crps", averaged over the field, which for a belief without variance is the absolute
            error; or "squared error" of the mean.
        folds: of cases, in order; shuffle them first where neighbours are alike.

    Raises:
        ValueError: fewer cases than folds, shapes that differ, a candidate called "none".

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth = 2.0 + rng.normal(size=(40, 8))
        >>> mean = truth + 0.5 * rng.normal(size=(40, 1))  # off by one number each
        >>> sums = bc.average(bc.Grid(x=np.arange(8.0)))
        >>> total = bc.Constraint(sums, jax.vmap(sums)(truth))
        >>> beliefs = {
        ...     "shift": bc.gaussians.shift(mean, batch_dims=1),
        ...     "ratio": bc.gaussians.ratio(mean, batch_dims=1),
        ... }
        >>> alone = bc.diagonal(mean, 0.5, batch_dims=1)
        >>> found = bc.diagnostics.choose(beliefs, total, truth, alone=alone)
        >>> found.chosen
        'shift'
    """
    one_of("score", score, SCORES)
    truth = np.asarray(truth, float)
    if ALONE in candidates:
        raise RefusedValue(
            f"a candidate is called {ALONE!r}, which is the field as it is, alone=...; rename it"
        )
    if not 2 <= folds <= len(truth):
        raise RefusedValue(
            f"there are {len(truth)} cases for {folds} folds; give two folds or more, and a case "
            "for each"
        )
    scored = {ALONE: _scores(ALONE, alone, truth, score)}
    for name, belief in candidates.items():
        scored[name] = _scores(name, condition(belief, law), truth, score)
    names, table = list(scored), np.stack(list(scored.values()))
    fold = np.arange(len(truth)) * folds // len(truth)
    picks = [int(np.argmin(table[:, fold != k].mean(axis=1))) for k in range(folds)]
    held_out = np.array([table[picks[k], case] for case, k in enumerate(fold)])
    found = {
        name: Candidate(*_estimate(own), *_estimate(own - table[0]), picks.count(number) / folds)
        for number, (name, own) in enumerate(zip(names, table, strict=True))
    }
    best = names[int(np.argmin(table.mean(axis=1)))]
    return Choice(best, found, *_estimate(held_out), score, folds)


def _scores(name: str, belief: Gaussian, truth: np.ndarray, score: str) -> np.ndarray:
    """Of each case, averaged over its field."""
    mean, variance = (np.asarray(a) for a in (belief.mean, belief.variance))
    if mean.shape != truth.shape:
        raise RefusedValue(
            f"the truth has shape {truth.shape}, and {name!r} is a belief of shape {mean.shape}; "
            "expected a batch with one belief for each case, batch_dims=1"
        )
    error = mean - truth
    if score == "squared error":
        each = error**2
    else:
        certain = variance <= 0
        spread = np.where(certain, 1.0, variance)
        each = np.asarray(crps(mean, jnp.asarray(spread), truth, axis=()))
        each = np.where(certain, np.abs(error), each)
    return each.reshape(len(truth), -1).mean(axis=1)


def _estimate(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
