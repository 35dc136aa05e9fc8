"""``facekit eval landmarks`` and ``boxes``: one or several detectors against the truth."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.eval_compare import named_predictions
from facekit.cli.output import out
from facekit.errors import UsageError

_Report = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for the report and the curves.", metavar="DIR"),
]
Detectors = Annotated[
    list[opt.LandmarkSource] | None,
    typer.Option(
        "--landmarks", help="Detector to score (default builtin); repeat to compare several."
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(help="Portraits: better labels than those in the folder.", metavar="DIR"),
]
_COLUMNS = ("median", "mean", "std", "count", "missing")


class Split(StrEnum):
    """Which persons of the portraits."""

    HELD_OUT = "held_out"
    VALIDATION = "validation"
    TRAIN = "train"
    ALL = "all"


class Normalise(StrEnum):
    """What an error is divided by."""

    EYES = "eyes"
    BOX = "box"


Persons = Annotated[
    Split | None,
    typer.Option(help="Portraits: which persons; held_out (the default) were never trained on."),
]


def landmarks(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Images with known points: landmarks.npz, labels_<set>.npz, truth/, or files "
            "beside them.",
            metavar="DIR",
        ),
    ],
    sources: Detectors = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            help="Score what 'facekit landmarks -o' wrote: a folder, or NAME=FOLDER; repeat to "
            "compare several.",
            metavar="DIR",
        ),
    ] = None,
    labels: Labels = None,
    split: Persons = None,
    normalise: Annotated[
        Normalise,
        typer.Option(help="Errors over the outer-eye distance, or the box's diagonal (profiles)."),
    ] = Normalise.EYES,
    max_yaw: Annotated[
        float | None,
        typer.Option(min=0, help="Only faces turned by at most so many degrees.", metavar="DEG"),
    ] = None,
    groups: Annotated[
        bool, typer.Option("--groups", help="Also print rows by yaw, size and skin tone.")
    ] = False,
    jitter: Annotated[
        bool,
        typer.Option(
            "--jitter", help="Also how far points move on a still 128-px face under noise."
        ),
    ] = False,
    output: _Report = None,
    allow_download: opt.AllowDownload = False,
    as_json: opt.Json = False,
) -> int:
    """Score landmarks against known points, in percent of the outer-eye distance.

    An image without a face counts as a miss and as a failure (over 10 %). Several detectors are
    compared on the points that all of them have, with an interval for each difference.

    Example: facekit eval landmarks validation_faces --landmarks builtin --landmarks mediapipe
    """
    from facekit.evaluate.jitter import measure_jitter
    from facekit.evaluate.landmark_groups import turned_at_most
    from facekit.evaluate.landmark_report import write_landmark_report
    from facekit.evaluate.landmarks import (
        SavedLandmarks,
        compare_landmarks,
        evaluate_landmarks,
        read_landmark_truth,
    )

    start = time.monotonic()
    truth = read_landmark_truth(folder, labels=labels, split=None if split is None else split.value)
    if max_yaw is not None:
        truth = turned_at_most(truth, max_yaw)
    detectors = open_detectors(sources, allow_download, default=not predictions)
    saved = named_predictions(predictions, False) if predictions else {}
    for name, path in saved.items():
        detectors.append(SavedLandmarks(path, name=name))
    chosen = {"normalise": normalise.value}
    with out.progress("landmarks") as progress:
        if len(detectors) == 1:
            document = evaluate_landmarks(truth, detectors[0], **chosen, progress=progress)
            documents = {detectors[0].name: document}
        else:
            document = compare_landmarks(truth, detectors, **chosen, progress=progress)
            documents = document["detectors"]
    if jitter:
        with out.progress("jitter") as progress:
            moved = measure_jitter(truth, detectors, progress=progress)
        for one, figures in zip(documents.values(), moved, strict=True):
            one["jitter"] = figures
    for name, one in documents.items():
        said = "" if len(documents) == 1 else f"{name}: "
        for item in one["items"]:
            if item["missing"]:
                out.warn(f"{said}{item['image']}: {item['error']}")
    if output is not None:
        write_landmark_report(output, document)
    if as_json:
        out.json(document)
    else:
        headers = ["%", *_COLUMNS, "failures %", "auc", "recall %", "false/image"]
        headers += ["jitter px"] * jitter
        rows = [row for name, one in documents.items() for row in _rows(name, one, groups)]
        out.table(headers, rows)
    protocol = document["protocol"]
    out.info(f"{protocol['unit']}, {len(protocol['points'])} points of {protocol['set']}")
    for name, difference in document.get("comparisons", {}).items():
        out.info(_sentence(name, difference))
    missing = sum(one["metrics"]["missing"] for one in documents.values())
    counted = f"{len(truth.images)} images" + (f", {missing} missing" if missing else "")
    where = f" -> {output}" if output is not None else ""
    out.info(f"{counted} in {time.monotonic() - start:.1f} s{where}")
    return 5 if missing else 0


def boxes(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of labelled portraits or renders that collages are drawn from.",
            metavar="[DIRS…]",
        ),
    ] = None,
    sources: Detectors = None,
    no_faces: Annotated[
        list[str] | None,
        typer.Option(
            "--no-faces",
            help="Images without faces: a folder, 'skimage' (its faceless photographs) or 'drawn' "
            "(textures and pieces); repeat for more.",
            metavar="WHAT",
        ),
    ] = None,
    labels: Labels = None,
    split: Persons = None,
    count: Annotated[int, typer.Option(min=1, help="Collages, and 'drawn' images.")] = 240,
    size: Annotated[int, typer.Option(min=64, max=4096, help="Their side in pixels.")] = 256,
    seed: opt.Seed = 0,
    output: _Report = None,
    allow_download: opt.AllowDownload = False,
    as_json: opt.Json = False,
) -> int:
    """Count faces found and false positives on collages of held-out persons, and where none are.

    Recall by size, yaw and roll, average precision, false positives per image; on images without
    faces every detection is a false positive.

    Example: facekit eval boxes portraits --no-faces skimage --no-faces drawn --json
    """
    from facekit.evaluate.boxes import compare_boxes, evaluate_boxes, open_scored
    from facekit.evaluate.landmark_truth import read_portraits
    from facekit.evaluate.reports import write_report
    from facekit.evaluate.scenes import collages, faceless_sets

    start = time.monotonic()
    if not folders and not no_faces:
        raise UsageError("eval boxes: give folders of portraits, --no-faces, or both")
    if not folders and (labels is not None or split is not None):
        raise UsageError("eval boxes: --labels and --split are for folders of portraits")
    names = [source.value for source in sources or [opt.LandmarkSource.BUILTIN]]
    detectors = {n: open_scored(n, allow_download=allow_download) for n in dict.fromkeys(names)}
    portraits, scenes = None, []
    if folders:
        persons = None if split is None else split.value
        portraits = read_portraits(list(folders), labels=labels, split=persons)
        scenes = list(collages(portraits, count=count, size=size, seed=seed))
    empty = faceless_sets(no_faces or [], count=count, size=size, seed=seed, portraits=portraits)
    said = {"count": count, "size": size, "seed": seed}
    with out.progress("boxes") as progress:
        if len(detectors) == 1:
            (name, scored) = next(iter(detectors.items()))
            document = evaluate_boxes(
                scenes, scored, no_faces=empty, protocol=said, progress=progress
            )
            documents = {name: document}
        else:
            document = compare_boxes(
                scenes, detectors, no_faces=empty, protocol=said, progress=progress
            )
            documents = document["detectors"]
    unreadable = sorted(
        f"{item['image']}: {item['error']}"
        for one in next(iter(documents.values()))["no_faces"].values()
        for item in one["items"]
        if "error" in item
    )
    for line in unreadable:
        out.warn(line)
    if output is not None:
        write_report(output, document)
    if as_json:
        out.json(document)
    else:
        headers = ["detector", "images", "faces", "recall %", "false", "false/image", "ap"]
        out.table(headers, [row for n, one in documents.items() for row in _box_rows(n, one)])
    images = len(scenes) + sum(len(one) for one in empty.values())
    where = f" -> {output}" if output is not None else ""
    out.info(f"{images} images in {time.monotonic() - start:.1f} s{where}")
    return 5 if unreadable else 0


def open_detectors(
    sources: list[opt.LandmarkSource] | None, allow_download: bool, *, default: bool = True
) -> list[Any]:
    """Open the detectors named, each once, or the default one."""
    from facekit.detect import open_detector

    names = [source.value for source in sources or ([opt.LandmarkSource.BUILTIN] * default)]
    return [open_detector(n, allow_download=allow_download) for n in dict.fromkeys(names)]


def register(app: typer.Typer) -> None:
    """Add the commands to ``facekit eval``."""
    app.command("landmarks")(landmarks)
    app.command("boxes")(boxes)


def _rows(name: str, document: dict[str, Any], groups: bool) -> list[list[object]]:
    """Return a detector's row, and one for each group when asked."""

    def cells(metrics: dict[str, Any]) -> list[object]:
        return [*(metrics[c] for c in _COLUMNS), metrics["failure_percent"], metrics["auc"]]

    boxes = document["boxes"]
    first = [name, *cells(document["metrics"]), boxes["recall_percent"], boxes["false_per_image"]]
    first += [document["jitter"]["rms_px"]] if "jitter" in document else []
    rows = [first]
    if groups:
        rest = [""] * ("jitter" in document) + ["", ""]
        rows += [[f"  {g}", *cells(one), *rest] for g, one in document["groups"].items()]
    return [["-" if cell is None else cell for cell in row] for row in rows]


def _box_rows(name: str, document: dict[str, Any]) -> list[list[object]]:
    """Return a detector's rows: all collages, its groups, and each set without faces."""
    metrics, rows = document["metrics"], []
    if metrics["images"]:
        false = [metrics[c] for c in ("false_positives", "false_per_image", "average_precision")]
        rows.append([name, metrics["images"], metrics["count"], metrics["recall_percent"], *false])
        for group, one in document["groups"].items():
            rows.append([f"  {group}", "", one["count"], one["recall_percent"], "", "", ""])
    for title, one in document["no_faces"].items():
        false = [one["false_positives"], one["false_per_100_images"] / 100]
        rows.append([f"{name}, {title}", one["images"], 0, "-", *false, "-"])
    return [["-" if cell is None else cell for cell in row] for row in rows]


def _sentence(name: str, difference: dict[str, Any]) -> str:
    against = difference["against"]
    if not difference["images"]:
        return f"{name} against {against}: no image was found by both"
    return (
        f"{name} against {against}: {difference['mean_difference']:+.3f} "
        f"[{difference['low']:+.3f}, {difference['high']:+.3f}] on {difference['images']} images"
    )
