"""Compiled runs, kept: the same program, method and shapes are compiled once, and new data of the
same shapes cost no compilation.

Arrays and numbers with a decimal point among a program's arguments become arguments of the compiled
run; everything else (whole numbers, names, functions) shapes the program and is part of what it is
kept under. So is what the program reads of the world around it: before a kept run is used the
program is traced anew, abstractly, and a constant in its closure or a global that has changed since
is noticed.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.infer.initialization import init_to_uniform

from bayescons.programs.interpretations import StiffnessWarning
from bayescons.programs.statements import statement

KEPT = 32  # compiled runs


class Compiled(NamedTuple):
    """A run, ready.

    Attributes:
        call: (key, leaves) -> what it computes.
        leaves: the arguments that go in.
        fresh: whether it was compiled now.
    """

    call: Callable
    leaves: list
    fresh: bool


_kept: OrderedDict[Any, Compiled] = OrderedDict()


def compiled(
    run: Callable, under: tuple, program: Callable, key: jax.Array, args: tuple, given: dict
) -> Compiled:
    """The run, compiled for a program and for the shapes of its arguments, or as it was kept.

    A program that needs the numbers themselves while it is traced - it branches on one, or builds a
    grid from an array - is compiled for these numbers alone and not kept. Errors are those of that
    attempt, in which values are known and contradicting rows have names.

    Args:
        run: (key, args, given) -> pytree of arrays.
        under: what else it is kept under; must tell apart all runs of one program.
        program: what is traced anew to see whether it has changed.
        key: of the run, for its type.
        args: arguments of the program.
        given: keyword arguments of the program.
    """
    leaves, shape = jax.tree.flatten((args, given))
    moving = [_moves(leaf) for leaf in leaves]
    fixed = [leaf for leaf, moves in zip(leaves, moving, strict=True) if not moves]

    def whole(arrays) -> tuple[tuple, dict]:
        arrays, others = iter(arrays), iter(fixed)
        return jax.tree.unflatten(shape, [next(arrays if moves else others) for moves in moving])

    arrays = [leaf for leaf, moves in zip(leaves, moving, strict=True) if moves]

    def named() -> tuple:
        sites = fingerprint(lambda found, words: _sites(program, *whole(found), words), arrays)
        name = (program, under, shape, *map(_static, fixed), *map(_type, [key, *arrays]), sites)
        hash(name)
        return name

    name = _attempted(named)
    if name is not None:
        if name in _kept:
            _kept.move_to_end(name)
            return _kept[name]._replace(leaves=arrays, fresh=False)
        made = _attempted(lambda: _built(lambda key, found: run(key, *whole(found)), key, arrays))
        if made is not None:
            _kept[name] = made._replace(leaves=[])
            if len(_kept) > KEPT:
                _kept.popitem(last=False)
            return made
    return _built(lambda key, _: run(key, args, given), key, [])


def _attempted(attempt: Callable):
    """What comes of it; None where anything goes wrong, which the attempt with known values will
    say better.
    """
    try:
        return attempt()
    except Exception:
        return None


def fingerprint(function: Callable, arrays: list) -> str:
    """A digest of what a function (arrays, words) -> numbers computes: its operations, all
    constants in them, and the words it adds.
    """
    words: list[str] = []
    traced = jax.make_jaxpr(lambda found: function(found, words))(arrays)
    digest = hashlib.sha256(_ADDRESS.sub("", "\n".join([str(traced.jaxpr), *words])).encode())
    for constant in _constants(traced):
        digest.update(np.asarray(constant).tobytes())
    return digest.hexdigest()


_ADDRESS = re.compile(r"0x[0-9a-f]+")  # of a function in memory, new with every trace


def _constants(traced) -> Iterator:
    """The constants of a traced function and of those inside it that numbers were closed over
    by.
    """
    yield from (
        c for c in getattr(traced, "consts", ()) if not jnp.issubdtype(c.dtype, jax.dtypes.extended)
    )
    for equation in getattr(traced, "jaxpr", traced).eqns:
        yield from (v.val for v in equation.invars if isinstance(v, jax.extend.core.Literal))
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(inner):
                yield from _constants(inner)


def _is_jaxpr(value) -> bool:
    return isinstance(value, jax.extend.core.Jaxpr | jax.extend.core.ClosedJaxpr)


def _sites(program: Callable, args: tuple, given: dict, words: list[str]) -> list:
    """All that the density of a program rests on: what its sites and statements are called and are,
    and the numbers in them.
    """
    drawn = handlers.substitute(handlers.seed(program, 0), substitute_fn=init_to_uniform)
    with handlers.block():
        trace = handlers.trace(drawn).get_trace(*args, **given)
    numbers: list = []
    for name, site in trace.items():
        if site["type"] == "sample":
            known = statement(site["fn"])
            numbers += (
                jax.tree.leaves(site["fn"]) if known is None else [known.computed(), known.scale]
            )
            kind = str(jax.tree.structure(site["fn"])) if known is None else f"{known.learns}"
            words += [name, kind, str(site["is_observed"])]
            numbers.append(site["scale"])
        if site["type"] in ("sample", "deterministic"):
            numbers.append(site["value"])
    words += [n for n in numbers if isinstance(n, str)]
    return [jnp.asarray(n) for n in numbers if n is not None and not isinstance(n, str)]


def _built(function: Callable, key: jax.Array, arrays: list) -> Compiled:
    """The function of a key and arrays, compiled. Of stiffness the front door has warned, which saw
    the values.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StiffnessWarning)
        return Compiled(jax.jit(function).lower(key, arrays).compile(), arrays, fresh=True)


def _moves(leaf) -> bool:
    """Whether an argument goes into the compiled run."""
    return isinstance(leaf, float | complex | np.ndarray | np.generic | jax.Array)


def _type(leaf) -> tuple:
    """Shape and dtype, a Python number's being its own; and the precision that runs are compiled
    for.
    """
    return jnp.shape(leaf), str(getattr(leaf, "dtype", type(leaf))), jax.config.jax_enable_x64  # ty: ignore[unresolved-attribute]


def _static(leaf) -> tuple:
    """An argument that shapes the program; 1, 1.0 and True are told apart."""
    return type(leaf), leaf
