"""Any JAX function of a field as a functional, with its linearity checked."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bayescons import tracing
from bayescons.descriptions import called, described
from bayescons.functionals.abstract import AbstractFunctional, SingleFunctional, static
from bayescons.grids import Grid
from bayescons.refusals import Refusal, RefusedType, RefusedValue
from bayescons.separation import separate_axes

SIZES = (1e-6, 1e-2, 1.0, 1e3, 1e9)  # of the fields at which linearity is tried
DIRECTIONS = 6  # pairs of fields of each size that have nothing to do with each other


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TracedFunction:
    """A JAX function of one field or several, as its equations and the numbers it closes over.

    Two functions that compute the same are one static function: code compiled for the one serves
    the other.

    Attributes:
        equations: (*fields, *parameters) -> [value].
        parameters: arrays and numbers that the function closes over, such as random variables of a
            program.
        shapes: of the fields.
    """

    equations: tracing.Equations = static()  # noqa: RUF009
    parameters: tuple = ()
    shapes: tuple[tuple[int, ...], ...] = static(default=())

    @classmethod
    def of(cls, function: Callable, shapes: Sequence[tuple[int, ...]]) -> TracedFunction:
        """A function of fields of these shapes."""
        zeros = [jax.ShapeDtypeStruct(tuple(s), jnp.result_type(float)) for s in shapes]
        equations, parameters, _ = tracing.traced(lambda *u: jnp.asarray(function(*u)), *zeros)
        return cls(equations, parameters, tuple(map(tuple, shapes)))

    @property
    def value_shapes(self) -> list[tuple[int, ...]]:
        """Shape of its value, in a list."""
        return [atom.aval.shape for atom in self.equations.jaxpr.outvars]

    def __call__(self, *fields) -> jax.Array:
        """The function's value."""
        dtype = jnp.result_type(float)
        return self.equations(*(jnp.asarray(u, dtype) for u in fields), *self.parameters)[0]


@described
@functools.partial(jax.tree_util.register_dataclass, drop_fields=("about",))
@dataclasses.dataclass(frozen=True)
class FunctionFunctional(SingleFunctional):
    """Any JAX function that is affine in the field, f(u) = G u + c; its rows come from its
    derivative at zero.

    Attributes:
        equations: (field, *parameters) -> [value]. Must be affine in the field: `functional` checks
            it, nothing assumes it.
        shape: shape of the field.
        parameters: arrays that the function needs beside the field, such as random variables of a
            program.
        about: how the function was called.
    """

    equations: tracing.Equations = static()  # noqa: RUF009
    shape: tuple[int, ...] = static(default=())
    parameters: tuple = ()
    about: str = dataclasses.field(default="a function of the field", compare=False)

    @classmethod
    def of(cls, function: Callable, shape: tuple[int, ...]) -> FunctionFunctional:
        """A function of a field of this shape, not checked."""
        traced = TracedFunction.of(function, [shape])
        about = f"{called(function)}, a function of the field"
        return cls(traced.equations, tuple(shape), traced.parameters, about)

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Shape of f(u)."""
        return jax.eval_shape(self._affine, self._zeros()).shape

    @property
    def identity_axes(self) -> Mapping[int, int]:
        """Axes that the function leaves apart, as far as its equations show."""
        return separate_axes(self.equations)

    @property
    def offset(self) -> jax.Array:
        """The constant c = f(0)."""
        return _value(self)

    def __call__(self, field) -> jax.Array:
        """f(u), whether affine or not."""
        return self._affine(jnp.asarray(field, self._zeros().dtype))

    def linear(self, field) -> jax.Array:
        """G u = f(u) - f(0), as the derivative of f at zero in the direction u."""
        zeros = self._zeros()
        return jax.jvp(self._affine, (zeros,), (jnp.asarray(field, zeros.dtype),))[1]

    def adjoint(self, value) -> jax.Array:
        """G' v."""
        return jax.vjp(self._affine, self._zeros())[1](value)[0]

    def labels(self) -> list[str]:
        """Index of each row."""
        if not self.value_shape:
            return [""]
        return ["[" + ",".join(map(str, i)) + "]" for i in np.ndindex(self.value_shape)]

    def _affine(self, field):
        return self.equations(field, *self.parameters)[0]

    def _zeros(self):
        return jnp.zeros(self.shape, jnp.result_type(float))


@tracing.compiled
def _value(functional: FunctionFunctional) -> jax.Array:
    return functional._affine(functional._zeros())


