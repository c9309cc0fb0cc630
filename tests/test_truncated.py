"""Truncation: inequalities beside exact equalities, against closed forms, rejection sampling, an
event-driven twin and themselves.

Statistical laws compare means within `SIGMAS` Monte Carlo standard errors, a false alarm in 2e6
comparisons; seeds are fixed.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import beta, chisquare, ks_2samp, norm, truncnorm

import bayescons as bc
from bayescons.restrictions import (
    at_least,
    at_most,
    bounces,
    decreasing,
    increasing,
    nonnegative,
    share_negative,
    truncated,
)
from bayescons.restrictions.shape_constraints import monotone
from bayescons.restrictions.shape_constraints import nonnegative as nearest_nonnegative
from bayescons.restrictions.walls import walls
from bayescons.results.draws import ChainDraws
from bayescons.results.trees import worst_mixing
from models import positive_field
from tests.structures import BUNDLES, GRID, STRUCTURES, belief

EPS = float(np.finfo(float).eps)
SIGMAS = 5.0
FEW = bc.Grid(x=np.array([0.0, 0.3, 0.5, 1.0]))
TOTAL = bc.integral(FEW)


def key(seed: int) -> jax.Array:
    return jax.random.key(seed)


def kernel(grid, length: float = 0.5) -> np.ndarray:
    x = grid["x"]
    return np.exp(-np.abs(x[:, None] - x[None]) / length)


@functools.cache
def rod() -> bc.Gaussian:
    """Four correlated points with an exact total, which leaves much of the belief negative or out
    of order.
    """
    prior = bc.dense(jnp.array([0.5, 0.4, 0.1, -0.1]), 0.25 * kernel(FEW), jitter=0.0)
    return prior | bc.Constraint(TOTAL, 0.2, name="total")


@functools.cache
def by_rejection(count: int = 400_000) -> np.ndarray:
    """Exact draws of the rod kept non-negative and decreasing: those of the belief that happen to
    be so.
    """
    draws = np.asarray(rod().sample(key(1), (count,)))
    return draws[(draws >= 0).all(axis=1) & (np.diff(draws, axis=1) <= 0).all(axis=1)]


@functools.cache
def rods() -> ChainDraws:
    return truncated(rod(), nonnegative(FEW), decreasing(FEW)).sample(key(2), 2000)


def assert_means_agree(values, ess, expected, other_se=0.0) -> None:
    """Means over the first axis within SIGMAS standard errors."""
    values = np.asarray(values)
    error = np.sqrt(values.var(axis=0) / ess + np.square(other_se))
    assert (np.abs(values.mean(axis=0) - expected) <= SIGMAS * error).all()


# Closed forms


def test_independent_points_are_truncated_normals():
    """Far in the tail, hardly cut, cut on both sides, and cut from above."""
    mean, scale = np.array([-3.0, 2.0, 0.3, 0.0]), np.array([1.0, 1.0, 2.0, 0.5])
    lower, upper = np.array([0.0, 0.0, 0.0, -9.0]), np.array([9.0, 9.0, 1.0, -0.2])
    points = bc.functional(lambda u: u, FEW)
    law = truncated(bc.diagonal(mean, scale), at_least(points, lower), at_most(points, upper))
    drawn = law.sample(key(0), 4000)
    exact = truncnorm((lower - mean) / scale, (upper - mean) / scale, mean, scale)
    assert drawn.r_hat < 1.01
    assert_means_agree(drawn.pooled, drawn.ess, exact.mean())
    assert_means_agree((drawn.pooled - exact.mean()[None]) ** 2, drawn.ess / 2, exact.var())


@pytest.mark.parametrize("correlation", [-0.6, 0.0, 0.8])
def test_an_orthant_has_its_probability_and_its_means(correlation):
    """E[u_1 | u > 0] = (1 + ρ) / (2 √(2π) P) with P = 1/4 + arcsin ρ / 2π."""
    pair = bc.dense(jnp.zeros(2), np.array([[1.0, correlation], [correlation, 1.0]]), jitter=0.0)
    drawn = truncated(pair, nonnegative(bc.Grid(x=[0.0, 1.0]))).sample(key(3), 4000)
    probability = 1 / 4 + math.asin(correlation) / (2 * math.pi)
    expected = (1 + correlation) / (2 * math.sqrt(2 * math.pi) * probability)
    assert_means_agree(drawn.pooled, drawn.ess, np.full(2, expected))
    product = drawn.pooled[:, 0] * drawn.pooled[:, 1]  # E[u_1 u_2; u > 0] = ρ P + √(1 - ρ²) / 2π
    assert_means_agree(
        product,
        drawn.ess / 2,
        correlation + math.sqrt(1 - correlation**2) / (2 * math.pi * probability),
    )


def test_an_orthant_of_equally_correlated_points_has_its_probability():
    """P(n points positive) = 1 / (n + 1) at correlation 1/2, so that given n of them the next is
    positive in (n + 1) of n + 2 draws.
    """
    alike, points = (
        bc.dense(jnp.zeros(4), (np.eye(4) + 1) / 2, jitter=0.0),
        bc.functional(lambda u: u, FEW),
    )
    for n in (1, 2, 3):
        bounds = np.where(np.arange(4) < n, 0.0, -100.0)
        drawn = truncated(alike, at_least(points, bounds)).sample(key(20 + n), 4000)
        assert_means_agree(drawn.pooled[:, n] > 0, drawn.ess / 2, (n + 1) / (n + 2))


def test_independent_points_in_order_are_order_statistics():
    """Φ of the i-th of n points is Beta(i, n + 1 - i)."""
    drawn = truncated(bc.diagonal(jnp.full(4, 0.3), 2.0), increasing(FEW)).sample(key(24), 4000)
    uniform, place = norm.cdf(drawn.pooled, 0.3, 2.0), np.arange(1, 5)
    exact = beta(place, 5 - place)
    assert_means_agree(uniform, drawn.ess, exact.mean())
    assert_means_agree((uniform - exact.mean()) ** 2, drawn.ess / 2, exact.var())


# Equality and inequality together


def test_the_law_is_that_of_rejection_sampling():
    exact, drawn = by_rejection(), rods()
    assert len(exact) > 2000
    assert drawn.r_hat < 1.01
    se = exact.std(axis=0) / math.sqrt(len(exact))
    assert_means_agree(drawn.pooled, drawn.ess, exact.mean(axis=0), se)
    products = [
        np.einsum("ni,nj->nij", u, u).reshape(len(u), -1) for u in (exact, np.asarray(drawn.pooled))
    ]
    se = products[0].std(axis=0) / math.sqrt(len(exact))
    assert_means_agree(products[1], drawn.ess / 2, products[0].mean(axis=0), se)


def test_every_draw_holds_the_equality_and_the_inequalities():
    draws = rods().pooled
    assert float(jnp.max(jnp.abs(jax.vmap(TOTAL)(draws) - 0.2))) <= 1e-12
    assert float(draws.min()) >= -16 * EPS
    assert float(jnp.diff(draws, axis=1).max()) <= 16 * EPS
    assert float(rods().statistics["slack"].min()) >= -64 * EPS


@functools.cache
def bed() -> tuple[bc.Grid, bc.Gaussian, ChainDraws]:
    """201 independent points with an exact total, kept non-negative: an empty half and a full
    one.
    """
    grid = bc.Grid(x=np.linspace(0, 1, 201))
    prior = bc.diagonal(np.maximum(0.0, 1 - 2.5 * grid["x"]), 0.1)
    posterior = prior | bc.Constraint(bc.integral(grid), 0.2, name="total")
    return grid, posterior, truncated(posterior, nonnegative(grid)).sample(key(4), 1000)


def test_two_hundred_points_with_a_total_are_kept_non_negative():
    grid, _, drawn = bed()
    assert float(jnp.max(jnp.abs(jax.vmap(bc.integral(grid))(drawn.pooled) - 0.2))) <= 1e-12
    assert float(drawn.draws.min()) >= -16 * EPS
    assert drawn.r_hat < 1.02
    assert drawn.ess > 400
    assert float(jnp.max(drawn.statistics["stopped"])) == 0


@pytest.mark.parametrize("level", [0.0, 1.0])
@pytest.mark.parametrize("total", [1e-2, 1e-5, 1e-6, 1e-8, 1e-10])
def test_a_total_that_is_tiny_beside_the_belief_leaves_a_simplex(total, level):
    """The density is flat on so small a region, to a relative `total`: u / total is uniform on the
    simplex, Dirichlet(1, ..., 1).
    """
    n = 11
    grid = bc.Grid(x=jnp.linspace(0.0, 1.0, n))
    prior = bc.diagonal(jnp.full(n, level), 1.0)
    known = prior | bc.Constraint(bc.functional(lambda u: u.sum(), grid), total)
    drawn = truncated(known, nonnegative(grid)).sample(key(12), 1000)
    shares = np.asarray(drawn.pooled) / total
    # Of a draw of the belief, whose scale is 1, and of every impact of the 1,100 turns.
    rounding = EPS * (16 * n / total + 1100 * bounces.IMPACTS * n)
    assert np.abs(shares.sum(axis=1) - 1).max() <= rounding
    assert shares.min() >= -rounding
    assert float(np.max(drawn.statistics["stopped"])) == 0
    assert drawn.r_hat < 1.01
    assert drawn.ess > 1000
    assert_means_agree(shares, drawn.ess, np.full(n, 1 / n))
    assert_means_agree(shares**2, drawn.ess / 2, np.full(n, 2 / (n * (n + 1))))


def test_a_turn_by_any_angle_keeps_the_law():
    law = truncated(rod(), nonnegative(FEW), decreasing(FEW))
    exact = by_rejection()
    begun = jnp.asarray(exact[:4]) - law.belief.mean[None]
    moved, _ = bounces.run(law.walls, begun, key(13), n=4000, warmup=100, angle=0.2)
    drawn = np.asarray(moved) + np.asarray(law.belief.mean)
    ess, _ = worst_mixing(drawn)
    pooled = drawn.reshape(-1, 4)
    assert_means_agree(pooled, ess, exact.mean(axis=0))
    assert_means_agree(pooled**2, ess / 2, (exact**2).mean(axis=0))


def test_the_share_of_negative_mass_is_reported_before_and_after():
    grid, posterior, drawn = bed()
    before = share_negative(posterior.sample(key(5), (200,)), grid)
    assert before.shape == (200,)
    assert 0.05 < float(before.mean()) < 0.2
    assert float(share_negative(drawn.pooled, grid).max()) == 0


def test_a_share_is_that_of_the_integrals():
    fields = jnp.array(
        [[1.0, -1.0, 1.0, -1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, 0.0, 0.0]]
    )
    weights = np.asarray(TOTAL.weights[0])
    expected = [weights[[1, 3]].sum() / weights.sum(), 0.0, 0.0, 1.0]
    np.testing.assert_allclose(share_negative(fields, FEW), expected, rtol=16 * EPS)
    with pytest.raises(ValueError, match=r"expected draws of shape \(\.\.\., 4\)"):
        share_negative(jnp.zeros((2, 3)), FEW)


# Invariance and calibration


def test_exact_draws_stay_exact():
    """Many chains that start from exact draws: after any number of turns the law is the same. False
    alarms: 8 tests at 1e-4.
    """
    exact = by_rejection()
    starts, fresh = np.split(exact[: 2 * (len(exact) // 2)], 2)
    law = truncated(rod(), nonnegative(FEW), decreasing(FEW))
    moved, _ = bounces.run(
        law.walls, jnp.asarray(starts) - law.belief.mean[None], key(6), n=5, warmup=0
    )
    for turn in (0, 4):
        after = np.asarray(moved[:, turn] + law.belief.mean[None])
        for values in (
            lambda u: u[:, 0],
            lambda u: u[:, -1],
            lambda u: u[:, 1] - u[:, 2],
            lambda u: u[:, 0] ** 2,
        ):
            assert ks_2samp(values(after), values(fresh)).pvalue > 1e-4


@functools.cache
def ranks() -> tuple[np.ndarray, np.ndarray]:
    """Ranks of the true end value among 15 draws of its posterior, in 480 worlds: truncated, and
    (wrongly) not truncated.

    The world: a non-negative rod with a known total, drawn exactly; its readings, with noise; the
        posterior of the rod given them.
    """
    count, kept, spread = 480, 15, 1.0
    prior = bc.dense(
        jnp.array([0.2, 0.1, 0.1, 0.0]), 0.25 * kernel(FEW), jitter=0.0
    ) | bc.Constraint(TOTAL, 0.15, name="total")
    worlds = np.asarray(prior.sample(key(7), (40_000,)))
    worlds = jnp.asarray(worlds[(worlds >= 0).all(axis=1)][:count])
    assert len(worlds) == count
    readings = worlds + spread * jax.random.normal(key(8), worlds.shape)
    reading = bc.functional(lambda u: u, FEW)
    given = [
        bc.condition(prior, bc.Constraint(reading, y, spread, "readings")) for y in readings[:2]
    ]
    gain = jnp.stack(
        [bc.condition(prior, bc.Constraint(reading, y, spread)).mean for y in jnp.eye(4)]
    )  # the mean is affine in y
    base = bc.condition(prior, bc.Constraint(reading, jnp.zeros(4), spread)).mean
    means = base[None] + readings @ (gain - base[None])
    np.testing.assert_allclose(means[:2], jnp.stack([g.mean for g in given]), atol=1e-10)

    found = walls(given[0], nonnegative(FEW))

    def world(truth, mean, key):
        # the covariance, and so all but the heights, is the same in every world
        heights = found.heights - found.rows(mean - given[0].mean)
        own = type(found)(
            found.covariance, found.functional, found.unit, found.correlation, heights, found.axes
        )
        moved, _ = bounces.run(own, (truth - mean)[None], key, n=6 * kept, warmup=20)
        plain = jax.vmap(found.covariance.root)(
            jax.random.normal(key, (kept, found.covariance.noise_size))
        )
        return tuple(
            jnp.sum((centred + mean[None])[:, -1] < truth[-1]) for centred in (moved[0, ::6], plain)
        )

    return tuple(
        map(np.asarray, jax.jit(jax.vmap(world))(worlds, means, jax.random.split(key(9), count)))
    )


def test_simulation_based_calibration_is_uniform():
    """480 ranks from 0 to 15, chi-square against uniform; a false alarm in a thousand."""
    right, _ = ranks()
    assert chisquare(np.bincount(right, minlength=16)).pvalue > 1e-3


def test_simulation_based_calibration_finds_out_a_posterior_that_forgot_the_inequality():
    _, wrong = ranks()
    assert chisquare(np.bincount(wrong, minlength=16)).pvalue < 1e-3


# The trajectory


def event_by_event(rows, heights, y, s):
    """A twin in the coordinates z with y = W z: times of impact by arccos, reflections of the whole
    velocity.
    """
    z, v = np.linalg.lstsq(rows, y)[0], np.linalg.lstsq(rows, s)[0]
    left, count = math.pi / 2, 0
    while True:
        y, s = rows @ z, rows @ v
        size, phase = np.hypot(y, s), np.arctan2(s, y)
        with np.errstate(invalid="ignore"):
            half = np.where(
                size > np.abs(heights), np.arccos(np.clip(heights / size, -1, 1)), np.inf
            )
        times = np.where(phase + half > 1e-9, phase + half, np.inf)
        first = int(np.argmin(times))
        time = min(times[first], left)
        z, v = z * math.cos(time) + v * math.sin(time), v * math.cos(time) - z * math.sin(time)
        left -= time
        if left <= 0:
            return rows @ z, count
        normal = rows[first]
        v, count = v - 2 * (normal @ v) / (normal @ normal) * normal, count + 1


@pytest.mark.parametrize("height", [-1.0, 0.0, 0.7])
def test_a_quarter_turn_is_that_of_a_simulation_event_by_event(height):
    """Walls behind the mean, through it, and beyond it."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(3, 3))
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    turn = jax.jit(bounces.turn)
    met = 0
    for _ in range(20):
        heights = np.full(3, height)
        y, s = heights + rng.exponential(size=3), rng.normal(size=3)
        pushes, bounced, left = turn(
            jnp.asarray(rows @ rows.T)[None],
            jnp.asarray(heights)[None],
            *map(jnp.asarray, (y[None], s[None])),
            jnp.ones(1),
        )
        expected, count = event_by_event(rows, heights, y, s)
        assert float(left[0]) == 0
        assert int(bounced[0]) == count
        np.testing.assert_allclose(s + rows @ rows.T @ pushes[0], expected, atol=1e-9)
        assert (np.asarray(s + rows @ rows.T @ pushes[0]) >= heights - 1e-12).all()
        met += count
    assert met > 10


