"""Laws of the balance: it is its formula, the update with it is the textbook's, unknown fluxes are
found, and known ones are a limit.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from scipy import stats
from scipy.linalg import block_diag

import bayescons as bc
from bayescons.functionals import Bundle, OnBundle
from bayescons.gaussians import BlockDiagonal
from bayescons.problems import PorousMedium, Stefan
from tests.structures import exponential, textbook

EPS = float(np.finfo(float).eps)
# Sums over some thirty numbers of order one and solves with fewer than twenty rows of condition
# number below 1e3.
ROUNDING = 1e4 * EPS
T, X = np.array([0.0, 0.2, 0.5, 1.0]), np.array([0.0, 0.3, 0.5, 0.8, 1.0])
STEPS = np.diff(T)
WEIGHTS = np.convolve(np.diff(X), [0.5, 0.5])
GRID = bc.Grid(t=T, x=X)
KINDS = ("times", "steps")
every_kind = pytest.mark.parametrize("kind", KINDS)
LAWS = {kind: bc.balance(GRID, fluxes=kind) for kind in KINDS}
CELLS = bc.cell_balance(GRID, fluxes="steps")


def integrated(fluxes, kind) -> np.ndarray:
    """∫ dt' over each step, by hand."""
    return STEPS[:, None] * (fluxes if kind == "steps" else (fluxes[1:] + fluxes[:-1]) / 2)


def matrix(functional) -> np.ndarray:
    """The rows of a functional of one field."""
    size = int(np.prod(functional.shape))
    return (
        np.asarray(jax.vmap(functional)(jnp.eye(size).reshape(size, *functional.shape)))
        .reshape(size, -1)
        .T
    )


def both(law) -> np.ndarray:
    """The rows of a law of two fields end to end."""
    return np.hstack([matrix(part) for part in law.parts])


def random_pair(law, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.normal(size=part.shape)) for part in law.parts)


# --- The functional
# -----------------------------------------------------------------------------


@every_kind
def test_a_balance_is_what_is_held_more_less_what_came_in(kind):
    law = LAWS[kind]
    u, fluxes = map(np.asarray, random_pair(law))
    came = np.cumsum(integrated(fluxes, kind) @ [1.0, -1.0])
    held = u @ WEIGHTS
    np.testing.assert_allclose(law(u, fluxes), held[1:] - held[0] - came, rtol=0, atol=64 * EPS)
    np.testing.assert_allclose(law.inflow(fluxes), came, rtol=0, atol=64 * EPS)
    np.testing.assert_allclose(law.change(u), held[1:] - held[0], rtol=0, atol=64 * EPS)


@pytest.mark.parametrize("make", [bc.balance, bc.cell_balance])
@every_kind
def test_the_order_of_the_axes_does_not_matter(make, kind):
    law, turned = make(GRID, fluxes=kind), make(bc.Grid(x=X, t=T), fluxes=kind)
    u, fluxes = random_pair(law)
    assert turned.faces.names == ("x", "t")
    np.testing.assert_allclose(turned(u.T, fluxes.T), law(u, fluxes).T, rtol=0, atol=64 * EPS)
    assert len(turned.labels()) == len(law.labels()) == law(u, fluxes).size


@every_kind
@pytest.mark.parametrize("rule", ["trapezoid", "midpoint"])
def test_cells_add_up_to_the_whole(kind, rule):
    cells, whole = (
        bc.cell_balance(GRID, rule=rule, fluxes=kind),
        bc.balance(GRID, rule=rule, fluxes=kind),
    )
    u, fluxes = random_pair(cells)
    summed = jnp.cumsum(jnp.sum(cells(u, fluxes), axis=1))
    np.testing.assert_allclose(
        summed, whole(u, fluxes[:, jnp.array([0, -1])]), rtol=0, atol=256 * EPS
    )
    widths = np.diff(cells.faces["x"])
    np.testing.assert_allclose(widths @ np.ones(len(X)), np.ptp(cells.faces["x"]), rtol=8 * EPS)
    assert (cells.faces["x"][:-1] <= X).all()
    assert (cells.faces["x"][1:] >= X).all()


