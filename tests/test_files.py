"""Files of named arrays as people have them: each comes out with its values, names and attributes,
or is refused in one sentence that says what to do.
"""

import base64
import json
import os
import random
import shutil
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import xarray

from bayescons.extras import EXTRAS
from bayescons.labelled import refusing
from bayescons.labelled.files import opened, values
from bayescons.labelled.hdf5_heaps import CheckedFile
from bayescons.labelled.writing import written
from bayescons.refusals import Refusal, RefusedFile, RefusedValue

h5py = pytest.importorskip("h5py")
pytest.importorskip("h5netcdf")
zarr = pytest.importorskip("zarr")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

X, T = np.linspace(0, 1, 7), np.arange(4.0)
U = np.arange(28.0).reshape(4, 7) ** 2 / 3
# Made by netCDF-C 4.10 (format NETCDF3_64BIT_DATA): u = 0, 1, ..., 27 over (t, x); t is the record
# axis, k = 0, .5, ..., 3 packed.
CDF5 = (
    "c-nJzabsnG02UzTg0h*QG-C+^24Ji}u-So_2PO`sSxYiYa#B&vVa-U*$;pSXxsmKcH;)mC#xS=uFSDc=&3(BLnhnag"
    "fJ%#CaX%xHABZtqEF-_Ps92#mGcP$+!N|bCP#26)?BjrHiGi6{im-zTJ>1av=x$DdsmsP69x!vc;@vWHa>5dGN+E&G"
    "3{(4mF2bM1$%#3s@o9<4CHX~2b~4&OfUAM&6M!1;1Cy{n8VUyXSD`dikNs09|J5omu>XMMUM8S<EDWp+Y)GzvnFm$p"
    "0OdPCL(c(fvja5N93;@x%Rp%bD6IsgRiLyQl-7XKT4?s@KxsWFZ2+YWp|lZ{HiptBXznwG(q>TF97;oD&cPB&TR~}S"
    "2n_%Qqd?R"
)


def labelled() -> xarray.Dataset:
    return xarray.Dataset(
        {
            "u": (("t", "x"), U, {"units": "kg m-2", "cell_methods": "x: mean", "valid_max": 1e9}),
            "x_bnds": (("x", "bnds"), np.stack([X - 0.1, X + 0.1], 1)),
            "k": ("x", np.arange(7, dtype="i4")),
        },
        {"t": ("t", T, {"units": "h"}), "x": ("x", X, {"units": "km", "bounds": "x_bnds"})},
        {"title": "a field"},
    )


def netcdf4(path, **arguments):
    labelled().to_netcdf(path, engine="h5netcdf", **arguments)


def netcdf3(path, format="NETCDF3_CLASSIC"):
    labelled().to_netcdf(path, engine="scipy", format=format)


def cdf5(path):
    path.write_bytes(zlib.decompress(base64.b85decode(CDF5)))


def hdf5(path):
    with h5py.File(path, "w") as file:
        file["t"], file["x"] = T, X
        file.create_dataset("u", data=U, compression="gzip", chunks=(2, 7)).attrs["units"] = "m"
        file["names"] = ["a", "bc"]


def npz(path, save=np.savez_compressed):
    with open(path, "wb") as stream:
        save(stream, t=T, x=X, u=U)


def store(path, version=2, **arguments):
    labelled().to_zarr(path, zarr_format=version, **arguments)


def zipped(path, version=3):
    folder = path.with_name("folder")
    labelled().to_zarr(folder, zarr_format=version, consolidated=False)
    shutil.make_archive(str(path.with_name("made")), "zip", folder)
    path.with_name("made.zip").rename(path)
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _quiet_writers(recwarn):
    """Zarr warns that consolidated metadata of version 3 are no standard."""
    del recwarn


def all_of(path):
    with opened(path) as found:
        return {name: values(found, name) for name in found.variables}


