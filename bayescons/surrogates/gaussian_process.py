"""A belief that needs no training: a Gaussian process over all axes of a grid, from scattered
readings of the field.

    u ~ GP(m, amplitude² ∏_a k_a(·, ·; ℓ_a)),     y_j = u(z_j) + noise ε_j,  ε_j ~ N(0, 1)

with one stationary kernel per axis a and readings y_j at points z_j anywhere. The prior is a
Kronecker product over the grid, extended along each axis by the coordinates of the readings, and
the readings are points of this larger grid; so the posterior on the grid is
`Marginal(Conditioned(Kronecker))` and no n x n matrix is formed. Hyper-parameters are fitted by
maximum marginal likelihood, or come from a program that samples them.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press 2006 (chapters 2,
4.2 and 5.4.1). The kernels are those of tinygp.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import tinygp
from jax.typing import ArrayLike
from tinygp.transforms import Subspace

from bayescons.arrays import concrete, finite, positive
from bayescons.functionals.points import PointEvaluation
from bayescons.gaussians.composites import Marginal
from bayescons.gaussians.conditioning import Constraint, condition
from bayescons.gaussians.gaussian import Gaussian, kronecker
from bayescons.grids import Grid

KERNELS = {
    "matern12": tinygp.kernels.Exp,
    "matern32": tinygp.kernels.Matern32,
    "matern52": tinygp.kernels.Matern52,
    "squared_exponential": tinygp.kernels.ExpSquared,
}
"""Kernels by name, k(0) = 1: draws are continuous, once and twice differentiable, and smooth
(Rasmussen and Williams, table 4.1).
"""

Mean = ArrayLike | Callable[..., ArrayLike]
Kernels = str | Mapping[str, str]

# Where the fit starts: lengths as shares of the extent of the readings, noise as a share of their
# size. The best few are refined.
_LENGTHS, _NOISES, _REFINED = (0.03, 0.1, 0.3, 1.0), (1e-3, 1e-1), 3


class Hyperparameters(NamedTuple):
    """What a separable Gaussian process depends on. All are positive, and numbers or traced
    scalars.

    Attributes:
        amplitude: prior standard deviation of the field about its mean, in the unit of the field.
        lengths: correlation length ℓ_a by name of axis, in the unit of the axis.
        noise: standard deviation of the readings' error, in the unit of the field; 0.0 for exact
            readings.
    """

    amplitude: ArrayLike
    lengths: Mapping[str, ArrayLike]
    noise: ArrayLike


def gaussian_process(
    grid: Grid,
    coordinates: Mapping[str, ArrayLike],
    values: ArrayLike,
    *,
    kernels: Kernels = "matern32",
    mean: Mean = 0.0,
    noise: float | None = None,
    hyperparameters: Hyperparameters | None = None,
) -> Gaussian:
    """The field on the grid given r readings: mean m + K_gr (K_rr + noise² I)⁻¹ (y - m_r),
    covariance K_gg - K_gr (K_rr + noise² I)⁻¹ K_rg.

    With N points of the grid extended by the readings' coordinates, n along an axis, mean and
    variance cost r products with K each, of order N n operations; 100 scattered readings on a 201 x
    201 grid take under a second each on two cores.

    Args:
        grid: where the belief is wanted.
        coordinates: coordinates of the readings by name of axis, each of shape (r,); may lie
            between grid points and outside the grid.
        values: y, shape (r,), in the unit of the field.
        kernels: one of `KERNELS` for all axes, or one for each by name of axis.
        mean: prior mean m: a number, or a function of the coordinates by name that broadcasts,
            `lambda t, x: 1 - x`. It may know the boundary, see `straight_between`.
        noise: standard deviation of the readings' error: None to fit it, 0.0 for exact readings.
        hyperparameters: where they are known or sampled; by default `fit` finds them, and then
            nothing may be traced.

    Returns:
        A belief over fields of shape `grid.shape`. Exact readings at points of the grid hold in the
        mean and in every draw.

    Raises:
        ValueError: for readings that are not finite, of unequal numbers, or without an axis of the
            grid; an unknown kernel or axis; `noise` beside `hyperparameters`.
        InconsistentConstraintsError: for exact readings that contradict each other.

    Where it fails: a stationary prior does not know of jumps. At a front the fit chooses a short
    length or a large noise, the mean smears the jump and overshoots beside it. A smooth kernel
    ("squared_exponential", often also the one of largest evidence where most readings lie in smooth
    parts) leaves so few free directions that exact constraints at many times contradict it.
    Coordinates are laid out on the host and cannot be traced; values and hyper-parameters can, so
    map over `values` with `jax.vmap` for several fields read at the same points.
    """
    places, values = _checked_readings(coordinates, values, grid.names)
    if hyperparameters is None:
        hyperparameters = fit(places, values, kernels=kernels, mean=mean, noise=noise)
    elif noise is not None:
        raise ValueError(
            "noise is one of the hyperparameters; write Hyperparameters(amplitude, lengths, noise) "
            "and leave noise out"
        )
    amplitude, lengths, noise = _checked_hyperparameters(hyperparameters, grid.names)

    joint = [_joint_axis(grid[name], places[name]) for name in grid.names]
    prior = _separable(dict(zip(grid.names, joint, strict=True)), lengths, kernels, amplitude, mean)
    indices = tuple(
        _positions(axis, places[name]) for name, axis in zip(grid.names, joint, strict=True)
    )
    readings = PointEvaluation(
        indices, tuple(places.values()), shape=prior.event_shape, names=grid.names
    )
    posterior = condition(
        prior, Constraint(readings, values, None if _is_zero(noise) else noise, "readings")
    )

    kept = tuple(
        None if len(axis) == n else np.arange(n) for axis, n in zip(joint, grid.shape, strict=True)
    )
    part = Marginal(posterior.covariance, kept)
    return Gaussian(part.take(posterior.loc), part)


def fit(
    coordinates: Mapping[str, ArrayLike],
    values: ArrayLike,
    *,
    kernels: Kernels = "matern32",
    mean: Mean = 0.0,
    noise: float | None = None,
) -> Hyperparameters:
    """Hyper-parameters of largest `log_evidence_of_readings` (type-II maximum likelihood).

    In logarithms by L-BFGS-B, from the best of a lattice of starting points; the same readings
    always give the same answer. In units of the readings (extent = largest minus smallest of their
    m distinct coordinates, size = root mean square of y - m(z)):

        ℓ_a in [1/m, 10] extents,   amplitude in [0.01, 100] sizes,   noise, if fitted, in [1e-4, 1]
        sizes

    (readings cannot tell a length below their own average spacing from noise).

    The cost is some hundred Cholesky factorizations of an r x r matrix: a second for 100 readings,
    minutes for 2,000.

    Args:
        coordinates: by name of axis, each of shape (r,).
        values: y, shape (r,).
        kernels: as in `gaussian_process`.
        mean: as in `gaussian_process`.
        noise: None to fit it, otherwise held at this value; 0.0 for exact readings.

    Returns:
        Hyper-parameters as floats, `lengths` for every axis in `coordinates`.

    Raises:
        ValueError: for bad readings (see `gaussian_process`), an axis along which all readings
            share one coordinate (its length cannot be learnt), readings that equal the mean, or
            negative noise.
        TypeError: for traced readings.
        FloatingPointError: where the likelihood is not finite anywhere in these ranges.

    Where it fails: a maximum is one point. With few readings the likelihood is flat, the maximum
    may lie at a bound (then one kernel or one axis explains nothing) and the belief is
    overconfident; sample the hyper-parameters instead, with `log_evidence_of_readings`.

    Source: Rasmussen and Williams 2006, section 5.4.1, eqs. 5.8 and 5.9.
    """
    with jax.enable_x64(True):
        places, values = _checked_readings(coordinates, values, tuple(coordinates))
        if not concrete(values):
            raise TypeError(
                "the fit runs on the host and cannot be traced; call fit outside jit and vmap and "
                "give its hyperparameters"
            )
        extents, counts = _extents(places)
        residual = np.asarray(values - _mean_at(mean, places, values.shape))
        size = float(np.sqrt(np.mean(residual**2)))
        if size == 0:
            raise ValueError(
                "the readings equal the mean everywhere, so there is no size to learn; give "
                "hyperparameters, or another mean"
            )
        known = None if noise is None else float(positive("noise", noise, (), zero=True))
        shares = itertools.product(*[_LENGTHS] * len(places), _NOISES if known is None else (None,))
        starts = [
            [size, *np.multiply(s[:-1], extents), *([s[-1] * size] if known is None else [])]
            for s in shares
        ]
        bounds = [(0.01 * size, 100 * size)]
        bounds += [
            (extent / count, 10 * extent) for extent, count in zip(extents, counts, strict=True)
        ]
        bounds += [(1e-4 * size, size)] if known is None else []
        cost = jax.tree_util.Partial(
            _cost, _kinds(tuple(places), kernels), _rows(places), residual, known
        )
        best = _minimize(cost, np.log(starts), np.log(bounds))
    amplitude, *lengths = map(float, np.exp(best[: 1 + len(places)]))
    return Hyperparameters(
        amplitude,
        dict(zip(places, lengths, strict=True)),
        float(np.exp(best[-1])) if known is None else known,
    )


def log_evidence_of_readings(
    coordinates: Mapping[str, ArrayLike],
    values: ArrayLike,
    hyperparameters: Hyperparameters,
    *,
    kernels: Kernels = "matern32",
    mean: Mean = 0.0,
) -> jax.Array:
    """Log N(y; m_r, K_rr + noise² I), the log marginal likelihood of r readings (nats).

    Differentiable in values and hyper-parameters. In a program that samples them, weigh them by it
    and use what they imply:

        numpyro.factor("readings", log_evidence_of_readings(coordinates, values, sampled)) u =
        numpyro.sample("u", gaussian_process(grid, coordinates, values, hyperparameters=sampled))

    A share 1e-10 of amplitude² is added to the diagonal (8e-6 in float32), as in the prior of
    `gaussian_process`, so that exact readings of a smooth kernel have a Cholesky factor; exact
    readings made twice at one point are not recognised as such.

    Args:
        coordinates: by name of axis, each of shape (r,).
        values: y, shape (r,).
        hyperparameters: `lengths` for every axis in `coordinates`.
        kernels: as in `gaussian_process`.
        mean: as in `gaussian_process`.

    Source: Rasmussen and Williams 2006, eq. 2.30; computed by `tinygp.GaussianProcess`.
    """
    places, values = _checked_readings(coordinates, values, tuple(coordinates))
    amplitude, lengths, noise = _checked_hyperparameters(hyperparameters, tuple(places))
    residual = values - _mean_at(mean, places, values.shape)
    return _log_evidence(
        _kinds(tuple(places), kernels),
        _rows(places),
        residual,
        amplitude,
        tuple(lengths.values()),
        noise,
    )


def separable(
    grid: Grid,
    lengths: Mapping[str, ArrayLike | None],
    *,
    kernels: Kernels = "matern32",
    amplitude: ArrayLike = 1.0,
    mean: Mean = 0.0,
) -> Gaussian:
    """The prior on the grid, u ~ N(m, amplitude² ⊗_a K_a) with (K_a)_ij = k_a(c_i, c_j; ℓ_a),
    before any reading.

    For use inside a program with sampled hyper-parameters: differentiable in lengths, amplitude and
    mean, under `jit` too.

        u = numpyro.sample("u", separable(grid, {"t": length_t, "x": length_x},
        amplitude=amplitude))

    Args:
        grid: where the field lives.
        lengths: correlation length by name of axis, in the unit of the axis; None for an axis along
            which the field is independent.
        kernels: as in `gaussian_process`.
        amplitude: prior standard deviation of the field about its mean.
        mean: as in `gaussian_process`.

    Raises:
        ValueError: for an unknown kernel or axis, or a length or amplitude that is not positive.

    Where it fails: "squared_exponential" on a grid much finer than its length is singular to
    rounding (its eigenvalues fall faster than geometrically). The diagonal gets a share 1e-10 (8e-6
    in float32) in each factor, so draws carry a white error of 1e-5 amplitudes.
    """
    lengths = {
        name: None if lengths[name] is None else _checked_length(name, lengths[name])
        for name in _same_axes("lengths", lengths, grid.names)
    }
    return _separable(grid, lengths, kernels, positive("amplitude", amplitude, ()), mean)


def straight_between(grid: Grid, axis: str, lower: Mean, upper: Mean) -> Callable[..., jax.Array]:
    """A prior mean that knows both boundary values and is straight between them, m = lower + (upper
    - lower) (x - x_0)/(x_1 - x_0).

    It is the steady state of heat conduction. Beyond the ends of the grid it goes on straight.

    Args:
        grid: whose `axis` runs from one boundary to the other.
        axis: name of that axis.
        lower: boundary value at its first point: a number, or a function of all coordinates by
            name.
        upper: the same at its last point.

    Returns:
        A function of the coordinates by name, for `mean`.
    """
    first, last = grid[axis][0], grid[axis][-1]

    def mean(**coordinates):
        shape = np.broadcast_shapes(*map(np.shape, coordinates.values()))
        low, high = (_mean_at(end, coordinates, shape) for end in (lower, upper))
        return low + (high - low) * jnp.broadcast_to(
            (coordinates[axis] - first) / (last - first), shape
        )

    return mean


def _separable(
    axes: Mapping, lengths: Mapping, kernels: Kernels, amplitude, mean: Mean
) -> Gaussian:
    """The prior over any tensor grid; its axes need not be sorted."""
    dtype = jnp.result_type(float)
    factors = []
    for (name, points), kind in zip(axes.items(), _kinds(tuple(axes), kernels), strict=True):
        points = jnp.asarray(points, dtype)
        factors.append(
            None if lengths[name] is None else KERNELS[kind](lengths[name])(points, points)
        )
    mesh = dict(zip(axes, np.meshgrid(*axes.values(), indexing="ij", sparse=True), strict=True))
    level = _mean_at(mean, mesh, tuple(map(len, axes.values())))
    return kronecker(level, factors, scale=amplitude, jitter=_jitter(dtype))


def _log_evidence(kinds: tuple[str, ...], points, residual, amplitude, lengths, noise) -> jax.Array:
    """Log N(residual; 0, K + noise² I) for points as rows, with one kernel and length per
    column.
    """
    kernel = amplitude**2
    for column, (kind, length) in enumerate(zip(kinds, lengths, strict=True)):
        kernel = kernel * Subspace(column, KERNELS[kind](length))
    diagonal = noise**2 + _jitter(residual.dtype) * amplitude**2
    return tinygp.GaussianProcess(
        kernel, jnp.asarray(points, residual.dtype), diag=diagonal
    ).log_probability(residual)


@partial(jax.jit, static_argnums=0)
def _cost(kinds: tuple[str, ...], points, residual, noise, logs):
    """What the fit minimizes, and its slope, at the logarithms of amplitude, lengths and (where it
    is not given) noise.
    """

    def cost(logs):
        amplitude, *lengths = jnp.exp(logs[: 1 + len(kinds)])
        return -_log_evidence(
            kinds,
            points,
            residual,
            amplitude,
            lengths,
            jnp.exp(logs[-1]) if noise is None else noise,
        )

    return jax.value_and_grad(cost)(logs)


def _kinds(names: tuple[str, ...], kernels: Kernels) -> tuple[str, ...]:
    """Name of the kernel of each axis."""
    named = dict.fromkeys(names, kernels) if isinstance(kernels, str) else kernels
    _same_axes("kernels", named, names)
    unknown = [kind for kind in named.values() if kind not in KERNELS]
    if unknown:
        raise ValueError(f"unknown kernel {unknown[0]!r}; choose one of {', '.join(KERNELS)}")
    return tuple(named[name] for name in names)


def _rows(places: Mapping) -> np.ndarray:
    return np.stack(list(places.values()), axis=-1)


def _mean_at(mean: Mean, coordinates: Mapping, shape: tuple[int, ...]) -> jax.Array:
    level = jnp.asarray(mean(**coordinates) if callable(mean) else mean, jnp.result_type(float))
    if level.ndim != len(shape) and level.ndim:
        raise ValueError(
            f"mean must give a number or an array that broadcasts to {shape}, as its coordinates "
            f"do; got {level.shape}"
        )
    return finite("mean", jnp.broadcast_to(level, shape))


def _minimize(cost: Callable, starts: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Smallest of a few local minima, found from the best starting points; `cost` gives value and
    slope.
    """
    starts = np.clip(starts, *bounds.T)

    def on_host(logs):
        value, slope = (np.asarray(part, np.float64) for part in cost(logs))
        return (
            (float(value), slope)
            if np.isfinite(value) and np.isfinite(slope).all()
            else (1e25, np.zeros_like(slope))
        )

    order = np.argsort([on_host(start)[0] for start in starts], kind="stable")[:_REFINED]
    found = [
        scipy.optimize.minimize(on_host, starts[i], jac=True, method="L-BFGS-B", bounds=bounds)
        for i in order
    ]
    best = min(found, key=lambda result: result.fun)
    if best.fun >= 1e25:
        raise FloatingPointError(
            "the marginal likelihood of the readings is not finite anywhere: (a) exact readings "
            "twice at one point, or a kernel too smooth for exact readings: give noise > 0 or "
            "leave noise out; (b) values so large or small that squares over- or underflow"
        )
    return best.x


