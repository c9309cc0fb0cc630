"""Losses that know the physics: a penalty on the equation's residual (SoftC), and a score taken
after the law has been imposed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scoringrules

from bayescons.functionals.conservation import integral
from bayescons.gaussians.conditioning import Constraint, condition
from bayescons.gaussians.gaussian import diagonal
from bayescons.grids import Grid
from bayescons.networks.neural_process import LEAST_SCALE, AttentiveNeuralProcess, Normal
from bayescons.problems.readings import Readings, contexts
from bayescons.problems.residuals import residual
from bayescons.training.data import Functions
from bayescons.training.losses import evidence_bound, log_density

PUBLISHED_WEIGHT = 4e-5
"""λ = 1 of the published loss, a *mean* over 250 × 100 points added to a *sum* of their log
densities: 1 / 25,000 of it a point.
"""


def softly_constrained(
    network: AttentiveNeuralProcess,
    batch: Functions,
    key: jax.Array,
    *,
    problem: type[Any],
    weight: float,
    points: int = 20,
    drop: bool = True,
    tails: float | None = None,
) -> jax.Array:
    """The evidence bound plus a penalty on the equation's residual, nats a function (SoftC-ANP).

        - bound + weight · Σ_i f(t_i, x_i)²,    f = ∂μ/∂t + ∂F(μ, ∂μ/∂x)/∂x,  μ = mean given z at
          the targets

    The sum is over all targets, as that of the log densities is, so that the weight acts against
    them point by point; it is estimated from `points` of them, drawn at random. Conservation
    follows from the equation, but here only as far as the penalty goes.

    Args:
        network: the neural process.
        batch: functions.
        key: for z, dropout and the points.
        problem: class of the problem; its parameter, which training knows, is the batch's.
        weight: per point; `PUBLISHED_WEIGHT` is the published λ = 1, which in effect does nothing.
        points: targets at which the residual is taken; second derivatives are dear.
        drop: as in `evidence_bound`.
        tails: as in `log_density`.

    Source: Raissi, Perdikaris and Karniadakis, J. Comput. Phys. 378 (2019), for the penalty; its
    use as "SoftC-ANP" is that of Hansen et al., ICML 2023.
    """

    def squared(parameter, contexts, targets, key):
        key_z, key_points = jax.random.split(key)
        posterior = network.latent(targets.inputs, targets.u)
        z = posterior.mean + posterior.scale * jax.random.normal(
            key_z, posterior.mean.shape, posterior.mean.dtype
        )

        def mean(t, x):
            point = jnp.stack([t, x])[None]
            return network.decode(
                network.represent(contexts.inputs, contexts.u, point), z, point
            ).mean[0]

        chosen = jax.random.choice(key_points, len(targets.t), (points,), replace=False)
        left_over = jax.vmap(residual(problem(**{problem.parameter_name: parameter}), mean))(
            targets.t[chosen], targets.x[chosen]
        )
        return jnp.sum(left_over**2) * (len(targets.t) / points)

    keys = jax.random.split(jax.random.fold_in(key, 1), len(batch.parameter))
    penalty = jnp.mean(jax.vmap(squared)(batch.parameter, batch.contexts, batch.targets, keys))
    return evidence_bound(network, batch, key, drop=drop, tails=tails) + weight * penalty


class Profiles(NamedTuple):
    """A batch of functions, each looked at along x at one time.

    Attributes:
        contexts: what a network is shown, arrays of shape (size, n).
        time: where it is asked, shape (size,).
        values: the exact profiles, shape (size, points).
        total: the exact totals, shape (size,).
    """

    contexts: Readings
    time: jax.Array
    values: jax.Array
    total: jax.Array


def profiles(
    problem: type[Any], key: jax.Array, *, size: int = 16, points: int = 201
) -> Callable[[jax.Array], Profiles]:
    """Step → a batch: parameters uniform on the training range, times uniform, profiles on equally
    spaced positions, walls included.

    A batch is a function of key and step alone, like those of `functions`.

    Args:
        problem: a class of `bayescons.problems`.
        key: a key of `jax.random.key`.
        size: functions in a batch.
        points: positions.
    """
    positions = np.linspace(*problem.space_range, points)

    def one(index):
        key_parameter, key_contexts, key_time = jax.random.split(jax.random.fold_in(key, index), 3)
        case = problem.sample(key_parameter)
        time = jax.random.uniform(
            key_time, minval=problem.time_range[0], maxval=problem.time_range[1]
        )
        return Profiles(
            contexts(case, key_contexts), time, case.solution(time, positions), case.total(time)
        )

    return lambda step: jax.vmap(one)(step * size + jnp.arange(size))


def conditioned_score(
    network: Any,
    batch: Profiles,
    key: jax.Array,
    *,
    problem: type[Any],
    tails: float | None = None,
) -> jax.Array:
    """How good a profile is *after* it has been given its total: training end to end, through the
    update.

        CRPS / 10⁻³ - log N / 2,   averaged over points, of  N(μ, diag σ²) | g μ = total,  one z ~
        q(z | contexts)

    The likelihood alone, at single points and before the total is known, hardly looks at the mean
    where σ is large: its gradient there is that of everything else divided by σ². A front's whole
    neighbourhood is such a place. The ranked probability score is in the unit of the field, so the
    mean matters there as anywhere, and it is taken of the belief that will be used. The likelihood
    stays in, so that small scales are told apart; its unit is the least scale a network predicts.

    Args:
        network: the neural process (or anything with its `latent`, `represent` and `decode`), best
            trained by its evidence bound before: this loss alone teaches z nothing of targets.
        batch: profiles.
        key: for z.
        problem: class of the problem; its grid is that of the profiles.
        tails: as in `log_density`.

    Source: training through a probabilistic projection with a proper score is proposed by Utkarsh
    et al., "End-to-end probabilistic framework for learning with hard constraints" (ProbHardE2E,
    arXiv 2506.07003).
    """
    grid = Grid(x=np.linspace(*problem.space_range, batch.values.shape[-1]))
    mass = integral(grid)

    def score(contexts, time, values, total, key):
        points = jnp.stack(
            [jnp.broadcast_to(time, grid.shape), jnp.asarray(grid["x"], time.dtype)], axis=-1
        )
        latent = network.latent(contexts.inputs, contexts.u)
        z = latent.mean + latent.scale * jax.random.normal(
            key, latent.mean.shape, latent.mean.dtype
        )
        predicted = network.decode(
            network.represent(contexts.inputs, contexts.u, points), z, points
        )
        posterior = condition(diagonal(*predicted), Constraint(mass, total))
        given = Normal(
            posterior.mean, jnp.sqrt(jnp.maximum(posterior.variance, (LEAST_SCALE / 10) ** 2))
        )
        ranked = scoringrules.crps_normal(
            values.astype(given.mean.dtype), given.mean, given.scale, backend="jax"
        )
        return jnp.mean(ranked) / LEAST_SCALE - jnp.mean(log_density(given, values, tails)) / 2

    return jnp.mean(jax.vmap(score)(*batch, jax.random.split(key, len(batch.total))))
