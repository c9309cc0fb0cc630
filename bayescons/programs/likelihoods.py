"""Normal likelihoods below the fields, as linear functionals of them with noise."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro import handlers

from bayescons.functionals.functions import FunctionFunctional, NotProvenAffineError, is_affine
from bayescons.gaussians.conditioning import Constraint, stack
from bayescons.programs.fields import NoClosedFormError, unwrapped
from bayescons.programs.groups import Group, groups
from bayescons.programs.handlers import CollectStatements, ReplayFields
from bayescons.programs.structure import ProgramStructure
from bayescons.tracing import known_now


def absorb(above: CollectStatements) -> list[Group]:
    """The groups, with the Gaussian likelihoods below them added to what was observed."""
    structure, fields = above.structure, groups(above)
    if not structure.likelihoods:
        return fields
    if len(fields) > 1:
        raise NoClosedFormError(
            f"likelihoods ({_names(structure.likelihoods)}) below several groups of fields have "
            "no closed form here",
            "; use NUTS on bc.exact(program)",
        )
    group = fields[0]
    absorbed = [_likelihood(name, group, above) for name in structure.likelihoods]
    observed = [] if group.observed is None else [group.observed]
    return [group._replace(observed=stack([*observed, *absorbed]))]


def _likelihood(name: str, group: Group, above: CollectStatements) -> Constraint:
    """An observed site y ~ Normal(A u + c, s) below the fields as a constraint with noise."""

    def site(joint):
        recorder = handlers.trace(
            ReplayFields(above.structure, above.sites, group.layout.fields(joint))
        )
        with handlers.block(), handlers.seed(rng_seed=0):
            return recorder.get_trace()[name]

    at_mean = site(group.prior.mean)
    base, value = _normal(name, at_mean["fn"]), at_mean["value"]
    if at_mean["scale"] is not None:
        raise NoClosedFormError(
            f"{name!r} stands under a scale or a subsampled plate",
            ": no closed form with all its data. Take it out, or use bc.exact(program)",
        )

    def location(joint):
        return jnp.broadcast_to(_normal(name, site(joint)["fn"]).loc, jnp.shape(value))

    functional = FunctionFunctional.of(location, group.prior.event_shape)
    if not is_affine(functional):
        if not known_now(functional):
            raise NotProvenAffineError(f"the location of {name!r} is not affine in the field")
        raise NoClosedFormError(
            f"the location of {name!r} is not affine in the field",
            ": no closed form. Use NUTS on bc.exact(program)",
        )
    return Constraint(functional, value, jnp.broadcast_to(base.scale, jnp.shape(value)), name)


def _normal(name: str, site: dist.Distribution) -> dist.Normal:
    base = unwrapped(site)
    if not isinstance(base, dist.Normal):
        raise NoClosedFormError(
            f"{name!r} is observed below the field with a {type(base).__name__} likelihood",
            ": no closed form. Use NUTS (or SVI) on bc.exact(program), which samples it exactly",
        )
    return base


def refuse(structure: ProgramStructure) -> None:
    """Raise where likelihoods below the fields have no closed form given what stands above: they
    rest on a latent below, or their scale does.
    """
    if structure.entangled:
        raise NoClosedFormError(
            f"the likelihoods ({_names(structure.entangled)}) rest on a latent below the field, or "
            "their scale depends on it",
            ": no closed form. Use NUTS on bc.exact(program)",
        )


def _names(names) -> str:
    return ", ".join(sorted(map(repr, names)))
