"""What a result was made with: versions of Python and of packages, processor, number of cores."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

NOT_INSTALLED = "not installed"


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Version of Python, and of each package or that it is not installed, by name."""
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def processor() -> str:
    """The model of the processor, as Linux knows it, or what Python does."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def cores() -> int:
    """Number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED
