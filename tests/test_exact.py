"""Laws of the exact reading: the rewritten program is white noise, the closed form as a map of it,
and the evidence. Samplers agree.
"""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO
from numpyro.infer.autoguide import AutoDelta, AutoLaplaceApproximation
from numpyro.infer.util import initialize_model
from scipy import stats

import bayescons as bc
from tests.readings import (
    EPS,
    GRID,
    KERNEL,
    MASS,
    MEAN,
    ROUNDING,
    WALL,
    N,
    agree,
    answer,
    log_joint,
    log_normal,
    push_forward,
    row,
    sites,
)

TOTAL, WALL_VALUE = 0.4, 0.3
READINGS = jnp.array([0.9, -0.2])
PROBES = np.array([3, 6])
FACTOR = np.stack([np.cos(GRID["x"]), GRID["x"] ** 2], axis=-1)
SCALE = 0.5 + 0.2 * GRID["x"]
PLANE = bc.Grid(t=np.linspace(0, 1, 3), x=np.linspace(0, 1, 4))
WEIGHTS = row(MASS)[0]
ALONG_T, ALONG_X = (
    np.exp(-np.abs(np.subtract.outer(PLANE["t"], PLANE["t"]))),
    np.exp(-np.abs(np.subtract.outer(PLANE["x"], PLANE["x"]))),
)


def linear(total, readings=READINGS):
    """A Gaussian field, two exact facts, two noisy readings below."""
    u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), jitter=0.0))
    bc.observe("mass", MASS, u, total)
    bc.observe("wall", WALL, u, WALL_VALUE)
    numpyro.sample("y", dist.Normal(u[PROBES], 0.2).to_event(1), obs=readings)
    return u


LINEAR = answer(
    KERNEL, (MASS, TOTAL, 0), (WALL, WALL_VALUE, 0), (lambda u: u[PROBES], READINGS, 0.2)
)
# What the facts say without the readings: the law of the exact program's field before its
# likelihood.
FACTS = answer(KERNEL, (MASS, TOTAL, 0), (WALL, WALL_VALUE, 0))


def hierarchical(total, state=bc.observe):
    """A field of unknown amplitude."""
    tau = numpyro.sample("tau", dist.LogNormal(0.0, 0.5))
    u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), scale=tau, jitter=0.0))
    state("mass", MASS, u, total)


def amplitude(total) -> stats.rv_histogram:
    """p(τ | total) ∝ LogNormal(τ; 0, .5) N(total; G m, τ² G K G'), by quadrature over τ."""
    edges = np.exp(np.linspace(-3.5, 3.5, 4001))
    centres = np.sqrt(edges[1:] * edges[:-1])
    density = stats.lognorm.pdf(centres, 0.5) * stats.norm.pdf(
        total, WEIGHTS @ MEAN, centres * np.sqrt(WEIGHTS @ KERNEL @ WEIGHTS)
    )
    return stats.rv_histogram((density, edges), density=True)


@pytest.fixture(scope="module")
def nuts():
    """Draws (chain, draw, ...) of the linear program by NumPyro's NUTS, two chains at once."""
    mcmc = MCMC(
        NUTS(bc.exact(linear)),
        num_warmup=200,
        num_samples=500,
        num_chains=2,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.key(0), TOTAL, extra_fields=("num_steps",))
    return mcmc.get_samples(group_by_chain=True) | mcmc.get_extra_fields(group_by_chain=True)


@pytest.fixture(scope="module")
def blackjax_nuts():
    """Draws of the linear program by BlackJAX's NUTS from the log density that NumPyro gives, two
    chains under vmap.
    """
    info = initialize_model(
        jax.random.split(jax.random.key(1), 2), bc.exact(linear), model_args=(TOTAL,)
    )

    def log_density(z):
        return -info.potential_fn(z)

    def chain(key, start):
        warm, run = jax.random.split(key)
        (state, parameters), _ = blackjax.window_adaptation(blackjax.nuts, log_density).run(
            warm, start, num_steps=200
        )
        sampler = blackjax.nuts(log_density, **parameters)
        return blackjax.util.run_inference_algorithm(
            run, sampler, 500, initial_state=state, transform=lambda s, _: s.position
        )[1]

    draws = jax.jit(jax.vmap(chain))(jax.random.split(jax.random.key(2), 2), info.param_info.z)
    return jax.vmap(jax.vmap(info.postprocess_fn))(draws)


