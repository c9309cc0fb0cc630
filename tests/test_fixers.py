"""Fixers are beliefs: a shift and a ratio are what their formulas say, sequences open what they have
closed, and the choice among beliefs leaves alone what it cannot mend.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bayescons as bc
from bayescons.gaussians import in_sequence, ratio, shift

EPS = float(np.finfo(float).eps)
# Sums over sixty numbers of order one, and a quotient of two of them.
SLACK = 1e-12
GRID = bc.Grid(t=np.array([0.0, 0.5, 2.0]), x=np.linspace(0, 1, 20) ** 2)
AREAS = np.random.default_rng(9).uniform(0.1, 2.0, GRID.shape)
TOTALS = {
    "integral": bc.integral(GRID, over=("t", "x")),
    "average": bc.average(GRID, over=("t", "x")),
    "areas": bc.integral(GRID, over=("t", "x"), measure=AREAS),
    "function": bc.functional(lambda u: 2 * u[1].sum() - u[0, 3], GRID),
}
MEAN = jnp.asarray(2 + np.random.default_rng(0).normal(size=GRID.shape))


def relative(a, b) -> float:
    return float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)))


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_a_shift_adds_the_gap_over_the_total_of_one(total, scale):
    of = TOTALS[total]
    found = bc.condition(shift(MEAN, scale), bc.Constraint(of, 7.0))
    right = MEAN + (7.0 - of(MEAN)) / of.linear(jnp.ones(GRID.shape))
    assert relative(found.mean, right) <= SLACK
    assert float(jnp.max(found.variance)) <= SLACK * scale**2


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_a_ratio_multiplies_by_the_total_over_what_it_was(total, scale):
    of = TOTALS[total]
    found = bc.condition(ratio(MEAN, scale), bc.Constraint(of, 7.0))
    assert relative(found.mean, MEAN * 7.0 / of(MEAN)) <= SLACK


@pytest.mark.parametrize("fixer", [shift, ratio])
def test_one_number_for_each_time_obeys_a_total_at_each_time(fixer):
    of, values = bc.integral(GRID), jnp.array([1.0, 2.0, 3.0])
    found = bc.condition(fixer(MEAN, apart=(0,)), bc.Constraint(of, values))
    gap = (values - of(MEAN)) / of(jnp.ones(GRID.shape))
    factor = values / of(MEAN)
    right = MEAN + gap[:, None] if fixer is shift else MEAN * factor[:, None]
    assert relative(found.mean, right) <= SLACK


@pytest.mark.parametrize("fixer", [shift, ratio])
def test_a_batch_is_each_by_itself(fixer):
    means = jnp.stack([MEAN, 3 - MEAN, 2 * MEAN])
    law = bc.Constraint(TOTALS["areas"], jnp.array([1.0, 2.0, 3.0]))
    together = bc.condition(fixer(means, batch_dims=1), law).mean
    for number, mean in enumerate(means):
        one = bc.Constraint(TOTALS["areas"], float(number + 1))
        assert relative(together[number], bc.condition(fixer(mean), one).mean) <= SLACK


@pytest.mark.parametrize("fixer", [shift, ratio])
def test_draws_differ_by_one_number_and_a_law_with_a_scale_is_the_textbooks(fixer):
    belief = fixer(MEAN, 0.5)
    f = 0.5 * (np.ones(GRID.size) if fixer is shift else np.asarray(MEAN).ravel())
    drawn = np.asarray(belief.sample(jax.random.key(0), (4,)) - MEAN[None]).reshape(4, -1)
    assert np.linalg.matrix_rank(np.vstack([drawn, f]), tol=1e-10) == 1
    of = TOTALS["integral"]
    g = np.asarray(of.adjoint(jnp.ones(()))).ravel()
    found = bc.condition(belief, bc.Constraint(of, 7.0, 0.3))
    s = (f @ g) ** 2 + 0.3**2
    right = np.asarray(MEAN).ravel() + f * (f @ g) * (7.0 - g @ np.asarray(MEAN).ravel()) / s
    np.testing.assert_allclose(found.mean.ravel(), right, rtol=SLACK)
    np.testing.assert_allclose(found.variance.ravel(), f**2 * (1 - (f @ g) ** 2 / s), rtol=1e-10)


def test_two_laws_are_too_many_for_one_number():
    law = bc.Constraint(bc.integral(GRID), jnp.array([1.0, 2.0, 3.0]), name="totals")
    with pytest.raises(ValueError, match="totals"):
        bc.condition(shift(MEAN), law)


def test_a_total_that_no_shift_changes_is_told():
    law = bc.Constraint(bc.functional(lambda u: u[0, 1] - u[0, 0], GRID), 9.0, name="slope")
    with pytest.raises(ValueError, match="slope"):
        bc.condition(shift(MEAN), law)


def test_a_fixed_field_has_no_density_and_axes_that_are_none_are_refused():
    with pytest.raises(NotImplementedError, match="has no density"):
        shift(MEAN).log_prob(MEAN)
    with pytest.raises(ValueError, match="axes of the field, 0 to 1"):
        ratio(MEAN, apart=(2,))


# --- Sequences
# -----------------------------------------------------------------------------

COLUMNS, HEAT, LATENT = 12, 1004.0, 2.5e6
AREA = jnp.asarray(np.random.default_rng(3).dirichlet(np.ones(COLUMNS)))


def air(seed: int = 0):
    """Temperature (K) and water (kg/kg) of columns, and a mass of each."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(
        np.stack([280 + 10 * rng.normal(size=COLUMNS), 1e-2 * rng.uniform(0.5, 1.5, COLUMNS)])
    )


