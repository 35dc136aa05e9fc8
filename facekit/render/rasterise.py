"""Rasterise triangles: which triangle covers each pixel's centre, and where in it.

The z-buffer holds 64-bit words, inverse depth as float32 bits over the inverted face number, and
the maximum wins: the nearest triangle, and the lower number on a tie. The result therefore does
not depend on the order of the faces in memory or on the number of threads.

Coverage is decided in exact integers on vertices rounded to 1/4096 pixel, borders included, so a
closed mesh has no holes and no order of edges matters. Barycentrics come from the unrounded
vertices.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba.types import Array, boolean, float32, float64, int32, int64, uint64, void

from facekit.checks import check_array, check_faces
from facekit.errors import InputError
from facekit.threads import run_ranges

# Vertices are rounded to 2^-12 pixel for the coverage test.
_FRACTION_BITS = 12
_ONE = 1 << _FRACTION_BITS
# Farther than this from the image's origin the products would leave 64 bits.
_FARTHEST_PX = float(1 << 17)
# Two threads pay for themselves from about this many rows each.
_MIN_ROWS = 192

_POINTS = Array(float64, 2, "C", readonly=True)
_FACES = Array(int32, 2, "C", readonly=True)


class Fragments(NamedTuple):
    """What a picture's pixels see of a mesh.

    Attributes:
        triangle: (H, W) int32, the face at the pixel's centre, -1 where there is none.
        barycentric: (H, W, 3) float32, weights of the face's three corners, at least 0 with sum
            1; perspective-correct, so that they interpolate quantities of the 3D surface. All 0
            where there is no face.
    """

    triangle: np.ndarray
    barycentric: np.ndarray

    @property
    def covered(self) -> np.ndarray:
        """(H, W) bool: pixels that see a face."""
        return self.triangle >= 0

    def depth(self, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Return the depth z of the seen surface, (H, W) float32, 0 where there is no face.

        Args:
            points: (V, 3) with depth in column 2, as given to ``rasterise``.
            faces: (F, 3).
        """
        corners = np.ascontiguousarray(np.asarray(points)[:, 2], dtype=np.float32)[faces]
        inside = self.covered
        depth = np.zeros(self.triangle.shape, np.float32)
        depth[inside] = np.einsum(
            "nc,nc->n", self.barycentric[inside], corners[self.triangle[inside]]
        )
        return depth


