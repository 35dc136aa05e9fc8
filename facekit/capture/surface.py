"""A surface through points with normals: averaged signed distances, and marching cubes.

Each point spreads the signed distance to its tangent plane over the voxels about it; their
weighted mean is an implicit surface (as in a truncated signed distance field, but of fused
points). Where no point reaches there is no surface: the mesh ends where the scan does.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types
from skimage.measure import marching_cubes

from facekit.capture.fusion import PointCloud
from facekit.errors import InputError
from facekit.geometry.mesh import connected_components, submesh
from facekit.threads import run_ranges
from facekit.types import Mesh

# Weights reach this many of their deviations.
_REACH = 2.5
# A voxel counts as seen with this much of the weight that a flat, evenly sampled patch has.
_LEAST_WEIGHT = 0.15


def distance_surface(
    cloud: PointCloud, *, voxel: float, width: float = 1.0, voxels_at_most: int = 80_000_000
) -> Mesh:
    """Return the surface (mm, outwards orientation) of a cloud.

    Args:
        cloud: the points.
        voxel: edge of the grid's cells, mm.
        width: deviation of the Gaussian weights about a point, in voxels.
        voxels_at_most: a larger grid raises the voxel.

    Raises:
        InputError: no points, or they make no surface.

    Source: C. Shen, J. F. O'Brien, J. R. Shewchuk, Interpolating and approximating implicit
    surfaces from polygon soup, 2004; R. Kolluri, Provably good moving least squares, 2005, eq. 2.
    """
    if not len(cloud.points):
        raise InputError("surface: expected points, got none")
    low, high = cloud.points.min(0).astype(np.float64), cloud.points.max(0).astype(np.float64)
    extent = high - low
    reach = int(np.ceil(_REACH * width))
    while True:
        shape = np.ceil(extent / voxel).astype(int) + 2 * reach + 3
        if shape.prod() <= voxels_at_most:
            break
        voxel *= 1.1
    origin = low - (reach + 1) * voxel
    scaled = ((cloud.points - origin) / voxel).astype(np.float32)
    order = np.argsort(scaled[:, 0], kind="stable")
    scaled = np.ascontiguousarray(scaled[order])
    normals = np.ascontiguousarray(cloud.normals[order])
    weights = _weights(cloud.deviation[order])
    distance = np.zeros(shape, np.float32)
    total = np.zeros(shape, np.float32)
    run_ranges(
        lambda a, b: _splat(scaled, normals, weights, width, reach, distance, total, a, b),
        int(shape[0]),
        min_chunk=8,
    )
    dense = float(np.median(total[total > 0])) if len(scaled) else 0.0
    seen = total > _LEAST_WEIGHT * dense
    np.divide(distance, total, out=distance, where=seen)
    distance[~seen] = 1.0
    try:
        vertices, faces, _, _ = marching_cubes(distance, 0.0, mask=seen)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"surface: the points make no surface ({error})") from error
    # A vertex lies between two grid points, and a crossing towards an unseen one is none.
    ends = [tuple(end(vertices).astype(int).T) for end in (np.floor, np.ceil)]
    rows, faces = submesh(faces, seen[ends[0]] & seen[ends[1]])
    placed = vertices[rows].astype(np.float64) * voxel + origin
    return Mesh(placed, np.ascontiguousarray(faces, np.int32))


def largest_parts(mesh: Mesh, *, share: float = 0.05) -> Mesh:
    """Drop connected parts with fewer vertices than ``share`` of the largest part's."""
    labels = connected_components(mesh.faces, len(mesh.vertices))
    sizes = np.bincount(labels)
    keep = (sizes >= share * sizes.max())[labels]
    rows, faces = submesh(mesh.faces, keep)
    return Mesh(mesh.vertices[rows], faces)


def _weights(deviation: np.ndarray) -> np.ndarray:
    """Return weights by precision, at most those of the better half."""
    floor = max(float(np.median(deviation)), 1e-9)
    return ((floor / np.maximum(deviation, floor)) ** 2).astype(np.float32)


@numba.njit(
    types.void(
        types.Array(types.float32, 2, "C", readonly=True),
        types.Array(types.float32, 2, "C", readonly=True),
        types.Array(types.float32, 1, "C", readonly=True),
        types.float64,
        types.int64,
        types.float32[:, :, ::1],
        types.float32[:, :, ::1],
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _splat(points, normals, weights, width, reach, distance, total, start, stop):
    """Add the points, sorted by their first coordinate, to slices [start, stop) of the grid."""
    first = np.searchsorted(points[:, 0], np.float32(start - reach - 1))
    shrink = np.float32(-0.5 / (width * width))
    farthest = np.float32((_REACH * width) ** 2)
    for p in range(first, points.shape[0]):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        i0, j0, k0 = int(np.rint(x)), int(np.rint(y)), int(np.rint(z))
        if i0 - reach >= stop:
            break
        nx, ny, nz = normals[p, 0], normals[p, 1], normals[p, 2]
        for i in range(max(i0 - reach, start), min(i0 + reach + 1, stop)):
            dx = np.float32(i) - x
            for j in range(j0 - reach, j0 + reach + 1):
                dy = np.float32(j) - y
                for k in range(k0 - reach, k0 + reach + 1):
                    dz = np.float32(k) - z
                    squared = dx * dx + dy * dy + dz * dz
                    if squared <= farthest:
                        weight = weights[p] * np.exp(shrink * squared)
                        total[i, j, k] += weight
                        distance[i, j, k] += weight * (dx * nx + dy * ny + dz * nz)
