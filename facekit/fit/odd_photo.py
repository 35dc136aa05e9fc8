"""Which photograph of a set shows somebody else, or landmarks that failed.

A labeller sees a person's features a little off where a model has them, in the same way in each
photograph: what is left of the landmarks after the joint fit is alike in all photographs of one
person. A photograph whose remainders are not those of the others is somebody else's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from facekit.fit.arrow import Block, Eliminated
from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.shared_terms import LandmarkTerm
from facekit.geometry.rotations import HEAD_TO_CAMERA, matrix_to_euler

# How remainders scatter between photographs of one person: this share of the labeller's
# covariance, a smooth part (variance in mm^2, length in mm), and each point's own variance.
# Chosen by their likelihood on renders of 12 heads, none of them in the published bench.
_LABELLER, _SMOOTH, _LENGTH_MM, _OWN = 0.15, 0.3, 35.0, 0.02


def disagreements(
    terms: Sequence[LandmarkTerm],
    blocks: Sequence[Block],
    left: Eliminated,
    basis: LandmarkBasis,
    *,
    label_noise_px: float,
) -> np.ndarray:
    """Return how far each photograph's remainders are from the mean of the others'.

    The identity is what the others and the prior say; to first order, all of a photograph's own
    variables follow. The Mahalanobis length of the difference over the root of 68 is returned:
    about 0.7 for photographs of one person.

    Args:
        terms: two photographs or more, at the minimum of their joint fit.
        blocks, left: the normal equations there.
        basis: under the labeller's own noise.
        label_noise_px: pixel noise of the labeller, which weighs in small pictures.
    """
    count, K = len(terms), basis.num_identity
    offsets = basis.mean[:68, None] - basis.mean[None, :68]
    alike = np.exp(-0.5 * (offsets**2).sum(2) / _LENGTH_MM**2)
    scatter = _SMOOTH * np.kron(alike, np.eye(2)) + _OWN * np.eye(136)
    for mark in range(68):
        rows = slice(2 * mark, 2 * mark + 2)
        scatter[rows, rows] += _LABELLER * basis.covariance_mm2[mark]
    found = []
    for index, (term, block) in enumerate(zip(terms, blocks, strict=True)):
        _, slope, coupling = left.own[index]
        believed = term.problem.prior.precision[:K, :K]
        offset = term.state.coefficients[:K] - term.problem.prior.mean[:K]
        information = block.hessian[:K, :K] - coupling.T @ coupling - believed
        gradient = block.gradient[:K] - coupling.T @ slope - believed @ offset
        change = np.linalg.solve(left.hessian - information, gradient)
        table, noise = zip(
            *(
                _remainder(other, own, change, label_noise_px)
                for other, own in zip(terms, left.own, strict=True)
            ),
            strict=True,
        )
        others = np.arange(count) != index
        difference = table[index] - np.mean(np.array(table)[others], axis=0)
        added = noise[index] + float(np.mean(np.array(noise)[others])) / (count - 1)
        covariance = scatter * (1 + 1 / (count - 1)) + added * np.eye(136)
        squared = difference @ cho_solve(cho_factor(covariance), difference)
        found.append(np.sqrt(squared / 68))
    return np.array(found)


def _remainder(
    term: LandmarkTerm,
    own: tuple[np.ndarray, np.ndarray, np.ndarray],
    change: np.ndarray,
    label_noise_px: float,
) -> tuple[np.ndarray, float]:
    """What is left of landmarks (136,) in mm after a change of identity, and its own variance.

    In the axes of the upright head.
    """
    factor, _, coupling = own
    step = -solve_triangular(factor, coupling @ change, lower=True, trans=1, check_finite=False)
    K = len(change)
    state = term.moved(term.state.coefficients[:K] + change, step)
    problem = term.problem
    px_per_mm = float(problem.focal[0] * np.exp(state.log_focal) / state.translation[2])
    residual = problem.project(state, term.rows)[1] - problem.observed
    _, _, roll = matrix_to_euler(HEAD_TO_CAMERA @ state.rotation)
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return (residual @ turn / px_per_mm).ravel(), (label_noise_px / px_per_mm) ** 2
