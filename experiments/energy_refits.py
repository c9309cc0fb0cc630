"""Refits of a field whose energy is known: simulation-based calibration of what `right_measure`
compares, over readings and energies that the field itself makes.

A truth is drawn from the belief, two of its points are read with noise, and its energy is told
exactly. Given the readings, the belief is a Gaussian whose covariance is the same in every refit,
so that refits run side by side and are compiled once. Each method draws from its law of the field,
and the truth is ranked among those draws.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bayescons as bc
from bayescons.axes.quadrature import quadrature_weights
from bayescons.diagnostics.calibration import pit
from bayescons.restrictions import (
    NonlinearConstraint,
    gauss_newton,
    laplace,
    nonlinear_constraint,
    rattle,
)
from bayescons.restrictions.projection import anywhere
from bayescons.surrogates import separable

POINTS = 20  # of the field
READ = (5, 14)  # points that are read
NOISE = 0.5  # standard deviation of a reading
# Angle of a step, the same in all refits and not adapted: mean acceptance 0.99.
STEP = 0.4
PROJECTED, GAUSS_NEWTON, LAPLACE, OURS = "projected", "Gauss-Newton", "Laplace", "constrained"
QUANTITIES = ("total", "u(½)", "u(1)", "largest u", "log likelihood", "± log density")


@dataclasses.dataclass(frozen=True)
class Size:
    """Size of the calibration.

    Attributes:
        refits: by every method.
        side: refits that run side by side; a divisor of `refits`.
        draws: that a truth is ranked among, half of them from each of two chains; even.
        thinning: transitions of a chain for each draw.
        warmup: transitions of a chain before its first draw.
    """

    refits: int
    side: int = 500
    draws: int = 100
    thinning: int = 3
    warmup: int = 30


class Truths(NamedTuple):
    """What is simulated: fields, shape (refits, points), their readings, (refits, 2), their
    energies, (refits,), and the mean of the belief given the readings, (refits, points).
    """

    fields: jax.Array
    readings: jax.Array
    energies: jax.Array
    means: jax.Array


class Ranked(NamedTuple):
    """Ranks of the truth by one method.

    Attributes:
        pit: randomised PITs by quantity, each of shape (refits,).
        distance: by quantity, the total variation between the counts of the ranks and equal ones.
        worth: by quantity, independent draws that the draws of a refit are worth.
        accepted: mean acceptance rate; NaN of draws that are independent by construction.
        seconds: simulating, refitting and evaluating, compilation apart.
    """

    pit: dict[str, np.ndarray]
    distance: dict[str, float]
    worth: dict[str, float]
    accepted: float
    seconds: float


def floor(refits: int, draws: int) -> float:
    """The total variation to be expected where ranks are exactly uniform: E|p̂ - p| = sqrt(2 p (1 -
    p) / (π n)), p = 1 / (draws + 1).
    """
    share = 1 / (draws + 1)
    return math.sqrt(2 * share * (1 - share) / (math.pi * refits)) * (draws + 1) / 2


# --- The field
# -----------------------------------------------------------------------------


@functools.cache
def grid() -> bc.Grid:
    """Twenty points from 0 to 1."""
    return bc.Grid(x=np.linspace(0, 1, POINTS))


@functools.cache
def rough_field() -> tuple[bc.Gaussian, np.ndarray]:
    """A rough belief over the twenty points, and the weights w of its energy Σ w_i u_i²."""
    mean = 0.5 * np.sin(2 * np.pi * grid()["x"]) + 0.2
    prior = separable(grid(), {"x": 0.3}, kernels="matern12", amplitude=0.8)
    belief = bc.Gaussian(jnp.asarray(mean), prior.covariance)
    return belief, quadrature_weights(grid()["x"])


def energy(field) -> jax.Array:
    """∫ u² dx."""
    return jnp.asarray(rough_field()[1]) @ field**2


def _given(belief: bc.Gaussian, readings) -> bc.Gaussian:
    """A belief given the readings."""
    read = bc.functional(lambda u: u[jnp.array(READ)], grid())
    return bc.condition(belief, bc.Constraint(read, readings, NOISE, name="readings"))


@functools.cache
def _law():
    """The law of the energy for the belief given some readings: covariance, units and rows are
    those of every refit.
    """
    prior, _ = rough_field()
    belief = _given(prior, prior.mean[np.array(READ)])
    covariance = jax.vmap(belief.covariance.mv)(jnp.eye(POINTS))
    dense = bc.dense(belief.mean, covariance, jitter=0.0)
    return nonlinear_constraint(dense, energy, energy(belief.mean), "energy")


def _of(law: NonlinearConstraint, mean, value) -> NonlinearConstraint:
    """The law of one refit."""
    return dataclasses.replace(
        law, belief=bc.Gaussian(mean, law.belief.covariance), value=value[None]
    )


@functools.partial(jax.jit, static_argnums=2)
def truths(belief: bc.Gaussian, key: jax.Array, refits: int) -> Truths:
    """Fields of the belief and what is told of them."""
    of_field, of_noise = jax.random.split(key)
    fields = belief.sample(of_field, (refits,))
    noise = NOISE * jax.random.normal(of_noise, (refits, len(READ)))
    readings = fields[:, np.array(READ)] + noise
    means = jax.vmap(lambda y: _given(belief, y).mean)(readings)
    return Truths(fields, readings, jax.vmap(energy)(fields), means)


def quantities(law: NonlinearConstraint, field, readings) -> jax.Array:
    """`QUANTITIES` of a field, by the law of its refit, shape (6,)."""
    belief, (told,) = law.belief, law.value
    missed = readings - field[jnp.array(READ)]
    foretold = energy(belief.mean) + jnp.asarray(rough_field()[1]) @ belief.variance
    return jnp.stack(
        [
            jnp.asarray(rough_field()[1]) @ field,
            (field[POINTS // 2 - 1] + field[POINTS // 2]) / 2,
            field[-1],
            jnp.max(field),
            -jnp.sum(missed**2) / (2 * NOISE**2),
            jnp.sign(told - foretold) * belief.log_prob(field),
        ]
    )


@jax.jit
def _measured(law, told: Truths, fields) -> jax.Array:
    """Of fields of shape (refits, draws, points): shape (refits, draws, 6)."""

    def one(mean, value, readings, fields):
        own = _of(law, mean, value)
        return jax.vmap(lambda u: quantities(own, u, readings))(fields)

    return jax.vmap(one)(told.means, told.energies, told.readings, fields)


# --- Methods
# -----------------------------------------------------------------------------


def ranked(method: str, size: Size, key: jax.Array) -> Ranked:
    """Ranks of the truth among draws of a method; of the same truths for every method."""
    of_truths, of_draws, of_ranks = jax.random.split(key, 3)
    (belief, _), law, draw = rough_field(), _law(), METHODS[method]
    draw(law, truths(belief, of_truths, size.side), size, of_draws)  # compiles
    begun, parts = time.perf_counter(), []
    for number in range(size.refits // size.side):
        told = truths(belief, jax.random.fold_in(of_truths, 1 + number), size.side)
        drawn, accepted = draw(law, told, size, jax.random.fold_in(of_draws, 1 + number))
        own = _measured(law, told, told.fields[:, None])[:, 0]
        parts.append(jax.tree.map(np.asarray, (own, drawn, accepted)))
    own, drawn, accepted = (np.concatenate(part) for part in zip(*parts, strict=True))
    ranks = np.asarray(pit(np.swapaxes(drawn, 0, 1), own, of_ranks))
    seconds = time.perf_counter() - begun
    return Ranked(
        dict(zip(QUANTITIES, ranks.T, strict=True)),
        {q: _distance(r, size.draws) for q, r in zip(QUANTITIES, ranks.T, strict=True)},
        dict(zip(QUANTITIES, _worth(drawn), strict=True)),
        float(accepted.mean()),
        seconds,
    )


def _distance(ranks: np.ndarray, draws: int) -> float:
    """Total variation from equal shares of the `draws + 1` ranks."""
    counted = np.histogram(ranks, draws + 1, (0.0, 1.0))[0]
    return float(np.abs(counted / len(ranks) - 1 / (draws + 1)).sum() / 2)


def _worth(drawn: np.ndarray) -> np.ndarray:
    """Effective draws of a refit, from the two halves of its draws, which two chains made: their
    means differ by as much as so many independent draws' would. Over all refits; shape (6,).
    """
    half = drawn.shape[1] // 2
    chains = drawn.reshape(len(drawn), 2, half, -1)
    within = chains.var(axis=2, ddof=1).mean(axis=(0, 1))
    between = half * chains.mean(axis=2).var(axis=1, ddof=1).mean(axis=0)
    return 2 * half * ((half - 1) / half * within + between / half) / between


def _constrained(law, told: Truths, size: Size, key: jax.Array):
    """Two chains for each refit, from draws of its belief, taken to the manifold."""
    drawn, accepted = _chains(law, told, size, key)
    return _measured(law, told, drawn), accepted


@functools.partial(jax.jit, static_argnums=2)
def _chains(law, told: Truths, size: Size, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Fields of shape (refits, draws, points), and the acceptance rate of each refit."""
    kernel = rattle.build_kernel()
    means, values = (jnp.repeat(a, 2, axis=0) for a in (told.means, told.energies))
    of_start, of_chain = jax.random.split(key)

    def start(mean, value, noise):
        own = _of(law, mean, value)
        return rattle.init(anywhere(own, noise).position, own)

    def transition(states, key):
        own, length = jax.random.split(key)
        steps = rattle.random_steps(length, STEP)
        states, info = jax.vmap(
            lambda mean, value, state, key: kernel(key, state, _of(law, mean, value), STEP, steps)
        )(means, values, states, jax.random.split(own, len(means)))
        return states, info.acceptance_rate

    def draw(states, key):
        states, rates = jax.lax.scan(transition, states, jax.random.split(key, size.thinning))
        fields = jax.vmap(law.belief.covariance.root)(states.position) + means
        return states, (fields, rates)

    states = jax.vmap(start)(means, values, jax.random.normal(of_start, means.shape))
    warming, drawing = jax.random.split(of_chain)
    states, _ = jax.lax.scan(transition, states, jax.random.split(warming, size.warmup))
    _, (fields, rates) = jax.lax.scan(draw, states, jax.random.split(drawing, size.draws // 2))
    fields = jnp.moveaxis(fields, 0, 1).reshape(len(told.means), -1, POINTS)
    return fields, rates.mean(axis=(0, 1)).reshape(-1, 2).mean(axis=1)


def _projected(law, told: Truths, size: Size, key: jax.Array):
    """Draws of the belief, each replaced by the nearest field of that energy."""
    covariance = law.belief.covariance
    plain = _plain(covariance, told.means, size.draws, key)
    found = nearest(
        np.asarray(covariance.factor),
        rough_field()[1],
        np.repeat(np.asarray(told.energies), size.draws),
        np.asarray(plain).reshape(-1, POINTS),
    )
    return _measured(law, told, found.reshape(plain.shape)), np.full(len(plain), np.nan)


@functools.partial(jax.jit, static_argnums=2)
def _plain(covariance, means, draws: int, key) -> jax.Array:
    """Draws of the belief of each refit."""
    noise = jax.random.normal(key, (len(means), draws, POINTS))
    return means[:, None] + jax.vmap(jax.vmap(covariance.root))(noise)


def nearest(root: np.ndarray, weights: np.ndarray, value, draws: np.ndarray) -> np.ndarray:
    """argmin (v - u)' K⁻¹ (v - u) subject to Σ w_i v_i² = b, of each draw u; K = R R', b a number
    or one for each draw.

    In the eigenvectors of R'WR it is y_j / (1 + νλ_j), and ν is found by bisection.
    """
    scales, vectors = np.linalg.eigh(root.T @ (weights[:, None] * root))
    back = root @ vectors
    y = np.linalg.solve(back, draws.T).T
    low = np.full(len(y), -1 / scales.max())
    high = np.sum(y**2, axis=1) / (4 * value)  # λ / (1 + νλ)² <= 1 / 4ν
    for _ in range(60):
        middle = (low + high) / 2
        above = np.sum(scales * (y / (1 + middle[:, None] * scales)) ** 2, axis=1) > value
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (y / (1 + ((low + high) / 2)[:, None] * scales)) @ back.T


def _approximate(find: Callable, law, told: Truths, size: Size, key: jax.Array):
    """Draws of the Gaussian that stands for the law, one refit after another."""
    fields = []
    for number, (mean, value) in enumerate(zip(told.means, told.energies, strict=True)):
        found = find(bc.Gaussian(mean, law.belief.covariance), energy, value).posterior
        fields.append(found.sample(jax.random.fold_in(key, number), (size.draws,)))
    return _measured(law, told, jnp.stack(fields)), np.full(len(fields), np.nan)


METHODS: dict[str, Callable] = {
    PROJECTED: _projected,
    GAUSS_NEWTON: functools.partial(_approximate, gauss_newton),
    LAPLACE: functools.partial(_approximate, laplace),
    OURS: _constrained,
}
