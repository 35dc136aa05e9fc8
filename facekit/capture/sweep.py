"""The first guess of a depth map: planes swept through the scene, scored, chosen semi-globally.

Planes are parallel to the picture and evenly spaced in inverse depth. Each neighbour is warped
onto the view by every plane and compared by zero-mean normalised cross-correlation (ZNCC) over
a square window; a pixel's cost for a plane is one minus the mean of its better neighbours, which
leaves out those in which the point is hidden. Costs are then aggregated along paths of four
directions, so that weak texture follows its surroundings.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from facekit.threads import run_ranges

# A window whose grey levels spread less than this (standard deviation, of 255) says nothing.
LEAST_SPREAD = 0.35

_IMAGE = types.Array(types.float32, 2, "C", readonly=True)
_STACK = types.Array(types.float32, 3, "C", readonly=True)
_PAIRS = types.Array(types.float64, 2, "C", readonly=True)
_LEVELS = types.Array(types.float64, 1, "C", readonly=True)
_VOLUME = types.float32[:, :, ::1]


def sweep_costs(
    image: np.ndarray,
    neighbours: np.ndarray,
    pairs: np.ndarray,
    inverse_depths: np.ndarray,
    *,
    radius: int,
    best: int,
) -> np.ndarray:
    """Return the matching cost of every pixel and plane, (H, W, D) float32 in [0, 2].

    Args:
        image: (H, W) float32 grey levels of the view.
        neighbours: (N, H', W') float32 grey levels.
        pairs: (N, 12) float64; row n holds A (3, 3) and b (3,) such that pixel (x, y) at inverse
            depth w is seen at ``A (x, y, 1) + w b`` (homogeneous) in neighbour n.
        inverse_depths: (D,) float64, 1 / mm.
        radius: half side of the window; it has 2 radius + 1 pixels a side.
        best: over how many of the best neighbours the score is averaged.

    Degenerate: where a window has no texture, leaves the picture, or no neighbour sees it, the
    cost is 1 (no correlation).
    """
    height, width = image.shape
    costs = np.empty((height, width, len(inverse_depths)), np.float32)
    run_ranges(
        lambda start, stop: _sweep(
            image, neighbours, pairs, inverse_depths, radius, best, costs, start, stop
        ),
        len(inverse_depths),
    )
    return costs


def aggregate(costs: np.ndarray, *, small: float = 0.08, large: float = 0.5) -> np.ndarray:
    """Return costs (H, W, D) summed along paths from the left, right, top and bottom.

    Each path's cost is ``c(p, d) + min(L(d), L(d +- 1) + small, min L + large) - min L`` with L
    that of the pixel before.

    Source: H. Hirschmueller, Stereo processing by semiglobal matching and mutual information,
    2008, eq. 13.
    """
    total = np.zeros_like(costs)
    run_ranges(lambda a, b: _paths(costs, total, small, large, True, a, b), costs.shape[0])
    run_ranges(lambda a, b: _paths(costs, total, small, large, False, a, b), costs.shape[1])
    return total


def choose(total: np.ndarray, costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best plane of every pixel between planes, and its own matching score.

    Args:
        total: (H, W, D) aggregated costs; costs: (H, W, D) of the pixels alone.

    Returns:
        ``(plane, score)``: (H, W) float32 index with a parabola's fraction, and 1 - cost there.
    """
    height, width, count = total.shape
    plane = np.argmin(total, axis=2)
    inner = np.clip(plane, 1, max(count - 2, 1))
    rows, columns = np.indices((height, width))
    score = 1 - costs[rows, columns, plane]
    if count < 3:
        return plane.astype(np.float32), score
    before, at, after = (total[rows, columns, inner + k] for k in (-1, 0, 1))
    bend = before - 2 * at + after
    shift = np.where(bend > 1e-6, 0.5 * (before - after) / np.maximum(bend, 1e-6), 0)
    shift = np.where(inner == plane, np.clip(shift, -0.5, 0.5), 0)
    return (plane + shift).astype(np.float32), score.astype(np.float32)


@numba.njit(inline="always")
def _warp(picture, a, w, warped, rows, columns):
    """Sample a neighbour where the view's pixels fall by plane w; NaN outside."""
    b0, b1, b2 = w * a[9], w * a[10], w * a[11]
    for y in range(warped.shape[0]):
        p0, q0, s0 = a[1] * y + a[2] + b0, a[4] * y + a[5] + b1, a[7] * y + a[8] + b2
        for x in range(warped.shape[1]):
            s = a[6] * x + s0
            inverse = 1.0 / s
            u, v = (a[0] * x + p0) * inverse, (a[3] * x + q0) * inverse
            if s > 0 and u >= 0 and v >= 0 and u < columns - 1 and v < rows - 1:
                i, j = int(u), int(v)
                fx, fy = np.float32(u - i), np.float32(v - j)
                top = picture[j, i]
                top += fx * (picture[j, i + 1] - top)
                low = picture[j + 1, i]
                low += fx * (picture[j + 1, i + 1] - low)
                warped[y, x] = top + fy * (low - top)
            else:
                warped[y, x] = np.float32(np.nan)


