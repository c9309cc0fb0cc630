"""Findings: what an examined program's statements have wrong, weak or worth knowing about them,
each in a line with its remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from bayescons.arrays import rank_tolerance
from bayescons.descriptions import tabulated
from bayescons.gaussians.consistency import contradiction, joined, relation_of
from bayescons.linting.context import Examination, Fault, Rows
from bayescons.programs.soft import STIFF

SEVERITIES = ("error", "warning", "note")
# Standard deviations beyond which a value is called a surprise: two in 1e9 values of a normal
# belief that is right.
SURPRISING = 6.0
# Share of a row's prior standard deviation below which the error of its rule moves nothing that
# anyone would see.
NEGLIGIBLE = 1e-2
# Scale, as a share of the prior standard deviation, that no instrument has: it stands for an exact
# fact.
PRETENDED = 1e-6


@tabulated("Finding about a program")
class Finding(NamedTuple):
    """One line of a report.

    Attributes:
        severity: "error" (the program cannot be read, or means nothing), "warning" (numbers may be
            wrong) or "note" (worth knowing).
        where: the statement, its rows, another site, or "program".
        finding: what is the case.
        remedy: what to do about it.
    """

    severity: str
    where: str
    finding: str
    remedy: str


def findings(seen: Examination) -> tuple[Finding, ...]:
    """All that is found, errors first."""
    found = [_refused(fault) for fault in seen.faults]
    found += [finding for look in _OF_PROGRAMS for finding in look(seen)]
    found += [
        _times(*finding, seen.draws)
        for rows in seen.rows
        for look in _OF_ROWS
        for finding in look(rows)
    ]
    return tuple(sorted(found, key=lambda f: SEVERITIES.index(f.severity)))


# --- Of the whole program
# -----------------------------------------------------------------------------


def _refused(fault: Fault) -> Finding:
    return Finding("error", fault.where, fault.case, fault.remedy or "give what is expected")


def _empty(seen: Examination) -> Iterator[Finding]:
    if not seen.statements and not seen.faults:
        yield Finding(
            "warning",
            "program",
            "states nothing about any field",
            "add bc.observe or bc.impose, or sample it with NumPyro alone",
        )


def _latents(seen: Examination) -> Iterator[Finding]:
    for name, oddity in seen.latents.items():
        if oddity == "improper":
            remedy = (
                "give it a proper prior; or sample bc.exact(program) with NUTS, whose evidence "
                "then means nothing"
            )
            yield Finding(
                "warning",
                name,
                "has an improper prior above a field: bc.conjugate cannot draw it",
                remedy,
            )
        if oddity == "discrete":
            yield Finding(
                "note",
                name,
                "is discrete above a field: NUTS cannot move it",
                "use bc.conjugate, which mixes over its values",
            )


def _likelihoods(seen: Examination) -> Iterator[Finding]:
    for name, ratios in seen.stiffness.items():
        if ratios.min() < STIFF:
            finding = (
                f"its scale is {ratios.min():.1e} of what its location varies by a priori: NUTS "
                "freezes on it, under bc.exact too"
            )
            remedy = (
                "state it as bc.observe(name, functional, u, value, scale), which is carried out "
                "and not sampled; or use bc.conjugate"
            )
            yield Finding("warning", name, finding, remedy)


def _precision(seen: Examination) -> Iterator[Finding]:
    exact = any((rows.noise == 0).any() for rows in seen.rows)
    if exact and jnp.finfo(jnp.result_type(float)).bits < 64:
        finding = (
            "runs in single precision: exact rows hold to 1e-6 of their size, and rows that differ "
            "by less count as dependent"
        )
        yield Finding("warning", "program", finding, "numpyro.enable_x64() before anything else")
    elif exact:
        for name in (name for rows in seen.rows for name in rows.single):
            finding = "is held in single precision: exact facts about it hold to 1e-6 of their size"
            yield Finding("note", name, finding, "give its mean in float64 if that is not enough")


_OF_PROGRAMS = (_empty, _latents, _likelihoods, _precision)


# --- Of rows: findings with the flags (draws, *batch, *axes, r) of the rows they are about
# ---------------------------------------------

Flagged = tuple[Finding, np.ndarray]


def _times(finding: Finding, flags: np.ndarray, draws: int) -> Finding:
    """Say for how many of the draws it holds, where not for all."""
    times = int(flags.reshape(draws, -1).any(1).sum())
    return (
        finding
        if times == draws
        else finding._replace(finding=f"{finding.finding} (in {times} of {draws} draws)")
    )


def _by_statement(rows: Rows, flags: np.ndarray) -> Iterator[tuple[int, str, np.ndarray]]:
    """For every statement with flagged rows: its number, which of its rows, and the flags of these
    alone.
    """
    for i, name in enumerate(rows.statements):
        own = np.broadcast_to(rows.owners == i, flags.shape) & flags
        if own.any():
            labels = list(dict.fromkeys(np.broadcast_to(rows.names, flags.shape)[own]))
            total = int((rows.owners == i).sum())
            where = (
                name
                if total == len(labels)
                else labels[0]
                if len(labels) == 1
                else f"{name} ({len(labels)} of {total} rows)"
            )
            yield i, where, own


def _certain(rows: Rows) -> np.ndarray:
    """Rows without prior variance: what they touch the belief holds for certain."""
    before = (
        np.asarray(rows.update.posterior.covariance.row_covariance.row_std) ** 2 - rows.noise**2
    )
    return rows.own**2 <= rank_tolerance(rows.names.shape[-1], rows.own.dtype) * np.maximum(
        before, 0.0
    )


def _off(rows: Rows) -> np.ndarray:
    """How far the belief's mean is from the value, in units of what rounding explains."""
    spread = np.asarray(rows.update.posterior.covariance.row_covariance.row_std)
    return np.abs(rows.value - rows.mean) / (_tolerance(rows) * (spread + np.abs(rows.value)))


