"""Write docs/reference.md from every command's --help; with --check, say whether it is stale."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("reference.md")


def help_of(path: list[str]) -> str:
    from facekit.cli.main import run

    buffer = io.StringIO()
    # A fixed width, so that the page does not depend on the terminal.
    os.environ["COLUMNS"] = os.environ["TERMINAL_WIDTH"] = "88"
    with contextlib.redirect_stdout(buffer):
        run([*path, "--help"])
    return "\n".join(line.rstrip() for line in buffer.getvalue().strip().splitlines())


def command_paths() -> list[list[str]]:
    """Every command, groups before their members, in the order of ``--help``."""
    import typer.main

    from facekit.cli.main import app

    def walk(command, path):
        yield path
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(child, [*path, name])

    return list(walk(typer.main.get_command(app), []))


def make_page() -> str:
    parts = ["# Command reference", "", "Generated from `--help` by `docs/make_reference.py`."]
    for path in command_paths():
        title = " ".join(["facekit", *path])
        parts += ["", f"## {title}", "", "```", help_of(path), "```"]
    return "\n".join(parts) + "\n"


def main() -> int:
    page = make_page()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") != page:
            sys.stderr.write("docs/reference.md is stale: run python docs/make_reference.py\n")
            return 1
        return 0
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
