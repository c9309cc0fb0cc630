"""What an array, a number or a name must be, said once: checks at the doors, and how a function of
one field is mapped over a batch.
"""

from __future__ import annotations

import difflib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from bayescons import tracing
from bayescons.refusals import RefusedType, RefusedValue


def concrete(array) -> bool:
    """Whether an array's numbers are known now: it is not being traced."""
    return not isinstance(array, jax.core.Tracer)


def sample_shape(shape) -> tuple[int, ...]:
    """The axes of draws: whole numbers, or one of them alone, as NumPy takes its sizes."""
    axes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if not all(
        isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 0 for n in axes
    ):
        raise RefusedType(
            f"the shape of draws is a whole number or a tuple of them; got {shape!r}. Write (100,)"
        )
    return tuple(map(int, axes))


def constant(array: np.ndarray) -> np.ndarray:
    """An array of the host that cannot change from here on, so that a device may keep its copy."""
    array.setflags(write=False)
    return array


UNNAMED = ("dim_0",)  # what xarray calls an axis that nobody has named
ALIKE = 1e-6  # of the largest coordinate: as far as files in single precision are alike
KINDS = {
    "c": "complex numbers. Give its real and its imaginary part as two",
    "M": (
        "dates. Give the time since the first of them in a unit of your choice: (t - t[0]) / "
        'np.timedelta64(1, "D") in days'
    ),
    "m": 'spans of time. Give them in a unit: t / np.timedelta64(1, "s") in seconds',
    "U": "text. Convert it: np.asarray(values, float)",
    "S": "text. Convert it: np.asarray(values, float)",
    "O": "objects that are no numbers. Convert them: np.asarray(values, float)",
}


def numbers(what: str, array, names: tuple[str, ...] = (), coordinates: tuple = ()):
    """What was given, if it is real numbers in an order that is known.

    Args:
        what: it is, for messages.
        array: anything that NumPy or JAX takes for an array.
        names: of the axes that are expected, where they have any: an xarray.DataArray over them is
            brought into their order.
        coordinates: along these axes, where they are known: a DataArray that has coordinates must
            have these.

    Raises:
        ValueError: masked entries, or named axes that are others than those, or cannot be compared,
            or with other coordinates.
        TypeError: complex numbers, dates, text, objects.
    """
    if isinstance(array, np.ma.MaskedArray):
        if np.ma.is_masked(array):
            raise RefusedValue(
                f"{what} is a masked array with {int(np.ma.count_masked(array))} masked entries; "
                "leave these points out, or fill them: array.filled(0.0)"
            )
        array = array.data
    # Nobody holds a DataArray who has not loaded it; another thread may be about to.
    labelled = getattr(sys.modules.get("xarray"), "DataArray", None)
    if labelled is not None and isinstance(array, labelled):
        array = _in_order(what, array, names, coordinates)
    if isinstance(array, jax.Array):
        kind = "c" if jnp.issubdtype(array.dtype, jnp.complexfloating) else "f"
    elif any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(array)):
        kind = "f"
    else:
        kind = np.asarray(array).dtype.kind
    if kind in KINDS:
        raise RefusedType(f"{what} holds {KINDS[kind]}")
    return array


def _in_order(what: str, array, names: tuple[str, ...], coordinates: tuple) -> np.ndarray:
    """The values of a DataArray, its axes as they are expected."""
    if array.ndim < 2 and (not names or array.dims in ((), UNNAMED)):
        return array.values
    if set(array.dims) == set(names):
        for name, points in zip(names, coordinates, strict=False):
            _refuse_elsewhere(what, array, name, points)
        return array.transpose(*names).values
    expected = (
        f"expected are {names}" if names else "what is expected here has no names to compare with"
    )
    raise RefusedValue(
        f"{what} is a DataArray over {array.dims}, and {expected}. Rename its axes, if they are "
        "these under other names; or bring it into the order of the field's axes and give its "
        "values: array.transpose('t', 'x').values"
    )