def _contradicting(rows: Rows) -> np.ndarray:
    size = np.abs(rows.value) / np.asarray(rows.update.posterior.covariance.row_covariance.row_std)
    return (np.abs(np.asarray(rows.update.violation)) > _tolerance(rows) * (1 + size)) & ~_certain(
        rows
    )


def _tolerance(rows: Rows) -> float:
    return float(np.sqrt(jnp.finfo(rows.update.posterior.loc.dtype).eps))


def _not_finite(rows: Rows) -> Iterator[Flagged]:
    for _, where, own in _by_statement(rows, ~np.isfinite(rows.value)):
        remedy = "remove or replace such entries; leave out what is not known"
        yield Finding("error", where, "its value is NaN or infinite", remedy), own
    if not np.isfinite(np.asarray(rows.update.violation)).all():
        finding = "conditioning on it gives NaN: its variances over- or underflow"
        yield (
            Finding("error", " and ".join(rows.fields), finding, "rescale the field"),
            np.ones(rows.own.shape, bool),
        )


def _touching_nothing(rows: Rows) -> Iterator[Flagged]:
    certain, violated = _certain(rows), _off(rows) > 1
    for _, where, own in _by_statement(rows, certain & (rows.noise == 0) & violated):
        by = np.abs(rows.value - rows.mean)[own].max()
        finding = f"touches only points without prior variance, and is violated there by {by:.1e}"
        yield (
            Finding(
                "error",
                where,
                finding,
                "correct the value, or give the belief a variance at these points",
            ),
            own,
        )
    for _, where, own in _by_statement(rows, certain & ((rows.noise > 0) | ~violated)):
        finding = "touches only points without prior variance, where it is true already"
        read = (
            "touches only points without prior variance: a reading of what is certain teaches "
            "nothing"
        )
        noisy = (rows.noise > 0)[own].all()
        yield (
            Finding(
                "note",
                where,
                read if noisy else finding,
                "leave it out, or give the belief a variance at these points",
            ),
            own,
        )


