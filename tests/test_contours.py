"""Contours against closed forms, contourpy's polygons and direct quantiles."""

import doctest
import inspect
import itertools

import contourpy
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st

import bayescons as bc
from bayescons import diagnostics
from bayescons.axes import Cells, Index, Ring
from bayescons.diagnostics import (
    contour_length,
    contour_position,
    contour_radius,
    contour_summary,
    enclosed_area,
    enclosed_centroid,
    front_position,
    front_summary,
)
from bayescons.results import trees

EPS = np.finfo(np.float64).eps
RNG = np.random.default_rng(0)
Y = np.cumsum(RNG.uniform(0.5, 1.5, 13)) / 10 - 0.6  # uneven on purpose
X = np.cumsum(RNG.uniform(0.5, 1.5, 17)) / 10 - 0.8
GRID = bc.Grid(t=[0.0, 0.5, 1.0], y=Y, x=X)
PLANE = bc.Grid(y=Y, x=X)
WHOLE = float(np.ptp(Y) * np.ptp(X))
ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
ORIGIN = {"y": 0.0, "x": 0.0}
FUNCTIONS = [enclosed_area, contour_length, enclosed_centroid]
# a sum over the cells and over each of the planes' triangles rounds no further
ROUNDING = 64 * EPS


def smooth(seed, lead=()):
    """A few random waves, with wavelengths of several cells."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(*lead, 8, 1, 1))
    ky, kx, phase = rng.uniform(-6, 6, (3, 8, 1, 1))
    return (waves * np.cos(ky * Y[:, None] + kx * X + phase)).sum(-3)


def on(grid, field):
    return np.broadcast_to(field(**grid.mesh()), grid.shape)


def polygons(field, threshold, grid=PLANE):
    """Area, length and centroid of what contourpy fills and draws, by the shoelace formula."""
    generator = contourpy.contour_generator(
        grid["x"], grid["y"], field, quad_as_tri=True, fill_type="OuterOffset", line_type="Separate"
    )
    area, moment = 0.0, np.zeros(2)
    for points, offsets in zip(*generator.filled(threshold, np.inf), strict=True):
        for start, end in itertools.pairwise(offsets):
            p, q = points[start : end - 1], points[start + 1 : end]
            cross = p[:, 0] * q[:, 1] - q[:, 0] * p[:, 1]  # holes run the other way round
            area += cross.sum() / 2
            moment += ((p + q) * cross[:, None]).sum(0) / 6
    lines = generator.lines(threshold)
    length = sum(np.linalg.norm(np.diff(line, axis=0), axis=1).sum() for line in lines)
    return area, length, moment[::-1] / area


def stretched(n, power=1.3):
    """n points on [-1, 1], closer together in the middle."""
    s = np.linspace(-1, 1, n)
    return np.sign(s) * abs(s) ** power


def orders(errors, sizes):
    return -np.polyfit(np.log(sizes), np.log(errors), 1)[0]


# Area, length, centroid


@given(angle=st.floats(0, 2 * np.pi), offset=st.floats(-0.4, 0.4))
def test_a_straight_front_is_exact(angle, offset):
    half = on(PLANE, lambda y, x: np.cos(angle) * x + np.sin(angle) * y - offset)
    corners = np.array([[X[0], Y[0]], [X[-1], Y[0]], [X[-1], Y[-1]], [X[0], Y[-1]]])
    above = corners @ [np.cos(angle), np.sin(angle)] - offset
    points, cuts = [], []  # Sutherland and Hodgman: the domain clipped by the half plane
    for p, q, a, b in zip(corners, np.roll(corners, -1, 0), above, np.roll(above, -1), strict=True):
        points += [p] if a > 0 else []
        if (a > 0) != (b > 0):
            cuts.append(p + (q - p) * a / (a - b))
            points.append(cuts[-1])
    p = np.array(points)
    q = np.roll(p, -1, 0)
    exact = (p[:, 0] * q[:, 1] - q[:, 0] * p[:, 1]).sum() / 2
    np.testing.assert_allclose(enclosed_area(half, PLANE, 0.0), exact, atol=1e-12)
    np.testing.assert_allclose(
        contour_length(half, PLANE, 0.0), np.linalg.norm(cuts[0] - cuts[1]), atol=1e-12
    )


def test_a_circle_is_found_to_second_order_on_stretched_grids():
    radius, centre, sizes = 0.613, np.array([0.05, -0.08]), np.array([17, 25, 37, 55, 81])
    area, length, centroid = [], [], []
    for n in sizes:
        grid = bc.Grid(y=stretched(n), x=stretched(n + 3, 1.6))
        disc = on(grid, lambda y, x: radius**2 - (y - centre[0]) ** 2 - (x - centre[1]) ** 2)
        area.append(abs(enclosed_area(disc, grid, 0.0) - np.pi * radius**2))
        length.append(abs(contour_length(disc, grid, 0.0) - 2 * np.pi * radius))
        centroid.append(np.abs(enclosed_centroid(disc, grid, 0.0) - centre).max())
    assert 1.8 < orders(area, sizes) < 2.2
    assert 1.8 < orders(length, sizes) < 2.2
    assert orders(centroid, sizes) > 1.8  # errors of both sides cancel in part
    # chords cut off h² / 8 of the curvature, and the interpolant h² / 8 of the second derivative
    h = np.diff(stretched(sizes[-1], 1.6)).max()
    assert area[-1] < 2 * np.pi * h**2


@pytest.mark.parametrize("seed", range(4))
def test_area_length_and_centroid_are_those_of_the_polygons_of_contourpy(seed):
    field = smooth(seed)
    area, length, centroid = polygons(field, 0.3)
    np.testing.assert_allclose(enclosed_area(field, PLANE, 0.3), area, rtol=ROUNDING * 8)
    np.testing.assert_allclose(contour_length(field, PLANE, 0.3), length, rtol=ROUNDING * 8)
    np.testing.assert_allclose(
        enclosed_centroid(field, PLANE, 0.3), centroid, atol=ROUNDING * WHOLE / area
    )


def test_noise_from_point_to_point_is_cut_as_contourpy_cuts_it():
    field = np.random.default_rng(5).normal(size=PLANE.shape)  # many saddles
    area, length, _ = polygons(field, 0.1)
    np.testing.assert_allclose(enclosed_area(field, PLANE, 0.1), area, rtol=ROUNDING * 8)
    np.testing.assert_allclose(contour_length(field, PLANE, 0.1), length, rtol=ROUNDING * 8)


@pytest.mark.parametrize(
    ("low", "area", "length"),
    [
        # The mean, 0, is not above: half of each triangle is, up to a line from the middle of an
        # edge to the centre.
        (-1.0, 1 / 2, 4 / 2),
        # The mean, 1/4, is above: a corner below is cut off by two pieces 1/3 long, 1/3 down the
        # edges and 2/3 down the half diagonal.
        (-0.5, 1 - 2 / 9, 4 / 3),
    ],
)
def test_a_saddle_is_joined_by_the_side_on_which_the_mean_of_its_corners_lies(low, area, length):
    grid = bc.Grid(y=[0.0, 1.0], x=[0.0, 1.0])
    saddle = np.array([[1.0, low], [low, 1.0]])
    np.testing.assert_allclose(enclosed_area(saddle, grid, 0.0), area, rtol=ROUNDING)
    np.testing.assert_allclose(contour_length(saddle, grid, 0.0), length, rtol=ROUNDING)
    np.testing.assert_allclose(enclosed_centroid(saddle, grid, 0.0), 0.5, rtol=ROUNDING)


def test_a_checkerboard_is_above_on_half_of_its_area():
    board = 1.0 - 2.0 * (np.add.outer(np.arange(13), np.arange(17)) % 2)
    np.testing.assert_allclose(enclosed_area(board, PLANE, 0.0), WHOLE / 2, rtol=ROUNDING)


def test_above_everywhere_is_the_whole_plane_and_below_everywhere_is_nothing():
    above, below = np.ones(PLANE.shape), -np.ones(PLANE.shape)
    np.testing.assert_allclose(enclosed_area(above, PLANE, 0.0), WHOLE, rtol=ROUNDING)
    assert enclosed_area(below, PLANE, 0.0) == 0.0
    assert contour_length(above, PLANE, 0.0) == contour_length(below, PLANE, 0.0) == 0.0
    middle = [(Y[0] + Y[-1]) / 2, (X[0] + X[-1]) / 2]
    np.testing.assert_allclose(enclosed_centroid(above, PLANE, 0.0), middle, atol=ROUNDING)
    assert np.isnan(enclosed_centroid(below, PLANE, 0.0)).all()


def test_what_is_at_the_threshold_lies_outside():
    assert enclosed_area(np.full(PLANE.shape, 0.3), PLANE, 0.3) == 0.0
    step = on(PLANE, lambda y, x: np.where(x < X[5], 1.0, 0.0) + 0 * y)
    np.testing.assert_allclose(
        enclosed_area(step, PLANE, 0.0), (X[5] - X[0]) * np.ptp(Y), rtol=ROUNDING
    )
    np.testing.assert_allclose(contour_length(step, PLANE, 0.0), np.ptp(Y), rtol=ROUNDING)
    touched = np.ones(PLANE.shape)
    touched[6, 4] = 0.0
    np.testing.assert_allclose(enclosed_area(touched, PLANE, 0.0), WHOLE, rtol=ROUNDING)
    assert contour_length(touched, PLANE, 0.0) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_field_that_is_not_finite_has_no_area_and_spoils_no_other(bad, function):
    fields = smooth(1, (4,))
    clean = function(fields, PLANE, 0.2)
    fields[2, 3, 4] = bad
    spoiled = function(fields, PLANE, 0.2)
    assert np.isnan(spoiled[2]).all()
    np.testing.assert_array_equal(np.delete(spoiled, 2, 0), np.delete(clean, 2, 0))


@given(seed=st.integers(0, 2**16), threshold=st.floats(-1, 1))
def test_areas_above_and_below_make_up_the_plane(seed, threshold):
    field = smooth(seed)
    parts = enclosed_area(field, PLANE, threshold) + enclosed_area(-field, PLANE, -threshold)
    np.testing.assert_allclose(parts, WHOLE, rtol=ROUNDING)


@given(seed=st.integers(0, 2**16))
def test_the_area_of_a_higher_field_is_no_smaller(seed):
    field = smooth(seed)
    higher = field + np.random.default_rng(seed).exponential(0.2, field.shape)
    assert enclosed_area(higher, PLANE, 0.2) >= enclosed_area(field, PLANE, 0.2) - ROUNDING


def test_many_thresholds_give_the_integral_of_a_positive_field():
    """∫∫ u = ∫ A(u*) du* for u >= 0: the layer cake."""
    field = smooth(3)
    field -= field.min()
    levels, weights = np.polynomial.legendre.leggauss(400)
    levels, weights = (levels + 1) * field.max() / 2, weights * field.max() / 2
    areas = jax.vmap(lambda level: enclosed_area(field, PLANE, level))(levels)
    # the interpolant's integral is that of the trapezoid rule; A has kinks at 221 + 192 values
    exact = bc.integral(PLANE, over=("y", "x"))(jnp.asarray(field))
    np.testing.assert_allclose(areas @ weights, exact, rtol=1e-4)


def test_the_order_of_the_axes_does_not_matter():
    field, other = smooth(2), bc.Grid(x=X, y=Y)
    for function in (enclosed_area, contour_length):
        np.testing.assert_allclose(
            function(field, PLANE, 0.1), function(field.T, other, 0.1), rtol=ROUNDING
        )
        swapped = function(field, PLANE, 0.1, axes=("x", "y"))
        np.testing.assert_allclose(function(field, PLANE, 0.1), swapped, rtol=ROUNDING)
    np.testing.assert_allclose(
        enclosed_centroid(field, PLANE, 0.1)[::-1],
        enclosed_centroid(field, PLANE, 0.1, axes=("x", "y")),
        rtol=ROUNDING,
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_draws_chains_and_times_in_one_call_are_those_of_each_field_alone(function, monkeypatch):
    fields = smooth(4, (2, 3, 3))
    monkeypatch.setattr(diagnostics.triangles, "AT_ONCE", 5 * Y.size * X.size)  # in several goes
    together = jax.jit(function, static_argnums=1)(fields, GRID, 0.1)
    alone = [[[function(z, PLANE, 0.1) for z in draw] for draw in chain] for chain in fields]
    assert together.shape == np.shape(alone)
    assert together.shape[:3] == (2, 3, 3)
    np.testing.assert_allclose(together, np.array(alone), rtol=ROUNDING, atol=ROUNDING)
    moved = np.moveaxis(fields, 2, 4)  # time last: any axes are the plane
    there = bc.Grid(y=Y, x=X, t=GRID["t"])
    np.testing.assert_allclose(function(moved, there, 0.1), together, rtol=ROUNDING, atol=ROUNDING)


def test_no_draws_have_no_areas():
    assert enclosed_area(np.zeros((0, *GRID.shape)), GRID, 0.0).shape == (0, 3)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients_are_those_of_differences_and_finite_everywhere(function):
    field = jnp.asarray(smooth(6))
    way = jnp.asarray(np.random.default_rng(7).normal(size=field.shape))

    def value(s):
        return function(field + s * way, PLANE, 0.1).sum()

    step = 1e-6  # no node changes sides within it
    assert not ((field + step * way > 0.1) ^ (field - step * way > 0.1)).any()
    difference = (value(step) - value(-step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(value)(0.0), difference, rtol=1e-5)
    for special in (jnp.zeros(PLANE.shape), jnp.where(field > 0, 1.0, 0.0)):
        slope = jax.grad(lambda u: jnp.nansum(function(u, PLANE, 0.0)))(special)
        assert np.isfinite(slope).all()


def test_the_area_of_a_disc_shrinks_with_the_threshold_as_the_coarea_formula_says():
    grid = bc.Grid(y=np.linspace(-1, 1, 101), x=np.linspace(-1, 1, 101))
    disc = on(grid, lambda y, x: 0.4 - y**2 - x**2)
    slope = jax.grad(lambda level: enclosed_area(disc, grid, level))(0.1)
    # A = π (0.4 - u*); the interpolant's slope is off by h |u''| at most, where |∇u| is 2 sqrt(0.3)
    np.testing.assert_allclose(slope, -np.pi, rtol=0.02 * 2 / (2 * np.sqrt(0.3)))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_memory_is_a_few_times_the_field_in_gradients_too(function):
    grid = bc.Grid(t=np.arange(40.0), y=np.linspace(0, 1, 128), x=np.linspace(0, 1, 128))
    shape = jax.ShapeDtypeStruct((4, *grid.shape), jnp.float32)  # ten times AT_ONCE

    def value(fields):
        return jnp.nansum(function(fields, grid, 0.0))

    field = 4 * np.prod(shape.shape)
    assert jax.jit(value).lower(shape).compile().memory_analysis().temp_size_in_bytes < 4 * field
    gradient = jax.jit(jax.grad(value)).lower(shape).compile()
    assert gradient.memory_analysis().temp_size_in_bytes < 8 * field


# Positions and radii


@pytest.mark.parametrize("direction", ["falling", "rising"])
@pytest.mark.parametrize("along", ["x", "y", "t"])
def test_first_positions_are_those_of_the_front_on_every_line(along, direction):
    fields = smooth(8, (5, 3))
    found = contour_position(fields, GRID, 0.2, along=along, direction=direction)
    lines = np.moveaxis(fields, GRID.axis(along) + 1, -1)
    front = front_position(lines, GRID[along], 0.2, direction=direction)
    np.testing.assert_array_equal(found.position, front)
    np.testing.assert_array_equal(found.crossings == 0, np.isnan(front))


@given(front=st.floats(-0.6, 0.6), slope=st.floats(-0.3, 0.3))
def test_a_slanted_front_is_found_on_every_line(front, slope):
    ramp = on(PLANE, lambda y, x: front + slope * y - x)
    position, crossings = contour_position(ramp, PLANE, 0.0, along="x")
    exact = front + slope * Y
    inside = (exact > X[0]) & (exact < X[-1])
    np.testing.assert_allclose(position[inside], exact[inside], atol=8 * EPS)
    np.testing.assert_array_equal(crossings, np.where(inside, 1, 0))


def test_a_folded_contour_is_told_from_a_graph():
    profiles = np.array([[1.0, -1, 1, -1], [3, 1, -1, -3], [-1, -1, -1, -1], [1, 1, 1, 1]])
    grid = bc.Grid(y=[0.0, 1, 2, 3], x=[0.0, 1, 2, 3])
    nan = np.nan
    for which, expected in {
        "first": [0.5, 1.5, nan, nan],
        "last": [2.5, 1.5, nan, nan],
        "only": [nan, 1.5, nan, nan],
    }.items():
        found = contour_position(profiles, grid, 0.0, along="x", which=which)
        np.testing.assert_array_equal(found.position, expected)
        np.testing.assert_array_equal(found.crossings, [2, 1, 0, 0])
    rising = contour_position(profiles, grid, 0.0, along="x", direction="rising")
    np.testing.assert_array_equal(rising.crossings, [1, 0, 0, 0])


def test_a_line_with_a_nan_has_no_crossing_and_spoils_no_other():
    field = smooth(9)
    clean = contour_position(field, PLANE, 0.1, along="x")
    field[3, 4] = np.nan
    found = contour_position(field, PLANE, 0.1, along="x")
    assert np.isnan(found.position[3])
    assert found.crossings[3] == 0
    np.testing.assert_array_equal(np.delete(found.position, 3), np.delete(clean.position, 3))


def interpolated(field, y, x):
    """The interpolant of one plane, triangle by triangle: barycentric coordinates."""
    j = np.clip(np.searchsorted(Y, y) - 1, 0, len(Y) - 2)
    i = np.clip(np.searchsorted(X, x) - 1, 0, len(X) - 2)
    centre = np.array([(Y[j] + Y[j + 1]) / 2, (X[i] + X[i + 1]) / 2])
    around = [(j, i), (j, i + 1), (j + 1, i + 1), (j + 1, i)]
    mean = np.mean([field[c] for c in around])
    for a, b in zip(around, around[1:] + around[:1], strict=True):
        sides = np.array([[Y[a[0]], X[a[1]]], [Y[b[0]], X[b[1]]]]) - centre
        s, t = np.linalg.solve(sides.T, np.array([y, x]) - centre)
        if s >= -1e-12 and t >= -1e-12:
            return mean + s * (field[a] - mean) + t * (field[b] - mean)
    raise AssertionError


@pytest.mark.parametrize("centre", [ORIGIN, {"y": Y[4], "x": X[7]}, {"y": Y[5], "x": 0.1234}])
def test_the_field_is_at_the_threshold_at_every_radius_and_not_before(centre):
    field = 0.3 * smooth(10) + on(PLANE, lambda y, x: 1 - 3 * y**2 - 3 * x**2)
    found = contour_radius(field, PLANE, 0.1, centre=centre, angles=ANGLES)
    assert np.isfinite(found.position).sum() > 10
    for angle, radius in zip(ANGLES, np.asarray(found.position), strict=True):
        ray = (np.sin(angle), np.cos(angle))
        far = min(
            ((p[-1] if d > 0 else p[0]) - c) / d if abs(d) > 1e-12 else np.inf
            for p, c, d in zip((Y, X), (centre["y"], centre["x"]), ray, strict=True)
        )
        steps = np.linspace(0, far, 400)
        values = np.array(
            [interpolated(field, centre["y"] + r * ray[0], centre["x"] + r * ray[1]) for r in steps]
        )
        seen = front_position(values, steps, 0.1)  # as far as samples see
        if np.isnan(radius):
            assert np.isnan(seen)
            continue
        at = interpolated(field, centre["y"] + radius * ray[0], centre["x"] + radius * ray[1])
        assert abs(at - 0.1) < 1e-11
        assert abs(seen - radius) < steps[1]


@given(angle=st.floats(0, 2 * np.pi), distance=st.floats(0.05, 0.3))
def test_the_radius_to_a_straight_front_is_exact(angle, distance):
    half = on(PLANE, lambda y, x: distance - np.cos(angle) * x - np.sin(angle) * y)
    angles = angle + np.array([-0.5, 0.0, 0.5])
    found = contour_radius(half, PLANE, 0.0, centre=ORIGIN, angles=angles)
    np.testing.assert_allclose(found.position, distance / np.cos(angles - angle), rtol=1e-12)
    np.testing.assert_array_equal(found.crossings, 1)


def test_the_radius_of_a_circle_is_found_to_second_order():
    sizes, errors = np.array([17, 25, 37, 55, 81]), []
    for n in sizes:
        grid = bc.Grid(y=stretched(n), x=stretched(n + 3, 1.6))
        disc = on(grid, lambda y, x: 0.6**2 - y**2 - x**2)
        found = contour_radius(disc, grid, 0.0, centre=ORIGIN, angles=ANGLES + 0.1)
        np.testing.assert_array_equal(found.crossings, 1)
        errors.append(np.sqrt(np.mean((np.asarray(found.position) - 0.6) ** 2)))
    assert 1.8 < orders(errors, sizes) < 2.2


def test_rays_along_diagonals_and_through_nodes_cross_once():
    grid = bc.Grid(y=np.linspace(-1, 1, 9), x=np.linspace(-1, 1, 9))
    cone = on(grid, lambda y, x: 0.5 - np.maximum(abs(x), abs(y)))
    angles = np.arange(8) * np.pi / 4
    found = contour_radius(cone, grid, 0.0, centre=ORIGIN, angles=angles)
    np.testing.assert_array_equal(found.crossings, 1)
    np.testing.assert_allclose(found.position, np.tile([0.5, np.sqrt(0.5)], 4), rtol=ROUNDING)


def test_a_ray_without_a_contour_has_no_radius():
    half = on(PLANE, lambda y, x: 0.2 - x + 0 * y)
    found = contour_radius(half, PLANE, 0.0, centre=ORIGIN, angles=[0.0, np.pi / 2, np.pi])
    np.testing.assert_allclose(found.position, [0.2, np.nan, np.nan], rtol=ROUNDING)
    outside = contour_radius(-half, PLANE, 0.0, centre=ORIGIN, angles=[0.0], direction="rising")
    np.testing.assert_allclose(outside.position, [0.2], rtol=ROUNDING)
    edge = {"y": 0.0, "x": X[-1]}  # one ray along the edge, one out of the domain
    np.testing.assert_array_equal(
        contour_radius(half, PLANE, 0.0, centre=edge, angles=[np.pi / 2, 0.0]).crossings, 0
    )


def test_the_radius_moves_with_the_field_as_its_gradient_says():
    def radius(c):
        cone = c - jnp.hypot(*map(jnp.asarray, np.broadcast_arrays(*PLANE.mesh().values())))
        return contour_radius(cone, PLANE, 0.0, centre=ORIGIN, angles=ANGLES).position.sum()

    difference = (radius(0.3 + 1e-6) - radius(0.3 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(radius)(0.3), difference, rtol=1e-6)
    none = jax.grad(lambda u: contour_radius(u, PLANE, 0.0, centre=ORIGIN, angles=ANGLES)[0].sum())
    assert np.isfinite(none(-jnp.ones(PLANE.shape))).all()


# Axes that are no nodes


def test_around_a_ring_the_contour_does_not_end_at_the_seam():
    n = 24
    points = np.arange(n) / n
    grid = bc.Grid(y=np.linspace(0, 1, 9), x=Ring(points, 1.0))
    turns = [np.roll(np.tile(np.cos(2 * np.pi * points), (9, 1)), k, 1) for k in (0, 3, 6, 11)]
    for function in (enclosed_area, contour_length):
        values = np.asarray(function(np.stack(turns), grid, 0.3))
        np.testing.assert_allclose(values, values[0], rtol=ROUNDING)
    found = contour_position(np.stack(turns), grid, 0.3, along="x")
    np.testing.assert_array_equal(found.crossings, 1)
    shifts = np.array([0, 3, 6, 11])[:, None] / n
    np.testing.assert_allclose(found.position - shifts, found.position[0, 0] + np.zeros((4, 9)))
    for refused in (
        lambda: enclosed_centroid(turns[0], grid, 0.3),
        lambda: contour_radius(turns[0], grid, 0.3, centre={"y": 0.5, "x": 0.5}, angles=[0.0]),
    ):
        with pytest.raises(ValueError, match="'x' is a ring"):
            refused()


def test_averages_over_cells_reach_to_the_walls():
    grid = bc.Grid(y=Cells(np.linspace(0, 2, 6)), x=Cells([0.0, 0.5, 1.5, 2.0, 4.0]))
    np.testing.assert_allclose(enclosed_area(np.ones(grid.shape), grid, 0.0), 8.0, rtol=ROUNDING)
    front = np.broadcast_to(1.3 - grid["x"], grid.shape)
    np.testing.assert_allclose(enclosed_area(front, grid, 0.0), 2.6, rtol=ROUNDING)
    position = contour_position(front, grid, 0.0, along="x").position
    np.testing.assert_allclose(position, 1.3, rtol=ROUNDING)
    unknown = bc.Grid(y=[0.0, 1.0], x=Cells(points=[0.0, 1.0], widths=[1.0, 1.0]))
    with pytest.raises(ValueError, match="Cells\\(edges\\)"):
        enclosed_area(np.ones((2, 2)), unknown, 0.0)


# Draws


def belief():
    """A spreading hot spot at two times, its heat known at both."""
    grid = bc.Grid(t=[0.0, 1.0], y=np.linspace(0, 1, 21), x=np.linspace(0, 1, 21))
    spread = 0.03 + 0.03 * grid.mesh()["t"]
    squares = (grid.mesh()["y"] - 0.5) ** 2 + (grid.mesh()["x"] - 0.5) ** 2
    spot = np.exp(-squares / (2 * spread))
    kernels = [np.exp(-((grid[a][:, None] - grid[a]) ** 2) / (2 * 0.3**2)) for a in ("t", "y", "x")]
    heat = bc.integral(grid, over=("y", "x"))
    prior = bc.kronecker(jnp.asarray(spot), kernels, scale=0.1, jitter=1e-8)
    return grid, prior, bc.condition(prior, bc.Constraint(heat, heat(jnp.asarray(spot))))


def test_the_summary_of_a_belief_given_its_total_is_that_of_direct_quantiles():
    grid, prior, posterior = belief()
    n = 400
    fields = posterior.sample(jax.random.key(0), (n,))
    found = contour_summary(fields, grid, 0.5, along="x", which="last")
    areas = np.array(
        [
            [enclosed_area(u, bc.Grid(y=grid["y"], x=grid["x"]), 0.5) for u in draw]
            for draw in np.asarray(fields[:20])
        ]
    )
    np.testing.assert_allclose(found.tree["posterior"]["area"][0, :20], areas, rtol=ROUNDING)
    areas = found.tree["posterior"]["area"].values[0]
    np.testing.assert_allclose(found.area["mean"], areas.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found.area["sd"], areas.std(0, ddof=1), rtol=1e-9)
    lower, upper = np.quantile(areas, [0.025, 0.975], axis=0)
    inside = (areas >= found.area["lower"].values) & (areas <= found.area["upper"].values)
    assert (inside.mean(0) >= 0.95 - 1 / n).all()
    # the shortest of all intervals that hold as many, up to the draws next to both ends
    gaps = np.diff(np.sort(areas, axis=0), axis=0).max(0)
    assert ((found.area["upper"] - found.area["lower"]).values <= upper - lower + gaps).all()
    # both ends are quantiles, of which the standard error is sqrt(p (1 - p) / n) / density; the
    # density of a normal law at its 2.5 % quantile is 0.0584 / sd. Five of them
    error = 5 * np.sqrt(0.025 * 0.975 / n) / 0.0584 * areas.std(0)
    np.testing.assert_array_less(abs(found.area["lower"].values - lower), error)
    np.testing.assert_array_less(abs(found.area["upper"].values - upper), error)
    before = contour_summary(prior.sample(jax.random.key(0), (n,)), grid, 0.5)
    assert (found.area["sd"] < before.area["sd"]).all()


def test_statistics_are_those_of_each_front_alone_and_absent_ones_are_counted():
    fields = 0.1 * smooth(11, (2, 40, 3)) + (0.6 + Y[:, None] - X)
    found = contour_summary(fields, GRID, 0.1, along="x", centre=ORIGIN, angles=[0.0, 1.0])
    positions = found.tree["posterior"]["position"]
    assert positions.dims == ("chain", "draw", "t", "y")
    assert 0 < found.position["absent"].values.max() < found.draws == 80
    assert (found.position["absent"] == 0).any()
    for place in [(0, 0), (1, 5), (2, 9), (2, 12)]:
        alone = front_summary(positions.values[:, :, *place])
        for name in ("mean", "sd", "lower", "upper", "ess_bulk", "r_hat", "absent"):
            value = found.position[name].values[place]
            np.testing.assert_allclose(value, getattr(alone, name), rtol=1e-9)
    crossings = found.tree["sample_stats"]["position_crossings"].values
    np.testing.assert_array_equal(found.position["folded"], (crossings > 1).sum((0, 1)))
    np.testing.assert_array_equal(found.position["absent"], np.isnan(positions.values).sum((0, 1)))
    assert found.radius["mean"].dims == ("t", "angle")
    np.testing.assert_array_equal(found.radius["angle"], [0.0, 1.0])


def test_arviz_summarises_area_position_and_radius_with_their_coordinates():
    fields = np.broadcast_to(
        0.2 - np.hypot(*np.broadcast_arrays(*PLANE.mesh().values())), GRID.shape
    )
    fields = fields + 0.02 * np.random.default_rng(1).normal(size=(4, 25, 1, 1, 1))
    found = contour_summary(fields, GRID, 0.0, centre=ORIGIN, angles=ANGLES[:3])
    table = trees.summarise(found.tree)
    assert list(table.index[:3]) == ["area[0.0]", "area[0.5]", "area[1.0]"]
    assert len(table) == 3 + 9
    np.testing.assert_array_equal(table["mean"].iloc[:3], found.area["mean"])
    np.testing.assert_array_equal(table["hdi_lower"].iloc[3:], found.radius["lower"].values.ravel())
    assert (found.tree.attrs["threshold"], found.position) == (0.0, None)
    assert "without contour  0, 0, 0 (share of 100 draws)" in repr(found)


def test_draws_without_a_contour_are_a_share_and_never_dropped():
    fields = np.stack([np.ones(GRID.shape), -np.ones(GRID.shape), *smooth(12, (6, 3))])
    fields[2, 1] = 2.0
    found = contour_summary(fields, GRID, 0.0)
    np.testing.assert_array_equal(found.without_contour, np.array([2, 3, 2]) / 8)
    np.testing.assert_array_equal(found.area["absent"], 0)
    areas = np.asarray(enclosed_area(fields, GRID, 0.0))
    np.testing.assert_allclose(found.area["mean"], areas.mean(0))
    nowhere = contour_summary(-np.ones((5, *GRID.shape)), GRID, 0.0, along="x")
    np.testing.assert_array_equal(nowhere.without_contour, 1.0)
    np.testing.assert_array_equal(nowhere.position["absent"], 5)
    assert np.isnan(nowhere.position["mean"]).all()
    np.testing.assert_array_equal(nowhere.area["mean"], 0.0)


def test_a_labelled_array_is_read_by_its_names():
    fields = smooth(13, (2, 6, 3))
    labelled = xarray.DataArray(
        np.moveaxis(fields, 2, 4), dims=("chain", "draw", "y", "x", "t"), coords={"t": GRID["t"]}
    )
    for function in FUNCTIONS:
        np.testing.assert_array_equal(function(labelled, GRID, 0.1), function(fields, GRID, 0.1))
    found = contour_summary(labelled, GRID, 0.1)
    xarray.testing.assert_identical(found.area, contour_summary(fields, GRID, 0.1).area)
    with pytest.raises(ValueError, match="coordinates"):
        enclosed_area(labelled.assign_coords(t=GRID["t"] + 1), GRID, 0.1)


# Single precision, doors, examples


@pytest.mark.float32
@pytest.mark.parametrize("function", FUNCTIONS)
def test_contours_keep_single_precision(function):
    field = smooth(14).astype(np.float32)
    found = np.asarray(function(field, PLANE, 0.1))
    assert found.dtype == np.float32
    exact = polygons(field.astype(float), float(np.float32(0.1)))[FUNCTIONS.index(function)]
    # a cell's share carries a few eps of |u| / |u_P - u_Q|, and the contour is 30 cells long
    np.testing.assert_allclose(found, exact, atol=64 * np.finfo(np.float32).eps)


@pytest.mark.float32
def test_positions_keep_single_precision():
    half = on(PLANE, lambda y, x: 0.2 + 0.3 * y - x).astype(np.float32)
    position = contour_position(half, PLANE, 0.0, along="x").position
    radius = contour_radius(half, PLANE, 0.0, centre=ORIGIN, angles=ANGLES).position
    assert position.dtype == radius.dtype == np.float32
    eps = np.finfo(np.float32).eps
    np.testing.assert_allclose(position, 0.2 + 0.3 * Y, atol=16 * eps)
    exact = 0.2 / (np.cos(ANGLES) - 0.3 * np.sin(ANGLES))
    seen = np.isfinite(radius)
    assert seen.sum() > 8
    np.testing.assert_allclose(np.asarray(radius)[seen], exact[seen], rtol=64 * eps)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: enclosed_area(np.ones((17, 13)), PLANE, 0.0), "fields must have shape"),
        (lambda: enclosed_area(np.ones(3), GRID, 0.0), "fields must have shape"),
        (lambda: enclosed_area(smooth(0), PLANE, np.zeros(3)), "threshold must be a number"),
        (lambda: enclosed_area(smooth(0), PLANE, 0.0, axes=("y", "z")), "unknown axis 'z'"),
        (lambda: enclosed_area(smooth(0), PLANE, 0.0, axes=("y", "y")), "two axes of the grid"),
        (
            lambda: enclosed_area(np.ones((1, 2)), bc.Grid(y=[0.0], x=[0.0, 1.0]), 0.0),
            "two places or more",
        ),
        (
            lambda: enclosed_area(np.ones((4, 2)), bc.Grid(y=Index(4), x=[0.0, 1.0]), 0.0),
            "4 cells, counted",
        ),
        (lambda: contour_position(smooth(0), PLANE, 0.0, along="z"), "unknown axis 'z'"),
        (
            lambda: contour_radius(smooth(0), PLANE, 0.0, centre={"y": 0.0}, angles=[0.0]),
            "a coordinate for each",
        ),
        (
            lambda: contour_radius(smooth(0), PLANE, 0.0, centre={"y": 9, "x": 0}, angles=[0.0]),
            "must lie in the domain",
        ),
        (
            lambda: contour_radius(smooth(0), PLANE, 0.0, centre=ORIGIN, angles=0.0),
            "one-dimensional, in radians",
        ),
        (
            lambda: contour_radius(smooth(0), PLANE, 0.0, centre=ORIGIN, angles=[np.nan]),
            "angles holds 1 NaN",
        ),
        (lambda: contour_summary(smooth(0), PLANE, 0.0), "for independent draws"),
        (lambda: contour_summary(smooth(0)[None], PLANE, 0.0, angles=[0.0]), "belong together"),
        (
            lambda: contour_summary(np.full((3, *PLANE.shape), np.nan), PLANE, 0.0),
            "fields holds 663 NaN",
        ),
        (
            lambda: contour_summary(
                np.ones((3, 2, *PLANE.shape)),
                bc.Grid(angle=[0.0, 1.0], y=Y, x=X),
                0.0,
                centre=ORIGIN,
                angles=[0.0],
            ),
            "Rename that of the grid",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()


PUBLIC = [*FUNCTIONS, contour_position, contour_radius, contour_summary]


@pytest.mark.broadcasts
@pytest.mark.parametrize("function", PUBLIC, ids=lambda f: f.__name__)
def test_the_example_of_every_function_gives_what_it_says(function):
    names = {"bc": bc, "jax": jax, "jnp": jnp}
    text = inspect.getdoc(inspect.unwrap(function))
    example = doctest.DocTestParser().get_doctest(text, names, function.__name__, None, None)
    told: list[str] = []
    failed, _ = doctest.DocTestRunner().run(example, out=told.append)
    assert example.examples
    assert not failed, "".join(told)
