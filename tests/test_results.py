"""Results: what goes into the tree comes back out, and a file is whole or not there."""

import errno
import json
from importlib import metadata
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from bayescons.grids import Grid
from bayescons.results import files
from bayescons.results import trees as results

GRID = Grid(t=np.linspace(0, 0.1, 3), x=np.linspace(0, 1, 5))
EPS = np.finfo(np.float64).eps


def example():
    rng = np.random.default_rng(0)
    u = rng.normal(size=(2, 50, 3, 5))
    return results.datatree(
        {
            "u": jnp.asarray(u),
            "amplitude": rng.normal(size=(2, 50)),
            "mode": rng.normal(size=(2, 50, 4)),
        },
        GRID,
        sample_stats={"diverging": np.zeros((2, 50), bool)},
        observed={"u": np.array([0.1, 0.2])},
        constraints={"mass": {"value": np.arange(3.0), "residual": np.zeros((2, 50, 3))}},
        truth={"u": u[0, 0]},
        attributes={
            "seed": np.int64(3),
            "reading": "exact",
            "sampler": "NUTS",
            "soft": False,
            "scale": None,
            "big": 2**70,
        },
        dims={"mass": ("t",)},
    )


def test_fields_are_labelled_by_the_axes_of_their_grid():
    u = example()["posterior"]["u"]
    assert u.dims == ("chain", "draw", "t", "x")
    np.testing.assert_array_equal(u.x, GRID["x"])
    assert u.sel(t=0.05, x=0.25).shape == (2, 50)


def test_a_batch_of_fields_keeps_its_leading_axis():
    tree = results.datatree({"u": np.zeros((1, 2, 7, 3, 5))}, GRID)
    assert tree["posterior"]["u"].dims == ("chain", "draw", "u_dim_0", "t", "x")


def test_other_variables_are_labelled_by_number_or_by_the_caller():
    posterior = example()["posterior"]
    assert posterior["amplitude"].dims == ("chain", "draw")
    assert posterior["mode"].dims == ("chain", "draw", "mode_dim_0")
    named = results.datatree({"front": np.zeros((1, 2, 3))}, GRID, dims={"front": ("t",)})
    np.testing.assert_array_equal(named["posterior"]["front"].t, GRID["t"])


def test_each_constraint_has_its_values_and_the_residuals_of_each_draw():
    group = example()["constraints"]
    assert group["mass_value"].dims == ("chain", "draw", "t")
    assert group["mass_residual"].dims == ("chain", "draw", "t")


def test_data_and_truth_have_no_draws_and_may_share_a_name_with_the_field():
    tree = example()
    assert tree["observed_data"]["u"].dims == ("u_dim_0",)
    assert tree["constant_data"]["u"].dims == ("t", "x")


def test_the_versions_and_the_callers_attributes_are_kept():
    attributes = example().attrs
    assert attributes["jax_version"] == metadata.version("jax")
    assert (attributes["seed"], attributes["reading"]) == (3, "exact")
    assert [json.loads(attributes[name]) for name in ("soft", "scale", "big")] == [
        False,
        None,
        2**70,
    ]


@pytest.mark.parametrize(
    "draws", [{"u": np.zeros(5)}, {"u": np.zeros((1, 5)), "v": np.zeros((2, 5))}, {}]
)
def test_draws_without_chain_and_draw_axes_are_refused(draws):
    with pytest.raises(ValueError, match="chain, draw"):
        results.datatree(draws, GRID)


def test_dims_and_constraints_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="dims of 'front'"):
        results.datatree({"front": np.zeros((1, 2, 4))}, GRID, dims={"front": ("t",)})
    with pytest.raises(ValueError, match="'value' and a 'residual'"):
        results.datatree({"u": np.zeros((1, 2))}, constraints={"mass": {"value": 1.0}})


def test_a_tree_comes_back_from_its_file_unchanged(tmp_path):
    tree = example()
    path = results.save(tree, tmp_path / "draws.nc")
    back = results.load(path)
    assert tree.identical(back)
    assert back["sample_stats"]["diverging"].dtype == bool
    assert [file.name for file in tmp_path.iterdir()] == ["draws.nc"]


def test_a_loaded_file_may_be_overwritten(tmp_path):
    path = results.save(example(), tmp_path / "draws.nc")
    results.save(results.load(path), path)
    assert results.load(path).identical(results.load(path))


