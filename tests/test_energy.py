"""The energy score against closed forms, and what its average over pairs may cost."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scoringrules

import bayescons as bc
from bayescons.diagnostics import crps, energy, energy_score

EPS = np.finfo(np.float64).eps


def sample(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_it_is_its_definition():
    draws, truth = sample(6, 4), sample(4, seed=1)
    error = np.linalg.norm(draws - truth, axis=-1).mean()
    spread = np.mean(
        [np.linalg.norm(a - b) for i, a in enumerate(draws) for j, b in enumerate(draws) if i != j]
    )
    np.testing.assert_allclose(
        energy_score(draws, truth, per_point=False), error - spread / 2, rtol=16 * EPS
    )
    np.testing.assert_allclose(energy_score(draws, truth), (error - spread / 2) / 2, rtol=16 * EPS)


@pytest.mark.parametrize("points", [1, 30])
def test_it_is_unbiased_for_a_normal_belief(points):
    """For N(0, I) and truth 0, ES = E|Z| (1 - 1/√2) with E|Z| = √2 Γ((n + 1)/2) / Γ(n/2); over 2000
    sets of ten draws, by five errors.
    """
    length = math.sqrt(2) * math.exp(math.lgamma((points + 1) / 2) - math.lgamma(points / 2))
    scores = energy_score(sample(10, 2000, points), np.zeros((2000, points)), per_point=False)
    assert abs(scores.mean() - length * (1 - math.sqrt(0.5))) <= 5 * scores.std() / math.sqrt(2000)


def test_at_single_points_it_is_the_crps():
    draws, truth = sample(8, 5), sample(5, seed=1)
    fair = scoringrules.crps_ensemble(truth, draws.T, estimator="fair", backend="numpy")
    np.testing.assert_allclose(energy_score(draws, truth, axis=()), fair, rtol=64 * EPS)


def test_draws_of_a_belief_score_its_crps_at_single_points():
    belief = bc.diagonal(np.zeros(2000), 1.0)
    scores = energy_score(belief.sample(jax.random.key(0), (20,)), np.full(2000, 0.5), axis=())
    assert abs(scores.mean() - crps(0.0, 1.0, 0.5, axis=())) <= 5 * scores.std() / math.sqrt(2000)


def test_a_certain_prediction_scores_its_root_mean_squared_error():
    truth = sample(3, 7)
    draws = np.broadcast_to(truth + 0.3 * sample(3, 7, seed=1), (4, 3, 7))
    np.testing.assert_allclose(
        energy_score(draws, truth), np.sqrt(((draws[0] - truth) ** 2).mean(-1)), rtol=16 * EPS
    )


def test_it_sees_correlations_that_no_marginal_metric_sees():
    """Truths that move up or down as a whole are scored better by draws that do than by independent
    ones: by five standard errors.
    """
    count, points = 300, 20
    level = sample(count, 1, seed=2)
    truth = np.broadcast_to(level, (count, points))
    together = np.broadcast_to(sample(100, count, 1, seed=3), (100, count, points))
    gain = energy_score(sample(100, count, points, seed=4), truth) - energy_score(together, truth)
    assert gain.mean() > 5 * gain.std() / math.sqrt(count)


def test_per_point_it_does_not_grow_with_the_grid():
    draws, truth = sample(6, 9), sample(9, seed=1)
    finer = energy_score(np.repeat(draws, 4, axis=-1), np.repeat(truth, 4))
    np.testing.assert_allclose(finer, energy_score(draws, truth), rtol=16 * EPS)


def test_excluded_points_leave_no_trace():
    draws, truth = sample(6, 3, 9), sample(3, 9, seed=1)
    where = np.arange(9) > 2
    np.testing.assert_allclose(
        energy_score(draws, truth, where=where),
        energy_score(draws[..., 3:], truth[:, 3:]),
        rtol=16 * EPS,
    )
    assert np.isnan(energy_score(draws, truth, where=np.zeros(9, bool))).all()


def test_a_whole_field_is_one_profile_and_axes_may_come_in_any_order():
    draws, truth = sample(6, 2, 3, 4), sample(2, 3, 4, seed=1)
    whole = energy_score(draws.reshape(6, 2, 12), truth.reshape(2, 12))
    for axis in ((-2, -1), (2, 1)):
        np.testing.assert_allclose(energy_score(draws, truth, axis=axis), whole, rtol=16 * EPS)
    assert energy_score(draws, truth, axis=0).shape == (3, 4)
    np.testing.assert_allclose(
        energy_score(draws, truth, axis=None),
        energy_score(draws.reshape(6, 24), truth.ravel()),
        rtol=16 * EPS,
    )


def test_distances_between_five_hundred_draws_are_not_stored():
    needed = (
        energy._scores.lower(jnp.zeros((2, 500, 201)), jnp.zeros((2, 201)))
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
    )
    assert needed < 500 * 500 * 201 * 8 / 100


@pytest.mark.parametrize(
    ("draws", "truth"),
    [((1, 4), (4,)), ((5, 4), (3,)), ((5, 4, 1), (4,)), ((4,), (4,))],
    ids=["one draw", "points", "column", "none"],
)
def test_what_are_no_draws_of_the_truth_are_refused(draws, truth):
    with pytest.raises(
        ValueError, match=r"with at least two draws.*belief\.sample\(key, \(500,\)\)"
    ):
        energy_score(np.zeros(draws), np.zeros(truth))
