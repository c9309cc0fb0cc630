"""The Python in README.md and in the documentation runs as it stands, page by page."""

import re
import tempfile
from pathlib import Path

import numpyro.infer
import pytest

import bayescons as bc
from bayescons import sampling

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def python_blocks(page: Path) -> str:
    return "\n".join(
        re.findall(
            r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        )
    )


PAGES = [path.relative_to(ROOT).as_posix() for path in FILES if "print(" in python_blocks(path)]


FEW = 30  # draws and steps of warm-up in place of a page's: it is run here, and not judged


@pytest.fixture
def few_draws(monkeypatch):
    """Chains are short, whatever a page asks for."""
    long, MCMC = bc.sample, numpyro.infer.MCMC

    def sample(*args, **kwargs):
        short = {name: min(kwargs.get(name, FEW), FEW) for name in ("warmup", "draws")}
        return long(*args, **kwargs | short)

    def mcmc(*args, num_warmup, num_samples, **kwargs):
        few = {"num_warmup": min(num_warmup, FEW), "num_samples": min(num_samples, FEW)}
        return MCMC(*args, **few, **kwargs)

    monkeypatch.setattr(bc, "sample", sample)
    monkeypatch.setattr(sampling, "sample", sample)
    monkeypatch.setattr(numpyro.infer, "MCMC", mcmc)


@pytest.mark.broadcasts
@pytest.mark.usefixtures("few_draws")
@pytest.mark.filterwarnings("ignore::bayescons.NotMixedWarning")
@pytest.mark.filterwarnings("ignore::bayescons.UnreliableWeightsWarning")
@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_every_page_runs(page, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where pages write
    source = python_blocks(ROOT / page)
    exec(compile(source, page, "exec"), {"__name__": "page"})
    assert capsys.readouterr().out


def test_the_pages_keep_their_promises(capsys):
    page = ROOT / "docs/method.md"
    exec(compile(python_blocks(page), str(page), "exec"), {"__name__": "page"})
    printed = capsys.readouterr().out
    assert "mass[t=0] contradicts initial by 1.0e-03" in printed
    assert "5 rows, largest |residual|" in printed


@pytest.mark.broadcasts
@pytest.mark.usefixtures("few_draws")
def test_the_linter_finds_nothing_wrong_with_the_program_of_the_first_page():
    page: dict = {"__name__": "page"}
    exec(compile(python_blocks(ROOT / "README.md"), "README.md", "exec"), page)
    report = bc.check(page["heated"], page["belief"], page["total"])
    assert report.ok, str(report)


@pytest.mark.parametrize(
    "page",
    sorted(
        p.relative_to(ROOT).as_posix() for p in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    ),
)
def test_links_between_files_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"literalinclude\} (\S+)", text)
    missing = [t for t in targets if not ((ROOT / page).parent / t).exists()]
    assert not missing, f"{page} points to files that are not there: {missing}"
