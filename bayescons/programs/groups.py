"""The fields of a program, grouped by the statements that tie them together, and each group's
conjugate update.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from bayescons import tracing
from bayescons.functionals.abstract import SingleFunctional
from bayescons.functionals.functions import NotProvenAffineError
from bayescons.functionals.mapped import Mapped
from bayescons.gaussians.conditioning import Constraint, stack, update
from bayescons.gaussians.consistency import InconsistentConstraintsError
from bayescons.gaussians.dependence import nearly_dependent
from bayescons.gaussians.gaussian import Gaussian
from bayescons.programs.fields import join
from bayescons.programs.handlers import CollectStatements
from bayescons.programs.layouts import Layout
from bayescons.programs.structure import ProgramStructure

# Prior standard deviations by which exact rows may miss each other: S is factored to rounding, and
# its square root of eps is 1.5e-8.
CONTRADICTION = 1e-6


class Group(NamedTuple):
    """Fields that statements tie together, as one Gaussian, and what is stated of them.

    Attributes:
        layout: of the fields as one array.
        prior: their joint prior.
        imposed: what defines the prior, or None.
        observed: what is learnt from, or None.
        constant: of the log evidence, what `observed` does not count.
    """

    layout: Layout
    prior: Gaussian
    imposed: Constraint | None
    observed: Constraint | None
    constant: jax.Array | float = 0.0


class Conditioned(NamedTuple):
    """A group's belief given all that is stated.

    Attributes:
        posterior: of the fields, end to end.
        log_evidence: of what was observed (None if nothing was).
        violation: the largest that a contradicting row leaves, in prior standard deviations;
            rounding, where all is well.
        status: the worst of `Update.status`, 0 where all is well.
    """

    posterior: Gaussian
    log_evidence: jax.Array | None
    violation: jax.Array
    status: jax.Array


def groups(above: CollectStatements) -> list[Group]:
    """The fields of a program, grouped by the statements that tie them together."""
    return [group_of(above, layout) for layout in above.structure.groups]


def condition_group(group: Group) -> Conditioned:
    """The group's belief given all that is stated of it."""
    belief, log_evidence, violations, statuses = group.prior, None, [], []
    for constraint in (group.imposed, group.observed):
        if constraint is not None:
            result = update(belief, constraint)
            belief = result.posterior
            if constraint is group.observed:
                log_evidence = result.log_evidence + group.constant
            violations.append(jnp.max(jnp.abs(result.violation)))
            statuses.append(jnp.max(result.status))
    worst, status = (jnp.max(jnp.stack(each)) for each in (violations, statuses))
    return Conditioned(belief, log_evidence, worst, status)


def conditioned_groups(structure: ProgramStructure, sites: dict, program: Callable) -> list:
    """Every group given all that is stated of it, in one compiled pass over the program.

    Args:
        structure: of the program.
        sites: values of what stands above the fields.
        program: the program with its arguments, run once more with all numbers known where one of
            them is wrong, because then the doors name what is.

    Returns:
        `Conditioned`, one for each of `structure.groups`.

    Raises:
        ValueError, TypeError: what the doors refuse.
        InconsistentConstraintsError: statements contradict each other.
    """
    sites = {name: sites[name] for name in above_sites(structure)}
    try:
        conditioned, doubtful = _conditioned(structure, sites)
    except NotProvenAffineError:
        if not tracing.known_now(structure, sites):
            raise
        with tracing.computed_now():
            conditioned, doubtful = _condition_all(structure, sites)
    if tracing.known_now(conditioned, doubtful):
        check(conditioned, doubtful, lambda: name_fault(structure, sites, program))
    return conditioned


def above_sites(structure: ProgramStructure) -> list[str]:
    """Names of the sites above the fields whose values a handler may have chosen."""
    hidden = {*structure.fields, *structure.statements, *structure.below}
    return [
        site.name
        for site in structure.staged.sites
        if site.kind in ("sample", "param") and site.name not in hidden and not site.observed
    ]


def _condition_all(structure: ProgramStructure, sites: dict) -> tuple[list, jax.Array]:
    with tracing.doubts() as doubts:
        known = handlers.substitute(data=sites)
        with handlers.block(), handlers.seed(rng_seed=0), known:
            above = CollectStatements(structure).run()
        conditioned = [condition_group(group) for group in groups(above)]
    return conditioned, doubts.any | above.doubtful


_conditioned = tracing.compiled(_condition_all)


def check(conditioned: list, doubtful, name_fault: Callable) -> None:
    """Look at the numbers of a compiled pass.

    Args:
        conditioned: the groups.
        doubtful: whether a door was asked for something wrong.
        name_fault: called where there is reason; raises an error that names what is wrong.
    """
    near = any(
        nearly_dependent(g.posterior.covariance, first=True) is not None for g in conditioned
    )
    broken = not all(np.isfinite(np.asarray(group.posterior.mean)).all() for group in conditioned)
    statuses = [np.asarray(group.status) for group in conditioned]
    if near or broken or any(s.any() for s in statuses) or bool(np.asarray(doubtful).any()):
        name_fault()
    worst = max(float(np.max(np.asarray(group.violation))) for group in conditioned)
    if worst > CONTRADICTION:
        raise InconsistentConstraintsError(
            f"exact statements contradict each other, by {worst:.1e} prior standard deviations"
        )


def name_fault(structure: ProgramStructure, sites: dict, program: Callable) -> None:
    """Run a program once more with all numbers known: doors that saw only abstract values before
    name what is wrong.
    """
    with tracing.computed_now():
        known = handlers.substitute(data=dict(sites))
        with handlers.block(), handlers.seed(rng_seed=0), known:
            program()
            above = CollectStatements(structure).run()
        for group in groups(above):
            condition_group(group)


def group_of(above: CollectStatements, layout: Layout) -> Group:
    """The fields of a layout, and the statements about them."""
    stated = {True: [], False: []}
    for name, fields in above.structure.statements.items():
        if set(fields) <= set(layout.names):
            known, value = above.known[name]
            functional = layout.functional(known, fields)
            of_all = (_of_all_members(functional, array) for array in (value, known.scale))
            constraint = Constraint(functional, *of_all, name)
            stated[known.counts_evidence].append(constraint)
    prior = join([above.priors[name] for name in layout.names], layout.bundle)
    imposed, observed = (stack(stated[e]) if stated[e] else None for e in (False, True))
    return Group(layout, prior, imposed, observed)


def _of_all_members(functional: SingleFunctional, array):
    """What is stated of one member, of all of them."""
    inside = isinstance(functional, Mapped) and array is not None and not isinstance(array, str)
    if inside and jnp.shape(array) == functional.part.value_shape:
        return jnp.broadcast_to(array, functional.value_shape)
    return array
