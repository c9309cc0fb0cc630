"""Mixtures of beliefs about one field, each independent from point to point: draws of a latent, or
members of an ensemble; and one Gaussian, or mean and variance, made of several.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayescons.descriptions import tabulated
from bayescons.gaussians.conditioning import Constraint, condition
from bayescons.gaussians.gaussian import Gaussian, diagonal, low_rank


@tabulated("Ensemble of beliefs about one field")
class Ensemble(NamedTuple):
    """Several beliefs about one field, each independent from point to point: draws of a latent, or
    members of an ensemble.

    Attributes:
        mean: shape (members, *field).
        scale: standard deviations, the same shape.
        log_weight: logarithms of their weights before any law is known, up to a constant, shape
            (members,); None for equals.
    """

    mean: jax.Array
    scale: jax.Array
    log_weight: jax.Array | None = None


@tabulated("Moments of a mixture")
class Moments(NamedTuple):
    """What is kept of a mixture.

    Attributes:
        mean: shape of the field.
        variance: within and between members, the same shape.
    """

    mean: jax.Array
    variance: jax.Array


def moment_matched(ensemble: Ensemble, *, factor: bool = True) -> Gaussian:
    """One Gaussian with the mean and the variances of a mixture.

        m = Σ w_s μ_s,    K = diag(Σ w_s σ_s²) + F F',    F_s = √(w_s / (1 - Σ w²)) (μ_s - m)

    With S equal weights F_s = (μ_s - m)/√(S - 1), the sample's covariance.

    Args:
        ensemble: the mixture.
        factor: keep how points vary together; without it the same variances lie on the diagonal
            alone, and times are independent.

    Returns:
        `low_rank`, or `diagonal` without the factor.
    """
    logs = jnp.zeros(len(ensemble.mean)) if ensemble.log_weight is None else ensemble.log_weight
    weights = jax.nn.softmax(logs)
    mean, within = (
        jnp.tensordot(weights, ensemble.mean, 1),
        jnp.tensordot(weights, ensemble.scale**2, 1),
    )
    off = jnp.moveaxis(ensemble.mean - mean[None], 0, -1)
    off = off * jnp.broadcast_to(jnp.sqrt(weights / (1 - jnp.sum(weights**2))), off.shape)
    if factor:
        return low_rank(mean, jnp.sqrt(within), off)
    return diagonal(mean, jnp.sqrt(within + jnp.sum(off**2, axis=-1)))


def moments(ensemble: Ensemble, constraint: Constraint | None = None) -> Moments:
    """Mean and variance of a mixture whose members are each given a constraint, which is imposed:
    it does not change their weights.

        m = Σ w_s m_s,    v = Σ w_s v_s + Σ w_s (m_s - m)² / (1 - Σ w²)

    Members are conditioned one at a time, in JAX's default float, so that memory beyond theirs is
    that of a few fields.

    Args:
        ensemble: the mixture, two or more.
        constraint: on the field; None for nothing.
    """
    logs = jnp.zeros(len(ensemble.mean)) if ensemble.log_weight is None else ensemble.log_weight
    weights = jax.nn.softmax(logs)
    return moments_of_sums(
        add_members(no_members(ensemble.mean.shape[1:]), ensemble, weights, constraint), weights
    )


class WeightedSums(NamedTuple):
    """Weighted sums over the members so far: of the weights, the mean, Σ w v, and Σ w (m_s - m)²,
    which is never a difference.
    """

    weight: jax.Array
    mean: jax.Array
    within: jax.Array
    between: jax.Array


def no_members(shape: tuple[int, ...]) -> WeightedSums:
    """The sums over nothing, for fields of a shape."""
    return WeightedSums(jnp.zeros(()), jnp.zeros(shape), jnp.zeros(shape), jnp.zeros(shape))


def add_members(
    sums: WeightedSums, ensemble: Ensemble, weights: jax.Array, constraint: Constraint | None
) -> WeightedSums:
    """The sums with more members in them (Welford's recursion)."""

    def add(so_far, member):
        *predicted, weight = (a.astype(jnp.result_type(float)) for a in member)
        belief = diagonal(*predicted)
        belief = belief if constraint is None else condition(belief, constraint)
        total = so_far.weight + weight
        off = belief.mean - so_far.mean
        share = weight / jnp.maximum(
            total, jnp.finfo(total.dtype).tiny
        )  # 1 for the first, so that it is taken over exactly
        mean = so_far.mean + off * share
        within = so_far.within + weight * belief.variance
        return WeightedSums(
            total, mean, within, so_far.between + weight * off * (belief.mean - mean)
        ), None

    return jax.lax.scan(add, sums, (ensemble.mean, ensemble.scale, weights))[0]


def moments_of_sums(sums: WeightedSums, weights: jax.Array) -> Moments:
    """Mean and variance of a mixture of two or more, from the sums over all of its members."""
    return Moments(sums.mean, sums.within + sums.between / (1 - jnp.sum(weights**2)))
