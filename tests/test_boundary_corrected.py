"""Fourier operators and their boundaries: exact boundary values whatever the weights, parity of the
modes.
"""

import dataclasses
import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import save

import bayescons as bc
from bayescons.functionals import BoundaryCondition, BoundaryConditions
from bayescons.gaussians import row_covariance
from bayescons.networks import (
    CORRECTIONS,
    AttentiveNeuralProcess,
    BoundaryCorrected,
    DeepOperator,
    FourierOperator,
    KernelCorrection,
    KernelLift,
    LayerCorrection,
    ReferenceCorrection,
    ReferenceQuirks,
    load_weights,
    save_weights,
)
from bayescons.networks.corrections import correction_named
from bayescons.networks.lifts import apply_lifts, end_lifts, overwrite_ends

LINE = bc.Grid(x=np.linspace(0, 1, 33))
SPACE_TIME = bc.Grid(t=np.linspace(0, 1, 7), x=np.linspace(-1, 1, 21))
PLANE = bc.Grid(t=np.linspace(0, 1, 6), x=np.linspace(0, 1, 13), y=np.linspace(0, 1, 11))
ENDS = (BoundaryCondition("x", "lower"), BoundaryCondition("x", "upper"))
BOUNDARIES = {
    "values": BoundaryConditions(LINE, ENDS),
    "slopes": BoundaryConditions(
        LINE,
        (
            BoundaryCondition("x", "lower", "neumann", order=1),
            BoundaryCondition("x", "upper", "neumann", order=4),
        ),
    ),
    "mixed": BoundaryConditions(
        LINE,
        (
            BoundaryCondition("x", "lower", "robin", coefficients=(1.0, 0.2)),
            BoundaryCondition("x", "upper", "dirichlet"),
        ),
    ),
    "one side": BoundaryConditions(LINE, (BoundaryCondition("x", "upper", "neumann"),)),
    "periodic": BoundaryConditions(LINE, (BoundaryCondition("x", "both", "periodic"),)),
    "values in time": BoundaryConditions(SPACE_TIME, ENDS),
    "slopes in time": BoundaryConditions(
        SPACE_TIME,
        (
            BoundaryCondition("x", "lower", "neumann"),
            BoundaryCondition("x", "upper", "neumann", order=2),
        ),
    ),
    "four walls": BoundaryConditions(
        PLANE,
        (
            BoundaryCondition("x", "lower", "neumann"),
            BoundaryCondition("y", "lower"),
            BoundaryCondition("x", "upper"),
            BoundaryCondition("y", "upper", "robin"),
        ),
    ),
}
EXACT = tuple(name for name in CORRECTIONS if name != "none")
LEARNED = ("features", "kernel", "layers", "reference")
CASES = [
    (kind, mode)
    for kind in BOUNDARIES
    for mode in EXACT
    if kind in ("values", "slopes", "four walls") or mode != "overwrite"
]


def random_like(state, seed, dtype):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda a: jnp.asarray(a + 0.3 * rng.normal(size=a.shape) / np.sqrt(max(a.size, 1)), dtype),
        state,
    )


@functools.cache
def network(kind, mode):
    """Two layers of width four, with boundary values as inputs; and its weights apart."""
    boundary = BOUNDARIES[kind]
    base = FourierOperator(
        (3,) * len(boundary.grid),
        4,
        depth=2,
        sides=len(boundary.sides),
        projection=8,
        rngs=nnx.Rngs(1),
    )
    return BoundaryCorrected(base, boundary, CORRECTIONS[mode](), rngs=nnx.Rngs(2))


@functools.cache
def compiled(kind, mode):
    """(weights, state, values) → field."""
    definition, _, rest = nnx.split(network(kind, mode), nnx.Param, ...)
    return jax.jit(
        lambda weights, state, values: nnx.merge(definition, weights, rest)(state, values)
    )


def weights(kind, mode, seed=0, dtype=jnp.float64):
    return random_like(nnx.state(network(kind, mode), nnx.Param), seed, dtype)


