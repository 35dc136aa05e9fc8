"""The landmark solver's step: by how much forces are out of balance, and what to do about it.

Compiled, in loops; ``fit.landmark_solver`` has the equations, ``fit.landmark_kernels`` the order of
residuals and points.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numba
import numpy as np

from facekit.fit.landmark_kernels import NUM

# Sums may be taken in any order: the compiler then adds several terms at once.
_SUMS = {"reassoc", "contract", "nsz"}
# For what only other kernels call.
_inner: Any = partial(
    numba.njit, nogil=True, cache=True, error_model="numpy", no_cpython_wrapper=True
)


@_inner(fastmath=_SUMS)
def along(matrix, values, sign, out):
    """Add ``sign`` times a matrix times values."""
    for i in range(len(out)):
        total = 0.0
        for j in range(len(values)):
            total += matrix[i, j] * values[j]
        out[i] += sign * total


@_inner(fastmath=_SUMS)
def across(matrix, values, sign, out):
    """Add ``sign`` times the transpose of a matrix, of 4 m rows, times values."""
    for i in range(0, len(values), 4):
        p, q = sign * values[i], sign * values[i + 1]
        r, s = sign * values[i + 2], sign * values[i + 3]
        for j in range(len(out)):
            near = p * matrix[i, j] + q * matrix[i + 1, j]
            out[j] += near + r * matrix[i + 2, j] + s * matrix[i + 3, j]


@_inner(fastmath=_SUMS)
def forward(upper, values):
    """Replace values (n,) by U^-T values, U upper triangular."""
    n = len(values)
    # Four at a time, so that the rest is gone through once for all four; so, too, below.
    for first in range(0, n, 4):
        last = min(first + 4, n)
        for j in range(first, last):
            values[j] /= upper[j, j]
            for i in range(j + 1, last):
                values[i] -= values[j] * upper[j, i]
        if last < n:
            p, q, r, s = values[first], values[first + 1], values[first + 2], values[first + 3]
            for i in range(last, n):
                near = p * upper[first, i] + q * upper[first + 1, i]
                values[i] -= near + r * upper[first + 2, i] + s * upper[first + 3, i]


@_inner(fastmath=_SUMS)
def backward(upper, values):
    """Replace values (n,) by U^-1 values, U upper triangular."""
    n = len(values)
    for first in range((n - 1) // 4 * 4, -1, -4):
        last = min(first + 4, n)
        if last < n:
            p, q, r, s = 0.0, 0.0, 0.0, 0.0
            for i in range(last, n):
                value = values[i]
                p += upper[first, i] * value
                q += upper[first + 1, i] * value
                r += upper[first + 2, i] * value
                s += upper[first + 3, i] * value
            values[first] -= p
            values[first + 1] -= q
            values[first + 2] -= r
            values[first + 3] -= s
        for j in range(last - 1, first - 1, -1):
            values[j] /= upper[j, j]
            for i in range(first, j):
                values[i] -= values[j] * upper[i, j]


@_inner()
def damped(hessian, stuck, damping, root):
    """Write U (n, n), U^T U = a damped matrix in which what is stuck (E,) stays where it is.

    ``hessian`` counts above its diagonal. Where it is not positive definite, U is not finite.
    """
    n, E = len(hessian), len(stuck)
    for i in range(n):
        fixed = i < E and stuck[i]
        for j in range(i, n):
            root[i, j] = 0.0 if fixed or (j < E and stuck[j]) else hessian[i, j]
        root[i, i] = 1.0 if fixed else hessian[i, i] * (1 + damping)
    for first in range(0, n, 4):
        last = min(first + 4, n)
        for k in range(first, last):
            for above in range(first, k):
                value = root[above, k]
                for j in range(k, n):
                    root[k, j] -= value * root[above, j]
            inverse = 1 / np.sqrt(root[k, k])
            for j in range(k, n):
                root[k, j] *= inverse
        for i in range(last, n):
            p, q = root[first, i], root[first + 1, i]
            r, s = root[first + 2, i], root[first + 3, i]
            for j in range(i, n):
                root[i, j] -= (
                    p * root[first, j]
                    + q * root[first + 1, j]
                    + r * root[first + 2, j]
                    + s * root[first + 3, j]
                )


@numba.njit(nogil=True, cache=True, error_model="numpy")
def balance(
    observed,
    camera,
    discrepancy,
    scatter,
    zooming,
    size,
    translation,
    force,
    seen,
    image,
    slope,
    head,
    short,
    back,
    turn,
):
    """Write by how much forces on the points in the picture are not those of their residuals.

    Args:
        observed: (2, 68); discrepancy, scatter, zooming, size: see ``landmark_kernels.noise``.
        camera, translation, seen, image, slope, head: see ``landmark_kernels.slopes``.
        force: (2, 68) what should be the noise's inverse times the residuals.
        short: (136,) the residuals less the noise times the force, written.
        back: (204,) the force on positions in the head's frame, written.
        turn: (7,) the force on pose and focal length, written.

    Returns:
        Twice the negative log likelihood, where the forces are right.
    """
    wide, cost = 0.0, 0.0
    for i in range(NUM):
        wide += zooming[0, i] * force[0, i] + zooming[1, i] * force[1, i]
    for i in range(NUM):
        u, v = force[0, i], force[1, i]
        short[i] = -scatter[0, i] * u - scatter[2, i] * v - wide * zooming[0, i]
        short[NUM + i] = -scatter[2, i] * u - scatter[1, i] * v - wide * zooming[1, i]
    for a in range(2):
        for j in range(NUM):
            pull = size * force[a, j]
            for i in range(NUM):
                short[a * NUM + i] -= pull * discrepancy[j, i]
        for i in range(NUM):
            residual = image[a, i] - observed[a, i]
            short[a * NUM + i] += residual
            cost += force[a, i] * (residual + short[a * NUM + i])
    g0, g1, g2, g3, g4, g5, g6 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(NUM):
        u, v = force[0, i], force[1, i]
        for d in range(3):
            back[d * NUM + i] = head[0, d, i] * u + head[1, d, i] * v
        p = slope[0, 0, i] * u + slope[1, 0, i] * v
        q = slope[0, 1, i] * u + slope[1, 1, i] * v
        r = slope[0, 2, i] * u + slope[1, 2, i] * v
        x, y = seen[0, i] - translation[0], seen[1, i] - translation[1]
        z = seen[2, i] - translation[2]
        g0, g1, g2 = g0 + y * r - z * q, g1 + z * p - x * r, g2 + x * q - y * p
        g3, g4, g5 = g3 + p, g4 + q, g5 + r
        g6 += (image[0, i] - camera[2]) * u + (image[1, i] - camera[3]) * v
    turn[0], turn[1], turn[2], turn[3], turn[4], turn[5] = g0, g1, g2, g3, g4, g5
    turn[6] = g6 + g3 * translation[0] + g4 * translation[1] + g5 * translation[2]
    return cost


@_inner()
def turned(rotation, x, y, z, out):
    """Write a rotation (3, 3) turned about a vector (x, y, z), radians (Rodrigues)."""
    square = x * x + y * y + z * z
    angle = np.sqrt(square)
    s, c = 1.0, 0.5
    if angle > 1e-12:
        s, c = np.sin(angle) / angle, (1 - np.cos(angle)) / square
    for d in range(3):
        u, v, w = rotation[0, d], rotation[1, d], rotation[2, d]
        p, q, r = y * w - z * v, z * u - x * w, x * v - y * u
        out[0, d] = u + s * p + c * (y * r - z * q)
        out[1, d] = v + s * q + c * (z * p - x * r)
        out[2, d] = w + s * r + c * (x * q - y * p)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def step(
    centre,
    modes,
    mean,
    precision,
    low,
    high,
    factor,
    identity,
    white,
    hessian,
    root,
    stuck,
    short,
    back,
    turn,
    coefficients,
    rotation,
    translation,
    zoom,
    force,
    new_coefficients,
    new_rotation,
    new_translation,
    new_zoom,
    new_force,
    new_points,
    believed,
    damping,
):
    """Write a state (``new_...``) after a step of the solver's equations.

    Args:
        centre, modes: (204,), (204, K + E) of the landmarks.
        mean, precision, low, high: of the expression.
        factor, identity, white, hessian: of a linearisation nearby.
        root, stuck: of an earlier step from it; written.
        short, back, turn: see ``balance``; ``short`` is used up.
        coefficients, rotation, translation, zoom: the state, (1,) zoom the log of the focal length.
        force: (2, 68).
        believed: the precision of zoom.
        damping: relative; negative where that of the step before is good enough.

    Returns:
        The priors' share of the state's cost; not a number where there is no step.
    """
    n, K, E = len(hessian), identity.shape[1], len(mean)
    gradient, offset, pulled = np.zeros(n), np.empty(E), np.zeros(K + E)
    cost = believed * zoom[0] ** 2
    across(modes, back, 1.0, pulled)
    # The residuals that the identity leaves when it is what the forces make it.
    for k in range(K):
        cost += coefficients[k] ** 2
        pulled[k] += coefficients[k]
    along(identity, pulled[:K], -1.0, short)
    forward(factor, short)
    for e in range(E):
        offset[e] = coefficients[K + e] - mean[e]
    along(precision, offset, 1.0, gradient[:E])
    for e in range(E):
        cost += gradient[e] * offset[e]
        gradient[e] += pulled[K + e]
    for k in range(E, n):
        gradient[k] = turn[k - E]
    if n > E + 6:
        gradient[n - 1] += believed * zoom[0]
    across(white, short, 1.0, gradient)
    rooted = damping < 0
    for e in range(E):
        value = coefficients[K + e]
        held = (value <= low[e] and gradient[e] > 0) or (value >= high[e] and gradient[e] < 0)
        rooted = rooted and held == stuck[e]
        stuck[e] = held
    if not rooted:
        damped(hessian, stuck, max(damping, 0.0), root)
    for k in range(n):
        gradient[k] = 0.0 if k < E and stuck[k] else -gradient[k]
    forward(root, gradient)
    backward(root, gradient)
    if not np.isfinite(gradient[0]):
        return np.nan
    for e in range(E):
        value = min(max(coefficients[K + e] + gradient[e], low[e]), high[e])
        gradient[e] = value - coefficients[K + e]
        new_coefficients[K + e] = value
    along(white, gradient, 1.0, short)
    backward(factor, short)
    for k in range(K):
        new_coefficients[k] = coefficients[k] - pulled[k]
    across(identity, short, -1.0, new_coefficients[:K])
    for i in range(NUM):
        new_force[0, i] = force[0, i] + short[i]
        new_force[1, i] = force[1, i] + short[NUM + i]
    turned(rotation, gradient[E], gradient[E + 1], gradient[E + 2], new_rotation)
    # No step changes the distance more than sevenfold.
    change = min(max(gradient[n - 1], -2.0), 2.0) if n > E + 6 else 0.0
    new_zoom[0] = zoom[0] + change
    for d in range(3):
        new_translation[d] = (translation[d] + gradient[E + 3 + d]) * np.exp(change)
    for i in range(3 * NUM):
        new_points[i] = centre[i]
    along(modes, new_coefficients, 1.0, new_points)
    return cost
