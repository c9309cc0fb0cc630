"""The covariance of a network's last layer, and the lift that is made of it."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bayescons.functionals.boundary_conditions import BoundaryConditions
from bayescons.gaussians.covariances import LowRank
from bayescons.gaussians.gaussian import Gaussian
from bayescons.networks.kernel_lift import STEP, KernelLift
from bayescons.networks.lifts import row_value
from bayescons.refusals import RefusedValue

SWEEPS = 2  # over several axes


class FeatureLift(nnx.Module):
    """The covariance of a network's last layer and of what is smooth beside it, and its lift K G'
    (G K G')^-1 along each axis with sides.

        u = Φ w + c + r,   w ~ N(ŵ, diag(s²)),   r ~ N(0, a k + d I)
        K = Φ diag(s²) Φ' + a k + d I

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

    Along the other axes points are independent of each other. Where two axes have sides, the rows
    of the one see what the correction of the other moves, and neither K is separable: the axes
    take turns, twice.

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
            raise RefusedValue(
                f"the lifts along {' and '.join(boundary.axes)} are one conjugate update each, and "
                "together none; take KernelCorrection()"
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

    def correct(
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
            rows_of_features = jnp.einsum(
                "kn,...nc->...kc", jnp.asarray(unit[:, nodes], along.dtype), along[..., nodes, :]
            )
            weighted = jnp.einsum("...kc,c->...kc", rows_of_features, variances[index])
            blocks = jnp.einsum("...jc,...kc->...jk", rows_of_features, weighted) + _alike(
                between, along
            )
            misses = [
                values[i].astype(field.dtype) - row_value(row, field, axis)
                for i, row in zip(boundary.on(name), rows, strict=True)
            ]
            force = jnp.linalg.solve(
                blocks, jnp.stack(misses, axis=-1)[..., None] / _alike(sizes[:, None], along)
            )[..., 0]
            change = jnp.einsum(
                "...nc,...c->...n", along, jnp.einsum("...kc,...k->...c", weighted, force)
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
