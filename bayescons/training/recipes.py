"""Recipes: all that a training run is made of, as a handful of numbers; run into a folder, they
give weights and their card.

A recipe determines its result: the same one gives the same weights on the same kind of machine,
whether it ran through or was killed and started again in between.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
from flax import nnx

from bayescons.networks.ensemble import DeepEnsemble
from bayescons.networks.neural_process import AttentiveNeuralProcess, Box
from bayescons.networks.weights import Pretrained, load_weights, pretrained, pretrained_names
from bayescons.problems.problem import Problem
from bayescons.refusals import RefusedValue
from bayescons.training.card import describe
from bayescons.training.data import functions
from bayescons.training.loop import Report
from bayescons.training.losses import TAILS, ensemble_loss, evidence_bound
from bayescons.training.physics import (
    PUBLISHED_WEIGHT,
    conditioned_score,
    profiles,
    softly_constrained,
)
from bayescons.training.runs import TrainingSetup, carry_out, check_steps, named

HELD_OUT = 100  # functions of the validation


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training run: network, data, steps.

    Attributes:
        kind: "anp", an attentive neural process; "softc", one with a penalty on the equation's
            residual; "conditioned", one whose score is taken after the total has been imposed; or
            "ensemble", a deep ensemble.
        problem: name of the problem whose family of functions is learned.
        steps: gradient steps.
        size: functions in a batch.
        rate: learning rate of Adam, the highest one.
        schedule: "cosine" (a rise over 5 % of the steps, then down to zero) or "constant".
        clip: largest norm of a gradient; None for no limit.
        tails: standard deviations beyond which a residual counts linearly; None for a Gaussian
            likelihood throughout. Validation is always by the Gaussian one.
        pool: draw from so many different functions; None for new ones at every step.
        dropout: share dropped out in training; a neural process only.
        width: channels.
        heads: of the attention, a divisor of the width.
        members: of the ensemble; 1 for a neural process.
        start: weights to begin with, a name of `pretrained_names` or a file, whose width, heads and
            inputs then hold; None for random ones.
        penalty: weight of the squared residual, "softc" only.
        inputs: "scaled" (the domain mapped to [-1, 1]²) or "raw".
        round_steps: steps between validations.
        patience: stop when so many validations in a row have brought nothing lower; None to go on
            to the end.
        seed: of the first weights, the functions and the noise.
    """

    unit: ClassVar[str] = "nats a function"

    kind: Literal["anp", "softc", "conditioned", "ensemble"]
    problem: str
    steps: int = 9_000
    size: int = 32
    rate: float = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float | None = 10.0
    tails: float | None = TAILS
    pool: int | None = None
    dropout: float = 0.0
    width: int = 128
    heads: int = 4
    members: int = 1
    inputs: Literal["scaled", "raw"] = "scaled"
    start: str | None = None
    penalty: float = 1e-3
    round_steps: int = 200
    patience: int | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """What its weights are called: "anp_stefan"."""
        return f"{self.kind}_{self.problem}"


# What differs from a recipe's defaults. "quick" is for trying the path, "paper" for tables, and
# "published" is how Hansen et al. (ICML 2023, arXiv 2302.11002) trained: 250 of 10,000 functions a
# step, a constant rate, inputs as they are. What knows the physics begins with the weights of a
# neural process that has been trained without.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "anp": {
        "quick": {"steps": 200, "size": 8, "width": 16, "round_steps": 20},
        "paper": {},
        "published": {
            "steps": 20_000,
            "size": 250,
            "rate": 1e-4,
            "schedule": "constant",
            "clip": None,
            "tails": None,
            "pool": 10_000,
            "dropout": 0.1,
            "inputs": "raw",
        },
    },
    "softc": {
        "quick": {"steps": 100, "size": 4, "width": 16, "round_steps": 20},
        "paper": {"steps": 1_500, "rate": 2e-4, "start": "anp_{problem}"},
        "published": {
            "steps": 1_500,
            "rate": 2e-4,
            "start": "anp_{problem}",
            "penalty": PUBLISHED_WEIGHT,
        },
    },
    "conditioned": {
        "quick": {"steps": 100, "size": 4, "width": 16, "round_steps": 20},
        "paper": {"steps": 12_000, "size": 16, "rate": 3e-4, "start": "anp_{problem}"},
    },
    "ensemble": {
        "quick": {"steps": 200, "size": 8, "width": 16, "members": 3, "round_steps": 20},
        "paper": {"width": 64, "members": 5},
    },
}


def preset(name: str, kind: str, problem: str, **changes: Any) -> Recipe:
    """The recipe of a name, with changes to it, checked.

    Raises:
        ValueError: there is none of this name for this kind of network, or it cannot be carried
            out.
    """
    if kind not in PRESETS or name not in PRESETS[kind]:
        known = "; ".join(f"{kind}: {', '.join(presets)}" for kind, presets in PRESETS.items())
        raise RefusedValue(f"there is no preset {name!r} for {kind!r}; there are, for {known}")
    settings = {
        "kind": kind,
        "problem": problem_named(problem).name,
        **PRESETS[kind][name],
        **changes,
    }
    if settings.get("start") is not None:
        settings["start"] = settings["start"].format(problem=settings["problem"])
    return checked(Recipe(**settings))


def problem_named(name: str) -> type[Any]:
    """The class of `bayescons.problems` of this name, as of `runs.named`.

    Raises:
        ValueError: there is none; the error names the nearest.
    """
    return named(name, Problem)


