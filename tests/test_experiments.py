"""Experiments: each runs from settings to rows, page and figures, whole or not at all; a page is
made from its rows alone.
"""

import ast
import dataclasses
import functools
import json
import math
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bayescons as bc
from bayescons.axes.quadrature import quadrature_weights
from bayescons.sampling import Method, chains
from bayescons.surrogates import Ensemble
from experiments import __main__ as command
from experiments import (
    boundary_tables,
    boundary_uq,
    cavity,
    conformal,
    default_settings,
    energy_refits,
    gpme_tables,
    heteroskedastic,
    hyperbolic_tables,
    insulator,
    land_closure,
    limiting_precision,
    mass_over_time,
    mass_update,
    measurement,
    network_speed,
    neural_tables,
    operator_speed,
    resolution,
    results_page,
    right_measure,
    sbc,
    shock_position,
    solution_profiles,
    speed,
    stefan_gp,
    stokes_profile,
    unknown_flux,
    vanishing_noise,
)
from experiments.cases import Slice
from experiments.operators import Case
from experiments.rows import Row, averaged, from_json, to_json
from experiments.tables import compact, left_out
from models import one_total

FOLDER = Path(command.__file__).parent
OPERATOR: dict[str, Any] = {
    "points": 16,
    "samples": 8,
    "held_out": 4,
    "modes": 3,
    "width": 4,
    "depth": 1,
    "size": 4,
    "steps": 2,
}
HEAT, STOKES = Case("forced_heat", **OPERATOR), Case("stokes_second", **OPERATOR)
CAVITY = Case("cavity", numbers=(("intervals", 15),), times=6, **OPERATOR)
TWO = ("FNO + values", "features")
TINY = {
    "speed": speed.Settings(
        sizes=((1, 3, 21), (1, 3, 41)),
        dense_points=21,
        repeats=1,
        draws=3,
        draws_size=(1, 3, 21),
        low_rank=(4, 10, 2, 2),
        kronecker=(3, 8),
        chain=20,
        scales=(1e-2,),
        calls=(3, 21),
    ),
    "stefan_gp": stefan_gp.Settings(functions=1, thresholds=(0.6,), times=5, points=21, draws=10),
    "network_speed": network_speed.Settings(
        width=8,
        dropouts=(0.1,),
        functions=2,
        points=3,
        steps=1,
        turns=2,
        posterior=(2, 3, 21),
        predicted=1,
        draws=4,
        pairs=2,
        grid=(2, 5),
        counts=(2,),
        many=4,
        repeats=1,
    ),
    "gpme_tables": gpme_tables.Settings(
        functions=2,
        held_out=2,
        families=("stefan",),
        latents=3,
        few=2,
        points=21,
        beside=("conditioned", "ensemble"),
    ),
    "hyperbolic_tables": hyperbolic_tables.Settings(
        functions=2, held_out=2, families=("advection",), latents=3, few=2, points=21
    ),
    "mass_over_time": mass_over_time.Settings(
        cases=(("stefan", 0.6),), functions=2, latents=3, times=5, points=21
    ),
    "solution_profiles": solution_profiles.Settings(
        families=("stefan", "burgers"), latents=3, few=2, points=21
    ),
    "shock_position": shock_position.Settings(
        families=("stefan", "burgers"), draws=20, latents=3, few=2, points=21
    ),
    "limiting_precision": limiting_precision.Settings(
        functions=2,
        exponents=(-2, 6, 12),
        latents=3,
        cases=(("stefan", 0.6), ("burgers", 3.0)),
        points=21,
    ),
    "land_closure": land_closure.Settings(
        cells=(6, 12), months=2, stations=20, region=(6, 12), trials=2, streamed=(1,)
    ),
    "heteroskedastic": heteroskedastic.Settings(
        functions=2, latents=3, cases=(("burgers", 3.0),), points=21
    ),
    "sbc": sbc.Settings(
        simulations=20,
        latents=50,
        network=(20, 20),
        points=(2, 7),
        draws=9,
        warmup=20,
        pairs=(
            ("linear", "itself"),
            ("hierarchical scale", "imposed, not observed"),
            ("neural process", "itself"),
            ("heavy tails", "itself"),
        ),
    ),
    "vanishing_noise": vanishing_noise.Settings(
        exponents=(0, 2, 4), chain=20, particles=20, repeats=1
    ),
    "default_settings": default_settings.Settings(
        steps=20, models=("one_total", "rod_unknown_amplitude")
    ),
    "right_measure": right_measure.Settings(
        energy_refits.Size(20, side=10, draws=10, thinning=1, warmup=2),
        draws=20,
        belief=500,
        scales=(0.1,),
    ),
    "unknown_flux": unknown_flux.Settings(
        functions=1, cases=(("stefan", 0.6),), times=5, points=21, latents=3
    ),
    "conformal": conformal.Settings(
        functions=2,
        calibration=19,
        shape=3,
        beyond=2,
        latents=3,
        draws=10,
        families=("burgers",),
        points=21,
    ),
    "boundary_tables": boundary_tables.Settings(cases=(HEAT,), seeds=1, functions=3, methods=TWO),
    "insulator": insulator.Settings(HEAT, seeds=1, functions=3, methods=TWO),
    "resolution": resolution.Settings((HEAT,), functions=2, doublings=2, methods=("features",)),
    "stokes_profile": stokes_profile.Settings(
        STOKES,
        dataclasses.replace(STOKES, times=6),
        functions=2,
        methods=("features",),
        over_time=("features",),
    ),
    "cavity": cavity.Settings(CAVITY, functions=2, methods=("features",)),
    "operator_speed": operator_speed.Settings((STOKES,), steps=1, rounds=2, methods=("features",)),
    "boundary_uq": boundary_uq.Settings(
        training=(dataclasses.replace(HEAT, points=17, held_out=8),),
        functions=3,
        held_out=8,
        members=2,
        rank=2,
    ),
}
FIELDS = {"problem", "parameter", "method", "metric", "mean", "se", "n", "reference", "device"}
ORIGIN = {"experiment", "preset", "seed", "date", "versions"}


