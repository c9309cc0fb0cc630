"""Simulation-based calibration: whether a program and what reads it agree, over draws from the
program's own prior.

For each simulation draw unknowns θ, u from the program's joint law and what would be observed of
them; refit the program to that; and rank each functional of the truth among the posterior draws. If
program, reading and sampler are right the ranks are uniform, exactly and for any number of draws.

**Functionals of the unknowns alone are not enough.** A posterior that has learnt nothing, the prior
itself, has uniform ranks of every function of θ and u. So does a program that imposes what it
should observe. What tells is a functional that also looks at what was observed: the log likelihood
of the truth among that of the draws is always ranked beside the others (Modrák et al. 2023).

Sources: Cook, Gelman and Rubin, JCGS 15 (2006); Talts, Betancourt, Simpson, Vehtari and Gelman,
arXiv 1804.06788 (2018), with ranks among draws thinned to independence; Modrák et al., Bayesian
Analysis (2023), for functionals of the data.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayescons import tracing
from bayescons.arrays import one_of
from bayescons.descriptions import Description, described, words
from bayescons.diagnostics import simulation
from bayescons.diagnostics.calibration import Calibration, calibration_of, holm, pit, uniformity
from bayescons.diagnostics.refits import Refit, Refitted, closed_form, sampled
from bayescons.programs.fields import NoClosedFormError
from bayescons.programs.structure import NothingStatedError
from bayescons.refusals import RefusedValue
from bayescons.results.trees import datatree
from bayescons.sampling.methods import Method
from bayescons.sampling.registry import SAMPLERS

if TYPE_CHECKING:
    import xarray

FEW, LEAST = (
    20,
    20,
)  # effective draws below which a rank is coarse; simulations from which a test can say anything
LOG_LIKELIHOOD = "log_likelihood"
EXACT = "known exactly: truth and draws agree to rounding in every simulation"
Functional = Callable[[dict], Any]


@described
class SBC(NamedTuple):
    """What simulation-based calibration found.

    Attributes:
        pit: by functional, one randomised PIT for each simulation, shape (simulations,).
        p_values: by functional, of the test that they are uniform (`uniformity`).
        adjusted: the same by Holm's rule: of all functionals together.
        level: false-alarm rate of the verdict.
        left_out: by functional, why it was not ranked.
        effective: number of independent posterior draws the truth was ranked among, shape
            (simulations,).
        reading: how the refits were done.
        notes: what else should be known before the verdict is believed.
    """

    pit: dict[str, np.ndarray]
    p_values: dict[str, float]
    adjusted: dict[str, float]
    level: float
    left_out: dict[str, str]
    effective: np.ndarray
    reading: str
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether no functional has an adjusted p-value below the level."""
        return min(self.adjusted.values()) >= self.level

    @property
    def verdict(self) -> str:
        """In words, with its error."""
        worst = min(self.adjusted, key=lambda name: self.adjusted[name])
        said = (
            "passed"
            if self.passed
            else f"failed: {', '.join(n for n, p in self.adjusted.items() if p < self.level)}"
        )
        return (
            f"{said}; smallest adjusted p-value {self.adjusted[worst]:.2g} ({worst}) of "
            f"{len(self.adjusted)} functionals over {len(self.effective)} simulations, "
            f"{self.reading} (a right program fails with probability {self.level:g})"
        )

    def description(self) -> Description:
        """The verdict, and the p-value of each functional."""
        told = (
            ("verdict", self.verdict),
            ("adjusted p-values", words(self.adjusted)),
            ("left out", words(self.left_out)),
            ("notes", words(self.notes)),
        )
        return Description("Simulation-based calibration", told)

    def calibration(self, name: str) -> Calibration:
        """ECDF difference with its band, and coverage, of one functional."""
        return calibration_of(self.pit[name], level=self.level)

    def datatree(self) -> xarray.DataTree:
        """PITs as ArviZ plots them, `arviz.plot_ecdf_pit(result.datatree())`: group `prior_sbc`, a
        simulation a draw.
        """
        import xarray

        tree = datatree({name: values[None] for name, values in self.pit.items()})
        found = xarray.DataTree.from_dict({"prior_sbc": tree["posterior"].to_dataset()})
        found.attrs = {
            **tree.attrs,
            "level": self.level,
            "reading": self.reading,
            "verdict": self.verdict,
        }
        return found


