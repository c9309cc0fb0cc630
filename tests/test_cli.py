"""The command line: what it writes, what it prints, and how it refuses what it cannot use."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray

from bayescons.cli import main, run
from bayescons.results import files
from bayescons.results import trees as results

ROOT = Path(__file__).resolve().parent.parent
RNG = np.random.default_rng(1)
T, X = np.linspace(0, 1, 3), np.linspace(0, 1, 5) ** 1.5
W = np.convolve(np.diff(X), [0.5, 0.5])  # trapezoid
MEAN, SCALE, TOTAL = (
    RNG.normal(size=(2, 3, 5)),
    RNG.uniform(0.5, 1.5, size=(2, 3, 5)),
    RNG.normal(size=3),
)
EPS = np.finfo(np.float64).eps

PROGRAM = """
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import bayescons as bc

grid = bc.Grid(x=jnp.linspace(0, 1, 5))

def program(content, size=1.0):
    amplitude = numpyro.sample("amplitude", dist.LogNormal(0.0, 0.1))
    u = numpyro.sample("u", dist.Normal(jnp.zeros(5), size * amplitude).to_event(1))
    bc.observe("heat", bc.integral(grid, "x"), u, content)

def plain(content):
    u = numpyro.sample("u", dist.Normal(jnp.zeros(5), 1.0).to_event(1))
    bc.observe("heat", bc.integral(grid, "x"), u, content)

def wrong(content):
    u = numpyro.sample("u", dist.Cauchy(jnp.zeros(5), 1.0).to_event(1))
    bc.observe("heat", bc.integral(grid, "x"), u, content)

def faulty(content):
    return jnp.zeros(3) + jnp.zeros(4)

def inputs(key):
    return {"content": 0.3}
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.npz"
    np.savez(
        path,
        t=T,
        x=X,
        mean=MEAN,
        scale=SCALE,
        mass=TOTAL,
        column=TOTAL[:, None],
        wall=np.ones((2, 3)),
    )
    return path


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "rod.py"
    path.write_text(PROGRAM)
    return path


def condition(source, *options, out=None):
    out = out or source.with_name("out.nc")
    status = main(["condition", str(source), *options, "--out", str(out)])
    return xarray.load_dataset(out, engine="h5netcdf") if status == 0 else status


def draws(source):
    """What `--draws` has written."""
    tree = xarray.load_dataset(source.with_name("out.nc"), engine="h5netcdf", group="posterior")
    return tree["mean"]


