"""Quadrature: exact on its class of functions, of its order elsewhere, on equal and unequal
spacings.
"""

import numpy as np
import pytest

from bayescons.axes.quadrature import RULES, bridge_widths, quadrature_weights

EPS = float(np.finfo(float).eps)
EQUAL = np.linspace(-1.0, 2.0, 11)
UNEQUAL = np.array([-1.0, -0.7, -0.65, 0.0, 0.4, 0.9, 1.0, 1.6, 2.0])
points = pytest.mark.parametrize("points", [EQUAL, UNEQUAL], ids=["equal", "unequal"])


def integral(power, low=-1.0, high=2.0):
    return (high ** (power + 1) - low ** (power + 1)) / (power + 1)


@points
@pytest.mark.parametrize(("rule", "degree"), [("trapezoid", 1), ("simpson", 2)])
def test_a_rule_is_exact_on_polynomials_of_its_degree(points, rule, degree):
    weights = quadrature_weights(points, rule)
    for power in range(degree + 1):
        assert weights @ points**power == pytest.approx(integral(power), rel=32 * EPS)


def test_simpsons_rule_is_exact_on_cubics_where_spacings_are_equal():
    assert quadrature_weights(EQUAL, "simpson") @ EQUAL**3 == pytest.approx(
        integral(3), rel=32 * EPS
    )


def test_the_midpoint_rule_is_exact_for_cell_averages():
    edges = np.linspace(0.0, 1.0, 9)
    centres, averages = (edges[1:] + edges[:-1]) / 2, np.diff(edges**4 / 4) / np.diff(edges)
    assert quadrature_weights(centres, "midpoint") @ averages == pytest.approx(1 / 4, rel=32 * EPS)


def test_the_midpoint_rule_is_spectral_for_a_periodic_field_without_its_last_point():
    points = np.arange(16) / 16
    exact = 1.2660658777520084  # the mean of exp(cos): modified Bessel function I_0(1)
    assert quadrature_weights(points, "midpoint") @ np.exp(
        np.cos(2 * np.pi * points)
    ) == pytest.approx(exact, rel=32 * EPS)


@pytest.mark.parametrize(("rule", "order"), [("trapezoid", 2), ("simpson", 4)])
def test_a_rule_converges_at_its_order(rule, order):
    sizes = np.array([9, 17, 33, 65])
    errors = []
    for size in sizes:
        points = np.linspace(0, 1, size)
        errors.append(abs(quadrature_weights(points, rule) @ np.exp(points) - np.expm1(1.0)))
    slope = -np.polyfit(np.log(sizes - 1), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.05)


def test_the_midpoint_rule_converges_at_order_two():
    sizes, errors = np.array([8, 16, 32, 64]), []
    for size in sizes:
        points = (np.arange(size) + 0.5) / size
        errors.append(abs(quadrature_weights(points, "midpoint") @ np.exp(points) - np.expm1(1.0)))
    assert -np.polyfit(np.log(sizes), np.log(errors), 1)[0] == pytest.approx(2, abs=0.05)


@points
@pytest.mark.parametrize("rule", ["trapezoid", "midpoint"])
def test_weights_are_positive(points, rule):
    assert (quadrature_weights(points, rule) > 0).all()


@points
def test_the_widths_of_the_intervals_add_up_to_the_domain(points):
    assert bridge_widths(points).sum() == pytest.approx(3.0, rel=16 * EPS)


def test_an_unknown_rule_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=f"unknown quadrature rule 'gauss'; choose one of {', '.join(RULES)}"
    ):
        quadrature_weights(EQUAL, "gauss")


def test_one_point_is_refused():
    with pytest.raises(ValueError, match="needs at least two points; got 1"):
        quadrature_weights(EQUAL[:1])


def test_simpsons_rule_on_an_even_number_of_points_is_refused():
    with pytest.raises(
        ValueError,
        match=r"odd number of points; got 10\. Add or drop a point, or use rule='trapezoid'",
    ):
        quadrature_weights(EQUAL[:-1], "simpson")
