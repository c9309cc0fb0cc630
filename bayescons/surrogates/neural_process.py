"""Beliefs from networks: a neural process given readings, an ensemble given readings, and one
Gaussian made of several.

A neural process is a mixture over its latent z. As a program it is two statements,

    z = numpyro.sample("z", latent(network, readings))
    u = numpyro.sample("u", field(network, readings, grid, z))

and a law stated of u is then either information about z (`observe`: the draws of z are weighted by
their evidence) or part of what is
meant by the belief (`impose`: they are averaged as they come, which is what was published). Where
one Gaussian is wanted, mean, diagonal and factor of the mixture are those of `matched`; where no
more than mean and variance are wanted, on a large grid, `latent_moments` finds them without ever
holding all draws.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.typing import ArrayLike

from bayescons.gaussians.conditioning import Constraint, condition
from bayescons.gaussians.gaussian import Gaussian, diagonal, low_rank
from bayescons.grids import Grid
from bayescons.problems.readings import Readings

# points decoded at once, so that their hidden channels stay in a processor's cache: on large grids
# faster by half
TILE = 1000
CHUNK = 10  # most draws held at once by `latent_moments`


class Members(NamedTuple):
    """Several beliefs about one field, each independent from point to point: draws of a latent, or
    members of an ensemble.

    Attributes:
        mean: shape (members, *field).
        scale: standard deviations, the same shape.
        log_weight: logarithms of their weights before any law is known, up to a constant, shape
            (members,); None for equals.
    """

    mean: jax.Array
    scale: jax.Array
    log_weight: jax.Array | None = None


class Moments(NamedTuple):
    """What is kept of a mixture.

    Attributes:
        mean: shape of the field.
        variance: own and between members, the same shape.
    """

    mean: jax.Array
    variance: jax.Array


def latent(network: Any, readings: Readings) -> dist.Distribution:
    """The distribution of the latent given readings, z ~ N(μ_z, diag σ_z²), a NumPyro distribution
    over vectors.
    """
    found = network.latent(readings.inputs, readings.u)
    return dist.Normal(found.mean, found.scale).to_event(1)


def field(
    network: Any, readings: Readings, grid: Grid, z: jax.Array, *, stretch: ArrayLike = 1.0
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
    network: Any,
    readings: Readings,
    grid: Grid,
    key: jax.Array,
    *,
    draws: int = 100,
    stretch: ArrayLike = 1.0,
) -> Members:
    """The beliefs given `draws` values of the latent; mean and scale (draws, *grid.shape), and
    little memory beside them.

    `stretch` is that of `field`, the same for all draws.
    """
    points = _points(grid, stretch)
    found = network.latent(readings.inputs, readings.u)
    representation = network.represent(readings.inputs, readings.u, points)
    noise = jax.random.normal(key, (draws, *found.mean.shape), found.mean.dtype)
    return _decoded(
        network, representation, found.mean[None] + found.scale[None] * noise, points, grid
    )


def stretched_draws(
    network: Any,
    readings: Readings,
    grid: Grid,
    key: jax.Array,
    *,
    draws: int = 20,
    spread: float = 0.05,
    stretches: int = 41,
) -> Members:
    """`latent_draws` under an unknown stretch, log s ~ N(0, spread²), on equally spaced values of
    log s out to three spreads.

    The same draws of z for each stretch; `stretches` × `draws` members, with the prior of the
    stretch as their weights. A total that is observed is sharp evidence of s, for which draws from
    its prior are too few; on a line, as here, there is always one nearby.
    """
    logs = spread * jnp.linspace(-3.0, 3.0, stretches)
    found = jax.lax.map(
        lambda s: latent_draws(network, readings, grid, key, draws=draws, stretch=jnp.exp(s)), logs
    )
    mean, scale = (a.reshape(stretches * draws, *grid.shape) for a in found[:2])
    return Members(mean, scale, jnp.repeat(-((logs / spread) ** 2) / 2, draws))


def ensemble_members(network: Any, readings: Readings, grid: Grid) -> Members:
    """The beliefs of an ensemble's members; mean and scale of shape (members, *grid.shape)."""
    predicted = network.predict(readings.inputs, readings.u, _points(grid))
    return Members(*(a.reshape(-1, *grid.shape) for a in predicted))


def matched(members: Members, *, factor: bool = True) -> Gaussian:
    """One Gaussian with the mean and the variances of a mixture.

        m = Σ w_s μ_s,    K = diag(Σ w_s σ_s²) + F F',    F_s = √(w_s / (1 - Σ w²)) (μ_s - m)

    With S equal weights F_s = (μ_s - m)/√(S - 1), the sample's covariance.

    Args:
        members: the mixture.
        factor: keep how points vary together; without it the same variances lie on the diagonal
            alone, and times are independent.

    Returns:
        `low_rank`, or `diagonal` without the factor.
    """
    logs = jnp.zeros(len(members.mean)) if members.log_weight is None else members.log_weight
    weights = jax.nn.softmax(logs)
    mean, own = jnp.tensordot(weights, members.mean, 1), jnp.tensordot(weights, members.scale**2, 1)
    off = jnp.moveaxis(members.mean - mean[None], 0, -1)
    off = off * jnp.broadcast_to(jnp.sqrt(weights / (1 - jnp.sum(weights**2))), off.shape)
    if factor:
        return low_rank(mean, jnp.sqrt(own), off)
    return diagonal(mean, jnp.sqrt(own + jnp.sum(off**2, axis=-1)))


