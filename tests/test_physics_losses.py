"""Losses that know the physics: the penalty is the residual of the equation, and the score is that
of the belief given its total.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scoringrules
from flax import nnx

from bayescons.axes.quadrature import quadrature_weights
from bayescons.networks import AttentiveNeuralProcess
from bayescons.problems import Advection, Stefan
from bayescons.training import evidence_bound, functions
from bayescons.training.physics import conditioned_score, profiles, softly_constrained

KEY = jax.random.key(0)
EPS32 = float(np.finfo(np.float32).eps)
network = AttentiveNeuralProcess(
    width=8, heads=2, rate=0.0, box=((0.0, 0.0), (1.0, 1.0)), rngs=nnx.Rngs(0)
)


@pytest.fixture(scope="module")
def batch():
    """Three functions with 3 x 3 contexts and targets."""
    return functions(Advection, KEY, size=3, times=3, points=3)(0)


def penalised(batch, weight, points=9):
    return float(
        softly_constrained(network, batch, KEY, problem=Advection, weight=weight, points=points)
    )


def test_without_weight_the_penalty_is_nothing(batch):
    assert penalised(batch, 0.0) == float(evidence_bound(network, batch, KEY))


def test_the_penalty_is_the_sum_of_squared_residuals_by_finite_differences(batch):
    keys = jax.random.split(jax.random.fold_in(KEY, 1), 3)
    total, step = 0.0, 1e-3
    for i in range(3):
        contexts, targets = (
            jax.tree.map(lambda a, i=i: a[i], part) for part in (batch.contexts, batch.targets)
        )
        found = network.latent(targets.inputs, targets.u)
        z = found.mean + found.scale * jax.random.normal(
            jax.random.split(keys[i])[0], found.mean.shape, found.mean.dtype
        )

        def mean(t, x, contexts=contexts, z=z):
            points = jnp.stack([t, x], axis=-1)
            representation = network.represent(contexts.inputs, contexts.u, points)
            return np.asarray(network.decode(representation, z, points).mean, float)

        t, x = targets.t, targets.x
        rate = (mean(t + step, x) - mean(t - step, x)) / (2 * step)
        slope = (mean(t, x + step) - mean(t, x - step)) / (2 * step)
        total += np.sum((rate + float(batch.parameter[i]) * slope) ** 2)
    ours = (penalised(batch, 1.0) - penalised(batch, 0.0)) * 3
    # central differences of a network that is smooth but for its rectifiers: float32 values of
    # order one over a step of 1e-3
    np.testing.assert_allclose(ours, total, rtol=0.01)


def test_profiles_are_exact_solutions_with_their_totals_at_times_of_the_range():
    drawn = profiles(Stefan, KEY, size=4, points=21)(3)
    x = np.linspace(*Stefan.space_range, 21)
    assert ((drawn.time >= 0) & (drawn.time <= 0.1)).all()
    for i in range(4):
        # the total tells the threshold apart from others: find it, and the profile is its solution
        low, high = 0.55, 0.7
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (
                (middle, high)
                if Stefan(middle).total(drawn.time[i]) > drawn.total[i]
                else (low, middle)
            )
        np.testing.assert_allclose(
            drawn.values[i], Stefan(low).solution(drawn.time[i], x), atol=1e-9
        )


def test_the_score_is_that_of_the_published_update_in_numpy():
    drawn = profiles(Stefan, KEY, size=2, points=21)(0)
    x = np.linspace(*Stefan.space_range, 21)
    g, keys, scores = quadrature_weights(x), jax.random.split(KEY, 2), []
    for i in range(2):
        contexts = jax.tree.map(lambda a, i=i: a[i], drawn.contexts)
        points = jnp.stack([jnp.full(21, drawn.time[i]), jnp.asarray(x)], axis=-1)
        found = network.latent(contexts.inputs, contexts.u)
        z = found.mean + found.scale * jax.random.normal(
            keys[i], found.mean.shape, found.mean.dtype
        )
        mean, scale = (
            np.asarray(a, float)
            for a in network.decode(
                network.represent(contexts.inputs, contexts.u, points), z, points
            )
        )
        moved = mean + scale**2 * g * (float(drawn.total[i]) - g @ mean) / (g**2 @ scale**2)
        spread = np.sqrt(scale**2 - (scale**2 * g) ** 2 / (g**2 @ scale**2))
        truth = np.asarray(drawn.values[i])
        density = -0.5 * ((truth - moved) / spread) ** 2 - np.log(spread) - np.log(2 * np.pi) / 2
        scores.append(
            1e3 * np.mean(scoringrules.crps_normal(truth, moved, spread)) - density.mean() / 2
        )
    ours = conditioned_score(network, drawn, KEY, problem=Stefan)
    np.testing.assert_allclose(ours, np.mean(scores), rtol=1e3 * EPS32)


def test_the_score_does_not_care_for_an_error_that_the_total_takes_away():
    """Shifting the mean along v g changes what the network says and nothing of what is believed
    once the total is known.
    """
    drawn = profiles(Stefan, KEY, size=2, points=21)(0)
    slope = jax.grad(lambda shift: conditioned_score(_Shifted(shift), drawn, KEY, problem=Stefan))(
        0.0
    )
    assert abs(slope) <= 1e4 * EPS32


class _Shifted:
    """The network with its mean moved along the direction of the update, v g."""

    def __init__(self, shift):
        self.shift = shift

    def __getattr__(self, name):
        return getattr(network, name)

    def decode(self, *given):
        found = network.decode(*given)
        g = quadrature_weights(np.linspace(0, 1, 21))
        return found._replace(mean=found.mean + self.shift * found.scale**2 * g)
