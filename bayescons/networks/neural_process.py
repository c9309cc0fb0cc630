"""The attentive neural process: a network that turns readings of a field into a belief about it,
with a latent for what they share.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from bayescons.descriptions import tabulated
from bayescons.networks.layers import RELU_GAIN, Attention, EmbeddedRows, linear

LEAST_SCALE = 1e-3  # of the predicted standard deviation, in the unit of the field

Box = tuple[tuple[float, float], tuple[float, float]]
"""Lower and upper corner of a domain, ((t₀, x₀), (t₁, x₁))."""


@tabulated("Normal distributions, point by point")
class Normal(NamedTuple):
    """Independent normal variables.

    Attributes:
        mean: any shape.
        scale: standard deviations, the same shape.
    """

    mean: jax.Array
    scale: jax.Array


class LatentPath(nnx.Module):
    """Readings → q(z | readings) = N(mean, diag scale²): what all points share.

    Each reading (t, x, u) is embedded, the readings attend to each other twice, and their average
    gives mean and log variance.
    """

    def __init__(self, width: int, heads: int, *, rate: float, rngs: nnx.Rngs):
        self.embed = linear(3, width, rngs=rngs)
        self.attention = nnx.List([Attention(width, heads, rate=rate, rngs=rngs) for _ in range(2)])
        self.hidden = linear(width, width, gain=RELU_GAIN, rngs=rngs)
        self.mean = linear(width, width, rngs=rngs)
        self.log_variance = linear(width, width, rngs=rngs)

    def __call__(
        self, inputs: jax.Array, values: jax.Array, key: jax.Array | None = None
    ) -> Normal:
        """Inputs (n, 2), values (n,) → mean and scale of shape (width,)."""
        readings = EmbeddedRows(_append_values(inputs, values), self.embed)
        for attend, k in zip(self.attention, _split_key(key, 2), strict=True):
            readings = attend(readings, readings, readings, k)
        hidden = jax.nn.relu(self.hidden(jnp.mean(readings, axis=0)))
        return Normal(self.mean(hidden), jnp.exp(self.log_variance(hidden) / 2))


class DeterministicPath(nnx.Module):
    """Readings and points → r, what the readings near a point say of it.

    Each reading is embedded, the readings attend to each other twice, and each point attends to
    them twice: queries are of the points, keys of where the readings are, values of the readings.
    """

    def __init__(self, width: int, heads: int, *, rate: float, rngs: nnx.Rngs):
        self.embed = linear(3, width, rngs=rngs)
        self.attention = nnx.List([Attention(width, heads, rate=rate, rngs=rngs) for _ in range(2)])
        self.query = linear(2, width, rngs=rngs)
        self.where = linear(2, width, rngs=rngs)
        self.cross = nnx.List([Attention(width, heads, rate=rate, rngs=rngs) for _ in range(2)])

    def __call__(
        self, inputs: jax.Array, values: jax.Array, points: jax.Array, key: jax.Array | None = None
    ) -> jax.Array:
        """Inputs (n, 2), values (n,), points (m, 2) → (m, width)."""
        keys = _split_key(key, 4)
        readings = EmbeddedRows(_append_values(inputs, values), self.embed)
        for attend, k in zip(self.attention, keys[:2], strict=True):
            readings = attend(readings, readings, readings, k)
        queries, where = EmbeddedRows(points, self.query), EmbeddedRows(inputs, self.where)
        for attend, k in zip(self.cross, keys[2:], strict=True):
            queries = attend(queries, where, readings, k)
        return queries


class Decoder(nnx.Module):
    """What is known at a point, r, of the function, z, and the point itself → N(μ, σ²), σ =
    softplus(raw) + 1e-3.

    Three hidden layers of `sum of the sizes` channels with rectifiers. Without a latent,
    `latent=0`.
    """

    def __init__(self, width: int, *, latent: int, rngs: nnx.Rngs):
        size = 2 * width + latent
        self.split = (width, width + latent)
        self.embed = linear(2, width, rngs=rngs)
        self.hidden = nnx.List([linear(size, size, gain=RELU_GAIN, rngs=rngs) for _ in range(3)])
        self.output = linear(size, 2, rngs=rngs)

    def __call__(self, representation: jax.Array, z: jax.Array, points: jax.Array) -> Normal:
        """r (m, width), z (latent,), points (m, 2) → mean and scale of shape (m,)."""
        first, *others = self.hidden
        # The first layer acts on [r, z, x], but z is one vector for all points: its share is
        # computed once, and under a `vmap` over z the points' share is.
        of_r, of_z, of_x = jnp.split(first.kernel[...], self.split)
        hidden = jax.nn.relu(
            representation @ of_r
            + EmbeddedRows(points, self.embed) @ of_x
            + (z @ of_z + first.bias[...])[None]
        )
        for layer in others:
            hidden = jax.nn.relu(layer(hidden))
        mean, raw = self.output(hidden).T
        return Normal(mean, jax.nn.softplus(raw) + LEAST_SCALE)


class AttentiveNeuralProcess(nnx.Module):
    """Readings (x_c, y_c) of a field, a latent z and points x → u(x) ~ N(μ, σ²), independent given
    z.

        z ~ q(z | readings) = N(μ_z, diag σ_z²)        latent path: what all points share
        r = cross-attention from points to readings    deterministic path: what is near each point
        μ, raw = decoder[r, z, x],    σ = softplus(raw) + 1e-3

    With width 128 there are 989,826 parameters. It is written for one function, shapes (n, 2) and
    (n,); batch it with `jax.vmap`. Weights are float32, and inputs are taken to be. It drops out
    only where a `key` is given.

    Args:
        width: channels, and the size of z.
        heads: of the attention, a divisor of the width.
        rate: dropout.
        box: corners of the domain: inputs are mapped from it to [-1, 1]². None leaves them as they
            are, which is what was published; a domain as small as t ∈ [0, 0.1] then takes long to
            learn.

    Where it fails: far outside the parameters it was trained on its σ is too small. A front is
    smeared over a few hundredths of the domain unless trained for long.

    Source: Kim et al., "Attentive neural processes", ICLR 2019 (a latent *and* attention: the one
    for global uncertainty, the other for accuracy at the readings), as set up by Hansen et al.,
    ICML 2023 (arXiv 2302.11002).
    """

    def __init__(
        self,
        *,
        width: int = 128,
        heads: int = 4,
        rate: float = 0.1,
        box: Box | None = None,
        rngs: nnx.Rngs,
    ):
        self.width, self.heads, self.rate, self.box = width, heads, rate, box
        self.latent_path = LatentPath(width, heads, rate=rate, rngs=rngs)
        self.deterministic_path = DeterministicPath(width, heads, rate=rate, rngs=rngs)
        self.decoder = Decoder(width, latent=width, rngs=rngs)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments it was made with, but for the random numbers."""
        return {"width": self.width, "heads": self.heads, "rate": self.rate, "box": self.box}

    def latent(self, inputs: jax.Array, values: jax.Array, key: jax.Array | None = None) -> Normal:
        """q(z | readings): inputs (n, 2) as (t, x), values (n,) → mean and scale of shape
        (width,).
        """
        return self.latent_path(scale_to_box(inputs, self.box), values, key)

    def represent(
        self, inputs: jax.Array, values: jax.Array, points: jax.Array, key: jax.Array | None = None
    ) -> jax.Array:
        """r: what the readings (n, 2), (n,) say at the points (m, 2) → (m, width). It does not
        depend on z.
        """
        return self.deterministic_path(
            scale_to_box(inputs, self.box), values, scale_to_box(points, self.box), key
        )

    def decode(self, representation: jax.Array, z: jax.Array, points: jax.Array) -> Normal:
        """N(μ, σ²) at the points (m, 2), given r (m, width) and z (width,)."""
        return self.decoder(representation, z, scale_to_box(points, self.box))


def scale_to_box(points: jax.Array, box: Box | None) -> jax.Array:
    """Points (m, 2) of a box mapped to [-1, 1]², or left as they are; float32."""
    if box is None:
        return points.astype(jnp.float32)
    lower, upper = (jnp.asarray(corner, points.dtype)[None] for corner in box)
    return (2 * (points - lower) / (upper - lower) - 1).astype(jnp.float32)


def parameter_count(network: Any) -> int:
    """Number of trained numbers in a network."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))


def _append_values(inputs: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.concatenate([inputs, values.astype(inputs.dtype)[:, None]], axis=-1)


def _split_key(key: jax.Array | None, count: int) -> list:
    return [None] * count if key is None else list(jax.random.split(key, count))
