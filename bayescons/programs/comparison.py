"""Candidate laws, compared by how well each foresees the same readings of a field when it is
imposed on what is believed of it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from bayescons import tracing
from bayescons.descriptions import Description, described
from bayescons.gaussians.conditioning import Constraint, Update, condition, update
from bayescons.gaussians.consistency import row_names
from bayescons.gaussians.gaussian import Gaussian
from bayescons.programs.conjugate import mixture
from bayescons.programs.groups import groups
from bayescons.programs.handlers import CollectStatements
from bayescons.programs.importance import importance_weights
from bayescons.programs.statements import statement
from bayescons.programs.structure import program_structure
from bayescons.refusals import RefusedType, RefusedValue


@described
class LawComparison(NamedTuple):
    """Candidate laws and the evidence of the readings under each; printed as a table, the best law
    first.

    Attributes:
        names: of the laws, in the order given.
        log_evidence: log p(y | law), nats, shape (laws,).
        error: Monte Carlo standard error of it; 0 where it is a closed form.
        pareto_k: shape of the tail of the weights behind it, above 0.7 neither it nor its error can
            be trusted; NaN for a closed form.
    """

    names: tuple[str, ...]
    log_evidence: np.ndarray
    error: np.ndarray
    pareto_k: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """Log Bayes factor of each law against the best, at most 0."""
        return self.log_evidence - self.log_evidence.max()

    @property
    def probability(self) -> np.ndarray:
        """Posterior probability of each law, all equally probable before the readings, one of them
        being right.
        """
        weights = np.exp(self.difference)
        return weights / weights.sum()

    def description(self) -> Description:
        """A row for each law, the best first."""
        order = np.argsort(-self.log_evidence, kind="stable")
        told = (
            (
                self.names[i],
                f"log evidence {_with_error(self.log_evidence[i], self.error[i])} nats, "
                f"probability {self.probability[i]:.3g}{_doubt(self.pareto_k[i])}",
            )
            for i in order
        )
        return Description(f"Comparison of {len(self.names)} laws", tuple(told))

    def __str__(self) -> str:
        """One line for each law; the error of a difference counts both laws' own."""
        order = np.argsort(-self.log_evidence, kind="stable")
        width = max(len("law"), *map(len, self.names))
        lines = [f"{'law':<{width}}  {'log evidence':>20}  {'difference':>20}  {'probability':>11}"]
        for i in order:
            apart = math.hypot(self.error[i], self.error[order[0]]) if i != order[0] else 0.0
            values = (
                f"{_with_error(self.log_evidence[i], self.error[i]):>20}  "
                f"{_with_error(self.difference[i], apart):>20}"
            )
            share = f"{self.probability[i]:11.3g}{_doubt(self.pareto_k[i])}"
            lines.append(f"{self.names[i]:<{width}}  {values}  {share}")
        return "\n".join(lines)


