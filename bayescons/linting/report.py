"""The linter: a program's statements looked at before anything is sampled, and a report with a line
and a remedy for each finding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np

from bayescons import tracing
from bayescons.descriptions import Description, described
from bayescons.functionals.abstract import AbstractFunctional, JointFunctional
from bayescons.linting.context import examine
from bayescons.linting.rules import SEVERITIES, Finding, findings
from bayescons.refusals import RefusedType, RefusedValue


@described
@dataclasses.dataclass(frozen=True)
class Report:
    """What `check` found; printed as a table.

    Attributes:
        findings: errors first.
        statements: number of statements.
        rows: number of rows in them.
        rank: of these, how many are independent (the fewest over the draws).
        unknowns: points of all constrained fields.
        draws: of what stands above the fields; 1 where nothing does.
    """

    findings: tuple[Finding, ...]
    statements: int
    rows: int
    rank: int
    unknowns: int
    draws: int

    @property
    def ok(self) -> bool:
        """Whether there is no error and no warning."""
        return all(f.severity == "note" for f in self.findings)

    @property
    def summary(self) -> str:
        """What was looked at, in a line."""
        above = f", at {self.draws} prior draws of what stands above" if self.draws > 1 else ""
        counts = [
            _counted(n, s) for s in SEVERITIES if (n := sum(f.severity == s for f in self.findings))
        ]
        stated = (
            f"{_counted(self.statements, 'statement')}, {_counted(self.rows, 'row')}, {self.rank} "
            "of them independent"
        )
        looked = f"{stated}, {_counted(self.unknowns, 'unknown')}{above}"
        return f"{looked}: {', '.join(counts) or 'nothing found'}"

    def description(self) -> Description:
        """The summary, and each finding with its remedy."""
        told = ((f.where, f"{f.severity}: {f.finding}; {f.remedy}") for f in self.findings)
        return Description(self.summary, tuple(told))

    def __str__(self) -> str:
        """A line for each finding, and the summary."""
        heads = Finding("severity", "statement", "finding", "remedy")
        widths = [max(len(line[i]) for line in (heads, *self.findings)) for i in range(3)]
        lines = [
            "  ".join(
                [*(f"{text:<{w}}" for text, w in zip(line[:3], widths, strict=True)), line.remedy]
            )
            for line in (heads, *self.findings)
        ]
        return "\n".join([*(lines if self.findings else []), self.summary])


@tracing.one_at_a_time
def check(
    program,
    *args,
    fixed: Mapping | None = None,
    latent_draws: int = 8,
    key: jax.Array | None = None,
    **kwargs,
) -> Report:
    """Look at a program's statements before conditioning: `print(bc.check(program, *args))`.

    Every statement is looked at alone, then all of them together:

    - refused: a field that is not Gaussian, a functional that is not affine, a statement on
      something below its field, a wrong shape, NaN; more exact rows than points;
    - rows that contradict each other (by how much, in prior standard deviations), repeat each
      other, touch only what the belief holds for certain, or are so nearly dependent that rounding
      is magnified;
    - an integral known better than its quadrature rule can be;
    - scales so small that a soft reading, or NUTS on a likelihood below the field, freezes; that
      are below rounding;
    - values no draw of the belief comes near;
    - single precision; latents above the fields without a proper prior, or discrete.

    Nothing is sampled but priors: fields 16 times, what stands above them `latent_draws` times.
    What holds for some of these draws only is said with their number; rows that are dependent for
    values of probability below 1 / latent_draws may be missed.

    Args:
        program: a NumPyro program with `observe` or `impose` statements.
        *args: the program's arguments.
        fixed: values of sites above the fields that are not to be drawn from their prior.
        latent_draws: how often they are drawn.
        key: of `jax.random.key`; seed 0 by default, so that the same program gives the same report.
        **kwargs: the program's. One that takes `fixed`, `latent_draws` or `key` itself:
            `check(functools.partial(program, key=...))`.

    Returns:
        A `Report`: `ok`, `findings`; printed as a table of findings, each with its remedy.

    Raises:
        What the program's own code raises. What the library refuses becomes a finding.

    Example:
        >>> def program():
        ...     u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
        ...     bc.observe("total", lambda u: u.sum(), u, 1.0)
        ...     bc.observe("ends", lambda u: u[0] + u[2], u, 1.0)
        ...     bc.observe("middle", lambda u: u[1], u, 0.5)
        >>> report = bc.check(program)
        >>> report.ok, [finding.severity for finding in report.findings]
        (False, ['error'])
        >>> print(report.summary)
        3 statements, 3 rows, 2 of them independent, 3 unknowns: 1 error
    """
    if isinstance(program, AbstractFunctional | JointFunctional) or not callable(program):
        raise RefusedType(
            f"expected a program; got {type(program).__name__}. How well a field satisfies a "
            "functional is told by bc.residuals(functional, truth, value)"
        )
    if latent_draws < 1:
        raise RefusedValue(f"latent_draws must be 1 or more; got {latent_draws}")
    key = jax.random.key(0) if key is None else key
    seen = examine(program, args, kwargs, given=fixed or {}, draws=latent_draws, key=key)
    size = [np.asarray(rows.update.redundant)[0].size for rows in seen.rows]
    rank = [
        int(np.min(np.asarray(rows.update.rank).reshape(seen.draws, -1).sum(1)))
        for rows in seen.rows
    ]
    unknowns = sum(
        rows.unknowns * (size // rows.names.size)
        for rows, size in zip(seen.rows, size, strict=True)
    )
    return Report(findings(seen), len(seen.statements), sum(size), sum(rank), unknowns, seen.draws)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
