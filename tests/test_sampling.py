"""Laws of sampling: collapsing changes nothing, the best sampler is chosen, nothing is compiled
twice, frozen chains are found out.
"""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from scipy import stats

import bayescons as bc
from bayescons.cli import main
from bayescons.programs.collapsed import collapsed, fields_given
from bayescons.programs.soft import soft
from bayescons.results import trees as results
from bayescons.sampling import (
    Choice,
    Method,
    NotMixedWarning,
    chains,
    choose,
    mixing,
    progress,
    sample,
)
from bayescons.sampling.compiled import compiled
from bayescons.sampling.registry import checked
from bayescons.sampling.residuals import ResidualError, Stated, refuse_residuals
from bayescons.sampling.run import closed
from bayescons.sampling.targets import differentiable, hoisted, read, target
from tests.readings import KERNEL, MASS, MEAN, ROUNDING, N, agree, answer, log_joint
from tests.sampled import LINEAR, READINGS, TOTAL, WEIGHTS, counts, hierarchical, linear, plain

KEY = jax.random.key(0)
ROOT = Path(__file__).parents[1]


def amplitude(total) -> tuple[float, float]:
    """Mean and standard deviation of p(τ | total) ∝ LogNormal(τ; 0, .5) N(total; G m, τ² G K G'),
    by quadrature over log τ.
    """
    tau = np.exp(np.linspace(-4.0, 4.0, 8001))
    density = (
        tau
        * stats.lognorm.pdf(tau, 0.5)
        * stats.norm.pdf(total, WEIGHTS @ MEAN, tau * np.sqrt(WEIGHTS @ KERNEL @ WEIGHTS))
    )
    mean, square = (density @ tau**power / density.sum() for power in (1, 2))
    return float(mean), float(np.sqrt(square - mean**2))


# Collapsing: the same posterior from the latents above alone.


def test_the_collapsed_density_is_the_prior_and_the_evidence():
    for tau in (0.4, 1.0, 2.5):
        found = log_joint(collapsed(hierarchical), TOTAL, tau=jnp.asarray(tau))
        spread = tau * np.sqrt(WEIGHTS @ KERNEL @ WEIGHTS)
        assert (
            abs(
                found
                - stats.lognorm.logpdf(tau, 0.5)
                - stats.norm.logpdf(TOTAL, WEIGHTS @ MEAN, spread)
            )
            <= ROUNDING
        )


def test_likelihoods_below_are_integrated_out_with_the_field():
    found = log_joint(collapsed(linear), TOTAL, READINGS)
    assert abs(found - LINEAR.log_evidence) <= ROUNDING


def test_fields_given_the_latents_have_their_conditional_for_their_law():
    tau, size = 1.7, 4000
    draw = jax.vmap(lambda key: fields_given(hierarchical)(key, {"tau": jnp.asarray(tau)}, 1.5))
    found = draw(jax.random.split(KEY, size))
    given = answer(tau**2 * KERNEL, (MASS, 1.5, 0))
    u, below = np.asarray(found["u"]), np.asarray(found["below"])
    assert (np.asarray(found["tau"]) == tau).all()
    assert np.abs(u @ WEIGHTS - 1.5).max() <= 1e-12
    # Six standard errors of independent draws: a false alarm in 2e-8 of seeds.
    assert (
        np.abs(u.mean(0) - given.mean) <= 6 * np.sqrt(np.diag(given.covariance) / size) + 1e-12
    ).all()
    assert (
        np.abs(u.var(0) - np.diag(given.covariance))
        <= 6 * np.diag(given.covariance) * np.sqrt(2 / size) + 1e-12
    ).all()
    assert abs((below - u[:, 2]).std() - 0.1) <= 6 * 0.1 / np.sqrt(2 * size)


@pytest.fixture(scope="module")
def collapse():
    """The hierarchical program, sampled as `auto` chooses."""
    return sample(hierarchical, 1.5, key=1, chains=4, warmup=500, draws=1000)


def test_the_collapsed_posterior_of_a_hyper_parameter_is_that_of_quadrature(collapse):
    assert collapse.attrs["chosen"] == "collapsed"
    mean, sd = amplitude(1.5)
    tau = collapse.posterior["tau"].to_numpy()
    assert agree(tau, mean)
    assert agree(tau**2, sd**2 + mean**2)


def test_the_fields_of_a_collapsed_run_belong_to_their_latents(collapse):
    u, tau = (collapse.posterior[name].to_numpy() for name in ("u", "tau"))
    assert np.abs(collapse["constraints"]["mass_residual"]).max() <= 1e-12
    assert np.abs(collapse.sample_stats["u_gap"]).max() <= 1e-12
    gain = KERNEL @ WEIGHTS / (WEIGHTS @ KERNEL @ WEIGHTS)
    mean = MEAN + gain * (1.5 - WEIGHTS @ MEAN)
    variance = np.diag(KERNEL) - gain * (KERNEL @ WEIGHTS)
    assert agree(((u - mean) / tau[..., None])[..., 1:-1], np.zeros(N - 2))
    assert agree(((u - mean) / tau[..., None]) ** 2, variance)


# The choice.


