"""Beliefs from networks: a neural process given readings, and a deep ensemble given readings.

A neural process is a mixture over its latent z. As a program it is two statements,

    z = numpyro.sample("z", latent_distribution(network, readings))
    u = numpyro.sample("u", field_given_latent(network, readings, grid, z))

and a law stated of u is then either information about z (`observe`: the draws of z are weighted by
their evidence) or part of what is meant by the belief (`impose`: they are averaged as they come,
which is what was published). Where one Gaussian is wanted, mean, diagonal and factor of the mixture
are those of `moment_matched`; where no more than mean and variance are wanted, on a large grid,
`latent_moments` finds them without ever holding all draws.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.typing import ArrayLike

from bayescons import tracing
from bayescons.gaussians.conditioning import Constraint
from bayescons.gaussians.gaussian import Gaussian, diagonal
from bayescons.grids import Grid
from bayescons.networks.ensemble import DeepEnsemble
from bayescons.networks.neural_process import Normal
from bayescons.problems.readings import Readings
from bayescons.refusals import RefusedValue
from bayescons.surrogates.ensembles import (
    Ensemble,
    Moments,
    add_members,
    moments_of_sums,
    no_members,
)

# points decoded at once, so that their hidden channels stay in a processor's cache: on large grids
# faster by half
TILE = 1000
CHUNK = 10  # most draws held at once by `latent_moments`


@runtime_checkable  # for the types that tests check
class LatentNetwork(Protocol):
    """A network with a latent z for what all points of a function share, as an
    `AttentiveNeuralProcess`.
    """

    def latent(self, inputs: jax.Array, values: jax.Array) -> Normal:
        """q(z | readings): inputs (n, 2), values (n,) → mean and scale of shape (width,)."""
        ...

    def represent(self, inputs: jax.Array, values: jax.Array, points: jax.Array) -> jax.Array:
        """What the readings say at the points (m, 2), whatever the latent: (m, channels)."""
        ...

    def decode(self, representation: jax.Array, z: jax.Array, points: jax.Array) -> Normal:
        """N(μ, σ²) at the points (m, 2), each of shape (m,), given a latent."""
        ...


def latent_distribution(network: LatentNetwork, readings: Readings) -> dist.Distribution:
    """The distribution of the latent given readings, z ~ N(μ_z, diag σ_z²), a NumPyro distribution
    over vectors.
    """
    mean, scale = network.latent(readings.inputs, readings.u)
    return dist.Normal(mean, scale).to_event(1)


def field_given_latent(
    network: LatentNetwork,
    readings: Readings,
    grid: Grid,
    z: jax.Array,
    *,
    stretch: ArrayLike = 1.0,
) -> Gaussian:
    """The belief about the field given its latent: u | z ~ N(μ(z), diag σ(z)²) on a grid with axes
    t and x, in JAX's default float.

    Args:
        network: a neural process.
        readings: of the field.
        grid: where the belief is wanted, axes t and x.
        z: the latent, shape (width,).
        stretch: s > 0, the network is asked at x₀ + (x - x₀)/s, so that what it predicts is dilated
            about the lower wall x₀. As a latent of a program, s ~ LogNormal(0, 0.05), it is what
            the network cannot know of itself: a front faster or slower than any it was trained on.
            A total that is observed decides it.
    """
    points = _points(grid, stretch)
    predicted = network.decode(network.represent(readings.inputs, readings.u, points), z, points)
    return diagonal(*(a.reshape(grid.shape).astype(jnp.result_type(float)) for a in predicted))


def latent_draws(
    network: LatentNetwork,
    readings: Readings,
    grid: Grid,
    key: jax.Array,
    *,
    draws: int = 100,
    stretch: ArrayLike = 1.0,
) -> Ensemble:
    """The beliefs given `draws` values of the latent; mean and scale (draws, *grid.shape), and
    little memory beside them.

    `stretch` is that of `field_given_latent`, the same for all draws.
    """
    points = _points(grid, stretch)
    latent = network.latent(readings.inputs, readings.u)
    representation = network.represent(readings.inputs, readings.u, points)
    noise = jax.random.normal(key, (draws, *latent.mean.shape), latent.mean.dtype)
    return _decode(
        network, representation, latent.mean[None] + latent.scale[None] * noise, points, grid
    )


def stretched_draws(
    network: LatentNetwork,
    readings: Readings,
    grid: Grid,
    key: jax.Array,
    *,
    draws: int = 20,
    spread: float = 0.05,
    stretches: int = 41,
) -> Ensemble:
    """`latent_draws` under an unknown stretch, log s ~ N(0, spread²), on equally spaced values of
    log s out to three spreads.

    The same draws of z for each stretch; `stretches` × `draws` members, with the prior of the
    stretch as their weights. A total that is observed is sharp evidence of s, for which draws from
    its prior are too few; on a line, as here, there is always one nearby.
    """
    logs = spread * jnp.linspace(-3.0, 3.0, stretches)
    by_stretch = jax.lax.map(
        lambda s: latent_draws(network, readings, grid, key, draws=draws, stretch=jnp.exp(s)), logs
    )
    mean, scale = (a.reshape(stretches * draws, *grid.shape) for a in by_stretch[:2])
    return Ensemble(mean, scale, jnp.repeat(-((logs / spread) ** 2) / 2, draws))


def ensemble_members(network: DeepEnsemble, readings: Readings, grid: Grid) -> Ensemble:
    """The beliefs of an ensemble's members; mean and scale of shape (members, *grid.shape)."""
    predicted = network.predict(readings.inputs, readings.u, _points(grid))
    return Ensemble(*(a.reshape(-1, *grid.shape) for a in predicted))


