"""Microcanonical samplers of BlackJAX: dynamics of constant energy, whose speed follows the
density.

Robnik, De Luca, Silverstein & Seljak (JMLR 24, 2023). *Unadjusted* (MCLMC) every step is accepted:
the draws carry a bias that falls with the step, which is tuned so that the energy varies by 5e-4 a
dimension. There is no acceptance rate that would betray it, so it is for large smooth posteriors,
and to be compared with another sampler where a number matters. *Adjusted* has a Metropolis step,
which makes it right for every step size: what is wrong with it shows in R-hat, as slow mixing. Its
trajectories are two steps long on average; on strongly correlated posteriors, or at a stiff soft
statement, that is a random walk, and NUTS is the better choice.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bayescons.refusals import RefusedValue
from bayescons.sampling.methods import Method, Run, Sampler
from bayescons.sampling.progress import scan
from bayescons.sampling.targets import Target

GRADIENTS = 2  # of a step of the McLachlan integrator


def mclmc(target: Target, method: Method, key: jax.Array, start: dict) -> Run:
    """Unadjusted MCLMC; momentum length and step are tuned in three parts of the warm-up."""
    import blackjax

    _several("mclmc", start)
    key_init, key_warm, key_draws = jax.random.split(key, 3)
    steps = method.warmup * method.thinning
    state, found, tuning = blackjax.mclmc_find_L_and_step_size(
        mclmc_kernel=blackjax.mclmc.build_kernel(),
        num_steps=steps,
        state=blackjax.mclmc.init(start, target.log_density, key_init),
        rng_key=key_warm,
        logdensity_fn=target.log_density,
        frac_tune1=0.3,
        frac_tune2=0.3,
        frac_tune3=0.3,
    )
    tuned = {
        "L": found.L,
        "step_size": found.step_size,
        "inverse_mass_matrix": found.inverse_mass_matrix,
    }
    sampler = blackjax.util.thin_algorithm(
        blackjax.mclmc(target.log_density, **tuned), method.thinning, _between
    )

    def step(state, indexed):
        state, info = sampler.step(indexed[1], state)
        told = {
            "diverging": ~info.nonans,
            "energy_change": info.energy_change,
            "lp": state.logdensity,
        }
        return state, (state.position, told)

    _, (z, told) = scan(
        step, state, method.draws, jax.random.split(key_draws, method.draws), on=method.progress
    )
    told |= {
        name: jnp.full(method.draws, value)
        for name, value in {"n_steps": method.thinning, "step_size": found.step_size}.items()
    }
    gradients = jnp.asarray([GRADIENTS * method.thinning * method.draws, GRADIENTS * tuning])
    return Run(z, told, {}, {"gradients": gradients[0], "warmup_gradients": gradients[1]})


def adjusted_mclmc(target: Target, method: Method, key: jax.Array, start: dict) -> Run:
    """Adjusted, with trajectories of random length; step and mass matrix are tuned to the target
    acceptance.
    """
    import blackjax
    from blackjax.mcmc.adjusted_mclmc_dynamic import make_random_trajectory_length_fn

    _several("adjusted_mclmc", start)
    key_init, key_warm, key_draws = jax.random.split(key, 3)
    length = make_random_trajectory_length_fn(True)
    state, found, tuning = blackjax.adjusted_mclmc_find_L_and_step_size(
        mclmc_kernel=blackjax.adjusted_mclmc_dynamic.build_kernel(integration_steps_fn=length),
        logdensity_fn=target.log_density,
        num_steps=method.warmup * method.thinning,
        state=blackjax.adjusted_mclmc_dynamic.init(start, target.log_density, key_init),
        rng_key=key_warm,
        target=method.target_acceptance,
        frac_tune1=0.3,
        frac_tune2=0.4,
    )
    sampler = blackjax.adjusted_mclmc_dynamic(
        target.log_density,
        step_size=found.step_size,
        inverse_mass_matrix=found.inverse_mass_matrix,
        integration_steps_fn=length,
        integration_steps_params=(found.L / found.step_size,),
    )
    sampler = blackjax.util.thin_algorithm(sampler, method.thinning, _between)

    def step(state, indexed):
        state, info = sampler.step(indexed[1], state)
        told = {
            "diverging": info.is_divergent,
            "n_steps": info.num_integration_steps,
            "acceptance_rate": info.acceptance_rate,
            "lp": state.logdensity,
        }
        return state, (state.position, told)

    _, (z, told) = scan(
        step, state, method.draws, jax.random.split(key_draws, method.draws), on=method.progress
    )
    counted = {
        "gradients": GRADIENTS * jnp.sum(told["n_steps"]),
        "warmup_gradients": GRADIENTS * tuning,
    }
    return Run(z, told | {"step_size": jnp.full(method.draws, found.step_size)}, {}, counted)


# Both move in small steps, of which about ten make one of NUTS's trajectories.
MCLMC = Sampler(
    "microcanonical Langevin, not adjusted: a small bias from its step",
    mclmc,
    thinning=10,
    least_warmup=20,
)
ADJUSTED_MCLMC = Sampler(
    "microcanonical Hamiltonian, with a Metropolis step",
    adjusted_mclmc,
    thinning=10,
    acceptance=0.9,
    least_warmup=20,
)


def _between(info):
    """What is told of the steps between two draws: integer counts summed, what is true of one true
    of all, numbers averaged.
    """

    def told(values):
        if values.dtype == bool:
            return jnp.any(values, axis=0)
        return (
            jnp.sum(values, axis=0)
            if jnp.issubdtype(values.dtype, jnp.integer)
            else jnp.mean(values, axis=0)
        )

    return jax.tree.map(told, info)


def _several(sampler: str, start: dict) -> None:
    if sum(jnp.size(leaf) for leaf in jax.tree.leaves(start)) < 2:
        raise RefusedValue(
            f"sampler {sampler!r} moves on a sphere of directions and needs two unknowns or more; "
            "this program has one. Use 'nuts'"
        )
