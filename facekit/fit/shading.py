"""Spherical harmonics and their derivatives in float64, for the solver.

The same functions, order and frame as ``render.shade.sh_basis``.
"""

from __future__ import annotations

import numpy as np

_Y00 = 0.5 * np.sqrt(1 / np.pi)
_Y1 = 0.5 * np.sqrt(3 / np.pi)
_Y2 = 0.5 * np.sqrt(15 / np.pi)
_Y20 = 0.25 * np.sqrt(5 / np.pi)


def harmonics(directions: np.ndarray) -> np.ndarray:
    """Return the nine harmonics of unit directions (N, 3), (N, 9)."""
    x, y, z = np.asarray(directions, np.float64).T
    return np.stack(
        [
            np.full(len(x), _Y00),
            _Y1 * y,
            _Y1 * z,
            _Y1 * x,
            _Y2 * x * y,
            _Y2 * y * z,
            _Y20 * (3 * z * z - 1),
            _Y2 * x * z,
            0.5 * _Y2 * (x * x - y * y),
        ],
        axis=1,
    )


def harmonics_slope(directions: np.ndarray) -> np.ndarray:
    """Return the derivatives (N, 9, 3) of ``harmonics`` as polynomials in x, y, z.

    They are those along the sphere once the part along the direction is taken out.
    """
    x, y, z = np.asarray(directions, np.float64).T
    slope = np.zeros((len(x), 9, 3))
    slope[:, 1, 1] = slope[:, 2, 2] = slope[:, 3, 0] = _Y1
    slope[:, 4, 0], slope[:, 4, 1] = _Y2 * y, _Y2 * x
    slope[:, 5, 1], slope[:, 5, 2] = _Y2 * z, _Y2 * y
    slope[:, 6, 2] = 6 * _Y20 * z
    slope[:, 7, 0], slope[:, 7, 2] = _Y2 * z, _Y2 * x
    slope[:, 8, 0], slope[:, 8, 1] = _Y2 * x, -_Y2 * y
    return slope
