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
from bayescons.programs.layouts import Layout
from bayescons.programs.posterior import Posterior
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
        Where the inequalities leave a region that is tiny beside the belief, turns are cut short
        (`bounces.reach`); directions that they do not restrict then mix slowly, and R-hat says so.

        Raises:
            ValueError: for n, chains or warmup that are no numbers of draws.
            InconsistentConstraintsError: where nothing satisfies the inequalities; names the rows.
        """
        check_counts(n=n, chains=chains, warmup=warmup)
        first, rest = jax.random.split(key)
        draws = self.belief.sample(first, (chains,)) - self.belief.mean[None]
        begun = starts(self.inequalities, self.walls, draws)
        angle = bounces.reach(self.walls, begun, jax.random.fold_in(first, 1))
        positions, info = bounces.run(self.walls, begun, rest, n=n, warmup=warmup, angle=angle)
        return chain_draws(self.belief.mean[None, None] + positions, info._asdict())

    @property
    def mode(self) -> jax.Array:
        """The field of highest density, argmax N(u; m, K) subject to F u >= g: a profile on its
        bounds wherever the mean is beyond them.
        """
        return self.belief.mean + nearest(self.inequalities, self.walls)


@tabulated("Law of fields given inequalities")
@dataclasses.dataclass(frozen=True)
class TruncatedPosterior:
    """The law of several fields of a posterior given inequalities, all by name.

    Attributes:
        law: of the fields as one array.
        layout: how it holds them.
    """

    law: Truncated
    layout: Layout

    def sample(
        self, key: jax.Array, n: int = 1000, *, chains: int = 4, warmup: int = 100
    ) -> dict[str, ChainDraws]:
        """Joint draws, the chains of every field by its name; as `Truncated.sample`."""
        drawn = self.law.sample(key, n, chains=chains, warmup=warmup)
        return {
            name: chain_draws(values, drawn.statistics)
            for name, values in self.layout.fields(drawn.draws).items()
        }

    @property
    def mode(self) -> dict[str, jax.Array]:
        """The fields of highest joint density, by name."""
        return self.layout.fields(self.law.mode)


def truncated(
    belief: Gaussian | Posterior,
    /,
    *inequalities,
    **fields,
) -> Truncated | TruncatedPosterior:
    """The law of Gaussian fields given inequalities, u ~ N(m, K) given F u >= g.

        posterior = bc.conjugate(program)(...)
        truncated(posterior["u"], nonnegative(grid), decreasing(grid)).sample(key, 1000)
        truncated(posterior, u=nonnegative(grid), v=at_most(total, 1.0)).sample(key, 1000)["u"]

    Equality and inequality together: condition the belief first, then truncate it. Points known
    exactly take part as they are.

    Args:
        belief: one field, or a posterior.
        inequalities: from `at_least`, `at_most`, `nonnegative`, `increasing`, `decreasing`; all
            hold.
        fields: of a posterior, the inequalities of each field by its name, joined by &. Fields that
            are tied to these take part; others are left out, as nothing is learnt about them.

    Returns:
        `Truncated`; of a posterior `TruncatedPosterior`, whose draws and mode are by name.

    Raises:
        TypeError: for a belief that is neither, and for what is no inequality.
        ValueError: for no inequality, for functionals of fields of another shape, or for a batch of
            beliefs.
        KeyError: for a field of another name.
        InconsistentConstraintsError: for a row whose value the belief knows exactly, and which
            violates its bound.
    """
    for given in (*inequalities, *fields.values()):
        if not isinstance(given, Inequality | Inequalities):
            raise RefusedType(
                f"expected inequalities, such as nonnegative(grid); got {type(given).__name__}"
            )
    if isinstance(belief, Posterior):
        return _of_posterior(belief, inequalities, fields)
    if not isinstance(belief, Gaussian):
        raise RefusedType(
            'expected a bc.Gaussian belief, such as bc.conjugate(program)(...)["u"], or a '
            f"posterior; got {type(belief).__name__}"
        )
    if fields:
        name = next(iter(fields))
        raise RefusedValue(
            f"{name}=... names a field of a posterior, and this belief is over one field without a "
            "name: write truncated(belief, inequality)"
        )
    if belief.batch_shape:
        raise RefusedValue(
            f"expected a belief over one field; got a batch of shape {belief.batch_shape}. "
            "Truncate its members one by one; and mind that the weights of a mixture's components "
            "change by the probability each gives to the inequalities"
        )
    stated = tuple(m for given in inequalities for m in given.members)
    if not stated:
        raise RefusedValue(
            "no inequality: write truncated(belief, nonnegative(grid)), or use the belief as it is"
        )
    for m in stated:
        if tuple(m.functional.shape) != belief.event_shape:
            raise RefusedValue(
                f"the functional of {m.name!r} acts on fields of shape "
                f"{tuple(m.functional.shape)}, the belief is over fields of shape "
                f"{belief.event_shape}; build both on the same grid"
            )
    together = stated[0] if len(stated) == 1 else Inequalities(stated)
    return Truncated(belief, together, walls(belief, together))


def _of_posterior(posterior: Posterior, inequalities: tuple, fields: dict) -> TruncatedPosterior:
    known = [name for layout in posterior.groups for name in layout.names]
    if inequalities and (fields or len(known) > 1):
        raise RefusedValue(
            f"a posterior of {', '.join(known)}: say which field each inequality is about, "
            f"truncated(posterior, {known[0]}=...)"
        )
    if inequalities:
        fields = {known[0]: Inequalities(tuple(m for i in inequalities for m in i.members))}
    if not fields:
        raise RefusedValue(f"no inequality: write truncated(posterior, {known[0]}=...)")
    layout, belief = posterior.together(tuple(fields))
    stated = [
        _on_joint(inequality, name, layout)
        for name, given in fields.items()
        for inequality in given.members
    ]
    return TruncatedPosterior(truncated(belief, *stated), layout)


def _on_joint(inequality: Inequality, name: str, layout: Layout) -> Inequality:
    """An inequality of one of several fields as one of the array that holds them all."""
    functional = layout.about(inequality.name, inequality.functional, (name,))
    bound = jnp.broadcast_to(inequality.bound, functional.value_shape)
    label = f"{inequality.name} of {name}" if len(layout.names) > 1 else inequality.name
    return dataclasses.replace(inequality, functional=functional, bound=bound, name=label)


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
