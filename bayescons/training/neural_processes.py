"""Recipes of networks that read a field: attentive neural processes and deep ensembles."""

from __future__ import annotations

import dataclasses
import functools
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
from flax import nnx

from bayescons.descriptions import tabulated
from bayescons.networks.ensemble import DeepEnsemble
from bayescons.networks.neural_process import AttentiveNeuralProcess, Box
from bayescons.networks.weights import Pretrained, load_weights, pretrained, pretrained_names
from bayescons.problems.problem import Problem
from bayescons.refusals import RefusedValue
from bayescons.training.card import describe, duration, interval
from bayescons.training.data import POINTS, TIMES, functions
from bayescons.training.losses import TAILS, ensemble_loss, evidence_bound
from bayescons.training.physics import (
    PUBLISHED_WEIGHT,
    conditioned_score,
    profiles,
    softly_constrained,
)
from bayescons.training.recipe import AbstractRecipe, TrainingSetup, named

HELD_OUT = 100  # functions of the validation
QUICK = {"steps": 200, "size": 8, "width": 16, "round_steps": 20}
# what knows the physics begins with the weights of a neural process that has been trained without
BEGUN = {"start": "anp_{problem}"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadingsRecipe(AbstractRecipe):
    """A training run of a network that turns readings of a field into a belief about it.

    Attributes:
        tails: standard deviations beyond which a residual counts linearly; None for a Gaussian
            likelihood throughout. Validation is always by the Gaussian one.
        pool: draw from so many different functions, a multiple of the size; None for new ones at
            every step.
        heads: of the attention, a divisor of the width.
        inputs: points as the network is given them: "scaled", the domain mapped to [-1, 1]²; or as
            they are, "raw".
        start: weights to begin with, a name of `networks.pretrained_names` or a file, whose width,
            heads and inputs then hold; None for random ones.
    """

    unit: ClassVar[str] = "nats a function"
    problem_class: ClassVar[type[Any]] = Problem

    steps: int = 9_000
    size: int = 32
    width: int = 128
    round_steps: int = 200
    tails: float | None = TAILS
    pool: int | None = None
    heads: int = 4
    inputs: Literal["scaled", "raw"] = "scaled"
    start: str | None = None

    @property
    def name(self) -> str:
        """What its weights are called: "anp_stefan"."""
        return f"{self.kind}_{self.problem}"

    @property
    def family(self) -> type[Any]:
        """The class of `bayescons.problems`."""
        return named(self.problem, Problem)

    def checked(self) -> ReadingsRecipe:
        """The recipe, if it can be carried out, with full names of the problem and of the weights
        it begins with.
        """
        recipe = super().checked()
        start = None if recipe.start is None else recipe.start.format(problem=recipe.problem)
        return dataclasses.replace(recipe, start=start)

    def check(self) -> None:
        """As for every recipe; tails are above 0."""
        super().check()
        self.check_counts("heads", "pool")
        if self.tails is not None and not self.tails > 0:
            raise RefusedValue(
                f"tails begin at so many standard deviations, above 0; got {self.tails:g}. For a "
                "Gaussian likelihood it is None"
            )

    def setup(self, data: Path) -> TrainingSetup:
        """As of every recipe; its functions are made anew at every step.

        Raises:
            ValueError: heads do not divide the width, batches do not divide the pool, or an
                ensemble has one member.
        """
        del data
        key = jax.random.key(self.seed)
        network = self.network() if self.start is None else self._beginning().network
        loss, hold = self.losses_of_network()
        batches = self.draw(jax.random.fold_in(key, 1), size=self.size, pool=self.pool)
        held_out = self.draw(jax.random.fold_in(key, 2), size=HELD_OUT, pool=None)(0)
        noise = jax.random.fold_in(key, 3)
        return TrainingSetup(
            network,
            loss,
            batches,
            lambda network: hold(network, held_out, noise),
            jax.random.fold_in(key, 4),
        )

    @abstractmethod
    def network(self) -> nnx.Module:
        """The network with random weights."""

    @abstractmethod
    def losses_of_network(self) -> tuple[Callable, Callable]:
        """The loss, and that on functions held out: (network, functions, key) → number."""

    def draw(self, key: jax.Array, *, size: int, pool: int | None) -> Callable:
        """Step → functions of the problem."""
        return functions(self.family, key, size=size, pool=pool)

    def card(self, network: nnx.Module, log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """As of every recipe, with the card of the weights it began with."""
        before = None if self.start is None else self._beginning().card
        return describe(
            self.name, network, self.family, recipe=self.settings, log=log, before=before
        )

    @classmethod
    def told(cls, card: Mapping[str, Any]) -> tuple[str, str, dict[str, str]]:
        """As of every recipe."""
        recipe, problem = card["recipe"], card["problem"]
        inputs = (
            "mapped from the domain to [-1, 1]²" if recipe["inputs"] == "scaled" else "as they are"
        )
        pool = f"from a pool of {recipe['pool']:,}" if recipe["pool"] else "new ones at every step"
        parameter = f"{problem['parameter']} uniform on {interval(problem['trained_on'])}"
        members, dropped = cls.told_of_network(recipe)
        network = (
            f"{card['network']}{members}: width {recipe['width']}, {recipe['heads']} "
            f"heads{dropped}; inputs {inputs}"
        )
        facts = {
            "functions": f"{parameter}; {pool}",
            "contexts, targets": (
                f"{TIMES} times × {POINTS} positions each, of the exact solution, without noise"
            ),
        }
        if recipe["start"]:
            facts["begun with"] = _origin(recipe["start"], card.get("before"))
        return network, "readings of a field → a belief about it", facts

    @classmethod
    def told_of_network(cls, recipe: Mapping[str, Any]) -> tuple[str, str]:
        """What a card says of its members and of dropout, or nothing."""
        del recipe
        return "", ""

    def _sizes(self) -> dict[str, Any]:
        box = _box(self.family) if self.inputs == "scaled" else None
        return {
            "width": self.width,
            "heads": self.heads,
            "box": box,
            "rngs": nnx.Rngs(self.seed),
        }

    def _beginning(self) -> Pretrained:
        """Weights to begin with, a name or a file, of the same problem."""
        find = pretrained if self.start in pretrained_names() else load_weights
        return find(self.start, problem=self.family)


@tabulated("Neural process recipe")
@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuralProcessRecipe(ReadingsRecipe):
    """A training run of an attentive neural process.

    Attributes:
        dropout: share of channels dropped out in training.
    """

    kind: ClassVar[str] = "anp"
    network_title: ClassVar[str] = "An attentive neural process"
    losses: ClassVar[str] = "negative evidence lower bounds on the targets, in nats a function"
    # "quick" is for trying the path, "paper" for tables, and "published" is how Hansen et al.
    # (ICML 2023, arXiv 2302.11002) trained.
    presets: ClassVar[Mapping[str, Any]] = {
        "quick": QUICK,
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
    }

    dropout: float = 0.0

    def check(self) -> None:
        """As for every recipe; dropout is a share."""
        super().check()
        if not 0 <= self.dropout < 1:
            raise RefusedValue(f"dropout is a share, from 0 to below 1; got {self.dropout:g}")

    def network(self) -> AttentiveNeuralProcess:
        """The network with random weights."""
        return AttentiveNeuralProcess(rate=self.dropout, **self._sizes())

    def losses_of_network(self) -> tuple[Callable, Callable]:
        """The evidence lower bound with dropout, and without."""
        held_out = functools.partial(evidence_bound, drop=False)
        return functools.partial(evidence_bound, tails=self.tails), held_out

    @classmethod
    def told_of_network(cls, recipe: Mapping[str, Any]) -> tuple[str, str]:
        """Its dropout."""
        return "", f", dropout {recipe['dropout']:g}" if recipe["dropout"] else ""


@tabulated("Softly constrained recipe")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftlyConstrainedRecipe(NeuralProcessRecipe):
    """A training run of an attentive neural process with a penalty on the equation's residual.

    Attributes:
        penalty: weight of the squared residual at every target.
    """

    kind: ClassVar[str] = "softc"
    network_title: ClassVar[str] = (
        "An attentive neural process with a penalty on the equation's residual"
    )
    losses: ClassVar[str] = f"{NeuralProcessRecipe.losses}, in training plus the penalty"
    presets: ClassVar[Mapping[str, Any]] = {
        "quick": {"steps": 100, "size": 4, "width": 16, "round_steps": 20},
        "paper": {"steps": 1_500, "rate": 2e-4, **BEGUN},
        "published": {"steps": 1_500, "rate": 2e-4, **BEGUN, "penalty": PUBLISHED_WEIGHT},
    }

    penalty: float = 1e-3

    def losses_of_network(self) -> tuple[Callable, Callable]:
        """The bound with the penalty, and the bound."""
        loss = functools.partial(
            softly_constrained, problem=self.family, weight=self.penalty, tails=self.tails
        )
        return loss, functools.partial(evidence_bound, drop=False)

    @classmethod
    def told(cls, card: Mapping[str, Any]) -> tuple[str, str, dict[str, str]]:
        """With its penalty."""
        network, turns, facts = super().told(card)
        penalty = f"{card['recipe']['penalty']:g} times the squared residual at every target"
        return network, turns, {**facts, "penalty": penalty}


@tabulated("Conditioned recipe")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ConditionedRecipe(NeuralProcessRecipe):
    """A training run of an attentive neural process whose score is taken after the total has been
    imposed.
    """

    kind: ClassVar[str] = "conditioned"
    network_title: ClassVar[str] = (
        "An attentive neural process whose score is taken after the total has been imposed"
    )
    losses: ClassVar[str] = (
        "scores of profiles given their total, CRPS in thousandths less half the log likelihood a "
        "point"
    )
    presets: ClassVar[Mapping[str, Any]] = {
        "quick": {"steps": 100, "size": 4, "width": 16, "round_steps": 20},
        "paper": {"steps": 12_000, "size": 16, "rate": 3e-4, **BEGUN},
    }

    def check(self) -> None:
        """As for every recipe; its functions are new ones at every step."""
        super().check()
        if self.pool is not None:
            raise RefusedValue(
                f"{self.kind!r} draws new functions at every step; got pool={self.pool}. Write "
                "pool=None"
            )

    def losses_of_network(self) -> tuple[Callable, Callable]:
        """The score with and without linear tails."""
        loss = functools.partial(conditioned_score, problem=self.family)
        return functools.partial(loss, tails=self.tails), loss

    def draw(self, key: jax.Array, *, size: int, pool: int | None) -> Callable:
        """Step → whole profiles, with their total."""
        del pool
        return profiles(self.family, key, size=size)


@tabulated("Ensemble recipe")
@dataclasses.dataclass(frozen=True, kw_only=True)
class EnsembleRecipe(ReadingsRecipe):
    """A training run of a deep ensemble of attentive networks, without a latent.

    Attributes:
        members: networks of the ensemble, 2 or more.
    """

    kind: ClassVar[str] = "ensemble"
    network_title: ClassVar[str] = "A deep ensemble of attentive networks"
    losses: ClassVar[str] = (
        "negative log likelihoods of the targets, in nats a function, summed over the members"
    )
    presets: ClassVar[Mapping[str, Any]] = {
        "quick": {**QUICK, "members": 3},
        "paper": {"width": 64},
    }

    members: int = 5

    def check(self) -> None:
        """As for every recipe; there are two members at least."""
        super().check()
        if self.members < 2:
            raise RefusedValue(
                f"an ensemble has 2 members or more; got {self.members}. For one network: "
                "bayescons train anp"
            )

    def network(self) -> DeepEnsemble:
        """The networks with random weights."""
        return DeepEnsemble(members=self.members, **self._sizes())

    def losses_of_network(self) -> tuple[Callable, Callable]:
        """The likelihood with and without linear tails."""
        return functools.partial(ensemble_loss, tails=self.tails), ensemble_loss

    @classmethod
    def told_of_network(cls, recipe: Mapping[str, Any]) -> tuple[str, str]:
        """How many members it has."""
        return f" ({recipe['members']} members)", ""


def _origin(start: str, before: Mapping[str, Any] | None) -> str:
    """Where the first weights are from, and what they had been through."""
    if before is None:
        return start
    recipe, training = before["recipe"], before["training"]
    earlier = (
        f"; begun with {_origin(recipe['start'], before.get('before'))}" if recipe["start"] else ""
    )
    gaussian = (
        "Gaussian tails" if recipe["tails"] is None else f"linear tails beyond {recipe['tails']:g}"
    )
    return (
        f"{before['name']} of {before['date']}: {training['steps']:,} steps with batches of "
        f"{recipe['size']}, {recipe['schedule']} rate of {recipe['rate']:g}, {gaussian}, "
        f"{duration(training['seconds'])}{earlier}"
    )


def _box(problem: type[Any]) -> Box:
    return tuple(zip(problem.time_range, problem.space_range, strict=True))
