"""Axes know what they are: sums over cells are exact, walls lie at faces, a ring has no ends, an
index has no place; and measures over any of the axes are the sums that loops give.
"""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from scipy import sparse

import bayescons as bc
from bayescons.arrays import rank_tolerance
from bayescons.axes import Cells, Index, Nodes, Ring
from bayescons.functionals import regional, shell_volume, spherical_area
from bayescons.functionals.weighted import WeightedSum

EPS = float(np.finfo(float).eps)
RNG = np.random.default_rng(0)
EDGES = np.array([0.0, 0.1, 0.3, 0.35, 0.6, 1.0])
STRETCHED = np.append(0.0, np.cumsum(0.05 * 1.15 ** np.arange(12)))


def averages(edges, power):
    """Averages over cells of x**power."""
    return np.diff(edges ** (power + 1) / (power + 1)) / np.diff(edges)


# --- cells


@pytest.mark.parametrize("edges", [EDGES, STRETCHED], ids=["uneven", "stretched"])
@pytest.mark.parametrize("power", range(4))
def test_a_sum_over_cells_is_the_integral(edges, power):
    grid = bc.Grid(x=Cells(edges))
    expected = edges[-1] ** (power + 1) / (power + 1)
    assert bc.integral(grid)(averages(edges, power)) == pytest.approx(expected, rel=8 * EPS)
    assert bc.average(grid)(averages(edges, power)) == pytest.approx(
        expected / edges[-1], rel=16 * EPS
    )


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("side", ["lower", "upper"])
def test_values_and_slopes_at_walls_are_those_of_the_polynomial_with_these_averages(side, order):
    grid, wall = bc.Grid(x=Cells(EDGES)), EDGES[0 if side == "lower" else -1]
    for power in range(order):
        value = bc.dirichlet(grid, "x", side, order)(averages(EDGES, power))
        assert abs(value - wall**power) <= 1e4 * EPS
    for power in range(order + 1):
        slope = bc.neumann(grid, "x", side, order)(averages(EDGES, power))
        assert abs(slope - power * wall ** max(power - 1, 0)) <= 1e5 * EPS
        if power < order:
            mixed = bc.robin(grid, "x", side, value=2.0, slope=0.5, order=order)
            expected = 2 * wall**power + 0.5 * power * wall ** max(power - 1, 0)
            assert abs(mixed(averages(EDGES, power)) - expected) <= 1e5 * EPS


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_reconstruction_at_a_wall_has_the_order_that_it_states(order):
    errors = []
    for cells in (32, 64):
        edges = np.linspace(0.0, 1.0, cells + 1)
        field = np.diff(np.exp(edges)) / np.diff(edges)
        wall = bc.dirichlet(bc.Grid(x=Cells(edges)), "x", "upper", order)
        errors.append(abs(float(wall(field)) - math.e))
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.15


def test_the_wall_is_half_a_cell_beyond_the_first_centre():
    # u = 2 - x: a stated wall of 2 does not make the first average 2
    grid = bc.Grid(x=Cells(np.linspace(0.0, 1.0, 6)))
    field = 2 - grid["x"]
    wall = bc.dirichlet(grid, "x", "lower")
    assert wall(field) == pytest.approx(2.0, rel=8 * EPS)
    belief = bc.diagonal(field + 0.3, 0.5)
    posterior = bc.condition(belief, bc.Constraint(wall, 2.0))
    assert wall(posterior.mean) == pytest.approx(2.0, rel=8 * EPS)
    assert posterior.variance[0] > 0.01


def test_second_differences_of_averages_are_those_of_their_parabola():
    field = 3 * averages(EDGES, 2) - averages(EDGES, 1)
    np.testing.assert_allclose(
        bc.second_difference(bc.Grid(x=Cells(EDGES)))(field), 6.0, rtol=1e4 * EPS
    )


def test_bounds_of_each_cell_are_their_edges_in_either_order():
    bounds = np.stack([EDGES[:-1], EDGES[1:]], axis=1)
    assert Cells(bounds) == Cells(EDGES) == Cells(bounds[:, ::-1])


def test_cells_that_are_known_by_their_widths_have_totals_and_no_walls():
    grid = bc.Grid(z=Cells(points=[5.0, 30.0], widths=[20.0, 40.0]))
    assert bc.integral(grid, "z")(jnp.ones(2)) == 60.0
    for state in (bc.dirichlet, bc.neumann):
        with pytest.raises(ValueError, match=r"where the walls of this axis are is not known"):
            state(grid, "z", "lower")
    with pytest.raises(ValueError, match=r"not known: its cells were given by their widths"):
        bc.second_difference(grid, "z")


