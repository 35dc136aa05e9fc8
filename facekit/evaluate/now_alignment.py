"""The NoW benchmark's alignment: landmark Procrustes, then scan-to-surface refinement.

Lengths are those of the scan (mm). Points are rows; a similarity takes x to s R x + t.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError, ItemError
from facekit.evaluate.dogleg import NormalEquations, minimise_dogleg
from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.closest_point import (
    TriangleTree,
    build_tree,
    closest_on_tree,
    spatial_order,
)
from facekit.geometry.rotations import rotvec_to_matrix, skew
from facekit.threads import run_ranges

INITIAL_RADIUS = 0.1
# Sums are taken over blocks of this many points and then over the blocks in their order, so the
# result does not depend on the number of threads.
_BLOCK = 1024
_ROW = 7
_SUMS = _ROW * _ROW + _ROW + 1


class Procrustes(NamedTuple):
    """A landmark similarity x -> s R x + t.

    Attributes:
        scale: s.
        rotation: (3, 3) R; det -1 when ``reflected``.
        translation: (3,) t.
        reflected: whether the best fit mirrors the points.
    """

    scale: float
    rotation: np.ndarray
    translation: np.ndarray
    reflected: bool

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Transform points (..., 3)."""
        return self.scale * points @ self.rotation.T + self.translation


class Refinement(NamedTuple):
    """The result of ``refine``.

    Attributes:
        transform: x -> s R x + t for the prediction, on top of where it was.
        distances: (N,) float64, each scan point to the transformed surface.
        costs: sum of squared distances at the start and after each step.
        steps: accepted optimiser steps.
    """

    transform: SimilarityTransform
    distances: np.ndarray
    costs: tuple[float, ...]
    steps: int


def procrustes(source: np.ndarray, target: np.ndarray) -> Procrustes:
    """Fit the similarity of corresponding landmarks, mirroring allowed, as the NoW protocol does.

    Both sets are centred and divided by their Frobenius norms; with the singular values
    U S V^T of (target0^T source0), R = U V^T, s = sum(S) |target| / |source|. The determinant of
    R is not fixed to +1: for nearly planar or mislabelled landmarks the fit may mirror, and then
    every later distance is of a mirrored face; the caller warns.

    Args:
        source, target: (N, 3), N >= 3.

    Raises:
        InputError: bad shapes, fewer than 3 points, or all points of a set equal.
    """
    moving = check_array(source, "source landmarks", shape=("N", 3)).astype(np.float64)
    fixed = check_array(target, "target landmarks", shape=moving.shape).astype(np.float64)
    if len(moving) < 3:
        raise InputError(f"procrustes: expected at least 3 landmarks, got {len(moving)}")
    mean_moving, mean_fixed = moving.mean(axis=0), fixed.mean(axis=0)
    x, y = moving - mean_moving, fixed - mean_fixed
    size_x, size_y = float(np.linalg.norm(x)), float(np.linalg.norm(y))
    if size_x == 0 or size_y == 0:
        raise InputError("procrustes: all landmarks of one set are equal, so nothing can be fitted")
    u, singular, vt = np.linalg.svd((y / size_y).T @ (x / size_x))
    rotation = u @ vt
    scale = float(singular.sum()) * size_y / size_x
    translation = mean_fixed - scale * rotation @ mean_moving
    return Procrustes(scale, rotation, translation, bool(np.linalg.det(rotation) < 0))


def metrical_start(
    fit: Procrustes, source: np.ndarray, target: np.ndarray, *, unit_mm: float, quirk: bool
) -> Procrustes:
    """Return the start of the metrical protocol: the fit's rotation, the unit's scale.

    Args:
        fit: ``procrustes(source, target)``.
        source, target: (N, 3) landmarks, the source in its own unit, the target in mm.
        unit_mm: millimetres in one unit of the source.
        quirk: keep the translation of the fit WITH scale, as the reference code does; the start
            is then off by (s - unit) R mean(source), so it depends on the prediction's origin.
            Otherwise the landmarks' means coincide.
    """
    translation = fit.translation
    if not quirk:
        translation = target.mean(axis=0) - unit_mm * fit.rotation @ source.mean(axis=0)
    return Procrustes(unit_mm, fit.rotation, np.asarray(translation, np.float64), fit.reflected)


