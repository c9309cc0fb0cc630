"""Predictions of others: what a file may hold, what is made of it, and what is said of files that
hold something else.
"""

import pickle

import numpy as np
import pytest
import xarray

from bayescons.cli.errors import InputError
from bayescons.cli.predictions import open_arrays, read_belief, read_value

RNG = np.random.default_rng(0)
T, X = np.linspace(0, 1, 3), np.linspace(0, 2, 5) ** 1.5
MEAN, SCALE = RNG.normal(size=(3, 5)), RNG.uniform(0.5, 1.5, size=(3, 5))
EPS = np.finfo(np.float64).eps


def npz(tmp_path, **arrays):
    path = tmp_path / "file.npz"
    np.savez(path, **arrays)
    return path


def netcdf(tmp_path, engine="h5netcdf", **arrays):
    path = tmp_path / "file.nc"
    xarray.Dataset(arrays).to_netcdf(path, engine=engine)
    return path


def read(path, axes=None, **names):
    with open_arrays(path) as arrays:
        return read_belief(arrays, axes, **names)


def same(predictions, mean=MEAN, variance=SCALE**2):
    np.testing.assert_array_equal(predictions.belief.mean, mean)
    np.testing.assert_allclose(predictions.belief.variance, variance, rtol=4 * EPS)


def test_mean_and_scale_of_an_npz_are_independent_points(tmp_path):
    predictions = read(npz(tmp_path, t=T, x=X, mean=MEAN, scale=SCALE))
    assert predictions.grid.names == ("t", "x")
    same(predictions)


def test_a_variance_is_not_mistaken_for_a_scale(tmp_path):
    same(read(npz(tmp_path, t=T, x=X, mean=MEAN, variance=SCALE**2)))


def test_one_scale_may_hold_for_all_points(tmp_path):
    same(read(npz(tmp_path, t=T, x=X, mean=MEAN, scale=0.5)), variance=np.full((3, 5), 0.25))


def test_names_of_axes_and_arrays_are_those_given(tmp_path):
    path = npz(tmp_path, time=T, depth=X, m=MEAN, s=SCALE, mean=np.zeros(2))
    predictions = read(path, "t=time,depth", mean="m", scale="s")
    assert predictions.grid.names == ("t", "depth")
    same(predictions)


def test_single_precision_is_computed_in_double(tmp_path):
    belief = read(npz(tmp_path, t=T, x=X, mean=MEAN.astype("f4"), scale=SCALE.astype("f4"))).belief
    assert belief.mean.dtype == belief.variance.dtype == np.float64


def test_axes_in_front_of_the_grid_are_a_batch(tmp_path):
    mean = np.stack([MEAN, 2 * MEAN])
    predictions = read(npz(tmp_path, t=T, x=X, mean=mean, scale=np.ones_like(mean)))
    assert (predictions.belief.batch_shape, predictions.batch) == ((2,), ("batch",))


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_netcdf_axes_are_put_in_order_by_their_names(tmp_path, engine):
    stacked = np.stack([MEAN.T, 2 * MEAN.T], axis=1)  # (x, case, t)
    path = netcdf(
        tmp_path,
        engine,
        t=("t", T),
        x=("x", X),
        mean=(("x", "case", "t"), stacked),
        scale=(("t", "case", "x"), np.stack([SCALE] * 2, 1)),
    )
    predictions = read(path)
    assert predictions.batch == ("case",)
    same(predictions, np.stack([MEAN, 2 * MEAN]), np.stack([SCALE**2] * 2))


def test_netcdf_times_with_units_stay_numbers(tmp_path):
    path = netcdf(
        tmp_path,
        t=("t", T, {"units": "seconds"}),
        x=("x", X),
        mean=(("t", "x"), MEAN),
        scale=((), 1.0),
    )
    np.testing.assert_array_equal(read(path).grid["t"], T)


def test_netcdf_values_are_spread_over_the_batch_by_their_names(tmp_path):
    wall = np.array([1.0, 2.0])
    path = netcdf(
        tmp_path,
        t=("t", T),
        x=("x", X),
        mean=(("case", "t", "x"), np.stack([MEAN] * 2)),
        scale=((), 1.0),
        wall=("case", wall),
    )
    with open_arrays(path) as arrays:
        predictions = read_belief(arrays)
        np.testing.assert_array_equal(
            read_value(arrays, predictions, "wall", ["t"], "value"),
            np.repeat(wall[:, None], 3, axis=1),
        )
        with pytest.raises(
            InputError, match=r"must be over the axes \(case, t\); it is over \(x\)"
        ):
            read_value(arrays, predictions, "x", ["t"], "value")


