"""Every other pixel: a picture's pixels in two colours, and one colour filled in from the other.

Windows about neighbouring pixels overlap nearly wholly, so what matching finds at one of them is
nearly known at the next: a depth map that is matched at every other pixel has all its detail.
"""

from __future__ import annotations

import numpy as np

_BESIDE = ((0, 1), (0, -1), (1, 0), (-1, 0))


def two_colours(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the black and the white squares (H, W) bool of a chessboard of pixels."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    white = ((x + y) & 1).astype(bool)
    return ~white, white


def fill_between(
    planes: np.ndarray,
    score: np.ndarray,
    deviation: np.ndarray,
    *,
    wanted: np.ndarray,
    focal: float,
    farthest_px: float = 3.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give each wanted pixel the mean of the four beside it, continued to it.

    Args:
        planes: (H, W, 3) float32 w, wx, wy; w is 0 where there is none.
        score, deviation: (H, W) float32.
        wanted: (H, W) bool, the pixels to fill; those beside them have values already.
        focal: focal length, pixels.
        farthest_px: the continued planes must agree within this many pixels' widths, else the
            pixel (at an edge) stays empty; so does one with fewer than two of them.

    Returns:
        ``(planes, score, deviation)`` with the pixels filled; a score is the least of the four.
    """
    height, width = wanted.shape
    rows, columns = np.nonzero(wanted)
    total = np.zeros((len(rows), 3), np.float32)
    count = np.zeros(len(rows), np.int32)
    low = np.full(len(rows), np.inf, np.float32)
    high = np.full(len(rows), -np.inf, np.float32)
    least = np.full(len(rows), np.inf, np.float32)
    spread = np.zeros(len(rows), np.float32)
    for dy, dx in _BESIDE:
        y, x = rows + dy, columns + dx
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        y, x = np.where(inside, y, 0), np.where(inside, x, 0)
        beside = planes[y, x]
        there = inside & (beside[:, 0] > 0)
        w = beside[:, 0] - beside[:, 1] * dx - beside[:, 2] * dy
        beside[:, 0] = w
        total += np.where(there[:, None], beside, 0)
        spread += np.where(there, deviation[y, x], 0)
        count += there
        low, high = (
            np.where(there, np.minimum(low, w), low),
            np.where(there, np.maximum(high, w), high),
        )
        least = np.where(there, np.minimum(least, score[y, x]), least)
    share = 1 / np.maximum(count, 1).astype(np.float32)
    total *= share[:, None]
    good = (count >= 2) & (high - low < farthest_px / focal * total[:, 0])
    filled = planes.copy(), score.copy(), deviation.copy()
    filled[0][rows, columns] = np.where(good[:, None], total, 0)
    filled[1][rows, columns] = np.where(good, least, -1)
    filled[2][rows, columns] = np.where(good, spread * share, 0)
    return filled