def refused(capsys, arguments):
    """The error line of a command line that is refused."""
    assert main([str(a) for a in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err


def test_the_version_is_told_in_one_line(capsys):
    assert main(["--version"]) == 0
    words = capsys.readouterr().out
    assert words.startswith("bayescons 0.")
    assert words.count("\n") == 1


def test_a_mass_is_conditioned_on_as_the_closed_form_says(source):
    got = condition(source, "--integral", "x=mass")
    gain, spread = SCALE**2 * W, np.sum(W**2 * SCALE**2, axis=-1, keepdims=True)
    missing = (TOTAL - MEAN @ W)[..., None]
    np.testing.assert_allclose(got["mean"], MEAN + gain * missing / spread, rtol=0, atol=50 * EPS)
    np.testing.assert_allclose(
        got["scale"] ** 2, SCALE**2 - gain**2 / spread, rtol=0, atol=50 * EPS
    )
    evidence = -(missing**2 / spread + np.log(2 * np.pi * spread)).sum(axis=(-2, -1)) / 2
    np.testing.assert_allclose(got["log_evidence"], evidence, rtol=100 * EPS)
    np.testing.assert_allclose(got["integral_x_before"], MEAN @ W, rtol=0, atol=50 * EPS)
    np.testing.assert_allclose(
        got["integral_x_after"], np.tile(TOTAL, (2, 1)), rtol=0, atol=50 * EPS
    )
    assert got["mean"].dims == ("batch", "t", "x")
    np.testing.assert_array_equal(got["x"], X)


def test_every_draw_satisfies_every_fact(source):
    facts = [
        "--integral",
        "x=mass",
        "--dirichlet",
        "x:lower=wall",
        "--dirichlet",
        "x:upper=0",
        "--draws",
        "7",
    ]
    got = condition(source, *facts)
    np.testing.assert_allclose(got["dirichlet_x_upper_after"], 0, atol=100 * EPS)
    drawn = draws(source)
    assert drawn.dims == ("chain", "draw", "batch", "t", "x")
    assert drawn.shape == (1, 7, 2, 3, 5)
    np.testing.assert_allclose(drawn[0].to_numpy() @ W, np.tile(TOTAL, (7, 2, 1)), atol=100 * EPS)
    np.testing.assert_allclose(drawn[..., 0], 1, atol=100 * EPS)
    condition(source, *facts)
    assert (draws(source) == drawn).all()
    condition(source, *facts, "--seed", "1")
    assert (draws(source) != drawn).any()


def test_a_fact_with_a_scale_is_a_reading(source):
    got = condition(source, "--integral", "x=mass+-1e-3", "--neumann", "x:upper=0")
    loose = condition(source, "--integral", "x=mass+-quadrature")
    assert 1e-6 < np.abs(got["integral_x_after"] - got["integral_x"]).max() < 1e-2
    assert np.abs(loose["integral_x_after"] - TOTAL).max() > 1e-6


def test_an_ensemble_that_cannot_follow_the_facts_is_noted(source, capsys):
    np.savez(source, t=T, x=X, draws=RNG.normal(size=(3, 3, 5)))
    got = condition(source, "--integral", "x=1")
    np.testing.assert_allclose(got["integral_x_after"], 1, atol=1e-9)
    said = " ".join(capsys.readouterr().out.split())
    assert "note: the ensemble varies in 2 directions and 3 facts are independent" in said


def test_the_output_says_how_it_was_made(source):
    told = condition(source, "--integral", "x=1").attrs
    assert told["command"].startswith("bayescons condition ")
    assert "--integral x=1" in told["command"]
    assert {"seed", "belief", "numpyro_version", "python_version"} <= set(told)


def test_the_table_names_each_fact_and_its_error_before_and_after(source, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    condition(source, "--integral", "x=mass", "--dirichlet", "t:lower=0+-0.1")
    lines = capsys.readouterr().out.splitlines()
    mass = next(line.split() for line in lines if line.startswith(" integral x"))
    assert mass[:5] == ["integral", "x", "mass", "exact", "3"]
    assert 0 < float(mass[5]) < 5  # standard deviations away
    assert float(mass[6]) > 0.01 > 1e-12 > float(mass[7])
    assert any(line.startswith("log evidence: ") for line in lines)
    assert all(
        len(line) <= 100 for line in lines if str(source.parent) not in line
    )  # a path is whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to condition on"),
        (["--integral", "x"], "cannot read --integral 'x'; expected AXES=VALUE, as in"),
        (["--integral", "x=1+-"], "cannot read --integral"),
        (["--integral", "x:lower=1"], "cannot read --integral"),
        (["--dirichlet", "x=1"], "cannot read --dirichlet 'x=1'; expected AXIS:SIDE=VALUE"),
        (["--integral", "x=nan"], "must be finite; got 'nan'"),
        (["--integral", "x=mas"], "neither a number nor the name of an array: 'mas'; there is"),
        (["--integral", "z=1"], "'mean' has no axis 'z' of a grid; it is over (batch, t, x)"),
        (["--dirichlet", "x:left=1"], "unknown side 'left'"),
        (
            ["--integral", "x=column"],
            "must be a number or have shape (3,) over (t), or (2, 3) with the batch in front; got (3, 1)",
        ),
        (["--integral", "x=mass+--1"], "must be standard deviations, zero or more"),
        (["--dirichlet", "x:lower=1+-quadrature"], "this functional is none"),
        (
            ["--dirichlet", "x:lower=1", "--dirichlet", "x:lower=2"],
            "(law 2 of this name)[t=0] contradicts dirichlet x:lower (law 1 of this name)[t=0] by 1",
        ),
        (["--integral", "x=1", "--draws", "-1"], "--draws must be zero or more"),
        (["--integral", "x=1", "--draws", "many"], "Error parsing --draws"),
        (["--integral", "x=1", "--rule", "gauss"], "invalid choice 'gauss'"),
        (["--integral"], "Missing value for argument '--integral'"),
        (
            [
                "--integral",
                "t=1",
                "--integral",
                "x=1",
                "--dirichlet",
                "x:lower=1",
                "--dirichlet",
                "t:upper=0",
            ],
            "more facts than unknowns",
        ),
    ],
)
def test_facts_that_cannot_be_used_are_refused_in_a_line(source, capsys, options, message):
    before = sorted(source.parent.iterdir())
    said = refused(capsys, ["condition", source, *options, "--out", source.with_name("out.nc")])
    assert message in said
    assert sorted(source.parent.iterdir()) == before


def test_an_unreadable_input_is_refused_in_a_line(tmp_path, capsys):
    said = refused(
        capsys, ["condition", tmp_path / "no.nc", "--integral", "x=1", "--out", tmp_path / "out.nc"]
    )
    assert "No such file" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["missing/out.nc", "in.npz/out.nc", "out.npz", "folder.nc"])
