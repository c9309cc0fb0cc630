"""Runs: a recipe carried out in a folder, whatever is trained, so that it can be killed at any
moment and ends with the same bits.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
from flax import nnx

from bayescons.networks.weights import load_weights
from bayescons.refusals import RefusedValue
from bayescons.training.card import write
from bayescons.training.checkpoints import Checkpoints, Log, agree, alone
from bayescons.training.loop import Report, Schedule, train


@runtime_checkable
class Steps(Protocol):
    """What every recipe says of its steps."""

    name: str
    problem: str
    steps: int
    size: int
    rate: float
    schedule: Literal["cosine", "constant"]
    clip: float | None
    round_steps: int
    patience: int | None
    seed: int


class TrainingSetup(NamedTuple):
    """What a recipe is carried out with.

    Attributes:
        network: with its first weights.
        loss: (network, batch, key) → number.
        batches: step → batch.
        validate: network → loss on functions held out, always the same ones and the same noise,
            without dropout.
        key: of the losses.
    """

    network: Any
    loss: Callable[..., jax.Array]
    batches: Callable[..., Any]
    validate: Callable[[Any], jax.Array]
    key: jax.Array


def named(name: str, kind: type[Any]) -> type[Any]:
    """The problem of this kind and name: "porous_medium", "PorousMedium", or a part of the name
    that no other has, "porous".

    Raises:
        ValueError: there is none, or there are several; the error names them, or the nearest.
    """
    problems = {problem.name: problem for problem in kind.__subclasses__()}
    wanted = name.lower().replace("-", "").replace("_", "")
    found = {known.replace("_", ""): problem for known, problem in problems.items()}
    if wanted in found:
        return found[wanted]
    holding = [known for known in found if wanted in known]
    if len(holding) == 1:
        return found[holding[0]]
    if holding:
        raise RefusedValue(
            f"several problems are called {name!r}: "
            f"{', '.join(sorted(found[known].name for known in holding))}"
        )
    near = difflib.get_close_matches(wanted, found, n=1, cutoff=0.5)
    meant = f"; did you mean {found[near[0]].name!r}?" if near else ""
    raise RefusedValue(
        f"no problem is called {name!r}{meant} (there are {', '.join(sorted(problems))})"
    )


def check_steps(recipe: Steps, counts: Iterable[str] = ()) -> None:
    """Refuse steps that cannot be taken.

    Args:
        recipe: any.
        counts: further names of whole numbers that are 1 or more.

    Raises:
        ValueError: the error says which number to change.
    """
    for name in ("steps", "size", "width", *counts, "round_steps", "patience"):
        if getattr(recipe, name) is not None and getattr(recipe, name) < 1:
            raise RefusedValue(f"{name} must be 1 or more; got {getattr(recipe, name)}")
    if not 0 < recipe.rate < 1:
        raise RefusedValue(
            f"rate is a learning rate, above 0 and below 1; got {recipe.rate:g}. Write rate=1e-3"
        )
    if recipe.clip is not None and not recipe.clip > 0:
        raise RefusedValue(
            f"clip is the largest norm of a gradient, above 0; got {recipe.clip:g}. For no limit "
            "it is None"
        )


def weight_file(recipe: Steps, folder: Path) -> Path:
    """Where the weights of a run in a folder are, once it is complete."""
    return Path(folder) / f"{recipe.name}.safetensors"


def carry_out(
    recipe: Any,
    folder: Path,
    materials: Callable[[Any], TrainingSetup],
    card: Callable[[Any, nnx.Module, Sequence[Mapping[str, Any]]], Mapping[str, Any]],
    report: Callable[[Report], None] = lambda _: None,
    *,
    begins: Callable[[int], None] = lambda _: None,
) -> nnx.Module:
    """Train what a recipe says, in float32 whatever JAX's default, and leave weights and card in a
    folder.

    The folder holds states/ (checkpoints), settings.json (the recipe), log.jsonl (losses, a line a
    round), and in the end NAME.safetensors (weights and card) and NAME.md (the card to be read). A
    run that was killed goes on from its last checkpoint when it is run again, to the same result;
    one that is complete is not run again.

    Args:
        recipe: what to train, checked; a dataclass.
        folder: made if missing.
        materials: recipe → what it is carried out with.
        card: recipe, trained network, lines of the log → what is known of it.
        report: called after every round; `seconds` are those of all starts together.
        begins: called when training begins, with the number of steps taken earlier.

    Returns:
        The network with the weights of the lowest validation loss.

    Raises:
        ValueError: the recipe cannot be carried out, or the folder holds a run of another one.
        RuntimeError: another process is training in this folder.
        FloatingPointError: a loss has become NaN or infinite.
        OSError: something cannot be written.
    """
    folder, weights, settings = (
        Path(folder),
        weight_file(recipe, folder),
        dataclasses.asdict(recipe),
    )
    if weights.exists():
        network, known = load_weights(weights)
        agree(known["recipe"], settings, folder)
        return network
    with jax.enable_x64(False):
        parts = materials(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder), jax.enable_x64(False):
        checkpoints = Checkpoints(folder, settings)
        log = Log(folder / "log.jsonl", upto=checkpoints.step)
        earlier = log.seconds

        def record(told: Report) -> None:
            told = told._replace(seconds=earlier + told.seconds)
            log.append({name: value for name, value in told._asdict().items() if name != "steps"})
            report(told)

        begins(checkpoints.step)
        network = train(
            parts.network,
            parts.loss,
            parts.batches,
            schedule=Schedule(
                recipe.steps, recipe.rate, constant=recipe.schedule == "constant", clip=recipe.clip
            ),
            key=parts.key,
            validate=parts.validate,
            round_steps=recipe.round_steps,
            patience=recipe.patience,
            checkpoints=checkpoints,
            report=record,
        )
        write(weights, network, card(recipe, network, log.lines))
    return network
