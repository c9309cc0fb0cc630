"""The porous medium equation: gas that seeps into an empty bed from the left, behind a sharp front.

    ∂u/∂t = ∂/∂x (u^m ∂u/∂x);   ∫ u dx = total(t),   u(0, x) = 0,   u(t, 0) = (m t)^(1/m),   u(t, 1)
    = 0

Some of these facts imply others (an empty bed has no content): redundant rows change nothing.
"""

import numpyro

import bayescons as bc
from bayescons.problems import PorousMedium, contexts
from bayescons.surrogates import gaussian_process

problem = PorousMedium(exponent=3.0)
grid = problem.grid(times=21, points=51)


def program(belief, total, inflow):
    """The bed starts empty and its far end stays so; inflow and content are known at every time."""
    u = numpyro.sample("u", belief)
    bc.observe("empty", bc.initial(grid), u, 0.0)
    bc.observe("inflow", bc.dirichlet(grid, "x", "lower"), u, inflow)
    bc.observe("far_end", bc.dirichlet(grid, "x", "upper"), u, 0.0)
    bc.observe("content", bc.integral(grid, over="x"), u, total)
    return u


def inputs(key):
    """A Gaussian process through 100 readings of the exact solution, the exact content and the
    value at the inlet.
    """
    readings = contexts(problem, key)
    belief = gaussian_process(grid, {"t": readings.t, "x": readings.x}, readings.u)
    return {"belief": belief, "total": problem.total(grid["t"]), "inflow": problem.lower(grid["t"])}
