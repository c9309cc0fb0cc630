"""A pollutant in a channel: its amount is known, a few readings are at hand, and it is nowhere
negative.

    u ~ GP,   y_j ~ Normal(u(x_j), 0.05),   ∫ u dx = amount,   u >= 0

Readings and amount are a program, read like any other. The inequality is not a statement of it: it
restricts the posterior, in `restricted`, whose draws hold all three. Where the channel is clean,
half of what the program alone believes is negative.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import bayescons as bc
from bayescons.restrictions import nonnegative, truncated
from bayescons.results.draws import ChainDraws
from bayescons.surrogates import separable

grid = bc.Grid(x=np.linspace(0, 1, 101))
places = np.array([5, 25, 38, 60, 90])
amount = 0.2


def program(readings, amount):
    """Readings with noise; the amount is a fact."""
    u = numpyro.sample("u", separable(grid, {"x": 0.2}, kernels="matern32", amplitude=0.5))
    numpyro.sample("readings", dist.Normal(u[places], 0.05).to_event(1), obs=readings)
    bc.observe("amount", bc.integral(grid), u, amount)
    return u


def inputs(key):
    """Readings of a patch about x = 0.35, and the amount in it."""
    patch = jnp.maximum(0.0, 1 - ((grid["x"] - 0.35) / 0.15) ** 2)
    return {
        "readings": patch[places] + 0.05 * jax.random.normal(key, places.shape),
        "amount": amount,
    }


def restricted(key, n: int = 1000) -> ChainDraws:
    """Draws of the posterior that are nowhere negative; n of each of four chains."""
    first, second = jax.random.split(key)
    posterior = bc.conjugate(program)(**inputs(first))["u"]
    return truncated(posterior, nonnegative(grid)).sample(second, n)
