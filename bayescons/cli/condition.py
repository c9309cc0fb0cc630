"""`bayescons condition`: anybody's predictions, given conserved totals and boundary values."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bayescons.arrays import ALIKE
from bayescons.cli.command import Condition
from bayescons.cli.errors import InputError, own_refusals
from bayescons.cli.interrupts import check
from bayescons.cli.output import attributes
from bayescons.cli.terminal import say, show_table, working
from bayescons.labelled import (
    Equation,
    JointPredictions,
    Law,
    LinearisedLawWarning,
    Predictions,
    SurprisingLawWarning,
    law,
    predictions,
    several,
    solved,
)
from bayescons.labelled.earlier import require_same_reading, restored
from bayescons.labelled.files import opened, values
from bayescons.labelled.labels import require_same_places
from bayescons.labelled.laws import OF_ROWS, TOTALS
from bayescons.labelled.lazy import BY_POSITION
from bayescons.labelled.matrix_files import matrix_of, parted
from bayescons.labelled.outcome import Conditioned, as_dataset, spreads_of
from bayescons.labelled.positions import named
from bayescons.labelled.predictions import drawn_field
from bayescons.labelled.refusing import require_memory
from bayescons.labelled.writing import placed, written

EXPECTED = {
    "integral": "AXES=VALUE, as in --integral x=0.5 or --integral x,y=mass",
    "average": "AXES=VALUE, as in --average lat,lon=287.4",
    "regions": "AXES:NAME=VALUE, as in --regions lat,lon:basin=heat",
    "region_averages": "AXES:NAME=VALUE, as in --region-averages lat,lon:zone=temperature",
    "rows": "AXES:FILE=VALUE, as in --rows lat,lon:G.npz=readings or --rows x:in.nc:G=in.nc:y",
    "dirichlet": "AXIS:SIDE=VALUE, as in --dirichlet x:lower=1 or --dirichlet x:upper=wall",
    "neumann": "AXIS:SIDE=VALUE, as in --neumann x:upper=0 or --neumann x:lower=slope",
    "robin": "AXIS:SIDE:A:B=VALUE, as in --robin x:upper:1:0.5=0",
}


def run(options: Condition, command: Sequence[str]) -> None:
    """Read, say what was understood, condition, write, and print what changed.

    Raises:
        InputError: for input that cannot be used, or an output that cannot be written.
    """
    with own_refusals():
        laws = [parse(kind, text, options) for kind in EXPECTED for text in getattr(options, kind)]
        laws += [_periodic(text) for text in options.periodic]
        laws += [law(text) for text in options.law]
    if not laws:
        raise InputError(
            "nothing to condition on; state at least one of --integral x=TOTAL, --average, "
            "--regions, --region-averages, --rows, --dirichlet x:lower=VALUE, --neumann, --robin, "
            "--periodic, --law"
        )
    if options.draws < 0:
        raise InputError(f"--draws must be zero or more; got {options.draws}")
    if not 0 <= options.seed < 2**63:
        raise InputError(f"--seed must be a whole number from 0 to 2**63 - 1; got {options.seed}")
    if options.out is None and not options.dry_run:
        raise InputError("where to write is missing: --out OUT.nc, or --dry-run to write nothing")
    with own_refusals():
        if options.out is not None and not options.dry_run:
            for source in (options.input, *_others(options)):
                placed(options.out, source=source, overwrite=options.overwrite)
        with opened(options.input, group=options.group) as file:
            before, laws, stated = _understood(file, options, laws)
            understood = before.dataset.encoding["understood"]
        _require_drawable(before, options.draws)
    with warnings.catch_warnings(record=True) as caught, own_refusals():
        for category in (SurprisingLawWarning, LinearisedLawWarning):
            warnings.simplefilter("always", category)
        with working("conditioning"):
            done = solved(before, laws, anyway=options.anyway)
            places = _front(done, options)
            dataset = None if options.dry_run else _dataset(done, options, command, places)
    say(f"{options.input}: {understood}")
    for line in before.told():
        say(line)
    _report(done, stated)
    if places is not None:
        from bayescons.cli.fronts import report

        report(places, independent=done.predictions.draws is None)
    for warning in caught:
        if issubclass(warning.category, SurprisingLawWarning | LinearisedLawWarning):
            say(f"warning: {warning.message}")
    if dataset is None:
        say("nothing is written: --dry-run")
        return
    check()
    with working("writing"), own_refusals():
        written(dataset, options.out, source=options.input, overwrite=options.overwrite)
    say(f"written to {options.out}")


def parse(kind: str, text: str, options: Condition) -> Law:
    """Read AXES=VALUE or AXIS:SIDE=VALUE, with +-SCALE behind it or not, as a law."""
    place, equals, right = _halves(kind, text)
    named = kind in OF_ROWS
    axes, *further = (part.strip() for part in place.split(":", 1 if named else -1))
    value, plus_minus, scale = (part.strip() for part in right.partition("+-"))
    option = kind.replace("_", "-")
    complete = equals and axes and value and bool(scale) == bool(plus_minus) and all(further)
    expected = {"integral": 0, "average": 0, "robin": 3}.get(kind, 1)
    coefficients = [_number(part) for part in further[1:]]
    if not complete or len(further) != expected or None in coefficients:
        raise InputError(
            f"cannot read --{option} {text!r}; expected {EXPECTED[kind]} (a number, the name of an "
            "array in INPUT, or FILE:NAME), with a standard deviation behind it or not: +-0.01"
        )
    variable, _, axes = axes.rpartition("@")
    total, of = kind in TOTALS, further[0] if named else ""
    names = tuple(name.strip() for name in axes.split(","))
    return Law(
        kind,
        names,
        _value(value, f"value of --{option} {text!r}"),
        _value(scale, f"scale of --{option} {text!r}") if scale else None,
        "" if total or named else further[0],
        weights=(options.weights or None) if total else None,
        coefficients=tuple(coefficients) if coefficients else (1.0, 1.0),
        rule=options.rule if total and options.rule != "auto" else None,
        made_of=of or None,
        source=of if kind == "rows" else "",
        variable=variable.strip() or None,
    )


def _halves(kind: str, text: str) -> tuple[str, str, str]:
    """What stands before the value and behind it: at the first sign, but where the file of rows or
    regions has one in its name.
    """
    for at, sign in enumerate(text):
        path, _ = parted(text[:at].partition(":")[2].strip())
        if sign == "=" and kind in OF_ROWS and path.is_file():
            return text[:at], "=", text[at + 1 :]
    return text.partition("=")


def _periodic(text: str) -> Law:
    variable, _, axis = text.rpartition("@")
    return Law("periodic", (axis.strip(),), variable=variable.strip() or None)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _value(text: str, what: str) -> float | str:
    """A number, or the name of an array."""
    number = _number(text)
    if number is not None and not math.isfinite(number):
        raise InputError(f"the {what} must be finite; got {text!r}")
    return text if number is None else number


def _understood(
    file: Any, options: Condition, laws: Sequence[Law | Equation]
) -> tuple[Predictions | JointPredictions, tuple[Law | Equation, ...], list[Law | Equation]]:
    """The predictions of a file, all laws to be stated of them, and those that were typed or held
    already, as they are told.
    """
    file, laws, earlier = restored(_loaded(file.copy()), laws)
    if _of_several(options, file, laws):
        return _several(file, options, laws, earlier), laws, list(laws)
    names = [options.mean or "mean", options.scale or "scale", options.variance or "variance"]
    ensemble = options.ensemble or (drawn_field(file) if options.mean is None else None)
    fields = [name for name in (*names, ensemble) if name is not None and name in file.variables]
    zones = [law.made_of for law in laws if law.kind in OF_ROWS and law.kind != "rows"]
    further = [n for n in (options.where, *options.weights, *zones) if isinstance(n, str)]
    dataset, axes = named(file, options.axes, fields, ensemble, further)
    known: dict[str, str] = {}
    resolved = [_resolved(law, dataset, known) for law in laws]
    scale = _scale(options.scale, dataset)
    periods, bounds = _rings_and_cells(options, dataset)
    before = predictions(
        dataset,
        mean=options.mean,
        scale=scale,
        variance=options.variance,
        ensemble=options.ensemble,
        laws=resolved,
        axes=axes,
        members=options.members,
        where=earlier.get("where") if options.where is None else options.where,
        rings=periods,
        cells=bounds,
        nugget=options.nugget,
    )
    require_same_reading(before, earlier)
    return before, tuple(resolved), list(laws)


def _rings_and_cells(options: Condition, dataset: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    cells = dict(_split("cells", text) for text in options.cells)
    bounds = {name: _array(text, dataset, "cells") for name, text in cells.items()}
    rings = [text.partition("=") for text in options.ring]
    return {name.strip(): _period(period) for name, _, period in rings}, bounds


def _of_several(options: Condition, file: Any, laws: Sequence[Law | Equation]) -> bool:
    """Whether several variables are meant, or laws that are equations."""
    named = [text for text in (options.mean, options.ensemble) if text and text not in file]
    listed = any("," in text for text in named)
    return listed or any(isinstance(each, Equation) or each.variable for each in laws)


def _several(
    file: Any, options: Condition, laws: Sequence[Law | Equation], earlier: Mapping[str, Any]
) -> JointPredictions:
    """The predictions of several variables of a file."""
    if options.axes is not None:
        raise InputError(
            "--axes is of one variable; in laws across variables all axes are of the grid. Leave "
            "it out"
        )
    if options.weights and all(isinstance(each, Equation) for each in laws):
        raise InputError(
            "--weights is of --integral and its like; in --law write the weights into the sum: "
            f"sum(q * {options.weights[0]}, lat, lon)"
        )
    if options.front is not None:
        raise InputError("--front is of one variable. Condition, and look at OUT with --front")
    unnamed = [name for name in file.variables if file[name].attrs.get(BY_POSITION)]
    if unnamed:
        raise InputError(
            f"the axes of {unnamed[0]!r} have no names, by which laws across variables tell them. "
            "Write a NetCDF file: xarray.Dataset({'q': (('t', 'x'), q)}).to_netcdf('in.nc')"
        )
    periods, bounds = _rings_and_cells(options, file)
    understood = several(
        file,
        mean=_listed(options.mean, file),
        scale=_numbers(_listed(options.scale, file), file),
        variance=_numbers(_listed(options.variance, file), file),
        ensemble=_listed(options.ensemble, file),
        laws=laws,
        members=options.members,
        where=earlier.get("where") if options.where is None else options.where,
        rings=periods,
        cells=bounds,
        nugget=options.nugget,
    )
    require_same_reading(understood, earlier)
    return understood


def _listed(text: str | None, file: Any) -> tuple[str, ...] | None:
    """Names with commas between them, or one that is an array."""
    if text is None:
        return None
    return (text,) if text in file else tuple(part.strip() for part in text.split(","))


def _numbers(given: tuple[str, ...] | None, file: Any) -> tuple[str | float, ...] | None:
    """Names of arrays, and numbers."""
    if given is None:
        return None
    numbers = [None if one in file.variables else _number(one) for one in given]
    return tuple(a if b is None else b for a, b in zip(given, numbers, strict=True))


def _scale(given: str | None, dataset: Any) -> str | None:
    """Name of the standard deviations; a number becomes an array of the dataset."""
    number = None if given is None or given in dataset.variables else _number(given)
    if number is None:
        return given
    if "scale" in dataset.variables:
        raise InputError(f"INPUT has an array 'scale'; --scale {given} would replace it")
    dataset["scale"] = number
    return "scale"


def _others(options: Condition) -> list[Path]:
    """Files other than INPUT that are read: FILE of FILE:NAME."""
    stated = [_halves(kind, text) for kind in EXPECTED for text in getattr(options, kind)]
    texts = [*options.weights, *(text.partition("=")[2] for text in options.cells)]
    texts += [part for _, _, right in stated for part in right.split("+-")]
    texts += [place.partition(":")[2] for place, _, _ in stated]
    parts = [parted(text.strip()) for text in texts]
    return [path for path, name in parts if name is not None or path.is_file()]


def _split(option: str, text: str) -> tuple[str, str]:
    axis, equals, right = (part.strip() for part in text.partition("="))
    if not (axis and equals and right):
        raise InputError(f"cannot read --{option} {text!r}; expected AXIS=BOUNDS, as in z=z_bnds")
    return axis, right


def _period(text: str) -> float | None:
    number = _number(text)
    if text.strip() and number is None:
        raise InputError(f"cannot read --ring ...={text}; expected AXIS or AXIS=PERIOD, as in x=1")
    return number


def _loaded(dataset: Any) -> Any:
    """A dataset whose arrays are read, each fault a sentence."""
    for name in dataset.variables:
        if name not in dataset.indexes:  # xarray has read these
            dataset.variables[name].data = values(dataset, name)
    return dataset


def _array(text: str, dataset: Any, what: str) -> Any:
    """NAME in INPUT, or FILE:NAME, whose array is added to the dataset."""
    if text in dataset.variables:
        return dataset[text]
    path, colon, name = text.rpartition(":")
    if not colon:
        known = ", ".join(map(repr, dataset.variables))
        raise InputError(
            f"there is no array {text!r} for the {what}; there is {known}. Of another file write "
            "FILE:NAME"
        )
    with opened(Path(path)) as file:
        if name not in file.variables:
            raise InputError(f"{path} has no array {name!r}; it has {', '.join(file.variables)}")
        values(file, name)
        found = file[name].load().reset_coords(drop=True)
    if name in dataset.variables:
        raise InputError(f"INPUT has an array {name!r} too; rename it in {path}")
    found = _aligned(found, dataset, f"the array {name!r} of {path}")
    taken = {n: f"{name}_{n}" for n in found.dims if n not in dataset.dims and n in dataset}
    dataset[name] = found.rename(taken)
    return dataset[name]


def _aligned(found: Any, dataset: Any, what: str) -> Any:
    """An array of another file at the coordinates of INPUT: in any order, and where they are alike
    but for single precision, in its own.
    """
    for name in (n for n in found.dims if n in found.coords and n in dataset.coords):
        one, other = (np.asarray(a[name]) for a in (found, dataset))
        plain = one.shape == other.shape and one.dtype.kind in "iuf" and other.dtype.kind in "iuf"
        if plain and np.allclose(one, other, rtol=ALIKE, atol=ALIKE * np.abs(other).max()):
            found = found.assign_coords({name: dataset[name]})
        elif one.shape == other.shape and np.array_equal(np.sort(one), np.sort(other)):
            found = found.reindex({name: dataset[name]})
    require_same_places(what, found, dataset)
    return found


def _resolved(law: Law, dataset: Any, known: dict[str, str]) -> Law:
    """A law whose arrays are in the dataset, and its matrix read.

    Args:
        law: as typed, or of an earlier update.
        dataset: to which arrays of other files are added.
        known: FILE:NAME of those -> their names in the dataset.
    """

    def name(text: Any, what: str) -> Any:
        typed = isinstance(text, str) and text not in dataset.variables
        if not typed or (":" not in text and what in ("value", "scale")):
            return text  # of which `stating` says what it is
        if text not in known:
            known[text] = _array(text, dataset, what).name
        return known[text]

    made_of = law.made_of
    if law.kind == "rows" and isinstance(made_of, str):
        made_of = matrix_of(made_of)
        if hasattr(made_of, "dims"):
            made_of = _aligned(made_of, dataset, f"the matrix {made_of.name!r}")
    elif law.kind in OF_ROWS:
        made_of = name(made_of, "regions")
    return dataclasses.replace(
        law,
        value=name(law.value, "value"),
        scale=name(law.scale, "scale"),
        weights=None if law.weights is None else tuple(name(w, "weights") for w in law.weights),
        made_of=made_of,
    )


def _front(done: Conditioned, options: Condition) -> Any:
    """Where the field crosses a threshold, as a dataset; None where that is not asked for."""
    if options.front is None:
        return None
    from bayescons.cli.fronts import DRAWS, located  # which needs much that nothing else does

    return located(done, options.front, options.draws or DRAWS, options.seed)


def _dataset(done: Conditioned, options: Condition, command: Sequence[str], places: Any) -> Any:
    """What is written: a dataset, or a tree where draws are asked for."""
    import xarray

    dataset = as_dataset(done, seed=options.seed)
    if places is not None:
        dataset = dataset.assign(places.variables)
    told = {"belief": done.predictions.form, "seed": options.seed}
    dataset.attrs |= attributes(command, input=str(options.input), **told)
    if not options.draws:
        return dataset
    key = jax.random.key(options.seed)
    drawn = done.predictions.split(done.result.posterior.sample(key, (options.draws,)))
    each = zip(done.predictions.each, drawn, strict=True)
    posterior = xarray.Dataset({k.template.name: _drawn(k, a, dataset, options) for k, a in each})
    return xarray.DataTree.from_dict({"/": dataset, "/posterior": posterior})


def _drawn(known: Predictions, values: Any, dataset: Any, options: Condition) -> Any:
    """Draws of one variable, with chain and draw in front as ArviZ has them."""
    import xarray

    values = np.asarray(values)
    if known.mask is not None:
        values = np.where(known.mask, values, np.nan)
    field = known.ascending(xarray.DataArray(values[None], dims=("chain", "draw", *known.axes)))
    places = {n: c for n, c in dataset.coords.items() if c.dims and {*c.dims} <= {*known.axes}}
    return field.assign_coords(**places, chain=[0], draw=np.arange(options.draws))


def _require_drawable(known: Predictions | JointPredictions, draws: int) -> None:
    """Refuse draws that do not fit into memory, or beside axes of their names."""
    taken = [n for n in ("chain", "draw") if n in {*known.dataset.dims, *known.dataset.variables}]
    if draws and taken:
        raise InputError(
            f"--draws writes over the axes chain and draw, and INPUT has {taken[0]!r} itself. "
            f"Rename it there, ds.rename({taken[0]}='member'), or leave --draws out"
        )
    size = 24 * min(draws, 2**62) * known.belief.mean.size  # noise, draws, what is written
    require_memory(size, f"what --draws {draws} writes")


def _report(done: Conditioned, typed: Sequence[Law | Equation]) -> None:
    """Print each law before and after, the evidence, and what else is worth a look."""
    before, result = done.predictions, done.result
    rows = []
    for typed_law, fact, distance in zip(typed, done.laws, done.surprise, strict=True):
        errors = [
            np.nanmax(np.abs(fact.values(b) - fact.stated_values()), initial=0.0)
            for b in (before.belief, result.posterior)
        ]
        exact = fact.scale is None
        rows.append(
            (
                typed_law.name,
                typed_law.value if isinstance(typed_law.value, str) else _told(typed_law.value),
                "exact" if exact else str(typed_law.scale),
                str(math.prod(fact.functional.value_shape)),
                "" if distance is None else f"{distance:.2g}",
                *(f"{error:.2e}" for error in errors),
            )
        )
    heads = ["law", "value", "scale", "rows", "sd away", "error before", "after"]
    show_table(heads, rows, text=3)
    for fact in done.laws:
        if fact.told:
            say(f"{fact.law.name}: {fact.told}" + (f", in {fact.units}" if fact.units else ""))
    say(
        "Errors are the largest |G mean - value| over rows and predictions; sd away is the largest "
        "distance in standard deviations of the prediction."
    )
    redundant = int(np.sum(np.asarray(result.redundant)))
    if redundant:
        count = f"{redundant} row{'s' * (redundant != 1)}"
        say(f"{count} of {np.size(result.redundant)} follow from the others and change nothing.")
    say(f"log evidence: {_spread(np.asarray(result.log_evidence))}")
    _note_directions(done)
    shares = ", ".join(
        f"{100 * share:.4g} % of what it was" + (f" for {name}" if len(before.each) > 1 else "")
        for name, share in spreads_of(done).items()
    )
    say(f"standard deviation (root mean square): {shares}")


def _told(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "as before"


def _note_directions(done: Conditioned) -> None:
    draws, independent = done.predictions.draws, int(np.max(done.result.rank))
    if draws is not None and independent > len(draws) - 1:
        say(
            f"note: the ensemble varies in {len(draws) - 1} directions and {independent} facts are "
            "independent: most of the correction falls on the independent part added to it. Use "
            "more draws, fewer facts, or facts with a scale"
        )


def _spread(evidence: np.ndarray) -> str:
    """One number, a few, or where most of them lie."""
    if evidence.size <= 4:
        return ", ".join(f"{e:.6g}" for e in evidence.ravel())
    low, middle, high = np.quantile(evidence, [0, 0.5, 1])
    return f"median {middle:.6g}, from {low:.6g} to {high:.6g}"
