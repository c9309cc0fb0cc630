"""Domains that are no box: outside nothing is left of a field; inside, beliefs, totals and walls are
those of dense algebra on the points inside alone.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray
from numpyro.infer import Predictive

import bayescons as bc
from bayescons.axes import Cells, Index, Ring
from bayescons.functionals import Domain, PointEvaluation
from bayescons.gaussians import Constraint, Diagonal, Masked, masked
from bayescons.gaussians.row_covariance import shared_axes
from bayescons.refusals import Refusal
from tests.structures import (
    BUNDLES,
    GRID,
    STRUCTURES,
    belief,
    exponential,
    second_moments,
    textbook,
)

EPS = float(np.finfo(float).eps)
INSIDE = np.array([[1, 1, 1, 1, 0], [0, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool)
DOMAIN = Domain(GRID, INSIDE, wall="halfway")
ON_GRID = [s for s in STRUCTURES if s not in BUNDLES]
every_structure = pytest.mark.parametrize("structure", ON_GRID)

X, Y = np.array([0.0, 0.1, 0.3, 0.35, 0.6, 0.8]), np.array([0.0, 0.2, 0.3, 0.5, 0.7])
AXES = {
    "nodes": {"x": X, "y": Y},
    "cells": {"x": Cells(np.append(X, 1.0)), "y": Cells(np.append(Y, 1.0))},
    "ring": {"x": Ring(X, 1.0), "y": Y},
    "ring of cells beside": {"x": Ring(X, 1.0), "y": Cells(np.append(Y, 1.0))},
}
every_kind = pytest.mark.parametrize("kind", AXES)
L_SHAPE = np.ones((6, 5), bool)
L_SHAPE[3:, 2:] = False
HOLLOW = np.ones((6, 5), bool)
HOLLOW[2:4, 2] = False
SHAPES = {"L": L_SHAPE, "hole": HOLLOW, "all": np.ones((6, 5), bool)}
every_shape = pytest.mark.parametrize("inside", SHAPES.values(), ids=SHAPES)


def matrix(functional):
    """Rows of a functional, by applying it to unit fields."""
    size = math.prod(functional.shape)
    units = jnp.eye(size).reshape(size, *functional.shape)
    return np.asarray(jax.vmap(functional.linear)(units)).reshape(size, -1).T


def polynomial(axis, power):
    """x**power along an axis: its averages where the axis holds cells."""
    if isinstance(axis, Cells):
        high, low = axis.edges[1:] ** (power + 1), axis.edges[:-1] ** (power + 1)
        return (high - low) / (power + 1) / axis.widths
    return axis.points**power


# --- beliefs


@pytest.mark.usefixtures("eagerly")
@every_structure
def test_a_masked_belief_is_that_of_the_field_times_the_indicator(structure):
    own = belief(structure)
    given = masked(own.gaussian, DOMAIN)
    indicator = INSIDE.ravel().astype(float)
    expected = indicator[:, None] * own.covariance * indicator
    tolerance = 1e3 * EPS * np.abs(own.unconditioned).max()
    variance, covariance = second_moments(given)
    np.testing.assert_allclose(covariance, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(variance, np.diag(expected), rtol=0, atol=tolerance)
    np.testing.assert_array_equal(given.mean, np.where(INSIDE, own.gaussian.mean, 0))
    units = jnp.eye(given.covariance.noise_size)
    roots = np.asarray(given.transport(units) - given.mean[None]).reshape(len(units), -1)
    np.testing.assert_allclose(roots.T @ roots, expected, rtol=0, atol=tolerance)


@pytest.mark.float32
@every_structure
def test_outside_nothing_moves_and_draws_are_numbers(structure):
    draws = masked(belief(structure).gaussian, DOMAIN).sample(jax.random.key(0), (3,))
    assert np.isfinite(draws).all()
    assert (np.asarray(draws)[:, ~INSIDE] == 0).all()


@every_structure
def test_a_mask_keeps_the_structure(structure):
    whole = belief(structure).gaussian.covariance
    covariance = masked(belief(structure).gaussian, DOMAIN).covariance
    assert covariance.independent == whole.independent
    assert covariance.noise_size == whole.noise_size
    if isinstance(whole, Diagonal):
        assert isinstance(covariance, Diagonal)
    else:
        assert isinstance(covariance, Masked)
        assert covariance.whole is whole


@every_structure
def test_conditioning_is_dense_algebra_on_the_points_inside_alone(structure):
    own, inside = belief(structure), INSIDE.ravel()
    truth = np.where(INSIDE, np.random.default_rng(3).normal(size=GRID.shape), 0)
    total = DOMAIN.integral("x")
    walls = DOMAIN.faces(ends=False)[[0, 2, 3]].dirichlet(lowered=True)
    given = masked(own.gaussian, DOMAIN)
    facts = Constraint(total, total(truth), name="total") & Constraint(walls, walls(truth))
    result = bc.update(given, facts)
    rows = np.concatenate([matrix(total), matrix(walls)])
    assert (rows[:, ~inside] == 0).all()
    block = np.ix_(inside, inside)
    values = rows @ truth.ravel()
    expected = textbook(
        own.mean[inside],
        own.covariance[block],
        rows[:, inside],
        values,
        unconditioned=own.unconditioned[block],
    )
    tolerance = 10 * expected.error * np.abs(own.unconditioned).max()
    variance, covariance = second_moments(result.posterior)
    mean = np.asarray(result.posterior.mean).ravel()
    np.testing.assert_allclose(mean[inside], expected.mean, rtol=0, atol=10 * expected.error * 10)
    np.testing.assert_allclose(covariance[block], expected.covariance, rtol=0, atol=tolerance)
    assert float(result.log_evidence) == pytest.approx(expected.log_evidence, abs=1e-8)
    assert (mean[~inside] == 0).all()
    assert (variance[~inside] == 0).all()


@every_structure
def test_a_statement_outside_is_redundant_or_contradicts_the_mask(structure):
    land = PointEvaluation((np.array([1]), np.array([0])), shape=GRID.shape)
    given = masked(belief(structure).gaussian, DOMAIN)
    result = bc.update(given, Constraint(land, 0.0, name="land"))
    assert result.redundant.all()
    assert int(result.rank) == 0
    np.testing.assert_array_equal(result.posterior.mean, given.mean)
    with pytest.raises(
        bc.InconsistentConstraintsError,
        match=r"land.* contradicts what is certain: .*outside of a mask",
    ):
        bc.condition(given, Constraint(land, 1.0, name="land"))


@every_structure
def test_a_masked_field_has_no_density(structure):
    given = masked(belief(structure).gaussian, DOMAIN)
    with pytest.raises(NotImplementedError, match=r"no density.*inside bc.exact\(program\)"):
        given.log_prob(given.mean)


@pytest.mark.parametrize("structure", ["diagonal", "kronecker", "dense", "conditioned exactly"])
def test_each_member_of_a_batch_has_its_own_mask(structure):
    inside = np.stack([INSIDE, ~INSIDE])
    domain, single = Domain(GRID, inside), belief(structure).gaussian
    means = jnp.stack([single.mean, 2 * single.mean])
    total = bc.integral(GRID)
    fact = Constraint(total, jnp.ones((2, 3)))
    for given in (single, bc.Gaussian(means, single.covariance)):
        batch = masked(given, domain)
        assert (batch.batch_shape, batch.event_shape) == ((2,), GRID.shape)
        posterior = bc.condition(batch, fact)
        for i in range(2):
            mean = given.mean[i] if given.batch_shape else given.mean
            alone = masked(bc.Gaussian(mean, single.covariance), Domain(GRID, inside[i]))
            one = bc.condition(alone, Constraint(total, jnp.ones(3)))
            for a, b in ((posterior.mean[i], one.mean), (posterior.variance[i], one.variance)):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e4 * EPS)


def test_a_batch_of_covariances_takes_one_mask():
    scales = np.array([0.5, 2.0]).reshape(2, 1, 1) * np.ones((2, *GRID.shape))
    low_rank = bc.low_rank(0 * scales, scales, np.ones((2, *GRID.shape, 1)), batch_dims=1)
    for given in (bc.diagonal(0 * scales, scales, batch_dims=1), low_rank):
        batch = masked(given, DOMAIN)
        np.testing.assert_array_equal(batch.variance, np.where(INSIDE[None], given.variance, 0))
        assert batch.sample(jax.random.key(0), (3,)).shape == (3, 2, *GRID.shape)


def test_a_masked_belief_survives_jit_and_vmap():
    given = masked(belief("kronecker").gaussian, DOMAIN)
    through = jax.jit(lambda g: g)(given)
    np.testing.assert_array_equal(through.variance, given.variance)
    scaled = jax.vmap(lambda s: masked(bc.diagonal(jnp.zeros(GRID.shape), s), DOMAIN))(
        jnp.array([1.0, 2.0])
    )
    np.testing.assert_array_equal(scaled.variance[1], 4.0 * INSIDE)
    assert "masked to 11 of 15 points" in repr(given)
    assert "independent" in repr(masked(belief("diagonal").gaussian, DOMAIN).covariance)


# --- what a person sees


@pytest.mark.parametrize("lead", [(), (4,), (2, 4)])
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_filled_has_nan_outside_and_nowhere_else(lead, batch, kind):
    inside = INSIDE if not batch else np.stack([INSIDE, ~INSIDE])
    array = np.random.default_rng(0).normal(size=(*lead, *batch, *GRID.shape))
    filled = Domain(GRID, inside).filled(kind(array))
    every = np.broadcast_to(inside, array.shape)
    np.testing.assert_array_equal(np.isnan(filled), ~every)
    np.testing.assert_array_equal(np.asarray(filled)[every], array[every])


def test_an_inside_over_some_axes_is_the_same_along_the_others():
    inside = np.array([1, 1, 0, 1, 1], bool)
    some = Domain(GRID, inside, "x")
    whole = Domain(GRID, np.broadcast_to(inside, GRID.shape))
    given = belief("kronecker independent in time").gaussian
    np.testing.assert_array_equal(masked(given, some).variance, masked(given, whole).variance)
    walls = some.faces().neumann(1)
    assert walls.value_shape == (3, len(some.faces()))
    assert shared_axes(masked(given, some).covariance, walls) == (0,)
    for field in np.random.default_rng(0).normal(size=(2, *GRID.shape)):
        np.testing.assert_array_equal(some.filled(field), whole.filled(field))
        np.testing.assert_allclose(
            some.integral("x")(field), whole.integral("x")(field), rtol=8 * EPS
        )


def test_an_inside_is_brought_into_the_order_of_the_grid():
    other = xarray.DataArray(INSIDE.T, dims=("x", "t"), coords={"x": GRID["x"]})
    np.testing.assert_array_equal(Domain(GRID, other).inside, INSIDE)
    np.testing.assert_array_equal(Domain(GRID, INSIDE.T, ("x", "t")).inside, INSIDE)
    with pytest.raises(ValueError, match="coordinates"):
        Domain(GRID, other.assign_coords(x=GRID["x"] + 1))


# --- totals


@every_kind
@every_shape
@pytest.mark.parametrize("over", [("x", "y"), "x", "y"])
@pytest.mark.parametrize("wall", ["nodes", "halfway"])
def test_a_total_is_the_sum_of_the_boxes_inside(kind, inside, over, wall):
    grid = bc.Grid(**AXES[kind])
    names = (over,) if isinstance(over, str) else over
    domain, weights = Domain(grid, inside, wall=wall), np.ones(grid.shape)
    between = {
        n: grid.along(n) for n in names if wall == "nodes" and not isinstance(grid.along(n), Cells)
    }
    for axis, name in enumerate(grid.names):
        if name in names and name not in between:
            weights = weights * np.expand_dims(grid.along(name).weights(), 1 - axis)
    shares = np.zeros(grid.shape)
    reach = [len(between[n].bridges) if n in between else len(grid[n]) for n in grid.names]
    for box in np.ndindex(*reach):
        ways = [(0, 1) if name in between else (0,) for name in grid.names]
        corners = [
            tuple((b + w) % m for b, w, m in zip(box, way, grid.shape, strict=True))
            for way in itertools.product(*ways)
        ]
        if all(inside[c] for c in corners):
            size = math.prod(
                between[n].bridges[b] for n, b in zip(grid.names, box, strict=True) if n in between
            )
            for corner in corners:
                shares[corner] += size / len(corners)
    field = np.random.default_rng(1).normal(size=grid.shape)
    axes = tuple(grid.axis(n) for n in names)
    found = domain.integral(over)(np.where(inside, field, np.pi))
    np.testing.assert_allclose(found, (weights * shares * field).sum(axes), rtol=0, atol=64 * EPS)
    mean = domain.average(over)(field)
    measure = (weights * shares).sum(axes)
    np.testing.assert_allclose(mean * measure, found, rtol=0, atol=256 * EPS)
    np.testing.assert_allclose(domain.average(over)(np.ones(grid.shape)), 1.0, rtol=8 * EPS)
    if wall == "halfway":
        plain = bc.integral(grid, over)(np.where(inside, field, 0))
        np.testing.assert_allclose(found, plain, rtol=0, atol=64 * EPS)


@pytest.mark.parametrize("kind", ["nodes", "cells"])
def test_a_box_within_a_grid_is_a_grid_of_its_own(kind):
    """Totals, averages, walls and the error of the rule are those of the smaller grid."""
    x, y = AXES[kind].values()
    lower, upper, high = 1, 5, 4
    cut = lambda axis, a, b: Cells(axis.edges[a : b + 1]) if kind == "cells" else axis[a:b]  # noqa: E731
    small = bc.Grid(x=cut(x, lower, upper), y=cut(y, 0, high))
    large, inside = bc.Grid(x=x, y=y), np.zeros((6, 5), bool)
    inside[lower:upper, :high] = True
    domain, field = Domain(large, inside), np.random.default_rng(0).normal(size=(6, 5))
    part = field[inside].reshape(small.shape)
    weight = np.linspace(1.0, 2.0, 6)
    for over in (("x", "y"), "x"):
        lines = (slice(None, high),) if over == "x" else (...,)
        own = domain.integral(over, weight={"x": weight})(field)[lines]
        expected = bc.integral(small, over, weight={"x": weight[lower:upper]})(part)
        np.testing.assert_allclose(own, expected, rtol=0, atol=64 * EPS)
        if kind == "nodes":
            given = masked(bc.diagonal(field + 5, 0.1), domain)
            scale = bc.quadrature_scale(given, domain.integral(over))[lines]
            alone = bc.quadrature_scale(bc.diagonal(part + 5, 0.1), bc.integral(small, over))
            np.testing.assert_allclose(scale, alone, rtol=1e-13)
    np.testing.assert_allclose(
        domain.average(("x", "y"))(field),
        bc.average(small, ("x", "y"))(part),
        rtol=0,
        atol=64 * EPS,
    )
    faces = domain.faces()
    for name, side in itertools.product(("x", "y"), ("lower", "upper")):
        sign = 1 if side == "upper" else -1
        wall = faces[faces.normal[name] == sign]
        np.testing.assert_allclose(wall.position[name], small.along(name).end(side), rtol=4 * EPS)
        for order in (1, 2, 3):
            for own, expected in (
                (wall.dirichlet(order), bc.dirichlet(small, name, side, order)),
                (wall.neumann(order), bc.neumann(small, name, side, order)),
                (wall.robin(2.0, 0.5, order), bc.robin(small, name, side, 2.0, sign * 0.5, order)),
            ):
                slope = sign if "∂u/∂n" in own.about and "+" not in own.about else 1
                size = np.abs(matrix(expected)).sum()
                np.testing.assert_allclose(
                    own(field), slope * expected(part), rtol=0, atol=64 * EPS * size
                )


def test_a_measure_counts_whole_cells_inside():
    grid, inside = bc.Grid(x=X, y=Y), L_SHAPE
    areas = np.random.default_rng(0).uniform(1, 2, grid.shape)
    field = np.random.default_rng(1).normal(size=grid.shape)
    total = Domain(grid, inside).integral(("x", "y"), measure=areas)
    assert float(total(field)) == pytest.approx((areas * field)[inside].sum(), rel=64 * EPS)
    mean = Domain(grid, inside).average(("x", "y"), measure=areas)
    assert float(mean(field)) == pytest.approx(
        (areas * field)[inside].sum() / areas[inside].sum(), rel=64 * EPS
    )


@pytest.mark.parametrize("wall", ["nodes", "halfway"])
def test_totals_between_nodes_are_of_second_order(wall):
    """On an L with its inner corner at the walls that are meant."""
    errors, sizes = [], (16, 32, 64)
    for n in sizes:
        nodes = np.arange(n + 1) / n if wall == "nodes" else (np.arange(n) + 0.5) / n
        x, y = np.meshgrid(nodes, nodes, indexing="ij")
        inside = (x <= 0.5 + 1e-9) | (y <= 0.5 + 1e-9)
        domain = (
            Domain(bc.Grid(x=Cells(np.arange(n + 1) / n), y=Cells(np.arange(n + 1) / n)), inside)
            if wall == "halfway"
            else Domain(bc.Grid(x=nodes, y=nodes), inside)
        )
        exact = (math.e - 1) ** 2 - (math.e - math.exp(0.5)) ** 2
        errors.append(abs(float(domain.integral(("x", "y"))(np.exp(x + y))) - exact))
    order = -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert order == pytest.approx(2.0, abs=0.05)


# --- walls


@every_kind
@every_shape
@pytest.mark.parametrize("ends", [True, False])
def test_faces_are_between_a_point_inside_and_a_neighbour_outside(kind, inside, ends):
    grid, expected = bc.Grid(**AXES[kind]), set()
    for place in zip(*np.nonzero(inside), strict=True):
        for axis, name in enumerate(grid.names):
            along = grid.along(name)
            for step in (-1, 1):
                number = place[axis] + step
                beyond = not 0 <= number < len(along)
                if beyond and not along.closes:
                    outside = ends
                else:
                    beside = list(place)
                    beside[axis] = number % len(along)
                    outside = not inside[tuple(beside)]
                if outside:
                    at = (
                        along.edges[place[axis] + (step > 0)]
                        if isinstance(along, Cells)
                        else along.points[place[axis]]
                    )
                    where = [grid[n][i] for n, i in zip(grid.names, place, strict=True)]
                    where[axis] = at
                    expected.add((axis, step, *place, *where))
    domain = Domain(grid, inside)
    if not expected:
        with pytest.raises(ValueError, match="has no wall"):
            domain.faces(ends=ends)
        return
    faces = domain.faces(ends=ends)
    found = {
        (*map(int, row[:4]), *row[4:])
        for row in zip(
            faces.axis, faces.step, *faces.numbers, *faces.position.values(), strict=True
        )
    }
    assert found == expected
    assert len(faces) == len(expected)
    normals = np.stack([*faces.normal.values()])
    np.testing.assert_array_equal(np.abs(normals).sum(0), 1.0)
    np.testing.assert_array_equal(normals[faces.axis, np.arange(len(faces))], faces.step)


@every_kind
@pytest.mark.parametrize("wall", ["nodes", "halfway"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_walls_are_exact_for_polynomials_and_read_no_point_outside(kind, wall, order):
    grid = bc.Grid(**AXES[kind])
    along_x = bc.axes.Nodes(X) if kind.startswith("ring") else grid.along("x")
    for inside in (L_SHAPE, HOLLOW):
        faces = Domain(grid, inside, wall=wall).faces()
        faces = faces[faces.depth > order]
        if kind.startswith("ring"):  # a polynomial is none across the seam
            down = np.where(faces.axis == 0, faces.numbers[0] - faces.step * order, 0)
            faces = faces[(down >= 0) & (down < 6)]
        for power in range(order + 1):
            along = polynomial(along_x, power), polynomial(grid.along("y"), power)
            field = along[0][:, None] * 1.0 + along[1][None] * 2.0
            field = np.where(inside, field, np.nan)
            x, y = faces.position["x"], faces.position["y"]
            own = {"x": (x, 1.0), "y": (y, 2.0)}
            for name in ("x", "y"):
                on = faces.normal[name] != 0
                if not on.any():
                    continue
                some, (at, factor) = faces[on], own[name]
                other = {"x": along[1] * 2.0, "y": along[0]}[name]
                rest = other[some.numbers[1 if name == "x" else 0]]
                at = at[on]
                with np.errstate(invalid="ignore"):
                    value = np.asarray(_finite(some.dirichlet(order), field))
                    slope = np.asarray(_finite(some.neumann(order), field))
                    both = np.asarray(
                        _finite(some.robin(2.0, np.full(len(some), 0.5), order), field)
                    )
                size = 1e3 * EPS * (np.abs(matrix(some.neumann(order))).sum(1) + 1)
                outward = some.step * factor * power * (at ** (power - 1) if power else 0 * at)
                assert (np.abs(slope - outward) <= size * 3).all()
                if power < order:
                    exact = factor * at**power + rest
                    assert (np.abs(value - exact) <= size * 3).all()
                    assert (np.abs(both - 2 * exact - 0.5 * outward) <= size * 6).all()


def _finite(functional, field):
    """Its value, where points outside must not even be touched."""
    weights = matrix(functional)
    assert (weights[:, np.isnan(field).ravel()] == 0).all()
    return functional(np.where(np.isnan(field), 1e300, field))


def test_a_stencil_goes_on_across_the_seam_of_a_ring():
    n = 64
    grid = bc.Grid(x=Ring(np.arange(n) / n, 1.0))
    inside = np.ones(n, bool)
    inside[3:10] = False
    faces = Domain(grid, inside).faces()
    np.testing.assert_allclose(np.sort(faces.position["x"]), [2 / n, 10 / n])
    slope = faces.neumann(order=4)(np.sin(2 * np.pi * grid["x"]))
    exact = 2 * np.pi * np.cos(2 * np.pi * faces.position["x"]) * faces.normal["x"]
    assert np.abs(slope - exact).max() < 1e-3  # (2 π)^5 h^4 / 5
    assert (np.nonzero(matrix(faces.neumann(order=4)))[1] > 60).any()


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["cells", "nodes"])
def test_walls_of_an_l_have_the_order_that_they_state(kind, order):
    errors, sizes = {"u": [], "∂u/∂n": []}, (16, 32, 64)
    for n in sizes:
        edges = np.arange(n + 1) / n
        axis = Cells(edges) if kind == "cells" else edges
        along = np.diff(np.exp(edges)) * n if kind == "cells" else np.exp(edges)
        grid = bc.Grid(x=axis, y=axis)
        x, y = np.meshgrid(*grid.values(), indexing="ij")
        faces = Domain(grid, (x < 0.51) | (y < 0.51), wall="halfway").faces(ends=False)
        field = along[:, None] * along[None]
        across = np.where(faces.axis == 0, along[faces.numbers[1]], along[faces.numbers[0]])
        exact = np.exp(faces.at) * across
        errors["u"].append(np.abs(faces.dirichlet(order)(field) - exact).max())
        errors["∂u/∂n"].append(np.abs(faces.neumann(order)(field) - exact * faces.step).max())
    for found in errors.values():
        assert -np.polyfit(np.log(sizes), np.log(found), 1)[0] == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_walls_of_a_disk_have_their_order_where_it_crosses_the_grid(order):
    errors, sizes = {"u": [], "∂u/∂n": []}, (17, 33, 65, 129)
    for n in sizes:
        nodes = np.linspace(-1, 1, n)
        grid = bc.Grid(x=nodes, y=nodes)
        x, y = np.meshgrid(nodes, nodes, indexing="ij")
        faces = Domain(grid, x**2 + y**2 < 0.7).faces()
        faces = faces[faces.depth > order]
        across = np.where(faces.axis == 0, faces.position["y"], faces.position["x"])
        faces = faces.moved(faces.step * np.sqrt(0.7 - across**2))
        field, p = np.exp(x) * np.cos(y), faces.position
        slopes = np.where(faces.axis == 0, np.cos(p["y"]), -np.sin(p["y"])) * np.exp(p["x"])
        exact = np.exp(p["x"]) * np.cos(p["y"])
        errors["u"].append(np.sqrt(np.mean((faces.dirichlet(order)(field) - exact) ** 2)))
        missed = faces.neumann(order)(field) - slopes * faces.step
        errors["∂u/∂n"].append(np.sqrt(np.mean(missed**2)))
    for found in errors.values():
        assert -np.polyfit(np.log(sizes), np.log(found), 1)[0] == pytest.approx(order, abs=0.25)


def test_a_face_with_too_few_points_behind_it_is_refused_or_lowered():
    grid = bc.Grid(x=Cells(np.arange(7.0)))
    faces = Domain(grid, [1, 1, 0, 1, 1, 1]).faces()
    assert faces.depth.tolist() == [2, 3, 2, 3]
    with pytest.raises(
        ValueError, match=r"x=0, facing x down lie 2 points.*order 2 needs 3.*lower"
    ):
        faces.neumann(2)
    field = grid["x"] ** 2 + 1 / 12  # averages of x²
    slopes = faces.neumann(2, lowered=True)(field)
    np.testing.assert_allclose(slopes[jnp.array([1, 3])], [-6.0, 12.0], rtol=1e-12)
    np.testing.assert_allclose(slopes[0], -1 * (field[1] - field[0]), rtol=1e-12)  # of order 1
    np.testing.assert_allclose(faces[faces.depth >= 3].neumann(2)(field), [-6.0, 12.0], rtol=1e-12)
    single = Domain(grid, [1, 0, 1, 1, 1, 1]).faces()
    with pytest.raises(ValueError, match=r"lie 1 point inside.*Lower the order, or leave such"):
        single.neumann(1, lowered=True)
    assert single.dirichlet(3, lowered=True)(field)[0] == field[0]


# --- programs


ROOM = bc.Grid(t=[0.0, 1.0], x=Cells(np.linspace(0, 1, 7)), y=np.linspace(0, 1, 6))
CORNER = np.ones((6, 6), bool)
CORNER[3:, 3:] = False
SEA = Domain(ROOM, CORNER, ("x", "y"))
SIDE = SEA.faces(ends=False)
HEAT = SEA.integral(("x", "y"))
KERNELS = (None, exponential(ROOM["x"], 0.4), exponential(ROOM["y"], 0.4))


def room(total, wall):
    u = numpyro.sample("u", masked(bc.kronecker(jnp.ones(ROOM.shape), KERNELS), SEA))
    bc.observe("total", HEAT, u, total)
    bc.observe("wall", SIDE.robin(1.0, 0.2), u, wall)
    return u


def scaled_room(total, wall):
    scale = numpyro.sample("scale", dist.LogNormal())
    prior = bc.kronecker(jnp.ones(ROOM.shape), KERNELS, scale=scale)
    u = numpyro.sample("u", masked(prior, SEA))
    bc.observe("total", HEAT, u, total)
    bc.observe("wall", SIDE.robin(1.0, 0.2), u, wall)
    return u


FACTS = {"total": jnp.array([0.5, 0.7]), "wall": jnp.asarray(0.8)}


def test_a_program_over_a_domain_is_conditioned_as_the_points_inside_are():
    posterior = bc.conjugate(room)(**FACTS)
    inside = np.broadcast_to(CORNER, ROOM.shape).ravel()
    jitter = 1e-10 * np.eye(6)
    covariance = np.kron(np.eye(2), np.kron(*(k + jitter for k in KERNELS[1:])))
    rows = np.concatenate([matrix(HEAT), matrix(SIDE.robin(1.0, 0.2))])
    values = np.append(FACTS["total"], np.full(2 * len(SIDE), 0.8))
    expected = textbook(
        np.ones(inside.sum()), covariance[np.ix_(inside, inside)], rows[:, inside], values
    )
    mean, variance = (np.asarray(a["u"]).ravel() for a in (posterior.mean, posterior.variance))
    np.testing.assert_allclose(mean[inside], expected.mean, rtol=0, atol=10 * expected.error)
    np.testing.assert_allclose(
        variance[inside], np.diag(expected.covariance), rtol=0, atol=10 * expected.error
    )
    assert (mean[~inside] == 0).all()
    assert (variance[~inside] == 0).all()
    assert bc.check(room, **FACTS).ok


@pytest.mark.parametrize("program", [room, scaled_room])
def test_every_draw_of_every_reading_keeps_the_total_and_the_wall(program):
    exact = Predictive(bc.exact(program), num_samples=4)(jax.random.key(0), **FACTS)["u"]
    posterior = bc.conjugate(program, key=jax.random.key(2), latent_draws=20)(**FACTS)
    closed = posterior.sample(jax.random.key(1), (4,))["u"]
    for draws in (exact, closed):
        np.testing.assert_allclose(
            jax.vmap(HEAT)(draws), np.tile(FACTS["total"], (4, 1)), rtol=1e-11
        )
        np.testing.assert_allclose(jax.vmap(SIDE.robin(1.0, 0.2))(draws), 0.8, rtol=1e-11)
        assert (np.asarray(draws)[..., ~CORNER] == 0).all()
        np.testing.assert_array_equal(np.isnan(SEA.filled(draws))[0, 0], ~CORNER)


def test_a_coefficient_of_a_wall_may_be_random():
    def program():
        loss = numpyro.sample("loss", dist.Uniform(0.5, 2.0))
        u = numpyro.sample("u", masked(bc.diagonal(jnp.ones(ROOM.shape), 1.0), SEA))
        bc.observe("wall", SIDE.robin(loss, 1.0), u, 0.0)

    draw = Predictive(bc.exact(program), num_samples=2)(jax.random.key(0))
    for loss, u in zip(draw["loss"], draw["u"], strict=True):
        missed = loss * SIDE.dirichlet()(u) + SIDE.neumann()(u)
        assert np.abs(missed).max() < 1e-11


def test_members_with_domains_of_their_own_are_an_axis_of_the_grid():
    grid = bc.Grid(member=Index(2), x=Cells(X), y=Y)
    inside = np.random.default_rng(0).random(grid.shape) > 0.3
    domain = Domain(grid, inside, wall="halfway")
    field = np.random.default_rng(1).normal(size=grid.shape)
    found, walls = domain.average(("x", "y"))(field), domain.faces()
    assert not walls.normal["member"].any()
    own = [Domain(bc.Grid(x=Cells(X), y=Y), i, wall="halfway") for i in inside]
    np.testing.assert_allclose(
        found, [d.average(("x", "y"))(u) for d, u in zip(own, field, strict=True)], rtol=1e-13
    )
    values = walls.dirichlet(lowered=True)(field)
    for i, (alone, u) in enumerate(zip(own, field, strict=True)):
        np.testing.assert_array_equal(
            np.sort(values[walls.position["member"] == i]),
            np.sort(alone.faces().dirichlet(lowered=True)(u)),
        )


def test_a_statement_in_a_plate_knows_the_mask_of_its_member():
    inside = np.stack([INSIDE, ~INSIDE])
    domain, prior = Domain(GRID, inside), belief("kronecker").gaussian

    def program(total):
        with numpyro.plate("members", 2):
            u = numpyro.sample("u", masked(prior, domain))
            bc.observe("total", bc.integral(GRID), u, total)

    total = jnp.array([[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]])
    posterior = bc.conjugate(program)(total)
    for i in range(2):
        alone = masked(prior, Domain(GRID, inside[i]))
        one = bc.condition(alone, Constraint(bc.integral(GRID), total[i]))
        np.testing.assert_allclose(posterior.mean["u"][i], one.mean, rtol=0, atol=1e4 * EPS)
        np.testing.assert_allclose(posterior.variance["u"][i], one.variance, rtol=0, atol=1e4 * EPS)


# --- refusals


ROD = bc.Grid(x=np.linspace(0.0, 1.0, 5))
ON_ROD = Domain(ROD, [1, 1, 1, 0, 0])


@pytest.mark.parametrize(
    ("attempt", "says"),
    [
        (lambda: Domain(ROD, [1, 1, 0]), r"shape \(5,\), over x.*got \(3,\)"),
        (lambda: Domain(ROD, [0.5, 1, 1, 1, 1]), "write share > 0.5"),
        (lambda: Domain(ROD, [np.nan, 1, 1, 1, 1]), "one or zero"),
        (lambda: Domain(ROD, np.zeros(5)), "empty"),
        (lambda: Domain(ROD, np.eye(2, 5)[[0, 0]] * [[1], [0]]), r"member \[1\] is empty"),
        (lambda: Domain(ROD, np.ones(5), wall="outside"), "there is no wall 'outside'"),
        (lambda: Domain(ROD, np.ones((5, 5)), ("x", "x")), "each of its axes once"),
        (lambda: Domain(ROD, np.ones(5), "y"), "unknown axis 'y'"),
        (lambda: jax.jit(lambda i: Domain(ROD, i).faces().at)(jnp.ones(5)), "cannot be traced"),
        (lambda: Domain(ROD, [1, 0, 1, 1, 0]).integral("x"), r"first at \(x=0\).*'halfway'"),
        (lambda: Domain(ROD, np.ones((2, 5))).faces(), "a batch of domains"),
        (lambda: Domain(ROD, np.ones((2, 5))).average("x"), r"axes.Index\(n\)"),
        (lambda: ON_ROD.filled(np.zeros(4)), r"shape \(5,\) of the domain"),
        (lambda: ON_ROD.faces().dirichlet(5), "1 to 4; got 5"),
        (lambda: ON_ROD.faces().robin(0.0, 0.0), "coefficients other than zero"),
        (lambda: ON_ROD.faces().robin(np.ones(3), 1.0), "one for each of 2 faces"),
        (lambda: ON_ROD.faces()[np.zeros(2, bool)], "none of 2 faces is chosen"),
        (lambda: ON_ROD.faces().moved([0.0]), r"one coordinate for each face, shape \(2,\)"),
        (lambda: ON_ROD.faces(ends=False).moved([0.9]), "between the points at 0.5 and 0.75"),
        (lambda: masked(bc.diagonal(np.zeros(4), 1.0), ON_ROD), "build both on the same grid"),
        (
            lambda: masked(
                bc.diagonal(np.zeros((3, 5)), 1.0, batch_dims=1), Domain(ROD, np.ones((2, 5)))
            ),
            "cannot have a batch of domains",
        ),
        (
            lambda: Domain(bc.Grid(x=Cells(points=[0.5, 1.5], widths=[1, 1])), [1, 0]).faces(),
            "edges: Cells",
        ),
        (lambda: Domain(bc.Grid(i=Index(3)), [1, 1, 0]).faces(), "has no wall"),
        (lambda: Domain(GRID, INSIDE * [[1], [0], [1]]).average("x"), "no average"),
    ],
)
def test_what_is_no_domain_is_refused_with_the_remedy(attempt, says):
    with pytest.raises(Refusal, match=says):
        attempt()


def test_a_domain_says_what_it_is():
    assert "11 of 15 points inside" in repr(DOMAIN)
    assert "facing up" in repr(DOMAIN.faces())
    assert "∂u/∂n at 2 faces of a domain, order 1" in repr(ON_ROD.faces().neumann(1))
    assert ON_ROD.faces().neumann(1).labels()[1] == "[x=0.5, facing x up]"
