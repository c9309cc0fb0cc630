"""Projection onto a law's manifold, by Newton's method: along given normals, and from anywhere."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayescons.restrictions.nonlinear import NonlinearConstraint

MOST = 30  # of Newton's steps along fixed normals; 3 to 6 are usual
_FAR = 200  # of steps from anywhere


class Foot(NamedTuple):
    """A point of the manifold, reached or not.

    Attributes:
        position: z.
        multipliers: λ, of z = start + normals' λ, shape (q,).
        gap: c(z), shape (q,).
        jacobian: J at z, shape (q, d).
        steps: of Newton's method.
        found: whether Newton's method got so close, |c| <= `tolerance`, that its last step left
            rounding.
    """

    position: jax.Array
    multipliers: jax.Array
    gap: jax.Array
    jacobian: jax.Array
    steps: jax.Array
    found: jax.Array


def tolerance(constraint: NonlinearConstraint) -> jax.Array:
    """Of |c|, by rows, before the last step: in float64 2e-10 of a standard deviation, or of the
    value where that is larger.
    """
    return (
        2**20
        * jnp.finfo(constraint.value.dtype).eps
        * jnp.maximum(1.0, jnp.abs(constraint.value) / constraint.unit)
    )


def along(constraint: NonlinearConstraint, start, normals) -> Foot:
    """The root λ of c(start + normals' λ) = 0 that Newton's method finds from λ = 0; `normals` of
    shape (q, d).

    The field is m + A z, so along the normals it is u(start) + Σ λ_i A n_i: the root of the
    covariance is applied before Newton's method and after it, and not in it.
    """
    bound = tolerance(constraint)
    begin = constraint.field(start)
    pushes = jax.vmap(constraint.belief.covariance.root)(normals)
    units = jnp.eye(len(normals), dtype=start.dtype)

    def seen(multipliers):
        gap, slope = jax.linearize(
            lambda m: constraint.gap_of(begin + jnp.tensordot(m, pushes, 1)), multipliers
        )
        return gap, jax.vmap(slope, out_axes=1)(units)

    def onwards(state):
        multipliers, gap, slope, steps = state
        closer = multipliers - solved(slope, gap)
        return closer, *seen(closer), steps + 1

    def going(state):
        _, gap, _, steps = state
        return ~jnp.all(jnp.abs(gap) <= bound) & (steps < MOST) & jnp.all(jnp.isfinite(gap))

    nothing = jnp.zeros_like(constraint.value)
    first = (nothing, *seen(nothing), jnp.asarray(0))
    multipliers, gap, slope, steps = jax.lax.while_loop(going, onwards, first)
    last = multipliers - solved(slope, gap)
    return _foot(constraint, start + normals.T @ last, last, steps + 1, bound)


def anywhere(constraint: NonlinearConstraint, start) -> Foot:
    """A point of the manifold near a start that may be far from it: Gauss-Newton steps, halved
    until the gap shrinks.
    """
    bound = tolerance(constraint)

    def onwards(state):
        foot, share = state
        step = foot.jacobian.T @ solved(foot.jacobian @ foot.jacobian.T, foot.gap)
        trial = _foot(
            constraint, foot.position - share * step, foot.multipliers, foot.steps + 1, bound
        )
        better = jnp.linalg.norm(trial.gap) < (1 - share / 4) * jnp.linalg.norm(foot.gap)
        chosen = jax.tree.map(
            lambda a, b: jnp.where(better, a, b), trial, foot._replace(steps=foot.steps + 1)
        )
        return chosen, jnp.where(better, jnp.minimum(2 * share, 1.0), share / 2)

    def going(state):
        foot, share = state
        return ~foot.found & (foot.steps < _FAR) & (share > 1e-9)

    first = _foot(constraint, start, jnp.zeros_like(constraint.value), jnp.asarray(0), bound)
    last = jax.lax.while_loop(going, onwards, (first, jnp.ones_like(constraint.value[0])))[0]
    return _closer(onwards((last, jnp.ones_like(constraint.value[0])))[0], last)


def tangent(jacobian, vector) -> jax.Array:
    """The part of a vector along the manifold, v - J'(J J')^-1 J v."""
    return vector - jacobian.T @ solved(jacobian @ jacobian.T, jacobian @ vector)


def solved(matrix, rows) -> jax.Array:
    """matrix⁻¹ rows, for a matrix of shape (q, q); of one row by a division, as a call of LAPACK
    for each chain costs more than a step.
    """
    return rows / matrix[0] if len(matrix) == 1 else jnp.linalg.solve(matrix, rows)


def _closer(one: Foot, other: Foot) -> Foot:
    better = jnp.max(jnp.abs(one.gap)) < jnp.max(jnp.abs(other.gap))
    return jax.tree.map(lambda a, b: jnp.where(better, a, b), one, other)


def _foot(constraint: NonlinearConstraint, position, multipliers, steps, bound) -> Foot:
    gap, jacobian = constraint.linear(position)
    return Foot(position, multipliers, gap, jacobian, steps, jnp.all(jnp.abs(gap) <= bound))
