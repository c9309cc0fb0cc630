"""Balance: what a domain, or each of its cells, holds more than at first is what has flowed in
since. Fluxes may be known, or unknown.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import numpy as np

from bayescons.axes import Cells, Nodes
from bayescons.descriptions import described
from bayescons.functionals.abstract import JointFunctional, static
from bayescons.functionals.products import TensorProduct
from bayescons.grids import Grid
from bayescons.refusals import RefusedValue

FLUXES = ("times", "steps")


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Balance(JointFunctional):
    """A conservation law of two fields, change(u) + outflow(fluxes) = 0, still linear: see
    `balance` and `cell_balance`.

        bc.observe("balance", law, (u, fluxes), 0.0)                # fluxes: a site, unknown
        bc.observe("balance", law.change, u, law.inflow(fluxes))    # fluxes: an array, known

    Attributes:
        change: functional of the field u.
        outflow: functional of the fluxes, positive for what leaves.
        coordinates: of the fluxes, along the axes of `faces`.
        names: of these axes.
    """

    change: TensorProduct
    outflow: TensorProduct
    coordinates: tuple
    names: tuple[str, ...] = static()

    @property
    def about(self) -> str:
        """The law."""
        return "a balance: what is held more than at first, and what has flowed out, add up to zero"

    @property
    def parts(self) -> tuple[TensorProduct, TensorProduct]:
        """One functional for each of the fields it ties: a law of several fields says so by this
        name.
        """
        return self.change, self.outflow

    @property
    def faces(self) -> Grid:
        """The grid on which the fluxes live, for building a belief about them:
        `separable(law.faces, {"t": 0.1, "x": None})`.
        """
        return Grid(**dict(zip(self.names, self.coordinates, strict=True)))

    def __call__(self, u, fluxes) -> jax.Array:
        """change(u) + outflow(fluxes), zero where the law holds."""
        for what, array, part in (
            ("the field", u, self.change),
            ("the fluxes", fluxes, self.outflow),
        ):
            if np.shape(array) != part.shape:
                raise RefusedValue(
                    f"a balance expects {what} with shape {part.shape}; got {np.shape(array)}. "
                    "Build it on the field's grid, and the belief about the fluxes on law.faces"
                )
        return self.change(u) + self.outflow(fluxes)

    def inflow(self, fluxes) -> jax.Array:
        """What known fluxes bring in, -outflow(fluxes): the value of `change`."""
        return -self.outflow(fluxes)

    def labels(self) -> list[str]:
        """What tells one row from another."""
        return self.change.labels()


def balance(
    grid: Grid,
    over: str = "x",
    *,
    time: str = "t",
    rule: str | None = None,
    fluxes: str = "times",
) -> Balance:
    """∫ u(t, x) dx - ∫ u(t₀, x) dx + ∫_{t₀}^t (F(t', x_upper) - F(t', x_lower)) dt' = 0, one row
    for every time but the first.

    The conservation law u_t + F_x = 0 integrated over the domain and over time. With unknown fluxes
    it couples all times: a field that is read well says what has flowed, and a flux that is known
    at some times says what the field holds at all of them.
    Only the difference of the fluxes enters: with both unknown, what tells one from the other is
    what is believed of them.

    Fluxes are those through the two ends of the axis, in the direction in which x increases, in an
    array of the grid's shape with 2 in place of the points of `over` (lower, upper): for a grid (t,
    x) shape (times, 2).

    Args:
        grid: where the field lives; two axes.
        over: axis of space.
        time: axis of time.
        rule: in space, see `integral`.
        fluxes: "times": values at the grid's times, and ∫ dt' is the trapezoid rule between them.
            "steps": averages over each step, shape (times - 1, 2); then ∫ dt' is their sum and has
            no error.

    Returns:
        A law of (u, fluxes), value shape (times - 1,), in units of u times x.

    Where it fails: the two rules. In space, that of `integral`, at t and at t₀. In time the
    trapezoid rule errs by τ² |F'(t) - F'(t₀)| / 12 where the flux is smooth, and by much where it
    is not: at the 1/√t of a wall that is suddenly hot the first step is lost. Begin later, or use
    "steps". `scale="quadrature"` allows for both errors, with Brownian bridges between nodes (see
    `quadrature_scale`); it counts the errors of different times as independent, while those of the
    time rule add up along the rows.

    Source: the global conservation form of Hansen et al., Learning physical models that can respect
    conservation laws, ICML 2023, eq. 2-4, with the fluxes of its right-hand side as unknowns.

    Example:
        >>> grid = bc.Grid(t=[0.0, 0.5, 1.0], x=[0.0, 0.5, 1.0])
        >>> field = jnp.broadcast_to(grid["t"][:, None], grid.shape)  # u = t
        >>> fluxes = jnp.stack([jnp.ones(3), jnp.zeros(3)], axis=-1)  # in at the lower end
        >>> print(bc.balance(grid)(field, fluxes))
        [0. 0.]
    """
    at = _axes(grid, over, time, fluxes)
    x = grid.along(over)
    ends = np.array([x.end("lower"), x.end("upper")])
    told = f"∫ u d{over} less that at the first {time}", f"what has left through the ends of {over}"
    walls = _Space(x.weights(rule), np.array([-1.0, 1.0]), ends, x.bridges, told)
    return _law(grid, at, fluxes, np.tri(len(grid[time]) - 1), walls)


def cell_balance(
    grid: Grid,
    over: str = "x",
    *,
    time: str = "t",
    rule: str | None = None,
    fluxes: str = "times",
) -> Balance:
    """w_i (u(t_{k+1}, x_i) - u(t_k, x_i)) + ∫_k (F_{i+1/2} - F_{i-1/2}) dt' = 0: the law cell by
    cell, one row for every cell and step.

    Cell i is that of the axis where it has `Cells`; on nodes it is what the quadrature rule takes
    for the surroundings of x_i, of width w_i: for "trapezoid" from midpoint to midpoint, half as
    wide at the walls. Fluxes are those through all
    faces, points + 1 of them: the first and the last are the walls. Summed over cells and steps the
    rows are those of `balance`.

    Args and returns: as `balance`, with points + 1 in place of 2; value shape (times - 1, points).

    Where it fails: as `balance`; "simpson" has no cells. Its rows couple all points, so S is dense:
        use it up to some 2,000 rows.

    Example:
        >>> grid = bc.Grid(t=[0.0, 1.0], x=[0.0, 0.5, 1.0])
        >>> bc.cell_balance(grid).parts[0].value_shape  # one row for every step and cell
        (1, 3)
    """
    if rule == "simpson":
        raise RefusedValue(
            "Simpson's weights are no widths of cells; use rule='trapezoid' or 'midpoint'"
        )
    at = _axes(grid, over, time, fluxes)
    x = grid.along(over)
    weights, first = x.weights(rule), x.end("lower")
    if isinstance(x, Nodes) and rule == "midpoint":
        first = (x.points[0] + x.points[1]) / 2 - weights[0]
    known = isinstance(x, Cells)
    faces = x.edges if known else first + np.append(0.0, np.cumsum(weights))
    told = "what each cell gains in a step", "what leaves through its faces meanwhile"
    cells = _Space(np.diag(weights), _differences(len(x)), faces, None, told)
    return _law(grid, at, fluxes, np.eye(len(grid[time]) - 1), cells)


class _Space(NamedTuple):
    """What a law is in space: weights of the field and of the fluxes through the faces, the faces,
    what the rule in space leaves open, and in words what becomes of field and fluxes.
    """

    within: np.ndarray
    across: np.ndarray
    faces: np.ndarray
    bridges: np.ndarray | None
    told: tuple[str, str]


def _law(grid: Grid, at: tuple[int, int], fluxes: str, rows: np.ndarray, space: _Space) -> Balance:
    """The law whose rows each count some of the steps in time. Only fluxes at times leave an error
    of the rule in time.
    """
    names = grid.names[at[0]], grid.names[at[1]]
    times, x = grid[names[0]], grid[names[1]]
    steps = np.diff(times)
    if fluxes == "steps":
        when, in_time, between = (times[1:] + times[:-1]) / 2, rows * steps, None
    else:
        ends = np.eye(len(steps), len(times)) + np.eye(len(steps), len(times), 1)
        when, in_time, between = times, rows @ (ends * steps[:, None] / 2), rows * steps
    labels = (
        {names[0]: times[1:]}
        if space.within.ndim == 1
        else dict(_ordered(at, ((names[0], times[1:]), (names[1], x))))
    )
    weights = _ordered(at, (rows @ _differences(len(steps)), space.within))
    bridges = _ordered(at, (None, space.bridges))
    change = TensorProduct.on(grid, weights, labels, space.told[0], bridges)
    shape = tuple(map(len, _ordered(at, (when, space.faces))))
    outflow = TensorProduct(
        _ordered(at, (in_time, space.across)),
        (),
        _ordered(at, (between, None)),
        shape=shape,
        about=space.told[1],
    )
    return Balance(change, outflow, _ordered(at, (when, space.faces)), grid.names)


def _axes(grid: Grid, over: str, time: str, fluxes: str) -> tuple[int, int]:
    """Positions of time and space in the grid."""
    at = grid.axis(time), grid.axis(over)
    if len(grid.shape) != 2 or at[0] == at[1]:
        raise RefusedValue(
            "a balance needs a grid of two axes, time and one of space; got "
            f"{', '.join(map(repr, grid.names))} with time={time!r} and over={over!r}. In more "
            "dimensions give a function of field and outflow: bc.observe(name, lambda u, f: ..., "
            "(u, f), 0.0)"
        )
    if not isinstance(grid.along(time), Nodes):
        raise RefusedValue(
            f"a balance is between times, and the axis {time!r} holds {grid.along(time).told}. "
            "Build the grid on the times themselves"
        )
    if len(grid[time]) < 2:
        raise RefusedValue(
            "a balance is between times, and this grid has one; give it two or more, or use "
            "bc.integral with the total"
        )
    if fluxes not in FLUXES:
        raise RefusedValue(
            "fluxes must be 'times' (values at the grid's times) or 'steps' (averages over each "
            f"step); got {fluxes!r}"
        )
    return at


def _differences(count: int) -> np.ndarray:
    """Each of count + 1 numbers less the one before it, shape (count, count + 1)."""
    return np.eye(count, count + 1, 1) - np.eye(count, count + 1)


def _ordered(at: tuple[int, int], pair: tuple) -> tuple:
    """A pair (of time, of space) in the order of the grid's axes."""
    return tuple(pair) if at[0] < at[1] else tuple(reversed(pair))
