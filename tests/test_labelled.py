"""Labelled predictions: every way in which a file of this field says what its numbers are gives the
closed form that they mean, or is refused with the option that says it.
"""

import itertools
import json

import jax
import numpy as np
import pytest
import xarray

import bayescons as bc
from bayescons.cli import main
from bayescons.labelled import (
    SurprisingLawWarning,
    average,
    dirichlet,
    integral,
    neumann,
    solved,
)
from bayescons.labelled import predictions as understood
from bayescons.labelled.files import opened
from bayescons.labelled.positions import named

EPS = float(np.finfo(float).eps)
EDGES = np.array([0.0, 1.0, 1.5, 3.0, 3.25, 4.0])
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2
NODES = np.array([0.0, 0.5, 0.75, 2.0, 3.0])
STEP = np.arange(5) * 0.5
LAT, LON = np.array([-60.0, -20.0, 10.0, 50.0, 80.0]), np.arange(4) * 90.0


def trapezoid(points):
    return np.convolve(np.diff(points), [0.5, 0.5])


def sphere():
    """Shares of a sphere of the latitudes halfway between points, by the ring of longitudes."""
    inner = (LAT[1:] + LAT[:-1]) / 2
    ends = [[max(-90.0, 2 * LAT[0] - inner[0])], inner, [min(90.0, 2 * LAT[-1] - inner[-1])]]
    area = np.diff(np.sin(np.deg2rad(np.concatenate(ends))))
    return np.repeat(area[:, None], 4, axis=1) * np.pi / 2


# Kind of axis -> dims, coordinates, further variables, attributes of the field, weights, how it is
# read, and the law.
KINDS = {
    "points": ({"x": ("x", NODES)}, {}, {}, trapezoid(NODES), {}),
    "cells by bounds": (
        {"x": ("x", CENTRES, {"bounds": "x_bnds"})},
        {"x_bnds": (("x", "nv"), np.stack([EDGES[:-1], EDGES[1:]], 1))},
        {},
        np.diff(EDGES),
        {},
    ),
    "cells by cell_methods": (
        {"x": ("x", STEP)},
        {},
        {"cell_methods": "x: mean"},
        np.full(5, 0.5),
        {},
    ),
    "a ring": ({"x": ("x", STEP)}, {}, {}, np.full(5, 0.5), {"rings": {"x": None}}),
    "stated cells": ({"x": ("x", CENTRES)}, {}, {}, np.diff(EDGES), {"cells": {"x": EDGES}}),
    "weights without coordinates": (
        {},
        {"volume": ("cell", np.array([1.0, 2.0, 0.5, 1.0, 3.0]))},
        {"cell_measures": "volume: volume"},
        np.array([1.0, 2.0, 0.5, 1.0, 3.0]),
        {},
    ),
    "a sphere": (
        {
            "lat": ("lat", LAT, {"units": "degrees_north"}),
            "lon": ("lon", LON, {"units": "degrees_east"}),
        },
        {},
        {},
        sphere(),
        {},
    ),
}
CONTAINERS = {
    "NetCDF 4": lambda ds, path: ds.to_netcdf(path / "a.nc", engine="h5netcdf"),
    "NetCDF 3": lambda ds, path: ds.to_netcdf(path / "a.nc", engine="scipy"),
    "Zarr 2": lambda ds, path: ds.to_zarr(path / "a.zarr", zarr_format=2, consolidated=False),
    "Zarr 3": lambda ds, path: ds.to_zarr(path / "a.zarr", zarr_format=3, consolidated=False),
}


def dataset(kind, *, ensemble, masked, single, turned, seed=0):
    """A labelled file, the values in it as they are read, and where they are known."""
    coords, further, attrs, weights, _ = KINDS[kind]
    axes = {"weights without coordinates": ("cell",), "a sphere": ("lat", "lon")}.get(kind, ("x",))
    rng = np.random.default_rng(seed)
    lead, names = ((2, 6), ("time", "number")) if ensemble else ((2,), ("time",))
    draws = (3 + rng.normal(size=(*lead, *weights.shape))).astype("f4" if single else "f8")
    known = np.ones(weights.shape, bool)
    if masked:
        known.flat[[1, -2]] = False
    held = np.where(known, draws, np.nan).astype(draws.dtype)
    field = (names + axes, held, attrs | {"units": "kg m-3"})
    variables = (
        {"u": field} if ensemble else {"u": field, "sd": (axes, np.full(weights.shape, 0.5))}
    )
    ds = xarray.Dataset({**variables, **further}, coords=coords)
    ds["u"].encoding["_FillValue"] = draws.dtype.type(1e20)
    if turned:
        ds = ds.transpose(*reversed([n for n in ds.dims if n != "nv"]), ...)
        if axes[0] in ds.coords:
            ds = ds.isel({axes[0]: slice(None, None, -1)})
    return ds, np.where(known, draws, 0.0).astype(float), known


