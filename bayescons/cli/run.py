"""`bayescons run`: a NumPyro program from a file, sampled or in closed form, its draws in one ArviZ
tree.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from bayescons.cli.command import Run
from bayescons.cli.errors import InputError, own_refusals, refusals
from bayescons.cli.output import attributes, netcdf_file
from bayescons.cli.program_file import ProgramFile, arguments, load_program
from bayescons.cli.terminal import say, show_table, watched, working
from bayescons.grids import Grid
from bayescons.programs import Posterior, StiffnessWarning, conjugate
from bayescons.programs.importance import UnreliableWeightsWarning, trusted
from bayescons.programs.structure import program_structure
from bayescons.results import trees as results
from bayescons.sampling import Method, NotMixedWarning, checked, residuals, sample
from bayescons.sampling.residuals import labelled, resolved

if TYPE_CHECKING:
    import xarray

WEIGHT = "component_weight"
SHOWN = 8  # entries of a small variable that are listed one by one


class Outcome(NamedTuple):
    """What a reading gives.

    Attributes:
        tree: draws, statistics, residuals and attributes.
        mixture: latents and weights of the components in closed form, name -> values, leading axis
            the component.
        notes: lines to print.
        gaps: variables of the posterior that are no unknowns, but say by how much statements
            contradict each other.
    """

    tree: xarray.DataTree
    mixture: dict[str, np.ndarray]
    notes: list[str]
    gaps: tuple[str, ...] = ()


def run(options: Run, command: Sequence[str]) -> None:
    """Load, read, sample, write, and print a summary.

    Raises:
        InputError: for options, files or programs that cannot be used. What the user's own code
            raises passes through.
    """
    _check(options)
    file = load_program(options.file, options.program)
    key_inputs, key_run = jax.random.split(jax.random.key(options.seed))
    with working("preparing the inputs"), own_refusals():
        given = arguments(file, key_inputs, options.data)
    with netcdf_file(options.out) as temporary:
        began = time.perf_counter()
        with own_refusals(), _warnings_in_a_line():
            outcome = (_solved if options.reading == "conjugate" else _sampled)(
                options, file, given, key_run
            )
        seconds = time.perf_counter() - began
        told = {"reading": options.reading, "seed": options.seed, "file": str(options.file)}
        with working("writing"):
            outcome.tree.attrs |= attributes(command, **told)
            results.write(outcome.tree, temporary)
    _report(options, outcome, seconds)


def _check(options: Run) -> None:
    for name, least in {
        "warmup": 0,
        "samples": 1,
        "chains": 1,
        "latents": 25,
    }.items():  # 25: what a tail can be fitted to
        if getattr(options, name) < least:
            raise InputError(f"--{name} must be {least} or more; got {getattr(options, name)}")
    if not (math.isfinite(options.scale) and options.scale > 0):
        raise InputError(
            f"--scale must be a standard deviation above zero; got {options.scale:g}. For no "
            "noise: --reading exact"
        )
    with refusals("--sampler"):
        checked(Method(options.sampler, warmup=options.warmup))


def _sampled(options: Run, file: ProgramFile, given: dict, key: jax.Array) -> Outcome:
    """Draws of the exact or the soft reading."""
    tree = sample(
        file.program,
        key=key,
        sampler=options.sampler,
        reading=options.reading,
        scale=options.scale,
        chains=options.chains,
        warmup=options.warmup,
        draws=options.samples,
        grid=file.grid,
        progress=watched(),
        **given,
    )
    told = tree.attrs
    by = told["chosen"] + (f", {told['why']}" if options.sampler == "auto" else "")
    steps = (
        f", {told['gradients'] / (options.chains * options.samples):.3g} gradients each"
        if told["gradients"]
        else ""
    )
    lost = f", {told['divergences']} divergences" if told["gradients"] else ""
    notes = [f"sampler: {by}", f"{options.chains} x {options.samples} draws{steps}{lost}"]
    if "log_evidence" in told:
        notes.append(f"log evidence {told['log_evidence']:.6g} ± {told['log_evidence_error']:.2g}")
    if told["mixed"] != "yes":
        notes.append(f"note: {told['mixed']}")
    return Outcome(tree, {}, notes, program_structure(file.program, (), given).gaps)


def _solved(options: Run, file: ProgramFile, given: dict, key: jax.Array) -> Outcome:
    """The closed form, and independent draws from it."""
    began = time.perf_counter()
    key_latents, key_draws = jax.random.split(key)
    with working("solving in closed form"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreliableWeightsWarning)  # `_trust` says so
        posterior = conjugate(file.program, latent_draws=options.latents, key=key_latents)(**given)
        drawn = posterior.sample(key_draws, (options.samples,))
        moments = {f"{name}_mean": np.asarray(v) for name, v in posterior.mean.items()}
        moments |= {f"{name}_variance": np.asarray(v) for name, v in posterior.variance.items()}
    evidence = float(np.sum(posterior.log_evidence))
    told: dict = {"log_evidence": evidence}
    notes = [f"{options.samples} independent draws; log evidence {evidence:.6g}"]
    mixture = {}
    if posterior.latents:
        mixture = {name: np.asarray(values) for name, values in posterior.latents.items()} | {
            WEIGHT: posterior.weights
        }
        told["pareto_k"] = posterior.pareto_k
        notes.append(_trust(posterior))
    draws = {name: np.asarray(drawn[name])[None] for name in posterior.mean}
    # Draws of a mixture do not say which component they are from, and so do not hold all that is
    # random.
    missed = (
        {} if mixture else labelled(_residuals(resolved(partial(file.program, **given)), draws))
    )
    told["seconds"] = time.perf_counter() - began
    tree = results.datatree(draws, file.grid, constraints=missed or None, attributes=told)
    tree["closed_form"] = _closed_form(moments, mixture, file.grid)
    return Outcome(tree, mixture, notes)


def _residuals(program, draws: dict) -> dict:
    return jax.jit(lambda draws: residuals(program, draws))(draws)


def _trust(posterior: Posterior) -> str:
    worth = (
        f"{len(posterior.weights)} draws of {', '.join(sorted(posterior.latents))}, worth "
        f"{posterior.effective_draws:.0f} equal ones"
    )
    if math.isnan(posterior.pareto_k):
        return worth
    verdict = (
        ""
        if posterior.pareto_k <= trusted(len(posterior.weights))
        else ", too high to trust: raise --latents, or use --reading exact"
    )
    return f"{worth}; Pareto k {posterior.pareto_k:.2f}{verdict}"


def _closed_form(moments: dict, mixture: dict, grid: Grid | None) -> xarray.DataTree:
    """Moments over the axes of the grid, where they have its shape, and the components of a
    mixture.
    """
    import xarray

    on_grid = [
        name for name, values in moments.items() if grid is not None and values.shape == grid.shape
    ]
    labelled_by = {}
    for name, values in {**moments, **mixture}.items():
        lead = ["component"] if name in mixture else []
        numbered = [f"{name}_dim_{i}" for i in range(values.ndim - len(lead))]
        labelled_by[name] = (list(grid) if name in on_grid else lead + numbered, values)
    return xarray.DataTree(xarray.Dataset(labelled_by, coords=dict(grid) if on_grid else {}))


def _report(options: Run, outcome: Outcome, seconds: float) -> None:
    say(f"{options.file}: {options.program}, {options.reading} reading, {seconds:.1f} s")
    for note in outcome.notes:
        say(note)
    draws = {
        name: values.to_numpy() for name, values in outcome.tree["posterior"].data_vars.items()
    }
    unknowns = [name for name in draws if name not in outcome.gaps]
    small = [name for name in unknowns if math.prod(draws[name].shape[2:]) <= SHOWN]
    fields = [name for name in unknowns if name not in small]
    latents = {
        name: values
        for name, values in outcome.mixture.items()
        if values.ndim == 1 and name != WEIGHT
    }
    rows = [
        _weighted_row(name, values, outcome.mixture[WEIGHT]) for name, values in latents.items()
    ]
    if small:
        table = results.summarise(outcome.tree, small)
        columns = ["mean", "sd", "hdi_lower", "hdi_upper", "ess_bulk", "r_hat"]
        rows += [
            (name, *(_short(value) for value in row)) for name, row in table[columns].iterrows()
        ]
    rows += [_field_row(name, draws[name]) for name in fields]
    show_table(["unknown", "mean", "sd", "95 % from", "to", "ESS", "R-hat"], rows)
    if fields:
        say(
            "Of a field: averages over its points; the smallest bulk ESS and the largest R-hat, "
            "over at most 500 points."
        )
    if worst := _worst(outcome.tree):
        show_table(["statement", "rows", "largest |G u - value| of any draw"], worst)
    say(f"written to {options.out}")


def _worst(tree: xarray.DataTree) -> list[tuple[str, str, str]]:
    """Of every statement how many rows it has, and by how much any draw misses one."""
    found = tree["constraints"].data_vars if "constraints" in tree else {}
    left = {
        name.removesuffix("_residual"): abs(values.to_numpy())
        for name, values in found.items()
        if name.endswith("_residual")
    }
    return [
        (name, str(math.prod(size.shape[2:])), f"{size.max():.2e}") for name, size in left.items()
    ]


def _field_row(name: str, values: np.ndarray) -> tuple[str, ...]:
    """A field in a row: averages over its points, and the worst of the diagnostics."""
    shape = " x ".join(map(str, values.shape[2:]))
    moments = (values.mean(), values.std(axis=(0, 1)).mean())
    return (
        f"{name} ({shape})",
        *map(_short, moments),
        "",
        "",
        *map(_short, results.worst_mixing(values)),
    )


def _weighted_row(name: str, values: np.ndarray, weights: np.ndarray) -> tuple[str, ...]:
    """A latent of a mixture, its components weighted by their evidence."""
    mean = weights @ values
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    ends = (
        values[order][min(np.searchsorted(below, share), len(values) - 1)]
        for share in (0.025, 0.975)
    )
    return (
        name,
        *map(
            _short, (mean, math.sqrt(weights @ (values - mean) ** 2), *ends, 1 / np.sum(weights**2))
        ),
        "",
    )


def _short(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"


@contextmanager
def _warnings_in_a_line() -> Generator[None]:
    """Say the library's own warnings as they come, in a line on stderr each; that chains have not
    mixed is said with their numbers.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", StiffnessWarning)
        warnings.simplefilter("ignore", NotMixedWarning)
        shown = warnings.showwarning

        def show(message, category, *place, **more):
            if issubclass(category, StiffnessWarning):
                say(f"warning: {message}", error=True)
            else:
                shown(message, category, *place, **more)

        warnings.showwarning = show
        yield
