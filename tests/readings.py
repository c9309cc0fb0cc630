"""What the tests of programs share: one small grid, the textbook's answer to a program, and how to
read a rewritten program.
"""

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.diagnostics import effective_sample_size
from numpyro.infer.util import log_density

import bayescons as bc
from tests.structures import exponential, textbook

EPS = np.finfo(float).eps
GRID = bc.Grid(x=np.linspace(0, 1, 9))
N = GRID.size
MASS = bc.integral(GRID)
WALL = bc.dirichlet(GRID, "x", "lower")
MEAN = np.sin(3 * GRID["x"])
KERNEL = exponential(GRID["x"], 0.3)
# Sums over the nine points and solves with up to six rows whose Gram matrix has a condition number
# below 1e3.
ROUNDING = 1e4 * EPS


def row(functional, size=N) -> np.ndarray:
    """The rows G of a linear functional, as a matrix."""
    return np.atleast_2d(jax.jacobian(functional)(jnp.zeros(size)))


def answer(covariance, *facts, mean=MEAN):
    """The textbook's posterior for facts (functional, value, scale or 0)."""
    rows = np.concatenate([row(functional, len(mean)) for functional, _, _ in facts])
    values = np.concatenate([np.ravel(value) for _, value, _ in facts])
    scales = np.concatenate([np.full(np.size(value), scale) for _, value, scale in facts])
    return textbook(mean, covariance, rows, values, scales**2)


def sites(program, *args, given=None, **kwargs) -> dict:
    """Values of all sites of a program, some of them given."""
    given = {} if given is None else given
    model = handlers.seed(handlers.substitute(program, data=given), 0)
    return {
        name: site["value"]
        for name, site in handlers.trace(model).get_trace(*args, **kwargs).items()
    }


def log_joint(program, *args, **values):
    """Log density of a program at given values of its latent sites."""
    return log_density(program, args, {}, values)[0]


def push_forward(program, *args, given=None, free="u_free", field="u"):
    """Mean c and covariance A A' of the field u = A z + c that an exact program makes of white
    noise z.
    """
    given = {} if given is None else given
    shape = sites(program, *args, given=given)[free].shape

    def draw(white):
        return sites(program, *args, given=given | {free: white.reshape(shape)})[field].ravel()

    origin = jnp.zeros(int(np.prod(shape)))
    mean, derivative = jax.linearize(draw, origin)
    root = np.asarray(jax.vmap(derivative)(jnp.eye(origin.size)).T)
    return np.asarray(mean), root @ root.T


def log_normal(white) -> float:
    """Log N(z; 0, I)."""
    white = np.ravel(white)
    return float(-(white @ white + white.size * np.log(2 * np.pi)) / 2)


def agree(draws, truth, standard_errors=6.0):
    """Whether means over (chain, draw, ...) are the truth, within 6 standard errors from the
    effective sample size.

    By the normal law a true mean is refused with probability 2e-9 a number; that leaves room for
    the tails of squares. Numbers that do not vary are compared to rounding.
    """
    draws = np.asarray(draws)
    flat = draws.reshape(*draws.shape[:2], -1)
    spread, mean, truth = flat.std((0, 1)), flat.mean((0, 1)), np.ravel(truth)
    moving = spread > 1e-10
    size = np.asarray(effective_sample_size(flat[..., moving])) if moving.any() else np.ones(0)
    error = np.full(mean.shape, 1e-10)
    error[moving] = standard_errors * spread[moving] / np.sqrt(size)
    return bool((np.abs(mean - truth) <= error).all())
