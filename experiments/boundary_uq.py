"""Uncertainty next to a boundary: how often 95 % intervals of a Fourier operator hold, before and
after it is told what is known there.

The networks see initial states alone. What they are unsure of is learned from functions held out of
their training, as random effects (`bayescons.surrogates.random_effects`); then boundary values are
observed, and for heat, whose fluxes are known, the content of the rod as well. Beliefs are

* `last layer`: a covariance of the last layer's weights between functions, and an error of each
  point with a variance of its own;
* `last layer, one variance`: the same, but one variance for all points;
* `ensemble`: networks from different beginnings, their deviations with a common factor, and an
  error of each point.

Coverage near the boundary is that of the five nodes next to each end, the ends left out: where
slopes are known those are unknown too, but less than their neighbours. Once a value is known nobody
can be wrong about it, so all turns on how fast the variance may rise behind it. Widths are those of
95 % intervals, in the unit of the field, averaged over points; errors of one function hang
together, and standard errors are over functions.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import bayescons as bc
from bayescons.diagnostics import coverage, crps, normal_quantile
from bayescons.functionals.boundary_conditions import BoundaryConditions
from bayescons.gaussians.gaussian import Gaussian
from bayescons.plots.fields import FONT, TRUTH
from bayescons.surrogates import operator_effects, readouts
from experiments import fields, panels
from experiments.operators import Case, new_functions, scale_logarithmically, train_once
from experiments.rows import Row, averaged
from experiments.tables import Table, against_targets, pivot
from models import insulated_rod

LEVEL, NEXT = 0.95, 5  # nodes next to an end
LAYER, ONE, ENSEMBLE = "last layer", "last layer, one variance", "ensemble"
METHODS = (LAYER, ONE, ENSEMBLE)
ALONE, GIVEN, ENERGY = "alone", "given the boundary", "given boundary and content"
STAGES = (ALONE, GIVEN, ENERGY)
NEAR = "coverage near the boundary"
DISTANCE = "distance from 0.95, near"
METRICS = {
    NEAR: "coverage, near",
    "coverage": "coverage",
    "width near the boundary": "width, near",
    "width": "width",
    "CRPS": "CRPS",
    "relative L2": "relative L2",
    "sd of what is known": "sd of the known",
}
NAMES = {"stokes_second": "Stokes", "burgers_wave": "Burgers wave", "forced_heat": "heat"}
FIGURES = {
    "": (
        "Above, root mean square over the test functions of the error (broken) and of the standard "
        "deviation (full) of the last layer's belief, alone and given what is known at the "
        "boundary. Below, how often central intervals hold the truth on the five nodes next to "
        "each end, against their probability. All quantities are dimensionless."
    )
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        functions: to test with.
        held_out: functions from which the effects are learned.
        members: of the ensemble, the first of which is the network of the last layer.
        rank: directions of the last layer that may vary.
        training: of each family.
    """

    functions: int
    held_out: int
    members: int
    rank: int
    training: tuple[Case, ...]


def _training(**sizes) -> tuple[Case, ...]:
    return tuple(Case(name, points=129, **sizes) for name in NAMES)


SETTINGS = {
    "quick": Settings(
        functions=200,
        held_out=200,
        members=2,
        rank=12,
        training=_training(width=16, steps=3000, rate=2e-3),
    ),
    "paper": Settings(
        functions=500,
        held_out=200,
        members=4,
        rank=12,
        training=_training(samples=500, steps=20_000, rate=2e-3),
    ),
}


class TestCases(NamedTuple):
    """Test functions and what is believed of them.

    Attributes:
        x: positions, shape (n,).
        truth: shape (F, n).
        beliefs: by method and stage, batches of F.
        boundary: what is known at the ends.
    """

    x: np.ndarray
    truth: np.ndarray
    beliefs: dict[tuple[str, str], Gaussian]
    boundary: BoundaryConditions


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """A row for each family, stage, method and metric."""
    out = []
    for case in settings.training:
        cases = beliefs((case, 0.0), settings, key)
        for (method, stage), belief in cases.beliefs.items():
            row = functools.partial(Row, case.problem, stage, method)
            scores = _score(cases, belief)
            out += [row(name, **averaged(scores[name])) for name in METRICS]
            if stage != ALONE:
                out.append(
                    row(DISTANCE, abs(float(scores[NEAR].mean()) - LEVEL), reference="≤ 0.02")
                )
    return out


