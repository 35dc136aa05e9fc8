"""What the landmark solver holds: a photograph's points, a face on its way, and its posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dpotrf, dtrtrs

from facekit.errors import ItemError
from facekit.fit.landmark_belief import Near
from facekit.fit.landmark_kernels import NUM

DIVERGED = "landmark fit: diverged; are the landmarks those of one face?"


class Photo(NamedTuple):
    """What is fitted.

    Attributes:
        observed: (2, 68) pixels; trust: (68,) in [0, 1]; camera: (fx, fy, cx, cy).
        outline: whether the jaw's points lie on the face's outline.
        covariance: (68, 2, 2) the labeller's, mm^2; discrepancy: (68, 68) mm^2.
    """

    observed: np.ndarray
    trust: np.ndarray
    camera: np.ndarray
    outline: bool
    covariance: np.ndarray
    discrepancy: np.ndarray


@dataclass
class State:
    """A face on its way: ``inner`` is the identity in the belief's z."""

    rotation: np.ndarray
    translation: np.ndarray
    inner: np.ndarray
    expression: np.ndarray
    log_focal: float
    rows: np.ndarray
    near: Near
    weights: np.ndarray
    cost: float = np.inf
    rounds: int = 0


class Linearised(NamedTuple):
    """A round's linear problem.

    Attributes:
        factor: (136, 136) lower, L L^T = S; white: (136, n) the slopes through L^-1.
        residual: (136,) likewise; hessian: (n, n).
        head: (2, 3, 68) slopes of the picture by positions in the head's frame.
    """

    factor: np.ndarray
    white: np.ndarray
    residual: np.ndarray
    hessian: np.ndarray
    head: np.ndarray


def posterior(near: Near, held: Linearised) -> tuple[np.ndarray, float]:
    """Return the posterior's covariance at a linearisation, and the noise's log determinant.

    Returns:
        (K + n, K + n) of the identity (in the belief's z), the expression, pose and focal length;
        and half the log determinant of the landmarks' covariance.
    """
    K, n = near.identity.shape[1], len(held.hessian)
    slopes = (held.head[:, :, :, None] * near.identity.reshape(3, NUM, K)).sum(1)
    seen, _ = dtrtrs(held.factor, slopes.reshape(2 * NUM, K), lower=1)
    # How much of the identity the landmarks leave open where everything else is known.
    left = np.eye(K) - seen.T @ seen
    between = seen.T @ held.white
    rest = np.linalg.inv(held.hessian)
    carried = between @ rest
    covariance = np.empty((K + n, K + n))
    covariance[:K, :K] = left + carried @ between.T
    covariance[:K, K:] = -carried
    covariance[K:, :K] = -carried.T
    covariance[K:, K:] = 0.5 * (rest + rest.T)
    # det C = det S det(I - J^T S^-1 J)
    rooted, failed = dpotrf(left, lower=1)
    if failed:
        raise ItemError(DIVERGED)
    noise = np.log(np.diag(held.factor)).sum() + np.log(np.diag(rooted)).sum()
    return covariance, float(noise)
