"""Tables of a neural process and its corrections: what the experiments of the elliptic and of the
hyperbolic problems share.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from bayescons.axes.quadrature import quadrature_weights
from bayescons.diagnostics import scale_factor
from bayescons.restrictions.shape_constraints import monotone
from experiments.black_boxes import ensemble, neural_process, stretched_neural_process, trained
from experiments.cases import Slice, held_out
from experiments.corrections import corrections
from experiments.predictions import CELLS_ENERGY, CELLS_ERROR, Prediction, judged, predictor
from experiments.rows import Row, averaged
from experiments.tables import LEFT_OUT, Table, against_targets, left_out, pivot

METRICS = {
    "conservation error": "CE",
    "largest |conservation error| of a draw": "worst draw",
    "mean squared error": "MSE",
    CELLS_ERROR: "MSE, cells",
    "log likelihood": "LL",
    "log likelihood of the mixture": "LL, mixture",
    "CRPS": "CRPS",
    "energy score": "energy",
    "coverage of 95 %": "coverage",
    "front error": "front error",
}
COMPARED = ("mean squared error", "front error")
SLOW = "ProbConserv-ANP, second differences"
CHOSEN = "chosen on held-out functions"
STRETCH = "mass observed, unknown stretch"
SOFTC = "SoftC-ANP"
END_TO_END = "end to end"
STRETCHED = (
    "stefan",
    "porous_medium",
    "advection",
    "burgers",
)  # not diffusion: a ring cannot be dilated
EXACT = 1e-9  # of a total of order 0.1 to 1
DECREASING = ("stefan", "porous_medium", "advection", "burgers")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        functions: test functions for each parameter.
        held_out: functions of the training range on which a method is chosen and recalibrated.
        latents: draws of the latent.
        few: draws of the latent where second differences are stated, which cost a factorization
            each.
        families: problems.
        points: of the grid.
        beside: kinds of networks that are tabled beside the neural process, where there are
            weights.
    """

    functions: int
    held_out: int
    families: tuple[str, ...]
    latents: int = 100
    few: int = 20
    points: int = 201
    beside: tuple[str, ...] = ("softc", "conditioned", "ensemble")


