"""Constraints: each functional is the row its formula says, its adjoint is its adjoint, and a
solution satisfies its own conditions.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayescons as bc
from bayescons.functionals.stack import Stack

EPS = float(np.finfo(float).eps)
GRID = bc.Grid(t=np.array([0.0, 0.3, 1.0]), x=np.array([0.0, 0.2, 0.3, 0.7, 1.0]))
T, X = np.meshgrid(GRID["t"], GRID["x"], indexing="ij")
PARABOLA = (
    1 + T + 2 * X + (3 + T) * X**2
)  # every rule and stencil of order 2 is exact in x, but for the trapezoid rule

FUNCTIONALS = {
    "integral": bc.integral(GRID),
    "integral over both": bc.integral(GRID, over=("t", "x")),
    "integral over t": bc.integral(GRID, over="t"),
    "dirichlet": bc.dirichlet(GRID, "x", "upper"),
    "neumann": bc.neumann(GRID, "x", "lower"),
    "robin": bc.robin(GRID, "x", "upper", value=2.0, slope=-0.5),
    "periodic": bc.periodic(GRID, "x"),
    "initial": bc.initial(GRID),
    "second difference": bc.second_difference(GRID, "x"),
    "user function": bc.functional(lambda u: 1.5 + jnp.stack([u[0, 1] - u[1, 2], u.sum()]), GRID),
}
every_functional = pytest.mark.parametrize("name", FUNCTIONALS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dirichlet", PARABOLA[:, -1]),
        ("neumann", np.full(3, 2.0)),
        ("robin", 2 * PARABOLA[:, -1] - 0.5 * (2 + 2 * (3 + GRID["t"]))),
        ("periodic", PARABOLA[:, -1] - PARABOLA[:, 0]),
        ("initial", PARABOLA[0]),
        ("second difference", np.broadcast_to(2 * (3 + GRID["t"])[:, None], (3, 3))),
        ("user function", 1.5 + np.array([PARABOLA[0, 1] - PARABOLA[1, 2], PARABOLA.sum()])),
    ],
)
def test_a_functional_is_its_formula_on_a_parabola(name, expected):
    np.testing.assert_allclose(
        FUNCTIONALS[name](PARABOLA), expected, rtol=1e3 * EPS, atol=1e3 * EPS
    )


def test_an_integral_is_exact_on_its_class():
    line = 1 + T + 2 * X
    np.testing.assert_allclose(bc.integral(GRID)(line), 2 + GRID["t"], rtol=16 * EPS)
    np.testing.assert_allclose(
        bc.integral(GRID, rule="simpson")(PARABOLA),
        2 + GRID["t"] + (3 + GRID["t"]) / 3,
        rtol=16 * EPS,
    )
    np.testing.assert_allclose(bc.integral(GRID, over=("t", "x"))(line), 2.5, rtol=16 * EPS)
    np.testing.assert_allclose(
        bc.integral(GRID, over="t")(line), 1.5 + 2 * GRID["x"], rtol=16 * EPS
    )


def test_slopes_of_a_periodic_field_match():
    grid = bc.Grid(x=np.linspace(0, 1, 201))
    wave = np.sin(2 * np.pi * grid["x"] + 0.4)
    assert abs(bc.periodic(grid, "x")(wave)) <= 16 * EPS
    # two one-sided stencils of order 2: each is off by h^2 u'''/3, the same on both sides to O(h^3)
    assert abs(bc.periodic(grid, "x", derivative=1)(wave)) <= (2 * np.pi) ** 4 / 200**3


@every_functional
def test_the_adjoint_is_the_adjoint(name):
    """<G u, v> = <u, G' v>, as a whole and by rows over every set of axes that G leaves alone."""
    functional, rng = FUNCTIONALS[name], np.random.default_rng(0)
    field, value = rng.normal(size=GRID.shape), rng.normal(size=functional.value_shape)
    inner = np.vdot(functional.linear(field), value)
    assert np.vdot(field, functional.adjoint(value)) == pytest.approx(inner, rel=1e-13)
    for axes in ((), tuple(sorted(functional.pointwise))):
        rows = functional.pack(jnp.asarray(value), axes)
        np.testing.assert_array_equal(functional.unpack(rows, axes), value)
        np.testing.assert_allclose(
            functional.transpose(rows, axes), functional.adjoint(value), rtol=0, atol=1e-12
        )
        np.testing.assert_allclose(
            functional.rows(field, axes),
            functional.pack(functional.linear(field), axes),
            rtol=0,
            atol=1e-12,
        )