def many(total):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    u = numpyro.sample("u", dist.Normal(jnp.zeros(N), scale).to_event(1))
    bc.observe("mass", MASS, u, total)
    numpyro.sample("y", dist.Normal(jnp.tile(u, 100), 1.0).to_event(1), obs=jnp.zeros(100 * N))


CHOICES = {
    "Gaussian throughout": (linear, (TOTAL, READINGS), "conjugate", "nothing else is random"),
    "latents above": (hierarchical, (TOTAL,), "collapsed", "NUTS moves tau alone"),
    "latents above, nothing learnt": (
        hierarchical,
        (TOTAL, bc.impose),
        "conjugate",
        "tau, which keep their prior",
    ),
    "a Poisson likelihood": (
        counts,
        (TOTAL,),
        "nuts",
        "'y' is observed below the field with a Poisson likelihood",
    ),
    "no statement": (plain, (READINGS,), "nuts", "states nothing about a field"),
    "too many readings to collapse": (many, (TOTAL,), "nuts", "a matrix of 900 observed rows"),
}


@pytest.mark.parametrize("kind", CHOICES)
def test_auto_chooses_the_best_that_a_program_allows_and_says_why(kind):
    program, args, sampler, why = CHOICES[kind]
    choice = choose(program, *args)
    assert isinstance(choice, Choice)
    assert choice.sampler == sampler
    assert why in choice.why


def test_what_auto_thinks_too_slow_is_collapsed_where_it_is_asked_for():
    run = chains(many, Method("collapsed", chains=1, warmup=1, draws=1))
    assert jax.eval_shape(lambda key: run(key, (TOTAL,)).draws["scale"], KEY).shape == (1, 1)


def test_where_nothing_is_learnt_the_latents_keep_their_prior():
    tree = sample(hierarchical, 1.5, bc.impose, key=2, chains=2, draws=2000)
    log_tau = np.log(tree.posterior["tau"].to_numpy().ravel())
    # Independent draws: six standard errors.
    assert abs(log_tau.mean()) <= 6 * 0.5 / np.sqrt(log_tau.size)
    assert abs(log_tau.std() - 0.5) <= 6 * 0.5 / np.sqrt(2 * log_tau.size)
    assert tree.attrs["chosen"] == "conjugate"
    assert tree.attrs["mixed"] == "yes"


# One compiled call.


class Compilations:
    """How many programs XLA compiles inside the block."""

    def __enter__(self):
        self.number = 0
        jax.monitoring.register_event_duration_secs_listener(self._count)
        return self

    def _count(self, event, *_, **__):
        self.number += event.endswith("backend_compile_duration")

    def __exit__(self, *_):
        jax.monitoring.unregister_event_duration_listener(self._count)


def test_a_repeat_with_new_data_compiles_nothing():
    def once(seed, total):
        return sample(hierarchical, total, bc.impose, key=jax.random.key(seed), chains=2, draws=50)

    once(0, 0.1)
    with Compilations() as compilations:
        tree = once(1, 0.2)
    assert compilations.number == 0
    assert tree.attrs["compile_seconds"] == 0
    assert (tree["constraints"]["mass_value"] == 0.2).all()
    with Compilations() as compilations:
        sample(hierarchical, 0.2, bc.impose, key=0, chains=2, draws=60)
    assert compilations.number > 0  # the count itself works


NOISE, WEIGHT, SLOPE = 0.1, 1.0, 1.0


def from_outside(total):
    u = numpyro.sample("u", dist.Normal(jnp.zeros(N), NOISE).to_event(1))
    bc.observe("mass", lambda u: SLOPE * MASS(u), u, total)
    with numpyro.handlers.scale(scale=WEIGHT):
        numpyro.sample("y", dist.Normal(u[0], 10.0), obs=0.0)


def test_a_constant_that_changes_outside_the_program_is_noticed(monkeypatch):
    def spread():
        return float(sample(from_outside, 0.0, key=0, chains=1, draws=2000).posterior["u"].std())

    before = spread()
    monkeypatch.setattr(sys.modules[__name__], "NOISE", 0.2)
    # Six standard errors of 500 draws of nine points, on both sides.
    assert spread() == pytest.approx(2 * before, rel=0.1)


@pytest.mark.parametrize("name", ["NOISE", "WEIGHT", "SLOPE"])
def test_a_number_that_changes_outside_goes_into_a_kept_run(monkeypatch, name):
    def value():
        program = closed(from_outside, (0.0,), {})
        code = compiled(lambda _key, program: log_joint(soft(program)), (name,), program, KEY)
        return code.fresh, float(code.call(KEY))

    def log_joint(program):
        model = numpyro.handlers.substitute(program, data={"u": jnp.arange(N) / N})
        return numpyro.infer.util.log_density(model, (), {}, {})[0]

    fresh, before = value()
    assert fresh
    assert value() == (False, before)
    assert compiled(lambda *_: 0.0, (name, "x"), closed(from_outside, (0.0,), {}), KEY).fresh
    monkeypatch.setattr(sys.modules[__name__], name, 0.5)
    assert value()[1] != before


