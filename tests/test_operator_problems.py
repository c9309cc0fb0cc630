"""Laws of the families for operator learning: every family crossed with every law."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescons.functionals import BoundaryConditions
from bayescons.grids import Grid
from bayescons.problems import (
    BurgersRing,
    BurgersStep,
    BurgersWave,
    Cavity,
    ForcedHeat,
    OperatorProblem,
    Problem,
    StandingWave,
    StokesSecond,
)
from bayescons.problems.operators import aligned, checked_interval

EPS = np.finfo(np.float64).eps
ROUNDING = 1e4 * EPS
CLOSED = [StokesSecond(), ForcedHeat(), BurgersWave(), BurgersStep(), StandingWave()]
SOLVED = [
    BurgersRing(modes=20, resolution=96, step=2e-3),
    Cavity(reynolds=50.0, intervals=20, time_range=(0.02, 0.2)),
]
FAMILIES = CLOSED + SOLVED
every_family = pytest.mark.parametrize("problem", FAMILIES, ids=lambda problem: problem.name)
every_closed_form = pytest.mark.parametrize("problem", CLOSED, ids=lambda problem: problem.name)
POINTS, TIMES, COUNT = 21, 4, 5


@functools.cache
def drawn(problem, times, count=COUNT, seed=0):
    grid = problem.grid(POINTS, times)
    return grid, problem.sample(jax.random.key(seed), count, grid)


def relative(one, other):
    return float(
        np.linalg.norm(np.asarray(one) - np.asarray(other)) / np.linalg.norm(np.asarray(other))
    )


def member(samples, i):
    return jax.tree.map(lambda a: a[i], samples)


# --- samples ---


@pytest.mark.parametrize("times", [1, TIMES])
@every_family
def test_samples_have_the_shapes_that_their_grid_says(problem, times):
    grid, samples = drawn(problem, times)
    space = tuple(len(grid[name]) for name in problem.axes)
    assert isinstance(problem, OperatorProblem)
    assert not isinstance(problem, Problem)
    assert grid.names == (problem.axes if times == 1 else ("t", *problem.axes))
    assert samples.inputs.shape == (COUNT, *space)
    assert samples.outputs.shape == (COUNT, *grid.shape)
    assert all(len(a) == COUNT for a in jax.tree.leaves(samples.parameter))
    shapes = tuple(
        tuple(len(c) for name, c in grid.items() if name != side.axis) for side in problem.sides()
    )
    assert tuple(a.shape for a in samples.boundary) == tuple((COUNT, *shape) for shape in shapes)
    assert all(jnp.isfinite(a).all() and a.dtype == jnp.float64 for a in jax.tree.leaves(samples))


@every_family
def test_a_key_decides_the_samples_and_another_key_draws_others(problem):
    grid, samples = drawn(problem, 1)
    again, others = (problem.sample(jax.random.key(seed), COUNT, grid) for seed in (0, 1))
    for one, same, other in zip(
        *(jax.tree.leaves(s.parameter) for s in (samples, again, others)), strict=True
    ):
        np.testing.assert_array_equal(one, same)
        assert not np.isin(np.asarray(one), np.asarray(other)).any()
    np.testing.assert_array_equal(samples.outputs, again.outputs)


@every_family
def test_the_members_of_a_shorter_set_are_the_first_of_a_longer_one(problem):
    grid, samples = drawn(problem, 1)
    fewer = problem.sample(jax.random.key(0), 2, grid)
    for few, many in zip(jax.tree.leaves(fewer), jax.tree.leaves(samples), strict=True):
        np.testing.assert_allclose(few, many[:2], rtol=ROUNDING, atol=ROUNDING)


@every_family
def test_single_precision_draws_the_same_members(problem):
    grid, samples = drawn(problem, 1)
    with jax.enable_x64(False):
        single = problem.sample(jax.random.key(0), COUNT, grid)
    for one, other in zip(jax.tree.leaves(single), jax.tree.leaves(samples), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_array_equal(one, np.asarray(other).astype(np.float32))


@every_family
def test_a_grid_without_times_holds_the_last_snapshot(problem):
    last, all_times = drawn(problem, 1)[1], drawn(problem, TIMES)[1]
    # The two that are solved take other steps when they stop at other times.
    tolerance = 2e-4 if problem in SOLVED else ROUNDING
    np.testing.assert_allclose(
        last.outputs, all_times.outputs[:, -1], atol=tolerance, rtol=tolerance
    )
    np.testing.assert_array_equal(last.inputs, all_times.inputs)


@pytest.mark.parametrize(
    "problem", [p for p in FAMILIES if p.name != "cavity"], ids=lambda problem: problem.name
)  # at rest
def test_inputs_are_the_state_at_time_zero(problem):
    grid, samples = drawn(problem, 1)
    initial = Grid(t=[0.0, problem.time_range[0]], **grid)
    fields = problem.sample(jax.random.key(0), COUNT, initial).outputs
    np.testing.assert_allclose(fields[:, 0], samples.inputs, rtol=ROUNDING, atol=ROUNDING)
    assert relative(fields[:, 1], samples.inputs) > 1e-4  # and it is not a state that stays


@every_family
def test_members_differ(problem):
    _, samples = drawn(problem, 1)
    for array in (samples.inputs, samples.outputs):
        assert all(relative(array[i], array[0]) > 1e-4 for i in range(1, COUNT))


# --- what is known at the boundary ---


@pytest.mark.parametrize("times", [1, TIMES])
@every_family
def test_outputs_meet_the_values_known_at_their_boundary(problem, times):
    """Values to rounding; slopes to the error of their stencils of third order, h³/4 max
    |∂⁴u/∂x⁴|.
    """
    grid, samples = drawn(problem, times)
    BoundaryConditions(grid, problem.sides()).value(
        samples.boundary
    )  # raises where sides disagree at a corner
    bend = {"forced_heat": (3.99 * np.pi) ** 4, "standing_wave": 4 * np.pi**4}.get(
        problem.name, 0.0
    )
    for side, known in zip(problem.sides(), samples.boundary, strict=True):
        found = jnp.stack([side.functional(grid)(field) for field in samples.outputs])
        if (
            side.kind == "neumann" and times > 1
        ):  # at first, the rod's boundary layer is thinner than a stencil
            found, known = found[:, -1], known[:, -1]
        np.testing.assert_allclose(
            found, known, rtol=0, atol=bend / 4 / (POINTS - 1) ** 3 + ROUNDING
        )


@pytest.mark.parametrize(
    "problem", [ForcedHeat(), StandingWave()], ids=lambda problem: problem.name
)
def test_slopes_of_outputs_approach_the_known_ones_at_the_order_of_the_stencil(problem):
    errors, sizes = [], (41, 81, 161)
    for points in sizes:
        grid = problem.grid(points)
        samples = problem.sample(jax.random.key(0), 2, grid)
        sides = zip(problem.sides(order=3), samples.boundary, strict=True)
        errors.append(
            max(
                float(jnp.abs(side.functional(grid)(samples.outputs[0]) - known[0]).max())
                for side, known in sides
            )
        )
    assert -np.polyfit(np.log(sizes), np.log(errors), 1)[0] > 2.7


def test_boundary_values_are_those_of_the_physics():
    t = np.linspace(0.1, 1.0, 4)
    lower, upper = StokesSecond().sides()
    np.testing.assert_allclose(
        StokesSecond().wall(3.5, lower, t), 2 * np.cos(3.5 * t), rtol=ROUNDING
    )
    np.testing.assert_allclose(StokesSecond(viscosity=0.005).wall(3.5, upper, t), 0.0, atol=1e-7)
    insulated, heated = ForcedHeat().sides()
    np.testing.assert_array_equal(ForcedHeat().wall(3.3, insulated, t), 0.0)
    np.testing.assert_allclose(
        ForcedHeat().wall(3.3, heated, t), 5 * np.sin(np.pi * t), rtol=ROUNDING
    )
    assert (
        abs(float(ForcedHeat().wall(3.3, heated, 0.5)) - 5.0) < ROUNDING
    )  # the published slope at t = 0.5
    states = {"left": 0.8, "right": 0.1}
    for problem in (BurgersWave(viscosity=0.002), BurgersStep(viscosity=0.002)):
        ends = [float(problem.wall(states, side, 0.3)) for side in problem.sides()]
        np.testing.assert_allclose(
            ends, [0.8, 0.1], atol=1e-12
        )  # a thin front leaves both ends at the states behind and ahead


def test_the_lid_drags_the_fluid_and_its_corners_rest():
    grid, samples = drawn(SOLVED[1], TIMES)
    speeds, walls = (
        np.asarray(samples.parameter),
        dict(zip(SOLVED[1].sides(), samples.boundary, strict=True)),
    )
    for side, values in walls.items():
        if (side.axis, side.end) == ("y", "upper"):
            np.testing.assert_allclose(
                values[..., 1:-1], np.broadcast_to(speeds[:, None, None], values[..., 1:-1].shape)
            )
            np.testing.assert_array_equal(values[..., [0, -1]], 0.0)
        else:
            np.testing.assert_array_equal(values, 0.0)
    assert len(grid["x"]) == POINTS


# --- the equations, by differentiation ---


def heat_residual(problem, parameter, t, x):
    rate = jax.grad(problem.solution, 1)(parameter, t, x)
    bend = jax.grad(jax.grad(problem.solution, 2), 2)(parameter, t, x)
    return rate, problem.diffusivity * bend + problem.source(t, x)


def stokes_residual(problem, parameter, t, x):
    return jax.grad(problem.solution, 1)(parameter, t, x), problem.viscosity * jax.grad(
        jax.grad(problem.solution, 2), 2
    )(parameter, t, x)


def burgers_residual(problem, parameter, t, x):
    slope = jax.grad(problem.solution, 2)
    rate = jax.grad(problem.solution, 1)(parameter, t, x)
    return rate, problem.viscosity * jax.grad(slope, 2)(parameter, t, x) - problem.solution(
        parameter, t, x
    ) * slope(parameter, t, x)


@pytest.mark.parametrize(
    ("problem", "terms"),
    [
        (StokesSecond(viscosity=0.02), stokes_residual),
        (ForcedHeat(), heat_residual),
        (BurgersWave(viscosity=0.02), burgers_residual),
        (BurgersStep(viscosity=0.02), burgers_residual),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_closed_forms_satisfy_their_equations(problem, terms):
    random = np.random.default_rng(0)
    t, x = (jnp.asarray(random.uniform(low, 1.0, 200)) for low in (0.05, 0.0))
    parameter = member(problem.draw(jax.random.key(3), 1), 0)
    rate, other = jax.jit(jax.vmap(functools.partial(terms, problem, parameter)))(t, x)
    assert float(jnp.abs(rate).max()) > 0.1
    # Two derivatives of terms up to 1/ν² in size, or of 400 cosines, each with its rounding:
    np.testing.assert_allclose(rate, other, atol=1e6 * EPS * float(jnp.abs(rate).max()))


def test_the_standing_wave_satisfies_the_wave_equation():
    problem, random = StandingWave(speed=1.3), np.random.default_rng(0)
    t, x, y = (jnp.asarray(random.uniform(0, 1, 50)) for _ in range(3))

    def second(axis):
        return jax.vmap(jax.grad(jax.grad(functools.partial(problem.solution, 3.3), axis), axis))(
            t, x, y
        )

    np.testing.assert_allclose(second(0), 1.3**2 * (second(1) + second(2)), atol=ROUNDING * 100)
    np.testing.assert_allclose(
        jax.vmap(jax.grad(functools.partial(problem.solution, 3.3)))(0 * t, x, y),
        0.0,
        atol=ROUNDING,
    )


# --- broadcasting and differentiation ---


@every_closed_form
def test_a_field_on_a_mesh_is_its_values_point_by_point(problem):
    grid, samples = drawn(problem, TIMES)
    first = member(samples, 0)
    points = [a.ravel() for a in np.meshgrid(*grid.values(), indexing="ij")]
    values = problem.solution(first.parameter, *points).reshape(grid.shape)
    np.testing.assert_allclose(values, first.outputs, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(
        problem.solution(first.parameter, **grid.mesh()),
        first.outputs,
        rtol=ROUNDING,
        atol=ROUNDING,
    )


@every_family
def test_solutions_differentiate_in_their_parameter(problem):
    grid = problem.grid(POINTS)
    mesh = {name: jnp.asarray(c) for name, c in grid.mesh().items()}
    parameter = member(problem.draw(jax.random.key(0), 1), 0)
    move = jax.tree.map(jnp.ones_like, parameter)

    def field(parameter):
        return problem.solution(parameter, problem.time_range[1], **mesh)

    _, slope = jax.jvp(field, (parameter,), (move,))
    h = 1e-5
    ahead, behind = (
        field(jax.tree.map(lambda p, m, s=s: p + s * h * m, parameter, move)) for s in (1, -1)
    )
    assert float(jnp.abs(slope).max()) > 1e-4
    np.testing.assert_allclose(
        slope, (ahead - behind) / (2 * h), atol=1e-5 * float(jnp.abs(slope).max()) + 1e-8
    )


def test_aligned_arrays_broadcast_without_rank_promotion():
    scalar, row = aligned(1, np.arange(3))
    assert scalar.shape == (1,)
    assert row.shape == (3,)
    assert scalar.dtype == row.dtype == jnp.float64


# --- what cannot be asked ---


@every_family
def test_grids_without_an_end_point_are_refused(problem):
    axes = {
        name: np.linspace(0, 1, 64)[::2] for name in problem.axes
    }  # thinning that drops the last node
    with pytest.raises(ValueError, match="both end points included"):
        problem.sample(jax.random.key(0), 2, Grid(**axes))
    with pytest.raises(ValueError, match="equally spaced"):
        problem.sample(
            jax.random.key(0),
            2,
            Grid(**{name: np.linspace(0, 1, 11) ** 2 for name in problem.axes}),
        )


@every_family
def test_other_axes_and_times_before_the_start_are_refused(problem):
    good = problem.grid(POINTS, TIMES)
    with pytest.raises(ValueError, match="lives on the axes"):
        problem.sample(jax.random.key(0), 2, Grid(z=np.linspace(0, 1, 5)))
    with pytest.raises(ValueError, match="starts at t = 0"):
        problem.sample(
            jax.random.key(0), 2, Grid(t=[-0.1, 0.1], **{name: good[name] for name in problem.axes})
        )
    with pytest.raises(ValueError, match="n must be a whole number"):
        problem.sample(jax.random.key(0), 0, good)
    with pytest.raises(ValueError, match="points must be a whole number"):
        problem.grid(1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StokesSecond(viscosity=0.0), "viscosity must be"),
        (lambda: StokesSecond(frequencies=(4.0, 3.0)), "frequencies must be an interval"),
        (lambda: ForcedHeat(diffusivity=-1.0), "diffusivity must be"),
        (lambda: ForcedHeat(time_range=(-0.1, 0.5)), "time_range must be an interval"),
        (lambda: StandingWave(amplitudes=(1.0, float("nan"))), "amplitudes must be an interval"),
        (lambda: BurgersWave(rights=(0.0, 0.8)), "states ahead must not exceed"),
        (lambda: BurgersStep(viscosity=float("inf")), "viscosity must be"),
        (lambda: BurgersRing(modes=400), "resolution must be"),
        (lambda: Cavity(field="pressure"), "unknown field|violates|type"),
        (lambda: Cavity(reynolds=0.0), "reynolds must be"),
    ],
)
def test_numbers_without_meaning_are_refused(make, message):
    with pytest.raises(Exception, match=message):
        make()


def test_an_interval_of_equal_ends_fixes_the_number():
    assert checked_interval((3, 3), name="frequencies") == (3.0, 3.0)
    grid = StokesSecond().grid(5)
    samples = StokesSecond(frequencies=(3.0, 3.0)).sample(jax.random.key(0), 2, grid)
    np.testing.assert_array_equal(samples.parameter, 3.0)
