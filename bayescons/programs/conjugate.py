"""The closed-form reading: `conjugate` turns a program with Gaussian fields into its posterior,
without a sampler.

Given the latents θ above the field, everything known of a Gaussian field is a linear functional of
it: statements, and likelihoods y ~ Normal(A u + c, s) below it. The posterior given θ is the
conjugate update; over θ it is a mixture, with weights p(b, y | θ).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro import handlers

from bayescons.functionals.functions import FunctionFunctional, is_affine
from bayescons.functionals.joint import split_fields
from bayescons.gaussians.conditioning import Constraint, stack
from bayescons.gaussians.consistency import InconsistentConstraintsError
from bayescons.gaussians.gaussian import Gaussian
from bayescons.programs.fields import unwrapped
from bayescons.programs.handlers import Above, Below, Group, given, groups
from bayescons.programs.statements import closed
from bayescons.programs.structure import ProgramStructure, survey


@dataclasses.dataclass(frozen=True)
class Posterior:
    """The posterior of a program's fields: one Gaussian, or a mixture over draws of the latents
    above them.

    A program with one constrained field gives arrays; with several, dictionaries by name.

    Attributes:
        components: per group of fields its Gaussian; with latents above, a batch of one per draw
            (leading axis).
        groups: per group, names and shapes of its fields.
        latents: draws of the latents from their prior, leading axis the draw; empty where there are
            none.
        weights: of the draws, Pareto-smoothed and summing to one; all equal under `impose`.
        log_evidence: log p(b, y) of all that is observed (nats); for a mixture, the logarithm of
            the mean over the draws.
        pareto_k: shape of the tail of the raw weights; above 0.7 they rest on too few draws to be
            trusted. NaN where the largest are equal (`impose`, discrete latents), so that there is
            no tail.
    """

    components: tuple[Gaussian, ...]
    groups: tuple[tuple[tuple[str, ...], tuple], ...]
    latents: dict
    weights: np.ndarray | jax.Array
    log_evidence: jax.Array
    pareto_k: float

    @property
    def mean(self):
        """Posterior mean of the field, Σ_s w_s m_s."""
        return self._by_name([self._average(c.mean) for c in self.components])

    @property
    def variance(self):
        """Posterior marginal variances, Σ_s w_s (v_s + m_s²) - mean²: within and between the draws
        of the latents.
        """
        return self._by_name([self._total_variance(c) for c in self.components])

    def sample(self, key, n: int = 1):
        """Draws of the field, shape (n, *field); every one satisfies the exact statements to
        rounding.
        """
        fields, _ = self._drawn(key, n)
        return next(iter(fields.values())) if len(fields) == 1 else fields

    def joint_draws(self, key, n: int = 1) -> dict:
        """Joint draws of every field and of every latent above them, by name, shapes (n, *site);
        the fields are those of `sample`.
        """
        fields, latents = self._drawn(key, n)
        return {**latents, **fields}

    def _drawn(self, key, n: int) -> tuple[dict, dict]:
        pick, noise = jax.random.split(key)
        keys = jax.random.split(noise, len(self.components))
        if not self.latents:
            return self._named(
                [c.sample(k, (n,)) for c, k in zip(self.components, keys, strict=True)]
            ), {}
        chosen = jax.random.choice(pick, len(self.weights), (n,), p=jnp.asarray(self.weights))
        fields = self._named(
            [_sample_components(c, chosen, k) for c, k in zip(self.components, keys, strict=True)]
        )
        return fields, {name: value[chosen] for name, value in self.latents.items()}

    @property
    def effective_draws(self) -> float:
        """1 / Σ w_s²: the number of equally weighted draws worth as much."""
        return float(1 / np.sum(self.weights**2))

    def _average(self, values):
        return jnp.tensordot(jnp.asarray(self.weights), values, axes=1) if self.latents else values

    def _total_variance(self, component: Gaussian):
        if not self.latents:
            return component.variance
        mean = self._average(component.mean)
        return self._average(component.variance + (component.mean - mean[None]) ** 2)

    def _by_name(self, joint: list):
        named = self._named(joint)
        return next(iter(named.values())) if len(named) == 1 else named

    def _named(self, joint: list) -> dict:
        named = {}
        for (names, shapes), value in zip(self.groups, joint, strict=True):
            named |= dict(
                zip(names, [value] if len(names) == 1 else split_fields(value, shapes), strict=True)
            )
        return named


def conjugate(program: Callable, *, draws: int = 256, key=None) -> Callable:
    """The program's posterior in closed form: mean, variance, draws and evidence, no sampler.

    Without random latents above the fields it is one conjugate update. With them, `draws` values of
    the latents are taken from their prior and each gives one Gaussian; `observe` weights them by
    their evidence (importance sampling from the prior, Pareto-smoothed, `pareto_k` says whether to
    trust it), `impose` leaves them equal. Observed sites below a field, y ~ Normal(affine in u, s),
    are absorbed.

    Args:
        program: a NumPyro program with `observe` or `impose` statements.
        draws: number of draws of the latents.
        key: `jax.random.key`, needed where there are latents.

    Returns:
        A function of the program's arguments that returns a `Posterior`.

    Raises (when run):
        TypeError: a field, or a likelihood below it, is not Gaussian; names the site and the way
            out.
        ValueError: as `exact`; no statement at all; or latents and no key.
    """

    @functools.wraps(program)
    def solved(*args, **kwargs) -> Posterior:
        found = mixture(program, args, kwargs, draws=draws, key=key)
        if found.log_weights is None:
            return found.posterior
        _raise_on_gaps(found.gaps)
        weights, pareto_k = importance_weights(np.asarray(found.log_weights))
        return dataclasses.replace(found.posterior, weights=weights, pareto_k=pareto_k)

    return solved


class Mixture(NamedTuple):
    """What `conjugate` finds before it looks at any number.

    Attributes:
        posterior: with weights as they come, not smoothed, and a `pareto_k` of NaN.
        log_weights: of the draws of the latents, log p(b, y | θ), shape (draws,); None where there
            are no latents.
        gaps: what contradicting rows leave, in prior standard deviations, shape (draws, groups) or
            (groups,).
    """

    posterior: Posterior
    log_weights: jax.Array | None
    gaps: jax.Array


def mixture(
    program: Callable, args: tuple = (), kwargs: dict | None = None, *, draws: int = 256, key=None
) -> Mixture:
    """`conjugate` as a function that may be traced, under `jit` and `vmap`: nothing is smoothed,
    and nothing raised of gaps.
    """
    kwargs = kwargs or {}
    structure = survey(program, args, kwargs)
    if not structure.fields:
        raise ValueError(
            "the program states nothing about any field: there is no bc.observe or bc.impose in it"
        )
    refuse(structure)
    component = functools.partial(_component, program, structure, args, kwargs)
    tied: list = []
    if not structure.latents:
        gaussians, _, weight, gaps = component(tied, jax.random.key(0))
        return Mixture(
            Posterior(gaussians, tuple(tied), {}, np.ones(1), weight, float("nan")), None, gaps
        )
    if key is None:
        names = ", ".join(sorted(map(repr, structure.latents)))
        raise ValueError(
            f"the program has latents above its fields ({names}): write bc.conjugate(program, "
            "key=jax.random.key(0))"
        )
    gaussians, latents, log_weights, gaps = jax.vmap(functools.partial(component, tied))(
        jax.random.split(key, draws)
    )
    evidence = jax.nn.logsumexp(log_weights) - jnp.log(draws)
    weights = jax.nn.softmax(log_weights)
    posterior = Posterior(
        gaussians, tuple(tied[: len(gaussians)]), latents, weights, evidence, float("nan")
    )
    return Mixture(posterior, log_weights, gaps)


def importance_weights(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Normalised, Pareto-smoothed importance weights and the shape k of their tail (Vehtari et al.,
    JMLR 2024), by ArviZ.

    Fewer than 25 weights, weights that are all equal, and weights whose largest is shared (discrete
    latents) have no tail to smooth: they stay, and k is NaN. A tail that spans more than the range
    of floats (one draw foresaw the values, the others not at all) has no fit: the weights stay, and
    k is infinite.
    """
    raw = np.exp(log_weights - np.max(log_weights))
    raw = raw / raw.sum()
    if len(log_weights) < 25 or np.sum(log_weights > np.max(log_weights) - 1e-12) >= 5:
        return raw, float("nan")
    from arviz_stats.base import array_stats

    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        smoothed, pareto_k = array_stats.psislw(-log_weights)
    if np.isnan(smoothed).any():
        return raw, float("inf")
    weights = np.exp(smoothed - np.max(smoothed))
    return weights / weights.sum(), float(pareto_k)


