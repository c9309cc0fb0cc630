"""Training: what the data and losses are, and that a run which is killed and started again is the
run that was not.
"""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from flax import nnx
from safetensors.numpy import load_file

from bayescons.cli import main
from bayescons.networks import AttentiveNeuralProcess, DeepEnsemble, Normal, load_weights
from bayescons.problems import Diffusion, Stefan
from bayescons.results import files
from bayescons.training import (
    RECIPES,
    Checkpoints,
    EnsembleRecipe,
    Log,
    Schedule,
    ensemble_loss,
    evidence_bound,
    functions,
    page,
    train,
)
from bayescons.training.card import describe
from bayescons.training.checkpoints import DamagedStateWarning, alone
from bayescons.training.losses import divergence, log_density

ROOT = Path(__file__).resolve().parent.parent
EPS = float(np.finfo(np.float32).eps)
KEY = jax.random.key(0)


@pytest.fixture
def simply_compiled():
    """Let XLA optimise little: what is compiled here runs once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


# --- data


@pytest.mark.float32
def test_a_batch_is_a_function_of_key_and_step_alone():
    steps = [jax.jit(functions(Diffusion, KEY, size=3, times=2, points=2)) for _ in range(2)]
    one, again, later = steps[0](5), steps[1](5), steps[0](6)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(again), strict=True)
    )
    assert not any(np.isin(a, b).any() for a, b in zip(one[:1], later[:1], strict=True))
    assert {leaf.dtype for leaf in jax.tree.leaves(one)} == {np.dtype(np.float32)}


def test_a_pool_is_seen_once_an_epoch_in_an_order_of_its_own():
    batch = jax.jit(functions(Diffusion, KEY, size=4, pool=12, times=2, points=2))
    seen = np.array([batch(step).parameter for step in range(9)]).reshape(3, 12)
    assert all(len(set(epoch)) == 12 for epoch in seen)
    np.testing.assert_array_equal(
        np.sort(seen[1:], axis=1), np.sort(seen[:1], axis=1).repeat(2, axis=0)
    )
    assert all((seen[i] != seen[j]).any() for i, j in ((0, 1), (0, 2), (1, 2)))
    with pytest.raises(
        ValueError, match=r"whole number of batches; got pool=10 and size=4\. Write pool=8"
    ):
        functions(Diffusion, KEY, size=4, pool=10)


@pytest.mark.parametrize("problem", [Diffusion, Stefan])
def test_functions_are_of_the_training_range_and_their_values_those_of_the_solution(problem):
    batch = jax.jit(functions(problem, KEY, size=20, times=3, points=2))(0)
    low, high = problem.train_range
    assert (batch.parameter >= low).all()
    assert (batch.parameter <= high).all()
    assert np.ptp(batch.parameter) > (high - low) / 2
    for readings in batch.contexts, batch.targets:
        assert readings.u.shape == (20, 6)
        cases = [problem(float(parameter)) for parameter in batch.parameter]
        exact = np.array(
            [case.solution(t, x) for case, t, x in zip(cases, readings.t, readings.x, strict=True)]
        )
        fronts = np.array([case.front(t) for case, t in zip(cases, readings.t, strict=True)])
        clear = ~(
            np.abs(fronts - readings.x) < 1e-5
        )  # where rounding cannot carry a point across a jump
        np.testing.assert_allclose(
            readings.u[clear], exact[clear], rtol=0, atol=1e3 * EPS
        )  # rounded t and x times slopes of 100 or so


# --- losses


@pytest.mark.float32
def test_the_divergence_is_that_of_numpyro():
    rng = np.random.default_rng(0)
    one, other = (
        Normal(jnp.asarray(rng.normal(size=7)), jnp.asarray(rng.uniform(0.1, 3, 7)))
        for _ in range(2)
    )
    expected = dist.kl_divergence(dist.Normal(*one), dist.Normal(*other)).sum()
    np.testing.assert_allclose(divergence(one, other), expected, rtol=100 * EPS)
    assert divergence(one, one) == 0


@pytest.mark.float32
def test_the_density_is_normal_and_its_tails_go_on_straight_where_asked():
    predicted = Normal(jnp.full(9, 0.3), jnp.full(9, 0.5))
    values = 0.3 + 0.5 * jnp.arange(-4.0, 5.0)
    exact = dist.Normal(*predicted).log_prob(values)
    np.testing.assert_allclose(log_density(predicted, values), exact, rtol=10 * EPS)
    np.testing.assert_allclose(log_density(predicted, values, 4.0), exact, rtol=10 * EPS)
    straight = log_density(predicted, values, 2.0)
    np.testing.assert_allclose(straight[2:7], exact[2:7], rtol=10 * EPS)
    np.testing.assert_allclose(
        np.diff(straight)[[0, 1, 6, 7]], [2, 2, -2, -2], rtol=10 * EPS
    )  # the slope at two deviations


def of_two_functions():
    """A batch of two, and the contexts and targets of each."""
    batch = jax.jit(functions(Diffusion, KEY, size=2, times=2, points=2))(0)
    return batch, [
        jax.tree.map(lambda a, i=i: a[i], (batch.contexts, batch.targets)) for i in range(2)
    ]


@nnx.jit
def at_noise(network, shown, asked, noise):
    """q(z | targets), q(z | contexts), and the prediction at the targets for the z of this
    noise.
    """
    posterior, prior = network.latent(asked.inputs, asked.u), network.latent(shown.inputs, shown.u)
    representation = network.represent(shown.inputs, shown.u, asked.inputs)
    return (
        posterior,
        prior,
        network.decode(representation, posterior.mean + posterior.scale * noise, asked.inputs),
    )


@pytest.mark.usefixtures("simply_compiled")
def test_the_evidence_bound_is_the_formula_with_its_noise_put_in():
    network = AttentiveNeuralProcess(width=8, heads=2, rate=0.5, rngs=nnx.Rngs(0))
    (batch, each), key, expected = of_two_functions(), jax.random.key(7), []
    for (shown, asked), key_function in zip(each, jax.random.split(key, 2), strict=True):
        noise = jax.random.normal(jax.random.split(key_function, 4)[0], (8,), jnp.float32)
        found = at_noise(network, shown, asked, noise)
        (m1, s1), (m2, s2), (m, s) = (
            tuple(np.asarray(a, np.float64) for a in normal) for normal in found
        )
        likelihood = -np.sum(
            (np.asarray(asked.u) - m) ** 2 / (2 * s**2) + np.log(s) + math.log(2 * math.pi) / 2
        )
        information = np.sum(np.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5)
        expected.append(information - likelihood)
    bound = nnx.jit(evidence_bound, static_argnames="drop")
    np.testing.assert_allclose(
        bound(network, batch, key, drop=False), np.mean(expected), rtol=1e3 * EPS
    )
    assert abs(bound(network, batch, key, drop=True) - np.mean(expected)) > 1e-3


@pytest.mark.usefixtures("simply_compiled")
def test_the_loss_of_an_ensemble_is_the_sum_of_its_members_own():
    network = DeepEnsemble(members=2, width=4, heads=1, rngs=nnx.Rngs(0))
    (batch, each), predict, expected = (
        of_two_functions(),
        nnx.jit(lambda network, *given: network.predict(*given)),
        0.0,
    )
    for shown, asked in each:
        for mean, scale in zip(*predict(network, shown.inputs, shown.u, asked.inputs), strict=True):
            expected -= float(dist.Normal(mean, scale).log_prob(asked.u).sum()) / 2
    np.testing.assert_allclose(
        nnx.jit(ensemble_loss)(network, batch, KEY), expected, rtol=1e3 * EPS
    )


# --- the loop, on a network that needs no time


class Line(nnx.Module):
    """x → slope · x."""

    def __init__(self):
        self.slope = nnx.Param(jnp.zeros(3, jnp.float32))


def samples(step):
    x = jax.random.normal(jax.random.fold_in(jax.random.key(1), step), (5, 3), jnp.float32)
    return x, x @ jnp.array([1.0, -2.0, 3.0], jnp.float32)


def misfit(network, batch, key):
    x, y = batch
    return jnp.mean(
        (x @ network.slope[...] - y + 0.1 * jax.random.normal(key, y.shape, y.dtype)) ** 2
    )


def held_out(network):
    return misfit(network, samples(10_000), KEY)


def fitted(loss=misfit, **options):
    """Slopes after training, and the reports."""
    told = []
    options = {
        "schedule": Schedule(20, rate=0.3),
        "validate": held_out,
        "round_steps": 4,
        "report": told.append,
        **options,
    }
    return np.asarray(train(Line(), loss, samples, key=KEY, **options).slope[...]), told


def test_the_loss_falls_and_the_network_given_stays_as_it_was():
    network, told = Line(), []
    trained = train(
        network,
        misfit,
        samples,
        schedule=Schedule(200, rate=0.1),
        key=KEY,
        validate=held_out,
        report=told.append,
    )
    assert (network.slope[...] == 0).all()
    np.testing.assert_allclose(trained.slope[...], [1, -2, 3], atol=0.3)  # noise of 0.1
    assert told[-1].step == told[-1].steps == 200
    assert told[-1].best == min(report.validation for report in told) < held_out(network)


def test_the_last_round_may_be_shorter_and_rounds_do_not_matter():
    slope, told = fitted(validate=None, round_steps=6)
    assert [report.step for report in told] == [6, 12, 18, 20]
    assert all(math.isnan(report.validation) for report in told)
    np.testing.assert_allclose(slope, fitted(validate=None, round_steps=20)[0], rtol=100 * EPS)


def test_the_result_is_the_network_of_the_lowest_validation():
    slope, told = fitted(validate=lambda network: jnp.abs(network.slope[0] - 0.5))
    best = min(told, key=lambda report: report.validation)
    assert best.step < told[-1].step
    assert abs(slope[0] - 0.5) == pytest.approx(best.validation)
    assert (told[-1].best, told[-1].best_step) == (best.validation, best.step)


def test_patience_stops_when_validation_brings_nothing_lower():
    _, told = fitted(
        validate=lambda network: network.slope[0] ** 2, patience=3
    )  # lowest at the first round
    assert [report.step for report in told] == [4, 8, 12, 16]
    assert told[-1].best_step == 4


@pytest.mark.parametrize("constant", [False, True])
def test_adam_moves_by_the_scheduled_rate(constant):
    schedule = Schedule(40, rate=0.01, warmup=0.25, constant=constant, clip=None)
    slope, _ = fitted(
        lambda network, *_: jnp.sum(network.slope[...]), schedule=schedule, validate=None
    )
    rising, falling = 0.01 * np.arange(10) / 10, 0.01 * (1 + np.cos(np.pi * np.arange(30) / 30)) / 2
    moved = 40 * 0.01 if constant else np.sum([*rising, *falling])
    np.testing.assert_allclose(
        slope, -moved, rtol=1e-5
    )  # a constant slope is divided by its own root mean square


@pytest.mark.parametrize("where", ["loss", "validation loss"])
def test_a_loss_that_is_not_a_number_is_an_error_and_is_not_kept(tmp_path, where):
    def late(network, batch, key):
        return misfit(network, batch, key) + jnp.where(network.slope[0] > 0.9, jnp.nan, 0.0)

    broken = (
        {"loss": late}
        if where == "loss"
        else {"validate": lambda network: late(network, samples(0), KEY)}
    )
    checkpoints = Checkpoints(tmp_path, {})
    with pytest.raises(
        FloatingPointError,
        match=rf"the {where} is nan at step \d+: \(a\) the learning rate \(0.3\) is too high",
    ):
        fitted(**broken, checkpoints=checkpoints)
    slope, told = fitted(
        **broken, schedule=Schedule(checkpoints.step, rate=0.3), checkpoints=checkpoints
    )
    assert checkpoints.step > 0
    assert np.isfinite(slope).all()
    assert told == []


# --- checkpoints


class Stopped(Exception):
    """The end of a process, for a test."""


@pytest.mark.parametrize("last", [4, 12])
def test_a_run_that_stops_goes_on_to_the_same_result(tmp_path, last):
    def stop(report):
        if report.step > last:
            raise Stopped

    with pytest.raises(Stopped):
        fitted(checkpoints=Checkpoints(tmp_path, {}), report=stop)
    again = Checkpoints(tmp_path, {})
    assert again.step == last
    slope, told = fitted(checkpoints=again)
    whole, all_told = fitted()
    np.testing.assert_array_equal(slope, whole)
    assert [report[:-1] for report in told] == [
        report[:-1] for report in all_told if report.step > last
    ]


def test_a_folder_with_a_run_of_other_settings_is_refused_once_something_is_kept(tmp_path):
    Checkpoints(tmp_path, {"rate": 1.0, "pool": None})
    fitted(checkpoints=Checkpoints(tmp_path, {"rate": 0.5, "pool": None}))
    Checkpoints(tmp_path, {"rate": 0.5, "pool": None})
    with pytest.raises(
        ValueError, match=r"other settings \(rate: 0.5 then, 0.1 now\). Give the same ones"
    ):
        Checkpoints(tmp_path, {"rate": 0.1, "pool": None})
    with pytest.raises(ValueError, match=r"pool: None then, 10 now, seed: None then, 1 now"):
        Checkpoints(tmp_path, {"rate": 0.5, "pool": 10, "seed": 1})


def test_where_there_is_no_room_no_state_is_begun_and_the_run_goes_on(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, {})
    fitted(schedule=Schedule(4), checkpoints=checkpoints)
    before = sorted((tmp_path / "states").iterdir())
    with monkeypatch.context() as full:
        full.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
        with pytest.raises(OSError, match="no room in "):
            fitted(schedule=Schedule(8), checkpoints=checkpoints)
    assert sorted((tmp_path / "states").iterdir()) == before
    fitted(schedule=Schedule(8), checkpoints=checkpoints)
    assert checkpoints.step == 8


def test_a_state_that_cannot_be_written_says_so_and_leaves_the_one_before(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, {})
    fitted(schedule=Schedule(4), checkpoints=checkpoints)

    def full(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: no space left")

    with monkeypatch.context() as patched:
        patched.setattr(type(checkpoints._manager), "save", full)
        with pytest.raises(
            OSError, match=r"cannot keep the state of step 8 in .*no space left. Make room"
        ):
            fitted(checkpoints=checkpoints)
    assert Checkpoints(tmp_path, {}).step == 4


def test_a_log_is_rewound_to_the_checkpoint_and_a_torn_line_is_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    log = Log(path, upto=0)
    for step in (4, 8, 12):
        log.append({"step": step, "seconds": 2.0 * step})
    assert log.seconds == 24
    path.write_text(path.read_text() + '{"step": 16, "sec')
    again = Log(path, upto=8)
    assert again.lines == [{"step": 4, "seconds": 8.0}, {"step": 8, "seconds": 16.0}]
    again.append({"step": 12, "seconds": 25.0})
    assert [json.loads(line)["seconds"] for line in path.read_text().splitlines()] == [8, 16, 25]
    with pytest.warns(DamagedStateWarning, match="holds no rounds up to step 99"):
        assert Log(path, upto=99).seconds == 25


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    with (
        alone(tmp_path),
        pytest.raises(RuntimeError, match="another process is training in"),
        alone(tmp_path),
    ):
        pass
    with alone(tmp_path):
        pass


# --- recipes


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (name, preset)
        for name, kind in RECIPES.items()
        if name != "operator"
        for preset in kind.presets
    ],
)
def test_every_preset_can_be_carried_out(kind, name):
    recipe = RECIPES[kind].preset(name, "PorousMedium", seed=3)
    assert (recipe.name, recipe.seed) == (f"{kind}_porous_medium", 3)
    assert recipe.width % recipe.heads == 0
    assert recipe.pool is None or recipe.pool % recipe.size == 0
    assert json.loads(json.dumps(recipe.settings)) == recipe.settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem": "stefn"}, "did you mean 'stefan'"),
        ({"problem": "heat death"}, "no problem is called 'heat death' .there are advection, "),
        ({"steps": 0}, "steps must be 1 or more; got 0"),
        ({"patience": 0}, "patience must be 1 or more"),
        ({"rate": -1.0}, "above 0 and below 1; got -1"),
        ({"clip": 0.0}, "norm of a gradient, above 0"),
        ({"tails": 0.0}, "standard deviations, above 0"),
        ({"dropout": 1.0}, "from 0 to below 1"),
        ({"kind": "ensemble", "members": 1}, "an ensemble has 2 members or more"),
        ({"kind": "conditioned", "pool": 20}, "draws new functions at every step"),
        (
            {"kind": "ensemble", "name": "published"},
            "no preset 'published' for 'ensemble'; there are quick, paper",
        ),
    ],
)
def test_a_recipe_that_cannot_be_carried_out_says_what_to_change(changes, message):
    told = {"name": "paper", "kind": "anp", "problem": "stefan", **changes}
    kind = RECIPES[told.pop("kind")]
    with pytest.raises(ValueError, match=message):
        kind.preset(**told)


def test_a_card_tells_what_its_first_weights_had_been_through():
    network = DeepEnsemble(members=2, width=8, heads=2, rngs=nnx.Rngs(0))
    log = [{"step": 2, "loss": 1.0, "validation": 2.0, "seconds": 3.0}]
    before, recipe = None, {"start": None, "tails": 3.0}
    for rate in (1e-3, 4e-4, 1e-4):
        recipe = EnsembleRecipe.preset("quick", "stefan", **{**recipe, "rate": rate}).settings
        before = describe(
            f"trained_at_{rate:g}", network, Stefan, recipe=recipe, log=log, before=before
        )
        recipe = {"start": f"trained_at_{rate:g}", "tails": None}
    assert json.loads(json.dumps(before)) == before
    told = next(line for line in page(before).splitlines() if line.startswith("| begun with"))
    assert "trained_at_0.0004 of " in told
    assert "rate of 0.0004, Gaussian tails, 3 s; begun with trained_at_0.001 of " in told
    assert "rate of 0.001, linear tails beyond 3, 3 s |" in told


# --- the command

TINY = {
    "--steps": 100,
    "--round-steps": 5,
    "--size": 4,
    "--pool": 20,
    "--width": 8,
    "--heads": 2,
    "--dropout": 0.2,
}
ARGUMENTS = [
    "train",
    "anp",
    "--problem",
    "Diffusion",
    "--preset",
    "quick",
    *(str(word) for pair in TINY.items() for word in pair),
]


def started(out, cache):
    """The command in a process of its own. Compiled functions are simple and shared, or each start
    would take its time for them.
    """
    # a background job ignores it
    script = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    script += "from bayescons.cli import main; sys.exit(main())"
    shared = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    shared["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    return subprocess.Popen(
        [sys.executable, "-c", script, *ARGUMENTS, "--out", str(out)],
        env={**os.environ, **shared, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines_of(out):
    path = out / "log.jsonl"
    return (
        [
            json.loads(line)
            for line in path.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]
        if path.exists()
        else []
    )


def ended(process, out, *, by, after, later=0.0):
    """Send a signal once so many lines are in the log, and return what the process said until
    then.
    """
    while len(lines_of(out)) < after and process.poll() is None:
        time.sleep(0.002)
    time.sleep(later)
    process.send_signal(by)
    said = process.communicate()
    assert process.returncode == -by, (process.returncode, said)
    assert not (out / "anp_diffusion.safetensors").exists()
    return said


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    """A run that nothing disturbed: its folder, and what it said."""
    out = tmp_path_factory.mktemp("whole") / "run"
    process = started(out, cache)
    said, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    return out, said


def test_a_run_leaves_weights_card_log_and_settings(whole):
    out, said = whole
    names = {
        "anp_diffusion.md",
        "anp_diffusion.safetensors",
        "log.jsonl",
        "settings.json",
        "states",
    }
    assert {path.name for path in out.iterdir()} == names
    assert "step 100 of 100" in said
    assert str(out) in said.replace("\n", "")
    network, card = load_weights(out / "anp_diffusion.safetensors")
    assert network.settings == {
        "width": 8,
        "heads": 2,
        "rate": 0.2,
        "box": tuple(zip(Diffusion.time_range, Diffusion.space_range, strict=True)),
    }
    assert card["recipe"] == json.loads((out / "settings.json").read_text())
    assert card["training"]["lowest_validation"] == min(
        line["validation"] for line in lines_of(out)
    )
    written = (out / "anp_diffusion.md").read_text()
    assert written == page(card)
    assert "| steps | 100, with batches of 4 |" in written
    assert "from a pool of 20" in written
    scored = page({**card, "scores": {"k = 1": {"mse": 0.12345678}, "runs": 3}})
    assert "| k = 1, mse | 0.1235 |\n| runs | 3 |" in scored


def test_training_and_validation_losses_fall(whole):
    lines = lines_of(whole[0])
    assert [line["step"] for line in lines] == list(range(5, 101, 5))
    for loss in "loss", "validation":
        first, last = (np.mean([line[loss] for line in part]) for part in (lines[:5], lines[-5:]))
        assert last < first - 20  # nats a function of 100 targets


def test_a_run_killed_and_interrupted_ends_with_the_same_weights_and_the_same_log(
    whole, cache, tmp_path
):
    out = tmp_path / "run"
    ended(
        started(out, cache), out, by=signal.SIGKILL, after=4
    )  # a line is written, its state is not
    said, errors = ended(started(out, cache), out, by=signal.SIGINT, after=8, later=0.1)
    assert said.startswith("anp_diffusion: 100 steps with batches of 4, from step ")
    assert (
        " ".join(errors.split())
        == f"stopped; the same command goes on from the last checkpoint in {out}"
    )
    process = started(out, cache)
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    expected, got = (load_file(folder / "anp_diffusion.safetensors") for folder in (whole[0], out))
    assert expected.keys() == got.keys()
    assert all(np.array_equal(expected[name], got[name]) for name in expected)
    timeless = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in lines_of(folder)]
        for folder in (whole[0], out)
    ]
    assert timeless[0] == timeless[1]
    assert (np.diff([line["seconds"] for line in lines_of(out)]) > 0).all()
    assert (
        len(list(cache.glob("jit_one_round-*-cache"))) == 1
    )  # one compiled function made all the steps of all starts


def refused(capsys, *arguments):
    """The error line of a command line that is refused."""
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err


def test_a_complete_run_is_not_run_again_and_another_is_refused(whole, capsys):
    out, _ = whole
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert main([*ARGUMENTS, "--out", str(out)]) == 0
    assert "is complete already" in capsys.readouterr().out
    assert "seed: 0 then, 1 now" in refused(capsys, *ARGUMENTS, "--seed", 1, "--out", out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.usefixtures("simply_compiled")
def test_an_ensemble_is_trained_by_the_command_and_whatever_the_default_float(tmp_path, capsys):
    tiny = [
        "--steps",
        "4",
        "--round-steps",
        "2",
        "--size",
        "2",
        "--width",
        "4",
        "--heads",
        "1",
        "--members",
        "2",
        "--tails",
        "none",
    ]
    command = ["train", "ensemble", "--problem", "diffusion", "--preset", "quick", *tiny]
    assert main([*command, "--out", str(tmp_path)]) == 0
    assert "step 4 of 4" in capsys.readouterr().out
    assert json.loads((tmp_path / "settings.json").read_text())["tails"] is None
    assert [line["step"] for line in lines_of(tmp_path)] == [2, 4]
    assert "DeepEnsemble (2 members): width 4" in (tmp_path / "ensemble_diffusion.md").read_text()
    assert {a.dtype for a in load_file(tmp_path / "ensemble_diffusion.safetensors").values()} == {
        np.dtype(np.float32)
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--problem", "stefn"], "did you mean 'stefan'? (there are advection, "),
        (["--steps", "-1"], "steps must be 1 or more; got -1"),
        (["--pool", "many"], "parsing --pool: write a whole number, or none; got 'many'"),
        (["--pool", "100", "--size", "30"], "got pool=100 and size=30. Write pool=90"),
        (
            ["--width", "10"],
            "the width must be a multiple of the number of heads; got width=10, heads=4",
        ),
        (["--clip", "0"], "clip is the largest norm of a gradient"),
        (["--preset", "fast"], "invalid choice 'fast'"),
        (["--start", "anp_stefan"], "was trained on Stefan; expected weights trained on Diffusion"),
    ],
)
def test_a_command_that_cannot_be_carried_out_is_refused_and_leaves_nothing(
    tmp_path, capsys, options, message
):
    out = tmp_path / "new" / "folder"
    command = [
        "train",
        "anp",
        "--problem",
        "diffusion",
        "--preset",
        "quick",
        *options,
        "--out",
        out,
    ]
    assert message in refused(capsys, *command)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_refused_at_once(tmp_path, capsys):
    (tmp_path / "file").touch()
    said = refused(
        capsys, "train", "anp", "--problem", "diffusion", "--out", tmp_path / "file" / "run"
    )
    assert "cannot write into the folder" in said