def rows(
    settings: Settings,
    key: jax.Array,
    stated: Mapping,
    rivals: Mapping[str, Sequence[str]] | None = None,
) -> list[Row]:
    """A row for each parameter, method and metric.

    Args:
        settings: sizes.
        key: a key of `jax.random.key`.
        stated: (family, parameter, method) → metric → a published number, or a target such as "≤
            1e-3".
        rivals: method → others of whose `COMPARED` metrics its own should be lower, function by
            function.
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
            found = predict(
                values, jax.random.split(jax.random.fold_in(own, 2 + number), settings.functions)
            )
            found[CHOSEN] = choice.apply(found, values)
            judgements = {
                method: judged(where, values, prediction) for method, prediction in found.items()
            }
            for method, judgement in judgements.items():
                note = choice.told if method == CHOSEN else ""
                out += _rows(
                    where, value, method, judgement, stated.get((family, value, method), {}), note
                )
            out.append(_beside_the_network(where, value, judgements))
            out += [
                row
                for method, others in (rivals or {}).items()
                for row in _against(where, value, method, others, judgements)
            ]
    return out


def unavailable(family: str) -> str:
    """What to say where there is no neural process for a family; empty where there is one."""
    return (
        ""
        if trained(f"anp_{family}")
        else f"no weights anp_{family}: bayescons train anp --problem {family}"
    )


def without_weights(family: str, value: float, why: str) -> Row:
    """A row in which the reason stands in place of a number."""
    return Row(family, Slice(family).label(value), "ANP", LEFT_OUT, math.nan, n=0, note=why)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What functions of the training range have said is best of their averages over cells, of which
    a total is exact: a correction, whether to make it monotone, and by how much to rescale.

    Attributes:
        where: family and grid.
        method: name of the correction with the lowest energy score.
        shaped: whether the nearest monotone profile with the same total has the lower squared
            error.
        factor: by which the spread about the mean is multiplied, so that 95 % intervals hold 95 %
            of the points.
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
    """The best of the corrections that are exact in every draw, on held-out functions; its shape
    and its spread.
    """
    judgements = {name: judged(where, values, prediction) for name, prediction in found.items()}
    scores = {
        name: j
        for name, j in judgements.items()
        if j["largest |conservation error| of a draw"].max() < EXACT
    }
    method = min(scores, key=lambda name: scores[name][CELLS_ENERGY].mean())
    truth = np.stack([where.averages(v)[0] for v in values])
    prediction, better = found[method], False
    if where.family in DECREASING:
        tried = shaped(where, prediction, found["ANP"].variance, values)
        better = bool(np.mean((tried.mean - truth) ** 2) < np.mean((prediction.mean - truth) ** 2))
        prediction = tried if better else prediction
    return Choice(
        where, method, better, float(scale_factor(prediction.mean, prediction.variance, truth))
    )


def shaped(
    where: Slice, prediction: Prediction, variance: np.ndarray, values: np.ndarray
) -> Prediction:
    """The prediction moved to the nearest non-increasing, non-negative mean with the exact total,
    spread and all.
    """
    totals = np.array([float(where.total(v)[0]) for v in values])
    mean = np.asarray(
        monotone(
            prediction.mean, variance, weights=quadrature_weights(where.grid["x"]), total=totals
        )
    )
    shift = mean - prediction.mean
    centres, spreads, weights = prediction.components
    return prediction._replace(
        mean=mean,
        draws=prediction.draws + shift[:, None],
        components=(centres + shift[:, None], spreads, weights),
    )


def rescaled(prediction: Prediction, factor: float) -> Prediction:
    """Everything about its mean multiplied by a factor: m + s (u - m), which keeps a total that is
    m's and u's.
    """
    mean, (centres, spreads, weights) = prediction.mean, prediction.components
    return prediction._replace(
        variance=factor**2 * prediction.variance,
        draws=mean[:, None] + factor * (prediction.draws - mean[:, None]),
        components=(
            mean[:, None] + factor * (centres - mean[:, None]),
            factor**2 * spreads,
            weights,
        ),
    )


def _everything(where: Slice, settings: Settings):
    """(parameters, keys) → predictions of every black box by every correction that is meant for
    it.
    """
    methods = corrections(where)
    networks = {kind: trained(f"{kind}_{where.family}") for kind in settings.beside}
    runs = _of_a_neural_process(trained(f"anp_{where.family}"), where, settings, methods)
    if softly := networks.get("softc"):
        runs.append(
            predictor(
                neural_process(softly, where, draws=settings.latents), {SOFTC: methods["ANP"]}
            )
        )
    if conditioned := networks.get("conditioned"):
        kept = {
            name: methods[name]
            for name in (
                "ProbConserv-ANP",
                "mass, low rank",
                "mass + walls, low rank",
                "mass observed",
                SLOW,
            )
        }
        runs += _of_a_neural_process(conditioned, where, settings, kept, suffix=f", {END_TO_END}")
    if members := networks.get("ensemble"):
        renamed = {
            "ANP": "ensemble",
            "ProbConserv-ANP": "ensemble, mass imposed",
            "mass, low rank": "ensemble, mass, low rank",
        }
        kept = {
            renamed[name]: correct
            for name, correct in corrections(where, draws=20).items()
            if name in renamed
        }
        runs.append(predictor(ensemble(members, where), kept))
    return lambda values, keys: {name: p for run in runs for name, p in run(values, keys).items()}


def _of_a_neural_process(
    network, where: Slice, settings: Settings, methods: Mapping, *, suffix: str = ""
) -> list:
    """Predictors by these corrections, by second differences with fewer draws, and under an unknown
    stretch where there may be one.
    """
    quick = {name + suffix: correct for name, correct in methods.items() if name != SLOW}
    runs = [
        predictor(neural_process(network, where, draws=settings.latents), quick),
        predictor(
            neural_process(network, where, draws=settings.few), {SLOW + suffix: methods[SLOW]}
        ),
    ]
    if where.family in STRETCHED:
        observed = {STRETCH + suffix: methods["mass observed"]}
        runs.append(
            predictor(stretched_neural_process(network, where, draws=settings.few), observed)
        )
    return runs


def _rows(
    where: Slice,
    value: float,
    method: str,
    judgement: Mapping[str, np.ndarray],
    beside: Mapping,
    note: str,
) -> list[Row]:
    row = functools.partial(Row, where.family, where.label(value), method)
    return [
        row(
            metric,
            **(
                averaged(values)
                if "largest" not in metric
                else {"mean": float(values.max()), "n": len(values)}
            ),
            reference=beside.get(metric),
            note=note,
        )
        for metric, values in judgement.items()
    ]


def _beside_the_network(where: Slice, value: float, judgements: Mapping) -> Row:
    """The chosen one's error over that of leaving the network alone."""
    own, alone = (judgements[method][CELLS_ERROR].mean() for method in (CHOSEN, "ANP"))
    metric = f"{CELLS_ERROR} over the network's"
    return Row(
        where.family, where.label(value), CHOSEN, metric, float(own / alone), reference="≤ 1.02"
    )


def _against(
    where: Slice, value: float, method: str, others: Sequence[str], judgements: Mapping
) -> list[Row]:
    """How far a method is ahead of others: differences of metrics that should be low, on the same
    functions.
    """
    return [
        Row(
            where.family,
            where.label(value),
            f"{method} less {other}",
            f"{metric}, paired",
            **averaged(difference),
            reference="≤ 0",
        )
        for other in others
        if other in judgements
        for metric in COMPARED
        if np.isfinite(difference := judgements[method][metric] - judgements[other][metric]).any()
    ]


def tables(rows: Sequence[Row]) -> list[Table]:
    """One table a family, the published numbers beside ours in square brackets; and what was aimed
    at.
    """
    families = dict.fromkeys(row.problem for row in rows if row.metric in METRICS)
    shown = [
        pivot(
            family.replace("_", " "), [r for r in rows if r.problem == family], METRICS, beside=True
        )
        for family in families
    ]
    aims = against_targets("Aimed at", rows)
    return [*shown, *([aims] if aims.cells else []), *left_out(rows)]
