"""The jaw line of a head that has inner-face landmarks only."""

from __future__ import annotations

import numpy as np

from facekit.checks import check_array, check_faces
from facekit.errors import InputError
from facekit.geometry.mesh import vertex_normals
from facekit.render.interpolate import normal_map
from facekit.render.rasterise import rasterise
from facekit.types import LandmarkMap

# A frontal view at this many pixels a millimetre; finer than a labeller's own spread.
_PIXELS_PER_MM = 2.0
# So far away a view is as good as parallel.
_DISTANCE_MM = 1e5
# Directions of jaw points 0 and 16 seen from the nose tip, degrees above the horizontal.
_FIRST_ABOVE_DEG = 27.0
# The outline is where the surface turns this far from the viewer (cosine).
_TURNED = 0.12


def trace_jaw(vertices: np.ndarray, faces: np.ndarray, inner: LandmarkMap) -> LandmarkMap:
    """Add the jaw line (iBUG 0-16) to a landmark map of points 17-67.

    In a parallel frontal view, 17 rays leave the nose tip, from 27 degrees above the horizontal
    on the person's right over the chin to the other side. A jaw point is the outermost place on
    its ray that lies on the face (not on the neck or the ear, which are far behind the lips) and
    still faces the viewer. This is where a labeller of frontal photographs puts the outline; it
    is a definition, not anatomy.

    Args:
        vertices: (V, 3) mm, neutral, head frame.
        faces: (F, 3).
        inner: 51 points, iBUG 17-67.

    Raises:
        InputError: not 51 points, or a ray leaves the face without meeting it.
    """
    mesh = check_array(vertices, "vertices", shape=("V", 3)).astype(np.float64)
    triangles = check_faces(faces, len(mesh))
    if len(inner.faces) != 51:
        raise InputError(f"trace_jaw: expected landmarks 17-67 (51), got {len(inner.faces)}")
    marks = np.einsum("nc,ncd->nd", inner.barycentric, mesh[triangles[inner.faces]])
    low = mesh[:, :2].min(0)
    size = np.ceil((mesh[:, :2].max(0) - low) * _PIXELS_PER_MM).astype(int) + 2
    points = np.empty_like(mesh)
    points[:, 0] = (mesh[:, 0] - low[0]) * _PIXELS_PER_MM
    points[:, 1] = size[1] - 1 - (mesh[:, 1] - low[1]) * _PIXELS_PER_MM
    points[:, 2] = _DISTANCE_MM - mesh[:, 2]
    fragments = rasterise(points, triangles, int(size[0]), int(size[1]))
    normals = normal_map(fragments, triangles, vertex_normals(mesh, triangles))
    height = np.where(fragments.covered, _DISTANCE_MM - fragments.depth(points, triangles), -np.inf)

    nose = (marks[30 - 17, :2] - low) * _PIXELS_PER_MM
    lips = marks[31:, 2].max()
    angles = np.radians(180 - _FIRST_ABOVE_DEG + np.arange(17) / 16 * (180 + 2 * _FIRST_ABOVE_DEG))
    found, weights = [], []
    for number, angle in enumerate(angles):
        radius = np.arange(0, 1.5 * max(size), 0.5)
        x = np.rint(nose[0] + radius * np.cos(angle)).astype(int)
        y = np.rint(size[1] - 1 - nose[1] - radius * np.sin(angle)).astype(int)
        inside = (x >= 0) & (y >= 0) & (x < size[0]) & (y < size[1])
        x, y = x[inside], y[inside]
        deepest = lips - (30 + 42 * abs(np.cos(angle)))
        on_face = (height[y, x] > deepest) & (normals[y, x, 2] > _TURNED)
        if not on_face.any():
            raise InputError(f"trace_jaw: the ray to jaw point {number} does not meet the face")
        last = int(np.flatnonzero(on_face)[-1])
        found.append(fragments.triangle[y[last], x[last]])
        weights.append(fragments.barycentric[y[last], x[last]])
    return LandmarkMap(
        np.concatenate([np.array(found, np.int32), np.asarray(inner.faces, np.int32)]),
        np.concatenate([np.array(weights, np.float32), inner.barycentric]).astype(np.float32),
    )