@numba.njit(inline="always")
def _column_sums(picture, other, y, radius, column):
    """Sums over rows y - radius to y + radius: of a picture, its square, its product."""
    column[:] = np.float32(0)
    plain, square, product = column[0], column[1], column[2]
    for k in range(y - radius, y + radius + 1):
        # Rows as arrays of their own: no index can be negative, so the loop becomes vectors.
        row, beside = picture[k], other[k]
        for x in range(row.shape[0]):
            h = row[x]
            plain[x] += h
            square[x] += h * h
            product[x] += h * beside[x]


@numba.njit(inline="always")
def _row_sums(column, radius, window):
    """Sums of column sums over x - radius to x + radius."""
    inner = column.shape[1] - 2 * radius
    window[:] = np.float32(0)
    for c in range(3):
        target = window[c, radius:]
        for k in range(2 * radius + 1):
            shifted = column[c, k:]
            for x in range(inner):
                target[x] += shifted[x]


@numba.njit(
    types.void(
        _IMAGE,
        _STACK,
        _PAIRS,
        _LEVELS,
        types.int64,
        types.int64,
        _VOLUME,
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _sweep(image, neighbours, pairs, levels, radius, best, costs, start, stop):
    """Fill planes [start, stop) of the cost volume."""
    height, width = image.shape
    count = neighbours.shape[0]
    rows, columns = neighbours.shape[1], neighbours.shape[2]
    size = np.float32((2 * radius + 1) ** 2)
    share = np.float32(1) / size
    least = np.float32(LEAST_SPREAD * LEAST_SPREAD) * size
    warped = np.empty((height, width), np.float32)
    scores = np.empty((count, height, width), np.float32)
    # Sums over the window's columns, then over the window: of a picture, its square, the product.
    column = np.empty((3, width), np.float32)
    window = np.empty((3, width), np.float32)
    own = np.empty((2, height, width), np.float32)
    for y in range(radius, height - radius):
        _column_sums(image, image, y, radius, column)
        _row_sums(column, radius, window)
        for x in range(width):
            own[0, y, x] = window[0, x]
            own[1, y, x] = window[1, x] - window[0, x] * window[0, x] * share
    ordered = np.empty(count, np.float32)
    for d in range(start, stop):
        for n in range(count):
            _warp(neighbours[n], pairs[n], levels[d], warped, rows, columns)
            scores[n] = np.float32(0)
            for y in range(radius, height - radius):
                _column_sums(warped, image, y, radius, column)
                _row_sums(column, radius, window)
                for x in range(radius, width - radius):
                    mean = window[0, x] * share
                    first, second = own[1, y, x], window[1, x] - window[0, x] * mean
                    # Written so that NaN (outside the neighbour) fails it.
                    if first > least and second > least:
                        product = window[2, x] - own[0, y, x] * mean
                        scores[n, y, x] = product / np.sqrt(first * second)
        for y in range(height):
            for x in range(width):
                for n in range(count):
                    ordered[n] = scores[n, y, x]
                total = np.float32(0)
                for k in range(best):
                    top = k
                    for n in range(k + 1, count):
                        if ordered[n] > ordered[top]:
                            top = n
                    ordered[k], ordered[top] = ordered[top], ordered[k]
                    total += ordered[k]
                costs[y, x, d] = np.float32(1) - total / np.float32(best)


@numba.njit(
    types.void(
        types.Array(types.float32, 3, "C", readonly=True),
        _VOLUME,
        types.float64,
        types.float64,
        types.boolean,
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _paths(costs, total, small, large, across, start, stop):
    """Add the two opposite paths along rows (across) or columns [start, stop)."""
    count = costs.shape[2]
    steps = costs.shape[1] if across else costs.shape[0]
    p1, p2 = np.float32(small), np.float32(large)
    before = np.empty(count, np.float32)
    now = np.empty(count, np.float32)
    for line in range(start, stop):
        for direction in range(2):
            least = np.float32(0)
            for step in range(steps):
                at = step if direction == 0 else steps - 1 - step
                y, x = (line, at) if across else (at, line)
                lowest = np.float32(np.inf)
                for d in range(count):
                    value = costs[y, x, d]
                    if step > 0:
                        previous = min(before[d], least + p2)
                        if d > 0:
                            previous = min(previous, before[d - 1] + p1)
                        if d < count - 1:
                            previous = min(previous, before[d + 1] + p1)
                        value += previous - least
                    now[d] = value
                    total[y, x, d] += value
                    lowest = min(lowest, value)
                before, now = now, before
                least = lowest
