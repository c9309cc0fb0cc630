"""A Gaussian belief given a nonlinear law, h(u) = b without noise: sampled on the manifold of the
law, with the right density.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.arrays import check_counts
from bayescons.descriptions import tabulated
from bayescons.gaussians.consistency import InconsistentConstraintsError
from bayescons.gaussians.gaussian import Gaussian
from bayescons.refusals import RefusedValue
from bayescons.restrictions import rattle
from bayescons.restrictions.nonlinear import NonlinearConstraint, nonlinear_constraint
from bayescons.restrictions.projection import anywhere
from bayescons.results.draws import ChainDraws, chain_draws

TRIES = 8  # starting points tried for each chain


@tabulated("Law of a field given a nonlinear law of it")
@dataclasses.dataclass(frozen=True)
class Constrained:
    """The law of u ~ N(m, K) given h(u) = b, the limit of observing h(u) with vanishing noise.

    Attributes:
        law: belief, h and b.
        value: b as stated, of the shape of h(u).
    """

    constraint: NonlinearConstraint
    value: jax.Array

    def sample(
        self,
        key: jax.Array,
        n: int = 1000,
        *,
        chains: int = 4,
        warmup: int = 500,
        target: float = 0.9,
    ) -> ChainDraws:
        """Draws by constrained Hamiltonian Monte Carlo (see `bayescons.restrictions.rattle`).

        Every draw satisfies the law to rounding, and the exact facts that the belief was
        conditioned on.

        Args:
            key: `jax.random.key`.
            n: draws kept of each chain.
            chains: number of chains, run in step. Each starts from a draw of the belief, taken to
                the manifold.
            warmup: draws of each chain in which the step size is found; thrown away.
            target: mean acceptance rate that the step size is adapted to.

        Returns:
            `ChainDraws`, with the statistics `acceptance_rate`, `n_steps`, `reversible` (False
            where a trajectory was given up) and `energy`, and the residuals h(u) - b of every draw.

        Where it fails: a manifold in several parts is not crossed. Chains that started on different
        parts then disagree, and R-hat says so; where all start on one, nothing does.

        Raises:
            ValueError: for n, chains or warmup that are no numbers of draws, and a target outside
                (0, 1).
            InconsistentConstraintsError: where no field with h(u) = b is found.
        """
        check_counts(n=n, chains=chains, warmup=warmup)
        if not 0 < target < 1:
            raise RefusedValue(f"target must be an acceptance rate between 0 and 1; got {target!r}")
        first, rest = jax.random.split(key)
        positions, info, _ = rattle.run(
            self.constraint,
            starts(self.constraint, first, chains),
            rest,
            n=n,
            warmup=warmup,
            target=float(target),
        )
        draws, residuals = _fields(self.constraint, self.value, positions)
        statistics = {
            "acceptance_rate": info.acceptance_rate,
            "n_steps": info.num_integration_steps,
            "reversible": info.is_reversible,
            "energy": info.energy,
        }
        return chain_draws(
            draws, statistics, {self.constraint.name: {"value": self.value, "residual": residuals}}
        )


def constrained(
    belief: Gaussian, function: Callable, value: ArrayLike, *, name: str = "law"
) -> Constrained:
    """The law of a Gaussian field given a nonlinear equality, u ~ N(m, K) given h(u) = b.

        energy = lambda u: bc.integral(grid)(u**2)
        draws = constrained(posterior["u"], energy, 1.0).sample(jax.random.key(0))

    Linear equality and nonlinear together: condition the belief on the linear one first. For a
    linear h it is the law of `bc.condition`.

    Args:
        belief: one field.
        function: h, a differentiable JAX function of a field; a number, or an array of any shape
            for several laws at once.
        value: b, of the shape of h(u).
        name: what error messages and results call it.

    Raises:
        TypeError, ValueError, InconsistentConstraintsError: as
        `bayescons.restrictions.nonlinear.nonlinear_constraint` does.
    """
    constraint = nonlinear_constraint(belief, function, value, name)
    shape = jax.eval_shape(constraint.function, belief.mean).shape
    return Constrained(constraint, jnp.broadcast_to(jnp.asarray(value, belief.mean.dtype), shape))


def starts(constraint: NonlinearConstraint, key, count: int) -> jax.Array:
    """Points of the manifold, from draws of the belief, shape (count, d)."""
    noise = jax.random.normal(
        key, (TRIES * count, constraint.belief.covariance.noise_size), constraint.belief.mean.dtype
    )
    feet = _feet(constraint, noise)
    reached = np.flatnonzero(np.asarray(feet.found))
    if len(reached) < count:
        closest = float(np.nanmin(np.abs(np.asarray(feet.gap)).max(axis=-1)))
        raise InconsistentConstraintsError(
            f"fields with the value of {constraint.name!r} were found from {len(reached)} of "
            f"{TRIES * count} draws of the belief, too few; the closest stayed {closest:.1e} of "
            "its standard deviations away. Either (a) no field has that value (an energy below its "
            "least, or below what the exact facts of the belief leave), (b) it lies too far out "
            "for the belief, or (c) h has kinks or flat parts. Correct the value, or widen the "
            "belief"
        )
    return feet.position[reached[:count]]


@jax.jit
def _feet(constraint: NonlinearConstraint, noise):
    return jax.vmap(lambda z: anywhere(constraint, z))(noise)


@jax.jit
def _fields(constraint: NonlinearConstraint, value, positions):
    """Fields and residuals h(u) - b of positions of shape (chain, draw, d)."""
    draws = jax.vmap(jax.vmap(constraint.field))(positions)
    return draws, jax.vmap(jax.vmap(lambda u: constraint.function(u) - value))(draws)
