"""How much a detector's points move on a face that does not: the same picture under fresh noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facekit.detect import Detector
from facekit.errors import InputError, ItemError, UsageError
from facekit.evaluate.landmark_points import ComparedPoints, common_points
from facekit.evaluate.landmark_truth import LandmarkTruth
from facekit.io.images import read_image, resize
from facekit.types import DetectedFace

# A face's box over its outer-eye distance, on the mean head: for truth that has no box.
_BOX_OF_EYES = 1.93


@dataclass(frozen=True)
class JitterOptions:
    """What is shown.

    Attributes:
        images: faces at most, evenly spaced over the truth.
        copies: of each, with noise of their own; at least 2.
        face_px: the pictures are scaled so that the box about the true points has this longer
            side.
        noise: standard deviation of the noise, grey levels of 255, on every channel.
        seed: of the noise.
    """

    images: int = 20
    copies: int = 10
    face_px: float = 128.0
    noise: float = 2.0
    seed: int = 0


def measure_jitter(
    truth: LandmarkTruth,
    detectors: Sequence[Detector],
    options: JitterOptions | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Return for every detector how far its points move under noise.

    ``rms_px`` is the root mean square of the points' distances from their own means over the
    copies (with copies - 1 in the denominator), over all points and faces, in pixels of the
    scaled picture; ``worst_px`` that of the worst face. Boxes are found anew in every copy, so
    their movement is in it. A face that is missed in a copy is ``lost``: not in the figures, which
    are None where all are. The points are those that all detectors have.

    Args:
        truth: faces, see ``read_landmark_truth``.
        detectors: given the pictures without a path.
        options: None takes the defaults.
        progress: called with pictures done and in all.

    Raises:
        UsageError: fewer than 1 image or 2 copies, or a face size or noise out of range.
        InputError: no picture can be read.
    """
    o = options or JitterOptions()
    if o.images < 1 or o.copies < 2 or not (o.face_px >= 8 and o.noise >= 0):
        raise UsageError(
            "jitter: expected at least 1 image, 2 copies, a face of 8 pixels and noise of 0, got "
            f"{o.images}, {o.copies}, {o.face_px} and {o.noise}"
        )
    count = len(truth.images)
    rows = np.unique(np.linspace(0, count - 1, min(o.images, count)).round().astype(int))
    kept: list[tuple[int, float]] = []
    # Of every detector, of every face: the faces found in each copy.
    found: list[list[list[list[DetectedFace]]]] = [[] for _ in detectors]
    for done, row in enumerate(rows, 1):
        try:
            image = read_image(truth.images[row])
        except (ItemError, InputError):
            continue
        scale = o.face_px / _side(truth, int(row))
        still = resize(image, scale).astype(np.float64)
        kept.append((int(row), scale))
        copies = [_noisy(still, o, int(row), k) for k in range(o.copies)]
        for detector, mine in zip(detectors, found, strict=True):
            mine.append([_detect(detector, copy) for copy in copies])
        if progress is not None:
            progress(done, len(rows))
    if not kept:
        raise InputError(f"{truth.images[0]}: no picture of the set can be read")
    flat = [[f for face in mine for copy in face for f in copy] for mine in found]
    points = common_points(truth, flat)
    return [_figures(mine, kept, points, truth, o) for mine in found]


def _figures(
    found: list[list[list[DetectedFace]]],
    kept: list[tuple[int, float]],
    points: ComparedPoints,
    truth: LandmarkTruth,
    options: JitterOptions,
) -> dict[str, Any]:
    variances = []
    for copies, (row, scale) in zip(found, kept, strict=True):
        expected = scale * (truth.points[row] + 0.5) - 0.5
        seen = [points.nearest(faces, expected) for faces in copies]
        tables = [table for table in seen if table is not None]
        if len(tables) == len(seen):
            # Along both axes: the squared distance from the mean.
            variances.append(float(np.var(np.stack(tables), axis=0, ddof=1).sum(-1).mean()))
    return {
        "rms_px": float(np.sqrt(np.mean(variances))) if variances else None,
        "worst_px": float(np.sqrt(np.max(variances))) if variances else None,
        "faces": len(variances),
        "lost": len(kept) - len(variances),
        "copies": options.copies,
        "face_px": options.face_px,
        "noise_levels": options.noise,
        "seed": options.seed,
        "set": points.set,
        "points": list(points.labels),
    }


def _side(truth: LandmarkTruth, row: int) -> float:
    if truth.boxes is None:
        return _BOX_OF_EYES * float(truth.eye_distance[row])
    return float(truth.boxes[row, 2:].max())


def _noisy(still: np.ndarray, options: JitterOptions, row: int, copy: int) -> np.ndarray:
    rng = np.random.default_rng([options.seed, row, copy])
    noise = rng.normal(0, options.noise, still.shape)
    return np.clip(np.round(still + noise), 0, 255).astype(np.uint8)


def _detect(detector: Detector, image: np.ndarray) -> list[DetectedFace]:
    try:
        return detector.detect(image)
    except (ItemError, InputError):
        return []