@tracing.one_at_a_time
def sbc(
    program: Callable,
    *args,
    key: jax.Array | int,
    simulations: int = 200,
    draws: int = 99,
    functionals: Mapping[str, Functional] | None = None,
    sampler: str | Method | Refit | None = None,
    refit: Callable | None = None,
    level: float = 0.01,
    batch: int = 10,
    **kwargs,
) -> SBC:
    """Simulate from a program, refit it to each simulation, and test whether the ranks of the truth
    are uniform.

    Statements are simulated by what they state: G u of the field drawn, with noise where the scale
    is finite; likelihoods by themselves. Imposed statements are part of the prior. The refits are
    one compiled loop.

    Args:
        program: a NumPyro program, unread, with or without statements.
        args: its arguments. Of what they say is observed only the shapes matter.
        key: `jax.random.key`, or a whole number for one.
        simulations: number of them, at least 20. With 200, and four functionals, posterior standard
            deviations too small by a factor of 0.67 are found in every run of a hundred, by 0.75 in
            85; too large by 1.33 in 56, by 1.5 in 97.
        draws: posterior draws S the truth is ranked among; fewer where they are worth fewer.
        functionals: name → function of a dictionary with a field and latents by name, and the
            simulated observed values by theirs; returns a number, or an array whose entries are
            ranked one by one. By default each latent, and of each field (and vector of latents) its
            average, a random projection and its mean square. The log likelihood is ranked in any
            case.
        sampler: None for the closed form where there is one and NUTS on the exact reading
            elsewhere; "conjugate"; any other name of `bayescons.sampling`, such as "collapsed"; or
            a `Refit`, `closed_form(latents=4000)` or `sampled("nuts", warmup=1000)` of
            `bayescons.diagnostics.refits`.
        refit: another program, of the same arguments and the same names of what is observed, to be
            refitted in place of the one that simulates; to see whether a fault would be found.
        level: false-alarm rate of the verdict over all functionals, at most 0.05.
        batch: refits run side by side; lower it if memory is short.
        **kwargs: arguments by name. A program that takes `key`, `draws` or another name of these
            itself: `sbc(functools.partial(program, draws=...), key=...)`.

    Raises:
        ValueError: for a program from which nothing can be simulated or in which nothing is
            observed; NaN from a functional; or where all functionals are known exactly.
        TypeError: for sampler="conjugate" where there is no closed form.

    Example:
        >>> def program():
        ...     u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
        ...     bc.impose("total", lambda u: u.sum(), u, 1.0)
        ...     numpyro.sample("y", dist.Normal(u[0], 0.5), obs=0.0)
        >>> bc.sbc(program, key=0, simulations=40).passed
        True
    """
    if simulations < LEAST or draws < 1:
        raise RefusedValue(
            f"expected at least {LEAST} simulations and one draw; got {simulations} and {draws}"
        )
    if not 0 < level <= 0.05:
        raise RefusedValue(
            f"level must be a false-alarm rate above 0 and up to 0.05; got {level:g}. Write "
            "level=0.01"
        )
    key = jax.random.key(key) if isinstance(key, int) else key
    program, fitted = (functools.partial(p, *args, **kwargs) for p in (program, refit or program))
    run, reading = _chosen(sampler, program, fitted, key, draws)
    of_cases, of_ranks = jax.random.split(key)

    def one(key):
        of_truth, of_refit = jax.random.split(key)
        truth, observed = simulation.simulate(program, of_truth)
        found = run(simulation.with_observed(fitted, observed), of_refit, draws)
        found = (
            found
            if isinstance(found, Refitted)
            else Refitted(found, jnp.asarray(jnp.nan), jnp.zeros((), int))
        )
        drawn = {name: value for name, value in found.draws.items() if name in truth}
        if not drawn:
            raise RefusedValue(
                f"the refit draws {', '.join(found.draws)}, but the program's unknowns are "
                f"{', '.join(truth)}"
            )
        measured = _measured(
            functionals, simulation.with_observed(program, observed), truth, drawn, observed.values
        )
        size = jnp.max(jnp.stack([jnp.max(jnp.abs(v), initial=0.0) for v in truth.values()]))
        return *measured, found.effective, found.trouble, size

    width = max(b for b in range(1, min(batch, simulations) + 1) if simulations % b == 0)
    results = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=width))(
        jax.random.split(of_cases, simulations)
    )
    truth, drawn, effective, trouble, size = jax.tree.map(np.asarray, results)
    truth, drawn = _flat(truth, lead=1), _flat(drawn, lead=2)
    _refuse_nan(truth, drawn)
    exactly = {
        name: EXACT for name in truth if _is_known(truth[name], drawn[name], float(size.max()))
    }
    ranked = [name for name in truth if name not in exactly]
    if not ranked:
        raise RefusedValue(
            f"every functional ({', '.join(truth)}) is known exactly and has no rank; give "
            f"functionals={{name: function}}"
        )
    worth = np.where(
        np.isnan(effective), _independent([drawn[name] for name in ranked], effective), effective
    )
    kept = np.clip(np.floor(worth), 1, draws).astype(int)
    where = _spread_out(kept, len(next(iter(drawn.values()))[0]))
    keys = jax.random.split(of_ranks, len(ranked))
    ranks = {
        n: np.asarray(pit(drawn[n].T, truth[n], k, where=where.T))
        for n, k in zip(ranked, keys, strict=True)
    }
    p_values = {name: uniformity(values) for name, values in ranks.items()}
    adjusted = dict(zip(p_values, map(float, holm(list(p_values.values()))), strict=True))
    return SBC(
        ranks, p_values, adjusted, level, exactly, kept, reading, _notes(kept, draws, trouble)
    )


