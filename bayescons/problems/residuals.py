"""The residual of an equation: what a field that is not quite a solution leaves over."""

from __future__ import annotations

from collections.abc import Callable

import jax

from bayescons.problems.problem import Problem

Field = Callable[[jax.Array, jax.Array], jax.Array]
"""A field as a function of one time and one position, differentiable."""


def residual(problem: Problem, field: Field) -> Field:
    """(t, x) ↦ ∂u/∂t + ∂F(u, ∂u/∂x)/∂x, zero where the field satisfies the equation, in units of u
    / t.

    Derivatives are automatic, forward mode. Where F jumps with u (Stefan's diffusivity) its
    derivative is that on either side: the jump's own contribution, a delta at the front, is not
    seen.

    Args:
        problem: whose `flux` is taken.
        field: of scalars t and x.
    """

    def flux(t, x):
        u, slope = jax.jvp(lambda at: field(t, at), (x,), (jax.numpy.ones_like(x),))
        return problem.flux(u, slope)

    def left_over(t, x):
        one = jax.numpy.ones_like(t)
        rate = jax.jvp(lambda at: field(at, x), (t,), (one,))[1]
        return rate + jax.jvp(lambda at: flux(t, at), (x,), (one,))[1]

    return left_over
