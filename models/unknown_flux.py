"""Gas that seeps into an empty bed at an unknown rate: the balance of its content tells the rate,
from readings inside the bed.

    u ~ N(m, K),  F ~ GP in time;   ∫ u(t) dx - ∫ u(t₀) dx = ∫_{t₀}^t (F_lower - F_upper) dt',
    F_upper = 0

Fluxes are averages over each step, so that nothing is lost between times. Known fluxes would be
stated by the same law: `bc.observe("balance", law.change, u, law.inflow(fluxes))`.
"""

import numpy as np
import numpyro

import bayescons as bc
from bayescons.problems import PorousMedium, contexts
from bayescons.surrogates import gaussian_process, separable

problem = PorousMedium(exponent=3.0)
grid = bc.Grid(t=np.linspace(0.1, 1, 19), x=np.linspace(0, 1, 51))
law = bc.balance(grid, fluxes="steps")


def program(belief, fluxes, law=law, insulated=True, scale=None):
    """A field and the fluxes through both walls, tied by the balance; `scale="quadrature"` allows
    for the rule's error.
    """
    u = numpyro.sample("u", belief)
    flux = numpyro.sample("flux", fluxes)
    bc.observe("balance", law, (u, flux), 0.0, scale)
    if insulated:
        bc.observe("insulated", bc.dirichlet(law.faces, "x", "upper"), flux, 0.0)
    return u, flux


def inputs(key):
    """A Gaussian process through 100 readings of the exact solution, and one in time for what
    little is known of the fluxes.
    """
    readings = contexts(problem, key)
    belief = gaussian_process(grid, {"t": readings.t, "x": readings.x}, readings.u)
    return {
        "belief": belief,
        "fluxes": separable(law.faces, {"t": 0.5, "x": None}, mean=1.0, amplitude=1.0),
    }
