"""What may be done to a belief once a law is known: each published correction, and ours, as one
function of the same draws.

Everything here is the library's one update, `bayescons.update`, with different constraints and
beliefs:

* HardC is the update of a belief with unit covariance, which moves the mean along the weights
  alone;
* ProbConserv imposes the total on each draw of the latent and averages the draws as they come;
* observed, the same total also weights the draws by their evidence;
* the low-rank belief is the draws' own covariance, so that the total moves the mean along
  directions in which they differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

import bayescons as bc
from bayescons.surrogates import Ensemble, moment_matched
from experiments.cases import Slice

AUTOREGRESSION = (
    0.9  # correlation of neighbours behind the noise of the second differences, as published
)


class Components(NamedTuple):
    """A mixture of S beliefs about one profile of n points.

    Attributes:
        mean: shape (S, n).
        variance: shape (S, n).
        log_weight: logarithms of the components' weights, up to a constant, shape (S,).
        draws: from the components, equally many of each, shape (S, draws, n).
    """

    mean: jax.Array
    variance: jax.Array
    log_weight: jax.Array
    draws: jax.Array


Correction = Callable[[Ensemble, jax.Array, jax.Array], Components]
"""(members of shape (S, 1, n), parameter, key) → components."""


def corrections(where: Slice, *, draws: int = 1) -> dict[str, Correction]:
    """Every correction of a belief that is a mixture over draws of a latent, by the name it has in
    the tables.

    Args:
        where: family and grid.
        draws: from each component.
    """
    grid = where.grid
    mass = bc.integral(grid, over="x")
    steps = bc.functional(lambda u: u[:, 2:] - 2 * u[:, 1:-1] + u[:, :-2], on=grid)

    def total(value, **scale) -> bc.Constraint:
        return bc.Constraint(mass, where.total(value), name="mass", **scale)

    walls_of = {side: bc.dirichlet(grid, "x", side) for side in ("lower", "upper")}
    ring = bc.periodic(grid, "x")

    def walls(value) -> bc.Constraint:
        if where.family == "diffusion":
            return bc.Constraint(ring, 0.0, name="ring")
        problem, time = where.problem(value), jnp.asarray(grid["t"])
        lower = bc.Constraint(walls_of["lower"], problem.lower(time), name="lower")
        upper = bc.Constraint(walls_of["upper"], problem.upper(time), name="upper")
        return lower & upper

    def condition_members(constraint, *, evidence: bool) -> Correction:
        return lambda members, value, key: _condition(
            members, constraint(value), key, draws, evidence=evidence
        )

    def plain(members, value, key):
        del value
        return _components(_belief(members), _prior(members), key, draws)

    def project(members, value, key):
        flat = bc.condition(bc.diagonal(members.mean, 1.0, batch_dims=1), total(value))
        return plain(members._replace(mean=flat.mean), value, key)

    def low_rank(constraint) -> Correction:
        def correct(members, value, key):
            result = bc.update(moment_matched(members), constraint(value))
            posterior = jax.tree.map(lambda a: a[None], result.posterior)
            return _components(posterior, jnp.zeros(1), key, draws * len(members.mean))

        return correct

    def smooth_then_condition(members, value, key):
        noise = jnp.sqrt(_autoregressive(members.scale, AUTOREGRESSION))
        smooth = bc.condition(
            _belief(members), bc.Constraint(steps, 0.0, noise, name="second differences")
        )
        result = bc.update(smooth, total(value))
        return _components(result.posterior, _prior(members), key, draws)

    def both(value):
        return total(value) & walls(value)

    return {
        "ANP": plain,
        "HardC-ANP": project,
        "ProbConserv-ANP": condition_members(total, evidence=False),
        "ProbConserv-ANP, second differences": smooth_then_condition,
        "mass observed": condition_members(total, evidence=True),
        "mass + walls imposed": condition_members(both, evidence=False),
        "mass + walls observed": condition_members(both, evidence=True),
        "mass, low rank": low_rank(total),
        "mass + walls, low rank": low_rank(both),
        "mass, quadrature scale": condition_members(
            lambda value: total(value, scale="quadrature"), evidence=False
        ),
    }


def _prior(members: Ensemble) -> jax.Array:
    """Logarithms of the members' weights before any law is known."""
    return jnp.zeros(len(members.mean)) if members.log_weight is None else members.log_weight


def _belief(members: Ensemble) -> bc.Gaussian:
    return bc.diagonal(members.mean, members.scale, batch_dims=1)


def _condition(
    members: Ensemble, constraint: bc.Constraint, key, draws: int, *, evidence: bool
) -> Components:
    result = bc.update(_belief(members), constraint)
    learnt = _prior(members) + result.log_evidence if evidence else _prior(members)
    return _components(result.posterior, learnt, key, draws)


def _components(beliefs: bc.Gaussian, log_weight, key, draws: int) -> Components:
    """A batch of Gaussians over (1, n) as components."""
    sampled = jnp.moveaxis(beliefs.sample(key, (draws,)), 0, 1)
    return Components(beliefs.mean[:, 0], beliefs.variance[:, 0], log_weight, sampled[:, :, 0])


def _autoregressive(scale: jax.Array, correlation: float) -> jax.Array:
    """Variance of a second difference of points with these standard deviations and neighbours so
    correlated, shape (..., n - 2).

    s₋² + 4 s² + s₊² - 4 α s₋ s - 4 α s s₊ + 2 α² s₋ s₊, with correlations α between neighbours and
    α² between those after next.
    """
    below, here, above = scale[..., :-2], scale[..., 1:-1], scale[..., 2:]
    squares = below**2 + 4 * here**2 + above**2
    return squares - 4 * correlation * here * (below + above) + 2 * correlation**2 * below * above
