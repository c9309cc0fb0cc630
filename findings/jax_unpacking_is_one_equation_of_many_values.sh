#!/usr/bin/env bash
# JAX 0.12.0.1: taking a traced array apart, `a, b, c = u`, is one equation, `unstack`, with as many values as
# there are parts, and jnp.stack of them one `stack`. In JAX 0.6.2 the same lines are a slice and a squeeze for
# each part, and a broadcast for each and one concatenate. Whoever reads a jaxpr by the primitives that it knows -
# which axes of an argument stay apart, which values depend on which - finds two that did not exist, one of them
# an equation of several values, where each value used to have its own; u[0], u[1], u[2] are slices in both.
# What helps: handle `unstack` (axis in its parameters; the axis is gone from every value) and `stack`; or index.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/unpack.py" <<'PY'
import sys

import jax
import jax.numpy as jnp


def unpacked(u):
    a, b, c = u
    return jnp.stack([a - b, b - c])


def indexed(u):
    return u[0] - u[1]


def names(function):
    equations = jax.make_jaxpr(function)(jnp.zeros((3, 4))).jaxpr.eqns
    return [f"{e.primitive.name} -> {len(e.outvars)}" for e in equations]


found, by_index = names(unpacked), names(indexed)
print(f"jax {jax.__version__}, unpacked: {', '.join(found)}")
print(f"jax {jax.__version__}, indexed: {', '.join(by_index)}")
new = sys.argv[1] == "new"
assert ("unstack -> 3" in found) == new
assert ("stack -> 1" in found) == new
assert any(name.startswith("concatenate") for name in found) != new
assert not any("unstack" in name for name in by_index)
PY
for version in "old 0.6.2 0.6.2" "new 0.12.0.1 0.12.0.1"; do
  read -r which jax jaxlib <<< "$version"
  python3 -m venv "$work/$which"
  "$work/$which/bin/python" -m pip install --quiet --disable-pip-version-check "jax==$jax" "jaxlib==$jaxlib"
  "$work/$which/bin/python" "$work/unpack.py" "$which"
done
# Seen on 2026-12-01:
# jax 0.6.2, unpacked: slice -> 1, squeeze -> 1, slice -> 1, squeeze -> 1, slice -> 1, squeeze -> 1, sub -> 1, sub -> 1, broadcast_in_dim -> 1, broadcast_in_dim -> 1, concatenate -> 1
# jax 0.6.2, indexed: slice -> 1, squeeze -> 1, slice -> 1, squeeze -> 1, sub -> 1
# jax 0.12.0.1, unpacked: unstack -> 3, sub -> 1, sub -> 1, stack -> 1
# jax 0.12.0.1, indexed: slice -> 1, squeeze -> 1, slice -> 1, squeeze -> 1, sub -> 1
