"""Runs: a recipe carried out in a folder, whatever is trained, so that it can be killed at any
moment and ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
from flax import nnx

from bayescons.networks.weights import load_weights
from bayescons.training.checkpoints import Checkpoints, Log, agree, alone
from bayescons.training.loop import Report, Schedule, train
from bayescons.training.page import write
from bayescons.training.recipe import AbstractRecipe


def weight_file(recipe: AbstractRecipe, folder: Path) -> Path:
    """Where the weights of a run in a folder are, once it is complete."""
    return Path(folder) / f"{recipe.name}.safetensors"


def run(
    recipe: AbstractRecipe,
    folder: Path,
    report: Callable[[Report], None] = lambda _: None,
    *,
    begins: Callable[[int], None] = lambda _: None,
    data: Path | None = None,
) -> nnx.Module:
    """Train what a recipe says, in float32 whatever JAX's default, and leave weights and card in a
    folder.

    The folder holds states/ (checkpoints), settings.json (the recipe), log.jsonl (losses, a line a
    round), and in the end NAME.safetensors (weights and card) and NAME.md (the card to be read). A
    run that was killed goes on from its last checkpoint when it is run again, to the same result;
    one that is complete is not run again.

    Args:
        recipe: what to train.
        folder: made if missing.
        report: called after every round; `seconds` are those of all starts together.
        begins: called when training begins, with the number of steps taken earlier.
        data: folder in which functions that take long to make are kept; None is data/ of the
            folder.

    Returns:
        The network with the weights of the lowest validation loss.

    Raises:
        ValueError: the recipe cannot be carried out, the weights it begins with are of another
            problem, or the folder holds a run of another one.
        RuntimeError: another process is training in this folder.
        FloatingPointError: a loss has become NaN or infinite.
        OSError: something cannot be written.
    """
    recipe, folder = recipe.checked(), Path(folder)
    weights, settings = weight_file(recipe, folder), recipe.settings
    if weights.exists():
        network, known = load_weights(weights)
        agree(known["recipe"], settings, folder)
        return network
    with jax.enable_x64(False):
        parts = recipe.setup(folder / "data" if data is None else Path(data))
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
        write(weights, network, recipe.card(network, log.lines))
    return network
