"""Spectral convolutions over any number of axes: integral operators whose kernel is a short Fourier
series, between channels.

The transforms are products with truncated Fourier matrices along one axis after another, held in
real arithmetic. For the sixteen or so modes that a Fourier neural operator keeps this is half the
time of a fast Fourier transform on a processor, it reads grids of any size and spacing alike, and a
value at one node, or the spectrum of one node, is a row of a matrix: what a correction at the
boundary needs comes without a second transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bayescons.axes.quadrature import quadrature_weights
from bayescons.grids import Grid
from bayescons.refusals import RefusedValue


@dataclass(frozen=True)
class Waves:
    """Fourier series along one axis, of period P, with the wave numbers k that are kept.

        v̂_k = 1/P ∫ v(x) e^(-2πikx/P) dx (a quadrature),   v(x) = Σ_k f_k Re v̂_k e^(2πikx/P)

    Attributes:
        phases: 2πk(x - x₀)/P, shape (modes, points).
        weights: of the quadrature over P, shape (points,).
        half: whether this axis keeps k ≥ 0 alone, as one axis of a real field may (f_0 = 1, f_k =
            2); the others keep ±k (f_k = 1).
    """

    phases: np.ndarray
    weights: np.ndarray
    half: bool

    @cached_property
    def analysis(self) -> np.ndarray:
        """Real field to (real, imaginary) part, (2, modes, points); for a full axis from such
        pairs, (2, modes, 2, points).
        """
        cos, sin = np.cos(self.phases) * self.weights, np.sin(self.phases) * self.weights
        return (
            np.stack([cos, -sin])
            if self.half
            else np.stack([np.stack([cos, sin], 1), np.stack([-sin, cos], 1)])
        )

    @cached_property
    def synthesis(self) -> np.ndarray:
        """Back again: (points, 2, modes), and for a full axis (2, points, 2, modes)."""
        cos, sin = np.cos(self.phases).T, np.sin(self.phases).T
        if self.half:
            factor = np.where(np.arange(cos.shape[1]) == 0, 1.0, 2.0)
            return np.stack([cos * factor, -sin * factor], 1)
        return np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)])


@dataclass(frozen=True)
class Spectrum:
    """The Fourier series of fields on a grid: one `Waves` for each axis, the last of them halved.

    Attributes:
        waves: one for each axis of the grid.
    """

    waves: tuple[Waves, ...]

    def analyse(self, field: jax.Array) -> jax.Array:
        """Field (*points, channels) → coefficients (2, *modes, channels), real and imaginary parts
        in front.
        """
        *others, last = self.waves
        out = jnp.tensordot(jnp.asarray(last.analysis, field.dtype), field, ((2,), (len(others),)))
        for wave in reversed(others):  # out: (2, *modes done, *points to do, channels)
            out = jnp.tensordot(
                jnp.asarray(wave.analysis, field.dtype), out, ((2, 3), (0, out.ndim - 2))
            )
        return out

    def synthesise(self, coefficients: jax.Array) -> jax.Array:
        """Coefficients (2, *modes, channels) → field (*points, channels)."""
        *others, last = self.waves
        out = coefficients
        for axis, wave in enumerate(
            others, start=1
        ):  # out: (2, *points done in reverse, *modes to do, channels)
            out = jnp.tensordot(jnp.asarray(wave.synthesis, out.dtype), out, ((2, 3), (0, axis)))
        out = jnp.tensordot(
            jnp.asarray(last.synthesis, out.dtype), out, ((1, 2), (0, out.ndim - 2))
        )
        return jnp.transpose(out, (*reversed(range(len(self.waves))), len(self.waves)))

    def at(self, axis: int, index: int) -> Spectrum:
        """The same series, read at one point of an axis alone."""
        wave = self.waves[axis]
        one = Waves(wave.phases[:, [index]], wave.weights[[index]], wave.half)
        return Spectrum((*self.waves[:axis], one, *self.waves[axis + 1 :]))


def spectrum(
    grid: Grid, modes: tuple[int, ...], padding: tuple[float | int | None, ...]
) -> Spectrum:
    """The series that a convolution keeps on a grid.

    Args:
        grid: both end points of each axis on it.
        modes: m for each axis: k = 0 ... m-1 along the last, k = -m ... m-1 along the others.
        padding: for each axis, by which fraction the period exceeds the axis. 0 is for a periodic
            axis, whose ends are one point. None is the plain discrete transform of the nodes, whose
            last node is a neighbour of the first, as in published Fourier operators.

    Raises:
        ValueError: for a number of modes that the grid cannot tell apart.
    """
    for name, points, m in zip(grid.names, grid.shape, modes, strict=True):
        if not 1 <= m <= points // 2:
            raise RefusedValue(
                f"axis {name!r} of {points} points resolves 1 to {points // 2} modes; got {m}. "
                "Take fewer modes or a finer grid"
            )
    last = len(modes) - 1
    return Spectrum(
        tuple(
            _waves(grid[n], m, p, a == last)
            for a, (n, m, p) in enumerate(zip(grid.names, modes, padding, strict=True))
        )
    )


def _waves(points: np.ndarray, modes: int, padding: float | int | None, half: bool) -> Waves:
    if padding is None:
        position, weights = (
            np.arange(len(points)) / len(points),
            np.full(len(points), 1 / len(points)),
        )
    else:
        period = (1 + padding) * (points[-1] - points[0])
        position, weights = (points - points[0]) / period, quadrature_weights(points) / period
    k = np.arange(modes) if half else np.arange(-modes, modes)
    return Waves(2 * np.pi * k[:, None] * position, weights, half)


class SpectralConv(nnx.Module):
    """(K v)(x) = Σ_k e^(2πik·x/P) R_k' v̂_k: an integral operator between channels whose kernel has
    few Fourier modes.

    The kernel is κ(x, y) = κ(x - y), κ_io(r) = 1/P Σ_k R_kio e^(2πik·r/P), and its weights do not
    depend on the grid. As the integral is over the domain and not over the period, a period longer
    than the domain (padding) keeps the two ends apart at no cost.

    Args:
        inputs, outputs: channels.
        modes: for each axis, see `spectrum`.
        rngs: real and imaginary parts are drawn uniformly from [0, 1/(inputs × outputs)), as
            published.

    Where it fails: on a domain with ends and without padding it takes the last node for a neighbour
    of the first.

    Source: Li et al., "Fourier neural operator for parametric partial differential equations", ICLR
        2021.
    """

    def __init__(self, inputs: int, outputs: int, *, modes: tuple[int, ...], rngs: nnx.Rngs):
        counts = (*(2 * m for m in modes[:-1]), modes[-1])
        draw = jax.random.uniform(rngs.params(), (2, *counts, inputs, outputs), jnp.float32)
        self.kernel = nnx.Param(draw / (inputs * outputs))

    def __call__(self, field: jax.Array, spectrum: Spectrum) -> jax.Array:
        """Field (*points, inputs) → (*points, outputs)."""
        return spectrum.synthesise(self.mix(spectrum.analyse(field)))

    def mix(self, coefficients: jax.Array) -> jax.Array:
        """R_k' v̂_k: (2, *modes, inputs) → (2, *modes, outputs), as one real product for each
        mode.
        """
        *counts, inputs, outputs = self.kernel.shape[1:]
        real, imaginary = self.kernel[...].reshape(2, -1, inputs, outputs)
        pair = jnp.concatenate([coefficients[0], coefficients[1]], axis=-1).reshape(-1, 2 * inputs)
        blocks = jnp.concatenate(
            [jnp.concatenate([real, imaginary], -1), jnp.concatenate([-imaginary, real], -1)], -2
        )
        mixed = jnp.einsum("ki,kio->ko", pair, blocks).reshape(*counts, 2 * outputs)
        return jnp.stack(jnp.split(mixed, 2, axis=-1))