def test_a_program_that_branches_on_a_number_is_sampled_as_well():
    def program(total, size):
        u = numpyro.sample("u", dist.Normal(jnp.zeros(N), size if size > 0 else 1.0).to_event(1))
        bc.observe("mass", MASS, u, total)

    tree = sample(program, 0.3, 2.0, key=0, chains=1, draws=500)
    expected = answer(4 * np.eye(N), (MASS, 0.3, 0), mean=np.zeros(N))
    assert agree(tree.posterior["u"], expected.mean)


def test_chains_can_be_mapped_over_keys_and_data():
    run = chains(linear, Method("conjugate", chains=1, draws=3))
    keys, totals = jax.random.split(KEY, 4), jnp.linspace(0.0, 0.6, 4)
    mapped = jax.jit(jax.vmap(lambda key, total: run(key, (total, READINGS)).draws["u"]))(
        keys, totals
    )
    one = jax.jit(lambda key, total: run(key, (total, READINGS)).draws["u"])
    alone = jnp.stack([one(key, total) for key, total in zip(keys, totals, strict=True)])
    assert np.abs(mapped - alone).max() <= ROUNDING
    assert np.abs(mapped @ WEIGHTS - totals[:, None, None]).max() <= 1e-12


def test_nuts_can_be_mapped_over_data():
    method = Method("nuts", chains=1, warmup=200, draws=200)
    data = jnp.array([[0.0, 1.0], [3.0, -1.0], [-2.0, -2.0]])
    found = jax.jit(jax.vmap(lambda key, y: chains(plain, method)(key, (y,))))(
        jax.random.split(KEY, 3), data
    )
    design = np.array([[1.0, 0.0], [1.0, 1.0]])
    covariance = np.linalg.inv(np.eye(2) + design.T @ design / 0.25)
    expected = np.asarray(data) @ design @ covariance.T / 0.25
    for draws, mean in zip(
        np.stack([found.draws["level"], found.draws["slope"]], -1), expected, strict=True
    ):
        assert agree(draws, mean)


SPREAD = """
import jax
jax.config.update("jax_enable_x64", True)
from bayescons.sampling import Method, chains
from tests.sampled import LINEAR, READINGS, TOTAL, linear
from tests.readings import agree

run = jax.jit(chains(linear, Method("nuts", chains=4, warmup=200, draws=200)))
draws = run(jax.random.key(0), (TOTAL, READINGS)).draws["u"]
print(jax.device_count(), len(draws.sharding.device_set), agree(draws, LINEAR.mean))
"""


