"""Training of operators: what is learned, what is held out, and that a run which is stopped and
goes on is the run that was not.
"""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bayescons.cli import main
from bayescons.networks import load_weights
from bayescons.problems import ForcedHeat, OperatorProblem, StokesSecond
from bayescons.training import OperatorRecipe, minibatches, page, relative_error, run
from bayescons.training.checkpoints import DamagedStateWarning

EPS = float(np.finfo(np.float32).eps)
KEY = jax.random.key(0)
TINY = {
    "points": 16,
    "samples": 8,
    "held_out": 6,
    "size": 4,
    "modes": 3,
    "width": 4,
    "depth": 1,
    "steps": 12,
    "round_steps": 3,
    "rate": 3e-3,
}
PRESETS = [
    (name, problem.name)
    for name in OperatorRecipe.presets
    for problem in OperatorProblem.__subclasses__()
]


def tiny(problem="stokes", **changes):
    return OperatorRecipe.preset("quick", problem, **{**TINY, **changes})


# --- batches and loss


@pytest.mark.float32
def test_every_function_is_in_one_batch_an_epoch_and_a_batch_is_a_function_of_its_step():
    problem = StokesSecond()
    samples = problem.sample(KEY, 12, problem.grid(5))
    batch, again = (jax.jit(minibatches(samples, jax.random.key(1), size=4)) for _ in range(2))
    found = [batch(step) for step in range(6)]
    for epoch in found[:3], found[3:]:
        np.testing.assert_array_equal(
            np.sort(np.concatenate([b.parameter for b in epoch])), np.sort(samples.parameter)
        )
    assert (found[0].parameter != found[3].parameter).any()
    assert all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(found[4]), jax.tree.leaves(again(4)), strict=True)
    )
    one = int(
        np.flatnonzero(samples.parameter == found[0].parameter[2])[0]
    )  # arrays of one function stay together
    for whole, part in zip(jax.tree.leaves(samples), jax.tree.leaves(found[0]), strict=True):
        np.testing.assert_array_equal(whole[one], part[2])


def test_the_loss_is_the_mean_of_relative_errors():
    problem = StokesSecond()
    samples = problem.sample(KEY, 5, problem.grid(9, times=3))

    def network(inputs, values):
        return 2 * jnp.broadcast_to(inputs, (3, 9)) + values[0][:, None]

    predicted = 2 * np.asarray(samples.inputs)[:, None] + np.asarray(samples.boundary[0])[..., None]
    ratios = [
        np.linalg.norm(p - u) / np.linalg.norm(u)
        for p, u in zip(predicted, np.asarray(samples.outputs), strict=True)
    ]
    np.testing.assert_allclose(relative_error(network, samples, KEY), np.mean(ratios), rtol=1e-12)


# --- recipes


@pytest.mark.parametrize(("name", "problem"), PRESETS)
def test_every_preset_can_be_carried_out(name, problem):
    recipe = OperatorRecipe.preset(name, problem, seed=3)
    assert (recipe.name, recipe.seed) == (f"operator_{problem}_features", 3)
    assert recipe.samples % recipe.size == 0
    assert recipe.boundary.grid.shape[-1] == recipe.points
    assert json.loads(json.dumps(recipe.settings)) == recipe.settings


