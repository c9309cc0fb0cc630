"""What goes on into ArviZ: pointwise log likelihoods, readings, new observations, plates as axes."""

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray
from numpyro import handlers
from numpyro.infer import Predictive
from scipy import stats

import bayescons as bc
from bayescons.results import trees as results

KEY = jax.random.key(0)
N = 5
Y = np.array([0.4, 0.1, 0.3])
READINGS = np.random.default_rng(0).normal(size=(3, N))


def conserved(y=None, total=1.0):
    s = numpyro.sample("s", dist.HalfNormal(1.0))
    u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 0.5 + s).to_event(1))
    bc.observe("total", lambda u: u.sum(), u, total)
    bc.observe("meter", lambda u: u[0] - u[1], u, 0.2, 0.3)
    numpyro.sample("y", dist.Normal(u[:3], 0.2).to_event(1), obs=y)


def scenarios(y):
    with numpyro.plate("scenario", 3):
        u = numpyro.sample("u", dist.Normal(jnp.zeros((3, N)), 1.0).to_event(1))
        bc.observe("total", lambda u: u.sum(), u, jnp.array([0.0, 1.0, 2.0]))
        numpyro.sample("y", dist.Normal(u, 0.2).to_event(1), obs=y)


@pytest.fixture(scope="module")
def tree():
    return bc.sample(conserved, Y, key=0, chains=2, warmup=300, draws=500)


def test_log_likelihoods_are_those_of_every_number_given_every_draw(tree):
    u = tree.posterior["u"].values
    expected = stats.norm.logpdf(Y, u[..., :3], 0.2)
    assert np.abs(tree.log_likelihood["y"].values - expected).max() <= 1e-10
    meter = stats.norm.logpdf(0.2, u[..., 0] - u[..., 1], 0.3)
    assert np.abs(tree.log_likelihood["meter"].values - meter).max() <= 1e-10
    assert set(tree.log_likelihood) == {"y", "meter"}
    assert np.array_equal(tree.observed_data["y"], Y)
    assert tree.observed_data["meter"] == 0.2


def test_what_is_no_unknown_is_not_among_the_posterior(tree):
    assert set(tree.posterior) == {"s", "u"}
    assert "u_gap" in tree.sample_stats


def test_new_observations_are_drawn_given_the_draws(tree):
    predicted = bc.predict(conserved, tree, key=KEY)
    u, y = predicted.posterior["u"].values, predicted.posterior_predictive["y"].values
    assert y.shape == (2, 500, 3)
    z = (y - u[..., :3]) / 0.2
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3  # false alarm in one seed of a thousand
    assert np.array_equal(predicted.posterior["u"], tree.posterior["u"])
    assert "posterior_predictive" not in tree.children
    assert np.array_equal(y, bc.predict(conserved, tree, key=KEY).posterior_predictive["y"].values)


def test_new_observations_come_from_a_saved_tree_too(tree, tmp_path):
    again = results.load(results.save(tree, tmp_path / "tree.nc"))
    predicted = bc.predict(conserved, again, Y, key=KEY)
    assert np.array_equal(
        predicted.posterior_predictive["y"],
        bc.predict(conserved, tree, Y, key=KEY).posterior_predictive["y"],
    )


@pytest.mark.filterwarnings("ignore")  # ArviZ's own, of how few draws there are
def test_arviz_works_on_every_group(tree):
    predicted = bc.predict(conserved, tree, key=KEY)
    for group in ("posterior", "posterior_predictive", "log_likelihood"):
        assert len(az.summary(predicted, group=group)) > 0
    assert len(az.summary(predicted, group="constraints", var_names=["total_residual"])) == 1
    loo = az.loo(predicted, var_name="y")
    assert np.isfinite(loo.elpd)
    az.plot_ppc_dist(predicted, var_names=["y"], num_samples=10)
    az.plot_forest(predicted, var_names=["s", "u"])


def test_plates_are_named_axes():
    tree = bc.sample(scenarios, READINGS, key=0, draws=50)
    assert tree.posterior["u"].dims == ("chain", "draw", "scenario", "u_dim_1")
    assert tree.log_likelihood["y"].dims == ("chain", "draw", "scenario", "y_dim_1")
    totals = tree.posterior["u"].sum("u_dim_1").isel(scenario=2)
    assert np.abs(totals - 2.0).max() <= 1e-12
    predicted = bc.predict(scenarios, tree, READINGS, key=KEY)
    assert predicted.posterior_predictive["y"].dims == tree.log_likelihood["y"].dims


def test_grids_name_the_axes_behind_a_plate():
    grid = bc.Grid(x=np.linspace(0, 1, N))
    tree = bc.sample(scenarios, READINGS, key=0, draws=10, grid=grid)
    assert tree.posterior["u"].dims == ("chain", "draw", "scenario", "x")
    assert np.array_equal(tree.posterior["x"], grid["x"])


@pytest.mark.parametrize(
    ("program", "drop", "message"),
    [
        (conserved, "u", "the tree has no draws of 'u', on which other sites rest"),
        (conserved, "s", "the tree has no draws of 's'"),
        (lambda: conserved_of(7), None, r"draws of 'u' have shape \(5,\), the program's 'u' has"),
        (lambda: conserved_of(5), None, "the program observes nothing beside its statements"),
    ],
)
def test_a_tree_that_does_not_fit_the_program_is_refused(tree, program, drop, message):
    if drop:
        tree = tree.copy()
        tree["posterior"] = xarray.DataTree(tree["posterior"].to_dataset().drop_vars(drop))
    with pytest.raises(ValueError, match=message):
        bc.predict(program, tree, key=KEY)


