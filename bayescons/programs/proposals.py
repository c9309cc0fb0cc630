"""Where the prior of the latents above the fields foresees too little of what was observed: as many
draws again from a proposal fitted to their posterior.

Draws of both are weighed against the mixture of both (the balance heuristic), so a mode that the
proposal does not know is still met by the prior, and shows in the weights.

    w(θ) = p(θ) p(b, y | θ) / (p(θ) / 2 + q(θ) / 2)

q is made of Student t distributions in unconstrained coordinates, one at each mode of the posterior
that was found, with its curvature.

Source: Owen & Zhou, "Safe and effective importance sampling", J. Am. Stat. Assoc. 95 (2000), 135;
Veach & Guibas (SIGGRAPH 1995) for the balance heuristic.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from bayescons import tracing
from bayescons.programs.collapsed import collapsed
from bayescons.programs.structure import ProgramStructure

DEGREES = 7.0  # of the Student t: tails heavier than those of most posteriors
LARGEST = 20  # unknowns: in more, one such distribution at a mode is far from the posterior
STARTS = 4  # draws of the prior of the largest weight from which modes are looked for, and others


class Proposal(NamedTuple):
    """Equal parts of Student t distributions in unconstrained coordinates, one for each mode.

    Attributes:
        modes: where the posterior density is largest, shape (modes, unknowns).
        roots: of each, A with A A' the inverse of the curvature there.
    """

    modes: np.ndarray
    roots: np.ndarray

    def draw(self, key, number: int) -> np.ndarray:
        """Shape (number, unknowns)."""
        noise, scale = jax.random.split(key)
        size = self.modes.shape[1]
        normal = np.asarray(jax.random.normal(noise, (number, size)))
        chi = 2 * np.asarray(jax.random.gamma(scale, DEGREES / 2, (number, 1)))
        which = np.arange(number) % len(self.modes)
        stretched = normal * np.sqrt(DEGREES / chi)
        return self.modes[which] + np.einsum("nij,nj->ni", self.roots[which], stretched)

    def log_density(self, z: np.ndarray) -> np.ndarray:
        """Of flat points, shape (number, unknowns)."""
        each = [self._of_one(z, *part) for part in zip(self.modes, self.roots, strict=True)]
        return np.logaddexp.reduce(each, axis=0) - math.log(len(each))

    @staticmethod
    def _of_one(z: np.ndarray, mode: np.ndarray, root: np.ndarray) -> np.ndarray:
        white = np.linalg.solve(root, (z - mode).T)
        constant = math.lgamma((DEGREES + mode.size) / 2) - math.lgamma(DEGREES / 2)
        constant -= mode.size / 2 * math.log(DEGREES * math.pi) + np.linalg.slogdet(root)[1]
        return constant - (DEGREES + mode.size) / 2 * np.log1p(np.sum(white**2, axis=0) / DEGREES)


def proposal(
    structure: ProgramStructure, latents: dict, log_weights: np.ndarray
) -> Proposal | None:
    """A proposal fitted to the posterior of the latents; None where there is none: discrete
    latents, more of them than `LARGEST`, or no mode.

    Modes are looked for from draws of the prior, those of the largest weight and some of any, so
    that more than one is found where there are more.

    Args:
        structure: of the program.
        latents: draws from the prior.
        log_weights: of these draws.
    """
    example = {name: value[0] for name, value in latents.items()}
    if any(not jnp.issubdtype(jnp.result_type(v), jnp.floating) for v in example.values()):
        return None
    if sum(np.size(v) for v in example.values()) > LARGEST:
        return None
    points = unconstrained(structure, latents)
    best = np.argsort(-log_weights)[:STARTS]
    starts = dict.fromkeys([*best.tolist(), *range(min(STARTS, len(points)))])
    shapes = tracing.Static(_shapes(structure, example))
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for start in starts:
        mode = _mode(structure, points[start], shapes)
        if mode is not None and not any(_same(mode, known) for known in found):
            found.append(mode)
    if not found:
        return None
    return Proposal(*(np.stack(each) for each in zip(*found, strict=True)))


def _mode(
    structure: ProgramStructure, start: np.ndarray, shapes: tracing.Static
) -> tuple[np.ndarray, np.ndarray] | None:
    """The mode that lies downhill from a start and the root of its spread, if there is one."""
    from scipy.optimize import minimize

    def descent(point):
        value, gradient = _descent(structure, point, shapes)
        return float(value), np.asarray(gradient, float)

    def curvature(point):
        return np.asarray(_curvature(structure, point, shapes), float)

    try:
        with np.errstate(all="ignore"):
            found = minimize(descent, start, jac=True, hess=curvature, method="trust-exact")
        root = np.linalg.inv(np.linalg.cholesky(curvature(found.x))).T
    except (np.linalg.LinAlgError, ValueError):
        return None
    slope = root.T @ descent(found.x)[1]
    if not np.isfinite(root).all() or not np.abs(slope).max() < 0.1:
        return None
    return found.x, root


def _same(one: tuple, other: tuple) -> bool:
    """Whether two modes are one: closer than half a standard deviation."""
    return float(np.abs(np.linalg.solve(other[1], one[0] - other[0])).max()) < 0.5


def unconstrained(structure: ProgramStructure, latents: dict) -> np.ndarray:
    """Flat unconstrained coordinates of draws of the latents, shape (draws, unknowns)."""
    z = _all_unconstrained(structure, latents)
    draws = len(next(iter(latents.values())))
    return np.concatenate([np.asarray(z[n]).reshape(draws, -1) for n in sorted(z)], axis=1)


def constrained(structure: ProgramStructure, points: np.ndarray, example: dict) -> dict:
    """Latents at flat unconstrained coordinates, the inverse of `unconstrained`."""
    shapes = tracing.Static(_shapes(structure, example))
    return _all_constrained(structure, points, shapes)


def log_joint(structure: ProgramStructure, points: np.ndarray, example: dict) -> np.ndarray:
    """log p(θ) p(b, y | θ) |dθ/dz| at flat points, shape (draws,)."""
    shapes = tracing.Static(_shapes(structure, example))
    return -np.asarray(_potentials(structure, points, shapes))


def _shapes(structure: ProgramStructure, example: dict) -> tuple:
    z = jax.eval_shape(lambda: _unconstrain(structure, example))
    return tuple((name, z[name].shape) for name in sorted(z))


def _named(flat, shapes: tuple) -> dict:
    ends = np.cumsum([math.prod(shape) for _, shape in shapes])[:-1]
    parts = jnp.split(flat, ends)
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes, parts, strict=True)}


def _unconstrain(structure: ProgramStructure, latents: dict) -> dict:
    return unconstrain_fn(collapsed(structure), (), {}, latents)


def _potential(structure: ProgramStructure, flat, shapes: tracing.Static):
    return potential_energy(collapsed(structure), (), {}, _named(flat, shapes.value))


@tracing.compiled
def _all_unconstrained(structure: ProgramStructure, latents: dict) -> dict:
    return jax.vmap(_unconstrain, in_axes=(None, 0))(structure, latents)


@tracing.compiled
def _all_constrained(structure: ProgramStructure, points, shapes: tracing.Static) -> dict:
    def one(flat):
        return constrain_fn(collapsed(structure), (), {}, _named(flat, shapes.value))

    return jax.vmap(one)(points)


@tracing.compiled
def _potentials(structure: ProgramStructure, points, shapes: tracing.Static):
    return jax.vmap(_potential, in_axes=(None, 0, None))(structure, points, shapes)


@tracing.compiled
def _descent(structure: ProgramStructure, flat, shapes: tracing.Static) -> tuple:
    return jax.value_and_grad(_potential, argnums=1)(structure, flat, shapes)


@tracing.compiled
def _curvature(structure: ProgramStructure, flat, shapes: tracing.Static):
    return jax.hessian(_potential, argnums=1)(structure, flat, shapes)
