"""Laws of the soft reading: plain noise, whose limit is the exact reading; and the guard against
stiffness.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer import MCMC, NUTS
from scipy import linalg, stats

import bayescons as bc
from tests.readings import (
    EPS,
    GRID,
    KERNEL,
    MASS,
    MEAN,
    ROUNDING,
    WALL,
    N,
    answer,
    log_joint,
    log_normal,
    row,
    sites,
)

TOTAL, WALL_VALUE = 0.4, 0.3
WEIGHTS = row(MASS)[0]
ORIGIN = np.zeros(N)


def linear(state=bc.observe, scale=None):
    u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), jitter=0.0))
    state("mass", MASS, u, TOTAL, scale)
    bc.observe("wall", WALL, u, WALL_VALUE, scale)


def hierarchical(state=bc.observe):
    tau = numpyro.sample("tau", dist.LogNormal(0.0, 0.5))
    u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), scale=tau, jitter=0.0))
    state("mass", MASS, u, TOTAL)


def gaussian(density):
    """Mean, covariance and log integral of exp(density), a parabola in the field."""
    derivatives = jax.jit(lambda u: (density(u), jax.grad(density)(u), -jax.hessian(density)(u)))
    value, gradient, precision = map(np.asarray, derivatives(ORIGIN))
    covariance = np.linalg.inv(precision)
    mean = covariance @ gradient
    top = value + gradient @ mean / 2
    return (
        mean,
        covariance,
        float(top + (N * np.log(2 * np.pi) - np.linalg.slogdet(precision)[1]) / 2),
    )


def test_a_soft_program_is_its_facts_with_noise():
    mean, covariance, evidence = gaussian(lambda u: log_joint(bc.soft(linear, 0.05), u=u))
    expected = answer(KERNEL, (MASS, TOTAL, 0.05), (WALL, WALL_VALUE, 0.05))
    # The precision is the kernel's plus 1 / scale², condition number below 1e4.
    assert np.abs(mean - expected.mean).max() <= 100 * ROUNDING
    assert np.abs(covariance - expected.covariance).max() <= 100 * ROUNDING
    assert abs(evidence - expected.log_evidence) <= 100 * ROUNDING


def test_the_soft_reading_tends_to_the_exact_one_like_the_square_of_the_scale():
    exact = answer(KERNEL, (MASS, TOTAL, 0), (WALL, WALL_VALUE, 0))
    scales = np.array([0.05, 0.025, 0.0125])
    errors = []
    for scale in scales:
        mean, covariance, evidence = gaussian(
            lambda u, scale=scale: log_joint(bc.soft(linear, scale), u=u)
        )
        size = [
            np.abs(mean - exact.mean).max(),
            np.abs(covariance - exact.covariance).max(),
            abs(evidence - exact.log_evidence),
        ]
        errors.append(size)
    # An error a s² + b s⁴ with b s² below a tenth of a has a slope between 1.9 and 2.
    orders = np.polyfit(np.log(scales), np.log(errors), 1)[0]
    assert (np.abs(orders - 2) <= 0.1).all()


def test_the_finite_scales_of_a_statement_tend_to_the_exact_one_in_closed_form():
    exact = answer(KERNEL, (MASS, TOTAL, 0), (WALL, WALL_VALUE, 0))
    solve = jax.jit(
        lambda scale: (lambda p: (p.mean["u"], p.variance["u"]))(bc.conjugate(linear)(scale=scale))
    )
    scales = np.array([1e-2, 1e-3, 1e-4])
    errors = [
        [np.abs(mean - exact.mean).max(), np.abs(variance - np.diag(exact.covariance)).max()]
        for mean, variance in map(solve, scales)
    ]
    orders = np.polyfit(np.log(scales), np.log(errors), 1)[0]
    assert (np.abs(orders - 2) <= 0.1).all()


def test_statements_with_a_scale_of_their_own_keep_it():
    u = np.linspace(0, 1, N)
    own = log_joint(linear, bc.observe, 0.3, u=u)
    assert abs(log_joint(bc.soft(linear, 0.05), bc.observe, 0.3, u=u) - own) <= ROUNDING * abs(own)


@pytest.mark.parametrize(("state", "learns"), [(bc.observe, 1.0), (bc.impose, 0.0)])
def test_the_amplitude_learns_from_what_is_observed_and_keeps_its_prior_under_what_is_imposed(
    state, learns
):
    for tau in (0.5, 1.5):
        integral = gaussian(
            lambda u, tau=tau: log_joint(bc.soft(hierarchical, 0.05), state, tau=tau, u=u)
        )[2]
        evidence = answer(tau**2 * KERNEL, (MASS, TOTAL, 0.05)).log_evidence
        assert abs(integral - stats.lognorm.logpdf(tau, 0.5) - learns * evidence) <= 100 * ROUNDING


def test_several_imposed_facts_take_out_their_joint_evidence():
    def program():
        u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), jitter=0.0))
        bc.impose("mass", MASS, u, TOTAL)
        bc.impose("wall", WALL, u, WALL_VALUE)
        bc.observe("probe", lambda u: u[5], u, 0.6)

    facts = [(MASS, TOTAL, 0.05), (WALL, WALL_VALUE, 0.05)]
    evidence = (
        answer(KERNEL, *facts, (lambda u: u[5], 0.6, 0.05)).log_evidence
        - answer(KERNEL, *facts).log_evidence
    )
    assert (
        abs(gaussian(lambda u: log_joint(bc.soft(program, 0.05), u=u))[2] - evidence)
        <= 100 * ROUNDING
    )


@pytest.mark.parametrize(
    "functional", [MASS, lambda u: u @ jnp.asarray(WEIGHTS)], ids=["functional", "function"]
)
@pytest.mark.parametrize("inside", [True, False])
def test_every_field_of_a_plate_has_its_own_noisy_fact(functional, inside):
    totals, fields = jnp.array([0.1, 0.2, 0.3]), jnp.linspace(0, 1, 3 * N).reshape(3, N)

    def program():
        with numpyro.plate("fields", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, N)), 1.0).to_event(1))
            if inside:
                bc.observe("mass", functional, u, totals)
        if not inside:
            bc.observe("mass", functional, u, totals)

    expected = (
        stats.norm.logpdf(fields).sum() + stats.norm.logpdf(totals, fields @ WEIGHTS, 0.1).sum()
    )
    assert abs(log_joint(bc.soft(program, 0.1), u=fields) - expected) <= ROUNDING * abs(expected)


def test_fields_tied_by_a_function_have_a_noisy_balance():
    def program():
        u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 1.0).to_event(1))
        flux = numpyro.sample("flux", dist.Normal(0.0, 1.0))
        bc.observe("balance", lambda u, flux: MASS(u) + flux, (u, flux), 0.9)

    u = np.linspace(0, 1, N)
    expected = (
        stats.norm.logpdf(u).sum()
        + stats.norm.logpdf(0.2)
        + stats.norm.logpdf(0.9, WEIGHTS @ u + 0.2, 0.1)
    )
    assert abs(log_joint(bc.soft(program, 0.1), u=u, flux=0.2) - expected) <= ROUNDING * abs(
        expected
    )


def shifted():
    """One field, its end told by a functional with a constant."""
    u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), jitter=0.0))
    bc.observe("end", bc.functional(lambda u: 5.0 + u[-1], GRID), u, 5.4, 0.2)


def tied():
    """Two fields tied by a function with a constant, and the end of one of them told by a
    functional with another.
    """
    u = numpyro.sample("u", dist.MultivariateNormal(MEAN[:5], KERNEL[:5, :5]))
    v = numpyro.sample("v", dist.MultivariateNormal(MEAN[5:], KERNEL[5:, 5:]))
    bc.observe("tie", lambda u, v: 2.0 + u.sum() - v.sum(), (u, v), 1.7, 0.3)
    bc.observe("end", bc.functional(lambda v: 5.0 + v[-1], (N - 5,)), v, 5.4, 0.2)


END = (lambda u: u[-1], 0.4, 0.2)
APART = linalg.block_diag(KERNEL[:5, :5], KERNEL[5:, 5:])


@pytest.mark.parametrize(
    ("program", "cut", "expected"),
    [
        (shifted, None, answer(KERNEL, END)),
        (tied, 5, answer(APART, (lambda both: both[:5].sum() - both[5:].sum(), -0.3, 0.3), END)),
    ],
    ids=["one field", "several fields"],
)
def test_soft_exact_and_conjugate_agree_on_a_functional_with_a_constant(program, cut, expected):
    """With a scale of its own a statement is the same fact in every reading: f(u) = c + G u is
    stated, not G u.
    """
    names = ["u"] if cut is None else ["u", "v"]
    mean, covariance, evidence = gaussian(
        lambda both: log_joint(
            bc.soft(program), **dict(zip(names, jnp.split(both, [cut] if cut else []), strict=True))
        )
    )
    free = f"{'_'.join(names)}_free"
    origin = jnp.zeros(sites(bc.exact(program))[free].shape)
    exact = sites(bc.exact(program), given={free: origin})
    posterior = bc.conjugate(program)()
    means = [mean, np.concatenate([exact[name] for name in names]), posterior.components[0].mean]
    evidences = [
        evidence,
        log_joint(bc.exact(program), **{free: origin}) - log_normal(origin),
        posterior.log_evidence,
    ]
    assert all(np.abs(found - expected.mean).max() <= 100 * ROUNDING for found in means)
    assert all(abs(found - expected.log_evidence) <= 100 * ROUNDING for found in evidences)
    assert np.abs(covariance - expected.covariance).max() <= 100 * ROUNDING
    assert (
        np.abs(posterior.components[0].variance - np.diag(expected.covariance)).max()
        <= 100 * ROUNDING
    )


def test_a_prior_predictive_draw_of_a_statement_is_the_value_of_its_functional():
    def program():
        u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 1.0).to_event(1))
        bc.observe("end", bc.functional(lambda u: 5.0 + u[-1], GRID), u, 5.4)

    found = sites(handlers.uncondition(program))
    assert abs(found["end"] - 5.0 - found["u"][-1]) <= 16 * EPS


def test_a_quadrature_scale_is_that_of_the_prior():
    belief, u = bc.diagonal(MEAN, 0.7), np.linspace(0, 1, N)

    def program():
        bc.observe("mass", MASS, numpyro.sample("u", belief), TOTAL, scale="quadrature")

    scale = float(bc.quadrature_scale(belief, MASS))
    expected = stats.norm.logpdf(u, MEAN, 0.7).sum() + stats.norm.logpdf(TOTAL, WEIGHTS @ u, scale)
    assert abs(log_joint(bc.soft(program), u=u) - expected) <= ROUNDING * abs(expected)


def test_neither_gaussian_nor_affine_is_needed_to_observe_softly():
    def program():
        u = numpyro.sample("u", dist.StudentT(3.0, jnp.zeros(N), 1.0).to_event(1))
        bc.observe("energy", lambda u: jnp.sum(u**2), u, 2.0)

    u = np.linspace(0, 1, N)
    expected = stats.t.logpdf(u, 3).sum() + stats.norm.logpdf(2.0, u @ u, 0.1)
    assert abs(log_joint(bc.soft(program, 0.1), u=u) - expected) <= ROUNDING * abs(expected)


@pytest.mark.parametrize(
    ("state", "scale", "what"),
    [(bc.impose, None, "impose"), (bc.observe, "quadrature", "scale='quadrature'")],
)
def test_what_needs_the_fields_belief_says_so(state, scale, what):
    def program():
        state(
            "mass",
            MASS,
            numpyro.sample("u", dist.StudentT(3.0, jnp.zeros(N), 1.0).to_event(1)),
            TOTAL,
            scale,
        )

    with pytest.raises(
        TypeError,
        match=f"'mass': {what} under bc.soft needs one Gaussian field and an affine functional",
    ):
        log_joint(bc.soft(program, 0.1), u=np.zeros(N))


@pytest.mark.parametrize("scale", [0.0, -0.1, float("nan")])
def test_a_soft_reading_needs_noise(scale):
    with pytest.raises(
        ValueError, match=r"scale above zero; got .*For vanishing noise use bc\.exact\(program\)"
    ):
        bc.soft(linear, scale)


def test_sampling_a_stiff_program_warns_once_and_by_name():
    program = bc.soft(lambda: linear(lambda *args: bc.observe(*args[:4], 0.1)), 1e-3)
    mcmc = MCMC(NUTS(program, max_tree_depth=2), num_warmup=2, num_samples=2, progress_bar=False)
    with pytest.warns(bc.StiffnessWarning) as caught:
        mcmc.run(jax.random.key(0))
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "'wall' is read softly with scale 1.0e-03" in message
    assert "bc.exact(program)" in message


def test_a_stiff_hierarchical_program_warns():
    with pytest.warns(bc.StiffnessWarning, match="'mass'"):
        log_joint(bc.soft(hierarchical, 1e-4), tau=1.0, u=np.zeros(N))


def test_a_scale_of_a_tenth_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log_joint(bc.soft(linear, 1e-1), u=np.zeros(N))
