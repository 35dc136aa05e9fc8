"""What the differentiable kernels need of a mesh's faces, worked out once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from facekit.checks import check_faces
from facekit.geometry.mesh import mesh_edges


@dataclass(frozen=True, eq=False)
class Topology:
    """Faces and who touches whom.

    Attributes:
        faces: (F, 3) int32, counter-clockwise from outside.
        num_vertices: V.
    """

    faces: np.ndarray
    num_vertices: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "faces", check_faces(self.faces, self.num_vertices))

    @cached_property
    def index(self) -> np.ndarray:
        """(F, 3) uint32, the faces as the kernels take them."""
        return self.faces.view(np.uint32)

    @cached_property
    def around(self) -> np.ndarray:
        """(3F, 3) uint32 rows (face, next vertex, previous vertex), those of vertex 0 first.

        A vertex's rows are in the order of the faces; next and previous follow the face's order.
        """
        order = np.argsort(self.faces.ravel(), kind="stable")
        face, k = order // 3, order % 3
        after, before = self.faces[face, (k + 1) % 3], self.faces[face, (k + 2) % 3]
        return np.ascontiguousarray(np.stack([face, after, before], axis=1), np.uint32)

    @cached_property
    def offsets(self) -> np.ndarray:
        """(V + 1,) uint32: vertex v has rows ``offsets[v]:offsets[v + 1]`` of ``around``."""
        counts = np.bincount(self.faces.ravel(), minlength=self.num_vertices)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32)

    @cached_property
    def edges(self) -> np.ndarray:
        """(E, 4) int32 rows (vertex, vertex, face, other face), what can be a silhouette.

        An edge of two faces has one row. An edge of one face, or of more than two, has a row for
        each face with -1 as the other: it bounds what that face covers.
        """
        found = mesh_edges(self.faces)
        flat = found.face_edges.ravel()
        order = np.argsort(flat, kind="stable")
        face = (order // 3).astype(np.int32)
        edge = flat[order]
        inner = found.num_faces[edge] == 2
        pairs = face[inner].reshape(-1, 2)
        shared = np.column_stack([found.vertices[edge[inner][::2]], pairs])
        alone = np.column_stack(
            [found.vertices[edge[~inner]], face[~inner], np.full((~inner).sum(), -1)]
        )
        return np.ascontiguousarray(np.concatenate([shared, alone]), np.int32)
