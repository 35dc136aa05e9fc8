"""Rotations: the project's Euler angles and rotation vectors.

Convention: R = Rz(roll) Ry(yaw) Rx(pitch) in the head frame (+X image right in a frontal view,
+Y up, +Z out of the face), radians. Yaw > 0 turns the nose to image right, pitch > 0 lifts it,
roll > 0 is clockwise in the image. ``rotation`` of a fit takes the head frame to the OpenCV
camera frame: ``HEAD_TO_CAMERA @ R``.
"""

from __future__ import annotations

import math

import numpy as np

# The frontal view: +Y up becomes +y down, +Z out of the face becomes -z towards the camera.
HEAD_TO_CAMERA = np.diag([1.0, -1.0, -1.0])


def euler_to_matrix(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return the (3, 3) head rotation R of angles in radians (see the module's convention)."""
    cy, sy = np.cos(yaw), np.sin(yaw)
    # Lifting the nose turns +Z towards +Y, and clockwise in the image turns +Y towards +X:
    # both are left-handed about their axes, hence the signs.
    cp, sp = np.cos(-pitch), np.sin(-pitch)
    cr, sr = np.cos(-roll), np.sin(-roll)
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def matrix_to_euler(rotation: np.ndarray) -> tuple[float, float, float]:
    """Return (yaw, pitch, roll) in radians of a (3, 3) head rotation; yaw in [-pi/2, pi/2].

    Degenerate: at yaw = +-90 degrees pitch and roll are not separate; roll is then 0.
    """
    sin_yaw = -rotation[2, 0]
    yaw = float(np.arcsin(np.clip(sin_yaw, -1, 1)))
    if abs(sin_yaw) > 1 - 1e-9:
        return yaw, -float(np.arctan2(-rotation[1, 2], rotation[1, 1])), 0.0
    pitch = -float(np.arctan2(rotation[2, 1], rotation[2, 2]))
    roll = -float(np.arctan2(rotation[1, 0], rotation[0, 0]))
    return yaw, pitch, roll


def camera_rotation_to_euler_deg(rotation: np.ndarray) -> tuple[float, float, float]:
    """Return (yaw, pitch, roll) in degrees of a (3, 3) head-to-camera rotation."""
    yaw, pitch, roll = matrix_to_euler(HEAD_TO_CAMERA @ rotation)
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def rotvec_to_matrix(rotvec: np.ndarray) -> np.ndarray:
    """Return the (3, 3) matrix of a rotation vector (3,), radians (Rodrigues)."""
    x, y, z = (float(part) for part in rotvec)
    square = x * x + y * y + z * z
    angle = math.sqrt(square)
    if angle < 1e-12:
        s, c = 1.0, 0.5
    else:
        s, c = math.sin(angle) / angle, (1 - math.cos(angle)) / square
    return np.array(
        [
            [1 - c * (y * y + z * z), c * x * y - s * z, c * x * z + s * y],
            [c * x * y + s * z, 1 - c * (x * x + z * z), c * y * z - s * x],
            [c * x * z - s * y, c * y * z + s * x, 1 - c * (x * x + y * y)],
        ]
    )


def matrix_to_rotvec(rotation: np.ndarray) -> np.ndarray:
    """Return the rotation vector (3,), radians, of a (3, 3) matrix; undoes ``rotvec_to_matrix``.

    Degenerate: at a half turn both axes are right; one of them is returned.
    """
    doubled = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    sine, cosine = np.linalg.norm(doubled) / 2, (np.trace(rotation) - 1) / 2
    angle = float(np.arctan2(sine, cosine))
    if sine > 1e-6:
        return doubled * (angle / (2 * sine))
    if cosine > 0:
        return doubled / 2
    # R + 1 = 2 a a^T at a half turn.
    outer = (rotation + np.eye(3)) / 2
    axis = outer[:, int(np.argmax(np.diag(outer)))]
    sign = -1.0 if doubled @ axis < 0 else 1.0
    return sign * angle * axis / np.linalg.norm(axis)


def skew(vector: np.ndarray) -> np.ndarray:
    """Return the (3, 3) matrix with ``skew(v) @ w == cross(v, w)``."""
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=np.float64)
