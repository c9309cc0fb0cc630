"""Mean and variance of a mixture over a latent: found without holding its draws, they are those of
the draws.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import bayescons as bc
from bayescons.axes.quadrature import quadrature_weights
from bayescons.networks import AttentiveNeuralProcess, Normal
from bayescons.problems import Stefan, contexts
from bayescons.surrogates import Ensemble, latent_draws, latent_moments, moment_matched, moments
from bayescons.surrogates import neural_process as beliefs

EPS32 = float(np.finfo(np.float32).eps)
problem = Stefan(threshold=0.6)
grid = problem.grid(times=3, points=11)
mass = bc.Constraint(bc.integral(grid, over="x"), problem.total(jnp.asarray(grid["t"])))
readings = contexts(problem, jax.random.key(0))
network = AttentiveNeuralProcess(width=8, heads=2, box=((0.0, 0.0), (0.1, 1.0)), rngs=nnx.Rngs(0))


@pytest.fixture(scope="module", params=[False, True], ids=["equals", "weighted"])
def members(request):
    """Twelve beliefs about one field that differ a good deal."""
    keys = jax.random.split(jax.random.key(1), 3)
    mean, scale = (
        jax.random.normal(keys[0], (12, *grid.shape)),
        jnp.exp(jax.random.normal(keys[1], (12, *grid.shape)) - 1),
    )
    return Ensemble(
        mean,
        scale,
        2 * jax.random.normal(keys[2], (12,)).at[0].set(-jnp.inf) if request.param else None,
    )


def test_moments_are_those_of_the_one_gaussian_that_matches_the_mixture(members):
    estimate, belief = moments(members), moment_matched(members, factor=False)
    np.testing.assert_allclose(estimate.mean, belief.mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(estimate.variance, belief.variance, rtol=1e-12)


def test_imposed_a_constraint_is_imposed_on_each_member_and_leaves_the_weights(members):
    conditioned = [
        bc.condition(bc.diagonal(mean, scale), mass)
        for mean, scale in zip(*members[:2], strict=True)
    ]
    logs = np.zeros(12) if members.log_weight is None else np.asarray(members.log_weight)
    weights = np.exp(logs) / np.exp(logs).sum()
    means, variances = (
        np.stack([getattr(belief, part) for belief in conditioned]) for part in ("mean", "variance")
    )
    mean = np.tensordot(weights, means, 1)
    between = np.tensordot(weights, (means - mean) ** 2, 1) / (1 - np.sum(weights**2))
    estimate = moments(members, mass)
    np.testing.assert_allclose(estimate.mean, mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        estimate.variance, np.tensordot(weights, variances, 1) + between, rtol=1e-11, atol=1e-15
    )


def test_the_mean_has_the_total_and_the_variance_of_a_small_spread_is_not_a_difference_of_large_numbers():
    close = Ensemble(
        1e6 + 1e-3 * jax.random.normal(jax.random.key(2), (12, *grid.shape)),
        jnp.full((12, *grid.shape), 1e-6),
    )
    np.testing.assert_allclose(
        moments(close).variance, np.var(close.mean, axis=0, ddof=1) + 1e-12, rtol=1e-3
    )  # eps·1e6/1e-3 is 2e-7
    mean = latent_moments(network, readings, grid, jax.random.key(3), mass, draws=7).mean
    np.testing.assert_allclose(
        np.asarray(mean) @ quadrature_weights(grid["x"]), mass.value, rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("constraint", [None, mass], ids=["nothing known", "mass known"])
@pytest.mark.parametrize("draws", [7, 12, 20])
def test_moments_of_a_latent_are_those_of_its_draws(draws, constraint):
    key = jax.random.key(3)
    expected = moments(latent_draws(network, readings, grid, key, draws=draws), constraint)
    estimate = latent_moments(network, readings, grid, key, constraint, draws=draws)
    # the same float32 arithmetic, perhaps in another order: a few layers of a few dozen terms each
    np.testing.assert_allclose(estimate.mean, expected.mean, atol=100 * EPS32)
    np.testing.assert_allclose(
        jnp.sqrt(estimate.variance), jnp.sqrt(expected.variance), atol=100 * EPS32
    )


def test_points_are_decoded_the_same_in_tiles_as_all_at_once(monkeypatch):
    key = jax.random.key(4)
    at_once = latent_draws(network, readings, grid, key, draws=5)
    monkeypatch.setattr(beliefs, "TILE", 10)
    in_tiles = latent_draws(network, readings, grid, key, draws=5)
    np.testing.assert_allclose(in_tiles.mean, at_once.mean, atol=100 * EPS32)
    np.testing.assert_allclose(in_tiles.scale, at_once.scale, atol=100 * EPS32)


class Line:
    """A network whose field is linear in its latent: u = 3 z₁ x - z₂ t."""

    def latent(self, *_):
        return network.latent(readings.inputs, readings.u)._replace(
            mean=jnp.arange(2.0), scale=jnp.array([0.5, 2.0])
        )

    def represent(self, _inputs, _values, points):
        return points

    def decode(self, _representation, z, points):
        mean = points @ jnp.array([-z[1], 3 * z[0]])
        return Normal(mean, jnp.full_like(mean, 0.1))


def test_in_pairs_a_field_that_is_linear_in_the_latent_has_its_exact_mean():
    t, x = (np.broadcast_to(grid.mesh()[axis], grid.shape) for axis in ("t", "x"))
    estimate = latent_moments(Line(), readings, grid, jax.random.key(5), draws=2, pairs=True)
    np.testing.assert_allclose(estimate.mean, -t, atol=1e-14)
    many = latent_moments(Line(), readings, grid, jax.random.key(5), draws=20_000, pairs=True)
    # the variance of 10,000 independent squares of normal numbers: five standard errors of
    # √(2/10,000)
    np.testing.assert_allclose(
        many.variance, 0.01 + (1.5 * x) ** 2 + (2 * t) ** 2, rtol=5 * np.sqrt(2e-4)
    )


@pytest.mark.parametrize(("draws", "pairs"), [(1, False), (3, True), (0, True)])
def test_too_few_draws_are_refused(draws, pairs):
    with pytest.raises(ValueError, match=f"draws={draws}"):
        latent_moments(network, readings, grid, jax.random.key(0), draws=draws, pairs=pairs)
