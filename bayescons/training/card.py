"""Cards: what is known of a network's training, as data that travels with its weights and as a page
to be read.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from bayescons.networks.corrections import CORRECTIONS
from bayescons.networks.neural_process import parameter_count
from bayescons.networks.weights import save_weights
from bayescons.provenance import NOT_INSTALLED, cores, processor, versions
from bayescons.results.files import whole_file
from bayescons.training.data import POINTS, TIMES

PACKAGES = ("bayescons", "jax", "flax", "optax")
_NETWORKS = {
    "anp": "An attentive neural process",
    "softc": "An attentive neural process with a penalty on the equation's residual",
    "conditioned": (
        "An attentive neural process whose score is taken after the total has been imposed"
    ),
    "ensemble": "A deep ensemble of attentive networks",
    "operator": "A Fourier neural operator",
}
_LOSSES = {
    "anp": "negative evidence lower bounds on the targets, in nats a function",
    "softc": (
        "negative evidence lower bounds on the targets, in nats a function, in training plus the "
        "penalty"
    ),
    "conditioned": (
        "scores of profiles given their total, CRPS in thousandths less half the log likelihood a "
        "point"
    ),
    "ensemble": (
        "negative log likelihoods of the targets, in nats a function, summed over the members"
    ),
    "operator": "relative errors in L2, averaged over functions",
}


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


def write(path: Path, network: Any, card: Mapping[str, Any]) -> None:
    """Write weights with their card, and the card as a page beside them (.md), each whole or not at
    all; the weights last.
    """
    with whole_file(path.with_suffix(".md")) as temporary:
        temporary.write_text(page(card))
    with whole_file(path) as temporary:
        save_weights(temporary, network, card)


def page(card: Mapping[str, Any]) -> str:
    """A card in Markdown; scores, where there are any, as a table."""
    recipe, problem, training, machine = (
        card[name] for name in ("recipe", "problem", "training", "machine")
    )
    network, turns, functions = (_of_operator if recipe["kind"] == "operator" else _of_readings)(
        card
    )
    clip = (
        f"gradients clipped at norm {recipe['clip']:g}"
        if recipe["clip"]
        else "gradients not clipped"
    )
    tails = recipe.get("tails")
    beyond = (
        f"; in training, residuals beyond {tails:g} standard deviations count linearly"
        if tails
        else ""
    )
    rate = {
        "cosine": f"rises to {recipe['rate']:g}, then falls to zero as a cosine",
        "constant": f"constant at {recipe['rate']:g}",
    }
    facts = {
        "network": network,
        "parameters": f"{card['parameters']:,}",
        "equation": (
            f"`{problem['equation']}`, t ∈ {_interval(problem['time'])}, x ∈ "
            f"{_interval(problem['space'])}"
        ),
        **functions,
        "steps": f"{training['steps']:,}, with batches of {recipe['size']}",
        "rate": f"Adam, {rate[recipe['schedule']]}; {clip}",
        "training loss": (
            f"{training['loss']:.4g} in the last round, {training['lowest_loss']:.4g} at its lowest"
        ),
        "validation loss": (
            f"{training['lowest_validation']:.4g} at step {training['kept_step']:,}, whose weights "
            f"these are; {training['validation']:.4g} at the end"
        ),
        "seed": f"{recipe['seed']}",
        "time": duration(training["seconds"]),
        "machine": _machine(machine),
        "versions": ", ".join(
            f"{package} {version}"
            for package, version in card["versions"].items()
            if version != NOT_INSTALLED
        ),
        "date": card["date"],
    }
    lines = [
        f"# {card['name']}",
        "",
        f"{_NETWORKS[recipe['kind']]}, trained on `bayescons.problems.{problem['name']}`: {turns}.",
        "",
        f"Losses are {_LOSSES[recipe['kind']]}{beyond}.",
        "",
        *_table((" ", " "), facts),
        "",
        f'    bayescons.networks.load_weights("{card["name"]}.safetensors").network',
    ]
    if card["scores"]:
        lines += ["", "## Scores", "", *_table(("score", "value"), _scores(card["scores"]))]
    return "\n".join(lines) + "\n"


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


def _of_readings(card: Mapping[str, Any]) -> tuple[str, str, dict[str, str]]:
    """Of a network that reads a field: what it is, what it turns into what, and what it learned
    from.
    """
    recipe, problem = card["recipe"], card["problem"]
    members = f" ({recipe['members']} members)" if recipe["kind"] == "ensemble" else ""
    dropped = f", dropout {recipe['dropout']:g}" if recipe["dropout"] else ""
    inputs = "mapped from the domain to [-1, 1]²" if recipe["inputs"] == "scaled" else "as they are"
    pool = f"from a pool of {recipe['pool']:,}" if recipe["pool"] else "new ones at every step"
    parameter = f"{problem['parameter']} uniform on {_interval(problem['trained_on'])}"
    began = (
        {"begun with": _beginning(recipe["start"], card.get("before"))} if recipe["start"] else {}
    )
    penalty = (
        {"penalty": f"{recipe['penalty']:g} times the squared residual at every target"}
        if recipe["kind"] == "softc"
        else {}
    )
    network = (
        f"{card['network']}{members}: width {recipe['width']}, {recipe['heads']} heads{dropped}; "
        f"inputs {inputs}"
    )
    functions = {
        "functions": f"{parameter}; {pool}",
        "contexts, targets": (
            f"{TIMES} times × {POINTS} positions each, of the exact solution, without noise"
        ),
        **began,
        **penalty,
    }
    return network, "readings of a field → a belief about it", functions


def _of_operator(card: Mapping[str, Any]) -> tuple[str, str, dict[str, str]]:
    """Of an operator: what it is, what it turns into what, and what it learned from."""
    recipe, problem = card["recipe"], card["problem"]
    given = f"boundary values {'among' if recipe['values'] == 'given' else 'not among'} its inputs"
    network = (
        f"{recipe['depth']} layers, width {recipe['width']}, up to {recipe['modes']} modes along "
        f"an axis; {given}"
    )
    axes = f"{recipe['points']} points along each axis of space"
    times = f", {recipe['times']} times" if recipe["times"] > 1 else ", at the last time"
    told = {
        name: _interval(v) if isinstance(v, list) else _short(v)
        for name, v in problem["numbers"].items()
    }
    numbers = ", ".join(f"{name} {value}" for name, value in told.items())
    alone = recipe["values"] == "withheld" and recipe["mode"] == "none"
    functions = {
        "family": numbers,
        "boundary": "; ".join(problem["sides"]),
        "functions": (
            f"{recipe['samples']:,} to learn from, {recipe['held_out']:,} held out; {axes}{times}"
        ),
    }
    return (
        "; ".join(filter(None, (network, CORRECTIONS[recipe["mode"]].summary))),
        f"initial state{'' if alone else ' and boundary values'} → the field",
        functions,
    )


def _beginning(start: str, before: Mapping[str, Any] | None) -> str:
    """Where the first weights are from, and what they had been through."""
    if before is None:
        return start
    recipe, training = before["recipe"], before["training"]
    earlier = (
        f"; begun with {_beginning(recipe['start'], before.get('before'))}"
        if recipe["start"]
        else ""
    )
    gaussian = (
        "Gaussian tails" if recipe["tails"] is None else f"linear tails beyond {recipe['tails']:g}"
    )
    return (
        f"{before['name']} of {before['date']}: {training['steps']:,} steps with batches of "
        f"{recipe['size']}, {recipe['schedule']} rate of {recipe['rate']:g}, {gaussian}, "
        f"{duration(training['seconds'])}{earlier}"
    )


def duration(seconds: float) -> str:
    """A time to be read: "25 s", "25 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _table(head: tuple[str, str], rows: Mapping[str, str]) -> list[str]:
    return [
        f"| {head[0]} | {head[1]} |",
        "| :-- | :-- |",
        *(f"| {name} | {value} |" for name, value in rows.items()),
    ]


def _scores(scores: Mapping[str, Any], under: str = "") -> dict[str, str]:
    """Scores by name, those of a nested mapping under its name too."""
    rows = {}
    for name, value in scores.items():
        rows |= (
            _scores(value, f"{under}{name}, ")
            if isinstance(value, Mapping)
            else {f"{under}{name}": _short(value)}
        )
    return rows


def _interval(ends: Sequence[float]) -> str:
    return f"[{ends[0]:.4g}, {ends[1]:.4g}]"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _machine(machine: Mapping[str, Any]) -> str:
    processor = f"{machine['processors']} cores of {machine['processor']}"
    return processor if machine["device"] == "cpu" else f"{machine['device']}; {processor}"
