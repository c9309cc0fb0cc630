"""Hamiltonian samplers: the No-U-Turn sampler of NumPyro and that of BlackJAX, each as one chain
from one start.

Both are Hoffman & Gelman (JMLR 15, 2014) with multinomial trajectories, and tune a diagonal mass
matrix and the step in Stan's windows. Stan adds 1e-3 · 5 / (n + 5) to every variance that n draws
of a window gave, a floor in the unit of the unknown: one whose standard deviation is below 3e-3
beside others near 1 makes all steps short (NumPyro 0.22: 64 steps a draw at 1e-4, where 5 do).
NumPyro can leave it out, and does here; BlackJAX cannot.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro

from bayescons.sampling.methods import Method, Run, Sampler
from bayescons.sampling.progress import scan
from bayescons.sampling.targets import Target

DEPTH = 10  # doublings of a trajectory at most


def nuts(target: Target, method: Method, key: jax.Array, start: dict) -> Run:
    """NumPyro's NUTS. One loop runs through warm-up and draws, so that the trajectory is compiled
    once.
    """
    kernel = numpyro.infer.NUTS(
        potential_fn=lambda z: -target.log_density(z),
        target_accept_prob=method.target_acceptance,
        regularize_mass_matrix=False,
        max_tree_depth=DEPTH,
    )
    state = kernel.init(key, method.warmup, start, (), {})
    total = method.warmup + method.draws * method.thinning

    def step(before, _):
        state = kernel.sample(before, (), {})
        state = state._replace(adapt_state=_moving(state.adapt_state, before.adapt_state))
        told = {
            "diverging": state.diverging,
            "n_steps": state.num_steps,
            "reached_max_treedepth": state.num_steps >= 2**DEPTH - 1,
            "acceptance_rate": state.accept_prob,
            "energy": state.energy,
            "lp": -state.potential_energy,
            "step_size": state.adapt_state.step_size,
        }
        return state, (state.z, told)

    _, (z, told) = scan(step, state, total, on=method.progress)
    return _split(z, told, method)


def blackjax_nuts(target: Target, method: Method, key: jax.Array, start: dict) -> Run:
    """BlackJAX's NUTS after its window adaptation. The bar begins after the warm-up, which is one
    call of the library.
    """
    import blackjax

    key_warm, key_draws = jax.random.split(key)
    tuning = blackjax.window_adaptation(
        blackjax.nuts,
        target.log_density,
        target_acceptance_rate=method.target_acceptance,
        max_num_doublings=DEPTH,
    )
    (state, parameters), history = tuning.run(key_warm, start, num_steps=method.warmup)
    sampler = blackjax.nuts(target.log_density, **parameters)

    def step(state, indexed):
        state, info = sampler.step(indexed[1], state)
        return state, (state.position, _told(state, info))

    total = method.draws * method.thinning
    _, (z, told) = scan(step, state, total, jax.random.split(key_draws, total), on=method.progress)
    warm = _told(history.state, history.info) | {"step_size": history.adaptation_state.step_size}
    told |= {"step_size": jnp.full(total, parameters["step_size"])}
    return _gathered(z, told, warm, method)


NUTS = Sampler("NumPyro's No-U-Turn sampler", nuts)
BLACKJAX_NUTS = Sampler("BlackJAX's No-U-Turn sampler", blackjax_nuts, least_warmup=20)
# Acceptance higher than NUTS's own: where the evidence falls off a cliff, as exp(-c / amplitude²)
# does, long steps diverge, and in the few unknowns that are left short ones cost little.
COLLAPSED = Sampler(
    "NUTS over the latents above the fields, the fields integrated out and then drawn exactly",
    nuts,
    interpretation="collapsed",
    closed_form=True,
    acceptance=0.95,
)


def _told(state, info) -> dict:
    return {
        "diverging": info.is_divergent,
        "n_steps": info.num_integration_steps,
        "reached_max_treedepth": info.num_integration_steps >= 2**DEPTH - 1,
        "acceptance_rate": info.acceptance_rate,
        "energy": info.energy,
        "lp": state.logdensity,
    }


def _moving(adapted, before):
    """What the warm-up has learnt; a window in which an unknown stood still teaches nothing of its
    scale, and would hold it there for good.
    """
    names = ("inverse_mass_matrix", "mass_matrix_sqrt", "mass_matrix_sqrt_inv")
    new, old = ({name: getattr(state, name) for name in names} for state in (adapted, before))
    taught = jax.tree.map(lambda variance: variance > 0, new["inverse_mass_matrix"])
    return adapted._replace(
        **{name: jax.tree.map(jnp.where, taught, new[name], old[name]) for name in names}
    )


def _split(z: dict, told: dict, method: Method) -> Run:
    """A history of warm-up and draws, taken apart."""
    warm = {name: values[: method.warmup] for name, values in told.items()}
    rest = jax.tree.map(lambda values: values[method.warmup :], (z, told))
    return _gathered(*rest, warm, method)


def _gathered(z: dict, told: dict, warm: dict, method: Method) -> Run:
    """Draws thinned; steps and divergences between them counted."""
    every, gradients = method.thinning, jnp.sum(told["n_steps"])
    kept = jax.tree.map(lambda values: values[every - 1 :: every], (z, told))
    if every > 1:
        kept[1]["n_steps"] = told["n_steps"].reshape(-1, every).sum(axis=1)
        for name in "diverging", "reached_max_treedepth":
            kept[1][name] = told[name].reshape(-1, every).any(axis=1)
    return Run(*kept, warm, {"gradients": gradients, "warmup_gradients": jnp.sum(warm["n_steps"])})