def boundary_data(kind, seed=0, dtype=jnp.float64):
    """A rough initial state, and values for every side that agree at corners but are otherwise
    arbitrary.
    """
    boundary, rng = BOUNDARIES[kind], np.random.default_rng(seed)
    state = rng.normal(size=[len(points) for name, points in boundary.grid.items() if name != "t"])
    values = [
        v * np.asarray(s.kind != "periodic")
        for v, s in zip(
            boundary.functional(rng.normal(size=boundary.grid.shape)), boundary.sides, strict=True
        )
    ]
    return jnp.asarray(state, dtype), tuple(jnp.asarray(v, dtype) for v in values)


def answer(kind, mode, seed=0, dtype=jnp.float64):
    return compiled(kind, mode)(weights(kind, mode, seed, dtype), *boundary_data(kind, seed, dtype))


def violation(boundary, field, values):
    """|G u - b| for each side, over the sum of the row's weights times the largest |u|: in units of
    what rounding moves.
    """
    field = np.asarray(field, np.float64)
    sizes = [
        np.abs(boundary.rows(s.axis)[boundary.on(s.axis).index(i)]).sum()
        for i, s in enumerate(boundary.sides)
    ]
    largest = np.abs(field).max()
    return [
        float(np.abs(g - v).max() / (size * largest))
        for g, v, size in zip(boundary.functional(field), values, sizes, strict=True)
    ]


@pytest.mark.parametrize(("kind", "mode"), CASES)
def test_arbitrary_boundary_values_hold_for_arbitrary_weights(kind, mode):
    for seed in range(3):
        missed = violation(BOUNDARIES[kind], answer(kind, mode, seed), boundary_data(kind, seed)[1])
        assert max(missed) <= 1e-14  # fifty roundings; in absolute terms below 1e-12


@pytest.mark.float32
@pytest.mark.parametrize(
    ("kind", "mode"), [c for c in CASES if c[0] in ("values", "slopes", "four walls")]
)
def test_they_hold_in_single_precision(kind, mode):
    field, values = answer(kind, mode, 0, jnp.float32), boundary_data(kind, 0, jnp.float32)[1]
    assert field.dtype == jnp.float32
    assert max(violation(BOUNDARIES[kind], field, values)) <= 20 * np.finfo(np.float32).eps


def test_a_network_alone_holds_nothing():
    assert (
        max(violation(BOUNDARIES["values"], answer("values", "none"), boundary_data("values")[1]))
        > 0.1
    )


@pytest.mark.parametrize(
    ("kind", "mode"),
    list(
        itertools.product(["slopes", "mixed", "periodic", "values in time"], ["kernel", "features"])
    ),
)
def test_the_correction_is_the_conjugate_update_with_its_covariance(kind, mode):
    definition, _, rest = nnx.split(network(kind, mode), nnx.Param, ...)
    state, values = boundary_data(kind)
    belief, constraint = nnx.merge(definition, weights(kind, mode), rest).belief(state, values)
    mean, ours = np.asarray(bc.condition(belief, constraint).mean), np.asarray(answer(kind, mode))
    np.testing.assert_allclose(ours, mean, rtol=0, atol=1e-11 * np.abs(mean).max())


def test_the_correction_of_four_walls_is_one_conjugate_update_too():
    definition, _, rest = nnx.split(network("four walls", "kernel"), nnx.Param, ...)
    state, values = boundary_data("four walls")
    belief, constraint = nnx.merge(definition, weights("four walls", "kernel"), rest).belief(
        state, values
    )
    mean, ours = (
        np.asarray(bc.condition(belief, constraint).mean),
        np.asarray(answer("four walls", "kernel")),
    )
    np.testing.assert_allclose(
        ours, mean, rtol=0, atol=1e-8 * np.abs(mean).max()
    )  # corners are stated twice: S to half its digits


def test_after_the_correction_nothing_is_uncertain_at_the_boundary():
    definition, _, rest = nnx.split(network("values", "features"), nnx.Param, ...)
    belief, constraint = nnx.merge(definition, weights("values", "features"), rest).belief(
        *boundary_data("values")
    )
    before, after = (np.asarray(b.variance) for b in (belief, bc.condition(belief, constraint)))
    assert np.all(after[[0, -1]] <= 1e-12 * before[[0, -1]])
    assert np.all(after[1:-1] > 0)


