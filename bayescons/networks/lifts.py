"""Lifts: how a correction at the boundary spreads inwards, as columns L = K G' (G K G')^-1 along
each axis that has sides.

A field is corrected axis by axis, u + L (b - G u). With a separable K this is the conjugate update
given all sides at once: what the sides of one axis change, those of another leave alone wherever
the values agree at the corners (the projections of two axes commute).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bayescons.functionals.boundary_conditions import BoundaryConditions
from bayescons.gaussians import row_covariance as gram
from bayescons.gaussians.circulant import CirculantEmbedding
from bayescons.gaussians.covariances import LowRank
from bayescons.gaussians.gaussian import Gaussian

WAVES = 128  # of a kernel, at most: its features are as fine as 1/64 of the domain
# correlation length as a fraction of the axis: with a period of two axes the ends share an eighth
# of their variance
LONGEST = 0.5
# shares below e^-40 are nothing beside rounding, and further down processors are ten times as slow
# with them
FADED = 40.0
SWEEPS = 2  # over several axes
# change of a logarithm for each unit of its weight, so that the few numbers of a kernel learn as
# fast as the thousands beside
STEP = 10.0


def read(row: np.ndarray, field: jax.Array, axis: int) -> jax.Array:
    """Σ_j w_j u_j along an axis, as differences from the end: a slope is not lost in the rounding
    of its terms.
    """
    points = np.flatnonzero(row)
    end = points[0] if points[-1] < len(row) - 1 else points[-1]
    total = row.sum() if abs(row.sum()) > 1e-9 * np.abs(row).sum() else 0.0
    reference = jax.lax.index_in_dim(field, int(end), axis, keepdims=False)
    value = float(total) * reference if total else jnp.zeros_like(reference)
    for j in points:
        if j != end:
            value = value + float(row[j]) * (
                jax.lax.index_in_dim(field, int(j), axis, keepdims=False) - reference
            )
    return value


def corrected(
    field: jax.Array, values: Sequence[jax.Array], boundary: BoundaryConditions, lifts: Sequence
) -> jax.Array:
    """U + L (b - G u) along one axis after another, for a field (*grid.shape, ...) and values
    (*shape, ...), one for each side.

    Args:
        field: any number of axes, such as channels, behind those of the grid.
        values: of each side; at corners they must agree (`BoundaryConditions.reconciled`).
        boundary: its sides.
        lifts: for each of `boundary.axes` its columns L, (points, sides), with G L = I.
    """
    for name, lift in zip(boundary.axes, lifts, strict=True):
        axis = boundary.grid.axis(name)
        sides = zip(boundary.on(name), boundary.rows(name), strict=True)
        missed = [values[i].astype(field.dtype) - read(row, field, axis) for i, row in sides]
        field = _moved(field, missed, lift, axis)
    return field


def _moved(field: jax.Array, missed: list[jax.Array], lift, axis: int) -> jax.Array:
    """U + Σ_j L_j ⊗ missed_j; where the lift is known beforehand, at its nodes alone."""
    if isinstance(lift, np.ndarray):
        for node in np.flatnonzero(np.abs(lift).sum(axis=1)):
            here = jax.lax.index_in_dim(field, int(node), axis, keepdims=False)
            here = here + sum(
                float(weight) * miss
                for weight, miss in zip(lift[node], missed, strict=True)
                if weight
            )
            field = jax.lax.dynamic_update_index_in_dim(field, here, int(node), axis)
        return field
    others = [i for i in range(field.ndim) if i != axis]
    for j, miss in enumerate(missed):
        field = field + jnp.expand_dims(lift[:, j].astype(field.dtype), others) * jnp.expand_dims(
            miss, axis
        )
    return field


@lru_cache(maxsize=64)
def end_lifts(boundary: BoundaryConditions) -> tuple[np.ndarray, ...]:
    """Overwriting: only the end nodes move, as many at an end as it has sides. Both ends share what
    is periodic.
    """
    lifts = []
    for name in boundary.axes:
        rows, points = boundary.rows(name), len(boundary.grid[name])
        basis = np.zeros((points, len(rows)))
        taken = {"lower": 0, "upper": 0}
        for j, i in enumerate(boundary.on(name)):
            end = boundary.sides[i].end
            if end == "both":
                basis[[0, -1], j] = -0.5, 0.5
            else:
                basis[taken[end] if end == "lower" else points - 1 - taken[end], j] = 1.0
                taken[end] += 1
        lifts.append(basis @ np.linalg.inv(rows @ basis))
    return tuple(lifts)


class KernelLift(nnx.Module):
    """A stationary kernel along each axis with sides, learned, and its lift K G' (G K G')^-1.

        k(r) = Σ_k λ_k cos(2πkr/P),   λ_k ∝ exp(-½ (2πkℓ/P)² + s_k) (half of it for k = 0),   Σ λ_k
        = 1

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
            raise ValueError(
                f"the correlation length is a fraction of the axis between 0 and {LONGEST}; got "
                f"{length}"
            )
        if padding <= 0:
            raise ValueError(
                "the period of a kernel must exceed the axis, or its ends are one point; got "
                f"padding={padding}"
            )
        self.padding, self.free, axes = padding, free, len(boundary.axes)
        starts = [_length(boundary, name) if length is None else length for name in boundary.axes]
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
            own = (
                self.eigenvalues(index, count)
                * circle
                / jnp.where(jnp.arange(count) == 0, 1.0, 2.0)
            )
            spectra[boundary.grid.axis(name)] = jnp.pad(own, (0, circle // 2 + 1 - count))
        return CirculantEmbedding(tuple(spectra), jnp.ones(()), boundary.grid.shape)

    def belief(self, mean: jax.Array, boundary: BoundaryConditions) -> Gaussian:
        """N(mean, K), of which this lift is the conjugate update."""
        return Gaussian(mean, self.stationary(boundary))

    def __call__(self, boundary: BoundaryConditions) -> tuple[jax.Array, ...]:
        """L = K G' (G K G')^-1 for each axis with sides, (points, sides), solved as the foundation
        solves.
        """
        lifts = []
        for index in range(len(boundary.axes)):
            cross, blocks = self.moments(boundary, index)
            factored = gram.factor(blocks, jnp.diagonal(blocks))
            lifts.append(jax.vmap(factored.solve)(cross))
        return tuple(lifts)

    def factor(self, boundary: BoundaryConditions, index: int) -> jax.Array:
        """F with K = F F' along one of the axes with sides, (points, waves)."""
        waves, _ = _waves(boundary, boundary.axes[index], self.padding)
        own = jnp.sqrt(self.eigenvalues(index, waves.shape[1] // 2))
        return jnp.asarray(waves, own.dtype) * jnp.concatenate([own, own])[None]

    def moments(self, boundary: BoundaryConditions, index: int) -> tuple[jax.Array, jax.Array]:
        """K G' and G K G' along one of the axes with sides, (points, sides) and (sides, sides)."""
        waves, rows = _waves(boundary, boundary.axes[index], self.padding)
        own = self.eigenvalues(index, waves.shape[1] // 2)
        weights = jnp.concatenate([own, own])
        cross = jnp.asarray(waves, own.dtype) @ (weights[:, None] * jnp.asarray(rows.T, own.dtype))
        blocks = jnp.matmul(
            jnp.asarray(rows, own.dtype) * weights[None],
            jnp.asarray(rows.T, own.dtype),
            precision="highest",
        )
        return cross, blocks


class FeatureLift(nnx.Module):
    """The covariance of a network's last layer and of what is smooth beside it, and its lift K G'
    (G K G')^-1 along each axis with sides.

        u = Φ w + c + r,   w ~ N(ŵ, diag(s²)),   r ~ N(0, a k + d I),   K = Φ diag(s²) Φ' + a k + d
        I

    The output is linear in the weights w of the last layer, with the last hidden layer Φ for
    features. If the weights are uncertain, and an error r remains that they cannot make good,
    smooth with a stationary kernel k (`KernelLift`) or N(0, d) at each point, the field has this
    covariance. Its lift moves the field the way in which the network can move it, a boundary layer
    where it has made one, then as a bell; what neither explains stays with the nodes of the
    stencil, as by overwriting. s, a, d and k are learned through the correction, and their common
    unit cancels, for each axis with sides its own. Every function has a lift of its own.

    What is learned of d is d |g|², with the longest row g of G: what the sides see of it. For
    values |g| = 1; for slopes it grows like 1/spacing, and an error of each point that did not
    shrink with it would hide all else from the sides of a finer grid.

    Along the other axes points are independent of each other. Where two axes have sides, what the
    one's correction moves the other's
    rows see, and neither K is separable: the axes take turns, twice.

    Args:
        channels: of the last hidden layer.
        boundary: what it will be used for.
        length: correlation length of k to begin with, as a fraction of the axis; None is 0.1.

    Source: the conjugate update with the linearised last layer for a covariance, as in Kristiadi,
    Hein and Hennig, ICML 2020, "Being Bayesian, even just a bit, fixes overconfidence in ReLU
    networks"; that it is trained through is ours.
    """

    def __init__(self, channels: int, boundary: BoundaryConditions, *, length: float | None = None):
        axes = len(boundary.axes)
        self.weights = nnx.Param(jnp.zeros((axes, channels), jnp.float32))
        self.share = nnx.Param(jnp.zeros(axes, jnp.float32))
        self.rest = nnx.Param(
            jnp.asarray(np.log(_sizes(boundary)) * 2 / STEP, jnp.float32)
        )  # d = 1 to begin with
        self.kernel = KernelLift(boundary, length=0.1 if length is None else length)

    def variances(self) -> jax.Array:
        """s² of the weights, (axes with sides, channels)."""
        return jnp.exp(2 * STEP * self.weights[...])

    def shares(self) -> jax.Array:
        """The variance a of what is smooth, for each axis with sides."""
        return jnp.exp(STEP * self.share[...])

    def rests(self, boundary: BoundaryConditions) -> jax.Array:
        """The variance d of what nothing explains, for each axis with sides."""
        return jnp.exp(STEP * self.rest[...]) / _sizes(boundary) ** 2

    def belief(
        self, mean: jax.Array, features: jax.Array, boundary: BoundaryConditions
    ) -> Gaussian:
        """N(mean, K) along the one axis with sides, for each point of the others: a batch of
        beliefs.
        """
        if len(boundary.axes) > 1:
            raise ValueError(
                f"the lifts along {' and '.join(boundary.axes)} are one conjugate update each, and "
                "together none; take mode='kernel'"
            )
        axis = boundary.grid.axis(boundary.axes[0])
        factor, mean = jnp.moveaxis(features, axis, -2), jnp.moveaxis(mean, axis, -1)
        factor = jnp.einsum(
            "...nc,c->...nc", factor, jnp.sqrt(self.variances()[0]).astype(factor.dtype)
        )
        smooth = jnp.sqrt(self.shares()[0]) * self.kernel.factor(boundary, 0)
        factor = jnp.concatenate(
            [
                factor,
                jnp.broadcast_to(smooth.astype(factor.dtype), (*mean.shape, smooth.shape[-1])),
            ],
            axis=-1,
        )
        return Gaussian(
            mean,
            LowRank(
                jnp.broadcast_to(self.rests(boundary)[0], mean.shape).astype(mean.dtype), factor, 1
            ),
        )

    def corrected(
        self,
        field: jax.Array,
        features: jax.Array,
        values: Sequence[jax.Array],
        boundary: BoundaryConditions,
    ) -> jax.Array:
        """The field (*grid.shape) with its values, along one axis with sides after another, and
        where there are several once more.

            u + Φ Δw + (a k + d I) G' f,   f = (G K G')^-1 (b - G u),   Δw = diag(s²) Φ' G' f

        The features' part of the correction is a change of the last layer's weights: one more
        product with Φ, however many the sides.
        """
        variances, shares, rests = (
            self.variances().astype(features.dtype),
            self.shares(),
            self.rests(boundary),
        )
        turns = list(enumerate(boundary.axes))
        for index, name in turns if len(turns) == 1 else SWEEPS * turns:
            axis, rows = boundary.grid.axis(name), boundary.rows(name)
            sizes = np.linalg.norm(rows, axis=1)
            unit, nodes = rows / sizes[:, None], np.flatnonzero(np.abs(rows).sum(axis=0))
            smooth, between = self.kernel.moments(boundary, index)
            smooth = shares[index] * smooth / sizes[None] + rests[index] * unit.T
            between = shares[index] * between / np.outer(sizes, sizes) + rests[index] * (
                unit @ unit.T
            )

            along = jnp.moveaxis(features, axis, -2)
            seen = jnp.einsum(
                "kn,...nc->...kc", jnp.asarray(unit[:, nodes], along.dtype), along[..., nodes, :]
            )
            held = jnp.einsum("...kc,c->...kc", seen, variances[index])
            blocks = jnp.einsum("...jc,...kc->...jk", seen, held) + _alike(between, along)
            missed = [
                values[i].astype(field.dtype) - read(row, field, axis)
                for i, row in zip(boundary.on(name), rows, strict=True)
            ]
            force = jnp.linalg.solve(
                blocks, jnp.stack(missed, axis=-1)[..., None] / _alike(sizes[:, None], along)
            )[..., 0]
            change = jnp.einsum(
                "...nc,...c->...n", along, jnp.einsum("...kc,...k->...c", held, force)
            )
            field = field + jnp.moveaxis(change + force @ smooth.T.astype(field.dtype), -1, axis)
        return field


def _sizes(boundary: BoundaryConditions) -> np.ndarray:
    """The largest norm of a side's row, for each axis with sides."""
    return np.array(
        [np.linalg.norm(boundary.rows(name), axis=1).max() for name in boundary.axes], np.float32
    )


def _alike(matrix, other: jax.Array) -> jax.Array:
    """A matrix with the rank and float type of an array."""
    return jnp.asarray(matrix, other.dtype).reshape((1,) * (other.ndim - 2) + np.shape(matrix))


def _length(boundary: BoundaryConditions, name: str) -> float:
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
