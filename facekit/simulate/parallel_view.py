"""Compiled passes over what a distant light sees: projecting points, and looking them up."""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from facekit.checks import check_array
from facekit.errors import InputError

_ROWS32 = types.Array(types.float32, 2, "C", readonly=True)
_ROWS64 = types.Array(types.float64, 2, "C", readonly=True)


def vertex_box(vertices: np.ndarray) -> np.ndarray:
    """Return the smallest and largest coordinates (2, 3) of vertices (V, 3), V at least 1."""
    columns = check_array(vertices, "vertices", shape=("V", 3), finite=False).T
    if not columns.shape[1]:
        raise InputError("vertices: expected at least 1 for a box, got none")
    # A reduction over a column is many times faster than one over the rows of three.
    return np.array([[c.min() for c in columns], [c.max() for c in columns]])


def view_axes(toward: np.ndarray) -> np.ndarray:
    """Return two axes across a distant view and the one along it, (3, 3) as rows.

    Args:
        toward: (3,) unit, from the scene towards the viewer.
    """
    x, y, z = (float(c) for c in toward)
    # The cross product of a fixed direction, which ``toward`` is far from, and ``toward``.
    right = np.array([-y, x, 0.0]) if abs(z) < 0.9 else np.array([0.0, -z, y])
    a, b, c = right / np.sqrt(right @ right)
    return np.array([[a, b, c], [y * c - z * b, z * a - x * c, x * b - y * a], [-x, -y, -z]])


def parallel_points(
    vertices: np.ndarray,
    axes: np.ndarray,
    shift: np.ndarray,
    scale: float,
    *,
    far: float,
    normals: np.ndarray | None = None,
    lift: float = 0.0,
) -> np.ndarray:
    """Return points as a distant viewer sees them, (V, 3) float64: pixels x and y, depth in mm.

    Args:
        vertices: (V, 3) mm.
        axes: (3, 3) of ``view_axes``: across, across and along the view.
        shift: (3,) of the viewed place that becomes (0, 0) and depth ``far``.
        scale: pixels a millimetre.
        far: depth added to every point.
        normals: (V, 3) with ``lift`` mm along them added to the vertices, or None.
    """
    points = np.ascontiguousarray(check_array(vertices, "vertices", shape=("V", 3)), np.float32)
    out = np.empty((len(points), 3))
    moved = points
    if normals is not None:
        check = check_array(normals, "normals", shape=(len(points), 3))
        moved = np.ascontiguousarray(check, np.float32)
    step = lift if normals is not None else 0.0
    frame, origin = np.ascontiguousarray(axes, np.float64), np.asarray(shift, np.float64)
    _project(points, moved, step, frame, origin, float(scale), float(far), out)
    return out


def share_before(
    depth: np.ndarray, points: np.ndarray, offsets: np.ndarray, *, slack: float
) -> np.ndarray:
    """Return the share of looks at a depth map that find a point not hidden, (N,) float32.

    Args:
        depth: (H, W) float32, infinite where nothing is.
        points: (N, 3) of ``parallel_points``.
        offsets: (T, 2) pixels; one look at each. A look outside the map finds nothing before it.
        slack: mm by which a point may lie behind what the map holds.
    """
    share = np.empty(len(points), np.float32)
    _share(depth, points, np.ascontiguousarray(offsets, np.float64), float(slack), share)
    return share


@numba.njit(
    types.void(
        _ROWS32,
        _ROWS32,
        types.float64,
        _ROWS64,
        types.Array(types.float64, 1, "C", readonly=True),
        types.float64,
        types.float64,
        types.float64[:, ::1],
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _project(vertices, normals, lift, axes, shift, scale, far, out):
    for v in range(vertices.shape[0]):
        x = vertices[v, 0] + lift * normals[v, 0]
        y = vertices[v, 1] + lift * normals[v, 1]
        z = vertices[v, 2] + lift * normals[v, 2]
        out[v, 0] = (axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z - shift[0]) * scale
        out[v, 1] = (axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z - shift[1]) * scale
        out[v, 2] = axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z - shift[2] + far


@numba.njit(
    types.void(_ROWS32, _ROWS64, _ROWS64, types.float64, types.float32[::1]),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _share(depth, points, offsets, slack, share):
    height, width = depth.shape
    for p in range(points.shape[0]):
        seen = 0
        for tap in range(offsets.shape[0]):
            x = np.int32(np.rint(points[p, 0] + offsets[tap, 0]))
            y = np.int32(np.rint(points[p, 1] + offsets[tap, 1]))
            if x < 0 or y < 0 or x >= width or y >= height or points[p, 2] < depth[y, x] + slack:
                seen += 1
        share[p] = np.float32(seen) / np.float32(offsets.shape[0])