@pytest.mark.parametrize("kind", BOUNDARIES)
def test_correcting_twice_changes_nothing(kind):
    boundary, rng = BOUNDARIES[kind], np.random.default_rng(3)
    field, values = jnp.asarray(rng.normal(size=boundary.grid.shape)), boundary_data(kind)[1]
    for lifts in (end_lifts(boundary), KernelLift(boundary, length=0.2)(boundary)):
        once = apply_lifts(
            field, values, boundary, [jnp.asarray(lift, jnp.float64) for lift in lifts]
        )
        once = overwrite_ends(once, values, boundary)
        twice = apply_lifts(once, values, boundary, lifts)
        np.testing.assert_allclose(twice, once, rtol=0, atol=1e-12 * float(jnp.abs(once).max()))


def test_a_change_of_the_values_arrives_at_the_boundary_undiminished():
    for kind, mode in (("slopes", "kernel"), ("values", "layers"), ("values in time", "reference")):
        boundary, (state, values) = BOUNDARIES[kind], boundary_data(kind)
        change = tuple(jnp.ones_like(v) for v in values)
        answered = functools.partial(compiled(kind, mode), weights(kind, mode), state)
        _, moved = jax.jvp(answered, (values,), (change,))
        for got, expected in zip(boundary.functional(moved), change, strict=True):
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("mode", LEARNED)
def test_every_weight_that_matters_has_a_derivative(mode):
    state, values = boundary_data("values")
    slopes = jax.grad(lambda w: jnp.sum(compiled("values", mode)(w, state, values) ** 2))(
        weights("values", mode)
    )
    flat = jax.tree.leaves(slopes)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in flat)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in flat)


def test_periodic_ends_are_equal():
    for mode in LEARNED:
        field = answer("periodic", mode)
        assert abs(float(field[-1] - field[0])) <= 4 * np.finfo(float).eps * float(
            jnp.abs(field).max()
        )


def test_periodic_ends_are_equal_without_correction_where_the_axis_is_periodic():
    model = FourierOperator((3,), 4, depth=2, padding=0, projection=8, rngs=nnx.Rngs(0))
    state = jnp.sin(2 * jnp.pi * jnp.asarray(LINE["x"])) + 0.3
    field = model(state.at[-1].set(state[0]), LINE)
    assert abs(float(field[-1] - field[0])) <= 1e-12


@pytest.mark.parametrize("length", [0.02, 0.1, 0.45])
def test_the_ends_of_a_padded_kernel_hardly_know_of_each_other(length):
    for kind in ("values", "values in time"):
        boundary = BOUNDARIES[kind]
        covariance = KernelLift(boundary, length=length).stationary(boundary)
        axes = tuple(sorted(covariance.independent & boundary.functional.pointwise))
        blocks = row_covariance.form(boundary.functional, covariance, axes)
        assert float(jnp.linalg.cond(blocks).max()) < 2


@pytest.mark.parametrize("length", [0.02, 0.1, 0.45])
def test_no_wave_of_a_kernel_falls_below_the_numbers_of_its_type(length):
    kernel = KernelLift(BOUNDARIES["values"], length=length)
    waves = kernel.eigenvalues(0, 128)
    assert waves.dtype == jnp.float32
    assert (
        float(waves.min()) >= np.finfo(np.float32).tiny
    )  # arithmetic with smaller ones is many times slower
    assert abs(float(jnp.sum(waves)) - 1) <= 128 * np.finfo(np.float32).eps


def smooth(points):
    return jnp.asarray(np.cos(3 * points) + points**2)


