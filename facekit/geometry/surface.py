"""A surface made ready for closest points with normals and open borders."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.closest_point import TriangleTree, build_tree, closest_points
from facekit.geometry.mesh import mesh_edges, vertex_normals


class SurfacePairs(NamedTuple):
    """The closest points of a moved surface to N points.

    Attributes:
        closest: (N, 3) on the surface, in the points' frame.
        normal: (N, 3) unit normals there, interpolated from the vertices' (zero where there is
            none).
        distance: (N,) mm.
        border: (N,) bool, the closest point lies on an open border.
        triangle: (N,) int32.
    """

    closest: np.ndarray
    normal: np.ndarray
    distance: np.ndarray
    border: np.ndarray
    triangle: np.ndarray


class Surface:
    """A mesh made ready for closest points under changing similarities."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        """Build the search tree and find open borders.

        Raises:
            InputError: bad shapes, coordinates that are not finite, or no faces.
        """
        self.tree: TriangleTree = build_tree(vertices, faces)
        # Interpolated: at an edge the closest face, and so its own normal, is arbitrary.
        self.normals = vertex_normals(self.tree.vertices, self.tree.faces).astype(np.float64)
        edges = mesh_edges(self.tree.faces)
        self._open_edge = edges.num_faces[edges.face_edges] == 1
        open_vertex = np.zeros(len(self.tree.vertices), dtype=bool)
        open_vertex[edges.vertices[edges.num_faces == 1].ravel()] = True
        self._open_corner = open_vertex[self.tree.faces]

    def pairs(
        self,
        points: np.ndarray,
        transform: SimilarityTransform,
        *,
        start: np.ndarray | None = None,
    ) -> SurfacePairs:
        """Return the closest points of the surface, moved by ``transform``, to points (N, 3)."""
        found = closest_points(self.tree, transform.inverse().apply(points), start=start)
        corners = self.tree.faces[found.triangle]
        weights = found.barycentric
        closest = transform.apply(np.einsum("nk,nkd->nd", weights, self.tree.vertices[corners]))
        normal = np.einsum("nk,nkd->nd", weights, self.normals[corners])
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        normal = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
        normal = normal @ transform.rotation.T
        part = found.part.astype(np.int64)
        on_edge = (part >= 1) & (part <= 3)
        on_corner = part >= 4
        border = np.zeros(len(points), dtype=bool)
        border[on_edge] = self._open_edge[found.triangle[on_edge], part[on_edge] - 1]
        border[on_corner] = self._open_corner[found.triangle[on_corner], part[on_corner] - 4]
        distance = transform.scale * np.sqrt(found.squared_distance)
        return SurfacePairs(closest, normal, distance, border, found.triangle)
