"""Write an evaluation to a folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facekit.io.atomic import make_folder, write_json, write_text
from facekit.metrics.distances import cumulative_curve

# The benchmark's own plots go to 8 mm.
_CURVE_MM = np.linspace(0, 8, 401)


def write_report(
    folder: Path, document: dict[str, Any], *, distances: Sequence[np.ndarray] | None = None
) -> list[Path]:
    """Write ``report.json``, its ``items`` as ``items.csv``, and with distances ``curve.csv``.

    The curve's rows are error in mm and the percentage of all distances (mm) at or below it.

    Raises:
        InputError: the folder cannot be made or written.
    """
    make_folder(folder)
    written = [write_json(folder / "report.json", document)]
    if document.get("items"):
        written.append(write_text(folder / "items.csv", rows_csv(document["items"])))
    if distances is not None:
        pooled = np.concatenate(list(distances)) if distances else np.zeros(0, np.float32)
        curve = cumulative_curve(pooled, _CURVE_MM)
        rows = [f"{e:.2f},{p:.4f}" for e, p in zip(curve.error, curve.percent, strict=True)]
        written.append(write_text(folder / "curve.csv", "\n".join(["error_mm,percent", *rows, ""])))
    return written


def rows_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV text: a column for every key that any of them has.

    A list of plain values is joined by semicolons, deeper ones are JSON, None is empty.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(key)) for key in columns])
    return buffer.getvalue()


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)) and not any(isinstance(v, (list, dict)) for v in value):
        return "; ".join(str(v) for v in value)
    return json.dumps(value) if isinstance(value, (dict, list, tuple)) else value
