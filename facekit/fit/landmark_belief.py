"""The landmark solver's prior, with the identity in directions that are independent under it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.prior import FacePrior
from facekit.morphable.model import MorphableModel


class Near(NamedTuple):
    """The 68 landmarks' rows of a basis, axis by axis.

    Attributes:
        mean: (204,) mm.
        identity: (204, K) modes in deviations of the prior.
        expression: (E, 204) modes; with the identity's mean that goes with them.
        known: (3, 68, 3, 68) covariance of the points under the identity's prior, mm^2.
    """

    mean: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    known: np.ndarray


class Belief(NamedTuple):
    """A Gaussian over coefficients as one of the expression w and one of the identity about it.

    The identity is m + F (w - mean) + L z with z normal.

    Attributes:
        basis: of the model.
        mean, precision: (E,), (E, E) of the expression; low, high: (E,) its bounds.
        start: (K,) m, the identity at the expression's mean.
        follows: (K, E) F, None where the identity does not depend on the expression.
        factor: (K, K) L, or a number where L is that times the unit matrix.
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

    def near(self, rows: np.ndarray) -> Near:
        """Return the landmarks when they are on other rows (68,) of the basis."""
        return _near(self.basis, rows, self.mean, self.start, self.follows, self.factor)

    def coefficients(self, inner: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """Return the coefficients (K + E,) of z and the expression."""
        if isinstance(self.factor, np.ndarray):
            identity = self.start + self.factor @ inner
        else:
            identity = self.start + self.factor * inner
        if self.follows is not None:
            identity = identity + self.follows @ (expression - self.mean)
        return np.concatenate([identity, expression])

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
    front = _near(basis, np.arange(68), mean, start, None, scale)
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
    front = _near(basis, np.arange(68), mean, start, follows, factor)
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
    modes = basis.modes[rows].transpose(1, 0, 2).reshape(204, -1)
    mean = basis.mean[rows].T.reshape(204)
    identity, expression = modes[:, : len(start)], modes[:, len(start) :]
    if follows is not None:
        moves = identity @ follows
        mean = mean - moves @ at
        expression = expression + moves
    if start.any():
        mean = mean + identity @ start
    spread = identity @ factor if isinstance(factor, np.ndarray) else factor * identity
    known = (spread @ spread.T).reshape(3, 68, 3, 68)
    return Near(mean, np.ascontiguousarray(spread), np.ascontiguousarray(expression.T), known)
