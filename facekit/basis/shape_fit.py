"""Linear modes and a rigid motion fitted to a scan: what a model says before anything bends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from facekit.geometry.alignment import IDENTITY, SimilarityTransform, compose
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.geometry.surface import Surface


@dataclass(frozen=True)
class ShapeFitOptions:
    """How modes are fitted.

    Attributes:
        rounds: of closest points and one Gauss-Newton step.
        samples: vertices that look for the scan.
        across_mm, along_mm: deviation of a vertex from its closest point across and along the
            surface, at least. Far more than a scanner's noise: neighbours err together by what
            the modes cannot express, and a fit that trusts each of thousands is worse than one
            that does not.
        doubt: the deviations grow to this many times the root mean square that the last round
            left across the surface, so that heads unlike the model's are trusted less.
        landmark_mm: deviation of a landmark's coordinate. Detected landmarks of one scan err
            together (brows that are not painted were 8 mm off), and the surface says more.
        outlier_mm: a landmark so far away counts a quarter (weights of Geman and McClure).
        first_mm, last_mm: longest pair in the first and in the last round.
        least_cosine: of the angle between the two normals.
    """

    rounds: int = 10
    samples: int = 3500
    across_mm: float = 0.5
    along_mm: float = 4.0
    doubt: float = 6.0
    landmark_mm: float = 2.0
    outlier_mm: float = 4.0
    first_mm: float = 12.0
    last_mm: float = 4.0
    least_cosine: float = 0.7


class ShapeFit(NamedTuple):
    """A fitted shape.

    Attributes:
        vertices: (V, 3) float64 in the scan's frame.
        coefficients: (K,).
        to_scan: rigid, from the model's frame.
    """

    vertices: np.ndarray
    coefficients: np.ndarray
    to_scan: SimilarityTransform


class ShapeModes:
    """A base shape with modes, made ready for fits.

    Args:
        base: (V, 3) mm.
        modes: (K, V, 3) mm per unit of a coefficient.
        faces: (F, 3).
        weights: (V,) how often each vertex is chosen to look for the scan; 0 never.
        marks: (N, V) sparse rows that read landmarks.
        mean, deviation: (K,) prior of the coefficients; None for 0 and 1.
        options: of the fit.
        seed: of the choice of vertices.
    """

    def __init__(
        self,
        base: np.ndarray,
        modes: np.ndarray,
        faces: np.ndarray,
        *,
        weights: np.ndarray,
        marks: sp.csr_array,
        mean: np.ndarray | None = None,
        deviation: np.ndarray | None = None,
        options: ShapeFitOptions | None = None,
        seed: int = 0,
    ) -> None:
        self.options = options or ShapeFitOptions()
        self.base = np.asarray(base, np.float64)
        self.faces = faces
        self.modes = modes
        count = len(modes)
        self.mean = np.zeros(count) if mean is None else np.asarray(mean, np.float64)
        spread = np.ones(count) if deviation is None else np.asarray(deviation, np.float64)
        self._precision = 1.0 / spread**2
        self.rows = choose_rows(weights, self.options.samples, seed)
        self._sampled = modes[:, self.rows].astype(np.float64)
        self._marks = marks
        flat = modes.transpose(1, 0, 2).reshape(modes.shape[1], -1).astype(np.float64)
        self._marked = (marks @ flat).reshape(marks.shape[0], count, 3).transpose(1, 0, 2)

    def shape(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the vertices (V, 3) float64 in the model's frame."""
        return self.base + np.tensordot(coefficients.astype(np.float32), self.modes, axes=1)

    def fit(self, surface: Surface, landmarks: np.ndarray, start: SimilarityTransform) -> ShapeFit:
        """Fit coefficients and a rigid motion to a scan.

        Args:
            surface: the scan.
            landmarks: (N, 3) on the scan, NaN where unknown.
            start: rigid, from the model's frame to the scan's.
        """
        options, count = self.options, len(self.modes)
        known = np.flatnonzero(np.isfinite(landmarks).all(axis=1))
        coefficients, move, triangle = self.mean.copy(), start, None
        growth = 1.0
        for step in range(options.rounds):
            share = step / max(options.rounds - 1, 1)
            reach = options.first_mm + share * (options.last_mm - options.first_mm)
            shape = self.shape(coefficients)
            own = vertex_normals(shape, self.faces)[self.rows].astype(np.float64)
            points = shape[self.rows]
            # Everything is solved in the model's frame: the scan is moved, not the modes.
            pairs = surface.pairs(move.apply(points), IDENTITY, start=triangle)
            triangle = pairs.triangle
            back = move.inverse()
            normal = pairs.normal @ move.rotation
            facing = (own * normal).sum(axis=1)
            use = ~pairs.border & (pairs.distance < reach) & (facing > options.least_cosine)
            weight = use / (1.0 + (pairs.distance / (0.4 * reach)) ** 2)
            gap = back.apply(pairs.closest) - points
            system = np.zeros((count + 6, count + 6))
            right = np.zeros(count + 6)
            jacobian = _jacobian(self._sampled, points)
            across = np.einsum("nd,npd->np", normal, jacobian)
            height = (normal * gap).sum(axis=1)
            if step:
                rms = float(np.sqrt((weight @ height**2) / max(float(weight.sum()), 1e-9)))
                growth = max(1.0, options.doubt * rms / options.across_mm)
            along = weight / (growth * options.along_mm) ** 2
            extra = weight / (growth * options.across_mm) ** 2 - along
            system += (across * extra[:, None]).T @ across
            right += across.T @ (extra * height)
            _add(system, right, jacobian, gap, along)
            read = self._marks[known] @ shape
            wanted = back.apply(landmarks[known]) - read
            away = np.linalg.norm(wanted, axis=1) / options.outlier_mm
            trust = 1.0 / (options.landmark_mm * (1.0 + away**2)) ** 2
            _add(system, right, _jacobian(self._marked[:, known], read), wanted, trust)
            diagonal = np.arange(count)
            system[diagonal, diagonal] += self._precision
            right[:count] -= self._precision * (coefficients - self.mean)
            system[np.diag_indices_from(system)] += 1e-9
            change = np.linalg.solve(system, right)
            coefficients = coefficients + change[:count]
            turn = rotvec_to_matrix(change[count : count + 3])
            move = compose(move, SimilarityTransform(1.0, turn, change[count + 3 :]))
        return ShapeFit(move.apply(self.shape(coefficients)), coefficients, move)


