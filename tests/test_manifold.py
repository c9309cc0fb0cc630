"""Nonlinear laws: constrained sampling against quadrature, mici, closed forms and conditioning;
approximations against the law.

Statistical laws compare means within `SIGMAS` Monte Carlo standard errors, a false alarm in 2e6
comparisons; seeds are fixed.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import beta, chisquare, kstest

import bayescons as bc
from bayescons.restrictions import (
    constrained,
    constrained_hmc,
    gauss_newton,
    laplace,
    nonlinear_constraint,
    rattle,
)
from bayescons.restrictions.projection import along, anywhere, tangent
from bayescons.restrictions.rattle import RattleState, build_kernel, init
from bayescons.results.draws import ChainDraws
from experiments import energy_refits
from experiments.right_measure import density_given_energy
from models import known_energy

EPS = float(np.finfo(float).eps)
SIGMAS = 5.0
MEAN, COVARIANCE = np.array([0.8, 0.3]), np.array([[0.5, 0.2], [0.2, 0.8]])
AXES = np.array([1.0, 4.0])  # the ellipse u_1² + 4 u_2² = 1
EDGES = np.linspace(-np.pi, np.pi, 21)
THREE = bc.Grid(x=np.array([0.0, 0.4, 1.0]))
WEIGHTS = np.asarray(bc.integral(THREE).weights[0])
TOTAL, ENERGY = 0.3, 0.5


def key(seed: int) -> jax.Array:
    return jax.random.key(seed)


def ellipse(u):
    return jnp.sum(jnp.asarray(AXES) * u**2)


def energy(u):
    return jnp.sum(jnp.asarray(WEIGHTS) * u**2)


class Curve:
    """A conic y(θ) = centre + root (cos θ, sin θ) of a quadratic law in the plane, and the density
    of θ by the co-area formula in y: N(y; m, K) |dy/dθ| / |∇h(y)|, which knows nothing of white
    noise.
    """

    def __init__(self, mean, covariance, form, linear, constant, value, cells=8000):
        """h(y) = y'My + l'y + c, conditioned on h = value."""
        centre = -np.linalg.solve(form, linear) / 2
        radius = value - constant - linear @ centre / 2
        spread, vectors = np.linalg.eigh(form)
        self.centre, self.root = centre, vectors * np.sqrt(radius / spread) @ vectors.T
        self.angles = (np.arange(cells) + 0.5) / cells * 2 * np.pi - np.pi
        circle = np.stack([np.cos(self.angles), np.sin(self.angles)], 1)
        self.points = centre + circle @ self.root.T
        along_it = np.stack([-circle[:, 1], circle[:, 0]], 1) @ self.root.T
        slope = 2 * self.points @ form + linear
        off = self.points - mean
        exponent = -np.einsum("ni,ni->n", off @ np.linalg.inv(covariance), off) / 2
        density = (
            np.exp(exponent) * np.linalg.norm(along_it, axis=1) / np.linalg.norm(slope, axis=1)
        )
        total = density.sum() * 2 * np.pi / cells
        self.shares = density / density.sum()
        self.log_evidence = (
            math.log(total) - math.log(2 * np.pi) - np.linalg.slogdet(covariance)[1] / 2
        )

    def angle(self, y):
        circle = np.linalg.solve(self.root, (np.asarray(y) - self.centre).T)
        return np.arctan2(circle[1], circle[0])

    def binned(self):
        return np.histogram(self.angles, EDGES, weights=self.shares)[0]

    def variation(self, y):
        """Total variation, in 20 bins of the angle, between draws and the law."""
        counted = np.histogram(self.angle(y), EDGES)[0]
        return np.abs(counted / counted.sum() - self.binned()).sum() / 2

    def draws(self, count, seed):
        cells = np.random.default_rng(seed).choice(len(self.angles), count, p=self.shares)
        return self.points[cells]


def on_ellipse(mean=MEAN, covariance=COVARIANCE) -> Curve:
    return Curve(np.asarray(mean), covariance, np.diag(AXES), np.zeros(2), 0.0, 1.0)


@functools.cache
def plane() -> bc.Gaussian:
    return bc.dense(MEAN, COVARIANCE, jitter=0.0)


@functools.cache
def rounds() -> ChainDraws:
    return constrained(plane(), ellipse, 1.0, name="ellipse").sample(key(0), 1000, chains=64)


@functools.cache
def rod() -> bc.Gaussian:
    """Three correlated points with an exact total: a plane in which a known energy is an
    ellipse.
    """
    x = THREE["x"]
    prior = bc.dense(
        np.array([0.3, 0.2, -0.1]), 1.5 * np.exp(-np.abs(x[:, None] - x[None])), jitter=0.0
    )
    return prior | bc.Constraint(bc.integral(THREE), TOTAL, name="total")


def rod_curve() -> tuple[Curve, np.ndarray, np.ndarray]:
    """The ellipse in coordinates y of the plane of the total, u = u_0 + B y."""
    posterior = rod()
    basis = np.linalg.svd(WEIGHTS[None])[2][1:].T
    at = WEIGHTS * TOTAL / (WEIGHTS @ WEIGHTS)
    covariance = np.asarray(jax.vmap(posterior.covariance.mv)(jnp.eye(3)))
    form = np.diag(WEIGHTS)
    curve = Curve(
        basis.T @ (np.asarray(posterior.mean) - at),
        basis.T @ covariance @ basis,
        basis.T @ form @ basis,
        2 * basis.T @ form @ at,
        at @ form @ at,
        ENERGY,
    )
    return curve, at, basis


@functools.cache
def rods() -> ChainDraws:
    return constrained(rod(), energy, ENERGY, name="energy").sample(key(1), 1000, chains=64)


def assert_means_agree(values, ess, expected, other_se=0.0) -> None:
    values = np.asarray(values)
    error = np.sqrt(values.var(axis=0) / ess + np.square(other_se))
    assert (np.abs(values.mean(axis=0) - expected) <= SIGMAS * error).all()


# The right measure


def test_on_an_ellipse_the_law_is_that_of_quadrature():
    drawn, curve = rounds(), on_ellipse()
    assert drawn.r_hat < 1.01
    assert drawn.ess > 400
    assert curve.variation(drawn.pooled) <= 0.02
    assert_means_agree(drawn.pooled, drawn.ess, curve.shares @ curve.points)
    assert_means_agree(drawn.pooled**2, drawn.ess / 2, curve.shares @ curve.points**2)


def test_projecting_draws_of_the_belief_is_another_law():
    found = nonlinear_constraint(plane(), ellipse, 1.0, "ellipse")

    def nearest(z):
        """Repeated projection onto the tangent: its fixed points are the nearest."""

        def closer(at, _):
            normal = found.linear(at)[1]
            foot = along(found, z - tangent(normal, z - at), normal)
            return at + 0.5 * (foot.position - at), None

        return along(
            found, jax.lax.scan(closer, z, None, length=60)[0], found.linear(z)[1]
        ).position

    noise = jax.random.normal(key(2), (20_000, 2))
    projected = jax.jit(jax.vmap(lambda z: found.field(nearest(z))))(noise)
    projected = np.asarray(projected)[np.abs(np.asarray(projected) ** 2 @ AXES - 1) < 1e-6]
    assert len(projected) > 15_000
    assert on_ellipse().variation(projected) > 0.05


def test_beside_an_exact_total_the_law_of_a_known_energy_is_that_of_quadrature():
    drawn = rods()
    curve, at, basis = rod_curve()
    points = at + curve.points @ basis.T
    assert drawn.r_hat < 1.01
    assert curve.variation((np.asarray(drawn.pooled) - at) @ basis) <= 0.02
    assert_means_agree(drawn.pooled, drawn.ess, curve.shares @ points)
    assert_means_agree(drawn.pooled**2, drawn.ess / 2, curve.shares @ points**2)


POWER = (lambda u: jnp.sum(u**4), 0.6, 0.0)
ENTROPY = (
    lambda u: jnp.sum(u * jnp.exp(u)),
    -0.65,
    -1.0,
)  # ∫ v log v of a positive field v = exp(u)


@pytest.mark.parametrize(
    ("function", "value", "centre"), [POWER, ENTROPY], ids=["fourth power", "entropy"]
)
def test_powers_and_entropies_leave_the_law_of_quadrature(function, value, centre):
    """Polar coordinates (r, θ) about a point from which h grows outwards: given h = b, θ has the
    density N(u; m, K) r / |∂h/∂r|.
    """
    cells, mean = 4000, centre + np.array([0.4, 0.2])
    angles = (np.arange(cells) + 0.5) / cells * 2 * np.pi - np.pi
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    levels = jax.jit(jax.vmap(jax.value_and_grad(function)))
    low, high = np.zeros(cells), np.full(cells, 8.0)
    for _ in range(60):
        radius = (low + high) / 2
        above = np.asarray(levels(centre + radius[:, None] * rays)[0]) > value
        low, high = np.where(above, low, radius), np.where(above, radius, high)
    points = centre + radius[:, None] * rays
    slope = np.einsum("ni,ni->n", levels(points)[1], rays)
    off = points - mean
    density = (
        np.exp(-np.einsum("ni,ij,nj->n", off, np.linalg.inv(COVARIANCE), off) / 2) * radius / slope
    )
    shares = density / density.sum()

    drawn = constrained(bc.dense(mean, COVARIANCE, jitter=0.0), function, value).sample(
        key(12), 1000, chains=64
    )
    draws = np.asarray(drawn.pooled)
    counted = np.histogram(np.arctan2(draws[:, 1] - centre, draws[:, 0] - centre), EDGES)[0]
    assert drawn.r_hat < 1.01
    assert (
        np.abs(counted / counted.sum() - np.histogram(angles, EDGES, weights=shares)[0]).sum() / 2
        <= 0.02
    )
    assert_means_agree(draws, drawn.ess, shares @ points)
    assert_means_agree(draws**2, drawn.ess / 2, shares @ points**2)


def test_every_draw_holds_the_law_and_the_exact_facts():
    drawn = rods()
    assert float(jnp.max(jnp.abs(drawn.laws["energy"]["residual"]))) <= 1e-12
    assert float(jnp.max(jnp.abs(jax.vmap(energy)(drawn.pooled) - ENERGY))) <= 1e-12
    assert float(jnp.max(jnp.abs(drawn.pooled @ WEIGHTS - TOTAL))) <= 1e-12


def test_a_round_belief_on_a_sphere_is_uniform_there():
    """Twelve independent points with a total and an energy: u_1 has the law of a coordinate on a
    sphere of eleven dimensions.
    """
    size, total, square = 12, 3.0, 9.0
    grid = bc.Grid(x=(np.arange(size) + 0.5) / size)
    belief = bc.diagonal(jnp.zeros(size), 1.3) | bc.Constraint(
        bc.functional(jnp.sum, grid), total, name="total"
    )
    drawn = constrained(belief, lambda u: jnp.sum(u**2), square).sample(key(3), 500, chains=8)
    assert drawn.r_hat < 1.02
    radius = math.sqrt((square - total**2 / size) * (1 - 1 / size))
    apart = np.asarray(drawn.draws[:, ::5]).reshape(-1, size)
    share = ((apart[:, 0] - total / size) / radius) ** 2
    assert kstest(share, beta(1 / 2, (size - 2) / 2).cdf).pvalue > 1e-4
    assert_means_agree(drawn.pooled, drawn.ess, np.full(size, total / size))


@pytest.mark.filterwarnings("default")
def test_mici_draws_from_the_same_law():
    """In the field's own coordinates, with its own co-area factor and derivatives by hand."""
    mici = pytest.importorskip("mici")
    precision = np.linalg.inv(COVARIANCE)
    system = mici.systems.DenseConstrainedEuclideanMetricSystem(
        neg_log_dens=lambda u: (u - MEAN) @ precision @ (u - MEAN) / 2,
        grad_neg_log_dens=lambda u: precision @ (u - MEAN),
        constr=lambda u: np.array([AXES @ u**2 - 1]),
        jacob_constr=lambda u: 2 * (AXES * u)[None],
        mhp_constr=lambda u: lambda m: 2 * m[0] * AXES,  # noqa: ARG005
        dens_wrt_hausdorff=False,
    )
    integrator = mici.integrators.ConstrainedLeapfrogIntegrator(system, step_size=0.15)
    sampler = mici.samplers.StaticMetropolisHMC(
        system, integrator, np.random.default_rng(0), n_step=6
    )
    starts = [np.array([math.cos(a), math.sin(a) / 2]) for a in (0.3, -0.7)]
    traced = sampler.sample_chains(
        50,
        500,
        starts,
        adapters=[],
        display_progress=False,
        trace_funcs=[lambda state: {"u": state.pos}],
    )
    theirs = np.stack(traced.traces["u"])
    from bayescons.results.trees import worst_mixing

    ess, r_hat = worst_mixing(theirs)
    assert r_hat < 1.05
    for ours, other in (
        (rounds().pooled, theirs.reshape(-1, 2)),
        (rounds().pooled ** 2, theirs.reshape(-1, 2) ** 2),
    ):
        assert_means_agree(
            ours, rounds().ess / 2, other.mean(axis=0), other.std(axis=0) / math.sqrt(ess / 2)
        )