def test_without_a_wall_in_reach_draws_are_those_of_the_belief():
    far = truncated(rod(), at_least(bc.functional(lambda u: u, FEW), -100.0))
    states, info = bounces.run(far.walls, jnp.zeros((1, 4)), key(10), n=3, warmup=0)
    assert float(jnp.max(info.bounces)) == 0
    assert float(jnp.max(jnp.abs(states))) < 10
    drawn = far.sample(key(11), 2000)
    assert_means_agree(drawn.pooled, drawn.pooled.shape[0] / 2, np.asarray(rod().mean))


# Structures


@pytest.mark.parametrize("structure", [s for s in STRUCTURES if s not in BUNDLES])
def test_pushes_move_rows_by_their_correlation(structure):
    """Rows of a push are Q a, and Q is D^-1 F K F' D^-1 of the textbook, block by block, whatever
    the structure.
    """
    own = belief(structure)
    found = walls(own.gaussian, nonnegative(GRID, name="floor") & at_most(bc.integral(GRID), 5.0))
    rows = np.concatenate(
        [np.eye(GRID.size), -np.kron(np.eye(3), np.asarray(bc.integral(GRID).weights[1]))]
    )
    exact = rows @ own.covariance @ rows.T
    pushes = jnp.asarray(np.random.default_rng(0).normal(size=found.unit.shape))
    moved = found.rows(jax.jit(lambda w, a: w.pushed(a))(found, pushes))
    np.testing.assert_allclose(
        moved, jnp.einsum("bij,bj->bi", found.correlation, pushes), atol=1e3 * EPS * GRID.size
    )
    order = np.arange(len(rows)).reshape(1, -1)
    if found.axes == (0,):  # a block a time: its five points, then its total
        order = np.concatenate(
            [np.arange(15).reshape(3, 5), 15 + np.arange(3).reshape(3, 1)], axis=1
        )
    spread = np.sqrt(np.maximum(np.diag(exact), 0))
    known = spread < 1e-7
    unit = np.where(known, 0, 1 / np.where(known, 1, spread))
    for block, place in zip(np.asarray(found.correlation), order, strict=True):
        expected = (unit[:, None] * exact * unit)[np.ix_(place, place)]
        np.testing.assert_allclose(block, expected, atol=1e-10)