@pytest.fixture(scope="module", params=list(TINY))
def outcome(request, tmp_path_factory):
    """Name, folder and files of an experiment that has run with tiny settings."""
    folder = tmp_path_factory.mktemp(request.param)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.NotMixedWarning)  # of a few draws
        written = command.run(request.param, TINY[request.param], folder, preset="tiny")
    return request.param, folder, written


def test_an_experiment_writes_its_rows_its_page_and_its_figures_and_nothing_else(outcome):
    name, folder, written = outcome
    figures = [f"{name}{ending}.png" for ending in import_module(f"experiments.{name}").FIGURES]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [f"{name}.json", f"{name}.md", *figures]
    )
    assert all(path.stat().st_size for path in written)
    assert all((folder / figure).read_bytes().startswith(b"\x89PNG") for figure in figures)


def test_the_json_is_a_list_of_rows_that_say_where_they_come_from(outcome):
    name, folder, _ = outcome
    records = json.loads((folder / f"{name}.json").read_text())
    assert isinstance(records, list)
    assert records
    assert all(record.keys() >= FIELDS | ORIGIN for record in records)
    assert {(r["experiment"], r["preset"], r["seed"]) for r in records} == {(name, "tiny", 0)}
    assert all(r["device"] and r["versions"]["jax"] == jax.__version__ for r in records)


def test_every_number_that_is_missing_says_why(outcome):
    name, folder, _ = outcome
    rows, _ = from_json(folder / f"{name}.json")
    assert [row for row in rows if math.isnan(row.mean) and row.n == 1 and not row.note] == []


def test_no_two_rows_are_of_the_same_thing(outcome):
    name, folder, _ = outcome
    rows, _ = from_json(folder / f"{name}.json")
    assert len({(r.problem, r.parameter, r.method, r.metric) for r in rows}) == len(rows)


def test_the_page_is_made_again_from_the_json_alone(outcome, tmp_path):
    name, folder, _ = outcome
    (tmp_path / f"{name}.json").write_bytes((folder / f"{name}.json").read_bytes())
    results_page.write_pages(tmp_path)
    assert (tmp_path / f"{name}.md").read_text() == (folder / f"{name}.md").read_text()
    assert name in (tmp_path / "index.md").read_text().splitlines()


