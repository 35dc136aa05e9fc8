"""A surface that deforms smoothly towards targets: sparse least squares, solved directly."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from facekit.checks import check_faces
from facekit.geometry.mesh import vertex_adjacency
from facekit.types import LandmarkMap

# Vertices of parts that nothing draws stay where they are.
_ANCHOR = 1e-6


class ElasticSurface:
    """A topology whose displacements from a reference shall be smooth.

    The cost of displacements D from a reference X is

        bend |L D|^2 + stretch sum_edges |D_i - D_j|^2 + sum_i w_i |X_i + D_i - y_i|^2
        + m sum_k |b_k (X + D) - z_k|^2

    with L the graph's Laplacian, targets y and landmarks z at barycentric rows b. The three
    coordinates share one matrix of (V, V), so that a solve is one sparse factorisation.

    Args:
        faces: (F, 3).
        num_vertices: V.
        marks: where landmarks lie, or None.

    Source: O. Sorkine et al., Laplacian surface editing, 2004, without the local rotations;
    B. Amberg et al., Optimal step nonrigid ICP, 2007, with displacements for affine maps.
    """

    def __init__(
        self, faces: np.ndarray, num_vertices: int, marks: LandmarkMap | None = None
    ) -> None:
        triangles = check_faces(faces, num_vertices)
        near = vertex_adjacency(triangles, num_vertices).astype(np.float64)
        degree = np.asarray(near.sum(axis=1)).ravel()
        laplacian = (sp.diags_array(degree) - near).tocsc()
        self._stretch = laplacian
        self._bend = (laplacian.T @ laplacian).tocsc()
        self._anchor = _ANCHOR * sp.eye_array(num_vertices, format="csc")
        self.num_vertices = num_vertices
        self._marks = landmark_matrix(triangles, num_vertices, marks)

    def solve(
        self,
        reference: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        *,
        bend: float,
        stretch: float,
        landmarks: np.ndarray | None = None,
        landmark_weight: float = 0.0,
    ) -> np.ndarray:
        """Return the deformed vertices (V, 3) float64.

        Args:
            reference: (V, 3) shape of no cost.
            targets: (V, 3); rows of no weight are not read.
            weights: (V,) non-negative.
            bend, stretch: of the smoothness.
            landmarks: (N, 3) places of the marks, NaN where there is none.
            landmark_weight: of each.
        """
        gap = np.where(weights[:, None] > 0, targets - reference, 0.0)
        matrix = bend * self._bend + stretch * self._stretch + self._anchor
        matrix = matrix + sp.diags_array(weights)
        right = weights[:, None] * gap
        if landmarks is not None and landmark_weight > 0:
            known = np.flatnonzero(np.isfinite(landmarks).all(axis=1))
            rows = self._marks[known]
            matrix = matrix + landmark_weight * (rows.T @ rows)
            right += landmark_weight * (rows.T @ (landmarks[known] - rows @ reference))
        factor = splu(
            matrix.tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        return reference + factor.solve(np.ascontiguousarray(right))


def landmark_matrix(
    faces: np.ndarray, num_vertices: int, marks: LandmarkMap | None
) -> sp.csr_array:
    """Return the (N, V) sparse matrix that reads landmarks off vertices; no rows without marks."""
    if marks is None:
        return sp.csr_array((0, num_vertices))
    rows = np.repeat(np.arange(len(marks.faces)), 3)
    entries = marks.barycentric.astype(np.float64).ravel()
    columns = np.asarray(faces)[marks.faces].ravel()
    return sp.csr_array((entries, (rows, columns)), shape=(len(marks.faces), num_vertices))
