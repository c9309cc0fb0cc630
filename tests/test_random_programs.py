"""Hypothesis over programs: every reading of a random program is that of dense algebra, and every
mistake in one is refused under the name of its statement.

Thousands of them: `python -m tests.random_readings programs 0 2000`.
"""

from contextlib import ExitStack

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer.util import log_density
from scipy.stats import multivariate_normal

import bayescons as bc
from tests.random_programs import RandomProgram
from tests.random_readings import (
    READINGS,
    TOLERANCE,
    blamed,
    compare,
    reading_of,
    refusals,
    sampled,
    spoiled,
)
from tests.random_sites import MISTAKES

PROGRAMS = range(5000, 5018)


@pytest.mark.parametrize("seed", PROGRAMS, ids=lambda seed: f"{seed}-{reading_of(seed)}")
@pytest.mark.broadcasts  # NumPyro's MultivariateNormal in a plate
@pytest.mark.filterwarnings("ignore::bayescons.StiffnessWarning")
def test_a_reading_of_a_random_program_is_that_of_dense_algebra(seed):
    assert compare(RandomProgram(seed), reading_of(seed)) <= TOLERANCE


def test_every_reading_is_among_those_of_the_random_programs():
    assert {reading_of(seed) for seed in PROGRAMS} == set(READINGS)


@pytest.mark.broadcasts  # as above
@pytest.mark.parametrize("seed", [5001, 5002])
def test_draws_of_a_random_program_satisfy_its_exact_statements(seed):
    for residual, zero in sampled(RandomProgram(seed)):
        assert np.abs(residual - zero).max(initial=0.0) <= TOLERANCE


@pytest.mark.broadcasts  # as above
@pytest.mark.parametrize("seed", range(len(MISTAKES)), ids=list(MISTAKES))
def test_a_mistake_in_a_random_program_is_refused_under_the_name_of_its_statement(seed):
    assert {outcome for _, outcome in refusals(spoiled(seed))} == {"refused"}


@pytest.mark.broadcasts  # as above
@pytest.mark.parametrize("seed", [1, 4, 6, 13], ids=lambda seed: list(MISTAKES)[seed])
def test_the_linter_blames_a_mistake_in_a_random_program_on_its_statement(seed):
    assert list(blamed(spoiled(seed))) == [("linted", "refused")]


# --- what random programs have found


def members(state, scale=None, name="total"):
    """Three members, of each of which a sum is stated."""

    def program():
        with numpyro.plate("case", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, 2)), 1.0).to_event(1))
            state(name, lambda u: u.sum(), u, jnp.arange(3.0), scale)

    return program


def test_what_is_imposed_in_a_plate_loses_its_evidence_once_in_the_soft_reading():
    """The factor that takes it out again stood in the plate, and was counted for every member."""
    u = np.linspace(-1.0, 1.0, 6).reshape(3, 2)
    prior = dist.Normal(0.0, 1.0).log_prob(u).sum()
    law = dist.Normal(u.sum(1), 0.5).log_prob(jnp.arange(3.0)).sum()
    evidence = multivariate_normal(np.zeros(3), 2.25 * np.eye(3)).logpdf(np.arange(3.0))
    with handlers.block(), handlers.seed(rng_seed=0):
        found, _ = log_density(bc.soft(members(bc.impose), 0.5), (), {}, {"u": jnp.asarray(u)})
    assert abs(found - (prior + law - evidence)) <= 1e-12 * abs(evidence)


@pytest.mark.parametrize("zero", [np.zeros(3), jnp.zeros(()), [0.0, 0.0, 0.0], np.float32(0)])
def test_a_scale_that_is_an_array_of_zeros_is_that_of_an_exact_fact(zero):
    values = {"u": jnp.ones((3, 2))}
    with handlers.block(), handlers.seed(rng_seed=0):
        exact, array = (
            log_density(bc.soft(members(bc.observe, scale), 0.5), (), {}, values)[0]
            for scale in (None, zero)
        )
    assert exact == array
    with pytest.raises(bc.VanishingNoiseError, match="'total' states an exact fact"):
        log_density(members(bc.observe, zero), (), {}, values)
    found = bc.conjugate(members(bc.observe, zero))()
    assert found.log_evidence == bc.conjugate(members(bc.observe))().log_evidence