WATER = bc.functional(lambda u: AREA @ u[1], (2, COLUMNS))
ENERGY = bc.functional(lambda u: AREA @ (HEAT * u[0] + LATENT * u[1]), (2, COLUMNS))


def only(row: int, fixer):
    """A fixer of one of the two variables: the other is certain."""

    def belief(mean):
        made = fixer(mean)
        factor = jnp.zeros_like(mean).at[row].set(made.covariance.factor[row])
        return bc.Gaussian(mean, bc.gaussians.OneFactor(factor, (), 2))

    return belief


def test_the_last_of_a_sequence_holds_and_opens_those_before():
    """Moisture by a ratio, energy by one temperature increment, as ACE2 goes about it, in both
    orders; jointly both hold.
    """
    mean = air()
    water = bc.Constraint(WATER, 1.02 * WATER(mean), name="water")
    energy = bc.Constraint(ENERGY, 1.001 * ENERGY(mean), name="energy")
    moisten, warm = (only(1, ratio), water), (only(0, shift), energy)

    def off(u):
        return [float(abs(law.functional(u) / law.value - 1)) for law in (water, energy)]

    first = in_sequence(mean, moisten, warm)
    assert max(off(first)) <= SLACK  # warming leaves the water as it is
    second = in_sequence(mean, warm, moisten)
    assert off(second)[0] <= SLACK
    assert off(second)[1] > 1e-6
    scale = jnp.stack([jnp.full(COLUMNS, 1.0), jnp.full(COLUMNS, 1e-4)])
    both = bc.condition(bc.diagonal(mean, scale), water & energy).mean
    assert max(off(both)) <= SLACK
    by_hand = mean.at[1].multiply(1.02)
    by_hand = by_hand.at[0].add((energy.value - ENERGY(by_hand)) / HEAT / AREA.sum())
    assert relative(first, by_hand) <= SLACK


# --- Localised ensembles
# -----------------------------------------------------------------------------


def test_the_taper_is_one_at_zero_falls_and_ends():
    r = np.linspace(0, 3, 301)
    taper = bc.gaussians.gaspari_cohn(r)
    assert taper[0] == 1.0
    assert (np.diff(taper) <= EPS).all()
    assert (taper[r >= 2] == 0).all()
    np.testing.assert_allclose(bc.gaussians.gaspari_cohn(1 + 1e-9), 5 / 24, atol=1e-8)


def test_around_a_ring_the_first_and_the_last_are_neighbours():
    ring = bc.Grid(lon=bc.axes.Ring(30.0 * np.arange(12), 360.0))
    draws = np.random.default_rng(1).normal(size=(6, 12))
    belief = bc.gaussians.localised_ensemble(draws, ring, {"lon": 40.0})
    column = np.asarray(belief.covariance.mv(jnp.eye(12)[0]))
    chord = np.sin(np.pi * np.arange(12) / 12) * 360 / np.pi
    deviations = draws - draws.mean(axis=0)
    plain = deviations[:, 0] @ deviations / 5 * bc.gaussians.gaspari_cohn(chord / 40.0)
    plain[0] += 1e-6 * draws.var(axis=0, ddof=1).mean()
    np.testing.assert_allclose(column, plain, atol=1e-12)
    assert abs(column[11]) > 0


@pytest.mark.parametrize(
    ("reach", "message"),
    [
        ({"y": 1.0}, "no axis of the grid"),
        ({"x": 0.0}, "above zero"),
        ({"x": np.nan}, "above zero"),
    ],
)
def test_a_reach_that_is_none_is_refused(reach, message):
    draws = np.random.default_rng(1).normal(size=(4, *GRID.shape))
    with pytest.raises(ValueError, match=message):
        bc.gaussians.localised_ensemble(draws, GRID, reach)


