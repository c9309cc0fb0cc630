"""A file that holds a NumPyro program: the program, the arguments it is run with, and its grid.

The file is ordinary Python, run as it is, so it is the user's own to trust. It defines
`program(...)`, or another function named on the command line; `inputs(key) -> dict`, the arguments
by name, unless the program takes none or all come from a data file; and perhaps `grid`, by which
fields are labelled in the output.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import jax
import numpy as np

from bayescons.cli.errors import InputError, refusals
from bayescons.grids import Grid
from bayescons.labelled.files import opened, values
from bayescons.programs.reinterpretation import Reinterpretation


class ProgramFile(NamedTuple):
    """What a program file defines: the program, its default arguments as a function of a key (or
    None), its grid (or None).
    """

    program: Callable
    inputs: Callable | None
    grid: Grid | None


def load_program(path: Path, name: str = "program") -> ProgramFile:
    """Run a file and take the program of that name from it.

    Raises:
        InputError: for a file that is missing or not Python, or a program that is not in it. What
            the file itself raises passes through.
    """
    if not path.is_file():
        raise InputError(
            f"there is no file {path}; expected a Python file with a NumPyro program, as in "
            "models/stefan.py"
        )
    if path.suffix != ".py":
        raise InputError(
            f"{path} is not a Python file; expected one with a NumPyro program, as in "
            "models/stefan.py"
        )
    module = _run_file(path)
    program = getattr(module, name, None)
    if not _is_program(program):
        own = [
            n
            for n, f in vars(module).items()
            if _is_program(f) and f.__module__ == module.__name__ and n != "inputs"
        ]
        raise InputError(
            f"{path} defines no function {name!r}; it defines {listed(own)}. Choose one with "
            "--program NAME"
        )
    grid = getattr(module, "grid", None)
    return ProgramFile(
        program, getattr(module, "inputs", None), grid if isinstance(grid, Grid) else None
    )


def _is_program(thing) -> bool:
    """Whether it is a function, or one that was read another way."""
    return inspect.isfunction(thing) or isinstance(thing, Reinterpretation)


def arguments(file: ProgramFile, key: jax.Array, data: Path | None = None) -> dict:
    """The program's arguments by name: those of `inputs`, with arrays of a data file in place of
    some or all.

    Raises:
        InputError: for arguments that do not fit the program.
    """
    signature = inspect.signature(file.program)
    given = _read(data, signature) if data is not None else {}
    if file.inputs is not None:
        made = file.inputs(key)
        if not isinstance(made, dict):
            raise InputError(
                "inputs(key) must return a dictionary, the program's arguments by name; it "
                f"returned {type(made).__name__}"
            )
        given = made | given
    try:
        signature.bind(**given)
    except TypeError as error:
        raise InputError(
            f"{file.program.__name__}{signature} cannot be run with {listed(list(given))}: "
            f"{error}. Define inputs(key) -> dict in the file, or give the arrays with --data "
            "FILE.npz"
        ) from error
    return given


def _read(path: Path, signature: inspect.Signature) -> dict[str, np.ndarray]:
    """The arrays of a data file, each the name of an argument; floats as float64, integers and
    truth values as they are.
    """
    with refusals(), opened(path) as file:
        names = [str(name) for name in file.variables]
        unknown = [name for name in names if name not in signature.parameters]
        if unknown:
            takes = listed(list(signature.parameters))
            raise InputError(
                f"{path} holds {listed(unknown)}, which the program does not take; it takes {takes}"
            )
        return {name: _argument(path, name, values(file, name)) for name in names}


def _argument(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"the argument {name!r} of {path} must hold real numbers; it holds {array.dtype}"
        )
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise InputError(
            f"the argument {name!r} of {path} holds {bad} NaN or infinite entries of {array.size}; "
            "remove or replace them first"
        )
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first twenty of them."""
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(map(repr, names[:20])) + more if names else "no arrays at all"


def _run_file(path: Path) -> ModuleType:
    name = f"bayescons_program_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module
