"""Rows: what an experiment measured, one number each, with where it came from; and their JSON file,
a plain list of rows.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from bayescons.cli.errors import InputError
from bayescons.provenance import cores, processor, versions

PACKAGES = ("bayescons", "jax", "numpyro", "numpy", "arviz")


@functools.cache
def device() -> str:
    """The accelerator, or the processor and how many of its cores may be used."""
    if jax.default_backend() != "cpu":
        return jax.devices()[0].device_kind
    return f"{processor()}, {cores()} cores"


@dataclasses.dataclass(frozen=True)
class Row:
    """One measured number.

    Attributes:
        problem: what was solved.
        parameter: its parameter or size.
        method: how.
        metric: what was measured, with its unit.
        mean: the number, or a mean over n cases; NaN where there is none, and `note` says why.
        se: standard error of the mean; NaN for a single number.
        n: how many cases.
        reference: a published number, or a target such as "≤ 2" or "≥ 300"; None where there is
            neither.
        note: what must be said beside the number.
        device: what it ran on.
    """

    problem: str
    parameter: str
    method: str
    metric: str
    mean: float
    se: float = math.nan
    n: int = 1
    reference: float | str | None = None
    note: str = ""
    device: str = dataclasses.field(default_factory=device)

    @property
    def met(self) -> bool | None:
        """Whether a target is reached; None where there is none, or no number."""
        if not isinstance(self.reference, str) or math.isnan(self.mean):
            return None
        sign, bound = self.reference.split()
        return self.mean <= float(bound) if sign == "≤" else self.mean >= float(bound)


def averaged(values) -> dict[str, float | int]:
    """`mean`, `se` and `n` of a row over cases: the mean, the sample's standard deviation /
    sqrt(n), and n. NaN cases are left out.
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not values.size:
        return {"mean": math.nan, "se": math.nan, "n": 0}
    se = values.std(ddof=1) / math.sqrt(values.size) if values.size > 1 else math.nan
    return {"mean": float(values.mean()), "se": float(se), "n": values.size}


def provenance(experiment: str, preset: str, seed: int) -> dict:
    """What is written into every row beside what was measured."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {
        "experiment": experiment,
        "preset": preset,
        "seed": seed,
        "date": today,
        "versions": versions(PACKAGES),
    }


def to_json(rows: Sequence[Row], origin: dict) -> str:
    """A list of rows, `origin` in each, one row a line; NaN becomes null."""
    records = [dataclasses.asdict(row) | origin for row in rows]
    lines = [
        json.dumps(
            {k: _plain(v) for k, v in record.items()},
            ensure_ascii=False,
            allow_nan=False,
            default=float,
        )
        for record in records
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def from_json(path: Path) -> tuple[list[Row], dict]:
    """The rows of a file, and the origin they share.

    Raises:
        InputError: for a file that is not a list of rows of one origin.
    """
    names = [field.name for field in dataclasses.fields(Row)]
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        measured = [{name: record.pop(name) for name in names} for record in records]
    except (json.JSONDecodeError, TypeError, AttributeError, KeyError) as error:
        raise InputError(
            f"{path} is not a list of rows with {', '.join(names)}: {error!r}"
        ) from error
    if not records or any(record != records[0] for record in records):
        raise InputError(
            f"the rows of {path} do not come from one run; write it again with python -m "
            f"experiments {path.stem}"
        )
    filled = [
        row | {key: math.nan for key in ("mean", "se") if row[key] is None} for row in measured
    ]
    return [Row(**row) for row in filled], records[0]


def _plain(value):
    return None if isinstance(value, float) and not math.isfinite(value) else value
