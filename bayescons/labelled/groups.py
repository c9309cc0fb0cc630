"""Which group of a file is meant: the one that is named, or the root, or the only one that holds
arrays, or, in a tree of ArviZ, the only one of draws that holds one field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bayescons.refusals import RefusedValue

SHOWN = 20
DRAWN = ("posterior", "posterior_predictive")  # what may be conditioned of a tree of draws
DRAWS = ("chain", "draw")


def chosen(
    path: Path,
    arrays: Mapping[str, Sequence[str]],
    group: str | None,
    axes: Callable[[str, str], Sequence[str] | None],
) -> tuple[str, str]:
    """The group that is read, "" for the root; and in words how it was found, where nobody named
    it among several.

    Args:
        path: the file, for the message.
        arrays: group -> names of the arrays that lie in it directly.
        group: what was asked for.
        axes: of (group, array) the names of its axes, None where it has none.

    Raises:
        RefusedValue: there is no such group, or several could be meant.
    """
    holding = [name for name, inside in arrays.items() if inside]
    if group is not None:
        wanted = group.strip("/")
        if wanted not in arrays:
            raise RefusedValue(f"{path} has no group {group!r}; {_instead(holding)}")
        return wanted, ""
    if "" in holding or not holding:
        return "", ""
    if len(holding) == 1:
        return holding[0], ""
    drawn = {
        name: fields_of(arrays[name], lambda a, n=name: axes(n, a))
        for name in DRAWN
        if name in holding
    }
    fields = {name: found for name, found in drawn.items() if found}
    if len(fields) == 1:
        ((only, found),) = fields.items()
        return only, f"group {only!r}, the only one that holds draws of a field ({listed(found)})"
    which = f"{len(holding)} groups that hold some"
    if fields:
        which += f", draws of a field in {' and in '.join(map(repr, fields))}"
    raise RefusedValue(
        f"{path} has no arrays outside its groups, and {which}; {_instead([*fields, *holding])}"
    )


def fields_of(names: Sequence[str], axes: Callable[[str], Sequence[str] | None]) -> list[str]:
    """Those of some arrays that are draws of a field: over chain, draw, and more."""
    return [n for n in names if {*DRAWS} < {*(axes(n) or ())}]


def above(group: str) -> list[str]:
    """The groups that a group lies in, the nearest first; the root is ""."""
    parts = group.split("/") if group else []
    return ["/".join(parts[:i]) for i in reversed(range(len(parts)))]


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first of them."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more if names else "none at all"


def _instead(holding: Sequence[str]) -> str:
    inside = [*dict.fromkeys(name for name in holding if name)]
    if not inside:
        return "it has no groups with arrays: leave --group out"
    return f"its groups with arrays are {listed(inside)}. Name one: --group {inside[0]}"
