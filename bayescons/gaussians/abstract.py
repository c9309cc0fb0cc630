"""What a covariance of a field is: the interface that sampling, densities and the conjugate update
are written against.

Concrete covariances are final. One that is built from arrays is an `AbstractPrior`; one that is the
covariance of T u, for a linear map T of a field u, is an `AbstractImage` and writes T down and
nothing else.

All are written for one field. A batch of fields is a covariance whose arrays have leading axes,
mapped over with `jax.vmap`; `batch_dims` counts them.
"""

from __future__ import annotations

import abc
import dataclasses
import math

import jax

from bayescons.descriptions import Description, described, kind

LOG_2PI = math.log(2 * math.pi)


@described
class AbstractCovariance(abc.ABC):
    """Covariance K of a field of shape `shape`, by what it does and not as a matrix.

    Attributes:
        shape: shape of the field.
        batch_dims: number of leading batch axes of its arrays.
        noise_size: length of the white noise behind a draw.
        independent: axes along which the field is independent, i.e. K is block-diagonal.
        unconditioned: the covariance before any conditioning, the yardstick for what counts as
            zero.
        variance: the diagonal of K, shape `shape`.
        structure: what it is, in words.
    """

    shape: tuple[int, ...]
    batch_dims: int
    noise_size: int
    independent: frozenset[int]
    unconditioned: AbstractCovariance
    variance: jax.Array

    @property
    def structure(self) -> str:
        """The name of its kind, unless it says more."""
        return kind(self)

    def description(self) -> Description:
        """Its structure, its field, and what it leaves independent."""
        return Description(f"Covariance, {self.structure}", self.rows_told)

    @property
    def rows_told(self) -> tuple[tuple[str, str], ...]:
        """Shape of the field, number of batch axes and axes that are independent."""
        axes = ", ".join(map(str, sorted(self.independent)))
        batch = [("batch", f"{self.batch_dims} leading axes")] if self.batch_dims else []
        apart = [("independent", f"along axis {axes}")] if axes else []
        return (("field", f"shape {tuple(self.shape)}"), *batch, *apart)

    @abc.abstractmethod
    def mv(self, field) -> jax.Array:
        """K u."""

    @abc.abstractmethod
    def root(self, noise) -> jax.Array:
        """A z with A A' = K, for standard normal z of shape (noise_size,): a centred draw."""

    @abc.abstractmethod
    def log_density(self, field) -> jax.Array:
        """Log N(u; 0, K)."""


class AbstractPrior(AbstractCovariance):
    """A covariance that nothing was conditioned on. Unless stated otherwise no axis is independent,
    and a draw takes one number per point.
    """

    independent: frozenset[int] = frozenset()

    @property
    def noise_size(self) -> int:
        """N, the number of points."""
        return math.prod(self.shape)

    @property
    def unconditioned(self) -> AbstractPrior:
        """Itself."""
        return self


class AbstractImage(AbstractCovariance):
    """The covariance T K T' of T u, for u with covariance K and a linear map T, the same along
    every axis that is independent.

    Attributes:
        whole: K.
    """

    whole: AbstractCovariance

    @abc.abstractmethod
    def map(self, field) -> jax.Array:
        """T u."""

    @abc.abstractmethod
    def adjoint(self, field) -> jax.Array:
        """T' v, of the shape of the whole."""

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
    def unconditioned(self) -> AbstractImage:
        """The image of the whole, unconditioned."""
        whole = self.whole.unconditioned
        return self if whole is self.whole else dataclasses.replace(self, whole=whole)

    def mv(self, field) -> jax.Array:
        """T K T' u."""
        return self.map(self.whole.mv(self.adjoint(field)))

    def root(self, noise) -> jax.Array:
        """T A z."""
        return self.map(self.whole.root(noise))


def no_density(what: str) -> str:
    """What to say where a covariance has no density."""
    return (
        f"{what} has no density to evaluate over all points. Sample it instead: use it as the "
        "prior inside bc.exact(program), which draws white noise and needs no density, or call "
        ".sample(key)"
    )
