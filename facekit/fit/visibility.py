"""Which vertices of a head a camera sees, and how much of the surroundings they see."""

from __future__ import annotations

import numpy as np

from facekit.geometry.mesh import vertex_normals
from facekit.morphable.model import MorphableModel
from facekit.render.rasterise import rasterise
from facekit.simulate.light import ambient_occlusion

_DIRECTIONS = 64
_LEAST_OPENNESS = 0.1
# The nearest surface may lie this much before a vertex, mm, and this many pixels' depth: a pixel
# is a few millimetres wide in coarse pictures, and a slanted surface falls away.
_SLACK_MM, _SLACK_PX = 1.5, 1.5


def unhidden_vertices(
    points: np.ndarray,
    faces: np.ndarray,
    rows: np.ndarray,
    facing: np.ndarray,
    *,
    width: int,
    height: int,
    focal_px: float,
) -> np.ndarray:
    """Say of chosen vertices whether they lie inside the picture with nothing before them.

    Args:
        points: (V, 3) of all vertices: pixels, and depth in mm.
        faces: (F, 3) of the whole head, which hides what lies behind.
        rows: (N,) vertices.
        facing: (N,) cosines between their normals and the view.
        width, height: of the picture, pixels; its outermost two do not count.
        focal_px: focal length.

    Returns:
        (N,) bool. A vertex that faces away is hidden by the head, mostly; ask ``facing`` too.
    """
    depth = rasterise(points, faces, width, height, near=10.0).depth(points, faces)
    place = points[rows]
    x, y = np.rint(place[:, :2]).astype(int).T
    inside = (x > 1) & (y > 1) & (x < width - 2) & (y < height - 2)
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    front = np.where(depth[y, x] > 0, depth[y, x], np.inf)
    pixel_mm = place[:, 2] / focal_px
    slack = _SLACK_MM + _SLACK_PX * pixel_mm / np.maximum(facing, 0.2)
    return inside & (place[:, 2] < front + slack)


def mean_openness(model: MorphableModel) -> np.ndarray:
    """Return the share of the surroundings (V,) float64, in [0.1, 1], that the mean head sees."""
    normals = vertex_normals(model.mean, model.faces)
    seen = ambient_occlusion(model.mean, model.faces, normals, directions=_DIRECTIONS)
    return np.clip(seen.astype(np.float64), _LEAST_OPENNESS, 1)