def test_an_output_that_cannot_be_written_leaves_nothing_behind(source, capsys, place):
    source.with_name("folder.nc").mkdir()
    before = sorted(source.parent.rglob("*"))
    said = refused(
        capsys, ["condition", source, "--integral", "x=1", "--out", source.parent / place]
    )
    assert str(source.parent) in said
    assert sorted(source.parent.rglob("*")) == before


def test_a_refused_run_leaves_the_earlier_output_as_it_was(source, capsys):
    condition(source, "--integral", "x=1")
    earlier = source.with_name("out.nc").read_bytes()
    capsys.readouterr()
    refused(
        capsys,
        [
            "condition",
            source,
            "--dirichlet",
            "x:lower=1",
            "--dirichlet",
            "x:lower=2",
            "--out",
            source.with_name("out.nc"),
        ],
    )
    assert source.with_name("out.nc").read_bytes() == earlier


def test_the_problems_are_listed_with_their_equations(capsys):
    assert main(["problems"]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("StokesSecond", "u(t, 0) = U cos ωt", "x, y [0, 1]"))
    assert all(
        word in said
        for word in ("Diffusion", "PorousMedium", "Stefan", "∂u/∂t", "threshold", "[0.55, 0.7]")
    )


@pytest.mark.parametrize("command", [[], ["condition"], ["problems"], ["run"], ["train"], ["demo"]])
@pytest.mark.parametrize("columns", [80, 120])
def test_help_fits_the_terminal_and_shows_an_example(capsys, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert not command or f"Example:\n    bayescons {command[0]}" in said
    assert all(len(line) <= max(columns, 90) for line in said.splitlines())


@pytest.mark.parametrize("arguments", [[], ["melt"], ["condition"], ["problems", "--all"]])
def test_an_incomplete_command_line_is_refused_in_a_line(capsys, arguments):
    assert "--help" in refused(capsys, arguments)


def test_a_program_is_solved_in_closed_form(program, tmp_path, capsys):
    assert (
        main(
            [
                "run",
                str(program),
                "--reading",
                "conjugate",
                "--samples",
                "6",
                "--latents",
                "25",
                "--out",
                str(tmp_path / "o.nc"),
            ]
        )
        == 0
    )
    tree = results.load(tmp_path / "o.nc")
    assert tree["posterior"]["u"].dims == ("chain", "draw", "x")
    np.testing.assert_allclose(
        tree["posterior"]["u"].to_numpy() @ [0.125, 0.25, 0.25, 0.25, 0.125], 0.3, atol=1e-14
    )
    np.testing.assert_allclose(
        tree["closed_form"]["u_mean"], 0.3 * np.array([1, 2, 2, 2, 1]) / 1.75, rtol=1e-12
    )
    assert tree["closed_form"]["amplitude"].dims == ("component",)
    assert {"log_evidence", "pareto_k", "command"} <= set(tree.attrs)
    assert "log evidence" in capsys.readouterr().out


def test_a_program_without_latents_reports_its_residuals(program, tmp_path, capsys):
    arguments = [
        "run",
        program,
        "--program",
        "plain",
        "--reading",
        "conjugate",
        "--samples",
        "6",
        "--out",
        tmp_path / "o.nc",
    ]
    assert main([str(a) for a in arguments]) == 0
    tree = results.load(tmp_path / "o.nc")
    assert tree["constraints"]["heat_residual"].dims == ("chain", "draw")
    assert np.abs(tree["constraints"]["heat_residual"]).max() < 1e-14
    assert "heat" in capsys.readouterr().out


def sampled(program, *options):
    """What a few draws of a program print, and leave in the file."""
    out = program.with_name("o.nc")
    few = ["--samples", "5", "--warmup", "5", "--chains", "1", "--out", out]
    assert main([str(a) for a in ["run", program, *options, *few]]) == 0
    return results.load(out)


def test_a_program_is_sampled_exactly_with_data_of_a_file(program, capsys):
    np.savez(program.with_name("data.npz"), content=0.7)
    tree = sampled(program, "--data", program.with_name("data.npz"))
    assert tree["posterior"]["u"].shape == (1, 5, 5)
    assert "u_free" not in tree["posterior"]
    assert {"diverging", "n_steps"} <= set(tree["sample_stats"])
    assert (tree["constraints"]["heat_value"] == 0.7).all()
    assert np.abs(tree["constraints"]["heat_residual"]).max() < 1e-14
    said = capsys.readouterr()
    assert "amplitude" in said.out
    assert said.err == ""


def test_a_program_is_sampled_softly_and_stiffness_is_warned_of_in_plain_words(program, capsys):
    tree = sampled(program, "--reading", "soft", "--scale", "1e-5")
    assert tree.attrs["scale"] == 1e-5
    assert np.abs(tree["constraints"]["heat_residual"]).max() > 1e-14
    said = capsys.readouterr().err
    assert said.startswith("warning: 'heat' is read softly with scale 1.0e-05")
    assert ".py:" not in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--program", "rod"],
            "defines no function 'rod'; it defines 'program', 'plain', 'wrong', 'faulty'",
        ),
        (["--program", "wrong"], "the field 'u' has distribution Cauchy, which is not Gaussian"),
        (["--samples", "0"], "--samples must be 1 or more"),
        (["--reading", "soft", "--scale", "0"], "--scale must be a standard deviation above zero"),
        (["--reading", "guess"], "invalid choice 'guess'"),
        (
            ["--data", "DATA"],
            "holds 'heat', which the program does not take; it takes 'content', 'size'",
        ),
    ],
)
def test_programs_that_cannot_be_run_are_refused_in_a_line(
    program, tmp_path, capsys, options, message
):
    np.savez(tmp_path / "data.npz", heat=1.0)
    options = [tmp_path / "data.npz" if o == "DATA" else o for o in options]
    before = {path for path in tmp_path.iterdir() if path.is_file()}
    assert message in refused(capsys, ["run", program, *options, "--out", tmp_path / "o.nc"])
    assert {path for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_file_that_is_no_program_is_refused_in_a_line(tmp_path, capsys):
    assert "there is no file" in refused(
        capsys, ["run", tmp_path / "no.py", "--out", tmp_path / "o.nc"]
    )
    (tmp_path / "data.npz").touch()
    assert "is not a Python file" in refused(
        capsys, ["run", tmp_path / "data.npz", "--out", tmp_path / "o.nc"]
    )
    (tmp_path / "a.py").write_text("def program(b): pass\n")
    assert "program(b) cannot be run with no arrays at all" in refused(
        capsys, ["run", tmp_path / "a.py", "--out", tmp_path / "o.nc"]
    )


def test_what_the_users_own_code_raises_keeps_its_traceback(program, tmp_path):
    with pytest.raises(TypeError, match="incompatible shapes"):
        main(["run", str(program), "--program", "faulty", "--out", str(tmp_path / "o.nc")])
    assert not (tmp_path / "o.nc").exists()


@pytest.mark.parametrize(
    ("options", "belief"), [([], "ANP belief"), (["--belief", "gp"], "GP belief")]
)
def test_the_demo_conserves_mass_and_leaves_figures_and_draws(
    options, belief, tmp_path, capsys, monkeypatch
):
    from bayescons.cli import demo
    from bayescons.surrogates import Hyperparameters

    known = Hyperparameters(amplitude=0.4, lengths={"t": 0.1, "x": 0.2}, noise=1e-3)
    monkeypatch.setattr(
        sys.modules["bayescons.surrogates.gaussian_process"],
        "fit_hyperparameters",
        lambda *_, **__: known,
    )
    monkeypatch.setitem(demo.SIZES, "quick", demo.Size(times=5, points=21, draws=20))
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "new" / "folder"
    assert main(["demo", "--preset", "quick", *options, "--out", str(out)]) == 0
    said = capsys.readouterr()
    lines = {
        line.split("  ")[0].strip(): line.split() for line in said.out.splitlines() if "e-" in line
    }
    assert abs(float(lines[belief][3])) > 1e-3
    assert abs(float(lines["projection"][2])) < 1e-12
    assert abs(float(lines["bayescons"][2])) < 1e-12
    assert all(len(line) <= 80 for line in said.out.splitlines() if str(out) not in line)
    assert said.err == ""
    assert sorted(path.name for path in out.iterdir()) == [
        "front.png",
        "posterior.nc",
        "profile.png",
        "total.png",
    ]
    tree = results.load(out / "posterior.nc")
    assert tree["posterior"]["u"].shape == (1, 20, 5, 21)
    assert tree["posterior"]["front"].dims == ("chain", "draw", "t")
    assert np.abs(tree["constraints"]["mass_residual"]).max() < 1e-11
    assert np.abs(tree["constraints"]["wall_residual"]).max() < 1e-11


def test_a_demo_that_cannot_be_written_is_refused_before_it_is_computed(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert "cannot write into the folder" in refused(capsys, ["demo", "--out", tmp_path / "file"])
    assert "cannot write into the folder" in refused(
        capsys, ["demo", "--out", tmp_path / "file" / "demo"]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_command_runs_as_a_process_and_is_quiet_on_stderr(source):
    script = "import sys; from bayescons.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = source.with_name("out.nc")
    arguments = [
        sys.executable,
        "-c",
        script,
        "condition",
        source,
        "--integral",
        "x=mass",
        "--out",
        out,
    ]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert xarray.load_dataset(out, engine="h5netcdf")["mean"].dtype == np.float64
    failed = subprocess.run(
        [*arguments[:3], "melt"], env=environment, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr


@pytest.fixture
def default_interrupts():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("default_interrupts")
@pytest.mark.parametrize("lost", ["thrown away by the collector", "made another error of"])
def test_an_interruption_that_is_lost_on_its_way_stops_the_command_all_the_same(
    program, tmp_path, monkeypatch, capsys, lost
):
    def interrupt(*_):
        gc.callbacks.remove(interrupt)
        signal.raise_signal(signal.SIGINT)

    def sampled(*arguments):
        if lost == "thrown away by the collector":
            gc.callbacks.append(interrupt)
            gc.collect()
            return whole(*arguments)
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("a callback of compiled code failed") from None

    whole = run._sampled
    monkeypatch.setattr(run, "_sampled", sampled)
    out = tmp_path / "draws.nc"
    arguments = ["run", str(program), "--program", "program", "--out", str(out)]
    assert main([*arguments, "--warmup", "50", "--samples", "20"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"
    assert list(tmp_path.glob("*.nc*")) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_command_says_in_a_line_that_there_is_no_room(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    out = tmp_path / "out.nc"
    assert main(["condition", str(source), "--integral", "x=mass", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: no room in ")
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("*.nc*"))
