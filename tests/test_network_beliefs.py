"""Beliefs from networks: what a neural process or an ensemble says becomes Gaussians, mixtures and
programs, and nothing is lost.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from flax import nnx

import bayescons as bc
from bayescons.axes.quadrature import quadrature_weights
from bayescons.networks import AttentiveNeuralProcess, DeepEnsemble
from bayescons.problems import Stefan, contexts
from bayescons.surrogates import (
    Ensemble,
    ensemble_members,
    field_given_latent,
    latent_distribution,
    latent_draws,
    moment_matched,
    stretched_draws,
)

EPS32 = float(np.finfo(np.float32).eps)
problem = Stefan(threshold=0.6)
grid = problem.grid(times=3, points=11)
readings = contexts(problem, jax.random.key(0))
network = AttentiveNeuralProcess(width=8, heads=2, box=((0.0, 0.0), (0.1, 1.0)), rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def members():
    """Twelve beliefs about one field that differ a good deal."""
    key_mean, key_scale = jax.random.split(jax.random.key(1))
    return Ensemble(
        jax.random.normal(key_mean, (12, *grid.shape)),
        jnp.exp(jax.random.normal(key_scale, (12, *grid.shape)) - 1),
    )


@pytest.mark.parametrize("factor", [True, False], ids=["with its factor", "on the diagonal"])
def test_one_gaussian_has_the_mean_and_the_variances_of_the_mixture(members, factor):
    mean, scale = np.asarray(members.mean), np.asarray(members.scale)
    belief = moment_matched(members, factor=factor)
    np.testing.assert_allclose(belief.mean, mean.mean(axis=0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        belief.variance, (scale**2).mean(axis=0) + mean.var(axis=0, ddof=1), rtol=1e-12
    )


def test_weights_of_members_are_those_of_copies(members):
    copied = Ensemble(*(jnp.concatenate([a[:3], a[:2], a[:1]]) for a in members[:2]))
    weighted = Ensemble(
        members.mean[:3], members.scale[:3], jnp.log(jnp.array([3.0, 2.0, 1.0])) + 5
    )
    one, other = moment_matched(weighted), moment_matched(copied)
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12, atol=1e-14)
    # the unbiased share differs, 1 - Σ w² = 11/18 for the weights and 1 - 1/6 for six equals
    own = (np.asarray(members.scale[:3]) ** 2 * np.array([3, 2, 1]).reshape(3, 1, 1) / 6).sum(
        axis=0
    )
    np.testing.assert_allclose(
        (one.variance - own) * (11 / 18), (other.variance - own) * (5 / 6), rtol=1e-10, atol=1e-14
    )


def test_a_stretch_moves_the_prediction_and_one_leaves_it_alone():
    z = jnp.zeros(8)
    fine = bc.Grid(t=[0.05], x=np.linspace(0, 1, 21))
    wide = field_given_latent(network, readings, fine, z, stretch=2.0).mean
    np.testing.assert_allclose(
        field_given_latent(network, readings, fine, z, stretch=1.0).mean,
        field_given_latent(network, readings, fine, z).mean,
        rtol=0,
    )
    halves = bc.Grid(
        t=[0.05], x=np.linspace(0, 0.5, 21)
    )  # the stretched network is asked at half of each position
    np.testing.assert_allclose(
        wide, field_given_latent(network, readings, halves, z).mean, atol=100 * EPS32
    )


def test_stretched_draws_are_draws_at_each_stretch_with_its_prior():
    key = jax.random.key(4)
    found = stretched_draws(network, readings, grid, key, draws=2, spread=0.1, stretches=3)
    for i, log in enumerate([-0.3, 0.0, 0.3]):
        one = latent_draws(network, readings, grid, key, draws=2, stretch=np.exp(log))
        np.testing.assert_allclose(found.mean[2 * i : 2 * i + 2], one.mean, atol=100 * EPS32)
    np.testing.assert_allclose(found.log_weight, np.repeat([-4.5, 0.0, -4.5], 2), rtol=1e-12)


def test_the_factor_keeps_the_covariance_of_the_members(members):
    belief = moment_matched(members)
    unit = jnp.zeros(grid.shape).at[1, 4].set(1.0)
    mean = np.asarray(members.mean).reshape(12, -1)
    expected = np.cov(mean.T)[:, 1 * 11 + 4]
    expected[1 * 11 + 4] += np.mean(np.asarray(members.scale)[:, 1, 4] ** 2)
    np.testing.assert_allclose(belief.covariance.mv(unit).ravel(), expected, rtol=1e-11, atol=1e-13)


def test_without_the_factor_times_are_independent(members):
    assert moment_matched(members, factor=False).covariance.independent == {0, 1}


def test_draws_of_the_latent_are_the_fields_of_their_latents():
    key, n = jax.random.key(3), 5
    found = network.latent(readings.inputs, readings.u)
    noise = jax.random.normal(key, (n, *found.mean.shape), found.mean.dtype)
    drawn = latent_draws(network, readings, grid, key, draws=n)
    for s in range(n):
        one = field_given_latent(network, readings, grid, found.mean + found.scale * noise[s])
        # the same float32 arithmetic, perhaps in another order: a few layers of a few dozen terms
        # each
        np.testing.assert_allclose(drawn.mean[s], one.mean, atol=100 * EPS32)
        np.testing.assert_allclose(drawn.scale[s], jnp.sqrt(one.variance), atol=100 * EPS32)


def test_the_latent_is_a_numpyro_distribution_over_vectors():
    z = latent_distribution(network, readings)
    assert z.event_shape == (8,)
    assert z.batch_shape == ()


def test_an_ensemble_gives_a_belief_a_member():
    found = ensemble_members(
        DeepEnsemble(members=3, width=8, heads=2, rngs=nnx.Rngs(0)), readings, grid
    )
    assert found.mean.shape == found.scale.shape == (3, *grid.shape)
    assert float(found.scale.min()) >= 1e-3


def program(total, state=bc.impose):
    """A neural process and its total."""
    z = numpyro.sample("z", latent_distribution(network, readings))
    u = numpyro.sample("u", field_given_latent(network, readings, grid, z))
    state("mass", bc.integral(grid, over="x"), u, total)


def by_hand(latents, total):
    """The published update of each draw, m + v g (b - g m)/g'v g, its variance, and the log
    evidence over all times.
    """
    g, b = quadrature_weights(grid["x"]), np.asarray(total)
    beliefs = [field_given_latent(network, readings, grid, z) for z in latents]
    mean, variance = (
        np.stack([np.asarray(getattr(one, what), float) for one in beliefs])
        for what in ("mean", "variance")
    )
    spread, gap = variance @ g**2, b - mean @ g
    moved = mean + variance * g * (gap / spread)[..., None]
    evidence = -0.5 * np.sum(gap**2 / spread + np.log(2 * np.pi * spread), axis=-1)
    return moved, variance - (variance * g) ** 2 / spread[..., None], evidence


@pytest.mark.parametrize("state", [bc.impose, bc.observe], ids=["imposed", "observed"])
def test_the_program_in_closed_form_is_the_published_update_of_each_draw(state):
    total = problem.total(grid["t"])
    solve = bc.conjugate(program, latent_draws=40, proposal="prior", key=jax.random.key(5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.UnreliableWeightsWarning)  # of 40 draws few count
        posterior = solve(total, state=state)
    moved, variance, evidence = by_hand(posterior.latents["z"], total)
    weights = posterior.weights
    if state is bc.impose:
        np.testing.assert_allclose(weights, 1 / 40, rtol=1e-12)
    else:
        plain = np.exp(evidence - evidence.max())
        np.testing.assert_array_equal(
            np.argsort(weights), np.argsort(plain)
        )  # smoothing keeps their order
        level = float(posterior.log_evidence)
        np.testing.assert_allclose(level, evidence.max() + np.log(plain.mean()), atol=1e-3)
    mean = np.tensordot(weights, moved, 1)
    np.testing.assert_allclose(
        posterior.mean["u"], mean, atol=1e-5
    )  # float32 predictions, computed twice
    np.testing.assert_allclose(
        posterior.variance["u"],
        np.tensordot(weights, variance + (moved - mean) ** 2, 1),
        rtol=1e-3,
        atol=1e-9,
    )


def test_every_draw_of_the_mixture_conserves_the_total():
    total = problem.total(grid["t"])
    posterior = bc.conjugate(program, latent_draws=10, key=jax.random.key(6))(total)
    draws = posterior.sample(jax.random.key(7), (30,))["u"]
    assert float(
        jnp.max(jnp.abs(draws @ quadrature_weights(grid["x"]) - total[None]))
    ) <= 1e-12 * float(total.max())
