"""Which points of a truth several detectors can be compared on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from facekit.detect.landmark_sets import ibug68_to_five
from facekit.errors import InputError
from facekit.evaluate.landmark_truth import LandmarkTruth
from facekit.types import DetectedFace

# The five points as means of iBUG points, in the order of the set ``five``.
FIVE = {
    "right_eye": (36, 39),
    "left_eye": (42, 45),
    "nose_tip": (30,),
    "right_mouth_corner": (48,),
    "left_mouth_corner": (54,),
}


class ComparedPoints(NamedTuple):
    """The points that are scored.

    Attributes:
        set: ``ibug68`` or ``five``.
        labels: (P,) iBUG indices, or names of ``FIVE``.
        rows: (P,) their rows in the set.
        truth: (N, P, 2) pixels.
    """

    set: str
    labels: tuple[int | str, ...]
    rows: tuple[int, ...]
    truth: np.ndarray

    def of(self, face: DetectedFace) -> np.ndarray | None:
        """Return a face's points (P, 2), or None when it lacks the set."""
        points = face.ibug68
        if self.set == "five":
            points = _five(face)
        return None if points is None else np.asarray(points, np.float64)[list(self.rows)]

    def nearest(self, faces: Iterable[DetectedFace], known: np.ndarray) -> np.ndarray | None:
        """Return the points of the face whose box lies nearest to known ones (K, 2), or None.

        Faces that lack the set are passed over.
        """
        middle = known.mean(axis=0)

        def distance(face: DetectedFace) -> float:
            return float(np.linalg.norm(face.box[:2] + face.box[2:] / 2 - middle))

        tables = (self.of(face) for face in sorted(faces, key=distance))
        return next((table for table in tables if table is not None), None)


def common_points(
    truth: LandmarkTruth, detectors: Iterable[Iterable[DetectedFace]]
) -> ComparedPoints:
    """Return the points that every detector has, of those whose truth is known.

    The 68, unless a detector's faces all lack them and have five: then those of the five that the
    true points give (an eye is the middle of its two corners).

    Args:
        truth: what is known.
        detectors: all faces that each detector found in all images; one that found none does
            not matter.

    Raises:
        InputError: five points, and the truth gives none of them.
    """
    if not any(_only_five(list(faces)) for faces in detectors):
        rows = tuple(truth.ibug68)
        return ComparedPoints("ibug68", rows, rows, truth.points)
    column = {index: k for k, index in enumerate(truth.ibug68)}
    known = [
        (row, name, [column[i] for i in parts])
        for row, (name, parts) in enumerate(FIVE.items())
        if all(i in column for i in parts)
    ]
    if not known:
        raise InputError(
            "a detector has five points only, and the truth has no eye corners, nose tip (30) or "
            "mouth corners (48, 54)"
        )
    points = np.stack([truth.points[:, parts].mean(axis=1) for _, _, parts in known], axis=1)
    rows, names, _ = zip(*known, strict=True)
    return ComparedPoints("five", names, rows, points)


def _only_five(faces: list[DetectedFace]) -> bool:
    without = all(face.ibug68 is None for face in faces)
    return without and any(face.five is not None for face in faces)


def _five(face: DetectedFace) -> np.ndarray | None:
    if face.five is not None:
        return face.five
    return None if face.ibug68 is None else ibug68_to_five(face.ibug68)
