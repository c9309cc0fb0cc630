"""Programs that a newcomer writes, against brute force: every row by automatic differentiation, the
update by dense matrices and a pseudo-inverse.
"""

import itertools
import tempfile

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from scipy import stats

import bayescons as bc
from models import (
    divergence_free,
    insulated_plate,
    network_mean,
    pipe_flow,
    robin_wall,
    scenarios,
    three_species,
)
from tests.test_docs import ROOT, python_blocks

KEY = jax.random.key(3)


def brute(mean, covariance, functions, values, scales):
    """Mean and variance given f(u) = value + noise, for functions of the flat vector."""
    zero = jnp.zeros(len(mean))
    rows = np.concatenate([np.atleast_2d(jax.jacfwd(f)(zero)) for f in functions])
    offsets = np.concatenate([np.atleast_1d(f(zero)) for f in functions])
    noise = np.concatenate([np.full(np.size(v), s) for v, s in zip(values, scales, strict=True)])
    values = np.concatenate([np.ravel(v) for v in values])
    gram = rows @ covariance @ rows.T + np.diag(noise**2)
    gain = covariance @ rows.T @ np.linalg.pinv(gram, rcond=1e-12, hermitian=True)
    moved = mean + gain @ (values - offsets - rows @ mean)
    return moved, np.diag(covariance - gain @ rows @ covariance)


def matern52(points, length):
    """Correlation of the points of an axis, with the documented jitter of 1e-10."""
    apart = np.sqrt(5) * np.abs(np.subtract.outer(points, points)) / length
    return (1 + apart + apart**2 / 3) * np.exp(-apart) + 1e-10 * np.eye(len(points))


def dense_update(mean, covariance, rows, values, noise):
    """Mean and variance given rows @ u = values + noise, by a dense solve, and how far two ways of
    computing them may be apart: n² eps times the condition number of the rows' correlation (Higham,
    Accuracy and Stability, theorem 10.4), as a share of prior standard deviations.
    """
    gram = rows @ covariance @ rows.T + np.diag(noise**2)
    root = np.sqrt(np.diag(gram))
    gram, rows, values = gram / np.outer(root, root), rows / root[:, None], values / root
    gain = np.linalg.solve(gram, rows @ covariance).T
    share = len(rows) ** 2 * np.finfo(float).eps * np.linalg.cond(gram)
    missed = values - rows @ mean
    variance = np.diag(covariance) - np.sum(gain * (covariance @ rows.T), axis=1)
    return mean + gain @ missed, variance, share * max(1.0, np.linalg.norm(missed))


def standard_error(draws):
    """Of the mean of every quantity, of draws (chain, draw, quantity)."""
    ess = [az.ess(draws[..., i], method="mean") for i in range(draws.shape[-1])]
    return draws.std((0, 1)) / np.sqrt(np.array(ess))


def test_fifty_scenarios_close_their_years():
    inputs = scenarios.inputs(KEY)
    posterior = bc.conjugate(scenarios.program)(**inputs)
    step = np.tril(np.ones((12, 12)))
    climate, gauged = np.asarray(scenarios.climate), np.array(scenarios.GAUGED)
    for number in (0, 17, 49):
        mean, variance = brute(
            np.zeros(12),
            0.09 * step @ step.T,
            [lambda u: (climate + u).sum()[None], lambda u: (climate + u)[gauged]],
            [np.zeros(1), inputs["readings"][number]],
            [0.0, 0.1],
        )
        assert np.abs(posterior.mean["anomaly"][number] - mean).max() <= 1e-10
        assert np.abs(posterior.variance["anomaly"][number] - variance).max() <= 1e-10


def test_a_velocity_is_made_free_of_divergence():
    inputs = divergence_free.inputs(KEY)
    u, v = (np.asarray(inputs[f"predicted_{name}"]) for name in "uv")
    posterior = bc.conjugate(divergence_free.program)(**inputs)

    def flat(vector):
        both = vector.reshape(2, *divergence_free.POINTS)
        return divergence_free.divergence(*both).ravel()

    mean, variance = brute(
        np.concatenate([u.ravel(), v.ravel()]),
        0.25 * np.eye(2 * u.size),
        [flat],
        [np.zeros(u.size)],
        [0.0],
    )
    found = [
        np.concatenate([np.ravel(m["u"]), np.ravel(m["v"])])
        for m in (posterior.mean, posterior.variance)
    ]
    assert np.abs(found[0] - mean).max() <= 1e-9
    assert np.abs(found[1] - variance).max() <= 1e-9


