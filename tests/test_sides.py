"""Sides and boundaries: what they observe, what values they take, and what they say where something
does not fit.
"""

import jax.numpy as jnp
import numpy as np
import pytest

import bayescons as bc
from bayescons.functionals import BoundaryCondition, BoundaryConditions

EPS = np.finfo(float).eps
LINE = bc.Grid(x=np.linspace(-1.0, 2.0, 12))
PLANE = bc.Grid(t=np.linspace(0, 1, 3), x=np.linspace(0, 1, 9), y=np.linspace(0, 2, 7))
WALLS = (
    BoundaryCondition("x", "lower"),
    BoundaryCondition("y", "lower", "neumann"),
    BoundaryCondition("x", "upper", "neumann"),
    BoundaryCondition("y", "upper", "robin", coefficients=(2.0, -0.5)),
)


def walls():
    return BoundaryConditions(PLANE, WALLS)


def field(seed=0, grid=PLANE):
    return jnp.asarray(np.random.default_rng(seed).normal(size=grid.shape))


@pytest.mark.parametrize(
    ("end", "order"), [(e, p) for e in ("lower", "upper") for p in (1, 2, 3, 4)]
)
def test_a_slope_is_exact_for_polynomials_up_to_its_order(end, order):
    x = LINE["x"]
    for degree in range(order + 1):
        polynomial = np.polynomial.Polynomial(np.arange(1.0, degree + 2))
        value, slope = (p(x[0 if end == "lower" else -1]) for p in (polynomial, polynomial.deriv()))
        bound = (
            1e3 * EPS * np.abs(polynomial(x)).max() / (x[1] - x[0])
        )  # weights of up to fifty over the spacing, a few products
        row = BoundaryCondition("x", end, "neumann", order=order).functional(LINE)
        assert abs(float(row(polynomial(x))) - slope) <= bound
        robin = BoundaryCondition(
            "x", end, "robin", order=order, coefficients=(2.0, 3.0)
        ).functional(LINE)
        assert abs(float(robin(polynomial(x))) - (2 * value + 3 * slope)) <= 5 * bound


def test_a_side_is_the_functional_of_its_name():
    cases = {
        BoundaryCondition("x", "lower"): bc.dirichlet(PLANE, "x", "lower"),
        BoundaryCondition("x", "upper", "neumann", order=2): bc.neumann(
            PLANE, "x", "upper", order=2
        ),
        BoundaryCondition("y", "upper", "robin", order=1, coefficients=(2, 5)): bc.robin(
            PLANE, "y", "upper", value=2, slope=5, order=1
        ),
        BoundaryCondition("y", "both", "periodic"): bc.periodic(PLANE, "y"),
    }
    for side, expected in cases.items():
        np.testing.assert_array_equal(side.functional(PLANE)(field()), expected(field()))


def test_values_of_a_field_come_back_from_one_vector():
    boundary = walls()
    values = boundary.functional(field())
    rows = boundary.value(values)
    assert rows.shape == (boundary.count,) == (sum(np.prod(s) for s in boundary.shapes),)
    for mine, given in zip(boundary.split(rows), values, strict=True):
        np.testing.assert_array_equal(mine, given)


def test_values_may_be_numbers_and_have_batch_axes_in_front():
    boundary = BoundaryConditions(PLANE, WALLS[:1])
    np.testing.assert_array_equal(boundary.value([2]), np.full(21, 2.0))
    several = BoundaryConditions(PLANE, (WALLS[0], WALLS[2]))
    rows = several.value([1.0, jnp.arange(42.0).reshape(2, 3, 7)])
    assert rows.shape == (2, 42)
    np.testing.assert_array_equal(rows[:, 21:], np.arange(42.0).reshape(2, 21))
    np.testing.assert_array_equal(
        BoundaryConditions(LINE, (BoundaryCondition("x", "both", "periodic"),)).value([None]), [0.0]
    )


def test_a_field_agrees_with_itself_at_every_corner_and_is_left_alone():
    boundary = walls()
    values = boundary.functional(field())
    boundary.value(values)  # raises where they disagree
    scale = max(float(jnp.abs(v).max()) for v in values)
    for mine, given in zip(boundary.reconciled(values), values, strict=True):
        np.testing.assert_allclose(mine, given, rtol=0, atol=1e3 * EPS * scale)


