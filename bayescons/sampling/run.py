"""Chains: a program and a method as one pure function of a key and the program's arguments, to be
compiled or mapped as a whole.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

from bayescons.arrays import one_of
from bayescons.programs.collapsed import fields_given
from bayescons.programs.structure import survey
from bayescons.sampling.choice import choose
from bayescons.sampling.elliptical import elliptical
from bayescons.sampling.hamiltonian import blackjax_nuts, nuts
from bayescons.sampling.methods import READINGS, Method, Run, checked
from bayescons.sampling.microcanonical import adjusted_mclmc, mclmc
from bayescons.sampling.refusals import refuse_sites
from bayescons.sampling.residuals import structure_of
from bayescons.sampling.starts import starts
from bayescons.sampling.targets import contradiction, hoisted, read, target
from bayescons.sampling.tempering import smc

KERNELS = {
    "nuts": nuts,
    "collapsed": nuts,
    "blackjax_nuts": blackjax_nuts,
    "mclmc": mclmc,
    "adjusted_mclmc": adjusted_mclmc,
    "elliptical": elliptical,
    "smc": smc,
}
EXACT = ("conjugate", "collapsed")
# Numbers of field made at once while draws are turned back into fields; a network holds some
# hundred times as many.
BATCH = 2**18


def chains(
    program: Callable, method: Method | str, *, reading: str = "exact", scale: float | int = 1e-2
) -> Callable:
    """A program's chains as a function that may be traced: under `jit`, and under `vmap` over keys,
    arguments and data.

    Nothing is checked that needs numbers: rows that contradict each other show as a gap, a start
        without density in `summary`.

    Args:
        program: an ordinary NumPyro program, with or without statements.
        method: a `Method`, or the name of a sampler. "auto" is chosen when the function is traced.
        reading: of exact statements, "exact" or "soft".
        scale: of the soft reading, in the unit of each statement's value.

    Returns:
        A function (key, args tuple, given dict) -> `Run`, with an axis of chains in front; `args`
        and `given` go to the program.

    Raises:
        ValueError: for names that are none, and numbers that make no chain.
        ValueError, TypeError (when run): where the program does not suit the sampler; what `exact`
            and `collapsed` raise.
    """
    method = checked(method)
    one_of("reading", reading, READINGS)

    def run(key: jax.Array, args: tuple = (), given: dict | None = None) -> Run:
        given, own = given or {}, method
        if method.sampler == "auto":
            chosen = choose(program, *args, given=given).sampler if reading == "exact" else "nuts"
            own = dataclasses.replace(method, sampler=chosen)
        _suited(program, own.sampler, reading, args, given)
        if own.sampler == "conjugate":
            return _independent(program, own, key, args, given)
        return _markov(program, own, reading, scale, key, args, given)

    return run


def _suited(program: Callable, sampler: str, reading: str, args: tuple, given: dict) -> None:
    """An error that says what to write instead, where a program does not suit a sampler."""
    if sampler in EXACT and reading != "exact":
        raise ValueError(
            f"sampler {sampler!r} carries statements out exactly; for the soft reading use "
            "sampler='nuts'"
        )
    if sampler in EXACT:
        choice = choose(program, *args, given=given, rows=math.inf)
        if choice.sampler not in EXACT:
            raise TypeError(
                f"sampler {sampler!r} needs a closed form, and there is none: {choice.why}. Use "
                "sampler='nuts'"
            )
        if choice.sampler != sampler:
            raise TypeError(
                f"sampler {sampler!r} does not suit the program: {choice.why}. Use "
                f"sampler={choice.sampler!r}"
            )
    refuse_sites(
        program if sampler == "conjugate" else read(program, _seen(sampler, reading)),
        sampler,
        args,
        given,
    )


def _seen(sampler: str, reading: str) -> str:
    """The reading that a sampler's target is made of."""
    return (
        {"collapsed": "collapsed", "elliptical": "whitened"}.get(sampler, reading)
        if reading == "exact"
        else reading
    )


