"""Write an evaluation to a folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facekit.export.curves import draw_curves
from facekit.io.atomic import make_folder, write_json, write_text
from facekit.metrics.distances import cumulative_curve

# The benchmark's own plots go to 8 mm.
_CURVE_MM = np.linspace(0, 8, 401)


def write_report(
    folder: Path,
    document: dict[str, Any],
    *,
    distances: Sequence[np.ndarray] | None = None,
    items: bool = True,
) -> list[Path]:
    """Write ``report.json``, its ``items`` (or ``clips``) as ``items.csv``, and ``curve.csv``.

    The curve needs distances (mm): its rows are error in mm and the percentage of all distances
    at or below it. ``items`` False leaves the rows out, where the caller has better ones.

    Raises:
        InputError: the folder cannot be made or written.
    """
    make_folder(folder)
    written = [write_json(folder / "report.json", document)]
    rows = document.get("items") or document.get("clips")
    if rows and items:
        written.append(write_text(folder / "items.csv", rows_csv(rows)))
    if distances is not None:
        pooled = np.concatenate(list(distances)) if distances else np.zeros(0, np.float32)
        curve = cumulative_curve(pooled, _CURVE_MM)
        rows = [f"{e:.2f},{p:.4f}" for e, p in zip(curve.error, curve.percent, strict=True)]
        written.append(write_text(folder / "curve.csv", "\n".join(["error_mm,percent", *rows, ""])))
    return written


def write_error_report(
    folder: Path,
    document: dict[str, Any],
    errors: Mapping[str, np.ndarray],
    *,
    limit: float,
    what: str,
    unit: str,
) -> list[Path]:
    """Write ``report.json``, ``items.csv``, and named errors' curves: ``curve.csv``, ``curve.png``.

    Args:
        folder: made when it is not there.
        document: the JSON document.
        errors: (N,) of each line; one that is not finite is beyond every limit.
        limit: right end of the curves' x axis, in ``unit``.
        what: an error is, for the axis.
        unit: of the errors.

    Raises:
        InputError: the folder cannot be made or written.
    """
    most = np.finfo(np.float64).max
    errors = {name: np.nan_to_num(v, nan=most, posinf=most) for name, v in errors.items()}
    written = write_report(folder, document)
    text = curves_csv(f"error_{'percent' if unit == '%' else unit}", errors, limit=limit)
    written.append(write_text(folder / "curve.csv", text))
    title = f"{document['protocol'].get('name', '')}: share at or below"
    xlabel = f"{what}, {unit}"
    path = folder / "curve.png"
    written.append(draw_curves(path, errors, limit=limit, xlabel=xlabel, title=title))
    return written


def curves_csv(
    head: str, errors: Mapping[str, np.ndarray], *, limit: float, count: int = 401
) -> str:
    """Return cumulative curves as CSV text: ``count`` errors up to ``limit``, percent of each."""
    marks = np.linspace(0, limit, count)
    columns = [cumulative_curve(np.asarray(values), marks).percent for values in errors.values()]
    rows = [
        ",".join([f"{mark:.4f}", *(f"{column[k]:.4f}" for column in columns)])
        for k, mark in enumerate(marks)
    ]
    return "\n".join([",".join([head, *errors]), *rows, ""])


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
