"""Networks: what they promise about readings, points and latents, and weight files that bring them
back to the last bit.
"""

import functools
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import save

from bayescons.networks import (
    Attention,
    AttentiveNeuralProcess,
    DeepEnsemble,
    load_weights,
    parameter_count,
    pretrained,
    pretrained_names,
    save_weights,
)
from bayescons.networks.layers import dropout
from bayescons.networks.neural_process import LEAST_SCALE, scale_to_box
from bayescons.problems import Diffusion, Stefan

EPS = float(np.finfo(np.float32).eps)  # networks compute in single precision
ROUNDING = {"rtol": 0, "atol": 300 * EPS}  # of numbers of size one, through some twenty layers
BOX = ((0.0, -1.0), (0.1, 2.0))
WIDTH, READINGS, POINTS = 8, 6, 4
LOWER, UPPER = (np.array(corner) for corner in BOX)


@functools.cache
def neural_process():
    return AttentiveNeuralProcess(width=WIDTH, heads=2, rate=0.5, box=BOX, rngs=nnx.Rngs(0))


@functools.cache
def ensemble():
    return DeepEnsemble(members=3, width=WIDTH, heads=2, box=BOX, rngs=nnx.Rngs(0))


def readings(seed=1, *batch):
    """Inputs (*batch, READINGS, 2) in the box and values (*batch, READINGS)."""
    rng = np.random.default_rng(seed)
    inputs = rng.uniform(LOWER, UPPER, (*batch, READINGS, 2)).astype(np.float32)
    return jnp.asarray(inputs), jnp.asarray(rng.normal(size=(*batch, READINGS)).astype(np.float32))


def points(seed=2, *batch):
    return jnp.asarray(
        np.random.default_rng(seed).uniform(LOWER, UPPER, (*batch, POINTS, 2)).astype(np.float32)
    )


def predicted(inputs, values, where, key=None):
    """All that the neural process says: its latent, and the field where the latent is at its
    mean.
    """
    return _predicted(*nnx.split(neural_process()), inputs, values, where, key)


def of_members(inputs, values, where):
    """What the ensemble says."""
    return _of_members(*nnx.split(ensemble()), inputs, values, where)


@functools.partial(jax.jit, static_argnums=0)
def _predicted(definition, weights, inputs, values, where, key):
    network, keys = (
        nnx.merge(definition, weights),
        (None, None) if key is None else jax.random.split(key),
    )
    latent = network.latent(inputs, values, keys[0])
    return latent, network.decode(
        network.represent(inputs, values, where, keys[1]), latent.mean, where
    )


@functools.partial(jax.jit, static_argnums=0)
def _of_members(definition, weights, *arguments):
    return nnx.merge(definition, weights).predict(*arguments)


def close(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, **ROUNDING)


def same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_published_network_has_989826_parameters():
    abstract = nnx.eval_shape(lambda: AttentiveNeuralProcess(width=128, heads=4, rngs=nnx.Rngs(0)))
    assert parameter_count(abstract) == 989_826


def test_a_prediction_is_deterministic_and_drops_out_with_a_key_only():
    arguments = (*readings(), points())
    same(predicted(*arguments), predicted(*arguments))
    once, again, other = (predicted(*arguments, jax.random.key(seed)) for seed in (0, 0, 1))
    same(once, again)
    for a, b, c in zip(
        *(jax.tree.leaves(p) for p in (predicted(*arguments), once, other)), strict=True
    ):
        assert not np.allclose(a, b, atol=1e-3)
        assert not np.allclose(b, c, atol=1e-3)


@pytest.mark.float32
def test_dropping_out_leaves_zeros_and_scales_the_rest_up():
    values = jnp.arange(1.0, 10_001.0)
    survivors = dropout(values, 0.25, jax.random.key(0)) / values
    assert set(np.unique(np.asarray(survivors, np.float32))) <= {
        np.float32(0),
        *np.float32([4 / 3 - EPS, 4 / 3, 4 / 3 + EPS]),
    }
    assert abs(np.mean(np.asarray(survivors) == 0) - 0.25) < 5 * math.sqrt(
        0.25 * 0.75 / 10_000
    )  # five standard deviations
    assert dropout(values, 0.25, None) is values
    assert dropout(values, 0.0, jax.random.key(0)) is values


@pytest.mark.float32
def test_the_order_of_the_readings_does_not_matter():
    (inputs, values), order = readings(), np.random.default_rng(3).permutation(READINGS)
    close(predicted(inputs, values, points()), predicted(inputs[order], values[order], points()))
    close(of_members(inputs, values, points()), of_members(inputs[order], values[order], points()))