def test_chains_are_spread_over_the_devices_that_divide_them():
    flags = {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", SPREAD],
        env=os.environ | flags,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["2", "2", "True"], done.stderr


# Hoisting: what is computed once.


def test_hoisting_changes_no_value_and_no_gradient():
    matrix = jnp.asarray(KERNEL)

    def density(z):
        return -(jnp.sum(jnp.linalg.cholesky(matrix) @ z["a"]) ** 2) + jax.nn.logsumexp(
            jnp.stack([z["b"], -jnp.inf])
        )

    point = {"a": jnp.linspace(-1.0, 1.0, N), "b": jnp.asarray(0.3)}

    @jax.jit
    def both(matrix_again, z):
        del matrix_again
        return jax.value_and_grad(differentiable(density, z))(z)

    value, gradient = both(matrix, point)
    assert abs(value - density(point)) <= ROUNDING
    for ours, theirs in zip(
        jax.tree.leaves(gradient), jax.tree.leaves(jax.grad(density)(point)), strict=True
    ):
        assert np.abs(ours - theirs).max() <= ROUNDING
    assert (
        gradient["b"] == 1.0
    )  # the derivative that logsumexp gives itself; that of its formula is NaN here


def test_what_does_not_depend_on_the_coordinates_leaves_the_loop():
    def inside(matrix, z):
        once = hoisted(lambda z: jnp.linalg.cholesky(matrix) @ z, z)
        return jax.lax.fori_loop(0, 3, lambda _, z: once(z), z)

    traced = jax.make_jaxpr(inside)(jnp.asarray(KERNEL), jnp.ones(N))
    loop = next(e for e in traced.eqns if e.primitive.name in ("while", "scan"))
    assert "cholesky" in str(traced)
    assert "cholesky" not in str(loop)


def test_prior_and_likelihood_add_up_to_the_density():
    aim = target(read(closed(counts, (TOTAL,), {}), "exact"), jax.random.split(KEY, 2), parted=True)
    z = {"u_free": aim.starts["u_free"][1]}
    assert abs(aim.log_prior(z) - stats.norm.logpdf(z["u_free"]).sum()) <= ROUNDING
    rate = np.exp(aim.sites(z)["u"][3])
    evidence = stats.norm.logpdf(TOTAL, WEIGHTS @ MEAN, np.sqrt(WEIGHTS @ KERNEL @ WEIGHTS))
    assert abs(aim.log_likelihood(z) - stats.poisson.logpmf(2, rate) - evidence) <= ROUNDING
    assert abs(aim.log_density(z) - aim.log_prior(z) - aim.log_likelihood(z)) <= ROUNDING


# Mixing.


def test_frozen_chains_are_found_out_though_they_obey_the_law_and_have_the_right_variance():
    places = np.array([-1.3, -0.4, 0.4, 1.3])
    still = np.broadcast_to(places[:, None], (4, 500))
    u = np.stack([0.5 + still, 0.5 - still], axis=-1)
    assert np.abs(u.sum(-1) - 1.0).max() == 0
    assert abs(u[..., 0].var() - 1.0) < 0.1
    found = mixing({"u": u}, ["u"])
    assert found.r_hat > 2
    assert "not mixed" in found.verdict
    rng = np.random.default_rng(0)
    assert mixing({"u": u + 0.01 * rng.normal(size=u.shape)}, ["u"]).r_hat > 2
    good = mixing({"u": rng.normal(size=(4, 500, 2))}, ["u"])
    assert good.verdict == ""


@pytest.mark.parametrize(
    ("draws", "words"),
    [
        (np.full((2, 10), np.nan), "R-hat is inf"),
        (np.arange(6.0).reshape(2, 3), "6 effective draws"),
        (np.random.default_rng(1).normal(size=(1, 50)), "effective draws, fewer than 100"),
        (np.random.default_rng(1).normal(size=(50, 3)), "3 draws a chain, too few to tell"),
        (np.linspace(0, 1, 1000)[None], "R-hat is "),
    ],
)
def test_what_cannot_be_judged_well_is_not_called_mixed(draws, words):
    found = mixing({"u": draws}, ["u"])
    assert words in found.verdict
    assert found.mixed == found.verdict


def test_one_chain_is_looked_at_by_its_halves_and_is_not_called_mixed():
    found = mixing({"u": np.random.default_rng(0).normal(size=(1, 1000))}, ["u"])
    assert found.verdict == ""
    assert abs(found.r_hat - 1) < 0.02
    assert found.mixed.startswith("one chain, whose halves agree")
    particles = mixing({"u": np.random.default_rng(1).normal(size=(1, 1000))}, ["u"], [0.9])
    assert particles.mixed == "yes"


def test_the_largest_r_hat_of_many_unknowns_alarms_at_the_rate_that_is_stated():
    """60 runs of 300 independent unknowns, 4 x 200 draws. At a rate of .02 more than 5 alarms come
    in one case in 500; a limit of 1.01 alarms in nearly all.
    """
    rng, alarms, above = np.random.default_rng(3), 0, 0
    for _ in range(60):
        found = mixing({"u": rng.normal(size=(4, 200, 300))}, ["u"])
        alarms += bool(found.verdict)
        above += found.r_hat > 1.01
    assert alarms <= 5
    assert above >= 50


def test_divergences_are_part_of_the_verdict():
    draws = {"u": np.random.default_rng(1).normal(size=(2, 1000))}
    few, many = np.zeros((2, 1000)), np.ones((2, 1000))
    few[0, :3], many[:, :9] = 1.0, 0.0
    assert mixing(draws, ["u"], None, few).mixed == "yes"
    assert "0.99 of the transitions diverged" in mixing(draws, ["u"], None, many).verdict


def test_advice_is_given_by_what_was_seen():
    rng = np.random.default_rng(4)
    good, apart = rng.normal(size=(4, 500)), rng.normal(size=(4, 500)) + np.arange(4.0)[:, None]
    lost, none = np.ones((4, 500)), np.zeros((4, 500))
    assert "raise target_acceptance" in mixing({"a": good}, ["a"], None, lost).verdict
    assert "several modes" not in mixing({"a": good}, ["a"], None, lost).verdict
    modes = mixing({"a": apart}, ["a"], None, none).verdict
    assert "several modes" in modes
    assert "target_acceptance" not in modes
    assert "focus=" not in modes
    assert "focus=" in mixing({"a": apart, "b": good}, ["a", "b"]).verdict
    long = mixing({"a": apart}, ["a"], None, none, lost).verdict
    assert "of which 1 end at the limit of 1,023 steps" in long
    short = mixing({"a": rng.normal(size=(2, 20))}, ["a"]).verdict
    assert re.search(r"Run longer, draws=\d+, and a longer warm-up$", short)
    assert "more particles" in mixing({"a": good}, ["a"], [0.1]).verdict


def symmetric():
    """A product of two signs, of which only the square of one and the field can be told."""
    w = numpyro.sample("w", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    u = numpyro.deterministic("product", w[0] * w[1])
    numpyro.sample("y", dist.Normal(u, 0.05), obs=2.0)


def test_chains_are_judged_by_the_sites_that_matter():
    run = functools.partial(sample, symmetric, key=3, chains=4, warmup=500, draws=500)
    with pytest.warns(NotMixedWarning, match="worst at 'w'"):
        assert "not mixed" in run().attrs["mixed"]
    tree = run(focus="product")
    assert tree.attrs["mixed"] == "yes"
    assert json.loads(tree.attrs["focus"]) == ["product"]
    with pytest.raises(ValueError, match=r"focus.*'prodct'.*'product'"):
        run(focus=["prodct"])
    with pytest.raises(ValueError, match="focus names no site"):
        run(focus=())


def ridge():
    """Two unknowns whose sum is known a thousand times better than either."""
    a, b = (numpyro.sample(name, dist.Normal(0.0, 1.0)) for name in "ab")
    numpyro.sample("y", dist.Normal(a + b, 1.5e-3), obs=0.0)


def test_trajectories_that_end_at_their_limit_are_told():
    with pytest.warns(bc.StiffnessWarning, match=r"of the trajectories end at the limit of 1,023"):
        tree = sample(ridge, key=0, chains=2, warmup=500, draws=500)
    assert tree.sample_stats["reached_max_treedepth"].mean() > 0.05
    assert tree.sample_stats["n_steps"].max() == 1023


@pytest.mark.parametrize("small", [1e-4, 1e-7])
def test_unknowns_of_any_unit_take_as_few_steps(small):
    """Beside unknowns near 1, one in a unit in which it is small: NumPyro's own mass matrix takes
    64 steps a draw at 1e-4, and does not mix at 1e-6.
    """

    def program():
        scale = jnp.array([1.0, small, 1.0])
        numpyro.sample("a", dist.Normal(jnp.zeros(3), scale).to_event(1))

    tree = sample(program, key=0, chains=2, warmup=500, draws=500)
    assert tree.sample_stats["n_steps"].mean() < 12
    assert abs(tree.posterior["a"].std(("chain", "draw"))[1] / small - 1) < 0.2


@pytest.mark.filterwarnings("ignore::bayescons.NotMixedWarning")  # the cliff diverges
def test_a_chain_that_stands_still_in_a_window_is_not_held_there():
    """A likelihood that is flat but for a cliff: early draws are all refused."""

    def program():
        a = numpyro.sample("a", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
        numpyro.factor("cliff", jnp.where(jnp.abs(a).max() < 1.5, 0.0, -1e6))

    tree = sample(program, key=1, chains=2, warmup=300, draws=500)
    assert np.isfinite(tree.posterior["a"]).all()
    assert (tree.posterior["a"].std("draw") > 0.3).all()


def test_fields_are_labelled_by_the_grid_that_functionals_were_built_on():
    grid = bc.Grid(t=[0.0, 0.5, 1.0], x=np.linspace(0.0, 2.0, 5))

    def program(totals, other=None):
        with numpyro.plate("case", 2):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((2, 3, 5)), 1.0).to_event(2))
            bc.observe("mass", bc.integral(grid, "x"), u, totals)
        w = numpyro.sample("w", dist.Normal(jnp.zeros(5), 1.0).to_event(1))
        if other is not None:
            v = numpyro.sample("v", dist.Normal(jnp.zeros(4), 1.0).to_event(1))
            bc.observe("of v", bc.integral(other, over=other.names), v, 0.0)
        bc.observe("of w", lambda w: w.sum(), w, 0.0)

    tree = sample(program, jnp.ones((2, 3)), key=0, chains=1, draws=20)
    assert tree.posterior["u"].dims == ("chain", "draw", "case", "t", "x")
    assert tree.posterior["w"].dims == ("chain", "draw", "w_dim_0")
    assert tree.constraints["mass_residual"].dims == ("chain", "draw", "case", "t")
    np.testing.assert_array_equal(tree.posterior["x"], grid["x"])
    assert tree.posterior["u"].sel(t=0.5, case=1).shape == (1, 20, 5)
    again = sample(program, jnp.ones((2, 3)), bc.Grid(y=np.arange(4.0)), key=0, chains=1, draws=20)
    assert again.posterior["v"].dims == ("chain", "draw", "y")
    odd = sample(program, jnp.ones((2, 3)), bc.Grid(x=np.arange(4.0)), key=0, chains=1, draws=20)
    assert odd.posterior["v"].dims == ("chain", "draw", "v_dim_0")
    assert odd.posterior["u"].dims == ("chain", "draw", "case", "u_dim_1", "u_dim_2")


def test_a_result_holds_the_prior_where_it_is_asked_for():
    """Means and spreads within 5 standard errors: a false alarm in 2e6 comparisons. What is imposed
    holds, what is observed is not known yet.
    """

    def program(y):
        s = numpyro.sample("s", dist.LogNormal(0.0, 0.25))
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), s * jnp.ones(3)))
        bc.impose("total", lambda u: u.sum(), u, 3.0)
        bc.observe("first", lambda u: u[0], u, 5.0)
        numpyro.sample("y", dist.Normal(u[1], 0.1), obs=y)

    tree = sample(program, 0.5, key=0, draws=200, warmup=200, prior=2000)
    prior = tree.prior
    assert prior["u"].dims == ("chain", "draw", "u_dim_0")
    assert np.abs(prior["u"].sum("u_dim_0") - 3.0).max() <= 1e-12
    ratio = (prior["u"] - 1.0) / prior["s"]
    assert np.abs(ratio.mean(("chain", "draw"))).max() <= 5 * np.sqrt(2 / 3 / 2000)
    assert np.abs((ratio**2).mean(("chain", "draw")) - 2 / 3).max() <= 5 * (2 / 3) * np.sqrt(
        2 / 2000
    )
    assert abs(np.log(prior["s"]).mean()) <= 5 * 0.25 / np.sqrt(2000)
    ahead = tree.prior_predictive["y"] - prior["u"][..., 1]
    assert abs(ahead.std() / 0.1 - 1) <= 5 / np.sqrt(4000)
    assert "prior" not in sample(program, 0.5, key=0, draws=200, warmup=200).children
    with pytest.raises(ValueError, match="prior must be a whole number of draws, 0 or more"):
        sample(program, 0.5, key=0, prior=-1)

    def improper():
        u = numpyro.sample("u", dist.ImproperUniform(dist.constraints.real, (), (2,)))
        numpyro.sample("y", dist.Normal(u, 1.0).to_event(1), obs=jnp.zeros(2))

    with pytest.raises(ValueError, match="'u' has an improper prior, of which there are no draws"):
        sample(improper, key=0, draws=50, warmup=100, prior=5)


