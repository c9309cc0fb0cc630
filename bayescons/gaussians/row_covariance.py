"""The Gram matrix S = G K G' + R of the observed rows: formed by probing, made full-rank, factored,
solved.

Where the belief is independent along some axes and the functionals leave the same axes alone, S is
block-diagonal over them. `axes` names these axes; everything here carries them in front, so S has
shape (*axes, r, r) with r rows per block, and one probe reads the same column of every block at
once. A mass row per time on a diagonal belief has r = 1: S costs one pass over the field. Where the
rows of a block fall into clusters that share no point, and the belief is independent from point to
point, S is block-diagonal over these too: shape (*axes, clusters, size, size).
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from bayescons import tracing
from bayescons.arrays import rank_tolerance
from bayescons.descriptions import tabulated
from bayescons.functionals.abstract import AbstractFunctional, Leaf
from bayescons.functionals.clusters import Clusters
from bayescons.gaussians.abstract import AbstractCovariance

# Elements of field that may be held at once while S is probed column by column.
PROBE_ELEMENTS = 2**22


@tabulated("Covariance of rows, factored")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RowCovariance:
    """A factored Gram matrix: D P' L L' P D on the rows pivots_kept, D = diag(row_std), P the
    pivoting permutation. All of it by blocks: *blocks stands for the axes, and the clusters where
    there are any; r for the rows of one block.

    Attributes:
        cholesky: L, with ones on the diagonal in place of dropped rows, shape (*blocks, r, r).
        order: position of the rows in pivoting order, shape (*blocks, r).
        pivots_kept: in pivoting order, 1 for a row that is independent of those before it and 0 for
            a redundant one, shape (*blocks, r).
        block_std: standard deviation of each row under the unconditioned prior, the unit in which
            rank is judged, shape (*blocks, r).
        independent_as_stated: in the order in which the rows were stated, 1 for a row that those
            before it do not imply, shape (*blocks, r).
        log_det_ratio: log |T| where the rows independent_as_stated are T times the rows
            pivots_kept, one for each block. Neither depends on K where the functional alone makes
            rows redundant, so the evidence of the rows independent_as_stated is comparable between
            beliefs; that of the rows pivots_kept would jump.
        clusters: into which the rows of each point of the axes were sorted, or None.
    """

    cholesky: Leaf
    order: Leaf
    pivots_kept: Leaf
    block_std: Leaf
    independent_as_stated: Leaf
    log_det_ratio: Leaf
    clusters: Clusters | None = None

    @property
    def rank(self) -> jax.Array:
        """Number of independent rows in all blocks together."""
        return jnp.sum(self.pivots_kept)

    @property
    def row_std(self) -> Leaf:
        """Standard deviation of each row under the unconditioned prior, shape (*axes, r)."""
        return joined(self.block_std, self.clusters)

    @property
    def redundant(self) -> jax.Array:
        """True for rows implied by those stated before them, in their own order, shape (*axes,
        r).
        """
        return joined(self.independent_as_stated, self.clusters) == 0

    @property
    def kept(self) -> jax.Array:
        """True for the rows that S⁺ rests on, in their own order, shape (*axes, r)."""
        return joined(_scatter(self.pivots_kept, self.order), self.clusters) > 0

    @property
    def shares_left(self) -> jax.Array:
        """Of each row that S⁺ rests on, the share of its variance that those before it leave, and 1
        for all others, in their own order, shape (*axes, r).
        """
        left = jnp.diagonal(self.cholesky, axis1=-2, axis2=-1) ** 2
        left = jnp.where(self.pivots_kept > 0, left, 1.0)
        return joined(_scatter(left, self.order), self.clusters)

    def whiten(self, rows) -> jax.Array:
        """L^-1 P D^-1 y: rows (*axes, r) with covariance S become independent with unit variance,
        dropped ones zero, shape (*blocks, r).
        """
        rows = split(rows, self.clusters)
        scaled = _gather(rows / self.block_std, self.order) * self.pivots_kept
        return _triangular(self.cholesky, scaled, transpose=False)

    def unwhiten_adjoint(self, white) -> jax.Array:
        """D^-1 P' L^-T y, the adjoint of `whiten`."""
        solved = _triangular(self.cholesky, white, transpose=True) * self.pivots_kept
        return joined(_scatter(solved, self.order) / self.block_std, self.clusters)

    def solve(self, rows) -> jax.Array:
        """S⁺ y, with S⁺ the inverse on the rows pivots_kept and zero on the redundant ones."""
        return self.unwhiten_adjoint(self.whiten(rows))

    def log_density(self, residual) -> jax.Array:
        """Log N(residual; 0, S) of the rows independent_as_stated, summed over blocks (nats)."""
        white = self.whiten(residual)
        logs = jnp.log(jnp.diagonal(self.cholesky, axis1=-2, axis2=-1)) + math.log(2 * math.pi) / 2
        block_std = _gather(self.block_std, self.order)
        return (
            -jnp.sum(white**2) / 2
            - jnp.sum(self.pivots_kept * (logs + jnp.log(block_std)))
            - jnp.sum(self.log_det_ratio)
        )


