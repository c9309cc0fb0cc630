"""Spectral convolutions against fast transforms and integrals, and the published elimination
against the layer called many times.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import bayescons as bc
from bayescons.functionals import BoundaryCondition, BoundaryConditions
from bayescons.networks import ReferenceQuirks, SpectralConv, spectrum
from bayescons.networks.elimination import Elimination, eliminate_ends

LINE = bc.Grid(x=np.linspace(0, 1, 33))
SPACE_TIME = bc.Grid(t=np.linspace(0, 1, 7), x=np.linspace(-1, 1, 21))
PLANE = bc.Grid(t=np.linspace(0, 1, 6), x=np.linspace(0, 1, 13), y=np.linspace(0, 1, 11))
ENDS = (BoundaryCondition("x", "lower"), BoundaryCondition("x", "upper"))
BOUNDARIES = {
    "values": BoundaryConditions(LINE, ENDS),
    "slopes": BoundaryConditions(
        LINE,
        (
            BoundaryCondition("x", "lower", "neumann", order=1),
            BoundaryCondition("x", "upper", "neumann", order=4),
        ),
    ),
    "values in time": BoundaryConditions(SPACE_TIME, ENDS),
}


def conv(axes, inputs=2, outputs=3, seed=0):
    convolution = SpectralConv(inputs, outputs, modes=(3,) * axes, rngs=nnx.Rngs(seed))
    convolution.kernel = nnx.Param(
        jnp.asarray(np.random.default_rng(seed).normal(size=convolution.kernel.shape))
    )
    return convolution


@pytest.mark.parametrize("grid", [LINE, SPACE_TIME, PLANE], ids=len)
def test_without_padding_a_convolution_is_the_truncated_fast_transform(grid):
    convolution, axes = conv(len(grid)), tuple(range(len(grid)))
    field = np.random.default_rng(1).normal(size=(*grid.shape, 2))
    transformed = np.fft.rfftn(field, axes=axes)
    out = np.zeros((*transformed.shape[:-1], 3), complex)
    kernel = np.asarray(convolution.kernel[0] + 1j * convolution.kernel[1])
    for index in np.ndindex(kernel.shape[:-2]):
        wave = (*(i - 3 for i in index[:-1]), index[-1])
        out[wave] = transformed[wave] @ kernel[index]
    expected = np.fft.irfftn(out, s=grid.shape, axes=axes)
    mine = convolution(jnp.asarray(field), spectrum(grid, (3,) * len(grid), (None,) * len(grid)))
    np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


def test_with_padding_it_is_an_integral_with_its_kernel():
    convolution, x, period = conv(1), LINE["x"], 1.25
    k = np.arange(3)
    waves = np.exp(2j * np.pi * k * (x[:, None, None] - x[None, :, None]) / period) * np.where(
        k == 0, 1, 2
    )
    kernel = (
        np.einsum(
            "xyk,kio->xyio", waves, np.asarray(convolution.kernel[0] + 1j * convolution.kernel[1])
        ).real
        / period
    )
    trapezoid = np.full(33, 1 / 32) * np.where((x == 0) | (x == 1), 0.5, 1.0)
    field = np.random.default_rng(1).normal(size=(33, 2))
    expected = np.einsum("xyio,y,yi->xo", kernel, trapezoid, field)
    np.testing.assert_allclose(
        convolution(jnp.asarray(field), spectrum(LINE, (3,), (0.25,))), expected, rtol=0, atol=1e-12
    )


def many_calls(operator, hidden, axis, ends, quirks):
    """The published elimination as published: unit fields through the whole layer, five to seven
    calls of it.
    """
    x, last = np.asarray(hidden), hidden.shape[axis] - 1
    at = {"lower": (slice(None),) * axis + (0,), "upper": (slice(None),) * axis + (last,)}
    call = lambda field: np.asarray(operator(jnp.asarray(field)))  # noqa: E731

    def entry(source, target):
        unit = np.zeros_like(x)
        unit[at[source]] = 1.0
        return call(unit)[at[target]][..., :1]

    def clamp(number):
        small = (number if quirks.signed else np.abs(number)) < quirks.tolerance
        return np.where(small, quirks.tolerance, number)

    lower, upper, y = at["lower"], at["upper"], x.copy()
    k_nn, k_00 = clamp(entry("upper", "upper")), clamp(entry("lower", "lower"))
    if ends == ("lower",):
        y[lower] = 2 * x[lower] - call(x)[lower] / k_00
        return call(y)
    if ends == ("lower", "upper"):
        k_n0, k_0n = entry("lower", "upper"), entry("upper", "lower")
        left, out = clamp(k_00 - k_n0 * k_0n / k_nn), call(x)
        y[lower] = 2 * x[lower] - (out[lower] - k_0n / k_nn * out[upper] + k_0n * x[upper]) / left
    z = y.copy()
    z[upper] = (
        2 * y[lower if ends[0] == "lower" and quirks.upper_from_lower else upper]
        - call(y)[upper] / k_nn
    )
    return call(z)


@pytest.mark.parametrize(
    ("grid", "ends", "quirks"),
    [
        (LINE, ("lower", "upper"), ReferenceQuirks.published(1)),
        (LINE, ("lower",), ReferenceQuirks.published(1)),
        (LINE, ("upper",), ReferenceQuirks.published(1)),
        (SPACE_TIME, ("lower", "upper"), ReferenceQuirks.published(2)),
        (PLANE, ("lower", "upper"), ReferenceQuirks.published(3)),
    ],
)
@pytest.mark.parametrize("padding", [None, 0.25])
def test_one_transform_gives_what_many_calls_of_the_layer_give(grid, ends, quirks, padding):
    axis, convolution = grid.axis("x"), conv(len(grid), 3, 3)
    series = spectrum(grid, (3,) * len(grid), (padding,) * len(grid))
    hidden = jnp.asarray(np.random.default_rng(2).normal(size=(*grid.shape, 3)))
    expected = many_calls(jax.jit(lambda v: convolution(v, series)), hidden, axis, ends, quirks)
    mine = jax.jit(
        lambda v: eliminate_ends(convolution, v, series, axis=axis, ends=ends, quirks=quirks)
    )(hidden)
    np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize(("channels", "shortcut"), [(1, True), (4, False)])
def test_elimination_leaves_the_end_nodes_to_themselves(channels, shortcut):
    """With one channel, or with blocks: (K z)_N = x_N K_NN and, where the left end is eliminated
    alone, (K z)_0 = x_0 K_00.
    """
    convolution, series = conv(1, channels, channels), spectrum(LINE, (3,), (0.25,))
    hidden = jnp.asarray(np.random.default_rng(2).normal(size=(33, channels)))
    quirks = ReferenceQuirks(shortcut=shortcut, tolerance=0.0)
    units = np.zeros((channels, 33, channels))
    blocks = {}
    for place in (0, -1):
        units[:] = 0
        units[np.arange(channels), place, np.arange(channels)] = 1.0
        blocks[place] = np.asarray(jax.vmap(lambda v: convolution(v, series))(jnp.asarray(units)))
    both = np.asarray(
        eliminate_ends(convolution, hidden, series, axis=0, ends=("lower", "upper"), quirks=quirks)
    )
    left = np.asarray(
        eliminate_ends(convolution, hidden, series, axis=0, ends=("lower",), quirks=quirks)
    )
    across = blocks[0][:, 0] - blocks[0][:, -1] @ np.linalg.solve(
        blocks[-1][:, -1], blocks[-1][:, 0]
    )
    x = np.asarray(hidden)
    scale = np.abs(both).max() * np.linalg.cond(blocks[-1][:, -1]) * np.linalg.cond(across)
    np.testing.assert_allclose(both[-1], x[-1] @ blocks[-1][:, -1], rtol=0, atol=1e-13 * scale)
    np.testing.assert_allclose(both[0], x[0] @ across, rtol=0, atol=1e-13 * scale)
    np.testing.assert_allclose(
        left[0],
        x[0] @ blocks[0][:, 0],
        rtol=0,
        atol=1e-13 * np.abs(left).max() * np.linalg.cond(blocks[0][:, 0]),
    )


def test_blocks_are_for_one_axis():
    with pytest.raises(
        NotImplementedError,
        match=r"solves blocks, on one axis alone; take ReferenceQuirks\(shortcut=True\)",
    ):
        eliminate_ends(
            conv(2, 2, 2),
            jnp.zeros((7, 21, 2)),
            spectrum(SPACE_TIME, (3, 3), (None, None)),
            axis=1,
            ends=("lower",),
            quirks=ReferenceQuirks(shortcut=False),
        )


def test_hidden_channels_of_the_published_layer_hold_twice_the_values_and_half_of_that_for_slopes():
    series, point = spectrum(LINE, (3,), (None,)), nnx.Linear(3, 3, rngs=nnx.Rngs(0))
    hidden = jnp.asarray(np.random.default_rng(2).normal(size=(33, 3)))
    for kind, factor in (("values", 2.0), ("slopes", 1.0)):
        boundary = BOUNDARIES[kind]
        rule = Elimination(
            boundary, (jnp.asarray(0.7), jnp.asarray(-0.2)), ReferenceQuirks.published(1)
        )
        layer = rule.combine(0, conv(1, 3, 3), point, hidden, series)
        for row, value in zip(boundary.rows("x"), (0.7, -0.2), strict=True):
            np.testing.assert_allclose(
                row @ np.asarray(layer), np.full(3, factor * value), rtol=0, atol=1e-11
            )


def test_the_mollifier_averages_the_nodes_next_to_known_ends():
    rule = Elimination(
        BOUNDARIES["values in time"], (jnp.zeros(7), jnp.zeros(7)), ReferenceQuirks.published(2)
    )
    field = np.random.default_rng(0).normal(size=SPACE_TIME.shape)
    out, expected = np.asarray(rule.mollify(jnp.asarray(field))), field.copy()
    for j in (1, 2, 3, 4, 16, 17, 18, 19):
        expected[:, j] = field[:, j - 1 : j + 2].mean(axis=1)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-15)
