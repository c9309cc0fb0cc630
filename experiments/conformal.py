"""Bands that hold a whole function: coverage of a neural process before and after conformal
recalibration, the total exact throughout.

Functions are drawn from the parameters the network was trained on: some to find how the spread
should vary, s(x); others to find the conformal factor; the rest to test. All of it is done to the
belief `mass, low rank`: the draws' own covariance, given the exact total. Compared are

* `as it is`;
* `factor for points`: spread times the factor that makes 95 % intervals hold 95 % of the points of
  the calibration functions;
* `conformal`: times the factor with which, of a new function, all points lie in the simultaneous
  band with probability 0.95;
* `conformal, s(x)`: the belief multiplied by s(x) before the total is imposed again, then the same.

A band is m ± w sd with the w that holds 95 % of the belief's own draws at all points, so that band
and draws tell the same. For `conformal` its coverage over new functions is between 0.95 and 0.95 +
1/(n + 1), whatever the network is worth; the standard error has in it the test functions and the
chance in the calibration functions. Factors are numbers for all points, or come before the law: the
total is exact in every draw. Widths are in the unit of the field, averaged over points; energy
score and CRPS judge belief and sharpness together.

Nothing is promised of one parameter by itself, and less beyond those of training (u* = 0.5).
Coverage at the published parameters is shown without a target.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import bayescons as bc
from bayescons.axes.quadrature import quadrature_weights
from bayescons.diagnostics import coverage, crps, energy_score, normal_quantile, scale_factor
from bayescons.diagnostics.conformal import (
    conformal_factor,
    largest_residual,
    reconditioned,
    simultaneous_width,
)
from bayescons.plots.fields import FONT, TRUTH
from bayescons.surrogates import moment_matched
from experiments import fields, panels
from experiments.black_boxes import neural_process, trained
from experiments.cases import Slice, held_out
from experiments.corrections import Components, Correction, corrections
from experiments.neural_tables import rescaled, unavailable, without_weights
from experiments.predictions import Prediction, predictor
from experiments.rows import Row, averaged
from experiments.tables import Table, against_targets, left_out, pivot

LEVEL = 0.95
LAW, VARIED = "mass, low rank", "mass, low rank, s(x)"
BEFORE, POINTS, CONFORMAL, VARYING = "as it is", "factor for points", "conformal", "conformal, s(x)"
METHODS = (BEFORE, POINTS, CONFORMAL, VARYING)
WITHIN = "training range"
TOGETHER = "coverage of functions"
DISTANCE = "distance from 0.95 in standard errors"
METRICS = {
    "factor": "factor",
    "coverage of points": "points",
    TOGETHER: "functions",
    "width for points": "width, points",
    "width for functions": "width, functions",
    "energy score": "energy",
    "CRPS": "CRPS",
    "largest |conservation error| of a draw": "worst draw",
}
FIGURES = {
    "": (
        "Above, one test function of each problem: half the width of its simultaneous 95 % band, "
        "and what was missing from the mean before s(x). Below, the share of test functions that "
        "lie in the simultaneous band wholly, against its probability; the conformal factors are "
        "found for 95 % (dotted) and promise nothing at other levels. All quantities are "
        "dimensionless."
    ),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        functions: to test with.
        calibration: functions for the factors.
        shape: functions for s(x).
        beyond: test functions at each published parameter.
        latents: draws of the latent.
        draws: of the belief, for each of them.
        families: problems.
        points: of the grid.
    """

    functions: int = 200
    calibration: int = 200
    shape: int = 100
    beyond: int = 30
    latents: int = 100
    draws: int = 4
    families: tuple[str, ...] = ("stefan", "porous_medium")
    points: int = 201


SETTINGS = {
    "quick": Settings(
        functions=40, calibration=40, shape=40, beyond=10, latents=30, families=("stefan",)
    ),
    "paper": Settings(),
}


