"""A rod whose temperature scale is unknown: what its heat content says about the scale, as
information or as a law.

    amplitude ~ HalfNormal(1),   u | amplitude ~ GP(0, amplitude² Matérn-3/2),   ∫ u dx = content

Observed, the content is evidence: an amplitude that makes it surprising loses weight. Imposed, it
defines the prior of the field for every amplitude, and the amplitude keeps its own.
"""

import numpyro
import numpyro.distributions as dist

import bayescons as bc
from bayescons.surrogates import separable

grid = bc.Grid(x=[i / 50 for i in range(51)])


def program(content, state=bc.observe):
    """`state` is `bc.observe` (learn from the content) or `bc.impose` (hold it as a law)."""
    amplitude = numpyro.sample("amplitude", dist.HalfNormal(1.0))
    u = numpyro.sample("u", separable(grid, {"x": 0.3}, kernels="matern32", amplitude=amplitude))
    state("content", bc.integral(grid, over="x"), u, content)
    return u


def inputs(key):  # noqa: ARG001
    """The measured heat content, in units of temperature times length."""
    return {"content": 0.2}
