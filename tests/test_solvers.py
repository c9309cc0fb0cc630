"""Laws of the finite-volume solver, crossed with every kind of law and boundary; and the exact
solution of every problem, confirmed.

Orders are slopes of the L1 error of cell averages, fitted over three grids. Where the next term of
the error is a relative c √h with |c| < 1.9, such a slope is within 0.2 of the order that theory
states; that is the tolerance.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from bayescons.problems import Advection, Burgers, Diffusion, PorousMedium, Stefan
from bayescons.solvers import ConservationLaw, Dirichlet, Outflow, Periodic, cell_averages, solve

EPS = float(jnp.finfo(jnp.zeros(()).dtype).eps)
CELLS = (
    24,
    48,
    96,
)  # the fronts below then lie on a face of every grid, at the moments the errors are taken
SLACK = 0.2


def carried(speed, u):
    return speed * u


def steepening(u):
    return u**2 / 2


def conducted(conductivity, u):
    return conductivity * u


def seeping(exponent, u):
    return jnp.maximum(u, 0.0) ** (exponent + 1) / (exponent + 1)


def melted(threshold, u):
    return jnp.maximum(u - threshold, 0.0)


def gas_below(exponent, t):
    return PorousMedium(exponent).lower(t)


def gas_above(exponent, t):
    return PorousMedium(exponent).upper(t)


def heat_above(threshold, t):
    return Stefan(threshold).upper(t)


def rise_passing(t, x):
    """Carried at speed 1."""
    return jnp.tanh(2 * (x - t) - 0.5)


def wave_decaying(t, x):
    """Conducted with k = 0.2."""
    return jnp.exp(-0.2 * 4.0**2 * t) * jnp.sin(4.0 * x + 0.3)


def law_of(problem):
    """A problem's equation and walls, written anew: of the problem itself only wall values are
    used.
    """
    match problem:
        case Advection(speed=b):
            return ConservationLaw(flux=Partial(carried, b), lower=Dirichlet(1.0), upper=Outflow())
        case Burgers(amplitude=a):
            return ConservationLaw(flux=steepening, lower=Dirichlet(a), upper=Outflow())
        case Diffusion(diffusivity=k):
            return ConservationLaw(
                potential=Partial(conducted, k), lower=Periodic(), upper=Periodic()
            )
        case PorousMedium(exponent=m):
            lower, upper = Dirichlet(Partial(gas_below, m)), Dirichlet(Partial(gas_above, m))
            return ConservationLaw(potential=Partial(seeping, m), lower=lower, upper=upper)
        case Stefan(threshold=u):
            return ConservationLaw(
                potential=Partial(melted, u),
                lower=Dirichlet(1.0),
                upper=Dirichlet(Partial(heat_above, u)),
            )


LAWS = {
    family.name: law_of(family())
    for family in (Advection, Burgers, Diffusion, PorousMedium, Stefan)
} | {
    "viscous ring": ConservationLaw(
        flux=steepening, potential=Partial(conducted, 0.1), lower=Periodic(), upper=Periodic()
    ),
    "open ends": ConservationLaw(
        flux=steepening, potential=Partial(melted, 0.2), lower=Outflow(), upper=Outflow()
    ),
}
every_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
every_order = pytest.mark.parametrize("order", [1, 2])


def even(cells, low=0.0, high=1.0):
    return np.linspace(low, high, cells + 1)


def uneven(cells):
    s = even(cells)
    return s + 0.1 * np.sin(2 * np.pi * s) / (2 * np.pi) * 3  # widths from 0.7 to 1.3 of the mean


def rough(seed=0, cells=CELLS[0]):
    return jnp.asarray(np.random.default_rng(seed).uniform(0.0, 1.0, cells))


def slope(errors):
    return -np.polyfit(np.log(CELLS), np.log(errors), 1)[0]


def errors_at(time, law, solution, *, edges=even, **options):
    """The L1 error at a time, on each grid."""
    errors = []
    for faces in map(edges, CELLS):
        initial = cell_averages(functools.partial(solution, 0.0), faces)
        averages = solve(law, initial, edges=faces, times=[0.0, time], **options).averages
        errors.append(distance(averages[-1], functools.partial(solution, time), faces))
    return errors


def distance(averages, function, edges):
    return float(jnp.abs(averages - cell_averages(function, edges)) @ np.diff(edges))


# --- conservation ---


@pytest.mark.float32
@every_order
@every_law
def test_the_total_changes_by_what_passes_the_walls_and_by_nothing_else(law, order):
    edges = uneven(CELLS[0])
    evolution = solve(law, rough(), edges=edges, times=[0.0, 0.1, 0.3], order=order)
    totals = evolution.averages @ jnp.asarray(np.diff(edges))
    through = evolution.through_lower - evolution.through_upper
    size = max(
        1.0, float(jnp.abs(evolution.averages).max()), float(jnp.abs(evolution.through_lower).max())
    )
    # A few roundings each step:
    np.testing.assert_allclose(
        totals - totals[0], through, rtol=0, atol=4 * EPS * evolution.steps * size
    )
    assert evolution.averages.shape == (3, CELLS[0])
    np.testing.assert_array_equal(evolution.averages[0], rough())


@every_order
def test_what_leaves_a_ring_at_one_end_enters_it_at_the_other(order):
    evolution = solve(
        LAWS["viscous ring"], rough(), edges=uneven(CELLS[0]), times=[0.0, 0.1, 0.3], order=order
    )
    np.testing.assert_allclose(
        evolution.through_lower, evolution.through_upper, rtol=EPS * evolution.steps
    )
    assert float(jnp.abs(evolution.through_lower[-1])) > 1e-3


@pytest.mark.float32
@every_order
@pytest.mark.parametrize(
    "walls", [Outflow(), Periodic(), Dirichlet(0.7)], ids=lambda wall: type(wall).__name__
)
def test_a_constant_stays(walls, order):
    law = ConservationLaw(
        flux=steepening, potential=Partial(conducted, 0.1), lower=walls, upper=walls
    )
    constant = jnp.full(CELLS[0], 0.7)
    evolution = solve(law, constant, edges=uneven(CELLS[0]), times=[0.0, 0.1, 0.3], order=order)
    np.testing.assert_array_equal(evolution.averages, jnp.stack([constant] * 3))


# --- no new extrema ---


@pytest.mark.float32
@every_order
@every_law
def test_no_value_leaves_the_range_of_the_first_field_and_the_walls(law, order):
    evolution = solve(
        law, rough(1), edges=uneven(CELLS[0]), times=[0.0, 0.1, 0.3], order=order, courant=1.0
    )
    largest = max(
        [float(rough(1).max())]
        + [
            float(jnp.max(w.imposed(jnp.linspace(0, 0.3, 31)), initial=0))
            for w in (law.lower, law.upper)
        ]
    )
    assert (
        float(evolution.averages.min()) >= min(0.0, float(rough(1).min())) - EPS * evolution.steps
    )
    assert float(evolution.averages.max()) <= largest * (1 + EPS * evolution.steps)


@every_order
@pytest.mark.parametrize(
    "law",
    [
        ConservationLaw(flux=Partial(carried, 1.0), lower=Periodic(), upper=Periodic()),
        ConservationLaw(flux=steepening, lower=Periodic(), upper=Periodic()),
        LAWS["open ends"],
    ],
    ids=["carried", "steepening", "open ends"],
)
def test_the_total_variation_never_grows(law, order):
    """Step by step, at the longest step allowed, over fields of both signs: shocks, fans and
    fronts.
    """
    fields = jnp.asarray(np.random.default_rng(2).normal(size=(50, CELLS[0])))
    times = (
        0.999 * np.arange(21) / CELLS[0]
    )  # where it is carried, one step of the first order each, or two of the second
    run = jax.vmap(
        lambda field: solve(law, field, edges=even(CELLS[0]), times=times, order=order, courant=1.0)
    )
    averages = np.asarray(run(fields).averages)
    if isinstance(law.lower, Periodic):
        averages = np.concatenate([averages, averages[..., :1]], axis=-1)
    variation = np.abs(np.diff(averages)).sum(axis=-1)
    assert (np.diff(variation) <= 100 * EPS * variation[:, :1]).all()


def test_ordered_fields_stay_ordered_to_first_order():
    """What makes a scheme monotone, and with it convergent to the entropy solution whatever the
    law.
    """
    below = (
        rough(3).at[:2].set(jnp.array([0.0, 1.0]))
    )  # equal extremes: both then take the same steps
    above = jnp.maximum(below, rough(4)).at[:2].set(below[:2])
    run = jax.vmap(
        lambda u: (
            solve(
                LAWS["open ends"],
                u,
                edges=even(CELLS[0]),
                times=[0.0, 0.1, 0.3],
                order=1,
                courant=1.0,
            ).averages
        )
    )
    low, high = run(jnp.stack([below, above]))
    assert (low <= high + 10 * EPS).all()
    assert (low < high - 1e-3).any()


@every_order
def test_a_mirrored_law_has_the_mirrored_solution(order):
    def run(speed, lower, upper, field):
        law = ConservationLaw(
            flux=Partial(carried, speed),
            potential=Partial(conducted, 0.01),
            lower=lower,
            upper=upper,
        )
        return solve(law, field, edges=even(CELLS[0]), times=[0.0, 0.1, 0.3], order=order)

    forth, back = (
        run(1.0, Dirichlet(2.0), Outflow(), rough()),
        run(-1.0, Outflow(), Dirichlet(2.0), rough()[::-1]),
    )
    np.testing.assert_allclose(forth.averages, back.averages[:, ::-1], rtol=EPS * forth.steps)
    np.testing.assert_allclose(forth.through_lower, -back.through_upper, rtol=EPS * forth.steps)


# --- orders of convergence, where they are those of the textbook ---


@pytest.mark.parametrize("speed", [1.0, -2.0])
@every_order
def test_a_smooth_wave_on_a_ring_is_carried_to_the_order_of_the_scheme(order, speed):
    """In L1 the flat tops that a limiter makes of the extrema cost nothing."""
    law = ConservationLaw(flux=Partial(carried, speed), lower=Periodic(), upper=Periodic())
    assert (
        abs(
            slope(
                errors_at(
                    0.3,
                    law,
                    lambda t, x: jnp.sin(2 * jnp.pi * (x - speed * t)),
                    order=order,
                    courant=0.5,
                )
            )
            - order
        )
        < SLACK
    )


@pytest.mark.parametrize("edges", [even, uneven])
@every_order
def test_a_smooth_wave_flows_in_and_out_to_the_order_of_the_scheme(order, edges):
    law = ConservationLaw(
        flux=Partial(carried, 1.0), lower=Dirichlet(Partial(rise_passing, x=0.0)), upper=Outflow()
    )
    assert (
        abs(slope(errors_at(0.3, law, rise_passing, edges=edges, order=order, courant=0.5)) - order)
        < SLACK
    )


@pytest.mark.parametrize("edges", [even, uneven])
def test_heat_between_walls_that_change_is_found_to_second_order(edges):
    """Part of a decaying wave, its walls held at the exact values; the half cell between centre and
    wall costs no order.
    """
    lower, upper = (Dirichlet(Partial(wave_decaying, x=x)) for x in (0.0, 1.0))
    law = ConservationLaw(potential=Partial(conducted, 0.2), lower=lower, upper=upper)
    assert abs(slope(errors_at(0.3, law, wave_decaying, edges=edges)) - 2) < SLACK


@every_order
def test_a_jump_up_opens_into_a_fan(order):
    """u = x/t, through the point where characteristics stand still: the jump kept would be a weak
    solution too, but not the entropy one.

    The error is O(h log(1/h)), whose slope on these grids is 0.68, or better.
    """

    def fan(t, x):
        return jnp.clip(x / max(t, 1e-6), -1.0, 1.0)

    law = ConservationLaw(flux=steepening, lower=Outflow(), upper=Outflow())
    errors = errors_at(0.5, law, fan, edges=functools.partial(even, low=-1.0), order=order)
    assert 0.68 < slope(errors) < 1 + SLACK
    assert errors[-1] < 0.05 * 1.5


def test_a_sine_on_a_ring_decays_by_the_factor_of_the_scheme_to_rounding():
    """The second difference has the sine as its eigenvector, and Heun's step multiplies it by 1 + z
    + z²/2.
    """
    edges, time = even(CELLS[0], 0.0, 2 * np.pi), 0.1
    sine = cell_averages(jnp.sin, edges)

    def solved(k):
        law = ConservationLaw(potential=Partial(conducted, k), lower=Periodic(), upper=Periodic())
        return solve(law, sine, edges=edges, times=[0.0, time])

    def factor(k, steps):
        h = edges[1] - edges[0]
        z = -4 * k * np.sin(h / 2) ** 2 / h**2 * time / steps
        return (1 + z + z**2 / 2) ** steps

    steps = solved(2.0).steps
    assert steps == math.ceil(time * 2 * 2.0 / (edges[1] - edges[0]) ** 2 / 0.9)
    np.testing.assert_allclose(
        solved(2.0).averages[-1], factor(2.0, steps) * sine, rtol=0, atol=10 * EPS * steps
    )
    # A traced parameter: the derivative, and many at once.
    _, derivative = jax.jvp(lambda k: solved(k).averages[-1], (2.0,), (1.0,))
    np.testing.assert_allclose(
        derivative, jax.grad(factor)(2.0, steps) * sine, rtol=0, atol=10 * EPS * steps
    )
    many = jax.jit(jax.vmap(solved))(jnp.array([2.0, 3.0, 4.0]))
    for averages, k, count in zip(many.averages[:, -1], (2.0, 3.0, 4.0), many.steps, strict=True):
        np.testing.assert_allclose(
            averages, factor(k, int(count)) * sine, rtol=0, atol=10 * EPS * int(count)
        )


def test_cell_averages_are_exact_for_straight_lines_and_off_by_a_part_of_a_cell_at_jumps():
    edges = uneven(CELLS[0])
    centres = (edges[1:] + edges[:-1]) / 2
    np.testing.assert_allclose(
        cell_averages(lambda x: 3 * x - 1, edges), 3 * centres - 1, rtol=0, atol=10 * EPS
    )
    for at in (0.31, 0.5, 0.77):
        exact = np.clip((at - edges[:-1]) / np.diff(edges), 0, 1)
        averages = cell_averages(lambda x, at=at: jnp.where(x <= at, 1.0, 0.0), edges, points=50)
        np.testing.assert_allclose(averages, exact, rtol=0, atol=1 / 100 + 10 * EPS)


# --- the exact solutions, confirmed ---


def order_in_theory(problem, order):
    """In L1, while the front is inside.

    Advection: h^(p/(p+1)) for a jump that a scheme of order p carries along. Burgers: a shock is
    held to a few cells. Porous medium: off by its own size, h^(1/m), in the cells of the foot; a
    smooth profile's h² otherwise. Stefan: off by h within √h of the front (an estimate; what is
    proved of monotone schemes is less).
    """
    match problem:
        case Advection():
            return order / (order + 1)
        case Burgers():
            return 1.0
        case PorousMedium(exponent=m):
            return min(2.0, 1 + 1 / m)
        case Stefan():
            return 1.5
    return 2.0


def moments(problem):
    """A time at which the front is on a face of all grids, and one when it has left."""
    match problem:
        case Advection(speed=b):
            return 0.25 / b, 1.0 / b
        case Burgers(amplitude=a):
            return 1.5 / a, 3.5 / a
        case PorousMedium():
            return 0.5, 1.2
        case Stefan():
            return (0.25 / (2 * problem.root)) ** 2, 1.3 / (2 * problem.root) ** 2
    return 0.5, 1.0


@functools.cache
def errors_of(problem, order):
    """L1 distances between solver and exact solution, one row for each of the two moments, one
    column for each grid.
    """
    errors = []
    for cells in CELLS:
        edges = even(cells, *problem.space_range)
        initial = cell_averages(problem.initial, edges)
        courant = 0.5 if isinstance(problem, (Advection, Burgers)) else 0.9
        evolution = solve(
            law_of(problem),
            initial,
            edges=edges,
            times=[0.0, *moments(problem)],
            order=order,
            courant=courant,
        )
        truths = [functools.partial(problem.solution, t) for t in moments(problem)]
        errors.append(
            [
                distance(u, truth, edges)
                for u, truth in zip(evolution.averages[1:], truths, strict=True)
            ]
        )
    return np.array(errors).T


# Of each family one parameter of the training range and one outside it.
CONFIRMED = [
    (f(v), order)
    for f, *vs in ((Advection, 2.0, 7.5), (Burgers, 3.0, 5.0))
    for v in vs
    for order in (1, 2)
]
CONFIRMED += [
    (f(v), 2)
    for f, *vs in ((Diffusion, 2.0, 0.5), (PorousMedium, 3.0, 0.7), (Stefan, 0.6, 0.5))
    for v in vs
]
every_case = pytest.mark.parametrize(("problem", "order"), CONFIRMED, ids=str)


@every_case
def test_the_exact_solution_is_confirmed_at_the_order_of_theory(problem, order):
    errors = errors_of(problem, order)[0]
    assert abs(slope(errors) - order_in_theory(problem, order)) < SLACK
    edges = even(CELLS[-1], *problem.space_range)
    size = distance(0.0, functools.partial(problem.solution, moments(problem)[0]), edges)
    assert errors[-1] < 0.05 * size


@every_case
def test_the_exact_solution_is_confirmed_when_its_front_has_left(problem, order):
    errors = errors_of(problem, order)[1]
    if isinstance(
        problem, (Advection, Burgers)
    ):  # the domain is full: only the tail of a smeared jump is still on its way
        assert errors[0] < 1e-2
        assert (errors[1:] < errors[:-1] / 2 + 100 * EPS).all()
    else:
        assert abs(slope(errors) - 2) < SLACK


# --- what cannot be done ---


def run(
    law=LAWS["open ends"], initial=(0.0, 1.0), *, edges=(0.0, 0.5, 1.0), times=(0.0, 1.0), **options
):
    return solve(law, jnp.asarray(initial), edges=np.asarray(edges), times=times, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"edges": [0.0, 0.5, 0.5]},
            r"edges must be finite and increase strictly; got 0.5 after 0.5 at position 2",
        ),
        (
            {"edges": [0.0, 0.5, np.nan]},
            r"edges must be finite and increase strictly; got nan after 0.5",
        ),
        (
            {"edges": [0.0, 1.0]},
            r"edges must be a one-dimensional array of at least 3 numbers; got shape \(2,\)",
        ),
        ({"edges": [[0.0, 0.5, 1.0]]}, r"edges must be .*; got shape \(1, 3\)"),
        (
            {"times": [0.0, 1.0, 0.5]},
            r"times must be finite and increase strictly; got 0.5 after 1 at position 2",
        ),
        ({"times": [0.0]}, r"times must be a one-dimensional array of at least 2 numbers"),
        (
            {"initial": [0.0, 1.0, 2.0]},
            r"one average for each of the 2 cells .* shape \(2,\); got \(3,\).*cell_averages",
        ),
        ({"initial": [[0.0, 1.0]]}, r"shape \(2,\); got \(1, 2\).*jax.vmap"),
        ({"initial": [0.0, np.inf]}, "initial holds NaN or infinite averages"),
        ({"order": 3}, r"order must be 1 \(monotone\) or 2 \(limited slopes\); got 3"),
        ({"courant": -0.5}, "above 0 and at most 1; got -0.5. Write courant=0.9"),
        ({"courant": 1.5}, "above 0 and at most 1; got 1.5"),
        ({"courant": math.nan}, "above 0 and at most 1; got nan"),
        ({"max_steps": 3}, r"\d+ steps are needed and max_steps is 3: \(a\).*\(b\).*\(c\)"),
        (
            {"initial": [0.0, 1e300]},
            r"steps are needed .* \(c\) values, speeds or conductivities are huge",
        ),
    ],
)
def test_bad_input_is_an_error_that_says_what_to_write(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


@pytest.mark.parametrize(
    ("law", "message"),
    [
        ({}, r"needs a flux f\(u\), a potential Φ\(u\), or both; write ConservationLaw\("),
        (
            {"flux": steepening, "lower": Periodic()},
            "one boundary is periodic and the other is not",
        ),
        (
            {"flux": steepening, "upper": 1.0},
            r"upper must be Dirichlet\(value\), Outflow\(\) or Periodic\(\); got 1.0",
        ),
        (
            {"potential": Partial(conducted, -1.0)},
            "potential must not decrease: .* reaches -1; this is ill-posed",
        ),
    ],
)
def test_a_law_that_is_none_is_an_error(law, message):
    with pytest.raises(ValueError, match=message):
        run(ConservationLaw(**({"lower": Outflow(), "upper": Outflow()} | law)))


def test_averages_over_no_points_are_an_error():
    with pytest.raises(ValueError, match="points are the parts of each cell, 1 or more; got 0"):
        cell_averages(jnp.sin, np.linspace(0, 1, 3), points=0)


def test_what_cannot_be_raised_under_jit_is_nan():
    def backwards(k):
        return run(
            ConservationLaw(potential=Partial(conducted, k), lower=Outflow(), upper=Outflow())
        ).averages

    assert jnp.isnan(
        jax.jit(lambda u: run(initial=u, max_steps=3).averages)(jnp.array([0.0, 1.0]))
    ).all()
    assert jnp.isnan(jax.jit(backwards)(-1.0)).all()
