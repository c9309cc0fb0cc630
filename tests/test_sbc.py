"""Simulation-based calibration: programs simulate what they say, right ones pass, and wrong ones
fail by the functional that can tell.

Seeds are fixed. A right program fails for one seed of a hundred.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers

import bayescons as bc
from bayescons.diagnostics import simulation
from bayescons.diagnostics.refits import Refitted, closed_form, sampled
from bayescons.diagnostics.simulation_based import LOG_LIKELIHOOD, sbc
from bayescons.surrogates import separable
from tests.structures import textbook

KEY = jax.random.key(0)
GRID = bc.Grid(x=np.linspace(0, 1, 8))
INTEGRAL = bc.integral(GRID, over="x")
WEIGHTS = INTEGRAL.weights[0]
WHERE = np.array([1, 4, 6])


def rod(amplitude=1.0):
    return separable(GRID, {"x": 0.3}, kernels="matern32", amplitude=amplitude)


def plain(total, readings, noise=0.2):
    """A field of known law with an exact total and noisy readings."""
    u = numpyro.sample("u", rod())
    bc.observe("total", INTEGRAL, u, total)
    numpyro.sample("readings", dist.Normal(u[WHERE], noise).to_event(1), obs=readings)


def hierarchical(total, state=bc.observe, size=1.0):
    """A field whose amplitude is learnt from its total."""
    amplitude = numpyro.sample("amplitude", dist.HalfNormal(size))
    u = numpyro.sample("u", rod(amplitude))
    state("total", INTEGRAL, u, total)


def unknown_total(readings, noise=0.3):
    """A total that is a latent, stated with noise; a law that is imposed; readings; and a
    likelihood above the field.
    """
    total = numpyro.sample("total", dist.Normal(0.0, 0.5))
    numpyro.sample("gauge", dist.Normal(total, 0.5), obs=0.1)
    u = numpyro.sample("u", rod())
    bc.impose("wall", bc.dirichlet(GRID, "x", "lower"), u, 2.0)
    bc.observe("balance", lambda field: 1.0 + WEIGHTS @ field, u, 1.0 + total, scale=0.2)
    numpyro.sample("readings", dist.Normal(u[WHERE], noise).to_event(1), obs=readings)


def heavy(total, readings, noise=0.2):
    """Readings some of which are far off: no closed form."""
    u = numpyro.sample("u", rod())
    bc.observe("total", INTEGRAL, u, total)
    numpyro.sample("readings", dist.StudentT(3.0, u[WHERE], noise).to_event(1), obs=readings)


def bound(program, *args, **kwargs):
    return functools.partial(program, *args, **kwargs)


READINGS = np.zeros(3)


# The simulator


def test_what_is_stated_of_a_simulated_field_is_what_would_be_observed_of_it():
    truth, observed = simulation.simulate(bound(unknown_total, READINGS), KEY)
    assert set(truth) == {"total", "u"}
    assert set(observed.values) == {"gauge", "balance", "readings"}
    assert abs(float(truth["u"][0] - 2.0)) <= 1e-12  # imposed
    assert abs(float(observed.values["balance"] - 1.0 - WEIGHTS @ np.asarray(truth["u"]))) < 5 * 0.2
    np.testing.assert_allclose(
        observed.moves["balance"], observed.values["balance"] - 1.0 - truth["total"], rtol=1e-12
    )


def test_exact_statements_are_simulated_exactly_and_read_again_hold_at_the_truth():
    program = bound(plain, 3.0, READINGS)
    truth, observed = simulation.simulate(program, KEY)
    np.testing.assert_allclose(
        observed.values["total"], WEIGHTS @ np.asarray(truth["u"]), rtol=1e-13
    )
    again = handlers.trace(
        handlers.substitute(simulation.with_observed(program, observed), data=truth)
    ).get_trace()
    np.testing.assert_allclose(again["total"]["value"], observed.values["total"], rtol=1e-13)
    np.testing.assert_array_equal(again["readings"]["value"], observed.values["readings"])


def test_simulated_unknowns_and_observations_have_the_moments_of_the_program():
    """Over 4,000 simulations, to five standard errors: the wall holds, and the covariance of u with
    what is observed is the prior's.
    """
    draws, observed = jax.vmap(
        lambda key: simulation.simulate(bound(unknown_total, READINGS), key)
    )(jax.random.split(KEY, 4000))
    prior = bc.condition(rod(), bc.Constraint(bc.dirichlet(GRID, "x", "lower"), 2.0))
    np.testing.assert_allclose(draws["u"].mean(axis=0), prior.mean, atol=5 / np.sqrt(4000))
    np.testing.assert_allclose(draws["u"].var(axis=0), prior.variance, atol=5 * np.sqrt(2 / 4000))
    off = observed.values["balance"] - 1.0 - draws["u"] @ WEIGHTS
    assert abs(float(off.std()) / 0.2 - 1) <= 5 / np.sqrt(2 * 4000)
    off = observed.values["gauge"] - draws["total"]
    assert abs(float(off.std()) / 0.5 - 1) <= 5 / np.sqrt(2 * 4000)


def test_a_constant_in_a_functional_is_part_of_what_is_observed():
    def program():
        u = numpyro.sample("u", rod())
        bc.observe("shifted", bc.functional(lambda field: 5.0 + field[0], GRID), u, 5.0)

    truth, observed = simulation.simulate(program, KEY)
    np.testing.assert_allclose(observed.values["shifted"], 5.0 + truth["u"][0], rtol=1e-13)


def test_the_log_likelihood_is_the_evidence_of_statements_and_the_density_of_likelihoods():
    mean, covariance = np.zeros(8), np.asarray(jax.vmap(rod(0.7).covariance.mv)(jnp.eye(8)))
    evidence = textbook(mean, covariance, WEIGHTS[None], np.array([0.4])).log_evidence
    u = rod().sample(KEY)
    found = simulation.log_likelihood(
        bound(hierarchical, 0.4), {"amplitude": jnp.asarray(0.7), "u": u}
    )
    np.testing.assert_allclose(found, evidence, rtol=1e-10)
    fixed = simulation.log_likelihood(bound(plain, 0.4, READINGS), {"u": u})
    evidence = textbook(mean, covariance / 0.49, WEIGHTS[None], np.array([0.4])).log_evidence
    np.testing.assert_allclose(
        fixed, evidence + dist.Normal(u[WHERE], 0.2).log_prob(READINGS).sum(), rtol=1e-10
    )


# Right programs


def test_a_linear_program_passes_and_its_known_total_is_left_out():
    functionals = {"total": lambda v: WEIGHTS @ v["u"], "middle": lambda v: v["u"][3:5]}
    found = sbc(plain, 0.0, readings=READINGS, key=KEY, simulations=100, functionals=functionals)
    assert found.passed, found.verdict
    assert found.reading == "closed form"
    assert set(found.pit) == {"middle[0]", "middle[1]", LOG_LIKELIHOOD}
    assert "known exactly" in found.left_out["total"]
    assert all(values.shape == (100,) for values in found.pit.values())
    assert (found.effective == 99).all()
    assert "passed; smallest adjusted p-value" in found.verdict
    assert "fails with probability 0.01" in found.verdict


def test_a_program_with_latents_stated_values_and_laws_passes():
    found = sbc(unknown_total, READINGS, key=KEY, simulations=100, sampler=closed_form(600))
    assert found.passed, found.verdict
    assert set(found.pit) == {"total", "u_average", "u_projection", "u_mean_square", LOG_LIKELIHOOD}


def test_a_program_without_a_closed_form_is_refitted_by_chains_thinned_by_their_ess():
    found = sbc(heavy, 0.0, READINGS, key=KEY, simulations=40, draws=25, batch=40)
    assert found.passed, found.verdict
    assert found.reading.startswith(
        "NUTS, as there is no closed form ('readings' is observed below the field with a StudentT"
    )
    assert found.effective.max() <= 25
    assert np.median(found.effective) >= 20


def test_an_ordinary_program_without_statements_is_calibrated_too():
    def ordinary(y):
        level = numpyro.sample("level", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(level, 1.0), obs=y)

    found = sbc(
        ordinary, 0.0, key=KEY, simulations=40, draws=25, sampler=sampled(warmup=200), batch=40
    )
    assert found.passed, found.verdict
    assert set(found.pit) == {"level", LOG_LIKELIHOOD}


# Wrong programs


def test_imposed_in_place_of_observed_is_seen_by_the_likelihood_alone():
    """A posterior that has learnt nothing of the amplitude is its prior, and ranks of unknowns are
    uniform under a prior.
    """
    found = sbc(
        hierarchical,
        0.0,
        key=KEY,
        simulations=100,
        sampler=closed_form(300),
        refit=bound(hierarchical, state=bc.impose),
    )
    assert not found.passed
    assert found.verdict.startswith(f"failed: {LOG_LIKELIHOOD};")


def test_readings_trusted_too_much_are_found_out():
    found = sbc(plain, 0.0, READINGS, key=KEY, simulations=100, refit=bound(plain, noise=0.07))
    assert not found.passed


def test_a_wrong_prior_scale_is_found_out():
    found = sbc(
        hierarchical,
        0.0,
        key=KEY,
        simulations=100,
        sampler=closed_form(300),
        refit=bound(hierarchical, size=0.4),
    )
    assert not found.passed
    assert found.adjusted["amplitude"] < 0.01


def test_draws_worth_little_are_ranked_among_as_few():
    """One draw in a hundred is new: thinned, the ranks are those of one draw; taken as they are,
    they would be at the ends.
    """

    def repeated(program, key, draws):
        found = closed_form()(program, key, 1)
        return Refitted(
            jax.tree.map(lambda v: jnp.repeat(v, draws, axis=0), found.draws),
            jnp.asarray(1.0),
            found.trouble,
        )

    def trusted(program, key, draws):
        return repeated(program, key, draws)._replace(effective=jnp.asarray(jnp.inf))

    thinned, taken = (
        sbc(plain, 0.0, READINGS, key=KEY, simulations=100, sampler=s) for s in (repeated, trusted)
    )
    assert thinned.passed
    assert not taken.passed
    assert (
        "100 of 100 refits are worth fewer than 20 independent draws (the least: 1)"
        in thinned.notes[0]
    )


# What comes out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ranks_go_to_arviz_and_come_back_the_same_with_the_same_key(tmp_path):
    import arviz

    from bayescons.results import trees as results

    def prior(program, key, draws):
        del program
        return {"u": rod().sample(key, (draws,))}

    first, again = (
        sbc(plain, 0.0, READINGS, key=key, simulations=20, draws=9, sampler=prior)
        for key in (KEY, 0)
    )
    np.testing.assert_array_equal(first.pit["u_average"], again.pit["u_average"])
    tree = first.datatree()
    assert tree["prior_sbc"]["u_average"].shape == (1, 20)
    arviz.plot_ecdf_pit(tree, backend="none")
    loaded = results.load(results.save(tree, tmp_path / "sbc.nc"))
    assert loaded.attrs["verdict"] == first.verdict
    assert first.calibration("u_average").p_value == first.p_values["u_average"]


# Bad input


def _factored():
    numpyro.sample("u", rod())
    numpyro.factor("bonus", 1.0)


def _improper():
    level = numpyro.sample("level", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.sample("y", dist.Normal(level, 1.0), obs=0.0)


def _unobserved():
    numpyro.sample("u", rod())


def _sized():
    u = numpyro.sample("u", rod())
    bc.observe("total", INTEGRAL, u, 0.0, scale="quadrature")


def _all_known():
    u = numpyro.sample("u", dist.Normal(0.0, 1.0).expand((2,)).to_event(1))
    bc.observe("both", lambda field: field, u, jnp.zeros(2))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: sbc(_factored, key=KEY), "'bonus' is a factor"),
        (lambda: sbc(_improper, key=KEY), "'level' has an improper prior"),
        (lambda: sbc(_unobserved, key=KEY), "nothing is observed in this program"),
        (lambda: sbc(_sized, key=KEY), r"scale='quadrature'.*bc\.quadrature_scale"),
        (lambda: sbc(_all_known, key=KEY), "every functional .* is known exactly"),
        (lambda: sbc(plain, 0.0, READINGS, key=KEY, simulations=5), "at least 20 simulations"),
        (
            lambda: sbc(plain, 0.0, READINGS, key=KEY, sampler="nutz"),
            "there is no sampler 'nutz'; did you mean 'nuts'",
        ),
        (lambda: sbc(plain, 0.0, READINGS, key=KEY, level=0.5), "level must be a false-alarm rate"),
        (
            lambda: sbc(plain, 0.0, READINGS, key=KEY, functionals={"f": lambda v: v["w"]}),
            "asks for 'w'; there are .*u",
        ),
        (
            lambda: sbc(
                plain,
                0.0,
                READINGS,
                key=KEY,
                simulations=20,
                functionals={"front": lambda v: jnp.sqrt(v["u"][0])},
            ),
            r"'front' is NaN in \d+ of 20 simulations.*jnp\.inf",
        ),
    ],
)
def test_bad_input_teaches(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_a_closed_form_that_is_asked_for_and_is_none_is_refused():
    with pytest.raises(TypeError, match="StudentT likelihood: no closed form"):
        sbc(heavy, 0.0, READINGS, key=KEY, sampler="conjugate")
