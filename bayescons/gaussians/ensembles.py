"""The belief that an ensemble holds, with or without its correlations between distant points."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.arrays import finite, real
from bayescons.axes import Ring
from bayescons.descriptions import described, span
from bayescons.functionals.abstract import Leaf, static
from bayescons.gaussians.abstract import AbstractPrior, no_density
from bayescons.gaussians.covariances import along
from bayescons.gaussians.gaussian import Gaussian, low_rank
from bayescons.grids import Grid
from bayescons.refusals import RefusedOperation, RefusedValue


def ensemble(draws, *, members: int = 0, nugget: float = 1e-3, batch_dims: int = 0) -> Gaussian:
    """The Gaussian with an ensemble's mean and covariance, K = F F' + s² I, F the deviations from
    the mean over sqrt(M - 1).

    M members vary in M - 1 directions, and outside of these F F' holds everything for certain. The
    independent part s² I, the nugget, lets a fact move what no member ever moved; it is small so
    that it does so only where the members cannot.

    Args:
        draws: of a field, one axis counting the members.
        members: position of that axis.
        nugget: s as a share of the members' standard deviation (root mean square over the field),
            above zero.
        batch_dims: leading axes, other than that of the members, that count a batch of fields.

    Returns:
        A belief of shape (*batch, *field).

    Raises:
        ValueError: fewer than two members, members that are all equal, a nugget that is not above
            zero, NaN.

    Where it fails: with few members, correlations between distant points are noise of 1 / sqrt(M),
        and a fact about one place moves the other end of the domain by them.

    Example:
        >>> draws = jnp.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
        >>> belief = bc.gaussians.ensemble(draws)
        >>> print(belief.mean, belief.variance.round(3))
        [1. 1. 1.] [1. 0. 1.]
    """
    draws = jnp.moveaxis(finite("draws", real("draws", draws)), members, 0)
    if not (math.isfinite(nugget) and nugget > 0):
        raise RefusedValue(
            "the nugget must be a number above zero, a share of the ensemble's standard deviation; "
            f"got {nugget:g}"
        )
    if len(draws) < 2:
        raise RefusedValue(f"an ensemble must have at least two members; it has {len(draws)}")
    mean = draws.mean(axis=0)
    over = tuple(range(batch_dims, mean.ndim))
    spread = jnp.sqrt(draws.var(axis=0, ddof=1).mean(axis=over, keepdims=True))
    if not np.all(np.asarray(spread) > 1e-14 * np.abs(mean).max(axis=over, keepdims=True)):
        raise RefusedValue(
            "the members are all equal, so they say nothing of their uncertainty; give a mean and "
            "a scale"
        )
    factor = jnp.moveaxis(draws - mean[None], 0, -1) / math.sqrt(len(draws) - 1)
    scale = jnp.broadcast_to(nugget * spread, mean.shape)
    return low_rank(mean, scale, factor, batch_dims=batch_dims)


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LocalisedEnsemble(AbstractPrior):
    """K = diag(d) + F F' ∘ C, C = ⊗_a A_a A_a': an ensemble whose correlations end at a distance.

    With C = Σ_l A_l A_l' it is Σ_jl (A_l F_j)(A_l F_j)', members modulated by the columns of the
    taper's root; these products are never formed.

    Attributes:
        diagonal: d > 0, shape (*batch, *shape).
        factor: F, members last, shape (*batch, *shape, M).
        roots: A_a of shape (n_a, n_a) per axis, or None for an axis along which nothing is tapered.
        dims: number of axes of the field.
    """

    diagonal: Leaf
    factor: Leaf
    roots: tuple
    dims: int = static()

    @property
    def structure(self) -> str:
        """How many members there are, and their range."""
        return f"{self.factor.shape[-1]} localised members, independent part {span(self.diagonal)}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the field."""
        return self.diagonal.shape[self.batch_dims :]

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes."""
        return self.diagonal.ndim - self.dims

    @property
    def noise_size(self) -> int:
        """N for the independent part, and one tapered field for each member."""
        tapered = math.prod(self._tapered)
        return math.prod(self.shape) + self.factor.shape[-1] * tapered

    @property
    def variance(self) -> jax.Array:
        """D + row sums of F²; the taper is 1 at distance zero."""
        return self.diagonal + jnp.sum(self.factor**2, axis=-1)

    @property
    def _tapered(self) -> tuple[int, ...]:
        """Shape of a tapered field, of length one along axes without a taper."""
        pairs = zip(self.shape, self.roots, strict=True)
        return tuple(1 if root is None else n for n, root in pairs)

    def mv(self, field) -> jax.Array:
        """D u + Σ_j F_j C (F_j u)."""
        open_axes = tuple(a for a, root in enumerate(self.roots) if root is None)
        near = jnp.sum(self.factor * field[..., None], axis=open_axes, keepdims=True)
        for axis, root in enumerate(self.roots):
            near = near if root is None else along(root, along(root.T, near, axis), axis)
        return self.diagonal * field + jnp.sum(self.factor * near, axis=-1)

    def root(self, noise) -> jax.Array:
        """D^1/2 z_0 + Σ_j F_j A z_j."""
        size = math.prod(self.shape)
        far = noise[size:].reshape(*self._tapered, self.factor.shape[-1])
        for axis, root in enumerate(self.roots):
            far = far if root is None else along(root, far, axis)
        own = jnp.sqrt(self.diagonal) * noise[:size].reshape(self.shape)
        return own + jnp.sum(self.factor * far, axis=-1)

    def log_density(self, field) -> jax.Array:
        """Not available: it would need a dense matrix."""
        del field
        raise RefusedOperation(no_density("an ensemble with a taper"))


def localised_ensemble(
    draws,
    on: Grid,
    reach: Mapping[str, float],
    *,
    members: int = 0,
    nugget: float = 1e-3,
    batch_dims: int = 0,
) -> Gaussian:
    """`ensemble`, with correlations that fall off with the distance and end at twice the reach,
    K = s² I + F F' ∘ C.

    Few members correlate distant points by 1 / sqrt(M) of nothing, and a total would move them by
    that. C is the product over the axes of Gaspari and Cohn's correlation of the distance along
    each, in the unit of its coordinate; around a ring it is that of the chord. Axes that are not
    named are not tapered.

    Args:
        draws: of a field, one axis counting the members.
        on: the grid.
        reach: by axis, half of the distance at which correlations end.
        members: position of that axis.
        nugget: and
        batch_dims: as of `ensemble`.

    Raises:
        ValueError: axes that the grid has not, a reach that is not above zero, and what `ensemble`
            refuses.

    Where it fails: distances along latitude and longitude are angles here, so that the reach along
        circles shrinks towards the poles.

    Source: Gaspari and Cohn, Quarterly Journal of the Royal Meteorological Society 125 (1999), eq.
        4.10; modulated members, Bishop and Hodyss, Tellus A 61 (2009).

    Example:
        >>> grid = bc.Grid(x=jnp.linspace(0, 1, 5))
        >>> draws = jax.random.normal(jax.random.key(0), (8, 5))
        >>> belief = bc.gaussians.localised_ensemble(draws, grid, {"x": 0.2})
        >>> far = belief.covariance.mv(jnp.eye(5)[0])  # one column of K
        >>> print((abs(far) > 0).tolist())
        [True, True, False, False, False]
    """
    unknown = [name for name in reach if name not in on.names]
    if unknown:
        raise RefusedValue(
            f"reach names {unknown[0]!r}, which is no axis of the grid; these are "
            f"{', '.join(on.names)}"
        )
    belief = ensemble(draws, members=members, nugget=nugget, batch_dims=batch_dims)
    if belief.event_shape != on.shape:
        raise RefusedValue(
            f"the members are fields of shape {belief.event_shape}, and the grid has {on.shape}"
        )
    roots = tuple(
        None if name not in reach else jnp.asarray(_taper_root(on, name, reach[name]))
        for name in on.names
    )
    plain = belief.covariance
    own = LocalisedEnsemble(plain.diagonal, plain.factor, roots, plain.dims)
    return Gaussian(belief.mean, own)


def gaspari_cohn(distance) -> np.ndarray:
    """The fifth-order correlation of Gaspari and Cohn (1999, eq. 4.10) of a distance in units of
    the reach: 1 at zero, zero from 2 on, positive definite in up to three dimensions.

    Example:
        >>> print(bc.gaussians.gaspari_cohn([0.0, 1.0, 2.0]).round(4))
        [1.     0.2083 0.    ]
    """
    r = np.abs(np.asarray(distance, float))
    near = 1 - 5 / 3 * r**2 + 5 / 8 * r**3 + r**4 / 2 - r**5 / 4
    safe = np.where(r > 0, r, 1.0)
    far = 4 - 5 * r + 5 / 3 * r**2 + 5 / 8 * r**3 - r**4 / 2 + r**5 / 12 - 2 / (3 * safe)
    return np.where(r <= 1, near, np.where(r < 2, far, 0.0))


def _taper_root(on: Grid, name: str, reach: float) -> np.ndarray:
    """A with A A' the taper along one axis; a square root by eigenvalues, as smooth tapers are
    singular to rounding.
    """
    if not (isinstance(reach, int | float | np.number) and math.isfinite(reach) and reach > 0):
        raise RefusedValue(f"the reach along {name!r} must be a number above zero; got {reach!r}")
    axis = on.along(name)
    apart = np.subtract.outer(axis.points, axis.points)
    if isinstance(axis, Ring):  # chords of a circle of its length: distances in a plane
        apart = np.sin(np.pi * apart / axis.period) * axis.period / np.pi
    values, vectors = np.linalg.eigh(gaspari_cohn(apart / reach))
    root = vectors * np.sqrt(np.maximum(values, 0))
    return root / np.sqrt(np.sum(root**2, axis=1, keepdims=True))
