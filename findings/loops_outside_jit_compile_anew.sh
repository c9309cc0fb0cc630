#!/usr/bin/env bash
# JAX 0.12.0.1: lax.scan, lax.fori_loop and lax.map called outside jax.jit keep their compiled code
# under the identity of the function they are given. A method that writes its loop body as a lambda or
# an inner function therefore compiles it again at every call, though nothing has changed: ten calls, ten
# compilations, and ten executables kept. The same body under a name of its own is compiled once.
# What helps: give the loop a module-level function, or put jax.jit around the method.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'jax==0.12.0.1' 'jaxlib==0.12.0.1'
cat > "$work/count.py" <<'PY'
import jax
import jax.monitoring
import jax.numpy as jnp

requests = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: requests.append(event) if event.endswith("backend_compile_duration") else None
)


def add(total, x):
    return total + x, None


METHODS = {
    "scan": lambda xs: jax.lax.scan(lambda total, x: (total + x, None), jnp.zeros(()), xs)[0],
    "fori_loop": lambda xs: jax.lax.fori_loop(0, 5, lambda i, total: total + xs[i], jnp.zeros(())),
    "map": lambda xs: jax.lax.map(lambda x: 2 * x, xs).sum() / 2,
    "scan of a named function": lambda xs: jax.lax.scan(add, jnp.zeros(()), xs)[0],
}
xs = jnp.arange(5.0)
counts = {}
for name, method in METHODS.items():
    assert float(method(xs)) == 10.0
    requests.clear()
    for _ in range(10):
        method(xs)
    counts[name] = len(requests)
    print(f"jax {jax.__version__}: {name}, compilations in ten more calls: {counts[name]}")
assert counts == {"scan": 10, "fori_loop": 10, "map": 10, "scan of a named function": 0}, counts
PY
"$work/venv/bin/python" "$work/count.py"