def test_a_stack_is_its_members():
    stack, rng = (
        Stack((FUNCTIONALS["integral"], FUNCTIONALS["second difference"])),
        np.random.default_rng(1),
    )
    field = rng.normal(size=GRID.shape)
    assert stack.pointwise == {0}
    rows = stack.rows(field, (0,))
    assert rows.shape == (3, 1 + 3)
    for part, member in zip(stack.unpack(rows, (0,)), stack.members, strict=True):
        np.testing.assert_allclose(part, member(field), rtol=0, atol=1e-12)
    other = rng.normal(size=rows.shape)
    assert np.vdot(rows, other) == pytest.approx(
        np.vdot(field, stack.transpose(jnp.asarray(other), (0,))), rel=1e-13
    )


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("integral", "[t=0]"),
        ("initial", "[x=0]"),
        ("second difference", "[t=0, x=0.2]"),
        ("integral over both", ""),
        ("user function", "[0]"),
    ],
)
def test_rows_are_named_by_their_coordinates(name, first):
    labels = FUNCTIONALS[name].labels()
    assert labels[0] == first
    assert len(labels) == len(set(labels)) == int(np.prod(FUNCTIONALS[name].value_shape))


# Functions of the user


AFFINE = {
    "a difference": lambda u: u[0, 1] - u[1, 2],
    "an offset": lambda u: 3.0 * u[0] + 1e3,
    "a Fourier transform": lambda u: jnp.real(jnp.fft.fft(u, axis=1)),
    "a loop": lambda u: jax.lax.fori_loop(0, 3, lambda i, s: s + u[i], jnp.zeros(5)),
    "a gradient over a small step": lambda u: (u[:, 1:] - u[:, :-1]) / 1e-6,
    "a constant": lambda u: 0.0 * u[0, 0] + 1.0,
    "a sorted sum": lambda u: jnp.sort(u[0]).sum(),
    "relu minus its mirror image": lambda u: jax.nn.relu(u[0]) - jax.nn.relu(-u[0]),
    "a solve": lambda u: jnp.linalg.solve(jnp.eye(5) * 2.0, u[0]),
    "a total of large size": lambda u: 1e12 * u.sum() + 300.0,
}
NOT_AFFINE = {
    "a square": lambda u: jnp.sum(u**2),
    "relu": lambda u: jax.nn.relu(u),
    "relu of one point": lambda u: jax.nn.relu(u[2, 3]),
    "absolute value of one point": lambda u: jnp.abs(u[0, 0]),
    "a clip far out": lambda u: jnp.clip(u[1], -50.0, 50.0),
    "a product": lambda u: u[0, 0] * u[1, 1],
    "a hidden dependence": lambda u: jax.lax.stop_gradient(u) + u,
    "a cube": lambda u: u[0] ** 3,
    "a sine": lambda u: jnp.sin(u[0, 0]),
    "a maximum": lambda u: jnp.max(u),
    "a median": lambda u: jnp.median(u),
    "an order statistic": lambda u: jnp.sort(u[1])[2],
    "the point of the largest size": lambda u: u.ravel()[jnp.argmax(jnp.abs(u))],
    "a limited flux": lambda u: jnp.sum(minmod(u[:, 1:-1] - u[:, :-2], u[:, 2:] - u[:, 1:-1])),
    "a harmonic mean of slopes": lambda u: jnp.sum(
        harmonic(u[:, 1:-1] - u[:, :-2], u[:, 2:] - u[:, 1:-1])
    ),
    "an upwind difference": lambda u: jnp.where(u[0] > 0, u[1] - u[0], u[2] - u[1]),
    "a saturation of large values": lambda u: 1e9 * jnp.tanh(1e-9 * u.sum()),
    "a limit of a million": lambda u: jnp.clip(u[0, 0], -1e6, 1e6),
    "a rounding": lambda u: jnp.round(u[0, 0] * 1e8) / 1e8,
    "a step": lambda u: u.sum() + 5.0 * (u[0, 0] > 0.3),
    "a switch that is far away": lambda u: jnp.where(u[0, 0] > 50.0, 50.0, u[0, 0]),
    "a ratio": lambda u: u[0, 0] / (1 + u[1, 1] ** 2),
}


