"""The landmark solver's linear algebra: its rows, its columns, and the posterior they leave."""

from __future__ import annotations

import numba
import numpy as np

from facekit.fit.landmark_kernels import BLOCK, NUM, eliminate, forward_many


@numba.njit(nogil=True, cache=True)
def gather(shape, rows, near):
    """Write the landmarks' rows of a shape's (mean, normals, modes) into the same of 68 rows."""
    mean, _, identity, expression = shape
    count = mean.shape[1]
    for d in range(3):
        for i in range(NUM):
            near[0][d, i] = mean[d, rows[i]]
            near[1][d * NUM + i] = identity[d * count + rows[i]]
            near[2][d * NUM + i] = expression[d * count + rows[i]]
    known = near[3].reshape(3 * NUM, 3 * NUM)
    np.dot(near[1], near[1].T, known)


@numba.njit(nogil=True, cache=True)
def linearise(near, seen, image, slope, head, state, photo, free_focal, push, work):
    """Write the columns of ``work`` beside S: slopes by expression, pose and focal, residuals.

    Args:
        near: the landmarks' mean (3, 68), identity and expression modes (204, .), and ``known``.
        seen, image: where the points are; slope: by the camera's frame; head: by the head's.
        state: rotation (3, 3), translation (3,).
        photo: observed (2, 68), trust (68,), camera (4,).
        push: (204,) how far the identity moves the points from its mean, mm.
    """
    expression = near[2]
    translation = state[1]
    observed, _, camera = photo
    E = expression.shape[1]
    for a in range(2):
        for i in range(NUM):
            row = work[a * NUM + i, 2 * NUM :]
            p, q, r = head[a, 0, i], head[a, 1, i], head[a, 2, i]
            for e in range(E):
                row[e] = (
                    p * expression[i, e]
                    + q * expression[NUM + i, e]
                    + r * expression[2 * NUM + i, e]
                )
            error = image[a, i] - observed[a, i]
            error -= p * push[i] + q * push[NUM + i] + r * push[2 * NUM + i]
            x, y = seen[0, i] - translation[0], seen[1, i] - translation[1]
            z = seen[2, i] - translation[2]
            p, q, r = slope[a, 0, i], slope[a, 1, i], slope[a, 2, i]
            # d(exp(w) R p)/dw = -[R p]x, so a row d of the slopes becomes (R p) x d
            row[E], row[E + 1], row[E + 2] = y * r - z * q, z * p - x * r, x * q - y * p
            row[E + 3], row[E + 4], row[E + 5] = p, q, r
            if free_focal:
                along = p * translation[0] + q * translation[1] + r * translation[2]
                row[E + 6] = image[a, i] - camera[2 + a] + along
            row[E + 6 + free_focal] = error


@numba.njit(nogil=True, cache=True)
def posterior(near, held, covariance):
    """Write the posterior's covariance at the last round's linearisation; return log noise.

    Args:
        near: see ``gather``.
        held: see ``search``.
        covariance: (K + n, K + n) of the identity (in deviations of its prior), the expression,
            pose and focal length.

    Returns:
        Half the log determinant of the landmarks' covariance.

    Raises:
        LinAlgError: the system is singular.
    """
    work, white, hessian, head = held
    modes = near[1]
    K = modes.shape[1]
    seen = np.empty((2 * NUM, K))
    for a in range(2):
        for i in range(NUM):
            p, q, r = head[a, 0, i], head[a, 1, i], head[a, 2, i]
            for k in range(K):
                seen[a * NUM + i, k] = (
                    p * modes[i, k] + q * modes[NUM + i, k] + r * modes[2 * NUM + i, k]
                )
    forward_many(work, seen, BLOCK)
    # How much of the identity the landmarks leave open where everything else is known.
    left = np.eye(K) - np.dot(seen.T, seen)
    between = np.dot(seen.T, white)
    rest = np.linalg.inv(hessian)
    carried = np.dot(between, rest)
    covariance[:K, :K] = left + np.dot(carried, between.T)
    covariance[:K, K:] = -carried
    covariance[K:, :K] = -carried.T
    covariance[K:, K:] = 0.5 * (rest + rest.T)
    half = 0.0
    for j in range(2 * NUM):
        half += np.log(work[j, j])
    if not eliminate(left, K, K):
        return np.nan
    for k in range(K):
        half += np.log(left[k, k])
    return half
