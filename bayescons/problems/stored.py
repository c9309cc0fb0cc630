"""Samples kept on disk: one file a data set, written whole or not at all, read without executing
anything, refused where it is of another.

A file holds arrays, and a header in JSON: the problem with its numbers, the key, the grid, and the
versions that made it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.grids import Grid
from bayescons.problems.operators import OperatorProblem, Samples
from bayescons.provenance import versions
from bayescons.refusals import MissingFile, RefusedValue
from bayescons.results.files import whole_file

_FORMAT = 1
_PACKAGES = ("bayescons", "jax", "numpy")


def stored(
    problem: OperatorProblem, key: jax.Array, n: int, grid: Grid, *, folder: str | os.PathLike
) -> Samples:
    """`problem.sample(key, n, grid)`, from a file in `folder` if it was drawn before, and left
    there if not.

    The file is named after the problem and a digest of everything the samples follow from; what
    stands in it is compared as well.

    Args:
        problem: of the family.
        key: as of `sample`.
        n: as of `sample`.
        grid: as of `sample`.
        folder: where files are kept; made if missing.

    Raises:
        ValueError: as `load_samples`.
        OSError: where the file cannot be written.
    """
    described = _description(problem, key, n, grid)
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
    path = Path(folder) / f"{problem.name}-{digest}.npz"
    if path.exists():
        return load_samples(path, problem, key, n, grid)
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = problem.sample(key, n, grid)
    save_samples(path, samples, problem, key, grid)
    return samples


def save_samples(
    path: str | os.PathLike, samples: Samples, problem: OperatorProblem, key: jax.Array, grid: Grid
) -> None:
    """Write samples to an .npz file, whole or not at all.

    Args:
        path: of the file.
        samples: what `problem.sample(key, n, grid)` gave.
        problem: of the family.
        key: that drew them.
        grid: of the outputs.

    Raises:
        OSError: where the file cannot be written; an earlier one stays.
    """
    described = _description(problem, key, len(samples.outputs), grid)
    made_with = versions(_PACKAGES)
    header = np.array(json.dumps(described | {"versions": made_with}))
    arrays = {name: np.asarray(array) for name, array in _named(samples).items()}
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, header=header, **arrays)


def load_samples(
    path: str | os.PathLike,
    problem: OperatorProblem,
    key: jax.Array | None = None,
    n: int | None = None,
    grid: Grid | None = None,
) -> Samples:
    """Samples of a file, in JAX's default float type.

    Args:
        path: of the file.
        problem: whose samples it must hold, numbers included.
        key: that must have drawn them; any, if None.
        n: how many there must be; any number, if None.
        grid: of the outputs; any, if None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, is damaged, or holds samples of another problem, key,
            number or grid.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile(
            f"no samples at {path}; bayescons.problems.stored(problem, key, n, grid, folder=...) "
            "makes and keeps them"
        )
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            arrays = {
                name: jnp.asarray(file[name], jnp.zeros(()).dtype)
                for name in file.files
                if name != "header"
            }
        samples = _gathered(arrays)
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RefusedValue(
            f"{path} is not a whole file of samples ({error}). Delete it, and it is made anew"
        ) from error
    expected = _description(problem, key, n, grid)
    for what, wanted in expected.items():
        if wanted is not None and header.get(what) != wanted:
            raise RefusedValue(
                f"{path} holds samples of another {what}: {_short(header.get(what))}; expected "
                f"{_short(wanted)}. Give the file of the set you mean, or delete this one"
            )
    return samples


def _description(problem, key, n, grid) -> dict[str, Any]:
    """All that samples follow from, as JSON holds it; None for what is not stated."""
    numbers = {field.name: getattr(problem, field.name) for field in dataclasses.fields(problem)}
    drawn = (
        None
        if key is None
        else [str(jax.random.key_impl(key)), np.asarray(jax.random.key_data(key)).tolist()]
    )
    points = None if grid is None else grid.settings
    stated = {
        "format": _FORMAT,
        "problem": problem.name,
        "numbers": numbers,
        "key": drawn,
        "count": n,
        "grid": points,
    }
    return json.loads(json.dumps(stated))  # as it will be read: tuples have become lists


def _named(samples: Samples) -> dict[str, jax.Array]:
    parameter = (
        samples.parameter if isinstance(samples.parameter, dict) else {"": samples.parameter}
    )
    parameters = {f"parameter.{name}": array for name, array in parameter.items()}
    sides = {f"boundary.{i}": array for i, array in enumerate(samples.boundary)}
    return parameters | {"inputs": samples.inputs, "outputs": samples.outputs} | sides


def _gathered(arrays: dict[str, jax.Array]) -> Samples:
    parameter = {
        name.removeprefix("parameter."): a
        for name, a in arrays.items()
        if name.startswith("parameter.")
    }
    sides = sorted(
        (int(name.removeprefix("boundary.")), name)
        for name in arrays
        if name.startswith("boundary.")
    )
    boundary = tuple(arrays[name] for _, name in sides)
    return Samples(parameter.get("", parameter), arrays["inputs"], boundary, arrays["outputs"])


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
