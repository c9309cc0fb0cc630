"""A rod that may be losing heat: which of three laws do thermometers along it speak for?

    u ~ N(m, K) in space and time;   ∫ u(t) dx = Q (closed), Q exp(-r t), r ~ HalfNormal(1) (leaky),
    or no law at all

`bc.compare_laws(program, LAWS, where, readings, key=key)` imposes each law and compares p(readings
| law). A law is never observed here: the density of its own values has other units for every law.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import bayescons as bc
from bayescons.surrogates import separable

NOISE, HEAT, RATE = 0.02, 0.5, 0.4
grid = bc.Grid(t=np.linspace(0, 1, 9), x=np.linspace(0, 1, 13))
total = bc.integral(grid, over="x")
belief = separable(grid, {"t": 0.5, "x": 0.3}, kernels="matern52", mean=0.5, amplitude=0.5)


def closed(u):
    """Nothing is lost."""
    bc.impose("heat", total, u, HEAT)


def leaky(u):
    """Heat is lost at a constant, unknown rate."""
    rate = numpyro.sample("rate", dist.HalfNormal(1.0))
    bc.impose("heat", total, u, HEAT * jnp.exp(-rate * grid["t"]))


LAWS = {"closed": closed, "leaky": leaky, "no law": lambda u: None}  # noqa: ARG005


def program(law, where, readings):
    """A smooth field under a law, read by thermometers."""
    u = numpyro.sample("u", belief)
    law(u)
    bc.observe("readings", lambda u: u[where], u, readings, NOISE)
    return u


def inputs(key):
    """The leaky law; forty readings of a rod that evens out and loses 0.4 of its heat per time."""
    t, x = (grid.mesh()[name] for name in ("t", "x"))
    truth = HEAT * np.exp(-RATE * t) * (1 + 0.5 * np.exp(-t) * np.cos(np.pi * x))
    places, errors = jax.random.split(key)
    where = tuple(
        jax.random.randint(k, (40,), 0, n)
        for k, n in zip(jax.random.split(places), grid.shape, strict=True)
    )
    return {
        "law": leaky,
        "where": where,
        "readings": jnp.asarray(truth)[where] + NOISE * jax.random.normal(errors, (40,)),
    }
