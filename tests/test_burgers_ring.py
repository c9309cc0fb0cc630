"""Laws of the Fourier solver, and Burgers on a ring against the transformation of Cole and Hopf."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from bayescons.problems import BurgersRing
from bayescons.solvers import burgers_ring, exponential_steps, series

EPS = np.finfo(np.float64).eps
SINE = np.array([0.0, -0.5j])  # sin 2πx
X = np.linspace(0, 1, 65)


def cole_hopf(t, x, viscosity, potential, points=4096, turns=3):
    """u = ∫ (x - y)/t w dy / ∫ w dy with w = exp(-(Φ(y) + (x - y)²/2t)/2ν), Φ' = u(0, ·): sums of
    positive terms, in logarithms.

    Over several turns of the ring the trapezoid rule is exact to rounding: the integrand is
    analytic, and vanishes at both ends.
    """
    y = np.linspace(-turns, turns + 1, points * (2 * turns + 1))
    distance = x[:, None] - y[None]
    exponent = -(potential(y)[None] + distance**2 / (2 * t)) / (2 * viscosity)
    weights = np.exp(exponent - logsumexp(exponent, axis=1, keepdims=True))
    return np.sum(weights * distance / t, axis=1)


@pytest.mark.parametrize(
    ("viscosity", "tolerances"), [(0.1, (5e-12, 1e-12)), (0.01, (5e-9, 3e-10))]
)
def test_a_sine_on_a_ring_is_what_cole_and_hopf_say(viscosity, tolerances):
    states = burgers_ring(
        SINE, viscosity=viscosity, resolution=1024, times=np.array([0.25, 0.5]), step=1e-3
    )
    for t, state, tolerance in zip((0.25, 0.5), states, tolerances, strict=True):
        exact = cole_hopf(t, X, viscosity, lambda y: -np.cos(2 * np.pi * y) / (2 * np.pi))
        assert np.abs(exact).max() > 0.02
        np.testing.assert_allclose(series(state, X), exact, rtol=0, atol=tolerance)


def test_a_random_state_on_a_ring_is_what_cole_and_hopf_say():
    problem = BurgersRing(viscosity=0.02, modes=12, time_range=(0.1, 0.6))
    grid = problem.grid(33, times=2)
    samples = problem.sample(jax.random.key(5), 2, grid)
    for parameter, fields in zip(
        np.asarray(samples.parameter), np.asarray(samples.outputs), strict=True
    ):
        k = np.arange(1, 13)[:, None]
        sizes = np.sqrt(2) * 25 / ((2 * np.pi * k) ** 2 + 25)

        def potential(y, xi=parameter[0][:, None], zeta=parameter[1][:, None], k=k, sizes=sizes):
            angle = 2 * np.pi * k * y
            return np.sum(
                sizes / (2 * np.pi * k) * (xi * np.sin(angle) - zeta * np.cos(angle)), axis=0
            )

        for t, field in zip(grid["t"], fields, strict=True):
            np.testing.assert_allclose(
                field, cole_hopf(t, grid["x"], 0.02, potential, points=1024), rtol=0, atol=1e-7
            )


def test_halving_the_step_changes_little_and_at_fourth_order():
    problem = BurgersRing(viscosity=0.01, modes=40)
    parameter = problem.draw(jax.random.key(0), 1)[0]
    start = problem.coefficients(parameter)
    run = functools.partial(
        burgers_ring, start, viscosity=0.01, resolution=512, times=np.array([0.5])
    )
    fields = [series(run(step=step)[0], X) for step in (4e-3, 2e-3, 1e-3)]
    changes = [float(jnp.abs(a - b).max()) for a, b in itertools.pairwise(fields)]
    assert changes[-1] < 1e-8
    assert changes[0] / changes[1] > 2**3.5


def test_the_linear_part_is_exact_whatever_the_step():
    rates, start = np.array([0.0, -1.0, -1e3]), np.array([1.0 + 0j, 2j, 1.0])
    times = np.array([0.0, 0.3, 1.0])
    found = exponential_steps(rates, jnp.zeros_like, start, times=times, step=10.0)
    np.testing.assert_allclose(
        found, start * np.exp(rates * times[:, None]), rtol=1e-13, atol=1e-300
    )


def test_steps_are_of_fourth_order():
    """dv/dt = -v + v² from v = 1/2: v = 1/(1 + e^t)."""
    steps = np.array([0.2, 0.1, 0.05])
    errors = []
    for step in steps:
        found = exponential_steps(
            np.array([-1.0]),
            lambda v: v**2,
            np.array([0.5 + 0j]),
            times=np.array([1.0]),
            step=float(step),
        )
        errors.append(abs(found[0, 0] - 1 / (1 + np.e)))
    assert abs(np.polyfit(np.log(steps), np.log(errors), 1)[0] - 4) < 0.3


def test_both_ends_of_a_ring_are_the_same_point_to_the_last_bit():
    samples = BurgersRing(modes=20, resolution=96).sample(
        jax.random.key(0), 3, BurgersRing().grid(33, times=2)
    )
    for fields in (samples.inputs, samples.outputs):
        np.testing.assert_array_equal(fields[..., 0], fields[..., -1])
    np.testing.assert_array_equal(samples.boundary[0], 0.0)


def test_random_states_have_the_published_spectrum():
    """Variance Σₖ 2 · 625/((2πk)² + 25)², mean zero: 2000 states, whose mean square varies by a
    standard error of about 2 %.
    """
    problem = BurgersRing()
    states = jax.vmap(lambda p: problem.initial(p, X[:-1]))(problem.draw(jax.random.key(0), 2000))
    k = np.arange(1, 129)
    expected = np.sum(2 * 625 / ((2 * np.pi * k) ** 2 + 25) ** 2)
    assert 0.55 < np.sqrt(expected) < 0.6
    np.testing.assert_allclose(jnp.mean(states**2), expected, rtol=0.1)  # five standard errors
    np.testing.assert_allclose(
        jnp.mean(states, axis=1), 0.0, atol=1e-3
    )  # aliases of 64 points alone


def test_the_mean_on_a_ring_stays():
    states = burgers_ring(
        np.array([0.3, -0.5j, 0.2]),
        viscosity=0.05,
        resolution=64,
        times=np.array([0.1, 0.4]),
        step=5e-3,
    )
    np.testing.assert_allclose(states[:, 0], 0.3, atol=100 * EPS)


def test_more_modes_than_are_kept_are_refused():
    with pytest.raises(ValueError, match="resolve 22 modes"):
        burgers_ring(
            np.ones(23, complex), viscosity=0.1, resolution=64, times=np.array([0.1]), step=1e-2
        )
    with pytest.raises(ValueError, match="open mesh"):
        BurgersRing(modes=5, resolution=32).solution(
            np.zeros((2, 5)), np.linspace(0, 1, 4), np.linspace(0, 1, 4)
        )
