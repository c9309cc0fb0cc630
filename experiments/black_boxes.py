"""The black boxes that are corrected: neural processes and ensembles, each a function from a test
function to members of a mixture.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax

from bayescons.networks import load_weights, pretrained, pretrained_names
from bayescons.surrogates import Ensemble, ensemble_members, latent_draws, stretched_draws
from experiments.cases import Slice
from experiments.predictions import Box

RESULTS = Path("results")  # where `bayescons train` writes to unless it is told otherwise


@functools.cache
def trained(name: str) -> Any | None:
    """The network of a name: the one that comes with bayescons, or what `bayescons train` has left
    in results; None where neither is.
    """
    if name in pretrained_names():
        return pretrained(name).network
    here = RESULTS / name / f"{name}.safetensors"
    return load_weights(here).network if here.is_file() else None


def neural_process(network: Any, where: Slice, *, draws: int) -> Box:
    """A neural process: one member for each draw of its latent."""

    def members(value, key) -> Ensemble:
        key_readings, key_latent = jax.random.split(key)
        return latent_draws(
            network, where.readings(value, key_readings), where.grid, key_latent, draws=draws
        )

    return members


def stretched_neural_process(network: Any, where: Slice, *, draws: int) -> Box:
    """A neural process under an unknown dilation of x about the lower wall: one member for each
    stretch and draw of its latent.
    """

    def members(value, key) -> Ensemble:
        key_readings, key_latent = jax.random.split(key)
        return stretched_draws(
            network, where.readings(value, key_readings), where.grid, key_latent, draws=draws
        )

    return members


def ensemble(network: Any, where: Slice) -> Box:
    """A deep ensemble: its own members."""

    def members(value, key) -> Ensemble:
        key_readings, _ = jax.random.split(key)
        return ensemble_members(network, where.readings(value, key_readings), where.grid)

    return members
