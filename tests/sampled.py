"""Programs that the tests of samplers share, one of each kind, and what the textbook says of
them.
"""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import bayescons as bc
from tests.readings import KERNEL, MASS, MEAN, WALL, answer, row

TOTAL, WALL_VALUE = 0.4, 0.3
READINGS = jnp.array([0.9, -0.2])
PROBES = np.array([3, 6])
WEIGHTS = row(MASS)[0]


def linear(total, readings):
    """A Gaussian field, two exact facts, two noisy readings below."""
    u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), jitter=0.0))
    bc.observe("mass", MASS, u, total)
    bc.observe("wall", WALL, u, WALL_VALUE)
    numpyro.deterministic("double", 2 * u[0])
    numpyro.sample("y", dist.Normal(u[PROBES], 0.2).to_event(1), obs=readings)


LINEAR = answer(
    KERNEL, (MASS, TOTAL, 0), (WALL, WALL_VALUE, 0), (lambda u: u[PROBES], READINGS, 0.2)
)


def hierarchical(total, state=bc.observe):
    """A field of unknown amplitude, with something below it that nothing observes."""
    tau = numpyro.sample("tau", dist.LogNormal(0.0, 0.5))
    u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), scale=tau, jitter=0.0))
    state("mass", MASS, u, total)
    numpyro.sample("below", dist.Normal(u[2], 0.1))


def counts(total):
    u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), jitter=0.0))
    bc.observe("mass", MASS, u, total)
    numpyro.sample("y", dist.Poisson(jnp.exp(u[3])), obs=2)


def plain(readings):
    level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(level + slope * jnp.arange(2.0), 0.5), obs=readings)