@pytest.fixture(scope="module")
def amplitudes():
    """Draws of the amplitude by NUTS, learnt from the total (observe) and not (impose)."""
    draws = {}
    for state in (bc.observe, bc.impose):
        mcmc = MCMC(
            NUTS(bc.exact(hierarchical)),
            num_warmup=300,
            num_samples=1000,
            num_chains=2,
            chain_method="vectorized",
            progress_bar=False,
        )
        mcmc.run(jax.random.key(3), 1.5, state)
        draws[state] = mcmc.get_samples(group_by_chain=True)
    return draws


# Law 9: samplers and the closed form agree.


@pytest.mark.parametrize("sampler", ["nuts", "blackjax_nuts"])
def test_samplers_agree_with_the_closed_form(sampler, request):
    u = np.asarray(request.getfixturevalue(sampler)["u"])
    assert agree(u, LINEAR.mean)
    assert agree((u - LINEAR.mean) ** 2, np.diag(LINEAR.covariance))
    other = row(lambda u: u[4] - u[7])[0]
    assert agree(
        (u - LINEAR.mean) @ other * (u[..., 4] - LINEAR.mean[4]), (LINEAR.covariance @ other)[4]
    )


@pytest.mark.parametrize("sampler", ["nuts", "blackjax_nuts"])
def test_exact_facts_hold_in_every_draw(sampler, request):
    u = np.asarray(request.getfixturevalue(sampler)["u"])
    assert np.abs(u @ WEIGHTS - TOTAL).max() <= 1e-12 * TOTAL
    assert np.abs(u[..., 0] - WALL_VALUE).max() <= 1e-12 * WALL_VALUE


def test_the_exact_program_is_not_stiff(nuts):
    # White noise under two readings: a trajectory is a few steps, where the soft program at 1e-2
    # takes dozens and at 1e-4 hundreds.
    assert np.mean(nuts["num_steps"]) < 16


@pytest.mark.broadcasts  # NumPyro's choice of a starting point
def test_the_laplace_approximation_of_white_noise_is_white():
    def facts():
        u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), jitter=0.0))
        bc.observe("mass", MASS, u, TOTAL)

    guide = AutoLaplaceApproximation(bc.exact(facts))
    svi = SVI(bc.exact(facts), guide, numpyro.optim.Minimize(), Trace_ELBO())
    result = svi.run(jax.random.key(0), 1, progress_bar=False)
    posterior = guide.get_posterior(result.params)
    # BFGS stops at a gradient of 1e-5, which is the distance of z from the mode; the Hessian is the
    # identity everywhere.
    assert np.abs(posterior.mean).max() <= 1e-5
    assert np.abs(posterior.covariance_matrix - np.eye(N)).max() <= ROUNDING


def test_prior_predictive_draws_obey_the_law():
    drawn = Predictive(bc.exact(linear), num_samples=50)(jax.random.key(4), TOTAL, None)
    assert np.abs(drawn["u"] @ WEIGHTS - TOTAL).max() <= 1e-12
    assert drawn["y"].shape == (50, 2)
    assert np.ptp(np.asarray(drawn["y"]), axis=0).min() > 0.5


def test_posterior_predictive_reproduces_the_field(nuts):
    free = {"u_free": nuts["u_free"][0, :20]}
    drawn = Predictive(bc.exact(linear), posterior_samples=free, return_sites=["u", "y"])(
        jax.random.key(5), TOTAL, None
    )
    assert np.abs(drawn["u"] - nuts["u"][0, :20]).max() <= ROUNDING