def test_a_page_shows_every_figure_and_the_tables(outcome):
    name, folder, written = outcome
    text = (folder / f"{name}.md").read_text()
    assert all(f"({path.name})" in text for path in written if path.suffix == ".png")
    assert all(
        table.title in text
        for table in import_module(f"experiments.{name}").tables(from_json(written[0])[0])
    )


@pytest.mark.parametrize("name", command.EXPERIMENTS)
def test_an_experiment_has_both_presets_and_stands_in_the_help(name, capsys):
    experiment = import_module(f"experiments.{name}")
    assert set(experiment.SETTINGS) == {"quick", "paper"}
    assert all(
        dataclasses.is_dataclass(settings) and hash(settings)
        for settings in experiment.SETTINGS.values()
    )
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert name in capsys.readouterr().out


def test_a_name_that_is_no_experiment_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["nonsense"])
    assert end.value.code == 2
    assert "stefan_gp" in capsys.readouterr().err


def test_nothing_is_left_of_an_experiment_that_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(stefan_gp, "rows", lambda *_: [][0])
    with pytest.raises(IndexError):
        command.run("stefan_gp", TINY["stefan_gp"], tmp_path, preset="tiny")
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_written_is_found_out_before_the_work_begins(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(stefan_gp, "rows", lambda *_: pytest.fail("it went to work"))
    (tmp_path / "file").write_text("")
    assert command.main(["stefan_gp", "--out", str(tmp_path / "file" / "results")]) == 2
    assert capsys.readouterr().err.startswith("error:")


@pytest.mark.parametrize(
    ("name", "text"),
    [("speed", "[]"), ("speed", '[{"mean": 1}]'), ("speed", "{"), ("nonsense", None)],
)
def test_a_page_is_refused_for_what_is_no_list_of_rows_of_an_experiment(
    name, text, tmp_path, capsys
):
    row = Row("p", "1", "m", "metric", 1.0)
    origin = {
        "experiment": name,
        "preset": "quick",
        "seed": 0,
        "date": "2026-01-01",
        "versions": {},
    }
    (tmp_path / f"{name}.json").write_text(to_json([row], origin) if text is None else text)
    assert command.main(["page", "--out", str(tmp_path)]) == 2
    assert name in capsys.readouterr().err
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_an_index_without_pages_says_so(tmp_path):
    results_page.write_pages(tmp_path)
    assert "None yet" in (tmp_path / "index.md").read_text()


def test_rows_survive_their_file(tmp_path):
    rows = [
        Row("p", "1", "m", "a", 0.1, 0.2, 3, 4.0),
        Row("p", "1", "m", "b", math.nan, n=0, reference="≤ 2", note="why"),
    ]
    path = tmp_path / "rows.json"
    path.write_text(to_json(rows, {"seed": 0}))
    again, origin = from_json(path)
    assert origin == {"seed": 0}
    assert [repr(row) for row in again] == [repr(row) for row in rows]


@pytest.mark.parametrize(
    ("target", "mean", "met"),
    [("≤ 2", 1.0, True), ("≥ 300", 1.0, False), ("≤ 2", math.nan, None), (3.0, 1.0, None)],
)
def test_a_target_is_met_on_its_own_side(target, mean, met):
    assert Row("p", "1", "m", "metric", mean, reference=target).met is met


def test_an_average_leaves_out_what_is_missing():
    result = averaged([1.0, 3.0, math.nan])
    assert result == {"mean": 2.0, "se": pytest.approx(1.0), "n": 2}
    assert averaged([math.nan])["n"] == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1234.5, "1230"), (-0.012345, "-0.0123"), (1.5e-7, "1.50e-07"), (2e6, "2.00e+06")],
)
def test_numbers_are_written_with_three_digits(value, text):
    assert compact(value) == text


def test_the_formulas_that_are_timed_against_each_other_agree():
    size = (2, 3, 21)
    grid = bc.Grid(t=np.arange(3.0), x=np.linspace(0, 1, 21))
    weights = np.asarray(bc.integral(grid, over="x").weights[1])
    belief = mass_update.field(size)
    arrays = tuple(map(np.asarray, belief))
    expected = mass_update.numpy_update(*arrays, weights)
    product = [
        np.reshape(part, size) for part in mass_update.dense_product_update(*belief, weights)
    ]
    for computed in (
        mass_update.compiled_update(grid)(*belief)[:2],
        mass_update.dense_update(*arrays, weights),
        product,
    ):
        for ours, theirs in zip(computed, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)


