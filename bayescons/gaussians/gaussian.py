"""Gaussian beliefs over a field, and the doors at which they are built and checked."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from bayescons import tracing
from bayescons.arrays import concrete, finite, numbers, over_batch, positive, real
from bayescons.arrays import sample_shape as axes_of_draws
from bayescons.descriptions import Description, described, known, span, words
from bayescons.gaussians.abstract import AbstractCovariance, no_density
from bayescons.gaussians.covariances import Dense, Diagonal, Kronecker, LowRank
from bayescons.refusals import RefusedOperation, RefusedValue


@described
class Gaussian(dist.Distribution):
    """A Gaussian belief over a field, u ~ N(mean, K), with K structured. It is a NumPyro
    distribution and can be sampled as a site.

    Build one with `diagonal`, `low_rank`, `kronecker` or `dense`; condition it with `condition` or
    `belief | constraint`.

    Args:
        loc: mean, shape (*batch, *field).
        covariance: see `bayescons.gaussians.abstract`; its batch axes are those of `loc`, or
            none (shared by the whole batch).

    Shapes: `event_shape` is that of the field, `batch_shape` that of the leading axes.

    Example:
        >>> belief = bc.diagonal(jnp.zeros(3), 1.0)
        >>> belief.event_shape, belief.batch_shape
        ((3,), ())
        >>> belief.sample(jax.random.key(0), (10,)).shape
        (10, 3)
    """

    pytree_data_fields = ("loc", "covariance")

    def __init__(self, loc, covariance: AbstractCovariance):
        self.loc, self.covariance = loc, covariance
        lead = jnp.ndim(loc) - len(covariance.shape)
        if jnp.shape(loc)[lead:] != tuple(covariance.shape) or covariance.batch_dims not in (
            0,
            lead,
        ):
            raise RefusedValue(
                f"mean of shape {jnp.shape(loc)} does not match a covariance over a field of shape "
                f"{tuple(covariance.shape)} with {covariance.batch_dims} batch axes; give the mean "
                "the shape (*batch, *field)"
            )
        super().__init__(batch_shape=jnp.shape(loc)[:lead], event_shape=tuple(covariance.shape))

    def tree_flatten(self):
        """Mean and covariance; shapes follow from them, so that a mapped or stacked Gaussian knows
        its own batch.
        """
        return (self.loc, self.covariance), len(self.event_shape)

    @classmethod
    def tree_unflatten(cls, event_dim, children):
        """Rebuild without checks: the leaves may be anything while JAX handles them."""
        self = object.__new__(cls)
        self.loc, self.covariance = children
        shape = getattr(self.loc, "shape", ())
        dist.Distribution.__init__(
            self, shape[: len(shape) - event_dim], shape[len(shape) - event_dim :]
        )
        return self

    def description(self) -> Description:
        """Shape and structure, and the range of the mean where it is known."""
        batch = f", a batch of {self.batch_shape}" if self.batch_shape else ""
        title = f"Gaussian over a field of shape {tuple(self.event_shape)}{batch}"
        mean = span(self.loc) if known(self.loc) else words(self.loc)
        return Description(title, (("mean", mean), ("covariance", self.covariance.structure)))

    @property
    def support(self) -> dist.constraints.Constraint:
        """All real fields; a field is one event."""
        return dist.constraints.independent(dist.constraints.real, self.event_dim)

    @property
    def mean(self) -> Float[ArrayLike, "*batch_field"]:
        """m, shape (*batch, *field)."""
        return self.loc

    @property
    def variance(self) -> Float[Array, "*batch_field"]:
        """Marginal variances diag K, shape (*batch, *field)."""
        variance = _variance(self.covariance)
        return jnp.broadcast_to(variance, jnp.shape(self.loc)) if self.batch_shape else variance

    def sample(self, key, sample_shape=()) -> Float[Array, "*draws_batch_field"]:
        """Independent draws, shape (*sample_shape, *batch, *field)."""
        shape = (*axes_of_draws(sample_shape), *self.batch_shape, self.covariance.noise_size)
        noise = jax.random.normal(key, shape, jnp.result_type(self.loc))
        return self.transport(noise)

    def transport(
        self, noise: Float[ArrayLike, "*draws_batch noise"]
    ) -> Float[Array, "*draws_batch_field"]:
        """Mean + A z for white noise z of shape (..., *batch, noise_size): a draw as a function of
        standard normals.
        """
        return _transported(self.loc, self.covariance, noise)

    def log_prob(
        self, value: Real[ArrayLike, "*draws_batch_field"], intermediates=None
    ) -> Float[Array, "*draws_batch"]:
        """Log N(value; m, K), shape (..., *batch). Exactly conditioned fields have no density and
        raise NotImplementedError.
        """
        del intermediates
        shape, axes = self.batch_shape + self.event_shape, len(self.batch_shape)
        found = jnp.shape(value)[jnp.ndim(value) - len(shape) :]
        # A plate counts more fields along an axis where the belief has one for all of them.
        fits = all(n in (1, m) for n, m in zip(shape[:axes], found, strict=False))
        if len(found) != len(shape) or found[axes:] != shape[axes:] or not fits:
            raise RefusedValue(
                f"expected a field of shape {shape}, possibly with sample axes in front; got "
                f"{jnp.shape(value)}"
            )
        if isinstance(self.covariance, Diagonal):
            _refuse_certain(self.covariance.diagonal)
        if found != shape:
            covariance = over_batch_of(self.covariance, found[:axes])
            return _log_density(jnp.broadcast_to(self.loc, found), covariance, value)
        return _log_density(self.loc, self.covariance, value)


def _refuse_certain(variances) -> None:
    """A field that is certain at some of its points, as outside of a mask, has no density."""
    if concrete(variances) and not np.asarray(variances).all():
        raise RefusedOperation(no_density("a field that is certain at some points"))


def over_batch_of(covariance: AbstractCovariance, batch: tuple[int, ...]) -> AbstractCovariance:
    """A covariance for each field of a batch, into whose shape its own batch is broadcast."""
    own = covariance.batch_dims
    if not batch:
        return covariance
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (*batch, *jnp.shape(x)[own:])), covariance)


@tracing.compiled
def _variance(covariance: AbstractCovariance) -> jax.Array:
    return over_batch(lambda k: k.variance, covariance.batch_dims)(covariance)


@tracing.compiled
def _transported(loc, covariance: AbstractCovariance, noise) -> jax.Array:
    draw = _mapped(lambda k, z: k.root(z), loc, covariance, noise, jnp.ndim(noise) - 1)
    return jnp.broadcast_to(loc, draw.shape) + draw.astype(jnp.result_type(loc))


@tracing.compiled
def _log_density(loc, covariance: AbstractCovariance, value) -> jax.Array:
    centred = value - jnp.broadcast_to(loc, jnp.shape(value))
    lead = jnp.ndim(value) - len(covariance.shape)
    return _mapped(lambda k, u: k.log_density(u), loc, covariance, centred, lead)


def _mapped(function, loc, covariance: AbstractCovariance, array, lead: int) -> jax.Array:
    """A function of a covariance and an array with `lead` axes in front, of which the last are the
    batch and those before it samples.
    """
    batch = jnp.ndim(loc) - len(covariance.shape)
    mapped = over_batch(function, batch, covariance.batch_dims == 0)
    for _ in range(lead - batch):
        mapped = jax.vmap(mapped, in_axes=(None, 0))
    return mapped(covariance, array)


def diagonal(mean, scale, *, batch_dims: int = 0) -> Gaussian:
    """Independent points, u_i ~ N(mean_i, scale_i²).

    Args:
        mean: shape (*batch, *field).
        scale: standard deviations > 0, of the same shape (or a number).
        batch_dims: how many leading axes of `mean` count a batch of fields.

    Example:
        >>> belief = bc.diagonal([0.0, 1.0, 2.0], scale=0.5)
        >>> print(belief.variance)
        [0.25 0.25 0.25]
    """
    mean = real("mean", mean)
    scale = positive("scale", scale, mean.shape)
    return Gaussian(finite("mean", mean), Diagonal(jnp.asarray(scale**2), mean.ndim - batch_dims))


def low_rank(mean, scale, factor, *, batch_dims: int = 0) -> Gaussian:
    """K = diag(scale²) + F F'.

    Args:
        mean: shape (*batch, *field).
        scale: standard deviations > 0 of the independent part, of the same shape (or a number).
        factor: F, shape (*batch, *field, rank); for an ensemble the centred members over sqrt(M -
            1), members last.
        batch_dims: how many leading axes of `mean` count a batch of fields.

    Example:
        >>> members = jnp.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
        >>> deviations = (members - members.mean(0)[None]).T  # members last
        >>> belief = bc.low_rank(members.mean(0), 0.1, deviations)
        >>> print(belief.variance)
        [2.01 0.01 2.01]
    """
    mean, factor = real("mean", mean), real("factor", factor)
    if factor.shape[:-1] != mean.shape:
        raise RefusedValue(
            f"factor must have the mean's shape {mean.shape} and one more axis for the rank; got "
            f"{factor.shape}"
        )
    scale = positive("scale", scale, mean.shape)
    return Gaussian(
        finite("mean", mean),
        LowRank(jnp.asarray(scale**2), finite("factor", factor), mean.ndim - batch_dims),
    )


def kronecker(mean, covariances, *, scale=1.0, jitter: float = 1e-10) -> Gaussian:
    """Separable covariance, K = scale² ⊗_a K_a, one matrix per axis; None for an axis along which
    the field is independent.

    Args:
        mean: shape of the field.
        covariances: per axis a symmetric positive semi-definite matrix (n_a, n_a), or None.
        scale: standard deviation > 0 that multiplies the whole, a number; may be a random variable
            of the program.
        jitter: added to each diagonal, as a share of its mean, before the Cholesky factorization;
            smooth kernels need it.

    Example:
        >>> x = jnp.arange(3.0)
        >>> kernel = jnp.exp(-jnp.abs(x[:, None] - x[None]))
        >>> belief = bc.kronecker(jnp.zeros((2, 3)), (None, kernel), scale=2.0, jitter=0.0)
        >>> print(belief.variance)
        [[4. 4. 4.]
         [4. 4. 4.]]
    """
    mean = real("mean", mean)
    shapes = tuple(
        None if k is None else (n, n) for n, k in zip(mean.shape, covariances, strict=False)
    )
    if len(covariances) != mean.ndim or any(
        k is not None and jnp.shape(k) != s for k, s in zip(covariances, shapes, strict=True)
    ):
        given = [None if k is None else jnp.shape(k) for k in covariances]
        raise RefusedValue(
            f"expected one (n, n) matrix or None per axis of a field of shape {mean.shape}; got "
            f"shapes {given}"
        )
    scale = numbers("scale", scale)
    roots = tuple(None if k is None else _cholesky(k, jitter) for k in covariances)
    return Gaussian(
        finite("mean", mean),
        Kronecker(roots, positive("scale", jnp.asarray(scale, mean.dtype), ()), mean.shape),
    )


def dense(mean, covariance, *, jitter: float = 1e-10) -> Gaussian:
    """Any covariance matrix over all n points of a small field (it is stored and factored whole: n²
    numbers, n³ work).

    Args:
        mean: shape of the field.
        covariance: symmetric positive semi-definite, shape (n, n) with n = mean.size, points in
            row-major order.
        jitter: as in `kronecker`.

    Example:
        >>> belief = bc.dense(jnp.zeros(2), jnp.array([[2.0, 1.0], [1.0, 2.0]]), jitter=0.0)
        >>> print(belief.variance)
        [2. 2.]
    """
    mean = real("mean", mean)
    if jnp.shape(covariance) != (mean.size, mean.size):
        raise RefusedValue(
            f"expected a covariance of shape {(mean.size, mean.size)}, one row per point; got "
            f"{jnp.shape(covariance)}"
        )
    return Gaussian(finite("mean", mean), Dense(_cholesky(covariance, jitter), mean.shape))


def _cholesky(matrix, jitter: float) -> jax.Array:
    matrix = finite("covariance", real("covariance", matrix))
    if not concrete(matrix):
        size = 1e-12 * jnp.max(jnp.abs(matrix))
        tracing.ask(jnp.abs(matrix - matrix.T) > size + 1e-6 * jnp.abs(matrix.T))
    elif not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-12 * float(np.abs(matrix).max())):
        raise RefusedValue("a covariance must be symmetric; this one differs from its transpose")
    lower = jnp.linalg.cholesky(
        matrix + jitter * jnp.mean(jnp.diagonal(matrix)) * jnp.eye(len(matrix), dtype=matrix.dtype)
    )
    if not concrete(lower):
        tracing.ask(~jnp.isfinite(lower))
    elif not np.isfinite(np.asarray(lower)).all():
        raise RefusedValue(
            "the covariance is not positive semi-definite (to rounding): (a) it is not a "
            "covariance, or (b) its kernel is so smooth that it is singular in this precision; "
            "raise jitter, use a rougher kernel, or enable float64"
        )
    return lower
