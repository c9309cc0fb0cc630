"""Beliefs over a domain that is no box: zero and certain outside of it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.descriptions import described, known
from bayescons.functionals.abstract import Leaf
from bayescons.functionals.domains import Domain
from bayescons.gaussians.abstract import AbstractCovariance, AbstractImage, no_density
from bayescons.gaussians.covariances import Diagonal
from bayescons.gaussians.gaussian import Gaussian, over_batch_of
from bayescons.refusals import RefusedOperation, RefusedValue


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Masked(AbstractImage):
    """The covariance of a field that is zero outside of a domain, K' = D K D with D the indicator
    of its inside.

    Attributes:
        whole: K.
        inside: where D is one, of shape (*batch, *shape) with one in place of an axis along which
            it does not change.
    """

    whole: AbstractCovariance
    inside: Leaf

    @property
    def structure(self) -> str:
        """That of the whole, and how many points are inside."""
        count = ""
        if known(self.inside):
            size, lead = np.size(self.inside), self.inside.ndim - len(self.whole.shape)
            repeats = np.prod(self.shape) // max(np.prod(self.inside.shape[lead:]), 1)
            found = int(np.sum(np.asarray(self.inside))) * repeats
            count = f" to {found} of {size * repeats} points"
        return f"{self.whole.structure}; masked{count}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the field."""
        return self.whole.shape

    @property
    def variance(self) -> jax.Array:
        """That of the whole, zero outside."""
        return self.map(self.whole.variance)

    def map(self, field) -> jax.Array:
        """D u."""
        return jnp.where(self.inside, field, 0)

    def adjoint(self, field) -> jax.Array:
        """D v."""
        return jnp.where(self.inside, field, 0)

    def log_density(self, field) -> jax.Array:
        """Not available: the field is certain outside."""
        del field
        raise RefusedOperation(no_density("a field that is certain outside of a domain"))


def masked(belief: Gaussian, domain: Domain) -> Gaussian:
    """The belief about a field that ends with a domain, D u for u ~ N(m, K) and D the indicator of
    the inside: N(D m, D K D). Inside nothing changes; outside the field is zero and certain.

    Draws are zero outside, not NaN: statements, likelihoods and residuals are sums over all points,
    and zero times NaN is NaN. `Domain.filled` puts NaN there for a person to look at.

    The structure of the belief is kept: axes along which it is independent stay so, a diagonal
    belief stays diagonal, and nothing n x n is formed. A statement about points outside alone is
    redundant if it says zero, and a contradiction otherwise.

    Args:
        belief: over fields of the domain's grid, or a batch of them.
        domain: with a batch in front where each member of the belief has its own.

    Raises:
        ValueError: fields of another shape, or another batch.

    Example:
        >>> grid = bc.Grid(x=[0.0, 0.5, 1.0])
        >>> rod = bc.functionals.Domain(grid, [True, True, False])
        >>> belief = bc.gaussians.masked(bc.diagonal(jnp.ones(3), 2.0), rod)
        >>> print(belief.mean, belief.variance)
        [1. 1. 0.] [4. 4. 0.]
        >>> given = belief | bc.Constraint(rod.integral("x"), 1.0)
        >>> print(rod.filled(given.mean))
        [ 2.  2. nan]
    """
    if belief.event_shape != domain.grid.shape:
        raise RefusedValue(
            f"the belief is over fields of shape {belief.event_shape}, and the domain over a grid "
            f"of shape {domain.grid.shape}; build both on the same grid"
        )
    batch = domain.batch_shape or belief.batch_shape
    if belief.batch_shape not in ((), batch):
        raise RefusedValue(
            f"a batch of beliefs of shape {belief.batch_shape} cannot have a batch of domains of "
            f"shape {domain.batch_shape}; give each member a domain, or one to all"
        )
    mean = jnp.broadcast_to(jnp.asarray(belief.mean), (*batch, *domain.grid.shape))
    inside = domain.mask.reshape((1,) * (mean.ndim - domain.mask.ndim) + domain.mask.shape)
    covariance, own = belief.covariance, domain.mask
    if domain.batch_shape or covariance.batch_dims:
        covariance = over_batch_of(covariance, batch)
        own = np.broadcast_to(inside, (*batch, *inside.shape[len(batch) :]))
    return Gaussian(jnp.where(inside, mean, 0), _masked(covariance, jnp.asarray(own)))


def _masked(covariance: AbstractCovariance, inside) -> AbstractCovariance:
    if isinstance(covariance, Diagonal):
        return Diagonal(jnp.where(inside, covariance.diagonal, 0), covariance.dims)
    return Masked(covariance, inside)
