"""`bayescons train`: a network trained by a recipe, with a bar to watch, and a folder that holds
weights, card and log.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bayescons.cli.command import PRESET, Train
from bayescons.cli.errors import InputError, own_refusals
from bayescons.cli.output import output_folder
from bayescons.cli.terminal import say, steps, watched, working
from bayescons.networks import load_weights
from bayescons.refusals import RefusedFile
from bayescons.training import operators, recipes
from bayescons.training.card import duration
from bayescons.training.loop import Report
from bayescons.training.operators import OperatorRecipe
from bayescons.training.recipes import Recipe
from bayescons.training.runs import weight_file

LINES = 10  # said in all of a run that nobody watches
OR_NONE = {
    "clip": float,
    "tails": float,
    "pool": int,
    "patience": int,
}  # what may be given as "none"


def run(options: Train, command: Sequence[str]) -> None:
    """Train, or go on, and say what came of it. Ctrl-C ends the process as any other does, after a
    line that says how to go on.

    Raises:
        InputError: for a recipe that cannot be carried out, a folder that holds another run or
            cannot be written to, and a loss that became NaN.
    """
    del command
    with own_refusals():
        recipe = _recipe(options)
    out = options.out or Path("results") / recipe.name
    try:
        with output_folder(out) as folder, own_refusals():
            complete = weight_file(recipe, folder).exists()
            with ExitStack() as stack:
                teller = Teller(recipe, stack)
                trainer = operators if isinstance(recipe, OperatorRecipe) else recipes
                trainer.run(recipe, folder, teller.report, begins=teller.begins)
    except OSError as error:
        reason = error.strerror or str(error)
        told = isinstance(error, RefusedFile)  # names its place, and what to do
        raise InputError(
            reason if told else f"cannot write into {out}: {reason}. The same command goes on"
        ) from error
    except KeyboardInterrupt:
        say(f"stopped; the same command goes on from the last checkpoint in {out}", error=True)
        _die_of_interrupt()
    if complete:
        say(
            f"{recipe.name} is complete already: {out.absolute()}. To train it again, give another "
            "folder with --out DIR"
        )
    else:
        _conclude(recipe, out)


class Teller:
    """Tells how training goes: on a bar where somebody watches, else a line for each tenth of the
    run.

    Args:
        recipe: what is trained.
        stack: what ends the bar.
    """

    def __init__(self, recipe: Recipe | OperatorRecipe, stack: ExitStack):
        self.recipe, self.stack = recipe, stack
        self.first: Report | None = None
        self.tenths = 0
        stack.enter_context(working("preparing"))

    def begins(self, taken: int) -> None:
        """Training begins, after so many steps taken earlier."""
        self.stack.close()
        goes_on = f", from step {taken:,} on" if taken else ""
        say(
            f"{self.recipe.name}: {self.recipe.steps:,} steps with batches of "
            f"{self.recipe.size}{goes_on}"
        )
        self.tell = self.stack.enter_context(steps(self.recipe.steps, done=taken))

    def report(self, told: Report) -> None:
        """A round is over."""
        losses = f"loss {told.loss:.4g}, validation {told.validation:.4g}"
        self.tell(told.step, losses)
        first, tenths = self.first or told, LINES * told.step // told.steps
        if not watched() and (self.first is None or tenths > self.tenths):
            left = (
                (told.steps - told.step)
                * (told.seconds - first.seconds)
                / max(1, told.step - first.step)
            )
            ahead = f", {duration(left)} left" if left else ""
            say(f"step {told.step:,} of {told.steps:,}: {losses}; {duration(told.seconds)}{ahead}")
        self.first, self.tenths = first, tenths


def _recipe(options: Train) -> Recipe | OperatorRecipe:
    """The preset, with what was given on the command line in its place."""
    told = {
        name: value
        for name, value in vars(options).items()
        if name not in ("kind", "problem", "preset", "out")
    }
    changes = {
        name: value
        for name, value in told.items()
        if value not in (None, ()) and name not in OR_NONE
    }
    changes |= {
        name: _number_or_none(name, told[name], kind)
        for name, kind in OR_NONE.items()
        if told[name] != PRESET
    }
    kind = OperatorRecipe if options.kind == "operator" else Recipe
    fields = {field.name for field in dataclasses.fields(kind)}
    if strange := [f"--{name.replace('_', '-')}" for name in changes if name not in fields]:
        raise InputError(f"{', '.join(strange)} means nothing for {options.kind}; leave it out")
    if kind is Recipe:
        return recipes.preset(options.preset, options.kind, options.problem, **changes)
    if "numbers" in changes:
        changes["numbers"] = dict(map(_named_number, changes["numbers"]))
    return operators.preset(options.preset, options.problem, **changes)


def _named_number(text: str) -> tuple[str, object]:
    """NAME=VALUE, the value as JSON or else as it stands."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError(f"--numbers takes NAME=VALUE, as viscosity=0.02; got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _number_or_none(name: str, text: str, kind: type[int] | type[float]) -> int | float | None:
    if text.lower() == "none":
        return None
    try:
        return kind(text)
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise InputError(f"--{name} must be {what}, or none; got {text!r}") from error


def _conclude(recipe: Recipe | OperatorRecipe, folder: Path) -> None:
    weights = weight_file(recipe, folder)
    card = load_weights(weights).card
    training = card["training"]
    if training["steps"] < recipe.steps:
        say(
            f"stopped after {training['steps']:,} steps: {recipe.patience} validations in a row "
            "brought nothing lower"
        )
    say(
        f"Lowest validation loss: {training['lowest_validation']:.4g} ({recipe.unit}), at step "
        f"{training['kept_step']:,}."
    )
    say(
        f"{card['parameters']:,} parameters, trained in {duration(training['seconds'])}, are in "
        f"{folder.absolute()}:"
    )
    shows = {
        weights.name: "weights of that step, for networks.load_weights",
        weights.with_suffix(".md").name: "the card, to be read",
        "log.jsonl": "the losses of every round",
        "states": "the last checkpoints, no longer needed",
        **(
            {"data": "the functions, no longer needed"}
            if isinstance(recipe, OperatorRecipe)
            else {}
        ),
    }
    for name, what in shows.items():
        say(f"  {name:<{len(weights.name)}}  {what}")


def _die_of_interrupt() -> None:
    """End at once and as interrupted, without waiting for the round that JAX is computing."""
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
