"""Heat on a ring, from noisy readings; the Gaussian process's hyper-parameters are in the program.

    ∂u/∂t = k ∂²u/∂x²,  x on a ring;   ∫ u dx = 0,   value and slope equal at both ends of the cut

The readings stand below the field as an ordinary likelihood; size and lengths above it are learnt
from them alone. The laws are imposed: that a ring keeps its heat at all times says nothing about
how fast its temperature varies, while observed exactly it would count as overwhelming evidence for
a field that hardly changes in time.
"""

import jax
import numpyro
import numpyro.distributions as dist

import bayescons as bc
from bayescons.problems import Diffusion
from bayescons.surrogates import separable

problem = Diffusion(diffusivity=1.0)
grid = problem.grid(times=9, points=25)
integral, seam, slope = (
    bc.integral(grid, over="x"),
    bc.periodic(grid, "x"),
    bc.periodic(grid, "x", derivative=1),
)


def program(where, readings, noise=0.05):
    """A smooth field of unknown size and lengths on a ring that neither gains nor loses heat, read
    with noise.
    """
    amplitude = numpyro.sample("amplitude", dist.LogNormal(0.0, 0.5))
    lengths = {
        "t": numpyro.sample("length_t", dist.LogNormal(0.0, 0.5)),
        "x": numpyro.sample("length_x", dist.LogNormal(0.5, 0.5)),
    }
    u = numpyro.sample("u", separable(grid, lengths, kernels="matern52", amplitude=amplitude))
    bc.impose("heat", integral, u, 0.0)
    bc.impose("seam", seam, u, 0.0)
    bc.impose("slope", slope, u, 0.0)
    numpyro.sample("readings", dist.Normal(u[where], noise).to_event(1), obs=readings)
    return u


def inputs(key):
    """Forty readings of the exact solution at random points of the grid, with noise of standard
    deviation 0.05.
    """
    places, errors = jax.random.split(key)
    row, column = (
        jax.random.randint(k, (40,), 0, n)
        for k, n in zip(jax.random.split(places), grid.shape, strict=True)
    )
    truth = problem.solution(**grid.mesh())
    return {
        "where": (row, column),
        "readings": truth[row, column] + 0.05 * jax.random.normal(errors, (40,)),
    }
