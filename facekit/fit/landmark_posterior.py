"""How sure a landmark fit is: its Laplace posterior, computed when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg.blas import dsyrk, dtrsm
from scipy.linalg.lapack import dpotrf, dpotri

from facekit.errors import ItemError
from facekit.fit.landmark_belief import Belief
from facekit.fit.landmark_problem import LandmarkFit
from facekit.fit.landmark_state import DIVERGED, Linearised


class Later:
    """A posterior that is yet to be computed.

    Args:
        belief: prior of the fit.
        linearise: returns the linear problem at its result.
    """

    def __init__(self, belief: Belief, linearise: Callable[[], Linearised]) -> None:
        self._belief, self._linearise = belief, linearise

    @cached_property
    def found(self) -> tuple[np.ndarray, float]:
        """The covariance of the fit, and half the log determinant of the landmarks' covariance."""
        covariance, log_noise = posterior(self._linearise())
        found = self._belief.spread(covariance), log_noise
        del self._belief, self._linearise
        return found


class QuickFit(LandmarkFit):
    """A landmark fit with a ``Later`` for the covariance and the noise, until they are asked for.

    Both raise ItemError where there is no posterior.
    """

    @property
    def covariance(self) -> np.ndarray:  # type: ignore[override]
        """As ``LandmarkFit`` has it."""
        value: Any = tuple.__getitem__(self, _COVARIANCE)
        return value.found[0] if isinstance(value, Later) else value

    @property
    def log_noise(self) -> float:  # type: ignore[override]
        """As ``LandmarkFit`` has it."""
        value: Any = tuple.__getitem__(self, _LOG_NOISE)
        return value.found[1] if isinstance(value, Later) else value

    def __reduce__(self) -> tuple[Any, ...]:
        return LandmarkFit, tuple(getattr(self, name) for name in self._fields)


_COVARIANCE = LandmarkFit._fields.index("covariance")
_LOG_NOISE = LandmarkFit._fields.index("log_noise")


def posterior(held: Linearised) -> tuple[np.ndarray, float]:
    """Return the posterior's covariance at a linearisation, and the noise's log determinant.

    Returns:
        (K + n, K + n) of the identity (in the belief's z), the expression, pose and focal length;
        and half the log determinant of the landmarks' covariance.

    Raises:
        ItemError: there is none.
    """
    K, n = held.identity.shape[1], len(held.hessian)
    seen = dtrsm(1.0, held.factor.T, held.identity.T, side=1, lower=1, trans_a=1)
    # How much of the identity the landmarks leave open where everything else is known.
    left = dsyrk(-1.0, seen, beta=1.0, c=np.eye(K, order="F"), lower=1, overwrite_c=1)
    root, failed = dpotrf(held.hessian.T, lower=1)
    rest, singular = dpotri(root, lower=1)
    # det C = det S det(I - J^T S^-1 J)
    rooted, worse = dpotrf(left, lower=1)
    if failed or singular or worse:
        raise ItemError(DIVERGED)
    log_noise = np.log(np.diag(held.factor)).sum() + np.log(np.diag(rooted)).sum()
    # The rest's covariance is R^-T R^-1, so that what it adds to the identity's is a square.
    carried = dtrsm(1.0, root, held.white.T @ seen.T, lower=1)
    covariance = np.empty((K + n, K + n), order="F")
    covariance[:K, :K] = dsyrk(1.0, carried, beta=1.0, c=left, trans=1, lower=1, overwrite_c=1)
    covariance[K:, K:] = rest
    covariance[K:, :K] = -dtrsm(1.0, root, carried, lower=1, trans_a=1)
    lower = np.tril(covariance)
    return lower + np.tril(lower, -1).T, float(log_noise)