def refine(
    points: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    *,
    with_scale: bool = True,
    max_iterations: int = 200,
) -> Refinement:
    """Move a prediction so that the squared distances of scan points to its surface are least.

    Minimises sum_i d(x_i, s R(r) S + t)^2 over s, the rotation vector r about the scan frame's
    origin, and t, from s = 1, r = 0, t = 0; d is the exact distance to the surface S, unweighted
    and without a cut for outliers. The derivative holds the closest point of each face, edge or
    corner fixed. See ``minimise_dogleg`` for the steps and the end; the first step is at most
    0.1 long in (s, radians, mm) together, so a bad start is not corrected far.

    Args:
        points: (N, 3) cropped scan vertices, mm.
        vertices: (V, 3) prediction after the landmark fit, mm.
        faces: (F, 3).
        with_scale: False holds s = 1 (the metrical protocol).
        max_iterations: upper bound of the steps.

    Raises:
        InputError: bad arrays, no points or no faces.
        ItemError: the scale went to zero.
    """
    scan = check_array(points, "scan points", shape=("N", 3))
    if not len(scan):
        raise InputError("refine: expected scan points, got none; are the landmarks on the scan?")
    order = spatial_order(scan)
    # Indexing copies, so the kernel's arrays are contiguous and writable whatever came in.
    problem = _Problem(scan.astype(np.float64)[order], build_tree(vertices, faces))

    def evaluate(parameters: np.ndarray) -> NormalEquations:
        full = parameters if with_scale else np.concatenate([[1.0], parameters])
        normal = problem.evaluate(full)
        if with_scale:
            return normal
        return NormalEquations(normal.cost, normal.gradient[1:], normal.hessian[1:, 1:])

    start = np.zeros(_ROW)
    start[0] = 1.0
    result = minimise_dogleg(
        evaluate,
        start if with_scale else start[1:],
        radius=INITIAL_RADIUS,
        max_iterations=max_iterations,
    )
    if not result.is_last_evaluation:
        evaluate(result.parameters)
    found = result.parameters if with_scale else np.concatenate([[1.0], result.parameters])
    distances = np.empty(len(scan))
    distances[order] = problem.distances
    transform = SimilarityTransform(float(found[0]), rotvec_to_matrix(found[1:4]), found[4:7])
    return Refinement(transform, distances, result.costs, result.steps)


