"""What every adapter shares: boxes from points, order, and a face from dense points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facekit.detect.landmark_sets import dense_to_ibug68, dense_to_iris, ibug68_to_five
from facekit.detect.pose import estimate_pose, visible_points
from facekit.geometry.crop import five_crop, points_crop
from facekit.types import DetectedFace

# Crops about dense points are this much larger than the points' bounding square.
CROP_MARGIN = 1.3


def largest_first(faces: Sequence[DetectedFace]) -> list[DetectedFace]:
    """Return faces by falling box area; equal areas keep their order."""
    return sorted(faces, key=lambda face: -float(face.box[2] * face.box[3]))


def box_of_points(points: np.ndarray) -> np.ndarray:
    """Return the bounding box (x, y, width, height) of dense points (478, 2)."""
    low, high = points.min(0), points.max(0)
    return np.concatenate([low, high - low])


def box_of_five(five: np.ndarray) -> np.ndarray:
    """Return the box that a face with these five points usually has (forehead to chin).

    The inner square of the ``five-v1`` crop: exact for the mean frontal face.
    """
    centre = five_crop(five, size=100).inverse()
    middle, side = centre.apply(np.full(2, 49.5)), centre.scale * 100 / CROP_MARGIN
    return np.array([*(middle - side / 2), side, side])


def roll_of_five(five: np.ndarray) -> float:
    """Return the roll (radians, clockwise in the image) of the line through the eyes."""
    across = five[1] - five[0]
    return float(np.arctan2(across[1], across[0]))


def roll_of_dense(dense: np.ndarray) -> float:
    """Return the roll (radians, clockwise in the image) of dense points (478, 2)."""
    across = dense[[263, 362]].mean(0) - dense[[33, 133]].mean(0)
    return float(np.arctan2(across[1], across[0]))


def dense_crop(dense: np.ndarray, *, size: int, margin: float = CROP_MARGIN):
    """Return the roll-aligned crop about dense points (478, 2)."""
    return points_crop(dense, roll=roll_of_dense(dense), size=size, margin=margin)


def face_from_dense(
    dense: np.ndarray, *, score: float, confidence: np.ndarray | None = None
) -> DetectedFace:
    """Return a face with every set, pose and visibility from 478 points in image pixels.

    Dense points are points of the surface, hidden ones too, so its jaw is on no outline.
    """
    dense = np.asarray(dense, dtype=np.float64)
    ibug68 = dense_to_ibug68(dense)
    pose = estimate_pose(ibug68)
    return DetectedFace(
        box=box_of_points(dense),
        score=float(score),
        five=ibug68_to_five(ibug68),
        ibug68=ibug68,
        iris=dense_to_iris(dense),
        dense478=dense,
        confidence=confidence,
        visible=visible_points(pose.rotation),
        yaw_deg=pose.yaw_deg,
        pitch_deg=pose.pitch_deg,
        roll_deg=pose.roll_deg,
        jaw_on_outline=False,
    )


def face_from_ibug68(
    ibug68: np.ndarray,
    *,
    score: float = 1.0,
    box: np.ndarray | None = None,
    iris: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
) -> DetectedFace:
    """Return a face from 68 points in image pixels, the jaw on the face's outline."""
    points = np.asarray(ibug68, dtype=np.float64)
    five = ibug68_to_five(points)
    pose = estimate_pose(points)
    return DetectedFace(
        box=box_of_five(five) if box is None else np.asarray(box, dtype=np.float64),
        score=float(score),
        five=five,
        ibug68=points,
        iris=iris,
        confidence=confidence,
        visible=visible_points(pose.rotation),
        yaw_deg=pose.yaw_deg,
        pitch_deg=pose.pitch_deg,
        roll_deg=pose.roll_deg,
    )
