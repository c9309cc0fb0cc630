"""The Stefan problem with an attentive neural process as its belief: a mixture over a latent, and
every draw of it conserves energy.

    z ~ q(z | readings),   u | z ~ N(μ(z), diag σ(z)²);   ∫ u dx = total(t)

Imposed, the law is part of what each draw of z means, and the draws are averaged as they come:
ProbConserv-ANP. Observed, it is evidence about z as well, and the draws are weighted by how well
they foresaw it.
"""

import numpyro

import bayescons as bc
from bayescons.networks import pretrained
from bayescons.problems import Stefan, contexts
from bayescons.surrogates import field_given_latent, latent_distribution

problem = Stefan(threshold=0.6)
grid = problem.grid(times=11, points=201)


def program(network, readings, total, learn=False, on=grid):
    """A latent, a field given it on a grid, and the conserved total, imposed or (`learn`)
    observed.
    """
    z = numpyro.sample("z", latent_distribution(network, readings))
    u = numpyro.sample("u", field_given_latent(network, readings, on, z))
    state = bc.observe if learn else bc.impose
    state("energy", bc.integral(on, over="x"), u, total)
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
