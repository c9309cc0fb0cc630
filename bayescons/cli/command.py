"""The commands and their options: one dataclass each, which is both the command line and what the
command is given.

The work is done in a module of its own for each, imported when the command runs, so that help comes
at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import json
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import jax
import tyro
from tyro.conf import Positional, UseAppendAction, arg, subcommand

from bayescons.cli.errors import InputError
from bayescons.cli.interrupts import noticed
from bayescons.provenance import versions

Facts = UseAppendAction[tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Condition:
    """Condition predictions on conserved totals and boundary values.

    INPUT holds a Gaussian prediction over a grid: `mean` and `scale` (standard deviations) or
    `variance`; or an ensemble, `draws`. What its arrays are is understood by the conventions of
    the field and printed first: which axes are grid, batch and members, averages over cells
    (bounds, cell_methods), areas (cell_measures, latitude and longitude), rings, masks, units,
    dates. What is not clear is asked for. In files without names for axes (.npz, HDF5) the grid's
    are t, x, y, z, and come last.

    VALUE is a number, the name of an array in INPUT or FILE:NAME, with one entry for every point of the axes
    that remain (and for every prediction of the batch, if they differ): a total over x on a
    (t, x) grid has one entry per time. It holds exactly, unless a standard deviation follows:
    x=TOTAL+-0.01, or x=TOTAL+-quadrature for the error of the quadrature rule. Of several
    variables the one that is meant stands in front: q@lat,lon=VALUE.

    Example:
      bayescons condition pred.npz --integral x=mass --dirichlet x:lower=1 --out post.nc
      bayescons condition tas.nc --mean tas --scale sd --average lat,lon=287 --out o.nc
      bayescons condition in.nc --mean p,e --scale 1,1 --law "bal: p = e" --out o.nc
    """

    input: Annotated[Positional[Path], arg(metavar="INPUT", help_behavior_hint="")]
    """NetCDF, Zarr, HDF5 or .npz. Nothing pickled is ever read."""
    out: Annotated[
        Path | None, arg(metavar="OUT.nc", help_behavior_hint="(required, but for --dry-run)")
    ] = None
    """File to write, .nc or .zarr: INPUT with its arrays conditioned, and as they were (NAME_prior), the laws before and after, log evidence."""
    integral: Annotated[Facts, arg(metavar="AXES=VALUE")] = ()
    """The integral over an axis, or over several: x,y=TOTAL."""
    average: Annotated[Facts, arg(metavar="AXES=VALUE")] = ()
    """The average over axes, as large as their cells are: lat,lon=287.4."""
    regions: Annotated[Facts, arg(metavar="AXES:NAME=VALUE")] = ()
    """Totals of regions: NAME in INPUT, or FILE:NAME, holds their numbers (below zero or NaN for none) or shares; VALUE has an entry for each, ascending, or their numbers as coordinates."""
    region_averages: Annotated[Facts, arg(metavar="AXES:NAME=VALUE")] = ()
    """Averages of regions, likewise."""
    rows: Annotated[Facts, arg(metavar="AXES:FILE=VALUE", aliases=("--row",))] = ()
    """Sums of your own: FILE is a matrix, rows by points of AXES as INPUT has them, the last fastest: of scipy.sparse.save_npz, Matrix Market or .npy, or FILE:NAME. No measure is applied; VALUE has an entry for each row."""
    dirichlet: Annotated[Facts, arg(metavar="AXIS:SIDE=VALUE")] = ()
    """The value at the end of an axis; SIDE is lower or upper, as the coordinate increases. An initial condition is t:lower=VALUE."""
    neumann: Annotated[Facts, arg(metavar="AXIS:SIDE=VALUE")] = ()
    """The slope at the end of an axis, in the direction in which the axis increases."""
    robin: Annotated[Facts, arg(metavar="AXIS:SIDE:A:B=VALUE")] = ()
    """A times the value and B times the slope at the end of an axis, together."""
    law: Annotated[Facts, arg(metavar='"NAME: EXPRESSION = VALUE"')] = ()
    """A law across variables, which --mean and --scale name: "water: rate(integral(q, lat, lon), time) = later(integral(e - p, lat, lon), time)". Words: integral, average, sum; step, rate, earlier, later, middle (of steps along an axis); to, quantity (units). Arrays that --mean does not name are coefficients."""
    periodic: Annotated[Facts, arg(metavar="AXIS")] = ()
    """Both ends of an axis are one point, stored twice. (An axis stored without its last point is a --ring.)"""
    rule: Literal["auto", "trapezoid", "midpoint", "simpson"] = "auto"
    """Quadrature rule between values at points: by default the trapezoid; midpoint takes them as cell averages. Sums over cells need none."""
    axes: Annotated[
        str | None,
        arg(metavar="NAMES", help_behavior_hint="(default: those of space, and those of the laws)"),
    ] = None
    """Axes of the grid: t,x. With other names for them: t=time,x=depth. All others count a batch."""
    members: Annotated[
        str | None, arg(metavar="NAME", help_behavior_hint="(default: number, member, draw, ...)")
    ] = None
    """Axis that counts the members of an ensemble."""
    ring: Annotated[Facts, arg(metavar="AXIS[=PERIOD]")] = ()
    """An axis that closes on itself and is stored without its last point; longitudes are known to."""
    cells: Annotated[Facts, arg(metavar="AXIS=BOUNDS")] = ()
    """An axis whose values are averages over cells with these bounds (n, 2) or edges (n + 1): NAME in INPUT, or FILE:NAME."""
    weights: Annotated[Facts, arg(metavar="NAME")] = ()
    """Areas, volumes or thickness by which totals and averages are summed: NAME in INPUT, or FILE:NAME; several multiply."""
    where: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: all)")] = None
    """Mask, above zero where the field is: NAME in INPUT, or `nan` for where its arrays are no NaN."""
    mean: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: mean)")] = None
    """Array of the means; of several variables q,p,e."""
    scale: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: scale)")] = None
    """Array of the standard deviations, or one number for all points; of several variables one for each: q_sd,0.1,e_sd."""
    variance: Annotated[
        str | None, arg(metavar="NAME", help_behavior_hint="(default: variance)")
    ] = None
    """Array of the variances, where there are no standard deviations."""
    ensemble: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: draws)")] = (
        None
    )
    """Array of an ensemble, in place of means and standard deviations. M members become K = F F' + s²I, F their deviations / sqrt(M - 1)."""
    nugget: Annotated[float, arg(metavar="SHARE")] = 1e-3
    """For an ensemble: s as a share of the members' standard deviation (root mean square over the grid)."""
    draws: Annotated[int, arg(metavar="N")] = 0
    """How many draws of the conditioned field to write, into a group `posterior` as ArviZ has it."""
    front: Annotated[
        float | None, arg(metavar="THRESHOLD", help_behavior_hint="(default: none)")
    ] = None
    """Where the field crosses this value, before and after, over 400 draws or as many as --draws: a place along one axis of space, an enclosed area in a plane."""
    seed: int = 0
    """Seed of the draws."""
    group: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the root)")] = (
        None
    )
    """Group of INPUT that holds the arrays."""
    dry_run: bool = False
    """Print how INPUT is understood and how far the laws are from the prediction, and write nothing."""
    anyway: bool = False
    """Carry out laws that are more than 1,000 prior standard deviations away."""
    overwrite: bool = False
    """OUT may be INPUT."""


