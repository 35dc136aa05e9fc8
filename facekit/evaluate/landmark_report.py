"""The files of a landmark evaluation: its document, and the cumulative errors of every detector."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from facekit.evaluate.reports import curves_csv, write_report
from facekit.export.curves import draw_curves
from facekit.io.atomic import write_text

# Right end of the curves: the error from which an image is a failure.
LIMIT_PERCENT = 10.0


def write_landmark_report(folder: Path, document: dict[str, Any]) -> list[Path]:
    """Write ``report.json``, ``items.csv``, ``curve.csv`` and ``curve.png``.

    ``items.csv`` has a row an image and a column with each detector's error (empty: missed). The
    curves are the percentage of all images whose error is at or below the x axis' value; a
    missed image never counts.

    Args:
        folder: made when it is not there.
        document: of ``evaluate_landmarks`` or ``compare_landmarks``.

    Raises:
        InputError: the folder cannot be made or written.
    """
    documents = document.get("detectors", {"error": document})
    errors = {name: _errors(one) for name, one in documents.items()}
    written = write_report(folder, document, items=False)
    written.append(write_text(folder / "items.csv", _items_csv(documents)))
    named = errors if "detectors" in document else {"percent": errors["error"]}
    text = curves_csv("error_percent", named, limit=LIMIT_PERCENT, count=201)
    written.append(write_text(folder / "curve.csv", text))
    written.append(
        draw_curves(
            folder / "curve.png",
            errors,
            limit=LIMIT_PERCENT,
            xlabel=f"error of an image, {document['protocol']['unit']}",
            title="landmarks: share of images at or below",
        )
    )
    return written


def _errors(document: dict[str, Any]) -> np.ndarray:
    """Return every image's error; a missed image's is beyond any limit."""
    values = [item["mean"] for item in document["items"]]
    return np.array([np.finfo(float).max if value is None else value for value in values])


def _items_csv(documents: dict[str, Any]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", *documents])
    columns = [[item["mean"] for item in one["items"]] for one in documents.values()]
    images = [item["image"] for item in next(iter(documents.values()))["items"]]
    for image, *values in zip(images, *columns, strict=True):
        writer.writerow([image, *("" if value is None else value for value in values)])
    return buffer.getvalue()