@pytest.mark.parametrize("content", [1.0, 1.2])
def test_an_insulated_plate_holds_its_heat(content):
    grid = insulated_plate.grid
    posterior = bc.conjugate(insulated_plate.program)(content)
    kernel = bc.surrogates.separable(
        grid, {"x": 0.4, "y": 0.4}, kernels="matern52", amplitude=0.5
    ).covariance
    covariance = np.asarray(jax.vmap(kernel.mv)(jnp.eye(grid.size).reshape(-1, *grid.shape)))
    shaped = [lambda u: bc.integral(grid, over=("x", "y"))(u.reshape(grid.shape))[None]]
    h = 0.1  # second-order one-sided differences at the walls

    def slopes(u):
        u = u.reshape(grid.shape)
        walls = [(-3 * a[0] + 4 * a[1] - a[2]) / (2 * h) for a in (u, u[::-1], u.T, u.T[::-1])]
        return jnp.concatenate(walls)

    mean, variance = brute(
        np.ones(grid.size),
        covariance.reshape(grid.size, grid.size),
        [*shaped, slopes],
        [np.array([content]), np.zeros(44)],
        [0.0, 0.0],
    )
    assert np.abs(np.ravel(posterior.mean["u"]) - mean).max() <= 1e-7
    assert np.abs(np.ravel(posterior.variance["u"]) - variance).max() <= 1e-7


def rod_law(a):
    """Mean and covariance of the field of `robin_wall` that its laws leave at a diffusivity."""
    grid, size = robin_wall.grid, robin_wall.grid.size
    apart = [np.abs(np.subtract.outer(grid[c], grid[c])) / s for c, s in (("t", 100.0), ("x", 5.0))]
    matern = [
        (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r) + 1e-10 * np.eye(len(r)) for r in apart
    ]
    prior = 20.0**2 * np.kron(*matern)
    rows = []
    for i, j in itertools.product(range(3), range(1, 6)):  # Crank and Nicolson, entry by entry
        row = np.zeros(grid.shape)
        row[i + 1, j] += 1 / 30.0
        row[i, j] -= 1 / 30.0
        row[i : i + 2, j - 1 : j + 2] -= a / 2 * np.array([1.0, -2.0, 1.0]) / 1.5**2
        rows.append(row)
    for i in range(4):  # second-order slopes at the ends
        insulated, washed = np.zeros((2, *grid.shape))
        insulated[i, :3] = np.array([-3.0, 4.0, -1.0]) / 3.0
        washed[i, -3:] = a * np.array([1.0, -4.0, 3.0]) / 3.0
        washed[i, -1] += 0.1
        rows += [insulated, washed]
    rows = np.reshape(rows, (-1, size))
    gain = np.linalg.solve(rows @ prior @ rows.T, rows @ prior).T
    return 50.0 - gain @ (rows @ np.full(size, 50.0)), prior - gain @ rows @ prior


def rod_posterior(readings, log_nodes):
    """E log a, E log² a and E u given the readings: quadrature over log a and, Student's t being a
    scale mixture, an average over precisions of the readings; and the standard errors that the
    average leaves, by the jackknife over batches.
    """
    batches, count = 20, len(readings)
    read = np.eye(28)[np.ravel_multi_index(tuple(map(np.asarray, robin_wall.read_at)), (4, 7))]
    precision = np.random.default_rng(0).gamma(1.5, 1 / 1.5, size=(batches, 1000, count))
    top, below = 0.0, 0.0
    for log_a in log_nodes:
        mean, law = rod_law(np.exp(log_a))
        total = read @ law @ read.T + 2.0**2 / precision[..., None] * np.eye(count)
        missed = readings - read @ mean
        solved = np.linalg.solve(total, np.broadcast_to(missed[:, None], (*total.shape[:-1], 1)))
        solved, log_volume = solved[..., 0], np.linalg.slogdet(total)[1]
        prior = np.exp(-0.5 * ((log_a - np.log(0.5)) / 0.5) ** 2)
        weight = prior * np.exp(-0.5 * (solved @ missed + log_volume))
        field = weight.sum(1)[:, None] * mean + (weight[..., None] * solved).sum(1) @ read @ law
        powers = weight.sum(1)[:, None] * np.array([log_a, log_a**2])
        top = top + np.concatenate([powers, field], axis=1)
        below = below + weight.sum(1)[:, None]
    without = (top.sum(0) - top) / (below.sum(0) - below)
    error = np.sqrt((batches - 1) ** 2 / batches * without.var(0, ddof=1))
    return top.sum(0) / below.sum(0), error


