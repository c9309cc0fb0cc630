"""Budgets closed: predicted states of a dry atmosphere brought to their totals, by the fixers of
published emulators and by conditioning.

A state u is replaced by the one that a Gaussian with covariance K about it holds most probable
among those with the totals b, by repeating

    u ← u₀ + K H'(H K H')⁻¹ (b - h(u) + H (u - u₀)),   H = h'(u),

since energy and momentum are not linear in a state (pressure times temperature, wind squared). K is
all in which the methods differ. States here are in units of `emulators.Scales`, z = (u - mean)/sd.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from bayescons.gaussians import LowRank, ensemble, gaspari_cohn
from experiments.dry_atmosphere import Atmosphere, totals
from experiments.emulators import Scales

STEPS = 5  # of the repetition; each leaves a thousandth of the gap where corrections are small
EARTH = 6371.0  # km, to which distances are given


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tapered:
    """K = diag(d) + Σ_j F_j F_j' ∘ C: an ensemble whose correlations end at a distance, where C = B
    B' of low rank is the same for all channels.

    What is shown is that of Σ_jl (B_l F_j)(B_l F_j)', members modulated by the columns of B; these
    products are never formed.

    Attributes:
        diagonal: d, shape (channels, latitude, longitude).
        factor: F, members last.
        taper: B, shape (latitude, longitude, rank).
    """

    diagonal: jax.Array
    factor: jax.Array
    taper: jax.Array

    def mv(self, field) -> jax.Array:
        """d u + Σ_j F_j C (F_j u)."""
        summed = jnp.einsum("cxyj,cxy->xyj", self.factor, field)
        near = jnp.einsum("xyl,zwl,zwj->xyj", self.taper, self.taper, summed, optimize="optimal")
        return self.diagonal * field + jnp.einsum("cxyj,xyj->cxy", self.factor, near)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Zonal:
    """K of errors whose law no rotation of the sphere changes, for rows that are nearly zonal: the
    covariance of their zonal means, and independent points for the rest.

    Averaged over all rotations about the axis, E E' g of a zonal row g is Z Z' g, Z the zonal means
    of the errors E.

    Attributes:
        diagonal: shape (channels, latitude, 1).
        factor: Z, errors last, shape (channels, latitude, n).
    """

    diagonal: jax.Array
    factor: jax.Array

    def mv(self, field) -> jax.Array:
        """d u + Z Z' Σ u, summed over longitude."""
        weights = jnp.tensordot(self.factor, field.sum(axis=-1), ((0, 1), (0, 1)))
        return self.diagonal * field + (self.factor @ weights)[..., None]


def relative(air: Atmosphere, units: Scales) -> Callable:
    """(z, values) -> totals of the state over the values, all 1 where the budgets close."""
    of, mean, sd = totals(air), jnp.asarray(units.mean), jnp.asarray(units.sd)
    return lambda z, values: of(mean + sd * z) / values


def closed(law: Callable, covariance, z: jax.Array, values: jax.Array) -> jax.Array:
    """The state with its totals, as at the head of this file.

    Args:
        law: of `relative`.
        covariance: has `mv`.
        z: state, shape (channels, latitude, longitude).
        values: of the totals, shape (3,).
    """

    def once(_, u):
        found, back = jax.vjp(lambda w: law(w, values), u)
        rows = jax.vmap(lambda row: back(row)[0])(jnp.eye(len(found)))
        gains = jax.vmap(covariance.mv)(rows)
        inner = jnp.tensordot(rows, gains, ((1, 2, 3), (1, 2, 3)))
        gap = 1 - found + jnp.tensordot(rows, u - z, 3)
        unit = jnp.sqrt(jnp.diagonal(inner))
        solved = jnp.linalg.solve(inner / jnp.outer(unit, unit), gap / unit) / unit
        return z + jnp.tensordot(solved, gains, 1)

    return jax.lax.fori_loop(0, STEPS, once, z)


# --- Methods: states (n, members, channels, latitude, longitude), values (n, 3) -> states
# -----------------------------------------------------------------------------


def none(states: jax.Array, values: jax.Array) -> jax.Array:
    """As they are."""
    del values
    return states


def shift(air: Atmosphere, units: Scales) -> Callable:
    """Uniform increments of pressure, temperature and zonal wind: K = 1 1' of each."""
    ones = np.stack([_of(air, name) for name in MOVED], axis=-1) / units.sd[..., None]
    shared = LowRank(jnp.zeros(air.shape), jnp.asarray(ones), 3)
    return conditioned(relative(air, units), lambda *_: shared)


