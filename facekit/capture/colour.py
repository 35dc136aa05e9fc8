"""Colours of a surface's vertices from the views that see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facekit.capture.views import View
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.sampling import sample_image
from facekit.render.rasterise import Workspace
from facekit.render.visibility import seen_vertices
from facekit.types import Mesh


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
        found = seen_vertices(mesh, normals, view.camera, workspace=workspace)
        share = found.facing**3
        sampled = sample_image(view.colour, found.pixels[:, 0], found.pixels[:, 1])
        total[found.rows] += share[:, None] * sampled
        weight[found.rows] += share
        seen[found.rows] += 1
    colours = np.where(weight[:, None] > 0, total / np.maximum(weight, 1e-12)[:, None], 127.5)
    return np.clip(colours / 255, 0, 1).astype(np.float32), seen
