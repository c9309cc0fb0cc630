"""Metrics of mixtures against their definitions, and against those of one normal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scoringrules
from scipy import integrate, stats

from bayescons.diagnostics import (
    coverage,
    crps,
    log_likelihood,
    mixture_coverage,
    mixture_crps,
    mixture_log_likelihood,
    mixtures,
)
from bayescons.diagnostics import scoring as metrics

EPS = np.finfo(np.float64).eps
PAIRS = (
    (mixture_log_likelihood, log_likelihood),
    (mixture_crps, crps),
    (mixture_coverage, coverage),
)
every_metric = pytest.mark.parametrize("metric", [mixture for mixture, _ in PAIRS])


def prediction(components, *shape, seed=0):
    """Means, variances and weights of a mixture, and a truth drawn from it."""
    rng = np.random.default_rng(seed)
    means, variances = (
        rng.normal(size=(components, *shape)),
        rng.uniform(0.05, 0.5, size=(components, *shape)),
    )
    weights = rng.dirichlet(np.ones(components))
    chosen = rng.choice(components, size=shape, p=weights)[None]
    drawn = means + np.sqrt(variances) * rng.normal(size=means.shape)
    return means, variances, weights, np.take_along_axis(drawn, chosen, axis=0)[0]


@pytest.mark.parametrize(("mixture", "single"), PAIRS)
def test_one_component_is_one_normal(mixture, single):
    means, variances, _, truth = prediction(1, 3, 40)
    truth[:, 0], variances[0, :, 0] = means[0, :, 0], 0.0  # known exactly, and right
    where = {"where": variances[0] > 0} if single is log_likelihood else {}
    ours, theirs = (
        mixture(means, variances, None, truth, **where),
        single(means[0], variances[0], truth, **where),
    )
    np.testing.assert_allclose(ours, theirs, rtol=256 * EPS)


def test_log_likelihood_is_the_average_log_of_the_mixtures_density():
    means, variances, weights, truth = prediction(4, 3, 7)
    density = (weights[:, None, None] * stats.norm.pdf(truth, means, np.sqrt(variances))).sum(0)
    ours = mixture_log_likelihood(means, variances, weights, truth)
    np.testing.assert_allclose(ours, np.log(density).mean(-1), rtol=64 * EPS, atol=64 * EPS)


def test_log_likelihood_far_from_every_component_does_not_underflow():
    ours = mixture_log_likelihood(
        np.array([[0.0], [1.0]]), np.full((2, 1), 1e-4), np.array([0.5, 0.5]), np.array([10.0])
    )
    np.testing.assert_allclose(
        ours, np.log(0.5) + stats.norm.logpdf(10.0, 1.0, 1e-2), rtol=64 * EPS
    )


def test_log_likelihood_is_at_least_the_average_of_the_components_own():
    means, variances, weights, truth = prediction(5, 4, 30)
    own = np.stack([log_likelihood(m, v, truth) for m, v in zip(means, variances, strict=True)])
    assert bool((mixture_log_likelihood(means, variances, weights, truth) >= weights @ own).all())


def test_crps_is_the_integral_of_its_definition():
    means, variances, weights, truth = prediction(3, 6, seed=1)
    scales = np.sqrt(variances)
    ours = mixture_crps(means, variances, weights, truth, axis=())
    for i, y in enumerate(truth):

        def cdf(z, i=i):
            return weights @ stats.norm.cdf(z, means[:, i], scales[:, i])

        low, high = (means[:, i] - 12 * scales[:, i]).min(), (means[:, i] + 12 * scales[:, i]).max()
        below = integrate.quad(lambda z: cdf(z) ** 2, low, y, epsabs=1e-10, limit=400)[0]
        above = integrate.quad(lambda z: (1 - cdf(z)) ** 2, y, high, epsabs=1e-10, limit=400)[0]
        np.testing.assert_allclose(ours[i], below + above, atol=4e-10)  # quad: 1e-10 a side


def test_crps_of_known_values_is_that_of_an_ensemble():
    means, variances, _, truth = prediction(6, 5)
    ours = mixture_crps(means, 0 * variances, None, truth, axis=())
    np.testing.assert_allclose(
        ours,
        scoringrules.crps_ensemble(truth, means.T, estimator="nrg", backend="numpy"),
        rtol=64 * EPS,
    )


def test_crps_and_its_gradient_are_finite_where_components_know_the_point():
    means, variances, weights, truth = prediction(3, 4)
    variances[0] = 0.0
    means[1], truth[0], variances[:, 1] = means[0], means[0, 0], 0.0
    score, gradients = jax.value_and_grad(mixture_crps, argnums=(0, 1))(
        means, variances, weights, truth
    )
    assert np.isfinite(score)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_crps_and_log_likelihood_prefer_the_mixture_to_one_normal_of_its_moments():
    """Two humps: by five standard errors over 20 000 draws."""
    count = 20_000
    rng = np.random.default_rng(2)
    means = np.stack([np.full(count, -1.0), np.full(count, 1.0)])
    variances, weights = np.full((2, count), 0.05), np.array([0.3, 0.7])
    truth = np.where(rng.uniform(size=count) < 0.3, -1.0, 1.0) + np.sqrt(0.05) * rng.normal(
        size=count
    )
    mean, variance = np.full(count, 0.4), np.full(count, 0.05 + 1 - 0.4**2)
    for gain in (
        crps(mean, variance, truth, axis=())
        - mixture_crps(means, variances, weights, truth, axis=()),
        mixture_log_likelihood(means, variances, weights, truth, axis=())
        - log_likelihood(mean, variance, truth, axis=()),
    ):
        assert gain.mean() > 5 * gain.std() / np.sqrt(count)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_draws_of_the_mixture_are_covered_at_the_stated_level(level):
    means, variances, weights, truth = prediction(4, 20_000, seed=3)
    # five binomial standard deviations: a false alarm in 1.7 million
    bound = 5 * np.sqrt(level * (1 - level) / truth.size)
    assert abs(mixture_coverage(means, variances, weights, truth, level=level) - level) <= bound


def test_the_interval_ends_at_the_mixtures_quantiles():
    """A half, known: values 0 and 1 with weights 0.04 and 0.96. 5 % lie below 1, so the central 90
    % hold 1 alone; the 95 % both.
    """
    means, variances, weights = np.array([[0.0], [1.0]]), np.zeros((2, 1)), np.array([0.04, 0.96])
    for level, inside in ((0.9, [0, 1, 0]), (0.95, [1, 1, 0])):
        ours = [
            mixture_coverage(means, variances, weights, np.array([y]), level=level)
            for y in (0.0, 1.0, 1.0 + 1e-6)
        ]
        np.testing.assert_array_equal(ours, inside)


@every_metric
def test_splitting_a_component_changes_nothing(metric):
    means, variances, weights, truth = prediction(3, 4, 6)
    split = [np.concatenate([a, a[:1]]) for a in (means, variances)]
    halves = np.append(weights, weights[0] / 2) - np.array([weights[0] / 2, 0, 0, 0])
    np.testing.assert_allclose(
        metric(*split, halves, truth), metric(means, variances, weights, truth), rtol=64 * EPS
    )


@every_metric
def test_weights_need_not_sum_to_one_and_may_differ_between_fields(metric):
    means, variances, weights, truth = prediction(3, 2, 6)
    each = np.stack([weights, weights[::-1]], axis=1)[..., None]
    both = metric(means, variances, 7.0 * each, truth)
    for field in range(2):
        alone = metric(means[:, field], variances[:, field], each[:, field, 0], truth[field])
        np.testing.assert_allclose(both[field], alone, rtol=64 * EPS)


@every_metric
def test_a_component_without_weight_leaves_no_trace(metric):
    means, variances, weights, truth = prediction(3, 6)
    more = np.concatenate([means, means[:1] + 3]), np.concatenate([variances, 0 * variances[:1]])
    np.testing.assert_allclose(
        metric(*more, np.append(weights, 0.0), truth),
        metric(means, variances, weights, truth),
        rtol=64 * EPS,
    )


@every_metric
def test_excluded_points_leave_no_trace(metric):
    means, variances, weights, truth = prediction(3, 4, 6)
    variances[:, :, 0] = 0.0
    excluded = metric(means, variances, weights, truth, where=(variances > 0).all(0))
    np.testing.assert_allclose(
        excluded, metric(means[..., 1:], variances[..., 1:], weights, truth[:, 1:]), rtol=64 * EPS
    )


def test_log_likelihood_refuses_a_known_point_and_is_minus_infinity_under_jit():
    means, variances, weights, truth = prediction(3, 4)
    variances[1, 2] = 0.0
    with pytest.raises(ValueError, match=r"1 of 4 points .* floor="):
        mixture_log_likelihood(means, variances, weights, truth)
    assert jax.jit(mixture_log_likelihood)(means, variances, weights, truth) == -np.inf
    floored = mixture_log_likelihood(means, variances, weights, truth, floor=1e-4)
    expected = mixture_log_likelihood(means, np.maximum(variances, 1e-4), weights, truth)
    np.testing.assert_allclose(floored, expected, rtol=4 * EPS)


@every_metric
def test_it_runs_under_jit(metric):
    means, variances, weights, truth = prediction(3, 2, 6)
    expected = metric(means, variances, weights, truth)
    np.testing.assert_allclose(
        jax.jit(metric)(means, variances, weights, truth), expected, rtol=64 * EPS
    )


def test_all_pairs_of_a_hundred_components_are_not_stored():
    arrays = (jnp.zeros(201), *(jnp.ones((100, 201)) for _ in range(3)))
    needed = mixtures._mixnorm.lower(*arrays).compile().memory_analysis().temp_size_in_bytes
    assert needed < 100 * 100 * 201 * 8 / 10


@pytest.mark.float32
def test_single_precision_stays_single():
    means, variances, weights, truth = (np.asarray(a, np.float32) for a in prediction(3, 5))
    assert {metric(means, variances, weights, truth).dtype for metric, _ in PAIRS} == {
        jnp.dtype("float32")
    }


@every_metric
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda m, v, w, y: (m[0], v[0], w, y),
            r"means must have shape \(components, 4\).*means\[None\]",
        ),
        (lambda m, v, w, y: (m, v[:, :1], w, y), "must have one shape"),
        (
            lambda m, v, w, y: (m, v, w[1:], y),
            r"weights must have shape \(3,\) or broadcast to \(3, 4\)",
        ),
        (lambda m, v, w, y: (m, v, w - 1, y), r"weights must not be negative.*log weights"),
        (lambda m, v, w, y: (m, v, 0 * w, y), "not all be zero"),
        (lambda m, v, w, y: (m[:, :1], v[:, :1], w, y), r"means must have shape \(components, 4\)"),
    ],
)
def test_what_is_no_mixture_is_refused(metric, change, says):
    with pytest.raises(ValueError, match=says):
        metric(*change(*prediction(3, 4)))


def test_a_level_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match=r"level=0\.95"):
        mixture_coverage(*prediction(3, 4), level=95.0)
    assert metrics.normal_quantile(0.95) == pytest.approx(1.96, abs=1e-3)
