"""A search tree over the faces of a mesh, for ``closest_point``.

The tree is a balanced binary tree of bounding boxes without pointers: node i has the children
2 i + 1 and 2 i + 2, and the leaves own equal ranges of the faces, which are stored in leaf order.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from facekit.checks import check_array, check_faces
from facekit.errors import InputError

_LEAF_FACES = 4
# Below this squared sine of its largest angle a triangle is treated as its three edges: its
# plane is rounding error.
_FLAT = 1e-20
# Columns of a triangle's row: corner 0, the two edges from it, their products, flat or not.
_COLUMNS = 13
# Callers may pass arrays that are not writable, so the kernels promise to only read them.
_READ_F64 = numba.types.Array(numba.types.float64, 2, "C", readonly=True)
_READ_I32 = numba.types.Array(numba.types.int32, 2, "C", readonly=True)
_F64_2D = numba.types.float64[:, ::1]
_I32_1D = numba.types.int32[::1]
_VOID, _INT = numba.types.void, numba.types.int64


class TriangleTree(NamedTuple):
    """A search tree over the faces of a mesh; made by ``build_tree``.

    Attributes:
        vertices: (V, 3) float64.
        faces: (F, 3) int32.
        boxes: (2^(depth + 1) - 1, 6) float64, lower and upper corner of each node.
        order: (F,) int32, the face in each slot of the leaves.
        slot: (F,) int32, the slot of each face.
        triangles: (F, 13) float64, per slot: corner 0, edges to corners 1 and 2, their three
            products, 1 when flat.
    """

    vertices: np.ndarray
    faces: np.ndarray
    boxes: np.ndarray
    order: np.ndarray
    slot: np.ndarray
    triangles: np.ndarray


def build_tree(vertices: np.ndarray, faces: np.ndarray) -> TriangleTree:
    """Build the search tree of a mesh.

    Args:
        vertices: (V, 3), any unit.
        faces: (F, 3); order of corners and orientation do not matter.

    Raises:
        InputError: bad shapes or indices, coordinates that are not finite, or no faces.

    Degenerate: a face without area counts as its edges, or as a point.
    """
    points = check_array(vertices, "vertices", shape=("V", 3))
    points = np.ascontiguousarray(points, dtype=np.float64)
    triangles = check_faces(faces, len(points))
    if not len(triangles):
        raise InputError("closest point: expected a mesh with faces, got none (a point cloud?)")
    depth = 0
    while (len(triangles) >> depth) > _LEAF_FACES:
        depth += 1
    order = np.arange(len(triangles), dtype=np.int32)
    centres = points[triangles].mean(axis=1)
    _split(centres, order, depth)
    rows = np.empty((len(triangles), _COLUMNS))
    boxes = np.empty((2 ** (depth + 1) - 1, 6))
    _fill(points, triangles, order, depth, rows, boxes)
    slot = np.empty_like(order)
    slot[order] = np.arange(len(order), dtype=np.int32)
    return TriangleTree(points, triangles, boxes, order, slot, rows)


@numba.njit(nogil=True, cache=True)
def _select(centres, axis, order, start, stop, middle):
    """Quickselect: no coordinate before ``middle`` exceeds one from it on."""
    low = start
    high = stop - 1
    while low < high:
        pivot = centres[order[(low + high) >> 1], axis]
        i = low
        j = high
        while i <= j:
            while centres[order[i], axis] < pivot:
                i += 1
            while centres[order[j], axis] > pivot:
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


@numba.njit(_VOID(_F64_2D, _I32_1D, _INT), nogil=True, cache=True)
def _split(centres, order, depth):
    """Reorder faces so that each node's half with the smaller coordinate comes first."""
    n = order.shape[0]
    for level in range(depth):
        for node in range(1 << level):
            start = (n * node) >> level
            stop = (n * (node + 1)) >> level
            middle = (n * (2 * node + 1)) >> (level + 1)
            axis = 0
            widest = -1.0
            for c in range(3):
                low = np.inf
                high = -np.inf
                for i in range(start, stop):
                    value = centres[order[i], c]
                    low = min(low, value)
                    high = max(high, value)
                if high - low > widest:
                    widest = high - low
                    axis = c
            _select(centres, axis, order, start, stop, middle)


@numba.njit(
    _VOID(_READ_F64, _READ_I32, _I32_1D, _INT, _F64_2D, _F64_2D),
    nogil=True,
    cache=True,
)
def _fill(vertices, faces, order, depth, rows, boxes):
    """Write the triangles' rows in slot order and the nodes' boxes, leaves first."""
    n = order.shape[0]
    for slot in range(n):
        f = order[slot]
        aa = ab = bb = 0.0
        for c in range(3):
            corner = vertices[faces[f, 0], c]
            e = vertices[faces[f, 1], c] - corner
            g = vertices[faces[f, 2], c] - corner
            rows[slot, c] = corner
            rows[slot, 3 + c] = e
            rows[slot, 6 + c] = g
            aa += e * e
            ab += e * g
            bb += g * g
        rows[slot, 9] = aa
        rows[slot, 10] = ab
        rows[slot, 11] = bb
        longest = max(aa, bb, aa + bb - 2 * ab)
        # The cross product, not aa * bb - ab * ab: that difference is noise for thin triangles.
        nx = rows[slot, 4] * rows[slot, 8] - rows[slot, 5] * rows[slot, 7]
        ny = rows[slot, 5] * rows[slot, 6] - rows[slot, 3] * rows[slot, 8]
        nz = rows[slot, 3] * rows[slot, 7] - rows[slot, 4] * rows[slot, 6]
        flat = nx * nx + ny * ny + nz * nz <= _FLAT * longest * longest
        rows[slot, 12] = 1.0 if flat else 0.0
    first = (1 << depth) - 1
    for leaf in range(1 << depth):
        for c in range(3):
            low = np.inf
            high = -np.inf
            for slot in range((n * leaf) >> depth, (n * (leaf + 1)) >> depth):
                for k in range(3):
                    value = vertices[faces[order[slot], k], c]
                    low = min(low, value)
                    high = max(high, value)
            boxes[first + leaf, c] = low
            boxes[first + leaf, 3 + c] = high
    for node in range(first - 1, -1, -1):
        for c in range(3):
            boxes[node, c] = min(boxes[2 * node + 1, c], boxes[2 * node + 2, c])
            boxes[node, 3 + c] = max(boxes[2 * node + 1, 3 + c], boxes[2 * node + 2, 3 + c])
