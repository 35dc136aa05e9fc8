"""``facekit eval scan``: reconstructed scans against the true surface."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.output import out


def scan(
    scans: Annotated[
        list[Path],
        typer.Argument(help="Folders of facekit sfm, or mesh files in mm.", metavar="SCANS…"),
    ],
    truth: Annotated[
        Path,
        typer.Option(
            help="True mesh (mm), or a subject's folder in a stage's truth.", metavar="PATH"
        ),
    ],
    align: Annotated[
        bool,
        typer.Option("--align/--no-align", help="Move each scan onto the truth rigidly first."),
    ] = True,
    as_json: opt.Json = False,
) -> int:
    """Measure scans against the true surface: accuracy and completeness of the visible face.

    Accuracy is the distance of the scan's vertices from the truth; completeness that of the
    truth from the scan, and the share within 1 mm. With a stage's truth both are of the face's
    skin that three cameras see.

    Example: facekit eval scan scan --truth stage/truth/s000
    """
    from facekit.errors import ItemError
    from facekit.evaluate.capture import SCHEMA, evaluate_scan, read_truth

    known = read_truth(truth)
    items: list[dict[str, Any]] = []
    failed = 0
    for path in scans:
        try:
            items.append({"scan": str(path), **evaluate_scan(path, known, align=align)})
        except ItemError as error:
            failed += 1
            items.append({"scan": str(path), "error": str(error)})
            out.warn(f"{path}: {error}")
    good = [item for item in items if "error" not in item]
    if as_json:
        names = [key for key in (good[0] if good else {}) if key != "scan"]
        metrics = {key: sum(item[key] for item in good) / len(good) for key in names}
        out.json({"schema": SCHEMA, "metrics": metrics, "items": items})
    else:
        names = ["accuracy_median", "accuracy_p95", "completeness_within_mm", "landmarks_mean"]
        rows = [[item["scan"], *[item.get(key, "") for key in names]] for item in good]
        out.table(["scan", *names], rows)
    return 5 if failed else 0


def register(app: typer.Typer) -> None:
    """Add the command to ``facekit eval``."""
    app.command("scan")(scan)