def test_a_belief_independent_in_time_is_truncated_time_by_time():
    own = bc.Gaussian(
        jnp.full(GRID.shape, 0.7), belief("kronecker independent in time").gaussian.covariance
    )
    total = bc.Constraint(bc.integral(GRID), jnp.array([0.5, 1.0, 1.5]), name="total")
    law = truncated(own | total, nonnegative(GRID))
    assert law.walls.correlation.shape == (3, 5, 5)
    drawn = law.sample(key(12), 2000)
    totals = jax.vmap(bc.integral(GRID))(drawn.pooled)
    assert float(jnp.max(jnp.abs(totals - jnp.array([[0.5, 1.0, 1.5]])))) <= 1e-12
    assert float(drawn.draws.min()) >= -16 * EPS
    plain = np.asarray((own | total).sample(key(13), (100_000,)))
    for time in range(3):
        exact = plain[(plain[:, time] >= 0).all(axis=1), time]
        se = exact.std(axis=0) / math.sqrt(len(exact))
        assert_means_agree(drawn.pooled[:, time], drawn.ess, exact.mean(axis=0), se)


# The mode


@pytest.mark.parametrize("shape", ["non-negative", "falling and non-negative"])
def test_the_mode_is_the_nearest_profile_of_the_shape(shape):
    grid = bc.Grid(x=np.linspace(0, 1, 12))
    rng = np.random.default_rng(5)
    mean, scale = 1 - 1.5 * grid["x"] + 0.3 * rng.normal(size=12), rng.uniform(0.1, 0.5, 12)
    total, weights = bc.integral(grid), np.asarray(bc.integral(grid).weights[0])
    posterior = bc.diagonal(mean, scale) | bc.Constraint(total, 0.4, name="total")
    if shape == "non-negative":
        law, expected = (
            truncated(posterior, nonnegative(grid)),
            nearest_nonnegative(mean, scale**2, weights=weights, total=0.4),
        )
    else:
        law = truncated(posterior, decreasing(grid), nonnegative(grid))
        expected = monotone(mean, scale**2, weights=weights, total=0.4)
    np.testing.assert_allclose(law.mode, expected, atol=1e-7)


