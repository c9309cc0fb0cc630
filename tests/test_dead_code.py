"""Everything in the library is there for something: what nobody names is taken out."""

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "bayescons").rglob("*.py"))
READERS = [p for folder in ("models", "experiments", "tests") for p in (ROOT / folder).glob("*.py")]
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*.py")]
# Called by their names in a table, or by a library that is handed the object.
BY_OTHERS = re.compile(r"__\w+__|tree_(un)?flatten|(post)?process_message|find_\w+|_\w+_jvp")


def mentioned(path: Path) -> Counter:
    """How often each name is read in a file; defining it does not count."""
    names: Counter = Counter()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            names[node.id] += 1
        elif isinstance(node, ast.Attribute):
            names[node.attr] += 1
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names.update(alias.name.split(".")[-1] for alias in node.names)
        elif isinstance(node, ast.keyword) and node.arg:
            names[node.arg] += 1
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.update(re.findall(r"\w+", node.value) if len(node.value) < 60 else ())
    return names


def defined(path: Path) -> dict[str, int]:
    """Functions, classes and methods of a file, and the lines they begin on."""
    kinds = ast.FunctionDef | ast.ClassDef
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {n.name: n.lineno for n in nodes if isinstance(n, kinds) and not BY_OTHERS.match(n.name)}


def test_every_function_class_and_method_is_used():
    inside = {path: mentioned(path) for path in LIBRARY}
    everywhere = sum([*inside.values(), *map(mentioned, READERS)], Counter())
    everywhere.update(
        word for page in PAGES for word in re.findall(r"\w+", page.read_text("utf-8"))
    )
    dead = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in LIBRARY
        for name, line in defined(path).items()
        if not (inside[path] if name.startswith("_") else everywhere)[name]
    ]
    assert not dead, "\n".join(dead)


def test_every_module_is_imported():
    """Commands are imported by their names."""
    sources = "\n".join(p.read_text(encoding="utf-8") for p in [*LIBRARY, *READERS])
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in LIBRARY]
    modules = [n for n in names if not n.endswith(("__init__", "__main__")) and ".cli." not in n]
    unused = [
        name
        for name in modules
        if not re.search(rf"{re.escape(name)}\b", sources)
        and not re.search(
            rf"from {re.escape(name.rpartition('.')[0])} import .*\b{name.rpartition('.')[2]}\b",
            sources,
        )
    ]
    assert not unused, "\n".join(unused)
