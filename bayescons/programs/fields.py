"""NumPyro distributions as Gaussian beliefs, and several fields as one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from bayescons import tracing
from bayescons.functionals.bundles import Bundle
from bayescons.gaussians.bundled import BlockDiagonal
from bayescons.gaussians.covariances import Dense, Diagonal, Kronecker, LowRank
from bayescons.gaussians.gaussian import Gaussian, over_batch_of
from bayescons.gaussians.markov import ConditionalAutoregression, Graph, RandomWalk
from bayescons.gaussians.plates import one_field
from bayescons.refusals import Refusal, RefusedValue


class NoClosedFormError(Refusal, TypeError):
    """The fields of a program are not Gaussian given what stands above them.

    Attributes:
        reason: what stands in the way.
    """

    def __init__(self, reason: str, instead: str):
        self.reason = reason
        super().__init__(f"{reason}{instead}")


def unwrapped(site: dist.Distribution) -> dist.Distribution:
    """The distribution behind `.expand` and `.to_event`, which plates too put around a site."""
    while isinstance(site, dist.ExpandedDistribution | dist.Independent):
        site = site.base_dist
    return site


def improper(site: dist.Distribution) -> bool:
    """Whether a prior has no draws: an `ImproperUniform`, whatever has been made of it."""
    return isinstance(innermost(site), dist.ImproperUniform)


def innermost(site: dist.Distribution) -> dist.Distribution:
    """The distribution behind all that wraps one: `.expand`, `.to_event`, `.mask`, transforms and
    mixtures of one.
    """
    while isinstance(base := getattr(site, "base_dist", None), dist.Distribution):
        site = base
    return site


def is_gaussian(site: dist.Distribution) -> bool:
    """Whether `as_gaussian` reads a distribution."""
    return type(unwrapped(site)) in _CONVERSIONS


def as_gaussian(name: str, site: dist.Distribution) -> Gaussian:
    """The belief that a sample site holds: its event axes the field, those before a batch.

    Accepts Normal (any `.expand`, `.to_event`), MultivariateNormal, LowRankMultivariateNormal,
    MatrixNormal, GaussianRandomWalk, CAR and `bayescons.Gaussian`. What `.to_event` adds to the
    axes of a multivariate one stays a batch.

    Raises:
        TypeError: for any other distribution; names the site and the way out.
    """
    base = unwrapped(site)
    convert = _CONVERSIONS.get(type(base))
    if convert is None:
        raise NoClosedFormError(
            f"the field {name!r} has distribution {type(base).__name__}, which is not Gaussian (or "
            "not one bayescons reads)",
            ". Use dist.Normal(...).to_event(k), MultivariateNormal, "
            "LowRankMultivariateNormal, MatrixNormal, GaussianRandomWalk, CAR or a bc.Gaussian; "
            "for a non-Gaussian field "
            "use bc.soft(program, scale), or write it as a Gaussian field under a non-Gaussian "
            "likelihood",
        )
    return convert(base, site.shape(), base.event_dim or site.event_dim)


def join(fields: list[Gaussian], bundle: Bundle) -> Gaussian:
    """Independent fields as one array, the axes of their batches among their own."""
    members = [one_field(field) for field in fields]
    if len(members) == 1:
        return members[0]
    covariance = BlockDiagonal(tuple(m.covariance for m in members), bundle.shared)
    return Gaussian(bundle.join([m.loc for m in members]), covariance)


def _normal(base, shape, event_dims) -> Gaussian:
    scale = jnp.broadcast_to(base.scale, shape)
    return Gaussian(_fill(base.loc, shape), Diagonal(scale**2, event_dims))


def _multivariate(base, shape, event_dims) -> Gaussian:
    del event_dims
    root = jnp.broadcast_to(base.scale_tril, (*shape, shape[-1]))
    return Gaussian(_fill(base.loc, shape), Dense(root, shape[-1:]))


def _low_rank(base, shape, event_dims) -> Gaussian:
    factor = jnp.broadcast_to(base.cov_factor, (*shape, base.cov_factor.shape[-1]))
    return Gaussian(
        _fill(base.loc, shape), LowRank(jnp.broadcast_to(base.cov_diag, shape), factor, event_dims)
    )


def _matrix(base, shape, event_dims) -> Gaussian:
    lead = shape[: len(shape) - event_dims]
    roots = tuple(
        jnp.broadcast_to(r, (*lead, *r.shape[-2:]))
        for r in (base.scale_tril_row, base.scale_tril_column)
    )
    return Gaussian(_fill(base.loc, shape), Kronecker(roots, jnp.ones(lead), shape[len(lead) :]))


def _gaussian(base, shape, event_dims) -> Gaussian:
    lead = shape[: len(shape) - event_dims]
    covariance = over_batch_of(base.covariance, lead)
    return Gaussian(_fill(base.loc, shape), covariance)


def _random_walk(base, shape, event_dims) -> Gaussian:
    del event_dims
    scale = jnp.broadcast_to(base.scale, shape[:-1])
    return Gaussian(_fill(jnp.zeros(()), shape), RandomWalk(scale, base.num_steps))


def _autoregression(base, shape, event_dims) -> Gaussian:
    """By its edges where NumPyro was given a sparse matrix, else by the factor of its precision."""
    del event_dims
    lead = shape[:-1]
    beyond = abs(base.correlation) >= 1
    if not tracing.known_now(beyond):
        tracing.ask(beyond)
    elif np.any(beyond):
        raise RefusedValue(
            "the correlation of a CAR field must lie between -1 and 1, or its precision is no "
            f"precision; got {np.asarray(base.correlation)}"
        )
    if base.is_sparse:
        alpha, tau = (
            jnp.broadcast_to(v, lead) for v in (base.correlation, base.conditional_precision)
        )
        covariance = ConditionalAutoregression(alpha, tau, Graph(base.adj_matrix))
        return Gaussian(_fill(base.loc, shape), covariance)
    lower = jnp.linalg.cholesky(base.precision_matrix)
    identity = jnp.broadcast_to(jnp.eye(shape[-1], dtype=lower.dtype), lower.shape)
    root = jax.lax.linalg.triangular_solve(
        lower, identity, left_side=True, lower=True, transpose_a=True
    )
    root = jnp.broadcast_to(root, (*shape, shape[-1]))
    return Gaussian(_fill(base.loc, shape), Dense(root, shape[-1:]))


def _fill(loc, shape) -> jax.Array:
    """A fresh array of the full shape: sites are told apart by the identity of their values."""
    loc = jnp.asarray(loc)
    return (
        jnp.broadcast_to(loc.reshape((1,) * (len(shape) - loc.ndim) + loc.shape), shape).astype(
            jnp.result_type(float, loc)
        )
        + 0.0
    )


_CONVERSIONS = {
    dist.Normal: _normal,
    dist.MultivariateNormal: _multivariate,
    dist.LowRankMultivariateNormal: _low_rank,
    dist.MatrixNormal: _matrix,
    dist.GaussianRandomWalk: _random_walk,
    dist.CAR: _autoregression,
    Gaussian: _gaussian,
}
