"""Fixers of totals as beliefs: a uniform shift is conditioning under K = 1 1', a ratio under
K = m m', and a sequence of them is one conditioning after another.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from bayescons.arrays import finite, positive, real
from bayescons.descriptions import described, span
from bayescons.functionals.abstract import Leaf, static
from bayescons.gaussians.abstract import AbstractPrior, no_density
from bayescons.gaussians.conditioning import Constraint, condition
from bayescons.gaussians.gaussian import Gaussian
from bayescons.refusals import RefusedOperation, RefusedValue


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneFactor(AbstractPrior):
    """K = f f', one random number for the whole field, or for each point of some axes: u = f z.

    Attributes:
        factor: f, shape (*batch, *shape).
        apart: axes of the field along which z is independent.
        dims: number of axes of the field.
    """

    factor: Leaf
    apart: tuple[int, ...] = static()
    dims: int = static()

    @property
    def structure(self) -> str:
        """The range of the factor, and for how many points there is one number."""
        axes = f", one for each point of {len(self.apart)} axes" if self.apart else ""
        return f"one factor {span(self.factor)}{axes}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the field."""
        return self.factor.shape[self.batch_dims :]

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes."""
        return self.factor.ndim - self.dims

    @property
    def independent(self) -> frozenset[int]:
        """Axes along which z is."""
        return frozenset(self.apart)

    @property
    def noise_size(self) -> int:
        """As many as there are z."""
        return math.prod(self._kept)

    @property
    def variance(self) -> jax.Array:
        """f²."""
        return self.factor**2

    @property
    def _kept(self) -> tuple[int, ...]:
        return tuple(n if a in self.apart else 1 for a, n in enumerate(self.shape))

    def mv(self, field) -> jax.Array:
        """f (f' u)."""
        summed = tuple(a for a in range(self.dims) if a not in self.apart)
        return self.factor * jnp.sum(self.factor * field, axis=summed, keepdims=True)

    def root(self, noise) -> jax.Array:
        """f z."""
        return self.factor * noise.reshape(self._kept)

    def log_density(self, field) -> jax.Array:
        """Not available: nearly all fields are impossible."""
        del field
        raise RefusedOperation(no_density("a field that one factor moves"))


def shift(mean, scale=1.0, *, apart: Sequence[int] = (), batch_dims: int = 0) -> Gaussian:
    """A field that is right but for one number which is added everywhere, K = s² 1 1'.

    Given a total, G u = b, all of it moves alike, as by the fixers of weather emulators:

        m + 1 (b - G m) / (G 1)

    and the total is all that was uncertain. Under a law with a scale it moves by less.

    Args:
        mean: m, shape (*batch, *field).
        scale: s, in the field's unit, a number; of an exact law it does not matter.
        apart: axes of the field along which there is one number for each point: (0,) for one at
            each time of a field over (t, x).
        batch_dims: leading axes of `mean` that count a batch.

    Where it fails: one law is all that one number can obey; a second contradicts it, and says so.
        Where G 1 = 0, no shift changes the total.

    Source: the dry air corrector of ACE2 (Watt-Meyer et al., npj Climate and Atmospheric Science 8,
        2025) is one of surface pressure.

    Example:
        >>> total = bc.Constraint(bc.functional(jnp.sum, (3,)), 6.0)
        >>> print(bc.condition(bc.gaussians.shift(jnp.array([0.0, 1.0, 2.0])), total).mean)
        [1. 2. 3.]
    """
    mean = finite("mean", real("mean", mean))
    scale = positive("scale", jnp.asarray(scale, mean.dtype), ())
    return _of_factor(mean, jnp.broadcast_to(scale, mean.shape), apart, batch_dims)


def ratio(mean, scale=0.1, *, apart: Sequence[int] = (), batch_dims: int = 0) -> Gaussian:
    """A field that is right but for one factor everywhere, K = s² m m'.

    Given a total, G u = b, all of it is multiplied alike, m b / (G m): zeros stay zero, and what is
    large moves most.

    Args:
        mean: m, shape (*batch, *field).
        scale: s, the standard deviation of the factor, a share; of an exact law it does not matter.
        apart: as of `shift`, and so is
        batch_dims.

    Where it fails: where G m is near zero the factor is anything, and it differs between members
        and seeds by as much.

    Source: the fixers of CREDIT (Sha et al., Journal of Advances in Modeling Earth Systems 17,
        2025), and ACE2's of moisture.

    Example:
        >>> total = bc.Constraint(bc.functional(jnp.sum, (3,)), 6.0)
        >>> print(bc.condition(bc.gaussians.ratio(jnp.array([0.0, 1.0, 2.0])), total).mean)
        [0. 2. 4.]
    """
    mean = finite("mean", real("mean", mean))
    scale = positive("scale", jnp.asarray(scale, mean.dtype), ())
    return _of_factor(mean, scale * mean, apart, batch_dims)


def _of_factor(mean, factor, apart: Sequence[int], batch_dims: int) -> Gaussian:
    dims = mean.ndim - batch_dims
    if dims < 1 or any(not 0 <= axis < dims for axis in apart):
        raise RefusedValue(
            f"apart names axes of the field, 0 to {dims - 1}; got {tuple(apart)}, for a mean of "
            f"shape {mean.shape} with {batch_dims} axes of a batch"
        )
    return Gaussian(mean, OneFactor(factor, tuple(sorted(set(apart))), dims))


def in_sequence(mean, *steps: tuple[Callable[[jax.Array], Gaussian], Constraint]) -> jax.Array:
    """One law after another, as published correctors go about it: the mean is conditioned on each
    under a belief made from where the one before has left it.

    m ← m + K_i(m) G_i' (G_i K_i(m) G_i')⁻¹ (b_i - G_i m),  i = 1, 2, ...

    The last law holds; those before hold as far as it has not opened them again. Stated jointly,
    all hold: `bc.condition(belief, first & second)`.

    Args:
        mean: of the field.
        steps: pairs of (mean -> belief, such as `shift` or `ratio`) and the law.

    Returns:
        The mean after the last.

    Example:
        >>> fixers = bc.gaussians
        >>> total = bc.Constraint(bc.functional(jnp.sum, (3,)), 6.0)
        >>> first = bc.Constraint(bc.functional(lambda u: u[0], (3,)), 0.0)
        >>> both = fixers.in_sequence(jnp.ones(3), (fixers.ratio, total), (fixers.shift, first))
        >>> print(both)
        [0. 0. 0.]
    """
    mean = finite("mean", real("mean", mean))
    for belief, law in steps:
        mean = condition(belief(mean), law).mean
    return jnp.asarray(mean)
