"""``facekit doctor``: what is installed, what works, what is missing and how to get it."""

from __future__ import annotations

from typing import Annotated

import typer

from facekit.cli.output import out


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Say what is installed, what works, what is missing and the command that gets it.

    Exit code 0 when everything the default commands need works, 4 when something is missing.

    Example: facekit doctor
    """
    from facekit import health

    checks = health.examine()
    if as_json:
        out.json({"schema": "facekit.doctor/1", "checks": [check._asdict() for check in checks]})
    else:
        out.table(
            ["", "what", "found", "to get it"],
            [["ok" if c.ok else "--", c.name, c.found, "" if c.ok else c.fix] for c in checks],
        )
    broken = [check.name for check in checks if check.required and not check.ok]
    if broken:
        out.error(f"the default commands need: {', '.join(broken)}")
        return 4
    out.info("everything the default commands need is here")
    return 0
