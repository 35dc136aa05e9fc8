"""``facekit eval sets``: what further photographs of a person bring."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import out


def sets(
    heads: Annotated[
        Path, typer.Option(help=".npz of heads of known neutral shape.", metavar="FILE")
    ],
    count: Annotated[int, typer.Option(min=0, help="Heads drawn from it; 0 takes all.")] = 24,
    photos: Annotated[str, typer.Option(help="Photographs of a set.")] = "1,2,4,8",
    yaw: Annotated[
        float, typer.Option(help="Yaws are spread over plus and minus this.", min=0, max=80)
    ] = 45.0,
    photometric: Annotated[
        bool, typer.Option("--photometric", help="Also score the joint fit of the pixels.")
    ] = False,
    network: Annotated[
        str, typer.Option(help="As in facekit fit: auto, none, or a file.", metavar="NAME")
    ] = "auto",
    model: opt.Model = "builtin",
    source: opt.BenchLandmarks = opt.LandmarkSource.BUILTIN,
    size: opt.PictureSize = 512,
    heat: opt.Heat = True,
    seed: opt.Seed = 0,
    output: opt.ReportFolder = None,
    allow_download: opt.AllowDownload = False,
    as_json: opt.Json = False,
) -> int:
    """Photograph heads of known shape several times, fit each as one person, and score the shape.

    Light, lens, background, camera flaws and the expression's strength differ between the
    photographs of a head. Beside the set: the mean face, the landmark fit of the first photograph
    alone, and the model's best projection of the true shape.

    Example: facekit eval sets --heads heads.npz --count 24 --photos 1,2,4,8 --json
    """
    from facekit.evaluate.head_reports import write_head_report
    from facekit.evaluate.heads import read_heads
    from facekit.evaluate.image_sets import by_size, evaluate_sets, set_rows
    from facekit.evaluate.truth import TruthOptions, parse_angles

    start = time.monotonic()
    options = TruthOptions(
        count=count,
        seed=seed,
        model=model,
        landmarks=source.value,
        allow_download=allow_download,
        size=size,
    )
    with out.progress("sets") as progress:
        result = evaluate_sets(
            heads,
            options,
            photos=[int(number) for number in parse_angles(photos)],
            limit_deg=yaw,
            photometric=photometric,
            network=network,
            progress=progress,
        )
    document = result.document
    for item in document["items"]:
        if item["missing"]:
            out.warn(
                f"head {item['head']:03d}, {item['photos']} photographs, {item['method']}: "
                f"{item['error']}"
            )
    if output is not None:
        scores = by_size(result.scores)
        write_head_report(output, scores, document, read_heads(heads), view=None, heat=heat)
    if as_json:
        out.json(document)
    else:
        columns = ["photos", "mm", "median", "mean", "missing", "% of mean face", "low", "high"]
        out.table([*columns, "better on %"], set_rows(document))
    metrics = document["metrics"]
    where = f" -> {output}" if output is not None else ""
    out.info(f"{metrics['count']} heads in {time.monotonic() - start:.1f} s{where}")
    return 5 if any(item["missing"] for item in document["items"]) else 0


def register(app: typer.Typer) -> None:
    """Add the command to ``facekit eval``."""
    app.command("sets")(sets)
