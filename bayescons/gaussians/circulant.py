"""Stationary covariances on evenly spaced grids, by a periodic embedding: products cost O(n log n)
and nothing n × n is formed.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from bayescons.descriptions import described, span
from bayescons.functionals.abstract import Leaf, static
from bayescons.gaussians.abstract import AbstractPrior
from bayescons.gaussians.covariances import Kronecker


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CirculantEmbedding(AbstractPrior):
    """K = scale² ⊗_a P_a C_a P_a': along axis a a circulant C_a on more points than the axis has,
    P_a keeping the first of them.

    The covariance of u(x) and u(x') depends on x - x' alone, wrapped around a circle that the axis
    covers a part of; with the rest as padding, the two ends of the axis are apart.

    Attributes:
        spectra: for each axis the eigenvalues λ_0 ... λ_(c/2) ≥ 0 of its circulant on an even
            number c of points, shape (*batch, c/2 + 1), or None for an axis along which the field
            is independent.
        scale: standard deviation that multiplies the whole, shape (*batch,).
        shape: shape of the field.

    Where it fails: `log_density` factors the matrix of one axis (n³), which for smooth kernels is
    singular to rounding: NaN.

    Source: Dietrich and Newsam, Fast and exact simulation of stationary Gaussian processes through
    circulant embedding, SIAM J. Sci. Comput. 18 (1997).
    """

    spectra: tuple
    scale: Leaf
    shape: tuple[int, ...] = static()

    @property
    def structure(self) -> str:
        """Points of its circles, and its scale."""
        sizes = " ⊗ ".join(
            "identity" if s is None else f"circle of {c}"
            for s, c in zip(self.spectra, self.circles, strict=True)
        )
        return f"stationary, {sizes}, scale {span(self.scale)}"

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes."""
        return jnp.ndim(self.scale)

    @property
    def circles(self) -> tuple[int, ...]:
        """Points of each circulant; of an independent axis, its own."""
        return tuple(
            n if s is None else 2 * (s.shape[-1] - 1)
            for n, s in zip(self.shape, self.spectra, strict=True)
        )

    @property
    def noise_size(self) -> int:
        """The circles' together."""
        return math.prod(self.circles)

    @property
    def independent(self) -> frozenset[int]:
        """Axes without a spectrum."""
        return frozenset(a for a, s in enumerate(self.spectra) if s is None)

    @property
    def variance(self) -> jax.Array:
        """scale² times the means of the eigenvalues: the same at every point."""
        own = self.scale**2
        for spectrum, circle in zip(self.spectra, self.circles, strict=True):
            own = own if spectrum is None else own * jnp.fft.irfft(spectrum, circle)[0]
        return jnp.broadcast_to(own, self.shape)

    def mv(self, field) -> jax.Array:
        """K u: padded with zeros, multiplied in Fourier space, cut off."""
        for axis, spectrum in enumerate(self.spectra):
            field = (
                field
                if spectrum is None
                else self._kept(self._filtered(field, spectrum, axis), axis)
            )
        return self.scale**2 * field

    def root(self, noise) -> jax.Array:
        """Scale ⊗ P_a C_a^1/2 z, for noise on the whole circles."""
        field = noise.reshape(self.circles)
        for axis, spectrum in enumerate(self.spectra):
            field = (
                field
                if spectrum is None
                else self._kept(self._filtered(field, jnp.sqrt(spectrum), axis), axis)
            )
        return self.scale * field

    def log_density(self, field) -> jax.Array:
        """By the Cholesky factors of the axes' Toeplitz matrices."""
        return Kronecker(
            tuple(map(self._factor, range(len(self.shape)))), self.scale, self.shape
        ).log_density(field)

    def matrix(self, axis: int) -> jax.Array | None:
        """P_a C_a P_a' of one axis, (n, n), or None where it is independent."""
        if self.spectra[axis] is None:
            return None
        row = jnp.fft.irfft(self.spectra[axis], self.circles[axis])
        points = jnp.arange(self.shape[axis])
        return row[(points[:, None] - points[None]) % self.circles[axis]]

    def _factor(self, axis: int):
        matrix = self.matrix(axis)
        return None if matrix is None else jnp.linalg.cholesky(matrix)

    def _filtered(self, field, spectrum, axis: int) -> jax.Array:
        circle = self.circles[axis]
        weights = jnp.expand_dims(spectrum, [a for a in range(field.ndim) if a != axis])
        return jnp.fft.irfft(weights * jnp.fft.rfft(field, circle, axis=axis), circle, axis=axis)

    def _kept(self, field, axis: int) -> jax.Array:
        return jax.lax.slice_in_dim(field, 0, self.shape[axis], axis=axis)