def choose_rows(weights: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw up to ``count`` different rows as often as weights (V,) say; sorted."""
    possible = min(count, int((weights > 0).sum()))
    share = weights / weights.sum()
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(len(weights), possible, replace=False, p=share))


def _jacobian(modes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return (n, K + 6, 3): how points move with coefficients, rotation and translation."""
    count, n = modes.shape[:2]
    jacobian = np.zeros((n, count + 6, 3))
    jacobian[:, :count] = modes.transpose(1, 0, 2)
    x, y, z = points.T
    zero = np.zeros(n)
    jacobian[:, count] = np.stack([zero, -z, y], axis=1)
    jacobian[:, count + 1] = np.stack([z, zero, -x], axis=1)
    jacobian[:, count + 2] = np.stack([-y, x, zero], axis=1)
    jacobian[:, count + 3 :] = np.eye(3)
    return jacobian


def _add(
    system: np.ndarray,
    right: np.ndarray,
    jacobian: np.ndarray,
    gap: np.ndarray,
    weight: np.ndarray,
) -> None:
    """Add point-to-point terms to the normal equations."""
    flat = jacobian.transpose(0, 2, 1).reshape(-1, jacobian.shape[1])
    rows = np.repeat(weight, 3)
    system += (flat * rows[:, None]).T @ flat
    right += flat.T @ (rows * gap.ravel())
