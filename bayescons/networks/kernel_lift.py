"""A learned stationary kernel along each axis with sides, and the lift that is made of it."""

from __future__ import annotations

import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bayescons.functionals.boundary_conditions import BoundaryConditions
from bayescons.gaussians import row_covariance
from bayescons.gaussians.circulant import CirculantEmbedding
from bayescons.gaussians.gaussian import Gaussian
from bayescons.refusals import RefusedValue

WAVES = 128  # of a kernel, at most: its features are as fine as 1/64 of the domain
# correlation length as a fraction of the axis: with a period of two axes the ends share an eighth
# of their variance
LONGEST = 0.5
# shares below e^-40 are nothing beside rounding, and further down processors are ten times as slow
# with them
FADED = 40.0
# change of a logarithm for each unit of its weight, so that the few numbers of a kernel learn as
# fast as the thousands beside
STEP = 10.0


class KernelLift(nnx.Module):
    """A stationary kernel along each axis with sides, learned, and its lift K G' (G K G')^-1.

        k(r) = Σ_k λ_k cos(2πkr/P),   Σ_k λ_k = 1
        λ_k ∝ exp(-½ (2πkℓ/P)² + s_k),   half of it for k = 0

    The correlation length ℓ and the logarithms s_k of the longest waves are learned; the period P
    exceeds the axis by `padding`, and the kernel does not depend on the grid. Its amplitude
    cancels. The lift does not depend on the inputs: it is made once for a batch.

    Args:
        boundary: what it will be used for.
        length: ℓ to begin with, as a fraction of the axis, below 0.5. None is 0.1, and 0.02 for an
            axis with a known slope: what a network's slope misses at an end says little of its
            error further in, and a lift moves the field by about ℓ times that.
        padding: with a period of twice the axis (1.0) the two ends hardly know of each other; it
            costs nothing here.
        free: number of s_k, zero to begin with.

    Where it fails: for lengths below 1/64 of the axis, which its waves do not hold; where what
    happens at a boundary does not reach inwards as a bell does (`FeatureLift`).
    """

    def __init__(
        self,
        boundary: BoundaryConditions,
        *,
        length: float | None = None,
        padding: float | int = 1.0,
        free: int = 24,
    ):
        if length is not None and not 0 < length < LONGEST:
            raise RefusedValue(
                f"the correlation length is a fraction of the axis between 0 and {LONGEST}; got "
                f"{length}"
            )
        if padding <= 0:
            raise RefusedValue(
                "the period of a kernel must exceed the axis, or its ends are one point; got "
                f"padding={padding}"
            )
        self.padding, self.free, axes = padding, free, len(boundary.axes)
        starts = [
            _first_length(boundary, name) if length is None else length for name in boundary.axes
        ]
        self.length = nnx.Param(
            jnp.array([math.log(start / (LONGEST - start)) / STEP for start in starts], jnp.float32)
        )
        self.spectrum = nnx.Param(jnp.zeros((axes, free), jnp.float32))

    def lengths(self) -> jax.Array:
        """ℓ for each axis with sides, as a fraction of it."""
        return LONGEST * jax.nn.sigmoid(STEP * self.length[...])

    def eigenvalues(self, index: int, count: int) -> jax.Array:
        """λ_k, k < count, for one of the axes with sides."""
        k = jnp.arange(count)
        decay = (2 * jnp.pi / (1 + self.padding) * k * self.lengths()[index]) ** 2 / 2
        free = min(self.free, count)
        decay = decay.at[0].set(math.log(2.0))  # the constant counts once, a wave for +k and -k
        decay = jnp.minimum(decay, FADED)
        logs = -decay + jnp.pad(STEP * self.spectrum[index, :free], (0, count - free))
        return jax.nn.softmax(logs)

    def stationary(self, boundary: BoundaryConditions) -> CirculantEmbedding:
        """K over the grid: independent along axes without sides, amplitude one."""
        spectra: list = [None] * len(boundary.grid)
        for index, name in enumerate(boundary.axes):
            circle = _circle(len(boundary.grid[name]), self.padding)
            count = min(WAVES, circle // 2)
            eigenvalues = (
                self.eigenvalues(index, count)
                * circle
                / jnp.where(jnp.arange(count) == 0, 1.0, 2.0)
            )
            spectra[boundary.grid.axis(name)] = jnp.pad(eigenvalues, (0, circle // 2 + 1 - count))
        return CirculantEmbedding(tuple(spectra), jnp.ones(()), boundary.grid.shape)

    def belief(self, mean: jax.Array, boundary: BoundaryConditions) -> Gaussian:
        """N(mean, K), of which this lift is the conjugate update."""
        return Gaussian(mean, self.stationary(boundary))

    def __call__(self, boundary: BoundaryConditions) -> tuple[jax.Array, ...]:
        """L = K G' (G K G')^-1 for each axis with sides, (points, sides), solved as `bc.condition`
        solves.
        """
        lifts = []
        for index in range(len(boundary.axes)):
            cross, blocks = self.moments(boundary, index)
            row_factor = row_covariance.factor(blocks, jnp.diagonal(blocks))
            lifts.append(jax.vmap(row_factor.solve)(cross))
        return tuple(lifts)

    def factor(self, boundary: BoundaryConditions, index: int) -> jax.Array:
        """F with K = F F' along one of the axes with sides, (points, waves)."""
        waves, _ = _waves(boundary, boundary.axes[index], self.padding)
        roots = jnp.sqrt(self.eigenvalues(index, waves.shape[1] // 2))
        return jnp.asarray(waves, roots.dtype) * jnp.concatenate([roots, roots])[None]

    def moments(self, boundary: BoundaryConditions, index: int) -> tuple[jax.Array, jax.Array]:
        """K G' and G K G' along one of the axes with sides, (points, sides) and (sides, sides)."""
        waves, rows = _waves(boundary, boundary.axes[index], self.padding)
        eigenvalues = self.eigenvalues(index, waves.shape[1] // 2)
        weights = jnp.concatenate([eigenvalues, eigenvalues])
        cross = jnp.asarray(waves, eigenvalues.dtype) @ (
            weights[:, None] * jnp.asarray(rows.T, eigenvalues.dtype)
        )
        blocks = jnp.matmul(
            jnp.asarray(rows, eigenvalues.dtype) * weights[None],
            jnp.asarray(rows.T, eigenvalues.dtype),
            precision="highest",
        )
        return cross, blocks


def _first_length(boundary: BoundaryConditions, name: str) -> float:
    """The correlation length along an axis to begin with, as a fraction of it."""
    kinds = {boundary.sides[i].kind for i in boundary.on(name)}
    return 0.02 if kinds & {"neumann", "robin"} else 0.1


def _circle(points: int, padding: float | int) -> int:
    """Nodes of the periodic embedding, an even number; the axis takes up `points` of them."""
    return 2 * math.ceil((1 + padding) * (points - 1) / 2)


@lru_cache(maxsize=64)
def _waves(
    boundary: BoundaryConditions, name: str, padding: float | int
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines of the kernel's waves at the points of an axis, (points, 2 waves), and the
    sides' rows of them, in float64.
    """
    points = boundary.grid[name]
    circle = _circle(len(points), padding)
    count = min(WAVES, circle // 2)
    place = (points - points[0]) / np.ptp(points) * (len(points) - 1) / circle
    phases = 2 * np.pi * place[:, None] * np.arange(count)
    waves = np.concatenate([np.cos(phases), np.sin(phases)], axis=1)
    return waves, boundary.rows(name) @ waves
