"""A rod whose heat content is not known: a prior about it, and a few noisy readings that tell.

    content ~ Normal(0.5, 0.3²),   u ~ GP(0, Matérn-3/2),   ∫ u dx = content,   readings_i ~
    Normal(u(x_i), noise²)

The content is a latent above the field and its law is imposed, so that its prior is what it says:
observed, the field's own opinion of its content would count a second time.
"""

import jax
import numpyro
import numpyro.distributions as dist

import bayescons as bc
from bayescons.surrogates import separable

grid = bc.Grid(x=[i / 40 for i in range(41)])
integral = bc.integral(grid, over="x")


def program(where, readings, noise=0.1, spread=0.3):
    """A field with an unknown content, read at the points `where`; `spread` is the standard
    deviation of the content's prior.
    """
    content = numpyro.sample("content", dist.Normal(0.5, spread))
    u = numpyro.sample("u", separable(grid, {"x": 0.3}, kernels="matern32"))
    bc.impose("law", integral, u, content)
    numpyro.sample("readings", dist.Normal(u[where], noise).to_event(1), obs=readings)
    return u


def inputs(key):
    """Eight readings of 1 - x, whose content is 0.5, with noise of standard deviation 0.1."""
    where = jax.numpy.arange(2, 41, 5)
    return {
        "where": where,
        "readings": 1 - grid["x"][where] + 0.1 * jax.random.normal(key, where.shape),
    }
