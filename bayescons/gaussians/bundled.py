"""Covariances of several fields in one array: independent fields, one of several that are tied
together, the same fields in another order, and fields with a given correlation at each point.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.arrays import concrete, finite, positive, real
from bayescons.descriptions import described
from bayescons.functionals.abstract import static
from bayescons.functionals.bundles import Bundle
from bayescons.gaussians.abstract import AbstractCovariance, AbstractImage, no_density
from bayescons.gaussians.composites import Scaled
from bayescons.gaussians.covariances import Kronecker
from bayescons.gaussians.gaussian import Gaussian
from bayescons.refusals import RefusedOperation, RefusedValue


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BlockDiagonal(AbstractCovariance):
    """Independent fields in one array, K = diag(K_1, K_2, ...) up to the order of its points.

    Attributes:
        members: K_k, of one field each.
        shared: axes that all fields share, as of a `Bundle`; none for fields that lie end to end.
    """

    members: tuple[AbstractCovariance, ...]
    shared: tuple[tuple[int, ...], ...] = static(default=())

    @property
    def bundle(self) -> Bundle:
        """How the fields are one array."""
        return Bundle(tuple(tuple(member.shape) for member in self.members), self.shared)

    @property
    def structure(self) -> str:
        """Those of the fields."""
        told = " | ".join(member.structure for member in self.members)
        axes = f" for each point of {len(self.shared)} that they share" if self.shared else ""
        return f"{len(self.members)} fields end to end{axes} ({told})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shared axes, then n_1 + n_2 + ... of what is left of each."""
        return self.bundle.shape

    @property
    def independent(self) -> frozenset[int]:
        """Shared axes along which every field is independent."""
        return frozenset(
            axis
            for axis, places in enumerate(self.shared)
            if all(a in m.independent for a, m in zip(places, self.members, strict=True))
        )

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes, that of every member."""
        return self.members[0].batch_dims

    @property
    def noise_size(self) -> int:
        """The members' together."""
        return sum(m.noise_size for m in self.members)

    @property
    def unconditioned(self) -> BlockDiagonal:
        """The members', unconditioned."""
        members = tuple(m.unconditioned for m in self.members)
        return (
            self
            if all(a is b for a, b in zip(members, self.members, strict=True))
            else dataclasses.replace(self, members=members)
        )

    @property
    def variance(self) -> jax.Array:
        """The members'."""
        return self.bundle.join([m.variance for m in self.members])

    def mv(self, array) -> jax.Array:
        """K u, field by field."""
        parts = zip(self.members, self.bundle.split(array), strict=True)
        return self.bundle.join([m.mv(part) for m, part in parts])

    def root(self, noise) -> jax.Array:
        """Draws of the members."""
        ends = np.cumsum([m.noise_size for m in self.members])[:-1]
        parts = zip(self.members, jnp.split(noise, ends), strict=True)
        return self.bundle.join([m.root(part) for m, part in parts])

    def log_density(self, array) -> jax.Array:
        """The members' summed."""
        parts = zip(self.members, self.bundle.split(array), strict=True)
        return sum(m.log_density(part) for m, part in parts)


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneOfSeveral(AbstractImage):
    """The covariance of one of several fields in one array: K' = P K P', where P keeps the one.

    Attributes:
        whole: covariance of all of them.
        number: which of the fields it is.
        bundle: how they are one array.
    """

    whole: AbstractCovariance
    number: int = static()
    bundle: Bundle = static()  # noqa: RUF009

    @property
    def structure(self) -> str:
        """That of the whole."""
        return f"one of {len(self.bundle.shapes)} fields; {self.whole.structure}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the field."""
        return self.bundle.shapes[self.number]

    @property
    def variance(self) -> jax.Array:
        """That of its points."""
        return self.map(self.whole.variance)

    @property
    def independent(self) -> frozenset[int]:
        """The shared axes along which the whole is."""
        shared = enumerate(self.bundle.shared)
        return frozenset(p[self.number] for axis, p in shared if axis in self.whole.independent)

    def map(self, field) -> jax.Array:
        """P v."""
        return self.bundle.split(field)[self.number]

    def adjoint(self, field) -> jax.Array:
        """P' u: the field in its place, and zeros in those of the others."""
        fields = [jnp.zeros(shape, field.dtype) for shape in self.bundle.shapes]
        fields[self.number] = field
        return self.bundle.join(fields)

    def log_density(self, field) -> jax.Array:
        """Not available: it would need a dense matrix."""
        del field
        raise RefusedOperation(no_density("one of several fields that are tied together"))


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Regrouped(AbstractImage):
    """The covariance of several fields in one array, in another order of its points: K' = P K P'
    with a permutation P.

    Attributes:
        whole: K.
        before: how the whole holds them.
        after: how this does.
    """

    whole: AbstractCovariance
    before: Bundle = static()  # noqa: RUF009
    after: Bundle = static()  # noqa: RUF009

    @property
    def structure(self) -> str:
        """That of the whole."""
        return f"{self.whole.structure}, in another order"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.after.shape

    @property
    def variance(self) -> jax.Array:
        """That of the same points."""
        return self.map(self.whole.variance)

    @property
    def independent(self) -> frozenset[int]:
        """Axes shared before and after, along which the whole is."""
        kept = {self.before.shared[axis] for axis in self.whole.independent}
        return frozenset(axis for axis, places in enumerate(self.after.shared) if places in kept)

    def map(self, field) -> jax.Array:
        """P v."""
        return self.after.join(self.before.split(field))

    def adjoint(self, field) -> jax.Array:
        """P' v, its inverse."""
        return self.before.join(self.after.split(field))

    def log_density(self, field) -> jax.Array:
        """That of the whole: a permutation changes no volume."""
        return self.whole.log_density(self.adjoint(field))


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Merged(AbstractImage):
    """The covariance of an array whose last two axes are taken for one.

    Attributes:
        whole: K, over (*left, k, m); here over (*left, k m).
    """

    whole: AbstractCovariance

    @property
    def structure(self) -> str:
        """That of the whole."""
        return f"{self.whole.structure}, the last two axes as one"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        *left, k, m = self.whole.shape
        return (*left, k * m)

    @property
    def variance(self) -> jax.Array:
        """That of the same points."""
        variance = self.whole.variance
        return variance.reshape(*variance.shape[:-2], -1)

    @property
    def independent(self) -> frozenset[int]:
        """Axes left alone along which the whole is."""
        return frozenset(axis for axis in self.whole.independent if axis < len(self.shape) - 1)

    def map(self, field) -> jax.Array:
        """The array in its new shape."""
        return field.reshape(self.shape)

    def adjoint(self, field) -> jax.Array:
        """The array in its old one."""
        return field.reshape(self.whole.shape)

    def log_density(self, field) -> jax.Array:
        """That of the whole."""
        return self.whole.log_density(self.adjoint(field))