class Tested(NamedTuple):
    """Predictions of functions and their truths.

    Attributes:
        by_method: recalibrated predictions.
        truth: shape (F, n).
        total: shape (F,).
    """

    by_method: dict[str, Prediction]
    truth: np.ndarray
    total: np.ndarray


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """A row for each family, set of test functions, method and metric."""
    out = []
    for family in settings.families:
        if why := unavailable(family):
            out.append(without_weights(family, Slice(family).kind.test_values[0], why))
            continue
        factors, tests = recalibration((family, 0.0), settings, key)
        for label, tested in tests.items():
            for method, prediction in tested.by_method.items():
                row = functools.partial(Row, family, label, method)
                out.append(row("factor", factors[method]))
                found = _judged(Slice(family, settings.points), tested, prediction)
                out += [
                    row(
                        name,
                        **(
                            {"mean": float(v.max()), "n": len(v)}
                            if "largest" in name
                            else averaged(v)
                        ),
                    )
                    for name, v in found.items()
                ]
                if label == WITHIN:
                    out.append(
                        row(
                            DISTANCE,
                            _distance(found[TOGETHER], settings),
                            reference=_target(method),
                        )
                    )
    return out


def tables(rows: Sequence[Row]) -> list[Table]:
    """One table a family, and whether the promise is kept."""
    families = dict.fromkeys(r.problem for r in rows if r.metric in METRICS)
    shown = [
        pivot(fields.NAMES[family].capitalize(), [r for r in rows if r.problem == family], METRICS)
        for family in families
    ]
    return [*shown, against_targets("The promise", rows), *left_out(rows)]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del rows
    families = [family for family in settings.families if not unavailable(family)]
    if not families:
        return {"": panels.notice(unavailable(settings.families[0]))}
    figure = panels.sheet(6.2)
    grid = figure.subplots(2, len(families), squeeze=False)
    for (upper, lower), family in zip(grid.T, families, strict=True):
        tested = recalibration((family, 0.0), settings, key)[1][WITHIN]
        x = Slice(family, settings.points).grid["x"]
        for place, method in enumerate(METHODS):
            prediction = tested.by_method[method]
            upper.plot(
                x,
                float(_widths(prediction)[0]) * np.sqrt(prediction.variance[0]),
                **panels.look(place),
            )
            lower.plot(*_by_level(tested, prediction), **panels.look(place))
        upper.plot(x, np.abs(tested.truth[0] - tested.by_method[BEFORE].mean[0]), **TRUTH)
        upper.set(yscale="log", ylim=(1e-5, None))
        lower.plot([0, 1], [0, 1], **TRUTH)
        lower.axvline(LEVEL, color="0.5", linestyle=":", linewidth=1.0, zorder=0)
        panels.finish(upper, title=fields.NAMES[family], xlabel="position x")
        panels.finish(lower, xlabel="probability of the band")
    grid[0, 0].set_ylabel("half-width of the band", fontsize=FONT)
    grid[1, 0].set_ylabel("share of functions inside", fontsize=FONT)
    figure.align_ylabels()
    entries = [panels.line(place, method) for place, method in enumerate(METHODS)]
    panels.legend_below(figure, [*entries, panels.truth("|exact - mean|; as promised")], columns=3)
    return {"": figure}


@fields.once
def recalibration(
    case: fields.Case, settings: Settings, key: jax.Array
) -> tuple[dict[str, float], dict[str, Tested]]:
    """Factor of each method, and the test functions by where they come from: the range of training,
    or a published parameter.
    """
    where = Slice(case[0], settings.points)
    parts = jax.random.split(jax.random.fold_in(key, list(fields.NAMES).index(where.family)), 4)
    box = neural_process(trained(f"anp_{where.family}"), where, draws=settings.latents)
    plain = {LAW: corrections(where, draws=settings.draws)[LAW]}

    values, keys = _functions(where, parts[0], settings.shape)
    found = predictor(box, plain)(values, keys)[LAW]
    factor = scale_factor(
        found.mean, found.variance, _truth(where, values), method="likelihood", axis=0
    )
    predict = predictor(box, {**plain, VARIED: varied(where, jnp.asarray(factor), settings.draws)})

    values, keys = _functions(where, parts[1], settings.calibration)
    found, truth = predict(values, keys), _truth(where, values)
    law = found[LAW]
    factors = {BEFORE: 1.0, POINTS: float(scale_factor(law.mean, law.variance, truth, level=LEVEL))}
    factors |= {
        name: _conformal(found[of], truth) for name, of in ((CONFORMAL, LAW), (VARYING, VARIED))
    }

    sets = {WITHIN: _functions(where, parts[2], settings.functions)}
    for number, value in enumerate(where.kind.test_values):
        keys = jax.random.split(jax.random.fold_in(parts[3], number), settings.beyond)
        sets[where.label(value)] = np.full(settings.beyond, value), keys
    return factors, {
        label: _tested(where, predict(*some), some[0], factors) for label, some in sets.items()
    }


