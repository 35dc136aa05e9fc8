"""Where the landmark solvers start: the pose of a face from 68 points."""

from __future__ import annotations

import math

import numpy as np

from facekit.errors import ItemError
from facekit.geometry.rotations import HEAD_TO_CAMERA, rotvec_to_matrix

# The jaw's points slide.
_TRUST = np.where(np.arange(68) < 17, 0.2, 1.0)


def start_pose(
    points: np.ndarray,
    observed: np.ndarray,
    trust: np.ndarray,
    focal: np.ndarray,
    centre: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return rotation (3, 3) and translation (3,) by scaled orthography from least squares.

    Args:
        points: (68, 3) mm, head frame; observed: (68, 2) pixels; trust: (68,) in [0, 1].
        focal: (2,) pixels; centre: (2,) pixels.

    Raises:
        ItemError: no point is trusted, or they lie on a point or a line.
    """
    weights = _TRUST * trust
    total = float(weights.sum())
    if not total > 0:
        raise ItemError("landmark fit: every landmark has confidence 0")
    mean_model = weights @ points / total
    mean_image = weights @ observed / total
    image = (observed - mean_image) * weights[:, None]
    (xx, xy), (_, yy) = (image.T @ image).tolist()
    # The roots of its eigenvalues are the points' extents.
    middle, half = 0.5 * (xx + yy), math.hypot(0.5 * (xx - yy), xy)
    narrow, wide = math.sqrt(max(middle - half, 0.0)), math.sqrt(max(middle + half, 0.0))
    if not (narrow >= 1e-3 * max(wide, 1e-9) and narrow >= 1e-3):
        raise ItemError("landmark fit: the landmarks lie on a point or a line")
    shape = (points - mean_model) * weights[:, None]
    affine = np.linalg.solve(shape.T @ shape, shape.T @ image).T
    # The nearest orthonormal rows: (A A^T)^(-1/2) A, the root of a 2 x 2 matrix in closed form.
    (xx, xy), (_, yy) = (affine @ affine.T).tolist()
    scale = 0.5 * (math.sqrt(xx) + math.sqrt(yy))
    root = math.sqrt(xx * yy - xy * xy)
    trace = math.sqrt(xx + yy + 2 * root)
    inverse = np.array([[yy + root, -xy], [-xy, xx + root]]) / (root * trace)
    (a, b, c), (d, e, f) = (inverse @ affine).tolist()
    rotation = np.array([[a, b, c], [d, e, f], [b * f - c * e, c * d - a * f, a * e - b * d]])
    if (HEAD_TO_CAMERA @ rotation)[2, 2] < 0:
        # The affine fit of a nearly flat set may show the back of the head: start frontal.
        turn = rotvec_to_matrix(np.array([0.0, 0.0, math.atan2(d, a)]))
        rotation = turn @ HEAD_TO_CAMERA
    ray = np.ones(3)
    ray[:2] = (mean_image - centre) / focal
    depth = float(focal[0] + focal[1]) / (2 * scale)
    return rotation, depth * ray - rotation @ mean_model
