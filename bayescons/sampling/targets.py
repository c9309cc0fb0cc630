"""Targets: what a sampler sees of a program - a log density over unconstrained coordinates, its
parts, and the way back to the sites.

A reading of a program (`exact`, `soft`, `collapsed`, or `whitened`) is an ordinary NumPyro program;
NumPyro turns it into a density. What in it does not depend on the coordinates is computed once
(`hoisted`), before the sampler's loops: XLA does not move a factorization out of a loop, and inside
a compiled run the program's arguments are not known, so nothing else would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.infer.reparam import Reparam
from numpyro.infer.util import (
    compute_log_probs,
    constrain_fn,
    initialize_model,
    potential_energy,
    unconstrain_fn,
)

from bayescons.programs.collapsed import collapsed
from bayescons.programs.exact import exact
from bayescons.programs.fields import as_gaussian, is_gaussian
from bayescons.programs.groups import condition_group, groups
from bayescons.programs.handlers import CollectStatements
from bayescons.programs.soft import soft
from bayescons.programs.structure import program_structure
from bayescons.tracing import differentiable, hoisted


class Target(NamedTuple):
    """A reading of a program at its arguments.

    Attributes:
        log_density: coordinates z (name -> array, unconstrained) -> log p(z, data), with the
            Jacobian of the constraints.
        log_prior: z -> the part of it that comes from latent sites; None unless asked for.
        log_likelihood: z -> the part that comes from observed sites and factors; None unless asked
            for.
        sites: z -> name -> value of every latent and deterministic site.
        prior_draw: key -> z, drawn from the latent sites alone.
        starts: z of one start for each chain, leading axis the chain.
    """

    log_density: Callable
    log_prior: Callable | None
    log_likelihood: Callable | None
    sites: Callable
    prior_draw: Callable
    starts: dict


def read(program: Callable, reading: str, scale: float | int = 1e-2) -> Callable:
    """The program read "exact", "soft", "collapsed", or "whitened": `exact`, with every Gaussian
    latent a map of white noise.
    """
    if reading == "soft":
        return soft(program, scale)
    if reading == "collapsed":
        return collapsed(program)
    return whitened(exact(program)) if reading == "whitened" else exact(program)


def target(program: Callable, keys: jax.Array, *, parted: bool = False) -> Target:
    """The target of a reading, with a start for each of the keys: uniform within 2 of the origin,
    where the density is finite.

    Args:
        program: a reading of a program, of no arguments.
        keys: one for each start.
        parted: whether prior and likelihood are wanted apart.
    """
    info = initialize_model(keys, program, validate_grad=False)
    example = jax.tree.map(lambda z: z[0], info.param_info.z)
    observed = frozenset(
        n
        for n, site in info.model_trace.items()
        if site["type"] == "sample" and site["is_observed"]
    )

    def sites(z):
        return constrain_fn(program, (), {}, z, return_deterministic=True)

    def log_likelihood(z):
        terms, _ = compute_log_probs(program, (), {}, constrain_fn(program, (), {}, z))
        return sum((terms[name] for name in observed), jnp.zeros(()))

    def log_prior(z):
        return -potential_energy(_Unobserved(program, observed), (), {}, z)

    def prior_draw(key):
        with handlers.block():
            trace = handlers.trace(handlers.seed(program, key)).get_trace()
        return unconstrain_fn(program, (), {}, {name: trace[name]["value"] for name in example})

    parts = (
        [differentiable(part, example) for part in (log_prior, log_likelihood)]
        if parted
        else [None, None]
    )
    return Target(
        log_density=differentiable(lambda z: -info.potential_fn(z), example),
        log_prior=parts[0],
        log_likelihood=parts[1],
        sites=hoisted(sites, example),
        prior_draw=prior_draw,
        starts=info.param_info.z,
    )


def contradiction(program: Callable) -> jax.Array:
    """By how much exact rows contradict each other, in prior standard deviations, in a program
    without latents above its fields; there it is the same for every draw. Zero for other programs,
    whose exact reading records it for each draw.
    """
    structure = program_structure(program)
    if structure.latents or not structure.fields:
        return jnp.zeros(())
    with handlers.block(), handlers.seed(rng_seed=0):
        above = CollectStatements(structure).run()
    return jnp.max(jnp.stack([condition_group(group).violation for group in groups(above)]))


class _Unobserved(numpyro.primitives.Messenger):
    """Leave the named observed sites out of the density."""

    def __init__(self, program, names: frozenset):
        self.names = names
        super().__init__(program)

    def process_message(self, msg):
        if msg["type"] == "sample" and msg["name"] in self.names:
            msg["fn"] = msg["fn"].mask(False)


def whitened(program: Callable) -> Callable:
    """The program with every Gaussian latent u ~ N(m, K) written as u = m + A z, A A' = K, z ~ N(0,
    I) a site `<u>_white`.
    """
    white = _White()

    def config(site: dict) -> Reparam | None:
        latent = not site["is_observed"] and site["name"] not in white.noises
        return white if latent and is_gaussian(site["fn"]) else None

    return handlers.reparam(program, config=config)


class _White(Reparam):
    """A Gaussian site as a map of white noise; `noises` are the names of what it drew, which is not
    to be mapped again.
    """

    def __init__(self):
        self.noises: set[str] = set()

    def __call__(self, name, fn, obs):
        del obs
        self.noises.add(f"{name}_white")
        belief = as_gaussian(name, fn)
        shape = (*belief.batch_shape, belief.covariance.noise_size)
        noise = numpyro.sample(f"{name}_white", dist.Normal(0.0, 1.0).expand(shape).to_event(1))
        return None, belief.transport(noise)
