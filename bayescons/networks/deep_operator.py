"""The deep operator network: a sum of functions of the place, weighted by functions of the initial
state and of the boundary's values.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bayescons.grids import Grid
from bayescons.networks.layers import RELU_GAIN, linear
from bayescons.networks.operator_network import TIME
from bayescons.refusals import RefusedValue


class Perceptron(nnx.Module):
    """Layers of one width with GELU between them."""

    def __init__(self, inputs: int, width: int, outputs: int, *, depth: int, rngs: nnx.Rngs):
        sizes = (inputs, *(width,) * depth)
        self.hidden = nnx.List(
            [linear(a, b, gain=RELU_GAIN, rngs=rngs) for a, b in itertools.pairwise(sizes)]
        )
        self.output = linear(width, outputs, rngs=rngs)

    def __call__(self, rows: jax.Array) -> jax.Array:
        """(..., inputs) → (..., outputs)."""
        for layer in self.hidden:
            rows = jax.nn.gelu(layer(rows), approximate=False)
        return self.output(rows)


class DeepOperator(nnx.Module):
    """u(x) = Σ_k b_k(state, values) τ_k(x) + c: a DeepONet, with the call of a `FourierOperator`.

    The branch b reads the state, and the boundary's values, at `sensors` evenly spaced points of
    each axis (by linear interpolation, so that any grid will do); the trunk τ reads coordinates
    scaled to [-1, 1]. Written for one function; batch it with `jax.vmap`, which evaluates the trunk
    once.

    Args:
        axes: of the grid, in its order, such as ("t", "x").
        sensors: points of an axis at which state and values are read.
        width: channels of branch and trunk, and the number of products that are summed.
        depth: hidden layers of each.
        against: for each boundary value that is given as an input, the axis at whose end it holds;
            empty for none.

    Where it fails: fronts that move, as every linear space of functions of the place does.

    Source: Lu et al., "Learning nonlinear operators via DeepONet based on the universal
    approximation theorem of operators", Nature Machine Intelligence 3 (2021).
    """

    def __init__(
        self,
        axes: tuple[str, ...],
        *,
        sensors: int = 33,
        width: int = 128,
        depth: int = 3,
        against: tuple[str, ...] = (),
        rngs: nnx.Rngs,
    ):
        self.axes, self.sensors, self.width, self.depth, self.against = (
            axes,
            sensors,
            width,
            depth,
            against,
        )
        space = sum(name != TIME for name in axes)
        read = sensors**space + len(against) * sensors ** (len(axes) - 1)
        self.branch = Perceptron(read, width, width, depth=depth, rngs=rngs)
        self.trunk = Perceptron(len(axes), width, width, depth=depth, rngs=rngs)
        self.offset = nnx.Param(jnp.zeros(()))

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments it was made with, but for the random numbers."""
        return {
            "axes": self.axes,
            "sensors": self.sensors,
            "width": self.width,
            "depth": self.depth,
            "against": self.against,
        }

    @property
    def sides(self) -> int:
        """Number of boundary values that are inputs."""
        return len(self.against)

    @property
    def projection(self) -> int:
        """Channels of the last hidden layer: the products."""
        return self.width

    def __call__(
        self,
        inputs: jax.Array,
        grid: Grid,
        values: Sequence[jax.Array] = (),
        *,
        axes: Sequence[str] = (),
    ) -> jax.Array:
        """Initial state on the axes of space, boundary values on the others → the solution on the
        grid.
        """
        return self.output(self.features(inputs, grid, values, axes=axes))

    def output(self, features: jax.Array) -> jax.Array:
        """The sum of the products, and c."""
        return jnp.mean(features, axis=-1) + self.offset[...]

    def features(
        self,
        inputs: jax.Array,
        grid: Grid,
        values: Sequence[jax.Array] = (),
        *,
        axes: Sequence[str] = (),
    ) -> jax.Array:
        """The products b_k τ_k, (*grid.shape, width)."""
        if grid.names != self.axes or tuple(axes) != self.against:
            raise RefusedValue(
                f"the network was made for axes {self.axes} with values at ends of {self.against}; "
                f"got a grid of {grid.names} with values at ends of {tuple(axes)}"
            )
        space = tuple(name for name in grid.names if name != TIME)
        if inputs.shape != tuple(len(grid[name]) for name in space):
            expected = tuple(len(grid[name]) for name in space)
            raise RefusedValue(
                f"an initial state on {grid} has shape {expected}; got {inputs.shape}. Batch it "
                "with jax.vmap"
            )
        read = [self._read(inputs, grid, space)]
        for value, end in zip(values, axes, strict=True):
            read.append(
                self._read(
                    value.astype(inputs.dtype),
                    grid,
                    tuple(name for name in grid.names if name != end),
                )
            )
        places = [2 * (points - points[0]) / np.ptp(points) - 1 for points in grid.values()]
        mesh = jnp.asarray(np.stack(np.meshgrid(*places, indexing="ij"), axis=-1), inputs.dtype)
        return self.trunk(mesh) * self.branch(jnp.concatenate(read)).reshape(
            (1,) * len(self.axes) + (-1,)
        )

    def _read(self, array: jax.Array, grid: Grid, names: tuple[str, ...]) -> jax.Array:
        """An array over some axes at the sensors, as one vector."""
        for axis, name in enumerate(names):
            points = grid[name]
            at = np.linspace(points[0], points[-1], self.sensors)
            weights = np.stack(
                [np.interp(at, points, unit) for unit in np.eye(len(points))], axis=1
            )
            array = jnp.moveaxis(
                jnp.tensordot(jnp.asarray(weights, array.dtype), array, ((1,), (axis,))), 0, axis
            )
        return array.reshape(-1)
