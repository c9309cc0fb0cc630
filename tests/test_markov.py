"""Gaussian Markov fields of NumPyro as fields: sums of CAR effects, quarters of a random walk."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.sparse import csr_matrix, diags

import bayescons as bc
from bayescons.gaussians.markov import ConditionalAutoregression, Graph
from tests.structures import textbook

KEY = jax.random.key(0)
RING = np.diag(np.ones(5), 1) + np.diag(np.ones(5), -1)
Y = np.array([0.3, 0.1, -0.2, 0.5, 1.0, 0.2])
QUARTERS = np.array([3.0, 4.5, 4.0, 6.0])
ROUNDING = 1e-10


def effects(correlation, adjacency, y, *, sparse):
    prior = dist.CAR(0.2 * np.ones(6), correlation, 1.5, adjacency, is_sparse=sparse)
    e = numpyro.sample("e", prior)
    bc.observe("zero", lambda e: e.sum(), e, 0.0)
    numpyro.sample("y", dist.Normal(e, 0.5).to_event(1), obs=y)


@pytest.mark.parametrize("correlation", [0.9, -0.5])
@pytest.mark.parametrize("adjacency", [RING, csr_matrix(RING)], ids=["dense", "sparse"])
def test_effects_of_a_graph_that_sum_to_zero_are_those_of_dense_algebra(adjacency, correlation):
    sparse = not isinstance(adjacency, np.ndarray)
    posterior = bc.conjugate(effects)(correlation, adjacency, Y, sparse=sparse)
    covariance = np.linalg.inv(1.5 * (np.diag(RING.sum(1)) - correlation * RING))
    expected = textbook(
        np.full(6, 0.2),
        covariance,
        np.vstack([np.ones(6), np.eye(6)]),
        np.append(0.0, Y),
        np.append(0.0, np.full(6, 0.25)),
    )
    assert np.abs(posterior.mean["e"] - expected.mean).max() <= ROUNDING
    assert np.abs(posterior.variance["e"] - np.diag(expected.covariance)).max() <= ROUNDING
    assert abs(posterior.log_evidence - expected.log_evidence) <= ROUNDING
    assert np.abs(posterior.sample(KEY, 20)["e"].sum(-1)).max() <= ROUNDING


def test_two_graphs_of_as_many_edges_are_two_programs():
    other = np.zeros((6, 6))
    other[0, 1:] = other[1:, 0] = 1.0  # a star has as many edges as a line
    line, star = (
        bc.conjugate(effects)(0.9, csr_matrix(a), Y, sparse=True).mean["e"] for a in (RING, other)
    )
    dense = bc.conjugate(effects)(0.9, other, Y, sparse=False).mean["e"]
    assert np.abs(star - dense).max() <= ROUNDING
    assert np.abs(star - line).max() > 0.01


def test_the_correlation_of_a_graph_is_learnt():
    def program(y):
        a = numpyro.sample("a", dist.Uniform(0.0, 0.99))
        e = numpyro.sample("e", dist.CAR(jnp.zeros(6), a, 1.0, csr_matrix(RING), is_sparse=True))
        bc.observe("zero", lambda e: e.sum(), e, 0.0)
        numpyro.sample("y", dist.Normal(e, 0.5).to_event(1), obs=y)

    posterior = bc.conjugate(program, key=KEY, latent_draws=1000)(Y)
    values = np.linspace(0.0005, 0.9895, 400)

    def evidence(a):
        covariance = np.linalg.inv(np.diag(RING.sum(1)) - a * RING)
        rows, noise = np.vstack([np.ones(6), np.eye(6)]), np.append(0.0, np.full(6, 0.25))
        return textbook(np.zeros(6), covariance, rows, np.append(0.0, Y), noise).log_evidence

    logs = np.array([evidence(a) for a in values])
    weights = np.exp(logs - logs.max())
    mean = (weights * values).sum() / weights.sum()
    found = float((posterior.weights * posterior.latents["a"]).sum())
    assert abs(found - mean) <= 5 * 0.3 / np.sqrt(posterior.effective_draws)


def test_a_large_sparse_graph_needs_no_matrix():
    """A ring of 20,000 points: its matrix would take 3.2 GB."""
    n = 20_000
    ring = diags([np.ones(n - 1), np.ones(n - 1)], [1, -1], format="lil")
    ring[0, n - 1] = ring[n - 1, 0] = 1.0

    def program():
        e = numpyro.sample("e", dist.CAR(jnp.zeros(n), 0.9, 1.0, ring.tocsr(), is_sparse=True))
        bc.observe("zero", lambda e: e.reshape(4, -1).sum(1), e, jnp.arange(4.0))

    mean = bc.conjugate(program)().mean["e"]
    assert np.abs(mean.reshape(4, -1).sum(1) - np.arange(4.0)).max() <= 1e-9
    assert np.ptp(mean[6000:9000]) <= 1e-9  # away from the ends of its quarter it is flat


QUARTERS_OF = {(): QUARTERS, (3,): np.stack([QUARTERS, 2 * QUARTERS, QUARTERS[::-1]])}


@pytest.mark.parametrize("cells", [(), (3,)])
def test_a_random_walk_adds_up_to_its_quarters(cells):
    def program():
        with numpyro.plate_stack("cell", cells):
            u = numpyro.sample("u", dist.GaussianRandomWalk(0.7, 12))
        bc.observe("quarters", lambda u: u.reshape(*cells, 4, 3).sum(-1), u, QUARTERS_OF[cells])

    step = np.tril(np.ones((12, 12)))
    K, G = 0.49 * step @ step.T, np.kron(np.eye(4), np.ones(3))
    posterior = bc.conjugate(program)()
    means, values = posterior.mean["u"].reshape(-1, 12), QUARTERS_OF[cells].reshape(-1, 4)
    for mean, value in zip(means, values, strict=True):
        expected = textbook(np.zeros(12), K, G, value)
        assert np.abs(mean - expected.mean).max() <= ROUNDING


@pytest.mark.parametrize(
    "adjacency",
    [
        csr_matrix(-RING),
        csr_matrix(RING + np.eye(6)),
        csr_matrix(np.pad(RING, ((0, 1), (0, 1)))),
        csr_matrix(RING + np.eye(6, k=2)),
    ],
    ids=["negative", "to itself", "alone", "one way"],
)
def test_a_graph_that_is_none_is_refused(adjacency):
    with pytest.raises(
        ValueError, match="must be symmetric, with weights of zero or more, none of a"
    ):
        Graph(adjacency)


def test_a_solve_that_does_not_end_gives_no_number():
    one = jnp.asarray(1.0)  # D - W is singular
    K = ConditionalAutoregression(one, one, Graph(csr_matrix(RING)))
    assert np.isnan(K.mv(jnp.arange(6.0))).all()


@pytest.mark.parametrize("correlation", [1.0, 1.5, -1.2])
@pytest.mark.parametrize("sparse", [True, False])
def test_a_correlation_that_makes_no_covariance_is_refused(correlation, sparse):
    adjacency = csr_matrix(RING) if sparse else RING
    with numpyro.validation_enabled(False), pytest.raises(ValueError, match="between -1 and 1"):
        bc.conjugate(effects)(correlation, adjacency, Y, sparse=sparse)
