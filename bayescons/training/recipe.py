"""What a recipe is: a training run as a handful of numbers, which knows how it is set up.

A recipe determines its result: the same one gives the same weights on the same kind of machine,
whether it ran through or was killed and started again in between.
"""

from __future__ import annotations

import dataclasses
import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import jax
from flax import nnx

from bayescons.refusals import RefusedValue
from bayescons.training.card import describe


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractRecipe(ABC):
    """A training run. A class for each kind of network; its fields are the options of
    `bayescons train KIND`.

    Attributes:
        problem: name of the problem whose family of functions is learned; `bayescons problems`
            lists them.
        steps: gradient steps.
        size: functions in a batch.
        rate: learning rate of Adam, the highest one.
        schedule: of the rate: "cosine", up over 5 % of the steps, then down to zero; or the same at
            every step, "constant".
        clip: largest norm of a gradient; None for no limit.
        width: channels.
        round_steps: steps between validations; after each the state is kept.
        patience: stop when so many validations in a row have brought nothing lower; None to go on
            to the end.
        seed: of the first weights, the functions and the noise.
    """

    kind: ClassVar[str]  # its name on the command line and in a card
    network_title: ClassVar[str]  # "An attentive neural process", in a card
    losses: ClassVar[str]  # what its losses are, in a card
    unit: ClassVar[str]  # of the loss on functions held out
    problem_class: ClassVar[type[Any]]  # whose subclasses it can learn
    presets: ClassVar[Mapping[str, Any]]  # name → what differs from the defaults

    problem: str
    steps: int
    size: int
    rate: float = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float | None = 10.0
    width: int
    round_steps: int
    patience: int | None = None
    seed: int = 0

    @classmethod
    def preset(cls, name: str, problem: str, **changes: Any) -> AbstractRecipe:
        """The recipe of a name for a problem, with changes to it, checked.

        Raises:
            ValueError: there is none of this name, or it cannot be carried out.
        """
        if name not in cls.presets:
            raise RefusedValue(
                f"there is no preset {name!r} for {cls.kind!r}; there are {', '.join(cls.presets)}"
            )
        sizes = cls.sizes(name, problem, changes)
        return cls(problem=problem, **{**sizes, **changes}).checked()

    @classmethod
    def sizes(cls, name: str, problem: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """What a preset sets for a problem, given the changes to it."""
        del problem, changes
        return dict(cls.presets[name])

    @property
    @abstractmethod
    def name(self) -> str:
        """What its weights are called: "anp_stefan"."""

    @property
    @abstractmethod
    def family(self) -> Any:
        """What is learned: a class of `bayescons.problems`, or an operator problem with its
        numbers.
        """

    @property
    def settings(self) -> dict[str, Any]:
        """Its kind and its fields, as a file holds them."""
        return {"kind": self.kind, **dataclasses.asdict(self)}

    def checked(self) -> AbstractRecipe:
        """The recipe, if it can be carried out, with the problem's full name.

        Raises:
            ValueError: it cannot; the error says which number to change.
        """
        recipe = dataclasses.replace(self, problem=named(self.problem, self.problem_class).name)
        recipe.check()
        return recipe

    def check(self) -> None:
        """Refuse numbers with which it cannot be carried out.

        Raises:
            ValueError: the error says which to change.
        """
        self.check_counts("steps", "size", "width", "round_steps", "patience")
        if not 0 < self.rate < 1:
            raise RefusedValue(
                f"rate is a learning rate, above 0 and below 1; got {self.rate:g}. Write rate=1e-3"
            )
        if self.clip is not None and not self.clip > 0:
            raise RefusedValue(
                f"clip is the largest norm of a gradient, above 0; got {self.clip:g}. For no "
                "limit it is None"
            )

    def check_counts(self, *names: str) -> None:
        """Refuse whole numbers below 1; None passes."""
        for name in names:
            number = getattr(self, name)
            if number is not None and number < 1:
                raise RefusedValue(f"{name} must be 1 or more; got {number}")

    @abstractmethod
    def setup(self, data: Path) -> TrainingSetup:
        """Network, loss, batches and validation.

        Args:
            data: folder in which functions that take long to make are kept.
        """

    def card(self, network: nnx.Module, log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What is known of the network that it has trained, as `card.describe`."""
        return describe(self.name, network, self.family, recipe=self.settings, log=log)

    @classmethod
    @abstractmethod
    def told(cls, card: Mapping[str, Any]) -> tuple[str, str, dict[str, str]]:
        """A card in words: what the network is, what it turns into what, and what it learned
        from.
        """


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
