"""Compiled parts of the landmark solver: where the points are, how sure of them, what moves them.

Residuals come in the order of all x, then all y: row a * 68 + i is axis a of landmark i. Points and
modes come the same way, axis by axis, so that every inner loop runs over neighbouring landmarks.
Loops only: what calls arrays' own methods takes numba seconds to compile.
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
        camera: (fx, fy, cx, cy); both focal lengths are multiplied by exp ``zoom`` (1,).
        seen: (3, 68) positions in the camera's frame, written; image: (2, 68) in the picture.
        slope: (2, 3, 68) derivatives of the picture by positions in the camera's frame, written.
        head: the same by positions in the head's frame.
    """
    longer = np.exp(zoom[0])
    for i in range(NUM):
        x, y, z = points[i], points[NUM + i], points[2 * NUM + i]
        for d in range(3):
            seen[d, i] = rotation[d, 0] * x + rotation[d, 1] * y + rotation[d, 2] * z
            seen[d, i] += translation[d]
        depth = max(seen[2, i], 1.0)
        for a in range(2):
            scale = camera[a] * longer / depth
            image[a, i] = scale * seen[a, i] + camera[2 + a]
            slope[a, 0, i] = scale if a == 0 else 0.0
            slope[a, 1, i] = scale if a == 1 else 0.0
            slope[a, 2, i] = -scale * seen[a, i] / depth
            for d in range(3):
                head[a, d, i] = scale * rotation[a, d] + slope[a, 2, i] * rotation[2, d]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def renew(
    covariance,
    growth,
    noise_px,
    discrepancy_mm,
    dof,
    perspective,
    observed,
    camera,
    rotation,
    translation,
    zoom,
    seen,
    image,
    trust,
    weights,
    scatter,
    zooming,
):
    """Renew what the noise has of a state; return the pixels per millimetre.

    Args:
        covariance: (2, 2, 68) the labeller's, mm^2; growth: of it with the head's turn.
        noise_px: of any labeller; discrepancy_mm: of the model.
        dof: degrees of freedom of the Student-t noise; 0 leaves the weights as they are.
        perspective: noise of the inverse distance; 0 leaves ``zooming`` as it is.
        observed: (2, 68) px; the next seven: see ``view``.
        trust: (68,); weights: (68,) of outliers, written.
        scatter: (3, 68) px^2 the labeller's covariances over trust and weight, xx, yy and xy,
            written; zooming: (2, 68) of the perspective, written.
    """
    depth = max(translation[2], 1.0)
    px_per_mm = 0.5 * (camera[0] + camera[1]) * np.exp(zoom[0]) / depth
    # Of the head's yaw and roll as ``geometry.rotations.matrix_to_euler`` defines them.
    sin_yaw = -rotation[2, 0]
    c, s = 1.0, 0.0
    if abs(sin_yaw) <= 1 - 1e-9:
        cos_yaw = np.sqrt(rotation[0, 0] ** 2 + rotation[1, 0] ** 2)
        c, s = rotation[0, 0] / cos_yaw, rotation[1, 0] / cos_yaw
    size = px_per_mm**2 * (1 + (growth * sin_yaw) ** 2)
    extra = (px_per_mm * discrepancy_mm) ** 2
    for i in range(NUM):
        xx, xy, yy = covariance[0, 0, i], covariance[0, 1, i], covariance[1, 1, i]
        p = size * (c * c * xx - 2 * c * s * xy + s * s * yy) + noise_px**2
        q = size * (s * s * xx + 2 * c * s * xy + c * c * yy) + noise_px**2
        r = size * (c * s * (xx - yy) + (c * c - s * s) * xy)
        xx, yy = p + extra, q + extra
        x, y = image[0, i] - observed[0, i], image[1, i] - observed[1, i]
        squared = (yy * x * x - 2 * r * x * y + xx * y * y) / (xx * yy - r * r)
        # Only what is worse than expected loses weight: agreement is no extra certainty.
        counts = min((dof + 2) / (dof + squared), 1.0)
        weights[i] = counts if dof > 0 else weights[i]
        share = max(trust[i] * weights[i], 1 / LEFT_OUT)
        scatter[0, i], scatter[1, i], scatter[2, i] = p / share, q / share, r / share
    if perspective > 0:
        for i in range(NUM):
            # A step of the inverse distance q moves the log of the distance by -dq / q.
            nearer = depth * perspective * (1 - translation[2] / max(seen[2, i], 1.0))
            for a in range(2):
                zooming[a, i] = nearer * (image[a, i] - camera[2 + a])
    return px_per_mm