def varied(where: Slice, factor: jax.Array, draws: int) -> Correction:
    """The draws' own covariance multiplied by a factor s(x), and then given the exact total."""
    mass = bc.integral(where.grid, over="x")

    def correct(members, value, key) -> Components:
        law = bc.Constraint(mass, where.total(value), name="mass")
        posterior = reconditioned(moment_matched(members), law, factor)
        sampled = posterior.sample(key, (draws * len(members.mean),))
        return Components(
            posterior.mean, posterior.variance, jnp.zeros(1), jnp.moveaxis(sampled, 1, 0)
        )

    return correct


def _functions(where: Slice, key: jax.Array, count: int) -> tuple[np.ndarray, jax.Array]:
    """Parameters from the range of training, and a key for the readings and draws of each."""
    of_values, of_keys = jax.random.split(key)
    return np.asarray(held_out(where.family, of_values, count)), jax.random.split(of_keys, count)


def _tested(
    where: Slice, found: dict[str, Prediction], values: np.ndarray, factors: dict[str, float]
) -> Tested:
    by_method = {
        name: rescaled(found[VARIED if name == VARYING else LAW], factors[name]) for name in METHODS
    }
    return Tested(
        by_method, _truth(where, values), np.array([float(where.total(v)[0]) for v in values])
    )


def _truth(where: Slice, values: np.ndarray) -> np.ndarray:
    return np.asarray(jax.lax.map(lambda v: where.truth(v)[0], jnp.asarray(values)))


def _widths(prediction: Prediction) -> np.ndarray:
    """Half-width, in standard deviations, of the belief's own simultaneous band, for each
    function.
    """
    draws = np.moveaxis(prediction.draws, 1, 0)
    return np.asarray(simultaneous_width(draws, prediction.mean, prediction.variance, level=LEVEL))


def _conformal(prediction: Prediction, truth: np.ndarray) -> float:
    found = np.asarray(largest_residual(prediction.mean, prediction.variance, truth))
    return conformal_factor(found / _widths(prediction), level=LEVEL)


def _judged(where: Slice, tested: Tested, prediction: Prediction) -> dict[str, np.ndarray]:
    """Metrics of each function, shape (F,)."""
    mean, variance, widths = prediction.mean, prediction.variance, _widths(prediction)
    weights, sd = quadrature_weights(where.grid["x"]), np.sqrt(variance).mean(axis=-1)
    found = {
        "coverage of points": coverage(mean, variance, tested.truth, level=LEVEL),
        TOGETHER: largest_residual(mean, variance, tested.truth) <= widths,
        "width for points": 2 * normal_quantile(LEVEL) * sd,
        "width for functions": 2 * widths * sd,
        "energy score": energy_score(np.moveaxis(prediction.draws, 1, 0), tested.truth),
        "CRPS": crps(mean, variance, tested.truth),
        "largest |conservation error| of a draw": np.abs(
            prediction.draws @ weights - tested.total[:, None]
        ).max(axis=-1),
    }
    return {name: np.asarray(values, float) for name, values in found.items()}


def _distance(held: np.ndarray, settings: Settings) -> float:
    """Of the share of test functions held, in standard errors over test and calibration functions
    (binomial and Beta).
    """
    error = math.sqrt(
        LEVEL * (1 - LEVEL) * (1 / settings.functions + 1 / (settings.calibration + 2))
    )
    return abs(float(held.mean()) - LEVEL) / error


def _target(method: str) -> str | None:
    return "≤ 2" if method in (CONFORMAL, VARYING) else None


def _by_level(tested: Tested, prediction: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of bands, and the share of functions that lie in them wholly."""
    mean, variance = prediction.mean, prediction.variance
    size = np.asarray(largest_residual(mean, variance, tested.truth))
    own = np.stack(
        [
            np.asarray(largest_residual(mean, variance, draw))
            for draw in np.moveaxis(prediction.draws, 1, 0)
        ]
    )
    levels = np.linspace(0.02, 0.99, 50)
    return levels, np.mean(size <= np.quantile(own, levels, axis=0), axis=1)
