"""Layer rules: what a correction inside a Fourier operator puts in place of a layer's sum and of
its activation.
"""

from __future__ import annotations

import abc

import jax
from flax import nnx

from bayescons.networks.spectral import SpectralConv, Spectrum


class LayerRule(abc.ABC):
    """How the layers of a `FourierOperator` are put together, for the values of one function."""

    @abc.abstractmethod
    def combine(
        self,
        index: int,
        conv: SpectralConv,
        point: nnx.Linear,
        hidden: jax.Array,
        spectrum: Spectrum,
    ) -> jax.Array:
        """Layer `index`, before its activation: (*points, width) → (*points, width)."""

    @abc.abstractmethod
    def activate(self, hidden: jax.Array) -> jax.Array:
        """The activation, elementwise: (*points, channels) → (*points, channels)."""


class PlainLayers(LayerRule):
    """The layer as it is: K v + W v + b, and GELU."""

    def combine(
        self,
        index: int,
        conv: SpectralConv,
        point: nnx.Linear,
        hidden: jax.Array,
        spectrum: Spectrum,
    ) -> jax.Array:
        """K v + W v + b."""
        del index
        return conv(hidden, spectrum) + point(hidden)

    def activate(self, hidden: jax.Array) -> jax.Array:
        """x Φ(x), elementwise."""
        return unfused_gelu(hidden)


def unfused_gelu(hidden: jax.Array) -> jax.Array:
    """x Φ(x), elementwise, of a sum that is computed once.

    Without the barrier XLA makes the layer's sum anew in each product that reads it: on a processor
    half as much time again forward.
    """
    return jax.nn.gelu(jax.lax.optimization_barrier(hidden), approximate=False)
