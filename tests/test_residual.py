"""Residuals: an exact solution leaves nothing over, anything else leaves what the equation says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescons.problems import Advection, Burgers, Diffusion, PorousMedium, Stefan, residual

SOLVED = [
    Diffusion(2.0),
    PorousMedium(3.0),
    Stefan(0.6),
    Advection(2.0),
    Burgers(1.5),
    Burgers(3.0),
]
# Times and positions away from fronts, as shares of the domain; behind and ahead of them.
SHARES = [(0.3, 0.07), (0.45, 0.1), (0.5, 0.93), (0.25, 0.9)]


def place(problem, share):
    (t0, t1), (x0, x1) = problem.time_range, problem.space_range
    return t0 + share[0] * (t1 - t0), x0 + share[1] * (x1 - x0)


@pytest.mark.parametrize("problem", SOLVED, ids=repr)
@pytest.mark.parametrize("share", SHARES)
def test_an_exact_solution_leaves_nothing_over_away_from_its_front(problem, share):
    t, x = place(problem, share)
    left = residual(problem, problem.solution)(jnp.asarray(t), jnp.asarray(x))
    size = 1 + abs(jax.grad(problem.solution)(jnp.asarray(t), jnp.asarray(x)))
    assert abs(left) <= 1e3 * np.finfo(float).eps * size


@pytest.mark.parametrize("problem", SOLVED, ids=repr)
def test_the_flux_through_the_walls_is_that_of_the_field_there(problem):
    t = jnp.asarray(place(problem, (0.3, 0))[0])
    for side, flux in zip(
        problem.space_range, (problem.flux_lower, problem.flux_upper), strict=True
    ):
        u, slope = jax.jvp(lambda x: problem.solution(t, x), (jnp.asarray(side),), (jnp.ones(()),))
        np.testing.assert_allclose(problem.flux(u, slope), flux(t), rtol=1e-9, atol=1e-12)


def test_a_field_that_is_no_solution_leaves_over_what_the_equation_says():
    # u = t x²: ∂u/∂t = x²; diffusion takes away 2 k t; Burgers adds u ∂u/∂x = 2 t² x³
    t, x = jnp.asarray(0.3), jnp.asarray(0.7)

    def field(t, x):
        return t * x**2

    np.testing.assert_allclose(residual(Diffusion(2.0), field)(t, x), x**2 - 4 * t, rtol=1e-12)
    np.testing.assert_allclose(
        residual(Burgers(1.0), field)(t, x), x**2 + 2 * t**2 * x**3, rtol=1e-12
    )
    np.testing.assert_allclose(residual(Advection(3.0), field)(t, x), x**2 + 6 * t * x, rtol=1e-12)
    # (u^m u_x)_x = m u^(m-1) u_x² + u^m u_xx with m = 3, u = t x²: 3 t² x⁴ (2 t x)² + t³ x⁶ 2 t =
    # 14 t⁴ x⁶
    np.testing.assert_allclose(
        residual(PorousMedium(3.0), field)(t, x), x**2 - 14 * t**4 * x**6, rtol=1e-12
    )


def test_no_sum_over_functions_and_parameters_creeps_in():
    """The published penalty for advection paired every function with every speed and was 10.4 on
    exact solutions.
    """
    speeds, key = jnp.linspace(1.0, 5.0, 7), jax.random.key(0)
    t, x = jax.random.uniform(key, (2, 7))

    def wave(speed):
        return lambda t, x: jnp.sin(x - speed * t)

    left = jax.vmap(lambda speed, t, x: residual(Advection(speed), wave(speed))(t, x))(speeds, t, x)
    assert left.shape == (7,)
    np.testing.assert_allclose(left, 0, atol=1e-14)
