"""Quadrature: weights w with w'u = ∫ u dx for values of u at given points, and the error such a
rule makes on a rough field.

The conserved total of an exact solution is an integral, the row that conditions a field on it is a
sum. The two differ by the error of the rule: O(h^2) or better where the solution is smooth, O(h) at
a jump. `bridge_widths` holds what is needed to put a number on it.
"""

from __future__ import annotations

import numpy as np

from bayescons.arrays import constant
from bayescons.refusals import RefusedValue

RULES = ("trapezoid", "midpoint", "simpson")


def quadrature_weights(points: np.ndarray, rule: str = "trapezoid") -> np.ndarray:
    """Weights of a rule on given points, `weights @ u ≈ ∫ u dx`.

    - `"trapezoid"`: w_i = (h_{i-1} + h_i) / 2, from end point to end point. Exact for piecewise
      linear u, order 2.
    - `"midpoint"`: every point is the centre of a cell and its value the average over it, w_i =
      width of cell i; the cells at the ends reach beyond the end points by half a spacing. Exact
      for cell averages, order 2; on equal spacings it is also the spectrally accurate rule of a
      periodic field stored without its last point.
    - `"simpson"`: exact for piecewise quadratics, order 4 on equal spacings. Needs an odd number of
      points.

    Args:
        points: strictly increasing coordinates, shape (n,), n >= 2.
        rule: one of `RULES`.

    Returns:
        Weights, shape (n,), in the unit of the coordinate.

    Raises:
        ValueError: unknown rule, fewer than two points, or an even number of points for Simpson's
            rule.
    """
    if rule not in RULES:
        raise RefusedValue(f"unknown quadrature rule {rule!r}; choose one of {', '.join(RULES)}")
    if len(points) < 2:
        raise RefusedValue(f"a quadrature rule needs at least two points; got {len(points)}")
    rules = {"trapezoid": _trapezoid, "midpoint": _midpoint, "simpson": _simpson}
    return constant(rules[rule](points))


def bridge_widths(points: np.ndarray) -> np.ndarray:
    """Widths h_i of the intervals between neighbouring points, shape (n - 1,).

    Between two nodes a field with increment Δu_i and no further known structure is a Brownian
    bridge of that quadratic variation; the integral of the bridge has variance h_i² E[Δu_i²] / 12.
    For one jump of height J in an interval this is J² h² / 12, exactly the variance of J times a
    front placed uniformly in the interval; for a smooth field it overstates the error (O(h^3/2)
    against O(h²)).

    Source: the trapezoid rule as the posterior mean of an integral under a Wiener prior, Diaconis,
        Bayesian numerical analysis (1988).
    """
    return constant(np.diff(points))


def _trapezoid(points: np.ndarray) -> np.ndarray:
    gaps = np.diff(points)
    return (np.append(gaps, 0.0) + np.append(0.0, gaps)) / 2


def _midpoint(points: np.ndarray) -> np.ndarray:
    inner = (points[1:] + points[:-1]) / 2
    first, last = 2 * points[0] - inner[0], 2 * points[-1] - inner[-1]
    return np.diff(np.concatenate([[first], inner, [last]]))


def _simpson(points: np.ndarray) -> np.ndarray:
    if len(points) % 2 == 0:
        raise RefusedValue(
            f"Simpson's rule pairs intervals and needs an odd number of points; got {len(points)}. "
            "Add or drop a point, or use rule='trapezoid'"
        )
    left, right = np.diff(points)[::2], np.diff(points)[1::2]
    span = (left + right) / 6
    weights = np.zeros(len(points))
    weights[:-1:2] += span * (2 - right / left)
    weights[1::2] += span * (left + right) ** 2 / (left * right)
    weights[2::2] += span * (2 - left / right)
    return weights