# Law 10: what the evidence does to latents above the field.


def test_the_amplitude_learns_from_what_is_observed(amplitudes):
    posterior, tau = amplitude(1.5), amplitudes[bc.observe]["tau"]
    assert agree(tau, posterior.mean())
    assert agree(tau**2, posterior.moment(2))
    assert agree(tau < posterior.median(), 0.5)
    assert abs(posterior.mean() - stats.lognorm.mean(0.5)) > 0.1  # the test has something to see


def test_the_amplitude_keeps_its_prior_under_what_is_imposed(amplitudes):
    prior, tau = stats.lognorm(0.5), amplitudes[bc.impose]["tau"]
    assert agree(tau, prior.mean())
    assert agree(np.log(tau) ** 2, 0.25)
    assert agree(tau < 1, 0.5)


@pytest.mark.parametrize("state", [bc.observe, bc.impose])
def test_laws_hold_in_every_draw_of_a_hierarchical_program(amplitudes, state):
    draws = amplitudes[state]
    assert np.abs(draws["u"] @ WEIGHTS - 1.5).max() <= 1e-12 * 1.5
    assert np.max(draws["u_gap"]) <= ROUNDING


# What the rewritten program is, without a sampler.


def test_the_log_density_is_white_noise_evidence_and_the_rest():
    z = np.random.default_rng(0).normal(size=N)
    likelihood = stats.norm.logpdf(
        READINGS, sites(bc.exact(linear), TOTAL, given={"u_free": z})["u"][PROBES], 0.2
    ).sum()
    expected = log_normal(z) + FACTS.log_evidence + likelihood
    assert abs(log_joint(bc.exact(linear), TOTAL, u_free=z) - expected) <= ROUNDING * abs(expected)


def test_the_field_is_an_affine_map_of_white_noise_with_the_posterior_for_its_law():
    mean, covariance = push_forward(bc.exact(linear), TOTAL)
    assert np.abs(mean - FACTS.mean).max() <= ROUNDING
    assert np.abs(covariance - FACTS.covariance).max() <= ROUNDING


def test_the_sites_are_those_of_the_program_and_those_promised():
    assert set(sites(bc.exact(linear), TOTAL)) == {"u_free", "u_evidence", "u", "y"}
    assert set(sites(bc.exact(hierarchical), 1.5)) == {"tau", "u_free", "u_evidence", "u_gap", "u"}
    assert set(sites(bc.exact(hierarchical), 1.5, bc.impose)) == {"tau", "u_free", "u_gap", "u"}


def test_arguments_and_the_return_value_pass_through():
    model = handlers.seed(handlers.substitute(bc.exact(linear), data={"u_free": jnp.zeros(N)}), 0)
    assert np.abs(model(total=TOTAL, readings=None) - FACTS.mean).max() <= ROUNDING
    assert bc.exact(linear).__doc__ == linear.__doc__


def test_deterministic_sites_are_recorded_once_and_see_the_corrected_field():
    def program():
        tau = numpyro.sample("tau", dist.LogNormal(0.0, 0.5))
        numpyro.deterministic("variance", tau**2)
        u = numpyro.sample("u", dist.Normal(jnp.zeros(N), tau).to_event(1))
        before = numpyro.deterministic("before", MASS(u))
        bc.observe("mass", MASS, u, TOTAL)
        return before, numpyro.deterministic("after", MASS(u))

    trace = handlers.trace(handlers.seed(bc.exact(program), 0)).get_trace()
    assert [name for name in trace if trace[name]["type"] == "deterministic"] == [
        "u_gap",
        "u",
        "variance",
        "before",
        "after",
    ]
    for name in ("before", "after"):
        assert abs(trace[name]["value"] - TOTAL) <= 1e-12
    assert trace["variance"]["value"] == trace["tau"]["value"] ** 2


