"""Samples on disk: what was drawn comes back, whole or not at all, and never as the samples of
something else.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescons.problems import BurgersWave, StokesSecond, load_samples, save_samples, stored

PROBLEM, KEY, COUNT = StokesSecond(), jax.random.key(0), 3
GRID = PROBLEM.grid(5, times=2)


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("problem", [PROBLEM, BurgersWave()], ids=lambda problem: problem.name)
def test_what_was_drawn_comes_back_from_the_folder(problem, tmp_path):
    grid = problem.grid(5, times=2)
    drawn = stored(problem, KEY, COUNT, grid, folder=tmp_path / "new")
    (file,) = (tmp_path / "new").iterdir()
    before = file.stat().st_mtime_ns
    again = stored(problem, KEY, COUNT, grid, folder=tmp_path / "new")
    same(again, drawn)
    same(again, problem.sample(KEY, COUNT, grid))
    assert jax.tree.structure(again) == jax.tree.structure(drawn)
    assert file.stat().st_mtime_ns == before
    assert list((tmp_path / "new").iterdir()) == [file]


def test_every_data_set_has_a_file_of_its_own(tmp_path):
    stored(PROBLEM, KEY, COUNT, GRID, folder=tmp_path)
    stored(PROBLEM, jax.random.key(1), COUNT, GRID, folder=tmp_path)
    stored(PROBLEM, KEY, COUNT + 1, GRID, folder=tmp_path)
    stored(PROBLEM, KEY, COUNT, PROBLEM.grid(5), folder=tmp_path)
    stored(StokesSecond(viscosity=0.02), KEY, COUNT, GRID, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "samples.npz"
    save_samples(path, PROBLEM.sample(KEY, COUNT, GRID), PROBLEM, KEY, GRID)
    same(load_samples(path, PROBLEM), load_samples(path, PROBLEM, KEY, COUNT, GRID))
    for arguments, what in (
        ((BurgersWave(),), 'problem: "stokes_second"; expected "burgers_wave"'),
        ((StokesSecond(viscosity=0.02),), "numbers"),
        ((PROBLEM, jax.random.key(1)), "key"),
        ((PROBLEM, KEY, COUNT + 1), "count: 3; expected 4"),
        ((PROBLEM, KEY, COUNT, PROBLEM.grid(5)), "grid"),
    ):
        with pytest.raises(ValueError, match=f"samples of another {what}"):
            load_samples(path, *arguments)


def test_a_file_says_what_made_it_and_holds_nothing_to_execute(tmp_path):
    path = tmp_path / "samples.npz"
    save_samples(path, PROBLEM.sample(KEY, COUNT, GRID), PROBLEM, KEY, GRID)
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(str(file["header"]))
        assert all(file[name].dtype.kind in "fU" for name in file.files)
    assert header["problem"] == "stokes_second"
    assert header["numbers"]["viscosity"] == 0.1
    assert set(header["versions"]) == {"bayescons", "jax", "numpy", "python"}


def test_a_damaged_file_is_refused_and_not_read_in_part(tmp_path):
    stored(PROBLEM, KEY, COUNT, GRID, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flipped = bytearray(whole)
    at = whole.index(np.asarray(PROBLEM.sample(KEY, COUNT, GRID).outputs).tobytes()[:32])
    flipped[at] ^= 1
    for content in (whole[: len(whole) // 2], b"", b"not an archive", bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a whole file of samples"):
            stored(PROBLEM, KEY, COUNT, GRID, folder=tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no samples at"):
        load_samples(path, PROBLEM)


def test_an_interrupted_write_leaves_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "samples.npz"
    samples = PROBLEM.sample(KEY, COUNT, GRID)
    save_samples(path, samples, PROBLEM, KEY, GRID)
    before = path.read_bytes()

    def fails(file, **_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", fails)
    with pytest.raises(KeyboardInterrupt):
        save_samples(path, samples, PROBLEM, KEY, GRID)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_single_precision_reads_what_double_wrote(tmp_path):
    drawn = stored(PROBLEM, KEY, COUNT, GRID, folder=tmp_path)
    with jax.enable_x64(False):
        single = stored(PROBLEM, KEY, COUNT, GRID, folder=tmp_path)
    assert single.outputs.dtype == jnp.float32
    np.testing.assert_array_equal(single.outputs, np.asarray(drawn.outputs).astype(np.float32))