# Linear laws


@functools.cache
def difference():
    return lambda u: u[0] - 2 * u[2]


def test_a_linear_law_is_conditioning():
    expected = rod() | bc.Constraint(bc.functional(difference(), THREE), 0.4, name="difference")
    evidence = bc.log_evidence(rod(), bc.Constraint(bc.functional(difference(), THREE), 0.4))
    for approximate in (gauss_newton, laplace):
        found = approximate(rod(), difference(), 0.4)
        np.testing.assert_allclose(found.posterior.mean, expected.mean, atol=1e-10)
        np.testing.assert_allclose(found.posterior.variance, expected.variance, atol=1e-10)
        np.testing.assert_allclose(found.log_evidence, evidence, atol=1e-10)


def test_on_a_linear_law_nothing_is_rejected():
    expected = rod() | bc.Constraint(bc.functional(difference(), THREE), 0.4, name="difference")
    drawn = constrained(rod(), bc.functional(lambda u: difference()(u) + 1, THREE), 1.4).sample(
        key(4), 1000
    )
    np.testing.assert_allclose(drawn.statistics["acceptance_rate"], 1.0, atol=1e-9)
    assert_means_agree(drawn.pooled, drawn.ess, np.asarray(expected.mean))
    assert_means_agree(
        (drawn.pooled - expected.mean[None]) ** 2, drawn.ess / 2, np.asarray(expected.variance)
    )


