"""Progress: a bar on stderr for a run that is one compiled call.

NumPyro's own bar steps through its chains from Python and so cannot stand inside `jit`; BlackJAX's
needs a package more. Here the compiled loop itself calls back, some fifty times a run. A bar
belongs to the process: of two runs at the same time in two threads, one has it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import jax
import jax.numpy as jnp

_shown: list = []


def told(step: Callable, length: int, *, on: bool) -> Callable:
    """The step (carry, (index, x)) -> (carry, y) of a scan, which now and then says how far it has
    come.

    Args:
        step: of the scan.
        length: of the scan.
        on: whether it says anything at all.
    """
    if not on:
        return step
    every = max(1, length // 50)

    def telling(carry, indexed):
        index = indexed[0] + 1
        due = (index % every == 0) | (index == length)
        jax.lax.cond(due, lambda: jax.debug.callback(_advance, index, length), lambda: None)
        return step(carry, indexed)

    return telling


def scan(step: Callable, carry, length: int, keys=None, *, on: bool):
    """`jax.lax.scan` over so many steps (carry, (index, key)) -> (carry, y), with a bar where it is
    asked for.
    """
    return jax.lax.scan(told(step, length, on=on), carry, (jnp.arange(length), keys), length=length)


@contextmanager
def bar(text: str, *, on: bool) -> Generator[None]:
    """Show the bar of the compiled run inside the block."""
    if not on:
        yield
        return
    from tqdm.auto import tqdm

    with tqdm(desc=text, total=0, leave=False) as shown:
        _shown.append(shown)
        try:
            yield
            jax.effects_barrier()
        finally:
            _shown.remove(shown)


def _advance(index, length) -> None:
    """Called from the compiled loop; several chains side by side call once, and several devices one
    by one.
    """
    if _shown:
        shown = _shown[-1]
        if shown.total != int(length):
            shown.reset(total=int(length))
        shown.update(max(0, int(index) - shown.n))
