"""Rasterise triangles: which triangle covers each pixel's centre, and where in it.

The z-buffer holds 64-bit words, inverse depth as float32 bits over the inverted face number, and
the maximum wins: the nearest triangle, and the lower number on a tie. The result therefore does
not depend on the order of the faces in memory or on the number of threads.

Coverage is decided in exact integers on vertices rounded to 1/4096 pixel, borders included, so a
closed mesh has no holes and no order of edges matters. Barycentrics come from the unrounded
vertices.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

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
# Faces are sorted by kind in blocks whose lists fit the first-level cache.
_BLOCK = 1024

_POINTS = types.Array(types.float64, 2, "C", readonly=True)
_FACES = types.Array(types.int32, 2, "C", readonly=True)
_BUFFER = types.Array(types.uint64, 2, "C", readonly=True)
_KERNEL: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}


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
    space = Workspace() if workspace is None else workspace
    projected, triangles, fixed, inverse, drawn = _prepared(
        points, faces, width, height, near, space
    )
    buffer = space.get("buffer", (height, width), np.uint64)
    triangle = space.get("triangle", (height, width), np.int32)
    barycentric = space.get("barycentric", (height, width, 3), np.float32)

    def rows(start: int, stop: int) -> None:
        draw_faces(fixed, inverse, drawn, cull, buffer, start, stop)
        _resolve(projected, triangles, buffer, triangle, barycentric, start, stop)

    run_ranges(rows, height, min_chunk=_MIN_ROWS)
    return Fragments(triangle, barycentric)


def depth_map(
    points: np.ndarray, faces: np.ndarray, width: int, height: int, *, cull: bool = True
) -> np.ndarray:
    """Return the nearest face's depth at each pixel's centre, (H, W) float32, infinite for none.

    Arguments and errors are those of ``rasterise``, of which this is the first half.
    """
    space = Workspace()
    _, _, fixed, inverse, drawn = _prepared(points, faces, width, height, 1e-3, space)
    buffer = space.get("buffer", (height, width), np.uint64)
    depth = space.get("depth", (height, width), np.float32)

    def rows(start: int, stop: int) -> None:
        draw_faces(fixed, inverse, drawn, cull, buffer, start, stop)
        _depths(buffer, depth, start, stop)

    run_ranges(rows, height, min_chunk=_MIN_ROWS)
    return depth


def _prepared(
    points: np.ndarray, faces: np.ndarray, width: int, height: int, near: float, space: Workspace
) -> tuple[np.ndarray, ...]:
    """Return points and faces checked, rounded points, inverse depths, and faces that are drawn."""
    projected = np.ascontiguousarray(
        check_array(points, "points", shape=("V", 3), finite=False), dtype=np.float64
    )
    triangles = check_faces(faces, len(projected))
    if width < 1 or height < 1:
        raise InputError(f"rasterise: expected a picture of at least 1x1, got {width}x{height}")
    fixed = space.get("fixed", (len(projected),), np.int64)
    inverse = space.get("inverse", (len(projected),), np.float64)
    drawn = prepare_faces(projected, triangles, near, fixed, inverse)
    return projected, triangles, fixed, inverse, drawn


def prepare_faces(
    points: np.ndarray, faces: np.ndarray, near: float, fixed: np.ndarray, inverse: np.ndarray
) -> np.ndarray:
    """Return the faces that ``draw_faces`` takes; fill rounded vertices and inverse depths (V,).

    Args as ``rasterise`` checks them: points (V, 3) float64 and faces (F, 3) int32.
    """
    if _prepare(points, float(near), fixed, inverse):
        return faces
    # A face that is left out keeps its number and has no area.
    kept = (inverse[faces] > 0).all(axis=1)[:, None]
    return np.where(kept, faces, np.int32(0))


@numba.njit(
    types.boolean(_POINTS, types.float64, types.int64[::1], types.float64[::1]),
    **_KERNEL,
)
def _prepare(points, near, fixed, inverse):
    """Round the vertices, invert their depths (0 if unusable); say whether all are usable.

    A rounded vertex is one word, y over x, so that a face is fetched with three loads, not six.
    """
    all_usable = True
    for v in range(points.shape[0]):
        x, y, z = points[v, 0], points[v, 1], points[v, 2]
        # Written so that NaN fails it too.
        usable = z > near and abs(x) < _FARTHEST_PX and abs(y) < _FARTHEST_PX and z < np.inf
        if usable:
            low = np.int64(np.rint(x * _ONE)) & np.int64(0xFFFFFFFF)
            fixed[v] = (np.int64(np.rint(y * _ONE)) << 32) | low
            inverse[v] = 1.0 / z
        else:
            fixed[v] = 0
            inverse[v] = 0.0
            all_usable = False
    return all_usable


@numba.njit(inline="always")
def _edges(f, fixed, faces, first_row):
    """The first pixel of a face's box, twice its area, and its edge functions there.

    Each edge function is (step to the right, step down, value), positive inside, over 2^-24
    pixel squared.
    """
    i, j, k = np.uint32(faces[f, 0]), np.uint32(faces[f, 1]), np.uint32(faces[f, 2])
    x0, y0 = (fixed[i] << 32) >> 32, fixed[i] >> 32
    x1, y1 = (fixed[j] << 32) >> 32, fixed[j] >> 32
    x2, y2 = (fixed[k] << 32) >> 32, fixed[k] >> 32
    left = max((min(x0, min(x1, x2)) + (_ONE - 1)) >> _FRACTION_BITS, 0)
    top = max((min(y0, min(y1, y2)) + (_ONE - 1)) >> _FRACTION_BITS, first_row)
    px, py = left << _FRACTION_BITS, top << _FRACTION_BITS
    area = (x2 - x0) * (y1 - y0) - (x1 - x0) * (y2 - y0)
    sign = np.int64(1) if area > 0 else np.int64(-1)
    a0, b0 = sign * (y2 - y1), sign * (x1 - x2)
    a1, b1 = sign * (y0 - y2), sign * (x2 - x0)
    a2, b2 = sign * (y1 - y0), sign * (x0 - x1)
    return (
        left,
        top,
        sign * area,
        (a0 << _FRACTION_BITS, b0 << _FRACTION_BITS, a0 * (px - x1) + b0 * (py - y1)),
        (a1 << _FRACTION_BITS, b1 << _FRACTION_BITS, a1 * (px - x2) + b1 * (py - y2)),
        (a2 << _FRACTION_BITS, b2 << _FRACTION_BITS, a2 * (px - x0) + b2 * (py - y0)),
    )


@numba.njit(inline="always")
def _test(buffer, y, x, e0, e1, e2, z0, z1, z2, name):
    """Put one face into one pixel if it covers its centre and is nearest, without a branch."""
    bits = np.float32(e0 * z0 + e1 * z1 + e2 * z2).view(np.uint32)
    key = (np.uint64(bits) << np.uint64(32)) | name
    key = key if (e0 | e1 | e2) >= 0 else np.uint64(0)
    row, column = np.uint32(y), np.uint32(x)
    old = buffer[row, column]
    buffer[row, column] = key if key > old else old


# The inner loops have no branch that depends on the data: faces are first sorted by the size of
# their box in pixels (1x1, 2x1, 1x2, 2x2, larger, none), block by block, and each kind then runs
# straight through. On faces of about a pixel that saves most of the time.
@numba.njit(
    types.void(
        types.Array(types.int64, 1, "C", readonly=True),
        types.Array(types.float64, 1, "C", readonly=True),
        _FACES,
        types.boolean,
        types.uint64[:, ::1],
        types.int64,
        types.int64,
    ),
    **_KERNEL,
)
def draw_faces(fixed, inverse, faces, cull, buffer, start, stop):
    """Draw every face into rows [start, stop) of the z-buffer, which is cleared first."""
    last_column, last_row = np.int64(buffer.shape[1] - 1), np.int64(stop - 1)
    buffer[start:stop] = np.uint64(0)
    lists = np.empty((6, _BLOCK), np.int32)
    counts = np.zeros(6, np.int64)
    for block in range(0, faces.shape[0], _BLOCK):
        counts[:] = 0
        for number in range(block, min(block + _BLOCK, faces.shape[0])):
            f = np.uint32(number)
            i, j, k = np.uint32(faces[f, 0]), np.uint32(faces[f, 1]), np.uint32(faces[f, 2])
            x0, y0 = (fixed[i] << 32) >> 32, fixed[i] >> 32
            x1, y1 = (fixed[j] << 32) >> 32, fixed[j] >> 32
            x2, y2 = (fixed[k] << 32) >> 32, fixed[k] >> 32
            left = max((min(x0, min(x1, x2)) + (_ONE - 1)) >> _FRACTION_BITS, 0)
            right = min(max(x0, max(x1, x2)) >> _FRACTION_BITS, last_column)
            top = max((min(y0, min(y1, y2)) + (_ONE - 1)) >> _FRACTION_BITS, start)
            bottom = min(max(y0, max(y1, y2)) >> _FRACTION_BITS, last_row)
            # Twice the area; +y is down, and the sign is that of a face seen from outside.
            area = np.int64(x2 - x0) * np.int64(y1 - y0) - np.int64(x1 - x0) * np.int64(y2 - y0)
            wide, high = right - left, bottom - top
            drawn = np.int64((wide >= 0) & (high >= 0) & ((area > 0) | ((area < 0) & (not cull))))
            small = np.int64((wide <= 1) & (high <= 1))
            kind = np.uint32(5 - drawn * (1 + small * (4 - wide - 2 * high)))
            count = counts[kind]
            lists[kind, np.uint32(count)] = f
            counts[kind] = count + 1
        for size in range(5):
            for number in range(counts[size]):
                f = np.uint32(lists[np.uint32(size), np.uint32(number)])
                left, top, area, one, two, three = _edges(f, fixed, faces, start)
                a0, b0, e0 = one
                a1, b1, e1 = two
                a2, b2, e2 = three
                i, j, k = np.uint32(faces[f, 0]), np.uint32(faces[f, 1]), np.uint32(faces[f, 2])
                scale = 1.0 / area
                z0, z1, z2 = inverse[i] * scale, inverse[j] * scale, inverse[k] * scale
                name = np.uint64(0xFFFFFFFF) - np.uint64(f)
                if size < 4:
                    _test(buffer, top, left, e0, e1, e2, z0, z1, z2, name)
                    if size & 1:
                        _test(buffer, top, left + 1, e0 + a0, e1 + a1, e2 + a2, z0, z1, z2, name)
                    if size & 2:
                        e0, e1, e2 = e0 + b0, e1 + b1, e2 + b2
                        _test(buffer, top + 1, left, e0, e1, e2, z0, z1, z2, name)
                        if size & 1:
                            e0, e1, e2 = e0 + a0, e1 + a1, e2 + a2
                            _test(buffer, top + 1, left + 1, e0, e1, e2, z0, z1, z2, name)
                else:
                    x0, x1, x2 = (
                        (fixed[i] << 32) >> 32,
                        (fixed[j] << 32) >> 32,
                        (fixed[k] << 32) >> 32,
                    )
                    y0, y1, y2 = fixed[i] >> 32, fixed[j] >> 32, fixed[k] >> 32
                    right = min(max(x0, max(x1, x2)) >> _FRACTION_BITS, last_column)
                    bottom = min(max(y0, max(y1, y2)) >> _FRACTION_BITS, last_row)
                    for y in range(top, bottom + 1):
                        p0, p1, p2 = e0, e1, e2
                        for x in range(left, right + 1):
                            _test(buffer, y, x, p0, p1, p2, z0, z1, z2, name)
                            p0, p1, p2 = p0 + a0, p1 + a1, p2 + a2
                        e0, e1, e2 = e0 + b0, e1 + b1, e2 + b2


@numba.njit(
    types.void(
        _POINTS,
        _FACES,
        _BUFFER,
        types.int32[:, ::1],
        types.float32[:, :, ::1],
        types.int64,
        types.int64,
    ),
    **_KERNEL,
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


@numba.njit(
    types.void(_BUFFER, types.float32[:, ::1], types.int64, types.int64),
    **_KERNEL,
)
def _depths(buffer, depth, start, stop):
    """Turn rows [start, stop) of the z-buffer into depths."""
    for y in range(start, stop):
        for x in range(buffer.shape[1]):
            bits = np.uint32(buffer[y, x] >> np.uint64(32))
            inverse = bits.view(np.float32)
            depth[y, x] = np.float32(1) / inverse if bits else np.float32(np.inf)
