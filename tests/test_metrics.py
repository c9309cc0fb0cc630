"""Metrics against their definitions, and at the points that are known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from bayescons.diagnostics import scoring as metrics

EPS = np.finfo(np.float64).eps
NX = 201
WEIGHTS = np.full(NX, 1 / (NX - 1)) * np.where(
    np.isin(np.arange(NX), [0, NX - 1]), 0.5, 1.0
)  # trapezoid rule on [0, 1]


def prediction(*shape, seed=0):
    """Mean, variance and truth of a calibrated prediction: truth ~ N(mean, variance)."""
    rng = np.random.default_rng(seed)
    mean, variance = rng.normal(size=shape), rng.uniform(0.1, 2.0, size=shape)
    return mean, variance, mean + np.sqrt(variance) * rng.normal(size=shape)


def with_known_point(mean, variance, truth):
    """The first point of every profile known exactly, and right."""
    first = np.arange(mean.shape[-1]) == 0
    return mean, np.where(first, 0.0, variance), np.where(first, mean, truth)


def test_conservation_error_is_the_signed_excess_of_the_total():
    x = np.linspace(0, 1, NX)
    field = np.stack(
        [1 + x, 2 + x]
    )  # integrals 1.5 and 2.5: the trapezoid rule is exact for linear profiles
    error = metrics.conservation_error(field, np.array([1.0, 3.0]), WEIGHTS)
    np.testing.assert_allclose(error, [0.5, -0.5], atol=NX * EPS)


@pytest.mark.parametrize("leading", [(), (3,), (3, 4)])
def test_conservation_error_is_one_number_for_each_profile(leading):
    field = np.ones((*leading, NX))
    assert metrics.conservation_error(field, 1.0, WEIGHTS).shape == leading
    np.testing.assert_allclose(
        metrics.conservation_error(field, np.ones(leading), WEIGHTS), 0, atol=NX * EPS
    )


@pytest.mark.parametrize(
    ("total", "weights"),
    [
        (np.ones(5), WEIGHTS),
        (1.0, WEIGHTS[:, None]),
        (1.0, WEIGHTS[1:]),
        (np.ones((2, 4)), WEIGHTS),
    ],
)
def test_conservation_error_refuses_shapes_that_do_not_fit(total, weights):
    with pytest.raises(ValueError, match=r"(weights|total) must"):
        metrics.conservation_error(np.ones((4, NX)), total, weights)


def test_a_perfect_prediction_has_no_error():
    mean, variance, _ = prediction(3, 7)
    assert (metrics.mean_squared_error(mean, mean) == 0).all()
    assert (metrics.coverage(mean, variance, mean) == 1).all()


def test_log_likelihood_is_the_average_normal_log_density():
    mean, variance, truth = prediction(3, 7)
    expected = stats.norm.logpdf(truth, mean, np.sqrt(variance)).mean(-1)
    np.testing.assert_allclose(
        metrics.log_likelihood(mean, variance, truth), expected, rtol=64 * EPS
    )


def test_log_likelihood_rises_by_the_logarithm_of_the_unit():
    mean, variance, truth = prediction(50)
    rise = metrics.log_likelihood(mean / 1e3, variance / 1e6, truth / 1e3) - metrics.log_likelihood(
        mean, variance, truth
    )
    np.testing.assert_allclose(rise, np.log(1e3), rtol=64 * EPS)


@given(mean=st.floats(-2, 2), sd=st.floats(0.05, 3), residual=st.floats(-6, 6))
def test_crps_is_the_integral_of_its_definition(mean, sd, residual):
    truth, far = (
        mean + residual * sd,
        12 * sd,
    )  # beyond twelve standard deviations F is 0 or 1 to within rounding
    below = integrate.quad(
        lambda z: stats.norm.cdf(z, mean, sd) ** 2, mean - far, truth, epsabs=1e-10, limit=200
    )[0]
    above = integrate.quad(
        lambda z: stats.norm.sf(z, mean, sd) ** 2, truth, mean + far, epsabs=1e-10, limit=200
    )[0]
    np.testing.assert_allclose(
        metrics.crps(mean, sd**2, truth, axis=()), below + above, atol=4e-10
    )  # quad: 1e-10 a side


@given(error=st.floats(-1, 1), sd=st.sampled_from([1e-3, 1e-6, 1e-12, 1e-150, 0.0]))
def test_crps_tends_to_the_absolute_error_as_the_variance_vanishes(error, sd):
    # CRPS is Lipschitz in the forecast: it differs from that of a point mass by at most E|F - mean|
    # = s sqrt(2 / pi) < s.
    score = metrics.crps(0.0, sd**2, error, axis=())
    assert abs(score - abs(error)) <= sd + 4 * EPS


def test_crps_and_its_gradient_are_finite_at_exactly_known_points():
    mean, variance, truth = with_known_point(*prediction(9))
    score, gradients = jax.value_and_grad(metrics.crps, argnums=(0, 1))(mean, variance, truth + 0.1)
    assert np.isfinite(score)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_crps_is_proper():
    mean, variance, truth = prediction(40_000, seed=4)
    honest = metrics.crps(mean, variance, truth, axis=())
    for distorted in (
        metrics.crps(mean + 0.3, variance, truth, axis=()),
        metrics.crps(mean, 2 * variance, truth, axis=()),
    ):
        gain = distorted - honest
        assert gain.mean() > 5 * gain.std() / np.sqrt(gain.size)  # by five standard errors


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_calibrated_predictions_are_covered_at_the_stated_level(level):
    mean, variance, truth = prediction(20_000, seed=3)
    # five binomial standard deviations: a false alarm in 1.7 million
    bound = 5 * np.sqrt(level * (1 - level) / truth.size)
    assert abs(metrics.coverage(mean, variance, truth, level=level) - level) <= bound


def test_an_exactly_known_point_is_covered_when_it_is_right_to_within_the_tolerance():
    mean, zero = np.ones(3), np.zeros(3)
    truth = np.array([1 + 4 * EPS, 1 + 1e-6, 1.0])
    np.testing.assert_array_equal(metrics.coverage(mean, zero, truth, axis=()), [1, 0, 1])
    np.testing.assert_array_equal(
        metrics.coverage(mean, zero, truth, axis=(), tolerance=1e-5), [1, 1, 1]
    )


def test_log_likelihood_refuses_an_exactly_known_point_and_says_what_to_write():
    arrays = with_known_point(*prediction(3, 5))
    with pytest.raises(ValueError, match=r"3 of 15 points .* where=variance > 0"):
        metrics.log_likelihood(*arrays)


def test_log_likelihood_of_an_exactly_known_point_is_minus_infinity_under_jit():
    assert jax.jit(metrics.log_likelihood)(*with_known_point(*prediction(5))) == -np.inf


def test_log_likelihood_floor_replaces_smaller_variances():
    mean, variance, truth = with_known_point(*prediction(5))
    floored = metrics.log_likelihood(mean, variance, truth, floor=1e-8)
    np.testing.assert_allclose(
        floored, metrics.log_likelihood(mean, np.maximum(variance, 1e-8), truth), rtol=4 * EPS
    )


def squared_error(mean, _, truth, **options):
    return metrics.mean_squared_error(mean, truth, **options)


@pytest.mark.parametrize(
    "metric", [metrics.log_likelihood, metrics.crps, metrics.coverage, squared_error]
)
def test_excluded_points_leave_no_trace_in_any_metric(metric):
    mean, variance, truth = with_known_point(*prediction(3, 6))
    excluded = metric(mean, variance, truth, where=variance > 0)
    np.testing.assert_allclose(
        excluded, metric(mean[:, 1:], variance[:, 1:], truth[:, 1:]), rtol=16 * EPS
    )


def test_excluded_points_leave_no_trace_in_the_gradient():
    mean, variance, truth = with_known_point(*prediction(6))
    gradient = jax.grad(metrics.log_likelihood, argnums=1)(
        mean, jnp.asarray(variance), truth, where=variance > 0
    )
    assert gradient[0] == 0
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("metric", [metrics.log_likelihood, metrics.crps, metrics.coverage])
def test_metrics_refuse_to_broadcast_a_column_against_a_row(metric):
    mean, variance, truth = prediction(5)
    with pytest.raises(ValueError, match="must have one shape"):
        metric(mean, variance, truth[:, None])


@pytest.mark.float32
def test_metrics_keep_single_precision():
    mean, variance, truth = (a.astype(np.float32) for a in prediction(5))
    assert {
        metric(mean, variance, truth).dtype
        for metric in (metrics.log_likelihood, metrics.crps, metrics.coverage)
    } == {jnp.dtype("float32")}


def test_a_mask_that_is_not_boolean_is_refused():
    with pytest.raises(ValueError, match="where must be boolean"):
        metrics.mean_squared_error(np.ones(3), np.ones(3), where=np.ones(3))


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_that_is_no_probability_is_refused(level):
    with pytest.raises(ValueError, match=r"level=0\.95"):
        metrics.normal_quantile(level)


def test_scores_at_one_time_are_the_metrics_of_that_slice():
    mean, variance, truth = with_known_point(*prediction(2, 4, NX))
    total = np.arange(4.0)
    row = metrics.scores(mean, variance, truth, total, WEIGHTS, time=2)
    mean, variance, truth = mean[:, 2], variance[:, 2], truth[:, 2]
    np.testing.assert_allclose(
        row["conservation_error"], mean @ WEIGHTS - 2.0, rtol=64 * EPS, atol=64 * EPS
    )
    np.testing.assert_allclose(
        row["mean_squared_error"], metrics.mean_squared_error(mean, truth), rtol=64 * EPS
    )
    np.testing.assert_allclose(
        row["log_likelihood"],
        metrics.log_likelihood(mean, variance, truth, where=variance > 0),
        rtol=64 * EPS,
    )
    np.testing.assert_allclose(row["crps"], metrics.crps(mean, variance, truth), rtol=64 * EPS)
    np.testing.assert_allclose(
        row["coverage"], metrics.coverage(mean, variance, truth), rtol=64 * EPS
    )
    np.testing.assert_allclose(row["known"], 1 / NX, rtol=4 * EPS)


def test_scores_over_all_times_average_those_of_the_slices():
    arrays = prediction(2, 3, NX)
    whole = metrics.scores(*arrays, np.zeros(3), WEIGHTS)
    slices = [metrics.scores(*arrays, np.zeros(3), WEIGHTS, time=t) for t in (0, 1, -1)]
    for name in (
        "conservation_error",
        "mean_squared_error",
        "log_likelihood",
        "crps",
        "coverage",
        "known",
    ):
        np.testing.assert_allclose(
            whole[name], np.mean([s[name] for s in slices], axis=0), rtol=256 * EPS, atol=64 * EPS
        )
    worst = np.max([np.abs(s["conservation_error"]) for s in slices], axis=0)
    np.testing.assert_allclose(whole["largest_conservation_error"], worst, rtol=64 * EPS)


def test_scores_refuse_a_time_that_is_not_there_and_a_negative_variance():
    mean, variance, truth = prediction(3, NX)
    with pytest.raises(ValueError, match="one of 3 slices"):
        metrics.scores(mean, variance, truth, 0.0, WEIGHTS, time=3)
    with pytest.raises(ValueError, match=r"shape \(\.\.\., nt, nx\)"):
        metrics.scores(mean[0], variance[0], truth[0], 0.0, WEIGHTS)
    with pytest.raises(ValueError, match="variance of zero or less"):
        metrics.scores(mean, -variance, truth, 0.0, WEIGHTS)


def test_scores_run_under_jit():
    arrays = with_known_point(*prediction(3, NX))
    jitted = jax.jit(lambda *a: metrics.scores(*a, np.zeros(3), WEIGHTS, time=1))(*arrays)
    for name, value in metrics.scores(*arrays, np.zeros(3), WEIGHTS, time=1).items():
        np.testing.assert_allclose(jitted[name], value, rtol=256 * EPS, atol=64 * EPS)
