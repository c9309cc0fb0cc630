"""Structure of a program as a sampler needs it: the names of its sites, and which of them a sampler can do nothing with."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.infer.initialization import init_to_uniform

from bayescons.programs.statements import statement


class Structure(NamedTuple):
    """What a program consists of.

    Attributes:
        latents: name -> distribution of every latent site.
        deterministic: names of the deterministic sites.
        observed: names of the observed sites that are no statements, factors among them.
        statements: name of a statement -> names of the axes of its value, where its functional knows them, otherwise ().
    """

    latents: dict[str, dist.Distribution]
    deterministic: tuple[str, ...]
    observed: tuple[str, ...]
    statements: dict[str, tuple[str, ...]]

    @property
    def names(self) -> frozenset[str]:
        """Sites of which a draw holds a value."""
        return frozenset((*self.latents, *self.deterministic))


def structure_of(program: Callable, args: tuple, given: dict) -> Structure:
    """Run a program abstractly, as plain NumPyro, and say what it consists of."""
    found: dict = {}

    def run() -> None:
        drawn = handlers.substitute(handlers.seed(program, 0), substitute_fn=init_to_uniform)
        with handlers.block():
            found.update(handlers.trace(drawn).get_trace(*args, **given))

    jax.eval_shape(run)
    samples = {name: site for name, site in found.items() if site["type"] == "sample"}
    stated = {name: statement(site["fn"]) for name, site in samples.items()}
    return Structure(
        latents={name: site["fn"] for name, site in samples.items() if not site["is_observed"]},
        deterministic=tuple(name for name, site in found.items() if site["type"] == "deterministic"),
        observed=tuple(name for name, site in samples.items() if site["is_observed"] and stated[name] is None),
        statements={name: tuple(getattr(k.functional, "names", ())) for name, k in stated.items() if k is not None},
    )


def refuse_sites(reading: Callable, sampler: str, args: tuple, given: dict) -> None:
    """An error that names the sites of a reading that a sampler cannot move, and the way out.

    Raises:
        ValueError: no latent site at all; or a prior that has no draws, for "smc".
        TypeError: discrete sites; or, for "elliptical", sites that are not Gaussian.
    """
    latents = structure_of(reading, args, given).latents
    if not latents:
        raise ValueError(
            "the program has no unknowns: every sample site is observed, so there is nothing to sample. Leave a site without obs=, or ask "
            "for its density with numpyro.infer.util.log_density"
        )
    discrete = [name for name, fn in latents.items() if fn.support is not None and fn.support.is_discrete]
    if discrete:
        raise TypeError(
            f"the latent sites {_list(discrete)} are discrete, and {sampler!r} moves along gradients or ellipses. Sum them out in the "
            "program (dist.MixtureSameFamily, numpyro.factor); or, where they stand above Gaussian fields, "
            "bc.conjugate(program, draws=1000, key=key) weighs draws of them by their evidence"
        )
    improper = [name for name, fn in latents.items() if isinstance(_base(fn), dist.ImproperUniform)]
    if improper and sampler == "smc":
        raise ValueError(
            f"sampler 'smc' begins with draws from the prior, and {_list(improper)} has an improper one, with no draws and no evidence. "
            "Give it a proper prior, dist.Normal(0, 10) say, or use sampler='nuts'"
        )
    foreign = [name for name in latents if not name.endswith("_white")]
    if sampler == "elliptical" and foreign:
        raise TypeError(
            f"sampler 'elliptical' needs every latent to be Gaussian; {_list(foreign)} {'is' if len(foreign) == 1 else 'are'} not. Write a "
            "positive one as the exponential of a Normal, x = jnp.exp(numpyro.sample('log_x', dist.Normal(0, 1))), or use sampler='nuts'"
        )


def _base(site: dist.Distribution) -> dist.Distribution:
    while isinstance(site, dist.ExpandedDistribution | dist.Independent):
        site = site.base_dist
    return site


def _list(names) -> str:
    return ", ".join(sorted(map(repr, names)))
