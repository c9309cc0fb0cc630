"""NumPyro distributions as Gaussian beliefs, and several fields laid end to end as one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from bayescons.gaussians.composites import BlockDiagonal
from bayescons.gaussians.covariances import Dense, Diagonal, Kronecker, LowRank
from bayescons.gaussians.gaussian import Gaussian
from bayescons.refusals import Refusal, RefusedValue


class NoClosedFormError(Refusal, TypeError):
    """The fields of a program are not Gaussian given what stands above them.

    Attributes:
        reason: what stands in the way.
        remedy: what to write instead.
    """

    def __init__(self, reason: str, remedy: str):
        self.reason, self.remedy = reason, remedy
        super().__init__(f"{reason}{remedy}")


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


def as_gaussian(name: str, site: dist.Distribution, event_dims: int) -> Gaussian:
    """The belief that a sample site holds, its last `event_dims` axes the field and those before a
    batch.

    Accepts Normal (any `.expand`, `.to_event`), MultivariateNormal, LowRankMultivariateNormal,
    MatrixNormal and `bayescons.Gaussian`.

    Raises:
        TypeError: for any other distribution; names the site and the way out.
    """
    shape, base = site.shape(), unwrapped(site)
    convert = _CONVERSIONS.get(type(base))
    if convert is None:
        raise NoClosedFormError(
            f"the field {name!r} has distribution {type(base).__name__}, which is not Gaussian (or "
            "not one bayescons reads)",
            ". Use dist.Normal(...).to_event(k), MultivariateNormal, "
            "LowRankMultivariateNormal, MatrixNormal or a bc.Gaussian; for a non-Gaussian field "
            "use bc.soft(program, scale), or write it as a Gaussian field under a non-Gaussian "
            "likelihood",
        )
    if base.event_dim > event_dims:
        raise RefusedValue(
            f"the functional acts on {event_dims} axes, but {name!r} has {base.event_dim} event "
            f"axes: {base.event_shape}"
        )
    return convert(base, shape, event_dims)


def join(fields: list[Gaussian]) -> Gaussian:
    """Independent fields as one vector, end to end."""
    lead = fields[0].batch_shape
    mean = jnp.concatenate([f.mean.reshape(*lead, -1) for f in fields], axis=-1)
    return Gaussian(mean, BlockDiagonal(tuple(f.covariance for f in fields)))


def _normal(base, shape, event_dims) -> Gaussian:
    scale = jnp.broadcast_to(base.scale, shape)
    return Gaussian(_fill(base.loc, shape), Diagonal(scale**2, event_dims))


def _multivariate(base, shape, event_dims) -> Gaussian:
    lead = shape[: len(shape) - event_dims]
    _one_event_axis(base, event_dims)
    root = jnp.broadcast_to(base.scale_tril, (*lead, shape[-1], shape[-1]))
    return Gaussian(_fill(base.loc, shape), Dense(root, shape[-1:]))


def _low_rank(base, shape, event_dims) -> Gaussian:
    _one_event_axis(base, event_dims)
    factor = jnp.broadcast_to(base.cov_factor, (*shape, base.cov_factor.shape[-1]))
    return Gaussian(
        _fill(base.loc, shape), LowRank(jnp.broadcast_to(base.cov_diag, shape), factor, 1)
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
    missing = lead[: len(lead) - len(base.batch_shape)]
    covariance = base.covariance
    if covariance.batch_dims:
        covariance = jax.tree.map(lambda x: jnp.broadcast_to(x, (*missing, *x.shape)), covariance)
    elif lead:
        covariance = jax.tree.map(lambda x: jnp.broadcast_to(x, (*lead, *jnp.shape(x))), covariance)
    return Gaussian(_fill(base.loc, shape), covariance)


def _one_event_axis(base, event_dims: int) -> None:
    if event_dims != 1:
        raise RefusedValue(
            f"{type(base).__name__} is a vector of {base.event_shape[0]} points, the functional "
            f"acts on fields with {event_dims} axes; build the functional on a grid of one axis, "
            "or use bc.dense / bc.low_rank with a mean of the grid's shape"
        )


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
    Gaussian: _gaussian,
}
