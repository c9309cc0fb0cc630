"""`bayescons condition`: anybody's predictions, given conserved totals and boundary values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from bayescons.arrays import over_batch
from bayescons.cli.command import Condition
from bayescons.cli.errors import InputError, refusals
from bayescons.cli.output import attributes, netcdf_file
from bayescons.cli.predictions import Arrays, Predictions, open_arrays, read_belief, read_value
from bayescons.cli.terminal import say, show_table, working
from bayescons.functionals import dirichlet, integral, neumann
from bayescons.gaussians.conditioning import Constraint, Update, stack, update
from bayescons.grids import Grid
from bayescons.results import trees as results

EXPECTED = {
    "integral": "AXIS=TOTAL, as in --integral x=0.5 or --integral x=mass",
    "dirichlet": "AXIS:SIDE=VALUE, as in --dirichlet x:lower=1 or --dirichlet x:upper=wall",
    "neumann": "AXIS:SIDE=VALUE, as in --neumann x:upper=0 or --neumann x:lower=slope",
}


class Statement(NamedTuple):
    """One fact as typed: `--integral x=mass+-0.1` is (integral, x, "", mass, 0.1)."""

    kind: str
    axis: str
    side: str
    value: str
    scale: str

    @property
    def name(self) -> str:
        """What messages and tables call it."""
        return f"{self.kind} {self.axis}" + (f":{self.side}" if self.side else "")


def run(options: Condition, command: Sequence[str]) -> None:
    """Read, condition, write, and print what changed.

    Raises:
        InputError: for input that cannot be used, or an output that cannot be written.
    """
    statements = [parse(kind, text) for kind in EXPECTED for text in getattr(options, kind)]
    if not statements:
        raise InputError(
            "nothing to condition on; state at least one of --integral x=TOTAL, --dirichlet "
            "x:lower=VALUE, --neumann"
        )
    if options.draws < 0:
        raise InputError(f"--draws must be zero or more; got {options.draws}")
    with open_arrays(options.input) as arrays:
        naming = {
            name: getattr(options, name)
            for name in ("mean", "scale", "variance", "ensemble", "nugget")
        }
        predictions = read_belief(arrays, options.axes, **naming)
        constraints = [
            _constraint(arrays, predictions, statement, options.rule) for statement in statements
        ]
    with netcdf_file(options.out) as temporary:
        with working("conditioning"), refusals():
            result = update(predictions.belief, stack(constraints))
        with working("writing"):
            variables = _variables(predictions, constraints, result)
            if options.draws:
                sampled = result.posterior.sample(jax.random.key(options.seed), (options.draws,))
                variables["draws"] = (
                    ("draw", *predictions.batch, *predictions.grid.names),
                    np.asarray(sampled),
                )
            told = {
                "input": str(options.input),
                "belief": predictions.form,
                "seed": options.seed,
                "rule": options.rule,
            }
            results.write(_dataset(predictions, variables, attributes(command, **told)), temporary)
    _report(options, predictions, statements, constraints, result)


def parse(kind: str, text: str) -> Statement:
    """Read AXIS=VALUE or AXIS:SIDE=VALUE, with +-SCALE behind it or not."""
    place, equals, right = text.partition("=")
    axis, colon, side = place.strip().partition(":")
    value, plus_minus, scale = (part.strip() for part in right.partition("+-"))
    complete = equals and axis and value and bool(scale) == bool(plus_minus)
    if not complete or bool(colon) == (kind == "integral") or bool(side) != bool(colon):
        raise InputError(
            f"cannot read --{kind} {text!r}; expected {EXPECTED[kind]} (a number, or the name of "
            "an array in INPUT), with a standard deviation behind it or not: +-0.01"
        )
    return Statement(kind, axis, side, value, scale)


def _constraint(
    arrays: Arrays, predictions: Predictions, statement: Statement, rule: str
) -> Constraint:
    grid, option = predictions.grid, f"--{statement.kind} {statement.axis}"
    over = (
        tuple(axis.strip() for axis in statement.axis.split(","))
        if statement.kind == "integral"
        else (statement.axis,)
    )
    with refusals(option):
        functional = _functional(grid, statement, over, rule)
    kept = [name for name in grid.names if name not in over]
    value = read_value(arrays, predictions, statement.value, kept, f"value of {statement.name!r}")
    scale = statement.scale or None
    if scale not in (None, "quadrature"):
        scale = read_value(arrays, predictions, scale, kept, f"scale of {statement.name!r}")
    return Constraint(functional, value, scale, statement.name)


def _functional(grid: Grid, statement: Statement, over: tuple[str, ...], rule: str):
    if statement.kind == "integral":
        return integral(grid, over, rule)
    return {"dirichlet": dirichlet, "neumann": neumann}[statement.kind](
        grid, statement.axis, statement.side
    )


def _variables(predictions: Predictions, constraints: list[Constraint], result: Update) -> dict:
    """Arrays of the output: name -> (axes, values)."""
    batch, axes = predictions.batch, (*predictions.batch, *predictions.grid.names)
    posterior = result.posterior
    variables = {
        "mean": (axes, np.asarray(posterior.mean)),
        "variance": (axes, np.asarray(posterior.variance)),
        "log_evidence": (batch, np.asarray(result.log_evidence)),
        "independent_rows": (batch, np.asarray(result.rank, int)),
    }
    for name, constraint in zip(_variable_names(constraints), constraints, strict=True):
        before, after = (_values(belief, constraint) for belief in (predictions.belief, posterior))
        kept = (*batch, *constraint.functional.names)
        variables |= {
            name: (kept, np.broadcast_to(np.asarray(constraint.value, float), before.shape)),
            f"{name}_before": (kept, before),
            f"{name}_after": (kept, after),
        }
    return variables


def _variable_names(constraints: list[Constraint]) -> list[str]:
    """Names of the output's arrays: total_x, dirichlet_x_lower; a repeated one is numbered."""
    plain = [
        c.name.replace("integral", "total").replace(" ", "_").replace(",", "_").replace(":", "_")
        for c in constraints
    ]
    earlier = [plain[:i].count(name) for i, name in enumerate(plain)]
    return [
        f"{name}_{count + 1}" if count else name for name, count in zip(plain, earlier, strict=True)
    ]