def test_a_scale_of_which_a_part_is_zero_is_made_finite_there_alone():
    scale, u = np.array([0.0, 0.3, 0.0]), jnp.linspace(0.0, 1.0, 6).reshape(3, 2)
    with handlers.block(), handlers.seed(rng_seed=0):
        found, _ = log_density(bc.soft(members(bc.observe, scale), 0.5), (), {}, {"u": u})
    expected = dist.Normal(0.0, 1.0).log_prob(u).sum()
    noise = np.array([0.5, 0.3, 0.5])
    expected += dist.Normal(u.sum(1), noise).log_prob(jnp.arange(3.0)).sum()
    assert abs(found - expected) <= 1e-12 * abs(expected)
    with pytest.raises(bc.VanishingNoiseError, match="'total' states an exact fact"):
        log_density(members(bc.observe, scale), (), {}, {"u": u})


def test_statements_of_one_name_in_two_scopes_are_told_apart():
    def program():
        u = numpyro.sample("u", dist.Normal(jnp.zeros(3), 1.0).to_event(1))
        for scope, value in (("first", 1.0), ("second", 2.0)):
            with handlers.scope(prefix=scope):
                bc.observe("total", lambda u: u.sum(), u, value)

    names = r"(first/total contradicts second/total|second/total contradicts first/total)"
    with pytest.raises(bc.InconsistentConstraintsError, match=names):
        bc.conjugate(program)()


def test_a_value_that_is_not_finite_is_refused_by_the_soft_reading():
    with pytest.raises(ValueError, match="value of 'total' holds 1 NaN"):
        handlers.seed(bc.soft(lambda: bc.observe("total", lambda u: u, _field(), np.nan)), 0)()


def _field():
    return numpyro.sample("u", dist.Normal(0.0, 1.0))


def test_the_linter_blames_a_masked_statement_and_no_other():
    def program():
        u = numpyro.sample("u", dist.Normal(jnp.zeros(3), 1.0).to_event(1))
        bc.observe("total", lambda u: u.sum(), u, 1.0)
        with handlers.mask(mask=False):
            bc.observe("first", lambda u: u[0], u, 1.0)

    (finding,) = bc.check(program).findings
    assert (finding.severity, finding.where) == ("error", "first")
    assert "stands under a mask" in finding.finding


def test_contradictions_below_latents_name_the_rows():
    def program():
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        u = numpyro.sample("u", dist.Normal(m * jnp.ones(3), 1.0).to_event(1))
        bc.observe("total", lambda u: u.sum(), u, 1.0)
        bc.observe("mean", lambda u: u.mean(), u, m)

    names = r"(total contradicts mean|mean contradicts total)"
    with pytest.raises(bc.InconsistentConstraintsError, match=names):
        bc.conjugate(program, key=jax.random.key(0), latent_draws=3)()