# The integrator


@functools.cache
def ellipse_law():
    return nonlinear_constraint(plane(), ellipse, 1.0, "ellipse")


def white(u):
    return jnp.asarray(np.linalg.solve(np.linalg.cholesky(COVARIANCE), (np.asarray(u) - MEAN).T).T)


def test_exact_draws_stay_exact():
    """Chi-square of the angle in 20 bins after four transitions; a false alarm in ten thousand."""
    curve = on_ellipse()
    moved, info, _ = rattle.run(
        ellipse_law(), white(curve.draws(4000, 5)), key(5), n=4, warmup=0, target=0.9
    )
    after = np.asarray(jax.vmap(ellipse_law().field)(moved[:, -1]))
    counted = np.histogram(curve.angle(after), EDGES)[0]
    assert chisquare(counted, 4000 * curve.binned()).pvalue > 1e-4
    assert 0.3 < float(jnp.mean(info.is_accepted)) < 1


@jax.jit
def travelled(position, momentum, angle, steps):
    flight = rattle._Flight(
        init(position, ellipse_law()), momentum, jnp.asarray(0), jnp.asarray(True)
    )
    return jax.lax.fori_loop(0, steps, lambda _, f: rattle._step(ellipse_law(), f, angle), flight)


def test_a_trajectory_runs_back_to_where_it_began():
    z = white(on_ellipse().draws(1, 6))[0]
    p = tangent(ellipse_law().linear(z)[1], jnp.array([0.4, -0.3]))
    there = travelled(z, p, 0.05, 10)
    back = travelled(there.state.position, -there.momentum, 0.05, 10)
    assert bool(there.fine & back.fine)
    np.testing.assert_allclose(back.state.position, z, atol=1e-10)
    np.testing.assert_allclose(back.momentum, -p, atol=1e-10)