@pytest.mark.parametrize("rule", ["trapezoid", "simpson"])
def test_a_rule_between_nodes_is_refused_for_averages_over_cells(rule):
    with pytest.raises(ValueError, match=r"averages over cells, whose sum is exact"):
        bc.integral(bc.Grid(x=Cells(EDGES)), rule=rule)


def test_a_balance_over_cells_is_between_faces():
    grid = bc.Grid(t=[0.0, 0.5, 1.0], x=Cells(EDGES))
    field = np.random.default_rng(1).normal(size=grid.shape)
    each = bc.cell_balance(grid)
    assert np.array_equal(each.faces["x"], EDGES)
    np.testing.assert_allclose(each.change(field), np.diff(field, axis=0) * np.diff(EDGES))
    whole = bc.balance(grid)
    assert np.array_equal(whole.faces["x"], EDGES[[0, -1]])
    with pytest.raises(ValueError, match="a balance is between times"):
        bc.balance(bc.Grid(t=Cells([0.0, 0.5, 1.0]), x=[0.0, 1.0]))


# --- rings


def test_a_ring_has_equal_weights_and_reaches_back_to_its_first_point():
    grid = bc.Grid(x=Ring(np.arange(16) / 16, 1.0))
    wave = np.sin(2 * np.pi * grid["x"])
    assert bc.integral(grid)(np.ones(16)) == 1.0
    assert bc.integral(grid)(wave**2) == pytest.approx(0.5, rel=8 * EPS)
    uneven = Ring([0.0, 100.0, 300.0], 360.0)
    np.testing.assert_array_equal(uneven.weights(), [80.0, 150.0, 130.0])


def test_second_differences_on_a_ring_cross_the_seam():
    grid = bc.Grid(x=Ring(np.arange(64) / 64, 1.0))
    wave = np.cos(2 * np.pi * grid["x"])
    rows = bc.second_difference(grid)
    assert rows.value_shape == (64,)
    step = 2 * np.pi / 64
    damped = (2 * np.pi) ** 2 * (2 - 2 * np.cos(step)) / step**2
    np.testing.assert_allclose(rows(wave), -damped * wave, atol=1e5 * EPS)


@pytest.mark.parametrize(
    "state",
    [
        lambda g: bc.dirichlet(g, "x", "lower"),
        lambda g: bc.neumann(g, "x", "upper"),
        lambda g: bc.robin(g, "x", "upper", 1.0, 1.0),
        lambda g: bc.periodic(g, "x"),
        lambda g: bc.initial(g, "x"),
        lambda g: bc.balance(bc.Grid(t=[0.0, 1.0], x=g.along("x"))),
        lambda g: bc.cell_balance(bc.Grid(t=[0.0, 1.0], x=g.along("x"))),
        lambda g: bc.BoundaryConditions(g, (bc.BoundaryCondition("x", "lower"),)),
    ],
)
@pytest.mark.parametrize(
    "axis", [Ring([0.0, 0.25, 0.5, 0.75], 1.0), Index(4)], ids=["ring", "index"]
)
def test_what_is_said_of_ends_is_refused_where_there_are_none(state, axis):
    with pytest.raises(ValueError, match=r"has no ends|have no ends|have no widths"):
        state(bc.Grid(x=axis))


@pytest.mark.parametrize(
    "axis", [Ring([0.0, 0.25, 0.5, 0.75], 1.0), Index(4)], ids=["ring", "index"]
)
def test_kernels_and_orders_along_what_is_no_line_are_refused(axis):
    grid = bc.Grid(t=[0.0, 1.0], x=axis)
    readings = {"t": np.zeros(1), "x": np.zeros(1)}
    for state in (
        lambda: bc.surrogates.separable(grid, {"t": None, "x": 0.2}),
        lambda: bc.surrogates.gaussian_process(grid, readings, np.zeros(1)),
        lambda: bc.restrictions.increasing(grid, "x"),
    ):
        with pytest.raises(ValueError, match="along 'x' needs a line between two ends"):
            state()
    independent = bc.surrogates.separable(grid, {"t": 0.2, "x": None})
    assert independent.event_shape == (2, 4)


