"""Distances of points in the frontal plane to drawn curves, and whether outlines hold them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.simulate.paint_kernels import measure


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
    out = np.empty((3, len(where)), np.float32)
    inside = np.empty(len(where), np.bool_)
    measure(where, ends, out, inside)
    return CurveDistance(out[0], out[1], out[2], inside)


def smooth_curve(curve: np.ndarray, *, closed: bool = False, steps: int = 6) -> np.ndarray:
    """Return a Catmull-Rom spline through points (M, 2), ``steps`` pieces between neighbours.

    Source: Catmull, Rom, A class of local interpolating splines, 1974 (uniform form).
    """
    points = np.asarray(curve, np.float64)
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate(
            [2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]]
        )
    before, points, after, last = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
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


def percentiles(values: np.ndarray, percent: list[float]) -> np.ndarray:
    """Return percentiles of values (N,), N at least 1, as ``numpy.percentile`` does but quicker."""
    ordered = np.sort(values)
    place = np.asarray(percent) / 100 * (len(ordered) - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