def test_statements_may_stand_before_or_after_other_latents():
    def program(order):
        tau = numpyro.sample("tau", dist.LogNormal(0.0, 0.5))
        u = numpyro.sample("u", dist.Normal(jnp.zeros(N), tau).to_event(1))
        steps = {
            "state": lambda: bc.observe("mass", MASS, u, TOTAL),
            "aside": lambda: numpyro.sample("aside", dist.Normal(tau, 1.0)),
            "below": lambda: numpyro.sample("below", dist.Normal(u[2], 1.0)),
            "likelihood": lambda: numpyro.sample(
                "y", dist.Normal(u[PROBES], 0.2).to_event(1), obs=READINGS
            ),
        }
        for step in order:
            steps[step]()

    values = {
        "tau": 0.8,
        "aside": 0.1,
        "below": -0.3,
        "u_free": np.random.default_rng(1).normal(size=N),
    }
    orders = [
        ("state", "aside", "below", "likelihood"),
        ("likelihood", "below", "aside", "state"),
        ("aside", "below", "state", "likelihood"),
    ]
    densities = [log_joint(bc.exact(program), order, **values) for order in orders]
    assert np.ptp(densities) <= ROUNDING * abs(densities[0])
    posterior = answer(0.64 * np.eye(N), (MASS, TOTAL, 0), mean=np.zeros(N))
    u = sites(bc.exact(program), orders[0], given=values)["u"]
    rest = (
        stats.lognorm.logpdf(0.8, 0.5)
        + stats.norm.logpdf([0.1, -0.3], [0.8, u[2]]).sum()
        + stats.norm.logpdf(READINGS, u[PROBES], 0.2).sum()
    )
    expected = log_normal(values["u_free"]) + posterior.log_evidence + rest
    assert abs(densities[0] - expected) <= ROUNDING * abs(expected)


def test_a_value_may_be_a_latent_above_the_field():
    def program():
        total = numpyro.sample("total", dist.Normal(2.0, 0.5))
        u = numpyro.sample("u", dist.MultivariateNormal(jnp.asarray(MEAN), jnp.asarray(KERNEL)))
        bc.observe("mass", MASS, u, total)

    own, spread = WEIGHTS @ MEAN, WEIGHTS @ KERNEL @ WEIGHTS
    precision = 1 / 0.25 + 1 / spread
    density = jax.jit(lambda total: log_joint(bc.exact(program), total=total, u_free=jnp.zeros(N)))
    # log N(total; 2, .5²) + log N(total; G m, G K G') is a parabola with this curvature and top.
    assert abs(jax.grad(jax.grad(density))(1.0) + precision) <= ROUNDING * precision
    assert abs(jax.grad(density)((2.0 / 0.25 + own / spread) / precision)) <= ROUNDING * precision


def test_a_functional_may_close_over_a_latent_above_the_field():
    def program():
        ratio = numpyro.sample("ratio", dist.Normal(1.0, 0.3))
        u = numpyro.sample("u", dist.MultivariateNormal(jnp.asarray(MEAN), jnp.asarray(KERNEL)))
        bc.observe("ends", lambda u: ratio * u[0] - u[-1] + 1.0, u, 0.5)

    z = np.random.default_rng(2).normal(size=N)
    density = jax.jit(lambda ratio: log_joint(bc.exact(program), ratio=ratio, u_free=z))
    for ratio in (0.7, 1.2):
        facts = answer(KERNEL, (lambda u, ratio=ratio: ratio * u[0] - u[-1], -0.5, 0))
        expected = log_normal(z) + stats.norm.logpdf(ratio, 1.0, 0.3) + facts.log_evidence
        assert abs(density(ratio) - expected) <= ROUNDING * abs(expected)
        mean, covariance = push_forward(bc.exact(program), given={"ratio": jnp.asarray(ratio)})
        assert np.abs(mean - facts.mean).max() <= ROUNDING
        assert np.abs(covariance - facts.covariance).max() <= ROUNDING
    step = 1e-5  # central differences of a function whose third derivative is of order 1e2
    slope = (density(0.7 + step) - density(0.7 - step)) / (2 * step)
    assert abs(jax.grad(density)(0.7) - slope) <= 1e-6 * abs(slope)