def moments(members: Members, constraint: Constraint | None = None) -> Moments:
    """Mean and variance of a mixture whose members are each given a constraint, which is imposed:
    it does not change their weights.

        m = Σ w_s m_s,    v = Σ w_s v_s + Σ w_s (m_s - m)² / (1 - Σ w²)

    Members are conditioned one at a time, in JAX's default float, so that memory beyond theirs is
    that of a few fields.

    Args:
        members: the mixture, two or more.
        constraint: on the field; None for nothing.
    """
    logs = jnp.zeros(len(members.mean)) if members.log_weight is None else members.log_weight
    weights = jax.nn.softmax(logs)
    return _finished(
        _added(_nothing(members.mean.shape[1:]), members, weights, constraint), weights
    )


def latent_moments(
    network: Any,
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
        raise ValueError(
            f"moments need two draws or more{', an even number in pairs' if pairs else ''}; got "
            f"draws={draws}"
        )
    points = _points(grid)
    found = network.latent(readings.inputs, readings.u)
    representation = network.represent(readings.inputs, readings.u, points)
    noise = jax.random.normal(
        key, (draws // 2 if pairs else draws, *found.mean.shape), found.mean.dtype
    )
    noise = jnp.concatenate([noise, -noise]) if pairs else noise
    latents = found.mean[None] + found.scale[None] * noise
    chunk = max(size for size in range(1, CHUNK + 1) if draws % size == 0)
    weights = jnp.full(draws, 1 / draws)

    def add(running, some):
        z, weights = some
        return _added(
            running, _decoded(network, representation, z, points, grid), weights, constraint
        ), None

    chunks = latents.reshape(-1, chunk, latents.shape[-1]), weights.reshape(-1, chunk)
    running, _ = jax.lax.scan(add, _nothing(grid.shape), chunks)
    return _finished(running, weights)


class _Running(NamedTuple):
    """Weighted sums over the members so far: of the weights, the mean, Σ w v, and Σ w (m_s - m)²,
    which is never a difference.
    """

    weight: jax.Array
    mean: jax.Array
    own: jax.Array
    between: jax.Array


def _nothing(shape: tuple[int, ...]) -> _Running:
    return _Running(jnp.zeros(()), jnp.zeros(shape), jnp.zeros(shape), jnp.zeros(shape))


def _added(
    running: _Running, members: Members, weights: jax.Array, constraint: Constraint | None
) -> _Running:
    """The sums with more members in them (Welford's recursion)."""

    def add(so_far, member):
        *predicted, weight = (a.astype(jnp.result_type(float)) for a in member)
        belief = diagonal(*predicted)
        belief = belief if constraint is None else condition(belief, constraint)
        total = so_far.weight + weight
        off = belief.mean - so_far.mean
        share = weight / jnp.maximum(
            total, jnp.finfo(total.dtype).tiny
        )  # 1 for the first, so that it is taken over exactly
        mean = so_far.mean + off * share
        own = so_far.own + weight * belief.variance
        return _Running(
            total, mean, own, so_far.between + weight * off * (belief.mean - mean)
        ), None

    return jax.lax.scan(add, running, (members.mean, members.scale, weights))[0]


def _finished(running: _Running, weights: jax.Array) -> Moments:
    return Moments(running.mean, running.own + running.between / (1 - jnp.sum(weights**2)))


def _decoded(
    network: Any, representation: jax.Array, latents: jax.Array, points: jax.Array, grid: Grid
) -> Members:
    """The beliefs given latents (draws, width). For a tile of points after another all draws are
    gone through.
    """

    def at_point(known):
        r, x = known
        return jax.lax.map(lambda z: network.decode(r[None], z, x[None]), latents)

    predicted = jax.lax.map(at_point, (representation, points), batch_size=TILE)
    return Members(
        *(jnp.moveaxis(a[..., 0], 0, 1).reshape(len(latents), *grid.shape) for a in predicted)
    )


def _points(grid: Grid, stretch: ArrayLike = 1.0) -> jax.Array:
    """The grid's points as rows (t, x), t slow; x dilated about its lower end, and kept from
    leaving the grid.
    """
    mesh = grid.mesh()
    lower, upper = grid["x"][0], grid["x"][-1]
    t, x = (jnp.broadcast_to(mesh[axis], grid.shape).ravel() for axis in ("t", "x"))
    return jnp.stack([t, jnp.clip(lower + (x - lower) / stretch, lower, upper)], axis=-1)
