"""Two rows of teeth behind the lips of heads that come without."""

from __future__ import annotations

import numpy as np

from facekit.simulate.pieces import Piece, grid_faces, merge
from facekit.simulate.subject import TEETH

# Of an adult's dental arch, in standard millimetres.
_HALF_WIDTH = 23.0
_DEPTH = 34.0
_HEIGHT = 9.0
# The front teeth lie this far behind the lips' inner points.
_BEHIND_LIPS = 5.5


def teeth(neutral: np.ndarray, posed: np.ndarray) -> Piece:
    """Return both rows, standard millimetres.

    The upper row belongs to the skull and is placed by the neutral inner upper lip; the lower
    one moves with the lower lip.

    Args:
        neutral, posed: (68, 3) iBUG points of the neutral head and of the rendered one.
    """
    upper, lower = neutral[61:64].mean(0), neutral[65:68].mean(0)
    drop = min(float((posed[65:68].mean(0) - lower)[1]), 0.0)
    # The jaw turns about the ears, so the lower teeth also go back as they go down.
    below = lower + np.array([0.0, 0.85 * drop, 0.35 * drop])
    parts = [
        _arch(upper[1] + 1.5, upper[1] + 1.5 - _HEIGHT, upper[2] - _BEHIND_LIPS),
        _arch(below[1] - 1.0, below[1] - 1.0 - _HEIGHT, below[2] - _BEHIND_LIPS - 2),
    ]
    vertices, faces = merge(parts)
    return Piece(vertices, faces, np.full(len(faces), TEETH, np.int8), vertices, two_sided=True)


def _arch(top: float, bottom: float, front: float) -> tuple[np.ndarray, np.ndarray]:
    angle = np.linspace(-1.25, 1.25, 57)
    # Each tooth bulges a little; eight to a side.
    tooth = np.abs(np.sin(angle / 1.25 * 8 * np.pi / 2))
    bulge = 0.9 * np.sqrt(tooth)
    x = (_HALF_WIDTH + bulge) * np.sin(angle) / np.sin(1.25)
    z = front - _DEPTH * (1 - np.cos(angle)) / (1 - np.cos(1.25)) + bulge
    rows = []
    for height, inwards in ((top, 2.5), ((top + bottom) / 2, 0.0), (bottom, 1.5)):
        rows.append(np.stack([x, np.full_like(x, height), z - inwards], axis=1))
    return np.concatenate(rows).astype(np.float32), grid_faces(3, len(angle))
