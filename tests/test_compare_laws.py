"""Laws of comparing laws: the evidence is that of the readings given each law, whatever its units;
nested sampling agrees.
"""

import functools

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from scipy import stats
from scipy.special import logsumexp

import bayescons as bc
from tests.readings import KERNEL, MASS, MEAN, ROUNDING, WALL, N, answer, row

PLACES, NOISE = np.array([0, 2, 3, 6]), 0.2
Y = np.array([0.1, 0.4, 0.9, 0.8])
READ = bc.functional(lambda u: u[PLACES], on=(N,))
READINGS = bc.Constraint(READ, Y, NOISE, "readings")
CLOSED, FIXED = bc.Constraint(MASS, 0.4, name="closed"), bc.Constraint(WALL, 0.3, name="fixed")
LAWS = {"closed": CLOSED, "fixed": FIXED, "both": CLOSED & FIXED, "no law": None}
KEY = jax.random.key(0)


def belief():
    return bc.kronecker(MEAN, (KERNEL,), jitter=0.0)


def expected(*laws) -> float:
    """Log N(y; A m, A K A' + noise²) with the mean and covariance that the textbook gives under the
    laws.
    """
    mean, covariance = MEAN, KERNEL
    if laws:
        found = answer(KERNEL, *((law.functional, law.value, 0) for law in laws))
        mean, covariance = found.mean, found.covariance
    return stats.multivariate_normal.logpdf(
        Y, mean[PLACES], covariance[np.ix_(PLACES, PLACES)] + NOISE**2 * np.eye(len(Y))
    )


@pytest.fixture(scope="module")
def comparison():
    return bc.compare_laws(belief(), LAWS, READINGS)


def test_the_evidence_is_that_of_the_readings_given_the_law(comparison):
    assert comparison.names == tuple(LAWS)
    oracle = [expected(CLOSED), expected(FIXED), expected(CLOSED, FIXED), expected()]
    np.testing.assert_allclose(comparison.log_evidence, oracle, rtol=0, atol=ROUNDING)
    assert (comparison.error == 0).all()
    assert np.isnan(comparison.pareto_k).all()


def test_probabilities_are_those_of_equal_prior_odds(comparison):
    assert comparison.probability.sum() == pytest.approx(1, rel=1e-12)
    assert comparison.difference.max() == 0
    odds = np.log(comparison.probability[0] / comparison.probability[3])
    assert odds == pytest.approx(comparison.log_evidence[0] - comparison.log_evidence[3], rel=1e-9)


def test_the_table_has_the_best_law_first_and_a_line_for_each(comparison):
    heading, *lines = str(comparison).splitlines()
    assert heading.split() == ["law", "log", "evidence", "difference", "probability"]
    assert len(lines) == len(LAWS)
    assert lines[0].startswith(comparison.names[int(np.argmax(comparison.log_evidence))])
    assert f"{comparison.log_evidence.max():.2f}" in lines[0]
    assert "±" not in lines[0]


def test_neither_units_nor_combinations_of_a_laws_rows_matter(comparison):
    """In thousandths of its unit, or as sum and difference of its rows, a law is the same law; the
    density of its values is not.
    """
    thousandths = bc.Constraint(
        bc.functional(lambda u: 1000 * MASS(u), on=(N,)), 400.0, name="closed"
    )
    mix = jnp.array([[1.0, 1.0], [1.0, -1.0]])
    mixed = bc.Constraint(
        bc.functional(lambda u: mix @ jnp.stack([MASS(u), WALL(u)]), on=(N,)),
        mix @ jnp.array([0.4, 0.3]),
    )
    again = bc.compare_laws(belief(), {"closed": thousandths, "both": mixed}, READINGS)
    np.testing.assert_allclose(
        again.log_evidence, comparison.log_evidence[[0, 2]], rtol=0, atol=ROUNDING
    )
    own = [float(bc.log_evidence(belief(), law)) for law in (CLOSED, thousandths)]
    assert own[0] - own[1] == pytest.approx(np.log(1000))


def test_a_law_stated_twice_is_the_law(comparison):
    again = bc.compare_laws(belief(), {"once": CLOSED, "twice": CLOSED & CLOSED}, READINGS)
    np.testing.assert_allclose(
        again.log_evidence, comparison.log_evidence[0], rtol=0, atol=ROUNDING
    )


def test_exact_readings_that_no_law_fixes_are_compared():
    exact = bc.Constraint(READ, Y, name="readings")
    found = bc.compare_laws(belief(), {"closed": CLOSED, "no law": None}, exact)
    covariance = answer(KERNEL, (MASS, 0.4, 0))
    oracle = stats.multivariate_normal.logpdf(
        Y, covariance.mean[PLACES], covariance.covariance[np.ix_(PLACES, PLACES)]
    )
    assert found.log_evidence[0] == pytest.approx(oracle, abs=100 * ROUNDING)