LABELLED = {
    "NetCDF 3": netcdf3,
    "NetCDF 3, 64-bit offset": lambda path: netcdf3(path, "NETCDF3_64BIT"),
    "NetCDF 4": netcdf4,
    "Zarr 2": store,
    "Zarr 3": lambda path: store(path, 3, consolidated=False),
    "Zarr 2 in a zip": lambda path: zipped(path, 2),
    "Zarr 3 in a zip": zipped,
}


@pytest.mark.parametrize("kind", LABELLED)
def test_a_file_with_named_axes_comes_out_as_it_was_made(kind, tmp_path):
    LABELLED[kind](tmp_path / "file")
    with opened(tmp_path / "file") as found:
        assert found.encoding["understood"] in kind
        assert found.attrs["title"] == "a field"
        for name, made in labelled().variables.items():
            assert found[name].dims == made.dims
            assert found[name].attrs == made.attrs
            assert np.array_equal(values(found, name), made.values)
        assert set(found.coords) == {"t", "x"}


def test_a_file_of_64_bit_data_is_read_as_its_maker_wrote_it(tmp_path):
    cdf5(tmp_path / "file.nc")
    with opened(tmp_path / "file.nc") as found:
        assert np.array_equal(values(found, "u"), np.arange(28.0).reshape(4, 7))
        assert np.array_equal(values(found, "k"), np.arange(7) / 2)
        assert found["k"].encoding["_FillValue"] == -99
        assert found["u"][1:3, ::-2].values.tolist() == [[13, 11, 9, 7], [20, 18, 16, 14]]
        assert found["x"].attrs == {"units": "m"}
        assert values(found, "t")[-1] == np.datetime64("2001-01-01T03")
        assert found.attrs == {"title": "hello"}


@pytest.mark.parametrize(
    "make", [hdf5, npz, lambda path: npz(path, np.savez)], ids=["hdf5", "npz", "stored npz"]
)
def test_axes_without_names_get_names_that_no_one_takes_for_any(make, tmp_path):
    make(tmp_path / "file")
    with opened(tmp_path / "file") as found:
        assert found["u"].dims == ("u_axis0", "u_axis1")
        assert found["x"].dims == ("x_axis0",)
        assert all(found[name].attrs["_by_position"] for name in "tux")
        assert np.array_equal(values(found, "u"), U)
        assert found["u"][1, ::3].values.tolist() == U[1, ::3].tolist()
        if make is hdf5:
            assert found["u"].attrs["units"] == "m"
            assert values(found, "names").tolist() == ["a", "bc"]


def test_axes_without_names_in_zarr_go_by_position(tmp_path):
    for version in (2, 3):
        root = zarr.open_group(tmp_path / f"{version}", mode="w", zarr_format=version)
        root.create_array("u", data=U)
        with opened(tmp_path / f"{version}") as found:
            assert found["u"].dims == ("u_axis0", "u_axis1")
            assert np.array_equal(values(found, "u"), U)


def test_zeros_that_zarr_fills_gaps_with_are_numbers(tmp_path):
    root = zarr.open_group(tmp_path / "s", mode="w", zarr_format=2)
    for name, data in {"u": np.array([0.0, 1.0]), "x": np.array([0.0, 0.5])}.items():
        root.create_array(name, data=data, fill_value=0.0).attrs["_ARRAY_DIMENSIONS"] = ["x"]
    with opened(tmp_path / "s") as found:
        assert values(found, "u").tolist() == [0.0, 1.0]


def test_numbers_are_unpacked_and_dates_are_dates(tmp_path):
    data = xarray.Dataset(
        {
            "p": ("time", np.array([1, -999, 3], "i2"), {"scale_factor": 0.5, "_FillValue": -999}),
            "q": ("time", np.array([1.0, 2.0, 1e20]), {"missing_value": 1e20, "units": "m"}),
        },
        {
            "time": ("time", [0, 1, 2], {"units": "days since 2001-02-27", "calendar": "noleap"}),
            "odd": ("time", [0.0, 1.0, 2.0], {"units": "fortnights since 2001-01-01"}),
            "lead": ("time", [6, 12, 18], {"units": "hours"}),
        },
    )
    data.to_netcdf(tmp_path / "a.nc", engine="scipy")
    with opened(tmp_path / "a.nc") as found:
        assert np.array_equal(values(found, "p"), [0.5, np.nan, 1.5], equal_nan=True)
        assert found["p"].encoding["scale_factor"] == 0.5
        assert np.isnan(values(found, "q")).tolist() == [False, False, True]
        assert [str(day)[:10] for day in values(found, "time")][1:] == ["2001-02-28", "2001-03-01"]
        assert found["time"].encoding["calendar"] == "noleap"
        assert values(found, "odd").tolist() == [0, 1, 2]
        assert found["odd"].attrs["units"] == "fortnights since 2001-01-01"
        assert values(found, "lead").tolist() == [6, 12, 18]


