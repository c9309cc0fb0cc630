"""`bayescons train`: a network trained by a recipe, with a bar to watch, and a folder that holds
weights, card and log.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from tyro.conf import OmitArgPrefixes, arg, subcommand

from bayescons.cli.errors import InputError, own_refusals
from bayescons.cli.interrupts import check, noticed
from bayescons.cli.output import output_folder
from bayescons.cli.terminal import say, steps, watched, working
from bayescons.networks import load_weights
from bayescons.refusals import Refusal, RefusedFile
from bayescons.training import runs
from bayescons.training.card import duration
from bayescons.training.loop import Report
from bayescons.training.recipe import AbstractRecipe
from bayescons.training.registry import RECIPES
from bayescons.training.runs import weight_file

LINES = 10  # said in all of a run that nobody watches
DEFAULT = "paper"
PRESET = "What the other options are unless given."
Folder = Annotated[
    Path | None,
    arg(
        metavar="DIR",
        help="Folder to write to; made if it is not there",
        help_behavior_hint="(default: results/ and the name of the weights)",
    ),
]


def run(options: Any, command: Sequence[str]) -> None:
    """Train, or go on, and say what came of it. Ctrl-C ends the process as any other does, after a
    line that says how to go on.

    Raises:
        InputError: for a recipe that cannot be carried out, a folder that holds another run or
            cannot be written to, and a loss that became NaN.
    """
    del command
    with own_refusals():
        recipe = options.recipe.checked()
    out = options.out or Path("results") / recipe.name
    try:
        with output_folder(out) as folder, noticed(), own_refusals():
            complete = weight_file(recipe, folder).exists()
            with ExitStack() as stack:
                teller = Teller(recipe, stack)
                runs.run(recipe, folder, teller.report, begins=teller.begins)
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

    def __init__(self, recipe: AbstractRecipe, stack: ExitStack):
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
        check()
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


def kinds(arguments: Sequence[str]) -> list[Any]:
    """A choice for each kind of recipe: its fields are the options, its preset's numbers their
    defaults.
    """
    told = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    told.add_argument("--preset", nargs="?")
    told.add_argument("--problem", nargs="?")
    told.add_argument("--times", nargs="?")
    given = vars(told.parse_known_args(arguments)[0])
    return [_kind(kind, given) for kind in RECIPES.values()]


def _kind(kind: type[AbstractRecipe], given: Mapping[str, str | None]) -> Any:
    """The options of a kind of recipe, for what is given of preset, problem and times."""
    preset = given["preset"] if given["preset"] in kind.presets else DEFAULT
    times = given["times"] or ""
    changes = {"times": int(times)} if times.isdecimal() else {}
    try:
        sizes = kind.sizes(preset, given["problem"] or "", changes)
    except Refusal:  # of a name, which is refused once it has been read in its place
        sizes = {}
    types = get_type_hints(kind)
    recipe = dataclasses.make_dataclass(
        kind.__name__,
        [(name, types[name], value) for name, value in sizes.items()],
        bases=(kind,),
        namespace={"__doc__": kind.__doc__},
        frozen=True,
        kw_only=True,
    )
    options = dataclasses.make_dataclass(
        "Options",
        [
            ("recipe", OmitArgPrefixes[recipe]),
            ("preset", Annotated[Literal[*kind.presets], arg(help=PRESET)], preset),
            ("out", Folder, None),
        ],
        frozen=True,
    )
    about = " ".join(kind.__doc__.split("\n\n")[0].split())
    return Annotated[options, subcommand(kind.kind, description=about)]


def _conclude(recipe: AbstractRecipe, folder: Path) -> None:
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
        "data": "the functions, no longer needed",
    }
    for name, what in shows.items():
        if not (folder / name).exists():
            continue
        say(f"  {name:<{len(weights.name)}}  {what}")


def _die_of_interrupt() -> None:
    """End at once and as interrupted, without waiting for the round that JAX is computing."""
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