class _Problem:
    """The residuals of ``refine``; remembers the last closest faces and distances."""

    def __init__(self, points: np.ndarray, tree: TriangleTree) -> None:
        self.points = points
        self.tree = tree
        self.distances = np.empty(len(points))
        self._slots = np.full(len(points), -1, dtype=np.int32)
        self._sums = np.empty((-(-len(points) // _BLOCK), _SUMS))

    def evaluate(self, parameters: np.ndarray) -> NormalEquations:
        """Return cost, gradient and J^T J in (s, r, t)."""
        scale = float(parameters[0])
        if abs(scale) < 1e-6:
            raise ItemError(
                f"refinement: the prediction shrank to a scale of {scale:.2g}; "
                "check its landmarks and that its mesh is a face"
            )
        rotvec = parameters[1:4]
        rotation = rotvec_to_matrix(rotvec)
        pose = np.concatenate([[scale], rotation.ravel(), parameters[4:7]])

        def kernel(start: int, stop: int) -> None:
            _accumulate(
                self.tree.boxes,
                self.tree.triangles,
                self.points,
                pose,
                self._slots,
                self.distances,
                self._sums,
                start,
                stop,
            )

        run_ranges(kernel, len(self._sums))
        total = self._sums.sum(axis=0)
        # The kernel's rows are in the prediction's own frame: (m . y, y x m, m) with m the unit
        # residual and y the closest point there. d(s R y + t) turns them into (s, r, t).
        to_parameters = np.zeros((_ROW, _ROW))
        to_parameters[0, 0] = 1.0
        to_parameters[1:4, 1:4] = scale * _right_jacobian(rotvec)
        to_parameters[4:7, 4:7] = rotation.T
        hessian = to_parameters.T @ total[: _ROW * _ROW].reshape(_ROW, _ROW) @ to_parameters
        gradient = -(total[_ROW * _ROW : -1] @ to_parameters)
        cost = float(total[-1])
        if scale < 0:
            # The protocol's guard 100 (|s| - s), zero for every positive scale.
            residual, slope = -200.0 * scale, -200.0
            cost += residual**2
            gradient[0] -= slope * residual
            hessian[0, 0] += slope**2
        return NormalEquations(cost, gradient, hessian)


def _right_jacobian(rotvec: np.ndarray) -> np.ndarray:
    """Return Jr with R(r + dr) = R(r) exp([Jr dr]x) to first order."""
    angle = float(np.linalg.norm(rotvec))
    cross = skew(rotvec)
    if angle < 1e-5:
        return np.eye(3) - cross / 2 + cross @ cross / 6
    first = (1 - np.cos(angle)) / angle**2
    second = (angle - np.sin(angle)) / angle**3
    return np.eye(3) - first * cross + second * cross @ cross


@numba.njit(
    numba.types.void(
        numba.types.float64[:, ::1],
        numba.types.float64[:, ::1],
        numba.types.float64[:, ::1],
        numba.types.float64[::1],
        numba.types.int32[::1],
        numba.types.float64[::1],
        numba.types.float64[:, ::1],
        numba.types.int64,
        numba.types.int64,
    ),
    nogil=True,
    cache=True,
)
def _accumulate(boxes, triangles, points, pose, slots, distances, sums, start_block, stop_block):
    """Distances of blocks of points, and the sums of row^T row, row^T d and d^2 of each block."""
    nodes = np.empty(64, dtype=np.int32)
    bounds = np.empty(64)
    row = np.empty(_ROW)
    inverse = 1.0 / pose[0]
    size = abs(pose[0])
    for block in range(start_block, stop_block):
        total = sums[block]
        total[:] = 0.0
        for i in range(block * _BLOCK, min((block + 1) * _BLOCK, points.shape[0])):
            x = (points[i, 0] - pose[10]) * inverse
            y = (points[i, 1] - pose[11]) * inverse
            z = (points[i, 2] - pose[12]) * inverse
            qx = pose[1] * x + pose[4] * y + pose[7] * z
            qy = pose[2] * x + pose[5] * y + pose[8] * z
            qz = pose[3] * x + pose[6] * y + pose[9] * z
            squared, slot, v, w, _part = closest_on_tree(
                boxes, triangles, qx, qy, qz, slots[i], nodes, bounds
            )
            slots[i] = slot
            length = np.sqrt(squared)
            distances[i] = size * length
            total[_SUMS - 1] += size * size * squared
            if length == 0.0:
                continue
            corner = triangles[slot]
            fx = corner[0] + v * corner[3] + w * corner[6]
            fy = corner[1] + v * corner[4] + w * corner[7]
            fz = corner[2] + v * corner[5] + w * corner[8]
            unit = (1.0 if pose[0] > 0.0 else -1.0) / length
            mx, my, mz = (fx - qx) * unit, (fy - qy) * unit, (fz - qz) * unit
            row[0] = mx * fx + my * fy + mz * fz
            row[1] = fy * mz - fz * my
            row[2] = fz * mx - fx * mz
            row[3] = fx * my - fy * mx
            row[4] = mx
            row[5] = my
            row[6] = mz
            for j in range(_ROW):
                for k in range(j, _ROW):
                    total[_ROW * j + k] += row[j] * row[k]
                total[_ROW * _ROW + j] += row[j] * distances[i]
        for j in range(_ROW):
            for k in range(j):
                total[_ROW * j + k] = total[_ROW * k + j]
