"""Budgets of a dry atmosphere, on a balanced flow that is known in closed form (solid rotation of
an isothermal atmosphere, and a wave): fixers of published emulators are conditioning, totals are
met, and what is known of the model is what its own sums say.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bayescons as bc
from bayescons.gaussians import Gaussian, LowRank
from bayescons.restrictions import gauss_newton
from experiments import budgets, held_suarez
from experiments.dry_atmosphere import Atmosphere, Run, totals
from experiments.emulators import Scales, Size, network, scales

EPS = float(np.finfo(float).eps)
GAS = 287.0  # J/(kg K)


def atmosphere(latitudes: int = 8, longitudes: int = 12, levels: int = 3) -> Atmosphere:
    sine, weights = np.polynomial.legendre.leggauss(latitudes)
    return Atmosphere(
        np.arange(longitudes) * 2 * np.pi / longitudes,
        sine,
        weights / 2 / longitudes,
        np.full(levels, 1 / levels),
        9.8,
        1004.0,
        6.37e6,
        7.29e-5,
        1e5,
    )


def balanced_flow(air: Atmosphere, speed: float, warmth: float, phase: float) -> np.ndarray:
    """Solid rotation u = speed cos φ of an isothermal atmosphere, with which the pressure p ∝
    exp(-(aΩ + speed/2) speed sin² φ / RT) is in balance, and a wave of ten percent of it.
    """
    cosine, n = np.sqrt(1 - air.sine**2)[:, None], air.levels
    wave = 0.1 * cosine**3 * np.cos(3 * air.longitude - phase)
    bulge = (air.radius * air.rate + speed / 2) * speed / (GAS * warmth)
    pressure = np.exp(-bulge * air.sine[:, None] ** 2) * (1 + 0.1 * wave)
    pressure *= air.mass / np.sum(air.weights[:, None] * pressure)
    height = np.linspace(1.5, 0.5, n)[:, None, None]
    return np.concatenate(
        [
            pressure[None],
            warmth * (1 + 0.1 * wave) * np.ones((n, 1, 1)),
            speed * cosine * height * (1 + wave),
            speed * height * np.roll(wave, 2, axis=-1),
        ]
    )


AIR = atmosphere()


@functools.cache
def days() -> np.ndarray:
    """Of a flow that turns, and is slowly driven."""
    phases = np.linspace(0, 4 * np.pi, 40)
    return np.stack(
        [balanced_flow(AIR, 15 + 3 * np.sin(p / 2), 280 + np.cos(p / 3), p) for p in phases]
    )


@functools.cache
def units() -> Scales:
    found = scales(AIR, [days()])
    return Scales(found.mean, np.maximum(found.sd, 0.1), np.maximum(found.increment, 0.01))


def states(key: int = 0, members: int = 4) -> tuple[jax.Array, jax.Array]:
    """Members about two days of the flow, and the totals of these days."""
    noise = np.random.default_rng(key).normal(size=(2, members, *AIR.shape))
    z = (days()[[3, 20]][:, None] - units().mean) / units().sd + 0.3 * noise
    return jnp.asarray(z), jax.vmap(totals(AIR))(jnp.asarray(days()[[3, 20]]))


def errors() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(6, *AIR.shape))


METHODS = {
    "shift": budgets.shift(AIR, units()),
    "ratio": budgets.ratio(AIR, units()),
    "own variances": budgets.own_variances(AIR, units(), errors()),
    "members": budgets.of_members(AIR, units(), 0.1),
    "tapered": budgets.near_members(AIR, units(), 0.1, 3000.0),
    "errors": budgets.of_errors(AIR, units(), errors()),
}
SEQUENCES = {"ACE2": budgets.ace2(AIR, units()), "CREDIT": budgets.credit(AIR, units())}


def missed(after: jax.Array, values: jax.Array) -> np.ndarray:
    law = jax.vmap(budgets.relative(AIR, units()), in_axes=(0, None))
    return np.abs(np.asarray(jax.vmap(law)(after, values)) - 1).max(axis=(0, 1))


@pytest.mark.parametrize("name", METHODS)
def test_every_member_has_all_its_totals(name):
    z, values = states()
    assert missed(z, values).min() > 1e-6
    assert missed(METHODS[name](z, values), values).max() < 64 * EPS


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_published_sequence_closes_mass_and_energy_and_leaves_momentum(name):
    z, values = states()
    after = missed(SEQUENCES[name](z, values), values)
    assert after[:2].max() < 64 * EPS
    assert after[2] > 1e-6


@pytest.mark.parametrize("name", [*METHODS, *SEQUENCES])
def test_a_state_that_has_its_totals_is_left_as_it_is(name):
    method = (METHODS | SEQUENCES)[name]
    z, values = states()
    once = SEQUENCES["ACE2"](z, values) if name in SEQUENCES else METHODS["shift"](z, values)
    assert jnp.abs(method(once, values) - once).max() < 1e-11


def directed(z: jax.Array, pattern: jax.Array, channels: slice) -> Gaussian:
    """About a state, K = m m' of one variable alone."""
    m = jnp.zeros(AIR.shape).at[channels].set((pattern / units().sd)[channels])
    return Gaussian(z, LowRank(jnp.zeros(AIR.shape), m[..., None], 3))


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_published_sequence_is_conditioning_on_one_total_after_another(name):
    """A uniform shift is K = 1 1', a ratio K = m m'."""
    z, values = states()
    z, values = z[0, 0], values[0]
    law, here = totals(AIR), AIR.variables
    mean, sd = jnp.asarray(units().mean), jnp.asarray(units().sd)

    def given(z, pattern, channels, number):
        def tangent(u):
            return jax.jvp(lambda w: law(mean + sd * w)[number] / values[number], (z,), (u,))[1]

        at = law(mean + sd * z)[number] / values[number]
        row = bc.functional(tangent, AIR.shape)
        return bc.condition(
            directed(z, pattern, channels), bc.Constraint(row, 1.0 - at + tangent(z))
        ).mean

    field = mean + sd * z
    ones = jnp.ones(AIR.shape)
    first = given(z, ones if name == "ACE2" else field, here["pressure"], 0)
    wind = sum(field[here[w]] ** 2 for w in ("zonal wind", "meridional wind"))
    own = field[here["temperature"]] + wind / (2 * AIR.heat)
    pattern = ones if name == "ACE2" else ones.at[here["temperature"]].set(own)
    expected = given(first, pattern, here["temperature"], 1)
    found = SEQUENCES[name](z[None, None], values[None])[0, 0]
    assert jnp.abs(found - expected).max() < 1e-12 * jnp.abs(z).max()


