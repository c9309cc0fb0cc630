"""The Stefan problem: a belief about the temperature, made to conserve energy at every time and to
hold the wall at its temperature.

    ∂u/∂t = ∂/∂x (k(u) ∂u/∂x),  k = 1 where u ≥ u*, else 0;   ∫ u dx = total(t),   u(t, 0) = 1

Any Gaussian belief will do; `inputs` makes one from a hundred readings of the exact solution.
"""

import numpyro

import bayescons as bc
from bayescons.problems import Stefan, contexts
from bayescons.surrogates import gaussian_process

problem = Stefan(threshold=0.6)
grid = problem.grid(times=21, points=101)


def program(belief, total):
    """Any Gaussian belief over the field; energy and wall are facts."""
    u = numpyro.sample("u", belief)
    bc.observe("energy", bc.integral(grid, over="x"), u, total)
    bc.observe("wall", bc.dirichlet(grid, "x", "lower"), u, 1.0)
    return u


def inputs(key):
    """A Gaussian process through 100 readings of the exact solution, and the exact total."""
    readings = contexts(problem, key)
    belief = gaussian_process(grid, {"t": readings.t, "x": readings.x}, readings.u)
    return {"belief": belief, "total": problem.total(grid["t"])}
