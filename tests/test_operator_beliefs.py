"""Beliefs from operator networks: a mixed model fitted by its likelihood, which boundary values
then correct exactly.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

import bayescons as bc
from bayescons.diagnostics import coverage
from bayescons.functionals.boundary_conditions import BoundaryConditions
from bayescons.networks import (
    BoundaryCorrected,
    FeatureCorrection,
    FourierOperator,
    LayerCorrection,
    NoCorrection,
)
from bayescons.problems import BurgersWave, ForcedHeat
from bayescons.surrogates import (
    RandomEffects,
    operator_belief,
    operator_effects,
    random_effects,
    readout,
)

POINTS, CHANNELS = 21, 3
ROUNDING = 100 * float(
    np.finfo(np.float64).eps
)  # of a variance that is a difference, as a share of what it was
SIGMA = np.array([[1.0, 0.6, 0.0], [0.6, 2.0, -0.3], [0.0, -0.3, 0.5]])
STRUCTURES = ("full", "diagonal", "one")
wave, heat = BurgersWave(), ForcedHeat()
grid = wave.grid(POINTS)
network = FourierOperator((4,), 8, depth=2, projection=6, rngs=nnx.Rngs(0))


def simulated(key, functions, variance):
    """Features, and errors that have random effects of covariance SIGMA beside noise of this
    variance.
    """
    of_features, of_weights, of_noise = jax.random.split(key, 3)
    features = jax.random.normal(of_features, (functions, POINTS, CHANNELS))
    weights = jax.random.normal(of_weights, (functions, CHANNELS)) @ np.linalg.cholesky(SIGMA).T
    noise = jnp.sqrt(jnp.broadcast_to(variance, (1, POINTS))) * jax.random.normal(
        of_noise, (functions, POINTS)
    )
    return features, jnp.einsum("fpc,fc->fp", features, weights) + noise


def dense_likelihood(features, errors, effects):
    """Log p(errors), nats a function, from the covariance of each function in full."""
    own = np.broadcast_to(np.asarray(effects.variance), (errors.shape[1],))
    covariances = features @ np.asarray(effects.covariance) @ np.swapaxes(features, 1, 2) + np.diag(
        own
    )
    return np.mean(
        [
            stats.multivariate_normal(cov=k).logpdf(e)
            for k, e in zip(covariances, np.asarray(errors), strict=True)
        ]
    )


@pytest.mark.parametrize("pointwise", [False, True], ids=["one variance", "one for each point"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_step_raises_the_likelihood_which_is_that_of_the_mixed_model(structure, pointwise):
    features, errors = simulated(jax.random.key(0), 12, 0.1)
    found = random_effects(features, errors, structure=structure, pointwise=pointwise, steps=30)
    steps = np.diff(found.log_likelihood)
    assert len(steps) > 3
    assert (steps >= -1e-10 * np.abs(found.log_likelihood[1:])).all()
    np.testing.assert_allclose(
        found.log_likelihood[-1], dense_likelihood(np.asarray(features), errors, found), rtol=1e-9
    )


def test_a_step_is_that_of_the_textbook():
    """One step from a known start, by the dense formulas of Laird and Ware: E[w w' | errors] and
    E[e² | errors].
    """
    features, errors = (np.asarray(a) for a in simulated(jax.random.key(1), 8, 0.1))
    start, after = (
        random_effects(features, errors, steps=s, structure="diagonal", tolerance=-np.inf)
        for s in (0, 1)
    )
    sigma, own = np.asarray(start.covariance), np.asarray(start.variance)
    second, left = [], []
    for phi, error in zip(features, errors, strict=True):
        gain = sigma @ phi.T @ np.linalg.inv(phi @ sigma @ phi.T + np.diag(own))
        mean, spread = gain @ error, sigma - gain @ phi @ sigma
        second.append(np.diagonal(np.outer(mean, mean) + spread))
        left.append((error - phi @ mean) ** 2 + np.diagonal(phi @ spread @ phi.T))
    np.testing.assert_allclose(np.diagonal(after.covariance), np.mean(second, axis=0), rtol=1e-9)
    np.testing.assert_allclose(after.variance, np.mean(left, axis=0), rtol=1e-9)


def test_many_functions_tell_what_their_errors_are_made_of():
    """Entries of Σ from 2,000 functions are off by √(σᵢᵢσⱼⱼ + σᵢⱼ²)/√2000; five of those for nine,
    false alarm 5e-6.
    """
    variance = np.linspace(0.05, 0.5, POINTS)
    found = random_effects(*simulated(jax.random.key(2), 2000, variance), tolerance=1e-6)
    spread = np.sqrt((np.outer(np.diagonal(SIGMA), np.diagonal(SIGMA)) + SIGMA**2) / 2000)
    assert (np.abs(found.covariance - SIGMA) <= 5 * 1.1 * spread).all()
    assert (np.abs(found.variance / variance - 1) <= 5 * np.sqrt(2 / 2000) * 1.2).all()


def test_intervals_of_simulated_effects_hold_their_share_before_and_after_a_fact():
    """95 % of 1,000 new functions, one point each, within 4 standard errors (false alarm 1e-4); the
    fit adds its own, of 400 functions.
    """
    learned = random_effects(*simulated(jax.random.key(3), 400, 0.1))
    features, errors = simulated(jax.random.key(4), 1000, 0.1)
    belief = learned.belief(jnp.zeros(errors.shape), features, batch_dims=1)
    line = bc.Grid(x=np.linspace(0, 1, POINTS))
    given = bc.condition(belief, bc.Constraint(bc.dirichlet(line, "x", "lower"), errors[:, 0]))
    tolerance = 4 * np.sqrt(0.95 * 0.05 * (1 / 1000 + 1 / 400))
    for one in (belief, given):
        held = coverage(one.mean[:, 7], one.variance[:, 7], errors[:, 7], axis=())
        assert abs(float(jnp.mean(held)) - 0.95) <= tolerance
    assert float(jnp.max(given.variance[:, 0] / belief.variance[:, 0])) <= ROUNDING
    assert float(jnp.mean(given.variance[:, 7])) < float(jnp.mean(belief.variance[:, 7]))


def test_channels_that_repeat_others_change_nothing():
    features, errors = simulated(jax.random.key(5), 40, 0.1)
    doubled = jnp.concatenate([features, features @ jnp.ones((CHANNELS, 2))], axis=-1)
    one, other = random_effects(features, errors), random_effects(doubled, errors)
    assert other.root.shape == (CHANNELS + 2, CHANNELS)
    first, second = (e.belief(errors[0], f[0]) for e, f in ((one, features), (other, doubled)))
    np.testing.assert_allclose(
        first.variance, second.variance, rtol=0.02
    )  # both fits stop 1e-4 nats a function short


@pytest.mark.parametrize("family", [wave, heat], ids=["values", "slopes"])
def test_the_mean_given_the_boundary_is_that_of_the_corrected_network(family):
    boundary = BoundaryConditions(family.grid(POINTS), family.sides())
    corrected = BoundaryCorrected(network, boundary, FeatureCorrection())
    key = jax.random.key(6)
    corrected.lift.weights[...] = 0.1 * jax.random.normal(key, (1, 6), jnp.float32)
    corrected.lift.share[...] = jnp.full(1, -10.0)  # nothing smooth beside the features: e^-100
    effects = RandomEffects(
        jnp.diag(jnp.sqrt(corrected.lift.variances()[0])),
        corrected.lift.rests(corrected.boundary)[0],
        np.zeros(1),
    )
    samples = family.sample(key, 1, boundary.grid)
    values = tuple(v[0] for v in samples.boundary)
    belief = operator_belief(network, effects, samples.inputs[0], boundary.grid)
    names = tuple(map(str, boundary.sides))
    given = belief | bc.Constraint(boundary.functional, values, (None,) * len(names), names)
    # lifts in float64 by two orders of the same sums; slopes lose 1/spacing
    np.testing.assert_allclose(given.mean, corrected(samples.inputs[0], values), atol=1e-9)


@pytest.mark.parametrize("kind", ["last layer", "ensemble"])
@pytest.mark.parametrize("family", [wave, heat], ids=["values", "slopes"])
def test_the_boundary_holds_in_the_mean_and_in_every_draw_and_has_no_variance(family, kind):
    line, sides = family.grid(POINTS), family.sides()
    networks = (
        network
        if kind == "last layer"
        else [network, FourierOperator((4,), 8, depth=2, projection=6, rngs=nnx.Rngs(1))]
    )
    effects = operator_effects(networks, family.sample(jax.random.key(7), 20, line), line, rank=4)
    assert effects.root.shape == ((6, 4) if kind == "last layer" else (2, 2))
    new = family.sample(jax.random.key(8), 1, line)
    boundary, names = BoundaryConditions(line, sides), tuple(map(str, sides))
    values = tuple(v[0] for v in new.boundary)
    prior = operator_belief(networks, effects, new.inputs[0], line)
    belief = prior | bc.Constraint(boundary.functional, values, (None,) * len(names), names)
    draws = belief.sample(jax.random.key(9), (5,))
    for side, value in zip(sides, values, strict=True):
        row = side.functional(line)
        size = float(np.abs(row.weights[0]).sum())  # 1 for a value, 1/spacing for a slope
        assert float(jnp.abs(row(belief.mean) - value)) <= 1e-12 * size * float(
            jnp.max(jnp.abs(belief.mean))
        )
        assert float(jnp.max(jnp.abs(jax.vmap(row)(draws) - value))) <= 1e-12 * size * float(
            jnp.max(jnp.abs(draws))
        )
        assert (
            float(bc.gaussians.functional_scale(belief, row)) ** 2
            <= ROUNDING * float(bc.gaussians.functional_scale(prior, row)) ** 2
        )
    if family is wave:
        assert float(jnp.max((belief.variance / prior.variance)[jnp.array([0, -1])])) <= ROUNDING
    assert float(jnp.max(belief.variance)) > 0


def test_one_member_is_a_network_and_several_are_their_mean_and_spread():
    others = [
        FourierOperator((4,), 8, depth=2, projection=6, rngs=nnx.Rngs(seed)) for seed in range(3)
    ]
    state = wave.sample(jax.random.key(10), 1, grid).inputs[0]
    fields = np.stack([member(state, grid) for member in others])
    found = readout(others, state, grid)
    np.testing.assert_allclose(found.mean, fields.mean(axis=0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        jnp.sum(found.features**2, axis=-1), fields.var(axis=0, ddof=1), rtol=1e-9, atol=1e-14
    )
    np.testing.assert_array_equal(readout([network], state, grid).mean, network(state, grid))


def test_a_field_in_time_has_one_set_of_weights():
    both = wave.grid(9, times=3)
    own = FourierOperator((1, 2), 4, depth=1, projection=3, rngs=nnx.Rngs(0))
    samples = wave.sample(jax.random.key(11), 6, both)
    belief = operator_belief(own, operator_effects(own, samples, both), samples.inputs[0], both)
    assert belief.event_shape == (3, 9)
    late = belief | bc.Constraint(bc.functional(lambda u: u[2, 4], both), samples.outputs[0, 2, 4])
    assert float(jnp.max((belief.variance - late.variance)[0])) > 0


def test_a_network_that_reads_boundary_values_asks_for_them():
    reads = FourierOperator((4,), 8, depth=1, projection=6, sides=2, rngs=nnx.Rngs(0))
    samples = wave.sample(jax.random.key(12), 6, grid)
    with pytest.raises(ValueError, match="reads 2 boundary values"):
        operator_effects(reads, samples, grid)
    plain = operator_effects(reads, samples, grid, sides=wave.sides())
    wrapped = operator_effects(
        BoundaryCorrected(reads, BoundaryConditions(grid, wave.sides()), NoCorrection()),
        samples,
        grid,
    )
    np.testing.assert_array_equal(plain.variance, wrapped.variance)
    with pytest.raises(ValueError, match="corrects the layers"):
        readout(
            BoundaryCorrected(network, BoundaryConditions(grid, wave.sides()), LayerCorrection()),
            samples.inputs[0],
            grid,
        )


def test_errors_say_what_was_expected():
    features, errors = simulated(jax.random.key(13), 4, 0.1)
    for arguments, settings, said in (
        ((features, errors[:, :5]), {}, "expected features of shape"),
        ((features[:1], errors[:1]), {}, "two functions or more"),
        ((features, 0 * errors), {}, "all errors are zero"),
        ((features, errors.at[0, 0].set(jnp.nan)), {}, "NaN"),
        ((features, errors), {"structure": "half"}, "unknown structure 'half'"),
        ((features, errors), {"structure": "one", "rank": 2}, "structure='full'"),
    ):
        with pytest.raises(ValueError, match=said):
            random_effects(*arguments, **settings)
    learned = random_effects(features, errors)
    with pytest.raises(ValueError, match="variance of its own"):
        learned.belief(errors[0, :5], features[0, :5])
    with pytest.raises(ValueError, match="3 channels"):
        learned.belief(errors[0], features[0, :, :2])