def _component(program, structure: ProgramStructure, args, kwargs, tied: list, key):
    """Given one draw of the latents: the fields' posteriors, the latents, the log weight, and gaps
    of contradicting rows.
    """
    above = Above(program, structure)
    with handlers.block(), handlers.seed(rng_seed=key):
        above(*args, **kwargs)
    found = absorb(program, structure, above, args, kwargs)
    results = [given(group) for group in found]
    tied[:] = [(group.names, group.shapes) for group in found]
    evidence = [e for _, e, _ in results if e is not None]
    log_weight = sum([jnp.sum(e) for e in evidence] + list(above.weights.values()), jnp.zeros(()))
    latents = {name: above.sites[name] for name in structure.latents}
    return (
        tuple(posterior for posterior, _, _ in results),
        latents,
        log_weight,
        jnp.stack([gap for _, _, gap in results]),
    )


def absorb(program, structure: ProgramStructure, above: Above, args, kwargs) -> list[Group]:
    """The groups, with the Gaussian likelihoods below them added to what was observed."""
    found = groups(above)
    if not structure.likelihoods:
        return found
    if len(found) > 1 or found[0].prior.batch_shape:
        raise TypeError(
            f"likelihoods ({_names(structure.likelihoods)}) below several groups of fields, or a "
            "plate of them, have no closed form here; use NUTS on bc.exact(program)"
        )
    group = found[0]
    absorbed = [
        _likelihood(name, program, group, above, args, kwargs) for name in structure.likelihoods
    ]
    return [
        group._replace(
            observed=stack([*([group.observed] if group.observed is not None else []), *absorbed])
        )
    ]


