"""Compiled parts of the landmark solver: geometry, noise, and one blocked elimination.

Residuals come in the order of all x, then all y: row a * 68 + i is axis a of landmark i. Points and
modes come the same way, axis by axis, so that every inner loop runs over neighbouring landmarks.
``fit.landmark_solver`` says what is solved; ``fit.landmark_problem`` has the same formulas in plain
array operations.
"""

from __future__ import annotations

import numba
import numpy as np

NUM = 68
BLOCK = 17
# Variance factor of a point that does not count at all.
_LEFT_OUT = 1e8


@numba.njit(nogil=True, cache=True)
def turn(rotation, step):
    """Turn a rotation (3, 3) by a rotation vector (3,) in the camera frame, in place."""
    angle = np.sqrt(step[0] ** 2 + step[1] ** 2 + step[2] ** 2)
    if angle < 1e-12:
        s, c = 1.0, 0.5
    else:
        s, c = np.sin(angle) / angle, (1 - np.cos(angle)) / angle**2
    x, y, z = step[0], step[1], step[2]
    for k in range(3):
        a, b, d = rotation[0, k], rotation[1, k], rotation[2, k]
        # w x v and w x (w x v)
        p, q, r = y * d - z * b, z * a - x * d, x * b - y * a
        rotation[0, k] = a + s * p + c * (y * r - z * q)
        rotation[1, k] = b + s * q + c * (z * p - x * r)
        rotation[2, k] = d + s * r + c * (x * q - y * p)


@numba.njit(nogil=True, cache=True)
def project(points, rotation, translation, camera, zoom, seen, image):
    """Put points (204,) into the camera's frame ``seen`` (3, 68) and the picture (2, 68).

    ``camera`` is (fx, fy, cx, cy); both focal lengths are multiplied by ``zoom``.
    """
    fx, fy = camera[0] * zoom, camera[1] * zoom
    for i in range(NUM):
        x, y, z = points[i], points[NUM + i], points[2 * NUM + i]
        for d in range(3):
            seen[d, i] = rotation[d, 0] * x + rotation[d, 1] * y + rotation[d, 2] * z
            seen[d, i] += translation[d]
        depth = max(seen[2, i], 1.0)
        image[0, i] = fx * seen[0, i] / depth + camera[2]
        image[1, i] = fy * seen[1, i] / depth + camera[3]


@numba.njit(nogil=True, cache=True)
def place(near, identity, expression, push, points):
    """Write where the points are: (204,) in the head's frame, and what the identity adds to them.

    ``near`` has the mean (3, 68), identity modes (204, K) and expression modes (204, E).
    """
    mean = near[0].ravel()
    np.dot(near[1], identity, push)
    np.dot(near[2], expression, points)
    for i in range(len(points)):
        points[i] += mean[i] + push[i]


@numba.njit(nogil=True, cache=True)
def slopes(seen, camera, zoom, out):
    """Write the derivatives (2, 3, 68) of the picture by positions in the camera's frame."""
    for i in range(NUM):
        depth = max(seen[2, i], 1.0)
        for a in range(2):
            scale = camera[a] * zoom / depth
            out[a, 0, i] = scale if a == 0 else 0.0
            out[a, 1, i] = scale if a == 1 else 0.0
            out[a, 2, i] = -scale * seen[a, i] / depth


@numba.njit(nogil=True, cache=True)
def visible(points, normals, strips, rotation, translation, rows):
    """Write the jaw's rows on the outline; say whether one changed.

    Args:
        points, normals: (3, P) head frame.
        strips: (17, S) rows of the candidates, the last one filled up.
        rows: (68,) rows of the landmarks, changed in place.
    """
    place = np.zeros(3)
    for d in range(3):
        for k in range(3):
            place[d] += rotation[k, d] * translation[k]
    changed = False
    for j in range(strips.shape[0]):
        chosen = strips[j, strips.shape[1] - 1]
        for s in range(strips.shape[1]):
            p = strips[j, s]
            towards = 0.0
            for d in range(3):
                towards += normals[d, p] * (points[d, p] + place[d])
            if towards < 0:
                chosen = p
                break
        if rows[j] != chosen:
            rows[j] = chosen
            changed = True
    return changed


