"""Calibration: PITs are uniform for what is calibrated and for nothing else, bands have their
stated probability, and the traps are real.

Statistical tests have fixed seeds. Where a p-value must not be small, a right code fails for one
seed of a thousand.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import bayescons as bc
from bayescons.diagnostics import calibration, ecdf
from bayescons.diagnostics.calibration import (
    coverage_curve,
    functional_pit,
    gaussian_pit,
    holm,
    mixture_pit,
    pit,
    sharpness,
    uniformity,
)
from bayescons.diagnostics.front_position import front_position
from tests.structures import FACTS, GRID, belief, conditioned

KEY = jax.random.key(0)


def looks_uniform(values) -> bool:
    return stats.kstest(np.ravel(values), "uniform").pvalue > 1e-3


def ranked(cases, draws, factor=1.0, seed=0):
    """PITs of normal truths among normal draws whose spread is off by a factor."""
    rng = np.random.default_rng(seed)
    return np.asarray(pit(factor * rng.normal(size=(draws, cases)), rng.normal(size=cases), KEY))


# PIT


@pytest.mark.parametrize("draws", [1, 3, 99])
def test_randomised_ranks_are_uniform_whatever_the_number_of_draws(draws):
    values = ranked(4000, draws)
    assert ((values > 0) & (values < 1)).all()
    assert looks_uniform(values)


def test_ties_are_broken_so_that_discrete_functionals_are_uniform_too():
    rng = np.random.default_rng(1)
    draws, truth = rng.poisson(1.0, size=(20, 4000)), rng.poisson(1.0, size=4000)
    assert looks_uniform(pit(draws, truth, KEY))


def test_draws_that_do_not_count_are_not_ranked_among():
    rng = np.random.default_rng(2)
    draws, truth = rng.normal(size=(10, 50)), rng.normal(size=50)
    where = np.arange(10)[:, None] < 7
    np.testing.assert_array_equal(pit(draws, truth, KEY, where=where), pit(draws[:7], truth, KEY))


def test_a_gaussian_pit_is_what_that_of_many_draws_tends_to():
    rng = np.random.default_rng(3)
    mean, variance, truth = rng.normal(size=20), rng.uniform(0.5, 2, size=20), rng.normal(size=20)
    exactly = gaussian_pit(mean, variance, truth)
    np.testing.assert_allclose(exactly, stats.norm.cdf(truth, mean, np.sqrt(variance)), rtol=1e-12)
    draws = mean + np.sqrt(variance) * rng.normal(size=(20_000, 20))
    np.testing.assert_allclose(
        pit(draws, truth, KEY), exactly, atol=5 * 0.5 / math.sqrt(20_000)
    )  # five standard errors
    np.testing.assert_allclose(
        mixture_pit(mean[None], variance[None], None, truth), exactly, rtol=1e-12
    )


def test_a_mixtures_pit_weighs_its_components():
    means, variances, weights = (
        np.array([[0.0], [3.0]]),
        np.array([[1.0], [0.25]]),
        np.array([1.0, 3.0]),
    )
    expected = 0.25 * stats.norm.cdf(2.0) + 0.75 * stats.norm.cdf(2.0, 3.0, 0.5)
    np.testing.assert_allclose(
        mixture_pit(means, variances, weights, np.array([2.0])), [expected], rtol=1e-12
    )


@pytest.mark.parametrize("structure", ["diagonal", "kronecker", "conditioned with noise"])
@pytest.mark.parametrize(
    "fact", ["mass", "slopes at both ends", "integral over both axes", "user function"]
)
def test_the_pit_of_a_linear_functional_is_that_of_its_own_normal_law(structure, fact):
    own, functional = belief(structure), FACTS[fact][0][1]
    truth = own.gaussian.sample(jax.random.key(5))
    units = np.eye(GRID.size).reshape(-1, *GRID.shape)
    rows = np.stack([np.ravel(functional.linear(unit)) for unit in units], axis=-1)
    z = rows @ (np.ravel(truth) - own.mean) / np.sqrt(np.diag(rows @ own.covariance @ rows.T))
    np.testing.assert_allclose(
        np.ravel(functional_pit(own.gaussian, functional, truth)), stats.norm.cdf(z), rtol=1e-9
    )


def test_a_batch_of_fields_has_a_pit_for_each_field_and_row():
    means = np.random.default_rng(4).normal(size=(4, *GRID.shape))
    batch = bc.Gaussian(jnp.asarray(means), belief("kronecker").gaussian.covariance)
    truth = batch.sample(KEY)
    mass = FACTS["mass"][0][1]
    found = functional_pit(batch, mass, truth)
    assert found.shape == (4, len(GRID["t"]))
    each = [
        functional_pit(bc.Gaussian(m, batch.covariance), mass, u)
        for m, u in zip(batch.loc, truth, strict=True)
    ]
    np.testing.assert_allclose(found, each, rtol=1e-9)


def test_what_was_observed_exactly_has_no_pit():
    after = conditioned("kronecker", "mass").posterior
    with pytest.raises(ValueError, match="3 of 3 rows are known exactly"):
        functional_pit(after, FACTS["mass"][0][1], after.mean)


@pytest.mark.parametrize(("uniform", "truth"), [(0.0, -1.0), (1 - 2.0**-53, 1.0)])
def test_no_pit_is_rounded_to_the_ends(monkeypatch, uniform, truth):
    """(99 + U) / 100 rounds to one for the last few U below one, and the test of uniformity would
    take that for a rank fraction.
    """
    monkeypatch.setattr(jax.random, "uniform", lambda _, shape: jnp.full(shape, uniform))
    assert 0 < float(pit(np.zeros((99, 1)), np.array([truth]), KEY)[0]) < 1


# Fronts that may be absent


def fronts(key, cases, height):
    """Positions of the fronts of steps of random height, none where the step is below the threshold
    1.
    """
    places, tops = jax.random.split(key)
    x = np.linspace(0, 1, 51)
    end, top = (
        np.asarray(jax.random.uniform(places, cases)),
        height * np.asarray(jax.random.exponential(tops, cases)),
    )
    return front_position(np.where(x < end[..., None], top[..., None], 0.0), x, 1.0)


def test_fronts_are_judged_with_their_absence():
    """Of steps 2.5 high on average a third has no front; a belief in steps of 25 does not know
    that, and is as good where there is one.
    """
    truth, right = (
        fronts(key, (*lead, 400), 2.5)
        for key, lead in zip(jax.random.split(KEY), ((), (99,)), strict=True)
    )
    wrong = fronts(jax.random.key(3), (99, 400), 25.0)
    assert 0.2 < np.isnan(truth).mean() < 0.45
    for side in ("above", "below"):
        assert uniformity(pit(right, truth, KEY, absent=side)) > 1e-3
        assert uniformity(pit(wrong, truth, KEY, absent=side)) < 1e-3
    present = ~np.isnan(np.asarray(truth))
    among = np.asarray(wrong)[:, present]
    assert (
        uniformity(pit(among, truth[present], KEY, where=~np.isnan(among), absent="above")) > 1e-3
    )
    with pytest.raises(ValueError, match=r"NaN in 400 of 400 cases.*absent='above'"):
        pit(right, truth, KEY)


# The traps


def smooth_fields(key, cases):
    """Draws of a Gaussian process with a correlation length of a tenth of the domain, at 200
    points, and its covariance; variances one.
    """
    x = np.linspace(0, 1, 200)
    covariance = np.exp(-((x[:, None] - x) ** 2) / (2 * 0.1**2))
    return np.asarray(
        bc.dense(np.zeros(200), covariance, jitter=1e-8).sample(key, (cases,))
    ), covariance


def test_points_of_one_smooth_field_are_no_cases():
    """The belief N(0, K) is right for every field, and rejected from the points of nearly every
    single one; not from one number a field.
    """
    fields, covariance = smooth_fields(KEY, 2000)
    points = [uniformity(gaussian_pit(field, np.ones(200), np.zeros(200))) for field in fields[:30]]
    assert np.mean(np.array(points) < 0.05) > 0.8
    averages = fields.mean(axis=1) / np.sqrt(covariance.mean())
    cases = [uniformity(stats.norm.cdf(some)) for some in averages.reshape(20, 100)]
    assert (
        np.sum(np.array(cases) < 0.05) <= 6
    )  # of 20 at a rate of 0.07: more in one seed of a thousand


def test_rank_fractions_give_false_alarms_and_randomised_ranks_do_not():
    rng = np.random.default_rng(6)
    truth, draws = rng.normal(size=(20, 200)), rng.normal(size=(99, 20, 200))
    fractions = np.mean(draws < truth, axis=0)
    randomised = np.asarray(pit(draws, truth, KEY))
    assert sum(uniformity(row) < 0.01 for row in fractions) >= 15
    assert (
        sum(uniformity(row) < 0.01 for row in randomised) <= 2
    )  # of 20 at 0.014: more in one seed of four hundred


# The verdict


@pytest.mark.parametrize("cases", [30, 200])
def test_the_verdict_has_its_stated_rate_of_false_alarms(cases):
    sets = np.random.default_rng(7).uniform(size=(1000, cases))
    alarms = sum(uniformity(values) < 0.01 for values in sets)
    assert alarms <= stats.binom.ppf(0.999, 1000, 0.014)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_belief_too_narrow_or_too_wide_is_found_out(factor):
    found = calibration.calibration_of(ranked(200, 99, factor))
    assert not found.calibrated
    assert not found.ecdf.inside
    assert found.verdict.startswith("not calibrated: p = ")
    middle = found.ecdf.difference[len(found.ecdf.points) // 4]
    assert (middle > 0) == (factor < 1)  # too narrow: an S that goes up first


def test_a_calibrated_belief_is_let_pass():
    found = calibration.calibration_of(ranked(200, 99))
    assert found.calibrated
    assert found.ecdf.inside
    assert "200 cases (false-alarm rate 0.01)" in found.verdict


# Bands


def test_a_band_at_one_point_has_the_probability_of_a_binomial():
    lower, upper, attained = ecdf.band(11, 2, 0.8)
    within = stats.binom.cdf(upper[1], 11, 0.5) - stats.binom.cdf(lower[1] - 1, 11, 0.5)
    np.testing.assert_allclose(attained, within, rtol=1e-12)


@pytest.mark.parametrize(("count", "level"), [(10, 0.9), (150, 0.95), (150, 0.99)])
def test_a_band_holds_all_of_the_curve_with_its_stated_probability(count, level):
    *_, attained = ecdf.band(count, min(count, 100), level)
    assert level <= attained < level + 0.05
    sets = np.random.default_rng(8).uniform(size=(2000, count))
    held = np.mean([ecdf.ecdf_difference(values, level=level).inside for values in sets])
    assert abs(held - attained) <= 4 * math.sqrt(attained * (1 - attained) / 2000)


# Coverage and sharpness


def test_coverage_of_a_belief_too_narrow_is_that_of_narrower_intervals():
    """P(|Z| <= z f) for spreads off by f, from 20,000 cases to four standard errors."""
    for factor in (0.5, 1.0, 2.0):
        rng = np.random.default_rng(9)
        curve = coverage_curve(
            gaussian_pit(np.zeros(20_000), np.full(20_000, factor**2), rng.normal(size=20_000))
        )
        expected = 2 * stats.norm.cdf(factor * stats.norm.ppf((1 + curve.levels) / 2)) - 1
        np.testing.assert_allclose(curve.coverage, expected, atol=4 * 0.5 / math.sqrt(20_000))
        np.testing.assert_allclose(curve.se, np.sqrt(curve.levels * (1 - curve.levels) / 20_000))


def test_sharpness_is_the_width_of_the_central_interval():
    draws = np.array([1.0, 3.0]) * np.random.default_rng(10).normal(size=(100_000, 2))
    np.testing.assert_allclose(
        sharpness(draws, level=0.8), 2 * stats.norm.ppf(0.9) * np.array([1.0, 3.0]), rtol=0.03
    )


def test_holms_rule_multiplies_by_how_many_are_left_and_never_falls():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])


# Bad input


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: pit(np.zeros((5, 3)), np.zeros(4), KEY), r"draws must have shape \(draws, 4\)"),
        (lambda: pit(np.zeros((5, 3)), np.zeros(3), KEY, absent="left"), "absent must be"),
        (
            lambda: gaussian_pit(np.zeros(3), np.array([1.0, 0.0, 1.0]), np.zeros(3)),
            "1 of 3 variances",
        ),
        (
            lambda: mixture_pit(np.zeros((2, 3)), np.zeros((2, 3)), None, np.zeros(3)),
            "variances must be above zero",
        ),
        (
            lambda: functional_pit(belief("diagonal").gaussian, FACTS["mass"][0][1], np.zeros(3)),
            "true fields of its mean's shape",
        ),
        (lambda: uniformity(np.linspace(0, 1, 5)), "at least 10"),
        (lambda: uniformity(np.arange(20)), "values from 0 to 19"),
        (lambda: uniformity(np.full((4, 5), 0.5)), r"shape \(n,\); got shape \(4, 5\)"),
        (
            lambda: calibration.calibration_of(np.linspace(0, 1, 20), level=0.5),
            "level must be a false-alarm rate",
        ),
        (lambda: ecdf.ecdf_difference(np.zeros(1)), "at least 2 independent cases"),
        (lambda: coverage_curve(np.full((4, 5), 0.5)), r"shape \(n,\); got shape \(4, 5\)"),
        (lambda: ecdf.band(10, 10, 1.5), "level must be a probability"),
        (lambda: sharpness(np.zeros((5, 2)), level=95.0), "level must be a probability"),
    ],
)
def test_bad_input_teaches(call, says):
    with pytest.raises(ValueError, match=says):
        call()
