"""The lid-driven cavity as a family: flow from rest in a box, driven by a lid whose speed differs
from member to member.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.arrays import concrete
from bayescons.functionals.boundary_conditions import BoundaryCondition
from bayescons.problems.operators import OperatorProblem, aligned, checked_interval
from bayescons.problems.problem import checked_count, checked_parameter
from bayescons.refusals import RefusedValue
from bayescons.solvers.cavity import Flow, cavity_flow, longest_step

FIELDS = Flow._fields


@dataclass(frozen=True)
class Cavity(OperatorProblem):
    """Incompressible flow in the unit square, from rest, under a lid that slides at speed U from t
    = 0 on.

        ∂ω/∂t + u·∇ω = ∇²ω/Re,   -∇²ψ = ω,   u = (∂ψ/∂y, -∂ψ/∂x),   u = (U, 0) at y = 1,  u = 0 on
        the other walls

    Re is that of a lid of speed 1. What is known at the walls is *velocity*: no slip, and the speed
    of the lid. The stream function is known there too, 0. Wall vorticity is not: it is part of the
    solution, so a family of the vorticity has no sides, and a network should predict velocities (or
    ψ) and have its vorticity from `bayescons.solvers.curl`. (The published experiment predicts
    vorticity and takes its wall values from the test targets.) What is known of vorticity is its
    total, ∮ u·dl = -U.

    What a network is shown in place of an initial state is the lid's speed at every node, whichever
    field is to be predicted: the fluid is at rest, so that v and ψ at t = 0 do not tell the members
    apart, and u does on one line of nodes only.

    Expect: a shear layer under the lid that turns down at the right wall and rolls up into one
    vortex; by t = 2 its core lies at (0.65, 0.79) for U = 1, on its way to the steady state's
    (0.62, 0.74).

    Hard spots: at the two ends of the lid the velocity jumps and vorticity is infinite; corner
    nodes are given the walls' velocity. Solved on 100 against 200 intervals to t = 2, vorticity
    differs by 19 % in L2 over all nodes and by 1.5 % from two nodes inside on, velocities by 1.2 %
    and 0.8 %, ψ by 0.24 %: errors of a network below these are errors against this grid, not
    against the flow. Near t = 0 the layer under the lid is √(t/Re) thick, and thinner than a cell
    of 1/100 before t = 0.01.

    Attributes:
        reynolds: Re > 0; a published set is named after 100.
        speeds: interval of U; [1, 1.5] is our choice.
        field: what is predicted, one of `FIELDS`: "velocity_x", "velocity_y", "stream_function" or
            "vorticity".
        intervals: the solver has at least so many along each side: a multiple of the grid's own, so
            that its nodes are among the solver's.
        time_range: first and last snapshot; our choice.

    Raises:
        TypeError, ValueError: for numbers that are not so, or an unknown field.

    Source: Ghia, Ghia and Shin, J. Comput. Phys. 48 (1982) 387; its use: Saad, Gupta, Alizadeh and
        Maddix, ICLR 2023 (arXiv 2212.07477).
    """

    reynolds: float | int = 100.0
    speeds: tuple[float | int, float | int] = (1.0, 1.5)
    field: Literal["velocity_x", "velocity_y", "stream_function", "vorticity"] = "velocity_x"
    intervals: int = 100
    time_range: tuple[float | int, float | int] = (0.08, 2.0)

    name: ClassVar[str] = "cavity"
    equation: ClassVar[str] = "∂ω/∂t + u·∇ω = ∇²ω/Re, u = (U, 0) at the lid, 0 on the walls"
    axes: ClassVar[tuple[str, ...]] = ("x", "y")
    space_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self):
        checked_parameter(
            self.reynolds,
            name="reynolds",
            above=0.0,
            below=math.inf,
            instead="Write Cavity(reynolds=100.0)",
        )
        checked_interval(self.speeds, name="speeds", least=0.0)
        checked_interval(self.time_range, name="time_range", least=0.0)
        checked_count(self.intervals, name="intervals", least=3)
        if self.field not in FIELDS:
            raise RefusedValue(
                f"unknown field {self.field!r}; there are {', '.join(map(repr, FIELDS))}"
            )

    def sides(self, order: int = 3) -> tuple[BoundaryCondition, ...]:
        """The values on the four walls; none for vorticity."""
        if self.field == "vorticity":
            return ()
        ends = zip(("lower", "upper"), self.space_range, strict=True)
        return tuple(
            BoundaryCondition(axis, end, order=order, at=at)
            for axis, (end, at) in itertools.product(self.axes, ends)
        )

    def draw(self, key: jax.Array, n: int) -> jax.Array:
        """Lid speeds U, uniform."""
        return jax.random.uniform(key, (n,), minval=self.speeds[0], maxval=self.speeds[1])

    def initial(self, parameter: ArrayLike, x: ArrayLike, y: ArrayLike) -> jax.Array:
        """U everywhere."""
        speed, x, y = aligned(parameter, x, y)
        return speed + 0 * x + 0 * y

    def solution(self, parameter: ArrayLike, t: ArrayLike, x: ArrayLike, y: ArrayLike) -> jax.Array:
        """The chosen field at times t, which do not fall: a scalar or the open mesh of a grid, as x
        and y, even and of equal lengths.
        """
        return getattr(self.flow(parameter, t, x, y), self.field)

    def flow(self, parameter: ArrayLike, t: ArrayLike, x: ArrayLike, y: ArrayLike) -> Flow:
        """All four fields of one member, on the open mesh of a grid.

        Raises:
            ValueError: for what is not such a mesh, or a lid faster than `speeds` allows (the time
                step is chosen for the fastest).
        """
        t, x, y = aligned(t, x, y)
        shape, points = jnp.broadcast_shapes(t.shape, x.shape, y.shape), x.size
        even = np.linspace(*self.space_range, points)
        if (
            math.prod(shape) != t.size * x.size * y.size
            or y.size != points
            or points < 2
            or not all(_near(a, even) for a in (x, y))
        ):
            raise RefusedValue(
                "expected the open mesh of a grid with equally many points along x and y, equally "
                f"spaced, walls included; got shapes {t.shape}, {x.shape} and {y.shape}. Write "
                "problem.flow(speed, **problem.grid(points, times).mesh())"
            )
        if concrete(parameter) and float(np.asarray(parameter)) > self.speeds[1]:
            raise RefusedValue(
                f"the lid must not be faster than speeds={self.speeds}; got "
                f"{float(np.asarray(parameter)):g}. Widen speeds"
            )
        every = math.ceil(self.intervals / (points - 1))
        nodes, viscosity = every * (points - 1) + 1, 1 / self.reynolds
        step = longest_step(viscosity, nodes=nodes, fastest=self.speeds[1])
        flow = cavity_flow(parameter, viscosity=viscosity, nodes=nodes, times=t.ravel(), step=step)
        return Flow(*(field[:, ::every, ::every].reshape(shape) for field in flow))

    def wall(
        self, parameter: ArrayLike, side: BoundaryCondition, t: ArrayLike, along: ArrayLike
    ) -> jax.Array:
        """Zero, but for the x-velocity under the lid, which is U between the corners."""
        speed, t, along = aligned(parameter, t, along)
        low, high = self.space_range
        lid = self.field == "velocity_x" and (side.axis, side.end) == ("y", "upper")
        moving = (along > low) & (along < high) if lid else jnp.zeros(along.shape, bool)
        return jnp.where(moving, speed, 0.0) + 0 * t


def _near(points, even):
    return not concrete(points) or np.allclose(np.asarray(points).ravel(), even, rtol=0, atol=1e-6)