def test_a_quenched_rod_tells_its_diffusivity():
    """Moments of log a and the whole field within 5 standard errors of the chains and of the brute
    force: each is missed once in 1.7 million runs, one of the 30 once in 58,000.
    """
    readings = np.asarray(robin_wall.inputs(KEY)["readings"])
    # Nodes in log a are closer than half its posterior standard deviation, beyond which the rule gains.
    truth, error = rod_posterior(readings, np.arange(-2.0, 1.6, 0.1))
    tree = bc.sample(robin_wall.program, readings, key=0, chains=2, warmup=400, draws=800)
    log_a = np.log(tree.posterior["diffusivity"].to_numpy())
    field = tree.posterior["u"].to_numpy().reshape(*log_a.shape, -1)
    found = np.concatenate([log_a[..., None], log_a[..., None] ** 2, field], axis=-1)
    assert tree.attrs["mixed"] == "yes"
    allowed = 5 * np.hypot(standard_error(found), error)
    assert (np.abs(found.mean((0, 1)) - truth) <= allowed).all()


def test_three_species_stay_on_their_simplex():
    """Means and mean squares within 5 standard errors of those of rejection sampling: each of the
    42 is missed once in 1.7 million runs, one of them once in 41,000.
    """
    readings = np.asarray(three_species.inputs(KEY)["readings"])
    apart = np.sqrt(3) * np.abs(np.subtract.outer(*[three_species.grid["x"]] * 2)) / 0.5
    matern = 0.4**2 * ((1 + apart) * np.exp(-apart) + 1e-10 * np.eye(7))
    whole = np.kron(np.ones((1, 3)), np.eye(7))
    read = np.kron(np.eye(3), np.eye(7)[np.asarray(three_species.read_at)])
    rows, noise = np.concatenate([whole, read]), np.repeat([0.0, 0.05], [7, 6])
    prior = np.kron(np.eye(3), matern)
    gain = np.linalg.solve(rows @ prior @ rows.T + np.diag(noise**2), rows @ prior).T
    missed = np.concatenate([np.ones(7), readings.ravel()]) - rows @ np.full(21, 1 / 3)
    size, axes = np.linalg.eigh(prior - gain @ rows @ prior)
    white = np.random.default_rng(0).normal(size=(100_000, 21)) * np.sqrt(size.clip(0))
    accepted = 1 / 3 + gain @ missed + white @ axes.T
    accepted = accepted[(accepted >= 0).all(1)]
    assert len(accepted) > 10_000

    drawn = three_species.restricted(jax.random.key(1), readings)
    assert float(jnp.abs(drawn.pooled.sum(1) - 1).max()) <= 1e-12
    assert float(drawn.pooled.min()) >= 0
    chains = np.asarray(drawn.draws).reshape(*drawn.draws.shape[:2], 21)
    for power in (1, 2):
        found, wanted = chains**power, accepted**power
        error = np.hypot(standard_error(found), wanted.std(0) / np.sqrt(len(wanted)))
        assert (np.abs(found.mean((0, 1)) - wanted.mean(0)) <= 5 * error).all()


def test_the_flow_rate_is_the_same_through_every_section_of_a_pipe():
    inputs = pipe_flow.inputs(KEY)
    z, r = pipe_flow.grid["z"], pipe_flow.grid["r"]
    posterior = bc.conjugate(pipe_flow.program)(**inputs)
    simpson = (r[1] - r[0]) / 3 * np.array([1.0, *[4.0, 2.0] * 7, 4.0, 1.0])
    flow, wall, slope = 2 * np.pi * r * simpson, np.eye(17)[-1], np.zeros(17)
    slope[:3] = np.array([-3.0, 4.0, -1.0]) / (2 * (r[1] - r[0]))
    laws = np.concatenate([np.kron(np.eye(6), row) for row in (flow, wall, slope)])
    read = np.eye(102)[np.ravel_multi_index(tuple(map(np.asarray, pipe_flow.read_at)), (6, 17))]
    values = np.repeat([inputs["flow_rate"], 0.0, 0.0], 6)
    mean, variance, share = dense_update(
        np.tile(2 * 0.1 * (1 - (r / 0.02) ** 2), 6),
        0.05**2 * np.kron(matern52(z, 0.4), matern52(r, 0.01)),
        np.concatenate([laws, read]),
        np.concatenate([values, inputs["readings"]]),
        np.repeat([0.0, 0.01], [18, 5]),
    )
    assert share <= 1e-8
    assert np.abs(np.ravel(posterior.mean["u"]) - mean).max() <= 0.05 * share
    assert np.abs(np.ravel(posterior.variance["u"]) - variance).max() <= 0.05**2 * share


