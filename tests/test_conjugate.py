"""Laws of the closed-form reading: it is the conjugate update, a weighted mixture over latents
above the field, and calibrated.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from scipy import stats
from scipy.special import logsumexp

import bayescons as bc
from bayescons.programs import importance_weights
from tests.readings import EPS, KERNEL, MASS, MEAN, ROUNDING, WALL, N, answer, row

TOTAL, WALL_VALUE = 0.4, 0.3
PROBES = np.array([3, 6])
READINGS = jnp.array([0.9, -0.2])
WEIGHTS = row(MASS)[0]
KEY = jax.random.key(0)


def belief(scale=1.0):
    return bc.kronecker(MEAN, (KERNEL,), scale=scale, jitter=0.0)


def rod(total=TOTAL):
    u = numpyro.sample("u", belief())
    bc.observe("mass", MASS, u, total)
    bc.observe("wall", WALL, u, WALL_VALUE)


def hierarchical(state=bc.observe, total=1.5):
    tau = numpyro.sample("tau", dist.LogNormal(0.0, 0.5))
    u = numpyro.sample("u", belief(tau))
    state("mass", MASS, u, total)


@pytest.fixture(scope="module")
def mixture():
    return bc.conjugate(hierarchical, latent_draws=4000, key=KEY)()


def test_conjugate_is_condition():
    posterior = bc.conjugate(rod)()
    facts = bc.Constraint(MASS, TOTAL) & bc.Constraint(WALL, WALL_VALUE)
    expected = belief() | facts
    assert np.array_equal(posterior.mean["u"], expected.mean)
    assert np.array_equal(posterior.variance["u"], expected.variance)
    assert posterior.log_evidence == bc.log_evidence(belief(), facts)
    assert np.isnan(posterior.pareto_k)


def test_conjugate_is_the_textbook():
    posterior, expected = (
        bc.conjugate(rod)(),
        answer(KERNEL, (MASS, TOTAL, 0), (WALL, WALL_VALUE, 0)),
    )
    assert np.abs(posterior.mean["u"] - expected.mean).max() <= ROUNDING
    assert np.abs(posterior.variance["u"] - np.diag(expected.covariance)).max() <= ROUNDING
    rows = np.stack([WEIGHTS, row(WALL)[0]])
    density = stats.multivariate_normal.logpdf(
        [TOTAL, WALL_VALUE], rows @ MEAN, rows @ KERNEL @ rows.T
    )
    assert abs(posterior.log_evidence - density) <= ROUNDING


def test_draws_have_the_posterior_for_their_law_and_obey_the_facts():
    posterior, size = bc.conjugate(rod)(), 4000
    draws = np.asarray(posterior.sample(KEY, (size,))["u"])
    expected = answer(KERNEL, (MASS, TOTAL, 0), (WALL, WALL_VALUE, 0))
    assert draws.shape == (size, N)
    assert np.abs(draws @ WEIGHTS - TOTAL).max() <= 1e-12
    assert np.abs(draws[:, 0] - WALL_VALUE).max() <= 1e-12
    # Six standard errors: a false alarm in 1e-8 of seeds, over nine means and 81 covariances of
    # normals.
    spread = np.sqrt(np.diag(expected.covariance))
    assert (np.abs(draws.mean(0) - expected.mean) <= 6 * spread / np.sqrt(size) + 1e-12).all()
    error = 6 * np.sqrt((np.outer(spread, spread) ** 2 + expected.covariance**2) / size)
    assert (np.abs(np.cov(draws.T) - expected.covariance) <= error + 1e-12).all()


def test_a_gaussian_likelihood_below_is_a_fact_with_noise():
    def program(statement):
        u = numpyro.sample("u", belief())
        bc.observe("mass", MASS, u, TOTAL)
        if statement:
            bc.observe("y", lambda u: 2 * u[PROBES] + 0.5, u, READINGS, 0.2)
        else:
            middle = numpyro.deterministic("middle", u[PROBES])
            numpyro.sample("y", dist.Normal(2 * middle + 0.5, 0.2).to_event(1), obs=READINGS)

    absorbed, stated = (bc.conjugate(program)(statement) for statement in (False, True))
    expected = answer(KERNEL, (MASS, TOTAL, 0), (lambda u: 2 * u[PROBES], READINGS - 0.5, 0.2))
    for posterior in (absorbed, stated):
        assert np.abs(posterior.mean["u"] - expected.mean).max() <= ROUNDING
        assert np.abs(posterior.variance["u"] - np.diag(expected.covariance)).max() <= ROUNDING
        assert abs(posterior.log_evidence - expected.log_evidence) <= ROUNDING


def test_latents_below_that_nothing_observes_change_nothing():
    def program():
        rod()
        numpyro.sample("aside", dist.Gamma(2.0, 1.0))

    posterior = bc.conjugate(program, latent_draws=5, key=KEY)()
    assert np.abs(posterior.mean["u"] - bc.conjugate(rod)().mean["u"]).max() <= ROUNDING
    assert np.isnan(posterior.pareto_k)


# Law 10: the mixture over latents above the field.


def test_weights_are_the_evidence_of_what_is_observed(mixture):
    tau = np.asarray(mixture.latents["tau"])
    log_weights = stats.norm.logpdf(1.5, WEIGHTS @ MEAN, tau * np.sqrt(WEIGHTS @ KERNEL @ WEIGHTS))
    assert abs(mixture.log_evidence - logsumexp(log_weights, b=1 / tau.size)) <= ROUNDING
    # Smoothing replaces the largest 3 sqrt(n) weights by quantiles of their own tail and keeps the
    # others.
    raw = np.exp(log_weights - logsumexp(log_weights))
    small = raw < np.sort(raw)[-4 * int(np.sqrt(tau.size))]
    ratio = mixture.weights[small] / raw[small]
    assert np.ptp(ratio) <= ROUNDING * ratio[0]
    assert np.abs(mixture.weights - raw).sum() <= 0.01
    assert abs(mixture.weights.sum() - 1) <= 100 * EPS
    assert mixture.pareto_k < 0.7
    assert 500 < mixture.effective_draws <= tau.size


@pytest.mark.parametrize("spacing", [1e-3, 0.1, 1.0, 20.0, 25.0, 30.0, 1e3, 1e5])
def test_weights_are_weights_however_far_apart_their_logarithms_lie(spacing):
    weights, pareto_k = importance_weights(-spacing * np.arange(164.0))
    assert abs(weights.sum() - 1) <= 164 * EPS
    assert (weights >= 0).all()
    assert spacing < 1 or not pareto_k < 0.7


def test_the_amplitude_has_the_posterior_that_quadrature_gives(mixture):
    grid = np.exp(np.linspace(-3.5, 3.5, 4001))
    density = (
        grid
        * stats.lognorm.pdf(grid, 0.5)
        * stats.norm.pdf(1.5, WEIGHTS @ MEAN, grid * np.sqrt(WEIGHTS @ KERNEL @ WEIGHTS))
    )
    density /= density.sum()
    tau = np.asarray(mixture.latents["tau"])
    for power in (1, 2):
        expected, estimate = density @ grid**power, mixture.weights @ tau**power
        # Six standard errors of a self-normalised importance sample: a false alarm in 2e-9 of
        # seeds.
        assert abs(estimate - expected) <= 6 * np.sqrt(
            np.sum((mixture.weights * (tau**power - estimate)) ** 2)
        )


def test_mean_and_variance_of_a_mixture_are_the_weighted_formulas(mixture):
    tau, weights = np.asarray(mixture.latents["tau"]), mixture.weights
    gain = KERNEL @ WEIGHTS / (WEIGHTS @ KERNEL @ WEIGHTS)
    mean = MEAN + gain * (1.5 - WEIGHTS @ MEAN)  # whatever the amplitude
    within = (weights @ tau**2) * (np.diag(KERNEL) - gain * (KERNEL @ WEIGHTS))
    assert np.abs(mixture.mean["u"] - mean).max() <= ROUNDING
    assert np.abs(mixture.variance["u"] - within).max() <= ROUNDING * within.max()


def test_the_variance_of_a_mixture_counts_the_spread_of_its_means():
    def program():
        total = numpyro.sample("total", dist.Normal(0.4, 0.3))
        bc.impose("mass", MASS, numpyro.sample("u", belief()), total)

    posterior = bc.conjugate(program, latent_draws=50, key=KEY)()
    total = np.asarray(posterior.latents["total"])
    gain = KERNEL @ WEIGHTS / (WEIGHTS @ KERNEL @ WEIGHTS)
    variance = np.diag(KERNEL) - gain * (KERNEL @ WEIGHTS) + gain**2 * total.var()
    assert (
        np.abs(posterior.mean["u"] - MEAN - gain * (total.mean() - WEIGHTS @ MEAN)).max()
        <= ROUNDING
    )
    assert np.abs(posterior.variance["u"] - variance).max() <= ROUNDING


def test_draws_of_a_mixture_obey_the_law_and_follow_the_weights(mixture):
    draws = np.asarray(mixture.sample(KEY, (2000,))["u"])
    assert draws.shape == (2000, N)
    assert np.abs(draws @ WEIGHTS - 1.5).max() <= 1e-12 * 1.5
    # Six standard errors for the means; for variances, of a scale mixture with kurtosis below 12.
    assert (
        np.abs(draws.mean(0) - mixture.mean["u"]) <= 6 * np.sqrt(mixture.variance["u"] / 2000)
    ).all()
    assert (np.abs(draws.var(0) / mixture.variance["u"] - 1) <= 6 * np.sqrt(12 / 2000)).all()


def test_what_is_imposed_leaves_the_weights_equal():
    posterior = bc.conjugate(hierarchical, latent_draws=100, key=KEY)(bc.impose)
    assert np.abs(posterior.weights - 0.01).max() <= EPS
    assert np.isnan(posterior.pareto_k)
    assert posterior.log_evidence == 0
    assert abs(posterior.effective_draws - 100) <= 1e-10


def test_weights_under_an_imposed_fact_are_what_is_observed_given_it():
    def program():
        tau = numpyro.sample("tau", dist.LogNormal(0.0, 0.5))
        u = numpyro.sample("u", belief(tau))
        bc.observe("mass", MASS, u, TOTAL)
        bc.impose("wall", WALL, u, WALL_VALUE)

    posterior = bc.conjugate(program, latent_draws=200, key=KEY)()
    given = answer(
        KERNEL, (WALL, WALL_VALUE, 0)
    )  # the mean does not depend on the amplitude, the covariance is tau² of this
    spread = np.asarray(posterior.latents["tau"]) * np.sqrt(WEIGHTS @ given.covariance @ WEIGHTS)
    log_weights = stats.norm.logpdf(TOTAL, WEIGHTS @ given.mean, spread)
    assert abs(posterior.log_evidence - logsumexp(log_weights, b=1 / 200)) <= ROUNDING


def test_observations_above_the_field_weigh_as_well():
    def program():
        tau = numpyro.sample("tau", dist.LogNormal(0.0, 0.5))
        numpyro.sample("count", dist.Poisson(3 * tau), obs=2)
        u = numpyro.sample("u", belief(tau))
        bc.observe("mass", MASS, u, 1.5)

    posterior = bc.conjugate(program, latent_draws=200, key=KEY)()
    tau = np.asarray(posterior.latents["tau"])
    log_weights = stats.norm.logpdf(
        1.5, WEIGHTS @ MEAN, tau * np.sqrt(WEIGHTS @ KERNEL @ WEIGHTS)
    ) + stats.poisson.logpmf(2, 3 * tau)
    assert abs(posterior.log_evidence - logsumexp(log_weights, b=1 / 200)) <= ROUNDING


def test_discrete_latents_give_a_finite_mixture():
    def program():
        wide = numpyro.sample("wide", dist.Bernoulli(0.3))
        u = numpyro.sample("u", belief(jnp.where(wide == 1, 2.0, 0.5)))
        bc.observe("mass", MASS, u, 1.5)

    posterior = bc.conjugate(program, latent_draws=100, key=KEY)()
    wide = np.asarray(posterior.latents["wide"])
    raw = stats.norm.pdf(
        1.5, WEIGHTS @ MEAN, np.where(wide == 1, 2.0, 0.5) * np.sqrt(WEIGHTS @ KERNEL @ WEIGHTS)
    )
    assert np.abs(posterior.weights - raw / raw.sum()).max() <= ROUNDING
    assert np.isnan(posterior.pareto_k)


@pytest.mark.parametrize("below", [True, False], ids=["likelihood", "functional"])
def test_what_closes_over_a_latent_keeps_its_own_value_in_every_component(below):
    def program():
        ratio = numpyro.sample("ratio", dist.Normal(1.0, 0.3))
        u = numpyro.sample("u", belief())
        bc.impose("wall", WALL, u, WALL_VALUE)
        if below:
            numpyro.sample("y", dist.Normal(ratio * u[4], 0.2), obs=0.8)
        else:
            bc.observe("y", lambda u: ratio * u[4], u, 0.8, 0.2)

    posterior = bc.conjugate(program, latent_draws=20, key=KEY)()
    facts = [
        answer(KERNEL, (WALL, WALL_VALUE, 0), (lambda u, r=r: r * u[4], 0.8, 0.2))
        for r in np.asarray(posterior.latents["ratio"])
    ]
    assert (
        np.abs(posterior.components[0].mean - np.stack([f.mean for f in facts])).max() <= ROUNDING
    )
    assert (
        np.abs(
            posterior.components[0].variance - np.stack([np.diag(f.covariance) for f in facts])
        ).max()
        <= ROUNDING
    )
    prior = answer(KERNEL, (WALL, WALL_VALUE, 0)).log_evidence
    assert (
        abs(posterior.log_evidence - logsumexp([f.log_evidence - prior for f in facts], b=1 / 20))
        <= ROUNDING
    )
    draws = np.asarray(posterior.sample(KEY, (4000,))["u"])
    # Six standard errors of means of a mixture of normals: a false alarm in 2e-8 of seeds.
    assert (
        np.abs(draws.mean(0) - posterior.mean["u"])
        <= 6 * np.sqrt(posterior.variance["u"] / 4000) + 1e-12
    ).all()


def test_several_fields_come_back_by_name():
    def program():
        u = numpyro.sample("u", belief())
        flux = numpyro.sample("flux", dist.Normal(0.2, 0.5))
        alone = numpyro.sample("alone", dist.Normal(jnp.zeros(4), 1.0).to_event(1))
        bc.observe("balance", lambda u, flux: MASS(u) + flux, (u, flux), 0.9)
        bc.observe("mean", lambda u: jnp.mean(u), alone, 0.5)

    posterior = bc.conjugate(program)()
    draws = posterior.sample(KEY, (7,))
    assert {name: draw.shape for name, draw in draws.items()} == {
        "u": (7, N),
        "flux": (7,),
        "alone": (7, 4),
    }
    assert np.abs(draws["u"] @ WEIGHTS + draws["flux"] - 0.9).max() <= 1e-12
    spread = WEIGHTS @ KERNEL @ WEIGHTS + 0.25
    residual = 0.9 - WEIGHTS @ MEAN - 0.2
    assert (
        np.abs(posterior.mean["u"] - MEAN - KERNEL @ WEIGHTS * residual / spread).max() <= ROUNDING
    )
    assert abs(posterior.mean["flux"] - 0.2 - 0.25 * residual / spread) <= ROUNDING
    assert abs(posterior.variance["flux"] - 0.25 + 0.25**2 / spread) <= ROUNDING
    assert np.abs(posterior.mean["alone"] - 0.5).max() <= ROUNDING
    evidence = stats.norm.logpdf(residual, 0, np.sqrt(spread)) + stats.norm.logpdf(0.5, 0, 0.5)
    assert abs(posterior.log_evidence - evidence) <= ROUNDING


def test_a_plate_of_fields_is_a_batch():
    totals = jnp.array([0.1, 0.2, 0.3])

    def program():
        with numpyro.plate("fields", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, N)), 0.7).to_event(1))
            bc.observe("mass", lambda u: jnp.asarray(WEIGHTS) @ u, u, totals)

    posterior = bc.conjugate(program)()
    expected = [answer(0.49 * np.eye(N), (MASS, total, 0), mean=np.zeros(N)) for total in totals]
    assert np.abs(posterior.mean["u"] - np.stack([e.mean for e in expected])).max() <= ROUNDING
    assert posterior.sample(KEY, (5,))["u"].shape == (5, 3, N)
    assert abs(posterior.log_evidence - sum(e.log_evidence for e in expected)) <= ROUNDING


def test_a_latent_that_is_fixed_is_no_latent():
    fixed = bc.conjugate(handlers.substitute(hierarchical, data={"tau": jnp.asarray(0.7)}))()
    expected = answer(0.49 * KERNEL, (MASS, 1.5, 0))
    assert fixed.latents == {}
    assert np.abs(fixed.mean["u"] - expected.mean).max() <= ROUNDING
    assert abs(fixed.log_evidence - expected.log_evidence) <= ROUNDING


@pytest.mark.parametrize("draws", [1, 5, 24])
def test_too_few_draws_are_weighted_and_not_smoothed(draws):
    posterior = bc.conjugate(hierarchical, latent_draws=draws, key=KEY)()
    raw = stats.norm.pdf(
        1.5,
        WEIGHTS @ MEAN,
        np.asarray(posterior.latents["tau"]) * np.sqrt(WEIGHTS @ KERNEL @ WEIGHTS),
    )
    assert np.abs(posterior.weights - raw / raw.sum()).max() <= ROUNDING
    assert np.isnan(posterior.pareto_k)


# What has no closed form says so.


def field():
    u = numpyro.sample("u", belief())
    bc.observe("mass", MASS, u, TOTAL)
    return u


REFUSED = {
    "not Gaussian": (
        lambda u: dist.Poisson(jnp.exp(u[1])),
        r"'y' is observed below the field with a Poisson likelihood",
    ),
    "not affine": (lambda u: dist.Normal(u[1] ** 2, 0.1), r"location of 'y' is not affine"),
    "scale from the field": (
        lambda u: dist.Normal(u[1], jnp.exp(u[2])),
        r"\('y'\).*their scale depends on it",
    ),
    "latent between": (
        lambda u: dist.Normal(numpyro.sample("w", dist.Normal(u[0], 1.0)), 0.1),
        r"\('y'\) rest on a latent below",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_likelihood_without_closed_form_sends_to_nuts(why):
    make, message = REFUSED[why]
    with pytest.raises(TypeError, match=message + r".*NUTS.*bc\.exact\(program\)"):
        bc.conjugate(lambda: numpyro.sample("y", make(field()), obs=1.0))()


def test_a_subsampled_likelihood_has_no_closed_form():
    def program():
        u = field()
        with numpyro.plate("data", 10, subsample_size=2):
            numpyro.sample("y", dist.Normal(u[:2], 0.1), obs=jnp.ones(2))

    with pytest.raises(
        TypeError, match=r"'y' stands under a scale or a subsampled plate.*bc\.exact\(program\)"
    ):
        bc.conjugate(program)()


def test_latents_need_a_key():
    with pytest.raises(
        ValueError,
        match=r"latents above its fields \('tau'\): write bc\.conjugate\(program, key=jax\.random\.key\(0\)\)",
    ):
        bc.conjugate(hierarchical)()


def test_rows_that_contradict_for_some_latents_are_refused_with_the_way_to_their_names():
    def program():
        excess = numpyro.sample("excess", dist.Normal(0.0, 1.0))
        u = field()
        bc.observe("total", MASS, u, TOTAL + jnp.maximum(excess, 0.0))

    with pytest.raises(
        bc.InconsistentConstraintsError,
        match=r"for some draws of the latents.*numpyro\.handlers\.substitute",
    ):
        bc.conjugate(program, latent_draws=20, key=KEY)()
    with pytest.raises(bc.InconsistentConstraintsError, match="contradicts"):
        bc.conjugate(handlers.substitute(program, data={"excess": jnp.asarray(1.0)}))()


# Law 11: simulation-based calibration.

SIMULATIONS, LEVELS = 400, 99


def readings_program(total, y, noise):
    u = numpyro.sample("u", belief())
    bc.observe("mass", MASS, u, total)
    numpyro.sample("y", dist.Normal(u[PROBES], noise).to_event(1), obs=y)


def simulate(key):
    """A field from its prior, its total, and noisy readings of it."""
    first, second = jax.random.split(key)
    u = belief().sample(first)
    return u, MASS(u), u[PROBES] + 0.3 * jax.random.normal(second, (2,))


def ranks(draw) -> np.ndarray:
    """Randomised PIT (rank + U) / (S + 1) of u(3/8) - u(6/8) among S posterior draws, over many
    simulated truths.
    """

    def one(key):
        truth, posterior, jitter = jax.random.split(key, 3)
        u, total, y = simulate(truth)
        draws = draw(posterior, total, y)
        below = jnp.sum(draws[:, 3] - draws[:, 6] < u[3] - u[6])
        return (below + jax.random.uniform(jitter)) / (LEVELS + 1)

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), SIMULATIONS)))


def exact_draws(key, total, y, noise=0.3):
    return bc.conjugate(readings_program)(total, y, noise).sample(key, (LEVELS,))["u"]


def uniformity(pit) -> float:
    """The p-value of a Kolmogorov-Smirnov test."""
    return stats.kstest(pit, "uniform").pvalue


def test_the_posterior_is_calibrated():
    assert uniformity(ranks(exact_draws)) > 1e-3  # a false alarm in one seed of a thousand


def test_calibration_notices_readings_that_are_trusted_too_much():
    assert uniformity(ranks(lambda key, total, y: exact_draws(key, total, y, noise=0.1))) < 1e-3


def below_a_vague_latent(scale):
    def program(total):
        m = numpyro.sample("m", dist.Normal(0.0, scale))
        u = numpyro.sample("u", bc.diagonal(jnp.full(5, m), 1.0))
        bc.observe("sum", lambda u: u.sum(), u, total)

    return program


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e6])
def test_below_a_vague_latent_the_posterior_and_the_evidence_are_right(scale):
    """Of 256 draws of so wide a prior one comes nearest, and is far; draws of a proposal are added.
    m, Σ u are jointly Gaussian: E[m | Σ u = b] = 5 s² b / (25 s² + 5).
    """
    posterior = bc.conjugate(below_a_vague_latent(scale), key=jax.random.key(0))(2.0)
    variance = 25 * scale**2 + 5
    mean, spread = 5 * scale**2 * 2 / variance, np.sqrt(scale**2 - 25 * scale**4 / variance)
    assert posterior.pareto_k < 0.7
    assert posterior.effective_draws > 200
    found = float((posterior.weights * posterior.latents["m"]).sum())
    assert abs(found - mean) <= 5 * spread / np.sqrt(posterior.effective_draws)
    evidence = stats.norm.logpdf(2.0, 0, np.sqrt(variance))
    assert abs(posterior.log_evidence - evidence) <= 5 / np.sqrt(posterior.effective_draws)
    assert np.abs(posterior.mean["u"] - 0.4).max() <= 1e-9  # whatever m is


def test_weights_that_no_proposal_mends_are_warned_of():
    """Two discrete values of which the data allow one, and 40 signs: nothing to fit."""

    def program(total):
        signs = numpyro.sample("signs", dist.Bernoulli(0.5).expand([40]).to_event(1))
        u = numpyro.sample("u", bc.diagonal(jnp.full(5, 3.0 * signs.sum()), 1.0))
        bc.observe("sum", lambda u: u.sum(), u, total)

    with pytest.warns(bc.UnreliableWeightsWarning, match=r"Pareto k is .* of 256 draws count"):
        posterior = bc.conjugate(program, key=jax.random.key(0))(0.0)
    assert posterior.pareto_k > 0.7
    with pytest.raises(bc.UnreliableWeightsWarning):
        bc.conjugate(program, key=jax.random.key(0))(0.0)


@pytest.mark.parametrize("seed", range(3))
def test_the_proposal_knows_both_of_two_modes(seed):
    """u ~ N(m², .1) below m ~ N(0, 30²): m = 10 and m = -10 are alike."""

    def program(total):
        m = numpyro.sample("m", dist.Normal(0.0, 30.0))
        u = numpyro.sample("u", bc.diagonal(jnp.full(5, m**2), 0.1))
        bc.observe("sum", lambda u: u.sum(), u, total)

    posterior = bc.conjugate(program, key=jax.random.key(seed))(500.0)
    upper = float(posterior.weights[np.asarray(posterior.latents["m"]) > 0].sum())
    assert abs(upper - 0.5) <= 5 * 0.5 / np.sqrt(posterior.effective_draws)


# --- A posterior as an answer
# -----------------------------------------------------------------------------


def test_quantiles_are_those_of_the_normal_and_of_the_mixture():
    def flat(total):
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), jnp.array([1.0, 2.0, 3.0])))
        bc.observe("sum", lambda u: u.sum(), u, total)

    posterior = bc.conjugate(flat)(2.0)
    sd = np.sqrt(posterior.variance["u"])
    for share in (0.025, 0.5, 0.9):
        expected = posterior.mean["u"] + stats.norm.ppf(share) * sd
        assert np.abs(posterior.quantile(share)["u"] - expected).max() <= ROUNDING
    low, high = posterior.interval(0.9)["u"]
    assert np.abs(high - low - 2 * stats.norm.ppf(0.95) * sd).max() <= ROUNDING

    mixture = bc.conjugate(hierarchical, key=KEY)()
    at, component = np.asarray(mixture.quantile(0.3)["u"]), mixture.components[0]
    means, spreads = np.asarray(component.mean), np.sqrt(np.asarray(component.variance))
    below = np.tensordot(mixture.weights, stats.norm.cdf((at - means) / spreads), axes=1)
    assert np.abs(below - 0.3).max() <= 1e-9
    with pytest.raises(ValueError, match="above 0 and below 1"):
        posterior.quantile(95.0)


def test_a_posterior_goes_into_a_tree_and_into_the_next_program():
    def first():
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
        bc.observe("sum", lambda u: u.sum(), u, 2.0)

    posterior = bc.conjugate(first)()
    tree = posterior.datatree(KEY, 50)
    assert np.abs(tree.posterior["u"].sum("u_dim_0") - 2.0).max() <= 1e-12
    assert tree.attrs["log_evidence"] == float(posterior.log_evidence)

    def second():
        u = numpyro.sample("u", posterior["u"])
        bc.observe("first", lambda u: u[0], u, 0.5)

    mean = bc.conjugate(second)().mean["u"]
    assert np.abs(mean - np.array([0.5, 0.75, 0.75])).max() <= 1e-12
    again = (posterior["u"] | bc.Constraint(bc.functional(lambda u: u[0], (3,)), 0.5)).mean
    assert np.abs(mean - again).max() <= 1e-12


def test_a_posterior_and_a_belief_say_what_they_are():
    posterior = bc.conjugate(hierarchical, key=KEY)()
    assert "Posterior of u" in repr(posterior)
    assert "draws of tau, worth" in repr(posterior)
    belief = bc.diagonal(jnp.arange(3.0), 1.0)
    assert "mean        0 to 2" in repr(belief)


def test_a_scale_of_zero_that_arrives_while_traced_is_an_exact_fact():
    def program(scale):
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
        bc.observe("total", lambda u: u.sum(), u, 1.0, scale=scale)
        bc.observe("first", lambda u: u[0], u, 0.3, scale=0.1)

    def told(scale):
        posterior = bc.conjugate(program)(scale)
        return posterior.mean["u"], posterior.variance["u"], posterior.log_evidence

    for traced, stated in zip(jax.jit(told)(0.0), told(None), strict=True):
        assert np.abs(traced - stated).max() <= 8 * EPS
    tree = bc.sample(program, 0.0, key=0, draws=20)
    assert np.abs(tree.constraints["total_residual"]).max() <= 8 * EPS
