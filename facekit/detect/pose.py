"""Head pose and visibility from 68 points: a mean shape, orthographic up to scale.

Good to a few degrees, since identity and expression are not fitted; a fit of the morphable model
gives the exact pose.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.detect.landmark_sets import FLIP68, ibug68_to_five
from facekit.errors import InputError
from facekit.geometry.rotations import HEAD_TO_CAMERA, camera_rotation_to_euler_deg

# Half of the mean shape, then mirrored: index, x y z in millimetres (head axes: x to the person's
# left, y up, z out of the face) and the outward unit normal: the built-in model's mean at its
# calibrated landmarks.
_HALF = (
    (0, -73.7, 17.6, 21.2, -0.99, -0.01, 0.16),
    (1, -72.6, -0.6, 24.6, -0.99, -0.08, 0.07),
    (2, -70.2, -18.2, 24.5, -0.99, -0.16, 0.07),
    (3, -67.1, -36.4, 26.5, -0.98, -0.19, 0.05),
    (4, -62.2, -54.2, 35.0, -0.94, -0.33, 0.11),
    (5, -51.4, -70.1, 49.8, -0.82, -0.51, 0.24),
    (6, -36.3, -82.2, 65.4, -0.73, -0.57, 0.37),
    (7, -19.0, -90.0, 82.8, -0.54, -0.64, 0.54),
    (8, 0.0, -92.1, 88.7, 0.00, -0.78, 0.62),
    (17, -56.9, 31.8, 69.4, -0.82, -0.09, 0.56),
    (18, -50.5, 36.1, 78.0, -0.66, -0.09, 0.75),
    (19, -41.1, 38.1, 84.6, -0.42, -0.17, 0.89),
    (20, -28.7, 37.0, 88.4, -0.24, -0.37, 0.89),
    (21, -14.0, 34.0, 91.0, -0.26, -0.40, 0.88),
    (27, 0.0, 17.0, 96.8, 0.00, 0.51, 0.86),
    (28, 0.0, 6.6, 105.0, 0.00, 0.63, 0.77),
    (29, 0.0, -3.2, 113.0, 0.00, 0.51, 0.86),
    (30, 0.0, -13.1, 117.3, 0.00, -0.06, 1.00),
    (31, -15.4, -25.3, 93.1, -0.54, 0.13, 0.83),
    (32, -6.9, -26.0, 100.3, -0.42, 0.07, 0.90),
    (33, 0.0, -25.7, 103.1, 0.00, -0.14, 0.99),
    (36, -44.2, 18.7, 72.8, -0.34, -0.19, 0.92),
    (37, -37.9, 24.2, 81.4, -0.04, -0.74, 0.67),
    (38, -27.1, 24.1, 82.1, -0.29, -0.67, 0.68),
    (39, -16.5, 16.7, 80.6, -0.52, 0.11, 0.85),
    (40, -26.0, 15.1, 81.4, -0.35, 0.35, 0.87),
    (41, -36.1, 14.4, 79.1, -0.22, 0.37, 0.90),
    (48, -24.0, -49.9, 89.1, -0.29, -0.18, 0.94),
    (49, -13.2, -42.8, 101.2, -0.46, -0.19, 0.87),
    (50, -6.6, -40.5, 104.4, -0.26, -0.07, 0.96),
    (51, 0.0, -41.6, 105.4, 0.00, -0.12, 0.99),
    (55, 13.2, -55.9, 99.6, 0.47, -0.11, 0.87),
    (56, 7.0, -57.4, 102.1, 0.24, -0.23, 0.94),
    (57, 0.0, -57.7, 102.7, 0.00, -0.28, 0.96),
    (60, -21.9, -49.7, 89.8, -0.23, -0.17, 0.96),
    (61, -10.4, -47.8, 97.8, -0.59, -0.40, 0.70),
    (62, 0.0, -47.6, 101.1, 0.00, -0.38, 0.92),
    (65, 10.5, -48.9, 96.8, 0.82, -0.25, 0.52),
    (66, 0.0, -49.3, 99.7, 0.00, -0.29, 0.96),
)


def _mean_shape() -> tuple[np.ndarray, np.ndarray]:
    points, normals = np.zeros((68, 3)), np.zeros((68, 3))
    for index, *values in _HALF:
        for i, sign in ((index, 1.0), (int(FLIP68[index]), -1.0)):
            if i == index or sign < 0:
                points[i] = np.array(values[:3]) * [sign, 1, 1]
                normals[i] = np.array(values[3:]) * [sign, 1, 1]
    return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)


MEAN68, NORMALS68 = _mean_shape()

# Eyes and nose are rigid; brows, mouth and jaw move, and the jaw's points slide when it turns.
_WEIGHTS = np.ones(68)
_WEIGHTS[:17] = 0.1
_WEIGHTS[17:27] = 0.5
_WEIGHTS[48:] = 0.3

# A point whose normal turns this far from the viewer (cosine) is hidden: the jaw's points lie
# on the outline of a frontal face, and stay visible there.
_LEAST_FACING = -0.05


class Pose(NamedTuple):
    """Head-to-camera rotation (3, 3), the scale in pixels per mm, and the angles in degrees."""

    rotation: np.ndarray
    scale: float
    yaw_deg: float
    pitch_deg: float
    roll_deg: float


def estimate_pose(ibug68: np.ndarray, *, iterations: int = 10) -> Pose:
    """Return the pose that best projects the mean shape onto 68 points, orthographic and scaled.

    Minimises sum_i w_i |s (R X_i)_xy + t - x_i|^2 over rotations: alternates the depth
    s (R X_i)_z that the rotation implies with the rigid alignment of the completed 3D points,
    which never increases the sum.

    Args:
        ibug68: (68, 2) image pixels (y down).
        iterations: of the alternation, after the start from an affine fit.

    Raises:
        InputError: not 68 finite points, or all of them on one line.
    """
    points = check_array(ibug68, "ibug68", shape=(68, 2)).astype(np.float64)
    return _best_pose(points, MEAN68, _WEIGHTS, iterations, "ibug68")


def estimate_pose_of_five(five: np.ndarray, *, iterations: int = 10) -> Pose:
    """Return the pose that best projects the mean shape's five points, as ``estimate_pose`` does.

    Only the nose tip stands out of their plane: yaw agrees with that of 68 points to about 3
    degrees on nine faces of ten, pitch to 15 only (a low nose looks like a bowed head).

    Args:
        five: (5, 2) image pixels (y down), the person's right eye first.
        iterations: of the alternation.

    Raises:
        InputError: not five finite points, or all of them on one line.
    """
    points = check_array(five, "five points", shape=(5, 2)).astype(np.float64)
    return _best_pose(points, ibug68_to_five(MEAN68), np.ones(5), iterations, "five points")


def _best_pose(
    points: np.ndarray, mean: np.ndarray, relative: np.ndarray, iterations: int, name: str
) -> Pose:
    weights = relative / relative.sum()
    shape = (mean - weights @ mean) @ HEAD_TO_CAMERA.T
    image = points - weights @ points
    root = np.sqrt(weights)[:, None]
    affine = np.linalg.lstsq(root * shape, root * image, rcond=None)[0].T
    u, values, vt = np.linalg.svd(affine, full_matrices=False)
    if values[1] < 1e-9 * max(values[0], 1e-30) or values[0] <= 0:
        raise InputError(f"{name}: all points lie on one line or in one place; no pose is defined")
    first = u @ vt
    rotation = np.vstack([first, np.cross(first[0], first[1])])
    scale = float(values.mean())
    for _ in range(iterations):
        depth = scale * (shape @ rotation[2])
        target = np.column_stack([image, depth])
        u, values, vt = np.linalg.svd((target * weights[:, None]).T @ shape)
        sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
        rotation = (u * sign) @ vt
        projected = shape @ rotation[:2].T
        scale = float((weights @ (projected * image).sum(1)) / (weights @ (projected**2).sum(1)))
    head_to_camera = rotation @ HEAD_TO_CAMERA
    return Pose(head_to_camera, scale, *camera_rotation_to_euler_deg(head_to_camera))


def visible_points(rotation: np.ndarray) -> np.ndarray:
    """Return (68,) bool: points of the mean head that face the camera under a rotation.

    Args:
        rotation: (3, 3) head to camera. Occlusion by hands, hair or glasses is not seen.
    """
    towards_camera = -(NORMALS68 @ np.asarray(rotation).T)[:, 2]
    return towards_camera > _LEAST_FACING
