"""Programs that a newcomer writes, against brute force: every row by automatic differentiation, the
update by dense matrices and a pseudo-inverse.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bayescons as bc
from models import divergence_free, insulated_plate, scenarios

KEY = jax.random.key(3)


def brute(mean, covariance, functions, values, scales):
    """Mean and variance given f(u) = value + noise, for functions of the flat vector."""
    zero = jnp.zeros(len(mean))
    rows = np.concatenate([np.atleast_2d(jax.jacfwd(f)(zero)) for f in functions])
    offsets = np.concatenate([np.atleast_1d(f(zero)) for f in functions])
    noise = np.concatenate([np.full(np.size(v), s) for v, s in zip(values, scales, strict=True)])
    values = np.concatenate([np.ravel(v) for v in values])
    gram = rows @ covariance @ rows.T + np.diag(noise**2)
    gain = covariance @ rows.T @ np.linalg.pinv(gram, rcond=1e-12, hermitian=True)
    moved = mean + gain @ (values - offsets - rows @ mean)
    return moved, np.diag(covariance - gain @ rows @ covariance)


def test_fifty_scenarios_close_their_years():
    inputs = scenarios.inputs(KEY)
    posterior = bc.conjugate(scenarios.program)(**inputs)
    step = np.tril(np.ones((12, 12)))
    climate, gauged = np.asarray(scenarios.climate), np.array(scenarios.GAUGED)
    for number in (0, 17, 49):
        mean, variance = brute(
            np.zeros(12),
            0.09 * step @ step.T,
            [lambda u: (climate + u).sum()[None], lambda u: (climate + u)[gauged]],
            [np.zeros(1), inputs["readings"][number]],
            [0.0, 0.1],
        )
        assert np.abs(posterior.mean["anomaly"][number] - mean).max() <= 1e-10
        assert np.abs(posterior.variance["anomaly"][number] - variance).max() <= 1e-10


def test_a_velocity_is_made_free_of_divergence():
    inputs = divergence_free.inputs(KEY)
    u, v = (np.asarray(inputs[f"predicted_{name}"]) for name in "uv")
    posterior = bc.conjugate(divergence_free.program)(**inputs)

    def flat(vector):
        both = vector.reshape(2, *divergence_free.POINTS)
        return divergence_free.divergence(*both).ravel()

    mean, variance = brute(
        np.concatenate([u.ravel(), v.ravel()]),
        0.25 * np.eye(2 * u.size),
        [flat],
        [np.zeros(u.size)],
        [0.0],
    )
    found = [
        np.concatenate([np.ravel(m["u"]), np.ravel(m["v"])])
        for m in (posterior.mean, posterior.variance)
    ]
    assert np.abs(found[0] - mean).max() <= 1e-9
    assert np.abs(found[1] - variance).max() <= 1e-9


@pytest.mark.parametrize("content", [1.0, 1.2])
def test_an_insulated_plate_holds_its_heat(content):
    grid = insulated_plate.grid
    posterior = bc.conjugate(insulated_plate.program)(content)
    kernel = bc.surrogates.separable(
        grid, {"x": 0.4, "y": 0.4}, kernels="matern52", amplitude=0.5
    ).covariance
    covariance = np.asarray(jax.vmap(kernel.mv)(jnp.eye(grid.size).reshape(-1, *grid.shape)))
    shaped = [lambda u: bc.integral(grid, over=("x", "y"))(u.reshape(grid.shape))[None]]
    h = 0.1  # second-order one-sided differences at the walls

    def slopes(u):
        u = u.reshape(grid.shape)
        walls = [(-3 * a[0] + 4 * a[1] - a[2]) / (2 * h) for a in (u, u[::-1], u.T, u.T[::-1])]
        return jnp.concatenate(walls)

    mean, variance = brute(
        np.ones(grid.size),
        covariance.reshape(grid.size, grid.size),
        [*shaped, slopes],
        [np.array([content]), np.zeros(44)],
        [0.0, 0.0],
    )
    assert np.abs(np.ravel(posterior.mean["u"]) - mean).max() <= 1e-7
    assert np.abs(np.ravel(posterior.variance["u"]) - variance).max() <= 1e-7
