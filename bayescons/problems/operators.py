"""Families of solutions for learning operators: initial states, what is known at the boundary, and
the fields they become.

Where a `Problem` is one field and its parameter, an operator problem is a family: its `sample`
draws many members, each with the initial state a network is shown, the values of its boundary
conditions, and the true field at later times.
"""

from __future__ import annotations

import abc
import functools
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.descriptions import tabulated
from bayescons.functionals.boundary_conditions import BoundaryCondition
from bayescons.grids import Grid
from bayescons.problems.problem import checked_count
from bayescons.refusals import RefusedValue

# members computed at a time: enough to fill a processor, few enough for 100 x 100 x 25 points each
BATCH = 32


@tabulated("Samples of an operator problem")
class Samples(NamedTuple):
    """Members of a family, the first axis of every array.

    Attributes:
        parameter: what each was drawn by, shape (n,); a mapping of such where there are several
            numbers; (n, 2, modes) for a random field.
        inputs: the initial state, or what stands in its place, shape (n, *space).
        boundary: one array a side, in the order of the problem's `sides`, shape (n, *shape of that
            side's value on the grid). They follow from the parameter, and are never cut from the
            outputs.
        outputs: the field, shape (n, *grid.shape).
    """

    parameter: Any
    inputs: jax.Array
    boundary: tuple[jax.Array, ...]
    outputs: jax.Array


class OperatorProblem(abc.ABC):
    """A family of solutions of one equation, with what is known at its boundary.

    An implementation is a frozen dataclass whose fields are numbers that all members share, and the
    intervals from which the others are drawn; inheriting from `OperatorProblem` supplies `grid` and
    `sample`. All quantities are dimensionless. Time comes first on a grid, then space; both end
    points of space are on it.
    """

    name: ClassVar[str]
    """Identifier."""
    equation: ClassVar[str]
    """The equation, in Unicode."""
    axes: ClassVar[tuple[str, ...]]
    """Names of the axes of space."""
    space_range: ClassVar[tuple[float, float]]
    """Both ends of every axis of space."""

    @property
    @abc.abstractmethod
    def time_range(self) -> tuple[float | int, float | int]:
        """Times of the first and of the last snapshot; the initial state is at 0."""

    @abc.abstractmethod
    def sides(self, order: int = 3) -> tuple[BoundaryCondition, ...]:
        """The boundary conditions; `order` is that of the stencils of slopes."""

    @abc.abstractmethod
    def draw(self, key: jax.Array, n: int) -> Any:
        """Parameters of n members, as `Samples.parameter` holds them. The first of many are those
        of few.
        """

    @abc.abstractmethod
    def initial(self, parameter: Any, *args: Any, **kwargs: Any) -> jax.Array:
        """The state that a network is shown, of one member: `initial(parameter, x)`, or
        `initial(parameter, x, y)`.

        That at t = 0, if members differ in it.
        """

    @abc.abstractmethod
    def solution(self, parameter: Any, *args: Any, **kwargs: Any) -> jax.Array:
        """The true field of one member, `solution(parameter, t, x)` or `solution(parameter, t, x,
        y)`.

        Time and the axes of space broadcast, so `solution(parameter, **grid.mesh())` is a field.
        Where there is no closed form, they must be such an open mesh.
        """

    @abc.abstractmethod
    def wall(self, parameter: Any, side: BoundaryCondition, *args: Any, **kwargs: Any) -> jax.Array:
        """The value of a boundary condition of one member, `wall(parameter, side, t)`, or with
        positions along the side after t.
        """

    def grid(self, points: int, times: int = 1) -> Grid:
        """Equally spaced points along every axis of space, ends included, at equally spaced times
        of `time_range`.

        Args:
            points: along each axis of space.
            times: 1 is space alone, at the last time.

        Raises:
            ValueError: for fewer than two points or no time.
        """
        points, times = (
            checked_count(points, name="points", least=2),
            checked_count(times, name="times", least=1),
        )
        space = {name: np.linspace(*self.space_range, points) for name in self.axes}
        return (
            Grid(**space) if times == 1 else Grid(t=np.linspace(*self.time_range, times), **space)
        )

    def sample(self, key: jax.Array, n: int, grid: Grid) -> Samples:
        """Draw members of the family.

        Computed in double precision whatever JAX's setting, and returned in JAX's default float
        type: the same key gives the same members in either. The members of a shorter set are the
        first of a longer one.

        Args:
            key: a key of `jax.random.key`.
            n: number of members.
            grid: of the outputs, as of `grid`. Without times, the field is that at the last time of
                `time_range`.

        Raises:
            ValueError: for another number than 1 or more, or a grid that has other axes, lacks an
                end point, is not equally spaced in space, or has times before 0.
        """
        n = checked_count(n, name="n", least=1)
        check_grid(self, grid)
        dtype = jnp.zeros(()).dtype
        with jax.enable_x64(True):
            mesh = {name: jnp.asarray(points) for name, points in grid.items()}
            samples = _members(self, self.draw(key, n), mesh, names=grid.names, dtype=dtype)
        return Samples(*samples)