def _values(belief, constraint: Constraint) -> np.ndarray:
    """G mean, for each of the batch."""
    return np.asarray(over_batch(constraint.functional, len(belief.batch_shape))(belief.mean))


def _dataset(predictions: Predictions, variables: dict, told: dict):
    import xarray

    return xarray.Dataset(variables, coords=dict(predictions.grid), attrs=told)


def _report(
    options: Condition, predictions: Predictions, statements, constraints, result: Update
) -> None:
    """Print what was read, each constraint before and after, the evidence, and where the result
    is.
    """
    batch = predictions.belief.batch_shape
    say(f"{options.input}: {_counted(math.prod(batch), 'prediction')}, {predictions.form}")
    say(f"{predictions.grid!r}")
    rows = []
    for statement, constraint in zip(statements, constraints, strict=True):
        errors = [
            np.abs(_values(b, constraint) - np.asarray(constraint.value)).max()
            for b in (predictions.belief, result.posterior)
        ]
        rows.append(
            (
                statement.name,
                statement.value,
                "exact" if constraint.scale is None else statement.scale,
                str(math.prod(constraint.functional.value_shape)),
                *(f"{error:.2e}" for error in errors),
            )
        )
    show_table(["constraint", "value", "scale", "rows", "error before", "after"], rows, text=3)
    say("Errors are the largest |G mean - value| over rows and predictions.")
    redundant = int(np.sum(np.asarray(result.redundant)))
    if redundant:
        say(
            f"{_counted(redundant, 'row')} of {np.size(result.redundant)} follow from the others "
            "and change nothing."
        )
    say(f"log evidence: {_spread(np.asarray(result.log_evidence))}")
    directions, independent = predictions.directions, int(np.max(result.rank))
    if directions is not None and independent > directions:
        say(
            f"note: the ensemble varies in {directions} directions and {independent} facts are "
            "independent: most of the correction falls on the independent part added to it. Use "
            "more draws, fewer facts, or facts with a scale"
        )
    ratio = np.sqrt(
        np.mean(np.asarray(result.posterior.variance))
        / np.mean(np.asarray(predictions.belief.variance))
    )
    say(f"standard deviation (root mean square): {100 * ratio:.4g} % of what it was")
    say(f"written to {options.out}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _spread(evidence: np.ndarray) -> str:
    """One number, a few, or where most of them lie."""
    if evidence.size <= 4:
        return ", ".join(f"{e:.6g}" for e in evidence.ravel())
    low, middle, high = np.quantile(evidence, [0, 0.5, 1])
    return f"median {middle:.6g}, from {low:.6g} to {high:.6g}"
