"""Values of the arrays of a belief, over the axes of batch and grid in order: NaN where the file
says that nothing is known, by its fill values, its valid range or a stated mask.
"""

from __future__ import annotations

import numpy as np

from bayescons.labelled.fills import looks_like_fill
from bayescons.labelled.labels import Labels, found
from bayescons.refusals import RefusedValue

PACKING = {"scale_factor": 1.0, "add_offset": 0.0}


def over_field(about: Labels, name: str, what: str):
    """An array over the axes of the field, or some of them."""
    array, wanted = found(about.dataset, name, what), (*about.members, *about.axes)
    if any(axis not in wanted for axis in array.dims):
        raise RefusedValue(
            f"the {what} {name!r} is over ({', '.join(map(str, array.dims))}), and the field over "
            f"({', '.join(wanted)}); expected are these axes, or some of them, or one number"
        )
    return array


def field_values(
    about: Labels,
    name: str,
    what: str,
    stated: np.ndarray | None,
    lead: tuple[str, ...] = (),
) -> np.ndarray:
    """Values over (*lead, *batch, *grid), in float64, NaN where nothing is known; outside of a
    stated mask, which files fill with anything, NaN too.
    """
    array = over_field(about, name, what)
    wanted = (*lead, *about.axes)
    ordered = about.ascending(array.transpose(*(n for n in wanted if n in array.dims)))
    sizes = {n: about.template.sizes[n] for n in wanted}
    values = np.asarray(ordered).astype(np.float64)
    values = values.reshape([sizes[n] if n in array.dims else 1 for n in wanted])
    low, high = _valid(array)
    fills = fills_of(array)
    if stated is not None:  # of an array without all axes too, where one of its points is inside
        values = np.where(stated, values, np.nan)
    if np.isfinite([low, high]).any() or fills.size:
        invalid = (values < low) | (values > high) | np.isin(values, fills)
        values = np.where(invalid, np.nan, values)
    if np.isinf(values).any():
        raise RefusedValue(
            f"the {what} {name!r} holds {int(np.isinf(values).sum())} infinite values"
        )
    fill = looks_like_fill(values, low, high)
    if fill is not None:
        count = int((values == fill).sum())
        raise RefusedValue(
            f"the {what} {name!r} holds {fill:g} {count} times, which looks like a fill value "
            "that the file does not declare. Declare it, ds[name].where(ds[name] != "
            f"{fill:g}), or name a mask: --where NAME. If it is a value, say what is valid: "
            f"ds[{name!r}].attrs['valid_min'] or ['valid_max'] = {fill:g}"
        )
    return np.broadcast_to(values, tuple(sizes.values()))


def _valid(array) -> tuple[float, float]:
    """The range that the file calls valid."""
    low, high = (_declared(array, name) for name in ("valid_min", "valid_max"))
    both = _declared(array, "valid_range")
    sizes = {"valid_min": low.size <= 1, "valid_max": high.size <= 1, "valid_range": both.size != 1}
    sizes["valid_range"] &= both.size <= 2
    wrong = [name for name, fits in sizes.items() if not fits]
    if wrong:
        raise RefusedValue(
            f"the attribute {wrong[0]!r} of {array.name!r} must be one number, or two for "
            f"valid_range. Mend it, or leave it out: del ds[{array.name!r}].attrs[{wrong[0]!r}]"
        )
    low, high = (both[:1], both[1:]) if both.size else (low, high)
    return min(low, default=-np.inf), max(high, default=np.inf)


def _declared(array, name: str) -> np.ndarray:
    """Numbers of an attribute, none or more; bounds of packed numbers that are of their type
    unpacked, as the user's guide of NetCDF says.
    """
    said = {**array.encoding, **array.attrs}
    given = np.asarray(said.get(name, [])).ravel()
    if given.dtype.kind not in "iuf":
        raise RefusedValue(
            f"the attribute {name!r} of {array.name!r} must hold numbers; it holds {said[name]!r}. "
            f"Mend it, or leave it out: del ds[{array.name!r}].attrs[{name!r}]"
        )
    packed = np.dtype(array.encoding.get("dtype", float)).kind in "iu" and given.dtype.kind in "iu"
    factor, offset = (said.get(n, d) if packed else d for n, d in PACKING.items())
    return given * float(factor) + float(offset)


def fills_of(array) -> np.ndarray:
    """Numbers that stand for nothing known, where nobody has replaced them by NaN yet."""
    known = [_declared(array, n) for n in ("_FillValue", "missing_value") if n in array.attrs]
    return np.concatenate([np.empty(0), *known]).astype(array.dtype).astype(float)