# --- The choice
# -----------------------------------------------------------------------------


def cases(seed: int, count: int = 60):
    rng = np.random.default_rng(seed)
    truth = 2 + rng.normal(size=(count, 20))
    grid = bc.Grid(x=np.linspace(0, 1, 20))
    return rng, truth, bc.integral(grid)


def candidates(mean):
    return {
        "shift": shift(mean, batch_dims=1),
        "ratio": ratio(mean, batch_dims=1),
        "own": bc.diagonal(mean, 0.3, batch_dims=1),
    }


@pytest.mark.parametrize("score", ["crps", "squared error"])
@pytest.mark.parametrize("kind", ["shift", "ratio"])
def test_what_was_wrong_is_what_is_chosen(kind, score):
    rng, truth, total = cases(0)
    one = 0.3 * rng.normal(size=(len(truth), 1))
    mean = truth + one if kind == "shift" else truth * (1 + one / 2)
    law = bc.Constraint(total, jax.vmap(total)(truth))
    alone = bc.diagonal(mean, 0.3, batch_dims=1)
    found = bc.diagnostics.choose(candidates(mean), law, truth, alone=alone, score=score)
    assert found.chosen == kind
    assert found.candidates[kind].difference < -3 * found.candidates[kind].difference_se
    assert found.held_out <= found.candidates["none"].score
    assert found.candidates[kind].picked == 1.0


def test_a_law_that_is_wrong_of_the_field_is_left_alone():
    """A total by a rule that is off by more than the field is: no candidate is better."""
    rng, truth, total = cases(1)
    mean = truth + 0.01 * rng.normal(size=truth.shape)
    law = bc.Constraint(total, jax.vmap(total)(truth) + 0.5)
    alone = bc.diagonal(mean, 0.01, batch_dims=1)
    found = bc.diagnostics.choose(candidates(mean), law, truth, alone=alone)
    assert found.chosen == "none"
    assert found.held_out == found.candidates["none"].score


def test_what_choosing_is_worth_is_measured_on_other_cases():
    """Twenty candidates that differ by nothing but chance: the best looks better than it is."""
    rng, truth, total = cases(2, 20)
    law = bc.Constraint(total, jax.vmap(total)(truth), 1e6)  # says nothing
    many = {
        f"{i}": bc.diagonal(truth + rng.normal(size=truth.shape), 1.0, batch_dims=1)
        for i in range(20)
    }
    alone = bc.diagonal(truth + rng.normal(size=truth.shape), 1.0, batch_dims=1)
    found = bc.diagnostics.choose(many, law, truth, alone=alone)
    assert found.held_out > found.candidates[found.chosen].score


def test_scores_are_those_of_the_conditioned_beliefs():
    rng, truth, total = cases(3)
    mean = truth + 0.3 * rng.normal(size=truth.shape)
    law = bc.Constraint(total, jax.vmap(total)(truth))
    alone = bc.diagonal(mean, 0.3, batch_dims=1)
    found = bc.diagnostics.choose({"own": alone}, law, truth, alone=alone, score="squared error")
    after = np.mean((np.asarray(bc.condition(alone, law).mean) - truth) ** 2, axis=1)
    before = np.mean((mean - truth) ** 2, axis=1)
    own = found.candidates["own"]
    np.testing.assert_allclose(own.score, after.mean(), rtol=1e-12)
    np.testing.assert_allclose(own.difference, (after - before).mean(), rtol=1e-12)
    np.testing.assert_allclose(
        own.difference_se, (after - before).std(ddof=1) / np.sqrt(len(truth)), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": 1}, "two folds or more"),
        ({"folds": 61}, "60 cases for 61 folds"),
        ({"score": "best"}, "score"),
        ({"candidates": {"none": bc.diagonal(np.zeros((60, 20)), 1.0, batch_dims=1)}}, "rename it"),
        ({"truth": np.zeros((60, 21))}, "expected a batch"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(change, message):
    _, truth, total = cases(4)
    alone = bc.diagonal(truth, 0.3, batch_dims=1)
    given = {"candidates": {"own": alone}, "law": bc.Constraint(total, 1.0), "truth": truth}
    with pytest.raises(ValueError, match=message):
        bc.diagnostics.choose(**{**given, **change}, alone=alone)


def test_a_plain_function_in_a_constraint_is_told_how_to_become_a_functional():
    with pytest.raises(TypeError, match=r"bc\.functional"):
        bc.condition(shift(MEAN), bc.Constraint(lambda u: u.sum(), 1.0))
