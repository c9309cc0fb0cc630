"""The house has floors: what may import what, what a file may be called, and what is never used."""

import ast
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bayescons"
# The floors that need jax alone (numpy and scipy come with it), and those where the Gaussian, a
# NumPyro distribution, is at home.
GROUND = {"grids", "axes", "arrays", "separation", "descriptions", "functionals"}
GAUSSIAN = {"gaussians", "tracing"}
ARRAYS = {"jax", "numpy", "scipy", "jaxtyping", "bayescons"} | set(sys.stdlib_module_names)
# Library -> the only parts of bayescons that may import it.
HOMES = {
    "arviz": {"results", "diagnostics"},
    "arviz_base": {"results", "diagnostics"},
    "arviz_stats": {"results", "programs", "diagnostics"},
    "arviz_plots": {"results", "diagnostics"},
    "xarray": {"results", "sampling", "diagnostics", "plots", "labelled", "cli"},
    "flax": {"networks", "training"},
    "optax": {"training", "sampling"},
    "orbax": {"training"},
    "safetensors": {"networks"},
}
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
VAGUE = {"utils", "util", "helpers", "helper", "common", "core", "misc", "base"}


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def part(path: Path) -> str:
    """The top-level module or package of bayescons a file belongs to: `gaussian`, `programs`, or
    `__init__`.
    """
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    """Absolute dotted names of all modules a file imports, inside functions too."""
    package = path.relative_to(ROOT).parent.parts
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            names.add(".".join(filter(None, (above, node.module))))
    return names


def imported_libraries(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported_modules(path)}


def imports_of_the_package_itself(path: Path) -> set[str]:
    """What a file takes from `bayescons` itself, not from its modules: `from bayescons import
    Grid`, `import bayescons as bc`.
    """
    modules = {file.stem for file in PACKAGE.iterdir()}
    taken = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            taken |= {alias.name for alias in node.names if alias.name == "bayescons"}
        elif isinstance(node, ast.ImportFrom) and node.module == "bayescons" and not node.level:
            taken |= {alias.name for alias in node.names} - modules
    return taken


def named(paths) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_imports_go_downwards_only():
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)
    assert status == 0, (
        "an import goes upwards or sideways, or a module has no floor; the captured output names it"
    )


def test_a_floor_imports_from_the_floor_that_defines_a_name_and_not_from_the_roof():
    files = [
        path
        for path in python_files("bayescons")
        if part(path) not in ("__init__", "__main__", "cli")
    ]
    assert {
        str(path.relative_to(ROOT)): names
        for path in files
        if (names := imports_of_the_package_itself(path))
    } == {}


def test_nothing_in_bayescons_imports_models_or_experiments():
    files = python_files("bayescons")
    assert (
        named(path for path in files if imported_libraries(path) & {"models", "experiments"}) == []
    )


def test_models_do_not_import_experiments():
    assert (
        named(path for path in python_files("models") if "experiments" in imported_libraries(path))
        == []
    )


@pytest.mark.parametrize(
    ("floors", "allowed"),
    [(GROUND, ARRAYS), (GAUSSIAN, ARRAYS | {"numpyro"})],
    ids=["ground", "gaussian"],
)
def test_the_lower_floors_need_jax_alone_and_numpyro_from_the_gaussian_on(floors, allowed):
    files = [path for path in python_files("bayescons") if part(path) in floors]
    assert {
        str(path.relative_to(ROOT)): more
        for path in files
        if (more := imported_libraries(path) - allowed)
    } == {}


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_where_it_lives(library):
    files = [path for path in python_files("bayescons") if part(path) not in HOMES[library]]
    assert named(path for path in files if library in imported_libraries(path)) == []


def test_nothing_is_ever_pickled():
    files = python_files("bayescons", "models", "experiments")
    assert named(path for path in files if imported_libraries(path) & PICKLES) == []


def test_numpy_is_never_allowed_to_unpickle():
    def unpickles(path):
        keywords = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.keyword)
        ]
        return any(
            k.arg == "allow_pickle"
            and not (isinstance(k.value, ast.Constant) and k.value.value is False)
            for k in keywords
        )

    assert (
        named(
            path for path in python_files("bayescons", "models", "experiments") if unpickles(path)
        )
        == []
    )


def test_every_module_says_what_it_is_for():
    files = python_files("bayescons", "models", "experiments")
    assert (
        named(
            path
            for path in files
            if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        )
        == []
    )


def test_every_file_is_named_after_what_it_holds():
    def vague(path):
        return any(
            name in VAGUE or name.startswith("base_") for name in (path.stem, path.parent.name)
        )

    assert (
        named(
            path
            for path in python_files("bayescons", "models", "experiments", "tests")
            if vague(path)
        )
        == []
    )
