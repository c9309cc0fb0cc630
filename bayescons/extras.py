"""Extras: what only training, figures, files or the command line need, installed on demand.

The core - conditioning, programs, constraints, sampling, diagnostics - needs JAX, NumPyro, BlackJAX
and ArviZ. `pip install 'bayescons[networks]'` adds what the package of that name imports;
`bayescons[all]` adds everything.
"""

from __future__ import annotations

from importlib.util import find_spec

from bayescons.refusals import Refusal

EXTRAS = {
    "networks": ("flax", "optax", "orbax.checkpoint", "safetensors", "tinygp"),
    "plots": ("matplotlib",),
    "files": ("h5py", "h5netcdf", "cftime"),
    "zarr": ("zarr",),
    "units": ("pint",),
    "cli": ("tyro", "rich"),
}


class MissingExtraError(Refusal, ImportError):
    """Something was asked for that an extra of bayescons brings, which is not installed."""


def require(extra: str, *, by: str) -> None:
    """Refuse to go on where what an extra brings is not installed.

    Args:
        extra: one of `EXTRAS`.
        by: what asks for it.

    Raises:
        MissingExtraError: names the extra, and the line that installs it.
    """
    missing = [name for name in EXTRAS[extra] if not _installed(name)]
    if missing:
        raise MissingExtraError(
            f"{by} needs {', '.join(missing)}, which the core of bayescons does without. Write: "
            f"pip install 'bayescons[{extra}]'"
        )


def _installed(name: str) -> bool:
    """Whether a module can be found; nothing is imported but the packages it lies in."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
