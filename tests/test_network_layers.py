"""Layers do cheaply what they would do at full length: rows not multiplied out, and random numbers
shared between values.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bayescons.networks.layers import Attention, EmbeddedRows, dropout, linear

EPS = float(np.finfo(np.float32).eps)
WIDTH = 8


def rows(count: int, seed: int) -> EmbeddedRows:
    numbers = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    return EmbeddedRows(jnp.asarray(numbers), linear(3, WIDTH, rngs=nnx.Rngs(seed)))


@pytest.mark.parametrize(
    "which", [(0,), (1,), (2,), (0, 1, 2)], ids=["queries", "keys", "values", "all"]
)
@pytest.mark.parametrize("key", [None, jax.random.key(0)], ids=["all kept", "dropping out"])
def test_attention_of_rows_not_multiplied_out_is_that_of_the_rows(which, key):
    attention = Attention(WIDTH, 2, rate=0.3, rngs=nnx.Rngs(0))
    embedded = rows(4, 1), rows(6, 2), rows(6, 3)
    full = [row.layer(row.numbers) for row in embedded]
    mixed = [embedded[i] if i in which else full[i] for i in range(3)]
    np.testing.assert_allclose(
        attention(*mixed, key), attention(*full, key), rtol=0, atol=300 * EPS
    )


@pytest.mark.float32
@pytest.mark.parametrize("shape", [(1,), (3, 5), (4, 2, 6)], ids=str)
def test_every_value_is_dropped_by_a_random_number_of_its_own(shape):
    kept = (
        jax.vmap(lambda key: dropout(jnp.ones(shape), 0.25, key))(
            jax.random.split(jax.random.key(1), 4000)
        )
        > 0
    )
    kept = np.asarray(kept, float).reshape(4000, -1)
    assert np.all(
        np.abs(kept.mean(axis=0) - 0.75) < 5 * math.sqrt(0.25 * 0.75 / 4000)
    )  # five standard errors
    covariance = np.cov(kept.T).reshape(kept.shape[1], -1)
    apart = covariance - np.diag(np.diagonal(covariance))
    assert np.all(np.abs(apart) < 5 * 0.25 * 0.75 / math.sqrt(4000))


@pytest.mark.float32
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.9])
def test_dropout_keeps_the_mean_and_drops_the_share_it_is_told_to_16_bits(rate):
    level = np.max(
        np.asarray(dropout(jnp.ones(200), rate, jax.random.key(0)), float)
    )  # 1 / share kept
    assert abs(1 / level - (1 - rate)) < 2**-17 + 2 * EPS
