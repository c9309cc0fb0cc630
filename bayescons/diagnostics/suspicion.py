"""Which term of a budget is at fault: how far its laws are off altogether, and what is gained where
the sign of a term is turned.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
import scipy.stats

from bayescons.descriptions import Description, described, tabulated
from bayescons.gaussians.conditioning import Constraint, stack, update
from bayescons.gaussians.gaussian import Gaussian
from bayescons.refusals import RefusedValue

MOVED = 1e-8  # share of its variance that a law must tell of a point, for it to count as adjusted


@tabulated("A term of a budget")
@dataclasses.dataclass(frozen=True)
class TermEvidence:
    """What the laws say of one term.

    Attributes:
        gain: log evidence with its sign turned less that as it is, nats, over the number of points
            whose errors are alike; above zero it fits better turned.
        adjustment: mean of (change of its mean)² / (variance that the laws took) over its points:
            1 where belief and laws are right, more where it is moved further than it should be.
    """

    gain: float
    adjustment: float


@described
@dataclasses.dataclass(frozen=True)
class Suspects:
    """The terms of a budget, the most suspicious first; two halves of a budget add up, `a + b`,
    where they are independent.

    Attributes:
        terms: by name, in falling order of `gain`.
        chi_square: r' S⁻¹ r of the laws' residuals r = b - G m.
        rows: independent rows, its expectation where belief and laws are right.
        false_alarm: probability, at most, that any term is named where all are right.
        counts: points of each term whose adjustments are averaged.
        alike: number of points whose errors are alike.
    """

    terms: Mapping[str, TermEvidence]
    chi_square: float
    rows: int
    false_alarm: float
    counts: Mapping[str, int]
    alike: float = 1.0

    @property
    def p_value(self) -> float:
        """Probability of a chi-square as large, of as many rows as are not alike."""
        return float(scipy.stats.chi2.sf(self.chi_square / self.alike, self.rows / self.alike))

    @property
    def named(self) -> str | None:
        """The term that is most likely at fault; None where no evidence is beyond chance.

        The ratio of two densities exceeds c with probability 1/c at most under the one below the
        line (Markov), so that k of them stay below k/α but for a probability of α.
        """
        first = next(iter(self.terms))
        limit = math.log(len(self.terms) / self.false_alarm)
        return first if self.terms[first].gain > limit else None

    def __add__(self, other: Suspects) -> Suspects:
        """Of both together."""
        rates = [(each.false_alarm, each.alike) for each in (self, other)]
        if set(self.terms) != set(other.terms) or rates[0] != rates[1]:
            raise RefusedValue(
                "only suspects of the same terms, at one false alarm rate, add up; these are of "
                f"{', '.join(self.terms)} and {', '.join(other.terms)}"
            )
        counts = {name: self.counts[name] + other.counts[name] for name in self.terms}
        terms = {
            name: TermEvidence(
                one.gain + other.terms[name].gain,
                (
                    one.adjustment * self.counts[name]
                    + other.terms[name].adjustment * other.counts[name]
                )
                / max(counts[name], 1),
            )
            for name, one in self.terms.items()
        }
        return Suspects(
            _sorted(terms),
            self.chi_square + other.chi_square,
            self.rows + other.rows,
            self.false_alarm,
            counts,
            self.alike,
        )

    def description(self) -> Description:
        """Who is named, and a row for each term."""
        named = "no term is named" if self.named is None else f"{self.named!r} is named"
        rows = [
            (
                name,
                f"turned, log evidence {t.gain:+.4g} nats; adjusted {t.adjustment:.3g} times as "
                "much as expected (mean square)",
            )
            for name, t in self.terms.items()
        ]
        told = f"{self.chi_square:.5g} of {self.rows} rows, p = {self.p_value:.2g}"
        return Description(
            f"Suspects: {named}, at a false alarm rate of {self.false_alarm:g}",
            (*rows, ("chi-square", told)),
        )


def suspects(
    belief: Gaussian,
    laws: Constraint,
    terms: Sequence[str],
    *,
    axis: int = 0,
    false_alarm: float = 1e-3,
    alike: float = 1.0,
) -> Suspects:
    """Which of the variables of a belief fits its laws better with its sign turned, and how far all
    are adjusted.

        gain_k = (log N(b; G m_k, S) - log N(b; G m, S)) / a,    m_k: the mean with -m for term k

    Args:
        belief: about several variables along one axis, such as `gaussians.correlated`; no batch.
        laws: of it, exact or not.
        terms: names of the variables, in their order.
        axis: that counts them.
        false_alarm: probability, at most, that a term is named where belief and laws are right.
        alike: a, of errors that are correlated between points where the belief has them
            independent: how many are alike, Σ_j ρ_ij, for a Gaussian correlation in a plane 2π l²
            over the area of a cell. Without it such errors count as so many pieces of evidence.

    Where it fails: a term whose mean is zero has no sign.

    Source: composite likelihoods brought to scale, Pauli, Racugno and Ventura, Statistica Sinica
        21 (2011); the ratio of likelihoods as a test that needs no distribution, Ville (1939);
        closures of budgets by their adjustments, L'Ecuyer et al., Journal of Climate 28 (2015).
        CLASS v1.0 was withdrawn for a wrong sign of the ground heat flux.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> fluxes = np.array([[100.0], [30.0], [60.0], [-10.0]])  # the last is turned
        >>> measured = fluxes + 5.0 * rng.normal(size=(4, 200))
        >>> belief = bc.gaussians.correlated(measured, 5.0, np.eye(4))
        >>> closes = bc.functional(lambda u: u[0] - u[1:].sum(0), (4, 200))
        >>> names = ["rn", "h", "le", "g"]
        >>> bc.diagnostics.suspects(belief, bc.Constraint(closes, 0.0), names).named
        'g'
    """
    shape = belief.event_shape
    if belief.batch_shape:
        raise RefusedValue(
            f"the belief is a batch of {belief.batch_shape}; look at each by itself, or put the "
            "batch into the field"
        )
    if not -len(shape) <= axis < len(shape) or shape[axis] != len(terms):
        raise RefusedValue(
            f"{len(terms)} terms are named ({', '.join(terms)}) for a field of shape {shape}, "
            f"whose axis {axis} shall count them"
        )
    if len(set(terms)) < len(terms) or not terms:
        raise RefusedValue(f"each term has a name of its own; got {', '.join(terms)}")
    if not alike >= 1:
        raise RefusedValue(f"alike counts points, one or more; got {alike}")
    if not 0 < false_alarm < 1:
        raise RefusedValue(f"false_alarm is a probability above zero; got {false_alarm}")
    result = update(belief, laws)
    own = float(result.log_evidence)
    satisfied = stack(
        [dataclasses.replace(m, value=m.functional(belief.mean)) for m in laws.members]
    )
    chi_square = 2 * (float(update(belief, satisfied).log_evidence) - own)
    change = np.moveaxis(np.asarray(result.posterior.mean - belief.mean), axis, 0)
    before, after = (
        np.moveaxis(np.asarray(b.variance), axis, 0) for b in (belief, result.posterior)
    )
    taken = before - after
    found, counts = {}, {}
    for number, name in enumerate(terms):
        sign = jnp.ones(shape).at[(slice(None),) * (axis % len(shape)) + (number,)].set(-1.0)
        turned = Gaussian(sign * belief.mean, belief.covariance)
        gain = float(update(turned, laws).log_evidence) - own
        gain /= alike
        moved = taken[number] > MOVED * before[number]
        counts[name] = int(moved.sum())
        ratio = change[number][moved] ** 2 / taken[number][moved]
        found[name] = TermEvidence(gain, float(ratio.mean()) if ratio.size else 0.0)
    return Suspects(_sorted(found), chi_square, int(result.rank), false_alarm, counts, alike)


def _sorted(terms: Mapping[str, TermEvidence]) -> dict[str, TermEvidence]:
    return dict(sorted(terms.items(), key=lambda item: -item[1].gain))
