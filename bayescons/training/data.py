"""Functions to learn from: batches of contexts and targets of one problem family, drawn afresh at
every step or from a fixed pool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bayescons.descriptions import tabulated
from bayescons.problems.readings import Readings, contexts, targets
from bayescons.refusals import RefusedValue

TIMES, POINTS = 10, 10  # of contexts, and of targets, as published


@tabulated("Functions for training")
class Functions(NamedTuple):
    """A batch of functions of one family.

    Attributes:
        parameter: of the problem, shape (size,).
        contexts: what a network is shown, arrays of shape (size, n).
        targets: what it is asked for, arrays of shape (size, m), each a tensor grid with t slow and
            x fast.
    """

    parameter: jax.Array
    contexts: Readings
    targets: Readings


def functions(
    problem: type[Any],
    key: jax.Array,
    *,
    size: int = 32,
    pool: int | None = None,
    times: int = TIMES,
    points: int = POINTS,
) -> Callable[[jax.Array], Functions]:
    """Step → a batch: parameters uniform on the training range, contexts and targets at random
    points of the exact solution.

    A batch is a function of key and step alone, so that training may stop and go on without
    anything of it being stored. Its arrays are float32, as networks take them.

    Args:
        problem: a class of `bayescons.problems`.
        key: a key of `jax.random.key`.
        size: functions in a batch.
        pool: draw them from so many different functions, in an order shuffled anew each time all
            have been seen; None for new ones at every step. The published networks saw a pool of
            10,000.
        times: of contexts, and of targets.
        points: positions of contexts, and of targets.

    Raises:
        ValueError: for a pool that is not a multiple of the size.
    """
    if pool is not None and (pool < size or pool % size):
        raise RefusedValue(
            f"a pool must hold a whole number of batches; got pool={pool} and size={size}. Write "
            f"pool={max(1, round(pool / size)) * size}, or pool=None for new functions at every "
            "step"
        )
    indices = (
        (lambda step: step * size + jnp.arange(size))
        if pool is None
        else shuffled(key, size=size, pool=pool)
    )

    def one(key):
        key_parameter, key_contexts, key_targets = jax.random.split(key, 3)
        case = problem.sample(key_parameter)
        parameter = jnp.asarray(getattr(case, problem.parameter_name))
        counts = {"times": times, "points": points}
        return Functions(
            parameter, contexts(case, key_contexts, **counts), targets(case, key_targets, **counts)
        )

    def batch(step):
        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(indices(step))
        return jax.tree.map(lambda a: a.astype(jnp.float32), jax.vmap(one)(keys))

    return batch


def shuffled(key: jax.Array, *, size: int, pool: int) -> Callable[[jax.Array], jax.Array]:
    """Step → which members of a pool are in its batch, (size,): all once an epoch, in an order of
    its own.

    Args:
        key: a key of `jax.random.key`.
        size: of a batch, a divisor of the pool.
        pool: number of members.
    """

    def indices(step):
        epoch, place = jnp.divmod(step, pool // size)
        order = jax.random.permutation(
            jax.random.fold_in(jax.random.fold_in(key, pool), epoch), pool
        )
        return jax.lax.dynamic_slice_in_dim(order, place * size, size)

    return indices