@numba.njit(nogil=True, cache=True, error_model="numpy")
def outline(strips, mean, modes, normals, coefficients, rotation, translation, rows):
    """Put jaw landmarks on the outline; return whether a row changed.

    Args:
        strips: (17, longest) rows of each landmark's candidates, filled up with the last one.
        mean, modes, normals: (P, 3), (P, 3, C), (P, 3) of a basis; coefficients: (C,).
        rotation, translation: head to camera.
        rows: (68,) as ``LandmarkBasis.visible_rows`` chooses them, written.
    """
    eye = np.empty(3)
    for d in range(3):
        eye[d] = -rotation[0, d] * translation[0]
        eye[d] -= rotation[1, d] * translation[1] + rotation[2, d] * translation[2]
    changed = False
    for strip in range(strips.shape[0]):
        row = strips[strip, 0]
        for candidate in range(strips.shape[1]):
            row = strips[strip, candidate]
            x, y, z = mean[row, 0] - eye[0], mean[row, 1] - eye[1], mean[row, 2] - eye[2]
            for k in range(len(coefficients)):
                x += modes[row, 0, k] * coefficients[k]
                y += modes[row, 1, k] * coefficients[k]
                z += modes[row, 2, k] * coefficients[k]
            if normals[row, 0] * x + normals[row, 1] * y + normals[row, 2] * z < 0:
                break
        changed = changed or rows[strip] != row
        rows[strip] = row
    return changed


@numba.njit(nogil=True, cache=True, error_model="numpy")
def noise(discrepancy, size, scatter, zooming, out):
    """Write the upper triangle of the covariance of what neither pose nor coefficients explain.

    Args:
        discrepancy: (68, 68) mm^2 on either axis; size: its factor, px^2 per mm^2.
        scatter: (3, 68) of each point, see ``renew``.
        zooming: (2, 68) of the perspective's noise, a rank of its own.
        out: (136, 136).
    """
    for i in range(NUM):
        for a in range(2):
            for b in range(a, 2):
                same = size if a == b else 0.0
                for j in range(NUM):
                    across = zooming[a, i] * zooming[b, j]
                    out[a * NUM + i, b * NUM + j] = across + same * discrepancy[i, j]
        out[i, i] += scatter[0, i]
        out[NUM + i, NUM + i] += scatter[1, i]
        out[i, NUM + i] += scatter[2, i]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def slopes(modes, seen, image, slope, head, translation, camera, zooms, identity, rest):
    """Write the derivatives of the picture by modes, pose and focal length.

    Args:
        modes: (204, C).
        seen, image, slope, head: see ``view``; translation: (3,); camera: (fx, fy, cx, cy).
        zooms: 1 where the focal length is free, else 0.
        identity: (136, K) by the first modes; rest: (136, E + 6 + zooms) by the others.
    """
    K = identity.shape[1]
    E = modes.shape[1] - K
    for a in range(2):
        for i in range(NUM):
            at = a * NUM + i
            p, q, r = head[a, 0, i], head[a, 1, i], head[a, 2, i]
            for k in range(K):
                identity[at, k] = (
                    p * modes[i, k] + q * modes[NUM + i, k] + r * modes[2 * NUM + i, k]
                )
            for e in range(E):
                k = K + e
                rest[at, e] = p * modes[i, k] + q * modes[NUM + i, k] + r * modes[2 * NUM + i, k]
            x, y = seen[0, i] - translation[0], seen[1, i] - translation[1]
            z = seen[2, i] - translation[2]
            p, q, r = slope[a, 0, i], slope[a, 1, i], slope[a, 2, i]
            # d(exp(w) R p)/dw = -[R p]x, so a row d of the slopes becomes (R p) x d
            rest[at, E], rest[at, E + 1] = y * r - z * q, z * p - x * r
            rest[at, E + 2] = x * q - y * p
            rest[at, E + 3], rest[at, E + 4], rest[at, E + 5] = p, q, r
            if zooms:
                along = p * translation[0] + q * translation[1] + r * translation[2]
                rest[at, E + 6] = image[a, i] - camera[2 + a] + along


@numba.njit(nogil=True, cache=True, error_model="numpy")
def farthest(points, image, new_points, new_image, size):
    """Return the farthest that a point went, mm, in the head's frame (204,) or the picture."""
    most = 0.0
    for i in range(NUM):
        square, shift = 0.0, 0.0
        for d in range(3):
            square += (new_points[d * NUM + i] - points[d * NUM + i]) ** 2
        for a in range(2):
            shift += (new_image[a, i] - image[a, i]) ** 2
        most = max(most, square, shift / size)
    return np.sqrt(most)
