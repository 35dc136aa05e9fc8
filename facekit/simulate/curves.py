"""Distances of points in the frontal plane to drawn curves, and whether outlines hold them."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba import types

from facekit.checks import check_array


class CurveDistance(NamedTuple):
    """Points seen from a curve.

    Attributes:
        distance: (N,) float32, to the nearest point of the curve, 0 or more.
        along: (N,) float32 in [0, 1], where that point is (by arc length from the start).
        side: (N,) float32, +1 where the point is on the left of the curve's direction, else -1.
        inside: (N,) bool, within the polygon that the curve closes (even-odd rule).
    """

    distance: np.ndarray
    along: np.ndarray
    side: np.ndarray
    inside: np.ndarray


def curve_distance(points: np.ndarray, curve: np.ndarray, *, closed: bool = False) -> CurveDistance:
    """Measure points (N, 2) against a polyline (M, 2), M at least 2; any one unit."""
    where = np.ascontiguousarray(check_array(points, "points", shape=("N", 2)), np.float32)
    line = np.ascontiguousarray(check_array(curve, "curve", shape=("M", 2)), np.float32)
    ends = np.concatenate([line, line[:1]]) if closed else line
    lengths = np.linalg.norm(np.diff(ends, axis=0), axis=1)
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.float32)
    out = np.empty((len(where), 4), np.float32)
    _measure(where, ends, start, out)
    total = max(float(start[-1]), 1e-9)
    return CurveDistance(out[:, 0], out[:, 1] / np.float32(total), out[:, 2], out[:, 3] > 0)


def smooth_curve(curve: np.ndarray, *, closed: bool = False, steps: int = 6) -> np.ndarray:
    """Return a Catmull-Rom spline through points (M, 2), ``steps`` pieces between neighbours.

    Source: Catmull, Rom, A class of local interpolating splines, 1974 (uniform form).
    """
    points = np.asarray(curve, np.float64)
    if closed:
        before, after = np.roll(points, 1, 0), np.roll(points, -1, 0)
        last = np.roll(points, -2, 0)
    else:
        padded = np.concatenate(
            [2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]]
        )
        before, after, last = padded[:-3], padded[2:-1], padded[3:]
        points = padded[1:-2]
    t = (np.arange(steps) / steps)[None, :, None]
    p0, p1, p2, p3 = (p[:, None, :] for p in (before, points, after, last))
    pieces = 0.5 * (
        2 * p1
        + (p2 - p0) * t
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    flat = pieces.reshape(-1, points.shape[1])
    return flat if closed else np.concatenate([flat, np.asarray(curve, np.float64)[-1:]])


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """Return 0 below ``low``, 1 above ``high`` and 3t^2 - 2t^3 between; low may exceed high."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@numba.njit(
    types.void(
        types.Array(types.float32, 2, "C", readonly=True),
        types.Array(types.float32, 2, "C", readonly=True),
        types.Array(types.float32, 1, "C", readonly=True),
        types.float32[:, ::1],
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _measure(points, ends, start, out):
    closing = ends.shape[0] - 1
    for p in range(points.shape[0]):
        x, y = points[p, 0], points[p, 1]
        best = np.float32(np.inf)
        along = np.float32(0)
        side = np.float32(1)
        inside = False
        for s in range(ends.shape[0]):
            # The last piece closes the outline; it counts for inside and not for distance.
            e = s + 1 if s < closing else 0
            ax, ay = ends[s, 0], ends[s, 1]
            bx, by = ends[e, 0], ends[e, 1]
            if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
                inside = not inside
            if s == closing:
                continue
            dx, dy = bx - ax, by - ay
            length = dx * dx + dy * dy
            t = ((x - ax) * dx + (y - ay) * dy) / length if length > 0 else np.float32(0)
            t = min(max(t, np.float32(0)), np.float32(1))
            qx, qy = x - ax - t * dx, y - ay - t * dy
            squared = qx * qx + qy * qy
            if squared < best:
                best = squared
                along = start[s] + t * np.sqrt(length)
                side = np.float32(1) if dx * (y - ay) - dy * (x - ax) >= 0 else np.float32(-1)
        out[p, 0] = np.sqrt(best)
        out[p, 1] = along
        out[p, 2] = side
        out[p, 3] = np.float32(1) if inside else np.float32(0)
