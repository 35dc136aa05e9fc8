"""Reading an image between its pixels."""

from __future__ import annotations

import cv2
import numpy as np

# cv2.remap takes maps below 32768 on each side, so lists of places are folded.
_FOLD = 1024


def sample_image(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return bilinear samples (N, C) float32 of an image, borders repeated.

    Args:
        image: (H, W) or (H, W, C), uint8 or float32.
        x, y: (N,) pixels, (0, 0) the centre of the top-left pixel; any N, places outside too.
    """
    count = len(x)
    rows = -(-max(count, 1) // _FOLD)
    maps = np.zeros((2, rows * _FOLD), np.float32)
    maps[0, :count], maps[1, :count] = x, y
    found = cv2.remap(
        image,
        maps[0].reshape(rows, _FOLD),
        maps[1].reshape(rows, _FOLD),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return found.reshape(rows * _FOLD, -1)[:count].astype(np.float32)
