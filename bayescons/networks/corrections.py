"""Corrections: the ways in which a network's output is made to hold what is known at the boundary.

A correction is a value without weights; what it learns is a lift that a `BoundaryCorrected` keeps
beside its network. `CORRECTIONS` has them by name, for weight files, recipes and the command line.
A new one is a class here and a line in that table.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
from flax import nnx

from bayescons.functionals.boundary_conditions import BoundaryConditions
from bayescons.gaussians.conditioning import Constraint
from bayescons.gaussians.gaussian import Gaussian
from bayescons.grids import Grid
from bayescons.networks.elimination import Elimination, ReferenceQuirks
from bayescons.networks.feature_lift import FeatureLift
from bayescons.networks.fourier_operator import FourierOperator
from bayescons.networks.kernel_lift import KernelLift
from bayescons.networks.layer_rules import LayerRule
from bayescons.networks.layer_targets import LayerLift, TargetedLayers
from bayescons.networks.lifts import apply_lifts, overwrite_ends
from bayescons.networks.operator_network import OperatorNetwork
from bayescons.refusals import RefusedValue


class Prediction(NamedTuple):
    """What a network says of one function before a correction of its output, and what is known.

    Attributes:
        field: the network's output, (*grid.shape).
        features: its last hidden layer, (*grid.shape, channels).
        values: of every side in full, `BoundaryConditions.reconciled`.
        boundary: the sides, on the grid of the field.
    """

    field: jax.Array
    features: jax.Array
    values: tuple[jax.Array, ...]
    boundary: BoundaryConditions


class Correction[Lift](abc.ABC):
    """How known boundary values are made to hold in a network's output.

    Attributes:
        name: in weight files, in recipes and on the command line.
        summary: what is said of it in the card of a network.
        corrects_layers: whether it acts inside the network, which then has no output before it.
        earlier_arrays: beginnings of the names of its arrays in weight files of the first version
            of bayescons, and what they are called now.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    corrects_layers: ClassVar[bool] = False
    earlier_arrays: ClassVar[Mapping[str, str]] = {}

    @property
    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """What `from_settings` makes it from, as JSON can hold it."""

    @classmethod
    @abc.abstractmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Correction:
        """The correction of a weight file, whose settings may hold more than its own."""

    @abc.abstractmethod
    def lift(
        self, network: OperatorNetwork, boundary: BoundaryConditions, *, rngs: nnx.Rngs
    ) -> Lift:
        """What it learns beside the network, with first weights; None for nothing."""

    @abc.abstractmethod
    def layer_rule(
        self, lift: Lift, boundary: BoundaryConditions, values: tuple[jax.Array, ...]
    ) -> LayerRule | None:
        """What stands in place of a layer's sum and activation, for one function; None where it
        leaves the layers alone.
        """

    @abc.abstractmethod
    def apply(self, lift: Lift, prediction: Prediction) -> jax.Array:
        """The network's field (*grid.shape), corrected.

        Args:
            lift: that of `lift`, with its weights.
            prediction: of the network, and what is known.
        """


class ConjugateCorrection[Lift](Correction[Lift]):
    """A correction that is the conjugate update of a belief N(u, K)."""

    @abc.abstractmethod
    def belief(self, lift: Lift, prediction: Prediction) -> tuple[Gaussian, Constraint]:
        """N(u, K), and what it is conditioned on; arguments as of `apply`."""


@dataclasses.dataclass(frozen=True)
class NoCorrection(Correction[None]):
    """The network alone."""

    name: ClassVar[str] = "none"
    summary: ClassVar[str] = ""

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> NoCorrection:
        """It has no settings."""
        del settings
        return cls()

    def lift(
        self, network: OperatorNetwork, boundary: BoundaryConditions, *, rngs: nnx.Rngs
    ) -> None:
        """It learns nothing."""

    def layer_rule(
        self, lift: None, boundary: BoundaryConditions, values: tuple[jax.Array, ...]
    ) -> None:
        """Layers as they are."""

    def apply(self, lift: None, prediction: Prediction) -> jax.Array:
        """The field as it is."""
        del lift
        return prediction.field


@dataclasses.dataclass(frozen=True)
class Overwrite(Correction[None]):
    """The end nodes of the output are moved to their values, or to where the slope is right."""

    name: ClassVar[str] = "overwrite"
    summary: ClassVar[str] = "the end nodes of its output are overwritten"

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Overwrite:
        """It has no settings."""
        del settings
        return cls()

    def lift(
        self, network: OperatorNetwork, boundary: BoundaryConditions, *, rngs: nnx.Rngs
    ) -> None:
        """It learns nothing."""

    def layer_rule(
        self, lift: None, boundary: BoundaryConditions, values: tuple[jax.Array, ...]
    ) -> None:
        """Layers as they are."""

    def apply(self, lift: None, prediction: Prediction) -> jax.Array:
        """The field with other end nodes."""
        del lift
        return overwrite_ends(prediction.field, prediction.values, prediction.boundary)


