"""Rows of one's own and regions over labelled axes: G u = b by dense algebra, in whatever order a file
has its points; trees of draws; and what stands for nothing known.
"""

import itertools
import json

import numpy as np
import pytest
import xarray
from scipy import io, sparse

import bayescons as bc
from bayescons.cli import main
from bayescons.functionals import rows as rows_of
from bayescons.labelled import SurprisingLawWarning, average, condition, predictions, regions, rows
from bayescons.labelled.fills import looks_like_fill
from bayescons.labelled.matrix_files import matrix_of

EPS = float(np.finfo(float).eps)
RNG = np.random.default_rng(0)
LAT, LON = np.array([-60.0, -20.0, 10.0, 50.0]), np.arange(6) * 60.0
FIELD = 5 + RNG.normal(size=(2, 4, 6))  # (time, lat, lon), ascending
SD = RNG.uniform(0.5, 1.0, (4, 6))
MATRIX = RNG.normal(size=(3, 4, 6)) * (RNG.random((3, 4, 6)) < 0.4)
VALUE = np.einsum("rij,tij->tr", MATRIX, FIELD).mean(0).round(1)
ZONES = RNG.integers(-1, 4, (4, 6))
ZONES.flat[:5] = [0, 1, 2, 3, -1]
# Rounding of sums over 24 points, solved through 3 rows.
SLACK = 1e3 * EPS * 10


def dataset(order=("time", "lat", "lon"), turned=()):
    """The field in some order of axes, some of them descending."""
    ds = xarray.Dataset(
        {
            "u": (("time", "lat", "lon"), FIELD, {"units": "K"}),
            "sd": (("lat", "lon"), SD),
            "zone": (("lat", "lon"), ZONES),
        },
        coords={
            "time": [0, 1],
            "lat": ("lat", LAT, {"units": "degrees_north"}),
            "lon": ("lon", LON, {"units": "degrees_east"}),
        },
    )
    flips = {name: slice(None, None, -1) for name in turned}
    return ds.isel(flips).transpose(*order)


def read(ds, laws, **reading):
    return condition(ds, laws, mean="u", scale="sd", **reading)


def dense(matrix, value):
    """Mean of each time, and variances, given G u = b, by dense algebra."""
    G, K = matrix.reshape(len(matrix), -1), np.diag(SD.ravel() ** 2)
    gain = K @ G.T @ np.linalg.inv(G @ K @ G.T)
    flat = FIELD.reshape(2, -1)
    mean = flat + (value - flat @ G.T) @ gain.T
    return mean.reshape(FIELD.shape), np.diag(K - gain @ G @ K).reshape(SD.shape)


def ascending(array):
    return array.transpose("time", "lat", "lon", missing_dims="ignore").sortby(["lat", "lon"])


def in_file_order(ds):
    """The matrix with its columns as a dataset holds its points."""
    over = [n for n in ds["u"].dims if n != "time"]
    named = xarray.DataArray(
        MATRIX, dims=("row", "lat", "lon"), coords={"lat": LAT, "lon": LON}
    ).reindex({name: ds[name] for name in over})
    return named.transpose("row", *over), ",".join(over)