@tracing.one_at_a_time
def compare_laws(
    common: Gaussian | Callable,
    laws: Mapping[str, Any],
    *args,
    latent_draws: int = 1024,
    key: jax.Array | None = None,
    **kwargs,
) -> LawComparison:
    """Log p(y | law) = log ∫ p(y | u) p(u | law) du for each candidate law: which of them the
    readings y speak for, and how clearly.

    Each law is *imposed*: it turns the common belief about the field into p(u | G u = b). The
    evidence is that of the readings, the same numbers for every law, so differences are log Bayes
    factors. In two forms:

        compare_laws(belief, {"closed": constraint, "no law": None}, readings)      # closed form
        compare_laws(program, {"closed": closed, "leaky": leaky}, *args, key=key)   # program(law,
        *args)

    A program states its law with `impose`, whatever its first argument is - a constraint, a
    function that states it, a number - and its readings with `observe` or as Normal likelihoods
    below the field. Latents above the fields may belong to one law alone (an unknown leak): the
    evidence is then a mean over `latent_draws` values of them from their prior, and its error is
    told.

    What this is not: log N(b; G m, S), the density of a law's own value b under the belief. That is
    a density over different quantities for different laws, in units of 1/b for each row: the law
    stated ten times as large, or by one row more, changes it, and the law does not change. P(y |
    law) depends neither on a law's units nor on how its rows are combined.

    Args:
        common: a Gaussian belief, or a program whose first argument is the law.
        laws: the candidates by name, two or more.
        *args: for a belief one `Constraint`, the readings; for a program its further arguments.
        latent_draws: of the latents above the fields, for each law.
        key: `jax.random.key`, needed where there are such latents.
        **kwargs: of the program.

    Raises:
        ValueError: where there is nothing observed, or the laws do not share what is: other sites,
            other values, exact facts about other functionals, or exact readings that one law fixes
            and another does not (their density under the first is infinite).
        TypeError: where a program has no closed form given its latents.
        InconsistentConstraintsError: for a law that the belief, or another of its own statements,
            rules out.

    Where it fails: evidence compares laws *under this belief*, and a belief that is sure of the
    wrong thing prefers the law that agrees with it. Wide priors of a law's own latents count
    against it, as they should; state them with care. If all laws are wrong, the least
    wrong is called probable: look at the posterior it gives too. Where `pareto_k` is above 0.7 take
    more draws, or narrower priors.

    Source: MacKay, Information Theory, Inference and Learning Algorithms, Cambridge 2003, chapter
    28; Kass and Raftery, Bayes factors, JASA 90 (1995).

    Example:
        >>> grid = bc.Grid(x=[0.0, 0.5, 1.0])
        >>> mass = bc.integral(grid, over="x")
        >>> laws = {"one": bc.Constraint(mass, 1.0), "two": bc.Constraint(mass, 2.0)}
        >>> readings = bc.Constraint(bc.dirichlet(grid, "x", "lower"), 2.2, 0.1)
        >>> comparison = bc.compare_laws(bc.diagonal(jnp.zeros(3), 1.0), laws, readings)
        >>> print(comparison)
        law          log evidence            difference  probability
        two                 -1.28                  0.00        0.721
        one                 -2.23                 -0.95        0.279
    """
    if not isinstance(laws, Mapping) or len(laws) < 2:
        raise RefusedValue(
            'a comparison needs two laws or more, by name: {"closed": ..., "leaky": ...}; '
            '"no law": None may be one'
        )
    if isinstance(common, Gaussian):
        if len(args) != 1 or not isinstance(args[0], Constraint) or kwargs:
            raise RefusedValue(
                "beside a belief give the readings as one constraint: compare_laws(belief, laws, "
                "bc.Constraint(functional, y, noise))"
            )
        return _of_constraints(common, laws, args[0])
    if not callable(common):
        raise RefusedType(
            "expected a bc.Gaussian belief or a program whose first argument is the law; got "
            f"{type(common).__name__}"
        )
    programs = {name: functools.partial(common, law) for name, law in laws.items()}
    _check_common(programs, args, kwargs)
    keys = [None] * len(programs) if key is None else jax.random.split(key, len(programs))
    found = [
        _evidence(name, program, args, kwargs, latent_draws, k)
        for (name, program), k in zip(programs.items(), keys, strict=True)
    ]
    return LawComparison(
        tuple(laws), *(np.array(column, float) for column in zip(*found, strict=True))
    )


def _of_constraints(belief: Gaussian, laws: Mapping, readings: Constraint) -> LawComparison:
    """Laws imposed on one belief, in closed form."""
    found = {}
    for name, law in laws.items():
        with _named(name):
            found[name] = update(belief if law is None else condition(belief, law), readings)
    _check_counted({name: _counted(readings, result) for name, result in found.items()})
    evidence = np.array([float(jnp.sum(result.log_evidence)) for result in found.values()])
    return LawComparison(tuple(laws), evidence, np.zeros(len(laws)), np.full(len(laws), np.nan))


def _evidence(
    name: str, program: Callable, args, kwargs, draws: int, key
) -> tuple[float, float, float]:
    """Log evidence of a program, its standard error by the delta method, and Pareto k."""
    with _named(name):
        found = mixture(program, args, kwargs, latent_draws=draws, key=key)
    if found.log_weights is None:
        return float(found.posterior.log_evidence), 0.0, math.nan
    log_weights = np.asarray(found.log_weights)
    share = np.exp(log_weights - log_weights.max())
    error = share.std(ddof=1) / share.mean() / math.sqrt(len(share)) if len(share) > 1 else math.nan
    return float(found.posterior.log_evidence), error, importance_weights(log_weights)[1]


class _Datum(NamedTuple):
    """An observed site: its value, and for an exact statement the functional that has it."""

    value: np.ndarray
    functional: Any