def ratio(air: Atmosphere, units: Scales) -> Callable:
    """A factor on each of pressure, temperature and zonal wind: K = m m' of each."""
    ones = jnp.asarray(np.stack([_of(air, name) for name in MOVED], axis=-1))
    zero = jnp.asarray(units.mean / units.sd)
    return conditioned(
        relative(air, units),
        lambda _, z: LowRank(jnp.zeros(air.shape), ones * (zero + z)[..., None], 3),
    )


def own_variances(air: Atmosphere, units: Scales, errors: np.ndarray) -> Callable:
    """White noise on the sphere, with the variance of errors seen before, by channel and latitude.

    White noise has the variance of a point over its area; without the area, a point at the pole
    would be moved less than one at the equator for no reason but that its cell is smaller.
    """
    both = np.concatenate([errors, air.mirror[:, None, None] * errors[:, :, ::-1]])
    variance = (both**2).mean(axis=(0, 3)) * air.weights.mean() / air.weights
    spread = jnp.asarray(variance[..., None] * np.ones(air.shape))
    shared = LowRank(spread, jnp.zeros((*air.shape, 1)), 3)
    return conditioned(relative(air, units), lambda *_: shared)


def in_band(air: Atmosphere, units: Scales, degree: int, after: Callable) -> Callable:
    """What a spectral model cannot hold is taken out before another method: log p and T have
    spherical harmonics to the degree of its truncation, u cos φ and v cos φ to one more. It is
    conditioning, with white noise on the sphere, on all other coefficients being zero.
    """
    scalar, vector = (tuple(map(jnp.asarray, _projection(air, degree + more))) for more in (0, 1))
    mean, sd = jnp.asarray(units.mean), jnp.asarray(units.sd)
    cosine = jnp.asarray(np.sqrt(1 - air.sine**2))[:, None]
    winds = air.variables["zonal wind"].start

    def kept(projection, fields):
        flat = fields.reshape(len(fields), -1)
        return (flat @ projection[0] @ projection[1]).reshape(fields.shape)

    def one(z):
        field = mean + sd * z
        scalars = kept(scalar, field.at[0].set(jnp.log(field[0]))[:winds])
        wind = kept(vector, field[winds:] * cosine[None]) / cosine[None]
        whole = jnp.concatenate([jnp.exp(scalars[:1]), scalars[1:], wind])
        return (whole - mean) / sd

    project = jax.jit(lambda states: jax.lax.map(jax.vmap(one), states))
    return lambda states, values: after(project(states), values)


