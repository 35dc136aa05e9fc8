"""Colours of a surface's vertices from the views that see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facekit.capture.views import View, centre
from facekit.geometry.cameras import project
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.sampling import sample_image
from facekit.render.rasterise import Workspace, rasterise
from facekit.types import Mesh

_LEAST_FACING = 0.2


def vertex_colours(mesh: Mesh, views: Sequence[View]) -> tuple[np.ndarray, np.ndarray]:
    """Average the views' colours at every vertex.

    A view counts by the cube of the cosine at which it sees the surface, where nothing lies
    before the vertex.

    Returns:
        ``(colours, seen)``: (V, 3) float32 sRGB in [0, 1], mid-grey where no view sees the
        vertex, and (V,) int32, how many do.
    """
    normals = vertex_normals(mesh.vertices, mesh.faces)
    total = np.zeros((len(mesh.vertices), 3), np.float64)
    weight = np.zeros(len(mesh.vertices))
    seen = np.zeros(len(mesh.vertices), np.int32)
    workspace = Workspace()
    for view in views:
        height, width = view.grey.shape
        placed = project(view.camera, mesh.vertices)
        fragments = rasterise(placed, mesh.faces, width, height, workspace=workspace)
        depth = fragments.depth(placed, mesh.faces)
        rays = centre(view.camera) - mesh.vertices
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        facing = np.einsum("vc,vc->v", rays, normals)
        x, y = np.rint(placed[:, :2]).astype(np.int64).T
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height) & (placed[:, 2] > 0)
        rows = np.flatnonzero(inside & (facing > _LEAST_FACING))
        front = depth[y[rows], x[rows]]
        pixel = placed[rows, 2] / view.camera.intrinsics[0, 0]
        slack = pixel * (1.5 + 1.5 / facing[rows])
        rows = rows[(front == 0) | (placed[rows, 2] < front + slack)]
        share = facing[rows] ** 3
        total[rows] += share[:, None] * sample_image(view.colour, placed[rows, 0], placed[rows, 1])
        weight[rows] += share
        seen[rows] += 1
    colours = np.where(weight[:, None] > 0, total / np.maximum(weight, 1e-12)[:, None], 127.5)
    return np.clip(colours / 255, 0, 1).astype(np.float32), seen