def _contradictions(rows: Rows) -> Iterator[Flagged]:
    bad, gap = _contradicting(rows), np.abs(np.asarray(rows.update.violation))
    if not bad.any():
        return
    worst = np.unravel_index(np.argmax(np.where(bad, gap, 0.0)), gap.shape)
    alike = (
        np.arange(len(bad)).reshape((-1,) + (1,) * (bad.ndim - 1)) == worst[0]
    )  # of one draw, so that no row is counted twice
    found = contradiction(rows.names, rows.update, bad & alike)
    rule = rows.rule[worst[:-1]].max()
    remedy = (
        "correct one of them, or give one a scale; if the belief alone rules the value out, "
        "roughen it"
    )
    if rule > found.size / 3:
        remedy = (
            f"a quadrature rule among them errs by about {rule:.1e}, which explains it: give that "
            "one scale='quadrature'"
        )
    against = str(found).removeprefix(f"{found.row} ")
    yield (
        Finding(
            "error",
            found.row,
            f"{against}, {found.deviations:.2g} prior standard deviations",
            remedy,
        ),
        bad,
    )


def _repetitions(rows: Rows) -> Iterator[Flagged]:
    contradicted = _contradicting(rows).any(
        axis=-1, keepdims=True
    )  # there it has been said which rows depend on which
    flags = np.asarray(rows.update.redundant) & ~_certain(rows) & ~contradicted & (rows.noise == 0)
    for _, where, own in _by_statement(rows, flags):
        implied = _implying(rows, tuple(int(i) for i in np.argwhere(own)[0]))
        finding = f"follows from {implied}" if implied else "follows from the other rows"
        remedy = "nothing, or leave it out: it changes neither posterior nor evidence"
        yield Finding("note", where, f"{finding}, and agrees", remedy), own


def _implying(rows: Rows, at: tuple[int, ...]) -> str:
    """The rows from which a redundant row follows. Pivoting may have kept this one and dropped
    another of them: then look at that.
    """
    gram, names = (
        rows.update.posterior.covariance.row_covariance,
        rows.names[at[-rows.names.ndim : -1]],
    )
    for dropped in (at[-1], *np.flatnonzero(~np.asarray(gram.kept)[at[:-1]])):
        _, weight = relation_of(rows.update, (*at[:-1], int(dropped)))
        involved = np.flatnonzero(weight > 0.01 * weight.max())
        if at[-1] in involved and len(involved) > 1:
            return joined([names[i] for i in involved if i != at[-1]])
    return ""


def _no_freedom(rows: Rows) -> Iterator[Flagged]:
    where, rank = " and ".join(rows.fields), np.asarray(rows.update.rank)[..., None]
    exact = (rows.noise == 0).reshape(*rank.shape[:-1], -1).sum(-1, keepdims=True)
    if (exact > rows.unknowns).any():
        finding = f"{exact.max()} exact rows for {rows.unknowns} points: more facts than unknowns"
        yield (
            Finding(
                "error", where, finding, "drop rows, or give some a scale to treat them as readings"
            ),
            exact > rows.unknowns,
        )
    elif ((rank >= rows.unknowns) & (exact == rows.names.size)).any():
        finding = (
            f"{rows.unknowns} independent exact rows fix all {rows.unknowns} points: nothing is "
            "left to vary"
        )
        yield (
            Finding("error", where, finding, "solve the linear system, or give some rows a scale"),
            rank >= rows.unknowns,
        )


def _ill_conditioned(rows: Rows) -> Iterator[Flagged]:
    left = np.asarray(rows.update.posterior.covariance.row_covariance.shares_left)
    low = left < np.sqrt(np.finfo(left.dtype).eps)
    if low.any():
        worst = np.unravel_index(np.argmin(left), left.shape)
        row = rows.names[worst[-rows.names.ndim :]]
        share = left[worst]
        finding = (
            f"keeps {share:.0e} of its variance once the others are known: rounding is magnified "
            f"{share**-0.5:.0e} times"
        )
        yield (
            Finding(
                "warning",
                row,
                finding,
                "drop it, give it a scale, or choose a rougher kernel or a coarser grid",
            ),
            low,
        )


