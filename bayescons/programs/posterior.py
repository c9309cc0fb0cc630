"""The posterior of a program's fields, by name."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayescons import tracing
from bayescons.arrays import sample_shape
from bayescons.descriptions import Description, described, known, span, words
from bayescons.functionals.bundles import Bundle
from bayescons.gaussians.bundled import BlockDiagonal, OneOfSeveral, Regrouped
from bayescons.gaussians.conditioning import Constraint, update
from bayescons.gaussians.gaussian import Gaussian
from bayescons.programs.importance import (
    UnreliableWeightsWarning,
    importance_weights,
    trusted,
    untrusted,
)
from bayescons.programs.layouts import Layout
from bayescons.refusals import RefusedType, RefusedValue
from bayescons.results import trees as results

MOMENTS = ("mean", "variance")


@described
@dataclasses.dataclass(frozen=True)
class Posterior:
    """The posterior of a program's fields: one Gaussian for each group of fields that statements
    tie together, or a mixture over draws of the latents above them. Everything is by name.

    Attributes:
        components: per group of fields its Gaussian; with latents above, a batch of one per draw
            (leading axis).
        groups: per group, how its fields are laid out as one.
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
    groups: tuple[Layout, ...]
    latents: dict
    weights: np.ndarray | jax.Array
    log_evidence: jax.Array
    pareto_k: float

    @property
    def mean(self) -> dict[str, jax.Array]:
        """Posterior mean of every field, Σ_s w_s m_s."""
        return self._named([self._average(c.mean) for c in self.components])

    @property
    def variance(self) -> dict[str, jax.Array]:
        """Posterior marginal variances, Σ_s w_s (v_s + m_s²) - mean²: within and between the draws
        of the latents.
        """
        return self._named([self._total_variance(c) for c in self.components])

    def sample(self, key, shape=()) -> dict[str, jax.Array]:
        """Joint draws of every field, and of every latent above them, by name, shapes (*shape,
        *site); every one satisfies the exact statements to rounding. `shape` is a whole number or a
        tuple of them.
        """
        shape = sample_shape(shape)
        pick, noise = jax.random.split(key)
        keys = jax.random.split(noise, len(self.components))
        pairs = list(zip(self.components, keys, strict=True))
        if not self.latents:
            return self._named([c.sample(k, shape) for c, k in pairs])
        number = int(np.prod(shape, dtype=int))
        chosen = jax.random.choice(pick, len(self.weights), (number,), p=jnp.asarray(self.weights))
        fields = self._named([_sample_components(c, chosen, k) for c, k in pairs])
        latents = {name: value[chosen] for name, value in self.latents.items()}
        return {n: v.reshape(*shape, *v.shape[1:]) for n, v in {**latents, **fields}.items()}

    def quantile(self, share: float) -> dict[str, jax.Array]:
        """The value below which each point lies with this probability, by name; of a mixture the
        quantile of the mixture.
        """
        if not 0 < share < 1:
            raise RefusedValue(
                f"a quantile is asked for at a probability above 0 and below 1; got {share!r}"
            )
        means, variances = ([getattr(c, what) for c in self.components] for what in MOMENTS)
        weights = np.asarray(self.weights) if self.latents else np.ones(1)
        found = []
        for mean, variance in zip(means, variances, strict=True):
            moments = (np.asarray(mean), np.sqrt(np.asarray(variance)))
            if not self.latents:
                moments = tuple(moment[None] for moment in moments)
            found.append(jnp.asarray(_quantile(*moments, weights, share)))
        return self._named(found)

    def interval(self, level: float = 0.95) -> dict[str, tuple[jax.Array, jax.Array]]:
        """The ends of the central interval that holds each point with this probability, by name."""
        low, high = (self.quantile(share) for share in ((1 - level) / 2, (1 + level) / 2))
        return {name: (low[name], high[name]) for name in low}

    def datatree(self, key, draws: int = 1000, *, grid=None, dims=None) -> Any:
        """Independent draws as an ArviZ tree of one chain: `posterior`, and in the attributes
        `log_evidence` and, of a mixture, `pareto_k` and `effective_draws`.
        """
        own = {a.name: a.dims(grid) for layout in self.groups for a in layout.axes if a.plates}
        drawn = {name: np.asarray(v)[None] for name, v in self.sample(key, draws).items()}
        told = {"log_evidence": float(np.sum(self.log_evidence))}
        if self.latents:
            told |= {"pareto_k": self.pareto_k, "effective_draws": self.effective_draws}
        return results.datatree(drawn, grid, dims={**own, **(dims or {})}, attributes=told)

    def description(self) -> Description:
        """Fields with their shapes, evidence and, of a mixture, how far its weights are to be
        trusted.
        """
        names = ", ".join(name for layout in self.groups for name in layout.names)
        told = map(_told, self.groups, self.components)
        return Description(f"Posterior of {names}", (*told, *self._weights_told()))

    def _weights_told(self) -> list[tuple[str, str]]:
        rows = [("log evidence (nats)", words(self.log_evidence))]
        if not self.latents:
            return rows
        worth = f", worth {self.effective_draws:.0f}" if known(self.weights) else ""
        draws = f"{len(self.weights)} draws of {', '.join(self.latents)}{worth}"
        return [*rows, ("mixture", draws), ("Pareto k", words(self.pareto_k))]

    def __getitem__(self, names) -> Gaussian:
        """The Gaussian of a field, given all that is known: a belief like any, and a prior for the
        next program. Of several, posterior["u", "v"], their joint Gaussian, a vector that holds
        them end to end.

        Raises:
            KeyError: for a field of another name.
            TypeError: for what is no name.
            ValueError: for a mixture over latents, which is no Gaussian; and for one of several
                fields that a statement ties together, whose own Gaussian (`marginal`) does not know
                of the others.
        """
        wanted = _listed(names)
        self._refuse_unknown(wanted)
        if self.latents:
            raise RefusedValue(
                f"{wanted[0]!r} is a mixture over draws of {', '.join(self.latents)}, so there is "
                f"no Gaussian of it; take mean[{wanted[0]!r}], variance[{wanted[0]!r}] and "
                f"sample(key, shape)[{wanted[0]!r}]"
            )
        layout, component = self.together(wanted)
        if layout.names == wanted:
            return _regrouped(layout, component, layout.end_to_end)
        others = [name for name in layout.names if name not in wanted]
        if others:
            raise RefusedValue(
                f"{wanted[0]!r} is tied to {', '.join(others)}: a Gaussian of it alone does not "
                f"know of that. Write posterior.marginal({wanted[0]!r}) if that is meant, or "
                f"posterior[{', '.join(map(repr, layout.names))}] for all of them end to end"
            )
        raise RefusedValue(
            f"tied fields stand in the order in which they were sampled; write "
            f"posterior[{', '.join(map(repr, layout.names))}]"
        )

    def marginal(self, name: str) -> Gaussian:
        """The Gaussian of one field by itself, whatever ties it to others: what it says of them is
        lost where it becomes a prior.

        Raises:
            KeyError, ValueError: as for `posterior[name]`.
        """
        self._refuse_unknown((name,))
        if self.latents:
            return self[name]  # refused there
        layout, component = self.together((name,))
        if len(layout.names) == 1:
            return component
        number = layout.names.index(name)
        part = OneOfSeveral(component.covariance, number, layout.bundle)
        return Gaussian(part.map(component.mean), part)

    def __or__(self, constraint: Constraint) -> Posterior:
        """`posterior | constraint`, of a posterior of one field; of several, see `observe`."""
        known = [name for layout in self.groups for name in layout.names]
        if len(known) > 1:
            raise RefusedValue(
                f"there are several fields, {', '.join(known)}: say which the constraint is about, "
                f"posterior.observe(name, functional, {known[0]!r}, value)"
            )
        found = self
        for c in constraint.members:
            found = found.observe(str(c.name), c.functional, known[0], c.value, c.scale)
        return found

    def observe(self, name: str, functional, fields, value, scale=None) -> Posterior:
        """The posterior given one fact or reading more, as `bc.observe` states it outside all
        plates; evidence and weights go on from here.

        Args:
            name: of what is stated.
            functional: an affine function of the field, or of several fields, plates included; or a
                functional from `bayescons.functionals`, which finds its shape among the axes.
            fields: name of the field, or names in the order of the functional's arguments.
            value: what it is known to be.
            scale: standard deviation of noise, in the unit of the value; None for a fact.

        Raises:
            KeyError: for a field of another name.
            ValueError, TypeError: what `bc.observe` and `bc.condition` refuse.
            InconsistentConstraintsError: it contradicts what is known.

        Warns:
            UnreliableWeightsWarning: of the draws of the latents only few foresee it.

        Example:
            >>> def program():
            ...     u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
            ...     bc.observe("total", lambda u: u.sum(), u, 6.0)
            >>> posterior = bc.conjugate(program)()
            >>> print(posterior.observe("first", lambda u: u[0], "u", 1.0).mean["u"])
            [1.  2.5 2.5]
        """
        names = _listed(fields)
        layout, component = self.together(names)
        stated = Constraint(layout.about(name, functional, names), value, scale, name)
        found, evidence = update(component, stated)[:2]
        rest = [
            (other, old)
            for other, old in zip(self.groups, self.components, strict=True)
            if not set(other.names) <= set(layout.names)
        ]
        groups, components = zip(*rest, (layout, found), strict=True)
        whole = dataclasses.replace(self, groups=groups, components=components)
        if not self.latents:
            return dataclasses.replace(whole, log_evidence=self.log_evidence + evidence)
        logs = np.log(np.maximum(np.asarray(self.weights), np.finfo(float).tiny))
        weights, pareto_k = importance_weights(logs + np.asarray(evidence))
        if pareto_k > trusted(len(weights)):
            warnings.warn(untrusted(pareto_k, weights), UnreliableWeightsWarning, stacklevel=2)
        gained = jax.nn.logsumexp(jnp.asarray(logs) + evidence)
        return whole.reweighted(weights, pareto_k, log_evidence=self.log_evidence + gained)

    def together(self, names: tuple[str, ...]) -> tuple[Layout, Gaussian]:
        """One Gaussian of all fields that these are tied to, and how it holds them; with latents
        above, a batch of them.

        Raises:
            KeyError: for a field of another name.
        """
        self._refuse_unknown(names)
        involved = [
            (layout, component)
            for layout, component in zip(self.groups, self.components, strict=True)
            if set(layout.names) & set(names)
        ]
        if len(involved) == 1:
            return involved[0]
        involved.sort(key=lambda pair: min(names.index(n) for n in pair[0].names if n in names))
        return _joined(involved)

    @property
    def effective_draws(self) -> float:
        """1 / Σ w_s²: the number of equally weighted draws worth as much."""
        return float(1 / np.sum(self.weights**2))

    def reweighted(self, weights, pareto_k: float, *, log_evidence=None) -> Posterior:
        """The same components under other weights."""
        evidence = self.log_evidence if log_evidence is None else log_evidence
        return dataclasses.replace(self, weights=weights, pareto_k=pareto_k, log_evidence=evidence)

    def _average(self, values):
        if not self.latents:
            return values
        return jnp.tensordot(jnp.asarray(self.weights), values, axes=1)

    def _total_variance(self, component: Gaussian):
        if not self.latents:
            return component.variance
        mean = self._average(component.mean)
        return self._average(component.variance + (component.mean - mean[None]) ** 2)

    def _named(self, joint: list) -> dict[str, jax.Array]:
        named = {}
        for layout, value in zip(self.groups, joint, strict=True):
            named |= layout.fields(value)
        return named

    def _refuse_unknown(self, names: tuple[str, ...]) -> None:
        known = [name for layout in self.groups for name in layout.names]
        for name in names:
            if name not in known:
                raise KeyError(f"there is no field {name!r}; there are {', '.join(known)}")
        if len(set(names)) < len(names) or not names:
            raise RefusedValue(f"name each field once; got {', '.join(names) or 'no field'}")


