"""A rod whose content is exact and some of whose readings are wrong: a likelihood with heavy tails
below the field.

    u ~ GP(0, Matérn-3/2),   ∫ u dx = content,   readings_i ~ StudentT(3, u(x_i), noise)

There is no closed form; `bc.exact` holds the content in every draw of any sampler.
"""

import jax
import numpyro
import numpyro.distributions as dist

import bayescons as bc
from bayescons.surrogates import separable

grid = bc.Grid(x=[i / 40 for i in range(41)])
integral = bc.integral(grid, over="x")


def program(where, readings, content, noise=0.1, degrees=3.0):
    """The field given its content, read at the points `where`; of many degrees of freedom the
    readings' errors are normal.
    """
    u = numpyro.sample("u", separable(grid, {"x": 0.3}, kernels="matern32"))
    bc.observe("content", integral, u, content)
    numpyro.sample("readings", dist.StudentT(degrees, u[where], noise).to_event(1), obs=readings)
    return u


def inputs(key):
    """Eight readings of 1 - x, of which two are off by one, and the exact content."""
    where = jax.numpy.arange(2, 41, 5)
    errors = 0.1 * jax.random.normal(key, where.shape)
    return {
        "where": where,
        "readings": 1 - grid["x"][where] + errors.at[jax.numpy.array([1, 5])].add(1.0),
        "content": 0.5,
    }
