"""Where a mesh's silhouettes pass between neighbouring pixels.

The faces of a head are about a pixel large, so the face seen at a pixel seldom owns the edge that
bounds the surface beside it. Hence the edges are walked, not the pixels: every edge between a
front and a back (or at an open border) is followed over the rows, or columns, that it crosses, and
its crossing is kept if the surface inside is seen on one side and something behind it, or nothing,
on the other.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba import types

from facekit.render.differentiable.signatures import INDEX2, LONG, OPTIONS, read
from facekit.render.differentiable.topology import Topology
from facekit.render.differentiable.weights import corner, weights
from facekit.threads import run_ranges

# The rasteriser rounds vertices to 2^-12 pixel, so a crossing so near a pixel's centre may belong
# to the pair beside it.
_SLACK_PX = 1e-3


class Silhouette(NamedTuple):
    """Pairs of neighbouring pixels that a silhouette passes between, image by image.

    Attributes:
        inside: (M,) int64, flat pixel in (B, H, W) that sees the nearer surface.
        outside: (M,) int64, its neighbour that does not.
        ends: (M, 2) int32, vertices of the edge between.
        vertical: (M,) bool, the neighbour lies above or below, else left or right.
        offsets: (B + 1,) int64, image b has rows ``offsets[b]:offsets[b + 1]``.
    """

    inside: np.ndarray
    outside: np.ndarray
    ends: np.ndarray
    vertical: np.ndarray
    offsets: np.ndarray


def find_silhouettes(
    points: np.ndarray, topology: Topology, triangles: np.ndarray, *, cull: bool = True
) -> Silhouette:
    """Find the silhouette pairs of a batch.

    Edges steeper than 45 degrees are looked for between pixels of a row, others between pixels of
    a column, so that a border is found once. Where several edges pass between two pixels, the
    nearest surface's outermost one is kept.

    Args:
        points: (B, V, 3) float64: x, y in pixels and depth z, as rasterised.
        topology: of the mesh.
        triangles: (B, H, W) int32, the face each pixel sees, -1 for none.
        cull: as rasterised.

    Source: the blend across such a pair is that of Laine et al., Modular primitives for
    high-performance differentiable rendering, 2020, section 3.4. Differs: pairs are found by
    walking edges, so that surfaces of faces below a pixel have their silhouettes too.
    """
    batch, height, width = triangles.shape
    screen = np.ascontiguousarray(points, np.float64)
    found: list[tuple[np.ndarray, ...]] = [()] * batch

    def images(start: int, stop: int) -> None:
        size = 2 * height * width
        facing = np.empty(len(topology.faces), np.int8)
        kept, reach, depth = np.empty(size, np.int32), np.empty(size), np.empty(size)
        touched = np.empty(size, np.int32)
        for b in range(start, stop):
            _face(screen[b], topology.index, facing)
            count = _walk(
                screen[b], topology.index, topology.edges, np.ascontiguousarray(triangles[b]),
                cull, facing, kept, reach, depth, touched,
            )  # fmt: skip
            keys = np.sort(touched[:count]).astype(np.int64)
            first, step = keys // 2, np.where(keys % 2, width, 1)
            edge, swapped = kept[keys] >> 1, (kept[keys] & 1).astype(bool)
            base = b * height * width + first
            found[b] = (
                np.where(swapped, base + step, base),
                np.where(swapped, base, base + step),
                topology.edges[edge, :2],
                keys % 2 == 1,
            )

    run_ranges(images, batch)
    inside, outside, ends, vertical = (
        np.concatenate([found[b][k] for b in range(batch)]) for k in range(4)
    )
    offsets = np.concatenate([[0], np.cumsum([len(rows[0]) for rows in found])])
    return Silhouette(inside, outside, ends, vertical, offsets.astype(np.int64))


@numba.njit(types.void(read(types.float64, 2), INDEX2, types.int8[::1]), **OPTIONS)
def _face(points, faces, facing):
    """1 for a face seen from outside, -1 from behind, 0 for one that cannot be seen."""
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        x, y = points[i, 0], points[i, 1]
        area = (points[k, 0] - x) * (points[j, 1] - y) - (points[j, 0] - x) * (points[k, 1] - y)
        ahead = points[i, 2] > 0 and points[j, 2] > 0 and points[k, 2] > 0
        facing[f] = 0 if not ahead else 1 if area > 0 else -1 if area < 0 else 0


@numba.njit(inline="always")
def _depth(points, faces, t, x, y):
    """The depth at a pixel that sees face t; infinite where there is none."""
    if t < 0:
        return np.inf
    i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
    w0, w1, w2, _ = weights(
        corner(points, i, x, y), corner(points, j, x, y), corner(points, k, x, y)
    )
    return w0 * points[i, 2] + w1 * points[j, 2] + w2 * points[k, 2]


@numba.njit
def _separates(points, faces, triangle, ax, ay, bx, by, z, extent):
    """Whether the surface of an edge at depth z can be what A sees and B does not."""
    height, width = triangle.shape
    if min(ax, bx) < 0 or max(ax, bx) >= width or min(ay, by) < 0 or max(ay, by) >= height:
        return False
    inner, outer = triangle[ay, ax], triangle[by, bx]
    if inner < 0 or inner == outer:
        return False
    behind = _depth(points, faces, outer, bx, by)
    return behind > z - extent and _depth(points, faces, inner, ax, ay) < behind


@numba.njit(
    types.int64(
        read(types.float64, 2), INDEX2, read(types.int32, 2), read(types.int32, 2), types.boolean,
        read(types.int8, 1), types.int32[::1], types.float64[::1], types.float64[::1],
        types.int32[::1],
    ),
    **OPTIONS,
)  # fmt: skip
def _walk(points, faces, edges, triangle, cull, facing, kept, reach, depth, touched):
    """Fill ``kept`` (2 edge + whether the first pixel is outside) at the pairs in ``touched``."""
    height, width = triangle.shape
    kept[:] = -1
    count = LONG(0)
    for e in range(edges.shape[0]):
        f, g = edges[e, 2], edges[e, 3]
        front = facing[f]
        if g < 0:
            if front == 0 or (cull and front < 0):
                continue
        else:
            other = facing[g]
            if front == other or (cull and front <= 0 and other <= 0):
                continue
            if front == 0 or (cull and front < 0):
                f, front = g, other
        p, q = edges[e, 0], edges[e, 1]
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        o = LONG(i) + LONG(j) + LONG(k) - p - q
        low = min(points[i, 2], min(points[j, 2], points[k, 2]))
        extent = 2 * (max(points[i, 2], max(points[j, 2], points[k, 2])) - low)
        px, py, dx, dy = points[p, 0], points[p, 1], points[q, 0] - points[p, 0], 0.0
        dy = points[q, 1] - py
        side = dx * (points[o, 1] - py) - dy * (points[o, 0] - px)
        upright = abs(dy) >= abs(dx)
        # Along the walk: u across the border, v along it.
        if upright:
            pu, pv, du, dv = px, py, dx, dy
            limit, right = height, (side < 0) == (dy > 0)
        else:
            pu, pv, du, dv = py, px, dy, dx
            limit, right = width, (side > 0) == (dx > 0)
        if dv == 0 or side == 0:
            continue
        start, stop = min(pv, pv + dv), max(pv, pv + dv)
        for v in range(max(LONG(np.ceil(start)), 0), min(LONG(np.ceil(stop)), limit)):
            share = (v - pv) / dv
            u = pu + share * du
            if not abs(u) < 1e6:
                continue
            z = 1 / ((1 - share) / points[p, 2] + share / points[q, 2])
            step = LONG(-1) if right else LONG(1)
            a = LONG(np.ceil(u)) if right else LONG(np.floor(u))
            alpha = (u - a) * step
            for attempt in range(2):
                if attempt == 1:
                    if alpha < _SLACK_PX:
                        a, alpha = a - step, alpha + 1
                    elif alpha > 1 - _SLACK_PX:
                        a, alpha = a + step, alpha - 1
                    else:
                        break
                ax, ay = (a, v) if upright else (v, a)
                bx, by = (a + step, v) if upright else (v, a + step)
                if not _separates(points, faces, triangle, ax, ay, bx, by, z, extent):
                    continue
                x, y = min(ax, bx), min(ay, by)
                key = 2 * (y * width + x) + (0 if upright else 1)
                if kept[key] < 0:
                    touched[count] = key
                    count += 1
                # Behind what is there, or on the same surface and not farther out.
                elif z > depth[key] + extent or (z > depth[key] - extent and alpha <= reach[key]):
                    break
                kept[key] = 2 * e + (1 if right else 0)
                reach[key] = alpha
                depth[key] = z
                break
    return count
