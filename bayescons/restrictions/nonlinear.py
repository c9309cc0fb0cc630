"""Laws: a nonlinear equality h(u) = b on a Gaussian belief, in the white noise behind the belief.

With u = m + A z, z ~ N(0, I), the law is the manifold c(z) = h(m + A z) - b = 0 and the belief is
round. For the density of u given h(u) = b it is not enough to cut the belief's density with the
manifold: where h changes fast, fields of almost the value b are few. The limit of observing h(u)
with vanishing noise has, by the co-area formula, the density

    N(z; 0, I) / |J J'|^(1/2),   J = ∂c/∂z,

with respect to the area of the manifold. J J' = H K H', H = h'(u), depends on the belief and not on
which root A it is given.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.arrays import finite
from bayescons.descriptions import tabulated
from bayescons.functionals.abstract import AbstractFunctional, Leaf, static
from bayescons.gaussians.consistency import InconsistentConstraintsError
from bayescons.gaussians.gaussian import Gaussian
from bayescons.refusals import RefusedType, RefusedValue

_LOOKS = 16  # draws of the belief at which a law is looked at before it is used
# a row that changes by less than this share of what the unconditioned belief would do to it is held
# fixed
_MOVES = 1e-7
# least eigenvalue of the correlation between rows, to first order, below which they count as
# dependent
_APART = 1e-12


@tabulated("Nonlinear law of a field")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NonlinearConstraint:
    """h(u) = b for a field u ~ N(m, K), as functions of white noise z of shape (d,); q rows.

    Attributes:
        belief: N(m, K).
        value: b, shape (q,).
        unit: standard deviation of each row's change under the belief, to first order, at a typical
            draw, shape (q,).
        function: h, any differentiable JAX function of one field.
        rows: which entries of h(u), flattened, are kept; exact facts of the belief imply the
            others.
        name: what error messages call it.
    """

    belief: Gaussian
    value: Leaf
    unit: Leaf
    function: Callable = dataclasses.field(metadata={"static": True})
    rows: tuple[int, ...] = static()
    name: str = static()

    def field(self, z) -> jax.Array:
        """m + A z."""
        return self.belief.transport(z)

    def gap(self, z) -> jax.Array:
        """The law's c(z), in units of each row's standard deviation, shape (q,)."""
        return self.gap_of(self.field(z))

    def gap_of(self, field) -> jax.Array:
        """(h(u) - b) / unit of a field u, shape (q,)."""
        return (jnp.ravel(self.function(field))[np.array(self.rows)] - self.value) / self.unit

    def linear(self, z) -> tuple[jax.Array, jax.Array]:
        """The gap c and its derivative J, shape (q, d)."""
        gap, back = jax.vjp(self.gap, z)
        return gap, jax.vmap(lambda row: back(row)[0])(jnp.eye(len(gap), dtype=gap.dtype))

    def log_coarea(self, z) -> jax.Array:
        """Log |J J'|^(1/2), up to the constant that the units make."""
        _, jacobian = self.linear(z)
        products = jacobian @ jacobian.T
        # of one row without LAPACK, which is called once for each chain
        one = len(products) == 1
        return (jnp.log(products[0, 0]) if one else jnp.linalg.slogdet(products)[1]) / 2


def nonlinear_constraint(
    belief: Gaussian, function: Callable, value: ArrayLike, name: str
) -> NonlinearConstraint:
    """A law, looked at before it is used. Rows that exact facts of the belief imply are left out:
    they change nothing.

    Raises:
        TypeError: for a belief that is not a `bc.Gaussian`, or a function that is none.
        ValueError: for a batch of beliefs, a value of another shape than h(u), NaN, as many rows as
            unknowns or more, rows that do not use the field, rows that depend on each other, and
            where the belief's exact facts imply all of them.
        InconsistentConstraintsError: for a row that the belief's exact facts contradict.
    """
    if not isinstance(belief, Gaussian):
        raise RefusedType(
            'expected a bc.Gaussian belief, such as bc.conjugate(program)(...)["u"]; got '
            f"{type(belief).__name__}"
        )
    if not callable(function):
        raise RefusedType(
            f"{name!r} must be a JAX function of the field, lambda u: jnp.sum(w * u**2); got "
            f"{type(function).__name__}"
        )
    if belief.batch_shape:
        raise RefusedValue(
            f"expected a belief over one field; got a batch of shape {belief.batch_shape}. Take "
            "its members one by one"
        )
    if isinstance(function, AbstractFunctional):
        function = _hashable(function)
    dtype = belief.mean.dtype
    computed = jax.eval_shape(function, belief.mean)
    if not isinstance(computed, jax.ShapeDtypeStruct) or not jnp.issubdtype(
        computed.dtype, jnp.floating
    ):
        raise RefusedType(
            f"{name!r} must return one array of real numbers; it returns {computed}. Put several "
            "laws into one with jnp.stack"
        )
    value = finite(f"the value of {name!r}", jnp.asarray(value, dtype))
    if value.shape not in ((), computed.shape):
        raise RefusedValue(
            f"the value of {name!r} must have the shape {computed.shape} of h(u); got {value.shape}"
        )
    rows, size = math.prod(computed.shape), belief.covariance.noise_size
    if not 0 < rows < size:
        raise RefusedValue(
            f"{name!r} has {rows} rows on a field with {size} unknowns; it must have at least one, "
            "and fewer than unknowns"
        )
    value = jnp.broadcast_to(value, computed.shape).ravel()
    raw = NonlinearConstraint(
        belief, value, jnp.ones(rows, dtype), function, tuple(range(rows)), name
    )
    kept, unit = _examined(raw)
    return dataclasses.replace(
        raw, rows=tuple(map(int, kept)), value=value[kept], unit=jnp.asarray(unit[kept], dtype)
    )


