"""A reactor in which A becomes B and B becomes C: mole fractions along it, read at a few places.

    c_k ~ GP(1/3, 0.4²),  k = A, B, C;   Σ_k c_k(x) = 1,   c_k(x) >= 0,   y ~ Normal(c_k(x_j), 0.05)

x is the place as a share of the length. The sum is a statement of the program, one row for each
place, and couples the members of the plate. That no fraction is negative is no linear equality: it
restricts the posterior, in `restricted`, where every draw lies on the simplex at every place.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

import bayescons as bc
from bayescons.restrictions import nonnegative, truncated
from bayescons.results.draws import ChainDraws
from bayescons.surrogates import separable

grid = bc.Grid(x=jnp.linspace(0, 1, 7))
fractions = bc.Grid(species=jnp.arange(3), x=grid["x"])  # of the whole array, for `nonnegative`
read_at = jnp.array([1, 4])
RATES = (3.0, 2.0)  # of A to B and of B to C, times the residence time


def program(readings):
    """Three fractions that are everything there is; `readings` has shape (3, 2)."""
    with numpyro.plate("species", 3):
        c = numpyro.sample("c", separable(grid, {"x": 0.5}, mean=1 / 3, amplitude=0.4))
    bc.observe("whole", lambda c: c.sum(0), c, 1.0)
    numpyro.sample("readings", dist.Normal(c[:, read_at], 0.05).to_event(2), obs=readings)


def reactor(x):
    """Fractions of first-order reactions in series, shape (3, n)."""
    first, second = RATES
    a = jnp.exp(-first * x)
    b = first / (second - first) * (jnp.exp(-first * x) - jnp.exp(-second * x))
    return jnp.stack([a, b, 1 - a - b])


def inputs(key):
    """Readings of all three, each with noise of 0.05."""
    exact = reactor(jnp.asarray(grid["x"])[read_at])
    return {"readings": exact + 0.05 * jax.random.normal(key, exact.shape)}


def restricted(key, readings, n: int = 1000) -> ChainDraws:
    """Draws of the posterior on the simplex; n of each of four chains."""
    posterior = bc.conjugate(program)(readings)["c"]
    return truncated(posterior, nonnegative(fractions)).sample(key, n)