@numba.njit(nogil=True, cache=True)
def labeller(covariance, rotation, translation, camera, zoom, growth, noise_px, out):
    """Write each landmark's covariance (2, 2, 68) in px^2; return the pixels per millimetre."""
    depth = max(translation[2], 1.0)
    px_per_mm = 0.5 * (camera[0] + camera[1]) * zoom / depth
    # Yaw and roll of the head as ``geometry.rotations.matrix_to_euler`` defines them.
    sin_yaw = -rotation[2, 0]
    roll = 0.0
    if abs(sin_yaw) <= 1 - 1e-9:
        roll = np.arctan2(rotation[1, 0], rotation[0, 0])
    c, s = np.cos(roll), np.sin(roll)
    size = px_per_mm**2 * (1 + (growth * sin_yaw) ** 2)
    for i in range(NUM):
        xx, xy, yy = covariance[i, 0, 0], covariance[i, 0, 1], covariance[i, 1, 1]
        out[0, 0, i] = size * (c * c * xx - 2 * c * s * xy + s * s * yy) + noise_px**2
        out[1, 1, i] = size * (s * s * xx + 2 * c * s * xy + c * c * yy) + noise_px**2
        out[0, 1, i] = size * (c * s * (xx - yy) + (c * c - s * s) * xy)
        out[1, 0, i] = out[0, 1, i]
    return px_per_mm


@numba.njit(nogil=True, cache=True)
def reweigh(image, observed, scatter, extra, dof, weights):
    """Write outliers' weights (68,).

    Args:
        image, observed: (2, 68) px; scatter: (2, 2, 68) px^2; extra: variance on both axes.
        dof: degrees of freedom of the Student-t noise.
    """
    for i in range(NUM):
        xx, yy, xy = scatter[0, 0, i] + extra, scatter[1, 1, i] + extra, scatter[0, 1, i]
        x, y = image[0, i] - observed[0, i], image[1, i] - observed[1, i]
        squared = (yy * x * x - 2 * xy * x * y + xx * y * y) / (xx * yy - xy * xy)
        # Only what is worse than expected loses weight: agreement is no extra certainty.
        weights[i] = min((dof + 2) / (dof + squared), 1.0)


@numba.njit(nogil=True, cache=True)
def pull(precision, values, mean, out):
    """Write P (v - m) of a Gaussian prior to the front of ``out``; return (v - m)^T P (v - m)."""
    total = 0.0
    for e in range(len(values)):
        part = 0.0
        for f in range(len(values)):
            part += precision[e, f] * (values[f] - mean[f])
        out[e] = part
        total += part * (values[e] - mean[e])
    return total


@numba.njit(nogil=True, cache=True)
def marginal(slope, known, discrepancy, size, scatter, trust, weights, zooming, out):
    """Write the upper triangle of the residuals' covariance with the identity integrated out.

    Args:
        slope: (2, 3, 68) derivatives of the picture by positions in the head's frame.
        known: (3, 68, 3, 68) covariance of the positions under the identity's prior, mm^2.
        discrepancy: (68, 68) mm^2 on either axis; size: its factor, px^2 per mm^2.
        scatter: (2, 2, 68) the labeller's covariances; trust, weights: (68,).
        zooming: (2, 68) of the perspective's noise, a rank of its own.
        out: (136, >= 136).
    """
    moved = np.empty((2, 3, NUM))
    for i in range(NUM):
        for a in range(2):
            for e in range(3):
                for j in range(NUM):
                    moved[a, e, j] = (
                        slope[a, 0, i] * known[0, i, e, j]
                        + slope[a, 1, i] * known[1, i, e, j]
                        + slope[a, 2, i] * known[2, i, e, j]
                    )
        for a in range(2):
            for b in range(a, 2):
                row = out[a * NUM + i, b * NUM : (b + 1) * NUM]
                for j in range(NUM):
                    row[j] = (
                        moved[a, 0, j] * slope[b, 0, j]
                        + moved[a, 1, j] * slope[b, 1, j]
                        + moved[a, 2, j] * slope[b, 2, j]
                        + zooming[a, i] * zooming[b, j]
                    )
                if a == b:
                    for j in range(NUM):
                        row[j] += size * discrepancy[i, j]
                row[i] += scatter[a, b, i] / max(trust[i] * weights[i], 1 / _LEFT_OUT)


