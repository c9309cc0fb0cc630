"""Walls: inequalities as a centred draw of a belief sees them, and points on their right side from
which to start.

With u = m + x, x ~ N(0, K), the rows F u >= g are half-spaces y = D^-1 F x >= w, with D the rows'
standard deviations under the belief and w = D^-1 (g - F m). Of the belief nothing more is needed
than the correlation of the rows, Q = D^-1 F K F' D^-1, and the way back, a push on row j that moves
the field by K F' D^-1 e_j. An equality that the belief has been conditioned on is in K: no push
leaves it.

Where the belief is independent along some axes and the functionals leave the same axes alone, Q is
block-diagonal over them and each block is a problem of its own; blocks stand in front, shape
(blocks, r).
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import nnls

from bayescons.descriptions import tabulated
from bayescons.functionals.abstract import AbstractFunctional, Leaf, static
from bayescons.gaussians import row_covariance as gram
from bayescons.gaussians.abstract import AbstractCovariance
from bayescons.gaussians.consistency import InconsistentConstraintsError
from bayescons.gaussians.gaussian import Gaussian
from bayescons.refusals import RefusedValue
from bayescons.restrictions.inequalities import Inequalities, Inequality

# Distances from all walls, in standard deviations of the rows, that a starting point is looked for
# at: the first that can be had.
MARGINS = tuple(10.0**-k for k in range(13))
_FARTHEST = 1e7  # standard deviations from the mean beyond which nothing is looked for


@tabulated("Walls of a centred belief")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Walls:
    """Half-spaces y >= heights of the rows y = unit * F x of a centred field x ~ N(0, K).

    Attributes:
        covariance: K.
        functional: F.
        unit: sign of each row over its standard deviation, zero for rows without variance, shape
            (blocks, r).
        correlation: Q, zero in rows without variance, shape (blocks, r, r).
        heights: w, shape (blocks, r); minus infinity for rows without variance, which nothing
            moves.
        axes: axes over which Q is block-diagonal.
    """

    covariance: AbstractCovariance
    functional: AbstractFunctional
    unit: Leaf
    correlation: Leaf
    heights: Leaf
    axes: tuple[int, ...] = static()

    def rows(self, field) -> jax.Array:
        """The rows y of a centred field, shape (blocks, r)."""
        return self.unit * self.functional.rows(field, self.axes).reshape(self.unit.shape)

    def pushed(self, pushes) -> jax.Array:
        """K F' D^-1 a: what pushes a on the rows, shape (blocks, r), do to a field; its rows are Q
        a.
        """
        lead = tuple(self.functional.shape[a] for a in self.axes)
        return self.covariance.mv(
            self.functional.transpose((self.unit * pushes).reshape(*lead, -1), self.axes)
        )

    def over_field(self, blocks) -> jax.Array:
        """A number for each block as an array that broadcasts to a field."""
        return blocks.reshape(
            [n if a in self.axes else 1 for a, n in enumerate(self.functional.shape)]
        )


def walls(belief: Gaussian, inequalities: Inequality | Inequalities) -> Walls:
    """The walls of a belief.

    Raises:
        InconsistentConstraintsError: where a row without variance, known exactly, lies on the wrong
            side of its bound; names the row.
        ValueError: where no row has any variance, so that nothing is left to restrict.
    """
    functional, covariance = inequalities.functional, belief.covariance
    axes = gram.shared_axes(covariance, functional)
    dtype = jnp.result_type(float)
    signs, bounds = (
        np.concatenate(
            [
                np.asarray(m.functional.pack(jnp.asarray(v(m), dtype), axes))
                for m in inequalities.members
            ],
            axis=-1,
        )
        for v in (lambda m: np.full(m.functional.value_shape, m.sign), lambda m: m.bound)
    )
    moments, before = (
        _moments(functional, covariance, axes),
        _moments(functional, covariance.unconditioned, axes),
    )
    variance, prior = (np.diagonal(a, axis1=-2, axis2=-1) for a in (moments, before))
    moving = variance > gram.rank_tolerance(signs.shape[-1], dtype) * prior
    slack = signs * (np.asarray(functional.rows(belief.mean, axes), dtype) - bounds)
    tolerance = math.sqrt(float(jnp.finfo(belief.mean.dtype).eps)) * (
        np.sqrt(np.maximum(prior, 0)) + np.abs(bounds)
    )
    if (wrong := ~moving & (slack < -tolerance)).any():
        _refuse_known(inequalities, axes, wrong, slack)
    if not moving.any():
        raise RefusedValue(
            "every row of the inequalities is known exactly, and holds: there is nothing to "
            "restrict; use the belief itself"
        )

    deviation = np.sqrt(np.where(moving, variance, 1.0))
    unit = np.where(moving, signs / deviation, 0.0)
    correlation = moments * unit[..., :, None] * unit[..., None, :]
    heights = np.where(moving, -slack / deviation, -np.inf)
    rows = signs.shape[-1]
    blocks = (
        jnp.asarray(a.reshape(-1, *s))
        for a, s in ((unit, (rows,)), (correlation, (rows, rows)), (heights, (rows,)))
    )
    return Walls(covariance, functional, *blocks, axes)


def starts(inequalities: Inequality | Inequalities, found: Walls, draws: jax.Array) -> jax.Array:
    """Centred draws of the belief, moved as little as may be (in the metric of K) to the right side
    of all walls.

    Each block is a least-distance problem, min |d| subject to W d >= h with W W' = Q, solved as
    non-negative least squares (Lawson and Hanson, Solving Least Squares Problems, 1974, ch. 23);
    where its residual vanishes no point exists, and its solution names the rows.

    Args:
        inequalities: for the names of the rows.
        found: their walls.
        draws: shape (n, *field).

    Raises:
        InconsistentConstraintsError: where no field that the belief allows satisfies all
            inequalities, or only a set without volume does.
    """
    rows = np.asarray(_rows(found, draws))
    pushes = np.zeros_like(rows)
    for block, (correlation, heights) in enumerate(
        zip(np.asarray(found.correlation), np.asarray(found.heights), strict=True)
    ):
        moving = np.flatnonzero(np.isfinite(heights))
        if not moving.size or (rows[:, block, moving] >= heights[moving] + MARGINS[0]).all():
            continue
        root, back = _root(correlation[np.ix_(moving, moving)])
        margin = next(
            (m for m in MARGINS if _least(root, heights[moving] + m)[0] is not None), None
        )
        if margin is None:
            _refuse_empty(inequalities, found, block, moving, root, heights[moving])
        for draw in range(len(rows)):
            pushes[draw, block, moving] = (
                back @ _least(root, heights[moving] + margin - rows[draw, block, moving])[0]
            )
    return draws + _pushed(found, jnp.asarray(pushes)).astype(draws.dtype)


def nearest(inequalities: Inequality | Inequalities, found: Walls) -> jax.Array:
    """The centred field of highest density on the right side of all walls, min |d| subject to W d
    >= w. Raises what `starts` raises.
    """
    pushes = np.zeros(found.heights.shape)
    for block, (correlation, heights) in enumerate(
        zip(np.asarray(found.correlation), np.asarray(found.heights), strict=True)
    ):
        moving = np.flatnonzero(np.isfinite(heights))
        root, back = _root(correlation[np.ix_(moving, moving)])
        step, _ = _least(root, heights[moving])
        if step is None:
            _refuse_empty(inequalities, found, block, moving, root, heights[moving])
        pushes[block, moving] = back @ step
    return _pushed(found, jnp.asarray(pushes)[None])[0]


@jax.jit
def _rows(found: Walls, draws):
    return jax.vmap(found.rows)(draws)


@jax.jit
def _pushed(found: Walls, pushes):
    return jax.vmap(found.pushed)(pushes)


_form = jax.jit(gram.form, static_argnums=2)


def _moments(functional, covariance, axes) -> np.ndarray:
    return np.asarray(_form(functional, covariance, axes), jnp.result_type(float))


def _root(correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W with W W' = Q, and B with Q B = W, without directions of less than 1e-6 of the largest
    standard deviation.
    """
    values, vectors = np.linalg.eigh(correlation)
    kept = values > 1e-12 * values.max(initial=0.0)
    spread = np.sqrt(values[kept])
    return vectors[:, kept] * spread, vectors[:, kept] / spread