def _likelihood(name: str, program, group: Group, above: Above, args, kwargs) -> Constraint:
    """An observed site y ~ Normal(A u + c, s) below the fields as a constraint with noise."""

    def site(joint):
        recorder = handlers.trace(Below(program, above.sites, group.fields(joint)))
        with handlers.block(), handlers.seed(rng_seed=0):
            return recorder.get_trace(*args, **kwargs)[name]

    at_mean = site(group.prior.mean)
    base, value = _normal(name, at_mean["fn"]), at_mean["value"]
    if at_mean["scale"] is not None:
        raise TypeError(
            f"{name!r} stands under a scale or a subsampled plate: no closed form with all its "
            "data. Take it out, or use bc.exact(program)"
        )

    def location(joint):
        return jnp.broadcast_to(_normal(name, site(joint)["fn"]).loc, jnp.shape(value))

    if not is_affine(location, group.prior.event_shape):
        raise TypeError(
            f"the location of {name!r} is not affine in the field: no closed form. Use NUTS on "
            "bc.exact(program)"
        )
    functional = closed(FunctionFunctional(location, group.prior.event_shape))
    return Constraint(functional, value, jnp.broadcast_to(base.scale, jnp.shape(value)), name)


def _normal(name: str, site: dist.Distribution) -> dist.Normal:
    base = unwrapped(site)
    if not isinstance(base, dist.Normal):
        raise TypeError(
            f"{name!r} is observed below the field with a {type(base).__name__} likelihood: no "
            "closed form. Use NUTS (or SVI) on bc.exact(program), which samples it exactly"
        )
    return base


def refuse(structure: ProgramStructure) -> None:
    """Raise where likelihoods below the fields have no closed form given what stands above: they
    rest on a latent below, or their scale does.
    """
    if structure.entangled:
        raise TypeError(
            f"the likelihoods ({_names(structure.entangled)}) rest on a latent below the field, or "
            "their scale depends on it: no closed form. Use NUTS on bc.exact(program)"
        )


def _raise_on_gaps(gaps) -> None:
    if not float(jnp.max(gaps)) < 1e-6:
        raise InconsistentConstraintsError(
            "for some draws of the latents exact statements contradict each other, by "
            f"{float(jnp.max(gaps)):.1e} prior standard deviations. Fix the latents, "
            f"numpyro.handlers.substitute(program, data={{...}}), and bc.conjugate names the rows"
        )


def _sample_components(component: Gaussian, chosen, key):
    """One draw from each chosen component, one at a time: a batch of covariances is not copied."""
    noise = jax.random.normal(
        key, (len(chosen), *component.batch_shape[1:], component.covariance.noise_size)
    )
    return jax.lax.map(
        lambda pair: jax.tree.map(lambda x: x[pair[0]], component).transport(pair[1]),
        (chosen, noise),
    )


def _names(names) -> str:
    return ", ".join(sorted(map(repr, names)))
