"""Totals of many regions: rows that share no point are factored apart, and nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
import xarray
from scipy import sparse, stats

import bayescons as bc

EPS = float(jnp.finfo(jnp.result_type(float)).eps)
GRID = bc.Grid(t=[0.0, 1.0], x=np.arange(12.0))
SHARES = np.zeros((6, 12))
for row, (first, last, share) in enumerate(
    [(0, 3, 1.0), (2, 5, 0.5), (5, 7, 1.0), (8, 9, 2.0), (9, 12, 1.0), (10, 11, 0.3)]
):
    SHARES[row, first:last] = share
RNG = np.random.default_rng(0)
VARIANCE = RNG.uniform(0.5, 2.0, (2, 12))
BELIEFS = {
    "diagonal": bc.diagonal(np.zeros((2, 12)), VARIANCE),
    "low rank": bc.low_rank(np.zeros((2, 12)), VARIANCE, RNG.normal(size=(2, 12, 3))),
    "kronecker": bc.kronecker(
        np.zeros((2, 12)), [np.array([[1, 0.5], [0.5, 1.0]]), np.diag(VARIANCE[0])]
    ),
}


def _regions(shares=SHARES, over="x"):
    return bc.functionals.regional(GRID, over, sparse.coo_array(shares), rule="midpoint")


def _dense(belief, functional):
    points = belief.event_shape
    size = int(np.prod(points))
    units = jnp.eye(size).reshape(size, *points)
    rows = np.asarray(jax.vmap(functional.linear)(units)).reshape(size, -1).T
    return rows, np.asarray(jax.vmap(belief.covariance.mv)(units)).reshape(size, size)


@pytest.mark.parametrize("scale", [None, 0.3], ids=["exact", "noisy"])
@pytest.mark.parametrize("name", BELIEFS)
def test_conditioning_on_clusters_of_regions_is_the_dense_formula(name, scale):
    belief, functional = BELIEFS[name], _regions()
    value = RNG.normal(size=functional.value_shape)
    result = bc.update(belief, bc.Constraint(functional, value, scale))
    rows, prior = _dense(belief, functional)
    gram = rows @ prior @ rows.T + (0 if scale is None else scale**2 * np.eye(len(rows)))
    gain = prior @ rows.T @ np.linalg.inv(gram)
    tolerance = 100 * EPS * np.linalg.cond(gram)
    posterior = result.posterior
    np.testing.assert_allclose(posterior.mean.ravel(), gain @ value.ravel(), atol=tolerance)
    variance = np.diag(prior - gain @ rows @ prior)
    np.testing.assert_allclose(posterior.variance.ravel(), variance, atol=tolerance)
    evidence = stats.multivariate_normal(np.zeros(len(rows)), gram).logpdf(value.ravel())
    np.testing.assert_allclose(result.log_evidence, evidence, rtol=tolerance, atol=tolerance)
    assert int(result.rank) == len(rows)
    assert not result.redundant.any()


def test_regions_apart_are_blocks_of_their_own_where_the_belief_is_independent():
    for name, blocks in (("diagonal", (2, 3, 2)), ("low rank", (12,)), ("kronecker", (12,))):
        result = bc.update(BELIEFS[name], bc.Constraint(_regions(), 1.0))
        assert result.posterior.covariance.row_covariance.block_std.shape == blocks


@pytest.mark.parametrize("scale", [None, 0.3], ids=["exact", "noisy"])
def test_times_that_are_coupled_share_the_clusters_of_their_regions(scale):
    total = bc.Constraint(bc.integral(GRID, over="t"), np.linspace(-1.0, 1.0, 12))
    coupled = bc.condition(BELIEFS["diagonal"], total)
    functional = _regions()
    value = RNG.normal(size=functional.value_shape)
    of_total = functional(np.broadcast_to(total.value, GRID.shape))[0]
    value[1] = 2 * np.asarray(of_total) - value[0]  # by the trapezoid rule, Δt = 1
    result = bc.update(coupled, bc.Constraint(functional, value, scale))
    assert result.posterior.covariance.row_covariance.block_std.shape == (3, 4)
    both = bc.Constraint(functional, value, scale) & total
    at_once = bc.condition(BELIEFS["diagonal"], both)
    np.testing.assert_allclose(result.posterior.mean, at_once.mean, atol=1e5 * EPS)
    np.testing.assert_allclose(result.posterior.variance, at_once.variance, atol=1e5 * EPS)


def test_draws_hold_clusters_of_regions_to_rounding():
    functional = _regions()
    value = RNG.normal(size=functional.value_shape)
    posterior = bc.condition(BELIEFS["diagonal"], bc.Constraint(functional, value))
    draws = posterior.sample(jax.random.key(0), (5,))
    assert np.abs(np.asarray(jax.vmap(functional)(draws)) - value).max() < 100 * EPS


@pytest.mark.parametrize("repeated", range(6))
def test_a_repeated_region_is_named_redundant_and_changes_nothing(repeated):
    twice = np.concatenate([SHARES, SHARES[[repeated]]])
    value = RNG.normal(size=(2, 6))
    once = bc.update(BELIEFS["diagonal"], bc.Constraint(_regions(), value))
    again = np.concatenate([value, value[:, [repeated]]], axis=1)
    both = bc.update(BELIEFS["diagonal"], bc.Constraint(_regions(twice), again))
    assert both.redundant.tolist() == [[False] * 6 + [True]] * 2
    np.testing.assert_allclose(both.posterior.mean, once.posterior.mean, atol=1e4 * EPS)
    np.testing.assert_allclose(both.log_evidence, once.log_evidence, rtol=1e4 * EPS)


@pytest.mark.parametrize("wrong", range(6))
def test_a_region_that_contradicts_another_is_named(wrong):
    twice = np.concatenate([SHARES, SHARES[[wrong]]])
    value = np.ones((2, 7))
    value[0, 6] = 2.0
    statement = bc.Constraint(_regions(twice), value, name="basins")
    with pytest.raises(bc.InconsistentConstraintsError, match=rf"basins\[t=0, {wrong}\]") as told:
        bc.condition(BELIEFS["diagonal"], statement)
    assert "basins[t=0, 6]" in str(told.value)


def test_regions_over_all_axes_are_clustered_too():
    grid = bc.Grid(y=np.arange(4.0), x=np.arange(6.0))
    zones = np.arange(24).reshape(4, 6) // 5
    functional = bc.functionals.regional(grid, ("y", "x"), zones, rule="midpoint")
    belief = bc.diagonal(np.zeros((4, 6)), 1.0)
    posterior = bc.condition(belief, bc.Constraint(functional, np.arange(5.0)))
    np.testing.assert_allclose(functional(posterior.mean), np.arange(5.0), atol=100 * EPS)
    assert posterior.covariance.row_covariance.block_std.shape == (5, 1)


def test_levels_of_regions_one_after_another_are_all_of_them_at_once():
    basins = np.repeat(np.eye(4), 3, axis=1)
    lands = np.repeat(np.eye(2), 6, axis=1)[:, :12].copy()
    lands[:, ::4] = 0.0
    levels = [(basins, RNG.normal(size=(2, 4))), (lands, RNG.normal(size=(2, 2)))]
    belief = BELIEFS["diagonal"]
    for shares, value in levels:
        belief = bc.condition(belief, bc.Constraint(_regions(shares), value))
    together = np.concatenate([basins, lands]), np.concatenate([v for _, v in levels], axis=1)
    at_once = bc.condition(BELIEFS["diagonal"], bc.Constraint(_regions(together[0]), together[1]))
    np.testing.assert_allclose(belief.mean, at_once.mean, atol=1e5 * EPS)
    np.testing.assert_allclose(belief.variance, at_once.variance, atol=1e5 * EPS)


def test_a_batch_of_beliefs_is_conditioned_member_by_member():
    functional = _regions()
    means = RNG.normal(size=(3, 2, 12))
    values = RNG.normal(size=(3, *functional.value_shape))
    batch = bc.condition(
        bc.Gaussian(jnp.asarray(means), BELIEFS["diagonal"].covariance),
        bc.Constraint(functional, values),
    )
    for mean, value, found in zip(means, values, batch.mean, strict=True):
        one = bc.condition(bc.diagonal(mean, VARIANCE), bc.Constraint(functional, value))
        np.testing.assert_allclose(found, one.mean, atol=100 * EPS)


def test_the_linter_reads_clusters_as_any_rows():
    def program():
        u = numpyro.sample("u", BELIEFS["diagonal"])
        bc.observe("basins", _regions(np.concatenate([SHARES, SHARES[[1]]])), u, 1.0)

    report = bc.check(program)
    (found,) = [f for f in report.findings if "follow" in f.finding]
    assert found.where.startswith("basins")
    assert "basins[t=0, 1]" in found.finding


ZONES = np.array([0, 0, 1, 1, 1, -1, 2, 2, 2, 2, 0, 0])
LABELLED = xarray.DataArray(ZONES, dims="x", coords={"x": GRID["x"]})


def test_regions_of_a_dataarray_are_read_by_the_names_of_its_axes():
    plane = bc.Grid(x=GRID["x"], y=np.arange(3.0))
    turned = LABELLED.expand_dims(y=plane["y"])  # (y, x)
    masks = {name: turned == number for number, name in enumerate("abc")}
    field = RNG.normal(size=plane.shape)
    plain = bc.functionals.regional(plane, ("x", "y"), turned.values.T, rule="midpoint")
    for named in (turned, masks):
        found = bc.functionals.regional(plane, ("x", "y"), named, rule="midpoint")
        np.testing.assert_array_equal(found(field), plain(field))
    own = bc.functionals.rows(plane, ("x", "y"), turned.astype(float))
    np.testing.assert_allclose(own(field), [np.sum(turned.values.T * field)], rtol=100 * EPS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (LABELLED[::-1], "has the coordinates 11 to 0 along 'x'"),
        (np.ma.masked_array(ZONES, ZONES == 1), "masked array with 3 masked entries"),
        (LABELLED.rename(x="z"), "is a DataArray over"),
        (ZONES.astype(float), "expected whole numbers"),
        (ZONES > 0, "expected whole numbers"),
    ],
)
def test_regions_in_an_order_that_is_not_known_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        bc.functionals.regional(GRID, "x", given, rule="midpoint")


@pytest.mark.parametrize(
    ("given", "names", "error", "message"),
    [
        (LABELLED[::-1] + 2, None, ValueError, "has the coordinates 11 to 0 along 'x'"),
        (np.ma.masked_array(ZONES, ZONES == 1), None, ValueError, "masked array with 3 masked"),
        (np.eye(12)[:2], ["a", "a"], ValueError, "two rows are called 'a'"),
        (np.eye(12)[:2] * 1j, None, TypeError, "complex"),
    ],
)
def test_rows_in_an_order_that_is_not_known_are_refused(given, names, error, message):
    with pytest.raises(error, match=message):
        bc.functionals.rows(GRID, "x", given, names=names)


def test_places_of_rows_and_regions_cannot_be_traced():
    for build in (bc.functionals.rows, bc.functionals.regional):
        with pytest.raises(TypeError, match="cannot be traced"):
            jax.jit(lambda m, build=build: build(GRID, "x", m)(jnp.ones(GRID.shape)))(SHARES)


def test_codes_of_regions_are_refused_before_anything_as_long_is_formed():
    codes = np.array([4_020_006_940, 4_020_006_950] * 6)
    with pytest.raises(ValueError, match=r"region 0 holds no point.*return_inverse"):
        bc.functionals.regional(GRID, "x", codes, rule="midpoint")


def test_walls_of_a_domain_are_blocks_where_they_do_not_meet():
    grid = bc.Grid(x=np.arange(8.0), y=np.arange(30.0))
    walls = bc.functionals.Domain(grid, np.ones(grid.shape)).faces()
    sides = walls[walls.axis == 0].neumann(order=2)
    posterior = bc.condition(bc.diagonal(np.zeros(grid.shape), 1.0), bc.Constraint(sides, 1.0))
    assert posterior.covariance.row_covariance.block_std.shape == (60, 1)
    np.testing.assert_allclose(sides(posterior.mean), 1.0, atol=100 * EPS)


@pytest.mark.parametrize("name", BELIEFS)
def test_the_scale_of_each_region_is_that_of_dense_algebra(name):
    belief, functional = BELIEFS[name], _regions()
    rows, prior = _dense(belief, functional)
    found = bc.gaussians.functional_scale(belief, functional)
    expected = np.sqrt(np.diag(rows @ prior @ rows.T))
    np.testing.assert_allclose(np.asarray(found).ravel(), expected, rtol=1e-12)
