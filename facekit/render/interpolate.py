"""Vertex attributes, normals and textures at the pixels of a rasterised picture."""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from facekit.checks import check_array, check_faces
from facekit.errors import InputError
from facekit.render.rasterise import Fragments
from facekit.threads import run_ranges

_MIN_PIXELS = 20_000


def interpolate(
    fragments: Fragments, faces: np.ndarray, attributes: np.ndarray, *, fill: float = 0.0
) -> np.ndarray:
    """Interpolate per-vertex attributes at every pixel, (H, W, C) float32.

    Computes sum_c w_c attributes[faces[t, c]] with the perspective-correct weights w of triangle
    t, so that a linear function on the 3D surface is reproduced.

    Args:
        fragments: of ``rasterise`` with the same faces.
        faces: (F, 3) rows of ``attributes``; pass ``face_uvs`` to interpolate uvs.
        attributes: (V, C).
        fill: value of the pixels that see no face.

    Raises:
        InputError: shapes do not fit, or the fragments name faces that do not exist.
    """
    values, triangles = _checked(fragments, faces, attributes)
    shape = (*fragments.triangle.shape, values.shape[1])
    pixels = np.empty(shape, np.float32)
    flat = pixels.reshape(-1, values.shape[1])
    triangle = fragments.triangle.reshape(-1)
    weights = fragments.barycentric.reshape(-1, 3)
    run_ranges(
        lambda start, stop: _interpolate(
            triangle, weights, triangles, values, fill, flat, start, stop
        ),
        len(triangle),
        min_chunk=_MIN_PIXELS,
    )
    return pixels


def interpolate_at(
    triangle: np.ndarray, barycentric: np.ndarray, faces: np.ndarray, attributes: np.ndarray
) -> np.ndarray:
    """Interpolate per-vertex attributes at N surface points, (N, C) float32.

    Args:
        triangle: (N,) int32 face of each point, -1 for none (its row is 0).
        barycentric: (N, 3) float32 weights.
        faces: (F, 3); attributes: (V, C).
    """
    weights = np.ascontiguousarray(
        check_array(barycentric, "barycentric", shape=(len(triangle), 3)), np.float32
    )
    points = Fragments(np.ascontiguousarray(triangle, np.int32)[None], weights[None])
    return interpolate(points, faces, attributes)[0]


def sample_texture(texture: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """Sample a texture bilinearly at uvs (..., 2), returning (..., C) float32 in its own units.

    uv (0, 0) is the lower left CORNER of the picture and (1, 1) the upper right one, so the
    centre of the top-left texel is (0.5 / W, 1 - 0.5 / H). Outside [0, 1] the border repeats.

    Args:
        texture: (H, W, C), any dtype; linear interpolation is right for linear colours only.
        uvs: (..., 2).
    """
    picture = check_array(texture, "texture", shape=("H", "W", "C"))
    where = check_array(uvs, "uvs", shape=("...", 2), finite=False)
    height, width = picture.shape[:2]
    if height < 1 or width < 1:
        raise InputError(f"texture: expected at least one texel, got shape {picture.shape}")
    x = np.clip(where[..., 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - where[..., 1]) * height - 0.5, 0, height - 1)
    left = np.minimum(x.astype(np.int64), max(width - 2, 0))
    top = np.minimum(y.astype(np.int64), max(height - 2, 0))
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    u = (x - left)[..., None].astype(np.float32)
    v = (y - top)[..., None].astype(np.float32)
    upper = (1 - u) * picture[top, left] + u * picture[top, right]
    lower = (1 - u) * picture[bottom, left] + u * picture[bottom, right]
    return ((1 - v) * upper + v * lower).astype(np.float32)


def normal_map(fragments: Fragments, faces: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Return unit normals at every pixel, (H, W, 3) float32; 0 where there is no face.

    Args:
        fragments, faces: as rasterised.
        normals: (V, 3) vertex normals, in the frame that the result shall be in.
    """
    return unit(interpolate(fragments, faces, normals))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (..., 3) at length 1; a zero vector stays zero."""
    length = np.sqrt(np.einsum("...c,...c->...", vectors, vectors))[..., None]
    return vectors / np.where(length > 0, length, 1)


def _checked(
    fragments: Fragments, faces: np.ndarray, attributes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    values = check_array(attributes, "attributes", shape=("V", "C"), finite=False)
    triangles = check_faces(faces, len(values))
    if fragments.triangle.size and fragments.triangle.max() >= len(triangles):
        raise InputError(
            f"interpolate: the fragments name face {int(fragments.triangle.max())} but there are "
            f"{len(triangles)}; pass the faces that were rasterised"
        )
    return np.ascontiguousarray(values, np.float32), triangles


@numba.njit(
    types.void(
        types.Array(types.int32, 1, "C", readonly=True),
        types.Array(types.float32, 2, "C", readonly=True),
        types.Array(types.int32, 2, "C", readonly=True),
        types.Array(types.float32, 2, "C", readonly=True),
        types.float32,
        types.float32[:, ::1],
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _interpolate(triangle, weights, faces, values, fill, out, start, stop):
    channels = values.shape[1]
    for p in range(start, stop):
        t = triangle[p]
        if t < 0:
            for c in range(channels):
                out[p, c] = fill
            continue
        i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
        a, b, d = weights[p, 0], weights[p, 1], weights[p, 2]
        for c in range(channels):
            out[p, c] = a * values[i, c] + b * values[j, c] + d * values[k, c]
