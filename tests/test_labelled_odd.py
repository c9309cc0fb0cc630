"""Odd and damaged labelled input: each means what it says by a closed form, or is refused in one
sentence with the remedy; none is carried out as something else.
"""

from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import xarray

from bayescons.cli import main
from bayescons.labelled import (
    Law,
    average,
    condition,
    dirichlet,
    integral,
    neumann,
    predictions,
    robin,
)
from bayescons.labelled.files import opened
from bayescons.labelled.units import compared
from bayescons.refusals import Refusal

pytestmark = pytest.mark.filterwarnings("ignore::bayescons.labelled.SurprisingLawWarning")

X = np.array([0.0, 0.5, 0.75, 2.0, 3.0])
EDGES = np.array([0.0, 1.0, 1.5, 3.0, 3.25, 4.0])
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2
PAIRS = np.stack([EDGES[:-1], EDGES[1:]], 1)
MEAN = np.array([1.0, 2.0, 0.5, 1.5, 1.2])
LAT, LON = np.array([-60.0, -20.0, 10.0, 50.0, 80.0]), np.arange(4) * 90.0
DATES = np.array(["2000-01-01", "2000-01-02", "2000-01-04", "2000-01-05", "2000-01-09"], "M8[ns]")


def trapezoid(points):
    return np.convolve(np.diff(points), [0.5, 0.5])


def line(x=X, mean=MEAN, about=None, of_field=None, **further):
    """A field of five points over x, with a scale of one half."""
    variables = {"mean": ("x", mean, of_field or {}), "scale": 0.5, **further}
    return xarray.Dataset(variables, coords={"x": ("x", x, about or {})})


def globe(lat=LAT, lon=LON, of_lat=None, of_lon=None, names=("lat", "lon"), **attrs):
    field = 280 + np.random.default_rng(0).normal(size=(5, len(lon)))
    places = {names[0]: (names[0], lat, of_lat or {}), names[1]: (names[1], lon, of_lon or {})}
    return xarray.Dataset({"mean": (names, field, attrs), "scale": 2.0}, coords=places)


def belts(lat=LAT):
    """Shares of latitudes on a sphere, cells halfway between points and not across a pole."""
    inner = (lat[1:] + lat[:-1]) / 2
    ends = max(2 * lat[0] - inner[0], -90.0), min(2 * lat[-1] - inner[-1], 90.0)
    return np.diff(np.sin(np.deg2rad([ends[0], *inner, ends[1]])))


def update(ds, weights, value, mask=True):
    """Mean given one total of a field of equal variances."""
    mean, w = np.asarray(ds["mean"], float), np.asarray(weights) * mask
    known = np.where(mask, mean, 0.0)
    moved = known + w * (value - (w * known).sum()) / (w**2).sum()
    return np.where(mask, moved, np.nan)


# --- latitudes and longitudes are known by their names too, and no other angle is taken for them

NORTH, EAST = {"units": "degrees_north"}, {"units": "degrees_east"}
ANGLES = {
    "names alone": ({}, {}),
    "plain degrees": ({"units": "degrees"}, {"units": "degrees"}),
    "deg": ({"units": "deg"}, {"units": "deg"}),
    "signs": ({"units": "°N"}, {"units": "°E"}),
    "capitals": ({"units": "DEGREES_NORTH"}, {"units": "DEGREES_EAST"}),
    "a number": ({"units": 1}, {"units": 1}),
    "lists": ({"standard_name": ["latitude"]}, {"standard_name": ["longitude"]}),
}


@pytest.mark.parametrize("which", ANGLES)
@pytest.mark.parametrize("over", ["lat,lon", "lat"])
def test_latitudes_count_as_on_a_sphere_however_they_are_said(which, over):
    of_lat, of_lon = ANGLES[which]
    ds = globe(of_lat=of_lat, of_lon=of_lon)
    post = condition(ds, [average(over, 280.2)])
    share = belts()[:, None] / belts().sum()
    found = (post["mean"] * share).sum("lat").values
    np.testing.assert_allclose(found.mean() if over == "lat,lon" else found, 280.2, rtol=1e-13)
    with pytest.raises(Refusal, match="alone would be in degrees"):
        condition(ds, [integral("lon", 280.2)])


def test_radians_and_rotated_poles_are_areas_of_the_same_sphere():
    radians = {"units": "radians"}
    turned = [{"units": "degrees", "standard_name": f"grid_{n}itude"} for n in ("lat", "long")]
    lon = np.array([-30.0, -10.0, 10.0, 30.0])
    for ds in (
        globe(np.deg2rad(LAT), np.deg2rad(LON), radians, radians),
        globe(LAT, lon, *turned, names=("rlat", "rlon")),
    ):
        post = condition(ds, [average(",".join(ds["mean"].dims), 280.2)])
        expected = update(ds, np.outer(belts() / belts().sum(), np.full(4, 0.25)), 280.2)
        np.testing.assert_allclose(post["mean"], expected, rtol=1e-13)


