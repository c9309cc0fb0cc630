"""Hidden values at the boundary: each layer of a Fourier operator is moved, by a lift, to values
that are learned functions of those known there.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

from bayescons.functionals.boundary_conditions import BoundaryConditions
from bayescons.networks.kernel_lift import KernelLift
from bayescons.networks.layer_rules import LayerRule, unfused_gelu
from bayescons.networks.layers import linear
from bayescons.networks.lifts import apply_lifts
from bayescons.networks.spectral import SpectralConv, Spectrum


class Targets(nnx.Module):
    """Values that hidden channels take at the ends, in each layer an affine map of the boundary's
    values there.
    """

    def __init__(self, sides: int, width: int, *, rngs: nnx.Rngs):
        self.maps = nnx.List([linear(1, width, rngs=rngs) for _ in range(sides)])

    def __call__(self, values: Sequence[jax.Array]) -> list[jax.Array]:
        """For each side (*shape) → (*shape, width)."""
        return [affine(value[..., None]) for affine, value in zip(self.maps, values, strict=True)]


class LayerLift(nnx.Module):
    """The lifts of a correction in every layer: one kernel for the output, one for all hidden
    layers, and the targets of each layer.

    Args:
        boundary: what it will be used for.
        width: channels of the layers.
        depth: layers.
        length: correlation length of both kernels to begin with, see `KernelLift`.
        rngs: for the targets.
    """

    def __init__(
        self,
        boundary: BoundaryConditions,
        width: int,
        depth: int,
        *,
        length: float | None = None,
        rngs: nnx.Rngs,
    ):
        self.kernel = KernelLift(boundary, length=length)
        self.inside = KernelLift(boundary, length=length)
        self.targets = nnx.List(
            [Targets(len(boundary.sides), width, rngs=rngs) for _ in range(depth)]
        )


class TargetedLayers(LayerRule):
    """Every layer's output is moved at the ends to its `Targets`, by a lift, before its activation.

    Args:
        boundary: what is known.
        values: of each side, (*shape).
        lift: the lift of all hidden layers, and their targets.
    """

    def __init__(self, boundary: BoundaryConditions, values: Sequence[jax.Array], lift: LayerLift):
        self.boundary, self.values = boundary, values
        self.targets, self.lifts = tuple(lift.targets), lift.inside(boundary)

    def combine(
        self,
        index: int,
        conv: SpectralConv,
        point: nnx.Linear,
        hidden: jax.Array,
        spectrum: Spectrum,
    ) -> jax.Array:
        """K v + W v + b, moved to the targets."""
        out = conv(hidden, spectrum) + point(hidden)
        return apply_lifts(out, self.targets[index](self.values), self.boundary, self.lifts)

    def activate(self, hidden: jax.Array) -> jax.Array:
        """x Φ(x), elementwise."""
        return unfused_gelu(hidden)
