"""The documentation names every command and is not stale."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load(DOCS / "make_reference.py")
PATHS = [path for path in reference.command_paths() if path]


def test_the_reference_page_is_fresh(monkeypatch):
    monkeypatch.setenv("COLUMNS", "88")
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert page == reference.make_page(), "run python docs/make_reference.py"


@pytest.mark.parametrize("name", sorted({path[0] for path in PATHS}))
def test_every_command_has_a_page_with_an_example(name):
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert f"facekit {name}" in page


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_command_has_help_with_an_example(path):
    text = reference.help_of(path)
    if "COMMAND [ARGS]" in text:
        return
    assert re.search(r"Example: facekit", text)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_readme_has_the_two_lines():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "pip install -e . && facekit samples photos && facekit fit photos -o out" in readme
    assert "pip install nox && nox" in readme
    assert "pip install -q nox && nox" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
