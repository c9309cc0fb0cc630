"""Covariances made of others: several fields end to end, a part of a field, a field scaled, and a
field after conditioning.

They offer what every covariance offers (see `bayescons.gaussians.covariances`), so they nest.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.functionals.abstract import AbstractFunctional, Leaf, static
from bayescons.functionals.joint import split_fields
from bayescons.gaussians.circulant import CirculantEmbedding
from bayescons.gaussians.covariances import LOG_2PI, Dense, Diagonal, Kronecker, LowRank
from bayescons.gaussians.row_covariance import RowCovariance


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BlockDiagonal:
    """Independent fields laid end to end in one vector, K = diag(K_1, K_2, ...)."""

    members: tuple

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_1 + n_2 + ...,)."""
        return (sum(math.prod(m.shape) for m in self.members),)

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes, that of every member."""
        return self.members[0].batch_dims

    @property
    def noise_size(self) -> int:
        """The members' together."""
        return sum(m.noise_size for m in self.members)

    @property
    def independent(self) -> frozenset[int]:
        """None: the one axis runs over all fields."""
        return frozenset()

    @property
    def unconditioned(self) -> BlockDiagonal:
        """The members', unconditioned."""
        members = tuple(m.unconditioned for m in self.members)
        return (
            self
            if all(a is b for a, b in zip(members, self.members, strict=True))
            else BlockDiagonal(members)
        )

    @property
    def variance(self) -> jax.Array:
        """The members', end to end."""
        return jnp.concatenate([m.variance.reshape(-1) for m in self.members])

    def split(self, vector) -> list:
        """The fields that a vector holds."""
        return split_fields(vector, [m.shape for m in self.members])

    def mv(self, vector) -> jax.Array:
        """K u, field by field."""
        parts = zip(self.members, self.split(vector), strict=True)
        return jnp.concatenate([m.mv(part).reshape(-1) for m, part in parts])

    def root(self, noise) -> jax.Array:
        """Draws of the members, end to end."""
        ends = np.cumsum([m.noise_size for m in self.members])[:-1]
        parts = zip(self.members, jnp.split(noise, ends), strict=True)
        return jnp.concatenate([m.root(part).reshape(-1) for m, part in parts])

    def log_density(self, vector) -> jax.Array:
        """The members' summed."""
        return sum(
            m.log_density(part) for m, part in zip(self.members, self.split(vector), strict=True)
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Marginal:
    """The covariance of part of a field: K' = P K P', where P keeps some points along each axis.

    Attributes:
        whole: covariance of the whole field.
        kept: indices kept along each axis, shape (*batch, number kept), or None for all of them.
    """

    whole: Covariance
    kept: tuple

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the part."""
        return tuple(
            n if k is None else k.shape[-1]
            for n, k in zip(self.whole.shape, self.kept, strict=True)
        )

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes."""
        return self.whole.batch_dims

    @property
    def noise_size(self) -> int:
        """That of the whole."""
        return self.whole.noise_size

    @property
    def independent(self) -> frozenset[int]:
        """As the whole."""
        return self.whole.independent

    @property
    def unconditioned(self) -> Marginal:
        """The part of the whole, unconditioned."""
        whole = self.whole.unconditioned
        return self if whole is self.whole else Marginal(whole, self.kept)

    @property
    def variance(self) -> jax.Array:
        """That of the points kept."""
        return self.take(self.whole.variance)

    def take(self, field) -> jax.Array:
        """P u."""
        for axis, index in enumerate(self.kept):
            field = field if index is None else jnp.take(field, index, axis=axis)
        return field

    def mv(self, field) -> jax.Array:
        """P K P' u."""
        for axis, index in enumerate(self.kept):
            if index is not None:
                shape = (*field.shape[:axis], self.whole.shape[axis], *field.shape[axis + 1 :])
                field = (
                    jnp.zeros(shape, field.dtype).at[(slice(None),) * axis + (index,)].set(field)
                )
        return self.take(self.whole.mv(field))

    def root(self, noise) -> jax.Array:
        """A draw of the whole, restricted."""
        return self.take(self.whole.root(noise))

    def log_density(self, field) -> jax.Array:
        """Not available: it would need a dense matrix."""
        del field
        raise NotImplementedError(_no_density("a field restricted from a larger one"))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scaled:
    """The covariance of a centred field times a factor, K' = D K D with D = diag(factor): s² K for
    one number.

    Attributes:
        whole: K.
        factor: s > 0, of shape (*batch, *shape) with one in place of an axis along which it does
            not change.
    """

    whole: Covariance
    factor: Leaf

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the field."""
        return self.whole.shape

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes."""
        return self.whole.batch_dims

    @property
    def noise_size(self) -> int:
        """That of the field before scaling."""
        return self.whole.noise_size

    @property
    def independent(self) -> frozenset[int]:
        """As before scaling."""
        return self.whole.independent

    @property
    def unconditioned(self) -> Scaled:
        """The unconditioned covariance, scaled alike."""
        whole = self.whole.unconditioned
        return self if whole is self.whole else Scaled(whole, self.factor)

    @property
    def variance(self) -> jax.Array:
        """s² times that before."""
        return self.factor**2 * self.whole.variance

    def mv(self, field) -> jax.Array:
        """D K D u."""
        return self.factor * self.whole.mv(self.factor * field)

    def root(self, noise) -> jax.Array:
        """D A z."""
        return self.factor * self.whole.root(noise)

    def log_density(self, field) -> jax.Array:
        """Log N(u / s; 0, K) - Σ log s."""
        return self.whole.log_density(field / self.factor) - jnp.sum(
            jnp.log(jnp.broadcast_to(self.factor, self.shape))
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Conditioned:
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

    prior: Covariance
    functional: AbstractFunctional
    row_covariance: RowCovariance
    noise: Leaf | None
    axes: tuple[int, ...] = static()
    exact: bool = static()

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
    def unconditioned(self) -> Covariance:
        """The covariance before any conditioning."""
        return self.prior.unconditioned

    @property
    def variance(self) -> jax.Array:
        """Diag K - Σ_j (K G' S^-1/2)_j², never below zero (the difference can round to it)."""
        lead = self.row_covariance.row_std.shape
        units = jnp.eye(lead[-1], dtype=self.row_covariance.row_std.dtype)

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
            raise NotImplementedError(_no_density("a field conditioned exactly"))
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


type Covariance = (
    Diagonal
    | LowRank
    | Kronecker
    | Dense
    | CirculantEmbedding
    | BlockDiagonal
    | Marginal
    | Scaled
    | Conditioned
)


def _no_density(what: str) -> str:
    return (
        f"{what} has no density to evaluate over all points. Sample it instead: use it as the "
        "prior inside bc.exact(program), which draws white noise and needs no density, or call "
        ".sample(key)"
    )
