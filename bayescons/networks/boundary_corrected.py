"""Networks whose output has its boundary values exactly: an operator network and a correction,
trained together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import nnx
from jax.typing import ArrayLike

from bayescons.functionals.boundary_conditions import BoundaryCondition, BoundaryConditions
from bayescons.gaussians.conditioning import Constraint
from bayescons.gaussians.gaussian import Gaussian
from bayescons.grids import Grid
from bayescons.networks.corrections import (
    ConjugateCorrection,
    Correction,
    FeatureCorrection,
    Prediction,
    correction_named,
)
from bayescons.networks.deep_operator import DeepOperator
from bayescons.networks.fourier_operator import FourierOperator
from bayescons.networks.layer_rules import LayerRule
from bayescons.refusals import RefusedValue

BASES = {kind.__name__: kind for kind in (FourierOperator, DeepOperator)}


class BoundaryCorrected(nnx.Module):
    """A network, what is known at the boundary, and how the one is made to hold the other.

    Both are trained through the correction. With every correction but `NoCorrection` the output
    holds the values to rounding: 1e-12 in float64 and 1e-6 in float32 of the field's size (slopes
    are rounded by 1/spacing more). Sides that disagree at corners: the one stated later decides.
    Written for one function; batch it with `jax.vmap`.

    Args:
        network: a `FourierOperator`, or another `OperatorNetwork` (not for corrections of the
            layers). With `sides`, it is given the boundary values as inputs too, whatever the
            correction.
        boundary: what is known, and the grid of the output.
        correction: one of `CORRECTIONS`; None is `FeatureCorrection()`.
        rngs: for what the correction learns.

    Source: Saad et al., "Guiding continuous operator learning through physics-based boundary
    constraints", ICLR 2023, for the idea and the elimination; its scalar form is the conjugate
    update with the layer's kernel as covariance.
    """

    def __init__(
        self,
        network: nnx.Module,
        boundary: BoundaryConditions,
        correction: Correction | None = None,
        *,
        rngs: nnx.Rngs | None = None,
    ):
        correction = FeatureCorrection() if correction is None else correction
        if correction.corrects_layers and not isinstance(network, FourierOperator):
            raise RefusedValue(
                f"{type(correction).__name__} corrects the layers of a FourierOperator; got a "
                f"{type(network).__name__}. Write KernelCorrection()"
            )
        self.network, self.boundary, self.correction = network, boundary, correction
        self.lift = correction.lift(network, boundary, rngs=nnx.Rngs(0) if rngs is None else rngs)

    @property
    def settings(self) -> dict[str, Any]:
        """What `from_settings` makes it from."""
        return {
            "base": type(self.network).__name__,
            "network": self.network.settings,
            "grid": self.boundary.grid.settings,
            "sides": [dataclasses.asdict(side) for side in self.boundary.sides],
            "mode": self.correction.name,
            **self.correction.settings,
        }

    @classmethod
    def from_settings(
        cls,
        *,
        base: str,
        network: Mapping[str, Any],
        grid: Mapping[str, Any],
        sides: Sequence[Mapping[str, Any]],
        mode: str,
        rngs: nnx.Rngs,
        **of_correction: Any,
    ) -> BoundaryCorrected:
        """A network of these `settings`, with random weights.

        Args:
            base: name of the network's class.
            network: its arguments.
            grid: settings of the grid.
            sides: arguments of each `BoundaryCondition`.
            mode: name of the correction.
            rngs: for the weights.
            of_correction: settings of the correction.
        """
        boundary = BoundaryConditions(
            Grid.from_settings(grid), tuple(BoundaryCondition(**side) for side in sides)
        )
        correction = correction_named(mode).from_settings(of_correction)
        return cls(BASES[base](**network, rngs=rngs), boundary, correction, rngs=rngs)

    def __call__(self, inputs: jax.Array, values: Sequence[ArrayLike | None]) -> jax.Array:
        """Initial state (*space) and one value for each side → the solution, (*grid.shape)."""
        return self.correction.apply(self.lift, self._predict(inputs, values))

    def on(self, grid: Grid) -> BoundaryCorrected:
        """The same weights on another grid."""
        moved = nnx.clone(self)
        moved.boundary = BoundaryConditions(grid, self.boundary.sides)
        return moved

    def belief(
        self, inputs: jax.Array, values: Sequence[ArrayLike | None]
    ) -> tuple[Gaussian, Constraint]:
        """What a `ConjugateCorrection` conditions, and on what: N(u, K) of the network alone, and
        the boundary's values.

        With `FeatureCorrection` there is one belief for each point of the axes without sides (each
        time), a batch of them.

        Raises:
            ValueError: for a correction without a covariance.
        """
        if not isinstance(self.correction, ConjugateCorrection):
            raise RefusedValue(
                f"{type(self.correction).__name__} has no covariance, hence no belief; take "
                "FeatureCorrection() or KernelCorrection()"
            )
        return self.correction.belief(self.lift, self._predict(inputs, values))

    def _predict(self, inputs: jax.Array, values: Sequence[ArrayLike | None]) -> Prediction:
        """The network's output, its last hidden layer, and the values of every side in full."""
        boundary, network = self.boundary, self.network
        values = tuple(v.astype(inputs.dtype) for v in boundary.reconciled(values))
        rule: LayerRule | None = self.correction.layer_rule(self.lift, boundary, values)
        reads = bool(network.sides)
        axes = tuple(side.axis for side in boundary.sides) if reads else ()
        settings = {"axes": axes} if rule is None else {"axes": axes, "rule": rule}
        features = network.features(inputs, boundary.grid, values if reads else (), **settings)
        return Prediction(network.output(features), features, values, boundary)


def current_array_names(network: nnx.Module, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays of a weight file under the names of today: the first version of bayescons had those of
    a correction elsewhere.
    """
    if not isinstance(network, BoundaryCorrected):
        return dict(arrays)
    renamed = {}
    for name, array in arrays.items():
        for before, now in network.correction.earlier_arrays.items():
            if name.startswith(before):
                name = now + name.removeprefix(before)
                break
        renamed[name] = array
    return renamed
