"""Laws of the samplers: all draw from the same posterior, constraints hold in every draw, and
particles tell the evidence.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bayescons as bc
from bayescons.sampling import Method, NotMixedWarning, chains, sample
from bayescons.sampling.run import closed
from bayescons.sampling.starts import starts
from bayescons.sampling.targets import target
from tests.readings import GRID, KERNEL, MASS, WALL, agree, answer
from tests.sampled import LINEAR, PROBES, READINGS, TOTAL, WALL_VALUE, linear, plain

KEY = jax.random.key(0)
MARKOV = ("nuts", "blackjax_nuts", "mclmc", "adjusted_mclmc", "elliptical", "smc")


@pytest.fixture(scope="module")
def drawn():
    """The linear program's tree by a sampler; each is run once."""
    made = {}

    def by(sampler):
        if sampler not in made:
            size = (
                {"chains": 8, "draws": 250}
                if sampler == "smc"
                else {"chains": 4, "warmup": 300, "draws": 500}
            )
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", NotMixedWarning
                )  # short runs; what they give is judged below by their standard errors
                made[sampler] = sample(
                    linear, TOTAL, READINGS, key=0, sampler=sampler, grid=GRID, **size
                )
        return made[sampler]

    return by


# Every sampler draws from the same posterior.


@pytest.mark.parametrize("sampler", ["conjugate", *MARKOV])
def test_samplers_agree_with_the_closed_form(drawn, sampler):
    u = drawn(sampler).posterior["u"].to_numpy()
    assert agree(u, LINEAR.mean)
    assert agree(u**2, LINEAR.mean**2 + np.diag(LINEAR.covariance))
    assert agree(u[..., 2] * u[..., 7], LINEAR.mean[2] * LINEAR.mean[7] + LINEAR.covariance[2, 7])


@pytest.mark.parametrize("sampler", ["conjugate", *MARKOV])
def test_constraints_hold_in_every_draw_and_are_part_of_the_result(drawn, sampler):
    group = drawn(sampler)["constraints"]
    assert (group["mass_value"] == TOTAL).all()
    assert np.abs(group["mass_residual"]).max() <= 1e-12
    assert np.abs(group["wall_residual"]).max() <= 1e-12
    assert group["mass_residual"].dims == ("chain", "draw")


@pytest.mark.parametrize("sampler", ["conjugate", *MARKOV])
def test_a_result_says_how_it_was_made_and_whether_it_mixed(drawn, sampler):
    tree = drawn(sampler)
    told = tree.attrs
    assert (told["sampler"], told["chosen"], told["reading"], told["seed"]) == (
        sampler,
        sampler,
        "exact",
        0,
    )
    assert told["why"].startswith("asked for")
    assert told["seconds"] > 0
    assert 1 <= told["r_hat"] < 1.2
    assert told["ess_bulk"] > 50
    assert (told["gradients"] + told["warmup_gradients"] > 0) == (
        sampler not in ("conjugate", "elliptical")
    )
    assert set(tree.posterior.data_vars) == {"u", "double"}
    assert tree.posterior["u"].dims == ("chain", "draw", "x")
    assert np.abs(tree.posterior["double"] - 2 * tree.posterior["u"][..., 0]).max() == 0


@pytest.mark.parametrize("sampler", ["nuts", "blackjax_nuts", "elliptical"])
def test_warm_up_is_kept_apart_from_the_draws(drawn, sampler):
    tree = drawn(sampler)
    assert tree["warmup_sample_stats"]["n_steps"].shape == (4, 300)
    assert tree["sample_stats"]["n_steps"].shape == (4, 500)
    assert tree.posterior.sizes["draw"] == 500
    if sampler != "elliptical":
        assert np.ptp(tree["sample_stats"]["step_size"].to_numpy(), axis=1).max() == 0
        assert np.ptp(tree["warmup_sample_stats"]["step_size"].to_numpy(), axis=1).min() > 0
        assert tree.attrs["gradients"] == tree["sample_stats"]["n_steps"].sum()


def test_particles_tell_the_evidence_within_its_error(drawn):
    told = drawn("smc").attrs
    # Eight populations: Student-t with 7 degrees of freedom is beyond 6 standard errors in one seed
    # of two thousand.
    assert abs(told["log_evidence"] - LINEAR.log_evidence) <= 6 * told["log_evidence_error"]
    assert told["log_evidence_error"] < 0.3
    assert told["ancestors"] > 20


def test_a_stiff_likelihood_does_not_collapse_the_particles():
    run = jax.jit(
        lambda key: chains(linear, Method("smc", chains=4, draws=300), reading="soft", scale=1e-4)(
            key, (TOTAL, READINGS)
        )
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.StiffnessWarning)
        found = run(KEY)
    soft = answer(
        KERNEL, (MASS, TOTAL, 1e-4), (WALL, WALL_VALUE, 1e-4), (lambda u: u[PROBES], READINGS, 0.2)
    )
    for draws in np.asarray(found.draws["u"]):
        assert len(np.unique(draws[:, 4])) > 270
    logs = np.asarray(found.summary["log_evidence"])
    # Four populations: Student-t with 3 degrees of freedom is beyond 12.9 standard errors in one
    # seed of a thousand.
    assert abs(logs.mean() - soft.log_evidence) <= 12.9 * logs.std(ddof=1) / 2 + 0.5 * logs.var()
    assert agree(found.draws["u"], soft.mean, standard_errors=8.0)


def test_the_same_key_gives_the_same_draws_and_another_key_others(drawn):
    def again(key):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotMixedWarning)
            return sample(
                linear, TOTAL, READINGS, key=key, sampler="nuts", chains=4, warmup=300, draws=500
            ).posterior["u"]

    first = drawn("nuts").posterior["u"].to_numpy()
    assert (again(0).to_numpy() == first).all()
    assert (again(jax.random.key(0)).to_numpy() == first).all()
    assert (again(1).to_numpy() != first).any()


@pytest.mark.broadcasts  # BlackJAX's Pathfinder and mean-field guide
@pytest.mark.parametrize("start", ["pathfinder", "svi"])
def test_fitted_starts_lie_where_the_posterior_does(start):
    @jax.jit
    def begun(keys, readings):
        aim = target(closed(plain, (readings,), {}), keys)
        return starts(aim, Method("nuts", start=start), keys)

    found = begun(jax.random.split(KEY, 64), jnp.array([3.0, -1.0]))
    design = np.array([[1.0, 0.0], [1.0, 1.0]])
    covariance = np.linalg.inv(np.eye(2) + design.T @ design / 0.25)
    mean = covariance @ design.T @ np.array([3.0, -1.0]) / 0.25
    points = np.stack([found["level"], found["slope"]], -1)
    off = np.einsum("ni,ij,nj->n", points - mean, np.linalg.inv(covariance), points - mean)
    # Chi-squared with 2 degrees of freedom, had they been drawn from the posterior: its mean is 2;
    # a mean-field guide's is smaller.
    assert 0.3 < off.mean() < 4.0