@dataclasses.dataclass(frozen=True)
class FeatureCorrection(ConjugateCorrection[FeatureLift]):
    """u + K G' (G K G')^-1 (b - G u), with K the covariance of the network's last layer, and of a
    smooth rest (`FeatureLift`): each function is corrected in the shapes that the network has made
    for it.

    Attributes:
        length: correlation length of the smooth rest to begin with, as a fraction of an axis; None
            is 0.1.
    """

    length: float | None = None

    name: ClassVar[str] = "features"
    summary: ClassVar[str] = (
        "its output is corrected at the boundary by the covariance of its last layer"
    )
    earlier_arrays: ClassVar[Mapping[str, str]] = {"last.": "lift."}

    @property
    def settings(self) -> dict[str, Any]:
        """Its length."""
        return {"length": self.length}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> FeatureCorrection:
        """With the length of a file."""
        return cls(settings["length"])

    def lift(
        self, network: OperatorNetwork, boundary: BoundaryConditions, *, rngs: nnx.Rngs
    ) -> FeatureLift:
        """Variances of the last layer's weights and of the rest."""
        del rngs
        return FeatureLift(network.projection, boundary, length=self.length)

    def layer_rule(
        self, lift: FeatureLift, boundary: BoundaryConditions, values: tuple[jax.Array, ...]
    ) -> None:
        """Layers as they are."""

    def apply(self, lift: FeatureLift, prediction: Prediction) -> jax.Array:
        """The mean of N(u, K) given the boundary."""
        _, _, values, boundary = prediction
        # Overwriting adds what rounding left, of which a short spacing makes a slope.
        return overwrite_ends(lift.correct(*prediction), values, boundary)

    def belief(self, lift: FeatureLift, prediction: Prediction) -> tuple[Gaussian, Constraint]:
        """N(u, K) for each point of the axes without sides (each time), a batch of beliefs along
        the one axis with sides.
        """
        field, features, values, boundary = prediction
        axis = boundary.axes[0]
        along = BoundaryConditions(Grid(**{axis: boundary.grid.along(axis)}), boundary.sides)
        return lift.belief(field, features, boundary), _known(along, values)


@dataclasses.dataclass(frozen=True)
class KernelCorrection(ConjugateCorrection[KernelLift]):
    """u + K G' (G K G')^-1 (b - G u) with a learned stationary K (`KernelLift`). The lift is made
    once for a batch.

    Attributes:
        length: correlation length to begin with, as a fraction of an axis; None for what
            `KernelLift` begins with.
    """

    length: float | None = None

    name: ClassVar[str] = "kernel"
    summary: ClassVar[str] = "its output is corrected at the boundary by a learned kernel"
    earlier_arrays: ClassVar[Mapping[str, str]] = {"kernel.": "lift."}

    @property
    def settings(self) -> dict[str, Any]:
        """Its length."""
        return {"length": self.length}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> KernelCorrection:
        """With the length of a file."""
        return cls(settings["length"])

    def lift(
        self, network: OperatorNetwork, boundary: BoundaryConditions, *, rngs: nnx.Rngs
    ) -> KernelLift:
        """A kernel along each axis with sides."""
        del network, rngs
        return KernelLift(boundary, length=self.length)

    def layer_rule(
        self, lift: KernelLift, boundary: BoundaryConditions, values: tuple[jax.Array, ...]
    ) -> None:
        """Layers as they are."""

    def apply(self, lift: KernelLift, prediction: Prediction) -> jax.Array:
        """The mean of N(u, K) given the boundary."""
        return _apply_kernel(lift, prediction)

    def belief(self, lift: KernelLift, prediction: Prediction) -> tuple[Gaussian, Constraint]:
        """N(u, K) over the grid, independent along axes without sides."""
        field, _, values, boundary = prediction
        return lift.belief(field, boundary), _known(boundary, values)


