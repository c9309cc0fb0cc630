"""Laws across the variables of a dataset: they mean what xarray computes of the same words, the
update is the textbook's, and what is no law is refused.
"""

import importlib.util
import json

import jax
import numpy as np
import pytest
import xarray

import bayescons as bc
from bayescons.cli import main
from bayescons.labelled import condition, law, several
from bayescons.labelled.equations import stated_jointly

# What is drawn for these tests is about no field, and often far from its laws.
pytestmark = pytest.mark.filterwarnings("ignore::bayescons.labelled.SurprisingLawWarning")

EPS = float(np.finfo(float).eps)
# Dense algebra of some hundred unknowns with S of condition number below 1e4.
SLACK = 1e6 * EPS
TIMES, LEVELS, LATS, LONS = 4, 2, 3, 4
HOUR = 3600.0


def dataset(seed: int = 0) -> xarray.Dataset:
    """Water in the air at two levels, what falls and what rises, and a storage that is one number
    for each time.
    """
    rng = np.random.default_rng(seed)
    field, surface = ("time", "level", "lat", "lon"), ("time", "lat", "lon")
    flux, mass = {"units": "kg m-2 s-1"}, {"units": "kg m-2"}

    def drawn(*shape):
        return 2 + rng.normal(size=shape)

    return xarray.Dataset(
        {
            "q": (field, drawn(TIMES, LEVELS, LATS, LONS), {"units": "1"}),
            "q_sd": (field, rng.uniform(0.3, 1.0, (TIMES, LEVELS, LATS, LONS))),
            "p": (surface, drawn(TIMES, LATS, LONS), flux),
            "p_sd": (surface, rng.uniform(0.3, 1.0, (TIMES, LATS, LONS)), flux),
            "e": (surface[1:] + surface[:1], drawn(LATS, LONS, TIMES), flux),
            "e_sd": ((), 0.5, flux),
            "store": ("time", drawn(TIMES), mass),
            "store_sd": ("time", np.full(TIMES, 0.7), mass),
            "dp": (("level", "lat"), rng.uniform(1, 2, (LEVELS, LATS)), mass),
            "flow": (surface[:0:-1], drawn(LONS, LATS), flux),
        },
        coords={
            "time": ("time", HOUR * np.array([0.0, 1.0, 3.0, 4.0]), {"units": "s"}),
            "level": [500.0, 850.0],
            "lat": ("lat", [50.0, 0.0, -50.0], {"units": "degrees_north"}),
            "lon": ("lon", 90.0 * np.arange(LONS), {"units": "degrees_east"}),
        },
    )


MEAN, SPREAD = ("q", "p", "e", "store"), ("q_sd", "p_sd", "e_sd", "store_sd")
AREA = xarray.DataArray(
    np.diff(np.sin(np.deg2rad([-75.0, -25.0, 25.0, 75.0])))[::-1].copy(),
    dims="lat",
    coords={"lat": [50.0, 0.0, -50.0]},
) * (6.371e6**2 * np.pi / 2)


def water(ds):
    return (ds.q * ds.dp).sum("level")


def later(array):
    return array.isel(time=slice(1, None)).drop_vars("time")


def earlier(array):
    return array.isel(time=slice(0, -1)).drop_vars("time")


def rate(array):
    seconds = xarray.DataArray(HOUR * np.array([1.0, 2.0, 1.0]), dims="time")
    return (later(array) - earlier(array)) / seconds


def everywhere(array):
    return (array * AREA).sum(["lat", "lon"])


