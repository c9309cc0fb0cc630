"""`bayescons problems`: the problems that come with exact solutions, and the families that
operators learn from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bayescons.cli.command import Problems
from bayescons.cli.terminal import say, show_table
from bayescons.problems import OperatorProblem, Problem

_SEPARATOR = re.compile(r", (?![^(]*\))")  # a comma, but not within brackets


def run(options: Problems, command: Sequence[str]) -> None:
    """Print a table of the problems, and one of the families."""
    del options, command
    rows = [
        (
            problem.__name__,
            problem.equation.replace(", ", "\n", 1),
            f"{problem.parameter_name}\n{_interval(problem.train_range)}",
            ", ".join(f"{value:g}" for value in problem.test_values),
            f"t {_interval(problem.time_range)}\nx {_interval(problem.space_range)}",
        )
        for problem in sorted(Problem.__subclasses__(), key=lambda p: p.name)
    ]
    show_table(["problem", "equation", "parameter", "tests", "domain"], rows, text=5)
    say("Surrogates are trained on parameters of the interval and tested at those named.")
    say("In Python: bayescons.problems.Stefan(threshold=0.6).total(0.05)")
    families = [
        (
            type(family).__name__,
            _SEPARATOR.sub("\n", family.equation),
            f"t {_interval(family.time_range)}\n{', '.join(family.axes)} "
            f"{_interval(family.space_range)}",
        )
        for family in sorted(
            (kind() for kind in OperatorProblem.__subclasses__()), key=lambda family: family.name
        )
    ]
    say("")
    show_table(["family, for operators", "equation and boundary", "domain"], families, text=3)
    say(
        "An operator learns what an initial state becomes: bayescons train operator --problem "
        "stokes_second"
    )
    say("In Python: bayescons.problems.StokesSecond().sample(key, 100, grid)")


def _interval(ends: tuple[float, float]) -> str:
    return f"[{ends[0]:.4g}, {ends[1]:.4g}]"
