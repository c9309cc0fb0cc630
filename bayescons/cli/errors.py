"""Input that cannot be used: what the command line says in one line instead of with a traceback."""

from __future__ import annotations

import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import bayescons


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
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(f"{of}: {reason}" if of else reason) from error


@contextmanager
def own_refusals() -> Generator[None]:
    """Turn what the library itself refuses into an InputError, where the user's own code runs as
    well.

    An exception that was raised outside the library keeps its traceback.
    """
    try:
        yield
    except (ValueError, TypeError, RuntimeError, FloatingPointError) as error:
        raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
        if Path(bayescons.__file__).parent not in Path(raised_in).parents:
            raise
        raise InputError(str(error)) from error