@dataclasses.dataclass(frozen=True)
class LayerCorrection(ConjugateCorrection[LayerLift]):
    """Each layer as well is moved, by a lift of its own, to hidden values that are learned
    functions of b; the output as by `KernelCorrection`.

    Attributes:
        length: correlation length of both kernels to begin with, see `KernelCorrection`.
    """

    length: float | None = None

    name: ClassVar[str] = "layers"
    summary: ClassVar[str] = (
        "its layers and its output are corrected at the boundary by learned kernels"
    )
    corrects_layers: ClassVar[bool] = True
    earlier_arrays: ClassVar[Mapping[str, str]] = {
        "kernel.": "lift.kernel.",
        "inside.": "lift.inside.",
        "targets.": "lift.targets.",
    }

    @property
    def settings(self) -> dict[str, Any]:
        """Its length."""
        return {"length": self.length}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> LayerCorrection:
        """With the length of a file."""
        return cls(settings["length"])

    def lift(
        self, network: FourierOperator, boundary: BoundaryConditions, *, rngs: nnx.Rngs
    ) -> LayerLift:
        """Two kernels, and the targets of each layer."""
        return LayerLift(boundary, network.width, network.depth, length=self.length, rngs=rngs)

    def layer_rule(
        self, lift: LayerLift, boundary: BoundaryConditions, values: tuple[jax.Array, ...]
    ) -> TargetedLayers:
        """Layers that are moved to their targets."""
        return TargetedLayers(boundary, values, lift)

    def apply(self, lift: LayerLift, prediction: Prediction) -> jax.Array:
        """The mean of N(u, K) given the boundary, with u the output of the corrected layers."""
        return _apply_kernel(lift.kernel, prediction)

    def belief(self, lift: LayerLift, prediction: Prediction) -> tuple[Gaussian, Constraint]:
        """N(u, K) over the grid, with u the output of the corrected layers."""
        field, _, values, boundary = prediction
        return lift.kernel.belief(field, boundary), _known(boundary, values)


@dataclasses.dataclass(frozen=True)
class ReferenceCorrection(Correction[None]):
    """The published elimination in every layer, then overwriting.

    Attributes:
        quirks: of the public code; None for those published.

    Source: Saad et al., ICLR 2023, see `networks.elimination`.
    """

    quirks: ReferenceQuirks | None = None

    name: ClassVar[str] = "reference"
    summary: ClassVar[str] = "its layers are corrected at the boundary by the published elimination"
    corrects_layers: ClassVar[bool] = True

    @property
    def settings(self) -> dict[str, Any]:
        """Its quirks."""
        return {"quirks": None if self.quirks is None else dataclasses.asdict(self.quirks)}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> ReferenceCorrection:
        """With the quirks of a file, which the first version called oddities."""
        quirks = settings["quirks"] if "quirks" in settings else settings["oddities"]
        return cls(None if quirks is None else ReferenceQuirks(**quirks))

    def lift(
        self, network: FourierOperator, boundary: BoundaryConditions, *, rngs: nnx.Rngs
    ) -> None:
        """It learns nothing."""

    def layer_rule(
        self, lift: None, boundary: BoundaryConditions, values: tuple[jax.Array, ...]
    ) -> Elimination:
        """Layers whose boundary rows are eliminated."""
        del lift
        published = ReferenceQuirks.published(len(boundary.grid))
        return Elimination(boundary, values, published if self.quirks is None else self.quirks)

    def apply(self, lift: None, prediction: Prediction) -> jax.Array:
        """The field with other end nodes, and as the code has it with means beside them."""
        field, _, values, boundary = prediction
        rule = self.layer_rule(lift, boundary, values)
        return rule.mollify(overwrite_ends(field, values, boundary))


CORRECTIONS: dict[str, type[Correction]] = {
    kind.name: kind
    for kind in (
        NoCorrection,
        Overwrite,
        FeatureCorrection,
        KernelCorrection,
        LayerCorrection,
        ReferenceCorrection,
    )
}
"""Corrections by name. Each can be made without arguments."""


def correction_named(name: str) -> type[Correction]:
    """The correction of a name.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in CORRECTIONS:
        names = ", ".join(map(repr, CORRECTIONS))
        raise RefusedValue(f"unknown mode {name!r}; there are {names}")
    return CORRECTIONS[name]


def _apply_kernel(kernel: KernelLift, prediction: Prediction) -> jax.Array:
    """The field corrected by a kernel's lift."""
    field, _, values, boundary = prediction
    field = apply_lifts(field, values, boundary, kernel(boundary))
    # Overwriting adds what rounding left, of which a short spacing makes a slope.
    return overwrite_ends(field, values, boundary)


def _known(boundary: BoundaryConditions, values: tuple[jax.Array, ...]) -> Constraint:
    """The boundary's values, exact, a constraint a side."""
    names = tuple(map(str, boundary.sides))
    return Constraint(boundary.functional, values, (None,) * len(names), names)