def test_points_at_the_poles_hold_averages_up_to_the_poles():
    lat = np.linspace(-90.0, 90.0, 5)
    ds = globe(lat, LON, NORTH, EAST, cell_methods="area: mean")
    expected = update(ds, np.outer(belts(lat) / 2, np.full(4, 0.25)), 280.2)
    np.testing.assert_allclose(condition(ds, [average("lat,lon", 280.2)])["mean"], expected)


# --- what is understood by a closed form: dataset, laws, weights, value, further options

HOURS = 24 * trapezoid(np.array([0.0, 1, 3, 4, 8]))
HALF = np.array([1.0, 1, 0, 1, 1])


def dated(unit):
    ds = line(DATES).rename(x="time")
    ds["time"].encoding["units"] = f"{unit} since 2000-01-01"
    return ds


def packed_range():
    ds = line(of_field={"valid_range": np.array([0, 190], "i2")})
    ds["mean"].encoding = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 0.0}
    return ds


UNDERSTOOD = {
    "bounds with their axes turned": (
        line(CENTRES, x_bnds=(("nv", "x"), PAIRS.T)),
        integral("x", 6.0),
        np.diff(EDGES),
        {},
    ),
    "cells as dates": (
        line(DATES + np.timedelta64(12, "h")).rename(x="time"),
        integral("time", 12.0),
        np.array([1.0, 2, 1, 4, 1]),
        {"cells": {"time": np.append(DATES, np.datetime64("2000-01-10"))}},
    ),
    "hour": (dated("hour"), integral("time", 300.0), HOURS, {}),
    "h": (dated("h"), integral("time", 300.0), HOURS, {}),
    "averages in capitals": (
        line(np.arange(5.0), of_field={"cell_methods": "x : MEAN"}),
        integral("x", 6.0),
        np.ones(5),
        {},
    ),
    "an axis named as a spread": (
        line(variance=((), 0.25)).drop_vars("scale").rename(x="scale"),
        integral("scale", 4.0),
        trapezoid(X),
        {},
    ),
    "a volume that varies along the batch": (
        line(of_field={"cell_measures": "volume: v"}, v=("x", HALF + 1)),
        integral("x", 6.0),
        HALF + 1,
        {},
    ),
    "axes as one text": (line(), integral("x", 4.0), trapezoid(X), {"axes": "x"}),
}


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_odd_input_means_what_it_says(case):
    ds, law, weights, reading = UNDERSTOOD[case]
    post = condition(ds, [law], **reading)
    np.testing.assert_allclose(post["mean"], update(ds, weights, law.value), rtol=1e-12)


