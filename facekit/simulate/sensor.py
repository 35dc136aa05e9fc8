"""From light to a file: exposure, white balance, lens blur, noise, tone curve, compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facekit.render.shade import to_uint8


@dataclass(frozen=True)
class SensorStyle:
    """One camera and its settings.

    Attributes:
        exposure: factor on the light.
        balance: (3,) factors of white balance.
        blur_px: deviation of the lens blur, pixels.
        motion_px, motion_deg: length and direction of camera shake; 0 for none.
        noise: read noise and shot noise strength, 1 a phone by day, 4 by night.
        contrast: exponent of the tone curve about middle grey.
        saturation: 1 natural, 0 a grey photograph.
        jpeg: quality 1 to 100, or 0 for none.
    """

    exposure: float
    balance: tuple[float, ...]
    blur_px: float
    motion_px: float
    motion_deg: float
    noise: float
    contrast: float
    saturation: float
    jpeg: int


def random_sensor(rng: np.random.Generator, *, size: int, clean: float = 0.5) -> SensorStyle:
    """Draw a camera; with probability ``clean`` the picture is nearly free of flaws."""
    good = rng.random() < clean
    balance = 1 + rng.normal(0, 0.05, 3)
    blur = rng.uniform(0.2, 0.5) if good else rng.gamma(1.5, 0.5) * size / 256
    shaken = not good and rng.random() < 0.15
    grey = rng.random() < 0.05
    return SensorStyle(
        exposure=float(np.exp(rng.normal(0, 0.12 if good else 0.3))),
        balance=tuple(float(b) for b in balance / balance.mean()),
        blur_px=float(min(blur, 0.012 * size + 0.3)),
        motion_px=float(rng.uniform(1, 0.02 * size + 1.5)) if shaken else 0.0,
        motion_deg=float(rng.uniform(0, 180)),
        noise=float(rng.uniform(0.1, 0.8) if good else rng.gamma(1.6, 1.1)),
        contrast=float(rng.uniform(0.92, 1.18)),
        saturation=0.0 if grey else float(rng.uniform(0.8, 1.2)),
        jpeg=_jpeg_quality(rng, good),
    )


def expose(linear: np.ndarray, style: SensorStyle, rng: np.random.Generator) -> np.ndarray:
    """Turn a linear picture (H, W, 3) float32 into a photograph, (H, W, 3) uint8 sRGB."""
    picture = linear * (style.exposure * np.array(style.balance, np.float32))
    picture = picture.astype(np.float32)
    if style.blur_px > 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), style.blur_px)
    if style.motion_px > 1:
        picture = cv2.filter2D(picture, -1, _shake(style.motion_px, style.motion_deg))
    if style.noise > 0:
        # Shot noise grows with the root of the light; both as of a full well of some 4000.
        deviation = style.noise * np.sqrt(6e-6 + 1.6e-4 * np.maximum(picture, 0))
        picture += deviation * rng.standard_normal(picture.shape, np.float32)
    grey = picture @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    picture = grey[..., None] + style.saturation * (picture - grey[..., None])
    picture = np.maximum(picture, 0)
    if style.contrast != 1:
        picture = 0.18 * (picture / 0.18) ** style.contrast
    # A shoulder keeps highlights from clipping hard.
    over = np.maximum(picture - 0.7, 0)
    picture = np.minimum(picture, 0.7) + 0.3 * (1 - np.exp(-over / 0.3))
    photograph = to_uint8(picture)
    if style.jpeg > 0:
        _, data = cv2.imencode(
            ".jpg", photograph[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, style.jpeg]
        )
        photograph = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    return np.ascontiguousarray(photograph)


def _jpeg_quality(rng: np.random.Generator, good: bool) -> int:
    if good:
        return int(rng.integers(88, 97))
    return int(rng.integers(35, 92)) if rng.random() < 0.5 else 0


def _shake(length: float, angle_deg: float) -> np.ndarray:
    side = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((side, side), np.float32)
    centre = side // 2
    for step in np.linspace(-length / 2, length / 2, 4 * side):
        x = centre + step * np.cos(np.radians(angle_deg))
        y = centre + step * np.sin(np.radians(angle_deg))
        kernel[int(np.clip(np.rint(y), 0, side - 1)), int(np.clip(np.rint(x), 0, side - 1))] += 1
    return kernel / kernel.sum()
