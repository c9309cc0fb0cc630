"""What a program would observe: of every draw the log likelihood of what it did observe, number by
number, and new observations.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers

from bayescons import tracing
from bayescons.grids import Grid
from bayescons.programs.exact import exact
from bayescons.programs.fields import improper
from bayescons.programs.statements import statement
from bayescons.programs.structure import ProgramStructure, program_structure
from bayescons.refusals import RefusedValue
from bayescons.results import trees
from bayescons.sampling.methods import checked_key
from bayescons.sampling.residuals import structure_of
from bayescons.tracing import hoisted

if TYPE_CHECKING:
    import xarray


def observations(program: Callable, draws: Mapping) -> tuple[dict, dict]:
    """Of every reading the value, and its log likelihood given each draw; may be traced.

    Readings are observed sites, and statements with a noise of their own.

    Args:
        program: the program itself, not a reading of it.
        draws: name -> (chain, draw, ...), all that is random in it.

    Returns:
        name -> value, and name -> log likelihoods of shape (chain, draw, *numbers that are
        independent given the draw).
    """

    def of_draw(draw: dict) -> tuple[dict, dict]:
        seeded = handlers.seed(handlers.substitute(program, data=draw), rng_seed=0)
        with handlers.block():
            sites = handlers.trace(seeded).get_trace()
        seen = {name: site for name, site in sites.items() if _is_reading(site)}
        values = {name: site["value"] for name, site in seen.items()}
        return values, {name: _pointwise(site) for name, site in seen.items()}

    values, logs = jax.lax.map(jax.vmap(of_draw), dict(draws))
    return jax.tree.map(lambda value: value[0, 0], values), logs


def _is_reading(site: dict) -> bool:
    if site["type"] != "sample" or not site["is_observed"] or isinstance(site["fn"], dist.Unit):
        return False
    known = statement(site["fn"])
    if known is None:
        return True
    noisy = known.scale is not None and not isinstance(known.scale, str)
    return noisy and known.counts_evidence


def _pointwise(site: dict) -> jax.Array:
    fn, value = site["fn"], site["value"]
    known = statement(fn)
    if known is not None:
        computed = known.computed()
        scale = jnp.broadcast_to(known.scale, computed.shape)
        return dist.Normal(computed, scale).log_prob(jnp.broadcast_to(value, computed.shape))
    while isinstance(fn, dist.Independent):
        fn = fn.base_dist
    return fn.log_prob(value)


def plate_dims(structure: ProgramStructure, grid: Grid | None = None) -> dict[str, list[str]]:
    """For every site in a plate, names of the axes of its value: those of the plates, then those of
    the grid or numbers.
    """
    return {
        site.name: site.axes.dims(grid)
        for site in structure.staged.sites
        if site.kind == "sample" and site.axes.plates and site.fields is None
    }


@tracing.one_at_a_time
def predict(program: Callable, tree: xarray.DataTree, *args, key, **kwargs) -> xarray.DataTree:
    """New observations for every draw of a tree: the posterior predictive of the program's
    likelihoods, y ~ p(y | θ, u).

    Sites of which the tree has draws take these, whatever made them; what the program observes is
    drawn anew, given them. (NumPyro's Predictive over `bc.exact(program)` leaves deterministic
    sites out of what it is given, which the fields are, and draws them anew from their prior,
    unless told `condition_deterministic=True`.)

    Args:
        program: as it was sampled, or with other arguments: more readings, say. A likelihood whose
            obs is None is drawn as well.
        tree: of `bc.sample`, or any with a group `posterior` of draws by the program's names.
        *args: arguments of the program.
        key: a `jax.random.key`, or a whole number from which one is made.
        **kwargs: keyword arguments of the program.

    Returns:
        The tree with a group `posterior_predictive`, name -> (chain, draw, ...).

    Raises:
        ValueError: the tree has no draws of a site that others rest on, or of another shape; or
            the program observes nothing.

    Example:
        >>> def program(y=None):
        ...     u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
        ...     bc.observe("total", lambda u: u.sum(), u, 3.0)
        ...     numpyro.sample("y", dist.Normal(u, 0.1).to_event(1), obs=y)
        >>> tree = bc.sample(program, jnp.array([0.5, 1.0, 1.5]), key=0)
        >>> tree = bc.predict(program, tree, key=jax.random.key(1))
        >>> tree.posterior_predictive["y"].shape
        (4, 1000, 3)
    """
    key, _ = checked_key(key)
    structure = program_structure(program, args, kwargs)
    sites = {trees.plain(site.name): site.name for site in structure.staged.sites}
    dims = plate_dims(structure)
    found = _draws(tree)
    axes = {**dims, **json.loads(tree.attrs.get("axes", "{}"))}
    posterior = {
        sites.get(str(name), str(name)): _in_order(str(name), values, axes)
        for name, values in found.items()
    }
    drawn = _drawn(structure, posterior)
    draws = {name: jnp.asarray(values) for name, values in posterior.items() if name in drawn}
    if not draws:
        raise RefusedValue("the tree has no draws of any site of the program")
    chains, number = next(iter(draws.values())).shape[:2]
    keys = jax.random.split(key, (chains, number))
    predicted = {n: np.asarray(v) for n, v in _predicted(structure, draws, keys).items()}
    if not predicted:
        raise RefusedValue(
            "the program observes nothing beside its statements, so there is nothing to predict; "
            "its draws are in the tree"
        )
    group = trees.datatree(predicted, dims=dims)["posterior"]
    result = tree.copy()
    result["posterior_predictive"] = group
    return result


def _draws(tree: xarray.DataTree) -> Mapping:
    """The variables of the posterior.

    Raises:
        ValueError: there is no such group.
    """
    import xarray

    if not isinstance(tree, xarray.DataTree) or "posterior" not in tree.children:
        raise RefusedValue(
            f"expected a tree with a group 'posterior', as bc.sample gives it; got a "
            f"{type(tree).__name__} without one"
        )
    return tree["posterior"].data_vars


def _in_order(name: str, values, dims: Mapping) -> np.ndarray:
    """Draws with chain and draw in front, and the axes that `sample` names in its order.

    Raises:
        ValueError: there are no such axes.
    """
    if not {"chain", "draw"} <= set(values.dims):
        raise RefusedValue(
            f"the tree's draws of {name!r} have axes {values.dims}; expected 'chain' and 'draw' "
            "among them. One chain is tree.expand_dims('chain')"
        )
    rest = [dim for dim in values.dims if dim not in ("chain", "draw")]
    numbered = [f"{name}_dim_{i}" for i in range(len(rest))]
    for own in (dims.get(name, numbered), numbered):
        if set(own) == set(rest):
            rest = own
    return values.transpose("chain", "draw", *rest).values


def _drawn(structure: ProgramStructure, posterior: Mapping) -> set[str]:
    """Names of the sites that draws are given of.

    Raises:
        ValueError: one is missing that others rest on, or has another shape.
    """
    sites = {site.name: site for site in structure.staged.sites if site.kind == "sample"}
    drawn = {name for name in posterior if name in sites and sites[name].fields is None}
    for name in drawn:
        found, expected = posterior[name].shape[2:], sites[name].axes.shape
        if found != expected:
            raise RefusedValue(
                f"the tree's draws of {name!r} have shape {found}, the program's {name!r} has "
                f"{expected}: give the program the arguments that its unknowns were drawn with"
            )
    rested_on = {*structure.facts.rested_on, *structure.fields}
    if missing := sorted(n for n, s in sites.items() if s.latent and n in rested_on - drawn):
        raise RefusedValue(
            f"the tree has no draws of {', '.join(map(repr, missing))}, on which other sites rest; "
            "it has " + ", ".join(posterior)
        )
    return drawn


class _Redraw(numpyro.primitives.Messenger):
    """Leave what is observed to be drawn, but for statements."""

    def process_message(self, msg):
        if msg["type"] == "sample" and msg["is_observed"] and statement(msg["fn"]) is None:
            msg["value"], msg["is_observed"] = None, False


def _is_drawn(site: dict) -> bool:
    """Whether a site has a value of its own: it is neither a statement nor a factor."""
    fn = site.get("fn")
    return site["type"] == "sample" and statement(fn) is None and not isinstance(fn, dist.Unit)


@tracing.one_at_a_time
def prior_draws(program: Callable, key, number: int) -> tuple[dict, dict]:
    """Draws before anything is observed: of every latent, field and deterministic site; and of what
    the likelihoods would observe. What is imposed holds in them.

    Returns:
        name -> (number, ...), twice.

    Raises:
        ValueError: a prior is improper, so that nothing can be drawn from it.
    """
    stated = structure_of(program)
    for name, fn in stated.latents.items():
        if improper(fn):
            raise RefusedValue(
                f"{name!r} has an improper prior, of which there are no draws: leave prior=0, or "
                "give it a proper one"
            )
    before = program_structure(handlers.block(program, hide_fn=_informs))
    drawn = _prior(before, jax.random.split(key, number))
    own = {name: values for name, values in drawn.items() if name in stated.names}
    return own, {name: values for name, values in drawn.items() if name in before.observed}


def _informs(site: dict) -> bool:
    """Whether a site is a statement from which something is learnt."""
    known = statement(site["fn"]) if site["type"] == "sample" else None
    return known is not None and known.counts_evidence


@tracing.compiled
def _prior(structure: ProgramStructure, keys) -> dict:
    reading = _Redraw(exact(structure) if structure.statements else structure)

    def of_key(key) -> dict:
        with handlers.block():
            sites = handlers.trace(handlers.seed(reading, key)).get_trace()
        return {
            name: site["value"]
            for name, site in sites.items()
            if site["type"] == "deterministic" or _is_drawn(site)
        }

    return jax.lax.map(hoisted(of_key, keys[0]), keys)


@tracing.compiled
def _predicted(structure: ProgramStructure, draws: dict, keys) -> dict:
    def of_draw(pair) -> dict:
        draw, key = pair
        given = handlers.substitute(_Redraw(structure), data=draw)
        with handlers.block():
            sites = handlers.trace(handlers.seed(given, key)).get_trace()
        return {
            name: site["value"]
            for name, site in sites.items()
            if name not in draw and _is_drawn(site)
        }

    return jax.lax.map(jax.vmap(of_draw), (draws, keys))
