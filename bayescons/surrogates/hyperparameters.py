"""Hyper-parameters of a separable Gaussian process: their marginal likelihood given readings, and
its maximum.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press 2006, section
5.4.1.
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
from bayescons.descriptions import tabulated
from bayescons.refusals import RefusedNumbers, RefusedType, RefusedValue
from bayescons.surrogates.priors import (
    KERNELS,
    Kernels,
    Mean,
    check_axes,
    check_length,
    jitter,
    kernel_names,
    mean_at,
)

# Where the fit starts: lengths as shares of the extent of the readings, noise as a share of their
# size. The best few are refined.
_LENGTHS, _NOISES, _REFINED = (0.03, 0.1, 0.3, 1.0), (1e-3, 1e-1), 3


@tabulated("Hyper-parameters of a Gaussian process")
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


def fit_hyperparameters(
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

        ℓ_a in [1/m, 10] extents,   amplitude in [0.01, 100] sizes
        noise, if fitted, in [1e-4, 1] sizes

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
        places, values = check_readings(coordinates, values, tuple(coordinates))
        if not concrete(values):
            raise RefusedType(
                "the fit runs on the host and cannot be traced; call fit_hyperparameters outside "
                "jit and vmap and give its hyperparameters"
            )
        extents, counts = _extents(places)
        residual = np.asarray(values - mean_at(mean, places, values.shape))
        size = float(np.sqrt(np.mean(residual**2)))
        if size == 0:
            raise RefusedValue(
                "the readings equal the mean everywhere, so there is no size to learn; give "
                "hyperparameters, or another mean"
            )
        fixed = None if noise is None else float(positive("noise", noise, (), zero=True))
        shares = itertools.product(*[_LENGTHS] * len(places), _NOISES if fixed is None else (None,))
        starts = [
            [size, *np.multiply(s[:-1], extents), *([s[-1] * size] if fixed is None else [])]
            for s in shares
        ]
        bounds = [(0.01 * size, 100 * size)]
        bounds += [
            (extent / count, 10 * extent) for extent, count in zip(extents, counts, strict=True)
        ]
        bounds += [(1e-4 * size, size)] if fixed is None else []
        cost = jax.tree_util.Partial(
            _cost, kernel_names(tuple(places), kernels), _rows(places), residual, fixed
        )
        best = _minimize(cost, np.log(starts), np.log(bounds))
    amplitude, *lengths = map(float, np.exp(best[: 1 + len(places)]))
    return Hyperparameters(
        amplitude,
        dict(zip(places, lengths, strict=True)),
        float(np.exp(best[-1])) if fixed is None else fixed,
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

        numpyro.factor("readings", log_evidence_of_readings(coordinates, values, sampled))
        belief = gaussian_process(grid, coordinates, values, hyperparameters=sampled)
        u = numpyro.sample("u", belief)

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
    places, values = check_readings(coordinates, values, tuple(coordinates))
    amplitude, lengths, noise = check_hyperparameters(hyperparameters, tuple(places))
    residual = values - mean_at(mean, places, values.shape)
    return _log_evidence(
        kernel_names(tuple(places), kernels),
        _rows(places),
        residual,
        amplitude,
        tuple(lengths.values()),
        noise,
    )


def check_readings(coordinates: Mapping, values, names: tuple[str, ...]) -> tuple[dict, jax.Array]:
    """Coordinates in the order of the axes, on the host, and values."""
    check_axes("coordinates", coordinates, names)
    if any(not concrete(c) for c in coordinates.values()):
        raise RefusedType(
            "coordinates of readings lay out the grid and cannot be traced; keep them out of jit "
            "and vmap's arguments"
        )
    places = {name: np.asarray(coordinates[name], np.float64) for name in names}
    shapes = {name: c.shape for name, c in places.items()} | {"values": jnp.shape(values)}
    if len(set(shapes.values())) > 1 or jnp.ndim(values) != 1 or jnp.size(values) == 0:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise RefusedValue(
            "coordinates and values must be arrays of one shape (r,), one entry per reading; got "
            f"{listed}"
        )
    for name, c in places.items():
        finite(f"coordinates of readings along {name!r}", c)
    return places, finite("values of the readings", jnp.asarray(values, jnp.result_type(float)))


def check_hyperparameters(
    hyperparameters: Hyperparameters, names: tuple[str, ...]
) -> tuple[jax.Array, dict[str, jax.Array], jax.Array]:
    """Amplitude, lengths in the order of the axes, and noise, if they are what they must be."""
    lengths = {
        name: check_length(name, hyperparameters.lengths[name])
        for name in check_axes("lengths", hyperparameters.lengths, names)
    }
    return (
        jnp.asarray(positive("amplitude", hyperparameters.amplitude, ())),
        lengths,
        jnp.asarray(positive("noise", hyperparameters.noise, (), zero=True)),
    )


def _log_evidence(kinds: tuple[str, ...], points, residual, amplitude, lengths, noise) -> jax.Array:
    """Log N(residual; 0, K + noise² I) for points as rows, with one kernel and length per
    column.
    """
    kernel = amplitude**2
    for column, (kind, length) in enumerate(zip(kinds, lengths, strict=True)):
        kernel = kernel * Subspace(column, KERNELS[kind](length))
    diagonal = noise**2 + jitter(residual.dtype) * amplitude**2
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


def _minimize(cost: Callable, starts: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Smallest of a few local minima, reached from the best starting points; `cost` gives value and
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
    minima = [
        scipy.optimize.minimize(on_host, starts[i], jac=True, method="L-BFGS-B", bounds=bounds)
        for i in order
    ]
    best = min(minima, key=lambda result: result.fun)
    if best.fun >= 1e25:
        raise RefusedNumbers(
            "the marginal likelihood of the readings is not finite anywhere: (a) exact readings "
            "twice at one point, or a kernel too smooth for exact readings: give noise > 0 or "
            "leave noise out; (b) values so large or small that squares over- or underflow"
        )
    return best.x


def _extents(places: Mapping) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array([len(np.unique(c)) for c in places.values()])
    for name, count in zip(places, counts, strict=True):
        if count == 1:
            raise RefusedValue(
                f"all readings share one coordinate along {name!r}, so its length cannot be "
                "learnt; give hyperparameters, or readings at two coordinates or more"
            )
    return np.array([np.ptp(c) for c in places.values()]), counts


def _rows(places: Mapping) -> np.ndarray:
    return np.stack(list(places.values()), axis=-1)