def test_labels_of_hdf5_name_axes(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"], file["x"], file["y"] = U, X, T
        for i, name in enumerate(("y", "x")):
            file["u"].dims[i].label = name
        file["x"].dims[0].label = "x"
    with opened(tmp_path / "a.h5") as found:
        assert found["u"].dims == ("y", "x")
        assert np.array_equal(found["x"], X)
        assert found["y"].dims == ("y_axis0",)


def test_what_holds_no_numbers_is_left_out_and_says_so(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["z"], file["flag"], file["none"] = np.array([1 + 2j]), [True, False], h5py.Empty("f8")
        file["pairs"], file["ref"] = np.zeros(2, [("a", "f8"), ("b", "i4")]), file["z"].ref
        file["alias"], file["nowhere"] = h5py.SoftLink("/z"), h5py.SoftLink("/not/there")
        file["itself"] = file["/"]
        file.attrs.update(words=["a", "b"], ref=file["z"].ref, nothing=h5py.Empty("S1"))
    with opened(tmp_path / "a.h5") as found:
        assert {*found.variables} == {"z", "flag", "alias"}
        assert values(found, "alias").tolist() == [1 + 2j]
        assert values(found, "flag").tolist() == [True, False]
        assert {*found.encoding["left_out"]} == {"none", "pairs", "ref"}
        assert found.attrs == {"words": ["a", "b"]}
        with pytest.raises(RefusedValue, match="'none' that can be read: it is empty"):
            values(found, "none")


def test_names_that_contradict_each_other_in_length_go_by_position(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"], file["x"] = U, np.arange(9.0)
        for name, axes in {"u": "yx", "x": "x"}.items():
            for i, axis in enumerate(axes):
                file[name].dims[i].label = axis
    with opened(tmp_path / "a.h5") as found:
        assert found["u"].dims == ("u_axis0", "u_axis1")
        assert found["u"].attrs["_by_position"]


# Groups


def test_the_only_group_with_arrays_is_taken_and_several_are_listed(tmp_path):
    netcdf4(tmp_path / "one.nc", group="a/b")
    with opened(tmp_path / "one.nc") as found:
        assert np.array_equal(values(found, "u"), U)
    netcdf4(tmp_path / "one.nc", group="c", mode="a")
    with (
        pytest.raises(RefusedValue, match=r"2 groups .* 'a/b', 'c'. Name one: --group a/b"),
        opened(tmp_path / "one.nc"),
    ):
        pass
    with opened(tmp_path / "one.nc", group="/a/b") as found:
        assert np.array_equal(values(found, "u"), U)
    with (
        pytest.raises(RefusedValue, match=r"no group 'd'.*Name one: --group a/b"),
        opened(tmp_path / "one.nc", group="d"),
    ):
        pass


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_tree_of_arviz_is_read_by_group(suffix, tmp_path):
    tree = xarray.DataTree.from_dict({"posterior": labelled(), "prior": labelled() * 2})
    written(tree, tmp_path / f"tree{suffix}")
    with opened(tmp_path / f"tree{suffix}", group="prior") as found:
        assert np.array_equal(values(found, "u"), 2 * U)
    with pytest.raises(RefusedValue, match="--group posterior"), opened(tmp_path / f"tree{suffix}"):
        pass


def test_a_group_has_the_coordinates_of_the_groups_around_it(tmp_path):
    fields = labelled().drop_vars(["t", "x", "x_bnds"])
    tree = xarray.DataTree.from_dict({"/": labelled()[["t", "x"]].coords.to_dataset()})
    tree["fields"] = xarray.DataTree(fields)
    tree.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with opened(tmp_path / "a.nc") as found:
        assert np.array_equal(found["x"], X)
        assert found["u"].sel(t=2.0, x=1.0) == U[2, -1]


# Layouts of data sets and solvers


def test_a_sample_of_pdebench_is_a_group_with_its_grid(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for i in range(3):
            file[f"000{i}/data"] = U[..., None] + i
            file[f"000{i}/grid/t"], file[f"000{i}/grid/x"] = T, X
    with pytest.raises(RefusedValue, match=r"3 groups .*--group 0000"), opened(tmp_path / "a.h5"):
        pass
    with opened(tmp_path / "a.h5", group="0002") as found:
        assert np.array_equal(values(found, "data")[..., 0], U + 2)
        assert np.array_equal(values(found, "x"), X)


def the_well(path):
    with h5py.File(path, "w") as file:
        file.attrs.update(grid_type="cartesian", n_spatial_dims=2, n_trajectories=3)
        space = file.create_group("dimensions")
        space.attrs["spatial_dims"] = ["x", "y"]
        for name, points in {"time": T, "x": X, "y": X[:5]}.items():
            space.create_dataset(name, data=points).attrs["sample_varying"] = False
        for ring, kind in {"x": "PERIODIC", "y": "WALL"}.items():
            edge = file.create_group(f"boundary_conditions/{ring}_edge")
            edge.attrs.update(
                associated_dims=[ring], bc_type=kind, sample_varying=False, time_varying=False
            )
            edge["mask"] = np.arange(len(X if ring == "x" else X[:5])) == 0
        for name, shape, samples, times, along in (
            ("t0_fields/p", (3, 4, 7, 5), True, True, [True, True]),
            ("t0_fields/depth", (7,), False, False, [True, False]),
            ("t1_fields/v", (3, 4, 7, 5, 2), True, True, [True, True]),
            ("t2_fields/s", (4, 7, 5, 2, 2), False, True, [True, True]),
        ):
            one = file.create_dataset(name, data=np.arange(float(np.prod(shape))).reshape(shape))
            one.attrs.update(sample_varying=samples, time_varying=times, dim_varying=along)


def test_a_file_of_the_well_has_the_axes_that_its_attributes_say(tmp_path):
    the_well(tmp_path / "a.h5")
    with opened(tmp_path / "a.h5") as found:
        assert found["p"].dims == ("trajectory", "time", "x", "y")
        assert found["depth"].dims == ("x",)
        assert found["v"].dims == ("trajectory", "time", "x", "y", "component")
        assert found["s"].dims == ("time", "x", "y", "component", "component_2")
        assert (found["x"].attrs["periodic"], found["y"].attrs["periodic"]) == (1, 0)
        assert found["boundary_conditions.y_edge"].attrs["bc_type"] == "WALL"
        assert found.attrs["grid_type"] == "cartesian"
        assert np.array_equal(found["p"].isel(trajectory=1, time=2).values.ravel()[:2], [210, 211])


GRIDS = {
    "CartesianGrid": (
        {"bounds": [[0, 2], [1, 3]], "shape": [8, 4], "periodic": [True, False]},
        {"x": (0.125, 0.25), "y": (1.25, 1.5)},
        "cartesian",
    ),
    "UnitGrid": ({"shape": [5], "periodic": [False]}, {"x": (0.5, 1.0)}, "cartesian"),
    "PolarSymGrid": ({"radius": [1, 3], "shape": [4]}, {"r": (1.25, 1.5)}, "polar"),
    "SphericalSymGrid": ({"radius": 2.0, "shape": [5]}, {"r": (0.2, 0.4)}, "spherical"),
    "CylindricalSymGrid": (
        {"radius": 2.0, "bounds_z": [0, 3], "shape": [4, 6], "periodic_z": True},
        {"r": (0.25, 0.5), "z": (0.25, 0.5)},
        "cylindrical",
    ),
}


def pde_file(path, kind, data, *fields, places=0):
    """As py-pde 0.60 writes it: JSON within JSON."""
    grid = json.dumps({**GRIDS[kind][0], "class": kind})
    infos = [{"class": json.dumps(c), "grid": grid, "label": json.dumps(n)} for c, n in fields]
    info = infos[0]
    if len(infos) > 1:
        info = {"class": json.dumps("FieldCollection"), "fields": json.dumps(infos)}
    padding = ((0, places), *((0, 0),) * (data.ndim - 1))
    with h5py.File(path, "w") as file:
        file["data"], file["times"] = np.pad(data, padding), np.pad(T[: len(data)] / 2, (0, places))
        file.attrs["field_attributes"] = json.dumps(info)
        file.attrs["data_length"] = json.dumps(len(data))


@pytest.mark.parametrize("kind", GRIDS)
def test_a_storage_of_py_pde_has_the_cells_of_its_grid(kind, tmp_path):
    state, cells, word = GRIDS[kind]
    data = np.random.default_rng(0).random((3, *state["shape"]))
    pde_file(tmp_path / "a.h5", kind, data, ("ScalarField", "c"), places=2)
    with opened(tmp_path / "a.h5") as found:
        assert found["data"].dims == ("t", *cells)
        assert np.array_equal(values(found, "data"), data)
        assert values(found, "t").tolist() == [0, 0.5, 1]
        assert found.attrs["grid_type"] == word
        assert found["data"].attrs["cell_methods"] == " ".join(f"{axis}: mean" for axis in cells)
        for axis, (centre, edge) in cells.items():
            assert found[axis][0] == pytest.approx(centre)
            assert values(found, found[axis].attrs["bounds"])[0, 1] == pytest.approx(edge)
        last = list(cells)[-1]
        assert found[last].attrs["periodic"] == int(kind == "CylindricalSymGrid")


def test_fields_of_a_collection_of_py_pde_go_by_their_labels(tmp_path):
    data = np.random.default_rng(0).random((2, 3, 8, 4))
    fields = ("ScalarField", "heat"), ("VectorField", "flow")
    pde_file(tmp_path / "a.h5", "CartesianGrid", data, *fields)
    with opened(tmp_path / "a.h5") as found:
        assert np.array_equal(values(found, "heat"), data[:, 0])
        assert found["flow"].dims == ("t", "component", "x", "y")
        assert np.array_equal(values(found, "flow"), data[:, 1:])


def test_a_grid_of_py_pde_that_does_not_fit_is_refused(tmp_path):
    pde_file(tmp_path / "a.h5", "UnitGrid", np.zeros((3, 6)), ("ScalarField", "c"))
    with (
        pytest.raises(RefusedValue, match=r"shape \(3, 5\) of its grid"),
        opened(tmp_path / "a.h5"),
    ):
        pass


def test_arrays_of_matlab_have_the_axes_of_matlab(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        for name, data, kind in (("u", U.T, "double"), ("x", X[None], "double")):
            file.create_dataset(name, data=data).attrs["MATLAB_class"] = np.bytes_(kind)
        file.create_dataset("text", data=np.arange(3, dtype="u2")).attrs["MATLAB_class"] = b"char"
    with open(tmp_path / "a.mat", "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file")
    with opened(tmp_path / "a.mat") as found:
        assert np.array_equal(values(found, "u"), U)
        assert np.array_equal(values(found, "x"), X)
        with pytest.raises(RefusedValue, match="'text' that can be read: it is a char of MATLAB"):
            values(found, "text")


# What is refused


def points_out(path):
    with h5py.File(path, "w") as file:
        file["u"], file["x"] = U, h5py.ExternalLink("/etc/passwd", "x")


def lies_outside(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("u", (3,), "u1", external=[("/etc/passwd", 0, 3)])


def virtual(path):
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "u", (4,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("u", layout)


def packed_by(**packing):
    """A Zarr 2 store whose metadata name other codecs."""

    def make(path):
        zarr.open_group(path, mode="w", zarr_format=2).create_array("u", data=U)
        said = json.loads((path / "u" / ".zarray").read_text())
        (path / "u" / ".zarray").write_text(json.dumps(said | packing))

    return make


def nested_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.zarr/zarr.json", "{}")


def torch(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", "")


def text(content):
    return lambda path: path.write_bytes(content)


REFUSED = {
    "missing": (str, "No such file"),
    "empty": (text(b""), "is empty"),
    "a folder": (lambda path: path.mkdir(), "is a folder, and no Zarr store"),
    "a pipe": (os.mkfifo, "neither a file nor a folder"),
    "text": (text(b"t,x,u\n0,0,0\n"), "is of a kind that is not read.*Read are NetCDF"),
    "npy": (text(b"\x93NUMPY\x01\0"), "single array .*Write all into one file"),
    "pickle": (text(b"\x80\x04K\x01."), "looks like a pickle, which is never read"),
    "GRIB": (text(b"GRIB0000"), "cdo -f nc4 copy"),
    "gzip": (text(b"\x1f\x8b\x08"), "gunzip"),
    "HDF 4": (text(b"\x0e\x03\x13\x01"), "h4toh5convert"),
    "old MATLAB": (text(b"MATLAB 5.0 MAT-file"), r"save\('out.mat', '-v7.3'\)"),
    "PyTorch": (torch, "pickle in a zip"),
    "a nested store": (nested_zip, "cd STORE.zarr && zip -r0"),
    "a link to another file": (points_out, "names another file for 'x': '/etc/passwd'"),
    "numbers in another file": (lies_outside, "numbers of 'u' in another file"),
    "a virtual array": (virtual, "numbers of 'u' in another file"),
    "a pickled filter": (
        packed_by(filters=[{"id": "pickle", "protocol": 5}], dtype="|O"),
        "[nN]othing pickled is read",
    ),
    "a pickled compressor": (
        packed_by(compressor={"id": "pickle", "protocol": 5}),
        "[nN]othing pickled is read",
    ),
    "an unknown codec": (packed_by(compressor={"id": "nobody"}), "codec that is not installed"),
    "a single array of Zarr": (
        lambda path: zarr.save_array(path, U),
        "single array of Zarr, without coordinates",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_with_the_remedy(kind, tmp_path):
    make, message = REFUSED[kind]
    make(tmp_path / "file")
    with pytest.raises(RefusedValue, match=message) as refused:
        all_of(tmp_path / "file")
    assert str(tmp_path / "file") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    npz(tmp_path / "a.npz")

    def denied(*_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    with (
        pytest.raises(RefusedValue, match=r"a.npz: Permission denied. Ask"),
        opened(tmp_path / "a.npz"),
    ):
        pass


def test_pickled_arrays_of_an_archive_are_left_out_and_say_so(tmp_path):
    with open(tmp_path / "a.npz", "wb") as stream:
        np.savez(stream, u=U, bad=np.array([None]))
    with opened(tmp_path / "a.npz") as found:
        assert list(found.variables) == ["u"]
        with pytest.raises(RefusedValue, match=r"'bad' that can be read: .* pickled"):
            values(found, "bad")


def test_a_filter_that_is_not_installed_is_named_with_the_remedy(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("u", data=U, chunks=(4, 7), compression="lzf")
    content = (tmp_path / "a.h5").read_bytes()
    # The number of the filter (32000, LZF) stands before its name.
    at = content.index(b"lzf\0") - 8
    assert content[at : at + 2] == (32000).to_bytes(2, "little")
    (tmp_path / "a.h5").write_bytes(
        content[:at] + (32123).to_bytes(2, "little") + content[at + 2 :]
    )
    with opened(tmp_path / "a.h5") as found, pytest.raises(RefusedValue, match="h5repack -f NONE"):
        values(found, "u")


def test_what_memory_has_no_room_for_is_refused_before_it_is_read(tmp_path, monkeypatch):
    hdf5(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.create_dataset("huge", (10**6, 10**6), "f8", chunks=(1000, 1000))
    with opened(tmp_path / "a.h5") as found:
        with pytest.raises(RefusedValue, match=r"'huge' of .* takes 8e[+]03 GB"):
            values(found, "huge")
        assert found["huge"][3, 3] == 0
        monkeypatch.setattr(refusing, "free_memory", lambda: 100.0)
        with pytest.raises(RefusedValue, match=r"'u' of .* takes 2.24e-07 GB, and 1e-07 GB"):
            values(found, "u")


def test_what_a_user_raises_while_a_file_is_open_stays_what_it_is(tmp_path):
    hdf5(tmp_path / "a.h5")
    with pytest.raises(KeyError, match="mine"), opened(tmp_path / "a.h5"):
        raise KeyError("mine")


def test_a_missing_package_is_named_with_the_line_that_installs_it(tmp_path, monkeypatch):
    store(tmp_path / "a.zarr")
    monkeypatch.setitem(EXTRAS, "zarr", ("zarr_of_nobody",))
    with (
        pytest.raises(Refusal, match=r"pip install 'bayescons\[zarr\]'"),
        opened(tmp_path / "a.zarr"),
    ):
        pass


# Damage

DAMAGED = {
    "NetCDF 3": netcdf3,
    "CDF-5": cdf5,
    "NetCDF 4": netcdf4,
    "HDF5": hdf5,
    "compressed npz": npz,
    "npz": lambda path: npz(path, np.savez),
    "Zarr in a zip": zipped,
    "The Well": the_well,
}
CHECKED = {"compressed npz", "npz"}  # what is read of these has passed a checksum
PARTS = 8


def damaged(content: bytes, seed: int) -> bytes:
    """One byte changed, in front mostly, where heads are; or the end cut off."""
    numbers = random.Random(seed)
    if seed % 3 == 0:
        return content[: numbers.randrange(1, len(content))]
    at = numbers.randrange(len(content) if seed % 2 else min(len(content), 1500))
    return content[:at] + bytes([content[at] ^ (1 << numbers.randrange(8))]) + content[at + 1 :]


def read_all(path):
    """Everything of a file, or nothing where it is refused; a fault of ours is neither."""
    try:
        return all_of(path)
    except RefusedValue as error:
        refused = error
    assert str(path) in str(refused)
    assert "Type-check" not in str(refused)
    return {}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_refused_or_read_and_nothing_else(kind, tmp_path):
    path = tmp_path / "file"
    DAMAGED[kind](path)
    content, whole = path.read_bytes(), read_all(path)
    assert whole
    for seed in range(24):
        path.write_bytes(damaged(content, seed))
        for name, found in read_all(path).items():
            if kind in CHECKED and name in whole:
                assert np.array_equal(found, whole[name])


@pytest.mark.parametrize("version", [2, 3])
def test_a_damaged_store_is_refused_or_read_and_nothing_else(version, tmp_path):
    path = tmp_path / "file"
    labelled().to_zarr(path, zarr_format=version, consolidated=version == 2)
    parts = [file for file in sorted(path.rglob("*")) if file.is_file()]
    for seed in range(24):
        part = parts[seed % len(parts)]
        content = part.read_bytes()
        part.write_bytes(damaged(content, seed))
        read_all(path)
        part.write_bytes(content)
    assert np.array_equal(read_all(path)["u"], U)


def test_the_library_is_shown_sound_heaps_only(tmp_path):
    def heap(length):  # a head, and one object that says how long it is
        return (
            b"GCOL\x01\0\0\0" + (48).to_bytes(8, "little") + b"\1" + bytes(7) + length + bytes(16)
        )

    sound, longer = heap((16).to_bytes(8, "little")), heap((4096).to_bytes(8, "little"))
    (tmp_path / "bytes").write_bytes(sound + longer)
    file = CheckedFile(tmp_path / "bytes")
    shown = bytearray(len(sound + longer))
    assert file.readinto(shown) == len(shown)
    file.close()
    assert shown == sound + bytes(4) + longer[4:]


# Writing


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_what_is_written_is_what_is_read_again(suffix, tmp_path):
    data = labelled().assign_coords(day=("t", np.arange("2001-01-01", "2001-01-05", dtype="M8[D]")))
    data["u"].attrs |= {"flag": True, "options": {"a": 1}, "_by_position": True}
    path = written(data, tmp_path / f"a{suffix}")
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]
    with opened(path) as found:
        for name in data.variables:
            assert found[name].dims == data[name].dims
            assert np.array_equal(values(found, name), data[name].values)
        assert found["u"].attrs == labelled()["u"].attrs | {"flag": 1, "options": '{"a": 1}'}
    assert data["u"].attrs["_by_position"]  # what was given is left alone


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_packed_numbers_are_written_in_full(suffix, tmp_path):
    packed = {"dtype": "i2", "scale_factor": 0.5, "add_offset": 10.0, "_FillValue": -99}
    source = xarray.Dataset(
        {"p": ("x", np.arange(7) / 2), "q": ("x", np.where(X > 0.5, X, np.nan))},
        {"time": np.datetime64("2001-01-01T06")},
    )
    source.to_netcdf(
        tmp_path / "in.nc",
        engine="h5netcdf",
        encoding={
            "p": packed,
            "q": {"_FillValue": 1e20},
            "time": {"units": "days since 2000-01-01"},
        },
    )
    with opened(tmp_path / "in.nc") as data:
        shifted = data.assign(p=data["p"].copy(data=values(data, "p") + 1e-7))
        path = written(shifted, tmp_path / f"out{suffix}", source=tmp_path / "in.nc")
    with opened(path) as found:
        assert np.array_equal(values(found, "p"), np.arange(7) / 2 + 1e-7)
        assert found["q"].encoding["_FillValue"] == 1e20
        assert np.array_equal(values(found, "q"), source["q"], equal_nan=True)
        assert values(found, "time") == np.datetime64("2001-01-01T06")


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_the_input_is_replaced_only_where_that_is_said(suffix, tmp_path):
    path = written(labelled(), tmp_path / f"a{suffix}")
    with opened(path) as data:
        with pytest.raises(RefusedValue, match=r"is the input, .*--overwrite"):
            written(data, path, source=path)
        more = data.assign(u=data["u"] + 1)
        written(more, path, source=path, overwrite=True)
    with opened(path) as found:
        assert np.array_equal(values(found, "u"), U + 1)
        assert np.array_equal(values(found, "x_bnds"), labelled()["x_bnds"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.csv", r"must end in .nc \(NetCDF\) or .zarr .*Write a.nc"),
        ("a", r"ends in ''. Write a.nc"),
        (".", "1 to 200 bytes; got 0"),
        ("a" * 300 + ".nc", "1 to 200 bytes; got 303"),
        ("folder.nc", "is a folder"),
        ("folder.zarr", "no Zarr store; it is not replaced"),
    ],
)
def test_a_name_that_cannot_be_written_to_is_refused(name, message, tmp_path):
    (tmp_path / "folder.nc").mkdir()
    (tmp_path / "folder.zarr").mkdir()
    with pytest.raises(RefusedValue, match=message):
        written(labelled(), Path(name) if name == "." else tmp_path / name)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_write_that_fails_leaves_what_was_there(suffix, tmp_path, monkeypatch):
    path = written(labelled(), tmp_path / f"a{suffix}")
    for unnameable in (xarray.Dataset({"a/b": ("x", X)}), xarray.Dataset({"u": ("a/b", X)})):
        with pytest.raises(RefusedValue, match="without '/'"):
            written(unnameable, path)
    objects = xarray.Dataset({"u": ("x", np.array([{}, []], object))})
    with pytest.raises(RefusedValue, match=r"cannot write .*Expected numbers, dates and text"):
        written(objects, path)
    with pytest.raises(RefusedValue, match=r"no folder .*Make it first"):
        written(labelled(), tmp_path / "none" / f"a{suffix}")
    monkeypatch.setattr("bayescons.results.files._largest_file", lambda: 10)
    with pytest.raises(RefusedFile, match=r"no room .*Make room"):
        written(labelled(), path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert np.array_equal(read_all(path)["u"], U)
