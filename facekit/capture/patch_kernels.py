"""The compiled part of ``patches``: planes spread and refined over rows of a picture."""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from facekit.capture.patch_windows import (
    LEAST_VARIANCE,
    correlation,
    equations,
    weighted_window,
)

# Neighbours whose correlation is this much below the patch's score do not vote on its place.
_OUTLIER = np.float32(0.2)
# Longest step of a refinement, pixels in the neighbour.
_LONGEST_STEP = 1.5

_IMAGE = types.Array(types.float32, 2, "C", readonly=True)
_STACK = types.Array(types.float32, 3, "C", readonly=True)
_PACKED = types.Array(types.uint32, 2, "C", readonly=True)
_INTS = types.Array(types.int64, 2, "C", readonly=True)
_PAIRS = types.Array(types.float64, 2, "C", readonly=True)
_WANTED = types.Array(types.boolean, 2, "C", readonly=True)


@numba.njit(inline="always")
def _mean_of_best(values, best):
    """Mean of the largest ``best`` of values, which are reordered."""
    total = np.float32(0)
    for k in range(best):
        top = k
        for n in range(k + 1, values.shape[0]):
            if values[n] > values[top]:
                top = n
        values[k], values[top] = values[top], values[k]
        total += values[k]
    return total / np.float32(best)


@numba.njit(inline="always")
def _longest_reach(pairs, x, y, w):
    """How many pixels a unit of inverse depth moves the match, in the neighbour with most."""
    longest = 0.0
    for n in range(pairs.shape[0]):
        a = pairs[n]
        s = a[6] * x + a[7] * y + a[8] + w * a[11]
        u = (a[0] * x + a[1] * y + a[2] + w * a[9]) / s
        v = (a[3] * x + a[4] * y + a[5] + w * a[10]) / s
        moved = ((a[9] - u * a[11]) ** 2 + (a[10] - v * a[11]) ** 2) / (s * s)
        longest = max(longest, moved)
    return np.sqrt(longest)


