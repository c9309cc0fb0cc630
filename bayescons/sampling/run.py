"""Chains: a program and a method as one pure function of a key and the program's arguments, to be
compiled or mapped as a whole.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

from bayescons.arrays import one_of
from bayescons.programs.collapsed import fields_given
from bayescons.programs.structure import program_structure, refuse_parameters
from bayescons.refusals import RefusedType, RefusedValue
from bayescons.sampling.choice import choose
from bayescons.sampling.methods import READINGS, Method, Run
from bayescons.sampling.refusals import refuse_sites
from bayescons.sampling.registry import SAMPLERS, checked
from bayescons.sampling.residuals import structure_of
from bayescons.sampling.starts import starts
from bayescons.sampling.targets import contradiction, read, target
from bayescons.tracing import hoisted

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

    def run(key: jax.Array, args: tuple = (), kwargs: dict | None = None) -> Run:
        return sampled(key, closed(program, args, kwargs or {}), method, reading, scale)

    return run


def closed(program: Callable, args: tuple, kwargs: dict) -> Callable:
    """A program with its arguments, looked at once; or the program itself where it holds code that
    is not looked into, which is then run whenever it is read.
    """
    structure = program_structure(program, args, kwargs)
    refuse_parameters(structure)
    return structure if not structure.staged.unread else functools.partial(program, *args, **kwargs)


def sampled(key, program: Callable, method: Method, reading: str, scale) -> Run:
    """The chains of a program of no arguments."""
    if method.sampler == "auto":
        sampler = choose(program).sampler if reading == "exact" else "nuts"
        method = checked(dataclasses.replace(method, sampler=sampler))
    _refuse_unsuited(program, method.sampler, reading)
    if SAMPLERS[method.sampler].kernel is None:
        return _independent(program, method, key)
    return _markov(program, method, reading, scale, key)


def _refuse_unsuited(program: Callable, sampler: str, reading: str) -> None:
    """An error that says what to write instead, where a program does not suit a sampler."""
    needs_closed_form = SAMPLERS[sampler].closed_form
    if needs_closed_form and reading != "exact":
        raise RefusedValue(
            f"sampler {sampler!r} carries statements out exactly; for the soft reading use "
            "sampler='nuts'"
        )
    if needs_closed_form:
        choice = choose(program, rows=math.inf)
        if not SAMPLERS[choice.sampler].closed_form:
            raise RefusedType(
                f"sampler {sampler!r} needs a closed form, and there is none: {choice.why}. Use "
                "sampler='nuts'"
            )
        if choice.sampler != sampler:
            raise RefusedType(
                f"sampler {sampler!r} does not suit the program: {choice.why}. Use "
                f"sampler={choice.sampler!r}"
            )
    refuse_sites(
        program if sampler == "conjugate" else read(program, _interpretation(sampler, reading)),
        sampler,
        SAMPLERS[sampler],
    )


def _interpretation(sampler: str, reading: str) -> str:
    """The reading that a sampler's target is made of."""
    return SAMPLERS[sampler].interpretation if reading == "exact" else reading


def _markov(program: Callable, method: Method, reading: str, scale, key) -> Run:
    """Chains of a sampler over a target, and the sites that belong to its coordinates."""
    sampler = SAMPLERS[method.sampler]
    key_start, key_run, key_fields = jax.random.split(key, 3)
    keys_start, keys_run = (jax.random.split(k, method.chains) for k in (key_start, key_run))
    aim = target(
        read(program, _interpretation(method.sampler, reading), scale),
        keys_start,
        parted=sampler.parted,
    )
    positions = starts(aim, method, keys_start)
    chain = _side_by_side(lambda k, z: sampler.kernel(aim, method, k, z), keys_run, positions)
    if sampler.interpretation == "collapsed":
        keys = jax.random.split(key_fields, (method.chains, method.draws))
        draws = _completed(program, aim, chain.draws, keys)
    else:
        draws = _mapped(aim.sites, chain.draws)
    summary = chain.summary | {"start": jax.vmap(aim.log_density)(positions)}
    if reading == "exact":
        summary["gap"] = jnp.full(method.chains, contradiction(program))
    return Run(_program_sites(program, draws), chain.statistics, chain.warmup, summary)


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


def _independent(program: Callable, method: Method, key) -> Run:
    """Exact draws, all independent; they are dealt out to chains so that they are judged like any
    others.
    """
    keys = jax.random.split(key, (method.chains, method.draws))
    draws = _mapped(hoisted(lambda k: fields_given(program)(k, {}), keys[0, 0]), keys)
    none = jnp.zeros(method.chains)
    summary = {
        "gradients": none.astype(int),
        "warmup_gradients": none.astype(int),
        "start": none,
        "gap": jnp.full(method.chains, contradiction(program)),
    }
    return Run(_program_sites(program, draws), {}, {}, summary)


def _program_sites(program: Callable, draws: dict) -> dict:
    """The program's own sites; and, where they differ from draw to draw, the gaps of contradicting
    rows.
    """
    structure = program_structure(program)
    names = structure_of(program).names | set(structure.gaps if structure.latents else ())
    return {name: values for name, values in draws.items() if name in names}


def _completed(program: Callable, aim, z, keys) -> dict:
    """Latents above the fields, an exact draw of the fields and of what is below, and the gap of
    contradicting rows.
    """

    def whole(pair):
        return fields_given(program)(pair[1], aim.sites(pair[0]))

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