@pytest.mark.parametrize("mode", ["none", "features", "kernel", "layers", "overwrite"])
@pytest.mark.parametrize(
    ("kind", "counts"), [("dirichlet", [33, 65, 129, 257]), ("neumann", [65, 129, 257, 513])]
)
def test_the_same_weights_on_finer_grids_converge(mode, kind, counts):
    sides = (BoundaryCondition("x", "lower", kind), BoundaryCondition("x", "upper", kind))
    base = FourierOperator((3,), 4, depth=2, sides=2, projection=8, rngs=nnx.Rngs(1))
    model = BoundaryCorrected(
        base, BoundaryConditions(LINE, sides), CORRECTIONS[mode](), rngs=nnx.Rngs(2)
    )
    nnx.update(model, random_like(nnx.state(model, nnx.Param), 4, jnp.float64))
    fields = []
    for n in counts:
        moved = model.on(bc.Grid(x=np.linspace(0, 1, n)))
        fields.append(
            np.asarray(moved(smooth(np.linspace(0, 1, n)), (0.3, -0.4)))[:: (n - 1) // 32]
        )
    inside = slice(1, -1)  # overwritten ends do not move
    changes = [np.abs(a - b)[inside].max() for a, b in itertools.pairwise(fields)]
    rate = np.polyfit(np.log(counts[:-1]), np.log(changes), 1)[0]
    assert rate <= -0.95


@pytest.mark.parametrize("mode", ["features", "kernel"])
@pytest.mark.parametrize("kind", ["dirichlet", "neumann"])
def test_what_is_known_moves_the_interior_alike_on_every_grid(mode, kind):
    """Else finer grids would overwrite: a part of K that only the stencil's nodes see must not
    outgrow the rest with 1/spacing.
    """
    sides = (BoundaryCondition("x", "lower", kind), BoundaryCondition("x", "upper", kind))
    base = FourierOperator((3,), 4, depth=2, projection=8, rngs=nnx.Rngs(1))
    model, moves = (
        BoundaryCorrected(base, BoundaryConditions(LINE, sides), CORRECTIONS[mode](length=0.1)),
        [],
    )
    for n in (65, 129, 257, 513):
        x = np.linspace(0, 1, n)
        more, less = (model.on(bc.Grid(x=x))(smooth(x), (value, -0.4)) for value in (1.3, 0.3))
        moves.append(np.asarray(more - less)[:: (n - 1) // 8][1:-1])
    for coarse, fine in itertools.pairwise(moves):
        assert np.abs(fine - coarse).max() <= 0.01 * np.abs(fine).max()


# Doors.


def test_functions_in_a_batch_are_as_one_by_one():
    state, values = (
        (
            jnp.stack([a, b])
            for a, b in zip(
                *(jax.tree.leaves(boundary_data("values", seed)) for seed in (0, 1)), strict=True
            )
        ),
        None,
    )
    state, *values = state
    together = jax.vmap(
        lambda s, v: compiled("values", "kernel")(weights("values", "kernel"), s, v)
    )(state, tuple(values))
    for seed in (0, 1):
        np.testing.assert_allclose(
            together[seed],
            compiled("values", "kernel")(
                weights("values", "kernel"), *boundary_data("values", seed)
            ),
            rtol=0,
            atol=1e-13,
        )


@pytest.mark.parametrize("mode", CORRECTIONS)
@pytest.mark.parametrize("kind", ["values", "mixed"])
def test_weights_survive_a_file_to_the_last_bit(tmp_path, kind, mode):
    before = network(kind, mode)
    save_weights(tmp_path / "w.safetensors", before, {"steps": 1})
    after = load_weights(tmp_path / "w.safetensors").network
    assert after.settings == before.settings
    assert (after.boundary, after.correction) == (before.boundary, before.correction)
    for a, b in zip(
        jax.tree.leaves(nnx.state(after, nnx.Param)),
        jax.tree.leaves(nnx.state(before, nnx.Param)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


FIRST_NAMES = {
    "features": {"lift.": "last."},
    "kernel": {"lift.": "kernel."},
    "layers": {"lift.": ""},
}


@pytest.mark.parametrize("mode", CORRECTIONS)
def test_a_file_of_the_first_version_has_the_same_weights_under_other_names(tmp_path, mode):
    """It has a length and quirks whatever the correction, and another name for the lift's arrays."""
    before, path = network("values", mode), tmp_path / "w.safetensors"
    save_weights(path, before, {"steps": 1})
    with safe_open(str(path), framework="numpy") as file:
        text, arrays = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    quirks = dataclasses.asdict(ReferenceQuirks.published(1))
    settings = {"length": None, "oddities": quirks} | json.loads(text["settings"])
    settings.pop("quirks", None)
    for now, first in FIRST_NAMES.get(mode, {}).items():
        arrays = {
            first + name.removeprefix(now) if name.startswith(now) else name: array
            for name, array in arrays.items()
        }
    path.write_bytes(save(arrays, metadata=text | {"settings": json.dumps(settings)}))
    after = load_weights(path).network
    state, values = boundary_data("values", dtype=jnp.float32)
    np.testing.assert_array_equal(after(state, values), before(state, values))


def test_quirks_of_the_reference_survive_a_file(tmp_path):
    base, boundary = network("values", "none").network, BOUNDARIES["values"]
    quirks = ReferenceQuirks(tolerance=0.5, mollified=True)
    save_weights(
        tmp_path / "w.safetensors",
        BoundaryCorrected(base, boundary, ReferenceCorrection(quirks)),
        {},
    )
    assert load_weights(tmp_path / "w.safetensors").network.correction.quirks == quirks


def test_a_deep_operator_is_corrected_as_any_other_and_reads_any_grid(tmp_path):
    boundary, (state, values) = BOUNDARIES["slopes in time"], boundary_data("slopes in time")
    base = DeepOperator(
        ("t", "x"), sensors=9, width=8, depth=1, against=("x", "x"), rngs=nnx.Rngs(0)
    )
    model = BoundaryCorrected(base, boundary)
    nnx.update(model, random_like(nnx.state(model, nnx.Param), 0, jnp.float64))
    assert max(violation(boundary, model(state, values), values)) <= 1e-14
    fine = bc.Grid(t=SPACE_TIME["t"], x=np.linspace(-1, 1, 41))
    steps = np.interp(
        fine["x"], SPACE_TIME["x"], np.asarray(state)
    )  # linear between the nodes: the sensors read the same
    coarse, between = model.network(state, SPACE_TIME, values, axes=("x", "x")), jnp.asarray(steps)
    np.testing.assert_allclose(
        model.network(between, fine, values, axes=("x", "x"))[:, ::2], coarse, rtol=0, atol=1e-12
    )
    save_weights(tmp_path / "w.safetensors", model, {})
    assert load_weights(tmp_path / "w.safetensors").network.settings == model.settings
    with pytest.raises(
        ValueError, match=r"made for axes \('t', 'x'\) with values at ends of \('x', 'x'\)"
    ):
        base(state, SPACE_TIME)
    with pytest.raises(ValueError, match=r"has shape \(21,\); got \(2, 21\)"):
        base(jnp.stack([state, state]), SPACE_TIME, values, axes=("x", "x"))


def test_what_does_not_fit_is_refused():
    base, boundary = network("values", "none").network, BOUNDARIES["values"]
    with pytest.raises(
        ValueError, match="unknown mode 'exact'; there are 'none', 'overwrite', 'features'"
    ):
        correction_named("exact")
    with pytest.raises(
        ValueError,
        match=r"LayerCorrection corrects the layers of a FourierOperator; got a AttentiveNeuralProcess\.",
    ):
        BoundaryCorrected(
            AttentiveNeuralProcess(width=4, heads=2, rngs=nnx.Rngs(0)), boundary, LayerCorrection()
        )
    with pytest.raises(ValueError, match=r"fraction of the axis between 0 and 0\.5; got 0\.7"):
        BoundaryCorrected(base, boundary, KernelCorrection(length=0.7))
    with pytest.raises(ValueError, match="resolves 1 to 2 modes; got 3"):
        base(jnp.zeros(5), bc.Grid(x=np.linspace(0, 1, 5)), (jnp.zeros(()),) * 2, axes=("x", "x"))
    with pytest.raises(
        ValueError, match=r"has shape \(33,\); got \(2, 33\)\. Batch it with jax.vmap"
    ):
        base(jnp.zeros((2, 33)), LINE, (jnp.zeros(()),) * 2, axes=("x", "x"))
    with pytest.raises(
        ValueError, match=r"made for 2 boundary values as inputs \(sides=2\); got 0"
    ):
        base(jnp.zeros(33), LINE)
    with pytest.raises(ValueError, match=r"one for each axis; the grid has axes t, x"):
        base(jnp.zeros(21), SPACE_TIME, (jnp.zeros(7),) * 2, axes=("x", "x"))
    with pytest.raises(ValueError, match="NoCorrection has no covariance"):
        network("values", "none").belief(jnp.zeros(33), (0.0, 0.0))
