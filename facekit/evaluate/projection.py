"""The best a morphable model can do: its shape that lies closest to a true surface.

An upper bound for every fit with that model, and the yardstick's correspondences.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.geometry.alignment import SimilarityTransform, align_similarity, compose
from facekit.geometry.closest_point import build_tree, closest_points
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.morphable.model import MorphableModel

# Distances along the surface count this much of those across it: enough that the closest points
# do not slide, too little to hold back the shape.
_TANGENTIAL = 0.1
# What a point of the true surface may deviate, mm: with thousands of points the prior of the
# coefficients then only decides what the points leave open.
_NOISE_MM = 0.3


class Projection(NamedTuple):
    """A model shape fitted to surface points.

    Attributes:
        identity: (K,) coefficients in standard deviations.
        vertices: (V, 3) float32 the neutral shape in the model's frame, mm.
        to_points: similarity from the model's frame to the points'.
        triangle: (n,) int32 and barycentric: (n, 3): where on the model each point landed.
    """

    identity: np.ndarray
    vertices: np.ndarray
    to_points: SimilarityTransform
    triangle: np.ndarray
    barycentric: np.ndarray


def project_shape(
    model: MorphableModel,
    points: np.ndarray,
    start: SimilarityTransform,
    *,
    num_modes: int | None = None,
    with_scale: bool = True,
    iterations: int = 15,
) -> Projection:
    """Fit identity and a similarity to points of a neutral surface, closest point by closest point.

    Each round takes every point's closest point on the current shape, then solves the linear
    least squares over coefficients, rotation, translation and scale of the distance along the
    surface's normal, plus a tenth of the distance across it, plus the coefficients' prior.

    Args:
        model: its mean and identity modes are used.
        points: (n, 3) of the true neutral surface, mm, n >= 10.
        start: similarity from the model's frame to the points', e.g. NoW's alignment of the mean.
        num_modes: use only the first so many modes; None uses all.
        with_scale: fit the scale too; False keeps that of ``start``, as a metrical measure needs:
            size is then for the identity to explain.
        iterations: rounds.

    Raises:
        InputError: bad shapes, fewer than 10 points or no such number of modes.

    Degenerate: parts of the head that no point lies near follow the prior alone.
    """
    scan = check_array(points, "points", shape=("n", 3)).astype(np.float64)
    if len(scan) < 10:
        raise InputError(f"projection: expected at least 10 points, got {len(scan)}")
    count = model.num_identity if num_modes is None else num_modes
    if not 0 <= count <= model.num_identity:
        raise InputError(
            f"projection: expected 0 to {model.num_identity} modes of model {model.name}, "
            f"got {count}"
        )
    modes = model.identity_modes[:count].astype(np.float32)
    identity = np.zeros(count)
    transform = start
    triangle = np.zeros(len(scan), np.int32)
    barycentric = np.zeros((len(scan), 3))
    for step in range(iterations + 1):
        vertices = model.shape(identity)
        query = transform.inverse().apply(scan)
        found = closest_points(
            build_tree(vertices, model.faces), query, start=triangle if step else None
        )
        triangle, barycentric = found.triangle, found.barycentric
        if step == iterations:
            break
        corners = model.faces[triangle]
        foot = np.einsum("nk,nkd->nd", barycentric, vertices[corners].astype(np.float64))
        normals = vertex_normals(vertices, model.faces)[corners].astype(np.float64)
        normal = np.einsum("nk,nkd->nd", barycentric, normals)
        rows = np.einsum("nk,mnkd->nmd", barycentric.astype(np.float32), modes[:, corners])
        change = _solve(
            query - foot, query, normal, rows.astype(np.float64), identity, with_scale=with_scale
        )
        identity = identity + change[:count]
        turn = rotvec_to_matrix(change[count : count + 3])
        size = np.exp(change[-1]) if with_scale else 1.0
        grow = SimilarityTransform(size, turn, change[count + 3 : count + 6])
        transform = compose(transform, grow.inverse())
    return Projection(identity, vertices, transform, triangle, barycentric)


def corresponded_error(
    projection: Projection, faces: np.ndarray, vertices: np.ndarray, points: np.ndarray
) -> np.ndarray:
    """Return (n,) mm: how far a prediction's points are from the true ones that they stand for.

    The prediction, of the same topology, is read where ``projection`` says each true point lies
    on the model, moved by the least-squares similarity, and compared point by point. Other than a
    closest-point distance this sees a shape that is right but in the wrong place.

    Args:
        projection: of the true surface's ``points``.
        faces: (F, 3) of the model.
        vertices: (V, 3) predicted neutral shape in the model's topology.
        points: (n, 3) the true points, mm.
    """
    corners = check_array(vertices, "vertices", shape=("V", 3))[faces[projection.triangle]]
    read = np.einsum("nk,nkd->nd", projection.barycentric, corners)
    return np.linalg.norm(align_similarity(read, points).apply(read) - points, axis=1)


def _solve(
    residual: np.ndarray,
    query: np.ndarray,
    normal: np.ndarray,
    rows: np.ndarray,
    identity: np.ndarray,
    *,
    with_scale: bool,
) -> np.ndarray:
    """Solve for the change of (identity, rotation, translation, log scale of the points).

    Without scale its column is left out.
    """
    n, count = rows.shape[:2]
    jacobian = np.zeros((n, count + (7 if with_scale else 6), 3))
    jacobian[:, :count] = rows
    # The points move by w x q + t + g q; the residual is points minus shape. It is measured in the
    # points' own frame, whose scale goes the other way, so g moves it by the shape's point alone:
    # otherwise shrinking all points to nothing would be the best fit.
    x, y, z = query.T
    zero = np.zeros(n)
    jacobian[:, count] = np.stack([zero, z, -y], axis=1)
    jacobian[:, count + 1] = np.stack([-z, zero, x], axis=1)
    jacobian[:, count + 2] = np.stack([y, -x, zero], axis=1)
    jacobian[:, count + 3 : count + 6] = -np.eye(3)
    if with_scale:
        jacobian[:, count + 6] = residual - query
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
    across = np.einsum("npd,nd->np", jacobian, normal)
    along = (residual * normal).sum(1)
    flat = jacobian.transpose(0, 2, 1).reshape(3 * n, -1)
    weight = _TANGENTIAL**2
    matrix = (1 - weight) * across.T @ across + weight * flat.T @ flat
    right = (1 - weight) * across.T @ along + weight * flat.T @ residual.ravel()
    matrix /= _NOISE_MM**2
    right /= _NOISE_MM**2
    prior = np.arange(count)
    matrix[prior, prior] += 1
    right[:count] -= identity
    return np.linalg.solve(matrix, right)