def _rules(rows: Rows) -> Iterator[Flagged]:
    visible = (rows.rule > NEGLIGIBLE * rows.own) & (rows.noise < rows.rule / 2) & ~_certain(rows)
    for _, where, own in _by_statement(rows, visible):
        rule, share = rows.rule[own].max(), (rows.rule[own] / rows.own[own]).max()
        size = (
            f"its quadrature rule errs by about {rule:.1e} ({share:.2g} prior standard deviations)"
        )
        remedy = (
            "write scale='quadrature', unless the value was summed by the same rule on the same "
            "grid"
        )
        if (rows.noise[own] > 0).any():
            yield (
                Finding(
                    "warning",
                    where,
                    f"{size}, more than its scale {rows.noise[own].max():.1e}",
                    remedy,
                ),
                own,
            )
        else:
            yield Finding("note", where, f"{size}, and it is stated exactly", remedy), own


def _stiffness(rows: Rows) -> Iterator[Flagged]:
    noisy = (rows.noise > 0) & ~_certain(rows)
    rounding = (
        10
        * jnp.finfo(rows.update.posterior.loc.dtype).eps
        * np.maximum(np.abs(rows.value), rows.own)
    )
    share = np.where(noisy, rows.noise / np.where(rows.own > 0, rows.own, 1.0), np.inf)
    for _, where, own in _by_statement(rows, noisy & (share < STIFF)):
        finding = f"its scale is {share[own].min():.1e} of its prior standard deviation"
        if (rows.noise < rounding)[own].any():
            yield (
                Finding(
                    "warning",
                    where,
                    f"{finding}, below rounding",
                    "leave the scale out: the fact is then exact",
                ),
                own,
            )
        elif share[own].min() < PRETENDED:
            yield (
                Finding(
                    "warning",
                    where,
                    f"{finding}: a noise that stands for an exact fact",
                    "leave the scale out",
                ),
                own,
            )
        else:
            remedy = (
                "read the program by bc.exact or bc.conjugate; softly or plainly read, samplers "
                "freeze on it"
            )
            yield Finding("note", where, finding, remedy), own


def _surprises(rows: Rows) -> Iterator[Flagged]:
    """Far from what is believed whatever stands above: by the spread of the row over its draws, and
    by that given each of most of them.
    """
    spread = np.sqrt(rows.own**2 + rows.noise**2)
    off = np.abs(rows.value - rows.mean)
    given = np.where(spread > 0, off / np.where(spread > 0, spread, 1.0), 0.0)
    between = rows.mean.var(axis=0) if len(rows.mean) > 1 else 0.0
    whole = np.sqrt((spread**2).mean(axis=0) + between)
    away = np.abs(rows.value.mean(axis=0) - rows.mean.mean(axis=0))
    marginal = np.where(whole > 0, away / np.where(whole > 0, whole, 1.0), 0.0)
    far = (given > SURPRISING) & (marginal > SURPRISING)
    for _, where, own in _by_statement(rows, far & ~_certain(rows) & ~_contradicting(rows)):
        if own.reshape(len(own), -1).any(1).mean() <= 0.5:
            continue  # a value is there to tell such draws of a hyper-parameter from the others
        largest = np.broadcast_to(marginal, own.shape)[own].max()
        finding = f"its value is {largest:.3g} standard deviations from what is believed"
        remedy = (
            "look at its unit and sign; if they are right the belief is too sure of itself: widen "
            "it"
        )
        yield Finding("warning", where, finding, remedy), own


_OF_ROWS: tuple[Callable[[Rows], Iterator[Flagged]], ...] = (
    _not_finite,
    _no_freedom,
    _contradictions,
    _touching_nothing,
    _ill_conditioned,
    _stiffness,
    _surprises,
    _rules,
    _repetitions,
)
