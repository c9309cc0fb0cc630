"""Scales that a belief gives a functional: the standard deviation of each row, and of the error of
its quadrature rule.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bayescons import tracing
from bayescons.arrays import over_batch
from bayescons.functionals.abstract import AbstractFunctional
from bayescons.functionals.bundles import OnBundle
from bayescons.functionals.mapped import Mapped
from bayescons.functionals.products import TensorProduct
from bayescons.functionals.weighted import WeightedSum
from bayescons.gaussians import row_covariance as gram
from bayescons.gaussians.gaussian import Gaussian
from bayescons.refusals import RefusedValue


def functional_scale(prior: Gaussian, functional: AbstractFunctional):
    """Prior standard deviation of each row, sqrt(diag G K G'), in the shape of the functional's
    value (a tuple for a `Stack`).

    Example:
        >>> grid = bc.Grid(x=[0.0, 0.5, 1.0])
        >>> belief = bc.diagonal(jnp.zeros(3), 1.0)
        >>> round(float(bc.gaussians.functional_scale(belief, bc.integral(grid, over="x"))), 4)
        0.6124
    """
    return _spread(prior.covariance, functional)


@tracing.compiled
def _spread(covariance, functional: AbstractFunctional):
    def one(own):
        axes = gram.shared_axes(own, functional)
        clusters = gram.clusters_within(own, functional, axes)
        blocks = gram.form(functional, own, axes, clusters)
        deviation = jnp.sqrt(jnp.maximum(jnp.diagonal(blocks, axis1=-2, axis2=-1), 0.0))
        return functional.unpack(gram.joined(deviation, clusters), axes)

    return over_batch(one, covariance.batch_dims)(covariance)


def quadrature_scale(
    prior: Gaussian, functional: AbstractFunctional, *, draws: jax.Array | None = None
) -> jax.Array:
    """A-priori standard deviation of a quadrature rule's error, sqrt(Σ_i h_i² E[Δu_i²] / 12), in
    the shape of the functional's value.

    The exact solution of a PDE has the exact total; its quadrature on the grid has not. Between two
    nodes the field is taken as a Brownian bridge with the increment that the belief expects,
    E[Δu_i²] = (Δm_i)² + Var Δu_i, with the increments' variance taken as that of independent
    neighbours (an upper bound for positively correlated ones). See `quadrature.bridge_widths` for
    what it means.

    Args:
        prior: the belief.
        functional: with a rule; a law of several fields may have one in each of its parts, and
            their errors add up.
        draws: fields of the belief, shape (n, *batch, *field), to take E[Δu_i²] from in place of
            the bound.

    Raises:
        ValueError: for a functional that is not an integral.

    Example:
        >>> grid = bc.Grid(x=jnp.linspace(0.0, 1.0, 101))
        >>> belief = bc.diagonal(jnp.where(grid["x"] < 0.5, 1.0, 0.0), 1e-3)  # a jump
        >>> round(float(bc.quadrature_scale(belief, bc.integral(grid, over="x"))), 4)
        0.0029
    """
    moments = (prior.mean, prior.variance) if draws is None else (draws,)
    while isinstance(functional, Mapped):  # a batch of members like any
        moments = tuple(functional.members_first(moment) for moment in moments)
        functional = functional.part
    parts = [(functional, moments)]
    if isinstance(functional, OnBundle):
        fields = [functional.bundle.split(moment) for moment in moments]
        parts = [
            (part, tuple(f[i] for f in fields))
            for part, i in zip(functional.parts, functional.indices, strict=True)
        ]
    rules = [
        part
        for part in parts
        if isinstance(part[0], TensorProduct | WeightedSum)
        and any(b is not None for b in part[0].bridges)
    ]
    if not rules:
        raise RefusedValue(
            "scale='quadrature' is the error of an integral between nodes; this functional is "
            "none, or a sum over cells, which is exact. Give its scale as a number, or none"
        )
    return jnp.sqrt(sum(_rule_variance(*rule) for rule in rules))


def _rule_variance(functional: TensorProduct | WeightedSum, moments: tuple) -> jax.Array:
    """Σ_i h_i² E[Δu_i²] / 12 over the axes integrated over, in the shape of the functional's value
    (batch axes in front).
    """
    total = 0.0
    for axis, widths in enumerate(functional.bridges):
        if widths is not None:
            at = axis - len(functional.shape)
            rows = isinstance(functional, TensorProduct)
            around = jnp.shape(widths)[-1 if rows else axis] == functional.shape[axis]
            increments = _expected_increments(moments, at, around)
            lead = increments.ndim - len(functional.shape)
            rule = _squared(functional, axis, widths, increments.shape[lead:])
            total = total + over_batch(rule, lead)(increments)
    return total


def _squared(functional, axis: int, widths, shape: tuple[int, ...]) -> TensorProduct | WeightedSum:
    """The functional of increments along an axis that gives the variance of the rule there."""
    variance = jnp.asarray(widths) ** 2 / 12
    if isinstance(functional, WeightedSum):
        return WeightedSum(variance, shape=shape, over=functional.over)
    squared = [None if w is None else jnp.asarray(w) ** 2 for w in functional.weights]
    squared[axis] = variance
    return TensorProduct(tuple(squared), shape=shape)


def _expected_increments(moments: tuple, axis: int, around: bool) -> jax.Array:
    """E[Δu_i²] along an axis (counted from the last), from mean and variance or from draws; around
    a ring the last increment is back to the first point.
    """
    if around:
        first = [jnp.take(m, jnp.arange(1), axis=axis) for m in moments]
        moments = tuple(
            jnp.concatenate([m, f], axis=axis) for m, f in zip(moments, first, strict=True)
        )
    squares = jnp.diff(moments[0], axis=axis) ** 2
    if len(moments) == 1:
        return jnp.mean(squares, axis=0)
    low, high = (
        jax.lax.slice_in_dim(moments[1], *ends, axis=moments[1].ndim + axis)
        for ends in ((0, -1), (1, None))
    )
    return squares + low + high
