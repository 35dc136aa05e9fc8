"""Which vertices of a surface a camera sees, and how squarely."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.geometry.cameras import project
from facekit.render.rasterise import Workspace, rasterise
from facekit.types import Camera, Mesh

# The nearest surface may lie this many pixels' widths before a vertex, and as many over the
# cosine at which it is seen, since a slanted surface falls away within a pixel.
_SLACK_PX = 1.5


class SeenVertices(NamedTuple):
    """A camera's view of a mesh's vertices.

    Attributes:
        rows: (N,) the vertices inside the picture that nothing hides.
        pixels: (N, 2) where they are seen.
        facing: (N,) cosine between their normal and the direction to the camera.
    """

    rows: np.ndarray
    pixels: np.ndarray
    facing: np.ndarray


def seen_vertices(
    mesh: Mesh,
    normals: np.ndarray,
    camera: Camera,
    *,
    least_facing: float = 0.2,
    workspace: Workspace | None = None,
) -> SeenVertices:
    """Find the vertices that a camera sees.

    Args:
        mesh: the surface, which also hides.
        normals: (V, 3) unit vertex normals.
        camera: the camera.
        least_facing: smallest cosine, above 0.
        workspace: buffers to use again.
    """
    width, height = camera.width, camera.height
    placed = project(camera, mesh.vertices)
    fragments = rasterise(placed, mesh.faces, width, height, workspace=workspace)
    depth = fragments.depth(placed, mesh.faces)
    rays = -camera.rotation.T @ camera.translation - mesh.vertices
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    facing = np.einsum("vc,vc->v", rays, normals)
    x, y = np.rint(np.clip(placed[:, :2], -1e6, 1e6)).astype(np.int64).T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height) & (placed[:, 2] > 0)
    rows = np.flatnonzero(inside & (facing > least_facing))
    front = depth[y[rows], x[rows]]
    pixel = placed[rows, 2] / camera.intrinsics[0, 0]
    slack = _SLACK_PX * pixel * (1 + 1 / facing[rows])
    rows = rows[(front == 0) | (placed[rows, 2] < front + slack)]
    return SeenVertices(rows, placed[rows, :2], facing[rows])
