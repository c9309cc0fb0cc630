"""The training step whose speed is measured: of the neural process here, and of the same network in
PyTorch in a process of its own.

A step is the evidence bound of one batch, its gradient, and Adam. Here several steps run as one
compiled call, as they do in training; the other side is `experiments/torch_anp.py`, which an
interpreter that has PyTorch runs: the one that the environment variable TORCH_PYTHON names, or this
one.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.traverse_util import flatten_dict

from bayescons.networks import AttentiveNeuralProcess, parameter_count
from bayescons.problems import Stefan
from bayescons.provenance import cores
from bayescons.training.data import Functions, functions
from bayescons.training.losses import evidence_bound

SCRIPT = Path(__file__).with_name("torch_anp.py")
ABSENT = "torch is not installed; set TORCH_PYTHON"
RATE = 1e-4  # of Adam, as published
PAUSE = 0.5  # seconds between turns, for the other side's threads to go to sleep


class Seconds(NamedTuple):
    """Seconds a step, one number for each turn.

    Attributes:
        fixed: on one batch, here.
        fresh: on new functions at every step, and making them, here.
        torch: on that one batch, in PyTorch; empty without it.
    """

    fixed: np.ndarray
    fresh: np.ndarray
    torch: np.ndarray


class Trainee(NamedTuple):
    """A network and what it is trained on.

    Attributes:
        network: the neural process.
        batches: step → batch, new functions each time; the first of them is the fixed one.
    """

    network: AttentiveNeuralProcess
    batches: Callable[[Any], Functions]

    @property
    def batch(self) -> Functions:
        """The fixed batch."""
        return jax.jit(self.batches)(0)


def threads() -> int:
    """Cores that this process may use; XLA takes them all, and so is PyTorch told to."""
    return cores()


def torch_interpreter() -> str | None:
    """The interpreter that has PyTorch, or None."""
    if "TORCH_PYTHON" in os.environ:
        return os.environ["TORCH_PYTHON"]
    return sys.executable if importlib.util.find_spec("torch") else None


def trainee(*, width: int, dropout: float, size: int, points: int, key: jax.Array) -> Trainee:
    """The published network and Stefan problems to train it on, `size` a batch, each with points²
    contexts and as many targets; float32.
    """
    network = AttentiveNeuralProcess(width=width, rate=dropout, rngs=nnx.Rngs(0))
    return Trainee(network, functions(Stefan, key, size=size, times=points, points=points))


def timed(given: Trainee, *, dropout: float, steps: int, turns: int) -> Seconds:
    """Both sides in turns, `steps` steps each time, all once before for compilation and warming
    up.
    """
    train, make = compiled_steps(given.network), jax.jit(jax.vmap(given.batches))
    repeated = jax.block_until_ready(make(jnp.zeros(steps, jnp.int32)))
    sides = {
        "fixed": lambda: _seconds(lambda: train(repeated)),
        "fresh": lambda: _seconds(lambda: train(make(jnp.arange(steps)))),
    }
    taken: dict[str, list[float]] = {"fixed": [], "fresh": [], "torch": []}
    with contextlib.ExitStack() as processes:
        if torch_interpreter():
            ask = processes.enter_context(torch_process(given, dropout=dropout))
            sides["torch"] = lambda: sum(ask(f"step {steps}")["seconds"])
        for turn in range(turns + 1):
            for name, side in sides.items():
                time.sleep(PAUSE)
                seconds = side() / steps
                taken[name] += [seconds] if turn else []
    return Seconds(**{name: np.array(seconds) for name, seconds in taken.items()})


def differences(given: Trainee) -> dict[str, float]:
    """Largest difference between both sides' predictions from the same weights, over the largest
    number of each quantity.

    Without dropout, the latent at its mean.
    """
    with torch_process(given, dropout=0.0) as ask, tempfile.TemporaryDirectory() as folder:
        ask(f"predict {folder}/predicted.npz")
        with np.load(f"{folder}/predicted.npz") as file:
            theirs = {name: file[name] for name in file.files}
    ours = predictions(given)
    return {
        name: float(np.abs(ours[name] - theirs[name]).max() / np.abs(ours[name]).max())
        for name in ours
    }


def predictions(given: Trainee) -> dict[str, np.ndarray]:
    """What the network says of the fixed batch's targets from its contexts."""
    definition, weights = nnx.split(given.network)

    @jax.jit
    @jax.vmap
    def one(contexts, points):
        network = nnx.merge(definition, weights)
        latent = network.latent(contexts.inputs, contexts.u)
        representation = network.represent(contexts.inputs, contexts.u, points)
        predicted = network.decode(representation, latent.mean, points)
        return {
            "latent_mean": latent.mean,
            "representation": representation,
            "mean": predicted.mean,
            "scale": predicted.scale,
        }

    return {
        name: np.asarray(array)
        for name, array in one(given.batch.contexts, given.batch.targets.inputs).items()
    }


