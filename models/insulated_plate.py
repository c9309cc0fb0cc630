"""A square plate, all walls insulated: no slope at any wall, and the heat it holds is known.

u ~ GP(1, 0.5² Matérn-5/2 ⊗ Matérn-5/2),   ∂u/∂n = 0 at four walls,   ∫∫ u = content
"""

import jax
import jax.numpy as jnp
import numpyro

import bayescons as bc
from bayescons.surrogates import separable

grid = bc.Grid(x=[i / 10 for i in range(11)], y=[i / 10 for i in range(11)])
WALLS = [(axis, side) for axis in ("x", "y") for side in ("lower", "upper")]


def program(content):
    """The temperature of the plate."""
    smooth = separable(grid, {"x": 0.4, "y": 0.4}, kernels="matern52", amplitude=0.5)
    u = numpyro.sample("u", bc.Gaussian(jnp.ones(grid.shape), smooth.covariance))
    bc.observe("content", bc.integral(grid, over=("x", "y")), u, content)
    for axis, side in WALLS:
        bc.observe(f"{side} {axis} wall", bc.neumann(grid, axis, side), u, 0.0)


def inputs(key):
    """What the plate holds."""
    return {"content": 1.0 + 0.1 * jax.random.normal(key)}
