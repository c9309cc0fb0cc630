"""The public surface on purpose: which names there are, how they are called, and what importing
them loads.

`python tests/test_surface.py` writes the snapshot anew.
"""

import difflib
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import bayescons as bc

SNAPSHOT = Path(__file__).with_name("api.txt")
LATER = (
    "arviz",
    "arviz_base",
    "arviz_plots",
    "arviz_stats",
    "blackjax",
    "flax",
    "h5py",
    "matplotlib",
    "optax",
    "orbax",
    "pandas",
    "rich",
    "safetensors",
    "scipy.stats",
    "tinygp",
    "tyro",
    "xarray",
)


def described() -> list[str]:
    """A line for each public name: how it is called."""
    lines = []
    for name in bc.__all__:
        thing = inspect.unwrap(getattr(bc, name))
        raises = inspect.isclass(thing) and issubclass(thing, BaseException)
        bare = [
            p.replace(annotation=inspect.Parameter.empty)
            for p in ([] if raises else inspect.signature(thing).parameters.values())
        ]
        what = "exception" if raises else str(inspect.Signature(bare))
        lines.append(f"{name}{' ' if raises else ''}{what}")
    return lines


def test_the_interface_is_that_of_the_snapshot():
    before, now = SNAPSHOT.read_text(encoding="utf-8").splitlines(), described()
    changes = "\n".join(difflib.unified_diff(before, now, "tests/api.txt", "now", lineterm="", n=0))
    assert not changes, (
        f"{changes}\nIf that is meant, write it into CHANGELOG.md and run: "
        "python tests/test_surface.py"
    )


def test_nothing_leaks_into_the_names_of_the_package():
    assert len(bc.__all__) <= 40
    packages = {name for name in dir(bc) if inspect.ismodule(getattr(bc, name))}
    assert set(dir(bc)) == {*bc.__all__, *packages, "__version__"}
    folders = {p.parent.name for p in Path(bc.__file__).parent.glob("*/__init__.py")}
    assert packages == folders - {"cli"}
    assert all(importlib.import_module(f"bayescons.{name}") for name in packages)


def test_every_public_name_says_what_it_is():
    assert [name for name in bc.__all__ if not inspect.getdoc(getattr(bc, name))] == []


def test_importing_the_package_leaves_what_is_used_later_for_later():
    code = f"import sys, bayescons; print(*[m for m in {LATER!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_the_version_is_that_of_the_distribution():
    assert bc.__version__.count(".") == 2


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(described()) + "\n", encoding="utf-8")
