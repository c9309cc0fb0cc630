"""Laws as people write them, "water: step(q, time) = later(p - e, time)", read into trees. Nothing
is evaluated: the words below, names of arrays, numbers and + - * / ** are all there is.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from bayescons.refusals import RefusedValue

LONGEST, PIECES = 2000, 400  # characters; names, numbers and signs
DEEPEST, HIGHEST = 40, 8  # parentheses in each other; powers
SUMS = ("integral", "average", "sum")  # over one axis or more
STEPS = ("step", "rate", "earlier", "later", "middle")  # between neighbours along one axis
UNITS = ("to", "quantity")  # whose second argument is a unit
WORDS = {
    "integral": "integral(q, lat, lon)",
    "average": "average(q, lat, lon)",
    "sum": "sum(q * thickness, level)",
    "step": "step(q, time)",
    "rate": "rate(q, time)",
    "earlier": "earlier(q, time)",
    "later": "later(q, time)",
    "middle": "middle(q, time)",
    "to": "to(p, 'kg m-2 s-1')",
    "quantity": "quantity(2.5e6, 'J kg-1')",
}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))"
    r"|(?P<name>[^\W\d]\w*)"
    r"|(?P<quoted>'[^']*'|\"[^\"]*\"|`[^`]*`)"
    r"|(?P<sign>\+-|\*\*|[-+*/(),=:]))"
)


@dataclasses.dataclass(frozen=True)
class Expression:
    """A part of a law.

    Attributes:
        text: as it was written.
    """

    text: str = dataclasses.field(compare=False)

    @property
    def parts(self) -> tuple[Expression, ...]:
        """What it is made of."""
        return ()

    def every(self) -> Iterator[Expression]:
        """Itself and all that it is made of."""
        yield self
        for part in self.parts:
            yield from part.every()


@dataclasses.dataclass(frozen=True)
class Number(Expression):
    """A number, with a unit where it was given one."""

    value: float
    units: str | None = None


@dataclasses.dataclass(frozen=True)
class Name(Expression):
    """An array of the dataset."""

    name: str


@dataclasses.dataclass(frozen=True)
class Binary(Expression):
    """Two parts and what stands between them: + - * or /."""

    sign: str
    left: Expression
    right: Expression

    @property
    def parts(self) -> tuple[Expression, ...]:
        """Left and right."""
        return (self.left, self.right)


@dataclasses.dataclass(frozen=True)
class Negative(Expression):
    """-E."""

    of: Expression

    @property
    def parts(self) -> tuple[Expression, ...]:
        """What is turned."""
        return (self.of,)


@dataclasses.dataclass(frozen=True)
class Power(Expression):
    """E ** n, n a whole number."""

    of: Expression
    exponent: int

    @property
    def parts(self) -> tuple[Expression, ...]:
        """The base."""
        return (self.of,)


@dataclasses.dataclass(frozen=True)
class Along(Expression):
    """A word about axes: a sum over some, or neighbours along one."""

    word: str
    of: Expression
    axes: tuple[str, ...]

    @property
    def parts(self) -> tuple[Expression, ...]:
        """What stands within."""
        return (self.of,)


@dataclasses.dataclass(frozen=True)
class Converted(Expression):
    """E in another unit."""

    of: Expression
    units: str

    @property
    def parts(self) -> tuple[Expression, ...]:
        """What is converted."""
        return (self.of,)


class Parsed(NamedTuple):
    """NAME: LEFT = RIGHT +- SCALE.

    Attributes:
        name: of the law; "" where it has none.
        left: of the sign.
        right: of it.
        scale: standard deviation; None for an exact law.
    """

    name: str
    left: Expression
    right: Expression
    scale: Expression | None


def parsed(text: str) -> Parsed:
    """Read a law.

    Raises:
        ValueError: what is no law, with the place and what was expected there.
    """
    return _Reader(text).law()


class _Token(NamedTuple):
    kind: str  # number, name, quoted, sign; end
    text: str
    at: int


class _Reader:
    """Recursive descent, one method for each level of binding."""

    def __init__(self, text: str):
        if not isinstance(text, str) or not text.strip():
            raise RefusedValue(
                "a law is a text like 'water: step(q, time) = later(p - e, time)'; got "
                f"{text!r:.60}"
            )
        if len(text) > LONGEST:
            raise RefusedValue(
                f"a law of {len(text)} characters is not read; {LONGEST} are the most. Compute "
                "parts of it as arrays of the dataset, and name these"
            )
        self.text, self.place, self.depth = text, 0, 0
        self.tokens = self._split()

    def _split(self) -> list[_Token]:
        found, at, end = [], 0, len(self.text.rstrip())
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                start = at + len(self.text[at:]) - len(self.text[at:].lstrip())
                raise self._error(
                    start,
                    "no such sign is known; there are + - * / ** ( ) , = : +-, and names with "
                    "others stand in quotes: '2t'",
                )
            found.append(
                _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup))
            )
            at = match.end()
        if len(found) > PIECES:
            raise RefusedValue(
                f"a law of {len(found)} names, numbers and signs is not read; {PIECES} are the "
                "most. Compute parts of it as arrays of the dataset, and name these"
            )
        return [*found, _Token("end", "", end)]

    def _error(self, at: int, expected: str) -> RefusedValue:
        return RefusedValue(
            f"cannot read the law {self.text!r} at character {at + 1}, "
            f"{self.text[at : at + 12]!r}: {expected}"
        )

    @property
    def _next(self) -> _Token:
        return self.tokens[self.place]

    def _taken(self) -> _Token:
        self.place += 1
        return self.tokens[self.place - 1]

    def _is(self, *signs: str) -> bool:
        return self._next.kind == "sign" and self._next.text in signs

    def _require(self, sign: str, expected: str) -> None:
        if not self._is(sign):
            raise self._error(self._next.at, expected)
        self._taken()

    def _since(self, at: int) -> str:
        last = self.tokens[self.place - 1]
        return self.text[at : last.at + len(last.text)]

    def law(self) -> Parsed:
        name = self._name_of_law()
        left = self._sum()
        self._require("=", "expected '=' and the value, as in 'total: integral(u, x) = 1'")
        right, scale = self._sum(), None
        if self._is("+-"):
            self._taken()
            scale = self._sum()
        if self._next.kind != "end":
            raise self._error(self._next.at, "the law is complete before this")
        return Parsed(name, left, right, scale)

    def _name_of_law(self) -> str:
        """What stands before the first colon that is outside of quotes."""
        ends = [i for i, t in enumerate(self.tokens) if t.kind == "sign" and t.text == ":"]
        if not ends:
            return ""
        self.place = ends[0] + 1
        name = self.text[: self.tokens[ends[0]].at].strip().strip("'\"`").strip()
        if not name or any(sign in name for sign in "=(),"):
            raise self._error(0, "expected a name before ':', as in 'water: ... = ...'")
        return name

    def _sum(self) -> Expression:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._error(self._next.at, f"more than {DEEPEST} parentheses stand in each other")
        at, found = self._next.at, self._product()
        while self._is("+", "-"):
            sign = self._taken().text
            right = self._product()
            found = Binary(self._since(at), sign, found, right)
        self.depth -= 1
        return found

    def _product(self) -> Expression:
        at, found = self._next.at, self._signed()
        while self._is("*", "/"):
            sign = self._taken().text
            right = self._signed()
            found = Binary(self._since(at), sign, found, right)
        return found

    def _signed(self) -> Expression:
        at, minus = self._next.at, False
        while self._is("-", "+"):
            minus ^= self._taken().text == "-"
        found = self._power()
        return Negative(self._since(at), found) if minus else found

    def _power(self) -> Expression:
        at, base = self._next.at, self._single()
        if not self._is("**"):
            return base
        self._taken()
        sign = -1 if self._is("-") and self._taken() else 1
        given = self._taken()
        whole = given.kind == "number" and given.text.isdigit() and int(given.text) <= HIGHEST
        if not whole:
            raise self._error(given.at, f"a power is a whole number, at most {HIGHEST}")
        return Power(self._since(at), base, sign * int(given.text))

    def _single(self) -> Expression:
        token = self._taken()
        if token.kind == "number":
            return Number(token.text, self._finite(token))
        if token.kind == "quoted":
            return Name(token.text, self._unquoted(token))
        if token.kind == "sign" and token.text == "(":
            inner = self._sum()
            self._require(")", "expected ')'")
            return dataclasses.replace(inner, text=self._since(token.at))
        if token.kind == "name":
            return self._called(token) if self._is("(") else Name(token.text, token.text)
        raise self._error(
            token.at,
            "expected an array's name, a number, '(' or one of the words " + ", ".join(WORDS),
        )

    def _finite(self, token: _Token) -> float:
        value = float(token.text)
        if not math.isfinite(value):
            raise self._error(token.at, "the number is beyond double precision")
        return value

    def _unquoted(self, token: _Token) -> str:
        if not token.text[1:-1].strip():
            raise self._error(token.at, "expected a name between the quotes")
        return token.text[1:-1]

    def _called(self, word: _Token) -> Expression:
        if word.text not in WORDS:
            near = difflib.get_close_matches(word.text, WORDS, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise self._error(
                word.at,
                f"{meant}{word.text!r} is none of the words {', '.join(WORDS)}. Compute what it "
                "shall mean as an array of the dataset, and name that",
            )
        example = f"write {WORDS[word.text]}"
        self._taken()
        inner, further = self._sum(), []
        while self._is(","):
            self._taken()
            token = self._taken()
            if token.kind not in ("name", "quoted"):
                what = "a unit in quotes" if word.text in UNITS else "the name of an axis"
                raise self._error(token.at, f"expected {what}; {example}")
            further.append(token)
        self._require(")", f"expected ',' or ')'; {example}")
        text = self._since(word.at)
        if word.text in UNITS:
            return self._in_units(word, inner, further, text)
        if not further or (word.text in STEPS and len(further) > 1):
            count = "one axis" if word.text in STEPS else "one axis or more"
            raise self._error(word.at, f"{word.text} needs {count}; {example}")
        axes = tuple(self._unquoted(t) if t.kind == "quoted" else t.text for t in further)
        if len(set(axes)) < len(axes):
            raise self._error(word.at, f"{word.text} names an axis twice")
        return Along(text, word.text, inner, axes)

    def _in_units(self, word: _Token, inner: Expression, further: list[_Token], text: str):
        if len(further) != 1 or further[0].kind != "quoted":
            raise self._error(
                word.at, f"{word.text} needs a unit in quotes; write {WORDS[word.text]}"
            )
        units = self._unquoted(further[0])
        if word.text == "to":
            return Converted(text, inner, units)
        sign = -1.0 if isinstance(inner, Negative) else 1.0
        number = inner.of if isinstance(inner, Negative) else inner
        if not isinstance(number, Number) or number.units is not None:
            raise self._error(word.at, f"quantity is of a number; write {WORDS[word.text]}")
        return Number(text, sign * number.value, units)
