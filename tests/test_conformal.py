"""Conformal recalibration: bands hold whole functions as often as promised, and every draw obeys
its law to rounding.
"""

import math

import jax
import numpy as np
import pytest
from scipy import stats

import bayescons as bc
from bayescons.diagnostics import recalibrated, scale_factor
from bayescons.diagnostics.conformal import (
    conformal_factor,
    largest_residual,
    reconditioned,
    simultaneous_coverage,
    simultaneous_width,
)
from tests.structures import FACTS, GRID, belief, facts, reference, textbook, values_of

KEY = jax.random.key(0)
POINTS = bc.Grid(x=np.linspace(0, 1, 60))
MASS = bc.integral(POINTS, over="x")
WEIGHTS = MASS.weights[0]
TOTAL = 0.4
CALIBRATION, TEST = 400, 200


def kernel(length):
    x = POINTS["x"]
    return np.exp(-np.abs(x[:, None] - x) / length)


def truths(key, count):
    """Exchangeable functions of total 0.4: rough on the left and wild on the right, with a size of
    their own (heavy tails).
    """
    fields, sizes = jax.random.split(key)
    wild = 0.3 + 2.0 * (POINTS["x"] > 0.7)
    law = bc.condition(
        bc.dense(np.zeros(60), wild[:, None] * kernel(0.3) * wild), bc.Constraint(MASS, 0.0)
    )
    size = 1 / np.sqrt(
        jax.random.gamma(sizes, 2.0, (count,))
    )  # Student's t of four degrees of freedom
    return MEAN + size[:, None] * np.asarray(law.sample(fields, (count,)))


BEFORE = bc.dense(
    np.zeros(60), 0.25 * kernel(0.3)
)  # too sure, and as sure on the right as on the left
LAW = bc.Constraint(MASS, TOTAL)
AFTER = bc.condition(BEFORE, LAW)
MEAN = np.asarray(AFTER.mean)


def scores(posterior, functions, draws):
    mean, variance = (
        np.broadcast_to(a, functions.shape) for a in (posterior.mean, posterior.variance)
    )
    width = simultaneous_width(draws, posterior.mean, posterior.variance)
    return largest_residual(mean, variance, functions), float(width)


def assert_within_two_standard_errors(held, level):
    """Of the level, over the test functions and over the draw of the calibration functions
    (Beta).
    """
    se = math.sqrt(level * (1 - level) * (1 / TEST + 1 / (CALIBRATION + 2)))
    assert abs(held - level) <= 2 * se


@pytest.fixture(scope="module")
def functions():
    """For the shape of the spread, for calibration, and for the test."""
    return [
        truths(key, count)
        for key, count in zip(jax.random.split(KEY, 3), (200, CALIBRATION, TEST), strict=True)
    ]


# The promise


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_a_band_holds_new_functions_as_often_as_promised(functions, level):
    _, calibration, test = functions
    factor = conformal_factor(scores(AFTER, calibration, AFTER.sample(KEY, (200,)))[0], level=level)
    held = np.mean(scores(AFTER, test, AFTER.sample(KEY, (200,)))[0] <= factor)
    assert_within_two_standard_errors(held, level)


@pytest.mark.parametrize("varying", [False, True], ids=["one factor", "a factor for each point"])
def test_a_belief_recalibrated_has_a_band_of_its_own_draws_that_holds_and_keeps_its_law(
    functions, varying
):
    """The band is that of the new belief's draws, m ± w sd with its own m, w and sd; before, it
    holds a small part of the functions.
    """
    shape, calibration, test = functions
    posterior = AFTER
    if varying:
        mean, variance = (np.broadcast_to(a, shape.shape) for a in (AFTER.mean, AFTER.variance))
        posterior = reconditioned(
            BEFORE, LAW, scale_factor(mean, variance, shape, method="likelihood", axis=0)[0]
        )
    found, width = scores(posterior, calibration, posterior.sample(KEY, (2000,)))
    after = recalibrated(posterior, conformal_factor(found / width))
    draws = after.sample(jax.random.key(1), (2000,))
    residual, own = scores(after, test, draws)
    # w from 2,000 draws has a standard error of a few parts in a thousand, which moves the coverage
    # by as little
    assert_within_two_standard_errors(np.mean(residual <= own), 0.95)
    before, width = scores(AFTER, test, AFTER.sample(KEY, (2000,)))
    assert np.mean(before <= width) < 0.5
    assert np.abs(np.asarray(draws) @ WEIGHTS - TOTAL).max() <= 1e-12


def test_where_the_belief_is_wrong_in_places_a_varying_factor_is_sharper(functions):
    shape, calibration, _ = functions
    mean, variance = (np.broadcast_to(a, shape.shape) for a in (AFTER.mean, AFTER.variance))
    varied = reconditioned(
        BEFORE, LAW, scale_factor(mean, variance, shape, method="likelihood", axis=0)[0]
    )
    widths = []
    for posterior in (AFTER, varied):
        factor = conformal_factor(scores(posterior, calibration, posterior.sample(KEY, (200,)))[0])
        widths.append(factor * float(np.sqrt(posterior.variance).mean()))
    assert widths[1] < 0.8 * widths[0]


def test_the_factor_is_the_rank_that_gives_the_guarantee():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))  # 99 of them
    assert conformal_factor(scores, level=0.95) == 95.0
    assert conformal_factor(scores[:19], level=0.95) == scores[:19].max()
    assert (
        conformal_factor(np.append(scores[:98], np.inf), level=0.9)
        == np.sort(np.append(scores[:98], np.inf))[89]
    )


