"""Axes that several fields share, because laws across them hold at every point of these by itself.

A law of u(t, x) and v(t) that is a row at every t leaves t apart in both: it is one axis, and what
is believed and known along it falls into one problem for each t. So are plates that stand around
all fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bayescons.functionals.abstract import JointFunctional
from bayescons.functionals.functions import TracedFunction
from bayescons.programs.members import FieldAxes, Member
from bayescons.separation import separate_axes


def apart(
    functional, fields: Sequence[FieldAxes], counted: Sequence[Member]
) -> tuple[tuple[int, ...], ...]:
    """The axes along which a law of several fields holds point by point, each by its place in every
    field.

    Args:
        functional: of one member of each.
        fields: that it is given.
        counted: axes over which it is repeated.
    """
    repeated = [member.axes for member in counted if None not in member.axes]
    if isinstance(functional, JointFunctional):
        own = [part.identity_axes for part in functional.parts]
    elif isinstance(functional, TracedFunction):
        own = [separate_axes(functional.equations, i) for i in range(len(fields))]
    else:
        return tuple(repeated)
    places = []
    for i, (field, axes) in enumerate(zip(fields, own, strict=True)):
        left = [a for a in range(len(field.shape)) if a not in {m.axes[i] for m in counted}]
        places.append({to: left[axis] for axis, to in axes.items()})
    alike = set.intersection(*map(set, places))
    return (*repeated, *(tuple(at[to] for at in places) for to in sorted(alike)))


def shared_axes(
    fields: Sequence[FieldAxes], laws: Iterable[tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]]
) -> tuple[tuple[int, ...], ...]:
    """The axes that all of some fields share, each by its place in every field: plates first.

    Args:
        fields: laid out as one.
        laws: names of the fields of each, and its axes as of `apart`.
    """
    plates = dict.fromkeys(name for field in fields for name, _ in field.plates)
    ties = [{(f.name, dict(f.plates)[p]) for f in fields if p in dict(f.plates)} for p in plates]
    ties += [set(zip(names, axes, strict=True)) for names, each in laws for axes in each]
    own = {field.name: i for i, field in enumerate(fields)}
    found = []
    for axis in connected(tie for tie in ties if any(name in own for name, _ in tie)):
        places = sorted((own[name], place) for name, place in axis if name in own)
        if [number for number, _ in places] == list(range(len(fields))):
            found.append(tuple(place for _, place in places))
    return tuple(found)


def connected(ties: Iterable[set]) -> list[set]:
    """What sets that overlap make together, in order of appearance."""
    components: list[set] = []
    for tie in ties:
        touching = [c for c in components if c & tie]
        components = [c for c in components if not c & tie] + [tie.union(*touching)]
    return components
