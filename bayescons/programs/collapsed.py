"""The collapsed reading: the Gaussian fields integrated out, so that a sampler sees only the
latents above them.

With θ the latents above the fields, u the fields, b what is stated of them and y the likelihoods y
~ Normal(A u + c, s) below,

    p(θ | b, y) ∝ p(θ) N(b, y; ...)     and then     u | θ, b, y     is Gaussian and drawn exactly.

A sampler of θ alone meets neither the dimension of the field nor the funnel between a field and its
amplitude. It is the same posterior as that of `exact` (Rue, Martino & Chopin, J. R. Stat. Soc. B
71, 2009, 319, collapse in the same way, approximately; here it is exact).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import jax
import numpyro
from numpyro import handlers

from bayescons import tracing
from bayescons.programs.groups import condition_group
from bayescons.programs.handlers import CollectStatements, ReplayFields
from bayescons.programs.likelihoods import absorb, refuse
from bayescons.programs.structure import NothingStatedError, ProgramStructure, program_structure


def collapsed(program: Callable) -> Callable:
    """The program with its Gaussian fields integrated out: an ordinary NumPyro program over the
    latents above them.

    Its log density is log p(θ) + Σ log N(b, y; G m, S), one factor `<u>_evidence` for each group of
    fields tied together; observed sites above the fields stay. As in `exact`, a deterministic site
    `<u>_gap` says how far exact rows contradict each other. Imposed statements have no evidence.
    Fields and what lies below them are not sites of it: `fields_given` draws them.

    Args:
        program: a NumPyro program with `observe` or `impose` statements.

    Returns:
        A program with the same arguments; it returns nothing.

    Raises (when run):
        TypeError: what lies below the fields has no closed form (a likelihood that is not Normal,
            or not affine in the field); names the site and the way out.
        ValueError: no statement at all; or as `exact`.
    """

    @functools.wraps(program)
    def marginal(*args, **kwargs) -> None:
        structure = _collapsible(program, args, kwargs)
        with tracing.computed_now():
            above = CollectStatements(structure).run()
            conditioned = [condition_group(group) for group in absorb(above)]
        for layout, group in zip(structure.blocks, conditioned, strict=True):
            if group.log_evidence is not None:
                numpyro.factor(f"{layout.name}_evidence", group.log_evidence)
            numpyro.deterministic(f"{layout.name}_gap", group.violation)

    return marginal


def fields_given(program: Callable) -> Callable:
    """The other half of `collapsed`: every site of the program, drawn exactly, given the latents
    above its fields.

    Fields are drawn from their conditional, u | θ, b, y, and satisfy the exact statements to
    rounding; what lies below them and is not observed is drawn from the program itself.

    Returns:
        A function (key, latents, *args, **kwargs) -> name -> value: one draw of all latents, fields
        and deterministic sites, and for each group of fields `<u>_gap`. A latent above the fields
        that is not among `latents` is drawn from its prior, which is right where nothing was learnt
        about it.

    Raises (when run):
        As `collapsed`.
    """

    @functools.wraps(program)
    def drawn(key, latents: Mapping, *args, **kwargs) -> dict:
        structure = _collapsible(program, args, kwargs)
        key_above, key_fields, key_below = jax.random.split(key, 3)
        known = handlers.substitute(data=dict(latents))
        with handlers.block(), handlers.seed(rng_seed=key_above), known:
            above = CollectStatements(structure).run()
        conditioned = [condition_group(group) for group in absorb(above)]
        keys = jax.random.split(key_fields, len(conditioned))
        blocks = structure.blocks
        gaps = {f"{b.name}_gap": g.violation for b, g in zip(blocks, conditioned, strict=True)}
        fields = {}
        for layout, group, k in zip(blocks, conditioned, keys, strict=True):
            fields |= layout.fields(group.posterior.sample(k))
        recorder = handlers.trace(ReplayFields(structure, above.sites, fields))
        with handlers.block(), handlers.seed(rng_seed=key_below):
            below = recorder.get_trace()
        rest = {name: site["value"] for name, site in below.items() if _is_drawn(site)}
        return {name: above.sites[name] for name in structure.latents} | fields | gaps | rest

    return drawn


def _collapsible(program, args, kwargs) -> ProgramStructure:
    structure = program_structure(program, args, kwargs)
    if not structure.fields:
        raise NothingStatedError(
            "the program states nothing about any field: there is no bc.observe or bc.impose in "
            "it, nothing to collapse"
        )
    refuse(structure)
    return structure


def _is_drawn(site: dict) -> bool:
    return site["type"] == "deterministic" or (site["type"] == "sample" and not site["is_observed"])