def _joint_axis(grid_points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Grid points, then the distinct coordinates of readings that are no grid points."""
    return np.concatenate([grid_points, np.setdiff1d(places, grid_points)])


def _positions(axis: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Index of each reading in a joint axis."""
    order = np.argsort(axis)
    return order[np.searchsorted(axis, places, sorter=order)]


def _extents(places: Mapping) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array([len(np.unique(c)) for c in places.values()])
    for name, count in zip(places, counts, strict=True):
        if count == 1:
            raise ValueError(
                f"all readings share one coordinate along {name!r}, so its length cannot be "
                "learnt; give hyperparameters, or readings at two coordinates or more"
            )
    return np.array([np.ptp(c) for c in places.values()]), counts


def _jitter(dtype) -> float:
    """Share added to the diagonal: 1e-10, and 64 eps where that is more."""
    return max(1e-10, 64 * float(jnp.finfo(dtype).eps))


def _is_zero(noise) -> bool:
    return concrete(noise) and bool(noise == 0)


def _checked_readings(
    coordinates: Mapping, values, names: tuple[str, ...]
) -> tuple[dict, jax.Array]:
    """Coordinates in the order of the axes, on the host, and values."""
    _same_axes("coordinates", coordinates, names)
    if any(not concrete(c) for c in coordinates.values()):
        raise TypeError(
            "coordinates of readings lay out the grid and cannot be traced; keep them out of jit "
            "and vmap's arguments"
        )
    places = {name: np.asarray(coordinates[name], np.float64) for name in names}
    shapes = {name: c.shape for name, c in places.items()} | {"values": jnp.shape(values)}
    if len(set(shapes.values())) > 1 or jnp.ndim(values) != 1 or jnp.size(values) == 0:
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            "coordinates and values must be arrays of one shape (r,), one entry per reading; got "
            f"{given}"
        )
    for name, c in places.items():
        finite(f"coordinates of readings along {name!r}", c)
    return places, finite("values of the readings", jnp.asarray(values, jnp.result_type(float)))


def _checked_hyperparameters(given: Hyperparameters, names: tuple[str, ...]):
    lengths = {
        name: _checked_length(name, given.lengths[name])
        for name in _same_axes("lengths", given.lengths, names)
    }
    return (
        positive("amplitude", given.amplitude, ()),
        lengths,
        positive("noise", given.noise, (), zero=True),
    )


def _checked_length(name: str, length) -> jax.Array:
    return positive(f"length of {name!r}", length, ())


def _same_axes(what: str, given: Mapping, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the axes, if they are what a mapping is keyed by."""
    if set(given) != set(names):
        raise ValueError(
            f"{what} must name the axes {', '.join(map(repr, names))}; got "
            f"{', '.join(map(repr, given)) or 'none'}. Write "
            f"{what}={{{', '.join(f'{n!r}: ...' for n in names)}}}"
        )
    return names
