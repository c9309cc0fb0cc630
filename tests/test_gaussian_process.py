"""Gaussian processes: the structured posterior is the textbook's, and the fit finds what made the
readings.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tinygp
from tinygp.transforms import Subspace

from bayescons.functionals import dirichlet, integral
from bayescons.functionals.points import PointEvaluation
from bayescons.gaussians.composites import Conditioned, Marginal
from bayescons.gaussians.conditioning import Constraint, condition
from bayescons.gaussians.consistency import InconsistentConstraintsError
from bayescons.gaussians.covariances import Kronecker
from bayescons.grids import Grid
from bayescons.surrogates import (
    KERNELS,
    Hyperparameters,
    fit_hyperparameters,
    gaussian_process,
    log_evidence_of_readings,
    separable,
    straight_between,
)

EPS = float(np.finfo(np.float64).eps)
JITTER = 1e-10  # share of amplitude² added to each factor; moves a prior variance by twice as much
GRID = Grid(t=np.linspace(0, 1, 6), x=np.linspace(0, 2, 9))
LENGTHS = {"t": 0.5, "x": 0.7}
AMPLITUDE, NOISE = 1.3, 0.05
KNOWN = Hyperparameters(AMPLITUDE, LENGTHS, NOISE)
COUNT = 12


def readings(seed=0, count=COUNT):
    """Points of a grid coordinate, between them and outside the grid; any values."""
    rng = np.random.default_rng(seed)
    t, x = rng.uniform(-0.1, 1.1, count), rng.uniform(-0.2, 2.2, count)
    t[0], x[0], t[1], x[2] = GRID["t"][2], GRID["x"][3], GRID["t"][5], GRID["x"][0]
    return {"t": t, "x": x}, rng.normal(size=count)


def curved(t, x):
    return 1 + t * x - x**2


def textbook(kernel, places, values, noise, mean=lambda t, x: 0 * t + 0 * x):
    """Mean, variance and log evidence by tinygp, from all pairs of points."""
    at = jnp.stack([jnp.asarray(c) for c in places.values()], axis=-1)
    wanted = jnp.stack(
        [c.ravel() for c in np.meshgrid(GRID["t"], GRID["x"], indexing="ij")], axis=-1
    )
    process = tinygp.GaussianProcess(kernel, at, diag=noise**2)
    log_evidence, posterior = process.condition(values - mean(**places), wanted, diag=0.0)
    level = mean(**GRID.mesh()) + np.zeros(GRID.shape)
    return (
        level + posterior.loc.reshape(GRID.shape),
        posterior.variance.reshape(GRID.shape),
        log_evidence,
    )


def product_kernel(name, amplitude=AMPLITUDE):
    one = KERNELS[name]
    return amplitude**2 * Subspace(0, one(LENGTHS["t"])) * Subspace(1, one(LENGTHS["x"]))


@pytest.mark.parametrize("name", KERNELS)
def test_the_posterior_equals_tinygps(name):
    places, values = readings()
    belief = gaussian_process(
        GRID, places, values, kernels=name, mean=curved, hyperparameters=KNOWN
    )
    mean, variance, log_evidence = textbook(product_kernel(name), places, values, NOISE, curved)
    # The jitter perturbs S by 2e-10 A² against at least NOISE²; a relative change d of S moves the
    # posterior by d times its gain.
    bound = 2 * JITTER * (AMPLITUDE / NOISE) ** 2 * COUNT
    np.testing.assert_allclose(
        belief.mean, mean, atol=bound * float(np.abs(values).max()) * AMPLITUDE / NOISE
    )
    np.testing.assert_allclose(belief.variance, variance, atol=bound * AMPLITUDE**2)
    likelihood = log_evidence_of_readings(places, values, KNOWN, kernels=name, mean=curved)
    np.testing.assert_allclose(
        likelihood,
        log_evidence,
        atol=bound * float(np.sum((values - curved(**places)) ** 2)) / NOISE**2,
    )


def test_the_log_evidence_is_that_of_a_multivariate_normal():
    places, values = readings()
    one = KERNELS["matern52"]
    blocks = [
        np.asarray(one(LENGTHS[n])(jnp.asarray(c), jnp.asarray(c))) for n, c in places.items()
    ]
    matrix = AMPLITUDE**2 * (blocks[0] * blocks[1]) + (NOISE**2 + JITTER * AMPLITUDE**2) * np.eye(
        COUNT
    )
    expected = jax.scipy.stats.multivariate_normal.logpdf(values, jnp.full(COUNT, 0.3), matrix)
    likelihood = log_evidence_of_readings(places, values, KNOWN, kernels="matern52", mean=0.3)
    np.testing.assert_allclose(likelihood, expected, rtol=COUNT * np.linalg.cond(matrix) * EPS)


def test_the_posterior_is_structured_and_shares_coordinates_with_the_grid():
    places, values = readings()
    covariance = gaussian_process(GRID, places, values, hyperparameters=KNOWN).covariance
    assert isinstance(covariance, Marginal)
    assert isinstance(covariance.whole, Conditioned)
    assert isinstance(covariance.whole.prior, Kronecker)
    assert covariance.whole.shape == (
        6 + COUNT - 2,
        9 + COUNT - 2,
    )  # two coordinates of readings along each axis are the grid's


@pytest.mark.parametrize("name", ["matern32", "matern52"])
def test_exact_readings_on_the_grid_hold_in_the_mean_and_in_every_draw_and_have_no_variance(name):
    rows, columns = np.array([0, 3, 5, 5]), np.array([8, 2, 2, 7])
    places, values = (
        {"t": GRID["t"][rows], "x": GRID["x"][columns]},
        np.array([1.0, -2.0, 0.5, 3.0]),
    )
    belief = gaussian_process(
        GRID, places, values, kernels=name, hyperparameters=KNOWN._replace(noise=0.0)
    )
    draws = belief.sample(jax.random.key(0), (20,))
    np.testing.assert_allclose(belief.mean[rows, columns], values, rtol=1e-12)
    np.testing.assert_allclose(
        draws[:, rows, columns], np.tile(values, (20, 1)), rtol=0, atol=1e-12 * 3 * AMPLITUDE
    )
    assert (belief.variance[rows, columns] <= 1e-12 * AMPLITUDE**2).all()


def test_readings_without_noise_between_grid_points_are_reproduced():
    """The grid is made of the readings' coordinates after the belief is: what it says there is seen
    on a finer grid.
    """
    places, values = readings(1)
    fine = Grid(t=np.unique(places["t"]), x=np.unique(places["x"]))
    belief = gaussian_process(fine, places, values, hyperparameters=KNOWN._replace(noise=0.0))
    at = tuple(np.searchsorted(fine[n], places[n]) for n in ("t", "x"))
    np.testing.assert_allclose(
        belief.mean[at], values, rtol=0, atol=1e-12 * COUNT * float(np.abs(values).max())
    )


def test_far_from_all_readings_the_belief_is_the_prior():
    grid = Grid(
        t=np.linspace(50.0, 51.0, 6), x=np.linspace(0, 2, 9)
    )  # 98 lengths away: k = 170 exp(-170)
    places, values = readings()
    belief = gaussian_process(grid, places, values, mean=curved, hyperparameters=KNOWN)
    prior = separable(grid, LENGTHS, amplitude=AMPLITUDE, mean=curved)
    np.testing.assert_allclose(belief.mean, prior.mean, rtol=1e-14)
    np.testing.assert_allclose(belief.variance, prior.variance, rtol=1e-14)
    np.testing.assert_allclose(prior.variance, AMPLITUDE**2, rtol=3 * JITTER)


def test_draws_agree_with_mean_and_variance():
    places, values = readings()
    belief = gaussian_process(GRID, places, values, hyperparameters=KNOWN)
    draws, count = belief.sample(jax.random.key(1), (4000,)), 4000
    deviation = np.sqrt(belief.variance)
    # 54 correlated points: five standard errors leave less than 54 · 6e-7 by the union bound.
    assert (np.abs(draws.mean(0) - belief.mean) < 5 * deviation / np.sqrt(count)).all()
    assert (np.abs(draws.var(0) / belief.variance - 1) < 5 * np.sqrt(2 / count)).all()


def test_a_further_constraint_holds_on_the_belief():
    places, values = readings()
    belief = gaussian_process(GRID, places, values, hyperparameters=KNOWN)
    mass, wall = integral(GRID, over="x"), dirichlet(GRID, "x", "lower")
    total, one = jnp.linspace(1, 2, 6), jnp.asarray(1.0)
    posterior = condition(
        belief, Constraint(mass, total, None, "mass") & Constraint(wall, one, None, "wall")
    )
    np.testing.assert_allclose(mass(posterior.mean), total, rtol=1e-12)
    np.testing.assert_allclose(wall(posterior.mean), 1.0, rtol=1e-12)
    assert (posterior.variance <= belief.variance + 100 * EPS * AMPLITUDE**2).all()


def test_a_prior_is_differentiable_in_its_hyperparameters_under_jit():
    field = jnp.asarray(np.random.default_rng(3).normal(size=GRID.shape))

    def density(logs):
        amplitude, t, x = jnp.exp(logs)
        return separable(GRID, {"t": t, "x": x}, amplitude=amplitude, mean=curved).log_prob(field)

    logs, h = jnp.log(jnp.array([1.3, 0.5, 0.7])), 1e-5
    slopes = jax.jit(jax.grad(density))(logs)
    compiled = jax.jit(density)
    differences = [(compiled(logs + h * e) - compiled(logs - h * e)) / (2 * h) for e in np.eye(3)]
    # Central difference: truncation h² |f'''| / 6 and rounding eps |f| cond / h, with cond of the
    # prior below 1e3.
    np.testing.assert_allclose(slopes, differences, rtol=1e-6)


def test_sampled_hyperparameters_may_be_traced_through_the_posterior():
    places, values = readings()

    @jax.jit
    def mean(amplitude, values):
        return gaussian_process(
            GRID, places, values, hyperparameters=Hyperparameters(amplitude, LENGTHS, NOISE)
        ).mean

    expected = gaussian_process(GRID, places, values, hyperparameters=KNOWN).mean
    np.testing.assert_allclose(mean(AMPLITUDE, values), expected, rtol=1e-9)
    several = jax.vmap(mean, in_axes=(None, 0))(AMPLITUDE, np.stack([values, 2 * values]))
    np.testing.assert_allclose(several, np.stack([expected, 2 * expected]), rtol=1e-9, atol=1e-12)


def simulated(noise):
    """60 scattered readings of a draw of the process itself."""
    rng = np.random.default_rng(5)
    places = {"t": rng.uniform(0, 4, 60), "x": rng.uniform(0, 3, 60)}
    one = KERNELS["matern32"]
    factors = [
        np.asarray(one(length)(*(jnp.asarray(places[n]),) * 2))
        for n, length in (("t", 0.8), ("x", 0.4))
    ]
    draw = np.linalg.cholesky(4 * factors[0] * factors[1] + 1e-12 * np.eye(60)) @ rng.normal(
        size=60
    )
    return places, draw + noise * rng.normal(size=60)


def test_the_fit_recovers_the_lengths_that_made_the_readings():
    """Log-lengths within three standard errors, from the curvature of the likelihood at the
    truth.
    """
    places, values = simulated(noise=0.1)

    def cost(logs):
        amplitude, t, x, noise = jnp.exp(logs)
        return -log_evidence_of_readings(
            places, values, Hyperparameters(amplitude, {"t": t, "x": x}, noise)
        )

    truth = jnp.log(jnp.array([2.0, 0.8, 0.4, 0.1]))
    fitted = fit_hyperparameters(places, values)
    logs = jnp.log(
        jnp.array([fitted.amplitude, fitted.lengths["t"], fitted.lengths["x"], fitted.noise])
    )
    errors = np.sqrt(np.diag(np.linalg.inv(jax.jit(jax.hessian(cost))(logs))))
    assert (np.abs(logs - truth) < 3 * errors)[:3].all()
    assert errors[1] < 0.5
    assert errors[2] < 0.5
    value_and_slope = jax.jit(jax.value_and_grad(cost))
    value, slope = value_and_slope(logs)
    assert value <= value_and_slope(truth)[0]
    assert (np.abs(slope) * errors < 0.01).all()  # a hundredth of a standard error from the top


def test_the_fit_repeats_itself_and_scales_with_the_readings():
    places, values = simulated(noise=0.1)
    first, again = fit_hyperparameters(places, values), fit_hyperparameters(places, values)
    assert first == again
    stretched = fit_hyperparameters({"t": 10 * places["t"], "x": places["x"]}, 3 * values)
    expected = [3 * first.amplitude, 10 * first.lengths["t"], first.lengths["x"], 3 * first.noise]
    scaled_fit = [
        stretched.amplitude,
        stretched.lengths["t"],
        stretched.lengths["x"],
        stretched.noise,
    ]
    np.testing.assert_allclose(
        scaled_fit, expected, rtol=1e-2
    )  # the optimizer stops at 1e-5 in the slope; curvature is of order 10


def test_a_known_noise_is_kept():
    places, values = simulated(noise=0.1)
    assert fit_hyperparameters(places, values, noise=0.25).noise == 0.25
    places, values = {n: c[:20] for n, c in places.items()}, values[:20]
    assert fit_hyperparameters(places, values, noise=0.0).noise == 0.0


def test_the_mean_between_two_walls_takes_their_values():
    mean = straight_between(GRID, "x", lambda t, x: 2 + t + 0 * x, -1.0)
    belief = separable(GRID, LENGTHS, mean=mean)
    np.testing.assert_allclose(belief.mean[:, 0], 2 + GRID["t"], rtol=4 * EPS)
    np.testing.assert_allclose(belief.mean[:, -1], -1.0, rtol=4 * EPS)
    np.testing.assert_allclose(np.diff(belief.mean, 2, axis=1), 0.0, atol=16 * EPS)


def test_points_gather_and_their_adjoint_scatters():
    rng = np.random.default_rng(0)
    points = PointEvaluation((np.array([0, 2, 2]), np.array([1, 3, 3])), shape=(3, 4))
    field, value = rng.normal(size=(3, 4)), rng.normal(size=3)
    np.testing.assert_array_equal(points(field), field[[0, 2, 2], [1, 3, 3]])
    np.testing.assert_allclose(
        jnp.sum(points.adjoint(jnp.asarray(value)) * field),
        np.sum(points(field) * value),
        rtol=16 * EPS,
    )
    assert points.labels() == ["[0]", "[1]", "[2]"]


@pytest.mark.float32
def test_a_belief_exists_in_single_precision():
    places, _ = readings()
    belief = gaussian_process(
        GRID, places, np.sin(places["t"] + places["x"]), hyperparameters=KNOWN
    )
    assert bool(jnp.isfinite(belief.mean).all())
    assert (belief.variance >= 0).all()
    fitted = fit_hyperparameters(places, np.sin(places["t"] + places["x"]))
    assert all(np.isfinite([fitted.amplitude, *fitted.lengths.values(), fitted.noise]))


def test_bad_readings_are_errors_that_say_what_to_write():
    places, values = readings()
    with pytest.raises(ValueError, match="values of the readings holds 1 NaN"):
        gaussian_process(GRID, places, np.where(np.arange(COUNT) == 3, np.nan, values))
    with pytest.raises(ValueError, match="along 't' holds 12 NaN"):
        gaussian_process(GRID, places | {"t": np.full(COUNT, np.inf)}, values)
    with pytest.raises(ValueError, match=r"one shape \(r,\).*values \(11,\)"):
        gaussian_process(GRID, places, values[1:])
    with pytest.raises(ValueError, match=r"values \(12, 1\)"):
        fit_hyperparameters(places, values[:, None])
    with pytest.raises(
        ValueError,
        match=r"coordinates must name the axes 't', 'x'; got 't', 'y'. Write coordinates=",
    ):
        gaussian_process(GRID, {"t": places["t"], "y": places["x"]}, values)
    with pytest.raises(TypeError, match="cannot be traced"):
        jax.jit(lambda c: gaussian_process(GRID, c, values).mean)(places)
    with pytest.raises(TypeError, match="runs on the host"):
        jax.jit(lambda v: gaussian_process(GRID, places, v).mean)(values)


def test_bad_hyperparameters_are_errors_that_say_what_to_write():
    places, values = readings()
    with pytest.raises(ValueError, match="unknown kernel 'rbf'; choose one of matern12"):
        separable(GRID, LENGTHS, kernels="rbf")
    with pytest.raises(ValueError, match="kernels must name the axes"):
        separable(GRID, LENGTHS, kernels={"t": "matern32"})
    with pytest.raises(ValueError, match="lengths must name the axes 't', 'x'; got 't'"):
        separable(GRID, {"t": 0.5})
    with pytest.raises(ValueError, match="length of 'x' must be above zero"):
        separable(GRID, {"t": 0.5, "x": 0.0})
    with pytest.raises(ValueError, match="leave noise out"):
        gaussian_process(GRID, places, values, noise=0.1, hyperparameters=KNOWN)
    with pytest.raises(ValueError, match="noise must be at least zero"):
        fit_hyperparameters(places, values, noise=-1.0)
    with pytest.raises(ValueError, match="mean must give a number or an array that broadcasts"):
        separable(GRID, LENGTHS, mean=np.zeros(9))


def test_readings_from_which_nothing_can_be_learnt_are_errors():
    places, values = readings()
    with pytest.raises(ValueError, match="share one coordinate along 't'"):
        fit_hyperparameters(places | {"t": np.zeros(COUNT)}, values)
    with pytest.raises(ValueError, match="equal the mean everywhere"):
        fit_hyperparameters(places, np.ones(COUNT), mean=1.0)


def test_exact_readings_that_contradict_each_other_are_an_error_that_names_them():
    places = {"t": GRID["t"][[0, 0, 5, 5]], "x": GRID["x"][[8, 8, 2, 7]]}
    with pytest.raises(InconsistentConstraintsError, match=r"readings\[t=0, x=2\]"):
        gaussian_process(
            GRID, places, np.array([0.0, 1.0, 0.5, 3.0]), hyperparameters=KNOWN._replace(noise=0.0)
        )


def test_an_axis_may_be_independent():
    belief = separable(GRID, {"t": None, "x": 0.7}, amplitude=2.0)
    assert belief.covariance.independent == {0}
    np.testing.assert_allclose(belief.variance, 4.0, rtol=3 * JITTER)
