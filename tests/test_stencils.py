"""Stencils: exact on polynomials, of their order elsewhere, on equal and unequal spacings."""

import numpy as np
import pytest

from bayescons.axes.stencils import derivative_weights, end_stencil, interior_stencils

EPS = float(np.finfo(float).eps)
UNEQUAL = np.array([-1.0, -0.7, -0.55, 0.0, 0.4, 0.9, 1.0, 1.6, 2.0])
ENDS = {"lower": UNEQUAL[0], "upper": UNEQUAL[-1]}
every_side = pytest.mark.parametrize("side", ENDS)


@every_side
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("derivative", [1, 2])
def test_an_end_stencil_is_exact_on_polynomials(side, order, derivative):
    weights = end_stencil(UNEQUAL, side, derivative, order)
    for degree in range(derivative + order):
        polynomial = np.polynomial.Polynomial.basis(degree)
        terms = weights * polynomial(UNEQUAL)
        assert (
            abs(terms.sum() - polynomial.deriv(derivative)(ENDS[side]))
            <= 64 * EPS * (1 + np.abs(weights).sum()) * 2**degree
        )


@every_side
@pytest.mark.parametrize("order", [1, 2, 3])
def test_an_end_stencil_converges_at_its_order(side, order):
    sizes, errors = np.array([33, 65, 129, 257]), []
    for size in sizes:
        points = np.linspace(0, 1, size)
        end = points[0 if side == "lower" else -1]
        errors.append(
            abs(
                end_stencil(points, side, 1, order) @ np.sin(2 * points + 0.3)
                - 2 * np.cos(2 * end + 0.3)
            )
        )
    assert -np.polyfit(np.log(sizes - 1), np.log(errors), 1)[0] == pytest.approx(order, abs=0.15)


@every_side
def test_the_zeroth_derivative_at_an_end_is_the_value(side):
    weights = end_stencil(UNEQUAL, side, 0, 2)
    np.testing.assert_array_equal(
        np.flatnonzero(weights), [0 if side == "lower" else len(UNEQUAL) - 1]
    )
    assert weights.sum() == 1.0


def test_the_derivative_is_taken_towards_increasing_x_at_both_ends():
    assert end_stencil(UNEQUAL, "lower", 1, 2) @ UNEQUAL == pytest.approx(1.0, rel=64 * EPS)
    assert end_stencil(UNEQUAL, "upper", 1, 2) @ UNEQUAL == pytest.approx(1.0, rel=64 * EPS)


def test_the_second_difference_is_the_usual_one_on_equal_spacings():
    rows = interior_stencils(np.linspace(0, 1, 5))
    expected = 16.0 * np.array([[1, -2, 1, 0, 0], [0, 1, -2, 1, 0], [0, 0, 1, -2, 1]])
    np.testing.assert_allclose(rows, expected, rtol=0, atol=64 * EPS * 32)


def test_the_second_difference_of_a_parabola_is_two_on_unequal_spacings():
    np.testing.assert_allclose(interior_stencils(UNEQUAL) @ UNEQUAL**2, 2.0, rtol=1e3 * EPS)
    np.testing.assert_allclose(interior_stencils(UNEQUAL) @ UNEQUAL, 0.0, rtol=0, atol=1e3 * EPS)


def test_the_zeroth_derivative_between_points_interpolates():
    weights = derivative_weights(UNEQUAL[:4], 0.1, derivative=0)
    assert weights @ UNEQUAL[:4] ** 3 == pytest.approx(0.1**3, rel=1e-12)


def test_eight_points_are_well_conditioned_in_any_unit():
    """The weights of x and of 1000 x differ by the factor 1/1000 to rounding."""
    points = np.linspace(0, 1, 8)
    np.testing.assert_allclose(
        derivative_weights(1e3 * points, 0.0) * 1e3, derivative_weights(points, 0.0), rtol=1e-10
    )


def test_an_unknown_side_is_refused():
    with pytest.raises(
        ValueError,
        match=r"unknown side 'left'; write 'lower' \(first point\) or 'upper' \(last point\)",
    ):
        end_stencil(UNEQUAL, "left", 1, 2)


def test_order_zero_is_refused():
    with pytest.raises(ValueError, match="order of accuracy must be at least 1; got 0"):
        end_stencil(UNEQUAL, "lower", 1, 0)


def test_an_axis_too_short_for_the_stencil_is_refused():
    with pytest.raises(ValueError, match="derivative 1 at order 4 needs 5 points; the axis has 3"):
        end_stencil(UNEQUAL[:3], "lower", 1, 4)
    with pytest.raises(
        ValueError, match="second difference needs at least three points; the axis has 2"
    ):
        interior_stencils(UNEQUAL[:2])
    with pytest.raises(
        ValueError, match="derivative of order 2 needs at least 3 points; the axis gives 2"
    ):
        derivative_weights(UNEQUAL[:2], 0.0, derivative=2)
