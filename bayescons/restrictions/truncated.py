"""A Gaussian belief restricted by inequalities, on top of the equalities it already obeys: sampled
exactly.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from bayescons.arrays import check_counts
from bayescons.descriptions import tabulated
from bayescons.functionals.conservation import integral
from bayescons.gaussians.gaussian import Gaussian
from bayescons.grids import Grid
from bayescons.refusals import RefusedType, RefusedValue
from bayescons.restrictions import bounces
from bayescons.restrictions.inequalities import Inequalities, Inequality
from bayescons.restrictions.walls import Walls, nearest, starts, walls
from bayescons.results.draws import ChainDraws, chain_draws


@tabulated("Law of a field given inequalities")
@dataclasses.dataclass(frozen=True)
class Truncated:
    """The law of u ~ N(m, K) given F u >= g.

    Attributes:
        belief: N(m, K); exact facts that it was conditioned on hold in every draw.
        inequalities: F u >= g.
        walls: the inequalities as a centred draw of the belief sees them.
    """

    belief: Gaussian
    inequalities: Inequality | Inequalities
    walls: Walls

    def sample(
        self, key: jax.Array, n: int = 1000, *, chains: int = 4, warmup: int = 100
    ) -> ChainDraws:
        """Draws by exact Hamiltonian Monte Carlo (see `bayescons.restrictions.bounces`): nothing to
        tune, nothing rejected.

        Chains start from draws of the belief, each moved to the nearest field that satisfies the
        inequalities, and so from further apart than the law is wide.

        Args:
            key: `jax.random.key`.
            n: draws kept of each chain.
            chains: number of chains, run in step.
            warmup: draws of each chain that are thrown away.

        Returns:
            `ChainDraws`, with the statistics `bounces` (walls met on the way), `slack` (smallest
            distance from a bound, in standard deviations of its row) and `stopped` (share of the
            field that met too many walls and stayed; zero but for extreme problems).

        Where it fails: cost is in bounces. A few for smooth beliefs, about one a point for
        independent points kept non-negative, and n²/4 or so for n independent points kept in order.

        Raises:
            ValueError: for n, chains or warmup that are no numbers of draws.
            InconsistentConstraintsError: where nothing satisfies the inequalities; names the rows.
        """
        check_counts(n=n, chains=chains, warmup=warmup)
        first, rest = jax.random.split(key)
        draws = self.belief.sample(first, (chains,)) - self.belief.mean[None]
        positions, info = bounces.run(
            self.walls, starts(self.inequalities, self.walls, draws), rest, n=n, warmup=warmup
        )
        return chain_draws(self.belief.mean[None, None] + positions, info._asdict())

    @property
    def mode(self) -> jax.Array:
        """The field of highest density, argmax N(u; m, K) subject to F u >= g: a profile on its
        bounds wherever the mean is beyond them.
        """
        return self.belief.mean + nearest(self.inequalities, self.walls)


def truncated(belief: Gaussian, *inequalities: Inequality | Inequalities) -> Truncated:
    """The law of a Gaussian field given inequalities, u ~ N(m, K) given F u >= g.

        belief = bc.conjugate(program)(...)["u"]
        truncated(belief, nonnegative(grid), decreasing(grid)).sample(jax.random.key(0), 1000)

    Equality and inequality together: condition the belief first, then truncate it. Points known
    exactly take part as they are.

    Args:
        belief: one field.
        inequalities: from `at_least`, `at_most`, `nonnegative`, `increasing`, `decreasing`; all
            hold.

    Raises:
        TypeError: for a belief that is not a `bc.Gaussian`.
        ValueError: for no inequality, for functionals of fields of another shape, or for a batch of
            beliefs.
        InconsistentConstraintsError: for a row whose value the belief knows exactly, and which
            violates its bound.
    """
    if not isinstance(belief, Gaussian):
        raise RefusedType(
            'expected a bc.Gaussian belief, such as bc.conjugate(program)(...)["u"]; got '
            f"{type(belief).__name__}"
        )
    if belief.batch_shape:
        raise RefusedValue(
            f"expected a belief over one field; got a batch of shape {belief.batch_shape}. "
            "Truncate its members one by one; and mind that the weights of a mixture's components "
            "change by the probability each gives to the inequalities"
        )
    members = tuple(m for stated in inequalities for m in stated.members)
    if not members:
        raise RefusedValue(
            "no inequality: write truncated(belief, nonnegative(grid)), or use the belief as it is"
        )
    for m in members:
        if tuple(m.functional.shape) != belief.event_shape:
            raise RefusedValue(
                f"the functional of {m.name!r} acts on fields of shape "
                f"{tuple(m.functional.shape)}, the belief is over fields of shape "
                f"{belief.event_shape}; build both on the same grid"
            )
    together = members[0] if len(members) == 1 else Inequalities(members)
    return Truncated(belief, together, walls(belief, together))


def share_negative(draws, grid: Grid) -> jax.Array:
    """What share of a field's absolute mass is negative, ∫ max(-u, 0) / ∫ |u|, by the trapezoid
    rule; zero for a field that vanishes.

    Args:
        draws: shape (..., *grid.shape).
        grid: the grid of the field.

    Returns:
        Shares from 0 to 1, shape (...,).
    """
    draws = jnp.asarray(draws)
    lead = draws.ndim - len(grid.shape)
    if lead < 0 or draws.shape[lead:] != grid.shape:
        raise RefusedValue(
            f"expected draws of shape (..., {', '.join(map(str, grid.shape))}), fields on the "
            f"grid; got {draws.shape}"
        )
    total = integral(grid, over=grid.names)
    for _ in range(lead):
        total = jax.vmap(total)
    mass, negative = total(jnp.abs(draws)), total(jnp.maximum(-draws, 0.0))
    return jnp.where(mass > 0, negative / jnp.where(mass > 0, mass, 1.0), 0.0)