FORMS = {
    "csr": lambda named: sparse.csr_matrix(named.values.reshape(3, -1)),
    "coo": lambda named: sparse.coo_array(named.values.reshape(3, -1)),
    "an array by points": lambda named: named.values.reshape(3, -1),
    "an array by axes": lambda named: named.values,
    "a named array": lambda named: named.transpose("lon", "row", "lat"),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_the_sums_of_the_matrix_in_whatever_order_the_file_is(form):
    mean, variance = dense(MATRIX, VALUE)
    orders = itertools.permutations(["time", "lat", "lon"])
    for order, turned in itertools.product(orders, [(), ("lat",), ("lat", "lon")]):
        ds = dataset(order, turned)
        named, over = in_file_order(ds)
        post = read(ds, [rows(FORMS[form](named), VALUE, over=over)])
        assert post["u"].dims == order
        assert np.abs(ascending(post["u"]).values - mean).max() <= SLACK
        found = ascending(post["sd"]).transpose("time", ...).values
        assert np.abs(found - np.sqrt(variance)).max() <= np.sqrt(SLACK)
        after = post[f"rows_{over.replace(',', '_')}_after"]
        assert np.abs(after.values - VALUE).max() <= SLACK


def test_a_functional_of_rows_is_its_matrix_at_every_point_of_the_other_axes():
    grid = bc.Grid(t=[0.0, 1.0], y=LAT, x=LON)
    duplicated = sparse.coo_array(
        (np.array([1.0, 2.0, 4.0, -4.0]), (np.array([0, 0, 0, 0]), np.array([3, 3, 5, 5]))), (1, 24)
    )
    for matrix, expected in (
        (MATRIX, np.einsum("rij,tij->tr", MATRIX, FIELD)),
        (duplicated, 3 * FIELD[:, 0, 3][:, None]),
        (MATRIX[0], np.einsum("ij,tij->t", MATRIX[0], FIELD)[:, None]),
    ):
        functional = rows_of(grid, ("y", "x"), matrix)
        np.testing.assert_allclose(functional(FIELD), expected, rtol=0, atol=64 * EPS * 50)
        value = np.ones(functional.value_shape)
        left = np.sum(value * np.asarray(functional(FIELD)))
        assert abs(left - np.sum(FIELD * np.asarray(functional.adjoint(value)))) <= 64 * EPS * 100
    assert rows_of(grid, "x", np.eye(6)[:2]).labels()[-1] == "[t=1, y=50, row 1]"


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (lambda: rows(sparse.eye_array(5), 1.0, over="lat,lon"), "5 columns; expected is one"),
        (lambda: rows(np.full((1, 24), np.nan), 1.0, over="lat,lon"), "NaN"),
        (lambda: rows(np.eye(24)[:2] * [[1], [0]], 1.0, over="lat,lon"), "'row 1' is zero"),
        (lambda: rows(np.zeros((0, 24)), 1.0, over="lat,lon"), "there is no row"),
        (lambda: rows(np.eye(24)[:1] * 1j, 1.0, over="lat,lon"), "complex numbers"),
        (lambda: rows(np.full((1, 24), 2**60), 1.0, over="lat,lon"), "beyond 2\\*\\*53"),
        (lambda: rows([["a"] * 24], 1.0, over="lat,lon"), "text"),
        (lambda: rows(MATRIX, 1.0, over="lon,lat"), "in another order.*Write lat,lon"),
        (lambda: rows(MATRIX, [1.0, 2.0], over="lat,lon"), r"got \(2,\)"),
        (lambda: rows(MATRIX, 1.0, over="lat,lon", names=["a"]), "3 rows and 1 names"),
        (lambda: rows(None, 1.0, over="lat,lon"), "labelled.rows or labelled.regions"),
        (lambda: rows(MATRIX, 1.0, over="lat,level"), "no axis 'level'"),
        (
            lambda: rows(
                xarray.DataArray(MATRIX, dims=("time", "lat", "lon")), 1.0, over="lat,lon"
            ),
            "at most one further axis|entries along 'time'",
        ),
        (
            lambda: rows(
                xarray.DataArray(MATRIX, dims=("r", "lat", "lon"), coords={"lat": LAT + 1}),
                1.0,
                over="lat,lon",
            ),
            "other coordinates of 'lat'",
        ),
        (lambda: rows(MATRIX, 1.0, "quadrature", over="lat,lon"), "error of an integral"),
        (lambda: regions("lat,lon", "zone", [1.0, 2.0]), r"got \(2,\)"),
        (lambda: regions("lat,lon", "nowhere", 1.0), "there is no array 'nowhere'"),
        (lambda: regions("lat,lon", "u", 1.0), "at most|further axis"),
        (lambda: regions("lat,lon", "sd", 1.0), "expected are whole numbers, one region a point"),
        (lambda: regions("lat", "zone", 1.0, average=True), "further axis"),
        (
            lambda: regions(
                "lat,lon", "zone", xarray.DataArray([1.0, 2.0], {"zone": [1, 7]}, ("zone",))
            ),
            "has an entry for 7, and the regions 'zone' are 0, 1, 2, 3",
        ),
        (
            lambda: regions("lat,lon", "zone", xarray.DataArray([1.0, 2.0], dims="z")),
            "of 4 entries: 0, 1, 2, 3",
        ),
    ],
)
def test_rows_and_regions_that_cannot_be_meant_are_refused(law, message):
    with pytest.raises((ValueError, TypeError), match=message):
        read(dataset(), [law()])


