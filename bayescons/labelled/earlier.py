"""Datasets that were conditioned earlier: what held then is stated again with what is new, of what
it was stated of, or refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from bayescons.labelled.joint import JointPredictions
from bayescons.labelled.laws import Equation, Law, law
from bayescons.labelled.predictions import Predictions
from bayescons.refusals import RefusedValue

RECORD = "bayescons_conditioned"  # attribute that says what a dataset was conditioned on
ROW, ENTRY = "row", "entry"  # behind a law's name: axes that count its rows, and their entries
KEPT = {"kind", "axes", "value", "scale", "side", "weights", "coefficients", "order", "rule"}
KEPT_EQUATION = {"kind", "axes", "value", "text"}


def reading_of(known: Predictions | JointPredictions) -> dict[str, Any]:
    """How the dataset was read: laws mean the same only where it is read so again."""
    axes = {d.name: d.axis.told for d in known.dimensions}
    turned = [d.name for d in known.dimensions if d.descending]
    return {"belief": known.form, "axes": axes, "where": known.where, "turned": turned}


def require_same_reading(known: Predictions | JointPredictions, record: dict[str, Any]) -> None:
    """Refuse a dataset that was conditioned earlier, and of which the axes of a law, the belief or
    the mask are understood otherwise now.
    """
    if not record:
        return
    now, over = reading_of(known), {name for law in record["laws"] for name in law["axes"]}
    then = [("the belief", record["belief"], now["belief"])]
    then += [("the mask", record["where"], now["where"])]
    then += [(f"the axis {n!r}", record["axes"].get(n), now["axes"].get(n)) for n in sorted(over)]
    columns = {name for law in record["laws"] if law["kind"] == "rows" for name in law["axes"]}
    then += [
        (f"the order of {n!r}", *(_order(n in each["turned"]) for each in (record, now)))
        for n in sorted(columns)
    ]
    for what, old, new in then:
        if old != new:
            raise RefusedValue(
                f"the dataset was conditioned with {what} understood as {old!r}, and it is {new!r} "
                "now, of which the earlier laws say nothing. Read it with the same options "
                "(--mean, --where, --cells, --ring, --nugget, ...), or condition the first input "
                "on all laws in one call"
            )


def _order(turned: bool) -> str:
    return "descending" if turned else "ascending"


def entries_names(name: str) -> tuple[str, str, str]:
    """Names of the arrays that hold the matrix of a law of rows: entries, rows and columns."""
    return f"{name}_{ENTRY}_value", f"{name}_{ENTRY}_{ROW}", f"{name}_{ENTRY}_column"


def restored(
    dataset: Any, laws: Sequence[Law | Equation]
) -> tuple[Any, tuple[Law | Equation, ...], dict[str, Any]]:
    """The dataset before it was conditioned, and all laws, where it has been conditioned earlier:
    what holds already is stated again together with what is new, since a mean and variances alone
    do not keep it.

    Returns:
        The dataset, all laws, and the record of how it was read, {} where it is the first time.

    Raises:
        ValueError: where what it was conditioned on cannot be stated again.
    """
    laws = tuple(laws)
    text = getattr(dataset, "attrs", {}).get(RECORD)
    if text is None:
        return dataset, laws, {}
    record = _read(text, dataset)
    earlier: list[Law | Equation] = []
    for kept in record["laws"]:
        if kept["kind"] == "equation":
            earlier.append(law(kept["text"]))
            continue
        if "not kept" in (kept["scale"], kept["weights"], kept.get("regions")):
            raise RefusedValue(
                f"the dataset was conditioned on {kept['kind']} {','.join(kept['axes'])} with "
                "arrays that it does not hold, so that law would be lost. State all laws in one "
                "call"
            )
        weights = None if kept["weights"] is None else tuple(kept["weights"])
        earlier.append(
            Law(
                kept["kind"],
                tuple(kept["axes"]),
                dataset[kept["value"]],
                kept["scale"],
                kept["side"],
                weights,
                tuple(kept["coefficients"]),
                kept["order"],
                rule=kept["rule"],
                made_of=_made_of(kept, dataset),
                source=kept.get("source", ""),
                variable=kept.get("variable"),
            )
        )
    _refuse_changed(record, dataset)
    before = dataset.copy()
    for name in record["arrays"]:
        before[name] = dataset[f"{name}_prior"]
    gone = [*(f"{name}_prior" for name in record["arrays"]), *record["added"]]
    before = before.drop_vars([name for name in gone if name in before.variables])
    del before.attrs[RECORD]
    return before, (*earlier, *laws), record


def _made_of(law: dict[str, Any], dataset: Any) -> Any:
    """The matrix of rows, the name of the array of regions, or None."""
    from scipy import sparse

    name = law["value"]
    if law["kind"] != "rows":
        return law.get("regions")
    data, row, column = (np.asarray(dataset[part]) for part in entries_names(name))
    shape = dataset[name].sizes[f"{name}_{ROW}"], law["points"]
    return sparse.coo_array((data, (row, column)), shape)


def _read(text: Any, dataset: Any) -> dict[str, Any]:
    """The record of an earlier update; refused where it, or what it names, is not whole."""
    parts = {"arrays", "added", "laws", "belief", "axes", "where", "sums"}
    try:
        record = json.loads(text)
        needed = [f"{name}_prior" for name in record["arrays"]]
        needed += [law["value"] for law in record["laws"]]
        needed += [
            part
            for law in record["laws"]
            if law["kind"] == "rows"
            for part in entries_names(law["value"])
        ]
        whole = parts <= {*record} and all(
            {*law} >= (KEPT_EQUATION if law["kind"] == "equation" else KEPT)
            for law in record["laws"]
        )
        missing = [name for name in needed if name not in dataset.variables]
    except (TypeError, ValueError, KeyError, AttributeError):
        whole, missing = False, []
    if not whole or missing:
        what = f"there is no {missing[0]!r}" if missing else f"its attribute {RECORD!r} is damaged"
        raise RefusedValue(
            f"the dataset was conditioned earlier, and {what}, so that the laws that hold already "
            "would be lost. Condition the first input on all laws in one call"
        )
    return record


def size_and_sum(array) -> list:
    """Number of values and their sum, by which a changed array is told."""
    values = np.asarray(array)
    total = values.sum(dtype=float)  # of one pass and no copy, where nothing is NaN
    total = total if np.isfinite(total) else np.nansum(values.astype(float))
    return [int(array.size), float(total)]


def _refuse_changed(record: dict[str, Any], dataset: Any) -> None:
    """Refuse arrays that somebody changed after they were conditioned: the update begins with the
    arrays before, and the change would be lost.
    """
    for name, (size, total) in record["sums"].items():
        if name not in dataset.variables:
            raise RefusedValue(
                f"the dataset was conditioned earlier, and there is no {name!r} any more. Give it "
                f"its name again, or remove the attribute {RECORD!r} to begin anew"
            )
        now, size_now = dataset[name], dataset[name].size
        slack = 1e-9 * float(np.nansum(np.abs(np.asarray(now, float)))) + 1e-300
        if size == size_now and not abs(size_and_sum(now)[1] - total) <= slack:
            raise RefusedValue(
                f"{name!r} was changed after it was conditioned. All laws are stated anew of "
                f"'{name}_prior', and the change would be lost: change that one instead, or remove "
                f"the attribute {RECORD!r} to take {name!r} as it is, without the earlier laws"
            )