@dataclasses.dataclass(frozen=True)
class Problems:
    """List the problems that come with exact solutions, and the families of solutions that
    operators learn from.

    Example:
      bayescons problems
    """


@dataclasses.dataclass(frozen=True)
class Demo:
    """Condition a moving front on its mass: the Stefan problem from 100 readings.

    The attentive neural process that comes with bayescons is shown 100 scattered readings of the
    exact solution (u* = 0.6). What it believes of the field is conditioned on the mass at every
    time and on the value at the wall, and compared with the belief itself and with an orthogonal
    projection. Prints a table and writes profile.png, total.png, front.png and posterior.nc.

    Example:
      bayescons demo --preset quick --out demo
    """

    preset: Literal["quick", "full"] = "full"
    """quick: 41 times, 101 points, 200 draws. full: 201 times, 201 points, 500 draws; under two minutes on two cores."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("results/demo")
    """Folder to write to; made if it is not there."""
    belief: Annotated[Literal["anp", "gp"], arg(metavar="NAME")] = "anp"
    """anp: of the trained neural process. gp: of a Gaussian process fitted to the readings."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Seed of the readings and the draws."""


@dataclasses.dataclass(frozen=True)
class Run:
    """Run a NumPyro program from a file, with its exact statements carried out.

    FILE.py defines `program(...)`, an ordinary NumPyro program with bayescons.observe or
    bayescons.impose statements, and `inputs(key)`, which returns its arguments as a dictionary.

    Read exactly, the program is rewritten so that every draw satisfies its statements, and sampled.
    Read softly, they get a finite noise, and it is sampled. Conjugate is the closed form, for
    Gaussian fields; no sampler is involved.

    Samplers: auto takes the first of conjugate (independent draws), collapsed (fields integrated
    out, NUTS over what is left) and nuts that the program allows, and says which and why. Others:
    blackjax_nuts, mclmc, adjusted_mclmc, elliptical (where every latent is Gaussian) and smc (with
    the evidence). R-hat and effective draws are part of what is printed and written.

    Example:
      bayescons run models/stefan.py --reading conjugate --out stefan.nc
    """

    file: Annotated[Positional[Path], arg(metavar="FILE.py")]
    """Python file; it is run as it is."""
    out: Annotated[Path, arg(metavar="OUT.nc")]
    """NetCDF file to write: an ArviZ DataTree of draws, sampler statistics and residuals of the statements."""
    program: Annotated[str, arg(metavar="NAME")] = "program"
    """Function that is the program."""
    reading: Literal["exact", "soft", "conjugate"] = "exact"
    """How exact statements are read."""
    scale: Annotated[float, arg(metavar="SCALE")] = 1e-2
    """Soft reading: standard deviation of the noise, in the unit of each statement's value."""
    sampler: Annotated[str, arg(metavar="NAME")] = "auto"
    """Sampler of the exact and the soft reading: one of those above."""
    warmup: Annotated[int, arg(metavar="N")] = 1000
    """Warm-up steps of each chain."""
    samples: Annotated[int, arg(metavar="N")] = 1000
    """Draws of each chain; of the closed form, draws in all; of smc, particles."""
    chains: Annotated[int, arg(metavar="N")] = 4
    """Chains, side by side."""
    latents: Annotated[int, arg(metavar="N")] = 256
    """Conjugate reading: draws of what is random above the fields, from its prior."""
    data: Annotated[Path | None, arg(metavar="FILE.npz", help_behavior_hint="")] = None
    """Arrays (.npz or NetCDF) that replace arguments of the same name."""
    seed: int = 0
    """Seed of the inputs and the draws."""