def test_rows_partly_outside_of_a_mask_are_refused_and_regions_have_no_share_there():
    ds = dataset().assign(sea=(("lat", "lon"), (ZONES != 3) & (LAT[:, None] > -50)))
    with pytest.raises(ValueError, match="partly from points outside of the mask"):
        read(ds, [rows(MATRIX, VALUE, over="lat,lon")], where="sea")
    inside = MATRIX * ds["sea"].values
    value = np.einsum("rij,tij->tr", inside, FIELD).mean(0).round(1)
    post = read(ds, [rows(inside, value, over="lat,lon")], where="sea")
    known = np.nan_to_num(post["u"].values)
    assert np.abs(np.einsum("rij,tij->tr", inside, known) - value).max() <= SLACK
    post = read(ds, [regions("lat,lon", "zone", 5.0, average=True, weights="sd")], where="sea")
    found = post["region_averages_lat_lon_after"].values
    assert np.isnan(found[:, 3]).all()
    weights = SD * ds["sea"].values * (np.arange(4)[:, None, None] == ZONES)
    means = np.einsum("rij,tij->tr", weights, np.nan_to_num(post["u"].values))[:, :3]
    assert np.abs(means / weights.sum((1, 2))[:3] - 5.0).max() <= SLACK
    assert np.abs(found[:, :3] - 5.0).max() <= SLACK


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize(
    "form", ["numbers", "with NaN", "shares", "named shares", "values by number"]
)
def test_regions_are_the_sums_that_loops_give(form, average):
    ds = dataset(("lon", "time", "lat"), ("lat",))
    masks = (np.arange(4)[:, None, None] == ZONES).astype(float)
    weights = masks * SD
    given = np.einsum("rij,tij->tr", weights, FIELD).mean(0).round(1)
    given = given / weights.sum((1, 2)) if average else given
    matrix = weights / weights.sum((1, 2), keepdims=True) if average else weights
    zones, value = "zone", given
    if form == "with NaN":
        ds["zone"] = ds["zone"].where(ds["zone"] >= 0)
    if "shares" in form:
        zones = xarray.DataArray(masks, {"lat": LAT, "lon": LON}, ("basin", "lat", "lon"))
        zones = zones.reindex(lat=ds["lat"], lon=ds["lon"])
    if form == "named shares":
        names = ["a", "b", "c", "d"]
        zones = zones.assign_coords(basin=names)
        value = xarray.DataArray(given, {"basin": names}, ("basin",)).isel(basin=[2, 0, 3, 1])
        matrix, given = matrix[[2, 0, 3, 1]], given[[2, 0, 3, 1]]
    if form == "values by number":
        value = xarray.DataArray(given, {"zone": range(4)}, ("zone",)).sel(zone=[3, 1])
        matrix, given = matrix[[3, 1]], given[[3, 1]]
    post = read(ds, [regions("lat,lon", zones, value, average=average, weights="sd")])
    mean, _ = dense(matrix, given)
    assert np.abs(ascending(post["u"]).values - mean).max() <= SLACK


def test_regions_are_called_by_the_meanings_of_their_flags():
    ds = dataset()
    ds["zone"].attrs |= {"flag_values": [0, 1, 2, 3], "flag_meanings": "north south east west"}
    value = xarray.DataArray([5.0, 4.8], {"basin": ["west", "south"]}, ("basin",))
    law = regions("lat,lon", "zone", value, average=True, weights="sd")
    post = read(ds, [law])
    assert post["region_averages_lat_lon_row"].values.tolist() == [3, 1]
    masks = np.stack([ZONES == 3, ZONES == 1]) * SD
    found = np.einsum("rij,tij->tr", masks, post["u"].values) / masks.sum((1, 2))
    assert np.abs(found - [5.0, 4.8]).max() <= SLACK


