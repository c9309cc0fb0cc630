"""Results pages: Markdown made from an experiment's rows alone, so that a published page can be
made again from its committed JSON.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from bayescons.cli.errors import InputError
from bayescons.results.files import whole_file
from experiments.rows import Row, from_json

INDEX = """# Results

Each page is made from the rows beside it (`NAME.json`) by `python -m experiments page`, and the
rows by `python -m experiments NAME --preset paper --out docs/results`.
"""


def page(name: str, rows: Sequence[Row], origin: dict) -> str:
    """The page of an experiment: what it asks, its tables, its figures, and where the numbers come
    from.
    """
    experiment = import_module(f"experiments.{name}")
    title, _, text = inspect.getdoc(experiment).partition("\n\n")
    figures = [
        f"![{caption}]({name}{ending}.png)\n\n{caption}"
        for ending, caption in experiment.FIGURES.items()
    ]
    versions = ", ".join(f"{package} {version}" for package, version in origin["versions"].items())
    usual = f"python -m experiments {name} --preset {origin['preset']} --seed {origin['seed']}"
    made = (
        f"Made by `{origin.get('command', usual)}` on {origin['date']}; "
        f"{', '.join(sorted({row.device for row in rows}))}; {versions}. The rows are in "
        f"[{name}.json]({name}.json)."
    )
    tables = [table.markdown() for table in experiment.tables(rows)]
    heading = f"# {' '.join(title.split()).rstrip('.')}"
    return "\n\n".join([heading, text, *tables, *figures, made]) + "\n"


def write_pages(folder: Path) -> list[Path]:
    """Make the page of every NAME.json in a folder, and `index.md`, which lists them.

    Returns:
        The files written.

    Raises:
        InputError: for a JSON file that holds no rows, or belongs to no experiment; nothing is
            written then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {}
    for path in sorted(folder.glob("*.json")):
        try:
            texts[path.stem] = page(path.stem, *from_json(path))
        except ModuleNotFoundError as error:
            raise InputError(
                f"{path} belongs to no experiment: there is no experiments/{path.stem}.py"
            ) from error
    listed = [
        f"- [{text.partition('\n')[0].removeprefix('# ')}]({name}.md)"
        for name, text in texts.items()
    ]
    contents = "\n".join(["", *listed, "", "```{toctree}", ":hidden:", "", *texts, "```", ""])
    texts["index"] = INDEX + (contents if texts else "\nNone yet.\n")
    for name, text in texts.items():
        with whole_file(folder / f"{name}.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [folder / f"{name}.md" for name in texts]
