"""Predictions of others: a Gaussian belief over a grid, read from the arrays of a NetCDF or .npz
file. Nothing pickled is ever read.

A file is first a set of named arrays (`open_arrays`), where those of a NetCDF file know the names
of their axes and those of an .npz file do not; `read_belief` makes a grid and a belief of some of
them. Everything is computed in float64.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.cli.errors import InputError, refusals
from bayescons.gaussians.gaussian import Gaussian, diagonal, low_rank
from bayescons.grids import Grid

USUAL_AXES = ("t", "x", "y", "z")
DRAW_AXES = ("chain", "draw")  # ArviZ's names
SIGNATURES = {
    b"PK\x03\x04": "npz",
    b"PK\x05\x06": "npz",
    b"\x89HDF\r\n\x1a\n": "h5netcdf",
    b"CDF\x01": "scipy",
    b"CDF\x02": "scipy",
}


@dataclasses.dataclass(frozen=True)
class Arrays:
    """The named arrays of a file; each is read when it is asked for.

    Attributes:
        path: where they come from.
        names: their names.
        load: name -> (values, names of the axes or None).
    """

    path: Path
    names: tuple[str, ...]
    load: Callable[[str], tuple[np.ndarray, tuple[str, ...] | None]]

    def read(
        self, name: str, meaning: str, *, kinds: str = "f", single: bool = False
    ) -> tuple[np.ndarray, tuple[str, ...] | None]:
        """Finite values of an array, and the names of its axes if the file has them.

        Numbers come as float64; but integers (i, u) and truth values (b) as they are, if `kinds`
        has their letter of NumPy's, and float32 if `single`, so that its rounding is known.
        """
        if name not in self.names:
            raise InputError(
                f"{self.path} has no array {name!r} for the {meaning}; it has {listed(self.names)}"
            )
        with refusals(
            f"cannot read the {meaning} {name!r} of {self.path} (nothing pickled is ever read)"
        ):
            values, axes = self.load(name)
        if values.dtype.kind not in "fiu" + kinds:
            raise InputError(
                f"the {meaning} {name!r} of {self.path} must hold real numbers; it holds "
                f"{values.dtype}"
            )
        bad = int(values.size - np.isfinite(values).sum())
        if bad:
            raise InputError(
                f"the {meaning} {name!r} of {self.path} holds {bad} NaN or infinite entries of "
                f"{values.size}; remove or replace them first"
            )
        whole = values.dtype.kind in kinds.replace("f", "")
        as_it_is = whole or (single and values.dtype == np.float32)
        return values if as_it_is else values.astype(np.float64), axes


@dataclasses.dataclass(frozen=True)
class Predictions:
    """A belief over a grid, or a batch of them.

    Attributes:
        grid: the grid.
        belief: the Gaussian over it; its batch axes are those of the file.
        axes: for NetCDF, the names that the file has for the axes of the grid; otherwise None.
        batch: names of the batch axes, in front of the grid's.
        form: what the belief was made of, in words.
        directions: for an ensemble of M draws, the M - 1 directions in which it varies; otherwise
            None.
    """

    grid: Grid
    belief: Gaussian
    axes: tuple[str, ...] | None
    batch: tuple[str, ...]
    form: str
    directions: int | None = None


@contextmanager
def open_arrays(path: Path) -> Generator[Arrays]:
    """The arrays of a NetCDF or .npz file, told apart by their first bytes.

    Raises:
        InputError: for a file that is missing, empty or neither of the two.
    """
    kind = _kind(path)
    with _opened(path, kind) as file:
        yield (
            Arrays(path, tuple(file.files), lambda n: (file[n], None))
            if kind == "npz"
            else _labelled(path, file)
        )


def read_belief(
    arrays: Arrays,
    axes: str | None = None,
    *,
    mean: str | None = None,
    scale: str | None = None,
    variance: str | None = None,
    ensemble: str | None = None,
    nugget: float = 1e-3,
) -> Predictions:
    """The grid and the belief that a file holds.

    Mean and standard deviation (or variance) over the grid give independent points. An ensemble of
    M draws gives K = F F' + s² I, F the centred draws over sqrt(M - 1) and s = nugget times the
    root mean square of the draws' standard deviations: without the independent part an ensemble
    holds everything outside its M - 1 directions for certain.

    Args:
        arrays: an open file.
        axes: axes of the grid in order, "t,x" or "t=time,x"; by default those of t, x, y, z that
            are there.
        mean: name of the means, by default "mean"; with `scale` or `variance`, by default whichever
            of these is there.
        scale: name of the standard deviations.
        variance: name of the variances.
        ensemble: name of the draws, by default "draws", used where there is no mean.
        nugget: see above.

    Raises:
        InputError: for arrays that are missing, of the wrong shape, not finite, or not a belief.
    """
    grid, dims = _read_grid(arrays, axes)
    if ensemble is None and (
        mean is not None or scale is not None or variance is not None or "mean" in arrays.names
    ):
        return _read_pointwise(arrays, grid, dims, mean or "mean", scale, variance)
    if ensemble is None and "draws" not in arrays.names:
        raise InputError(
            f"{arrays.path} has neither 'mean' nor 'draws'; it has {listed(arrays.names)}. "
            "Name the arrays: --mean NAME --scale NAME (or --variance NAME), or --ensemble NAME"
        )
    if mean is not None or scale is not None or variance is not None:
        raise InputError(
            "an ensemble has its own mean and scale; write either --ensemble, or --mean with "
            "--scale or --variance"
        )
    return _read_ensemble(arrays, grid, dims, ensemble or "draws", nugget)


def read_value(
    arrays: Arrays, predictions: Predictions, text: str, kept: Sequence[str], meaning: str
) -> jax.Array:
    """A number, or the array of that name over the axes kept by a functional (perhaps with the
    batch's in front).

    Shapes of .npz arrays are checked where they are used; axes of NetCDF arrays are brought into
    order by their names.
    """
    number = _number(text)
    if number is not None:
        if not math.isfinite(number):
            raise InputError(f"the {meaning} must be finite; got {text!r}")
        return jnp.asarray(number)
    values, names = arrays.read(text, meaning, single=True)
    if names is None:
        return jnp.asarray(values)
    to_file = dict(zip(predictions.grid.names, predictions.axes, strict=True))
    wanted = (*predictions.batch, *(to_file[axis] for axis in kept))
    sizes = dict(
        zip((*predictions.batch, *predictions.axes), predictions.belief.mean.shape, strict=True)
    )
    if not set(names) <= set(wanted):
        raise InputError(
            f"the {meaning} {text!r} must be over the axes ({', '.join(wanted)}); it is over "
            f"({', '.join(names)}). Take the slice that is meant, or rename its axes"
        )
    ordered = np.transpose(values, [names.index(name) for name in wanted if name in names])
    spread = ordered.reshape([sizes[name] if name in names else 1 for name in wanted])
    return jnp.broadcast_to(spread, [sizes[name] for name in wanted])


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first twenty of them."""
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(map(repr, names[:20])) + more if names else "no arrays at all"


def _kind(path: Path) -> str:
    with refusals(f"cannot read {path}"), open(path, "rb") as file:
        start = file.read(8)
    instead = "Write np.savez(path, t=t, x=x, mean=mean, scale=scale), or a NetCDF file"
    if not start:
        raise InputError(f"{path} is empty; expected a NetCDF or .npz file. {instead}")
    for signature, kind in SIGNATURES.items():
        if start.startswith(signature):
            return kind
    if start.startswith(b"\x93NUMPY"):
        raise InputError(
            f"{path} holds a single array (.npy); expected a NetCDF or .npz file with coordinates "
            f"as well. {instead}"
        )
    if start.startswith(b"\x80"):
        raise InputError(
            f"{path} looks like a pickle, which is never read, as reading one runs its code. "
            f"{instead}"
        )
    raise InputError(f"{path} is neither NetCDF nor .npz. {instead}")


@contextmanager
def _opened(path: Path, kind: str) -> Generator:
    """The opened file: mapping of arrays for npz, dataset for NetCDF."""
    said = f"cannot read {path} as {'an .npz file' if kind == 'npz' else 'NetCDF'}"
    if kind == "npz":
        with open(path, "rb") as stream:
            with refusals(f"{said} (is it complete?)"):
                file = np.load(stream, allow_pickle=False)
            yield file
        return
    import xarray

    with refusals(said):
        file = xarray.open_dataset(path, engine=kind, decode_times=False)
    with file:
        yield file


def _labelled(path: Path, dataset) -> Arrays:
    def load(name: str):
        variable = dataset[name]
        return variable.to_numpy(), tuple(map(str, variable.dims))

    return Arrays(path, tuple(map(str, dataset.variables)), load)


def _read_grid(arrays: Arrays, spec: str | None) -> tuple[Grid, tuple[str, ...] | None]:
    """The grid, and the file's names of its axes."""
    pairs = (
        [tuple(part.strip() for part in pair.split("=")) for pair in spec.split(",")]
        if spec is not None
        else None
    )
    pairs = pairs or [(name,) for name in USUAL_AXES if name in arrays.names]
    if not pairs:
        raise InputError(
            f"{arrays.path} has no coordinates t, x, y or z; it has {listed(arrays.names)}. Name "
            "the axes of the grid, in the order of the arrays, as in --axes time,depth or --axes "
            "t=time,x=depth"
        )
    if any(len(pair) > 2 or not all(pair) for pair in pairs) or len(
        {pair[0] for pair in pairs}
    ) < len(pairs):
        raise InputError(
            f"cannot read --axes {spec!r}; expected different names separated by commas, as in t,x "
            "or t=time,x"
        )
    coordinates = {pair[0]: arrays.read(pair[-1], "coordinates") for pair in pairs}
    with refusals(f"{arrays.path}"):
        grid = Grid(**{name: values for name, (values, _) in coordinates.items()})
    named = [axes for _, axes in coordinates.values()]
    return grid, None if named[0] is None else tuple(axes[0] for axes in named)


def _read_pointwise(
    arrays: Arrays, grid: Grid, dims, mean: str, scale: str | None, variance: str | None
) -> Predictions:
    if scale is not None and variance is not None:
        raise InputError("both --scale and --variance are given; write one of them")
    if scale is None and variance is None:
        scale = "scale" if "scale" in arrays.names else None
        variance = "variance" if scale is None and "variance" in arrays.names else None
    spread = scale or variance
    if spread is None:
        raise InputError(
            f"{arrays.path} has no 'scale' (standard deviations) and no 'variance'; it has "
            f"{listed(arrays.names)}. Name the array: --scale NAME or --variance NAME"
        )
    centre, batch = _over_grid(*arrays.read(mean, "mean"), grid, dims, f"mean {mean!r}")
    word = "scale" if scale else "variance"
    width = _alike(
        *arrays.read(spread, word),
        (*batch, *(dims or ())),
        centre.shape,
        f"{word} {spread!r}",
        dims is not None,
    )
    if not (width > 0).all():
        known = "State what is known exactly as a constraint instead, as in --dirichlet x:lower=1"
        raise InputError(
            f"the {word} {spread!r} must be above zero everywhere; its smallest entry is "
            f"{width.min():g}. {known}"
        )
    belief = diagonal(centre, width if scale else np.sqrt(width), batch_dims=len(batch))
    return Predictions(
        grid, belief, dims, batch, f"independent points, mean {mean!r} and {word} {spread!r}"
    )


def _read_ensemble(arrays: Arrays, grid: Grid, dims, name: str, nugget: float) -> Predictions:
    if not (math.isfinite(nugget) and nugget > 0):
        raise InputError(
            "--nugget must be a number above zero, a share of the ensemble's standard deviation; "
            f"got {nugget:g}"
        )
    draws, axes = arrays.read(name, "ensemble")
    draws, batch = _over_grid(draws, axes, grid, dims, f"ensemble {name!r}")
    own = [i for i, axis in enumerate(batch) if axis in DRAW_AXES] if dims else []
    own = own or [0]
    if not batch:
        raise InputError(
            f"the ensemble {name!r} must have an axis of draws in front of the grid's "
            f"{grid.shape}; got {draws.shape}"
        )
    kept = tuple(axis for i, axis in enumerate(batch) if i not in own)
    draws = np.moveaxis(draws, own, range(len(own))).reshape(
        -1, *(n for i, n in enumerate(draws.shape) if i not in own)
    )
    if len(draws) < 2:
        raise InputError(f"the ensemble {name!r} must have at least two draws; it has {len(draws)}")
    mean = draws.mean(axis=0)
    over = tuple(range(len(kept), mean.ndim))
    spread = np.sqrt(draws.var(axis=0, ddof=1).mean(axis=over, keepdims=True))
    if not (spread > 1e-14 * np.abs(mean).max(axis=over, keepdims=True)).all():
        raise InputError(
            f"the draws of {name!r} are all equal, so they say nothing of their uncertainty; give "
            "a mean and a scale"
        )
    factor = np.moveaxis(draws - mean, 0, -1) / math.sqrt(len(draws) - 1)
    belief = low_rank(
        mean, np.broadcast_to(nugget * spread, mean.shape), factor, batch_dims=len(kept)
    )
    kept = kept if dims else tuple(_numbered(len(kept)))
    form = (
        f"{len(draws)} draws {name!r}, with an independent part of {nugget:g} times their standard "
        "deviation"
    )
    return Predictions(grid, belief, dims, kept, form, len(draws) - 1)


def _over_grid(
    values: np.ndarray, axes, grid: Grid, dims, meaning: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Values with the grid's axes last and in order, and the names of those in front."""
    if axes is not None:
        missing = [name for name in dims if name not in axes]
        if missing:
            raise InputError(
                f"the {meaning} must be over the axes ({', '.join(dims)}) of the grid; it is over "
                f"({', '.join(axes)}). Name the axes of the grid with --axes"
            )
        batch = tuple(name for name in axes if name not in dims)
        return np.transpose(values, [axes.index(name) for name in (*batch, *dims)]), batch
    lead = values.ndim - len(grid.shape)
    if lead < 0 or values.shape[lead:] != grid.shape:
        sizes = ", ".join(
            f"{name}: {size}" for name, size in zip(grid.names, grid.shape, strict=True)
        )
        behind = lead > 0 and values.shape[: len(grid.shape)] == grid.shape
        raise InputError(
            f"the {meaning} must have the shape of the grid {grid.shape} ({sizes}), batch axes in "
            f"front; got {values.shape}. "
            + (
                "What comes behind the grid's axes goes in front: np.moveaxis(array, -1, 0)"
                if behind
                else "If its axes are in another order, write it: --axes "
                + ",".join(reversed(grid.names))
            )
        )
    return values, tuple(_numbered(lead))


def _alike(
    values: np.ndarray,
    axes,
    wanted: tuple[str, ...],
    shape: tuple[int, ...],
    meaning: str,
    labelled: bool,
) -> np.ndarray:
    """Values in the order and shape of the mean; a single number stands for all."""
    if labelled and axes and set(axes) == set(wanted):
        values = np.transpose(values, [axes.index(name) for name in wanted])
    if values.shape not in ((), shape):
        raise InputError(
            f"the {meaning} must have the mean's shape {shape}, or be one number; got "
            f"{values.shape}"
        )
    return np.broadcast_to(values, shape)


def _numbered(count: int) -> list[str]:
    return ["batch"] if count == 1 else [f"batch_{i}" for i in range(count)]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