def _chosen(sampler, program, fitted, key, draws) -> tuple[Refit, str]:
    """How to refit, and what to call it; whether there is a closed form is found by tracing it."""
    if callable(sampler):
        return sampler, "the sampler given"
    if isinstance(sampler, Method) or sampler not in (None, "auto", "conjugate"):
        one_of("sampler", getattr(sampler, "sampler", sampler), tuple(SAMPLERS))
        return sampled(sampler), f"sampler {getattr(sampler, 'sampler', sampler)!r}"
    run = closed_form()

    def attempt(key):
        _, observed = simulation.simulate(program, key)
        return run(simulation.with_observed(fitted, observed), key, draws).draws

    try:
        jax.eval_shape(attempt, key)
    except (NoClosedFormError, NothingStatedError) as error:
        if sampler == "conjugate":
            raise
        return sampled(), f"NUTS, as there is no closed form ({error.reason})"
    return run, "closed form"


def _measured(functionals, program, truth: dict, drawn: dict, observed: dict) -> tuple[dict, dict]:
    """Every functional of the truth and of each draw."""
    chosen = _standard(drawn) if functionals is None else dict(functionals)

    def measure(unknown):
        values = {name: _call(name, f, {**unknown, **observed}) for name, f in chosen.items()}
        if set(unknown) == set(truth):
            values.setdefault(LOG_LIKELIHOOD, simulation.log_likelihood(program, unknown))
        return values

    return measure({name: truth[name] for name in drawn}), jax.vmap(measure)(drawn)


def _call(name: str, function: Functional, values: dict):
    try:
        return jnp.asarray(function(values), jnp.result_type(float))
    except KeyError as error:
        raise RefusedValue(
            f"the functional {name!r} asks for {error}; there are {', '.join(values)}"
        ) from None


