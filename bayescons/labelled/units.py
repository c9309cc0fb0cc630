"""Units of what is stated and of what it is stated of: compared, never guessed.

Where pint is installed units are compared by what they are; without it as text, and products of
units, as those of a total, are not compared.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import re
from collections.abc import Sequence

from bayescons.refusals import RefusedValue

OTHER_ZERO = math.inf  # in place of a factor: one more is not enough to convert them
SCALES = {  # steps of pint -> its words for temperatures whose zero is another
    "delta_degree_Celsius": "degrees?_?(?:celsius|c)|deg_?c|celsius",
    "delta_degree_Fahrenheit": "degrees?_?(?:fahrenheit|f)|deg_?f|fahrenheit",
}
_POWER = re.compile(r"([A-Za-zµ°%]+)\s*\^?\*{0,2}\s*(-?\d+)")


def compared(
    what: str, given: str | None, expected: Sequence[str | None], *, differences: bool = False
) -> str | None:
    """Refuse units that do not fit; a sentence about units that could not be compared.

    Args:
        what: is given, for messages.
        given: its units, or None where nobody has said.
        expected: units whose product is expected; None for one that is not known.
        differences: whether numbers are compared of which the zero does not count, as standard
            deviations: these may be in kelvin where the field is in degrees Celsius.

    Raises:
        ValueError: units that are others.
    """
    if not given or any(unit is None for unit in expected):
        return None
    product = " ".join(unit for unit in expected if unit)
    if _same_text(given, product):
        return None
    if importlib.util.find_spec("pint") is None:
        if len([unit for unit in expected if unit not in ("", "1")]) > 1:
            return (
                f"the units of {what}, {given!r}, were not compared with {product!r}; "
                "pip install 'bayescons[units]' compares them"
            )
        raise RefusedValue(
            f"{what} is in {given!r}, and {product!r} is expected. Convert it; or install pint, "
            "pip install 'bayescons[units]', if these are two words for one unit"
        )
    factor = _factor(given, expected, differences)
    if factor is None:
        raise RefusedValue(
            f"{what} is in {given!r}, and {product!r} is expected: these are other quantities, or "
            "pint does not know them. Convert it, or write both in the same words"
        )
    if factor is OTHER_ZERO:
        raise RefusedValue(
            f"{what} is in {given!r}, and {product!r} is expected, which begins at another zero. "
            "Convert it"
        )
    if abs(factor - 1) > 1e-9:
        raise RefusedValue(
            f"{what} is in {given!r}, and {product!r} is expected: multiply it by {factor:.9g}"
        )
    return None


def conversion(what: str, given: str | None, wanted: str) -> float:
    """How many of one unit the other is.

    Raises:
        ValueError: units that are none, other quantities, or begin at another zero; without pint.
    """
    if given is None:
        raise RefusedValue(
            f"the units of {what} are not known, so that it cannot be converted to {wanted!r}. "
            "State them: ds[name].attrs['units'] = ..."
        )
    if _same_text(given, wanted):
        return 1.0
    if importlib.util.find_spec("pint") is None:
        raise RefusedValue(
            f"{what} is in {given!r}; converting it to {wanted!r} needs pint, pip install "
            "'bayescons[units]'"
        )
    factor = _factor(given, [wanted], differences=False)
    if factor is None or factor is OTHER_ZERO:
        reason = "begins at another zero" if factor is OTHER_ZERO else "is another quantity"
        raise RefusedValue(f"{what} is in {given!r}, and {wanted!r} {reason}")
    return factor


def added(what: str, one: str | None, other: str | None) -> str | None:
    """Refuse to add what is in other units; a sentence about units that could not be compared.

    Raises:
        ValueError: units that are others.
    """
    if one is None or other is None or _same_text(one, other):
        return None
    if importlib.util.find_spec("pint") is None:
        if any(mark in unit for unit in (one, other) for mark in "( "):
            return (
                f"the units of {what}, {one!r} and {other!r}, were not compared; "
                "pip install 'bayescons[units]' compares them"
            )
        raise RefusedValue(
            f"{what} are in {one!r} and {other!r}. Convert one; or install pint, pip install "
            "'bayescons[units]', if these are two words for one unit"
        )
    factor = _factor(other, [one], differences=False)
    told = f"{what} are in {one or 'no unit'!r} and {other or 'no unit'!r}"
    if factor is None:
        raise RefusedValue(
            f"{told}: these are other quantities, or pint does not know them. Multiply by what "
            "converts them, with its unit, as in quantity(2.5e6, 'J kg-1') * E"
        )
    if factor is OTHER_ZERO:
        raise RefusedValue(f"{told}, which begin at another zero. Convert one of the arrays")
    if abs(factor - 1) > 1e-9:
        raise RefusedValue(f"{told}. Convert the second: to(E, {one!r})")
    return None


def as_differences(unit: str | None) -> str | None:
    """The unit of a difference: kelvin where the unit's zero is another's."""
    if unit is None:
        return None
    for name, words in SCALES.items():
        kelvin = "K" if name.endswith("Celsius") else "rankine"
        unit = re.sub(rf"\b(?:{words})\b", kelvin, unit, flags=re.IGNORECASE)
    return unit


def multiplied(*units: str | None) -> str | None:
    """The unit of a product; None where one is not known."""
    if any(unit is None for unit in units):
        return None
    return " ".join(unit for unit in units if unit not in ("", "1"))


def raised(unit: str | None, exponent: int) -> str | None:
    """The unit of a power."""
    if not unit or exponent == 1:
        return unit if exponent else unit and ""
    return f"1/({unit})" if exponent == -1 else f"({unit})**{exponent}"


def _factor(given: str, expected: Sequence[str | None], differences: bool) -> float | None:
    """How many of the expected unit one of the given is; None where they are other quantities, or
    one of them is not known; `OTHER_ZERO` where a factor alone does not convert them.
    """
    import pint

    texts = [_for_pint(unit) for unit in (given, *expected) if unit]
    steps = [_as_steps(text) for text in texts]
    zeros = [{*steps[0][1]}, {name for _, names in steps[1:] for name in names}]
    try:
        first, *others = [_registry().Quantity(1.0, text) for text, _ in steps]
        factor = float((first / math.prod(others)).to("").magnitude)
    except (pint.PintError, ValueError, TypeError, AssertionError, AttributeError):
        return None
    return factor if differences or zeros[0] == zeros[1] else OTHER_ZERO


@functools.cache
def _registry():
    import pint

    return pint.UnitRegistry()


def _as_steps(text: str) -> tuple[str, tuple[str, ...]]:
    """A unit, degrees of temperature as steps, which have no zero, and which steps these are."""
    found = ()
    for name, words in SCALES.items():
        text, count = re.subn(rf"\b(?:{words})\b", name, text, flags=re.IGNORECASE)
        found += (name,) * bool(count)
    return text, found


def _for_pint(text: str) -> str:
    """UDUNITS as pint reads it: "kg m-2" is kg * m**-2."""
    text = re.sub(r"degrees?_(north|east|N|E)", "degree", text.strip())
    text = re.sub(r"\s*/\s*", "/", text)
    parts = (_POWER.sub(r"\1**\2", part) for part in re.split(r"[\s.]+", text) if part)
    return " * ".join(parts) or "1"


def _same_text(one: str, other: str) -> bool:
    return one.split() == other.split()
