"""Residuals: what every draw makes of every statement, G u - value, row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import numpy as np
from numpyro import handlers

from bayescons.programs.statements import statement


def residuals(program: Callable, draws: Mapping, args: tuple = (), given: Mapping | None = None) -> dict[str, tuple]:
    """Of every statement the residual and the value, for each draw; may be traced.

    Args:
        program: the program itself, not a reading of it.
        draws: name -> (chain, draw, ...), all that is random in it.
        args: arguments of the program.
        given: keyword arguments of the program.

    Returns:
        name of the statement -> residuals and values, both (chain, draw, *value's shape).
    """

    def stated(draw: dict) -> dict:
        seeded = handlers.seed(handlers.substitute(program, data=draw), rng_seed=0)
        with handlers.block():
            sites = handlers.trace(seeded).get_trace(*args, **dict(given or {}))
        known = {name: statement(site["fn"]) for name, site in sites.items() if site["type"] == "sample"}
        return {name: (k.computed() - sites[name]["value"], sites[name]["value"]) for name, k in known.items() if k is not None}

    return jax.lax.map(jax.vmap(stated), dict(draws))


def labelled(found: Mapping[str, tuple]) -> dict[str, dict[str, np.ndarray]]:
    """Residuals as `results.datatree` takes them: one value for each statement, that of the first draw."""
    return {
        name: {"value": np.asarray(values[0, 0]), "residual": np.asarray(residual)} for name, (residual, values) in found.items()
    }


def varying(found: Mapping[str, tuple]) -> dict[str, np.ndarray]:
    """Values of the statements whose value is random itself, (chain, draw, ...)."""
    values = {name: np.asarray(value) for name, (_, value) in found.items()}
    return {name: value for name, value in values.items() if value.size and np.ptp(value, axis=(0, 1)).any()}