@pytest.mark.parametrize("place", ["missing/draws.nc", "file/draws.nc", "folder"])
def test_an_output_that_cannot_be_written_leaves_nothing_behind(tmp_path, place):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        OSError, match=r"cannot write .*Expected a file name in a folder that exists"
    ):
        results.save(example(), tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def full_disk(monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))


@pytest.mark.usefixtures("full_disk")
def test_where_there_is_no_room_nothing_is_begun(tmp_path):
    with pytest.raises(OSError, match=r"no room in .*MB are to be written.*Make room") as refused:
        results.save(example(), tmp_path / "draws.nc")
    assert refused.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_what_one_file_may_hold_is_room_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(files.resource, "getrlimit", lambda _: (5000, 5000))
    files.require_room(tmp_path, 5000)
    files.require_room(tmp_path / "not" / "there" / "yet.nc", 5000)
    with pytest.raises(OSError, match="no room in"):
        files.require_room(tmp_path, 5001)


def test_an_interrupted_write_leaves_the_earlier_file_as_it_was(tmp_path):
    path = tmp_path / "draws.nc"
    path.write_text("earlier")

    def interrupted():
        with results.whole_file(path) as temporary:
            temporary.write_text("half of the new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [file.read_text() for file in tmp_path.iterdir()] == ["earlier"]


def test_a_reader_of_the_earlier_file_keeps_it_while_the_new_one_takes_its_place(tmp_path):
    path = tmp_path / "draws.nc"
    path.write_text("earlier")
    with path.open() as reader:
        with results.whole_file(path) as temporary:
            temporary.write_text("new")
        assert (reader.read(), path.read_text()) == ("earlier", "new")


def test_a_full_disk_is_reported_with_its_own_error_number(tmp_path):
    def full():
        with results.whole_file(tmp_path / "draws.nc"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as caught:
        full()
    assert caught.value.errno == 28
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_missing_or_is_not_netcdf_is_reported_as_such(tmp_path):
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(FileNotFoundError, match="no results at"):
        results.load(tmp_path / "missing.nc")
    with pytest.raises(OSError, match="as NetCDF"):
        results.load(tmp_path / "text.nc")


def test_the_summary_of_exact_draws_has_their_moments_and_no_r_hat():
    draws = np.random.default_rng(5).normal(size=(1, 1000))
    row = results.summarise(results.datatree({"a": draws}), level=0.9).loc["a"]
    np.testing.assert_allclose(
        [row["mean"], row["sd"]], [draws.mean(), draws.std(ddof=1)], rtol=1e-9
    )
    assert row["hdi_lower"] < -1.2 < 1.2 < row["hdi_upper"]
    assert np.isnan(row["r_hat"])
    assert (
        500 < row["ess_bulk"] < 2000
    )  # independent draws: 1000 to within the noise of its estimate


def test_the_summary_holds_for_exactly_known_unknowns_and_for_a_single_draw():
    table = results.summarise(
        results.datatree(
            {"wall": np.ones((2, 20)), "free": np.random.default_rng(0).normal(size=(2, 20))}
        )
    )
    assert tuple(table.loc["wall", ["mean", "sd", "hdi_lower", "hdi_upper"]]) == (1, 0, 1, 1)
    assert results.summarise(results.datatree({"one": np.ones((1, 1))})).loc["one", "mean"] == 1


def test_the_summary_names_each_point_of_a_field_and_only_the_variables_asked_for():
    table = results.summarise(example(), ["u"])
    assert len(table) == GRID.size
    assert list(results.summarise(example(), "amplitude").index) == ["amplitude"]


def test_the_worst_mixing_point_of_a_field_is_found_and_known_points_are_left_out():
    generator = np.random.default_rng(0)
    draws = generator.normal(size=(4, 200, 3, 5))
    draws[..., 0, 0] = 1.0
    smallest, largest = results.worst_mixing(draws)
    assert smallest > 400
    assert largest < 1.03
    draws[..., 1, 2] += np.arange(4)[:, None] * 3
    smallest, largest = results.worst_mixing(draws)
    assert smallest < 20
    assert largest > 1.5


def test_constant_fields_and_short_chains_have_no_mixing_to_judge():
    assert np.isnan(results.worst_mixing(np.ones((2, 50, 3)))).all()
    assert np.isnan(results.worst_mixing(np.zeros((2, 3, 3)))).all()
    assert np.isnan(results.worst_mixing(np.random.default_rng(1).normal(size=(1, 50, 3)))[1])
