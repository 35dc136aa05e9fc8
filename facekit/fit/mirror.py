"""Photographs shown as in a mirror, as many selfies are, put back the way the person is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facekit.detect.landmark_sets import FLIP68, FLIP478
from facekit.types import DetectedFace

_FLIP5 = [1, 0, 2, 4, 3]


def mirrored_face(face: DetectedFace, width: int) -> DetectedFace:
    """Return a face's points in the mirror image of its image.

    Every point takes the place x' = width - 1 - x and the name of its partner: what was called the
    person's right is their left.

    Args:
        face: in pixels of the image; width: of that image.
    """

    def points(values: np.ndarray | None, order: np.ndarray | list[int]) -> np.ndarray | None:
        if values is None:
            return None
        flipped = np.asarray(values, np.float64)[order]
        return np.column_stack([width - 1 - flipped[:, 0], flipped[:, 1]])

    x, y, w, h = face.box
    return replace(
        face,
        box=np.array([width - 1 - x - w, y, w, h], np.float64),
        five=points(face.five, _FLIP5),
        ibug68=points(face.ibug68, FLIP68),
        iris=points(face.iris, [1, 0]),
        dense478=points(face.dense478, FLIP478),
        confidence=None if face.confidence is None else face.confidence[FLIP68],
        visible=None if face.visible is None else face.visible[FLIP68],
        yaw_deg=-face.yaw_deg,
        roll_deg=-face.roll_deg,
    )
