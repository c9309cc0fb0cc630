"""Operators: Fourier networks trained on a family of solutions, with what is known at the boundary
imposed while they learn.

A recipe names the family, the way in which the boundary enters, and sizes. The functions it learns
from are a fixed set, drawn from its seed; those held out, on which weights are chosen, are others.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from bayescons.functionals.boundary_conditions import BoundaryConditions
from bayescons.networks.boundary_corrected import BoundaryCorrected
from bayescons.networks.corrections import correction_named
from bayescons.networks.fourier_operator import FourierOperator
from bayescons.problems.operators import OperatorProblem, Samples
from bayescons.problems.stored import stored
from bayescons.refusals import RefusedValue
from bayescons.training.card import describe
from bayescons.training.data import shuffled
from bayescons.training.loop import Report
from bayescons.training.runs import TrainingSetup, carry_out, check_steps, named


@dataclasses.dataclass(frozen=True)
class OperatorRecipe:
    """A training run of an operator: family, network, boundary, steps.

    Attributes:
        problem: name of the family, as "stokes_second".
        mode: how its boundary values are made to hold, a name of `networks.CORRECTIONS`; "none"
            for not at all.
        values: "given" to the network among its inputs, whatever the mode, or "withheld" from it.
        numbers: fields of the family that differ from its own, as {"viscosity": 0.02}.
        points: of the grid along each axis of space.
        times: of the grid; 1 is space alone, at the family's last time.
        samples: functions to learn from.
        held_out: functions on which the weights are chosen.
        modes: of the layers along each axis, or as many as its points allow.
        width: channels.
        depth: layers.
        order: of the stencils of slopes.
        steps: gradient steps.
        size: functions in a batch, a divisor of `samples`.
        rate: learning rate of Adam, the highest one.
        schedule: "cosine" (a rise over 5 % of the steps, then down to zero) or "constant".
        clip: largest norm of a gradient; None for no limit.
        round_steps: steps between validations.
        patience: stop when so many validations in a row have brought nothing lower; None to go on
            to the end.
        seed: of the first weights and the functions. Recipes that differ in mode alone see the same
            functions in the same order.
        kind: "operator".
    """

    unit: ClassVar[str] = "relative error in L2"

    problem: str
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
    rate: float = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float | None = 10.0
    round_steps: int = 250
    patience: int | None = None
    seed: int = 0
    kind: Literal["operator"] = "operator"

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


def preset(name: str, problem: str, **changes: Any) -> OperatorRecipe:
    """The recipe of a name for a family, with changes to it, checked. A family over a plane has
    several times, one over a line the last.

    Raises:
        ValueError: there is none of this name, or it cannot be carried out.
    """
    if name not in PRESETS:
        raise RefusedValue(
            f"there is no preset {name!r} for 'operator'; there are {', '.join(PRESETS)}"
        )
    family = named(problem, OperatorProblem)
    times = changes.get("times", 1 if len(family.axes) == 1 else TIMES[name])
    sizes = PRESETS[name].get(len(family.axes) + (times > 1), {})
    return checked(OperatorRecipe(problem=family.name, **{**sizes, "times": times, **changes}))


def checked(recipe: OperatorRecipe) -> OperatorRecipe:
    """The recipe, if it can be carried out, with the family's full name and its numbers as a file
    holds them.

    Raises:
        ValueError: it cannot; the error says which number to change.
    """
    kind = named(recipe.problem, OperatorProblem)
    known = [field.name for field in dataclasses.fields(kind)]
    if unknown := [name for name in recipe.numbers if name not in known]:
        raise RefusedValue(
            f"{kind.name} has no number called {', '.join(unknown)}; it has {', '.join(known)}"
        )
    recipe = dataclasses.replace(
        recipe, problem=kind.name, numbers=json.loads(json.dumps(dict(recipe.numbers)))
    )
    check_steps(recipe, ("points", "times", "samples", "held_out", "modes", "depth", "order"))
    _ = correction_named(recipe.mode)
    if recipe.values not in ("given", "withheld"):
        raise RefusedValue(
            f"boundary values are 'given' to the network or 'withheld'; got {recipe.values!r}"
        )
    if recipe.samples % recipe.size:
        fitting = max(1, round(recipe.samples / recipe.size)) * recipe.size
        raise RefusedValue(
            f"samples must be a whole number of batches; got samples={recipe.samples} and "
            f"size={recipe.size}. Write samples={fitting}"
        )
    try:
        sides = recipe.family.sides(recipe.order)
    except TypeError as error:
        raise RefusedValue(f"{kind.name} cannot have these numbers: {error}") from error
    if not sides:
        raise RefusedValue(
            f"nothing is known of {kind.name} at its boundary with {dict(recipe.numbers)}; learn "
            "another field of it"
        )
    _ = recipe.boundary
    return recipe


def network(recipe: OperatorRecipe) -> BoundaryCorrected:
    """The network a recipe begins with. Along periodic axes it has no padding."""
    boundary = recipe.boundary
    grid, ring = boundary.grid, {side.axis for side in boundary.sides if side.kind == "periodic"}
    own = FourierOperator(
        tuple(min(recipe.modes, count // 2) for count in grid.shape),
        recipe.width,
        depth=recipe.depth,
        padding=tuple(0 if name in ring else 0.25 for name in grid.names),
        sides=len(boundary.sides) if recipe.values == "given" else 0,
        rngs=nnx.Rngs(recipe.seed),
    )
    correction = correction_named(recipe.mode)()
    return BoundaryCorrected(own, boundary, correction, rngs=nnx.Rngs(recipe.seed + 1))


def functions(recipe: OperatorRecipe, which: Literal["learned", "held out"], data: Path) -> Samples:
    """What a recipe learns from, or the functions it holds out; drawn once and kept in a folder."""
    place, count = (1, recipe.samples) if which == "learned" else (2, recipe.held_out)
    key = jax.random.fold_in(jax.random.key(recipe.seed), place)
    return stored(recipe.family, key, count, recipe.boundary.grid, folder=data)


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


def materials(recipe: OperatorRecipe, *, data: Path) -> TrainingSetup:
    """Network, loss, batches and validation of a recipe; its functions are kept in the folder
    `data`.
    """
    key = jax.random.key(recipe.seed)
    learned, held_out = (functions(recipe, which, data) for which in ("learned", "held out"))
    batches = minibatches(learned, jax.random.fold_in(key, 3), size=recipe.size)

    def validate(network):
        def one(samples):
            return relative_error(network, jax.tree.map(lambda array: array[None], samples))

        return jnp.mean(jax.lax.map(one, held_out, batch_size=recipe.size))

    return TrainingSetup(
        network(recipe), relative_error, batches, validate, jax.random.fold_in(key, 4)
    )


def run(
    recipe: OperatorRecipe,
    folder: Path,
    report: Callable[[Report], None] = lambda _: None,
    *,
    begins: Callable[[int], None] = lambda _: None,
    data: Path | None = None,
) -> nnx.Module:
    """Train what a recipe says and leave weights and card in a folder, as `runs.carry_out`.

    Args:
        recipe: what to train.
        folder: made if missing.
        report: called after every round; `seconds` are those of all starts together.
        begins: called when training begins, with the number of steps taken earlier.
        data: folder in which functions are kept; None is data/ of the folder.

    Returns:
        The network with the weights of the lowest error on the functions held out.

    Raises:
        ValueError: the recipe cannot be carried out, or the folder holds a run of another one.
        RuntimeError: another process is training in this folder.
        FloatingPointError: a loss has become NaN or infinite.
        OSError: something cannot be written.
    """
    kept = Path(folder) / "data" if data is None else Path(data)
    return carry_out(
        checked(recipe),
        folder,
        functools.partial(materials, data=kept),
        _card,
        report,
        begins=begins,
    )


def _card(
    recipe: OperatorRecipe, network: nnx.Module, log: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return describe(recipe.name, network, recipe.family, recipe=dataclasses.asdict(recipe), log=log)