def test_the_rule_in_time_is_of_second_order():
    """U = 1 + sin 3t everywhere, fed through the upper wall by F = -3 cos 3t: the rule in space is
    exact, that in time is not.
    """
    counts, errors = np.array([11, 21, 41, 81]), []
    for count in counts:
        grid = bc.Grid(t=np.linspace(0, 1, count), x=X)
        fluxes = np.stack([np.zeros(count), -3 * np.cos(3 * grid["t"])], axis=-1)
        field = np.broadcast_to(1 + np.sin(3 * grid["t"])[:, None], grid.shape)
        errors.append(bc.residuals(bc.balance(grid), (field, fluxes), 0.0).largest)
    order = -np.polyfit(np.log(counts - 1), np.log(errors), 1)[0]
    assert 1.95 < order < 2.05


@pytest.mark.parametrize("problem", [Stefan(0.6), PorousMedium(3.0)], ids=lambda p: p.name)
def test_an_exact_solution_is_off_by_no_more_than_its_totals(problem):
    grid = bc.Grid(
        t=problem.time_range[1] * np.linspace(0.1, 1, 7), x=np.linspace(*problem.space_range, 101)
    )
    total, solution = problem.total(grid["t"]), problem.solution(**grid.mesh())
    law = bc.balance(grid, fluxes="steps")
    net = jnp.diff(total) / np.diff(grid["t"])  # nothing leaves through the upper wall
    found = bc.residuals(law, (solution, jnp.stack([net, jnp.zeros_like(net)], axis=-1)), 0.0)
    off = bc.residuals(bc.integral(grid), solution, total).residual
    np.testing.assert_allclose(found.residual, off[1:] - off[0], rtol=0, atol=64 * EPS)


def test_fluxes_live_on_a_grid_of_their_own():
    assert {kind: law.faces.shape for kind, law in LAWS.items()} == {
        "times": (4, 2),
        "steps": (3, 2),
    }
    np.testing.assert_array_equal(LAWS["times"].faces["t"], T)
    np.testing.assert_array_equal(LAWS["steps"].faces["t"], (T[1:] + T[:-1]) / 2)
    np.testing.assert_array_equal(LAWS["times"].faces["x"], [0, 1])
    assert LAWS["times"].labels() == ["[t=0.2]", "[t=0.5]", "[t=1]"]
    assert CELLS.labels()[6] == "[t=0.5, x=0.3]"


# --- The update
# -----------------------------------------------------------------------------


def fields(structure: str):
    """A belief about the field, mean and covariance of its textbook twin."""
    rng = np.random.default_rng(3)
    mean, scale = rng.normal(size=GRID.shape), rng.uniform(0.5, 1.0, GRID.shape)
    if structure == "diagonal":
        return bc.diagonal(mean, scale), mean, np.diag(scale.ravel() ** 2)
    if structure == "low rank":
        factor = rng.normal(size=(*GRID.shape, 2))
        return (
            bc.low_rank(mean, scale, factor),
            mean,
            np.diag(scale.ravel() ** 2) + (f := factor.reshape(-1, 2)) @ f.T,
        )
    along = exponential(T, 0.5), exponential(X, 0.3)
    return bc.kronecker(mean, along, jitter=0.0), mean, np.kron(*along)


def flux_belief(law, scale=1.0):
    """A rough process in time through each face, and its twin."""
    times, count = law.faces["t"], len(law.faces["x"])
    mean = np.random.default_rng(4).normal(size=law.faces.shape)
    kernel = exponential(times, 0.4)
    return (
        bc.kronecker(mean, (kernel, None), scale=scale, jitter=0.0),
        mean,
        scale**2 * np.kron(kernel, np.eye(count)),
    )


