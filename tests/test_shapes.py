"""Shapes: the nearest profile of the shape with the exact total, against a quadratic programme
solved by trying every active set.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

import bayescons as bc
from bayescons.restrictions.shape_constraints import monotone, nonnegative

EPS = float(np.finfo(float).eps)
FEW, MANY = 5, 201


class Kind(NamedTuple):
    """A shape: the function, and the rows of what must not be negative, D u >= 0, on five
    points.
    """

    project: functools.partial
    rows: np.ndarray


_falls, _ends = -np.diff(np.eye(FEW), axis=0), np.eye(FEW)
KINDS = {
    "non-negative": Kind(functools.partial(nonnegative), np.eye(FEW)),
    "falling": Kind(functools.partial(monotone, nonnegative=False), _falls),
    "rising": Kind(functools.partial(monotone, decreasing=False, nonnegative=False), -_falls),
    "falling and non-negative": Kind(functools.partial(monotone), np.vstack([_falls, _ends[-1:]])),
    "rising and non-negative": Kind(
        functools.partial(monotone, decreasing=False), np.vstack([-_falls, _ends[:1]])
    ),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def of_the_shape(kind, values):
    """Profiles of the shape, from numbers of any."""
    values = np.abs(values) if "non-negative" in kind else np.array(values)
    return (
        np.sort(values)[..., ::-1]
        if "falling" in kind
        else np.sort(values)
        if "rising" in kind
        else values
    )


def programme(mean, variance, weights, total, rows):
    """The quadratic programme with D u >= 0: of the solutions with some rows of D at zero, the
    nearest of those that are feasible.
    """
    known, best = variance == 0, (np.inf, None)
    metric = np.diag(1 / np.where(known, 1.0, variance))
    equations, values = [weights, *np.eye(FEW)[known]], [total, *mean[known]]
    for active in itertools.product([False, True], repeat=len(rows)):
        left, right = (
            np.vstack([*equations, rows[list(active)]]),
            np.append(values, np.zeros(sum(active))),
        )
        system = np.block([[metric, left.T], [left, np.zeros((len(left), len(left)))]])
        u = np.linalg.lstsq(system, np.append(metric @ mean, right))[0][:FEW]
        distance = (u - mean) @ metric @ (u - mean)
        if (
            np.abs(left @ u - right).max() < 1e-10
            and (rows @ u).min() > -1e-10
            and distance < best[0]
        ):
            best = distance, u
    return best[1]


def problems(kind, known=(), count=25, seed=0):
    """Means, variances, weights and totals on five points; the total, and the points known, are
    those of a profile of the shape.
    """
    rng = np.random.default_rng(seed)
    truth = of_the_shape(kind, rng.normal(size=(count, FEW)))
    mean, variance = truth + rng.normal(size=(count, FEW)), rng.uniform(0.1, 1, size=(count, FEW))
    mean[:, list(known)], variance[:, list(known)] = truth[:, list(known)], 0.0
    weights = rng.uniform(0.1, 1, size=FEW)
    return mean, variance, weights, truth @ weights, truth


def front(*lead, seed=0):
    """Noisy profiles of a melting front, the wall known, and their exact total: means, variances,
    weights, totals.
    """
    rng = np.random.default_rng(seed)
    grid = bc.Grid(x=np.linspace(0, 1, MANY))
    place = rng.uniform(0.2, 0.8, size=(*lead, 1))
    truth = np.maximum(1 - grid["x"] / place, 0)
    sd = 0.02 + 0.2 * np.exp(-(((grid["x"] - place) / 0.1) ** 2))
    sd[..., 0] = 0.0
    weights = bc.integral(grid).weights[0]
    return (
        truth + sd * rng.normal(size=truth.shape),
        sd**2,
        np.asarray(weights),
        truth @ weights,
        truth,
    )


# It is the solution


@every_kind
@pytest.mark.parametrize("known", [(), (0,), (0, 3)], ids=["none known", "wall known", "two known"])
def test_it_is_the_quadratic_programme(kind, known):
    own = KINDS[kind]
    mean, variance, weights, total, _ = problems(kind, known)
    expected = [
        programme(m, v, weights, b, own.rows) for m, v, b in zip(mean, variance, total, strict=True)
    ]
    # condition number below 1e3: variances within a factor of ten
    np.testing.assert_allclose(
        own.project(mean, variance, weights=weights, total=total), expected, rtol=0, atol=1e4 * EPS
    )


@every_kind
def test_weights_of_either_sign_have_a_total_too(kind):
    own = KINDS[kind]
    mean, variance, _, _, truth = problems(kind)
    moment = np.array([-1.0, -0.5, 0.1, 0.5, 1.0])
    expected = [
        programme(m, v, moment, moment @ u, own.rows)
        for m, v, u in zip(mean, variance, truth, strict=True)
    ]
    ours = own.project(mean, variance, weights=moment, total=truth @ moment)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e4 * EPS)


@pytest.mark.parametrize("decreasing", [True, False])
def test_where_the_total_does_not_bind_it_is_scipys_isotonic_regression(decreasing):
    rng = np.random.default_rng(1)
    mean, variance, weights, _, _ = front(3)
    variance = variance + rng.uniform(1e-4, 1e-2, size=variance.shape)
    expected = [
        isotonic_regression(m, weights=1 / v, increasing=not decreasing).x
        for m, v in zip(mean, variance, strict=True)
    ]
    ours = monotone(
        mean,
        variance,
        weights=weights,
        total=np.array(expected) @ weights,
        decreasing=decreasing,
        nonnegative=False,
    )
    np.testing.assert_allclose(ours, expected, rtol=0, atol=MANY * EPS * np.abs(mean).max() * 10)


@given(st.data())
@every_kind
def test_it_never_moves_away_from_a_truth_of_the_shape(kind, data):
    """By Pythagoras, |m - c|² >= |m - u|² + |u - c|² for every c of the shape with the total: what
    makes u the nearest of them.
    """
    numbers = st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=FEW, max_size=FEW).map(
        np.array
    )
    mean, truth = data.draw(numbers), of_the_shape(kind, data.draw(numbers))
    variance = 10.0 ** np.array(data.draw(st.lists(st.floats(-6, 6), min_size=FEW, max_size=FEW)))
    weights = np.array([0.1, 0.3, 0.2, 0.35, 0.05])
    u = np.asarray(KINDS[kind].project(mean, variance, weights=weights, total=truth @ weights))

    def square(a, b):
        return np.sum((a - b) ** 2 / variance)

    # u and the total are rounded to eps of their size, which the metric divides by the smallest
    # deviation
    size = np.abs([mean, truth, u]).max()
    rounding = (
        1e3 * EPS * size / np.sqrt(variance.min()) * np.sqrt(square(mean, truth) + square(u, truth))
    )
    assert square(mean, u) + square(u, truth) <= square(mean, truth) + rounding


# Shape, total and what is known


@pytest.mark.parametrize("lead", [(), (3, 4)])
def test_the_shape_holds_exactly_and_the_total_to_1e_12(lead):
    mean, variance, weights, total, _ = front(*lead)
    for u in (
        nonnegative(mean, variance, weights=weights, total=total),
        monotone(mean, variance, weights=weights, total=total),
    ):
        assert u.shape == mean.shape
        assert float(u.min()) >= 0
        np.testing.assert_allclose(u @ weights, total, rtol=1e-12)
        np.testing.assert_array_equal(u[..., 0], mean[..., 0])
    assert float(jnp.diff(u, axis=-1).max()) <= 0


def test_clipping_breaks_the_total_and_the_projection_is_nearer_to_the_truth():
    mean, variance, weights, total, truth = front(50)
    clipped = np.minimum.accumulate(np.maximum(mean, 0), axis=-1)
    assert np.abs(clipped @ weights - total).mean() > 0.01
    u = np.asarray(monotone(mean, variance, weights=weights, total=total))
    assert ((u - truth) ** 2).mean() < 0.25 * ((mean - truth) ** 2).mean()


@every_kind
def test_a_profile_of_the_shape_with_the_total_is_left_alone(kind):
    _, variance, weights, total, truth = problems(kind)
    u = KINDS[kind].project(truth, variance, weights=weights, total=total)
    np.testing.assert_allclose(u, truth, rtol=0, atol=32 * EPS * np.abs(truth).max())


@every_kind
def test_twice_is_once(kind):
    mean, variance, weights, total, _ = problems(kind)
    once = KINDS[kind].project(mean, variance, weights=weights, total=total)
    twice = KINDS[kind].project(once, variance, weights=weights, total=total)
    np.testing.assert_allclose(twice, once, rtol=0, atol=64 * EPS * np.abs(mean).max())


def test_a_total_of_zero_leaves_nothing():
    mean, variance, weights, _, _ = front()
    variance[0] = 1.0
    np.testing.assert_allclose(monotone(mean, variance, weights=weights, total=0.0), 0.0, atol=EPS)


def test_variances_of_very_different_size_are_no_obstacle():
    mean, _, weights, total, _ = front(4)
    variance = 10.0 ** np.random.default_rng(2).uniform(-24, 0, size=mean.shape)
    u = monotone(mean, variance, weights=weights, total=total)
    np.testing.assert_allclose(u @ weights, total, rtol=1e-12)
    assert float(jnp.diff(u, axis=-1).max()) <= 0


def test_what_a_subtraction_leaves_of_a_known_zero_is_mended():
    mean, variance, weights, total, _ = front()
    mean[-1], variance[-1] = -16 * EPS, 0.0
    assert float(nonnegative(mean, variance, weights=weights, total=total)[-1]) == 0


# Beliefs and draws


def test_conditioning_on_the_total_first_changes_nothing():
    grid = bc.Grid(t=np.array([0.0, 1.0, 2.0]), x=np.linspace(0, 1, MANY))
    mean, variance, weights, total, _ = front(3)
    belief = bc.diagonal(mean, np.sqrt(variance + 1e-3))
    conditioned = bc.condition(belief, bc.Constraint(bc.integral(grid), total))
    for project in (nonnegative, monotone):
        before, after = (
            project(b.mean, belief.variance, weights=weights, total=total)
            for b in (belief, conditioned)
        )
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-12)


def test_every_draw_gets_the_shape_and_the_total():
    mean, variance, weights, total, _ = front(3)
    draws = bc.diagonal(mean, np.sqrt(variance + 1e-3)).sample(jax.random.key(0), (4,))
    u = monotone(draws, variance + 1e-3, weights=weights, total=total)
    assert u.shape == draws.shape
    assert float(jnp.diff(u, axis=-1).max()) <= 0
    np.testing.assert_allclose(u @ weights, np.broadcast_to(total, (4, 3)), rtol=1e-12)


# Symmetries, batches and compilation


def test_falling_is_rising_seen_in_a_mirror_and_upside_down():
    mean, variance, weights, total, _ = problems("falling")
    falling = KINDS["falling"].project(mean, variance, weights=weights, total=total)
    mirrored = KINDS["rising"].project(
        mean[:, ::-1], variance[:, ::-1], weights=weights[::-1], total=total
    )[:, ::-1]
    upturned = -KINDS["rising"].project(-mean, variance, weights=weights, total=-total)
    np.testing.assert_allclose(mirrored, falling, rtol=0, atol=64 * EPS)
    np.testing.assert_allclose(upturned, falling, rtol=0, atol=64 * EPS)


def test_the_unit_of_field_weights_and_variances_does_not_matter():
    mean, variance, weights, total, _ = problems("falling and non-negative")
    u = monotone(mean, variance, weights=weights, total=total)
    other = monotone(1e6 * mean, 1e-9 * variance, weights=1e-3 * weights, total=1e3 * total)
    np.testing.assert_allclose(other, 1e6 * u, rtol=0, atol=64 * EPS * 1e6 * np.abs(mean).max())


@pytest.mark.parametrize("kind", ["non-negative", "falling and non-negative"])
def test_a_batch_by_leading_axes_by_vmap_by_jit_and_by_a_loop_are_the_same(kind):
    project = KINDS[kind].project
    mean, variance, weights, total, _ = problems(kind, count=3)

    def one(m, v, b):
        return project(m, v, weights=weights, total=b)

    batch = one(mean, variance, total)
    loop = jnp.stack([one(*each) for each in zip(mean, variance, total, strict=True)])
    for other in (loop, jax.vmap(one)(mean, variance, total), jax.jit(one)(mean, variance, total)):
        np.testing.assert_allclose(other, batch, rtol=0, atol=16 * EPS * np.abs(mean).max())


def test_the_profile_may_lie_along_any_axis():
    mean, variance, weights, total, _ = problems("falling", count=3)
    along = nonnegative(np.abs(mean), variance, weights=weights, total=np.abs(total))
    np.testing.assert_array_equal(
        nonnegative(np.abs(mean.T), variance.T, weights=weights, total=np.abs(total), axis=0),
        along.T,
    )


# Gradients


@every_kind
def test_gradients_are_finite_differences(kind):
    """Where no point is about to meet a bound; and the total keeps to b whatever mean and variances
    do.
    """
    project = KINDS[kind].project
    mean, variance, weights, total, _ = problems(kind, known=(0,), count=3)
    along = np.random.default_rng(3).normal(size=(3, *mean.shape)) * (variance > 0)

    @jax.jit
    def at(step):
        u = project(
            mean + step[0] * along[0],
            variance * jnp.exp(step[1] * along[1]),
            weights=weights * jnp.exp(step[2] * jnp.arange(FEW)),
            total=total + step[3],
        )
        return jnp.append(u @ along[2].T, (u @ weights).reshape(-1, 1), axis=1)

    jacobian = jax.jit(jax.jacrev(at))(jnp.zeros(4))
    step = 1e-6
    differences = jnp.stack(
        [(at(step * unit) - at(-step * unit)) / (2 * step) for unit in jnp.eye(4)], axis=-1
    )
    size = float(jnp.abs(jacobian).max() + jnp.abs(at(jnp.zeros(4))).max())
    np.testing.assert_allclose(
        jacobian, differences, rtol=0, atol=1e3 * size * (EPS / step + step**2)
    )
    np.testing.assert_allclose(jacobian[:, -1, [0, 1, 3]], [[0.0, 0.0, 1.0]] * 3, atol=1e3 * EPS)


def test_gradients_stay_finite_where_everything_is_held():
    def size(mean, variance, total):
        return jnp.sum(monotone(mean, variance, weights=np.ones(FEW), total=total) ** 2)

    slopes = jax.jit(jax.grad(size, argnums=(0, 1, 2)))
    for mean in (np.zeros(FEW), -np.ones(FEW), np.arange(FEW, dtype=float)):
        gradients = slopes(jnp.asarray(mean), jnp.ones(FEW), jnp.asarray(0.0))
        assert all(bool(jnp.isfinite(g).all()) for g in gradients)


# Single precision


@pytest.mark.float32
def test_single_precision_holds_the_total_to_its_own():
    mean, variance, weights, total, _ = (np.asarray(a, np.float32) for a in front(3))
    u = monotone(mean, variance, weights=weights, total=total)
    assert u.dtype == jnp.float32
    assert float(u.min()) >= 0
    assert float(jnp.diff(u, axis=-1).max()) <= 0
    np.testing.assert_allclose(u @ weights, total, rtol=4 * MANY * np.finfo(np.float32).eps)


# What cannot be


_ones, _w = np.ones(FEW), np.full(FEW, 0.2)
_wall = np.where(np.arange(FEW) == 0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: nonnegative(_ones, _ones, weights=_w, total=-1.0),
            r"the profile cannot be non-negative and have the total -1: \(a\)",
        ),
        (
            lambda: nonnegative(_ones, 0 * _ones, weights=_w, total=2.0),
            r"variance zero; 5 of 5\) allow, \(b\) no point with a weight",
        ),
        (
            lambda: monotone(_ones, _wall, weights=_w, total=2.0),
            "cannot be non-negative and non-increasing and have the total 2",
        ),
        (
            lambda: monotone(
                np.ones((2, FEW)), _wall[None], weights=_w, total=np.array([0.5, 1.5])
            ),
            r"profile \(1,\), one of 1 such, cannot be",
        ),
        (
            lambda: monotone(np.arange(5.0), 0 * _ones, weights=_w, total=2.0),
            r"its points known exactly \(variance zero\) are not\. Correct their values",
        ),
        (
            lambda: nonnegative(-_ones, _wall, weights=_w, total=1.0),
            r"points known exactly \(variance zero\) are not",
        ),
        (
            lambda: nonnegative(_ones, -_ones, weights=_w, total=1.0),
            "variance must not be negative; its smallest entry is -1",
        ),
        (lambda: nonnegative(_ones * np.nan, _ones, weights=_w, total=1.0), "mean holds 5 NaN"),
        (lambda: nonnegative(_ones, _ones, weights=0 * _w, total=1.0), "weights are all zero"),
        (
            lambda: nonnegative(_ones, _ones, weights=_w[1:], total=1.0),
            r"weights must have shape \(n,\).*got \(4,\)",
        ),
        (
            lambda: nonnegative(_ones, _ones, weights=_w, total=_ones),
            r"total must broadcast to \(\); got shape \(5,\)",
        ),
        (
            lambda: nonnegative(_ones, _ones[:, None], weights=_w, total=1.0),
            r"variance must broadcast to \(5,\); got shape \(5, 1\)",
        ),
        (lambda: nonnegative(_ones, _ones, weights=_w, total=1.0, axis=1), "along axis 1"),
    ],
)
def test_what_cannot_be_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_under_jit_what_cannot_be_is_nan_and_leaves_its_neighbours_alone():
    u = jax.jit(lambda b: nonnegative(np.ones((2, FEW)), np.ones((2, FEW)), weights=_w, total=b))(
        jnp.array([-1.0, 0.5])
    )
    assert bool(jnp.isnan(u[0]).all())
    np.testing.assert_allclose(u[1], 0.5 * _ones, rtol=16 * EPS)
