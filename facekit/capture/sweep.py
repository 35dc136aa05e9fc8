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
    least = np.float32(LEAST_SPREAD * LEAST_SPREAD) * size
    warped = np.empty((height, width), np.float32)
    scores = np.empty((count, height, width), np.float32)
    # Sums over the window's columns: of the view, its square, the warp, its square, the product.
    column = np.empty((5, width), np.float32)
    line = np.empty(5, np.float32)
    ordered = np.empty(count, np.float32)
    for d in range(start, stop):
        w = levels[d]
        for n in range(count):
            a = pairs[n]
            for y in range(height):
                for x in range(width):
                    p = a[0] * x + a[1] * y + a[2] + w * a[9]
                    q = a[3] * x + a[4] * y + a[5] + w * a[10]
                    s = a[6] * x + a[7] * y + a[8] + w * a[11]
                    inverse = 1.0 / s
                    u, v = p * inverse, q * inverse
                    if s > 0 and u >= 0 and v >= 0 and u < columns - 1 and v < rows - 1:
                        i, j = int(u), int(v)
                        fx, fy = np.float32(u - i), np.float32(v - j)
                        top = neighbours[n, j, i]
                        top += fx * (neighbours[n, j, i + 1] - top)
                        low = neighbours[n, j + 1, i]
                        low += fx * (neighbours[n, j + 1, i + 1] - low)
                        warped[y, x] = top + fy * (low - top)
                    else:
                        warped[y, x] = np.float32(np.nan)
            scores[n] = np.float32(0)
            for y in range(radius, height - radius):
                column[:] = np.float32(0)
                for k in range(-radius, radius + 1):
                    for x in range(width):
                        g, h = image[y + k, x], warped[y + k, x]
                        column[0, x] += g
                        column[1, x] += g * g
                        column[2, x] += h
                        column[3, x] += h * h
                        column[4, x] += g * h
                for x in range(radius, width - radius):
                    line[:] = np.float32(0)
                    for k in range(x - radius, x + radius + 1):
                        for c in range(5):
                            line[c] += column[c, k]
                    first = line[1] - line[0] * line[0] / size
                    second = line[3] - line[2] * line[2] / size
                    # Written so that NaN (outside the neighbour) fails it.
                    if first > least and second > least:
                        product = line[4] - line[0] * line[2] / size
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
