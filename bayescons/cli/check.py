"""`bayescons check`: the statements of a program from a file, looked at before anything is
sampled.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax

from bayescons.cli.command import Check
from bayescons.cli.errors import InputError, own_refusals
from bayescons.cli.program_file import arguments, load_program
from bayescons.cli.terminal import say, show_table, working
from bayescons.linting.report import check


def run(options: Check, command: Sequence[str]) -> int:
    """Load, look, and print what is found.

    Returns:
        Exit status: 0 where there is nothing worse than a note, 1 where there is.

    Raises:
        InputError: for options or files that cannot be used. What the user's own code raises passes
            through.
    """
    del command
    if options.draws < 1:
        raise InputError(f"--draws must be 1 or more; got {options.draws}")
    file = load_program(options.file, options.program)
    key_inputs, key_draws = jax.random.split(jax.random.key(options.seed))
    with working("preparing the inputs"), own_refusals():
        given = arguments(file, key_inputs, options.data)
    with working("looking"):
        report = check(
            functools.partial(file.program, **given), latent_draws=options.draws, key=key_draws
        )
    if report.findings:
        show_table(["severity", "statement", "finding", "remedy"], report.findings, text=4)
    say(f"{options.file}: {options.program}: {report.summary}")
    return 0 if report.ok else 1