# Points known exactly, and what is said twice


def test_points_known_exactly_take_part_as_they_are():
    wall = bc.Constraint(bc.dirichlet(FEW, "x", "lower"), 0.6, name="wall")
    drawn = truncated(
        rod() | wall, nonnegative(FEW), at_most(bc.functional(lambda u: u, FEW), 0.6)
    ).sample(key(14), 200)
    assert float(jnp.max(jnp.abs(drawn.draws[..., 0] - 0.6))) <= 1e-12
    assert float(drawn.draws.min()) >= -16 * EPS
    assert float(drawn.draws[..., 1:].max()) <= 0.6 + 16 * EPS


def test_saying_an_inequality_twice_changes_nothing():
    once, twice = (
        truncated(rod(), nonnegative(FEW), *more).sample(key(15), 50, warmup=10)
        for more in ((), (nonnegative(FEW),))
    )
    np.testing.assert_allclose(once.draws, twice.draws, atol=1e-9)


def test_stating_together_is_stating_with_and():
    one = truncated(rod(), nonnegative(FEW), decreasing(FEW)).sample(key(16), 60, warmup=5)
    other = truncated(rod(), nonnegative(FEW) & decreasing(FEW)).sample(key(16), 60, warmup=5)
    np.testing.assert_array_equal(one.draws, other.draws)