@numba.njit(
    types.void(
        _IMAGE,
        _PACKED,
        _INTS,
        _PAIRS,
        _WANTED,
        _IMAGE,
        types.int64,
        _STACK,
        _INTS,
        types.float64,
        types.float32[:, :, ::1],
        types.float32[:, ::1],
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def propagate_rows(
    image,
    packed,
    shape,
    pairs,
    wanted,
    offsets,
    best,
    planes,
    shifts,
    least_move,
    new,
    score,
    start,
    stop,
):
    """Rows [start, stop) of ``patches.propagate``."""
    height, width = image.shape
    count, size = pairs.shape[0], offsets.shape[1]
    radius = int(offsets[0, size - 1])
    values = np.empty(count, np.float32)
    window = np.empty(size, np.float32)
    support = np.empty(size, np.float32)
    dx, dy = offsets[0], offsets[1]
    for y in range(start, stop):
        for x in range(width):
            if not wanted[y, x]:
                continue
            total, c11 = weighted_window(image, y, x, radius, window, support)
            if c11 <= LEAST_VARIANCE * total:
                continue
            own = planes[y, x, 0]
            near = 0.0
            if own > 0:
                near = least_move / max(_longest_reach(pairs, x, y, own), 1e-30)
            highest = np.float32(-1)
            for k in range(-1, shifts.shape[0]):
                i = x if k < 0 else x + shifts[k, 0]
                j = y if k < 0 else y + shifts[k, 1]
                if i < 0 or j < 0 or i >= width or j >= height or planes[j, i, 0] <= 0:
                    continue
                wx, wy = planes[j, i, 1], planes[j, i, 2]
                w = np.float32(planes[j, i, 0] + wx * (x - i) + wy * (y - j))
                if w <= 0 or (k >= 0 and own > 0 and abs(w - own) < near):
                    continue
                for n in range(count):
                    values[n] = correlation(
                        window,
                        support,
                        total,
                        c11,
                        dx,
                        dy,
                        packed[n],
                        shape[n, 0],
                        shape[n, 1],
                        pairs[n],
                        x,
                        y,
                        w,
                        wx,
                        wy,
                    )
                value = _mean_of_best(values, best)
                if value > highest:
                    highest = value
                    new[y, x, 0] = w
                    new[y, x, 1] = wx
                    new[y, x, 2] = wy
            score[y, x] = highest


@numba.njit(
    types.void(
        _IMAGE,
        _PACKED,
        _INTS,
        _PAIRS,
        _WANTED,
        _IMAGE,
        types.int64,
        _STACK,
        _STACK,
        types.int64,
        types.float64,
        types.float32[:, :, ::1],
        types.float32[:, ::1],
        types.float32[:, ::1],
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def refine_rows(
    image,
    packed,
    shape,
    pairs,
    wanted,
    offsets,
    best,
    planes,
    bend,
    steps,
    slope,
    new,
    score,
    deviation,
    start,
    stop,
):
    """Rows [start, stop) of ``patches.refine``; ``slope`` is over the focal length here."""
    width = image.shape[1]
    count, size = pairs.shape[0], offsets.shape[1]
    radius = int(offsets[0, size - 1])
    values = np.empty(count, np.float32)
    ordered = np.empty(count, np.float32)
    system = np.empty((count, 10), np.float32)
    window = np.empty(size, np.float32)
    support = np.empty(size, np.float32)
    dx, dy = offsets[0], offsets[1]
    for y in range(start, stop):
        for x in range(width):
            w, wx, wy = planes[y, x, 0], planes[y, x, 1], planes[y, x, 2]
            if not wanted[y, x] or w <= 0:
                continue
            total, c11 = weighted_window(image, y, x, radius, window, support)
            if c11 <= LEAST_VARIANCE * total:
                continue
            given_x, given_y = wx, wy
            prior = 1.0 / (slope * w) ** 2
            highest = np.float32(-1)
            for _step in range(steps + 1):
                for n in range(count):
                    values[n] = equations(
                        window,
                        support,
                        total,
                        c11,
                        dx,
                        dy,
                        packed[n],
                        shape[n, 0],
                        shape[n, 1],
                        pairs[n],
                        x,
                        y,
                        w,
                        wx,
                        wy,
                        bend[y, x],
                        system[n],
                    )
                    ordered[n] = values[n]
                value = _mean_of_best(ordered, best)
                if value <= highest:
                    break
                highest = value
                new[y, x, 0] = w
                new[y, x, 1] = wx
                new[y, x, 2] = wy
                h00 = h01 = h02 = h12 = t0 = reach = 0.0
                h11 = h22 = prior
                t1, t2 = prior * (given_x - wx), prior * (given_y - wy)
                limit = max(np.float32(0.1), value - _OUTLIER)
                for n in range(count):
                    if values[n] >= limit:
                        h00 += system[n, 0]
                        h01 += system[n, 1]
                        h02 += system[n, 2]
                        h11 += system[n, 3]
                        h12 += system[n, 4]
                        h22 += system[n, 5]
                        t0 += system[n, 6]
                        t1 += system[n, 7]
                        t2 += system[n, 8]
                        reach = max(reach, system[n, 9])
                # The slopes eliminated (Schur), then the inverse depth.
                determinant = h11 * h22 - h12 * h12
                k1 = (h01 * h22 - h02 * h12) / determinant
                k2 = (h02 * h11 - h01 * h12) / determinant
                left = h00 - h01 * k1 - h02 * k2
                if not (left > 0.0 and reach > 0.0):
                    break
                deviation[y, x] = np.float32(1.0 / np.sqrt(left))
                longest = _LONGEST_STEP / np.sqrt(reach)
                d0 = min(max((t0 - t1 * k1 - t2 * k2) / left, -longest), longest)
                t1 -= h01 * d0
                t2 -= h02 * d0
                w = np.float32(w + d0)
                wx = np.float32(wx + (h22 * t1 - h12 * t2) / determinant)
                wy = np.float32(wy + (h11 * t2 - h12 * t1) / determinant)
                if w <= 0:
                    break
            score[y, x] = highest