def test_growth_is_the_exponent_of_a_power_law():
    sizes = np.array([10.0, 100.0, 1000.0])
    assert measurement.growth_exponent(sizes, 3 * sizes**1.5) == pytest.approx(1.5)


def test_a_failure_in_a_process_of_its_own_is_told():
    with pytest.raises(RuntimeError, match="nothing_of_the_kind"):
        measurement.elsewhere("experiments.speed:nothing_of_the_kind")


def test_every_experiment_can_be_named_and_runs_in_the_tests():
    assert set(TINY) == set(command.EXPERIMENTS) == set(get_args(command.Name)) - {"page"}


def test_what_was_left_out_stands_in_a_table_of_its_own():
    why = neural_tables.unavailable("nothing_of_the_kind")
    rows = [Row("p", "1", "m", "metric", 1.0), neural_tables.without_weights("burgers", 3.0, why)]
    assert [table.cells for table in left_out(rows)] == [(("burgers", "a = 3", why),)]
    assert "bayescons train" in why
    assert left_out(rows[:1]) == []
    assert neural_tables.unavailable("stefan") == ""


@pytest.mark.parametrize("scale", [None, 1e-6, 1e-3, 1.0])
def test_a_soft_total_leaves_one_part_in_one_plus_p_a_of_the_error(scale):
    where, rng = Slice("stefan", 21), np.random.default_rng(0)
    members = Ensemble(
        jnp.asarray(rng.normal(size=(4, 1, 21))), jnp.asarray(rng.uniform(0.1, 1.0, (4, 1, 21)))
    )
    after = limiting_precision.stated(where, scale)(members, 0.6, jax.random.key(0))
    weights = quadrature_weights(where.grid["x"])
    error, left = (m @ weights - where.total(0.6) for m in (members.mean[:, 0], after.mean))
    of_total = members.scale[:, 0] ** 2 @ weights**2
    expected = error * (0.0 if scale is None else scale**2 / (of_total + scale**2))
    np.testing.assert_allclose(left, expected, atol=100 * np.finfo(float).eps)


def test_a_rearranged_front_is_that_of_a_monotone_profile_and_counts_a_misplaced_point_once():
    where = Slice("stefan", 201)
    ways = {
        way: functools.partial(locate, where=where, value=0.6)
        for way, locate in shock_position.WAYS.items()
    }
    profile = np.where(where.grid["x"] < 0.2349, 1 - where.grid["x"], 0.0)[None]
    assert ways["rearranged"](profile) == ways["first crossing"](profile)
    early = profile.copy()
    early[0, 10] = 0.0
    assert ways["first crossing"](early) < 0.06
    assert abs(ways["rearranged"](early) - ways["rearranged"](profile)) < 0.0051


def test_the_guard_warns_before_soft_chains_freeze_and_exact_ones_do_not_freeze():
    def mixed(reading, scale):
        found = runs[reading](jax.random.key(0), scale)
        free = np.asarray(found.draws["u"]) @ vanishing_noise._basis()
        # Frozen chains have R-hat above 4; of 99 directions of mixed ones the worst is below 1.2.
        return vanishing_noise.mixing({"free": free}, ["free"]).r_hat < 1.5

    size = Method("nuts", chains=4, warmup=100, draws=100)
    made = {
        reading: chains(one_total.program, size, reading=reading) for reading in ("soft", "exact")
    }
    runs = {
        name: jax.jit(lambda key, scale, run=run: run(key, (0.3,), {"scale": scale}))
        for name, run in made.items()
    }
    assert [vanishing_noise.warns(scale) for scale in (1e-2, 1e-5, 1e-7)] == [False, True, True]
    assert [mixed("soft", scale) for scale in (1e-2, 1e-7)] == [True, False]
    assert mixed("exact", 1e-7)


def test_programs_live_in_models_and_not_in_experiments():
    def samples(path):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        return any(
            isinstance(n, ast.Attribute)
            and n.attr == "sample"
            and ast.unparse(n.value) == "numpyro"
            for n in nodes
        )

    assert [path.name for path in FOLDER.glob("*.py") if samples(path)] == []
