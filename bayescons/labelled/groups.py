"""Which group of a file is meant: the one that is named, or the root, or the only one that holds
arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bayescons.refusals import RefusedValue

SHOWN = 20


def chosen(path: Path, arrays: Mapping[str, Sequence[str]], group: str | None) -> str:
    """The group that is read, "" for the root.

    Args:
        path: the file, for the message.
        arrays: group -> names of the arrays that lie in it directly.
        group: what was asked for.

    Raises:
        RefusedValue: there is no such group, or several could be meant.
    """
    holding = [name for name, inside in arrays.items() if inside]
    if group is not None:
        wanted = group.strip("/")
        if wanted not in arrays:
            raise RefusedValue(f"{path} has no group {group!r}; {_instead(holding)}")
        return wanted
    if "" in holding or not holding:
        return ""
    if len(holding) > 1:
        raise RefusedValue(
            f"{path} has no arrays outside its groups, and {len(holding)} groups that hold some; "
            f"{_instead(holding)}"
        )
    return holding[0]


def above(group: str) -> list[str]:
    """The groups that a group lies in, the nearest first; the root is ""."""
    parts = group.split("/") if group else []
    return ["/".join(parts[:i]) for i in reversed(range(len(parts)))]


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first of them."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more if names else "none at all"


def _instead(holding: Sequence[str]) -> str:
    inside = [name for name in holding if name]
    if not inside:
        return "it has no groups with arrays: leave --group out"
    return f"its groups with arrays are {listed(inside)}. Name one: --group {inside[0]}"
