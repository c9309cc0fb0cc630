"""Fields of a plate as one field: independent members along axes of their own."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from bayescons.arrays import over_batch
from bayescons.descriptions import described
from bayescons.functionals.abstract import static
from bayescons.gaussians.abstract import AbstractCovariance
from bayescons.gaussians.covariances import Diagonal
from bayescons.gaussians.gaussian import Gaussian


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Plate(AbstractCovariance):
    """K = diag(K_1, ..., K_n): fields that are independent of each other, the axes along which they
    are counted in front.

    Attributes:
        member: K_i, its arrays with the plate's axes in front; or one covariance for all.
        sizes: of the plate's axes.
        shared: whether all have one covariance.
    """

    member: AbstractCovariance
    sizes: tuple[int, ...] = static()
    shared: bool = static()

    @property
    def structure(self) -> str:
        """That of a member, and how many there are."""
        sizes = " × ".join(map(str, self.sizes))
        return f"{sizes} independent members, each {self.member.structure}"

    @property
    def shape(self) -> tuple[int, ...]:
        """(*sizes, *field)."""
        return (*self.sizes, *self.member.shape)

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes, those of the plate not counted."""
        return self.member.batch_dims - (0 if self.shared else len(self.sizes))

    @property
    def noise_size(self) -> int:
        """The members' together."""
        return math.prod(self.sizes) * self.member.noise_size

    @property
    def independent(self) -> frozenset[int]:
        """The axes of the plate, and those along which every member is independent."""
        lead = len(self.sizes)
        return frozenset(range(lead)) | {lead + axis for axis in self.member.independent}

    @property
    def unconditioned(self) -> Plate:
        """The members', unconditioned."""
        member = self.member.unconditioned
        return self if member is self.member else dataclasses.replace(self, member=member)

    @property
    def variance(self) -> jax.Array:
        """The members'."""
        if self.shared:
            return jnp.broadcast_to(self.member.variance, self.shape)
        return over_batch(lambda member: member.variance, len(self.sizes))(self.member)

    def mv(self, field) -> jax.Array:
        """K_i u_i."""
        return self._each(lambda member, u: member.mv(u), field)

    def root(self, noise) -> jax.Array:
        """A_i z_i."""
        noise = noise.reshape(*self.sizes, self.member.noise_size)
        return self._each(lambda member, z: member.root(z), noise)

    def log_density(self, field) -> jax.Array:
        """Σ_i log N(u_i; 0, K_i)."""
        return jnp.sum(self._each(lambda member, u: member.log_density(u), field))

    def _each(self, function, array) -> jax.Array:
        return over_batch(function, len(self.sizes), self.shared)(self.member, array)


def one_field(belief: Gaussian) -> Gaussian:
    """A batch of fields as one field, the axes of the batch in front: the same law, with nothing
    but the meaning of its axes changed.
    """
    sizes, covariance = belief.batch_shape, belief.covariance
    if isinstance(covariance, Diagonal):
        variances = jnp.broadcast_to(covariance.diagonal, jnp.shape(belief.loc))
        return Gaussian(belief.loc, Diagonal(variances, variances.ndim))
    shared = covariance.batch_dims == 0
    return Gaussian(belief.loc, Plate(covariance, sizes, shared) if sizes else covariance)