def test_a_warning_says_that_chains_have_not_mixed():
    with pytest.warns(NotMixedWarning, match="effective draws, fewer than 100"):
        tree = sample(
            plain, jnp.array([3.0, -1.0]), key=0, chains=2, warmup=50, draws=20, progress=True
        )
    assert "not mixed" in tree.attrs["mixed"]


def test_a_bar_is_told_of_every_step_once_whatever_the_number_of_chains(monkeypatch):
    class Bar:
        n, total = 0, 0

        def reset(self, total):
            self.total = total

        def update(self, by):
            self.n += by

    bar = Bar()
    monkeypatch.setattr(progress, "_shown", [bar])

    def chain(start):
        return progress.scan(
            lambda carry, indexed: (carry + indexed[0], carry), start, 130, on=True
        )[0]

    ends = jax.jit(jax.vmap(chain))(jnp.zeros(3, int))
    jax.effects_barrier()
    assert ends.tolist() == [130 * 129 // 2] * 3
    assert (bar.n, bar.total) == (130, 130)


@pytest.mark.filterwarnings("ignore::bayescons.sampling.NotMixedWarning")
def test_a_stiff_soft_reading_is_warned_of_at_every_call_whatever_is_random_above_it():
    few = {"reading": "soft", "scale": 1e-4, "chains": 1, "warmup": 5, "draws": 5}
    for _ in range(2):
        with pytest.warns(bc.StiffnessWarning, match="'mass' is read softly with scale"):
            sample(hierarchical, TOTAL, key=0, **few)


# Bad input.


def discrete(total):
    wide = numpyro.sample("wide", dist.Bernoulli(0.3))
    u = numpyro.sample("u", dist.Normal(jnp.zeros(N), jnp.where(wide == 1, 2.0, 0.5)).to_event(1))
    bc.observe("mass", MASS, u, total)


def improper(readings):
    level = numpyro.sample("level", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.sample("y", dist.Normal(level, 0.5), obs=readings)


def improper_law(total):
    size = numpyro.sample("size", dist.ImproperUniform(dist.constraints.positive, (), ()))
    u = numpyro.sample("u", dist.Normal(jnp.zeros(N), size).to_event(1))
    bc.impose("mass", MASS, u, total)


def dividing(total):
    u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 1.0).to_event(1))
    bc.observe("ratio", lambda u: u[0] / jnp.sum(u - u), u, total)