def minmod(a, b):
    return jnp.where(a * b > 0, jnp.sign(a) * jnp.minimum(jnp.abs(a), jnp.abs(b)), 0.0)


def harmonic(a, b):
    return jnp.where(a * b > 0, 2 * a * b / (a + b), 0.0)


@pytest.mark.parametrize("name", AFFINE)
def test_an_affine_function_is_a_functional(name):
    function = AFFINE[name]
    functional = bc.functional(function, GRID)
    np.testing.assert_allclose(
        functional(PARABOLA), function(jnp.asarray(PARABOLA)), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", NOT_AFFINE)
def test_a_function_that_is_not_affine_is_refused(name):
    with pytest.raises(
        ValueError,
        match=r"not affine in the field.*numpyro.sample\(name, dist.Normal\(f\(u\), scale\), obs=value\)",
    ):
        bc.functional(NOT_AFFINE[name], GRID)


def test_a_function_that_closes_over_a_traced_number_is_judged_by_its_structure():
    @jax.jit
    def value(factor):
        return bc.functional(lambda u: factor * u[0, 1] + factor**2, GRID)(PARABOLA)

    assert float(value(2.0)) == pytest.approx(2 * PARABOLA[0, 1] + 4)

    for function in (
        lambda factor, u: factor * u[0, 1] ** 2,
        lambda factor, u: factor * jnp.round(u[0, 1]),
        lambda factor, u: factor * u[0, 1] + (u[1, 1] > factor),
        lambda factor, u: factor * jax.lax.stop_gradient(u[0, 1]) ** 2,
    ):

        @jax.jit
        def wrong(factor, function=function):
            return bc.functional(lambda u: function(factor, u), GRID)(PARABOLA)

        with pytest.raises(ValueError, match="not affine"):
            wrong(2.0)


def test_a_built_in_functional_is_returned_as_it_is():
    assert bc.functional(FUNCTIONALS["integral"], GRID) is FUNCTIONALS["integral"]


def test_something_else_than_a_function_is_refused():
    with pytest.raises(TypeError):
        bc.functional(3.0, GRID)


# Looking before conditioning


def test_check_of_an_exact_solution_finds_nothing():
    assert bc.residuals(FUNCTIONALS["neumann"], PARABOLA, 2.0).largest <= 1e3 * EPS
    assert (
        bc.residuals(
            bc.functional(lambda u: 5.0 + u[0, 0], GRID), PARABOLA, 5.0 + PARABOLA[0, 0]
        ).largest
        <= 1e3 * EPS
    )
    assert bc.residuals(FUNCTIONALS["initial"], PARABOLA, PARABOLA[0]).largest == 0.0


def test_check_names_the_rows_and_their_residuals():
    found = bc.residuals(
        FUNCTIONALS["dirichlet"], PARABOLA, PARABOLA[:, -1] + np.array([0.0, 0.25, 0.0])
    )
    assert found.largest == pytest.approx(0.25)
    np.testing.assert_allclose(found.residual, [0, -0.25, 0], rtol=0, atol=1e-15)
    table = str(found)
    assert "[t=0.3]" in table
    assert "-2.50e-01" in table
    assert "3 rows, largest |residual| 2.50e-01" in table


def test_check_shows_the_ten_largest_of_many_rows():
    grid = bc.Grid(t=np.arange(20.0), x=np.arange(3.0))
    table = str(bc.residuals(bc.integral(grid), np.zeros(grid.shape), np.arange(20.0)))
    assert "20 rows" in table
    assert "the 10 largest are shown" in table
    assert "[t=19]" in table
    assert "[t=5]" not in table


def test_check_measures_the_error_of_a_rule():
    """The trapezoid rule of a parabola is off by h^2/6 times its leading coefficient, per unit
    length: what an exact row would force.
    """
    grid = bc.Grid(x=np.linspace(0, 1, 11))
    assert bc.residuals(bc.integral(grid), grid["x"] ** 2, 1 / 3).residual[0] == pytest.approx(
        0.1**2 / 6, rel=1e-10
    )


def test_check_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r"expected one field of shape \(3, 5\); got \(5, 3\)"):
        bc.residuals(FUNCTIONALS["integral"], PARABOLA.T, 0.0)
    with pytest.raises(ValueError, match=r"expected values of shape \[\(3,\)\]; got \[\(3, 1\)\]"):
        bc.residuals(FUNCTIONALS["integral"], PARABOLA, np.zeros((3, 1)))