def _joined(parts: list[tuple[Layout, Gaussian]]) -> tuple[Layout, Gaussian]:
    """Independent groups as one vector, plates and all."""
    axes = tuple(axes for layout, _ in parts for axes in layout.axes)
    vectors = [_regrouped(layout, component, Layout(layout.axes)) for layout, component in parts]
    bundle = Bundle(tuple(tuple(v.event_shape) for v in vectors))
    blocks = BlockDiagonal(tuple(v.covariance for v in vectors))
    return Layout(axes), Gaussian(bundle.join([v.mean for v in vectors]), blocks)


def _regrouped(layout: Layout, component: Gaussian, other: Layout) -> Gaussian:
    """A Gaussian of the fields of one layout, as it is of another of the same fields."""
    alone = len(layout.axes) == 1  # a field by itself is its own array
    if alone or (layout.shape == other.shape and layout.shared == other.shared):
        return component
    mean = other.bundle.join(layout.split(component.mean))
    return Gaussian(mean, Regrouped(component.covariance, layout.bundle, other.bundle))


def _listed(fields) -> tuple[str, ...]:
    names = (fields,) if isinstance(fields, str) else fields
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
        raise RefusedType(
            f"expected the name of a field, or a tuple of names; got {type(fields).__name__}"
        )
    return tuple(names)


