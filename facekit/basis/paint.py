"""A mean skin colour for the template, painted by region in linear RGB.

A stand-in until an albedo is learned: skin with redder lips, cheeks and nose, darker brows and
nostrils, white eyeballs with iris and pupil, a dark mouth.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from facekit.basis.template import EYEBALL_END
from facekit.geometry.mesh import vertex_adjacency

_SKIN = np.array([0.50, 0.29, 0.205])
_LIPS = np.array([0.40, 0.155, 0.125])
_BROW = np.array([0.115, 0.070, 0.048])
_CHEEK = np.array([0.53, 0.255, 0.19])
_INSIDE = np.array([0.10, 0.030, 0.025])
_NOSTRIL = np.array([0.13, 0.055, 0.040])
_LID = np.array([0.34, 0.175, 0.13])
_SCALP = np.array([0.40, 0.245, 0.18])
_SCLERA = np.array([0.66, 0.61, 0.58])
_IRIS = np.array([0.115, 0.075, 0.045])
_PUPIL = np.array([0.008, 0.008, 0.008])
# Angles from the gaze: an iris of 11.7 mm and a pupil of 4 mm on the eyeball's sphere.
IRIS_RADIUS_MM = 5.9
PUPIL_RADIUS_MM = 2.1


def paint_albedo(
    masks: dict[str, np.ndarray],
    faces: np.ndarray,
    *,
    eyeball_polar: np.ndarray,
    eyeball_radius: float,
) -> np.ndarray:
    """Return (V, 3) float32 linear RGB.

    Args:
        masks: of ``region_masks``; faces: (F, 3).
        eyeball_polar: (N,) angle from the gaze of each vertex of one eyeball, radians.
        eyeball_radius: mm.
    """
    n = len(masks["skin"])
    average = vertex_adjacency(faces, n).astype(float) + sp.eye_array(n)
    average = sp.csr_array(sp.diags_array(1.0 / average.sum(axis=1)) @ average)

    def soft(name: str, rounds: int) -> np.ndarray:
        value = masks[name].astype(float)
        for _ in range(rounds):
            value = average @ value
        return value[:, None]

    colour = np.tile(_SKIN, (n, 1))
    for name, tone, rounds, strength in (
        ("scalp", _SCALP, 6, 0.8),
        ("cheeks", _CHEEK, 8, 0.6),
        ("nose", _CHEEK, 6, 0.6),
        ("eyelids", _LID, 3, 0.45),
        ("eyelid_rim", _BROW, 1, 0.9),
        ("lips", _LIPS, 1, 1.0),
        ("brows", _BROW, 1, 0.9),
        ("nostrils", _NOSTRIL, 1, 1.0),
    ):
        share = strength * soft(name, rounds)
        colour = colour * (1 - share) + tone * share
    inside = masks["mouth_inside"] & ~masks["lip_rim"]
    colour[inside] = _INSIDE
    colour[masks["eye_socket"]] = _LID
    ball = _eyeball(eyeball_polar, eyeball_radius)
    colour[masks["eyeball_left"]] = ball
    colour[masks["eyeball_right"]] = ball
    return colour.astype(np.float32)


def _eyeball(polar: np.ndarray, radius: float) -> np.ndarray:
    reach = radius * np.sin(np.minimum(polar, np.pi / 2))
    colour = np.tile(_SCLERA, (len(polar), 1))
    colour[polar > 0.6 * EYEBALL_END] *= [0.8, 0.45, 0.4]
    colour[reach <= IRIS_RADIUS_MM] = _IRIS
    colour[(reach <= IRIS_RADIUS_MM) & (reach > 0.8 * IRIS_RADIUS_MM)] *= 0.55
    colour[reach <= PUPIL_RADIUS_MM] = _PUPIL
    return np.where((polar > np.pi / 2)[:, None], _SCLERA * [0.8, 0.45, 0.4], colour)