@pytest.mark.parametrize(
    ("law", "what"),
    [
        (lambda u: jnp.concatenate([u, u]), "4 exact rows for 2 points.*'law'"),
        (lambda u: u, "no free direction left.*'law'"),
    ],
)
def test_facts_that_leave_nothing_free_are_named(law, what):
    def program():
        u = numpyro.sample("u", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
        bc.observe("law", law, u, 0.0)

    with pytest.raises(ValueError, match=what):
        bc.conjugate(program)()


def in_two_scopes():
    """A latent, what is observed of it, and a field in a plate, twice."""
    for scope in ("one", "two"):
        with handlers.scope(prefix=scope):
            _scoped()


def _scoped():
    m = numpyro.sample("m", dist.Normal(0.0, 1.0))
    numpyro.sample("above", dist.Normal(m, 1.0), obs=0.3)
    with numpyro.plate("case", 2):
        u = numpyro.sample("u", dist.Normal(m * jnp.ones((2, 2)), 1.0).to_event(1))
    bc.observe("total", lambda u: u.sum(), u, 1.0)
    numpyro.sample("y", dist.Normal(u[0, 0], 0.5), obs=0.2)


def test_a_reading_may_stand_under_a_scope():
    """The sites above the fields were looked for under the names that the scope had given them."""

    def read_in_two_scopes():
        for scope in ("one", "two"):
            with handlers.scope(prefix=scope):
                bc.exact(_scoped)()

    values = {f"{s}/{n}": jnp.asarray(v) for s in ("one", "two") for n, v in (("m", 0.4),)}
    values |= {f"{s}/u_free": jnp.linspace(-1.0, 1.0, 4) for s in ("one", "two")}
    with handlers.block(), handlers.seed(rng_seed=0):
        inside, outside = (
            log_density(program, (), {}, values)[0]
            for program in (read_in_two_scopes, bc.exact(in_two_scopes))
        )
    assert abs(inside - outside) <= 1e-12 * abs(outside)


@pytest.mark.filterwarnings("ignore::bayescons.NotMixedWarning")
def test_plates_under_a_scope_have_names_that_a_tree_can_hold():
    tree = bc.sample(in_two_scopes, key=0, draws=5, warmup=5, chains=1)
    assert tree.posterior["one.u"].dims == ("chain", "draw", "one.case", "one.u_dim_1")
    assert np.abs(tree["constraints"]["two.total_residual"]).max() <= 1e-12


def test_a_plate_of_one_member_is_a_plate_under_plain_numpyro():
    """A function was given the member with the plate's axis, and rolled along that."""

    def program(dims=(-1,)):
        plates = [numpyro.plate(f"p{d}", 1 if d == -1 else 2, dim=d) for d in dims]
        with ExitStack() as stack:
            for plate in plates:
                stack.enter_context(plate)
            shape = (2, 1) if len(dims) > 1 else (1,)
            u = numpyro.sample("u", dist.Normal(jnp.zeros((*shape, 3)), 1.0).to_event(1))
            bc.observe("turned", lambda u: jnp.roll(u, 1, axis=0) + u, u, jnp.zeros(3), 0.5)

    u = jnp.arange(3.0)[None]
    found, _ = log_density(program, (), {}, {"u": u})
    expected = dist.Normal(0.0, 1.0).log_prob(u).sum()
    expected += dist.Normal(jnp.array([2.0, 1.0, 3.0]), 0.5).log_prob(0.0).sum()
    assert abs(found - expected) <= 1e-12 * abs(expected)
    with pytest.raises(ValueError, match=r"'turned' stands in plates of sizes .*cannot be told"):
        log_density(program, ((-2, -1),), {}, {"u": jnp.zeros((2, 1, 3))})


@pytest.mark.parametrize("kind", ["diagonal", "low rank"])
def test_a_belief_with_one_field_for_all_members_of_a_plate_is_one_for_each(kind):
    """Its batch has an axis of one, which the plate repeats."""
    mean, factor = jnp.arange(4.0).reshape(2, 1, 2), jnp.arange(8.0).reshape(2, 1, 2, 2) / 4
    if kind == "diagonal":
        belief, factor = bc.diagonal(mean, 0.5, batch_dims=2), 0.0 * factor
    else:
        belief = bc.low_rank(mean, 0.5, factor, batch_dims=2)

    def program():
        with numpyro.plate("outer", 2, dim=-2), numpyro.plate("inner", 3, dim=-1):
            u = numpyro.sample("u", belief)
        bc.observe("total", lambda u: u.sum(), u, 1.0, 0.3)

    u = np.linspace(-1.0, 1.0, 12).reshape(2, 3, 2)
    covariances = [F @ F.T + 0.25 * np.eye(2) for F in np.asarray(factor[:, 0])]
    expected = sum(
        multivariate_normal(mean[i, 0], covariances[i]).logpdf(u[i, j])
        for i in range(2)
        for j in range(3)
    )
    with handlers.block(), handlers.seed(rng_seed=0):
        found, _ = log_density(program, (), {}, {"u": jnp.asarray(u)})
    noise = multivariate_normal(1.0, 0.09).logpdf(u.sum())
    assert abs(found - expected - noise) <= 1e-12 * abs(found)
    spread = 3 * sum(k.sum() for k in covariances) + 0.09
    evidence = multivariate_normal(3 * mean.sum(), spread).logpdf(1.0)
    assert abs(bc.conjugate(program)().log_evidence - evidence) <= 1e-12 * abs(evidence)


def test_a_function_that_fails_on_its_field_is_named():
    def program():
        u = numpyro.sample("u", dist.Normal(jnp.zeros(3), 1.0).to_event(1))
        bc.observe("total", lambda u: jnp.ones(4) @ u, u, 1.0)

    with pytest.raises(TypeError) as raised:
        bc.conjugate(program)()
    assert "the function of 'total' was given arrays of shapes [(3,)]" in raised.value.__notes__
