"""What goes wrong outside: anything that a library raises over a file becomes one refusal that
names the file, what is the matter and what to write instead; and what would not fit into memory is
refused before it is read.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bayescons.refusals import Refusal, RefusedValue

DAMAGED = "Is the file complete? Copy or write it again, and look at it with the program it is from"
LONGEST = 300  # letters of a library's message that are passed on
MEMORY = Path("/proc/meminfo")
# What readers raise that believe a damaged file.
STUMBLES = (LookupError, TypeError, AttributeError, UnicodeError, EOFError, SystemError)
UNPACK = (
    "It is packed by a filter that is not installed here: pip install hdf5plugin and import it "
    "first, or unpack the file with h5repack -f NONE in.h5 out.h5"
)
# What libraries say -> what to do about it.
REMEDIES: Mapping[str, str] = {
    "pickle": "Nothing pickled is read, as reading it runs its code: write it as numbers or text",
    "is not registered": UNPACK,
    "can't open directory": UNPACK,
    "codec": "It is packed by a codec that is not installed here: install the package that brings "
    "it, or write the store again with zstd or without compression",
    "unable to lock": "Another process is writing it: wait until it has closed the file",
    "Permission denied": "Ask for the right to read it, or copy it to where you may",
    "password": "Write it again without a password",
}


@contextmanager
def reading(path: Path | str, what: str = "", remedy: str = DAMAGED) -> Generator[None]:
    """Turn whatever a library raises inside the block into one refusal.

    What libraries warn of meanwhile is not passed on: it is about their own calls, which whoever
    reads a file has not written.

    Args:
        path: the file, for the message.
        what: what is read of it, as "the array 'u' of".
        remedy: what to do, where the message of the library does not tell.

    Raises:
        RefusedValue: for every exception but a refusal.
    """
    of = f"{what} {path}" if what else f"{path}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Refusal:
        raise
    except MemoryError as error:
        raise RefusedValue(
            f"cannot read {of}: it does not fit into the memory that is free. Cut the part that is "
            "needed out of it first, or lower its precision"
        ) from error
    except Exception as error:  # readers of damaged files raise every kind there is
        reason = said(error)
        known = (text for key, text in REMEDIES.items() if key.lower() in reason.lower())
        instead = remedy if isinstance(error, UnicodeError) else next(known, remedy)
        raise RefusedValue(f"cannot read {of}: {reason}. {instead}") from error


@contextmanager
def holding(path: Path) -> Generator[None]:
    """Turn what a library says that a format cannot hold into one refusal; a full disk and the like
    stay errors of the system.

    Raises:
        RefusedValue: names the file, and what to do.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (Refusal, OSError):
        raise
    except Exception as error:  # of three libraries, which raise what they like
        raise RefusedValue(
            f"cannot write {path}: {said(error)}. Expected numbers, dates and text under names "
            "without '/': write complex numbers as their .real and .imag, and rename what needs it"
        ) from error


def said(error: Exception) -> str:
    """What an exception says in one line; of one of the system's without its number, and of one
    that only shows where a reader stumbled with a word of what that means.
    """
    strerror = error.strerror if isinstance(error, OSError) else None
    told = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = " ".join(str(strerror or told).split()).rstrip(".")
    shown = text if len(text) <= LONGEST else text[:LONGEST] + " ..."
    if shown and (isinstance(told, str) or not isinstance(error, STUMBLES)):
        return shown
    return f"it contradicts itself, or ends too early ({type(error).__name__}: {shown})"


CUT = "Cut the part that is needed out of it first, or lower its precision"


def require_memory(size: int, what: str, remedy: str = CUT) -> None:
    """Refuse what does not fit into memory before it is read or formed.

    Args:
        size: bytes that it takes then.
        what: what it is, for the message.
        remedy: what to do instead.

    Raises:
        RefusedValue: with the size and the memory that is free, in GB.
    """
    free = free_memory()
    if size > free:
        raise RefusedValue(
            f"{what} takes {size / 1e9:.3g} GB, and {free / 1e9:.3g} GB of memory are free. "
            f"{remedy}"
        )


def free_memory() -> float:
    """Bytes of memory that can be had, where the system says so; otherwise infinity."""
    if not MEMORY.exists():
        return math.inf
    lines = MEMORY.read_text(encoding="ascii").splitlines()
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024.0 * int(found[0]) if found else math.inf