def test_over_calibration_sets_the_coverage_is_between_its_bounds():
    """1 - α <= P <= 1 - α + 1/(n + 1), for n = 30 and normal scores, over 20,000 sets to four
    standard errors.
    """
    rng = np.random.default_rng(1)
    sets, new = rng.normal(size=(20_000, 30)), rng.normal(size=20_000)
    held = np.mean(
        [value <= conformal_factor(some, level=0.9) for some, value in zip(sets, new, strict=True)]
    )
    slack = 4 * math.sqrt(0.09 / 20_000)
    assert 0.9 - slack <= held <= 0.9 + 1 / 31 + slack


# The parts


def test_the_width_of_independent_points_is_that_of_the_largest_of_as_many_normals():
    points, level, draws = 12, 0.9, 20_000
    mean, scale = np.arange(12.0), np.linspace(0.5, 2, points)
    sample = bc.diagonal(mean, scale).sample(KEY, (draws,))
    exact = stats.norm.ppf((1 + level ** (1 / points)) / 2)
    held = (
        2 * stats.norm.cdf(float(simultaneous_width(sample, mean, scale**2, level=level))) - 1
    ) ** points
    assert abs(held - level) <= 4 * math.sqrt(level * (1 - level) / draws)
    assert simultaneous_coverage(mean, scale**2, mean + 0.999 * exact * scale, exact)
    assert not simultaneous_coverage(mean, scale**2, mean + 1.001 * exact * scale, exact)


def test_a_factor_scales_the_draws_and_leaves_the_width_in_standard_deviations():
    draws = AFTER.sample(KEY, (100,))
    wider = MEAN + 1.7 * (np.asarray(draws) - MEAN)
    widths = (
        simultaneous_width(d, MEAN, v)
        for d, v in ((draws, AFTER.variance), (wider, 1.7**2 * AFTER.variance))
    )
    np.testing.assert_allclose(*widths, rtol=1e-12)


def test_points_known_exactly_count_for_nothing_where_they_are_met_and_for_all_where_they_are_missed():
    mean, variance = np.zeros((2, 3)), np.array([[1.0, 0.0, 4.0]] * 2)
    truth = np.array([[0.5, 0.0, -3.0], [0.5, 1e-3, 0.0]])
    np.testing.assert_allclose(largest_residual(mean, variance, truth), [1.5, np.inf])
    np.testing.assert_allclose(
        largest_residual(mean, variance, truth, where=np.arange(3) == 0), [0.5, 0.5]
    )
    assert largest_residual(mean, variance, truth, axis=None) == np.inf


@pytest.mark.parametrize("structure", ["diagonal", "low rank", "kronecker", "dense"])
def test_a_belief_scaled_and_given_its_law_is_the_textbooks(structure):
    own, law = belief(structure), facts(structure, "mass and wall")
    factor = np.random.default_rng(2).uniform(0.3, 3.0, size=GRID.shape)
    found = reconditioned(own.gaussian, law, factor)
    rows = np.stack(
        [
            np.concatenate([np.ravel(f(unit)) for _, f in FACTS["mass and wall"]])
            for unit in _units()
        ],
        axis=-1,
    )
    expected = textbook(own.mean, np.outer(factor, factor) * own.covariance, rows, values_of(law))
    np.testing.assert_allclose(np.ravel(found.mean), expected.mean, atol=100 * expected.error)
    np.testing.assert_allclose(
        np.ravel(found.variance), np.diag(expected.covariance), atol=1000 * expected.error
    )
    draws = np.asarray(found.sample(KEY, (50,))).reshape(50, -1)
    assert np.abs(draws @ rows.T - values_of(law)).max() <= 1e-12


def test_one_factor_before_the_law_is_one_factor_after_it():
    own, law = belief("kronecker").gaussian, facts("kronecker", "mass")
    found = reconditioned(own, law, 1.8)
    np.testing.assert_allclose(
        np.ravel(found.mean), reference("kronecker", "mass").mean, atol=1e-12
    )
    np.testing.assert_allclose(
        found.variance, recalibrated(bc.condition(own, law), 1.8).variance, atol=1e-12
    )


def _units():
    return np.eye(GRID.size).reshape(-1, *GRID.shape)


# Bad input


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: conformal_factor(np.ones(18)),
            "18 calibration functions cannot promise 0.95: at least 19",
        ),
        (
            lambda: conformal_factor(np.ones((4, 5))),
            r"shape \(n,\), one for each calibration function; got \(4, 5\)",
        ),
        (lambda: conformal_factor(np.append(np.ones(30), np.nan)), "scores holds 1 NaN"),
        (
            lambda: conformal_factor(np.append(np.ones(27), [np.inf] * 3)),
            "3 of 30 functions miss a point that is known exactly",
        ),
        (lambda: conformal_factor(np.ones(30), level=95.0), "level must be a probability"),
        (
            lambda: simultaneous_width(np.ones((5, 3)), np.ones(4), np.ones(4)),
            r"draws must have shape \(draws, 4\)",
        ),
        (lambda: largest_residual(np.ones(3), np.ones(4), np.ones(3)), "must have one shape"),
        (lambda: reconditioned(AFTER, LAW, -1.0), "factor must be above zero"),
    ],
)
def test_bad_input_teaches(call, says):
    with pytest.raises(ValueError, match=says):
        call()
