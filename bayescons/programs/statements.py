"""The two statements a program makes about a field: `observe` a functional, or `impose` it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from bayescons.arrays import concrete, numbers, positive, real
from bayescons.functionals.abstract import AbstractFunctional, JointFunctional, SingleFunctional
from bayescons.functionals.functions import (
    FunctionFunctional,
    NotProvenAffineError,
    TracedFunction,
    affine,
)
from bayescons.functionals.stack import Stack
from bayescons.programs.fields import innermost, unwrapped
from bayescons.programs.members import Member, members_of_values, over_members
from bayescons.refusals import Refusal, RefusedType, RefusedValue


class VanishingNoiseError(Refusal, RuntimeError):
    """A program that states exact facts was read by plain NumPyro, which has no density for
    them.

    Example:
        >>> def program():
        ...     u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
        ...     bc.observe("total", lambda u: u.sum(), u, 1.0)  # exactly
        >>> try:
        ...     numpyro.infer.util.log_density(program, (), {}, {"u": jnp.zeros(3)})
        ... except bc.VanishingNoiseError:
        ...     print("a fact has no density: read it with bc.exact(program)")
        a fact has no density: read it with bc.exact(program)
    """


class FunctionalObservation(dist.Distribution):
    """Distribution of a statement's site: functional(field) + noise, noise of standard deviation
    `scale` or vanishing.

    Args:
        name: of the statement.
        functional: a functional, or a function of the field or fields.
        fields: values of the fields' sites.
        shape: shape of the observed value.
        scale: None for vanishing noise.
        counts_evidence: True for `observe` (its evidence enters the joint density), False for
            `impose`.
        sizes: of the axes of plates around the statement.
        members: axes of the fields over which it is repeated, where they are known.
    """

    support = dist.constraints.real
    pytree_data_fields = ("fields", "scale")
    pytree_aux_fields = ("name", "functional", "counts_evidence", "sizes", "members")

    def __init__(self, name, functional, fields, shape, scale, counts_evidence, sizes=()):
        self.name, self.functional, self.fields, self.scale, self.counts_evidence = (
            name,
            functional,
            fields,
            scale,
            counts_evidence,
        )
        self.sizes: tuple[int, ...] = tuple(sizes)
        self.members: tuple[Member, ...] | None = None
        super().__init__(batch_shape=(), event_shape=shape)

    def expand(self, batch_shape) -> FunctionalObservation:
        """In a plate: the same statement of every member of it. Its density is summed over the
        plate, so no batch axes are gained.
        """
        return FunctionalObservation(
            self.name,
            self.functional,
            self.fields,
            self.event_shape,
            self.scale,
            self.counts_evidence,
            batch_shape,
        )

    def members_of_fields(self) -> tuple[Member, ...]:
        """The axes of its fields over which it is repeated."""
        if self.members is not None:
            return self.members
        return members_of_values(self.name, self.functional, self.fields, self.sizes)

    def computed(self, fields: tuple | None = None) -> jax.Array:
        """G u + c of the fields as they are, or of others, the axes of members in front."""
        axes = [member.axes for member in self.members_of_fields()]
        fields = self.fields if fields is None else fields
        return over_members(lambda *u: jnp.asarray(self.functional(*u)), axes)(*fields)

    def sample(self, key, sample_shape=()) -> jax.Array:
        """G u + c, with noise where the scale is finite."""
        computed = self.computed()
        shape = (*sample_shape, *computed.shape)
        noise = 0.0 if self.scale is None else self.scale * jax.random.normal(key, shape)
        return jnp.broadcast_to(computed, shape) + noise

    def log_prob(self, value) -> jax.Array:
        """log N(value; G u + c, scale²), summed over rows; an error where the noise vanishes."""
        vanishing = self.scale is None or (
            not isinstance(self.scale, str)
            and concrete(self.scale)
            and not np.all(np.asarray(self.scale))
        )
        if vanishing or isinstance(self.scale, str) or not self.counts_evidence:
            what = (
                "is imposed"
                if not self.counts_evidence
                else "states an exact fact"
                if vanishing
                else "has scale='quadrature'"
            )
            raise VanishingNoiseError(
                f"{self.name!r} {what}, which has no density under plain NumPyro. Wrap the "
                "program: bc.exact(program) inside NUTS, SVI or BlackJAX; "
                "bc.conjugate(program)(...) for the closed form; bc.soft(program, scale=1e-2) for "
                "a finite noise. (A tiny hand-picked scale is a trap: NUTS freezes below 1e-4 "
                "without a divergence warning.)"
            )
        computed = self.computed()
        scale = jnp.broadcast_to(self.scale, computed.shape)
        return jnp.sum(
            dist.Normal(computed, scale).log_prob(jnp.broadcast_to(value, computed.shape))
        )


def observe(name: str, functional, field, value, scale=None):
    """State that a functional of a field was observed: functional(field) = value, with vanishing
    noise or noise of `scale`.

    The value is information: its evidence log N(value; G m, S) enters the joint density, so
    hyper-parameters and latents above the field learn from it. One NumPyro sample site, observed;
    read it with `exact`, `soft` or `conjugate`.

    Args:
        name: of the site, unique in the program; errors call it that.
        functional: from `bayescons.functionals`, or any JAX function affine in the field.
        field: what `numpyro.sample` returned for the field, unchanged; or a tuple of such values,
            for a function of several fields.
        value: number or array of the functional's value shape (with the axes of a plate of fields
            in front).
        scale: None for vanishing noise; a number or array for Gaussian noise of that standard
            deviation; "quadrature" for the a-priori error of an integral's quadrature rule.

    Returns:
        value.

    Example:
        >>> def program(total):
        ...     u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
        ...     bc.observe("total", lambda u: u.sum(), u, total)
        >>> print(bc.conjugate(program)(6.0).mean["u"])
        [2. 2. 2.]
    """
    return _state(name, functional, field, value, scale, counts_evidence=True)


def impose(name: str, functional, field, value, scale=None):
    """State that the prior itself obeys functional(field) = value: the field is corrected as by
    `observe`, nothing else counts_evidence from it.

    The law defines the prior p(u | θ, G u = b) for every value of the latents θ above the field, so
    θ keeps its own prior. `observe` instead weights θ by the evidence p(b | θ). Averaging a neural
    process's corrected draws with equal weights is `impose`.

    Args and returns: as `observe`.

    Example:
        >>> def program(total):
        ...     s = numpyro.sample("s", dist.HalfNormal(1.0))
        ...     u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), jnp.full(3, s)))
        ...     bc.impose("total", lambda u: u.sum(), u, total)  # says nothing about s
        >>> float(bc.conjugate(program, key=jax.random.key(0))(6.0).log_evidence)
        0.0
    """
    return _state(name, functional, field, value, scale, counts_evidence=False)


def refuse_no_functional(name: str, functional) -> None:
    """Refuse what states nothing of a field."""
    if not callable(functional):
        raise RefusedType(
            f"the functional of {name!r} must be a functional or a function of the field; got "
            f"{type(functional).__name__}"
        )


def _state(name, functional, field, value, scale, *, counts_evidence):
    fields = field if isinstance(field, tuple) else (field,)
    if isinstance(functional, Stack):
        raise RefusedValue(
            f"{name!r} holds several functionals; state them one by one, each under its own name"
        )
    refuse_no_functional(name, functional)
    if isinstance(scale, str) and scale != "quadrature":
        raise RefusedValue(
            f"scale of {name!r} must be None, a number, an array or 'quadrature'; got {scale!r}"
        )
    if isinstance(functional, JointFunctional) and len(functional.parts) != len(fields):
        raise RefusedValue(
            f"{name!r} states a law of {len(functional.parts)} fields; give it their tuple, in "
            f"order, and not {len(fields)}"
        )
    axes = functional.value_axes if isinstance(functional, SingleFunctional) else ()
    if scale is not None and not isinstance(scale, str):
        scale = numbers(f"scale of {name!r}", scale, *axes)
        shape = np.shape(scale) if isinstance(scale, list | tuple) else jnp.shape(scale)
        spread = positive(f"scale of {name!r}", scale, shape, zero=True)
        scale = spread if isinstance(scale, list | tuple) else scale
        scale = None if concrete(spread) and not np.any(spread) else scale
    value = real(f"value of {name!r}", numbers(f"value of {name!r}", value, *axes))
    site = FunctionalObservation(name, functional, fields, value.shape, scale, counts_evidence)
    return numpyro.sample(name, site, obs=value, infer={"kind": "constraint"})


def statement(site: dist.Distribution) -> FunctionalObservation | None:
    """The statement behind a site's distribution, through the wrappers that plates put around it;
    None for an ordinary site.
    """
    site = unwrapped(site)
    return site if isinstance(site, FunctionalObservation) else None


def refuse_weighted(msg) -> None:
    """Refuse a statement whose density a handler has changed: it is carried out, and would not know
    of it.

    Raises:
        ValueError: says what to write instead.
    """
    name = msg["name"]
    if isinstance(innermost(msg["fn"]), FunctionalObservation) and statement(msg["fn"]) is None:
        raise RefusedValue(
            f"{name!r} stands under a mask. Leave the statement out where it shall not hold: if "
            "known: bc.observe(...); of a noisy one give the entries that are missing a large scale"
        )
    known = statement(msg["fn"])
    if known is not None and msg["scale"] is not None:
        noisy = known.scale is not None
        raise RefusedValue(
            f"{name!r} stands under a scale or a subsampled plate, which "
            + (
                "would raise its density to a power. Take it out, and divide its scale by the root "
                "of that power: scale / jnp.sqrt(4.0) for handlers.scale(scale=4.0)"
                if noisy
                else "an exact fact cannot be; move it out"
            )
        )


NAMED = ("sample", "deterministic")  # messages whose names must differ


def refuse_twice(name: str, names: set[str]) -> None:
    """Take down the name of a site, or refuse it where there is one already: sites are known by
    their names alone, and the second would take the place of the first.
    """
    if name in names:
        raise RefusedValue(
            f"the program has two sites named {name!r}, and the second would take the place of the "
            f"first. Give each a name of its own: f'{name}_{{i}}' in a loop"
        )
    names.add(name)


def functional_of(name: str, functional, shape: tuple[int, ...]) -> AbstractFunctional:
    """A statement's functional of a field of this shape; a function becomes a functional, checked
    to be affine.
    """
    if not isinstance(functional, AbstractFunctional):
        try:
            if not isinstance(functional, TracedFunction):
                functional = TracedFunction.of(functional, [shape])
            found = FunctionFunctional(functional.equations, shape, functional.parameters)
            return affine(found, name)
        except (RefusedValue, NotProvenAffineError) as error:
            raise type(error)(f"{name!r}: {error}") from None
    if tuple(functional.shape) != shape:
        raise RefusedValue(
            f"the functional of {name!r} acts on fields of shape {tuple(functional.shape)}; its "
            f"field has shape {shape}. Build the functional on the field's grid, and declare the "
            "field's axes with .to_event(k)"
        )
    return functional
