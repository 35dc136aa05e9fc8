"""What a photograph's colours scatter about the model's: a Gaussian process over the face.

Skin is not the mean albedo, light is not spherical harmonics, and the surface has relief that
the model lacks. All of that is alike at neighbouring points, so a thousand points are worth far
fewer independent measurements: treated as independent they would drive the shape anywhere.

Colour has a broad part (blotches, shadows), a fine one, and noise of each point's own. Relief is
a process of its own: a height d along the normal tilts the normal by the slope of d, so what it
does to the light is c . grad d, with c the derivative of the logarithm of light with respect to
the unit normal. Its covariance is that of a derivative: strong between neighbours, opposite a
length away, and gone over the whole face. It grows with how directed the light is, and leaves
the broad form of the face to be measured, which is what the model can express.

Source: C. Rasmussen, C. Williams, Gaussian Processes for Machine Learning, 2006, section 9.4
(derivatives of a process).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numba import types


@dataclass(frozen=True)
class ColourNoise:
    """Deviations of the logarithm of light, and how far they reach.

    Attributes:
        broad: deviation of the broad part; broad_mm: its length (squared exponential).
        fine: deviation of the fine part; fine_mm: its length (exponential).
        white: deviation of each point's own noise.
        edge_mm: how far painted edges (brows, lips) are from where the mean albedo has them: the
            slope of its logarithm times this adds to a point's own noise.
        relief: (deviation, length) in mm of each part of the height that the model lacks.
    """

    broad: float = 0.1
    broad_mm: float = 30.0
    fine: float = 0.04
    fine_mm: float = 10.0
    white: float = 0.02
    edge_mm: float = 2.0
    relief: tuple[tuple[float, float], ...] = ((0.7, 4.0), (0.7, 10.0))

    def process(self, points: np.ndarray) -> np.ndarray:
        """Return the covariance (N, N) of the correlated parts at points (N, 3) in mm."""
        places = np.asarray(points, np.float64)
        squared = (places**2).sum(1)
        squared = squared[:, None] + squared[None] - 2 * places @ places.T
        squared = np.maximum(squared, 0)
        broad = np.exp(-0.5 * squared / self.broad_mm**2)
        fine = np.exp(-np.sqrt(squared) / self.fine_mm)
        return self.broad**2 * broad + self.fine**2 * fine

    def relief_shares(self, points: np.ndarray) -> np.ndarray:
        """Return what ``relief_process`` needs of points (N, 3) in mm, (2, N, N)."""
        places = np.asarray(points, np.float64)
        squared = (places**2).sum(1)
        squared = np.maximum(squared[:, None] + squared[None] - 2 * places @ places.T, 0)
        found = np.zeros((2, len(places), len(places)))
        for deviation, length in self.relief:
            alike = (deviation / length) ** 2 * np.exp(-0.5 * squared / length**2)
            found[0] += alike
            found[1] += alike / length**2
        return found

    def own_variance(self, slope: np.ndarray) -> np.ndarray:
        """Return the variance (N,) of the points' own noise.

        Args:
            slope: (N,) length of the gradient of the mean albedo's logarithm on the surface, 1/mm.
        """
        return self.white**2 + (self.edge_mm * np.asarray(slope)) ** 2


def relief_process(
    shares: np.ndarray, points: np.ndarray, by_normal: np.ndarray, index: np.ndarray
) -> np.ndarray:
    """Return the covariance (M, M) of what relief does to the logarithm of light at some points.

    With c_i the derivative at point i, x_i its place, d the deviation and l the length of a part
    of the relief: sum (d / l)^2 (c_i . c_j - c_i . (x_i - x_j) c_j . (x_i - x_j) / l^2)
    exp(-|x_i - x_j|^2 / 2 l^2).

    Args:
        shares: (2, N, N) of ``ColourNoise.relief_shares``.
        points: (N, 3) mm.
        by_normal: (N, 3) derivative of the logarithm of light with respect to the unit normal,
            along the surface, in the points' frame.
        index: (M,) which points.
    """
    out = np.empty((len(index), len(index)))
    _relief(
        shares,
        np.ascontiguousarray(points, np.float64),
        np.ascontiguousarray(by_normal, np.float64),
        np.ascontiguousarray(index, np.int64),
        out,
    )
    return out


_MATRIX = types.Array(types.float64, 2, "C", readonly=True)


@numba.njit(
    types.void(
        types.Array(types.float64, 3, "C", readonly=True),
        _MATRIX,
        _MATRIX,
        types.Array(types.int64, 1, "C", readonly=True),
        types.float64[:, ::1],
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _relief(shares, points, slopes, index, out):
    for m in range(len(index)):
        i = index[m]
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        a, b, c = slopes[i, 0], slopes[i, 1], slopes[i, 2]
        for n in range(m + 1):
            j = index[n]
            dx, dy, dz = x - points[j, 0], y - points[j, 1], z - points[j, 2]
            p, q, r = slopes[j, 0], slopes[j, 1], slopes[j, 2]
            along = (a * dx + b * dy + c * dz) * (p * dx + q * dy + r * dz)
            value = shares[0, i, j] * (a * p + b * q + c * r) - shares[1, i, j] * along
            out[m, n] = value
            out[n, m] = value
