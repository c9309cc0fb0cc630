"""Sphinx configuration: `make docs` builds the pages into docs/_build/html."""

import re
from importlib.metadata import version as installed_version

project = "bayescons"
author = "the bayescons authors"
version = release = installed_version("bayescons")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]

html_theme = "sphinx_book_theme"
html_title = "bayescons"

# Mathematics as in the docstrings; code cells are executed, and a page whose code fails fails the
# build.
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "auto"
nb_execution_timeout = 300
nb_execution_raise_on_error = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"
suppress_warnings = ["ref.python"]  # attributes of the same name in several classes


def keep_mathematics(app, what, name, obj, options, lines):  # noqa: ARG001
    """Docstrings are plain text with code in backticks: the *, | and closing _ of their mathematics
    are not markup.
    """
    literal = None
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and indent <= literal:
            literal = None
        if literal is None and not line.lstrip().startswith((">>>", "...")):
            lines[i] = re.sub(
                r"(`+[^`]*`+)|([*|]|_(?!\w))", lambda found: found[1] or "\\" + found[2], line
            )
        if literal is None and line.endswith("::"):
            literal = indent


def setup(app):
    """Run before napoleon, which writes markup of its own."""
    app.connect("autodoc-process-docstring", keep_mathematics, priority=400)