def test_an_affine_function_is_bounded_with_its_offset():
    shifted = bc.functional(lambda u: u + 3.0, FEW)
    one = truncated(rod(), at_least(shifted, 3.0)).sample(key(17), 60, warmup=5)
    other = truncated(rod(), nonnegative(FEW)).sample(key(17), 60, warmup=5)
    np.testing.assert_allclose(one.draws, other.draws, atol=1e-12)


def test_results_are_a_tree_with_statistics_of_the_sampler():
    tree = rods().datatree(FEW, sampler="bounces")
    assert tree["posterior"]["u"].dims == ("chain", "draw", "x")
    assert set(tree["sample_stats"].data_vars) == {"bounces", "slack", "stopped"}
    assert tree.attrs["sampler"] == "bounces"


def test_the_model_of_a_positive_field_keeps_amount_and_sign():
    drawn = positive_field.restricted(key(19), 200)
    assert (
        float(
            jnp.max(
                jnp.abs(
                    jax.vmap(bc.integral(positive_field.grid))(drawn.pooled) - positive_field.amount
                )
            )
        )
        <= 1e-12
    )
    assert float(drawn.draws.min()) >= -16 * EPS
    assert drawn.r_hat < 1.05


@pytest.mark.float32
def test_single_precision_keeps_both_to_its_own():
    dtype = jnp.float32
    prior = bc.diagonal(jnp.array([0.5, 0.4, 0.1, -0.1], dtype), jnp.full(4, 0.5, dtype))
    drawn = truncated(prior | bc.Constraint(TOTAL, 0.2, name="total"), nonnegative(FEW)).sample(
        key(18), 200
    )
    assert drawn.draws.dtype == dtype
    eps = float(np.finfo(np.float32).eps)
    assert float(jnp.max(jnp.abs(jax.vmap(TOTAL)(drawn.pooled) - 0.2))) <= 16 * eps
    assert float(drawn.draws.min()) >= -16 * eps


