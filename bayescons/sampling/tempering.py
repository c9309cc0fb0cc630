"""Tempered sequential Monte Carlo of BlackJAX: particles from the prior to the posterior, and the
evidence on the way.

Between prior and posterior stand the densities p(z) L(z)^λ, λ from 0 to 1; each step is as large as
leaves half of the particles effective (Dai, Heng, Jacob & Whiteley, J. Am. Stat. Assoc. 117, 2022).
The particles are resampled by weight and moved by Hamiltonian steps whose mass matrix is the
covariance of the particles themselves and whose step follows their acceptance, so that both shrink
with the
target: with a step that stays, particles are copied and never moved. Evidence is the product of the
mean weights; each chain is a population of its own, so that the spread between chains says how far
to trust it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from bayescons.sampling.methods import Method, Run, Sampler
from bayescons.sampling.targets import Target

EFFECTIVE = 0.5  # share of the particles that a step in temperature leaves effective
MOVES, TRAJECTORY = 5, 5  # Hamiltonian moves at each temperature, and leapfrog steps of each
STEPS = 500  # temperatures at most; a likelihood that is 1e-8 of the prior wide takes about forty


class _Moved(NamedTuple):
    """What is told of a move, the step size in units of the particles' spread among it."""

    acceptance: jax.Array
    diverging: jax.Array
    step_size: jax.Array


def smc(target: Target, method: Method, key: jax.Array, start: dict) -> Run:
    """One population of `method.draws` particles; `start` is not used, they are drawn from the
    prior.
    """
    import blackjax
    from blackjax.smc.resampling import systematic
    from blackjax.smc.tuning.from_kernel_info import update_scale_from_acceptance_rate

    del start
    key_prior, key_steps = jax.random.split(key)
    particles = jax.vmap(target.prior_draw)(jax.random.split(key_prior, method.draws))
    size = sum(leaf[0].size for leaf in jax.tree.leaves(particles))
    hmc = blackjax.hmc.build_kernel()

    def move(key, state, log_density, step_size, inverse_mass_matrix):
        """A step size of random length, lest trajectories close on themselves."""
        key_size, key_move = jax.random.split(key)
        jittered = step_size * jax.random.uniform(key_size, minval=0.5)
        state, info = hmc(key_move, state, log_density, jittered, inverse_mass_matrix, TRAJECTORY)
        return state, _Moved(info.acceptance_rate, info.is_divergent, step_size)

    def tuned(_, state, info) -> dict:
        """Of the particles as weighted for the next temperature, and of how the last moves were
        accepted.
        """
        moved = info.update_info
        scale = update_scale_from_acceptance_rate(
            moved.step_size[:1, 0], jnp.mean(moved.acceptance)[None], method.target_acceptance
        )
        return {
            "step_size": scale,
            "inverse_mass_matrix": _spread(state.particles, state.weights)[None],
        }

    sampler = blackjax.inner_kernel_tuning(
        smc_algorithm=blackjax.adaptive_tempered_smc,
        logprior_fn=target.log_prior,
        loglikelihood_fn=lambda z: jnp.nan_to_num(
            target.log_likelihood(z), nan=-jnp.inf, posinf=jnp.inf, neginf=-jnp.inf
        ),
        mcmc_step_fn=move,
        mcmc_init_fn=blackjax.hmc.init,
        resampling_fn=systematic,
        mcmc_parameter_update_fn=tuned,
        initial_parameter_value={
            "step_size": jnp.asarray([size**-0.25]),
            "inverse_mass_matrix": _spread(particles, jnp.full(method.draws, 1 / method.draws))[
                None
            ],
        },
        num_mcmc_steps=MOVES,
        target_ess=EFFECTIVE,
    )

    def advanced(carry):
        state, log_evidence, lineage, number, key, _ = carry
        key, key_step = jax.random.split(key)
        state, info = sampler.step(key_step, state)
        told = (jnp.mean(info.update_info.acceptance), jnp.sum(info.update_info.diverging))
        return (
            state,
            log_evidence + info.log_likelihood_increment,
            lineage[info.ancestors],
            number + 1,
            key,
            told,
        )

    def hot(carry):
        return (carry[0].sampler_state.tempering_param < 1) & (carry[3] < STEPS)

    nothing = (jnp.zeros(()), jnp.zeros((), int))
    begun = (
        sampler.init(particles),
        jnp.zeros(()),
        jnp.arange(method.draws),
        0,
        key_steps,
        nothing,
    )
    state, log_evidence, lineage, number, _, told = advanced(
        jax.lax.while_loop(hot, advanced, begun)
    )
    return Run(
        draws=state.sampler_state.particles,
        statistics={"lineage": lineage},
        warmup={},
        summary={
            "gradients": jnp.zeros((), int),
            "warmup_gradients": number * method.draws * (MOVES * TRAJECTORY + 1),
            "log_evidence": jnp.where(
                state.sampler_state.tempering_param >= 1, log_evidence, jnp.nan
            ),
            "temperatures": number - 1,
            "acceptance_rate": told[0],
            "divergences": told[1],
            "ancestors": _distinct(lineage),
        },
    )


SMC = Sampler(
    "particles tempered from the prior to the posterior, with the evidence",
    smc,
    parted=True,
    from_prior=True,
)


def _spread(particles, weights) -> jax.Array:
    """Covariance of weighted particles, (n, n); or, where they are too few to tell, their variances
    (n,).

    Eigenvalues of the correlation that as many independent white directions would show by chance,
    (1 ± sqrt(n / N))² (Marchenko & Pastur),
    are taken to be 1: a mass matrix that trusts them would make the moves slow in directions that
    are not.
    """
    rows = jax.vmap(lambda z: ravel_pytree(z)[0])(particles)
    mean = weights @ rows
    deviations = (rows - mean[None]) * jnp.sqrt(weights)[:, None]
    variances = jnp.sum(deviations**2, axis=0)
    if len(rows) < 4 * rows.shape[1]:
        return variances + _floor(variances)
    scales = jnp.sqrt(variances + _floor(variances))
    unit = deviations / scales[None]
    values, vectors = jnp.linalg.eigh(unit.T @ unit)
    chance = jnp.sqrt(rows.shape[1] * jnp.sum(weights**2))
    white = (values > jnp.maximum(1 - chance, 0.0) ** 2) & (values < (1 + chance) ** 2)
    values = jnp.where(white, 1.0, values + _floor(values))
    root = vectors * jnp.sqrt(values)[None] * scales[:, None]
    return root @ root.T


def _floor(variances) -> jax.Array:
    """What rounding leaves of a variance: a direction that has none would make the mass matrix
    infinite.
    """
    return 4 * jnp.finfo(variances.dtype).eps * jnp.mean(variances)


def _distinct(lineage) -> jax.Array:
    """How many of the first particles have descendants among the last."""
    return jnp.sum(jnp.zeros(lineage.size, int).at[lineage].set(1))
