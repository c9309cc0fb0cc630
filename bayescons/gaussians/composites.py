"""Covariances made of others: a part of a field, a field scaled, and a field after conditioning.

They offer what every covariance offers (`bayescons.gaussians.abstract`), so they nest.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from bayescons.descriptions import counted, described, span
from bayescons.functionals.abstract import AbstractFunctional, Leaf, static
from bayescons.gaussians.abstract import LOG_2PI, AbstractCovariance, AbstractImage, no_density
from bayescons.gaussians.row_covariance import RowCovariance
from bayescons.refusals import RefusedOperation


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Marginal(AbstractImage):
    """The covariance of part of a field: K' = P K P', where P keeps some points along each axis.

    Attributes:
        whole: covariance of the whole field.
        indices: of the points of the part along each axis, shape (*batch, number), or None for all
            of them.
    """

    whole: AbstractCovariance
    indices: tuple

    @property
    def structure(self) -> str:
        """That of the whole."""
        return f"part of a field of shape {tuple(self.whole.shape)}, {self.whole.structure}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the part."""
        return tuple(
            n if index is None else index.shape[-1]
            for n, index in zip(self.whole.shape, self.indices, strict=True)
        )

    @property
    def variance(self) -> jax.Array:
        """That of the points of the part."""
        return self.map(self.whole.variance)

    def map(self, field) -> jax.Array:
        """P u."""
        for axis, index in enumerate(self.indices):
            field = field if index is None else jnp.take(field, index, axis=axis)
        return field

    def adjoint(self, field) -> jax.Array:
        """P' v: zero where the part has no points."""
        for axis, index in enumerate(self.indices):
            if index is not None:
                shape = (*field.shape[:axis], self.whole.shape[axis], *field.shape[axis + 1 :])
                at = (slice(None),) * axis + (index,)
                field = jnp.zeros(shape, field.dtype).at[at].set(field)
        return field

    def log_density(self, field) -> jax.Array:
        """Not available: it would need a dense matrix."""
        del field
        raise RefusedOperation(no_density("a field restricted from a larger one"))


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scaled(AbstractImage):
    """The covariance of a centred field times a factor, K' = D K D with D = diag(factor): s² K for
    one number.

    Attributes:
        whole: K.
        factor: s > 0, of shape (*batch, *shape) with one in place of an axis along which it does
            not change.
    """

    whole: AbstractCovariance
    factor: Leaf

    @property
    def structure(self) -> str:
        """That of the whole, and the range of the factor."""
        return f"{self.whole.structure}; times a factor {span(self.factor)}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the field."""
        return self.whole.shape

    @property
    def variance(self) -> jax.Array:
        """s² times that before."""
        return self.factor**2 * self.whole.variance

    def map(self, field) -> jax.Array:
        """D u."""
        return self.factor * field

    def adjoint(self, field) -> jax.Array:
        """D v."""
        return self.factor * field

    def log_density(self, field) -> jax.Array:
        """Log N(u / s; 0, K) - Σ log s."""
        return self.whole.log_density(field / self.factor) - jnp.sum(
            jnp.log(jnp.broadcast_to(self.factor, self.shape))
        )


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Conditioned(AbstractCovariance):
    """The covariance after conditioning, K - K G' S⁺ G K with S = G K G' + R, as the recipe and not
    as a matrix.

    A draw is Matheron's rule, u - K G' S⁺ (G u + eps) with u ~ N(0, K) and eps ~ N(0, R): a prior
    draw and the gain, no factor of the posterior. With R = 0 every draw satisfies G u = 0.

    Attributes:
        prior: K.
        functional: G.
        row_covariance: factored S.
        noise: diagonal of R by rows, shape (*axes, r), or None for R = 0.
        axes: axes over which S is block-diagonal.
        exact: whether any row is exact (or had scale 0), in which case there is no density.

    Source: Journel & Huijbregts, Mining Geostatistics (1978), conditional simulation; Wilson et
    al., Pathwise conditioning of Gaussian processes, JMLR 22 (2021).
    """

    prior: AbstractCovariance
    functional: AbstractFunctional
    row_covariance: RowCovariance
    noise: Leaf | None
    axes: tuple[int, ...] = static()
    exact: bool = static()

    @property
    def structure(self) -> str:
        """That of the prior, and how many rows are known of it."""
        rows = math.prod(self.row_covariance.row_std.shape[self.batch_dims :])
        if self.noise is None:
            return f"{self.prior.structure}; given {counted(rows, 'exact row')}"
        noisy = f"; given {counted(rows, 'row')}, noise variance {span(self.noise)}"
        return f"{self.prior.structure}{noisy}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the field."""
        return self.prior.shape

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes."""
        return self.prior.batch_dims

    @property
    def noise_size(self) -> int:
        """The prior's, and one number per row where rows are noisy."""
        return self.prior.noise_size + (
            0
            if self.noise is None
            else math.prod(self.row_covariance.row_std.shape[self.batch_dims :])
        )

    @property
    def independent(self) -> frozenset[int]:
        """Axes that conditioning did not couple."""
        return self.prior.independent & frozenset(self.axes)

    @property
    def unconditioned(self) -> AbstractCovariance:
        """The covariance before any conditioning."""
        return self.prior.unconditioned

    @property
    def variance(self) -> jax.Array:
        """Diag K - Σ_j (K G' S^-1/2)_j², never below zero (the difference can round to it)."""
        lead = self.row_covariance.block_std.shape
        units = jnp.eye(lead[-1], dtype=self.row_covariance.block_std.dtype)

        def explained(unit):
            return (
                self._adjoint(self.row_covariance.unwhiten_adjoint(jnp.broadcast_to(unit, lead)))
                ** 2
            )

        prior = self.prior.variance
        if len(units) == 1:  # a loop of one step would keep the compiler from fusing it
            return jnp.maximum(prior - explained(units[0]).astype(prior.dtype), 0.0)
        total, _ = jax.lax.scan(
            lambda sum_, unit: (sum_ + explained(unit), None),
            jnp.zeros(self.shape, units.dtype),
            units,
        )
        return jnp.maximum(prior - total.astype(prior.dtype), 0.0)

    def gain(self, rows) -> jax.Array:
        """K G' S⁺ y, in two steps: the second moves by what the first missed, so that rounding is
        that of the small second move.
        """
        solved = self.row_covariance.solve(rows)
        moved = self._adjoint(solved)
        missed = rows - self._rows(moved)
        if self.noise is not None:
            missed = missed - self.noise * solved
        return moved + self._adjoint(self.row_covariance.solve(missed))

    def mv(self, field) -> jax.Array:
        """K u - K G' S⁺ G K u."""
        moved = self.prior.mv(field)
        return moved - self.gain(self._rows(moved)).astype(moved.dtype)

    def root(self, noise) -> jax.Array:
        """Matheron's rule on a centred draw of the prior."""
        size = self.prior.noise_size
        draw = self.prior.root(noise[:size])
        rows = self._rows(draw)
        if self.noise is not None:
            rows = rows + jnp.sqrt(self.noise) * noise[size:].reshape(self.noise.shape)
        return draw - self.gain(rows).astype(draw.dtype)

    def log_density(self, field) -> jax.Array:
        """Log N(u; 0, K) + log N(G u; 0, R) - log N(0; 0, S), where the rows are noisy; there is no
        density where they are exact.
        """
        if self.exact:
            raise RefusedOperation(no_density("a field conditioned exactly"))
        rows = self._rows(field)
        likelihood = -jnp.sum(rows**2 / self.noise + jnp.log(self.noise) + LOG_2PI) / 2
        return (
            self.prior.log_density(field)
            + likelihood
            - self.row_covariance.log_density(jnp.zeros_like(rows))
        )

    def _rows(self, field) -> jax.Array:
        return self.functional.rows(field, self.axes)

    def _adjoint(self, rows) -> jax.Array:
        return self.prior.mv(self.functional.transpose(rows, self.axes))
