"""Non-rigid ICP of a small surface to a set of points, by the rules of the REALY benchmark.

Every vertex of the surface has its own affine map (4 rows of homogeneous coordinates to 3); maps
of neighbours should agree (stiffness), and each should take its vertex to the nearest target
point. A stage lowers the stiffness; within a stage vertices move, find new targets and are solved
again from where they are.

Source: B. Amberg, S. Romdhani, T. Vetter, Optimal step nonrigid ICP algorithms for surface
registration, CVPR 2007; constants of Z. Chai et al., REALY, ECCV 2022.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from facekit.checks import check_array, check_faces
from facekit.errors import ItemError
from facekit.geometry.mesh import mesh_edges

_STIFFNESS = 50.0
_EPSILON = 1.0
_STAGES = 3
# The first stage with key points: they alone, on a stiff surface, one solve.
_KEY_STIFFNESS, _KEY_WEIGHT = 150.0, 50.0
_KEY_BALANCE = np.array([2.0, 2.0, 3.0, 2.0])
_MOST_SOLVES = 11
# Without key points the benchmark has no limit; this one only ends what would never end.
_HOPELESS = 500


class KeyTargets(NamedTuple):
    """Vertices that are drawn to known places.

    Attributes:
        vertices: (K,) indices; of equal ones the last counts.
        points: (K, 3) where they belong.
    """

    vertices: np.ndarray
    points: np.ndarray


class Deformation(NamedTuple):
    """The deformed vertices (N, 3) and how many systems were solved for them."""

    vertices: np.ndarray
    solves: int


def deform_to_points(
    vertices: np.ndarray,
    faces: np.ndarray,
    targets: np.ndarray,
    *,
    keys: KeyTargets | None = None,
) -> Deformation:
    """Deform a surface towards points.

    Each solve minimises alpha^2 sum_edges |G (X_i - X_j)|^2 + sum_i w_i |x_i X_i - c_i|^2 (plus
    key points), x_i the homogeneous current vertex, c_i its nearest target, w_i 1 where that is
    nearer than max(2 mean, 1) and else 0; then vertices become x_i X_i. alpha = 50 exp(-k / 2)
    and a stage ends when |X - X_before|_F <= 0.5^k (k = 0, 1, 2). With key points one solve comes
    first with alpha = 150, G = diag(2, 2, 3, 2) and the key points alone at weight 50; their
    weight is then 5 exp(-0.9 n), n the solves before, and a stage has at most 11 solves.

    Args:
        vertices: (N, 3), the benchmark's normalised unit (about 8.5 mm), each in a face.
        faces: (F, 3).
        targets: (M, 3) points.
        keys: key points, or None.

    Raises:
        InputError: bad shapes.
        ItemError: the system has no unique solution (a part of the surface without any target).
    """
    current = check_array(vertices, "vertices", shape=("N", 3)).astype(np.float64)
    triangles = check_faces(faces, len(current))
    tree = cKDTree(check_array(targets, "targets", shape=("M", 3)).astype(np.float64))
    goal = np.asarray(targets, np.float64)
    laplacian = _edge_laplacian(triangles, len(current))
    stiff = sp.kron(laplacian, sp.eye_array(4), format="csc")
    before, maps = np.zeros((4 * len(current), 3)), np.ones((4 * len(current), 3))
    solves = 0
    if keys is not None:
        balanced = sp.kron(laplacian, sp.diags_array(_KEY_BALANCE**2), format="csc")
        weight, place = _key_rows(keys, len(current), _KEY_WEIGHT)
        before, maps = maps, _solve(_KEY_STIFFNESS**2 * balanced, current, [(weight, place)])
        current = _apply(current, maps)
        solves = 1
    limit = _MOST_SOLVES if keys is not None else _HOPELESS
    for stage in range(_STAGES):
        alpha = _STIFFNESS * np.exp(-0.5 * stage)
        step = 0
        while np.linalg.norm(maps - before) > _EPSILON * 0.5**stage and step < limit:
            before = maps
            distance, nearest = tree.query(current)
            weight = (distance < max(2 * float(distance.mean()), 1.0)).astype(np.float64)
            terms = [(weight, goal[nearest])]
            if keys is not None:
                terms.append(
                    _key_rows(keys, len(current), 0.1 * _KEY_WEIGHT * np.exp(-0.9 * solves))
                )
            maps = _solve(alpha**2 * stiff, current, terms)
            current = _apply(current, maps)
            step += 1
            solves += 1
        if step == _HOPELESS:
            raise ItemError(f"non-rigid alignment: no rest after {_HOPELESS} solves of a stage")
    return Deformation(current, solves)


def _edge_laplacian(faces: np.ndarray, count: int) -> sp.csc_array:
    """Return M^T M of the edges' incidence matrix M: the graph Laplacian (N, N)."""
    edges = mesh_edges(faces).vertices
    rows = np.repeat(np.arange(len(edges)), 2)
    signs = np.tile([1.0, -1.0], len(edges))
    incidence = sp.csr_array((signs, (rows, edges.ravel())), shape=(len(edges), count))
    return (incidence.T @ incidence).tocsc()


def _key_rows(keys: KeyTargets, count: int, weight: float) -> tuple[np.ndarray, np.ndarray]:
    weights, places = np.zeros(count), np.zeros((count, 3))
    weights[keys.vertices] = weight
    for vertex, point in zip(keys.vertices, keys.points, strict=True):
        places[vertex] = point
    return weights, places


def _homogeneous(points: np.ndarray) -> np.ndarray:
    return np.column_stack([points, np.ones(len(points))])


def _apply(points: np.ndarray, maps: np.ndarray) -> np.ndarray:
    return np.einsum("nk,nkd->nd", _homogeneous(points), maps.reshape(-1, 4, 3))


def _solve(
    stiff: sp.csc_array, points: np.ndarray, terms: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Solve the normal equations of the stiffness and of (weights, places) terms."""
    rows = _homogeneous(points)
    squares = np.sum([weights**2 for weights, _ in terms], axis=0)
    drawn = np.sum([(weights**2)[:, None] * places for weights, places in terms], axis=0)
    blocks = squares[:, None, None] * rows[:, :, None] * rows[:, None, :]
    count = len(points)
    data = sp.bsr_array(
        (blocks, np.arange(count), np.arange(count + 1)), shape=(4 * count, 4 * count)
    )
    right = (rows[:, :, None] * drawn[:, None, :]).reshape(-1, 3)
    try:
        factor = splu(
            (stiff + data).tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        found = factor.solve(right)
    except RuntimeError as error:
        raise ItemError(f"non-rigid alignment: {_SINGULAR} ({error})") from error
    if not np.isfinite(found).all():
        raise ItemError(f"non-rigid alignment: {_SINGULAR}")
    return found


_SINGULAR = "a part of the scan's region has no target near it, so its place is not determined"
