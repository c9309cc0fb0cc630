"""Networks whose output has its boundary values exactly: by the conjugate update, by the published
elimination, or by overwriting.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx
from jax.typing import ArrayLike

from bayescons.functionals.boundary_conditions import BoundaryCondition, BoundaryConditions
from bayescons.gaussians.conditioning import Constraint
from bayescons.gaussians.gaussian import Gaussian
from bayescons.grids import Grid
from bayescons.networks.deep_operator import DeepOperator
from bayescons.networks.elimination import Elimination, ReferenceQuirks
from bayescons.networks.fourier_operator import FourierOperator, LayerRule, Plain
from bayescons.networks.layers import linear
from bayescons.networks.lifts import FeatureLift, KernelLift, corrected, end_lifts
from bayescons.networks.spectral import SpectralConv, Spectrum

MODES = ("none", "overwrite", "features", "kernel", "layers", "reference")
BASES = {kind.__name__: kind for kind in (FourierOperator, DeepOperator)}


class Targets(nnx.Module):
    """Values that hidden channels take at the ends, in each layer an affine map of the boundary's
    values there.
    """

    def __init__(self, sides: int, width: int, *, rngs: nnx.Rngs):
        self.maps = nnx.List([linear(1, width, rngs=rngs) for _ in range(sides)])

    def __call__(self, values: Sequence[jax.Array]) -> list[jax.Array]:
        """For each side (*shape) → (*shape, width)."""
        return [own(value[..., None]) for own, value in zip(self.maps, values, strict=True)]


class LayerTargets(Plain):
    """The rule of mode "layers": every layer's output is corrected at the ends towards `Targets`,
    by a lift, before its activation.
    """

    def __init__(
        self,
        boundary: BoundaryConditions,
        values: Sequence[jax.Array],
        targets: Sequence[Targets],
        lifts: Sequence[jax.Array],
    ):
        self.boundary, self.values, self.targets, self.lifts = boundary, values, targets, lifts

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
        return corrected(out, self.targets[index](self.values), self.boundary, self.lifts)


class BoundaryCorrected(nnx.Module):
    """A network, what is known at the boundary, and how the one is made to hold the other.

    - "none": the network alone.
    - "overwrite": the end nodes of its output are moved to their values (or to where the slope is
      right).
    - "features": u + K G' (G K G')^-1 (b - G u), the mean of `bc.condition` for a belief N(u, K)
      given the boundary, with K the covariance of the network's last layer, and of a smooth rest
      (`FeatureLift`): each function is corrected in the shapes that the network has made for it.
    - "kernel": the same with a learned stationary K alone (`KernelLift`). The lift is made once for
      a batch.
    - "layers": each layer as well is moved, by a lift of its own, to hidden values that are learned
      functions of b; the output as by "kernel".
    - "reference": the published elimination in every layer, then overwriting, with the `oddities`
      of the public code.

    All are trained through the correction. In every mode but "none" the output holds the values to
    rounding: 1e-12 in float64 and 1e-6 in float32 of the field's size (slopes are rounded by
    1/spacing more). Sides that disagree at corners: the one stated later decides. Written for one
    function; batch it with `jax.vmap`.

    Args:
        network: a `FourierOperator`, or another network of the same call (not for "layers" and
            "reference"). With `sides`, it is given the boundary values as inputs too, whatever the
            mode.
        boundary: what is known, and the grid of the output.
        mode: see above.
        length: correlation length of the kernel to begin with, as a fraction of an axis; None for
            what the lift begins with.
        oddities: of mode "reference"; None for those published.
        rngs: for the targets of mode "layers".

    Source: Saad et al., "Guiding continuous operator learning through physics-based boundary
    constraints", ICLR 2023, for the idea and the elimination; its scalar form is the conjugate
    update with the layer's kernel as covariance.
    """

    def __init__(
        self,
        network: nnx.Module,
        boundary: BoundaryConditions,
        *,
        mode: str = "features",
        length: float | None = None,
        oddities: ReferenceQuirks | None = None,
        rngs: nnx.Rngs | None = None,
    ):
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}; there are {', '.join(map(repr, MODES))}")
        if mode in ("layers", "reference") and not isinstance(network, FourierOperator):
            raise ValueError(
                f"mode {mode!r} corrects the layers of a FourierOperator; got a "
                f"{type(network).__name__}. Use mode='kernel'"
            )
        self.network, self.boundary, self.mode, self.length = network, boundary, mode, length
        self.oddities = (
            ReferenceQuirks.published(len(boundary.grid)) if oddities is None else oddities
        )
        self.kernel = KernelLift(boundary, length=length) if mode in ("kernel", "layers") else None
        self.last = (
            FeatureLift(network.projection, boundary, length=length) if mode == "features" else None
        )
        if mode == "layers":
            rngs = nnx.Rngs(0) if rngs is None else rngs
            self.inside = KernelLift(boundary, length=length)
            self.targets = nnx.List(
                [
                    Targets(len(boundary.sides), network.width, rngs=rngs)
                    for _ in range(network.depth)
                ]
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What `rebuilt` makes it from."""
        return {
            "base": type(self.network).__name__,
            "network": self.network.settings,
            "grid": {name: points.tolist() for name, points in self.boundary.grid.items()},
            "sides": [dataclasses.asdict(side) for side in self.boundary.sides],
            "mode": self.mode,
            "length": self.length,
            "oddities": dataclasses.asdict(self.oddities),
        }

    def __call__(self, inputs: jax.Array, values: Sequence[ArrayLike | None]) -> jax.Array:
        """Initial state (*space) and one value for each side → the solution, (*grid.shape)."""
        values = self._values(inputs, values)
        rule = self._rule(values)
        features = self._features(inputs, values, rule)
        field = self.network.output(features)
        if self.mode == "none":
            return field
        if self.kernel is not None:
            field = corrected(field, values, self.boundary, self.kernel(self.boundary))
        if self.last is not None:
            field = self.last.corrected(field, features, values, self.boundary)
        # Overwriting: all of the correction in that mode, and in the others what rounding left,
        # which a short spacing makes a slope of.
        field = corrected(field, values, self.boundary, end_lifts(self.boundary))
        return rule.mollify(field) if isinstance(rule, Elimination) else field

    def on(self, grid: Grid) -> BoundaryCorrected:
        """The same weights on another grid."""
        moved = nnx.clone(self)
        moved.boundary = BoundaryConditions(grid, self.boundary.sides)
        return moved

    def belief(
        self, inputs: jax.Array, values: Sequence[ArrayLike | None]
    ) -> tuple[Gaussian, Constraint]:
        """What modes "kernel" and "features" condition, and on what: N(u, K) of the network alone,
        and the boundary's values.

        With "features" there is one belief for each point of the axes without sides (each time), a
        batch of them.
        """
        values = self._values(inputs, values)
        features = self._features(inputs, values, self._rule(values))
        field, boundary = self.network.output(features), self.boundary
        names = tuple(map(str, boundary.sides))
        if self.last is not None:
            belief = self.last.belief(field, features, boundary)
            along = BoundaryConditions(
                Grid(**{boundary.axes[0]: boundary.grid[boundary.axes[0]]}), boundary.sides
            )
            return belief, Constraint(along.functional, values, (None,) * len(names), names)
        if self.kernel is not None:
            return self.kernel.belief(field, boundary), Constraint(
                boundary.functional, values, (None,) * len(names), names
            )
        raise ValueError(
            f"mode {self.mode!r} has no covariance, hence no belief; use mode='features' or "
            "'kernel'"
        )

    def _values(
        self, inputs: jax.Array, values: Sequence[ArrayLike | None]
    ) -> tuple[jax.Array, ...]:
        """Values of every side in full."""
        return tuple(v.astype(inputs.dtype) for v in self.boundary.reconciled(values))

    def _rule(self, values: tuple[jax.Array, ...]) -> LayerRule | None:
        """What stands in place of a layer's sum and activation; None where the mode leaves the
        layers alone.
        """
        if self.mode == "reference":
            return Elimination(self.boundary, values, self.oddities)
        if self.mode == "layers":
            return LayerTargets(
                self.boundary, values, tuple(self.targets), self.inside(self.boundary)
            )
        return None

    def _features(
        self, inputs: jax.Array, values: tuple[jax.Array, ...], rule: LayerRule | None
    ) -> jax.Array:
        """The network's last hidden layer."""
        given = values if self.network.sides else ()
        call = {"axes": tuple(side.axis for side in self.boundary.sides) if given else ()}
        call |= {} if rule is None else {"rule": rule}
        return self.network.features(inputs, self.boundary.grid, given, **call)


def rebuilt(
    *,
    base: str,
    network: dict,
    grid: dict,
    sides: tuple,
    oddities: dict,
    rngs: nnx.Rngs,
    **settings,
) -> BoundaryCorrected:
    """A `BoundaryCorrected` from its `settings`, with random weights."""
    boundary = BoundaryConditions(Grid(**grid), tuple(BoundaryCondition(**side) for side in sides))
    own = BASES[base](**network, rngs=rngs)
    return BoundaryCorrected(
        own, boundary, **settings, oddities=ReferenceQuirks(**oddities), rngs=rngs
    )
