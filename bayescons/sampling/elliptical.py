"""Elliptical slice sampling of BlackJAX: for programs whose latents are all Gaussian, whatever
their likelihoods.

Murray, Adams & MacKay (AISTATS 2010): with z ~ N(0, I) a priori, an ellipse through the point and a
fresh draw of the prior is searched for a point of sufficient likelihood. There is nothing to tune,
no gradient, and no rejection; where the likelihood says much about many directions the steps become
small, and NUTS is faster.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bayescons.sampling.methods import Method, Run, Sampler
from bayescons.sampling.progress import scan
from bayescons.sampling.targets import Target


def elliptical(target: Target, method: Method, key: jax.Array, start: dict) -> Run:
    """One chain over white noise; the target is that of a `whitened` program."""
    import blackjax

    possible = jnp.isfinite(target.log_likelihood(start))

    def log_likelihood(z):
        """NaN is no likelihood; and a search that began nowhere would not end."""
        found = target.log_likelihood(z)
        return jnp.where(possible, jnp.where(jnp.isnan(found), -jnp.inf, found), 0.0)

    size = sum(leaf.size for leaf in jax.tree.leaves(start))
    sampler = blackjax.elliptical_slice(log_likelihood, mean=jnp.zeros(size), cov=jnp.ones(size))
    sampler = blackjax.util.thin_algorithm(
        sampler, method.thinning, lambda info: info.subiter.sum()
    )
    total = method.warmup + method.draws

    def step(state, indexed):
        state, tries = sampler.step(indexed[1], state)
        return state, (state.position, {"n_steps": tries, "lp": state.logdensity})

    _, (z, told) = scan(
        step, sampler.init(start), total, jax.random.split(key, total), on=method.progress
    )
    warm = {name: values[: method.warmup] for name, values in told.items()}
    z, told = jax.tree.map(lambda values: values[method.warmup :], (z, told))
    told |= {"diverging": jnp.zeros(method.draws, bool)}
    return Run(
        z, told, warm, {"gradients": jnp.zeros((), int), "warmup_gradients": jnp.zeros((), int)}
    )


ELLIPTICAL = Sampler(
    "elliptical slice sampling, where every latent is Gaussian",
    elliptical,
    interpretation="whitened",
    parted=True,
    thinning=5,
)