# --- Programs
# -----------------------------------------------------------------------------


def imposed(law):
    """The statements of a constraint, imposed."""
    return lambda u: [
        bc.impose(m.name, m.functional, u, m.value) for m in ([] if law is None else law.members)
    ]


def leaky(u):
    """Some unknown share of the total has gone."""
    lost = numpyro.sample("lost", dist.HalfNormal(0.5))
    bc.impose("leaky", MASS, u, 0.4 * (1 - lost))


def program(law, y, likelihood=False):
    u = numpyro.sample("u", belief())
    law(u)
    if likelihood:
        numpyro.sample("readings", dist.Normal(u[PLACES], NOISE).to_event(1), obs=y)
    else:
        bc.observe("readings", READ, u, y, NOISE)


@pytest.mark.parametrize("likelihood", [False, True], ids=["statement", "likelihood"])
def test_programs_without_latents_are_compared_as_their_constraints(likelihood, comparison):
    laws = {name: imposed(law) for name, law in LAWS.items() if law is not None}
    found = bc.compare_laws(program, laws, Y, likelihood=likelihood)
    np.testing.assert_allclose(
        found.log_evidence, comparison.log_evidence[:3], rtol=0, atol=ROUNDING
    )
    assert (found.error == 0).all()


def by_quadrature() -> float:
    """Log p(y | leaky), the unknown share integrated over on a fine grid."""
    lost = np.linspace(0, 4, 801)
    gain = KERNEL @ (weights := row(MASS)[0]) / (weights @ KERNEL @ weights)
    given = answer(KERNEL, (MASS, 0.4, 0))
    covariance = given.covariance[np.ix_(PLACES, PLACES)] + NOISE**2 * np.eye(len(Y))
    means = given.mean[PLACES] - 0.4 * lost[:, None] * gain[PLACES]
    logs = stats.multivariate_normal.logpdf(
        Y - means, np.zeros(len(Y)), covariance
    ) + stats.halfnorm.logpdf(lost, scale=0.5)
    steps = np.gradient(lost) * np.where(
        np.isin(np.arange(lost.size), [0, lost.size - 1]), 0.5, 1.0
    )
    return float(logsumexp(logs, b=steps))


def test_a_law_with_an_unknown_of_its_own_is_averaged_over_it(comparison):
    found = bc.compare_laws(
        program, {"closed": imposed(CLOSED), "leaky": leaky}, Y, latent_draws=4000, key=KEY
    )
    assert found.log_evidence[0] == pytest.approx(comparison.log_evidence[0], abs=ROUNDING)
    assert found.error[0] == 0
    assert 0 < found.error[1] < 0.05
    # Six standard errors: a false alarm in 2e-9 of seeds.
    assert abs(found.log_evidence[1] - by_quadrature()) < 6 * found.error[1]
    assert found.pareto_k[1] < 0.7
    assert "±" in next(line for line in str(found).splitlines() if line.startswith("leaky"))


def test_the_error_told_is_the_spread_over_keys():
    runs = [
        bc.compare_laws(program, {"a": leaky, "b": leaky}, Y, latent_draws=100, key=k)
        for k in jax.random.split(KEY, 20)
    ]
    evidence = np.concatenate([r.log_evidence for r in runs])
    told = np.sqrt(np.mean(np.concatenate([r.error for r in runs]) ** 2))
    # The variance of 40 numbers over its expectation: chi squared, within these bounds but for one
    # seed in a thousand on each side; 20 % for the delta method at 100 draws.
    low, high = np.sqrt(stats.chi2.ppf([1e-3, 1 - 1e-3], 39) / 39)
    assert 0.8 * low < evidence.std(ddof=1) / told < 1.2 * high


# --- Nested sampling knows nothing of conditioning
# ------------------------------------------------------------------------------------

LIVE, DELETED, STEPS = 200, 40, 70