def contradicting(total):
    u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 1.0).to_event(1))
    bc.observe("mass", MASS, u, total)
    bc.observe("again", MASS, u, 1.0)


def one_unknown(readings):
    numpyro.sample(
        "y", dist.Normal(numpyro.sample("level", dist.Normal(0.0, 1.0)), 0.5), obs=readings
    )


FEW = {"key": 0, "chains": 1, "warmup": 20, "draws": 10}
REFUSED = {
    "a sampler misspelt": (
        plain,
        FEW | {"sampler": "nut"},
        ValueError,
        "no sampler 'nut'; did you mean 'nuts'",
    ),
    "a reading misspelt": (
        plain,
        FEW | {"reading": "exactly"},
        ValueError,
        "no reading 'exactly'; did you mean 'exact'",
    ),
    "a start misspelt": (
        plain,
        FEW | {"start": "path"},
        ValueError,
        "no start 'path'; did you mean 'pathfinder'",
    ),
    "no chains": (
        plain,
        FEW | {"chains": 0},
        ValueError,
        "chains must be a whole number, 1 or more; got 0",
    ),
    "no draws": (
        plain,
        FEW | {"draws": 0},
        ValueError,
        "draws must be a whole number, 1 or more; got 0",
    ),
    "half a draw": (
        plain,
        FEW | {"thinning": 0},
        ValueError,
        "thinning must be a whole number, 1 or more",
    ),
    "nothing to tune with": (
        plain,
        FEW | {"sampler": "mclmc", "warmup": 5},
        ValueError,
        "needs warmup=20 or more; got 5",
    ),
    "no probability": (
        plain,
        FEW | {"target_acceptance": 1.5},
        ValueError,
        "between 0 and 1; got 1.5",
    ),
    "no key": (plain, FEW | {"key": jnp.zeros(2)}, TypeError, r"Write key=jax\.random\.key\(0\)"),
    "no unknowns": (
        lambda y: numpyro.sample("y", dist.Normal(0, 1), obs=y),
        FEW,
        ValueError,
        "the program has no unknowns",
    ),
    "no field to collapse": (
        plain,
        FEW | {"sampler": "collapsed"},
        TypeError,
        "none: the program states nothing about a field",
    ),
    "no closed form": (
        counts,
        FEW | {"sampler": "conjugate"},
        TypeError,
        "Poisson likelihood. Use sampler='nuts'",
    ),
    "latents that are learnt": (
        hierarchical,
        FEW | {"sampler": "conjugate"},
        TypeError,
        "Use sampler='collapsed'",
    ),
    "an exact sampler read softly": (
        counts,
        FEW | {"sampler": "conjugate", "reading": "soft"},
        ValueError,
        "use sampler='nuts'",
    ),
    "a discrete latent": (
        discrete,
        FEW | {"sampler": "nuts"},
        TypeError,
        r"'wide' are discrete.*bc\.conjugate\(program",
    ),
    "a discrete latent to be chosen for": (
        discrete,
        FEW,
        TypeError,
        r"'wide' are discrete.*bc\.conjugate\(program",
    ),
    "an improper prior": (
        improper,
        FEW | {"sampler": "smc"},
        ValueError,
        "'level' has an improper one",
    ),
    "an improper prior that nothing bears on": (
        improper_law,
        FEW,
        ValueError,
        "'size' has an improper one.*Give it a proper prior",
    ),
    "not Gaussian": (
        hierarchical,
        FEW | {"sampler": "elliptical"},
        TypeError,
        "'tau' is not.*jnp.exp",
    ),
    "one unknown": (
        one_unknown,
        FEW | {"sampler": "mclmc"},
        ValueError,
        "needs two unknowns or more",
    ),
    "NaN from a functional": (
        dividing,
        FEW,
        ValueError,
        "functional of 'ratio' gives NaN or infinity",
    ),
    "NaN from a functional, sampled": (
        dividing,
        FEW | {"sampler": "nuts"},
        ValueError,
        "functional of 'ratio' gives NaN or infinity",
    ),
    "NaN from a functional, softly": (
        dividing,
        FEW | {"reading": "soft"},
        ValueError,
        "functional of 'ratio' gives NaN or infinity",
    ),
    "facts that contradict": (contradicting, FEW, bc.InconsistentConstraintsError, "contradicts"),
    "facts that contradict, sampled": (
        contradicting,
        FEW | {"sampler": "nuts"},
        bc.InconsistentConstraintsError,
        "contradicts",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_bad_input_is_refused_with_what_to_write_instead(why):
    program, options, error, message = REFUSED[why]
    with pytest.raises(error, match=message):
        sample(program, TOTAL, **options)


def test_data_that_hold_nan_are_refused_by_name():
    with pytest.raises(ValueError, match="'y' is NaN or infinite"):
        sample(plain, jnp.array([jnp.nan, 1.0]), key=0, chains=1, warmup=20, draws=10)


def test_a_plain_numpyro_program_is_sampled_and_an_improper_prior_does_not_matter():
    tree = sample(improper, jnp.array([0.9, 1.1]), key=0, chains=2, warmup=300, draws=1000)
    level = tree.posterior["level"].to_numpy()
    assert agree(level, [1.0])
    assert agree((level - 1.0) ** 2, [0.125])
    assert "constraints" not in tree


def test_a_random_value_of_a_statement_is_kept_for_every_draw():
    def program():
        total = numpyro.sample("total", dist.Normal(0.4, 0.3))
        bc.impose(
            "mass", MASS, numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), jitter=0.0)), total
        )

    tree = sample(program, key=0, chains=2, draws=100)
    np.testing.assert_array_equal(tree["constraints"]["mass_value"], tree.posterior["total"])
    assert np.abs(tree["constraints"]["mass_residual"]).max() <= 1e-12