def compiled_steps(network: AttentiveNeuralProcess) -> Callable[[Functions], jax.Array]:
    """Batches, stacked → losses of a step on each; every call goes on from where the last one
    ended.
    """
    definition, weights, rest = nnx.split(network, nnx.Param, ...)
    optimiser, key = optax.adam(RATE), jax.random.key(0)

    def step(state, batch):
        at, weights, memory = state
        here = jax.random.fold_in(key, at)
        loss, slope = jax.value_and_grad(
            lambda w: evidence_bound(nnx.merge(definition, w, rest), batch, here)
        )(weights)
        change, memory = optimiser.update(slope, memory)
        return (at + 1, optax.apply_updates(weights, change), memory), loss

    steps = jax.jit(lambda state, batches: jax.lax.scan(step, state, batches), donate_argnums=0)
    held = [jax.tree.map(jnp.copy, (jnp.zeros((), jnp.int32), weights, optimiser.init(weights)))]

    def train(batches):
        held[0], losses = steps(held[0], batches)
        return losses

    return train


def _seconds(run: Callable[[], jax.Array]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


@contextlib.contextmanager
def torch_process(given: Trainee, *, dropout: float) -> Generator[Callable[[str], dict]]:
    """The same network in a process of its own, with the same weights and the fixed batch: gives
    command → its answer.

    Raises:
        RuntimeError: there is no PyTorch, its process has ended, or its network is another one.
    """
    interpreter, settings = torch_interpreter(), given.network.settings
    if interpreter is None:
        raise RuntimeError(ABSENT)
    options = {
        "threads": threads(),
        "width": settings["width"],
        "heads": settings["heads"],
        "rate": dropout,
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [interpreter, str(SCRIPT), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):

        def answer() -> dict:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(
                    f"{SCRIPT.name} ended with status {process.wait()}; what it said stands above"
                )
            return json.loads(line)

        def ask(command: str) -> dict:
            process.stdin.write(command + "\n")
            process.stdin.flush()
            return answer()

        answer()
        np.savez(f"{folder}/weights.npz", **named_weights(given.network))
        np.savez(f"{folder}/batch.npz", **named_batch(given.batch))
        count, expected = (
            ask(f"load {folder}/weights.npz")["parameters"],
            parameter_count(given.network),
        )
        if count != expected:
            raise RuntimeError(
                f"the network of {SCRIPT.name} has {count:,} parameters; ours has {expected:,}"
            )
        ask(f"batch {folder}/batch.npz")
        yield ask


def named_weights(network: AttentiveNeuralProcess) -> dict[str, np.ndarray]:
    """Weights under the names of a weight file, "decoder.hidden.0.kernel"."""
    state = flatten_dict(nnx.to_pure_dict(nnx.state(network, nnx.Param)))
    return {".".join(map(str, path)): np.asarray(array) for path, array in state.items()}


def named_batch(batch: Functions) -> dict[str, np.ndarray]:
    """Contexts and targets as `torch_anp.py` reads them."""
    sides = {"contexts": batch.contexts, "targets": batch.targets}
    inputs = {f"{name}_inputs": np.asarray(side.inputs) for name, side in sides.items()}
    return inputs | {f"{name}_values": np.asarray(side.u) for name, side in sides.items()}
