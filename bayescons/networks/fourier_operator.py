"""The Fourier neural operator: from an initial state to the solution, over one, two or three axes,
on any grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bayescons.grids import Grid
from bayescons.networks.layer_rules import LayerRule, PlainLayers
from bayescons.networks.layers import linear
from bayescons.networks.operator_network import TIME
from bayescons.networks.spectral import SpectralConv, spectrum
from bayescons.refusals import RefusedValue


class FourierOperator(nnx.Module):
    """Initial state a(x), coordinates, boundary values → u: a Fourier neural operator (FNO).

        v₀ = P [a, coordinates, values]
        v_j = GELU(K_j v_{j-1} + W_j v_{j-1} + b_j)
        u = Q GELU(Q' v_depth + q')

    No activation follows the last K, and every layer takes part (in the published one-dimensional
    code the last does not). Written for one function; batch it with `jax.vmap`. Its weights do not
    depend on the grid: halving the spacing changes the output by O(h²), by O(h) without padding.

    Args:
        modes: for each axis, the last halved (see `networks.spectral.spectrum`).
        width: channels.
        depth: layers.
        padding: by which fraction of its length the period exceeds an axis, one number or one for
            each axis. 0 is for periodic axes alone: their coordinate enters as cosine and sine, so
            that both ends are one point. None is the plain discrete transform, as published.
        channels: of the initial state.
        sides: how many boundary values are given as inputs, each a channel, spread along the axis
            at whose end it holds; 0 for none.
        outputs: fields; with one there is no axis for them.
        projection: channels of the last hidden layer.

    Source: Li et al., "Fourier neural operator for parametric partial differential equations", ICLR
    2021; sizes of Saad et al., "Guiding continuous operator learning through physics-based boundary
    constraints", ICLR 2023.
    """

    def __init__(
        self,
        modes: tuple[int, ...],
        width: int = 64,
        *,
        depth: int = 4,
        padding: float | int | tuple[float | int | None, ...] | None = 0.25,
        channels: int = 1,
        sides: int = 0,
        outputs: int = 1,
        projection: int = 128,
        rngs: nnx.Rngs,
    ):
        self.modes, self.width, self.depth, self.padding = modes, width, depth, padding
        self.channels, self.sides, self.outputs, self.projection = (
            channels,
            sides,
            outputs,
            projection,
        )
        coordinates = sum(2 if p == 0 else 1 for p in self.paddings)
        self.lift = linear(channels + sides + coordinates, width, rngs=rngs)
        self.convs = nnx.List(
            [SpectralConv(width, width, modes=modes, rngs=rngs) for _ in range(depth)]
        )
        self.points = nnx.List([linear(width, width, rngs=rngs) for _ in range(depth)])
        self.hidden = linear(width, projection, rngs=rngs)
        self.head = linear(projection, outputs, rngs=rngs)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments it was made with, but for the random numbers."""
        return {
            "modes": self.modes,
            "width": self.width,
            "depth": self.depth,
            "padding": self.padding,
            "channels": self.channels,
            "sides": self.sides,
            "outputs": self.outputs,
            "projection": self.projection,
        }

    @property
    def paddings(self) -> tuple[float | int | None, ...]:
        """One for each axis."""
        return (
            self.padding if isinstance(self.padding, tuple) else (self.padding,) * len(self.modes)
        )

    def __call__(
        self,
        inputs: jax.Array,
        grid: Grid,
        values: Sequence[jax.Array] = (),
        *,
        axes: Sequence[str] = (),
        rule: LayerRule | None = None,
    ) -> jax.Array:
        """The solution on the grid, (*grid.shape) or (*grid.shape, outputs).

        Args:
            inputs: initial state on the grid or on its axes of space, with an axis of channels
                where there are several.
            grid: where the solution is wanted, one axis for each of `modes`.
            values: boundary values, one for each of `sides`, of the shape of the other axes (see
                `BoundaryConditions.arrays`).
            axes: for each of them the axis at whose end it holds.
            rule: what takes the place of each layer's sum and activation; None for neither.
        """
        return self.output(self.features(inputs, grid, values, axes=axes, rule=rule))

    def output(self, features: jax.Array) -> jax.Array:
        """The linear map from the last hidden layer to the solution."""
        out = self.head(features)
        return out[..., 0] if self.outputs == 1 else out

    def features(
        self,
        inputs: jax.Array,
        grid: Grid,
        values: Sequence[jax.Array] = (),
        *,
        axes: Sequence[str] = (),
        rule: LayerRule | None = None,
    ) -> jax.Array:
        """The last hidden layer, (*grid.shape, projection), of which the output is a linear map
        (`head`).
        """
        rule = PlainLayers() if rule is None else rule
        hidden = self.lift(self._channels(inputs, grid, values, axes))
        series = spectrum(grid, self.modes, self.paddings)
        for index, (conv, point) in enumerate(zip(self.convs, self.points, strict=True)):
            hidden = rule.combine(index, conv, point, hidden, series)
            if index < self.depth - 1:
                hidden = rule.activate(hidden)
        return rule.activate(self.hidden(hidden))

    def _channels(
        self, inputs: jax.Array, grid: Grid, values: Sequence[jax.Array], axes: Sequence[str]
    ) -> jax.Array:
        """State, boundary values and coordinates side by side, (*grid.shape, channels)."""
        if len(grid) != len(self.modes):
            raise RefusedValue(
                f"the network has modes {self.modes}, one for each axis; the grid has axes "
                f"{', '.join(grid.names)}"
            )
        if len(values) != self.sides:
            raise RefusedValue(
                f"the network was made for {self.sides} boundary values as inputs "
                f"(sides={self.sides}); got {len(values)}"
            )
        dtype = inputs.dtype
        parts = [_spread(_state(inputs, grid, self.channels), (*grid.shape, self.channels))]
        for value, name in zip(values, axes, strict=True):
            parts.append(
                _spread(jnp.expand_dims(value.astype(dtype), grid.axis(name)), grid.shape)[
                    ..., None
                ]
            )
        for (name, points), padding in zip(grid.items(), self.paddings, strict=True):
            place = (points - points[0]) / np.ptp(points)
            columns = (
                [np.cos(2 * np.pi * place), np.sin(2 * np.pi * place)] if padding == 0 else [place]
            )
            for column in columns:
                along = [i for i in range(len(grid)) if i != grid.axis(name)]
                parts.append(
                    _spread(jnp.expand_dims(jnp.asarray(column, dtype), along), grid.shape)[
                        ..., None
                    ]
                )
        return jnp.concatenate(parts, axis=-1)


def _state(inputs: jax.Array, grid: Grid, channels: int) -> jax.Array:
    """The initial state with its channels last and, on a grid with time, an axis of one for it."""
    space = tuple(len(points) for name, points in grid.items() if name != TIME)
    shape = inputs.shape if channels == 1 else inputs.shape[:-1]
    if shape not in (space, grid.shape) or (channels > 1 and inputs.shape[-1] != channels):
        beside = "" if channels == 1 else f", with {channels} channels behind"
        either = f"{space} or {grid.shape}" if space != grid.shape else f"{space}"
        raise RefusedValue(
            f"an initial state on {grid} has shape {either}{beside}; got {inputs.shape}. Batch it "
            "with jax.vmap"
        )
    inputs = inputs if channels > 1 else inputs[..., None]
    return inputs if shape == grid.shape else jnp.expand_dims(inputs, grid.axis(TIME))


def _spread(array: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jnp.broadcast_to(array, shape)
