"""Gaussian likelihoods below the fields, absorbed by the closed form: of one field or several, with
correlated noise, with masks, and in programs that state nothing. The oracle is the textbook.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from scipy.linalg import block_diag

import bayescons as bc
from bayescons.programs.collapsed import collapsed
from bayescons.sampling import choose
from tests.structures import textbook

KEY = jax.random.key(0)
ROUNDING = 1e-10
N = 4
RNG = np.random.default_rng(0)
MEAN, ROOT = RNG.normal(size=N), np.tril(RNG.normal(size=(N, N))) + 2 * np.eye(N)
K = ROOT @ ROOT.T
A, B = RNG.normal(size=(3, N)), RNG.normal(size=(3, 2))
Y = RNG.normal(size=3)
NOISE = np.tril(RNG.normal(size=(3, 3)), -1) + np.diag([0.3, 0.4, 0.5])


def field():
    return numpyro.sample("u", dist.MultivariateNormal(MEAN, scale_tril=ROOT))


def right(posterior, expected, *names):
    mean = np.concatenate([np.ravel(posterior.mean[n]) for n in names])
    variance = np.concatenate([np.ravel(posterior.variance[n]) for n in names])
    assert np.abs(mean - expected.mean).max() <= ROUNDING
    assert np.abs(variance - np.diag(expected.covariance)).max() <= ROUNDING
    assert abs(posterior.log_evidence - expected.log_evidence) <= ROUNDING
    return True


def two_fields_in_one():
    u = field()
    v = numpyro.sample("v", dist.Normal(jnp.ones(2), 0.5).to_event(1))
    bc.observe("sum", lambda u: u.sum(), u, 1.0)
    bc.observe("difference", lambda v: v[1] - v[0], v, 0.2)
    numpyro.sample("y", dist.Normal(A @ u + B @ v + 0.3, 0.2).to_event(1), obs=Y)


TWO = textbook(
    np.append(MEAN, np.ones(2)),
    block_diag(K, 0.25 * np.eye(2)),
    np.vstack([[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, -1, 1], np.hstack([A, B])]),
    np.concatenate([[1.0, 0.2], Y - 0.3]),
    np.array([0, 0, 0.04, 0.04, 0.04]),
)


def test_two_fields_in_one_likelihood_are_one_block():
    posterior = bc.conjugate(two_fields_in_one)()
    assert right(posterior, TWO, "u", "v")
    draws = posterior.sample(KEY, 50)
    assert np.abs(draws["u"].sum(-1) - 1.0).max() <= 1e-12
    assert np.abs(draws["v"][:, 1] - draws["v"][:, 0] - 0.2).max() <= 1e-12


def test_collapsing_two_fields_in_one_likelihood_gives_its_evidence():
    with handlers.block(), handlers.seed(rng_seed=0):
        found, _ = numpyro.infer.util.log_density(collapsed(two_fields_in_one), (), {}, {})
    assert abs(found - TWO.log_evidence) <= ROUNDING
    tree = bc.sample(two_fields_in_one, key=0, draws=20)
    assert tree.attrs["chosen"] == "conjugate"
    assert np.abs(tree.posterior["u"].sum("u_dim_0") - 1.0).max() <= 1e-12


def test_groups_with_a_likelihood_each_stay_apart():
    def program():
        u = field()
        v = numpyro.sample("v", dist.Normal(jnp.ones(2), 0.5).to_event(1))
        bc.observe("sum", lambda u: u.sum(), u, 1.0)
        bc.observe("difference", lambda v: v[1] - v[0], v, 0.2)
        numpyro.sample("y", dist.Normal(A @ u, 0.2).to_event(1), obs=Y)
        numpyro.sample("z", dist.Normal(v, 0.1).to_event(1), obs=jnp.array([0.9, 1.2]))

    posterior = bc.conjugate(program)()
    of_u = textbook(
        MEAN, K, np.vstack([np.ones(N), A]), np.append(1.0, Y), np.array([0, 0.04, 0.04, 0.04])
    )
    of_v = textbook(
        np.ones(2),
        0.25 * np.eye(2),
        np.array([[-1, 1], [1, 0], [0, 1]]),
        np.array([0.2, 0.9, 1.2]),
        np.array([0, 0.01, 0.01]),
    )
    assert np.abs(posterior["u"].mean - of_u.mean).max() <= ROUNDING
    assert np.abs(posterior["v"].mean - of_v.mean).max() <= ROUNDING
    total = of_u.log_evidence + of_v.log_evidence
    assert abs(posterior.log_evidence - total) <= ROUNDING


def test_correlated_noise_is_absorbed():
    def program():
        u = field()
        bc.observe("sum", lambda u: u.sum(), u, 1.0)
        numpyro.sample("y", dist.MultivariateNormal(A @ u, scale_tril=NOISE), obs=Y)

    whitened = np.linalg.inv(NOISE)
    expected = textbook(
        MEAN,
        K,
        np.vstack([np.ones(N), whitened @ A]),
        np.append(1.0, whitened @ Y),
        np.array([0.0, 1, 1, 1]),
    )
    log_det = np.log(np.diag(NOISE)).sum()
    expected = expected._replace(log_evidence=expected.log_evidence - log_det)
    assert right(bc.conjugate(program)(), expected, "u")


@pytest.mark.parametrize("where", ["plate", "event"])
def test_what_a_mask_hides_was_not_observed(where):
    mask, y = np.array([True, False, True]), np.array([0.3, np.nan, -0.2])

    def program():
        u = field()
        bc.observe("sum", lambda u: u.sum(), u, 1.0)
        if where == "plate":
            with numpyro.plate("n", 3), handlers.mask(mask=jnp.asarray(mask)):
                numpyro.sample("y", dist.Normal(A @ u, 0.2), obs=jnp.asarray(y))
        else:
            likelihood = dist.Normal(A @ u, 0.2).mask(jnp.asarray(mask)).to_event(1)
            numpyro.sample("y", likelihood, obs=jnp.asarray(y))

    expected = textbook(
        MEAN,
        K,
        np.vstack([np.ones(N), A[mask]]),
        np.append(1.0, y[mask]),
        np.array([0, 0.04, 0.04]),
    )
    assert right(bc.conjugate(program)(), expected, "u")


def test_a_program_that_states_nothing_is_read_by_its_likelihoods():
    def program(y):
        u = field()
        numpyro.sample("y", dist.Normal(A @ u, 0.2).to_event(1), obs=y)

    expected = textbook(MEAN, K, A, Y, np.full(3, 0.04))
    assert right(bc.conjugate(program)(Y), expected, "u")


def test_what_stands_above_the_field_of_a_program_without_statements_is_a_latent():
    """m ~ N(0, 1), u ~ N(m, .5²), y ~ N(u, .2²): E[m | y] in closed form."""

    def program(y):
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        with numpyro.plate("n", 3):
            u = numpyro.sample("u", dist.Normal(m, 0.5))
            numpyro.sample("y", dist.Normal(u, 0.2), obs=y)

    posterior = bc.conjugate(program, key=KEY, latent_draws=4000)(Y)
    covariance = np.ones((3, 3)) + 0.25 * np.eye(3)
    expected = textbook(np.zeros(3), covariance, np.eye(3), Y, np.full(3, 0.04))
    mean = np.ones(3) @ np.linalg.solve(covariance + 0.04 * np.eye(3), Y)
    error = 5 / np.sqrt(posterior.effective_draws)
    assert abs(float((posterior.weights * posterior.latents["m"]).sum()) - mean) <= error
    assert np.abs(posterior.mean["u"] - expected.mean).max() <= error
    assert abs(posterior.log_evidence - expected.log_evidence) <= error


@pytest.mark.parametrize(
    "likelihood", [lambda u: dist.StudentT(3.0, u, 0.2), lambda u: dist.Normal(u**2, 0.2)]
)
def test_what_is_no_gaussian_likelihood_has_no_closed_form(likelihood):
    def program():
        u = numpyro.sample("u", dist.Normal(jnp.zeros(3), 1.0).to_event(1))
        numpyro.sample("y", likelihood(u).to_event(1), obs=Y)

    with pytest.raises(TypeError, match="no closed form"):
        bc.conjugate(program)()


def test_a_program_of_nothing_but_latents_says_that_nothing_is_stated():
    with pytest.raises(ValueError, match="states nothing about any field"):
        bc.conjugate(lambda: numpyro.sample("u", dist.Normal(0.0, 1.0)))()


@pytest.mark.parametrize(
    "likelihood",
    [
        lambda u: dist.MultivariateNormal(u, jnp.eye(3) * jnp.exp(u[0])),
        lambda u: dist.MultivariateNormal(u, scale_tril=jnp.eye(3) * jnp.exp(u[0])),
        lambda u: dist.Normal(u, 0.1).mask(u > 0).to_event(1),
        lambda u: dist.Normal(u, jnp.exp(u)).mask(jnp.ones(3, bool)).to_event(1),
    ],
    ids=["covariance", "root", "mask", "scale under a mask"],
)
def test_noise_that_rests_on_the_field_has_no_closed_form(likelihood):
    """It would be taken where the field's mean is."""

    def program():
        u = numpyro.sample("u", dist.Normal(jnp.zeros(3), 1.0).to_event(1))
        bc.observe("sum", lambda u: u.sum(), u, 1.0)
        numpyro.sample("y", likelihood(u), obs=Y)

    with pytest.raises(TypeError, match="their scale depends on it"):
        bc.conjugate(program)()
    assert choose(program).sampler == "nuts"