def _standard(drawn: dict) -> dict[str, Functional]:
    """Latents that are numbers as they are; of all else three numbers each."""
    found: dict[str, Functional] = {}
    for place, (name, value) in enumerate(drawn.items()):
        shape = value.shape[1:]
        if not shape:
            found[name] = lambda v, name=name: v[name]
            continue
        direction = np.random.default_rng(place).normal(size=shape) / math.sqrt(math.prod(shape))
        found[f"{name}_average"] = lambda v, name=name: jnp.mean(v[name])
        found[f"{name}_projection"] = lambda v, name=name, w=direction: jnp.sum(w * v[name])
        found[f"{name}_mean_square"] = lambda v, name=name: jnp.mean(jnp.square(v[name]))
    return found


def _flat(values: dict, *, lead: int) -> dict[str, np.ndarray]:
    """Numbers by name, the entries of an array each under a name of their own."""
    out = {}
    for name, array in values.items():
        entries = array.reshape(*array.shape[:lead], -1)
        for i in range(entries.shape[-1]):
            label = (
                ",".join(map(str, np.unravel_index(i, array.shape[lead:])))
                if array.ndim > lead
                else ""
            )
            out[f"{name}[{label}]" if label else name] = entries[..., i]
    return out


def _refuse_nan(truth: dict, drawn: dict) -> None:
    for name, values in truth.items():
        bad = int((np.isnan(values) | np.isnan(drawn[name]).any(axis=1)).sum())
        if bad:
            raise RefusedValue(
                f"the functional {name!r} is NaN in {bad} of {len(values)} simulations: (a) "
                "something it finds may be absent, such as a front: give it a value, "
                "jnp.where(jnp.isnan(x), jnp.inf, x); (b) the refit has broken down there"
            )


def _is_known(truth: np.ndarray, drawn: np.ndarray, size: float) -> bool:
    """Whether truth and draws agree in every simulation, to rounding: 1e-9 of the functional, or
    1e-12 of the largest unknown.
    """
    everything = np.concatenate([truth[:, None], drawn], axis=1)
    low, high = everything.min(axis=1), everything.max(axis=1)
    extent = np.where(low == high, 0.0, high - low)
    finite = np.abs(everything[np.isfinite(everything)])
    return bool((extent <= 1e-9 * finite.max(initial=0.0) + 1e-12 * size).all())


def _independent(drawn: list[np.ndarray], effective: np.ndarray) -> np.ndarray:
    """Smallest bulk effective sample size over the functionals, for the refits whose draws are
    correlated.
    """
    from arviz_stats.base import array_stats

    worth = np.full(len(effective), np.inf)
    for values in drawn:
        for i in np.flatnonzero(np.isnan(effective)):
            size = (
                float(array_stats.ess(values[i][None], chain_axis=0, draw_axis=1))
                if np.isfinite(values[i]).all()
                else np.inf
            )
            worth[i] = min(worth[i], size if np.isfinite(size) else len(values[i]))
    return worth


def _spread_out(kept: np.ndarray, length: int) -> np.ndarray:
    """Which draws of each refit are ranked among: so many, equally spaced; shape (simulations,
    length).
    """
    where = np.zeros((len(kept), length), bool)
    for row, count in zip(where, kept, strict=True):
        row[np.linspace(0, length - 1, count).round().astype(int)] = True
    return where


def _notes(kept: np.ndarray, draws: int, trouble: np.ndarray) -> tuple[str, ...]:
    notes = []
    few = int((kept < min(FEW, draws)).sum())
    if few:
        notes.append(
            f"{few} of {len(kept)} refits are worth fewer than {min(FEW, draws)} independent draws "
            f"(the least: {kept.min()}); their ranks are coarse. Take more draws of the latents, "
            "closed_form(latents=...), or a longer chain, sampled(thinning=...)"
        )
    if trouble.any():
        met = int((trouble > 0).sum())
        notes.append(
            f"{met} of {len(kept)} refits met divergences or rows that contradict each other, "
            f"{int(trouble.sum())} in all"
        )
    return tuple(notes)
