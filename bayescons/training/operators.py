"""Operators: Fourier networks trained on a family of solutions, with what is known at the boundary
imposed while they learn.

A recipe names the family, the way in which the boundary enters, and sizes. The functions it learns
from are a fixed set, drawn from its seed; those held out, on which weights are chosen, are others.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from bayescons.descriptions import tabulated
from bayescons.functionals.boundary_conditions import BoundaryConditions
from bayescons.networks.boundary_corrected import BoundaryCorrected
from bayescons.networks.corrections import CORRECTIONS, correction_named
from bayescons.networks.fourier_operator import FourierOperator
from bayescons.problems.operators import OperatorProblem, Samples
from bayescons.problems.stored import stored
from bayescons.refusals import RefusedValue
from bayescons.training.card import interval, short
from bayescons.training.data import shuffled
from bayescons.training.recipe import AbstractRecipe, TrainingSetup, named

# By the number of axes of the grid. "paper" has the sizes of Saad et al. (ICLR 2023, arXiv
# 2212.07477): 500 epochs of 500 functions of one axis, of 1,000 functions of more; their rate is
# halved every 50 epochs. But for one axis it is for an accelerator. "quick" tries the path.
PRESETS: dict[str, dict[int, dict[str, Any]]] = {
    "quick": {
        1: {
            "points": 128,
            "samples": 200,
            "modes": 12,
            "width": 32,
            "steps": 500,
            "round_steps": 50,
        },
        2: {
            "points": 32,
            "samples": 100,
            "modes": 6,
            "width": 16,
            "steps": 100,
            "size": 10,
            "round_steps": 20,
        },
        3: {
            "points": 16,
            "samples": 50,
            "modes": 4,
            "width": 12,
            "steps": 50,
            "size": 5,
            "round_steps": 10,
        },
    },
    "paper": {
        1: {},
        2: {"samples": 1000, "modes": 12, "width": 32, "steps": 25_000},
        3: {"points": 50, "samples": 1000, "modes": 8, "width": 20, "steps": 50_000, "size": 10},
    },
}
TIMES = {"quick": 5, "paper": 25}  # of a family over a plane, unless told otherwise


@tabulated("Operator recipe")
@dataclasses.dataclass(frozen=True, kw_only=True)
class OperatorRecipe(AbstractRecipe):
    """A training run of an operator: family, network, boundary, steps.

    Attributes:
        mode: how boundary values are made to hold, a name of `networks.CORRECTIONS`: none, not at
            all; overwrite; features, by the covariance of the last layer; kernel and layers, by a
            learned kernel; or reference, by the published elimination.
        values: boundary values, "given" to the network among its inputs, whatever the mode, or kept
            from it, "withheld".
        numbers: fields of the family that differ from its own: viscosity=0.02.
        points: of the grid along each axis of space.
        times: of the grid; 1 is space alone, at the family's last time.
        samples: functions to learn from, a multiple of the size.
        held_out: functions on which the weights are chosen.
        modes: Fourier modes along each axis, or as many as its points allow.
        depth: layers.
        order: of the stencils of slopes, 1 to 4.
        size: functions in a batch, a divisor of `samples`.
        seed: of the first weights and the functions. Recipes that differ in mode alone see the same
            functions in the same order.
    """

    kind: ClassVar[str] = "operator"
    network_title: ClassVar[str] = "A Fourier neural operator"
    losses: ClassVar[str] = "relative errors in L2, averaged over functions"
    unit: ClassVar[str] = "relative error in L2"
    problem_class: ClassVar[type[Any]] = OperatorProblem
    presets: ClassVar[Mapping[str, Any]] = PRESETS

    mode: str = "features"
    values: Literal["given", "withheld"] = "given"
    numbers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    points: int = 500
    times: int = 1
    samples: int = 500
    held_out: int = 100
    modes: int = 16
    width: int = 64
    depth: int = 4
    order: int = 3
    steps: int = 12_500
    size: int = 20
    round_steps: int = 250

    @classmethod
    def sizes(cls, name: str, problem: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """A family over a plane has several times, one over a line the last; a preset's sizes go by
        the number of axes.
        """
        axes = len(named(problem, OperatorProblem).axes)
        times = changes.get("times", 1 if axes == 1 else TIMES[name])
        return {**PRESETS[name].get(axes + (times > 1), {}), "times": times}

    @property
    def name(self) -> str:
        """What its weights are called: "operator_stokes_second_features"."""
        withheld = "_withheld" if self.values == "withheld" else ""
        return f"operator_{self.problem}_{self.mode}{withheld}"

    @property
    def family(self) -> OperatorProblem:
        """The problem with its numbers."""
        given = {
            name: tuple(v) if isinstance(v, (list, tuple)) else v
            for name, v in self.numbers.items()
        }
        return named(self.problem, OperatorProblem)(**given)

    @property
    def boundary(self) -> BoundaryConditions:
        """Its sides on its grid."""
        family = self.family
        return BoundaryConditions(family.grid(self.points, self.times), family.sides(self.order))

    def checked(self) -> OperatorRecipe:
        """The recipe, if it can be carried out, with the family's full name and its numbers as a
        file holds them.

        Raises:
            ValueError: it cannot; the error says which number to change.
        """
        numbers = json.loads(json.dumps(dict(self.numbers)))
        return super(OperatorRecipe, dataclasses.replace(self, numbers=numbers)).checked()

    def check(self) -> None:
        """As for every recipe; the family has these numbers, and something is known at its
        boundary.
        """
        super().check()
        kind = named(self.problem, OperatorProblem)
        known = [field.name for field in dataclasses.fields(kind)]
        if unknown := [name for name in self.numbers if name not in known]:
            raise RefusedValue(
                f"{kind.name} has no number called {', '.join(unknown)}; it has {', '.join(known)}"
            )
        self.check_counts("points", "times", "samples", "held_out", "modes", "depth", "order")
        _ = correction_named(self.mode)
        if self.values not in ("given", "withheld"):
            raise RefusedValue(
                f"boundary values are 'given' to the network or 'withheld'; got {self.values!r}"
            )
        if self.samples % self.size:
            fitting = max(1, round(self.samples / self.size)) * self.size
            raise RefusedValue(
                f"samples must be a whole number of batches; got samples={self.samples} and "
                f"size={self.size}. Write samples={fitting}"
            )
        try:
            sides = self.family.sides(self.order)
        except TypeError as error:
            raise RefusedValue(f"{kind.name} cannot have these numbers: {error}") from error
        if not sides:
            raise RefusedValue(
                f"nothing is known of {kind.name} at its boundary with {dict(self.numbers)}; learn "
                "another field of it"
            )
        _ = self.boundary

    def setup(self, data: Path) -> TrainingSetup:
        """As of every recipe; its functions are kept in the folder `data`."""
        key = jax.random.key(self.seed)
        learned, held_out = (self.functions(which, data) for which in ("learned", "held out"))
        batches = minibatches(learned, jax.random.fold_in(key, 3), size=self.size)

        def validate(network):
            def one(samples):
                return relative_error(network, jax.tree.map(lambda array: array[None], samples))

            return jnp.mean(jax.lax.map(one, held_out, batch_size=self.size))

        return TrainingSetup(
            self.network(), relative_error, batches, validate, jax.random.fold_in(key, 4)
        )

    def network(self) -> BoundaryCorrected:
        """The network with its first weights. Along periodic axes it has no padding."""
        boundary = self.boundary
        grid = boundary.grid
        ring = {side.axis for side in boundary.sides if side.kind == "periodic"}
        own = FourierOperator(
            tuple(min(self.modes, count // 2) for count in grid.shape),
            self.width,
            depth=self.depth,
            padding=tuple(0 if name in ring else 0.25 for name in grid.names),
            sides=len(boundary.sides) if self.values == "given" else 0,
            rngs=nnx.Rngs(self.seed),
        )
        correction = correction_named(self.mode)()
        return BoundaryCorrected(own, boundary, correction, rngs=nnx.Rngs(self.seed + 1))

    def functions(self, which: Literal["learned", "held out"], data: Path) -> Samples:
        """What it learns from, or the functions it holds out; drawn once and kept in a folder."""
        place, count = (1, self.samples) if which == "learned" else (2, self.held_out)
        key = jax.random.fold_in(jax.random.key(self.seed), place)
        return stored(self.family, key, count, self.boundary.grid, folder=data)

    @classmethod
    def told(cls, card: Mapping[str, Any]) -> tuple[str, str, dict[str, str]]:
        """As of every recipe."""
        recipe, problem = card["recipe"], card["problem"]
        given = (
            f"boundary values {'among' if recipe['values'] == 'given' else 'not among'} its inputs"
        )
        network = (
            f"{recipe['depth']} layers, width {recipe['width']}, up to {recipe['modes']} modes "
            f"along an axis; {given}"
        )
        axes = f"{recipe['points']} points along each axis of space"
        times = f", {recipe['times']} times" if recipe["times"] > 1 else ", at the last time"
        numbers = ", ".join(
            f"{name} {interval(v) if isinstance(v, list) else short(v)}"
            for name, v in problem["numbers"].items()
        )
        alone = recipe["values"] == "withheld" and recipe["mode"] == "none"
        facts = {
            "family": numbers,
            "boundary": "; ".join(problem["sides"]),
            "functions": (
                f"{recipe['samples']:,} to learn from, {recipe['held_out']:,} held out; "
                f"{axes}{times}"
            ),
        }
        return (
            "; ".join(filter(None, (network, CORRECTIONS[recipe["mode"]].summary))),
            f"initial state{'' if alone else ' and boundary values'} → the field",
            facts,
        )


def minibatches(samples: Samples, key: jax.Array, *, size: int) -> Callable[[jax.Array], Samples]:
    """Step → a batch: every function once an epoch, in an order of its own. A function of key and
    step alone.

    Args:
        samples: functions to learn from, a multiple of `size`.
        key: a key of `jax.random.key`.
        size: functions in a batch.
    """
    indices = shuffled(key, size=size, pool=len(samples.outputs))
    return lambda step: jax.tree.map(lambda array: array[indices(step)], samples)


def relative_errors(network: Callable[..., jax.Array], samples: Samples) -> jax.Array:
    """‖û - u‖ / ‖u‖ of each function, Euclidean norms over all points and times, (n,).

    Where it fails: for a field that is zero everywhere, as `StandingWave` is at some times.
    """
    predicted = jax.vmap(lambda inputs, values: network(inputs, values))(
        samples.inputs, samples.boundary
    )
    axes = tuple(range(1, predicted.ndim))
    missed, size = (
        jnp.sum(field**2, axis=axes) for field in (predicted - samples.outputs, samples.outputs)
    )
    return jnp.sqrt(missed / size)


def relative_error(
    network: Callable[..., jax.Array], batch: Samples, key: jax.Array | None = None
) -> jax.Array:
    """The loss: `relative_errors`, averaged over a batch. Nothing in it is random, so the key is
    not used.
    """
    del key
    return jnp.mean(relative_errors(network, batch))