@dataclasses.dataclass(frozen=True)
class Check:
    """Look at the statements of a NumPyro program before it is sampled.

    FILE.py is as for `bayescons run`. A table says which statements contradict or repeat each
    other, cannot be read, are known better than a quadrature rule can be, are stiff, or touch
    nothing that is uncertain; with a remedy for each. Nothing is sampled but priors.

    The exit status is 0 where nothing worse than a note is found, 1 where there are errors or
    warnings.

    Example:
      bayescons check models/stefan.py
    """

    file: Annotated[Positional[Path], arg(metavar="FILE.py")]
    """Python file; it is run as it is."""
    program: Annotated[str, arg(metavar="NAME")] = "program"
    """Function that is the program."""
    draws: Annotated[int, arg(metavar="N")] = 8
    """How often what is random above the fields is drawn from its prior."""
    data: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Arrays (.npz or NetCDF) that replace arguments of the same name."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Seed of the inputs and the draws."""


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a network on the functions of a problem.

    A neural process (anp) or a deep ensemble learns to turn 100 readings of a field into a belief
    about it, from exact solutions whose parameter is drawn at random. An operator learns to turn an
    initial state into the field, with its boundary values imposed. Weights and a card that says how
    they came about are left in DIR, beside a log.

    The preset "quick" is for trying the path: 200 steps of a small network, a minute. "paper" is
    9000 steps with batches of 32 new functions and a rate that falls as a cosine; half an hour on
    two cores. "published" is how Hansen et al. (ICML 2023) trained a neural process: 20,000 steps with 250 of 10,000 functions, a constant rate, raw inputs and
    dropout; for an accelerator. What knows the physics (softc, conditioned) begins with the neural
    process that comes with bayescons. For an operator, "paper" is the published sizes: 500 points, 500 functions and
    12,500 steps over a line; over more axes they are for an accelerator.

    It can be stopped at any moment, by Ctrl-C or otherwise: the same command goes on from the last
    checkpoint, to the same result to the last bit. A run that is complete is not run again.

    The options are those of the kind, and their defaults those of the preset:
    bayescons train KIND --preset NAME --help.

    Example:
      bayescons train anp --problem stefan --preset quick
      bayescons train operator --problem stokes --mode features --preset quick
    """


INTERRUPTED = 130  # 128 + SIGINT, as shells count
COMMANDS = {
    "condition": Condition,
    "run": Run,
    "check": Check,
    "problems": Problems,
    "train": Train,
    "demo": Demo,
}
KINDS = ("train",)  # commands whose options are made from classes of their own, once they are named


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of the process. Turns on 64-bit floats in JAX.

    Returns:
        Exit status: 0 (of `check`: 1 where it finds errors or warnings), 2 for input that cannot be
        used, which is said in one line on stderr, or 130 where it was interrupted. Other errors are
        raised.
    """
    jax.config.update("jax_enable_x64", True)
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments == ["--version"]:
        made_with = versions(("bayescons", "jax", "numpyro"))
        print(
            ", ".join(
                f"{name} {made_with[name]}" for name in ("bayescons", "python", "jax", "numpyro")
            )
        )
        return 0
    try:
        with noticed():
            name, options = _parsed(arguments)
            status = import_module(f"bayescons.cli.{name}").run(options, arguments)
    except InputError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return status or 0


