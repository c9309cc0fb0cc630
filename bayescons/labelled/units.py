"""Units of what is stated and of what it is stated of: compared, never guessed.

Where pint is installed units are compared by what they are; without it as text, and products of
units, as those of a total, are not compared.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence

from bayescons.refusals import RefusedValue

_POWER = re.compile(r"([A-Za-zµ°%]+)\s*\^?\*{0,2}\s*(-?\d+)")


def compared(what: str, given: str | None, expected: Sequence[str | None]) -> str | None:
    """Refuse units that do not fit; a sentence about units that could not be compared.

    Args:
        what: is given, for messages.
        given: its units, or None where nobody has said.
        expected: units whose product is expected; None for one that is not known.

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
    factor = _factor(given, product)
    if factor is None:
        raise RefusedValue(
            f"{what} is in {given!r}, and {product!r} is expected: these are other quantities"
        )
    if abs(factor - 1) > 1e-9:
        raise RefusedValue(
            f"{what} is in {given!r}, and {product!r} is expected: multiply it by {factor:.9g}"
        )
    return None


def _factor(given: str, expected: str) -> float | None:
    """How many of the expected unit one of the given is; None where they are other quantities, or
    one of them is not known.
    """
    import pint

    registry = pint.UnitRegistry()
    try:
        quantity = registry.Quantity(1.0, _for_pint(given))
        return float(quantity.to(_for_pint(expected)).magnitude)
    except (pint.PintError, ValueError, TypeError, AssertionError):
        return None


def _for_pint(text: str) -> str:
    """UDUNITS as pint reads it: "kg m-2" is kg * m**-2."""
    text = re.sub(r"degrees?_(north|east|N|E)", "degree", text.strip())
    parts = (_POWER.sub(r"\1**\2", part) for part in re.split(r"[\s.]+", text) if part)
    return " * ".join(parts) or "1"


def _same_text(one: str, other: str) -> bool:
    return one.split() == other.split()
