"""Head pose and visibility from 68 points: a mean shape, orthographic up to scale.

Good to a few degrees, since identity and expression are not fitted; a fit of the morphable model
gives the exact pose.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.detect.landmark_sets import FLIP68
from facekit.errors import InputError
from facekit.geometry.rotations import HEAD_TO_CAMERA, camera_rotation_to_euler_deg

# Half of the mean shape, then mirrored: index, x y z in millimetres (head axes: x to the person's
# left, y up, z out of the face) and the outward unit normal. The mean of aligned labels of the
# portraits, made symmetric, pitched as the built-in model's frame.
_HALF = (
    (0, -74.9, -7.8, -53.7, -0.99, 0.01, 0.14),
    (1, -74.3, -26.4, -57.5, -0.99, -0.05, 0.10),
    (2, -73.0, -44.6, -56.1, -0.99, -0.11, 0.10),
    (3, -70.1, -62.3, -51.1, -0.97, -0.21, 0.12),
    (4, -64.4, -79.1, -42.1, -0.92, -0.34, 0.20),
    (5, -53.8, -94.3, -26.2, -0.83, -0.44, 0.35),
    (6, -38.5, -107.1, -10.8, -0.76, -0.46, 0.46),
    (7, -20.3, -116.9, 4.3, -0.48, -0.66, 0.57),
    (8, 0.0, -120.3, 9.8, 0.00, -0.76, 0.65),
    (17, -58.5, 13.6, -1.9, -0.87, 0.01, 0.50),
    (18, -51.8, 19.4, 5.9, -0.75, 0.16, 0.64),
    (19, -42.0, 22.7, 11.9, -0.53, 0.20, 0.82),
    (20, -29.1, 22.6, 17.3, -0.29, 0.00, 0.96),
    (21, -14.0, 20.0, 20.1, -0.21, -0.09, 0.97),
    (27, 0.0, 2.4, 23.4, 0.00, 0.50, 0.87),
    (28, 0.0, -8.0, 31.2, 0.00, 0.66, 0.75),
    (29, 0.0, -18.6, 41.2, 0.00, 0.62, 0.78),
    (30, 0.0, -30.2, 46.8, 0.00, 0.13, 0.99),
    (31, -18.8, -41.7, 20.0, -0.57, -0.19, 0.80),
    (32, -8.8, -44.2, 27.0, -0.62, -0.36, 0.70),
    (33, 0.0, -44.9, 28.9, 0.00, -0.71, 0.70),
    (36, -45.3, 0.6, -2.8, -0.41, -0.30, 0.86),
    (37, -38.9, 5.3, 4.0, -0.28, -0.33, 0.90),
    (38, -28.8, 6.0, 5.7, 0.04, -0.18, 0.98),
    (39, -17.7, -0.6, 2.8, -0.22, -0.07, 0.97),
    (40, -27.1, -1.4, 4.9, 0.05, 0.05, 1.00),
    (41, -37.2, -1.6, 3.0, -0.33, -0.03, 0.94),
    (48, -31.3, -64.9, 4.4, -0.28, -0.32, 0.90),
    (49, -17.5, -59.4, 22.6, -0.52, -0.12, 0.84),
    (50, -9.0, -58.2, 26.9, -0.24, -0.08, 0.97),
    (51, 0.0, -59.5, 27.7, 0.00, -0.08, 1.00),
    (55, 16.8, -76.5, 18.3, 0.56, -0.16, 0.81),
    (56, 8.9, -78.7, 22.4, 0.33, -0.29, 0.90),
    (57, 0.0, -79.4, 23.4, 0.00, -0.40, 0.92),
    (60, -28.8, -65.1, 6.2, -0.65, -0.25, 0.72),
    (61, -14.8, -63.7, 18.1, -0.41, -0.55, 0.73),
    (62, 0.0, -64.5, 22.3, 0.00, -0.38, 0.93),
    (65, 14.4, -69.7, 16.7, 0.44, -0.01, 0.90),
    (66, 0.0, -71.1, 20.7, 0.00, -0.04, 1.00),
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
    weights = _WEIGHTS / _WEIGHTS.sum()
    shape = (MEAN68 - weights @ MEAN68) @ HEAD_TO_CAMERA.T
    image = points - weights @ points
    root = np.sqrt(weights)[:, None]
    affine = np.linalg.lstsq(root * shape, root * image, rcond=None)[0].T
    u, values, vt = np.linalg.svd(affine, full_matrices=False)
    if values[1] < 1e-9 * max(values[0], 1e-30) or values[0] <= 0:
        raise InputError("ibug68: all points lie on one line or in one place; no pose is defined")
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
