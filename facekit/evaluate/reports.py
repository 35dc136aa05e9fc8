"""Write an evaluation to a folder."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Write ``report.json``, and with distances (mm) ``curve.csv``, their cumulative curve.

    The curve's rows are error in mm and the percentage of all distances at or below it.

    Raises:
        InputError: the folder cannot be made or written.
    """
    make_folder(folder)
    written = [write_json(folder / "report.json", document)]
    if distances is not None:
        pooled = np.concatenate(list(distances)) if distances else np.zeros(0, np.float32)
        curve = cumulative_curve(pooled, _CURVE_MM)
        rows = [f"{e:.2f},{p:.4f}" for e, p in zip(curve.error, curve.percent, strict=True)]
        written.append(write_text(folder / "curve.csv", "\n".join(["error_mm,percent", *rows, ""])))
    return written