def _check_common(programs: Mapping[str, Callable], args, kwargs) -> None:
    """Refuse programs that do not observe the same things."""
    data = {}
    for name, program in programs.items():
        with _named(name):
            data[name] = _observed(program, args, kwargs)
    first, reference = next(iter(data.items()))
    if not reference and not any(data.values()):
        raise RefusedValue(
            "the program observes nothing under any law, so there is nothing to compare them by; "
            "observe the readings"
        )
    for name, own in data.items():
        apart = sorted(set(own) ^ set(reference))
        if apart:
            where = name if apart[0] in own else first
            raise RefusedValue(
                f"{apart[0]!r} is observed under {where!r} and not under "
                f"{first if where == name else name!r}: evidence of different data cannot be "
                "compared. State a law with bc.impose, which has no evidence of its own, and "
                "observe the same readings under all"
            )
        for site, datum in own.items():
            if not np.array_equal(datum.value, reference[site].value):
                raise RefusedValue(
                    f"{site!r} has one value under {first!r} and another under {name!r}: laws are "
                    "compared on the same data"
                )
            if not _same(datum.functional, reference[site].functional):
                raise RefusedValue(
                    f"{site!r} is observed exactly, of one functional under {first!r} and of "
                    f"another under {name!r}: their densities have different units. Impose a law; "
                    "give a reading its scale; or, if it is the same function, define it outside "
                    "the program"
                )
    if any(datum.functional is not None for datum in reference.values()):
        _check_counted(
            {name: _counted_rows(program, args, kwargs) for name, program in programs.items()}
        )


def _observed(program: Callable, args, kwargs) -> dict[str, _Datum]:
    """What a program learns from, by site."""
    with handlers.block(), handlers.seed(rng_seed=0):
        sites = handlers.trace(program).get_trace(*args, **kwargs)
    found = {}
    for name, site in sites.items():
        known = statement(site["fn"]) if site["type"] == "sample" else None
        if (
            site["type"] == "sample"
            and site["is_observed"]
            and (known is None or known.counts_evidence)
        ):
            exact = known is not None and known.scale is None
            found[name] = _Datum(np.asarray(site["value"]), known.functional if exact else None)
    return found


def _same(one, other) -> bool:
    """Whether two functionals are the same as far as can be told."""
    if one is other:
        return True
    (mine, shape), (theirs, other_shape) = jax.tree.flatten(one), jax.tree.flatten(other)
    return shape == other_shape and all(
        np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True)
    )


def _counted_rows(program: Callable, args, kwargs) -> frozenset[str]:
    """Names of the observed rows whose density is counted, for one draw of the latents."""
    with handlers.block(), handlers.seed(rng_seed=0):
        above = CollectStatements(program_structure(program, args, kwargs)).run()
    counted: frozenset[str] = frozenset()
    for group in groups(above):
        if group.observed is not None:
            belief = group.prior if group.imposed is None else condition(group.prior, group.imposed)
            counted |= _counted(group.observed, update(belief, group.observed))
    return counted


def _counted(constraint: Constraint, result: Update) -> frozenset[str]:
    names = np.broadcast_to(
        row_names(constraint, result.posterior.covariance.axes), result.redundant.shape
    )
    return frozenset(names[~np.asarray(result.redundant)])


def _check_counted(rows: Mapping[str, frozenset[str]]) -> None:
    first, reference = next(iter(rows.items()))
    for name, own in rows.items():
        apart = sorted(own ^ reference)
        if apart:
            fixed = first if apart[0] in own else name
            raise RefusedValue(
                f"the exact reading {apart[0]} is fixed by {fixed!r} and free under another law: "
                "its density is infinite under the one and finite under the other. Give the "
                "readings a scale, their standard deviation"
            )


@contextmanager
def _named(law: str) -> Generator[None]:
    """Say of an error which law it came with."""
    try:
        yield
    except Exception as error:
        error.add_note(f"under the law {law!r}")
        raise


def _doubt(pareto_k: float) -> str:
    return f"  Pareto k {pareto_k:.2f}: not to be trusted" if pareto_k > 0.7 else ""


def _with_error(value: float, error: float) -> str:
    return f"{value:.2f}" if error == 0 else f"{value:.2f} ± {error:.2g}"
