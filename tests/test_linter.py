"""The linter finds each planted fault, names it, says what to do about it, and finds nothing where
there is nothing.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayescons as bc
from bayescons.cli import main
from bayescons.gaussians import Diagonal
from bayescons.linting import Finding
from models import one_total, rod_unknown_amplitude
from tests.readings import GRID, KERNEL, MASS, MEAN, WALL, N, row

PLANE = bc.Grid(t=np.linspace(0, 1, 4), x=GRID["x"])
TOTAL = bc.integral(PLANE)


def white(scale=1.0):
    return numpyro.sample("u", dist.Normal(jnp.zeros(N), scale).to_event(1))


def point(i):
    return lambda u: u[i]


def found(report, where: str, about: str = "") -> Finding:
    """The one finding about a statement that says so."""
    (one,) = [
        f
        for f in report.findings
        if f.where.split("[")[0].split(" (")[0] == where and about in f.finding
    ]
    return one


# --- Many faults in one program: each is found, and none hides another
# ----------------------------------------------------------------


def crowded():
    u = white()
    bc.observe("mass", MASS, u, 0.4, "quadrature")
    bc.observe("point", point(1), u, 0.4)
    bc.observe("twice", lambda u: 2 * u[1] + 1.0, u, 1.8)
    bc.observe("far", point(8), u, 50.0)
    bc.observe("small", point(2), u, 0.1, 1e-3)
    bc.observe("pretended", point(3), u, 0.1, 1e-8)
    bc.observe("rounding", point(4), u, 0.1, 1e-17)
    bc.observe("sensor", MASS, u, 0.4, 1e-3)
    bc.observe("missing", point(5), u, np.nan)
    bc.observe("square", lambda u: u[4] ** 2, u, 1.0)
    bc.observe("shape", WALL, u, np.zeros(2))
    bc.observe("circular", WALL, u, u[3])
    bc.observe("no rule", WALL, u, 0.0, "quadrature")
    numpyro.sample("y", dist.Normal(u[6], 1e-4), obs=0.2)
    numpyro.sample("z", dist.Normal(u[jnp.array([6, 7])], 0.5).to_event(1), obs=jnp.zeros(2))
    numpyro.sample("count", dist.Poisson(jnp.exp(u[6])), obs=2)


@pytest.fixture(scope="module")
def report():
    return bc.check(crowded)


@pytest.mark.parametrize(
    ("where", "severity", "finding", "remedy"),
    [
        (
            "square",
            "error",
            "is not affine in the field",
            "Observe it below the field as a likelihood",
        ),
        ("shape", "error", "must have a number", ""),
        ("circular", "error", "depends on 'u', which lies below", "only sites above the field"),
        ("no rule", "error", "this functional is none", "Give its scale as a number"),
        ("missing", "error", "NaN or infinite", "remove or replace"),
        ("far", "warning", "50 standard deviations", "unit and sign"),
        (
            "pretended",
            "warning",
            "1.0e-08 of its prior standard deviation: a noise that stands for an exact fact",
            "leave the scale out",
        ),
        ("rounding", "warning", "below rounding", "leave the scale out"),
        ("small", "note", "1.0e-03 of its prior standard deviation", "bc.exact or bc.conjugate"),
        ("y", "warning", "NUTS freezes on it", "bc.observe(name, functional, u, value, scale)"),
        ("twice", "note", "follows from point, and agrees", "leave it out"),
    ],
)
def test_a_planted_fault_is_found_with_a_remedy(report, where, severity, finding, remedy):
    one = found(report, where)
    assert one.severity == severity
    assert finding in one.finding
    assert remedy in one.remedy
    assert one.remedy


def test_a_total_known_better_than_its_rule_is_warned_of(report):
    """On independent points of unit variance the rule's error is that of Brownian bridges with
    increments of variance two.
    """
    one = found(report, "sensor", "quadrature rule")
    assert one.severity == "warning"
    assert "more than its scale 1.0e-03" in one.finding
    assert "scale='quadrature'" in one.remedy
    told = float(one.finding.split("about ")[1].split()[0])
    assert told == pytest.approx(
        np.sqrt(2 * np.sum(np.diff(GRID["x"]) ** 2) / 12), rel=0.4
    )  # from 16 draws


def test_what_is_well_stated_is_not_spoken_of(report):
    assert not {"mass", "point", "z", "count"} & {f.where for f in report.findings}


def test_the_report_reads_as_a_table_with_the_worst_first(report):
    assert not report.ok
    assert [f.severity for f in report.findings] == sorted(
        (f.severity for f in report.findings), key=["error", "warning", "note"].index
    )
    heading, *lines, summary = str(report).splitlines()
    assert heading.split() == ["severity", "statement", "finding", "remedy"]
    assert len(lines) == len(report.findings)
    assert all(
        f.where in line and f.remedy in line for f, line in zip(report.findings, lines, strict=True)
    )
    assert summary.startswith("13 statements, 8 rows, 7 of them independent, 9 unknowns: 5 errors")
    assert (report.statements, report.rows, report.rank, report.unknowns, report.draws) == (
        13,
        8,
        7,
        N,
        1,
    )


# --- Rows that contradict each other
# --------------------------------------------------------------------------------------------------


def test_a_contradiction_that_the_rule_explains_says_so():
    def program(total, start):
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(PLANE.shape), 1.0))
        bc.observe("mass", TOTAL, u, total)
        bc.observe("start", bc.initial(PLANE), u, start)

    report = bc.check(program, 1e-3, 0.0)
    one = found(report, "mass", "contradicts")
    assert (one.severity, one.where) == ("error", "mass[t=0]")
    deviation = np.sqrt(np.sum(np.asarray(MASS.weights[0]) ** 2))
    assert "contradicts start by 1.0e-03" in one.finding
    assert f"{1e-3 / deviation:.2g} prior standard deviations" in one.finding
    assert "scale='quadrature'" in one.remedy
    assert not any("agrees" in f.finding for f in report.findings)


def test_a_contradiction_that_no_rule_explains_says_so_and_an_agreement_is_none():
    def program(second):
        u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), jitter=0.0))
        bc.observe("first", lambda u: u[2] + u[3], u, 1.0)
        bc.observe("second", lambda u: u[2] + u[3], u, second)

    one = found(bc.check(program, 1.5), "second")
    sum_of_two = row(lambda u: u[2] + u[3])[0]
    assert one.severity == "error"
    assert (
        f"by 5.0e-01, {0.5 / np.sqrt(sum_of_two @ KERNEL @ sum_of_two):.2g} prior standard "
        "deviations" in one.finding
    )
    assert "correct one of them" in one.remedy
    agreeing = bc.check(program, 1.0)
    assert agreeing.ok
    assert [f.where for f in agreeing.findings] == ["second"]


def test_rows_nearly_dependent_are_warned_of():
    covariance = np.eye(3) + (1 - 1e-9) * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])

    def program():
        u = numpyro.sample("u", bc.dense(jnp.zeros(3), covariance, jitter=0.0))
        bc.observe("two", lambda u: u[:2], u, 0.1)

    one = found(bc.check(program), "two")
    assert one.severity == "warning"
    assert "keeps 2e-09 of its variance once the others are known" in one.finding
    assert "rougher kernel" in one.remedy


def test_more_facts_than_points_and_as_many_as_points_are_errors():
    def program(count, more=0):
        u = white()
        bc.observe("all", lambda u: jnp.stack([*u, *u])[:count], u, jnp.zeros(count))
        if more:
            bc.observe("again", lambda u: u[:more], u, jnp.zeros(more))

    assert "more facts than unknowns" in found(bc.check(program, N + 1), "all").finding
    assert "more facts than unknowns" in found(bc.check(program, N - 2, 4), "u").finding
    one = found(bc.check(program, N), "u")
    assert "nothing is left to vary" in one.finding
    assert one.severity == "error"


# --- What the belief holds for certain
# ------------------------------------------------------------------------------------------------


def test_rows_without_prior_variance_are_told_apart():
    def program():
        u = numpyro.sample(
            "u", bc.Gaussian(jnp.zeros(N), Diagonal(jnp.where(jnp.arange(N) < 3, 0.0, 1.0), 1))
        )
        bc.observe("true", point(0), u, 0.0)
        bc.observe("false", point(1), u, 0.1)
        bc.observe("read", point(2), u, 0.1, 0.1)
        bc.observe("wall", point(8), u, 0.1)

    report = bc.check(program)
    assert found(report, "true").severity == "note"
    assert "true already" in found(report, "true").finding
    assert found(report, "false").severity == "error"
    assert "violated there by 1.0e-01" in found(report, "false").finding
    assert "teaches nothing" in found(report, "read").finding
    assert len(report.findings) == 3


def test_what_was_conditioned_on_before_is_known_to_be_certain():
    before = bc.kronecker(MEAN, (KERNEL,), jitter=0.0) | bc.Constraint(WALL, 0.3)

    def program(wall):
        bc.observe("wall", WALL, numpyro.sample("u", before), wall)

    assert found(bc.check(program, 0.3), "wall").severity == "note"
    assert found(bc.check(program, 0.4), "wall").severity == "error"


# --- Latents above the fields
# -----------------------------------------------------------------------------


def above(content=3.0):
    kind = numpyro.sample("kind", dist.Bernoulli(0.5))
    level = numpyro.sample("level", dist.ImproperUniform(dist.constraints.real, (), ()))
    size = numpyro.sample("size", dist.HalfNormal(1.0))
    u = white(1.0 + size)
    bc.observe("either", point(2), u, jnp.where(kind == 1, 0.0, 1.0))
    bc.observe("again", point(2), u, 0.0)
    bc.observe("root", point(4), u, jnp.where(kind == 1, jnp.nan, 0.0))
    bc.observe("content", point(5), u, content + level)
    heavy = numpyro.sample("heavy", dist.Cauchy(jnp.zeros(N), 1.0).to_event(1))
    bc.observe("of heavy", MASS, heavy, 1.0)


@pytest.fixture(scope="module")
def hierarchical():
    return bc.check(above, latent_draws=20)


def test_what_holds_for_some_draws_only_says_for_how_many(hierarchical):
    one, other = found(hierarchical, "again", "contradicts"), found(hierarchical, "again", "agrees")
    times = [int(f.finding.split("(in ")[1].split()[0]) for f in (one, other)]
    assert sum(times) == 20
    assert 1 <= times[0] <= 19  # of 20 fair coins; a false alarm in 2e-6 of seeds
    assert f"(in {times[1]} of 20 draws)" in found(hierarchical, "root").finding
    assert hierarchical.draws == 20
    assert "at 20 prior draws of what stands above" in hierarchical.summary


def test_priors_that_cannot_be_drawn_or_moved_are_named(hierarchical):
    assert (found(hierarchical, "level").severity, found(hierarchical, "kind").severity) == (
        "warning",
        "note",
    )
    assert "improper" in found(hierarchical, "level").finding
    assert not [f for f in hierarchical.findings if f.where == "size"]


def test_a_field_that_is_not_gaussian_is_refused_and_the_others_are_looked_at(hierarchical):
    assert "Cauchy" in found(hierarchical, "of heavy").finding
    assert "content" not in {f.where for f in hierarchical.findings}


def test_given_values_are_not_drawn():
    report = bc.check(above, fixed={"kind": 1, "level": 40.0, "size": 0.5})
    assert report.draws == 1
    assert "NaN" in found(report, "root").finding
    assert "28.7 standard deviations" in found(report, "content").finding
    assert {f.where for f in report.findings} == {"of heavy", "root", "content", "again"}
    with pytest.raises(
        ValueError,
        match=r"given names no random site of the program: sise; it has kind, level, size",
    ):
        bc.check(above, fixed={"sise": 0.5})


# --- Nothing to find
# -----------------------------------------------------------------------------


def clean(wall, noise=0.1):
    size = numpyro.sample("size", dist.LogNormal(0.0, 0.1))
    u = numpyro.sample("u", bc.kronecker(MEAN, (KERNEL,), scale=size, jitter=0.0))
    bc.observe("wall", WALL, u, wall)
    bc.impose("mass", MASS, u, 0.4, "quadrature")
    numpyro.sample("y", dist.Normal(u[3], noise), obs=0.5)


def test_a_clean_program_is_reported_clean():
    report = bc.check(clean, 0.3)
    assert report.findings == ()
    assert report.ok
    assert (
        str(report)
        == "2 statements, 2 rows, 2 of them independent, 9 unknowns, at 8 prior draws of what stands above: nothing found"
    )


def test_a_rule_that_is_good_enough_for_a_smooth_belief_is_not_spoken_of():
    grid = bc.Grid(x=np.linspace(0, 1, 41))
    smooth = bc.dense(
        np.zeros(41), np.exp(-(np.subtract.outer(grid["x"], grid["x"]) ** 2) / 2), jitter=1e-8
    )

    def program():
        bc.observe("mass", bc.integral(grid), numpyro.sample("u", smooth), 0.4)

    assert bc.check(program).findings == ()


def test_fields_of_a_plate_and_fields_tied_together_are_counted():
    law = bc.balance(PLANE)

    def program():
        with numpyro.plate("three", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, N)), 1.0).to_event(1))
            bc.observe("wall", WALL, u, jnp.array([0.1, 0.2, 9.0]))
        v = numpyro.sample("v", dist.Normal(jnp.zeros(PLANE.shape), 1.0).to_event(2))
        f = numpyro.sample("f", dist.Normal(jnp.zeros(law.faces.shape), 1.0).to_event(2))
        bc.observe("balance", law, (v, f), 0.0, "quadrature")

    report = bc.check(program)
    assert [(f.where, f.severity) for f in report.findings] == [("wall[three=2]", "warning")]
    assert (report.rows, report.rank, report.unknowns) == (6, 6, 3 * N + PLANE.size + 8)


def test_single_precision_is_spoken_of_and_the_session_is_warned_of():
    def program(dtype):
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(N, dtype), 1.0))
        bc.observe("wall", WALL, u, 0.3)

    (narrow,) = bc.check(program, jnp.float32).findings
    assert (narrow.severity, narrow.where) == ("note", "u")
    with jax.enable_x64(False):
        (session,) = bc.check(program, jnp.float32).findings
    assert (session.severity, session.where) == ("warning", "program")
    assert "numpyro.enable_x64()" in session.remedy


@pytest.mark.parametrize("read", [bc.check, lambda program: bc.conjugate(program)()])
def test_a_law_that_was_traced_in_double_precision_is_read_in_single_precision_later(read):
    def program():
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(N, jnp.float32), 1.0))
        bc.observe("wall", WALL, u, 0.3)

    equations = jax.make_jaxpr(WALL)(jnp.zeros(N))  # alive to the end: JAX goes by what lives
    read(program)
    with jax.enable_x64(False):
        read(program)
    assert equations.out_avals[0].dtype == jnp.float64


def test_a_program_that_states_nothing_says_so():
    report = bc.check(white)
    assert [f.where for f in report.findings] == ["program"]
    assert not report.ok


# --- The door
# -----------------------------------------------------------------------------


def test_functionals_are_checked_as_before():
    assert bc.residuals(MASS, np.ones(N), 1.0).largest < 1e-14


def test_a_fault_of_the_programs_own_passes_through():
    def program():
        u = white()
        bc.observe("wall", WALL, u, jnp.zeros(3) + jnp.zeros(4))

    with pytest.raises(TypeError, match="incompatible shapes"):
        bc.check(program)


def test_a_statement_that_cannot_even_be_made_is_an_error():
    def program():
        bc.observe("wall", WALL, white(), 0.3, -1.0)

    (one,) = bc.check(program).findings
    assert (one.severity, one.where) == ("error", "program")
    assert "'wall' must be at least zero" in one.finding


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: bc.check(3.0), TypeError, "expected a program; got float"),
    (lambda: bc.check(clean, 0.3, latent_draws=0), ValueError, "latent_draws must be 1 or more"),
])  # fmt: skip
def test_what_cannot_be_checked_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- The command line
# -----------------------------------------------------------------------------

FILE = """
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import bayescons as bc

