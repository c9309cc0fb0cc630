"""Random effects: how the errors of a predictor vary together from function to function, learned
from functions held out.

    error_i = Φ_i w_i + e_i,    w_i ~ N(0, Σ),    e_i ~ N(0, diag d),    i = 1 ... F functions

is a linear mixed model: Φ_i holds features of function i at every point, its weights w_i differ
from one function to the next, and e_i is what no weights explain. With the last hidden layer of a
network for Φ_i, w_i is what that function would have wanted of the last linear map beyond what it
got; with the deviations of an ensemble's members for Φ_i, it says how far the truth lies from their
mean, in units of their own spread. Σ and d are found by maximising the marginal likelihood, and the
prediction becomes the belief N(mean, Φ Σ Φ' + diag d), which any fact about the field corrects in
the shapes in which errors have been seen to come.

Source: Laird and Ware, "Random-effects models for longitudinal data", Biometrics 38 (1982), for the
model and its EM.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.arrays import concrete, finite
from bayescons.descriptions import tabulated
from bayescons.gaussians.covariances import LowRank
from bayescons.gaussians.gaussian import Gaussian
from bayescons.refusals import RefusedType, RefusedValue

STRUCTURES = ("full", "diagonal", "one")
# share of the largest variance below which a direction of the channels is left out: the rounding of
# its root
NEGLIGIBLE = 1e-12
# of the errors' mean square: below it a variance is rounding, and without one the likelihood has no
# bound
FLOOR = 1e-12


@tabulated("Random effects, N(0, Φ Σ Φ' + diag d)")
class RandomEffects(NamedTuple):
    """What errors are made of: N(0, Φ Σ Φ' + diag d).

    Attributes:
        root: A with A A' = Σ, shape (channels, rank).
        variance: d, a number, or one for each point, shape (*grid).
        log_likelihood: log p(errors), nats a function, before the first step of the fit and after
            each.
    """

    root: jax.Array
    variance: jax.Array
    log_likelihood: np.ndarray

    @property
    def covariance(self) -> jax.Array:
        """Σ, shape (channels, channels)."""
        return self.root @ self.root.T

    def belief(self, mean: jax.Array, features: jax.Array, *, batch_dims: int = 0) -> Gaussian:
        """N(mean, Φ Σ Φ' + diag d), of low rank and a diagonal.

        Args:
            mean: shape (*batch, *grid).
            features: Φ, shape (*batch, *grid, channels).
            batch_dims: how many leading axes of `mean` count a batch of fields.

        Raises:
            ValueError: for other channels than those of the fit, or a grid that is not that of a
                variance of its own at each point.
        """
        if features.shape[-1] != len(self.root):
            raise RefusedValue(
                f"the effects are of {len(self.root)} channels; got features of "
                f"{features.shape[-1]}"
            )
        grid, field = jnp.shape(self.variance), mean.shape[batch_dims:]
        if grid not in ((), field):
            raise RefusedValue(
                f"each point of a grid of shape {grid} has a variance of its own; got a field of "
                f"shape {field}. On another grid use effects that were fitted with "
                "pointwise=False; for a batch of fields write batch_dims"
            )
        variance = jnp.asarray(self.variance, mean.dtype).reshape(
            (1,) * (mean.ndim - len(grid)) + grid
        )
        factor = features @ self.root.astype(features.dtype)
        return Gaussian(mean, LowRank(jnp.broadcast_to(variance, mean.shape), factor, len(field)))


def random_effects(
    features: ArrayLike,
    errors: ArrayLike,
    *,
    structure: str = "full",
    rank: int | None = None,
    pointwise: bool = True,
    steps: int = 200,
    tolerance: float = 1e-4,
) -> RandomEffects:
    """Σ and d of largest marginal likelihood, by expectation and maximisation.

    With Σ = A A' and D = diag d, one step is

        C_i = (I + A'Φ_i'D⁻¹Φ_i A)⁻¹,    m_i = C_i A'Φ_i'D⁻¹ error_i
        Σ ← A mean_i(m_i m_i' + C_i) A'
        d ← mean_i[(error_i - Φ_i A m_i)² + diag Φ_i A C_i A'Φ_i']

    (given the errors, the weights of function i are N(A m_i, A C_i A')),

    which never lowers the likelihood. It costs F (N R² + R³) for N points and R directions of the
    channels; nothing N x N is formed. It runs on the host, in double precision.

    Channels of a network are nearly dependent, so for `structure="full"` they are first replaced by
    the R leading directions of Σ_i Φ_i'Φ_i, which is exact but for directions of less than 1e-12 of
    the largest.

    Args:
        features: Φ, shape (functions, *grid, channels).
        errors: truth minus prediction of functions that the predictor has *not* been trained on,
            shape (functions, *grid).
        structure: of Σ: "full", "diagonal" (channels are independent) or "one" (and of one
            variance, as exchangeable members are).
        rank: how many directions of the channels may vary, "full" alone; None for all.
        pointwise: a variance d for each point of the grid, or one for all. What no weights explain
            is largest next to boundaries, where features are steep; with one d for all, intervals
            there are far too narrow (experiments/boundary_uq.py).
        steps: of the iteration, at most.
        tolerance: stop once a step adds less than this to the log likelihood, in nats a function.

    Raises:
        ValueError: for shapes that do not fit, fewer than two functions, an unknown structure,
            entries that are not finite, or errors that are all zero.

    Where it fails: errors that are not Gaussian over the functions have this covariance and other
    tails: intervals hold their share of functions on average (`bayescons.diagnostics.scale_factor`
    mends one level), not of every kind of function. Outside the range of these functions nothing is
    promised. Few functions (F ≲ 2R) give a Σ that is too sure of some directions: lower the rank.
    """
    features, errors = _check(features, errors)
    if structure not in STRUCTURES:
        raise RefusedValue(
            f"unknown structure {structure!r}; there are {', '.join(map(repr, STRUCTURES))}"
        )
    if rank is not None and (structure != "full" or rank < 1):
        raise RefusedValue(
            "rank is a number of directions, one or more, and for structure='full' alone; got "
            f"rank={rank}"
        )
    grid, functions, channels = errors.shape[1:], len(errors), features.shape[-1]
    flat, errors = features.reshape(functions, -1, channels), errors.reshape(functions, -1)
    basis = _directions(flat, rank) if structure == "full" else np.eye(channels)
    flat = flat @ basis
    size = np.mean(errors**2)
    variance = np.full(errors.shape[1], size)
    root = np.eye(basis.shape[1]) * math.sqrt(
        size / max(np.mean(np.sum(flat**2, axis=-1)), np.finfo(float).tiny)
    )

    likelihoods = [-math.inf]
    with jax.enable_x64(True):
        arrays = jnp.asarray(flat), jnp.asarray(errors)
        root, variance = jnp.asarray(root), jnp.asarray(variance)
        value, new_root, new_variance = _step(
            *arrays, root, variance, structure=structure, pointwise=pointwise
        )
        while len(likelihoods) <= steps and float(value) - likelihoods[-1] > tolerance:
            likelihoods.append(float(value))
            root, variance = new_root, jnp.maximum(new_variance, FLOOR * size)
            value, new_root, new_variance = _step(
                *arrays, root, variance, structure=structure, pointwise=pointwise
            )
    dtype = jnp.result_type(float)
    root, variance = basis @ np.asarray(root), np.asarray(variance)
    variance = variance.reshape(grid) if pointwise else variance[0]
    return RandomEffects(
        jnp.asarray(root, dtype),
        jnp.asarray(variance, dtype),
        np.array([*likelihoods[1:], float(value)]),
    )


@functools.partial(jax.jit, static_argnames=("structure", "pointwise"))
def _step(features, errors, root, variance, *, structure: str, pointwise: bool):
    """The log likelihood at Σ and d, nats a function, and the next of both."""
    (functions, points), rank = errors.shape, root.shape[1]
    projected = features @ root  # (functions, points, R)
    weighted = projected / variance[None, :, None]
    precision = jnp.einsum("fpr,fps->frs", weighted, projected) + jnp.eye(rank)[None]
    lower = jnp.linalg.cholesky(precision)
    whole = jnp.broadcast_to(jnp.eye(rank), precision.shape)
    inverse = jax.lax.linalg.triangular_solve(lower, whole, left_side=True, lower=True)
    half = jnp.einsum("frs,fs->fr", inverse, jnp.einsum("fps,fp->fs", weighted, errors))
    logs = functions * jnp.sum(jnp.log(variance)) + 2 * jnp.sum(
        jnp.log(jnp.diagonal(lower, axis1=1, axis2=2))
    )
    quadratic = jnp.sum(errors**2 / variance[None]) - jnp.sum(half**2)
    likelihood = -(quadratic + logs + errors.size * math.log(2 * math.pi)) / (2 * functions)

    mean = jnp.einsum("fsr,fs->fr", inverse, half)
    second = (jnp.einsum("fsr,fst->rt", inverse, inverse) + mean.T @ mean) / functions
    square = (errors - jnp.einsum("fpr,fr->fp", projected, mean)) ** 2 + jnp.sum(
        jnp.einsum("fpr,fsr->fps", projected, inverse) ** 2, axis=-1
    )
    new = jnp.mean(square, axis=0) if pointwise else jnp.full(points, jnp.mean(square))
    if structure == "full":
        return likelihood, root @ jnp.linalg.cholesky(second), new
    diagonal = jnp.einsum("rs,st,rt->r", root, second, root)
    if structure == "one":
        diagonal = jnp.full(rank, jnp.mean(diagonal))
    return likelihood, jnp.diag(jnp.sqrt(diagonal)), new


def _directions(features, rank: int | None) -> np.ndarray:
    """Leading directions of the channels as columns, each with a mean square of one over functions
    and points.
    """
    second_moment = np.einsum("fpc,fpk->ck", features, features, optimize=True) / (
        features.shape[0] * features.shape[1]
    )
    values, vectors = np.linalg.eigh(second_moment)
    values, vectors = values[::-1], vectors[:, ::-1]
    resolved = values > NEGLIGIBLE * max(values[0], np.finfo(float).tiny)
    resolved[len(resolved) if rank is None else rank :] = False
    return vectors[:, resolved] / np.sqrt(values[resolved])


def _check(features, errors) -> tuple[np.ndarray, np.ndarray]:
    if not (concrete(features) and concrete(errors)):
        raise RefusedType(
            "features and errors are read on the host and cannot be traced; keep random_effects "
            "out of jit and vmap"
        )
    features, errors = (
        np.asarray(finite(n, np.asarray(a, float)))
        for n, a in (("features", features), ("errors", errors))
    )
    if errors.ndim < 2 or features.ndim != errors.ndim + 1 or features.shape[:-1] != errors.shape:
        raise RefusedValue(
            "expected features of shape (functions, *grid, channels) and errors of shape "
            f"(functions, *grid); got {features.shape} and {errors.shape}"
        )
    if len(errors) < 2:
        raise RefusedValue("how errors vary between functions takes two functions or more; got one")
    if not np.any(errors):
        raise RefusedValue(
            "all errors are zero: either (a) the truth was taken from the prediction, or (b) "
            "nothing is uncertain"
        )
    return features, errors