@pytest.mark.parametrize("form", ["npz", "netcdf"])
def test_an_ensemble_has_the_mean_and_covariance_of_its_draws(tmp_path, form):
    draws = RNG.normal(size=(2, 10, 3, 5))
    if form == "npz":
        path, draws = (
            npz(tmp_path, t=T, x=X, draws=draws.reshape(20, 3, 5)),
            draws.reshape(20, 3, 5),
        )
    else:
        path, draws = (
            netcdf(tmp_path, t=("t", T), x=("x", X), draws=(("chain", "draw", "t", "x"), draws)),
            draws.reshape(20, 3, 5),
        )
    belief = read(path, nugget=0.01).belief
    added = 1e-4 * draws.var(axis=0, ddof=1).mean()
    np.testing.assert_allclose(belief.mean, draws.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(belief.variance, draws.var(axis=0, ddof=1) + added, rtol=1e-13)
    field = RNG.normal(size=(3, 5))
    exact = np.cov(draws.reshape(20, 15).T) @ field.ravel() + added * field.ravel()
    np.testing.assert_allclose(np.ravel(belief.covariance.mv(field)), exact, rtol=1e-12, atol=1e-13)


def test_a_batch_of_ensembles_has_its_draws_first(tmp_path):
    draws = RNG.normal(size=(20, 2, 3, 5))
    belief = read(npz(tmp_path, t=T, x=X, draws=draws)).belief
    assert belief.batch_shape == (2,)
    np.testing.assert_allclose(belief.mean, draws.mean(axis=0), rtol=1e-14)


GOOD = {"t": T, "x": X, "mean": MEAN, "scale": SCALE}


def broken(place, value):
    array = np.array(GOOD[place])
    array.flat[1] = value
    return {**GOOD, place: array}


BAD = {
    "no mean": ({"t": T, "x": X}, "neither 'mean' nor 'draws'; it has 't', 'x'"),
    "no scale": ({"t": T, "x": X, "mean": MEAN}, "no 'scale' .* and no 'variance'"),
    "no coordinates": ({"mean": MEAN, "scale": SCALE}, "no coordinates t, x, y or z.*--axes"),
    "NaN in the mean": (
        broken("mean", np.nan),
        "mean 'mean' .* holds 1 NaN or infinite entries of 15",
    ),
    "infinite scale": (broken("scale", np.inf), "scale 'scale' .* holds 1 NaN or infinite"),
    "negative scale": (
        broken("scale", -1),
        "must be above zero everywhere; its smallest entry is -1",
    ),
    "zero scale": (
        broken("scale", 0),
        "must be above zero everywhere; its smallest entry is 0.*--dirichlet",
    ),
    "coordinates that do not increase": (broken("x", 7), "axis 'x' must increase strictly.*Sort"),
    "NaN in a coordinate": (broken("x", np.nan), "coordinates 'x' .* holds 1 NaN"),
    "two-dimensional coordinates": (
        {**GOOD, "x": np.ones((5, 1))},
        r"must be a one-dimensional array.*\(5, 1\)",
    ),
    "axes in another order": (
        {**GOOD, "mean": MEAN.T},
        r"shape of the grid \(3, 5\).*got \(5, 3\).*--axes x,t",
    ),
    "a scale of another shape": (
        {**GOOD, "scale": SCALE[:1]},
        r"mean's shape \(3, 5\), or be one number; got \(1, 5\)",
    ),
    "text": ({**GOOD, "mean": np.full((3, 5), "a")}, "must hold real numbers; it holds <U1"),
    "complex numbers": ({**GOOD, "mean": MEAN + 0j}, "must hold real numbers; it holds complex128"),
    "pickled arrays": (
        {**GOOD, "mean": np.array([[None]])},
        "cannot read the mean 'mean'.*nothing pickled is ever read",
    ),
    "one draw": ({"t": T, "x": X, "draws": MEAN[None]}, "at least two draws; it has 1"),
    "no axis of draws": ({"t": T, "x": X, "draws": MEAN}, "must have an axis of draws in front"),
    "draws behind the grid": (
        {"t": T, "x": X, "draws": np.stack([MEAN, -MEAN], axis=-1)},
        r"got \(3, 5, 2\).*goes in front: np.moveaxis\(array, -1, 0\)",
    ),
    "equal draws": ({"t": T, "x": X, "draws": np.stack([MEAN] * 3)}, "are all equal"),
}


@pytest.mark.parametrize("case", BAD)
def test_arrays_that_are_no_belief_are_refused(tmp_path, case):
    arrays, message = BAD[case]
    with pytest.raises(InputError, match=message):
        read(npz(tmp_path, **arrays))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"mean": "loc"}, "no array 'loc' for the mean; it has 't', 'x', 'mean', 'scale'"),
        ({"scale": "scale", "variance": "scale"}, "both --scale and --variance"),
        ({"ensemble": "mean", "scale": "scale"}, "an ensemble has its own mean and scale"),
        ({"ensemble": "mean", "nugget": 0.0}, "--nugget must be a number above zero"),
        ({"axes": "t,t"}, "cannot read --axes 't,t'"),
        ({"axes": "t,"}, "cannot read --axes 't,'"),
        ({"axes": "t,y"}, "no array 'y' for the coordinates"),
    ],
)
def test_names_that_do_not_fit_the_file_are_refused(tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        read(npz(tmp_path, **GOOD), **names)


def test_a_netcdf_mean_over_other_axes_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"must be over the axes \(t, x\) of the grid; it is over \(t, y\)"
    ):
        read(netcdf(tmp_path, t=("t", T), x=("x", X), mean=(("t", "y"), MEAN), scale=((), 1.0)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected a NetCDF or .npz file"),
        (b"t,x,mean\n0,0,1\n", "is neither NetCDF nor .npz. Write np.savez"),
        (pickle.dumps(GOOD), "looks like a pickle, which is never read"),
        (b"\x93NUMPY\x01\x00", r"holds a single array \(.npy\)"),
        (b"PK\x03\x04 and no more", "cannot read .* as an .npz file"),
        (b"\x89HDF\r\n\x1a\n and no more", "cannot read .* as NetCDF"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*missing.npz: No such file"):
        read(tmp_path / "missing.npz")
    with pytest.raises(InputError, match="Is a directory"):
        read(tmp_path)
