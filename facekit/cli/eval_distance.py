"""``facekit eval distance``: how well a photograph tells how far away its face is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import out

_COLUMNS = (
    "distance_mm",
    "error_percent",
    "p90_percent",
    "bias_percent",
    "coverage_percent",
    "interval_ratio",
    "shape_mm",
    "shape_ratio",
    "missing",
)


def distance(
    heads: Annotated[
        Path | None,
        typer.Option(
            help=".npz of heads of known neutral shape; without it heads of the model.",
            metavar="FILE",
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Heads.")] = 12,
    distances: Annotated[
        str, typer.Option(help="Camera to the bridge between the eyes, mm.")
    ] = "250,300,400,600,1000,2000",
    noise: Annotated[
        float, typer.Option(help="Noise of the noisy landmarks, % of the eyes' distance.", min=0)
    ] = 1.5,
    landmarks: Annotated[
        str, typer.Option(help="Detector on rendered pictures, or none: render nothing.")
    ] = "builtin",
    model: opt.Model = "builtin",
    size: Annotated[int, typer.Option(min=64, max=4096, help="Side of the pictures, px.")] = 512,
    seed: opt.Seed = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the report.", metavar="DIR")
    ] = None,
    allow_download: opt.AllowDownload = False,
    as_json: opt.Json = False,
) -> int:
    """Score distance, its 90 % interval and the shape of heads seen from near and far.

    The same head fills the same part of each picture: only perspective tells the distance. Exact
    landmarks, noisy ones and a detector's are fitted with the focal length estimated and known.

    Example: facekit eval distance --heads heads.npz --json
    """
    import numpy as np

    from facekit.evaluate.distance import DistanceOptions, evaluate_distance
    from facekit.evaluate.reports import write_error_report
    from facekit.evaluate.truth import parse_angles

    start = time.monotonic()
    options = DistanceOptions(
        count=count,
        distances_mm=parse_angles(distances),
        noise=noise / 100,
        seed=seed,
        model=model,
        landmarks=landmarks,
        allow_download=allow_download,
        size=size,
    )
    with out.progress("distance") as progress:
        items, document = evaluate_distance(options, heads_file=heads, progress=progress)
    if output is not None:
        errors: dict[str, list[float]] = {}
        for item in items:
            error = 100 * abs(item.found_mm / item.distance_mm - 1)
            errors.setdefault(f"{item.labeller}, {item.focal}", []).append(error)
        lines = {name: np.array(values) for name, values in errors.items()}
        write_error_report(
            output, document, lines, limit=50.0, what="error of the distance", unit="%"
        )
    if as_json:
        out.json(document)
    else:
        rows: list[list[object]] = [
            [row["labeller"], row["focal"], *(_shown(row.get(name)) for name in _COLUMNS)]
            for row in document["rows"]
        ]
        out.table(["landmarks", "focal", *_COLUMNS], rows)
    missing = sum(row["missing"] for row in document["rows"])
    where = f" -> {output}" if output is not None else ""
    out.info(
        f"{count} heads at {len(options.distances_mm)} distances in "
        f"{time.monotonic() - start:.1f} s{where}"
    )
    return 5 if missing else 0


def _shown(value: object) -> object:
    if value is None:
        return "-"
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else (round(value) if isinstance(value, float) else value)
    )


def register(app: typer.Typer) -> None:
    """Add the command to ``facekit eval``."""
    app.command("distance")(distance)