def test_recipes_that_differ_in_mode_alone_see_the_same_functions_and_begin_with_the_same_network(
    tmp_path,
):
    with jax.enable_x64(False):
        first, other = (tiny("heat", mode=mode).setup(tmp_path) for mode in ("none", "features"))
        batches = [jax.tree.leaves(parts.batches(jnp.asarray(7))) for parts in (first, other)]
    assert all(np.array_equal(a, b) for a, b in zip(*batches, strict=True))
    weights = [
        jax.tree.leaves(nnx.state(parts.network.network, nnx.Param)) for parts in (first, other)
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def test_functions_held_out_are_not_learned_and_others_come_with_another_seed(tmp_path):
    sets = [
        tiny(seed=seed).functions(which, tmp_path).parameter
        for seed in (0, 1)
        for which in ("learned", "held out")
    ]
    assert [len(s) for s in sets] == [8, 6, 8, 6]
    assert len(np.unique(np.concatenate(sets))) == sum(map(len, sets))


def test_the_numbers_of_a_recipe_are_those_of_its_family():
    recipe = tiny("stokes", numbers={"viscosity": 0.02, "frequencies": (1.0, 2.0)})
    assert recipe.family == StokesSecond(viscosity=0.02, frequencies=(1.0, 2.0))
    assert recipe.checked() == recipe
    assert [side.order for side in tiny("heat", order=2).boundary.sides] == [2, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem": "stoks"}, "did you mean 'stokes_second'"),
        (
            {"problem": "burgers"},
            "several problems are called 'burgers': burgers_ring, burgers_step, burgers_wave",
        ),
        ({"mode": "exact"}, "unknown mode 'exact'; there are 'none'"),
        ({"steps": 0}, "steps must be 1 or more; got 0"),
        ({"depth": 0}, "depth must be 1 or more; got 0"),
        ({"rate": 2.0}, "above 0 and below 1; got 2"),
        ({"samples": 10}, "got samples=10 and size=4. Write samples=8"),
        (
            {"numbers": {"viscosty": 0.1}},
            "stokes_second has no number called viscosty; it has amplitude, viscosity",
        ),
        ({"numbers": {"viscosity": -1.0}}, "viscosity"),
        ({"numbers": {"viscosity": "much"}}, "stokes_second cannot have these numbers: "),
        (
            {"problem": "cavity", "numbers": {"field": "vorticity"}},
            "nothing is known of cavity at its boundary with {'field': 'vort",
        ),
        ({"problem": "heat", "points": 3}, "needs 4 points; the axis has 3"),
    ],
)
def test_a_recipe_that_cannot_be_carried_out_says_what_to_change(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        tiny(**{"problem": "stokes", **changes})


# --- runs


class Stopped(Exception):
    """The end of a process, for a test."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed: its recipe, its folder, its network."""
    folder, recipe = tmp_path_factory.mktemp("whole"), tiny("heat")
    return recipe, folder, run(recipe, folder)


def test_a_run_that_is_stopped_goes_on_to_the_same_bits(whole, tmp_path):
    recipe, folder, _ = whole

    def stop(report):
        if report.step > 6:
            raise Stopped

    with pytest.raises(Stopped):
        run(recipe, tmp_path, stop)
    begun = []
    run(recipe, tmp_path, begins=begun.append)
    assert begun == [6]
    name = f"{recipe.name}.safetensors"
    first, second = (load_weights(place / name) for place in (folder, tmp_path))
    leaves = (jax.tree.leaves(nnx.state(known.network, nnx.Param)) for known in (first, second))
    assert all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))
    losses = [
        {k: v for k, v in known.card["training"].items() if k != "seconds"}
        for known in (first, second)
    ]
    assert losses[0] == losses[1]


def stopped_after_nine_steps(recipe, folder):
    def stop(report):
        if report.step > 9:
            raise Stopped

    with pytest.raises(Stopped):
        run(recipe, folder, stop)
    return folder / "states" / "9"


def emptied(file):
    file.write_bytes(b"")


