"""Approximations of a Gaussian belief given a nonlinear law, as Gaussians: Gauss-Newton and
Laplace. Both are exact for a linear law only.

Their draws satisfy the law to first order about one field, and not exactly; `constrained` draws
from the law itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.descriptions import tabulated
from bayescons.functionals.functions import FunctionFunctional
from bayescons.gaussians.abstract import LOG_2PI
from bayescons.gaussians.conditioning import Constraint, update
from bayescons.gaussians.consistency import InconsistentConstraintsError
from bayescons.gaussians.covariances import Dense
from bayescons.gaussians.gaussian import Gaussian
from bayescons.refusals import RefusedNumbers, RefusedValue
from bayescons.restrictions.nonlinear import NonlinearConstraint, nonlinear_constraint
from bayescons.restrictions.projection import along, anywhere

STEPS = 500  # of Gauss-Newton, which converges linearly
NEWTON = 100  # of the search for the mode of `laplace`
DENSE = 3000  # unknowns above which `laplace` would hold matrices of more than 70 MB


@tabulated("Gaussian in place of a belief given a nonlinear law")
class Approximation(NamedTuple):
    """A Gaussian in place of a belief given a nonlinear law. Approximate.

    Attributes:
        posterior: the Gaussian; its mean satisfies the law, its draws to first order.
        log_evidence: approximate log p(h(u) = b) (nats).
        steps: of the search for the mean.
    """

    posterior: Gaussian
    log_evidence: jax.Array
    steps: int


def gauss_newton(
    belief: Gaussian, function: Callable, value: ArrayLike, *, name: str = "law"
) -> Approximation:
    """Approximate: the belief conditioned on the law linearised about the most probable field that
    satisfies it.

    The mean is the mode u* = argmin (u - m)' K⁺ (u - m) subject to h(u) = b, by repeating

        u ← m + K H'(H K H')⁻¹ (b - h(u) + H (u - m)),   H = h'(u),

    (the iterated extended Kalman filter; steps are shortened where the linearisation overshoots).
    Covariance and evidence are those of `bc.condition` on H* u = b - h(u*) + H* u*.

    Where it fails: neither the curvature of the law nor the co-area factor is seen. Of the belief
    it needs what `bc.condition` needs, so it is the one for large fields. Where there are several
    modes it finds one.

    Args: as for `constrained`.

    Raises:
        TypeError, ValueError: as `bayescons.restrictions.nonlinear.nonlinear_constraint` does.
        InconsistentConstraintsError: where no field with h(u) = b is found.
        FloatingPointError: where the repetition does not settle.
    """
    constraint = nonlinear_constraint(belief, function, value, name)
    z, steps = _nearest(constraint)
    if steps == STEPS:
        raise RefusedNumbers(
            f"Gauss-Newton did not settle on a field with the value of {name!r} in {STEPS} steps: "
            "(a) several fields are about equally probable, (b) the law bends within the width of "
            "the belief. Use constrained(...).sample, or laplace"
        )
    at = constraint.field(z)
    slope = _slope(constraint.function)
    tangent = FunctionFunctional.of(lambda u: slope(u, at), belief.event_shape)
    given = jnp.asarray(value, at.dtype) - constraint.function(at) + tangent(at)
    done = update(belief, Constraint(tangent, given, name=name))
    return Approximation(done.posterior, done.log_evidence, steps)


def laplace(
    belief: Gaussian, function: Callable, value: ArrayLike, *, name: str = "law"
) -> Approximation:
    """Approximate: a Gaussian at the mode of the law's own density, with its curvature.

    The mode is that of N(z; 0, I) / |J J'|^(1/2) on the manifold h(m + A z) = b. With T the
    directions along the manifold there and

        L = I + ∇²φ - Σ_i λ_i ∇²c_i,   φ = log |J J'|^(1/2),   λ = (J J')⁻¹ J (z + ∇φ),

    the covariance of z is T (T'L T)⁻¹ T', and the evidence (2π)^(-q/2) exp(-|z|²/2 - φ) |T'L
    T|^(-1/2): both curvatures and the co-area factor are seen, in one place.

    Where it fails: as any Laplace approximation, on laws with several modes, or so curved that the
    belief's width goes round them. It holds matrices of the number of unknowns squared, and refuses
    more than 3,000.

    Args: as for `constrained`.

    Raises:
        TypeError, ValueError: as `bayescons.restrictions.nonlinear.nonlinear_constraint` does; more
            than 3,000 unknowns.
        InconsistentConstraintsError: where no field with h(u) = b is found.
        FloatingPointError: where the search for the mode does not end.
    """
    constraint = nonlinear_constraint(belief, function, value, name)
    size = belief.covariance.noise_size
    if size > DENSE:
        raise RefusedValue(
            f"laplace holds dense matrices and takes at most {DENSE} unknowns; got {size}. Use "
            "gauss_newton, or constrained"
        )
    z, steps = _mode(constraint, _nearest(constraint)[0])
    level, _, along_it, curvature = _expanded(constraint, z)
    values, vectors = np.linalg.eigh(np.asarray(curvature))
    if values.min() <= 1e-9 * max(1.0, values.max()):
        raise RefusedNumbers(
            f"the density of {name!r} has no mode that is a maximum in all directions: it is flat "
            "along some (a symmetry of the belief and the law, as a circle has). Use "
            "constrained(...).sample"
        )
    spread = jnp.asarray(np.asarray(along_it) @ (vectors / np.sqrt(values)))
    columns = _moved(constraint, spread.T).reshape(spread.shape[1], -1)
    posterior = Gaussian(
        constraint.field(z),
        Dense(jnp.asarray(_square_root(np.asarray(columns))), belief.event_shape),
    )
    rows = len(constraint.value)
    evidence = (
        -level - jnp.sum(jnp.log(constraint.unit)) - rows * LOG_2PI / 2 - np.log(values).sum() / 2
    )
    return Approximation(posterior, evidence, steps)


@functools.lru_cache(maxsize=64)
def _slope(function: Callable) -> Callable:
    """The map u ↦ h'(at) u; one object for one h, so that its update is compiled once."""
    return lambda field, at: jax.jvp(function, (at,), (field,))[1]


def _nearest(constraint: NonlinearConstraint) -> tuple[jax.Array, int]:
    """The point of the manifold nearest to zero, by Gauss-Newton from the mean, or else from
    draws.
    """
    noise = np.random.default_rng(1).normal(size=(8, constraint.belief.covariance.noise_size))
    tries = jnp.asarray(np.concatenate([1e-3 * noise[:1], noise[1:]]), constraint.belief.mean.dtype)
    ends, steps, fine = jax.tree.map(np.asarray, _gauss_newton(constraint, tries))
    if not fine.any():
        raise InconsistentConstraintsError(
            f"no field with the value of {constraint.name!r} was found. Either (a) no field has "
            "that value, (b) it lies too far out for the belief, or (c) h is too curved for "
            "Gauss-Newton; look at constrained(...).sample. Correct the value, or widen the belief"
        )
    best = int(np.argmin(np.where(fine, np.sum(ends**2, axis=-1), np.inf)))
    return jnp.asarray(ends[best]), int(steps[best])


@jax.jit
def _gauss_newton(constraint: NonlinearConstraint, tries):
    """Sequential quadratic programming with the identity for a Hessian, and the l1 merit |z|²/2 +
    μ|c|, from several points.
    """

    def merit(z, weight):
        return z @ z / 2 + weight * jnp.sum(jnp.abs(constraint.gap(z)))

    def onwards(state):
        z, weight, _, count = state
        gap, jacobian = constraint.linear(z)
        multipliers = jnp.linalg.solve(jacobian @ jacobian.T, jacobian @ z - gap)
        step = jacobian.T @ multipliers - z
        weight = jnp.maximum(weight, 2 * jnp.max(jnp.abs(multipliers)))
        shares = 0.5 ** jnp.arange(12)
        merits = jax.vmap(lambda share: merit(z + share * step, weight))(shares)
        best = jnp.nanargmin(merits)
        share = jnp.where(jnp.linalg.norm(step) < 1e-3, 1.0, shares[best])
        return z + share * step, weight, jnp.max(jnp.abs(step)), count + 1

    def going(state):
        z, _, moved, count = state
        small = jnp.sqrt(jnp.finfo(z.dtype).eps) * (1 + jnp.max(jnp.abs(z)))
        return (moved > 1e-2 * small) & (count < STEPS)

    def single(start):
        begun = (
            anywhere(constraint, start).position,
            jnp.zeros_like(start[0]),
            jnp.full_like(start[0], jnp.inf),
            jnp.asarray(0),
        )
        z, _, moved, count = jax.lax.while_loop(going, onwards, begun)
        foot = along(constraint, z, constraint.linear(z)[1])
        return foot.position, count, foot.found & (moved < jnp.inf)

    return jax.vmap(single)(tries)


def _mode(constraint: NonlinearConstraint, z) -> tuple[jax.Array, int]:
    """The mode on the manifold: Newton's steps along it with the curvature made positive, and back
    to it; shortened until they help.
    """
    level, slope, along_it, curvature = _expanded(constraint, z)
    for count in range(NEWTON):
        if float(jnp.max(jnp.abs(slope))) < 1e-9:
            return z, count
        values, vectors = np.linalg.eigh(np.asarray(curvature))
        step = jnp.asarray(
            np.asarray(along_it)
            @ (vectors @ ((vectors.T @ np.asarray(slope)) / np.maximum(np.abs(values), 1e-6)))
        )
        for share in 0.5 ** np.arange(30):
            trial, there, reached = _retracted(constraint, z - share * step)
            if bool(reached) and float(there) <= float(level) + 1e-14 * abs(float(level)):
                break
        else:
            break
        z = trial
        level, slope, along_it, curvature = _expanded(constraint, z)
    if float(jnp.max(jnp.abs(slope))) < 1e-6:
        return z, NEWTON
    raise RefusedNumbers(
        f"the search for the mode of {constraint.name!r} did not end: (a) h is not smooth, (b) its "
        "slope vanishes on the manifold, where the density is infinite. Use constrained(...).sample"
    )


@jax.jit
def _expanded(constraint: NonlinearConstraint, z):
    """-log density, its slope along the manifold, the directions along it, and the curvature
    T'L T.
    """

    def minus_log(z):
        return z @ z / 2 + constraint.log_coarea(z)

    _, jacobian = constraint.linear(z)
    level, gradient = jax.value_and_grad(minus_log)(z)
    rows = len(jacobian)
    basis = jnp.linalg.qr(jacobian.T, mode="complete")[0]
    along_it = basis[:, rows:]
    multipliers = jnp.linalg.solve(jacobian @ jacobian.T, jacobian @ gradient)
    lagrangian = jax.hessian(lambda z: minus_log(z) - multipliers @ constraint.gap(z))(z)
    curvature = along_it.T @ lagrangian @ along_it
    return level, along_it.T @ gradient, along_it, (curvature + curvature.T) / 2


@jax.jit
def _retracted(constraint: NonlinearConstraint, z):
    foot = anywhere(constraint, z)
    return (
        foot.position,
        foot.position @ foot.position / 2 + constraint.log_coarea(foot.position),
        foot.found,
    )


@jax.jit
def _moved(constraint: NonlinearConstraint, directions):
    """A v for each direction v."""
    return jax.vmap(constraint.belief.covariance.root)(directions)


def _square_root(columns: np.ndarray) -> np.ndarray:
    """A square matrix C with C C' = M M', for M' of shape (r, n) with r above or below n."""
    values, vectors = np.linalg.eigh(columns.T @ columns)
    return vectors * np.sqrt(np.maximum(values, 0.0))
