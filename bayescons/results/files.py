"""Files that appear whole or not at all: what a reader finds is the earlier file or the complete
new one.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bayescons.refusals import RefusedFile


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
        reason = error.strerror or str(error)
        raise RefusedFile(
            error.errno,
            f"cannot write {os.fspath(path)!r}: {reason}. Expected a file name in a folder that "
            "exists, is writable and has room; make the folder first, or choose another path",
        ) from error
    finally:
        _remove(temporary)


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        return