def _projection(air: Atmosphere, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Field to coefficients, (points, harmonics), and back."""
    basis = harmonics(air, degree).reshape(-1, (degree + 1) ** 2)
    area = 4 * np.pi * np.repeat(air.weights, len(air.longitude))
    return area[:, None] * basis, basis.T


def of_members(air: Atmosphere, units: Scales, nugget: float) -> Callable:
    """The covariance of the members with a nugget, `bayescons.gaussians.ensemble`."""
    return conditioned(
        relative(air, units),
        lambda covariance, _: covariance,
        lambda states: ensemble(states, members=1, nugget=nugget, batch_dims=1).covariance,
    )


def near_members(air: Atmosphere, units: Scales, nugget: float, reach: float) -> Callable:
    """The same, its correlations tapered over the distance, `taper`."""
    basis = jnp.asarray(taper(air, reach))
    return conditioned(
        relative(air, units),
        lambda covariance, _: Tapered(covariance.diagonal, covariance.factor, basis),
        lambda states: ensemble(states, members=1, nugget=nugget, batch_dims=1).covariance,
    )


def of_errors(air: Atmosphere, units: Scales, errors: np.ndarray) -> Callable:
    """The covariance, about zero, of errors seen before: `Zonal`.

    Args:
        air: the atmosphere; each error also counts mirrored.
        units: of the states.
        errors: shape (n, channels, latitude, longitude).
    """
    both = np.concatenate([errors, air.mirror[:, None, None] * errors[:, :, ::-1]])
    zonal = both.mean(axis=-1)
    rest = ((both - zonal[..., None]) ** 2).mean(axis=(0, 3))[..., None]
    factor = np.moveaxis(zonal, 0, -1) / np.sqrt(len(both))
    shared = Zonal(jnp.asarray(rest), jnp.asarray(factor))
    return conditioned(relative(air, units), lambda *_: shared)


def conditioned(law: Callable, covariance: Callable, prepare: Callable = lambda _: None):
    """States brought to their totals, each member by itself.

    Args:
        law: of `relative`.
        covariance: (prepared, z) -> K, with `mv`.
        prepare: states -> whatever a covariance needs of all members, first axis n.
    """

    @jax.jit
    def run(prepared, states, values):
        def each(one):
            known, members, value = one
            return jax.vmap(lambda z: closed(law, covariance(known, z), z, value))(members)

        return jax.lax.map(each, (prepared, states, values))

    return lambda states, values: run(prepare(states), states, values)


def taper(air: Atmosphere, reach: float, *, degree: int = 10) -> np.ndarray:
    """B with B B' the correlation of Gaspari and Cohn in the distance on the sphere, by its
    spherical harmonics to a degree; its diagonal is 1. Shape (latitude, longitude, (degree + 1)²).

        C(γ) = Σ_n c_n P_n(cos γ),   P_n(cos γ) = 4π/(2n + 1) Σ_m Y_nm Y_nm

    Args:
        air: the atmosphere.
        reach: half of the distance at which it ends, km on the Earth.
        degree: of the harmonics.
    """
    nodes, weights = np.polynomial.legendre.leggauss(200)
    kernel = gaspari_cohn(np.arccos(nodes) * EARTH / reach)
    sizes = [  # of c_n 4π/(2n + 1), c_n = (2n + 1)/2 ∫ C P_n
        np.sqrt(2 * np.pi * max(np.sum(weights * kernel * legendre), 0.0))
        for legendre in scipy.special.eval_legendre(np.arange(degree + 1)[:, None], nodes)
    ]
    basis = harmonics(air, degree) * np.repeat(sizes, 2 * np.arange(degree + 1) + 1)
    return basis / np.sqrt(np.sum(basis**2, axis=-1, keepdims=True))


def harmonics(air: Atmosphere, degree: int) -> np.ndarray:
    """Real spherical harmonics of a degree and below, orthonormal on the sphere, by degree, shape
    (latitude, longitude, (degree + 1)²).
    """
    columns = []
    for n in range(degree + 1):
        for m in range(n + 1):
            wave = scipy.special.sph_harm_y(n, m, np.arccos(air.sine)[:, None], air.longitude)
            columns += [wave.real] if m == 0 else [np.sqrt(2) * wave.real, np.sqrt(2) * wave.imag]
    return np.stack(columns, axis=-1)


# --- Published sequences
# -----------------------------------------------------------------------------


def ace2(air: Atmosphere, units: Scales) -> Callable:
    """The corrector of ACE2 where there is no water: what cannot be negative is clamped; one number
    is added to the pressure, so that the mass of dry air is right; then one number to all
    temperatures, so that the energy is. Momentum is left as it is.

    Source: Watt-Meyer et al., "ACE2: accurately learning subseasonal to decadal atmospheric
    variability and forced responses", npj Climate and Atmospheric Science 8 (2025).
    """
    return _sequence(air, units, jnp.ones_like, lambda _: jnp.ones(()))


def credit(air: Atmosphere, units: Scales) -> Callable:
    """The fixers of CREDIT where there is no water: clamped; a factor on the pressure, so that the
    mass is right; then one factor on the energy of every point, the change carried by its
    temperature. Momentum is left as it is.

    Source: Sha et al., "Improving AI weather prediction models using global mass and energy
    conservation schemes", Journal of Advances in Modeling Earth Systems 17 (2025).
    """
    here = air.variables

    def own_energy(field):  # of each point over the heat capacity, K
        u, v = field[here["zonal wind"]], field[here["meridional wind"]]
        return field[here["temperature"]] + (u**2 + v**2) / (2 * air.heat)

    return _sequence(air, units, lambda pressure: pressure, own_energy)


def _sequence(air: Atmosphere, units: Scales, of_pressure, of_temperature) -> Callable:
    """Clamp, then mass along one direction of pressure, then energy along one of temperature; each
    total is linear along its own.
    """
    warm, of = air.variables["temperature"], totals(air)
    mean, sd = jnp.asarray(units.mean), jnp.asarray(units.sd)

    def one(z, values):
        field = mean + sd * z
        field = field.at[: warm.stop].set(jnp.maximum(field[: warm.stop], 0.0))
        zero = jnp.zeros(air.shape)
        along = zero.at[0].set(of_pressure(field[0]))
        for law in range(2):
            found, slope = jax.jvp(of, (field,), (along,))
            field = field + (values[law] - found[law]) / slope[law] * along
            along = zero.at[warm].set(of_temperature(field))
        return (field - mean) / sd

    @jax.jit
    def run(states, values):
        each = jax.vmap(one, in_axes=(0, None))
        return jax.lax.map(lambda pair: each(*pair), (states, values))

    return run


MOVED = "pressure", "temperature", "zonal wind"


def _of(air: Atmosphere, name: str) -> np.ndarray:
    """One on the channels of a variable, zero elsewhere."""
    ones = np.zeros(air.shape)
    ones[air.variables[name]] = 1.0
    return ones
