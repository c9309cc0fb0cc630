"""Pages: a card to be read, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bayescons.networks.weights import save_weights
from bayescons.provenance import NOT_INSTALLED
from bayescons.results.files import whole_file
from bayescons.training.card import duration, interval, short
from bayescons.training.registry import RECIPES


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
    kind = RECIPES[recipe["kind"]]
    network, turns, functions = kind.told(card)
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
            f"`{problem['equation']}`, t ∈ {interval(problem['time'])}, x ∈ "
            f"{interval(problem['space'])}"
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
        f"{kind.network_title}, trained on `bayescons.problems.{problem['name']}`: {turns}.",
        "",
        f"Losses are {kind.losses}{beyond}.",
        "",
        *_table((" ", " "), facts),
        "",
        f'    bayescons.networks.load_weights("{card["name"]}.safetensors").network',
    ]
    if card["scores"]:
        lines += ["", "## Scores", "", *_table(("score", "value"), _scores(card["scores"]))]
    return "\n".join(lines) + "\n"


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
            else {f"{under}{name}": short(value)}
        )
    return rows


def _machine(machine: Mapping[str, Any]) -> str:
    processor = f"{machine['processors']} cores of {machine['processor']}"
    return processor if machine["device"] == "cpu" else f"{machine['device']}; {processor}"
