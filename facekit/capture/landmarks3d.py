"""Landmarks of a face in space, from those found in several views; and the head frame from them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np

from facekit.geometry.alignment import SimilarityTransform, align_similarity
from facekit.geometry.cameras import project
from facekit.types import Camera, DetectedFace

# The jaw's outline in a picture is where the cheek turns away, so only frontal views tell it.
_JAW, _JAW_YAW_DEG = np.arange(17), 30.0
# A detection agrees with a point this near, as a share of the face's box.
_AGREES = 0.04
# Points that expressions move count less for the head's place; the jaw's do not count.
_WEIGHT = np.concatenate(
    [np.zeros(17), np.full(10, 0.5), np.ones(9), np.ones(12), np.full(20, 0.3)]
)


class Landmarks3d(NamedTuple):
    """Points in space.

    Attributes:
        points: (N, 3) in the cameras' world; NaN where fewer than two views agree.
        deviation: (N,) standard deviation in the world's unit, from the scatter in the pictures.
        views: (N,) int, how many views agree.
    """

    points: np.ndarray
    deviation: np.ndarray
    views: np.ndarray


def triangulate_landmarks(
    cameras: Sequence[Camera], faces: Sequence[DetectedFace | None]
) -> Landmarks3d:
    """Triangulate the 68 landmarks robustly.

    Each landmark is tried from every pair of the views that see it; the place that most views
    agree with is refined by Gauss-Newton on those views' pixels with Huber weights.

    Args:
        cameras: of the views, with their lens distortion.
        faces: the face found in each view (pixels of the same picture), or None.
    """
    points = np.full((68, 3), np.nan)
    deviation = np.full(68, np.nan)
    count = np.zeros(68, int)
    usable = [
        (camera, face, face.ibug68)
        for camera, face in zip(cameras, faces, strict=True)
        if face is not None and face.ibug68 is not None
    ]
    for k in range(68):
        chosen = [(camera, face, marks) for camera, face, marks in usable if _sees(face, k)]
        if len(chosen) < 2:
            continue
        pixels = np.array([marks[k] for _, _, marks in chosen])
        limits = np.array([_AGREES * float(max(face.box[2:])) for _, face, _ in chosen])
        found = triangulate_robustly([c for c, _, _ in chosen], pixels, limits)
        if found is not None:
            points[k], deviation[k], count[k] = found
    return Landmarks3d(points, deviation, count)


def _sees(face: DetectedFace, k: int) -> bool:
    if k in _JAW and not abs(face.yaw_deg) < _JAW_YAW_DEG:
        return False
    return face.visible is None or bool(face.visible[k])


def triangulate_robustly(
    cameras: Sequence[Camera], pixels: np.ndarray, limits: np.ndarray
) -> tuple[np.ndarray, float, int] | None:
    """Find the point that most views agree on.

    Args:
        cameras: N >= 2; pixels: (N, 2) where each sees it; limits: (N,) largest distances of
            views that agree, pixels.

    Returns:
        ``(point, deviation, views)``, or None when no two views agree (or their rays are nearly
        parallel).
    """
    rows = [_ray_rows(camera, pixel) for camera, pixel in zip(cameras, pixels, strict=True)]
    best: np.ndarray | None = None
    most = (1, 0.0)
    for i, j in combinations(range(len(cameras)), 2):
        system = np.vstack([rows[i], rows[j]])
        _, size, vt = np.linalg.svd(system)
        # Two rays that nearly coincide leave a second direction free.
        if abs(vt[3, 3]) < 1e-12 or size[2] < 1e-9 * size[0]:
            continue
        gaps = _gaps(cameras, pixels, vt[3, :3] / vt[3, 3]) / limits
        agree = gaps < 1
        rank = (int(agree.sum()), -float(np.minimum(gaps, 1).sum()))
        if agree[i] and agree[j] and rank > most:
            most, best = rank, vt[3, :3] / vt[3, 3]
    if best is None:
        return None
    inside = _gaps(cameras, pixels, best) < limits
    if inside.sum() < 2:
        return None
    kept = [c for c, keep in zip(cameras, inside, strict=True) if keep]
    return _polish(kept, pixels[inside], best)


def _ray_rows(camera: Camera, pixel: np.ndarray) -> np.ndarray:
    x, y = cv2.undistortPoints(
        np.asarray(pixel, np.float64).reshape(1, 1, 2), camera.intrinsics, camera.distortion
    ).ravel()
    matrix = np.column_stack([camera.rotation, camera.translation])
    return np.stack([x * matrix[2] - matrix[0], y * matrix[2] - matrix[1]])


def _gaps(cameras: Sequence[Camera], pixels: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Return reprojection distances (N,) in pixels; infinite behind a camera."""
    gaps = np.empty(len(cameras))
    for k, camera in enumerate(cameras):
        x, y, z = project(camera, point)
        gaps[k] = np.hypot(x - pixels[k, 0], y - pixels[k, 1]) if z > 0 else np.inf
    return gaps


def _polish(
    cameras: Sequence[Camera], pixels: np.ndarray, point: np.ndarray
) -> tuple[np.ndarray, float, int]:
    count = len(cameras)
    distance = float(np.median([project(camera, point)[2] for camera in cameras]))
    step = 1e-5 * distance
    hessian = np.eye(3)
    residual = np.zeros(2 * count)
    for _ in range(8):
        residual = _residuals(cameras, pixels, point)
        jacobian = np.empty((2 * count, 3))
        for axis in range(3):
            moved = point + step * np.eye(3)[axis]
            ahead = _residuals(cameras, pixels, moved)
            jacobian[:, axis] = (ahead - residual) / step
        lengths = np.hypot(residual[0::2], residual[1::2])
        scale = max(1.5 * float(np.median(lengths)), 1e-6)
        weight = np.repeat(np.minimum(1, scale / np.maximum(lengths, 1e-12)), 2)
        hessian = (jacobian * weight[:, None]).T @ jacobian
        move = np.linalg.solve(hessian, (jacobian * weight[:, None]).T @ residual)
        point = point - move
        if np.linalg.norm(move) < 1e-7 * distance:
            break
    variance = float(residual @ residual) / max(2 * count - 3, 1)
    spread = np.sqrt(variance * np.trace(np.linalg.inv(hessian)) / 3)
    return point, float(spread), count


def _residuals(cameras: Sequence[Camera], pixels: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Return x and y reprojection errors of all views, (2 N,) pixels."""
    seen = [project(camera, point)[:2] for camera in cameras]
    return (np.array(seen) - pixels).ravel()


def head_alignment(
    points: np.ndarray, mean_points: np.ndarray, *, with_scale: bool
) -> SimilarityTransform | None:
    """Return the transform to the head frame that fits 68 landmarks best, or None for too few.

    Args:
        points: (68, 3) in the world, NaN where unknown.
        mean_points: (68, 3) of the model's mean head, mm.
        with_scale: the world's unit is unknown.

    Points that expressions move count less; those that lie far off are weighted down (Cauchy).
    """
    known = np.isfinite(points).all(1) & (_WEIGHT > 0)
    if known.sum() < 12:
        return None
    source, target, prior = points[known], mean_points[known], _WEIGHT[known]
    weight = prior
    transform = align_similarity(source, target, weights=weight, with_scale=with_scale)
    for _ in range(10):
        gaps = np.linalg.norm(transform.apply(source) - target, axis=1)
        scale = max(float(np.median(gaps)), 1e-6)
        weight = prior / (1 + (gaps / (2 * scale)) ** 2)
        transform = align_similarity(source, target, weights=weight, with_scale=with_scale)
    return transform
