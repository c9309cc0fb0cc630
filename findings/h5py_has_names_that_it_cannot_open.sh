#!/usr/bin/env bash
# h5py 3.16.0: `name in group` asks whether there is a link, group[name] opens what it leads to. For a soft
# link to nothing, or an external link to a file that is not there, the first is True and the second a
# KeyError. The documentation says "dict-like membership testing" of the one and shows the other; that
# links are not followed stands only at h5g._path_valid, beneath. What one would not guess from either:
# require_group, "creating it if it doesn't exist", raises KeyError for such a name, as require_dataset does,
# and group.get(name, default, getclass=True) a RuntimeError, where group.get(name, default) is the default.
# So `if name in group` guards neither reading nor making.
# What helps: ask `group.get(name) is None`, and `del group[name]` before making what has a broken link.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'h5py==3.16.0' 'numpy==2.5.5'
cat > "$work/links.py" <<'PY'
import sys
from pathlib import Path

import h5py


def outcome(call):
    try:
        return str(call())
    except Exception as error:
        return type(error).__name__


with h5py.File(Path(sys.argv[1]) / "links.h5", "w") as file:
    file["x"] = [1.0]
    file["soft"] = h5py.SoftLink("/gone/far")
    file["external"] = h5py.ExternalLink("gone.h5", "/x")
    seen = {}
    for name in "soft", "external", "absent":
        seen[name] = {
            "in": outcome(lambda: name in file),
            "[]": outcome(lambda: file[name]),
            "get": outcome(lambda: file.get(name, "default")),
            "get the class": outcome(lambda: file.get(name, "default", getclass=True)),
            "require_dataset": outcome(lambda: file.require_dataset(name, (1,), "f8").shape),
        }
        if name == "absent":
            del file[name]
        seen[name]["require_group"] = outcome(lambda: file.require_group(name).name)
        print(f"h5py {h5py.__version__}, {name}: {seen[name]}")
    del file["soft"]
    assert file.require_group("soft").name == "/soft"

broken = {
    "in": "True",
    "[]": "KeyError",
    "get": "default",
    "get the class": "RuntimeError",
    "require_dataset": "KeyError",
    "require_group": "KeyError",
}
whole = {
    "in": "False",
    "[]": "KeyError",
    "get": "default",
    "get the class": "default",
    "require_dataset": "(1,)",
    "require_group": "/absent",
}
assert seen == {"soft": broken, "external": broken, "absent": whole}, seen
PY
"$work/venv/bin/python" "$work/links.py" "$work"
# Seen on 2026-11-30:
# h5py 3.16.0, soft: {'in': 'True', '[]': 'KeyError', 'get': 'default', 'get the class': 'RuntimeError', 'require_dataset': 'KeyError', 'require_group': 'KeyError'}
# h5py 3.16.0, external: {'in': 'True', '[]': 'KeyError', 'get': 'default', 'get the class': 'RuntimeError', 'require_dataset': 'KeyError', 'require_group': 'KeyError'}
# h5py 3.16.0, absent: {'in': 'False', '[]': 'KeyError', 'get': 'default', 'get the class': 'default', 'require_dataset': '(1,)', 'require_group': '/absent'}