@pytest.mark.parametrize("rows", [1, 2])
def test_the_foot_along_normals_is_on_the_manifold_and_as_far_from_the_start_as_it_says(rows):
    """Over a belief with an exact total, whose root is not square; for one row, which needs no
    LAPACK, and for two.
    """

    def laws(u):
        return jnp.stack([energy(u), jnp.sum(u**3)])[:rows]

    size = 6
    grid = bc.Grid(x=np.linspace(0, 1, size))
    covariance = np.exp(-np.abs(grid["x"][:, None] - grid["x"][None]) / 0.3)
    prior = bc.dense(np.linspace(0.3, 1.0, size), covariance, jitter=0.0)
    belief = prior | bc.Constraint(bc.integral(grid), 0.8, name="total")
    weights = jnp.asarray(bc.integral(grid).weights[0])

    def energy(u):
        return jnp.sum(weights * u**2)

    at = belief.sample(key(20))
    law = nonlinear_constraint(belief, laws, laws(at), "laws")
    z = anywhere(law, jnp.zeros(belief.covariance.noise_size)).position
    normals = law.linear(z)[1]
    step = 0.05 * tangent(normals, jax.random.normal(key(21), z.shape))
    foot = along(law, z + step, normals)
    assert bool(foot.found)
    np.testing.assert_allclose(law.gap(foot.position), 0.0, atol=1e-12)
    np.testing.assert_allclose(foot.position, z + step + normals.T @ foot.multipliers, atol=EPS)
    np.testing.assert_allclose(foot.jacobian, law.linear(foot.position)[1], atol=1e-12)
    expected = np.linalg.slogdet(np.asarray(foot.jacobian @ foot.jacobian.T))[1] / 2
    np.testing.assert_allclose(law.log_coarea(foot.position), expected, atol=1e-12)


