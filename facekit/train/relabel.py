"""Better labels for the portraits: MediaPipe's landmarker averaged over many views.

A landmarker answers a little differently for every crop of a face. Its mean over crops that are
moved, turned, scaled and mirrored has less of that noise, and no left-right bias.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.detect.faces import roll_of_dense
from facekit.detect.landmark_sets import FLIP478
from facekit.detect.mediapipe import MARGIN, SIZE, MediaPipeDetector
from facekit.errors import InputError
from facekit.geometry.crop import points_crop, square_crop
from facekit.io.atomic import atomic_path, make_folder
from facekit.io.images import read_photo
from facekit.io.npz import read_npz


class View(NamedTuple):
    """A crop relative to the aligned one: shift in crop sides, turn in radians, factor, mirror."""

    shift: tuple[float, float]
    turn: float
    scale: float
    mirror: bool


def views(count: int, *, seed: int = 0) -> list[View]:
    """Return ``count`` views, half of them mirrored twins of the others (an odd one is dropped)."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(count // 2):
        wide = 0.0 if k == 0 else 1.0
        shift = (wide * rng.normal(0, 0.02), wide * rng.normal(0, 0.02))
        turn, scale = wide * rng.normal(0, 0.08), float(np.exp(wide * rng.normal(0, 0.05)))
        out += [View(shift, turn, scale, False), View(shift, turn, scale, True)]
    return out


def label_by_views(
    image: np.ndarray, start: np.ndarray, landmarker: MediaPipeDetector, wanted: list[View]
) -> tuple[np.ndarray, float, float]:
    """Label one face by the mean over views.

    Args:
        image: (H, W, 3) uint8 RGB.
        start: (478, 2 or 3) approximate points.
        landmarker: the teacher.
        wanted: at least one view.

    Returns:
        points (478, 3); the mean presence; and the views' spread: the mean distance from the
        mean, over the outer-eye distance.
    """
    if not wanted:
        raise InputError("relabel: expected at least one pair of views")
    mirrored = np.ascontiguousarray(image[:, ::-1])
    width = image.shape[1]
    base = points_crop(start[:, :2], roll=roll_of_dense(start[:, :2]), size=SIZE, margin=MARGIN)
    first, _ = landmarker.points(image, base)
    roll = roll_of_dense(first[:, :2])
    tight = points_crop(first[:, :2], roll=roll, size=SIZE, margin=MARGIN)
    side = SIZE / tight.scale
    centre = tight.inverse().apply(np.full(2, (SIZE - 1) / 2))
    answers, presences = [], []
    for view in wanted:
        middle, turn = centre + np.array(view.shift) * side, roll + view.turn
        if view.mirror:
            middle, turn = np.array([width - 1 - middle[0], middle[1]]), -turn
        crop = square_crop(middle, side * view.scale, size=SIZE, roll=turn)
        points, presence = landmarker.points(mirrored if view.mirror else image, crop)
        if view.mirror:
            points = points[FLIP478] * [-1, 1, 1] + [width - 1, 0, 0]
        answers.append(points)
        presences.append(presence)
    stack = np.stack(answers)
    mean = stack.mean(0)
    spread = np.linalg.norm((stack - mean)[..., :2], axis=-1).mean()
    eyes = np.linalg.norm(mean[33, :2] - mean[263, :2])
    return mean, float(np.mean(presences)), float(spread / max(eyes, 1e-9))


def relabel(
    folder: Path,
    output: Path,
    landmarker: MediaPipeDetector,
    *,
    num_views: int = 20,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write ``labels_<set>.npz`` with averaged landmarks for every set of a portraits folder.

    Every other array of the labels is kept; ``landmark_spread`` is added.

    Raises:
        InputError: no labels there, or the output cannot be written.
    """
    files = sorted(Path(folder).glob("labels_*.npz"))
    if not files:
        raise InputError(f"{folder}: expected labels_<set>.npz files, found none")
    make_folder(output)
    wanted = views(num_views)
    tables = []
    for file in files:
        tables.append(read_npz(file, what="labels of portraits"))
    total, done, written = sum(len(t["files"]) for t in tables), 0, []
    for file, table in zip(files, tables, strict=True):
        group = Path(folder) / file.stem.removeprefix("labels_")
        points, score = table["landmarks478"].copy(), table["landmark_score"].copy()
        spread = np.zeros(len(points), np.float32)
        for i, name in enumerate(table["files"]):
            image = read_photo(group / str(name)).image
            points[i], score[i], spread[i] = label_by_views(image, points[i], landmarker, wanted)
            done += 1
            if progress is not None:
                progress(done, total)
        table |= {"landmarks478": points, "landmark_score": score, "landmark_spread": spread}
        with atomic_path(output / file.name) as temporary:
            np.savez_compressed(temporary, **table)  # type: ignore[arg-type]
        written.append(output / file.name)
    return written
