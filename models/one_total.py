"""A hundred independent unknowns of which only the total is known: the smallest field on which
vanishing noise defeats a sampler.

    u_i ~ Normal(0, 1) independently,   ∫ u dx = total

Its posterior is a unit normal in all directions but one, as easy as a field can be; yet the same
fact given a small noise makes a valley that a sampler crosses in steps of its width.
"""

import numpyro
import numpyro.distributions as dist

import bayescons as bc

grid = bc.Grid(x=[(i + 0.5) / 100 for i in range(100)])


def program(total, stated=True, scale=None):
    """The field given its total, known exactly or with noise of standard deviation `scale`; with
    `stated=False` the field alone.
    """
    u = numpyro.sample("u", dist.Normal(0.0, 1.0).expand(grid.shape).to_event(1))
    if stated:
        bc.observe("total", bc.integral(grid, over="x", rule="midpoint"), u, total, scale)
    return u


def inputs(key):  # noqa: ARG001
    """A total three prior standard deviations from zero."""
    return {"total": 0.3}
