"""Least-squares alignment of corresponding points."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError


class SimilarityTransform(NamedTuple):
    """y = scale * rotation @ x + translation; rotation (D, D) proper, translation (D,)."""

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Transform points (..., D)."""
        return self.scale * points @ self.rotation.T + self.translation

    def inverse(self) -> SimilarityTransform:
        """Return the transform that undoes this one."""
        rotation = self.rotation.T
        scale = 1.0 / self.scale
        return SimilarityTransform(scale, rotation, -scale * rotation @ self.translation)

    def matrix(self) -> np.ndarray:
        """Return the (D, D + 1) matrix [scale * rotation | translation]."""
        return np.hstack([self.scale * self.rotation, self.translation[:, None]])


IDENTITY = SimilarityTransform(1.0, np.eye(3), np.zeros(3))


def align_similarity(
    source: np.ndarray,
    target: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    with_scale: bool = True,
) -> SimilarityTransform:
    """Find the similarity (or rigid) transform of corresponding points.

    Minimises sum_i w_i |s R x_i + t - y_i|^2 over a proper rotation R (det +1).

    Args:
        source, target: (N, D) points, D = 2 or 3.
        weights: (N,) non-negative, or None for equal ones.
        with_scale: False fixes s = 1.

    Raises:
        InputError: shapes differ, fewer than 2 points (3 in 3D), or all source points equal.

    Source: S. Umeyama, Least-squares estimation of transformation parameters between two point
    patterns, 1991, eqs. 40 to 42 (weighted means and covariance added).
    """
    source = check_array(source, "source", shape=("N", "D")).astype(np.float64)
    target = check_array(target, "target", shape=source.shape).astype(np.float64)
    n, dim = source.shape
    if n < dim:
        raise InputError(f"alignment: expected at least {dim} points, got {n}")
    w = np.full(n, 1.0 / n) if weights is None else np.asarray(weights, np.float64)
    w = w / w.sum()
    mean_source, mean_target = w @ source, w @ target
    x, y = source - mean_source, target - mean_target
    variance = float(w @ (x * x).sum(1))
    if variance <= 0:
        raise InputError("alignment: all source points are equal, so no rotation is defined")
    u, d, vt = np.linalg.svd((y * w[:, None]).T @ x)
    sign = np.ones(dim)
    sign[-1] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * sign) @ vt
    scale = float((d * sign).sum() / variance) if with_scale else 1.0
    return SimilarityTransform(scale, rotation, mean_target - scale * rotation @ mean_source)


def similarity_motions(points: np.ndarray) -> np.ndarray:
    """Return how small moves, turns and growth displace points (N, 3), as (7, N, 3) float64.

    Moves along x, y and z, turns about them through the points' middle (per radian), growth about
    it (per unit of scale).
    """
    places = check_array(points, "points", shape=("N", 3)).astype(np.float64)
    places -= places.mean(axis=0)
    moves = [np.broadcast_to(axis, places.shape) for axis in np.eye(3)]
    turns = [np.cross(axis, places) for axis in np.eye(3)]
    return np.stack([*moves, *turns, places])


def compose(second: SimilarityTransform, first: SimilarityTransform) -> SimilarityTransform:
    """Return x -> second(first(x))."""
    return SimilarityTransform(
        second.scale * first.scale,
        second.rotation @ first.rotation,
        second.apply(first.translation),
    )
