"""A head's pose as a crop shows it: what a network can see, whatever the camera was.

A picture alone tells neither focal length nor where in the photograph the crop was. So the
rotation is that seen along the ray to the head (a head beside the picture's middle looks turned),
and the distance is counted in crop sides. With the photograph's camera both turn back into the
pose in millimetres.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.crop import crop_camera

# The head frame's point whose place and distance are told: between the eyes' centres and the
# middle of the head, mm.
REFERENCE_MM = np.array([0.0, 0.0, 60.0])


class CropPose(NamedTuple):
    """Pose in a crop.

    Attributes:
        rotation: (6,) first two columns of the head-to-camera rotation seen along the ray to the
            reference point (Zhou et al., On the continuity of rotation representations in neural
            networks, 2019).
        translation: (3,) the reference point's place in the crop, fractions of its side from its
            middle, and the natural logarithm of the millimetres at its distance that one side
            of the crop spans.
    """

    rotation: np.ndarray
    translation: np.ndarray


def encode_pose(
    rotation: np.ndarray,
    translation: np.ndarray,
    intrinsics: np.ndarray,
    crop: SimilarityTransform,
    *,
    size: int,
) -> CropPose:
    """Return what a crop shows of a head's pose.

    Args:
        rotation: (3, 3) head to camera; translation: (3,) mm.
        intrinsics: (3, 3) of the photograph, one focal length, no skew.
        crop: photograph to crop pixels.
        size: side of the crop.

    Raises:
        InputError: the reference point lies behind the camera.
    """
    camera = crop_camera(intrinsics, crop)
    turned = camera.rotation @ check_array(rotation, "rotation", shape=(3, 3))
    placed = turned @ REFERENCE_MM + camera.rotation @ np.asarray(translation, np.float64)
    if placed[2] <= 0:
        raise InputError("pose: expected the head before the camera, it lies behind")
    spot = camera.intrinsics @ (placed / placed[2])
    seen = _towards(placed).T @ turned
    side_mm = placed[2] / camera.intrinsics[0, 0] * size
    place = (spot[:2] + 0.5) / size - 0.5
    return CropPose(seen[:, :2].T.reshape(-1), np.append(place, np.log(side_mm)))


def decode_pose(
    pose: CropPose, intrinsics: np.ndarray, crop: SimilarityTransform, *, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return head-to-camera rotation (3, 3) and translation (3,) in mm; undoes ``encode_pose``.

    The six numbers need not be orthonormal: they are made so, the first column's direction kept.

    Raises:
        InputError: two parallel columns.
    """
    camera = crop_camera(intrinsics, crop)
    place = np.asarray(pose.translation, np.float64)
    focal, centre = camera.intrinsics[0, 0], camera.intrinsics[:2, 2]
    depth = np.exp(place[2]) * focal / size
    spot = (place[:2] + 0.5) * size - 0.5
    placed = depth * np.append((spot - centre) / focal, 1.0)
    turned = _towards(placed) @ rotation_of_columns(pose.rotation)
    translation = placed - turned @ REFERENCE_MM
    return camera.rotation.T @ turned, camera.rotation.T @ translation


def place_in_crop(
    points: np.ndarray, pose: CropPose, *, distance_mm: float, size: int
) -> np.ndarray:
    """Return where points (N, 3) of the head frame, mm, lie in the crop, (N, 2) pixels.

    Exact for a head on the optical axis; the stretch of a picture's borders is left out (under 3 %
    of the side at 12 degrees).

    Args:
        points: of the head.
        pose: as the crop shows it.
        distance_mm: from the camera to the reference point: how strong the perspective is, which
            a crop does not tell.
        size: side of the crop.
    """
    place = np.asarray(pose.translation, np.float64)
    seen = (points - REFERENCE_MM) @ rotation_of_columns(pose.rotation).T
    nearer = 1 + seen[:, 2:] / distance_mm
    fractions = place[:2] + np.exp(-place[2]) * seen[:, :2] / nearer
    return (fractions + 0.5) * size - 0.5


def rotation_of_columns(six: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) of two columns (6,) by Gram and Schmidt.

    Raises:
        InputError: they are parallel or zero.
    """
    first, second = check_array(six, "rotation columns", shape=(6,)).astype(float).reshape(2, 3)
    x = first / max(float(np.linalg.norm(first)), 1e-12)
    y = second - (x @ second) * x
    length = float(np.linalg.norm(y))
    if length < 1e-6 * max(float(np.linalg.norm(second)), 1e-12) or np.linalg.norm(first) < 1e-9:
        raise InputError("rotation columns: expected two directions, got parallel or zero ones")
    y = y / length
    return np.column_stack([x, y, np.cross(x, y)])


def _towards(point: np.ndarray) -> np.ndarray:
    """The smallest turn (3, 3) that takes the optical axis to a point (3,)."""
    ray = point / np.linalg.norm(point)
    axis = np.array([-ray[1], ray[0], 0.0])
    cosine = ray[2]
    cross = np.array([[0, 0, axis[1]], [0, 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)
