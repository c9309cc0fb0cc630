"""`--front`: where the field crosses a threshold, before and after, over draws of the belief."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np

from bayescons.cli.errors import InputError
from bayescons.cli.terminal import say, show_table
from bayescons.diagnostics.contours import contour_position, enclosed_area
from bayescons.labelled.labels import Labels
from bayescons.labelled.outcome import Conditioned
from bayescons.labelled.refusing import require_memory

DRAWS = 400
SHOWN = 12  # rows of the table
TIMES = ("t", "time")  # no axes of space
STATISTICS = ("mean", "sd", "lower", "upper", "absent")


def located(done: Conditioned, threshold: float, draws: int, seed: int) -> Any:
    """Mean, standard deviation and 95 % interval of the front's place in draws that have one, and
    the share of draws that have none, before and after, for each of the batch and of the times.

    Along one axis of space the front is the first place, from the lower end, at which the field
    falls or rises through the threshold; in a plane its place is the area that it encloses.

    Returns:
        A dataset of `front_before` and `front_after`, over (statistic, *batch, *times).

    Raises:
        InputError: for none or more than two axes of space, or a mask.
        RefusedValue: where draws do not fit into memory.
    """
    import xarray

    known = done.predictions
    space = _space(known)
    size = 8 * draws * int(np.prod(known.belief.mean.shape))
    require_memory(4 * size, f"{draws} draws of the field, for --front")
    kept = tuple(name for name in known.axes if name not in space)
    found = {}
    for which, belief in (("before", known.belief), ("after", done.result.posterior)):
        fields = belief.sample(jax.random.key(seed), (draws,))
        places = np.asarray(_places(fields, known, space, threshold))
        found[f"front_{which}"] = (("statistic", *kept), _statistics(places))
    coordinates = {n: known.dataset.coords[n] for n in kept if n in known.dataset.coords}
    dataset = xarray.Dataset(found, coords={"statistic": list(STATISTICS), **coordinates})
    what = (
        f"first place along {space[0]}" if len(space) == 1 else f"area over {' and '.join(space)}"
    )
    dataset.attrs["about"] = f"Front at {threshold:g}: {what}, of {draws} draws"
    turned = {d.name: slice(None, None, -1) for d in known.dimensions if d.descending}
    return dataset.isel({n: s for n, s in turned.items() if n in kept})


def _space(known: Labels) -> tuple[str, ...]:
    space = tuple(d.name for d in known.dimensions if d.name not in TIMES)
    if len(space) not in (1, 2):
        raise InputError(
            "--front is looked for along one axis of space, or as a contour over two; the grid has "
            f"{', '.join(space) or 'none'}. Name the axes of the grid: --axes"
        )
    if getattr(known, "mask", None) is not None:
        raise InputError("--front is not looked for in a field with a mask; leave it out")
    return space


def _places(fields, known: Labels, space: tuple[str, ...], threshold: float):
    if len(space) == 2:
        return enclosed_area(fields, known.grid, threshold, axes=space)
    either = [
        contour_position(fields, known.grid, threshold, along=space[0], direction=way).position
        for way in ("falling", "rising")
    ]
    return np.fmin(*map(np.asarray, either))


def _statistics(places: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of none at all: NaN
        lower, upper = np.nanquantile(places, [0.025, 0.975], axis=0)
        mean, sd = np.nanmean(places, axis=0), np.nanstd(places, axis=0)
    return np.stack([mean, sd, lower, upper, np.isnan(places).mean(axis=0)])


def report(places: Any, *, independent: bool) -> None:
    """Print a table of what `located` found.

    Args:
        places: the dataset.
        independent: whether the points of the belief are.
    """
    kept = [name for name in places["front_after"].dims if name != "statistic"]
    shape = [places.sizes[name] for name in kept]
    rows = []
    for index in list(np.ndindex(*shape))[:SHOWN]:
        at = dict(zip(kept, index, strict=True))
        where = ", ".join(f"{n} {_label(places, n, i)}" for n, i in at.items())
        for which in ("before", "after"):
            mean, sd, lower, upper, absent = places[f"front_{which}"].isel(at).values
            told = [f"{x:.5g}" for x in (mean, sd, lower, upper)]
            rows.append((where if which == "before" else "", which, *told, f"{100 * absent:.3g} %"))
    heads = ["place" if len(kept) else "", "", "mean", "sd", "2.5 %", "97.5 %", "no front"]
    show_table(heads, rows, title=places.attrs["about"], text=2)
    if independent:
        say(
            "note: the points of this belief are independent, so that its draws are rough and may "
            "cross before the field does; an ensemble knows how points move together"
        )
    left = int(np.prod(shape)) - SHOWN
    if left > 0:
        say(f"and {left} more, in the output as front_before and front_after")


def _label(places: Any, name: str, index: int) -> str:
    if name not in places.coords:
        return str(index)
    value = places[name].values[index]
    return f"{value:.6g}" if np.issubdtype(np.asarray(value).dtype, np.number) else str(value)[:19]
