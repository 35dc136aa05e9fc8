"""Exact closest points on a triangle mesh, in float64.

A query walks a tree of bounding boxes nearest box first and skips every box that is farther than
the best face so far; a face that is known to be near (the previous answer, when a point has only
moved a little) makes it skip nearly everything. The result does not depend on the start or on the
number of threads, except which of several equally near faces is named.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.geometry.triangle_tree import TriangleTree, build_tree
from facekit.threads import run_ranges

__all__ = ["ClosestPoints", "TriangleTree", "build_tree", "closest_points", "spatial_order"]

# Where on its triangle a closest point lies.
PART_FACE = 0
PART_EDGE_01, PART_EDGE_12, PART_EDGE_20 = 1, 2, 3
PART_VERTEX_0, PART_VERTEX_1, PART_VERTEX_2 = 4, 5, 6

_MIN_CHUNK = 256
_READ_F64 = numba.types.Array(numba.types.float64, 2, "C", readonly=True)


class ClosestPoints(NamedTuple):
    """The closest point of a mesh to each of N query points.

    Attributes:
        squared_distance: (N,) float64, in the square of the unit.
        triangle: (N,) int32, the face it lies on (one of them, where several are as near).
        barycentric: (N, 3) float64 weights of the face's corners, non-negative, sum 1.
        part: (N,) int8: 0 inside the face; 1, 2, 3 on the edge from corner 0, 1, 2 to the next
            one; 4, 5, 6 on corner 0, 1, 2.
    """

    squared_distance: np.ndarray
    triangle: np.ndarray
    barycentric: np.ndarray
    part: np.ndarray


def closest_points(
    tree: TriangleTree, points: np.ndarray, *, start: np.ndarray | None = None
) -> ClosestPoints:
    """Find the closest point of the mesh's surface to each query point.

    Args:
        tree: of the mesh.
        points: (N, 3) finite, in the mesh's unit; N may be 0.
        start: (N,) faces that are probably near (a previous answer), or None. They only make
            the search faster.

    Raises:
        InputError: bad shapes, coordinates that are not finite, or a start outside [0, F).

    Source: the regions of a triangle as in C. Ericson, Real-Time Collision Detection, 2005,
    section 5.1.5.
    """
    queries = check_array(points, "points", shape=("N", 3))
    queries = np.ascontiguousarray(queries, dtype=np.float64)
    n = len(queries)
    if start is None:
        slots = np.full(n, -1, dtype=np.int32)
    else:
        first = check_array(start, "start", shape=(n,), dtype="int")
        if n and (first.min() < 0 or first.max() >= len(tree.order)):
            raise InputError(
                f"start: expected faces in [0, {len(tree.order)}), "
                f"got {first.min()} to {first.max()}"
            )
        slots = tree.slot[first]
    squared = np.empty(n)
    part = np.empty(n, dtype=np.int8)
    weights = np.empty((n, 3))

    def kernel(begin: int, end: int) -> None:
        _query(tree.boxes, tree.triangles, queries, slots, squared, part, weights, begin, end)

    run_ranges(kernel, n, min_chunk=_MIN_CHUNK)
    return ClosestPoints(squared, tree.order[slots], weights, part)


def spatial_order(points: np.ndarray) -> np.ndarray:
    """Return (N,) indices that sort points (N, 3) along a Morton curve.

    Queries in this order touch the same part of the tree one after another, which is faster.
    """
    queries = check_array(points, "points", shape=("N", 3))
    if not len(queries):
        return np.zeros(0, dtype=np.int64)
    low = queries.min(axis=0)
    extent = float((queries.max(axis=0) - low).max()) or 1.0
    cells = ((queries - low) * (1023 / extent)).astype(np.uint32)
    for shift, mask in ((16, 0x30000FF), (8, 0x300F00F), (4, 0x30C30C3), (2, 0x9249249)):
        cells = (cells | (cells << np.uint32(shift))) & np.uint32(mask)
    codes = cells[:, 0] | (cells[:, 1] << np.uint32(1)) | (cells[:, 2] << np.uint32(2))
    return np.argsort(codes, kind="stable")


@numba.njit(nogil=True, cache=True, inline="always")
def _box_distance(boxes, node, x, y, z):
    dx = max(boxes[node, 0] - x, x - boxes[node, 3], 0.0)
    dy = max(boxes[node, 1] - y, y - boxes[node, 4], 0.0)
    dz = max(boxes[node, 2] - z, z - boxes[node, 5], 0.0)
    return dx * dx + dy * dy + dz * dz


@numba.njit(nogil=True, cache=True)
def _on_flat(row, x, y, z):
    """Closest point of a triangle without area: the best of its three edges."""
    best = np.inf
    best_v = best_w = 0.0
    best_part = PART_VERTEX_0
    px, py, pz = x - row[0], y - row[1], z - row[2]
    for edge in range(3):
        # Each edge runs from (v0, w0) to (v1, w1) in the weights of corners 1 and 2.
        v0 = 1.0 if edge == 1 else 0.0
        w0 = 1.0 if edge == 2 else 0.0
        v1 = 1.0 if edge == 0 else 0.0
        w1 = 1.0 if edge == 1 else 0.0
        length = along = 0.0
        for c in range(3):
            p = px if c == 0 else (py if c == 1 else pz)
            direction = (v1 - v0) * row[3 + c] + (w1 - w0) * row[6 + c]
            length += direction * direction
            along += direction * (p - v0 * row[3 + c] - w0 * row[6 + c])
        t = 0.0
        if length > 0.0:
            t = min(max(along / length, 0.0), 1.0)
        v = v0 + t * (v1 - v0)
        w = w0 + t * (w1 - w0)
        dx = px - v * row[3] - w * row[6]
        dy = py - v * row[4] - w * row[7]
        dz = pz - v * row[5] - w * row[8]
        distance = dx * dx + dy * dy + dz * dz
        if distance < best:
            best, best_v, best_w = distance, v, w
            if t == 0.0:
                best_part = PART_VERTEX_0 + edge
            elif t == 1.0:
                best_part = PART_VERTEX_0 + (edge + 1) % 3
            else:
                best_part = PART_EDGE_01 + edge
    return best, best_v, best_w, best_part


@numba.njit(nogil=True, cache=True)
def closest_on_triangle(row, x, y, z):
    """Return (squared distance, weight of corner 1, weight of corner 2, part) for one face."""
    if row[12] != 0.0:
        return _on_flat(row, x, y, z)
    px, py, pz = x - row[0], y - row[1], z - row[2]
    aa, ab, bb = row[9], row[10], row[11]
    d1 = row[3] * px + row[4] * py + row[5] * pz
    d2 = row[6] * px + row[7] * py + row[8] * pz
    d3, d4, d5, d6 = d1 - aa, d2 - ab, d1 - ab, d2 - bb
    vc = d1 * d4 - d3 * d2
    vb = d5 * d2 - d1 * d6
    va = d3 * d6 - d5 * d4
    if d1 <= 0.0 and d2 <= 0.0:
        v, w, part = 0.0, 0.0, PART_VERTEX_0
    elif d3 >= 0.0 and d4 <= d3:
        v, w, part = 1.0, 0.0, PART_VERTEX_1
    elif d6 >= 0.0 and d5 <= d6:
        v, w, part = 0.0, 1.0, PART_VERTEX_2
    elif vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
        v, w, part = d1 / (d1 - d3), 0.0, PART_EDGE_01
    elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
        v, w, part = 0.0, d2 / (d2 - d6), PART_EDGE_20
    elif va <= 0.0 and d4 - d3 >= 0.0 and d5 - d6 >= 0.0:
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        v, part = 1.0 - w, PART_EDGE_12
    else:
        scale = 1.0 / (va + vb + vc)
        v, w, part = vb * scale, vc * scale, PART_FACE
    dx = px - v * row[3] - w * row[6]
    dy = py - v * row[4] - w * row[7]
    dz = pz - v * row[5] - w * row[8]
    return dx * dx + dy * dy + dz * dz, v, w, part


@numba.njit(nogil=True, cache=True)
def closest_on_tree(boxes, triangles, x, y, z, start, nodes, bounds):
    """Walk the tree for one point.

    Args:
        boxes, triangles: of a ``TriangleTree``.
        x, y, z: the point.
        start: a slot to begin with, or -1.
        nodes, bounds: (64,) int32 and float64, scratch space for the walk.

    Returns:
        (squared distance, slot, weight of corner 1, weight of corner 2, part).
    """
    n = triangles.shape[0]
    first_leaf = boxes.shape[0] >> 1
    best, v, w, part, slot = np.inf, 0.0, 0.0, 0, start
    if start >= 0:
        best, v, w, part = closest_on_triangle(triangles[start], x, y, z)
    top = 0
    nodes[0] = 0
    bounds[0] = _box_distance(boxes, 0, x, y, z)
    while top >= 0:
        node = nodes[top]
        bound = bounds[top]
        top -= 1
        if bound >= best:
            continue
        while node < first_leaf:
            left = 2 * node + 1
            left_bound = _box_distance(boxes, left, x, y, z)
            right_bound = _box_distance(boxes, left + 1, x, y, z)
            near, far = left, left + 1
            near_bound, far_bound = left_bound, right_bound
            if right_bound < left_bound:
                near, far = left + 1, left
                near_bound, far_bound = right_bound, left_bound
            if near_bound >= best:
                break
            if far_bound < best:
                top += 1
                nodes[top] = far
                bounds[top] = far_bound
            node = near
        if node < first_leaf:
            continue
        leaf = node - first_leaf
        for i in range((n * leaf) // (first_leaf + 1), (n * (leaf + 1)) // (first_leaf + 1)):
            if i == start:
                continue
            squared, new_v, new_w, new_part = closest_on_triangle(triangles[i], x, y, z)
            if squared < best:
                best, v, w, part, slot = squared, new_v, new_w, new_part, i
    return best, slot, v, w, part


@numba.njit(
    numba.types.void(
        _READ_F64,
        _READ_F64,
        _READ_F64,
        numba.types.int32[::1],
        numba.types.float64[::1],
        numba.types.int8[::1],
        numba.types.float64[:, ::1],
        numba.types.int64,
        numba.types.int64,
    ),
    nogil=True,
    cache=True,
)
def _query(boxes, triangles, points, slots, squared, part, weights, begin, end):
    nodes = np.empty(64, dtype=np.int32)
    bounds = np.empty(64)
    for i in range(begin, end):
        best, slot, v, w, where = closest_on_tree(
            boxes, triangles, points[i, 0], points[i, 1], points[i, 2], slots[i], nodes, bounds
        )
        squared[i] = best
        slots[i] = slot
        part[i] = where
        weights[i, 0] = 1.0 - v - w
        weights[i, 1] = v
        weights[i, 2] = w
