"""A Fourier operator that is told what the walls do: shear waves above a swinging wall, from their
initial state alone.

    u = Φ w + c + e,   w ~ N(ŵ, Σ),  e ~ N(0, diag d);   u(0) = wall,   u(1) = far

The network has never seen a boundary value. Σ and d, the doubt about its last layer, are learned
from waves it was not trained on; the observed walls then move the interior in the network's own
shapes, and have no variance left.
"""

import jax
import numpyro

import bayescons as bc
from bayescons.networks import pretrained
from bayescons.problems import StokesSecond
from bayescons.surrogates import operator_belief, operator_effects

problem = StokesSecond()
grid = problem.grid(129)


def program(network, effects, state, wall, far):
    """The field that an initial state becomes, and the velocities at both ends."""
    u = numpyro.sample("u", operator_belief(network, effects, state, grid))
    bc.observe("wall", bc.dirichlet(grid, "x", "lower"), u, wall)
    bc.observe("far", bc.dirichlet(grid, "x", "upper"), u, far)
    return u


def inputs(key):
    """The network that comes with bayescons, its doubt from a hundred waves held out, and a new
    one.
    """
    held_out, new = jax.random.split(key)
    network = pretrained("operator_stokes").network
    effects = operator_effects(network, problem.sample(held_out, 100, grid), grid)
    wave = problem.sample(new, 1, grid)
    return {
        "network": network,
        "effects": effects,
        "state": wave.inputs[0],
        "wall": wave.boundary[0][0],
        "far": wave.boundary[1][0],
    }