def conserved_of(n):
    u = numpyro.sample("u", dist.Normal(jnp.zeros(n), 1.0).to_event(1))
    bc.observe("total", lambda u: u.sum(), u, 1.0)


def test_numpyro_s_predictive_takes_the_fields_of_a_tree_where_it_may(tree):
    """By default NumPyro leaves deterministic sites out of what it is given, which fields of the
    exact reading are; told not to, it draws what follows of them.
    """
    draws = {name: tree.posterior[name].values.reshape(1000, -1).squeeze() for name in ("s", "u")}
    predictive = Predictive(
        bc.exact(conserved), posterior_samples=draws, condition_deterministic=True
    )
    y = predictive(KEY)["y"]
    z = (y - draws["u"][:, :3]) / 0.2
    assert stats.kstest(np.ravel(z), "norm").pvalue > 1e-3  # false alarm in one seed of a thousand


def scoped(y=None):
    with handlers.scope(prefix="net"):
        w = numpyro.sample("w", dist.Normal(0.0, 1.0))
    u = numpyro.sample("u", dist.Normal(jnp.full(3, w), 1.0).to_event(1))
    bc.observe("law/total", lambda u: u.sum(), u, 1.0)
    numpyro.sample("y", dist.Normal(u, 1.0).to_event(1), obs=y)


def test_names_of_scopes_are_kept_with_a_dot():
    tree = bc.sample(scoped, Y, key=0, chains=2, warmup=100, draws=200)
    assert set(tree.posterior) == {"net.w", "u"}
    assert np.abs(tree["constraints"]["law.total_residual"]).max() <= 1e-12
    predicted = bc.predict(scoped, tree, key=KEY).posterior_predictive["y"].values
    z = predicted - tree.posterior["u"].values
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3  # false alarm in one seed of a thousand


def test_whatever_fails_after_the_run_the_draws_come_back():
    with pytest.raises(ValueError, match="dims of 'u' must name its axes") as raised:
        bc.sample(conserved_of, N, key=0, chains=2, draws=30, dims={"u": ["x", "z"]})
    assert raised.value.draws["u"].shape == (2, 30, N)
    assert "its draws are in the attribute .draws" in raised.value.__notes__[0]


def test_axes_of_a_tree_are_known_by_their_names():
    """Two scenarios of two points: an order that is not looked at would go unnoticed."""

    def square(y):
        with numpyro.plate("scenario", 2):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((2, 2)), 1.0).to_event(1))
            bc.observe("total", lambda u: u.sum(), u, jnp.array([0.0, 5.0]))
            numpyro.sample("y", dist.Normal(u, 1e-3).to_event(1), obs=y)

    y = jnp.array([[1.0, -1.0], [2.0, 3.0]])
    tree = bc.sample(square, y, key=0, draws=20)
    expected = bc.predict(square, tree, y, key=1).posterior_predictive["y"]
    turned = tree["posterior"].to_dataset().transpose("u_dim_1", "draw", "scenario", "chain")
    found = bc.predict(square, xarray.DataTree.from_dict({"posterior": turned}), y, key=1)
    assert np.array_equal(expected, found.posterior_predictive["y"])


def test_what_holds_no_chains_is_no_tree_to_predict_from(tree):
    draws = tree["posterior"].to_dataset()
    for wrong in (draws, xarray.DataTree()):
        with pytest.raises(ValueError, match="expected a tree with a group 'posterior'"):
            bc.predict(conserved, wrong, key=KEY)
    one_chain = xarray.DataTree.from_dict({"posterior": draws.isel(chain=0)})
    with pytest.raises(ValueError, match="expected 'chain' and 'draw' among them"):
        bc.predict(conserved, one_chain, key=KEY)
    with pytest.raises(TypeError, match=r"key must be one jax\.random\.key, or a whole number"):
        bc.predict(conserved, tree, key="0")


@pytest.mark.parametrize("given", [True, False])
def test_axes_of_a_square_field_are_put_back_in_the_programs_order(given):
    """Named by a grid that is given, or by that of a functional: nothing but the names tells them
    apart.
    """
    grid = bc.Grid(t=[0.0, 1.0, 2.0], x=[0.0, 0.5, 1.0])

    def program(y):
        u = numpyro.sample("u", dist.Normal(jnp.zeros((3, 3)), 1.0).to_event(2))
        bc.observe(
            "mass", (lambda u: u.sum(1)) if given else bc.integral(grid, "x"), u, jnp.ones(3)
        )
        numpyro.sample("y", dist.Normal(u[0], 1e-3).to_event(1), obs=y)

    tree = bc.sample(program, jnp.zeros(3), key=0, draws=40, grid=grid if given else None)
    turned = tree.copy()
    turned["posterior"] = xarray.DataTree(tree["posterior"].to_dataset().transpose("x", "t", ...))
    for seen in (tree, turned):
        y = bc.predict(program, seen, jnp.zeros(3), key=1).posterior_predictive["y"].to_numpy()
        assert np.abs(y - tree.posterior["u"].isel(t=0).to_numpy()).max() <= 1e-2
