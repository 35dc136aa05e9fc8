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

import numpy as np


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

    def relief_process(self, points: np.ndarray, by_normal: np.ndarray) -> np.ndarray:
        """Return the covariance (N, N) of what relief does to the logarithm of light.

        Args:
            points: (N, 3) mm.
            by_normal: (N, 3) derivative of the logarithm of light with respect to the unit
                normal, along the surface, in the points' frame.
        """
        places = np.asarray(points, np.float64)
        slope = np.asarray(by_normal, np.float64)
        squared = (places**2).sum(1)
        squared = np.maximum(squared[:, None] + squared[None] - 2 * places @ places.T, 0)
        # c_i . (x_i - x_j), and c_j . (x_i - x_j).
        cross = slope @ places.T
        first = np.diag(cross)[:, None] - cross
        second = cross.T - np.diag(cross)[None]
        inner = slope @ slope.T
        total = np.zeros_like(squared)
        for deviation, length in self.relief:
            alike = np.exp(-0.5 * squared / length**2)
            part = inner - first * second / length**2
            total += (deviation / length) ** 2 * part * alike
        return total

    def own_variance(self, slope: np.ndarray) -> np.ndarray:
        """Return the variance (N,) of the points' own noise.

        Args:
            slope: (N,) length of the gradient of the mean albedo's logarithm on the surface, 1/mm.
        """
        return self.white**2 + (self.edge_mm * np.asarray(slope)) ** 2
