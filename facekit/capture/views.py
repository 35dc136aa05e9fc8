"""Photographs with their cameras, made ready for matching: without distortion, in grey."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from facekit.errors import InputError
from facekit.geometry.cameras import scale_intrinsics
from facekit.types import Camera


class View(NamedTuple):
    """A photograph without lens distortion.

    Attributes:
        name: how files and reports name it.
        camera: its pinhole camera; the distortion is zero.
        colour: (H, W, 3) uint8 sRGB.
        grey: (H, W) float32, 0 to 255.
        wanted: (H, W) bool: pixels inside the photograph and its mask.
    """

    name: str
    camera: Camera
    colour: np.ndarray
    grey: np.ndarray
    wanted: np.ndarray


def make_view(
    name: str, image: np.ndarray, camera: Camera, *, mask: np.ndarray | None = None
) -> View:
    """Take a photograph's lens distortion away; size and intrinsics stay.

    Args:
        name: of the view.
        image: (H, W, 3) uint8 RGB.
        camera: with OpenCV distortion; pixel (0, 0) is the centre of the top-left pixel.
        mask: (H, W) bool, what belongs to the subject, or None for everything.

    Raises:
        InputError: the image's size is not the camera's, or the mask's is another.
    """
    height, width = image.shape[:2]
    if (width, height) != (camera.width, camera.height):
        raise InputError(
            f"{name}: is {width} x {height}, its camera {camera.width} x {camera.height}; "
            "give photographs of the size that was calibrated"
        )
    if mask is not None and mask.shape != (height, width):
        raise InputError(f"{name}: expected a mask of {width} x {height}, got {mask.shape[::-1]}")
    wanted = np.ones((height, width), bool) if mask is None else mask
    plain = Camera(camera.intrinsics, camera.rotation, camera.translation, width, height)
    if np.any(camera.distortion):
        x, y = cv2.initUndistortRectifyMap(
            camera.intrinsics,
            camera.distortion,
            np.eye(3),
            camera.intrinsics,
            (width, height),
            cv2.CV_32FC1,
        )
        image = cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
        near = cv2.remap(wanted.astype(np.uint8), x, y, cv2.INTER_NEAREST) > 0
        wanted = inside & near
    grey = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY)
    return View(name, plain, image, grey, wanted)


def halve(image: np.ndarray) -> np.ndarray:
    """Return an image at half size, each pixel the mean of four; an odd last line is dropped."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    return cv2.resize(
        image[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA
    )


def halved(view: View) -> View:
    """Return a view at half size; an odd last line is dropped."""
    colour = halve(view.colour)
    camera = Camera(
        level_intrinsics(view.camera, 1),
        view.camera.rotation,
        view.camera.translation,
        colour.shape[1],
        colour.shape[0],
    )
    wanted = halve(view.wanted.astype(np.uint8) * 255) > 0
    return View(view.name, camera, colour, halve(view.grey), wanted)


def level_intrinsics(camera: Camera, level: int) -> np.ndarray:
    """Return the intrinsics (3, 3) after halving the image ``level`` times."""
    return scale_intrinsics(camera.intrinsics, 0.5**level)


def pair_rows(
    view: Camera, others: list[Camera], *, level: int = 0, other_level: int | None = None
) -> np.ndarray:
    """Return (N, 12) float64 rows [A | b]: pixel x at inverse depth w is at A x + w b in another.

    Args:
        view: the camera whose pixels they are.
        others: N cameras.
        level: how often the view's image was halved; other_level: the others', if different.
    """
    inverse = np.linalg.inv(level_intrinsics(view, level))
    rows = np.empty((len(others), 12))
    for row, other in zip(rows, others, strict=True):
        K = level_intrinsics(other, level if other_level is None else other_level)
        rotation = other.rotation @ view.rotation.T
        row[:9] = (K @ rotation @ inverse).ravel()
        row[9:] = K @ (other.translation - rotation @ view.translation)
    return rows


def centre(camera: Camera) -> np.ndarray:
    """Return a camera's centre (3,) in the world."""
    return -camera.rotation.T @ camera.translation


def ray_directions(camera: Camera, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the directions (N, 3), depth 1, of pixels in the camera's own frame (no lens)."""
    pixels = np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float64)
    return pixels @ np.linalg.inv(camera.intrinsics).T