def latent_moments(
    network: LatentNetwork,
    readings: Readings,
    grid: Grid,
    key: jax.Array,
    constraint: Constraint | None = None,
    *,
    draws: int = 100,
    pairs: bool = False,
) -> Moments:
    """`moments` of `latent_draws`, with memory for no more than ten of them, whatever their number.

    Args:
        network: a neural process.
        readings: of the field.
        grid: where mean and variance are wanted, axes t and x.
        key: for the draws.
        constraint: imposed on each draw; None for nothing.
        draws: of the latent, two or more.
        pairs: draw z = μ_z ± σ_z ε in pairs (antithetic draws). All that is odd in ε then cancels
            from the mean exactly: with the Stefan network that comes with bayescons 20 draws in
            pairs give a mean closer to that of very many draws than 100 independent ones do
            (experiments/network_speed.py). The variance between draws is found no better than from
            as many independent ones.

    Raises:
        ValueError: for fewer than two draws, or an odd number of them in pairs.

    Source: Hammersley and Morton, "A new Monte Carlo technique: antithetic variates", Proc.
    Cambridge Phil. Soc. 52, 1956.
    """
    if draws < 2 or (pairs and draws % 2):
        raise RefusedValue(
            f"moments need two draws or more{', an even number in pairs' if pairs else ''}; got "
            f"draws={draws}"
        )
    points = _points(grid)
    latent = network.latent(readings.inputs, readings.u)
    representation = network.represent(readings.inputs, readings.u, points)
    noise = jax.random.normal(
        key, (draws // 2 if pairs else draws, *latent.mean.shape), latent.mean.dtype
    )
    noise = jnp.concatenate([noise, -noise]) if pairs else noise
    latents = latent.mean[None] + latent.scale[None] * noise
    chunk = max(size for size in range(1, CHUNK + 1) if draws % size == 0)
    weights = jnp.full(draws, 1 / draws)

    def add(sums, some):
        z, weights = some
        return add_members(
            sums, _decode(network, representation, z, points, grid), weights, constraint
        ), None

    chunks = latents.reshape(-1, chunk, latents.shape[-1]), weights.reshape(-1, chunk)
    sums, _ = jax.lax.scan(add, no_members(grid.shape), chunks)
    return moments_of_sums(sums, weights)


def _decode(
    network: LatentNetwork,
    representation: jax.Array,
    latents: jax.Array,
    points: jax.Array,
    grid: Grid,
) -> Ensemble:
    """The beliefs given latents (draws, width)."""
    # A network that is no pytree has no arrays to hand over: it is told from others by identity.
    known = tracing.Static(network) if jax.tree_util.all_leaves([network]) else network
    predicted = _decoded(known, representation, latents, points, tracing.Static(TILE))
    return Ensemble(
        *(jnp.moveaxis(a[..., 0], 0, 1).reshape(len(latents), *grid.shape) for a in predicted)
    )


@tracing.compiled
def _decoded(network, representation, latents, points, tile: tracing.Static):
    """For a tile of points after another all draws are gone through."""
    network = network.value if isinstance(network, tracing.Static) else network

    def at_point(place):
        r, x = place
        return jax.lax.map(lambda z: network.decode(r[None], z, x[None]), latents)

    return jax.lax.map(at_point, (representation, points), batch_size=tile.value)


def _points(grid: Grid, stretch: ArrayLike = 1.0) -> jax.Array:
    """The grid's points as rows (t, x), t slow; x dilated about its lower end, and kept from
    leaving the grid.
    """
    mesh = grid.mesh()
    lower, upper = grid["x"][0], grid["x"][-1]
    t, x = (jnp.broadcast_to(mesh[axis], grid.shape).ravel() for axis in ("t", "x"))
    return jnp.stack([t, jnp.clip(lower + (x - lower) / stretch, lower, upper)], axis=-1)
