"""Skin tone as it appears in a photograph: the individual typology angle of the cheeks.

ITA = arctan((L* - 50) / b*) in degrees, from CIELAB under D65. It describes the picture, not the
person: light, exposure, white balance and make-up shift it, on a dark exposure by whole classes.

Sources: A. Chardon, I. Cretois and C. Hourseau, Skin colour typology and suntanning pathways,
1991 (the angle and its classes); S. Del Bino and F. Bernerd, Variations in skin colour and the
biological consequences of ultraviolet radiation exposure, 2013 (six classes).
"""

from __future__ import annotations

import numpy as np
from skimage.color import rgb2lab

from facekit.checks import check_array

# Least angle of each class, degrees, lightest first; the last has none.
CLASSES = (
    ("very light", 55.0),
    ("light", 41.0),
    ("intermediate", 28.0),
    ("tan", 10.0),
    ("brown", -30.0),
    ("dark", -np.inf),
)
# The iBUG points that the cheeks are found from.
NEEDED = (36, 39, 42, 45, 48, 54)
# A patch's radius over the distance from eye to mouth corner, and over its eye's width.
_RADIUS, _OF_EYE = 0.16, 0.45
# The cheek of an eye this much narrower than the other is turned away.
_TURNED = 0.6
# Skin is yellowish. Less says that the picture is grey or has a blue cast, which near b* = 0 would
# call any skin very light.
_LEAST_B = 5.0


def typology_angle(pixels: np.ndarray) -> float:
    """Return the angle in degrees, in (-90, 90), of the median colour of pixels (N, 3) uint8 sRGB.

    NaN for no pixels, or a median b* below 5: a grey or bluish picture says nothing of skin.
    """
    colours = check_array(pixels, "pixels", shape=("N", 3), dtype="uint8")
    if not len(colours):
        return float("nan")
    lightness, _, yellow = np.median(rgb2lab(colours[None])[0], axis=0)
    if yellow < _LEAST_B:
        return float("nan")
    return float(np.degrees(np.arctan((lightness - 50) / yellow)))


def tone_class(angle: float) -> str | None:
    """Return the name of an angle's class, or None for NaN."""
    if not np.isfinite(angle):
        return None
    return next(name for name, least in CLASSES if angle > least)


def skin_tone(image: np.ndarray, points: dict[int, np.ndarray]) -> float:
    """Return the typology angle in degrees of a face's cheeks, NaN where they cannot be seen.

    Two discs midway between each eye's middle and the mouth corner below it: under the eye, beside
    the nose. Their pixels' median counts; a cheek that is turned away is left out.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: pixel positions (2,) of the iBUG points ``NEEDED``.
    """
    eyes = [(points[36], points[39]), (points[42], points[45])]
    widths = [float(np.linalg.norm(a - b)) for a, b in eyes]
    parts = []
    for (outer, inner), width, corner in zip(eyes, widths, (points[48], points[54]), strict=True):
        if width < _TURNED * max(widths):
            continue
        eye = (outer + inner) / 2
        radius = min(_RADIUS * float(np.linalg.norm(corner - eye)), _OF_EYE * width)
        parts.append(_disc(image, (eye + corner) / 2, max(1.0, radius)))
    return typology_angle(np.concatenate(parts))


def _disc(image: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """Return the pixels (N, 3) of an image within a radius of a point."""
    low = np.maximum(np.floor(centre - radius), 0).astype(int)
    high = np.minimum(np.ceil(centre + radius) + 1, image.shape[1::-1]).astype(int)
    if (high <= low).any():
        return np.zeros((0, 3), np.uint8)
    x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    inside = np.hypot(x - centre[0], y - centre[1]) <= radius
    return image[low[1] : high[1], low[0] : high[0]][inside]