grid = bc.Grid(x=jnp.linspace(0, 1, 5))

def program(wall):
    u = numpyro.sample("u", dist.Normal(jnp.zeros(5), 1.0).to_event(1))
    bc.observe("wall", bc.dirichlet(grid, "x", "lower"), u, wall)

def inputs(key):
    return {"wall": 0.3}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rod.py"
    path.write_text(FILE)
    return path


def test_the_command_exits_with_what_it_finds(file, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["check", str(file)]) == 0
    assert "nothing found" in " ".join(capsys.readouterr().out.split())
    np.savez(file.with_name("data.npz"), wall=40.0)
    assert main(["check", str(file), "--data", str(file.with_name("data.npz"))]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "warning" in said
    assert "40 standard deviations" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--draws", "0"], "--draws must be 1 or more"),
        (["--program", "rod"], "defines no function 'rod'"),
    ],
)
def test_the_command_refuses_in_a_line_what_it_cannot_use(file, capsys, options, message):
    assert main(["check", str(file), *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("model", [one_total, rod_unknown_amplitude], ids=lambda m: m.__name__)
def test_models_have_nothing_worse_than_a_note(model):
    assert bc.check(model.program, **model.inputs(jax.random.key(0))).ok


def test_the_same_program_gives_the_same_report(report):
    assert str(bc.check(functools.partial(crowded))) == str(report)


@pytest.mark.parametrize("value", [0.5, 1.0])
def test_a_value_that_the_prior_of_a_latent_expects_is_no_surprise(value):
    """m ~ N(0, 1), u ~ N(m, .02²): given most draws of m the value is 20 deviations off, and by the
    prior of u half of one.
    """

    def program():
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        u = numpyro.sample("u", dist.Normal(jnp.full(N, m), 0.02).to_event(1))
        bc.observe("first", lambda u: u[0], u, value)

    assert bc.check(program).findings == ()


def test_a_value_far_from_all_that_a_latent_allows_is_a_surprise():
    def program():
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        u = numpyro.sample("u", dist.Normal(jnp.full(N, m), 0.02).to_event(1))
        bc.observe("first", lambda u: u[0], u, 30.0)

    (finding,) = bc.check(program).findings
    assert (finding.where, finding.severity) == ("first", "warning")
    assert "standard deviations from what is believed" in finding.finding
