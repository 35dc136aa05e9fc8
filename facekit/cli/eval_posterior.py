"""``facekit eval posterior`` and ``facekit eval conditions``: what a fit says of its own errors."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import out

Heads = Annotated[Path, typer.Option(help=".npz of heads of known neutral shape.", metavar="FILE")]
Photometric = Annotated[
    bool, typer.Option("--photometric", help="Also fit the pixels' shading, as a second method.")
]
Development = Annotated[
    bool,
    typer.Option(
        "--development", help="Use heads that eval truth --count 50 --seed 0 does not draw."
    ),
]
Source = Annotated[opt.LandmarkSource, typer.Option("--landmarks", help="Boxes and landmarks.")]
Size = Annotated[int, typer.Option(min=64, max=4096, help="Side of the pictures, px.")]
Report = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder for the report.", metavar="DIR")
]
_SHARES = ("within_1", "within_2", "error_mm", "expected_mm", "rank")
_ROW = (
    "count",
    "missing",
    "now_mm",
    "mean_face_mm",
    "ratio_percent",
    "ratio_low",
    "ratio_high",
    "place_mm",
    "bad_percent",
    "flagged_percent",
)


def posterior(
    heads: Heads,
    count: Annotated[int, typer.Option(min=4, help="Heads.")] = 50,
    yaw: Annotated[str, typer.Option(help="Views of each head, degrees.")] = "0,22,45",
    photometric: Photometric = False,
    network: opt.TruthNetwork = "none",
    development: Development = False,
    model: opt.Model = "builtin",
    source: Source = opt.LandmarkSource.BUILTIN,
    size: Size = 512,
    heat: opt.Heat = True,
    seed: opt.Seed = 0,
    output: Report = None,
    allow_download: opt.AllowDownload = False,
    as_json: opt.Json = False,
) -> int:
    """Do the stated deviations hold: how many errors lie within one and two of them.

    The errors are those of the neutral shape by NoW's alignment and distance. Beside the shipped
    deviations, what the model cannot express is estimated on every other head and tested on the
    rest. Also: the rank correlation over heads of the error that the deviations expect and the
    true one. With -o, calibration.png has all shares, curve.png the errors, and the pictures under
    heat/ and stated/ the errors and the stated deviations on each head.

    Example: facekit eval posterior --heads heads.npz --photometric -o report
    """
    from facekit.evaluate.heads import read_heads
    from facekit.evaluate.posterior import evaluate_posterior
    from facekit.evaluate.posterior_report import write_posterior_report
    from facekit.evaluate.truth import TruthOptions, parse_angles
    from facekit.morphable import load_model

    start = time.monotonic()
    options = TruthOptions(
        count=count,
        yaws_deg=parse_angles(yaw),
        seed=seed,
        model=model,
        landmarks=source.value,
        allow_download=allow_download,
        size=size,
        network=network,
        photometric=photometric,
    )
    with out.progress("posterior") as progress:
        result = evaluate_posterior(heads, options, development=development, progress=progress)
    document = result.document
    if output is not None:
        known = load_model(model)
        write_posterior_report(output, result, known, read_heads(heads), heat=heat)
    if as_json:
        out.json(document)
    else:
        rows = [
            [
                row["deviations"],
                row["method"],
                "all" if row["yaw_deg"] is None else row["yaw_deg"],
                *(_shown(row[name]) for name in _SHARES),
                f"{_shown(row['rank_low'])} to {_shown(row['rank_high'])}",
            ]
            for row in document["rows"]
        ]
        out.table(["deviations", "method", "yaw", *_SHARES, "rank 95 %"], rows)
        out.info(f"estimated on half of the heads: {document['estimated']}")
    metrics = document["metrics"]
    missing = f", {metrics['missing']} missing" if metrics["missing"] else ""
    where = f" -> {output}" if output is not None else ""
    out.info(f"{len(result.items)} fits{missing} in {time.monotonic() - start:.1f} s{where}")
    return 5 if metrics["missing"] else 0


def conditions(
    heads: Heads,
    count: Annotated[int, typer.Option(min=2, help="Heads.")] = 50,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--condition",
            help="profile, small, occluded, coloured or cropped; repeat for more. Default: all.",
        ),
    ] = None,
    photometric: Photometric = False,
    network: opt.TruthNetwork = "none",
    development: Development = False,
    learn: Annotated[
        bool, typer.Option("--learn", help="Also print the quality's weights learned from these.")
    ] = False,
    model: opt.Model = "builtin",
    source: Source = opt.LandmarkSource.BUILTIN,
    size: Size = 512,
    seed: opt.Seed = 0,
    output: Report = None,
    allow_download: opt.AllowDownload = False,
    as_json: opt.Json = False,
) -> int:
    """What hard pictures do to a fit: yaw 75, 40-px faces, covered, coloured light, wrong crops.

    Each fit is compared with the mean face on the same head; flagged are those of a quality under
    0.5. Bad is a fit whose shape or place is more than twice as wrong as is usual on plain
    pictures; how well the quality tells these apart is the area under the ROC curve.

    Example: facekit eval conditions --heads heads.npz --photometric --count 50
    """
    import numpy as np

    from facekit.evaluate.condition_bench import evaluate_conditions
    from facekit.evaluate.conditions import CONDITIONS
    from facekit.evaluate.reports import write_error_report
    from facekit.evaluate.truth import TruthOptions

    start = time.monotonic()
    options = TruthOptions(
        count=count,
        seed=seed,
        model=model,
        landmarks=source.value,
        allow_download=allow_download,
        size=size,
        network=network,
        photometric=photometric,
    )
    with out.progress("conditions") as progress:
        items, document = evaluate_conditions(
            heads,
            options,
            conditions=only or CONDITIONS,
            development=development,
            progress=progress,
        )
    if output is not None:
        errors: dict[str, list[float]] = {}
        for item in items:
            if not item.reason:
                errors.setdefault(f"{item.method}, {item.condition}", []).append(item.now_mm)
        lines = {name: np.array(values) for name, values in errors.items()}
        write_error_report(output, document, lines, limit=3.0, what="median distance", unit="mm")
    if as_json:
        out.json(document)
    else:
        out.table(
            ["method", "condition", *_ROW],
            [
                [row["method"], row["condition"], *(_shown(row.get(name)) for name in _ROW)]
                for row in document["rows"]
            ],
        )
    for kind, text in (("quality", "quality"), ("halves", "learned on the other half")):
        for row in document[kind]:
            areas = ", ".join(
                f"{name} {row[name]:.3f}"
                for name in ("judged", "occluded", "small", "cropped", "all")
                if row.get(name) is not None
            )
            out.info(
                f"{row['method']}, {text}: area under the ROC curve {areas} "
                f"({row['bad_by_place']} of {row['fits']} bad by place, "
                f"{row['bad_by_shape']} by shape)"
            )
    if learn:
        out.info(f"weights learned from these fits: {document['learned']}")
    where = f" -> {output}" if output is not None else ""
    refused = sum(bool(item.reason) for item in items)
    out.info(
        f"{len(items)} fits, {refused} of them refused, in {time.monotonic() - start:.1f} s{where}"
    )
    return 0


def _shown(value: object) -> object:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else value


def register(app: typer.Typer) -> None:
    """Add the commands to ``facekit eval``."""
    app.command("posterior")(posterior)
    app.command("conditions")(conditions)
