"""Water in the entrance of a pipe: the flow rate is the same through every cross-section, and a
Pitot tube has read the velocity at a few points.

    2π ∫₀ᴿ u(z, r) r dr = Q,   u(z, R) = 0,   ∂u/∂r(z, 0) = 0,   y_j ~ Normal(u(z_j, r_j), 0.01)

u is the axial velocity in m/s, z and r are in m, Q in m³/s. The volume of a ring is 2π r dr, so the
functional integrates r u; `bc.integral` is the rule for it, on the r u that the lambda hands it.
Believed before any reading is the developed profile of Poiseuille at every z, which the entrance
need not have.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

import bayescons as bc
from bayescons.surrogates import separable

RADIUS, SPEED = 0.02, 0.1  # m, and the mean velocity in m/s
grid = bc.Grid(z=jnp.linspace(0, 1, 6), r=jnp.linspace(0, RADIUS, 17))
read_at = (jnp.array([0, 0, 1, 3, 5]), jnp.array([0, 12, 8, 4, 0]))
across = bc.integral(grid, over="r", rule="simpson")


def program(readings, flow_rate):
    """The velocity in the pipe."""
    developed = 2 * SPEED * (1 - (grid.mesh()["r"] / RADIUS) ** 2)
    belief = separable(
        grid, {"z": 0.4, "r": 0.01}, kernels="matern52", mean=developed, amplitude=0.05
    )
    u = numpyro.sample("u", belief)
    ring = 2 * jnp.pi * grid.mesh()["r"]
    bc.observe("flow rate", lambda u: across(ring * u), u, flow_rate)
    bc.observe("no slip", bc.dirichlet(grid, "r", "upper"), u, 0.0)
    bc.observe("axis", bc.neumann(grid, "r", "lower"), u, 0.0)
    numpyro.sample("readings", dist.Normal(u[read_at], 0.01).to_event(1), obs=readings)


def inputs(key):
    """Readings of a profile that is flat at the entrance and becomes Poiseuille's, u = U (n + 2)/n
    (1 - (r/R)ⁿ), n = 2 + 8 exp(-3 z); all have the mean velocity U.
    """
    z, r = grid["z"][read_at[0]], grid["r"][read_at[1]]
    n = 2 + 8 * jnp.exp(-3 * z)
    profile = SPEED * (n + 2) / n * (1 - (r / RADIUS) ** n)
    errors = 0.01 * jax.random.normal(key, profile.shape)
    return {"readings": profile + errors, "flow_rate": jnp.pi * RADIUS**2 * SPEED}
