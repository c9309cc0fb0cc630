"""One's own network as the mean of a belief: it was fitted to noisy readings of heat on a ring and
knows no law. The heat of the ring, and that both ends of the grid are one place, are stated.

    m(t, x) = W tanh(V (t, x) + b) + c,   u ~ GP(m, 0.2² Matérn-5/2 ⊗ Matérn-5/2)
    ∫ u dx = 0,   u(t, 1) = u(t, 0)   at every time

Any function that JAX traces will do for m; this one is a module of Flax, and an argument of the
program. Its hidden layer stays as it was drawn, its last one is fitted in `inputs`: random
features, whose least squares have a closed form.
"""

import jax
import jax.numpy as jnp
import numpyro
from flax import nnx

import bayescons as bc
from bayescons.surrogates import separable

grid = bc.Grid(t=jnp.linspace(0, 0.1, 6), x=jnp.linspace(0, 1, 21))
DIFFUSIVITY, NOISE, READINGS = 0.25, 0.1, 60


class Network(nnx.Module):
    """One hidden layer of 40 units, (t, x) -> u."""

    def __init__(self, rngs):
        self.hidden = nnx.Linear(2, 40, bias_init=nnx.initializers.normal(1.0), rngs=rngs)
        self.last = nnx.Linear(40, 1, rngs=rngs)

    def features(self, t, x):
        """Values of the hidden layer, on a new last axis; t and x come to about -2 to 2."""
        return jnp.tanh(self.hidden(jnp.stack([20 * t, 4 * x - 2], axis=-1)))

    def __call__(self, t, x):
        """The field at times and places."""
        return self.last(self.features(t, x))[..., 0]


def program(network):
    """The temperature of the ring."""
    mean = network(*jnp.meshgrid(grid["t"], grid["x"], indexing="ij"))
    belief = separable(grid, {"t": 0.05, "x": 0.2}, kernels="matern52", mean=mean, amplitude=0.2)
    u = numpyro.sample("u", belief)
    bc.observe("heat", bc.integral(grid, over="x"), u, 0.0)
    bc.observe("cut", bc.periodic(grid, "x"), u, 0.0)


def inputs(key):
    """A network, fitted by ridge regression to readings of exp(-4π² k t) sin(2π x)."""
    network = Network(nnx.Rngs(0))
    t, x, noise = jax.random.uniform(key, (3, READINGS)) * jnp.array([[0.1], [1.0], [1.0]])
    y = jnp.exp(-4 * jnp.pi**2 * DIFFUSIVITY * t) * jnp.sin(2 * jnp.pi * x)
    y = y + NOISE * jax.scipy.stats.norm.ppf(noise)
    features = network.features(t, x)
    ridge = features.T @ features + NOISE**2 * jnp.eye(features.shape[1])
    network.last.kernel = nnx.Param(jnp.linalg.solve(ridge, features.T @ y)[:, None])
    return {"network": network}
