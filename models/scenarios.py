"""Fifty scenarios of one basin: in each the storage of twelve months is known to close its year,
and a gauge reads some months with noise.

    u_s = climate + a random walk of steps 0.3,   Σ_months u_s = 0,   y_s ~ N(u_s, 0.1) at the gauge
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

import bayescons as bc

MONTHS, GAUGED = 12, (0, 3, 6, 9)
climate = jnp.cos(2 * jnp.pi * jnp.arange(MONTHS) / MONTHS)


def program(readings):
    """Storage changes of every scenario; `readings` has shape (scenarios, 4)."""
    with numpyro.plate("scenario", len(readings)):
        anomaly = numpyro.sample("anomaly", dist.GaussianRandomWalk(0.3, MONTHS))
        bc.observe("closure", lambda u: (climate + u).sum(), anomaly, 0.0)
        gauge = dist.Normal((climate[None] + anomaly)[:, jnp.array(GAUGED)], 0.1)
        numpyro.sample("readings", gauge.to_event(1), obs=readings)


def inputs(key):
    """Readings of fifty scenarios."""
    noise = 0.3 * jax.random.normal(key, (50, len(GAUGED)))
    return {"readings": climate[None, jnp.array(GAUGED)] + noise}