def test_what_rows_and_regions_tied_holds_when_more_is_stated_later():
    laws = [
        rows(MATRIX, VALUE, over="lat,lon", names=["a", "b", "c"]),
        regions("lat,lon", "zone", 5.0, average=True),
        average("lat,lon", 5.1),
    ]
    ds = dataset(("time", "lat", "lon"), ("lat",))
    laws[0] = rows(MATRIX[:, ::-1], VALUE, over="lat,lon", names=["a", "b", "c"])
    together = read(ds, laws[:2])
    step = read(read(ds, laws[:1]), laws[1:2])
    np.testing.assert_allclose(step["u"], together["u"], atol=SLACK)
    assert step["rows_lat_lon_row"].values.tolist() == ["a", "b", "c"]
    last = read(step, [rows(MATRIX[:1, ::-1] * [[[0.0]], [[1.0]]][1], VALUE[0], over="lat,lon")])
    np.testing.assert_allclose(last["u"], together["u"], atol=SLACK)
    with pytest.raises(ValueError, match="the order of 'lat' understood as 'descending'"):
        read(step.isel(lat=slice(None, None, -1)), laws[2:])
    with pytest.raises(ValueError, match="in another order"):
        read(step.transpose("lon", "lat", ...), laws[2:])
    gone = step.drop_vars("rows_lat_lon_entry_column")
    with pytest.raises(ValueError, match="there is no 'rows_lat_lon_entry_column'"):
        read(gone, laws[2:])
    zones = regions("lat,lon", dataset()["zone"], 5.0, average=True)
    with pytest.raises(ValueError, match="arrays that it does not hold"):
        read(read(dataset(), [zones]), laws[2:])


def test_units_of_rows_are_those_that_are_given():
    post = read(dataset(), [rows(MATRIX, VALUE, over="lat,lon")])
    assert "units" not in post["rows_lat_lon"].attrs
    post = read(dataset(), [rows(MATRIX, VALUE, over="lat,lon", units="mm")])
    assert post["rows_lat_lon"].attrs["units"] == "mm"
    value = xarray.DataArray(VALUE, dims="r", attrs={"units": "m"})
    scale = xarray.DataArray(np.ones(3), dims="r", attrs={"units": "kg"})
    with pytest.raises(ValueError, match="'kg', and 'm' is expected"):
        read(dataset(), [rows(MATRIX, value, scale, over="lat,lon")])


def test_values_of_named_rows_are_taken_by_their_names():
    matrix = xarray.DataArray(MATRIX, {"station": [7, 8, 9]}, ("station", "lat", "lon"))
    value = xarray.DataArray(VALUE, {"station": [7, 8, 9]}, ("station",))
    scale = xarray.DataArray([0.1, 0.2, 0.3], {"station": [7, 8, 9]}, ("station",))
    one = read(dataset(), [rows(matrix, VALUE, np.array([0.1, 0.2, 0.3]), over="lat,lon")])
    for by in ([0, 1, 2], [2, 0, 1]):
        law = rows(matrix, value.isel(station=by), scale.isel(station=by[::-1]), over="lat,lon")
        np.testing.assert_allclose(read(dataset(), [law])["u"], one["u"], atol=SLACK)


# --- files, and the command line


@pytest.fixture
def folder(tmp_path):
    """Matrices in every kind of file."""
    ds = dataset(("lat", "lon", "time"), ("lat",))
    ds.to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    named, _ = in_file_order(ds)
    flat = named.values.reshape(3, -1)
    sparse.save_npz(tmp_path / "csr.npz", sparse.csr_matrix(flat))
    sparse.save_npz(tmp_path / "coo.npz", sparse.coo_array(flat))
    io.mmwrite(tmp_path / "G.mtx", sparse.coo_matrix(flat), precision=17)
    np.save(tmp_path / "G.npy", flat)
    np.savez(tmp_path / "d.npz", G=flat, y=VALUE)
    held = xarray.Dataset(
        {"G": (("r", "lon", "lat"), MATRIX.transpose(0, 2, 1)), "y": ("r", VALUE)}
    )
    held = held.assign_coords(lat=LAT, lon=LON)
    held.to_netcdf(tmp_path / "G.nc", engine="h5netcdf")
    held.to_zarr(tmp_path / "G.zarr", zarr_format=2)
    return tmp_path


def run(folder, *options):
    names = ["--mean", "u", "--scale", "sd", "--out", str(folder / "o.nc")]
    return main(["condition", str(folder / "in.nc"), *options, *names])


FILES = ["csr.npz", "coo.npz", "G.mtx", "G.npy", "d.npz:G", "G.nc:G", "G.zarr:G"]


