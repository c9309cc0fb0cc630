"""A predicted velocity on a doubly periodic grid, made free of divergence by central differences:
two fields, and rows that are not independent.

    u, v ~ N(prediction, 0.5²),   (u_(i+1) - u_(i-1)) / 2 h + (v_(j+1) - v_(j-1)) / 2 h = 0
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

import bayescons as bc

POINTS = (8, 6)


def divergence(u, v):
    """Central differences on the unit square, both axes rings."""
    along = (jnp.roll(u, -1, 0) - jnp.roll(u, 1, 0)) * POINTS[0] / 2
    across = (jnp.roll(v, -1, 1) - jnp.roll(v, 1, 1)) * POINTS[1] / 2
    return along + across


def program(predicted_u, predicted_v):
    """The velocity given that nothing is made or lost."""
    u = numpyro.sample("u", dist.Normal(predicted_u, 0.5).to_event(2))
    v = numpyro.sample("v", dist.Normal(predicted_v, 0.5).to_event(2))
    bc.observe("divergence", divergence, (u, v), jnp.zeros(POINTS))


def inputs(key):
    """A prediction that is not free of divergence."""
    u, v = jax.random.normal(key, (2, *POINTS))
    return {"predicted_u": u, "predicted_v": v}