def test_energy_is_kept_to_second_order():
    z = white(on_ellipse().draws(1, 7))[0]
    p = tangent(ellipse_law().linear(z)[1], jnp.array([0.5, 0.2]))
    steps = np.array([8, 16, 32])
    ends = [travelled(z, p, 0.4 / n, n) for n in steps]
    errors = [
        abs(float(rattle._energy(e.state, e.momentum) - rattle._energy(init(z, ellipse_law()), p)))
        for e in ends
    ]
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(-2, abs=0.2)


def test_steps_too_long_are_given_up_and_never_leave_the_manifold():
    starts = white(on_ellipse().draws(300, 8))
    move = jax.jit(
        jax.vmap(lambda k, z: build_kernel()(k, init(z, ellipse_law()), ellipse_law(), 1.4, 3))
    )
    states, info = move(jax.random.split(key(8), 300), starts)
    assert 0 < int(info.is_reversible.sum()) < 300
    assert not bool((info.is_accepted & ~info.is_reversible).any())
    assert float(jnp.max(jnp.abs(jax.vmap(ellipse_law().gap)(states.position)))) <= 1e-12


def test_the_kernel_runs_in_the_loops_of_blackjax():
    from blackjax.util import run_inference_algorithm

    algorithm = constrained_hmc(ellipse_law(), 0.2, 4)
    start = algorithm.init(white(on_ellipse().draws(1, 9))[0])
    assert isinstance(start, RattleState)
    last, (states, info) = run_inference_algorithm(key(9), algorithm, 20, initial_state=start)
    np.testing.assert_array_equal(last.position, states.position[-1])
    assert info.acceptance_rate.shape == (20,)


# Approximations


@functools.cache
def narrow(scale: float) -> bc.Gaussian:
    return bc.dense(np.array([1.2, 0.4]), scale**2 * COVARIANCE, jitter=0.0)


def test_the_mean_of_gauss_newton_is_the_most_probable_field_of_the_law():
    mean, precision = np.array([1.2, 0.4]), np.linalg.inv(COVARIANCE)
    best = minimize(
        lambda u: (u - mean) @ precision @ (u - mean) / 2,
        np.array([0.9, 0.2]),
        jac=lambda u: precision @ (u - mean),
        constraints={"type": "eq", "fun": lambda u: AXES @ u**2 - 1, "jac": lambda u: 2 * AXES * u},
        options={"ftol": 1e-15},
    )
    found = gauss_newton(narrow(1.0), ellipse, 1.0)
    np.testing.assert_allclose(found.posterior.mean, best.x, atol=1e-6)
    np.testing.assert_allclose(ellipse(found.posterior.mean), 1.0, atol=1e-12)


