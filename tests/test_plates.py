"""Plates: a statement outside of one sees the array that NumPyro's `sample` returned and may couple
its members; inside, it is about each member. The oracle is dense algebra over all members, its rows
written by loops.
"""

from contextlib import ExitStack

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from scipy.stats import multivariate_normal

import bayescons as bc
from bayescons.programs.members import Member, over_members

KEY = jax.random.key(0)
ROUNDING = 1e-10  # of numbers around one, through at most 40 unknowns and 12 rows


# --- the oracle


def dense(mean, covariance, rows, values, scales):
    """N(mean, covariance) given rows @ u = values with noise: mean, covariance, log evidence."""
    S = rows @ covariance @ rows.T + np.diag(scales**2)
    gain = covariance @ rows.T @ np.linalg.inv(S)
    moved = values - rows @ mean
    evidence = multivariate_normal(rows @ mean, S, allow_singular=False).logpdf(values)
    return mean + gain @ moved, covariance - gain @ rows @ covariance, evidence


def looped(weights, shape, counted):
    """Rows of a function u -> weights . u of what is left of a field of this shape when the axes
    `counted` are members: one block of rows for each member, by a loop.
    """
    rest = [n for a, n in enumerate(shape) if a not in counted]
    rows = []
    for member in np.ndindex(*(shape[a] for a in counted)):
        for w in weights.reshape(-1, *rest):
            row = np.zeros(shape)
            at = [slice(None)] * len(shape)
            for axis, index in zip(counted, member, strict=True):
                at[axis] = index
            row[tuple(at)] = w
            rows.append(row.ravel())
    return np.stack(rows)


