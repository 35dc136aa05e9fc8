"""``facekit eval gates``: where the photometric fit is better than landmarks alone."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import finish, out


class Gate(StrEnum):
    """How far the pictures are from what the fit assumes."""

    A = "a"
    B = "b"
    C = "c"
    D = "d"


def gates(
    gate: Annotated[Gate, typer.Argument(help="a, b, c or d.", metavar="GATE")],
    heads: Annotated[
        Path | None,
        typer.Option(help=".npz of heads of known neutral shape, for c and d.", metavar="FILE"),
    ] = None,
    count: opt.HeadCount = 24,
    yaw: Annotated[str, typer.Option(help="Views of each head, degrees.")] = "0,30",
    samples: Annotated[int, typer.Option(min=20, help="Points of the face compared.")] = 800,
    model: opt.Model = "builtin",
    source: opt.BenchLandmarks = opt.LandmarkSource.BUILTIN,
    size: opt.PictureSize = 512,
    heat: opt.Heat = True,
    seed: opt.Seed = 0,
    output: opt.ReportFolder = None,
    allow_download: opt.AllowDownload = False,
    as_json: opt.Json = False,
) -> int:
    """Score the photometric fit beside the landmark fit, the mean face and the best projection.

    Gate a: heads of the model, its albedo, spherical-harmonics light; b: a skin of their own; c:
    heads of another model; d: cast shadows, highlights, hair and a camera's flaws. Gates c and d
    never use the heads that eval truth --count 50 --seed 0 draws.

    Example: facekit eval gates c --heads heads.npz --json
    """
    from facekit.evaluate.gate_bench import evaluate_gate, gate_rows
    from facekit.evaluate.head_reports import write_head_report
    from facekit.evaluate.truth import TruthOptions, parse_angles

    start = time.monotonic()
    options = TruthOptions(
        count=count,
        yaws_deg=parse_angles(yaw),
        seed=seed,
        model=model,
        landmarks=source.value,
        allow_download=allow_download,
        size=size,
    )
    with out.progress("gates") as progress:
        result = evaluate_gate(
            gate.value, options, heads_file=heads, samples=samples, progress=progress
        )
    document = result.document
    if output is not None:
        write_head_report(output, result.scores, document, result.heads, heat=heat)
    if as_json:
        out.json(document)
    else:
        out.table(["mm", "median", "mean", "std", "count", "missing"], gate_rows(document))
    pair = document["against_landmarks"]
    if pair is not None:
        out.info(
            f"photometric: {pair['mean_difference_mm']:+.3f} mm against landmarks alone "
            f"[{pair['low_mm']:+.3f}, {pair['high_mm']:+.3f}], {pair['relative_percent']:+.1f} %, "
            f"better on {pair['better_on_percent']:.0f} % of {pair['pictures']} pictures"
        )
    return finish(document["metrics"], "pictures", start, output)


def register(app: typer.Typer) -> None:
    """Add the command to ``facekit eval``."""
    app.command("gates")(gates)
