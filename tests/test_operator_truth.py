"""The families for operator learning against independent solvers.

The independent solvers are finite differences written here in NumPy, in forms that share nothing
with the code under test. Their own errors fall as h²; where a comparison is finer than that, two
grids are extrapolated to h = 0.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import solve_banded

from bayescons.problems import (
    BurgersStep,
    BurgersWave,
    ForcedHeat,
    OperatorProblem,
    StandingWave,
    StokesSecond,
)

EPS = np.finfo(np.float64).eps
ROUNDING = 1e4 * EPS


def relative(one, other):
    return float(
        np.linalg.norm(np.asarray(one) - np.asarray(other)) / np.linalg.norm(np.asarray(other))
    )


def crank_nicolson(initial, *, conductivity, steps, last, held=None, slopes=None, source=None):
    """∂u/∂t = k ∂²u/∂x² + f on [0, 1], ends held at values or slopes (by ghost nodes); the first
    four steps are halved implicit ones.

    `initial` has shape (points, members); so have `source(t)` and, for one end, `held(t)` or
    `slopes(t)`, each (2, members).
    """
    points = len(initial)
    h, u, t = 1 / (points - 1), np.array(initial), 0.0

    def generator(u):
        out = np.zeros_like(u)
        out[1:-1] = u[2:] - 2 * u[1:-1] + u[:-2]
        if slopes is not None:
            out[0], out[-1] = 2 * (u[1] - u[0]), 2 * (u[-2] - u[-1])
        return conductivity / h**2 * out

    def brought(t):
        out = np.zeros_like(u) if source is None else np.array(source(t))
        if slopes is not None:
            low, high = slopes(t)
            out[0] -= 2 * conductivity / h * low
            out[-1] += 2 * conductivity / h * high
        return out

    def implicit(weight, right, t):
        """(1 - weight L) u = right."""
        bands = np.zeros((3, points))
        c = weight * conductivity / h**2
        bands[0, 1:], bands[1], bands[2, :-1] = -c, 1 + 2 * c, -c
        if held is not None:
            bands[0, 1], bands[1, 0], bands[1, -1], bands[2, -2] = 0, 1, 1, 0
            right[0], right[-1] = held(t)
        else:
            bands[0, 1], bands[2, -2] = -2 * c, -2 * c
        return solve_banded((1, 1), bands, right)

    dt = last / steps
    for _ in range(
        4
    ):  # two steps, as four implicit halves: rough initial data would ring otherwise
        u = implicit(dt / 2, u + dt / 2 * brought(t + dt / 2), t + dt / 2)
        t += dt / 2
    for _ in range(steps - 2):
        u = implicit(dt / 2, u + dt / 2 * (generator(u) + brought(t) + brought(t + dt)), t + dt)
        t += dt
    return u


@pytest.mark.parametrize(
    ("viscosity", "tolerance"),
    [(0.1, 3.01e-7), (0.02, 1.21e-6), (0.005, 4.7e-6), (0.002, 1.2e-5), (0.001, 2.3e-5)],
)
def test_the_oscillating_wall_agrees_with_crank_nicolson(viscosity, tolerance):
    """The tolerances are the errors of 2001 points and 4000 steps."""
    problem, frequency, x = StokesSecond(viscosity=viscosity), 3.5, np.linspace(0, 1, 2001)
    k = np.sqrt(frequency / (2 * viscosity))

    def held(t):
        return np.array([2 * np.cos(frequency * t)]), np.array(
            [2 * np.exp(-k) * np.cos(k - frequency * t)]
        )

    start = (2 * np.exp(-k * x) * np.cos(k * x))[:, None]
    numerical = crank_nicolson(start, conductivity=viscosity, steps=4000, last=2.0, held=held)
    assert relative(problem.solution(frequency, 2.0, x), numerical[:, 0]) < 1.05 * tolerance
    np.testing.assert_allclose(problem.initial(frequency, x), start[:, 0], atol=ROUNDING)


@pytest.mark.parametrize("last", [0.5, 2.0])
def test_the_heated_rod_agrees_with_crank_nicolson(last):
    problem, frequencies = ForcedHeat(), np.array([2.01, 2.6, 3.0, 3.99])
    x = np.linspace(0, 1, 2001)

    def slopes(t):
        return np.zeros(4), np.full(4, 5 * np.sin(np.pi * t))

    def source(t):
        return np.repeat(5 * np.pi * x[:, None] ** 2 / 2 * np.cos(np.pi * t), 4, axis=1)

    numerical = crank_nicolson(
        np.cos(np.pi * x[:, None] * frequencies),
        conductivity=0.01,
        steps=int(1000 * last),
        last=last,
        slopes=slopes,
        source=source,
    )
    for column, frequency in enumerate(
        frequencies
    ):  # measured: 1.7e-7 to 8.0e-7 at 0.5, 7e-7 to 1.07e-5 at 2
        assert relative(problem.solution(frequency, last, x), numerical[:, column]) < 1.1e-5


def lines(problem, states, points, last):
    """Burgers by central differences of the flux in x and an implicit integrator in t; ends held at
    the closed form's values.
    """
    x, h = np.linspace(0, 1, points), 1 / (points - 1)
    wall = jax.jit(lambda t: jnp.stack([problem.wall(states, side, t) for side in problem.sides()]))

    def rate(t, inner):
        low, high = np.asarray(wall(t))
        u = np.concatenate([[low], inner, [high]])
        return problem.viscosity * (u[2:] - 2 * u[1:-1] + u[:-2]) / h**2 - (
            u[2:] ** 2 - u[:-2] ** 2
        ) / (4 * h)

    start = np.asarray(problem.initial(states, x))[1:-1]
    run = solve_ivp(
        rate,
        (0, last),
        start,
        method="LSODA",
        t_eval=[last],
        rtol=1e-9,
        atol=1e-11,
        lband=1,
        uband=1,
    )
    return run.y[:, -1]


@pytest.mark.parametrize(
    ("problem", "tolerance"),
    [
        (BurgersWave(viscosity=0.1), 5e-8),
        (BurgersWave(viscosity=0.005), 6e-6),
        (BurgersStep(viscosity=0.1), 4e-7),
        (BurgersStep(viscosity=0.02), 6e-6),
    ],
    ids=lambda value: (
        f"{value.name}-{value.viscosity}" if isinstance(value, OperatorProblem) else ""
    ),
)
def test_fronts_agree_with_finite_differences(problem, tolerance):
    states, last = {"left": 0.9, "right": 0.2}, 0.32
    coarse, fine = (lines(problem, states, points, last) for points in (401, 801))
    extrapolated = (4 * fine[1::2] - coarse) / 3
    exact = problem.solution(states, last, np.linspace(0, 1, 401)[1:-1])
    assert relative(extrapolated, exact) < tolerance
    assert relative(coarse, exact) < 1e-2


def test_the_travelling_front_is_not_the_solution_from_a_step():
    states, x = {"left": 0.9, "right": 0.2}, np.linspace(0, 1, 501)
    apart = [
        relative(*(f(viscosity=v).solution(states, 0.32, x) for f in (BurgersWave, BurgersStep)))
        for v in (0.1, 0.02, 0.005)
    ]
    np.testing.assert_allclose(apart, [0.136, 0.028, 0.0017], rtol=0.02)


def test_a_step_becomes_the_travelling_front():
    problem, states = BurgersStep(viscosity=0.001), {"left": 1.0, "right": 0.2}
    x = np.linspace(0, 1, 201)
    # What is left of the step decays with the time that the front takes to cross itself, 4ν/(u_L -
    # u_R)² = 0.006:
    np.testing.assert_allclose(
        problem.solution(states, 0.6, x),
        BurgersWave(viscosity=0.001).solution(states, 0.6, x),
        atol=1e-9,
    )


def test_the_step_survives_the_smallest_numbers_and_the_start():
    problem, states = BurgersStep(viscosity=1e-4), {"left": 1.0, "right": 0.0}
    x = np.linspace(0, 1, 101)
    t = np.array([0.0, 1e-12, 1e-3, 1.0])[:, None]
    values, gradients = jax.value_and_grad(lambda t: problem.solution(states, t, x[None]).sum())(
        jnp.asarray(t)
    )
    assert jnp.isfinite(values)
    assert jnp.isfinite(gradients).all()
    np.testing.assert_array_equal(
        problem.solution(states, 0.0, np.array([0.2, 0.5, 0.8])), [1.0, 0.5, 0.0]
    )


def test_the_standing_wave_agrees_with_leapfrog():
    points, last = 201, 2.0
    x = np.linspace(0, 1, points)
    h, steps = x[1], 600
    dt = last / steps

    def laplacian(u):
        ghosted = np.pad(u, 1, mode="reflect")
        return (
            ghosted[2:, 1:-1] + ghosted[:-2, 1:-1] + ghosted[1:-1, 2:] + ghosted[1:-1, :-2] - 4 * u
        ) / h**2

    before = 3.5 * np.cos(np.pi * x)[:, None] * np.cos(np.pi * x)[None]
    now = before + dt**2 / 2 * laplacian(before)
    for _ in range(steps - 1):
        before, now = now, 2 * now - before + dt**2 * laplacian(now)
    exact = StandingWave().solution(3.5, last, x[:, None], x[None])
    assert relative(exact, now) < 2e-5
    assert float(jnp.abs(exact).max()) > 1.0


def test_the_mean_of_the_rod_rises_by_the_heat_let_in():
    """d/dt ∫ u dx = k U sin πt + ∫ f dx: the flux at the heated end and the source, for every ω."""
    problem = ForcedHeat()
    x, w = np.polynomial.legendre.leggauss(60)
    x, w = (x + 1) / 2, w / 2

    def total(t):
        return jnp.sum(problem.solution(2.7, t, x) * w)

    for t in (0.2, 0.45):
        source = 5 * np.pi / 6 * np.cos(np.pi * t)
        np.testing.assert_allclose(
            jax.grad(total)(t), 0.01 * 5 * np.sin(np.pi * t) + source, rtol=1e-10
        )


def test_whole_frequencies_need_no_care():
    """Where ω is a whole number the initial state is one mode, and the published formula divides
    zero by zero.
    """
    x, t = np.linspace(0, 1, 11), 0.3
    lifted = 5 * x**2 / 2 * np.sin(np.pi * t) + 5 * 0.01 / np.pi * (1 - np.cos(np.pi * t))
    exact = lifted + np.cos(3 * np.pi * x) * np.exp(-0.01 * (3 * np.pi) ** 2 * t)
    np.testing.assert_allclose(ForcedHeat().solution(3.0, t, x), exact, atol=ROUNDING)
    np.testing.assert_allclose(ForcedHeat().solution(3.0 + 1e-9, t, x), exact, atol=1e-8)
