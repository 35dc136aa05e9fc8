"""Linear bases from registered heads: alignment, area-weighted PCA, expressions as offsets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.checks import check_array, check_faces
from facekit.errors import InputError
from facekit.geometry.alignment import align_similarity
from facekit.geometry.mesh import vertex_areas

_FLIP = np.array([-1.0, 1.0, 1.0])


class IdentityBasis(NamedTuple):
    """The result of ``build_identity_basis``.

    Attributes:
        mean: (V, 3) float64, mm.
        modes: (K, V, 3) float64, mm per standard deviation, by falling variance.
        deviations: (K,) standard deviation of each mode: root of the weighted mean square
            displacement, mm.
        explained: (K,) share of the weighted variance that the first k + 1 modes explain.
    """

    mean: np.ndarray
    modes: np.ndarray
    deviations: np.ndarray
    explained: np.ndarray


def align_rigidly(
    shapes: np.ndarray,
    *,
    weights: np.ndarray,
    mirror: np.ndarray | None = None,
    rounds: int = 4,
) -> np.ndarray:
    """Return the shapes (N, V, 3) moved rigidly onto their mean: Procrustes without scale.

    Sizes stay, so that a basis of the result is metric. Source: J. Gower, Generalized Procrustes
    analysis, 1975, with unit scales.

    Args:
        shapes: (N, V, 3), mm.
        weights: (V,) what counts in the alignment, e.g. 1 in a rigid region and 0 elsewhere.
        mirror: (V,) left-right partners: the mean is then kept symmetric about x = 0.
        rounds: of aligning everything to the mean.
    """
    moved = check_array(shapes, "shapes", shape=("N", "V", 3)).astype(np.float64)
    rows = np.flatnonzero(weights > 0)
    if len(rows) < 3:
        raise InputError(f"alignment: expected at least 3 vertices of weight, got {len(rows)}")
    w = np.asarray(weights, np.float64)[rows]
    for _ in range(rounds):
        mean = moved.mean(axis=0)
        if mirror is not None:
            mean = 0.5 * (mean + mean[mirror] * _FLIP)
        for i, shape in enumerate(moved):
            transform = align_similarity(shape[rows], mean[rows], weights=w, with_scale=False)
            moved[i] = transform.apply(shape)
    return moved


def build_identity_basis(
    shapes: np.ndarray,
    faces: np.ndarray,
    *,
    num_modes: int | None,
    weights: np.ndarray | None = None,
    mirror: np.ndarray | None = None,
) -> IdentityBasis:
    """Principal components of head shapes, weighted by surface area.

    With X the (N, 3V) centred shapes and W the vertex weights, the modes are eigenvectors of the
    covariance in the metric W, found on the small side: X W X^T = U S^2 U^T, mode k =
    X^T u_k / sqrt(N - 1), whose weighted norm is its deviation s_k / sqrt(N - 1).

    Args:
        shapes: (N, V, 3) aligned shapes, mm.
        faces: (F, 3).
        num_modes: K, at most the rank; None for all.
        weights: (V,) relative importance that multiplies each vertex's area; None for 1.
        mirror: (V,) left-right partners: every shape also counts as its mirror image. The
            covariance then falls into a symmetric and an antisymmetric block, which are solved
            apart, so that each mode is exactly the one or the other.

    Raises:
        InputError: fewer than 2 shapes, more modes than the shapes support, or bad weights.

    Source: M. Turk, A. Pentland, Eigenfaces for recognition, 1991, section 2.2 (the small side).
    """
    data = check_array(shapes, "shapes", shape=("N", "V", 3)).astype(np.float64)
    n, num_vertices = data.shape[:2]
    check_faces(faces, num_vertices)
    if n < 2:
        raise InputError(f"basis: expected at least 2 shapes, got {n}")
    mean = data.mean(axis=0)
    if mirror is not None:
        mean = 0.5 * (mean + mean[mirror] * _FLIP)
    importance = vertex_areas(mean, faces)
    if weights is not None:
        importance = importance * check_array(weights, "weights", shape=(num_vertices,))
    if importance.min() < 0 or importance.sum() <= 0:
        raise InputError("basis weights: expected non-negative weights that are not all zero")
    importance = importance / importance.sum()
    data -= mean
    if mirror is None:
        blocks, count = [data], n
    else:
        image = data[:, mirror] * _FLIP
        # Shape and image span the same plane as half their sum and half their difference.
        blocks, count = [0.5 * (data + image), 0.5 * (data - image)], 2 * n
    found = [_principal(block, importance) for block in blocks]
    # Each block stands for two samples of equal size when images count.
    variances = [values * len(blocks) / (count - 1) for values, _ in found]
    total = float(sum(v.sum() for v in variances))
    order = sorted(
        ((float(v), b, k) for b, values in enumerate(variances) for k, v in enumerate(values)),
        key=lambda item: (-item[0], item[1], item[2]),
    )
    rank = sum(1 for v, _, _ in order if v > 1e-12 * order[0][0])
    num_modes = rank if num_modes is None else num_modes
    if not 0 < num_modes <= rank:
        raise InputError(
            f"basis: expected 1 to {rank} modes for {n} shapes, got {num_modes}; give more shapes"
            " or ask for fewer modes"
        )
    modes = np.empty((num_modes, num_vertices, 3))
    deviations = np.sqrt([item[0] for item in order[:num_modes]])
    for k, (_, b, column) in enumerate(order[:num_modes]):
        vector = found[b][1][:, column] * np.sqrt(len(blocks) / (count - 1))
        modes[k] = np.tensordot(vector, blocks[b], axes=1)
        modes[k] *= _sign(modes[k])
    explained = np.cumsum(deviations**2) / total
    return IdentityBasis(mean, modes, deviations, explained)


def first_modes(basis: IdentityBasis, count: int) -> IdentityBasis:
    """Return the basis with its first modes alone, all where it has fewer."""
    return IdentityBasis(
        basis.mean, basis.modes[:count], basis.deviations[:count], basis.explained[:count]
    )


def _principal(block: np.ndarray, importance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues (N,) falling and eigenvectors (N, N) of the weighted Gram matrix."""
    scaled = (block * np.sqrt(importance)[:, None]).reshape(len(block), -1)
    values, vectors = np.linalg.eigh(scaled @ scaled.T)
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def _sign(mode: np.ndarray) -> float:
    """Return the sign that makes a mode's largest component positive, for reproducible files."""
    flat = mode.ravel()
    return 1.0 if flat[np.argmax(np.abs(flat))] >= 0 else -1.0
