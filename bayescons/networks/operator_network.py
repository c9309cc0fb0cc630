"""What an operator network is: from an initial state, a grid and boundary values to features on the
grid, and from those to the field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax

from bayescons.grids import Grid

TIME = "t"  # the axis along which an initial state is repeated


@runtime_checkable  # for the types that tests check
class OperatorNetwork(Protocol):
    """A network whose output is a linear map of its last hidden layer, the features: what
    `BoundaryCorrected` corrects and `surrogates.operator_belief` doubts.

    Attributes:
        sides: how many boundary values it reads as inputs; 0 for none.
        projection: channels of the features.
        settings: the arguments it was made with, but for the random numbers.
    """

    @property
    def sides(self) -> int:
        """Number of boundary values that are inputs."""
        ...

    @property
    def projection(self) -> int:
        """Channels of the last hidden layer."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments it was made with, but for the random numbers."""
        ...

    def features(
        self,
        inputs: jax.Array,
        grid: Grid,
        values: Sequence[jax.Array] = (),
        *,
        axes: Sequence[str] = (),
    ) -> jax.Array:
        """The last hidden layer, (*grid.shape, projection), given a state (*space), and boundary
        values with the axes at whose ends they hold.
        """
        ...

    def output(self, features: jax.Array) -> jax.Array:
        """The field, (*grid.shape)."""
        ...
