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
from facekit.fit.landmark_problem import KnownPosterior
from facekit.fit.landmark_state import DIVERGED, Linearised


class LaterPosterior:
    """A ``Posterior`` that is computed when it is asked for; ItemError where there is none.

    Args:
        belief: prior of the fit.
        linearise: returns the linear problem at its result.
    """

    def __init__(self, belief: Belief, linearise: Callable[[], Linearised]) -> None:
        self._belief, self._linearise = belief, linearise

    @cached_property
    def _found(self) -> KnownPosterior:
        covariance, log_noise = posterior(self._linearise())
        found = KnownPosterior(self._belief.spread(covariance), log_noise)
        del self._belief, self._linearise
        return found

    @property
    def covariance(self) -> np.ndarray:
        """As ``Posterior`` has it."""
        return self._found.covariance

    @property
    def log_noise(self) -> float:
        """As ``Posterior`` has it."""
        return self._found.log_noise

    def __reduce__(self) -> tuple[Any, ...]:
        return KnownPosterior, tuple(self._found)


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