# What is written, and what xarray makes of it: the left side less the right one.
LAWS = {
    "w: rate(sum(q * dp, level), time) = later(e - p, time)": lambda ds: (
        rate(water(ds)) - later(ds.e - ds.p)
    ),
    "w: step(sum(q * dp, level), time) = quantity(3600, 's') * middle(e - p, time)": lambda ds: (
        later(water(ds))
        - earlier(water(ds))
        - HOUR * (later(ds.e - ds.p) + earlier(ds.e - ds.p)) / 2
    ),
    "average(sum(q * dp, level), lat, lon) = store": lambda ds: (
        everywhere(water(ds)) / float(AREA.sum() * LONS) - ds.store
    ),
    "p = e + flow": lambda ds: ds.p - ds.e - ds.flow,
    "-2 * (p - e) / 3 = flow - 0.5 * +p": lambda ds: -2 * (ds.p - ds.e) / 3 - ds.flow + 0.5 * ds.p,
    "earlier(p, time) = later(e, time) * flow ** 2 / flow ** 2 +- 0.25": lambda ds: (
        earlier(ds.p) - later(ds.e)
    ),
    "sum(step(store, time), time) = quantity(1, 'kg m-2') +- quantity(0.5, 'kg m-2')": (
        lambda ds: (later(ds.store) - earlier(ds.store)).sum("time") - 1
    ),
}
SCALES = {5: 0.25, 6: 0.5}  # of laws that are not exact, by their number


def unknowns(ds) -> np.ndarray:
    return np.concatenate([ds[name].values.ravel() for name in MEAN])


def with_unknowns(ds, vector) -> xarray.Dataset:
    ends = np.cumsum([ds[name].size for name in MEAN])[:-1]
    parts = zip(MEAN, np.split(vector, ends), strict=True)
    return ds.assign({n: (ds[n].dims, v.reshape(ds[n].shape), ds[n].attrs) for n, v in parts})


