"""Choice: which sampler a program allows, best first, and why."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
from numpyro import handlers
from numpyro.infer.initialization import init_to_uniform

from bayescons import tracing
from bayescons.descriptions import tabulated
from bayescons.functionals.functions import NotProvenAffineError
from bayescons.programs.fields import NoClosedFormError
from bayescons.programs.handlers import CollectStatements
from bayescons.programs.likelihoods import absorb, refuse
from bayescons.programs.structure import ProgramStructure, program_structure

ROWS = 500  # of likelihoods absorbed; S of so many rows is factored at every gradient, some 10 ms


@tabulated("Choice of a sampler")
class Choice(NamedTuple):
    """A sampler, and why it was chosen."""

    sampler: str
    why: str


class _Likelihoods(NamedTuple):
    """What is known of a program whose fields can be integrated out: whether anything observed
    bears on the latents, and rows absorbed.
    """

    informed: bool
    rows: int


@tracing.one_at_a_time
def choose(program: Callable, *args, rows: float | int = ROWS, **kwargs) -> Choice:
    """The first of these that the program allows; nothing is sampled and no field is computed.

    1. "conjugate", independent exact draws: the fields are Gaussian, all likelihoods below them are
       Normal and affine, and there is no latent above them, or none that anything observed bears
       on.
    2. "collapsed": as before, with latents above the fields to be learnt. The fields are integrated
       out and NUTS moves the latents alone.
    3. "nuts", on the exact reading.

    Args:
        program: an ordinary NumPyro program.
        *args: arguments of the program.
        rows: of likelihoods below the fields, above which "nuts" is thought quicker than
            "collapsed".
        **kwargs: keyword arguments of the program.

    Returns:
        A sampler's name, and why, as a sentence without its full stop.

    Raises:
        ValueError: as `exact`, where a statement rests on something below its field.
    """
    structure = program_structure(program, args, kwargs)
    if not structure.fields:
        return Choice(
            "nuts", "the program states nothing about a field, so there is none to integrate out"
        )
    try:
        likelihoods = _collapsible(structure)
    except NoClosedFormError as error:
        return Choice("nuts", f"the fields have no closed form: {error.reason}")
    if not structure.latents:
        return Choice(
            "conjugate",
            "the fields are Gaussian given all that is known of them, and nothing else is random "
            "above them",
        )
    names = ", ".join(structure.latents)
    if not likelihoods.informed:
        return Choice(
            "conjugate",
            f"nothing observed bears on {names}, which keep their prior; the fields are Gaussian "
            "given them",
        )
    if likelihoods.rows > rows:
        return Choice(
            "nuts",
            f"collapsing would factor a matrix of {likelihoods.rows} observed rows at every "
            "gradient",
        )
    return Choice(
        "collapsed",
        f"the fields are Gaussian given {names}: they are integrated out, and NUTS moves {names} "
        "alone",
    )


def _collapsible(structure: ProgramStructure) -> _Likelihoods:
    """Integrate the fields out, abstractly.

    Raises:
        NoClosedFormError: where they cannot be.
    """
    refuse(structure)
    likelihoods: list[_Likelihoods] = []

    def run() -> None:
        somewhere = handlers.substitute(substitute_fn=init_to_uniform)
        with handlers.block(), somewhere, handlers.seed(rng_seed=0):
            above = CollectStatements(structure).run()
        groups = absorb(above)
        members = [m for g in groups if g.observed is not None for m in g.observed.members]
        rows = sum(
            math.prod(m.functional.value_shape) for m in members if m.name in structure.likelihoods
        )
        likelihoods.append(_Likelihoods(bool(members or above.weights), rows))

    try:
        jax.eval_shape(run)
    except NotProvenAffineError:
        run()
    return likelihoods[0]
