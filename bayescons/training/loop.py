"""The training loop: many steps in one compiled call, a pure function of a key, which can be
stopped anywhere and goes on.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from bayescons.descriptions import tabulated
from bayescons.refusals import RefusedNumbers
from bayescons.training.checkpoints import Checkpoints


class State(NamedTuple):
    """What the next step needs.

    Attributes:
        step: steps taken.
        weights: of the network, an `nnx.State`.
        optimiser: of optax.
        best: weights of the lowest validation loss so far.
        best_loss: that loss; infinity before the first validation.
        best_step: when it was reached.
    """

    step: jax.Array
    weights: Any
    optimiser: Any
    best: Any
    best_loss: jax.Array
    best_step: jax.Array


@tabulated("Report of a training run")
class Report(NamedTuple):
    """What a person looks at, once a round.

    Attributes:
        step: steps taken.
        steps: steps to take.
        loss: mean training loss of the round.
        validation: validation loss after it; NaN without validation.
        best: lowest validation loss so far; NaN without validation.
        best_step: when it was reached.
        seconds: since this call began.
    """

    step: int
    steps: int
    loss: float
    validation: float
    best: float
    best_step: int
    seconds: float


@tabulated("Schedule of training")
@dataclasses.dataclass(frozen=True)
class Schedule:
    """Steps, and the learning rate over them: a linear rise, then a cosine down to zero; or
    constant, as published.

    Attributes:
        steps: to take.
        rate: highest learning rate of Adam.
        warmup: share of the steps over which it rises.
        constant: hold the rate instead (no rise, no fall).
        clip: largest norm of a gradient; longer ones are scaled down to it. None for no limit.
    """

    steps: int
    rate: float = 1e-3
    warmup: float = 0.05
    constant: bool = False
    clip: float | None = 10.0

    def optimiser(self) -> optax.GradientTransformation:
        """Adam with this schedule."""
        rise = max(1, int(self.warmup * self.steps))
        cosine = optax.warmup_cosine_decay_schedule(0.0, self.rate, rise, max(self.steps, rise + 1))
        adam = optax.adam(self.rate if self.constant else cosine)
        return (
            adam if self.clip is None else optax.chain(optax.clip_by_global_norm(self.clip), adam)
        )


def train(
    network: nnx.Module,
    loss: Callable[[Any, Any, jax.Array], jax.Array],
    batches: Callable[[jax.Array], Any],
    *,
    schedule: Schedule,
    key: jax.Array,
    validate: Callable[[Any], jax.Array] | None = None,
    round_steps: int = 200,
    patience: int | None = None,
    checkpoints: Checkpoints | None = None,
    report: Callable[[Report], None] = lambda _: None,
) -> nnx.Module:
    """The network with trained weights; the one given is left as it was.

    `round_steps` steps run as one `lax.scan`, data included, so that a device is kept busy. After
    each round the validation loss is taken, the weights of its lowest value are remembered (they
    are the result), `report` is called and the state is saved. Batches and random numbers are
    functions of the step, so a run that was killed goes on from its last checkpoint to the same
    weights, to the last bit, as one that was not. What was reported after that checkpoint is then
    reported a second time.

    Args:
        network: with its first weights.
        loss: (network, batch, key) → number; the key is for whatever is random in it.
        batches: step → batch, traced.
        schedule: number of steps and learning rate.
        key: a key of `jax.random.key`, for the losses; not the one of the batches.
        validate: network → loss on data held out; None takes the last weights as the result.
        round_steps: steps between validations; the last round may be shorter.
        patience: stop when so many validations in a row have brought nothing lower.
        checkpoints: where the state is kept; None for nowhere.
        report: called after every round, before its state is saved.

    Raises:
        FloatingPointError: a loss has become NaN or infinite: (a) too high a rate, (b) NaN in the
            data.
    """
    definition, weights, rest = nnx.split(network, nnx.Param, ...)
    optimiser = schedule.optimiser()

    def rebuilt(weights):
        return nnx.merge(definition, weights, rest)

    def step(state, _):
        batch, here = batches(state.step), jax.random.fold_in(key, state.step)
        value, slope = jax.value_and_grad(lambda w: loss(rebuilt(w), batch, here))(state.weights)
        change, memory = optimiser.update(slope, state.optimiser, state.weights)
        weights = optax.apply_updates(state.weights, change)
        return state._replace(step=state.step + 1, weights=weights, optimiser=memory), value

    @functools.partial(jax.jit, static_argnames="length")
    def one_round(state, length):
        state, losses = jax.lax.scan(step, state, None, length=length)
        held_out = jnp.nan if validate is None else validate(rebuilt(state.weights))
        better = True if validate is None else held_out < state.best_loss
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state.weights, state.best)
        state = state._replace(
            best=best,
            best_loss=jnp.where(better, held_out, state.best_loss).astype(state.best_loss.dtype),
            best_step=jnp.where(better, state.step, state.best_step),
        )
        return state, jnp.mean(losses), held_out

    zero = jnp.zeros((), jnp.int32)
    state = State(
        zero, weights, optimiser.init(weights), weights, jnp.asarray(jnp.inf, jnp.float32), zero
    )
    if checkpoints is not None:
        state = checkpoints.latest(like=state)
    began = time.monotonic()
    while int(state.step) < schedule.steps and not _exhausted(state, patience, round_steps):
        length = min(round_steps, schedule.steps - int(state.step))
        state, mean_loss, held_out = jax.block_until_ready(one_round(state, length))
        told = Report(
            step=int(state.step),
            steps=schedule.steps,
            loss=float(mean_loss),
            validation=float(held_out),
            best=float(state.best_loss),
            best_step=int(state.best_step),
            seconds=time.monotonic() - began,
        )
        _check_finite(told, schedule.rate, validated=validate is not None)
        report(told)
        if checkpoints is not None:
            checkpoints.save(state)
    return rebuilt(state.best)


def _exhausted(state: State, patience: int | None, round_steps: int) -> bool:
    return patience is not None and int(state.step - state.best_step) >= patience * round_steps


def _check_finite(told: Report, rate: float, *, validated: bool) -> None:
    if not (math.isfinite(told.loss) and (math.isfinite(told.validation) or not validated)):
        name, value = (
            ("loss", told.loss)
            if not math.isfinite(told.loss)
            else ("validation loss", told.validation)
        )
        raise RefusedNumbers(
            f"the {name} is {value} at step {told.step}: (a) the learning rate ({rate:g}) is too "
            "high, lower it; (b) the data hold NaN. The last checkpoint is from before this"
        )
