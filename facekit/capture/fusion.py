"""Depth maps checked against each other, averaged, and turned into one cloud of points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numba import types

from facekit.capture.depth import DepthMap
from facekit.capture.views import View
from facekit.threads import run_ranges


class PointCloud(NamedTuple):
    """Points of a surface, in the world of the cameras.

    Attributes:
        points: (N, 3) float32, mm.
        normals: (N, 3) float32, unit, out of the surface.
        colours: (N, 3) float32 sRGB in [0, 1].
        deviation: (N,) float32, standard deviation along the normal that matching leaves, mm;
            a relative measure, since windows overlap.
        views: (N,) int32, how many views agree.
    """

    points: np.ndarray
    normals: np.ndarray
    colours: np.ndarray
    deviation: np.ndarray
    views: np.ndarray


class FusionOptions(NamedTuple):
    """What counts as agreement.

    Attributes:
        distance_px: largest distance of two views' surfaces, in widths of a pixel there.
        angle_deg: largest angle of their normals.
        least_views: how many other views must agree.
        grazing_deg: surfaces seen at more than this angle from their normal are left out.
    """

    distance_px: float = 2.0
    angle_deg: float = 50.0
    least_views: int = 2
    grazing_deg: float = 72.0


def fuse(
    views: Sequence[View],
    maps: Sequence[DepthMap],
    neighbours: Sequence[Sequence[int]],
    options: FusionOptions | None = None,
) -> PointCloud:
    """Fuse depth maps: keep what several views agree on, each spot from the view that faces it.

    A pixel's tangent plane is compared with those of the other views where they see its point.
    Its place moves along the normal to the mean of the agreeing planes, weighted by their
    precision. It is kept if no agreeing view sees the spot larger, so that spots seen by many
    views give one point and not many.

    Args:
        views, maps: of the same length.
        neighbours: for each view, the views to compare with.
        options: what counts as agreement.
    """
    options = options or FusionOptions()
    size = (len(views), max(v.grey.shape[0] for v in views), max(v.grey.shape[1] for v in views))
    planes = np.zeros((*size, 3), np.float32)
    deviation = np.zeros(size, np.float32)
    for i, depth in enumerate(maps):
        height, width = depth.score.shape
        planes[i, :height, :width] = depth.planes
        deviation[i, :height, :width] = depth.deviation
    cameras = np.stack([_row(view) for view in views])
    rules = np.array(
        [
            options.distance_px,
            np.cos(np.radians(options.angle_deg)),
            options.least_views,
            np.cos(np.radians(options.grazing_deg)),
        ]
    )
    clouds = []
    for i, view in enumerate(views):
        others = np.array([j for j in neighbours[i] if j != i], np.int64)
        height, width = view.grey.shape
        points = np.zeros((height, width, 3), np.float32)
        normals = np.zeros((height, width, 3), np.float32)
        spread = np.zeros((height, width), np.float32)
        count = np.zeros((height, width), np.int32)

        def rows(start: int, stop: int, i: int = i, others: np.ndarray = others) -> None:
            _fuse_rows(
                planes,
                deviation,
                cameras,
                i,
                others,
                rules,
                points,  # noqa: B023 - the call ends before the next view begins
                normals,  # noqa: B023
                spread,  # noqa: B023
                count,  # noqa: B023
                start,
                stop,
            )

        run_ranges(rows, height, min_chunk=16)
        kept = count > 0
        clouds.append(
            PointCloud(
                points[kept],
                normals[kept],
                view.colour[kept].astype(np.float32) / 255,
                spread[kept],
                count[kept],
            )
        )
    return PointCloud(*(np.concatenate(column) for column in zip(*clouds, strict=True)))


def _row(view: View) -> np.ndarray:
    """Return (23,) float64: fx, skew, cx, fy, cy, R (9), t (3), width, height, centre (3), 0."""
    camera, K = view.camera, view.camera.intrinsics
    height, width = view.grey.shape
    return np.concatenate(
        [
            [K[0, 0], K[0, 1], K[0, 2], K[1, 1], K[1, 2]],
            camera.rotation.ravel(),
            camera.translation,
            [width, height],
        ]
    )


@numba.njit(inline="always")
def _plane(planes, c, i, y, x):
    """A pixel's plane m . X = 1 in its camera's frame; m points away from the camera."""
    w, wx, wy = planes[i, y, x, 0], planes[i, y, x, 1], planes[i, y, x, 2]
    rest = w - wx * x - wy * y
    return c[0] * wx, c[1] * wx + c[3] * wy, c[2] * wx + c[4] * wy + rest


@numba.njit(
    types.void(
        types.Array(types.float32, 4, "C", readonly=True),
        types.Array(types.float32, 3, "C", readonly=True),
        types.Array(types.float64, 2, "C", readonly=True),
        types.int64,
        types.Array(types.int64, 1, "C", readonly=True),
        types.Array(types.float64, 1, "C", readonly=True),
        types.float32[:, :, ::1],
        types.float32[:, :, ::1],
        types.float32[:, ::1],
        types.int32[:, ::1],
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _fuse_rows(
    planes, deviation, cameras, i, others, rules, points, normals, spread, count, start, stop
):
    c = cameras[i]
    farthest, least_cosine, least_views, grazing = rules[0], rules[1], rules[2], rules[3]
    for y in range(start, stop):
        for x in range(int(c[17])):
            w = planes[i, y, x, 0]
            if w <= 0:
                continue
            z = 1.0 / w
            py = (y - c[4]) / c[3] * z
            px = ((x - c[2]) * z - c[1] * py) / c[0]
            m0, m1, m2 = _plane(planes, c, i, y, x)
            norm = np.sqrt(m0 * m0 + m1 * m1 + m2 * m2)
            range_i = np.sqrt(px * px + py * py + z * z)
            facing = 1.0 / (norm * range_i)
            if facing < grazing:
                continue
            # World: x = R^T (camera - t).
            a0, a1, a2 = px - c[14], py - c[15], z - c[16]
            X = c[5] * a0 + c[8] * a1 + c[11] * a2
            Y = c[6] * a0 + c[9] * a1 + c[12] * a2
            Z = c[7] * a0 + c[10] * a1 + c[13] * a2
            nx = -(c[5] * m0 + c[8] * m1 + c[11] * m2) / norm
            ny = -(c[6] * m0 + c[9] * m1 + c[12] * m2) / norm
            nz = -(c[7] * m0 + c[10] * m1 + c[13] * m2) / norm
            pixel = z / c[0]
            # A unit of w moves the surface by z^2 along the ray.
            sigma = max(deviation[i, y, x] * z * z * facing * range_i / z, 1e-3 * pixel)
            weight = 1.0 / (sigma * sigma)
            total, moved = weight, 0.0
            sx, sy, sz = weight * nx, weight * ny, weight * nz
            own = facing / pixel
            agree = 0
            largest = True
            for k in range(others.shape[0]):
                j = others[k]
                e = cameras[j]
                u2 = e[11] * X + e[12] * Y + e[13] * Z + e[16]
                if u2 <= 0:
                    continue
                u0 = e[5] * X + e[6] * Y + e[7] * Z + e[14]
                u1 = e[8] * X + e[9] * Y + e[10] * Z + e[15]
                qx = int(np.rint((e[0] * u0 + e[1] * u1) / u2 + e[2]))
                qy = int(np.rint(e[3] * u1 / u2 + e[4]))
                if qx < 0 or qy < 0 or qx >= int(e[17]) or qy >= int(e[18]):
                    continue
                wj = planes[j, qy, qx, 0]
                if wj <= 0:
                    continue
                k0, k1, k2 = _plane(planes, e, j, qy, qx)
                length = np.sqrt(k0 * k0 + k1 * k1 + k2 * k2)
                gap = (k0 * u0 + k1 * u1 + k2 * u2 - 1.0) / length
                pixel_j = u2 / e[0]
                if abs(gap) > farthest * max(pixel, pixel_j):
                    continue
                ox = -(e[5] * k0 + e[8] * k1 + e[11] * k2) / length
                oy = -(e[6] * k0 + e[9] * k1 + e[12] * k2) / length
                oz = -(e[7] * k0 + e[10] * k1 + e[13] * k2) / length
                cosine = ox * nx + oy * ny + oz * nz
                if cosine < least_cosine:
                    continue
                range_j = np.sqrt(u0 * u0 + u1 * u1 + u2 * u2)
                facing_j = 1.0 / (length * range_j)
                if facing_j < grazing:
                    continue
                agree += 1
                other = facing_j / pixel_j
                if other > own or (other == own and j < i):
                    largest = False
                sigma = max(deviation[j, qy, qx] * u2 * range_j * facing_j, 1e-3 * pixel_j)
                weight = 1.0 / (sigma * sigma)
                total += weight
                # The gap is along the other's inward normal; the way back is outwards.
                moved += weight * gap / cosine
                sx += weight * ox
                sy += weight * oy
                sz += weight * oz
            if agree < least_views or not largest:
                continue
            moved /= total
            points[y, x, 0] = X + nx * moved
            points[y, x, 1] = Y + ny * moved
            points[y, x, 2] = Z + nz * moved
            length = np.sqrt(sx * sx + sy * sy + sz * sz)
            normals[y, x, 0] = sx / length
            normals[y, x, 1] = sy / length
            normals[y, x, 2] = sz / length
            spread[y, x] = 1.0 / np.sqrt(total)
            count[y, x] = agree + 1