def _refuse_elsewhere(what: str, array, name: str, points) -> None:
    """Refuse a DataArray whose coordinates along an axis are others than these points."""
    if name not in array.coords or not concrete(points):
        return
    found, points = np.asarray(array[name]), np.asarray(points)
    if found.dtype.kind not in "iuf" or found.shape != points.shape:
        return  # dates have no origin to compare by; a shape is refused as such
    if np.abs(found - points).max(initial=0.0) > ALIKE * np.abs(points).max(initial=0.0):
        raise RefusedValue(
            f"{what} has the coordinates {found[0]:g} to {found[-1]:g} along {name!r}, and "
            f"{points[0]:g} to {points[-1]:g} are expected. Bring it to these points, "
            f"array.sel({name}=grid[{name!r}]) or array.interp, or build the grid on its own"
        )


def real(what: str, array) -> jax.Array:
    """An array of floating numbers; whole numbers become so."""
    array = jnp.asarray(numbers(what, array))
    return (
        array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(jnp.result_type(float))
    )


def finite(what: str, array):
    """The array, or an error that counts its NaN and infinite entries."""
    if not concrete(array):
        tracing.ask(~jnp.isfinite(array))
    elif not np.isfinite(np.asarray(array)).all():
        bad = int(np.size(array) - np.isfinite(np.asarray(array)).sum())
        raise RefusedValue(
            f"{what} holds {bad} NaN or infinite entries; remove or replace them first"
        )
    return array


def positive(what: str, array, shape: tuple, *, zero: bool = False) -> jax.Array | np.ndarray:
    """Standard deviations, broadcast to a shape, or an error that names the smallest; `zero` lets
    zero pass. Known numbers stay on the host.
    """
    array = numbers(what, array)
    if not concrete(array):
        array = real(what, array)
        tracing.ask(array < 0 if zero else array <= 0)
        least = 1.0
    else:
        array = np.asarray(array)
        inexact = jnp.issubdtype(array.dtype, jnp.inexact)
        array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype if inexact else float))
        least = float(np.min(array, initial=np.inf))
    if array.shape not in ((), shape):
        raise RefusedValue(f"{what} must be a number or have shape {shape}; got {array.shape}")
    finite(what, array)
    if least < 0 or (least == 0 and not zero):
        raise RefusedValue(
            f"{what} must be {'at least' if zero else 'above'} zero everywhere; its smallest entry "
            f"is {least:g}. It is a standard deviation; state what is known exactly as a "
            "constraint instead"
        )
    return (np if concrete(array) else jnp).broadcast_to(array, shape)


def over_batch(function, lead: int, shared: bool = False):
    """Map over `lead` batch axes; `shared` holds the first argument (a covariance) fixed."""
    for _ in range(lead):
        function = jax.vmap(function, in_axes=(None, 0)) if shared else jax.vmap(function)
    return function


def rank_tolerance(rows: int, dtype) -> float:
    """64 max(r, 8) eps: an entry of the scaled S carries a few tens of eps from the products that
    made it, and an r x r perturbation of entries that size moves an eigenvalue by at most r times
    as much (Weyl).
    """
    return 64 * max(rows, 8) * float(jnp.finfo(dtype).eps)


def one_of(what: str, name, names: tuple) -> None:
    """An error that offers the nearest, unless the name is one of the names."""
    if name in names:
        return
    known = [n for n in names if n is not None]
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise RefusedValue(
        f"there is no {what} {name!r}; {hint}There are {', '.join(map(repr, known))}"
    )


def check_counts(**given: int) -> None:
    """Refuse numbers of draws, chains or warm-up steps that give nothing: `n` and `chains` from 1,
    `warmup` from 0.
    """
    for name, number in given.items():
        least = 0 if name == "warmup" else 1
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < least:
            raise RefusedValue(f"{name} must be a whole number, {least} or more; got {number!r}")