def _markov(program, method: Method, reading, scale, key, args, given) -> Run:
    """Chains of a sampler over a target, and the sites that belong to its coordinates."""
    sampler = method.sampler
    key_start, key_run, key_fields = jax.random.split(key, 3)
    keys_start, keys_run = (jax.random.split(k, method.chains) for k in (key_start, key_run))
    aim = target(
        read(program, _seen(sampler, reading), scale),
        keys_start,
        args,
        given,
        parted=sampler in ("smc", "elliptical"),
    )
    begun = starts(aim, method, keys_start)
    found = _side_by_side(lambda k, z: KERNELS[sampler](aim, method, k, z), keys_run, begun)
    if sampler == "collapsed":
        keys = jax.random.split(key_fields, (method.chains, method.draws))
        draws = _completed(program, aim, found.draws, keys, args, given)
    else:
        draws = _mapped(aim.sites, found.draws)
    summary = found.summary | {"start": jax.vmap(aim.log_density)(begun)}
    if reading == "exact":
        summary["gap"] = jnp.full(method.chains, contradiction(program, args, given))
    return Run(_kept(program, args, given, draws), found.statistics, found.warmup, summary)


def _side_by_side(chain: Callable, keys: jax.Array, begun: dict) -> Run:
    """Chains in step with each other; or, where the devices divide them, each device's share on its
    own.
    """
    together, devices = jax.vmap(chain), jax.devices()
    if len(devices) == 1 or len(keys) % len(devices):
        return together(keys, begun)
    mesh = jax.make_mesh((len(devices),), ("chain",), axis_types=(AxisType.Auto,))
    share = PartitionSpec("chain")
    return jax.shard_map(together, mesh=mesh, in_specs=share, out_specs=share, check_vma=False)(
        keys, begun
    )


def _independent(program, method, key, args, given) -> Run:
    """Exact draws, all independent; they are dealt out to chains so that they are judged like any
    others.
    """
    keys = jax.random.split(key, (method.chains, method.draws))
    draws = _mapped(
        hoisted(lambda k: fields_given(program)(k, {}, *args, **given), keys[0, 0]), keys
    )
    none = jnp.zeros(method.chains)
    summary = {"gradients": none.astype(int), "warmup_gradients": none.astype(int), "start": none}
    summary["gap"] = jnp.full(method.chains, contradiction(program, args, given))
    return Run(_kept(program, args, given, draws), {}, {}, summary)


def _kept(program, args, given, draws: dict) -> dict:
    """The program's own sites; and, where they differ from draw to draw, the gaps of contradicting
    rows.
    """
    names = structure_of(program, args, given).names
    gaps = bool(survey(program, args, given).latents)
    return {
        name: values
        for name, values in draws.items()
        if name in names or (gaps and name.endswith("_gap"))
    }


def _completed(program, aim, z, keys, args, given) -> dict:
    """Latents above the fields, an exact draw of the fields and of what is below, and the gap of
    contradicting rows.
    """

    def whole(pair):
        return fields_given(program)(pair[1], aim.sites(pair[0]), *args, **given)

    example = jax.tree.map(lambda values: values[0, 0], (z, keys))
    return _mapped(hoisted(whole, example), (z, keys))


def _mapped(function: Callable, draws):
    """A function of one draw, applied to draws of shape (chain, draw, ...): side by side as far as
    memory allows.
    """
    chains, number = jax.tree.leaves(draws)[0].shape[:2]
    flat = jax.tree.map(lambda values: values.reshape(chains * number, *values.shape[2:]), draws)
    made = jax.eval_shape(function, jax.tree.map(lambda values: values[0], flat))
    size = max(1, max((leaf.size for leaf in jax.tree.leaves(made)), default=1))
    out = jax.lax.map(function, flat, batch_size=int(min(chains * number, max(1, BATCH // size))))
    return jax.tree.map(lambda values: values.reshape(chains, number, *values.shape[1:]), out)
