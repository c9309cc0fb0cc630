"""Where a training run is kept - its state and its log - so that it can be killed at any moment and
go on.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.descriptions import Description, counted, described
from bayescons.refusals import BusyFolder, RefusedFile, RefusedValue
from bayescons.results.files import require_room, whole_file

if TYPE_CHECKING:
    import orbax.checkpoint


@described
class Checkpoints:
    """A folder with the last two states of one run, by Orbax; each appears whole or not at all.

    Args:
        folder: made if missing.
        settings: what the run was started with, as JSON can hold it. A run goes on only with the
            settings it began with, since with others its result would be that of neither. They are
            kept in settings.json.

    Raises:
        ValueError: the folder holds states of a run with other settings; the error names them.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self.folder = Path(folder).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        states, written = self.folder / "states", self.folder / "settings.json"
        if written.exists() and any(kept.name.isdigit() for kept in states.glob("*")):
            agree(_settings(written), settings, self.folder)
        else:
            with whole_file(written) as temporary:
                temporary.write_text(json.dumps(dict(settings), indent=1) + "\n")
        self._manager = _manager(states)
        self._drop_damaged()

    def description(self) -> Description:
        """Where they lie, and how far they have come."""
        return Description(
            f"Checkpoints of a run at step {self.step}", (("folder", str(self.folder)),)
        )

    @property
    def step(self) -> int:
        """Steps taken when the last state was kept; 0 where there is none."""
        return self._manager.latest_step() or 0

    def _drop_damaged(self) -> None:
        """Go back to the newest state that can be read, and say so."""
        from orbax.checkpoint.args import StandardRestore

        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                self._manager.restore(step, args=StandardRestore())
                return
            except Exception as error:  # differs from one damage to the next
                reason = " ".join(str(error).split())[:100] or type(error).__name__
                shutil.rmtree(self.folder / "states" / str(step), ignore_errors=True)
                self._manager.reload()
                warnings.warn(
                    f"the state of step {step} in {self.folder} is damaged ({reason}) and was "
                    f"dropped; training goes on from step {self.step}, to the same result",
                    DamagedStateWarning,
                    stacklevel=4,
                )

    def save(self, state: Any) -> None:
        """Keep a state (a pytree with a `step`), and drop the one before the last.

        Raises:
            OSError: it cannot be written; the ones before it are still there.
        """
        from orbax.checkpoint.args import StandardSave

        # Eight bytes a number at most, and as much for what Orbax says of them.
        require_room(self.folder, 16 * sum(map(np.size, jax.tree.leaves(state))))
        try:
            self._manager.save(int(state.step), args=StandardSave(state._asdict()))
            self._manager.wait_until_finished()
        except Exception as error:  # differs from one storage driver to the next
            number = (error.errno if isinstance(error, OSError) else None) or errno.EIO
            reason = os.strerror(number) if isinstance(error, OSError) else error
            raise RefusedFile(
                number,
                f"cannot keep the state of step {int(state.step)} in {self.folder}: {reason}. "
                "Make room and start again to go on",
            ) from error

    def latest(self, like: Any) -> Any:
        """The last state kept, or `like` where there is none."""
        from orbax.checkpoint.args import StandardRestore

        step = self._manager.latest_step()
        if step is None:
            return like
        restored = self._manager.restore(step, args=StandardRestore(like._asdict()))
        # As fresh as the first state, bound to no device: what is compiled for it is then what was
        # compiled for the first.
        return type(like)(**jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), restored))


class DamagedStateWarning(UserWarning):
    """Something that a training run had kept cannot be read; it goes on from what can."""


def _settings(path: Path) -> dict:
    """The settings that a run was begun with.

    Raises:
        OSError: they cannot be read.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        found = error
    if not isinstance(found, dict):
        raise RefusedFile(
            errno.EIO,
            f"{path} cannot be read as the settings of a run, so that it is not known whether this "
            "is the same one. Train into another folder; or, if you know that it is, remove the "
            "file and start again",
        )
    return found


@described
class Log:
    """What was reported, in a file of one JSON object a line, each with the `step` it is of.

    A run that goes on from a checkpoint takes the steps after it again and reports them again, so
    the log is rewound to the checkpoint first. No line appears twice, and a line cut off in the
    middle is dropped.

    Args:
        path: of the file; it need not exist.
        upto: step of the last checkpoint.
    """

    def __init__(self, path: Path, *, upto: int):
        self.path = path
        self.lines = [line for line in _read(path) if line["step"] <= upto]
        if upto and (self.lines[-1]["step"] if self.lines else 0) < upto:
            warnings.warn(
                f"{path} holds no rounds up to step {upto}, where training goes on: those before "
                "are missing from it, and from the card's lowest losses",
                DamagedStateWarning,
                stacklevel=3,
            )
        if path.exists():
            with whole_file(path) as temporary:
                temporary.write_text("".join(map(_written, self.lines)))

    def description(self) -> Description:
        """Where it lies, and how long it is."""
        return Description(
            f"Log of {counted(len(self.lines), 'line')}", (("file", str(self.path)),)
        )

    @property
    def seconds(self) -> float:
        """Time taken up to the last line, all starts together."""
        return self.lines[-1]["seconds"] if self.lines else 0.0

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line, and return when it is on the disk."""
        self.lines.append(dict(line))
        with self.path.open("a") as file:
            file.write(_written(line))
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def alone(folder: Path) -> Generator[None]:
    """Keep other processes out of a folder while the block runs; the hold ends with the process,
    however that ends.

    Where the system or the file system knows no such locks, nothing is held.

    Raises:
        RuntimeError: another process is in there.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyFolder(
                f"another process is training in {folder}; wait for it, or choose another folder"
            ) from error
        except OSError:
            pass
        yield
    finally:
        os.close(descriptor)


def agree(earlier: Mapping[str, Any], settings: Mapping[str, Any], folder: Path) -> None:
    """Raise a ValueError that names every setting a run in the folder did not have, if there are
    any.
    """
    earlier, settings = dict(earlier), json.loads(json.dumps(dict(settings)))
    other = [name for name in settings | earlier if settings.get(name) != earlier.get(name)]
    if other:
        told = ", ".join(
            f"{name}: {earlier.get(name)!r} then, {settings.get(name)!r} now" for name in other
        )
        raise RefusedValue(
            f"{folder} holds a run with other settings ({told}). Give the same ones to go on, or "
            "another folder"
        )


def _read(path: Path) -> list[dict]:
    """The complete lines of a log, up to the first that cannot be read."""
    text = path.read_bytes().decode(errors="replace") if path.exists() else ""
    found: list[dict] = []
    for line in text.splitlines(keepends=True):
        try:
            read = json.loads(line) if line.endswith("\n") else None
        except ValueError:
            break
        if not isinstance(read, dict) or not {"step", "seconds"} <= read.keys():
            break
        found.append(read)
    return found


def _written(line: Mapping[str, Any]) -> str:
    return json.dumps(dict(line), allow_nan=False) + "\n"


def _manager(folder: Path) -> orbax.checkpoint.CheckpointManager:
    import orbax.checkpoint as orbax

    options = orbax.CheckpointManagerOptions(
        max_to_keep=2, cleanup_tmp_directories=True, enable_async_checkpointing=False
    )
    return orbax.CheckpointManager(folder, options=options)