def closed_form(draws, known, weights, ensemble, value):
    """Mean and variance given the total, for each time, by dense algebra."""
    w, means, variances = (weights * known).ravel(), [], []
    for each in draws:
        if ensemble:
            flat = each.reshape(len(each), -1)
            mean = flat.mean(0)
            F = (flat - mean).T / np.sqrt(len(flat) - 1)
            # the nugget is a share of the root mean square over all points, those outside too
            nugget = 1e-3**2 * flat.var(0, ddof=1).mean() * known.ravel()
            K = F @ F.T + np.diag(nugget)
        else:
            mean, K = each.ravel(), np.diag(0.25 * known.ravel())
        gain = K @ w / (w @ K @ w)
        means.append(mean + gain * (value - w @ mean))
        variances.append(np.diag(K - np.outer(gain, w @ K)))
    return (np.reshape(a, (len(draws), *weights.shape)) for a in (means, variances))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_means_what_its_conventions_say(tmp_path, container, kind):
    weights, reading = KINDS[kind][3:]
    flags = itertools.product([False, True], repeat=4)
    for i, (ensemble, masked, single, turned) in enumerate(flags):
        ds, draws, known = dataset(
            kind, ensemble=ensemble, masked=masked, single=single, turned=turned
        )
        folder = tmp_path / str(i)
        folder.mkdir()
        CONTAINERS[container](ds, folder)
        over = "lat,lon" if kind == "a sphere" else "cell" if "cell" in ds.dims else "x"
        law = (average if kind == "a sphere" else integral)(over, 3.1)
        total = (weights * known).sum() if kind == "a sphere" else 1.0
        with opened(next(folder.iterdir())) as file:
            names = {"ensemble": "u"} if ensemble else {"mean": "u", "scale": "sd"}
            before = understood(file.load(), laws=[law], **names, **reading)
        done = quietly(before, law)
        mean, variance = closed_form(draws, known, weights, ensemble, 3.1 * total)
        size = np.abs(mean).max()
        posterior = done.result.posterior
        back = [0, *(1 + before.grid.names.index(name) for name in over.split(","))]
        got = [np.asarray(a).transpose(back) for a in (posterior.mean, posterior.variance)]
        assert np.abs(got[0] - mean).max() <= 1e-12 * size
        assert np.abs(got[1] - variance).max() <= 1e-12
        assert before.batch == ("time",)