OUTSIDE = {
    "a fill value under a mask": (line(mean=np.where(HALF, MEAN, 1e20), k=("x", HALF)), "k"),
    "infinity under a mask": (line(mean=np.where(HALF, MEAN, np.inf), k=("x", HALF)), "k"),
    "missing_value in memory": (
        line(mean=np.where(HALF, MEAN, -7.0), of_field={"missing_value": -7.0}),
        None,
    ),
    "two of them": (
        line(mean=np.where(HALF, MEAN, -7.0), of_field={"missing_value": [-7.0, -5.0]}),
        None,
    ),
    "a valid_range of packed numbers": (packed_range().assign(mean=packed_range()["mean"]), None),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_what_files_have_outside_of_the_field_has_no_share(case):
    ds, where = OUTSIDE[case]
    mask = MEAN <= 1.9 if "packed" in case else HALF > 0
    post = condition(ds, [integral("x", 3.0)], where=where)
    np.testing.assert_allclose(post["mean"], update(ds, trapezoid(X), 3.0, mask), rtol=1e-12)


# --- what is refused, with the remedy: dataset, law, options, words of the message

DEGREES = {"units": "degrees"}
DENSE = line(u_sd=0.5, w=("x", HALF), text=("x", list("abcde")), when=((), DATES[0]))
REFUSED = {
    "an angle of no kind": (line(about=DEGREES), average("x", 1.0), {}, "latitude or a longitude"),
    "a latitude that may be in radians": (
        globe(np.deg2rad(LAT)),
        average("lat", 280.0),
        {},
        "degrees or in radians is not said",
    ),
    "two units of angle": (
        globe(LAT, np.deg2rad(LON), NORTH, {"units": "radians"}),
        integral("lat,lon", 1.0),
        {},
        "Give both in degrees",
    ),
    "a latitude beyond the pole": (
        globe(LAT - 40, LON, NORTH, EAST),
        average("lat,lon", 280.0),
        {},
        "must lie within",
    ),
    "a region across the date line": (
        globe(LAT, np.array([-178.0, -176, 176, 178]), NORTH, EAST),
        average("lat,lon", 280.0),
        {},
        "leave a gap from -176 to 176",
    ),
    "rows of a curvilinear grid": (
        line(np.arange(5.0)).assign_coords(lat=(("x", "y"), np.ones((5, 2)), NORTH)),
        average("x", 1.0),
        {},
        "numbers rows or columns of a curvilinear grid",
    ),
    "cells in another unit": (
        line(CENTRES),
        integral("x", 1.0),
        {"cells": {"x": EDGES / 1000}},
        "does not lie in its cell",
    ),
    "cells of another number": (
        line(CENTRES),
        integral("x", 1.0),
        {"cells": {"x": EDGES[:-1]}},
        r"bounds of shape \(5, 2\) or edges",
    ),
    "bounds in numbers of dates": (
        line(DATES, x_bnds=(("x", "nv"), PAIRS)),
        integral("x", 1.0),
        {},
        "its coordinate holds dates",
    ),
    "sums over cells": (
        line(np.arange(5.0), of_field={"cell_methods": "x: sum"}),
        integral("x", 1.0),
        {},
        "no averages",
    ),
    "an area over axes that are not there": (
        line(of_field={"cell_measures": "area: a"}, a=(("q", "x"), np.ones((2, 5)))),
        average("x", 1.0),
        {},
        "--weights NAME",
    ),
    "weights at other places": (
        line(X[::-1]),
        integral("x", 1.0, weights=xarray.DataArray(HALF, dims="x", coords={"x": X}, name="w")),
        {},
        "stands at other coordinates",
    ),
    "weights without names": (line(), integral("x", 1.0, weights=HALF), {}, "xarray.DataArray"),
    "weights as text": (DENSE, integral("x", 1.0, weights="text"), {"axes": ["x"]}, "real numbers"),
    "weights that are not there": (
        DENSE,
        integral("x", 1.0, weights="a"),
        {"axes": ["x"]},
        "no ar",
    ),
    "weights that overflow": (
        line(w=("x", HALF * 1e300)),
        integral("x", 1.0, weights="w"),
        {},
        "ov",
    ),
    "a value as text": (DENSE, integral("x", "text"), {}, "must hold real numbers"),
    "a value as a date": (DENSE, integral("x", "when"), {}, "must hold real numbers"),
    "a value as an object": (line(), integral("x", object()), {}, "must be a number|no numbers"),
    "a masked value": (line(), integral("x", np.ma.masked_array(1.0, True)), {}, "masked array"),
    "a scale as a date": (DENSE, integral("x", 1.0, "when"), {}, "must hold real numbers"),
    "a scale that overflows": (
        line(),
        integral("x", 1.0, 1e300),
        {},
        "must be standard deviations",
    ),
    "a mask that is nowhere": (
        line(k=("x", 0 * HALF)),
        integral("x", 1.0),
        {"where": "k"},
        "nowhere",
    ),
    "a mask called nan": (line(nan=("x", HALF)), integral("x", 1.0), {"where": "nan"}, "Rename"),
    "members of a mean": (line(), integral("x", 1.0), {"members": "x"}, "is of an ensemble"),
    "an undeclared 1e15": (line(mean=np.where(HALF, MEAN, 1e15)), integral("x", 1.0), {}, "fill"),
    "an undeclared 9999": (line(mean=np.where(HALF, MEAN, 9999)), integral("x", 1.0), {}, "fill"),
    "a range as text": (line(of_field={"valid_range": "0, 2"}), integral("x", 1.0), {}, "numbers"),
    "a range of one number": (
        line(of_field={"valid_range": [0]}),
        integral("x", 1.0),
        {},
        "two for",
    ),
    "a variance that underflows": (line(scale=1e-160), integral("x", 1.0), {}, "underflow"),
    "an axis called self": (line().rename(x="self"), integral("self", 1.0), {}, "Rename it"),
    "an empty batch": (line().expand_dims(time=0), integral("x", 1.0), {}, "has length 0"),
    "an array that would be replaced": (line(mean_prior=1.0), integral("x", 1.0), {}, "Rename it"),
    "a damaged record": (
        line().assign_attrs(bayescons_conditioned="{}"),
        integral("x", 1.0),
        {},
        "d",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_with_the_remedy(case):
    ds, law, reading, words = REFUSED[case]
    with pytest.raises(Refusal, match=words):
        condition(ds, [law], anyway=True, **reading)


# What the library refuses by itself, and earlier where signatures are checked, as in these tests.
WRONG = (Refusal, jaxtyping.TypeCheckError)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Law("total", ("x",), 1.0),
        lambda: integral(3, 1.0),
        lambda: integral(["x", 3], 1.0),
        lambda: neumann("x", "lower", 0.0, order=1.5),
        lambda: robin("x", "lower", (1.0,), 0.0),
        lambda: robin("x", "lower", (np.nan, 1.0), 0.0),
        lambda: condition(line(), ["x=1"]),
        lambda: condition(line(), integral("x", 1.0)),
        lambda: condition(line(), [integral("x", 1.0)], where=HALF),
        lambda: condition(line(), [integral("x", 1.0)], rings=["x"]),
        lambda: condition(line(), [integral("x", 1.0)], rings={"x": "far"}),
    ],
)
def test_arguments_of_another_kind_are_refused(build):
    with pytest.raises(WRONG):
        build()


def test_a_latitude_by_its_name_is_told():
    told = predictions(globe(), laws=[average("lat,lon", 280.2)]).told()
    assert any("taken for a latitude by its name" in row for row in told)


def test_members_are_known_at_the_same_places_and_a_batch_stays_a_batch():
    draws = np.random.default_rng(0).normal(size=(2, 6, 5))
    ds = xarray.Dataset({"u": (("time", "number", "x"), draws)}, coords={"x": X})
    uneven = ds.copy(deep=True)
    uneven["u"][0, 1, 2] = np.nan
    with pytest.raises(Refusal, match="NaN at different places"):
        condition(uneven, [integral("x", 1.0)], ensemble="u", where="nan")
    ds["dz"] = ("time", "x"), np.ones((2, 5))
    with pytest.raises(Refusal, match="whether the axis 'time'"):
        condition(ds, [integral("x", 1.0, weights="dz")], ensemble="u")


# --- conditioned again

AGAIN = [dirichlet("x", "lower", 0.9)]
CHANGED = {
    "cells forgotten": (line(CENTRES), {"cells": {"x": EDGES}}, lambda ds: ds, {}),
    "another field": (line(v=("x", MEAN)), {}, lambda ds: ds, {"mean": "v"}),
    "a part of the axis": (line(), {}, lambda ds: ds.isel(x=slice(3)), {}),
    "another mask": (line(k=("x", HALF)), {"where": "k"}, lambda ds: ds, {"where": "nan"}),
    "other units of the axis": (line(), {}, lambda ds: ds.assign_coords(x=ds["x"] * 1000), {}),
    "a field that was clipped": (line(), {}, lambda ds: ds.assign(mean=ds["mean"].clip(1.5)), {}),
    "no prior": (line(), {}, lambda ds: ds.drop_vars("mean_prior"), {}),
    "no law": (line(), {}, lambda ds: ds.drop_vars("integral_x"), {}),
}


@pytest.mark.parametrize("case", CHANGED)
def test_laws_that_hold_are_not_stated_of_something_else(case):
    ds, first, change, second = CHANGED[case]
    post = change(condition(ds, [integral("x", 3.0)], anyway=True, **first))
    with pytest.raises(Refusal, match=r"was conditioned|was changed after"):
        condition(post, AGAIN, anyway=True, **second)


def test_a_mask_is_kept_and_a_time_may_be_taken_out():
    ds = line(k=("x", HALF)).expand_dims(time=[0.0, 1.0])
    post = condition(ds, [average("x", 1.3)], where="k", anyway=True)
    again = condition(post.isel(time=[1]), [integral("x", 4.0, 0.1)], anyway=True)
    weights = trapezoid(X) * HALF
    found = np.nan_to_num(again["mean"].values) @ weights / weights.sum()
    np.testing.assert_allclose(found, 1.3, rtol=1e-13)


# --- units

COMPARED = {
    "K": (["degC"], True, None),
    "degC": (["K"], False, "another zero"),
    "K2": (["degC", "degC"], True, None),
    "K/km": (["degC", "1/(m)"], True, "multiply it by 0.001"),
    "K s m-1": (["K", "1/(m s-1)"], True, None),
    "K m": (["degC", "m"], False, "another zero"),
}


@pytest.mark.parametrize("given", COMPARED)
def test_degrees_of_temperature_are_compared_as_what_they_are(given):
    pytest.importorskip("pint")
    expected, differences, words = COMPARED[given]
    if words is None:
        assert compared("it", given, expected, differences=differences) is None
    else:
        with pytest.raises(Refusal, match=words):
            compared("it", given, expected, differences=differences)


# --- on the command line


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Writes a dataset, runs the command on it and returns status, message and new files."""
    pytest.importorskip("h5netcdf")
    monkeypatch.chdir(tmp_path)

    def call(ds, *options, out="out.nc"):
        if isinstance(ds, xarray.Dataset):
            ds.to_netcdf("in.nc", engine="h5netcdf")
        else:
            np.savez("in.nc.npz", **ds)
            Path("in.nc.npz").rename("in.nc")
        before = {path.name for path in tmp_path.iterdir()}
        status = main(["condition", "in.nc", *options, "--anyway", "--out", out])
        new = sorted({path.name for path in tmp_path.iterdir()} - before)
        return status, capsys.readouterr().err, new

    return call


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--draws", str(10**12)], "of memory are free"),
        (["--draws", str(10**40)], "of memory are free"),
        (["--cells", "x=text"], "the cells of 'x'"),
        (["--cells", "x=when"], "the cells of 'x'"),
        (["--weights", "text", "--axes", "x"], "must hold real numbers"),
        (["--robin", "x:upper:nan:1=1"], "coefficients of a Robin condition"),
        (["--axes", "scale=x"], "cannot be called 'scale'"),
        (["--dirichlet", "x:lower=text"], "must hold real numbers"),
    ],
)
def test_a_command_that_cannot_be_meant_writes_nothing(command, options, words):
    axis = "scale" if "--axes" in options and "scale=x" in options else "x"
    status, message, new = command(DENSE, "--integral", f"{axis}=3", *options)
    assert (status, new) == (2, [])
    assert words in message


def test_no_file_that_is_read_is_replaced(command):
    xarray.Dataset({"area": ("x", HALF)}).to_netcdf("area.nc", engine="h5netcdf")
    before = Path("area.nc").read_bytes()
    law = ["--integral", "x=3", "--weights", "area.nc:area"]
    status, message, _ = command(line(), *law, out="area.nc")
    assert status == 2
    assert "would be replaced" in message
    assert Path("area.nc").read_bytes() == before


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
@pytest.mark.parametrize("single", [False, True])
def test_weights_of_another_file_stand_at_the_places_of_the_field(command, order, single):
    places = X.astype("f4") if single and order == slice(None) else X
    area = xarray.Dataset({"area": ("x", HALF + X)}, coords={"x": places}).isel(x=order)
    area.to_netcdf("area.nc", engine="h5netcdf")
    ds = line()
    assert command(ds, "--integral", "x=6", "--weights", "area.nc:area")[0] == 0
    with opened(Path("out.nc")) as file:
        np.testing.assert_allclose(file["mean"], update(ds, HALF + X, 6.0), rtol=1e-12)


def test_arrays_without_names_may_be_weights_and_masks(command):
    given = {"x": X, "mean": MEAN, "scale": 0.5 + 0 * X, "w": HALF + X, "k": HALF}
    options = ["--integral", "x=6", "--weights", "w", "--where", "k"]
    assert command(given, *options)[0] == 0
    with opened(Path("out.nc")) as file:
        expected = update(line(), HALF + X, 6.0, HALF > 0)
        np.testing.assert_allclose(file["mean"], expected, rtol=1e-12)


@pytest.mark.parametrize("said", [{"cell_methods": "xc: mean"}, {}])
def test_an_axis_under_a_new_name_is_what_it_was(command, said):
    ds = line(CENTRES if not said else np.arange(5.0), of_field=said).rename(x="xc")
    ds = ds if said else ds.assign(xc_bnds=(("xc", "nv"), PAIRS))
    assert command(ds, "--axes", "x=xc", "--integral", "x=6")[0] == 0
    with opened(Path("out.nc")) as file:
        expected = update(ds, np.ones(5) if said else np.diff(EDGES), 6.0)
        np.testing.assert_allclose(file["mean"], expected, rtol=1e-12)


def test_draws_stand_at_their_places_where_an_axis_descends(command):
    ds = line(X[::-1]).assign_coords(number=("m", [1, 2]))
    assert command(ds, "--dirichlet", "x:lower=0.8", "--draws", "3")[0] == 0
    with opened(Path("out.nc"), group="posterior") as file:
        np.testing.assert_allclose(file["mean"].sel(x=0.0), 0.8, atol=1e-12)
    status, message, _ = command(ds.expand_dims(draw=2), "--integral", "x=3", "--draws", "3")
    assert status == 2
    assert "INPUT has 'draw' itself" in message