# What cannot be

_points = bc.functional(lambda u: u, FEW)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (
            lambda: truncated(rod()),
            ValueError,
            r"no inequality: write truncated\(belief, nonnegative\(grid\)\)",
        ),
        (
            lambda: truncated(
                rod() | bc.Constraint(bc.dirichlet(FEW, "x", "lower"), -0.2, name="wall"),
                nonnegative(FEW),
            ),
            bc.InconsistentConstraintsError,
            r"nonnegative\[x=0\] is violated by 0\.2, and the belief holds its value for certain",
        ),
        (
            lambda: truncated(rod(), at_most(TOTAL, 0.1, name="cap")),
            bc.InconsistentConstraintsError,
            r"cap is violated by 0\.1",
        ),
        (lambda: truncated(rod(), at_most(TOTAL, 0.3)), ValueError, "there is nothing to restrict"),
        (
            lambda: truncated(rod(), at_least(_points, 0.5, name="floor")).sample(key(0), 2),
            bc.InconsistentConstraintsError,
            r"no field that the belief allows satisfies floor \(4 rows\)\. Either",
        ),
        (
            lambda: truncated(
                rod(),
                nonnegative(FEW),
                at_most(bc.functional(lambda u: u[1], FEW), -1.0, name="cap"),
            ).sample(key(0), 2),
            bc.InconsistentConstraintsError,
            r"satisfies nonnegative\[x=0\.3\] and cap\. Either",
        ),
        (
            lambda: truncated(rod(), increasing(FEW), decreasing(FEW)).sample(key(0), 2),
            bc.InconsistentConstraintsError,
            "can only hold together as equalities: the fields that satisfy them have no volume",
        ),
        (lambda: at_least(_points, jnp.nan), ValueError, "the bound of 'at least' holds 1 NaN"),
        (
            lambda: at_least(_points, jnp.zeros(3)),
            ValueError,
            r"must be a number or have the shape \(4,\).*got \(3,\)",
        ),
        (
            lambda: at_least(lambda u: u, 0.0),
            TypeError,
            r"got function\. Wrap a function with bc\.functional\(function, grid\)",
        ),
        (lambda: at_least(bc.functional(lambda u: u[:0], FEW), 0.0), ValueError, "has no rows"),
        (lambda: increasing(bc.Grid(x=[0.0])), ValueError, "needs two points or more"),
        (lambda: increasing(FEW, "y"), ValueError, "unknown axis 'y'"),
        (
            lambda: truncated(rod(), nonnegative(GRID)),
            ValueError,
            r"acts on fields of shape \(3, 5\), the belief is over fields of shape \(4,\)",
        ),
        (
            lambda: truncated(bc.diagonal(jnp.zeros((2, 4)), 1.0, batch_dims=1), nonnegative(FEW)),
            ValueError,
            r"got a batch of shape \(2,\)\. Truncate its members one by one",
        ),
        (
            lambda: truncated(rod(), nonnegative(FEW)).sample(key(0), 0),
            ValueError,
            "n must be a whole number, 1 or more; got 0",
        ),
        (
            lambda: truncated(rod(), nonnegative(FEW)).sample(key(0), chains=0),
            ValueError,
            "chains must be a whole number, 1 or more",
        ),
        (
            lambda: truncated(rod(), nonnegative(FEW)).sample(key(0), warmup=-1),
            ValueError,
            "warmup must be a whole number, 0 or more",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_chains_that_have_not_mixed_are_told_how_to_draw_more():
    with pytest.warns(bc.NotMixedWarning, match=r"Draw more, sample\(key, \d+, warmup=\.\.\.\)$"):
        truncated(rod(), nonnegative(FEW)).sample(key(19), 8, warmup=0)