def test_a_point_is_predicted_the_same_whichever_others_are_asked_for():
    together = predicted(*readings(), points())[1], of_members(*readings(), points())
    alone = [(predicted(*readings(), x)[1], of_members(*readings(), x)) for x in points()[:, None]]
    close(together, jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=-1), *alone))


@pytest.mark.float32
def test_the_decoder_acts_on_representation_latent_and_point_laid_side_by_side():
    network = neural_process()
    rng = np.random.default_rng(4)
    r, z = (
        jnp.asarray(rng.normal(size=shape).astype(np.float32))
        for shape in ((POINTS, WIDTH), (WIDTH,))
    )
    decoder, x = network.decoder, scale_to_box(points(), BOX)
    hidden = jnp.concatenate([r, jnp.tile(z, (POINTS, 1)), decoder.embed(x)], axis=-1)
    for layer in decoder.hidden:
        hidden = jnp.maximum(layer(hidden), 0)
    mean, raw = decoder.output(hidden).T
    close(network.decode(r, z, points()), (mean, LEAST_SCALE + jnp.logaddexp(raw, 0.0)))


def test_attention_is_a_softmax_average_of_the_values_in_each_head():
    attention = Attention(WIDTH, 2, rate=0.5, rngs=nnx.Rngs(5))
    rng = np.random.default_rng(5)
    queries, keys, values = (
        rng.normal(size=(n, WIDTH)).astype(np.float32) for n in (POINTS, READINGS, READINGS)
    )
    weight = {
        name: np.asarray(getattr(attention, name).kernel[...], np.float64)
        for name in ("query", "key", "value", "merge")
    }
    q, k, v = queries @ weight["query"], keys @ weight["key"], values @ weight["value"]
    heads = []
    for channels in (slice(0, 4), slice(4, 8)):
        scores = np.exp(q[:, channels] @ k[:, channels].T / 2)  # √4 channels
        heads.append(scores / scores.sum(axis=1, keepdims=True) @ v[:, channels])
    y = (
        queries
        + np.concatenate([queries, *heads], axis=1) @ weight["merge"]
        + np.asarray(attention.merge.bias[...])
    )
    centred = y - y.mean(axis=1, keepdims=True)
    attended = attention(*map(jnp.asarray, (queries, keys, values)))
    np.testing.assert_allclose(
        attended, centred / np.sqrt(centred.var(axis=1, keepdims=True) + 1e-5), **ROUNDING
    )


def test_the_corners_of_the_box_become_plus_and_minus_one():
    corners = jnp.asarray(np.array([LOWER, UPPER, (LOWER + UPPER) / 2]))
    np.testing.assert_allclose(scale_to_box(corners, BOX), [[-1, -1], [1, 1], [0, 0]], **ROUNDING)
    np.testing.assert_array_equal(scale_to_box(corners, None), np.asarray(corners, np.float32))


def test_scales_are_never_below_a_thousandth():
    for seed in range(5):
        inputs, values = readings(seed)
        scales = (
            predicted(inputs, 1e3 * values, points())[1].scale,
            of_members(inputs, values, points()).scale,
        )
        assert all(np.all(s >= LEAST_SCALE) for s in scales)
    decoder = neural_process().decoder
    sure = decoder.output(jnp.zeros((1, 3 * WIDTH))) - jnp.array([[0.0, 1e4]])
    assert LEAST_SCALE + jax.nn.softplus(sure[0, 1]) == LEAST_SCALE


def test_float64_readings_are_answered_in_float32():
    arguments = jax.tree.map(lambda a: a.astype(jnp.float64), (*readings(), points()))
    answers = predicted(*arguments), of_members(*arguments)
    assert {leaf.dtype for leaf in jax.tree.leaves(answers)} == {np.dtype(np.float32)}
    close(answers, (predicted(*readings(), points()), of_members(*readings(), points())))


def test_functions_in_a_batch_are_predicted_as_one_by_one():
    batch = (*readings(6, 3), points(7, 3))
    one_by_one = [(predicted(*one), of_members(*one)) for one in zip(*batch, strict=True)]
    together = jax.vmap(lambda *one: (predicted(*one), of_members(*one)))(*batch)
    close(together, jax.tree.map(lambda *parts: jnp.stack(parts), *one_by_one))


