"""Triangle mesh topology: normals, areas, edges, neighbours, components, Loop subdivision.

Faces are (F, 3) int32, counter-clockwise from outside, so a normal points out of the surface.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import scipy.sparse as sp
from scipy.sparse import csgraph

from facekit.checks import check_array, check_faces
from facekit.errors import InputError


class MeshEdges(NamedTuple):
    """The undirected edges of a mesh.

    Attributes:
        vertices: (E, 2) int32, each row ascending, rows in lexicographic order.
        num_faces: (E,) int32, how many faces share the edge: 1 at an open border, 2 inside,
            more where the mesh is not a manifold.
        face_edges: (F, 3) int32, the edge from a face's corner k to corner (k + 1) % 3.
    """

    vertices: np.ndarray
    num_faces: np.ndarray
    face_edges: np.ndarray


class Subdivision(NamedTuple):
    """A refined topology and the linear map that takes vertex attributes to it.

    Attributes:
        matrix: (V', V) sparse CSR float64; its rows sum to 1, its first V rows are the old
            vertices.
        faces: (F', 3) int32, four for each old face.
    """

    matrix: sp.csr_array
    faces: np.ndarray

    def apply(self, attributes: np.ndarray) -> np.ndarray:
        """Return attributes (..., V, C) on the refined vertices, (..., V', C), same dtype."""
        values = check_array(attributes, "attributes", shape=("...", self.matrix.shape[1], None))
        flat = values.reshape(-1, *values.shape[-2:])
        stacked = np.stack([self.matrix @ item for item in flat.astype(np.float64)])
        dtype = values.dtype if values.dtype.kind == "f" else np.float64
        return stacked.reshape(*values.shape[:-2], *stacked.shape[1:]).astype(dtype)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return unit vertex normals (..., V, 3) float32, area weighted.

    The normal is the normalised sum of the cross products of the faces about a vertex, so a face
    counts by its area.

    Args:
        vertices: (..., V, 3), any unit.
        faces: (F, 3), counter-clockwise from outside.

    Degenerate: a vertex of no face, or of faces without area only, gets the zero vector.
    """
    points = check_array(vertices, "vertices", shape=("...", "V", 3), finite=False)
    triangles = check_faces(faces, points.shape[-2])
    flat = np.ascontiguousarray(points, dtype=np.float32).reshape(-1, points.shape[-2], 3)
    normals = np.zeros_like(flat)
    for item, out in zip(flat, normals, strict=True):
        _accumulate_normals(item, triangles, out)
    return normals.reshape(points.shape)


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return unit face normals (..., F, 3); a face without area gets the zero vector."""
    cross = _face_cross(vertices, faces)
    length = np.linalg.norm(cross, axis=-1, keepdims=True)
    return np.divide(cross, length, out=np.zeros_like(cross), where=length > 0)


def face_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return face areas (..., F) in the square of the vertices' unit."""
    return 0.5 * np.linalg.norm(_face_cross(vertices, faces), axis=-1)


def vertex_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return (V,) areas: a third of each adjacent face's, so they sum to the surface's area."""
    areas = face_areas(vertices, faces)
    num_vertices = np.shape(vertices)[0]
    return np.bincount(
        np.asarray(faces).ravel(), weights=np.repeat(areas / 3, 3), minlength=num_vertices
    )


def mesh_edges(faces: np.ndarray) -> MeshEdges:
    """Return the undirected edges of faces (F, 3) and how the faces use them."""
    triangles = check_array(faces, "faces", shape=("F", 3), dtype="int").astype(np.int64)
    corners = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]], axis=-1).reshape(-1, 2)
    stride = int(triangles.max()) + 1 if triangles.size else 1
    keys, inverse, counts = np.unique(
        corners[:, 0] * stride + corners[:, 1], return_inverse=True, return_counts=True
    )
    vertices = np.stack([keys // stride, keys % stride], axis=1).astype(np.int32)
    return MeshEdges(vertices, counts.astype(np.int32), inverse.reshape(-1, 3).astype(np.int32))


def boundary_vertices(faces: np.ndarray, num_vertices: int) -> np.ndarray:
    """Return a (V,) bool mask of vertices on an open border (an edge of one face only)."""
    edges = mesh_edges(faces)
    mask = np.zeros(num_vertices, dtype=bool)
    mask[edges.vertices[edges.num_faces == 1].ravel()] = True
    return mask


def vertex_adjacency(faces: np.ndarray, num_vertices: int) -> sp.csr_array:
    """Return the (V, V) symmetric sparse bool matrix of vertices that share an edge."""
    check_faces(faces, num_vertices)
    i, j = mesh_edges(faces).vertices.T
    ones = np.ones(2 * len(i), dtype=bool)
    pairs = (np.concatenate([i, j]), np.concatenate([j, i]))
    return sp.csr_array((ones, pairs), shape=(num_vertices, num_vertices))


def vertex_faces(faces: np.ndarray, num_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (offsets (V + 1,), face ids) int32: vertex v is in ids[offsets[v]:offsets[v + 1]].

    The ids of a vertex ascend.
    """
    triangles = check_faces(faces, num_vertices)
    order = np.argsort(triangles.ravel(), kind="stable")
    counts = np.bincount(triangles.ravel(), minlength=num_vertices)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return offsets, (order // 3).astype(np.int32)


def connected_components(faces: np.ndarray, num_vertices: int) -> np.ndarray:
    """Return the component label (V,) int32 of each vertex; a lone vertex is its own."""
    adjacency = vertex_adjacency(faces, num_vertices)
    return csgraph.connected_components(adjacency, directed=False)[1].astype(np.int32)


def submesh(faces: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep the faces whose three vertices are kept, and renumber them.

    Args:
        faces: (F, 3).
        keep: (V,) bool.

    Returns:
        ``(rows, faces)``: the kept vertices' old indices (V',) in ascending order, and the kept
        faces (F', 3) int32 in the new numbering. ``vertices[rows]`` are the new vertices.
    """
    mask = check_array(keep, "keep", shape=("V",), dtype="bool")
    triangles = check_faces(faces, len(mask))
    number = np.cumsum(mask, dtype=np.int32) - 1
    kept = triangles[mask[triangles].all(axis=1)]
    return np.flatnonzero(mask), number[kept].astype(np.int32)


def loop_subdivide(vertices: np.ndarray, faces: np.ndarray, *, steps: int = 1) -> Subdivision:
    """Return the Loop subdivision of a topology as a sparse matrix and the refined faces.

    Every edge gets a vertex in its middle (weights 3/8, 3/8, 1/8, 1/8) and every old vertex of
    valence n moves to ``(1 - n b) v + b sum(neighbours)`` with
    ``b = (5/8 - (3/8 + cos(2 pi / n) / 4)^2) / n``. Along open borders, and along edges of more
    than two faces, the curve's own rule holds: middles at 1/2, 1/2; vertices 1/8, 3/4, 1/8.

    Args:
        vertices: (V, C) positions or attributes; only their number V is used, so one result
            serves every head of a topology: ``result.apply(other_vertices)``.
        faces: (F, 3).
        steps: how often to subdivide; each multiplies the faces by four.

    Degenerate: a vertex where other than two border edges meet (a corner, two borders touching),
    and a vertex of no face, stays where it is.

    Source: C. Loop, Smooth subdivision surfaces based on triangles, 1987; border rules of
    Hoppe et al., Piecewise smooth surface reconstruction, 1994.
    """
    num_vertices = np.shape(vertices)[0]
    if steps < 1:
        raise InputError(f"loop_subdivide: expected at least 1 step, got {steps}")
    current = check_faces(faces, num_vertices)
    matrix = sp.eye_array(num_vertices, format="csr")
    for _ in range(steps):
        step, current = _loop_step(matrix.shape[0], current)
        matrix = (step @ matrix).tocsr()
    return Subdivision(matrix, current)


def _loop_step(num_vertices: int, faces: np.ndarray) -> tuple[sp.csr_array, np.ndarray]:
    edges = mesh_edges(faces)
    num_edges = len(edges.vertices)
    smooth = edges.num_faces == 2
    size = num_vertices + num_edges

    old_rows = _old_vertex_rows(num_vertices, edges.vertices, smooth)
    edge_row = num_vertices + np.arange(num_edges)
    end_weight = np.where(smooth, 3 / 8, 1 / 2)
    opposite = np.roll(faces, -2, axis=1)
    inner = smooth[edges.face_edges]
    rows = np.concatenate([edge_row, edge_row, edge_row[edges.face_edges[inner]]])
    columns = np.concatenate([edges.vertices[:, 0], edges.vertices[:, 1], opposite[inner]])
    weights = np.concatenate([end_weight, end_weight, np.full(int(inner.sum()), 1 / 8)])
    edge_part = sp.coo_array((weights, (rows, columns)), shape=(size, num_vertices))

    middle = (num_vertices + edges.face_edges).astype(np.int32)
    a, b, c = faces.T
    ab, bc, ca = middle.T
    refined = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1).reshape(-1, 3)
    old_part = sp.vstack([old_rows, sp.csr_array((num_edges, num_vertices))])
    return (edge_part.tocsr() + old_part).tocsr(), np.ascontiguousarray(refined)


def _old_vertex_rows(num_vertices: int, ends: np.ndarray, smooth: np.ndarray) -> sp.csr_array:
    """Return the (V, V) weights of the old vertices' new places."""
    valence = np.bincount(ends.ravel(), minlength=num_vertices)
    creases = np.bincount(ends[~smooth].ravel(), minlength=num_vertices)
    n = np.maximum(valence, 1)
    beta = (5 / 8 - (3 / 8 + np.cos(2 * np.pi / n) / 4) ** 2) / n
    on_curve = creases == 2
    inside = (creases == 0) & (valence > 0)
    own = np.ones(num_vertices)
    own[inside] = (1 - valence * beta)[inside]
    own[on_curve] = 3 / 4
    rows = np.concatenate([ends[:, 0], ends[:, 1]])
    columns = np.concatenate([ends[:, 1], ends[:, 0]])
    crease_edge = np.concatenate([~smooth, ~smooth])
    weights = np.where(inside[rows], beta[rows], 0.0)
    weights = np.where(on_curve[rows] & crease_edge, 1 / 8, weights)
    used = weights != 0
    diagonal = np.arange(num_vertices)
    return sp.csr_array(
        (
            np.concatenate([own, weights[used]]),
            (np.concatenate([diagonal, rows[used]]), np.concatenate([diagonal, columns[used]])),
        ),
        shape=(num_vertices, num_vertices),
    )


def _face_cross(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    points = check_array(vertices, "vertices", shape=("...", "V", 3), finite=False)
    triangles = check_faces(faces, points.shape[-2])
    corner = points[..., triangles, :]
    first = corner[..., 0, :]
    return np.cross(corner[..., 1, :] - first, corner[..., 2, :] - first)


@numba.njit(
    numba.types.void(
        numba.types.Array(numba.types.float32, 2, "C", readonly=True),
        numba.types.Array(numba.types.int32, 2, "C", readonly=True),
        numba.types.float32[:, ::1],
    ),
    nogil=True,
    cache=True,
)
def _accumulate_normals(vertices, faces, normals):
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax = vertices[j, 0] - vertices[i, 0]
        ay = vertices[j, 1] - vertices[i, 1]
        az = vertices[j, 2] - vertices[i, 2]
        bx = vertices[k, 0] - vertices[i, 0]
        by = vertices[k, 1] - vertices[i, 1]
        bz = vertices[k, 2] - vertices[i, 2]
        nx = ay * bz - az * by
        ny = az * bx - ax * bz
        nz = ax * by - ay * bx
        normals[i, 0] += nx
        normals[i, 1] += ny
        normals[i, 2] += nz
        normals[j, 0] += nx
        normals[j, 1] += ny
        normals[j, 2] += nz
        normals[k, 0] += nx
        normals[k, 1] += ny
        normals[k, 2] += nz
    for v in range(normals.shape[0]):
        x, y, z = normals[v, 0], normals[v, 1], normals[v, 2]
        squared = x * x + y * y + z * z
        if squared > 0:
            inverse = np.float32(1.0) / np.sqrt(squared)
            normals[v, 0] = x * inverse
            normals[v, 1] = y * inverse
            normals[v, 2] = z * inverse