def test_a_ring_that_holds_its_first_point_twice_is_refused():
    with pytest.raises(ValueError, match="the first is not stored again as the last"):
        Ring(np.linspace(0.0, 1.0, 5), 1.0)


def test_the_error_of_a_rule_on_a_ring_counts_the_step_over_the_seam():
    # a jump at the seam alone: h² J² / 12
    count, jump = 8, 2.0
    ring = bc.Grid(x=Ring(np.arange(count) / count, 1.0))
    line = bc.Grid(x=np.arange(count) / count)
    ramp = np.linspace(0.0, jump, count)
    belief = bc.diagonal(ramp, 1e-9)
    around, open_ended = (bc.quadrature_scale(belief, bc.integral(g)) for g in (ring, line))
    expected = np.sqrt((jump / count) ** 2 / 12)
    assert np.sqrt(around**2 - open_ended**2) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="or a sum over cells, which is exact"):
        bc.quadrature_scale(bc.diagonal(jnp.zeros(5), 1.0), bc.integral(bc.Grid(x=Cells(EDGES))))


# --- measures


AREA, DEPTH = RNG.uniform(1.0, 2.0, (4, 5)), np.array([1.0, 2.0, 4.0])
WET, THICK = RNG.uniform(size=(3, 4, 5)), RNG.uniform(1.0, 2.0, (2, 3))
OCEAN = bc.Grid(t=[0.0, 1.0], z=[0.0, 1.0, 2.0], y=[0.0, 1.0, 2.0, 3.0], x=Index(5))
FIELD = RNG.normal(size=OCEAN.shape)
SUMS = {
    "area and depth": (
        bc.integral(OCEAN, ("z", "y", "x"), measure={"y,x": AREA, "z": DEPTH}),
        np.einsum("yx,z,tzyx->t", AREA, DEPTH, FIELD),
    ),
    "the wet share too": (
        bc.integral(
            OCEAN, ("z", "y", "x"), measure={"y,x": AREA, "z": DEPTH}, weight={"z,y,x": WET}
        ),
        np.einsum("yx,z,zyx,tzyx->t", AREA, DEPTH, WET, FIELD),
    ),
    "thickness in time": (
        bc.integral(OCEAN, "z", measure={("t", "z"): THICK}),
        np.einsum("tz,tzyx->tyx", THICK, FIELD),
    ),
    "axes named in another order": (
        bc.integral(OCEAN, ("x", "y"), measure={"x,y": AREA.T}),
        np.einsum("yx,tzyx->tz", AREA, FIELD),
    ),
    "without names": (
        bc.integral(OCEAN, ("x", "y"), measure=AREA.T),
        np.einsum("yx,tzyx->tz", AREA, FIELD),
    ),
    "an average": (
        bc.average(OCEAN, ("y", "x"), measure={"y,x": AREA}, weight={"z,y,x": WET}),
        np.einsum("yx,zyx,tzyx->tz", AREA, WET, FIELD) / np.einsum("yx,zyx->z", AREA, WET),
    ),
    "an average along one axis": (
        bc.average(OCEAN, "z", measure=DEPTH),
        np.einsum("z,tzyx->tyx", DEPTH, FIELD) / 7.0,
    ),
    "a rule and a weight": (
        bc.integral(OCEAN, ("t", "y"), weight={"y": [1.0, 0.0, 2.0, 1.0]}),
        np.einsum("t,y,tzyx->zx", [0.5, 0.5], [0.5, 0.0, 2.0, 0.5], FIELD),
    ),
}


@pytest.mark.parametrize("name", SUMS)
def test_a_measure_is_the_sum_that_a_loop_gives(name):
    functional, expected = SUMS[name]
    np.testing.assert_allclose(functional(FIELD), expected, rtol=64 * EPS, atol=64 * EPS)
    v = np.random.default_rng(1).normal(size=functional.value_shape)
    left, right = np.sum(v * functional.linear(FIELD)), np.sum(FIELD * functional.adjoint(v))
    size = np.sum(np.abs(v) * functional.linear(np.abs(FIELD)))  # of the terms, no weight being < 0
    assert abs(left - right) <= 64 * EPS * size
    assert len(functional.labels()) == max(1, v.size)


