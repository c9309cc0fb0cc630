"""Structure of a program as a sampler needs it: the names of its sites and statements, and what
draws make of each statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.infer.initialization import init_to_uniform

from bayescons.functionals.abstract import SingleFunctional
from bayescons.programs.statements import statement


class Structure(NamedTuple):
    """What a program consists of.

    Attributes:
        latents: name -> distribution of every latent site.
        deterministic: names of the deterministic sites.
        statements: name of a statement -> names of the axes of its value, where its functional
            knows them, otherwise ().
    """

    latents: dict[str, dist.Distribution]
    deterministic: tuple[str, ...]
    statements: dict[str, tuple[str, ...]]

    @property
    def names(self) -> frozenset[str]:
        """Sites of which a draw holds a value."""
        return frozenset((*self.latents, *self.deterministic))


def structure_of(program: Callable) -> Structure:
    """Run a program abstractly, as plain NumPyro, and say what it consists of."""
    found: dict = {}

    def run() -> None:
        drawn = handlers.substitute(handlers.seed(program, 0), substitute_fn=init_to_uniform)
        with handlers.block():
            found.update(handlers.trace(drawn).get_trace())

    jax.eval_shape(run)
    samples = {name: site for name, site in found.items() if site["type"] == "sample"}
    stated = {name: statement(site["fn"]) for name, site in samples.items()}
    return Structure(
        latents={name: site["fn"] for name, site in samples.items() if not site["is_observed"]},
        deterministic=tuple(
            name for name, site in found.items() if site["type"] == "deterministic"
        ),
        statements={
            name: k.functional.names if isinstance(k.functional, SingleFunctional) else ()
            for name, k in stated.items()
            if k is not None
        },
    )


def residuals(program: Callable, draws: Mapping) -> dict[str, tuple]:
    """Of every statement the residual and the value, for each draw; may be traced.

    Args:
        program: the program itself, not a reading of it.
        draws: name -> (chain, draw, ...), all that is random in it.

    Returns:
        name of the statement -> residuals and values, both (chain, draw, *value's shape).
    """

    def stated(draw: dict) -> dict:
        seeded = handlers.seed(handlers.substitute(program, data=draw), rng_seed=0)
        with handlers.block():
            sites = handlers.trace(seeded).get_trace()
        known = {
            name: statement(site["fn"]) for name, site in sites.items() if site["type"] == "sample"
        }
        return {
            name: (k.computed() - sites[name]["value"], sites[name]["value"])
            for name, k in known.items()
            if k is not None
        }

    return jax.lax.map(jax.vmap(stated), dict(draws))


def labelled(found: Mapping[str, tuple]) -> dict[str, dict[str, np.ndarray]]:
    """Residuals as `results.datatree` takes them: one value for each statement, that of the first
    draw.
    """
    return {
        name: {"value": np.asarray(values[0, 0]), "residual": np.asarray(residual)}
        for name, (residual, values) in found.items()
    }


def varying(found: Mapping[str, tuple]) -> dict[str, np.ndarray]:
    """Values of the statements whose value is random itself, (chain, draw, ...)."""
    values = {name: np.asarray(value) for name, (_, value) in found.items()}
    return {
        name: value
        for name, value in values.items()
        if value.size and np.ptp(value, axis=(0, 1)).any()
    }