def test_what_is_repeated_ends_where_gauss_newton_does():
    z, values = states(members=2)
    law = budgets.relative(AIR, units())
    variance = 1.0 + np.arange(AIR.channels)[:, None, None] * np.ones(AIR.shape)
    covariance = LowRank(jnp.asarray(variance), jnp.zeros((*AIR.shape, 1)), 3)
    found = budgets.closed(law, covariance, z[0, 0], values[0])
    expected = gauss_newton(
        Gaussian(z[0, 0], covariance), lambda u: law(u, values[0]), jnp.ones(3)
    ).posterior.mean
    assert jnp.abs(found - expected).max() < 1e-7


def test_a_tapered_ensemble_is_the_sum_over_its_modulated_members():
    rng = np.random.default_rng(2)
    factor, basis = rng.normal(size=(*AIR.shape, 3)), budgets.taper(AIR, 4000.0, degree=3)
    tapered = budgets.Tapered(jnp.ones(AIR.shape), jnp.asarray(factor), jnp.asarray(basis))
    modulated = np.einsum("cxyj,xyl->cxyjl", factor, basis).reshape(*AIR.shape, -1)
    whole = LowRank(jnp.ones(AIR.shape), jnp.asarray(modulated), 3)
    field = jnp.asarray(rng.normal(size=AIR.shape))
    assert jnp.abs(tapered.mv(field) - whole.mv(field)).max() < 1e-12


