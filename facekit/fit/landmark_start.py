"""Where the landmark solver starts: the mean face's pose from 68 points."""

from __future__ import annotations

import numba
import numpy as np

from facekit.fit.landmark_kernels import NUM, damped_step, project, slopes, turn

# What the solver may say.
SOLVED, FLAT, UNTRUSTED, DIVERGED, BEHIND = range(5)


@numba.njit(nogil=True, cache=True)
def start_pose(points, observed, trust, camera, zoom, rotation, translation):
    """Write the pose (3, 3), (3,) of the mean face by scaled orthography; return a status."""
    total = 0.0
    mean, middle = np.zeros(3), np.zeros(2)
    weights = np.empty(NUM)
    for i in range(NUM):
        weights[i] = trust[i] * (0.2 if i < 17 else 1.0)
        total += weights[i]
        for d in range(3):
            mean[d] += weights[i] * points[d * NUM + i]
        for a in range(2):
            middle[a] += weights[i] * observed[a, i]
    if not total > 0:
        return UNTRUSTED
    mean /= total
    middle /= total
    normal, moment, spread = np.zeros((3, 3)), np.zeros((3, 2)), np.zeros((2, 2))
    away = np.empty(3)
    for i in range(NUM):
        square = weights[i] ** 2
        for d in range(3):
            away[d] = points[d * NUM + i] - mean[d]
        for d in range(3):
            for e in range(3):
                normal[d, e] += square * away[d] * away[e]
            for a in range(2):
                moment[d, a] += square * away[d] * (observed[a, i] - middle[a])
        for a in range(2):
            for b in range(2):
                spread[a, b] += square * (observed[a, i] - middle[a]) * (observed[b, i] - middle[b])
    half = 0.5 * (spread[0, 0] + spread[1, 1])
    apart = np.sqrt(0.25 * (spread[0, 0] - spread[1, 1]) ** 2 + spread[0, 1] ** 2)
    narrow = np.sqrt(max(half - apart, 0.0))
    if not (narrow >= 1e-3 * max(np.sqrt(half + apart), 1e-9) and narrow >= 1e-3):
        return FLAT
    for d in range(3):
        normal[d, d] += 1e-12 * (normal[0, 0] + normal[1, 1] + normal[2, 2])
    affine = np.linalg.solve(normal, moment)
    xx, yy, xy = 0.0, 0.0, 0.0
    for d in range(3):
        xx += affine[d, 0] ** 2
        yy += affine[d, 1] ** 2
        xy += affine[d, 0] * affine[d, 1]
    scale = 0.5 * (np.sqrt(xx) + np.sqrt(yy))
    # The nearest orthonormal rows: (A A^T)^(-1/2) A, the root of a 2 x 2 matrix in closed form.
    root = np.sqrt(max(xx * yy - xy * xy, 1e-300))
    trace = np.sqrt(xx + yy + 2 * root)
    p, q, r = (xx + root) / trace, (yy + root) / trace, xy / trace
    det = p * q - r * r
    for d in range(3):
        rotation[0, d] = (q * affine[d, 0] - r * affine[d, 1]) / det
        rotation[1, d] = (p * affine[d, 1] - r * affine[d, 0]) / det
    for d in range(3):
        e, f = (d + 1) % 3, (d + 2) % 3
        rotation[2, d] = rotation[0, e] * rotation[1, f] - rotation[0, f] * rotation[1, e]
    if rotation[2, 2] > 0:
        # The affine fit of a nearly flat set may show the back of the head: start frontal.
        angle = np.arctan2(rotation[1, 0], rotation[0, 0])
        c, s = np.cos(angle), np.sin(angle)
        rotation[:] = 0
        rotation[0, 0], rotation[0, 1] = c, s
        rotation[1, 0], rotation[1, 1] = s, -c
        rotation[2, 2] = -1
    depth = 0.5 * (camera[0] + camera[1]) * zoom / scale
    translation[0] = depth * (middle[0] - camera[2]) / (camera[0] * zoom)
    translation[1] = depth * (middle[1] - camera[3]) / (camera[1] * zoom)
    translation[2] = depth
    for d in range(3):
        for e in range(3):
            translation[d] -= rotation[d, e] * mean[e]
    return SOLVED


@numba.njit(nogil=True, cache=True)
def refine_pose(points, observed, camera, zoom, scatter, extra, trust, rotation, translation):
    """Take four Gauss-Newton steps of the pose with independent points, in place."""
    seen, image, slope = np.empty((3, NUM)), np.empty((2, NUM)), np.empty((2, 3, NUM))
    row, step = np.empty(6), np.empty(6)
    for _ in range(4):
        project(points, rotation, translation, camera, zoom, seen, image)
        slopes(seen, camera, zoom, slope)
        hessian, gradient = np.zeros((6, 6)), np.zeros(6)
        for i in range(NUM):
            for a in range(2):
                weight = trust[i] / (scatter[a, a, i] + extra)
                x, y = seen[0, i] - translation[0], seen[1, i] - translation[1]
                z = seen[2, i] - translation[2]
                p, q, r = slope[a, 0, i], slope[a, 1, i], slope[a, 2, i]
                row[0], row[1], row[2] = y * r - z * q, z * p - x * r, x * q - y * p
                row[3], row[4], row[5] = p, q, r
                error = weight * (image[a, i] - observed[a, i])
                for j in range(6):
                    gradient[j] += row[j] * error
                    for k in range(j, 6):
                        hessian[j, k] += weight * row[j] * row[k]
        if not damped_step(hessian, gradient, np.ones(6, np.bool_), 1e-6, step):
            return
        if not translation[2] + step[5] > 1:
            return
        turn(rotation, step[:3])
        for d in range(3):
            translation[d] += step[3 + d]