def test_numbers_of_a_method_are_checked_at_the_door():
    assert checked("mclmc").thinning == 10
    assert checked(Method("nuts", target_acceptance=0.95)).target_acceptance == 0.95
    assert checked("collapsed").target_acceptance == 0.95
    assert checked("auto").target_acceptance is None  # that of the sampler chosen
    with pytest.raises(ValueError, match="got True"):
        checked(Method(chains=True))


# The command line.

PROGRAM = """
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import bayescons as bc

grid = bc.Grid(x=jnp.linspace(0, 1, 5))

def program(content):
    amplitude = numpyro.sample("amplitude", dist.LogNormal(0.0, 0.1))
    u = numpyro.sample("u", dist.Normal(jnp.zeros(5), amplitude).to_event(1))
    bc.observe("heat", bc.integral(grid, "x"), u, content)

def inputs(key):
    return {"content": 0.3}
"""


@pytest.fixture
def rod(tmp_path):
    path = tmp_path / "rod.py"
    path.write_text(PROGRAM)
    return path


def command(rod, *options):
    return main(
        [
            str(a)
            for a in [
                "run",
                rod,
                "--samples",
                6,
                "--warmup",
                20,
                "--chains",
                2,
                *options,
                "--out",
                rod.with_name("o.nc"),
            ]
        ]
    )