def checked(recipe: Recipe) -> Recipe:
    """The recipe, if it can be carried out.

    Raises:
        ValueError: it cannot; the error says which number to change.
    """
    problem_named(recipe.problem)
    check_steps(recipe, ("heads", "members"))
    if recipe.tails is not None and not recipe.tails > 0:
        raise RefusedValue(
            f"tails begin at so many standard deviations, above 0; got {recipe.tails:g}. For a "
            "Gaussian likelihood it is None"
        )
    if not 0 <= recipe.dropout < 1:
        raise RefusedValue(f"dropout is a share, from 0 to below 1; got {recipe.dropout:g}")
    if recipe.kind == "ensemble" and recipe.dropout:
        raise RefusedValue(f"an ensemble has no dropout; got {recipe.dropout:g}. Write dropout=0")
    if recipe.kind != "ensemble" and recipe.members != 1:
        raise RefusedValue(
            f"a neural process has no members; got {recipe.members}. "
            'For several networks, kind="ensemble"'
        )
    return recipe


def materials(recipe: Recipe) -> TrainingSetup:
    """Network, loss, batches and validation of a recipe.

    Raises:
        ValueError: heads do not divide the width, batches do not divide the pool, or an ensemble
            has one member.
    """
    problem = problem_named(recipe.problem)
    key = jax.random.key(recipe.seed)
    network = _network(recipe, _box(problem) if recipe.inputs == "scaled" else None)
    loss, hold, draw = _LEARNERS[recipe.kind](recipe, problem)
    batches = draw(jax.random.fold_in(key, 1), size=recipe.size)
    held_out = draw(jax.random.fold_in(key, 2), size=HELD_OUT)(0)
    noise = jax.random.fold_in(key, 3)
    return TrainingSetup(
        network,
        loss,
        batches,
        lambda network: hold(network, held_out, noise),
        jax.random.fold_in(key, 4),
    )


def run(
    recipe: Recipe,
    folder: Path,
    report: Callable[[Report], None] = lambda _: None,
    *,
    begins: Callable[[int], None] = lambda _: None,
) -> nnx.Module:
    """Train what a recipe says and leave weights and card in a folder, as `runs.carry_out`.

    Args:
        recipe: what to train.
        folder: made if missing.
        report: called after every round; `seconds` are those of all starts together.
        begins: called when training begins, with the number of steps taken earlier.

    Returns:
        The network with the weights of the lowest validation loss.

    Raises:
        ValueError: the recipe cannot be carried out, the weights it begins with are of another
            problem, or the folder holds a run of another one.
        RuntimeError: another process is training in this folder.
        FloatingPointError: a loss has become NaN or infinite.
        OSError: something cannot be written.
    """
    return carry_out(checked(recipe), folder, materials, _card, report, begins=begins)


def _card(recipe: Recipe, network: Any, log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    before = _beginning(recipe).card if recipe.start else None
    settings = dataclasses.asdict(recipe)
    return describe(
        recipe.name, network, problem_named(recipe.problem), recipe=settings, log=log, before=before
    )


def _beginning(recipe: Recipe) -> Pretrained:
    """Weights to begin with, a name or a file, of the same problem."""
    find = pretrained if recipe.start in pretrained_names() else load_weights
    return find(recipe.start, problem=problem_named(recipe.problem))


def _network(recipe: Recipe, box: Box | None) -> Any:
    """The network a recipe begins with."""
    if recipe.start is not None:
        return _beginning(recipe).network
    sizes = {
        "width": recipe.width,
        "heads": recipe.heads,
        "box": box,
        "rngs": nnx.Rngs(recipe.seed),
    }
    if recipe.kind == "ensemble":
        return DeepEnsemble(members=recipe.members, **sizes)
    return AttentiveNeuralProcess(rate=recipe.dropout, **sizes)


# recipe, problem → loss, loss on functions held out, and (key, size=...) → batches
def _by_bound(recipe: Recipe, problem: type[Any]) -> tuple:
    held_out = functools.partial(evidence_bound, drop=False)
    return (
        functools.partial(evidence_bound, tails=recipe.tails),
        held_out,
        _functions(recipe, problem),
    )


def _softly(recipe: Recipe, problem: type[Any]) -> tuple:
    loss = functools.partial(
        softly_constrained, problem=problem, weight=recipe.penalty, tails=recipe.tails
    )
    return loss, functools.partial(evidence_bound, drop=False), _functions(recipe, problem)


def _conditioned(recipe: Recipe, problem: type[Any]) -> tuple:
    loss = functools.partial(conditioned_score, problem=problem)
    return functools.partial(loss, tails=recipe.tails), loss, functools.partial(profiles, problem)


def _ensemble(recipe: Recipe, problem: type[Any]) -> tuple:
    return (
        functools.partial(ensemble_loss, tails=recipe.tails),
        ensemble_loss,
        _functions(recipe, problem),
    )


def _functions(recipe: Recipe, problem: type[Any]) -> Callable:
    def draw(key: jax.Array, *, size: int) -> Callable:
        return functions(problem, key, size=size, pool=recipe.pool if size == recipe.size else None)

    return draw


_LEARNERS = {"anp": _by_bound, "softc": _softly, "conditioned": _conditioned, "ensemble": _ensemble}


def _box(problem: type[Any]) -> Box:
    return tuple(zip(problem.time_range, problem.space_range, strict=True))