def check_grid(problem: OperatorProblem, grid: Grid) -> None:
    """Refuse a grid on which the family has no samples.

    Raises:
        ValueError: as `OperatorProblem.sample` says.
    """
    if grid.names not in (problem.axes, ("t", *problem.axes)):
        spaces = ", ".join(f"{name}=..." for name in problem.axes)
        raise RefusedValue(
            f"{problem.name} lives on the axes {problem.axes}, with or without 't' in front; the "
            f"grid has {grid.names}. Write problem.grid(points, times), or Grid(t=..., {spaces})"
        )
    for name in problem.axes:
        points, (low, high) = grid[name], problem.space_range
        even = np.linspace(low, high, len(points))
        if len(points) < 2 or np.max(np.abs(points - even)) > 1e-9 * (high - low):
            raise RefusedValue(
                f"axis {name!r} must be equally spaced from {low:g} to {high:g}, both end points "
                f"included; got {len(points)} points from {points[0]:g} to {points[-1]:g}. Write "
                f"problem.grid(points), or np.linspace({low:g}, {high:g}, points)"
            )
    if "t" in grid and grid["t"][0] < 0:
        raise RefusedValue(f"the family starts at t = 0; the grid has t = {grid['t'][0]:g}")


def aligned(*arrays: ArrayLike) -> tuple[jax.Array, ...]:
    """Arrays of one float type and one rank, with axes of length 1 put in front: they then
    broadcast without rank promotion.
    """
    dtype = jnp.result_type(*arrays, 0.0)
    full = [jnp.asarray(a, dtype) for a in arrays]
    rank = max(a.ndim for a in full)
    return tuple(a.reshape((1,) * (rank - a.ndim) + a.shape) for a in full)


def checked_interval(ends, *, name: str, least: float = -math.inf) -> tuple[float, float]:
    """Two finite numbers in order, neither below `least`, as floats; equal ends fix the number.

    Raises:
        ValueError: otherwise.
    """
    pair = tuple(float(end) for end in ends) if np.shape(ends) == (2,) else ()
    if not (len(pair) == 2 and all(map(math.isfinite, pair)) and least <= pair[0] <= pair[1]):
        bound = "" if math.isinf(least) else f", not below {least:g}"
        raise RefusedValue(
            f"{name} must be an interval (low, high) of finite numbers{bound}; got {ends!r}. Equal "
            "ends fix the number"
        )
    return pair


@functools.partial(jax.jit, static_argnames=("problem", "names", "dtype"))
def _members(problem, parameters, coordinates, *, names, dtype):
    """Parameter, inputs, boundary and outputs of all members, in batches."""
    last = jnp.asarray(float(problem.time_range[1]))

    def mesh(*kept):
        """Coordinates of these axes, open; the last time where the grid has none."""
        chosen = [name for name in names if name in kept]
        opened = dict(
            zip(
                chosen,
                jnp.meshgrid(*(coordinates[c] for c in chosen), indexing="ij", sparse=True),
                strict=True,
            )
        )
        return [opened.get(name, last) for name in kept]

    def shape(*kept):
        return tuple(len(coordinates[name]) for name in names if name in kept)

    def member(parameter):
        inputs = jnp.broadcast_to(
            problem.initial(parameter, *mesh(*problem.axes)), shape(*problem.axes)
        )
        walls = []
        for side in problem.sides():
            others = ("t", *(name for name in problem.axes if name != side.axis))
            walls.append(
                jnp.broadcast_to(problem.wall(parameter, side, *mesh(*others)), shape(*others))
            )
        outputs = jnp.broadcast_to(
            problem.solution(parameter, *mesh("t", *problem.axes)), shape("t", *problem.axes)
        )
        return jax.tree.map(lambda a: a.astype(dtype), (parameter, inputs, tuple(walls), outputs))

    return jax.lax.map(member, parameters, batch_size=BATCH)
