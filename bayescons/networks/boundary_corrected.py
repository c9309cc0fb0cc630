"""Networks whose output has its boundary values exactly: by the published elimination, by a learned kernel, or by overwriting."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from bayescons.conditioning import Constraint
from bayescons.constraints.sides import Boundary, Side
from bayescons.gaussian import Gaussian
from bayescons.grids import Grid
from bayescons.networks.deep_operator import DeepOperator
from bayescons.networks.elimination import Elimination, Oddities
from bayescons.networks.fourier_operator import TIME, FourierOperator, LayerRule
from bayescons.networks.layers import linear
from bayescons.networks.lifts import KernelLift, corrected, end_lifts
from bayescons.networks.spectral import SpectralConv, Spectrum

MODES = ("none", "overwrite", "kernel", "layers", "reference")
BASES = {kind.__name__: kind for kind in (FourierOperator, DeepOperator)}


class Targets(nnx.Module):
    """Values that hidden channels take at the ends, in each layer an affine map of the boundary's values there."""

    def __init__(self, sides: int, width: int, *, rngs: nnx.Rngs):
        self.maps = nnx.List([linear(1, width, rngs=rngs) for _ in range(sides)])

    def __call__(self, values: Sequence[jax.Array]) -> list[jax.Array]:
        """For each side (*shape) → (*shape, width)."""
        return [own(value[..., None]) for own, value in zip(self.maps, values, strict=True)]


class LayerTargets:
    """The rule of mode "layers": every layer's output is corrected at the ends towards `Targets`, by a lift, before its activation."""

    def __init__(self, boundary: Boundary, values: Sequence[jax.Array], targets: Sequence[Targets], lifts: Sequence[jax.Array]):
        self.boundary, self.values, self.targets, self.lifts = boundary, values, targets, lifts

    def combine(self, index: int, conv: SpectralConv, point: nnx.Linear, hidden: jax.Array, spectrum: Spectrum) -> jax.Array:
        """K v + W v + b, moved to the targets."""
        out = conv(hidden, spectrum) + point(hidden)
        return corrected(out, self.targets[index](self.values), self.boundary, self.lifts)

    def activate(self, hidden: jax.Array) -> jax.Array:
        """GELU."""
        return jax.nn.gelu(hidden, approximate=False)