def test_ones_own_network_is_given_the_heat_of_a_ring():
    inputs = network_mean.inputs(KEY)
    t, x = network_mean.grid["t"], network_mean.grid["x"]
    posterior = bc.conjugate(network_mean.program)(**inputs)
    V, b, W, c = (
        np.asarray(parameter[...], float)
        for layer in (inputs["network"].hidden, inputs["network"].last)
        for parameter in (layer.kernel, layer.bias)
    )
    places = np.stack(np.meshgrid(20 * t, 4 * x - 2, indexing="ij"), axis=-1).reshape(-1, 2)
    guess = (np.tanh(places @ V + b) @ W + c)[:, 0]
    heat, cut = np.full(21, 0.05), np.zeros(21)
    heat[[0, -1]], cut[[0, -1]] = 0.025, (-1.0, 1.0)
    mean, variance, share = dense_update(
        guess,
        0.2**2 * np.kron(matern52(t, 0.05), matern52(x, 0.2)),
        np.concatenate([np.kron(np.eye(6), heat), np.kron(np.eye(6), cut)]),
        np.zeros(12),
        np.zeros(12),
    )
    assert share <= 1e-8
    assert np.abs(guess.reshape(6, 21) @ heat).max() > 0.01  # the network knew no law
    assert np.abs(np.ravel(posterior.mean["u"]) - mean).max() <= 0.2 * share
    assert np.abs(np.ravel(posterior.variance["u"]) - variance).max() <= 0.2**2 * share


def test_an_ensemble_is_conditioned_as_its_page_says(capsys, tmp_path, monkeypatch):
    """docs/ensembles.md against the covariance that it states, formed and solved densely."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    text = (ROOT / "docs/ensembles.md").read_text(encoding="utf-8")
    page = {"__name__": "page"}
    exec(compile(python_blocks(ROOT / "docs/ensembles.md"), "docs/ensembles.md", "exec"), page)
    assert "note:" not in capsys.readouterr().out  # four facts, 39 directions
    assert f"bayescons condition puffs.npz {page['line']} --out" in text

    members = page["members"].reshape(40, -1)
    covariance = np.cov(members, rowvar=False)
    covariance += 0.01**2 * np.trace(covariance) / members.shape[1] * np.eye(members.shape[1])
    trapezoid = np.r_[1.25, np.full(39, 2.5), 1.25]
    rows = np.kron(np.eye(4), trapezoid)
    mean, variance, share = dense_update(members.mean(0), covariance, rows, np.ones(4), np.zeros(4))
    widest = np.sqrt(np.diag(covariance).max())
    with xarray.open_dataset(page["folder"] / "conserved.nc") as found:
        assert share <= 1e-6
        assert np.abs(found["draws_mean"].to_numpy().ravel() - mean).max() <= widest * share
        assert (
            np.abs(found["draws_variance"].to_numpy().ravel() - variance).max() <= widest**2 * share
        )
        evidence = stats.multivariate_normal.logpdf(
            np.ones(4), rows @ members.mean(0), rows @ covariance @ rows.T
        )
        assert abs(found["log_evidence"].item() - evidence) <= share * abs(evidence)
        np.testing.assert_allclose(found["integral_x_before"], (rows @ members.mean(0)), rtol=1e-14)
        assert found["draws"].shape == (40, 4, 41)
        assert np.abs(found["draws"].to_numpy() @ trapezoid - 1).max() <= 1e-12
        gain = covariance @ rows.T @ np.linalg.inv(rows @ covariance @ rows.T)
        moved = members + (1 - members @ rows.T) @ gain.T  # each member, not new draws
        left = found["draws"].to_numpy().reshape(40, -1)
        assert np.abs(left - moved).max() <= widest * share
