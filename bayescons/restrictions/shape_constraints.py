"""Shapes: predictions that are non-negative, or monotone along an axis, or both, while the
conserved total stays exact.

A concentration is not negative and the profile behind a front only falls; a Gaussian belief knows
neither, and clipping its mean breaks the total. For one profile with mean m, variances v, weights g
and total b, the functions here return

    u = argmin Σ_i (u_i - m_i)² / v_i    subject to    g'u = b    and    u in C,

with C the profiles of the shape: the mode of the Gaussian N(m, diag v) truncated to C and
conditioned on the total. It is not its mean, and it says nothing of the spread, which stays what it
was. Draws can be brought to the shape one by one in the same way; each then has the shape and the
exact total, but their law is that of projected draws, with mass on the boundary of C, and not the
truncated Gaussian.

With the multiplier λ of the total, u(λ) = P(m + λ v g), where P is the projection on C in the
metric of v: max(·, 0) for non-negative profiles, isotonic regression with weights 1/v for monotone
ones, then clipped at zero for both. The total g'u(λ) never falls with λ, as P
is a projection, and is piecewise linear: Newton's method within a bracket finds its root, and a
closing step on the pieces found makes the total exact and is what is differentiated. A point of
variance zero is known exactly and keeps its value.

Source: Hansen et al., ICML 2023, correct means likewise, by least squares in the factor of a
covariance that an exact total makes singular; here it is never formed. Barlow, Bartholomew, Bremner
and Brunk, Statistical Inference under Order Restrictions (1972): isotonic regression pools adjacent
violators, and clipping it is the regression with bounds.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.arrays import concrete, finite, real
from bayescons.refusals import RefusedValue

_STEPS = (
    300  # of the search for λ; 3 to 15 are usual, and at worst every second one halves its bracket
)
_OUTWARDS = (
    30  # steps in which it must be bracketed: λ then reaches 16^29 = 2^116 in units of the profile
)


def nonnegative(
    mean: ArrayLike, variance: ArrayLike, *, weights: ArrayLike, total: ArrayLike, axis: int = -1
) -> jax.Array:
    """The non-negative profiles nearest to a mean that have a given total: u = max(m + λ v g, 0)
    with g'u = b.

    Args:
        mean: m, any shape, the profile along `axis`; or draws. Conditioning it on the total by
            these variances first changes nothing.
        variance: v >= 0, broadcastable to the mean's shape, in the squared unit of the field:
            marginal variances from before the total was imposed. Those after it are smaller by (v
            g)² / g'(v g), most where the total tells most.
        weights: g, shape (n,), for instance `quadrature_weights(grid["x"])`.
        total: b, broadcastable to the mean's shape without `axis`, in the unit of the field times
            that of the weights.
        axis: axis of the profile.

    Returns:
        u, in the mean's shape and precision. The total holds to 1e-12 relative in float64, to 1e-4
        in float32. NaN, under `jit`, for a profile that cannot have the shape and the total.

    Raises:
        ValueError: for shapes that do not fit, NaN, negative variances, and profiles that cannot
            have the shape and the total.

    Differentiable in all four, on the pieces at hand: the derivative jumps where a point reaches
    zero.
    """
    return _shaped(mean, variance, weights, total, axis, _Shape(ordered=False, bounded=True))


def monotone(
    mean: ArrayLike,
    variance: ArrayLike,
    *,
    weights: ArrayLike,
    total: ArrayLike,
    decreasing: bool = True,
    nonnegative: bool = True,
    axis: int = -1,
) -> jax.Array:
    """The non-increasing (or non-decreasing) profiles nearest to a mean that have a given total.

    Where it fails: being a mode, it is flat wherever the mean goes the wrong way; and it knows no
    correlation between neighbours.

    Args:
        mean: m, any shape, the profile along `axis`; or draws. As in `nonnegative`, and so are
            those not listed.
        decreasing: non-increasing along the axis; otherwise non-decreasing.
        nonnegative: and not negative.

    Raises:
        ValueError: as `nonnegative` does, and where points known exactly are not in order.
    """
    return _shaped(
        mean,
        variance,
        weights,
        total,
        axis,
        _Shape(ordered=True, bounded=nonnegative, decreasing=decreasing),
    )


class _Shape(NamedTuple):
    """C: whether its profiles are monotone, whether zero bounds them, and which way they go."""

    ordered: bool
    bounded: bool
    decreasing: bool = False

    def __str__(self) -> str:
        order = "non-increasing" if self.decreasing else "non-decreasing"
        return " and ".join(["non-negative"] * self.bounded + [order] * self.ordered)


class _Profile(NamedTuple):
    """One profile, turned so that it may only rise, in units in which mean, variances and weights
    are at most one.

    Arrays of shape (n,), the total a number. `lower` and `upper` bound each point: zero, and the
    known points to either side.
    """

    mean: jax.Array
    precision: jax.Array
    fixed: jax.Array
    weights: jax.Array
    total: jax.Array
    lower: jax.Array
    upper: jax.Array


class _Pieces(NamedTuple):
    """u(λ) near some λ: `start` + λ `rate` at the points that move with it, `held` at those that a
    bound holds.
    """

    start: jax.Array
    rate: jax.Array
    moves: jax.Array
    held: jax.Array

    def at(self, multiplier) -> jax.Array:
        """The profile at another λ, on the same pieces."""
        return jnp.where(self.moves, self.start + multiplier * self.rate, self.held)

    def slope(self, weights) -> jax.Array:
        """d(g'u)/dλ >= 0."""
        return jnp.sum(jnp.where(self.moves, weights * self.rate, 0.0))


class _Search(NamedTuple):
    """λ, the bracket of the root, the error that a step of Newton's must halve, the number of
    steps, and whether to go on.
    """

    multiplier: jax.Array
    low: jax.Array
    high: jax.Array
    last: jax.Array
    count: jax.Array
    going: jax.Array


def _shaped(mean, variance, weights, total, axis: int, shape: _Shape) -> jax.Array:
    """Check, turn profiles into rows that may only rise, solve each, and turn them back."""
    dtype = real("mean", mean).dtype
    mean, variance, weights, total = _checked(mean, variance, weights, total, axis)
    turn = slice(None, None, -1 if shape.decreasing else 1)
    means, variances = (jnp.moveaxis(a, axis, -1)[..., turn] for a in (mean, variance))
    rows = (
        means.reshape(-1, weights.size),
        variances.reshape(-1, weights.size),
        weights[turn],
        total.reshape(-1),
    )
    found = _solve(*rows, shape)
    if concrete(found) and np.isnan(np.asarray(found)).any():
        _refuse(np.asarray(found), rows, total.shape, shape)
    return jnp.moveaxis(found.reshape(means.shape)[..., turn], -1, axis).astype(dtype)


@functools.partial(jax.jit, static_argnames="shape")
def _solve(means, variances, weights, totals, shape: _Shape) -> jax.Array:
    return jax.vmap(lambda m, v, b: _nearest(m, v, weights, b, shape))(means, variances, totals)


def _nearest(mean, variance, weights, total, shape: _Shape) -> jax.Array:
    """One profile; NaN where the search did not reach the total, or the points known exactly are
    not of the shape.
    """
    size = jnp.max(jnp.abs(mean)) + jnp.abs(total) / jnp.sum(jnp.abs(weights))
    unit = jax.lax.stop_gradient(jnp.where(size > 0, size, 1.0))
    profile = _profile(mean / unit, variance, weights, total / unit, shape)
    u = _closed(profile, _multiplier(jax.lax.stop_gradient(profile), shape), shape)

    eps = jnp.finfo(u.dtype).eps
    reached = jnp.abs(profile.weights @ u - profile.total) <= 4 * u.size * eps * _terms(profile, u)
    # what a subtraction leaves of an exact zero may break the shape, and is mended
    kept = jnp.max(jnp.where(profile.fixed, jnp.abs(u - profile.mean), 0.0)) <= 1e3 * eps
    u = jnp.where(profile.fixed & (u == profile.mean), mean, unit * u)
    return jnp.where(reached & kept & (jnp.min(variance) >= 0), u, jnp.nan)


def _profile(mean, variance, weights, total, shape: _Shape) -> _Profile:
    largest, heaviest = (jax.lax.stop_gradient(jnp.max(jnp.abs(a))) for a in (variance, weights))
    share = variance / jnp.where(largest > 0, largest, 1.0)
    fixed = share < jnp.finfo(share.dtype).tiny
    precision = 1 / jnp.where(fixed, 1.0, share)
    floor = jnp.full_like(mean, 0.0 if shape.bounded else -jnp.inf)
    lower, upper = (
        jnp.where(fixed, jnp.maximum(mean, floor), floor),
        jnp.where(fixed, mean, jnp.inf),
    )
    if shape.ordered:
        lower, upper = jax.lax.cummax(lower), jax.lax.cummin(upper, reverse=True)
    return _Profile(
        mean,
        precision,
        fixed,
        weights / heaviest,
        total / heaviest,
        lower,
        jnp.maximum(lower, upper),
    )


def _terms(profile: _Profile, u) -> jax.Array:
    """What the rounding of the total is relative to: the size of the terms it sums, at least eps of
    the mean's.
    """
    own = jnp.abs(profile.weights * u) + jnp.finfo(u.dtype).eps * jnp.abs(profile.weights)
    return jnp.sum(own) + jnp.abs(profile.total)


def _multiplier(profile: _Profile, shape: _Shape) -> jax.Array:
    """The root λ of g'u(λ) = b, to rounding; Newton's step from the root's own piece is exact."""

    def step(s: _Search) -> _Search:
        pieces = _pieces(profile, s.multiplier, shape)
        u, slope = pieces.at(s.multiplier), pieces.slope(profile.weights)
        error = profile.weights @ u - profile.total
        low, high = (
            jnp.where(error < 0, s.multiplier, s.low),
            jnp.where(error > 0, s.multiplier, s.high),
        )
        found = (low > -jnp.inf) & (high < jnp.inf)

        eps = jnp.finfo(u.dtype).eps
        rough = jnp.abs(error) > 4 * eps * _terms(profile, u)
        wide = ~found | (high - low > 2 * eps * jnp.maximum(jnp.abs(low), jnp.abs(high)))
        going = rough & wide & (s.count < jnp.where(found, _STEPS, _OUTWARDS))

        newton = s.multiplier - error / jnp.where(slope > 0, slope, 1.0)
        inside = (slope > 0) & (newton > low) & (newton < high) & (jnp.abs(error) <= s.last / 2)
        reach = jnp.where(slope > 0, 16 * jnp.abs(newton - s.multiplier), 16.0**s.count)
        slow = jnp.where(found, (low + high) / 2, s.multiplier - jnp.sign(error) * reach)
        following = jnp.where(going, jnp.where(inside, newton, slow), s.multiplier)
        return _Search(
            following, low, high, jnp.where(inside, jnp.abs(error), jnp.inf), s.count + 1, going
        )

    zero, far = jnp.zeros_like(profile.total), jnp.full_like(profile.total, jnp.inf)
    start = _Search(zero, -far, far, far, jnp.asarray(0), jnp.asarray(True))
    return jax.lax.while_loop(lambda s: s.going, step, start).multiplier


def _pieces(profile: _Profile, multiplier, shape: _Shape) -> _Pieces:
    """m + λ v g, pooled where the profile is ordered: a block's value is its mean weighted with
    1/v.
    """
    mean, precision, weights, fixed = (
        profile.mean,
        profile.precision,
        profile.weights,
        profile.fixed,
    )
    start, rate = mean, jnp.where(fixed, 0.0, weights / precision)
    if shape.ordered:
        block = _blocks(
            jax.lax.stop_gradient(start + multiplier * rate), jnp.where(fixed, jnp.inf, precision)
        )
        whole, *sums = (
            jax.ops.segment_sum(precision * a, block, mean.size)
            for a in (jnp.ones_like(mean), start, rate)
        )
        start, rate = ((sum_ / jnp.where(whole > 0, whole, 1.0))[block] for sum_ in sums)
    free = start + multiplier * rate
    moves = (free >= profile.lower) & (free <= profile.upper)
    return _Pieces(start, rate, moves, jnp.clip(free, profile.lower, profile.upper))


def _closed(profile: _Profile, multiplier, shape: _Shape) -> jax.Array:
    """The profile whose total is exact on the pieces found at λ. A second, small step removes the
    rounding of m + λ v g.
    """
    pieces = _pieces(profile, multiplier, shape)
    slope = pieces.slope(profile.weights)
    gain = jnp.where(slope > 0, 1.0, 0.0) / jnp.where(slope > 0, slope, 1.0)
    u = pieces.at(gain * (profile.total - profile.weights @ pieces.at(0.0)))
    missed = gain * (profile.total - profile.weights @ u)
    fine = jnp.clip(
        jnp.where(pieces.moves, u + missed * pieces.rate, u), profile.lower, profile.upper
    )
    fine = jax.lax.cummax(fine) if shape.ordered else fine
    return u + jax.lax.stop_gradient(fine - u)


def _blocks(values, precision) -> jax.Array:
    """The block of each point, counted from zero: isotonic regression by pooling adjacent violators
    on a stack, in 2n - 1 steps.

    A step pools the two uppermost blocks where they fall, or puts the next point on top. Infinite
    precision is never pooled.
    """
    size = values.size

    def step(_, state):
        following, top, stack = state
        (mean, weight, first), (mean_, weight_, _) = stack[top - 1], stack[top]
        together = weight + weight_
        pools = (top > 1) & (mean > mean_) & jnp.isfinite(together)
        pushes = ~pools & (following < size)
        point = jnp.minimum(following, size - 1)
        pooled = jnp.stack([(weight * mean + weight_ * mean_) / together, together, first])
        fresh = jnp.stack([values[point], precision[point], point.astype(values.dtype)])
        row = jnp.where(pools, pooled, jnp.where(pushes, fresh, stack[top]))
        top = top - pools + pushes
        return following + pushes, top, stack.at[top].set(row)

    empty = jnp.zeros((size + 1, 3), values.dtype)  # below the first block lies an empty row
    _, top, stack = jax.lax.fori_loop(0, 2 * size - 1, step, (0, 0, empty))
    row = jnp.arange(size + 1)
    firsts = jnp.where((row >= 1) & (row <= top), stack[:, 2].astype(row.dtype), size)
    return jnp.cumsum(jnp.zeros(size + 1, row.dtype).at[firsts].set(1)[:size]) - 1


def _checked(mean, variance, weights, total, axis: int) -> list[jax.Array]:
    """All four in one precision and of full shape, or an error."""
    given = {"mean": mean, "variance": variance, "weights": weights, "total": total}
    arrays = {name: finite(name, real(name, array)) for name, array in given.items()}
    mean, variance, weights, total = arrays.values()
    if not -mean.ndim <= axis < mean.ndim or weights.shape != (mean.shape[axis],):
        raise RefusedValue(
            f"weights must have shape (n,), one for each point of the profile along axis {axis}; "
            f"got {weights.shape} for a mean of shape {mean.shape}. Write "
            "quadrature_weights(grid['x']) and the axis of x"
        )
    if concrete(variance) and (least := float(np.min(np.asarray(variance), initial=0.0))) < 0:
        raise RefusedValue(
            f"variance must not be negative; its smallest entry is {least:g}. Raise rounding to "
            "zero with jnp.maximum"
        )
    if concrete(weights) and not np.asarray(weights).any():
        raise RefusedValue(
            "weights are all zero and have no total; write quadrature_weights(grid['x'])"
        )
    axis %= mean.ndim
    shapes = {"variance": mean.shape, "total": mean.shape[:axis] + mean.shape[axis + 1 :]}
    for name, shape in shapes.items():
        own = arrays[name].shape
        if len(own) > len(shape) or any(
            n not in (1, m) for n, m in zip(own[::-1], shape[::-1], strict=False)
        ):
            raise RefusedValue(f"{name} must broadcast to {shape}; got shape {own}")
        arrays[name] = jnp.broadcast_to(arrays[name], shape)
    return [array.astype(jnp.result_type(*arrays.values())) for array in arrays.values()]


def _refuse(found, rows, batch: tuple, shape: _Shape):
    """Name the first profile that cannot have the shape and its total, and why."""
    means, variances, _, totals = map(np.asarray, rows)
    bad = np.isnan(found).any(-1)
    first = int(np.argmax(bad))
    mean, known, total = means[first], variances[first] == 0, float(totals[first])
    which = (
        f"profile {tuple(map(int, np.unravel_index(first, batch)))}, one of {bad.sum()} such,"
        if batch
        else "the profile"
    )
    falls = shape.ordered and (np.diff(mean[known]) < 0).any()
    if falls or (shape.bounded and (mean[known] < 0).any()):
        raise RefusedValue(
            f"{which} cannot be {shape}: its points known exactly (variance zero) are not. Correct "
            "their values, or give them a variance"
        )
    raise RefusedValue(
        f"{which} cannot be {shape} and have the total {total:g}: (a) the total lies outside what "
        f"the shape and the points known exactly (variance zero; {known.sum()} of {known.size}) "
        "allow, (b) no point with a weight is free to move, or (c) variances differ by more than "
        "1e30. Correct the total or its unit, or give a variance to the points that should move"
    )
