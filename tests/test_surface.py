"""The public surface on purpose: which names there are, how they are called, and what importing
them loads.

`python tests/test_surface.py` writes the snapshot anew.
"""

import difflib
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bayescons as bc
from bayescons.extras import EXTRAS

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


# Extras

WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Without:
    find_distributions = PathFinder.find_distributions

    @staticmethod
    def find_spec(name, path=None, target=None):
        hidden = name.split(".")[0] in {hidden}
        return None if hidden else PathFinder.find_spec(name, path, target)

sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""
CORE = """
import jax, jax.numpy as jnp, numpyro, numpyro.distributions as dist, bayescons as bc

jax.config.update("jax_enable_x64", True)

def program():
    s = numpyro.sample("s", dist.LogNormal())
    u = numpyro.sample("u", bc.diagonal(jnp.zeros(4), jnp.full(4, s)))
    bc.observe("sum", lambda u: u.sum(), u, 1.0)

assert not bc.check(program).findings
tree = bc.sample(program, key=0, sampler="nuts", chains=1, warmup=10, draws=10)
assert abs(tree.posterior["u"].sum("u_dim_0") - 1.0).max() < 1e-6
"""


def test_the_core_needs_no_extra():
    """But for optax, which BlackJAX brings."""
    hidden = {m.split(".")[0] for names in EXTRAS.values() for m in names} - {"optax"}
    code = WITHOUT.format(hidden=hidden) + CORE
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.parametrize(
    ("statement", "extra"),
    [
        ("bc.networks", "networks"),
        ("bc.surrogates", "networks"),
        ("bc.plots", "plots"),
        ("from bayescons import training", "networks"),
        ("from bayescons.results.trees import load; load('none.nc')", "files"),
    ],
)
def test_what_needs_an_extra_names_it_where_it_is_missing(statement, extra):
    hidden = {m.split(".")[0] for m in EXTRAS[extra]}
    code = WITHOUT.format(hidden=hidden) + f"import bayescons as bc\n{statement}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"pip install 'bayescons[{extra}]'" in run.stderr.splitlines()[-1]


def test_the_command_says_in_a_line_which_extra_it_lacks():
    code = WITHOUT.format(hidden={"rich"}) + "from bayescons.__main__ import main\nsys.exit(main())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "pip install 'bayescons[cli]'" in run.stderr


def test_extras_are_those_of_the_distribution():
    project = tomllib.loads((Path(bc.__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    offered = project["project"]["optional-dependencies"]
    for extra, modules in EXTRAS.items():
        packages = {re.split("[<>=[]", line)[0] for line in offered[extra]}
        assert {module.replace(".", "-") for module in modules} <= packages
    assert set(offered) >= {*EXTRAS, "all"}


def test_the_version_is_that_of_the_distribution():
    assert bc.__version__.count(".") == 2


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(described()) + "\n", encoding="utf-8")
