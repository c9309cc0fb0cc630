"""Ctrl-C, noticed also where Python throws its exception away: what a callback of the garbage
collector or of compiled code raises is printed and forgotten, and the work would go on.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager


class Interrupt:
    """A handler of SIGINT that raises as Python's own does, and remembers that it came.

    Attributes:
        came: whether a signal has come.
    """

    def __init__(self):
        self.came = False

    def __call__(self, *_) -> None:
        """The signal is here."""
        self.came = True
        raise KeyboardInterrupt


def check() -> None:
    """Raise KeyboardInterrupt if one has come and was thrown away."""
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, Interrupt) and handler.came:
        raise KeyboardInterrupt


@contextmanager
def noticed() -> Generator[None]:
    """A block out of which an interruption comes as KeyboardInterrupt, whatever became of it: at
    the next `check`, or in place of the error that compiled code made of it.

    A program's own handler stays, and outside the main thread, where no signal arrives, nothing
    changes.
    """
    before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    ours = (
        before is signal.default_int_handler
        and threading.current_thread() is threading.main_thread()
    )
    if ours:
        signal.signal(signal.SIGINT, Interrupt())
        sys.unraisablehook = lambda lost: (
            None if issubclass(lost.exc_type, KeyboardInterrupt) else hook(lost)
        )
    try:
        yield
    except Exception:
        check()
        raise
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)
            sys.unraisablehook = hook