@pytest.mark.parametrize(
    ("law", "structure"),
    [
        (LAWS["times"], "diagonal"),
        (LAWS["steps"], "low rank"),
        (LAWS["times"], "kronecker"),
        (CELLS, "kronecker"),
    ],
    ids=["times, diagonal", "steps, low rank", "times, kronecker", "cells, kronecker"],
)
def test_the_update_with_unknown_fluxes_is_the_textbook(law, structure):
    belief, mean, covariance = fields(structure)
    fluxes, flux_mean, flux_covariance = flux_belief(law)

    def program():
        u = numpyro.sample("u", belief)
        f = numpyro.sample("flux", fluxes)
        bc.observe("balance", law, (u, f), 0.0)
        bc.observe("probe", lambda u: u[1, 2] + 0.5, u, 0.7, 0.1)

    posterior = bc.conjugate(program)()
    rows = np.vstack([both(law), np.eye(1, both(law).shape[1], 7)])
    noise = np.append(np.zeros(len(rows) - 1), 0.1)
    values = np.append(
        np.zeros(len(rows) - 1), 0.2
    )  # the function's own constant is none of the field's
    whole = np.append(mean, flux_mean), block_diag(covariance, flux_covariance)
    expected = textbook(*whole, rows, values, noise**2)
    found = np.append(posterior.mean["u"], posterior.mean["flux"])
    variance = np.append(posterior.variance["u"], posterior.variance["flux"])
    assert np.abs(found - expected.mean).max() <= ROUNDING
    assert np.abs(variance - np.diag(expected.covariance)).max() <= ROUNDING
    assert abs(posterior.log_evidence - expected.log_evidence) <= 10 * ROUNDING
    draws = posterior.sample(jax.random.key(0), (3,))
    assert np.abs(jax.vmap(law)(draws["u"], draws["flux"])).max() <= 1e-12


