"""The lid-driven cavity: discrete identities, symmetries, published centre lines, and a solver in
pressure and velocity.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescons.grids import Grid
from bayescons.problems import Cavity
from bayescons.solvers import cavity_flow, curl, longest_step

EPS = np.finfo(np.float64).eps
# Steady velocities at Re = 100 on the centre lines, at 1/16, 2/16 ... 15/16: u(1/2, y) and v(x,
# 1/2). Marchi, Suero and Araki, J. Braz. Soc. Mech. Sci. Eng. 31 (2009) 186 (1024 x 1024 volumes,
# extrapolated), as reprinted in public code.
MARCHI_U = [
    -0.041974991,
    -0.077125399,
    -0.109816214,
    -0.141930064,
    -0.172712391,
    -0.198470859,
    -0.212962392,
    -0.209149142,
]
MARCHI_U += [
    -0.182080595,
    -0.131256301,
    -0.060245594,
    0.027874448,
    0.140425325,
    0.310557090,
    0.597466694,
]
MARCHI_V = [
    0.094807616,
    0.149243000,
    0.174342933,
    0.179243328,
    0.169132064,
    0.145730201,
    0.108775865,
    0.057536559,
]
MARCHI_V += [
    -0.007748504,
    -0.084066715,
    -0.163010143,
    -0.227827313,
    -0.253768577,
    -0.218690812,
    -0.123318170,
]
# The same by Ghia, Ghia and Shin, J. Comput. Phys. 48 (1982) 387, tables I and II, at nodes of 129;
# as reprinted in public code (five reprints agree). At (1/2, 1/2) their u is off Marchi's by
# 0.0033: more than five digits of theirs is not five digits of the flow.
GHIA_NODES_U = np.array([0, 7, 8, 9, 13, 22, 36, 58, 64, 79, 94, 109, 122, 123, 124, 125, 128])
GHIA_U = [
    0.0,
    -0.03717,
    -0.04192,
    -0.04775,
    -0.06434,
    -0.10150,
    -0.15662,
    -0.21090,
    -0.20581,
    -0.13641,
    0.00332,
    0.23151,
]
GHIA_U += [0.68717, 0.73722, 0.78871, 0.84123, 1.0]
GHIA_NODES_V = np.array([0, 8, 9, 10, 12, 20, 29, 30, 64, 103, 110, 116, 121, 122, 123, 124, 128])
GHIA_V = [
    0.0,
    0.09233,
    0.10091,
    0.10890,
    0.12317,
    0.16077,
    0.17507,
    0.17527,
    0.05454,
    -0.24533,
    -0.22445,
    -0.16914,
]
GHIA_V += [-0.10313, -0.08864, -0.07391, -0.05906, 0.0]


@functools.cache
def flow(nodes, times, speed=1.0, viscosity=0.01, share=1.0):
    step = share * longest_step(viscosity, nodes=nodes, fastest=abs(speed))
    solve = jax.jit(functools.partial(cavity_flow, nodes=nodes, step=step))
    return jax.tree.map(np.asarray, solve(speed, viscosity=viscosity, times=jnp.asarray(times)))


def steady(nodes):
    """Centre lines at sixteenths, and the least stream function, at t = 30: the slowest mode has
    decayed to 1e-7.
    """
    fields, every = flow(nodes, (30.0,)), (nodes - 1) // 16
    u, v = fields.velocity_x[0, nodes // 2], fields.velocity_y[0, :, nodes // 2]
    return np.stack([u[every:-1:every], v[every:-1:every]]), fields.stream_function.min()


# --- against what is published ---


def test_the_steady_flow_approaches_the_published_centre_lines_at_second_order():
    published = np.stack([MARCHI_U, MARCHI_V])
    lines = {nodes: steady(nodes)[0] for nodes in (17, 33, 65)}
    errors = [np.abs(line - published).max() for line in lines.values()]
    assert abs(-np.polyfit(np.log([16, 32, 64]), np.log(errors), 1)[0] - 2) < 0.1
    extrapolated = (4 * lines[65] - lines[33]) / 3
    assert (
        np.abs(extrapolated - published).max() < 5e-4
    )  # measured 2.3e-4; 2.8e-5 from 65 and 129 nodes
    assert errors[-1] < 4e-3


def test_the_steady_flow_lies_as_close_to_the_older_tables_as_these_lie_to_the_newer():
    nodes, positions = 65, np.linspace(0, 1, 65)
    fields = flow(nodes, (30.0,))
    for found, where, tabled in (
        (fields.velocity_x[0, 32], GHIA_NODES_U, GHIA_U),
        (fields.velocity_y[0, :, 32], GHIA_NODES_V, GHIA_V),
    ):
        assert np.abs(np.interp(where / 128, positions, found) - tabled).max() < 0.02
    u = np.interp(GHIA_NODES_U / 128, positions, fields.velocity_x[0, 32])
    assert np.abs(u - GHIA_U).max() < 4e-3


def test_the_vortex_has_the_published_strength():
    (_, coarse), (_, fine) = steady(33), steady(65)
    assert (
        abs((4 * fine - coarse) / 3 - -0.10352) < 1e-4
    )  # Marchi et al.; Ghia et al. have -0.103423
    assert abs(fine - -0.103423) < 1e-3


# --- against a solver in pressure and velocity ---


def staggered(cells, last, speed=1.0, viscosity=0.01):
    """Marker-and-cell: velocities on faces, pressure in cells, projection after each Heun stage.
    Returns u (cells + 1, cells), v.
    """
    h = 1 / cells
    k = np.arange(cells)
    cosines = np.cos(np.pi * np.outer(k + 0.5, k) / cells) * np.where(
        k == 0, np.sqrt(1 / cells), np.sqrt(2 / cells)
    )
    eigenvalues = (2 * np.cos(np.pi * k / cells) - 2) / h**2
    eigenvalues = eigenvalues[:, None] + eigenvalues[None]
    eigenvalues[0, 0] = 1.0

    def project(u, v):
        divergence = cosines.T @ ((u[1:] - u[:-1] + v[:, 1:] - v[:, :-1]) / h) @ cosines
        divergence[0, 0] = 0
        pressure = cosines @ (divergence / eigenvalues) @ cosines.T
        u, v = u.copy(), v.copy()
        u[1:-1] -= (pressure[1:] - pressure[:-1]) / h
        v[:, 1:-1] -= (pressure[:, 1:] - pressure[:, :-1]) / h
        return u, v

    def rates(u, v):
        tall = np.concatenate(
            [-u[:, :1], u, 2 * speed - u[:, -1:]], axis=1
        )  # the walls lie half-way
        wide = np.concatenate([-v[:1], v, -v[-1:]], axis=0)
        uu, vv = ((u[1:] + u[:-1]) / 2) ** 2, ((v[:, 1:] + v[:, :-1]) / 2) ** 2
        uv = (tall[:, 1:] + tall[:, :-1]) / 2 * (wide[1:] + wide[:-1]) / 2
        du, dv = np.zeros_like(u), np.zeros_like(v)
        du[1:-1] = -(uu[1:] - uu[:-1]) / h - (uv[1:-1, 1:] - uv[1:-1, :-1]) / h
        du[1:-1] += (
            viscosity / h**2 * (u[2:] + u[:-2] + tall[1:-1, 2:] + tall[1:-1, :-2] - 4 * u[1:-1])
        )
        dv[:, 1:-1] = -(vv[:, 1:] - vv[:, :-1]) / h - (uv[1:, 1:-1] - uv[:-1, 1:-1]) / h
        dv[:, 1:-1] += (
            viscosity
            / h**2
            * (v[:, 2:] + v[:, :-2] + wide[2:, 1:-1] + wide[:-2, 1:-1] - 4 * v[:, 1:-1])
        )
        return du, dv

    u, v = np.zeros((cells + 1, cells)), np.zeros((cells, cells + 1))
    steps = int(np.ceil(last / (0.2 * h**2 / viscosity)))
    dt = last / steps
    for _ in range(steps):
        du, dv = rates(u, v)
        a, b = project(u + dt * du, v + dt * dv)
        da, db = rates(a, b)
        u, v = project(u + dt / 2 * (du + da), v + dt / 2 * (dv + db))
    return u, v


def test_the_starting_flow_agrees_with_a_solver_in_pressure_and_velocity():
    """At t = 1, far from steady. The stream function at nodes is what flows through the faces below
    them.
    """
    differences = []
    for cells in (16, 32):
        u, _ = staggered(cells, 1.0)
        stream = np.concatenate([np.zeros((cells + 1, 1)), np.cumsum(u, axis=1) / cells], axis=1)
        ours = flow(cells + 1, (1.0,)).stream_function[0]
        differences.append(
            (
                np.linalg.norm(stream - ours) / np.linalg.norm(ours),
                stream[:: cells // 16, :: cells // 16],
                ours,
            )
        )
    assert differences[1][0] < 0.017
    assert differences[0][0] / differences[1][0] > 3.5  # both are of second order
    extrapolated = (4 * differences[1][1] - differences[0][1]) / 3
    ours = (4 * differences[1][2][::2, ::2] - differences[0][2]) / 3
    assert np.linalg.norm(extrapolated - ours) / np.linalg.norm(ours) < 4e-3


# --- identities ---


def test_the_total_vorticity_is_that_of_the_lid():
    """∮ u·dl = -U: by the trapezoid rule exactly -U(1 - h), the corners being at rest."""
    fields = flow(25, (0.01, 0.3, 1.0), speed=1.3)
    weights = np.full(25, 1 / 24)
    weights[[0, -1]] /= 2
    np.testing.assert_allclose(
        np.einsum("tij,i,j->t", fields.vorticity, weights, weights), -1.3 * (1 - 1 / 24), rtol=1e-11
    )


def test_the_flow_has_no_divergence_and_its_curl_is_the_vorticity():
    fields, h = flow(25, (0.3, 1.0)), 1 / 24
    u, v = fields.velocity_x, fields.velocity_y
    divergence = (u[:, 3:-1, 2:-2] - u[:, 1:-3, 2:-2] + v[:, 2:-2, 3:-1] - v[:, 2:-2, 1:-3]) / (
        2 * h
    )
    np.testing.assert_allclose(divergence, 0.0, atol=1e-12)
    for nodes, tolerance in (
        (33, 0.01),
        (65, 0.0025),
    ):  # differences of differences beside five points: O(h²)
        fields = flow(nodes, (30.0,))
        inner = slice(nodes // 4, -(nodes // 4))
        found = np.asarray(curl(fields.velocity_x, fields.velocity_y, 1 / (nodes - 1)))[
            0, inner, inner
        ]
        assert (
            np.abs(found - fields.vorticity[0, inner, inner]).max()
            < tolerance * np.abs(found).max()
        )


def test_curl_is_exact_on_quadratics():
    x, y = np.linspace(0, 1, 6)[:, None], np.linspace(0, 1, 6)[None]
    found = curl(x * y**2 + 3 * y, x**2 - 2 * x * y, 0.2)
    np.testing.assert_allclose(found, 2 * x - 2 * y - 2 * x * y - 3, atol=100 * EPS)


def test_a_faster_lid_is_a_slower_clock_and_more_viscosity():
    """u(t; U, ν) = U u(Ut; 1, ν/U)."""
    # As many steps, so equal to rounding:
    fast, slow = (
        flow(17, (0.5,), speed=1.5, viscosity=0.03),
        flow(17, (0.75,), speed=1.0, viscosity=0.02),
    )
    np.testing.assert_allclose(fast.velocity_x, 1.5 * slow.velocity_x, atol=1e-12)
    np.testing.assert_allclose(fast.vorticity, 1.5 * slow.vorticity, atol=1e-11)


def test_a_lid_that_slides_the_other_way_makes_the_mirror_image():
    right, left = flow(17, (0.5,)), flow(17, (0.5,), speed=-1.0)
    np.testing.assert_allclose(left.velocity_x, -right.velocity_x[:, ::-1], atol=1e-12)
    np.testing.assert_allclose(left.velocity_y, right.velocity_y[:, ::-1], atol=1e-12)


def test_halving_the_step_changes_the_flow_at_second_order():
    fields = [flow(25, (0.4,), share=share).stream_function for share in (1.0, 0.5, 0.25)]
    changes = [np.abs(a - b).max() for a, b in itertools.pairwise(fields)]
    assert changes[1] < 3e-6  # of 0.08
    assert changes[0] / changes[1] > 3.5


def test_a_lid_at_rest_moves_nothing():
    for field in flow(9, (0.5,), speed=0.0):
        np.testing.assert_array_equal(field, 0.0)


# --- the family ---


def test_a_coarser_grid_shows_the_same_flow_at_its_own_nodes():
    problem = Cavity(reynolds=50.0, intervals=20, time_range=(0.05, 0.2))
    fine, coarse = (
        problem.sample(jax.random.key(0), 2, problem.grid(points, 2)) for points in (21, 11)
    )
    np.testing.assert_allclose(coarse.outputs, fine.outputs[..., ::2, ::2], atol=1e-12)
    assert (
        coarse.outputs.shape[-1] == 11
    )  # with both walls, which thinning 20 nodes by two would not have


@pytest.mark.parametrize("field", ["velocity_y", "stream_function", "vorticity"])
def test_every_field_of_a_member_is_that_of_the_same_flow(field):
    problem = Cavity(reynolds=50.0, field=field, intervals=10, time_range=(0.05, 0.2))
    grid = problem.grid(11, 2)
    samples = problem.sample(jax.random.key(0), 2, grid)
    whole = problem.flow(float(samples.parameter[0]), **grid.mesh())
    np.testing.assert_allclose(samples.outputs[0], getattr(whole, field), atol=1e-11)
    assert len(samples.boundary) == (
        0 if field == "vorticity" else 4
    )  # wall vorticity is part of the solution
    np.testing.assert_array_equal(
        samples.inputs, np.broadcast_to(np.asarray(samples.parameter)[:, None, None], (2, 11, 11))
    )


def test_what_is_no_square_mesh_is_refused():
    problem = Cavity(intervals=10)
    with pytest.raises(ValueError, match="equally many points"):
        problem.sample(jax.random.key(0), 2, Grid(x=np.linspace(0, 1, 5), y=np.linspace(0, 1, 9)))
    with pytest.raises(ValueError, match="open mesh"):
        problem.flow(1.0, 0.1, np.linspace(0, 1, 5), np.linspace(0, 1, 5))
    with pytest.raises(ValueError, match="Widen speeds"):
        problem.flow(2.0, 0.1, **problem.grid(5).mesh())
    with pytest.raises(ValueError, match="4 nodes"):
        cavity_flow(1.0, viscosity=0.1, nodes=3, times=np.array([0.1]), step=1e-3)
