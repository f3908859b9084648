"""What the documentation shows runs, what it links to is there, and the examples in docstrings are right."""

import dataclasses
import doctest
import importlib
import re
import runpy
from pathlib import Path

import gymnasium
import pytest

import diffenvs
import rpo
from diffenvs import TASKS
from rpo.cli import COMMANDS
from rpo.commands.train import TrainOptions
from rpo.rpo import RPOConfig

ROOT = Path(__file__).parents[1]
EXCERPTS = ROOT / "docs/tasks.md"
"""Its blocks are excerpts of code, made by a program."""
PAGES = [path for path in sorted(ROOT.glob("docs/**/*.md")) if path != EXCERPTS]
LINKED = [path for pattern in ("*.md", "docs/**/*.md", "packages/*/README.md") for path in sorted(ROOT.glob(pattern))]
SOURCES = [
    (".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"), path.read_text())
    for source in sorted(ROOT.glob("packages/*/src"))
    for path in sorted(source.rglob("*.py"))
]
MODULES = [name for name, _ in SOURCES]
WITH_EXAMPLES = [name for name, text in SOURCES if ">>> " in text]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture
def _unregister():
    """Take back the ids that an example registers."""
    tasks, ids = set(TASKS), set(gymnasium.registry)
    yield
    for id in set(TASKS) - tasks:
        del TASKS[id]
    for id in set(gymnasium.registry) - ids:
        del gymnasium.registry[id]


def run_blocks(page: Path) -> None:
    names: dict[str, object] = {"__name__": page.stem}
    for block in python_blocks(page):
        exec(compile(block, relative(page), "exec"), names)


@pytest.mark.usefixtures("_unregister")
@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=relative)
def test_code_of_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_blocks(page)


def test_every_page_with_code_has_a_test_that_runs_it():
    elsewhere = {"README.md", "packages/diffenvs/README.md", "packages/rpo/README.md"}  # in the test_readme.py of each
    assert {relative(page) for page in LINKED if python_blocks(page)} == elsewhere | {relative(EXCERPTS)} | {
        relative(page) for page in PAGES if python_blocks(page)
    }
    for page in LINKED:
        assert len(python_blocks(page)) == page.read_text().count("```python"), f"an indented block in {relative(page)}"


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What the headlines of a page are called in links."""
    titles = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", LINKED, ids=relative)
def test_relative_links_lead_to_files_and_headlines(page):
    links = [link.partition("#") for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", prose(page)) if "://" not in link]
    found = [(page.parent / path if path else page, anchor) for path, _, anchor in links]
    assert [path for path, _ in found if not path.exists()] == []
    assert [(path, anchor) for path, anchor in found if anchor and anchor not in anchors(path)] == []
    assert links or page.name != "README.md", "the pattern finds no link"


@pytest.mark.parametrize("name", COMMANDS)
def test_page_of_the_command_line_has_each_command_with_its_summary(name):
    page = runpy.run_path(str(ROOT / "docs/command_line.py"))["sections"]()
    assert f"\n## rpo {name}\n" in page
    assert f"usage: rpo {name} " in page
    assert COMMANDS[name].summary in page


def test_page_of_the_command_line_has_all_options_of_a_training():
    page = runpy.run_path(str(ROOT / "docs/command_line.py"))["sections"]()
    section = page.partition("\n## rpo train\n")[2].partition("\n## ")[0]
    options = {field.name for kind in (TrainOptions, RPOConfig) for field in dataclasses.fields(kind)} - {"config"}
    assert [name for name in sorted(options) if f"--{name.replace('_', '-')}" not in section] == []
    assert "\x1b" not in page


@pytest.mark.parametrize("package", [diffenvs, rpo], ids=lambda package: package.__name__)
def test_reference_has_all_that_a_package_exports(package):
    shown = re.findall(r"^::: (\S+)$", (ROOT / f"docs/api/{package.__name__}.md").read_text(), flags=re.MULTILINE)
    names = {name.rpartition(".")[2] for name in shown} | {
        member for name in shown if name in MODULES for member in vars(importlib.import_module(name))
    }
    assert sorted(set(package.__all__) - names) == []


@pytest.mark.usefixtures("_unregister")
@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_the_docstrings_are_right(name):
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted
    assert not results.failed