FIELDS = {
    "Normal, to_event": (lambda: dist.Normal(MEAN, SCALE).to_event(1), MEAN, np.diag(SCALE**2)),
    "Normal, no to_event": (lambda: dist.Normal(MEAN, SCALE), MEAN, np.diag(SCALE**2)),
    "Normal, expanded": (
        lambda: dist.Normal(0.2, 0.7).expand([N]).to_event(1),
        np.full(N, 0.2),
        0.49 * np.eye(N),
    ),
    "MultivariateNormal": (lambda: dist.MultivariateNormal(MEAN, KERNEL), MEAN, KERNEL),
    "MultivariateNormal, scalar mean": (
        lambda: dist.MultivariateNormal(0.1, KERNEL),
        np.full(N, 0.1),
        KERNEL,
    ),
    "LowRankMultivariateNormal": (
        lambda: dist.LowRankMultivariateNormal(
            jnp.asarray(MEAN), jnp.asarray(FACTOR), jnp.asarray(SCALE)
        ),
        MEAN,
        FACTOR @ FACTOR.T + np.diag(SCALE),
    ),
    "bc.diagonal": (lambda: bc.diagonal(MEAN, SCALE), MEAN, np.diag(SCALE**2)),
    "bc.low_rank": (
        lambda: bc.low_rank(MEAN, SCALE, FACTOR),
        MEAN,
        FACTOR @ FACTOR.T + np.diag(SCALE**2),
    ),
    "bc.kronecker": (
        lambda: bc.kronecker(MEAN, (KERNEL,), scale=1.3, jitter=0.0),
        MEAN,
        1.69 * KERNEL,
    ),
    "bc.dense": (lambda: bc.dense(MEAN, KERNEL, jitter=0.0), MEAN, KERNEL),
}


# Of NumPyro's distributions some broadcast across ranks inside.
@pytest.mark.broadcasts
@pytest.mark.parametrize("field", FIELDS)
def test_every_gaussian_may_be_the_field(field):
    make, mean, covariance = FIELDS[field]

    def program():
        u = numpyro.sample("u", make())
        bc.observe("mass", MASS, u, TOTAL)

    expected = answer(covariance, (MASS, TOTAL, 0), mean=mean)
    drawn, spread = push_forward(bc.exact(program))
    assert np.abs(drawn - expected.mean).max() <= ROUNDING
    assert np.abs(spread - expected.covariance).max() <= ROUNDING
    z = jnp.zeros(sites(bc.exact(program))["u_free"].shape)
    assert (
        abs(log_joint(bc.exact(program), u_free=z) - log_normal(z) - expected.log_evidence)
        <= ROUNDING * N
    )


PLANES = {
    "Normal": (lambda mean: dist.Normal(mean, 0.8).to_event(2), 0.64 * np.eye(12)),
    "MatrixNormal": (
        lambda mean: dist.MatrixNormal(
            mean, jnp.linalg.cholesky(ALONG_T), jnp.linalg.cholesky(ALONG_X)
        ),
        np.kron(ALONG_T, ALONG_X),
    ),
    "bc.kronecker": (
        lambda mean: bc.kronecker(mean, (None, ALONG_X), jitter=0.0),
        np.kron(np.eye(3), ALONG_X),
    ),
    "conditioned before": (
        lambda mean: bc.diagonal(mean, 0.8) | bc.Constraint(bc.dirichlet(PLANE, "x", "upper"), 0.1),
        np.diag(np.where(np.arange(12) % 4 == 3, 0, 0.64)),
    ),
}


