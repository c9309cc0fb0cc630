"""Test functions: a problem at a published parameter, seen through the readings of its exact
solution, at the time of interest.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bayescons as bc
from bayescons import problems
from bayescons.problems import Problem, Readings, contexts

FAMILIES: dict[str, type[Any]] = {
    "stefan": problems.Stefan,
    "porous_medium": problems.PorousMedium,
    "diffusion": problems.Diffusion,
    "advection": problems.Advection,
    "burgers": problems.Burgers,
}
# The letter of each parameter in the published tables.
LETTERS = {"stefan": "u*", "porous_medium": "m", "diffusion": "k", "advection": "b", "burgers": "a"}
INSIDE = 400  # points of a cell whose average is taken
# The height of the jump, where there is one.
JUMPS = {
    "stefan": lambda p: p.threshold,
    "advection": lambda _: 1.0,
    "burgers": lambda p: p.amplitude,
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """A family of problems, looked at on `points` positions at its time of interest.

    Attributes:
        family: name, one of `FAMILIES`.
        points: of the grid in x.
    """

    family: str
    points: int = 201

    @property
    def kind(self) -> type[Any]:
        """The problem's class."""
        return FAMILIES[self.family]

    @property
    def grid(self) -> bc.Grid:
        """One time, all positions."""
        return bc.Grid(
            t=np.array([self.kind.time_of_interest]),
            x=np.linspace(*self.kind.space_range, self.points),
        )

    def problem(self, value) -> Problem:
        """The problem with this parameter, which may be traced."""
        return self.kind(**{self.kind.parameter_name: value})

    def truth(self, value) -> jax.Array:
        """Its exact solution, shape (1, points)."""
        return self.problem(value).solution(**self.grid.mesh())

    def averages(self, value) -> np.ndarray:
        """Averages of the exact solution over the cells about the points, by `INSIDE` points in
        each; shape (1, points). Weighted by the trapezoid rule these add up to the exact total,
        which values at the points do not where the profile is steep.
        """
        x = self.grid["x"]
        edges = np.concatenate([x[:1], (x[1:] + x[:-1]) / 2, x[-1:]])
        share = (np.arange(INSIDE) + 0.5) / INSIDE
        inside = (edges[:-1, None] + np.diff(edges)[:, None] * share).ravel()
        fine = bc.Grid(t=self.grid["t"], x=inside)
        values = np.asarray(self.problem(value).solution(**fine.mesh()))
        return values.reshape(1, len(x), INSIDE).mean(axis=-1)

    def total(self, value) -> jax.Array:
        """Its exact total, shape (1,)."""
        return self.problem(value).total(jnp.asarray(self.grid["t"]))

    def readings(self, value, key: jax.Array) -> Readings:
        """What a surrogate is shown: 100 readings of the exact solution."""
        return contexts(self.problem(value), key)

    def level(self, value: float) -> float:
        """Where a front is: half the height of the jump."""
        return float(JUMPS[self.family](self.problem(value))) / 2

    def label(self, value: float) -> str:
        """The parameter as the tables have it."""
        return f"{LETTERS[self.family]} = {value:g}"


def held_out(family: str, key: jax.Array, count: int) -> jax.Array:
    """Parameters from the training range, for choosing and recalibrating; never those of the
    tables.
    """
    low, high = FAMILIES[family].train_range
    return jax.random.uniform(key, (count,), minval=low, maxval=high)