def nested(law, latents: tuple[str, ...]) -> tuple[float, float]:
    """Log p(y | law) and its standard error by BlackJAX's nested slice sampling on the exact
    reading.
    """
    read = bc.exact(functools.partial(program, law, likelihood=True))

    def sites(z):
        given = {
            "u_free": z[:N],
            **{name: jnp.abs(z[N + i]) * 0.5 for i, name in enumerate(latents)},
        }
        return handlers.trace(handlers.seed(handlers.substitute(read, data=given), 0)).get_trace(Y)

    def log_likelihood(z):
        site = sites(z)["readings"]
        return site["fn"].log_prob(site["value"])

    def log_prior(z):
        return jnp.sum(jax.scipy.stats.norm.logpdf(z))

    sampler = blackjax.nss(
        log_prior, log_likelihood, num_inner_steps=2 * (N + len(latents)), num_delete=DELETED
    )
    start, run = jax.random.split(jax.random.key(1))

    @jax.jit
    def integrate(keys):
        state = sampler.init(jax.random.normal(start, (LIVE, N + len(latents))), rng_key=start)
        state, dead = jax.lax.scan(lambda state, key: sampler.step(key, state), state, keys)
        return state.integrator, dead.particles.loglikelihood

    found, likelihoods = integrate(jax.random.split(run, STEPS))
    evidence = float(jnp.logaddexp(found.logZ, found.logZ_live))
    assert float(found.logZ_live) < evidence - 5  # all but e^-5 of the evidence is behind
    volumes = -np.arange(1, likelihoods.size + 1) / LIVE
    weights = np.exp(np.sort(np.ravel(likelihoods)) + volumes - np.log(LIVE) - evidence)
    information = np.sum(weights * (np.sort(np.ravel(likelihoods)) - evidence))
    return evidence, float(np.sqrt(information / LIVE))


@pytest.mark.broadcasts  # blackjax.nss counts live points with column_stack, and steps along rows
@pytest.mark.parametrize(
    ("law", "latents"), [(imposed(CLOSED), ()), (leaky, ("lost",))], ids=["closed", "leaky"]
)
def test_nested_sampling_finds_the_same_evidence(law, latents, comparison):
    evidence, error = nested(law, latents)
    oracle = by_quadrature() if latents else comparison.log_evidence[0]
    assert 0 < error < 0.25
    # Skilling's error, four of it: a false alarm in 6e-5 of seeds.
    assert abs(evidence - oracle) < 4 * error


# --- What cannot be compared
# -----------------------------------------------------------------------------


def differing(where):
    """A program whose two laws do not share what is observed."""

    def stated(law, y):
        u = numpyro.sample("u", belief())
        if where == "site":
            (bc.observe if law else bc.impose)("mass", MASS, u, 0.4)
        if where == "functional":
            bc.observe("law", MASS if law else WALL, u, 0.4)
        bc.observe("readings", READ, u, y + (0.1 if law and where == "value" else 0.0), NOISE)

    return stated


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bc.compare_laws(belief(), {"closed": CLOSED}, READINGS), "two laws or more, by name"),
        (lambda: bc.compare_laws(belief(), LAWS), "give the readings as one constraint"),
        (lambda: bc.compare_laws(belief(), LAWS, Y), "give the readings as one constraint"),
        (lambda: bc.compare_laws(differing("site"), {"a": True, "b": False}, Y), r"'mass' is observed under 'a' and not under 'b'.*impose"),
        (lambda: bc.compare_laws(differing("functional"), {"a": True, "b": False}, Y), r"'law' is observed exactly.*different units"),
        (lambda: bc.compare_laws(differing("value"), {"a": True, "b": False}, Y), r"'readings' has one value under 'a' and another"),
        (lambda: bc.compare_laws(lambda law: law(numpyro.sample("u", belief())), {"a": imposed(CLOSED), "b": imposed(FIXED)}), "nothing"),
        (lambda: bc.compare_laws(program, {"closed": imposed(CLOSED), "leaky": leaky}, Y), "latents above its fields"),
        (
            lambda: bc.compare_laws(belief(), {"fixed": FIXED, "no law": None}, bc.Constraint(WALL, 0.3, name="wall")),
            r"exact reading wall is fixed by 'fixed' and free under another",
        ),
    ],
)  # fmt: skip
def test_what_is_not_comparable_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_neither_belief_nor_program_is_refused():
    with pytest.raises(TypeError):
        bc.compare_laws(3.0, LAWS, READINGS)


@pytest.mark.parametrize("common", [belief(), program], ids=["belief", "program"])
def test_a_law_that_contradicts_itself_is_named(common):
    laws = {"fixed": FIXED, "impossible": CLOSED & bc.Constraint(MASS, 0.5, name="other")}
    of_program = common is program
    laws, readings = (
        ({name: imposed(law) for name, law in laws.items()}, Y) if of_program else (laws, READINGS)
    )
    with pytest.raises(bc.InconsistentConstraintsError, match="contradicts") as caught:
        bc.compare_laws(common, laws, readings)
    assert "under the law 'impossible'" in caught.value.__notes__[0]
