"""What is known of each true face, and the groups that a landmark report shows apart."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from facekit.detect.pose import estimate_pose
from facekit.errors import InputError, UsageError
from facekit.evaluate.landmark_truth import LandmarkTruth
from facekit.evaluate.skin_tone import CLASSES, NEEDED, skin_tone, tone_class

YAWS = (0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0)
SIZES = (0.0, 32.0, 64.0, 128.0, 256.0, np.inf)


class FaceFacts(NamedTuple):
    """Facts of N true faces, NaN where unknown.

    Attributes:
        yaw_deg: (N,) by fitting the mean head to 68 true points.
        size_px: (N,) longer side of the box about the true points.
        ita_deg: (N,) typology angle of the cheeks in the photograph.
    """

    yaw_deg: np.ndarray
    size_px: np.ndarray
    ita_deg: np.ndarray

    def of(self, row: int) -> dict[str, float]:
        """Return what is known of a face, by name."""
        values = {name: float(table[row]) for name, table in self._asdict().items()}
        return {name: value for name, value in values.items() if np.isfinite(value)}


def face_facts(truth: LandmarkTruth, ita_deg: np.ndarray) -> FaceFacts:
    """Return the facts of every true face.

    Args:
        truth: see ``read_landmark_truth``.
        ita_deg: (N,) of ``face_tone``, NaN where an image could not be read.
    """
    count = len(truth.images)
    size = np.full(count, np.nan) if truth.boxes is None else truth.boxes[:, 2:].max(axis=1)
    yaw = np.array([_yaw(p) for p in truth.points]) if truth.complete else np.full(count, np.nan)
    return FaceFacts(yaw, np.asarray(size, np.float64), np.asarray(ita_deg, np.float64))


def face_tone(truth: LandmarkTruth, row: int, image: np.ndarray) -> float:
    """Return a face's typology angle in its image, NaN where its points or colour do not say."""
    if not set(NEEDED) <= set(truth.ibug68):
        return float("nan")
    columns = {index: truth.points[row, truth.ibug68.index(index)] for index in NEEDED}
    return skin_tone(image, columns)


def face_groups(facts: FaceFacts) -> dict[str, np.ndarray]:
    """Return the rows of every group that has any: by yaw, size and skin tone."""
    groups = {}
    for name, unit, edges, values in (
        ("yaw", " deg", YAWS, np.abs(facts.yaw_deg)),
        ("size", " px", SIZES, facts.size_px),
    ):
        for low, high in pairwise(edges):
            if not np.isfinite(high):
                title = f"{name} over {low:g}{unit}"
            elif low == 0 and name == "size":
                title = f"{name} under {high:g}{unit}"
            else:
                title = f"{name} {low:g}-{high:g}{unit}"
            groups[title] = np.flatnonzero((values >= low) & (values < high))
    tones = [tone_class(angle) for angle in facts.ita_deg]
    for name, _ in CLASSES:
        groups[f"skin {name}"] = np.array([k for k, tone in enumerate(tones) if tone == name], int)
    return {name: rows for name, rows in groups.items() if len(rows)}


def turned_at_most(truth: LandmarkTruth, yaw_deg: float) -> LandmarkTruth:
    """Return the faces whose yaw, by their 68 true points, is at most ``yaw_deg`` either way.

    Raises:
        UsageError: fewer than 68 true points, or no such face.
    """
    if not truth.complete:
        raise UsageError(
            f"--max-yaw needs all 68 true points to know the yaw, this set has {len(truth.ibug68)}"
        )
    rows = np.flatnonzero(np.abs([_yaw(points) for points in truth.points]) <= yaw_deg)
    if not len(rows):
        raise UsageError(f"--max-yaw {yaw_deg:g}: every face of the set is turned further")
    return truth.subset(rows)


def _yaw(points: np.ndarray) -> float:
    try:
        return estimate_pose(points).yaw_deg
    except InputError:
        return float("nan")
