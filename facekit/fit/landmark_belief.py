"""The landmark solver's prior, with the identity in directions that are independent under it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.landmark_kernels import NUM
from facekit.fit.prior import FacePrior
from facekit.morphable.model import MorphableModel


class Near(NamedTuple):
    """The 68 landmarks' rows of a basis, axis by axis.

    Attributes:
        mean: (204,) mm.
        modes: (204, K + E), of the identity in deviations of the prior, then of the expression,
            with the identity's mean that goes with it.
    """

    mean: np.ndarray
    modes: np.ndarray


class Belief(NamedTuple):
    """A Gaussian over coefficients as one of the expression w and one of the identity about it.

    The identity is m + F (w - mean) + L z with z normal.

    Attributes:
        basis: of the model.
        mean, precision: (E,), (E, E) of the expression; low, high: (E,) its bounds.
        start: (K,) m, the identity at the expression's mean.
        follows: (K, E) F, None where the identity does not depend on the expression.
        factor: (K, K) L, or a number where L is that times the unit matrix, and m is 0.
        front: the landmarks' own rows.
    """

    basis: LandmarkBasis
    mean: np.ndarray
    precision: np.ndarray
    low: np.ndarray
    high: np.ndarray
    start: np.ndarray
    follows: np.ndarray | None
    factor: np.ndarray | float
    front: Near

    def near(self, rows: np.ndarray, before: Near, came: np.ndarray) -> Near:
        """Return landmarks ``before`` that were on rows ``came`` of the basis on others (68,).

        They are written in place, but for the belief's own.
        """
        changed = np.flatnonzero(rows != came)
        near = before
        if before is self.front:
            near = Near(before.mean.copy(), before.modes.copy())
        own = (self.mean, self.start, self.follows, self.factor)
        mean, modes = _near(self.basis, rows[changed], *own)
        near.mean.reshape(3, NUM)[:, changed] = mean.reshape(3, -1)
        near.modes.reshape(3, NUM, -1)[:, changed] = modes.reshape(3, len(changed), -1)
        return near

    def coefficients(self, inner: np.ndarray) -> np.ndarray:
        """Return the coefficients (K + E,) of z and the expression (K + E,)."""
        K = len(self.start)
        if not isinstance(self.factor, np.ndarray):
            return inner if self.factor == 1 else np.append(self.factor * inner[:K], inner[K:])
        identity = self.start + self.factor @ inner[:K]
        if self.follows is not None:
            identity += self.follows @ (inner[K:] - self.mean)
        return np.concatenate([identity, inner[K:]])

    def spread(self, covariance: np.ndarray) -> np.ndarray:
        """Return a covariance with the identity in place of z."""
        K = len(self.start)
        if not isinstance(self.factor, np.ndarray):
            if self.factor != 1:
                covariance[:K] *= self.factor
                covariance[:, :K] *= self.factor
            return covariance
        turn = np.eye(len(covariance))
        turn[:K, :K] = self.factor
        if self.follows is not None:
            turn[:K, K : K + self.follows.shape[1]] = self.follows
        found = turn @ covariance @ turn.T
        return 0.5 * (found + found.T)


@lru_cache(maxsize=8)
def model_belief(basis: LandmarkBasis, model: MorphableModel, scale: float) -> Belief:
    """Return the model's own prior, the identity's deviations times ``scale``."""
    mean = model.expression_mean.astype(np.float64)
    precision = np.diag(model.expression_std.astype(np.float64) ** -2.0)
    start = np.zeros(basis.num_identity)
    front = _near(basis, np.arange(NUM), mean, start, None, scale)
    return Belief(basis, mean, precision, *_bounds(model), start, None, scale, front)


def prior_belief(basis: LandmarkBasis, model: MorphableModel, prior: FacePrior) -> Belief:
    """Return any Gaussian over all coefficients as a belief.

    Raises:
        LinAlgError: its precision is not positive definite.
    """
    K = basis.num_identity
    own, across = prior.precision[:K, :K], prior.precision[:K, K:]
    lower = cho_factor(own, lower=True)
    factor = solve_triangular(np.tril(lower[0]), np.eye(K), lower=True, trans="T")
    mean, start = prior.mean[K:], prior.mean[:K]
    precision, follows = prior.precision[K:, K:], None
    if across.any():
        follows = -cho_solve(lower, across)
        precision = precision + across.T @ follows
    front = _near(basis, np.arange(NUM), mean, start, follows, factor)
    precision = np.ascontiguousarray(precision)
    return Belief(basis, mean, precision, *_bounds(model), start, follows, factor, front)


def _bounds(model: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
    low, high = model.expression_bounds.T.astype(np.float64)
    return np.ascontiguousarray(low), np.ascontiguousarray(high)


def _near(
    basis: LandmarkBasis,
    rows: np.ndarray,
    at: np.ndarray,
    start: np.ndarray,
    follows: np.ndarray | None,
    factor: np.ndarray | float,
) -> Near:
    modes = basis.modes[rows].transpose(1, 0, 2).reshape(3 * len(rows), -1)
    mean = basis.mean[rows].T.reshape(-1)
    identity, expression = modes[:, : len(start)], modes[:, len(start) :]
    if follows is not None:
        moves = identity @ follows
        mean = mean - moves @ at
        expression += moves
    if start.any():
        mean = mean + identity @ start
    if isinstance(factor, np.ndarray):
        identity[:] = identity @ factor
    elif factor != 1:
        identity *= factor
    return Near(mean, modes)
