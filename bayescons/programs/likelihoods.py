"""Normal likelihoods below the fields, as linear functionals of them with noise."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro import handlers

from bayescons.functionals.functions import FunctionFunctional, NotProvenAffineError, is_affine
from bayescons.gaussians.abstract import LOG_2PI
from bayescons.gaussians.conditioning import Constraint, stack
from bayescons.programs.fields import NoClosedFormError
from bayescons.programs.groups import Group, group_of
from bayescons.programs.handlers import CollectStatements, ReplayFields
from bayescons.programs.structure import ProgramStructure
from bayescons.tracing import known_now


def absorb(above: CollectStatements) -> list[Group]:
    """The blocks of fields, with the Gaussian likelihoods below them added to what was observed."""
    structure = above.structure
    blocks = [group_of(above, layout) for layout in structure.blocks]
    if not structure.likelihoods:
        return blocks
    means = {name: value for block in blocks for name, value in _means(block).items()}
    return [_with_likelihoods(block, means, above) for block in blocks]


def _means(group: Group) -> dict:
    return group.layout.fields(group.prior.mean)


def _with_likelihoods(group: Group, means: dict, above: CollectStatements) -> Group:
    """A block with the likelihoods that rest on its fields."""
    structure = above.structure
    own = [n for n in structure.likelihoods if structure.read[n] & set(group.layout.names)]
    absorbed = [_likelihood(name, group, means, above) for name in own]
    observed = [] if group.observed is None else [group.observed]
    everything = [*observed, *(constraint for constraint, _ in absorbed)]
    constant = sum((further for _, further in absorbed), group.constant)
    return group._replace(observed=stack(everything) if everything else None, constant=constant)


def _likelihood(
    name: str, group: Group, means: dict, above: CollectStatements
) -> tuple[Constraint, jax.Array]:
    """An observed site below the fields, y ~ N(A u + c, R), as a constraint with noise; and what
    the density of y is more than that of the constraint's value.
    """

    def site(joint):
        fields = {**means, **group.layout.fields(joint)}
        recorder = handlers.trace(ReplayFields(above.structure, above.sites, fields))
        with handlers.block(), handlers.seed(rng_seed=0):
            return recorder.get_trace()[name]

    at_mean = site(group.prior.mean)
    value = jnp.asarray(at_mean["value"])
    if at_mean["scale"] is not None:
        raise NoClosedFormError(
            f"{name!r} stands under a scale or a subsampled plate",
            ": no closed form with all its data. Take it out, or use bc.exact(program)",
        )
    noise = _noise(name, at_mean["fn"], jnp.shape(value))

    def location(joint):
        return noise.whiten(jnp.broadcast_to(_base(name, site(joint)["fn"])[0].loc, value.shape))

    functional = FunctionFunctional.of(location, group.prior.event_shape)
    if not is_affine(functional):
        if not known_now(functional):
            raise NotProvenAffineError(f"the location of {name!r} is not affine in the field")
        raise NoClosedFormError(
            f"the location of {name!r} is not affine in the field",
            ": no closed form. Use NUTS on bc.exact(program)",
        )
    return Constraint(functional, noise.whiten(value), noise.scale, name), noise.constant


class _Noise(NamedTuple):
    """The noise of a likelihood, R, as independent numbers.

    Attributes:
        scale: standard deviations of what `whiten` gives.
        root: Cholesky factor of R, or None where R is diagonal.
        mask: which numbers were observed, or None for all.
        constant: log density of the value less that of the whitened value.
    """

    scale: jax.Array
    root: jax.Array | None
    mask: jax.Array | None
    constant: jax.Array

    def whiten(self, array) -> jax.Array:
        """R^-1/2 y, and zero where nothing was observed."""
        if self.root is not None:
            array = jax.lax.linalg.triangular_solve(
                jnp.broadcast_to(self.root, (*array.shape, array.shape[-1])),
                array[..., None],
                left_side=True,
                lower=True,
            )[..., 0]
        return array if self.mask is None else jnp.where(self.mask, array, 0.0)


def _noise(name: str, site: dist.Distribution, shape: tuple[int, ...]) -> _Noise:
    base, mask = _base(name, site)
    zero = jnp.zeros(())
    if isinstance(base, dist.Normal):
        scale, root, constant = jnp.broadcast_to(base.scale, shape), None, zero
    else:
        root, scale = base.scale_tril, jnp.ones(shape)
        logs = jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1))
        constant = -jnp.broadcast_to(logs, shape)
        constant = jnp.sum(constant if mask is None else jnp.where(mask, constant, 0.0))
    if mask is not None:
        # what was not observed is a zero with noise of one about zero: log N(0; 0, 1)
        scale = jnp.where(mask, scale, 1.0)
        constant = constant + jnp.sum(jnp.where(mask, 0.0, LOG_2PI / 2))
    return _Noise(scale, root, mask, constant)


def _base(name: str, site: dist.Distribution) -> tuple[dist.Distribution, jax.Array | None]:
    """The Normal or MultivariateNormal behind a site, and its mask, of the shape of its value."""
    shape, mask = site.shape(), None
    while isinstance(site, dist.ExpandedDistribution | dist.Independent | dist.MaskedDistribution):
        if isinstance(site, dist.MaskedDistribution):
            own = jnp.reshape(
                jnp.broadcast_to(site._mask, site.batch_shape),
                (*site.batch_shape, *(1 for _ in site.event_shape)),
            )
            own = jnp.broadcast_to(own, shape)
            mask = own if mask is None else mask & own
        site = site.base_dist
    if type(site) not in (dist.Normal, dist.MultivariateNormal):
        raise NoClosedFormError(
            f"{name!r} is observed below the field with a {type(site).__name__} likelihood",
            ": no closed form. Use NUTS (or SVI) on bc.exact(program), which samples it exactly",
        )
    return site, mask


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
