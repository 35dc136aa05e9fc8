"""Imports point downwards only: the architecture page's order, enforced."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "facekit"

# Top first. Modules of one line do not import each other.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"health"},
    {"evaluate"},
    {"track"},
    {"texture", "volume"},
    {"train"},
    {"basis"},
    {"fit", "capture"},
    {"simulate"},
    {"learn"},
    {"export"},
    {"networks", "detect"},
    {"render"},
    {"morphable"},
    {"runs", "config"},
    {"io"},
    {"metrics"},
    {"geometry"},
    {"types"},
    {"checks"},
    {"threads", "errors"},
    {"assets", "__init__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def top(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def facekit_imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "facekit")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "facekit":
            if node.module == "facekit":
                yield from (
                    f"facekit.{a.name}" if a.name in RANK else "facekit" for a in node.names
                )
            else:
                yield node.module


def violations(path: Path, owner: str) -> list[str]:
    found = []
    for module in facekit_imports(path):
        target = top(module)
        if target == owner:
            continue
        if RANK[target] <= RANK[owner]:
            found.append(f"{path.name} ({owner}) imports {module}")
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_package_has_a_place():
    names = {
        top(".".join(("facekit", *p.relative_to(PACKAGE).with_suffix("").parts))) for p in FILES
    }
    assert names <= set(RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    owner = path.relative_to(PACKAGE).with_suffix("").parts[0]
    assert violations(path, owner) == []


def test_an_upward_import_is_found(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("from facekit.fit import landmark\nfrom facekit import cli\n")
    assert len(violations(bad, "geometry")) == 2


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_command_line_knows_typer_and_rich(path):
    owner = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if owner in ("cli", "__main__"):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not modules & {"typer", "rich"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_stay_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
