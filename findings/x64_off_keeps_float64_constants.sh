#!/usr/bin/env bash
# JAX 0.12.0.1: with x64 turned off, jnp.asarray of a NumPy float64 array gives float32 - unless the very
# same array was traced as a constant while x64 was on and that trace is still alive. Then jnp.asarray gives
# a float64 array although x64 is off, and the next operation warns that float64 is not available. Nothing
# was asked for: the array is remembered by its identity, without the setting it was met under. Once the
# trace is gone, or for an equal array of another identity, it is float32 again.
# What helps: array.astype(jax.dtypes.canonicalize_dtype(array.dtype)) before it is handed to JAX.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'jax==0.12.0.1' 'jaxlib==0.12.0.1'
cat > "$work/precision.py" <<'PY'
import gc

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)
weights = np.array([1.0, 2.0, 3.0])


def single() -> str:
    with jax.enable_x64(False):
        return str(jnp.asarray(weights).dtype)


seen = {"before any trace": single()}
trace = jax.make_jaxpr(lambda x: jnp.asarray(weights) * x)(1.0)
seen["while a trace of it lives"] = single()
with jax.enable_x64(False):
    seen["an equal array"] = str(jnp.asarray(weights.copy()).dtype)
    seen["converted first"] = str(jnp.asarray(weights.astype(jax.dtypes.canonicalize_dtype(weights.dtype))).dtype)
del trace
jax.clear_caches()
gc.collect()
seen["once it is gone"] = single()
for when, dtype in seen.items():
    print(f"jax {jax.__version__}, x64 off, jnp.asarray of float64: {when}: {dtype}")
assert seen == {
    "before any trace": "float32",
    "while a trace of it lives": "float64",
    "an equal array": "float32",
    "converted first": "float32",
    "once it is gone": "float32",
}, seen
PY
"$work/venv/bin/python" "$work/precision.py"