def test_laplace_is_right_for_narrow_beliefs_and_gauss_newton_misses_the_curvature():
    """The error of Laplace's evidence falls as the square of the belief's width; that of
    Gauss-Newton stays.
    """
    scales = np.array([0.2, 0.1, 0.05])
    exact = [on_ellipse((1.2, 0.4), s**2 * COVARIANCE).log_evidence for s in scales]
    errors = {}
    for approximate in (laplace, gauss_newton):
        found = [float(approximate(narrow(float(s)), ellipse, 1.0).log_evidence) for s in scales]
        errors[approximate] = np.abs(np.array(found) - exact)
    assert np.polyfit(np.log(scales), np.log(errors[laplace]), 1)[0] == pytest.approx(2, abs=0.4)
    assert errors[laplace][-1] < 0.01
    assert errors[gauss_newton][-1] > 0.05


def test_laplace_has_the_moments_of_a_narrow_law():
    curve, found = on_ellipse((1.2, 0.4), 0.05**2 * COVARIANCE), laplace(narrow(0.05), ellipse, 1.0)
    mean = curve.shares @ curve.points
    spread = np.einsum("n,ni,nj->ij", curve.shares, curve.points - mean, curve.points - mean)
    covariance = np.asarray(jax.vmap(found.posterior.covariance.mv)(jnp.eye(2)))
    np.testing.assert_allclose(found.posterior.mean, mean, atol=0.3 * math.sqrt(np.trace(spread)))
    np.testing.assert_allclose(covariance, spread, atol=0.2 * np.trace(spread))


def test_approximations_take_beliefs_with_exact_facts():
    for approximate in (gauss_newton, laplace):
        found = approximate(rod(), energy, ENERGY)
        np.testing.assert_allclose(WEIGHTS @ found.posterior.mean, TOTAL, atol=1e-12)
        np.testing.assert_allclose(energy(found.posterior.mean), ENERGY, atol=1e-12)
        draws = found.posterior.sample(key(10), (5,))
        np.testing.assert_allclose(draws @ WEIGHTS, TOTAL, atol=1e-7)
        slope = 2 * WEIGHTS * np.asarray(found.posterior.mean)
        np.testing.assert_allclose((draws - found.posterior.mean[None]) @ slope, 0.0, atol=1e-7)


def test_stating_again_what_the_belief_knows_changes_nothing():
    def both(u):
        return jnp.stack([energy(u), bc.integral(THREE)(u)])

    values = jnp.array([ENERGY, TOTAL])
    for approximate in (gauss_newton, laplace):
        once, twice = approximate(rod(), energy, ENERGY), approximate(rod(), both, values)
        np.testing.assert_allclose(twice.posterior.mean, once.posterior.mean, atol=1e-9)
        np.testing.assert_allclose(twice.log_evidence, once.log_evidence, atol=1e-7)
    found = constrained(rod(), both, values)
    assert found.constraint.rows == (0,)
    assert found.value.shape == (2,)


def test_the_model_of_a_known_energy_keeps_mass_and_energy():
    drawn = known_energy.restricted(key(11), 400)
    assert (
        float(jnp.max(jnp.abs(jax.vmap(known_energy.energy)(drawn.pooled) - 16 / 3)))
        <= 1e-12 * 16 / 3
    )
    assert float(jnp.max(jnp.abs(jax.vmap(known_energy.total)(drawn.pooled) - 4))) <= 4e-12
    assert drawn.r_hat < 1.05


def test_the_law_of_a_total_given_the_energy_is_that_of_a_sphere_where_the_belief_is_round():
    """The oracle of experiments/right_measure.py, against (1 - s²/E)^((n - 3) / 2), s a coordinate
    of a point of the sphere |u|² = E.
    """
    size, square = 9, 4.0
    row, places = np.full(size, 1 / 3), np.linspace(-1.9, 1.9, 21)
    found = density_given_energy(np.zeros(size), np.eye(size), np.ones(size), row, square, places)
    expected = (1 - places**2 / square) ** ((size - 3) / 2)
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=1e-6)


