"""Covariances of a field that keep their structure. Nothing n x n is formed unless the belief
itself is dense.

They offer what every covariance offers (`bayescons.gaussians.abstract`).
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from bayescons.descriptions import described, span
from bayescons.functionals.abstract import Leaf, static
from bayescons.gaussians.abstract import LOG_2PI, AbstractPrior


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Diagonal(AbstractPrior):
    """K = diag(variance): every point independent of every other.

    Attributes:
        diagonal: variances, shape (*batch, *shape).
        dims: number of axes of the field.
    """

    diagonal: Leaf
    dims: int = static()

    @property
    def structure(self) -> str:
        """The range of its variances."""
        return f"diagonal, variance {span(self.diagonal)}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the field."""
        return self.diagonal.shape[self.batch_dims :]

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes."""
        return self.diagonal.ndim - self.dims

    @property
    def independent(self) -> frozenset[int]:
        """All axes."""
        return frozenset(range(self.dims))

    @property
    def variance(self) -> jax.Array:
        """The diagonal."""
        return self.diagonal

    def mv(self, field) -> jax.Array:
        """K u."""
        return self.diagonal * field

    def root(self, noise) -> jax.Array:
        """diag(variance)^1/2 z."""
        return jnp.sqrt(self.diagonal) * noise.reshape(self.shape)

    def log_density(self, field) -> jax.Array:
        """Σ log N(u_i; 0, variance_i)."""
        return -jnp.sum(field**2 / self.diagonal + jnp.log(self.diagonal) + LOG_2PI) / 2


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LowRank(AbstractPrior):
    """K = diag(d) + F F', for instance an ensemble: F the centred members over sqrt(M - 1).

    Attributes:
        diagonal: d > 0, shape (*batch, *shape).
        factor: F, shape (*batch, *shape, rank).
        dims: number of axes of the field.
    """

    diagonal: Leaf
    factor: Leaf
    dims: int = static()

    @property
    def structure(self) -> str:
        """Its rank."""
        return f"diagonal plus rank {self.factor.shape[-1]}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the field."""
        return self.diagonal.shape[self.batch_dims :]

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes."""
        return self.diagonal.ndim - self.dims

    @property
    def noise_size(self) -> int:
        """N + rank."""
        return math.prod(self.shape) + self.factor.shape[-1]

    @property
    def variance(self) -> jax.Array:
        """D + row sums of F²."""
        return self.diagonal + jnp.sum(self.factor**2, axis=-1)

    def mv(self, field) -> jax.Array:
        """D u + F (F' u)."""
        weights = jnp.tensordot(self.factor, field, axes=(tuple(range(self.dims)),) * 2)
        return self.diagonal * field + self.factor @ weights

    def root(self, noise) -> jax.Array:
        """D^1/2 z_1 + F z_2."""
        own, shared = noise[: -self.factor.shape[-1]], noise[-self.factor.shape[-1] :]
        return jnp.sqrt(self.diagonal) * own.reshape(self.shape) + self.factor @ shared

    def log_density(self, field) -> jax.Array:
        """By Woodbury: with C = I + F' D^-1 F, u'K^-1 u = u'D^-1 u - |C^-1/2 F'D^-1 u|² and |K| =
        |D| |C|.
        """
        axes = (tuple(range(self.dims)),) * 2
        scaled = self.factor / self.diagonal[..., None]
        capacitance = jnp.eye(self.factor.shape[-1]) + jnp.tensordot(self.factor, scaled, axes=axes)
        lower = jnp.linalg.cholesky(capacitance)
        inner = jax.scipy.linalg.solve_triangular(
            lower, jnp.tensordot(scaled, field, axes=axes), lower=True
        )
        log_det = jnp.sum(jnp.log(self.diagonal)) + 2 * jnp.sum(jnp.log(jnp.diagonal(lower)))
        return (
            -(
                jnp.sum(field**2 / self.diagonal)
                - jnp.sum(inner**2)
                + log_det
                + field.size * LOG_2PI
            )
            / 2
        )


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Kronecker(AbstractPrior):
    """K = ⊗_a A_a A_a': separable along the axes; None stands for the identity, so that axis is
    independent.

    Attributes:
        roots: one square root A_a of shape (*batch, n_a, n_a), or None, per axis.
        scale: standard deviation that multiplies the whole, shape (*batch,).
        shape: shape of the field.
    """

    roots: tuple
    scale: Leaf
    shape: tuple[int, ...] = static()

    @property
    def structure(self) -> str:
        """Its matrices and its scale."""
        sizes = " ⊗ ".join(
            "identity" if r is None else f"{r.shape[-1]} × {r.shape[-1]}" for r in self.roots
        )
        return f"separable, {sizes}, scale {span(self.scale)}"

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes."""
        return jnp.ndim(self.scale)

    @property
    def independent(self) -> frozenset[int]:
        """Axes whose factor is the identity."""
        return frozenset(a for a, root in enumerate(self.roots) if root is None)

    @property
    def variance(self) -> jax.Array:
        """scale² times the outer product of the factors' diagonals."""
        out = jnp.broadcast_to(self.scale**2, self.shape)
        for axis, root in enumerate(self.roots):
            if root is not None:
                out = out * jnp.expand_dims(
                    jnp.sum(root**2, axis=-1), [a for a in range(len(self.shape)) if a != axis]
                )
        return out

    def mv(self, field) -> jax.Array:
        """K u, one axis after another."""
        for axis, root in enumerate(self.roots):
            field = field if root is None else along(root, along(root.T, field, axis), axis)
        return self.scale**2 * field

    def root(self, noise) -> jax.Array:
        """Scale (⊗ A_a) z."""
        field = noise.reshape(self.shape)
        for axis, root in enumerate(self.roots):
            field = field if root is None else along(root, field, axis)
        return self.scale * field

    def log_density(self, field) -> jax.Array:
        """|(⊗ A_a)^-1 u|² and log|K| = 2 Σ_a (n / n_a) log|A_a| + 2 n log scale."""
        size, log_det = field.size, 2 * field.size * jnp.log(self.scale)
        field = field / self.scale
        for axis, root in enumerate(self.roots):
            if root is not None:
                field = jnp.moveaxis(_solve(root, jnp.moveaxis(field, axis, 0)), 0, axis)
                log_det = log_det + 2 * (size // len(root)) * jnp.linalg.slogdet(root)[1]
        return -(jnp.sum(field**2) + log_det + size * LOG_2PI) / 2


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dense(AbstractPrior):
    """K = A A' over all points of the field, for small fields.

    Attributes:
        factor: a square root A (a Cholesky factor, say), shape (*batch, n, n).
        shape: shape of the field, n = prod(shape).
    """

    factor: Leaf
    shape: tuple[int, ...] = static()

    @property
    def structure(self) -> str:
        """How many points it holds."""
        return f"dense, over {self.factor.shape[-1]} points"

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes."""
        return self.factor.ndim - 2

    @property
    def variance(self) -> jax.Array:
        """Row sums of A²."""
        return jnp.sum(self.factor**2, axis=-1).reshape(self.shape)

    def mv(self, field) -> jax.Array:
        """A (A' u)."""
        return (self.factor @ (self.factor.T @ field.reshape(-1))).reshape(self.shape)

    def root(self, noise) -> jax.Array:
        """A z."""
        return (self.factor @ noise).reshape(self.shape)

    def log_density(self, field) -> jax.Array:
        """|A^-1 u|² and log|K| = 2 log|A|."""
        white = _solve(self.factor, field.reshape(-1))
        return (
            -(jnp.sum(white**2) + 2 * jnp.linalg.slogdet(self.factor)[1] + white.size * LOG_2PI) / 2
        )


def along(matrix, field, axis: int) -> jax.Array:
    """A matrix times a field along one axis."""
    return jnp.moveaxis(jnp.tensordot(matrix, field, axes=((1,), (axis,))), 0, axis)


def _solve(matrix, field) -> jax.Array:
    return jnp.linalg.solve(matrix, field.reshape(len(matrix), -1)).reshape(field.shape)
