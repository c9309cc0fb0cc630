"""The conditions every test runs under: float64, no broadcasting across ranks, checked signatures,
repeatable examples.

Warnings are errors (pyproject.toml). `BAYESCONS_FLOAT32=1` turns x64 off and takes the tests marked
`float32` and no others.
"""

import os
import sys

import jax
import jaxtyping
import pytest
from hypothesis import settings

FLOAT32 = os.environ.get("BAYESCONS_FLOAT32", "") not in ("", "0")

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault(
    "XLA_PYTHON_CLIENT_PREALLOCATE", "false"
)  # several test processes share one accelerator

jax.config.update("jax_enable_x64", not FLOAT32)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_enable_compilation_cache", False)

assert "bayescons" not in sys.modules, (
    "bayescons was imported before its signatures could be checked"
)
jaxtyping.install_import_hook("bayescons", "beartype.beartype")

settings.register_profile(
    "bayescons", derandomize=True, deadline=None, max_examples=25, database=None
)
settings.load_profile("bayescons")


def pytest_collection_modifyitems(config, items):
    """In single precision only the tests that claim to hold there are run."""
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
