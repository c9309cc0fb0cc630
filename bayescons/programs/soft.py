"""The soft reading: a program whose exact statements are given a finite noise, as a program."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from bayescons.arrays import concrete, finite
from bayescons.descriptions import words
from bayescons.functionals.abstract import AbstractFunctional
from bayescons.functionals.functions import NotProvenAffineError
from bayescons.gaussians.conditioning import Constraint, update
from bayescons.gaussians.plates import one_field
from bayescons.gaussians.scales import functional_scale, quadrature_scale
from bayescons.programs.fields import NoClosedFormError, as_gaussian
from bayescons.programs.layouts import Layout
from bayescons.programs.members import FieldAxes, members, plate_axes
from bayescons.programs.reinterpretation import Reinterpretation
from bayescons.programs.statements import (
    NAMED,
    FunctionalObservation,
    refuse_twice,
    refuse_weighted,
    statement,
)
from bayescons.refusals import RefusedType, RefusedValue

# Share of a functional's prior standard deviation below which a soft statement is called stiff. On
# 100 unknowns with one total, a tenth of it costs NUTS 35 leapfrog steps a draw in place of 8, a
# thousandth the depth limit of 1,023 (docs/results/speed.md).
STIFF = 1e-2


class StiffnessWarning(UserWarning):
    """A soft statement whose scale is so small that samplers freeze on it.

    Example:
        >>> import warnings
        >>> warnings.simplefilter("error", bc.StiffnessWarning)  # stop before it freezes
    """


def soft(program: Callable, scale: float = 1e-2) -> Callable:
    """The program with its exact statements given a finite noise: functional(u) ~ Normal(value,
    scale), plain NumPyro.

    For comparison with `exact`, and for studies of noise → 0. Statements with a scale of their own
    keep it. An imposed statement comes with the factor that takes its evidence out again, -log N(b;
    G m, S + scale²).

    Args:
        program: an ordinary NumPyro program with `observe` or `impose` statements. Fields and
            functionals need not be Gaussian and affine for `observe`.
        scale: standard deviation of the noise, in the unit of each statement's value.

    Warns:
        StiffnessWarning: by name, for a statement whose scale is under 1e-2 of the prior standard
            deviation of its functional.

    Example:
        >>> def program(total):
        ...     u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
        ...     bc.observe("total", lambda u: u.sum(), u, total)
        >>> seeded = numpyro.handlers.seed(bc.soft(program, scale=0.1), 0)
        >>> trace = numpyro.handlers.trace(seeded).get_trace(6.0)
        >>> list(trace), trace["total"]["is_observed"]
        (['u', 'total'], True)
    """
    if not scale > 0:
        raise RefusedValue(
            f"a soft reading needs a scale above zero; got {scale!r}. For vanishing noise use "
            "bc.exact(program)"
        )
    warned: set[str] = set()

    def softened(*args, **kwargs):
        return _Soften(program, scale, warned)(*args, **kwargs)

    return Reinterpretation(
        program,
        softened,
        reading=f"read softly: exact statements have noise of standard deviation {words(scale)}",
        gives="the program's own sites, each statement a Normal likelihood",
    )


class _Site(NamedTuple):
    """A random site that has been drawn."""

    value: Any
    fn: dist.Distribution
    axes: FieldAxes


class _Soften(numpyro.primitives.Messenger):
    """Give every statement a finite noise; remember sites by the identity of their values, to know
    a statement's prior.
    """

    def __init__(self, program, scale: float, warned: set):
        self.scale, self.warned = scale, warned
        super().__init__(program)

    def __enter__(self):
        self.sites, self.beliefs, self.names = {}, {}, set()
        return super().__enter__()

    def process_message(self, msg):
        if msg["type"] in NAMED:
            refuse_twice(msg["name"], self.names)
        if msg["type"] == "sample":
            refuse_weighted(msg)
        known = statement(msg["fn"]) if msg["type"] == "sample" else None
        if known is None:
            return
        known.name = msg["name"]  # with the scopes around it
        finite(f"value of {known.name!r}", msg["value"])
        sites = self._sites(known)
        if all(site is not None for site in sites):
            axes = [site.axes for site in sites]
            known.members = members(known.name, known.functional, axes, msg["cond_indep_stack"])
        repeats = math.prod(frame.size for frame in msg["cond_indep_stack"])
        scale = self._examine(known, sites, self._finite(known.scale), msg["value"], repeats)
        computed = known.computed()
        own = (jnp.shape(msg["value"]), jnp.shape(scale))
        one = computed.shape[len(known.members_of_fields()) :]
        if not set(own) <= {(), computed.shape, one}:
            raise RefusedValue(
                f"value and scale of {known.name!r} must be numbers or have shape "
                f"{computed.shape}; got shapes {own[0]} and {own[1]}"
            )
        msg["fn"] = dist.Normal(computed, jnp.broadcast_to(scale, computed.shape)).to_event(
            computed.ndim
        )
        msg["value"] = jnp.broadcast_to(msg["value"], computed.shape)

    def postprocess_message(self, msg):
        if msg["type"] == "sample" and not msg["is_observed"]:
            fn, value = msg["fn"], msg["value"]
            plates = plate_axes(fn, msg["cond_indep_stack"])
            axes = FieldAxes(msg["name"], jnp.shape(value), fn.event_dim, plates)
            self.sites[msg["name"]] = _Site(value, fn, axes)

    def _sites(self, known: FunctionalObservation) -> list[_Site | None]:
        """The sites of the statement's fields, where they are sites of the program."""
        return [
            next((site for site in self.sites.values() if site.value is field), None)
            for field in known.fields
        ]

    def _finite(self, scale):
        """A statement's own scale, and that of this reading where it has none or is zero."""
        if scale is None or isinstance(scale, str):
            return self.scale if scale is None else scale
        numpy = np if concrete(scale) else jnp
        scale = numpy.asarray(scale)
        return numpy.where(scale == 0, numpy.asarray(self.scale, scale.dtype), scale)

    def _examine(self, known: FunctionalObservation, sites: list, scale, value, repeats: int):
        """Resolve a quadrature scale, take the evidence of an imposed statement out again, and warn
        of stiffness.
        """
        with jax.ensure_compile_time_eval():
            field, prior, functional = self._prior(known, sites)
            if prior is None:
                if isinstance(scale, str) or not known.counts_evidence:
                    what = "scale='quadrature'" if isinstance(scale, str) else "impose"
                    raise RefusedType(
                        f"{known.name!r}: {what} under bc.soft needs one Gaussian field and an "
                        "affine functional"
                    )
                return scale
            scale = quadrature_scale(prior, functional) if isinstance(scale, str) else scale
            if not known.counts_evidence:
                result = update(
                    self.beliefs.get(field, prior), Constraint(functional, value, scale, known.name)
                )
                self.beliefs[field] = result.posterior
                # Plates around the statement repeat whatever is said inside of them.
                numpyro.factor(f"{known.name}_imposed", -result.log_evidence / repeats)
            self._warn_if_stiff(known.name, scale, functional_scale(prior, functional))
        return scale

    def _prior(self, known: FunctionalObservation, sites: list) -> tuple:
        """Name and prior of the statement's field and its functional, if it is one Gaussian field
        under an affine functional.
        """
        if len(sites) != 1 or sites[0] is None:
            return None, None, None
        (site,) = sites
        layout = Layout((site.axes,))
        try:
            functional = layout.functional(known, layout.names)
        except NotProvenAffineError:
            return site.axes.name, None, None
        except RefusedValue:
            if isinstance(known.functional, AbstractFunctional):
                raise
            return site.axes.name, None, None
        try:
            return site.axes.name, one_field(as_gaussian(known.name, site.fn)), functional
        except NoClosedFormError:
            return site.axes.name, None, None

    def _warn_if_stiff(self, name: str, scale, spread) -> None:
        if name in self.warned or not (concrete(scale) and concrete(spread)):
            return
        ratio = float(jnp.min(jnp.asarray(scale) / jnp.maximum(jnp.max(spread), 1e-300)))
        if ratio < STIFF:
            self.warned.add(name)
            warnings.warn(
                f"{name!r} is read softly with scale {float(jnp.min(jnp.asarray(scale))):.1e}, "
                f"{ratio:.1e} of the prior standard deviation of its functional. Below 1e-2 "
                "samplers take hundreds of steps a draw, and then freeze without a divergence "
                "warning. Use bc.exact(program), which has no noise and no stiffness, or a larger "
                "scale",
                StiffnessWarning,
                stacklevel=2,
            )
