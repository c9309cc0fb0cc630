"""Weight files: a network and its card in one safetensors file, and the weights that come with
bayescons.

A file holds arrays and text, and reading it executes nothing. The text names the network, the
arguments it is made with, and the card: what it was trained on, for how long, on what, and how well
it does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import safe_open
from safetensors.numpy import save

from bayescons.descriptions import tabulated
from bayescons.networks.boundary_corrected import BoundaryCorrected, current_array_names
from bayescons.networks.deep_operator import DeepOperator
from bayescons.networks.ensemble import DeepEnsemble
from bayescons.networks.fourier_operator import FourierOperator
from bayescons.networks.neural_process import AttentiveNeuralProcess
from bayescons.refusals import MissingFile, RefusedValue

OWN = (AttentiveNeuralProcess, DeepEnsemble, FourierOperator, DeepOperator)
NETWORKS = {kind.__name__: kind for kind in OWN} | {
    "BoundaryCorrected": BoundaryCorrected.from_settings,
    "Ensemble": DeepEnsemble,  # what the first version called it
}
SUFFIX = ".safetensors"


@tabulated("Pretrained network")
class Pretrained(NamedTuple):
    """A network and what is known of its training.

    Attributes:
        network: with its weights.
        card: data, steps, device, time, seed, scores.
    """

    network: Any
    card: dict[str, Any]


def save_weights(path: str | Path, network: nnx.Module, card: Mapping[str, Any]) -> None:
    """Write a network and its card into one file, whatever was there before; float32, whole or not
    at all when inside `whole_file`.

    Args:
        path: of the file, usually ending in .safetensors.
        network: one of `NETWORKS`; its `settings` are the arguments it was made with.
        card: what JSON can hold.
    """
    arrays = {
        name: np.asarray(value, np.float32)
        for name, value in _named(nnx.state(network, nnx.Param)).items()
    }
    text = {
        "network": type(network).__name__,
        "settings": json.dumps(network.settings),
        "card": json.dumps(dict(card)),
    }
    Path(path).write_bytes(
        save(arrays, metadata=text)
    )  # `save_file` would make a file that nobody else may read


def load_weights(path: str | Path, *, problem: type[Any] | None = None) -> Pretrained:
    """The network and the card of a file.

    Args:
        path: of the file.
        problem: class of the problem it must have been trained on, where that matters.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a weight file, its network is not known to this version, its arrays do
            not fit the network, or it was trained on another problem.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile(
            f"no weight file {path}; make one with `bayescons train`, or take one of "
            f"{', '.join(pretrained_names())}"
        )
    try:
        with safe_open(str(path), framework="numpy") as file:
            text = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except Exception as error:
        raise RefusedValue(f"{path} is not a safetensors file: {error}") from error
    if text.get("network") not in NETWORKS:
        raise RefusedValue(
            f"{path} holds a network called {text.get('network')!r}; known are "
            f"{', '.join(NETWORKS)}"
        )
    settings, card = (_object(path, text, name) for name in ("settings", "card"))
    foreign = sorted({str(a.dtype) for a in arrays.values()} - {"float32"})
    if foreign:
        raise RefusedValue(
            f"{path} holds weights of type {', '.join(foreign)}; expected float32. Convert them, "
            "and measure the network again"
        )
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise RefusedValue(f"{path} holds weights that are NaN or infinite")
    try:
        network = nnx.eval_shape(  # shapes alone: what would be drawn at random is replaced
            lambda: NETWORKS[text["network"]](**_tuples(settings), rngs=nnx.Rngs(0))
        )
    except Exception as error:  # whatever settings of another kind make of a constructor
        raise RefusedValue(
            f"{path} holds settings that make no {text['network']}: {error}"
        ) from error
    arrays = current_array_names(network, arrays)
    state = nnx.state(network, nnx.Param)
    expected = {name: value.shape for name, value in _named(state).items()}
    found = {name: value.shape for name, value in arrays.items()}
    if expected != found:
        wrong = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        raise RefusedValue(
            f"the arrays of {path} do not fit its network: {', '.join(wrong[:5])}; was it written "
            "by another version?"
        )
    places = flatten_dict(nnx.to_pure_dict(state))
    nnx.replace_by_pure_dict(
        state,
        unflatten_dict({path: jnp.asarray(arrays[".".join(map(str, path))]) for path in places}),
    )
    nnx.update(network, state)
    known = card.get("problem", {}).get("name")
    if problem is not None and known != problem.__name__:
        learnt = f"was trained on {known}" if known else "does not say what it was trained on"
        raise RefusedValue(f"{path} {learnt}; expected weights trained on {problem.__name__}")
    return Pretrained(network, card)


def _object(path: Path, text: Mapping[str, str], name: str) -> dict:
    """A JSON object among the texts of a weight file."""
    try:
        found = json.loads(text[name])
    except (KeyError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise RefusedValue(
            f"{path} has no {name} that can be read; it was not written by save_weights, or is "
            "damaged"
        )
    return found


def pretrained(name: str, *, problem: type[Any] | None = None) -> Pretrained:
    """A network that comes with bayescons, by name; `pretrained_names` lists them.

    Raises:
        ValueError: there is none of this name, or it was not trained on this problem.
    """
    if name not in pretrained_names():
        raise RefusedValue(
            f"no weights called {name!r} come with bayescons; there are "
            f"{', '.join(pretrained_names()) or 'none'}"
        )
    with resources.as_file(resources.files("bayescons") / "pretrained" / f"{name}{SUFFIX}") as path:
        return load_weights(path, problem=problem)


def pretrained_names() -> list[str]:
    """Names of the weights that come with bayescons."""
    folder = resources.files("bayescons") / "pretrained"
    return (
        sorted(p.name.removesuffix(SUFFIX) for p in folder.iterdir() if p.name.endswith(SUFFIX))
        if folder.is_dir()
        else []
    )


def _named(state: Any) -> dict[str, Any]:
    """Arrays by their place in the network, as "hidden.0.kernel"."""
    return {
        ".".join(map(str, path)): leaf
        for path, leaf in flatten_dict(nnx.to_pure_dict(state)).items()
    }


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples, which is what settings are made of."""
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    return {name: _tuples(v) for name, v in value.items()} if isinstance(value, dict) else value