def test_of_values_that_disagree_the_later_side_decides():
    boundary = walls()
    values = [v + 1 for v in boundary.functional(field())]
    with pytest.raises(
        ValueError,
        match=r"dirichlet at the lower end of 'x' and neumann at the lower end of 'y' disagree at their corner",
    ):
        boundary.value(values)
    settled = boundary.reconciled(values)
    boundary.value(settled)
    np.testing.assert_array_equal(settled[-1], values[-1])
    lid = BoundaryConditions(
        PLANE,
        (
            BoundaryCondition("x", "lower"),
            BoundaryCondition("x", "upper"),
            BoundaryCondition("y", "upper"),
        ),
    )
    sides = lid.reconciled([0.0, 0.0, 1.0])
    np.testing.assert_allclose(
        sides[0], np.broadcast_to(np.arange(7) == 6, (3, 7)), rtol=0, atol=4 * EPS
    )


def test_value_and_slope_at_one_end_are_two_facts():
    boundary = BoundaryConditions(
        LINE,
        (
            BoundaryCondition("x", "lower"),
            BoundaryCondition("x", "lower", "neumann"),
            BoundaryCondition("x", "upper", "neumann"),
        ),
    )
    assert boundary.rows("x").shape == (3, 12)


def test_boundaries_of_the_same_grid_and_sides_are_equal():
    assert walls() == walls()
    assert hash(walls()) == hash(walls())
    assert walls() != BoundaryConditions(PLANE, WALLS[:2])
    assert BoundaryConditions(LINE, (BoundaryCondition("x", "lower"),)) != BoundaryConditions(
        bc.Grid(x=np.linspace(0, 1, 12)), (BoundaryCondition("x", "lower"),)
    )


REFUSED = {
    "a side is given twice: dirichlet at the lower end of 'x'": (
        BoundaryCondition("x", "lower"),
        BoundaryCondition("x", "lower"),
    ),
    "is implied by the others .* a side is given twice": (
        BoundaryCondition("x", "lower"),
        BoundaryCondition("x", "upper"),
        BoundaryCondition("x", "both", "periodic"),
    ),
    "needs at least one side": (),
    "cannot have end='both'; write one side for 'lower'": (BoundaryCondition("x", "both"),),
    "cannot have end='lower'; write end='both'": (BoundaryCondition("x", "lower", "periodic"),),
    "order of a one-sided slope is 1, 2, 3 or 4; got 5": (
        BoundaryCondition("x", "lower", "neumann", order=5),
    ),
    "needs 5 points; the axis has 3. Lower the order": (
        BoundaryCondition("t", "upper", "neumann", order=4),
    ),
    "unknown axis 'z'": (BoundaryCondition("z", "lower"),),
    "a Robin condition needs a coefficient": (
        BoundaryCondition("x", "lower", "robin", coefficients=(0.0, 0.0)),
    ),
    r"holds at x = 1.1, but the upper point of the axis is 1: .* Keep both end points": (
        BoundaryCondition("x", "upper", at=1.1),
    ),
    r"holds at y = 2.5, but the upper point": (
        BoundaryCondition("y", "both", "periodic", at=(0.0, 2.5)),
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_sides_that_do_not_fit_are_refused(message):
    with pytest.raises(ValueError, match=message):
        BoundaryConditions(PLANE, REFUSED[message])


def test_values_that_do_not_fit_are_refused():
    boundary = BoundaryConditions(
        PLANE, (BoundaryCondition("x", "lower"), BoundaryCondition("x", "upper"))
    )
    with pytest.raises(ValueError, match=r"2 sides .* got values for 1\. Give one array"):
        boundary.value([0.0])
    with pytest.raises(
        ValueError,
        match=r"upper end of 'x' must have shape \(3, 7\) \(t: 3, y: 7\), .* got shape \(3,\)",
    ):
        boundary.value([0.0, jnp.zeros(3)])
    with pytest.raises(ValueError, match=r"different batch axes, \(2,\) and \(4,\)"):
        boundary.value([jnp.zeros((2, 3, 7)), jnp.zeros((4, 3, 7))])
    with pytest.raises(ValueError, match="needs a value; only a periodic side may leave it out"):
        boundary.value([None, 0.0])
