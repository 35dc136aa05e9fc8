"""The files of a bench on heads of known shape: report, curves, and errors drawn on the heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.evaluate.comparison import write_comparison
from facekit.evaluate.heads import MEAN_FACE, HeadScore, HeadSet
from facekit.evaluate.now import crop_scan
from facekit.evaluate.truth import as_scans
from facekit.export.heat import draw_heat_map

# Heads stand upright and look along z.
AXES = (np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
LIMIT_MM = 5.0
_HEIGHT = 320


class _Kind(NamedTuple):
    """A kind of error: its folder, what titles call it, its colours' ends for one and for means."""

    folder: str
    said: str
    errors: Callable[[HeadScore], np.ndarray | None]
    limit_mm: float
    mean_limit_mm: float


# Along the surface a shape is off by several times what it is off across it.
_KINDS = (
    _Kind("heat", "to the surface", lambda score: score.distances, LIMIT_MM, 3.0),
    _Kind("heat_corresponded", "to its own place", lambda score: score.corresponded, 10.0, 10.0),
)


def write_head_report(
    folder: Path,
    scores: Sequence[HeadScore],
    document: dict[str, Any],
    heads: HeadSet,
    *,
    view: str | None = "yaw",
    heat: bool = True,
) -> list[Path]:
    """Write ``report.json``, ``items.csv``, the curves, and the errors on every head.

    The curves have a line for every method; its own files lie in a folder of its name, there
    with ``heat/head007_yaw22.png`` (NoW's distances on the neutral skin) and
    ``heat_corresponded/`` (to the points that stand for the same place) for each picture, and in
    both ``mean.png``, each place's mean over all heads. Controls see no picture: theirs are means
    alone.

    Args:
        folder: made when it is not there.
        scores: of ``heads.score_heads``.
        document: of ``heads.heads_report``.
        heads: the truth.
        view: what a score's view is called in names (``truth.as_scans``).
        heat: draw the errors.

    Raises:
        InputError: the folder cannot be made or written.
    """
    written = write_comparison(
        folder,
        as_scans(scores, view=view),
        document,
        limit=LIMIT_MM,
        unit="mm",
        value="median distance",
    )
    if not heat:
        return written
    for method in dict.fromkeys(score.method for score in scores):
        mine = [score for score in scores if score.method == method]
        names = [item.name for item in as_scans(mine, view=view)[method].items]
        if method == MEAN_FACE or method.startswith("projection"):
            names = []
        for kind in _KINDS:
            written += _draw(folder / method / kind.folder, names, mine, kind, heads)
    return written


def _draw(
    folder: Path, names: Sequence[str], scores: Sequence[HeadScore], kind: _Kind, heads: HeadSet
) -> list[Path]:
    """Draw each score's errors under its name (none: only their mean) and their mean."""
    used, faces = skin_mesh(heads)
    total, count = np.zeros(len(used)), np.zeros(len(used))
    written = []
    for row, score in enumerate(scores):
        values = kind.errors(score)
        if values is None:
            continue
        scan, marks = heads.scan(score.head)
        crop = crop_scan(scan, marks)
        total[crop] += values
        count[crop] += 1
        if names:
            path = folder / f"{names[row]}.png"
            title = f"{score.method}, {names[row]}, {kind.said}"
            limit = kind.limit_mm
            written.append(
                draw_head_errors(path, scan, faces, crop, values, title=title, limit=limit)
            )
    if not count.any():
        return written
    seen = np.flatnonzero(count)
    chosen = sorted({score.head for score in scores})
    shape, mean = heads.neutral[chosen].mean(axis=0)[used], total[seen] / count[seen]
    title = f"{scores[0].method}, mean of {len(chosen)} heads, {kind.said}"
    path, limit = folder / "mean.png", kind.mean_limit_mm
    written.append(draw_head_errors(path, shape, faces, seen, mean, title=title, limit=limit))
    return written


def skin_mesh(heads: HeadSet) -> tuple[np.ndarray, np.ndarray]:
    """Return which vertices (n,) the skin of ``heads.scan`` has, and its faces (F, 3) int32."""
    used, faces = np.unique(heads.scan_faces, return_inverse=True)
    return used, faces.reshape(-1, 3).astype(np.int32)


def draw_head_errors(
    path: Path,
    skin: np.ndarray,
    faces: np.ndarray,
    rows: np.ndarray,
    errors: np.ndarray,
    *,
    title: str,
    limit: float = LIMIT_MM,
) -> Path:
    """Draw errors (n,) mm of the vertices ``rows`` (n,) of a head's skin (V, 3), faces (F, 3)."""
    values = np.full(len(skin), np.nan)
    values[rows] = errors
    return draw_heat_map(
        path, skin, faces, values, axes=AXES, limit=limit, title=title, height=_HEIGHT
    )