@pytest.mark.parametrize("name", FILES)
def test_rows_of_every_kind_of_file_are_the_same(folder, capsys, name):
    mean, _ = dense(MATRIX, VALUE)
    law = f"lat,lon:{folder / name}={folder / 'd.npz'}:y"
    assert run(folder, "--rows", law, "--dry-run") == 0
    said = " ".join(capsys.readouterr().out.split())
    entries = np.count_nonzero(MATRIX)
    assert (
        f"{name}: 3 rows over lat, lon, {entries} entries; read as they are, no measure applied"
        in said.replace(f"{folder}/", "")
    )
    assert run(folder, "--row", law) == 0
    post = xarray.load_dataset(folder / "o.nc", engine="h5netcdf")
    assert np.abs(ascending(post["u"]).values - mean).max() <= SLACK
    again = ["--average", "lat,lon=5.1", "--mean", "u", "--scale", "sd"]
    out = folder / "again.zarr"
    assert main(["condition", str(folder / "o.nc"), *again, "--out", str(out)]) == 0
    post = xarray.load_dataset(out, engine="zarr")
    found = np.einsum("rij,tij->tr", MATRIX, ascending(post["u"]).values)
    assert np.abs(found - VALUE).max() <= SLACK


def test_regions_of_the_command_line_are_those_of_the_library(folder):
    value = xarray.DataArray([5.0, 4.9], {"zone": [1, 3]}, ("zone",), name="known")
    value.to_dataset().to_netcdf(folder / "values.nc", engine="h5netcdf")
    assert run(folder, "--region-averages", f"lat,lon:zone={folder / 'values.nc'}:known+-0.1") == 0
    post = xarray.load_dataset(folder / "o.nc", engine="h5netcdf")
    law = regions("lat,lon", "zone", value, 0.1, average=True)
    expected = read(dataset(("lat", "lon", "time"), ("lat",)), [law])
    np.testing.assert_allclose(post["u"], expected["u"], atol=SLACK)
    record = json.loads(post.attrs["bayescons_conditioned"])["laws"][0]
    assert record["regions"] == "zone"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows", "csr.npz=1"], "expected AXES:FILE=VALUE"),
        (["--rows", "lat,lon:=1"], "expected AXES:FILE=VALUE"),
        (["--regions", "lat,lon=1"], "expected AXES:NAME=VALUE"),
        (["--regions", "lat,lon:basin=1"], "there is no array 'basin' for the regions"),
        (["--rows", "lat,lon:G.nc=1"], "Name the array of it, G.nc:NAME; there is 'G', 'y'"),
        (["--rows", "lat,lon:G.nc:H=1"], "has no array 'H'"),
        (["--rows", "lat,lon:none.npz=1"], "cannot read none.npz"),
        (["--rows", "lat,lon:csr.npz=y"], "neither a number nor the name of an array: 'y'"),
        (["--rows", "lat,lon:csr.npz=d.npz:z"], "d.npz has no array 'z'"),
        (["--rows", "lon,lat:csr.npz=1"], "in another order"),
        (["--rows", "lat:csr.npz=1"], "24 columns; expected is one column for each of 4 points"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(folder, capsys, monkeypatch, options, message):
    monkeypatch.chdir(folder)
    assert run(folder, *options) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "o.nc").exists()


def _csr(path, indices, indptr, data=(1.0, 2.0), **further):
    parts = {"indices": indices, "indptr": indptr, "data": data, "shape": [2, 24], **further}
    np.savez(path, format=b"csr", **{name: np.asarray(part) for name, part in parts.items()})


