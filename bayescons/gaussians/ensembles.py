"""The belief that an ensemble holds."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from bayescons.arrays import finite, real
from bayescons.gaussians.gaussian import Gaussian, low_rank
from bayescons.refusals import RefusedValue


def ensemble(draws, *, members: int = 0, nugget: float = 1e-3, batch_dims: int = 0) -> Gaussian:
    """The Gaussian with an ensemble's mean and covariance, K = F F' + s² I, F the deviations from
    the mean over sqrt(M - 1).

    M members vary in M - 1 directions, and outside of these F F' holds everything for certain. The
    independent part s² I, the nugget, lets a fact move what no member ever moved; it is small so
    that it does so only where the members cannot.

    Args:
        draws: of a field, one axis counting the members.
        members: position of that axis.
        nugget: s as a share of the members' standard deviation (root mean square over the field),
            above zero.
        batch_dims: leading axes, other than that of the members, that count a batch of fields.

    Returns:
        A belief of shape (*batch, *field).

    Raises:
        ValueError: fewer than two members, members that are all equal, a nugget that is not above
            zero, NaN.

    Where it fails: with few members, correlations between distant points are noise of 1 / sqrt(M),
        and a fact about one place moves the other end of the domain by them.

    Example:
        >>> draws = jnp.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
        >>> belief = bc.gaussians.ensemble(draws)
        >>> print(belief.mean, belief.variance.round(3))
        [1. 1. 1.] [1. 0. 1.]
    """
    draws = jnp.moveaxis(finite("draws", real("draws", draws)), members, 0)
    if not (math.isfinite(nugget) and nugget > 0):
        raise RefusedValue(
            "the nugget must be a number above zero, a share of the ensemble's standard deviation; "
            f"got {nugget:g}"
        )
    if len(draws) < 2:
        raise RefusedValue(f"an ensemble must have at least two members; it has {len(draws)}")
    mean = draws.mean(axis=0)
    over = tuple(range(batch_dims, mean.ndim))
    spread = jnp.sqrt(draws.var(axis=0, ddof=1).mean(axis=over, keepdims=True))
    if not np.all(np.asarray(spread) > 1e-14 * np.abs(mean).max(axis=over, keepdims=True)):
        raise RefusedValue(
            "the members are all equal, so they say nothing of their uncertainty; give a mean and "
            "a scale"
        )
    factor = jnp.moveaxis(draws - mean[None], 0, -1) / math.sqrt(len(draws) - 1)
    scale = jnp.broadcast_to(nugget * spread, mean.shape)
    return low_rank(mean, scale, factor, batch_dims=batch_dims)