# Grids, and what they refuse


def test_a_grid_is_its_axes_in_order():
    assert GRID.names == ("t", "x")
    assert GRID.shape == (3, 5)
    assert GRID.size == 15
    assert GRID.axis("x") == 1
    assert dict(GRID).keys() == {"t", "x"}
    mesh = GRID.mesh()
    assert (mesh["t"] + mesh["x"]).shape == GRID.shape


@pytest.mark.parametrize(
    ("coordinates", "says"),
    [
        (
            [0.0, 1.0, 0.5],
            r"axis 'x' must increase strictly; point 2 \(0.5\) does not lie above point 1 \(1\). Sort",
        ),
        ([0.0, 0.0, 1.0], r"axis 'x' must increase strictly; point 1"),
        ([0.0, np.nan, 1.0], r"axis 'x' holds NaN or infinite coordinates"),
        ([0.0, np.inf], r"axis 'x' holds NaN or infinite coordinates"),
        (
            np.zeros((3, 1)),
            r"axis 'x' must be a one-dimensional array of coordinates; got shape \(3, 1\)",
        ),
        ([], r"axis 'x' must be a one-dimensional array of coordinates; got shape \(0,\)"),
    ],
)
def test_bad_coordinates_are_refused(coordinates, says):
    with pytest.raises(ValueError, match=says):
        bc.Grid(x=coordinates)


def test_a_grid_without_axes_is_refused():
    with pytest.raises(ValueError, match=r"at least one named axis; write Grid\(t=..., x=...\)"):
        bc.Grid()


@pytest.mark.parametrize(
    "make",
    [
        bc.integral,
        lambda g, a: bc.dirichlet(g, a, "lower"),
        bc.initial,
        bc.second_difference,
        bc.periodic,
    ],
)
def test_an_unknown_axis_is_refused_with_the_known_ones(make):
    with pytest.raises(ValueError, match="unknown axis 'y'; the grid has 't', 'x'"):
        make(GRID, "y")


def test_an_unknown_side_is_refused():
    with pytest.raises(ValueError, match="unknown side 'left'; write 'lower'"):
        bc.dirichlet(GRID, "x", "left")


def test_an_integral_over_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one axis to integrate over; write over='x'"):
        bc.integral(GRID, over=())


def test_a_robin_condition_without_coefficients_is_refused():
    with pytest.raises(ValueError, match="a coefficient other than zero; got value=0 and slope=0"):
        bc.robin(GRID, "x", "lower", value=0.0, slope=0.0)


def test_a_robin_condition_with_coefficients_along_the_wall_is_refused():
    with pytest.raises(ValueError, match=r"coefficient 'slope' .* one number; it has shape \(3,\)"):
        bc.robin(GRID, "x", "lower", value=1.0, slope=np.ones(3))


@pytest.mark.parametrize("unknown", ["value", "slope"])
def test_a_random_coefficient_of_a_robin_condition_is_that_of_its_value(unknown):
    """Given the coefficient, the mean is that of the number in its place."""

    def program(number):
        number = numpyro.sample("number", dist.Uniform(0.5, 2.0)) if number is None else number
        coefficients = {"value": 0.7, "slope": 0.7} | {unknown: number}
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(GRID.shape), 1.0))
        bc.impose("wall", bc.robin(GRID, "x", "upper", **coefficients), u, 0.3)

    posterior = bc.conjugate(program, latent_draws=3, key=jax.random.key(0))(None)
    for i, drawn in enumerate(posterior.latents["number"]):
        known = bc.conjugate(program)(float(drawn))
        np.testing.assert_allclose(
            posterior.components[0].mean[i], known.mean["u"], rtol=1e3 * EPS, atol=1e3 * EPS
        )


def test_an_integral_names_each_axis_once():
    with pytest.raises(ValueError, match="integral over x, x names an axis twice"):
        bc.integral(GRID, over=("x", "x"))