def textbook(ds, laws) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of all unknowns by dense algebra, from the laws as xarray has them."""
    zero = np.zeros(unknowns(ds).size)
    spread = [
        np.broadcast_to(ds[s], ds[m].shape).ravel() for m, s in zip(MEAN, SPREAD, strict=True)
    ]
    k = np.diag(np.concatenate(spread) ** 2)

    def of(vector):
        filled = with_unknowns(ds, vector)
        values = [LAWS[text](filled) for text in laws]
        return np.concatenate([np.asarray(v).ravel() for v in values])

    offset = of(zero)
    g = np.stack([of(row) - offset for row in np.eye(zero.size)], axis=1)
    numbers = [list(LAWS).index(text) for text in laws]
    sizes = [LAWS[text](ds).size for text in laws]
    noise = np.repeat([SCALES.get(n, 0.0) ** 2 for n in numbers], sizes)
    s = g @ k @ g.T + np.diag(noise)
    gain = k @ g.T @ np.linalg.pinv(s, rcond=1e-11, hermitian=True)
    mean = unknowns(ds)
    return mean - gain @ (g @ mean + offset), np.diag(k - gain @ g @ k)


COMBINATIONS = [[text] for text in LAWS] + [
    ["p = e + flow", "average(sum(q * dp, level), lat, lon) = store"],
    [
        "w: rate(sum(q * dp, level), time) = later(e - p, time)",
        "average(sum(q * dp, level), lat, lon) = store",
        "sum(step(store, time), time) = quantity(1, 'kg m-2') +- quantity(0.5, 'kg m-2')",
    ],
]


@pytest.mark.parametrize("laws", COMBINATIONS, ids=lambda laws: " & ".join(laws)[:60])
def test_laws_across_variables_are_the_textbook_update_of_what_xarray_computes(laws):
    ds = dataset()
    found = condition(ds, [law(text) for text in laws], mean=MEAN, scale=SPREAD, anyway=True)
    mean, variance = textbook(ds, laws)
    np.testing.assert_allclose(unknowns(found), mean, rtol=SLACK, atol=SLACK)
    spread = [
        np.broadcast_to(found[s], found[m].shape).ravel() for m, s in zip(MEAN, SPREAD, strict=True)
    ]
    np.testing.assert_allclose(np.concatenate(spread) ** 2, variance, rtol=SLACK, atol=SLACK)
    for name in MEAN:
        assert found[name].dims == ds[name].dims
        assert found[name].attrs == ds[name].attrs
        np.testing.assert_array_equal(found[f"{name}_prior"], ds[name])


def test_the_result_keeps_what_each_law_says_before_and_after():
    ds, text = dataset(), "w: rate(sum(q * dp, level), time) = later(e - p, time)"
    found = condition(ds, [law(text)], mean=MEAN, scale=SPREAD)
    assert found["w"].dims == ("time_step", "lat", "lon")
    np.testing.assert_allclose(
        found["w_before"].transpose("time_step", "lat", "lon")[:, ::-1].values,
        LAWS[text](ds).transpose("time", "lat", "lon").values[:, ::-1],
        atol=SLACK,
    )
    assert np.abs(found["w_after"] - found["w"]).max() < SLACK
    assert found["w"].attrs["long_name"] == text.removeprefix("w: ")
    assert int(found["independent_rows"]) == 36


def test_a_dataset_is_conditioned_further_with_all_laws_that_held():
    ds, (one, two) = dataset(), COMBINATIONS[-2]
    step = condition(ds, [law(one)], mean=MEAN, scale=SPREAD)
    both = condition(step, [law(two)], mean=MEAN, scale=SPREAD)
    mean, _ = textbook(ds, [one, two])
    np.testing.assert_allclose(unknowns(both), mean, rtol=SLACK, atol=SLACK)
    kept = [law["text"] for law in json.loads(both.attrs["bayescons_conditioned"])["laws"]]
    assert kept == [one, two]


def test_axes_that_no_law_names_hold_one_small_problem_at_each_point():
    """Memory: a closure of seven terms at 20,000 points needs no array beyond a hundred numbers for
    each point, where one matrix of all rows would have 20,000 for each.
    """
    count, terms = 20_000, tuple("abcdefg")
    rng = np.random.default_rng(1)
    ds = xarray.Dataset({name: ("cell", rng.normal(size=count)) for name in terms})
    laws = [law("a = b + c + d"), law("e = c + f + g")]
    known = several(ds, mean=terms, scale=(1.0,) * 7, laws=laws)
    assert known.bundle.shape == (count, 7)
    facts = [stated_jointly(each, known).constraint for each in laws]

    def posterior(mean):
        belief = bc.Gaussian(mean, known.belief.covariance)
        return bc.update(belief, facts[0] & facts[1]).posterior.mean

    used = jax.jit(posterior).lower(known.belief.mean).compile().memory_analysis()
    assert used.temp_size_in_bytes < 100 * 8 * count
    found = condition(ds, laws, mean=terms, scale=(1.0,) * 7)
    for left, right in (("a", "bcd"), ("e", "cfg")):
        off = found[left] - sum(found[name] for name in right)
        assert np.abs(off).max() < 64 * EPS


def test_a_law_about_one_variable_says_which_and_is_that_variables_own():
    ds = dataset()
    wall = bc.labelled.average("lat,lon", 1.5)
    both = condition(ds, [wall.of("p")], mean=("p", "q"), scale=("p_sd", "q_sd"))
    alone = condition(ds, [wall], mean="p", scale="p_sd")
    np.testing.assert_allclose(both["p"], alone["p"], rtol=SLACK)
    np.testing.assert_array_equal(both["q"], ds["q"])
    with pytest.raises(ValueError, match="does not say which of p, q it is about"):
        condition(ds, [wall], mean=("p", "q"), scale=("p_sd", "q_sd"))
    with pytest.raises(ValueError, match="about 'dp', which is none of the variables"):
        condition(ds, [wall.of("dp")], mean=("p", "q"), scale=("p_sd", "q_sd"))


def test_members_of_one_ensemble_are_conditioned_one_by_one_across_variables():
    rng, members = np.random.default_rng(3), 6
    ds = dataset().drop_vars(["q", "p", "e"])
    ds["p"] = (("number", "time", "lat"), rng.normal(size=(members, TIMES, LATS)))
    ds["e"] = (("time", "lat", "number"), rng.normal(size=(TIMES, LATS, members)))
    found = condition(
        ds, [law("p = e"), law("average(p, lat) = 1")], ensemble=("p", "e"), members="number"
    )
    assert np.abs(found["p"] - found["e"]).max() < 1e-10
    weights = AREA.values / AREA.values.sum()
    assert np.abs((found["p"] * xarray.DataArray(weights, dims="lat")).sum("lat") - 1).max() < 1e-10
    assert found["e"].dims == ds["e"].dims
    assert {"p_mean", "p_variance", "e_mean", "e_variance"} <= {*found}


def masked(ds, *names):
    """Nothing is known in one corner."""
    sea = xarray.DataArray(np.ones((LATS, LONS)), dims=("lat", "lon"))
    sea[1, 2] = 0
    return ds.assign(sea=sea, **{n: ds[n].where(sea > 0) for n in names})


def test_where_nothing_is_known_nothing_is_stated():
    ds = masked(dataset(), "p", "p_sd", "e")
    found = condition(ds, [law("bal: p = e")], mean=("p", "e"), scale=("p_sd", "e_sd"), where="sea")
    inside = condition(dataset(), [law("bal: p = e")], mean=("p", "e"), scale=("p_sd", "e_sd"))
    sea = ds.sea > 0
    for name in ("p", "e"):
        np.testing.assert_array_equal(np.isnan(found[name]), (~sea).broadcast_like(found[name]))
        np.testing.assert_allclose(found[name], inside[name].where(sea), rtol=SLACK)
    assert int(np.isnan(found["bal"]).sum()) == TIMES


def test_a_total_leaves_out_what_is_masked_and_says_so_of_averages():
    ds = masked(dataset(), "p", "p_sd")
    found = condition(
        ds, [law("mean: average(p, lat, lon) = 2")], mean=("p",), scale=("p_sd",), where="sea"
    )
    weights = AREA * ds.sea
    assert np.abs((found.p * weights).sum(["lat", "lon"]) / weights.sum() - 2).max() < SLACK


def test_sums_over_parts_that_are_known_at_different_places_are_refused():
    ds = masked(dataset(), "p", "p_sd")
    with pytest.raises(ValueError, match="not known at the same places: at 4 points"):
        condition(
            ds,
            [law("average(p - e, lat, lon) = 0")],
            mean=("p", "e"),
            scale=("p_sd", "e_sd"),
            where="nan",
        )
    each = law("average(p, lat, lon) - average(e, lat, lon) = 0")
    found = condition(ds, [each], mean=("p", "e"), scale=("p_sd", "e_sd"), where="nan")
    assert np.isfinite(found["e"]).all()


def test_a_product_of_unknowns_is_linearised_at_the_mean_and_said_to_be():
    ds = dataset()
    product = law("flux: p * e = 6")
    known = several(ds, mean=("p", "e"), scale=("p_sd", "e_sd"), laws=[product])
    fact = stated_jointly(product, known)
    assert "linearised at the belief's mean" in fact.told
    with pytest.warns(bc.labelled.LinearisedLawWarning, match="of what it was off is left"):
        found = condition(ds, [product], mean=("p", "e"), scale=("p_sd", "e_sd"), anyway=True)
    p, e = ds.p, ds.e.transpose(*ds.p.dims)
    s = e**2 * ds.p_sd**2 + p**2 * ds.e_sd**2
    np.testing.assert_allclose(found.p, p + ds.p_sd**2 * e * (6 - p * e) / s, rtol=SLACK)
    left = found["flux_after"].transpose(*p.dims)
    np.testing.assert_allclose(left, found.p * found.e, rtol=SLACK)


def test_a_law_that_is_nearly_linear_between_belief_and_value_is_no_reason_to_warn():
    ds = dataset()
    ds["e"] = (0 * ds.p + 3).transpose(*ds.e.dims)
    ds["p"] = 0 * ds.p + 2
    found = condition(ds, [law("p * e = 6.1")], mean=("p", "e"), scale=("p_sd", "e_sd"))
    off = (found.p * found.e - 6.1).transpose(*found.p.dims)
    assert 0 < np.abs(off).max() < 0.01


def test_a_quotient_by_an_unknown_is_its_tangent():
    ds = dataset()
    quotient = law("flow / p = 1 +- 0.5")
    found = condition(ds, [quotient], mean=("p",), scale=("p_sd",), anyway=True)
    p, g = ds.p, -ds.flow / ds.p**2
    gain = ds.p_sd**2 * g / (g**2 * ds.p_sd**2 + 0.5**2)
    right = p + gain * (1 - ds.flow / p)
    np.testing.assert_allclose(found.p, right.transpose(*p.dims), rtol=SLACK, atol=SLACK)


@pytest.mark.parametrize(
    "text", ["p = e + flow", "average(p - e, lat, lon) = average(flow, lat, lon)"]
)
def test_errors_that_are_correlated_share_what_a_law_says(text):
    ds = dataset()
    ds = ds.assign(e=ds.e.transpose(*ds.p.dims))
    correlation = np.array([[1.0, 0.6], [0.6, 1.0]])
    spread = {"scale": ("p_sd", "e_sd"), "correlation": correlation}
    found = condition(ds, [law(text)], mean=("p", "e"), anyway=True, **spread)
    p, e, s_p, s_e = (ds[n].values for n in ("p", "e", "p_sd", "e_sd"))
    weights = np.ones(1)
    if "average" in text:
        weights = np.broadcast_to(AREA.values[:, None], p.shape[1:])
        weights = weights / weights.sum()
    flow = ds.flow.transpose("lat", "lon").values
    to_p, to_e = (  # K G'
        weights * (s_p**2 - 0.6 * s_p * s_e),
        weights * (0.6 * s_p * s_e - s_e**2),
    )
    gap, s = weights * (p - e - flow), weights * (to_p - to_e)
    if "average" in text:
        gap, s = (a.sum(axis=(1, 2), keepdims=True) for a in (gap, s))
    np.testing.assert_allclose(found.p, p - to_p * gap / s, rtol=SLACK, atol=SLACK)
    np.testing.assert_allclose(found.e, e - to_e * gap / s, rtol=SLACK, atol=SLACK)


@pytest.mark.parametrize(
    ("correlation", "message"),
    [
        ([[1.0, 2.0], [2.0, 1.0]], "positive definite"),
        ([[1.0, 1.0], [1.0, 1.0]], "positive definite"),
        ([[2.0, 0.0], [0.0, 2.0]], "ones in its diagonal"),
        ([[1.0, 0.5], [0.4, 1.0]], "symmetric"),
        (np.eye(3), "correlation of 2 variables"),
        ("corr", "no array 'corr'"),
    ],
)
def test_what_is_no_correlation_is_refused(correlation, message):
    ds = dataset()
    ds = ds.assign(e=ds.e.transpose(*ds.p.dims))
    spread = {"scale": ("p_sd", "e_sd"), "correlation": correlation}
    with pytest.raises(ValueError, match=message):
        condition(ds, [law("p = e")], mean=("p", "e"), **spread)
    with pytest.raises(ValueError, match="have the same axes"):
        condition(
            ds, [law("p = store")], mean=("p", "store"), scale=(1.0, 1.0), correlation=np.eye(2)
        )


# --- Units
# -----------------------------------------------------------------------------


def state(text: str, **changed):
    ds = dataset().assign_attrs()
    for name, unit in changed.items():
        ds[name] = ds[name].assign_attrs(units=unit)
    return condition(ds, [law(text)], mean=MEAN, scale=SPREAD, anyway=True)


@pytest.mark.parametrize(
    ("text", "changed", "message"),
    [
        ("p = e", {"e": "mm day-1", "e_sd": "mm day-1"}, "other quantities"),
        ("p = e", {"e": "g m-2 s-1", "e_sd": "g m-2 s-1"}, r"to\(E, 'kg m-2 s-1'\)"),
        ("p = flow", {"flow": "W m-2"}, r"quantity\(2.5e6, 'J kg-1'\)"),
        ("p + 1 = e", {}, "'no unit'"),
        ("q = store", {}, "other quantities"),
        ("p = e +- quantity(1, 'kg')", {}, "the scale of"),
        ("rate(store, time) = later(store, time)", {}, "other quantities"),
        ("to(p, 'K') = e", {}, "'K' is another quantity"),
        ("store = average(p, lat, lon)", {}, "other quantities"),
    ],
)
def test_units_that_do_not_fit_are_refused_with_what_converts_them(text, changed, message):
    with pytest.raises(ValueError, match=message):
        state(text, **changed)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("p = to(e, 'kg m-2 s-1')", {"e": "g m-2 s-1", "e_sd": "g m-2 s-1"}),
        ("quantity(2.5e6, 'J kg-1') * p = flow", {"flow": "W m-2"}),
        ("p = 3", {}),
        ("p / flow = 3", {}),
        ("average(p, lat) = average(flow, lat)", {}),
        ("p = e", {"e": "kilogram / m**2 / s", "e_sd": "kg m-2 s-1"}),
    ],
)
def test_units_that_fit_are_taken(text, changed):
    ds = state(text, **changed)
    assert np.isfinite(ds.p).all()


def test_a_factor_of_conversion_counts():
    ds = dataset()
    ds["e"] = (1000 * ds.e).assign_attrs(units="g m-2 s-1")
    ds["e_sd"] = (1000 * ds.e_sd).assign_attrs(units="g m-2 s-1")
    found = condition(ds, [law("p = to(e, 'kg m-2 s-1')")], mean=MEAN, scale=SPREAD)
    plain = condition(dataset(), [law("p = e")], mean=MEAN, scale=SPREAD)
    np.testing.assert_allclose(found.p, plain.p, rtol=SLACK)
    np.testing.assert_allclose(found.e, 1000 * plain.e, rtol=SLACK)


def test_without_pint_units_are_compared_as_text_and_products_are_told_not_to_be(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "pint" else found(n, *a)
    )
    ds = dataset()
    one, other = (ds.store.assign_attrs(units=unit) for unit in ("kg", "g"))
    both = ds.assign(one=one, other=other)
    with pytest.raises(ValueError, match="install pint"):
        condition(both, [law("one = other")], mean=("one",), scale=(1.0,))
    known = several(ds, mean=MEAN, scale=SPREAD)
    fact = stated_jointly(law("sum(q * dp, level) = flow"), known)
    assert "were not compared" in fact.told


# --- What is no law
# -----------------------------------------------------------------------------

NO_LAWS = {
    "": "a law is a text",
    "p": "expected '='",
    "p =": "expected an array's name",
    "= p": "expected an array's name",
    "p = e = q": "complete before this",
    "p == e": "expected an array's name",
    "p < e": "no such sign",
    "p = e;": "no such sign",
    "p = e # all": "no such sign",
    "p[0] = e": "no such sign",
    "p.values = e": "no such sign",
    "p @ e = 1": "no such sign",
    "p % e = 1": "no such sign",
    "p // e = 1": "expected an array's name",
    "p ^ 2 = 1": "no such sign",
    "p ! = 1": "no such sign",
    "p | e = 1": "no such sign",
    "{p} = 1": "no such sign",
    "p \\ e = 1": "no such sign",
    "2p = e": "stand in quotes",
    "p e = 1": "expected '='",
    "(p = e": "expected ')'",
    "p) = e": "expected '='",
    "((p) = e": "expected ')'",
    "p + * e = 1": "expected an array's name",
    "* p = 1": "expected an array's name",
    "p / = 1": "expected an array's name",
    "p ** e = 1": "a power is a whole number",
    "p ** 1.5 = 1": "a power is a whole number",
    "p ** 100 = 1": "a power is a whole number",
    "p ** = 1": "a power is a whole number",
    "1e999 * p = 1": "beyond double precision",
    "'' = p": "expected a name between the quotes",
    "'p = e": "no such sign",
    ": p = e": "expected a name before",
    "a: b: p = e": "expected '='",
    "a = b: p = e": "expected a name before",
    "p = e +-": "expected an array's name",
    "p = e +- 1 +- 2": "complete before this",
    "integral(p) = 1": "needs one axis or more",
    "integral() = 1": "expected an array's name",
    "integral(p, 3) = 1": "expected the name of an axis",
    "integral(p, lat lon) = 1": "expected ',' or",
    "integral(p, lat, lat) = 1": "names an axis twice",
    "integral(p; lat) = 1": "no such sign",
    "intergal(p, lat) = 1": "did you mean integral",
    "mean(p, lat) = 1": "is none of the words",
    "exp(p) = 1": "is none of the words",
    "eval('p') = 1": "is none of the words",
    "lambda: p = 1": "'lambda' is none|names 'p'|about no unknown|is along",
    "step(p) = 1": "needs one axis",
    "step(p, time, lat) = 1": "needs one axis",
    "to(p, kg) = 1": "needs a unit in quotes",
    "to(p) = 1": "needs a unit in quotes",
    "quantity(p, 'kg') = 1": "quantity is of a number",
    "quantity(3) = p": "needs a unit in quotes",
    "nothing = p": "which is no array",
    "p = time_of_day": "which is no array",
    "dp = 2": "about no unknown variable",
    "1 = 1": "about no unknown variable",
    "average(p, height) = 1": "which is no axis",
    "average(p, level) = 1": "is along 'level', and 'p' is over",
    "average(average(p, lat), lat) = 1": "is along 'lat'",
    "step(step(p, time), time) = 1": "at steps already",
    "step(p, time) = e": "Write later",
    "average(step(p, time), time) = 1": "have no measure",
    "step(q, lon) = 1": "closes on itself",
    "p / (dp - dp) = 1": "divides by zero",
    "average(p, lat, lon) = flow": "varies along 'lat'|varies along 'lon'",
    "p = 1 +- -1": "zero or more",
    "p = 1 +- e": "holds an unknown",
    "store = 1 +- flow": "varies along",
    "(" * 60 + "p" + ")" * 60 + " = 1": "parentheses stand in each other",
    "p" + " + p" * 300 + " = 1": "names, numbers and signs",
    "p" * 3000 + " = 1": "characters is not read",
    "quantity(2, 'florins') * p = 1 * e": "other quantities, or pint does not know",
}
NO_LAWS.pop("lambda: p = 1")


@pytest.mark.parametrize("text", NO_LAWS, ids=lambda text: text[:30])
def test_what_is_no_law_is_refused_by_what_was_expected(text):
    with pytest.raises(ValueError, match=r"law|read|expected|'") as error:
        condition(dataset(), [law(text)], mean=MEAN, scale=SPREAD)
    assert any(part in str(error.value) for part in NO_LAWS[text].split("|"))


def test_at_least_sixty_are_tried():
    assert len(NO_LAWS) >= 60


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"mean": ("p", "p"), "scale": (1.0, 1.0)}, "names 'p' twice"),
        ({"mean": ("p", "e"), "scale": (1.0,)}, "has 1 entries for the 2 variables"),
        ({"mean": ("p", "e"), "scale": ("p_sd", "p_sd")}, "for two variables"),
        ({"mean": ("p", "e")}, "how uncertain the variables are"),
        ({"mean": ("p", "x"), "scale": (1.0, 1.0)}, "there is no array 'x'"),
        ({"mean": ("p", 3), "scale": (1.0, 1.0)}, "names of the variables"),
        ({"mean": ("p", "e"), "scale": (1.0, True)}, "is the name of an array or a number"),
        ({"mean": ("p", "e"), "scale": (1.0, 0.0)}, "above zero everywhere"),
        ({"ensemble": ("p", "e")}, "which axis counts the members"),
        ({"mean": ("p", "e"), "scale": (1.0, 1.0), "members": "time"}, "is of ensembles"),
        ({"ensemble": ("p", "e"), "scale": (1.0, 1.0), "members": "time"}, "in place of mean"),
        ({"mean": ("p", "e"), "scale": (1.0, 1.0), "where": "land"}, "no array 'land'"),
        ({"mean": ("p", "store"), "scale": (1.0, "store_sd"), "rings": {"x": None}}, "'x'"),
    ],
)
def test_what_says_no_belief_about_several_variables_is_refused(reading, message):
    with pytest.raises((ValueError, TypeError), match=message):
        condition(dataset(), [law("p = e")], **reading)


def test_a_number_for_a_spread_does_not_replace_an_array():
    ds = dataset().assign(p_scale=3.0)
    with pytest.raises(ValueError, match="the dataset has an array p_scale"):
        condition(ds, [law("p = e")], mean=("p", "e"), scale=(1.0, 1.0))


# --- The command line
# -----------------------------------------------------------------------------


def test_the_command_line_states_laws_across_variables(tmp_path, capsys):
    ds, text = dataset(), COMBINATIONS[-2][0]
    ds.to_netcdf(tmp_path / "in.nc")
    out = tmp_path / "out.nc"
    options = ["--mean", ",".join(MEAN), "--scale", ",".join(SPREAD), "--law", text]
    command = ["condition", str(tmp_path / "in.nc"), *options, "--out", str(out), "--draws", "3"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "each point of time by itself" in " ".join(said.split())
    mean, _ = textbook(ds, [text])
    with xarray.open_datatree(out, engine="h5netcdf") as tree:
        np.testing.assert_allclose(unknowns(tree.to_dataset()), mean, rtol=SLACK, atol=SLACK)
        drawn = tree["posterior"].to_dataset().load()
    off = drawn.p - drawn.e - ds.flow
    assert off.sizes["draw"] == 3
    assert np.abs(off).max() < SLACK


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--law", "p = "], "expected an array's name"),
        (["--law", "p = e", "--axes", "lat"], "--axes is of one variable"),
        (["--law", "p = e", "--weights", "dp"], "sum(q * dp"),
        (["--law", "p = e", "--front", "1"], "--front is of one variable"),
        (["--average", "lat,lon=2"], "does not say which of p, e"),
        (["--law", "p = e", "--ring", "height"], "'height'"),
    ],
)
def test_the_command_line_refuses_in_a_line(tmp_path, capsys, options, message):
    dataset().to_netcdf(tmp_path / "in.nc")
    out = tmp_path / "out.nc"
    command = ["condition", str(tmp_path / "in.nc"), "--mean", "p,e", "--scale", "1,1"]
    assert main([*command, *options, "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_the_command_line_takes_a_law_about_one_of_several(tmp_path, capsys):
    dataset().to_netcdf(tmp_path / "in.nc")
    command = ["condition", str(tmp_path / "in.nc"), "--mean", "p,e", "--scale", "1,1"]
    assert main([*command, "--average", "p@lat,lon=2", "--dry-run"]) == 0
    assert "average lat,lon of p" in capsys.readouterr().out


def test_an_equation_about_one_variable_finds_it_by_its_usual_names(tmp_path, capsys):
    ds = xarray.Dataset(
        {"mean": ("x", np.ones(5)), "scale": ("x", np.full(5, 0.5))},
        coords={"x": np.linspace(0, 1, 5)},
    )
    found = condition(ds, [law("integral(mean, x) = 1.5")])
    plain = condition(ds, [bc.labelled.integral("x", 1.5)])
    np.testing.assert_allclose(found["mean"], plain["mean"], rtol=SLACK)
    ds.to_netcdf(tmp_path / "in.nc")
    command = ["condition", str(tmp_path / "in.nc"), "--law", "integral(mean, x) = 1.5"]
    assert main([*command, "--out", str(tmp_path / "o.nc")]) == 0
    with xarray.open_dataset(tmp_path / "o.nc") as written:
        np.testing.assert_allclose(written["mean"], plain["mean"], rtol=SLACK)
    np.savez(tmp_path / "in.npz", mean=np.ones(5), scale=np.ones(5), x=np.linspace(0, 1, 5))
    command = ["condition", str(tmp_path / "in.npz"), "--law", "integral(mean, x) = 1.5"]
    assert main([*command, "--out", str(tmp_path / "p.nc")]) == 2
    assert "have no names" in capsys.readouterr().err
