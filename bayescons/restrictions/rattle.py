"""RATTLE: constrained Hamiltonian Monte Carlo on the manifold of a law, with the co-area factor.

The target has the density N(z; 0, I) / |J J'|^(1/2) with respect to the area of c(z) = 0 (see
`bayescons.restrictions.nonlinear`). With unit mass the energy of a position z and a momentum p
tangent to the manifold is

    H = |z|²/2 + φ(z) + |p|²/2,   φ = log |J J'|^(1/2).

One step of size ε splits it: half a kick by φ, p - ε/2 ∇φ, made tangent; the flow of the Gaussian,
which turns z and p by the angle ε, with a force J(z)'λ that puts the new position back on the
manifold (Newton's method) and the new momentum made tangent; half a kick. The step is symmetric and
keeps volume as long as its projection can be undone: it is run backwards, and a trajectory is given
up where it does not come back to where it was. On a linear law the turn is exact, whatever ε and
the number of unknowns, and nothing is rejected.

The interface is BlackJAX's: `init`, `build_kernel` and `constrained_hmc(...)`, a
`SamplingAlgorithm`; states and infos are named tuples.

Source: Andersen, J. Comput. Phys. 52 (1983), RATTLE; Brubaker, Salzmann and Urtasun, AISTATS 2012,
constrained HMC; Zappa, Holmes-Cerfon and Goodman, Comm. Pure Appl. Math. 71 (2018), why the way
back must be checked; Graham, Thiery and Beskos, JRSS B 84 (2022), the splitting.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from bayescons.descriptions import tabulated
from bayescons.restrictions.nonlinear import NonlinearConstraint
from bayescons.restrictions.projection import along, tangent

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm

ANGLE = math.pi / 2  # of a trajectory: after a quarter turn a draw of a linear law is independent
# angle of a step; longer ones save little, and fail where the belief is wide against the bends of
# the manifold
LARGEST = 0.6
LONGEST = 200  # steps of a trajectory
_FIRST = 0.3  # angle of a step before it is adapted


@tabulated("State of a chain on the manifold of a law")
class RattleState(NamedTuple):
    """Where a chain is.

    Attributes:
        position: z, on the manifold, shape (d,).
        log_coarea: φ(z).
        gradient: ∇φ(z), shape (d,).
        jacobian: J(z), shape (q, d).
    """

    position: jax.Array
    log_coarea: jax.Array
    gradient: jax.Array
    jacobian: jax.Array


@tabulated("Transition of a chain on the manifold of a law")
class RattleInfo(NamedTuple):
    """What happened in a transition.

    Attributes:
        acceptance_rate: min(1, exp(H before - H after)); zero where a projection failed.
        is_accepted: whether the chain moved.
        is_reversible: whether every projection of the trajectory was found and could be undone.
        energy: H where the chain is after it, with the momentum it came with.
        num_integration_steps: steps made.
    """

    acceptance_rate: jax.Array
    is_accepted: jax.Array
    is_reversible: jax.Array
    energy: jax.Array
    num_integration_steps: jax.Array


class _Flight(NamedTuple):
    state: RattleState
    momentum: jax.Array
    steps: jax.Array
    fine: jax.Array


def init(position, constraint: NonlinearConstraint) -> RattleState:
    """A chain that starts at a point of the manifold."""
    log_coarea, gradient = jax.value_and_grad(constraint.log_coarea)(position)
    return RattleState(position, log_coarea, gradient, constraint.linear(position)[1])


def build_kernel() -> Callable:
    """A transition, `kernel(key, state, law, step_size, num_integration_steps) -> (RattleState,
    RattleInfo)`.

    `step_size` is an angle between 0 and π/2 (exclusive); `num_integration_steps` may be traced.
    """

    def kernel(
        rng_key,
        state: RattleState,
        constraint: NonlinearConstraint,
        step_size,
        num_integration_steps,
    ) -> tuple[RattleState, RattleInfo]:
        thrown, decided = jax.random.split(rng_key)
        momentum = tangent(
            state.jacobian, jax.random.normal(thrown, state.position.shape, state.position.dtype)
        )

        def going(flight: _Flight):
            return flight.fine & (flight.steps < num_integration_steps)

        start = _Flight(state, momentum, jnp.asarray(0), jnp.asarray(True))
        end = jax.lax.while_loop(going, lambda flight: _step(constraint, flight, step_size), start)
        before, after = _energy(state, momentum), _energy(end.state, end.momentum)
        rate = jnp.where(end.fine, jnp.exp(jnp.minimum(before - after, 0.0)), 0.0)
        rate = jnp.where(jnp.isfinite(rate), rate, 0.0)
        accepted = jax.random.uniform(decided, dtype=rate.dtype) < rate
        chosen = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), end.state, state)
        return chosen, RattleInfo(
            rate, accepted, end.fine, jnp.where(accepted, after, before), end.steps
        )

    return kernel


def constrained_hmc(
    constraint: NonlinearConstraint, step_size: float, num_integration_steps: int
) -> SamplingAlgorithm:
    """Constrained Hamiltonian Monte Carlo as a BlackJAX `SamplingAlgorithm`, for its own loops and
    adaptation.
    """
    from blackjax.base import SamplingAlgorithm

    kernel = build_kernel()

    def init_fn(position, rng_key=None):
        del rng_key
        return init(position, constraint)

    def step_fn(rng_key, state):
        return kernel(rng_key, state, constraint, step_size, num_integration_steps)

    return SamplingAlgorithm(init_fn, step_fn)


@functools.partial(jax.jit, static_argnames=("n", "warmup", "target"))
def run(
    constraint: NonlinearConstraint, positions, key, *, n: int, warmup: int, target: float
) -> tuple[jax.Array, RattleInfo, jax.Array]:
    """Chains from points of the manifold, in step, with one step size for all, adapted in the
    warm-up to a mean acceptance rate `target`.

    The number of steps varies from draw to draw, about a quarter turn, lest a trajectory close on
    itself.

    Returns:
        Positions z of shape (chain, n, d), what happened, each of shape (chain, n), and the step
        size.
    """
    from blackjax.adaptation.step_size import dual_averaging_adaptation

    start_adaptation, adapt, settled = dual_averaging_adaptation(target)
    kernel = jax.vmap(build_kernel(), in_axes=(0, 0, None, None, None))

    def together(states, key, step_size):
        own, length = jax.random.split(key)
        steps = random_steps(length, step_size)
        return kernel(jax.random.split(own, len(positions)), states, constraint, step_size, steps)

    def warming(carry, key):
        states, adaptation = carry
        states, info = together(
            states, key, jnp.minimum(jnp.exp(adaptation.log_step_size), LARGEST)
        )
        return (states, adapt(adaptation, jnp.mean(info.acceptance_rate))), None

    first, second = jax.random.split(key)
    states = jax.vmap(init, in_axes=(0, None))(positions, constraint)
    begun = jax.tree.map(lambda a: jnp.asarray(a, positions.dtype), start_adaptation(_FIRST))
    (states, adaptation), _ = jax.lax.scan(
        warming, (states, begun), jax.random.split(first, warmup)
    )
    step_size = (
        jnp.minimum(settled(adaptation), LARGEST)
        if warmup
        else jnp.asarray(_FIRST, positions.dtype)
    )

    def drawing(states, key):
        states, info = together(states, key, step_size)
        return states, (states.position, info)

    _, kept = jax.lax.scan(drawing, states, jax.random.split(second, n))
    positions, info = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), kept)
    return positions, info, step_size


def random_steps(key, step_size) -> jax.Array:
    """A number of steps whose angles make half to one and a half quarter turns."""
    angle = ANGLE * jax.random.uniform(key, minval=0.5, maxval=1.5)
    return jnp.clip(jnp.round(angle / step_size).astype(int), 1, LONGEST)


def _energy(state: RattleState, momentum) -> jax.Array:
    return (state.position @ state.position + momentum @ momentum) / 2 + state.log_coarea


def _step(constraint: NonlinearConstraint, flight: _Flight, angle) -> _Flight:
    """Half a kick, a turn with its way back, half a kick."""
    state, momentum = flight.state, flight.momentum
    z, normals = state.position, state.jacobian
    cosine, sine = jnp.cos(angle), jnp.sin(angle)

    momentum = tangent(normals, momentum - angle / 2 * state.gradient)
    foot = along(constraint, z * cosine + momentum * sine, normals)
    force = normals.T @ foot.multipliers
    turned = tangent(foot.jacobian, momentum * cosine - z * sine + force * cosine / sine)

    back = along(constraint, foot.position * cosine - turned * sine, foot.jacobian)
    missed = jnp.max(jnp.abs(back.position - z))
    fine = (
        foot.found
        & back.found
        & (missed <= jnp.sqrt(jnp.finfo(z.dtype).eps) * (1 + jnp.max(jnp.abs(z))))
    )

    arrived = init(foot.position, constraint)
    kicked = tangent(arrived.jacobian, turned - angle / 2 * arrived.gradient)
    return _Flight(arrived, kicked, flight.steps + 1, fine)