@pytest.mark.parametrize("field", PLANES)
def test_fields_of_two_axes_carry_a_total_for_every_time(field):
    make, covariance = PLANES[field]
    mean, totals, mass = (
        jnp.linspace(0, 1, 12).reshape(3, 4),
        jnp.array([0.2, 0.5, 0.4]),
        bc.integral(PLANE, over="x"),
    )

    def program():
        u = numpyro.sample("u", make(mean))
        bc.observe("mass", mass, u, totals)

    center = mean.at[:, 3].set(0.1) if field == "conditioned before" else mean
    expected = answer(
        covariance, (lambda u: mass(u.reshape(3, 4)), totals, 0), mean=np.ravel(center)
    )
    drawn, spread = push_forward(bc.exact(program))
    assert np.abs(drawn - expected.mean).max() <= ROUNDING
    assert np.abs(spread - expected.covariance).max() <= ROUNDING
    z = jnp.zeros(sites(bc.exact(program))["u_free"].shape)
    assert (
        abs(log_joint(bc.exact(program), u_free=z) - log_normal(z) - expected.log_evidence)
        <= ROUNDING * 12
    )


@pytest.mark.parametrize(
    ("event", "inside"),
    [(True, True), (True, False), (False, True)],
    ids=["", "stated outside", "no to_event"],
)
@pytest.mark.parametrize(
    "functional", [MASS, lambda u: u @ jnp.asarray(WEIGHTS)], ids=["functional", "function"]
)
def test_every_field_of_a_plate_obeys_its_own_fact(functional, event, inside):
    totals = jnp.array([0.1, 0.2, 0.3])

    def program():
        prior = dist.Normal(jnp.broadcast_to(MEAN, (3, N)), 0.7)
        plate = numpyro.plate("fields", 3, dim=-1 if event else -2)
        with plate:
            u = numpyro.sample("u", prior.to_event(1) if event else prior)
            if inside:
                bc.observe("mass", functional, u, totals)
        if not inside:
            bc.observe("mass", functional, u, totals)

    drawn, spread = push_forward(bc.exact(program))
    expected = [answer(0.49 * np.eye(N), (MASS, total, 0)) for total in totals]
    assert np.abs(drawn - np.concatenate([e.mean for e in expected])).max() <= ROUNDING
    assert np.abs(spread - np.kron(np.eye(3), expected[0].covariance)).max() <= ROUNDING
    z = jnp.zeros(3 * N)
    evidence = sum(e.log_evidence for e in expected)
    assert (
        abs(log_joint(bc.exact(program), u_free=z) - log_normal(z) - evidence) <= ROUNDING * 3 * N
    )


def test_a_plate_of_fields_is_sampled_by_nuts():
    totals = jnp.array([0.1, 0.2, 0.3])

    def program():
        with numpyro.plate("fields", 3):
            u = numpyro.sample("u", dist.Normal(jnp.broadcast_to(MEAN, (3, N)), 0.7).to_event(1))
            bc.observe("mass", MASS, u, totals)

    mcmc = MCMC(NUTS(bc.exact(program)), num_warmup=100, num_samples=200, progress_bar=False)
    mcmc.run(jax.random.key(6))
    u = mcmc.get_samples(group_by_chain=True)["u"]
    assert np.abs(u @ WEIGHTS - totals[None, None]).max() <= 1e-12
    assert agree(u, np.stack([answer(0.49 * np.eye(N), (MASS, total, 0)).mean for total in totals]))


def rod():
    """A field and the flux through its end, tied by a balance; another field on its own."""
    u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), jitter=0.0))
    flux = numpyro.sample("flux", dist.Normal(0.2, 0.5))
    alone = numpyro.sample("alone", dist.Normal(jnp.zeros(4), 1.0).to_event(1))
    bc.observe("wall", WALL, u, WALL_VALUE)
    bc.observe("balance", lambda u, flux: MASS(u) + flux, (u, flux), 0.9)
    bc.observe("mean", lambda u: jnp.mean(u), alone, 0.5)
    return u, flux


