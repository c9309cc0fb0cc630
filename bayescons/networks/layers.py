"""The pieces networks are made of: linear maps initialised as published, dropout by an explicit
key, and attention.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.random import threefry_2x32

from bayescons.refusals import RefusedValue

# keeps the variance of activations through a rectifier (He et al., ICCV 2015)
RELU_GAIN = math.sqrt(2.0)


def linear(
    fan_in: int, fan_out: int, *, gain: float = 1.0, bias: bool = True, rngs: nnx.Rngs
) -> nnx.Linear:
    """x ↦ x W + b with W uniform of variance 2 gain² / (fan_in + fan_out) (Glorot) and b uniform on
    ±1/√fan_in.
    """
    bound = 1 / math.sqrt(fan_in)
    return nnx.Linear(
        fan_in,
        fan_out,
        use_bias=bias,
        kernel_init=nnx.initializers.variance_scaling(gain**2, "fan_avg", "uniform"),
        bias_init=lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound),
        rngs=rngs,
    )


def dropout(values: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Values with a share `rate` of them set to zero and the rest scaled up to the same mean;
    without a key, as they are.

    A network drops out only where it is handed a key, so a prediction cannot do so by accident. The
    share is a multiple of 2⁻¹⁶: on a processor random numbers are most of what dropout costs, so
    two values share a word, and both words of a Threefry block are used.
    """
    if key is None or rate == 0:
        return values
    words = threefry_2x32(
        jax.random.bits(key, (2,), jnp.uint32),
        jnp.arange(math.ceil(values.size / 2), dtype=jnp.uint32),
    )
    halves = (
        jax.lax.bitcast_convert_type(words, jnp.uint16)
        .reshape(-1)[: values.size]
        .reshape(values.shape)
    )
    threshold = round(rate * 2**16)
    return jnp.where(halves >= threshold, values / (1 - threshold / 2**16), jnp.zeros_like(values))


@dataclasses.dataclass(frozen=True)
class EmbeddedRows:
    """Rows x E + e of few numbers x, not multiplied out: a product with W acts on the few numbers,
    (x E + e) W = x (E W) + e W.

    It stands in for an array of shape (n, width) before `@` and `+`, at a fraction of the work: a
    quarter of a neural process's products are of such rows.

    Attributes:
        numbers: x, shape (n, few).
        layer: E and e, from few channels to many.
    """

    numbers: jax.Array
    layer: nnx.Linear

    def __matmul__(self, kernel: jax.Array) -> jax.Array:
        """Shape (n, channels), for a kernel of shape (width, channels)."""
        return (
            self.numbers @ (self.layer.kernel[...] @ kernel) + (self.layer.bias[...] @ kernel)[None]
        )

    def __add__(self, other: jax.Array) -> jax.Array:
        """Shape (n, width)."""
        return self.layer(self.numbers) + other


class Attention(nnx.Module):
    """Multi-head attention of n queries to m keys, with a residual and layer normalisation.

        a = softmax(Q K'/√d) V  per head,    y = LayerNorm(q + Linear[q, a])

    Q, K, V are linear maps of the queries, keys and values without bias; each of the heads takes d
    = width/heads of their channels.

    Args:
        width: channels of queries, keys, values and output.
        heads: number of heads, a divisor of the width.
        rate: dropout, of the attention weights and of the output.

    Source: Vaswani et al., NeurIPS 2017; this arrangement (the queries concatenated to what was
    attended to) is that of Kim et al., "Attentive neural processes", ICLR 2019.
    """

    def __init__(self, width: int, heads: int, *, rate: float, rngs: nnx.Rngs):
        if width % heads:
            raise RefusedValue(
                f"the width must be a multiple of the number of heads; got width={width}, "
                f"heads={heads}"
            )
        self.heads, self.rate = heads, rate
        self.query = linear(width, width, bias=False, rngs=rngs)
        self.key = linear(width, width, bias=False, rngs=rngs)
        self.value = linear(width, width, bias=False, rngs=rngs)
        self.merge = linear(2 * width, width, rngs=rngs)
        self.normalise = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)

    def __call__(
        self,
        queries: jax.Array | EmbeddedRows,
        keys: jax.Array | EmbeddedRows,
        values: jax.Array | EmbeddedRows,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Queries (n, width), keys and values (m, width) → (n, width); drops out with a key."""
        key_weights, key_output = (None, None) if key is None else jax.random.split(key)
        inputs = ((self.query, queries), (self.key, keys), (self.value, values))
        q, k, v = (self._by_head(rows @ layer.kernel[...]) for layer, rows in inputs)
        scores = jnp.einsum("qhd,khd->hqk", q / math.sqrt(q.shape[-1]), k)
        weights = dropout(jax.nn.softmax(scores), self.rate, key_weights)
        attended = jnp.einsum("hqk,khd->qhd", weights, v).reshape(len(q), -1)
        of_queries, of_attended = jnp.split(self.merge.kernel[...], 2)
        merged = queries @ of_queries + attended @ of_attended + self.merge.bias[...][None]
        return self.normalise(queries + dropout(merged, self.rate, key_output))

    def _by_head(self, values: jax.Array) -> jax.Array:
        return values.reshape(len(values), self.heads, -1)
