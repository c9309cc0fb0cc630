"""The published correction of a Fourier layer: its kernel's boundary rows are eliminated, then the
end nodes overwritten.

With K the layer's integral operator (linear, nodes × channels) and ends 0 and N, Gaussian
elimination by products with K alone, the left end before the right:

    y = x + e_0 δ_0,   δ_0 = x_0 - [(Kx)_0 - K_0N/K_NN (Kx)_N + K_0N x_N] / K̃_00
    z = y + e_N δ_N,   δ_N = x_N - (Ky)_N / K_NN,   K̃_00 = K_00 - K_N0 K_0N/K_NN

after which (Kz)_0 = K̃_00 x_0 and (Kz)_N = K_NN x_N. As published this takes seven calls of the
layer. But x changes at two nodes and K is linear, so K z = K x + K e_0 δ_0 + K e_N δ_N, of which
the spectra of e_0 and e_N are known and the values at an end are sums over modes: one transform and
one inverse transform do.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bayescons.descriptions import tabulated
from bayescons.functionals.boundary_conditions import BoundaryConditions
from bayescons.networks.layer_rules import LayerRule
from bayescons.networks.lifts import overwrite_ends
from bayescons.networks.spectral import SpectralConv, Spectrum, Waves
from bayescons.refusals import RefusedOperation

MOLLIFIED = 5  # nodes at each end, the first of which stays as it is


@tabulated("Quirks of the reference implementation")
@dataclass(frozen=True)
class ReferenceQuirks:
    """What the public code does beside the mathematics, each to be switched off.

    Attributes:
        shortcut: one number stands for a block of channels, K_ab := Σ_i κ_i0 of the first output
            channel; without, blocks are solved (on one axis alone: with time each frequency has a
            block of its own).
        tolerance: a K_00, K_NN or K̃_00 smaller than this is replaced by it.
        signed: a negative one is replaced as well.
        upper_from_lower: the right end's z_N starts from y_0 in place of y_N.
        upper_only: conditions on slopes eliminate at the upper end alone.
        mollified: after each layer and at the output, the nodes next to an end with a known value
            are averaged with their neighbours.
        half: layers with a known slope are halved (the two branches, corrected separately, then
            have it in their mean).
        active_ends: the activation acts on end nodes too.
    """

    shortcut: bool = True
    tolerance: float = 1e-7
    signed: bool = False
    upper_from_lower: bool = False
    upper_only: bool = True
    mollified: bool = False
    half: bool = True
    active_ends: bool = True

    @classmethod
    def published(cls, axes: int) -> ReferenceQuirks:
        """As published for a grid of one axis, of space and time, or of two axes of space and
        time.
        """
        if axes == 1:
            return cls()
        space_time = axes == 2
        return cls(
            tolerance=1e-4,
            signed=space_time,
            upper_from_lower=True,
            upper_only=False,
            mollified=space_time,
            active_ends=False,
        )


def eliminate_ends(
    conv: SpectralConv,
    hidden: jax.Array,
    spectrum: Spectrum,
    *,
    axis: int,
    ends: tuple[str, ...],
    quirks: ReferenceQuirks,
) -> jax.Array:
    """K z after elimination at some `ends` of one axis, by one transform each way: (*points,
    channels) → (*points, channels).

    Args:
        conv: the layer's K.
        hidden: x.
        spectrum: of the grid.
        axis: number of the axis.
        ends: ("lower",), ("upper",) or ("lower", "upper").
        quirks: which of the public code's are followed.
    """
    if not quirks.shortcut and hidden.ndim > 2:
        raise RefusedOperation(
            "without the shortcut the elimination solves blocks, on one axis alone; take "
            "ReferenceQuirks(shortcut=True)"
        )
    places = {"lower": 0, "upper": hidden.shape[axis] - 1}
    faces = {end: spectrum.at(axis, place) for end, place in places.items()}
    state = {
        end: jax.lax.index_in_dim(hidden, place, axis, keepdims=False)
        for end, place in places.items()
    }

    def coefficients(end: str, change: jax.Array) -> jax.Array:
        """Spectrum of e_end change; `change` (*others, channels)."""
        return faces[end].analyse(jnp.expand_dims(change, axis))

    def value(end: str, mixed: jax.Array) -> jax.Array:
        return jnp.squeeze(faces[end].synthesise(mixed), axis)

    def transfer(source: str, target: str, change: jax.Array) -> jax.Array:
        """K e_source change at the target, without the field between: on one axis a product with
        one block, made once for a batch.
        """
        if hidden.ndim == 2:
            return change @ _block(conv, spectrum.waves[0], places[source], places[target])
        return value(target, conv.mix(coefficients(source, change)))

    def entry(source: str, target: str) -> jax.Array:
        """K_ab, from the state at one end to the output at another. It does not depend on the
        state: once for a batch.
        """
        if not quirks.shortcut:
            return _block(conv, spectrum.waves[0], places[source], places[target])
        number = transfer(source, target, jnp.ones(state[source].shape, hidden.dtype))[..., :1]
        return _clamp(number, quirks) if source == target else number

    times, over = (jnp.multiply, jnp.divide) if quirks.shortcut else (jnp.matmul, _right_solve)
    mixed = conv.mix(spectrum.analyse(hidden))
    if ends == ("lower",):
        change = state["lower"] - over(value("lower", mixed), entry("lower", "lower"))
        return spectrum.synthesise(mixed + conv.mix(coefficients("lower", change)))
    goal, upper_pivot, output = state["upper"], entry("upper", "upper"), value("upper", mixed)
    if ends == ("upper",):
        return spectrum.synthesise(
            mixed + conv.mix(coefficients("upper", goal - over(output, upper_pivot)))
        )
    across, back = entry("lower", "upper"), entry("upper", "lower")
    lower_pivot = entry("lower", "lower") - times(over(across, upper_pivot), back)
    lower_pivot = _clamp(lower_pivot, quirks) if quirks.shortcut else lower_pivot
    residual = value("lower", mixed) - times(over(output, upper_pivot), back) + times(goal, back)
    change = state["lower"] - over(residual, lower_pivot)
    output = output + transfer("lower", "upper", change)
    if quirks.upper_from_lower:
        goal = 2 * (state["lower"] + change) - goal  # 2 y_0 in place of 2 y_N
    both = coefficients("lower", change) + coefficients("upper", goal - over(output, upper_pivot))
    return spectrum.synthesise(mixed + conv.mix(both))


class Elimination(LayerRule):
    """The published rule for every layer: eliminate, overwrite, mollify, halve. Made anew for each
    function's values.
    """

    def __init__(
        self, boundary: BoundaryConditions, values: tuple[jax.Array, ...], quirks: ReferenceQuirks
    ):
        self.boundary, self.values, self.quirks = boundary, values, quirks
        self.axis_name = boundary.axes[0]
        self.axis = boundary.grid.axis(self.axis_name)

    def combine(
        self,
        index: int,
        conv: SpectralConv,
        point: nnx.Linear,
        hidden: jax.Array,
        spectrum: Spectrum,
    ) -> jax.Array:
        """K z + W v + b, of which both terms carry the boundary value in every channel: 2 b_side at
        the end nodes.
        """
        del index
        ends = self._ends()
        where = {"axis": self.axis, "ends": ends, "quirks": self.quirks}
        out = eliminate_ends(conv, hidden, spectrum, **where) if ends else conv(hidden, spectrum)
        out = out + point(hidden)
        out = overwrite_ends(out, [2 * v[..., None] for v in self.values], self.boundary)
        slopes = any(side.kind in ("neumann", "robin") for side in self.boundary.sides)
        out = self.mollify(out)
        return out / 2 if slopes and self.quirks.half else out

    def activate(self, hidden: jax.Array) -> jax.Array:
        """GELU, at interior nodes alone unless `active_ends`."""
        active = jax.nn.gelu(hidden, approximate=False)
        if self.quirks.active_ends:
            return active
        for name in self.boundary.axes:
            axis = self.boundary.grid.axis(name)
            end = np.zeros(hidden.shape[axis], bool)
            end[[0, -1]] = True
            active = jnp.where(_along(end, axis, hidden.ndim), hidden, active)
        return active

    def mollify(self, field: jax.Array) -> jax.Array:
        """Means of three at the nodes next to ends with a known value, where this quirk is
        followed.
        """
        known = [
            side.end
            for side in self.boundary.sides
            if side.axis == self.axis_name and side.kind == "dirichlet"
        ]
        if not (self.quirks.mollified and known):
            return field
        points = field.shape[self.axis]
        near = np.zeros(points, bool)
        near[1:MOLLIFIED] = "lower" in known
        near[points - MOLLIFIED : -1] |= "upper" in known
        mean = (jnp.roll(field, 1, self.axis) + field + jnp.roll(field, -1, self.axis)) / 3
        return jnp.where(_along(near, self.axis, field.ndim), mean, field)

    def _ends(self) -> tuple[str, ...]:
        stated = {}
        for side in self.boundary.sides:
            if side.axis == self.axis_name:
                stated.setdefault(side.end, []).append(side.kind)
        ends = [end for end in ("lower", "upper") if end in stated]
        if (
            self.quirks.upper_only
            and "upper" in ends
            and all("dirichlet" not in stated[end] for end in ends)
        ):
            ends = ["upper"]
        return tuple(ends)


def _clamp(number: jax.Array, quirks: ReferenceQuirks) -> jax.Array:
    small = (number if quirks.signed else jnp.abs(number)) < quirks.tolerance
    return jnp.where(small, quirks.tolerance, number)


def _block(conv: SpectralConv, wave: Waves, source: int, target: int) -> jax.Array:
    """K_ab between all channels, (inputs, outputs), on one axis: a sum of the kernel's modes."""
    phase = wave.phases[:, target] - wave.phases[:, source]
    factor = np.where(np.arange(len(phase)) == 0, 1.0, 2.0) * wave.weights[source]
    weights = jnp.asarray(
        np.stack([factor * np.cos(phase), -factor * np.sin(phase)]), conv.kernel.dtype
    )
    return jnp.tensordot(weights, conv.kernel[...], 2)


def _right_solve(rows: jax.Array, block: jax.Array) -> jax.Array:
    """Rows times the inverse of a block."""
    return jnp.linalg.solve(block.T, rows.T).T


def _along(mask: np.ndarray, axis: int, dims: int) -> jax.Array:
    return jnp.asarray(mask).reshape([-1 if a == axis else 1 for a in range(dims)])
