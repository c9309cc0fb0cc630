"""What is no array of real numbers in a known order is refused by name at every door, with what to
write instead.
"""

import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
import xarray

import bayescons as bc

X = np.linspace(0, 1, 5)
GRID, PLANE = bc.Grid(x=X), bc.Grid(t=X, x=X)
DAYS = np.arange("2001-01-01", "2001-01-06", dtype="datetime64[D]")
TOTAL = bc.integral(GRID)


def stated(value, function=lambda u: u):
    def program(value):
        u = numpyro.sample("u", bc.diagonal(np.zeros(5), 1.0))
        bc.observe("fact", function, u, value)

    return bc.conjugate(program)(value)


DOORS = {
    "axis": lambda array: bc.Grid(x=array),
    "mean": lambda array: bc.diagonal(array, 0.1),
    "scale": lambda array: bc.diagonal(X, array),
    "factor": lambda array: bc.low_rank(X[:, None], 0.1, array[:, None, None]),
    "value": lambda array: bc.condition(
        bc.diagonal(X, 1.0), bc.Constraint(bc.functional(lambda u: u, GRID), array)
    ),
    "statement": stated,
    "field": TOTAL,
    "truth": lambda array: bc.residuals(TOTAL, array, 1.0),
}
INPUTS = {
    "complex": (X + 1j, TypeError, "holds complex numbers. Give its real and its imaginary part"),
    "masked": (np.ma.masked_equal(X, 0.5), ValueError, "masked array with 1 masked entries"),
    "dates": (DAYS, TypeError, r"holds dates. Give the time since the first of them in a unit"),
    "spans": (DAYS - DAYS[0], TypeError, r"holds spans of time. Give them in a unit"),
    "text": (X.astype(str), TypeError, r"holds text. Convert it: np.asarray\(values, float\)"),
    "objects": (np.array([None] * 5), TypeError, "holds objects that are no numbers"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", INPUTS)
def test_what_is_no_array_of_real_numbers_is_refused_by_name(door, kind):
    array, error, message = INPUTS[kind]
    with pytest.raises(error, match=message):
        DOORS[door](array)


@pytest.mark.parametrize(
    "array", [np.ma.masked_equal(X, 7.0), xarray.DataArray(X, dims="x"), list(X)], ids=type
)
def test_an_array_that_nothing_is_missing_from_is_an_array(array):
    expected = bc.diagonal(X, 1.0) | bc.Constraint(TOTAL, 0.7)
    found = bc.diagonal(array, 1.0) | bc.Constraint(TOTAL, 0.7)
    assert np.array_equal(expected.mean, found.mean)
    assert bc.Grid(x=array) == GRID
    assert TOTAL(array) == TOTAL(X)
    assert np.array_equal(
        stated(X[:2], lambda u: u[:2]).mean["u"], stated(array[:2], lambda u: u[:2]).mean["u"]
    )


def test_a_data_array_in_another_order_is_brought_into_that_of_the_names():
    by_time = bc.second_difference(PLANE, "x")  # over (t, x)
    value = np.arange(15.0).reshape(5, 3) / 10
    named = xarray.DataArray(value, dims=("t", "x")).transpose("x", "t")
    prior = bc.diagonal(np.zeros(PLANE.shape), 1.0)
    expected, found = (bc.condition(prior, bc.Constraint(by_time, v, 0.1)) for v in (value, named))
    assert np.array_equal(expected.mean, found.mean)

    def program(value):
        u = numpyro.sample("u", prior)
        bc.observe("bends", by_time, u, value, 0.1)

    with_names = bc.conjugate(lambda: program(named))().mean["u"]
    assert np.allclose(with_names, expected.mean, atol=1e-13)


def test_a_data_array_whose_order_cannot_be_compared_is_refused():
    field = xarray.DataArray(np.zeros((5, 5)), dims=("x", "t"))
    total = bc.integral(PLANE, over="x")
    doors = (lambda: bc.diagonal(field, 0.1), lambda: total(field))
    for door in doors:
        with pytest.raises(ValueError, match=r"DataArray over \('x', 't'\).*array.transpose"):
            door()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda u: jnp.fft.fft(u)[1], "gives complex numbers. Observe their .real and .imag"),
        (lambda u: (u > 0).sum(), "gives whole numbers or truth values"),
    ],
)
def test_a_functional_gives_real_numbers(function, message):
    with pytest.raises(ValueError, match=message):
        stated(1.0, function)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            xarray.DataArray(np.zeros(5), dims="t"),
            r"DataArray over \('t',\), and expected are \('x',\)",
        ),
        (
            xarray.DataArray(np.zeros(5), dims="x", coords={"x": PLANE["x"][::-1]}),
            "the coordinates .* along 'x'",
        ),
        (xarray.DataArray(np.zeros(5), dims="x", coords={"x": PLANE["x"] + 0.01}), "interp"),
    ],
)
def test_values_that_stand_elsewhere_are_refused(value, message):
    """Another axis of the same length, the same axis backwards, other points; as value and as
    scale, in a constraint, a program, and of a posterior.
    """
    first, prior = bc.initial(PLANE), bc.diagonal(np.zeros(PLANE.shape), 1.0)

    def program(value, scale):
        u = numpyro.sample("u", prior)
        bc.observe("first", first, u, value, scale)

    posterior = bc.conjugate(program)(0.0, 1.0)
    doors = (
        lambda v, s: bc.condition(prior, bc.Constraint(first, v, s)),
        lambda v, s: bc.conjugate(lambda: program(v, s))(),
        lambda v, s: posterior.observe("again", first, "u", v, s),
    )
    for door in doors:
        for given in ((value, None), (0.0, value + 0.1)):
            with pytest.raises(ValueError, match=message):
                door(*given)


def test_values_that_stand_where_the_functional_does_are_taken():
    first, prior = bc.initial(PLANE), bc.diagonal(np.zeros(PLANE.shape), 1.0)
    x = PLANE["x"]
    values = [
        xarray.DataArray(x**2, dims="x", coords={"x": x}),
        xarray.DataArray(x**2, dims="x", coords={"x": x.astype(np.float32)}),
        xarray.DataArray(x**2, dims="x"),
        xarray.DataArray(x**2),
    ]
    for value in values:
        assert np.array_equal((prior | bc.Constraint(first, value)).mean[0], x**2)
    number = xarray.DataArray(0.3)
    assert np.allclose((prior | bc.Constraint(first, number)).mean[0], 0.3, rtol=0, atol=1e-15)
