"""The priors of random programs, with their moments by hand.

Each is a function of a program that is being drawn and of the batch of the prior's own arrays, and
returns the shape of an event; `prior(latents)`, the site; and `moments(latents)`, NumPy's mean,
(*own, *event), and covariance of one event, (*own, n, n) or (n, n).
"""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import scipy.sparse

import bayescons as bc


def normal(program, own):
    rng, event = program.rng, program.event(most=2)
    shape = (*own, *event)
    loc = rng.normal(size=shape)
    scale = program.pick([rng.uniform(0.5, 1.5, shape), 0.8])

    def prior(latents):
        move, stretch = program.shifted(latents)
        return dist.Normal(loc + move, scale * stretch).to_event(len(event))

    def moments(latents):
        move, stretch = program.shifted(latents)
        spread = np.broadcast_to(scale * stretch, shape).reshape(*own, -1)
        return loc + move, spread[..., None] ** 2 * np.eye(spread.shape[-1])

    return event, prior, moments


def _root(program, own, n):
    lead = own if program.chance(0.5) else ()
    return np.tril(program.rng.normal(size=(*lead, n, n)), -1) * 0.6 + 0.8 * np.eye(n)


def multivariate(program, own):
    event = program.event(least=1, most=1)
    loc, root = program.rng.normal(size=(*own, *event)), _root(program, own, *event)
    said = program.pick(["scale_tril", "covariance_matrix", "precision_matrix"])

    def prior(latents):
        move, stretch = program.shifted(latents)
        own_root = root * stretch
        covariance = own_root @ jnp.matrix_transpose(own_root)
        how = {
            "scale_tril": own_root,
            "covariance_matrix": covariance,
            "precision_matrix": jnp.linalg.inv(covariance),
        }
        return dist.MultivariateNormal(loc + move, **{said: how[said]})

    def moments(latents):
        move, stretch = program.shifted(latents)
        return loc + move, stretch**2 * root @ np.matrix_transpose(root)

    return event, prior, moments


def low_rank(program, own):
    event = program.event(least=1, most=1)
    shape = (*own, *event)
    loc, factor = program.rng.normal(size=shape), program.rng.normal(size=(*shape, 2))
    diagonal, library = program.rng.uniform(0.5, 1.5, shape), program.chance(0.4)

    def prior(latents):
        move, _ = program.shifted(latents)
        if library:
            return bc.low_rank(loc + move, np.sqrt(diagonal), factor, batch_dims=len(own))
        return dist.LowRankMultivariateNormal(loc + move, factor, diagonal)

    def moments(latents):
        move, _ = program.shifted(latents)
        whole = factor @ np.matrix_transpose(factor)
        return loc + move, whole + diagonal[..., None] * np.eye(*event)

    return event, prior, moments


def diagonal(program, own):
    event = program.event(most=2)
    shape = (*own, *event)
    loc, scale = program.rng.normal(size=shape), program.rng.uniform(0.5, 1.5, shape)

    def prior(latents):
        move, stretch = program.shifted(latents)
        return bc.diagonal(loc + move, scale * stretch, batch_dims=len(own))

    def moments(latents):
        move, stretch = program.shifted(latents)
        spread = (scale * stretch).reshape(*own, -1)
        return loc + move, spread[..., None] ** 2 * np.eye(spread.shape[-1])

    return event, prior, moments


def matrix_normal(program, own):
    event = program.event(least=2, most=2)
    rows, columns = (_root(program, (), n) for n in event)
    loc = program.rng.normal(size=(*own, *event))

    def prior(latents):
        move, stretch = program.shifted(latents)
        return dist.MatrixNormal(loc + move, rows * stretch, columns)

    def moments(latents):
        move, stretch = program.shifted(latents)
        return loc + move, stretch**2 * np.kron(rows @ rows.T, columns @ columns.T)

    return event, prior, moments


def kronecker(program, own):
    """Without a batch of its own: its plates give it one."""
    event = program.event(least=2, most=2)
    roots = [_root(program, (), n) for n in event]
    covariances = [None if program.chance(0.3) else root @ root.T for root in roots]
    loc = program.rng.normal(size=event)

    def prior(latents):
        move, stretch = program.shifted(latents)
        belief = bc.kronecker(loc + move, covariances, scale=stretch, jitter=0.0)
        return belief.expand(own) if own else belief

    def moments(latents):
        move, stretch = program.shifted(latents)
        full = [np.eye(n) if k is None else k for n, k in zip(event, covariances, strict=True)]
        return loc + move, stretch**2 * np.kron(*full)

    return event, prior, moments


def conditioned(program, own):
    """The posterior of another belief, with noise."""
    event = program.event(least=1, most=1)
    root = _root(program, (), *event)
    loc, weights = program.rng.normal(size=event), program.rng.normal(size=event)

    def prior(latents):
        move, _ = program.shifted(latents)
        belief = bc.dense(loc + move, root @ root.T, jitter=0.0)
        known = bc.Constraint(bc.functional(lambda u: weights @ u, on=event), 0.7, 0.5)
        return (belief | known).expand(own) if own else belief | known

    def moments(latents):
        move, _ = program.shifted(latents)
        covariance, mean = root @ root.T, loc + move
        gain = covariance @ weights / (weights @ covariance @ weights + 0.25)
        return mean + gain * (0.7 - weights @ mean), covariance - np.outer(
            gain, weights @ covariance
        )

    return event, prior, moments


def random_walk(program, own):
    event = program.event(least=1, most=1)
    lead = own if program.chance(0.5) else ()
    scale = program.rng.uniform(0.5, 1.5, lead)

    def prior(latents):
        _, stretch = program.shifted(latents)
        walk = dist.GaussianRandomWalk(scale * stretch, num_steps=event[0])
        return walk if lead == own else walk.expand(own)

    def moments(latents):
        _, stretch = program.shifted(latents)
        times = np.arange(1.0, event[0] + 1)
        steps = np.minimum(times[:, None], times)
        return np.zeros((*own, *event)), ((scale * stretch) ** 2)[..., None, None] * steps

    return event, prior, moments


def autoregression(program, own):
    """On a ring, or on a path."""
    event = program.event(least=1, most=1)
    n = event[0]
    edges = np.eye(n, k=1) + np.eye(n, k=-1)
    loc, correlation, sparse = program.rng.normal(size=event), 0.7, program.chance(0.5)

    def prior(latents):
        move, stretch = program.shifted(latents)
        how = {"is_sparse": True} if sparse else {}
        field = dist.CAR(
            loc + move,
            correlation,
            1.5 / stretch**2,
            scipy.sparse.csr_matrix(edges) if sparse else edges,
            **how,
        )
        return field.expand(own) if own else field

    def moments(latents):
        move, stretch = program.shifted(latents)
        precision = 1.5 / stretch**2 * (np.diag(edges.sum(1)) - correlation * edges)
        return loc + move, np.linalg.inv(precision)

    return event, prior, moments


PRIORS = [
    normal,
    normal,
    normal,
    multivariate,
    multivariate,
    low_rank,
    diagonal,
    matrix_normal,
    kronecker,
    conditioned,
    random_walk,
    autoregression,
]

OF_TWO_AXES = [normal, diagonal, matrix_normal, kronecker]
