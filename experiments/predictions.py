"""Predictions of many test functions by every correction, and what they are worth: the engine
behind the tables of neural processes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.axes.quadrature import quadrature_weights
from bayescons.diagnostics import (
    coverage,
    crps,
    energy_score,
    front_position,
    log_likelihood,
    mean_squared_error,
    mixture_log_likelihood,
)
from bayescons.programs import importance_weights
from bayescons.surrogates import Ensemble
from experiments.cases import JUMPS, Slice
from experiments.corrections import Components, Correction

# variance, in units of u²: a standard deviation of 1e-6 is rounding beside fields of order one
KNOWN_BELOW = 1e-12
CELLS_ERROR = "mean squared error of cell averages"
CELLS_ENERGY = "energy score of cell averages"
BATCH = 10  # functions predicted at once

Box = Callable[[jax.Array, jax.Array], Ensemble]
"""(parameter, key) → what a black box believes of one function, members of shape (S, 1, points)."""


class Prediction(NamedTuple):
    """What a method says of F functions.

    Attributes:
        mean: of the mixture, shape (F, n).
        variance: of the mixture, shape (F, n).
        draws: profiles, equally weighted, shape (F, D, n).
        components: means, variances and weights of the mixture, shapes (F, S, n) twice and (F, S).
        effective: number of equally weighted components worth as much, shape (F,).
    """

    mean: np.ndarray
    variance: np.ndarray
    draws: np.ndarray
    components: tuple[np.ndarray, np.ndarray, np.ndarray]
    effective: np.ndarray


def predictor(
    box: Box, methods: Mapping[str, Correction]
) -> Callable[[jax.Array, jax.Array], dict[str, Prediction]]:
    """(parameters (F,), keys (F,)) → a prediction by every method, from the same readings and the
    same draws of the latent.

    It compiles once for each number of functions, whatever their parameters.
    """

    def one(case):
        value, key = case
        key_box, key_draws = jax.random.split(key)
        members = box(value, key_box)
        members = jax.tree.map(lambda a: jnp.asarray(a, jnp.result_type(float)), members)
        return {name: correct(members, value, key_draws) for name, correct in methods.items()}

    run = jax.jit(
        lambda values, keys: jax.lax.map(one, (values, keys), batch_size=min(BATCH, len(values)))
    )

    def predict(values, keys):
        found = jax.block_until_ready(run(jnp.asarray(values, jnp.result_type(float)), keys))
        return {name: mixed(components) for name, components in found.items()}

    return predict


def mixed(components: Components) -> Prediction:
    """The mixtures of F functions: weights from the logarithms, Pareto-smoothed; mean, variance,
    equally weighted draws.
    """
    mean, variance, draws = (
        np.asarray(a) for a in (components.mean, components.variance, components.draws)
    )
    weights = np.stack([importance_weights(np.asarray(row))[0] for row in components.log_weight])
    centre = np.einsum("fs,fsn->fn", weights, mean)
    spread = np.einsum("fs,fsn->fn", weights, variance + (mean - centre[:, None]) ** 2)
    resampled = np.stack([_resampled(d, w) for d, w in zip(draws, weights, strict=True)])
    return Prediction(
        centre, spread, resampled, (mean, variance, weights), 1 / np.sum(weights**2, axis=-1)
    )


def _components(prediction: Prediction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, variances and weights with the components in front, as the diagnostics of mixtures
    take them.
    """
    means, variances, weights = prediction.components
    return (
        np.moveaxis(means, 1, 0),
        np.moveaxis(variances, 1, 0),
        np.moveaxis(weights, 1, 0)[..., None],
    )


def _resampled(draws: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Draws (S, d, n) of weighted components as S d equally weighted ones, systematically: each
    component ⌊S w⌋ or ⌈S w⌉ times.
    """
    places = (np.arange(len(weights)) + 0.5) / len(weights)
    chosen = np.minimum(np.searchsorted(np.cumsum(weights), places), len(weights) - 1)
    return draws[chosen].reshape(-1, draws.shape[-1])


def judged(where: Slice, values: Sequence[float], prediction: Prediction) -> dict[str, np.ndarray]:
    """Metrics of F functions, each an array of shape (F,)."""
    truth, averages, total, fronts = _facts(where, tuple(float(v) for v in values))
    mean, variance, draws = prediction.mean, prediction.variance, prediction.draws
    weights = _weights(where)
    known = variance <= KNOWN_BELOW
    out = {
        "conservation error": mean @ weights - total,
        "largest |conservation error| of a draw": np.abs(draws @ weights - total[:, None]).max(
            axis=-1
        ),
        "mean squared error": mean_squared_error(mean, truth),
        "log likelihood": log_likelihood(mean, variance, truth, where=~known),
        "log likelihood of the mixture": mixture_log_likelihood(
            *_components(prediction), truth, where=~known, floor=KNOWN_BELOW
        ),
        "CRPS": crps(mean, variance, truth),
        "energy score": energy_score(np.moveaxis(draws, 1, 0), truth),
        "coverage of 95 %": coverage(mean, variance, truth),
        CELLS_ERROR: mean_squared_error(mean, averages),
        CELLS_ENERGY: energy_score(np.moveaxis(draws, 1, 0), averages),
        "effective draws": prediction.effective,
    }
    if where.family in JUMPS:
        levels = np.array([where.level(float(v)) for v in values])[:, None]
        found = np.asarray(
            front_position(draws, where.grid["x"], levels[..., None], rearranged=True)
        )
        out["front error"] = np.abs(np.nanmean(found, axis=-1) - fronts)
        out["front sd"] = np.nanstd(found, axis=-1)
    return {name: np.asarray(array, float) for name, array in out.items()}


@functools.cache
def _facts(
    where: Slice, values: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Exact solutions (F, n), their averages over cells (F, n), totals (F,) and fronts (F,)."""
    each = {v: where.averages(v)[0] for v in dict.fromkeys(values)}
    averages = np.stack([each[v] for v in values])
    truth = np.stack([np.asarray(where.truth(v))[0] for v in values])
    total = np.array([float(where.total(v)[0]) for v in values])
    fronts = np.array([float(where.problem(v).front(where.kind.time_of_interest)) for v in values])
    return truth, averages, total, fronts


def _weights(where: Slice) -> np.ndarray:
    return quadrature_weights(where.grid["x"])
