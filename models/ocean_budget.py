"""Heat and salt of a basin: temperature and salinity in layers, and the heat that enters through
the surface, as an ocean model or an analysis has them.

    ρ c_p Σ_i a_i Σ_k Δz_k θ_ik  changes by  Δt Σ_i a_i Q_i,    Σ_i a_i Σ_k Δz_k S_ik = const

ρ c_p is 1026 kg m⁻³ times 3991.868 J kg⁻¹ K⁻¹. Cells are volumes: averages over layers of stated
thickness, so that sums over them are exact.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro

import bayescons as bc

HEAT_CAPACITY, MONTH = 1026 * 3991.868, 30 * 86400.0  # J m⁻³ K⁻¹, s
grid = bc.Grid(
    t=MONTH * np.arange(7),
    z=bc.axes.Cells([0.0, 50.0, 200.0, 600.0]),
    y=bc.axes.Cells(np.linspace(0, 4e6, 9)),
)
surface = bc.Grid(t=grid["t"], y=grid.along("y"))
content = bc.integral(grid, over=("z", "y"))
inflow = bc.integral(surface, over="y")


def program(temperature, salinity, heating, spread):
    """What is believed of all three: means, and a standard deviation for each."""
    theta = numpyro.sample("theta", bc.diagonal(temperature, spread[0]))
    salt = numpyro.sample("salt", bc.diagonal(salinity, spread[1]))
    q = numpyro.sample("q", bc.diagonal(heating, spread[2]))
    bc.observe(
        "heat budget",
        lambda theta, q: HEAT_CAPACITY * jnp.diff(content(theta)) - MONTH * inflow(q)[1:],
        (theta, q),
        0.0,
    )
    bc.observe("salt budget", lambda salt: jnp.diff(content(salt)), salt, 0.0)


def inputs(key):
    """An analysis that closes neither, with noise of .05 °C, .02 g/kg and 15 W m⁻²."""
    spread = (0.05, 0.02, 15.0)
    first, second, third = jax.random.split(key, 3)
    season = np.sin(2 * np.pi * grid["t"] / (12 * MONTH))[:, None]
    depth = np.array([18.0, 12.0, 6.0])[None, :, None]
    return {
        "temperature": depth + spread[0] * jax.random.normal(first, grid.shape),
        "salinity": 35 + spread[1] * jax.random.normal(second, grid.shape),
        "heating": 60 * season + spread[2] * jax.random.normal(third, surface.shape),
        "spread": spread,
    }
