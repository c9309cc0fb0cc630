"""Beliefs: every structure is the multivariate normal it stands for, is a NumPyro distribution, and
refuses what is no belief.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.handlers import seed, trace
from numpyro.infer.util import log_density
from scipy.stats import multivariate_normal, norm

import bayescons as bc
from tests.structures import GRID, STRUCTURES, WITH_DENSITY, belief, second_moments

EPS = float(np.finfo(float).eps)
every_structure = pytest.mark.parametrize("structure", STRUCTURES)


@pytest.mark.usefixtures("eagerly")
@every_structure
def test_mean_variance_and_covariance_are_the_dense_ones(structure):
    own = belief(structure)
    variance, covariance = second_moments(own.gaussian)
    tolerance = 1e3 * EPS * np.abs(own.unconditioned).max()
    np.testing.assert_allclose(
        own.gaussian.mean.ravel(), own.mean, rtol=0, atol=1e3 * EPS * (1 + np.abs(own.mean).max())
    )
    np.testing.assert_allclose(covariance, own.covariance, rtol=0, atol=tolerance)
    np.testing.assert_allclose(variance, np.diag(own.covariance), rtol=0, atol=tolerance)
    assert own.gaussian.variance.shape == own.gaussian.mean.shape == own.gaussian.event_shape


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("structure", WITH_DENSITY)
def test_the_density_is_that_of_the_multivariate_normal(structure):
    own = belief(structure)
    fields = np.random.default_rng(0).normal(size=(2, 3, *own.gaussian.event_shape))
    expected = multivariate_normal(own.mean, own.covariance).logpdf(fields.reshape(2, 3, -1))
    rounding = len(own.mean) * EPS * np.linalg.cond(own.covariance)
    np.testing.assert_allclose(own.gaussian.log_prob(fields), expected, rtol=rounding)
    np.testing.assert_allclose(own.gaussian.log_prob(fields[0, 0]), expected[0, 0], rtol=rounding)


@pytest.mark.parametrize("structure", [s for s in STRUCTURES if s not in WITH_DENSITY])
def test_a_field_without_a_density_says_what_to_do(structure):
    gaussian = belief(structure).gaussian
    with pytest.raises(
        NotImplementedError,
        match=r"no density.*use it as the prior inside bc.exact\(program\).*or call .sample\(key\)",
    ):
        gaussian.log_prob(gaussian.mean)


@pytest.mark.usefixtures("eagerly")
@every_structure
def test_draws_have_the_moments_of_the_belief(structure):
    """Every mean and covariance entry within z standard errors, z so large that a correct sampler
    fails once in 10^6 keys.
    """
    own, count = belief(structure), 4000
    draws = np.asarray(own.gaussian.sample(jax.random.key(1), (count,))).reshape(count, -1)
    size = draws.shape[1]
    z = norm.isf(1e-6 / (2 * size * (size + 1)))
    variance = np.diag(own.covariance)
    centred = draws - own.mean
    np.testing.assert_array_less(np.abs(centred.mean(0)), z * np.sqrt(variance / count))
    error = np.sqrt((np.outer(variance, variance) + own.covariance**2) / count)
    np.testing.assert_array_less(np.abs(centred.T @ centred / count - own.covariance), z * error)


@pytest.mark.usefixtures("eagerly")
@every_structure
def test_a_draw_is_a_root_times_white_noise(structure):
    """A A' = K, with A read off column by column: a draw is an affine function of white noise of
    `noise_size` numbers.
    """
    own = belief(structure)
    units = jnp.eye(own.gaussian.covariance.noise_size)
    columns = np.asarray(own.gaussian.transport(units)).reshape(len(units), -1) - own.mean
    np.testing.assert_allclose(
        columns.T @ columns,
        own.covariance,
        rtol=0,
        atol=1e3 * EPS * np.abs(own.unconditioned).max(),
    )


@every_structure
def test_a_belief_survives_jit_and_tree_mapping(structure):
    gaussian = belief(structure).gaussian
    same = jax.tree.map(lambda leaf: leaf, gaussian)
    through = jax.jit(lambda g: g)(gaussian)
    for other in (same, through):
        assert type(other) is bc.Gaussian
        assert (other.batch_shape, other.event_shape) == (
            gaussian.batch_shape,
            gaussian.event_shape,
        )
        for ours, theirs in zip(jax.tree.leaves(other), jax.tree.leaves(gaussian), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_mapped_belief_knows_its_batch():
    means, scales = (
        np.random.default_rng(2).normal(size=(2, 3, *GRID.shape)),
        np.full((2, 3, *GRID.shape), 0.5),
    )
    made = jax.vmap(jax.vmap(bc.diagonal))(means, scales)
    assert (made.batch_shape, made.event_shape) == ((2, 3), GRID.shape)
    np.testing.assert_allclose(
        made.log_prob(means),
        bc.diagonal(means, scales, batch_dims=2).log_prob(means),
        rtol=16 * EPS,
    )
    back = jax.vmap(lambda g: g.variance.sum())(made)
    np.testing.assert_allclose(back, np.full(2, 3 * GRID.size * 0.25), rtol=16 * EPS)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_shapes_are_those_of_a_numpyro_distribution(batch):
    means = np.zeros((*batch, *GRID.shape))
    own = bc.low_rank(means, 0.5, np.ones((*batch, *GRID.shape, 2)), batch_dims=len(batch))
    draws = own.sample(jax.random.key(0), (4,))
    assert draws.shape == (4, *batch, *GRID.shape) == own.shape((4,))
    assert own.log_prob(draws).shape == (4, *batch)
    assert own.mean.shape == own.variance.shape == (*batch, *GRID.shape)
    assert own.support.event_dim == own.event_dim == 2


def test_draws_of_a_batch_are_independent_of_each_other():
    draws = bc.diagonal(np.zeros((2, *GRID.shape)), 1.0, batch_dims=1).sample(jax.random.key(0))
    assert not np.allclose(draws[0], draws[1])


def test_a_program_samples_and_scores_a_belief_as_a_site():
    own = belief("low rank")

    def program():
        numpyro.sample("u", own.gaussian)

    site = trace(seed(program, 0)).get_trace()["u"]
    value = site["value"]
    expected = multivariate_normal(own.mean, own.covariance).logpdf(value.ravel())
    assert float(log_density(program, (), {}, {"u": value})[0]) == pytest.approx(
        expected, rel=1e-12
    )


def test_a_plate_expands_a_belief_to_independent_copies():
    own = belief("diagonal")

    def program():
        with numpyro.plate("fields", 3):
            numpyro.sample("u", own.gaussian)

    site = trace(seed(program, 0)).get_trace()["u"]
    assert site["value"].shape == (3, *GRID.shape)
    assert not np.allclose(site["value"][0], site["value"][1])
    expected = multivariate_normal(own.mean, own.covariance).logpdf(site["value"].reshape(3, -1))
    np.testing.assert_allclose(site["fn"].log_prob(site["value"]), expected, rtol=1e-12)


def test_expanding_keeps_the_field_whole():
    own = belief("diagonal").gaussian.expand([2])
    assert (own.batch_shape, own.event_shape) == ((2,), GRID.shape)
    assert own.sample(jax.random.key(0)).shape == (2, *GRID.shape)
    assert isinstance(own.support, type(dist.constraints.independent(dist.constraints.real, 2)))


# Bad input

_zeros, _ones = np.zeros(GRID.shape), np.ones(GRID.shape)
_axes = (np.eye(GRID.shape[0]), np.eye(GRID.shape[1]))


def _with(array, value):
    array = np.array(array, float)
    array.flat[1] = value
    return array


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: bc.diagonal(_with(_zeros, np.nan), 1.0),
            "mean holds 1 NaN or infinite entries; remove or replace them first",
        ),
        (
            lambda: bc.diagonal(_zeros, _with(_ones, np.inf)),
            "scale holds 1 NaN or infinite entries",
        ),
        (
            lambda: bc.diagonal(_zeros, _with(_ones, 0)),
            "scale must be above zero.*smallest entry is 0.*state what is known exactly",
        ),
        (
            lambda: bc.diagonal(_zeros, -1.0),
            "scale must be above zero everywhere; its smallest entry is -1",
        ),
        (
            lambda: bc.diagonal(np.zeros(5), np.ones((5, 1))),
            r"scale must be a number or have shape \(5,\); got \(5, 1\)",
        ),
        (lambda: bc.low_rank(_zeros, 0.0, np.ones((*GRID.shape, 2))), "scale must be above zero"),
        (
            lambda: bc.low_rank(_zeros, 1.0, np.ones((2, *GRID.shape))),
            r"factor must have the mean's shape .* one more axis for the rank",
        ),
        (
            lambda: bc.low_rank(_zeros, 1.0, _with(np.ones((*GRID.shape, 2)), np.nan)),
            "factor holds 1 NaN",
        ),
        (
            lambda: bc.kronecker(_zeros, _axes[::-1]),
            r"expected one \(n, n\) matrix or None per axis of a field of shape \(3, 5\); got",
        ),
        (lambda: bc.kronecker(_zeros, _axes[:1]), r"expected one \(n, n\) matrix or None per axis"),
        (
            lambda: bc.kronecker(_zeros, _axes, scale=-2.0),
            "scale must be above zero everywhere; its smallest entry is -2",
        ),
        (lambda: bc.kronecker(_zeros, _axes, scale=0.0), "scale must be above zero"),
        (lambda: bc.kronecker(_zeros, _axes, scale=np.nan), "scale holds 1 NaN"),
        (
            lambda: bc.kronecker(_zeros, (None, _with(_axes[1], 0.5))),
            "a covariance must be symmetric; this one differs from its transpose",
        ),
        (
            lambda: bc.kronecker(_zeros, (None, -_axes[1])),
            r"not positive semi-definite.*\(a\) it is not a covariance, or \(b\)",
        ),
        (
            lambda: bc.dense(_zeros, np.eye(5)),
            r"expected a covariance of shape \(15, 15\), one row per point; got \(5, 5\)",
        ),
        (lambda: bc.dense(_zeros, _with(np.eye(15), np.nan)), "covariance holds 1 NaN"),
        (
            lambda: bc.dense(np.zeros(2), np.array([[1.0, 2.0], [2.0, 1.0]])),
            "not positive semi-definite",
        ),
        (
            lambda: bc.Gaussian(jnp.zeros((5, 3)), belief("diagonal").gaussian.covariance),
            r"give the mean the shape \(\*batch, \*field\)",
        ),
        (
            lambda: belief("diagonal").gaussian.log_prob(np.zeros((5, 1))),
            r"expected a field of shape \(3, 5\), possibly with sample axes",
        ),
    ],
)
def test_what_is_no_belief_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_singular_covariance_is_a_belief():
    """A jitter of 1e-10 of the mean variance carries it."""
    constant = bc.dense(np.zeros(4), np.ones((4, 4)))
    draws = constant.sample(jax.random.key(0), (100,))
    assert float(jnp.ptp(draws, axis=-1).max()) <= 1e-5 * 10


def test_whole_numbers_are_as_good_as_floating_ones():
    first = bc.Constraint(bc.functional(lambda u: u[0] + u[1], (5,)), 1, None, "first two")
    whole, floating = (
        bc.condition(bc.diagonal(np.arange(5, dtype=kind), kind(1)), first) for kind in (int, float)
    )
    np.testing.assert_array_equal(whole.mean, floating.mean)
    np.testing.assert_array_equal(whole.variance, floating.variance)
    np.testing.assert_array_equal(
        whole.sample(jax.random.key(0)), floating.sample(jax.random.key(0))
    )
