"""Experiments: one module a table or figure. Run `python -m experiments NAME --preset quick` from
the repository's root.

A module has `SETTINGS` (a frozen dataclass for each of the presets quick and paper),
`rows(settings, key)`, which does the work, `tables(rows)`, `figures(settings, key, rows)` and
`FIGURES`, a caption for each figure by the ending of its file's name. What is printed and what
stands on a page is made from the rows, and the rows are what is kept.
"""
