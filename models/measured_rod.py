"""A rod with eleven sensors: its heat content is known exactly, its temperatures are read with
noise, and how far it varies is to be learnt from both.

    amplitude ~ HalfNormal(1),   u | amplitude ~ GP(0, amplitude² Matérn-3/2),   ∫ u dx = content
    readings_j ~ Normal(u(x_j), 0.05)
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

import bayescons as bc
from bayescons.surrogates import separable

grid = bc.Grid(x=[i / 100 for i in range(101)])


def program(content, readings, amplitude=None):
    """The rod; with `amplitude` as a number nothing is random above the field."""
    if amplitude is None:
        amplitude = numpyro.sample("amplitude", dist.HalfNormal(1.0))
    u = numpyro.sample("u", separable(grid, {"x": 0.3}, kernels="matern32", amplitude=amplitude))
    bc.observe("content", bc.integral(grid, over="x"), u, content)
    numpyro.sample("readings", dist.Normal(u[::10], 0.05).to_event(1), obs=readings)
    return u


def inputs(key):
    """A content, and readings of a wave that has it, with noise."""
    wave = 0.2 + 0.5 * jnp.cos(jnp.pi * jnp.asarray(grid["x"][::10]))
    return {"content": 0.2, "readings": wave + 0.05 * jax.random.normal(key, wave.shape)}


def by_hand(content, readings):
    """The same as one writes it without statements: white noise z, Matheron's rule for
    the content, and the evidence of the content for the amplitude.
    """
    weights = jnp.asarray(bc.integral(grid, over="x").weights[0])
    root = separable(grid, {"x": 0.3}, kernels="matern32").covariance.roots[0]
    lifted = root @ (root.T @ weights)
    variance = weights @ lifted
    amplitude = numpyro.sample("amplitude", dist.HalfNormal(1.0))
    white = numpyro.sample("white", dist.Normal(0.0, 1.0).expand(grid.shape).to_event(1))
    prior = amplitude * (root @ white)
    u = numpyro.deterministic("u", prior + lifted * ((content - weights @ prior) / variance))
    evidence = dist.Normal(0.0, amplitude * jnp.sqrt(variance)).log_prob(content)
    numpyro.factor("content", evidence)
    numpyro.sample("readings", dist.Normal(u[::10], 0.05).to_event(1), obs=readings)
