"""Which points of a surface can be seen from outside: rays against a ``TriangleTree``."""

from __future__ import annotations

import numba
import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.geometry.triangle_tree import TriangleTree
from facekit.threads import run_ranges

_MIN_CHUNK = 64
_READ_F64 = numba.types.Array(numba.types.float64, 2, "C", readonly=True)


def open_directions(
    tree: TriangleTree,
    points: np.ndarray,
    directions: np.ndarray,
    *,
    start: float,
    enough: int,
) -> np.ndarray:
    """Count, for each point, the directions in which no face is met.

    Args:
        tree: of the mesh.
        points: (N, 3) in the mesh's unit.
        directions: (D, 3) unit vectors; they are tried in their order.
        start: length of each ray that is left out, so that a surface does not hide its own
            points; above 0.
        enough: counting ends here, since most points of an outer surface see far more.

    Returns:
        (N,) int32, at most ``enough``.

    Raises:
        InputError: bad shapes, coordinates that are not finite, or a start that is not positive.

    Source: T. Moeller and B. Trumbore, Fast, minimum storage ray/triangle intersection, 1997;
    faces count from both sides.
    """
    origins = np.ascontiguousarray(check_array(points, "points", shape=("N", 3)), np.float64)
    rays = np.ascontiguousarray(check_array(directions, "directions", shape=("D", 3)), np.float64)
    if not start > 0 or enough < 1:
        raise InputError(f"rays: expected start > 0 and enough >= 1, got {start} and {enough}")
    counts = np.zeros(len(origins), np.int32)

    def kernel(begin: int, end: int) -> None:
        _count(tree.boxes, tree.triangles, origins, rays, start, enough, counts, begin, end)

    run_ranges(kernel, len(origins), min_chunk=_MIN_CHUNK)
    return counts


def hemisphere(axis: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` unit vectors (count, 3) spread evenly over the half sphere about an axis.

    A Fibonacci spiral, in an order in which the first few are spread out as well.

    Args:
        axis: (3,) unit vector.
        count: at least 1.
    """
    if count < 1:
        raise InputError(f"hemisphere: expected at least 1 direction, got {count}")
    along = np.asarray(axis, np.float64)
    along = along / np.linalg.norm(along)
    side = np.cross(along, np.eye(3)[int(np.argmin(np.abs(along)))])
    side /= np.linalg.norm(side)
    other = np.cross(along, side)
    number = np.arange(count)
    height = 1 - (number + 0.5) / count
    angle = number * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - height**2)
    rays = np.outer(height, along)
    rays += np.outer(radius * np.cos(angle), side) + np.outer(radius * np.sin(angle), other)
    return rays[np.argsort((number * (np.sqrt(5) - 1) / 2) % 1, kind="stable")]


@numba.njit(nogil=True, cache=True)
def _hits(boxes, triangles, ox, oy, oz, dx, dy, dz, nodes):
    """Whether the half line from o along d meets any face."""
    n = triangles.shape[0]
    first_leaf = boxes.shape[0] >> 1
    tiny = 1e-12
    ix = 1.0 / (dx if abs(dx) > tiny else tiny)
    iy = 1.0 / (dy if abs(dy) > tiny else tiny)
    iz = 1.0 / (dz if abs(dz) > tiny else tiny)
    top = 0
    nodes[0] = 0
    while top >= 0:
        node = nodes[top]
        top -= 1
        low = (boxes[node, 0] - ox) * ix
        high = (boxes[node, 3] - ox) * ix
        near, far = min(low, high), max(low, high)
        low = (boxes[node, 1] - oy) * iy
        high = (boxes[node, 4] - oy) * iy
        near, far = max(near, min(low, high)), min(far, max(low, high))
        low = (boxes[node, 2] - oz) * iz
        high = (boxes[node, 5] - oz) * iz
        near, far = max(near, min(low, high)), min(far, max(low, high))
        if far < 0.0 or near > far:
            continue
        if node < first_leaf:
            top += 1
            nodes[top] = 2 * node + 1
            top += 1
            nodes[top] = 2 * node + 2
            continue
        leaf = node - first_leaf
        for slot in range((n * leaf) // (first_leaf + 1), (n * (leaf + 1)) // (first_leaf + 1)):
            row = triangles[slot]
            px = dy * row[8] - dz * row[7]
            py = dz * row[6] - dx * row[8]
            pz = dx * row[7] - dy * row[6]
            determinant = row[3] * px + row[4] * py + row[5] * pz
            if determinant == 0.0:
                continue
            inverse = 1.0 / determinant
            tx, ty, tz = ox - row[0], oy - row[1], oz - row[2]
            u = (tx * px + ty * py + tz * pz) * inverse
            if u < 0.0 or u > 1.0:
                continue
            qx = ty * row[5] - tz * row[4]
            qy = tz * row[3] - tx * row[5]
            qz = tx * row[4] - ty * row[3]
            v = (dx * qx + dy * qy + dz * qz) * inverse
            if v < 0.0 or u + v > 1.0:
                continue
            if (row[6] * qx + row[7] * qy + row[8] * qz) * inverse > 0.0:
                return True
    return False


@numba.njit(
    numba.types.void(
        _READ_F64,
        _READ_F64,
        _READ_F64,
        _READ_F64,
        numba.types.float64,
        numba.types.int64,
        numba.types.int32[::1],
        numba.types.int64,
        numba.types.int64,
    ),
    nogil=True,
    cache=True,
)
def _count(boxes, triangles, origins, rays, start, enough, counts, begin, end):
    nodes = np.empty(64, dtype=np.int32)
    for i in range(begin, end):
        free = 0
        for d in range(rays.shape[0]):
            ox = origins[i, 0] + start * rays[d, 0]
            oy = origins[i, 1] + start * rays[d, 1]
            oz = origins[i, 2] + start * rays[d, 2]
            if not _hits(boxes, triangles, ox, oy, oz, rays[d, 0], rays[d, 1], rays[d, 2], nodes):
                free += 1
                if free >= enough:
                    break
        counts[i] = free
