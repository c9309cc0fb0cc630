"""What the commands write: NetCDF files that appear whole or not at all and say how they were made,
and folders of files.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bayescons.cli.errors import InputError
from bayescons.cli.interrupts import check
from bayescons.provenance import versions
from bayescons.results.files import whole_file
from bayescons.results.trees import PACKAGES


@contextmanager
def netcdf_file(path: Path) -> Generator[Path]:
    """Lend a temporary path beside `path`; it takes its place when the block ends without an error,
    and is gone otherwise.

    Opened before the work is done, so that a place where nothing can be written is found out at
    once.
    """
    if path.suffix != ".nc":
        raise InputError(
            f"the output is a NetCDF file; got --out {path}. Write --out {path.with_suffix('.nc')}"
        )
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder. Write --out {path / 'result.nc'}")
    try:
        with whole_file(path) as temporary:
            yield temporary
            check()
    except OSError as error:
        raise InputError(error.strerror or str(error)) from error


@contextmanager
def output_folder(path: Path) -> Generator[Path]:
    """A folder, made at once so that a place where nothing can be written is found out first;
    removed again if it stays empty.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / ".writable").touch()
        (path / ".writable").unlink()
    except OSError as error:
        raise InputError(
            f"cannot write into the folder {path}: {error.strerror}. Choose another with --out DIR"
        ) from error
    try:
        yield path
    finally:
        for folder in made:
            if any(folder.iterdir()):
                break
            folder.rmdir()


def attributes(command: Sequence[str], **told) -> dict[str, str | int | float]:
    """How a file was made: command line, versions, and what else is told."""
    return {
        "command": shlex.join(["bayescons", *command]),
        **told,
        **{f"{name}_version": version for name, version in versions(PACKAGES).items()},
    }
