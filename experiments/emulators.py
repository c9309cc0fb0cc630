"""Emulators of a dry atmosphere: small Fourier operators that learn the increment over a day, each
from a seed of its own, and their roll-outs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import bayescons as bc
from bayescons.networks.fourier_operator import FourierOperator
from bayescons.training import Checkpoints, Log, Schedule, train
from bayescons.training.data import shuffled
from experiments.dry_atmosphere import Atmosphere

ROUND = 100  # steps between validations, after each of which the state is kept


class Scales(NamedTuple):
    """What fields are measured by.

    Attributes:
        mean: over time, longitude and both hemispheres, shape (channels, latitude, 1).
        sd: about it, over time and the sphere, shape (channels, 1, 1).
        increment: root mean square of the change over a day, shape (channels, 1, 1).
    """

    mean: np.ndarray
    sd: np.ndarray
    increment: np.ndarray


class Size(NamedTuple):
    """Of an emulator and its training.

    Attributes:
        modes: of Fourier, along latitude and along longitude.
        width: channels.
        depth: layers.
        steps: of Adam.
        batch: pairs of days in a step.
        rate: highest learning rate.
    """

    modes: tuple[int, int] = (8, 12)
    width: int = 48
    depth: int = 3
    steps: int = 1500
    batch: int = 8
    rate: float = 2e-3


def scales(air: Atmosphere, runs: Sequence[np.ndarray]) -> Scales:
    """Of some runs, each of shape (days, channels, latitude, longitude)."""
    both = [(run, mirrored(air, run)) for run in runs]
    mean = np.mean([one.mean(axis=(0, 3)) for pair in both for one in pair], axis=0)[..., None]
    area = air.weights[:, None] / air.weights.sum()

    def spread(squares):
        return np.sqrt(np.sum(squares * area[:, 0], axis=-1))[:, None, None]

    sd = np.mean([((run - mean) ** 2).mean(axis=(0, 3)) for run in runs], axis=0)
    change = np.mean([(np.diff(run, axis=0) ** 2).mean(axis=(0, 3)) for run in runs], axis=0)
    return Scales(mean, spread(sd), spread(change))


def mirrored(air: Atmosphere, fields):
    """The other hemisphere's: north and south exchanged, and with them the sign of the wind v."""
    signs = air.mirror.astype(fields.dtype).reshape((1,) * (fields.ndim - 3) + (-1, 1, 1))
    return signs * fields[..., ::-1, :]


def network(air: Atmosphere, size: Size, seed: int) -> FourierOperator:
    """With its first weights."""
    return FourierOperator(
        size.modes,
        size.width,
        depth=size.depth,
        padding=(0.25, None),
        channels=air.channels,
        outputs=air.channels,
        projection=size.width,
        rngs=nnx.Rngs(seed),
    )


def trained(
    air: Atmosphere,
    units: Scales,
    learned: Sequence[np.ndarray],
    held_out: np.ndarray,
    *,
    size: Size,
    seed: int,
    folder: Path,
    report: Callable = lambda _: None,
) -> FourierOperator:
    """An emulator that has learned from some runs; it goes on from its last checkpoint.

    Every pair of days is turned by a random longitude and, half of them, mirrored: the forcing has
    these symmetries. The loss is the mean square of what is left of the increment, in units of its
    root mean square, over the sphere and all channels.

    Args:
        air: the atmosphere.
        units: what fields are measured by.
        learned: runs (days, channels, latitude, longitude).
        held_out: a run whose one-day errors choose the weights.
        size: of the emulator.
        seed: of its first weights, and of the order of the days.
        folder: of its checkpoints and its log.
        report: called after every round.
    """
    grid, area = sphere(air), jnp.asarray(air.weights[:, None] / air.weights.mean(), jnp.float32)
    ratio = jnp.asarray(units.increment / units.sd, jnp.float32)
    every = jnp.asarray(np.concatenate([_kept(units, run) for run in learned]))
    ends = np.cumsum([len(run) for run in learned])
    starts = jnp.asarray(np.setdiff1d(np.arange(ends[-1]), ends - 1))
    chosen = jnp.asarray(_kept(units, held_out))
    key = jax.random.key(seed)
    indices = shuffled(key, size=size.batch, pool=len(starts) // size.batch * size.batch)

    def batches(step):
        turn, flip = jax.random.split(jax.random.fold_in(key, step))
        shift = jax.random.randint(turn, (size.batch,), 0, every.shape[-1])
        flipped = jax.random.bernoulli(flip, 0.5, (size.batch,))[:, None, None, None]

        def moved(fields):
            turned = jax.vmap(lambda one, by: jnp.roll(one, by, axis=-1))(fields, shift)
            return jnp.where(flipped, mirrored(air, turned), turned)

        first = starts[indices(step)]
        return moved(every[first]), moved(every[first + 1])

    def loss(model, batch, key):
        del key
        first, second = batch
        missed = increments(model, grid, first) - (second - first) / ratio
        return jnp.mean(area * missed**2)

    checkpoints = Checkpoints(folder, {"seed": seed, **size._asdict(), "modes": [*size.modes]})
    log = Log(folder / "log.jsonl", upto=checkpoints.step)

    def told(one):
        log.append(one._asdict())
        report(one)

    return train(
        network(air, size, seed),
        loss,
        batches,
        schedule=Schedule(size.steps, size.rate),
        key=key,
        validate=lambda model: loss(model, (chosen[:-1], chosen[1:]), key),
        round_steps=ROUND,
        checkpoints=checkpoints,
        report=told,
    )


def sphere(air: Atmosphere) -> bc.Grid:
    """Latitude and longitude in degrees."""
    return bc.Grid(lat=np.degrees(np.arcsin(air.sine)), lon=np.degrees(air.longitude))


def increments(model: FourierOperator, grid: bc.Grid, fields: jax.Array) -> jax.Array:
    """Of fields (n, channels, latitude, longitude) in units of `Scales.sd` about the mean, in units
    of `Scales.increment`.
    """
    last = jnp.moveaxis(fields, 1, -1)
    return jnp.moveaxis(jax.vmap(lambda one: model(one, grid))(last), -1, 1)


def _kept(units: Scales, run: np.ndarray) -> np.ndarray:
    return ((run - units.mean) / units.sd).astype(np.float32)


# --- Roll-outs
# -----------------------------------------------------------------------------


def a_day(air: Atmosphere, units: Scales, models: Sequence[FourierOperator]) -> Callable:
    """States (n, members, channels, latitude, longitude) -> each a day later by its own emulator.

    States are in units of `Scales.sd` about the mean; the networks compute in single precision.
    """
    grid, ratio = sphere(air), jnp.asarray(units.increment / units.sd)
    definition, _ = nnx.split(models[0])
    weights = jax.tree.map(lambda *all: jnp.stack(all), *(nnx.split(m)[1] for m in models))

    @jax.jit
    def step(weights, states):
        def change(weights, state):
            moved = increments(nnx.merge(definition, weights), grid, state[None])[0]
            return ratio * moved.astype(ratio.dtype)

        def each(states):
            return states + jax.vmap(change)(weights, states.astype(jnp.float32))

        return jax.lax.map(each, states)

    return functools.partial(step, weights)