def tables(rows: Sequence[Row]) -> list[Table]:
    """One table a family, and whether intervals after the correction hold their share."""
    families = dict.fromkeys(row.problem for row in rows)
    shown = [
        pivot(
            NAMES[name][0].upper() + NAMES[name][1:],
            [r for r in rows if r.problem == name],
            METRICS,
        )
        for name in families
    ]
    return [
        *shown,
        against_targets(
            "Targets", [dataclasses.replace(r, problem=NAMES[r.problem]) for r in rows]
        ),
    ]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    del rows
    figure = panels.sheet(6.0)
    grid = figure.subplots(2, len(settings.training), squeeze=False)
    for (upper, lower), case in zip(grid.T, settings.training, strict=True):
        cases = beliefs((case, 0.0), settings, key)
        for place, stage in enumerate(STAGES):
            if (LAYER, stage) not in cases.beliefs:
                continue
            belief = cases.beliefs[LAYER, stage]
            error = np.sqrt(np.mean((np.asarray(belief.mean) - cases.truth) ** 2, axis=0))
            spread = np.sqrt(np.mean(np.asarray(belief.variance), axis=0))
            inside = (
                slice(None) if stage == ALONE or case.problem == "forced_heat" else slice(1, -1)
            )  # no logarithm of zero
            upper.plot(cases.x[inside], spread[inside], **panels.look(place, dash=0))
            upper.plot(
                cases.x[inside], error[inside], **panels.look(place, dash=1) | {"linewidth": 1.1}
            )
            lower.plot(*_by_level(cases, belief), **panels.look(place, dash=0))
        scale_logarithmically(upper)
        lower.plot([0, 1], [0, 1], **TRUTH)
        panels.finish(upper, title=NAMES[case.problem], xlabel="position x", ticks=2)
        panels.finish(lower, xlabel="probability", ticks=2)
    grid[0, 0].set_ylabel("error, standard deviation", fontsize=FONT)
    grid[1, 0].set_ylabel("share inside, near the ends", fontsize=FONT)
    figure.align_ylabels()
    entries = [panels.line(place, stage, dash=0) for place, stage in enumerate(STAGES)]
    panels.legend_below(figure, [*entries, panels.truth("as promised")], columns=2)
    return {"": figure}


@fields.once
def beliefs(case: tuple[Case, float], settings: Settings, key: jax.Array) -> TestCases:
    """The test functions of a family, and what is believed of them by every method at every
    stage.
    """
    training, (of_effects, of_tests) = case[0], jax.random.split(jax.random.fold_in(key, 1))
    networks = [
        train_once(training.recipe("FNO", seed)).network for seed in range(settings.members)
    ]
    boundary = networks[0].boundary
    held_out, new = (
        new_functions(training, of_effects, settings.held_out),
        new_functions(training, of_tests, settings.functions),
    )
    learn = functools.partial(operator_effects, samples=held_out, grid=boundary.grid)
    effects = {
        LAYER: learn(networks[0], rank=settings.rank),
        ONE: learn(networks[0], rank=settings.rank, pointwise=False),
        ENSEMBLE: learn(networks),
    }
    out = {}
    for method, learned in effects.items():
        mean, features = readouts(
            networks if method == ENSEMBLE else networks[0], new, boundary.grid
        )
        belief = learned.belief(mean.astype(float), features.astype(float), batch_dims=1)
        out[method, ALONE] = belief
        out |= {
            (method, stage): bc.condition(belief, known)
            for stage, known in _constraints(training, boundary, new).items()
        }
    return TestCases(boundary.grid["x"], np.asarray(new.outputs, float), out, boundary)


def _constraints(case: Case, boundary: BoundaryConditions, new) -> dict[str, bc.Constraint]:
    """By stage, what is known of the test functions."""
    names, values = (
        tuple(map(str, boundary.sides)),
        tuple(jnp.asarray(v, float) for v in new.boundary),
    )
    ends = bc.Constraint(boundary.functional, values, (None,) * len(names), names)
    if case.problem != "forced_heat":
        return {GIVEN: ends}
    heat = insulated_rod.heat(boundary.grid)
    content = jax.vmap(heat)(jnp.asarray(new.inputs, float)) + insulated_rod.gained(boundary.grid)
    return {GIVEN: ends, ENERGY: ends & bc.Constraint(heat, content, name="content")}


def _near(points: int) -> np.ndarray:
    """Indices of the nodes next to both ends."""
    nodes = min(NEXT, points // 2 - 1)
    return np.concatenate([np.arange(1, 1 + nodes), np.arange(points - 1 - nodes, points - 1)])


def _score(cases: TestCases, belief: Gaussian) -> dict[str, np.ndarray]:
    """Metrics of each function, shape (F,)."""
    mean, variance, truth = np.asarray(belief.mean), np.asarray(belief.variance), cases.truth
    near, sd = _near(truth.shape[1]), np.sqrt(variance)
    spreads = bc.gaussians.functional_scale(belief, cases.boundary.functional)
    scores = {
        NEAR: coverage(
            mean[:, near], variance[:, near], truth[:, near], level=LEVEL, tolerance=0.0
        ),
        "coverage": coverage(mean, variance, truth, level=LEVEL),
        "width near the boundary": 2 * normal_quantile(LEVEL) * sd[:, near].mean(axis=1),
        "width": 2 * normal_quantile(LEVEL) * sd.mean(axis=1),
        "CRPS": crps(mean, variance, truth),
        "relative L2": np.linalg.norm(mean - truth, axis=1) / np.linalg.norm(truth, axis=1),
        "sd of what is known": np.max([np.asarray(s) for s in spreads], axis=0),
    }
    return {name: np.asarray(values, float) for name, values in scores.items()}


def _by_level(cases: TestCases, belief: Gaussian) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of central intervals, and the share of nodes near the boundary whose truth they
    hold.
    """
    near, levels = _near(cases.truth.shape[1]), np.linspace(0.02, 0.99, 50)
    size = (
        np.abs(cases.truth - np.asarray(belief.mean))[:, near]
        / np.sqrt(np.asarray(belief.variance))[:, near]
    )
    return levels, np.array([np.mean(size <= normal_quantile(level)) for level in levels])
