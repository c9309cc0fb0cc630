"""The comparison that the demo shows: a Stefan front from 100 readings, as believed, as projected
and as conditioned.

A surrogate that has seen scattered readings of the exact solution does not conserve mass. Three
beliefs are compared: the surrogate's own; its mean projected orthogonally onto what is known, m -
G'(GG')⁻¹(G m - b), with the variance left alone (HardC of Hansen et al., ICML 2023); and the
surrogate conditioned on what is known, m - K G'(G K G')⁻¹(G m - b). Known are the mass at every
time and the value at the wall. The surrogate is the attentive neural process that comes with
bayescons, K the covariance of draws of its latent beside its own variance at each point; or a
Gaussian process fitted to the readings.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro

from bayescons.axes.quadrature import quadrature_weights
from bayescons.diagnostics import (
    FrontSummary,
    conservation_error,
    front_position,
    front_summary,
    scores,
)
from bayescons.functionals import dirichlet, integral
from bayescons.gaussians.conditioning import Constraint, update
from bayescons.gaussians.gaussian import Gaussian, diagonal
from bayescons.grids import Grid
from bayescons.networks import pretrained
from bayescons.problems import Readings, Stefan, contexts
from bayescons.programs import conjugate, observe
from bayescons.surrogates import gaussian_process, latent_draws, moment_matched

BELIEFS = {"anp": "ANP belief", "gp": "GP belief"}
PROJECTED, CONDITIONED = "projection", "bayescons"
CHUNK = 50  # draws made at a time, which bounds the memory
LATENTS = 100


class Size(NamedTuple):
    """How much is computed: times and points of the grid, and draws of each method."""

    times: int
    points: int
    draws: int


class Method(NamedTuple):
    """What one method says.

    Attributes:
        mean: of the field, shape (nt, nx).
        variance: of the field, pointwise, same shape.
        totals: integral of the mean at each time, shape (nt,).
        scores: as `diagnostics.scoring` at the time of interest, over the points whose value is not
            known exactly.
        largest_error: largest absolute conservation error of the mean over all times.
        fronts: position of the front at the time of interest in each draw, shape (draws,), NaN
            where there is none.
        front: their summary.
    """

    mean: np.ndarray
    variance: np.ndarray
    totals: np.ndarray
    scores: dict[str, float]
    largest_error: float
    fronts: np.ndarray
    front: FrontSummary


class Comparison(NamedTuple):
    """The problem, what was read of it, and what the methods make of it.

    Attributes:
        problem: the Stefan problem.
        grid: the grid.
        readings: the readings.
        time: index of the time of interest.
        truth: exact solution, shape (nt, nx).
        total: exact mass, shape (nt,).
        threshold: value of the field at which a front is located, midway in the jump.
        methods: by name.
        draws: of the conditioned field, shape (draws, nt, nx): the first `CHUNK`.
        log_evidence: of what is known, under the belief (nats).
    """

    problem: Stefan
    grid: Grid
    readings: Readings
    time: int
    truth: np.ndarray
    total: np.ndarray
    threshold: float
    methods: dict[str, Method]
    draws: np.ndarray
    log_evidence: float


def compare(
    key: jax.Array,
    size: Size,
    surrogate: Literal["anp", "gp"] = "anp",
    *,
    threshold: float = 0.6,
    tell: Callable[[str], object] = lambda _: None,
) -> Comparison:
    """Read, believe, condition and score.

    Args:
        key: a key of `jax.random.key`.
        size: of the grid, and the number of draws.
        surrogate: "anp", the neural process that comes with bayescons, or "gp", a Gaussian process
            fitted here.
        threshold: u* of the problem.
        tell: called with the name of each stage before it begins, `STAGES` in all.
    """
    key_readings, key_draws = jax.random.split(key)
    problem = Stefan(threshold=threshold)
    grid = problem.grid(size.times, size.points)
    time = int(np.argmin(np.abs(grid["t"] - problem.time_of_interest)))
    truth, total = problem.solution(**grid.mesh()), problem.total(grid["t"])

    tell("reading the exact solution, asking the surrogate")
    readings = contexts(problem, key_readings)
    belief, name = (
        _SURROGATES[surrogate](grid, readings, jax.random.fold_in(key, 2)),
        BELIEFS[surrogate],
    )

    tell("conditioning on mass and wall")
    posterior = conjugate(_program)(grid, belief, total)
    mass, wall = integral(grid, "x"), dirichlet(grid, "x", "lower")
    facts = Constraint(mass, total, None, "mass") & Constraint(
        wall, problem.lower(grid["t"]), None, "wall"
    )
    projected = update(diagonal(belief.mean, 1.0), facts).posterior.mean

    tell("computing variances")
    variance, conditioned = (
        _variance(belief),
        posterior.components[0],
    )  # one field, and nothing random above it: one Gaussian
    beliefs = {
        name: (belief.mean, variance),
        PROJECTED: (projected, variance),
        CONDITIONED: (conditioned.mean, _variance(conditioned)),
    }

    tell("drawing fields, locating fronts")
    middle = threshold / 2
    fronts: dict[str, list] = {method: [] for method in beliefs}
    kept = None
    for before, after in _draws(key_draws, belief, conditioned, size.draws):
        kept = after if kept is None else kept
        drawn = {
            name: before,
            PROJECTED: before + (projected - belief.mean)[None],
            CONDITIONED: after,
        }
        for method, fields in drawn.items():
            fronts[method].append(
                np.asarray(front_position(fields[:, time], grid["x"], middle, rearranged=True))
            )

    tell("scoring")
    methods = {
        method: _judge(grid, time, *beliefs[method], truth, total, np.concatenate(fronts[method]))
        for method in beliefs
    }
    evidence = float(posterior.log_evidence)
    arrays = {"truth": np.asarray(truth), "total": np.asarray(total), "draws": np.asarray(kept)}
    return Comparison(
        problem,
        grid,
        readings,
        time,
        threshold=middle,
        methods=methods,
        log_evidence=evidence,
        **arrays,
    )


STAGES = 5


def _neural_process(grid: Grid, readings: Readings, key: jax.Array) -> Gaussian:
    """The trained network's belief, its latent averaged over: what the draws share is its
    covariance.
    """
    network = pretrained("anp_stefan").network
    return moment_matched(
        jax.jit(lambda readings: latent_draws(network, readings, grid, key, draws=LATENTS))(
            readings
        )
    )


def _gaussian_process(grid: Grid, readings: Readings, key: jax.Array) -> Gaussian:
    del key
    return gaussian_process(grid, {"t": readings.t, "x": readings.x}, readings.u)


_SURROGATES = {"anp": _neural_process, "gp": _gaussian_process}


def _program(grid: Grid, belief: Gaussian, total):
    """The mass at every time and the value at the wall are known of the field believed in."""
    u = numpyro.sample("u", belief)
    observe("mass", integral(grid, over="x"), u, total)
    observe("wall", dirichlet(grid, "x", "lower"), u, 1.0)
    return u


def _draws(
    key: jax.Array, belief: Gaussian, conditioned: Gaussian, number: int
) -> Iterator[tuple[jax.Array, jax.Array]]:
    """Draws of the belief and of the belief conditioned, a chunk at a time."""
    for step, chunk in enumerate(range(0, number, CHUNK)):
        keys = jax.random.split(jax.random.fold_in(key, step))
        size = min(CHUNK, number - chunk)
        yield _sample(belief, keys[0], size), _sample(conditioned, keys[1], size)


@jax.jit
def _variance(belief: Gaussian) -> jax.Array:
    return belief.variance


@functools.partial(jax.jit, static_argnames="number")
def _sample(belief: Gaussian, key: jax.Array, number: int) -> jax.Array:
    return belief.sample(key, (number,))


def _judge(grid: Grid, time: int, mean, variance, truth, total, positions: np.ndarray) -> Method:
    weights = quadrature_weights(grid["x"])
    unknown = jnp.broadcast_to(grid["x"] > grid["x"][0], grid.shape)
    judged = scores(mean, variance, truth, total, weights, time=time, where=unknown)
    return Method(
        np.asarray(mean),
        np.asarray(variance),
        np.asarray(mean @ weights),
        {name: float(value) for name, value in judged.items()},
        float(jnp.abs(conservation_error(mean, total, weights)).max()),
        positions,
        front_summary(positions),
    )
