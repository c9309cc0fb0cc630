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
from bayescons.functionals.abstract import AbstractFunctional, JointFunctional
from bayescons.functionals.functions import NotProvenAffineError, affine, on_members
from bayescons.functionals.joint import OnJointVector, split_fields
from bayescons.gaussians.conditioning import Constraint, stack, update
from bayescons.gaussians.consistency import InconsistentConstraintsError
from bayescons.gaussians.gaussian import Gaussian
from bayescons.programs.fields import join
from bayescons.programs.handlers import CollectStatements
from bayescons.programs.statements import FunctionalObservation, functional_of
from bayescons.programs.structure import ProgramStructure
from bayescons.refusals import RefusedValue

# Prior standard deviations by which exact rows may miss each other: S is factored to rounding, and
# its square root of eps is 1.5e-8.
CONTRADICTION = 1e-6


class Group(NamedTuple):
    """Fields that statements tie together, as one Gaussian, and what is stated of them.

    Attributes:
        names: of the fields; several are laid end to end in one vector.
        shapes: of the fields.
        prior: their joint prior.
        imposed: what defines the prior, or None.
        observed: what is learnt from, or None.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    prior: Gaussian
    imposed: Constraint | None
    observed: Constraint | None

    def fields(self, joint) -> dict:
        """The values of the fields in a value of the joint vector, any number of axes in front."""
        return fields_of(self.names, self.shapes, joint)


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


def fields_of(names: tuple[str, ...], shapes: tuple, joint) -> dict:
    """The values of fields in a value of their joint vector, any number of axes in front."""
    parts = [joint] if len(names) == 1 else split_fields(joint, shapes)
    return dict(zip(names, parts, strict=True))


def groups(above: CollectStatements) -> list[Group]:
    """The fields of a program, grouped by the statements that tie them together."""
    return [_group(above, *group) for group in above.structure.groups]


def condition_group(group: Group) -> Conditioned:
    """The group's belief given all that is stated of it."""
    belief, log_evidence, violations, statuses = group.prior, None, [], []
    for constraint in (group.imposed, group.observed):
        if constraint is not None:
            result = update(belief, constraint)
            belief = result.posterior
            log_evidence = result.log_evidence if constraint is group.observed else None
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
    broken = not all(np.isfinite(np.asarray(group.posterior.mean)).all() for group in conditioned)
    statuses = [np.asarray(group.status) for group in conditioned]
    if broken or any(s.any() for s in statuses) or bool(np.asarray(doubtful).any()):
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


def _group(above: CollectStatements, names: tuple[str, ...], shapes: tuple) -> Group:
    own = above.priors
    priors = [own[n] for n in names]
    if len({p.batch_shape for p in priors}) > 1:
        raise RefusedValue(
            f"fields {', '.join(names)} are tied together but stand in different plates: "
            f"{[p.batch_shape for p in priors]}"
        )
    stated = {True: [], False: []}
    for name, fields in above.structure.statements.items():
        if set(fields) <= set(names):
            known, value = above.known[name]
            functional = _on_group(known, tuple(names.index(f) for f in fields), shapes)
            constraint = Constraint(functional, value, known.scale, name)
            stated[known.counts_evidence].append(constraint)
    imposed, observed = (stack(stated[e]) if stated[e] else None for e in (False, True))
    return Group(names, shapes, priors[0] if len(priors) == 1 else join(priors), imposed, observed)


def _on_group(known: FunctionalObservation, members: tuple[int, ...], shapes: tuple):
    """The statement's functional, of the one field or of several fields end to end."""
    functional, joint = known.functional, len(shapes) > 1
    if joint and not isinstance(functional, JointFunctional | AbstractFunctional):
        try:
            return affine(on_members(functional, members, shapes), known.name)
        except (RefusedValue, NotProvenAffineError) as error:
            raise type(error)(f"{known.name!r}: {error}") from None
    if not joint:
        return functional_of(known.name, functional, shapes[0])
    parts = functional.parts if isinstance(functional, JointFunctional) else (functional,)
    whole = [
        functional_of(known.name, part, shapes[i]) for part, i in zip(parts, members, strict=True)
    ]
    return OnJointVector(tuple(whole), members, shapes)
