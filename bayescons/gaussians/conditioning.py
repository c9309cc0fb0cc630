"""The whole conjugate update: a Gaussian field, what is known of it, and the Gaussian field given
that.

With u ~ N(m, K), G u = b + e, e ~ N(0, R), R >= 0 and usually 0, and S = G K G' + R:

    evidence    log N(b; G m, S)
    mean        m + K G' S⁺ (b - G m)
    covariance  K - K G' S⁺ G K

The posterior is a Gaussian field like the prior, so conditioning nests: `belief | mass | wall` is
`belief | mass & wall`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayescons import tracing
from bayescons.arrays import concrete, finite, numbers, positive
from bayescons.descriptions import Description, counted, described, span, words
from bayescons.functionals.abstract import AbstractFunctional
from bayescons.functionals.stack import Stack
from bayescons.gaussians import row_covariance as gram
from bayescons.gaussians.composites import Conditioned
from bayescons.gaussians.consistency import (
    NEARLY_DEPENDENT,
    raise_for,
    refuse_too_many,
    status,
)
from bayescons.gaussians.dependence import warn_of
from bayescons.gaussians.gaussian import Gaussian
from bayescons.gaussians.scales import quadrature_scale
from bayescons.refusals import RefusedType, RefusedValue


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Constraint:
    """What is known: functional(u) = value, up to Gaussian noise of standard deviation `scale`.

    Attributes:
        functional: linear functional of a field (see `bayescons.functionals`), or a `Stack` of
            them.
        value: its value: a number, an array of `functional.value_shape`, or one with the batch axes
            of the belief in front.
        scale: None for a fact (vanishing noise); a number or an array broadcast like `value`; or
            "quadrature", the a-priori error of the functional's quadrature rule under the belief
            (`quadrature_scale`).
        name: what error messages call it.

    `a & b` states both.

    Example:
        >>> grid = bc.Grid(x=[0.0, 0.5, 1.0])
        >>> mass = bc.Constraint(bc.integral(grid, over="x"), 1.0, name="mass")
        >>> wall = bc.Constraint(bc.dirichlet(grid, "x", "lower"), 0.0, name="wall")
        >>> posterior = bc.diagonal(jnp.zeros(3), 1.0) | mass & wall
        >>> print(posterior.mean.round(6))
        [0.  1.6 0.8]
    """

    functional: Any
    value: Any
    scale: Any = None
    name: str | tuple = dataclasses.field(default="constraint", metadata={"static": True})

    def __and__(self, other: Constraint) -> Constraint:
        """Both constraints together."""
        return stack([self, other])

    def __ror__(self, belief: Gaussian) -> Gaussian:
        """`belief | constraint`: the belief given the constraint."""
        return condition(belief, self)

    @property
    def members(self) -> list[Constraint]:
        """The single constraints it is made of."""
        if callable(self.functional) and not isinstance(self.functional, AbstractFunctional):
            raise RefusedType(
                f"{self.name!r} states a plain function; a constraint takes a functional, which "
                "knows its field: bc.Constraint(bc.functional(f, on=grid), value), or on=u.shape"
            )
        if not isinstance(self.functional, Stack):
            return [self]
        parts = zip(self.functional.members, self.value, self.scale, self.name, strict=True)
        return [Constraint(f, v, s, n) for f, v, s, n in parts]

    def description(self) -> Description:
        """What is stated, its value and its noise; of several a row for each."""
        if isinstance(self.functional, Stack):
            told = ((c.name, f"{words(c.functional)} = {c.told}") for c in self.members)
            return Description(counted(len(self.members), "constraint"), tuple(told))
        rows = [("states", words(self.functional)), ("value", words(self.value))]
        if isinstance(self.functional, AbstractFunctional):
            number = math.prod(self.functional.value_shape)
            shape = tuple(self.functional.shape)
            rows += [("rows", f"{number}, of a field of shape {shape}")]
        return Description(f"Constraint {self.name!r}", (*rows, ("noise", self.noise_told)))

    @property
    def told(self) -> str:
        """Value and noise in a few words."""
        return f"{words(self.value)}, {self.noise_told}"

    @property
    def noise_told(self) -> str:
        """None, or its standard deviation."""
        if self.scale is None:
            return "exact"
        if isinstance(self.scale, str):
            return f"the error of the {self.scale} rule"
        return f"standard deviation {words(self.scale)}"


@described
class Update(NamedTuple):
    """A posterior and what a person would look at.

    Attributes:
        posterior: the belief given the constraint.
        log_evidence: log N(b; G m, S) over the rows not redundant (nats), shape (*batch,). Where
            rows are redundant it depends on the order in which they were stated, by a constant that
            is the same for every belief.
        rank: number of independent rows, shape (*batch,).
        redundant: True for rows that those stated before them, or the belief, imply; by rows, shape
            (*batch, *axes, r).
        violation: of exact rows, value minus G mean afterwards, in units of the rows' unconditioned
            prior standard deviation, less what the rounding of values given in single precision
            explains; not small only for rows that contradict others. By rows, shape (*batch, *axes,
            r).
        status: 0 where all is well, shape (*batch,); otherwise rows contradict each other, leave
            nothing free, or are not finite, which is raised where it is known; or nearly follow
            from each other, which is warned of.
    """

    posterior: Gaussian
    log_evidence: jax.Array
    rank: jax.Array
    redundant: jax.Array
    violation: jax.Array
    status: jax.Array

    def description(self) -> Description:
        """The posterior, its evidence, and how its rows stand to each other."""
        told = (
            ("posterior", words(self.posterior)),
            ("log evidence (nats)", words(self.log_evidence)),
            ("independent rows", words(self.rank)),
            ("redundant rows", words(self.redundant)),
            ("violation (prior deviations)", span(self.violation)),
            ("status", words(self.status)),
        )
        return Description("Update of a belief", told)


def stack(constraints: list[Constraint]) -> Constraint:
    """All constraints as one (`a & b & ...`)."""
    constraints = [member for c in constraints for member in c.members]
    if len(constraints) == 1:
        return constraints[0]
    shapes = {c.functional.shape for c in constraints}
    if len(shapes) > 1:
        named = ", ".join(f"{c.name}: {c.functional.shape}" for c in constraints)
        raise RefusedValue(
            f"constraints on fields of different shapes cannot be combined ({named}); build them "
            "on one grid"
        )
    fields = ("functional", "value", "scale", "name")
    functionals, values, scales, names = (tuple(getattr(c, f) for c in constraints) for f in fields)
    return Constraint(Stack(functionals), values, scales, names)


def condition(prior: Gaussian, constraint: Constraint) -> Gaussian:
    """The belief given a constraint: mean m + K G' S⁺ (b - G m), covariance K - K G' S⁺ G K.

    Exact rows hold in the mean and in every draw to rounding: 1e-12 relative in float64, 1e-6 in
    float32. Rows implied by others change nothing. Differentiable in everything, and usable under
    `jit` and `vmap`.

    Raises:
        ValueError: for values or scales of the wrong shape, NaN, or more exact rows than points.
        InconsistentConstraintsError: for exact rows that contradict each other or the belief. Under
            `jit`, where nothing can be raised, see `update(...).violation`.

    Example:
        >>> grid = bc.Grid(x=[0.0, 0.5, 1.0])
        >>> mass = bc.integral(grid, over="x")
        >>> posterior = bc.condition(bc.diagonal(jnp.zeros(3), 1.0), bc.Constraint(mass, 1.0))
        >>> draws = posterior.sample(jax.random.key(0), (1000,))
        >>> float(abs(jax.vmap(mass)(draws) - 1.0).max()) < 1e-12
        True
    """
    return update(prior, constraint).posterior


def update(prior: Gaussian, constraint: Constraint) -> Update:
    """`condition`, with the evidence and a report on the rows. Raises what `condition` raises.

    Example:
        >>> grid = bc.Grid(x=[0.0, 0.5, 1.0])
        >>> mass = bc.Constraint(bc.integral(grid, over="x"), 1.0, name="mass")
        >>> again = bc.Constraint(bc.integral(grid, over="x"), 1.0, name="mass again")
        >>> result = bc.update(bc.diagonal(jnp.zeros(3), 1.0), mass & again)
        >>> int(result.rank), result.redundant.tolist(), round(float(result.log_evidence), 3)
        (1, [False, True], -1.762)
    """
    rounding = _rounding(constraint)
    constraint = _resolve(prior, constraint)
    values, scales = (
        tuple(getattr(m, field) for m in constraint.members) for field in ("value", "scale")
    )
    result = _update(
        prior.loc,
        prior.covariance,
        constraint.functional,
        values,
        scales,
        tracing.Static((any(map(_is_exact, scales)), rounding)),
    )
    result = result._replace(posterior=Gaussian(*result.posterior))
    if concrete(result.status):
        near = warn_of(constraint, result)
        raise_for(prior, constraint, result)
        if near:
            result = result._replace(status=jnp.full_like(result.status, NEARLY_DEPENDENT))
    return result


def log_evidence(prior: Gaussian, constraint: Constraint) -> jax.Array:
    """Log N(b; G m, S): how well the belief foresaw the values (nats), shape (*batch,).

    Example:
        >>> grid = bc.Grid(x=[0.0, 0.5, 1.0])
        >>> mass = bc.Constraint(bc.integral(grid, over="x"), 1.0)
        >>> [
        ...     round(float(bc.log_evidence(bc.diagonal(jnp.zeros(3), s), mass)), 2)
        ...     for s in (0.5, 2.0)
        ... ]
        [-5.07, -1.46]
    """
    return update(prior, constraint).log_evidence


@tracing.compiled
def _update(loc, covariance, functional, values, scales, how: tracing.Static) -> Update:
    """`update` over a batch of fields: leading axes of the mean are mapped over, values and scales
    with them.
    """
    lead = loc.ndim - len(covariance.shape)
    mapped = (0, 0 if covariance.batch_dims else None, 0, 0)
    single = functools.partial(_update_one, functional, *how.value)
    for _ in range(lead):
        single = jax.vmap(single, in_axes=mapped)
    return single(loc, covariance, values, scales)


def _update_one(
    functional, exact: bool, rounding: float, loc, covariance, values, scales
) -> Update:
    """`update` for one field. Rows are computed in double precision where the session has it,
    whatever the field is stored in.
    """
    axes = gram.shared_axes(covariance, functional)
    dtype = jnp.result_type(float)
    pieces = [
        m.pack(jnp.asarray(v, dtype), axes) for m, v in zip(functional.members, values, strict=True)
    ]
    target = jnp.concatenate(pieces, axis=-1)
    noise = _noise(functional.members, scales, axes, target)

    clusters = gram.clusters_within(covariance, functional, axes)
    blocks = gram.form(functional, covariance, axes, clusters).astype(dtype)
    own = jnp.diagonal(blocks, axis1=-2, axis2=-1)
    yardstick = covariance.unconditioned
    prior = (
        own
        if yardstick is covariance
        else jnp.diagonal(gram.form(functional, yardstick, axes, clusters), axis1=-2, axis2=-1)
    )
    if noise is not None:
        rows = jnp.arange(blocks.shape[-1])
        variance = gram.split(noise, clusters)
        blocks = blocks.at[..., rows, rows].add(variance)
        prior = prior + variance
    factored = gram.factor(blocks, prior, clusters)

    posterior = Conditioned(covariance, functional, factored, noise, axes, exact)
    residual = target - functional.rows(loc, axes).astype(dtype)
    mean = (loc + posterior.gain(residual)).astype(loc.dtype)
    violation = (target - functional.rows(mean, axes)) / factored.row_std
    violation = violation if noise is None else jnp.where(noise > 0, 0.0, violation)
    if rounding:
        explained = 16 * rounding * jnp.max(jnp.abs(target) / factored.row_std)
        violation = jnp.sign(violation) * jnp.maximum(jnp.abs(violation) - explained, 0.0)
    departure = jnp.concatenate(
        [m.pack(m.departure(mean), axes) for m in functional.members], axis=-1
    ).astype(dtype)
    return Update(
        (mean, posterior),
        factored.log_density(residual),
        factored.rank,
        factored.redundant,
        violation,
        status(
            violation,
            departure / factored.row_std,
            jnp.abs(target) / factored.row_std,
            factored.rank,
            dtype=loc.dtype,
            unknowns=math.prod(covariance.shape),
            exact=all(s is None for s in scales),
        ),
    )


def _rounding(constraint: Constraint) -> float:
    """Relative rounding of values that were given in less than the precision of the session; zero
    where there are none.
    """
    dtypes = [m.value.dtype for m in constraint.members if _has_type(m.value)]
    session = float(jnp.finfo(jnp.result_type(float)).eps)
    eps = [float(jnp.finfo(t).eps) for t in dtypes if jnp.issubdtype(t, jnp.floating)]
    return max((e for e in eps if e > session), default=0.0)


def _has_type(value) -> bool:
    """Whether numbers come in a type of their own, and are no Python numbers."""
    return isinstance(value, np.ndarray | np.generic | jax.Array)


def _is_exact(scale) -> bool:
    """Whether a scale leaves a row without noise; one that is being traced is taken to be above
    zero.
    """
    return scale is None or (concrete(scale) and not bool((np.asarray(scale) > 0).all()))


def _noise(members, scales, axes, target):
    """Diagonal of R by rows, or None where every row is exact."""
    if all(s is None for s in scales):
        return None
    filled = [
        jnp.zeros(m.value_shape) if s is None else jnp.asarray(s)
        for m, s in zip(members, scales, strict=True)
    ]
    pieces = [m.pack(s, axes) for m, s in zip(members, filled, strict=True)]
    return jnp.concatenate(pieces, axis=-1).astype(target.dtype) ** 2


def _resolve(prior: Gaussian, constraint: Constraint) -> Constraint:
    """Check a constraint against a belief and bring its values and scales to full shape."""
    if not isinstance(prior, Gaussian):
        raise RefusedType(
            "expected a bc.Gaussian belief (bc.diagonal, bc.low_rank, bc.kronecker, bc.dense); got "
            f"{type(prior).__name__}"
        )
    if tuple(constraint.functional.shape) != prior.event_shape:
        raise RefusedValue(
            f"the functional of {constraint.name!r} acts on fields of shape "
            f"{tuple(constraint.functional.shape)}, the belief is over fields of shape "
            f"{prior.event_shape}; build both on the same grid"
        )
    resolved = stack([_resolve_one(prior, m) for m in constraint.members])
    refuse_too_many(resolved, math.prod(prior.event_shape))
    return resolved


def _resolve_one(prior: Gaussian, constraint: Constraint) -> Constraint:
    functional, name, scale = constraint.functional, constraint.name, constraint.scale
    full = prior.batch_shape + functional.value_shape
    shape, axes = functional.value_shape, functional.value_axes
    value = _fit(f"value of {name!r}", constraint.value, shape, full, *axes)
    if not _is_zero(functional.offset):
        value = value - jnp.broadcast_to(functional.offset, full)
    if isinstance(scale, str):
        if scale != "quadrature":
            raise RefusedValue(
                f"scale of {name!r} must be None, a number, an array or 'quadrature'; got {scale!r}"
            )
        scale = quadrature_scale(prior, functional)
    if isinstance(scale, int | float) and scale == 0:
        scale = None
    if scale is not None:
        scale = positive(
            f"scale of {name!r}",
            _fit(f"scale of {name!r}", scale, shape, full, *axes),
            full,
            zero=True,
        )
    return Constraint(functional, value, scale, name)


def _is_zero(offset) -> bool:
    """Whether there is no constant: that of all functionals but functions."""
    return isinstance(offset, float) and offset == 0.0


def _fit(
    what: str, array, shape: tuple, full: tuple, names: tuple[str, ...], coordinates: tuple
) -> jax.Array | np.ndarray:
    """Broadcast an array of the value's own shape, with or without batch axes, or a number; nothing
    else passes. Known numbers stay on the host: nothing is compiled for them.
    """
    array = numbers(what, array, names, coordinates)
    numpy = np if concrete(array) else jnp
    array = numpy.asarray(array, jnp.result_type(float))
    if array.shape not in ((), shape, full):
        rows = f"shape {shape}" if shape else "a number"
        batch = f", or {full} to give each field of the batch its own" if full != shape else ""
        hint = "; write value[:, 0]" if array.shape == (*shape, 1) and len(shape) == 1 else ""
        raise RefusedValue(
            f"{what} must have {rows}{batch}{' (or be one number)' if shape else ''}; got shape "
            f"{array.shape}{hint}"
        )
    lead = (1,) * (len(full) - array.ndim)
    return finite(what, numpy.broadcast_to(array.reshape(lead + array.shape), full))