@pytest.mark.parametrize("name", SUMS)
def test_totals_with_a_measure_keep_the_blocks_of_an_independent_belief(name):
    functional, expected = SUMS[name]
    belief = bc.diagonal(FIELD + 0.1, np.random.default_rng(1).uniform(0.5, 1.0, FIELD.shape))
    posterior = bc.condition(belief, bc.Constraint(functional, expected))
    np.testing.assert_allclose(functional(posterior.mean), expected, rtol=1e3 * EPS, atol=1e3 * EPS)
    blocks = posterior.covariance.row_covariance.row_std.shape
    assert blocks == (*functional.value_shape, 1)
    # a variance is a difference of two, so a deviation is known to the root of their rounding
    before = np.asarray(bc.gaussians.functional_scale(belief, functional))
    after = np.asarray(bc.gaussians.functional_scale(posterior, functional))
    assert (after <= np.sqrt(rank_tolerance(1, np.float64)) * before).all()


def test_a_data_array_is_known_by_its_names():
    xarray = pytest.importorskip("xarray")
    area = xarray.DataArray(AREA.T, dims=("x", "y"))
    np.testing.assert_array_equal(
        bc.integral(OCEAN, ("y", "x"), measure=area)(FIELD), SUMS["without names"][0](FIELD)
    )


def test_the_error_of_a_rule_is_that_of_the_weighted_field():
    grid = bc.Grid(t=[0.0, 1.0], x=np.linspace(0.0, 1.0, 9))
    weight = np.linspace(1.0, 3.0, 9)
    belief = bc.diagonal(np.random.default_rng(1).normal(size=grid.shape), 0.1)
    product = bc.integral(grid, weight={"x": weight})
    dense = bc.integral(grid, weight={"t,x": np.tile(weight, (2, 1))})
    assert isinstance(dense, WeightedSum)
    expected = bc.quadrature_scale(belief, product)
    np.testing.assert_allclose(bc.quadrature_scale(belief, dense), expected, rtol=64 * EPS)
    middle = (weight[1:] + weight[:-1]) / 2
    increments = np.diff(belief.mean, axis=1) ** 2 + 2 * 0.1**2
    by_hand = np.sqrt(np.sum(middle**2 * increments, axis=1) * (1 / 8) ** 2 / 12)
    np.testing.assert_allclose(expected, by_hand, rtol=64 * EPS)


def test_a_weight_may_be_random_in_a_program():
    grid = bc.Grid(x=Cells(EDGES))

    def program(total):
        share = numpyro.sample("share", numpyro.distributions.Uniform(0.4, 0.6))
        u = numpyro.sample("u", bc.diagonal(jnp.ones(5), 1.0))
        bc.observe("water", bc.integral(grid, weight=share * jnp.ones(5)), u, total)
        bc.observe("mean", bc.average(grid, weight=share * jnp.arange(1.0, 6.0)), u, 1.5)

    exact = numpyro.handlers.seed(bc.exact(program), jax.random.key(0))
    sites = numpyro.handlers.trace(exact).get_trace(0.7)
    u, share = sites["u"]["value"], sites["share"]["value"]
    assert share * np.diff(EDGES) @ u == pytest.approx(0.7, rel=1e-12)
    weights = np.diff(EDGES) * np.arange(1.0, 6.0)
    assert weights @ u / weights.sum() == pytest.approx(1.5, rel=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: bc.integral(OCEAN, "x"), "no widths: give their volumes"),
        (lambda: bc.integral(OCEAN, ("y", "x"), measure=AREA.T), r"has shape \(5, 4\); expected"),
        (
            lambda: bc.integral(OCEAN, "y", measure={"lat": AREA}),
            "over the axis 'lat'; the grid has",
        ),
        (lambda: bc.integral(OCEAN, "y", measure={"y": -np.ones(4)}), "negative entries"),
        (lambda: bc.integral(OCEAN, "y", measure={"y": [1, np.nan, 1, 1]}), "1 NaN or infinite"),
        (lambda: bc.integral(OCEAN, "y", measure={"z": DEPTH}), "is over none of the axes"),
        (lambda: bc.integral(OCEAN, "y", "simpson", measure=np.ones(4)), "would not be used"),
        (lambda: bc.average(OCEAN, "y", weight={"y": np.zeros(4)}), "add up to zero over y"),
        (
            lambda: bc.average(OCEAN, "y", weight={"z,y": np.eye(3, 4) * [[1], [0], [1]]}),
            "at 1 points of t, z|at 1 points",
        ),
        (lambda: bc.integral(OCEAN, ("y", "y")), "names an axis twice"),
        (
            lambda: Cells(np.array([[0.0, 1.0], [1.5, 2.0]])),
            "do not lie side by side: cell 0 ends at 1",
        ),
        (lambda: Cells([0.0, 1.0], points=[2.0]), "does not lie in its cell"),
        (
            lambda: Cells([0.0, 1.0], points=[0.2, 0.5]),
            "2 edges are those of 1 cells; got 2 points",
        ),
        (lambda: Cells(), "given by their edges"),
        (lambda: Cells(widths=[1.0]), "need points to be called by"),
        (lambda: Cells(points=[0.0], widths=[0.0]), "one number above zero"),
        (lambda: Index(0), r"Write Index\(1000\)"),
        (lambda: bc.second_difference(OCEAN, "x"), "have no neighbours"),
    ],
)
def test_a_measure_or_an_axis_that_cannot_be_meant_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        given()