DAMAGED = {
    "a column beyond": lambda path: _csr(path, [0, 99], [0, 1, 2]),
    "a negative column": lambda path: _csr(path, [0, -1], [0, 1, 2]),
    "rows that end beyond": lambda path: _csr(path, [0, 1], [0, 1, 9]),
    "rows that go back": lambda path: _csr(path, [0, 1], [0, 2, 1]),
    "pickled": lambda path: _csr(path, np.array([{}, 1], object), [0, 1, 2]),
    "a part missing": lambda path: np.savez(path, format=b"csr", shape=[2, 24], data=[1.0]),
    "no format": lambda path: _csr(path, [0, 1], [0, 1, 2], format2=b"x", shape=[2]),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-80]),
    "a market that ends": lambda path: path.write_text(
        "%%MatrixMarket matrix coordinate real general\n2 24 9\n1 1 1.0\n"
    ),
    "a market that is too large": lambda path: path.write_text(
        "%%MatrixMarket matrix coordinate real general\n2 24 999999999999\n1 1 1.0\n"
    ),
    "a market of 10 TB": lambda path: path.write_text(
        "%%MatrixMarket matrix array real general\n1000000 1000000\n1.0\n"
    ),
    "a market out of itself": lambda path: path.write_text(
        "%%MatrixMarket matrix coordinate real general\n2 24 1\n3 25 1.0\n"
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_matrices_are_refused(tmp_path, damage):
    path = tmp_path / "G.npz"
    sparse.save_npz(path, sparse.csr_matrix(MATRIX.reshape(3, -1)))
    DAMAGED[damage](path)
    with pytest.raises(ValueError, match=r"G\.npz"):
        matrix_of(str(path))


# --- trees of draws


def tree(**groups):
    """A tree as ArviZ has it: names of arrays, and their axes beside chain and draw."""
    nodes = {
        f"/{group}": xarray.Dataset(
            {
                name: (("chain", "draw", *dims), RNG.normal(size=(2, 9, *[5] * len(dims))))
                for name, dims in arrays.items()
            },
            coords={"chain": [0, 1], "draw": np.arange(9), "x": np.linspace(0, 1, 5)},
        )
        for group, arrays in groups.items()
    }
    return xarray.DataTree.from_dict(nodes)


FIELDS = {"u": ["x"], "s": []}
TREES = {
    "a posterior": (tree(posterior=FIELDS, sample_stats={"lp": []}), "group 'posterior', the only"),
    "predictions": (
        tree(posterior={"s": []}, posterior_predictive={"y": ["x"]}, log_likelihood={"y": ["x"]}),
        "group 'posterior_predictive', the only",
    ),
    "both": (tree(posterior=FIELDS, posterior_predictive=FIELDS), "--group posterior"),
    "a prior": (tree(prior=FIELDS, sample_stats={"lp": []}), "--group prior"),
    "two fields": (
        tree(posterior={"u": ["x"], "v": ["x"]}, sample_stats={"lp": []}),
        "draws of 2 fields over chain and draw, 'u', 'v'. Name the one that is meant: --ensemble u",
    ),
}


@pytest.mark.parametrize("container", ["nc", "zarr"])
@pytest.mark.parametrize("name", TREES)
def test_a_tree_of_draws_is_read_where_one_field_can_be_meant(tmp_path, capsys, name, container):
    data, message = TREES[name]
    path = tmp_path / f"a.{container}"
    if container == "nc":
        data.to_netcdf(path, engine="h5netcdf")
    else:
        data.to_zarr(path, zarr_format=2)
    status = main(["condition", str(path), "--integral", "x=0.2", "--dry-run"])
    said = capsys.readouterr()
    assert status == (0 if "only" in message else 2)
    assert message in " ".join((said.out + said.err).split())


# --- what stands for nothing known

SMOOTH = RNG.normal(10.0, 10.0, 2000)


def within(values, fill, count):
    found = values.copy()
    found[RNG.choice(found.size, count, replace=False)] = fill
    return found


@pytest.mark.parametrize(
    ("values", "fill"),
    [
        (within(SMOOTH, -99.0, 20), -99.0),
        (within(SMOOTH + 273, -99.0, 5), -99.0),
        (within(SMOOTH, -888.0, 4), -888.0),
        (within(SMOOTH, -999.0, 1), -999.0),
        (within(SMOOTH * 100, -9999.0, 9), -9999.0),
        (within(SMOOTH, 9999.0, 1), 9999.0),
        (within(SMOOTH, 32767.0, 1), 32767.0),
        (within(SMOOTH, 1e20, 1), 1e20),
        (within(within(SMOOTH, -99.0, 9), -888.0, 9), -888.0),
        (within(SMOOTH, np.float32(-99.9), 9), float(np.float32(-99.9))),
        (np.full(50, -99.0), None),
        (np.where(RNG.random(100) < 0.5, 0.0, -99.0), None),
        (RNG.choice([0.0, 1.0, 2.0, -99.0], 100), None),
        (np.append(np.linspace(-99.0, 40.0, 500), [-99.0] * 6), None),
        (-99 + 20 * np.abs(RNG.normal(size=200)), None),
        (within(SMOOTH, -99.0, 2), None),
        (within(SMOOTH, 99.0, 20), None),
        (np.append(np.zeros(100), RNG.gamma(2.0, 1.0, 50)), None),
        (np.append([-99.0] * 5, [1.0, 2.0, 3.0]), None),
        (np.append(RNG.normal(-300.0, 60.0, 500), [-99.0] * 5), None),
    ],
)
def test_fill_values_are_found_by_clear_evidence(values, fill):
    assert looks_like_fill(values) == fill


def test_a_fill_value_is_refused_unless_the_file_calls_it_valid():
    values = within(SMOOTH[:100], -99.0, 9)
    x = np.linspace(0.0, 1.0, 100)
    ds = xarray.Dataset({"mean": ("x", values), "scale": 0.5}, {"x": x})
    with pytest.raises(ValueError, match="holds -99 9 times, which looks like a fill value"):
        predictions(ds)
    ds["mean"].attrs["valid_min"] = -99.0
    assert predictions(ds).mask is None


@pytest.mark.parametrize("where", ["x", "mean"])
@pytest.mark.parametrize(
    ("given", "units"),
    [
        (b"m", "m"),
        (np.array([b"m"]), "m"),
        (np.array(["m"]), "m"),
        (b"\xb0C", "°C"),
        (1, "1"),
        ([], None),
        (5, "and no text"),
        (np.array([1.0, 2.0]), "and no text"),
        (["m", "s"], "and no text"),
        ({"a": 1}, "and no text"),
    ],
)
def test_units_that_are_no_text_are_understood_or_refused_by_name(where, given, units):
    ds = xarray.Dataset({"mean": ("x", np.ones(3)), "scale": 0.5}, {"x": [0.0, 1.0, 2.0]})
    ds[where].attrs["units"] = given
    if units == "and no text":
        with pytest.raises(ValueError, match=f"the units of '{where}' are .*{units}"):
            predictions(ds)
        return
    found = predictions(ds)
    assert (found.dimensions[0].units if where == "x" else found.units) == units


def test_a_row_that_is_far_from_the_belief_is_told():
    with pytest.warns(SurprisingLawWarning, match="'rows lat,lon' is"):
        read(dataset(), [rows(MATRIX, VALUE + 40, over="lat,lon")])


def test_rows_whose_covariance_does_not_fit_are_refused_and_rows_apart_are_not(monkeypatch):
    count = 400
    apart = sparse.eye_array(count, 2 * count, format="coo")
    chain = sparse.coo_array(apart + sparse.eye_array(count, 2 * count, k=1))
    ds = xarray.Dataset(
        {"u": ("x", np.zeros(2 * count)), "sd": ("x", np.ones(2 * count))},
        coords={"x": np.arange(2.0 * count)},
    )
    monkeypatch.setattr("bayescons.labelled.refusing.free_memory", lambda: 1e6)
    with pytest.raises(ValueError, match=r"400 rows .* hang together, takes .* State fewer rows"):
        read(ds, [rows(chain, 0.5, over="x")])
    found = read(ds, [rows(apart, 0.5, over="x")])
    np.testing.assert_allclose(found["u"].values[:count], 0.5, rtol=SLACK)


def test_a_path_longer_than_the_terminal_is_wide_is_told_in_one_piece(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    law = f"lat,lon:{folder / 'csr.npz'}={folder / 'd.npz'}:y"
    assert len(str(folder)) > 40
    assert run(folder, "--rows", law, "--dry-run") == 0
    said = capsys.readouterr().out
    assert f"{folder / 'in.nc'}:" in said
    assert str(folder / "csr.npz") in said


def test_a_file_of_rows_may_have_an_equals_sign_in_its_name(folder, capsys):
    other = folder / "run=3" / "G=a.npz"
    other.parent.mkdir()
    other.write_bytes((folder / "csr.npz").read_bytes())
    said = []
    for path in (folder / "csr.npz", other):
        law = f"lat,lon:{path}={folder / 'd.npz'}:y"
        assert run(folder, "--rows", law, "--dry-run") == 0
        said.append(" ".join(capsys.readouterr().out.replace(str(path), "FILE").split()))
    assert said[0] == said[1]
