"""Files that appear whole or not at all: what a reader finds is the earlier file or the complete
new one.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bayescons.refusals import RefusedFile

try:
    import resource
except ImportError:  # not on Windows
    resource = None


@contextmanager
def whole_file(path: str | os.PathLike) -> Generator[Path, None, None]:
    """Lend a temporary path beside `path`, and put the file in its place once the block has ended
    without an error.

    Readers see the earlier file or the complete new one, never a part. On any error the temporary
    file is removed.

    Raises:
        OSError: of the fitting subclass, with the path and the cause, where the file cannot be
            written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, RefusedFile):
            raise
        reason = error.strerror or str(error)
        raise RefusedFile(
            error.errno,
            f"cannot write {os.fspath(path)!r}: {reason}. Expected a file name in a folder that "
            "exists, is writable and has room; make the folder first, or choose another path",
        ) from error
    finally:
        _remove(temporary)


def require_room(path: Path, size: int) -> None:
    """Look for room before a library writes: HDF5 and the checkpoints' driver go down noisily, or
    take the process with them, where a disk fills up under them.

    Args:
        path: of the file or folder that is to be written.
        size: number of bytes.

    Raises:
        OSError: the disk, or what one file may hold, has less.
    """
    folder = next(f for f in (path, *path.absolute().parents) if f.is_dir())
    free = min(shutil.disk_usage(folder).free, _largest_file())
    if free < size:
        raise RefusedFile(
            errno.ENOSPC,
            f"no room in {os.fspath(folder)!r}: about {size / 1e6:.2g} MB are to be written, and "
            f"there are {free / 1e6:.2g} MB. Make room, or choose another place",
        )


def _largest_file() -> float:
    """Bytes that one file may hold (ulimit -f), where the system says so."""
    if resource is None:
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return math.inf if limit == resource.RLIM_INFINITY else float(limit)


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        return
