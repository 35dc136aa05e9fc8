"""Photographs as the fit compares them: one channel, blurred, logarithm of linear light."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numba
import numpy as np
from numba import types

from facekit.geometry.cameras import scale_intrinsics
from facekit.render.shade import srgb_to_linear
from facekit.types import Camera

# Blur after shrinking, in pixels of the shrunk picture: smooth enough to be interpolated linearly.
_BLUR_PX = 1.2


class ImageLevel(NamedTuple):
    """One level of the pyramid, cut out around the face.

    Attributes:
        values: (h, w) float64, log(light + floor).
        scale: pixels of the level per pixel of the photograph.
        left, top: pixel of the whole level that is the cut's (0, 0).
        intrinsics: (3, 3) of the cut.
        floor: light added before the logarithm.
    """

    values: np.ndarray
    scale: float
    left: int
    top: int
    intrinsics: np.ndarray
    floor: float

    def sample(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return values (N,), their derivatives (N, 2) and which points (N, 2) lie inside.

        Bilinear; the derivatives are those of the interpolation itself. Outside, values and
        derivatives are 0.
        """
        count = len(points)
        value, slope = np.zeros(count), np.zeros((count, 2))
        inside = np.zeros(count, bool)
        _sample(self.values, np.ascontiguousarray(points, np.float64), value, slope, inside)
        return value, slope, inside


def channel_weights(red: float) -> np.ndarray:
    """Return weights (3,) of linear RGB; what is not red is green and blue two to one."""
    return np.array([red, (1 - red) * 2 / 3, (1 - red) / 3])


def face_light(image: np.ndarray, points: np.ndarray, weights: np.ndarray) -> float:
    """Return the median light of an image's pixels nearest to points (N, 2) inside it."""
    height, width = image.shape[:2]
    x, y = np.rint(points).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    if not inside.any():
        return 0.0
    return float(np.median(srgb_to_linear(image[y[inside], x[inside]] / np.float32(255)) @ weights))


def shrunk_mask(mask: np.ndarray, blur_px: float) -> np.ndarray:
    """Return a mask (H, W) whose pixels no masked one reaches by a blur of this deviation."""
    reach = max(1, round(1.5 * blur_px))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    kept = cv2.erode(np.asarray(mask, np.float32), disc, borderValue=1.0)
    return np.clip(kept, 0, 1)


def make_level(
    image: np.ndarray,
    camera: Camera,
    box: tuple[float, float, float, float],
    *,
    weights: np.ndarray,
    blur_px: float,
    floor: float,
) -> ImageLevel:
    """Cut out, shrink and blur a photograph.

    Light is averaged linearly, before the logarithm.

    Args:
        image: (H, W, 3) uint8 sRGB.
        camera: of the photograph; only its intrinsics are used.
        box: (left, top, right, bottom) in pixels that must be inside the cut.
        weights: (3,) of linear RGB.
        blur_px: deviation of the blur in the photograph's pixels; at least what its
            pixels have themselves.
        floor: light added before the logarithm.
    """
    height, width = image.shape[:2]
    scale = min(1.0, _BLUR_PX / max(blur_px, 1e-6))
    margin = 4 * blur_px + 4
    left, top = (int(max(0, np.floor(box[i] - margin))) for i in (0, 1))
    right = int(min(width, np.ceil(box[2] + margin)))
    bottom = int(min(height, np.ceil(box[3] + margin)))
    part = image[top : max(bottom, top + 2), left : max(right, left + 2)]
    light = srgb_to_linear(part / np.float32(255)) @ weights.astype(np.float32)
    blur = cv2.GaussianBlur(light, (0, 0), max(blur_px, 0.3), borderType=cv2.BORDER_REPLICATE)
    if scale < 1:
        size = (max(2, round(light.shape[1] * scale)), max(2, round(light.shape[0] * scale)))
        ratio = np.array([size[0] / light.shape[1], size[1] / light.shape[0]])
        blur = cv2.resize(blur, size, interpolation=cv2.INTER_LINEAR)
    else:
        ratio = np.ones(2)
    intrinsics = camera.intrinsics.copy()
    intrinsics[0, 2] -= left
    intrinsics[1, 2] -= top
    intrinsics = _stretched(intrinsics, ratio)
    values = np.log(np.maximum(blur.astype(np.float64), 0) + floor)
    return ImageLevel(values, float(ratio.mean()), left, top, intrinsics, floor)


def _stretched(intrinsics: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    across, down = (scale_intrinsics(intrinsics, float(r)) for r in ratio)
    return np.stack([across[0], down[1], intrinsics[2]])


@numba.njit(
    types.void(
        types.Array(types.float64, 2, "C", readonly=True),
        types.Array(types.float64, 2, "C", readonly=True),
        types.float64[::1],
        types.float64[:, ::1],
        types.boolean[::1],
    ),
    nogil=True,
    cache=True,
)
def _sample(image, points, value, slope, inside):
    height, width = image.shape
    for n in range(points.shape[0]):
        x, y = points[n, 0], points[n, 1]
        # Written so that NaN fails it too.
        if not (x >= 0 and y >= 0 and x < width - 1 and y < height - 1):
            continue
        i, j = int(x), int(y)
        u, v = x - i, y - j
        a, b = image[j, i], image[j, i + 1]
        c, d = image[j + 1, i], image[j + 1, i + 1]
        value[n] = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)
        slope[n, 0] = (1 - v) * (b - a) + v * (d - c)
        slope[n, 1] = (1 - u) * (c - a) + u * (d - b)
        inside[n] = True