def _least(root: np.ndarray, heights: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """The shortest d with W d >= h, or None; and weights λ >= 0 of the rows, for which W'λ = 0 and
    h'λ > 0 where there is none.
    """
    if not (heights > 0).any():
        return np.zeros(root.shape[1]), np.zeros(len(root))
    system = np.vstack([root.T, heights])
    target = np.append(np.zeros(root.shape[1]), 1.0)
    weights, size = nnls(system, target, maxiter=30 * len(root) + 100)
    residual = system @ weights - target
    return (None if size < 1 / _FARTHEST else -residual[:-1] / residual[-1]), weights


def _names(inequalities, axes) -> np.ndarray:
    """Names of all rows, in the layout of the functional's rows."""
    packed = []
    for member in inequalities.members:
        labels = np.array(member.labels(), dtype=object)
        at = np.asarray(
            member.functional.pack(
                jnp.arange(len(labels)).reshape(member.functional.value_shape), axes
            )
        )
        packed.append(labels[at])
    return np.concatenate(packed, axis=-1)


def _listed(names: list[str]) -> str:
    """Up to three rows of an inequality one by one, more by their number."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.split("[")[0], []).append(name)
    return " and ".join(
        part
        for head, g in groups.items()
        for part in (g if len(g) <= 3 else [f"{head} ({len(g)} rows)"])
    )


def _refuse_known(inequalities, axes, wrong, slack):
    worst = np.unravel_index(np.argmin(np.where(wrong, slack, 0.0)), slack.shape)
    more = f" ({wrong.sum() - 1} more rows as well)" if wrong.sum() > 1 else ""
    raise InconsistentConstraintsError(
        f"{_names(inequalities, axes)[worst]} is violated by {-slack[worst]:.2g}, and the belief "
        f"holds its value for certain{more}. Correct the bound or the fact that the belief was "
        "conditioned on, or leave those points out of the inequality"
    )


def _refuse_empty(inequalities, found: Walls, block: int, moving, root, heights):
    step, _ = _least(root, heights)
    _, weights = _least(root, heights + (MARGINS[-1] if step is not None else 0.0))
    names = _names(inequalities, found.axes).reshape(found.heights.shape)[block][moving]
    rows = _listed(list(names[weights > 1e-6 * weights.max()]))
    if step is not None:
        raise InconsistentConstraintsError(
            f"{rows} can only hold together as equalities: the fields that satisfy them have no "
            "volume, and probability zero. State what they fix as a constraint, "
            "bc.condition(belief, bc.Constraint(functional, value)), and leave these rows out"
        )
    raise InconsistentConstraintsError(
        f"no field that the belief allows satisfies {rows}. Either (a) the bounds exclude each "
        "other, (b) they exclude a fact that the belief was conditioned on (a negative total of a "
        "non-negative field), or (c) the belief is so sure or so smooth that they lie more than "
        f"{_FARTHEST:.0e} standard deviations away. Correct a bound or the fact, or widen the "
        "belief"
    )