class Workspace:
    """Buffers that ``rasterise`` uses again and again, so that it allocates nothing.

    The arrays of the returned ``Fragments`` then belong to the workspace too: the next call
    overwrites them. One workspace serves one thread of callers.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """Return an uninitialised array of this shape, the same one as last time if it fits."""
        array = self._arrays.get(name)
        if array is None or array.shape != shape:
            array = self._arrays[name] = np.empty(shape, dtype)
        return array


def rasterise(
    points: np.ndarray,
    faces: np.ndarray,
    width: int,
    height: int,
    *,
    cull: bool = True,
    near: float = 1e-3,
    workspace: Workspace | None = None,
) -> Fragments:
    """Find the triangle that each pixel's centre sees, and the barycentrics there.

    Pixel (0, 0) is the CENTRE of the top-left pixel. With +y down a face that is
    counter-clockwise from outside appears clockwise when its outside is seen.

    Args:
        points: (V, 3) projected vertices: x, y in pixels and depth z > 0 (mm) from
            ``geometry.cameras.project``. float64 is used as it is, other types are converted.
        faces: (F, 3) int32, counter-clockwise from outside.
        width, height: size of the picture in pixels.
        cull: leave out faces that are seen from behind.
        near: a face with a corner at z <= near is left out whole (there is no clipping), as is
            one with a corner over 131,072 pixels away from the origin or not finite.
        workspace: buffers to use again; see ``Workspace``.

    Returns:
        Fragments; they do not depend on the number of threads.

    Raises:
        InputError: wrong shapes, face indices out of range, or an empty picture.

    Degenerate: faces without area (after rounding to 1/4096 pixel) cover nothing; no faces give
    an empty picture.

    Source: J. Pineda, A parallel algorithm for polygon rasterization, 1988 (edge functions);
    perspective-correct weights: w_i / z_i over their sum.
    """
    projected = np.ascontiguousarray(
        check_array(points, "points", shape=("V", 3), finite=False), dtype=np.float64
    )
    triangles = check_faces(faces, len(projected))
    if width < 1 or height < 1:
        raise InputError(f"rasterise: expected a picture of at least 1x1, got {width}x{height}")
    space = Workspace() if workspace is None else workspace
    fixed = space.get("fixed", (len(projected), 2), np.int32)
    inverse = space.get("inverse", (len(projected),), np.float64)
    buffer = space.get("buffer", (height, width), np.uint64)
    triangle = space.get("triangle", (height, width), np.int32)
    barycentric = space.get("barycentric", (height, width, 3), np.float32)
    _prepare(projected, float(near), fixed, inverse)

    def rows(start: int, stop: int) -> None:
        _draw(fixed, inverse, triangles, cull, buffer, start, stop)
        _resolve(projected, triangles, buffer, triangle, barycentric, start, stop)

    run_ranges(rows, height, min_chunk=_MIN_ROWS)
    return Fragments(triangle, barycentric)


@numba.njit(
    void(_POINTS, float64, int32[:, ::1], float64[::1]), nogil=True, cache=True, error_model="numpy"
)
def _prepare(points, near, fixed, inverse):
    for v in range(points.shape[0]):
        x, y, z = points[v, 0], points[v, 1], points[v, 2]
        # Written so that NaN fails it too.
        usable = z > near and abs(x) < _FARTHEST_PX and abs(y) < _FARTHEST_PX and z < np.inf
        if usable:
            fixed[v, 0] = np.int32(np.rint(x * _ONE))
            fixed[v, 1] = np.int32(np.rint(y * _ONE))
            inverse[v] = 1.0 / z
        else:
            fixed[v, 0] = 0
            fixed[v, 1] = 0
            inverse[v] = 0.0


@numba.njit(
    void(
        Array(int32, 2, "C", readonly=True),
        Array(float64, 1, "C", readonly=True),
        _FACES,
        boolean,
        uint64[:, ::1],
        int64,
        int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _draw(fixed, inverse, faces, cull, buffer, start, stop):
    """Draw every face into rows [start, stop) of the z-buffer, which is cleared first."""
    width = np.int32(buffer.shape[1])
    first_row, last_row = np.int32(start), np.int32(stop - 1)
    buffer[start:stop] = np.uint64(0)
    word = np.zeros(1, np.float32)
    bits = word.view(np.uint32)
    for f in range(faces.shape[0]):
        i, j, k = np.uint32(faces[f, 0]), np.uint32(faces[f, 1]), np.uint32(faces[f, 2])
        x0, y0 = fixed[i, 0], fixed[i, 1]
        x1, y1 = fixed[j, 0], fixed[j, 1]
        x2, y2 = fixed[k, 0], fixed[k, 1]
        left = max((min(x0, min(x1, x2)) + (_ONE - 1)) >> _FRACTION_BITS, 0)
        right = min(max(x0, max(x1, x2)) >> _FRACTION_BITS, width - 1)
        top = max((min(y0, min(y1, y2)) + (_ONE - 1)) >> _FRACTION_BITS, first_row)
        bottom = min(max(y0, max(y1, y2)) >> _FRACTION_BITS, last_row)
        # Twice the area; +y is down, so a face seen from outside has a negative one.
        area = np.int64(x2 - x0) * np.int64(y1 - y0) - np.int64(x1 - x0) * np.int64(y2 - y0)
        ok = (left <= right) & (top <= bottom) & (area != 0) & ((area > 0) | (not cull))
        if not ok:
            continue
        z0, z1, z2 = inverse[i], inverse[j], inverse[k]
        if z0 == 0.0 or z1 == 0.0 or z2 == 0.0:
            continue
        if area < 0:
            x1, x2 = x2, x1
            y1, y2 = y2, y1
            z1, z2 = z2, z1
            area = -area
        # Edge function opposite corner c grows by dx_c a pixel to the right, dy_c a row down.
        a0, b0 = np.int64(y1 - y2), np.int64(x2 - x1)
        a1, b1 = np.int64(y2 - y0), np.int64(x0 - x2)
        a2, b2 = np.int64(y0 - y1), np.int64(x1 - x0)
        px = np.int64(left) << _FRACTION_BITS
        py = np.int64(top) << _FRACTION_BITS
        row0 = -(a0 * (px - x1) + b0 * (py - y1))
        row1 = -(a1 * (px - x2) + b1 * (py - y2))
        row2 = -(a2 * (px - x0) + b2 * (py - y0))
        a0, b0 = -(a0 << _FRACTION_BITS), -(b0 << _FRACTION_BITS)
        a1, b1 = -(a1 << _FRACTION_BITS), -(b1 << _FRACTION_BITS)
        a2, b2 = -(a2 << _FRACTION_BITS), -(b2 << _FRACTION_BITS)
        scale = 1.0 / area
        z0, z1, z2 = z0 * scale, z1 * scale, z2 * scale
        name = np.uint64(0xFFFFFFFF - f)
        for y in range(top, bottom + 1):
            e0, e1, e2 = row0, row1, row2
            for x in range(left, right + 1):
                if (e0 | e1 | e2) >= 0:
                    word[0] = e0 * z0 + e1 * z1 + e2 * z2
                    key = (np.uint64(bits[0]) << np.uint64(32)) | name
                    if key > buffer[y, x]:
                        buffer[y, x] = key
                e0 += a0
                e1 += a1
                e2 += a2
            row0 += b0
            row1 += b1
            row2 += b2


@numba.njit(
    void(
        _POINTS,
        _FACES,
        Array(uint64, 2, "C", readonly=True),
        int32[:, ::1],
        float32[:, :, ::1],
        int64,
        int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _resolve(points, faces, buffer, triangle, barycentric, start, stop):
    """Turn rows [start, stop) of the z-buffer into face numbers and barycentrics."""
    for y in range(start, stop):
        for x in range(buffer.shape[1]):
            key = buffer[y, x]
            if key == 0:
                triangle[y, x] = -1
                barycentric[y, x, 0] = 0
                barycentric[y, x, 1] = 0
                barycentric[y, x, 2] = 0
                continue
            f = np.uint32(np.uint64(0xFFFFFFFF) - (key & np.uint64(0xFFFFFFFF)))
            triangle[y, x] = f
            i, j, k = np.uint32(faces[f, 0]), np.uint32(faces[f, 1]), np.uint32(faces[f, 2])
            x0, y0, z0 = points[i, 0] - x, points[i, 1] - y, points[i, 2]
            x1, y1, z1 = points[j, 0] - x, points[j, 1] - y, points[j, 2]
            x2, y2, z2 = points[k, 0] - x, points[k, 1] - y, points[k, 2]
            area = (x2 - x0) * (y1 - y0) - (x1 - x0) * (y2 - y0)
            sign = 1.0 if area > 0 else -1.0
            # Weights over depth, with the depths' product multiplied out. The rounding of the
            # coverage test can leave a pixel outside its face by 1/4096 pixel: hence the max.
            w0 = max((x2 * y1 - x1 * y2) * sign, 0.0) * (z1 * z2)
            w1 = max((x0 * y2 - x2 * y0) * sign, 0.0) * (z2 * z0)
            w2 = max((x1 * y0 - x0 * y1) * sign, 0.0) * (z0 * z1)
            total = w0 + w1 + w2
            if total > 0:
                inverse = 1.0 / total
                barycentric[y, x, 0] = w0 * inverse
                barycentric[y, x, 1] = w1 * inverse
                barycentric[y, x, 2] = w2 * inverse
            else:
                barycentric[y, x, 0] = 1
                barycentric[y, x, 1] = 0
                barycentric[y, x, 2] = 0
