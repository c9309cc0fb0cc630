"""A neural process that may be wrong about how fast the front is: an unknown stretch, which the
conserved total decides.

    z ~ q(z | readings),   log s ~ N(0, 0.05²),   u(t, x) | z, s ~ N(μ(t, x/s; z), σ(t, x/s; z)²);
    ∫ u dx = total(t)

A network knows nothing outside the parameters it was trained on (u* from 0.55 to 0.7), and does not
know that either. At u* = 0.5 the front is a tenth further than any it has seen there; the total,
observed, says so.
"""

import numpyro
import numpyro.distributions as dist

import bayescons as bc
from bayescons.networks import pretrained
from bayescons.problems import Stefan, contexts
from bayescons.surrogates import field_given_latent, latent_distribution

problem = Stefan(threshold=0.5)
grid = bc.Grid(t=[problem.time_of_interest], x=problem.grid()["x"])


def program(network, readings, total):
    """A latent, a stretch, a field given both, and the conserved total, observed."""
    z = numpyro.sample("z", latent_distribution(network, readings))
    s = numpyro.sample("stretch", dist.LogNormal(0.0, 0.05))
    u = numpyro.sample("u", field_given_latent(network, readings, grid, z, stretch=s))
    bc.observe("energy", bc.integral(grid, over="x"), u, total)
    return u


def inputs(key):
    """The network that comes with bayescons, 100 readings of the exact solution, and the exact
    total.
    """
    return {
        "network": pretrained("anp_stefan").network,
        "readings": contexts(problem, key),
        "total": problem.total(grid["t"]),
    }
