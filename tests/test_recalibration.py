"""Recalibration: the factor is what it says on the functions it was found on, and the law holds
whatever it is.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bayescons as bc
from bayescons.diagnostics import (
    coverage,
    crps,
    log_likelihood,
    recalibrated,
    recalibration,
    scale_factor,
)
from bayescons.gaussians import Scaled
from tests.structures import FACTS, GRID, belief, conditioned, facts, values_of

EPS = float(np.finfo(float).eps)
every_method = pytest.mark.parametrize("method", recalibration.METHODS)
WEIGHTS = FACTS["mass"][0][1].weights[1]


def prediction(*shape, factor=1.0, seed=0):
    """Mean, variance and truth, truth ~ N(mean, factor² variance): the belief is too narrow where
    the factor is above one.
    """
    rng = np.random.default_rng(seed)
    mean, variance = rng.normal(size=shape), rng.uniform(0.1, 2.0, size=shape)
    return mean, variance, mean + factor * np.sqrt(variance) * rng.normal(size=shape)


# The law


@pytest.mark.parametrize("structure", ["diagonal", "low rank", "kronecker", "restricted"])
@pytest.mark.parametrize(
    "factor", [0.3, np.array([[0.5], [2.0], [1.0]])], ids=["one factor", "one for each time"]
)
def test_totals_hold_in_the_mean_in_every_draw_and_have_no_variance(structure, factor):
    posterior, totals = (
        conditioned(structure, "mass").posterior,
        values_of(facts(structure, "mass")),
    )
    after = recalibrated(posterior, factor)
    draws = after.sample(jax.random.key(0), (5,))
    for field in (after.mean, draws):
        np.testing.assert_allclose(
            field @ WEIGHTS,
            np.broadcast_to(totals, field.shape[:-1]),
            rtol=0,
            atol=1e-12 * np.abs(totals).max(),
        )
    spread = bc.gaussians.functional_scale(after, FACTS["mass"][0][1])
    np.testing.assert_allclose(spread, 0.0, atol=1e-6)  # of a variance at the rounding of ones


@pytest.mark.parametrize("structure", ["diagonal", "kronecker", "conditioned exactly"])
def test_draws_move_away_from_the_mean_by_the_factor(structure):
    before = belief(structure).gaussian
    after = recalibrated(before, 1.7)
    key = jax.random.key(1)
    np.testing.assert_allclose(
        after.sample(key),
        before.mean + 1.7 * (before.sample(key) - before.mean),
        rtol=0,
        atol=1e-13,
    )
    np.testing.assert_array_equal(after.mean, before.mean)
    np.testing.assert_allclose(after.variance, 1.7**2 * before.variance, rtol=8 * EPS)


def test_a_factor_of_one_changes_nothing():
    before = belief("low rank").gaussian
    after = recalibrated(before, 1)
    np.testing.assert_array_equal(after.variance, before.variance)
    np.testing.assert_array_equal(after.sample(jax.random.key(0)), before.sample(jax.random.key(0)))
    np.testing.assert_allclose(
        after.log_prob(before.mean), before.log_prob(before.mean), rtol=8 * EPS
    )


def test_one_factor_commutes_with_exact_facts():
    before, constraint = belief("kronecker").gaussian, facts("kronecker", "mass and wall")
    first, last = (
        bc.condition(recalibrated(before, 0.4), constraint),
        recalibrated(bc.condition(before, constraint), 0.4),
    )
    np.testing.assert_allclose(first.mean, last.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(first.variance, last.variance, rtol=0, atol=1e-12)


def test_what_is_known_for_certain_stays_known():
    """A wall has no variance before and after, and conditioning on it again is recognised as
    redundant.
    """
    constraint = facts("diagonal", "wall")
    after = recalibrated(bc.condition(belief("diagonal").gaussian, constraint), 3.0)
    np.testing.assert_array_equal(after.variance[:, 0], 0.0)
    assert int(bc.update(after, constraint).rank) == 0


@pytest.mark.parametrize("shared", [False, True], ids=["own covariances", "one covariance"])
def test_each_field_of_a_batch_may_have_its_own_factor(shared):
    means, factors = (
        np.random.default_rng(0).normal(size=(3, *GRID.shape)),
        np.array([0.5, 1.0, 2.0]),
    )
    single = belief("kronecker").gaussian
    if shared:
        batch = bc.Gaussian(jnp.asarray(means), single.covariance)
    else:
        batch = jax.vmap(lambda m, s: bc.Gaussian(m, Scaled(single.covariance, s)))(
            means, jnp.ones((3, 1, 1))
        )
    after = recalibrated(batch, factors[:, None, None])
    assert (after.batch_shape, after.event_shape) == ((3,), GRID.shape)
    for i, factor in enumerate(factors):
        np.testing.assert_allclose(after.variance[i], factor**2 * single.variance, rtol=8 * EPS)
    spread = bc.gaussians.functional_scale(after, FACTS["mass"][0][1])
    one = np.asarray(bc.gaussians.functional_scale(single, FACTS["mass"][0][1]))
    np.testing.assert_allclose(spread, factors[:, None] * one, rtol=64 * EPS)


# The factor


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_the_calibration_set_is_covered_at_the_level_and_no_narrower_belief_covers_it(level):
    mean, variance, truth = prediction(20, 40, factor=1.8)
    factor = scale_factor(mean, variance, truth, level=level)

    def covered(s):
        return float(coverage(mean, s**2 * variance, truth, level=level, axis=None))

    assert level <= covered(factor) < level + 1 / mean.size
    assert covered(factor * (1 - 1e-9)) < level


def test_likelihood_and_crps_are_at_their_best():
    mean, variance, truth = prediction(20, 40, factor=0.6)

    def likelihood(s):
        return -log_likelihood(mean, s**2 * variance, truth, axis=None)

    def score(s):
        return crps(mean, s**2 * variance, truth, axis=None)

    for method, loss in (("likelihood", likelihood), ("crps", score)):
        factor = float(scale_factor(mean, variance, truth, method=method))
        # a change by h costs h² of the loss's curvature, of order one: 1e-8, far above rounding
        assert loss(factor) < min(loss(factor * (1 + 1e-4)), loss(factor * (1 - 1e-4)))


@every_method
def test_a_belief_too_wide_is_narrowed_and_one_too_narrow_widened_by_what_it_is_off(method):
    """To five standard errors over 8000 points, each at most 0.03: of the quantile, the widest,
    sqrt(level (1 - level)/n) / (2 φ(z) z).
    """
    for off in (0.4, 1.0, 2.5):
        mean, variance, truth = prediction(80, 100, factor=off, seed=5)
        assert abs(scale_factor(mean, variance, truth, method=method) / off - 1) <= 5 * 0.03
    error = math.sqrt(0.95 * 0.05 / 8000) / (
        2 * math.exp(-(1.96**2) / 2) / math.sqrt(2 * math.pi) * 1.96
    )
    assert error <= 0.03


@every_method
def test_a_belief_recalibrated_needs_no_more_recalibration(method):
    mean, variance, truth = prediction(5, 40, factor=0.3)
    factor = scale_factor(mean, variance, truth, method=method)
    again = scale_factor(mean, factor**2 * variance, truth, method=method)
    assert float(again) == pytest.approx(1, rel=1e-10)


@every_method
def test_groups_are_found_one_by_one(method):
    mean, variance, truth = prediction(6, 3, 20)
    each = scale_factor(mean, variance, truth, method=method, axis=(0, -1))
    assert each.shape == (1, 3, 1)
    alone = [scale_factor(mean[:, t], variance[:, t], truth[:, t], method=method) for t in range(3)]
    np.testing.assert_allclose(each.ravel(), alone, rtol=1e-12)
    assert scale_factor(mean, variance, truth, method=method, axis=1).shape == (6, 1, 20)
    assert scale_factor(mean, variance, truth, method=method).shape == ()


@every_method
def test_points_known_exactly_or_left_out_do_not_count(method):
    mean, variance, truth = prediction(6, 20)
    expected = scale_factor(mean[:, 2:], variance[:, 2:], truth[:, 2:], method=method)
    known = variance * (np.arange(20) != 0)
    ours = scale_factor(mean, known, truth, method=method, where=np.arange(20) != 1)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_a_factor_for_each_time_fits_a_belief_of_any_batch():
    """Found on held-out functions, applied to others: the total holds and each time is covered as
    well as it was.
    """
    mean, variance, truth = prediction(40, *GRID.shape, factor=np.array([[0.5], [1.0], [2.0]]))
    factor = scale_factor(mean, variance, truth, axis=(0, 2))
    new = bc.diagonal(mean[:2], np.sqrt(variance[:2]), batch_dims=1)
    np.testing.assert_allclose(
        recalibrated(new, factor).variance, factor**2 * variance[:2], rtol=8 * EPS
    )


# Bad input

_m, _v, _y = prediction(4, 5)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: scale_factor(_m, _v, _y, method="best"),
            "method must be one of 'coverage', 'likelihood', 'crps'",
        ),
        (lambda: scale_factor(_m, _v, _y, level=95.0), r"level=0\.95"),
        (lambda: scale_factor(_m, _v[:1], _y), r"must have one shape.*\(1, 5\)"),
        (lambda: scale_factor(_m, -_v, _y), "no variance be negative"),
        (lambda: scale_factor(_m, _v, _y * np.nan), "truth holds 20 NaN"),
        (lambda: scale_factor(_m, 0 * _v, _y), "no point that counts.*pool more axes"),
        (
            lambda: scale_factor(_m, _v, _m),
            r"factor would be zero: 20 of 20 points.*\(a\) the truth was taken",
        ),
        (
            lambda: scale_factor(_m, _v, np.where(np.arange(5) == 0, _y, _m), method="crps"),
            "factor would be zero: 16 of 20",
        ),
        (
            lambda: recalibrated(bc.diagonal(_m, 1.0), 0.0),
            "factor must be above zero; its smallest entry is 0",
        ),
        (
            lambda: recalibrated(bc.diagonal(_m, 1.0), np.ones(4)),
            r"have 2 axes.*got \(4,\).*write factor\[:, None\]",
        ),
        (
            lambda: recalibrated(bc.diagonal(_m, 1.0), np.ones((5, 1))),
            "each of length one or as in the mean's shape",
        ),
        (lambda: recalibrated(bc.diagonal(_m, 1.0), np.nan), "factor holds 1 NaN"),
    ],
)
def test_bad_input_teaches(call, says):
    with pytest.raises(ValueError, match=says):
        call()