def correlated(mean, scale, correlation) -> Gaussian:
    """Several variables with a given correlation at each point, independent between points:
    u_ki ~ N(mean_ki, scale_ki²), corr(u_ki, u_lj) = C_kl δ_ij; K = D (C ⊗ I) D.

    Args:
        mean: shape (k, *points), the first axis counts the variables.
        scale: standard deviations > 0, of the same shape, or (k, 1, ...), or a number.
        correlation: C, symmetric and positive definite with ones in its diagonal, shape (k, k).

    Raises:
        ValueError: what is no correlation, or other shapes.

    Example:
        >>> errors = jnp.array([[1.0, -0.5], [-0.5, 1.0]])  # of two fluxes
        >>> belief = bc.gaussians.correlated(jnp.zeros((2, 3)), 2.0, errors)
        >>> gap = bc.functional(lambda u: u[0] - u[1], (2, 3))
        >>> print(bc.condition(belief, bc.Constraint(gap, 3.0)).mean)
        [[ 1.5  1.5  1.5]
         [-1.5 -1.5 -1.5]]
    """
    mean = real("mean", mean)
    if mean.ndim < 2:
        raise RefusedValue(
            "the mean of correlated variables has shape (k, *points), the variables first; got "
            f"{mean.shape}"
        )
    root = correlation_root(correlation, len(mean))
    scale = positive("scale", scale, mean.shape)
    points = (None,) * (mean.ndim - 1)
    whole = Kronecker((root, *points), jnp.ones((), mean.dtype), mean.shape)
    return Gaussian(finite("mean", mean), Scaled(whole, jnp.asarray(scale)))


def correlation_root(correlation, count: int) -> jax.Array:
    """A with A A' = C, lower triangular.

    Raises:
        ValueError: what is no correlation of so many variables.
    """
    matrix = finite("correlation", real("correlation", correlation))
    if matrix.shape != (count, count):
        raise RefusedValue(
            f"the correlation of {count} variables has shape {(count, count)}; got {matrix.shape}"
        )
    if concrete(matrix):
        given = np.asarray(matrix, float)
        slack = 1e-6
        if not (np.allclose(given, given.T, atol=slack) and np.allclose(np.diag(given), 1)):
            raise RefusedValue(
                "a correlation is symmetric, with ones in its diagonal; a covariance is divided by "
                "its standard deviations first: c / np.sqrt(np.outer(c.diagonal(), c.diagonal()))"
            )
        least = float(np.linalg.eigvalsh(given)[0])
        if least < 1e-10:
            raise RefusedValue(
                "the correlation must be positive definite: its least eigenvalue is "
                f"{least:.3g}. Variables that follow from others are no variables of their own; "
                "leave them out, and state laws of the others"
            )
    return jnp.linalg.cholesky(matrix)
