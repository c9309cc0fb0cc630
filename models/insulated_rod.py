"""A heated rod whose fluxes are known: slopes at both ends and the energy balance, observed at once
of a Fourier operator.

    u = Φ w + c + e,   w ~ N(ŵ, Σ),  e ~ N(0, diag d);   ∂u/∂x(0) = 0,   ∂u/∂x(1) = U sin πt,
    ∫ u dx = ∫ u₀ dx + k ∫₀ᵗ [∂u/∂x(1) - ∂u/∂x(0)] dt' + ∫₀ᵗ ∫ f dx dt'

One end is insulated, the other heated, and the source f is given: then boundary values say how the
rod ends, and the balance how much heat is in it. Neither fact implies the other, and one update
holds both.
"""

import jax
import numpy as np
import numpyro

import bayescons as bc
from bayescons.axes.quadrature import quadrature_weights
from bayescons.networks import pretrained
from bayescons.problems import ForcedHeat
from bayescons.surrogates import operator_belief, operator_effects

problem = ForcedHeat()
grid = problem.grid(129)
insulated, heated = (side.functional(grid) for side in problem.sides())


def heat(grid=grid):
    """The content, ∫ u dx, by Simpson's rule: trapezoids are off by 2.5e-5 for the true field."""
    return bc.integral(grid, over="x", rule="simpson")


def program(network, effects, state, flux, content):
    """The temperature that an initial state becomes, no flux at one end, a known one at the other,
    and a known content of heat.
    """
    u = numpyro.sample("u", operator_belief(network, effects, state, grid))
    bc.observe("insulated", insulated, u, 0.0)
    bc.observe("heated", heated, u, flux)
    bc.observe("energy", heat(), u, content)
    return u


def gained(grid=grid):
    """Heat that flux and source bring in until the last time, by quadrature in time and space."""
    t, x = np.linspace(0, problem.time_range[1], 201), grid["x"]
    source = problem.source(t[:, None], x[None, :]) @ quadrature_weights(x, "simpson")
    # the same for rods of every frequency
    inflow = problem.diffusivity * problem.wall(0.0, problem.sides()[1], t)
    return quadrature_weights(t, "simpson") @ (inflow + source)


def inputs(key):
    """The network that comes with bayescons, its doubt from a hundred rods held out, a new one."""
    held_out, new = jax.random.split(key)
    network = pretrained("operator_heat").network
    effects = operator_effects(network, problem.sample(held_out, 100, grid), grid)
    rod = problem.sample(new, 1, grid)
    known = {"flux": rod.boundary[1][0], "content": heat()(rod.inputs[0]) + gained()}
    return {"network": network, "effects": effects, "state": rod.inputs[0], **known}