def functional(
    function: Callable | AbstractFunctional, on: Grid | tuple[int, ...]
) -> AbstractFunctional:
    """A functional from a JAX function f(u) = G u + c of one field; a built-in functional is
    returned as it is.

    Args:
        function: takes a field (an array of the grid's shape), returns an array of any shape. Its
            rows come from `jax.jvp` and `jax.vjp`.
        on: the grid, or the shape of a field.

    Raises:
        ValueError: if the function is not affine in the field.

    Example:
        >>> grid = bc.Grid(x=[0.0, 0.5, 1.0])
        >>> ends = bc.functional(lambda u: u[-1] - u[0], on=grid)
        >>> print(ends(jnp.array([1.0, 0.0, 3.0])))
        2.0
    """
    if isinstance(function, AbstractFunctional):
        return function
    if not callable(function):
        raise RefusedType(
            f"expected a functional or a function of the field; got {type(function).__name__}"
        )
    shape = tuple(on.shape if isinstance(on, Grid) else on)
    return affine(FunctionFunctional.of(function, shape), getattr(function, "__name__", "function"))


class NotProvenAffineError(Refusal, ValueError):
    """Whether a function is affine shows only where it can be evaluated."""


def affine(candidate: FunctionFunctional, name: str) -> FunctionFunctional:
    """The functional itself, or an error where it is not affine in the field.

    Raises:
        ValueError: where it is not.
        NotProvenAffineError: where that could be told only from numbers that are being traced.
    """
    dtype = jax.eval_shape(candidate._affine, candidate._zeros()).dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        what, instead = (
            ("complex numbers", "Observe their .real and .imag as two statements")
            if jnp.issubdtype(dtype, jnp.complexfloating)
            else ("whole numbers or truth values", "These are not affine in the field")
        )
        raise RefusedValue(f"the functional {name!r} gives {what}. {instead}")
    if not is_affine(candidate):
        error = RefusedValue if tracing.known_now(candidate) else NotProvenAffineError
        raise error(
            f"the functional {name!r} is not affine in the field, so a Gaussian given its value is "
            "not Gaussian. Observe it below the field as a likelihood, numpyro.sample(name, "
            "dist.Normal(f(u), scale), obs=value), or observe a linear functional"
        )
    return candidate


def is_affine(candidate: FunctionFunctional) -> bool:
    """Whether a function is affine: by its equations where they prove it, otherwise by trial.

    Equations prove it where the tangent does not depend on the point and nothing hides a tangent.
    Where they do not, f(a) - f(b) = f'(b) (a - b) is tried to 1e4 eps for pairs of random fields of
    five sizes: a field and its mirror image, between which every point crosses zero, so that a kink
    there (`relu`, `abs`) shows; fields that have nothing to do with each other, since a function
    may be odd and scale with its argument and yet not be linear (a median, a limiter); fields with
    ties, ordered ones, and such with one large point.

    Where f cannot be evaluated (it closes over random variables of a program being traced) the
    equations alone decide, and may refuse loops and branches, even affine ones.
    """
    with tracing.computed_now():
        proven = not tracing.depends_on_point(candidate._affine, candidate._zeros())
    if proven or not tracing.known_now(candidate):
        return proven
    with tracing.computed_now():
        return bool(_follows_tangents(candidate))


@tracing.compiled
def _follows_tangents(candidate: FunctionFunctional) -> jax.Array:
    dtype, function = jnp.result_type(float), candidate._affine
    pairs = tuple(jnp.asarray(each, dtype) for each in _pairs(candidate.shape))

    def at_size(size):
        return jax.lax.map(
            lambda pair: _matches_tangent(function, size * pair[0], size * pair[1]), pairs
        )

    return jnp.all(jax.lax.map(at_size, jnp.asarray(SIZES, dtype)))


def _pairs(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Fields a and b between which a function is tried, (pairs, *shape) each."""
    rng = np.random.default_rng(0)

    def noise():
        return rng.normal(size=shape)

    pairs = [(noise(), noise()) for _ in range(DIRECTIONS)]
    mirrored, tied, ordered, peak = noise(), np.round(noise()), noise(), noise()
    if shape:
        ordered = np.sort(ordered, axis=None).reshape(shape)
        peak.flat[rng.integers(peak.size)] *= 1e3
    pairs += [
        (mirrored, -mirrored),
        (tied, noise()),
        (np.full(shape, 0.7), np.full(shape, 0.7) + 1e-3 * noise()),
        (ordered, np.flip(ordered)),
        (peak, np.flip(peak)),
    ]
    return tuple(np.stack(each) for each in zip(*pairs, strict=True))


def _matches_tangent(function: Callable, a, b) -> jax.Array:
    value, tangent = jax.jvp(function, (b,), (a - b,))
    other = function(a)
    size = jnp.max(jnp.abs(value), initial=1.0) + jnp.max(jnp.abs(tangent), initial=0.0)
    return jnp.all(jnp.abs(other - value - tangent) <= 1e4 * jnp.finfo(value.dtype).eps * size)
