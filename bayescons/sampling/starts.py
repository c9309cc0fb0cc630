"""Starts: where chains begin - as drawn, or from an approximation of the posterior fitted first."""

from __future__ import annotations

from collections.abc import Callable

import jax

from bayescons.sampling.methods import Method
from bayescons.sampling.targets import Target

STARTS = (None, "pathfinder", "svi")
FITTING = 1000  # gradient steps of the guide of "svi"


def starts(target: Target, method: Method, keys: jax.Array) -> dict:
    """A start z for every key, leading axis the chain.

    "pathfinder": a draw from the best of the normal approximations met on the way to a mode (Zhang,
    Carpenter, Gelman & Vehtari, JMLR 23, 2022), one way for each chain, so that chains still come
    from different places. "svi": draws from one mean-field normal guide, fitted by BlackJAX with
    Adam; all chains then start from the same neighbourhood, and R-hat is blind to what lies
    elsewhere.
    """
    if method.start is None:
        return target.starts
    return (_pathfinder if method.start == "pathfinder" else _svi)(
        target.log_density, target.starts, keys
    )


def _pathfinder(log_density: Callable, begun: dict, keys: jax.Array) -> dict:
    import blackjax

    def one(key, z):
        key_path, key_draw = jax.random.split(key)
        state, _ = blackjax.pathfinder.approximate(key_path, log_density, z)
        draw, _ = blackjax.pathfinder.sample(key_draw, state, 1)
        return jax.tree.map(lambda values: values[0], draw)

    return jax.vmap(one)(keys, begun)


def _svi(log_density: Callable, begun: dict, keys: jax.Array) -> dict:
    import blackjax
    import optax

    guide = blackjax.meanfield_vi(log_density, optax.adam(0.02), num_samples=8)
    steps = jax.random.split(jax.random.fold_in(keys[0], 1), FITTING)
    first = guide.init(jax.tree.map(lambda z: z[0], begun))
    state, _ = jax.lax.scan(lambda state, key: (guide.step(key, state)[0], None), first, steps)
    draws = jax.vmap(lambda key: guide.sample(key, state, 1))(keys)
    return jax.tree.map(lambda values: values[:, 0], draws)
