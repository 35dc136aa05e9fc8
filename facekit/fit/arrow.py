"""Normal equations of many photographs that share some of their variables.

Ordered as shared variables first, the matrix has the shape of an arrow: each photograph's own
variables meet only each other and the shared ones. Eliminating them photograph by photograph
(the Schur complement) leaves a system of the shared variables alone, so the cost grows with the
number of photographs and not with its cube.

Source: D. Brown, A solution to the general problem of multiple station analytical stereo
triangulation, 1958; B. Triggs et al., Bundle adjustment: a modern synthesis, 2000, section 6.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular


class Block(NamedTuple):
    """One photograph's part of the normal equations.

    Attributes:
        hessian: (s + n, s + n) over the shared variables it sees, then its own.
        gradient: (s + n,).
        shared: (s,) int, which of the shared variables those are.
        free: (n,) bool, own variables that may move, or None for all.
    """

    hessian: np.ndarray
    gradient: np.ndarray
    shared: np.ndarray
    free: np.ndarray | None = None


class Eliminated(NamedTuple):
    """What is left of the system once every photograph's own variables are eliminated.

    Attributes:
        hessian: (S, S) Schur complement; gradient: (S,).
        own: for each photograph the Cholesky factor of its own part, that part's gradient and its
            coupling to the shared variables, both divided by the factor.
    """

    hessian: np.ndarray
    gradient: np.ndarray
    own: list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def eliminate(
    blocks: Sequence[Block],
    hessian: np.ndarray,
    gradient: np.ndarray,
    *,
    damping: float = 0.0,
) -> Eliminated:
    """Eliminate what belongs to single photographs.

    Args:
        blocks: of the photographs.
        hessian: (S, S) of the shared variables alone (their prior); gradient: (S,).
        damping: every diagonal is multiplied by one plus this.

    Raises:
        numpy.linalg.LinAlgError: a photograph's own part is not positive definite.
    """
    total, right = hessian.copy(), gradient.astype(np.float64).copy()
    # The diagonal of all photographs together is what damping grows.
    diagonal = np.diag(hessian).copy()
    own = []
    for block in blocks:
        s = len(block.shared)
        mine = block.hessian[s:, s:].copy()
        coupling = block.hessian[s:, :s].copy()
        slope = block.gradient[s:].copy()
        if block.free is not None:
            held = ~block.free
            mine[held] = 0
            mine[:, held] = 0
            mine[held, held] = 1
            coupling[held] = 0
            slope[held] = 0
        mine[np.diag_indices_from(mine)] *= 1 + damping
        factor = np.linalg.cholesky(mine)
        coupling = solve_triangular(factor, coupling, lower=True, check_finite=False)
        slope = solve_triangular(factor, slope, lower=True, check_finite=False)
        part = block.hessian[:s, :s]
        total[np.ix_(block.shared, block.shared)] += part - coupling.T @ coupling
        right[block.shared] += block.gradient[:s] - coupling.T @ slope
        diagonal[block.shared] += np.diag(part)
        own.append((factor, slope, coupling))
    total[np.diag_indices_from(total)] += damping * diagonal
    return Eliminated(total, right, own)


def solve(blocks: Sequence[Block], left: Eliminated) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the Newton step of the shared variables and those of each photograph's own.

    Raises:
        numpy.linalg.LinAlgError: the Schur complement is not positive definite.
    """
    shared = -cho_solve(cho_factor(left.hessian, check_finite=False), left.gradient)
    steps = []
    for block, (factor, slope, coupling) in zip(blocks, left.own, strict=True):
        right = slope + coupling @ shared[block.shared]
        steps.append(-solve_triangular(factor, right, lower=True, trans=1, check_finite=False))
    return shared, steps


def covariances(
    blocks: Sequence[Block], left: Eliminated, count: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the inverse's parts: of the shared variables, and of each photograph's.

    Args:
        blocks, left: of ``eliminate`` without damping.
        count: the first shared variables, of which the covariance is wanted; every photograph
            must see them as its first.

    Returns:
        (count, count), and for each photograph (count + n, count + n): those variables and its
        own.
    """
    inverse = cho_solve(cho_factor(left.hessian, check_finite=False), np.eye(len(left.hessian)))
    inverse = 0.5 * (inverse + inverse.T)
    found = []
    for block, (factor, _, coupling) in zip(blocks, left.own, strict=True):
        n = len(factor)
        back = solve_triangular(factor, np.eye(n), lower=True, check_finite=False).T
        # d(own) = -back coupling d(shared).
        follow = -back @ coupling
        spread = inverse[np.ix_(block.shared, block.shared)]
        own = back @ back.T + follow @ spread @ follow.T
        cross = follow @ spread[:, :count]
        top = np.hstack([spread[:count, :count], cross.T])
        found.append(np.vstack([top, np.hstack([cross, own])]))
    return inverse[:count, :count], found
