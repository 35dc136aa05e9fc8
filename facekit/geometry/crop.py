"""Crops: square pieces of an image taken by a similarity, and what they do to a camera.

A crop of size S spans [-0.5, S - 0.5] on both axes: pixel (0, 0) is the CENTRE of the top-left
pixel, in the image and in the crop. Transforms take image pixels to crop pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.geometry.alignment import SimilarityTransform, align_similarity

# Where ``five-v1`` puts right eye, left eye, nose tip, right and left mouth corner, as fractions
# of the crop's side: the mean of near-frontal faces, made symmetric, in a square 1.3 times the
# height from the top of the forehead to the chin.
FIVE_V1 = np.array([[0.363, 0.361], [0.637, 0.361], [0.5, 0.510], [0.362, 0.643], [0.638, 0.643]])
CROP_ID = "five-v1"


def five_crop(five: np.ndarray, *, size: int) -> SimilarityTransform:
    """Return the ``five-v1`` transform: the similarity that takes five points to their targets.

    Args:
        five: (5, 2) image pixels: right eye, left eye, nose tip, right and left mouth corner
            (the person's right first).
        size: side of the crop in pixels.

    Raises:
        InputError: not five finite points, all points equal, or a size below 1.
    """
    points = check_array(five, "five points", shape=(5, 2))
    if size < 1:
        raise InputError(f"crop size: expected at least 1 pixel, got {size}")
    return align_similarity(points, FIVE_V1 * size - 0.5)


def square_crop(
    centre: np.ndarray, side: float, *, size: int, roll: float = 0.0
) -> SimilarityTransform:
    """Return the transform of a square of the image, upright after a turn by ``roll``.

    Args:
        centre: (2,) image pixels.
        side: side of the square in image pixels, > 0.
        size: side of the crop in pixels.
        roll: clockwise turn (radians) of the content in the image that the crop undoes.

    Raises:
        InputError: a side that is not positive and finite.
    """
    if not (np.isfinite(side) and side > 0):
        raise InputError(f"crop side: expected a positive number of pixels, got {side}")
    scale = size / float(side)
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.array([[c, s], [-s, c]])
    middle = np.full(2, (size - 1) / 2)
    return SimilarityTransform(scale, rotation, middle - scale * rotation @ np.asarray(centre))


def box_crop(
    box: np.ndarray, *, size: int, margin: float = 1.3, roll: float = 0.0
) -> SimilarityTransform:
    """Return the crop about a box (x, y, width, height): side = margin * longer side."""
    box = check_array(box, "box", shape=(4,)).astype(np.float64)
    centre = box[:2] + box[2:] / 2
    return square_crop(centre, margin * box[2:].max(), size=size, roll=roll)


def points_crop(
    points: np.ndarray, *, roll: float, size: int, margin: float = 1.3
) -> SimilarityTransform:
    """Return the crop about points (N, 2), upright after undoing ``roll``.

    The square is centred on the points' bounding rectangle along the turned axes; its side is
    ``margin`` times that rectangle's longer side.
    """
    points = check_array(points, "points", shape=("N", 2)).astype(np.float64)
    if len(points) < 2:
        raise InputError(f"points: expected at least 2 for a crop, got {len(points)}")
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.array([[c, s], [-s, c]])
    turned = points @ rotation.T
    low, high = turned.min(0), turned.max(0)
    centre = rotation.T @ ((low + high) / 2)
    return square_crop(centre, margin * float((high - low).max()), size=size, roll=roll)


def warp(image: np.ndarray, crop: SimilarityTransform, *, size: int) -> np.ndarray:
    """Return the (size, size, C) crop: bilinear, zero outside the image, the image's dtype.

    A crop that shrinks by more than 2 reads an image averaged to about twice the crop's scale
    first, else fine texture would alias.
    """
    shrink = 1.0 / crop.scale
    if shrink >= 4 or (shrink > 2 and min(image.shape[:2]) > 2 * size):
        image, crop = _reduced(image, crop, shrink / 2)
    return cv2.warpAffine(
        image,
        crop.matrix(),
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )


def _reduced(
    image: np.ndarray, crop: SimilarityTransform, factor: float
) -> tuple[np.ndarray, SimilarityTransform]:
    height, width = image.shape[:2]
    new = max(1, round(width / factor)), max(1, round(height / factor))
    # One factor for both axes keeps the transform a similarity; the rounding of the size is
    # below half a pixel of the reduced image.
    sx, sy = new[0] / width, new[1] / height
    small = cv2.resize(image, new, interpolation=cv2.INTER_AREA)
    scale = (sx + sy) / 2
    shift = np.array([0.5 / sx - 0.5, 0.5 / sy - 0.5])
    rotation = crop.rotation
    translation = crop.scale * rotation @ shift + crop.translation
    return small, SimilarityTransform(crop.scale / scale, rotation, translation)


class CropCamera(NamedTuple):
    """Intrinsics (3, 3) of a crop and the turn (3, 3) its upright view applies to the camera."""

    intrinsics: np.ndarray
    rotation: np.ndarray


def crop_camera(intrinsics: np.ndarray, crop: SimilarityTransform) -> CropCamera:
    """Return the camera that sees the crop.

    With x = K X / Z and x' = s A x + t, a crop is the view of the camera K' turned by R about
    its own axis: x' = K' R X / Z, R = diag(A, 1). So a head-to-camera rotation and translation
    in the crop are ``R @ rotation`` and ``R @ translation``.

    Args:
        intrinsics: (3, 3) of the full image, one focal length, no skew (to 0.1 %).
        crop: image pixels to crop pixels.

    Raises:
        InputError: two focal lengths or skew; such a camera has no pinhole crop under a turn.
    """
    K = check_array(intrinsics, "intrinsics", shape=(3, 3)).astype(np.float64)
    if abs(K[0, 0] - K[1, 1]) > 1e-3 * abs(K[0, 0]) or abs(K[0, 1]) > 1e-3 * abs(K[0, 0]):
        raise InputError(
            "intrinsics: expected one focal length and no skew for a crop, got "
            f"fx {K[0, 0]:.2f}, fy {K[1, 1]:.2f}, skew {K[0, 1]:.2f}"
        )
    focal = crop.scale * (K[0, 0] + K[1, 1]) / 2
    cx, cy = crop.apply(K[:2, 2])
    rotation = np.eye(3)
    rotation[:2, :2] = crop.rotation
    return CropCamera(np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]]), rotation)


def uncrop_camera(camera: CropCamera, crop: SimilarityTransform) -> np.ndarray:
    """Return the full image's intrinsics (3, 3) of a crop's camera: undoes ``crop_camera``."""
    return crop_camera(camera.intrinsics, crop.inverse()).intrinsics