def test_a_taper_is_the_correlation_of_gaspari_and_cohn_on_the_sphere():
    air, reach = atmosphere(16, 24), 5000.0
    basis = budgets.taper(air, reach, degree=12)
    cosine = np.sqrt(1 - air.sine**2)
    there = np.stack(
        [
            cosine[:, None] * np.cos(air.longitude),
            cosine[:, None] * np.sin(air.longitude),
            air.sine[:, None] * np.ones(len(air.longitude)),
        ],
        axis=-1,
    )
    angle = np.arccos(np.clip(there @ there[5, 0], -1, 1))
    expected = budgets.gaspari_cohn(angle * budgets.EARTH / reach)
    assert np.abs(basis @ basis[5, 0] - expected).max() < 0.01
    assert budgets.gaspari_cohn(np.array([0.0, 1.0, 2.0])) == pytest.approx([1, 5 / 24, 0])


def test_covariances_of_errors_answer_a_zonal_row_as_all_their_rotations_do():
    seen = errors()
    turned = np.concatenate([np.roll(seen, by, axis=-1) for by in range(AIR.shape[-1])])
    row = np.random.default_rng(3).normal(size=(*AIR.shape[:2], 1)) * np.ones(AIR.shape)
    expected = np.einsum("ncxy,n->cxy", turned, np.einsum("ncxy,cxy->n", turned, row)) / len(turned)
    zonal = budgets.Zonal(
        jnp.zeros((*AIR.shape[:2], 1)),
        jnp.asarray(np.moveaxis(seen.mean(axis=-1), 0, -1) / math.sqrt(len(seen))),
    )
    assert np.abs(np.asarray(zonal.mv(jnp.asarray(row))) - expected).max() < 1e-12


def test_what_is_in_band_is_left_as_it_is_and_nothing_else_comes_through():
    air = atmosphere(16, 32, 1)
    rng = np.random.default_rng(4)
    waves = [budgets.harmonics(air, degree) for degree in (5, 6)]
    low = np.stack([w @ rng.normal(size=w.shape[-1]) for w in (waves[0], *waves, waves[1])])
    cosine = np.sqrt(1 - air.sine**2)[:, None]
    field = np.stack([np.exp(low[0]), low[1], low[2] / cosine, low[3] / cosine])
    plain = Scales(np.zeros((4, 16, 1)), np.ones((4, 1, 1)), np.ones((4, 1, 1)))
    method = budgets.in_band(air, plain, 5, budgets.none)
    assert jnp.abs(method(jnp.asarray(field)[None, None], None)[0, 0] - field).max() < 1e-11
    beyond = field.copy()
    beyond[1] += budgets.harmonics(air, 7)[..., -1]
    assert jnp.abs(method(jnp.asarray(beyond)[None, None], None)[0, 0] - field).max() < 1e-11


@functools.cache
def small() -> tuple:
    """The balanced flow for a model, and two emulators that have learned nothing."""
    fields = days()
    sums = np.asarray(jax.vmap(totals(AIR))(jnp.asarray(fields)))
    work = (
        np.append(np.diff(sums, axis=0), np.zeros((1, 3)), axis=0)[:, None] * np.eye(4)[0][:, None]
    )
    run = Run(fields, sums, work)
    settings = held_suarez.Settings(
        members=(0, 1),
        size=Size((2, 3), 4, 1),
        validation=(0, 12, 3),
        test=(16, 30, 3),
        leads=(1, 2),
    )
    world = held_suarez.World(AIR, [run, run], units())
    return settings, world, [network(AIR, settings.size, seed) for seed in settings.members]


@pytest.mark.broadcasts
def test_the_rows_and_figures_of_a_small_balanced_flow(monkeypatch):
    monkeypatch.setattr(held_suarez, "TRUNCATION", 5)
    settings, world, models = small()
    rows = held_suarez.measured_rows(settings, world, models)
    assert not [row for row in rows if math.isnan(row.mean)]
    assert len({(r.parameter, r.method, r.metric) for r in rows}) == len(rows)
    closed = [row for row in rows if row.metric.endswith(" off") and row.reference is not None]
    assert closed
    assert all(row.met for row in closed)
    assert all(table.cells for table in held_suarez.tables(rows))
    assert held_suarez.drawn(settings, world, models, rows).keys() == held_suarez.FIGURES.keys()


def test_what_a_day_adds_to_the_totals_leads_to_those_of_the_next():
    settings, world, _ = small()
    given = held_suarez.cases(world, settings.test, 2)
    run = world.runs[-1]
    starts = np.arange(16, 31, 3)
    assert np.abs(given.values[:, 2] / run.totals[starts + 2] - 1).max() < 16 * EPS