@every_kind
def test_a_law_with_parts_is_the_function_it_computes(kind):
    law = LAWS[kind]
    (belief, *_), (fluxes, *_) = fields("kronecker"), flux_belief(law)

    def program(functional):
        u, f = numpyro.sample("u", belief), numpyro.sample("flux", fluxes)
        bc.observe("balance", functional, (u, f), 0.0)

    structured, plain = bc.conjugate(program)(law), bc.conjugate(program)(lambda u, f: law(u, f))
    for name in ("u", "flux"):
        np.testing.assert_allclose(structured.mean[name], plain.mean[name], rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(
            structured.variance[name], plain.variance[name], rtol=0, atol=ROUNDING
        )
    assert abs(structured.log_evidence - plain.log_evidence) <= ROUNDING


def test_known_fluxes_are_the_limit_of_sure_ones():
    """What u is told by fluxes of standard deviation s differs from what known ones tell it by a
    multiple of s².
    """
    law = LAWS["times"]
    belief = fields("kronecker")[0]

    def unknown(scale):
        u, f = numpyro.sample("u", belief), numpyro.sample("flux", flux_belief(law, scale)[0])
        bc.observe("balance", law, (u, f), 0.0)

    def known():
        bc.observe(
            "balance", law.change, numpyro.sample("u", belief), law.inflow(flux_belief(law)[1])
        )

    scales, limit = np.array([1e-1, 1e-2, 1e-3]), bc.conjugate(known)()
    found = [bc.conjugate(unknown)(scale) for scale in scales]
    for moment in ("mean", "variance"):
        apart = [
            float(jnp.abs(getattr(f, moment)["u"] - getattr(limit, moment)["u"]).max())
            for f in found
        ]
        assert 1.9 < np.polyfit(np.log(scales), np.log(apart), 1)[0] < 2.1
        assert apart[-1] < 1e-4


def test_the_exact_reading_balances_every_draw():
    law = LAWS["times"]

    def program():
        u, f = (
            numpyro.sample("u", fields("diagonal")[0]),
            numpyro.sample("flux", flux_belief(law)[0]),
        )
        bc.observe("balance", law, (u, f), 0.0)
        return law(u, f)

    assert np.abs(handlers.seed(bc.exact(program), 0)()).max() <= 1e-13


def test_the_error_of_its_rules_is_that_of_their_bridges():
    """In space at t and at t₀, in time over all steps so far, through both walls; in time there is
    none for averages over steps.
    """
    for kind, law in LAWS.items():
        (belief, mean, covariance), (fluxes, flux_mean, flux_covariance) = (
            fields("diagonal"),
            flux_belief(law),
        )
        joint = bc.Gaussian(
            jnp.append(belief.mean.ravel(), fluxes.mean.ravel()),
            BlockDiagonal((belief.covariance, fluxes.covariance)),
        )
        found = bc.quadrature_scale(
            joint, OnBundle(law.parts, (0, 1), Bundle((GRID.shape, law.faces.shape)))
        )
        variance = np.diag(covariance).reshape(GRID.shape)
        space = (
            (np.diff(mean, axis=1) ** 2 + variance[:, 1:] + variance[:, :-1]) @ np.diff(X) ** 2 / 12
        )
        expected = space[1:] + space[0]
        if kind == "times":
            own = np.diag(flux_covariance).reshape(fluxes.mean.shape)
            between = (np.diff(flux_mean, axis=0) ** 2 + own[1:] + own[:-1]).sum(1)
            expected = expected + np.cumsum(STEPS**2 / 12 * between)
        np.testing.assert_allclose(found**2, expected, rtol=1e-12)


def test_the_error_of_a_rule_from_draws_is_at_most_the_bound_and_sees_smoothness():
    belief = bc.kronecker(
        np.zeros(GRID.shape), (exponential(T, 5.0), exponential(X, 5.0)), jitter=0.0
    )
    draws = belief.sample(jax.random.key(0), (4000,))
    found, bound = (
        bc.quadrature_scale(belief, bc.integral(GRID), draws=draws),
        bc.quadrature_scale(belief, bc.integral(GRID)),
    )
    increments = 2 * (1 - np.exp(-np.diff(X) / 5.0))
    expected = np.sqrt(np.diff(X) ** 2 @ increments / 12)
    # Squares of normals: six standard errors of their mean over 4,000 draws, a false alarm in 1e-8
    # of seeds.
    np.testing.assert_allclose(found, expected, rtol=6 * np.sqrt(2 / 4000))
    assert (found < bound / 2).all()


# --- Unknown fluxes are found
# -----------------------------------------------------------------------------

SIMULATIONS = 400
PLACES = (np.array([0, 1, 2, 3, 3]), np.array([1, 4, 2, 0, 3]))


def readings_program(y, believed):
    u = numpyro.sample("u", fields("kronecker")[0])
    f = numpyro.sample("flux", flux_belief(LAWS["times"], believed)[0])
    bc.impose("balance", LAWS["times"], (u, f), 0.0)
    bc.observe("readings", lambda u: u[PLACES], u, y, 0.1)


def inflow_pit(believed: float) -> np.ndarray:
    """Where the true inflow of the whole time lies in its posterior, for fields and fluxes drawn
    from the law's own prior; the fluxes are believed to have `believed` times the standard
    deviation that they have.
    """
    law = LAWS["times"]

    def free():
        u, f = (
            numpyro.sample("u", fields("kronecker")[0]),
            numpyro.sample("flux", flux_belief(law)[0]),
        )
        bc.impose("balance", law, (u, f), 0.0)

    prior = bc.conjugate(free)()
    weights = matrix(law.outflow)[-1]

    def one(key):
        truth, errors = jax.random.split(key)
        drawn = prior.sample(truth, (1,))
        y = drawn["u"][0][PLACES] + 0.1 * jax.random.normal(errors, (len(PLACES[0]),))
        posterior = bc.conjugate(readings_program)(y, believed).components[0]
        row = jnp.concatenate([jnp.zeros(GRID.size), weights])
        spread = jnp.sqrt(row @ posterior.covariance.mv(row))
        return (weights @ drawn["flux"][0].ravel() - row @ posterior.mean) / spread

    return stats.norm.cdf(
        np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(5), SIMULATIONS)))
    )


