"""Rows that nearly follow from others: what S, formed in double precision, cannot tell from rows
that do.

S = G K G' squares what tells rows apart. A row whose own share of its standard deviation is below
3e-7 or so is treated as implied, and what it says beyond the others is lost. The functionals
themselves are not squared: g = g_e - Σ_j a_j g_j, a row less what the rows known imply of it, is
rounding where it does follow, and is seen down to 1e-13 where it does not. It matters where the
field still varies along it, cov(u, g) = K g given everything known: below a smooth belief rows
nearly follow from their neighbours, and nothing is lost with them.
"""

from __future__ import annotations

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from bayescons import tracing
from bayescons.gaussians import row_covariance as gram
from bayescons.gaussians.abstract import AbstractCovariance
from bayescons.gaussians.composites import Conditioned
from bayescons.gaussians.consistency import row_names

ROUNDING = 1000  # eps of the terms of g, that rows which do follow may leave
LOST = 0.01  # correlation of some point of the field with g, from which it matters
SHOWN = 3  # names in a message


class NearlyDependentWarning(UserWarning):
    """Exact rows that nearly follow from others: they are treated as implied, and what they say
    beyond the others is not used.

    Example:
        >>> import warnings
        >>> warnings.simplefilter("error", bc.gaussians.NearlyDependentWarning)  # go no further
    """


def nearly_dependent(covariance: AbstractCovariance, *, first: bool = False) -> np.ndarray | None:
    """Of every row that was treated as implied, the standard deviation of what it says beyond the
    others, as a share of its own: zero where it does follow from them, and for all other rows.

    Args:
        covariance: after conditioning.
        first: look at the first member of a batch only, for instance of a mixture's components: it
            is the functionals, which they share, that make rows nearly follow.

    Returns:
        Shape (*batch, *axes, r), without batch where `first`, or None where no row nearly follows,
        as far as is known: nothing is said while numbers are being traced.
    """
    if not isinstance(covariance, Conditioned) or not tracing.known_now(covariance):
        return None
    implied = _implied(covariance)
    if first:
        implied = implied[(0,) * covariance.batch_dims]
    places = np.flatnonzero(implied.reshape(-1, implied.shape[-1]).any(axis=0))
    if not places.size:
        return None
    with tracing.computed_now():
        if first:
            covariance = jax.tree.map(lambda x: x[(0,) * covariance.batch_dims], covariance)
        shares = np.zeros(implied.shape)
        units = np.eye(implied.shape[-1])[places]
        shares[..., places] = np.where(implied[..., places], _shares(covariance, units), 0.0)
    return shares if shares.any() else None


def _implied(covariance: Conditioned) -> np.ndarray:
    """Exact rows on which S⁺ does not rest, in their own order, shape (*batch, *axes, r). In NumPy:
    known numbers are looked at while others are traced.
    """
    factored = covariance.row_covariance
    kept = np.asarray(factored.pivots_kept) > 0
    implied = np.empty_like(kept)
    order = np.zeros((1,), int) if kept.shape[-1] == 1 else np.asarray(factored.order)
    np.put_along_axis(implied, np.broadcast_to(order, kept.shape), ~kept, axis=-1)
    if factored.clusters is not None:
        implied = implied.reshape(*implied.shape[:-2], -1)
        places = np.asarray(factored.clusters.places)
        *batch, rows = places.shape
        places = places.reshape(*batch, *[1] * (implied.ndim - places.ndim), rows)
        places = np.broadcast_to(places, (*implied.shape[:-1], rows))
        implied = np.take_along_axis(implied, places, axis=-1)
    if covariance.noise is not None:
        implied = implied & (np.asarray(covariance.noise) == 0)
    return implied


def warn_of(constraint, result) -> bool:
    """Whether rows of an update nearly follow from others; says which, as a warning."""
    shares = nearly_dependent(result.posterior.covariance)
    if shares is None:
        return False
    names = np.broadcast_to(row_names(constraint, result.posterior.covariance.axes), shares.shape)
    found = list(dict.fromkeys(names[shares > 0]))
    shown = " and ".join(found[:SHOWN]) + (
        f" (and {len(found) - SHOWN} more)" * (len(found) > SHOWN)
    )
    warnings.warn(
        f"{shown} nearly follow{'s' * (len(found) == 1)} from other rows: what is said beyond them "
        f"is {shares.max():.1e} of the row's standard deviation, below what rounding lets S = G K "
        "G' resolve, so it is treated as implied and that much is not used. State what is left "
        "over as a functional of its own, the difference of the rows, or leave the row out",
        NearlyDependentWarning,
        stacklevel=4,
    )
    return True


@tracing.compiled
def _shares(covariance: Conditioned, units) -> jax.Array:
    """What some of the rows say beyond the others, member by member of a batch: looked at all
    together, they would take a field's memory for every row of every member.
    """

    def one(member: Conditioned) -> jax.Array:
        return _shares_of_one(member, units)

    for _ in range(covariance.batch_dims):
        one = functools.partial(jax.lax.map, one)
    return one(covariance)


def _shares_of_one(covariance: Conditioned, units) -> jax.Array:
    factored, axes = covariance.row_covariance, covariance.axes
    shape, unconditioned = factored.row_std.shape, covariance.unconditioned
    others = tuple(a for a in range(len(covariance.shape)) if a not in axes)
    variance = unconditioned.variance
    deviation = jnp.sqrt(jnp.where(variance > 0, variance, jnp.inf))

    def column(unit):
        """The rows of one column of S, in all blocks at once."""
        unit = jnp.broadcast_to(unit, shape)
        weights, terms = _beyond(covariance, unit)
        size = jnp.sqrt(jnp.maximum(jnp.sum(weights * unconditioned.mv(weights), others), 0.0))
        own = jnp.sum(unit * factored.row_std, axis=-1)
        along = jnp.max(jnp.abs(covariance.mv(weights)) / deviation, others)
        seen = size > ROUNDING * jnp.finfo(size.dtype).eps * (own + terms)
        return jnp.where(seen & (along > LOST * size), size / own, 0.0)

    elements = int(np.prod(covariance.shape))
    return jnp.moveaxis(gram.over_rows(column, units, elements), 0, -1)


def _beyond(covariance: Conditioned, unit) -> tuple[jax.Array, jax.Array]:
    """The weights of g_e, one in each block, once everything known has been taken off; and Σ_j
    |a_j| (standard deviation of row j), the size of what was.
    """
    axes = covariance.axes
    weights, terms = covariance.functional.transpose(unit, axes), jnp.zeros(unit.shape[:-1])
    within: AbstractCovariance = covariance
    while isinstance(within, Conditioned):
        for _ in range(2):  # the second time for the rounding of the first
            rows = within.functional.rows(within.prior.mv(weights), within.axes)
            a = within.row_covariance.solve(rows)
            size = jnp.sum(jnp.abs(a) * within.row_covariance.row_std, axis=-1)
            terms = terms + (size if within.axes == axes else jnp.max(size))
            weights = weights - within.functional.transpose(a, within.axes)
        within = within.prior
    return weights, terms