def test_fields_tied_by_a_statement_are_one_gaussian():
    joint = np.block([[KERNEL, np.zeros((N, 1))], [np.zeros((1, N)), np.full((1, 1), 0.25)]])
    facts = [
        (lambda v: v[0], WALL_VALUE, 0),
        (lambda v: jnp.asarray(WEIGHTS) @ v[:N] + v[N], 0.9, 0),
    ]
    expected = answer(joint, *facts, mean=np.append(MEAN, 0.2))
    values = sites(bc.exact(rod))
    assert set(values) == {
        "u_flux_free",
        "alone_free",
        "u_flux_evidence",
        "alone_evidence",
        "u",
        "flux",
        "alone",
    }
    assert values["u"].shape == (N,)
    assert values["flux"].shape == ()

    def both():
        numpyro.deterministic("both", jnp.append(*bc.exact(rod)()))

    mean, covariance = push_forward(
        both, free="u_flux_free", field="both", given={"alone_free": jnp.zeros(4)}
    )
    assert np.abs(mean - expected.mean).max() <= ROUNDING
    assert np.abs(covariance - expected.covariance).max() <= ROUNDING
    density = log_joint(bc.exact(rod), u_flux_free=jnp.zeros(N + 1), alone_free=jnp.zeros(4))
    own = stats.norm.logpdf(0.5, 0, 0.5)
    assert abs(density - log_normal(np.zeros(N + 5)) - expected.log_evidence - own) <= ROUNDING * N


def test_a_quadrature_scale_inside_a_program_is_that_of_the_prior():
    belief = bc.diagonal(MEAN, SCALE)

    def program():
        bc.observe("mass", MASS, numpyro.sample("u", belief), TOTAL, scale="quadrature")

    scale = float(bc.quadrature_scale(belief, MASS))
    expected = answer(np.diag(SCALE**2), (MASS, TOTAL, scale))
    mean, covariance = push_forward(bc.exact(program))
    assert scale > 0.01
    assert np.abs(mean - expected.mean).max() <= ROUNDING
    assert np.abs(covariance - expected.covariance).max() <= ROUNDING


def test_what_is_imposed_defines_the_prior_of_what_is_observed():
    def program():
        tau = numpyro.sample("tau", dist.LogNormal(0.0, 0.5))
        u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), scale=tau, jitter=0.0))
        bc.observe("mass", MASS, u, TOTAL)
        bc.impose("wall", WALL, u, WALL_VALUE)

    for tau in (0.6, 1.4):
        both = answer(tau**2 * KERNEL, (WALL, WALL_VALUE, 0), (MASS, TOTAL, 0))
        wall = answer(tau**2 * KERNEL, (WALL, WALL_VALUE, 0))
        density = log_joint(bc.exact(program), tau=tau, u_free=jnp.zeros(N))
        expected = (
            log_normal(np.zeros(N))
            + stats.lognorm.logpdf(tau, 0.5)
            + both.log_evidence
            - wall.log_evidence
        )
        assert abs(density - expected) <= ROUNDING * abs(expected)
        mean, covariance = push_forward(bc.exact(program), given={"tau": jnp.asarray(tau)})
        assert np.abs(mean - both.mean).max() <= ROUNDING
        assert np.abs(covariance - both.covariance).max() <= ROUNDING


@pytest.mark.broadcasts  # NumPyro's choice of a starting point
def test_parameters_are_learnt_by_svi_from_the_evidence():
    def program():
        scale = numpyro.param("scale", 1.0, constraint=dist.constraints.positive)
        u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), scale=scale, jitter=0.0))
        bc.observe("mass", MASS, u, 1.5)

    svi = SVI(
        bc.exact(program), AutoDelta(bc.exact(program)), numpyro.optim.Minimize(), Trace_ELBO()
    )
    result = svi.run(jax.random.key(7), 1, progress_bar=False)
    likeliest = abs(1.5 - WEIGHTS @ MEAN) / np.sqrt(WEIGHTS @ KERNEL @ WEIGHTS)
    # The gradient at which BFGS stops, 1e-5, over a curvature of about 2 in log scale.
    assert abs(result.params["scale"] - likeliest) <= 1e-4 * likeliest


