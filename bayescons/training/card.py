"""Cards: what is known of a network's training, as data that travels with its weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import jax

from bayescons.networks.neural_process import parameter_count
from bayescons.provenance import cores, processor, versions

PACKAGES = ("bayescons", "jax", "flax", "optax")


def describe(
    name: str,
    network: Any,
    problem: Any,
    *,
    recipe: Mapping[str, Any],
    log: Sequence[Mapping[str, Any]],
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The card of a network that has just been trained, as JSON can hold it.

    Args:
        name: of the weights.
        network: with its weights.
        problem: what it was trained on: a class of `bayescons.problems`, or an operator problem
            with its numbers.
        recipe: the fields of the recipe it was trained by.
        log: the lines of its log, one a round.
        before: card of the weights it began with; None for random ones.

    Returns:
        `name`, `parameters`, `recipe`, `problem`, `training` (steps, losses, seconds), `machine`,
        `versions`, `date`, `before` (if there was something) and empty `scores`, for whoever
        measures it.
    """
    last, best = log[-1], min(log, key=lambda line: line["validation"])
    return {
        "name": name,
        "network": type(network).__name__,
        "parameters": parameter_count(network),
        "recipe": dict(recipe),
        "problem": _problem(problem),
        "training": {
            "steps": last["step"],
            "loss": last["loss"],
            "lowest_loss": min(line["loss"] for line in log),
            "validation": last["validation"],
            "lowest_validation": best["validation"],
            "kept_step": best["step"],
            "seconds": last["seconds"],
        },
        "machine": {
            "device": jax.devices()[0].device_kind,
            "processor": processor(),
            "processors": cores(),
        },
        "versions": versions(PACKAGES),
        "date": datetime.now(UTC).date().isoformat(),
        **({"before": dict(before)} if before else {}),
        "scores": {},
    }


def _problem(problem: Any) -> dict[str, Any]:
    """What was learned: a class whose parameter is drawn from its training range, or a family with
    its numbers and its sides.
    """
    space = {"time": list(problem.time_range), "space": list(problem.space_range)}
    if isinstance(problem, type):
        family = {"parameter": problem.parameter_name, "trained_on": list(problem.train_range)}
        return {"name": problem.__name__, "equation": problem.equation, **family, **space}
    numbers = {
        name: list(v) if isinstance(v, tuple) else v
        for name, v in dataclasses.asdict(problem).items()
    }
    family = {"numbers": numbers, "sides": list(map(str, problem.sides()))}
    return {"name": type(problem).__name__, "equation": problem.equation, **family, **space}


def duration(seconds: float) -> str:
    """A time to be read: "25 s", "25 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def interval(ends: Sequence[float]) -> str:
    """A range to be read: "[0, 1]"."""
    return f"[{ends[0]:.4g}, {ends[1]:.4g}]"


def short(value: Any) -> str:
    """A number to four figures, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) and math.isfinite(value) else str(value)
