"""Finite volumes: a conservation law in one dimension solved on cell averages, to confirm exact
solutions by other means.

What one cell loses its neighbour gains, so the total changes by what passes the two walls and, but
for rounding, by nothing else; and where the solution is not smooth this is what makes the limit of
vanishing cells a solution at all. No library kept here does it: exponax is spectral, for smooth
fields on a ring; diffrax integrates in time and leaves the fluxes to its user; clawpack has them,
but has to be built with a Fortran compiler.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from bayescons.descriptions import tabulated
from bayescons.functionals.abstract import Leaf
from bayescons.refusals import RefusedValue
from bayescons.solvers.boundaries import Dirichlet, Outflow, Periodic

# of the values and of the walls' times, in search of the largest speed; their ends are among them
_SAMPLES = 257


@tabulated("Conservation law u_t + F_x = 0")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ConservationLaw:
    """A scalar law on an interval, hyperbolic, diffusive or both.

        ∂u/∂t + ∂F/∂x = 0,        F = f(u) - ∂Φ(u)/∂x

    Degenerate diffusion ∂u/∂t = ∂/∂x(k(u) ∂u/∂x) is given by its Kirchhoff potential, Φ(u) = ∫ k
    du:

    - the heat equation has Φ = k u;
    - the porous medium equation, k = uᵐ, has Φ = u^(m+1)/(m+1);
    - the one-phase Stefan problem, k = 1 for u ≥ u* and 0 below, has Φ = max(u - u*, 0): u is the
      enthalpy, Φ the temperature above melting, u* the latent heat.

    Functions take an array of values (`flux`, `potential`) and act element by element. A function
    with a parameter that changes from call to call is best given as
    `jax.tree_util.Partial(function, parameter)`, called as `function(parameter, u)`: the parameter
    may then be traced, and the solver is compiled once for all its values.

    Attributes:
        flux: f, convex or concave between the smallest and the largest value of the field; None for
            none.
        potential: Φ, nowhere decreasing; None for none.
        lower: the boundary at the first edge: `Dirichlet`, `Outflow` or `Periodic`.
        upper: the boundary at the last edge.
    """

    flux: Leaf = None
    potential: Leaf = None
    lower: Leaf
    upper: Leaf


@tabulated("Cell averages in time")
class Evolution(NamedTuple):
    """Cell averages at the times asked for, and what has passed the walls until then.

    With w the widths of the cells, `averages @ w` changes by `through_lower - through_upper`, to
    rounding.

    Attributes:
        averages: shape (times, cells); the first row is the initial one.
        through_lower: ∫ F dt at the first edge since the first time, in the direction of +x, shape
            (times,).
        through_upper: the same at the last edge, shape (times,).
        steps: number of time steps taken.
    """

    averages: jax.Array
    through_lower: jax.Array
    through_upper: jax.Array
    steps: Any


def solve(
    law: ConservationLaw,
    initial: ArrayLike,
    *,
    edges: ArrayLike | Sequence,
    times: ArrayLike | Sequence,
    order: int = 2,
    courant: ArrayLike = 0.9,
    max_steps: int = 1_000_000,
) -> Evolution:
    """Advance cell averages in time.

        duᵢ/dt = -(Fᵢ₊½ - Fᵢ₋½)/wᵢ,    Fᵢ₊½ = (f(u⁻) + f(u⁺))/2 - α/2 (u⁺ - u⁻) - (Φ(uᵢ₊₁) -
        Φ(uᵢ))/dᵢ₊½,    α = max |f'(u^∓)|

    The hyperbolic part is Rusanov's flux (upwind for linear f) of the values u⁻, u⁺ on the two
    sides of the face. With `order=1` these are the cell averages themselves, and time advances by
    Euler steps: a monotone scheme, which creates no extremum and whose error in L1 is O(h) where
    the solution is smooth and at shocks, O(h^1/2) at a jump that is merely carried along. With
    `order=2` they are taken from a limited straight line in each cell (MUSCL, the monotonised
    central limiter), and time advances by Heun steps, the strong-stability-preserving Runge-Kutta
    method of two stages: O(h²) where the solution is smooth, O(h) at shocks, O(h^2/3) at a jump
    that is carried along.

    The diffusive part is a difference of potentials: the conductivity of a face is the mean of k
    over all values between its two cells, (Φ(uᵢ₊₁) - Φ(uᵢ))/(uᵢ₊₁ - uᵢ). It is monotone for any Φ
    that does not decrease, and so converges to the one weak solution, fronts included: O(h²) where
    k > 0, O(h^(1+1/m)) at the foot u ~ (distance)^1/m of a porous medium front with m > 1, about
    O(h^3/2) at a Stefan front (cells melt one after another, and the field behind is O(h) off
    within a distance of √h). Taking k at the mean
    of the two cells does not converge: at a Stefan front of u* > 1/2 it is zero, and the front
    never leaves the wall.

    The time step is one for the whole run, the `courant`-th part of the longest one for which no
    new extremum can arise,

        Δt · maxᵢ [order · max|f'|/wᵢ + (max k/dᵢ₋½ + max k/dᵢ₊½)/wᵢ] ≤ courant

    with maxima over all values between the smallest and the largest of the initial field and the
    walls: by the maximum principle none lies outside. (Walls are sampled at 257 times and those
    asked for; a larger value between these is not seen.) Diffusion is explicit, so that steps grow
    as h⁻²: k = 1 between held walls a unit apart takes 100 cells 33 334 steps per unit of time.

    May be jitted, mapped and differentiated forwards (`jax.jvp`, `jax.jacfwd`) in `initial` and in
    the parameters of the law. Nothing
    can be raised then: too many steps, a decreasing potential and values that are not finite give
    NaN.

    Args:
        law: the conservation law with its boundaries.
        initial: averages over the cells at the first time, shape (cells,), as of `cell_averages`.
            Their float type is the run's.
        edges: faces of the cells, strictly increasing, shape (cells + 1,); they shape the program
            and are not traced.
        times: strictly increasing, not traced; the first is that of `initial`.
        order: 1 or 2.
        courant: above 0, at most 1.
        max_steps: refuse to take more.

    Raises:
        ValueError: for a law without terms or with one periodic end, a decreasing potential, arrays
            whose shapes do not fit, edges or times that do not increase, another order, a courant
            number outside (0, 1], too many steps.

    Source: LeVeque, "Finite Volume Methods for Hyperbolic Problems", Cambridge 2002, chapters 4, 6
    and 12; van Leer, J. Comput. Phys. 32 (1979) 101 (limiter); Shu and Osher, J. Comput. Phys. 77
    (1988) 439 (time steps); Evje and Karlsen, SIAM J. Numer. Anal. 37 (2000) 1838 (degenerate
    diffusion: monotone differences of Φ converge to the entropy solution).
    """
    _check_law(law)
    edges, times = _increasing(edges, "edges", least=3), _increasing(times, "times", least=2)
    initial = _checked_initial(initial, cells=len(edges) - 1)
    if order not in (1, 2):
        raise RefusedValue(f"order must be 1 (monotone) or 2 (limited slopes); got {order!r}")
    if not (
        isinstance(courant, Tracer)
        or (np.shape(courant) == () and bool(0 < np.asarray(courant) <= 1))
    ):
        raise RefusedValue(
            f"courant is a share of the longest stable step, above 0 and at most 1; got {courant}. "
            "Write courant=0.9"
        )
    dtype = initial.dtype
    widths, times, courant = (jnp.asarray(a, dtype) for a in (np.diff(edges), times, courant))
    evolution, needed, least = _run(
        _traceable(law), initial, widths, times, courant, max_steps, order=order
    )
    if any(isinstance(leaf, Tracer) for leaf in (*evolution, needed, least)):
        return evolution
    if least < 0:
        raise RefusedValue(
            f"potential must not decrease: its slope, the conductivity, reaches {least:.3g}; this "
            "is ill-posed"
        )
    if not needed <= max_steps:
        raise RefusedValue(
            f"{needed:.3g} steps are needed and max_steps is {max_steps}: (a) explicit diffusion "
            "needs as many as 1/h²: take wider cells; (b) one cell is far narrower than the "
            "others; (c) values, speeds or conductivities are huge or not finite; or pass a larger "
            "max_steps"
        )
    return evolution._replace(steps=int(needed))


def cell_averages(
    function: Callable, edges: ArrayLike | Sequence, *, points: int = 64
) -> jax.Array:
    """Averages of a function over cells, (1/w) ∫ u dx, by the midpoint rule on equal parts of each
    cell.

    The error is w² u''/(24 points²) where the function is smooth, and up to jump/(2 points) in a
    cell with a jump.

    Args:
        function: u(x) of an array of positions, element by element.
        edges: faces of the cells, strictly increasing, shape (cells + 1,).
        points: parts of each cell.

    Returns:
        Averages, shape (cells,).
    """
    edges = _increasing(edges, "edges", least=2)
    if points < 1:
        raise RefusedValue(
            f"points are the parts of each cell, 1 or more; got {points}. Write points=64"
        )
    shares = (np.arange(points) + 0.5) / points
    return jnp.mean(
        function(jnp.asarray(edges[:-1, None] + np.diff(edges)[:, None] * shares)), axis=1
    )


@functools.partial(jax.jit, static_argnames="order")
def _run(law, initial, widths, times, courant, max_steps, *, order):
    """The evolution, the number of steps it needs, and the least conductivity; NaN in place of a
    run that needs too many.
    """
    ends = law.lower.distance(widths[:1], widths[-1:]), law.upper.distance(widths[-1:], widths[:1])
    distances = jnp.concatenate([ends[0], (widths[1:] + widths[:-1]) / 2, ends[1]])
    speed, most, least = _extremes(law, initial, times)
    rate = jnp.max((order * speed + most / distances[:-1] + most / distances[1:]) / widths)
    gaps = jnp.diff(times)
    counts = jnp.maximum(jnp.ceil(gaps * rate / courant), 1.0)
    needed = jnp.sum(counts)
    counts = jnp.where(needed <= max_steps, counts, 0.0).astype(int)
    current = functools.partial(_current, law, widths=widths, distances=distances, order=order)

    def interval(state, span):
        start, gap, count = span
        step = gap / count

        def advance(i, state):
            u, through = state
            t = start + i * step
            flow = current(u, t)
            if order == 2:
                flow = (flow + current(u - step / widths * jnp.diff(flow), t + step)) / 2
            return u - step / widths * jnp.diff(flow), through + step * flow[jnp.array([0, -1])]

        state = jax.lax.fori_loop(0, count, advance, state)
        return state, state

    first = initial, jnp.zeros_like(initial, shape=(2,))
    _, (averages, through) = jax.lax.scan(interval, first, (times[:-1], gaps, counts))
    averages, through = (
        jnp.concatenate([a[None], rows]) for a, rows in zip(first, (averages, through), strict=True)
    )
    failed = ~(needed <= max_steps) | (least < 0)
    averages, through = (jnp.where(failed, jnp.nan, a) for a in (averages, through))
    return Evolution(averages, through[:, 0], through[:, 1], needed), needed, least


def _current(law, u, t, *, widths, distances, order):
    """F through every face, shape (cells + 1,)."""
    met = jnp.concatenate(
        [law.lower.outside(t, u[:1], u[-1:]), u, law.upper.outside(t, u[-1:], u[:1])]
    )
    current = jnp.zeros_like(met[1:])
    if law.potential is not None:
        current -= jnp.diff(law.potential(met)) / distances
    if law.flux is not None:
        rise = _limited_rise(jnp.diff(met), distances, widths) if order == 2 else jnp.zeros_like(u)
        rise = jnp.concatenate([law.lower.rise(rise[-1:]), rise, law.upper.rise(rise[:1])])
        current += _rusanov(law.flux, (met + rise)[:-1], (met - rise)[1:])
    return current


def _limited_rise(jumps, distances, widths):
    """By how much each cell's line rises from its centre to its upper face.

    By the central slope, but not so far that a face value passes a neighbour's or the wall's; not
    at all in an extremum.
    """
    before, after, back, ahead = jumps[:-1], jumps[1:], distances[:-1], distances[1:]
    central = (before / back * ahead + after / ahead * back) / (back + ahead) * widths / 2
    size = jnp.minimum(jnp.minimum(jnp.abs(before), jnp.abs(after)), jnp.abs(central))
    return jnp.where(before * after > 0, jnp.sign(after) * size, 0.0)


def _rusanov(flux, left, right):
    alpha = jnp.maximum(jnp.abs(_slope(flux, left)), jnp.abs(_slope(flux, right)))
    return (flux(left) + flux(right)) / 2 - alpha / 2 * (right - left)


def _slope(function, u):
    return jax.jvp(function, (u,), (jnp.ones_like(u),))[1]


def _extremes(law, initial, times):
    """The largest |f'|, and the largest and the least k, over all values that the field can
    take.
    """
    sampled = jnp.concatenate(
        [times, times[0] + (times[-1] - times[0]) * jnp.linspace(0, 1, _SAMPLES, dtype=times.dtype)]
    )
    taken = jnp.concatenate([initial, law.lower.imposed(sampled), law.upper.imposed(sampled)])
    low, high = jnp.min(taken), jnp.max(taken)
    values = low + (high - low) * jnp.linspace(0, 1, _SAMPLES, dtype=taken.dtype)
    none = jnp.zeros_like(values)
    speeds = none if law.flux is None else jnp.abs(_slope(law.flux, values))
    conductivities = none if law.potential is None else _slope(law.potential, values)
    return jnp.max(speeds), jnp.max(conductivities), jnp.min(conductivities)


def _traceable(law):
    """The law with its plain functions as pytrees without leaves, so that they may pass through
    `jax.jit`.
    """
    wrap = jax.tree_util.Partial
    return jax.tree.map(
        lambda leaf: wrap(leaf) if callable(leaf) and not isinstance(leaf, wrap) else leaf,
        law,
        is_leaf=callable,
    )


def _check_law(law):
    if law.flux is None and law.potential is None:
        raise RefusedValue(
            "a law needs a flux f(u), a potential Φ(u), or both; write ConservationLaw(flux=lambda "
            "u: u**2 / 2, ...)"
        )
    for side in ("lower", "upper"):
        if not isinstance(boundary := getattr(law, side), (Dirichlet, Outflow, Periodic)):
            raise RefusedValue(
                f"{side} must be Dirichlet(value), Outflow() or Periodic(); got {boundary!r}"
            )
    if isinstance(law.lower, Periodic) != isinstance(law.upper, Periodic):
        raise RefusedValue(
            "one boundary is periodic and the other is not: a ring has no ends. Write Periodic() "
            "for both, or for neither"
        )


def _increasing(values, name, *, least):
    """The values in NumPy and float64, if they are at least so many and increase strictly."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < least:
        raise RefusedValue(
            f"{name} must be a one-dimensional array of at least {least} numbers; got shape "
            f"{values.shape}"
        )
    if not (np.isfinite(values).all() and (np.diff(values) > 0).all()):
        worst = int(np.argmin(np.diff(values) > 0))
        raise RefusedValue(
            f"{name} must be finite and increase strictly; got {values[worst + 1]:g} after "
            f"{values[worst]:g} at position {worst + 1}"
        )
    return values


def _checked_initial(initial, *, cells):
    initial = jnp.asarray(initial, jnp.result_type(initial, 0.0))
    if initial.shape != (cells,):
        raise RefusedValue(
            f"initial must hold one average for each of the {cells} cells between {cells + 1} "
            f"edges, shape ({cells},); got {initial.shape}. Write initial=cell_averages(function, "
            "edges); for many fields, jax.vmap over them"
        )
    if not isinstance(initial, Tracer) and not np.isfinite(initial).all():
        raise RefusedValue("initial holds NaN or infinite averages")
    return initial
