"""Tables of a neural process and its corrections: what the experiments of the elliptic and of the hyperbolic problems share."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from bayescons.diagnostics import scale_factor
from bayescons.networks import pretrained, pretrained_names
from bayescons.quadrature import quadrature_weights
from bayescons.shapes import monotone
from experiments.black_boxes import ensemble, neural_process, stretched_neural_process
from experiments.cases import Slice, held_out
from experiments.corrections import corrections
from experiments.predictions import Prediction, judged, predictor
from experiments.rows import Row, averaged
from experiments.tables import LEFT_OUT, Table, against_targets, left_out, pivot

METRICS = {
    "conservation error": "CE",
    "largest |conservation error| of a draw": "worst draw",
    "mean squared error": "MSE",
    "log likelihood": "LL",
    "log likelihood of the mixture": "LL, mixture",
    "CRPS": "CRPS",
    "energy score": "energy",
    "coverage of 95 %": "coverage",
    "front error": "front error",
}
SLOW = "ProbConserv-ANP, second differences"
CHOSEN = "chosen on held-out functions"
STRETCH = "mass observed, unknown stretch"
STRETCHED = ("stefan", "porous_medium", "advection", "burgers")  # not diffusion: a ring cannot be dilated
DECREASING = ("stefan", "porous_medium", "advection", "burgers")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        functions: test functions for each parameter.
        held_out: functions of the training range on which a method is chosen and recalibrated.
        latents: draws of the latent.
        few: draws of the latent where second differences are stated, which cost a factorization each.
        families: problems.
        points: of the grid.
    """

    functions: int
    held_out: int
    families: tuple[str, ...]
    latents: int = 100
    few: int = 20
    points: int = 201


def rows(settings: Settings, key: jax.Array, stated: Mapping) -> list[Row]:
    """A row for each parameter, method and metric.

    Args:
        settings: sizes.
        key: a key of `jax.random.key`.
        stated: (family, parameter, method) → metric → a published number, or a target such as "≤ 1e-3".
    """
    out = []
    for index, family in enumerate(settings.families):
        if why := unavailable(family):
            out += [without_weights(family, value, why) for value in Slice(family).kind.test_values]
            continue
        where, own = Slice(family, settings.points), jax.random.fold_in(key, index)
        predict = _everything(where, settings)
        held = np.asarray(held_out(family, jax.random.fold_in(own, 0), settings.held_out))
        practice = predict(held, jax.random.split(jax.random.fold_in(own, 1), settings.held_out))
        choice = chosen(where, held, practice)
        for number, value in enumerate(where.kind.test_values):
            values = np.full(settings.functions, value)
            found = predict(values, jax.random.split(jax.random.fold_in(own, 2 + number), settings.functions))
            found[CHOSEN] = choice.apply(found, values)
            for method, prediction in found.items():
                note = choice.told if method == CHOSEN else ""
                beside = stated.get((family, value, method), {})
                out += _rows(where, value, method, judged(where, values, prediction), beside, note)
    return out


def unavailable(family: str) -> str:
    """What to say where no neural process for a family comes with bayescons; empty where one does."""
    name = f"anp_{family}"
    return "" if name in pretrained_names() else f"no weights {name} come with bayescons: bayescons train anp --problem {family}"


