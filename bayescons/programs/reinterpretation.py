"""A program read another way: what `exact`, `soft` and `conjugate` give back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from bayescons.descriptions import Description, called, described


@described
class Reinterpretation:
    """A program read another way, called with the program's own arguments; its name, signature and
    docstring are the program's.

    Attributes:
        program: as it was written.
        reading: which one, in words.
        gives: what a call gives, in words.
    """

    def __init__(self, program: Callable, function: Callable, *, reading: str, gives: str):
        functools.update_wrapper(self, program)
        self.program, self.reading, self.gives = program, reading, gives
        self._function = function

    def __call__(self, *args, **kwargs) -> Any:
        """What the reading gives for these arguments."""
        return self._function(*args, **kwargs)

    def description(self) -> Description:
        """The program, how it is read, and what comes of it."""
        return Description(
            f"{called(self.program)}, {self.reading}", (("a call gives", self.gives),)
        )
