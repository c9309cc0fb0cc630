#!/usr/bin/env bash
# JAX 0.12.0.1: a function compiled by jax.jit, called inside jax.ensure_compile_time_eval(), is traced
# with eager constant folding still on. Whatever in it does not depend on its arguments (an iota, a mask,
# an identity matrix) is then computed at once, and each such operation is compiled as a program of
# its own: a call that compiles once outside compiles several times inside. Wanted: compile-time
# evaluation of the call as a whole. What helps: call it outside the context, or with the config
# option `eager_constant_folding` off around the call.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'jax==0.12.0.1' 'jaxlib==0.12.0.1'
cat > "$work/count.py" <<'PY'
import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np

requests = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: requests.append(event) if event.endswith("backend_compile_duration") else None
)


def masked_sum(values):
    """Sum above the diagonal; the mask rests on shapes alone."""
    rows, columns = jnp.arange(7)[:, None], jnp.arange(7)[None, :]
    return jnp.sum(jnp.where(rows < columns, values, 0.0))


values = np.ones((7, 7), np.float32)
counts = {}
for where in ("outside", "inside"):
    jax.clear_caches()
    requests.clear()
    if where == "inside":
        with jax.ensure_compile_time_eval():
            result = jax.jit(masked_sum)(values)
    else:
        result = jax.jit(masked_sum)(values)
    assert float(result) == 21.0
    counts[where] = len(requests)
print(f"jax {jax.__version__}: compiled {counts['outside']} time outside, {counts['inside']} times inside")
assert counts["outside"] == 1 and counts["inside"] > 3, counts
PY
"$work/venv/bin/python" "$work/count.py"
