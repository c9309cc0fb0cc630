"""A room that is no box: heat in an L, through a window, with walls that are insulated.

u ~ GP(18, 2² Matérn-5/2 ⊗ Matérn-5/2) on Ω = an L of three squares of 4 m,   ∫∫_Ω u = heat
u + 0.5 ∂u/∂n = outside at the window,   ∂u/∂n = 0 at all other walls
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro

import bayescons as bc
from bayescons.functionals import Domain
from bayescons.gaussians import masked
from bayescons.surrogates import separable

edges = bc.axes.Cells(np.linspace(0.0, 8.0, 9))  # averages over square metres
grid = bc.Grid(x=edges, y=edges)
room = Domain(grid, (grid["x"][:, None] < 4) | (grid["y"] < 4))
walls = room.faces()
at_window = (walls.position["x"] == 0) & (walls.position["y"] < 4)
window, insulated = walls[at_window], walls[~at_window]


def program(heat, outside):
    """The temperature of the room, in degrees."""
    smooth = separable(grid, {"x": 3.0, "y": 3.0}, kernels="matern52", amplitude=2.0)
    belief = bc.Gaussian(jnp.full(grid.shape, 18.0), smooth.covariance)
    u = numpyro.sample("u", masked(belief, room))
    bc.observe("heat", room.integral(("x", "y")), u, heat)
    bc.observe("window", window.robin(1.0, 0.5), u, outside)
    bc.observe("walls", insulated.neumann(), u, 0.0)


def inputs(key):
    """A mean of about 18 degrees over 48 square metres, and it is 10 outside."""
    return {"heat": 48 * (18.0 + 0.2 * jax.random.normal(key)), "outside": 10.0}
