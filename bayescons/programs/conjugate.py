"""The closed-form reading: `conjugate` turns a program with Gaussian fields into its posterior,
without a sampler.

Given the latents θ above the field, everything known of a Gaussian field is a linear functional of
it: statements, and likelihoods y ~ Normal(A u + c, s) below it. The posterior given θ is the
conjugate update; over θ it is a mixture, with weights p(b, y | θ).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from bayescons import tracing
from bayescons.arrays import one_of
from bayescons.descriptions import tabulated
from bayescons.functionals.functions import NotProvenAffineError
from bayescons.gaussians.consistency import InconsistentConstraintsError
from bayescons.programs import proposals
from bayescons.programs.groups import CONTRADICTION, Conditioned, check, condition_group
from bayescons.programs.handlers import CollectStatements
from bayescons.programs.importance import (
    UnreliableWeightsWarning,
    importance_weights,
    trusted,
    untrusted,
)
from bayescons.programs.likelihoods import absorb, refuse
from bayescons.programs.posterior import Posterior
from bayescons.programs.reinterpretation import Reinterpretation
from bayescons.programs.structure import (
    NothingStatedError,
    ProgramStructure,
    program_structure,
    refuse_parameters,
)
from bayescons.refusals import RefusedValue


def conjugate(
    program: Callable, *, latent_draws: int = 256, proposal: str = "fitted", key=None
) -> Callable:
    """The program's posterior in closed form: mean, variance, draws and evidence, no sampler.

    Without random latents above the fields it is one conjugate update. With them, `latent_draws`
    values of the latents are taken from their prior and each gives one Gaussian; `observe` weights
    them by their evidence (importance sampling, Pareto-smoothed, `pareto_k` says whether to trust
    it), `impose` leaves them equal. Where the weights rest on few draws, as below a vague prior, as
    many draws are added from a Student t fitted to the posterior of the latents
    (`programs.proposals`), and all are weighed against both. Observed sites below a field, y ~
    Normal(affine in u, s), are absorbed.

    The program is run once, abstractly, at each call. What it computes is compiled at the first
    call, and found again whenever a program of the same equations and shapes is asked for.

    Args:
        program: a NumPyro program with `observe` or `impose` statements.
        latent_draws: number of draws of the latents from their prior.
        proposal: "fitted", to add draws as above where they are needed; "prior" for those of the
            prior alone.
        key: `jax.random.key`, needed where there are latents.

    Returns:
        A function of the program's arguments that returns a `Posterior`.

    Raises:
        TypeError: when it is run: a field, or a likelihood below it, is not Gaussian; names the
            site and the way out.
        ValueError: as `exact`; no statement at all; or latents and no key.

    Warns:
        UnreliableWeightsWarning: the weights still rest on few draws.

    Example:
        >>> def program(total):
        ...     u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
        ...     bc.observe("total", lambda u: u.sum(), u, total)
        >>> posterior = bc.conjugate(program)(6.0)
        >>> print(posterior.mean["u"], posterior.variance["u"])
        [2. 2. 2.] [0.66666667 0.66666667 0.66666667]
        >>> round(float(posterior.log_evidence), 3)
        -7.468
    """
    one_of("proposal", proposal, ("fitted", "prior"))

    def solved(*args, **kwargs) -> Posterior:
        result = mixture(program, args, kwargs, latent_draws=latent_draws, key=key)
        if result.log_weights is None:
            return result.posterior
        weights, pareto_k = importance_weights(np.asarray(result.log_weights))
        if proposal == "fitted" and pareto_k > trusted(len(weights)):
            adapted = _adapted(result, key, functools.partial(program, *args, **kwargs))
            if adapted is not None:
                result = adapted
                weights, pareto_k = importance_weights(np.asarray(result.log_weights))
        if pareto_k > trusted(len(weights)):
            warnings.warn(untrusted(pareto_k, weights), UnreliableWeightsWarning, stacklevel=3)
        return result.posterior.reweighted(weights, pareto_k)

    draws = f"a mixture over {latent_draws} draws of the latents above its fields, where it has any"
    return Reinterpretation(
        program,
        solved,
        reading="in closed form, without a sampler",
        gives=f"its Posterior: {draws}",
    )


@tabulated("Mixture over draws of latents, before its weights are smoothed")
class Mixture(NamedTuple):
    """What `conjugate` computes before it looks at any number.

    Attributes:
        posterior: with weights as they come, not smoothed, and a `pareto_k` of NaN.
        log_weights: of the draws of the latents, log p(b, y | θ), shape (draws,); None where there
            are no latents.
        violations: what contradicting rows leave, in prior standard deviations, shape (draws,
            groups) or (groups,).
        structure: the program that was read.
    """

    posterior: Posterior
    log_weights: jax.Array | None
    violations: jax.Array
    structure: ProgramStructure


def readable(program: Callable, args: tuple = (), kwargs: dict | None = None):
    """The structure of a program that has fields: those of its statements or, where it states
    nothing, the Gaussian sites that its likelihoods rest on.

    Raises:
        NothingStatedError: there are none.
    """
    structure = program_structure(program, args, kwargs)
    if not structure.fields:
        structure = dataclasses.replace(structure, implied=True)
    if not structure.fields:
        raise NothingStatedError(
            "the program states nothing about any field: there is no bc.observe or bc.impose in "
            "it, and no Normal likelihood of a Gaussian site"
        )
    return structure


def mixture(
    program: Callable,
    args: tuple = (),
    kwargs: dict | None = None,
    *,
    latent_draws: int = 256,
    key=None,
) -> Mixture:
    """`conjugate` as a function that may be traced, under `jit` and `vmap`: nothing is smoothed,
    and nothing raised of violations while numbers are not known.
    """
    structure = readable(program, args, kwargs)
    refuse_parameters(structure)
    refuse(structure)
    if structure.latents and key is None:
        names = ", ".join(sorted(map(repr, structure.latents)))
        raise RefusedValue(
            f"the program has latents above its fields ({names}): write bc.conjugate(program, "
            "key=jax.random.key(0))"
        )
    keys = jax.random.split(key, latent_draws) if structure.latents else jax.random.key(0)
    one = _given_latents if structure.latents else _given_nothing
    try:
        component = one(structure, keys)
    except NotProvenAffineError:
        if not tracing.known_now(structure, keys):
            raise
        component = _component_by_component(structure, keys)
    if tracing.known_now(component):
        _look(structure, component, functools.partial(program, *args, **(kwargs or {})))
    violations = jnp.stack([c.violation for c in component.conditioned], axis=-1)
    gaussians = tuple(c.posterior for c in component.conditioned)
    posterior = Posterior(
        gaussians,
        structure.blocks,
        component.latents,
        np.ones(1),
        component.log_weight,
        float("nan"),
    )
    if not structure.latents:
        return Mixture(posterior, None, violations, structure)
    log_weights = component.log_weight
    weights, evidence = _normalised(log_weights)
    mixed = posterior.reweighted(weights, float("nan"), log_evidence=evidence)
    return Mixture(mixed, log_weights, violations, structure)


def _adapted(result: Mixture, key, program: Callable) -> Mixture | None:
    """The mixture with as many draws again from a proposal fitted to the posterior of the latents,
    all weighed against prior and proposal in equal parts; None where there is no proposal.
    """
    structure = result.structure
    prior = {name: np.asarray(value) for name, value in result.posterior.latents.items()}
    foreseen = np.asarray(result.log_weights)
    best = {name: value[int(np.argmax(foreseen))] for name, value in prior.items()}
    try:
        fitted = proposals.proposal(structure, prior, foreseen)
    except NotProvenAffineError:  # only its numbers show it, and compiled code has none
        return None
    if fitted is None:
        return None
    points = np.concatenate(
        [
            proposals.unconstrained(structure, prior),
            fitted.draw(jax.random.fold_in(key, 1), len(foreseen)),
        ]
    )
    drawn = proposals.constrained(structure, points[len(foreseen) :], best)
    added = _given_values(structure, drawn)
    _look(structure, added, program)
    joint = proposals.log_joint(structure, points, best)
    given = np.concatenate([foreseen, np.asarray(added.log_weight)])
    mixed = np.logaddexp(joint - given, fitted.log_density(points)) - math.log(2)
    log_weights = jnp.asarray(np.where(np.isfinite(joint), joint - mixed, -np.inf))
    weights, evidence = _normalised(log_weights)
    components = tuple(
        jax.tree.map(lambda a, b: jnp.concatenate([a, b]), old, new.posterior)
        for old, new in zip(result.posterior.components, added.conditioned, strict=True)
    )
    latents = {n: jnp.concatenate([prior[n], added.latents[n]]) for n in prior}
    posterior = Posterior(components, structure.blocks, latents, weights, evidence, float("nan"))
    violations = jnp.stack([c.violation for c in added.conditioned], axis=-1)
    violations = jnp.concatenate([result.violations, violations])
    return Mixture(posterior, log_weights, violations, structure)


class _Component(NamedTuple):
    """Given one draw of the latents: the groups of fields, the latents, the log weight; and whether
    a door was asked for something wrong.
    """

    conditioned: list[Conditioned]
    latents: dict
    log_weight: jax.Array
    doubtful: jax.Array


def _component(structure: ProgramStructure, key, latents: dict | None = None) -> _Component:
    with tracing.doubts() as doubts:
        known = handlers.substitute(data=latents or {})
        with handlers.block(), handlers.seed(rng_seed=key), known:
            above = CollectStatements(structure).run()
        _refuse_reweighted(above)
        conditioned = [condition_group(group) for group in absorb(above)]
    evidence = [jnp.sum(c.log_evidence) for c in conditioned if c.log_evidence is not None]
    log_weight = sum([*evidence, *above.weights.values()], jnp.zeros(()))
    latents = {name: above.sites[name] for name in structure.latents}
    return _Component(conditioned, latents, log_weight, doubts.any | above.doubtful)


def _refuse_reweighted(above: CollectStatements) -> None:
    """Refuse latents whose draws are not those of their density."""
    if above.reweighted:
        names = ", ".join(map(repr, above.reweighted))
        raise RefusedValue(
            f"{names} stands under a scale, a mask or a subsampled plate, so that draws from its "
            "prior are not draws of the program's density; sample bc.exact(program) with NUTS, or "
            "bc.sample(program, ..., sampler='collapsed')"
        )


_given_nothing = tracing.compiled(_component)


@tracing.compiled
def _given_latents(structure: ProgramStructure, keys) -> _Component:
    return jax.vmap(_component, in_axes=(None, 0))(structure, keys)


@tracing.compiled
def _given_values(structure: ProgramStructure, latents: dict) -> _Component:
    """Given draws of the latents from elsewhere."""
    one = functools.partial(_component, structure, jax.random.key(0))
    return jax.vmap(one)(latents)


@tracing.one_at_a_time
def _component_by_component(structure: ProgramStructure, keys) -> _Component:
    """The same with all numbers known, which some doors need to have."""
    if not structure.latents:
        return _component(structure, keys)
    components = [_component(structure, key) for key in keys]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *components)


@tracing.compiled
def _normalised(log_weights) -> tuple[jax.Array, jax.Array]:
    """Weights that sum to one, and the logarithm of the mean of what they were."""
    evidence = jax.nn.logsumexp(log_weights) - jnp.log(len(log_weights))
    return jax.nn.softmax(log_weights), evidence


def _contradiction(structure: ProgramStructure, latents: dict) -> str:
    """What contradicts what, given one draw of the latents."""
    try:
        with tracing.computed_now():
            _component(structure, jax.random.key(0), latents)
    except InconsistentConstraintsError as error:
        return f": {error.case}"
    return ""


@tracing.one_at_a_time
def _look(structure: ProgramStructure, component: _Component, program: Callable) -> None:
    """Raise for what could only be recorded in the compiled pass."""
    violations = [np.asarray(c.violation) for c in component.conditioned]
    worst = max(float(np.max(v)) for v in violations)
    if structure.latents and worst > CONTRADICTION:
        draw = int(np.argmax(np.max([v.reshape(len(v), -1).max(1) for v in violations], axis=0)))
        latents = {name: value[draw] for name, value in component.latents.items()}
        raise InconsistentConstraintsError(
            "for some draws of the latents exact statements contradict each other, by "
            f"{worst:.1e} prior standard deviations{_contradiction(structure, latents)}. Fix the "
            "latents, numpyro.handlers.substitute(program, data={...}), and bc.conjugate names the "
            "rows"
        )

    def name_fault() -> None:
        with handlers.block(), handlers.seed(rng_seed=0):
            program()
        _component(structure, jax.random.key(0))

    check(component.conditioned, component.doubtful, name_fault)
