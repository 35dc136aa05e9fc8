"""``facekit eval albedo``: fitted skin colour on rendered heads with a skin of their own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.output import out


def albedo(
    count: Annotated[int, typer.Option(min=1, help="Heads, one picture each.")] = 60,
    size: Annotated[int, typer.Option(min=64, max=4096, help="Side of the pictures, px.")] = 400,
    yaw: Annotated[float, typer.Option(min=0, max=80, help="Largest yaw, degrees.")] = 30.0,
    model: opt.Model = "builtin",
    source: Annotated[
        opt.LandmarkSource, typer.Option("--landmarks", help="Boxes and landmarks.")
    ] = opt.LandmarkSource.BUILTIN,
    seed: opt.Seed = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the report.", metavar="DIR")
    ] = None,
    as_json: opt.Json = False,
) -> int:
    """Compare fitted skin colour and the model's mean with the paint of rendered heads.

    The skins are procedural and no model's albedo; shadows, highlights, hair and a camera's flaws
    are in the pictures. Errors are root mean squares of linear RGB over the skin that is seen.

    Example: facekit eval albedo --model coloured.npz --json
    """
    from facekit.evaluate.albedo import AlbedoOptions, evaluate_albedo
    from facekit.evaluate.reports import write_report

    start = time.monotonic()
    options = AlbedoOptions(
        count=count, size=size, yaw_deg=yaw, seed=seed, model=model, landmarks=source.value
    )
    with out.progress("albedo") as progress:
        document = evaluate_albedo(options, progress=progress)
    if output is not None:
        write_report(output, document)
    if as_json:
        out.json(document)
    else:
        out.table(
            ["skin", "fitted", "mean", "ratio", "pattern ratio", "count"],
            [
                _row(name, part)
                for name, part in {"all": document["metrics"], **document["groups"]}.items()
            ],
        )
    out.info(f"{count} heads in {time.monotonic() - start:.0f} s")
    return 0


def _row(name: str, part: dict[str, Any]) -> list[object]:
    keys = ("fitted", "mean_albedo", "ratio", "ratio_pattern", "count")
    return [name, *(part[key] for key in keys)]


def register(app: typer.Typer) -> None:
    """Add the command to ``facekit eval``."""
    app.command("albedo")(albedo)