def without_weights(family: str, value: float, why: str) -> Row:
    """A row in which the reason stands in place of a number."""
    return Row(family, Slice(family).label(value), "ANP", LEFT_OUT, math.nan, n=0, note=why)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What functions of the training range have said is best: a correction, whether to make it monotone, and by how much to rescale.

    Attributes:
        where: family and grid.
        method: name of the correction with the lowest energy score.
        shaped: whether the nearest monotone profile with the same total has the lower squared error.
        factor: by which the spread about the mean is multiplied, so that 95 % intervals hold 95 % of the points.
    """

    where: Slice
    method: str
    shaped: bool
    factor: float

    @property
    def told(self) -> str:
        """For a table."""
        return "; ".join([self.method, *["monotone"] * self.shaped, f"spread × {self.factor:.2f}"])

    def apply(self, found: Mapping[str, Prediction], values: np.ndarray) -> Prediction:
        """The chosen prediction."""
        prediction = found[self.method]
        if self.shaped:
            prediction = shaped(self.where, prediction, found["ANP"].variance, values)
        return rescaled(prediction, self.factor)


def chosen(where: Slice, values: np.ndarray, found: Mapping[str, Prediction]) -> Choice:
    """The best of the exact corrections on held-out functions, its shape and its spread."""
    exact = [name for name in found if name not in ("ANP", "HardC-ANP", "mass, quadrature scale") and "ensemble" not in name]
    scores = {name: judged(where, values, found[name]) for name in exact}
    method = min(exact, key=lambda name: scores[name]["energy score"].mean())
    truth = np.stack([np.asarray(where.truth(v))[0] for v in values])
    prediction, better = found[method], False
    if where.family in DECREASING:
        tried = shaped(where, prediction, found["ANP"].variance, values)
        better = bool(np.mean((tried.mean - truth) ** 2) < np.mean((prediction.mean - truth) ** 2))
        prediction = tried if better else prediction
    return Choice(where, method, better, float(scale_factor(prediction.mean, prediction.variance, truth)))


def shaped(where: Slice, prediction: Prediction, variance: np.ndarray, values: np.ndarray) -> Prediction:
    """The prediction moved to the nearest non-increasing, non-negative mean with the exact total, spread and all."""
    totals = np.array([float(where.total(v)[0]) for v in values])
    mean = np.asarray(monotone(prediction.mean, variance, weights=quadrature_weights(where.grid["x"]), total=totals))
    shift = mean - prediction.mean
    centres, spreads, weights = prediction.components
    return prediction._replace(
        mean=mean, draws=prediction.draws + shift[:, None], components=(centres + shift[:, None], spreads, weights)
    )


def rescaled(prediction: Prediction, factor: float) -> Prediction:
    """Everything about its mean multiplied by a factor: m + s (u - m), which keeps a total that is m's and u's."""
    mean, (centres, spreads, weights) = prediction.mean, prediction.components
    return prediction._replace(
        variance=factor**2 * prediction.variance,
        draws=mean[:, None] + factor * (prediction.draws - mean[:, None]),
        components=(mean[:, None] + factor * (centres - mean[:, None]), factor**2 * spreads, weights),
    )


def _everything(where: Slice, settings: Settings):
    """(parameters, keys) → predictions of every black box by every correction that is meant for it."""
    network = pretrained(f"anp_{where.family}").network
    methods = corrections(where)
    slow = {SLOW: methods.pop(SLOW)}
    runs = [
        predictor(neural_process(network, where, draws=settings.latents), methods),
        predictor(neural_process(network, where, draws=settings.few), slow),
    ]
    if where.family in STRETCHED:
        observed = {STRETCH: methods["mass observed"]}
        runs.append(predictor(stretched_neural_process(network, where, draws=settings.few), observed))
    if f"ensemble_{where.family}" in pretrained_names():
        members = ensemble(pretrained(f"ensemble_{where.family}").network, where)
        renamed = {"ANP": "ensemble", "ProbConserv-ANP": "ensemble, mass imposed", "mass, low rank": "ensemble, mass, low rank"}
        kept = {renamed[name]: correct for name, correct in corrections(where, draws=20).items() if name in renamed}
        runs.append(predictor(members, kept))
    return lambda values, keys: {name: p for run in runs for name, p in run(values, keys).items()}


def _rows(where: Slice, value: float, method: str, judgement: Mapping[str, np.ndarray], beside: Mapping, note: str) -> list[Row]:
    row = functools.partial(Row, where.family, where.label(value), method)
    return [
        row(
            metric,
            **(averaged(values) if "largest" not in metric else {"mean": float(values.max()), "n": len(values)}),
            reference=beside.get(metric),
            note=note,
        )
        for metric, values in judgement.items()
    ]


def tables(rows: Sequence[Row]) -> list[Table]:
    """One table a family, the published numbers beside ours in square brackets; and what was aimed at."""
    families = dict.fromkeys(row.problem for row in rows if row.metric in METRICS)
    shown = [pivot(family.replace("_", " "), [r for r in rows if r.problem == family], METRICS, beside=True) for family in families]
    return [*shown, against_targets("Aimed at", rows), *left_out(rows)]