# --- regions

ZONES = np.array([[0, 0, 1, 1, -1], [0, 2, 2, 1, 1], [3, 3, 3, 3, 3], [-1, -1, 0, 2, 2]])
OVERLAPPING = {
    "all": np.ones((4, 5)),
    "north": np.repeat([[1], [1], [0], [0]], 5, 1),
    "half": ZONES / 4 + 0.25,
}


def masks(regions):
    if isinstance(regions, dict):
        return np.stack(list(regions.values()))
    return np.stack([regions == i for i in range(4)])


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("form", ["numbers", "names", "array", "sparse"])
def test_totals_of_regions_are_the_sums_that_loops_give(form, average):
    regions = OVERLAPPING if form == "names" else ZONES
    given = {
        "array": masks(ZONES),
        "sparse": sparse.csr_array(masks(ZONES).reshape(4, 20).astype(float)),
    }.get(form, regions)
    functional = regional(
        OCEAN, ("y", "x"), given, measure={"y,x": AREA}, weight={"z,y,x": WET}, average=average
    )
    shares = masks(regions).astype(float)
    expected = np.einsum("ryx,yx,zyx,tzyx->tzr", shares, AREA, WET, FIELD)
    if average:
        expected = expected / np.einsum("ryx,yx,zyx->zr", shares, AREA, WET)
    np.testing.assert_allclose(functional(FIELD), expected, rtol=64 * EPS, atol=64 * EPS)
    v = np.random.default_rng(1).normal(size=functional.value_shape)
    left, right = np.sum(v * functional.linear(FIELD)), np.sum(FIELD * functional.adjoint(v))
    size = np.sum(np.abs(v) * functional.linear(np.abs(FIELD)))  # of the terms, no weight being < 0
    assert abs(left - right) <= 64 * EPS * size
    belief = bc.diagonal(FIELD + 0.1, 0.5)
    posterior = bc.condition(belief, bc.Constraint(functional, expected, name="zones"))
    np.testing.assert_allclose(functional(posterior.mean), expected, rtol=1e4 * EPS, atol=1e4 * EPS)
    assert posterior.covariance.row_covariance.row_std.shape == (2, 3, len(shares))
    assert functional.labels()[-1] == f"[t=1, z=2, {'half' if form == 'names' else 3}]"


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (ZONES.T, "expected whole numbers of shape"),
        (ZONES * 2, "region 1 holds no point"),
        ({"sea": np.ones(3)}, "region 'sea' has shape"),
        ({"sea": np.zeros((4, 5))}, "region 'sea' holds no point"),
        ({"sea": np.full((4, 5), np.nan)}, "NaN"),
        (np.full((4, 5), -1), "there is no region"),
        (sparse.eye_array(4), "is a matrix of 4 columns|are a matrix of 4 columns"),
    ],
)
def test_regions_that_cannot_be_meant_are_refused(regions, message):
    with pytest.raises(ValueError, match=message):
        regional(OCEAN, ("y", "x"), regions, measure={"y,x": AREA})


# --- the sphere, and shells


LAT, LON = np.linspace(-90.0, 90.0, 73), np.arange(72) * 5.0


