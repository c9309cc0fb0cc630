"""A posterior goes on: one fact more, the prior of the next program, inequalities - against the
program that states everything at once, and rejection sampling.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayescons as bc
from bayescons.restrictions import at_least, at_most, nonnegative, truncated

KEY = jax.random.key(5)
EPS = float(np.finfo(float).eps)
ROUNDING = 200 * EPS
THREE, TWO = bc.Grid(x=[0.0, 0.5, 1.0]), bc.Grid(x=[0.0, 1.0])


def program(more=()):
    """Two fields tied together, a third read at one point; and what else is stated."""
    fields = {
        "u": numpyro.sample("u", bc.diagonal(jnp.array([0.3, -0.2, 0.1]), 1.0)),
        "v": numpyro.sample("v", bc.diagonal(jnp.ones(2), 2.0)),
        "w": numpyro.sample("w", bc.diagonal(jnp.ones(2), jnp.array([0.5, 1.5]))),
    }
    bc.observe("tie", lambda u, v: u.sum() - v.sum(), (fields["u"], fields["v"]), 1.0)
    bc.observe("reading", lambda w: w[0], fields["w"], 0.5, scale=0.1)
    for name, functional, about, value, scale in more:
        given = fields[about] if isinstance(about, str) else tuple(fields[n] for n in about)
        bc.observe(name, functional, given, value, scale=scale)


MORE = [
    ("ends", lambda u: u[jnp.array([0, 2])], "u", jnp.array([0.1, 0.4]), None),
    ("integral", bc.integral(THREE), "u", 0.7, 0.2),
    ("total of the third", lambda w: w.sum(), "w", 2.0, None),
    ("across", lambda w, u: w.sum() + 2 * u[0], ("w", "u"), 2.0, 0.3),
    ("across, the other way", lambda v, w: v - w, ("v", "w"), jnp.array([0.2, -0.1]), None),
]


def agree(found, expected):
    for name in expected.mean:
        assert np.abs(found.mean[name] - expected.mean[name]).max() <= ROUNDING
        assert np.abs(found.variance[name] - expected.variance[name]).max() <= ROUNDING
    evidence = float(jnp.sum(expected.log_evidence))
    missed = abs(float(jnp.sum(found.log_evidence)) - evidence)
    assert missed <= ROUNDING * (1 + abs(evidence))


@pytest.mark.parametrize("more", MORE, ids=[m[0] for m in MORE])
def test_one_fact_more_is_as_if_it_had_been_stated_at_once(more):
    agree(bc.conjugate(program)().observe(*more), bc.conjugate(program)([more]))


def test_facts_come_in_any_order_and_several_at_once():
    first = bc.conjugate(program)()
    forth, back = first, first
    for fact in MORE[:4]:
        forth = forth.observe(*fact)
    for fact in MORE[3::-1]:
        back = back.observe(*fact)
    agree(forth, back)
    agree(forth, bc.conjugate(program)(MORE[:4]))


def test_a_posterior_of_one_field_takes_a_fact_by_a_bar():
    def one(total=None):
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
        bc.observe("first", lambda u: u[0], u, 1.0)
        if total is not None:
            bc.observe("total", bc.integral(THREE), u, total)

    fact = bc.Constraint(bc.integral(THREE), 0.3, name="total")
    agree(bc.conjugate(one)() | fact, bc.conjugate(one)(0.3))


@pytest.mark.parametrize("inside", [True, False])
def test_a_fact_about_a_plate_of_fields_sees_all_members(inside):
    """Functions couple members; a functional that carries its own shape is about each."""
    values = jnp.arange(4.0)

    def plates(more=False):
        with numpyro.plate("case", 4):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((4, 3)), 1.0).to_event(1))
            if more and inside:
                bc.observe("heat", bc.integral(THREE), u, values)
        if more and not inside:
            bc.observe("over cases", lambda u: u.sum(0), u, jnp.ones(3))
        bc.observe("first", lambda u: u[:, 0], u, 0.5 * values, scale=0.1)

    fact = (bc.integral(THREE), "u", values) if inside else (lambda u: u.sum(0), "u", jnp.ones(3))
    agree(bc.conjugate(plates)().observe("fact", *fact), bc.conjugate(plates)(True))


def test_a_mixture_weighs_its_draws_by_the_new_fact():
    """Twenty draws, too few to be smoothed: the weights are the products themselves."""

    def mixed(total=None):
        s = numpyro.sample("s", dist.LogNormal(0.0, 0.5))
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), s * jnp.ones(3)))
        bc.observe("first", lambda u: u[0], u, 1.0)
        if total is not None:
            bc.observe("total", bc.integral(THREE), u, total)

    solve = bc.conjugate(mixed, latent_draws=20, key=KEY)
    found = solve() | bc.Constraint(bc.integral(THREE), 0.3, name="total")
    expected = solve(0.3)
    agree(found, expected)
    assert np.abs(found.weights - expected.weights).max() <= ROUNDING
    assert np.abs(jax.vmap(bc.integral(THREE))(found.sample(KEY, 50)["u"]) - 0.3).max() <= 1e-12


def test_a_mixture_ties_fields_that_stood_apart():
    """Below the same draws of the latent, as one program that states the tie itself."""

    def apart(tie=False):
        s = numpyro.sample("s", dist.LogNormal(0.0, 0.5))
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), s * jnp.ones(3)))
        v = numpyro.sample("v", bc.diagonal(jnp.full(2, s), jnp.ones(2)))
        bc.observe("of u", lambda u: u[0], u, 1.0)
        bc.observe("of v", lambda v: v.sum(), v, 0.5, scale=0.1)
        if tie:
            bc.observe("tie", lambda v, u: v[0] - u.sum(), (v, u), 0.2)

    solve = bc.conjugate(apart, latent_draws=20, key=KEY)
    found = solve().observe("tie", lambda v, u: v[0] - u.sum(), ("v", "u"), 0.2)
    expected = solve(True)
    agree(found, expected)
    assert np.abs(found.weights - expected.weights).max() <= ROUNDING
    drawn = found.sample(KEY, 40)
    assert np.abs(drawn["v"][:, 0] - drawn["u"].sum(-1) - 0.2).max() <= 1e-12


def test_a_fact_that_few_draws_foresee_is_warned_of():
    def mixed():
        m = numpyro.sample("m", dist.Normal(0.0, 10.0))
        u = numpyro.sample("u", bc.diagonal(jnp.full(3, m), 0.1))
        bc.impose("first", lambda u: u[0] - u[1], u, 0.0)

    posterior = bc.conjugate(mixed, latent_draws=64, key=KEY)()
    with pytest.warns(bc.UnreliableWeightsWarning, match="of 64 draws count"):
        posterior.observe("total", lambda u: u.sum(), "u", 75.0)


def test_the_joint_gaussian_of_tied_fields_is_the_prior_of_the_next_program():
    first = bc.conjugate(program)()

    def following():
        both = numpyro.sample("both", first["u", "v"])
        bc.observe("ends", lambda z: z[jnp.array([0, 2])], both, jnp.array([0.1, 0.4]))

    found, expected = bc.conjugate(following)(), bc.conjugate(program)(MORE[:1])
    together = np.concatenate([expected.mean["u"], expected.mean["v"]])
    assert np.abs(found.mean["both"] - together).max() <= ROUNDING
    gained = expected.log_evidence - first.log_evidence
    assert abs(float(found.log_evidence - gained)) <= ROUNDING


def test_independent_fields_lie_end_to_end_in_the_order_that_is_asked_for():
    def apart():
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
        v = numpyro.sample("v", bc.diagonal(jnp.ones(2), 2.0))
        bc.observe("of u", lambda u: u.sum(), u, 1.0)
        bc.observe("of v", lambda v: v[0], v, 1.0)

    posterior = bc.conjugate(apart)()
    both = posterior["v", "u"]
    expected = np.concatenate([posterior.variance["v"], posterior.variance["u"]])
    assert np.abs(both.variance - expected).max() <= ROUNDING
    assert np.abs(both.sample(KEY, (9,))[:, 2:].sum(-1) - 1).max() <= 20 * EPS


@pytest.mark.parametrize("name", ["u", "v"])
def test_a_marginal_is_the_joint_without_the_others(name):
    posterior = bc.conjugate(program)()
    marginal, joint = posterior.marginal(name), posterior["u", "v"]
    part = slice(0, 3) if name == "u" else slice(3, 5)
    covariance = jax.vmap(joint.covariance.mv)(jnp.eye(5))[part, part]
    assert marginal.event_shape == posterior.mean[name].shape
    assert np.abs(marginal.mean - posterior.mean[name]).max() == 0
    assert np.abs(marginal.variance - posterior.variance[name]).max() <= ROUNDING
    assert np.abs(
        jax.vmap(marginal.covariance.mv)(jnp.eye(len(covariance))) - covariance
    ).max() <= (ROUNDING)
    assert marginal.sample(KEY, (4,)).shape == (4, len(covariance))
    once = posterior.marginal("w")
    assert np.abs(once.variance - posterior.variance["w"]).max() == 0


def test_a_marginal_of_fields_tied_in_a_plate_keeps_members_apart():
    def plates():
        with numpyro.plate("case", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, 2)), 1.0).to_event(1))
            v = numpyro.sample("v", dist.Normal(jnp.zeros(3), 1.0))
            bc.observe("tie", lambda u, v: u.sum() - v, (u, v), jnp.arange(3.0))
        w = numpyro.sample("w", bc.diagonal(jnp.zeros(2), 1.0))
        bc.observe("known", lambda w: w[0], w, 1.0)

    posterior = bc.conjugate(plates)()
    marginal = posterior.marginal("u")
    assert marginal.event_shape == (3, 2)
    assert np.abs(marginal.variance - posterior.variance["u"]).max() <= ROUNDING
    assert marginal.covariance.independent == {0}
    across = posterior.observe("across", lambda u, w: u.sum() + w.sum(), ("u", "w"), 0.5)
    assert abs(across.mean["u"].sum() + across.mean["w"].sum() - 0.5) <= ROUNDING
    tied = across.mean["u"].sum(axis=1) - across.mean["v"]
    assert np.abs(tied - np.arange(3.0)).max() <= ROUNDING


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda p: p["u"], ValueError, r"'u' is tied to v: .*posterior\.marginal\('u'\)"),
        (lambda p: p["v", "u"], ValueError, r"write posterior\['u', 'v'\]"),
        (lambda p: p["u", "w"], ValueError, "'u' is tied to v"),
        (lambda p: p["x"], KeyError, "there is no field 'x'; there are u, v, w"),
        (lambda p: p["u", "u"], ValueError, "name each field once; got u, u"),
        (
            lambda p: p.observe("twice", lambda a, b: a - b, ("w", "w"), 0.0),
            ValueError,
            "name each field once",
        ),
        (lambda p: p.observe("none", lambda: 0.0, (), 0.0), ValueError, "got no field"),
        (
            lambda p: p.observe("complex", lambda w: w[0], "w", 1j),
            TypeError,
            "value of 'complex'.*complex",
        ),
        (
            lambda p: p.observe("shape", lambda w: w, "w", jnp.zeros(3)),
            ValueError,
            "value of 'shape' must have shape",
        ),
        (lambda p: p.observe("nan", lambda w: w[0], "w", jnp.nan), ValueError, "'nan'.* NaN"),
        (
            lambda p: p.observe("noise", lambda w: w[0], "w", 1.0, -0.1),
            ValueError,
            "scale of 'noise'",
        ),
        (lambda p: p.marginal("x"), KeyError, "there is no field 'x'"),
        (
            lambda p: p | bc.Constraint(bc.integral(THREE), 1.0),
            ValueError,
            r"several fields, u, v, w: say which",
        ),
        (
            lambda p: p.observe("one", lambda u: u[0], "x", 1.0),
            KeyError,
            "there is no field 'x'",
        ),
        (
            lambda p: p.observe("square", lambda u: u[0] ** 2, "u", 1.0),
            ValueError,
            "'square' is not affine",
        ),
        (
            lambda p: p.observe("again", lambda u, v: u.sum() - v.sum(), ("u", "v"), 2.0),
            bc.InconsistentConstraintsError,
            "again",
        ),
        (lambda p: p[0], TypeError, "expected the name of a field, or a tuple of names; got int"),
        (
            lambda p: p.observe("swapped", "u", lambda u: u[0], 1.0),
            TypeError,
            "expected the name of a field, or a tuple of names; got function",
        ),
        (
            lambda p: p.observe("number", 3.0, "w", 1.0),
            TypeError,
            "the functional of 'number' must be a functional or a function of the field; got float",
        ),
        (lambda p: truncated(p, w=3), TypeError, r"expected inequalities.*got int"),
        (lambda p: truncated(p["w"], 3), TypeError, r"expected inequalities.*got int"),
        (
            lambda p: truncated(p),
            ValueError,
            r"no inequality: write truncated\(posterior, u=\.\.\.",
        ),
        (
            lambda p: truncated(p, nonnegative(THREE)),
            ValueError,
            r"say which field each inequality is about, truncated\(posterior, u=\.\.\.\)",
        ),
        (lambda p: truncated(p, x=nonnegative(THREE)), KeyError, "there is no field 'x'"),
        (lambda p: truncated(p["u", "v"], u=nonnegative(THREE)), ValueError, "names a field of a"),
        (lambda p: truncated(p, u=nonnegative(TWO)), ValueError, "acts on fields of shape"),
    ],
)
def test_what_a_posterior_cannot_do_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call(bc.conjugate(program)())


def test_tied_fields_are_truncated_together():
    """Against rejection: means within 5 standard errors, a false alarm in 2e6 comparisons."""
    posterior = bc.conjugate(program)()
    everywhere = bc.functional(lambda v: v, TWO)
    law = truncated(posterior, u=nonnegative(THREE), v=at_most(everywhere, 1.0))
    drawn = law.sample(KEY, 2000)
    assert set(drawn) == {"u", "v"}
    assert float(drawn["u"].draws.min()) >= -EPS
    assert float(drawn["v"].draws.max()) <= 1 + 4 * EPS
    assert np.abs(drawn["u"].pooled.sum(-1) - drawn["v"].pooled.sum(-1) - 1).max() <= 200 * EPS
    plain = np.asarray(posterior["u", "v"].sample(jax.random.key(1), (400_000,)))
    kept = plain[(plain[:, :3] >= 0).all(1) & (plain[:, 3:] <= 1).all(1)]
    assert len(kept) > 5000
    for name, part in (("u", kept[:, :3]), ("v", kept[:, 3:])):
        pooled = np.asarray(drawn[name].pooled)
        error = np.sqrt(part.var(0) / len(part) + pooled.var(0) / drawn[name].ess)
        assert (np.abs(pooled.mean(0) - part.mean(0)) <= 5 * error).all()
    mode = law.mode
    assert float(mode["u"].min()) >= -EPS
    assert abs(float(mode["u"].sum() - mode["v"].sum()) - 1) <= 20 * EPS


def test_a_posterior_of_one_field_needs_no_name():
    def one():
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
        bc.observe("total", bc.integral(THREE), u, 0.2)

    posterior = bc.conjugate(one)()
    by_name = truncated(posterior, nonnegative(THREE)).sample(KEY, 200)["u"]
    alone = truncated(posterior["u"], nonnegative(THREE)).sample(KEY, 200)
    assert np.array_equal(by_name.draws, alone.draws)


def test_members_of_a_plate_are_truncated_one_by_one():
    def plates():
        with numpyro.plate("case", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, 2)), 1.0).to_event(1))
            bc.observe("total", lambda u: u.sum(), u, jnp.array([0.5, 1.0, 2.0]))

    everywhere = bc.functional(lambda u: u, TWO)
    law = truncated(bc.conjugate(plates)(), u=at_least(everywhere, 0.0))
    drawn = law.sample(KEY, 1000)["u"]
    assert law.law.walls.axes == (0,)
    assert float(drawn.draws.min()) >= -EPS
    assert np.abs(drawn.pooled.mean(0).sum(-1) - jnp.array([0.5, 1.0, 2.0])).max() <= 20 * EPS