def _hashable(functional) -> Callable:
    """A functional, which holds arrays, as a function, which a structure may hold."""
    return lambda u: functional(u)


def _examined(raw: NonlinearConstraint) -> tuple[np.ndarray, np.ndarray]:
    """The rows that the belief leaves open, and the median length of each row of J over draws of
    the belief.
    """
    noise = np.random.default_rng(0).normal(size=(_LOOKS, raw.belief.covariance.noise_size))
    gaps, jacobians, yardsticks = map(
        np.asarray, _looked_at(raw, jnp.asarray(noise, raw.belief.mean.dtype))
    )
    if not np.isfinite(gaps).all() or not np.isfinite(jacobians).all():
        raise RefusedValue(
            f"{raw.name!r} or its slope is NaN or infinite for some fields that the belief allows: "
            "(a) a logarithm or a root of something negative (an entropy of a Gaussian field: use "
            "a function defined for all real u), (b) overflow; rescale the field"
        )
    lengths = np.linalg.norm(jacobians, axis=-1)
    unit, before = np.median(lengths, axis=0), np.median(yardsticks, axis=0)
    if (before == 0).any():
        raise RefusedValue(
            f"{_row(raw, np.argmax(before == 0))} does not change with the field: (a) it does not "
            "use it, or (b) its slope vanishes at almost every field. Leave it out"
        )
    fixed = unit <= _MOVES * before
    off = np.abs(gaps).max(axis=0)
    wrong = fixed & (
        off > math.sqrt(float(np.finfo(gaps.dtype).eps)) * (before + np.abs(np.asarray(raw.value)))
    )
    if wrong.any():
        raise InconsistentConstraintsError(
            f"{_row(raw, np.argmax(wrong))} contradicts what the belief already holds for certain, "
            f"by {off[np.argmax(wrong)]:.1e}. Correct its value, or the fact that the belief was "
            "conditioned on"
        )
    if fixed.all():
        raise RefusedValue(
            f"exact facts that the belief was conditioned on imply {raw.name!r} already: use the "
            "belief as it is"
        )
    open_rows = jacobians[:, ~fixed] / np.where(lengths > 0, lengths, 1.0)[:, ~fixed, None]
    least = np.linalg.eigvalsh(open_rows @ np.swapaxes(open_rows, -1, -2))[:, 0]
    if np.median(least) < _APART:
        raise RefusedValue(
            f"rows of {raw.name!r} say the same to first order, everywhere; leave out those that "
            "others imply"
        )
    return np.flatnonzero(~fixed), unit


def _row(raw: NonlinearConstraint, row) -> str:
    return f"row {int(row)} of {raw.name!r}" if len(raw.rows) > 1 else repr(raw.name)


@jax.jit
def _looked_at(raw: NonlinearConstraint, noise):
    """Gaps, derivatives, and the length each row's derivative would have if points were independent
    with their unconditioned variances.
    """
    gaps, jacobians = jax.vmap(raw.linear)(noise)
    variance = raw.belief.covariance.unconditioned.variance

    def yardstick(z):
        slopes = jax.jacrev(lambda u: jnp.ravel(raw.function(u)))(raw.field(z))
        return jnp.sqrt(jnp.sum((slopes**2 * variance[None]).reshape(len(slopes), -1), axis=-1))

    return gaps, jacobians, jax.vmap(yardstick)(noise)