def quietly(before, law):
    """However far the value is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bayescons.labelled.conditioning.SURPRISING", np.inf)
        return solved(before, [law], anyway=True)


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("container", ["npz", "HDF5"])
@pytest.mark.parametrize("axes", [None, "x", "x=place"])
def test_arrays_without_names_go_by_position(tmp_path, axes, container, single, ensemble):
    draws = (3 + np.random.default_rng(0).normal(size=(6, 5))).astype("f4" if single else "f8")
    place = "place" if axes == "x=place" else "x"
    arrays = (
        {place: NODES, "draws": draws}
        if ensemble
        else {
            place: NODES,
            "mean": draws,
            "scale": np.full((6, 5), 0.5),
        }
    )
    path = tmp_path / ("a.npz" if container == "npz" else "a.h5")
    if container == "npz":
        np.savez(path, **arrays)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    fields = ["draws"] if ensemble else ["mean", "scale"]
    with opened(path) as file:
        ds, grid = named(file.load(), axes, fields, "draws" if ensemble else None)
    law = integral("x", 9.0)
    before = understood(ds, laws=[law], axes=grid)
    assert before.batch == (() if ensemble else ("batch",))
    done = quietly(before, law)
    truth = draws.astype(float)[None] if ensemble else draws.astype(float)
    mean, variance = closed_form(truth, np.ones(5, bool), trapezoid(NODES), ensemble, 9.0)
    shape = done.result.posterior.mean.shape
    assert np.abs(np.asarray(done.result.posterior.mean) - mean.reshape(shape)).max() <= 1e-11
    assert (
        np.abs(np.asarray(done.result.posterior.variance) - variance.reshape(shape)).max() <= 1e-12
    )


def test_pdebench_holds_averages_over_cells_and_one_time_too_many(tmp_path, capsys):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["tensor"] = 1 + 0.1 * np.random.default_rng(0).normal(size=(3, 2, 8))
        file["sd"] = np.full((3, 2, 8), 0.1)
        file["x-coordinate"], file["t-coordinate"] = (np.arange(8) + 0.5) / 8, np.arange(3.0)
    out = tmp_path / "o.nc"
    law = ["--mean", "tensor", "--scale", "sd", "--integral", "x=1", "--out", str(out)]
    assert main(["condition", str(tmp_path / "a.hdf5"), *law]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the last of 3 entries of 't-coordinate', for which there are no data, left out" in said
    assert "grid axis x: 8 cells in [0, 1]" in said
    post = xarray.load_dataset(out, engine="h5netcdf")
    np.testing.assert_allclose(post["tensor"].mean("x"), 1.0, rtol=1e-14)


# --- what the output keeps


def weather(**attrs):
    field = 280 + np.random.default_rng(1).normal(size=(2, 5, 4))
    return xarray.Dataset(
        {
            "tas": (("time", "lat", "lon"), field.astype("f4"), {"units": "K", **attrs}),
            "sd": ((), np.float32(2.0), {"units": "K"}),
            "orog": (("lat", "lon"), np.ones((5, 4))),
        },
        coords={
            "time": np.array(["2000-01-01", "2000-01-02"], "M8[ns]"),
            "lat": ("lat", LAT[::-1], {"units": "degrees_north", "axis": "Y"}),
            "lon": ("lon", LON, {"units": "degrees_east"}),
            "expver": "0001",
        },
        attrs={"title": "a run"},
    )


def test_everything_of_the_input_that_still_holds_is_kept():
    ds = weather(standard_name="air_temperature", valid_min=0.0)
    law = average("lat,lon", 280.2, units="K")
    post = bc.labelled.condition(ds, [law], mean="tas", scale="sd")
    assert post["tas"].dims == ds["tas"].dims
    assert post["tas"].dtype == np.float32
    assert post["tas"].attrs == {"units": "K", "standard_name": "air_temperature"}
    for name in ("time", "lat", "lon", "expver", "orog"):
        assert post[name].identical(ds[name])
    assert post.attrs["title"] == "a run"
    xarray.testing.assert_identical(post["tas_prior"], ds["tas"].rename("tas_prior"))
    area = np.broadcast_to(sphere()[::-1], (5, 4))
    found = (post["tas"].values.astype(float) * area).sum((1, 2)) / area.sum()
    assert np.abs(found - 280.2).max() <= 280 * np.finfo(np.float32).eps
    np.testing.assert_allclose(post["average_lat_lon_after"], 280.2, rtol=1e-12)
    assert post["average_lat_lon"].attrs["units"] == "K"
    assert (post["sd"] < 2.0).all()
    assert post["sd"].dims == ("time", "lat", "lon")


def test_a_packed_input_is_not_packed_again(tmp_path):
    ds = weather()
    packed = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32767}
    ds.to_netcdf(tmp_path / "in.nc", engine="h5netcdf", encoding={"tas": packed})
    law = ["--average", "lat,lon=280.2", "--mean", "tas", "--scale", "sd"]
    assert main(["condition", str(tmp_path / "in.nc"), *law, "--out", str(tmp_path / "o.nc")]) == 0
    post = xarray.load_dataset(tmp_path / "o.nc", engine="h5netcdf")
    area = np.broadcast_to(sphere()[::-1], (5, 4))
    found = (post["tas"].values.astype(float) * area).sum((1, 2)) / area.sum()
    assert np.abs(found - 280.2).max() <= 280 * np.finfo(post["tas"].dtype).eps


def test_points_outside_of_the_field_come_back_as_nan_and_have_no_share():
    ds = weather()
    land = np.zeros((5, 4), bool)
    land[1, 2] = land[3] = True
    ds["tas"] = ds["tas"].where(~land)
    ds["sea"] = (("lat", "lon"), (~land).astype(float))
    law = average("lat,lon", 280.2)
    posts = [
        bc.labelled.condition(ds, [law], mean="tas", scale="sd", where=w) for w in ("sea", "nan")
    ]
    area = np.broadcast_to(sphere()[::-1], (5, 4)) * ~land
    for post in posts:
        assert (np.isnan(post["tas"]) == land[None]).all()
        assert (np.isnan(post["sd"]) == land[None]).all()
        found = (np.nan_to_num(post["tas"].values.astype(float)) * area).sum((1, 2)) / area.sum()
        assert np.abs(found - 280.2).max() <= 280 * np.finfo(np.float32).eps
    with pytest.raises(ValueError, match=r"declares no fill value.*--where nan"):
        bc.labelled.condition(ds, [law], mean="tas", scale="sd")


def test_a_mask_may_differ_in_the_batch():
    ds = weather()
    known = np.ones((2, 5, 4), bool)
    known[0, 2, 1] = known[1, 4] = False
    ds["tas"] = ds["tas"].where(known)
    law = average("lat,lon", xarray.DataArray([280.2, 279.9], dims="time"))
    post = bc.labelled.condition(ds, [law], mean="tas", scale="sd", where="nan")
    area = sphere()[::-1] * known
    found = (np.nan_to_num(post["tas"].values.astype(float)) * area).sum((1, 2)) / area.sum((1, 2))
    np.testing.assert_allclose(found, [280.2, 279.9], rtol=2e-7)
    np.testing.assert_allclose(post["average_lat_lon_after"], [280.2, 279.9], rtol=1e-12)


def test_rows_that_lie_wholly_outside_are_not_stated():
    depth = xarray.Dataset(
        {"u": (("z", "x"), np.array([[1.0, 2.0, 3.0], [1.0, np.nan, np.nan], [np.nan] * 3]))},
        coords={"x": [0.0, 1.0, 2.0], "z": [0.0, 1.0, 2.0]},
    )
    depth["sd"] = 0.5
    total = xarray.DataArray([4.2, 0.6, np.nan], dims="z")
    post = bc.labelled.condition(depth, [integral("x", total)], mean="u", scale="sd", where="nan")
    np.testing.assert_allclose(post["integral_x_after"], [4.2, 0.6, np.nan], rtol=1e-12)
    with pytest.raises(ValueError, match="rows partly from points outside of the mask"):
        bc.labelled.condition(
            depth, [neumann("x", "lower", 0.0)], mean="u", scale="sd", where="nan"
        )
    total[1] = np.nan
    with pytest.raises(ValueError, match="is NaN for 1 rows of which something is known"):
        bc.labelled.condition(depth, [integral("x", total)], mean="u", scale="sd", where="nan")


@pytest.mark.parametrize("scale", [None, 0.05])
def test_members_are_conditioned_one_by_one(scale):
    ds = xarray.Dataset(
        {"u": (("time", "number", "x"), 1 + np.random.default_rng(0).normal(size=(2, 40, 5)))},
        coords={"x": NODES},
    )
    post = bc.labelled.condition(ds, [integral("x", 3.3, scale)], ensemble="u")
    totals = post["u"].values @ trapezoid(NODES)
    if scale is None:
        np.testing.assert_allclose(totals, 3.3, rtol=1e-11)
    else:  # spread as the scale is: of 80 draws to a half, five standard errors
        assert 0.5 < totals.std() / scale < 1.5
        assert abs(totals.mean() - 3.3) < 5 * scale / np.sqrt(80)
    assert post["u"].dims == ds["u"].dims
    np.testing.assert_allclose(post["integral_x_after"], 3.3, atol=1e-11 if scale is None else 0.05)
    assert {"u_prior", "u_mean", "u_variance"} <= set(post)


def test_what_was_conditioned_is_conditioned_further_without_losing_what_held(tmp_path):
    np.savez(tmp_path / "in.npz", x=NODES, mean=NODES, scale=np.full(5, 0.3), wall=0.2)
    one, two = tmp_path / "one.nc", tmp_path / "two.nc"
    both = ["--integral", "x=5", "--dirichlet", "x:lower=wall"]
    for source, facts, out in (
        (tmp_path / "in.npz", both[:2], one),
        (one, both[2:], two),
        (tmp_path / "in.npz", both, tmp_path / "both.nc"),
    ):
        assert main(["condition", str(source), *facts, "--anyway", "--out", str(out)]) == 0
    again, together = (
        xarray.load_dataset(tmp_path / name, engine="h5netcdf") for name in ("two.nc", "both.nc")
    )
    np.testing.assert_allclose(again["mean"], together["mean"], atol=1e-14)
    np.testing.assert_allclose(again["scale"], together["scale"], atol=1e-10)
    assert again["integral_x_after"] == pytest.approx(5.0, rel=1e-14)
    assert again["mean"][0] == pytest.approx(0.2, rel=1e-14)


def test_laws_with_arrays_that_a_dataset_cannot_hold_are_not_lost_in_silence():
    ds = xarray.Dataset({"mean": ("x", NODES), "scale": 0.5}, coords={"x": NODES})
    noise = xarray.DataArray(0.1)
    post = bc.labelled.condition(ds, [integral("x", 5.0, noise)])
    with pytest.raises(ValueError, match="that law would be lost"):
        bc.labelled.condition(post, [dirichlet("x", "lower", 0.1)])


# --- dates, units, far values


@pytest.mark.parametrize(
    ("times", "units", "expected"),
    [
        (np.array(["2000-01-01", "2000-01-03"], "M8[ns]"), None, 2.0),
        (np.array(["2000-01-01", "2000-01-03"], "M8[ns]"), "hours since 1990-01-01", 48.0),
        (np.array(["2000-01-01T00", "2000-01-01T06"], "M8[ns]"), None, 6.0),
        (np.array([0, 6], "m8[h]").astype("m8[ns]"), None, 6.0),
    ],
)
def test_an_integral_over_dates_is_in_the_unit_of_the_file_and_says_so(times, units, expected):
    ds = xarray.Dataset({"mean": ("time", np.ones(2)), "scale": 0.5}, coords={"time": times})
    ds["time"].encoding["units"] = units or ""
    before = understood(ds, laws=[integral("time", expected)])
    assert float(before.grid["time"][-1]) == expected
    assert before.dimensions[0].units in before.dimensions[0].how
    done = solved(before, [integral("time", expected)])
    assert done.surprise[0] <= 1e-12


def test_dates_of_another_calendar_are_days():
    cftime = pytest.importorskip("cftime")
    times = [cftime.DatetimeNoLeap(2000, 2, 28), cftime.DatetimeNoLeap(2000, 3, 1)]
    ds = xarray.Dataset({"mean": ("time", np.ones(2)), "scale": 0.5}, coords={"time": times})
    before = understood(ds, laws=[integral("time", 1.0)])
    assert before.grid["time"].tolist() == [0.0, 1.0]
    assert "calendar noleap" in before.dimensions[0].how


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ("g m-2", "multiply it by 0.001"),
        ("K", "these are other quantities"),
        ("kg/m2", None),
        ("kg m-2", None),
        ("nonsense", "these are other quantities"),
    ],
)
def test_a_law_in_units_that_do_not_fit_is_refused(units, message):
    pytest.importorskip("pint")
    ds = xarray.Dataset(
        {"mean": ("x", np.ones(5), {"units": "kg m-3"}), "scale": 0.5},
        coords={"x": ("x", NODES, {"units": "m"})},
    )
    law = integral("x", 3.0, units=units)
    if message is None:
        bc.labelled.condition(ds, [law])
    else:
        with pytest.raises(ValueError, match=message):
            bc.labelled.condition(ds, [law])


def test_without_pint_units_are_compared_as_text(monkeypatch):
    from bayescons.labelled import units

    monkeypatch.setattr(units.importlib.util, "find_spec", lambda _: None)
    assert units.compared("it", "kg m-2", ["kg m-3", "m"]).startswith("the units of it")
    assert units.compared("it", "K", ["K"]) is None
    with pytest.raises(ValueError, match="install pint"):
        units.compared("it", "kelvin", ["K"])


def test_a_value_far_from_what_is_believed_is_told_and_farther_refused():
    ds = xarray.Dataset({"mean": ("x", np.ones(5)), "scale": 0.01}, coords={"x": NODES})
    with pytest.warns(SurprisingLawWarning, match="prior standard deviations away"):
        bc.labelled.condition(ds, [integral("x", 3.2)])
    with pytest.raises(ValueError, match=r"Likely causes: how it was summed.*--anyway"):
        bc.labelled.condition(ds, [integral("x", 3000.0)])
    with pytest.warns(SurprisingLawWarning):
        bc.labelled.condition(ds, [integral("x", 3000.0)], anyway=True)


def ensemble_of(*dims):
    shape = [{"x": 5}.get(name, 3) for name in dims]
    values = np.random.default_rng(0).normal(size=shape)
    return xarray.Dataset({"draws": (dims, values)}, coords={"x": NODES})


LONG = np.linspace(0.0, 360.0, 5)
LONGITUDE = {"units": "degrees_east"}
REFUSED = {
    "no members": (ensemble_of("case", "x"), {}, "--members NAME"),
    "two axes of members": (ensemble_of("number", "member", "x"), {}, "--members NAME"),
    "an axis that may be either": (ensemble_of("site", "number", "x"), {}, "--axes"),
    "members that are not there": (ensemble_of("number", "x"), {"members": "m"}, "has no axis 'm'"),
    "a fill value": (
        xarray.Dataset({"mean": ("x", [1.0, 2.0, 1e20, 1.0, 1.0]), "scale": 0.5}, {"x": NODES}),
        {},
        "holds 1e\\+20 1 times, which looks like a fill value",
    ),
    "a fill value below all": (
        xarray.Dataset({"mean": ("x", [1.0, 2.0, -9999, 1.0, 1.0]), "scale": 0.5}, {"x": NODES}),
        {},
        "holds -9999 1 times, which looks like a fill value",
    ),
    "averages of unknown widths": (
        xarray.Dataset(
            {"mean": ("x", np.ones(5), {"cell_methods": "x: mean"}), "scale": 0.5}, {"x": NODES}
        ),
        {},
        "--cells x=NAME",
    ),
    "a ring of unknown period": (
        xarray.Dataset({"mean": ("x", np.ones(5)), "scale": 0.5}, {"x": NODES}),
        {"rings": {"x": None}},
        "--ring x=PERIOD",
    ),
    "a meridian twice": (
        xarray.Dataset({"mean": ("x", np.ones(5)), "scale": 0.5}, {"x": ("x", LONG, LONGITUDE)}),
        {},
        "one meridian twice",
    ),
    "a ring that is no axis": (
        xarray.Dataset({"mean": ("x", np.ones(5)), "scale": 0.5}, {"x": NODES}),
        {"rings": {"y": 1.0}},
        "rings names 'y'",
    ),
    "no coordinate and no weights": (
        xarray.Dataset({"mean": ("x", np.ones(5)), "scale": 0.5}),
        {},
        "give their volumes",
    ),
    "a scale in another unit": (
        xarray.Dataset(
            {"mean": ("x", np.ones(5), {"units": "m"}), "scale": ((), 0.5, {"units": "mm"})},
            {"x": NODES},
        ),
        {},
        "multiply it by 0.001|install pint",
    ),
    "an integral in degrees": (
        xarray.Dataset({"mean": ("x", np.ones(4)), "scale": 0.5}, {"x": ("x", LON, LONGITUDE)}),
        {},
        "alone would be in degrees",
    ),
    "no scale": (xarray.Dataset({"mean": ("x", np.ones(5))}, {"x": NODES}), {}, "--scale NAME"),
    "a scale of zero": (
        xarray.Dataset({"mean": ("x", np.ones(5)), "scale": 0.0}, {"x": NODES}),
        {},
        "must be above zero everywhere",
    ),
    "numbers that overflow": (
        xarray.Dataset({"mean": ("x", np.full(5, 1e300)), "scale": 0.5}, {"x": NODES}),
        {"anyway": True},
        "the numbers overflow",
    ),
    "text": (
        xarray.Dataset({"mean": ("x", list("abcde")), "scale": 0.5}, {"x": NODES}),
        {},
        "must hold real numbers",
    ),
    "two means": (ensemble_of("number", "x"), {"ensemble": "draws", "scale": "s"}, "one of them"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore::bayescons.labelled.SurprisingLawWarning")
def test_what_is_not_clear_is_refused_with_the_remedy(case):
    ds, reading, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        bc.labelled.condition(ds, [integral("x", 1.0)], **reading)


def test_no_dataset_and_no_laws_are_refused():
    ds = xarray.Dataset({"mean": ("x", np.ones(5)), "scale": 0.5}, {"x": NODES})
    with pytest.raises(TypeError, match=r"expected an xarray.Dataset"):
        bc.labelled.condition(ds["mean"], [integral("x", 1.0)])
    with pytest.raises(ValueError, match="nothing to condition on"):
        bc.labelled.condition(ds, [])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("totals", "neither a number nor the name of an array"),
        (np.ones(7), "must be a number or have shape"),
        (xarray.DataArray(np.ones(5), dims="x"), "is over 'x'; expected are axes among"),
        (
            xarray.DataArray(np.ones(2), dims="time", coords={"time": [5, 6]}),
            "stands at other coordinates of 'time'",
        ),
    ],
)
def test_values_that_do_not_fit_are_refused(value, message):
    ds = xarray.Dataset(
        {"mean": (("time", "x"), np.ones((2, 5))), "scale": 0.5}, {"x": NODES, "time": [0, 1]}
    )
    with pytest.raises(ValueError, match=message):
        bc.labelled.condition(ds, [integral("x", value)])


# --- on the command line


def test_the_command_line_says_first_what_was_understood(tmp_path, capsys):
    weather().to_netcdf(tmp_path / "tas.nc", engine="h5netcdf")
    arguments = ["condition", str(tmp_path / "tas.nc"), "--mean", "tas", "--scale", "sd"]
    assert main([*arguments, "--average", "lat,lon=280.2", "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "grid axis lat: 5 points in [-60, 80] degrees_north, in descending order in the file",
        "grid axis lon: 4 points of a ring, from 0, period 360 degrees_east",
        "batch: time (2)",
        "units: K",
        "areas of a sphere from 'lat' and 'lon'",
        "nothing is written: --dry-run",
    ):
        assert words in said
    assert [path.name for path in tmp_path.iterdir()] == ["tas.nc"]


def test_weights_and_bounds_of_another_file_are_taken(tmp_path):
    weather().rename(lat="j", lon="i").drop_vars(["j", "i"]).to_netcdf(
        tmp_path / "tas.nc", engine="h5netcdf"
    )
    area = np.random.default_rng(0).uniform(1.0, 2.0, (5, 4))
    xarray.Dataset({"areacella": (("j", "i"), area)}).to_netcdf(
        tmp_path / "area.nc", engine="h5netcdf"
    )
    law = ["--average", "j,i=280.2", "--weights", f"{tmp_path / 'area.nc'}:areacella"]
    options = ["--mean", "tas", "--scale", "sd", "--out", str(tmp_path / "o.nc")]
    assert main(["condition", str(tmp_path / "tas.nc"), *law, *options]) == 0
    post = xarray.load_dataset(tmp_path / "o.nc", engine="h5netcdf")
    found = (post["tas"].values.astype(float) * area).sum((1, 2)) / area.sum()
    assert np.abs(found - 280.2).max() <= 280 * np.finfo(np.float32).eps
    assert "areacella" in post
    assert json.loads(post.attrs["bayescons_conditioned"])["laws"][0]["weights"] == ["areacella"]


def test_the_input_is_not_replaced_unless_told(tmp_path, capsys):
    path = tmp_path / "in.nc"
    xarray.Dataset({"mean": ("x", np.ones(5)), "scale": 0.5}, {"x": NODES}).to_netcdf(
        path, engine="h5netcdf"
    )
    before = path.read_bytes()
    arguments = ["condition", str(path), "--integral", "x=3.1", "--out", str(path)]
    assert main(arguments) == 2
    assert "is the input, which would be replaced" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main([*arguments, "--overwrite"]) == 0
    assert path.read_bytes() != before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--robin", "x:lower=1"], "expected AXIS:SIDE:A:B=VALUE"),
        (["--average", "x:lower=1"], "cannot read --average"),
        (["--integral", "x=1", "--ring", "x=far"], "cannot read --ring"),
        (["--integral", "x=1", "--cells", "x"], "cannot read --cells"),
        (["--integral", "x=1", "--cells", "x=bounds"], "there is no array 'bounds' for the cells"),
        (["--integral", "x=1", "--weights", "w"], "there is no array 'w' for the weights"),
        (["--integral", "x=1", "--seed", "-1"], "--seed must be a whole number"),
        (["--integral", "x=1", "--seed", str(2**70)], "--seed must be a whole number"),
        (["--periodic", "x", "--ring", "x"], "spaced unequally, so its period is not known"),
        (["--integral", "x=1e300"], "prior standard deviations away"),
        (["--integral", "x=1e300", "--anyway"], "the numbers overflow"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(tmp_path, capsys, options, message):
    np.savez(tmp_path / "in.npz", x=NODES, mean=np.ones(5), scale=np.full(5, 0.3))
    out = ["--out", str(tmp_path / "o.nc")]
    assert main(["condition", str(tmp_path / "in.npz"), *options, *out]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o.nc").exists()


def test_one_number_may_be_the_scale_of_all_points(tmp_path):
    np.savez(tmp_path / "in.npz", x=NODES, mean=NODES, sd=np.full(5, 0.3))
    posts = []
    for scale in ("0.3", "sd"):
        out = tmp_path / f"{scale}.nc"
        law = ["--integral", "x=5", "--scale", scale, "--out", str(out)]
        assert main(["condition", str(tmp_path / "in.npz"), *law]) == 0
        posts.append(xarray.load_dataset(out, engine="h5netcdf"))
    assert np.array_equal(posts[0]["mean"], posts[1]["mean"])
    assert np.array_equal(posts[0]["scale"], posts[1]["sd"])


def test_a_front_is_located_before_and_after(tmp_path, capsys):
    x, t = np.linspace(0, 1, 41), np.array([0.1, 0.2])
    front = 0.5 + 0.1 * np.random.default_rng(0).normal(size=(30, 1, 1)) + t[:, None]
    np.savez(
        tmp_path / "a.npz", t=t, x=x, draws=np.clip((front - x) * 10 + 0.5, 0, 1), mass=0.5 + t
    )
    law = ["--integral", "x=mass", "--front", "0.5", "--out", str(tmp_path / "o.nc")]
    assert main(["condition", str(tmp_path / "a.npz"), *law]) == 0
    assert "Front at 0.5: first place along x, of 400 draws" in capsys.readouterr().out
    post = xarray.load_dataset(tmp_path / "o.nc", engine="h5netcdf")
    before, after = post["front_before"], post["front_after"]
    assert before.dims == ("statistic", "t")
    assert (after.sel(statistic="sd") < 0.7 * before.sel(statistic="sd")).all()
    # the profile falls by a line about its front, so that the mass is the front's place
    np.testing.assert_allclose(after.sel(statistic="mean"), 0.5 + t, atol=0.02)
    assert (after.sel(statistic="absent") == 0).all()


def test_a_contour_is_told_by_the_area_that_it_encloses(tmp_path, capsys):
    x, y = np.linspace(0, 1, 21), np.linspace(0, 1, 17)
    radius = 0.3 + 0.02 * np.random.default_rng(0).normal(size=(30, 1, 1))
    draws = np.clip((radius - np.hypot(x - 0.5, y[:, None] - 0.5)) * 5 + 0.5, 0, 1)
    np.savez(tmp_path / "a.npz", y=y, x=x, draws=draws)
    options = ["--axes", "y,x", "--integral", "y,x=0.29", "--front", "0.5", "--dry-run"]
    assert main(["condition", str(tmp_path / "a.npz"), *options]) == 0
    said = capsys.readouterr().out
    before, after = (
        float(next(line.split()[1] for line in said.splitlines() if line.split()[:1] == [which]))
        for which in ("before", "after")
    )
    assert abs(before - np.pi * 0.09) < 0.02
    assert abs(after - before) < 0.05
    assert (
        main(
            [
                "condition",
                str(tmp_path / "a.npz"),
                "--axes",
                "y,x",
                "--integral",
                "y,x=0.29",
                "--front",
                "0.5",
                "--out",
                str(tmp_path / "o.nc"),
                "--draws",
                "50",
            ]
        )
        == 0
    )
    assert "area over y and x, of 50 draws" in capsys.readouterr().out


def test_walls_of_the_command_line_are_those_of_the_library(tmp_path):
    np.savez(tmp_path / "in.npz", x=NODES, mean=NODES, scale=np.full(5, 0.3))
    facts = ["--robin", "x:upper:1:0.5=2+-0.1", "--neumann", "x:lower=1", "--average", "x=1.5"]
    out = tmp_path / "o.zarr"
    assert main(["condition", str(tmp_path / "in.npz"), *facts, "--out", str(out)]) == 0
    with opened(out) as file:
        post = file.load()
    grid = bc.Grid(x=NODES)
    belief = bc.diagonal(NODES, 0.3)
    for functional, value, scale in (
        (bc.average(grid), 1.5, None),
        (bc.neumann(grid, "x", "lower"), 1.0, None),
        (bc.robin(grid, "x", "upper", 1.0, 0.5), 2.0, 0.1),
    ):
        belief = bc.condition(belief, bc.Constraint(functional, value, scale))
    np.testing.assert_allclose(post["mean"], belief.mean, atol=1e-12)
    np.testing.assert_allclose(post["scale"], np.sqrt(belief.variance), atol=1e-7)


def test_an_ensemble_in_python_has_the_covariance_of_its_members():
    draws = np.random.default_rng(0).normal(size=(3, 6, 5))
    belief = bc.gaussians.ensemble(draws, members=1, nugget=0.01, batch_dims=1)
    field = np.arange(5.0)
    for i, members in enumerate(draws):
        nugget = 1e-4 * members.var(0, ddof=1).mean()
        one = jax.tree.map(lambda leaf, i=i: leaf[i], belief.covariance)
        expected = np.cov(members.T) @ field + nugget * field
        np.testing.assert_allclose(one.mv(field), expected, rtol=1e-12)
    for bad, message in (
        (draws[:, :1], "at least two members; it has 1"),
        (np.ones((3, 6, 5)), "all equal"),
    ):
        with pytest.raises(ValueError, match=message):
            bc.gaussians.ensemble(bad, members=1, batch_dims=1)
    with pytest.raises(ValueError, match="a number above zero"):
        bc.gaussians.ensemble(draws, nugget=0.0)


# --- what the layouts of solvers say


def test_a_periodic_axis_of_a_file_is_a_ring():
    x = np.arange(8) / 8
    ds = xarray.Dataset(
        {"mean": ("x", 1 + np.sin(2 * np.pi * x)), "scale": 0.1},
        coords={"x": ("x", x, {"periodic": 1})},
    )
    done = solved(understood(ds), [integral("x", 1.0)])
    assert done.surprise[0] <= 1e-12
    assert isinstance(done.predictions.grid.along("x"), bc.axes.Ring)
    uneven = ds.assign_coords(x=("x", x**2, {"periodic": 1}))
    with pytest.raises(ValueError, match="--ring x=PERIOD"):
        understood(uneven)


@pytest.mark.parametrize(("kind", "volume"), [("spherical", 4 * np.pi / 3), ("polar", np.pi)])
def test_a_radius_of_a_round_grid_counts_the_volumes_of_shells(kind, volume):
    edges = np.linspace(0.0, 1.0, 9)
    ds = xarray.Dataset(
        {
            "mean": ("r", np.ones(8)),
            "scale": 0.1,
            "r_bnds": (("r", "nv"), np.stack([edges[:-1], edges[1:]], 1)),
        },
        coords={"r": ("r", (edges[1:] + edges[:-1]) / 2, {"bounds": "r_bnds"})},
        attrs={"grid_type": kind},
    )
    for law in (integral("r", volume), average("r", 1.0)):
        assert solved(understood(ds), [law]).surprise[0] <= 1e-12


def test_an_array_that_may_be_widths_is_pointed_at_and_not_used():
    ds = xarray.Dataset(
        {
            "mean": ("zt", np.ones(3)),
            "scale": 0.1,
            "dzt": ("zt", [20.0, 30.0, 40.0], {"units": "m"}),
        },
        coords={"zt": ("zt", [10.0, 35.0, 70.0], {"units": "m"})},
    )
    before = understood(ds, axes=["zt"])
    assert "--weights dzt" in " ".join(before.notes)
    done = solved(before, [integral("zt", 90.0, weights="dzt")])
    assert done.surprise[0] <= 1e-12


def test_the_door_computes_in_double_whatever_the_session_does():
    ds = xarray.Dataset({"mean": ("x", NODES), "scale": 0.5}, coords={"x": NODES})
    with jax.enable_x64(False):
        post = bc.labelled.condition(ds, [integral("x", 5.0)])
    assert abs(float(post["mean"].values @ trapezoid(NODES)) - 5.0) <= 16 * EPS


@pytest.mark.parametrize(
    ("points", "attributes", "told"),
    [
        ((np.arange(32) + 0.5) / 32, {}, True),
        (np.linspace(0.0, 1.0, 32), {}, False),
        ((np.arange(32) + 0.5) / 32 + 1.0, {}, False),
        ((np.arange(32) + 0.5) ** 2, {}, False),
        ((np.arange(32) + 0.5) / 32, {"cell_methods": "x: point"}, False),
        ((np.arange(32) + 0.5) / 32, {"cell_methods": "x: mean"}, False),
    ],
    ids=["centres", "nodes", "elsewhere", "stretched", "said to be points", "said to be means"],
)
def test_points_half_a_step_from_zero_are_told_to_look_like_centres(points, attributes, told):
    fields = {"u": ("x", np.ones(32), attributes), "sd": ("x", np.ones(32))}
    ds = xarray.Dataset(fields, coords={"x": points})
    found = bc.labelled.predictions(ds, mean="u", scale="sd")
    assert ("lie as centres of cells" in " ".join(found.told())) == told


def test_laws_of_one_name_are_told_apart_where_they_contradict_each_other():
    laws = [bc.labelled.average("lat,lon", value) for value in (280.0, 281.0)]
    with pytest.raises(ValueError, match=r"\(law 2 of this name\) contradicts .*\(law 1 of this"):
        bc.labelled.condition(weather(), laws, mean="tas", scale="sd", anyway=True)