def truncated(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def one_bit(file):
    held = bytearray(file.read_bytes())
    held[len(held) // 2] ^= 8
    file.write_bytes(bytes(held))


@pytest.mark.parametrize("damage", [emptied, truncated, one_bit, Path.unlink])
def test_a_damaged_state_is_dropped_and_the_one_before_leads_to_the_same_bits(
    whole, tmp_path, damage
):
    recipe, folder, _ = whole
    newest = stopped_after_nine_steps(recipe, tmp_path)
    largest = max((f for f in newest.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    damage(largest)
    begun = []
    with pytest.warns(DamagedStateWarning, match="state of step 9 in .* is damaged"):
        run(recipe, tmp_path, begins=begun.append)
    assert begun == [6]
    name = f"{recipe.name}.safetensors"
    leaves = (
        jax.tree.leaves(nnx.state(load_weights(place / name).network, nnx.Param))
        for place in (folder, tmp_path)
    )
    assert all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_settings_that_cannot_be_read_are_refused_in_a_line(whole, tmp_path, text):
    recipe, _, _ = whole
    stopped_after_nine_steps(recipe, tmp_path)
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(OSError, match="cannot be read as the settings of a run"):
        run(recipe, tmp_path)


@pytest.mark.parametrize("text", ["", "not json\n", '{"step": 3, "sec'])
def test_a_log_that_lacks_rounds_is_told_of(whole, tmp_path, text):
    recipe, _, _ = whole
    stopped_after_nine_steps(recipe, tmp_path)
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.warns(DamagedStateWarning, match="holds no rounds up to step 9"):
        run(recipe, tmp_path)


def test_the_weights_kept_are_those_of_the_lowest_error_on_functions_held_out(whole):
    recipe, folder, _ = whole
    network, card = load_weights(folder / f"{recipe.name}.safetensors", problem=ForcedHeat)
    with jax.enable_x64(False):
        held_out = recipe.functions("held out", folder / "data")
        error = float(relative_error(network, held_out))
    assert error == pytest.approx(card["training"]["lowest_validation"], rel=1e3 * EPS)
    lines = [
        json.loads(line)["validation"] for line in (folder / "log.jsonl").read_text().splitlines()
    ]
    assert card["training"]["lowest_validation"] == min(lines)
    assert len(lines) == 4
    assert lines[-1] < lines[0]


def test_what_is_left_holds_the_boundary_and_tells_of_the_family(whole):
    recipe, folder, network = whole
    problem, grid = recipe.family, recipe.boundary.grid
    with jax.enable_x64(False):
        samples = problem.sample(KEY, 3, grid)
        fields = np.asarray(jax.vmap(network)(samples.inputs, samples.boundary), np.float64)
    for side, values in zip(recipe.boundary.sides, samples.boundary, strict=True):
        row = side.functional(grid).weights[0]
        np.testing.assert_allclose(
            fields @ row, values, rtol=0, atol=10 * EPS * np.abs(row).sum() * np.abs(fields).max()
        )
    card = load_weights(folder / f"{recipe.name}.safetensors").card
    written = (folder / f"{recipe.name}.md").read_text()
    assert written == page(card)
    for said in (
        "bayescons.problems.ForcedHeat`: initial state and boundary values",
        "diffusivity 0.01",
        "neumann at the lower end",
    ):
        assert said in written
    assert (
        "8 to learn from, 6 held out; 16 points along each axis of space, at the last time"
        in written
    )


def test_the_command_trains_an_operator_and_does_not_train_it_twice(tmp_path, capsys):
    sizes = [
        word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    command = [
        "train",
        "operator",
        "--problem",
        "stokes",
        "--mode",
        "overwrite",
        "--values",
        "withheld",
        *sizes,
    ]
    command += ["--numbers", "viscosity=0.02", "--out", str(tmp_path)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "operator_stokes_second_overwrite_withheld: 12 steps with batches of 4" in said
    assert "(relative error in L2), at step" in said
    card = load_weights(tmp_path / "operator_stokes_second_overwrite_withheld.safetensors").card
    assert card["recipe"]["numbers"] == {"viscosity": 0.02}
    assert card["problem"]["numbers"]["viscosity"] == 0.02
    assert main(command) == 0
    assert "is complete already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["operator", "--problem", "stokes", "--heads", "2"],
            "Unrecognized or misplaced options: --heads",
        ),
        (
            ["anp", "--problem", "stefan", "--mode", "none"],
            "Unrecognized or misplaced options: --mode",
        ),
        (
            ["operator", "--problem", "stokes", "--numbers", "viscosity"],
            "parsing --numbers: write NAME=VALUE, as viscosity=0.02; got",
        ),
        (
            ["operator", "--problem", "stokes", "--preset", "published"],
            "invalid choice 'published'",
        ),
        (["operator", "--problem", "stokes", "--numbers", "U=1"], "has no number called U"),
    ],
)
def test_a_command_that_cannot_be_carried_out_is_refused_and_leaves_nothing(
    tmp_path, capsys, arguments, message
):
    assert main(["train", *arguments, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert message in said.err
    assert list(tmp_path.iterdir()) == []
