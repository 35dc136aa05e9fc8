"""Which photograph of a set shows somebody else, or landmarks that failed.

A labeller sees a person's features a little off where a model has them, in the same way in each
photograph: what is left of the landmarks after the joint fit is alike in all photographs of one
person. A photograph whose remainders are not those of the others is somebody else's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.shared_terms import LandmarkTerm
from facekit.geometry.rotations import HEAD_TO_CAMERA, matrix_to_euler

# How remainders scatter between photographs of one person: this share of the labeller's
# covariance, a smooth part (variance in mm^2, length in mm), and each point's own variance.
# Chosen by their likelihood on renders of 12 heads, none of them in the published bench.
_LABELLER, _SMOOTH, _LENGTH_MM, _OWN = 0.15, 0.3, 35.0, 0.02


def disagreements(
    terms: Sequence[LandmarkTerm], basis: LandmarkBasis, *, label_noise_px: float
) -> np.ndarray:
    """Return how far each photograph's remainders are from the mean of the others'.

    The Mahalanobis length of the difference over the root of 68: about 1 for photographs of one
    person.

    Args:
        terms: two photographs or more, at the minimum of their joint fit.
        basis: under the labeller's own noise.
        label_noise_px: pixel noise of the labeller, which weighs in small pictures.
    """
    left, noise = [], []
    for term in terms:
        state, problem = term.state, term.problem
        px_per_mm = float(problem.focal[0] * np.exp(state.log_focal) / state.translation[2])
        residual = problem.project(state, term.rows)[1] - problem.observed
        _, _, roll = matrix_to_euler(HEAD_TO_CAMERA @ state.rotation)
        turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        left.append((residual @ turn / px_per_mm).ravel())
        noise.append((label_noise_px / px_per_mm) ** 2)
    table = np.array(left)
    offsets = basis.mean[:68, None] - basis.mean[None, :68]
    alike = np.exp(-0.5 * (offsets**2).sum(2) / _LENGTH_MM**2)
    scatter = _SMOOTH * np.kron(alike, np.eye(2)) + _OWN * np.eye(136)
    for mark in range(68):
        rows = slice(2 * mark, 2 * mark + 2)
        scatter[rows, rows] += _LABELLER * basis.covariance_mm2[mark]
    count = len(terms)
    found = []
    for index in range(count):
        others = np.arange(count) != index
        difference = table[index] - table[others].mean(0)
        added = noise[index] + float(np.mean(np.array(noise)[others])) / (count - 1)
        covariance = scatter * (1 + 1 / (count - 1)) + added * np.eye(136)
        squared = difference @ cho_solve(cho_factor(covariance), difference)
        found.append(np.sqrt(squared / 68))
    return np.array(found)
