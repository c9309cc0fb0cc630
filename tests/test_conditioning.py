"""Conditioning states laws: it is the textbook's formula, exact facts hold exactly, order and
repetition do not matter.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

import bayescons as bc
from bayescons.gaussians.conditioning import Constraint, stack, update
from tests.structures import (
    FACTS,
    GRID,
    SEVERAL,
    STRUCTURES,
    belief,
    conditioned,
    exponential,
    facts,
    reference,
    rows_of,
    second_moments,
    truth,
    values_of,
)

EPS = float(np.finfo(float).eps)
# With noise every row counts, so one kind of each shape of problem: one row a block, many coupled
# rows, rows of a function.
NOISY = [
    (kind, scale)
    for kind in ("mass", "mass, initial and wall", "user function")
    for scale in (1.0, 1e-2)
]

every_structure = pytest.mark.parametrize("structure", STRUCTURES)
TIMES, PLACES = GRID.shape


def exactly(functional, value, name="fact"):
    return Constraint(functional, value, None, name)


# Law 1


@pytest.mark.usefixtures("eagerly")
@every_structure
@pytest.mark.parametrize(("kind", "scale"), [*((kind, None) for kind in FACTS), *NOISY])
def test_conditioning_is_the_textbook_formula(structure, kind, scale):
    result, textbook = conditioned(structure, kind, scale), reference(structure, kind, scale)
    variance, covariance = second_moments(result.posterior)

    def agree(ours, theirs, size):
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=4 * textbook.error * size)

    largest = float(np.abs(belief(structure).unconditioned).max())
    agree(result.posterior.mean.ravel(), textbook.mean, 1 + np.abs(textbook.mean).max())
    agree(covariance, textbook.covariance, largest)
    agree(variance, np.diag(textbook.covariance), largest)
    agree(result.log_evidence, textbook.log_evidence, 1 + abs(textbook.log_evidence))
    assert int(result.rank) == textbook.counted.sum()


# Law 2


@pytest.mark.usefixtures("eagerly")
@every_structure
@pytest.mark.parametrize("kind", FACTS)
def test_an_exact_fact_holds_in_the_mean_in_every_draw_and_has_no_variance(structure, kind):
    posterior, constraint = conditioned(structure, kind).posterior, facts(structure, kind)
    rows, values = rows_of(structure, constraint), values_of(constraint)
    draws = [posterior.sample(jax.random.key(i)) for i in range(3)]
    for field in (np.asarray(f).ravel() for f in (posterior.mean, *draws)):
        # of the terms that are summed: a row of second differences cancels numbers a hundred times
        # its value
        size = np.abs(rows) @ (np.abs(field) + np.sqrt(np.diag(belief(structure).unconditioned)))
        np.testing.assert_array_less(np.abs(rows @ field - values), 1e-12 * size)
    covariance = np.asarray(second_moments(posterior)[1])
    before = np.einsum(
        "ri,ij,rj->r", np.abs(rows), np.abs(belief(structure).unconditioned), np.abs(rows)
    )
    np.testing.assert_array_less(np.abs(np.diag(rows @ covariance @ rows.T)), 1e-12 * before)


@pytest.mark.parametrize(
    "structure", ["diagonal", "low rank", "kronecker", "conditioned with noise"]
)
def test_a_thousand_draws_conserve_to_1e_12(structure):
    posterior, total = conditioned(structure, "mass").posterior, values_of(facts(structure, "mass"))
    draws = jax.jit(lambda q: q.sample(jax.random.key(1), (1000,)))(posterior)
    weights = FACTS["mass"][0][1].weights[1]
    for fields in (np.asarray(posterior.mean), np.asarray(draws)):
        assert np.abs(fields @ weights - total).max() <= 1e-12 * np.abs(total).max()


# Law 3


@pytest.mark.usefixtures("eagerly")
@every_structure
@pytest.mark.parametrize("kind", SEVERAL)
def test_the_order_of_the_facts_does_not_matter(structure, kind):
    result, constraint = conditioned(structure, kind), facts(structure, kind)
    turned = update(belief(structure).gaussian, stack(constraint.members[::-1]))
    error = 4 * reference(structure, kind).error
    np.testing.assert_allclose(
        turned.posterior.mean, result.posterior.mean, rtol=0, atol=10 * error
    )
    for ours, theirs in zip(
        second_moments(turned.posterior), second_moments(result.posterior), strict=True
    ):
        np.testing.assert_allclose(
            ours, theirs, rtol=0, atol=error * np.abs(belief(structure).unconditioned).max()
        )
    assert int(turned.rank) == int(result.rank)
    if not result.redundant.any():
        assert abs(turned.log_evidence - result.log_evidence) <= error * (
            1 + abs(result.log_evidence)
        )


@pytest.mark.usefixtures("eagerly")
def test_where_facts_are_redundant_their_order_moves_the_evidence_of_every_belief_alike():
    """So that evidence compares beliefs: which of the redundant rows counts does not depend on the
    belief.
    """
    functionals, field = dict(FACTS["mass, initial and wall"]), truth("diagonal")
    members = [exactly(f, f(field), name) for name, f in functionals.items()]

    def shifts(belief):
        evidences = [
            update(belief, stack(list(order))).log_evidence
            for order in itertools.permutations(members)
        ]
        return np.array(evidences) - evidences[0]

    # the last belief's variance at the upper end is so large that the initial total all but
    # measures the initial value there
    loud = np.ones(GRID.shape) + 99.0 * (np.arange(PLACES) == PLACES - 1)
    beliefs = [bc.diagonal(field + 0.1, scale) for scale in (0.1, 1.0, loud)]
    first, *others = map(shifts, beliefs)
    assert np.abs(first).max() > 1
    for other in others:
        np.testing.assert_allclose(other, first, rtol=0, atol=1e-9)


@pytest.mark.usefixtures("eagerly")
@every_structure
def test_conditioning_twice_is_conditioning_once_on_both(structure):
    """And the evidence obeys the chain rule, log p(a, b) = log p(a) + log p(b | a), also where b is
    partly implied by a.
    """
    kind = "mass, initial and wall"
    first, *rest = facts(structure, kind).members
    once, joint, error = (
        update(belief(structure).gaussian, first),
        conditioned(structure, kind),
        40 * reference(structure, kind).error,
    )
    twice = update(once.posterior, stack(rest))
    np.testing.assert_allclose(twice.posterior.mean, joint.posterior.mean, rtol=0, atol=error)
    largest = np.abs(belief(structure).unconditioned).max()
    for ours, theirs in zip(
        second_moments(twice.posterior), second_moments(joint.posterior), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=error * largest)
    assert abs(once.log_evidence + twice.log_evidence - joint.log_evidence) <= error * (
        1 + abs(joint.log_evidence)
    )
    assert int(once.rank + twice.rank) == int(joint.rank)


def test_a_bar_conditions():
    gaussian, constraint = belief("diagonal").gaussian, facts("diagonal", "mass and wall")
    mass, wall = constraint.members
    for posterior in (gaussian | mass | wall, gaussian | (mass & wall)):
        np.testing.assert_allclose(
            posterior.mean,
            conditioned("diagonal", "mass and wall").posterior.mean,
            rtol=0,
            atol=1e-13,
        )


# Law 4


@pytest.mark.usefixtures("eagerly")
@every_structure
@pytest.mark.parametrize("kind", ["mass", "mass and wall"])
def test_repeating_a_fact_changes_nothing_and_is_reported(structure, kind):
    result, constraint = conditioned(structure, kind), facts(structure, kind)
    again = update(belief(structure).gaussian, stack([*constraint.members, constraint.members[0]]))
    error = 4 * reference(structure, kind).error
    np.testing.assert_allclose(again.posterior.mean, result.posterior.mean, rtol=0, atol=10 * error)
    largest = np.abs(belief(structure).unconditioned).max()
    for ours, theirs in zip(
        second_moments(again.posterior), second_moments(result.posterior), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=error * largest)
    assert abs(again.log_evidence - result.log_evidence) <= error * (1 + abs(result.log_evidence))
    rows = result.redundant.shape[-1]
    assert int(again.rank) == int(result.rank)
    np.testing.assert_array_equal(again.redundant[..., :rows], result.redundant)
    assert bool(again.redundant[..., rows:].all())


@pytest.mark.usefixtures("eagerly")
@every_structure
@pytest.mark.parametrize("kind", ["mass", "mass, initial and wall"])
def test_what_the_belief_already_holds_changes_nothing_and_is_reported(structure, kind):
    result = conditioned(structure, kind)
    again = update(result.posterior, facts(structure, kind))
    assert int(again.rank) == 0
    assert float(again.log_evidence) == 0.0
    assert bool(again.redundant.all())
    np.testing.assert_array_equal(again.posterior.mean, result.posterior.mean)
    np.testing.assert_allclose(
        second_moments(again.posterior)[1], second_moments(result.posterior)[1], rtol=0, atol=1e-13
    )


def test_the_rows_reported_redundant_are_those_that_earlier_ones_imply():
    """Of mass, initial and wall: the last row of the initial field, given its total, and the first
    of the wall, an initial value.
    """
    np.testing.assert_array_equal(
        np.flatnonzero(conditioned("dense", "mass, initial and wall").redundant),
        [TIMES + PLACES - 1, TIMES + PLACES],
    )


# Law 5


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("structure", ["diagonal", "low rank", "kronecker", "dense", "blocks"])
@pytest.mark.parametrize(
    ("kind", "scale"),
    [("slopes at both ends", None), ("slopes at both ends", 1e-2), ("user function", 1.0)],
)
def test_the_evidence_is_the_density_of_the_values(structure, kind, scale):
    own, constraint = belief(structure), facts(structure, kind, scale)
    rows = rows_of(structure, constraint)
    gram = rows @ own.covariance @ rows.T + (scale or 0.0) ** 2 * np.eye(len(rows))
    density = multivariate_normal(rows @ own.mean, gram).logpdf(values_of(constraint))
    evidence = float(bc.log_evidence(own.gaussian, constraint))
    assert evidence == pytest.approx(density, rel=4 * reference(structure, kind, scale).error)


# Law 6

numbers = functools.partial(st.floats, allow_nan=False)
_mass, _wall = (functional for _, functional in FACTS["mass and wall"])


@jax.jit
def _variances(mean, scale, totals, level, noise):
    prior = bc.diagonal(mean, scale)
    one = update(prior, exactly(_mass, totals)).posterior
    two = update(one, Constraint(_wall, level, noise)).posterior
    return prior.variance, one.variance, two.variance


@given(st.data())
def test_a_fact_never_raises_a_variance(data):
    size = GRID.size
    scale = np.array(data.draw(st.lists(numbers(1e-3, 1e3), min_size=size, max_size=size))).reshape(
        GRID.shape
    )
    totals = np.array(data.draw(st.lists(numbers(-1e3, 1e3), min_size=TIMES, max_size=TIMES)))
    level, noise = data.draw(numbers(-1e3, 1e3)), data.draw(numbers(1e-3, 1e3))
    prior, one, two = _variances(np.zeros(GRID.shape), scale, totals, level, noise)
    rounding = 16 * EPS * prior
    assert bool(jnp.all(one <= prior + rounding))
    assert bool(jnp.all(two <= one + rounding))
    assert bool(jnp.all(two >= 0))


# Draws


@pytest.mark.usefixtures("eagerly")
@every_structure
@pytest.mark.parametrize(
    ("kind", "scale"), [("mass, initial and wall", None), ("user function", 0.5)]
)
def test_draws_have_the_posteriors_moments(structure, kind, scale):
    """Every mean and covariance entry within z standard errors, z so large that a correct sampler
    fails once in 10^6 keys.
    """
    posterior, textbook = (
        conditioned(structure, kind, scale).posterior,
        reference(structure, kind, scale),
    )
    count = 4000
    draws = np.asarray(jax.jit(lambda q: q.sample(jax.random.key(2), (count,)))(posterior)).reshape(
        count, -1
    )
    size = draws.shape[1]
    z = norm.isf(1e-6 / (2 * size * (size + 1)))
    variance = np.maximum(np.diag(textbook.covariance), 0)
    floor = 1e-9 * np.abs(belief(structure).unconditioned).max()
    offset = np.abs(draws.mean(0) - textbook.mean)
    np.testing.assert_array_less(offset, z * np.sqrt(variance / count) + np.sqrt(floor) * 1e-3)
    centred = draws - textbook.mean
    error = np.sqrt((np.outer(variance, variance) + textbook.covariance**2) / count)
    np.testing.assert_array_less(
        np.abs(centred.T @ centred / count - textbook.covariance), z * error + floor
    )


# Gradients


def _path(kind, noise):
    """Mean and evidence along a line through a prior's mean and scale and the truth: exact values
    stay consistent along it.
    """
    rng = np.random.default_rng(5)
    mean, field, along_mean, along_field = rng.normal(size=(4, *GRID.shape))
    functionals = FACTS[kind]

    def at(direction, scale):
        truth_ = field + direction[1] * along_field
        members = [Constraint(f, f(truth_), noise, name) for name, f in functionals]
        prior = bc.diagonal(mean + direction[0] * along_mean, scale * jnp.exp(direction[2]))
        result = update(prior, stack(members))
        return (
            result.log_evidence,
            jnp.sum(result.posterior.mean * along_mean),
            jnp.sum(result.posterior.variance * along_field),
        )

    return at


@pytest.mark.parametrize(
    ("kind", "noise"), [("mass", None), ("mass, initial and wall", None), ("mass", 0.3)]
)
def test_gradients_are_finite_differences(kind, noise):
    """Of evidence, mean and variance, in the prior's mean, the truth and the prior's scale; with
    equal variances and redundant rows too.
    """
    at = jax.jit(
        lambda direction: jnp.stack(_path(kind, noise)(direction, jnp.full(GRID.shape, 0.7)))
    )
    jacobian = jax.jit(jax.jacrev(at))(jnp.zeros(3))
    assert bool(jnp.isfinite(jacobian).all())
    step = 1e-5
    differences = jnp.stack(
        [(at(step * unit) - at(-step * unit)) / (2 * step) for unit in jnp.eye(3)], axis=1
    )
    # rounding eps/step and truncation step^2, each times the size of what is differenced
    size = float(jnp.abs(at(jnp.zeros(3))).max() + jnp.abs(jacobian).max())
    np.testing.assert_allclose(
        jacobian, differences, rtol=0, atol=1e3 * size * (EPS / step + step**2)
    )


def test_a_row_without_variance_leaves_gradients_finite():
    nothing = bc.functional(lambda u: jnp.stack([0.0 * u[0, 0], u[1, 1]]), GRID)

    def evidence(scale):
        return update(
            bc.diagonal(jnp.zeros(GRID.shape), scale), exactly(nothing, jnp.array([0.0, 1.0]))
        ).log_evidence

    gradient = jax.grad(evidence)(2.0)
    assert float(gradient) == pytest.approx(
        1 / 8 - 1 / 2, rel=16 * EPS
    )  # d/ds of -1/(2 s^2) - log s at 2


# Compilation and batches


def _moments(prior, constraint):
    result = update(prior, constraint)
    return result.posterior.mean, result.posterior.variance, result.log_evidence, result.violation


@pytest.mark.parametrize("kind", ["mass", "mass, initial and wall", "user function"])
def test_compiling_changes_nothing(kind):
    gaussian, constraint = belief("kronecker").gaussian, facts("kronecker", kind)
    for ours, theirs in zip(
        jax.jit(_moments)(gaussian, constraint), _moments(gaussian, constraint), strict=True
    ):
        np.testing.assert_allclose(
            ours,
            theirs,
            rtol=0,
            atol=8 * reference("kronecker", kind).error * (1 + jnp.abs(theirs).max()),
        )


@pytest.mark.parametrize("noise", [None, 0.1])
def test_a_batch_by_leading_axes_by_vmap_and_by_a_loop_are_the_same(noise):
    rng = np.random.default_rng(6)
    means, scales = rng.normal(size=(3, *GRID.shape)), rng.uniform(0.5, 1, size=(3, *GRID.shape))
    totals, level = rng.normal(size=(3, TIMES)), 0.3

    def given_(mean, scale, total, batch_dims=0):
        constraint = Constraint(_mass, total, noise, "mass") & Constraint(
            _wall, level, noise, "wall"
        )
        return _moments(bc.diagonal(mean, scale, batch_dims=batch_dims), constraint)

    leading = given_(means, scales, totals, batch_dims=1)
    mapped = jax.vmap(given_)(means, scales, totals)
    looped = [jnp.stack(parts) for parts in zip(*map(given_, means, scales, totals), strict=True)]
    for one, two, three in zip(leading, mapped, looped, strict=True):
        assert one.shape == two.shape == three.shape
        np.testing.assert_allclose(one, three, rtol=0, atol=1e-13 * (1 + jnp.abs(three).max()))
        np.testing.assert_allclose(two, three, rtol=0, atol=1e-13 * (1 + jnp.abs(three).max()))


def test_two_batch_axes_and_draws_of_a_batch():
    means, totals = (
        np.random.default_rng(8).normal(size=(2, 3, *GRID.shape)),
        jnp.arange(18.0).reshape(2, 3, TIMES),
    )
    posterior = bc.condition(bc.diagonal(means, 0.5, batch_dims=2), exactly(_mass, totals))
    draws = posterior.sample(jax.random.key(3), (5,))
    assert posterior.batch_shape == (2, 3)
    assert draws.shape == (5, 2, 3, *GRID.shape)
    np.testing.assert_allclose(
        draws @ _mass.weights[1], np.broadcast_to(totals, (5, 2, 3, TIMES)), rtol=1e-12, atol=1e-12
    )


@pytest.mark.usefixtures("eagerly")
def test_a_batch_of_means_may_share_one_covariance():
    shared, means = (
        belief("kronecker").gaussian,
        np.random.default_rng(9).normal(size=(3, *GRID.shape)),
    )
    constraint = facts("kronecker", "mass and wall")
    batch = update(bc.Gaussian(jnp.asarray(means), shared.covariance), constraint)
    for i, mean in enumerate(means):
        single = update(bc.Gaussian(jnp.asarray(mean), shared.covariance), constraint)
        np.testing.assert_allclose(
            batch.posterior.mean[i], single.posterior.mean, rtol=0, atol=1e-12
        )
        np.testing.assert_allclose(
            batch.posterior.variance[i], single.posterior.variance, rtol=0, atol=1e-12
        )
        np.testing.assert_allclose(batch.log_evidence[i], single.log_evidence, rtol=1e-12)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("structure", ["kronecker", "restricted"])
def test_a_posterior_of_a_batch_can_be_conditioned_again(structure):
    """Two copies of one belief as a batch: every leaf gets a leading axis."""
    gaussian, constraint = belief(structure).gaussian, facts(structure, "mass")
    twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), gaussian)
    posterior = bc.condition(bc.condition(twice, constraint), facts(structure, "wall"))
    single = bc.condition(bc.condition(gaussian, constraint), facts(structure, "wall"))
    assert posterior.batch_shape == (2,)
    for ours, theirs in ((posterior.mean, single.mean), (posterior.variance, single.variance)):
        np.testing.assert_allclose(ours, jnp.stack([theirs, theirs]), rtol=0, atol=1e-10)


@pytest.mark.usefixtures("eagerly")
def test_a_scale_may_differ_between_rows_and_be_zero_for_some():
    """A row with scale zero is exact, whatever the others are, and leaves no density."""
    prior, scale = belief("diagonal"), np.array([0.0, 0.1, 0.2])
    rows, total = rows_of("diagonal", facts("diagonal", "mass")), np.array([1.0, 2.0, 3.0])
    posterior = bc.condition(prior.gaussian, Constraint(_mass, total, scale, "mass"))
    gram = rows @ prior.covariance @ rows.T + np.diag(scale**2)
    gain = np.linalg.solve(gram, rows @ prior.covariance).T
    np.testing.assert_allclose(
        posterior.mean.ravel(), prior.mean + gain @ (total - rows @ prior.mean), rtol=0, atol=1e-12
    )
    held = np.asarray(posterior.sample(jax.random.key(4), (10,)) @ _mass.weights[1])[:, scale == 0]
    np.testing.assert_allclose(held, np.broadcast_to(total[scale == 0], held.shape), rtol=1e-12)
    with pytest.raises(NotImplementedError, match="no density"):
        posterior.log_prob(posterior.mean)


# Precision


def _conservation_errors(prior, total, weights):
    posterior = bc.condition(prior, exactly(bc.integral(GRID), total, "mass"))
    draws = posterior.sample(jax.random.key(5), (1000,))
    fields = [np.asarray(field, np.float64) for field in (posterior.mean, draws)]
    return [np.abs(field @ weights - total).max() / np.abs(total).max() for field in fields]


_SINGLE = {
    "diagonal": lambda mean: bc.diagonal(mean, jnp.full(GRID.shape, 0.5, jnp.float32)),
    "low rank": lambda mean: bc.low_rank(
        mean, jnp.float32(0.5), jnp.ones((*GRID.shape, 2), jnp.float32)
    ),
    "kronecker": lambda mean: bc.kronecker(
        mean,
        (None, jnp.asarray(exponential(GRID["x"], 0.3), jnp.float32)),
        scale=jnp.float32(0.5),
        jitter=1e-6,
    ),
}


@pytest.mark.float32
@pytest.mark.parametrize("structure", _SINGLE)
def test_fields_in_single_precision_conserve_to_1e_6(structure):
    """In a float64 session the rows are solved in float64; in a float32 session
    (BAYESCONS_FLOAT32=1) everything is single.
    """
    mean = jnp.asarray(1.0 + GRID.mesh()["t"] * GRID.mesh()["x"], jnp.float32)
    prior = _SINGLE[structure](mean)
    posterior = bc.condition(prior, exactly(bc.integral(GRID), jnp.ones(TIMES), "mass"))
    assert (
        posterior.mean.dtype
        == posterior.variance.dtype
        == posterior.sample(jax.random.key(0)).dtype
        == jnp.float32
    )
    total = np.linspace(1, 2, TIMES)
    errors = _conservation_errors(prior, total, np.asarray(bc.integral(GRID).weights[1]))
    assert max(errors) <= 1e-6


@pytest.mark.float32
def test_single_precision_agrees_with_the_textbook_and_knows_redundant_rows():
    rng = np.random.default_rng(10)
    mean, scale = (
        rng.normal(size=GRID.shape).astype(np.float32),
        rng.uniform(0.5, 1, size=GRID.shape).astype(np.float32),
    )
    members = [
        exactly(f, f(truth("diagonal")), name) for name, f in FACTS["mass, initial and wall"]
    ]
    result = update(bc.diagonal(mean, scale), stack(members))
    rows = np.asarray(rows_of("diagonal", stack(members)), np.float64)
    used = np.delete(rows, [7, 8], axis=0)
    covariance = np.diag(scale.astype(np.float64).ravel() ** 2)
    gain = np.linalg.solve(used @ covariance @ used.T, used @ covariance).T
    textbook = mean.ravel() + gain @ used @ (truth("diagonal").ravel() - mean.ravel())
    assert int(result.rank) == 9
    # eps of single precision times a condition number of S of some hundreds
    np.testing.assert_allclose(result.posterior.mean.ravel(), textbook, rtol=0, atol=1e-4)


@pytest.mark.float32
def test_no_value_is_nan_in_single_precision():
    prior = bc.diagonal(jnp.zeros(GRID.shape, jnp.float32), jnp.float32(1e-3))
    result = update(
        prior,
        exactly(bc.second_difference(GRID), 0.0, "bend") & exactly(bc.integral(GRID), 1.0, "mass"),
    )
    assert bool(jnp.isfinite(result.posterior.mean).all())
    assert bool((result.posterior.variance >= 0).all())


# The error of a quadrature rule


def test_the_quadrature_scale_is_its_formula():
    """scale^2 = sum_i h_i^2 ((m_{i+1} - m_i)^2 + v_i + v_{i+1}) / 12."""
    own, mass = belief("diagonal").gaussian, FACTS["mass"][0][1]
    mean, variance, widths = np.asarray(own.mean), np.asarray(own.variance), np.diff(GRID["x"])
    expected = np.sqrt(
        (widths**2 / 12 * (np.diff(mean, axis=1) ** 2 + variance[:, 1:] + variance[:, :-1])).sum(1)
    )
    np.testing.assert_allclose(bc.quadrature_scale(own, mass), expected, rtol=16 * EPS)
    stated = bc.condition(own, Constraint(mass, jnp.ones(TIMES), jnp.asarray(expected), "mass"))
    asked = bc.condition(own, Constraint(mass, jnp.ones(TIMES), "quadrature", "mass"))
    np.testing.assert_allclose(asked.mean, stated.mean, rtol=0, atol=1e-13)


def test_the_quadrature_scale_of_a_smooth_mean_shrinks_like_h_to_three_halves():
    sizes = np.array([17, 33, 65, 129, 257])

    def scale(points):
        grid = bc.Grid(x=np.linspace(0, 1, points))
        return float(
            bc.quadrature_scale(bc.diagonal(np.sin(3 * grid["x"]), 1e-12), bc.integral(grid))
        )

    order = -np.polyfit(np.log(sizes - 1), np.log([scale(n) for n in sizes]), 1)[0]
    assert order == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize("points", [11, 101])
def test_the_quadrature_scale_of_a_step_is_that_of_a_front_placed_uniformly_in_its_cell(points):
    grid = bc.Grid(x=np.linspace(0, 1, points))
    step = 3.0 * (grid["x"] > 0.52)
    scale = float(bc.quadrature_scale(bc.diagonal(step, 1e-12), bc.integral(grid)))
    assert scale == pytest.approx(3.0 / (points - 1) / np.sqrt(12), rel=1e-12)


def test_the_quadrature_scale_follows_the_batch_and_both_axes():
    means = np.random.default_rng(12).normal(size=(3, *GRID.shape))
    both = bc.integral(GRID, over=("t", "x"))
    batch = bc.quadrature_scale(bc.diagonal(means, 0.1, batch_dims=1), both)
    assert batch.shape == (3,)
    for scale, mean in zip(batch, means, strict=True):
        np.testing.assert_allclose(
            scale, bc.quadrature_scale(bc.diagonal(mean, 0.1), both), rtol=16 * EPS
        )


@pytest.mark.usefixtures("eagerly")
@every_structure
def test_the_scale_of_a_functional_is_its_prior_standard_deviation(structure):
    constraint = facts(structure, "mass and wall")
    rows = rows_of(structure, constraint)
    expected = np.sqrt(np.maximum(np.diag(rows @ belief(structure).covariance @ rows.T), 0))
    scales = np.concatenate(
        bc.gaussians.functional_scale(belief(structure).gaussian, constraint.functional)
    )
    np.testing.assert_allclose(
        scales, expected, rtol=0, atol=1e-7 if structure == "conditioned exactly" else 1e-12
    )


# Bad input

_prior = bc.diagonal(np.zeros(GRID.shape), 1.0)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.zeros((3, 1)), r"must have shape \(3,\).*got shape \(3, 1\); write value\[:, 0\]"),
        (np.zeros(7), r"value of 'mass' must have shape \(3,\).*got shape \(7,\)"),
        (
            np.array([0, np.nan, 0]),
            r"value of 'mass' holds 1 NaN or infinite entries; remove or replace them first",
        ),
        (np.inf, r"value of 'mass' holds"),
    ],
)
def test_a_bad_value_is_refused(value, says):
    with pytest.raises(ValueError, match=says):
        bc.condition(_prior, exactly(_mass, value, "mass"))


@pytest.mark.parametrize(
    ("scale", "says"),
    [
        (-0.1, r"scale of 'mass' must be at least zero everywhere"),
        (np.array([1, 1, np.nan]), r"scale of 'mass' holds 1 NaN"),
        (np.ones((3, 1)), r"scale of 'mass' must have shape \(3,\)"),
        ("simpson", r"must be None, a number, an array or 'quadrature'; got 'simpson'"),
    ],
)
def test_a_bad_scale_of_a_fact_is_refused(scale, says):
    with pytest.raises(ValueError, match=says):
        bc.condition(_prior, Constraint(_mass, 1.0, scale, "mass"))


def test_a_quadrature_scale_is_for_integrals():
    with pytest.raises(
        ValueError,
        match=r"is the error of an integral between nodes; this functional is none",
    ):
        bc.condition(_prior, Constraint(_wall, 1.0, "quadrature", "wall"))


def test_facts_on_different_grids_are_refused():
    other = bc.Grid(t=np.linspace(0, 1, 4), x=GRID["x"])
    with pytest.raises(
        ValueError,
        match=r"fields of different shapes cannot be combined \(mass: \(3, 5\), wall: \(4, 5\)\); build them",
    ):
        exactly(_mass, 1.0, "mass") & exactly(bc.dirichlet(other, "x", "lower"), 0.0, "wall")
    with pytest.raises(
        ValueError,
        match=r"acts on fields of shape \(4, 5\), the belief is over fields of shape \(3, 5\); build both",
    ):
        bc.condition(_prior, exactly(bc.integral(other), 1.0, "mass"))


def test_something_else_than_a_belief_is_refused():
    with pytest.raises(TypeError, match="Gaussian"):
        bc.condition(dist.Normal(0, 1).expand(GRID.shape).to_event(2), exactly(_mass, 1.0))


def test_a_total_that_contradicts_the_initial_field_is_refused_by_name():
    initial = bc.initial(GRID)
    field = truth("diagonal")
    with pytest.raises(
        bc.InconsistentConstraintsError,
        match=r"mass\[t=0\] contradicts initial by 1\.0e-03\. Either \(a\)",
    ):
        bc.condition(
            belief("kronecker").gaussian,
            exactly(initial, initial(field), "initial")
            & exactly(_mass, _mass(field) + 1e-3, "mass"),
        )


def test_two_walls_that_differ_are_refused_by_name():
    walls = exactly(_wall, 0.0, "wall") & exactly(_wall, np.array([0, 1e-3, 0]), "other")
    with pytest.raises(
        bc.InconsistentConstraintsError,
        match=r"(wall|other)\[t=0\.5\] contradicts (wall|other)\[t=0\.5\] by 1\.0e-03",
    ):
        bc.condition(_prior, walls)


def test_a_fact_that_contradicts_the_belief_is_refused_by_name():
    with pytest.raises(
        bc.InconsistentConstraintsError,
        match=r"other\[t=0\] contradicts what the belief already holds for certain by 1\.0e-03",
    ):
        bc.condition(
            bc.condition(_prior, exactly(_wall, 0.0, "wall")), exactly(_wall, 1e-3, "other")
        )


def test_in_a_batch_the_field_with_the_contradiction_is_found():
    prior = bc.diagonal(np.zeros((2, *GRID.shape)), 1.0, batch_dims=1)
    walls = exactly(_wall, 0.0, "wall") & exactly(
        _wall, np.array([[0.0] * 3, [0, 0.5, 0]]), "other"
    )
    with pytest.raises(
        bc.InconsistentConstraintsError, match=r"\[t=0\.5\] contradicts .*\[t=0\.5\] by 5\.0e-01"
    ):
        bc.condition(prior, walls)


def test_noise_resolves_a_contradiction():
    walls = exactly(_wall, 0.0, "wall") & Constraint(_wall, 1.0, 1.0, "reading")
    np.testing.assert_allclose(bc.condition(_prior, walls).mean[:, 0], 0.0, rtol=0, atol=1e-15)


def test_under_jit_a_contradiction_is_in_the_gap():
    @jax.jit
    def gap(level):
        return update(
            _prior, exactly(_wall, 0.0, "wall") & exactly(_wall, level, "other")
        ).violation

    assert float(jnp.abs(gap(0.0)).max()) == 0.0
    assert float(jnp.abs(gap(1.0)).max()) == pytest.approx(1.0)


def test_more_facts_than_points_are_refused():
    everything = [
        exactly(bc.functional(lambda u: u, GRID), 0.0, "all"),
        exactly(_mass, 0.0, "mass"),
    ]
    with pytest.raises(
        ValueError,
        match=r"18 exact rows for 15 points: more facts than unknowns\. Drop rows, or give some a scale > 0",
    ):
        bc.condition(_prior, stack(everything))


def test_a_field_with_no_free_direction_left_is_refused():
    with pytest.raises(
        ValueError,
        match=r"no free direction left: 15 independent exact rows fix all 15 points\. Solve the linear system",
    ):
        bc.condition(_prior, exactly(bc.functional(lambda u: u, GRID), 0.0, "all"))


# --- Values in single precision


def kelvin(dtype):
    """A field around 300 K whose totals, initial state and ends are the same facts, rounded."""
    t, x = np.linspace(0, 1, 11), np.linspace(0, 1, 101)
    grid = bc.Grid(t=t, x=x)
    u = 300 + 20 * np.exp(-t[:, None]) * np.sin(np.pi * x)
    total = bc.integral(grid, over="x")
    facts = {
        "total": (total, np.asarray(total(u))),
        "start": (bc.initial(grid), u[0]),
        "left": (bc.dirichlet(grid, "x", "lower"), u[:, 0]),
        "right": (bc.dirichlet(grid, "x", "upper"), u[:, -1]),
    }
    prior = bc.diagonal(u + 0.3, 0.5)
    return prior, [bc.Constraint(f, v.astype(dtype), name=n) for n, (f, v) in facts.items()]


def test_facts_that_agree_but_for_single_precision_agree():
    prior, facts = kelvin(np.float32)
    result = update(prior, stack(facts))
    reference = update(prior, stack(kelvin(np.float64)[1]))
    assert int(result.status) == 0
    assert int(result.rank) == int(reference.rank)
    step = 300 * float(np.finfo(np.float32).eps)
    for fact in facts:
        off = np.abs(fact.functional(result.posterior.mean) - fact.value).max()
        assert (
            off <= 100 * step
        )  # a row that the total and all others imply takes up their rounding
    assert np.abs(result.posterior.mean - reference.posterior.mean).max() <= 100 * step


def test_a_contradiction_beyond_single_precision_is_one():
    prior, facts = kelvin(np.float32)
    moved = facts[1].value.copy()
    moved += np.float32(0.01)
    with pytest.raises(bc.InconsistentConstraintsError):
        update(prior, stack([facts[0], bc.Constraint(facts[1].functional, moved, name="start")]))
    prior, facts = kelvin(np.float64)
    rounded = bc.Constraint(facts[0].functional, np.round(facts[0].value, 4), name="total")
    with pytest.raises(bc.InconsistentConstraintsError):
        update(prior, stack([rounded, facts[1]]))


def test_a_program_takes_values_in_single_precision_too():
    prior, facts = kelvin(np.float32)

    def program():
        u = numpyro.sample("u", prior)
        for fact in facts:
            bc.observe(fact.name, fact.functional, u, fact.value)

    assert (
        np.abs(facts[0].functional(bc.conjugate(program)().mean["u"]) - facts[0].value).max() < 1e-3
    )