class Spec:
    """A random program: plates, a field in them, a latent-free prior, statements in and out."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, 4))
        self.sizes = tuple(int(n) for n in rng.integers(2, 4, count))
        self.event = tuple(int(n) for n in rng.integers(2, 4, rng.integers(0, 2)))
        # dims as users give them: the last plates, or with a free axis between
        gap = int(rng.integers(0, 2)) if count < 3 else 0
        self.dims = tuple(-(count - i) - (gap if i == 0 else 0) for i in range(count))
        batch = [1] * -self.dims[0]
        for dim, size in zip(self.dims, self.sizes, strict=True):
            batch[dim] = size
        self.shape = (*batch, *self.event)
        self.axes = tuple(len(batch) + dim for dim in self.dims)
        self.mean = rng.normal(size=self.shape)
        self.multivariate = bool(self.event) and bool(rng.integers(0, 2))
        if self.multivariate:
            roots = rng.normal(size=(*batch, *self.event, *self.event))
            self.root = np.tril(roots, -1) + 0.8 * np.eye(self.event[0])
        else:
            self.scale = rng.uniform(0.5, 1.5, self.shape)
        self.statements = []
        for i in range(rng.integers(1, 4)):
            inside = tuple(sorted(rng.permutation(count)[: rng.integers(0, count + 1)].tolist()))
            counted = tuple(self.axes[k] for k in inside)
            rest = tuple(n for a, n in enumerate(self.shape) if a not in counted)
            out = tuple(rng.integers(1, 3, rng.integers(0, 2)).tolist())
            weights = rng.normal(size=(*out, *rest))
            sizes = tuple(self.sizes[k] for k in inside)
            values = rng.normal(size=sizes + out)
            exact = i == 0 and 2 * values.size <= self.mean.size
            noise = None if exact else float(rng.uniform(0.1, 1.0))
            self.statements.append((f"s{i}", inside, counted, weights, out, values, noise))

    @property
    def covariance(self):
        if not self.multivariate:
            return np.diag(self.scale.ravel() ** 2)
        size, n = int(np.prod(self.shape)), self.event[0]
        K = np.zeros((size, size))
        for i, root in enumerate(self.root.reshape(-1, n, n)):
            K[i * n : (i + 1) * n, i * n : (i + 1) * n] = root @ root.T
        return K

    def program(self):
        plates = [
            numpyro.plate(f"p{k}", size, dim=dim)
            for k, (size, dim) in enumerate(zip(self.sizes, self.dims, strict=True))
        ]
        with ExitStack() as stack:
            for plate in plates:
                stack.enter_context(plate)
            prior = (
                dist.MultivariateNormal(self.mean, scale_tril=self.root)
                if self.multivariate
                else dist.Normal(self.mean, self.scale).to_event(len(self.event))
            )
            u = numpyro.sample("u", prior)
        for name, inside, _, weights, out, values, noise in self.statements:
            with ExitStack() as stack:
                for k in inside:
                    stack.enter_context(plates[k])
                bc.observe(
                    name,
                    lambda u, w=weights, out=out: jnp.tensordot(w, u, axes=w.ndim - len(out)),
                    u,
                    values,
                    noise,
                )

    def answer(self):
        rows = [looped(w, self.shape, counted) for _, _, counted, w, _, _, _ in self.statements]
        values = [values.ravel() for *_, values, _ in self.statements]
        scales = [np.full(len(r), s[-1] or 0.0) for r, s in zip(rows, self.statements, strict=True)]
        return dense(
            self.mean.ravel(),
            self.covariance,
            np.concatenate(rows),
            np.concatenate(values),
            np.concatenate(scales),
        )


SPECS = range(24)


@pytest.mark.parametrize("seed", SPECS)
def test_statements_inside_and_outside_of_nested_plates_are_those_of_dense_algebra(seed):
    spec = Spec(seed)
    mean, covariance, evidence = spec.answer()
    posterior = bc.conjugate(spec.program)()
    assert np.abs(np.ravel(posterior.mean["u"]) - mean).max() <= ROUNDING
    assert np.abs(np.ravel(posterior.variance["u"]) - np.diag(covariance)).max() <= ROUNDING
    assert abs(posterior.log_evidence - evidence) <= ROUNDING * (1 + abs(evidence))
    assert posterior.mean["u"].shape == spec.shape


@pytest.mark.parametrize("seed", SPECS[:8])
def test_the_exact_reading_of_plates_has_the_mean_and_the_covariance_of_dense_algebra(seed):
    spec = Spec(seed)
    mean, covariance, _ = spec.answer()
    program = bc.exact(spec.program)
    trace = handlers.trace(handlers.seed(program, 0)).get_trace()
    shape = trace["u_free"]["value"].shape

    def push(z):
        known = handlers.substitute(program, data={"u_free": z})
        with handlers.block():
            return handlers.trace(known).get_trace()["u"]["value"].ravel()

    zero = jnp.zeros(shape)
    root = jax.jacfwd(push)(zero).reshape(mean.size, -1)
    assert np.abs(push(zero) - mean).max() <= ROUNDING
    assert np.abs(root @ root.T - covariance).max() <= ROUNDING


@pytest.mark.parametrize("seed", SPECS[:8])
def test_the_soft_reading_of_plates_has_the_density_of_loops(seed):
    spec = Spec(seed)
    u = np.random.default_rng(seed).normal(size=spec.shape)
    prior = multivariate_normal(spec.mean.ravel(), spec.covariance).logpdf(u.ravel())
    expected = prior + sum(
        dist.Normal(looped(w, spec.shape, counted) @ u.ravel(), noise or 0.3)
        .log_prob(values.ravel())
        .sum()
        for _, _, counted, w, _, values, noise in spec.statements
    )
    with handlers.block(), handlers.seed(rng_seed=0):
        found, _ = numpyro.infer.util.log_density(
            bc.soft(spec.program, 0.3), (), {}, {"u": jnp.asarray(u)}
        )
    assert abs(found - expected) <= ROUNDING * (1 + abs(expected))


# --- what people write


def test_five_unknowns_in_a_plate_share_their_sum():
    def program(total):
        with numpyro.plate("n", 5):
            y = numpyro.sample("y", dist.Normal(0.0, 1.0))
        bc.observe("sum", lambda y: y.sum(), y, total)

    posterior = bc.conjugate(program)(2.0)
    assert np.allclose(posterior.mean["y"], 0.4, atol=1e-14)
    assert np.allclose(posterior.variance["y"], 0.8, atol=1e-14)
    assert np.abs(posterior.sample(KEY, 50)["y"].sum(-1) - 2.0).max() <= 1e-13
    tree = bc.sample(program, 2.0, key=0, draws=200, chains=2)
    assert np.abs(tree.posterior["y"].sum("n") - 2.0).max() <= 1e-13
    assert np.abs(tree["constraints"]["sum_residual"]).max() <= 1e-13
    assert bc.check(program, 2.0).ok


def test_a_table_has_the_totals_of_its_columns_and_of_its_rows():
    prior = np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 1.0], [0.5, 0.5, 2.0]])
    columns, rows = np.array([4.0, 3.0, 7.0]), np.array([6.0, 5.0, 3.0])

    def program():
        with numpyro.plate("row", 3, dim=-2), numpyro.plate("column", 3, dim=-1):
            cell = numpyro.sample("cell", dist.Normal(prior, 0.5))
        bc.observe("columns", lambda c: c.sum(0), cell, columns)
        bc.observe("rows", lambda c: c.sum(1), cell, rows)

    posterior = bc.conjugate(program)()
    assert np.allclose(posterior.mean["cell"].sum(0), columns, atol=1e-12)
    assert np.allclose(posterior.mean["cell"].sum(1), rows, atol=1e-12)
    G = np.concatenate([np.kron(np.ones(3), np.eye(3)), np.kron(np.eye(3), np.ones(3))])
    values = np.concatenate([columns, rows])
    moved = np.linalg.pinv(G) @ (values - G @ prior.ravel())  # equal variances: least squares
    assert np.allclose(np.ravel(posterior.mean["cell"]), prior.ravel() + moved, atol=1e-12)


GRID = bc.Grid(x=np.linspace(0, 1, 7))
WEIGHTS = np.full(7, 1 / 6.0)
WEIGHTS[[0, -1]] /= 2
MEAN, SCALE = np.sin(3 * GRID["x"]), 0.1 + 0.2 * GRID["x"]


@pytest.mark.parametrize(
    "law",
    [
        bc.integral(GRID),
        lambda u: WEIGHTS @ u,
        lambda u: (WEIGHTS * u).sum(),
        lambda u: jnp.trapezoid(u, GRID["x"]),
    ],
    ids=["functional", "product", "sum", "trapezoid"],
)
def test_a_field_written_as_a_plate_of_points_has_a_total(law):
    def program():
        with numpyro.plate("x", 7):
            u = numpyro.sample("u", dist.Normal(MEAN, SCALE))
        bc.observe("mass", law, u, 0.9)

    expected, covariance, evidence = dense(
        MEAN, np.diag(SCALE**2), WEIGHTS[None], np.array([0.9]), np.zeros(1)
    )
    posterior = bc.conjugate(program)()
    assert np.abs(posterior.mean["u"] - expected).max() <= ROUNDING
    assert np.abs(posterior.variance["u"] - np.diag(covariance)).max() <= ROUNDING
    assert abs(posterior.log_evidence - evidence) <= ROUNDING


@pytest.mark.parametrize("inside", [True, False])
def test_a_functional_with_a_shape_finds_its_members_wherever_it_is_stated(inside):
    totals = np.array([0.4, 0.5, 0.6])

    def program():
        with numpyro.plate("case", 3):
            u = numpyro.sample("u", dist.Normal(jnp.tile(MEAN, (3, 1)), SCALE).to_event(1))
            if inside:
                bc.observe("mass", bc.integral(GRID), u, totals)
        if not inside:
            bc.observe("mass", bc.integral(GRID), u, totals)

    mean = bc.conjugate(program)().mean["u"]
    for one, total in zip(mean, totals, strict=True):
        expected, *_ = dense(MEAN, np.diag(SCALE**2), WEIGHTS[None], np.array([total]), np.zeros(1))
        assert np.abs(one - expected).max() <= ROUNDING


def test_a_total_over_a_plate_of_smooth_fields_keeps_their_covariance():
    K = np.exp(-((GRID["x"][:, None] - GRID["x"]) ** 2) / 0.1) + 1e-4 * np.eye(7)

    def program():
        with numpyro.plate("case", 3):
            u = numpyro.sample("u", dist.MultivariateNormal(jnp.asarray(MEAN), jnp.asarray(K)))
        bc.observe("all of it", lambda u: (u @ WEIGHTS).sum(), u, 1.5)

    expected, covariance, evidence = dense(
        np.tile(MEAN, 3),
        np.kron(np.eye(3), K),
        np.tile(WEIGHTS, 3)[None],
        np.array([1.5]),
        np.zeros(1),
    )
    posterior = bc.conjugate(program)()
    assert np.abs(np.ravel(posterior.mean["u"]) - expected).max() <= ROUNDING
    assert np.abs(np.ravel(posterior.variance["u"]) - np.diag(covariance)).max() <= ROUNDING
    assert abs(posterior.log_evidence - evidence) <= ROUNDING


def test_latents_above_a_plate_learn_from_its_total():
    """m ~ N(0, 1), y_i ~ N(m, 1), Σ y = 2: E[m | .] by the Gaussian over (m, y)."""

    def program(total):
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        with numpyro.plate("n", 5):
            y = numpyro.sample("y", dist.Normal(m, 1.0))
        bc.observe("sum", lambda y: y.sum(), y, total)

    posterior = bc.conjugate(program, key=KEY, latent_draws=4000)(2.0)
    K = np.eye(5) + 1.0
    expected, *_ = dense(np.zeros(5), K, np.ones((1, 5)), np.array([2.0]), np.zeros(1))
    assert np.abs(posterior.mean["y"] - expected).max() <= 1e-10  # given m, the same for every m
    mean = float((posterior.weights * posterior.latents["m"]).sum())
    spread = np.sqrt(1 / 6)  # of m given the total: variance 1 - 25 / 30
    assert abs(mean - 1 / 3) <= 5 * spread / np.sqrt(posterior.effective_draws)


def test_fields_tied_within_a_plate_and_across_it():
    """Three pairs; in each u - v is known, and the sum of all u."""
    differences = np.array([0.3, -0.2, 0.5])

    def program():
        with numpyro.plate("pair", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, 2)), 1.0).to_event(1))
            v = numpyro.sample("v", dist.Normal(jnp.ones(3), 0.5))
            bc.observe("tie", lambda u, v: u.sum() - v, (u, v), differences)
        bc.observe("all", lambda u: u.sum(), u, 1.0)

    rows = np.zeros((4, 9))  # u by pairs, then v
    for i in range(3):
        rows[i, [2 * i, 2 * i + 1]], rows[i, 6 + i] = 1.0, -1.0
    rows[3, :6] = 1.0
    prior = np.concatenate([np.zeros(6), np.ones(3)])
    variance = np.diag(np.concatenate([np.ones(6), np.full(3, 0.25)]))
    values = np.append(differences, 1.0)
    expected, covariance, evidence = dense(prior, variance, rows, values, np.zeros(4))
    posterior = bc.conjugate(program)()
    found = [
        np.concatenate([np.ravel(m["u"]), m["v"]]) for m in (posterior.mean, posterior.variance)
    ]
    assert np.abs(found[0] - expected).max() <= ROUNDING
    assert np.abs(found[1] - np.diag(covariance)).max() <= ROUNDING
    assert abs(posterior.log_evidence - evidence) <= ROUNDING


def test_members_may_be_tied_to_a_field_that_they_share():
    """u_i = v + w_i with noise: a global field inside a plate is the same for every member."""

    def program():
        v = numpyro.sample("v", dist.Normal(jnp.zeros(2), 2.0).to_event(1))
        with numpyro.plate("n", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, 2)), 1.0).to_event(1))
            bc.observe("near", lambda u, v: u - v, (u, v), jnp.arange(6.0).reshape(3, 2), 0.1)

    rows = np.zeros((6, 8))  # v, then u
    for i in range(3):
        for k in range(2):
            rows[2 * i + k, k], rows[2 * i + k, 2 + 2 * i + k] = -1.0, 1.0
    variance = np.diag(np.concatenate([np.full(2, 4.0), np.ones(6)]))
    expected, *_ = dense(np.zeros(8), variance, rows, np.arange(6.0), np.full(6, 0.1))
    mean = bc.conjugate(program)().mean
    found = np.concatenate([mean["v"], np.ravel(mean["u"])])
    assert np.abs(found - expected).max() <= ROUNDING


def test_likelihoods_below_a_plate_of_fields_are_absorbed():
    y = np.random.default_rng(0).normal(size=(3, 7))

    def program():
        with numpyro.plate("case", 3):
            u = numpyro.sample("u", dist.Normal(jnp.tile(MEAN, (3, 1)), SCALE).to_event(1))
            bc.observe("mass", bc.integral(GRID), u, 0.5)
            numpyro.sample("y", dist.Normal(u, 0.3).to_event(1), obs=y)

    posterior = bc.conjugate(program)()
    rows = np.concatenate([WEIGHTS[None], np.eye(7)])
    scales = np.concatenate([np.zeros(1), np.full(7, 0.3)])
    total = 0.0
    for i in range(3):
        values = np.concatenate([[0.5], y[i]])
        expected, _, evidence = dense(MEAN, np.diag(SCALE**2), rows, values, scales)
        assert np.abs(posterior.mean["u"][i] - expected).max() <= ROUNDING
        total += evidence
    assert abs(posterior.log_evidence - total) <= 10 * ROUNDING
    blocks = posterior["u"].covariance.row_covariance.row_std.shape
    assert blocks == (3, 8)  # and not 24 rows together


def test_likelihoods_of_two_fields_in_a_plate_are_absorbed_member_by_member():
    y = np.random.default_rng(1).normal(size=(40, 2))

    def program():
        with numpyro.plate("case", 40):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((40, 3)), 1.0).to_event(1))
            w = numpyro.sample("w", dist.Normal(0.0, 2.0))
            far = jnp.stack([u[..., 0] + w, u[..., 2] - w], axis=-1)
            numpyro.sample("y", dist.Normal(far, 0.1).to_event(1), obs=y)

    posterior = bc.conjugate(program)()
    rows = np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, -1.0]])
    variance = np.diag([1.0, 1.0, 1.0, 4.0])
    for i in range(40):
        expected, *_ = dense(np.zeros(4), variance, rows, y[i], np.full(2, 0.1))
        found = np.append(posterior.mean["u"][i], posterior.mean["w"][i])
        assert np.abs(found - expected).max() <= ROUNDING
    _, joint = posterior.together(("u", "w"))
    assert joint.covariance.row_covariance.row_std.shape == (40, 2)


@pytest.mark.parametrize("noisy", [False, True])
def test_what_is_stated_of_one_member_inside_a_plate_is_said_of_every_member(noisy):
    one, scale = np.array([1.0, 2.0]), np.array([0.1, 0.2]) if noisy else None

    def program(value, scale):
        with numpyro.plate("case", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, 4)), 1.0).to_event(1))
            bc.observe("ends", lambda u: u[jnp.array([0, 3])], u, value, scale)

    posterior = bc.conjugate(program)(one, scale)
    written = bc.conjugate(program)(np.tile(one, (3, 1)), np.tile(scale, (3, 1)) if noisy else None)
    assert np.array_equal(posterior.mean["u"], written.mean["u"])
    assert np.array_equal(posterior.log_evidence, written.log_evidence)
    weight = 1 / (1 + (0.0 if scale is None else scale) ** 2)
    ends = np.asarray(posterior.mean["u"])[:, [0, 3]]
    assert np.abs(ends - weight * one).max() <= ROUNDING


# --- what is refused


def test_a_statement_in_a_plate_in_which_its_field_does_not_stand_is_refused():
    def program():
        u = numpyro.sample("u", dist.Normal(jnp.zeros(3), 1.0).to_event(1))
        with numpyro.plate("reading", 4):
            bc.observe("again", lambda u: u[0], u, jnp.ones(4), 0.1)

    for read in (bc.conjugate, bc.exact, lambda p: bc.soft(p, 0.1)):
        with pytest.raises(ValueError, match="'again' stands in the plate 'reading', in which its"):
            handlers.seed(read(program), 0)()


def test_a_function_outside_a_plate_that_is_meant_for_a_member_is_told_where_it_stands():
    def program():
        with numpyro.plate("case", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, 7)), 1.0).to_event(1))
        bc.observe("mass", lambda u: u.sum(), u, jnp.ones(3))

    with pytest.raises(
        ValueError, match=r"'mass' stands outside the plate 'case'.*\(3, 7\).*\(7,\)"
    ):
        bc.conjugate(program)()

    def wrong():
        with numpyro.plate("case", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, 7)), 1.0).to_event(1))
        bc.observe("mass", lambda u: WEIGHTS @ u, u, jnp.ones(3))

    with pytest.raises(TypeError) as raised:
        bc.conjugate(wrong)()
    assert "'mass' stands outside the plate 'case'" in "".join(raised.value.__notes__)


def test_a_functional_of_a_shape_that_no_part_of_the_field_has_is_refused():
    def program():
        with numpyro.plate("a", 4), numpyro.plate("b", 3):
            u = numpyro.sample("u", dist.Normal(0.0, 1.0))
        bc.observe("mass", bc.integral(bc.Grid(x=np.linspace(0, 1, 3))), u, 1.0)

    with pytest.raises(
        ValueError, match=r"acts on fields of shape \(3,\); its field has shape \(\)"
    ):
        bc.conjugate(program)()


def test_plain_numpyro_reads_a_noisy_statement_in_a_plate_or_says_that_it_cannot():
    def program(n):
        with numpyro.plate("case", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, n)), 1.0).to_event(1))
            bc.observe("first", lambda u: u[0], u, jnp.arange(3.0), 0.5)

    u = np.random.default_rng(0).normal(size=(3, 4))
    found, _ = numpyro.infer.util.log_density(program, (4,), {}, {"u": u})
    expected = dist.Normal(0, 1).log_prob(u).sum()
    expected += dist.Normal(u[:, 0], 0.5).log_prob(jnp.arange(3.0)).sum()
    assert abs(found - expected) <= ROUNDING
    with pytest.raises(ValueError, match="cannot be told under plain NumPyro"):
        numpyro.infer.util.log_density(program, (3,), {}, {"u": u[:, :3]})


def test_rows_are_named_by_their_members():
    def program():
        with numpyro.plate("case", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, 7)), 1.0).to_event(1))
            bc.observe("left", lambda u: u[0], u, jnp.array([0.0, 1.0, 2.0]))
        bc.observe("again", lambda u: u[:, 0], u, jnp.array([0.0, 1.5, 2.0]))

    with pytest.raises(bc.InconsistentConstraintsError, match=r"left\[case=1\]"):
        bc.conjugate(program)()


def test_functions_of_members_are_mapped_over_the_axes_of_each_field():
    a, b = np.arange(24.0).reshape(2, 3, 4), np.arange(12.0).reshape(3, 4)
    axes = [Member("m", (1, 0)).axes, Member("n", (2, None)).axes]
    found = over_members(lambda x, y: (x.sum(), y.sum()), axes)(a, b)
    assert np.allclose(found[0], a.sum(0))
    assert np.allclose(found[1], np.tile(b.sum(1)[:, None], (1, 4)))


def test_a_posterior_names_its_plates_in_a_tree():
    def program():
        with numpyro.plate("case", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, 7)), 1.0).to_event(1))
            v = numpyro.sample("v", dist.Normal(jnp.zeros(3), 1.0))
            bc.observe("tie", lambda u, v: u.sum() - v, (u, v), 0.0)

    tree = bc.conjugate(program)().datatree(KEY, 10, grid=GRID)
    assert tree.posterior["u"].dims == ("chain", "draw", "case", "x")
    assert tree.posterior["v"].dims == ("chain", "draw", "case")
    assert np.abs(tree.posterior["u"].sum("x") - tree.posterior["v"]).max() <= 1e-12