class BoundaryCorrected(nnx.Module):
    """A network, what is known at the boundary, and how the one is made to hold the other.

    - "none": the network alone.
    - "overwrite": the end nodes of its output are moved to their values (or to where the slope is right).
    - "kernel": u + K G' (G K G')^-1 (b - G u) with a learned stationary K: the mean of `bc.condition` for a belief N(u, K) given the
      boundary. Trained through. The lift is made once for a batch.
    - "layers": each layer as well is moved, by a lift of its own, to hidden values that are learned functions of b; the output as by
      "kernel".
    - "reference": the published elimination in every layer, then overwriting, with the `oddities` of the public code.

    In every mode but "none" the output holds the values to rounding: 1e-12 in float64 and 1e-6 in float32 of the field's size (slopes
    are rounded by 1/spacing more). Sides that disagree at corners: the one stated later decides. Written for one function; batch it with
    `jax.vmap`.

    Args:
        network: a `FourierOperator`, or another network of the same call (not for "layers" and "reference"). With `sides`, it is given
            the boundary values as inputs too, whatever the mode.
        boundary: what is known, and the grid of the output.
        mode: see above.
        length: correlation length of the kernel to begin with, as a fraction of an axis; None for what `KernelLift` takes.
        reach: that of a second lift Λ, by which the values are added to the network's output before it is corrected, (Λ - L) b, as a
            learned function of the distance from the boundary. G Λ = G L, so this changes nothing at the boundary; what is known there
            reaches inwards further than what the network misses there. None for no second lift.
        homogeneous: the network is given the initial state less the lift of its own boundary values, and their lift as a second channel
            (`channels=2`): fields that vanish at the ends suit Fourier modes.
        residual: the network predicts the change of the state, so that what is corrected is the state and that change.
        oddities: of mode "reference"; None for those published.
        rngs: for the targets of mode "layers".

    Source: Saad et al., "Guiding continuous operator learning through physics-based boundary constraints", ICLR 2023, for the idea and the
    elimination; its scalar form is the conjugate update with the layer's kernel as covariance.
    """

    def __init__(
        self,
        network: nnx.Module,
        boundary: Boundary,
        *,
        mode: str = "kernel",
        length: float | None = None,
        reach: float | None = 0.2,
        homogeneous: bool = False,
        residual: bool = False,
        oddities: Oddities | None = None,
        rngs: nnx.Rngs | None = None,
    ):
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}; there are {', '.join(map(repr, MODES))}")
        if mode in ("layers", "reference") and not isinstance(network, FourierOperator):
            raise ValueError(
                f"mode {mode!r} corrects the layers of a FourierOperator; got a {type(network).__name__}. Use mode='kernel'"
            )
        if homogeneous and mode not in ("kernel", "layers"):
            raise ValueError(f"homogeneous=True lifts by the kernel of mode 'kernel' or 'layers'; got mode={mode!r}")
        self.network, self.boundary, self.mode, self.length, self.homogeneous = network, boundary, mode, length, homogeneous
        self.residual, self.reach = residual, reach
        self.oddities = Oddities.published(len(boundary.grid)) if oddities is None else oddities
        kernels = mode in ("kernel", "layers")
        self.lift = KernelLift(boundary, length=length) if kernels else None
        self.extension = KernelLift(boundary, length=reach) if kernels and reach is not None else None
        if mode == "layers":
            rngs = nnx.Rngs(0) if rngs is None else rngs
            self.layer_lift = KernelLift(boundary, length=0.1 if reach is None else reach)
            self.targets = nnx.List([Targets(len(boundary.sides), network.width, rngs=rngs) for _ in range(network.depth)])

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
            "reach": self.reach,
            "homogeneous": self.homogeneous,
            "residual": self.residual,
            "oddities": dataclasses.asdict(self.oddities),
        }

    def __call__(self, inputs: jax.Array, values: Sequence[ArrayLike | None]) -> jax.Array:
        """Initial state (*space) and one value for each side → the solution, (*grid.shape)."""
        values, rule, lifts = self._given(inputs, values)
        field = self._predicted(inputs, values, rule, lifts)
        if self.mode == "none":
            return field
        if lifts is not None:
            field = corrected(field, values, self.boundary, lifts)
        # Overwriting: all of the correction in that mode, and in the others what rounding left, which a short spacing makes a slope of.
        field = corrected(field, values, self.boundary, end_lifts(self.boundary))
        return rule.mollify(field) if isinstance(rule, Elimination) else field

    def on(self, grid: Grid) -> BoundaryCorrected:
        """The same weights on another grid."""
        moved = nnx.clone(self)
        moved.boundary = Boundary(grid, self.boundary.sides)
        return moved

    def belief(self, inputs: jax.Array, values: Sequence[ArrayLike | None]) -> tuple[Gaussian, Constraint]:
        """What mode "kernel" conditions, and on what: N(u, K) of the network alone and its kernel, and the boundary's values."""
        if self.lift is None:
            raise ValueError(f"mode {self.mode!r} has no kernel, hence no belief; use mode='kernel'")
        values, rule, lifts = self._given(inputs, values)
        field = self._predicted(inputs, values, rule, lifts)
        names = tuple(map(str, self.boundary.sides))
        constraint = Constraint(self.boundary.functional, values, (None,) * len(names), names)
        return self.lift.belief(field, self.boundary), constraint

    def _given(self, inputs: jax.Array, values: Sequence[ArrayLike | None]) -> tuple:
        """Values of every side in full, the rule of the layers, and the lifts of the output; both None where the mode has none."""
        values = tuple(v.astype(inputs.dtype) for v in self.boundary.reconciled(values))
        lifts = None if self.lift is None else self.lift(self.boundary)
        if self.mode == "reference":
            return values, Elimination(self.boundary, values, self.oddities), lifts
        if self.mode == "layers":
            return values, LayerTargets(self.boundary, values, tuple(self.targets), self.layer_lift(self.boundary)), lifts
        return values, None, lifts

    def _predicted(self, inputs: jax.Array, values: tuple[jax.Array, ...], rule: LayerRule | None, lifts) -> jax.Array:
        """The field before its correction."""
        grid, given = self.boundary.grid, values if self.network.sides else ()
        call = {"axes": tuple(side.axis for side in self.boundary.sides) if given else ()}
        call |= {} if rule is None else {"rule": rule}
        field = self.network(self._lifted(inputs, lifts), grid, given, **call)
        if self.residual:
            state = inputs if inputs.shape == grid.shape else jnp.expand_dims(inputs, grid.axis(TIME))
            field = field + jnp.broadcast_to(state, grid.shape)
        if self.reach is not None and lifts is not None:
            zero = jnp.zeros(grid.shape, field.dtype)
            near, far = (corrected(zero, values, self.boundary, own) for own in (lifts, self.extension(self.boundary)))
            field = field + far - near
        return field

    def _lifted(self, inputs: jax.Array, lifts) -> jax.Array:
        """The state with zero boundary values and the lift of its own, side by side, where `homogeneous`; the state otherwise."""
        if not self.homogeneous:
            return inputs
        space = self._space
        zeros = [jnp.zeros(shape, inputs.dtype) for shape in space.shapes]
        rest = corrected(inputs, zeros, space, lifts)
        return jnp.stack([rest, inputs - rest], axis=-1)

    @property
    def _space(self) -> Boundary:
        grid = self.boundary.grid
        return Boundary(Grid(**{name: points for name, points in grid.items() if name != TIME}), self.boundary.sides)


def rebuilt(*, base: str, network: dict, grid: dict, sides: tuple, oddities: dict, rngs: nnx.Rngs, **settings) -> BoundaryCorrected:
    """A `BoundaryCorrected` from its `settings`, with random weights."""
    boundary = Boundary(Grid(**grid), tuple(Side(**side) for side in sides))
    own = BASES[base](**network, rngs=rngs)
    return BoundaryCorrected(own, boundary, **settings, oddities=Oddities(**oddities), rngs=rngs)
