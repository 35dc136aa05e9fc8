"""Compiled parts of the landmark solver: where the points are, how sure of them, what moves them.

Residuals come in the order of all x, then all y: row a * 68 + i is axis a of landmark i. Points and
modes come the same way, axis by axis, so that every inner loop runs over neighbouring landmarks.
Loops only, and none calls another: what calls arrays' own methods takes numba seconds to compile.
``fit.landmark_problem`` has the same formulas in plain array operations.
"""

from __future__ import annotations

import numba
import numpy as np

NUM = 68
# Variance factor of a point that does not count at all.
LEFT_OUT = 1e8


@numba.njit(nogil=True, cache=True, error_model="numpy")
def view(points, rotation, translation, camera, zoom, seen, image, slope, head):
    """Look at points (204,) of the head's frame.

    Args:
        camera: (fx, fy, cx, cy); both focal lengths are multiplied by ``zoom``.
        seen: (3, 68) positions in the camera's frame, written; image: (2, 68) in the picture.
        slope: (2, 3, 68) derivatives of the picture by positions in the camera's frame, written.
        head: the same by positions in the head's frame.
    """
    for i in range(NUM):
        x, y, z = points[i], points[NUM + i], points[2 * NUM + i]
        for d in range(3):
            seen[d, i] = rotation[d, 0] * x + rotation[d, 1] * y + rotation[d, 2] * z
            seen[d, i] += translation[d]
        depth = max(seen[2, i], 1.0)
        for a in range(2):
            scale = camera[a] * zoom / depth
            image[a, i] = scale * seen[a, i] + camera[2 + a]
            slope[a, 0, i] = scale if a == 0 else 0.0
            slope[a, 1, i] = scale if a == 1 else 0.0
            slope[a, 2, i] = -scale * seen[a, i] / depth
            for d in range(3):
                head[a, d, i] = scale * rotation[a, d] + slope[a, 2, i] * rotation[2, d]


@numba.njit(nogil=True, cache=True, error_model="numpy")
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


@numba.njit(nogil=True, cache=True, error_model="numpy")
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


@numba.njit(nogil=True, cache=True, error_model="numpy")
def marginal(slope, known, discrepancy, size, scatter, trust, weights, zooming, out):
    """Write the upper triangle of the residuals' covariance with the identity integrated out.

    Args:
        slope: (2, 3, 68) derivatives of the picture by positions in the head's frame.
        known: (3, 68, 3, 68) covariance of the positions under the identity's prior, mm^2.
        discrepancy: (68, 68) mm^2 on either axis; size: its factor, px^2 per mm^2.
        scatter: (2, 2, 68) the labeller's covariances; trust, weights: (68,).
        zooming: (2, 68) of the perspective's noise, a rank of its own.
        out: (136, 136).
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
                same = size if a == b else 0.0
                for j in range(NUM):
                    out[a * NUM + i, b * NUM + j] = (
                        moved[a, 0, j] * slope[b, 0, j]
                        + moved[a, 1, j] * slope[b, 1, j]
                        + moved[a, 2, j] * slope[b, 2, j]
                        + zooming[a, i] * zooming[b, j]
                        + same * discrepancy[i, j]
                    )
                out[a * NUM + i, b * NUM + i] += scatter[a, b, i] / max(
                    trust[i] * weights[i], 1 / LEFT_OUT
                )


@numba.njit(nogil=True, cache=True, error_model="numpy")
def columns(expression, seen, image, slope, head, translation, camera, zooms, residual, out):
    """Write the slopes of the residuals by expression, pose and focal length, then the residuals.

    Args:
        expression: (E, 204) modes.
        seen, image, slope, head: see ``view``; translation: (3,); camera: (fx, fy, cx, cy).
        zooms: 1 where the focal length is free, else 0.
        residual: (2, 68).
        out: (E + 6 + zooms + 1, 136).
    """
    E = expression.shape[0]
    for e in range(E):
        for a in range(2):
            for i in range(NUM):
                out[e, a * NUM + i] = (
                    head[a, 0, i] * expression[e, i]
                    + head[a, 1, i] * expression[e, NUM + i]
                    + head[a, 2, i] * expression[e, 2 * NUM + i]
                )
    for a in range(2):
        for i in range(NUM):
            x, y = seen[0, i] - translation[0], seen[1, i] - translation[1]
            z = seen[2, i] - translation[2]
            p, q, r = slope[a, 0, i], slope[a, 1, i], slope[a, 2, i]
            at = a * NUM + i
            # d(exp(w) R p)/dw = -[R p]x, so a row d of the slopes becomes (R p) x d
            out[E, at], out[E + 1, at], out[E + 2, at] = y * r - z * q, z * p - x * r, x * q - y * p
            out[E + 3, at], out[E + 4, at], out[E + 5, at] = p, q, r
            if zooms:
                along = p * translation[0] + q * translation[1] + r * translation[2]
                out[E + 6, at] = image[a, i] - camera[2 + a] + along
            out[E + 6 + zooms, at] = residual[a, i]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def damped(hessian, gradient, stuck, damping, out, force):
    """Write a damped system (n, n), (n,) in which variables that are stuck stay where they are.

    ``stuck`` (E,) is of the first E variables. Of ``out`` the upper triangle is written.
    """
    n, E = len(gradient), len(stuck)
    for i in range(n):
        fixed = i < E and stuck[i]
        force[i] = 0.0 if fixed else -gradient[i]
        for j in range(i, n):
            out[i, j] = 0.0 if fixed or (j < E and stuck[j]) else hessian[i, j]
        out[i, i] = 1.0 if fixed else hessian[i, i] * (1 + damping)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def farthest(points, image, other_points, other_image, px_per_mm):
    """Return the farthest that a point went, mm, in the head's frame (204,) or the picture."""
    most = 0.0
    for i in range(NUM):
        square, shift = 0.0, 0.0
        for d in range(3):
            square += (other_points[d * NUM + i] - points[d * NUM + i]) ** 2
        for a in range(2):
            shift += (other_image[a, i] - image[a, i]) ** 2
        most = max(most, square, shift / px_per_mm**2)
    return np.sqrt(most)
