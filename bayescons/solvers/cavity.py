"""The lid-driven cavity: incompressible flow in a square box whose lid slides, by finite
differences of vorticity and stream function.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescons.descriptions import tabulated
from bayescons.refusals import RefusedValue

_COURANT = 0.8  # share of the longest stable step


@tabulated("Flow on the nodes of a square")
class Flow(NamedTuple):
    """Fields of one flow on the nodes of a square, shape (times, nodes, nodes), x before y.

    At corners the velocity is that of the walls, 0 under the lid too, and the vorticity, which has
    no value there, is given as 0.

    Attributes:
        stream_function: ψ, 0 on all walls.
        velocity_x: u = ∂ψ/∂y.
        velocity_y: v = -∂ψ/∂x.
        vorticity: ω = ∂v/∂x - ∂u/∂y.
    """

    stream_function: jax.Array
    velocity_x: jax.Array
    velocity_y: jax.Array
    vorticity: jax.Array


def longest_step(viscosity: float, *, nodes: int, fastest: float) -> float:
    """A stable step for `cavity_flow`, 0.8 min(h²/4ν, 2ν/U²): diffusion across a cell, and
    advection against diffusion.

    Args:
        viscosity: ν.
        nodes: along each side.
        fastest: the largest lid speed U.
    """
    return _COURANT * min(
        1 / (4 * viscosity * (nodes - 1) ** 2), 2 * viscosity / max(fastest**2, 1e-300)
    )


def cavity_flow(
    lid_speed: ArrayLike, *, viscosity: ArrayLike, nodes: int, times: ArrayLike, step: float
) -> Flow:
    """Flow from rest in the unit square, with no slip at the walls and a lid at y = 1 that slides
    in the direction of x.

        ∂ω/∂t + u ∂ω/∂x + v ∂ω/∂y = ν ∇²ω,   -∇²ψ = ω,   u = ∂ψ/∂y,  v = -∂ψ/∂x,   ψ = 0 and ∂ψ/∂n
        given on the walls

    Central differences; ψ by the sine transform, which solves the five-point Poisson equation
    exactly; vorticity on the walls by Thom's formula, ω = -2ψ₁/h² with ψ₁ one node inside, and
    -2U/h more under the lid; Heun steps, equal between two of the times and none longer than
    `step`. Second order in h away from the lid's two corners, where velocity jumps and vorticity is
    infinite: there, its values belong to the grid. Total vorticity by the trapezoid rule is that of
    the lid, -U(1 - h) (corners are at rest).

    The sine transforms are products with a matrix of nodes - 2 columns, four for each evaluation,
    which is what batching by `vmap` is good for. May be jitted, mapped and differentiated forwards.

    Args:
        lid_speed: U, a number.
        viscosity: ν; the Reynolds number of the unit box is U/ν. A cell Péclet number U h/ν above 2
            makes wiggles.
        nodes: along each side, walls included; h = 1/(nodes - 1).
        times: wanted, none before 0 and none before the one in front of it, shape (times,).
        step: the longest step; `longest_step` knows a stable one.

    Raises:
        ValueError: for fewer than four nodes.

    Source: Thom, Proc. R. Soc. A 141 (1933) 651; E and Liu, J. Comput. Phys. 124 (1996) 368 (why an
    explicit wall vorticity is stable and of second order).
    """
    if nodes < 4:
        raise RefusedValue(f"a cavity needs 4 nodes along each side or more; got {nodes}")
    times = jnp.asarray(times)
    dtype = jnp.result_type(times, 0.0)
    times, speed, viscosity = (jnp.asarray(a, dtype) for a in (times, lid_speed, viscosity))
    h = 1 / (nodes - 1)
    k = np.arange(1, nodes - 1)
    sines = jnp.asarray(
        np.sqrt(2 * h) * np.sin(np.pi * h * np.outer(k, k)), dtype
    )  # symmetric, and its own inverse
    eigenvalues = jnp.asarray((2 - 2 * np.cos(np.pi * h * k)) / h**2, dtype)
    eigenvalues = eigenvalues[:, None] + eigenvalues[None]

    def transform(field):
        return jnp.matmul(sines, jnp.matmul(field, sines, precision="highest"), precision="highest")

    def rate(vorticity):
        stream = jnp.pad(transform(transform(vorticity) / eigenvalues), 1)
        full = _with_walls(vorticity, stream, speed, h)
        u, v = (
            (stream[1:-1, 2:] - stream[1:-1, :-2]) / (2 * h),
            (stream[:-2, 1:-1] - stream[2:, 1:-1]) / (2 * h),
        )
        carried = u * (full[2:, 1:-1] - full[:-2, 1:-1]) / (2 * h) + v * (
            full[1:-1, 2:] - full[1:-1, :-2]
        ) / (2 * h)
        return -viscosity * _minus_laplacian(full, h) - carried

    def interval(vorticity, span):
        gap, count = span
        dt = gap / count

        def advance(_, w):
            slope = rate(w)
            return w + dt / 2 * (slope + rate(w + dt * slope))

        vorticity = jax.lax.fori_loop(0, count.astype(int), advance, vorticity)
        return vorticity, jnp.pad(transform(transform(vorticity) / eigenvalues), 1)

    gaps = jnp.diff(times, prepend=jnp.zeros((1,), dtype))
    counts = jnp.maximum(jnp.ceil(gaps / step * (1 - 1e-6)), 1.0)
    streams = jax.lax.scan(interval, jnp.zeros((nodes - 2, nodes - 2), dtype), (gaps, counts))[1]
    return jax.vmap(lambda stream: _flow(stream, speed, h))(streams)


def curl(velocity_x: ArrayLike, velocity_y: ArrayLike, spacing: float) -> jax.Array:
    """Vorticity ω = ∂v/∂x - ∂u/∂y of velocities on an even grid, by differences of second order,
    one-sided at the walls.

    Args:
        velocity_x: u, shape (*batch, points of x, points of y), three points or more along each.
        velocity_y: v, of the same shape.
        spacing: h, the same along x and y.
    """

    def slope(field, axis):
        f = jnp.moveaxis(jnp.asarray(field), axis, 0)
        lower, upper = (
            (-3 * f[:1] + 4 * f[1:2] - f[2:3]) / 2,
            (3 * f[-1:] - 4 * f[-2:-1] + f[-3:-2]) / 2,
        )
        return jnp.moveaxis(
            jnp.concatenate([lower, (f[2:] - f[:-2]) / 2, upper]) / spacing, 0, axis
        )

    return slope(velocity_y, -2) - slope(velocity_x, -1)


def _minus_laplacian(full, h):
    """-∇² by five points, at the interior nodes."""
    return (
        4 * full[1:-1, 1:-1] - full[2:, 1:-1] - full[:-2, 1:-1] - full[1:-1, 2:] - full[1:-1, :-2]
    ) / h**2


def _with_walls(vorticity, stream, speed, h):
    """Vorticity at all nodes, from that of the interior and Thom's formula; corners are 0."""
    walls = (
        -2
        / h**2
        * jnp.stack([stream[1, 1:-1], stream[-2, 1:-1], stream[1:-1, 1], stream[1:-1, -2]])
    )
    rows = jnp.concatenate([walls[:1], vorticity, walls[1:2]])
    columns = [jnp.pad(wall, 1)[:, None] for wall in (walls[2], walls[3] - 2 * speed / h)]
    return jnp.concatenate([columns[0], rows, columns[1]], axis=1)


def _flow(stream, speed, h):
    """All fields, from the stream function at all nodes."""
    u = jnp.pad((stream[1:-1, 2:] - stream[1:-1, :-2]) / (2 * h), 1).at[1:-1, -1].set(speed)
    v = jnp.pad((stream[:-2, 1:-1] - stream[2:, 1:-1]) / (2 * h), 1)
    return Flow(stream, u, v, _with_walls(_minus_laplacian(stream, h), stream, speed, h))
