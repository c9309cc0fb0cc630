"""Bounces: exact Hamiltonian Monte Carlo for a Gaussian field behind walls.

A centred field x ~ N(0, K) and a velocity p ~ N(0, K), drawn afresh, move on an ellipse, x cos t +
p sin t: the Hamiltonian flow of the Gaussian, in coordinates in which it is white. At a wall y_j >=
w_j the velocity is reflected, p - 2 s_j K F' D^-1 e_j with s_j that of the row, which keeps energy
and volume. Times of impact have a closed form, so there is no step size and nothing is rejected:
the truncated Gaussian is invariant, exactly, whatever the angle t. After a quarter turn, t = π/2, a
field that met no wall is an independent draw; a region that is tiny beside the belief is crossed
so often in a quarter turn that less will do.

All of it happens among the rows: y and s turn together, and an impact adds to s a column of Q. The
field is touched once, at the end:

    x(t) = x cos t + p sin t + K F' D^-1 a,

with a the reflections, turned like y since they happened. After a quarter turn it carries no
rounding from draw to draw, and lies where draws of K and pushes lie: on the equalities that the
belief was conditioned on.

Source: Pakman and Paninski, Exact Hamiltonian Monte Carlo for truncated multivariate Gaussians, J.
Comput. Graph. Stat. 23 (2014). New here: only Q and the two ends are kept, so that an impact costs
r numbers whatever the size of the field; blocks run side by side; and the angle is that of the
region.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayescons.restrictions.walls import Walls

# Impacts in one block in a quarter turn beyond which the field stays where it was. A trajectory
# meets as many walls backwards as forwards, so this, too, keeps the law. 200 independent points in
# a forced order meet 1e4.
MOST = 200_000
# Impacts a row, on average, of a turn that is cut short: in a small region without any other scale
# as many make a draw nearly independent of the last.
IMPACTS = 20
# Impacts in a quarter turn that are borne, unless the square of the number of rows is more, as many
# as an order of independent points takes.
ORDERED = 1000


class State(NamedTuple):
    """Where a chain is.

    Attributes:
        position: the centred field x, on the right side of all walls.
    """

    position: jax.Array


class Info(NamedTuple):
    """What happened in a transition.

    Attributes:
        bounces: impacts, all blocks together.
        stopped: share of the blocks that stayed where they were because they met more than `MOST`
            walls.
        slack: smallest distance of a row from its wall, in standard deviations of the row; negative
            only by rounding.
    """

    bounces: jax.Array
    stopped: jax.Array
    slack: jax.Array


class _Flight(NamedTuple):
    """Rows of position and velocity; reflections so far as pushes on position and velocity; tan of
    half the time that is left; impacts.

    The first four of shape (blocks, r), the last two (blocks,).
    """

    y: jax.Array
    s: jax.Array
    a: jax.Array
    b: jax.Array
    left: jax.Array
    bounces: jax.Array


def init(position) -> State:
    """A chain that starts at a centred field."""
    return State(position)


def step(key, state: State, walls: Walls, angle) -> tuple[State, Info]:
    """One transition: a fresh velocity and a turn by 2 arctan `angle`, one for each block."""
    covariance = walls.covariance
    noise = jax.random.normal(key, (covariance.noise_size,), state.position.dtype)
    velocity = covariance.root(noise)
    pushes, bounces, left = turn(
        walls.correlation, walls.heights, walls.rows(state.position), walls.rows(velocity), angle
    )
    arrived = left <= 0
    free, _ = _turned(state.position, velocity, walls.over_field(angle))
    moved = (free + walls.pushed(pushes)).astype(velocity.dtype)
    position = jnp.where(
        jnp.broadcast_to(walls.over_field(arrived), moved.shape), moved, state.position
    )
    slack = jnp.min(walls.rows(position) - walls.heights)
    return State(position), Info(jnp.sum(bounces), jnp.mean(1.0 - arrived), slack)


@functools.partial(jax.jit, static_argnames=("n", "warmup"))
def run(walls: Walls, starts, key, *, n: int, warmup: int, angle=1.0) -> tuple[jax.Array, Info]:
    """Chains from several starts, in step: centred fields of shape (chain, n, *field), and what
    happened, each of shape (chain, n). `angle` as for `step`, of all blocks or of each.
    """
    angle = jnp.broadcast_to(angle, len(walls.heights)).astype(walls.heights.dtype)

    def together(states, key):
        states, info = jax.vmap(step, in_axes=(0, 0, None, None))(
            jax.random.split(key, len(starts)), states, walls, angle
        )
        return states, (states.position, info)

    first, second = jax.random.split(key)
    states = jax.vmap(init)(starts)
    states, _ = jax.lax.scan(
        lambda s, k: (together(s, k)[0], None), states, jax.random.split(first, warmup)
    )
    _, kept = jax.lax.scan(together, states, jax.random.split(second, n))
    positions, info = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), kept)
    return positions, info


@jax.jit
def reach(walls: Walls, starts, key) -> jax.Array:
    """How far chains turn, tan of half the angle for each block: a quarter turn, or less where that
    would meet too many walls.

    A region that is small beside the belief, as fields without negative points and with almost no
    total, is crossed many times in a quarter turn. Any fixed angle keeps the law; this one is
    judged by the impacts on the way from each start, and meets `IMPACTS` a row.
    """
    first = IMPACTS * walls.heights.shape[-1]

    def pilot(key, position):
        velocity = walls.covariance.root(
            jax.random.normal(key, (walls.covariance.noise_size,), position.dtype)
        )
        rows = walls.rows(position), walls.rows(velocity)
        quarter = jnp.ones(len(walls.heights), walls.heights.dtype)
        _, impacts, left = turn(walls.correlation, walls.heights, *rows, quarter, most=first)
        return impacts, jnp.pi / 2 - 2 * jnp.arctan(left)

    impacts, angles = jax.vmap(pilot)(jax.random.split(key, len(starts)), starts)
    rate = jnp.sum(impacts, axis=0) / jnp.sum(angles, axis=0)
    small = rate * (jnp.pi / 2) > max(ORDERED, walls.heights.shape[-1] ** 2)
    return jnp.where(small, jnp.tan(first / jnp.where(small, rate, jnp.inf) / 2), 1.0)


def turn(
    correlation, heights, y, s, angle, *, most: int = MOST
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Turn rows y with velocities s, reflecting them at their walls.

    Args:
        correlation: Q, shape (blocks, r, r), with ones on the diagonal (or zeros, for rows that do
            not move).
        heights: w, shape (blocks, r).
        y: rows of the position, at or above w.
        s: rows of the velocity.
        angle: tan of half the angle, shape (blocks,): 1 for a quarter turn, which takes y to s + Q
            a.
        most: impacts of a block after which it is left where it is.

    Returns:
        The pushes a, so that y turns into y cos t + s sin t + Q a; the number of impacts of each
        block; and tan of half the angle that is left, zero where it has arrived.
    """
    index = jnp.arange(y.shape[-1])[None]

    def onwards(flight: _Flight) -> _Flight:
        y, s, a, b, left, bounces = flight
        impact = _impact(heights, y, s)
        first = jnp.min(impact, axis=-1)
        hits = first < left
        y, s, a, b = (
            *_turned(y, s, jnp.where(hits, first, left)[:, None]),
            *_turned(a, b, jnp.where(hits, first, left)[:, None]),
        )

        row = jnp.min(jnp.where(impact <= first[:, None], index, index.size - 1), axis=-1)
        struck = index == row[:, None]
        kick = jnp.where(
            hits, 2 * jnp.maximum(-jnp.sum(jnp.where(struck, s, 0.0), axis=-1), 0.0), 0.0
        )[:, None]
        column = jnp.take_along_axis(correlation, row[:, None, None], axis=1)[:, 0]
        left = jnp.where(hits, (left - first) / (1 + left * first), 0.0)
        return _Flight(
            y, s + kick * column, a, b + jnp.where(struck, kick, 0.0), left, bounces + hits
        )

    def flying(flight: _Flight):
        return jnp.any((flight.left > 0) & (flight.bounces < most))

    blocks, zero = len(y), jnp.zeros_like(y)
    start = _Flight(y, s, zero, zero, angle, jnp.zeros(blocks, int))
    end = jax.lax.while_loop(flying, onwards, start)
    return end.a, end.bounces, end.left


def _impact(w, y, s) -> jax.Array:
    """τ = tan(t/2) of the first time t > 0 at which y cos t + s sin t falls through w; infinite
    where t >= π, or it never does.

    Of (w + y) τ² - 2 s τ + (w - y) = 0, D = s² + y² - w², the root at which the row falls, in the
    form that does not cancel. A row that has just been reflected, y = w and s > 0, thereby meets
    its wall again when it comes back, and not at once.
    """
    discriminant = s**2 + (y - w) * (y + w)
    root = jnp.sqrt(jnp.maximum(discriminant, 0.0))
    rising = jnp.where(y + w > 0, (s + root) / jnp.where(y + w > 0, y + w, 1.0), jnp.inf)
    falling = jnp.maximum(y - w, 0.0) / jnp.where(s < 0, root - s, 1.0)
    return jnp.where(discriminant > 0, jnp.where(s < 0, falling, rising), jnp.inf)


def _turned(position, velocity, tau) -> tuple[jax.Array, jax.Array]:
    """Both after a turn by 2 arctan τ."""
    cosine, sine = (1 - tau**2) / (1 + tau**2), 2 * tau / (1 + tau**2)
    return position * cosine + velocity * sine, velocity * cosine - position * sine
