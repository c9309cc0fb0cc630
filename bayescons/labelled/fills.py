"""Numbers that stand for nothing known, which a file has not declared: told by what they are, how
often they are repeated, and how far away from all other values they lie.
"""

from __future__ import annotations

import numpy as np

# Greatest values that measurements do not reach and that files have where nothing is known.
FILLS = (
    *(9.969209968386869e36, 1e15, 1e18, 1e20, 1e30, 1e34, 1e35, 1e36, 1e37),
    *(1.70141e38, 3.4028234663852886e38),
)
ODD_FILLS = (
    *(999.0, 999.9, 9999.0, 9999.9, 99999.0, 32767.0, 32768.0),
    *(2147483647.0, 2147483648.0),
)
# Those of small numbers, which a field may well have: told by more than that they are far away.
SMALL_FILLS = (77.0, 88.0, 99.0, 99.9, 99.99, 777.0, 888.0, 888.8)
MANY = 4  # times that a small one is repeated
DISTINCT = 8  # other values at least: fewer are categories, or a field that is constant but there


def looks_like_fill(values: np.ndarray, low: float = -np.inf, high: float = np.inf) -> float | None:
    """A number that stands for nothing known and was not declared so, or None.

    It is the smallest or the greatest of all values, and either beyond what is measured (1e20); or
    one of the usual ones (-999, 32767), further away from all other values than three times their
    range; or one of these or a small one below zero (-99, -888) that is repeated exactly, further
    away than half the range of the others and than five times the largest gap between them.

    Args:
        values: NaN where nothing is known.
        low: the least value that the file calls valid, and
        high: the greatest: what lies between them is a value.
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    ends = [float(known.min()), float(known.max())]
    for extreme in ends:
        if _is_one_of(FILLS, extreme, 1e-6):
            return extreme
    said = low if np.isfinite(low) else np.inf, high if np.isfinite(high) else -np.inf
    odd = [
        e
        for e, valid in zip(ends, (ends[0] >= said[0], ends[1] <= said[1]), strict=True)
        if not valid
    ]
    usual = {e for e in odd if _is_one_of(ODD_FILLS, e, 1e-7)}
    small = {e for e in odd if e < 0 and _is_one_of(SMALL_FILLS, e, 1e-6)}
    for extreme in odd:
        if extreme in usual | small:
            others = known[known != extreme]
            others = others[~np.isin(others, _further(others))]
            if _is_apart(extreme, known, others, small=extreme in small):
                return extreme
    return None


def _is_one_of(numbers: tuple[float, ...], value: float, rtol: float) -> bool:
    return bool(np.isclose(abs(value), numbers, rtol=rtol, atol=0.0).any())


def _further(others: np.ndarray) -> list[float]:
    """Ends of the other values that may stand for nothing known as well: files have several."""
    ends = [float(others.min()), float(others.max())] if others.size else []
    return [e for e in ends if _is_one_of((*ODD_FILLS, *SMALL_FILLS), e, 1e-6) and e < 0]


def _is_apart(extreme: float, known: np.ndarray, others: np.ndarray, *, small: bool) -> bool:
    """Whether a value lies far away from all others."""
    if not others.size:
        return False
    away, span = max(others.min() - extreme, extreme - others.max()), float(np.ptp(others))
    if not small and away > 3 * max(span, 1e-300):
        return True
    if int((known == extreme).sum()) < MANY or not away > span / 2:
        return False
    distinct = np.unique(others)
    return len(distinct) >= DISTINCT and bool(away > 5 * np.diff(distinct).max())
