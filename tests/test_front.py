"""Fronts against closed forms: ramps, steps, and profiles that have none."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayescons.diagnostics import front_position, front_summary

EPS = np.finfo(np.float64).eps
X = np.sort(np.concatenate([np.linspace(0, 1, 41), [0.013, 0.5001, 0.777]]))  # uneven on purpose


@given(front=st.floats(0.001, 0.999), slope=st.floats(0.1, 50), threshold=st.floats(-2, 2))
def test_the_front_of_a_linear_ramp_is_exact(front, slope, threshold):
    ramp = threshold - slope * (X - front)
    # u - u* carries a rounding of eps (|u*| + slope), worth that over the slope in x
    bound = 8 * EPS * (abs(threshold) + slope) / slope
    assert abs(front_position(ramp, X, threshold) - front) <= bound


@given(front=st.floats(0.001, 0.999))
def test_the_front_of_a_step_is_found_to_within_half_its_cell(front):
    step = np.where(front > X, 0.6, 0.0)
    cell = np.searchsorted(X, front, side="left")
    half = (X[cell] - X[cell - 1]) / 2
    assert abs(front_position(step, X, 0.3) - front) <= half + 4 * EPS


def test_a_threshold_at_the_value_behind_the_jump_puts_the_front_on_the_upper_node():
    assert front_position(np.where(X < 0.4, 0.6, 0.0), X, 0.0) == X[np.searchsorted(X, 0.4)]


def test_the_first_of_several_fronts_is_taken():
    k, h = 6 * np.pi, 0.025  # h: widest cell
    wave = np.cos(k * X)  # falls through zero at 1/12, 5/12, 9/12
    bound = (
        h**2 * k**2 / 8 / (k * np.cos(k * h))
    )  # of linear interpolation: h^2 max|u''| / 8 / min|u'| in the cell
    assert abs(front_position(wave, X, 0.0) - 1 / 12) < bound


def test_a_profile_that_starts_below_the_threshold_has_its_front_where_it_falls():
    assert front_position(np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, 2.0]), 0.5) == 1.5


@pytest.mark.parametrize(
    "profile", [np.ones_like(X), -np.ones_like(X), X - 0.5, np.where(X == 0.5, np.nan, 0.6 - X)]
)
def test_a_profile_that_never_falls_through_the_threshold_has_no_front(profile):
    assert np.isnan(front_position(profile, X, 0.0))


@given(front=st.floats(0.01, 0.99))
def test_an_increasing_affine_change_of_the_field_does_not_move_the_front(front):
    profile = np.tanh(8 * (front - X))
    moved = front_position(3 * profile + 1, X, 3 * 0.2 + 1)
    np.testing.assert_allclose(moved, front_position(profile, X, 0.2), atol=64 * EPS)


@given(front=st.floats(0.01, 0.99))
def test_a_monotone_change_of_the_field_keeps_the_front_in_its_cell(front):
    profile = np.tanh(8 * (front - X))
    before, after = (float(front_position(f(profile), X, f(0.2))) for f in (lambda u: u, np.exp))
    if not np.isnan(before):
        assert np.searchsorted(X, before - 1e-12) == np.searchsorted(X, after - 1e-12)


def test_a_rising_front_is_the_falling_front_of_the_negated_field():
    profile = np.tanh(8 * (X - 0.37))
    assert front_position(profile, X, 0.2, direction="rising") == front_position(-profile, X, -0.2)
    assert np.isnan(front_position(profile, X, 0.2))


def test_batches_agree_with_single_profiles_under_jit():
    fields = np.random.default_rng(0).normal(size=(2, 5, X.size)).cumsum(-1)
    batch = jax.jit(front_position)(fields, X, 0.0)
    single = [[front_position(profile, X, 0.0) for profile in row] for row in fields]
    assert batch.shape == (2, 5)
    np.testing.assert_allclose(batch, np.array(single), atol=4 * EPS)


def test_the_position_moves_with_the_field_as_its_gradient_says():
    shift = jax.grad(lambda c: front_position(c - 2.0 * X, X, 0.0))(0.7)
    np.testing.assert_allclose(shift, 0.5, rtol=64 * EPS)  # front at c / 2


def test_gradients_stay_finite_where_there_is_no_front():
    gradient = jax.grad(lambda c: np.float64(0) + front_position(c * np.ones_like(X), X, 0.0))(1.0)
    assert np.isfinite(gradient)


def test_shapes_and_directions_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="Put x last"):
        front_position(np.ones((X.size, 3)), X, 0.0)
    with pytest.raises(ValueError, match="coordinates"):
        front_position(np.ones(1), np.ones(1), 0.0)


def test_absent_fronts_are_counted_and_not_averaged():
    positions = np.random.default_rng(1).normal(0.3, 0.01, size=(1, 400))
    whole = front_summary(positions)
    positions[0, ::4] = np.nan
    some = front_summary(positions)
    present = positions[~np.isnan(positions)]
    assert (whole.absent, whole.draws) == (0, 400)
    assert (some.absent, some.draws) == (100, 400)
    np.testing.assert_allclose(some.mean, present.mean(), rtol=64 * EPS)
    np.testing.assert_allclose(some.sd, present.std(ddof=1), rtol=1e-9)
    assert ((present >= some.lower) & (present <= some.upper)).mean() >= 0.95 - 1 / 300


def test_a_belief_without_any_front_is_all_absent():
    summary = front_summary(np.full(10, np.nan))
    assert (summary.absent, summary.draws) == (10, 10)
    assert np.isnan(summary[:6]).all()


def test_chains_that_agree_have_unit_r_hat_and_one_chain_has_none():
    positions = np.random.default_rng(2).normal(size=(4, 500))
    positions[1, :20] = np.nan
    agreeing = front_summary(positions)
    assert abs(agreeing.r_hat - 1) < 0.02  # independent draws: r_hat - 1 is of the order of 1 / 500
    assert agreeing.ess_bulk > 1000
    assert front_summary(positions + 5 * np.arange(4)[:, None]).r_hat > 2
    assert np.isnan(front_summary(positions[:1]).r_hat)


def test_a_certain_front_has_no_spread():
    summary = front_summary(np.full((2, 50), 0.25))
    assert (summary.mean, summary.sd, summary.lower, summary.upper) == (0.25, 0.0, 0.25, 0.25)


def test_summaries_refuse_a_time_axis():
    with pytest.raises(ValueError, match="one time after another"):
        front_summary(np.ones((1, 5, 3)))


@given(front=st.floats(0.05, 0.99), rising=st.booleans())
def test_rearranging_a_monotone_profile_changes_nothing(front, rising):
    sign, told = (-1, {"direction": "rising"}) if rising else (1, {})
    profile = sign * np.tanh(8 * (front - X))
    assert front_position(profile, X, 0.2 * sign, rearranged=True, **told) == front_position(
        profile, X, 0.2 * sign, **told
    )


@given(front=st.floats(0.05, 0.99), seed=st.integers(0, 2**16))
def test_the_rearranged_front_does_not_depend_on_the_order_of_the_values(front, seed):
    x = np.linspace(0, 1, 51)
    profile = np.tanh(8 * (front - x))
    shuffled = np.random.default_rng(seed).permutation(profile)
    assert front_position(shuffled, x, 0.2, rearranged=True) == front_position(profile, x, 0.2)


@given(st.integers(0, 2**16))
def test_noise_ahead_of_a_front_moves_the_first_crossing_and_hardly_the_rearranged_one(seed):
    x = np.linspace(0, 1, 201)
    step = np.where(x < 0.5, 1.0, 0.0)
    noisy = step + np.random.default_rng(seed).normal(0, 0.3, (200, 201)) * (abs(x - 0.5) < 0.1)
    first, rearranged = (
        np.asarray(front_position(noisy, x, 0.5, rearranged=r)).mean() for r in (False, True)
    )
    assert abs(rearranged - 0.4975) < 0.004 < 0.03 < abs(first - 0.4975)


def test_a_profile_with_a_nan_has_no_rearranged_front_either():
    assert np.isnan(front_position(np.where(X == 0.5, np.nan, 0.6 - X), X, 0.0, rearranged=True))
