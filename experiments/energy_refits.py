"""Refits of a field whose energy is known: simulation-based calibration of what `right_measure`
compares, over readings and energies that the field itself makes.

A truth is drawn from the belief, four of its points are read with noise, and its energy is told
exactly. Given the readings, the belief is a Gaussian whose covariance is the same in every refit,
so that refits run side by side and are compiled once. Each method draws from its law of the field,
and the truth is ranked among those draws.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import bayescons as bc
from bayescons.axes.quadrature import quadrature_weights
from bayescons.diagnostics.calibration import holm, pit, uniformity
from bayescons.diagnostics.ecdf import ecdf_difference
from bayescons.restrictions import (
    NonlinearConstraint,
    gauss_newton,
    laplace,
    nonlinear_constraint,
    rattle,
)
from bayescons.restrictions.projection import anywhere
from bayescons.surrogates import separable
from experiments import panels
from experiments.rows import Row
from experiments.tables import Table, number, pivot

POINTS = 20  # of the field
READ = (2, 7, 12, 17)  # points that are read
NOISE = 0.8  # standard deviation of a reading, that of the field as well
STEP = 0.3  # angle of a step, the same in all refits and not adapted
PROJECTED, GAUSS_NEWTON, LAPLACE, OURS = "projected", "Gauss-Newton", "Laplace", "constrained"
ALL, DISTANCE, SECONDS = "all quantities", "distance over floor", "seconds"
SMALLEST = "smallest adjusted p-value"
PLACES = {OURS: 0, PROJECTED: 1, LAPLACE: 2, GAUSS_NEWTON: 3}  # in the order of colours
SHOWN = ("total", "largest u", "± log density")  # in the figure
CAPTION = (
    "Ranks of the truth, as the difference of their empirical distribution function from the "
    "uniform one; above all methods, below the two that draw fields of the energy told, enlarged. "
    "Grey: the band that uniform ranks of as many refits of `constrained` keep to, for each "
    "quantity with a probability of 99.2 %, for all six together of 95 % at least."
)
QUANTITIES = ("total", "u(½)", "u(1)", "largest u", "log likelihood", "± log density")


@dataclasses.dataclass(frozen=True)
class Size:
    """Size of the calibration.

    Attributes:
        refits: by each method.
        side: refits that run side by side; a divisor of `refits`.
        draws: that a truth is ranked among, half of them from each of two chains; even.
        thinning: transitions of a chain for each draw.
        warmup: transitions of a chain before its first draw.
    """

    refits: int
    side: int = 500
    draws: int = 100
    thinning: int = 6
    warmup: int = 30


class Truths(NamedTuple):
    """What is simulated: fields, shape (refits, points), their readings, (refits, 4), their
    energies, (refits,), and the mean of the belief given the readings, (refits, points).
    """

    fields: jax.Array
    readings: jax.Array
    energies: jax.Array
    means: jax.Array


class Ranked(NamedTuple):
    """Ranks of the truth by one method.

    Attributes:
        pit: randomised PITs by quantity, each of shape (refits,), but for those refused.
        distance: by quantity, the total variation between the counts of the ranks and equal ones.
        worth: by quantity, independent draws that the draws of a refit are worth.
        refused: share of the refits that the method refuses.
        accepted: mean acceptance rate; NaN of draws that are independent by construction.
        seconds: simulating, refitting and evaluating, compilation apart.
    """

    pit: dict[str, np.ndarray]
    distance: dict[str, float]
    worth: dict[str, float]
    refused: float
    accepted: float
    seconds: float


def floor(refits: int, draws: int) -> float:
    """The total variation to be expected where ranks are exactly uniform: E|p̂ - p| = sqrt(2 p (1 -
    p) / (π n)), p = 1 / (draws + 1).
    """
    share = 1 / (draws + 1)
    return math.sqrt(2 * share * (1 - share) / (math.pi * refits)) * (draws + 1) / 2


# --- Rows, tables and the figure
# -----------------------------------------------------------------------------


def rows(size: Size, key: jax.Array) -> list[Row]:
    """For each method, what its ranks say by quantity, and of all of them together."""
    out = []
    for method in METHODS:
        found = results(method, size, key)
        count = len(found.pit[QUANTITIES[0]])
        p_values = [uniformity(values) for values in found.pit.values()]
        least, right = floor(count, size.draws), method == OURS
        for name, p, adjusted in zip(QUANTITIES, p_values, holm(p_values), strict=True):
            row = functools.partial(Row, "ranks of the truth", name, method, n=count)
            out.append(row("p-value", p))
            out.append(row("adjusted p-value", float(adjusted)))
            out.append(
                row(
                    DISTANCE,
                    found.distance[name] / least,
                    reference="≤ 1.2" if right else None,
                )
            )
            out.append(row("worth of 100 draws", 100 * found.worth[name] / size.draws))
        row = functools.partial(Row, "ranks of the truth", ALL, method, n=count)
        smallest = float(holm(p_values).min())
        out.append(row(SMALLEST, smallest, reference="≥ 0.05" if right else "≤ 1e-6"))
        out.append(row("largest distance / floor", max(found.distance.values()) / least))
        out.append(row("refused", found.refused))
        out.append(row("acceptance", found.accepted, note="" if right else "independent draws"))
        out.append(row(SECONDS, found.seconds, reference="≤ 120" if right else None))
    return out


def tables(rows: Sequence[Row]) -> list[Table]:
    """Of all quantities together, by method; and by quantity."""
    chosen = [row for row in rows if row.problem == "ranks of the truth"]
    at = {(row.parameter, row.method, row.metric): row for row in chosen}
    methods = dict.fromkeys(row.method for row in chosen)
    whole = [
        (
            method,
            str(at[ALL, method, SMALLEST].n),
            *(number(at[ALL, method, name]) for name in (SMALLEST, "largest distance / floor")),
            *(number(at[ALL, method, name]) for name in ("refused", "acceptance", SECONDS)),
        )
        for method in methods
    ]
    headings = ("method", "refits", "smallest adjusted p", "largest distance / floor", "refused")
    told = {"p-value": "p", "adjusted p-value": "adjusted p", DISTANCE: "distance / floor"}
    return [
        Table("Ranks of the truth", (*headings, "acceptance", SECONDS), tuple(whole), 1),
        pivot(
            "Ranks of the truth, by quantity",
            [row for row in chosen if row.parameter != ALL],
            {**told, "worth of 100 draws": "worth of 100 draws"},
        ),
    ]


def figure(size: Size, key: jax.Array) -> Figure:
    """ECDF differences of the ranks, see `CAPTION`."""
    sheet = panels.sheet(4.8)
    above, below = sheet.subplots(2, len(SHOWN), sharex=True, sharey="row")
    found = {method: results(method, size, key) for method in METHODS}
    level = 1 - 0.05 / len(QUANTITIES)
    for column, name in enumerate(SHOWN):
        for row, methods in ((above, METHODS), (below, (PROJECTED, OURS))):
            for method in methods:
                curve = ecdf_difference(found[method].pit[name], level=level)
                row[column].plot(curve.points, curve.difference, **panels.look(PLACES[method]))
            row[column].fill_between(
                curve.points, curve.lower, curve.upper, color="0.85", linewidth=0, zorder=0
            )
        first = column == 0
        panels.finish(above[column], title=name, ylabel="ECDF − PIT" if first else "", ticks=4)
        panels.finish(
            below[column], xlabel="PIT of the truth", ylabel="enlarged" if first else "", ticks=4
        )
    entries = [panels.line(PLACES[method], method) for method in METHODS]
    panels.legend_below(sheet, [*entries, panels.shade("band")], columns=3)
    return sheet


@functools.lru_cache(maxsize=8)
def _kept(method: str, size: Size, seed: tuple[int, ...]) -> Ranked:
    return ranked(method, size, jax.random.wrap_key_data(jnp.asarray(seed, jnp.uint32)))


def results(method: str, size: Size, key: jax.Array) -> Ranked:
    """`ranked`, kept: the rows of a run and its figure ask for the same."""
    return _kept(method, size, tuple(map(int, jax.random.key_data(key))))


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
    for chunk in range(size.refits // size.side):
        told = truths(belief, jax.random.fold_in(of_truths, 1 + chunk), size.side)
        drawn, accepted = draw(law, told, size, jax.random.fold_in(of_draws, 1 + chunk))
        own = _measured(law, told, told.fields[:, None])[:, 0]
        parts.append(jax.tree.map(np.asarray, (own, drawn, accepted)))
    own, drawn, accepted = (np.concatenate(part) for part in zip(*parts, strict=True))
    done = ~np.isnan(drawn).any(axis=(1, 2))
    own, drawn = own[done], drawn[done]
    ranks = np.asarray(pit(np.swapaxes(drawn, 0, 1), own, of_ranks))
    seconds = time.perf_counter() - begun
    return Ranked(
        dict(zip(QUANTITIES, ranks.T, strict=True)),
        {q: _distance(r, size.draws) for q, r in zip(QUANTITIES, ranks.T, strict=True)},
        dict(zip(QUANTITIES, _worth(drawn), strict=True)),
        float(1 - done.mean()),
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
    """Draws of the Gaussian that stands for the law, refit after refit; NaN where it is refused."""
    fields = []
    for refit, (mean, value) in enumerate(zip(told.means, told.energies, strict=True)):
        try:
            found = find(bc.Gaussian(mean, law.belief.covariance), energy, value).posterior
        except FloatingPointError:
            fields.append(jnp.full((size.draws, POINTS), jnp.nan))
        else:
            fields.append(found.sample(jax.random.fold_in(key, refit), (size.draws,)))
    return _measured(law, told, jnp.stack(fields)), np.full(len(fields), np.nan)


METHODS: dict[str, Callable] = {
    PROJECTED: _projected,
    GAUSS_NEWTON: functools.partial(_approximate, gauss_newton),
    LAPLACE: functools.partial(_approximate, laplace),
    OURS: _constrained,
}