@numba.njit(nogil=True, cache=True)
def eliminate(work, count, block):
    """Factor [S | X] in place to [U | U^-T X] with S = U^T U; say whether S is positive definite.

    Args:
        work: (n, n + m); of S the upper triangle is read. What is below U is left undefined.
        count: n; block: rows at a time, a divisor of n.
    """
    width = work.shape[1]
    panel = np.empty((block, width))
    square = np.empty((count, width))
    for first in range(0, count, block):
        last = first + block
        for j in range(first, last):
            pivot = work[j, j]
            if not pivot > 0:
                return False
            scale = 1 / np.sqrt(pivot)
            for k in range(j, width):
                work[j, k] *= scale
            for i in range(j + 1, last):
                factor = work[j, i]
                for k in range(i, width):
                    work[i, k] -= factor * work[j, k]
        rest = count - last
        if rest == 0:
            break
        left = panel.ravel()[: block * rest].reshape(block, rest)
        right = np.empty((block, width - last))
        for j in range(block):
            left[j] = work[first + j, last:count]
            right[j] = work[first + j, last:]
        update = square.ravel()[: rest * (width - last)].reshape(rest, width - last)
        np.dot(left.T, right, update)
        for i in range(rest):
            for k in range(i, width - last):
                work[last + i, last + k] -= update[i, k]
    return True


@numba.njit(nogil=True, cache=True)
def forward(factor, values):
    """Solve U^T y = values (n,) in place, U the upper triangle of ``factor``."""
    count = len(values)
    for j in range(count):
        values[j] /= factor[j, j]
        value = values[j]
        for k in range(j + 1, count):
            values[k] -= value * factor[j, k]


@numba.njit(nogil=True, cache=True)
def forward_many(factor, values, block):
    """Solve U^T Y = values (n, m) in place, U the upper triangle of ``factor``.

    ``block`` rows are done at a time, a divisor of n.
    """
    count, width = values.shape
    for first in range(0, count, block):
        last = first + block
        for j in range(first, last):
            scale = 1 / factor[j, j]
            for k in range(width):
                values[j, k] *= scale
            for i in range(j + 1, last):
                part = factor[j, i]
                for k in range(width):
                    values[i, k] -= part * values[j, k]
        if last < count:
            left = factor[first:last, last:count].copy()
            values[last:] -= np.dot(left.T, values[first:last])


@numba.njit(nogil=True, cache=True)
def backward(factor, values):
    """Solve U x = values (n,) in place, U the upper triangle of ``factor``."""
    count = len(values)
    for j in range(count - 1, -1, -1):
        values[j] = (values[j] - np.dot(factor[j, j + 1 : count], values[j + 1 :])) / factor[j, j]


@numba.njit(nogil=True, cache=True)
def damped_step(hessian, gradient, free, damping, step):
    """Write the step (n,) of the free variables, the others' 0; say whether there is one."""
    index = np.flatnonzero(free)
    count = len(index)
    work = np.empty((count, count + 1))
    for i in range(count):
        for j in range(i, count):
            work[i, j] = hessian[index[i], index[j]]
        work[i, i] *= 1 + damping
        work[i, count] = -gradient[index[i]]
    if not eliminate(work, count, max(count, 1)):
        return False
    found = work[:, count].copy()
    backward(work, found)
    step[:] = 0
    for i in range(count):
        step[index[i]] = found[i]
    return True
