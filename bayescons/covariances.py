"""Covariances of a field that keep their structure. Nothing n x n is formed unless the belief itself is dense.

Every covariance K of a field of shape `shape` offers

* `mv(u)`: K u;
* `variance`: the diagonal of K, shape `shape`;
* `root(noise)`: A z with A A' = K, for standard normal z of shape (noise_size,): a centred draw;
* `log_density(u)`: log N(u; 0, K);
* `independent`: the axes along which the field is independent, i.e. K is block-diagonal;
* `unconditioned`: the covariance before any conditioning, the yardstick for what counts as zero.

All are written for one field. A batch of fields is a covariance whose arrays have leading axes, mapped over with `jax.vmap`; `batch_dims`
counts them.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.functionals import Functional, split_fields
from bayescons.gram import Gram

LOG_2PI = math.log(2 * math.pi)


def _static(**kwargs):
    return dataclasses.field(metadata={"static": True}, **kwargs)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Diagonal:
    """K = diag(variance): every point independent of every other.

    Attributes:
        diagonal: variances, shape (*batch, *shape).
        dims: number of axes of the field.
    """

    diagonal: jax.Array
    dims: int = _static()

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
        """Length of the white noise behind a draw."""
        return math.prod(self.shape)

    @property
    def independent(self) -> frozenset[int]:
        """All axes."""
        return frozenset(range(self.dims))

    @property
    def unconditioned(self) -> Diagonal:
        """Itself."""
        return self

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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LowRank:
    """K = diag(d) + F F', for instance an ensemble: F the centred members over sqrt(M - 1).

    Attributes:
        diagonal: d > 0, shape (*batch, *shape).
        factor: F, shape (*batch, *shape, rank).
        dims: number of axes of the field.
    """

    diagonal: jax.Array
    factor: jax.Array
    dims: int = _static()

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
    def independent(self) -> frozenset[int]:
        """None: the factor couples everything."""
        return frozenset()

    @property
    def unconditioned(self) -> LowRank:
        """Itself."""
        return self

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
        """By Woodbury: with C = I + F' D^-1 F, u'K^-1 u = u'D^-1 u - |C^-1/2 F'D^-1 u|² and |K| = |D| |C|."""
        axes = (tuple(range(self.dims)),) * 2
        scaled = self.factor / self.diagonal[..., None]
        capacitance = jnp.eye(self.factor.shape[-1]) + jnp.tensordot(self.factor, scaled, axes=axes)
        lower = jnp.linalg.cholesky(capacitance)
        inner = jax.scipy.linalg.solve_triangular(lower, jnp.tensordot(scaled, field, axes=axes), lower=True)
        log_det = jnp.sum(jnp.log(self.diagonal)) + 2 * jnp.sum(jnp.log(jnp.diagonal(lower)))
        return -(jnp.sum(field**2 / self.diagonal) - jnp.sum(inner**2) + log_det + field.size * LOG_2PI) / 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Kronecker:
    """K = ⊗_a A_a A_a': separable along the axes; None stands for the identity, so that axis is independent.

    Attributes:
        roots: one square root A_a of shape (*batch, n_a, n_a), or None, per axis.
        scale: standard deviation that multiplies the whole, shape (*batch,).
        shape: shape of the field.
    """

    roots: tuple
    scale: jax.Array
    shape: tuple[int, ...] = _static()

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes."""
        return jnp.ndim(self.scale)

    @property
    def noise_size(self) -> int:
        """N."""
        return math.prod(self.shape)

    @property
    def independent(self) -> frozenset[int]:
        """Axes whose factor is the identity."""
        return frozenset(a for a, root in enumerate(self.roots) if root is None)

    @property
    def unconditioned(self) -> Kronecker:
        """Itself."""
        return self

    @property
    def variance(self) -> jax.Array:
        """scale² times the outer product of the factors' diagonals."""
        out = jnp.broadcast_to(self.scale**2, self.shape)
        for axis, root in enumerate(self.roots):
            if root is not None:
                out = out * jnp.expand_dims(jnp.sum(root**2, axis=-1), [a for a in range(len(self.shape)) if a != axis])
        return out

    def mv(self, field) -> jax.Array:
        """K u, one axis after another."""
        for axis, root in enumerate(self.roots):
            field = field if root is None else _along(root, _along(root.T, field, axis), axis)
        return self.scale**2 * field

    def root(self, noise) -> jax.Array:
        """Scale (⊗ A_a) z."""
        field = noise.reshape(self.shape)
        for axis, root in enumerate(self.roots):
            field = field if root is None else _along(root, field, axis)
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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dense:
    """K = A A' over all points of the field, for small fields.

    Attributes:
        factor: a square root A (a Cholesky factor, say), shape (*batch, n, n).
        shape: shape of the field, n = prod(shape).
    """

    factor: jax.Array
    shape: tuple[int, ...] = _static()

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes."""
        return self.factor.ndim - 2

    @property
    def noise_size(self) -> int:
        """N."""
        return math.prod(self.shape)

    @property
    def independent(self) -> frozenset[int]:
        """None."""
        return frozenset()

    @property
    def unconditioned(self) -> Dense:
        """Itself."""
        return self

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
        return -(jnp.sum(white**2) + 2 * jnp.linalg.slogdet(self.factor)[1] + white.size * LOG_2PI) / 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Blocks:
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
    def unconditioned(self) -> Blocks:
        """The members', unconditioned."""
        return Blocks(tuple(m.unconditioned for m in self.members))

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
        return sum(m.log_density(part) for m, part in zip(self.members, self.split(vector), strict=True))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Restricted:
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
        return tuple(n if k is None else k.shape[-1] for n, k in zip(self.whole.shape, self.kept, strict=True))

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
    def unconditioned(self) -> Restricted:
        """The part of the whole, unconditioned."""
        return Restricted(self.whole.unconditioned, self.kept)

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
                field = jnp.zeros(shape, field.dtype).at[(slice(None),) * axis + (index,)].set(field)
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
class Downdate:
    """The covariance after conditioning, K - K G' S⁺ G K with S = G K G' + R, as the recipe and not as a matrix.

    A draw is Matheron's rule, u - K G' S⁺ (G u + eps) with u ~ N(0, K) and eps ~ N(0, R): a prior draw and the gain, no factor of the
    posterior. With R = 0 every draw satisfies G u = 0.

    Attributes:
        prior: K.
        functional: G.
        gram: factored S.
        noise: diagonal of R by rows, shape (*axes, r), or None for R = 0.
        axes: axes over which S is block-diagonal.
        exact: whether any row is exact (or had scale 0), in which case there is no density.

    Source: Journel & Huijbregts, Mining Geostatistics (1978), conditional simulation; Wilson et al., Pathwise conditioning of Gaussian
    processes, JMLR 22 (2021).
    """

    prior: Covariance
    functional: Functional
    gram: Gram
    noise: jax.Array | None
    axes: tuple[int, ...] = _static()
    exact: bool = _static()

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
        return self.prior.noise_size + (0 if self.noise is None else math.prod(self.gram.spread.shape[self.batch_dims :]))

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
        lead = self.gram.spread.shape
        units = jnp.eye(lead[-1], dtype=self.gram.spread.dtype)

        def explained(unit):
            return self._adjoint(self.gram.unwhiten_adjoint(jnp.broadcast_to(unit, lead))) ** 2

        prior = self.prior.variance
        if len(units) == 1:
            return jnp.maximum(prior - explained(units[0]).astype(prior.dtype), 0.0)
        total, _ = jax.lax.scan(lambda sum_, unit: (sum_ + explained(unit), None), jnp.zeros(self.shape, units.dtype), units)
        return jnp.maximum(prior - total.astype(prior.dtype), 0.0)

    def gain(self, rows) -> jax.Array:
        """K G' S⁺ y, in two steps: the second moves by what the first missed, so that rounding is that of the small second move."""
        solved = self.gram.solve(rows)
        moved = self._adjoint(solved)
        missed = rows - self._rows(moved)
        if self.noise is not None:
            missed = missed - self.noise * solved
        return moved + self._adjoint(self.gram.solve(missed))

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
        """Log N(u; 0, K) + log N(G u; 0, R) - log N(0; 0, S), where the rows are noisy; there is no density where they are exact."""
        if self.exact:
            raise NotImplementedError(_no_density("a field conditioned exactly"))
        rows = self._rows(field)
        likelihood = -jnp.sum(rows**2 / self.noise + jnp.log(self.noise) + LOG_2PI) / 2
        return self.prior.log_density(field) + likelihood - self.gram.log_density(jnp.zeros_like(rows))

    def _rows(self, field) -> jax.Array:
        return self.functional.rows(field, self.axes)

    def _adjoint(self, rows) -> jax.Array:
        return self.prior.mv(self.functional.transpose(rows, self.axes))


type Covariance = Diagonal | LowRank | Kronecker | Dense | Blocks | Restricted | Downdate


def _along(matrix, field, axis: int) -> jax.Array:
    return jnp.moveaxis(jnp.tensordot(matrix, field, axes=((1,), (axis,))), 0, axis)


def _solve(matrix, field) -> jax.Array:
    return jnp.linalg.solve(matrix, field.reshape(len(matrix), -1)).reshape(field.shape)


def _no_density(what: str) -> str:
    return (
        f"{what} has no density to evaluate over all points. Sample it instead: use it as the prior inside bc.exact(program), "
        "which draws white noise and needs no density, or call .sample(key)"
    )
