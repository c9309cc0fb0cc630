"""Fields at the time of interest: what a neural process and its corrections believe of test
functions, for figures and single rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from bayescons.problems import Readings
from experiments.black_boxes import neural_process, stretched_neural_process, trained
from experiments.cases import FAMILIES, Slice
from experiments.corrections import corrections
from experiments.neural_tables import STRETCH, STRETCHED
from experiments.predictions import Prediction, predictor

BASIC = ("ANP", "HardC-ANP", "ProbConserv-ANP")
PLACES = {
    **{name: place for place, name in enumerate(BASIC)},
    STRETCH: 3,
    "mass, low rank": 5,
}  # which look a method has
NAMES = {
    "stefan": "Stefan",
    "porous_medium": "porous medium",
    "diffusion": "diffusion",
    "advection": "advection",
    "burgers": "Burgers",
}

Case = tuple[str, float]
"""A family and its parameter."""


def cases(families: Iterable[str]) -> tuple[Case, ...]:
    """Every published parameter of these families."""
    return tuple((family, value) for family in families for value in FAMILIES[family].test_values)


def title(case: Case) -> str:
    """A problem and its parameter, for a heading."""
    family, value = case
    return f"{NAMES[family]}, {Slice(family).label(value)}"


def once[T](compute: Callable[[Case, Any, jax.Array], T]) -> Callable[[Case, Any, jax.Array], T]:
    """Of a function of case, settings and key, keep the results: the rows of a run and its figures
    ask for the same ones.
    """
    kept: dict[tuple, T] = {}

    @functools.wraps(compute)
    def found(case: Case, settings: Any, key: jax.Array) -> T:
        asked = (case, settings, np.asarray(jax.random.key_data(key)).tobytes())
        if asked not in kept:
            kept[asked] = compute(case, settings, key)
        return kept[asked]

    return found


def function_keys(key: jax.Array, case: Case, count: int) -> jax.Array:
    """A key for each test function: with one seed, the same functions in every experiment, those of
    `gpme_tables` among them.
    """
    family, value = case
    place = 2 + FAMILIES[family].test_values.index(value)
    return jax.random.split(
        jax.random.fold_in(jax.random.fold_in(key, list(FAMILIES).index(family)), place), count
    )


def readings(where: Slice, value: float, key: jax.Array) -> Readings:
    """What the black boxes of `predictions` are shown of the test function with this key."""
    key_box, _ = jax.random.split(key)
    key_readings, _ = jax.random.split(key_box)
    return where.readings(value, key_readings)


def nearest(found: Readings, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions and values of the readings at the time nearest to this one."""
    times = np.asarray(found.t)
    chosen = times == times[np.argmin(np.abs(times - time))]
    return np.asarray(found.x)[chosen], np.asarray(found.u)[chosen]


def predictions(
    where: Slice, value: float, keys: jax.Array, *, latents: int, few: int, draws: int = 1
) -> dict[str, Prediction]:
    """What is believed of the test functions with these keys, by `BASIC` corrections and, but on a
    ring, under an unknown stretch.

    Args:
        where: family and grid.
        value: the parameter of all functions.
        keys: of `function_keys`.
        latents: draws of the latent.
        few: draws of the latent for each stretch.
        draws: profiles from each component.
    """
    values = np.full(len(keys), value)
    found = corrected(where, latents, BASIC, draws)(values, keys)
    if where.family in STRETCHED:
        found |= _observed(where, few, draws)(values, keys)
    return found


@functools.cache
def corrected(
    where: Slice, latents: int, names: tuple[str, ...], draws: int = 1
) -> Callable[..., dict[str, Prediction]]:
    """The predictor by these corrections; the same object whenever it is asked for, so that it
    compiles once.
    """
    chosen = {
        name: correct for name, correct in corrections(where, draws=draws).items() if name in names
    }
    return predictor(neural_process(trained(f"anp_{where.family}"), where, draws=latents), chosen)


@functools.cache
def _observed(where: Slice, latents: int, draws: int) -> Callable[..., dict[str, Prediction]]:
    observed = {STRETCH: corrections(where, draws=draws)["mass observed"]}
    return predictor(
        stretched_neural_process(trained(f"anp_{where.family}"), where, draws=latents), observed
    )