def test_the_command_line_says_which_sampler_it_chose_and_that_chains_have_not_mixed(rod, capsys):
    assert command(rod) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "sampler: collapsed, the fields are Gaussian given amplitude" in said
    assert "note: the chains have not mixed" in said
    tree = results.load(rod.with_name("o.nc"))
    assert (tree.attrs["chosen"], tree.attrs["seed"]) == ("collapsed", 0)
    assert {"warmup_sample_stats", "constraints", "sample_stats"} <= set(tree.children)


def test_a_sampler_that_does_not_exist_is_refused_in_a_line_with_the_nearest(rod, capsys):
    assert command(rod, "--sampler", "eliptical") == 2
    assert "did you mean 'elliptical'?" in capsys.readouterr().err
    assert [path.name for path in rod.parent.iterdir() if path.is_file()] == ["rod.py"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_run_leaves_nothing_half_written(rod, monkeypatch, capsys, interruption):
    from bayescons.cli import run

    def interrupted(*_, **__):
        assert (
            len([path for path in rod.parent.iterdir() if path.is_file()]) == 2
        )  # the place is held while it runs
        raise interruption

    monkeypatch.setattr(run, "sample", interrupted)
    if interruption is KeyboardInterrupt:
        assert command(rod) == 130
        assert capsys.readouterr().err == "interrupted\n"
    else:
        with pytest.raises(interruption):
            command(rod)
    assert [path.name for path in rod.parent.iterdir() if path.is_file()] == ["rod.py"]


def walk(total=None):
    def step(before, _):
        after = numpyro.sample("step", dist.Normal(0.8 * before, 1.0))
        return after, after

    _, path = scan(step, 0.0, jnp.arange(4))
    numpyro.sample("end", dist.Normal(path[-1], 0.5), obs=1.0)
    if total is not None:
        u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 1.0).to_event(1))
        bc.observe("mass", MASS, u, total)


def test_a_program_with_a_loop_and_no_statement_is_sampled_as_it_is():
    tree = sample(walk, key=0, chains=2, warmup=200, draws=500)
    assert tree.posterior["step"].shape == (2, 500, 4)
    covariance = np.linalg.inv(np.eye(4) - 0.8 * np.eye(4, k=-1))
    covariance = covariance @ covariance.T
    mean = covariance[:, 3] / (covariance[3, 3] + 0.25)
    assert np.abs(tree.posterior["step"].mean(("chain", "draw")) - mean).max() <= 6 * 0.1


@pytest.mark.parametrize(
    "read", [lambda: bc.conjugate(walk)(0.3), lambda: sample(walk, 0.3, key=0, draws=10)]
)
def test_a_program_with_a_loop_and_a_statement_is_refused(read):
    with pytest.raises(ValueError, match=r"runs code that is not looked into.*Unroll the loop"):
        read()


# The last guard.


def test_draws_that_miss_an_exact_statement_are_not_returned(monkeypatch):
    """A median that passed for affine, as one did: here by a check that is told to say so."""
    from bayescons.functionals import functions

    monkeypatch.setattr(functions, "is_affine", lambda _: True)

    def program():
        u = numpyro.sample("u", dist.Normal(jnp.arange(5.0), 1.0).to_event(1))
        bc.observe("middle", lambda u: jnp.median(u), u, 9.0)

    with pytest.raises(ValueError, match="'middle' is not affine in the field: at the mean"):
        bc.conjugate(program)()
    with pytest.raises(ResidualError, match="the draws miss 'middle'"):
        sample(program, key=0, draws=20)


@pytest.mark.filterwarnings("ignore::bayescons.NotMixedWarning")  # 50 draws
@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e9])
def test_a_wall_at_zero_is_held_to_the_rounding_of_its_field(unit):
    """The wall comes out as 1e-17 of the field beside it; alone it is all that its row adds up."""
    grid = bc.Grid(x=jnp.linspace(0.0, 1.0, 9))

    def program(total):
        prior = bc.surrogates.separable(
            grid, {"x": 0.3}, kernels="matern52", amplitude=unit, mean=lambda x: unit * (1 - x)
        )
        u = numpyro.sample("u", prior)
        bc.observe("total", bc.integral(grid), u, total)
        bc.observe("wall", bc.dirichlet(grid, "x", "upper"), u, 0.0)
        numpyro.sample("y", dist.Normal(u[3], 0.1 * unit), obs=0.3 * unit)

    tree = sample(program, 0.4 * unit, key=0, sampler="nuts", draws=50, warmup=50)
    assert float(abs(tree["constraints"]["wall_residual"]).max()) <= 1e-12 * unit


def test_the_guard_names_the_statement_and_keeps_the_draws():
    stated = {
        "right": Stated(np.full((1, 4), 1e-13), np.ones((1, 4)), np.ones((1, 4))),
        "wrong": Stated(np.full((1, 4), 2.9), np.ones((1, 4)), np.full((1, 4), 9.0)),
    }
    with pytest.raises(ResidualError, match=r"the draws miss 'wrong' by up to 2\.9") as raised:
        refuse_residuals(stated, {"u": np.zeros((1, 4))})
    assert raised.value.draws["u"].shape == (1, 4)
    refuse_residuals({"right": stated["right"]}, {})
