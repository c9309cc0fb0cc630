"""Linear advection and Burgers: jumps that travel, and a neural process that is told the total.

As in `gpme_tables`, with the same methods under the same names: the exact solution read at 10 times
by 10 positions, an attentive neural process trained on other functions of the family, and each way
to use the total on the same 100 draws of its latent. Advection is looked at at t = 0.1, when the
jump is at 0.6 (b = 1) and 0.8 (b = 3); Burgers at t = 0.5, where a = 1 is still a ramp and a = 3
has a shock at 0.25. `front error` is the distance of the mean front of the draws from the exact
one. The published tables of these problems are not at hand, so nothing stands beside our numbers;
what is asked is whether conditioning on the total is ahead of the network alone, of one trained
with a penalty on the equation's residual (SoftC) and of moving the mean alone (HardC): the last
table has differences, function by function, with standard errors. For b = 1 and a = 3 a node lies
on the jump, where the solution has two values and either is right: up to 93 % of `MSE` is that one
point, and `MSE, cells`, the error of averages over cells, has no such tie. As in `gpme_tables`,
that is the measure in which the total is exact, and conditioning should never be worse than leaving
the network alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
from matplotlib.figure import Figure

from experiments import neural_tables
from experiments.neural_tables import SOFTC, Settings
from experiments.rows import Row

FIGURES: dict[str, str] = {}
FAMILIES = ("advection", "burgers")
RIVALS = {"ProbConserv-ANP": ("ANP", SOFTC, "HardC-ANP")}
SETTINGS = {
    "quick": Settings(functions=4, held_out=4, families=("advection",), latents=30, few=4),
    "paper": Settings(functions=50, held_out=100, families=FAMILIES),
}


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """A row for each parameter, method and metric."""
    return neural_tables.rows(settings, key, {}, RIVALS)


tables = neural_tables.tables


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """None: the profiles are those of `solution_profiles`."""
    del settings, key, rows
    return {}
