"""Sessions: tests (default), lint, types, docs, examples, bench, build."""

import os
import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["tests"]
nox.options.reuse_existing_virtualenvs = True

PYPROJECT = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, *groups: str, extras: str = "") -> None:
    for group in groups:
        session.install(*nox.project.dependency_groups(PYPROJECT, group))
    session.install("-e", f".{extras}")


def fresh_numba_cache(session: nox.Session) -> None:
    # A cached kernel that calls one of another file keeps its old callee after an edit.
    session.env["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="numba-", dir=session.create_tmp())


@nox.session
def tests(session: nox.Session) -> None:
    install(session, "test")
    fresh_numba_cache(session)
    session.env["OMP_NUM_THREADS"] = "1"
    session.run("python", "-m", "pytest", "-n", str(os.cpu_count() or 1), *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    install(session, "types")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    install(session, "docs")
    session.run("python", "docs/make_reference.py", "--check")
    session.run("mkdocs", "build", "--strict")


@nox.session
def examples(session: nox.Session) -> None:
    install(session)
    folder = session.create_tmp()
    for script in sorted(Path("examples").glob("*.py")):
        session.run("python", str(script), folder)


@nox.session
def bench(session: nox.Session) -> None:
    install(session, "test")
    session.run("python", "-m", "pytest", "tests/benchmarks", "-m", "", "--benchmark-only")


@nox.session
def build(session: nox.Session) -> None:
    session.install("build")
    folder = session.create_tmp()
    session.run("python", "-m", "build", "--wheel", "--outdir", folder)
    wheel = max(Path(folder).glob("*.whl"), key=lambda path: path.stat().st_mtime)
    session.install("--force-reinstall", str(wheel))
    session.run("facekit", "--help")