def test_the_posterior_of_a_flux_is_calibrated():
    pit = inflow_pit(believed=1.0)
    assert stats.kstest(pit, "uniform").pvalue > 1e-3  # a false alarm in one seed of a thousand
    # Binomial: six standard errors, a false alarm in 2e-9 of seeds.
    assert abs(np.mean(np.abs(pit - 0.5) < 0.45) - 0.9) < 6 * np.sqrt(0.9 * 0.1 / SIMULATIONS)


def test_calibration_notices_fluxes_that_are_believed_too_small():
    assert stats.kstest(inflow_pit(believed=0.3), "uniform").pvalue < 1e-3


def test_one_flux_known_tells_the_other():
    """With the field read everywhere at both ends of time and the lower flux known, what left is
    what is missing.
    """
    law = bc.balance(bc.Grid(t=T[:2], x=X), fluxes="steps")
    before, after = np.array([1.0, 2, 1, 0, 1]), np.array([1.5, 2, 2, 1, 0])

    def program():
        u = numpyro.sample("u", dist.Normal(jnp.zeros((2, 5)), 3.0).to_event(2))
        f = numpyro.sample("flux", dist.Normal(jnp.zeros((1, 2)), 10.0).to_event(2))
        bc.observe(
            "field",
            bc.functional(lambda u: u, on=(2, 5)),
            u,
            jnp.stack([jnp.asarray(before), jnp.asarray(after)]),
        )
        bc.observe("inflow", bc.dirichlet(law.faces, "x", "lower"), f, 4.0)
        bc.observe("balance", law, (u, f), 0.0)
        bc.observe("nothing more", lambda f: 0.0 * f[0, 0], f, 0.0, 1.0)

    posterior = bc.conjugate(program)()
    assert (
        abs(posterior.mean["flux"][0, 1] - (4.0 - (after - before) @ WEIGHTS / STEPS[0]))
        <= ROUNDING
    )
    assert posterior.variance["flux"][0, 1] <= 100 * ROUNDING


# --- What it refuses
# -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bc.balance(bc.Grid(x=X)), "unknown axis 't'"),
        (lambda: bc.balance(GRID, over="y"), "unknown axis 'y'"),
        (
            lambda: bc.balance(GRID, over="t"),
            r"needs a grid of two axes, time and one of space; got 't', 'x' with time='t' and over='t'",
        ),
        (lambda: bc.balance(bc.Grid(t=T, x=X, y=X)), r"two axes.*lambda u, f"),
        (lambda: bc.balance(bc.Grid(t=[0.1], x=X)), "this grid has one; give it two or more"),
        (
            lambda: bc.balance(GRID, fluxes="faces"),
            r"'times' \(values at the grid's times\) or 'steps'.*got 'faces'",
        ),
        (lambda: bc.balance(GRID, rule="gauss"), "unknown quadrature rule 'gauss'"),
        (lambda: bc.cell_balance(GRID, rule="simpson"), "no widths of cells"),
        (
            lambda: LAWS["times"](np.zeros((4, 5)), np.zeros((3, 2))),
            r"expects the fluxes with shape \(4, 2\); got \(3, 2\)",
        ),
        (
            lambda: LAWS["times"](np.zeros((5, 4)), np.zeros((4, 2))),
            r"expects the field with shape \(4, 5\); got \(5, 4\)",
        ),
        (
            lambda: bc.residuals(LAWS["times"], (np.zeros((4, 5)),), 0.0),
            r"expected fields of shape \(4, 5\), \(4, 2\); got \(4, 5\)",
        ),
    ],
)
def test_what_makes_no_balance_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "given",
    [lambda u, _: u, lambda u, f: (f, u), lambda u, f: (u, f, f)],
    ids=["one", "turned", "three"],
)
def test_a_statement_of_the_wrong_fields_is_refused(given):
    def program():
        u = numpyro.sample("u", fields("diagonal")[0])
        f = numpyro.sample("flux", flux_belief(LAWS["times"])[0])
        bc.observe("balance", LAWS["times"], given(u, f), 0.0)

    with pytest.raises(ValueError, match=r"'balance'.*law of 2 fields|acts on fields of shape"):
        bc.conjugate(program)()
