"""What a person sees of an object: a title and rows of words, as text and as a table in a notebook.

A class says what it is once, as a `Description`, and `described` prints it. Numbers are told by
their range and their shape, never in full; numbers that are being traced by their shape and type
alone. Nothing is computed for it but minima and maxima.
"""

from __future__ import annotations

import dataclasses
import functools
import html
import inspect
import numbers
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

WIDTH = 100  # columns of the text
LINES = 12  # of the text
FEW = 6  # numbers, names or objects that are told one by one


@dataclasses.dataclass(frozen=True)
class Description:
    """What a person sees of an object.

    Attributes:
        title: what it is.
        rows: (name, words), in the order in which they are read.
    """

    title: str
    rows: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """At most twelve lines of a hundred columns; what does not fit is counted."""
        width = min(max((len(name) for name, _ in self.rows), default=0), WIDTH // 3)
        lines = textwrap.wrap(self.title, WIDTH)
        for name, told in self.rows:
            label = textwrap.shorten(name, width, placeholder="…") if name else ""
            first = f"  {label:<{width}}  "
            lines += textwrap.wrap(
                told, WIDTH, initial_indent=first, subsequent_indent=" " * len(first)
            )
        if len(lines) > LINES:
            lines = [*lines[: LINES - 1], f"  … and {len(lines) - LINES + 1} lines more"]
        return "\n".join(lines)

    @property
    def html(self) -> str:
        """A table without colours, of all rows."""
        cell = '<{0} style="text-align: left">{1}</{0}>'
        rows = "".join(
            f"<tr>{cell.format('th', html.escape(name))}{cell.format('td', html.escape(told))}</tr>"
            for name, told in self.rows
        )
        table = f"<table><tbody>{rows}</tbody></table>" if rows else ""
        return f"<div><strong>{html.escape(self.title)}</strong>{table}</div>"


def described[C: type](cls: C) -> C:
    """Print objects of a class, and show them in a notebook, by their method `description`.

    Stands above `dataclasses.dataclass`, whose text it replaces.
    """
    cls.__repr__ = lambda self: _told(self).text
    cls._repr_html_ = lambda self: _told(self).html
    words.register(cls, lambda value: _told(value).title)
    return cls


def tabulated[C: type](title: str) -> Callable[[C], C]:
    """`described`, for a class whose fields are all that there is to tell: a row for each.

    Args:
        title: what an object of the class is.
    """

    def decorate(cls: C) -> C:
        names = inspect.signature(cls).parameters

        def description(self) -> Description:
            told = ((name.replace("_", " "), words(getattr(self, name))) for name in names)
            return Description(title, tuple(told))

        cls.description = description
        return described(cls)

    return decorate


def _told(value) -> Description:
    """Its description. While JAX takes an object apart anything may stand in the place of its
    arrays, or they have been given away: then only its kind is told, since what fails to print
    cannot be looked into.
    """
    try:
        return value.description()
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return Description(kind(value))


@functools.singledispatch
def words(value: Any) -> str:
    """A value in a few words: a number, the shape and range of many, what an object is."""
    if callable(value):
        return called(value)
    return kind(value)


@words.register
def _(value: None) -> str:
    del value
    return "none"


@words.register(str)
@words.register(bool)
@words.register(np.bool_)
def _(value) -> str:
    return textwrap.shorten(str(value), WIDTH, placeholder=" …")


@words.register(type)
def _(value) -> str:
    return value.__name__


@words.register(numbers.Number)
@words.register(np.number)
def _(value) -> str:
    return f"{value:.6g}"


@words.register(np.ndarray)
@words.register(jax.Array)
@words.register(jax.core.Tracer)
@words.register(jax.ShapeDtypeStruct)
def _(value) -> str:
    shape = np.shape(value)
    many = f"shape {shape}, " if shape else ""
    if not known(value):
        return f"{many}{value.dtype}, being traced"
    array = np.asarray(value)
    if array.dtype.kind == "b" and array.size:
        return f"{int(array.sum())} of {array.size}" if shape else str(bool(array))
    if not shape and array.dtype.kind in "iuf":
        return words(array[()])
    if array.ndim == 1 and array.size <= FEW:
        return ", ".join(map(words, array)) or "no numbers"
    return f"{many}{span(array)}"


@words.register(tuple)
@words.register(list)
def _(value) -> str:
    told = ", ".join(map(words, value[:FEW]))
    more = f" and {len(value) - FEW} more" if len(value) > FEW else ""
    return f"{told}{more}" or "none"


@words.register(Mapping)
def _(value) -> str:
    names = [f"{name}: {words(value[name])}" for name in list(value)[:FEW]]
    more = f" and {len(value) - FEW} more" if len(value) > FEW else ""
    return f"{'; '.join(names)}{more}" or "none"


def span(array) -> str:
    """The range of an array's numbers; how many are not finite; of what is traced its type."""
    if not known(array):
        return f"{np.result_type(array.dtype)}, being traced"
    array = np.asarray(array)
    if not jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.kind not in "biu":
        return f"of type {array.dtype}"
    if not array.size:
        return "no numbers"
    low, high = float(np.min(array)), float(np.max(array))
    if not np.isfinite(low + high):
        finite = array[np.isfinite(array)]
        bad = f"{array.size - finite.size} of {array.size} not finite"
        return f"{span(finite)}, {bad}" if finite.size else bad
    ends = f"{low:.4g}", f"{high:.4g}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def counted(number: int, what: str) -> str:
    """A number of things: "1 row", "3 rows"."""
    return f"{number} {what}{'s' * (number != 1)}"


def kind(value) -> str:
    """What an object is, by the name of its class: "a tensor product"."""
    name = re.sub("(?<=[a-z])(?=[A-Z])", " ", type(value).__name__).lower()
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"


def called(function: Callable) -> str:
    """A function by its name and the names of its arguments."""
    inner = function.func if isinstance(function, functools.partial) else function
    name = getattr(inner, "__name__", kind(inner)).replace("<lambda>", "lambda")
    try:
        arguments = ", ".join(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # of some built-in functions nobody knows
        return name
    return f"{name}({arguments})"


def known(value) -> bool:
    """Whether it is an array, or a number, that can be looked at: not one that is being traced."""
    if not isinstance(value, np.ndarray | np.generic | jax.Array | numbers.Number):
        return False
    return not isinstance(value, jax.core.Tracer) and not jnp.issubdtype(
        jnp.result_type(value), jax.dtypes.extended
    )
