"""Compiled runs, kept: the same program, method and shapes are compiled once, and new data of the
same shapes cost no compilation.

A run is kept under the equations of its program. They are read anew at every call, so a constant in
its closure or a global that has changed since is noticed: what has changed in numbers only goes in
as numbers, anything else is another program.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from bayescons import tracing
from bayescons.functionals.functions import NotProvenAffineError
from bayescons.programs.soft import StiffnessWarning
from bayescons.programs.structure import ProgramStructure

KEPT = 32  # compiled runs


class Compiled(NamedTuple):
    """A run, ready.

    Attributes:
        call: key -> what it computes.
        fresh: whether it was compiled now.
    """

    call: Callable
    fresh: bool


_kept: OrderedDict[Any, Callable] = OrderedDict()


@tracing.one_at_a_time
def compiled(run: Callable, under: tuple, program: Callable, key: jax.Array) -> Compiled:
    """The run, compiled for a program and the shapes of its numbers, or as it was kept.

    A program that holds code which is not looked into, or a function of which only numbers show
    that it is affine, is compiled for its numbers alone and not kept.

    Args:
        run: (key, program) -> pytree of arrays.
        under: what else it is kept under; must tell apart all runs of one program.
        program: of no arguments; a `ProgramStructure` where it was looked into.
        key: of the run, for its type.
    """
    if not isinstance(program, ProgramStructure):
        return Compiled(_built(lambda key: run(key, program), key), fresh=True)
    name = (under, program.staged, tracing.types(key, *program.numbers))
    fresh = name not in _kept
    if fresh:
        try:
            _kept[name] = _built(run, key, program)
        except NotProvenAffineError:
            return Compiled(_built(lambda key: run(key, program), key), fresh=True)
        if len(_kept) > KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(name)
    code = _kept[name]
    return Compiled(lambda key: code(key, program), fresh)


def forget() -> None:
    """Let go of all runs that are kept."""
    _kept.clear()


def _built(function: Callable, *example) -> Callable:
    """The function, compiled. Of stiffness the front door has warned, which saw the values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StiffnessWarning)
        return jax.jit(function).lower(*example).compile()
