"""Input that cannot be used: what the command line says in one line instead of with a traceback."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from zipfile import BadZipFile

from bayescons.refusals import Refusal


class InputError(Exception):
    """Something a person typed, or a file holds, that cannot be used. Its message says what was
    expected, what came, what to write.
    """


@contextmanager
def refusals(of: str | None = None) -> Generator[None]:
    """Turn what the doors of the library refuse inside the block into an InputError.

    For calls whose arguments come straight from the user; elsewhere such an exception is a fault of
    the program and keeps its traceback.

    Args:
        of: what the message is about, said in front of it.
    """
    try:
        yield
    except (ValueError, TypeError, OSError, FloatingPointError, BadZipFile) as error:
        raise InputError(f"{of}: {_reason(error)}" if of else _reason(error)) from error


@contextmanager
def own_refusals() -> Generator[None]:
    """Turn what the library itself refuses into an InputError, where the user's own code runs as
    well; what that raises keeps its traceback.
    """
    try:
        yield
    except Refusal as error:
        raise InputError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """What an error says, of one of the system's without its number."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