def _told(layout: Layout, component: Gaussian) -> tuple[str, str]:
    """Of the fields of a group: shapes, range of the mean, structure of the covariance."""
    shapes = " and ".join(map(str, layout.shapes))
    structure = component.covariance.structure
    return ", ".join(layout.names), f"shape {shapes}, mean {span(component.loc)}; {structure}"


def _quantile(means: np.ndarray, spreads: np.ndarray, weights: np.ndarray, share: float):
    """Of a mixture of normals along the first axis, at every point, by bisection to rounding."""
    from scipy.special import ndtr, ndtri

    ends = means + ndtri(share) * spreads
    low, high = ends.min(axis=0), ends.max(axis=0)
    if len(means) == 1:
        return low
    widths = np.where(spreads > 0, spreads, np.finfo(float).tiny)
    for _ in range(60):
        middle = (low + high) / 2
        below = np.tensordot(weights, ndtr((middle - means) / widths), axes=1)
        low, high = np.where(below < share, middle, low), np.where(below < share, high, middle)
    return (low + high) / 2


@tracing.compiled
def _sample_components(component: Gaussian, chosen, key):
    """One draw from each chosen component, one at a time: a batch of covariances is not copied."""
    noise = jax.random.normal(
        key, (len(chosen), *component.batch_shape[1:], component.covariance.noise_size)
    )
    return jax.lax.map(
        lambda pair: jax.tree.map(lambda x: x[pair[0]], component).transport(pair[1]),
        (chosen, noise),
    )