def split(rows, clusters: Clusters | None) -> Leaf:
    """Rows (*axes, r) by clusters, where there are any."""
    return rows if clusters is None else clusters.split(rows)


def joined(rows, clusters: Clusters | None) -> Leaf:
    """Inverse of `split`."""
    return rows if clusters is None else clusters.join(rows)


def shared_axes(covariance: AbstractCovariance, functional: AbstractFunctional) -> tuple[int, ...]:
    """Axes along which the belief is independent and the functional does nothing: S is
    block-diagonal over them.
    """
    return tuple(sorted(covariance.independent & functional.pointwise))


def clusters_within(
    covariance: AbstractCovariance, functional: AbstractFunctional, axes: tuple[int, ...]
) -> Clusters | None:
    """Clusters of the rows of a block that are independent of each other, or None: those that share
    no point, where the belief is independent from point to point.
    """
    if functional.clusters is None or not covariance.independent.issuperset(functional.over):
        return None
    return functional.clusters.times(functional.count(axes) // functional.clusters.places.size)


def entries(covariance: AbstractCovariance, functional: AbstractFunctional) -> int:
    """How many numbers S holds, all blocks together."""
    axes = shared_axes(covariance, functional)
    clusters = clusters_within(covariance, functional, axes)
    blocks, rows = math.prod(functional.shape[a] for a in axes), functional.count(axes)
    if clusters is None:
        return blocks * rows**2
    number, size = clusters.members.shape
    return blocks * number * size**2


def form(
    functional, covariance, axes: tuple[int, ...], clusters: Clusters | None = None
) -> jax.Array:
    """G K G' by blocks, shape (*axes, r, r), or (*axes, clusters, r, r): column j is the answer of
    all blocks to their j-th unit row.
    """
    shape = tuple(functional.shape[a] for a in axes)
    shape += (functional.count(axes),) if clusters is None else clusters.members.shape

    def column(unit):
        rows = joined(jnp.broadcast_to(unit, shape), clusters)
        rows = functional.rows(covariance.mv(functional.transpose(rows, axes)), axes)
        return split(rows, clusters)

    columns = over_rows(column, jnp.eye(shape[-1]), math.prod(functional.shape))
    blocks = jnp.moveaxis(columns, 0, -1)
    return (blocks + jnp.swapaxes(blocks, -1, -2)) / 2


def factor(blocks, prior, clusters: Clusters | None = None) -> RowCovariance:
    """Factor S after scaling its rows to unit prior variance and dropping those that the others
    imply.

    The independent rows are chosen by Cholesky with complete pivoting, without derivative; the
    differentiable work is an ordinary Cholesky of the rows chosen. (The derivative of an
    eigendecomposition is NaN where masses have equal variance, the ordinary case.)

    A row is redundant where its variance given the rows chosen before it is below `rank_tolerance`
    of its unconditioned prior variance.

    Args:
        blocks: S, shape (*blocks, r, r).
        prior: variance of each row under the unconditioned prior, shape (*blocks, r).
        clusters: into which the rows were sorted, or None.
    """
    block_std = jnp.sqrt(jnp.where(prior > 0, prior, 1.0))
    scaled = blocks / (block_std[..., :, None] * block_std[..., None, :])
    rows = blocks.shape[-1]
    order, pivots_kept, columns = _pivots(jax.lax.stop_gradient(scaled))
    chosen = jnp.swapaxes(
        _gather(jnp.swapaxes(_gather(scaled, order[..., None, :]), -1, -2), order[..., None, :]),
        -1,
        -2,
    )
    mask = pivots_kept[..., :, None] * pivots_kept[..., None, :]
    padded = jnp.where(
        mask > 0, chosen, jnp.broadcast_to(jnp.eye(rows, dtype=scaled.dtype), chosen.shape)
    )
    independent_as_stated, log_det_ratio = _stated(
        columns, order, pivots_kept, jax.lax.stop_gradient(block_std)
    )
    return RowCovariance(
        _cholesky(padded),
        order,
        pivots_kept,
        block_std,
        independent_as_stated,
        log_det_ratio,
        clusters,
    )


def over_rows(function, rows, elements: int) -> jax.Array:
    """Map a function that holds `elements` numbers over the leading axis of rows, in chunks that
    keep to PROBE_ELEMENTS.
    """
    chunk = max(1, PROBE_ELEMENTS // max(elements, 1))
    if len(rows) <= chunk:
        return jax.vmap(function)(rows)
    return jax.lax.map(function, rows, batch_size=chunk)


# Loops are compiled by themselves, for a shape and not for a belief and a functional.
@tracing.compiled
def _pivots(matrix):
    """Complete pivoting on (*blocks, r, r): the order of the rows, which of them (in that order)
    are independent, and the columns of the factor C, S = C C', with its rows in the order stated.
    """
    rows = matrix.shape[-1]
    lead = matrix.shape[:-2]
    tolerance = rank_tolerance(rows, matrix.dtype)
    if rows == 1:
        pivots_kept = (matrix[..., 0] > tolerance).astype(matrix.dtype)
        return (
            jnp.zeros((*lead, 1), int),
            pivots_kept,
            jnp.sqrt(jnp.maximum(matrix, 0.0)) * pivots_kept[..., None],
        )

    def step(i, carry):
        rest, order, pivots_kept, columns, free = carry
        diagonal = jnp.where(free, jnp.diagonal(rest, axis1=-2, axis2=-1), -jnp.inf)
        pivot = jnp.argmax(diagonal, axis=-1, keepdims=True)
        size = jnp.take_along_axis(diagonal, pivot, axis=-1)
        good = size > tolerance
        column = jnp.take_along_axis(rest, pivot[..., None], axis=-1)[..., 0] / jnp.sqrt(
            jnp.where(good, size, 1.0)
        )
        column = jnp.where(good, column, 0.0)
        rest = rest - column[..., :, None] * column[..., None, :]
        free = free & (jnp.arange(rows).reshape((1,) * len(lead) + (rows,)) != pivot)
        order, pivots_kept = (
            order.at[..., i].set(pivot[..., 0]),
            pivots_kept.at[..., i].set(good[..., 0].astype(matrix.dtype)),
        )
        return rest, order, pivots_kept, columns.at[..., i].set(column), free

    zeros = jnp.zeros((*lead, rows), matrix.dtype)
    start = (
        matrix,
        zeros.astype(int),
        zeros,
        jnp.zeros_like(matrix),
        jnp.ones((*lead, rows), bool),
    )
    _, order, pivots_kept, columns, _ = jax.lax.fori_loop(0, rows, step, start)
    return order, pivots_kept, columns


@tracing.compiled
def _stated(columns, order, pivots_kept, row_std):
    """`RowCovariance.independent_as_stated` and `RowCovariance.log_det_ratio`: Gram-Schmidt on the
    rows of C in the order stated, twice over.

    A row is independent_as_stated where its distance from those before it is above threshold / 8,
    halfway (in logarithms) between the smallest that pivoting keeps and the rounding of C, eps /
    threshold an entry.
    """
    if columns.shape[-1] == 1:
        return pivots_kept, jnp.zeros(pivots_kept.shape[:-1], columns.dtype)
    threshold = math.sqrt(rank_tolerance(columns.shape[-1], columns.dtype))

    def step(i, carry):
        basis, distance = carry
        row = columns[..., i, :]
        for _ in range(2):
            row = row - jnp.sum(
                jnp.sum(basis * row[..., None, :], axis=-1, keepdims=True) * basis, axis=-2
            )
        length = jnp.linalg.norm(row, axis=-1, keepdims=True)
        length = jnp.where(length > threshold / 8, length, 0.0)
        row = jnp.where(length > 0, row / jnp.where(length > 0, length, 1.0), 0.0)
        return basis.at[..., i, :].set(row), distance.at[..., i].set(length[..., 0])

    _, distance = jax.lax.fori_loop(
        0, columns.shape[-1], step, (jnp.zeros_like(columns), jnp.zeros_like(row_std))
    )
    independent_as_stated = (distance > 0).astype(columns.dtype)
    pivots = jnp.diagonal(
        _gather(jnp.swapaxes(columns, -1, -2), order[..., None, :]), axis1=-2, axis2=-1
    )
    own = jnp.log(jnp.where(distance > 0, distance * row_std, 1.0))
    chosen = jnp.log(jnp.where(pivots_kept > 0, pivots * _gather(row_std, order), 1.0))
    return independent_as_stated, jnp.sum(own - chosen, axis=-1)


def _gather(rows, order) -> jax.Array:
    """Rows, along the last axis, in pivoting order. One row has no order, and is spared an indexing
    that costs more than its solve.
    """
    return rows if rows.shape[-1] == 1 else jnp.take_along_axis(rows, order, axis=-1)


def _scatter(rows, order) -> jax.Array:
    """Inverse of `_gather`."""
    return (
        rows
        if rows.shape[-1] == 1
        else jnp.put_along_axis(jnp.zeros_like(rows), order, rows, axis=-1, inplace=False)
    )


def _cholesky(matrix) -> jax.Array:
    """Cholesky factor; a 1 x 1 block is a square root (LAPACK would be called once for each of
    thousands of blocks).
    """
    return jnp.sqrt(matrix) if matrix.shape[-1] == 1 else jnp.linalg.cholesky(matrix)


def _triangular(lower, rows, *, transpose: bool) -> jax.Array:
    if rows.shape[-1] == 1:
        return rows / lower[..., 0]
    return jax.lax.linalg.triangular_solve(
        lower, rows[..., None], left_side=True, lower=True, transpose_a=transpose
    )[..., 0]
