"""Suspects: the chi-square and the evidence are the textbook's, a turned sign is named, and right
budgets are left alone at the stated rate.
"""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import bayescons as bc
from bayescons.diagnostics import suspects

NAMES = ("rn", "h", "le", "g")
POINTS = 150
CORRELATION = np.array(
    [[1.0, 0.4, 0.3, 0.0], [0.4, 1.0, -0.3, 0.1], [0.3, -0.3, 1.0, 0.0], [0.0, 0.1, 0.0, 1.0]]
)
SPREAD = np.array([10.0, 15.0, 15.0, 5.0])
CLOSES = bc.functional(lambda u: u[0] - u[1] - u[2] - u[3], (4, POINTS))
LAW = bc.Constraint(CLOSES, 0.0, name="energy")
ROW = np.array([1.0, -1.0, -1.0, -1.0])


def budget(seed: int, turned: str | None = None) -> bc.Gaussian:
    """Measured terms of a budget that closes, with correlated errors."""
    rng = np.random.default_rng(seed)
    season = np.cos(np.linspace(0, 12 * np.pi, POINTS))
    h, le, g = 40 + 30 * season, 50 + 20 * season, 15 * season
    truth = np.stack([h + le + g, h, le, g])
    errors = np.linalg.cholesky(CORRELATION) @ rng.normal(size=truth.shape)
    measured = truth + SPREAD[:, None] * errors
    if turned is not None:
        measured[NAMES.index(turned)] *= -1
    return bc.gaussians.correlated(measured, SPREAD[:, None] * np.ones((1, POINTS)), CORRELATION)


def by_hand(belief) -> tuple[float, float, float]:
    """Chi-square, log evidence, and variance of the residual at a point."""
    s = ROW @ (np.outer(SPREAD, SPREAD) * CORRELATION) @ ROW
    residual = -(ROW @ np.asarray(belief.mean))
    return (
        float(np.sum(residual**2) / s),
        float(scipy.stats.norm.logpdf(residual, scale=np.sqrt(s)).sum()),
        float(s),
    )


@pytest.mark.parametrize("turned", [None, "g"])
def test_chi_square_gains_and_adjustments_are_the_textbooks(turned):
    belief = budget(1, turned)
    found = suspects(belief, LAW, NAMES)
    chi_square, evidence, s = by_hand(belief)
    np.testing.assert_allclose(found.chi_square, chi_square, rtol=1e-10)
    assert found.rows == POINTS
    np.testing.assert_allclose(found.p_value, scipy.stats.chi2.sf(chi_square, POINTS), rtol=1e-8)
    for number, name in enumerate(NAMES):
        sign = np.ones((4, 1))
        sign[number] = -1
        other = by_hand(bc.Gaussian(sign * belief.mean, belief.covariance))[1]
        np.testing.assert_allclose(found.terms[name].gain, other - evidence, rtol=1e-8)
    # one law of one row at each point: every term is adjusted in proportion to the residual
    for name in NAMES:
        np.testing.assert_allclose(found.terms[name].adjustment, chi_square / POINTS, rtol=1e-8)
    assert list(found.terms) == sorted(NAMES, key=lambda n: -found.terms[n].gain)
    del s


@pytest.mark.parametrize("name", NAMES)
def test_a_turned_sign_is_named(name):
    assert suspects(budget(2, name), LAW, NAMES).named == name


def test_right_budgets_are_left_alone():
    """At most one in 1,000 is named by chance; of 40 none, but in one run of 25."""
    assert all(suspects(budget(seed), LAW, NAMES).named is None for seed in range(100, 140))


def test_halves_add_up_to_the_whole():
    belief = budget(3, "g")
    whole = suspects(belief, LAW, NAMES)
    half = POINTS // 2
    closes = bc.functional(lambda u: u[0] - u[1] - u[2] - u[3], (4, half))
    parts = []
    for cut in (slice(0, half), slice(half, None)):
        spread = SPREAD[:, None] * np.ones((1, half))
        part = bc.gaussians.correlated(belief.mean[:, cut], spread, CORRELATION)
        parts.append(suspects(part, bc.Constraint(closes, 0.0), NAMES))
    both = parts[0] + parts[1]
    np.testing.assert_allclose(both.chi_square, whole.chi_square, rtol=1e-10)
    assert both.rows == whole.rows
    assert both.named == whole.named == "g"
    for name in NAMES:
        np.testing.assert_allclose(both.terms[name].gain, whole.terms[name].gain, rtol=1e-8)
        np.testing.assert_allclose(
            both.terms[name].adjustment, whole.terms[name].adjustment, rtol=1e-8
        )


def test_the_axis_of_the_terms_may_be_any_and_laws_may_be_noisy():
    measured = np.array([[100.0, 30.0, 60.0, -10.0]]) + np.zeros((POINTS, 4))
    belief = bc.diagonal(jnp.asarray(measured), 2.0)
    closes = bc.functional(lambda u: u[:, 0] - u[:, 1:].sum(1), (POINTS, 4))
    found = suspects(belief, bc.Constraint(closes, 0.0, 1.0), NAMES, axis=1)
    assert found.named == "g"
    np.testing.assert_allclose(found.chi_square, POINTS * 20.0**2 / (4 * 2.0**2 + 1), rtol=1e-10)
    assert suspects(belief, bc.Constraint(closes, 0.0, 1.0), NAMES, axis=-1).named == "g"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"terms": ("rn", "h", "le")}, "3 terms are named"),
        ({"terms": ("rn", "h", "le", "le")}, "a name of its own"),
        ({"axis": 3}, "axis 3 shall count them"),
        ({"false_alarm": 0.0}, "a probability above zero"),
        ({"alike": 0.5}, "one or more"),
        ({"belief": bc.diagonal(np.zeros((2, 4, POINTS)), 1.0, batch_dims=1)}, "is a batch"),
    ],
)
def test_what_cannot_be_suspected_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        suspects(**{"belief": budget(0), "laws": LAW, "terms": NAMES, **change})


def test_points_that_are_alike_count_as_one():
    """Every point copied five times: with five alike, evidence and p-value are those of one each."""
    belief, few = budget(5, "g"), POINTS // 5
    one = bc.gaussians.correlated(
        belief.mean[:, :few], SPREAD[:, None] * np.ones((1, few)), CORRELATION
    )
    copied = bc.gaussians.correlated(
        jnp.tile(belief.mean[:, :few], (1, 5)), SPREAD[:, None] * np.ones((1, POINTS)), CORRELATION
    )
    closes = bc.functional(lambda u: u[0] - u[1] - u[2] - u[3], (4, few))
    plain = suspects(one, bc.Constraint(closes, 0.0), NAMES)
    alike = suspects(copied, LAW, NAMES, alike=5.0)
    for name in NAMES:
        np.testing.assert_allclose(alike.terms[name].gain, plain.terms[name].gain, rtol=1e-8)
    np.testing.assert_allclose(alike.p_value, plain.p_value, rtol=1e-8)


def test_suspects_of_other_terms_do_not_add_up():
    one = suspects(budget(0), LAW, NAMES)
    other = suspects(budget(0), LAW, ("a", "b", "c", "d"))
    with pytest.raises(ValueError, match="same terms"):
        _ = one + other