def _parsed(arguments: list[str]) -> tuple[str, Any]:
    """Name of the command, and its options."""
    alone = arguments[0] if arguments else None
    if alone in KINDS:
        kinds = import_module(f"bayescons.cli.{alone}").kinds(arguments[1:])
        about = _description(COMMANDS[alone], whole=True)
        return alone, _options(f"bayescons {alone}", kinds, arguments[1:], about)
    choices = [
        Annotated[command, subcommand(name, description=_description(command, whole=name == alone))]
        for name, command in COMMANDS.items()
    ]
    options = _options("bayescons", choices, arguments, _ABOUT)
    return next(name for name, command in COMMANDS.items() if type(options) is command), options


def _options(program: str, choices: Sequence[Any], arguments: list[str], about: str) -> Any:
    """The options as one of the choices; what the parser prints as an error becomes an
    InputError.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                Union[*choices],
                prog=program,
                args=arguments,
                description=about,
                registry=_registry,
            )
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise InputError(_unboxed(said.getvalue())) from end


NOTHING = "none"  # as it is written: no number, or a mapping without entries


def _number_or_none(info: tyro.constructors.PrimitiveTypeInfo):
    """A number, or none."""
    kinds = {int | None: (int, "a whole number"), float | None: (float, "a number")}
    if info.type not in kinds:
        return None
    kind, what = kinds[info.type]

    def read(words: Sequence[str]) -> int | float | None:
        if words[0].lower() == NOTHING:
            return None
        try:
            return kind(words[0])
        except ValueError:
            raise ValueError(f"write {what}, or none; got {words[0]!r}") from None

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{kind.__name__.upper()}|none",
        instance_from_str=read,
        is_instance=lambda instance: instance is None or isinstance(instance, int | float),
        str_from_instance=lambda instance: [NOTHING if instance is None else str(instance)],
    )


def _named_values(info: tyro.constructors.PrimitiveTypeInfo):
    """Mappings are written NAME=VALUE, the values as JSON or else as they stand."""
    if info.type != Mapping[str, Any]:
        return None

    def read(words: Sequence[str]) -> dict[str, Any]:
        named = {}
        for word in [] if list(words) == [NOTHING] else words:
            name, equals, value = word.partition("=")
            if not (name and equals and value):
                raise ValueError(f"write NAME=VALUE, as viscosity=0.02; got {word!r}")
            try:
                named[name] = json.loads(value)
            except json.JSONDecodeError:
                named[name] = value
        return named

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="NAME=VALUE",
        instance_from_str=read,
        is_instance=lambda instance: isinstance(instance, Mapping),
        str_from_instance=lambda instance: (
            [f"{n}={json.dumps(v)}" for n, v in instance.items()] or [NOTHING]
        ),
    )


_registry = tyro.constructors.ConstructorRegistry()
for _rule in (_number_or_none, _named_values):
    _registry.primitive_rule(_rule)
_ABOUT = "Predictions and programs, conditioned exactly on conservation laws."
# zero-width space: tyro joins lines that begin with a letter, and doubles lines that are empty
_EMPTY_LINE = "\u200b"


def _description(command: type, *, whole: bool) -> str:
    """A command's docstring, wrapped to the terminal and indented, so that tyro keeps its lines; or
    only its first line.
    """
    paragraphs = inspect.cleandoc(command.__doc__).split("\n\n")
    if not whole:
        return paragraphs[0]
    width = min(shutil.get_terminal_size().columns, 110) - 2
    wrapped = [
        p if p.startswith("Example:") else textwrap.fill(" ".join(p.split()), width)
        for p in paragraphs
    ]
    return textwrap.indent(f"\n{_EMPTY_LINE}\n".join(wrapped), "  ")


def _unboxed(text: str) -> str:
    """The sentences of an error that tyro has drawn into a box: without colours, frame, title and
    help, with semicolons for rules.
    """
    lines = [
        re.sub(r"^[│|] ?|[│|]$", "", line)
        for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    ]
    inner = "\n".join(line.strip() for line in lines if not re.match(r"[╭╰+]| {8}", line))
    sentences = [
        " ".join(sentence.split()).rstrip(".")
        for sentence in re.split(r"^[─-]{2,}$", inner, flags=re.MULTILINE)
    ]
    return "; ".join(
        sentence for sentence in sentences if not sentence.startswith("Argument helptext")
    )
