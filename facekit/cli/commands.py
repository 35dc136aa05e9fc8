"""Which commands exist; command path = file path."""

from __future__ import annotations

import typer

from facekit.cli import doctor


def register(app: typer.Typer) -> None:
    """Add every command to the root application."""
    app.command("doctor")(doctor.doctor)
