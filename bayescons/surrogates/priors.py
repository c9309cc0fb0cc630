"""A separable Gaussian process over the axes of a grid, before any reading.

    u ~ GP(m, amplitude² ∏_a k_a(·, ·; ℓ_a))

with one stationary kernel per axis a: a Kronecker product over the grid.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press 2006 (chapters 2
and 4.2). The kernels are those of tinygp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import tinygp
from jax.typing import ArrayLike

from bayescons.arrays import finite, positive
from bayescons.gaussians.gaussian import Gaussian, kronecker
from bayescons.grids import Grid
from bayescons.refusals import RefusedValue

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

        prior = separable(grid, {"t": length_t, "x": length_x}, amplitude=amplitude)
        u = numpyro.sample("u", prior)

    Args:
        grid: where the field lives.
        lengths: correlation length by name of axis, in the unit of the axis; None for an axis along
            which the field is independent.
        kernels: as in `gaussian_process`.
        amplitude: prior standard deviation of the field about its mean.
        mean: as in `gaussian_process`.

    Raises:
        ValueError: for an unknown kernel or axis, a length or amplitude that is not positive, or a
            length along a ring or an index.

    Where it fails: "squared_exponential" on a grid much finer than its length is singular to
    rounding (its eigenvalues fall faster than geometrically). The diagonal gets a share 1e-10 (8e-6
    in float32) in each factor, so draws carry a white error of 1e-5 amplitudes.
    """
    lengths = {
        name: None if lengths[name] is None else check_length(name, lengths[name])
        for name in check_axes("lengths", lengths, grid.names)
    }
    require_lines(grid, [name for name, length in lengths.items() if length is not None])
    amplitude = jnp.asarray(positive("amplitude", amplitude, ()))
    return separable_prior(grid, lengths, kernels, amplitude, mean)


def require_lines(grid: Grid, names) -> None:
    """Refuse axes along which a kernel of the difference of coordinates would be wrong: it does not
    close around a ring, and counts of cells are no distances.
    """
    for name in names:
        grid.require_line(
            name,
            "a kernel",
            "Leave the field independent there (a length of None), or give the covariance of its "
            "points: bc.kronecker(mean, covariances)",
        )


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
        low, high = (mean_at(end, coordinates, shape) for end in (lower, upper))
        return low + (high - low) * jnp.broadcast_to(
            (coordinates[axis] - first) / (last - first), shape
        )

    return mean


def separable_prior(
    axes: Mapping, lengths: Mapping, kernels: Kernels, amplitude, mean: Mean
) -> Gaussian:
    """The prior over any tensor grid; its axes need not be sorted."""
    dtype = jnp.result_type(float)
    factors = []
    for (name, points), kind in zip(axes.items(), kernel_names(tuple(axes), kernels), strict=True):
        points = jnp.asarray(points, dtype)
        factors.append(
            None if lengths[name] is None else KERNELS[kind](lengths[name])(points, points)
        )
    mesh = dict(zip(axes, np.meshgrid(*axes.values(), indexing="ij", sparse=True), strict=True))
    level = mean_at(mean, mesh, tuple(map(len, axes.values())))
    return kronecker(level, factors, scale=amplitude, jitter=jitter(dtype))


def kernel_names(names: tuple[str, ...], kernels: Kernels) -> tuple[str, ...]:
    """Name of the kernel of each axis."""
    named = dict.fromkeys(names, kernels) if isinstance(kernels, str) else kernels
    check_axes("kernels", named, names)
    unknown = [kind for kind in named.values() if kind not in KERNELS]
    if unknown:
        raise RefusedValue(f"unknown kernel {unknown[0]!r}; choose one of {', '.join(KERNELS)}")
    return tuple(named[name] for name in names)


def mean_at(mean: Mean, coordinates: Mapping, shape: tuple[int, ...]) -> jax.Array:
    """A prior mean at coordinates by name, spread to their common shape."""
    level = jnp.asarray(mean(**coordinates) if callable(mean) else mean, jnp.result_type(float))
    if level.ndim != len(shape) and level.ndim:
        raise RefusedValue(
            f"mean must give a number or an array that broadcasts to {shape}, as its coordinates "
            f"do; got {level.shape}"
        )
    return finite("mean", jnp.broadcast_to(level, shape))


def jitter(dtype) -> float:
    """Share added to the diagonal: 1e-10, and 64 eps where that is more."""
    return max(1e-10, 64 * float(jnp.finfo(dtype).eps))


def check_length(name: str, length) -> jax.Array:
    """The correlation length of an axis, if it is positive."""
    return jnp.asarray(positive(f"length of {name!r}", length, ()))


def check_axes(what: str, mapping: Mapping, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the axes, if they are what a mapping is keyed by."""
    if set(mapping) != set(names):
        raise RefusedValue(
            f"{what} must name the axes {', '.join(map(repr, names))}; got "
            f"{', '.join(map(repr, mapping)) or 'none'}. Write "
            f"{what}={{{', '.join(f'{n!r}: ...' for n in names)}}}"
        )
    return names
