"""The light on skin of known albedo."""

from __future__ import annotations

import numpy as np

# Prior deviations of the logarithm of the light on a photographed face, of all channels together
# (exposure) and of each (white balance).
EXPOSURE_STD, BALANCE_STD = 0.25, 0.12
# How much of the ambient occlusion of the mean head shows in photographs: its power.
HOLLOWS = 0.5
# Linear light below which a logarithm says nothing.
DARKEST = 2e-3
_ROUNDS = 5
# What a light's bands are held to, relative to the data: light from behind is not seen.
_RIDGE = np.repeat([1e-4, 3e-3, 3e-2], [1, 3, 5])


def solve_light(
    colours: np.ndarray, basis: np.ndarray, albedo: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the light (9, 3) that best makes albedo (N, 3) into colours (N, 3).

    Weighted least squares with a small ridge on the higher bands; points that are too dark or too
    bright for it lose weight (Huber on the mean logarithm of the three channels).

    Args:
        colours: linear RGB; basis: (N, 9) harmonics; albedo: linear RGB.
        weights: (N,) positive.
    """
    light = np.zeros((9, 3))
    weight = weights.copy()
    for _ in range(_ROUNDS):
        for channel in range(3):
            rows = basis * albedo[:, channel, None]
            weighted = rows * weight[:, None]
            normal = weighted.T @ rows
            normal[np.diag_indices(9)] += _RIDGE * float((weighted * rows).sum())
            light[:, channel] = np.linalg.solve(normal, weighted.T @ colours[:, channel])
        shade = np.maximum(basis @ light, 1e-3) * albedo
        error = np.log(np.maximum(colours, DARKEST) / shade).mean(axis=1)
        error -= np.median(error)
        spread = 1.4826 * float(np.median(np.abs(error))) + 0.02
        weight = weights * np.minimum(1, 1.5 * spread / np.maximum(np.abs(error), 1e-9))
    return light


def level_covariance(exposure_std: float, balance_std: float) -> np.ndarray:
    """Return the covariance (3, 3) of the logarithm of the light on a face by channel."""
    return exposure_std**2 * np.ones((3, 3)) + balance_std**2 * np.eye(3)
