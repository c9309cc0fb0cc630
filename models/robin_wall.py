"""An aluminium rod quenched at one end: its diffusivity is learnt from nine thermocouple readings,
of which some are wrong.

    ∂u/∂t = a ∂²u/∂x²,   ∂u/∂x(t, 0) = 0,   a ∂u/∂x(t, L) + H u(t, L) = 0,   H = h / ρc
    a ~ LogNormal(log 0.5, 0.5),   y_j ~ StudentT(3, u(t_j, x_j), 2)

u is the excess over the temperature of the water that washes the end x = L, in kelvin; t in s, x in
cm, a in cm²/s; H = 0.1 cm/s is h = 2,400 W/(m² K) over ρc = 2.4 MJ/(m³ K). Of the state in which
the rod left the furnace it is known only that it is smooth. The laws hold in every rod that comes
into question, whatever its diffusivity, so they are imposed: of the diffusivity the readings tell.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

import bayescons as bc
from bayescons.surrogates import separable

grid = bc.Grid(t=jnp.linspace(0, 90, 4), x=jnp.linspace(0, 9, 7))
TIME_STEP, SPACING, TRANSFER, NOISE = 30.0, 1.5, 0.1, 2.0  # s, cm, cm/s, K
read_at = (jnp.repeat(jnp.array([1, 2, 3]), 3), jnp.tile(jnp.array([1, 3, 5]), 3))


def conduction(u, diffusivity):
    """∂u/∂t - a ∂²u/∂x² at the inner points, between times (Crank and Nicolson), K/s."""
    curvature = (u[:, 2:] - 2 * u[:, 1:-1] + u[:, :-2]) / SPACING**2
    rate = (u[1:, 1:-1] - u[:-1, 1:-1]) / TIME_STEP
    return rate - diffusivity * (curvature[1:] + curvature[:-1]) / 2


def program(readings):
    """The temperature of the rod and its diffusivity."""
    a = numpyro.sample("diffusivity", dist.LogNormal(jnp.log(0.5), 0.5))
    smooth = separable(grid, {"t": 100.0, "x": 5.0}, mean=50.0, amplitude=20.0)
    u = numpyro.sample("u", smooth)
    bc.impose("conduction", lambda u: conduction(u, a), u, 0.0)
    bc.impose("insulated", bc.neumann(grid, "x", "lower"), u, 0.0)
    bc.impose("washed", bc.robin(grid, "x", "upper", value=TRANSFER, slope=a), u, 0.0)
    numpyro.sample("readings", dist.StudentT(3.0, u[read_at], NOISE).to_event(1), obs=readings)


def inputs(key):
    """Readings of the slowest mode, 80 K cos(βx) exp(-aβ²t), at a = 0.8 cm²/s, for which
    a β tan(βL) = H at β = 0.0997 / cm; two thermocouples are loose and read 15 K too low.
    """
    t, x = grid["t"][read_at[0]], grid["x"][read_at[1]]
    mode = 80.0 * jnp.cos(0.0997 * x) * jnp.exp(-0.8 * 0.0997**2 * t)
    errors = NOISE * jax.random.normal(key, mode.shape)
    return {"readings": mode + errors.at[jnp.array([2, 6])].add(-15.0)}
