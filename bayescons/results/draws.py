"""Chains: the draws of samplers that work on beliefs, kept by chain, with what tells whether they
mixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from bayescons.descriptions import tabulated
from bayescons.grids import Grid
from bayescons.results.mixing import mixing, warn
from bayescons.results.trees import datatree

if TYPE_CHECKING:
    import xarray


@tabulated("Draws of several chains")
class ChainDraws(NamedTuple):
    """Draws of one field by several chains, and their diagnostics.

    Chains that stand still satisfy every law exactly, and their spread from chain to chain can look
    right: look at `r_hat` and `ess`.

    Attributes:
        draws: shape (chain, draw, *field).
        statistics: of the sampler, name -> shape (chain, draw).
        laws: name -> {"value": b, "residual": shape (chain, draw, ...)}, for the equalities that
            the sampler itself keeps.
        ess: smallest bulk effective sample size over the points of the field, of at most 500
            (rank-normalised, by ArviZ).
        r_hat: largest R-hat over the same points; of a single chain that of its halves.
    """

    draws: jax.Array
    statistics: Mapping[str, jax.Array]
    laws: Mapping[str, Mapping]
    ess: float
    r_hat: float

    @property
    def pooled(self) -> jax.Array:
        """All draws, shape (chain x draw, *field)."""
        return self.draws.reshape(-1, *self.draws.shape[2:])

    def datatree(
        self, grid: Grid | None = None, *, name: str = "u", **attributes
    ) -> xarray.DataTree:
        """An ArviZ tree with the groups `posterior`, `sample_stats` and, where there are laws,
        `constraints`.
        """
        laws = {law: dict(parts) for law, parts in self.laws.items()}
        return datatree(
            {name: self.draws},
            grid,
            sample_stats=self.statistics,
            constraints=laws or None,
            attributes=attributes,
        )


def chain_draws(draws, statistics: Mapping, laws: Mapping | None = None) -> ChainDraws:
    """Draws of shape (chain, draw, *field) with their diagnostics.

    Warns:
        NotMixedWarning: chains that do not agree, or too few effective draws.
    """
    found = mixing({"field": np.asarray(draws)}, ["field"])
    warn(found.fault and f"{found.fault}. Draw more, sample(key, {found.enough}, warmup=...)")
    return ChainDraws(draws, dict(statistics), dict(laws or {}), found.ess, found.r_hat)
