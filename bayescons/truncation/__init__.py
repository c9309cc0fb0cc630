"""Truncation: Gaussian beliefs restricted by inequalities (positivity, bounds, order), sampled exactly beside exact equalities."""

from bayescons.truncation.inequalities import Inequalities, Inequality, at_least, at_most, decreasing, increasing, nonnegative
from bayescons.truncation.truncated import Truncated, share_negative, truncated

__all__ = [
    "Inequalities",
    "Inequality",
    "Truncated",
    "at_least",
    "at_most",
    "decreasing",
    "increasing",
    "nonnegative",
    "share_negative",
    "truncated",
]
