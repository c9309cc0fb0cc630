"""The front door: a program in, one labelled tree of draws out, with what is needed to judge
them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from numpyro import handlers

from bayescons import tracing
from bayescons.arrays import one_of
from bayescons.grids import Grid
from bayescons.programs.soft import StiffnessWarning, soft
from bayescons.programs.structure import ProgramStructure
from bayescons.refusals import RefusedValue
from bayescons.results import trees as results
from bayescons.results.mixing import LONGEST, SATURATED, Mixing, mixing, warn
from bayescons.sampling.choice import Choice, choose
from bayescons.sampling.compiled import Compiled, compiled
from bayescons.sampling.methods import READINGS, Method, Run, checked_key
from bayescons.sampling.predictive import observations, plate_dims, prior_draws
from bayescons.sampling.progress import bar
from bayescons.sampling.refusals import begun, refuse_nan, refuse_run
from bayescons.sampling.registry import SAMPLERS, checked
from bayescons.sampling.residuals import (
    Structure,
    coordinates,
    refuse_residuals,
    residuals,
    resolved,
    structure_of,
)
from bayescons.sampling.run import closed, sampled
from bayescons.sampling.trees import Ran, axes_told, gathered, group, labels

if TYPE_CHECKING:
    import xarray


def sample(
    program: Callable,
    *args,
    key: jax.Array | int,
    sampler: str = "auto",
    reading: str = "exact",
    scale: float | int = 1e-2,
    chains: int = 4,
    warmup: int = 1000,
    draws: int = 1000,
    thinning: int | None = None,
    target_acceptance: float | int | None = None,
    start: str | None = None,
    grid: Grid | None = None,
    truth: Mapping | None = None,
    dims: results.Dims | None = None,
    focus: str | Sequence[str] | None = None,
    prior: int = 0,
    progress: bool = False,
    **kwargs,
) -> xarray.DataTree:
    """Draw from the posterior of a program, by any sampler, and say whether the draws can be
    trusted.

    The whole run is one compiled call, its chains side by side, or spread over the devices where
    their number divides that of the chains. A repeat with new data of the same shapes compiles
    nothing. The same key gives the same draws.

    Samplers: "auto" takes the first of "conjugate" (independent exact draws), "collapsed" (the
    Gaussian fields integrated out, NUTS over the latents above them, then exact draws of the
    fields) and "nuts" that the program allows; `choose` tells which and why. "nuts" is NumPyro's,
    "blackjax_nuts" BlackJAX's. "mclmc" is not adjusted and carries a small bias; "adjusted_mclmc"
    carries none, and can be trusted where R-hat says that it has mixed, which it does slowly where
    directions are strongly correlated. "elliptical" needs every latent to be Gaussian. "smc"
    tempers `draws` particles from the prior to the posterior and gives the evidence, with its error
    from the spread of the `chains` populations; `warmup` means nothing to it. Give it ten particles
    for every unknown, or the evidence is biased.

    Groups of the tree: `posterior`, with plates as named axes, and the axes and coordinates of the
    grid, given or that on which the functionals were built; `sample_stats` (diverging, n_steps,
    reached_max_treedepth, acceptance_rate, lp, step_size, where the sampler has them, and
    `<u>_gap`, see `exact`); `warmup_sample_stats`, the same of the warm-up; `observed_data` and
    `log_likelihood`, of every likelihood and every statement with a noise of its own, number by
    number; `constraints`, of every statement `<name>_value` and `<name>_residual`, G u - value row
    by row for each draw; `constant_data`, the truth; `prior` and `prior_predictive`, where asked
    for. `predict` adds `posterior_predictive`. Attributes: sampler (as asked), chosen, why,
    reading, chains, warmup, draws, seed or key, seconds (of the run), compile_seconds (0 in a
    repeat), gradients and warmup_gradients (evaluated, all chains), divergences, r_hat and ess_bulk
    (the worst over all unknowns), mixed ("yes", or what is wrong), axes (of every unknown, in the
    program's order); for "smc" log_evidence, log_evidence_error, temperatures, acceptance_rate and
    ancestors (particles of the prior with descendants), each of the poorest population.

    Args:
        program: an ordinary NumPyro program, with `observe` or `impose` statements or without.
        *args: arguments of the program.
        key: a `jax.random.key`, or a whole number from which one is made.
        sampler: one of `SAMPLERS`.
        reading: of exact statements: "exact", or "soft", with finite noise.
        scale: of the soft reading, standard deviation of the noise in the unit of each statement's
            value.
        chains: how many.
        warmup: steps of each chain that are not kept.
        draws: of each chain.
        thinning: steps between draws; None for the sampler's own.
        target_acceptance: that the step is tuned to; None for the sampler's own. Raise it where
            there are divergences.
        start: None, "pathfinder" or "svi", see `Method`.
        grid: the grid of the fields, by which they are labelled.
        truth: name -> the true field, kept beside the draws.
        dims: name -> names of axes, see `results.datatree`.
        focus: names of the sites that matter, latent or deterministic; the chains are judged by
            these. None for every latent. Where others have symmetries, as the weights of a network,
            their chains never agree, whatever the field does.
        prior: how many draws of the prior to add, with what is imposed but not what is observed;
            none by default.
        progress: show a bar on stderr.
        **kwargs: keyword arguments of the program. One that takes `key`, `draws` or another name of
            these itself: `sample(functools.partial(program, draws=...), key=...)`.

    Returns:
        An `xarray.DataTree` that every ArviZ function reads; `results.save` writes it.

    Raises:
        ValueError: for a sampler that does not exist (offers the nearest), numbers that make no
            chain, a program without unknowns, or one whose density is NaN or zero wherever chains
            could start.
        TypeError: a program that does not suit the sampler: discrete latents; what is not Gaussian
            for "conjugate", "collapsed" and "elliptical". Says what to write instead.
        InconsistentConstraintsError: exact statements contradict each other.

    Warns:
        NotMixedWarning: R-hat above what one in a hundred good runs exceeds, and above 1.01; or
            fewer than 100 effective draws of some unknown; or many divergences.
        StiffnessWarning: as `soft`; and where many trajectories end at the limit of their length.

    Example:
        >>> def program(total):
        ...     s = numpyro.sample("s", dist.HalfNormal(1.0))
        ...     u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), jnp.full(3, s)))
        ...     bc.observe("total", lambda u: u.sum(), u, total)
        >>> tree = bc.sample(program, 2.0, key=1)
        >>> tree.attrs["chosen"]
        'collapsed'
        >>> float(abs(tree.posterior["u"].sum("u_dim_0") - 2.0).max()) < 1e-12
        True
    """
    method = checked(
        Method(sampler, chains, warmup, draws, thinning, target_acceptance, start, bool(progress))
    )
    one_of("reading", reading, READINGS)
    if isinstance(prior, bool) or not isinstance(prior, int) or prior < 0:
        raise RefusedValue(f"prior must be a whole number of draws, 0 or more; got {prior!r}")
    key, origin = checked_key(key)
    with tracing.alone():
        closure = closed(program, args, kwargs)
        try:
            took = _chosen(closure, method, reading)
            method = checked(dataclasses.replace(method, sampler=took.sampler))
            structure = structure_of(closure)
            judged_by = _focus(focus, structure)
            if reading == "soft":
                _look(closure, scale)
            run, compile_seconds = _compiled(closure, method, reading, scale, key)
        except ValueError:
            refuse_nan(functools.partial(program, *args, **kwargs))
            raise
    ran, seconds = _ran(run, key, took.sampler, progress=method.progress)
    found = ran.run
    with _kept(found):
        refuse_run(found, closure, reading, scale)
        if reading == "exact":
            refuse_residuals(ran.missed, found.draws)
        independent = took.sampler == "conjugate"
        judged = mixing(
            found.draws,
            judged_by,
            found.summary.get("acceptance_rate"),
            _diverging(found),
            found.statistics.get("reached_max_treedepth"),
        )
        told = {
            "sampler": sampler,
            "chosen": took.sampler,
            "why": took.why,
            "reading": reading,
            **({"scale": scale} if reading == "soft" else {}),
            "chains": chains,
            "warmup": warmup,
            "draws": draws,
            **origin,
            "seconds": seconds,
            "compile_seconds": compile_seconds,
            **_summed(found, judged),
            "mixed": "yes" if independent else judged.mixed,
            **({} if focus is None else {"focus": list(judged_by)}),
        }
        named = labels(ran, _plates(closure, grid), grid, dims)
        tree = gathered(ran, structure, named, truth, told)
        tree.attrs["axes"] = axes_told(tree)
        if prior:
            before = prior_draws(closure, jax.random.fold_in(key, 1), prior)
            for name, drawn in zip(("prior", "prior_predictive"), before, strict=True):
                if drawn:
                    tree[name] = group({n: np.asarray(v)[None] for n, v in drawn.items()}, named)
    if not independent:
        warn(judged.verdict)
        if judged.saturated > SATURATED and not judged.verdict:
            warnings.warn(
                f"{judged.saturated:.2g} of the trajectories {LONGEST}",
                StiffnessWarning,
                stacklevel=2,
            )
    return tree


def _focus(focus: str | Sequence[str] | None, structure: Structure) -> tuple[str, ...]:
    """Names of the sites by which the chains are judged."""
    if focus is None:
        return tuple(structure.latents)
    names = (focus,) if isinstance(focus, str) else tuple(focus)
    if not names:
        raise RefusedValue("focus names no site; leave it out, and every latent is looked at")
    for name in names:
        one_of("focus", name, tuple(sorted(structure.names)))
    return names


@contextlib.contextmanager
def _kept(found: Run) -> Generator[None]:
    """Whatever fails once a run is complete, its draws come back with the error."""
    try:
        yield
    except Exception as error:
        error.draws = dict(found.draws)
        error.add_note("The run is complete: its draws are in the attribute .draws of this error.")
        raise


def _chosen(program: Callable, method: Method, reading: str) -> Choice:
    if method.sampler != "auto":
        return Choice(method.sampler, f"asked for: {SAMPLERS[method.sampler].summary}")
    if reading == "soft":
        return Choice("nuts", "the soft reading is sampled as it is written")
    return choose(program)


def _look(program: Callable, scale) -> None:
    """Run a soft reading once, with values, so that it sees how stiff it is; inside the compiled
    run nothing is known.
    """
    with handlers.block():
        begun(soft(program, scale))()


def _compiled(program: Callable, method, reading, scale, key) -> tuple[Compiled, float]:
    """The run, and the seconds it took to compile."""

    def run(key, program):
        chains = sampled(key, program, method, reading, scale)
        whole = resolved(program)
        missed, seen = residuals(whole, chains.draws), observations(whole, chains.draws)
        return Ran(chains, missed, seen, coordinates(whole))

    began = time.perf_counter()
    ready = compiled(run, (method, reading, scale), program, key)
    return ready, time.perf_counter() - began if ready.fresh else 0.0


def _ran(run: Compiled, key, sampler: str, *, progress: bool) -> tuple[Ran, float]:
    """What the run gives, on the host, and the seconds it took."""
    began = time.perf_counter()
    with bar(sampler, on=progress):
        found = jax.block_until_ready(run.call(key))
    seconds = time.perf_counter() - began
    return jax.tree.map(np.asarray, found), seconds


def _summed(found: Run, judged: Mixing) -> dict:
    """Numbers of the run as a whole."""
    summary = {name: np.asarray(values) for name, values in found.summary.items()}
    told: dict = {name: int(summary[name].sum()) for name in ("gradients", "warmup_gradients")}
    lost = _diverging(found)
    if "divergences" in summary:
        lost = summary["divergences"]
    told |= {
        "divergences": 0 if lost is None else int(np.sum(lost)),
        "r_hat": judged.r_hat,
        "ess_bulk": judged.ess,
    }
    if "log_evidence" in summary:
        told |= _evidence(summary["log_evidence"])
        told |= {
            "temperatures": int(summary["temperatures"].max()),
            "ancestors": int(summary["ancestors"].min()),
        }
        told["acceptance_rate"] = float(summary["acceptance_rate"].min())
    return told


def _diverging(found: Run) -> np.ndarray | None:
    """Which transitions diverged, where the sampler knows."""
    return found.statistics.get("diverging")


def _evidence(logs: np.ndarray) -> dict:
    """The logarithm of the mean of unbiased estimates, and its standard error by their spread (NaN
    for one).
    """
    log_evidence = float(np.logaddexp.reduce(logs) - math.log(logs.size))
    ratios = np.exp(logs - log_evidence)
    error = float(ratios.std(ddof=1) / math.sqrt(logs.size)) if logs.size > 1 else math.nan
    return {"log_evidence": log_evidence, "log_evidence_error": error}


def _plates(program: Callable, grid) -> dict[str, list[str]]:
    """Names of axes that are plates, where the program is looked into."""
    if not isinstance(program, ProgramStructure):
        return {}
    return plate_dims(program, grid)
