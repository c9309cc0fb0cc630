"""Dry air and water of an atmosphere, step by step, as an emulator predicts them.

    ⟨p_s - Σ_k q_k Δp_k⟩ = const,   d⟨Σ_k q_k Δp_k⟩ / g dt = ⟨E - P⟩

⟨⟩ is the average over the sphere, Δp_k the thickness of a layer in Pa. Stated jointly both hold; a
corrector that mends one after the other opens the first again.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro

import bayescons as bc

GRAVITY, STEP = 9.80665, 6 * 3600.0  # m s⁻², s
sphere = {
    "lat": bc.axes.Cells(np.linspace(-90, 90, 7)),
    "lon": bc.axes.Ring(30.0 * np.arange(12), 360.0),
}
grid = bc.Grid(t=STEP * np.arange(5), **sphere)
area = bc.functionals.spherical_area(grid)
averaged = bc.average(grid, over=("lat", "lon"), measure=area)
thickness = jnp.array([3e4, 4e4, 3e4])


def column(humidity):
    """Pressure of the water in each column, Σ_k q_k Δp_k."""
    return jnp.einsum("tkij,k->tij", humidity, thickness)


def program(predicted, spread):
    """By name: q (t, level, lat, lon), ps, e and p (t, lat, lon), fluxes of the step before."""
    q, ps, e, p = (
        numpyro.sample(name, bc.diagonal(predicted[name], spread[name]))
        for name in ("q", "ps", "e", "p")
    )
    bc.observe("dry air", lambda ps, q: jnp.diff(averaged(ps - column(q))), (ps, q), 0.0)
    bc.observe(
        "water",
        lambda q, e, p: jnp.diff(averaged(column(q))) / GRAVITY - STEP * averaged(e - p)[1:],
        (q, e, p),
        0.0,
    )


def inputs(key):
    """Predictions that close neither: humidity that falls off with height, with noise."""
    profile = np.array([0.5e-3, 3e-3, 9e-3])[None, :, None, None]
    means = {"q": profile + np.zeros((len(grid["t"]), 1, *grid.shape[1:]))}
    means |= {n: np.full(grid.shape, m) for n, m in {"ps": 1e5, "e": 3.3e-5, "p": 3.2e-5}.items()}
    spread = {"q": 5e-4, "ps": 200.0, "e": 8e-6, "p": 2e-5}
    keys = dict(zip(means, jax.random.split(key, len(means)), strict=True))
    noise = {name: jax.random.normal(keys[name], means[name].shape) for name in means}
    predicted = {name: means[name] + spread[name] * noise[name] for name in means}
    return {"predicted": predicted, "spread": spread}
