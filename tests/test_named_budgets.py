"""Named budgets say what they are called after: of what was conditioned on one, the same sums taken
by xarray close.
"""

import numpy as np
import pytest
import xarray

import bayescons as bc
from bayescons.labelled import budgets, condition

SLACK = 1e5 * float(np.finfo(float).eps)  # of sums over a hundred numbers, beside their size
pytestmark = pytest.mark.filterwarnings("ignore::bayescons.labelled.SurprisingLawWarning")
TIMES, LATS, LONS = 4, 4, 6
EDGES = np.array([0.0, 20.0, 50.0, 100.0])
COLUMN, SURFACE = ("time", "lev", "lat", "lon"), ("time", "lat", "lon")


def dataset() -> xarray.Dataset:
    """A field of everything that the budgets are about, none of which closes."""
    rng = np.random.default_rng(0)
    units = {
        "Pa": ("ps", "dp"),
        "kg kg-1": ("q",),
        "kg m-2": ("tcw",),
        "kg m-2 s-1": ("e", "p", "runoff", "ds"),
        "J m-2": ("te",),
        "W m-2": ("toa", "sfc", "hfds", "rn", "h", "le", "g"),
        "degC": ("thetao",),
        "g kg-1": ("so",),
    }
    columns = ("dp", "q", "thetao", "so")
    sizes = {"time": TIMES, "lev": 3, "lat": LATS, "lon": LONS}
    arrays = {}
    for unit, names in units.items():
        for name in names:
            dims = COLUMN if name in columns else SURFACE
            drawn = rng.normal(size=[sizes[d] for d in dims])
            arrays[name] = (dims, drawn, {"units": unit})
    return xarray.Dataset(
        arrays | {"lev_bnds": (("lev", "bnds"), np.stack([EDGES[:-1], EDGES[1:]], axis=1))},
        coords={
            "time": ("time", np.arange(0, TIMES, dtype="datetime64[D]").astype("datetime64[ns]")),
            "lev": ("lev", (EDGES[1:] + EDGES[:-1]) / 2, {"units": "m", "bounds": "lev_bnds"}),
            "lat": ("lat", np.linspace(67.5, -67.5, LATS), {"units": "degrees_north"}),
            "lon": ("lon", 60.0 * np.arange(LONS), {"units": "degrees_east"}),
        },
    )


def globally(array):
    edges = np.deg2rad(np.linspace(90, -90, LATS + 1))
    area = xarray.DataArray(-np.diff(np.sin(edges)), dims="lat") / (2 * LONS)
    return (array.drop_vars("lat") * area).sum(["lat", "lon"])


def change(array):
    return array.diff("time").values


def came(array):
    return array.isel(time=slice(1, None)).values


DAY, DEPTHS = 86400.0, xarray.DataArray(np.diff(EDGES), dims="lev")
BUDGETS = {
    "dry air": (
        budgets.dry_air(level="lev"),
        ("ps", "q"),
        lambda ds: change(globally(ds.ps - (ds.q * ds.dp).sum("lev"))),
    ),
    "water": (
        budgets.water(),
        ("tcw", "e", "p"),
        lambda ds: change(globally(ds.tcw)) / DAY - came(globally(ds.e - ds.p)),
    ),
    "water of columns": (
        budgets.water(axes=""),
        ("tcw", "e", "p"),
        lambda ds: change(ds.tcw) / DAY - came(ds.e - ds.p),
    ),
    "energy": (
        budgets.energy(),
        ("te", "toa", "sfc"),
        lambda ds: change(globally(ds.te)) / DAY - came(globally(ds.toa - ds.sfc)),
    ),
    "heat": (
        budgets.heat(),
        ("thetao", "hfds"),
        lambda ds: (
            4.095657e6 * change(globally((ds.thetao.drop_vars("lev") * DEPTHS).sum("lev"))) / DAY
            - came(globally(ds.hfds))
        ),
    ),
    "salt": (
        budgets.salt(),
        ("so",),
        lambda ds: change(globally((ds.so.drop_vars("lev") * DEPTHS).sum("lev"))),
    ),
    "land energy": (
        budgets.land_energy(),
        ("rn", "h", "le", "g"),
        lambda ds: (ds.rn - ds.h - ds.le - ds.g).values,
    ),
    "land water": (
        budgets.land_water(runoff="runoff"),
        ("p", "le", "runoff", "ds"),
        lambda ds: (ds.p - ds.le / 2.5008e6 - ds.runoff - ds.ds).values,
    ),
}


@pytest.mark.parametrize("name", BUDGETS)
def test_a_named_budget_closes_what_xarray_sums(name):
    law, variables, off = BUDGETS[name]
    ds = dataset()
    found = condition(ds, [law], mean=variables, scale=(1.0,) * len(variables), anyway=True)
    before = np.abs(off(ds)).max()
    assert before > 1e-3
    assert np.abs(off(found)).max() <= SLACK * before


@pytest.mark.parametrize("name", BUDGETS)
def test_a_named_budget_of_other_names_and_with_a_scale_says_so(name):
    law = BUDGETS[name][0]
    build = getattr(budgets, law.name.replace(" ", "_"))
    noisy = build(scale=0.5)
    assert noisy.scale == "0.5"
    assert noisy.name == law.name
    first = next(iter(build.__annotations__))
    assert "'2 t'" in build(**{first: "2 t"}).text


def test_the_energy_of_a_column_is_closed_jointly_with_its_water():
    """One after the other, the second budget opens the first; jointly both close."""
    ds, laws = dataset(), [BUDGETS[n][0] for n in ("land energy", "land water")]
    variables = ("rn", "h", "le", "g", "p", "runoff", "ds")
    spread = (1.0,) * 4 + (1e-6,) * 3
    together = condition(ds, laws, mean=variables, scale=spread, anyway=True)
    first = condition(ds, laws[:1], mean=variables[:4], scale=spread[:4])
    after = first.drop_vars([n for n in first if n.endswith(("_prior", "_scale"))])
    del after.attrs["bayescons_conditioned"]
    after = after.drop_vars(["log_evidence", "independent_rows"])
    water = ("p", "le", "runoff", "ds")
    second = condition(after, laws[1:], mean=water, scale=(1e-6, 1.0, 1e-6, 1e-6), anyway=True)
    off = BUDGETS["land energy"][2]
    assert np.abs(off(second)).max() > 0.1
    assert np.abs(off(together)).max() <= SLACK * np.abs(off(ds)).max()
    assert np.abs(BUDGETS["land water"][2](together)).max() <= SLACK


def test_the_mass_of_dry_air_may_depend_on_the_pressure_by_hybrid_coefficients():
    """Δp = Δa + Δb p_s: a product of unknowns, closed to what the product of the changes is."""
    ds = dataset().assign(
        da=("lev", [10.0, 20.0, 30.0], {"units": "Pa"}), db=("lev", [0.1, 0.3, 0.6])
    )
    ds["db"].attrs["units"] = "1"
    text = "dry: step(average(ps - sum(q * (da + db * ps), lev), lat, lon), time) = 0"
    found = condition(ds, [bc.labelled.law(text)], mean=("ps", "q"), scale=(1.0, 1e-3), anyway=True)

    def off(each):
        return change(globally(each.ps - (each.q * (ds.da + ds.db * each.ps)).sum("lev")))

    changes = np.abs(found.ps - ds.ps).max() * np.abs(found.q - ds.q).max() * LATS * LONS
    assert 0 < np.abs(off(found)).max() <= float(changes)
    np.testing.assert_allclose(found["dry_after"], off(found), atol=SLACK)