def test_the_area_of_a_sphere_is_that_of_its_cells():
    grid = bc.Grid(lat=LAT, lon=Ring(LON, 360.0))
    area = spherical_area(grid, radius=2.0)
    whole = bc.integral(grid, ("lat", "lon"), measure=area)
    assert whole(np.ones(grid.shape)) == pytest.approx(16 * np.pi, rel=64 * EPS)
    # of T = 250 + 30 cos(lat) the mean is 250 + 30 π / 4
    warm = np.broadcast_to(250 + 30 * np.cos(np.deg2rad(LAT))[:, None], grid.shape)
    mean = bc.average(grid, ("lat", "lon"), measure=area)(warm)
    assert abs(float(mean) - (250 + 30 * np.pi / 4)) < 0.01  # order 2 in five degrees
    cells = bc.Grid(lat=Cells(LAT), lon=Ring(LON, 360.0))
    edges = np.deg2rad(LAT)
    exact = 250 + 30 * np.diff(edges / 2 + np.sin(2 * edges) / 4) / np.diff(np.sin(edges))
    mean = bc.average(cells, ("lat", "lon"), measure=spherical_area(cells))(
        np.broadcast_to(exact[:, None], cells.shape)
    )
    assert float(mean) == pytest.approx(250 + 30 * np.pi / 4, rel=64 * EPS)


def test_a_region_of_the_sphere_has_its_share():
    grid = bc.Grid(lat=Cells([0.0, 30.0]), lon=Cells([10.0, 20.0, 40.0]))
    whole = bc.integral(grid, ("lat", "lon"), measure=spherical_area(grid))
    assert whole(np.ones((1, 2))) == pytest.approx(np.deg2rad(30) * 0.5, rel=64 * EPS)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (bc.Grid(lat=LAT, lon=LON), "whether the last cell reaches back to the first is not known"),
        (bc.Grid(lat=Cells([0.0, 100.0]), lon=Ring(LON, 360.0)), r"must lie within \[-90, 90\]"),
        (bc.Grid(lat=LAT, lon=Ring(LON, 720.0)), "more than once around"),
        (bc.Grid(lat=[10.0], lon=Ring(LON, 360.0)), "give it edges"),
    ],
)
def test_a_sphere_that_is_not_known_is_refused(grid, message):
    with pytest.raises(ValueError, match=message):
        spherical_area(grid)


@pytest.mark.parametrize(("dimensions", "volume"), [(2, np.pi), (3, 4 * np.pi / 3)])
def test_shells_add_up_to_the_ball(dimensions, volume):
    grid = bc.Grid(r=Cells([0.0, 0.3, 1.0]))
    ball = bc.integral(grid, "r", measure=shell_volume(grid, dimensions=dimensions))
    assert ball(np.ones(2)) == pytest.approx(volume, rel=8 * EPS)
    with pytest.raises(ValueError, match=r"radii 'r' must be cells"):
        shell_volume(bc.Grid(r=[0.0, 1.0]), dimensions=dimensions)


# --- grids


def test_grids_are_equal_where_their_axes_are_of_one_kind():
    nodes, cells = bc.Grid(x=[0.25, 0.75]), bc.Grid(x=Cells([0.0, 0.5, 1.0]))
    ring = bc.Grid(x=Ring([0.25, 0.75], 1.0))
    assert len({nodes, cells, ring, bc.Grid(x=Nodes([0.25, 0.75]))}) == 3


def test_a_grid_comes_back_from_json():
    grid = bc.Grid(
        t=[0.0, 1.0],
        x=Cells(EDGES),
        z=Cells(points=[1.0, 2.0], widths=[0.5, 3.0]),
        lon=Ring([0.0, 90.0], 360.0),
        cell=Index(3),
    )
    assert bc.Grid.from_settings(json.loads(json.dumps(grid.settings))) == grid
    with pytest.raises(ValueError, match="no axis is described by length"):
        bc.Grid.from_settings({"x": {"length": 3}})


def test_boundary_conditions_on_cells_are_at_the_faces():
    grid = bc.Grid(x=Cells(np.linspace(0.0, 1.0, 6)))
    sides = (
        bc.BoundaryCondition("x", "lower", at=0.0),
        bc.BoundaryCondition("x", "upper", "neumann", at=1.0),
    )
    value, slope = bc.BoundaryConditions(grid, sides).functional(averages(np.linspace(0, 1, 6), 2))
    assert abs(value) <= 1e3 * EPS
    assert slope == pytest.approx(2.0, rel=1e4 * EPS)
    with pytest.raises(ValueError, match="the condition would be imposed inside"):
        bc.BoundaryConditions(grid, (bc.BoundaryCondition("x", "lower", at=0.1),))