def test_a_density_is_traced_once_whatever_the_values():
    traced = []

    def program(total):
        traced.append(1)
        hierarchical(total)

    density = jax.jit(lambda tau, z, total: log_joint(bc.exact(program), total, tau=tau, u_free=z))
    density(0.8, jnp.zeros(N), 1.5)
    first = len(traced)
    changed = density(1.1, jnp.ones(N), 1.2)
    assert len(traced) == first
    assert abs(
        changed - log_joint(bc.exact(hierarchical), 1.2, tau=1.1, u_free=jnp.ones(N))
    ) <= ROUNDING * abs(changed)


def test_rows_that_contradict_for_some_latents_only_show_a_gap():
    def program():
        excess = numpyro.sample("excess", dist.Normal(0.0, 1.0))
        u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 2.0).to_event(1))
        bc.observe("wall", WALL, u, WALL_VALUE)
        bc.observe("corner", lambda u: u[0], u, WALL_VALUE + jnp.maximum(excess, 0.0))

    gap = jax.jit(lambda excess: sites(bc.exact(program), given={"excess": excess})["u_gap"])
    assert gap(-0.5) <= ROUNDING
    # The contradiction, in prior standard deviations; either row may be the one that holds.
    assert abs(gap(0.5) - 0.5 / 2) <= ROUNDING


def test_counts_below_an_exact_field_are_sampled_as_quadrature_has_it():
    weights = jnp.array([0.25, 0.5, 0.25])
    counts = np.array([3, 5])

    def program():
        u = numpyro.sample("u", dist.Normal(jnp.zeros(3), 1.0).to_event(1))
        bc.observe("total", lambda u: weights @ u, u, 0.5)
        numpyro.sample("y", dist.Poisson(jnp.exp(u[1])).expand([2]).to_event(1), obs=counts)

    facts = answer(np.eye(3), (lambda u: weights @ u, 0.5, 0), mean=np.zeros(3))
    spread = np.sqrt(facts.covariance[1, 1])
    middle = np.linspace(-8, 8, 4001) * spread + facts.mean[1]
    density = stats.norm.pdf(middle, facts.mean[1], spread) * stats.poisson.pmf(
        counts[:, None], np.exp(middle)
    ).prod(0)
    density /= density.sum()
    mean, second = density @ middle, density @ middle**2
    mcmc = MCMC(
        NUTS(bc.exact(program)),
        num_warmup=200,
        num_samples=1000,
        num_chains=2,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.key(8))
    u = mcmc.get_samples(group_by_chain=True)["u"]
    assert np.abs(u @ weights - 0.5).max() <= 1e-12
    assert agree(u[..., 1], mean)
    assert agree(u[..., 1] ** 2, second)
    slope = facts.covariance[0, 1] / facts.covariance[1, 1]
    assert agree(u[..., 0], facts.mean[0] + slope * (mean - facts.mean[1]))


def test_discrete_and_constrained_latents_below_do_not_disturb_what_is_above():
    def program():
        tau = numpyro.sample("tau", dist.LogNormal(0.0, 0.5))
        u = numpyro.sample("u", dist.Normal(jnp.zeros(N), tau).to_event(1))
        bc.observe("mass", MASS, u, TOTAL)
        numpyro.sample("kind", dist.Categorical(logits=u[:3]))
        numpyro.sample("share", dist.Dirichlet(jnp.exp(u[:3])))
        numpyro.sample("count", dist.Poisson(jnp.exp(u[0])))
        numpyro.factor("bonus", -(u[1] ** 2))

    values = sites(bc.exact(program))
    assert abs(MASS(values["u"]) - TOTAL) <= 1e-12
    assert {"kind", "share", "count", "bonus"} <= set(values)
    assert abs(values["share"].sum() - 1) <= 10 * EPS
