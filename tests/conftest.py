"""The conditions every test runs under: float64, no broadcasting across ranks, checked signatures,
repeatable examples.

Warnings are errors (pyproject.toml). `BAYESCONS_FLOAT32=1` turns x64 off and takes the tests marked
`float32` and no others.
"""

import gc
import os
import shutil
import sys
from pathlib import Path

import jax
import jaxtyping
import pytest
from hypothesis import settings

FLOAT32 = os.environ.get("BAYESCONS_FLOAT32", "") not in ("", "0")

os.environ.setdefault("MPLBACKEND", "Agg")
# On a CPU the time goes into compiling, not into running: XLA takes its fast way.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)
# Several test processes share one accelerator.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

jax.config.update("jax_enable_x64", not FLOAT32)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Compiled code is kept in a folder that git ignores, for the other worker, for the processes that
# tests start, and for the next run. Counting compilations is not fooled: requests are counted.
CACHE = Path(__file__).resolve().parent.parent / ".pytest_cache" / "xla"
for name, value in {
    "jax_compilation_cache_dir": str(CACHE),
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}.items():
    os.environ.setdefault(name.upper(), str(value))
    jax.config.update(name, value)

assert "bayescons" not in sys.modules, (
    "bayescons was imported before its signatures could be checked"
)
jaxtyping.install_import_hook("bayescons", "beartype.beartype")

settings.register_profile(
    "bayescons", derandomize=True, deadline=None, max_examples=25, database=None
)
settings.load_profile("bayescons")


def pytest_sessionstart(session):
    """Begin with an empty cache of compiled code where it has grown beyond a gigabyte."""
    del session
    if (
        "PYTEST_XDIST_WORKER" not in os.environ
        and sum(f.stat().st_size for f in CACHE.glob("*")) > 2**30
    ):
        shutil.rmtree(CACHE)


# Files that take longest, which are begun first so that the workers end together.
HEAVY = ("test_experiments", "test_conditioning", "test_training", "test_docs", "test_samplers")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Heavy files first; in single precision only the tests that claim to hold there."""
    items.sort(key=lambda item: HEAVY.index(item.path.stem) if item.path.stem in HEAVY else 99)
    if FLOAT32:
        others = [item for item in items if item.get_closest_marker("float32") is None]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


@pytest.fixture(autouse=True)
def _broadcasting(request):
    """Let a test marked `broadcasts` call a library that broadcasts across ranks inside."""
    if request.node.get_closest_marker("broadcasts") is None:
        yield
    else:
        with jax.numpy_rank_promotion("allow"):
            yield


@pytest.fixture
def eagerly(monkeypatch):
    """Operation by operation: hundreds of combinations of beliefs and facts share theirs. That
    compiling changes nothing is a law of its own.
    """
    from bayescons.gaussians import conditioning, gaussian

    for module, name in (
        (conditioning, "_update"),
        (gaussian, "_variance"),
        (gaussian, "_transported"),
        (gaussian, "_log_density"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name).__wrapped__)


MEMORY = 1000  # MB of a worker, above which compiled code is let go of
GROWTH = 200  # MB by which it has to have grown since


@pytest.fixture(autouse=True)
def _memory():
    """Let go of compiled code once it has grown large; it comes back from disk."""
    yield
    if _resident() > max(MEMORY, _kept[0] + GROWTH):
        jax.clear_caches()
        gc.collect()
        _kept[0] = _resident()


_kept = [0.0]  # MB left when compiled code was last let go of


def _resident() -> float:
    """Resident memory of this process, MB."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 0.0
    return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
