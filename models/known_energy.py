"""A wave on shallow water, some time after it was measured: mass and energy are what they were, and
a few readings are at hand.

    ∂u/∂t + 6u ∂u/∂x + ∂³u/∂x³ = 0;   u ~ GP,   y_j ~ Normal(u(x_j), 0.1),   ∫ u dx = mass,   ∫ u²
    dx = energy

The equation of Korteweg and de Vries conserves both. The mass is linear in the field and a
statement of the program; the energy is not, and the fields that have it form a curved surface:
`restricted` draws from the posterior on it, with the density that observing the energy with
vanishing noise leaves.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import bayescons as bc
from bayescons.restrictions import constrained
from bayescons.results.draws import ChainDraws
from bayescons.surrogates import separable

grid = bc.Grid(x=np.linspace(0, 10, 61))
total = bc.integral(grid)
places = np.array([6, 18, 27, 42, 54])


def program(readings, mass):
    """Readings with noise; the mass is a fact."""
    u = numpyro.sample("u", separable(grid, {"x": 1.5}, kernels="matern52", amplitude=1.0))
    numpyro.sample("readings", dist.Normal(u[places], 0.1).to_event(1), obs=readings)
    bc.observe("mass", total, u, mass)
    return u


def energy(u):
    """∫ u² dx."""
    return total(u**2)


def inputs(key):
    """Readings of the soliton 2 sech²(x - 4), whose mass is 4 and whose energy is 16/3."""
    wave = 2 / jnp.cosh(grid["x"] - 4) ** 2
    return {"readings": wave[places] + 0.1 * jax.random.normal(key, places.shape), "mass": 4.0}


def restricted(key, n: int = 1000) -> ChainDraws:
    """Draws of the posterior with the energy 16/3; n of each of four chains."""
    first, second = jax.random.split(key)
    posterior = bc.conjugate(program)(**inputs(first))["u"]
    return constrained(posterior, energy, 16 / 3, name="energy").sample(second, n)