def test_the_refits_of_an_experiment_keep_the_energy_told_and_projection_goes_the_shortest_way():
    size = energy_refits.Size(4, side=4, draws=6, thinning=1, warmup=3)
    (belief, weights), law = energy_refits.rough_field(), energy_refits._law()
    told = energy_refits.truths(belief, key(22), 4)
    drawn, _ = energy_refits._chains(law, told, size, key(23))
    assert drawn.shape == (4, 6, energy_refits.POINTS)
    np.testing.assert_allclose(
        drawn**2 @ weights, jnp.broadcast_to(told.energies[:, None], (4, 6)), rtol=1e-12
    )

    factor, plain = np.asarray(law.belief.covariance.factor), np.asarray(told.means)
    found = energy_refits.nearest(factor, weights, np.asarray(told.energies), plain)
    np.testing.assert_allclose(found**2 @ weights, told.energies, rtol=1e-9)
    moved = np.linalg.solve(factor @ factor.T, (found - plain).T).T  # parallel to the slope there
    ratio = moved / (weights * found)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-5)


# Results, and what cannot be


def test_results_are_a_tree_with_the_law_among_its_constraints():
    tree = rods().datatree(THREE)
    assert tree["posterior"]["u"].dims == ("chain", "draw", "x")
    assert set(tree["constraints"].data_vars) == {"energy_value", "energy_residual"}
    assert {"acceptance_rate", "n_steps", "reversible", "energy"} == set(
        tree["sample_stats"].data_vars
    )


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (
            lambda: constrained(rod(), energy, 0.01).sample(key(0), 2),
            bc.InconsistentConstraintsError,
            r"were found from 0 of 32 draws",
        ),
        (
            lambda: gauss_newton(rod(), energy, -1.0, name="E"),
            bc.InconsistentConstraintsError,
            "no field with the value of 'E' was found",
        ),
        (
            lambda: constrained(rod(), bc.integral(THREE), TOTAL, name="again"),
            ValueError,
            "exact facts that the belief was conditioned on imply 'again' already",
        ),
        (
            lambda: constrained(
                rod(),
                lambda u: jnp.stack([energy(u), bc.integral(THREE)(u)]),
                jnp.array([ENERGY, TOTAL + 0.1]),
            ),
            bc.InconsistentConstraintsError,
            r"row 1 of 'law' contradicts what the belief already holds for certain, by 1\.0e-01",
        ),
        (
            lambda: constrained(
                rod(), lambda u: jnp.stack([energy(u), u.sum() * 0]), jnp.array([0.5, 0.0])
            ),
            ValueError,
            "row 1 of 'law' does not change with the field",
        ),
        (
            lambda: constrained(rod(), lambda u: jnp.stack([energy(u), 2 * energy(u)]), 0.5),
            ValueError,
            "rows of 'law' say the same",
        ),
        (
            lambda: constrained(rod(), lambda u: jnp.sum(jnp.log(u)), 0.5),
            ValueError,
            r"NaN or infinite for some fields.*an entropy",
        ),
        (lambda: constrained(rod(), energy, jnp.nan), ValueError, "the value of 'law' holds 1 NaN"),
        (
            lambda: constrained(rod(), energy, jnp.zeros(2)),
            ValueError,
            r"must have the shape \(\) of h\(u\); got \(2,\)",
        ),
        (
            lambda: constrained(rod(), lambda u: u**2, 1.0),
            ValueError,
            "has 3 rows on a field with 3 unknowns",
        ),
        (
            lambda: constrained(rod(), lambda u: (u[0], u[1]), 1.0),
            TypeError,
            "must return one array of real numbers",
        ),
        (
            lambda: constrained(rod(), lambda u: u.size, 1.0),
            TypeError,
            "must return one array of real numbers",
        ),
        (
            lambda: constrained(bc.diagonal(jnp.zeros((2, 3)), 1.0, batch_dims=1), energy, 1.0),
            ValueError,
            r"got a batch of shape \(2,\)",
        ),
        (
            lambda: laplace(bc.diagonal(jnp.zeros(3), 1.0), lambda u: jnp.sum(u**2), 1.0),
            FloatingPointError,
            "it is flat along some",
        ),
        (
            lambda: constrained(rod(), energy, ENERGY).sample(key(0), 0),
            ValueError,
            "n must be a whole number, 1 or more; got 0",
        ),
        (
            lambda: constrained(rod(), energy, ENERGY).sample(key(0), chains=0),
            ValueError,
            "chains must be a whole number, 1 or more",
        ),
        (
            lambda: constrained(rod(), energy, ENERGY).sample(key(0), target=1.5),
            ValueError,
            "target must be an acceptance rate between",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
