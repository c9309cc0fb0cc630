"""A program as a simulator: draw what it believes of its unknowns, then what would be observed of
them, and read it again with that.

    θ, u ~ p(θ) p(u | θ, what is imposed),    b = G u (+ noise),    y ~ p(y | θ, u)

A statement's value may itself be a latent (an unknown total), so what is simulated is by how much
the functional is off it, G u - value(θ), where the program says zero; read again, the value is
moved by as much. An imposed statement is the law of the prior, and nothing is simulated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro import handlers

from bayescons.programs.exact import exact
from bayescons.programs.fields import improper
from bayescons.programs.groups import condition_group, groups
from bayescons.programs.handlers import CollectStatements, ReplayFields
from bayescons.programs.statements import statement
from bayescons.programs.structure import program_structure
from bayescons.refusals import RefusedValue


class Observed(NamedTuple):
    """What was observed in one simulation.

    Attributes:
        values: by site.
        moves: by statement, its value less the one that the program states.
    """

    values: dict
    moves: dict


def simulate(program: Callable, key: jax.Array) -> tuple[dict, Observed]:
    """Unknowns (fields and latents, by name) and what would be observed of them: one draw from the
    program's own joint law.

    Args:
        program: of no arguments, `functools.partial(program, *args)`.
        key: `jax.random.key`.

    Raises:
        ValueError: where it has none: an improper prior, a factor, a site under a scale or a
            subsampled plate; or nothing is observed.
    """
    names = unknowns(program)

    structure = program_structure(program)  # its statements know which axes are members

    def prior():
        return _Simulate(structure)()

    with handlers.block():
        sites = handlers.trace(handlers.seed(exact(prior), key)).get_trace()
    seen = {name: site for name, site in sites.items() if site.get("infer", {}).get("simulated")}
    if not seen:
        raise RefusedValue(
            "nothing is observed in this program, so there is nothing to calibrate it against. Its "
            "arguments must give values to its bc.observe statements and likelihoods (obs=...), "
            "not None"
        )
    values = {name: site["value"] for name, site in seen.items()}
    moves = {
        name: site["value"] - site["infer"]["stated"]
        for name, site in seen.items()
        if "stated" in site["infer"]
    }
    return {name: sites[name]["value"] for name in names}, Observed(values, moves)


def with_observed(program: Callable, observed: Observed) -> Callable:
    """The program with what was simulated in place of what was observed, in sites of the same
    names.
    """

    @functools.wraps(program)
    def moved(*args, **kwargs):
        return _Replace(program, observed)(*args, **kwargs)

    return moved


def unknowns(program: Callable) -> tuple[str, ...]:
    """Names of the program's latents and fields, latents below the fields included."""
    structure = program_structure(program)
    below = sorted(structure.below - set(structure.likelihoods))
    return (*structure.latents, *structure.fields, *below)


def log_likelihood(program: Callable, unknown: Mapping) -> jax.Array:
    """Of what a program observes, at given unknowns: log p(b | θ) of its statements and log p(y |
    θ, u) of its likelihoods (nats).
    """
    structure = program_structure(program)
    fields = {name: unknown[name] for name in structure.fields}
    others = {name: value for name, value in unknown.items() if name not in fields}
    with handlers.block(), handlers.seed(rng_seed=0), handlers.substitute(data=others):
        above = CollectStatements(structure).run()
        sites = handlers.trace(ReplayFields(structure, above.sites, fields)).get_trace()
    evidence = [condition_group(group).log_evidence for group in groups(above)]
    terms = [jnp.sum(e) for e in evidence if e is not None]
    terms += above.weights.values()
    terms += [jnp.sum(s["fn"].log_prob(s["value"])) for s in sites.values() if _is_likelihood(s)]
    return sum(terms, jnp.zeros(()))


def _is_likelihood(site) -> bool:
    return site["type"] == "sample" and site["is_observed"] and statement(site["fn"]) is None


class _Simulate(numpyro.primitives.Messenger):
    """Make every observed site one to be drawn, and refuse what cannot be."""

    def process_message(self, msg):
        if msg["type"] != "sample":
            return
        name, fn, known = msg["name"], msg["fn"], statement(msg["fn"])
        if msg["scale"] is not None or isinstance(fn, dist.Unit):
            what = (
                "is a factor"
                if msg["scale"] is None
                else "stands under a scale or a subsampled plate"
            )
            raise RefusedValue(
                f"{name!r} {what}: such a program has no law to simulate from. State it as a prior "
                "or a likelihood instead"
            )
        if improper(fn):
            raise RefusedValue(
                f"{name!r} has an improper prior, from which nothing can be simulated; give it a "
                "proper one, however wide"
            )
        if not msg["is_observed"] or (known is not None and not known.counts_evidence):
            return
        msg["infer"] = {**msg["infer"], "simulated": True}
        if known is not None:
            msg["infer"]["stated"] = msg["value"]
            msg["fn"] = _law(known)
        msg["value"], msg["is_observed"] = None, False


class _Replace(numpyro.primitives.Messenger):
    """Give observed sites what was simulated."""

    def __init__(self, program, observed: Observed):
        self.observed = observed
        super().__init__(program)

    def process_message(self, msg):
        if msg["type"] != "sample" or not msg["is_observed"]:
            return
        name = msg["name"]
        if name in self.observed.moves:
            msg["value"] = msg["value"] + self.observed.moves[name]
        elif name in self.observed.values:
            msg["value"] = self.observed.values[name]


def _law(known) -> dist.Distribution:
    """What a statement's functional would be read as."""
    if isinstance(known.scale, str):
        raise RefusedValue(
            f"{known.name!r} has scale='quadrature', the size of an error and not of a noise to be "
            "simulated. If it shall count as one, write scale=bc.quadrature_scale(belief, "
            "functional)"
        )
    computed = known.computed()
    if known.scale is None:
        return dist.Delta(computed, event_dim=jnp.ndim(computed))
    return dist.Normal(computed, jnp.broadcast_to(known.scale, computed.shape)).to_event(
        jnp.ndim(computed)
    )
