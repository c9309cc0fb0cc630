"""Measurement: how long something takes, how much memory it holds, and how to measure in a fresh
process.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
_CHILD = """
import importlib, json, sys
import jax
module, name, arguments, x64 = json.loads(sys.argv[1])
jax.config.update("jax_enable_x64", x64)
print(json.dumps(getattr(importlib.import_module(module), name)(*arguments)))
"""


def timings(
    thunks: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    rounds: int = 3,
    budget: float = 8.0,
) -> dict[str, np.ndarray]:
    """Wall-clock seconds of each, once warm: `rounds` times round, `repeats` runs of each in a row.

    Each is called once before, so that it is compiled. What has used up its `budget` of seconds is
    not called again.
    """
    seconds: dict[str, list[float]] = {name: [] for name in thunks}
    for thunk in thunks.values():
        jax.block_until_ready(thunk())
    for _ in range(rounds):
        for name, thunk in thunks.items():
            for _ in range(repeats):
                if sum(seconds[name]) < budget:
                    start = time.perf_counter()
                    jax.block_until_ready(thunk())
                    seconds[name].append(time.perf_counter() - start)
    return {name: np.array(runs) for name, runs in seconds.items()}


def elsewhere(function: str, *arguments, x64: bool = True):
    """What `module:function` returns in a fresh Python process; arguments and result travel as
    JSON.

    Raises:
        RuntimeError: where it fails, with the last line it said.
    """
    call = json.dumps([*function.split(":"), arguments, x64])
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, call], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeError(f"{function} failed in a process of its own: {said[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def memory(which: str) -> float:
    """Bytes of memory that this process holds: "VmRSS" now, "VmHWM" at its peak so far. NaN where
    /proc does not say (not Linux).

    The peak that `resource.getrusage` reports is of no use in a child process: Linux hands it that
    of its parent.
    """
    status = Path("/proc/self/status")
    for line in status.read_text(encoding="ascii").splitlines() if status.exists() else ():
        if line.startswith(f"{which}:"):
            return 1024.0 * int(line.split()[1])
    return math.nan


def growth_exponent(sizes, seconds) -> float:
    """p of seconds ~ size^p, by least squares in logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
