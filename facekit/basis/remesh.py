"""Adaptive isotropic remeshing of a surface with feature curves that stay where they are.

Splits, collapses and flips edges, relaxes vertices along the surface and puts them back on it,
until edges follow a sizing field: M. Botsch, L. Kobbelt, A remeshing approach to multiresolution
modeling, 2004, with the varying edge length of M. Dunyach et al., Adaptive remeshing for
real-time mesh deformation, 2013. Every final vertex is a point of the source surface, stated as
three source vertices and their weights, so that anything known on the source can be carried over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from facekit.basis.edge_mesh import CORNER, INTERIOR, EdgeMesh
from facekit.checks import check_array, check_faces
from facekit.errors import InputError
from facekit.geometry.closest_point import build_tree, closest_points

# A new normal may turn by at most 60 degrees, else a move would fold the surface.
_MIN_COSINE = 0.5


class SurfacePoints(NamedTuple):
    """Points of a source mesh: ``weights`` (N, 3) of the source vertices ``corners`` (N, 3)."""

    corners: np.ndarray
    weights: np.ndarray

    def carry(self, values: np.ndarray) -> np.ndarray:
        """Interpolate source values (..., V, C) at the points: (..., N, C)."""
        return np.einsum("nk,...nkc->...nc", self.weights, values[..., self.corners, :])

    def matrix(self, num_source: int) -> sp.csr_array:
        """Return the (N, num_source) sparse matrix of ``carry``."""
        rows = np.repeat(np.arange(len(self.corners)), 3)
        entries = (self.weights.ravel(), (rows, self.corners.ravel()))
        return sp.csr_array(entries, shape=(len(self.corners), num_source))


class Remeshed(NamedTuple):
    """A remeshed surface.

    Attributes:
        vertices: (N, 3) float64, on the source surface.
        faces: (M, 3) int32.
        source: where each vertex lies on the source.
        curve: (N,) int, the feature curve of each vertex, -1 in the interior; a point where
            curves meet has the curve of the lowest number.
        region: (M,) int, the source region of each face.
    """

    vertices: np.ndarray
    faces: np.ndarray
    source: SurfacePoints
    curve: np.ndarray
    region: np.ndarray


class _Source:
    """The source surface, searchable by region and by feature curve."""

    def __init__(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        regions: np.ndarray,
        curves: list[np.ndarray],
    ) -> None:
        self.vertices = vertices
        self.faces = faces
        self.rows = {int(r): np.flatnonzero(regions == r) for r in np.unique(regions)}
        self.trees = {r: build_tree(vertices, faces[rows]) for r, rows in self.rows.items()}
        # A segment is a triangle without area to the search, so one search serves both.
        self.segments = [np.column_stack([c, c[:, 1]]).astype(np.int32) for c in curves]
        self.curve_trees = [build_tree(vertices, s) for s in self.segments]

    def locate(self, points: np.ndarray, regions: np.ndarray, curves: np.ndarray) -> SurfacePoints:
        """Find the closest source point of each point within its own region or curve."""
        corners = np.zeros((len(points), 3), np.int32)
        weights = np.zeros((len(points), 3))
        for region, tree in self.trees.items():
            rows = np.flatnonzero((curves == INTERIOR) & (regions == region))
            if len(rows):
                hit = closest_points(tree, points[rows])
                corners[rows] = self.faces[self.rows[region]][hit.triangle]
                weights[rows] = hit.barycentric
        for curve, tree in enumerate(self.curve_trees):
            rows = np.flatnonzero(curves == curve)
            if len(rows):
                hit = closest_points(tree, points[rows])
                corners[rows] = self.segments[curve][hit.triangle]
                weights[rows] = hit.barycentric
        return SurfacePoints(corners, weights)


def remesh(
    vertices: np.ndarray,
    faces: np.ndarray,
    *,
    sizing: np.ndarray,
    regions: np.ndarray,
    curves: list[np.ndarray],
    iterations: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> Remeshed:
    """Remesh a surface to wanted edge lengths; feature curves and their meeting points stay.

    Args:
        vertices: (V, 3) source positions; faces: (F, 3), a manifold with or without border.
        sizing: (V,) wanted edge length at each source vertex, in the unit of the vertices.
        regions: (F,) int; a vertex never leaves the region of its faces. Borders between regions
            must be feature curves.
        curves: feature curves, each (S, 2) source vertex pairs that are mesh edges. Open borders
            must be feature curves. A vertex of two curves, or at the end of one, is kept.
        iterations: rounds of split, collapse, flip, relax and project.
        progress: called with (done, total).

    Raises:
        InputError: wrong shapes, sizes that are not positive, or an open border that no curve
            covers.
    """
    points = check_array(vertices, "vertices", shape=("V", 3)).astype(np.float64)
    triangles = check_faces(faces, len(points))
    lengths = check_array(sizing, "sizing", shape=(len(points),)).astype(np.float64)
    labels = check_array(regions, "regions", shape=(len(triangles),), dtype="int")
    if lengths.min(initial=1.0) <= 0:
        raise InputError(f"sizing: expected positive edge lengths, got {lengths.min():.4g}")
    source = _Source(points, triangles, labels, curves)
    mesh = EdgeMesh(points, lengths, triangles, labels, curves)
    uncovered = mesh.open_edges_without_curve()
    if uncovered:
        raise InputError(
            f"remesh: {uncovered} open border edges belong to no feature curve; pass the border"
            " as a curve"
        )
    for i in range(iterations):
        mesh.split_long(4 / 3)
        mesh.collapse_short(4 / 5, _MIN_COSINE)
        mesh.flip_for_valence(_MIN_COSINE)
        _relax(mesh, source, lengths)
        if progress:
            progress(i + 1, iterations)
    return _finish(mesh, source)


def _relax(mesh: EdgeMesh, source: _Source, sizing: np.ndarray) -> None:
    """Move vertices towards the density-weighted centroid of their ring, then onto the source."""
    rows, faces = mesh.alive()
    points = mesh.points[: mesh.count]
    curve = mesh.curve[: mesh.count]
    corner = points[faces]
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    density = 0.5 * np.linalg.norm(cross, axis=1) / mesh.sizing[faces].mean(1) ** 2
    total = np.zeros(mesh.count)
    centre = np.zeros((mesh.count, 3))
    normal = np.zeros((mesh.count, 3))
    for k in range(3):
        np.add.at(total, faces[:, k], density)
        np.add.at(centre, faces[:, k], density[:, None] * corner.mean(1))
        np.add.at(normal, faces[:, k], cross)
    interior = rows[curve[rows] == INTERIOR]
    n = normal[interior] / np.maximum(np.linalg.norm(normal[interior], axis=1), 1e-12)[:, None]
    step = centre[interior] / np.maximum(total[interior], 1e-12)[:, None] - points[interior]
    step -= (step * n).sum(1, keepdims=True) * n
    moved = points.copy()
    moved[interior] += 0.7 * step
    _relax_curves(mesh, moved)
    movable = rows[curve[rows] != CORNER]
    found = source.locate(moved[movable], mesh.region[movable], curve[movable])
    mesh.points[movable] = found.carry(source.vertices)
    mesh.sizing[movable] = found.carry(sizing[:, None])[:, 0]


def _relax_curves(mesh: EdgeMesh, moved: np.ndarray) -> None:
    """Even out the spacing of vertices along each feature curve."""
    total = np.zeros(mesh.count)
    centre = np.zeros((mesh.count, 3))
    for (a, b), _ in mesh.tags.items():
        middle = 0.5 * (mesh.points[a] + mesh.points[b])
        length = np.linalg.norm(mesh.points[a] - mesh.points[b])
        weight = length / (mesh.sizing[a] + mesh.sizing[b])
        for v in (a, b):
            total[v] += weight
            centre[v] += weight * middle
    rows = np.flatnonzero((mesh.curve[: mesh.count] >= 0) & (total > 0))
    target = centre[rows] / total[rows, None]
    moved[rows] += 0.7 * (target - mesh.points[rows])


def _finish(mesh: EdgeMesh, source: _Source) -> Remeshed:
    rows, faces = mesh.alive()
    renumber = np.full(mesh.count, -1)
    renumber[rows] = np.arange(len(rows))
    curve = mesh.curve[rows]
    corners = np.zeros((len(rows), 3), np.int32)
    weights = np.zeros((len(rows), 3))
    located = source.locate(mesh.points[rows], mesh.region[rows], curve)
    corners[:], weights[:] = located
    fixed = np.flatnonzero(curve == CORNER)
    # Corners never moved: they are source vertices, kept under their source number.
    corners[fixed] = mesh.origin[rows[fixed]][:, None]
    weights[fixed] = [1.0, 0.0, 0.0]
    curve = np.where(curve == CORNER, mesh.corner_curve[rows], curve)
    points = SurfacePoints(corners, weights)
    return Remeshed(
        points.carry(source.vertices),
        renumber[faces].astype(np.int32),
        points,
        curve,
        mesh.face_region[mesh.alive_faces()],
    )