def test_members_differ_and_in_one_call_are_as_one_by_one():
    arguments = scale_to_box(readings()[0], BOX), readings()[1], scale_to_box(points(), BOX)
    together = of_members(*readings(), points())
    definition, weights = nnx.split(ensemble().members)
    alone = [
        nnx.merge(definition, jax.tree.map(lambda a, m=m: a[m], weights))(*arguments)
        for m in range(3)
    ]
    close(together, jax.tree.map(lambda *parts: jnp.stack(parts), *alone))
    assert np.abs(np.diff(together.mean, axis=0)).min() > 1e-3


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="multiple of the number of heads; got width=8, heads=3"):
        AttentiveNeuralProcess(width=8, heads=3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="two members or more; got members=1"):
        DeepEnsemble(members=1, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("make", [neural_process, ensemble])
def test_weights_and_card_survive_a_file_to_the_last_bit(tmp_path, make, monkeypatch):
    card = {"steps": 3, "scores": {"u* = 0.6": [0.5, None]}}
    save_weights(tmp_path / "w.safetensors", make(), card)

    def refuse(*_):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    network, card_of_file = load_weights(tmp_path / "w.safetensors")
    assert type(network) is type(make())
    assert network.settings == make().settings
    assert card_of_file == card
    same(nnx.to_pure_dict(nnx.state(network)), nnx.to_pure_dict(nnx.state(make())))


def test_a_weight_file_can_be_read_by_others_and_holds_nothing_else(tmp_path):
    (tmp_path / "plain").touch()
    save_weights(tmp_path / "w.safetensors", neural_process(), {})
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "w.safetensors").stat().st_size < 4 * parameter_count(
        neural_process()
    ) + 20_000


def test_files_that_hold_no_network_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(
        FileNotFoundError, match=r"no weight file .*; make one with `bayescons train`"
    ):
        load_weights(path)
    path.write_bytes(b"not a weight file")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        load_weights(path)
    save_weights(path, neural_process(), {})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is not a safetensors file"):
        load_weights(path)
    path.write_bytes(save({"a": np.zeros(2, np.float32)}))
    with pytest.raises(
        ValueError,
        match="holds a network called None; known are AttentiveNeuralProcess, DeepEnsemble",
    ):
        load_weights(path)
    text = {
        "network": "AttentiveNeuralProcess",
        "settings": '{"width": 8, "heads": 2}',
        "card": "{}",
    }
    path.write_bytes(save({"a": np.zeros(2, np.float32)}, metadata=text))
    with pytest.raises(ValueError, match="do not fit its network: a, decoder"):
        load_weights(path)


def test_weights_of_another_problem_are_refused_where_it_matters(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(path, neural_process(), {"problem": {"name": "Stefan"}})
    assert load_weights(path, problem=Stefan).card == load_weights(path).card
    with pytest.raises(
        ValueError, match="was trained on Stefan; expected weights trained on Diffusion"
    ):
        load_weights(path, problem=Diffusion)
    save_weights(path, neural_process(), {})
    with pytest.raises(
        ValueError, match="does not say what it was trained on; expected weights trained on Stefan"
    ):
        load_weights(path, problem=Stefan)


def test_an_unknown_name_is_answered_with_the_names_there_are():
    with pytest.raises(
        ValueError, match="no weights called 'melting' come with bayescons; there are "
    ):
        pretrained("melting")
    assert "melting" not in pretrained_names()


def written(path, change_text=lambda text: text, change_arrays=lambda arrays: arrays):
    """A weight file with something else in it."""
    save_weights(path, ensemble(), {"name": "it"})
    with safe_open(str(path), framework="numpy") as file:
        text, arrays = file.metadata(), {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
    path.write_bytes(save(change_arrays(arrays), metadata=change_text(dict(text))))
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lambda text: {k: v for k, v in text.items() if k != "settings"}, "no settings that can"),
        (lambda text: {**text, "settings": "{"}, "no settings that can be read"),
        (lambda text: {**text, "settings": "[3]"}, "no settings that can be read"),
        (lambda text: {**text, "card": "not json"}, "no card that can be read"),
        (lambda text: {**text, "settings": '{"width": "wide"}'}, "settings that make no DeepEns"),
        (lambda text: {**text, "settings": '{"depth": 3}'}, "settings that make no DeepEnsemble"),
    ],
)
def test_a_weight_file_whose_texts_are_damaged_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_weights(written(tmp_path / "w.safetensors", change_text=text))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (lambda a: np.full_like(a, np.nan), "weights that are NaN or infinite"),
        (lambda a: a.astype(np.float16), "weights of type float16; expected float32"),
        (lambda a: a.astype(jnp.bfloat16), "weights of type bfloat16|not a safetensors file"),
    ],
)
def test_weights_of_another_type_or_none_at_all_are_refused(tmp_path, arrays, message):
    path = written(
        tmp_path / "w.safetensors",
        change_arrays=lambda held: {n: arrays(a) for n, a in held.items()},
    )
    with pytest.raises(ValueError, match=message):
        load_weights(path)
